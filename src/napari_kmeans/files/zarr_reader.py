"""Zarr directories and OME-Zarr images, read chunk by chunk when they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.lazy import FileArray, open_lazily
from napari_kmeans.files.picture import Axis, Picture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import zarr

MARKERS = ("zarr.json", ".zarray", ".zgroup")
COLORS = ("FF0000", "00FF00", "0000FF")
CHANNEL_NAMES = ("c", "channel", "channels")
TIME_NAMES = ("t", "time")


def read_zarr(path: Path) -> Picture:
    """Open an array, an OME-Zarr image or a group of one array; nothing is read but metadata.

    Raises
    ------
    UnreadableImageError
        If the directory is none of these.
    """
    import zarr

    if not any((path / marker).is_file() for marker in MARKERS):
        raise UnreadableImageError("it is a directory, and holds no zarr array")
    node = zarr.open(path, mode="r")
    if isinstance(node, zarr.Array):
        return _arranged([node], _named_axes(node), {})
    return _read_group(node, path)


def _read_group(group: zarr.Group, path: Path) -> Picture:
    # OME-Zarr 0.5 keeps in a room of its own what 0.4 puts into the open.
    attributes: Any = group.attrs.get("ome", group.attrs)
    if "multiscales" in attributes:
        return _read_image(group, attributes)
    if "bioformats2raw.layout" in attributes and "0" in group:
        return _read_first(group, path)
    arrays = [array for _, array in group.arrays()]
    if len(arrays) == 1:
        return _arranged(arrays, _named_axes(arrays[0]), {})
    names = sorted(group.keys())
    if not names:
        raise UnreadableImageError("it holds no zarr array")
    raise UnreadableImageError(f"it is no single image; name one in it, as {path / names[0]}")


def _read_first(group: zarr.Group, path: Path) -> Picture:
    """Read the first image of a file with several, such as a slide and its label."""
    image: Any = group["0"]
    picture = _read_group(image, path / "0")
    if "1" not in group:
        return picture
    return picture._replace(note=f"only its first image is read; {path / '1'} is the next")


def _read_image(group: zarr.Group, attributes: Mapping[str, Any]) -> Picture:
    try:
        multiscale = attributes["multiscales"][0]
        levels: list[Any] = [group[dataset["path"]] for dataset in multiscale["datasets"]]
        axes = _axes(multiscale)
        colors = attributes.get("omero", {})
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UnreadableImageError("its OME-Zarr metadata are damaged") from error
    if not levels or any(len(level.shape) != len(axes) for level in levels):
        raise UnreadableImageError("its OME-Zarr metadata do not fit its arrays")
    return _arranged(sorted(levels, key=lambda level: -level.size), axes, colors)


def _axes(multiscale: Mapping[str, Any]) -> tuple[Axis, ...]:
    """Return the axes of the finest level."""
    named = multiscale["axes"]
    ones = [1.0] * len(named)
    scale, shift = np.array(ones), np.array(ones) * 0
    steps = multiscale["datasets"][0].get("coordinateTransformations", [])
    for step in [*steps, *multiscale.get("coordinateTransformations", [])]:
        factor = np.array(step.get("scale", ones), float)
        scale, shift = scale * factor, shift * factor + step.get("translation", 0.0)
    return tuple(
        Axis(
            axis["name"],
            axis.get("type") or _kind(axis["name"]),
            axis.get("unit", ""),
            float(factor),
            float(offset),
        )
        for axis, factor, offset in zip(named, scale, shift, strict=True)
    )


def _named_axes(array: zarr.Array[Any]) -> tuple[Axis, ...]:
    """Return the axes of an array that stands alone; none where it does not name them all."""
    # xarray names them so in zarr 2.
    names: Any = getattr(array.metadata, "dimension_names", None)
    names = names or array.attrs.get("_ARRAY_DIMENSIONS") or ()
    if len(names) != array.ndim or not all(names):
        return ()
    return tuple(Axis(str(name), _kind(str(name))) for name in names)


def _kind(name: str) -> str:
    lower = name.lower()
    return "channel" if lower in CHANNEL_NAMES else "time" if lower in TIME_NAMES else "space"


def _arranged(
    levels: Sequence[zarr.Array[Any]], axes: tuple[Axis, ...], omero: Mapping[str, Any]
) -> Picture:
    """Return the picture, with colors last of all axes and other channels where they are."""
    axis = next((number for number, axis in enumerate(axes) if axis.kind == "channel"), None)
    opened: list[Any] = [open_lazily(FileArray(level), level.chunks, axis) for level in levels]
    if axis is None:
        rgb = False if axes else None
        return Picture(opened[0], rgb=rgb, levels=tuple(opened), axes=axes)
    if not _are_colors(levels[0], axis, omero):
        return Picture(opened[0], rgb=False, channel_axis=axis, levels=tuple(opened), axes=axes)
    opened = [np.moveaxis(level, axis, -1) for level in opened]
    axes = (*axes[:axis], *axes[axis + 1 :], axes[axis])
    return Picture(opened[0], rgb=True, levels=tuple(opened), axes=axes)


def _are_colors(array: zarr.Array[Any], axis: int, omero: Mapping[str, Any]) -> bool:
    """Tell whether channels are red, green, blue and perhaps alpha."""
    count = array.shape[axis]
    if array.dtype not in (np.uint8, np.uint16) or count not in (3, 4):
        return False
    if axis == array.ndim - 1:
        return True
    channels = omero.get("channels", [])
    colors = tuple(str(channel.get("color", "")).upper() for channel in channels[:3])
    if colors != COLORS or len(channels) != count:
        return False
    return count == 3 or str(channels[3].get("label", "")).lower() == "alpha"
