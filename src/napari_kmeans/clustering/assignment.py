"""Points in groups of near ones, and their nearest centers kept up to date as centers move."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_kmeans.clustering import kernels
from napari_kmeans.execution.threads import map_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

Result = TypeVar("Result")

_GROUP = 32
"""Points per group where the caller knows of none: neighbors are often alike."""

_WORK = 10**7
"""Distances, about, between two chances to cancel."""

_SLAB = 2**17
"""Points per task, about. Fixed, so that sums do not depend on the number of threads."""


class GroupedPoints:
    """Weighted points, in groups of consecutive ones that are near each other.

    Parameters
    ----------
    points : (n, F) float64 array
        C-contiguous.
    weights : (n,) float64 array
        Positive.
    starts : (G + 1,) int64 array, optional
        Group g is points ``starts[g]`` to ``starts[g + 1]``, not empty. None
        groups points by their order.
    """

    def __init__(
        self, points: Floats, weights: Floats, starts: NDArray[np.int64] | None = None
    ) -> None:
        self.points, self.weights = points, weights
        self.starts = _regular_starts(len(points)) if starts is None else starts
        n_groups = len(self.starts) - 1
        self.sums, self.means = np.empty((2, n_groups, points.shape[1]))
        self.totals, self.radii, self.scatters = np.empty((3, n_groups))
        self.groups = kernels.Groups(
            points,
            weights,
            self.starts,
            self.sums,
            self.totals,
            self.means,
            self.radii,
            self.scatters,
        )
        self.slabs = _slabs(self.starts)
        self.map(lambda first, last: kernels.describe_groups(self.groups, first, last))

    def map(self, function: Callable[[int, int], Result]) -> list[Result]:
        """Return ``function(first, last)`` for slabs of groups, computed on threads."""
        return map_threads(lambda slab: function(*slab), self.slabs)

    @property
    def total(self) -> float:
        """The weight of all points."""
        return float(self.totals.sum())

    @property
    def mean_variance(self) -> float:
        """The weighted variance of the points, averaged over the features."""
        # Not through BLAS, whose threads add in an order of their own.
        shares = (self.totals / self.total)[:, None]
        squares = shares * (self.means - (shares * self.means).sum(axis=0)) ** 2
        variance = self.scatters.sum() / self.total + squares.sum()
        return float(variance / self.points.shape[1])


class Assignment:
    """The nearest center of every point, kept up to date while the centers move.

    Whole groups are assigned where only one center can be nearest to any of
    their points, and points are not looked at again before the centers have
    moved so far that their label could change. The labels are those of a full
    search, the first of equally near centers.

    Attributes
    ----------
    centers : (K, F) float64 array
    sums, totals : (K, F) and (K,) float64 arrays
        Weighted sums and weights of the points of each center.
    counts : (K,) int64 array
        The number of points of each center.

    References
    ----------
    .. [1] G. Hamerly, "Making k-means even faster", SDM 2010,
       :doi:`10.1137/1.9781611972801.12` (bounds that shrink as centers move).
    .. [2] D. Pelleg, A. Moore, "Accelerating exact k-means algorithms with
       geometric reasoning", KDD 1999, :doi:`10.1145/312129.312248` (whole groups).
    """

    def __init__(self, data: GroupedPoints, centers: Floats) -> None:
        self.data = data
        self.centers = np.array(centers, dtype=np.float64, order="C")
        n_clusters, n_groups = len(centers), len(data.starts) - 1
        self.sums = np.zeros_like(self.centers)
        self.totals = np.zeros(n_clusters)
        self.counts = np.zeros(n_clusters, np.int64)
        # Far above the rounding of a distance, far below what separates labels.
        scale = max(np.abs(data.means).max() + data.radii.max(), np.abs(self.centers).max())
        self._state = kernels.LabelState(
            centers=self.centers,
            drifts=np.zeros(n_clusters + 1),
            group_labels=np.full(n_groups, kernels.MIXED, np.int32),
            group_limits=np.full(n_groups, -np.inf),
            labels=np.full(len(data.points), -1, np.int32),
            limits=np.full(len(data.points), -np.inf),
            margin=1e-12 * float(scale),
        )

    def update(self) -> int:
        """Find the nearest center of every point; return how many labels changed."""
        shape = self.centers.shape

        def update(first: int, last: int) -> tuple[Floats, Floats, NDArray[np.int64], int]:
            sums, totals = np.zeros(shape), np.zeros(shape[0])
            counts = np.zeros(shape[0], np.int64)
            changed = kernels.update_labels(
                self.data.groups, self._state, first, last, sums, totals, counts
            )
            return sums, totals, counts, changed

        changed = 0
        for sums, totals, counts, n_changed in self.data.map(update):
            self.sums += sums
            self.totals += totals
            self.counts += counts
            changed += n_changed
        return changed

    def iterate(self, max_iter: int, threshold: float) -> tuple[int, bool]:
        """Update and move until the centers rest; return the iterations, and if they rest.

        Ends before the centers are moved in an iteration that leaves one of
        them without points.
        """
        if len(self.data.slabs) == 1:
            first, last = self.data.slabs[0]
            # A call cannot be canceled.
            few = max(1, _WORK // (len(self.data.points) * len(self.centers)))
            return kernels.iterate(  # type: ignore[no-any-return]
                self.data.groups,
                self._state,
                first,
                last,
                self.sums,
                self.totals,
                self.counts,
                min(max_iter, few),
                threshold,
            )
        changed = self.update()
        if not self.counts.all():
            return 1, False
        motion = self.move(self.sums, self.totals)
        return 1, not changed or motion <= threshold

    def move(self, sums: Floats, totals: Floats) -> float:
        """Move the centers to the means; return the sum of their squared motions."""
        return float(kernels.move_centers(self.centers, sums, totals, self._state.drifts))

    def labels(self) -> NDArray[np.int32]:
        """Return the label (n,) of every point."""
        labels = self._state.labels.copy()
        starts, owners = self.data.starts, self._state.group_labels
        self.data.map(
            lambda first, last: kernels.spread_labels(starts, first, last, owners, labels)
        )
        return labels

    def cost(self) -> float:
        """Return the weighted sum of squared distances to the nearest center."""
        data = self.data
        costs = data.map(
            lambda first, last: kernels.add_costs(data.groups, self._state, first, last)
        )
        return float(np.sum(costs))


def _regular_starts(n_points: int) -> NDArray[np.int64]:
    return np.append(np.arange(0, n_points, _GROUP), n_points)


def _slabs(starts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Cut groups into slabs of about `_SLAB` points."""
    edges = np.searchsorted(starts, np.arange(0, starts[-1], _SLAB))
    ends = [*edges[1:].tolist(), len(starts) - 1]
    return [(a, b) for a, b in zip(edges.tolist(), ends, strict=True) if a < b]
