"""The settings and the result that a reopened dock restores."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from magicgui.widgets import ProgressBar, PushButton
from napari.components import ViewerModel
from napari.layers import Image, Points

from napari_kmeans import segment_layer
from napari_kmeans.options import DOCK_OPTIONS, OPTIONS, Options
from napari_kmeans.viewer.background.task import Task
from napari_kmeans.viewer.dock.known_results import KNOWN_RESULTS
from napari_kmeans.viewer.dock.last_settings import last_settings_of
from napari_kmeans.viewer.to_layers.result import Result

pytestmark = pytest.mark.window

CHOSEN = {
    "n_clusters": 37,
    "color_space": "lab",
    "blur": 1.5,
    "texture": 2.0,
    "position": 0.5,
    "smoothing": 1.5,
    "min_size": 12,
    "min_area": 0.0004,
    "size_unit": "area",
    "min_size_classes": (2, 3),
    "min_confidence": 0.15,
    "refits": 4,
    "balance": 0.25,
    "method": "full",
    "coreset_size": 12345,
    "random_state": 9,
    "init": "random",
    "keep_init": True,
    "n_init": 3,
    "max_iter": 17,
    "tol": 0.02,
    "stack": "each",
    "add_labels": False,
    "add_recolored": True,
    "add_points": True,
    "update_layers": False,
    "live": True,
}


@pytest.fixture
def close_dock(viewer, qtbot):
    def close(widget):
        viewer.window.remove_dock_widget(widget.native)
        widget.native.deleteLater()
        qtbot.wait(20)

    return close


@pytest.fixture
def reopen(viewer, close_dock):
    """Close the dock, and open it again without changing a field."""

    def reopen_it(widget):
        close_dock(widget)
        return viewer.window.add_plugin_dock_widget("napari-kmeans")[1]

    return reopen_it


def settings(widget):
    return {
        field.name: field.value
        for field in widget
        if field.name != "image" and not isinstance(field, PushButton | ProgressBar)
    }


def test_every_setting_is_restored(viewer, dock, reopen, finish):
    for name, value in CHOSEN.items():
        getattr(dock, name).value = value
    dock.mask.value = viewer.add_labels(np.ones((20, 21), int), name="drawn")
    finish(dock)
    before = settings(dock)
    assert {name: before[name] for name in CHOSEN} == CHOSEN
    assert set(before) == {*CHOSEN, "mask", "together", "channel_axis", "normalize", "level"}
    again = reopen(dock)
    assert again is not dock
    assert settings(again) == before
    assert again.n_clusters_slider.value == again.n_clusters_slider.max
    assert not again.cancel_button.enabled


def test_image_is_the_active_layer_not_the_stored_one(viewer, dock, reopen, quadrants):
    dock.n_clusters.value = 6
    other = viewer.add_image(quadrants, name="other", rgb=True)
    dock.image.value = viewer.layers["picture"]
    again = reopen(dock)
    assert again.image.value is other
    assert again.n_clusters.value == 6


def test_restored_start_layer_sets_number_of_clusters(viewer, dock, reopen, qtbot):
    seeds = viewer.add_points([(2, 3), (1, 17)], name="seeds")
    dock.init.value = seeds
    again = reopen(dock)
    assert again.init.value is seeds
    assert not again.n_clusters.enabled
    seeds.add((15, 4))
    qtbot.waitUntil(lambda: again.n_clusters.value == 3)


def test_removed_layers_are_not_restored(viewer, dock, close_dock, open_dock, quadrants):
    seeds = viewer.add_points([(2, 3), (1, 17)], name="seeds")
    drawn = viewer.add_labels(np.ones((20, 21), int), name="drawn")
    dock.init.value, dock.mask.value = seeds, drawn
    close_dock(dock)
    viewer.layers.remove(seeds)
    viewer.layers.remove(drawn)
    again = open_dock()
    assert again.init.value == "k-means++"
    assert again.mask.value is None
    assert again.n_clusters.enabled


def test_level_is_not_restored_for_image_without_levels(viewer, open_dock, close_dock, quadrants):
    viewer.add_image([quadrants, quadrants[::2, ::2]], multiscale=True, rgb=True, name="levels")
    dock = open_dock()
    dock.level.value = 1
    close_dock(dock)
    viewer.add_image(quadrants, rgb=True, name="plain")
    assert open_dock().level.value == "auto"


def test_last_result_is_restored(viewer, dock, reopen, finish):
    dock.run()
    finish(dock)
    result = dock.result
    viewer.layers.remove("picture recolored")
    again = reopen(dock)
    assert again.result.outcome is result.outcome
    assert again.result.task.source is result.task.source
    assert again.result.labels is viewer.layers["picture labels"]


def test_dock_of_another_viewer_has_default_settings(dock, make_napari_viewer):
    dock.n_clusters.value, dock.method.value = 37, "full"
    _, widget = make_napari_viewer().window.add_plugin_dock_widget("napari-kmeans")
    for name in DOCK_OPTIONS:
        assert getattr(widget, name).value == OPTIONS[name].default


def test_settings_keep_neither_viewer_nor_layers_alive(quadrants):
    viewer, image, layer = ViewerModel(), Image(quadrants, rgb=True), Points()
    viewer.layers.extend([image, layer])
    last_settings_of(viewer).store("init", layer)
    last_settings_of(viewer).store("n_clusters", 3)
    assert last_settings_of(viewer).settings == {"init": layer, "n_clusters": 3}
    task = Task.of([image], Options(n_clusters=2), mask=None, level=None, stack="whole")
    labels, recolored = segment_layer(image, 2)
    viewer.layers.extend([recolored, labels])
    result = Result(task, task.run(), (recolored, labels))
    KNOWN_RESULTS.store(result)
    assert KNOWN_RESULTS.newest(viewer.layers) is result
    gone = [weakref.ref(each) for each in (viewer, layer, image, recolored, labels)]
    viewer.layers.remove(image)
    viewer.layers.remove(recolored)
    del image, recolored, result
    gc.collect()
    assert KNOWN_RESULTS.newest(viewer.layers).layers == (labels,)
    del viewer, layer, labels
    gc.collect()
    assert [each() for each in gone] == [None] * 5
