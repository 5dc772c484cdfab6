"""Compiled loops over the pixels of one block.

Each loop runs on one thread and releases the GIL, so that several blocks can be
worked on at the same time. All write their results to arrays of the caller.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.compiling import compile_kernel, inline_kernel, inner_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tables = tuple[NDArray[Any], ...]


BYTES_RGB = np.dtype([("red", np.uint8), ("green", np.uint8), ("blue", np.uint8)])
"""Three bytes as one value. The compiler then knows how far apart pixels are, and vectorizes."""

_COMPARED_PIXELS = 128
"""The number of pixels that are compared at a time, to skip them if none counts."""


@compile_kernel
def find_largest(unsigned: NDArray[Any], signed: NDArray[Any]) -> Any:
    """Return the largest of some whole numbers (n,), read as unsigned and as signed numbers.

    numpy reads the numbers from memory twice.
    """
    largest, largest_signed = unsigned[0], signed[0]
    for i in range(unsigned.shape[0]):
        largest = max(largest, unsigned[i])
        largest_signed = max(largest_signed, signed[i])
    return largest, largest_signed


@inline_kernel
def _encode_bytes(pixels: Any, channels: Any, codes: Any) -> None:
    """Write the codes of pixels (n,) of the dtype `BYTES_RGB` to the first n of `codes`.

    The cell has the upper six bits of each channel, and the low bits of a code the lower two.
    `channels` (3, n or more) is working memory.
    """
    red, green, blue = channels[0], channels[1], channels[2]
    # Without an array for each channel, the compiler would vectorize neither of the two loops.
    for i in range(pixels.shape[0]):
        red[i], green[i], blue[i] = pixels[i].red, pixels[i].green, pixels[i].blue
    two, four, six = np.uint32(2), np.uint32(4), np.uint32(6)
    low = np.uint32(3)
    for i in range(pixels.shape[0]):
        r, g, b = np.uint32(red[i]), np.uint32(green[i]), np.uint32(blue[i])
        cell = ((r >> two) << six | g >> two) << six | b >> two
        codes[i] = cell << six | (r & low) << four | (g & low) << two | b & low


@inline_kernel
def _encode_pixel(values: Any, i: int, bit_tables: Any) -> Any:
    """Return the code of pixel `i`: the combined bits of all channels."""
    # `bit_tables` is a tuple, so that the number of channels is known when this is compiled
    # and the loop is unrolled.
    code = np.uint32(0)
    for j in range(len(bit_tables)):
        # Compiled code does not check indices, and the image may have changed since its
        # range was found. Tables have 2^n entries: this mask keeps the index inside.
        code |= bit_tables[j][values[i, j] & (len(bit_tables[j]) - 1)]
    return code


@inner_kernel
def _encode_strip(strip: Any, bit_tables: Any, n_codes: int, channels: Any, codes: Any) -> None:
    """Write the codes of some pixels to `codes`; the pixels are as in `count_codes`."""
    # numba knows the number of axes and of tables, and compiles one of the branches only.
    if strip.ndim == 1:
        _encode_bytes(strip, channels, codes)
    elif len(bit_tables) == 0:
        # This mask, too, keeps the index inside.
        mask = np.uint32(n_codes - 1)
        for i in range(strip.shape[0]):
            codes[i] = np.uint32(strip[i, 0]) & mask
    else:
        for i in range(strip.shape[0]):
            codes[i] = _encode_pixel(strip, i, bit_tables)


_STRIP = 256
"""The number of pixels between two steps of a kernel: their data stays in the smallest cache."""

_LONG_STRIP = 1024
"""The same for kernels that loop over a strip several times, with little work in each loop."""

MAX_COUNT = 255
"""The maximum of a counter of one byte. A full counter is listed and starts again."""


@compile_kernel
def count_codes(
    values: NDArray[Any],
    bit_tables: Tables,
    counts: NDArray[Any],
    full: NDArray[Any],
) -> Any:
    """Add the pixels of `values` (n, C) to the counters of their codes.

    Parameters
    ----------
    values : (n, C) array of unsigned integers, or (n,) array of the dtype `BYTES_RGB`
        Offsets from the minimum of the codec.
    bit_tables : tuple of C uint32 arrays
        For each channel, the bits that an offset has in a code. None for a single channel, whose
        offsets are codes.
    counts : (size,) uint8 array
        The counters. That of a code that occurs is never 0.
    full : uint32 array
        Receives the code of a counter each time that it is full and starts again.

    Returns
    -------
    int
        The number of codes that were written to `full`.
    """
    n_full = 0
    codes = np.empty(_STRIP, np.uint32)
    channels = np.empty((3, _STRIP), np.uint8)
    for start in range(0, values.shape[0], _STRIP):
        strip = values[start : start + _STRIP]
        _encode_strip(strip, bit_tables, counts.shape[0], channels, codes)
        for i in range(strip.shape[0]):
            code = codes[i]
            count = counts[code]
            if count == MAX_COUNT:
                full[n_full] = code
                n_full += 1
                count = 0
            counts[code] = count + 1
    return n_full


@compile_kernel
def look_up(
    values: NDArray[Any],
    bit_tables: Tables,
    cell_bits: int,
    pages: NDArray[Any],
    entries: NDArray[Any],
    found: NDArray[Any],
) -> None:
    """Write the entries of a `CodeTable` at the codes of pixels to `found` (n,).

    `values` and `bit_tables` are those of `count_codes`.
    """
    codes = np.empty(_STRIP, np.uint32)
    channels = np.empty((3, _STRIP), np.uint8)
    shift, mask = np.uint32(cell_bits), np.uint32((1 << cell_bits) - 1)
    for start in range(0, values.shape[0], _STRIP):
        strip, own = values[start : start + _STRIP], found[start : start + _STRIP]
        # The table is larger than the cache. If all codes are known first, the processor waits
        # for many entries at the same time.
        _encode_strip(strip, bit_tables, pages.shape[0] << cell_bits, channels, codes)
        for i in range(strip.shape[0]):
            own[i] = entries[pages[codes[i] >> shift] + (codes[i] & mask)]


@compile_kernel
def look_up_runs(
    values: NDArray[Any], starts: NDArray[Any], entries: NDArray[Any], found: NDArray[Any]
) -> None:
    """Write the entries of a table with a few runs of equal entries at `values` (n,) to `found`.

    Run r, with the entry ``entries[r]``, starts at the value ``starts[r]``, and the first run at 0.
    """
    for first in range(0, values.shape[0], _LONG_STRIP):
        strip, own = values[first : first + _LONG_STRIP], found[first : first + _LONG_STRIP]
        for i in range(strip.shape[0]):
            own[i] = entries[0]
        # A loop over the pixels for each run is vectorized. A look-up for each pixel is not.
        for r in range(1, starts.shape[0]):
            start, entry = starts[r], entries[r]
            for i in range(strip.shape[0]):
                own[i] = entry if strip[i] >= start else own[i]


@inline_kernel
def _count_cell(tables: Tables, cell: int, counts: NDArray[Any]) -> None:
    """Write the sum over all tables of the count of each code of a cell to `counts`."""
    first = cell * counts.shape[0]
    counts[:] = 0
    for t in range(len(tables)):
        row = tables[t][first : first + counts.shape[0]]
        for i in range(counts.shape[0]):
            counts[i] += row[i]


@compile_kernel
def count_distinct(
    tables: Tables, words: Tables, cell_bits: int, first_cell: int, sizes: NDArray[Any]
) -> None:
    """Count the codes that occur in consecutive cells, and write the numbers to `sizes` (G,).

    `words` are the tables as uint64. Most cells have no code: eight counters are skipped at once.
    """
    counts = np.empty(1 << cell_bits, np.uint32)
    n_words = (1 << cell_bits) >> 3
    for c in range(sizes.shape[0]):
        cell = first_cell + c
        any_count = np.uint64(n_words == 0)
        for t in range(len(words)):
            row = words[t][cell * n_words : (cell + 1) * n_words]
            for i in range(row.shape[0]):
                any_count |= row[i]
        size = 0
        if any_count:
            _count_cell(tables, cell, counts)
            for i in range(counts.shape[0]):
                size += counts[i] > 0
        sizes[c] = size


@compile_kernel
def collect_codes(
    tables: Tables,
    cells: NDArray[Any],
    cell_bits: int,
    starts: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
) -> None:
    """Write the codes with a count above 0, and their counts, to `codes` and `weights`.

    The codes of cell number ``cells[c]`` are written from index ``starts[c]`` on.
    """
    counts = np.empty(1 << cell_bits, np.uint32)
    used = np.empty(counts.shape[0] + 1, np.uint32)
    for c in range(cells.shape[0]):
        _count_cell(tables, cells[c], counts)
        size = 0
        for i in range(counts.shape[0]):
            # Write every index, and overwrite it if its count is 0. The processor would
            # mispredict an "if" half of the time, which is slower.
            used[size] = i
            size += counts[i] > 0
        first = np.int64(cells[c]) << cell_bits
        for i in range(size):
            codes[starts[c] + i] = first + used[i]
            weights[starts[c] + i] = counts[used[i]]


@compile_kernel
def merge_codes(
    codes: NDArray[Any],
    weights: NDArray[Any],
    ends: NDArray[Any],
    cell_bits: int,
    merged: NDArray[Any],
    totals: NDArray[Any],
) -> Any:
    """Merge lists of ascending codes and sum the weights of equal codes, cell by cell.

    Parameters
    ----------
    codes : (n,) uint32 array
        The lists, one after the other.
    weights : (n,) array
        The weight of each code.
    ends : (number of lists + 1,) int array
        0, and the index at which each list ends.
    cell_bits : int
        The number of low bits of a code; the bits above them are the cell.
    merged : (n + 1,) uint32 array
        Receives the distinct codes, ascending. It has one entry more than codes.
    totals : (n + 1,) array
        Receives the summed weight of each code.

    Returns
    -------
    int
        The number of distinct codes.
    """
    n_lists = ends.shape[0] - 1
    heads = ends[:-1].copy()
    sums = np.zeros(1 << cell_bits)
    mask = (1 << cell_bits) - 1
    n_codes = 0
    no_cell = np.int64(1) << 62
    while True:
        cell = no_cell
        for p in range(n_lists):
            if heads[p] < ends[p + 1]:
                cell = min(cell, np.int64(codes[heads[p]]) >> cell_bits)
        if cell == no_cell:
            return n_codes
        last = (cell + 1) << cell_bits
        for p in range(n_lists):
            i = heads[p]
            while i < ends[p + 1] and codes[i] < last:
                sums[codes[i] & mask] += weights[i]
                i += 1
            heads[p] = i
        for i in range(mask + 1):
            # Write every code, and overwrite it if its sum is 0, as in `collect_codes`. A
            # code may be written after the last one that counts: hence the entry n + 1.
            merged[n_codes] = (cell << cell_bits) + i
            totals[n_codes] = sums[i]
            n_codes += sums[i] > 0
            sums[i] = 0.0


@compile_kernel
def decode_codes(codes: NDArray[Any], shifts: Any, minimum: Any, points: NDArray[Any]) -> None:
    """Write the channel values of codes (n,) to `points` (n, C).

    `shifts` has an entry for each channel: the shift and the width of its high bits, then
    the shift and the width of its low bits. `minimum` (C,) is the value of code 0.
    """
    for i in range(codes.shape[0]):
        code = np.int64(codes[i])
        for j in range(len(shifts)):
            high, high_width, low, low_width = shifts[j]
            offset = ((code >> high) & ((1 << high_width) - 1)) << low_width
            offset |= (code >> low) & ((1 << low_width) - 1)
            points[i, j] = minimum[j] + offset


@partial(compile_kernel, fastmath={"reassoc"})
def describe_cells(
    codes: NDArray[Any],
    weights: NDArray[Any],
    starts: NDArray[Any],
    shifts: Any,
    minimum: Any,
    sums: NDArray[Any],
    totals: NDArray[Any],
    means: NDArray[Any],
    radii: NDArray[Any],
    scatters: NDArray[Any],
) -> None:
    """Compute the moments of the colors of each cell, as `describe_groups` does for points.

    The colors of cell g have the `codes` (n,) ``starts[g]`` to ``starts[g + 1]``. `shifts` and
    `minimum` are those of `decode_codes`. A radius reaches the corners of the box around the
    colors, so it may be longer than to the farthest color.
    """
    cell_bits = 0
    for j in range(len(shifts)):
        cell_bits += shifts[j][3]
    width = 1 << cell_bits
    counts, squares = np.zeros((2, width))
    # The values that a low part of a code adds to each channel.
    lows = np.empty((len(shifts), width))
    for j in range(len(shifts)):
        _, _, low, low_width = shifts[j]
        for i in range(width):
            lows[j, i] = (i >> low) & ((1 << low_width) - 1)
            squares[i] += lows[j, i] * lows[j, i]
    for g in range(totals.shape[0]):
        own, shares = codes[starts[g] : starts[g + 1]], weights[starts[g] : starts[g + 1]]
        # All codes of a cell, not only those that occur: the loops are vectorized.
        for i in range(width):
            counts[i] = 0.0
        for i in range(own.shape[0]):
            counts[own[i] & np.uint32(width - 1)] = shares[i]
        total = square = 0.0
        for i in range(width):
            total += counts[i]
        for i in range(width):
            square += counts[i] * squares[i]
        reach = 0.0
        for j in range(len(shifts)):
            high, high_width, low, low_width = shifts[j]
            shift, mask = np.uint32(low), np.uint32((1 << low_width) - 1)
            origin = minimum[j] + (
                ((np.int64(own[0]) >> high) & ((1 << high_width) - 1)) << low_width
            )
            added, column = 0.0, lows[j]
            for i in range(width):
                added += counts[i] * column[i]
            lowest, highest = mask, np.uint32(0)
            for i in range(own.shape[0]):
                value = own[i] >> shift & mask
                lowest, highest = min(lowest, value), max(highest, value)
            mean = added / total
            sums[g, j] = origin * total + added
            means[g, j] = sums[g, j] / total
            square -= added * mean
            farthest = max(mean - lowest, highest - mean)
            reach += farthest * farthest
        totals[g], radii[g] = total, np.sqrt(reach)
        scatters[g] = max(square, 0.0) if own.shape[0] > 1 else 0.0


@compile_kernel
def fill_table(
    codes: NDArray[Any], labels: NDArray[Any], new_labels: NDArray[Any], table: NDArray[Any]
) -> None:
    """Write ``new_labels[labels]`` to the entries of `table` at `codes` (n,)."""
    for i in range(codes.shape[0]):
        table[codes[i]] = new_labels[labels[i]]


@compile_kernel
def recolor(
    labels: NDArray[Any],
    columns: Tables,
    kept: Tables,
    values: NDArray[Any],
    pixels: NDArray[Any],
) -> None:
    """Write the color of each label (n,) to `pixels` (n, C), and keep some bits of `values`.

    Parameters
    ----------
    labels : (n,) integer array
    columns : tuple of C arrays (K + 1,)
        For each channel, the bits of each label from 0 on.
    kept : tuple of C arrays (K + 1,)
        Where bits are set, pixels of a label get those of `values`; the bits in `columns` are 0.
    values : (n, C) array of unsigned integers
    pixels : (n, C) array of unsigned integers
    """
    has_alpha = kept[len(kept) - 1][-1] != 0
    for start in range(0, labels.shape[0], _STRIP):
        own, target = labels[start : start + _STRIP], pixels[start : start + _STRIP]
        strip = values[start : start + _STRIP]
        n_zero = 0
        for i in range(own.shape[0]):
            n_zero += own[i] == 0
        # `columns` is a tuple: its length is known at compile time, and the loop is unrolled.
        if n_zero == own.shape[0]:
            for i in range(own.shape[0]):
                for j in range(len(columns)):
                    target[i, j] = strip[i, j]
        elif n_zero or has_alpha:
            # An "if" for each pixel is slow where zeros are scattered.
            for i in range(own.shape[0]):
                label = own[i]
                for j in range(len(columns)):
                    target[i, j] = columns[j][label] | (strip[i, j] & kept[j][label])
        else:
            for i in range(own.shape[0]):
                label = own[i]
                for j in range(len(columns)):
                    target[i, j] = columns[j][label]


@compile_kernel
def recolor_words(
    labels: NDArray[Any],
    words: NDArray[Any],
    kept: NDArray[Any],
    values: NDArray[Any],
    pixels: NDArray[Any],
) -> None:
    """Do the same as `recolor` for pixels of one word and few clusters, faster.

    Parameters
    ----------
    labels : (n,) integer array
    words, kept : (K + 1,) arrays
    values, pixels : (n,) arrays of unsigned integers
    """
    new = np.empty(_LONG_STRIP, pixels.dtype)
    for start in range(0, labels.shape[0], _LONG_STRIP):
        own, target = labels[start : start + _LONG_STRIP], pixels[start : start + _LONG_STRIP]
        strip = values[start : start + _LONG_STRIP]
        n_zero = 0
        for i in range(own.shape[0]):
            n_zero += own[i] == 0
        for i in range(own.shape[0]):
            new[i] = words[1]
        if n_zero:
            for i in range(own.shape[0]):
                new[i] = strip[i]
        # A loop over the pixels for each label is vectorized. A look-up for each pixel is not.
        for k in range(1, words.shape[0]):
            label, word, mask = labels.dtype.type(k), words[k], kept[k]
            if mask:
                for i in range(own.shape[0]):
                    new[i] = word | (strip[i] & mask) if own[i] == label else new[i]
            else:
                for i in range(own.shape[0]):
                    new[i] = word if own[i] == label else new[i]
        for i in range(own.shape[0]):
            target[i] = new[i]


@inline_kernel
def _zero_bits(label: Any) -> Any:
    """Return a word with the bits of three bytes if the label is 0, else 0."""
    return np.uint32(0xFFFFFF) if label == 0 else np.uint32(0)


@inline_kernel
def _pack(a: Any, b: Any, c: Any, d: Any) -> Any:
    """Return three words: the three low bytes of four words, one after the other."""
    return (
        a | b << np.uint32(24),
        b >> np.uint32(8) | c << np.uint32(16),
        c >> np.uint32(16) | d << np.uint32(8),
    )


@compile_kernel
def recolor_quads(
    labels: NDArray[Any], colors: NDArray[Any], values: NDArray[Any], words: NDArray[Any]
) -> None:
    """Do the same as `recolor` for pixels of three bytes; four of them are three words.

    Parameters
    ----------
    labels : (4 q,) integer array
    colors : (K + 1,) uint32 array
        The color of each label from 0 on: the lowest byte is the first channel, and the highest
        byte is 0. Label 0 has color 0.
    values, words : (q, 3) uint32 arrays
        The image, and the recolored image.
    """
    for q in range(words.shape[0]):
        first = 4 * q
        a, b, c, d = labels[first], labels[first + 1], labels[first + 2], labels[first + 3]
        word_0, word_1, word_2 = _pack(colors[a], colors[b], colors[c], colors[d])
        if (a == 0) | (b == 0) | (c == 0) | (d == 0):
            # The color of label 0 is 0: add the values where its bits are set.
            zeros = _pack(_zero_bits(a), _zero_bits(b), _zero_bits(c), _zero_bits(d))
            word_0 |= values[q, 0] & zeros[0]
            word_1 |= values[q, 1] & zeros[1]
            word_2 |= values[q, 2] & zeros[2]
        words[q, 0], words[q, 1], words[q, 2] = word_0, word_1, word_2


@compile_kernel
def look_up_labels(labels: NDArray[Any], table: NDArray[Any], entries: NDArray[Any]) -> None:
    """Write the entries of `table` at labels (n,) to `entries` (n,)."""
    for i in range(labels.shape[0]):
        # An unsigned index needs no check for negative numbers.
        entries[i] = table[np.uint32(labels[i])]


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""The difference of the states of neighboring pixels."""


