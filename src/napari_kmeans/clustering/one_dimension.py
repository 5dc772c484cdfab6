"""K-means of numbers on a line, solved to the global optimum."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from napari_kmeans.clustering.lloyd import Fit
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import map_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from napari_kmeans.types import Floats


N_BINS = 2**16
"""Up to so many distinct values are told apart; more are counted in so many bins."""

_SORTED = 2**20
"""Numbers above which sorting them would take longer than all else."""

_KEPT_CUTS = 2**25
"""How many cuts are remembered before the search is done twice instead: 64 MB of 16 bit."""

_TASK = 2**22
"""Entries filled between two chances to cancel, some tens of milliseconds."""

_SMALL = 2**16
"""Entries below which a thread costs more than it saves."""


@dataclass(frozen=True, eq=False)
class Optimum(Fit):
    """A fit that is the best there is, or not worse by more than `excess`.

    Attributes
    ----------
    centers : (K, 1) float64 array
        Ascending.
    inertia : float
        Their cost.
    n_iter : int
        Always 1.
    labels : (n,) int32 array
        The cluster of each of the numbers, values or bins given.
    excess : float
        An upper bound of `inertia` minus the least cost that any K centers
        have: 0 where all distinct values were told apart, up to rounding.
    """

    excess: float = 0.0


def fit_line(
    points: NDArray[Any], weights: Floats, n_clusters: int, step: Step = ignore
) -> Optimum:
    """Fit K-means to weighted numbers in any order.

    Parameters
    ----------
    points : (n, 1) array
        Finite. They may repeat. More than 65,536 distinct ones, or more than a
        million in all, are put into as many bins, and the result is within a
        bound of the optimum: see `fit_bins`.
    weights : (n,) float64 array
        Positive.
    n_clusters : int
        Where there are fewer distinct numbers, there are as many clusters.
    step : callable
        Called with 0 every now and then; raising from it ends the work.
    """
    numbers = points[:, 0].astype(np.float64)
    if len(numbers) <= _SORTED:
        values, totals, inverse = _distinct(numbers, weights)
        if len(values) <= N_BINS:
            fit = optimal_1d(values, totals, n_clusters, step)
            return replace(fit, labels=fit.labels[inverse])
    step(0)
    bins = bin_values(numbers, weights, numbers.min(), numbers.max(), N_BINS)
    step(0)
    fit = fit_bins(bins, n_clusters, step)
    centers = fit.centers[:, 0]
    # A number in a bin that is cut may be nearer to the other center.
    labels = np.searchsorted((centers[1:] + centers[:-1]) / 2, numbers).astype(np.int32)
    inertia = float(np.sum(weights * (numbers - centers[labels]) ** 2))
    excess = max(0.0, fit.excess - (fit.inertia - inertia))
    return Optimum(fit.centers, inertia, 1, labels, excess)


def optimal_1d(values: Floats, weights: Floats, n_clusters: int, step: Step = ignore) -> Optimum:
    """Find the K centers of least cost on a line.

    Parameters
    ----------
    values : (n,) float64 array
        Finite, strictly ascending.
    weights : (n,) float64 array
        Positive.
    n_clusters : int
        With fewer values than that, each is a cluster of its own.
    step : callable
        Called with 0 every now and then; raising from it ends the work.

    Returns
    -------
    Optimum

    Raises
    ------
    ValueError
        If the values are none, or not strictly ascending.

    Notes
    -----
    Clusters on a line are intervals, so that the best K of the first j values
    are the best K - 1 of the first i, and the rest as one cluster, for the
    best i [1]_. That i never falls as j grows: halving the rows and the
    columns finds it for all j in O(n log n) for each cluster [2]_. Half of the
    clusters are placed from below and half from above, on a thread each, and
    meet at the best cut [3]_. Where the cuts on the way do not fit in 64 MB
    they are not kept, and either side of the meeting point is solved anew:
    at most twice the time, whatever K.

    The cost of an interval is merged from two parts with a common end, whose
    moments are kept for every power of two (a disjoint sparse table). Nothing
    is subtracted but neighboring values, so that costs keep their relative
    precision wherever the values lie and however far apart: a difference of
    prefix sums of squares would lose it.

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
            f"values must be one or more, strictly ascending, got {values!r}: "
            "sort them, and add the weights of equal ones."
        )
    starts = np.append(0, _find_cuts(values, weights, min(n_clusters, len(values)), step))
    lowest = values[starts]
    sizes = np.diff(starts, append=len(values))
    labels = np.repeat(np.arange(len(starts), dtype=np.int32), sizes)
    above = values - lowest[labels]
    means = np.add.reduceat(weights * above, starts) / np.add.reduceat(weights, starts)
    inertia = float(np.sum(weights * (above - means[labels]) ** 2))
    return Optimum((lowest + means)[:, None], inertia, 1, labels)


