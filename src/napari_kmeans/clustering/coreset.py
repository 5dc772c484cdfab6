"""A small weighted sample whose K-means cost stands for that of all points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_kmeans.clustering import kernels
from napari_kmeans.clustering.lloyd import find_nearest
from napari_kmeans.clustering.seeding import draw_seeds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

_SEEDING_POINTS = 10_000


def draw_coreset(
    points: Floats, weights: Floats, n_clusters: int, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], Floats]:
    """Sample a weighted coreset by sensitivity.

    Parameters
    ----------
    points : (n, F) float64 array
        In the units of the clustering space.
    weights : (n,) float64 array
        Positive; their sum is kept.
    n_clusters : int
        The number of clusters the coreset is for.
    size : int
        How many points are drawn. Points drawn twice are returned once, with
        their weights added. Where there are no more points than that, all are
        returned, and the coreset is exact.
    rng : numpy.random.Generator

    Returns
    -------
    indices : (m,) int64 array
        Of the sampled points, ascending, m ≤ `size`.
    weights : (m,) float64 array
        What each of them stands for.

    Notes
    -----
    2K seeds are drawn by k-means++. A point is sampled in proportion to half
    its share of the cost there, plus half its share of the weight of its own
    cluster.

    References
    ----------
    .. [1] O. Bachem, M. Lucic, A. Krause, "Practical Coreset Constructions for
       Machine Learning", :arxiv:`1703.06476`.
    """
    if len(points) <= size:
        return np.arange(len(points)), weights.copy()
    chances = _sensitivities(points, weights, n_clusters, rng)
    indices, counts = _draw(chances, size, rng)
    sampled = counts * weights[indices] / chances[indices]
    return indices, sampled * (weights.sum() / sampled.sum())


def _sensitivities(
    points: Floats, weights: Floats, n_clusters: int, rng: np.random.Generator
) -> Floats:
    """Return bounds on how much each point can matter to any K centers, (n,)."""
    # Seeds need no more than a sample in which every pixel counts alike.
    subset, counts = _draw(weights, _SEEDING_POINTS, rng)
    centers = draw_seeds(
        points[subset], counts.astype(np.float64), 2 * n_clusters, "k-means++", rng
    )
    labels, distances = find_nearest(points, centers)
    costs = weights * distances
    cluster_weights = np.bincount(labels, weights, minlength=len(centers))
    shares = weights / cluster_weights[labels] / np.count_nonzero(cluster_weights)
    total = costs.sum()
    return 0.5 * costs / total + 0.5 * shares if total > 0 else shares


def _draw(
    chances: Floats, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw indices with replacement; return those drawn and how often each was."""
    # One draw from each of `size` equal parts: unbiased, and of less variance
    # than as many independent ones, the more so where neighbors are alike.
    parts = (np.arange(size) + rng.random(size)) / size
    draws = np.empty(size, np.int64)
    kernels.pick(chances, parts * chances.sum(), draws)
    return np.unique(draws, return_counts=True)