@inline_kernel
def _random_bits(index: Any, key: Any) -> Any:
    """Return a pseudo-random number of 64 bits that depends only on a pixel's index and a key."""
    return _mix_bits(np.uint64(key) + np.uint64(index) * _GOLDEN)


@inline_kernel
def _mix_bits(number: Any) -> Any:
    """Return the pseudo-random number of a state of 64 bits."""
    # SplitMix64 (Steele, Lea, Flood, doi:10.1145/2660193.2660195).
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return number ^ (number >> np.uint64(31))


@inline_kernel
def _random_number(index: Any, key: Any) -> Any:
    """Return a pseudo-random number between 0 and 1 of a pixel's index and a key."""
    return (np.float64(_random_bits(index, key) >> np.uint64(11)) + 0.5) * 2.0**-53


@compile_kernel
def select_rows(
    starts: NDArray[Any], length: int, step: int, key: Any, limit: float, selected: NDArray[Any]
) -> Any:
    """Select the pixels of a block whose random numbers are at most `limit`; see `select_points`.

    Write their rows among the n pixels of the block to `selected` (n + 1 or more,), and return
    the number of them. `starts` are the numbers, in the image, of every `length`-th of these
    pixels. From one pixel to the next, the number grows by `step`. A pixel whose random number is
    2^-53 above the limit may be selected, too.
    """
    # Comparing whole numbers takes two thirds of the time.
    largest = np.uint64(min(limit, 1.0) * 2.0**53)
    numbers, difference = np.empty(_COMPARED_PIXELS, np.uint64), np.uint64(step) * _GOLDEN
    n_selected = row = 0
    for start in starts:
        for first in range(0, length, _COMPARED_PIXELS):
            n_pixels = min(length - first, _COMPARED_PIXELS)
            state = np.uint64(key) + np.uint64(start + first * step) * _GOLDEN
            # Many strips have no pixel to select. This loop is vectorized.
            n_here = 0
            for i in range(n_pixels):
                number = _mix_bits(state) >> np.uint64(11)
                state += difference
                numbers[i] = number
                n_here += int(number <= largest)
            if n_here:
                for i in range(n_pixels):
                    # Write each row, and overwrite it if it is not selected: an "if" is slower.
                    selected[n_selected] = row + first + i
                    n_selected += int(numbers[i] <= largest)
        row += length
    return n_selected


