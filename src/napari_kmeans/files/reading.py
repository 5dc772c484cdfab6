"""Read an image file of any supported format."""

from __future__ import annotations

import errno
import logging
import threading
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from napari_kmeans.checks import check_path, make_line
from napari_kmeans.files.errors import UnreadableImageError, reason
from napari_kmeans.files.napari_readers import (
    FORMATS,
    describe_format,
    is_accepted,
    list_plugin_series,
    read_with_plugin,
)
from napari_kmeans.files.numpy_reader import is_numpy, list_numpy_series, read_numpy
from napari_kmeans.files.photographs import (
    is_photograph,
    list_photograph_series,
    read_photograph,
)
from napari_kmeans.files.pipes import copy_pipe
from napari_kmeans.files.tiff import is_tiff, list_tiff_series, read_tiff
from napari_kmeans.files.zarr_reader import is_zarr, list_zarr_series, read_zarr

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from napari_kmeans.files.picture import Picture, Series

T = TypeVar("T")

NOT_AN_IMAGE = "it is not an image in a supported format"
"""The message of the error for a file that no reader recognizes."""

EMPTY = "the file is empty"
"""The message of the error for a file of 0 bytes."""

NOT_ZARR = "it is a directory without a zarr array"
"""The message of the error for a directory that no reader recognizes."""

MAX_REASON = 80
"""The number of characters that a message quotes of the error of a decoder."""

