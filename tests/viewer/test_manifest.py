"""Tests of the manifest: menu entries of napari and the commands they run."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
from napari._app_model import get_app_model
from npe2 import PluginManifest
from qtpy.QtCore import QByteArray
from qtpy.QtSvg import QSvgRenderer

from napari_kmeans.viewer.dock.widget import KMeansWidget

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.window


@pytest.fixture(scope="module")
def manifest():
    return PluginManifest.from_distribution("napari-kmeans")


def test_every_command_can_be_imported(manifest):
    manifest.validate_imports()


def test_widget_is_in_the_menus_for_segmenting_and_classifying(manifest):
    (widget,) = manifest.contributions.widgets
    assert widget.display_name == "K-means segmentation"
    for menu in ("segment", "classify"):
        first, *_ = manifest.contributions.menus[f"napari/layers/{menu}"]
        assert first.command == widget.command
    (command,) = (each for each in manifest.contributions.commands if each.id == widget.command)
    assert command.python_name == "napari_kmeans.viewer.dock.widget:KMeansWidget"


def test_all_menus_are_those_of_napari(viewer, manifest):
    """napari drops the entries of menus that it does not know."""
    app = get_app_model()
    assert {*manifest.contributions.menus} == {
        f"napari/layers/{name}" for name in ("segment", "measure", "classify")
    }
    for name, items in manifest.contributions.menus.items():
        entries = [each for each in app.menus.get_menu(name) if hasattr(each, "command")]
        shown = {entry.command.id: entry.command.title for entry in entries}
        for item in items:
            assert shown[item.command].endswith("(napari-kmeans)")


def test_icon_and_categories_are_given(manifest):
    assert "Segmentation" in manifest.categories
    package, _, name = manifest.icon.partition(":")
    icon = (resources.files(package) / name).read_bytes()
    assert icon == (ROOT / "docs" / "pictures" / "icon.svg").read_bytes()
    renderer = QSvgRenderer(QByteArray(icon))
    assert renderer.isValid()
    assert renderer.defaultSize().width() == renderer.defaultSize().height() == 128


def test_menu_entry_opens_the_dock(viewer, manifest):
    item, *_ = manifest.contributions.menus["napari/layers/segment"]
    app = get_app_model()
    entries = {
        entry.command.id
        for entry in app.menus.get_menu("napari/layers/segment")
        if hasattr(entry, "command")
    }
    assert item.command in entries
    app.commands.execute_command(item.command).result()
    dock = viewer.window.dock_widgets["K-means segmentation (napari-kmeans)"]
    assert isinstance(dock, KMeansWidget)
