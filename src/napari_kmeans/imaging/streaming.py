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
from napari_kmeans.clustering.tiles import exact_dtype
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import shared_pool
from napari_kmeans.imaging.chunks import map_reduce
from napari_kmeans.imaging.kernels import describe_rows
from napari_kmeans.imaging.passes import Passes
from napari_kmeans.imaging.sampling import sample_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_kmeans.feature_space.space import FeatureSpace
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.chunks import Batch
    from napari_kmeans.imaging.sampling import Sampling
    from napari_kmeans.imaging.tally import Tally
    from napari_kmeans.options import Options
    from napari_kmeans.types import Floats

_ROW_VALUES = 64
"""Values of several points in a row, whose columns are summed with vector instructions."""

_ROWS_AT_ONCE = 256
"""Rows that are read twice, for means and scatters: 64 KB in float32, which stay in the cache."""


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


def _moments_of_points(points: NDArray[Any]) -> Moments:
    n_features = points.shape[1]
    points = np.ascontiguousarray(points, exact_dtype(points.dtype))
    n_per_row = max(1, _ROW_VALUES // n_features)
    n_in_rows = len(points) // n_per_row * n_per_row
    some = points[:n_in_rows].reshape(-1, n_per_row * n_features), points[n_in_rows:]
    middle = points[len(points) // 2 : len(points) // 2 + 1]
    origin = middle.sum(axis=0, dtype=np.float64)  # 0 if there are no points
    moments = _merge_moments([_moments_of_rows(rows, origin) for rows in some])
    return moments._replace(means=origin + moments.means)


def _moments_of_rows(rows: NDArray[Any], origin: Floats) -> Moments:
    """Return the moments of rows, (n, F) or, with several points in a row, (n, m * F).

    The means are differences from the origin (F,).
    """
    n_features = len(origin)
    starts, n_per_row = np.arange(0, len(rows), _ROWS_AT_ONCE), rows.shape[1] // n_features
    parts = np.empty((4, len(starts), rows.shape[1]))
    describe_rows(rows, np.tile(origin, n_per_row), _ROWS_AT_ONCE, *parts)
    counts = np.repeat(np.minimum(_ROWS_AT_ONCE, len(rows) - starts), n_per_row)
    return _merge_parts(counts, *parts.reshape(4, -1, n_features))


def _merge_moments(results: list[Moments]) -> Moments:
    return _merge_parts(*(np.array(column) for column in zip(*results, strict=True)))


def _merge_parts(
    counts: NDArray[Any], means: Floats, scatters: Floats, low: Floats, high: Floats
) -> Moments:
    """Return the moments of all parts of the pixels from those of each part, (N,) and (N, F)."""
    total = counts.sum()
    mean = counts @ means / max(total, 1)
    # Add the scatter of the means. A difference of sums of squares would lose precision.
    scatter = scatters.sum(axis=0) + counts @ (means - mean) ** 2
    lowest, highest = low.min(axis=0, initial=np.inf), high.max(axis=0, initial=-np.inf)
    return Moments(int(total), mean, scatter, lowest, highest)


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

    passes = Passes(images, sampling.space)
    if start is None and len(moments.means) == 1:
        low, high = float(moments.low[0]), float(moments.high[0])
        bins = map_reduce(images, _BinLeaf(low, high), _merge_bins, poll, sampling.space)
        centers, n_iter = fit_bins(bins, options.n_clusters, poll).centers, 1
    else:
        if start is None:
            start = _find_start(images, options, sampling, rng, poll)
        threshold = options.tol * moments.mean_variance
        max_iter = options.resolved_max_iter
        return lloyd_pixels(passes, start, max_iter, threshold, step)
    tally = passes.tally(centers, poll)
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
    passes: Passes, start: Floats, max_iter: int, threshold: float, step: Step = ignore
) -> StreamedFit:
    """Run `clustering.lloyd.lloyd` with one pass over the pixels in each iteration.

    Parameters
    ----------
    passes : Passes
    start : (K, F) float64 array
        The centers of the first iteration.
    max_iter : int
        The maximum number of iterations. 0 returns the start.
    threshold : float
        Stop when the sum of the squared motions of the centers is at most this.
    step : callable
        Called with 0 several times a second.

    Returns
    -------
    StreamedFit
    """

    def poll(_steps: float) -> None:
        step(0)

    centers, n_iter, motion = np.array(start, dtype=np.float64), 0, np.inf
    with shared_pool():
        while n_iter < max_iter and motion > threshold:
            n_iter += 1
            moved = _move_centers(passes, centers, poll)
            motion = np.inf if moved.n_filled else float(((moved.centers - centers) ** 2).sum())
            centers = moved.centers
        tally = passes.tally(centers, poll)
        # The last iteration can empty a cluster too. Refill empty clusters while there are
        # pixels to fill them, so that no cluster is lost.
        for _ in range(len(centers) if max_iter else 0):
            if tally.counts.all():
                break
            moved = _move_centers(passes, centers, poll)
            if not moved.n_filled:
                break
            centers = moved.centers
            tally = passes.tally(centers, poll)
    return StreamedFit(centers, tally.cost, n_iter, np.empty(0, np.int32), tally)


class _MovedCenters(NamedTuple):
    """Centers (K, F) after an iteration, and the number of empty clusters that were refilled."""

    centers: Floats
    n_filled: int


def _move_centers(passes: Passes, centers: Floats, step: Step) -> _MovedCenters:
    """Move each center to the mean of its pixels, or to a far pixel if its cluster is empty."""
    counts, sums = passes.sum(centers, step)
    totals = counts.astype(np.float64)
    empty = np.flatnonzero(counts == 0)
    n_filled = 0
    if len(empty):
        far = passes.find_far(centers, 2 * len(centers), step)
        n_filled = refill_empty_clusters(sums, totals, empty, *far)
    moved = np.divide(sums, totals[:, None], out=centers.copy(), where=totals[:, None] > 0)
    return _MovedCenters(moved, n_filled)


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
