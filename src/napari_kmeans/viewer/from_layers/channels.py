"""Use several image layers as the channels of one image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.viewer.from_layers.source import Channel, Source, layer_levels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


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
