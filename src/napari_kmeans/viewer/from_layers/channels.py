"""Several layers as the channels of one image."""

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
    """Return whether layers are two or more images without colors, on the same pixels."""
    return len(layers) > 1 and _problem(layers) is None


def source_of_channels(layers: Sequence[Image]) -> Source:
    """Take the snapshot of layers as one image, with a channel for each.

    The first layer tells where the image lies in the world.

    Raises
    ------
    ValueError
        If the layers are fewer than two, or not on the same pixels.
    """
    problem = "got a single one" if len(layers) < 2 else _problem(layers)
    if problem is not None:
        raise ValueError(
            f"layers must be two or more images without colors and of the same shape, {problem}: "
            "choose layers that show channels of one image."
        )
    sources = [Source.of(layer) for layer in layers]
    levels = [_stacked(arrays) for arrays in zip(*(each.levels for each in sources), strict=True)]
    channels = tuple(Channel(each.name, each.unique_id, each.display) for each in sources)
    return replace(
        sources[0],
        name=" + ".join(channel.name for channel in channels),
        unique_id=" ".join(channel.unique_id for channel in channels),
        levels=tuple(levels),
        channels=channels,
        origins=tuple(origin for each in sources for origin in each.origins),
    )


def _problem(layers: Iterable[Any]) -> str | None:
    """Return what keeps layers from being channels of one image."""
    shapes = None
    for layer in layers:
        if not isinstance(layer, Image) or layer.rgb:
            return f"got {layer!r}"
        here = [tuple(level.shape) for level in layer_levels(layer)]
        if here != (shapes or here):
            return f"got {layer.name!r} of shape {here[0]} beside {shapes[0] if shapes else ()}"
        shapes = here
    return None


def _stacked(arrays: tuple[Any, ...]) -> Any:
    """Return arrays as the last axis of one, lazy if one of them is."""
    if not any(is_dask(array) for array in arrays):
        return np.stack([np.asarray(array) for array in arrays], axis=-1)
    import dask.array as da

    image = da.stack([da.asarray(array) for array in arrays], axis=-1)
    # One chunk along the channels: a pixel is never split.
    return image.rechunk({image.ndim - 1: -1})
