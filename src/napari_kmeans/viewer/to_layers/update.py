"""Find the layers of an earlier run in the viewer, and update them in place."""

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
from napari_kmeans.viewer.provenance import (
    is_copy,
    kind_of,
    recorded_slice,
    result_key,
    sign_unsigned,
    take_record,
)
from napari_kmeans.viewer.to_layers.edited_parts import edits_outside, is_edited_in
from napari_kmeans.viewer.to_layers.hand_edits import replacing_data, take_image
from napari_kmeans.viewer.to_layers.highlight import without_highlight
from napari_kmeans.viewer.to_layers.label_colors import label_colormap
from napari_kmeans.viewer.to_layers.label_table import forget_strokes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_kmeans.viewer.from_layers.source import Source

# The data first: colors, sizes and features must match the number of points or labels.
UPDATED_ATTRIBUTES: dict[type[Layer], tuple[str, ...]] = {
    Labels: ("data", "colormap", "features"),
    Image: ("data", *DISPLAY_ATTRIBUTES),
    Points: ("data", "size", "face_color", "features"),
}
"""The attributes that a new result replaces in a layer of each type, in this order."""


def find_result(layers: Iterable[Layer], result: Layer) -> Layer | None:
    """Return the topmost layer that a new result may replace, or None.

    The layer has the same kind and the same source, according to its record. Names
    do not count: a user may give any layer the name of a result. Duplicates that the
    user made of a result do not match.
    """
    key = _match_key(result)
    matches = [layer for layer in layers if _match_key(layer) == key and not is_copy(layer)]
    return matches[-1] if matches else None


def find_labels(layers: Iterable[Layer], source: Source) -> Labels | None:
    """Return the topmost Labels layer of a source that a new result may replace, or None."""
    inside = None if source.inside is None else source.inside.layer_id
    matches = [
        layer
        for layer in layers
        if isinstance(layer, Labels)
        and result_key(layer) == ("labels", source.unique_id, None, inside)
        and layer.ndim == len(source.shape)
        and not is_copy(layer)
    ]
    return matches[-1] if matches else None


def copy_of_edited(labels: Labels) -> Labels:
    """Return a hidden copy of labels that were edited by hand. No run updates it."""
    sign_unsigned(labels)
    levels = [level.copy() for level in layer_levels(labels)]
    return Labels(
        levels if labels.multiscale else levels[0],
        multiscale=labels.multiscale,
        name=f"{labels.name} edited",
        colormap=without_highlight(labels.colormap),
        features=labels.features,
        metadata=dict(labels.metadata),
        opacity=labels.opacity,
        visible=False,
        **spatial_attributes(labels),
    )


def find_counterpart(shown: Iterable[Layer], layer: Layer) -> Layer | None:
    """Return the layer of a shown result that has the kind of another layer, or None.

    Unlike `find_result`, it may be a duplicate, and may have been made from a file.
    """
    matches = [each for each in shown if _layer_kind(each) == _layer_kind(layer)]
    channel = result_key(layer)[2]
    if channel is not None and len(matches) > 1:
        matches = [each for each in matches if result_key(each)[2] == channel]
    return matches[0] if len(matches) == 1 else None


def _layer_kind(layer: Layer) -> tuple[Any, ...]:
    # napari cannot change the attributes `rgb` and `multiscale` in place.
    fixed = getattr(layer, "rgb", None), getattr(layer, "multiscale", None)
    return type(layer), layer.ndim, *fixed, kind_of(layer)


def _match_key(layer: Layer) -> tuple[Any, ...]:
    """Return the properties that two layers share if one can take the data of the other."""
    return *_layer_kind(layer), *result_key(layer)


