"""Read an image file of any supported format."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import check_path
from napari_kmeans.files.errors import UnreadableImageError, reason
from napari_kmeans.files.pillow import read_with_imageio
from napari_kmeans.files.tiff import read_tiff
from napari_kmeans.files.zarr_reader import read_zarr

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_kmeans.files.picture import Picture

READERS: dict[tuple[str, ...], Callable[[Path], Picture]] = {
    (".tif", ".tiff"): read_tiff,
}
"""The readers of image files, by the suffixes of the files in lower case.

A file with another suffix is read with imageio. A directory is read as zarr, with any suffix.
"""


def read_image(path: str | os.PathLike[str]) -> Picture:
    """Read an image file, or a directory with a zarr array or an OME-Zarr image.

    The pages of a TIFF file and the frames of an animation become a stack. A zarr
    array or a large TIFF file becomes a lazy dask array. Black-and-white images of
    dtype bool become uint8 images of 0 and 255.

    Parameters
    ----------
    path : str or path

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
    path = check_path("path", path)
    try:
        if not path.exists():
            raise UnreadableImageError("there is no such file")
        with _silence_decoders():
            picture = _find_reader(path)(path)
    except UnreadableImageError:
        raise
    except Exception as error:
        # Decoders raise exceptions of many types for damaged files, such as IndexError.
        raise UnreadableImageError(reason(error)) from error
    if picture.pixels.dtype == bool:
        return picture._replace(
            pixels=_bool_to_uint8(picture.pixels), levels=tuple(map(_bool_to_uint8, picture.levels))
        )
    return picture


def _find_reader(path: Path) -> Callable[[Path], Picture]:
    if path.is_dir():
        return read_zarr
    # Refuse devices: reading one may never end. A pipe ends when its writer closes it.
    if not (path.is_file() or path.is_fifo()):
        raise UnreadableImageError("it is a device, not a file")
    suffix = path.suffix.lower()
    readers = (reader for suffixes, reader in READERS.items() if suffix in suffixes)
    return next(readers, read_with_imageio)


def _bool_to_uint8(pixels: Any) -> Any:
    return pixels.astype(np.uint8) * np.uint8(255)


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
