"""Edits of results by hand: duplicates stay as they are, and counts are marked as outdated."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from napari.layers import Image, Labels, _layer_actions

from napari_kmeans import segment_layer
from napari_kmeans.viewer.provenance import METADATA_KEY, is_copy
from napari_kmeans.viewer.to_layers.as_python import PAINTED
from napari_kmeans.viewer.to_layers.clusters import Clusters
from napari_kmeans.viewer.to_layers.update import find_result, update_layer
from napari_kmeans.viewer.widgets.cluster_list import NAME

RED = 2
"""The label of the upper right quadrant."""


def duplicate(viewer, *names):
    """Duplicate layers as the context menu of napari does."""
    viewer.layers.selection = {viewer.layers[name] for name in names}
    _layer_actions._duplicate_layer(viewer.layers)
    return [viewer.layers[f"{name} copy"] for name in names]


def run(dock, finish, **fields):
    for name, value in fields.items():
        getattr(dock, name).value = value
    dock.run_button.native.click()
    finish(dock)


# -------------------------------------------------------------------- copies


def test_run_updates_originals_and_not_their_duplicates(viewer, dock, finish):
    image = viewer.layers["picture"]
    dock.add_points.value = True
    run(dock, finish, n_clusters=3)
    names = ["picture labels", "picture recolored", "picture coreset"]
    originals = [viewer.layers[name] for name in names]
    copies = duplicate(viewer, *names)
    copies[0].data[0, 0] = 3
    were = [np.array(each.data) for each in copies]
    run(dock, finish, image=image, n_clusters=2)
    assert list(dock.result.layers) == [originals[1], originals[0], originals[2]]
    for copy, was in zip(copies, were, strict=True):
        np.testing.assert_array_equal(copy.data, was)
        assert copy.metadata[METADATA_KEY]["options"]["n_clusters"] == 3
    assert set(np.unique(originals[0].data)) == {1, 2}
    assert dock.folds["clusters"].open().list.layer is originals[0]


def test_run_does_not_update_a_duplicate_without_its_original(viewer, dock, finish):
    run(dock, finish, n_clusters=3)
    (copy,) = duplicate(viewer, "picture labels")
    viewer.layers.remove("picture labels")
    copy.name = "picture labels"
    run(dock, finish, image=viewer.layers["picture"], n_clusters=2)
    assert set(np.unique(copy.data)) == {1, 2, 3}
    assert dock.result.labels is not copy
    assert dock.result.labels in viewer.layers
    run(dock, finish, n_clusters=4)
    assert set(np.unique(copy.data)) == {1, 2, 3}
    assert [type(layer) for layer in viewer.layers].count(Labels) == 2


def test_objects_update_originals_and_not_their_duplicates(viewer, dock, finish, finish_work):
    run(dock, finish)
    panel = dock.folds["objects"].open()
    panel.split()
    finish_work(panel)
    (copy,) = duplicate(viewer, "picture objects")
    was = np.array(copy.data)
    dock.image.value = viewer.layers["picture"]
    panel.min_size.value = 105
    panel.split()
    finish_work(panel)
    np.testing.assert_array_equal(copy.data, was)
    assert len(viewer.layers["picture objects"].features) == 2


def test_channels_update_originals_and_not_their_duplicates(quadrants):
    layers = [Image(quadrants[..., channel]) for channel in range(2)]
    labels, recolored = segment_layer(layers, 4)
    copies = [Image(each.data, metadata=each.metadata) for each in recolored]
    assert [is_copy(each) for each in (labels, *recolored, *copies)] == [False] * 3 + [True] * 2
    for original, new in zip(recolored, segment_layer(layers, 2)[1], strict=True):
        assert find_result([labels, *recolored, *copies], new) is original
        assert find_result(copies, new) is None


def test_layer_without_a_recorded_id_is_an_original(quadrants):
    image = Image(quadrants, rgb=True)
    labels, _ = segment_layer(image, 4)
    del labels.metadata[METADATA_KEY]["layer_id"]
    new, _ = segment_layer(image, 2)
    assert find_result([labels], new) is labels
    update_layer(labels, new)
    assert not is_copy(labels)
    assert find_result([labels], segment_layer(image, 3)[0]) is labels


# ------------------------------------------------------- counts that are outdated


def strokes(layer):
    """Yield each way to edit a layer in napari, as a function and its arguments."""
    yield layer.paint, ((2, 2), 3)
    yield layer.fill, ((2, 15), 1)
    yield layer.paint, ((15, 15), 0)  # the eraser
    yield layer.paint_polygon, ([[1, 1], [1, 8], [8, 8]], 2)
    yield layer.data_setitem, ((np.array([3]), np.array([3])), 4)


@pytest.mark.parametrize("number", range(5))
def test_every_edit_by_hand_marks_the_table(quadrants, number):
    labels, _ = segment_layer(Image(quadrants, rgb=True), 4)
    before = labels.features.copy()
    edit, arguments = list(strokes(labels))[number]
    edit(*arguments)
    assert labels.features["outdated"].tolist() == [True] * 4
    assert labels.features["outdated"].dtype == bool
    assert labels.features.drop(columns="outdated").equals(before)
    labels.undo()
    assert labels.features["outdated"].all()


def test_replaced_data_mark_the_table(quadrants, quadrant_labels):
    """Another plugin may replace the data of a layer."""
    labels, _ = segment_layer(Image(quadrants, rgb=True), 4)
    labels.data = quadrant_labels % 2
    assert labels.features["outdated"].all()


def test_stroke_marks_the_table_once(quadrants):
    labels, _ = segment_layer(Image(quadrants, rgb=True), 4)
    events = []
    labels.events.features.connect(lambda: events.append(1))
    with labels.block_history():
        for column in range(5, 15):
            labels.paint((5, column), 3)
        assert not events
    assert len(events) == 1
    for column in range(5, 15):
        labels.paint((9, column), 3)
    assert len(events) == 1


def test_edits_of_clusters_do_not_mark_the_table(viewer, dock, finish):
    run(dock, finish)
    labels = viewer.layers["picture labels"]
    clusters = dock.folds["clusters"].open().list
    model = clusters.table.model()
    model.setData(model.index(0, NAME), "ink")
    clusters.set_color(2, "orange")
    clusters.select([3])
    clusters.show_action.trigger()
    clusters.merge([1, 3])
    clusters.undo()
    clusters.redo()
    clusters.select([2])
    labels.opacity, labels.name, labels.selected_label = 0.3, "other", 2
    run(dock, finish, n_clusters=3)
    dock.folds["merge"].open().distance.value = 40
    assert "outdated" not in labels.features
    assert clusters.outdated.isHidden()


def test_panel_shows_the_mark_until_the_next_run(viewer, dock, finish, tmp_path):
    run(dock, finish)
    labels = viewer.layers["picture labels"]
    clusters = dock.folds["clusters"].open().list
    assert clusters.outdated.isHidden()
    labels.paint((15, 15), RED)
    assert not clusters.outdated.isHidden()
    assert "outdated" in clusters.outdated.text()
    export = dock.folds["export"].open()
    export.save_table(tmp_path / "table.csv")
    with open(tmp_path / "table.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    # The table is counted before it is saved.
    assert "outdated" not in rows[0]
    counts = np.bincount(labels.data.ravel())[1:]
    assert [int(row["pixels"]) for row in rows] == counts.tolist()
    assert clusters.outdated.isHidden()
    labels.mode = "paint"
    run(dock, finish, n_clusters=2)
    assert clusters.outdated.isHidden()
    assert "outdated" not in labels.features
    # The run replaces the pixels: strokes from before can no longer be undone.
    result = np.array(labels.data)
    assert result[15, 15] == 2
    labels.undo()
    np.testing.assert_array_equal(labels.data, result)
    assert labels.mode == "paint"
    export.save_table(tmp_path / "table.csv")
    assert "outdated" not in (tmp_path / "table.csv").read_text("utf-8")


def test_list_shows_the_level_and_the_slice_that_were_counted(viewer, dock, finish, quadrants):
    viewer.layers.clear()
    large = np.kron(quadrants, np.ones((4, 4, 1), np.uint8))
    levels = [large, large[::2, ::2], large[::4, ::4]]
    slide = viewer.add_image(levels, rgb=True, multiscale=True, name="slide")
    stack = viewer.add_image(np.stack([quadrants, quadrants[::-1], quadrants]), rgb=True)
    clusters = dock.folds["clusters"].open().list
    for level in (2, 1, 2):
        run(dock, finish, image=slide, level=level)
        assert f"Counted on level {level} " in clusters.message.text()
    run(dock, finish, image=stack, stack="each")
    assert "Counted" not in clusters.message.text()
    for place in (2, 1):
        viewer.dims.set_current_step(0, place)
        run(dock, finish, image=stack, stack="this")
        assert f"Counted in slice {place} only." in clusters.message.text()
    run(dock, finish, image=stack, stack="whole")
    assert "Counted" not in clusters.message.text()


def test_edits_of_uncounted_slices_do_not_mark_the_table(viewer, dock, finish, quadrants):
    viewer.layers.clear()
    stack = viewer.add_image(np.stack([quadrants] * 3), rgb=True, name="stack")
    viewer.dims.set_current_step(0, 1)
    run(dock, finish, image=stack, stack="this")
    labels = viewer.layers["stack labels"]
    for place, marked in ((0, False), (2, False), (1, True)):
        viewer.dims.set_current_step(0, place)
        labels.paint((place, 5, 5), 3)
        assert ("outdated" in labels.features) == marked


@pytest.mark.window
def test_table_is_marked_while_the_dock_is_closed(viewer, dock, finish, open_dock, delete):
    run(dock, finish)
    labels = viewer.layers["picture labels"]
    viewer.window.remove_dock_widget(dock.native)
    delete(dock.native)
    labels.paint((5, 5), RED)
    assert labels.features["outdated"].all()
    again = open_dock()
    assert not again.folds["clusters"].open().list.outdated.isHidden()


def test_edit_of_a_duplicate_marks_only_the_duplicate(viewer, dock, finish):
    run(dock, finish)
    (copy,) = duplicate(viewer, "picture labels")
    copy.paint((5, 5), RED)
    assert copy.features["outdated"].all()
    assert "outdated" not in viewer.layers["picture labels"].features


def test_edits_of_clusters_can_be_undone_after_painting(quadrants):
    labels, _ = segment_layer(Image(quadrants, rgb=True), 4)
    clusters = Clusters(labels)
    events = []
    clusters.events.changed.connect(lambda: events.append(clusters.is_outdated))
    clusters.rename(1, "ink")
    clusters.merge([1, 3])
    labels.paint((15, 15), 1)
    painted = np.array(labels.data)
    assert events[-1]
    assert clusters.can_undo
    clusters.rename(2, "red")
    assert clusters.is_outdated
    for _ in range(3):
        clusters.undo()
        counts = np.bincount(labels.data.ravel(), minlength=5)
        assert labels.features["pixels"].tolist() == counts[clusters.labels].tolist()
    assert not clusters.can_undo
    assert clusters.labels == [1, 2, 3, 4]
    assert clusters.name(1) == ""
    assert labels.data[15, 15] == 1
    for _ in range(3):
        clusters.redo()
    np.testing.assert_array_equal(labels.data, painted)
    assert labels.features["name"].tolist() == ["ink", "red", ""]
    assert not clusters.is_outdated


def test_merge_slider_does_not_overwrite_edits_by_hand(viewer, dock, finish):
    run(dock, finish)
    labels = viewer.layers["picture labels"]
    panel = dock.folds["merge"].open()
    panel.distance.value = 40
    joined, table = np.array(labels.data), labels.features.copy()
    assert len(table) < 4
    labels.selected_label = 9
    labels.paint((5, 5), 9)
    painted = np.array(labels.data)
    for distance in (0, 50):
        panel.distance.value = distance
        np.testing.assert_array_equal(labels.data, painted)
        assert labels.features["outdated"].all()
        assert panel.distance.value == 40
        assert not panel.distance.enabled
        assert "edited by hand" in panel.message.text()
    run(dock, finish)
    assert panel.distance.enabled
    assert panel.distance.value == 0
    panel.distance.value = 40
    np.testing.assert_array_equal(labels.data, joined)
    labels.paint((5, 5), 1)
    dock.folds["merge"].folder.collapse(animate=False)
    dock.folds["merge"].open()
    assert not panel.distance.enabled


def test_edit_of_objects_marks_their_table(viewer, dock, finish, finish_work):
    run(dock, finish)
    panel = dock.folds["objects"].open()
    panel.split()
    finish_work(panel)
    objects = viewer.layers["picture objects"]
    objects.paint((5, 5), 0)
    assert objects.features["outdated"].all()
    panel.split()
    finish_work(panel)
    assert "outdated" not in objects.features


@pytest.mark.window
def test_script_of_an_edited_result_is_that_of_the_run(viewer, dock, finish):
    run(dock, finish)
    export = dock.folds["export"].open()
    before = export.script()
    viewer.layers["picture labels"].paint((5, 5), RED)
    assert export.script() == f"{before}# {PAINTED}\n"


def test_table_without_pixels_is_not_marked(quadrants):
    labels, _ = segment_layer(Image(quadrants, rgb=True), 4)
    labels.features = {"index": [1, 2], "mine": ["a", "b"]}
    labels.paint((5, 5), 2)
    assert list(labels.features) == ["index", "mine"]


def test_napari_undo_after_a_merge_restores_no_label(quadrants):
    labels, _ = segment_layer(Image(quadrants, rgb=True), 4)
    clusters = Clusters(labels)
    labels.paint((10, 4), 4)
    clusters.merge([1, 2])
    merged = np.array(labels.data)
    labels.undo()
    np.testing.assert_array_equal(labels.data, merged)
    assert set(np.unique(labels.data)) <= set(labels.features["index"])
