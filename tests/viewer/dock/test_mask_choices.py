"""The mask field with the classes of Labels layers, and live runs that follow the mask."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt

from napari_kmeans import segment
from napari_kmeans.viewer.dock.mask_choices import ClassesOf, class_rows
from napari_kmeans.viewer.from_layers.layer_watcher import (
    LayerWatcher,
    events_of_marks,
    events_of_mask,
)
from napari_kmeans.viewer.provenance import METADATA_KEY


@pytest.fixture
def run(finish):
    """Return a function that runs a dock as a click does, and waits."""

    def run_it(widget):
        widget.run_button.native.click()
        finish(widget)

    return run_it


def shifted(labels, number):
    return np.where(labels > 0, labels.astype(int) + number, 0)


def test_run_inside_classes_adds_a_layer_and_leaves_its_mask(
    viewer, dock, run, quadrants, quadrant_labels
):
    assert dock.mask_classes.isHidden()
    run(dock)
    outer = viewer.layers["picture labels"]
    outer.features = outer.features.assign(name=["night", "", "leaf", ""])
    before = outer.data.copy()
    viewer.add_labels(np.ones((20, 21), int), name="without a table")
    names = [name for name, _ in dock.mask._widget._mgui_get_choices()]
    assert "classes of picture labels…" in names
    assert "classes of without a table…" not in names

    dock.mask.value = ClassesOf(outer)
    assert not dock.mask_classes.isHidden()
    texts = [dock.mask_classes.item(row).text() for row in range(4)]
    assert texts == ["1  night", "2", "3  leaf", "4"]
    assert dock.mask_classes.value == (1,)
    assert class_rows(outer)[0].color == outer.features["color"][0]
    dock.mask_classes.value = (1, 3)
    dock.n_clusters.value = 2
    run(dock)
    inner = viewer.layers["picture inner labels"]
    expected = segment(quadrants, 2, rgb=True, mask=np.isin(quadrant_labels, [1, 3]))
    np.testing.assert_array_equal(inner.data, shifted(expected.labels, 4))
    np.testing.assert_array_equal(outer.data, before)
    assert inner.features["index"].tolist() == [5, 6]
    assert inner.metadata[METADATA_KEY]["inside"]["layer"] == "picture labels"

    # Another choice of classes updates the inner layer, and keeps the names of its classes.
    inner.features = inner.features.assign(name=["dark", "light"])
    n_layers = len(viewer.layers)
    dock.mask_classes.value = (1, 2, 3)
    dock.n_clusters.value = 3
    run(dock)
    assert len(viewer.layers) == n_layers
    np.testing.assert_array_equal(inner.data > 0, quadrant_labels < 4)
    assert dict(zip(inner.features["index"], inner.features["name"], strict=True)) == {
        5: "dark",
        6: "",
        7: "light",
    }
    np.testing.assert_array_equal(outer.data, before)

    # The labels of merged clusters stay those of the inner result.
    dock.folds["merge"].folder.expand(animate=False)
    dock.folds["merge"].panel.min_share.value = 40
    merged = set(np.unique(inner.data)) - {0}
    assert 5 in merged
    assert merged < {5, 6, 7}

    # A run of the whole image updates the outer layer again.
    dock.mask.value = None
    assert dock.mask_classes.isHidden()
    dock.n_clusters.value = 4
    run(dock)
    np.testing.assert_array_equal(outer.data, quadrant_labels)
    assert set(np.unique(inner.data)) == {0, *merged}

    # A result as a whole is no layer that a run in it may update, either.
    dock.mask.value = outer
    run(dock)
    np.testing.assert_array_equal(outer.data, quadrant_labels)
    assert not notification_manager.records


def test_run_without_a_checked_class_says_so(viewer, dock, run):
    mask = viewer.add_labels(np.ones((20, 21), int), name="drawn", features={"index": [1, 2]})
    dock.mask.value = ClassesOf(mask)
    dock.mask_classes.value = ()
    run(dock)
    (record,) = notification_manager.records
    assert record.message.startswith("mask_classes must have one or more labels, got none of")


def test_live_run_follows_the_checked_classes_and_their_names(
    viewer, dock, finish, qtbot, quadrant_labels
):
    mask = viewer.add_labels(quadrant_labels, name="drawn")
    assert "classes of drawn…" not in [name for name, _ in dock.mask._widget._mgui_get_choices()]
    mask.features = {"index": [1, 2, 3, 4]}
    viewer.layers.selection = {viewer.layers["picture"]}
    dock.mask.value = ClassesOf(mask)
    dock.live.value = True
    finish(dock)
    labels = viewer.layers["picture inner labels"]
    np.testing.assert_array_equal(labels.data > 0, quadrant_labels == 1)
    dock.mask_classes.item(2).setCheckState(Qt.CheckState.Checked)
    qtbot.waitUntil(lambda: bool(labels.data[15, 5]), timeout=10_000)
    np.testing.assert_array_equal(labels.data > 0, quadrant_labels % 2 == 1)
    mask.features = {"index": [1, 2, 3, 4], "name": ["", "", "leaf", ""]}
    qtbot.waitUntil(lambda: dock.mask_classes.item(2).text() == "3  leaf")
    assert dock.mask_classes.value == (1, 3)


def test_split_classes_of_an_inner_result_have_no_label_of_its_mask(
    viewer, dock, run, qtbot, quadrant_labels
):
    mask = viewer.add_labels(quadrant_labels // 4, name="drawn", features={"index": [1]})
    mask.data = np.ones_like(mask.data)
    dock.mask.value = ClassesOf(mask)
    run(dock)
    labels = viewer.layers["picture inner labels"]
    np.testing.assert_array_equal(labels.data, quadrant_labels + 1)
    panel = dock.folds["clusters"].open()
    assert panel.list.merge([2, 3, 5]) == 2
    assert set(np.unique(labels.data)) == {2, 4}
    panel.split(2)
    qtbot.waitUntil(lambda: not panel.is_working, timeout=20_000)
    np.testing.assert_array_equal(labels.data, quadrant_labels + 1)
    panel.split_anew(3, 2)
    qtbot.waitUntil(lambda: not panel.is_working, timeout=20_000)
    assert set(np.unique(labels.data)) == {2, 3, 4, 5, 6}


@pytest.mark.window
def test_choice_of_classes_survives_the_dock_and_dies_with_the_layer(
    viewer, dock, open_dock, delete
):
    mask = viewer.add_labels(np.ones((20, 21), int), name="drawn", features={"index": [1, 2]})
    dock.mask.value = ClassesOf(mask)
    dock.mask_classes.value = (2,)
    mask.name = "renamed"
    assert dock.mask.value == ClassesOf(mask)
    viewer.window.remove_dock_widget(dock.native)
    delete(dock.native)
    again = open_dock()
    assert again.mask.value == ClassesOf(mask)
    assert again.mask_classes.value == (2,)
    viewer.layers.remove(mask)
    assert again.mask.value is None
    assert again.mask_classes.isHidden()


def test_live_run_follows_the_mask(viewer, dock, finish, qtbot, quadrants):
    """Each change of the mask gives the labels of the new mask: where it is, not where it was."""
    drawn = np.zeros((20, 21), int)
    drawn[:10] = 1
    mask = viewer.add_labels(drawn, name="drawn", features={"index": [1, 2]})
    shapes = viewer.add_shapes([[(0, 0), (0, 20), (8, 20), (8, 0)]], name="shapes")
    dock.mask.value = mask
    dock.live.value = True

    def expect(inside):
        def check():
            labels = viewer.layers["picture labels"].data
            np.testing.assert_array_equal(labels > 0, inside)

        qtbot.waitUntil(lambda: "picture labels" in viewer.layers, timeout=10_000)
        qtbot.waitUntil(lambda: check() is None, timeout=10_000)

    expect(drawn > 0)
    mask.data_setitem(np.nonzero(np.ones((5, 5))), 0)
    painted = drawn > 0
    painted[:5, :5] = False
    expect(painted)
    mask.translate = (3, 0)
    expect(np.vstack([np.zeros((3, 21), bool), painted[:-3]]))
    mask.translate = (0, 0)
    mask.data = 1 - drawn
    expect(drawn == 0)
    dock.mask.value = shapes
    expect(np.indices((20, 21))[0] <= 8)
    shapes.data = [np.array([(0, 0), (0, 20), (4, 20), (4, 0)])]
    expect(np.indices((20, 21))[0] <= 4)
    shapes.add_rectangles([[(15, 0), (19, 20)]])
    expect((np.indices((20, 21))[0] <= 4) | (np.indices((20, 21))[0] >= 15))
    dock.mask.value = None
    finish(dock)
    # The layer that is no longer the mask is not followed.
    runs = []
    dock.segmented.connect(lambda _: runs.append(1))
    shapes.translate = (2, 0)
    mask.translate = (2, 0)
    qtbot.wait(50)
    assert not runs


def test_layers_of_results_are_not_followed_when_they_are_replaced(qtbot, viewer, dock):
    called = []
    layer = Labels(np.zeros((4, 4), int))
    marks = LayerWatcher(dock.native, lambda: called.append("marks"), events_of_marks)
    mask = LayerWatcher(dock.native, lambda: called.append("mask"), events_of_mask)
    for watcher in (marks, mask):
        watcher.watch(layer)
    layer.data = np.ones((4, 4), int)
    qtbot.waitUntil(lambda: bool(called))
    assert called == ["mask"]
    layer.data_setitem((np.array([1]), np.array([1])), 3)
    layer.scale = (2, 2)
    qtbot.waitUntil(lambda: len(called) == 3)
    assert sorted(called) == ["marks", "mask", "mask"]
