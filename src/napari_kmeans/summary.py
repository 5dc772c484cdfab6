"""Summaries: the points of an image that are fitted, and the count of its pixels afterwards.

Each kind of image has its own summary: distinct colors, a sample, all pixels in memory, or
all pixels read again in each iteration.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from napari_kmeans.checks import quote_value
from napari_kmeans.clustering.assignment import GroupedPoints, label_once
from napari_kmeans.clustering.balancing import balance_weights
from napari_kmeans.clustering.fit import fit_points, restart_size
from napari_kmeans.clustering.kernels import MIXED
from napari_kmeans.clustering.lloyd import lloyd
from napari_kmeans.clustering.seeding import add_farthest
from napari_kmeans.clustering.tiles import find_nearest
from napari_kmeans.execution.threads import map_threads
from napari_kmeans.feature_space.colors import SPACES, find_space, has_known_white, white_of
from napari_kmeans.feature_space.space import FeatureSpace
from napari_kmeans.imaging.blocks import are_several, open_images
from napari_kmeans.imaging.chunks import blocks_in_memory, count_steps, read_piece
from napari_kmeans.imaging.cleaning import Cleaning
from napari_kmeans.imaging.histogram import (
    Histogram,
    WholeCells,
    build_histogram,
    find_codec,
)
from napari_kmeans.imaging.normalizing import find_scales, scales_of_colors
from napari_kmeans.imaging.painting import Painter, RelabelPainter
from napari_kmeans.imaging.passes import KeptPasses, Passes
from napari_kmeans.imaging.sampling import (
    Coreset,
    Sampling,
    draw_many,
    find_colors,
    sample_pixels,
    take_cells,
    thin_out,
)
from napari_kmeans.imaging.streaming import (
    Moments,
    StreamedFit,
    find_moments,
    fit_pixels,
    lloyd_pixels,
)
from napari_kmeans.imaging.tally import Tally, tally_colors, tally_pixels
from napari_kmeans.options import AUTO, SPACE_OPTIONS, SUMMARY_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_kmeans.clustering.lloyd import Fit
    from napari_kmeans.execution.progress import Progress, Step
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.chunks import Piece
    from napari_kmeans.imaging.drawing import Drawn
    from napari_kmeans.options import Options
    from napari_kmeans.types import Floats


_MAX_SAMPLE = 20_000
"""The maximum number of pixels in `color_sample` of `EveryPixel`: enough for a scatter plot."""


_MAX_FITTED_COLORS = 2**18
"""Colors up to which a coreset of size "auto" is followed by a fit to all colors. All colors are
assigned to the centers anyway, to count their pixels. In photographs, a few iterations more lower
the cost by 0.01 % at K = 8, 0.3 % at K = 64 and 1 % at K = 256."""


class EmptyImageError(ValueError):
    """All pixels of all images are left out."""

    @classmethod
    def of(cls, n_pixels: int) -> EmptyImageError:
        """Return the error for images with this number of pixels."""
        return cls(
            f"image must have a pixel to cluster, got all {n_pixels} left out: "
            "check the mask, the alpha channel and NaN or infinite values."
        )


class Colors(NamedTuple):
    """Colors (m, C or more) as in `Coreset`, and the number of pixels of each (m,)."""

    points: Floats
    weights: Floats


@dataclass(frozen=True, eq=False)
class Summary(ABC):
    """The colors of one or more images, prepared for a fit with the options.

    Attributes
    ----------
    images : tuple of Pixels
    options : Options
    seed : int
        The seed of all random draws: `random_state`, or a random number if it is None.
    space : FeatureSpace
        The clustering space.
    """

    images: tuple[Pixels, ...]
    options: Options
    seed: int
    space: FeatureSpace

    fixed_options: ClassVar[tuple[str, ...]] = SUMMARY_OPTIONS
    """The options that have to stay the same; see `differing_options`."""

    def __repr__(self) -> str:
        """Return one line without the arrays."""
        n_pixels = sum(pixels.n_pixels for pixels in self.images)
        return f"{type(self).__name__}(n_images={len(self.images)}, n_pixels={n_pixels})"

    @property
    def coreset(self) -> Coreset | None:
        """The sample that is fitted; None if all pixels are fitted."""
        return None

    @property
    def color_sample(self) -> Colors | None:
        """Colors that show the distribution of all colors; None if none are in memory."""
        return None if self.coreset is None else Colors(self.coreset.points, self.coreset.weights)

    @property
    @abstractmethod
    def levels(self) -> list[GroupedPoints]:
        """The points to fit: smaller summaries first, the points that count last."""

    @property
    def few_points(self) -> GroupedPoints:
        """A small number of weighted points that represent all pixels."""
        return self.levels[0]

    @property
    def sampling(self) -> Sampling:
        """The parameters of the sample of the pixels."""
        return _sampling(self.options, self.seed, self.space)

    def _sample(self) -> GroupedPoints:
        """Draw a sample of the pixels; numpy and dask images give the same sample."""
        sample = sample_pixels(self.images, self.sampling)
        points = np.asarray(self.space.points(sample.points), np.float64)
        return GroupedPoints(points, sample.weights)

    def compares_starts(self, data: GroupedPoints) -> bool:
        """Return whether `fit_points` compares starts, for which it needs a smaller summary.

        A single start runs on the points themselves, and gray values are solved exactly.
        """
        return self.options.resolved_n_init > 1 and data.points.shape[1] > 1

    def fit(self, step: Step) -> Fit:
        """Fit K-means with the options of the summary; see `fit_points`."""
        rng = np.random.default_rng([self.seed, 0])
        levels = [self._balance(level) for level in self.levels]
        return fit_points(levels, self.options, self.start, rng, step)

    def _balance(self, data: GroupedPoints) -> GroupedPoints:
        """Return points with the weights that the option `balance` asks for."""
        balance = self.options.balance
        if not balance:
            return data
        weights = balance_weights(data.points, data.weights, balance)
        return GroupedPoints(data.points, weights, data.starts)

    @property
    def start(self) -> Floats | None:
        """The start centers (K, F) in the clustering space; None if they are to be drawn."""
        init = self.options.init
        return None if isinstance(init, str) else self.space.points(init)

    def tally(self, fit: Fit, step: Step) -> Tally:
        """Return the counts and sums of the pixels of each cluster, and their total cost."""
        return tally_pixels(self.images, fit.centers, self.space, step)

    def refill(self, fit: Fit, tally: Tally, step: Step) -> Fit | None:
        """Fit again if clusters have no pixel although the image has more colors.

        A sample may miss rare colors, and a mean may be the nearest center of no pixel.
        Return None if there are no more distinct colors than clusters with pixels.
        """
        centers, n_clusters = fit.centers[tally.counts > 0], self.options.n_clusters
        colors = self.find_colors(n_clusters + 1, step)
        if len(colors) <= len(centers):
            return None
        if len(colors) <= n_clusters:
            # Without an iteration each color is its own center exactly. An iteration
            # would replace it by a rounded mean, which may be equally near to a neighboring
            # color.
            return self.fit_from(np.asarray(colors, np.float64), colors, max_iter=0, step=step)
        start = add_farthest(centers, colors, n_clusters)
        return self.fit_from(start, colors, max_iter=self.options.max_iter, step=step)

    def find_colors(self, limit: int, step: Step) -> NDArray[Any]:
        """Return distinct colors (m, F) in the clustering space: all, or the first `limit`."""
        return self.space.points(find_colors(self.images, limit, step, self.space))

    def fit_from(self, start: Floats, colors: Floats, max_iter: int, step: Step) -> Fit:
        """Fit K-means from given centers (K, F), to points that include some colors (m, F)."""
        data = self._balance(self._points_with(colors))
        return lloyd(data, start, max_iter=max_iter, tol=self.options.tol, step=step)

    def _points_with(self, colors: Floats) -> GroupedPoints:
        """Return the last level, which includes the colors (m, F); a sample adds them."""
        return self.levels[-1]

    def distortion(self, fit: Fit, tally: Tally) -> float:
        """Return the larger of the costs on the coreset and on all pixels over the smaller."""
        if tally.cost == fit.inertia or self.coreset is None:
            return 1.0
        coreset_cost = fit.inertia
        if self.options.balance:
            points = self.levels[-1]
            # The cost of the fit has the weights of `balance`; this one counts pixels.
            coreset_cost = float(points.weights @ find_nearest(points.points, fit.centers)[1])
        low, high = sorted([tally.cost, coreset_cost + self._cost_within_points()])
        return high / low if low > 0 else float("inf")

    def _cost_within_points(self) -> float:
        """Return the cost within the points of the coreset, which is the same for all centers."""
        return 0.0

    def with_options(self, options: Options) -> Summary:
        """Return the summary of the same image for other options.

        The image is read again only if a larger sample is needed.

        Raises
        ------
        ValueError
            If one of `fixed_options` is different.
        """
        for name in self.differing_options(options):
            raise ValueError(
                f"{name} must be {getattr(self.options, name)!r}, which the summary was made for, "
                f"got {getattr(options, name)!r}: make another summary for it."
            )
        return self._with_options(options)

    def differing_options(self, options: Options) -> list[str]:
        """Return the names of options that have to stay the same, and do not.

        Without a position, the summary does not depend on the spacing.
        """
        names = [name for name in self.fixed_options if name != "spacing"]
        names += ["spacing"] if self.options.position else []
        return [name for name in names if getattr(options, name) != getattr(self.options, name)]

    @abstractmethod
    def _with_options(self, options: Options) -> Summary:
        """Return the summary for options that agree in `fixed_options`."""

    def painters(self, centers: Floats, tally: Tally, ranks: NDArray[np.int64]) -> list[Painter]:
        """Return a painter for each image.

        Parameters
        ----------
        centers : (K, F) float64 array
            The centers that have pixels, in the order of their labels.
        tally : Tally
            The pixels of each center of the fit.
        ranks : int64 array
            For each center of the fit that has pixels, its index in `centers`.
        """
        # Keep the order of the fit: a pixel at the same distance from two centers then
        # gets the label under which it was counted.
        used = np.flatnonzero(tally.counts)
        painter = Painter(centers[ranks[used]], self.space, ranks=ranks[used])
        new_labels = np.append(0, ranks + 1).astype(painter.dtype)
        return [
            painter
            if labels is None
            else RelabelPainter(centers, self.space, known_labels=labels, new_labels=new_labels)
            for labels in tally.pixel_labels or [None] * len(self.images)
        ]


@dataclass(frozen=True, eq=False, repr=False)
class CountedColors(Summary):
    """The distinct colors of an image and their counts: nothing is lost."""

    histogram: Histogram

    fixed_options: ClassVar[tuple[str, ...]] = ("blur", "position")

    @cached_property
    def colors(self) -> GroupedPoints:
        """The distinct colors in the clustering space, grouped by the cells of the histogram."""
        histogram = self.histogram
        if self.space.is_plain:
            return self.channels
        points = self.space.points(histogram.points)
        return GroupedPoints(points, histogram.weights, histogram.starts)

    @cached_property
    def channels(self) -> GroupedPoints:
        """The distinct colors in channel units, grouped by the cells of the histogram."""
        histogram = self.histogram
        # Moments of values that float64 cannot hold would not be those of the rounded points.
        moments = histogram.cells.moments if histogram.codec.is_exact else None
        return GroupedPoints(histogram.points, histogram.weights, histogram.starts, moments)

    @property
    def _takes_cells(self) -> bool:
        """True if the cells of the histogram have the moments of the points in the space."""
        return self.space.is_plain and self.histogram.codec.is_exact

    @cached_property
    def cells(self) -> Coreset:
        """Cells of color space: the number asked for, or those of the histogram if more."""
        size, own_cells = self.options.resolved_coreset_size, self.histogram.cells
        if self.options.coreset_size == AUTO and len(own_cells.totals) >= size:
            return take_cells(self.histogram, own_cells, None, self.images, self.seed)
        return take_cells(self.histogram, self.channels, size, self.images, self.seed)

    @property
    def coreset(self) -> Coreset | None:
        """The cells; None for method "full"."""
        return None if self.options.method == "full" else self.cells

    @property
    def color_sample(self) -> Colors:
        """The coreset, or the mean color of each cell of color space."""
        cells = self.histogram.cells
        return super().color_sample or Colors(cells.means, cells.totals)

    @cached_property
    def levels(self) -> list[GroupedPoints]:
        """The cells, and after them all colors if there are few or for method "full".

        So the restarts of "full" continue the fit of the coreset, and its cost is never
        higher. Only all colors are fitted if every cell has one color, or if all colors have
        a single start or one channel.
        """
        is_auto = self.options.coreset_size == AUTO
        fits_colors = self.options.method == "full" or (
            is_auto and len(self.histogram.codes) <= _MAX_FITTED_COLORS
        )
        if fits_colors and not self.compares_starts(self.colors):
            return [self.colors]
        if fits_colors and is_auto:
            means, weights = self.histogram.cells.means, self.histogram.cells.totals
        else:
            means, weights = self.cells.points, self.cells.weights
        if len(means) == len(self.histogram.codes):
            return [self.colors]
        cells = GroupedPoints(self.space.points(means), weights)
        return [cells, self.colors] if fits_colors else [cells]

    def _cost_within_points(self) -> float:
        # The spread of colors within cells: the second moment of all colors, minus the
        # second moment of the cells, both about the same point.
        cells = self.levels[-1]
        data = self.histogram.cells if self._takes_cells else self.colors
        if self._takes_cells and len(cells.points) == len(data.means):
            # The cells of the coreset are those of the histogram.
            return float(data.scatters.sum())
        # BLAS would start threads of its own, which wait for more work for a tenth of a second and
        # take the processors from this program.
        origin = np.einsum("g,gj->j", cells.weights, cells.points) / cells.weights.sum()

        def add_moments(first: int, last: int) -> float:
            squares = data.means[first:last] - origin
            squares *= squares
            moment = np.einsum("g,gj->", data.totals[first:last], squares)
            return float(data.scatters[first:last].sum() + moment)

        all_colors = sum(data.map(add_moments))
        between_cells = np.einsum("g,gj->", cells.weights, (cells.points - origin) ** 2)
        return max(float(all_colors - between_cells), 0.0)

    def _with_options(self, options: Options) -> CountedColors:
        space = _space_of_histogram(self.images, options, self.histogram)
        other = replace(self, options=options, seed=_seed_of(options), space=space)
        # Fill the caches with arrays that do not depend on the options that changed.
        for name in ["channels", *(["colors"] if space == self.space else [])]:
            if name in vars(self):
                vars(other)[name] = vars(self)[name]
        return other

    def find_colors(self, limit: int, step: Step) -> NDArray[Any]:
        """Return all distinct colors (n, F) in the clustering space."""
        return self.colors.points

    def _points_with(self, colors: Floats) -> GroupedPoints:
        return self.colors

    def tally(self, fit: Fit, step: Step) -> Tally:
        """Return the counts, the sums and the cost, from the distinct colors."""
        histogram = self.histogram
        if self.levels[-1] is vars(self).get("colors") and not self.options.balance:
            labels, cost = fit.labels, fit.inertia
        elif self._takes_cells:
            return self._tally_cells(fit.centers)
        else:
            labels, _, _, _, cost = label_once(self.colors, fit.centers)
        step(1)
        return tally_colors(histogram.points, histogram.weights, labels, cost, len(fit.centers))

    def _tally_cells(self, centers: Floats) -> Tally:
        """Return the tally of whole cells, most of which have one nearest center, and the rest."""
        _, cell_labels, sums, totals, cost = label_once(self.histogram.cells, centers)
        others = self.histogram.take(np.flatnonzero(cell_labels == MIXED))
        colors = GroupedPoints(others.points, others.weights, others.starts, others.cells.moments)
        labels, _, more_sums, more_totals, more_cost = label_once(colors, centers)
        counts = np.rint(totals + more_totals).astype(np.int64)
        whole = WholeCells(cell_labels, others)
        return Tally(counts, sums + more_sums, cost + more_cost, labels, whole)

    def painters(self, centers: Floats, tally: Tally, ranks: NDArray[np.int64]) -> list[Painter]:
        """Return for each image a painter that looks up the label of each color."""
        assert tally.labels is not None
        painter = Painter(centers, self.space).with_table(
            self.histogram, tally.labels, ranks + 1, tally.whole
        )
        return [painter] * len(self.images)


@dataclass(frozen=True, eq=False, repr=False)
class SampledPixels(Summary):
    """A sample of the pixels of an image with too many colors to count."""

    drawn: Drawn

    @cached_property
    def coreset(self) -> Coreset:
        """The sample for the number of clusters in the options."""
        return thin_out(self.drawn, self.images, self.sampling)

    @cached_property
    def levels(self) -> list[GroupedPoints]:
        """The sample alone."""
        return [GroupedPoints(self.space.points(self.coreset.points), self.coreset.weights)]

    def tally(self, fit: Fit, step: Step) -> Tally:
        """Return the counts and sums of the pixels of each cluster, and their total cost."""
        tally = super().tally(fit, step)
        if np.isfinite(tally.cost):
            return tally
        # The image was changed after the draw: some of its values are to be left out now.
        images = tuple(replace(pixels, is_complete=False) for pixels in self.images)
        return tally_pixels(images, fit.centers, self.space, lambda _: step(0))

    def _points_with(self, colors: Floats) -> GroupedPoints:
        (sample,) = self.levels
        points = np.concatenate([sample.points, colors])
        return GroupedPoints(points, np.append(sample.weights, np.ones(len(colors))))

    def _with_options(self, options: Options) -> SampledPixels:
        other = replace(self, options=options)
        if options.resolved_coreset_size == self.options.resolved_coreset_size:
            return other
        # A larger number of clusters may need a larger sample: read the images again. The
        # result is then the same as without a summary.
        return replace(other, drawn=draw_many(self.images, other.sampling))


@dataclass(frozen=True, eq=False, repr=False)
class EveryPixel(Summary):
    """All pixels of images in memory with too many colors to count.

    Pixels are kept in tiles up to a limit of memory, and all others are read where they lie in
    each iteration. A copy of all points, in float64, would take many times the memory of the
    image.

    Attributes
    ----------
    moments : Moments
        The moments of the pixels in `space`.
    blurred : (n, F) array or None
        The compared values of all pixels, if the space is not pointwise; see
        `FeatureSpace.points`. Blurring the image in each iteration would take longer than
        the iteration.
    """

    moments: Moments
    blurred: NDArray[Any] | None

    fixed_options: ClassVar[tuple[str, ...]] = (
        "method",
        "normalize",
        "blur",
        "texture",
        "position",
    )

    @property
    def color_sample(self) -> Colors:
        """Every n-th pixel of each block."""
        step = -(-self.moments.n_pixels // _MAX_SAMPLE)
        parts = self._read(lambda piece: piece.compared[::step].astype(np.float64))
        points = np.concatenate(parts)
        return Colors(points, np.full(len(points), self.moments.n_pixels / len(points)))

    def _read(self, function: Callable[[Piece], NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the results of a function of each block of the compared images."""
        images = self._compared
        return map_threads(
            lambda place: function(read_piece(images, place, self._space_of_compared)),
            blocks_in_memory(images),
        )

    @cached_property
    def _compared(self) -> tuple[Pixels, ...]:
        """Images of the compared values."""
        if self.blurred is not None:
            (blurred,) = open_images(self.blurred, rgb=False, channel_axis=-1)
            return (replace(blurred, is_complete=True),)
        return _mark_complete(self.images, self.moments.n_pixels)

    @property
    def _space_of_compared(self) -> FeatureSpace:
        return self.space if self.blurred is None else self.space.of_compared

    @cached_property
    def levels(self) -> list[GroupedPoints]:
        """The sample on which starts are compared, and all pixels."""
        points = np.concatenate(
            self._read(lambda piece: np.ascontiguousarray(piece.points, np.float64))
        )
        pixels = GroupedPoints(points, np.ones(len(points)))
        return [self._sample(), pixels] if self.compares_starts(pixels) else [pixels]

    @property
    def few_points(self) -> GroupedPoints:
        """A sample of the pixels."""
        return self._sample()

    @property
    def _is_streamed(self) -> bool:
        """Whether the fit reads the images in each iteration, and needs no copy of the points.

        Gray values are solved from all points, and so are weights of rare colors.
        """
        return len(self.moments.means) > 1 and not self.options.balance

    def fit(self, step: Step) -> Fit:
        """Fit K-means to all pixels, from the start or from the best fit to a sample."""
        if not self._is_streamed:
            return super().fit(step)
        start, max_iter = self.start, self.options.resolved_max_iter
        if start is None:
            rng = np.random.default_rng([self.seed, 0])
            start = fit_points([self._sample()], self.options, None, rng, step).centers
        return self._iterate(start, max_iter, step)

    def fit_from(self, start: Floats, colors: Floats, max_iter: int, step: Step) -> Fit:
        """Fit K-means to all pixels, from given centers (K, F)."""
        if not self._is_streamed:
            return super().fit_from(start, colors, max_iter, step)
        return self._iterate(start, max_iter, step)

    def _iterate(self, start: Floats, max_iter: int, step: Step) -> Fit:
        threshold = self.options.tol * self.moments.mean_variance
        passes = KeptPasses(self._compared, self._space_of_compared)
        return lloyd_pixels(passes, start, max_iter, threshold, step)

    def tally(self, fit: Fit, step: Step) -> Tally:
        """Return the counts, the sums, the cost and the labels, from the last pass if possible."""
        # The last pass over blurred values knows neither the shape nor the colors of the images.
        if isinstance(fit, StreamedFit) and self.blurred is None:
            return fit.tally
        return super().tally(fit, step)

    def _with_options(self, options: Options) -> EveryPixel:
        space = replace(self.space, **FeatureSpace.of(options, self.space.white).options)
        other = replace(self, options=options, seed=_seed_of(options), space=space)
        if space == self.space:
            return other
        moments = find_moments(other._compared, other._space_of_compared)
        return replace(other, moments=moments)


