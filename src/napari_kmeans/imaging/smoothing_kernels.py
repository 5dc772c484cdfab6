"""Compiled loops that smooth labels: each works on a range of rows of a volume, on one thread.

The labels and the marks of unsettled pixels are padded: they have a border of one pixel, so that
each pixel has all its neighbors. The labels of the border are 0. The first axis has no border if
pixels are no neighbors along it. So a pixel of a volume (Z, Y, X) has the indices
``(z + pad, y + 1, x + 1)``, where `pad` is 0 or 1. Padded arrays have the same shape (P, Q, R), and
R is a multiple of 8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.clustering.tiles import WIDTH
from napari_kmeans.execution.compiling import compile_kernel, inline_kernel, inner_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRIP = 256
"""The number of pixels whose sums are computed at once: the sums stay in the smallest cache."""

_HALF = np.uint8(128)
"""The least sum of shares that is more than half of the weight of all neighbors."""


@inline_kernel
def _square_distance(points: Any, i: Any, centers: Any, starts: Any, label: Any) -> Any:
    """Return the squared distance of a point from the nearest center of a class."""
    least = np.inf
    for m in range(starts[label - 1], starts[label]):
        square = 0.0
        for j in range(centers.shape[1]):
            square += (points[i, j] - centers[m, j]) ** 2
        least = min(least, square)
    return least


@compile_kernel
def find_unsettled(
    labels: NDArray[Any],
    origin: tuple[int, int, int],
    nearest: NDArray[Any],
    offsets: NDArray[Any],
    shares: NDArray[Any],
    rows: tuple[int, int],
    pad: int,
    marks: NDArray[Any],
    words: NDArray[Any],
    active: NDArray[Any],
) -> None:
    """Find the unsettled pixels of some rows.

    A pixel is settled if it has the label of its nearest class and if the neighbors of the same
    label have more than half of the weight, or if it is left out.

    Parameters
    ----------
    labels : (P, Q, R) or (Z, Y, X) array
    origin : (int, int, int)
        The indices of the first pixel in `labels`.
    nearest : (Z, Y, X) array of unsigned integers
        The label of the nearest class of each pixel, from 1 on; 0 for a pixel that is left out.
    offsets : (n, 3) int64 array
        The steps to the neighbors.
    shares : (n,) uint8 array
        The share of each neighbor in the weight of all, in 255ths. Their sum is at most 255.
    rows : (int, int)
        The first row and the end of the rows, counted along the first two axes.
    pad : int
    marks : (P, Q, R) uint8 array
        Receives 1 for the unsettled pixels of these rows, and 0 for all others.
    words : (P, Q, R / 8) uint64 array
        A view of the same memory.
    active : (P, Q, R / 64 or more) uint8 array
        Receives 1 for each 64 pixels of these rows that have unsettled ones, and 0 for all others.
        The length of the last axis is a multiple of 8.
    """
    _, n_rows, length = nearest.shape
    # The pixels before the first and after the last one of a row that have an entry, too.
    border = origin[2]
    for row in range(rows[0], rows[1]):
        z, y = row // n_rows, row % n_rows
        near, own = nearest[z, y], labels[z + origin[0], y + origin[1], origin[2] :]
        result = marks[z + pad, y + 1, 1:]
        for x in range(length):
            result[x] = 0
        for n in range(offsets.shape[0]):
            zz, yy = z + origin[0] + offsets[n, 0], y + origin[1] + offsets[n, 1]
            if not (0 <= zz < labels.shape[0] and 0 <= yy < labels.shape[1]):
                continue
            # All slices start at the first pixel, so that the loop is vectorized: a row takes
            # 0.04 ns per pixel and neighbor.
            step, share = offsets[n, 2], shares[n]
            first, last = max(-step - border, 0), length - max(step - border, 0)
            mine, other = own[first:last], labels[zz, yy, origin[2] + first + step :]
            target = result[first:]
            for x in range(len(mine)):
                target[x] += share if mine[x] == other[x] else np.uint8(0)
        for x in range(length):
            can_change = np.uint8(result[x] < _HALF) | np.uint8(own[x] != near[x])
            result[x] = can_change & np.uint8(own[x] != 0)
        for first in range(0, words.shape[2], 8):
            some = np.uint64(0)
            for w in range(first, min(first + 8, words.shape[2])):
                some |= words[z + pad, y + 1, np.uint64(w)]
            active[z + pad, y + 1, first // 8] = some != 0


@compile_kernel
def average_neighbors(
    points: NDArray[Any],
    sizes: tuple[int, int],
    nearest: NDArray[Any],
    rows: tuple[int, int],
    pad: int,
    words: NDArray[Any],
    active: NDArray[Any],
    sums: NDArray[Any],
    means: NDArray[Any],
    places: NDArray[Any],
) -> Any:
    """Write the means of unsettled pixels and their neighbors, as many as fit.

    Parameters
    ----------
    points : (Z, Y, X * C) array
        The values of the pixels of each row.
    sizes : (int, int)
        C, the number of values of a pixel, and F, the number of those that are averaged.
    nearest : (Z, Y, X) array of unsigned integers
    rows : (int, int)
        As for `find_unsettled`.
    pad : int
    words, active
        The results of `find_unsettled`.
    sums : (2, 258 * C) array
        Is overwritten. Its dtype can hold the sum of 27 values.
    means : (B, F or more, 128) float32 or float64 array, 128 B ≥ X
        Receives the first F values of the means, in the order of `Tile.use`.
    places : (128 B,) int64 array
        Receives the index of each of these pixels in a padded array.

    Returns
    -------
    int
        The number of means.
    int
        The row after the last one of which all unsettled pixels were averaged.
    """
    depth, n_rows, length = nearest.shape
    n_values, n_features = sizes
    columns = np.empty(STRIP + 1, np.int32)
    row_sums, totals = sums[0], sums[1]
    n_found, row = 0, rows[0]
    while row < rows[1] and n_found + length <= len(places):
        z, y = row // n_rows, row % n_rows
        first_place = ((z + pad) * words.shape[1] + y + 1) * words.shape[2] * 8 + 1
        for first_part in range(0, active.shape[2], STRIP // 64):
            n_here = np.uint32(0)
            for part in range(first_part, first_part + STRIP // 64):
                if active[z + pad, y + 1, part] == 0:
                    continue
                for w in range(8 * part, min(8 * part + 8, words.shape[2])):
                    word = words[z + pad, y + 1, np.uint64(w)]
                    for lane in range(8):
                        # Write each column, and overwrite it if it is settled: faster than an "if".
                        columns[n_here] = 8 * w + lane - 1
                        n_here += np.uint32(word & np.uint64(1))
                        word >>= np.uint64(8)
            if n_here == 0:
                continue
            # The sums of the rows, and then of the neighbors in them, for all pixels of the strip
            # except the first and the last of the row. These loops are vectorized.
            first = max(64 * first_part - 1, 1)
            last = min(64 * first_part - 1 + STRIP, length - 1)
            n_sums, n_added, least = (last - first + 2) * n_values, 0, nearest[z, y, columns[0]]
            for i in range(n_sums):
                row_sums[i] = 0
            for zz in range(max(z - 1, 0), min(z + 2, depth)):
                for yy in range(max(y - 1, 0), min(y + 2, n_rows)):
                    n_added += 3
                    other = nearest[zz, yy, first - 1 : last + 1]
                    for i in range(len(other)):
                        least = min(least, other[i])
                    values = points[zz, yy, (first - 1) * n_values :]
                    for i in range(n_sums):
                        row_sums[i] += values[i]
            share, middle, right = 1 / n_added, row_sums[n_values:], row_sums[2 * n_values :]
            for i in range(n_sums - 2 * n_values):
                totals[i] = row_sums[i] + middle[i] + right[i]
            for n in range(n_here):
                x, found = np.int64(columns[n]), n_found + np.int64(n)
                block, place = np.uint64(found) // WIDTH, np.uint64(found) % WIDTH
                places[found] = first_place + x
                if least == 0 or x == 0 or x == length - 1:
                    mean = means[block, :n_features, place]
                    _average_labeled(points, n_values, nearest, z, y, x, mean)
                else:
                    for j in range(n_features):
                        total = totals[np.uint32((x - first) * n_values + j)]
                        means[block, j, place] = np.float64(total) * share
            n_found += int(n_here)
        row += 1
    return n_found, row


@inner_kernel
def _average_labeled(
    points: Any, n_values: Any, nearest: Any, z: Any, y: Any, x: Any, mean: Any
) -> None:
    """Write the mean of a pixel and its neighbors that have a label and lie in the volume."""
    for j in range(mean.shape[0]):
        total, n_added = np.float64(points[z, y, x * n_values + j]), 1
        for zz in range(max(z - 1, 0), min(z + 2, nearest.shape[0])):
            for yy in range(max(y - 1, 0), min(y + 2, nearest.shape[1])):
                for xx in range(max(x - 1, 0), min(x + 2, nearest.shape[2])):
                    is_own = zz == z and yy == y and xx == x
                    if not is_own and nearest[zz, yy, xx] != 0:
                        total += points[zz, yy, xx * n_values + j]
                        n_added += 1
        mean[j] = total * (1 / n_added)


@compile_kernel
def assign_means(
    means: NDArray[Any],
    places: NDArray[Any],
    found: NDArray[Any],
    center_labels: NDArray[Any],
    centers: NDArray[Any],
    starts: NDArray[Any],
    labels: NDArray[Any],
) -> None:
    """Give pixels the label of the center that is nearest to a mean.

    Parameters
    ----------
    means : (B, F or more, 128) float32 or float64 array
        From `average_neighbors`.
    places : (n,) int64 array
        The index of each pixel in a padded array.
    found : (n,) int32 array
        The index of the nearest center of each mean.
    center_labels : (M,) int64 array
        The label of each center.
    centers : (M, F) float64 array
        In the order of their classes.
    starts : (K + 1,) int64 array
        The class of label k has the centers ``starts[k - 1]`` to ``starts[k]``.
    labels : (P, Q, R) array
        Changed in place. If the class of a pixel is as near to the mean, its label stays.
    """
    flat = labels.reshape(-1)
    for n in range(found.shape[0]):
        place = places[n]
        own, label = np.int64(flat[place]), center_labels[found[n]]
        if label != own:
            block, i = means[n // WIDTH].T, n % WIDTH
            least = _square_distance(block, i, centers, starts, label)
            if least < _square_distance(block, i, centers, starts, own):
                flat[place] = label


@inline_kernel
def _unsettle(place: Any, steps: Any, labels: Any, marks: Any) -> None:
    label = labels[place]
    for n in range(len(steps)):
        # Writing to a place of no pixel takes less time than an "if" that is not predictable.
        other = np.uint64(place + steps[n])
        marks[other if labels[other] != label else np.uint64(0)] = 1


@compile_kernel
def sweep(
    points: NDArray[Any],
    nearest: NDArray[Any],
    steps: NDArray[Any],
    weight_sums: NDArray[Any],
    centers: NDArray[Any],
    starts: NDArray[Any],
    labels: NDArray[Any],
    marks: NDArray[Any],
    words: NDArray[Any],
    active: NDArray[Any],
    active_words: NDArray[Any],
    pad: int,
    is_nearest: bool,
    factor: float,
    passes: NDArray[Any],
    axis: int,
    first_column: int,
    bounds: tuple[int, int],
    moves: tuple[int, int],
) -> None:
    """Give each unsettled pixel of some slabs the label of least energy, several times.

    A slab is the pixels of one index along the first or the second axis. A pass changes the
    pixels of two colors of the checkerboard: they lie in rows that are no neighbors, and differ in
    the parity of their columns.

    Parameters
    ----------
    points : (Z, Y, X, F or more) array
    nearest : (Z, Y, X) array of unsigned integers
        As for `average_neighbors`.
    steps : (n,) int64 array
        The differences of the indices of the neighbors in a padded array.
    weight_sums : (n / 8 or more, 256) float64 array
        The sum of the weights of each set of eight neighbors, whose bits are the index.
    centers, starts
        As for `assign_means`.
    labels : (P, Q, R) array
        Changed in place.
    marks : (P, Q, R) uint8 array
        1 for each unsettled pixel, that is, each that can change. The neighbors of a pixel that
        changes become unsettled. The entry of the first corner is overwritten.
    words : (P, Q, R / 8) uint64 array
        A view of the same memory, to skip eight settled pixels at a time.
    active : (P, Q, R / 64 or more) uint8 array
        1 for each 64 pixels of a row that may have unsettled ones.
    active_words : (P, Q, R / 512 or more) uint64 array
        A view of the same memory.
    pad : int
    is_nearest : bool
        Whether `nearest` has the labels of the nearest classes. Otherwise all classes of neighbors
        are compared.
    factor : float
        The energy of a squared distance of 1 from the class.
    passes : (P, 2) int64 array
        For each pass the parity of the slabs, and of the rows in a slab.
    axis : int
        The axis of the slabs, 0 or 1.
    first_column : int
        The parity of the columns of padded arrays that are changed first in a pass.
    bounds : (int, int)
        The first slab and the end of the slabs of pass 0.
    moves : (int, int)
        The change of both bounds from pass to pass.

    Notes
    -----
    A class that is neither the nearest nor that of a neighbor cannot have the least energy. Of
    equal energies, the label that a pixel has is kept, or else the nearest, or else that of the
    first neighbor.

    The passes follow each other at a distance of one slab, while their slabs are in the cache: a
    pass needs the neighboring slabs as the pass before has left them.
    """
    depth, n_rows, length = nearest.shape
    n_passes = passes.shape[0]
    n_slabs, n_lines = (depth, n_rows) if axis == 0 else (n_rows, depth)
    columns, stride = np.empty(labels.shape[2], np.uint32), labels.shape[2]
    # Views of one axis for all pixels: a view of each row would take time.
    flat, flat_marks, flat_nearest = labels.reshape(-1), marks.reshape(-1), nearest.reshape(-1)
    flat_points = points.reshape(-1, points.shape[3])
    for at in range(bounds[0] - n_passes, bounds[1] + 2 * n_passes):
        for number in range(n_passes):
            slab = at - number
            first, end = bounds[0] + number * moves[0], bounds[1] + number * moves[1]
            if not max(first, 0) <= slab < min(end, n_slabs) or slab % 2 != passes[number, 0]:
                continue
            for line in range(passes[number, 1], n_lines, 2):
                z, y = (slab, line) if axis == 0 else (line, slab)
                row, first_place = z * n_rows + y, ((z + pad) * labels.shape[1] + y + 1) * stride
                for turn in range(2):
                    n_listed = _take_unsettled(
                        words,
                        active,
                        active_words,
                        z + pad,
                        y + 1,
                        turn,
                        (first_column + turn) % 2,
                        columns,
                    )
                    for k in range(n_listed):
                        x = np.int64(columns[k])
                        place, pixel = first_place + x, row * length + x - 1
                        own = np.uint32(flat[place])
                        # Pixels that are left out, and the border.
                        if own == 0:
                            continue
                        best = _find_best(
                            flat_points,
                            pixel,
                            np.uint32(flat_nearest[pixel]),
                            flat,
                            place,
                            steps,
                            weight_sums,
                            centers,
                            starts,
                            is_nearest,
                            factor,
                        )
                        if best != own:
                            flat[place] = best
                            _unsettle(place, steps, flat, flat_marks)
                            for zz in range(z, z + 2 * pad + 1):
                                for yy in range(y, y + 3):
                                    active[zz, yy, (x - 1) // 64] = 1
                                    active[zz, yy, (x + 1) // 64] = 1


@inline_kernel
def _take_unsettled(
    words: Any, active: Any, active_words: Any, z: Any, y: Any, turn: Any, parity: Any, columns: Any
) -> Any:
    """List the unsettled pixels of each second column of a row, and mark them as settled.

    Each byte of a word is a pixel: 1 if it is unsettled. `active` tells which eight words to look
    at; after the second turn, it is 0. Return the number of pixels.
    """
    n_listed = np.uint32(0)
    shift = np.uint64(8 * parity)
    bytes_of_parity = np.uint64(0x0001000100010001) << shift
    for group in range(active_words.shape[2]):
        if active_words[z, y, np.uint64(group)] == 0:
            continue
        for part in range(np.uint64(8 * group), np.uint64(8 * group + 8)):
            if active[z, y, part] == 0:
                continue
            if turn == 1:
                active[z, y, part] = 0
            first = np.uint64(8) * part
            # An unsigned index needs no check for negative numbers.
            for w in range(first, min(first + np.uint64(8), np.uint64(words.shape[2]))):
                word = words[z, y, w] & bytes_of_parity
                words[z, y, w] ^= word
                word >>= shift
                # Write each column, and overwrite it if it is settled: faster than an "if".
                for lane in range(4):
                    columns[n_listed] = np.uint32(8 * np.uint32(w) + parity + 2 * lane)
                    n_listed += np.uint32(word & np.uint64(1))
                    word >>= np.uint64(16)
    return int(n_listed)


@inline_kernel
def _which(labels: Any, place: Any, steps: Any, label: Any) -> Any:
    """Return the set of the neighbors that have a label: bit n stands for neighbor n."""
    found = np.uint32(0)
    for n in range(len(steps)):
        found |= np.uint32(labels[np.uint64(place + steps[n])] == label) << np.uint32(n)
    return found


@inline_kernel
def _weigh(weight_sums: Any, some: Any) -> Any:
    """Return the sum of the weights of a set of neighbors."""
    total = 0.0
    for number in range(weight_sums.shape[0]):
        total += weight_sums[np.uint64(number), (some >> np.uint32(8 * number)) & np.uint32(255)]
    return total


@inline_kernel
def _find_best(
    points: Any,
    pixel: Any,
    near: Any,
    labels: Any,
    place: Any,
    steps: Any,
    weight_sums: Any,
    centers: Any,
    starts: Any,
    is_nearest: Any,
    factor: Any,
) -> Any:
    """Return the label of least energy of a pixel, whose nearest class is `near`; see `sweep`."""
    own = np.uint32(labels[place])
    own_set = _which(labels, place, steps, own)
    own_sum = near_sum = _weigh(weight_sums, own_set)
    rest, best, least = np.uint32((1 << len(steps)) - 1) & ~own_set, own, np.nan
    if near != own:
        near_set = _which(labels, place, steps, near)
        near_sum, rest = _weigh(weight_sums, near_set), rest & ~near_set
        least = factor * _square_distance(points, pixel, centers, starts, own) - own_sum
        energy = factor * _square_distance(points, pixel, centers, starts, near) - near_sum
        if energy < least:
            best, least = near, energy
    # The distance from the nearest class is the least: another class can have a lower energy only
    # if its neighbors have a larger weight.
    while rest != 0 and (not is_nearest or _weigh(weight_sums, rest) > near_sum):
        first = 0
        while not (rest >> np.uint32(first)) & np.uint32(1):
            first += 1
        other = np.uint32(labels[place + steps[first]])
        other_set = _which(labels, place, steps, other)
        other_sum, rest = _weigh(weight_sums, other_set), rest & ~other_set
        if other == 0 or (is_nearest and other_sum <= near_sum):
            continue
        if np.isnan(least):
            least = factor * _square_distance(points, pixel, centers, starts, own) - own_sum
        energy = factor * _square_distance(points, pixel, centers, starts, other) - other_sum
        if energy < least:
            best, least = other, energy
    return best
