"""Compiled loops that smooth labels: each works on a range of rows of a volume, on one thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.compiling import compile_kernel, inline_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray


@inline_kernel
def _square_distance(point: Any, centers: Any, starts: Any, label: Any) -> Any:
    """Return the squared distance of a point from the nearest center of a class."""
    least = np.inf
    for m in range(starts[label - 1], starts[label]):
        square = 0.0
        for j in range(centers.shape[1]):
            square += (point[j] - centers[m, j]) ** 2
        least = min(least, square)
    return least


@compile_kernel
def find_mixed(labels: NDArray[Any], rows: tuple[int, int], mixed: NDArray[Any]) -> None:
    """Write 1 for each pixel with a neighbor of another label, and 0 for all others.

    Parameters
    ----------
    labels : (Z, Y, X) array
    rows : (int, int)
        The first row and the end of the rows, counted along the first two axes.
    mixed : (Z, Y, X) uint8 array
        Filled in these rows.
    """
    depth, n_rows, length = labels.shape
    for row in range(rows[0], rows[1]):
        z, y = row // n_rows, row % n_rows
        own, result = labels[z, y], mixed[z, y]
        for x in range(length):
            result[x] = 0
        for zz in range(max(z - 1, 0), min(z + 2, depth)):
            for yy in range(max(y - 1, 0), min(y + 2, n_rows)):
                other = labels[zz, yy]
                # The loop without a branch is vectorized: a row takes 0.1 ns per pixel.
                for x in range(length):
                    result[x] |= np.uint8(own[x] != other[x])
                before, after = own[: length - 1], own[1:]
                for x in range(length - 1):
                    result[x] |= np.uint8(before[x] != other[x + 1])
                for x in range(length - 1):
                    result[x + 1] |= np.uint8(after[x] != other[x])


@compile_kernel
def start_labels(
    points: NDArray[Any],
    nearest: NDArray[Any],
    offsets: NDArray[Any],
    centers: NDArray[Any],
    starts: NDArray[Any],
    rows: tuple[int, int],
    mixed: NDArray[Any],
    labels: NDArray[Any],
) -> None:
    """Write the label of the nearest class of the mean of each pixel and its neighbors.

    Parameters
    ----------
    points : (Z, Y, X, F or more) array
    nearest : (Z, Y, X) array of unsigned integers
        The label of the nearest class of each pixel, from 1 on; 0 for a pixel that is left out.
    offsets : (n, 3) int64 array
        The steps to the neighbors.
    centers : (M, F) float64 array
        In the order of their classes.
    starts : (K + 1,) int64 array
        The class of label k has the centers ``starts[k - 1]`` to ``starts[k]``.
    rows : (int, int)
        As for `find_mixed`.
    mixed : (Z, Y, X) uint8 array
        Whether a pixel has a neighbor of another label. All other pixels keep their label: the
        mean of points that are nearest to one center is nearest to this center, too.
    labels : (Z, Y, X) array of the dtype of `nearest`
        Filled in these rows.
    """
    depth, n_rows, length = nearest.shape
    n_features = centers.shape[1]
    mean = np.empty(n_features)
    for row in range(rows[0], rows[1]):
        z, y = row // n_rows, row % n_rows
        for x in range(length):
            own = nearest[z, y, x]
            labels[z, y, x] = own
            if own == 0 or not mixed[z, y, x]:
                continue
            for j in range(n_features):
                mean[j] = points[z, y, x, j]
            total = 1.0
            for n in range(len(offsets)):
                zz, yy, xx = z + offsets[n, 0], y + offsets[n, 1], x + offsets[n, 2]
                if not (0 <= zz < depth and 0 <= yy < n_rows and 0 <= xx < length):
                    continue
                if nearest[zz, yy, xx] != 0:
                    total += 1.0
                    for j in range(n_features):
                        mean[j] += points[zz, yy, xx, j]
            for j in range(n_features):
                mean[j] /= total
            least = _square_distance(mean, centers, starts, own)
            label = own
            for k in range(1, len(starts)):
                square = _square_distance(mean, centers, starts, k)
                if square < least:
                    least, label = square, k
            labels[z, y, x] = label


@compile_kernel
def mark_unsettled(
    nearest: NDArray[Any],
    labels: NDArray[Any],
    rows: tuple[int, int],
    unsettled: NDArray[Any],
    active: NDArray[Any],
) -> None:
    """Write which pixels can change, and which rows have such pixels.

    Parameters
    ----------
    nearest, labels : (Z, Y, X) arrays
    rows : (int, int)
        As for `find_mixed`.
    unsettled : (Z, Y, X) uint8 array
        Before: whether a neighbor of a pixel has another label. Afterwards, a pixel that does
        not have the label of its nearest class is unsettled, too.
    active : (Z * Y, 2) uint8 array
        Whether a row has unsettled pixels in even and in odd columns.
    """
    n_rows, length = labels.shape[1], labels.shape[2]
    for row in range(rows[0], rows[1]):
        own, near = labels[row // n_rows, row % n_rows], nearest[row // n_rows, row % n_rows]
        result = unsettled[row // n_rows, row % n_rows]
        for x in range(length):
            result[x] |= np.uint8(own[x] != near[x])
        active[row, 0] = active[row, 1] = 1


@compile_kernel
def sweep(
    points: NDArray[Any],
    nearest: NDArray[Any],
    offsets: NDArray[Any],
    centers: NDArray[Any],
    starts: NDArray[Any],
    rows: tuple[int, int],
    labels: NDArray[Any],
    unsettled: NDArray[Any],
    active: NDArray[Any],
    weights: NDArray[Any],
    factor: float,
    parity: tuple[int, int, int],
) -> int:
    """Give each unsettled pixel of one color of the checkerboard the label of least energy.

    Parameters
    ----------
    points, nearest, offsets, centers, starts, rows, labels
        As for `start_labels`. The labels are changed in place.
    unsettled, active
        As for `mark_unsettled`. The neighbors of a pixel that changes become unsettled.
    weights : (n,) float64 array
        The energy of each pair of different labels.
    factor : float
        The energy of a squared distance of 1 from the class.
    parity : (int, int, int)
        The remainder of the coordinates of the pixels, divided by 2.

    Returns
    -------
    int
        The number of pixels that have changed.

    Notes
    -----
    A class that is neither the nearest nor that of a neighbor cannot have the least energy. Of
    equal energies, the label that a pixel has is kept, or else the nearest, or else that of the
    first neighbor.
    """
    depth, n_rows, length = labels.shape
    found, sums = np.empty(len(offsets) + 2, np.int64), np.empty(len(offsets) + 2)
    n_changed = 0
    for row in range(rows[0], rows[1]):
        z, y = row // n_rows, row % n_rows
        if z % 2 != parity[0] or y % 2 != parity[1] or not active[row, parity[2]]:
            continue
        active[row, parity[2]] = 0
        for x in range(parity[2], length, 2):
            if not unsettled[z, y, x]:
                continue
            unsettled[z, y, x] = 0
            own = np.int64(labels[z, y, x])
            if own == 0:
                continue
            found[0], sums[0] = own, 0.0
            found[1], sums[1] = nearest[z, y, x], 0.0
            n_found = 1 if found[1] == own else 2
            for n in range(len(offsets)):
                zz, yy, xx = z + offsets[n, 0], y + offsets[n, 1], x + offsets[n, 2]
                if 0 <= zz < depth and 0 <= yy < n_rows and 0 <= xx < length:
                    other = np.int64(labels[zz, yy, xx])
                    if other == 0:
                        continue
                    place = 0
                    while place < n_found and found[place] != other:
                        place += 1
                    if place == n_found:
                        found[place], sums[place] = other, 0.0
                        n_found += 1
                    sums[place] += weights[n]
            if n_found == 1:
                continue
            least, best = np.inf, 0
            for place in range(n_found):
                square = _square_distance(points[z, y, x], centers, starts, found[place])
                energy = factor * square - sums[place]
                if energy < least:
                    least, best = energy, place
            if best == 0:
                continue
            n_changed += 1
            labels[z, y, x] = found[best]
            for n in range(len(offsets)):
                zz, yy, xx = z + offsets[n, 0], y + offsets[n, 1], x + offsets[n, 2]
                if 0 <= zz < depth and 0 <= yy < n_rows and 0 <= xx < length:
                    unsettled[zz, yy, xx] = 1
                    active[zz * n_rows + yy, xx % 2] = 1
    return n_changed
