"""Results of earlier runs in the viewer: found by what runs wrote, and changed in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer, Points

from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.viewer.from_layers.source import (
    DISPLAY,
    index_at,
    layer_levels,
    spatial_attributes,
)
from napari_kmeans.viewer.provenance import METADATA_KEY, is_copy, sign
from napari_kmeans.viewer.to_layers.highlight import without_highlight
from napari_kmeans.viewer.to_layers.label_colors import label_colormap
from napari_kmeans.viewer.to_layers.label_table import forget_strokes

if TYPE_CHECKING:
    from collections.abc import Iterable

# In this order: the colors and sizes of a layer must fit data that is already there.
_UPDATED: dict[type[Layer], tuple[str, ...]] = {
    Labels: ("data", "colormap", "features"),
    Image: ("data", *DISPLAY),
    Points: ("data", "size", "face_color", "features"),
}
_KEPT = ("stack", "level", "options", "model", "distortion")


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
    provenance = _provenance(layer)
    identity = (provenance.get(name) for name in ("kind", "source_id", "channel"))
    # napari can change neither of these in place.
    fixed = getattr(layer, "rgb", None), getattr(layer, "multiscale", None)
    return type(layer), layer.ndim, *fixed, *identity


def _provenance(layer: Layer) -> dict[str, Any]:
    return dict(layer.metadata.get(METADATA_KEY, {}))


def update_layer(layer: Layer, result: Layer) -> None:
    """Give `layer` what `result` holds; its name and the user's own metadata stay.

    A result of a single slice replaces that slice only. All others stay,
    whatever made them.
    """
    values = {name: getattr(result, name) for name in _UPDATED[type(result)]}
    provenance = _provenance(result)
    if _gathers(layer, result):
        values |= _gathered(layer, result)
        provenance["earlier"] = _earlier_runs(layer, provenance["stack"])
    # First of all: the list of clusters is told of new data and of a new table, and reads
    # from the metadata what was counted.
    layer.metadata = {**layer.metadata, METADATA_KEY: provenance}
    sign(layer)
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
    if isinstance(result, Points) or not _is_of_one_slice(result):
        return False
    shapes = [[level.shape for level in layer_levels(each)] for each in (layer, result)]
    dtypes = [np.dtype(each.dtype) for each in (layer, result)]
    return shapes[0] == shapes[1] and (isinstance(result, Labels) or dtypes[0] == dtypes[1])


def _is_of_one_slice(layer: Layer) -> bool:
    return isinstance(_provenance(layer).get("stack"), list)


def _gathered(layer: Layer, result: Layer) -> dict[str, Any]:
    """Return the data of a layer with the slice of another run, and colors for both."""
    place = _provenance(result)["stack"]
    shapes = [level.shape[: layer.ndim] for level in layer_levels(layer)]
    # A whole stack may be held elsewhere too, as the outcome of its run.
    copied = not _is_of_one_slice(layer)
    levels = [
        _with_slice(old, new, index_at(place, shapes[0], shape), copied)
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


def _earlier_runs(layer: Layer, place: list[int | None]) -> list[dict[str, Any]]:
    """Return what is to be known of other runs whose slices a layer still shows."""
    latest = _provenance(layer)
    runs = [*latest.get("earlier", []), {name: latest.get(name) for name in _KEPT}]
    return [run for run in runs if run["stack"] != place]
