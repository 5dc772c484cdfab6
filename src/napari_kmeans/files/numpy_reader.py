"""Read the arrays that numpy saves: `.npy` files, and `.npz` files with several arrays."""

from __future__ import annotations

import zipfile
from contextlib import contextmanager
from math import prod
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from numpy.lib import format as npy

from napari_kmeans.files.errors import UnreadableImageError, check_memory
from napari_kmeans.files.picture import Picture, Series

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

SUFFIX = ".npy"
"""The suffix of the arrays in a `.npz` file, which is a zip file."""


class _Header(NamedTuple):
    """The name of an array, and what it states before its values."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def is_numpy(path: Path, header: bytes) -> bool:
    """Return whether a file contains arrays of numpy."""
    if header.startswith(npy.MAGIC_PREFIX):
        return True
    return header.startswith(b"PK\3\4") and bool(_list_names(path))


def _list_names(path: Path) -> list[str]:
    """Return the arrays in a zip file, or nothing if it contains anything else."""
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except zipfile.BadZipFile:
        return []
    return names if all(name.endswith(SUFFIX) for name in names) else []


def list_numpy_series(path: Path) -> tuple[Series, ...]:
    """Return the arrays in a file that can be images: those of two axes or more."""
    return tuple(Series(header.name, header.shape) for header in _list_images(path))


def read_numpy(path: Path, number: int | None = None) -> Picture:
    """Read an array. numpy stores no names of axes, so its shape decides whether it is RGB.

    Parameters
    ----------
    path : Path
    number : int, optional
        The number of an array. If None, the largest.

    Raises
    ------
    UnreadableImageError
        If there is no array of numbers, or if it does not fit into memory.
    """
    images = _list_images(path)
    if number is not None and not 0 <= number < len(images):
        raise UnreadableImageError(
            f"series must be from 0 to {len(images) - 1}, the number of an image in the file, "
            f"got {number}"
        )
    sizes = [prod(image.shape) for image in images]
    chosen = images[sizes.index(max(sizes)) if number is None else number]
    check_memory(prod(chosen.shape) * chosen.dtype.itemsize, "an image of the size that it states")
    with _open_array(path, chosen.name) as stream:
        pixels = npy.read_array(stream, allow_pickle=False)
    note = ""
    if number is None and len(images) > 1:
        others = ", ".join(image.name for image in images if image is not chosen)
        note = f"only {chosen.name}, the largest of its {len(images)} arrays, is read; "
        note += f"the others are {others}"
    return Picture(pixels, note=note, name=chosen.name)


def _list_images(path: Path) -> list[_Header]:
    with path.open("rb") as file:
        is_single = file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX
    names = [""] if is_single else [name.removesuffix(SUFFIX) for name in _list_names(path)]
    headers = [_read_header(path, name) for name in names]
    images = [each for each in headers if len(each.shape) > 1 and each.dtype.kind in "buif"]
    if not images:
        raise UnreadableImageError("it contains no array of numbers with two axes or more")
    return images


@contextmanager
def _open_array(path: Path, name: str) -> Iterator[IO[bytes]]:
    """Open an array of a `.npz` file, or a `.npy` file, which has no name."""
    if not name:
        with path.open("rb") as stream:
            yield stream
    else:
        with zipfile.ZipFile(path) as file, file.open(name + SUFFIX) as stream:
            yield stream


def _read_header(path: Path, name: str) -> _Header:
    with _open_array(path, name) as stream:
        version = npy.read_magic(stream)
        # Version 3 differs from version 2 in the encoding of the names of fields.
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(stream)
    return _Header(name, shape, dtype)
