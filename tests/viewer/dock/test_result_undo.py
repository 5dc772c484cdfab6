"""The last result can be undone, and nothing of the user's is lost by it."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from napari.layers import Labels
from napari.utils.notifications import notification_manager

from napari_kmeans.viewer.provenance import METADATA_KEY, is_copy
from napari_kmeans.viewer.to_layers.clusters import Clusters
from napari_kmeans.viewer.to_layers.hand_edits import count_now


def run(dock, finish, **fields):
    for name, value in fields.items():
        getattr(dock, name).value = value
    dock.run_button.native.click()
    finish(dock)
    return dock.result.labels


def names(viewer):
    return [layer.name for layer in viewer.layers]


def state_of(layer):
    """Return copies of all that a run changes in a layer."""
    data = [np.array(level) for level in (layer.data if layer.multiscale else [layer.data])]
    state = {"data": data, "record": dict(layer.metadata[METADATA_KEY]), "scale": [*layer.scale]}
    if isinstance(layer, Labels):
        colors = {label: [*color] for label, color in layer.colormap.color_dict.items()}
        return {**state, "colors": colors, "table": layer.features.copy()}
    return {**state, "contrast": [*layer.contrast_limits]}


def check_state(layer, expected):
    actual = state_of(layer)
    for new, old in zip(actual.pop("data"), expected["data"], strict=True):
        np.testing.assert_array_equal(new, old)
    if "table" in actual:
        assert actual.pop("table").equals(expected["table"])
    assert actual == {name: expected[name] for name in actual}


def edit(labels):
    clusters = Clusters(labels)
    clusters.rename(1, "ink")
    clusters.set_color(2, (0, 1, 0))
    clusters.ignore([3])
    clusters.disconnect()


def test_undo_of_a_first_run_removes_its_layers(viewer, dock, finish):
    assert not dock.undo_button.enabled
    with pytest.raises(ValueError, match="there is no result to undo"):
        dock.undo_result()
    labels = run(dock, finish)
    viewer.layers.selection.active = labels
    assert dock.undo_button.enabled
    dock.undo_button.native.click()
    assert names(viewer) == ["picture"]
    assert viewer.layers.selection.active is viewer.layers["picture"]
    assert dock.result is None
    assert not dock.undo_button.enabled


def test_undo_brings_back_what_a_run_has_replaced(viewer, dock, finish, open_dock):
    clusters = dock.folds["clusters"].open()
    labels = run(dock, finish, n_clusters=4)
    recolored = viewer.layers["picture recolored"]
    edit(labels)
    labels.paint((5, 5), 4)
    count_now(labels)
    before, result = [state_of(labels), state_of(recolored)], dock.result
    array = labels.data
    run(dock, finish, n_clusters=2)
    # The run keeps the painted labels in a copy; the layer itself has them again after undo.
    assert "picture labels edited" in names(viewer)
    dock.undo_result()
    for layer, state in zip((labels, recolored), before, strict=True):
        check_state(layer, state)
    assert labels.data is array
    assert names(viewer) == ["picture", "picture recolored", "picture labels"]
    assert dock.result.outcome is result.outcome
    assert dock.result.model.classes == result.model.classes
    assert clusters.list.layer is labels
    assert clusters.list.table.model().labels == [1, 2, 3, 4]
    assert not is_copy(labels)
    # The next run carries the edits as if there had been no run in between.
    run(dock, finish, n_clusters=4)
    assert labels.features["name"].tolist() == ["ink", "", "", ""]


def test_undo_removes_layers_before_it_changes_others(viewer, dock, finish):
    # In the other order, napari can lose the new colors, and cannot draw the labels any more.
    labels = run(dock, finish, n_clusters=4)
    labels.paint((5, 5), 3)
    run(dock, finish, n_clusters=3)
    steps = []
    viewer.layers.events.removed.connect(lambda event: steps.append(f"removed {event.value}"))
    labels.events.data.connect(lambda: steps.append("data"))
    labels.events.colormap.connect(lambda: steps.append("colors"))
    dock.undo_result()
    assert steps[0] == "removed picture labels edited"
    assert {*steps[1:]} == {"data", "colors"}


@pytest.mark.parametrize("by_hand", ["paint", "rename"])
def test_edits_after_the_run_are_kept_in_a_copy(viewer, dock, finish, by_hand):
    labels = run(dock, finish, n_clusters=4)
    before = state_of(labels)
    run(dock, finish, n_clusters=3)
    if by_hand == "paint":
        labels.paint((5, 5), 3)
    else:
        edit(labels)
    edited = state_of(labels)
    dock.undo_result()
    check_state(labels, before)
    copy = viewer.layers["picture labels edited"]
    assert is_copy(copy)
    check_state(copy, edited)
    assert (
        "are kept in the layer “picture labels edited”" in notification_manager.records[-1].message
    )
    # The copy has its clusters, and no run updates it.
    viewer.layers.selection.active = copy
    assert dock.result.labels is copy


def test_edited_layers_of_a_first_run_stay(viewer, dock, finish):
    labels = run(dock, finish)
    labels.paint((5, 5), 3)
    dock.undo_result()
    assert names(viewer) == ["picture", "picture labels"]
    assert labels.data[5, 5] == 3


def test_live_runs_and_moves_of_the_slider_are_one_change(viewer, dock, finish):
    labels = run(dock, finish, n_clusters=4)
    recolored = viewer.layers["picture recolored"]
    before = state_of(labels), state_of(recolored)
    merge = dock.folds["merge"].open()
    for distance in (40, 50):
        merge.distance.value = distance
    assert labels.data.max() < 4
    dock.undo_result()
    assert merge.distance.value == 0
    assert merge.message.text() == "4 of 4 clusters."
    check_state(labels, before[0])
    check_state(recolored, before[1])
    dock.live.value = True
    for number in (3, 2):
        dock.n_clusters.value = number
        finish(dock)
    assert labels.data.max() == 2
    dock.undo_result()
    check_state(labels, before[0])
    check_state(recolored, before[1])
    # Names that were given between two live runs are not lost.
    dock.n_clusters.value = 3
    finish(dock)
    edit(labels)
    named = state_of(labels)
    dock.n_clusters.value = 2
    finish(dock)
    dock.undo_result()
    check_state(labels, named)


def test_undo_of_one_slice_leaves_the_other_slices(viewer, dock, finish, quadrants):
    viewer.layers.clear()
    stack = viewer.add_image(np.stack([quadrants] * 3), rgb=True, name="stack")
    labels = run(dock, finish, image=stack, stack="this")
    viewer.dims.set_current_step(0, 1)
    run(dock, finish, n_clusters=3)
    labels.data[0, 5, 5] = 4
    labels.refresh()
    before, array = state_of(labels), labels.data
    recolored = state_of(viewer.layers["stack recolored"])
    run(dock, finish, n_clusters=2)
    assert labels.data is array
    assert [labels.data[place].max() for place in range(3)] == [4, 2, 0]
    dock.undo_result()
    check_state(labels, before)
    check_state(viewer.layers["stack recolored"], recolored)
    assert labels.data is array


def test_undo_of_an_applied_model_and_of_objects(viewer, dock, finish, quadrants, qtbot):
    labels = run(dock, finish, n_clusters=4)
    other = viewer.add_image(quadrants[::-1], rgb=True, name="other")
    apply = dock.folds["apply"].open()
    apply.apply(other)
    # The signal `finished` can be sent before a test waits for it.
    qtbot.waitUntil(lambda: not apply.is_working, timeout=20_000)
    applied = state_of(viewer.layers["other labels"])
    run(dock, finish, image=other, n_clusters=2)
    assert dock.result.labels is viewer.layers["other labels"]
    dock.undo_result()
    check_state(viewer.layers["other labels"], applied)
    assert dock.result.labels is labels
    viewer.layers.selection.active = viewer.layers["other labels"]
    assert dock.result.task.applied
    viewer.layers.selection.active = labels
    objects = dock.folds["objects"].open()
    objects.split()
    qtbot.waitUntil(lambda: not objects.is_working, timeout=20_000)
    dock.undo_result()
    assert "picture objects" not in names(viewer)


def test_deleted_layers_cannot_be_restored(viewer, dock, finish):
    run(dock, finish, n_clusters=4)
    labels = weakref.ref(run(dock, finish, n_clusters=3))
    recolored = viewer.layers["picture recolored"]
    viewer.layers.remove(labels())
    gc.collect()
    assert labels() is None
    dock.undo_result()
    assert names(viewer) == ["picture", "picture recolored"]
    assert len(np.unique(recolored.data.reshape(-1, 3), axis=0)) == 4
    run(dock, finish)
    viewer.layers.clear()
    assert not dock.undo_button.enabled


def test_undo_of_levels_and_channels(viewer, dock, finish, quadrants):
    viewer.layers.clear()
    levels = [np.kron(quadrants, np.ones((2, 2, 1), np.uint8)), quadrants]
    slide = viewer.add_image(levels, rgb=True, multiscale=True, name="slide")
    labels = run(dock, finish, image=slide, n_clusters=4)
    before = state_of(labels)
    run(dock, finish, n_clusters=2)
    edit(labels) if len(labels.features) > 2 else Clusters(labels).rename(1, "ink")
    dock.undo_result()
    check_state(labels, before)
    assert viewer.layers["slide labels edited"].multiscale
    channels = viewer.add_image(quadrants, channel_axis=2)
    viewer.layers.selection = set(channels)
    labels = run(dock, finish, image=channels[0], together=True, n_clusters=4)
    states = [(layer, state_of(layer)) for layer in dock.result.layers]
    assert len(states) == 4
    run(dock, finish, n_clusters=2)
    dock.undo_result()
    for layer, state in states:
        check_state(layer, state)
