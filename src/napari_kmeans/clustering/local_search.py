"""Improve fits to a few thousand points by local search beyond Lloyd's algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.clustering.lloyd import lloyd
from napari_kmeans.execution.compiling import compile_kernel
from napari_kmeans.execution.progress import Step, ignore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.clustering.assignment import GroupedPoints
    from napari_kmeans.clustering.lloyd import Fit


_SWAPS_PER_CLUSTER = 10
_SWAP_WORK = 5 * 2**20
_MIN_SWAPS = 80
"""Swaps that are tried: 10 per cluster, but at most so many that the points are visited 5 million
times, and at least 80. For 256 clusters and 5120 points these are 1024 swaps, about 150 ms on one
core. On 13 photographs, 20 swaps per cluster instead of 10 lower the cost by 0.05 % at K = 32 and
not at K = 8 and 16, in twice the time."""

_ITERATIONS_PER_SWAP = 2
"""Iterations of Lloyd's algorithm in a swap that can lower the cost. With a single one, more of the
good swaps are missed: the cost is 0.2 % higher at K = 64."""

_TOLERATED = 0.2
"""Largest increase of the cost by a swap before its iterations, relative to the mean cost of a
cluster. Most swaps increase it by more, and are given up before their iterations, which take 95 %
of the time of a swap. With 0.1, half as many swaps have iterations, and the cost is 0.2 % higher
at K = 256."""

_BALL_SIZE = 32
"""Consecutive points that are compared with the same centers. They are near each other, because
they are cells in the order of their division."""

_CALL_WORK = 2**20
"""Distances in one compiled call of swaps, which cannot be canceled: a few milliseconds."""

_MAX_ROUNDS = 20
"""Largest number of rounds of single moves. In photographs, no point moves after 3 to 10 rounds."""

_MOVE_WORK = 2**22
"""Distances in all rounds of single moves, about 10 ms. Later rounds move few points."""

_GAIN = 1e-9
"""Smallest relative gain of a change. Smaller gains can be rounding errors, and points could move
back and forth forever."""


def improve(
    data: GroupedPoints,
    fit: Fit,
    *,
    max_iter: int,
    tol: float,
    rng: np.random.Generator,
    step: Step = ignore,
) -> Fit:
    """Lower the cost of a fit by swapping centers and by moving single points.

    Lloyd's algorithm stops at the first local optimum. Two searches continue from there:

    - *Swaps* [1]_ [2]_: A point, drawn with probability proportional to its cost, becomes a
      center. The center whose removal costs least is dropped. Two iterations of Lloyd's
      algorithm follow, if they can make up for it. The result is kept if its cost is lower.
    - *Single moves* [3]_: A point moves to another cluster if this lowers the cost after both
      means have been updated. Lloyd's algorithm compares distances to the old means, and misses
      some of these moves. With few points per cluster, they lower the cost by 5 to 10 %.

    Parameters
    ----------
    data : GroupedPoints
        A few thousand points (n, F).
    fit : Fit
        A fit to these points with K centers.
    max_iter, tol
        Parameters of the final run of `lloyd`.
    rng : numpy.random.Generator
    step : callable
        Called with 0 every few milliseconds. An exception that it raises ends the search.

    Returns
    -------
    Fit
        K centers. The cost is not higher than before, and Lloyd's algorithm has converged.

    References
    ----------
    .. [1] S. Lattanzi, C. Sohler, "A better k-means++ algorithm via local search",
       ICML 2019.
    .. [2] L. Conradi, B. Feldkamp, H. Röglin, "FLS++: Noisy, greedy and fast local
       search for k-means", :arxiv:`2309.16384`.
    .. [3] J. A. Hartigan, M. A. Wong, "Algorithm AS 136: a k-means clustering
       algorithm", :doi:`10.2307/2346830`.
    """
    n_points, n_clusters = len(data.points), len(fit.centers)
    if n_clusters == 1 or fit.inertia <= 0:
        return fit
    columns = np.array(data.points.T, np.float64, order="C")
    centers = fit.centers.copy()
    n_swaps = _count_swaps(n_points, n_clusters)
    draws = rng.random(n_swaps)
    per_call = max(1, _CALL_WORK // (4 * n_points))
    for first in range(0, n_swaps, per_call):
        step(0)
        some = draws[first : first + per_call]
        _try_swaps(columns, data.weights, centers, some, _TOLERATED, _GAIN)
    max_rounds = min(_MAX_ROUNDS, 1 + _MOVE_WORK // (n_points * n_clusters))
    nearest, squares = np.zeros((2, n_points), np.int32), np.full((2, n_points), np.inf)
    _compare_centers(columns, n_points, centers, np.arange(n_clusters), nearest, squares)
    _move_points(columns, data.weights, centers, nearest[0], max_rounds, _GAIN)
    better = lloyd(data, centers, max_iter=max_iter, tol=tol, step=step)
    return better if better.inertia < fit.inertia else fit


def _count_swaps(n_points: int, n_clusters: int) -> int:
    """Return the number of swaps that `improve` tries."""
    return max(_MIN_SWAPS, min(_SWAPS_PER_CLUSTER * n_clusters, _SWAP_WORK // n_points))


# The kernels below loop over single numbers: array expressions take seconds to compile.


@compile_kernel
def _try_swaps(
    columns: NDArray[Any],
    weights: NDArray[Any],
    centers: NDArray[Any],
    draws: NDArray[Any],
    tolerated: float,
    gain: float,
) -> None:
    """Try one swap for each draw, and change `centers` (K, F) in place.

    `columns` (F, n) are the coordinates of the points, and `draws` are uniform random numbers
    from [0, 1). Costs are compared after all centers have moved to the means of their points. A
    swap changes few clusters: only centers that moved are compared with the points whose own
    two nearest centers did not move.
    """
    n_features, n_points = columns.shape
    n_clusters = centers.shape[0]
    all_clusters = np.arange(n_clusters)
    # Row 0 is the nearest center, row 1 the second nearest.
    nearest, squares = np.zeros((2, n_points), np.int32), np.full((2, n_points), np.inf)
    new_nearest, new_squares = np.zeros((2, n_points), np.int32), np.empty((2, n_points))
    trial = np.empty((n_clusters, n_features))
    sums, new_sums = np.zeros((n_clusters, n_features)), np.empty((n_clusters, n_features))
    totals, new_totals = np.zeros(n_clusters), np.empty(n_clusters)
    counts, new_counts = np.zeros(n_clusters, np.int64), np.empty(n_clusters, np.int64)
    losses, new_losses = np.empty(n_clusters), np.empty(n_clusters)
    distances, cumulative = np.empty(n_points), np.empty(n_points)
    gains, before = np.empty(n_clusters), np.empty(n_points, np.int32)
    moved, has_moved = np.empty(n_clusters, np.int64), np.zeros(n_clusters, np.bool_)
    # The points whose two nearest centers are searched among all centers.
    rows, packed = np.empty(n_points, np.int64), np.empty((n_features, n_points))
    packed_nearest, packed_squares = np.zeros((2, n_points), np.int32), np.empty((2, n_points))

    _compare_centers(columns, n_points, centers, all_clusters, nearest, squares)
    cost = 0.0
    for i in range(n_points):
        cost += weights[i] * squares[0, i]
        _add_to_cluster(columns, weights, i, nearest[0, i], 1, sums, totals, counts)
    best = cost - _find_gains(centers, sums, totals, counts, gains)
    is_new = True
    for draw in draws:
        if cost <= 0:
            return
        if is_new:
            total = 0.0
            for k in range(n_clusters):
                losses[k] = 0.0
            for i in range(n_points):
                total += weights[i] * squares[0, i]
                cumulative[i] = total
                losses[nearest[0, i]] += weights[i] * (squares[1, i] - squares[0, i])
            is_new = False
        index, stop = 0, n_points - 1
        while index < stop:
            middle = (index + stop) // 2
            if cumulative[middle] > draw * cumulative[n_points - 1]:
                stop = middle
            else:
                index = middle + 1
        for k in range(n_clusters):
            new_losses[k] = losses[k]
            new_totals[k], new_counts[k] = totals[k], counts[k]
            for j in range(n_features):
                new_sums[k, j], trial[k, j] = sums[k, j], centers[k, j]
        for i in range(n_points):
            distances[i] = 0.0
        for j in range(n_features):
            column, center = columns[j], columns[j, index]
            for i in range(n_points):
                distances[i] += (column[i] - center) * (column[i] - center)
        # Drop the center whose loss costs least. A point that is nearer to the new center than to
        # its own has no loss.
        for i in range(n_points):
            if distances[i] < squares[1, i]:
                spared = squares[1, i] - max(distances[i], squares[0, i])
                new_losses[nearest[0, i]] -= weights[i] * spared
        dropped = 0
        for k in range(n_clusters):
            dropped = k if new_losses[k] < new_losses[dropped] else dropped
        for j in range(n_features):
            trial[dropped, j] = columns[j, index]
        new_cost = cost
        for i in range(n_points):
            old = nearest[0, i]
            if old != dropped and distances[i] >= squares[0, i]:
                continue
            label, square = dropped, distances[i]
            if old == dropped and squares[1, i] < square:
                label, square = nearest[1, i], squares[1, i]
            new_cost += weights[i] * (square - squares[0, i])
            if label != old:
                _add_to_cluster(columns, weights, i, old, -1, new_sums, new_totals, new_counts)
                _add_to_cluster(columns, weights, i, label, 1, new_sums, new_totals, new_counts)
        new_best = new_cost - _find_gains(trial, new_sums, new_totals, new_counts, gains)
        if new_best > best * (1 + tolerated / n_clusters):
            continue
        for i in range(n_points):
            a, b = nearest[0, i], nearest[1, i]
            first, second = squares[0, i], squares[1, i]
            # A second nearest center of -1 is not known.
            if a == dropped:
                if distances[i] <= second:
                    first = distances[i]
                else:
                    a, b = b, -1
            elif distances[i] < first:
                a, b = dropped, a
                first, second = distances[i], first
            elif distances[i] <= second:
                b, second = dropped, distances[i]
            elif b == dropped:
                b = -1
            new_nearest[0, i], new_nearest[1, i] = a, b
            new_squares[0, i], new_squares[1, i] = first, second
        for _ in range(_ITERATIONS_PER_SWAP):
            n_moved = 0
            for k in range(n_clusters):
                has_moved[k] = gains[k] > gain * best
                if has_moved[k]:
                    moved[n_moved] = k
                    n_moved += 1
                    for j in range(n_features):
                        trial[k, j] = new_sums[k, j] / new_totals[k]
            n_rows = 0
            for i in range(n_points):
                before[i] = new_nearest[0, i]
                b = new_nearest[1, i]
                if b < 0 or has_moved[before[i]] or has_moved[b]:
                    rows[n_rows] = i
                    for j in range(n_features):
                        packed[j, n_rows] = columns[j, i]
                    packed_squares[0, n_rows] = packed_squares[1, n_rows] = np.inf
                    n_rows += 1
            # All points are compared with the moved centers. The results of the packed points are
            # then replaced.
            _compare_centers(columns, n_points, trial, moved[:n_moved], new_nearest, new_squares)
            _compare_centers(packed, n_rows, trial, all_clusters, packed_nearest, packed_squares)
            for row in range(n_rows):
                i = rows[row]
                for near in range(2):
                    new_nearest[near, i] = packed_nearest[near, row]
                    new_squares[near, i] = packed_squares[near, row]
            new_cost = 0.0
            for i in range(n_points):
                new_cost += weights[i] * new_squares[0, i]
                old, label = before[i], new_nearest[0, i]
                if label != old:
                    _add_to_cluster(columns, weights, i, old, -1, new_sums, new_totals, new_counts)
                    _add_to_cluster(columns, weights, i, label, 1, new_sums, new_totals, new_counts)
            new_best = new_cost - _find_gains(trial, new_sums, new_totals, new_counts, gains)
        if new_best < best * (1 - gain):
            best, cost, is_new = new_best, new_cost, True
            for k in range(n_clusters):
                totals[k], counts[k] = new_totals[k], new_counts[k]
                for j in range(n_features):
                    sums[k, j], centers[k, j] = new_sums[k, j], trial[k, j]
            nearest, new_nearest = new_nearest, nearest
            squares, new_squares = new_squares, squares


@compile_kernel
def _compare_centers(
    columns: NDArray[Any],
    n_points: int,
    centers: NDArray[Any],
    compared: NDArray[Any],
    nearest: NDArray[Any],
    squares: NDArray[Any],
) -> None:
    """Compare the two nearest centers of the first points with other centers.

    `compared` are the indices of these centers. `nearest` (2, n) are the indices of the two
    nearest centers and `squares` (2, n) the squared distances, infinite at first. Both are
    changed in place. Consecutive points that are near each other form a ball. Most centers are
    too far from a ball to be compared with its points.
    """
    n_features, n_compared = columns.shape[0], compared.shape[0]
    mean, reaches = np.empty(n_features), np.empty(n_compared)
    ball, distances = np.zeros((n_features, _BALL_SIZE)), np.empty(_BALL_SIZE)
    for start in range(0, n_points, _BALL_SIZE):
        n = min(_BALL_SIZE, n_points - start)
        for i in range(_BALL_SIZE):
            distances[i] = 0.0
        for j in range(n_features):
            total = 0.0
            for i in range(n):
                ball[j, i] = columns[j, start + i]
                total += ball[j, i]
            mean[j] = total / n
            column = ball[j]
            for i in range(_BALL_SIZE):
                distances[i] += (column[i] - mean[j]) * (column[i] - mean[j])
        radius, limit = 0.0, 0.0
        for i in range(n):
            radius, limit = max(radius, distances[i]), max(limit, squares[1, start + i])
        radius, limit = np.sqrt(radius), np.sqrt(limit)
        # The second nearest of the compared centers bounds all second nearest distances.
        reach, second_reach = np.inf, np.inf
        for c in range(n_compared):
            square, k = 0.0, compared[c]
            for j in range(n_features):
                square += (centers[k, j] - mean[j]) * (centers[k, j] - mean[j])
            reaches[c] = square
            second_reach = min(second_reach, max(reach, square))
            reach = min(reach, square)
        limit = min(limit, np.sqrt(second_reach) + radius) * (1 + 1e-9) + radius
        limit *= limit
        for c in range(n_compared):
            if reaches[c] > limit:
                continue
            k = compared[c]
            column, center = ball[0], centers[k, 0]
            # The number of points is fixed here, so that the compiler can vectorize the loop.
            for i in range(_BALL_SIZE):
                distances[i] = (column[i] - center) * (column[i] - center)
            for j in range(1, n_features):
                column, center = ball[j], centers[k, j]
                for i in range(_BALL_SIZE):
                    distances[i] += (column[i] - center) * (column[i] - center)
            for i in range(n):
                square, at = distances[i], start + i
                if square < squares[1, at]:
                    if square < squares[0, at]:
                        squares[1, at], nearest[1, at] = squares[0, at], nearest[0, at]
                        squares[0, at], nearest[0, at] = square, k
                    else:
                        squares[1, at], nearest[1, at] = square, k


@compile_kernel
def _add_to_cluster(
    columns: NDArray[Any],
    weights: NDArray[Any],
    i: int,
    label: int,
    sign: int,
    sums: NDArray[Any],
    totals: NDArray[Any],
    counts: NDArray[Any],
) -> None:
    """Add point i to the sums, the weight and the count of a cluster, or subtract it."""
    weight = sign * weights[i]
    counts[label] += sign
    totals[label] += weight
    for j in range(columns.shape[0]):
        sums[label, j] += weight * columns[j, i]


@compile_kernel
def _find_gains(
    centers: NDArray[Any],
    sums: NDArray[Any],
    totals: NDArray[Any],
    counts: NDArray[Any],
    gains: NDArray[Any],
) -> Any:
    """Write by how much the cost falls if each center moves to the mean of its points.

    Returns the sum.
    """
    total = 0.0
    for k in range(centers.shape[0]):
        gains[k] = 0.0
        if counts[k] > 0 and totals[k] > 0:
            for j in range(centers.shape[1]):
                gains[k] += totals[k] * (sums[k, j] / totals[k] - centers[k, j]) ** 2
        total += gains[k]
    return total


@compile_kernel
def _move_points(
    columns: NDArray[Any],
    weights: NDArray[Any],
    centers: NDArray[Any],
    labels: NDArray[Any],
    max_rounds: int,
    gain: float,
) -> None:
    """Move centers to the means of their points, and move single points while the cost falls.

    Changes `centers` and `labels` in place. Let w be the weight of a point, W the weight of a
    cluster, and d the squared distance of the point from the mean of the cluster. Removing the
    point from its cluster saves w d W / (W - w). Adding the point to a cluster costs
    w d W / (W + w). The factor w is common to both and is left out.
    """
    n_clusters, n_features = centers.shape
    n_points = columns.shape[1]
    counts = np.empty(n_clusters, np.int64)
    totals, sums = np.empty(n_clusters), np.empty((n_clusters, n_features))
    for n_rounds in range(max_rounds + 1):
        # Compute the sums again in each round: adding and subtracting points leaves rounding
        # errors.
        for k in range(n_clusters):
            counts[k] = 0
            totals[k] = 0.0
            for j in range(n_features):
                sums[k, j] = 0.0
        for i in range(n_points):
            k = labels[i]
            counts[k] += 1
            totals[k] += weights[i]
            for j in range(n_features):
                sums[k, j] += weights[i] * columns[j, i]
        for k in range(n_clusters):
            for j in range(n_features):
                if counts[k] > 0:
                    centers[k, j] = sums[k, j] / totals[k]
        if n_rounds == max_rounds:
            return
        moved = False
        for i in range(n_points):
            old, weight = labels[i], weights[i]
            if counts[old] == 1 or weight >= totals[old]:
                continue
            saved = 0.0
            for j in range(n_features):
                saved += (columns[j, i] - centers[old, j]) ** 2
            min_cost = saved * totals[old] / (totals[old] - weight) * (1 - gain)
            new = old
            for k in range(n_clusters):
                added = 0.0
                for j in range(n_features):
                    added += (columns[j, i] - centers[k, j]) ** 2
                added *= totals[k] / (totals[k] + weight)
                if added < min_cost and k != old:
                    min_cost, new = added, k
            if new == old:
                continue
            moved = True
            labels[i] = new
            counts[old] -= 1
            counts[new] += 1
            totals[old] -= weight
            totals[new] += weight
            for j in range(n_features):
                share = weight * columns[j, i]
                sums[old, j] -= share
                sums[new, j] += share
                centers[old, j] = sums[old, j] / totals[old]
                centers[new, j] = sums[new, j] / totals[new]
        if not moved:
            return
