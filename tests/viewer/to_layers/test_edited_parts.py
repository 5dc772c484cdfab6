"""The parts of labels that were edited by hand, and runs of one slice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from napari.layers import Labels

from napari_kmeans import segment_layer
from napari_kmeans.viewer.provenance import METADATA_KEY, is_edited_by_hand
from napari_kmeans.viewer.read_results import get_reader
from napari_kmeans.viewer.to_layers.edited_parts import (
    add_edit,
    edited_boxes,
    edits_outside,
    is_edited_in,
)
from napari_kmeans.viewer.write_results import write_labels


def labels_of(shape, **record):
    return Labels(np.zeros(shape, int), metadata={METADATA_KEY: {"kind": "labels", **record}})


def inside(boxes, shape):
    mask = np.zeros(shape, bool)
    for box in boxes:
        mask[tuple(slice(*pair) for pair in box)] = True
    return mask


@pytest.mark.parametrize("shape", [(8, 9), (5, 8, 9), (3, 4, 8, 9)])
def test_no_edit_is_missed_and_slices_are_cut_out(shape):
    rng = np.random.default_rng(0)
    n_axes, layer, painted = len(shape), labels_of(shape), np.zeros(shape, bool)
    for _ in range(30):
        # A stroke in one plane, as arrays or as slices.
        plane = [rng.integers(size) for size in shape[:-2]]
        rows, columns = rng.integers(0, 8, 6), rng.integers(0, 9, 6)
        indices = (*(np.full(6, index) for index in plane), rows, columns)
        if rng.random() < 0.5:
            indices = (*(slice(index, index + 1) for index in plane), slice(1, 5), slice(2, 9))
        add_edit(layer, [(indices, 0, 1)])
        painted[indices] = True
    boxes = edited_boxes(layer)
    assert len(boxes) <= np.prod(shape[:-2])
    mask = inside(boxes, shape)
    assert not (painted & ~mask).any()
    for index in itertools.product(*(range(size) for size in shape[:-2])):
        assert mask[index].any() == painted[index].any()
        whole = (*index, None, None)
        assert is_edited_in(layer, whole) == painted[index].any()
        rest = mask.copy()
        rest[index] = False
        np.testing.assert_array_equal(inside(edits_outside(layer, whole), shape), rest)
    across = (*[None] * (n_axes - 1), 3)
    assert not inside(edits_outside(layer, across), shape)[..., 3].any()


@pytest.mark.parametrize("recorded", [True, [[[0, 2]]], "all", [[[0, 1.5], [0, 1], [0, 1]]]])
def test_edits_of_unknown_place_are_everywhere(recorded):
    layer = labels_of((3, 4, 5), edited_by_hand=recorded)
    assert edited_boxes(layer) == [[[0, 3], [0, 4], [0, 5]]]
    assert edits_outside(layer, (1, None, None)) == [
        [[0, 1], [0, 4], [0, 5]],
        [[2, 3], [0, 4], [0, 5]],
    ]
    add_edit(layer)
    assert edited_boxes(layer) == [[[0, 3], [0, 4], [0, 5]]]
    assert not is_edited_in(labels_of((3, 4, 5)), None)


def test_many_boxes_become_one():
    layer = labels_of((3, 30, 90))
    for at in range(700):
        y, x = divmod(at, 45)
        add_edit(layer, [((slice(0, 3), slice(y, y + 2), slice(x, x + 2)), 0, 1)])
    assert len(edited_boxes(layer)) <= 500
    assert edited_boxes(layer)[0] == [[0, 3], [0, 30], [0, 90]]


def test_a_run_of_one_slice_keeps_the_mark_of_other_slices(viewer, open_dock, finish, quadrants):
    film = np.stack([quadrants // n for n in (1, 2, 3)])
    viewer.add_image(film, name="film", rgb=True)
    dock = open_dock()
    dock.run()
    finish(dock)
    labels = dock.result.labels

    def run_slice(index, stack="this"):
        """Run, and return the number of copies that were made."""
        before = len(viewer.layers)
        viewer.dims.set_point(0, index)
        dock.stack.value = stack
        dock.run()
        finish(dock)
        return len(viewer.layers) - before

    for index in (0, 1):
        labels.data_setitem(tuple(map(np.array, ([index] * 3, [2, 3, 4], [5] * 3))), 9)
    # The edited slice is kept in a copy, once. The edits of the other slice stay in the layer.
    assert run_slice(2) == 0
    assert run_slice(0) == 1
    assert "film labels edited" in viewer.layers
    assert run_slice(0) == 0
    assert is_edited_by_hand(labels)
    assert (labels.data[1, 2:5, 5] == 9).all()
    merge = dock.folds["merge"].open()
    assert merge.distance.enabled
    merge.distance.value = 50
    assert (labels.data[1, 2:5, 5] == 9).all()
    assert is_edited_by_hand(labels)
    assert run_slice(0, "whole") == 1
    assert not is_edited_by_hand(labels)


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_the_mark_is_saved_and_opened(viewer, tmp_path, quadrants, suffix):
    film = viewer.add_image(np.stack([quadrants, quadrants // 2]), name="film", rgb=True)
    labels, _ = segment_layer(film, 3)
    viewer.add_layer(labels)
    labels.data_setitem(tuple(map(np.array, ([1, 1], [2, 3], [5, 6]))), 9)
    assert is_edited_by_hand(labels)
    data, attributes, _ = labels.as_layer_data_tuple()
    (path,) = write_labels(str(tmp_path / f"film-labels{suffix}"), data, attributes)
    ((data, attributes, _),) = get_reader(path)(path)
    opened = Labels(data, **attributes)
    assert edited_boxes(opened) == edited_boxes(labels)
    assert is_edited_in(opened, (1, None, None))
    assert not is_edited_in(opened, (0, None, None))
