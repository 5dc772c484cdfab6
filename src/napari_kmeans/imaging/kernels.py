"""Compiled loops over pixels. Each runs on one thread, without the GIL, on one block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tables = tuple[NDArray[Any], ...]


@njit(cache=True, nogil=True, inline="always")
def _code_of(values: Any, i: int, parts: Any) -> Any:
    # The number of channels is known when this is compiled: the loop unrolls.
    code = np.uint32(0)
    for j in range(len(parts)):
        # The image may have changed since its range was taken: stay inside.
        code |= parts[j][values[i, j] & (len(parts[j]) - 1)]
    return code


FULL = 255
"""What a counter of one byte holds at most: then it is written down, and starts again."""


@njit(cache=True, nogil=True)
def count_codes(
    values: NDArray[Any],
    parts: Tables,
    cell_bits: int,
    counts: NDArray[Any],
    seen: NDArray[Any],
    full: NDArray[Any],
) -> Any:
    """Add the pixels of `values` (n, C), unsigned, to `counts`, by code, and note their cells.

    `parts` has a table for each channel; the parts of all channels make a code.
    A counter that is full is noted in `full`; return how many were.
    """
    n_full = 0
    for i in range(values.shape[0]):
        code = _code_of(values, i, parts)
        count = counts[code]
        if count == FULL:
            full[n_full] = code
            n_full += 1
            count = 0
        counts[code] = count + 1
        seen[code >> cell_bits] = True
    return n_full


@njit(cache=True, nogil=True)
def look_up(
    values: NDArray[Any], parts: Tables, table: NDArray[Any], entries: NDArray[Any]
) -> None:
    """Write the entry of `table` for each pixel of `values` (n, C), unsigned, to `entries`."""
    for i in range(values.shape[0]):
        entries[i] = table[_code_of(values, i, parts)]


@njit(cache=True, nogil=True, inline="always")
def _count_cell(tables: Tables, cell: int, counts: NDArray[Any]) -> None:
    """Write how often each code of a cell was counted in all tables."""
    first = cell * counts.shape[0]
    counts[:] = 0
    for t in range(len(tables)):
        row = tables[t][first : first + counts.shape[0]]
        for i in range(counts.shape[0]):
            counts[i] += row[i]


@njit(cache=True, nogil=True)
def count_distinct(
    tables: Tables, cells: NDArray[Any], cell_bits: int, sizes: NDArray[Any]
) -> None:
    """Write how many codes of each cell were counted."""
    counts = np.empty(1 << cell_bits, np.uint32)
    for c in range(cells.shape[0]):
        _count_cell(tables, cells[c], counts)
        size = 0
        for i in range(counts.shape[0]):
            size += counts[i] > 0
        sizes[c] = size


@njit(cache=True, nogil=True)
def collect_codes(
    tables: Tables,
    cells: NDArray[Any],
    cell_bits: int,
    starts: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
) -> None:
    """Write the codes of `cells` that were counted, and their counts, from `starts` on."""
    counts = np.empty(1 << cell_bits, np.uint32)
    found = np.empty(counts.shape[0] + 1, np.uint32)
    for c in range(cells.shape[0]):
        _count_cell(tables, cells[c], counts)
        size = 0
        for i in range(counts.shape[0]):
            # Without a branch, which would be guessed wrong half of the time.
            found[size] = i
            size += counts[i] > 0
        first = np.int64(cells[c]) << cell_bits
        for i in range(size):
            codes[starts[c] + i] = first + found[i]
            weights[starts[c] + i] = counts[found[i]]


@njit(cache=True, nogil=True)
def merge_codes(
    codes: NDArray[Any],
    weights: NDArray[Any],
    ends: NDArray[Any],
    cell_bits: int,
    merged: NDArray[Any],
    totals: NDArray[Any],
) -> Any:
    """Merge lists of ascending codes, one after the other up to each of `ends`, cell by cell.

    Write each code once to `merged` and its summed weights to `totals`, each with room
    for one more; return how many codes there are.
    """
    n_lists = ends.shape[0] - 1
    heads = ends[:-1].copy()
    sums = np.zeros(1 << cell_bits)
    mask = (1 << cell_bits) - 1
    n_codes = 0
    none = np.int64(1) << 62
    while True:
        cell = none
        for p in range(n_lists):
            if heads[p] < ends[p + 1]:
                cell = min(cell, np.int64(codes[heads[p]]) >> cell_bits)
        if cell == none:
            return n_codes
        last = (cell + 1) << cell_bits
        for p in range(n_lists):
            i = heads[p]
            while i < ends[p + 1] and codes[i] < last:
                sums[codes[i] & mask] += weights[i]
                i += 1
            heads[p] = i
        for i in range(mask + 1):
            # Without a branch, which would be guessed wrong half of the time.
            merged[n_codes] = (cell << cell_bits) + i
            totals[n_codes] = sums[i]
            n_codes += sums[i] > 0
            sums[i] = 0.0


@njit(cache=True, nogil=True)
def decode_codes(codes: NDArray[Any], shifts: Any, least: Any, points: NDArray[Any]) -> None:
    """Write the channel values (n, C) of codes (n,).

    `shifts` has for each channel the shifts and widths of its high and low bits.
    """
    for i in range(codes.shape[0]):
        code = np.int64(codes[i])
        for j in range(len(shifts)):
            high, high_width, low, low_width = shifts[j]
            offset = ((code >> high) & ((1 << high_width) - 1)) << low_width
            offset |= (code >> low) & ((1 << low_width) - 1)
            points[i, j] = least[j] + offset


@njit(cache=True, nogil=True)
def fill_table(
    codes: NDArray[Any], labels: NDArray[Any], names: NDArray[Any], table: NDArray[Any]
) -> None:
    """Write the name of the label of each code to `table`."""
    for i in range(codes.shape[0]):
        table[codes[i]] = names[labels[i]]


@njit(cache=True, nogil=True)
def recolor(
    labels: NDArray[Any], columns: Tables, values: NDArray[Any], pixels: NDArray[Any]
) -> None:
    """Write the color of each label to `pixels`, of label 0 that in `values`.

    `columns` has for each channel its value for every label from 0 on.
    """
    for i in range(labels.shape[0]):
        label = labels[i]
        # Their number is known when this is compiled: the loop unrolls.
        for j in range(len(columns)):
            pixels[i, j] = columns[j][label] if label else values[i, j]


@njit(cache=True, nogil=True)
def to_cone(values: NDArray[Any], points: NDArray[Any]) -> None:
    """Write (s v cos h, s v sin h, v) of colors (n, 3) to `points` (n, 3)."""
    third = np.pi / 3
    for i in range(values.shape[0]):
        red, green, blue = values[i, 0], values[i, 1], values[i, 2]
        value = max(red, green, blue)
        chroma = value - min(red, green, blue)
        hue = 0.0
        if chroma > 0:
            if value == red:
                hue = (green - blue) / chroma * third
            elif value == green:
                hue = (2 + (blue - red) / chroma) * third
            else:
                hue = (4 + (red - green) / chroma) * third
        points[i, 0] = chroma * np.cos(hue)
        points[i, 1] = chroma * np.sin(hue)
        points[i, 2] = value


@njit(cache=True, nogil=True, inline="always")
def _lot_of(index: Any, key: Any) -> Any:
    """Return a random number of 64 bits for a pixel: the same for the same key."""
    # SplitMix64 (Steele, Lea, Flood, doi:10.1145/2660193.2660195).
    lot = np.uint64(key) + np.uint64(index) * np.uint64(0x9E3779B97F4A7C15)
    lot = (lot ^ (lot >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    lot = (lot ^ (lot >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return lot ^ (lot >> np.uint64(31))


@njit(cache=True, nogil=True)
def draw_lots(
    points: NDArray[Any],
    indices: NDArray[Any],
    key: Any,
    reference: NDArray[Any],
    most: float,
    most_by_square: float,
    chosen: NDArray[Any],
    lots: NDArray[Any],
    squares: NDArray[Any],
) -> Any:
    """Draw a lot for each point (n, F), and write down the points whose lots are low enough.

    A point is `chosen` if its lot, a number between 0 and 1, is at most `most`, or at most
    `most_by_square` times its squared distance from `reference` (F,). Returns how many are.
    """
    n_chosen = 0
    for i in range(points.shape[0]):
        lot = (np.float64(_lot_of(indices[i], key) >> np.uint64(11)) + 0.5) * 2.0**-53
        square = 0.0
        for j in range(points.shape[1]):
            square += (np.float64(points[i, j]) - reference[j]) ** 2
        # At no distance, infinity times 0 is no number, and the comparison is false.
        if lot <= most or lot <= most_by_square * square:
            chosen[n_chosen] = i
            lots[n_chosen] = lot
            squares[n_chosen] = square
            n_chosen += 1
    return n_chosen


@njit(cache=True, nogil=True)
def find_least(
    entries: NDArray[Any],
    indices: NDArray[Any],
    image: int,
    key: Any,
    least: NDArray[Any],
    images: NDArray[Any],
    found: NDArray[Any],
) -> None:
    """Find for each entry e > 0 the pixel whose lot is least, among those before and these.

    `indices` (n,) are the numbers of the pixels in an image, from which and from `key`
    their lots are drawn. Entry e - 1 of `least` receives the least lot, those of
    `images` and `found` the image and the number of its pixel.
    """
    for i in range(entries.shape[0]):
        entry = entries[i]
        if entry > 0:
            lot = _lot_of(indices[i], key)
            if lot < least[entry - 1]:
                least[entry - 1] = lot
                images[entry - 1] = image
                found[entry - 1] = indices[i]


@njit(cache=True, nogil=True)
def add_by_label(
    labels: NDArray[Any],
    values: NDArray[Any],
    weights: NDArray[Any],
    totals: NDArray[Any],
    sums: NDArray[Any],
) -> None:
    """Add weights (n,) and weighted values (n, C) to `totals` (K,) and `sums` (K, C)."""
    for i in range(labels.shape[0]):
        label = labels[i]
        totals[label] += weights[i]
        for j in range(values.shape[1]):
            sums[label, j] += weights[i] * values[i, j]
