"""Tests of the commands in napari's command palette."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari._app_model import get_app_model
from napari._qt.widgets.qt_command_palette import QCommandPalette, _enabled
from napari.plugins._npe2 import _npe2_manifest_to_actions
from napari.utils.notifications import notification_manager
from npe2 import PluginManifest

from napari_kmeans import segment, suggest_n_clusters
from napari_kmeans.viewer import commands
from napari_kmeans.viewer.dock.widget import KMeansWidget
from napari_kmeans.viewer.provenance import METADATA_KEY
from napari_kmeans.viewer.widgets.help_page import HelpWindow

pytestmark = pytest.mark.window

MANIFEST = Path(__file__).parents[2] / "napari.yaml"
COMMANDS = {
    "napari-kmeans.segment": "Segment the active layer with the last settings",
    "napari-kmeans.suggest": "Suggest the number of clusters for the active layer",
    "napari-kmeans.apply": "Apply the last model to the active layer",
    "napari-kmeans.measure": "Measure clusters in regions",
    "napari-kmeans.help": "Help for K-means segmentation",
}
NEED_IMAGE = ("napari-kmeans.segment", "napari-kmeans.suggest", "napari-kmeans.apply")


@pytest.fixture(scope="module")
def manifest():
    return PluginManifest.from_file(MANIFEST)


@pytest.fixture
def app(viewer, manifest):
    """The app model of napari, with the commands of this manifest.

    The installed version of the plugin may have registered fewer commands.
    """
    app = get_app_model()
    actions, _ = _npe2_manifest_to_actions(manifest)
    new = [action for action in actions if action.id not in app.commands]
    dispose = app.register_actions(new)
    yield app
    dispose()


@pytest.fixture
def execute(app):
    return lambda name: app.commands.execute_command(name).result()


def dock_of(viewer):
    (dock,) = (w for w in viewer.window.dock_widgets.values() if isinstance(w, KMeansWidget))
    return dock


def messages():
    return [each.message for each in notification_manager.records]


def test_every_command_can_be_imported(manifest):
    manifest.validate_imports()


@pytest.mark.parametrize(("name", "title"), COMMANDS.items())
def test_palette_lists_each_command(app, qtbot, name, title):
    palette = QCommandPalette()
    qtbot.addWidget(palette)
    (command,) = (each for each in palette._list.all_commands if each.id == name)
    assert command.title == f"{title} (napari-kmeans)"
    # The tooltip says more than the title.
    assert command.tooltip
    assert command.tooltip not in command.title


def test_commands_that_need_an_image_are_gray_without_one(app, viewer, qtbot, quadrants):
    palette = QCommandPalette()
    qtbot.addWidget(palette)
    commands = {each.id: each for each in palette._list.all_commands if each.id in COMMANDS}

    def enabled():
        palette.update_context(viewer.window._qt_window)
        context = palette._list._app_model_context
        return {name for name, command in commands.items() if _enabled(command, context)}

    assert enabled() == COMMANDS.keys() - {*NEED_IMAGE}
    viewer.add_image(quadrants, rgb=True)
    assert enabled() == COMMANDS.keys()


def test_measure_and_help_open_the_dock(viewer, execute):
    execute("napari-kmeans.measure")
    dock = dock_of(viewer)
    assert dock.folds["measure"].is_open
    execute("napari-kmeans.help")
    assert dock_of(viewer) is dock
    (window,) = dock.native.window().findChildren(HelpWindow)
    assert window.windowTitle() == "Help: The dock"
    assert not messages()


def test_segment_without_a_dock(viewer, execute, finish, quadrants, quadrant_labels):
    """Use the defaults the first time, and the last settings after the dock was closed."""
    viewer.add_image(quadrants, name="picture", rgb=True)
    execute("napari-kmeans.segment")
    dock = dock_of(viewer)
    finish(dock)
    labels = viewer.layers["picture labels"]
    assert labels.metadata[METADATA_KEY]["options"]["n_clusters"] == 8
    dock.n_clusters.value = 4
    viewer.window.remove_dock_widget(dock.native)
    dock.native.deleteLater()
    execute("napari-kmeans.segment")
    assert dock_of(viewer) is not dock
    finish(dock_of(viewer))
    np.testing.assert_array_equal(labels.data, quadrant_labels)


def test_segment_with_a_dock_uses_the_active_layer(viewer, dock, execute, finish, quadrants):
    """The command shows the hidden dock and changes the image chosen in it."""
    other = viewer.add_image(quadrants[::-1].copy(), name="other", rgb=True)
    dock.image.value = viewer.layers["picture"]
    dock.native.parentWidget().hide()
    execute("napari-kmeans.segment")
    assert dock_of(viewer) is dock
    assert dock.native.parentWidget().isVisibleTo(dock.native.window())
    finish(dock)
    assert dock.image.value is other
    assert [layer.name for layer in viewer.layers][2:] == ["other recolored", "other labels"]
    expected = segment(quadrants[::-1], 4, rgb=True).labels
    np.testing.assert_array_equal(viewer.layers["other labels"].data, expected)


def test_suggest_without_a_dock(viewer, execute, qtbot, quadrants):
    pytest.importorskip("napari_kmeans.viewer.panels.number_panel")
    viewer.add_image(quadrants, name="picture", rgb=True)
    execute("napari-kmeans.suggest")
    panel = dock_of(viewer).folds["number"].panel
    qtbot.waitUntil(lambda: panel.curve.suggestion is not None, timeout=20_000)
    expected = suggest_n_clusters(quadrants, rgb=True)
    assert panel.curve.suggestion.scores.equals(expected.scores)
    qtbot.waitUntil(lambda: panel.suggest_button.enabled)
    assert not messages()


def test_apply_uses_the_last_model_after_the_dock_was_closed(
    viewer, dock, execute, finish, qtbot, quadrants
):
    pytest.importorskip("napari_kmeans.viewer.panels.apply_panel")
    dock.run()
    finish(dock)
    model = dock.result.outcome.model
    viewer.window.remove_dock_widget(dock.native)
    dock.native.deleteLater()
    other = quadrants[::-1] // 2
    viewer.add_image(other, name="other", rgb=True)
    execute("napari-kmeans.apply")
    qtbot.waitUntil(lambda: "other labels" in viewer.layers, timeout=20_000)
    np.testing.assert_array_equal(viewer.layers["other labels"].data, model.predict(other))
    panel = dock_of(viewer).folds["apply"].panel
    qtbot.waitUntil(lambda: panel.apply_button.enabled)
    assert not messages()


def test_apply_without_a_model_shows_an_error(viewer, dock, execute):
    pytest.importorskip("napari_kmeans.viewer.panels.apply_panel")
    execute("napari-kmeans.apply")
    (message,) = messages()
    assert message.startswith("there is no model yet: run the clustering")


@pytest.mark.parametrize("name", NEED_IMAGE)
def test_commands_show_an_error_if_the_active_layer_is_no_image(viewer, execute, name):
    for _ in range(2):
        execute(name)
        viewer.add_points(name="seeds")
    assert messages()[0].startswith("the active layer must be an image, got None: select one")
    assert messages()[1].startswith("the active layer must be an image, got <Points layer 'seeds'")
    assert not viewer.window.dock_widgets


def test_segment_during_a_run_shows_an_error(viewer, dock, execute, finish, slow):
    viewer.layers["picture"].data = slow
    dock.run()
    execute("napari-kmeans.segment")
    assert messages() == ["A run is under way: wait until it is finished, or cancel it."]
    slow.go_on.set()
    finish(dock)
    assert len(viewer.layers) == 3


def test_commands_accept_a_viewer_from_a_script(viewer, quadrants, finish):
    viewer.add_image(quadrants, name="picture", rgb=True)
    commands.segment_active_layer(viewer)
    finish(dock_of(viewer))
    assert "picture labels" in viewer.layers
