"""Group nearby points, and keep their nearest centers up to date while the centers move."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_kmeans.clustering import kernels
from napari_kmeans.clustering.tiles import TiledPoints
from napari_kmeans.execution.threads import map_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_kmeans.types import Floats, Result

_GROUP_SIZE = 32
"""Points per group if the caller gives no groups. Consecutive points are often near each other."""

TASK_POINTS = 2**17
"""Approximate number of points per task. The number is fixed, so that the order of summation, and
with it the rounding, does not depend on the number of threads."""

_N_SHARES, _LEAST_SHARE = 16, 2**13
"""Points that are labeled once are divided into so many tasks, each of so many points at least."""


class GroupMoments(NamedTuple):
    """The moments of G groups of weighted points; see `kernels.Groups`."""

    sums: Floats
    totals: Floats
    means: Floats
    radii: Floats
    scatters: Floats

    @classmethod
    def empty(cls, n_groups: int, n_features: int) -> GroupMoments:
        """Return moments that are still to be written."""
        (sums, means), rows = np.empty((2, n_groups, n_features)), np.empty((3, n_groups))
        return cls(sums, rows[0], means, rows[1], rows[2])


class GroupedPoints:
    """Weighted points in groups of consecutive points that are near each other.

    Parameters
    ----------
    points : (n, F) float64 array
        C-contiguous. It may be empty (0, F) if the moments are given: then groups can only be
        labeled as a whole.
    weights : (n,) float64 array
        Positive.
    starts : (G + 1,) int64 array, optional
        Group g is points ``starts[g]`` to ``starts[g + 1]``. No group may be empty. By
        default, each group is 32 consecutive points.
    moments : GroupMoments, optional
        Those of the groups, if they are known.
    """

    def __init__(
        self,
        points: Floats,
        weights: Floats,
        starts: NDArray[np.int64] | None = None,
        moments: GroupMoments | None = None,
    ) -> None:
        self.points, self.weights = points, weights
        self.starts = _equal_groups(len(points)) if starts is None else starts
        self.moments = moments or GroupMoments.empty(len(self.starts) - 1, points.shape[1])
        self.sums, self.totals, self.means, self.radii, self.scatters = self.moments
        self.groups = kernels.Groups(points, weights, self.starts, *self.moments)
        self.tasks = _split_into_tasks(self.starts, TASK_POINTS)
        if moments is None:
            self.map(lambda first, last: kernels.describe_groups(self.groups, first, last))

    def map(self, function: Callable[[int, int], Result], size: int = TASK_POINTS) -> list[Result]:
        """Return ``function(first, last)`` for ranges of groups of about `size` points.

        They are computed on threads.
        """
        tasks = self.tasks if size == TASK_POINTS else _split_into_tasks(self.starts, size)
        return map_threads(lambda task: function(*task), tasks)

    def rows(self, first: int, last: int) -> slice:
        """Return the slice of the points of groups `first` to `last`."""
        return slice(self.starts[first], self.starts[last])

    @property
    def total(self) -> float:
        """The total weight of the points."""
        return float(self.totals.sum())

    @cached_property
    def tiles(self) -> TiledPoints:
        """The points as columns, with their mean as the origin: they do not move."""
        return TiledPoints.of(self.points, self.sums.sum(axis=0) / self.total)

    @cached_property
    def mean_variance(self) -> float:
        """The weighted variance of the points, averaged over the features."""
        # BLAS is avoided: its order of summation depends on the number of its threads.
        shares = (self.totals / self.total)[:, None]
        squares = shares * (self.means - (shares * self.means).sum(axis=0)) ** 2
        variance = self.scatters.sum() / self.total + squares.sum()
        return float(variance / self.points.shape[1])


class Assignment:
    """The nearest center of every point, kept up to date while the centers move.

    A group is assigned as a whole if only one center can be nearest to its points. A point
    or a group is skipped until the centers have moved so far that its label can change. The
    labels are equal to those of a full search: of equally near centers, the first is taken.

    Attributes
    ----------
    centers : (K, F) float64 array
    sums, totals : (K, F) and (K,) float64 arrays
        Weighted sum and total weight of the points of each cluster.
    counts : (K,) int64 array
        Number of points of each cluster.

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
        # This margin is far above the rounding error of a distance, about 1e-16 of the largest
        # coordinate, and far below the differences of distances that separate clusters.
        scale = max(np.abs(data.means).max() + data.radii.max(), np.abs(self.centers).max())
        self._state = kernels.LabelState(
            centers=self.centers,
            drifts=np.zeros(n_clusters + 1),
            group_labels=np.full(n_groups, kernels.MIXED, np.int32),
            group_limits=np.full(n_groups, -np.inf),
            labels=np.empty(len(data.points), np.int32),
            limits=np.empty(len(data.points)),
            margin=1e-12 * float(scale),
        )

        def clear(first: int, last: int) -> None:
            rows = data.rows(first, last)
            self._state.labels[rows] = -1
            self._state.limits[rows] = -np.inf

        data.map(clear)

    def update(self) -> int:
        """Find the nearest center of each point, and return the number of changed labels."""
        shape = self.centers.shape

        def update_task(first: int, last: int) -> tuple[Floats, Floats, NDArray[np.int64], int]:
            sums, totals = np.zeros(shape), np.zeros(shape[0])
            counts = np.zeros(shape[0], np.int64)
            n_changed = kernels.update_labels(
                self.data.groups, self._state, first, last, sums, totals, counts
            )
            return sums, totals, counts, n_changed

        n_changed = 0
        for sums, totals, counts, n_task_changed in self.data.map(update_task):
            self.sums += sums
            self.totals += totals
            self.counts += counts
            n_changed += n_task_changed
        return n_changed

    def iterate(self, max_iter: int, threshold: float) -> tuple[int, bool]:
        """Do one iteration: `update` and `move`.

        Stop before the centers are moved if the update leaves a center without points.

        Returns
        -------
        n_iter : int
            The number of iterations that were done.
        converged : bool
            True if no label changed, or if the sum of the squared motions of the centers was
            at most `threshold`.
        """
        n_changed = self.update()
        if not self.counts.all():
            return 1, False
        motion = self.move(self.sums, self.totals)
        return 1, not n_changed or motion <= threshold

    def move(self, sums: Floats, totals: Floats) -> float:
        """Move the centers to ``sums / totals``, and return the sum of their squared motions."""
        return float(kernels.move_centers(self.centers, sums, totals, self._state.drifts))

    def labels(self) -> NDArray[np.int32]:
        """Return the label of each point, (n,)."""
        labels = np.empty_like(self._state.labels)
        starts, group_labels = self.data.starts, self._state.group_labels

        def copy(first: int, last: int) -> None:
            rows = self.data.rows(first, last)
            labels[rows] = self._state.labels[rows]
            kernels.copy_group_labels(starts, first, last, group_labels, labels)

        self.data.map(copy)
        return labels

    def cost(self) -> float:
        """Return the weighted sum of squared distances to the nearest centers."""
        data = self.data
        costs = data.map(
            lambda first, last: kernels.add_costs(data.groups, self._state, first, last)
        )
        return float(np.sum(costs))


