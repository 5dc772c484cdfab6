"""Results of earlier runs in the viewer: found by what runs wrote, and changed in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer, Points

from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.viewer.from_layers.source import (
    DISPLAY_ATTRIBUTES,
    index_at_level,
    layer_levels,
    spatial_attributes,
)
from napari_kmeans.viewer.provenance import is_copy, recorded_slice, result_key, take_record
from napari_kmeans.viewer.to_layers.highlight import without_highlight
from napari_kmeans.viewer.to_layers.label_colors import label_colormap
from napari_kmeans.viewer.to_layers.label_table import forget_strokes

if TYPE_CHECKING:
    from collections.abc import Iterable

# In this order: the colors and sizes of a layer must fit data that is already there.
_UPDATED: dict[type[Layer], tuple[str, ...]] = {
    Labels: ("data", "colormap", "features"),
    Image: ("data", *DISPLAY_ATTRIBUTES),
    Points: ("data", "size", "face_color", "features"),
}


def find_result(layers: Iterable[Layer], result: Layer) -> Layer | None:
    """Return the latest layer that an earlier run made of the same source for the same purpose.

    A layer is known by what a run wrote into its metadata, never by its name,
    so a layer that somebody else named alike is not touched. Nor is a duplicate
    that the user made of a result.
    """
    matches = [layer for layer in layers if _key(layer) == _key(result) and not is_copy(layer)]
    return matches[-1] if matches else None


def _key(layer: Layer) -> tuple[Any, ...]:
    """Return what two layers must share for one to take the other's data."""
    # napari can change neither of these in place.
    fixed = getattr(layer, "rgb", None), getattr(layer, "multiscale", None)
    return type(layer), layer.ndim, *fixed, *result_key(layer)


def update_layer(layer: Layer, result: Layer) -> None:
    """Give `layer` what `result` holds; its name and the user's own metadata stay.

    A result of a single slice replaces that slice only. All others stay,
    whatever made them.
    """
    values = {name: getattr(result, name) for name in _UPDATED[type(result)]}
    keeps_slices = _gathers(layer, result)
    if keeps_slices:
        values |= _gathered(layer, result)
    # First of all: the list of clusters is told of new data and of a new table, and reads
    # from the metadata what was counted.
    take_record(layer, result, keeps_slices=keeps_slices)
    for name, value in values.items():
        setattr(layer, name, value)
    if isinstance(layer, Labels):
        forget_strokes(layer)
    _move(layer, result)


def _move(layer: Layer, result: Layer) -> None:
    """Put a layer where another lies."""
    here = spatial_attributes(layer)
    for name, value in spatial_attributes(result).items():
        # With each of these, napari reads what is in view anew.
        if not np.array_equal(here[name], value):
            setattr(layer, name, value)


def _gathers(layer: Layer, result: Layer) -> bool:
    """Return whether a result is of one slice of a stack, and fits into the data of a layer."""
    if isinstance(result, Points) or recorded_slice(result) is None:
        return False
    shapes = [[level.shape for level in layer_levels(each)] for each in (layer, result)]
    dtypes = [np.dtype(each.dtype) for each in (layer, result)]
    return shapes[0] == shapes[1] and (isinstance(result, Labels) or dtypes[0] == dtypes[1])


def _gathered(layer: Layer, result: Layer) -> dict[str, Any]:
    """Return the data of a layer with the slice of another run, and colors for both."""
    place = recorded_slice(result)
    assert place is not None
    shapes = [level.shape[: layer.ndim] for level in layer_levels(layer)]
    # A whole stack may be held elsewhere too, as the outcome of its run.
    copied = recorded_slice(layer) is None
    levels = [
        _with_slice(old, new, index_at_level(tuple(place), shapes[0], shape), copied)
        for old, new, shape in zip(layer_levels(layer), layer_levels(result), shapes, strict=True)
    ]
    values: dict[str, Any] = {"data": levels if layer.multiscale else levels[0]}
    if isinstance(result, Labels):
        colors = getattr(without_highlight(layer.colormap), "color_dict", {})
        values["colormap"] = label_colormap({**colors, **result.colormap.color_dict})
    return values


def _with_slice(old: Any, new: Any, index: tuple[Any, ...], copied: bool) -> Any:
    """Return `old` with a slice of `new`, in place where it is in memory and not to be copied."""
    dtype = np.promote_types(old.dtype, new.dtype)
    old = old.copy().astype(dtype) if is_dask(old) else old.astype(dtype, copy=copied)
    old[index] = new[index]
    return old
