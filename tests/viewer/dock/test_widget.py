"""The dock: fields, runs, canceling, errors, updates, closing."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from napari.layers import Image, Labels, Points
from napari.qt.threading import GeneratorWorker
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QThreadPool
from superqt import QCollapsible

from napari_kmeans import segment
from napari_kmeans.imaging.kernels import count_codes
from napari_kmeans.options import DOCK_OPTIONS, OPTIONS
from napari_kmeans.viewer.background.worker import warm_up
from napari_kmeans.viewer.dock.widget import KMeansWidget
from napari_kmeans.viewer.provenance import METADATA_KEY

FIELDS = [
    "image",
    "n_clusters",
    "color_space",
    "method",
    "coreset_size",
    "random_state",
    "mask",
    "stack",
    "level",
    "add_labels",
    "add_recolored",
    "update_layers",
    "run_button",
    "cancel_button",
    "init",
    "n_init",
    "max_iter",
    "tol",
    "add_points",
    "progress_bar",
]


def click(button):
    button.native.click()


def names(viewer):
    return [layer.name for layer in viewer.layers]


def notifications():
    return [(str(each.severity), each.message) for each in notification_manager.records]


# ---------------------------------------------------------------------- a run


def test_run_button_clusters_sample_photograph(viewer, open_dock, finish):
    viewer.open_sample("napari-kmeans", "photograph")
    widget = open_dock()
    widget.n_clusters.value = 5
    click(widget.run_button)
    assert not widget.run_button.enabled
    assert widget.cancel_button.enabled
    finish(widget)
    assert not widget.cancel_button.enabled
    assert names(viewer) == ["coffee", "coffee recolored", "coffee labels"]
    source, recolored, labels = viewer.layers
    assert labels.data.shape == source.data.shape[:2]
    assert sorted(np.unique(labels.data)) == [1, 2, 3, 4, 5]
    colors = np.array([labels.colormap.color_dict[label][:3] for label in range(1, 6)])
    np.testing.assert_allclose(colors[labels.data - 1], recolored.data / 255, atol=1e-6)
    assert not notifications()


def test_canvas_shows_labels_and_recolored_in_same_colors(make_napari_viewer, finish, quadrants):
    """The recolored layer, and the opaque labels over black, have the same pixels on the canvas."""
    viewer = make_napari_viewer(show=True)
    viewer.add_image(quadrants, name="picture", rgb=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-kmeans")
    click(dock.run_button)
    finish(dock)
    source, recolored, labels = viewer.layers
    assert not recolored.visible
    source.visible, labels.visible, recolored.visible = False, False, True
    picture = viewer.screenshot(canvas_only=True, flash=False)
    labels.visible, recolored.visible, labels.opacity = True, False, 1
    again = viewer.screenshot(canvas_only=True, flash=False)
    assert len(np.unique(picture.reshape(-1, 4), axis=0)) >= 5
    assert (np.abs(picture.astype(int) - again) <= 1).all(axis=-1).mean() > 0.99


def test_run_from_script_emits_segmentation(viewer, dock, qtbot, slow, quadrants, quadrant_labels):
    # The image cannot be read before the signals are connected.
    viewer.layers["picture"].data = slow
    dock.random_state.value = 5
    worker = dock.run()
    assert isinstance(worker, GeneratorWorker)
    outcomes = []
    worker.returned.connect(outcomes.append)
    with qtbot.waitSignal(worker.finished, timeout=20_000):
        slow.go_on.set()
    (segmentation,) = outcomes
    np.testing.assert_array_equal(segmentation.labels, quadrant_labels)
    expected = segment(quadrants, 4, rgb=True, random_state=5)
    assert segmentation.model.to_dict() == expected.model.to_dict()
    np.testing.assert_array_equal(viewer.layers["picture labels"].data, quadrant_labels)


def test_second_run_raises_while_first_is_under_way(viewer, dock, finish, slow):
    viewer.layers["picture"].data = slow
    dock.run()
    with pytest.raises(RuntimeError, match="A run is under way: wait until it is finished"):
        dock.run()
    slow.go_on.set()
    finish(dock)
    assert len(viewer.layers) == 3


def test_run_without_image_raises(open_dock):
    widget = open_dock()
    assert not widget.run_button.enabled
    with pytest.raises(ValueError, match="image must be an image layer, got None"):
        widget.run()


def test_progress_bar_shows_growing_percentage(viewer, dock, finish):
    rng = np.random.default_rng(0)
    viewer.add_image(rng.random((1500, 1500), dtype=np.float32), name="noise")
    dock.method.value = "full"
    shown = []
    dock.progress_bar.changed.connect(shown.append)
    click(dock.run_button)
    finish(dock)
    assert shown[-1] == 0
    assert shown[:-1] == sorted(shown[:-1])
    assert 0 < max(shown) <= 100
    assert dock.progress_bar.native.maximum() == 100


# --------------------------------------------------------------------- fields


def test_every_field_has_label_and_tooltip(dock):
    for name in FIELDS:
        field = getattr(dock, name)
        assert field.tooltip, name
        if name in OPTIONS:
            assert field.label == OPTIONS[name].label
            assert field.tooltip.startswith(OPTIONS[name].tooltip)
            assert name == "n_clusters" or field.value == OPTIONS[name].default
    assert dock.label == "K-means segmentation"
    assert dock.n_clusters.label == "Number of clusters"


def test_dock_is_magicgui_container_of_its_fields(dock):
    assert dock["n_clusters"] is dock.n_clusters
    assert {"image", "mask", "update_layers", "run_button", *DOCK_OPTIONS} <= set(dock.asdict())
    seen = []
    dock.changed.connect(seen.append)
    dock.n_clusters.value = 5
    assert seen == [dock]
    assert dock.asdict()["n_clusters"] == 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_clusters", 3),
        ("color_space", "lab"),
        ("color_space", "hsv"),
        ("method", "full"),
        ("coreset_size", 50),
        ("coreset_size", "auto"),
        ("random_state", 2**32 - 1),
        ("init", "random"),
        ("n_init", 3),
        ("max_iter", 7),
        ("tol", 0.01),
    ],
)
def test_every_option_is_passed_to_the_clustering(viewer, dock, finish, name, value):
    getattr(dock, name).value = value
    assert getattr(dock, name).value == value
    click(dock.run_button)
    finish(dock)
    stored = viewer.layers["picture labels"].metadata[METADATA_KEY]["options"]
    assert stored[name] == value
    assert type(stored[name]) is type(value)


def test_new_dock_is_narrow_and_more_options_are_folded(dock):
    folder = dock.native.findChild(QCollapsible)
    assert not folder.isExpanded()
    assert dock.native.minimumSizeHint().width() <= 350
    folder.expand(animate=False)
    assert "More options" in folder.text()
    assert dock.native.minimumSizeHint().width() <= 350


def test_color_space_is_enabled_for_rgb_images_only(viewer, dock, finish, steps):
    assert dock.color_space.enabled
    dock.color_space.value = "lab"
    viewer.add_image(steps, name="gray", rgb=False)
    assert not dock.color_space.enabled
    dock.n_clusters.value = 3
    click(dock.run_button)
    finish(dock)
    options = viewer.layers["gray labels"].metadata[METADATA_KEY]["options"]
    assert options["color_space"] == "rgb"
    assert not notifications()
    dock.image.value = viewer.layers["picture"]
    assert dock.color_space.enabled
    assert dock.color_space.value == "lab"


def test_coreset_fields_are_enabled_for_method_coreset_only(viewer, dock, finish):
    dock.add_points.value = True
    dock.method.value = "full"
    assert not dock.coreset_size.enabled
    assert not dock.add_points.enabled
    click(dock.run_button)
    finish(dock)
    assert len(viewer.layers) == 3
    dock.method.value = "coreset"
    assert dock.coreset_size.enabled
    assert dock.add_points.enabled


@pytest.mark.parametrize(
    ("wanted", "types"),
    [
        ({"add_labels"}, [Labels]),
        ({"add_recolored"}, [Image]),
        ({"add_points"}, [Points]),
        ({"add_labels", "add_recolored", "add_points"}, [Image, Labels, Points]),
    ],
)
def test_checked_layers_are_added(viewer, dock, finish, wanted, types):
    for name in ("add_labels", "add_recolored", "add_points"):
        getattr(dock, name).value = name in wanted
    click(dock.run_button)
    finish(dock)
    assert [type(layer) for layer in viewer.layers[1:]] == types


def test_run_button_is_disabled_without_layers_to_add(dock):
    dock.add_labels.value = dock.add_recolored.value = False
    assert not dock.run_button.enabled
    dock.add_points.value = True
    assert dock.run_button.enabled


# ------------------------------------------------------- following the viewer


def test_dock_opens_on_the_active_image(viewer, open_dock, quadrants):
    first = viewer.add_image(quadrants, name="first", rgb=True)
    viewer.add_image(quadrants, name="second", rgb=True)
    viewer.layers.selection.active = first
    assert open_dock().image.value is first


def test_image_follows_the_active_image_layer(viewer, dock, quadrants):
    first = viewer.layers["picture"]
    second = viewer.add_image(quadrants, name="second", rgb=True)
    assert dock.image.value is second
    viewer.add_points()
    assert dock.image.value is second
    viewer.layers.selection.active = first
    assert dock.image.value is first


def test_choices_follow_added_renamed_and_removed_layers(viewer, dock, quadrants, quadrant_labels):
    picture = viewer.layers["picture"]
    other = viewer.add_image(quadrants, name="other", rgb=True)
    labels = viewer.add_labels(quadrant_labels, name="drawn")
    shapes = viewer.add_shapes(name="outlines")
    assert dock.image.choices == (picture, other)
    assert dock.mask.choices == (None, labels, shapes)
    dock.image.value, dock.mask.value = other, labels
    picture.name, labels.name = "zebra", "mine"
    other.name = "lion"
    assert dock.image.value is other
    assert dock.mask.value is labels
    assert dock.image.current_choice == "lion"
    assert dock.mask.current_choice == "mine"
    viewer.layers.remove(labels)
    assert dock.mask.value is None
    viewer.layers.remove(other)
    assert dock.image.value is picture
    viewer.layers.remove(picture)
    assert dock.image.value is None
    assert not dock.run_button.enabled
    viewer.add_image(quadrants, rgb=True)
    assert dock.run_button.enabled


def test_run_leaves_image_and_selection_unchanged(viewer, dock, finish):
    picture = viewer.layers["picture"]
    for _ in range(2):
        click(dock.run_button)
        finish(dock)
        assert dock.image.value is picture
        assert viewer.layers.selection == {picture}
        assert viewer.layers.selection.active is picture
    assert len(viewer.layers) == 3


def test_image_chosen_by_hand_stays_chosen_after_run(viewer, dock, finish, quadrants):
    picture = viewer.layers["picture"]
    other = viewer.add_image(quadrants, name="other", rgb=True)
    dock.image.value = picture
    click(dock.run_button)
    finish(dock)
    assert dock.image.value is picture
    assert viewer.layers.selection.active is other


# ------------------------------------------------------- changes during a run


def test_changes_of_the_layer_during_run_do_not_affect_result(
    viewer, dock, finish, qtbot, slow, quadrant_labels
):
    picture = viewer.layers["picture"]
    picture.data = slow
    dock.run()
    qtbot.waitUntil(slow.asked.is_set)
    picture.name, picture.scale = "other", (9, 9)
    picture.data = np.zeros((7, 7, 3), dtype=np.uint8)
    dock.n_clusters.value, dock.add_recolored.value = 2, False
    slow.go_on.set()
    finish(dock)
    assert names(viewer) == ["other", "picture recolored", "picture labels"]
    labels = viewer.layers["picture labels"]
    np.testing.assert_array_equal(labels.data, quadrant_labels)
    assert labels.scale.tolist() == [1, 1]


def test_layer_deleted_during_run_still_gets_result(viewer, dock, qtbot, slow, quadrant_labels):
    picture = viewer.layers["picture"]
    picture.data = slow
    worker = dock.run()
    qtbot.waitUntil(slow.asked.is_set)
    viewer.layers.remove(picture)
    with qtbot.waitSignal(worker.finished, timeout=20_000):
        slow.go_on.set()
    qtbot.waitUntil(lambda: not dock.cancel_button.enabled)
    assert names(viewer) == ["picture recolored", "picture labels"]
    np.testing.assert_array_equal(viewer.layers["picture labels"].data, quadrant_labels)


def test_mask_painted_during_run_does_not_affect_result(
    viewer, dock, finish, qtbot, slow, quadrant_labels
):
    viewer.layers["picture"].data = slow
    mask = viewer.add_labels((quadrant_labels > 2).astype(int))
    dock.mask.value, dock.n_clusters.value = mask, 2
    dock.run()
    qtbot.waitUntil(slow.asked.is_set)
    mask.data[:] = 1
    slow.go_on.set()
    finish(dock)
    labels = viewer.layers["picture labels"]
    np.testing.assert_array_equal(np.asarray(labels.data) > 0, quadrant_labels > 2)


# -------------------------------------------------------------------- cancel


def test_canceled_run_adds_no_layer_and_next_run_works(viewer, dock, finish, qtbot, slow):
    viewer.layers["picture"].data = slow
    worker = dock.run()
    qtbot.waitUntil(slow.asked.is_set)
    click(dock.cancel_button)
    assert not dock.cancel_button.enabled
    assert not dock.run_button.enabled
    slow.go_on.set()
    finish(dock)
    assert not worker.is_running
    assert len(viewer.layers) == 1
    assert not notifications()
    viewer.layers["picture"].data = np.asarray(slow)
    click(dock.run_button)
    finish(dock)
    assert len(viewer.layers) == 3


def test_long_run_stops_soon_after_cancel(viewer, dock, finish, qtbot):
    noise = np.random.default_rng(0).random((2000, 2000, 3), dtype=np.float32)
    dock.method.value, dock.n_clusters.value = "full", 64
    # Run on a small image first: the compilation of kernels cannot be interrupted.
    layer = viewer.add_image(noise[:100, :100], name="noise", rgb=True)
    dock.add_recolored.value = False
    dock.run()
    finish(dock)
    viewer.layers.remove("noise labels")
    layer.data = noise
    dock.run()
    qtbot.waitUntil(lambda: dock.progress_bar.value > 0, timeout=20_000)
    # Measure processor time, which does not depend on other programs.
    start = time.process_time()
    click(dock.cancel_button)
    finish(dock)
    assert time.process_time() - start < 5
    assert names(viewer) == ["picture", "noise"]


def test_result_that_arrives_after_cancel_is_not_shown(viewer, dock, finish):
    worker = dock.run()
    # The signals of the worker are delivered only when the event loop runs again.
    assert QThreadPool.globalInstance().waitForDone(20_000)
    assert not worker.is_running
    click(dock.cancel_button)
    finish(dock)
    assert len(viewer.layers) == 1


def test_worker_emits_finished_only_after_its_thread_ended(viewer, dock, finish, qtbot, slow):
    """napari quits workers without the dock when the user chooses "close anyway"."""
    viewer.layers["picture"].data = slow
    worker = dock.run()
    qtbot.waitUntil(slow.asked.is_set)
    finished = []
    worker.finished.connect(lambda: finished.append(True))
    worker.quit()
    qtbot.wait(200)
    assert not finished
    slow.go_on.set()
    finish(dock)
    # The signal arrives through the event loop, which may be after the dock is ready again.
    qtbot.waitUntil(lambda: bool(finished), timeout=20_000)
    assert len(viewer.layers) == 1


# ------------------------------------------------------------ errors, warnings


def test_invalid_mask_is_shown_as_one_sentence(viewer, dock, finish):
    viewer.add_labels(np.zeros((20, 21), dtype=int), name="nothing")
    dock.mask.value = viewer.layers["nothing"]
    click(dock.run_button)
    finish(dock)
    ((severity, message),) = notifications()
    assert severity == "error"
    assert "left out" in message
    assert type(notification_manager.records[0]).__name__ == "Notification"
    assert len(viewer.layers) == 2


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("coreset_size", "many", "coreset_size must be 'auto' or a whole number"),
        ("coreset_size", 2, "coreset_size must be at least n_clusters, got 2 for 4"),
        ("n_init", "-1", "n_init must be 'auto' or a whole number"),
    ],
)
def test_invalid_option_is_shown_with_its_name(viewer, dock, finish, name, value, sentence):
    getattr(dock, name).value = value
    click(dock.run_button)
    finish(dock)
    ((severity, message),) = notifications()
    assert severity == "error"
    assert message.startswith(sentence)
    assert dock.error_note.text() == f"No new result: {message}"
    assert len(viewer.layers) == 1


def test_the_line_of_an_error_is_hidden_by_the_next_run(viewer, dock, finish):
    dock.texture.value = 1
    click(dock.run_button)
    finish(dock)
    assert dock.error_note.text().startswith("No new result: texture must be 0 without a blur")
    assert not dock.error_note.isHidden()
    dock.texture.value = 0
    click(dock.run_button)
    finish(dock)
    assert dock.error_note.isHidden()
    assert len(viewer.layers) == 3


@pytest.mark.parametrize("error", [RuntimeError, StopIteration, ZeroDivisionError, KeyError])
def test_unexpected_error_is_shown_with_traceback(viewer, dock, finish, slow, error):
    viewer.layers["picture"].data = slow
    slow.error = error("the disk is on fire")
    slow.go_on.set()
    click(dock.run_button)
    finish(dock)
    (record,) = notification_manager.records
    assert "the disk is on fire" in record.message
    assert "SlowImage.__array__" in record.as_text()
    assert len(viewer.layers) == 1


def test_memory_error_is_shown_as_sentence(viewer, dock, finish, slow):
    viewer.layers["picture"].data = slow
    slow.error = MemoryError()
    slow.go_on.set()
    click(dock.run_button)
    finish(dock)
    assert notifications() == [("error", "There is too little memory (MemoryError).")]
    assert dock.error_note.text() == "No new result: There is too little memory (MemoryError)."


def test_memory_error_in_painting_leaves_layers_unchanged(viewer, open_dock, finish):
    """The slice in view is clustered, but memory cannot hold the labels of the stack."""
    plane = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    stack = viewer.add_image(plane[None, None, None], name="stack", contrast_limits=(0, 255))
    dock = open_dock()
    dock.stack.value = "this"
    dock.run()
    finish(dock)
    before = [(layer.data.copy(), dict(layer.metadata)) for layer in viewer.layers[1:]]
    stack.data = np.broadcast_to(plane, (2**13, 2**13, 2**12, 64, 64))
    dock.n_clusters.value = 3
    click(dock.run_button)
    finish(dock)
    ((severity, message),) = notifications()
    assert severity == "error"
    assert "Unable to allocate" in message
    assert len(viewer.layers) == 3
    for layer, (pixels, metadata) in zip(viewer.layers[1:], before, strict=True):
        np.testing.assert_array_equal(layer.data, pixels)
        assert layer.metadata == metadata
    stack.data = plane[None, None, None]
    click(dock.run_button)
    finish(dock)
    assert sorted(np.unique(viewer.layers["stack labels"].data)) == [1, 2, 3]


def test_fewer_clusters_is_a_warning_in_each_run(viewer, dock, finish):
    viewer.layers["picture"].data = np.zeros((20, 21, 3), dtype=np.uint8)
    for count in (1, 2):
        click(dock.run_button)
        finish(dock)
        assert [severity for severity, _ in notifications()] == ["warning"] * count
    assert "gave 1 cluster" in notifications()[0][1]
    assert viewer.layers["picture labels"].features["index"].tolist() == [1]


# ------------------------------------------------------------- update or add


def test_update_changes_layers_in_place(viewer, dock, finish):
    dock.add_points.value = True
    click(dock.run_button)
    finish(dock)
    before = list(viewer.layers)
    before[2].name = "renamed"
    dock.n_clusters.value = 2
    click(dock.run_button)
    finish(dock)
    assert list(viewer.layers) == before
    assert sorted(np.unique(before[2].data)) == [1, 2]
    assert before[2].features["index"].tolist() == [1, 2]
    assert len(np.unique(before[1].data.reshape(-1, 3), axis=0)) == 2


def test_run_without_update_adds_new_layers(viewer, dock, finish):
    dock.update_layers.value = False
    for _ in range(2):
        click(dock.run_button)
        finish(dock)
    assert names(viewer) == [
        "picture",
        "picture recolored",
        "picture labels",
        "picture recolored [1]",
        "picture labels [1]",
    ]


def test_other_layers_of_the_same_name_are_not_changed(
    viewer, dock, finish, quadrants, quadrant_labels
):
    mine = viewer.add_labels(quadrant_labels.copy(), name="picture labels")
    photo = viewer.add_image(quadrants.copy(), name="picture recolored", rgb=True)
    dock.image.value, dock.n_clusters.value = viewer.layers["picture"], 2
    for _ in range(2):
        click(dock.run_button)
        finish(dock)
    assert len(viewer.layers) == 5
    np.testing.assert_array_equal(mine.data, quadrant_labels)
    np.testing.assert_array_equal(photo.data, quadrants)


def test_each_image_has_its_own_result_layers(viewer, dock, finish, quadrants):
    click(dock.run_button)
    finish(dock)
    viewer.add_image(quadrants[::-1].copy(), name="other", rgb=True)
    click(dock.run_button)
    finish(dock)
    assert names(viewer)[3:] == ["other", "other recolored", "other labels"]


def test_deleted_result_layer_is_added_again(viewer, dock, finish):
    click(dock.run_button)
    finish(dock)
    viewer.layers.remove("picture labels")
    click(dock.run_button)
    finish(dock)
    assert names(viewer) == ["picture", "picture recolored", "picture labels"]


# --------------------------------------------------------------------- masks


def test_shapes_layer_is_used_as_mask(viewer, dock, finish, quadrant_labels):
    box = [[-0.5, -0.5], [-0.5, 20.5], [9.5, 20.5], [9.5, -0.5]]
    shapes = viewer.add_shapes([np.array(box)], shape_type="rectangle")
    dock.mask.value, dock.n_clusters.value = shapes, 2
    click(dock.run_button)
    finish(dock)
    expected = np.where(quadrant_labels < 3, quadrant_labels, 0)
    np.testing.assert_array_equal(viewer.layers["picture labels"].data, expected)


# ------------------------------------------------------------------- closing


def start_slow_run(viewer, dock, qtbot, slow):
    viewer.layers["picture"].data = slow
    worker = dock.run()
    qtbot.waitUntil(slow.asked.is_set)
    return worker


def wait_until_stopped(qtbot, worker, slow):
    slow.go_on.set()
    qtbot.waitUntil(lambda: not worker.is_running, timeout=10_000)
    assert QThreadPool.globalInstance().waitForDone(10_000)
    qtbot.wait(50)


@pytest.mark.window
def test_closing_the_dock_stops_the_run(viewer, dock, qtbot, slow):
    worker = start_slow_run(viewer, dock, qtbot, slow)
    viewer.window.remove_dock_widget(dock.native)
    assert worker.abort_requested
    wait_until_stopped(qtbot, worker, slow)
    assert len(viewer.layers) == 1
    assert not notifications()
    dock.native.deleteLater()
    qtbot.wait(50)


@pytest.mark.window
def test_hiding_the_dock_does_not_stop_the_run(viewer, dock, qtbot, slow, finish):
    start_slow_run(viewer, dock, qtbot, slow)
    dock.native.parent().close()
    slow.go_on.set()
    finish(dock)
    assert len(viewer.layers) == 3


@pytest.mark.window
def test_closing_the_viewer_stops_the_run(viewer, dock, qtbot, slow):
    worker = start_slow_run(viewer, dock, qtbot, slow)
    viewer.close()
    assert worker.abort_requested
    wait_until_stopped(qtbot, worker, slow)
    assert not notifications()


@pytest.mark.window
def test_run_adds_layers_to_its_own_viewer_only(viewer, dock, make_napari_viewer, finish):
    other = make_napari_viewer()
    click(dock.run_button)
    finish(dock)
    assert len(viewer.layers) == 3
    assert not other.layers


@pytest.mark.window
def test_widget_made_by_script_works_as_dock(viewer, quadrants, finish):
    viewer.add_image(quadrants, name="picture", rgb=True)
    widget = KMeansWidget(viewer)
    viewer.window.add_dock_widget(widget, name="K-means")
    widget.n_clusters.value = 4
    click(widget.run_button)
    finish(widget)
    assert len(viewer.layers) == 3


def test_opening_the_dock_loads_the_compiled_kernels(dock):
    thread = warm_up()
    assert thread is warm_up()
    thread.join(timeout=120)
    assert not thread.is_alive()
    assert count_codes.signatures


def test_exit_during_the_loading_of_the_kernels_prints_no_traceback():
    # Functions of atexit run after the pools of threads have been shut down.
    script = (
        "import atexit\n"
        "from napari_kmeans.viewer.background.worker import warm_up\n"
        "atexit.register(warm_up().join, 60)\n"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "Traceback" not in process.stderr
    assert process.returncode == 0
