"""How far two clusterings of the same points agree, and whether a clustering is found again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.clustering.assignment import GroupedPoints
from napari_kmeans.clustering.balancing import balance_weights
from napari_kmeans.clustering.fit import fit_points
from napari_kmeans.clustering.tiles import find_labels
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import map_threads, raise_if_stopped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_kmeans.options import Options
    from napari_kmeans.types import Floats

HALVES_SIZE = 10_000
"""The largest number of pixels that are divided into halves.

Pixels near each other have similar colors. So the halves of millions of pixels hardly differ,
although another field of view would.
"""

_MAX_COUNTS = 10**8
"""numpy draws from at most 10^9 pixels without repetition."""


class Agreement(NamedTuple):
    """The agreement of several fits with a reference.

    Attributes
    ----------
    seeds : float
        The mean adjusted Rand index of the reference and each fit with another seed.
    halves : float
        The mean adjusted Rand index of the two fits to the halves of each sample.
    jaccard : (K,) float64 array
        For each class of the reference, its mean Jaccard index with the same class of the
        fits to halves.
    """

    seeds: float
    halves: float
    jaccard: Floats


def count_pairs(
    labels: NDArray[Any], others: NDArray[Any], weights: Floats, n_labels: int, n_others: int
) -> Floats:
    """Return the weight of the points with each pair of labels, (n_labels, n_others)."""
    pairs = np.bincount(labels * np.int64(n_others) + others, weights, n_labels * n_others)
    return np.asarray(pairs.reshape(n_labels, n_others), np.float64)


def adjusted_rand_index(pairs: Floats) -> float:
    """Return the adjusted Rand index of two clusterings.

    Parameters
    ----------
    pairs : (K, L) float64 array
        The number of points in each cluster of the first and each cluster of the second
        clustering; see `count_pairs`.

    Returns
    -------
    float
        1 for equal clusterings, about 0 for independent ones.

    References
    ----------
    .. [1] L. Hubert, P. Arabie, "Comparing partitions", :doi:`10.1007/BF01908075`.
    """

    def choose_two(counts: Floats) -> float:
        return float((counts * (counts - 1)).sum()) / 2

    total = choose_two(np.array([pairs.sum()]))
    rows, columns = choose_two(pairs.sum(axis=1)), choose_two(pairs.sum(axis=0))
    if total <= 0:
        return 1.0
    expected, largest = rows * columns / total, (rows + columns) / 2
    # Both clusterings have a single cluster, or each point has a cluster of its own.
    if largest <= expected:
        return 1.0
    return (choose_two(pairs) - expected) / (largest - expected)


def match_clusters(pairs: Floats) -> NDArray[np.int64]:
    """Return, for each cluster of the second clustering, the cluster of the first that it matches.

    The clusters are matched one to one, with the largest sum of the Jaccard indices of the
    pairs. A cluster that remains has the number of the cluster with which it shares most points.

    Parameters
    ----------
    pairs : (K, L) float64 array
        See `count_pairs`.
    """
    from scipy.optimize import linear_sum_assignment

    unions = pairs.sum(axis=1)[:, None] + pairs.sum(axis=0) - pairs
    matches = pairs.argmax(axis=0)
    rows, columns = linear_sum_assignment(
        np.divide(-pairs, unions, out=np.zeros_like(pairs), where=unions > 0)
    )
    matches[columns] = rows
    return np.asarray(matches, np.int64)


class Refits:
    """Fits to the same points with other seeds or to halves, in the classes of a reference.

    Parameters
    ----------
    data : GroupedPoints
        Points (n, F) with weights in pixels.
    centers : (M, F) float64 array
        The centers of the reference.
    options : Options
        The options of the fits, with `n_clusters` M.
    classes : (M,) int64 array, optional
        The class of each center, from 0 to K - 1. The centers of a fit get the classes of the
        centers that they match. By default, each center is a class.
    """

    def __init__(
        self,
        data: GroupedPoints,
        centers: Floats,
        options: Options,
        classes: NDArray[np.int64] | None = None,
    ) -> None:
        self.data, self.options = data, options
        self._classes = np.arange(len(centers)) if classes is None else classes
        self._n_centers, self._n_classes = len(centers), int(self._classes.max()) + 1
        self._nearest = find_labels(data.points, centers)
        self._counts = _round_to_counts(data.weights)

    def measure(self, seeds: Sequence[int], step: Step = ignore) -> Agreement:
        """Return the agreement with fits that other seeds and halves give.

        `step` is called with 1 after each seed.
        """
        n_pixels = int(self._counts.sum())
        if n_pixels < 2:
            raise ValueError(
                f"image must have at least two pixels, got {n_pixels}: one pixel has no halves "
                "that can be compared."
            )
        reference = self._classes[self._nearest]

        def repeat(seed: int) -> tuple[float, float, Floats]:
            again = self._fit(self.data.weights, [seed, 3])
            halves = self._fit_halves(seed)
            return (
                adjusted_rand_index(self._compare(reference, again)),
                adjusted_rand_index(self._compare(*halves)),
                np.mean([_jaccard(self._compare(reference, half)) for half in halves], axis=0),
            )

        of_seeds, of_halves, jaccard = zip(*map_threads(repeat, seeds, step), strict=True)
        return Agreement(
            float(np.mean(of_seeds)), float(np.mean(of_halves)), np.mean(jaccard, axis=0)
        )

    def measure_halves(self, seeds: Sequence[int]) -> float:
        """Return `Agreement.halves` alone, in two thirds of the time."""
        pairs = [self._compare(*self._fit_halves(seed)) for seed in seeds]
        return float(np.mean([adjusted_rand_index(each) for each in pairs]))

    def _fit_halves(self, seed: int) -> list[NDArray[np.int64]]:
        """Return the classes of all points, as fits to the halves of a sample give them."""
        halves = _draw_halves(self._counts, np.random.default_rng([seed, 0]))
        return [self._fit(half, [seed, place]) for place, half in enumerate(halves, 1)]

    def _fit(self, weights: Floats, seed: Sequence[int]) -> NDArray[np.int64]:
        """Return the class of each point in a fit to the points with some weights."""
        there = np.flatnonzero(weights)
        points, own = np.ascontiguousarray(self.data.points[there]), weights[there]
        if self.options.balance:
            own = balance_weights(points, own, self.options.balance)
        rng = np.random.default_rng(seed)
        fit = fit_points([GroupedPoints(points, own)], self.options, None, rng, raise_if_stopped)
        labels = find_labels(self.data.points, fit.centers)
        pairs = count_pairs(self._nearest, labels, self._counts, self._n_centers, len(fit.centers))
        return np.asarray(self._classes[match_clusters(pairs)][labels])

    def _compare(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
        return count_pairs(first, second, self._counts, self._n_classes, self._n_classes)


def _jaccard(pairs: Floats) -> Floats:
    """Return the Jaccard index of each class (K,) in two clusterings with the same classes."""
    shared = np.diagonal(pairs)
    unions = pairs.sum(axis=0) + pairs.sum(axis=1) - shared
    return np.asarray(np.divide(shared, unions, out=np.zeros(len(pairs)), where=unions > 0))


def _round_to_counts(weights: Floats) -> Floats:
    """Return weights in pixels as whole numbers from 1, of less than about 10^8 in all."""
    factor = min(1.0, _MAX_COUNTS / weights.sum())
    return np.asarray(np.maximum(np.rint(weights * factor), 1.0))


def _draw_halves(counts: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw pixels without repetition, and return their numbers in two halves, (n,) each."""
    numbers = counts.astype(np.int64)
    n_pixels = min(int(numbers.sum()), HALVES_SIZE)
    drawn = rng.multivariate_hypergeometric(numbers, n_pixels, method="marginals")
    half = rng.multivariate_hypergeometric(drawn, n_pixels // 2, method="marginals")
    return half.astype(np.float64), (drawn - half).astype(np.float64)
