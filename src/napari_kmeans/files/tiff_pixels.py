"""Read the pixels of TIFF files, completely or piece by piece."""

from __future__ import annotations

import os
import re
import struct
import threading
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from napari_kmeans.execution.threads import map_slices
from napari_kmeans.files.errors import UnreadableImageError, check_memory
from napari_kmeans.files.lazy import FileArray, open_lazily
from napari_kmeans.files.tiff_colors import JPEG_COMPRESSIONS
from napari_kmeans.files.tiff_series import find_images, open_tiff

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import tifffile
    from numpy.typing import NDArray

CHUNK_SIDE = 1024
"""Pixels. Length of the chunks of uncompressed files along each axis of the plane."""

N_BATCHES = 64
"""Tiles are decoded in so many batches: enough for all threads, and few enough to be fast."""

UNSAFE_COMPRESSIONS = (22610, 34934)
"""JPEG XR. jxrlib, its only decoder, ended the process in three of three trials with changed data,
after 11 to 143 files."""

JPEG_2000 = (33003, 33004, 33005, 34712)
"""The numbers of JPEG 2000 in TIFF files."""

MAX_EXCESS = 2**20
"""Pixels. A compressed image in a tile may be larger than the tile by so much: some encoders pad
tiles."""

INNER_AXES = 5
"""The axes of a page in tifffile: planar samples, depth, length, width, contiguous samples."""


class PageData(NamedTuple):
    """Where the tiles or strips of one page are."""

    path: Path
    offsets: Sequence[int]
    counts: Sequence[int]
    jpeg_tables: bytes | None
    layout: PageLayout


