"""The coreset of an image: a weighted sample of its pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_kmeans.clustering.coreset import draw_coreset
from napari_kmeans.imaging.colors import to_space
from napari_kmeans.imaging.kernels import find_occurrences
from napari_kmeans.parallel import map_threads
from napari_kmeans.progress import Step, ignore

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_kmeans.clustering.assignment import GroupedPoints
    from napari_kmeans.imaging.blocks import Block, Pixels
    from napari_kmeans.imaging.histogram import Histogram

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

_OVERSAMPLING = 4
_MIN_BLOCK_SIZE = 512


@dataclass(frozen=True, eq=False)
class Coreset:
    """A weighted sample of pixels whose cost stands for that of all.

    Attributes
    ----------
    points : (m, C) float64 array
        In channel units.
    weights : (m,) float64 array
        What each point stands for, in pixels.
    positions : (m, ndim) int64 array
        The index of one pixel of that colour each. Worked out when first asked
        for, from the image, which therefore should not have changed.
    """

    points: Floats
    weights: Floats
    locate: Callable[[], Positions] = field(repr=False)
    is_cells: bool = False
    """Whether the points are means of cells of colour space instead of drawn at random."""

    @cached_property
    def positions(self) -> Positions:
        """The index (m, ndim) of one pixel of each point."""
        return self.locate()


@dataclass(frozen=True)
class Sampling:
    """How a coreset is drawn: for how many clusters, how large, from which seed."""

    n_clusters: int
    size: int
    color_space: str
    white: float
    seed: int

    def of_histogram(self, histogram: Histogram, pixels: Pixels) -> Coreset:
        """Draw a coreset from the distinct colours of an image."""
        indices, weights = self.draw(histogram.points, histogram.weights, self.size, 1)

        def locate() -> Positions:
            entries = np.zeros(len(histogram.codes), np.uint32)
            entries[indices] = np.arange(1, len(indices) + 1)
            return _locate(histogram, entries, histogram.weights[indices], pixels, self.seed)

        return Coreset(histogram.points[indices], weights, locate)

    def draw(
        self, values: NDArray[Any], weights: Floats, size: int, *stream: int
    ) -> tuple[NDArray[np.int64], Floats]:
        """Draw from colours (n, C); the same `stream` draws the same."""
        points = to_space(values, self.color_space, self.white)
        rng = np.random.default_rng([self.seed, *stream])
        return draw_coreset(points, weights, self.n_clusters, size, rng)


def sample_cells(histogram: Histogram, colors: GroupedPoints, pixels: Pixels, seed: int) -> Coreset:
    """Return the cells of colour space as a coreset: mean colours and numbers of pixels.

    Nothing is drawn at random, and the mean of any union of cells is exact.
    `colors` are the histogram's, by cell, in channel units.
    """

    def locate() -> Positions:
        cells = np.repeat(np.arange(len(colors.totals)), np.diff(histogram.starts))
        return _locate(histogram, cells + 1, colors.totals, pixels, seed)

    return Coreset(colors.means, colors.totals, locate, is_cells=True)


def _locate(
    histogram: Histogram, entries: NDArray[Any], counts: Floats, pixels: Pixels, seed: int
) -> Positions:
    """Return a pixel of each entry, any of them with equal probability.

    `entries` has for each distinct colour a number from 1 on, or 0; `counts`
    has for each number how many pixels have it.
    """
    rng = np.random.default_rng([seed, 2])
    waits = rng.integers(1, counts.astype(np.int64), endpoint=True)
    table = histogram.table(entries, np.arange(len(counts) + 1, dtype=np.uint32))
    positions = np.zeros((len(counts), len(pixels.shape)), np.int64)
    for block in pixels.blocks():
        values, kept = pixels.read(block)
        found = np.full(len(counts), -1, np.int64)
        numbers = histogram.codec.look_up(values, table)
        if kept is not None:
            numbers[~kept] = 0
        find_occurrences(numbers, waits, found)
        here = found >= 0
        positions[here] = _positions(found[here], block)
    return positions


def sample_pixels(pixels: Pixels, sampling: Sampling, step: Step = ignore) -> Coreset:
    """Draw a coreset from each block and unite them, recompressed at most once.

    Blocks are sampled four times as densely as asked for, so that the union
    can be thinned out where it matters least.
    """
    blocks = pixels.blocks()

    def draw(item: tuple[int, Block]) -> tuple[Floats, Floats, Positions]:
        number, block = item
        values, kept = pixels.read(block)
        inside = np.arange(len(values)) if kept is None else np.flatnonzero(kept)
        if not len(inside):
            return _nothing(pixels)
        size = sampling.size
        if len(blocks) > 1:
            share = len(values) / pixels.n_pixels
            size = max(_MIN_BLOCK_SIZE, ceil(_OVERSAMPLING * size * share))
        indices, weights = sampling.draw(values[inside], np.ones(len(inside)), size, 1, number)
        chosen = inside[indices]
        return values[chosen].astype(np.float64), weights, _positions(chosen, block)

    parts = map_threads(draw, enumerate(blocks), step)
    points, weights, positions = (np.concatenate(part) for part in zip(*parts, strict=True))
    if len(points) > sampling.size:
        indices, weights = sampling.draw(points, weights, sampling.size, 3)
        points, positions = points[indices], positions[indices]
    return Coreset(points, weights, lambda: positions)


def _nothing(pixels: Pixels) -> tuple[Floats, Floats, Positions]:
    n_dimensions = len(pixels.shape)
    return np.empty((0, pixels.n_channels)), np.empty(0), np.empty((0, n_dimensions), np.int64)


def _positions(indices: NDArray[np.int64], block: Block) -> Positions:
    """Return where (n, ndim) the pixels of a block are in the image."""
    shape = tuple(part.stop - part.start for part in block)
    starts = np.array([part.start for part in block])
    return np.asarray(np.stack(np.unravel_index(indices, shape), axis=1) + starts)
