"""Read zarr arrays and OME-Zarr images lazily, from directories and zip files."""

from __future__ import annotations

import re
import zipfile
from contextlib import contextmanager
from math import isfinite, prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.files.errors import UnreadableImageError, reason
from napari_kmeans.files.lazy import FileArray, open_lazily
from napari_kmeans.files.picture import Axis, Channel, Picture, Series

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import zarr

MARKERS = ("zarr.json", ".zarray", ".zgroup")
"""The metadata files of zarr 3 and zarr 2. A zarr directory contains one of them."""

RGB_COLORS = ("FF0000", "00FF00", "0000FF")
"""The colors of red, green and blue channels in OME-Zarr metadata."""

RGB_NAMES = (("R", "G", "B"), ("RED", "GREEN", "BLUE"))
"""The names of red, green and blue channels, if the metadata have names without colors."""

CHANNEL_NAMES = ("c", "channel", "channels")
TIME_NAMES = ("t", "time")

OLD_AXES = "tczyx"
"""The axes of all images in OME-Zarr 0.1 and 0.2, which do not store them."""

MAX_DEPTH = 6
"""Groups inside groups that are searched for images. Links may make circles."""

MAX_LISTED = 5
"""The number of other images that the note lists."""


class _Levels(NamedTuple):
    """The arrays of an image, the finest first, and what their metadata state."""

    arrays: Sequence[zarr.Array[Any]]
    axes: tuple[Axis, ...]
    channels: tuple[Channel, ...] = ()


class ZarrImage(NamedTuple):
    """An image in a zarr directory: an array, or one of the multiscale images of a group."""

    name: str
    parent: zarr.Group | zarr.Array[Any]
    path: str = ""
    """The path of the image in `parent`; empty if it is `parent`."""

    number: int = 0
    """The number of the multiscale image in its group."""

    def open(self) -> zarr.Group | zarr.Array[Any]:
        """Return the group or array of the image."""
        if not self.path:
            return self.parent
        child: Any = self.parent
        return child[self.path]  # type: ignore[no-any-return]

    def read(self) -> Picture:
        """Return the lazy pixels of the image and its metadata."""
        return _make_picture(_open_levels(self.open(), self.number))


def is_zarr(path: Path, header: bytes) -> bool:
    """Return whether a directory or a zip file contains a zarr array or group."""
    if path.is_dir():
        return any((path / marker).is_file() for marker in MARKERS)
    return header.startswith(b"PK\3\4") and bool(_find_roots_in_zip(path))


def _find_roots_in_zip(path: Path) -> list[str]:
    """Return the folders in a zip file that are zarr directories, and not inside another one."""
    try:
        with zipfile.ZipFile(path) as file:
            parts = [name.rpartition("/") for name in file.namelist()]
    except zipfile.BadZipFile:
        return []
    folders = {folder for folder, _, name in parts if name in MARKERS}
    depth = min((_depth(folder) for folder in folders), default=0)
    return sorted(folder for folder in folders if _depth(folder) == depth)


def _depth(folder: str) -> int:
    return folder.count("/") + 1 if folder else 0


def list_zarr_series(path: Path) -> tuple[Series, ...]:
    """Return the images in a zarr directory. An image that is damaged has the shape ()."""
    return tuple(Series(image.name, _read_shape(image)) for image in _list_images(path))


