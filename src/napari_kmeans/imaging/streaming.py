"""Fit K-means to images that are not held in memory: read all pixels in every iteration."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.clustering.assignment import GroupedPoints
from napari_kmeans.clustering.fit import fit_points
from napari_kmeans.clustering.lloyd import Fit, refill_empty_clusters
from napari_kmeans.clustering.one_dimension import Bins, bin_values, fit_bins
from napari_kmeans.clustering.tiles import find_nearest
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.imaging.chunks import map_reduce
from napari_kmeans.imaging.sampling import sample_pixels
from napari_kmeans.imaging.tally import Nearest, Tally, add_tallies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_kmeans.feature_space.space import FeatureSpace
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.chunks import Batch
    from napari_kmeans.imaging.sampling import Sampling
    from napari_kmeans.options import Options
    from napari_kmeans.types import Floats


class Moments(NamedTuple):
    """Number, mean, scatter and range of pixels in the clustering space.

    Attributes
    ----------
    n_pixels : int
        Without the pixels that are left out.
    means : (F,) float64 array
    scatters : (F,) float64 array
        The sum of the squared distances from the mean, along each axis.
    low, high : (F,) float64 arrays
        The minimum and the maximum along each axis.
    """

    n_pixels: int
    means: Floats
    scatters: Floats
    low: Floats
    high: Floats

    @property
    def mean_variance(self) -> float:
        """The variance of the pixels, averaged over the features."""
        return float(self.scatters.mean() / self.n_pixels)


def find_moments(images: Sequence[Pixels], space: FeatureSpace, step: Step = ignore) -> Moments:
    """Return the moments of the pixels of images in a clustering space, from one pass."""
    return map_reduce(images, _find_batch_moments, _merge_moments, step, space)


def _find_batch_moments(batch: Batch) -> Moments:
    return _merge_moments([_moments_of_points(piece.coordinates) for piece in batch.pieces])


def _moments_of_points(any_points: NDArray[Any]) -> Moments:
    # A copy in the memory layout of the points.
    points = np.array(any_points, np.float64)
    if not len(points):
        zeros = np.zeros(points.shape[1])
        return Moments(0, zeros, zeros, zeros + np.inf, zeros - np.inf)
    low, high, means = points.min(axis=0), points.max(axis=0), points.mean(axis=0)
    points -= means
    points *= points
    return Moments(len(points), means, points.sum(axis=0), low, high)


def _merge_moments(results: list[Moments]) -> Moments:
    counts, means, scatters, low, high = (np.array(column) for column in zip(*results, strict=True))
    total = counts.sum()
    mean = counts @ means / max(total, 1)
    # Add the scatter of the means. A difference of sums of squares would lose precision.
    scatter = scatters.sum(axis=0) + counts @ (means - mean) ** 2
    return Moments(int(total), mean, scatter, low.min(axis=0), high.max(axis=0))


@dataclass(frozen=True, eq=False)
class StreamedFit(Fit):
    """A fit without labels, but with the tally of its last pass over the pixels."""

    tally: Tally


def fit_pixels(
    images: Sequence[Pixels],
    options: Options,
    sampling: Sampling,
    moments: Moments,
    start: Floats | None,
    rng: np.random.Generator,
    step: Step = ignore,
) -> StreamedFit:
    """Fit K-means to all pixels of images.

    Parameters
    ----------
    images : sequence of Pixels
    options : Options
    sampling : Sampling
        How to draw the sample on which starts are compared.
    moments : Moments
        The moments of the same pixels.
    start : (K, F) float64 array or None
        The centers of the first iteration. None takes the best start that
        restarts on the sample find. If `start` is None and pixels have a single
        feature, the pixels are counted in bins, and the fit is the optimum for
        these bins: see `fit_bins`.
    rng : numpy.random.Generator
    step : callable
        Called with 0 several times a second, because the number of iterations is
        not known.

    Returns
    -------
    StreamedFit
    """

    def poll(_steps: float) -> None:
        step(0)

    if start is None and len(moments.means) == 1:
        low, high = float(moments.low[0]), float(moments.high[0])
        bins = map_reduce(images, _BinLeaf(low, high), _merge_bins, poll, sampling.space)
        centers, n_iter = fit_bins(bins, options.n_clusters, poll).centers, 1
    else:
        if start is None:
            start = _find_start(images, options, sampling, rng, poll)
        threshold = options.tol * moments.mean_variance
        max_iter = options.resolved_max_iter
        return lloyd_pixels(images, start, max_iter, threshold, sampling.space, step)
    tally = map_reduce(images, Nearest(centers), add_tallies, poll, sampling.space)
    return StreamedFit(centers, tally.cost, n_iter, np.empty(0, np.int32), tally)


def _find_start(
    images: Sequence[Pixels],
    options: Options,
    sampling: Sampling,
    rng: np.random.Generator,
    step: Step,
) -> Floats:
    """Fit K-means to a sample of the pixels, and return the centers (K, F)."""
    sample = sample_pixels(images, sampling, step)
    points = np.asarray(sampling.space.points(sample.points), np.float64)
    return fit_points([GroupedPoints(points, sample.weights)], options, None, rng, step).centers


def lloyd_pixels(
    images: Sequence[Pixels],
    start: Floats,
    max_iter: int,
    threshold: float,
    space: FeatureSpace,
    step: Step = ignore,
) -> StreamedFit:
    """Run `clustering.lloyd.lloyd` with one pass over the images in each iteration.

    Parameters
    ----------
    images : sequence of Pixels
    start : (K, F) float64 array
        The centers of the first iteration.
    max_iter : int
        The maximum number of iterations. 0 returns the start.
    threshold : float
        Stop when the sum of the squared motions of the centers is at most this.
    space : FeatureSpace
        The clustering space.
    step : callable
        Called with 0 several times a second.

    Returns
    -------
    StreamedFit
    """

    def poll(_steps: float) -> None:
        step(0)

    centers, n_iter, motion = np.array(start, dtype=np.float64), 0, np.inf
    while n_iter < max_iter and motion > threshold:
        n_iter += 1
        moved = _move_centers(images, centers, space, poll)
        motion = np.inf if moved.n_filled else float(((moved.centers - centers) ** 2).sum())
        centers = moved.centers
    tally = map_reduce(images, Nearest(centers), add_tallies, poll, space)
    # The last iteration can empty a cluster too. Refill empty clusters while there are
    # pixels to fill them, so that no cluster is lost.
    for _ in range(len(centers) if max_iter else 0):
        if tally.counts.all():
            break
        moved = _move_centers(images, centers, space, poll)
        if not moved.n_filled:
            break
        centers = moved.centers
        tally = map_reduce(images, Nearest(centers), add_tallies, poll, space)
    return StreamedFit(centers, tally.cost, n_iter, np.empty(0, np.int32), tally)


class _MovedCenters(NamedTuple):
    """Centers (K, F) after an iteration, and the number of empty clusters that were refilled."""

    centers: Floats
    n_filled: int


def _move_centers(
    images: Sequence[Pixels], centers: Floats, space: FeatureSpace, step: Step
) -> _MovedCenters:
    """Move each center to the mean of its pixels, or to a far pixel if its cluster is empty."""
    nearest = Nearest(centers, in_space=True)
    tally = map_reduce(images, nearest, add_tallies, step, space)
    sums, totals = tally.sums.copy(), tally.counts.astype(np.float64)
    empty = np.flatnonzero(tally.counts == 0)
    n_filled = 0
    if len(empty):
        far = map_reduce(images, _FarLeaf(centers, 2 * len(centers)), _FarPixels.merge, step, space)
        n_filled = refill_empty_clusters(sums, totals, empty, *far)
    moved = np.divide(sums, totals[:, None], out=centers.copy(), where=totals[:, None] > 0)
    return _MovedCenters(moved, n_filled)


class _FarPixels(NamedTuple):
    """The m pixels farthest from their nearest centers, the farthest first.

    Attributes
    ----------
    points : (m, F) float64 array
    weights : (m,) float64 array
    labels : (m,) int32 array
        The index of the nearest center.
    distances : (m,) float64 array
        Squared distances from this center.
    """

    points: Floats
    weights: Floats
    labels: NDArray[np.int32]
    distances: Floats

    def first(self, number: int) -> _FarPixels:
        """Return the farthest `number` of these pixels, the farthest first."""
        chosen = np.argsort(-self.distances, kind="stable")[:number]
        return _FarPixels(
            self.points[chosen], self.weights[chosen], self.labels[chosen], self.distances[chosen]
        )

    @staticmethod
    def merge(results: list[_FarPixels]) -> _FarPixels:
        """Return the farthest pixels of all results, up to the length of the longest result."""
        merged = _FarPixels(*(np.concatenate(column) for column in zip(*results, strict=True)))
        return merged.first(max(len(result.distances) for result in results))


@dataclass(frozen=True, eq=False)
class _FarLeaf:
    """A leaf that finds, in one batch, the pixels that are farthest from their nearest center."""

    centers: Floats
    number: int

    def __call__(self, batch: Batch) -> _FarPixels:
        return _FarPixels.merge([self._find_far(piece.coordinates) for piece in batch.pieces])

    def _find_far(self, points: NDArray[Any]) -> _FarPixels:
        labels, distances = find_nearest(points, self.centers)
        far = _FarPixels(np.asarray(points, np.float64), np.ones(len(points)), labels, distances)
        return far.first(self.number)


@dataclass(frozen=True)
class _BinLeaf:
    """The leaf that counts gray pixels in bins of the clustering space."""

    low: float
    high: float

    def __call__(self, batch: Batch) -> Bins:
        return _merge_bins([self._count(piece.points) for piece in batch.pieces])

    def _count(self, points: NDArray[Any]) -> Bins:
        numbers = np.asarray(points[:, 0], np.float64)
        return bin_values(numbers, None, self.low, self.high)


def _merge_bins(results: list[Bins]) -> Bins:
    return reduce(Bins.merge, results)