@dataclass(frozen=True, eq=False, repr=False)
class StreamedPixels(Summary):
    """All pixels of lazy images with too many colors to count; each iteration reads them."""

    moments: Moments

    fixed_options: ClassVar[tuple[str, ...]] = ("method", "normalize", *SPACE_OPTIONS)

    @property
    def levels(self) -> list[GroupedPoints]:
        """An empty list: no points are in memory."""
        return []

    @property
    def few_points(self) -> GroupedPoints:
        """A sample of the pixels, for which they are read again."""
        return self._sample()

    def fit(self, step: Step) -> Fit:
        """Fit K-means to all pixels; see `fit_pixels`."""
        if self.options.balance:
            raise ValueError(
                f"balance must be 0 for method 'full' on dask images of too many colors to "
                f"count, got {self.options.balance}: use method 'coreset'."
            )
        rng = np.random.default_rng([self.seed, 0])
        return fit_pixels(
            self.images, self.options, self.sampling, self.moments, self.start, rng, step
        )

    def fit_from(self, start: Floats, colors: Floats, max_iter: int, step: Step) -> Fit:
        """Fit K-means to all pixels, from given centers (K, F)."""
        threshold = self.options.tol * self.moments.mean_variance
        passes = Passes(self.images, self.space)
        return lloyd_pixels(passes, start, max_iter, threshold, step)

    def _with_options(self, options: Options) -> StreamedPixels:
        return replace(self, options=options, seed=_seed_of(options))

    def tally(self, fit: Fit, step: Step) -> Tally:
        """Return the counts, the sums and the cost, from the last iteration."""
        assert isinstance(fit, StreamedFit)
        return fit.tally


