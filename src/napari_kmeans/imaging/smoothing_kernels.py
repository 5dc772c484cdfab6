"""Compiled loops that smooth labels: each works on a range of rows of a volume, on one thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.compiling import compile_kernel, inline_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRIP = 256
"""The number of pixels whose sums are computed at once: the sums stay in the smallest cache."""


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
def count_same(
    labels: NDArray[Any],
    offsets: NDArray[Any],
    shares: NDArray[Any],
    outside: int,
    rows: tuple[int, int],
    same: NDArray[Any],
) -> None:
    """Sum the shares of the neighbors of each pixel that have its label.

    Parameters
    ----------
    labels : (Z, Y, X) array
    offsets : (n, 3) int64 array
        The steps to the neighbors.
    shares : (n,) uint8 array
        The share of each neighbor. Their sum is at most 255.
    outside : int
        1 if neighbors outside the volume count as if they had the same label, else 0.
    rows : (int, int)
        The first row and the end of the rows, counted along the first two axes.
    same : (Z * Y, X or more) uint8 array
        Receives the sums of these rows.
    """
    depth, n_rows, length = labels.shape
    for row in range(rows[0], rows[1]):
        z, y = row // n_rows, row % n_rows
        own, result = labels[z, y], same[row]
        for x in range(length):
            result[x] = 0
        for n in range(offsets.shape[0]):
            zz, yy, step = z + offsets[n, 0], y + offsets[n, 1], offsets[n, 2]
            share = shares[n]
            missing = np.uint8(share * outside)
            first, last = max(-step, 0), length - max(step, 0)
            if not (0 <= zz < depth and 0 <= yy < n_rows):
                first = last = length
            else:
                # Both slices start at the first pixel, so that the loop is vectorized: a row
                # takes 0.04 ns per pixel and neighbor.
                mine, other, target = (
                    own[first:last],
                    labels[zz, yy, first + step :],
                    result[first:],
                )
                for x in range(last - first):
                    target[x] += share if mine[x] == other[x] else np.uint8(0)
            for x in range(first):
                result[x] += missing
            for x in range(last, length):
                result[x] += missing


@compile_kernel
def average_neighbors(
    points: NDArray[Any],
    n_values: int,
    nearest: NDArray[Any],
    same: NDArray[Any],
    n_same: int,
    rows: tuple[int, int],
    sums: NDArray[Any],
    means: NDArray[Any],
    places: NDArray[Any],
) -> int:
    """Write the mean of each mixed pixel and its neighbors; return the number of these pixels.

    A pixel is mixed if a neighbor has another label. All other pixels keep their label: the mean
    of points that are nearest to one center is nearest to this center, too.

    Parameters
    ----------
    points : (Z, Y, X * C) array
        The values of the pixels of each row.
    n_values : int
        C, the number of values of a pixel.
    nearest : (Z, Y, X) array of unsigned integers
        The label of the nearest class of each pixel, from 1 on; 0 for a pixel that is left out.
    same : (Z * Y, X or more) uint8 array
        From `count_same`, with the share 1 of all neighbors.
    n_same : int
        The entry of `same` of a pixel that is not mixed.
    rows : (int, int)
        As for `count_same`.
    sums : (258 * C,) array
        Is overwritten. Its dtype can hold the sum of 27 values.
    means : (F, n or more) float64 array
        Receives the first F values of the means. n is the number of pixels of the rows.
    places : (n or more,) int32 array
        Receives the index of each mixed pixel among those of the rows.
    """
    depth, n_rows, length = nearest.shape
    is_mixed, columns = np.empty(STRIP, np.uint8), np.empty(STRIP + 1, np.int32)
    n_found = 0
    for row in range(rows[0], rows[1]):
        z, y = row // n_rows, row % n_rows
        for start in range(0, length, STRIP):
            stop = min(start + STRIP, length)
            mine, is_same = nearest[z, y, start:stop], same[row, start:stop]
            for i in range(stop - start):
                is_mixed[i] = np.uint8(is_same[i] != n_same) & np.uint8(mine[i] != 0)
            n_here = np.uint32(0)
            for i in range(stop - start):
                # Write each column, and overwrite it if it is not mixed: faster than an "if".
                columns[n_here] = start + i
                n_here += np.uint32(is_mixed[i])
            if n_here == 0:
                continue
            # The sums of all pixels of the strip, except the first and the last of the row. Many
            # pixels of a strip with mixed pixels are mixed, and the loops are vectorized.
            first, last = max(start, 1), min(stop, length - 1)
            n_sums, n_added, least = (last - first) * n_values, 0, mine[0]
            middle, target = points[z, y, first * n_values :], sums[n_values:]
            for i in range(n_sums):
                target[i] = middle[i]
            # The order of the neighbors matters for the rounding of floats.
            for zz in range(max(z - 1, 0), min(z + 2, depth)):
                for yy in range(max(y - 1, 0), min(y + 2, n_rows)):
                    n_added += 3
                    other = nearest[zz, yy, max(start - 1, 0) : min(stop + 1, length)]
                    for i in range(len(other)):
                        least = min(least, other[i])
                    left = points[zz, yy, (first - 1) * n_values :]
                    middle = points[zz, yy, first * n_values :]
                    right = points[zz, yy, (first + 1) * n_values :]
                    if zz == z and yy == y:
                        for i in range(n_sums):
                            target[i] = target[i] + left[i] + right[i]
                    else:
                        for i in range(n_sums):
                            target[i] = target[i] + left[i] + middle[i] + right[i]
            for j in range(means.shape[0]):
                mean, own = means[j, n_found:], sums[j:]
                for n in range(n_here):
                    mean[n] = own[np.uint32((columns[n] - first + 1) * n_values)]
                for n in range(n_here):
                    mean[n] /= np.float64(n_added)
            for n in range(n_here):
                x = columns[n]
                places[n_found] = (row - rows[0]) * length + x
                if least == 0 or x == 0 or x == length - 1:
                    _average_labeled(points, n_values, nearest, z, y, x, means[:, n_found])
                n_found += 1
    return n_found


@compile_kernel
def _average_labeled(
    points: NDArray[Any],
    n_values: int,
    nearest: NDArray[Any],
    z: int,
    y: int,
    x: int,
    mean: NDArray[Any],
) -> None:
    """Write the mean of a pixel and its neighbors that have a label and lie in the volume."""
    n_added = 1
    for j in range(mean.shape[0]):
        mean[j] = points[z, y, x * n_values + j]
    for zz in range(max(z - 1, 0), min(z + 2, nearest.shape[0])):
        for yy in range(max(y - 1, 0), min(y + 2, nearest.shape[1])):
            for xx in range(max(x - 1, 0), min(x + 2, nearest.shape[2])):
                is_own = zz == z and yy == y and xx == x
                if is_own or nearest[zz, yy, xx] == 0:
                    continue
                n_added += 1
                for j in range(mean.shape[0]):
                    mean[j] += points[zz, yy, xx * n_values + j]
    for j in range(mean.shape[0]):
        mean[j] /= np.float64(n_added)


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
    means : (F, n or more) float64 array
    places : (n or more,) int32 array
        The index of each pixel.
    found : (n,) int32 array
        The index of the nearest center of each mean.
    center_labels : (M,) int64 array
        The label of each center.
    centers : (M, F) float64 array
        In the order of their classes.
    starts : (K + 1,) int64 array
        The class of label k has the centers ``starts[k - 1]`` to ``starts[k]``.
    labels : array of unsigned integers
        Changed in place. If the class of a pixel is as near to the mean, its label stays.
    """
    columns = means.T
    for n in range(found.shape[0]):
        own, label = np.int64(labels[places[n]]), center_labels[found[n]]
        if label != own:
            least = _square_distance(columns, n, centers, starts, label)
            if least < _square_distance(columns, n, centers, starts, own):
                labels[places[n]] = label


