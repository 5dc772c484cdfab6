"""Find the global optimum of K-means for numbers on a line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.clustering.lloyd import Fit
from napari_kmeans.execution.compiling import compile_kernel
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import map_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from napari_kmeans.types import Floats


N_BINS = 2**16
"""Largest number of distinct values that are fitted exactly. More values are counted in this number
of bins."""

_MAX_SORTED = 2**20
"""Largest number of numbers that are sorted. Sorting a million numbers takes about 80 ms, more than
the fit of 8 clusters to 65,536 values. Counting the numbers in bins takes about 8 ms."""

_MAX_STORED_CUTS = 2**25
"""Largest number of cuts that are kept in memory: 64 MB with 16 bits each. With more cuts, each
side of the meeting point is solved again instead."""

_TASK_ENTRIES = 2**22
"""Entries of the table of costs that are filled between two calls of `step`: a few tenths of a
second."""

_MAX_SERIAL_ENTRIES = 2**16
"""Entries up to which starting a thread takes longer than it saves."""


@dataclass(frozen=True, eq=False)
class Optimum(Fit):
    """A fit whose cost is at most `excess` above the lowest possible cost.

    Attributes
    ----------
    centers : (K, 1) float64 array
        Ascending.
    inertia : float
        The cost of the numbers.
    n_iter : int
        Always 1.
    labels : (n,) int32 array
        The cluster of each of the numbers, values or bins that were fitted.
    excess : float
        An upper bound of `inertia` minus the lowest cost of any K centers. Without bins, the
        bound is 0, up to rounding.
    """

    excess: float = 0.0


def fit_line(
    points: NDArray[Any], weights: Floats, n_clusters: int, step: Step = ignore
) -> Optimum:
    """Fit K-means to weighted numbers in any order.

    Parameters
    ----------
    points : (n, 1) array
        Finite, not necessarily distinct. More than 65,536 distinct numbers, or more than
        2**20 numbers, are counted in 65,536 bins. The result is then within a bound of the
        optimum: see `fit_bins`.
    weights : (n,) float64 array
        Positive.
    n_clusters : int
        With fewer distinct numbers, there is one cluster for each of them.
    step : callable
        Called with 0 at intervals. An exception that it raises ends the fit.
    """
    numbers = points[:, 0].astype(np.float64)
    if len(numbers) <= _MAX_SORTED:
        values, totals, inverse = _sum_by_value(numbers, weights)
        if len(values) <= N_BINS:
            fit = optimal_1d(values, totals, n_clusters, step)
            return replace(fit, labels=fit.labels[inverse])
    step(0)
    bins = bin_values(numbers, weights, numbers.min(), numbers.max(), N_BINS)
    step(0)
    fit = fit_bins(bins, n_clusters, step)
    centers = fit.centers[:, 0]
    # The boundary of two clusters can lie within a bin. Assign each number to its nearest center.
    labels = np.searchsorted((centers[1:] + centers[:-1]) / 2, numbers).astype(np.int32)
    inertia = float(np.sum(weights * (numbers - centers[labels]) ** 2))
    excess = max(0.0, fit.excess - (fit.inertia - inertia))
    return Optimum(fit.centers, inertia, 1, labels, excess)


def optimal_1d(values: Floats, weights: Floats, n_clusters: int, step: Step = ignore) -> Optimum:
    """Find the K centers of lowest cost on a line.

    Parameters
    ----------
    values : (n,) float64 array
        Finite, strictly ascending.
    weights : (n,) float64 array
        Positive.
    n_clusters : int
        With fewer values than `n_clusters`, each value is one cluster.
    step : callable
        Called with 0 at intervals. An exception that it raises ends the search.

    Returns
    -------
    Optimum

    Raises
    ------
    ValueError
        If there are no values, or if they are not strictly ascending.

    Notes
    -----
    Clusters on a line are intervals. The best K clusters of the first j values are therefore the
    best K - 1 clusters of the first i values, and one cluster of the remaining values, for the
    best i [1]_. This i never decreases when j grows. Divide and conquer over j finds the best i
    for all j in O(n log n) per cluster [2]_. Half of the clusters are placed from below and half
    from above, each half on one thread. The halves meet at the best cut [3]_. If the cuts of all
    clusters need more than 64 MB, they are not kept, and each side of the meeting point is solved
    again. This takes at most twice the time, for any K.

    The cost of an interval is computed from the moments of two adjacent intervals. The table
    contains these moments for all intervals that begin or end at a multiple of a power of two
    (a disjoint sparse table). Only values and means are subtracted from each other, so that costs
    keep their relative precision at any offset and for any distance between the values. The
    difference of two cumulative sums of squares would lose this precision.

    References
    ----------
    .. [1] H. Wang, M. Song, "Ckmeans.1d.dp: optimal k-means clustering in one
       dimension by dynamic programming", :doi:`10.32614/RJ-2011-015`.
    .. [2] A. Grønlund, K. G. Larsen, A. Mathiasen, J. S. Nielsen, S. Schneider,
       M. Song, "Fast exact k-means, k-medians and Bregman divergence clustering
       in 1D", :arxiv:`1701.07204`.
    .. [3] D. S. Hirschberg, "A linear space algorithm for computing maximal
       common subsequences", :doi:`10.1145/360825.360861`.
    """
    if not len(values) or not (values[1:] > values[:-1]).all():
        raise ValueError(
            f"values must be strictly ascending, with at least one value, got {values!r}: "
            "sort the values, and add the weights of equal values."
        )
    starts = np.append(0, _find_cuts(values, weights, min(n_clusters, len(values)), step))
    first_values = values[starts]
    sizes = np.diff(starts, append=len(values))
    labels = np.repeat(np.arange(len(starts), dtype=np.int32), sizes)
    offsets = values - first_values[labels]
    means = np.add.reduceat(weights * offsets, starts) / np.add.reduceat(weights, starts)
    inertia = float(np.sum(weights * (offsets - means[labels]) ** 2))
    return Optimum((first_values + means)[:, None], inertia, 1, labels)


@dataclass(frozen=True, eq=False)
class Bins:
    """A histogram of numbers in bins of equal width, with the exact moments of each bin.

    Attributes
    ----------
    low, high : float
        The lowest and the highest number.
    totals : (B,) float64 array
        The total weight of each bin.
    sums, squares : (B,) float64 arrays
        The weighted sums of the signed distances of the numbers from the middle of their bin,
        and of the squares of these distances.
    """

    low: float
    high: float
    totals: Floats
    sums: Floats
    squares: Floats

    def merge(self, other: Bins) -> Bins:
        """Return the sum of two histograms with the same ends."""
        if (self.low, self.high) != (other.low, other.high):
            raise ValueError(
                f"bins must have the same ends to be merged, got {self.low} to {self.high} and "
                f"{other.low} to {other.high}: find the ends of all numbers first."
            )
        return Bins(
            self.low,
            self.high,
            self.totals + other.totals,
            self.sums + other.sums,
            self.squares + other.squares,
        )


def bin_values(
    values: NDArray[Any], weights: Floats | None, low: float, high: float, n_bins: int = N_BINS
) -> Bins:
    """Count numbers in bins of equal width.

    Parameters
    ----------
    values : (n,) array
        Numbers from `low` to `high`, in any order.
    weights : (n,) float64 array or None
        With None, each number has weight 1.
    low, high : float
    n_bins : int, default 65536
    """
    bins = Bins(float(low), float(high), *np.zeros((3, n_bins)))
    _add_to_bins(
        values,
        np.ones(1) if weights is None else weights,
        bins.low,
        bins.high,
        bins.totals,
        bins.sums,
        bins.squares,
    )
    return bins


def fit_bins(bins: Bins, n_clusters: int, step: Step = ignore) -> Optimum:
    """Find the K centers of lowest cost among the clusterings that do not divide bins.

    Parameters
    ----------
    bins : Bins
        At least one bin must not be empty.
    n_clusters : int
        With fewer bins that are not empty, there is one cluster for each of them.
    step : callable
        Called with 0 at intervals. An exception that it raises ends the search.

    Returns
    -------
    Optimum
        `inertia` is the exact cost of the numbers if each number has the label of its bin.
        `excess` is an upper bound of the difference between `inertia` and the optimum.
        `labels` are the labels of the bins, (B,), and -1 for empty bins.

    Notes
    -----
    Proof of the bound. Let c be the optimal centers of the numbers, in ascending order, t[k] the
    midpoint of c[k] and c[k + 1], and g[k] = c[k + 1] - c[k]. Assigning a number x to c[k + 1]
    instead of c[k] adds 2 g[k] (t[k] - x) to the cost. Assign each bin as a whole to the center
    that is nearest to the mean m of the bin. This adds to the cost only for bins that contain a
    t[k]. For each such t[k], it adds 2 g[k] times the summed distances to t[k] of the numbers on
    one side of t[k], the side that does not contain m. This sum is at most half of
    D = Σ w |x - m|, because the distances from m of the numbers above m and of those below m
    have sum D / 2 each. The sum of all g[k] is at most the range R. By the Cauchy-Schwarz
    inequality, D ≤ √(w q), where w is the weight of the bin and q = Σ w (x - m)². The centers
    found here are at least as good as c with undivided bins. Therefore

        inertia - optimum ≤ R · max over the bins of √(w q) ≤ R² · max w / (2 B)

    for B bins of width R / B, because q ≤ w (R / B)² / 4. For evenly distributed numbers of total
    weight W, √(w q) = w R / (√12 B), and the optimum is W R² / (12 K²). The excess is then below
    2 √3 K² / B² of the optimum, 1e-6 at K = 32. If no bin contains two distinct numbers, the
    excess is 0, up to rounding.
    """
    used = np.flatnonzero(bins.totals)
    totals, sums = bins.totals[used], bins.sums[used]
    width = (bins.high - bins.low) / len(bins.totals)
    means = bins.low + ((used + 0.5) * width + sums / totals)
    # Rounding can put the mean of a bin above the mean of the next bin. Keep the order.
    means = np.maximum.accumulate(means)
    scatters = np.maximum(bins.squares[used] - sums**2 / totals, 0.0)
    values, weights, inverse = _sum_by_value(means, totals)
    fit = optimal_1d(values, weights, n_clusters, step)
    labels = np.full(len(bins.totals), -1, dtype=np.int32)
    labels[used] = fit.labels[inverse]
    inertia = fit.inertia + float(scatters.sum())
    excess = (bins.high - bins.low) * float(np.sqrt(totals * scatters).max())
    return Optimum(fit.centers, inertia, 1, labels, min(excess, inertia))


def _sum_by_value(values: Floats, weights: Floats) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Return the distinct values, ascending, their total weights, and the index of each value."""
    distinct, inverse = np.unique(values, return_inverse=True)
    totals = np.bincount(inverse, weights, minlength=len(distinct)).astype(np.float64)
    return distinct, totals, inverse