def _mark_complete(images: tuple[Pixels, ...], n_kept: int) -> tuple[Pixels, ...]:
    """Return images that have been read once, without tests of their values if all were kept."""
    if n_kept < sum(pixels.n_pixels for pixels in images):
        return images
    return tuple(replace(pixels, is_complete=_has_values_only(pixels)) for pixels in images)


def _has_values_only(pixels: Pixels) -> bool:
    """Return whether an image has no alpha channel and the byte order of this machine."""
    return pixels.array.shape[-1] == pixels.n_channels and bool(pixels.dtype.isnative)


def summary_for(
    image: Any,
    options: Options,
    summary: Summary | None,
    progress: Progress,
    *,
    rgb: bool | None,
    channel_axis: int | None,
    mask: Any,
) -> Summary:
    """Return a given summary for other options, or read the image and summarize it.

    Raises
    ------
    TypeError, ValueError
        If the image, its mask or the options do not fit each other, or if the given
        summary is of another image or needs other options.
    """
    if summary is None:
        images = open_images(image, rgb=rgb, channel_axis=channel_axis, mask=mask)
        _check_options_for_images(images, options)
        return summarize_pixels(images, options, progress)
    _check_summary(summary, image, rgb=rgb, channel_axis=channel_axis, mask=mask)
    _check_options_for_images(summary.images, options)
    return summary.with_options(options)


