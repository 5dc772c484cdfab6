"""Keep the nearest centers of up to 260,000 points up to date, by searches in tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_kmeans.clustering.kernels import find_nearby, move_centers
from napari_kmeans.clustering.tiles import (
    WIDTH,
    Scratch,
    label_blocks,
    make_factors,
    prepare_centers,
    squared_distance,
)
from napari_kmeans.clustering.vector_search import CENTERS_AT_ONCE
from napari_kmeans.execution.compiling import compile_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.clustering.assignment import GroupedPoints
    from napari_kmeans.types import Floats

_PRODUCTS_PER_CALL = 2**28
"""Approximate number of products of coordinates in one compiled call, which cannot be canceled. It
takes 10 to 30 ms on one core."""


class TiledRuns:
    """Runs of Lloyd's algorithm from several starts, all in one compiled call.

    Each iteration searches the nearest center of every point, on the calling thread. A block of
    128 points is compared only with the centers that can be nearest to a point of its bounding
    box: if consecutive points are near each other, these are few of many centers.

    Parameters
    ----------
    data : GroupedPoints
        Points (n, F), not many more than in one task.
    centers : (R, K, F) float64 array
        The centers of each run.

    Attributes
    ----------
    centers : (R, K, F) float64 array
    labels : (R, n) int32 array
        The index of the nearest center of each point.
    sums, totals, counts : (R, K, F) float64, (R, K) float64 and (R, K) int64 arrays
        Weighted sum, total weight and number of the points of each cluster.
    costs : (R,) float64 array
        The weighted sum of the squared distances to the nearest centers, after `update`.
    """

    def __init__(self, data: GroupedPoints, centers: Floats) -> None:
        self.centers = np.array(centers, dtype=np.float64, order="C")
        n_runs, n_clusters, n_features = self.centers.shape
        self.sums, self.totals = np.zeros_like(self.centers), np.zeros((n_runs, n_clusters))
        self.counts, self.costs = np.zeros((n_runs, n_clusters), np.int64), np.zeros(n_runs)
        labels = np.full((n_runs, len(data.tiles.columns) * WIDTH), -1, np.int32)
        self.labels = labels[:, : len(data.points)]
        self._numbers, self._have_converged = np.zeros(n_runs, np.int64), np.zeros(n_runs, np.bool_)
        prepared, some = (make_factors(n_clusters, n_features) for _ in range(2))
        # The kernel works in these arrays: numba would compile each way to make an array.
        self._arguments = (
            *data.tiles,
            data.weights,
            self.centers,
            labels,
            self.sums,
            self.totals,
            self.counts,
            self.costs,
            self._numbers,
            self._have_converged,
            *prepared,
            np.empty((n_features, n_clusters)),
            np.empty((n_clusters, n_features)),
            *some[:2],
            np.zeros(len(prepared[1]), np.int32),
            np.empty(n_clusters),
            np.zeros(n_clusters + 1),
            Scratch.of(n_features),
        )

    def update(self) -> NDArray[np.int64]:
        """Find the nearest center of each point, and return the numbers of changed labels, (R,)."""
        iterate_tiled(*self._arguments, 0, 0.0)
        return self._numbers.copy()

    def iterate(
        self, max_iter: int, threshold: float
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Repeat `update` and move the centers, until the centers of each run have converged.

        A run stops before its centers are moved if an update leaves a center without points.

        Parameters
        ----------
        max_iter : int
            At least 1.
        threshold : float
            The sum of the squared motions of the centers at which they have converged.

        Returns
        -------
        n_iter : (R,) int64 array
            The numbers of iterations.
        have_converged : (R,) bool array
        """
        iterate_tiled(*self._arguments, max_iter, threshold)
        return self._numbers.copy(), self._have_converged.copy()


