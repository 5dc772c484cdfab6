"""The arguments of layers that show an image from a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_kmeans.files.units import LENGTHS, TIMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_kmeans.files.picture import Axis, Picture


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
