"""K-means on weighted points: where the start comes from, and the run from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_kmeans.clustering.coreset import draw_coreset
from napari_kmeans.clustering.lloyd import Fit, fit_restarts, lloyd
from napari_kmeans.progress import Step, ignore

if TYPE_CHECKING:
    from napari_kmeans.parameters import Options

Floats = NDArray[np.float64]


def fit_points(
    points: Floats,
    weights: Floats,
    options: Options,
    start: Floats | None,
    rng: np.random.Generator,
    step: Step = ignore,
) -> Fit:
    """Fit K-means to weighted points.

    Parameters
    ----------
    points : (n, F) float64 array
        In the units of the clustering space.
    weights : (n,) float64 array
        Positive.
    options : Options
        Of these, `n_clusters`, `init`, `n_init`, `max_iter`, `tol` and
        `coreset_size` are used.
    start : (K, F) float64 array or None
        The centres to start from. None draws them by `init`: a single start among all
        points; of several, the best is found on a coreset, where a restart
        costs next to nothing, and then run once on all points.
    rng : numpy.random.Generator
    step : callable
        Called with 1 after each restart, with 0 in each iteration.
    """
    if start is None:
        size = options.resolved_coreset_size
        if options.resolved_n_init == 1 or len(points) <= size:
            return _fit_restarts(points, weights, options, rng, step)
        indices, small = draw_coreset(points, weights, options.n_clusters, size, rng)
        start = _fit_restarts(points[indices], small, options, rng, step).centers
    return lloyd(points, weights, start, max_iter=options.max_iter, tol=options.tol, step=step)


def _fit_restarts(
    points: Floats, weights: Floats, options: Options, rng: np.random.Generator, step: Step
) -> Fit:
    return fit_restarts(
        points,
        weights,
        n_clusters=options.n_clusters,
        init=str(options.init),
        n_init=options.resolved_n_init,
        max_iter=options.max_iter,
        tol=options.tol,
        rng=rng,
        step=step,
    )