@compile_kernel
def sweep(
    points: NDArray[Any],
    nearest: NDArray[Any],
    offsets: NDArray[Any],
    centers: NDArray[Any],
    starts: NDArray[Any],
    labels: NDArray[Any],
    unsettled: NDArray[Any],
    words: NDArray[Any],
    active: NDArray[Any],
    weights: NDArray[Any],
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
    offsets : (n, 3) int64 array
        The steps to the neighbors.
    centers, starts
        As for `assign_means`.
    labels : (Z, Y, X) array
        Changed in place.
    unsettled : (Z * Y, 8 w) uint8 array
        1 for each pixel that can change. The neighbors of a pixel that changes become unsettled.
    words : (Z * Y, w) uint64 array
        A view of the same memory, to skip eight settled pixels at a time.
    active : (Z * Y,) uint8 array
        Whether a row has unsettled pixels.
    weights : (n,) float64 array
        The energy of each pair of different labels.
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
        The parity of the columns that are changed first in a pass.
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
    depth, n_rows, _ = labels.shape
    n_passes = passes.shape[0]
    n_slabs, n_lines = (depth, n_rows) if axis == 0 else (n_rows, depth)
    columns, sums = np.empty(8 * words.shape[1], np.uint32), np.zeros(len(starts))
    for at in range(bounds[0] - n_passes, bounds[1] + 2 * n_passes):
        for number in range(n_passes):
            slab = at - number
            first, end = bounds[0] + number * moves[0], bounds[1] + number * moves[1]
            if not max(first, 0) <= slab < min(end, n_slabs) or slab % 2 != passes[number, 0]:
                continue
            for line in range(passes[number, 1], n_lines, 2):
                z, y = (slab, line) if axis == 0 else (line, slab)
                if active[z * n_rows + y]:
                    _sweep_row(
                        points[z, y],
                        nearest[z, y],
                        offsets,
                        centers,
                        starts,
                        labels,
                        unsettled,
                        words[z * n_rows + y],
                        active,
                        weights,
                        is_nearest,
                        factor,
                        first_column,
                        z,
                        y,
                        columns,
                        sums,
                    )


@compile_kernel
def _sweep_row(
    points: NDArray[Any],
    nearest: NDArray[Any],
    offsets: NDArray[Any],
    centers: NDArray[Any],
    starts: NDArray[Any],
    labels: NDArray[Any],
    unsettled: NDArray[Any],
    words: NDArray[Any],
    active: NDArray[Any],
    weights: NDArray[Any],
    is_nearest: bool,
    factor: float,
    first_column: int,
    z: int,
    y: int,
    columns: NDArray[Any],
    sums: NDArray[Any],
) -> None:
    """Give each unsettled pixel of the row (z, y) the label of least energy; see `sweep`.

    `points`, `nearest` and `words` are those of the row. `columns` (X or more,) is overwritten, and
    `sums` (K + 1,) is 0 before and after.
    """
    depth, n_rows, length = labels.shape
    flat, n_neighbors = labels.reshape(-1), offsets.shape[0]
    row = z * n_rows + y
    # The first step is the lowest along the first axis.
    is_inner_row = (0 < z < depth - 1 or offsets[0, 0] == 0) and 0 < y < n_rows - 1
    steps, found = np.empty(n_neighbors, np.int64), np.empty(n_neighbors + 2, np.uint32)
    for n in range(n_neighbors):
        steps[n] = (offsets[n, 0] * n_rows + offsets[n, 1]) * length + offsets[n, 2]
    active[row] = 0
    for turn in range(2):
        n_listed = _take_unsettled(words, (first_column + turn) % 2, columns)
        for k in range(n_listed):
            x = np.int64(columns[k])
            i = row * length + x
            own, near = np.uint32(flat[i]), np.uint32(nearest[x])
            if own == 0:
                continue
            # Most pixels have neighbors of two labels. Their sums stay in registers.
            is_inner = is_inner_row and 0 < x < length - 1
            second = near
            if is_inner and near == own:
                for n in range(n_neighbors):
                    other = np.uint32(flat[i + steps[n]])
                    second = other if other != own else second
            own_sum = second_sum = rest = 0.0
            if is_inner:
                for n in range(n_neighbors):
                    other, weight = np.uint32(flat[i + steps[n]]), weights[n]
                    own_sum += weight if other == own else 0.0
                    second_sum += weight if other == second else 0.0
                    rest += 0.0 if (other == own) | (other == second) else weight
            # The distance from the nearest class is the least: another class can have a lower
            # energy only if its neighbors have a larger weight.
            is_simple = is_nearest and is_inner and second != 0
            if is_simple and rest < 0.999 * (own_sum if near == own else second_sum):
                if near == own and (second == own or second_sum <= own_sum):
                    continue
                least = factor * _square_distance(points, x, centers, starts, own) - own_sum
                square = _square_distance(points, x, centers, starts, second)
                best = second if factor * square - second_sum < least else own
            else:
                best = _find_best(
                    points,
                    near,
                    offsets,
                    centers,
                    starts,
                    labels,
                    weights,
                    is_nearest,
                    factor,
                    z,
                    y,
                    x,
                    sums,
                    found,
                )
            if best == own:
                continue
            flat[i] = best
            # A settled neighbor that has this label already stays settled: its label costs less
            # than before, and no other label does.
            for n in range(n_neighbors):
                zz, yy, xx = z + offsets[n, 0], y + offsets[n, 1], x + offsets[n, 2]
                inside = is_inner or (0 <= zz < depth and 0 <= yy < n_rows and 0 <= xx < length)
                if inside and labels[zz, yy, xx] != best:
                    unsettled[zz * n_rows + yy, xx] = 1
                    active[zz * n_rows + yy] = 1


@compile_kernel
def _take_unsettled(words: NDArray[Any], first: int, columns: NDArray[Any]) -> Any:
    """List the unsettled pixels of each second column of a row, and mark them as settled.

    Each byte of `words` (w,) is a pixel: 1 if it is unsettled. Return the number of pixels.
    """
    n_listed = np.uint32(0)
    shift = np.uint64(8 * first)
    bytes_of_parity = np.uint64(0x0001000100010001) << shift
    for w in range(words.shape[0]):
        word = words[w] & bytes_of_parity
        if word == 0:
            continue
        words[w] ^= word
        word >>= shift
        # Write each column, and overwrite it if it is settled: faster than an "if".
        for lane in range(4):
            columns[n_listed] = 8 * w + first + 2 * lane
            n_listed += np.uint32(word & np.uint64(1))
            word >>= np.uint64(16)
    return int(n_listed)


@compile_kernel
def _find_best(
    points: NDArray[Any],
    near: int,
    offsets: NDArray[Any],
    centers: NDArray[Any],
    starts: NDArray[Any],
    labels: NDArray[Any],
    weights: NDArray[Any],
    is_nearest: bool,
    factor: float,
    z: int,
    y: int,
    x: int,
    sums: NDArray[Any],
    found: NDArray[Any],
) -> Any:
    """Return the label of least energy of a pixel, whose nearest class is `near`."""
    depth, n_rows, length = labels.shape
    own = np.uint32(labels[z, y, x])
    found[0], found[1] = own, near
    n_found = 1 if near == own else 2
    for n in range(offsets.shape[0]):
        zz, yy, xx = z + offsets[n, 0], y + offsets[n, 1], x + offsets[n, 2]
        if not (0 <= zz < depth and 0 <= yy < n_rows and 0 <= xx < length):
            continue
        other = np.uint32(labels[zz, yy, xx])
        if other == 0:
            continue
        if sums[other] == 0 and other != own and other != near:
            found[n_found] = other
            n_found += 1
        sums[other] += weights[n]
    least, best = np.inf, own
    for n in range(n_found):
        label = found[n]
        # See `_sweep_row`.
        is_possible = label in (own, near) or sums[label] > sums[near]
        if is_possible or not is_nearest:
            square = _square_distance(points, x, centers, starts, label)
            energy = factor * square - sums[label]
            if energy < least:
                least, best = energy, label
    for n in range(n_found):
        sums[found[n]] = 0.0
    return best
