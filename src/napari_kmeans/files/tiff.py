"""Read TIFF files: small files completely, large files lazily."""

from __future__ import annotations

import weakref
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.lazy import FileArray, open_lazily
from napari_kmeans.files.picture import Axis, Picture, Series
from napari_kmeans.files.pillow import read_bytes, read_with_pillow

if TYPE_CHECKING:
    from pathlib import Path

    import tifffile

LARGE = 2**28
"""Bytes. TIFF files with more pixel data than this are read lazily.

Smaller files are read completely, because Pillow then reads LZW and JPEG without imagecodecs.
"""

AXIS_KINDS = {"S": "channel", "C": "channel", "T": "time", "X": "space", "Y": "space", "Z": "space"}
"""The kind of each axis, as in OME-Zarr. TIFF calls the axis of colors S (samples)."""

CHUNK_SIDE = 1024
"""Pixels. Length of the chunks of uncompressed files along each axis of the plane."""


def is_tiff(path: Path, header: bytes) -> bool:
    """Return whether a file begins as a TIFF or BigTIFF file does.

    DICOM files may begin so too. Their own mark follows after 128 bytes.
    """
    is_dicom = header[128:132] == b"DICM"
    return header[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") and not is_dicom


def list_tiff_series(path: Path) -> tuple[Series, ...]:
    """Return the images in a TIFF file."""
    from tifffile import TiffFile

    with TiffFile(path) as file:
        return tuple(Series(each.name, each.shape) for each in file.series)


def read_tiff(path: Path, number: int | None = None) -> Picture:
    """Read the first series of a TIFF file: lazily if it is large, otherwise completely."""
    from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile

    with TiffFile(path) as file:
        series = file.series[0]
        first = series.keyframe
        if series.nbytes > LARGE and first.photometric != PHOTOMETRIC.PALETTE:
            return _make_picture(_open_levels(path, series), series.axes, lazy=True)
        plain = first.compression in (
            COMPRESSION.NONE,
            COMPRESSION.ADOBE_DEFLATE,
            COMPRESSION.DEFLATE,
        )
        if not plain or first.photometric == PHOTOMETRIC.PALETTE:
            # Pillow reads LZW and JPEG, for which tifffile needs imagecodecs, and it replaces
            # the indices of a palette by colors.
            return read_with_pillow(read_bytes(path), [page.index for page in series.pages if page])
        return _make_picture([series.asarray()], series.axes)


def _make_picture(levels: list[Any], names: str, lazy: bool = False) -> Picture:
    """Return the picture of levels. `names` has one letter for each axis, as in TIFF."""
    channel_axis = next((names.index(name) for name in "SC" if name in names), None)
    rgb = None
    if "S" in names and channel_axis is not None:
        levels = [np.moveaxis(level, channel_axis, -1) for level in levels]
        names = names.replace("S", "") + "S"
        rgb = levels[0].shape[-1] in (3, 4)
        channel_axis = None if rgb else len(names) - 1
    axes = tuple(
        Axis("c" if name in "SC" else name.lower(), AXIS_KINDS.get(name, "")) for name in names
    )
    return Picture(
        levels[0],
        rgb,
        channel_axis,
        levels=tuple(levels) if lazy else (),
        axes=axes,
    )


def _open_levels(path: Path, series: tifffile.TiffPageSeries) -> list[Any]:
    """Return the levels of the first series as lazy arrays, the finest first.

    Raises
    ------
    UnreadableImageError
        If the file is too short, or if no installed package reads its compression.
    """
    axis = next((series.axes.index(name) for name in "SC" if name in series.axes), None)
    return [_open_level(path, series, number, axis) for number in range(len(series.levels))]


def _open_level(path: Path, series: tifffile.TiffPageSeries, number: int, axis: int | None) -> Any:
    level = series.levels[number]
    _check_size(path, level)
    # Only pixels that are uncompressed and contiguous have a data offset.
    if level.dataoffset is not None:
        dtype = np.dtype(level.keyframe.parent.byteorder + level.dtype.char)
        plain = FileArray(PlainTiff(path, level.dataoffset, dtype, tuple(level.shape)))
        return open_lazily(plain, _square_chunks(plain.shape, axis), axis)
    source = TiffLevel(path, number)
    _check_compression(source, level.keyframe)
    return open_lazily(source, source.tiles, axis)


def _check_size(path: Path, level: tifffile.TiffPageSeries) -> None:
    """Check that a file contains all the pixels of a level, and the position of each tile."""
    page, n_bytes = level.keyframe, path.stat().st_size
    if level.dataoffset is not None:
        missing = level.dataoffset + level.nbytes - n_bytes
    else:
        tiles = zip(page.dataoffsets, page.databytecounts, strict=False)
        missing = max((offset + size for offset, size in tiles), default=0) - n_bytes
    if missing > 0:
        raise UnreadableImageError(f"it ends too early: {missing} bytes are missing")
    n_tiles = prod(page.chunked)
    if len(page.dataoffsets) < n_tiles:
        raise UnreadableImageError(
            f"its shape, {level.shape}, needs {n_tiles} tiles or strips, "
            f"and it has {len(page.dataoffsets)}"
        )


def _square_chunks(shape: tuple[int, ...], axis: int | None) -> list[int]:
    """Return the shape of square tiles of one plane, for `open_lazily`."""
    spatial = [number for number in range(len(shape)) if number != axis]
    return [CHUNK_SIDE if number in spatial[-2:] else 1 for number in range(len(shape))]


def _check_compression(source: TiffLevel, page: tifffile.TiffPage) -> None:
    """Read one pixel, to find out whether the compression needs the package imagecodecs."""
    from tifffile import COMPRESSION

    try:
        _ = source[tuple(slice(0, 1) for _ in source.shape)]
    except UnreadableImageError as error:
        if "imagecodecs" not in str(error):
            raise
        name = COMPRESSION(page.compression).name
        raise UnreadableImageError(
            f"it is large, and its compression, {name}, needs a package: pip install imagecodecs"
        ) from error


class TiffLevel(FileArray):
    """One level of a TIFF file. The file stays open as long as this object exists.

    Parameters
    ----------
    path : Path
    level : int
        The number of the level. 0 is the finest.
    """

    def __init__(self, path: Path, level: int) -> None:
        import zarr
        from tifffile import TiffFile

        file = TiffFile(path)
        weakref.finalize(self, file.close)
        store = file.series[0].aszarr(level=level)
        array: Any = zarr.open_array(store, mode="r")
        super().__init__(array)
        self.tiles: tuple[int, ...] = array.chunks
        self._origin = path, level

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the path and the level, so that another process opens the file itself."""
        return TiffLevel, self._origin


class PlainTiff:
    """Uncompressed pixels that are contiguous in a file.

    Each read makes a new memory map. All pages that are read through one permanent
    map would stay in memory.

    Parameters
    ----------
    path : Path
    offset : int
        The position of the first pixel in the file, in bytes.
    dtype : numpy.dtype
    shape : tuple of int
    """

    def __init__(
        self, path: Path, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> None:
        self.path, self.offset, self.dtype, self.shape = path, offset, dtype, shape

    def __getitem__(self, key: tuple[slice, ...]) -> Any:
        """Return the pixels of the slices."""
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)[key]
