"""Read zarr arrays and OME-Zarr images lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.lazy import FileArray, open_lazily
from napari_kmeans.files.picture import Axis, Picture, Series

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import zarr

MARKERS = ("zarr.json", ".zarray", ".zgroup")
"""The metadata files of zarr 3 and zarr 2. A zarr directory contains one of them."""

RGB_COLORS = ("FF0000", "00FF00", "0000FF")
"""The colors of red, green and blue channels in OME-Zarr metadata."""

CHANNEL_NAMES = ("c", "channel", "channels")
TIME_NAMES = ("t", "time")


def is_zarr(path: Path, header: bytes) -> bool:
    """Return whether a path is a directory. Only a directory can contain a zarr array."""
    return path.is_dir()


def list_zarr_series(path: Path) -> tuple[Series, ...]:
    """Return the images in a zarr directory."""
    picture = read_zarr(path)
    return (Series(picture.name, picture.pixels.shape),)


def read_zarr(path: Path, number: int | None = None) -> Picture:
    """Open a zarr array, an OME-Zarr image, or a group with one array.

    Only metadata are read. The pixels are a lazy dask array.

    Raises
    ------
    UnreadableImageError
        If the directory contains none of these.
    """
    import zarr

    if not any((path / marker).is_file() for marker in MARKERS):
        raise UnreadableImageError("it is a directory without a zarr array")
    node = zarr.open(path, mode="r")
    if isinstance(node, zarr.Array):
        return _make_picture([node], _read_dimension_names(node), {})
    return _read_group(node, path)


def _read_group(group: zarr.Group, path: Path) -> Picture:
    # OME-Zarr 0.5 nests its metadata under the key "ome"; 0.4 has them at the top level.
    attributes: Any = group.attrs.get("ome", group.attrs)
    if "multiscales" in attributes:
        return _read_ome_image(group, attributes)
    if "bioformats2raw.layout" in attributes and "0" in group:
        return _read_first_image(group, path)
    arrays = [array for _, array in group.arrays()]
    if len(arrays) == 1:
        return _make_picture(arrays, _read_dimension_names(arrays[0]), {})
    names = sorted(group.keys())
    if not names:
        raise UnreadableImageError("it is a group without a zarr array")
    raise UnreadableImageError(
        f"it is not a single image; give the path of one in it, such as {path / names[0]}"
    )


def _read_first_image(group: zarr.Group, path: Path) -> Picture:
    """Read the first image of a directory with several, such as a slide and its label."""
    image: Any = group["0"]
    picture = _read_group(image, path / "0")
    if "1" not in group:
        return picture
    return picture._replace(note=f"only its first image is read; {path / '1'} is the next")


def _read_ome_image(group: zarr.Group, attributes: Mapping[str, Any]) -> Picture:
    try:
        multiscale = attributes["multiscales"][0]
        levels: list[Any] = [group[dataset["path"]] for dataset in multiscale["datasets"]]
        axes = _read_axes(multiscale)
        colors = attributes.get("omero", {})
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UnreadableImageError("its OME-Zarr metadata are damaged") from error
    if not levels or any(len(level.shape) != len(axes) for level in levels):
        raise UnreadableImageError("its OME-Zarr metadata do not match its arrays")
    return _make_picture(sorted(levels, key=lambda level: -level.size), axes, colors)


def _read_axes(multiscale: Mapping[str, Any]) -> tuple[Axis, ...]:
    """Return the axes of the finest level, with all coordinate transformations applied."""
    axes = multiscale["axes"]
    ones = [1.0] * len(axes)
    scale, shift = np.array(ones), np.array(ones) * 0
    finest = multiscale["datasets"][0].get("coordinateTransformations", [])
    for transformation in [*finest, *multiscale.get("coordinateTransformations", [])]:
        factor = np.array(transformation.get("scale", ones), float)
        scale = scale * factor
        shift = shift * factor + transformation.get("translation", 0.0)
    return tuple(
        Axis(
            axis["name"],
            axis.get("type") or _guess_kind(axis["name"]),
            axis.get("unit", ""),
            float(factor),
            float(offset),
        )
        for axis, factor, offset in zip(axes, scale, shift, strict=True)
    )


def _read_dimension_names(array: zarr.Array[Any]) -> tuple[Axis, ...]:
    """Return the axes of an array without OME-Zarr metadata; empty if an axis has no name."""
    # zarr 3 stores names of dimensions. In zarr 2, xarray stores them in an attribute.
    names: Any = getattr(array.metadata, "dimension_names", None)
    names = names or array.attrs.get("_ARRAY_DIMENSIONS") or ()
    if len(names) != array.ndim or not all(names):
        return ()
    return tuple(Axis(str(name), _guess_kind(str(name))) for name in names)


def _guess_kind(name: str) -> str:
    lower = name.lower()
    return "channel" if lower in CHANNEL_NAMES else "time" if lower in TIME_NAMES else "space"


def _make_picture(
    levels: Sequence[zarr.Array[Any]], axes: tuple[Axis, ...], omero: Mapping[str, Any]
) -> Picture:
    """Return the picture of levels. Color channels become the last axis; others stay in place."""
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
    """Return whether the channels are red, green, blue and, if there are four, alpha."""
    count = array.shape[axis]
    if array.dtype not in (np.uint8, np.uint16) or count not in (3, 4):
        return False
    if axis == array.ndim - 1:
        return True
    channels = omero.get("channels", [])
    colors = tuple(str(channel.get("color", "")).upper() for channel in channels[:3])
    if colors != RGB_COLORS or len(channels) != count:
        return False
    return count == 3 or str(channels[3].get("label", "")).lower() == "alpha"
