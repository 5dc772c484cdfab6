"""Use several image layers, or one axis of a layer, as the channels of one image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import ensure_colormap
from napari.utils.colormaps.colormap_utils import CYMRGB, MAGENTA_GREEN

from napari_kmeans.checks import WholeNumber
from napari_kmeans.imaging.blocks import as_lazy, is_dask
from napari_kmeans.viewer.from_layers.geometry import AffineMap
from napari_kmeans.viewer.from_layers.source import (
    Channel,
    ChannelAxis,
    Source,
    layer_levels,
    shown_slice,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari.layers import Layer

_CHANNEL_LABELS = ("c", "ch", "channel", "channels")
_MAX_LIKELY = 8
"""The most channels of an axis without a label: a longer one is more often slices or times."""

MAX_CHANNELS = 64
"""The most channels of an axis whose label says channels. More are a spectrum."""


def can_be_channels(layers: Sequence[Any]) -> bool:
    """Return whether layers are two or more gray images with the same shapes at all levels."""
    return len(layers) > 1 and _problem(layers) is None


def source_of_channels(layers: Sequence[Image]) -> Source:
    """Return a snapshot of layers as one image with one channel for each layer.

    The image lies in the world where the first layer lies.

    Parameters
    ----------
    layers : sequence of napari.layers.Image

    Returns
    -------
    Source
        The channels are the last axis of its levels.

    Raises
    ------
    ValueError
        If there are fewer than two layers, if a layer has colors, or if the shapes differ.
    """
    problem = "got a single one" if len(layers) < 2 else _problem(layers)
    if problem is not None:
        raise ValueError(
            f"layers must be two or more images without colors and of the same shape, {problem}: "
            "choose layers that show channels of one image."
        )
    sources = [Source.of(layer) for layer in layers]
    levels = [
        _stack_channels(arrays)
        for arrays in zip(*(source.levels for source in sources), strict=True)
    ]
    channels = tuple(Channel(source.name, source.unique_id, source.display) for source in sources)
    return replace(
        sources[0],
        name=" + ".join(channel.name for channel in channels),
        unique_id=" ".join(channel.unique_id for channel in channels),
        levels=tuple(levels),
        channels=channels,
        origins=tuple(origin for source in sources for origin in source.origins),
    )


def stated_channel_axis(layer: Any) -> int | None:
    """Return the axis of an image layer whose label says that it is channels, or None."""
    if not isinstance(layer, Image) or layer.rgb or layer.ndim < 3:
        return None
    shape = layer_levels(layer)[0].shape
    for axis, label in enumerate(layer.axis_labels):
        if label.lower() in _CHANNEL_LABELS and 2 <= shape[axis] <= MAX_CHANNELS:
            return axis
    return None


def likely_channel_axis(layer: Any, n_channels: int | None = None) -> int | None:
    """Return the axis of an image layer that is channels by its label or its length, or None.

    By its length it is the first or the last axis, without a label and at most 8 pixels long.

    Parameters
    ----------
    layer : napari.layers.Layer
        Any layer.
    n_channels : int, optional
        The length that the axis must have.
    """
    if not isinstance(layer, Image) or layer.rgb or layer.ndim < 3:
        return None
    shape = layer_levels(layer)[0].shape
    stated = stated_channel_axis(layer)
    if stated is not None:
        return stated if n_channels in (None, shape[stated]) else None
    for axis in (0, layer.ndim - 1):
        is_short = 2 <= shape[axis] <= _MAX_LIKELY < max(shape)
        has_length = n_channels in (None, shape[axis])
        if is_short and has_length and not has_label(layer.axis_labels[axis]):
            return axis
    return None


def has_label(axis_label: str) -> bool:
    """Return whether the label of an axis is not the one that napari gives: its number."""
    return not axis_label.removeprefix("axis ").removeprefix("-").isdecimal()


def source_of_axis(layer: Image, channel_axis: int) -> Source:
    """Return a snapshot of a layer as an image whose channels are one of its axes.

    Parameters
    ----------
    layer : napari.layers.Image
    channel_axis : int

    Returns
    -------
    Source
        The channels are the last axis of its levels. It is placed in the world by the other
        axes of the layer.

    Raises
    ------
    ValueError
        If the layer is RGB or has no such axis beside two others, or if the layer is rotated
        or sheared along this axis.
    """
    if layer.rgb or layer.ndim < 3:
        kind = "RGB" if layer.rgb else f"{layer.ndim}-D"
        raise ValueError(
            f"channel_axis must be None for a layer without an axis of channels, got "
            f"{channel_axis} for the {kind} layer {layer.name!r}: leave it out."
        )
    number = WholeNumber(-layer.ndim, layer.ndim - 1).check("channel_axis", channel_axis)
    number %= layer.ndim
    axes = np.abs(AffineMap.to_world(layer).axes)
    # Differences of positions far from the origin are rounded.
    mixing = axes > 1e-9 * axes.max()
    mixing[number, number] = False
    if mixing[number].any() or mixing[:, number].any():
        raise ValueError(
            f"channel_axis must be an axis along which the layer is not turned, got {number} of "
            f"{layer.name!r}: remove the rotation, the shear and the affine of the layer."
        )
    source = Source.of(layer)
    levels = tuple(_channels_last(as_lazy(level), number) for level in layer_levels(layer))
    n_channels = levels[0].shape[-1]
    colors = MAGENTA_GREEN if n_channels == 2 else CYMRGB
    channels = tuple(
        Channel(
            f"channel {channel}",
            source.unique_id,
            {**source.display, "colormap": ensure_colormap(colors[channel % len(colors)])},
        )
        for channel in range(n_channels)
    )
    return replace(
        source,
        levels=levels,
        spatial=_place_without_axis(source.spatial, number),
        channels=channels,
        channel_axis=ChannelAxis(number, source.levels, source.spatial),
    )


def layer_of_axes(source: Source) -> Image:
    """Return an image layer without pixels where the axes of a source lie, without channels.

    napari aligns the last axes of layers: over this layer, marks and masks lie as they do over
    the labels of the source.
    """
    pixels = np.broadcast_to(np.zeros(1, np.uint8), source.shape)
    return Image(pixels, rgb=False, contrast_limits=(0, 1), **source.spatial)


def check_axes(name: str, layer: Layer | None, source: Source) -> None:
    """Check that a layer of marks or of a mask can lie over an image with an axis of channels.

    Raises
    ------
    ValueError
        If the layer has an axis too many, unless the channels are the first axis of the image:
        its last axes are then those of the image.
    """
    assert source.channel_axis is not None
    n_axes = len(source.shape)
    if layer is None or layer.ndim <= n_axes:
        return
    if source.channel_axis.number > 0 or (name == "mask" and isinstance(layer, Labels)):
        raise ValueError(
            f"{name} must have at most the {n_axes} axes of the image without its channels, got "
            f"the {layer.ndim} axes of {layer.name!r}: draw on a layer of fewer axes, such as the "
            "labels of a run."
        )


def shown_slice_of(layer: Image, source: Source) -> tuple[int | None, ...]:
    """Return the index of the slice of a source in view, without the axis of channels."""
    axis = source.channel_axis
    return without_axis(shown_slice(layer), None if axis is None else axis.number)


def without_axis(items: tuple[Any, ...], axis: int | None) -> tuple[Any, ...]:
    """Return a shape or an index without the item of an axis; None leaves out no item."""
    return items if axis is None else (*items[:axis], *items[axis + 1 :])


def _place_without_axis(spatial: dict[str, Any], axis: int) -> dict[str, Any]:
    """Return the attributes that place a layer in the world without one of its axes."""
    n_axes = len(spatial["scale"])
    shear = np.eye(n_axes)
    shear[np.triu_indices(n_axes, 1)] = spatial["shear"]
    kept = _drop(shear, axis)
    return {
        "scale": np.delete(spatial["scale"], axis),
        "translate": np.delete(spatial["translate"], axis),
        "rotate": _drop(np.asarray(spatial["rotate"]), axis),
        "shear": kept[np.triu_indices(n_axes - 1, 1)],
        "affine": _drop(spatial["affine"], axis),
        "units": tuple(unit for n, unit in enumerate(spatial["units"]) if n != axis),
        "axis_labels": tuple(name for n, name in enumerate(spatial["axis_labels"]) if n != axis),
    }


def _drop(matrix: Any, axis: int) -> Any:
    return np.delete(np.delete(matrix, axis, axis=0), axis, axis=1)


def _channels_last(array: Any, axis: int) -> Any:
    """Return an array with its channels last; those of a lazy array are in one chunk."""
    moved = np.moveaxis(array, axis, -1)
    return moved.rechunk({moved.ndim - 1: -1}) if is_dask(moved) else moved


def _problem(layers: Iterable[Any]) -> str | None:
    """Return the reason why layers cannot be the channels of one image; None if they can."""
    shapes = None
    for layer in layers:
        if not isinstance(layer, Image) or layer.rgb:
            return f"got {layer!r}"
        layer_shapes = [tuple(level.shape) for level in layer_levels(layer)]
        shapes = shapes or layer_shapes
        if layer_shapes != shapes:
            return f"got {layer.name!r} of shape {layer_shapes[0]} beside {shapes[0]}"
    return None


def _stack_channels(arrays: tuple[Any, ...]) -> Any:
    """Stack arrays along a new last axis; the result is lazy if any array is lazy."""
    if not any(is_dask(array) for array in arrays):
        return np.stack([np.asarray(array) for array in arrays], axis=-1)
    import dask.array as da

    image = da.stack([da.asarray(array) for array in arrays], axis=-1)
    # One chunk along the channels: a chunk must contain all channels of its pixels.
    return image.rechunk({image.ndim - 1: -1})
