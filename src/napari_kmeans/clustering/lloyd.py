"""Lloyd's algorithm on weighted points: restarts, convergence, empty clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_kmeans.clustering import kernels
from napari_kmeans.clustering.assignment import Assignment, GroupedPoints
from napari_kmeans.clustering.seeding import draw_seeds
from napari_kmeans.parallel import map_slices, map_threads, shared_pool, stop_if_in_vain
from napari_kmeans.progress import Step, ignore

Floats: TypeAlias = NDArray[np.float64]

_ROUNDING = 1e-12
"""What rounding adds to a number, at most: where points differ by no more, they are one."""

_SLAB = 2**17
"""Points per task of a plain search."""


@dataclass(frozen=True, eq=False)
class Fit:
    """Centres (K, F), the cost of the points there, the iterations it took, the labels (n,)."""

    centers: Floats
    inertia: float
    n_iter: int
    labels: NDArray[np.int32]


def find_nearest(points: Floats, centers: Floats) -> tuple[NDArray[np.int32], Floats]:
    """Return the nearest centre of each point (n, F), and its squared distance.

    The first of equally near centres is taken.
    """
    labels = np.empty(len(points), dtype=np.int32)
    distances = np.empty(len(points))

    def find(slab: slice) -> None:
        kernels.nearest(points[slab], centers, labels[slab], distances[slab])

    map_slices(find, len(points), _SLAB)
    return labels, distances


def lloyd(
    data: GroupedPoints, start: Floats, *, max_iter: int, tol: float, step: Step = ignore
) -> Fit:
    """Move centres to the means of their points until nothing changes.

    Parameters
    ----------
    data : GroupedPoints
        The weighted points (n, F).
    start : (K, F) float64 array
        The centres to start from.
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
    assignment = Assignment(data, start)
    threshold = tol * data.mean_variance
    n_iter, at_rest = 0, False
    with shared_pool():
        while n_iter < max_iter and not at_rest:
            step(0)
            n_more, at_rest = assignment.iterate(max_iter - n_iter, threshold)
            n_iter += n_more
            if not assignment.counts.all():
                at_rest = assignment.move(*_filled(assignment)) <= threshold
        assignment.update()
    return Fit(assignment.centers, assignment.cost(), n_iter, assignment.labels())


def fit_restarts(
    data: GroupedPoints,
    *,
    n_clusters: int,
    init: str,
    n_init: int,
    max_iter: int,
    tol: float,
    rng: np.random.Generator,
    step: Step = ignore,
) -> list[Fit]:
    """Run Lloyd from `n_init` starts; return the runs, that of least cost first.

    The parameters are those of `lloyd` and `draw_seeds`; `step` is also called
    with 1 after each run.
    """

    def run(stream: np.random.Generator) -> Fit:
        seeds = draw_seeds(data.points, data.weights, n_clusters, init, stream)
        return lloyd(data, seeds, max_iter=max_iter, tol=tol, step=stop_if_in_vain)

    if n_init == 1:
        # Alone, it has all threads to itself, and can be cancelled on the way.
        (stream,) = rng.spawn(1)
        seeds = draw_seeds(data.points, data.weights, n_clusters, init, stream)
        return [lloyd(data, seeds, max_iter=max_iter, tol=tol, step=step)]
    return sorted(map_threads(run, rng.spawn(n_init), step), key=lambda fit: fit.inertia)


def _filled(assignment: Assignment) -> tuple[Floats, Floats]:
    """Return the sums and weights of all centres, of empty ones those of the farthest points."""
    if assignment.counts.all():
        return assignment.sums, assignment.totals
    data, labels = assignment.data, assignment.labels()
    empty = np.flatnonzero(assignment.counts == 0)
    sums, totals = assignment.sums.copy(), assignment.totals.copy()
    # Rounding may leave crumbs of what has gone.
    sums[empty], totals[empty] = 0, 0
    distances = find_nearest(data.points, assignment.centers)[1]
    n_moved = min(len(empty), len(distances))
    far = np.argpartition(distances, -n_moved)[-n_moved:]
    far = far[np.argsort(-distances[far], kind="stable")]
    give_farthest(
        sums, totals, empty, data.points[far], data.weights[far], labels[far], distances[far]
    )
    return sums, totals


def give_farthest(
    sums: Floats,
    totals: Floats,
    empty: NDArray[np.int64],
    points: Floats,
    weights: Floats,
    labels: NDArray[np.int32],
    distances: Floats,
) -> None:
    """Give each empty cluster one of the farthest points of the others, in place.

    Parameters
    ----------
    sums, totals : (K, F) and (K,) float64 arrays
        Of all clusters.
    empty : (E,) int64 array
        The clusters without points.
    points, weights, labels, distances : arrays (m, F) and (m,)
        The points that are farthest from the centres of their labels, the
        farthest first, and their squared distances. One that lies on its
        centre, or is all that its cluster has, is of no use.
    """
    for number, cluster in enumerate(empty[: len(points)]):
        rounding = _ROUNDING * float(np.abs(points[number]).max())
        if distances[number] <= rounding**2:
            break
        if weights[number] >= (1 - _ROUNDING) * totals[labels[number]]:
            continue
        share = weights[number] * points[number]
        sums[labels[number]] -= share
        totals[labels[number]] -= weights[number]
        sums[cluster] += share
        totals[cluster] += weights[number]