def summarize_pixels(
    images: tuple[Pixels, ...],
    options: Options,
    progress: Progress,
    space: FeatureSpace | None = None,
) -> Summary:
    """Read images and return their summary.

    Parameters
    ----------
    images : tuple of Pixels
    options : Options
    progress : Progress
    space : FeatureSpace, optional
        The clustering space. By default, it follows from the options and the pixels.

    Raises
    ------
    EmptyImageError
        If every pixel is left out.
    """
    n_steps = count_steps(images)
    seed = _seed_of(options)
    is_given = space is not None
    if space is None:
        space = FeatureSpace.of(options, white_of(images[0].dtype))
        if options.position:
            spacing = Cleaning.of(options).spacing_of(len(images[0].shape))
            space = replace(space, spacing=spacing)
    # The points of equal colors are equal only if they depend on nothing else.
    codec = find_codec(images, progress.stage(0.1, n_steps)) if space.is_pointwise else None
    if codec is not None:
        histogram = build_histogram(images, codec, progress.stage(0.2, n_steps))
        _check_not_empty(len(histogram.codes), images)
        if not is_given:
            space = _space_of_histogram(images, options, histogram)
        return CountedColors(images, options, seed, space, histogram)
    if options.normalize != "none" and not is_given:
        step = progress.stage(0.1, n_steps)
        colors_alone = replace(space.without_places, texture=0.0)
        scales = find_scales(images, options.normalize, seed, colors_alone, step)
        space = space.scaled(*scales)
    step = progress.stage(0.2, n_steps)
    if options.method == "coreset":
        drawn = draw_many(images, _sampling(options, seed, space), step)
        _check_not_empty(len(drawn.values), images)
        # The sum is an estimate only where the pixels are blurred: these are tested again.
        images = _mark_complete(images, round(float(drawn.weights.sum())))
        return SampledPixels(images, options, seed, space, drawn)
    if any(pixels.is_lazy for pixels in images):
        moments = find_moments(images, space, step)
        _check_not_empty(moments.n_pixels, images)
        return StreamedPixels(images, options, seed, space, moments)
    blurred = None
    if not space.is_pointwise:
        values = map_threads(
            lambda place: read_piece(images, place, space).compared, blocks_in_memory(images), step
        )
        _check_not_empty(sum(map(len, values)), images)
        blurred = np.concatenate(values)
        compared = open_images(blurred, rgb=False, channel_axis=-1, mask=None)
        moments = find_moments(compared, space.of_compared)
    else:
        moments = find_moments(images, space, step)
    _check_not_empty(moments.n_pixels, images)
    return EveryPixel(images, options, seed, space, moments, blurred)