SUFFIXES = frozenset(
    {
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jls", ".gif", ".webp", ".avif"),
        *(".jp2", ".j2k", ".jpx", ".jxl", ".jxr", ".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".pfm"),
        *(".bmp", ".dib", ".psd", ".qoi", ".dds", ".sgi", ".pcx", ".dcx", ".tga"),
        *(".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk", ".svs", ".ndpi", ".scn", ".qptiff"),
        *(".zarr", ".ozx", ".npy", ".npz"),
        *(each.suffix for each in FORMATS),
    }
)
"""The suffixes by which a damaged file is known to be an image. An image may have any other."""

HEADER_BYTES = 4096
"""The number of bytes at the start of a file by which its format is recognized."""


class Reader(NamedTuple):
    """How the files of one family of formats are recognized and read.

    Attributes
    ----------
    name : str
        The format in the words of a message.
    recognize : callable
        ``recognize(path, header)`` returns whether it reads a file or a directory. `header`
        contains the first bytes of a file, and is empty for a directory. The name of the
        file does not count.
    read : callable
        ``read(path, series)`` returns one of the images in a file. `series` is its number
        from 0, or None for the largest image.
    list_series : callable
        ``list_series(path)`` returns all images in a file.
    """

    name: str
    recognize: Callable[[Path, bytes], bool]
    read: Callable[[Path, int | None], Picture]
    list_series: Callable[[Path], tuple[Series, ...]]


READERS: tuple[Reader, ...] = (
    Reader("TIFF", is_tiff, read_tiff, list_tiff_series),
    Reader("zarr", is_zarr, read_zarr, list_zarr_series),
    Reader("an array of numpy", is_numpy, read_numpy, list_numpy_series),
    Reader("an image", is_photograph, read_photograph, list_photograph_series),
    Reader("an image", is_accepted, read_with_plugin, list_plugin_series),
)
"""The readers, in the order in which they are asked."""


def read_image(path: str | os.PathLike[str], series: int | None = None) -> Picture:
    """Read an image file, or a directory with a zarr array or an OME-Zarr image.

    The first bytes of a file state its format; its name does not count. The pages of
    a TIFF file and the frames of an animation become a stack. A zarr array or a large
    TIFF file becomes a lazy dask array. Black-and-white images of dtype bool become
    uint8 images of 0 and 255. A pipe is copied to a temporary file.

    Parameters
    ----------
    path : str or path
    series : int, optional
        The number, from 0, of one of the images in the file (see `list_series`). If
        None, the largest image.

    Returns
    -------
    Picture

    Raises
    ------
    TypeError
        If `path` is not a path.
    UnreadableImageError
        If the file is missing, damaged or not an image.
    """
    picture = _call_reader(
        check_path("path", path), lambda reader, found: reader.read(found, series)
    )
    picture = picture._replace(
        name=make_line(picture.name),
        axes=tuple(
            axis._replace(name=make_line(axis.name), unit=make_line(axis.unit))
            for axis in picture.axes
        ),
        channels=tuple(each._replace(name=make_line(each.name)) for each in picture.channels),
    )
    if picture.pixels.dtype == bool:
        return picture._replace(
            pixels=_bool_to_uint8(picture.pixels), levels=tuple(map(_bool_to_uint8, picture.levels))
        )
    return picture


def list_series(path: str | os.PathLike[str]) -> tuple[Series, ...]:
    """Return the names and shapes of all images in a file.

    Raises
    ------
    UnreadableImageError
        If the file is missing, damaged or not an image.
    """
    found = _call_reader(check_path("path", path), lambda reader, found: reader.list_series(found))
    return tuple(each._replace(name=make_line(each.name)) for each in found)


def is_image(path: str | os.PathLike[str]) -> bool:
    """Return whether a file or a directory begins as an image in a known format.

    The rest of the image is not examined, and may be damaged.
    """
    try:
        with _SILENCE:
            _find_reader(Path(path))
    except UnreadableImageError as error:
        return str(error) not in (NOT_AN_IMAGE, NOT_ZARR, EMPTY)
    except OSError:
        # Reading the image gives the reason, such as a file that this user must not read.
        return True
    return True


def has_image_suffix(path: Path) -> bool:
    """Return whether a path has the suffix of a format that is read: one of `SUFFIXES`."""
    return path.suffix.lower() in SUFFIXES


def _call_reader(path: Path, call: Callable[[Reader, Path], T]) -> T:
    """Return the result of `call` for the reader of a file; any failure is one error."""
    try:
        _check_exists(path)
        with _SILENCE:
            found = copy_pipe(path) if path.is_fifo() else path
            reader = _find_reader(found)
            with _report_damage(reader.name):
                return call(reader, found)
    except UnreadableImageError:
        raise
    except Exception as error:
        raise UnreadableImageError(reason(error)) from error


@contextmanager
def _report_damage(name: str) -> Iterator[None]:
    """Put the error of a decoder into a sentence: "list index out of range" alone tells nothing."""
    try:
        yield
    except (UnreadableImageError, OSError, MemoryError):
        raise
    except Exception as error:
        # Decoders raise exceptions of many types for damaged files, such as IndexError.
        why = reason(error)
        # The message may quote the whole file.
        why = why if len(why) <= MAX_REASON else f"{why[:MAX_REASON]}…"
        raise UnreadableImageError(f"it cannot be decoded as {name} ({why})") from error


def _check_exists(path: Path) -> None:
    """Raise an error if there is no file at a path, or if its name is too long."""
    try:
        # `Path.exists` hides other errors since Python 3.14, such as a name that is too long.
        path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise UnreadableImageError("there is no such file or folder") from None
        raise


def _find_reader(path: Path) -> Reader:
    header = b""
    if not path.is_dir():
        # Refuse devices: reading one may never end.
        if not path.is_file():
            raise UnreadableImageError("it is a device, not a file")
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
    found = (reader for reader in READERS if reader.recognize(path, header))
    reader = next(found, None)
    if reader is None:
        if path.is_dir():
            raise UnreadableImageError(NOT_ZARR)
        hint = describe_format(path, header)
        raise UnreadableImageError(hint or (NOT_AN_IMAGE if header else EMPTY))
    return reader


def _bool_to_uint8(pixels: Any) -> Any:
    return pixels.astype(np.uint8) * np.uint8(255)


class _DecoderSettings:
    """The settings of the process while images are read, on any number of threads.

    The first thread that enters changes the settings, and the last one that leaves restores them:
    two threads that restore them in the wrong order would leave changed settings behind.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_readers = 0
        self._stack = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._n_readers:
                self._stack.enter_context(_silence_decoders())
            self._n_readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_readers -= 1
            if not self._n_readers:
                self._stack.close()


_SILENCE = _DecoderSettings()


@contextmanager
def _silence_decoders() -> Iterator[None]:
    """Silence the warnings and log messages of decoders, and lift Pillow's limit on the size."""
    from PIL import Image

    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    limit = Image.MAX_IMAGE_PIXELS
    # Pillow's limit is the same number of pixels on every machine. The readers compare the
    # size with the free memory instead.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
