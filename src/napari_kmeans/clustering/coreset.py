"""Draw a small weighted sample whose K-means cost estimates the cost of all points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_kmeans.clustering import kernels
from napari_kmeans.clustering.seeding import draw_seeds
from napari_kmeans.clustering.tiles import find_nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

_SEEDING_POINTS = 10_000
"""Draws in the sample of points that the seeds are chosen from."""


def draw_coreset(
    points: Floats, weights: Floats, n_clusters: int, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], Floats]:
    """Sample a weighted coreset by sensitivity.

    Parameters
    ----------
    points : (n, F) float64 array
        In the units of the clustering space.
    weights : (n,) float64 array
        Positive.
    n_clusters : int
        The number of clusters K that the coreset will be fitted with.
    size : int
        The number of draws. A point that is drawn several times is returned once, with the
        sum of its weights. If n ≤ `size`, all points are returned, and the coreset is exact.
    rng : numpy.random.Generator

    Returns
    -------
    indices : (m,) int64 array
        Indices of the sampled points, ascending, m ≤ `size`.
    weights : (m,) float64 array
        Weights of the sampled points. Their sum is equal to the sum of the weights of all
        points.

    Notes
    -----
    2K seeds are drawn by k-means++ [1]_. The probability of a point is the mean of two shares:
    its share of the cost of the seeds, and its share of the weight of its cluster, divided by
    the number of clusters.

    References
    ----------
    .. [1] O. Bachem, M. Lucic, A. Krause, "Practical Coreset Constructions for
       Machine Learning", :arxiv:`1703.06476`.
    """
    if len(points) <= size:
        return np.arange(len(points)), weights.copy()
    probabilities = _sampling_probabilities(points, weights, n_clusters, rng)
    indices, counts = _draw_indices(probabilities, size, rng)
    new_weights = counts * weights[indices] / probabilities[indices]
    return indices, new_weights * (weights.sum() / new_weights.sum())


def _sampling_probabilities(
    points: Floats, weights: Floats, n_clusters: int, rng: np.random.Generator
) -> Floats:
    """Return the sampling probability of each point, (n,).

    The probabilities are upper bounds, up to a factor, of the share of each point in the cost of
    any K centers.
    """
    # A sample is enough to place the seeds. Points are drawn in proportion to their weight, so
    # that each draw counts once.
    subset, counts = _draw_indices(weights, _SEEDING_POINTS, rng)
    centers = draw_seeds(
        points[subset], counts.astype(np.float64), 2 * n_clusters, "k-means++", rng
    )
    labels, distances = find_nearest(points, centers)
    costs = weights * distances
    cluster_weights = np.bincount(labels, weights, minlength=len(centers))
    shares = weights / cluster_weights[labels] / np.count_nonzero(cluster_weights)
    total = costs.sum()
    return 0.5 * costs / total + 0.5 * shares if total > 0 else shares


def _draw_indices(
    weights: Floats, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw indices in proportion to weights, and return the distinct indices and their counts."""
    # Divide the sum of the weights into `size` equal intervals, and draw once in each.
    # The draws are unbiased, and their variance is below that of independent draws, mostly where
    # consecutive points are similar.
    positions = (np.arange(size) + rng.random(size)) / size
    draws = np.empty(size, np.int64)
    kernels.pick_indices(weights, positions * weights.sum(), draws)
    return np.unique(draws, return_counts=True)
