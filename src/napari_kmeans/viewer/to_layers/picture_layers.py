"""The arguments of layers that show an image from a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.files.units import LENGTHS, TIMES
from napari_kmeans.imaging.blocks import is_dask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_kmeans.files.picture import Axis, Picture

RANGE_SIDE, RANGE_PLANES = 2048, 3
"""The most pixels along each side of a plane, and the most planes along each other axis, that
are read of a lazy image to find its contrast limits."""


def data_arguments(levels: Sequence[Any]) -> dict[str, Any]:
    """Return the arguments of the pixels at all resolutions, finest first."""
    if len(levels) == 1:
        return {"data": levels[0]}
    return {"data": list(levels), "multiscale": True}


def spatial_arguments(axes: Sequence[Axis]) -> dict[str, Any]:
    """Return scale, translation, units and labels of the axes that are no channels.

    A unit that is neither a length nor a time is shown as pixels.
    """
    spatial = [axis for axis in axes if axis.kind != "channel"]
    if not spatial:
        return {}
    return {
        "scale": [axis.scale for axis in spatial],
        "translate": [axis.translation for axis in spatial],
        "units": [
            axis.unit if axis.unit in LENGTHS or axis.unit in TIMES else "pixel" for axis in spatial
        ],
        "axis_labels": [
            axis.name or f"axis {number - len(spatial)}" for number, axis in enumerate(spatial)
        ],
    }


def channel_arguments(picture: Picture, name: str, n_channels: int) -> dict[str, Any]:
    """Return the arguments of the layers of an image with channels: names and colors.

    A channel without a name has its number in the name of its layer.
    """
    channels = picture.channels if len(picture.channels) == n_channels else ()
    names = [channel.name for channel in channels] or [""] * n_channels
    arguments: dict[str, Any] = {
        "name": [f"{name} {title or number}" for number, title in enumerate(names)]
    }
    if any(channel.color for channel in channels):
        arguments["colormap"] = [channel.color or "gray" for channel in channels]
    return arguments


def gray_arguments(picture: Picture, name: str) -> dict[str, Any]:
    """Return the arguments of the layer of an image without an axis of channels.

    A gray image may be one channel of its file, with a name and a color.
    """
    if picture.rgb or len(picture.channels) != 1:
        return {"name": name}
    (channel,) = picture.channels
    color = {"colormap": channel.color} if channel.color else {}
    return {"name": f"{name} {channel.name}".strip(), **color}


def contrast_arguments(picture: Picture, channel_axis: int | None = None) -> dict[str, Any]:
    """Return the contrast limits of an image with pixels without data; nothing for other images.

    napari would take the range of all pixels, among which is the number that stands for
    missing data, such as -9999. With `channel_axis`, there are limits for each channel.
    """
    pixels, mask = picture.pixels, picture.mask
    # napari shows 8-bit images from 0 to 255.
    if mask is None or pixels.dtype == np.uint8:
        return {}
    if channel_axis is None:
        return {"contrast_limits": _find_range(pixels, mask)}
    channels = np.moveaxis(pixels, channel_axis, 0)
    return {"contrast_limits": [_find_range(channel, mask) for channel in channels]}


def _find_range(pixels: Any, mask: Any) -> tuple[float, float]:
    """Return the range of the pixels inside a mask."""
    if is_dask(pixels):
        limits = (RANGE_PLANES,) * (mask.ndim - 2) + (RANGE_SIDE,) * 2
        steps = (-(-size // most) for size, most in zip(mask.shape, limits, strict=True))
        thinned = tuple(slice(None, None, step) for step in steps)
        pixels, mask = pixels[thinned], mask[thinned]
    values = np.asarray(pixels)[np.asarray(mask)]
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    # As napari does for pixels that are all equal.
    return (
        (float(low), float(high)) if low < high else (min(float(low), 0.0), max(float(high), 1.0))
    )
