"""The entries in napari's menus, and that they lead here."""

from __future__ import annotations

import pytest
from npe2 import PluginManifest

from napari_kmeans.viewer.widget import KMeansWidget


@pytest.fixture(scope="module")
def manifest():
    return PluginManifest.from_distribution("napari-kmeans")


def test_every_command_can_be_imported(manifest):
    manifest.validate_imports()


def test_the_widget_is_in_the_menu_of_segmentation(manifest):
    (item,) = manifest.contributions.menus["napari/layers/segment"]
    (widget,) = manifest.contributions.widgets
    assert item.command == widget.command
    assert widget.display_name == "K-means segmentation"
    assert widget.get_callable() is KMeansWidget


def test_the_menus_of_a_viewer_open_the_dock(viewer):
    from app_model.backends.qt import QModelMenu

    menu = viewer.window._qt_window.findChild(QModelMenu, "napari/layers/segment")
    assert menu is not None
