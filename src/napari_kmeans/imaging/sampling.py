"""The coreset of an image: a weighted sample of its pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_kmeans.clustering.cells import group_in_cells
from napari_kmeans.clustering.coreset import draw_coreset, draw_lightweight
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

_FINER = 8
_OVERSAMPLING = 4
_MIN_BLOCK_SIZE = 512


@dataclass(frozen=True, eq=False)
class Coreset:
    """A few weighted colours whose cost stands for that of all pixels.

    Attributes
    ----------
    points : (m, C) float64 array
        In channel units: mean colours of cells of colour space where colours
        can be counted, pixels of the image elsewhere.
    weights : (m,) float64 array
        What each point stands for, in pixels.
    positions : (m, ndim) int64 array
        The index of one pixel of each. Worked out when first asked
        for, from the image, which therefore should not have changed.
    """

    points: Floats
    weights: Floats
    locate: Callable[[], Positions] = field(repr=False)

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

    def draw(
        self, values: NDArray[Any], weights: Floats | None, size: int, *stream: int
    ) -> tuple[NDArray[np.int64], Floats]:
        """Draw from colours (n, C); the same `stream` draws the same.

        Without weights, from many pixels, in a single quick pass.
        """
        points = to_space(values, self.color_space, self.white)
        rng = np.random.default_rng([self.seed, *stream])
        if weights is None:
            return draw_lightweight(points, size, rng)
        return draw_coreset(points, weights, self.n_clusters, size, rng)


def take_cells(
    histogram: Histogram, colors: GroupedPoints, size: int | None, pixels: Pixels, seed: int
) -> Coreset:
    """Return cells of colour space as a coreset: mean colours and numbers of pixels.

    Parameters
    ----------
    histogram : Histogram
    colors : GroupedPoints
        Its distinct colours in channel units, in its own cells.
    size : int or None
        The number of cells; None takes the histogram's own. Where there are no
        more colours than cells, each is a cell of its own.
    pixels, seed
        To find a pixel of each cell, any of them with equal probability.

    Notes
    -----
    Nothing is drawn at random to be fitted, and the mean of any union of cells
    is exact. Centres from cells cost less than from as many points drawn by
    sensitivity, at each size that was tried (2,000 and 10,000; K = 8, 16, 32).
    """
    numbers = _cell_numbers(colors, size)
    if size is None:
        points, weights = colors.means, colors.totals
    else:
        weights = np.bincount(numbers, colors.weights).astype(np.float64)
        sums = [np.bincount(numbers, colors.weights * channel) for channel in colors.points.T]
        points = np.stack(sums, axis=1) / weights[:, None]

    def locate() -> Positions:
        return _locate(histogram, numbers + 1, weights, pixels, seed)

    return Coreset(points, weights, locate)


def _cell_numbers(colors: GroupedPoints, size: int | None) -> NDArray[np.int64]:
    """Return for each colour (n,) the number of its cell."""
    own = np.repeat(np.arange(len(colors.totals)), np.diff(colors.starts))
    if size is None:
        return own
    if len(own) <= size:
        return np.arange(len(own))
    # Own cells that are much finer than asked for may be parted in place of colours.
    if len(colors.totals) > _FINER * size:
        return _parted(colors.means, colors.totals, size)[own]
    return _parted(colors.points, colors.weights, size)


def _parted(points: Floats, weights: Floats, size: int) -> NDArray[np.int64]:
    data, order = group_in_cells(points, weights, size)
    numbers = np.empty(len(points), np.int64)
    numbers[order] = np.repeat(np.arange(len(data.totals)), np.diff(data.starts))
    return numbers


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
    """Draw a lightweight coreset from each block, unite them, and thin the union out once.

    Blocks are sampled four times as densely as asked for, so that the union
    can be thinned out by sensitivity, where it matters least.
    """
    blocks = pixels.blocks()

    def draw(item: tuple[int, Block]) -> tuple[Floats, Floats, Positions]:
        number, block = item
        values, kept = pixels.read(block)
        inside = values if kept is None else values[kept]
        if not len(inside):
            return _nothing(pixels)
        share = len(values) / pixels.n_pixels
        size = max(_MIN_BLOCK_SIZE, ceil(_OVERSAMPLING * sampling.size * share))
        indices, weights = sampling.draw(inside, None, size, 1, number)
        places = indices if kept is None else np.flatnonzero(kept)[indices]
        return inside[indices].astype(np.float64), weights, _positions(places, block)

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
