"""Group points in cells of small spread. The means of the cells are a coreset."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.clustering.assignment import GroupedPoints
from napari_kmeans.execution.compiling import compile_kernel, inner_kernel
from napari_kmeans.execution.threads import map_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

MAX_POINTS = 2**18
"""Points above which callers draw a sample first. Grouping 262,144 points into 4000 cells takes
about 60 ms."""

_ROUND = 0.7
"""In each round of divisions, the share of the largest spread above which cells are divided."""

_SAMPLED = 16
_LEAST_SAMPLED = 100
_SAMPLED_SHARE = 0.9
"""Every 16th of the first cells is divided to guess the least spread of a cell that is divided, if
these are at least 100 cells. A little less than this spread is the limit of the first round: most
points are then divided in a single round."""

_N_PARTS = 16
"""The points are divided in so many parts, on threads, if a limit was guessed."""


def group_in_cells(
    points: NDArray[Any],
    weights: Floats,
    n_cells: int,
    first_starts: NDArray[np.int64] | None = None,
) -> tuple[GroupedPoints, NDArray[np.int64]]:
    """Divide points into cells: repeatedly divide the cell that spreads most along one axis.

    Parameters
    ----------
    points : (n, F) array
        Finite, n ≥ 1. The array is copied.
    weights : (n,) float64 array
        Positive.
    n_cells : int
        Largest number of cells. With fewer distinct points there are fewer cells, and the
        points of each cell are equal.
    first_starts : (G + 1,) int64 array, optional
        Cells that are there already, at most `n_cells`: cell g is points ``first_starts[g]`` to
        ``first_starts[g + 1]``. By default, all points are one cell. Starting from the cells of
        a histogram leaves one or two divisions of each point, instead of a dozen.

    Returns
    -------
    data : GroupedPoints
        The points in a new order. Each group is a cell. The `means` and `totals` of the
        groups are a coreset. For any centers, let A be their cost on the coreset, C their
        cost on the points, and S the sum of `scatters`. Then

            √A - √S ≤ √C ≤ √(A + S)

    order : (n,) int64 array
        Indices of the points in the new order: ``data.points`` is equal to ``points[order]``.

    Notes
    -----
    A cell is divided at its mean, along the axis with the largest weighted sum of squared
    deviations [1]_. All points contribute to the means of cells. A sample, in contrast, ignores
    the points that it does not draw: with 18 coreset points per cluster in 64 dimensions, centers
    that are fitted to a sample cost several percent more. The constant S is from [2]_.

    References
    ----------
    .. [1] S. J. Wan, S. K. M. Wong, P. Prusinkiewicz, "An algorithm for
       multidimensional data clustering", :doi:`10.1145/45054.45056`.
    .. [2] D. Feldman, M. Schmidt, C. Sohler, "Turning big data into tiny data:
       constant-size coresets for k-means, PCA, and projective clustering",
       :arxiv:`1807.04518`.
    """
    points = np.array(points, dtype=np.float64, order="C")
    weights = np.array(weights, dtype=np.float64)
    order = np.arange(len(points))
    if first_starts is None:
        first_starts = np.array([0, len(points)])
    n_cells = max(min(n_cells, len(points)), len(first_starts) - 1)
    limit = _guess_limit(points, weights, first_starts, n_cells)
    starts, _ = _divide_cells(points, weights, order, first_starts, n_cells, limit)
    return GroupedPoints(points, weights, np.append(np.sort(starts), len(points))), order


def _guess_limit(
    points: Floats, weights: Floats, first_starts: NDArray[np.int64], n_cells: int
) -> float:
    """Return about the least spread of the cells that are divided, from a sample of the first."""
    sampled, n_sampled = slice(None, None, _SAMPLED), n_cells // _SAMPLED
    sizes = np.diff(first_starts)[sampled]
    if not _LEAST_SAMPLED <= len(sizes) < n_sampled:
        return np.inf
    stops = np.append(0, np.cumsum(sizes))
    rows = np.arange(stops[-1]) + np.repeat(first_starts[:-1][sampled] - stops[:-1], sizes)
    spreads = _divide_cells(points[rows], weights[rows], rows, stops, n_sampled, np.inf)[1]
    return _SAMPLED_SHARE * float(spreads.min())


def _divide_cells(
    points: Floats,
    weights: Floats,
    order: NDArray[np.int64],
    first_starts: NDArray[np.int64],
    n_cells: int,
    limit: float,
) -> tuple[NDArray[np.int64], Floats]:
    """Reorder points in place, and return the starts of the cells and the spreads before them.

    The spread is that of the divided cell; infinite for the first cells.
    """
    starts, spreads = first_starts[:-1], np.full(len(first_starts) - 1, np.inf)
    if np.isfinite(limit):
        starts, spreads = _divide_in_parts(points, weights, order, first_starts, n_cells, limit)
    n_made = len(starts)
    if n_made < n_cells:
        by_place = np.argsort(starts)
        cell_starts = np.append(starts[by_place], len(points))
        # The kernel makes a few cells too many.
        starts, spreads = np.zeros(2 * n_cells, np.int64), spreads[by_place]
        spreads = np.append(spreads, np.zeros(2 * n_cells - n_made))
        starts[:n_made] = cell_starts[:-1]
        n_made = _divide_points(
            points, weights, order, cell_starts, n_cells, np.inf, 0.0, starts, spreads
        )
        starts, spreads = starts[:n_made], spreads[:n_made]
    if n_made <= n_cells:
        return starts, spreads
    # Of equal spreads, the divisions that were made first are kept.
    lowest = np.partition(spreads, -n_cells)[-n_cells]
    is_kept = spreads > lowest
    is_kept[np.flatnonzero(spreads == lowest)[: n_cells - np.count_nonzero(is_kept)]] = True
    return starts[is_kept], spreads[is_kept]


def _divide_in_parts(
    points: Floats,
    weights: Floats,
    order: NDArray[np.int64],
    first_starts: NDArray[np.int64],
    n_cells: int,
    limit: float,
) -> tuple[NDArray[np.int64], Floats]:
    """Divide all cells whose spread is above a limit, on threads; see `_divide_cells`.

    There may be fewer or more cells than wanted.
    """
    # The number of parts is fixed, so that it does not depend on the number of threads.
    places = np.linspace(0, len(points), _N_PARTS + 1)
    bounds = np.unique(np.searchsorted(first_starts, places)).tolist()

    def divide(part: tuple[int, int]) -> tuple[NDArray[np.int64], Floats]:
        own_starts = first_starts[part[0] : part[1] + 1]
        rows = slice(own_starts[0], own_starts[-1])
        own_starts = own_starts - own_starts[0]
        # All cells that are made may be in one part. Memory that is not written costs nothing.
        n_first, n_most = len(own_starts) - 1, len(own_starts) - 1 + 2 * n_cells
        starts, spreads = np.empty(n_most, np.int64), np.empty(n_most)
        starts[:n_first], spreads[:n_first] = own_starts[:-1], np.inf
        n_made = _divide_points(
            points[rows],
            weights[rows],
            order[rows],
            own_starts,
            n_most,
            limit,
            limit,
            starts,
            spreads,
        )
        return starts[:n_made] + rows.start, spreads[:n_made].copy()

    parts = map_threads(divide, list(pairwise(bounds)))
    starts, spreads = map(np.concatenate, zip(*parts, strict=True))
    return starts, spreads


@compile_kernel
def _divide_points(
    points: NDArray[Any],
    weights: NDArray[Any],
    order: NDArray[Any],
    first_starts: NDArray[Any],
    n_wanted: int,
    limit: float,
    least: float,
    starts: NDArray[Any],
    spreads_before: NDArray[Any],
) -> Any:
    """Reorder the points in place, write the starts of the cells, and return their number.

    In each round, all cells are divided whose spread is above a limit. The limit is lowered from
    round to round, until there are enough cells. A queue, with the cell of the largest spread in
    front, would jump from place to place in memory: with a million points, it takes two to three
    times as long.

    Parameters
    ----------
    n_wanted : int
        The number of cells that is enough.
    limit : float
        The limit of the first round. It is lowered if it is above all spreads.
    least : float
        The least limit: cells of this spread and below stay as they are.
    starts : (m,) array
        Contains the starts of the first cells, and receives those of all cells, m at most.
    spreads_before : (m,) array
        Receives the spread of the cell from which each cell was divided. No spread is larger than
        that of an earlier division of the same points.
    """
    n_max = len(starts)
    stops, axes = np.empty(n_max, np.int64), np.empty(n_max, np.int64)
    spreads, means = np.empty(n_max), np.empty(n_max)
    # A literal 0 would be a type of its own, for which numba compiles a function again.
    n_cells = np.int64(len(first_starts) - 1)
    for cell in range(n_cells):
        stops[cell] = first_starts[cell + 1]
        _measure_cell(points, weights, starts, stops, cell, np.inf, spreads, axes, means)
    while n_cells < n_wanted:
        largest = 0.0
        for cell in range(n_cells):
            largest = max(largest, spreads[cell])
        if largest <= least:
            break
        # Below the largest spread, also where that is infinite or the smallest of all numbers.
        limit = max(min(limit, _ROUND * largest, np.nextafter(largest, 0.0)), least)
        cell = 0
        while cell < n_cells < n_max:
            if spreads[cell] <= limit:
                cell += 1
                continue
            start, stop, spread = starts[cell], stops[cell], spreads[cell]
            axis, mean = axes[cell], means[cell]
            middle = _divide_cell(points, weights, order, start, stop, axis, mean)
            if middle == stop:
                # The mean of two neighboring floats can be rounded to the larger one. Then no
                # point is above the mean: divide just below the mean.
                lower_cut = np.nextafter(mean, -np.inf)
                middle = _divide_cell(points, weights, order, start, stop, axis, lower_cut)
            if middle in (start, stop):
                # The spread was only rounding error, or squares that underflow: never divide the
                # cell again.
                spreads[cell] = 0.0
                continue
            stops[cell], starts[n_cells], stops[n_cells] = middle, middle, stop
            spreads_before[n_cells] = spread
            _measure_cell(points, weights, starts, stops, cell, spread, spreads, axes, means)
            _measure_cell(points, weights, starts, stops, n_cells, spread, spreads, axes, means)
            n_cells += 1
    return n_cells


@inner_kernel
def _measure_cell(
    points: NDArray[Any],
    weights: NDArray[Any],
    starts: NDArray[Any],
    stops: NDArray[Any],
    cell: int,
    limit: float,
    spreads: NDArray[Any],
    axes: NDArray[Any],
    means: NDArray[Any],
) -> None:
    """Write the spread of a cell, the axis of this spread, and the mean along the axis.

    The spread is the largest weighted sum of squared deviations along an axis. `limit` is the
    spread of the cell of which this one is a part, which is not exceeded by rounding.
    """
    own, shares = points[starts[cell] : stops[cell]], weights[starts[cell] : stops[cell]]
    spreads[cell], axes[cell], means[cell] = 0.0, 0, own[0, 0]
    total = 0.0
    for i in range(own.shape[0]):
        total += shares[i]
    # One axis at a time: its sums stay in registers.
    for axis in range(own.shape[1]):
        # Subtract a point of the cell first, so that the spread of equal points is exactly 0.
        origin = own[0, axis]
        added = squares = 0.0
        for i in range(own.shape[0]):
            share = shares[i] * (own[i, axis] - origin)
            added += share
            squares += share * (own[i, axis] - origin)
        spread = min(squares - added * added / total, limit)
        if spread > spreads[cell]:
            spreads[cell], axes[cell], means[cell] = spread, axis, origin + added / total


@inner_kernel
def _divide_cell(
    points: NDArray[Any],
    weights: NDArray[Any],
    order: NDArray[Any],
    start: int,
    stop: int,
    axis: int,
    cut: float,
) -> int:
    """Move the points at or below the cut to the front, and return the start of the others."""
    i = start
    while i < stop:
        if points[i, axis] <= cut:
            i += 1
            continue
        stop -= 1
        weights[i], weights[stop] = weights[stop], weights[i]
        order[i], order[stop] = order[stop], order[i]
        for j in range(points.shape[1]):
            points[i, j], points[stop, j] = points[stop, j], points[i, j]
    return i