@dataclass(frozen=True, eq=False)
class Bins:
    """Numbers counted in bins of equal width, with the exact moments of each bin.

    Attributes
    ----------
    low, high : float
        The least and the greatest number.
    totals : (B,) float64 array
        The weight in each bin.
    sums, squares : (B,) float64 arrays
        The weighted sums of the distances to the middle of the bin, and of
        their squares.
    """

    low: float
    high: float
    totals: Floats
    sums: Floats
    squares: Floats

    def merge(self, other: Bins) -> Bins:
        """Return the bins of both parts, which must have the same ends."""
        if (self.low, self.high) != (other.low, other.high):
            raise ValueError(
                f"bins must have the same ends to be merged, got {self.low} to {self.high} and "
                f"{other.low} to {other.high}: find the ends of all parts first."
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
        From `low` to `high`, in any order.
    weights : (n,) float64 array or None
        None counts each number once.
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
    """Find the K centers of least cost among those that divide no bin.

    Parameters
    ----------
    bins : Bins
        Not all empty.
    n_clusters : int
        Where fewer bins have numbers, there are as many clusters.
    step : callable
        Called with 0 every now and then; raising from it ends the work.

    Returns
    -------
    Optimum
        `inertia` is the exact cost of the numbers, each with the center of
        its bin's cluster. `excess` bounds what it has above the optimum.
        `labels` are those of the bins, -1 where empty.

    Notes
    -----
    The bound: let c be the optimal centers of the numbers themselves, ascending,
    t[k] midway between c[k] and c[k + 1], and g[k] = c[k + 1] - c[k]. A number
    x that goes to c[k + 1] instead of c[k] costs 2 g[k] (t[k] - x) more. Give
    each bin as a whole to the center nearest to its mean m. Then only bins with
    a t[k] within pay more, and for each such t[k] it is 2 g[k] times the lesser
    of the summed distances to t[k] of the bin's numbers below and above it,
    which is at most half of D = Σ w |x - m| (take the side of t[k] away from m;
    the distances above m and below m sum to D / 2 each). All g[k] together are
    at most the range R, and D ≤ √(w q), with w the weight of the bin and q its
    Σ w (x - m)². As the centers found here are no worse than c with whole bins,

        inertia - optimum ≤ R · max over the bins of √(w q) ≤ R² · max w / (2 B)

    for B bins of width R / B, since q ≤ w (R / B)² / 4. Evenly spread numbers
    have √(w q) = w R / (√12 B) and an optimum of W R² / (12 K²), W being their
    weight: then the excess is below 2 √3 K² / B² of it, 1e-6 at K = 32. Where
    no bin has two distinct numbers, it is 0 up to rounding.
    """
    used = np.flatnonzero(bins.totals)
    totals, sums = bins.totals[used], bins.sums[used]
    width = (bins.high - bins.low) / len(bins.totals)
    means = bins.low + ((used + 0.5) * width + sums / totals)
    # Rounding must not put one bin's mean past the next one's.
    means = np.maximum.accumulate(means)
    within = np.maximum(bins.squares[used] - sums**2 / totals, 0.0)
    values, weights, inverse = _distinct(means, totals)
    fit = optimal_1d(values, weights, n_clusters, step)
    labels = np.full(len(bins.totals), -1, dtype=np.int32)
    labels[used] = fit.labels[inverse]
    inertia = fit.inertia + float(within.sum())
    excess = (bins.high - bins.low) * float(np.sqrt(totals * within).max())
    return Optimum(fit.centers, inertia, 1, labels, min(excess, inertia))


def _distinct(values: Floats, weights: Floats) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Return the distinct values, ascending, the weight of each, and where each value is."""
    distinct, inverse = np.unique(values, return_inverse=True)
    totals = np.bincount(inverse, weights, minlength=len(distinct)).astype(np.float64)
    return distinct, totals, inverse


def _find_cuts(values: Floats, weights: Floats, k: int, step: Step) -> NDArray[np.int64]:
    """Return where the second to the k-th cluster begin, (k - 1,) ascending."""
    n = len(values)
    if k in (1, n):
        return np.arange(1, k)
    run = _map_here if n * k <= _SMALL else map_threads
    kept = (k - 2) * n <= _KEPT_CUTS
    table = _build_table(values, weights, run) if k > 2 else np.empty((0, n, 3))
    below = _Side(values, weights, table, k // 2, k, mirrored=False, kept=kept)
    above = _Side(values, weights, table, k - k // 2, k, mirrored=True, kept=kept)
    meeting = _meet(below, above, run, step)
    if kept:
        return np.concatenate([below.trace(meeting), [meeting], n - above.trace(n - meeting)[::-1]])
    del table, below, above
    left = _find_cuts(values[:meeting], weights[:meeting], k // 2, step)
    right = _find_cuts(values[meeting:], weights[meeting:], k - k // 2, step)
    return np.concatenate([left, [meeting], meeting + right])


def _build_table(values: Floats, weights: Floats, run: Callable[..., Any]) -> Floats:
    """Return weight, mean and sum of squares of intervals that begin or end at a middle."""
    n_levels = (len(values) - 1).bit_length()
    table = np.empty((n_levels, len(values), 3))
    run(lambda level: _fill_level(values, weights, 1 << level, table[level]), range(n_levels))
    return table


def _meet(below: _Side, above: _Side, run: Callable[..., Any], step: Step) -> int:
    """Place all clusters of both sides; return how many values are best left to `below`."""
    layers = max(1, _TASK // below.n)
    while below.unplaced or above.unplaced:
        run(lambda side: side.place(layers), [below, above])
        step(0)
    return below.n_clusters + int(np.argmin(below.reached() + above.reached()[::-1]))


def _map_here(function: Callable[[Any], None], items: Iterable[Any]) -> None:
    for item in items:
        function(item)


class _Side:
    """The best first clusters of every beginning of the values.

    `costs[j]` is the least cost of the first j values in as many clusters as
    are placed, and `cuts[k - 2, j]` where the k-th of them begins. The side
    from above sees everything mirrored.
    """

    def __init__(
        self,
        values: Floats,
        weights: Floats,
        table: Floats,
        n_clusters: int,
        of: int,
        *,
        mirrored: bool,
        kept: bool,
    ) -> None:
        self.n, self.table, self.mirrored = len(values), table, mirrored
        self.n_clusters, self.of, self.kept = n_clusters, of, kept
        order = slice(None, None, -1 if mirrored else 1)
        self.costs = np.empty(self.n + 1)
        _cost_of_beginnings(
            np.ascontiguousarray(values[order]), np.ascontiguousarray(weights[order]), self.costs
        )
        rows = n_clusters - 1 if kept else min(n_clusters - 1, 1)
        kind = np.uint16 if self.n <= 2**16 else np.uint32
        self.cuts = np.empty((rows, self.n + 1), dtype=kind)
        self.placed = 1

    @property
    def unplaced(self) -> int:
        return self.n_clusters - self.placed

    def place(self, n_layers: int) -> None:
        """Place up to so many more clusters."""
        for k in range(self.placed + 1, self.placed + 1 + min(n_layers, self.unplaced)):
            costs = np.empty_like(self.costs)
            cuts = self.cuts[k - 2 if self.kept else 0]
            last = self.n - (self.of - k)
            _place_cluster(self.table, self.mirrored, self.costs, costs, cuts, k, last)
            self.costs, self.placed = costs, k

    def reached(self) -> Floats:
        """Return the costs of the beginnings that leave enough values for the other side."""
        return self.costs[self.n_clusters : self.n - (self.of - self.n_clusters) + 1]

    def trace(self, end: int) -> NDArray[np.int64]:
        """Return where the second and later clusters of the first `end` values begin."""
        starts = np.empty(self.n_clusters - 1, dtype=np.int64)
        for k in range(self.n_clusters - 1, 0, -1):
            end = int(self.cuts[k - 1, end])
            starts[k - 1] = end
        return starts


@njit(cache=True, nogil=True)
def _place_cluster(
    table: NDArray[Any],
    mirrored: bool,
    before: NDArray[Any],
    costs: NDArray[Any],
    cuts: NDArray[Any],
    k: int,
    last: int,
) -> None:
    """Find the best begin of the k-th cluster for each end from k to `last`.

    Ends far apart come first, then those midway between two that are known,
    whose begins enclose theirs.
    """
    stride = 1
    while stride < last - k + 1:
        stride *= 2
    while stride >= 1:
        for end in range(k + stride - 1, last + 1, 2 * stride):
            first = cuts[end - stride] if end - stride >= k else k - 1
            final = min(end - 1, cuts[end + stride] if end + stride <= last else end - 1)
            costs[end], cuts[end] = _best_begin(table, mirrored, before, first, final, end - 1)
        stride //= 2


@njit(cache=True, nogil=True)
def _best_begin(
    table: NDArray[Any], mirrored: bool, before: NDArray[Any], first: int, final: int, last: int
) -> Any:
    """Return the least cost with a last cluster from `first`…`final` to `last`, and its begin."""
    n = table.shape[1]
    direction = -1 if mirrored else 1
    e = n - 1 - last if mirrored else last
    least = np.inf
    best = first
    i = first
    while i <= min(final, last - 1):
        # The highest bit in which two positions differ is the level at which
        # they lie on either side of a middle; up to the middle it is the same.
        b = n - 1 - i if mirrored else i
        level = _highest_bit(b ^ e)
        middle = (max(b, e) >> level) << level
        stop = min(n - middle if mirrored else middle, final + 1)
        weight = table[level, e, 0]
        mean = table[level, e, 1]
        spread = table[level, e, 2]
        for j in range(i, stop):
            at = b + direction * (j - i)
            other = table[level, at, 0]
            gap = mean - table[level, at, 1]
            between = other * weight / (other + weight) * (gap * gap)
            cost = before[j] + (table[level, at, 2] + spread + between)
            if cost < least:
                least = cost
                best = j
        i = stop
    # A single value costs nothing.
    if final == last and before[last] < least:
        least = before[last]
        best = last
    return least, best


@njit(cache=True, nogil=True)
def _highest_bit(number: int) -> int:
    """Return the position of the highest bit of a positive number below 2^32."""
    bit = 0
    for shift in (16, 8, 4, 2, 1):
        if number >> shift:
            number >>= shift
            bit += shift
    return bit


@njit(cache=True, nogil=True)
def _fill_level(
    values: NDArray[Any], weights: NDArray[Any], half: int, table: NDArray[Any]
) -> None:
    """Write the moments of the values between each and the nearest odd multiple of `half`.

    A value below such a middle begins its interval, a value above ends it.
    """
    n = values.shape[0]
    for middle in range(half, n, 2 * half):
        _accumulate(values, weights, middle - 1, middle - half - 1, -1, table)
        _accumulate(values, weights, middle, min(middle + half, n), 1, table)


@njit(cache=True, nogil=True)
def _accumulate(
    values: NDArray[Any],
    weights: NDArray[Any],
    start: int,
    stop: int,
    direction: int,
    table: NDArray[Any],
) -> None:
    """Write the moments of the values from `start` to each one before `stop`."""
    origin = values[start]
    total = weights[start]
    above = 0.0
    spread = 0.0
    table[start, 0] = total
    table[start, 1] = origin
    table[start, 2] = 0.0
    for i in range(start + direction, stop, direction):
        distance = values[i] - origin
        gap = total * distance - above
        after = total + weights[i]
        inverse = 1.0 / (total * after)
        # Youngs and Cramer's update: only positive terms are added.
        spread += weights[i] * gap * gap * inverse
        above += weights[i] * distance
        table[i, 0] = after
        table[i, 1] = origin + above * total * inverse
        table[i, 2] = spread
        total = after


@njit(cache=True, nogil=True)
def _cost_of_beginnings(values: NDArray[Any], weights: NDArray[Any], costs: NDArray[Any]) -> None:
    """Write what the first 0, 1, … n values cost as one cluster."""
    costs[0] = 0.0
    costs[1] = 0.0
    total = weights[0]
    above = 0.0
    for i in range(1, values.shape[0]):
        distance = values[i] - values[0]
        gap = total * distance - above
        after = total + weights[i]
        costs[i + 1] = costs[i] + weights[i] * gap * gap / (total * after)
        above += weights[i] * distance
        total = after


@njit(cache=True, nogil=True)
def _add_to_bins(
    values: NDArray[Any],
    weights: NDArray[Any],
    low: float,
    high: float,
    totals: NDArray[Any],
    sums: NDArray[Any],
    squares: NDArray[Any],
) -> None:
    """Add each value to the moments of its bin; a single weight is that of all."""
    n_bins = totals.shape[0]
    width = (high - low) / n_bins
    scale = n_bins / (high - low) if high > low else 0.0
    # The difference of denormal numbers may have no reciprocal; its square is 0 anyway.
    if scale == np.inf:
        scale = 0.0
    for i in range(values.shape[0]):
        above = float(values[i]) - low
        b = min(int(above * scale), n_bins - 1)
        weight = weights[i if weights.shape[0] > 1 else 0]
        distance = above - (b + 0.5) * width
        totals[b] += weight
        sums[b] += weight * distance
        squares[b] += weight * distance * distance
