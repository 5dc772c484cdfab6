"""Count the pixels of every distinct color: a summary that loses nothing."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property, partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.clustering.assignment import GroupedPoints, GroupMoments
from napari_kmeans.clustering.kernels import MIXED
from napari_kmeans.execution import memory
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import map_slices, map_threads, n_threads
from napari_kmeans.imaging import kernels
from napari_kmeans.imaging.blocks import middle_window
from napari_kmeans.imaging.chunks import blocks_in_memory, map_reduce, map_reduce_lazy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.chunks import Batch
    from napari_kmeans.types import Block, Floats

MAX_BITS = 24
"""The largest number of bits of a color whose pixels are counted.

A table has an entry for each code: 16 MiB of one-byte counters for 24 bits.
"""

CELL_BITS = 18
"""The number of bits of a cell's number: 8-bit RGB has 64 x 64 x 64 cells."""

_COLORS_PER_TASK = 2**18
"""The number of distinct colors that a task works on."""

_CELLS_PER_TASK = 2**13
_USED_CELLS_PER_TASK = 2**11
"""The number of cells that a task works on: most cells of a photograph have no color."""

_MAX_TABLES = 8
"""The largest number of tables of counters: a table takes 16 MiB for codes of 24 bits."""

_FEW_CODES = 2**16
"""The number of codes up to which full counters are counted in an array of all codes."""

_MAX_RUNS = 12
"""The largest number of runs of equal entries in a table of gray values that are compared. Of 16
runs, as many comparisons take as long as a look-up."""


