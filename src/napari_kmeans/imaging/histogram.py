"""The lossless summary: every distinct colour with the number of its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.imaging.kernels import count_codes, look_up
from napari_kmeans.parallel import map_threads, n_threads
from napari_kmeans.progress import Step, ignore

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_kmeans.imaging.blocks import Block, Pixels

MAX_BITS = 24
"""Colours of more bits than this are not counted one by one."""

_MAX_TABLES = 2
"""Tables counted into at a time: at 24 bits each takes 64 MiB."""


@dataclass(frozen=True, eq=False)
class Codec:
    """A one-to-one map between the colours of an image and small whole numbers.

    Attributes
    ----------
    dtype : dtype
        Of the image: boolean or integer.
    minimum : (C,) array of that dtype
        The channel values of code 0.
    widths : tuple of int
        The bits of each channel; the first channel is the most significant.
    """

    dtype: np.dtype[Any]
    minimum: NDArray[Any]
    widths: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of codes."""
        return 1 << sum(self.widths)

    @property
    def shifts(self) -> NDArray[np.int64]:
        """How far each channel is shifted in a code, (C,)."""
        ends = np.cumsum(self.widths[::-1])[::-1]
        return (ends - self.widths).astype(np.int64)

    def offsets(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return unsigned distances (n, C) of values (n, C) from the minimum."""
        unsigned = values.view(f"u{values.dtype.itemsize}")
        if self.minimum.any():
            # Unsigned arithmetic wraps around, so that no difference overflows.
            unsigned = unsigned - self.minimum.view(unsigned.dtype)
        # Two dtypes are enough to compile for; what is inside the codec fits them.
        return unsigned if unsigned.dtype.itemsize <= 2 else unsigned.astype(np.uint32)

    def count(self, values: NDArray[Any], counts: NDArray[Any]) -> None:
        """Add the pixels of `values` (n, C) to `counts` (size,)."""
        count_codes(self.offsets(values), self.shifts, self.size - 1, counts)

    def look_up(self, values: NDArray[Any], table: NDArray[Any]) -> NDArray[Any]:
        """Return the entry of `table` (size,) for each of `values` (n, C)."""
        entries = np.empty(len(values), table.dtype)
        look_up(self.offsets(values), self.shifts, self.size - 1, table, entries)
        return entries

    def decode(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """Return the channel values (n, C) of codes (n,)."""
        tops = (1 << np.array(self.widths, dtype=np.int64)) - 1
        offsets = (codes[:, None].astype(np.int64) >> self.shifts) & tops
        return np.asarray(offsets + self.minimum, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Every distinct colour of an image, in lexicographic order, with its pixels counted."""

    codec: Codec
    codes: NDArray[np.int64]
    weights: NDArray[np.int64]

    @property
    def points(self) -> NDArray[np.float64]:
        """The distinct colours (n, C), in channel units."""
        return self.codec.decode(self.codes)

    def table(self, entries: NDArray[Any]) -> NDArray[Any]:
        """Return a table (codec.size,) with an entry for each distinct colour, 0 elsewhere."""
        table = np.zeros(self.codec.size, entries.dtype)
        table[self.codes] = entries
        return table


def find_codec(pixels: Pixels, step: Step = ignore) -> Codec | None:
    """Return how to number the colours of an image, None where they are too many.

    Colours are numbered where they fit 24 bits: gray of 8 or 16 bits, RGB of 8
    bits, and any integers whose range turns out to be small enough.
    """
    dtype = pixels.dtype.newbyteorder("=")
    if dtype.kind == "f":
        return None
    bits = 8 * dtype.itemsize
    if bits * pixels.n_channels <= MAX_BITS:
        least = False if dtype.kind == "b" else np.iinfo(dtype).min
        minimum = np.full(pixels.n_channels, least, dtype)
        return Codec(dtype, minimum, (bits,) * pixels.n_channels)
    limits = [item for item in map_threads(_limits(pixels), pixels.blocks(), step) if item]
    if not limits:
        return None
    low = np.min([item[0] for item in limits], axis=0)
    high = np.max([item[1] for item in limits], axis=0)
    # Python's whole numbers: the range of int64 does not fit int64.
    widths = tuple((int(b) - int(a)).bit_length() for a, b in zip(low, high, strict=True))
    return Codec(dtype, low, widths) if sum(widths) <= MAX_BITS else None


def _limits(pixels: Pixels) -> Callable[[Block], tuple[NDArray[Any], NDArray[Any]] | None]:
    def limits(block: Block) -> tuple[NDArray[Any], NDArray[Any]] | None:
        values = pixels.read_kept(block)
        return (values.min(axis=0), values.max(axis=0)) if len(values) else None

    return limits


def build_histogram(pixels: Pixels, codec: Codec, step: Step = ignore) -> Histogram:
    """Count the distinct colours of the pixels that are not left out.

    Parameters
    ----------
    pixels : Pixels
    codec : Codec
        Of the same image.
    step : callable
        Called after each block.
    """
    dtype = np.uint32 if pixels.n_pixels < 2**32 else np.int64
    blocks = pixels.blocks()
    n_tables = min(_MAX_TABLES, n_threads(), len(blocks))
    tables: list[NDArray[Any]] = [np.zeros(codec.size, dtype) for _ in range(n_tables)]
    free: SimpleQueue[NDArray[Any]] = SimpleQueue()
    for table in tables:
        free.put(table)

    def count(block: Block) -> None:
        values = pixels.read_kept(block)
        counts = free.get()
        try:
            codec.count(values, counts)
        finally:
            free.put(counts)

    map_threads(count, blocks, step)
    total = tables[0]
    for table in tables[1:]:
        np.add(total, table, out=total)
    codes = np.flatnonzero(total)
    return Histogram(codec, codes, total[codes].astype(np.int64))