def update_layer(layer: Layer, result: Layer, *, keeps_identity: bool = False) -> None:
    """Give a layer the data, the colors, the table and the record of a new result.

    The name of the layer and the user's own metadata stay. A result of a single
    slice replaces this slice only: all other slices stay, whether they come from a
    run or were painted by hand.

    Parameters
    ----------
    layer, result : napari.layers.Layer
    keeps_identity : bool
        Whether the layer stays what it is to later runs, such as a duplicate or a file.
    """
    values = {name: getattr(result, name) for name in UPDATED_ATTRIBUTES[type(result)]}
    keeps_slices = _can_insert_slice(layer, result)
    if keeps_slices:
        values |= _insert_slice(layer, result)
    # Before data and table: their events make the list of clusters read from the record
    # which slice and which level were counted.
    take_record(
        layer,
        result,
        keeps_slices=keeps_slices,
        keeps_identity=keeps_identity,
        edited=edits_outside(layer, recorded_slice(result) or ()) if keeps_slices else (),
    )
    with replacing_data(layer):
        for name, value in values.items():
            setattr(layer, name, value)
        if isinstance(layer, Labels):
            forget_strokes(layer)
            take_image(layer, result)
        move_to(layer, spatial_attributes(result))


def loses_edits(layer: Layer, result: Layer) -> bool:
    """Return whether an update by a new result would overwrite edits by hand."""
    index = recorded_slice(result) if _can_insert_slice(layer, result) else None
    return isinstance(layer, Labels) and is_edited_in(layer, index)


def move_to(layer: Layer, spatial: dict[str, Any]) -> None:
    """Give a layer another place in the world, as `spatial_attributes` returns it."""
    current = spatial_attributes(layer)
    for name, value in spatial.items():
        # Set only what differs: napari reads the pixels in view again for each attribute.
        if not np.array_equal(current[name], value):
            setattr(layer, name, value)


def _can_insert_slice(layer: Layer, result: Layer) -> bool:
    """Return whether a result is one slice of a stack that fits into the data of a layer."""
    if isinstance(result, Points) or recorded_slice(result) is None:
        return False
    shapes = [[level.shape for level in layer_levels(each)] for each in (layer, result)]
    dtypes = [np.dtype(each.dtype) for each in (layer, result)]
    return shapes[0] == shapes[1] and (isinstance(result, Labels) or dtypes[0] == dtypes[1])


def indices_of_replaced_slice(layer: Layer, result: Layer) -> list[Any]:
    """Return the index, in each level, of the only slice that an update replaces.

    The list is empty if the update replaces all slices.
    """
    slice_index = recorded_slice(result)
    if slice_index is None or not _can_insert_slice(layer, result):
        return []
    shapes = [level.shape[: layer.ndim] for level in layer_levels(layer)]
    return [index_at_level(tuple(slice_index), shapes[0], shape) for shape in shapes]


def _insert_slice(layer: Layer, result: Layer) -> dict[str, Any]:
    """Return the data of a layer with the slice of a new result, and colors for both."""
    indices = indices_of_replaced_slice(layer, result)
    # Copy the stack of an earlier run, because a script may hold its result. After that,
    # only the layer holds the copy.
    copied = recorded_slice(layer) is None
    levels = [
        _replace_slice(old, new, index, copied)
        for old, new, index in zip(layer_levels(layer), layer_levels(result), indices, strict=True)
    ]
    values: dict[str, Any] = {"data": levels if layer.multiscale else levels[0]}
    if isinstance(result, Labels):
        colors = getattr(without_highlight(layer.colormap), "color_dict", {})
        values["colormap"] = label_colormap({**colors, **result.colormap.color_dict})
    return values


def _replace_slice(old: Any, new: Any, index: tuple[Any, ...], copied: bool) -> Any:
    """Return `old` with a slice of `new`.

    An array in memory is changed in place unless it is `copied`, or must be converted
    to hold the labels of both.
    """
    dtype = np.promote_types(old.dtype, new.dtype)
    old = old.copy().astype(dtype) if is_dask(old) else old.astype(dtype, copy=copied)
    old[index] = new[index]
    return old