@dataclass(frozen=True, eq=False)
class Codec:
    """A one-to-one map between the colors of an image and small integers, their codes.

    A code starts with the most significant bits of all channels, followed by
    the other bits of all channels. Colors whose codes have the same first bits
    form a cell of color space. So the colors of a cell have consecutive codes,
    and close codes mostly stand for similar colors.

    Attributes
    ----------
    dtype : dtype
        The dtype of the image: boolean or integer.
    minimum : (C,) array of that dtype
        The channel values of code 0.
    widths : tuple of int
        The number of bits of each channel.
    """

    dtype: np.dtype[Any]
    minimum: NDArray[Any]
    widths: tuple[int, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the codec without its tables, which are large and quick to rebuild."""
        return Codec, (self.dtype, self.minimum, self.widths)

    def has_same_codes(self, other: Codec) -> bool:
        """Return whether another codec gives the same codes."""
        same = self.dtype == other.dtype and self.widths == other.widths
        return same and np.array_equal(self.minimum, other.minimum)

    @property
    def size(self) -> int:
        """The number of codes."""
        return 1 << sum(self.widths)

    @cached_property
    def _low_widths(self) -> tuple[int, ...]:
        """The number of bits of each channel that do not belong to the cell."""
        share = CELL_BITS // len(self.widths)
        return tuple(max(width - share, 0) for width in self.widths)

    @property
    def is_bytes(self) -> bool:
        """True if the channel values are bytes and code 0 stands for value 0."""
        return self.dtype == np.uint8 and not self.minimum.any()

    @property
    def cell_bits(self) -> int:
        """The number of low bits of a code. The bits above them are the number of its cell."""
        return sum(self._low_widths)

    @cached_property
    def _shifts(self) -> tuple[tuple[int, int, int, int], ...]:
        """The places of each channel's bits in a code.

        An entry is (shift of the high bits, width of the high bits, shift of the low
        bits, width of the low bits).
        """
        high, low = sum(self.widths), self.cell_bits
        shifts = []
        for width, low_width in zip(self.widths, self._low_widths, strict=True):
            high -= width - low_width
            low -= low_width
            shifts.append((high, width - low_width, low, low_width))
        return tuple(shifts)

    @cached_property
    def bit_tables(self) -> tuple[NDArray[np.uint32], ...]:
        """Tables, one for each channel, of the bits that an offset from the minimum has in a code.

        A code is the bitwise "or" of the entries of all channels. A single channel needs no table:
        its offsets are codes.
        """
        if len(self.widths) == 1:
            return ()
        tables = []
        for width, (high, _, low, low_width) in zip(self.widths, self._shifts, strict=True):
            offsets = np.arange(1 << width, dtype=np.uint32)
            bits = (offsets >> low_width) << high | (offsets & ((1 << low_width) - 1)) << low
            tables.append(bits.astype(np.uint32))
        return tuple(tables)

    def offsets(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the unsigned differences (n, C) between values (n, C) and the minimum.

        Those of contiguous bytes of RGB are an array (n,) of the dtype `kernels.BYTES_RGB`.
        """
        if self.is_bytes and self.widths == (8, 8, 8) and values.flags.c_contiguous:
            return values.reshape(-1).view(kernels.BYTES_RGB)
        unsigned = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")
        if self.minimum.any():
            # Unsigned arithmetic wraps around: the difference is right also where the
            # signed difference would overflow.
            unsigned = unsigned - self.minimum.view(unsigned.dtype)
        # The kernels are then compiled for three dtypes only. Offsets of this codec
        # have at most 24 bits, so that uint32 holds them.
        return unsigned if unsigned.dtype.itemsize <= 2 else unsigned.astype(np.uint32)

    def count(self, values: NDArray[Any], counts: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """Add the pixels of `values` (n, C) to the counters `counts` (size,).

        A counter of one byte that is full starts again from 0. Return the codes of these
        counters: a code stands in the list as often as its counter was full.
        """
        # Any counter may be full already, so that its first pixel here empties it.
        max_full = len(values) // kernels.MAX_COUNT + min(len(values), self.size)
        full = np.empty(max_full, np.uint32)
        n_full = kernels.count_codes(self.offsets(values), self.bit_tables, counts, full)
        return full[:n_full]

    def look_up(
        self, values: NDArray[Any], table: CodeTable, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Return the entries (n,) of a table at the codes of `values` (n, C).

        They are written to `out`, a contiguous array of the dtype of the table, if it is given.
        """
        found = np.empty(len(values), table.entries.dtype) if out is None else out
        offsets = self.offsets(values)
        if len(self.widths) == 1 and len(table.pages) == 1 << 8 * offsets.itemsize:
            # The code is the value itself, no value is beyond the table, and a page has one entry.
            codes, runs = offsets.reshape(-1), table.runs
            if len(runs.starts) <= _MAX_RUNS:
                kernels.look_up_runs(codes, runs.starts.astype(codes.dtype), runs.entries, found)
            else:
                kernels.look_up_labels(codes, table.first_entries, found)
        else:
            kernels.look_up(
                offsets, self.bit_tables, self.cell_bits, table.pages, table.entries, found
            )
        return found

    def decode(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Return the channel values (n, C) of codes (n,): bytes as uint8, others as float64."""
        # uint8 takes an eighth of the memory of float64. Compiling the kernels for every
        # other dtype would take too long.
        points = np.empty((len(codes), len(self.widths)), np.uint8 if self.is_bytes else float)

        def decode(rows: slice) -> None:
            kernels.decode_codes(codes[rows], self._shifts, self._origin, points[rows])

        map_slices(decode, len(codes), _COLORS_PER_TASK)
        return points

    @property
    def _origin(self) -> tuple[float, ...]:
        """The channel values of code 0, as the kernels take them."""
        return tuple(0 if self.is_bytes else float(value) for value in self.minimum)

    @property
    def is_exact(self) -> bool:
        """True if float64 holds all channel values exactly."""
        return all(abs(int(value)) <= 2**53 - self.size for value in self.minimum)

    def describe_cells(self, histogram: Histogram) -> GroupMoments:
        """Return the moments of the colors in each cell of a histogram, in channel units."""
        starts = histogram.starts
        moments = GroupMoments.empty(len(starts) - 1, len(self.widths))

        def describe(rows: slice) -> None:
            own_starts = starts[rows.start : rows.stop + 1]
            kernels.describe_cells(
                histogram.codes,
                histogram.weights,
                own_starts,
                self._shifts,
                self._origin,
                *(array[rows] for array in moments),
            )

        map_slices(describe, len(starts) - 1, _USED_CELLS_PER_TASK)
        return moments


@dataclass(frozen=True, eq=False)
class Histogram:
    """Every distinct color of images and the number of its pixels, sorted by cell.

    Attributes
    ----------
    codec : Codec
    codes : (n,) uint32 array
        The code of each distinct color, ascending.
    weights : (n,) float64 array
        The number of pixels of each color.
    starts : (G + 1,) int64 array
        The index of the first color of each cell that has colors, and n at the end.
    """

    codec: Codec
    codes: NDArray[np.uint32]
    weights: Floats
    starts: NDArray[np.int64]

    @cached_property
    def points(self) -> NDArray[Any]:
        """The distinct colors (n, C) in channel units; uint8 or float64."""
        return self.codec.decode(self.codes)

    def merge(self, *others: Histogram) -> Histogram:
        """Return the histogram of the pixels of this and of other histograms.

        Raises
        ------
        ValueError
            If the codecs differ: a color would then have several codes.
        """
        for other in others:
            if not self.codec.has_same_codes(other.codec):
                raise ValueError(
                    f"histograms must have the same codec to be merged, got {self.codec} and "
                    f"{other.codec}: call find_codec with all images first."
                )
        counts = [_Counts(each.codes, each.weights) for each in (self, *others)]
        return _merge_counts(counts, self.codec.cell_bits).histogram(self.codec)

    @cached_property
    def cells(self) -> GroupedPoints:
        """The moments of the cells in channel units, without their colors."""
        no_points = self.codec.decode(self.codes[:0])
        moments = self.codec.describe_cells(self)
        return GroupedPoints(no_points, self.weights[:0], self.starts, moments)

    def take(self, cells: NDArray[np.int64]) -> Histogram:
        """Return the histogram of the colors of some cells, by their ascending indices."""
        sizes = np.diff(self.starts)[cells]
        stops = np.append(0, np.cumsum(sizes))
        rows = np.arange(stops[-1]) + np.repeat(self.starts[cells] - stops[:-1], sizes)
        return Histogram(self.codec, self.codes[rows], self.weights[rows], stops)

    def table(
        self,
        labels: NDArray[Any],
        new_labels: NDArray[Any],
        whole: WholeCells | None = None,
    ) -> CodeTable:
        """Return a table with an entry for the code of each color, and 0 for cells without colors.

        The entry of a color is the new label of its label.

        Parameters
        ----------
        labels : (n,) integer array
            The label of each color, or of each color of ``whole.others``.
        new_labels : array
            The new label for each label from 0 on.
        whole : WholeCells, optional
        """
        codec, codes, sizes = self.codec, self.codes, np.diff(self.starts)
        length, n_whole, mixed = 1 << codec.cell_bits, 0, np.arange(len(sizes))
        numbers = codes[self.starts[:-1]] >> np.uint32(codec.cell_bits)
        # The first page is that of cells without colors.
        pages = np.zeros(codec.size >> codec.cell_bits, np.uint32)
        if whole is not None:
            # All cells of a label share a page.
            n_whole, mixed = len(new_labels), np.flatnonzero(whole.labels == MIXED)
            pages[numbers] = length * (1 + whole.labels)
            codes, sizes = whole.others.codes, np.diff(whole.others.starts)
        pages[numbers[mixed]] = length * (1 + n_whole + np.arange(len(mixed)))
        entries = memory.zeros(length * (1 + n_whole + len(mixed)), new_labels.dtype)
        entries[length : length * (1 + n_whole)] = np.repeat(new_labels[:n_whole], length)
        codes = codes & np.uint32(length - 1)
        codes += np.repeat(pages[numbers[mixed]], sizes)

        def fill(rows: slice) -> None:
            kernels.fill_table(codes[rows], labels[rows], new_labels, entries)

        map_slices(fill, len(codes), _COLORS_PER_TASK)
        return CodeTable(pages, entries)


class WholeCells(NamedTuple):
    """The cells of a histogram whose colors all have the same label.

    Attributes
    ----------
    labels : (G,) int32 array
        The label of each cell, or `MIXED`.
    others : Histogram
        The colors of the mixed cells.
    """

    labels: NDArray[np.int32]
    others: Histogram


@dataclass(frozen=True, eq=False)
class CodeTable:
    """An entry for each code. Cells of color space whose entries are equal share a page of entries.

    Attributes
    ----------
    pages : (number of cells,) uint32 array
        The index of the first entry of each cell. The codes of a cell follow each other.
    entries : (m,) array
    """

    pages: NDArray[np.uint32]
    entries: NDArray[Any]

    @cached_property
    def first_entries(self) -> NDArray[Any]:
        """The first entry of each cell."""
        return self.entries[self.pages]

    @cached_property
    def runs(self) -> _Runs:
        """The runs of the first entries."""
        return _Runs.of(self.first_entries)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle runs of equal entries, which are much smaller."""
        return _unpack_table, (_Runs.of(self.pages), _Runs.of(self.entries))


def _unpack_table(pages: _Runs, entries: _Runs) -> CodeTable:
    return CodeTable(pages.unpack(), entries.unpack())


class _Runs(NamedTuple):
    """An array as runs of equal entries.

    Entries of 0, which no color has, are part of the run before them or of the first run.

    Attributes
    ----------
    size : int
        The length of the array.
    starts : (R,) uint32 array
        The first index of each run.
    entries : (R,) array
        The entry of each run.
    """

    size: int
    starts: NDArray[np.uint32]
    entries: NDArray[Any]

    @classmethod
    def of(cls, array: NDArray[Any]) -> _Runs:
        """Return the runs of an array (m,)."""
        used = np.flatnonzero(array)
        if not len(used):
            return cls(len(array), np.zeros(1, np.uint32), array[:1])
        entries = array[used]
        first = np.append(0, np.flatnonzero(entries[1:] != entries[:-1]) + 1)
        return cls(len(array), used[first].astype(np.uint32), entries[first])

    def unpack(self) -> NDArray[Any]:
        """Return the array, without entries of 0."""
        return np.repeat(self.entries, np.diff(self.starts[1:], prepend=0, append=self.size))


Limits = tuple["NDArray[Any]", "NDArray[Any]"]

_WINDOW_SIDE = 64
"""Pixels along each axis of the window that is read first."""


def find_codec(images: Sequence[Pixels], step: Step = ignore) -> Codec | None:
    """Return the codec of the colors of images, or None if there are too many colors.

    There is a codec for colors of at most 24 bits: gray of 8 or 16 bits, RGB of
    8 bits, and integers of any dtype if the range of their values is small
    enough. To find the range, the images are read once.

    Parameters
    ----------
    images : sequence of Pixels
        Of the same dtype and channels.
    step : callable
        Called after each block or batch that is read.
    """
    dtype, n_channels = images[0].dtype.newbyteorder("="), images[0].n_channels
    if dtype.kind == "f":
        return None
    bits = 8 * dtype.itemsize
    if bits * n_channels <= MAX_BITS:
        lowest = False if dtype.kind == "b" else np.iinfo(dtype).min
        return Codec(dtype, np.full(n_channels, lowest, dtype), (bits,) * n_channels)
    if not images[0].is_lazy:
        # A few pixels show of most images that they have too many colors.
        some = images[0].read_kept(middle_window(images[0].shape, _WINDOW_SIDE))
        if len(some) and _make_codec(some.min(axis=0), some.max(axis=0)) is None:
            return None
    limits = find_limits(images, step)
    return None if limits is None else _make_codec(*limits)


def _make_codec(low: NDArray[Any], high: NDArray[Any]) -> Codec | None:
    """Return the codec of channels with these limits (C,), or None if they are too wide."""
    dtype, n_channels = low.dtype, len(low)
    width = MAX_BITS // n_channels
    if n_channels > 1 and low.min() >= 0 and int(high.max()) < 1 << width:
        # The codec of 8-bit data: an image has the same codes, hence the same cells
        # and the same result, in any dtype.
        return Codec(dtype, np.zeros_like(low), (width,) * n_channels)
    # Integers of Python: int64 cannot hold the difference of its limits.
    widths = tuple((int(b) - int(a)).bit_length() for a, b in zip(low, high, strict=True))
    return Codec(dtype, low, widths) if sum(widths) <= MAX_BITS else None


def find_limits(images: Sequence[Pixels], step: Step = ignore) -> Limits | None:
    """Return the minimum and the maximum of each channel (C,), None if all pixels are left out."""
    return map_reduce(images, _find_batch_limits, _merge_limits, step)


def _find_batch_limits(batch: Batch) -> Limits | None:
    return _merge_limits(
        (inside.min(axis=0), inside.max(axis=0))
        for inside in (piece.inside for piece in batch.pieces)
        if len(inside)
    )


def _merge_limits(limits: Iterable[Limits | None]) -> Limits | None:
    known = [pair for pair in limits if pair is not None]
    if not known:
        return None
    low, high = zip(*known, strict=True)
    return np.min(low, axis=0), np.max(high, axis=0)


def build_histogram(images: Sequence[Pixels], codec: Codec, step: Step = ignore) -> Histogram:
    """Count the distinct colors of the pixels that are not left out.

    Parameters
    ----------
    images : sequence of Pixels
    codec : Codec
        The codec that `find_codec` returned for these images, or for a larger set of images.
    step : callable
        Called after each block or batch.
    """
    blocks = blocks_in_memory(images)
    histograms = [_count_in_memory(images, blocks, codec, step)] if blocks else []
    merge = partial(_merge_counts, cell_bits=codec.cell_bits)
    for counts in map_reduce_lazy(images, _Counter(codec), merge, step):
        histograms.append(counts.histogram(codec))
    return histograms[0] if len(histograms) == 1 else histograms[0].merge(*histograms[1:])


class _Counts(NamedTuple):
    """Ascending codes (n,) and the number of pixels of each: the result of a batch.

    dask workers send these to each other to be merged.
    """

    codes: NDArray[np.uint32]
    counts: NDArray[Any]

    @classmethod
    def pack(cls, codes: NDArray[np.uint32], counts: NDArray[Any]) -> _Counts:
        """Return counts in a dtype of few bytes."""
        return cls(codes, counts.astype(_count_dtype(counts)))

    def histogram(self, codec: Codec) -> Histogram:
        cells = self.codes >> np.uint32(codec.cell_bits)
        inner = np.flatnonzero(cells[1:] != cells[:-1]) + 1
        starts = np.concatenate([[0], inner, [len(cells)]] if len(cells) else [[0]])
        return Histogram(codec, self.codes, self.counts.astype(float), starts.astype(np.int64))


def _merge_counts(results: list[_Counts], cell_bits: int) -> _Counts:
    codes = np.concatenate([result.codes for result in results])
    counts = np.concatenate([result.counts for result in results])
    ends = np.cumsum([0, *(len(result.codes) for result in results)])
    merged = np.empty(len(codes) + 1, np.uint32)
    totals = np.empty(len(codes) + 1, _count_dtype(counts))
    n_codes = kernels.merge_codes(codes, counts, ends, cell_bits, merged, totals)
    # Copy: a slice would keep the longer array, with room for all inputs, in memory.
    return _Counts(merged[:n_codes].copy(), totals[:n_codes].copy())


def _count_dtype(counts: NDArray[Any]) -> type[np.generic]:
    """Return uint32 if it holds the sum of all counts, else float64."""
    return np.uint32 if counts.sum() < 2**32 else np.float64


class _Counter:
    """The leaf that counts the colors of a batch, in tables that later batches use again."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.free_tables: deque[NDArray[np.uint8]] = deque()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the leaf without its tables."""
        return _Counter, (self.codec,)

    def __call__(self, batch: Batch) -> _Counts:
        try:
            table = self.free_tables.pop()
        except IndexError:
            table = _make_counters(self.codec)
        full = [self.codec.count(piece.inside, table) for piece in batch.pieces]
        histogram = _collect_histogram(self.codec, (table,), full)
        table[histogram.codes] = 0
        self.free_tables.append(table)
        return _Counts.pack(histogram.codes, histogram.weights)


def _count_in_memory(
    images: Sequence[Pixels], blocks: list[tuple[int, Block]], codec: Codec, step: Step
) -> Histogram:
    """Return the histogram of the blocks of numpy images."""
    n_tables = min(_MAX_TABLES, n_threads(), len(blocks))
    # Counters of one byte: a table of larger counters would not fit the cache of the
    # processor. One table for each thread: threads that write to the same table would
    # wait for each other.
    tables = tuple(_make_counters(codec) for _ in range(n_tables))
    free_tables: SimpleQueue[NDArray[np.uint8]] = SimpleQueue()
    for table in tables:
        free_tables.put(table)

    def count(place: tuple[int, Block]) -> NDArray[np.uint32]:
        image, block = place
        values = images[image].read_kept(block)
        table = free_tables.get()
        try:
            return codec.count(values, table)
        finally:
            free_tables.put(table)

    return _collect_histogram(codec, tables, map_threads(count, blocks, step))


def _make_counters(codec: Codec) -> NDArray[np.uint8]:
    """Return a counter for each code, and at least 8, which are viewed as one number."""
    return memory.zeros(max(codec.size, 8), np.uint8)


def _collect_histogram(
    codec: Codec,
    tables: tuple[NDArray[Any], ...],
    full: list[NDArray[np.uint32]],
) -> Histogram:
    """Return the histogram of the pixels that were counted in `tables`.

    Parameters
    ----------
    codec : Codec
    tables : tuple of uint8 arrays
        Counters.
    full : list of uint32 arrays
        The codes that `Codec.count` returned.
    """
    words = tuple(table.view(np.uint64) for table in tables)
    sizes = np.empty(codec.size >> codec.cell_bits, np.int64)

    def measure(rows: slice) -> None:
        kernels.count_distinct(tables, words, codec.cell_bits, rows.start, sizes[rows])

    map_slices(measure, len(sizes), _CELLS_PER_TASK)
    cells = np.flatnonzero(sizes)
    starts = np.append(0, np.cumsum(sizes[cells]))
    codes, weights = np.empty(starts[-1], np.uint32), np.empty(starts[-1])

    def collect(rows: slice) -> None:
        kernels.collect_codes(tables, cells[rows], codec.cell_bits, starts[rows], codes, weights)

    map_slices(collect, len(cells), _USED_CELLS_PER_TASK)
    full_codes = np.concatenate(full)
    if codec.size <= _FEW_CODES:
        # Sorting takes longer: of gray values, counters are full every 255 pixels.
        weights += kernels.MAX_COUNT * np.bincount(full_codes, minlength=codec.size)[codes]
    else:
        full_codes, times = np.unique(full_codes, return_counts=True)
        weights[np.searchsorted(codes, full_codes)] += kernels.MAX_COUNT * times
    return Histogram(codec, codes, weights, starts)