class TiledAssignment:
    """The nearest center of every point, found by a search in each iteration.

    It has the methods and attributes of `Assignment` that `lloyd` uses, and the same labels. See
    `TiledRuns`, of which this is one. With few points, searches in tiles take 0.1 to 0.7 of the
    time of an `Assignment`, for 3 to 40 features and 8 to 256 clusters.

    Parameters
    ----------
    data : GroupedPoints
        Points (n, F), not many more than in one task.
    centers : (K, F) float64 array
    """

    def __init__(self, data: GroupedPoints, centers: Floats) -> None:
        self.data = data
        self._runs = TiledRuns(data, centers[None])
        (self.centers,), (self.sums,) = self._runs.centers, self._runs.sums
        (self.totals,), (self.counts,) = self._runs.totals, self._runs.counts

    def update(self) -> int:
        """Find the nearest center of each point, and return the number of changed labels."""
        return int(self._runs.update()[0])

    def iterate(self, max_iter: int, threshold: float) -> tuple[int, bool]:
        """Repeat `update` and `move` until the centers have converged.

        Stop before the centers are moved if an update leaves a center without points. Return
        after some of the iterations, so that the caller can cancel. The results are those of
        `Assignment.iterate`.
        """
        n_values = self.data.tiles.columns.size
        n_per_call = max(1, _PRODUCTS_PER_CALL // (n_values * len(self.centers)))
        (n_iter,), (has_converged,) = self._runs.iterate(min(max_iter, n_per_call), threshold)
        return int(n_iter), bool(has_converged)

    def move(self, sums: Floats, totals: Floats) -> float:
        """Move the centers to ``sums / totals``, and return the sum of their squared motions."""
        return float(move_centers(self.centers, sums, totals, np.zeros(len(totals) + 1)))

    def labels(self) -> NDArray[np.int32]:
        """Return the label of each point, (n,)."""
        labels: NDArray[np.int32] = self._runs.labels[0].copy()
        return labels

    def cost(self) -> float:
        """Return the weighted sum of squared distances to the nearest centers."""
        return float(self._runs.costs[0])


@compile_kernel
def iterate_tiled(
    columns: NDArray[np.float32],
    sizes: NDArray[np.float32],
    exact: NDArray[np.float64],
    boxes: NDArray[np.float64],
    origin: NDArray[np.float32],
    weights: NDArray[np.float64],
    all_centers: NDArray[np.float64],
    all_labels: NDArray[np.int32],
    all_sums: NDArray[np.float64],
    all_totals: NDArray[np.float64],
    all_counts: NDArray[np.int64],
    costs: NDArray[np.float64],
    numbers: NDArray[np.int64],
    have_converged: NDArray[np.bool_],
    factors: NDArray[np.float32],
    squares: NDArray[np.float32],
    errors: NDArray[np.float32],
    center_columns: NDArray[np.float64],
    some_centers: NDArray[np.float64],
    some_factors: NDArray[np.float32],
    some_squares: NDArray[np.float32],
    candidates: NDArray[np.int32],
    distances: NDArray[np.float64],
    drifts: NDArray[np.float64],
    scratch: Scratch,
    max_iter: int,
    threshold: float,
) -> None:
    """Update labels and sums, and move the centers, until the centers of each run have converged.

    Parameters
    ----------
    columns, sizes, exact, boxes, origin
        The points: see `TiledPoints`.
    weights : (n,) array
    all_centers, all_labels, all_sums, all_totals, all_counts, costs
        The runs: see `TiledRuns`. The labels are those of all blocks, (R, 128 B).
    numbers : (R,) array
        Receives the numbers of iterations. With ``max_iter=0``, the numbers of labels that changed.
    have_converged : (R,) array
        Receives whether the centers have converged.
    factors, squares, errors
        See `label_blocks` and `prepare_centers`.
    center_columns, some_centers, some_factors, some_squares, candidates, distances, drifts, scratch
        Working memory.
    max_iter : int
        The largest number of iterations. With 0, the labels and sums are updated once, and the
        costs are written. A kernel of its own for this would compile `label_blocks` again.
    threshold : float
    """
    n_points, n_features = weights.shape[0], exact.shape[1]
    for run in range(all_centers.shape[0]):
        centers, labels = all_centers[run], all_labels[run]
        sums, totals, counts = all_sums[run], all_totals[run], all_counts[run]
        n_clusters, n_iter = counts.shape[0], 0
        have_converged[run] = False
        while True:
            prepare_centers(centers, origin, True, factors, squares, errors)
            for j in range(n_features):
                for k in range(n_clusters):
                    center_columns[j, k] = centers[k, j]
            n_changed = 0
            for block in range(columns.shape[0]):
                n = find_nearby(boxes, block, center_columns, distances, candidates)
                if n == 1:
                    is_settled = True
                    for i in range(block * WIDTH, min((block + 1) * WIDTH, n_points)):
                        is_settled = is_settled and labels[i] == candidates[0]
                    if is_settled:
                        continue
                # The candidates are ascending: of equally near centers, the first is still taken.
                for c in range(n):
                    k = candidates[c]
                    some_squares[c] = squares[k]
                    for j in range(n_features):
                        some_factors[c, j] = factors[k, j]
                        some_centers[c, j] = centers[k, j]
                # Centers that fill up to a multiple of 4 are infinitely far.
                for c in range(n, min(n + CENTERS_AT_ONCE - 1, squares.shape[0])):
                    some_squares[c] = np.inf
                n_changed += label_blocks(
                    columns,
                    sizes,
                    exact,
                    origin,
                    block,
                    block + 1,
                    n_points,
                    n,
                    some_centers,
                    some_factors,
                    some_squares,
                    errors,
                    candidates,
                    labels,
                    weights,
                    sums,
                    totals,
                    counts,
                    scratch,
                )
            if max_iter == 0:
                cost = 0.0
                for i in range(n_points):
                    block, place = i // WIDTH, i % WIDTH
                    cost += weights[i] * squared_distance(exact, block, place, centers, labels[i])
                costs[run], numbers[run] = cost, n_changed
                break
            n_iter += 1
            numbers[run], is_any_empty = n_iter, False
            for k in range(n_clusters):
                is_any_empty = is_any_empty or counts[k] == 0
            if is_any_empty:
                break
            motion = move_centers(centers, sums, totals, drifts)
            if n_changed == 0 or motion <= threshold:
                have_converged[run] = True
            if have_converged[run] or n_iter == max_iter:
                break