class PageLayout:
    """How the pixels of a page are stored. The files of a data set may differ in this.

    Parameters
    ----------
    page : TiffPage
        Its file must be open: the decoder reads tags.
    """

    def __init__(self, page: tifffile.TiffPage) -> None:
        from tifffile import TIFF

        if page.compression in TIFF.IMAGE_COMPRESSIONS:
            # These decoders return Cb and Cr of all pixels. tifffile assumes this of JPEG alone.
            page.subsampling = (1, 1)
        self.page = page
        self.decode = partial(decode_subsampled, page) if _is_subsampled(page) else page.decode
        self.has_rows = page.is_final and not page.is_tiled
        samples = page.shaped[4]
        if page.is_tiled:
            self.tile = (1, page.tiledepth, page.tilelength, page.tilewidth, samples)
        elif page.is_final:
            # Rows of uncompressed contiguous pages can be read one by one.
            rows = max(1, CHUNK_SIDE**2 // max(1, page.imagewidth))
            self.tile = (1, 1, min(rows, page.imagelength), page.imagewidth, samples)
        else:
            self.tile = (1, 1, page.rowsperstrip, page.imagewidth, samples)


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
        With the byte order of the file. The pixels that are returned have the native order.
    shape : tuple of int
    """

    def __init__(
        self, path: Path, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> None:
        self.path, self.offset, self.shape = path, offset, shape
        self.dtype, self._stored = dtype.newbyteorder("="), dtype

    def __getitem__(self, key: tuple[slice, ...]) -> Any:
        """Return the pixels of the slices."""
        stored = np.memmap(self.path, self._stored, "r", self.offset, self.shape)[key]
        return stored.astype(self.dtype, copy=False)


class TiledTiff:
    """The pixels of one resolution of a TIFF file, which consists of tiles or strips.

    The file is open only while pixels are read.

    Parameters
    ----------
    path : Path
    number : int
        The number of the image in `find_images`.
    level : int
        The number of the resolution. 0 is the finest; -1 is the mask.
    series : TiffPageSeries
        The pages of the resolution.
    """

    def __init__(
        self, path: Path, number: int, level: int, series: tifffile.TiffPageSeries
    ) -> None:
        self._origin = path, number, level
        page = series.keyframe
        self.shape, self.dtype = tuple(series.shape), np.dtype(series.dtype)
        self._transform, self._stored = series.transform, np.dtype(page.dtype)
        self._inner = tuple(page.shaped)
        layouts = {page: PageLayout(page)}
        self._tile = layouts[page].tile
        self._pages = [
            _locate_page(path, each, own, page, layouts) for each, own in _pair_keyframes(series)
        ]

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the place of the pixels, so that another process opens the file itself."""
        return open_level, self._origin

    @property
    def tiles(self) -> tuple[int, ...] | None:
        """The shape of the tiles, one length for each axis; None if no part can be read alone."""
        inner = self._match_axes()
        if inner is None:
            return None
        n_outer = len(self.shape) - len(inner)
        return (1,) * n_outer + tuple(self._tile[axis] for axis in inner)

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[Any]:
        """Return the pixels of the slices."""
        inner = self._match_axes() or []
        n_outer = len(self.shape) - len(inner)
        ranges = [range(length)[part] for length, part in zip(self.shape, key, strict=True)]
        parts = [slice(0, length) for length in self._inner]
        for axis, part in zip(inner, ranges[n_outer:], strict=True):
            parts[axis] = slice(part.start, part.stop)
        numbers = [
            int(np.ravel_multi_index(index, self.shape[:n_outer])) if index else 0
            for index in product(*ranges[:n_outer])
        ]
        pixels = self._read(numbers, parts, threaded=False)
        return self._apply_transform(pixels.reshape([len(part) for part in ranges]))

    def read_all(self) -> NDArray[Any]:
        """Return all pixels. Several threads decode them."""
        parts = [slice(0, length) for length in self._inner]
        pixels = self._read(range(len(self._pages)), parts, threaded=True)
        return self._apply_transform(pixels.reshape(self.shape))

    def _apply_transform(self, pixels: NDArray[Any]) -> NDArray[Any]:
        return pixels if self._transform is None else self._transform(pixels)

    def _match_axes(self) -> list[int] | None:
        """Return which axes of a page the last axes of the image are, or None if they differ."""
        matched: list[int] = []
        lengths = list(self.shape)
        for axis in range(INNER_AXES - 1, -1, -1):
            if lengths and lengths[-1] == self._inner[axis]:
                matched.insert(0, axis)
                lengths.pop()
            elif self._inner[axis] != 1:
                return None
        return matched if prod(lengths) == len(self._pages) else None

    def _read(self, numbers: Sequence[int], parts: list[slice], threaded: bool) -> NDArray[Any]:
        """Return parts of pages, (pages, 5 axes of a page)."""
        out = np.empty((len(numbers), *(part.stop - part.start for part in parts)), self._stored)
        pages = [self._pages[number] for number in numbers]
        tiles = [self._tile if page is None else page.layout.tile for page in pages]
        largest = max(map(prod, set(tiles)), default=0)
        check_memory(largest * self._stored.itemsize, "one tile of it")
        with ExitStack() as stack:
            files: dict[Path, BinaryIO] = {}
            lock = threading.Lock()

            def read_bytes(path: Path, offset: int, count: int) -> bytes:
                with lock:
                    if path not in files:
                        files[path] = stack.enter_context(path.open("rb"))
                    files[path].seek(offset)
                    return files[path].read(count)

            def fill(task: tuple[int, tuple[int, ...]]) -> None:
                number, place = task
                self._fill(out[number], parts, pages[number], place, read_bytes)

            grids = {
                tile: [
                    range(part.start // size, -(-part.stop // size))
                    for part, size in zip(parts, tile, strict=True)
                ]
                for tile in set(tiles)
            }
            tasks = [
                (number, place)
                for number, tile in enumerate(tiles)
                for place in product(*grids[tile])
            ]

            def fill_some(some: slice) -> None:
                for task in tasks[some]:
                    fill(task)

            if threaded:
                map_slices(fill_some, len(tasks), max(1, len(tasks) // N_BATCHES))
            else:
                fill_some(slice(None))
        return out

    def _fill(
        self,
        out: NDArray[Any],
        parts: list[slice],
        data: PageData | None,
        place: tuple[int, ...],
        read_bytes: Any,
    ) -> None:
        """Write the part of one tile into `out`. A tile that the file lacks has no data."""
        tile = self._tile if data is None else data.layout.tile
        start = [number * size for number, size in zip(place, tile, strict=True)]
        first = [max(part.start, low) for part, low in zip(parts, start, strict=True)]
        stop = [
            min(part.stop, low + size) for part, low, size in zip(parts, start, tile, strict=True)
        ]
        target = out[
            tuple(
                slice(low - part.start, high - part.start)
                for low, high, part in zip(first, stop, parts, strict=True)
            )
        ]
        source = tuple(
            slice(low - begin, high - begin)
            for low, high, begin in zip(first, stop, start, strict=True)
        )
        if data is None:
            target[...] = 0
        elif data.layout.has_rows:
            target[...] = self._read_rows(data, start, read_bytes)[source]
        else:
            found = self._read_tile(data, place, read_bytes)
            missing = data.layout.page.nodata
            target[...] = missing if found is None else found[np.newaxis][source]

    def _read_rows(self, data: PageData, start: list[int], read_bytes: Any) -> NDArray[Any]:
        """Return some complete rows of an uncompressed page."""
        page = data.layout.page
        _, depth, length, width, samples = self._inner
        rows = min(data.layout.tile[2], length - start[2])
        dtype = self._stored.newbyteorder(page.parent.byteorder)
        skipped = ((start[0] * depth + start[1]) * length + start[2]) * width * samples
        n_bytes = rows * width * samples * dtype.itemsize
        found = read_bytes(data.path, data.offsets[0] + skipped * dtype.itemsize, n_bytes)
        return np.frombuffer(found, dtype).reshape(1, 1, rows, width, samples)

    def _read_tile(self, data: PageData, place: tuple[int, ...], read_bytes: Any) -> Any:
        """Return one decoded tile or strip, (depth, length, width, samples), or None."""
        page, tile = data.layout.page, data.layout.tile
        lengths = [-(-a // b) for a, b in zip(self._inner, tile, strict=True)]
        index = int(np.ravel_multi_index(place[:4], lengths[:4]))
        offset, count = data.offsets[index], data.counts[index]
        if not offset or not count:
            return None
        found = read_bytes(data.path, offset, count)
        settings: dict[str, Any] = {}
        if page.compression in JPEG_COMPRESSIONS:
            settings = {"jpegtables": data.jpeg_tables, "jpegheader": page.jpegheader}
        if page.jpegheader is None:
            check_encoded_size(page.compression, found, prod(tile))
        return data.layout.decode(found, index, _fullsize=False, **settings)[0]


def check_encoded_size(compression: int, data: bytes, n_values: int) -> None:
    """Check the size that an image states which is in a tile, before it is unpacked.

    Byte streams such as Deflate cannot exceed the tile: imagecodecs stops at its size. JPEG,
    PNG, WebP and the like contain a size of their own.
    """
    from tifffile import TIFF

    if compression not in TIFF.IMAGE_COMPRESSIONS:
        return
    find = _find_jpeg_2000_shapes if compression in JPEG_2000 else _find_encoded_shapes
    for shape in find(compression, data):
        if prod(shape) > n_values + MAX_EXCESS:
            raise UnreadableImageError(
                f"one of its tiles contains an image of shape {shape}, "
                f"which is larger than the tile"
            )


def _find_jpeg_2000_shapes(compression: int, data: bytes) -> list[tuple[int, ...]]:
    """Return the shapes in the headers of JPEG 2000: the marker SOC, then SIZ (ISO 15444-1)."""
    # The decoder has no step between the header and the pixels.
    found = re.findall(rb"\xff\x4f\xff\x51.{4}(.{16}).{16}(.{2})", data, re.DOTALL)
    return [
        (bottom - top, right - left, int.from_bytes(samples, "big"))
        for (right, bottom, left, top), samples in (
            (struct.unpack(">4I", area), samples) for area, samples in found
        )
    ]


def _find_encoded_shapes(compression: int, data: bytes) -> list[tuple[int, ...]]:
    """Return the shape that an image states; empty if its header is damaged."""
    from tifffile import TIFF

    try:
        # With an output of another shape, the decoder reads the header only, and the message
        # of its error contains the stated shape.
        TIFF.DECOMPRESSORS[compression](data, out=np.empty((1, 1, 1, 1, 1), np.uint8))
    except ValueError as error:
        stated = re.findall(r", shape=\(([\d, ]+)\)", str(error))
        return [tuple(map(int, re.findall(r"\d+", lengths))) for lengths in stated]
    except Exception:
        # The decoder reports the damage again, with the place of the tile.
        return []
    return []


def open_level(path: Path, number: int, level: int) -> TiledTiff:
    """Open one resolution of an image, or its mask, by its number in the file."""
    with open_tiff(path) as file:
        image = find_images(file)[number]
        series = image.mask if level < 0 else image.levels[level]
        if series is None:
            raise UnreadableImageError("its mask is missing")
        return TiledTiff(path, number, level, series)


def read_pixels(
    path: Path, number: int, level: int, series: tifffile.TiffPageSeries, lazy: bool
) -> Any:
    """Return the pixels of a resolution: a dask array if `lazy`, otherwise a numpy array.

    Raises
    ------
    UnreadableImageError
        If the file is too short, or if the memory does not suffice.
    """
    _check_page(series.keyframe)
    _check_size(path, series)
    offset = _find_offset(series) if series.transform is None else None
    axis = next((series.axes.index(name) for name in "SC" if name in series.axes), None)
    if lazy and offset is not None:
        handle = series.keyframe.parent.filehandle
        dtype = np.dtype(series.dtype).newbyteorder(series.keyframe.parent.byteorder)
        plain = FileArray(PlainTiff(Path(handle.path), offset, dtype, tuple(series.shape)))
        return open_lazily(plain, _square_chunks(plain.shape, axis), axis)
    n_pages, n_needed = len(series), prod(series.shape) // max(1, prod(series.keyframe.shape))
    if offset is None and n_pages != n_needed:
        raise UnreadableImageError(f"its metadata state {n_needed} planes, and it has {n_pages}")
    if lazy:
        source = TiledTiff(path, number, level, series)
        if source.tiles is not None:
            return open_lazily(FileArray(source), source.tiles, axis)
    # Count the pixels twice: conversions of colors need as much again.
    check_memory(2 * series.nbytes, "an image of the size that it states")
    if offset is not None:
        return series.asarray()
    return TiledTiff(path, number, level, series).read_all()


def _find_offset(series: tifffile.TiffPageSeries) -> int | None:
    """Return where pixels begin that are uncompressed and contiguous in one file, or None."""
    # tifffile compares only the positions: those in two files may follow each other.
    return None if series.is_multifile else series.dataoffset


def _check_page(page: tifffile.TiffPage) -> None:
    """Check that there is a decoder for a page.

    Raises
    ------
    UnreadableImageError
        If there is none.
    """
    from tifffile import COMPRESSION, TIFF

    if page.compression in UNSAFE_COMPRESSIONS:
        raise UnreadableImageError(
            "its compression, JPEG XR, is not supported: damaged data would end the program; "
            "save it with another compression"
        )
    if page.dtype is None:
        raise UnreadableImageError(
            f"its pixels, of {page.bitspersample} bits and sample format {page.sampleformat}, "
            f"are not supported"
        )
    try:
        _ = page.compression == COMPRESSION.NONE or TIFF.DECOMPRESSORS[page.compression]
    except KeyError:
        name = getattr(page.compression, "name", page.compression)
        raise UnreadableImageError(f"its compression, {name}, is not supported") from None
    usual = (page.bitspersample, page.planarconfig, page.samplesperpixel) == (8, 1, 3)
    factors = page.subsampling or (2, 2)
    if _is_subsampled(page) and not (usual and set(factors) <= {1, 2, 4}):
        raise UnreadableImageError("its subsampled colors are not supported; convert it to RGB")


def _is_subsampled(page: tifffile.TiffPage) -> bool:
    """Return whether several pixels of a page share Cb and Cr, and its codec leaves it so."""
    from tifffile import PHOTOMETRIC, TIFF

    ycbcr = page.photometric == PHOTOMETRIC.YCBCR and page.is_subsampled
    return ycbcr and page.compression not in TIFF.IMAGE_COMPRESSIONS


def decode_subsampled(
    page: tifffile.TiffPage, data: bytes, index: int, **_: Any
) -> tuple[NDArray[np.uint8]]:
    """Return a tile or strip of subsampled YCbCr: (depth, length, width, 3), as a tuple.

    A unit of the data contains Y of a small block of pixels, then their Cb and Cr
    (TIFF 6.0, section 21).
    """
    from tifffile import TIFF

    if page.is_tiled:
        rows, columns = page.tilelength, page.tilewidth
    else:
        rows = min(page.rowsperstrip, page.imagelength - index * page.rowsperstrip)
        columns = page.imagewidth
    width, height = page.subsampling or (2, 2)
    n_rows, n_columns = -(-rows // height), -(-columns // width)
    n_bytes = n_rows * n_columns * (width * height + 2)
    if page.compression != 1:
        data = TIFF.DECOMPRESSORS[page.compression](data, out=n_bytes)
    units = np.frombuffer(data, np.uint8, n_bytes).reshape(n_rows, n_columns, -1)
    blocks = units[..., :-2].reshape(n_rows, n_columns, height, width)
    y = blocks.swapaxes(1, 2).reshape(n_rows * height, n_columns * width)
    chroma = units[..., -2:].repeat(height, axis=0).repeat(width, axis=1)
    return (np.dstack([y, chroma])[np.newaxis, :rows, :columns],)


def _pair_keyframes(
    series: tifffile.TiffPageSeries,
) -> Iterator[tuple[tifffile.TiffPage | tifffile.TiffFrame | None, tifffile.TiffPage]]:
    """Yield each page of a series, with a page of the same file whose tags are valid for it."""
    reloaded: dict[tifffile.TiffFile, tifffile.TiffPage] = {}
    for page in series:
        own = series.keyframe if page is None else page.keyframe or series.keyframe
        if page is not None and own.parent is not page.parent:
            # tifffile gives the keyframe of the first file to lower resolutions of all files.
            if page.parent not in reloaded:
                with _reopen(page):
                    reloaded[page.parent] = page.aspage()
            own = reloaded[page.parent]
        yield page, own


@contextmanager
def _reopen(page: tifffile.TiffPage | tifffile.TiffFrame) -> Iterator[None]:
    """Open the file of a page for a while: tifffile closes all files of a data set but one."""
    handle = page.parent.filehandle
    was_closed = handle.closed
    if was_closed:
        handle.open()
    try:
        yield
    finally:
        if was_closed:
            handle.close()


def _locate_page(
    path: Path,
    page: tifffile.TiffPage | tifffile.TiffFrame | None,
    own: tifffile.TiffPage,
    keyframe: tifffile.TiffPage,
    layouts: dict[tifffile.TiffPage, PageLayout],
) -> PageData | None:
    """Return where the tiles of a page are; None if its data set lacks the page.

    Parameters
    ----------
    path : Path
    page : TiffPage, TiffFrame or None
    own : TiffPage
        A page whose tags are valid for this page.
    keyframe : TiffPage
        The page whose shape, dtype and colors are those of the image.
    layouts : dict of TiffPage to PageLayout
        The layouts of pages so far. That of `own` is added.

    Raises
    ------
    UnreadableImageError
        If the page has another shape, dtype or other colors.
    """
    if page is None:
        return None
    handle = page.parent.filehandle
    if own not in layouts:
        _check_page(own)
        if _describe_pixels(own) != _describe_pixels(keyframe):
            raise UnreadableImageError(
                f"the planes in {handle.name} have another shape, dtype or photometric "
                f"interpretation than the first plane; save them alike"
            )
        with _reopen(own):
            layouts[own] = PageLayout(own)
    file = path if os.path.samefile(handle.path, path) else Path(handle.path)
    return PageData(file, page.dataoffsets, page.databytecounts, page.jpegtables, layouts[own])


def _describe_pixels(page: tifffile.TiffPage) -> tuple[Any, ...]:
    return tuple(page.shaped), np.dtype(page.dtype), page.photometric


def _check_size(path: Path, series: tifffile.TiffPageSeries) -> None:
    """Check that a file contains all the pixels of a series, and the position of each tile."""
    n_bytes = path.stat().st_size
    missing, offset = 0, _find_offset(series)
    if offset is not None:
        missing = offset + series.nbytes - n_bytes
    else:
        for page, own in _pair_keyframes(series):
            if page is None:
                continue
            if own.is_final:
                end = page.dataoffsets[0] + own.nbytes if len(page.dataoffsets) else 0
            else:
                tiles = zip(page.dataoffsets, page.databytecounts, strict=False)
                end = max((offset + size for offset, size in tiles if size), default=0)
            handle = page.parent.filehandle
            is_own = os.path.samefile(handle.path, path)
            missing = max(missing, end - (n_bytes if is_own else handle.size))
            n_tiles = 1 if own.is_final else prod(own.chunked)
            if missing <= 0 and len(page.dataoffsets) < n_tiles:
                raise UnreadableImageError(
                    f"its shape, {series.shape}, needs {n_tiles} tiles or strips, "
                    f"and it has {len(page.dataoffsets)}"
                )
    if missing > 0:
        raise UnreadableImageError(f"it ends too early: {missing} bytes are missing")


def _square_chunks(shape: tuple[int, ...], axis: int | None) -> list[int]:
    """Return the shape of square tiles of one plane, for `open_lazily`."""
    spatial = [number for number in range(len(shape)) if number != axis]
    return [CHUNK_SIDE if number in spatial[-2:] else 1 for number in range(len(shape))]