def read_zarr(path: Path, number: int | None = None) -> Picture:
    """Open a zarr array, an OME-Zarr image, or one of the images in a group or plate.

    Only metadata are read. The pixels are a lazy dask array. Labels are not images.

    Parameters
    ----------
    path : Path
        A directory or a zip file.
    number : int, optional
        The number of an image. If None, the largest image, or the first field of a plate.

    Raises
    ------
    UnreadableImageError
        If there is no image, or if its metadata are damaged.
    """
    images = _list_images(path)
    if number is not None and not 0 <= number < len(images):
        raise UnreadableImageError(
            f"series must be from 0 to {len(images) - 1}, the number of an image in the file, "
            f"got {number}"
        )
    if number is not None or len(images) == 1:
        return _read_image(images, number or 0)
    if images[0].path and _is_plate(images[0].parent):
        # The fields of a plate have one size, and there may be thousands of them.
        others = _join([image.name for image in images[1:]])
        note = f"only series 0, field {images[0].name} of {len(images)} of its plate, is read; "
        return _read_image(images, 0, f"{note}the others are {others}")
    shapes = [_read_shape(image) for image in images]
    # The product of no lengths is 1: an image that is damaged is the smallest.
    chosen = max(range(len(images)), key=lambda each: prod(shapes[each]) if shapes[each] else -1)
    others = _join(
        [
            f"{other} ({image.name}) of shape {shapes[other]}"
            for other, image in enumerate(images)
            if other != chosen
        ]
    )
    note = f"only series {chosen}, the largest of its {len(images)} images, is read; "
    return _read_image(images, chosen, f"{note}the others are {others}")


def _join(names: Sequence[str]) -> str:
    more = [f"{len(names) - MAX_LISTED} more"] if len(names) > MAX_LISTED else []
    return ", ".join([*names[:MAX_LISTED], *more])


def _read_image(images: Sequence[ZarrImage], number: int, note: str = "") -> Picture:
    image = images[number]
    with _report_damage():
        levels = _open_levels(image.open(), image.number)
        picture = _make_picture(levels)
        notes = [note, _describe_missing_chunks(levels.arrays[0])]
    return picture._replace(name=image.name, note="; ".join(filter(None, notes)))


def _describe_missing_chunks(array: zarr.Array[Any]) -> str:
    """Return a note about chunks that are not stored; empty if all are.

    By the specification of zarr they count as the fill value. Writers leave out chunks that have
    no other value, and chunks also get lost.
    """
    from napari_kmeans.files.zarr_chunks import count_missing_chunks

    n_missing, n_chunks = count_missing_chunks(array)
    if not n_missing:
        return ""
    parts, value = "shards" if array.shards else "chunks", array.fill_value or 0
    verbs = "is not stored and counts" if n_missing == 1 else "are not stored and count"
    return f"{n_missing} of its {n_chunks} {parts} {verbs} as {value}, the fill value"


def _read_shape(image: ZarrImage) -> tuple[int, ...]:
    """Return the shape of an image as it is read, or () if it cannot be read."""
    try:
        return tuple(image.read().pixels.shape)
    except Exception:
        # zarr raises exceptions of many types for damaged metadata.
        return ()


def _list_images(path: Path) -> list[ZarrImage]:
    with _report_damage():
        images = [image for root in _open_roots(path) for image in _find_images(root)]
    if not images:
        raise UnreadableImageError("it is a group without a zarr array of pixels")
    return images


@contextmanager
def _report_damage() -> Iterator[None]:
    try:
        yield
    except (UnreadableImageError, OSError, MemoryError):
        raise
    except Exception as error:
        # zarr raises exceptions of many types, such as TypeError.
        raise UnreadableImageError(f"its zarr metadata are damaged: {reason(error)}") from error


def _open_roots(path: Path) -> list[zarr.Group | zarr.Array[Any]]:
    import zarr

    from napari_kmeans.files.zarr_chunks import CheckedLocalStore, CheckedZipStore

    if path.is_dir():
        return [zarr.open(CheckedLocalStore(path, read_only=True), mode="r")]
    store = CheckedZipStore(path, mode="r")
    return [zarr.open(store, path=root, mode="r") for root in _find_roots_in_zip(path)]


def _read_ome(node: zarr.Group | zarr.Array[Any]) -> Mapping[str, Any]:
    # OME-Zarr 0.5 nests its metadata under the key "ome"; 0.4 has them at the top level.
    attributes: Any = node.attrs.get("ome", node.attrs)
    return attributes if isinstance(attributes, dict) else dict(node.attrs)


def _is_plate(node: zarr.Group | zarr.Array[Any]) -> bool:
    return not {"plate", "well"}.isdisjoint(_read_ome(node))


