"""A new run keeps the edits of the list of clusters, and a copy of labels painted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels
from napari.utils.notifications import notification_manager
from skimage import data

from napari_kmeans.viewer.to_layers.as_python import script_of
from napari_kmeans.viewer.to_layers.clusters import Clusters
from napari_kmeans.viewer.to_layers.layer_classes import (
    SLIDER_STARTS_AGAIN,
    SPLIT_DURING_RUN,
    classes_of,
)


def run(dock, finish, **fields):
    for name, value in fields.items():
        getattr(dock, name).value = value
    dock.run_button.native.click()
    finish(dock)
    return dock.result.labels


def edit(dock):
    """Name two clusters, recolor one, ignore one and merge two."""
    clusters = Clusters(dock.result.labels)
    clusters.rename(1, "dark")
    clusters.set_color(1, (0, 1, 0))
    clusters.ignore([2])
    clusters.rename(clusters.merge([3, 4]), "pale")
    clusters.disconnect()


def described(labels):
    return [(each.centers, each.name, each.color, each.ignored) for each in classes_of(labels)]


def test_the_same_run_again_keeps_all_edits(viewer, dock, finish, quadrant_labels):
    labels = run(dock, finish, n_clusters=4)
    edit(dock)
    before, table, data = described(labels), labels.features.copy(), labels.data.copy()
    assert (0,) in [centers for centers, *_ in before]
    assert run(dock, finish) is labels
    assert described(labels) == before
    np.testing.assert_array_equal(labels.data, data)
    np.testing.assert_array_equal(labels.data == 1, quadrant_labels == 1)
    assert labels.features[["index", "name", "pixels", "ignored"]].equals(
        table[["index", "name", "pixels", "ignored"]]
    )
    assert dock.result.model.classes == classes_of(labels)


def test_another_color_space_keeps_all_edits(viewer, dock, finish):
    labels = run(dock, finish, n_clusters=4)
    edit(dock)
    before = described(labels)
    run(dock, finish, color_space="lab")
    assert described(labels) == before


def test_fewer_clusters_keep_what_they_contain_and_name_what_is_lost(viewer, dock, finish):
    run(dock, finish, n_clusters=4)
    clusters = Clusters(dock.result.labels)
    for label in (1, 2, 3, 4):
        clusters.rename(label, f"name {label}")
    clusters.disconnect()
    messages = []
    notification_manager.notification_ready.connect(lambda note: messages.append(note.message))
    labels = run(dock, finish, n_clusters=2)
    names = [each.name for each in classes_of(labels)]
    assert len(set(names)) == 2
    lost = {f"name {label}" for label in (1, 2, 3, 4)} - {*names}
    assert any(all(name in message for name in lost) for message in messages)


def test_a_note_states_which_clusters_kept_their_edits(viewer, dock, finish):
    labels = run(dock, finish, n_clusters=4)
    assert dock.carried_note.text() == ""
    edit(dock)
    run(dock, finish)
    assert dock.carried_note.text() == (
        "Names and edits are kept by color in clusters 1 “dark”, 2 and 3 “pale”."
    )
    assert not dock.carried_note.isHidden()
    # The note is about the run, and goes with another result.
    run(dock, finish, update_layers=False)
    assert dock.carried_note.isHidden()
    viewer.layers.selection.active = labels
    assert dock.carried_note.isHidden()


def test_a_note_states_which_clusters_are_new(dock, finish):
    clusters = Clusters(run(dock, finish, n_clusters=3))
    clusters.rename(1, "dark")
    clusters.disconnect()
    # An earlier cluster without a name is not new.
    run(dock, finish)
    assert dock.carried_note.text() == "Names and edits are kept by color in cluster 1 “dark”."
    # The mean of the first and the third color was one cluster.
    run(dock, finish, n_clusters=4)
    assert dock.carried_note.text() == (
        "Names and edits are kept by color in cluster 2 “dark”. "
        "Clusters 1 and 3 are new and have no name."
    )


def test_a_result_beside_the_earlier_one_starts_without_edits(viewer, dock, finish):
    labels = run(dock, finish, n_clusters=4)
    edit(dock)
    before = described(labels)
    new = run(dock, finish, update_layers=False)
    assert new is not labels
    assert classes_of(new).is_unedited
    assert described(labels) == before


def test_labels_painted_by_hand_are_kept_in_a_hidden_copy(viewer, dock, finish):
    labels = run(dock, finish, n_clusters=4)
    labels.data_setitem((np.array([0, 1]), np.array([0, 0])), 9)
    painted = labels.data.copy()
    run(dock, finish)
    (copy,) = [each for each in viewer.layers if isinstance(each, Labels) and each is not labels]
    assert (copy.name, copy.visible) == (f"{labels.name} edited", False)
    np.testing.assert_array_equal(copy.data, painted)
    assert not np.any(labels.data == 9)
    run(dock, finish, n_clusters=3)
    np.testing.assert_array_equal(copy.data, painted)
    assert sum(isinstance(each, Labels) for each in viewer.layers) == 2


def test_merges_of_the_slider_are_carried_only_with_their_names(viewer, dock, finish):
    labels = run(dock, finish, n_clusters=4)
    slider = dock.folds["merge"].open().distance
    slider.value = 45
    n_merged = len(classes_of(labels))
    assert n_merged < 4
    run(dock, finish)
    assert classes_of(labels).is_unedited
    assert dock.carried_note.text() == SLIDER_STARTS_AGAIN
    run(dock, finish)
    assert dock.carried_note.text() == ""
    slider.value = 45
    merged = next(each for each in classes_of(labels) if len(each.centers) > 1)
    Clusters(labels).rename(merged.label, "both")
    run(dock, finish)
    (kept,) = [each for each in classes_of(labels) if each.name]
    assert (kept.name, kept.centers) == ("both", merged.centers)
    # It was merged at the start of this run, and stays merged without its name.
    Clusters(labels).rename(kept.label, "")
    run(dock, finish)
    assert merged.centers in [each.centers for each in classes_of(labels)]


def test_merges_of_the_slider_do_not_end_those_of_the_list(viewer, dock, finish):
    labels = run(dock, finish, n_clusters=4)
    Clusters(labels).merge([2, 3])
    run(dock, finish)
    merged = [each.centers for each in classes_of(labels)]
    assert merged == [(0,), (1, 2), (3,)]
    dock.folds["merge"].open().min_share.value = 50
    assert (1, 2) not in [each.centers for each in classes_of(labels)]
    run(dock, finish)
    assert [each.centers for each in classes_of(labels)] == merged


def test_fewer_clusters_in_between_lose_nothing(viewer, dock, finish):
    """As *Live* does while the user moves the number of clusters down and up again."""
    labels = run(dock, finish, n_clusters=4)
    edit(dock)
    before = described(labels)
    for n_clusters in (2, 1, 3, 4):
        run(dock, finish, n_clusters=n_clusters)
    assert described(labels) == before


def test_edits_are_not_carried_to_other_units(viewer, dock, finish, quadrants):
    labels = run(dock, finish, n_clusters=4)
    edit(dock)
    viewer.layers["picture"].data = (quadrants / 255).astype(np.float32)
    messages = []
    notification_manager.notification_ready.connect(lambda note: messages.append(note.message))
    run(dock, finish)
    assert classes_of(labels).is_unedited
    assert any("“dark”" in message and "“pale”" in message for message in messages)


@pytest.mark.parametrize("options", [{"min_confidence": 0.1, "smoothing": 1}, {"min_size": 30}])
def test_merged_clusters_decide_the_pixels_of_a_new_run(
    viewer, open_dock, finish, options, tmp_path
):
    """As the model with the same merges does, in Python and on the command line."""
    coffee = data.coffee()[100:180, 100:200]
    viewer.add_image(coffee, name="coffee")
    dock = open_dock()
    labels = run(dock, finish, n_clusters=6, **options)
    fitted = dock.result.model
    clusters = Clusters(labels)
    clusters.merge([2, 3, 4])
    clusters.merge([5, 6])
    clusters.disconnect()
    renumbered = labels.data.copy()
    expected = fitted.with_classes(classes_of(labels)).predict(coffee)
    assert (renumbered != expected).sum() > 50
    assert run(dock, finish) is labels
    np.testing.assert_array_equal(labels.data, expected)
    np.testing.assert_array_equal(dock.result.model.predict(coffee), expected)
    recolored = viewer.layers["coffee recolored"].data
    np.testing.assert_array_equal(recolored, dock.result.model.apply(coffee)[1])
    # The table counts the pixels of the new labels, and has their means.
    table = labels.features
    for label, pixels, red in zip(table["index"], table["pixels"], table["mean red"], strict=True):
        own = coffee[labels.data == label]
        assert (len(own), own[:, 0].mean()) == (pixels, pytest.approx(red))
    if "undecided" in table:
        assert table["undecided"].sum() == (labels.data == 0).sum()
    np.save(tmp_path / "image.npy", coffee)
    script = script_of(dock.result).replace('np.load("', f'np.load("{tmp_path}/')
    values: dict = {}
    exec(script, values)
    np.testing.assert_array_equal(values["labels"], expected)
    np.testing.assert_array_equal(values["recolored"], recolored)


@pytest.mark.parametrize("last", [[4, 5], None])
def test_a_script_renumbers_the_clusters_that_were_merged_after_the_run(
    viewer, open_dock, finish, tmp_path, last
):
    coffee = data.coffee()[100:180, 100:200]
    viewer.add_image(coffee, name="coffee")
    dock = open_dock()
    labels = run(dock, finish, n_clusters=6, min_confidence=0.1)
    Clusters(labels).merge([2, 3])
    run(dock, finish)
    if last is not None:
        Clusters(labels).merge(last)
    else:
        dock.folds["merge"].open().distance.value = 15
        assert 1 < len(classes_of(labels)) < 5
    np.save(tmp_path / "image.npy", coffee)
    script = script_of(dock.result).replace('np.load("', f'np.load("{tmp_path}/')
    values: dict = {}
    exec(script, values)
    np.testing.assert_array_equal(values["labels"], labels.data)


@pytest.mark.parametrize("is_undo", [False, True])
def test_edits_during_a_run(viewer, open_dock, finish, slow, qtbot, is_undo):
    """A merge renumbers the new labels, which do not contain the parts of an undone merge."""
    viewer.add_image(slow, name="slow", rgb=True)
    dock = open_dock()
    slow.go_on.set()
    labels = run(dock, finish, n_clusters=4, min_size=3)
    clusters, messages = Clusters(labels), []
    notification_manager.notification_ready.connect(lambda note: messages.append(note.message))
    if is_undo:
        clusters.merge([1, 2])
    slow.go_on.clear()
    slow.asked.clear()
    dock.run()
    qtbot.waitUntil(slow.asked.is_set)
    if is_undo:
        clusters.undo()
    else:
        clusters.merge([1, 2])
    slow.go_on.set()
    finish(dock)
    clusters.disconnect()
    assert [each.centers for each in classes_of(labels)] == [(0, 1), (2,), (3,)]
    assert np.unique(labels.data).tolist() == [1, 3, 4]
    assert (SPLIT_DURING_RUN in messages) == is_undo
