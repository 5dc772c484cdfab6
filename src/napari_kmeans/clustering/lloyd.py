"""Run Lloyd's algorithm on weighted points: restarts, convergence, empty clusters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.clustering.assignment import Assignment, GroupedPoints
from napari_kmeans.clustering.kernels import ROUNDING
from napari_kmeans.clustering.seeding import draw_all_seeds, draw_seeds
from napari_kmeans.clustering.tiled_assignment import TiledAssignment, TiledRuns
from napari_kmeans.clustering.tiles import find_nearest
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import (
    map_threads,
    n_workers,
    raise_if_stopped,
    shared_pool,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

_MANY_CLUSTERS = 48
"""Clusters from which up to 262,144 points are compared in tiles, and 131,072 below. With 163,000
colors, a run then takes 0.6 of the time for 128 and 256 clusters, and 1.1 for 8 and 32."""

_WORK_PER_TASK = 2**17
"""Products of coordinates in one iteration of all restarts of a task. Each task does a little work
in Python, for which threads wait for each other. With 1000 points and 8 clusters, a restart takes
an eighth of a millisecond, and a task has six."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A result of K-means.

    Attributes
    ----------
    centers : (K, F) float64 array
    inertia : float
        The cost: the weighted sum of squared distances of the points to their nearest centers.
    n_iter : int
        The number of iterations.
    labels : (n,) int32 array
        The index of the nearest center of each point.
    """

    centers: Floats
    inertia: float
    n_iter: int
    labels: NDArray[np.int32]


def lloyd(
    data: GroupedPoints, start: Floats, *, max_iter: int, tol: float, step: Step = ignore
) -> Fit:
    """Move centers to the means of their points until the labels no longer change.

    Parameters
    ----------
    data : GroupedPoints
        The weighted points (n, F).
    start : (K, F) float64 array
        The initial centers.
    max_iter : int
        The largest number of iterations. With 0, the initial centers are the result.
    tol : float
        The run stops when the sum of the squared motions of the centers is at most `tol` times
        the mean variance of the features, as in scikit-learn.
    step : callable
        Called with 0 before each compiled call, which runs one or more iterations. An exception
        that it raises ends the run.

    Notes
    -----
    A center that has lost all its points moves to the point that is farthest from its own
    center, as in scikit-learn.

    References
    ----------
    .. [1] S. Lloyd, "Least squares quantization in PCM",
       :doi:`10.1109/TIT.1982.1056489`.
    """
    assignment = _assign(data, start)
    threshold = tol * data.mean_variance
    n_iter, converged = 0, False
    with shared_pool():
        while n_iter < max_iter and not converged:
            step(0)
            n_done, converged = assignment.iterate(max_iter - n_iter, threshold)
            n_iter += n_done
            if not assignment.counts.all():
                converged = not _move_and_refill(assignment)
        assignment.update()
        # The last iteration can leave a center without points, also if `max_iter` is 1. Refill
        # it, so that no cluster is lost while there are points for it.
        for _ in range(len(start) if max_iter else 0):
            if assignment.counts.all():
                break
            n_refilled = _move_and_refill(assignment)
            assignment.update()
            if not n_refilled:
                break
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
    """Run Lloyd's algorithm from `n_init` starts, and return the fits in order of their cost.

    The parameters are described in `lloyd` and `draw_seeds`. `step` is also called with 1 after
    each run.
    """

    def run(streams: list[np.random.Generator]) -> list[Fit]:
        starts = draw_all_seeds(data.points, data.weights, n_clusters, init, streams)
        return _run_from_all(data, starts, max_iter, tol)

    if n_init == 1:
        # A single run outside a task uses all threads, and can be canceled in each iteration.
        (stream,) = rng.spawn(1)
        seeds = draw_seeds(data.points, data.weights, n_clusters, init, stream)
        return [lloyd(data, seeds, max_iter=max_iter, tol=tol, step=step)]
    share_preparation(data, n_clusters)
    streams = rng.spawn(n_init)
    # Each run has its own random numbers: the number of tasks does not change the fits.
    n_at_most = math.ceil(n_init / n_workers())
    n_per_task = min(1 + _WORK_PER_TASK // (data.points.size * n_clusters), n_at_most)
    tasks = [streams[first : first + n_per_task] for first in range(0, n_init, n_per_task)]
    lengths = iter(map(len, tasks))
    fits = map_threads(run, tasks, lambda steps: step(next(lengths) if steps else 0))
    return sorted(chain.from_iterable(fits), key=lambda fit: fit.inertia)


def _run_from_all(
    data: GroupedPoints, starts: list[Floats], max_iter: int, tol: float
) -> list[Fit]:
    """Run `lloyd` from several starts, in one compiled call if that is possible.

    Between the calls of each run, a task would wait for the interpreter, which other tasks use,
    too. On two threads, short runs then take no less time than on one.
    """
    run = partial(lloyd, data, max_iter=max_iter, tol=tol, step=raise_if_stopped)
    # Of fewer distinct points than clusters, starts can have different numbers.
    is_equal = len({len(start) for start in starts}) == 1
    if len(starts) == 1 or not is_equal or not _takes_tiles(data, len(starts[0])) or not max_iter:
        return [run(start) for start in starts]
    runs = TiledRuns(data, np.stack(starts))
    n_iter, _ = runs.iterate(max_iter, tol * data.mean_variance)
    runs.update()
    fits = zip(runs.centers, runs.costs.tolist(), n_iter.tolist(), runs.labels, strict=True)
    # Only `lloyd` refills clusters that have lost all points.
    are_complete = runs.counts.min(axis=1) > 0
    return [
        Fit(*fit) if is_complete else run(start)
        for fit, is_complete, start in zip(fits, are_complete, starts, strict=True)
    ]


def _assign(data: GroupedPoints, centers: Floats) -> Assignment | TiledAssignment:
    """Return the way to keep labels up to date that takes the least time."""
    is_tiled = _takes_tiles(data, len(centers))
    return TiledAssignment(data, centers) if is_tiled else Assignment(data, centers)


def _takes_tiles(data: GroupedPoints, n_clusters: int) -> bool:
    return len(data.tasks) <= (2 if n_clusters >= _MANY_CLUSTERS else 1)


def share_preparation(data: GroupedPoints, n_clusters: int) -> None:
    """Compute what runs of `lloyd` on the same points have in common, before they run at once."""
    _ = data.mean_variance
    if _takes_tiles(data, n_clusters):
        _ = data.tiles


def _move_and_refill(assignment: Assignment | TiledAssignment) -> int:
    """Move centers to the means of their points, and empty centers to the farthest points.

    Returns the number of centers that got a point. It is 0 if all points lie on their centers.
    """
    data, labels = assignment.data, assignment.labels()
    empty = np.flatnonzero(assignment.counts == 0)
    sums, totals = assignment.sums.copy(), assignment.totals.copy()
    # Points were added to and subtracted from these sums. Only rounding errors are left of the
    # sums of empty clusters: reset them to 0.
    sums[empty], totals[empty] = 0, 0
    distances = find_nearest(data.points, assignment.centers)[1]
    # Take more points than there are empty clusters: `refill_empty_clusters` skips some points.
    n_far = min(2 * len(assignment.centers), len(distances))
    farthest = np.argpartition(distances, -n_far)[-n_far:]
    farthest = farthest[np.argsort(-distances[farthest], kind="stable")]
    n_filled = refill_empty_clusters(
        sums,
        totals,
        empty,
        data.points[farthest],
        data.weights[farthest],
        labels[farthest],
        distances[farthest],
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
    """Move one of the farthest points to each empty cluster, in place.

    Parameters
    ----------
    sums, totals : (K, F) and (K,) float64 arrays
        Weighted sums and total weights of all clusters.
    empty : (E,) int64 array
        Labels of the clusters without points.
    points, weights, labels, distances : arrays (m, F) and (m,)
        The points that are farthest from their centers, in descending order of their squared
        `distances`. A point that lies on its center, or that has all the weight of its
        cluster, is skipped.

    Returns
    -------
    int
        The number of empty clusters that got a point.
    """
    n_filled = 0
    for i in range(len(points)):
        if n_filled == len(empty):
            break
        # Points that differ by less count as equal.
        rounding = ROUNDING * float(np.abs(points[i]).max())
        if distances[i] <= rounding**2:
            break
        if weights[i] >= (1 - ROUNDING) * totals[labels[i]]:
            continue
        share = weights[i] * points[i]
        sums[labels[i]] -= share
        totals[labels[i]] -= weights[i]
        sums[empty[n_filled]] += share
        totals[empty[n_filled]] += weights[i]
        n_filled += 1
    return n_filled