def _find_images(root: zarr.Group | zarr.Array[Any]) -> Iterator[ZarrImage]:
    """Yield the images of a root: of a plate its fields, of another group all groups and arrays."""
    import zarr

    if isinstance(root, zarr.Array):
        yield ZarrImage("", root)
        return
    try:
        attributes = _read_ome(root)
        if "multiscales" in attributes:
            yield from _find_multiscales(root, root, "", "")
        elif "plate" in attributes:
            yield from _find_fields_of_plate(root, attributes["plate"])
        elif "well" in attributes:
            yield from _find_fields(root, root, attributes["well"], "", "")
        elif "bioformats2raw.layout" in attributes:
            yield from _find_converted(root)
        else:
            yield from _walk(root, root, "", MAX_DEPTH)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableImageError("its OME-Zarr metadata are damaged") from error


def _find_multiscales(
    parent: zarr.Group, group: zarr.Group, path: str, name: str
) -> Iterator[ZarrImage]:
    multiscales = _read_ome(group)["multiscales"]
    for number, multiscale in enumerate(multiscales):
        own = multiscale.get("name") if isinstance(multiscale, dict) else None
        # The name "/" is that of a writer that names images by their path.
        own = own.strip("/") if isinstance(own, str) else ""
        yield ZarrImage(name or own, parent, path, number)
    if not multiscales:
        raise UnreadableImageError("its OME-Zarr metadata are damaged")


def _find_fields_of_plate(plate: zarr.Group, metadata: Mapping[str, Any]) -> Iterator[ZarrImage]:
    for entry in metadata["wells"]:
        path = str(entry["path"])
        well: Any = plate.get(path)
        # A plate lists all wells, also those that are not written.
        if well is not None:
            name = path.replace("/", "")
            yield from _find_fields(plate, well, _read_ome(well)["well"], f"{path}/", f"{name}-")


def _find_fields(
    parent: zarr.Group, well: zarr.Group, metadata: Mapping[str, Any], path: str, name: str
) -> Iterator[ZarrImage]:
    for image in metadata["images"]:
        yield ZarrImage(f"{name}{image['path']}", parent, f"{path}{image['path']}")


def _find_converted(group: zarr.Group) -> Iterator[ZarrImage]:
    """Yield the images that bioformats2raw has written, in the order that it states."""
    listed: Any = group.get("OME")
    paths: Any = None if listed is None else _read_ome(listed).get("series")
    if paths is None:
        paths = sorted((key for key in group.group_keys() if key.isdigit()), key=int)
    for path in paths:
        image: Any = group[path]
        for found in _find_multiscales(group, image, path, ""):
            yield found._replace(name=found.name or path)


def _walk(root: zarr.Group, group: zarr.Group, path: str, depth: int) -> Iterator[ZarrImage]:
    """Yield the images and arrays in a group and its groups, without labels and coordinates."""
    import zarr

    for key, member in sorted(group.members(), key=lambda pair: pair[0]):
        inner = f"{path}{key}"
        if isinstance(member, zarr.Array):
            # Arrays of one axis are coordinates. Texts and records are no pixels.
            if member.ndim > 1 and member.dtype.kind in "buif":
                yield ZarrImage(inner, root, inner)
        elif "image-label" in _read_ome(member) or key == "labels":
            continue
        elif "multiscales" in _read_ome(member):
            yield from _find_multiscales(root, member, inner, inner)
        elif depth:
            yield from _walk(root, member, f"{inner}/", depth - 1)


def _open_levels(node: zarr.Group | zarr.Array[Any], number: int) -> _Levels:
    import zarr

    if isinstance(node, zarr.Array):
        return _Levels([node], _read_dimension_names(node))
    try:
        attributes = _read_ome(node)
        multiscale = attributes["multiscales"][number]
        datasets = multiscale["datasets"]
        levels: list[Any] = [node[dataset["path"]] for dataset in datasets]
        order = sorted(range(len(levels)), key=lambda level: -levels[level].size)
        levels = [levels[level] for level in order]
        axes = _read_axes(multiscale, datasets[order[0]], levels[0].ndim)
        channels = _read_channels(attributes.get("omero"))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableImageError("its OME-Zarr metadata are damaged") from error
    if any(len(level.shape) != len(axes) for level in levels):
        raise UnreadableImageError("its OME-Zarr metadata do not match its arrays")
    return _Levels(levels, axes, channels)


