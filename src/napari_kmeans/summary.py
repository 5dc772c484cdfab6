"""What stands for all pixels of an image in a fit, and tells what each cluster holds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.clustering.assignment import Assignment, GroupedPoints
from napari_kmeans.clustering.balancing import balance_weights
from napari_kmeans.clustering.fit import fit_points, restart_size
from napari_kmeans.clustering.lloyd import find_nearest, lloyd
from napari_kmeans.clustering.seeding import add_farthest
from napari_kmeans.execution.threads import map_threads
from napari_kmeans.imaging.chunks import blocks_in_memory, count_steps
from napari_kmeans.imaging.colors import ColorSpace, white_of
from napari_kmeans.imaging.histogram import Histogram, build_histogram, find_codec
from napari_kmeans.imaging.normalizing import find_scales, scales_of_colors
from napari_kmeans.imaging.painting import Painter, RelabelPainter
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
from napari_kmeans.options import AUTO

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.clustering.lloyd import Fit
    from napari_kmeans.execution.progress import Progress, Step
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.drawing import Drawn
    from napari_kmeans.options import Options
    from napari_kmeans.types import Floats


_MAX_SHOWN = 20_000
"""Pixels that show where the colors of all lie."""


class Colors(NamedTuple):
    """Colors (m, C) in channel units, and how many pixels each stands for (m,)."""

    points: Floats
    weights: Floats


@dataclass(frozen=True, eq=False)
class Summary(ABC):
    """The colors of one or more images, as the options ask for them.

    Attributes
    ----------
    images : tuple of Pixels
    options : Options
    seed : int
        What random draws start from.
    space : ColorSpace
        Where colors are clustered.
    """

    images: tuple[Pixels, ...]
    options: Options
    seed: int
    space: ColorSpace

    @property
    def coreset(self) -> Coreset | None:
        """The sample that is fitted, None where all pixels are."""
        return None

    @property
    def shown(self) -> Colors | None:
        """Some colors that show where all of them lie; None where these were not kept."""
        return None if self.coreset is None else Colors(self.coreset.points, self.coreset.weights)

    @property
    @abstractmethod
    def levels(self) -> list[GroupedPoints]:
        """Points to fit, the smallest summary first, the one that counts last."""

    def compares_starts(self, data: GroupedPoints) -> bool:
        """Return whether `fit_points` compares starts, for which it needs a smaller summary.

        A single start runs on the points themselves, and gray is solved without one.
        """
        return self.options.resolved_n_init > 1 and data.points.shape[1] > 1

    def fit(self, step: Step) -> Fit:
        """Fit K-means as the options say; see `fit_points`."""
        rng = np.random.default_rng([self.seed, 0])
        levels = self.levels
        if self.options.balance:
            levels = [_balanced(level, self.options.balance) for level in levels]
        return fit_points(levels, self.options, self.start, rng, step)

    @property
    def start(self) -> Floats | None:
        """The given start, (K, F) in the clustering space, if there is one."""
        init = self.options.init
        return None if isinstance(init, str) else self.space.convert(init)

    def tally(self, fit: Fit, step: Step) -> Tally:
        """Return what each cluster holds of all pixels, as they are painted."""
        return tally_pixels(self.images, fit.centers, self.space, step)

    def refill(self, fit: Fit, tally: Tally, step: Step) -> Fit | None:
        """Return a fit of more clusters, where some have no pixel and the image has more colors.

        A sample may miss rare colors, and a mean may be the nearest center of no pixel.
        None if there are no more distinct colors than clusters.
        """
        centers, n_clusters = fit.centers[tally.counts > 0], self.options.n_clusters
        colors = self.find_colors(n_clusters + 1, step)
        if len(colors) <= len(centers):
            return None
        if len(colors) <= n_clusters:
            # Each color is a cluster, exactly: a mean of neighboring numbers is rounded.
            return self.fit_from(np.asarray(colors, np.float64), colors, 0, step)
        start = add_farthest(centers, colors, n_clusters)
        return self.fit_from(start, colors, self.options.max_iter, step)

    def find_colors(self, limit: int, step: Step) -> NDArray[Any]:
        """Return distinct colors (m, F) in the clustering space: all, or `limit` at least."""
        return self.space.convert(find_colors(self.images, limit, step))

    def fit_from(self, start: Floats, _colors: Floats, max_iter: int, step: Step) -> Fit:
        """Fit K-means from given centers (K, F), to points that include some colors (m, F)."""
        return self.run_lloyd(self.levels[-1], start, max_iter, step)

    def run_lloyd(self, data: GroupedPoints, start: Floats, max_iter: int, step: Step) -> Fit:
        """Fit K-means to points from given centers, with the weights that the options ask for."""
        if self.options.balance:
            data = _balanced(data, self.options.balance)
        return lloyd(data, start, max_iter=max_iter, tol=self.options.tol, step=step)

    def distortion(self, fit: Fit, tally: Tally) -> float:
        """Return by what factor the cost on the coreset is off that on all pixels, at least 1."""
        if self.coreset is None or tally.cost == fit.inertia:
            return 1.0
        seen = fit.inertia
        if self.options.balance:
            points = self.levels[-1]
            seen = float(points.weights @ find_nearest(points.points, fit.centers)[1])
        costs = sorted([tally.cost, seen + self._unseen_cost()])
        return costs[1] / costs[0] if costs[0] > 0 else float("inf")

    def _unseen_cost(self) -> float:
        """Return what all pixels cost more than the coreset, wherever the centers are."""
        return 0.0

    @abstractmethod
    def with_options(self, options: Options) -> Summary:
        """Return the summary of the same image for other options.

        Raises
        ------
        ValueError
            If the image would have to be read anew.
        """

    def painters(self, centers: Floats, tally: Tally, ranks: NDArray[np.int64]) -> list[Painter]:
        """Return what paints each image with the centers that are kept, in their order.

        `ranks` gives for each center of the fit its place among those kept.
        """
        # In the order of the fit, so that a pixel as near to two centers as to one
        # gets the label under which it was counted.
        used = np.flatnonzero(tally.counts)
        painter = Painter(centers[ranks[used]], self.space, ranks=ranks[used])
        names = np.append(0, ranks + 1).astype(painter.dtype)
        return [
            painter
            if found is None
            else RelabelPainter(centers, self.space, known_labels=found, new_labels=names)
            for found in tally.pixel_labels or [None] * len(self.images)
        ]


@dataclass(frozen=True, eq=False)
class CountedColors(Summary):
    """The summary of an image whose distinct colors were counted: nothing is lost."""

    histogram: Histogram

    @cached_property
    def colors(self) -> GroupedPoints:
        """The distinct colors in the clustering space, in cells of color space."""
        histogram = self.histogram
        if self.space.is_plain:
            return self.channels
        points = self.space.convert(histogram.points)
        return GroupedPoints(points, histogram.weights, histogram.starts)

    @cached_property
    def channels(self) -> GroupedPoints:
        """The distinct colors in channel units, in cells of color space."""
        histogram = self.histogram
        return GroupedPoints(histogram.points, histogram.weights, histogram.starts)

    @cached_property
    def cells(self) -> Coreset:
        """Cells of color space: as many as asked for, or finer ones where that costs nothing."""
        size = self.options.resolved_coreset_size
        finer = self.options.coreset_size == AUTO and len(self.channels.totals) >= size
        return take_cells(
            self.histogram, self.channels, None if finer else size, self.images, self.seed
        )

    @property
    def coreset(self) -> Coreset | None:
        """The cells; None for "full"."""
        return None if self.options.method == "full" else self.cells

    @property
    def shown(self) -> Colors:
        """The coreset, or else the means of cells of color space."""
        return super().shown or Colors(self.channels.means, self.channels.totals)

    @cached_property
    def levels(self) -> list[GroupedPoints]:
        """The cells, and for "full" all colors after them.

        So "full" goes on where the coreset ends: its cost is never higher. Where every
        color is a cell, both fit the same points.
        """
        is_full = self.options.method == "full"
        if is_full and not self.compares_starts(self.colors):
            return [self.colors]
        if len(self.cells.points) == len(self.histogram.codes):
            return [self.colors]
        cells = GroupedPoints(self.space.convert(self.cells.points), self.cells.weights)
        return [cells, self.colors] if is_full else [cells]

    def _unseen_cost(self) -> float:
        # What the spread within cells costs: second moments of all colors, less
        # those of the cells, both about the same point.
        data, cells = self.colors, self.levels[-1]
        middle = cells.weights @ cells.points / cells.weights.sum()
        whole = data.scatters.sum() + data.totals @ ((data.means - middle) ** 2).sum(axis=1)
        seen = cells.weights @ ((cells.points - middle) ** 2).sum(axis=1)
        return max(float(whole - seen), 0.0)

    def with_options(self, options: Options) -> CountedColors:
        """Return the summary of the same image for any other options."""
        space = _space_of_histogram(self.images, options, self.histogram)
        other = replace(self, options=options, seed=_seed_of(options), space=space)
        # What does not depend on the options is not worked out again.
        other.__dict__["channels"] = self.channels
        if space == self.space:
            other.__dict__["colors"] = self.colors
        return other

    def find_colors(self, limit: int, step: Step) -> NDArray[Any]:
        """Return all distinct colors (n, F) in the clustering space."""
        return self.colors.points

    def fit_from(self, start: Floats, _colors: Floats, max_iter: int, step: Step) -> Fit:
        """Fit K-means to all colors, from given centers."""
        return self.run_lloyd(self.colors, start, max_iter, step)

    def tally(self, fit: Fit, step: Step) -> Tally:
        """Return what each cluster holds, from the distinct colors."""
        histogram = self.histogram
        if self.levels[-1] is self.colors and not self.options.balance:
            labels, cost = fit.labels, fit.inertia
        else:
            assignment = Assignment(self.colors, fit.centers)
            assignment.update()
            labels, cost = assignment.labels(), assignment.cost()
            if self.colors is self.channels:
                return Tally(
                    np.rint(assignment.totals).astype(np.int64), assignment.sums, cost, labels
                )
        step(1)
        return tally_colors(histogram.points, histogram.weights, labels, cost, len(fit.centers))

    def painters(self, centers: Floats, tally: Tally, ranks: NDArray[np.int64]) -> list[Painter]:
        """Return a painter that looks labels up."""
        assert tally.labels is not None
        painter = Painter(centers, self.space)
        return [painter.with_table(self.histogram, tally.labels, ranks + 1)] * len(self.images)


@dataclass(frozen=True, eq=False)
class SampledPixels(Summary):
    """The summary of an image of too many colors to count: a sample of its pixels."""

    drawn: Drawn

    @cached_property
    def coreset(self) -> Coreset:
        """The sample for the number of clusters that is asked for."""
        return thin_out(self.drawn, self.images, _sampling(self.options, self.seed, self.space))

    @cached_property
    def levels(self) -> list[GroupedPoints]:
        """The sample alone."""
        return [GroupedPoints(self.space.convert(self.coreset.points), self.coreset.weights)]

    def fit_from(self, start: Floats, colors: Floats, max_iter: int, step: Step) -> Fit:
        """Fit K-means to the sample and to colors that it may miss."""
        (sample,) = self.levels
        points = np.concatenate([sample.points, colors])
        weights = np.append(sample.weights, np.ones(len(colors)))
        return self.run_lloyd(GroupedPoints(points, weights), start, max_iter, step)

    def with_options(self, options: Options) -> SampledPixels:
        """Return the summary for options under which the same pixels would be drawn.

        More clusters than the default sample is for are an exception: the images are
        read again for a larger one, so that the result is that without a summary.
        """
        for name in ("method", "color_space", "normalize", "coreset_size", "random_state"):
            _check_same(name, getattr(options, name), getattr(self.options, name))
        other = replace(self, options=options)
        if options.resolved_coreset_size == self.options.resolved_coreset_size:
            return other
        sampling = _sampling(options, self.seed, self.space)
        return replace(other, drawn=draw_many(self.images, sampling))


@dataclass(frozen=True, eq=False)
class EveryPixel(Summary):
    """All pixels of an image of too many colors to count."""

    values: NDArray[Any]

    @property
    def shown(self) -> Colors:
        """Every n-th pixel."""
        step = -(-len(self.values) // _MAX_SHOWN)
        points = self.values[::step].astype(np.float64)
        return Colors(points, np.full(len(points), len(self.values) / len(points)))

    @cached_property
    def levels(self) -> list[GroupedPoints]:
        """The sample on which starts are compared, and all pixels.

        The sample is the one that is drawn from dask images, so that the start is the same.
        """
        pixels = GroupedPoints(self.space.convert(self.values), np.ones(len(self.values)))
        if not self.compares_starts(pixels):
            return [pixels]
        sample = sample_pixels(self.images, _sampling(self.options, self.seed, self.space))
        points = np.asarray(self.space.convert(sample.points), np.float64)
        return [GroupedPoints(points, sample.weights), pixels]

    def with_options(self, options: Options) -> EveryPixel:
        """Return the summary for other options of the same method."""
        for name in ("method", "normalize"):
            _check_same(name, getattr(options, name), getattr(self.options, name))
        space = replace(self.space, name=options.color_space)
        return replace(self, options=options, seed=_seed_of(options), space=space)


@dataclass(frozen=True, eq=False)
class StreamedPixels(Summary):
    """All pixels of images of too many colors to count that are not held in memory."""

    moments: Moments

    @property
    def levels(self) -> list[GroupedPoints]:
        """None: each iteration reads all pixels."""
        return []

    def fit(self, step: Step) -> Fit:
        """Fit K-means to all pixels; see `fit_pixels`."""
        if self.options.balance:
            raise ValueError(
                f"balance must be 0 for method 'full' on dask images of too many colors to "
                f"count, got {self.options.balance}: use method 'coreset'."
            )
        rng = np.random.default_rng([self.seed, 0])
        sampling = _sampling(self.options, self.seed, self.space)
        return fit_pixels(self.images, self.options, sampling, self.moments, self.start, rng, step)

    def fit_from(self, start: Floats, _colors: Floats, max_iter: int, step: Step) -> Fit:
        """Fit K-means to all pixels, from given centers."""
        sampling = _sampling(self.options, self.seed, self.space)
        threshold = self.options.tol * self.moments.mean_variance
        return lloyd_pixels(self.images, start, max_iter, threshold, sampling, step)

    def with_options(self, options: Options) -> StreamedPixels:
        """Return the summary for other options of the same method and color space."""
        for name in ("method", "color_space", "normalize"):
            _check_same(name, getattr(options, name), getattr(self.options, name))
        return replace(self, options=options, seed=_seed_of(options))

    def tally(self, fit: Fit, step: Step) -> Tally:
        """Return what each cluster holds, from the last pass of the fit."""
        assert isinstance(fit, StreamedFit)
        return fit.tally


def _balanced(data: GroupedPoints, balance: float) -> GroupedPoints:
    return GroupedPoints(
        data.points, balance_weights(data.points, data.weights, balance), data.starts
    )


def summarize_pixels(images: tuple[Pixels, ...], options: Options, progress: Progress) -> Summary:
    """Read images and return what stands for them in a fit.

    Raises
    ------
    ValueError
        If every pixel is left out.
    """
    n_steps = count_steps(images)
    seed = _seed_of(options)
    codec = find_codec(images, progress.stage(0.1, n_steps))
    if codec is not None:
        histogram = build_histogram(images, codec, progress.stage(0.2, n_steps))
        _check_any(len(histogram.codes), images)
        space = _space_of_histogram(images, options, histogram)
        return CountedColors(images, options, seed, space, histogram)
    space = ColorSpace(options.color_space, white_of(images[0].dtype))
    if options.normalize != "none":
        scales = find_scales(images, options.normalize, seed, progress.stage(0.1, n_steps))
        space = space.scaled(*scales)
    step = progress.stage(0.2, n_steps)
    if options.method == "coreset":
        drawn = draw_many(images, _sampling(options, seed, space), step)
        _check_any(len(drawn.values), images)
        return SampledPixels(images, options, seed, space, drawn)
    if any(pixels.is_lazy for pixels in images):
        moments = find_moments(images, space, step)
        _check_any(moments.n_pixels, images)
        return StreamedPixels(images, options, seed, space, moments)
    blocks = blocks_in_memory(images)
    values = map_threads(lambda place: images[place[0]].read_kept(place[1]), blocks, step)
    _check_any(sum(map(len, values)), images)
    return EveryPixel(images, options, seed, space, np.concatenate(values))


def _space_of_histogram(
    images: tuple[Pixels, ...], options: Options, histogram: Histogram
) -> ColorSpace:
    """Return where the options want the counted colors to be clustered."""
    space = ColorSpace(options.color_space, white_of(images[0].dtype))
    if options.normalize == "none":
        return space
    return space.scaled(*scales_of_colors(histogram.points, histogram.weights, options.normalize))


def _sampling(options: Options, seed: int, space: ColorSpace) -> Sampling:
    """Return how a sample of the pixels is drawn."""
    size = options.resolved_coreset_size
    if options.method == "full":
        # Starts are compared on it: a smaller sample would be skipped where all pixels
        # are in memory, and taken where they are not. Pixels that are drawn twice count once.
        size = max(size, 2 * restart_size(options.n_clusters))
    return Sampling(options.n_clusters, size, space, seed)


def _seed_of(options: Options) -> int:
    if options.random_state is None:
        return int(np.random.default_rng().integers(2**63))
    return options.random_state


def _check_same(name: str, wanted: Any, made_for: Any) -> None:
    if wanted != made_for:
        raise ValueError(
            f"{name} must be {made_for!r}, which the summary was made for, got {wanted!r}: "
            "make another summary for it."
        )


def _check_any(n_kept: int, images: tuple[Pixels, ...]) -> None:
    if not n_kept:
        n_pixels = sum(pixels.n_pixels for pixels in images)
        raise ValueError(
            f"image must have a pixel to cluster, got all {n_pixels} left out: "
            "check the mask, the alpha channel and NaN or infinite values."
        )
