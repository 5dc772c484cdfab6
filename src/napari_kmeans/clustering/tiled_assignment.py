"""Keep the nearest centers of up to 260,000 points up to date, by searches in tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.clustering.kernels import find_nearby, move_centers
from napari_kmeans.clustering.tiles import (
    WIDTH,
    Scratch,
    label_blocks,
    make_factors,
    measure_tile,
    prepare_centers,
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


class TiledAssignment:
    """The nearest center of every point, found by a search in each iteration.

    It has the methods and attributes of `Assignment` that `lloyd` uses, and the same labels. All
    work is done on the calling thread. A block of 128 points is compared only with the centers
    that can be nearest to a point of its bounding box: if consecutive points are near each other,
    these are few of many centers. With few points, searches in tiles take 0.1 to 0.7 of the time of
    an `Assignment`, for 3 to 40 features and 8 to 256 clusters.

    Parameters
    ----------
    data : GroupedPoints
        Points (n, F), not many more than in one task.
    centers : (K, F) float64 array
    """

    def __init__(self, data: GroupedPoints, centers: Floats) -> None:
        self.data = data
        self.centers = np.array(centers, dtype=np.float64, order="C")
        n_clusters, n_features = self.centers.shape
        self.sums = np.zeros_like(self.centers)
        self.totals = np.zeros(n_clusters)
        self.counts = np.zeros(n_clusters, np.int64)
        self._labels = np.full(len(data.tiles.columns) * WIDTH, -1, np.int32)
        self._prepared = make_factors(n_clusters, n_features)
        self._scratch = Scratch.of(n_features)

    def update(self) -> int:
        """Find the nearest center of each point, and return the number of changed labels."""
        return int(iterate_tiled(*self._arguments, 0, 0.0)[0])

    def iterate(self, max_iter: int, threshold: float) -> tuple[int, bool]:
        """Repeat `update` and `move` until the centers have converged.

        Stop before the centers are moved if an update leaves a center without points. Return
        after some of the iterations, so that the caller can cancel. The results are those of
        `Assignment.iterate`.
        """
        n_values = self.data.tiles.columns.size
        n_per_call = max(1, _PRODUCTS_PER_CALL // (n_values * len(self.centers)))
        result: tuple[int, bool] = iterate_tiled(
            *self._arguments, min(max_iter, n_per_call), threshold
        )
        return result

    @property
    def _arguments(self) -> tuple[Any, ...]:
        return (
            *self.data.tiles,
            self.data.weights,
            self.centers,
            *self._prepared,
            self._labels,
            self.sums,
            self.totals,
            self.counts,
            self._scratch,
        )

    def move(self, sums: Floats, totals: Floats) -> float:
        """Move the centers to ``sums / totals``, and return the sum of their squared motions."""
        return float(move_centers(self.centers, sums, totals, np.zeros(len(totals) + 1)))

    def labels(self) -> NDArray[np.int32]:
        """Return the label of each point, (n,)."""
        return self._labels[: len(self.data.points)].copy()

    def cost(self) -> float:
        """Return the weighted sum of squared distances to the nearest centers."""
        distances = np.empty(len(self.data.points))
        labels = self._labels[: len(distances)]
        measure_tile(self.data.tiles.exact, self.centers, labels, distances)
        return float((self.data.weights * distances).sum())


@compile_kernel
def iterate_tiled(
    columns: NDArray[np.float32],
    sizes: NDArray[np.float32],
    exact: NDArray[np.float64],
    boxes: NDArray[np.float64],
    origin: NDArray[np.float32],
    weights: NDArray[np.float64],
    centers: NDArray[np.float64],
    factors: NDArray[np.float32],
    squares: NDArray[np.float32],
    errors: NDArray[np.float32],
    labels: NDArray[np.int32],
    sums: NDArray[np.float64],
    totals: NDArray[np.float64],
    counts: NDArray[np.int64],
    scratch: Scratch,
    max_iter: int,
    threshold: float,
) -> Any:
    """Update labels and sums, and move the centers, until the centers have converged.

    Stop before the centers are moved if an update leaves a center without points.

    Parameters
    ----------
    columns, sizes, exact, boxes, origin
        The points: see `TiledPoints`.
    weights : (n,) array
    centers : (K, F) array
    factors, squares, errors
        See `label_blocks` and `prepare_centers`.
    labels : (128 B,) array
        -1 before the first update.
    sums, totals, counts : (K, F), (K,) and (K,) arrays
        Weighted sum, total weight and number of the points of each cluster.
    scratch : Scratch
    max_iter : int
        The largest number of iterations. With 0, the labels and sums are updated once. A kernel
        of its own for this would compile `label_blocks` again.
    threshold : float

    Returns
    -------
    int
        The number of iterations. With ``max_iter=0``, the number of labels that changed.
    bool
        True if the centers have converged.
    """
    n_clusters, n_features = centers.shape
    center_columns, some_centers = np.empty((n_features, n_clusters)), np.empty(centers.shape)
    some_factors, some_squares = np.zeros(factors.shape, np.float32), squares.copy()
    distances, candidates = np.empty(n_clusters), np.zeros(squares.shape[0], np.int32)
    drifts = np.zeros(centers.shape[0] + 1)
    n_iter = 0
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
                for i in range(block * WIDTH, min((block + 1) * WIDTH, weights.shape[0])):
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
                weights.shape[0],
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
            return n_changed, False
        n_iter += 1
        for k in range(centers.shape[0]):
            if counts[k] == 0:
                return n_iter, False
        motion = move_centers(centers, sums, totals, drifts)
        if n_changed == 0 or motion <= threshold:
            return n_iter, True
        if n_iter == max_iter:
            return n_iter, False
