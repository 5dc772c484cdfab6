"""Fit K-means to weighted points: choose the initial centers, run Lloyd, keep the best."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import isclose
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.clustering.assignment import GroupedPoints
from napari_kmeans.clustering.cells import MAX_POINTS, group_in_cells
from napari_kmeans.clustering.coreset import draw_coreset
from napari_kmeans.clustering.lloyd import Fit, fit_restarts, lloyd, share_preparation
from napari_kmeans.clustering.local_search import improve
from napari_kmeans.clustering.one_dimension import fit_line
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import map_threads, raise_if_stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_kmeans.options import Options
    from napari_kmeans.types import Floats


_MIN_RESTART_POINTS = 1000
_RESTART_POINTS_PER_CLUSTER = 20
"""The number of points that restarts run on. In the same time, many starts on few points find
centers of lower cost than few starts on many points."""

_FEW_CLUSTERS = 8
_MANY_CLUSTERS = 64
"""The local search improves the best 4 restarts up to 8 clusters, the best 2 up to 64 clusters, and
then only the best: with many clusters, one long search finds lower costs than several short ones.
The searches run at the same time. Their number does not depend on the number of threads."""

_COMPARED_TOL = 3e-4
"""Smallest tolerance of the runs that are compared. The best of them continues with `tol`."""

_SAME_COST = 1e-9
"""Relative difference of costs that can be a rounding error. With up to 8 clusters, most searches
find the same clusters."""


def fit_points(
    levels: list[GroupedPoints],
    options: Options,
    start: Floats | None,
    rng: np.random.Generator,
    step: Step = ignore,
) -> Fit:
    """Fit K-means to the last of several summaries of the same points.

    Parameters
    ----------
    levels : list of GroupedPoints
        Points (n, F) in the units of the clustering space and their weights,
        from the smallest summary to the largest.
    options : Options
        The fields `n_clusters`, `init`, `keep_init`, `n_init`, `max_iter` and `tol` are used, and
        `coreset_size` as the size of the sample.
    start : (K, F) float64 array or None
        The initial centers of a single run on the last level. None draws the initial centers
        by `init`. If ``n_init`` is 1, they are drawn from the points of the last level.
        Otherwise the restarts run on a small number of cells of the first level that has
        enough points, where a restart takes little time. `local_search.improve` improves the
        best restarts. The results are compared on the next level. Then Lloyd's algorithm runs
        on each further level, from the best centers of the level before.
    rng : numpy.random.Generator
    step : callable
        Called with 1 after each restart, and with 0 in each iteration.

    Notes
    -----
    Points with a single feature are fitted to the global optimum, or to within a bound of it, if
    `start` is None: see `fit_line`.
    """
    data = levels[-1]
    if start is not None:
        return _run_lloyd(data, start, options, step)
    if data.points.shape[1] == 1:
        return fit_line(data.points, data.weights, options.n_clusters, step)
    if len(data.points) <= options.n_clusters:
        return _fit_distinct(data)
    if options.resolved_n_init == 1:
        return _run_restarts(data, options, rng, step)[0]
    if len(levels[0].points) > MAX_POINTS:
        levels = [_draw_sample(levels[0], options, rng), *levels]
    restart_points, later_levels = _choose_restart_points(levels, options.n_clusters)

    def prepare() -> None:
        for level in later_levels[:1]:
            share_preparation(level.data, options.n_clusters)

    fits = _run_restarts(restart_points, options, rng, step)
    fits = fits[: _count_chains(options.n_clusters)]
    fits = _improve_fits(restart_points, fits, options, rng, step, prepare)
    for level in later_levels:
        best = _choose_best(level.data, fits, options, step)
        fits = [_run_lloyd(level.data, best.centers, options, step)]
    fit = min(fits, key=lambda fit: fit.inertia)
    if later_levels:
        fit = replace(fit, labels=later_levels[-1].in_given_order(fit.labels))
    return fit


def _fit_distinct(data: GroupedPoints) -> Fit:
    """Return a fit of cost 0 with one center for each distinct point."""
    centers, labels = np.unique(data.points, axis=0, return_inverse=True)
    return Fit(np.asarray(centers, np.float64), 0.0, 1, labels.reshape(-1).astype(np.int32))


def restart_size(n_clusters: int) -> int:
    """Return the number of points that restarts run on."""
    return max(_MIN_RESTART_POINTS, _RESTART_POINTS_PER_CLUSTER * n_clusters)


class _Level(NamedTuple):
    """Points in the order of compact groups, and their indices in the given order.

    Lloyd's algorithm is about twice as fast with these groups as with the small cells of a
    histogram, which lie along lines of the color space.
    """

    data: GroupedPoints
    order: NDArray[np.int64]

    def in_given_order(self, labels: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return labels of these points in the order in which the points were given."""
        given = np.empty_like(labels)
        given[self.order] = labels
        return given

    def regroup(self, finer: GroupedPoints) -> _Level:
        """Return the points of a finer summary, grouped as these points.

        Each group of the finer summary is one of these points. If it is not, the summaries are
        unrelated, and the finer one stays as it is.
        """
        if len(finer.starts) - 1 != len(self.order):
            return _Level(finer, np.arange(len(finer.points)))
        sizes = np.diff(finer.starts)[self.order]
        stops = np.append(0, np.cumsum(sizes))
        order = np.arange(stops[-1]) + np.repeat(finer.starts[self.order] - stops[:-1], sizes)
        starts = stops[self.data.starts]
        return _Level(GroupedPoints(finer.points[order], finer.weights[order], starts), order)


