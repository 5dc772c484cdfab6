"""Lloyd's algorithm on weighted points: restarts, convergence, empty clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_kmeans.clustering import kernels
from napari_kmeans.clustering.seeding import draw_seeds
from napari_kmeans.parallel import map_threads
from napari_kmeans.progress import Step, ignore

if TYPE_CHECKING:
    from collections.abc import Iterator

Floats = NDArray[np.float64]

_SLAB = 2**17
"""Points per task. Fixed, so that sums do not depend on the number of threads."""


@dataclass(frozen=True, eq=False)
class Fit:
    """Centres (K, F), the cost of the points there, the iterations it took."""

    centers: Floats
    inertia: float
    n_iter: int


def find_nearest(points: Floats, centers: Floats) -> tuple[NDArray[np.int32], Floats]:
    """Return the nearest centre of each point (n, F), and its squared distance.

    The first of equally near centres is taken.
    """
    labels = np.empty(len(points), dtype=np.int32)
    distances = np.empty(len(points))

    def find(slab: slice) -> None:
        kernels.nearest(points[slab], centers, labels[slab], distances[slab])

    map_threads(find, _slabs(len(points)))
    return labels, distances


def lloyd(
    points: Floats,
    weights: Floats,
    centers: Floats,
    *,
    max_iter: int,
    tol: float,
    step: Step = ignore,
) -> Fit:
    """Move centres to the means of their points until nothing changes.

    Parameters
    ----------
    points : (n, F) float64 array
    weights : (n,) float64 array
        Positive.
    centers : (K, F) float64 array
        Where to start.
    max_iter : int
    tol : float
        Stops once the summed squared motion of the centres is at most `tol`
        times the mean variance of the features, as in scikit-learn.
    step : callable
        Called with 0 in each iteration; raising from it ends the work.

    Notes
    -----
    A centre that loses all its points moves to the point that is farthest from
    its own, as in scikit-learn.

    References
    ----------
    .. [1] S. Lloyd, "Least squares quantization in PCM",
       :doi:`10.1109/TIT.1982.1056489`.
    """
    centers = centers.copy()
    threshold = tol * _mean_variance(points, weights)
    labels = np.full(len(points), -1, dtype=np.int32)
    n_iter = 0
    while n_iter < max_iter:
        n_iter += 1
        step(0)
        sums, totals, changed = _assign(points, weights, centers, labels)
        if not totals.all():
            _fill_empty(points, weights, centers, labels, sums, totals)
        moved = np.divide(sums, totals[:, None], out=centers.copy(), where=totals[:, None] > 0)
        motion = float(((moved - centers) ** 2).sum())
        centers = moved
        if not changed or motion <= threshold:
            break
    return Fit(centers, total_cost(points, weights, centers), n_iter)


def fit_restarts(
    points: Floats,
    weights: Floats,
    *,
    n_clusters: int,
    init: str,
    n_init: int,
    max_iter: int,
    tol: float,
    rng: np.random.Generator,
    step: Step = ignore,
) -> Fit:
    """Run Lloyd from `n_init` starts and return the run of least cost.

    The parameters are those of `lloyd` and `draw_seeds`; `step` is also called
    with 1 after each run.
    """
    best: Fit | None = None
    for _ in range(n_init):
        seeds = draw_seeds(points, weights, n_clusters, init, rng)
        fit = lloyd(points, weights, seeds, max_iter=max_iter, tol=tol, step=step)
        if best is None or fit.inertia < best.inertia:
            best = fit
        step(1)
    assert best is not None
    return best


def total_cost(points: Floats, weights: Floats, centers: Floats) -> float:
    """Return the weighted sum of squared distances to the nearest centre."""
    return _dot(weights, find_nearest(points, centers)[1])


def _dot(weights: Floats, values: Floats) -> float:
    # Not through BLAS, whose threads add in an order of their own.
    return float(np.sum(weights * values))


def _slabs(n_points: int) -> Iterator[slice]:
    return (slice(start, start + _SLAB) for start in range(0, n_points, _SLAB))


def _assign(
    points: Floats, weights: Floats, centers: Floats, labels: NDArray[np.int32]
) -> tuple[Floats, Floats, int]:
    def assign(slab: slice) -> tuple[Floats, Floats, int]:
        sums, totals = np.zeros_like(centers), np.zeros(len(centers))
        changed = kernels.assign_and_add(
            points[slab], weights[slab], centers, labels[slab], sums, totals
        )
        return sums, totals, changed

    sums, totals, changed = zip(*map_threads(assign, _slabs(len(points))), strict=True)
    return np.sum(sums, axis=0), np.sum(totals, axis=0), sum(changed)


def _fill_empty(
    points: Floats,
    weights: Floats,
    centers: Floats,
    labels: NDArray[np.int32],
    sums: Floats,
    totals: Floats,
) -> None:
    """Give each empty cluster the point farthest from its centre, in place."""
    empty = np.flatnonzero(totals == 0)
    distances = find_nearest(points, centers)[1]
    n_moved = min(len(empty), len(points))
    far = np.argpartition(distances, -n_moved)[-n_moved:]
    far = far[np.argsort(-distances[far], kind="stable")]
    for cluster, index in zip(empty, far, strict=False):
        if distances[index] == 0:
            return
        share = weights[index] * points[index]
        sums[labels[index]] -= share
        totals[labels[index]] -= weights[index]
        sums[cluster] += share
        totals[cluster] += weights[index]


def _mean_variance(points: Floats, weights: Floats) -> float:
    total = weights.sum()
    variances = []
    for column in points.T:
        mean = _dot(weights, column) / total
        variances.append(_dot(weights, (column - mean) ** 2) / total)
    return float(np.mean(variances))
