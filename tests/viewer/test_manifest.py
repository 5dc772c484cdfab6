"""Tests of the manifest: menu entries of napari and the commands they run."""

from __future__ import annotations

import pytest
from napari._app_model import get_app_model
from npe2 import PluginManifest

from napari_kmeans.viewer.dock.widget import KMeansWidget

pytestmark = pytest.mark.window


@pytest.fixture(scope="module")
def manifest():
    return PluginManifest.from_distribution("napari-kmeans")


def test_every_command_can_be_imported(manifest):
    manifest.validate_imports()


def test_widget_is_in_the_segmentation_menu(manifest):
    (item,) = manifest.contributions.menus["napari/layers/segment"]
    (widget,) = manifest.contributions.widgets
    assert item.command == widget.command
    assert widget.display_name == "K-means segmentation"
    (command,) = (each for each in manifest.contributions.commands if each.id == item.command)
    assert command.python_name == "napari_kmeans.viewer.dock.widget:KMeansWidget"


def test_menu_entry_opens_the_dock(viewer, manifest):
    (item,) = manifest.contributions.menus["napari/layers/segment"]
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
