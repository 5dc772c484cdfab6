"""Improve fits to a few thousand points by local search beyond Lloyd's algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.clustering.kernels import search_above
from napari_kmeans.clustering.lloyd import lloyd
from napari_kmeans.execution.compiling import compile_kernel, inline_kernel
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

_BALL_SIZE = 16
"""Consecutive points that are compared with the same centers. They are near each other, because
they are cells in the order of their division. With 32 points, a search takes as long with up to 32
clusters, and a tenth longer with 256."""

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
    n_swaps = _count_swaps(n_points, data.points.shape[1], n_clusters)
    draws = rng.random(n_swaps)
    labels = try_swaps(columns, data.weights, centers, draws, _TOLERATED, _GAIN, step)
    max_rounds = min(_MAX_ROUNDS, 1 + _MOVE_WORK // (n_points * n_clusters))
    _move_points(columns, data.weights, centers, labels, max_rounds, _GAIN)
    better = lloyd(data, centers, max_iter=max_iter, tol=tol, step=step)
    return better if better.inertia < fit.inertia else fit


def _count_swaps(n_points: int, n_features: int, n_clusters: int) -> int:
    """Return the number of swaps that `improve` tries."""
    share = max(_LEAST_SHARE, min(1.0, _FEW_FEATURES / n_features))
    n_swaps = max(_MIN_SWAPS, min(_SWAPS_PER_CLUSTER * n_clusters, _SWAP_WORK // n_points))
    return int(share * n_swaps)


class TwoNearest(NamedTuple):
    """The two nearest centers of each point.

    Attributes
    ----------
    labels : (2, n) int32 array
        The index of the nearest center and of the second nearest, -1 if they are not known.
    squares : (2, n) float64 array
        The squared distances.
    """

    labels: NDArray[np.int32]
    squares: Floats

    @classmethod
    def unknown(cls, n_points: int) -> TwoNearest:
        """Return the nearest centers before any comparison."""
        return cls(np.full((2, n_points), -1, np.int32), np.full((2, n_points), np.inf))


class ClusterSums(NamedTuple):
    """The weighted sum (K, F), the weight (K,) and the number (K,) of the points of clusters."""

    sums: Floats
    totals: Floats
    counts: NDArray[np.int64]

    @classmethod
    def zeros(cls, n_clusters: int, n_features: int) -> ClusterSums:
        """Return the sums of no points."""
        totals, counts = np.zeros(n_clusters), np.zeros(n_clusters, np.int64)
        return cls(np.zeros((n_clusters, n_features)), totals, counts)


class Iterations:
    """Iterations of Lloyd's algorithm for points (F, n) with weights (n,), and K centers.

    After a swap, only few centers move. They are compared with all points, and all centers with
    the balls of points of which one has lost one of its two nearest centers. A ball is a number of
    points that follow each other, and are near each other.

    Attributes
    ----------
    gains : (K,) float64 array
        By how much the cost falls if each center moves to the mean of its points.
    """

    def __init__(self, columns: Floats, weights: Floats, n_clusters: int) -> None:
        n_features, n_points = columns.shape
        self.gains = np.zeros(n_clusters)
        n_balls = -(-n_points // _BALL_SIZE)
        # The kernel works in these arrays: numba would compile each way to make an array.
        self._arguments = (
            columns,
            weights,
            self.gains,
            np.empty((n_balls, n_features + 1)),
            np.zeros(n_clusters, np.bool_),
            np.empty(n_clusters, np.int64),
            np.arange(n_clusters),
            *np.empty((2, n_features, n_clusters)),
            np.empty(n_clusters),
            np.zeros((n_features + 1, _BALL_SIZE)),
            np.zeros((2, _BALL_SIZE), np.int64),
            np.zeros((2, _BALL_SIZE)),
        )
        self._is_new = True

    def iterate(
        self,
        centers: Floats,
        nearest: TwoNearest,
        sums: ClusterSums,
        min_gain: float,
        n_iterations: int = 1,
    ) -> tuple[float, float]:
        """Move centers to the means of their points, and update all arguments, several times.

        Only centers move whose gain is above `min_gain`. If the nearest centers are not known, no
        center moves. Returns the cost, and the sum of the gains of the next motion.
        """
        result: tuple[float, float] = _iterate(
            *self._arguments, centers, *nearest, *sums, min_gain, self._is_new, n_iterations
        )
        self._is_new = False
        return result


def try_swaps(
    columns: Floats,
    weights: Floats,
    centers: Floats,
    draws: Floats,
    tolerated: float,
    gain: float,
    step: Step = ignore,
) -> NDArray[np.int32]:
    """Try one swap for each draw, change `centers` (K, F) in place, and return the labels (n,).

    `columns` (F, n) are the coordinates of the points, and `draws` are uniform random numbers
    from [0, 1). Costs are compared after all centers have moved to the means of their points.
    """
    # The two kernels are called from Python. The machine code of a kernel that calls others
    # contains these again, and took twice the time to compile.
    n_points, n_clusters = columns.shape[1], len(centers)
    iterations = Iterations(columns, weights, n_clusters)
    nearest, new_nearest = TwoNearest.unknown(n_points), TwoNearest.unknown(n_points)
    sums, new_sums = ClusterSums.zeros(*centers.shape), ClusterSums.zeros(*centers.shape)
    trial = centers.copy()
    cumulative, distances = np.empty((2, n_points))
    losses, new_losses = np.empty((2, n_clusters))
    cost, gained = iterations.iterate(trial, nearest, sums, 0.0)
    best, n_tried, is_new = cost - gained, 0, True
    per_call = max(1, _CALL_WORK // (4 * n_points))
    while cost > 0 and n_tried < len(draws):
        step(0)
        limit = best * (1 + tolerated / n_clusters)
        n_more, is_found = _find_swap(
            columns,
            weights,
            centers,
            draws[n_tried : n_tried + per_call],
            cumulative,
            losses,
            is_new,
            cost,
            limit,
            *nearest,
            *sums,
            new_losses,
            distances,
            *new_nearest,
            trial,
            *new_sums,
            iterations.gains,
        )
        n_tried, is_new = n_tried + n_more, False
        if not is_found:
            continue
        # In one call: threads wait for each other between the calls.
        new_cost, gained = iterations.iterate(
            trial, new_nearest, new_sums, gain * best, _ITERATIONS_PER_SWAP
        )
        if new_cost - gained < best * (1 - gain):
            best, cost, is_new = new_cost - gained, new_cost, True
            centers[:] = trial
            sums, new_sums = new_sums, sums
            nearest, new_nearest = new_nearest, nearest
    labels: NDArray[np.int32] = nearest.labels[0]
    return labels


# The kernels below loop over single numbers: array expressions take seconds to compile. Functions
# that are called at one place are inlined.


@compile_kernel
def _find_swap(
    columns: NDArray[Any],
    weights: NDArray[Any],
    centers: NDArray[Any],
    draws: NDArray[Any],
    cumulative: NDArray[Any],
    losses: NDArray[Any],
    is_new: bool,
    cost: float,
    limit: float,
    labels: NDArray[Any],
    squares: NDArray[Any],
    sums: NDArray[Any],
    totals: NDArray[Any],
    counts: NDArray[Any],
    new_losses: NDArray[Any],
    distances: NDArray[Any],
    new_labels: NDArray[Any],
    new_squares: NDArray[Any],
    trial: NDArray[Any],
    new_sums: NDArray[Any],
    new_totals: NDArray[Any],
    new_counts: NDArray[Any],
    gains: NDArray[Any],
) -> Any:
    """Try swaps of drawn points until the cost of one is at most the limit before its iterations.

    Write the state after this swap to the arrays from `distances` on. Return the number of points
    that were tried, and whether there is such a swap. If the centers are new, then the cumulative
    costs of the points and the loss of each center are computed first.
    """
    n_features, n_points = columns.shape
    n_clusters = centers.shape[0]
    if is_new:
        total = 0.0
        for k in range(n_clusters):
            losses[k] = 0.0
        for i in range(n_points):
            total += weights[i] * squares[0, i]
            cumulative[i] = total
            losses[labels[0, i]] += weights[i] * (squares[1, i] - squares[0, i])
    for place in range(draws.shape[0]):
        index = search_above(cumulative, draws[place] * cumulative[n_points - 1])
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
            square, second = distances[i], squares[1, i]
            if square < second:
                spared = second - (squares[0, i] if squares[0, i] > square else square)
                new_losses[labels[0, i]] -= weights[i] * spared
        dropped = 0
        for k in range(n_clusters):
            dropped = k if new_losses[k] < new_losses[dropped] else dropped
        for j in range(n_features):
            trial[dropped, j] = columns[j, index]
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
        gained = _find_gains(trial, new_sums, new_totals, new_counts, gains)
        if new_cost - gained > limit:
            continue
        for i in range(n_points):
            a, b = labels[0, i], labels[1, i]
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
            new_labels[0, i], new_labels[1, i] = a, b
            new_squares[0, i], new_squares[1, i] = first, second
        return place + 1, True
    return draws.shape[0], False


@compile_kernel
def _iterate(
    columns: NDArray[Any],
    weights: NDArray[Any],
    gains: NDArray[Any],
    balls: NDArray[Any],
    has_moved: NDArray[Any],
    moved: NDArray[Any],
    all_clusters: NDArray[Any],
    center_columns: NDArray[Any],
    moved_columns: NDArray[Any],
    reaches: NDArray[Any],
    own: NDArray[Any],
    own_labels: NDArray[Any],
    own_squares: NDArray[Any],
    centers: NDArray[Any],
    labels: NDArray[Any],
    squares: NDArray[Any],
    sums: NDArray[Any],
    totals: NDArray[Any],
    counts: NDArray[Any],
    min_gain: float,
    is_new: bool,
    n_iterations: int,
) -> Any:
    """Move centers, and update the two nearest centers and the sums: see `Iterations`."""
    n_features, n_points = columns.shape
    n_clusters = centers.shape[0]
    # With a number that is known before, the compiler would unroll the loops over a ball, and not
    # use vector instructions.
    distances, size = own[n_features], own.shape[1]
    cost = gained = 0.0
    for iteration in range(n_iterations):
        is_first = is_new and iteration == 0
        n_moved = 0
        for k in range(n_clusters):
            has_moved[k] = gains[k] > min_gain and not is_first
            if has_moved[k]:
                moved[n_moved] = k
                n_moved += 1
                for j in range(n_features):
                    centers[k, j] = sums[k, j] / totals[k]
        for j in range(n_features):
            for k in range(n_clusters):
                center_columns[j, k] = centers[k, j]
            for c in range(n_moved):
                moved_columns[j, c] = centers[moved[c], j]
        cost = 0.0
        for start in range(0, n_points, size):
            n, ball = min(size, n_points - start), start // size
            if is_first:
                _measure_ball(columns, start, n, distances, balls, ball)
            # All centers are compared if one of the two nearest centers of a point has moved.
            is_searched, limit = False, 0.0
            for i in range(start, start + n):
                a, b = labels[0, i], labels[1, i]
                is_searched |= (b < 0) | has_moved[a] | has_moved[b]
                limit = squares[1, i] if squares[1, i] > limit else limit
            compared = all_clusters if is_searched else moved
            compared_columns = center_columns if is_searched else moved_columns
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
                for i in range(start, start + n):
                    a, b = labels[0, i], labels[1, i]
                    if b >= 0:
                        farther = reaches[a] if reaches[a] > reaches[b] else reaches[b]
                        limit = farther if farther < limit else limit
                limit = np.sqrt(limit) + radius
            limit = (limit * (1 + 1e-9) + radius) ** 2
            is_near = is_searched
            for c in range(n_compared):
                is_near |= reaches[c] <= limit
            if is_near:
                for j in range(n_features):
                    for i in range(n):
                        own[j, i] = columns[j, start + i]
                for rank in range(2):
                    for i in range(n):
                        own_squares[rank, i] = np.inf if is_searched else squares[rank, start + i]
                        own_labels[rank, i] = labels[rank, start + i]
                for c in range(n_compared):
                    if reaches[c] > limit:
                        continue
                    k = compared[c]
                    column, center = own[0], centers[k, 0]
                    for i in range(size):
                        distances[i] = (column[i] - center) * (column[i] - center)
                    for j in range(1, n_features):
                        column, center = own[j], centers[k, j]
                        for i in range(size):
                            distances[i] += (column[i] - center) * (column[i] - center)
                    # Select values instead of branching: so the compiler can vectorize the loop.
                    for i in range(size):
                        square = distances[i]
                        first, second = own_squares[0, i], own_squares[1, i]
                        a, b = own_labels[0, i], own_labels[1, i]
                        is_lower, is_second = square < first, square < second
                        own_squares[1, i] = first if is_lower else (square if is_second else second)
                        own_labels[1, i] = a if is_lower else (k if is_second else b)
                        own_squares[0, i] = square if is_lower else first
                        own_labels[0, i] = k if is_lower else a
                for i in range(n):
                    old, label = labels[0, start + i], own_labels[0, i]
                    if label != old:
                        _move_to_cluster(
                            columns, weights, start + i, old, label, sums, totals, counts
                        )
                for rank in range(2):
                    for i in range(n):
                        squares[rank, start + i] = own_squares[rank, i]
                        labels[rank, start + i] = own_labels[rank, i]
            for i in range(start, start + n):
                cost += weights[i] * squares[0, i]
        gained = _find_gains(centers, sums, totals, counts, gains)
    return cost, gained


@inline_kernel
def _measure_ball(columns: Any, start: int, n: int, distances: Any, balls: Any, ball: int) -> None:
    """Write the mean and the radius of n points that follow each other."""
    n_features = columns.shape[0]
    for i in range(n):
        distances[i] = 0.0
    for j in range(n_features):
        total = 0.0
        for i in range(n):
            total += columns[j, start + i]
        mean = balls[ball, j] = total / n
        for i in range(n):
            distances[i] += (columns[j, start + i] - mean) * (columns[j, start + i] - mean)
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
