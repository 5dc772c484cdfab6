"""Local search that leaves the local optima of Lloyd's algorithm, for small sets of points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from napari_kmeans.clustering.lloyd import lloyd
from napari_kmeans.execution.progress import Step, ignore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.clustering.assignment import GroupedPoints
    from napari_kmeans.clustering.lloyd import Fit


_SWAPS_PER_CLUSTER = 10
"""Swaps tried for each cluster. More of them lower the cost by less than 0.1 %."""

_SWAP_WORK = 2**22
"""Distances to centers in all swaps together: some 30 ms on one core. Without this limit the
search for 256 clusters would take seconds."""

_SWAPS_PER_CALL = 20
"""A compiled call cannot be canceled: a few milliseconds for each."""

_MAX_ROUNDS = 20
"""Rounds of single moves. They end by themselves after 3 to 10 rounds in photographs."""

_GAIN = 1e-9
"""Relative gain below which a change is taken for rounding: otherwise points could move in
circles."""


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

    Lloyd's algorithm stops at the first local optimum. Two searches go on from there:

    - *Swaps*: a point drawn with probability proportional to its cost becomes a
      center, the center whose loss costs least is dropped, an iteration of Lloyd and
      a round of single moves follow, and the result is kept if it costs less
      [1]_ [2]_.
    - *Single moves*: a point moves to another cluster if the cost falls once both
      means have followed, which Lloyd's algorithm does not see [3]_. With few points
      per cluster this lowers the cost by 5 to 10 %.

    Parameters
    ----------
    data : GroupedPoints
        A few thousand points (n, F).
    fit : Fit
        Of these points, with K centers.
    max_iter, tol
        For the last run of `lloyd`.
    rng : numpy.random.Generator
    step : callable
        Called with 0 every few milliseconds; raising from it ends the work.

    Returns
    -------
    Fit
        As many centers at a cost that is not higher; at rest under Lloyd's algorithm.

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
    centers, labels = fit.centers.copy(), fit.labels.copy()
    n_swaps = min(_SWAPS_PER_CLUSTER * n_clusters, _SWAP_WORK // (n_points * n_clusters))
    for draws in np.split(rng.random(n_swaps), range(_SWAPS_PER_CALL, n_swaps, _SWAPS_PER_CALL)):
        step(0)
        _try_swaps(columns, data.weights, centers, draws, _GAIN)
    _find_two(columns, data.weights, centers, labels, *np.empty((2, n_points)))
    _move_points(columns, data.weights, centers, labels, _MAX_ROUNDS, _GAIN)
    better = lloyd(data, centers, max_iter=max_iter, tol=tol, step=step)
    return better if better.inertia < fit.inertia else fit


# The kernels below loop over numbers: expressions of whole arrays take seconds to compile.


@njit(cache=True, nogil=True)
def _try_swaps(
    columns: NDArray[Any],
    weights: NDArray[Any],
    centers: NDArray[Any],
    draws: NDArray[Any],
    gain: float,
) -> None:
    """Try a swap for each of the uniform numbers `draws`; change `centers` (K, F) in place.

    `columns` (F, n) are the points.
    """
    n_features, n_points = columns.shape
    n_clusters = centers.shape[0]
    labels, new_labels = np.empty(n_points, np.int32), np.empty(n_points, np.int32)
    # Squared distances to the nearest and to the second nearest center.
    first, second = np.empty(n_points), np.empty(n_points)
    new_first, new_second = np.empty(n_points), np.empty(n_points)
    losses = np.empty(n_clusters)
    trial = np.empty((n_clusters, n_features))
    cost = _find_two(columns, weights, centers, labels, first, second)
    for draw in draws:
        if cost <= 0:
            return
        # The first point at which the running sum of costs is above the draw.
        chosen, left = 0, draw * cost
        for i in range(n_points):
            left -= weights[i] * first[i]
            if left >= 0:
                chosen = min(i + 1, n_points - 1)
        for k in range(n_clusters):
            losses[k] = 0.0
        for i in range(n_points):
            distance = 0.0
            for j in range(n_features):
                distance += (columns[j, i] - columns[j, chosen]) ** 2
            # A point that is nearer to the new center does not need its own any more.
            if distance >= first[i]:
                losses[labels[i]] += weights[i] * (min(second[i], distance) - first[i])
        dropped = 0
        for k in range(n_clusters):
            dropped = k if losses[k] < losses[dropped] else dropped
        for k in range(n_clusters):
            for j in range(n_features):
                trial[k, j] = columns[j, chosen] if k == dropped else centers[k, j]
        # An iteration of Lloyd's algorithm, then single moves.
        _find_two(columns, weights, trial, new_labels, new_first, new_second)
        _move_points(columns, weights, trial, new_labels, 0, gain)
        _find_two(columns, weights, trial, new_labels, new_first, new_second)
        _move_points(columns, weights, trial, new_labels, 1, gain)
        new_cost = _find_two(columns, weights, trial, new_labels, new_first, new_second)
        if new_cost < cost * (1 - gain):
            cost = new_cost
            for k in range(n_clusters):
                for j in range(n_features):
                    centers[k, j] = trial[k, j]
            labels, new_labels = new_labels, labels
            first, new_first = new_first, first
            second, new_second = new_second, second


@njit(cache=True, nogil=True)
def _find_two(
    columns: NDArray[Any],
    weights: NDArray[Any],
    centers: NDArray[Any],
    labels: NDArray[Any],
    first: NDArray[Any],
    second: NDArray[Any],
) -> Any:
    """Write each point's nearest center and the squared distances to the nearest two.

    Returns the cost.
    """
    n_features, n_points = columns.shape
    squares = np.empty(n_points)
    # Loops over all points innermost, which a compiler can vectorize.
    for k in range(centers.shape[0]):
        for i in range(n_points):
            squares[i] = 0.0
        for j in range(n_features):
            center = centers[k, j]
            for i in range(n_points):
                squares[i] += (columns[j, i] - center) * (columns[j, i] - center)
        for i in range(n_points):
            square = squares[i]
            least = first[i] if k > 0 else np.inf
            next_least = second[i] if k > 0 else np.inf
            nearer = square < least
            second[i] = least if nearer else min(next_least, square)
            first[i] = square if nearer else least
            labels[i] = k if nearer else labels[i]
    cost = 0.0
    for i in range(n_points):
        cost += weights[i] * first[i]
    return cost


@njit(cache=True, nogil=True)
def _move_points(
    columns: NDArray[Any],
    weights: NDArray[Any],
    centers: NDArray[Any],
    labels: NDArray[Any],
    max_rounds: int,
    gain: float,
) -> None:
    """Move centers to the means of their points, and single points while the cost falls.

    Changes `centers` and `labels` in place. Taking a point of weight w from a cluster of
    weight W at squared distance d saves w d W / (W - w); giving it to another one costs
    w d W / (W + w).
    """
    n_clusters, n_features = centers.shape
    n_points = columns.shape[1]
    counts = np.empty(n_clusters, np.int64)
    totals, sums = np.empty(n_clusters), np.empty((n_clusters, n_features))
    for done in range(max_rounds + 1):
        # Summed anew in each round: what is added and subtracted leaves rounding errors.
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
        if done == max_rounds:
            return
        moved = False
        for i in range(n_points):
            old, weight = labels[i], weights[i]
            if counts[old] == 1 or weight >= totals[old]:
                continue
            saved = 0.0
            for j in range(n_features):
                saved += (columns[j, i] - centers[old, j]) ** 2
            least = saved * totals[old] / (totals[old] - weight) * (1 - gain)
            best = old
            for k in range(n_clusters):
                added = 0.0
                for j in range(n_features):
                    added += (columns[j, i] - centers[k, j]) ** 2
                added *= totals[k] / (totals[k] + weight)
                if added < least and k != old:
                    least, best = added, k
            if best == old:
                continue
            moved = True
            labels[i] = best
            counts[old] -= 1
            counts[best] += 1
            totals[old] -= weight
            totals[best] += weight
            for j in range(n_features):
                share = weight * columns[j, i]
                sums[old, j] -= share
                sums[best, j] += share
                centers[old, j] = sums[old, j] / totals[old]
                centers[best, j] = sums[best, j] / totals[best]
        if not moved:
            return
