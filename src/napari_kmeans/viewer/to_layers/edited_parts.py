"""The parts of a Labels layer that were edited by hand, as boxes in its record.

A run of one slice replaces this slice only: edits of other slices stay, and a later run must
still find them. A box has the pair [start, stop] of each axis, in pixels of the finest level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_kmeans.viewer.from_layers.source import layer_levels
from napari_kmeans.viewer.provenance import recorded_edits, set_recorded_edits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari.layers import Layer

Box: TypeAlias = list[list[int]]

_MAX_BOXES = 500
"""The most boxes of a record. Strokes in one plane share a box, so only strokes through many
planes reach this number; then the whole layer counts as edited."""


def edited_boxes(layer: Layer) -> list[Box]:
    """Return the boxes of the pixels that the user has edited; empty without edits."""
    recorded = recorded_edits(layer)
    if not recorded:
        return []
    shape = _shape_of(layer)
    # Layers of earlier versions have True, and a user or a script may have changed the record.
    return recorded if _are_boxes(recorded, len(shape)) else [[[0, size] for size in shape]]


def add_edit(layer: Layer, strokes: Iterable[Sequence[Any]] | None = None) -> None:
    """Record an edit by hand, if the layer has a record.

    Parameters
    ----------
    layer : napari.layers.Labels
    strokes : iterable, optional
        The value of napari's event `paint`: the indices of pixels are the first item of each.
        None stands for all pixels.
    """
    boxes, shape = edited_boxes(layer), _shape_of(layer)
    everything: Box = [[0, size] for size in shape]
    if strokes is None:
        boxes = [everything]
    for indices, *_ in strokes or ():
        box = _box_around(indices, shape)
        boxes = boxes if box is None else _join(boxes, box)
    set_recorded_edits(layer, boxes if len(boxes) <= _MAX_BOXES else [everything])


def is_edited_in(layer: Layer, slice_index: Sequence[int | None] | None) -> bool:
    """Return whether the user has edited pixels of a slice; of any slice for None."""
    boxes = edited_boxes(layer)
    if slice_index is None:
        return bool(boxes)
    return any(_outside(box, slice_index) != [box] for box in boxes)


def edits_outside(layer: Layer, slice_index: Sequence[int | None]) -> list[Box]:
    """Return the boxes of the edits outside a slice, with None for its own axes."""
    return [part for box in edited_boxes(layer) for part in _outside(box, slice_index)]


def _outside(box: Box, slice_index: Sequence[int | None]) -> list[Box]:
    """Return the parts of a box outside a slice; the box itself if it is not in the slice."""
    parts, inner = [], box
    for axis, index in enumerate(slice_index):
        if index is None:
            continue
        start, stop = inner[axis]
        if not start <= index < stop:
            return [box]
        for pair in ([start, index], [index + 1, stop]):
            if pair[0] < pair[1]:
                parts.append([*inner[:axis], pair, *inner[axis + 1 :]])
        inner = [*inner[:axis], [index, index + 1], *inner[axis + 1 :]]
    return parts


def _join(boxes: list[Box], new: Box) -> list[Box]:
    """Return boxes with another one, which grows a box of the same plane if there is one."""
    for at, box in enumerate(boxes):
        union = [[min(a[0], b[0]), max(a[1], b[1])] for a, b in zip(box, new, strict=True)]
        n_thin = sum(stop - start == 1 for start, stop in union)
        if union == box or n_thin >= len(new) - 2:
            return [*boxes[:at], union, *boxes[at + 1 :]]
    return [*boxes, new]


def _box_around(indices: Sequence[Any], shape: Sequence[int]) -> Box | None:
    """Return the box around pixels, whose indices are arrays or slices; None without pixels."""
    box = []
    for index, size in zip(indices, shape, strict=True):
        if isinstance(index, slice):
            start, stop, _ = index.indices(size)
        elif np.size(index) == 0:
            return None
        else:
            start, stop = int(np.min(index)), int(np.max(index)) + 1
        box.append([start, stop])
    return box


def _shape_of(layer: Layer) -> tuple[int, ...]:
    return tuple(layer_levels(layer)[0].shape)


def _are_boxes(value: Any, n_axes: int) -> bool:
    return isinstance(value, list) and all(
        isinstance(box, list) and len(box) == n_axes and all(map(_is_pair, box)) for box in value
    )


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(item) is int for item in value)