def summarize_histogram(
    images: tuple[Pixels, ...], options: Options, histogram: Histogram
) -> CountedColors:
    """Return the summary of images whose colors have been counted, without reading them.

    Parameters
    ----------
    images : tuple of Pixels
    options : Options
        Of a space that is pointwise.
    histogram : Histogram
        That of all pixels of the images that are not left out.

    Raises
    ------
    TypeError, ValueError
        If the images and the options do not fit each other, or if all pixels are left out.
    """
    _check_options_for_images(images, options)
    _check_not_empty(len(histogram.codes), images)
    space = _space_of_histogram(images, options, histogram)
    return CountedColors(images, options, _seed_of(options), space, histogram)


def _space_of_histogram(
    images: tuple[Pixels, ...], options: Options, histogram: Histogram
) -> FeatureSpace:
    """Return the clustering space of counted colors."""
    space = FeatureSpace.of(options, white_of(images[0].dtype))
    if options.normalize == "none":
        return space
    return space.scaled(*scales_of_colors(histogram.points, histogram.weights, options.normalize))


def _sampling(options: Options, seed: int, space: FeatureSpace) -> Sampling:
    """Return the parameters of the sample of the pixels."""
    size = options.resolved_coreset_size
    if options.method == "full":
        # A sample with too few points for the restarts would be skipped for pixels in
        # memory, but used for lazy pixels: the results would differ. The factor 2 allows
        # for pixels that are drawn twice.
        size = max(size, 2 * restart_size(options.n_clusters))
    return Sampling(options.n_clusters, size, space, seed)


