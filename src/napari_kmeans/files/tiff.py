"""TIFF files too large to be read whole: tiles and strips, read when they are needed."""

from __future__ import annotations

import weakref
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.files.picture import FileArray, UnreadableImageError, open_lazily

if TYPE_CHECKING:
    from pathlib import Path

    import tifffile

SIDE = 1024


class TiffLevel(FileArray):
    """One level of a TIFF file; the file stays open as long as somebody holds this.

    Parameters
    ----------
    path : Path
    level : int
        0 is the finest.
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
        """Open the file anew in another process."""
        return TiffLevel, self._origin


class PlainTiff:
    """Uncompressed pixels that lie in a file in one piece.

    They are mapped anew for each read: the pages of a lasting map would stay in
    memory one after the other.

    Parameters
    ----------
    path : Path
    offset : int
        Where they begin, in bytes.
    dtype : numpy.dtype
    shape : tuple of int
    """

    def __init__(
        self, path: Path, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> None:
        self.path, self.offset, self.dtype, self.shape = path, offset, dtype, shape

    def __getitem__(self, key: tuple[slice, ...]) -> Any:
        """Return the pixels of slices."""
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)[key]


def open_levels(path: Path, series: tifffile.TiffPageSeries) -> list[Any]:
    """Return the levels of the first series as lazy arrays, finest first.

    Raises
    ------
    UnreadableImageError
        If it is too short, or its compression cannot be read with what is installed.
    """
    axis = next((series.axes.index(name) for name in "SC" if name in series.axes), None)
    return [_open_level(path, series, number, axis) for number in range(len(series.levels))]


def _open_level(path: Path, series: tifffile.TiffPageSeries, number: int, axis: int | None) -> Any:
    level = series.levels[number]
    _check_size(path, level)
    if level.dataoffset is not None:
        dtype = np.dtype(level.keyframe.parent.byteorder + level.dtype.char)
        plain = FileArray(PlainTiff(path, level.dataoffset, dtype, tuple(level.shape)))
        return open_lazily(plain, _squares(plain.shape, axis), axis)
    source = TiffLevel(path, number)
    _check_compression(source, level.keyframe)
    return open_lazily(source, source.tiles, axis)


def _check_size(path: Path, level: tifffile.TiffPageSeries) -> None:
    """Refuse a file that is shorter than it says, or that says where too few of its pixels are."""
    page, n_bytes = level.keyframe, path.stat().st_size
    if level.dataoffset is not None:
        missing = level.dataoffset + level.nbytes - n_bytes
    else:
        places = zip(page.dataoffsets, page.databytecounts, strict=False)
        missing = max((offset + size for offset, size in places), default=0) - n_bytes
    if missing > 0:
        raise UnreadableImageError(f"it ends too early: {missing} bytes are missing")
    n_pieces = prod(page.chunked)
    if len(page.dataoffsets) < n_pieces:
        raise UnreadableImageError(
            f"of {n_pieces} pieces, in a shape of {level.shape}, it holds {len(page.dataoffsets)}"
        )


def _squares(shape: tuple[int, ...], axis: int | None) -> list[int]:
    spatial = [number for number in range(len(shape)) if number != axis]
    return [SIDE if number in spatial[-2:] else 1 for number in range(len(shape))]


def _check_compression(source: TiffLevel, page: tifffile.TiffPage) -> None:
    from tifffile import COMPRESSION

    try:
        _ = source[tuple(slice(0, 1) for _ in source.shape)]
    except UnreadableImageError as error:
        if "imagecodecs" not in str(error):
            raise
        name = COMPRESSION(page.compression).name
        message = f"it is large and its compression, {name}, needs: pip install imagecodecs"
        raise UnreadableImageError(message) from error