def _read_axes(
    multiscale: Mapping[str, Any], finest: Mapping[str, Any], ndim: int
) -> tuple[Axis, ...]:
    """Return the axes of the finest level, with all coordinate transformations applied."""
    stored = multiscale["axes"] if ndim != len(OLD_AXES) else multiscale.get("axes", OLD_AXES)
    # OME-Zarr 0.3 has the names alone.
    axes = [{"name": axis} if isinstance(axis, str) else axis for axis in stored]
    ones = [1.0] * len(axes)
    scale, shift = np.array(ones), np.array(ones) * 0
    own = finest.get("coordinateTransformations", [])
    for transformation in [*own, *multiscale.get("coordinateTransformations", [])]:
        factor = np.array(transformation.get("scale", ones), float)
        scale = scale * factor
        shift = shift * factor + transformation.get("translation", 0.0)
    if not all(isfinite(value) and value for value in scale) or not np.all(np.isfinite(shift)):
        raise UnreadableImageError("its OME-Zarr metadata are damaged: a scale is not a length")
    return tuple(
        Axis(
            str(axis["name"]),
            str(axis.get("type") or _guess_kind(str(axis["name"]))),
            str(axis.get("unit") or ""),
            float(factor),
            float(offset),
        )
        for axis, factor, offset in zip(axes, scale, shift, strict=True)
    )


def _read_channels(omero: Any) -> tuple[Channel, ...]:
    """Return the names and colors of the channels. Viewers of OMERO use these metadata."""
    channels = omero.get("channels") or [] if omero else []
    return tuple(
        Channel(str(channel.get("label") or ""), _read_color(channel.get("color")))
        for channel in channels
    )


def _read_color(color: Any) -> str | None:
    text = str(color).lstrip("#")
    return f"#{text.lower()}" if re.fullmatch("[0-9a-fA-F]{6}", text) else None


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


def _make_picture(opened_levels: _Levels) -> Picture:
    """Return the picture of levels. Color channels become the last axis; others stay in place."""
    from napari_kmeans.files.zarr_chunks import bound_chunks

    levels, axes, channels = opened_levels
    axis = next((number for number, axis in enumerate(axes) if axis.kind == "channel"), None)
    opened: list[Any] = [
        open_lazily(FileArray(bound_chunks(level)), level.chunks, axis) for level in levels
    ]
    if axis is None:
        rgb = False if axes else None
        return Picture(opened[0], rgb=rgb, levels=tuple(opened), axes=axes)
    if len(channels) != levels[0].shape[axis]:
        channels = ()
    if not _are_colors(levels[0], axis, channels):
        return Picture(
            opened[0],
            rgb=False,
            channel_axis=axis,
            levels=tuple(opened),
            axes=axes,
            channels=channels,
        )
    opened = [np.moveaxis(level, axis, -1) for level in opened]
    axes = (*axes[:axis], *axes[axis + 1 :], axes[axis])
    return Picture(opened[0], rgb=True, levels=tuple(opened), axes=axes)


def _are_colors(array: zarr.Array[Any], axis: int, channels: tuple[Channel, ...]) -> bool:
    """Return whether the channels are red, green, blue and, if there are four, alpha.

    The colors and names of the channels decide. Only without them, three or four channels on
    the last axis are colors: this is how programs store RGB images, and OME-Zarr stores
    measured channels before the plane.
    """
    count = array.shape[axis]
    if array.dtype not in (np.uint8, np.uint16) or count not in (3, 4):
        return False
    colors = tuple((channel.color or "").upper().lstrip("#") for channel in channels)
    names = tuple(channel.name.upper() for channel in channels)
    if not any(colors) and not any(names):
        return axis == array.ndim - 1
    are_named = not any(colors) and names[:3] in RGB_NAMES
    if colors[:3] != RGB_COLORS and not are_named:
        return False
    return count == 3 or names[3] in ("ALPHA", "A")