def _seed_of(options: Options) -> int:
    if options.random_state is None:
        return int(np.random.default_rng().integers(2**63))
    return options.random_state


def _check_not_empty(n_kept: int, images: tuple[Pixels, ...]) -> None:
    if not n_kept:
        raise EmptyImageError.of(sum(pixels.n_pixels for pixels in images))


def _check_summary(summary: Summary, image: Any, **arguments: Any) -> None:
    """Check that a summary is of images of these shapes, and that no argument contradicts it."""
    if not isinstance(summary, Summary):
        raise TypeError(
            f"summary must be the result of summarize, or None, got {quote_value(summary)}: "
            "leave it out to read the image."
        )
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"{name} must be None if a summary is given, got {quote_value(value)}: "
                "give it to summarize instead."
            )
    images = image if are_several(image) else [image]
    shapes = [tuple(np.shape(item)) for item in images]
    expected = [item.given_shape for item in summary.images]
    if shapes != expected:
        raise ValueError(
            f"image must be the image of the summary, of shape {_join_shapes(expected)}, got "
            f"{_join_shapes(shapes)}: summarize this image again."
        )


def _join_shapes(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join(map(str, shapes))


def _check_options_for_images(images: tuple[Pixels, ...], options: Options) -> None:
    """Check the options that depend on the images."""
    pixels = images[0]
    for image in images:
        FeatureSpace.of(options, 1.0).sigmas(len(image.shape))
        # Also without regions and places: the model contains the spacing.
        Cleaning.of(options).spacing_of(len(image.shape))
    color_space = find_space(options.color_space)
    if options.position:
        _check_position(images, options)
    if color_space.needs_rgb and not pixels.rgb:
        raise ValueError(
            f"color_space must be 'rgb' for an image that is not RGB, got {options.color_space!r}: "
            "use 'rgb', which compares any channels, or pass rgb=True."
        )
    if color_space.needs_white and not has_known_white(pixels.dtype):
        others = [name for name, space in SPACES.items() if not space.needs_white]
        raise ValueError(
            f"color_space must be {' or '.join(map(repr, others))} for integers of more than 16 "
            f"bits, got {options.color_space!r} for {pixels.dtype}: convert the image to the "
            "unsigned dtype of its range, such as np.uint8 for 0 to 255 or np.uint16 for 0 to "
            "65535."
        )
    if not isinstance(options.init, str) and options.init.shape[1] != pixels.n_channels:
        raise ValueError(
            f"init must have one column for each of the image's {pixels.n_channels} channels, "
            f"got {options.init.shape[1]}: give colors in the channels of the image."
        )
    if not isinstance(options.init, str) and color_space.needs_rgb:
        _check_start(options, white_of(pixels.dtype))


def _check_position(images: tuple[Pixels, ...], options: Options) -> None:
    """Check that the place of a pixel can be compared in all images, and with its color."""
    position, dtype = options.position, images[0].dtype
    numbers_of_axes = [len(image.shape) for image in images]
    if len({*numbers_of_axes}) > 1:
        raise ValueError(
            f"position must be 0 for images with different numbers of spatial axes, got "
            f"{position:g} for {numbers_of_axes} axes: cluster these images separately."
        )
    if options.normalize == "none" and not has_known_white(dtype):
        raise ValueError(
            f"position must be 0 for integers of more than 16 bits, whose white is not known, got "
            f"{position:g} for {dtype}: use normalize='percentile', or convert the image to the "
            "unsigned dtype of its range, such as np.uint8 for 0 to 255."
        )


def _check_start(options: Options, white: float) -> None:
    """Check that start colors can be converted to the color space."""
    for value in (options.init.min(), options.init.max()):  # type: ignore[union-attr]
        if not 0 <= value <= white:
            raise ValueError(
                f"init must have channels from 0 to {white:g} in {options.color_space}, got "
                f"{value:g}: give colors in the units of the image."
            )