def _find_cuts(values: Floats, weights: Floats, k: int, step: Step) -> NDArray[np.int64]:
    """Return the starts of the second to the k-th cluster, (k - 1,), ascending."""
    n = len(values)
    if k in (1, n):
        return np.arange(1, k)
    run_map = _map_serially if n * k <= _MAX_SERIAL_ENTRIES else map_threads
    store_cuts = (k - 2) * n <= _MAX_STORED_CUTS
    table = _build_table(values, weights, run_map) if k > 2 else np.empty((0, n, 3))
    lower = _Side(values, weights, table, k // 2, k, mirrored=False, store_cuts=store_cuts)
    upper = _Side(values, weights, table, k - k // 2, k, mirrored=True, store_cuts=store_cuts)
    meeting = _find_meeting_point(lower, upper, run_map, step)
    if store_cuts:
        return np.concatenate([lower.trace(meeting), [meeting], n - upper.trace(n - meeting)[::-1]])
    # The cuts were not stored: solve each side again. Free the memory first.
    del table, lower, upper
    left = _find_cuts(values[:meeting], weights[:meeting], k // 2, step)
    right = _find_cuts(values[meeting:], weights[meeting:], k - k // 2, step)
    return np.concatenate([left, [meeting], meeting + right])


def _build_table(values: Floats, weights: Floats, run_map: Callable[..., Any]) -> Floats:
    """Return weight, mean and sum of squares of intervals, (levels, n, 3): see `_fill_level`."""
    n_levels = (len(values) - 1).bit_length()
    table = np.empty((n_levels, len(values), 3))
    run_map(lambda level: _fill_level(values, weights, 1 << level, table[level]), range(n_levels))
    return table


def _find_meeting_point(lower: _Side, upper: _Side, run_map: Callable[..., Any], step: Step) -> int:
    """Place the clusters of both sides, and return the best number of values for `lower`."""
    n_layers = max(1, _TASK_ENTRIES // lower.n)
    while lower.n_unplaced or upper.n_unplaced:
        run_map(lambda side: side.place(n_layers), [lower, upper])
        step(0)
    return lower.n_clusters + int(np.argmin(lower.final_costs() + upper.final_costs()[::-1]))


def _map_serially(function: Callable[[Any], None], items: Iterable[Any]) -> None:
    for item in items:
        function(item)


class _Side:
    """The best first clusters of the first j values, for each j.

    `costs[j]` is the lowest cost of the first j values in `placed` clusters. `cuts[k - 2, j]` is
    the start of the k-th cluster. The side from above uses the values in reverse order.
    """

    def __init__(
        self,
        values: Floats,
        weights: Floats,
        table: Floats,
        n_clusters: int,
        n_total: int,
        *,
        mirrored: bool,
        store_cuts: bool,
    ) -> None:
        self.n, self.table, self.mirrored = len(values), table, mirrored
        self.n_clusters, self.n_total, self.store_cuts = n_clusters, n_total, store_cuts
        order = slice(None, None, -1 if mirrored else 1)
        self.costs = np.empty(self.n + 1)
        _cost_of_prefixes(
            np.ascontiguousarray(values[order]), np.ascontiguousarray(weights[order]), self.costs
        )
        rows = n_clusters - 1 if store_cuts else min(n_clusters - 1, 1)
        dtype = np.uint16 if self.n <= 2**16 else np.uint32
        self.cuts = np.empty((rows, self.n + 1), dtype=dtype)
        self.placed = 1

    @property
    def n_unplaced(self) -> int:
        return self.n_clusters - self.placed

    def place(self, n_layers: int) -> None:
        """Place up to `n_layers` more clusters."""
        for k in range(self.placed + 1, self.placed + 1 + min(n_layers, self.n_unplaced)):
            costs = np.empty_like(self.costs)
            cuts = self.cuts[k - 2 if self.store_cuts else 0]
            last = self.n - (self.n_total - k)
            _place_cluster(self.table, self.mirrored, self.costs, costs, cuts, k, last)
            self.costs, self.placed = costs, k

    def final_costs(self) -> Floats:
        """Return the costs for each j that leaves enough values for the other side."""
        return self.costs[self.n_clusters : self.n - (self.n_total - self.n_clusters) + 1]

    def trace(self, end: int) -> NDArray[np.int64]:
        """Return the starts of the second and later clusters of the first `end` values."""
        starts = np.empty(self.n_clusters - 1, dtype=np.int64)
        for k in range(self.n_clusters - 1, 0, -1):
            end = int(self.cuts[k - 1, end])
            starts[k - 1] = end
        return starts


@compile_kernel
def _place_cluster(
    table: NDArray[Any],
    mirrored: bool,
    previous_costs: NDArray[Any],
    costs: NDArray[Any],
    cuts: NDArray[Any],
    k: int,
    last: int,
) -> None:
    """Find the best start of the k-th cluster for each end from k to `last`.

    Ends far apart are solved first, then the ends midway between two solved ends. The start for
    an end lies between the starts for the two neighboring ends.
    """
    stride = 1
    while stride < last - k + 1:
        stride *= 2
    while stride >= 1:
        for end in range(k + stride - 1, last + 1, 2 * stride):
            first_start = cuts[end - stride] if end - stride >= k else k - 1
            last_start = min(end - 1, cuts[end + stride] if end + stride <= last else end - 1)
            costs[end], cuts[end] = _find_best_start(
                table, mirrored, previous_costs, first_start, last_start, end - 1
            )
        stride //= 2


@compile_kernel
def _find_best_start(
    table: NDArray[Any],
    mirrored: bool,
    previous_costs: NDArray[Any],
    first_start: int,
    last_start: int,
    last: int,
) -> Any:
    """Find the best start of a cluster that ends at `last`; return the cost and the start.

    The start is searched from `first_start` to `last_start`. ``previous_costs[j]`` is the lowest
    cost of the values before a start at j, in one cluster less.
    """
    n = table.shape[1]
    direction = -1 if mirrored else 1
    end_position = n - 1 - last if mirrored else last
    min_cost = np.inf
    best_start = first_start
    start = first_start
    while start <= min(last_start, last - 1):
        # The highest bit in which two positions differ is the level of the table at which a
        # middle lies between them. All positions up to this middle have the same level.
        position = n - 1 - start if mirrored else start
        level = _highest_bit(position ^ end_position)
        middle = (max(position, end_position) >> level) << level
        stop = min(n - middle if mirrored else middle, last_start + 1)
        weight = table[level, end_position, 0]
        mean = table[level, end_position, 1]
        spread = table[level, end_position, 2]
        for s in range(start, stop):
            other_position = position + direction * (s - start)
            other = table[level, other_position, 0]
            gap = mean - table[level, other_position, 1]
            added = other * weight / (other + weight) * (gap * gap)
            cost = previous_costs[s] + (table[level, other_position, 2] + spread + added)
            if cost < min_cost:
                min_cost = cost
                best_start = s
        start = stop
    # A cluster of a single value has cost 0.
    if last_start == last and previous_costs[last] < min_cost:
        min_cost = previous_costs[last]
        best_start = last
    return min_cost, best_start


@compile_kernel
def _highest_bit(number: int) -> int:
    """Return the position of the highest bit of a positive number below 2^32."""
    bit = 0
    for shift in (16, 8, 4, 2, 1):
        if number >> shift:
            number >>= shift
            bit += shift
    return bit


@compile_kernel
def _fill_level(
    values: NDArray[Any], weights: NDArray[Any], half: int, table: NDArray[Any]
) -> None:
    """Write the moments of the interval between each value and the nearest middle.

    The middles are the odd multiples of `half`. A value below a middle is the start of its
    interval. A value above is the end of its interval.
    """
    n = values.shape[0]
    for middle in range(half, n, 2 * half):
        _accumulate(values, weights, middle - 1, middle - half - 1, -1, table)
        _accumulate(values, weights, middle, min(middle + half, n), 1, table)


@compile_kernel
def _accumulate(
    values: NDArray[Any],
    weights: NDArray[Any],
    start: int,
    stop: int,
    direction: int,
    table: NDArray[Any],
) -> None:
    """Write the moments of the intervals from `start` to each value before `stop`."""
    origin = values[start]
    total = weights[start]
    distance_sum = 0.0
    spread = 0.0
    table[start, 0] = total
    table[start, 1] = origin
    table[start, 2] = 0.0
    for i in range(start + direction, stop, direction):
        distance = values[i] - origin
        gap = total * distance - distance_sum
        new_total = total + weights[i]
        inverse = 1.0 / (total * new_total)
        # Youngs and Cramer's update adds only positive terms, so that no digits cancel.
        spread += weights[i] * gap * gap * inverse
        distance_sum += weights[i] * distance
        table[i, 0] = new_total
        table[i, 1] = origin + distance_sum * total * inverse
        table[i, 2] = spread
        total = new_total


@compile_kernel
def _cost_of_prefixes(values: NDArray[Any], weights: NDArray[Any], costs: NDArray[Any]) -> None:
    """Write the costs of the first 0, 1, … n values as one cluster."""
    costs[0] = 0.0
    costs[1] = 0.0
    total = weights[0]
    distance_sum = 0.0
    for i in range(1, values.shape[0]):
        distance = values[i] - values[0]
        gap = total * distance - distance_sum
        new_total = total + weights[i]
        costs[i + 1] = costs[i] + weights[i] * gap * gap / (total * new_total)
        distance_sum += weights[i] * distance
        total = new_total


@compile_kernel
def _add_to_bins(
    values: NDArray[Any],
    weights: NDArray[Any],
    low: float,
    high: float,
    totals: NDArray[Any],
    sums: NDArray[Any],
    squares: NDArray[Any],
) -> None:
    """Add each value to the moments of its bin. A single weight applies to all values."""
    n_bins = totals.shape[0]
    width = (high - low) / n_bins
    scale = n_bins / (high - low) if high > low else 0.0
    # The reciprocal of a denormal difference can be infinite. Count all values in the first bin
    # then: the squares of their distances are 0.
    if scale == np.inf:
        scale = 0.0
    for i in range(values.shape[0]):
        offset = float(values[i]) - low
        bin_index = min(int(offset * scale), n_bins - 1)
        weight = weights[i if weights.shape[0] > 1 else 0]
        distance = offset - (bin_index + 0.5) * width
        totals[bin_index] += weight
        sums[bin_index] += weight * distance
        squares[bin_index] += weight * distance * distance
