"""K-means of all pixels of images that are not held in memory: a pass over them per iteration."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.clustering.assignment import GroupedPoints
from napari_kmeans.clustering.fit import fit_points
from napari_kmeans.clustering.lloyd import Fit, find_nearest, refill_empty_clusters
from napari_kmeans.clustering.one_dimension import Bins, bin_values, fit_bins
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.imaging.chunks import map_reduce
from napari_kmeans.imaging.sampling import sample_pixels
from napari_kmeans.imaging.tally import Nearest, Tally, add_tallies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.chunks import Batch
    from napari_kmeans.imaging.colors import ColorSpace
    from napari_kmeans.imaging.sampling import Sampling
    from napari_kmeans.options import Options
    from napari_kmeans.types import Floats


class Moments(NamedTuple):
    """How many pixels are not left out, and how they lie in the clustering space.

    Attributes
    ----------
    n_pixels : int
    means, scatters, low, high : (F,) float64 arrays
        Mean, sum of squared distances from it, least and greatest coordinate.
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


def find_moments(images: Sequence[Pixels], space: ColorSpace, step: Step = ignore) -> Moments:
    """Return the moments of the pixels of images, from one pass."""
    return map_reduce(images, _Describer(space), _together, step)


@dataclass(frozen=True)
class _Describer:
    """The leaf of `find_moments`."""

    space: ColorSpace

    def __call__(self, batch: Batch) -> Moments:
        return _together([self._describe(piece.inside) for piece in batch.pieces])

    def _describe(self, values: NDArray[Any]) -> Moments:
        points = np.asarray(self.space.convert(values), np.float64)
        if not len(points):
            nothing = np.zeros(points.shape[1])
            return Moments(0, nothing, nothing, nothing + np.inf, nothing - np.inf)
        means = points.mean(axis=0)
        scatters = ((points - means) ** 2).sum(axis=0)
        return Moments(len(points), means, scatters, points.min(axis=0), points.max(axis=0))


def _together(parts: list[Moments]) -> Moments:
    counts, means, scatters, low, high = (np.array(column) for column in zip(*parts, strict=True))
    total = counts.sum()
    mean = counts @ means / max(total, 1)
    # Of the distances between the means, not of sums of squares, which lose precision.
    scatter = scatters.sum(axis=0) + counts @ (means - mean) ** 2
    return Moments(int(total), mean, scatter, low.min(axis=0), high.max(axis=0))


