"""The lossless summary: every distinct color with the number of its pixels."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property, partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.execution import memory
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import map_slices, map_threads, n_threads
from napari_kmeans.imaging import kernels
from napari_kmeans.imaging.chunks import blocks_in_memory, map_reduce, map_reduce_lazy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.chunks import Batch
    from napari_kmeans.types import Block

MAX_BITS = 24
"""Colors of more bits than this are not counted one by one."""

CELL_BITS = 18
"""Cells of color space have numbers of this many bits: 64 x 64 x 64 cells of 8-bit RGB."""

_SLAB = 2**18
"""Distinct colors per task."""

_CELLS = 2**13
"""Cells per task."""

_MAX_TABLES = 8
"""Tables counted into at a time: at 24 bits each takes 16 MiB."""


@dataclass(frozen=True, eq=False)
class Codec:
    """A one-to-one map between the colors of an image and small whole numbers.

    The most significant bits of all channels come first in a code, then the
    others: codes that agree in the former are a cell of color space, and
    neighbors among codes are neighbors in color.

    Attributes
    ----------
    dtype : dtype
        Of the image: boolean or integer.
    minimum : (C,) array of that dtype
        The channel values of code 0.
    widths : tuple of int
        The bits of each channel.
    """

    dtype: np.dtype[Any]
    minimum: NDArray[Any]
    widths: tuple[int, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel without the tables, which are large and soon made anew."""
        return Codec, (self.dtype, self.minimum, self.widths)

    def agrees(self, other: Codec) -> bool:
        """Tell whether another codec gives the same codes."""
        same = self.dtype == other.dtype and self.widths == other.widths
        return same and np.array_equal(self.minimum, other.minimum)

    @property
    def size(self) -> int:
        """The number of codes."""
        return 1 << sum(self.widths)

    @cached_property
    def _low_widths(self) -> tuple[int, ...]:
        share = CELL_BITS // len(self.widths)
        return tuple(max(width - share, 0) for width in self.widths)

    @property
    def is_bytes(self) -> bool:
        """Whether channel values are bytes that start from 0."""
        return self.dtype == np.uint8 and not self.minimum.any()

    @property
    def cell_bits(self) -> int:
        """How far a code is shifted to give the number of its cell."""
        return sum(self._low_widths)

    @cached_property
    def _shifts(self) -> tuple[tuple[int, int, int, int], ...]:
        """For each channel, shift and width of its high bits in a code, and of its low bits."""
        high, low = sum(self.widths), self.cell_bits
        shifts = []
        for width, low_width in zip(self.widths, self._low_widths, strict=True):
            high -= width - low_width
            low -= low_width
            shifts.append((high, width - low_width, low, low_width))
        return tuple(shifts)

    @cached_property
    def parts(self) -> tuple[NDArray[np.uint32], ...]:
        """For each channel, the part of a code that each of its offsets makes."""
        tables = []
        for width, (high, _, low, low_width) in zip(self.widths, self._shifts, strict=True):
            offsets = np.arange(1 << width, dtype=np.uint32)
            bits = (offsets >> low_width) << high | (offsets & ((1 << low_width) - 1)) << low
            tables.append(bits.astype(np.uint32))
        return tuple(tables)

    def offsets(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return unsigned distances (n, C) of values (n, C) from the minimum."""
        unsigned = values.view(f"u{values.dtype.itemsize}")
        if self.minimum.any():
            # Unsigned arithmetic wraps around, so that no difference overflows.
            unsigned = unsigned - self.minimum.view(unsigned.dtype)
        # Three dtypes are enough to compile for; what is inside the codec fits them.
        return unsigned if unsigned.dtype.itemsize <= 2 else unsigned.astype(np.uint32)

    def count(
        self, values: NDArray[Any], counts: NDArray[np.uint8], seen: NDArray[np.bool_]
    ) -> NDArray[np.uint32]:
        """Add the pixels of `values` (n, C) to `counts` (size,), and note the cells `seen`.

        Returns the codes whose counters were full, and began again, each time.
        """
        # Every counter may have been one short of full when this began.
        room = len(values) // kernels.FULL + min(len(values), self.size)
        full = np.empty(room, np.uint32)
        offsets = self.offsets(values)
        n_full = kernels.count_codes(offsets, self.parts, self.cell_bits, counts, seen, full)
        return full[:n_full]

    def look_up(self, values: NDArray[Any], table: NDArray[Any]) -> NDArray[Any]:
        """Return the entry of `table` (size,) for each of `values` (n, C)."""
        entries = np.empty(len(values), table.dtype)
        kernels.look_up(self.offsets(values), self.parts, table, entries)
        return entries

    def decode(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Return the channel values (n, C) of codes (n,): uint8 as they are, others as float64."""
        # Bytes are an eighth to read; a kernel for every dtype is too much to compile.
        points = np.empty((len(codes), len(self.widths)), np.uint8 if self.is_bytes else float)
        least = tuple(0 if self.is_bytes else float(value) for value in self.minimum)

        def decode(part: slice) -> None:
            kernels.decode_codes(codes[part], self._shifts, least, points[part])

        map_slices(decode, len(codes), _SLAB)
        return points


@dataclass(frozen=True, eq=False)
class Histogram:
    """Every distinct color of an image with its pixels counted, cell by cell."""

    codec: Codec
    codes: NDArray[np.uint32]
    weights: NDArray[np.float64]
    starts: NDArray[np.int64]
    """Where each cell that has colors starts among them, and their number, (G + 1,)."""

    @cached_property
    def points(self) -> NDArray[Any]:
        """The distinct colors (n, C), in channel units; uint8 or float64."""
        return self.codec.decode(self.codes)

    def merge(self, *others: Histogram) -> Histogram:
        """Return the histogram of the pixels of all, which must have the same codec.

        Raises
        ------
        ValueError
            If a codec is another: the same colors have other codes there.
        """
        for other in others:
            if not self.codec.agrees(other.codec):
                raise ValueError(
                    f"histograms must have the same codec to be merged, got {self.codec} and "
                    f"{other.codec}: find the codec of all images first."
                )
        parts = [_Counts(part.codes, part.weights) for part in (self, *others)]
        return _merge_counts(parts, self.codec.cell_bits).histogram(self.codec)

    def table(self, labels: NDArray[Any], names: NDArray[Any]) -> NDArray[Any]:
        """Return a table (codec.size,) with ``names[labels]`` at the colors, 0 elsewhere."""
        table = memory.zeros(self.codec.size, names.dtype)

        def fill(part: slice) -> None:
            kernels.fill_table(self.codes[part], labels[part], names, table)

        map_slices(fill, len(self.codes), _SLAB)
        return table


Limits = tuple["NDArray[Any]", "NDArray[Any]"]


def find_codec(images: Sequence[Pixels], step: Step = ignore) -> Codec | None:
    """Return how to number the colors of images, None where they are too many.

    Colors are numbered where they fit 24 bits: gray of 8 or 16 bits, RGB of 8
    bits, and any integers whose range turns out to be small enough.
    """
    dtype, n_channels = images[0].dtype.newbyteorder("="), images[0].n_channels
    if dtype.kind == "f":
        return None
    bits = 8 * dtype.itemsize
    if bits * n_channels <= MAX_BITS:
        least = False if dtype.kind == "b" else np.iinfo(dtype).min
        return Codec(dtype, np.full(n_channels, least, dtype), (bits,) * n_channels)
    limits = find_limits(images, step)
    if limits is None:
        return None
    low, high = limits
    width = MAX_BITS // n_channels
    if n_channels > 1 and low.min() >= 0 and int(high.max()) < 1 << width:
        # As 8-bit data have it: a picture has the same codes in any dtype.
        return Codec(dtype, np.zeros_like(low), (width,) * n_channels)
    # Python's whole numbers: the range of int64 does not fit int64.
    widths = tuple((int(b) - int(a)).bit_length() for a, b in zip(low, high, strict=True))
    return Codec(dtype, low, widths) if sum(widths) <= MAX_BITS else None


def find_limits(images: Sequence[Pixels], step: Step = ignore) -> Limits | None:
    """Return the least and the greatest value of each channel (C,), None if all are left out."""
    return map_reduce(images, _limits_of_batch, _wider, step)


def _limits_of_batch(batch: Batch) -> Limits | None:
    return _wider(
        (inside.min(axis=0), inside.max(axis=0))
        for inside in (piece.inside for piece in batch.pieces)
        if len(inside)
    )


def _wider(parts: Iterable[Limits | None]) -> Limits | None:
    found = [part for part in parts if part is not None]
    if not found:
        return None
    low, high = zip(*found, strict=True)
    return np.min(low, axis=0), np.max(high, axis=0)


def build_histogram(images: Sequence[Pixels], codec: Codec, step: Step = ignore) -> Histogram:
    """Count the distinct colors of the pixels that are not left out.

    Parameters
    ----------
    images : sequence of Pixels
    codec : Codec
        Of these images.
    step : callable
        Called after each block or batch.
    """
    blocks = blocks_in_memory(images)
    parts = [_count_in_memory(images, blocks, codec, step)] if blocks else []
    merge = partial(_merge_counts, cell_bits=codec.cell_bits)
    for counts in map_reduce_lazy(images, _Counter(codec), merge, step):
        parts.append(counts.histogram(codec))
    return parts[0] if len(parts) == 1 else parts[0].merge(*parts[1:])


class _Counts(NamedTuple):
    """Codes (n,), ascending, and the number of pixels of each: what is sent and merged."""

    codes: NDArray[np.uint32]
    counts: NDArray[Any]

    @classmethod
    def pack(cls, codes: NDArray[np.uint32], counts: NDArray[Any]) -> _Counts:
        """Keep counts in few bits."""
        return cls(codes, counts.astype(_count_dtype(counts)))

    def histogram(self, codec: Codec) -> Histogram:
        cells = self.codes >> np.uint32(codec.cell_bits)
        inner = np.flatnonzero(cells[1:] != cells[:-1]) + 1
        starts = np.concatenate([[0], inner, [len(cells)]] if len(cells) else [[0]])
        return Histogram(codec, self.codes, self.counts.astype(float), starts.astype(np.int64))


def _merge_counts(parts: list[_Counts], cell_bits: int) -> _Counts:
    codes = np.concatenate([part.codes for part in parts])
    counts = np.concatenate([part.counts for part in parts])
    ends = np.cumsum([0, *(len(part.codes) for part in parts)])
    merged = np.empty(len(codes) + 1, np.uint32)
    totals = np.empty(len(codes) + 1, _count_dtype(counts))
    n_codes = kernels.merge_codes(codes, counts, ends, cell_bits, merged, totals)
    # Copied, so that what was merged is not kept alive with it.
    return _Counts(merged[:n_codes].copy(), totals[:n_codes].copy())


def _count_dtype(counts: NDArray[Any]) -> type[np.generic]:
    """Return the smaller of two dtypes that holds the sum of all counts."""
    return np.uint32 if counts.sum() < 2**32 else np.float64


class _Counter:
    """The leaf that counts colors, in tables that are used again."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.free: deque[NDArray[np.uint8]] = deque()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel without the tables."""
        return _Counter, (self.codec,)

    def __call__(self, batch: Batch) -> _Counts:
        cell = 1 << self.codec.cell_bits
        try:
            table = self.free.pop()
        except IndexError:
            table = memory.zeros(self.codec.size, np.uint8)
        seen = np.zeros(self.codec.size // cell, np.bool_)
        full = [self.codec.count(piece.inside, table, seen) for piece in batch.pieces]
        cells = np.flatnonzero(seen)
        part = _collect(self.codec, (table,), cells, full)
        table.reshape(-1, cell)[cells] = 0
        self.free.append(table)
        return _Counts.pack(part.codes, part.weights)


def _count_in_memory(
    images: Sequence[Pixels], blocks: list[tuple[int, Block]], codec: Codec, step: Step
) -> Histogram:
    """Count the colors of the blocks of numpy images."""
    n_tables = min(_MAX_TABLES, n_threads(), len(blocks))
    # Counters of one byte fit the processor's cache where larger ones do not, and
    # threads that wrote to one table would wait for each other.
    tables = tuple(memory.zeros(codec.size, np.uint8) for _ in range(n_tables))
    seen = np.zeros((n_tables, codec.size >> codec.cell_bits), np.bool_)
    free: SimpleQueue[int] = SimpleQueue()
    for number in range(n_tables):
        free.put(number)

    def count(place: tuple[int, Block]) -> NDArray[np.uint32]:
        image, block = place
        values = images[image].read_kept(block)
        number = free.get()
        try:
            return codec.count(values, tables[number], seen[number])
        finally:
            free.put(number)

    full = map_threads(count, blocks, step)
    return _collect(codec, tables, np.flatnonzero(seen.any(axis=0)), full)


def _collect(
    codec: Codec,
    tables: tuple[NDArray[Any], ...],
    cells: NDArray[np.int64],
    full: list[NDArray[np.uint32]],
) -> Histogram:
    """Return the histogram of what was counted in `cells`, and of counters that were full."""
    sizes = np.empty(len(cells), np.int64)

    def measure(part: slice) -> None:
        kernels.count_distinct(tables, cells[part], codec.cell_bits, sizes[part])

    map_slices(measure, len(cells), _CELLS)
    starts = np.append(0, np.cumsum(sizes))
    codes, weights = np.empty(starts[-1], np.uint32), np.empty(starts[-1])

    def collect(part: slice) -> None:
        kernels.collect_codes(tables, cells[part], codec.cell_bits, starts[part], codes, weights)

    map_slices(collect, len(cells), _CELLS)
    often, times = np.unique(np.concatenate(full), return_counts=True)
    weights[np.searchsorted(codes, often)] += kernels.FULL * times
    return Histogram(codec, codes, weights, starts)


def pack_table(table: NDArray[Any]) -> tuple[Any, ...]:
    """Return the table of a codec as runs: much smaller, since neighbors are often alike.

    Entries of 0, where there is no color, become that of some neighbor.
    """
    used = np.flatnonzero(table)
    entries = table[used]
    first = np.append(0, np.flatnonzero(entries[1:] != entries[:-1]) + 1)
    return len(table), used[first].astype(np.uint32), entries[first]


def unpack_table(packed: tuple[Any, ...]) -> NDArray[Any]:
    """Return the table of a codec from its runs."""
    size, starts, entries = packed
    return np.repeat(entries, np.diff(starts[1:], prepend=0, append=size).astype(np.int64))