class Labeled(NamedTuple):
    """Points with the labels of their nearest centers.

    Attributes
    ----------
    labels : (n,) int32 array
        Of equally near centers, the first.
    group_labels : (G,) int32 array
        The label of all points of each group, or `kernels.MIXED` if they were labeled one by one.
    sums, totals : (K, F) and (K,) float64 arrays
        Weighted sum and total weight of the points of each cluster. Without the points of mixed
        groups if `GroupedPoints` has the moments only.
    cost : float
        The weighted sum of squared distances of these points to the nearest centers.
    """

    labels: NDArray[np.int32]
    group_labels: NDArray[np.int32]
    sums: Floats
    totals: Floats
    cost: float


def label_once(data: GroupedPoints, centers: Floats) -> Labeled:
    """Return the nearest centers of points, as an `Assignment` does, if the centers never move."""
    centers = np.array(centers, dtype=np.float64, order="C")
    labels = np.empty(len(data.points), np.int32)
    group_labels = np.empty(len(data.totals), np.int32)

    def label(first: int, last: int) -> tuple[Floats, Floats, float]:
        own_sums, own_totals = np.zeros_like(centers), np.zeros(len(centers))
        own_cost = kernels.label_groups(
            data.groups, centers, first, last, labels, group_labels, own_sums, own_totals
        )
        return own_sums, own_totals, own_cost

    sums, totals, cost = np.zeros_like(centers), np.zeros(len(centers)), 0.0
    size = max(_LEAST_SHARE, min(TASK_POINTS, int(data.starts[-1]) // _N_SHARES))
    for task_sums, task_totals, task_cost in data.map(label, size):
        sums += task_sums
        totals += task_totals
        cost += task_cost
    return Labeled(labels, group_labels, sums, totals, cost)


def _equal_groups(n_points: int) -> NDArray[np.int64]:
    return np.append(np.arange(0, n_points, _GROUP_SIZE), n_points)


def _split_into_tasks(starts: NDArray[np.int64], size: int) -> list[tuple[int, int]]:
    """Return the first and last group of each task of about `size` points."""
    task_starts = np.searchsorted(starts, np.arange(0, starts[-1], size))
    bounds = [*task_starts.tolist(), len(starts) - 1]
    return [(a, b) for a, b in pairwise(bounds) if a < b]