@dataclass(frozen=True, eq=False)
class StreamedFit(Fit):
    """A fit without labels, but with the tally of its last pass."""

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
        How the sample is drawn on which starts are compared.
    moments : Moments
        Of the same pixels.
    start : (K, F) float64 array or None
        The centers of the first iteration; None takes the best that restarts
        on the sample find. Pixels with a single feature and no given start are
        fitted to the optimum of their bins: see `fit_bins`.
    rng : numpy.random.Generator
    step : callable
        Called with 0 several times a second.
    """

    def poll(_steps: float) -> None:
        step(0)

    if start is None and len(moments.means) == 1:
        low, high = float(moments.low[0]), float(moments.high[0])
        bins = map_reduce(images, _Binner(low, high, sampling.space), _added, poll)
        centers, n_iter = fit_bins(bins, options.n_clusters, poll).centers, 1
    else:
        if start is None:
            start = _start(images, options, sampling, rng, poll)
        threshold = options.tol * moments.mean_variance
        return lloyd_pixels(images, start, options.max_iter, threshold, sampling, step)
    tally = map_reduce(images, Nearest(centers, sampling.space), add_tallies, poll)
    return StreamedFit(centers, tally.cost, n_iter, np.empty(0, np.int32), tally)


def _start(
    images: Sequence[Pixels],
    options: Options,
    sampling: Sampling,
    rng: np.random.Generator,
    step: Step,
) -> Floats:
    sample = sample_pixels(images, sampling, step)
    points = np.asarray(sampling.space.convert(sample.points), np.float64)
    return fit_points([GroupedPoints(points, sample.weights)], options, None, rng, step).centers


def lloyd_pixels(
    images: Sequence[Pixels],
    start: Floats,
    max_iter: int,
    threshold: float,
    sampling: Sampling,
    step: Step = ignore,
) -> StreamedFit:
    """Run `clustering.lloyd.lloyd` with a pass over the images in each iteration.

    Parameters
    ----------
    images : sequence of Pixels
    start : (K, F) float64 array
        The centers of the first iteration.
    max_iter : int
        0 takes the start for the result.
    threshold : float
        The summed squared motion of the centers at which they are taken to be at rest.
    sampling : Sampling
    step : callable
        Called with 0 several times a second.
    """

    def poll(_steps: float) -> None:
        step(0)

    centers, n_iter, motion = np.array(start, dtype=np.float64), 0, np.inf
    while n_iter < max_iter and motion > threshold:
        n_iter += 1
        moved = _move(images, centers, sampling, poll)
        motion = np.inf if moved.n_filled else float(((moved.centers - centers) ** 2).sum())
        centers = moved.centers
    tally = map_reduce(images, Nearest(centers, sampling.space), add_tallies, poll)
    # No cluster may be lost while pixels could fill it, also after the last iteration.
    for _ in range(len(centers) if max_iter else 0):
        if tally.counts.all():
            break
        moved = _move(images, centers, sampling, poll)
        if not moved.n_filled:
            break
        centers = moved.centers
        tally = map_reduce(images, Nearest(centers, sampling.space), add_tallies, poll)
    return StreamedFit(centers, tally.cost, n_iter, np.empty(0, np.int32), tally)


class _Moved(NamedTuple):
    """Centers (K, F) after an iteration, and how many of them had no pixel before."""

    centers: Floats
    n_filled: int


def _move(images: Sequence[Pixels], centers: Floats, sampling: Sampling, step: Step) -> _Moved:
    """Move centers to the means of their pixels, and empty ones to the farthest pixels."""
    nearest = Nearest(centers, sampling.space, in_space=True)
    tally = map_reduce(images, nearest, add_tallies, step)
    sums, totals = tally.sums.copy(), tally.counts.astype(np.float64)
    empty = np.flatnonzero(tally.counts == 0)
    n_filled = 0
    if len(empty):
        far = map_reduce(images, _Farthest(nearest, 2 * len(centers)), _Far.merge, step)
        n_filled = refill_empty_clusters(sums, totals, empty, *far)
    moved = np.divide(sums, totals[:, None], out=centers.copy(), where=totals[:, None] > 0)
    return _Moved(moved, n_filled)


class _Far(NamedTuple):
    """The pixels (m, F) farthest from their centers, weights, labels and squared distances."""

    points: Floats
    weights: Floats
    labels: NDArray[np.int32]
    distances: Floats

    def first(self, number: int) -> _Far:
        """Return so many of them, the farthest first."""
        chosen = np.argsort(-self.distances, kind="stable")[:number]
        return _Far(
            self.points[chosen], self.weights[chosen], self.labels[chosen], self.distances[chosen]
        )

    @staticmethod
    def merge(parts: list[_Far]) -> _Far:
        """Return the farthest of all, as many as the longest of the parts has."""
        united = _Far(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        return united.first(max(len(part.distances) for part in parts))


@dataclass(frozen=True, eq=False)
class _Farthest:
    """The leaf that finds the pixels farthest from their centers."""

    nearest: Nearest
    number: int

    def __call__(self, batch: Batch) -> _Far:
        return _Far.merge([self._find(piece.inside) for piece in batch.pieces])

    def _find(self, values: NDArray[Any]) -> _Far:
        points = self.nearest.space.convert(values)
        labels, distances = find_nearest(points, self.nearest.centers)
        far = _Far(np.asarray(points, np.float64), np.ones(len(points)), labels, distances)
        return far.first(self.number)


@dataclass(frozen=True)
class _Binner:
    """The leaf that counts gray pixels in bins of the clustering space."""

    low: float
    high: float
    space: ColorSpace

    def __call__(self, batch: Batch) -> Bins:
        return _added([self._count(piece.inside) for piece in batch.pieces])

    def _count(self, values: NDArray[Any]) -> Bins:
        numbers = np.asarray(self.space.convert(values)[:, 0], np.float64)
        return bin_values(numbers, None, self.low, self.high)


def _added(parts: list[Bins]) -> Bins:
    return reduce(Bins.merge, parts)