@compile_kernel
def select_points(
    columns: NDArray[Any],
    indices: NDArray[Any],
    first: int,
    key: Any,
    reference: NDArray[Any],
    limit: float,
    limit_by_square: float,
    selected: NDArray[Any],
    numbers: NDArray[Any],
    squares: NDArray[Any],
) -> Any:
    """Select the points whose random numbers are low enough.

    A point is selected if its random number, between 0 and 1, is at most `limit`, or at
    most `limit_by_square` times its squared distance from `reference` (F,).

    Parameters
    ----------
    columns : (B, F, width) float32 or float64 array
        The coordinates of the points, as columns of B blocks.
    indices : (n,) int64 array
        The number of each pixel in its image, from which its random number is made.
    first : int
        The row of the first point.
    key : uint64
        The other number from which random numbers are made.
    reference : (F,) float64 array
    limit, limit_by_square : float
        The limits; infinite where all points are selected.
    selected, numbers, squares : (n or more,) arrays
        Receive for each selected point its row, its random number, and its squared
        distance from the reference.

    Returns
    -------
    int
        The number of points that were selected.
    """
    width = columns.shape[2]
    own_numbers, own_squares = np.empty(width), np.empty(width)
    n_selected = 0
    for start in range(0, indices.shape[0], width):
        block, own_indices = columns[start // width], indices[start : start + width]
        n_points = own_indices.shape[0]
        for i in range(n_points):
            own_numbers[i] = _random_number(own_indices[i], key)
            own_squares[i] = 0.0
        for j in range(block.shape[0]):
            column, middle = block[j], reference[j]
            for i in range(n_points):
                difference = np.float64(column[i]) - middle
                own_squares[i] += difference * difference
        # Most blocks have no point to select. This loop is vectorized.
        n_here = 0
        for i in range(n_points):
            # An infinite limit times the distance 0 is NaN: the comparison is then False, so
            # that points equal to the reference are not selected by distance.
            is_far = own_numbers[i] <= limit_by_square * own_squares[i]
            n_here += int((own_numbers[i] <= limit) | is_far)
        if n_here:
            for i in range(n_points):
                is_far = own_numbers[i] <= limit_by_square * own_squares[i]
                if own_numbers[i] <= limit or is_far:
                    selected[n_selected] = first + start + i
                    numbers[n_selected] = own_numbers[i]
                    squares[n_selected] = own_squares[i]
                    n_selected += 1
    return n_selected


@compile_kernel
def update_smallest(
    entries: NDArray[Any],
    indices: NDArray[Any],
    image: int,
    key: Any,
    smallest: NDArray[Any],
    images: NDArray[Any],
    positions: NDArray[Any],
) -> None:
    """Update, for each table entry, the pixel with the smallest random number.

    Parameters
    ----------
    entries : (n,) array of unsigned integers
        The table entry of each pixel, from 1 to M; 0 where a pixel is left out.
    indices : (n,) int64 array
        The number of each pixel in its image, from which its random number is made.
    image : int
        The number of the image.
    key : uint64
        The other number from which random numbers are made.
    smallest : (M,) uint64 array
        The smallest random number of each entry so far; changed in place.
    images, positions : (M,) int64 arrays
        The image of the pixel with that number, and its index there; changed in place.
    """
    for i in range(entries.shape[0]):
        entry = entries[i]
        if entry > 0:
            number = _random_bits(indices[i], key)
            if number < smallest[entry - 1]:
                smallest[entry - 1] = number
                images[entry - 1] = image
                positions[entry - 1] = indices[i]


@compile_kernel
def add_by_label(
    labels: NDArray[Any],
    values: NDArray[Any],
    weights: NDArray[Any],
    totals: NDArray[Any],
    sums: NDArray[Any],
) -> None:
    """Add weights (n,) and weighted values (n, C), by label, to `totals` (K,) and `sums` (K, C)."""
    for i in range(labels.shape[0]):
        label = labels[i]
        totals[label] += weights[i]
        for j in range(values.shape[1]):
            sums[label, j] += weights[i] * values[i, j]


@compile_kernel
def add_changes(
    values: NDArray[Any],
    labels: NDArray[Any],
    before: NDArray[Any],
    counts: NDArray[Any],
    sums: NDArray[Any],
) -> None:
    """Move pixels whose label has changed from the sums of their old to those of their new label.

    Parameters
    ----------
    values : (n, C or more) array of integers or bool
    labels, before : (n,) arrays of unsigned integers
        The labels from 1 to K, and those before the change.
    counts : (K,) int64 array
    sums : (K, C) int64 array
    """
    changed = np.empty(_COMPARED_PIXELS + 1, np.uint32)
    for start in range(0, labels.shape[0], _COMPARED_PIXELS):
        some = slice(start, start + _COMPARED_PIXELS)
        new, old = labels[some], before[some]
        # Few pixels change. This loop is vectorized.
        is_changed = False
        for i in range(len(new)):
            is_changed |= new[i] != old[i]
        if not is_changed:
            continue
        # Write each index, and overwrite it if the label is the same: faster than an "if".
        n_changed = np.uint32(0)
        for i in range(len(new)):
            changed[n_changed] = i
            n_changed += np.uint32(new[i] != old[i])
        for n in range(n_changed):
            place = np.uint64(changed[n])
            to, since = np.uint32(new[place]) - 1, np.uint32(old[place]) - 1
            counts[to] += 1
            counts[since] -= 1
            for j in range(sums.shape[1]):
                value = np.int64(values[np.uint64(start) + place, j])
                sums[to, j] += value
                sums[since, j] -= value


@compile_kernel
def describe_rows(
    rows: NDArray[Any],
    origin: NDArray[np.float64],
    n_per_part: int,
    means: NDArray[np.float64],
    scatters: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> None:
    """Write the moments of each column of rows.

    Parameters
    ----------
    rows : (n, M) array
        Finite numbers.
    origin : (M,) array
        A number of each column, from which the mean is measured: differences of numbers that are
        near each other are exact.
    n_per_part : int
        The rows of each part. The last part may have less.
    means, scatters, low, high : (P, M) arrays
        The mean, the sum of squared distances from the mean, the minimum and the maximum of
        the rows of each part.
    """
    for part in range(means.shape[0]):
        first, stop = part * n_per_part, min((part + 1) * n_per_part, rows.shape[0])
        for j in range(rows.shape[1]):
            means[part, j] = scatters[part, j] = 0.0
            low[part, j] = high[part, j] = rows[first, j]
        # The compiler vectorizes loops over columns.
        for i in range(first, stop):
            for j in range(rows.shape[1]):
                value = np.float64(rows[i, j])
                means[part, j] += value - origin[j]
                low[part, j] = min(low[part, j], value)
                high[part, j] = max(high[part, j], value)
        for j in range(rows.shape[1]):
            means[part, j] /= stop - first
        for i in range(first, stop):
            for j in range(rows.shape[1]):
                distance = np.float64(rows[i, j]) - origin[j] - means[part, j]
                scatters[part, j] += distance * distance
