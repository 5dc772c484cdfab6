"""Lloyd's algorithm on weighted points: restarts, convergence, empty clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.clustering import kernels
from napari_kmeans.clustering.assignment import Assignment, GroupedPoints
from napari_kmeans.clustering.seeding import draw_seeds
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import map_slices, map_threads, raise_if_stopped, shared_pool

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

_ROUNDING = 1e-12
"""What rounding adds to a number, at most: where points differ by no more, they are one."""

_SLAB = 2**17
"""Points per task of a plain search."""


@dataclass(frozen=True, eq=False)
class Fit:
    """Centers (K, F), the cost of the points there, the iterations it took, the labels (n,)."""

    centers: Floats
    inertia: float
    n_iter: int
    labels: NDArray[np.int32]


def find_nearest(points: Floats, centers: Floats) -> tuple[NDArray[np.int32], Floats]:
    """Return the nearest center of each point (n, F), and its squared distance.

    The first of equally near centers is taken.
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
    """Move centers to the means of their points until nothing changes.

    Parameters
    ----------
    data : GroupedPoints
        The weighted points (n, F).
    start : (K, F) float64 array
        The centers to start from.
    max_iter : int
        0 takes the start for the result.
    tol : float
        Stops once the summed squared motion of the centers is at most `tol`
        times the mean variance of the features, as in scikit-learn.
    step : callable
        Called with 0 in each iteration; raising from it ends the work.

    Notes
    -----
    A center that loses all its points moves to the point that is farthest from
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
                at_rest = not _refill(assignment)
        assignment.update()
        # The last iteration may have left a center without points, also where it was the
        # only one that was asked for: no cluster may be lost while points could fill it.
        for _ in range(len(start) if max_iter else 0):
            if assignment.counts.all() or not _refill(assignment):
                break
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
        return lloyd(data, seeds, max_iter=max_iter, tol=tol, step=raise_if_stopped)

    if n_init == 1:
        # Alone, it has all threads to itself, and can be canceled on the way.
        (stream,) = rng.spawn(1)
        seeds = draw_seeds(data.points, data.weights, n_clusters, init, stream)
        return [lloyd(data, seeds, max_iter=max_iter, tol=tol, step=step)]
    return sorted(map_threads(run, rng.spawn(n_init), step), key=lambda fit: fit.inertia)


def _refill(assignment: Assignment) -> int:
    """Move all centers to their means, and empty ones to the farthest points.

    Returns the number of centers that were filled. It is 0 where all points lie on
    their centers.
    """
    data, labels = assignment.data, assignment.labels()
    empty = np.flatnonzero(assignment.counts == 0)
    sums, totals = assignment.sums.copy(), assignment.totals.copy()
    # Sums that were added to and subtracted from may be off by rounding: without points,
    # they are 0.
    sums[empty], totals[empty] = 0, 0
    distances = find_nearest(data.points, assignment.centers)[1]
    # Some of the farthest points may be of no use.
    n_far = min(2 * len(assignment.centers), len(distances))
    far = np.argpartition(distances, -n_far)[-n_far:]
    far = far[np.argsort(-distances[far], kind="stable")]
    n_filled = refill_empty_clusters(
        sums, totals, empty, data.points[far], data.weights[far], labels[far], distances[far]
    )
    assignment.move(sums, totals)
    return n_filled


def refill_empty_clusters(
    sums: Floats,
    totals: Floats,
    empty: NDArray[np.int64],
    points: NDArray[Any],
    weights: Floats,
    labels: NDArray[np.int32],
    distances: Floats,
) -> int:
    """Give each empty cluster one of the farthest points of the others, in place.

    Parameters
    ----------
    sums, totals : (K, F) and (K,) float64 arrays
        Weighted sums and weights of all clusters.
    empty : (E,) int64 array
        The clusters without points.
    points, weights, labels, distances : arrays (m, F) and (m,)
        The points that are farthest from the centers of their labels, the
        farthest first, and their squared distances. A point that lies on its
        center, or is the only one of its cluster, is skipped.

    Returns
    -------
    int
        How many of the empty clusters got a point.
    """
    n_filled = 0
    for number in range(len(points)):
        if n_filled == len(empty):
            break
        rounding = _ROUNDING * float(np.abs(points[number]).max())
        if distances[number] <= rounding**2:
            break
        if weights[number] >= (1 - _ROUNDING) * totals[labels[number]]:
            continue
        share = weights[number] * points[number]
        sums[labels[number]] -= share
        totals[labels[number]] -= weights[number]
        sums[empty[n_filled]] += share
        totals[empty[n_filled]] += weights[number]
        n_filled += 1
    return n_filled
