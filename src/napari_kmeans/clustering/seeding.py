"""Draw initial centers: k-means++, or distinct points at random."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.clustering.kernels import choose_seeds
from napari_kmeans.clustering.tiles import find_nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WIDTH = 512
"""Points that are compared with all candidates for a seed before the next points."""


def draw_seeds(
    points: NDArray[np.float64],
    weights: NDArray[np.float64],
    n_clusters: int,
    init: str,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Draw up to `n_clusters` distinct points as initial centers.

    Parameters
    ----------
    points : (n, F) float64 array
        In the units of the clustering space.
    weights : (n,) float64 array
        Positive.
    n_clusters : int
        The number of initial centers K. With fewer distinct points, fewer are returned.
    init : {"k-means++", "random"}
        Greedy k-means++ [1]_ [2]_ with 2 + log K candidates for each center, or distinct
        points that are drawn with probability proportional to their weight.
    rng : numpy.random.Generator

    References
    ----------
    .. [1] D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful
       seeding", SODA 2007.
    .. [2] C. Grunau, A. A. Özüdoğru, V. Rozhoň, J. Tětek, "A nearly tight
       analysis of greedy k-means++", :doi:`10.1137/1.9781611977554.ch39`.
    """
    (seeds,) = draw_all_seeds(points, weights, n_clusters, init, [rng])
    return seeds


def draw_all_seeds(
    points: NDArray[np.float64],
    weights: NDArray[np.float64],
    n_clusters: int,
    init: str,
    streams: list[np.random.Generator],
) -> list[NDArray[np.float64]]:
    """Return ``[draw_seeds(..., rng) for rng in streams]``, faster."""
    if init == "random":
        return [_draw_distinct_points(points, weights, n_clusters, rng) for rng in streams]
    n_points, n_trials, n_runs = len(points), 2 + int(np.log(n_clusters)), len(streams)
    draws = np.array([rng.random((n_clusters, n_trials)) for rng in streams])
    seeds, numbers = np.empty((n_runs, n_clusters), np.int64), np.empty(n_runs, np.int64)
    choose_seeds(
        points,
        np.array(points.T, order="C"),
        weights,
        draws,
        *np.empty((2, n_points)),
        np.empty((n_trials, _WIDTH)),
        np.empty(n_trials, np.int64),
        np.empty(n_trials),
        seeds,
        numbers,
    )
    return [points[some[:number]] for some, number in zip(seeds, numbers, strict=True)]


def add_farthest(
    centers: NDArray[np.float64], points: NDArray[Any], n_clusters: int
) -> NDArray[np.float64]:
    """Add the farthest points to centers, up to `n_clusters` in total.

    Each added point is the farthest from the centers and from the points added before it.

    Parameters
    ----------
    centers : (K, F) float64 array
        K ≥ 1.
    points : (n, F) array
        Distinct points, n > K. If n is less than `n_clusters`, all points that do not lie on
        a center are added.
    n_clusters : int
    """
    points = np.asarray(points, np.float64)
    distances = find_nearest(points, centers)[1]
    chosen = [centers]
    while len(chosen) <= n_clusters - len(centers) and distances.max() > 0:
        farthest = points[distances.argmax()]
        chosen.append(farthest[None])
        distances = np.minimum(distances, ((points - farthest) ** 2).sum(axis=1))
    return np.concatenate(chosen)


def _draw_distinct_points(
    points: NDArray[np.float64],
    weights: NDArray[np.float64],
    n_clusters: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    # The points with the shortest exponential waiting times are a weighted sample without
    # replacement (Efraimidis and Spirakis, doi:10.1016/j.ipl.2005.11.003).
    waits = rng.exponential(size=len(points)) / weights
    n_tries = min(len(points), 4 * n_clusters)
    while True:
        first = np.argpartition(waits, n_tries - 1)[:n_tries]
        chosen = _distinct_rows(points[first[np.argsort(waits[first])]])
        if len(chosen) >= n_clusters or n_tries == len(points):
            return chosen[:n_clusters]
        n_tries = min(len(points), 8 * n_tries)


def _distinct_rows(points: NDArray[Any]) -> NDArray[Any]:
    """Return the distinct rows, in the order of their first occurrence."""
    return points[np.sort(np.unique(points, axis=0, return_index=True)[1])]
