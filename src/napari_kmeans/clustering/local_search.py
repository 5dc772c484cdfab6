"""Improve fits to a few thousand points by local search beyond Lloyd's algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.clustering.kernels import search_above
from napari_kmeans.clustering.lloyd import lloyd
from napari_kmeans.execution.compiling import compile_kernel, inline_kernel, inner_kernel
from napari_kmeans.execution.progress import Step, ignore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.clustering.assignment import GroupedPoints
    from napari_kmeans.clustering.lloyd import Fit
    from napari_kmeans.types import Floats


_SWAPS_PER_CLUSTER = 10
_SWAP_WORK = 5 * 2**20
_MIN_SWAPS = 80
"""Swaps that are tried: 10 per cluster, but at most so many that the points are visited 5 million
times, and at least 80. For 256 clusters and 5120 points these are 1024 swaps, about 150 ms on one
core. On 13 photographs, 20 swaps per cluster instead of 10 lower the cost by 0.05 % at K = 32 and
not at K = 8 and 16, in twice the time."""

_FEW_FEATURES = 4
_LEAST_SHARE = 1 / 4
"""Features up to which all these swaps are tried, and the share of them that is tried for four and
more times as many features, where a swap takes longer. On smooth random fields of 16 and 40
channels and on clouds of 10 to 40 features, with 8 and 32 clusters, a quarter of the swaps ends
within 0.2 % of the cost of all, below it as often as above."""

_ITERATIONS_PER_SWAP = 2
"""Iterations of Lloyd's algorithm in a swap that can lower the cost. With a single one, more of the
good swaps are missed: the cost is 0.2 % higher at K = 64."""

_TOLERATED = 0.2
"""Largest increase of the cost by a swap before its iterations, relative to the mean cost of a
cluster. Most swaps increase it by more, and are given up before their iterations, which take 95 %
of the time of a swap. With 0.1, half as many swaps have iterations, and the cost is 0.2 % higher
at K = 256."""

_MANY_LOST = 2
"""A ball is compared with all centers if more than one in so many of its points have lost one."""

_BALL_SIZE = 16
"""Consecutive points that are compared with the same centers. They are near each other, because
they are cells in the order of their division. With 32 points, a search takes as long with up to 32
clusters, and a tenth longer with 256."""

_CALL_WORK = 2**20
"""Coordinates that the swaps of one compiled call visit before their iterations. A call cannot be
canceled: it takes a few milliseconds, and up to 0.1 s with hundreds of clusters."""

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
    n_swaps = _count_swaps(n_points, data.points.shape[1], n_clusters)
    draws = rng.random(n_swaps)
    best = try_swaps(columns, data.weights, fit.centers, draws, _TOLERATED, _GAIN, step)
    max_rounds = min(_MAX_ROUNDS, 1 + _MOVE_WORK // (n_points * n_clusters))
    _move_points(columns, data.weights, best.centers, best.labels[0], max_rounds, _GAIN)
    better = lloyd(data, best.centers, max_iter=max_iter, tol=tol, step=step)
    return better if better.inertia < fit.inertia else fit


def _count_swaps(n_points: int, n_features: int, n_clusters: int) -> int:
    """Return the number of swaps that `improve` tries."""
    share = max(_LEAST_SHARE, min(1.0, _FEW_FEATURES / n_features))
    n_swaps = max(_MIN_SWAPS, min(_SWAPS_PER_CLUSTER * n_clusters, _SWAP_WORK // n_points))
    return int(share * n_swaps)


class Clusters(NamedTuple):
    """K centers, and what is known of n points (F, n) with weights (n,).

    Attributes
    ----------
    centers : (K, F) float64 array
    labels : (2, n) int32 array
        The index of the nearest center and of the second nearest, -1 if they are not known.
    squares : (2, n) float64 array
        The squared distances.
    sums, totals, counts : (K, F) float64, (K,) float64 and (K,) int64 arrays
        The weighted sum, the weight and the number of the points of each cluster.
    """

    centers: Floats
    labels: NDArray[np.int32]
    squares: Floats
    sums: Floats
    totals: Floats
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, centers: Floats, n_points: int) -> Clusters:
        """Return clusters whose points are not known yet. The centers are not copied."""
        n_clusters = len(centers)
        labels, squares = np.full((2, n_points), -1, np.int32), np.full((2, n_points), np.inf)
        totals, counts = np.zeros(n_clusters), np.zeros(n_clusters, np.int64)
        return cls(centers, labels, squares, np.zeros(centers.shape), totals, counts)


class SwapScratch(NamedTuple):
    """The working memory of a search. numba would compile each way to make an array.

    Attributes
    ----------
    balls : (B + 1, F + 1) float64 array
        The mean and the radius of each ball: `_BALL_SIZE` points that follow each other. The last
        row is that of a ball of packed points.
    all_points, packed : (n,) int64 arrays
        The indices of all points, and of points that are compared with all centers.
    is_lost : (size,) bool array
        Whether each point of a ball has lost one of its two nearest centers.
    gains : (K,) float64 array
        By how much the cost falls if each center moves to the mean of its points.
    has_moved, moved : (K,) bool and int64 arrays
        Whether each center has moved, and the indices of those that have.
    all_clusters : (K,) int64 array
        The indices of all centers.
    columns, moved_columns : (F, K) float64 arrays
        The coordinates of all centers, and of those that have moved.
    reaches : (K,) float64 array
        Squared distances of centers from the mean of a ball.
    points, labels, squares : (F + 1, size), (2, size) int64 and (2, size) float64 arrays
        Copies of the points of a ball, their squared distances from a center, and of their entries
        in `Clusters`.
    cumulative, distances : (n,) float64 arrays
        The cumulative sum of the costs of the points, and squared distances from a new center.
    losses, new_losses : (K,) float64 arrays
        What it costs to remove each center, without and with the new center.
    """

    balls: Floats
    all_points: NDArray[np.int64]
    packed: NDArray[np.int64]
    is_lost: NDArray[np.bool_]
    gains: Floats
    has_moved: NDArray[np.bool_]
    moved: NDArray[np.int64]
    all_clusters: NDArray[np.int64]
    columns: Floats
    moved_columns: Floats
    reaches: Floats
    points: Floats
    labels: NDArray[np.int64]
    squares: Floats
    cumulative: Floats
    distances: Floats
    losses: Floats
    new_losses: Floats

    @classmethod
    def of(cls, n_points: int, n_features: int, n_clusters: int) -> SwapScratch:
        """Return the working memory for n points (F, n) and K centers."""
        columns, moved_columns = np.empty((2, n_features, n_clusters))
        gains, reaches, losses, new_losses = np.zeros((4, n_clusters))
        cumulative, distances = np.empty((2, n_points))
        return cls(
            np.empty((-(-n_points // _BALL_SIZE) + 1, n_features + 1)),
            np.arange(n_points),
            # Each point is written before it is known whether it stays.
            np.empty(n_points + 1, np.int64),
            np.zeros(_BALL_SIZE, np.bool_),
            gains,
            np.zeros(n_clusters, np.bool_),
            np.empty(n_clusters, np.int64),
            np.arange(n_clusters),
            columns,
            moved_columns,
            reaches,
            np.zeros((n_features + 1, _BALL_SIZE)),
            np.zeros((2, _BALL_SIZE), np.int64),
            np.zeros((2, _BALL_SIZE)),
            cumulative,
            distances,
            losses,
            new_losses,
        )


def try_swaps(
    columns: Floats,
    weights: Floats,
    centers: Floats,
    draws: Floats,
    tolerated: float,
    gain: float,
    step: Step = ignore,
) -> Clusters:
    """Try one swap of the centers (K, F), K ≥ 2, for each draw, and return the best clusters.

    `columns` (F, n) are the coordinates of the points, and `draws` are uniform random numbers
    from [0, 1). Costs are compared after all centers have moved to the means of their points.
    """
    n_features, n_points = columns.shape
    best, trial = Clusters.of(centers.copy(), n_points), Clusters.of(centers.copy(), n_points)
    scratch, costs = SwapScratch.of(n_points, n_features, len(centers)), np.zeros(2)
    per_call = max(1, _CALL_WORK // ((n_features + 1) * n_points))
    for first in range(0, max(1, len(draws)), per_call):
        step(0)
        some = draws[first : first + per_call]
        _try_swaps(columns, weights, some, tolerated, gain, first == 0, best, trial, scratch, costs)
    return best


# The kernels below loop over single numbers: array expressions take seconds to compile. Short
# functions are inlined; numba would take longer to insert a long one than to compile it.


@compile_kernel
def _try_swaps(
    columns: NDArray[Any],
    weights: NDArray[Any],
    draws: NDArray[Any],
    tolerated: float,
    gain: float,
    is_new: bool,
    best: Clusters,
    trial: Clusters,
    scratch: SwapScratch,
    costs: NDArray[Any],
) -> None:
    """Try one swap for each draw: see `try_swaps`.

    If `is_new`, the centers of `best` and `trial` are equal, and nothing else is known of them.
    `costs` are the cost of `best`, and that after its centers have moved to the means.
    """
    centers, labels, squares = trial.centers, trial.labels, trial.squares
    sums, totals, counts = trial.sums, trial.totals, trial.counts
    balls, gains, has_moved, moved = scratch.balls, scratch.gains, scratch.has_moved, scratch.moved
    reaches, own, packed, is_lost = scratch.reaches, scratch.points, scratch.packed, scratch.is_lost
    own_labels, own_squares = scratch.labels, scratch.squares
    n_features, n_points = columns.shape
    n_clusters, n_balls = centers.shape[0], balls.shape[0] - 1
    distances, size = own[n_features], own.shape[1]
    # A literal 0 would be a type of its own, for which numba compiles a function again.
    is_better, n_tried, cost, cost_of_means = not is_new, np.int64(0), 0.0, 0.0
    while is_new or (costs[0] > 0 and n_tried < draws.shape[0]):
        if not is_new:
            limit = costs[1] * (1 + tolerated / n_clusters)
            n_tried, is_found = _find_swap(
                columns, weights, draws, n_tried, is_better, costs[0], limit, best, trial, scratch
            )
            if not is_found:
                break
        # Iterations of Lloyd's algorithm. After a swap, only few centers move. They are compared
        # with all points. Points that have lost one of their two nearest centers are compared with
        # all centers: together with their ball if these are most of its points, and in new balls
        # after all others if they are few.
        min_gain = max(gain * costs[1], 0.0)  # The cost can be a rounding error below 0.
        for _ in range(1 if is_new else _ITERATIONS_PER_SWAP):
            n_moved = 0
            for k in range(n_clusters):
                has_moved[k] = gains[k] > min_gain
                if has_moved[k]:
                    moved[n_moved] = k
                    n_moved += 1
                    for j in range(n_features):
                        centers[k, j] = sums[k, j] / totals[k]
            for j in range(n_features):
                for k in range(n_clusters):
                    scratch.columns[j, k] = centers[k, j]
                for c in range(n_moved):
                    scratch.moved_columns[j, c] = centers[moved[c], j]
            n_packed, n_places = 0, n_points
            for turn in range(2):
                places = packed if turn else scratch.all_points
                for start in range(0, n_places, size):
                    n, ball = min(size, n_places - start), n_balls if turn else start // size
                    n_lost, limit = 0, 0.0
                    for i in range(n):
                        place = places[start + i]
                        a, b = labels[0, place], labels[1, place]
                        is_lost[i] = (b < 0) | has_moved[a] | has_moved[b]
                        n_lost += is_lost[i]
                        square = 0.0 if is_lost[i] else squares[1, place]
                        limit = square if square > limit else limit
                    is_searched = turn == 1 or _MANY_LOST * n_lost > n
                    if is_new or turn == 1:
                        _measure_ball(columns, places, start, n, distances, balls, ball)
                    if not is_searched:
                        for i in range(n):
                            packed[n_packed] = places[start + i]
                            n_packed += is_lost[i]
                    compared = scratch.all_clusters if is_searched else moved
                    compared_columns = scratch.columns if is_searched else scratch.moved_columns
                    n_compared = n_clusters if is_searched else n_moved
                    for c in range(n_compared):
                        reaches[c] = 0.0
                    for j in range(n_features):
                        column, mean = compared_columns[j], balls[ball, j]
                        for c in range(n_compared):
                            reaches[c] += (column[c] - mean) * (column[c] - mean)
                    # Centers that are farther than this are not among the two nearest of any point.
                    radius, limit = balls[ball, n_features], np.sqrt(limit)
                    if is_searched:
                        # Two centers are always as near as the farther one of any two.
                        limit = np.inf
                        for i in range(n):
                            a, b = labels[0, places[start + i]], labels[1, places[start + i]]
                            if b >= 0:
                                farther = reaches[a] if reaches[a] > reaches[b] else reaches[b]
                                limit = farther if farther < limit else limit
                        limit = np.sqrt(limit) + radius
                    limit = (limit * (1 + 1e-9) + radius) ** 2
                    is_near = is_searched
                    for c in range(n_compared):
                        is_near |= reaches[c] <= limit
                    if not is_near:
                        continue
                    for j in range(n_features):
                        for i in range(n):
                            own[j, i] = columns[j, places[start + i]]
                    for rank in range(2):
                        for i in range(n):
                            place = places[start + i]
                            own_squares[rank, i] = np.inf if is_searched else squares[rank, place]
                            own_labels[rank, i] = labels[rank, place]
                    for c in range(n_compared):
                        if reaches[c] <= limit:
                            _compare_ball(own, own_labels, own_squares, centers, compared[c])
                    for i in range(n):
                        if is_lost[i] and not is_searched:
                            continue
                        place = places[start + i]
                        old, label = labels[0, place], own_labels[0, i]
                        if label != old:
                            _move_to_cluster(
                                columns, weights, place, old, label, sums, totals, counts
                            )
                        for rank in range(2):
                            squares[rank, place] = own_squares[rank, i]
                            labels[rank, place] = own_labels[rank, i]
                n_places = n_packed
            cost = 0.0
            for i in range(n_points):
                cost += weights[i] * squares[0, i]
            cost_of_means = cost - _find_gains(centers, sums, totals, counts, gains)
        is_better = is_new or cost_of_means < costs[1] * (1 - gain)
        if is_better:
            costs[0], costs[1] = cost, cost_of_means
            _copy_clusters(trial, best)
        is_new = False


@inline_kernel
def _compare_ball(points: Any, labels: Any, squares: Any, centers: Any, k: int) -> None:
    """Compare the two nearest centers of the points of a ball with center k: see `SwapScratch`."""
    # With a number that is known before, the compiler would unroll the loops, and not use vector
    # instructions.
    n_features, size = centers.shape[1], points.shape[1]
    distances = points[n_features]
    column, center = points[0], centers[k, 0]
    for i in range(size):
        distances[i] = (column[i] - center) * (column[i] - center)
    for j in range(1, n_features):
        column, center = points[j], centers[k, j]
        for i in range(size):
            distances[i] += (column[i] - center) * (column[i] - center)
    # Values are selected without a branch, so that the compiler can vectorize.
    for i in range(size):
        square, first, second = distances[i], squares[0, i], squares[1, i]
        a, b = labels[0, i], labels[1, i]
        is_lower, is_second = square < first, square < second
        squares[1, i] = first if is_lower else (square if is_second else second)
        labels[1, i] = a if is_lower else (k if is_second else b)
        squares[0, i] = square if is_lower else first
        labels[0, i] = k if is_lower else a


@inline_kernel
def _copy_clusters(source: Clusters, target: Clusters) -> None:
    """Copy centers, and what is known of the points."""
    for k in range(source.totals.shape[0]):
        target.totals[k], target.counts[k] = source.totals[k], source.counts[k]
        for j in range(source.sums.shape[1]):
            target.centers[k, j], target.sums[k, j] = source.centers[k, j], source.sums[k, j]
    for rank in range(2):
        for i in range(source.labels.shape[1]):
            target.labels[rank, i] = source.labels[rank, i]
            target.squares[rank, i] = source.squares[rank, i]


@inner_kernel
def _find_swap(
    columns: Any,
    weights: Any,
    draws: Any,
    first: int,
    is_changed: bool,
    cost: float,
    limit: float,
    clusters: Any,
    trial: Any,
    scratch: Any,
) -> Any:
    """Try swaps of drawn points until the cost of one is at most the limit before its iterations.

    Write the state after this swap to `trial`. Return the index of the next draw, and whether there
    is such a swap. If the clusters have changed, then the cumulative costs of the points and the
    loss of each center are computed first.
    """
    n_features, n_points = columns.shape
    centers, labels, squares = clusters.centers, clusters.labels, clusters.squares
    sums, totals, counts = clusters.sums, clusters.totals, clusters.counts
    new_centers, new_labels, new_squares = trial.centers, trial.labels, trial.squares
    new_sums, new_totals, new_counts = trial.sums, trial.totals, trial.counts
    cumulative, distances = scratch.cumulative, scratch.distances
    losses, new_losses = scratch.losses, scratch.new_losses
    n_clusters = totals.shape[0]
    if is_changed:
        total = 0.0
        for k in range(n_clusters):
            losses[k] = 0.0
        for i in range(n_points):
            total += weights[i] * squares[0, i]
            cumulative[i] = total
            losses[labels[0, i]] += weights[i] * (squares[1, i] - squares[0, i])
    is_found, place = False, first
    while not is_found and place < draws.shape[0]:
        index = search_above(cumulative, draws[place] * cumulative[n_points - 1])
        place += 1
        for k in range(n_clusters):
            new_losses[k], new_totals[k], new_counts[k] = losses[k], totals[k], counts[k]
            for j in range(n_features):
                new_sums[k, j], new_centers[k, j] = sums[k, j], centers[k, j]
        for i in range(n_points):
            distances[i] = 0.0
        for j in range(n_features):
            column, center = columns[j], columns[j, index]
            for i in range(n_points):
                distances[i] += (column[i] - center) * (column[i] - center)
        # Drop the center whose loss costs least. A point that is nearer to the new center than to
        # its own has no loss.
        for i in range(n_points):
            square, second = distances[i], squares[1, i]
            if square < second:
                spared = second - (squares[0, i] if squares[0, i] > square else square)
                new_losses[labels[0, i]] -= weights[i] * spared
        dropped = 0
        for k in range(n_clusters):
            dropped = k if new_losses[k] < new_losses[dropped] else dropped
        for j in range(n_features):
            new_centers[dropped, j] = columns[j, index]
        new_cost = cost
        for i in range(n_points):
            old = labels[0, i]
            if old != dropped and distances[i] >= squares[0, i]:
                continue
            label, square = dropped, distances[i]
            if old == dropped and squares[1, i] < square:
                label, square = labels[1, i], squares[1, i]
            new_cost += weights[i] * (square - squares[0, i])
            if label != old:
                _move_to_cluster(columns, weights, i, old, label, new_sums, new_totals, new_counts)
        gained = _find_gains(new_centers, new_sums, new_totals, new_counts, scratch.gains)
        is_found = new_cost - gained <= limit
        if not is_found:
            continue
        for i in range(n_points):
            a, b = labels[0, i], labels[1, i]
            first_square, second = squares[0, i], squares[1, i]
            # A second nearest center of -1 is not known.
            if a == dropped:
                if distances[i] <= second:
                    first_square = distances[i]
                else:
                    a, b = b, -1
            elif distances[i] < first_square:
                a, b = dropped, a
                first_square, second = distances[i], first_square
            elif distances[i] <= second:
                b, second = dropped, distances[i]
            elif b == dropped:
                b = -1
            new_labels[0, i], new_labels[1, i] = a, b
            new_squares[0, i], new_squares[1, i] = first_square, second
    return place, is_found


@inline_kernel
def _measure_ball(
    columns: Any, places: Any, start: int, n: int, distances: Any, balls: Any, ball: int
) -> None:
    """Write the mean and the radius of the points at some places."""
    n_features = columns.shape[0]
    for i in range(n):
        distances[i] = 0.0
    for j in range(n_features):
        total = 0.0
        for i in range(n):
            total += columns[j, places[start + i]]
        mean = balls[ball, j] = total / n
        for i in range(n):
            distance = columns[j, places[start + i]] - mean
            distances[i] += distance * distance
    largest = 0.0
    for i in range(n):
        largest = distances[i] if distances[i] > largest else largest
    balls[ball, n_features] = np.sqrt(largest)


@inline_kernel
def _move_to_cluster(
    columns: Any, weights: Any, i: int, old: int, new: int, sums: Any, totals: Any, counts: Any
) -> None:
    """Move point i from the sums of a cluster, unless that is -1, to those of another."""
    weight = weights[i]
    if old >= 0:
        counts[old] -= 1
        totals[old] -= weight
        for j in range(columns.shape[0]):
            sums[old, j] -= weight * columns[j, i]
    counts[new] += 1
    totals[new] += weight
    for j in range(columns.shape[0]):
        sums[new, j] += weight * columns[j, i]


@inline_kernel
def _find_gains(centers: Any, sums: Any, totals: Any, counts: Any, gains: Any) -> Any:
    """Write by how much the cost falls if each center moves to the mean of its points.

    Return the sum.
    """
    total = 0.0
    for k in range(centers.shape[0]):
        gains[k] = 0.0
        if counts[k] > 0 and totals[k] > 0:
            for j in range(centers.shape[1]):
                motion = sums[k, j] / totals[k] - centers[k, j]
                gains[k] += totals[k] * (motion * motion)
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
    center_columns = np.empty((n_features, n_clusters))
    squares, excesses = np.empty(n_clusters), np.empty(n_clusters)
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
                center_columns[j, k] = centers[k, j]
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
                squares[k] = 0.0
            for j in range(n_features):
                column, coordinate = center_columns[j], columns[j, i]
                for k in range(n_clusters):
                    squares[k] += (coordinate - column[k]) ** 2
            # Rule most clusters out without a division, in loops that the compiler can vectorize.
            limit = min_cost * (1 + 1e-9)
            for k in range(n_clusters):
                excesses[k] = squares[k] * totals[k] - limit * (totals[k] + weight)
            for k in range(n_clusters):
                if excesses[k] > 0 or k == old:
                    continue
                added = squares[k] * (totals[k] / (totals[k] + weight))
                if added < min_cost:
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
                centers[old, j] = center_columns[j, old] = sums[old, j] / totals[old]
                centers[new, j] = center_columns[j, new] = sums[new, j] / totals[new]
        if not moved:
            return