def _choose_restart_points(
    levels: list[GroupedPoints], n_clusters: int
) -> tuple[GroupedPoints, list[_Level]]:
    """Return the points that restarts run on, and the levels that follow.

    Levels with too few points are skipped: a fit to fewer points than clusters has fewer centers,
    and fits to the later levels cannot add centers.
    """
    size = restart_size(n_clusters)
    for index, level in enumerate(levels):
        if len(level.points) > size:
            cells, order = group_in_cells(level.points, level.weights, size)
            later = [_Level(cells, order)]  # the groups are the points of the restarts
            for finer in levels[index + 1 :]:
                later.append(later[-1].regroup(finer))
            return GroupedPoints(cells.means, cells.totals), later
    return levels[-1], []


def _draw_sample(data: GroupedPoints, options: Options, rng: np.random.Generator) -> GroupedPoints:
    size = options.resolved_coreset_size
    indices, weights = draw_coreset(data.points, data.weights, options.n_clusters, size, rng)
    return GroupedPoints(data.points[indices], weights)


def _count_chains(n_clusters: int) -> int:
    """Return the number of restarts that the local search improves."""
    if n_clusters <= _FEW_CLUSTERS:
        return 4
    return 2 if n_clusters <= _MANY_CLUSTERS else 1


def _improve_fits(
    data: GroupedPoints,
    fits: list[Fit],
    options: Options,
    rng: np.random.Generator,
    step: Step,
    prepare: Callable[[], None],
) -> list[Fit]:
    """Improve several fits by local searches that run at the same time, and call `prepare`."""

    def search(fit: Fit, stream: np.random.Generator) -> Fit:
        return improve(
            data,
            fit,
            max_iter=options.max_iter,
            tol=options.tol,
            rng=stream,
            step=raise_if_stopped,
        )

    chains = zip(fits, rng.spawn(len(fits)), strict=True)
    searches: list[Callable[[], Any]] = [partial(search, *chain) for chain in chains]
    # A search among others uses one thread.
    others = [prepare] if len(searches) > 1 else []
    return map_threads(lambda work: work(), [*searches, *others], lambda _: step(0))[: len(fits)]


def _choose_best(level: GroupedPoints, fits: list[Fit], options: Options, step: Step) -> Fit:
    """Continue several fits on a level with a coarse tolerance, and return the best result."""
    if len(fits) == 1:
        return fits[0]

    def run(fit: Fit) -> Fit:
        tol = max(options.tol, _COMPARED_TOL)
        return lloyd(level, fit.centers, max_iter=options.max_iter, tol=tol, step=raise_if_stopped)

    share_preparation(level, options.n_clusters)
    compared = map_threads(run, _without_repeats(fits), lambda _: step(0))
    return min(compared, key=lambda fit: fit.inertia)


def _without_repeats(fits: list[Fit]) -> list[Fit]:
    """Return the first fit of each cost: others of the same cost are the same clusters."""
    kept: list[Fit] = []
    for fit in fits:
        if not any(isclose(fit.inertia, other.inertia, rel_tol=_SAME_COST) for other in kept):
            kept.append(fit)
    return kept


def _run_lloyd(data: GroupedPoints, start: Floats, options: Options, step: Step) -> Fit:
    return lloyd(data, start, max_iter=options.resolved_max_iter, tol=options.tol, step=step)


def _run_restarts(
    data: GroupedPoints, options: Options, rng: np.random.Generator, step: Step
) -> list[Fit]:
    return fit_restarts(
        data,
        n_clusters=options.n_clusters,
        init=str(options.init),
        n_init=options.resolved_n_init,
        max_iter=options.max_iter,
        tol=options.tol,
        rng=rng,
        step=step,
    )
