"""The coreset of an image: a weighted sample of its pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_kmeans.clustering.cells import group_in_cells
from napari_kmeans.clustering.coreset import draw_coreset, draw_lightweight
from napari_kmeans.imaging.chunks import map_reduce
from napari_kmeans.imaging.histogram import pack_table, unpack_table
from napari_kmeans.imaging.kernels import find_least
from napari_kmeans.progress import Step, ignore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_kmeans.clustering.assignment import GroupedPoints
    from napari_kmeans.imaging.blocks import Block, Pixels
    from napari_kmeans.imaging.chunks import Batch, Piece
    from napari_kmeans.imaging.colors import ColorSpace
    from napari_kmeans.imaging.histogram import Codec, Histogram

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

_FINER = 8
_OVERSAMPLING = 4
_MIN_BATCH_SIZE = 512


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
        for, from the image, which therefore should not have changed. Of
        several images `ndim` is the most that one has, and the index into one
        of fewer dimensions stands last, after zeros.
    images : (m,) int64 array
        Of several images, the number of that in which the pixel is.
    """

    points: Floats
    weights: Floats
    locate: Callable[[Step], tuple[Positions, NDArray[np.int64]]] = field(repr=False)

    @property
    def positions(self) -> Positions:
        """The index (m, ndim) of one pixel of each point."""
        return self._located[0]

    @property
    def images(self) -> NDArray[np.int64]:
        """The number (m,) of the image of each of these pixels."""
        return self._located[1]

    @cached_property
    def _located(self) -> tuple[Positions, NDArray[np.int64]]:
        return self.locate(ignore)

    def find_positions(self, step: Step) -> None:
        """Work the positions out now; raising from `step` cancels."""
        if "_located" not in vars(self):
            vars(self)["_located"] = self.locate(step)


def find_colors(images: Sequence[Pixels], limit: int, step: Step = ignore) -> NDArray[Any]:
    """Return the distinct colors (m, C) of images, the first `limit` of them in order.

    In lexicographic order, so that the choice does not depend on the chunks.
    """

    def poll(_steps: float) -> None:
        step(0)

    return map_reduce(images, _Colors(limit), partial(_first_colors, limit=limit), poll)


@dataclass(frozen=True)
class _Colors:
    """The leaf of `find_colors`."""

    limit: int

    def __call__(self, batch: Batch) -> NDArray[Any]:
        return _first_colors(
            [_first_colors([piece.inside], self.limit) for piece in batch.pieces], self.limit
        )


def _first_colors(parts: list[NDArray[Any]], limit: int) -> NDArray[Any]:
    return np.unique(np.concatenate(parts), axis=0)[:limit]


@dataclass(frozen=True)
class Sampling:
    """How a coreset is drawn: for how many clusters, how large, from which seed."""

    n_clusters: int
    size: int
    space: ColorSpace
    seed: int

    def draw(
        self, values: NDArray[Any], weights: Floats | None, size: int, *stream: int
    ) -> tuple[NDArray[np.int64], Floats]:
        """Draw from colours (n, C); the same `stream` draws the same.

        Without weights, from many pixels, in a single quick pass.
        """
        points = self.space.convert(values)
        rng = np.random.default_rng([self.seed, *stream])
        if weights is None:
            return draw_lightweight(points, size, rng)
        return draw_coreset(points, weights, self.n_clusters, size, rng)


def take_cells(
    histogram: Histogram,
    colors: GroupedPoints,
    size: int | None,
    images: Sequence[Pixels],
    seed: int,
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
    images, seed
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

    def locate(step: Step) -> tuple[Positions, NDArray[np.int64]]:
        table = histogram.table(numbers, np.arange(1, len(weights) + 1, dtype=np.uint32))
        shapes = [pixels.shape for pixels in images]
        locator = _Locator(histogram.codec, table, len(weights), shapes, seed)
        lots = map_reduce(images, locator, _least, step)
        return _positions(lots.images, lots.indices, shapes), lots.images

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


class _Lots(NamedTuple):
    """For each entry (m,) the pixel of the least lot: the lot, the image, its number there."""

    least: NDArray[np.uint64]
    images: NDArray[np.int64]
    indices: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Locator:
    """The leaf that looks for a pixel of each entry, any of them with equal probability.

    Every pixel draws a lot from its number in the image, so that the winner
    does not depend on how the image is cut.
    """

    codec: Codec
    table: NDArray[Any]
    n_entries: int
    shapes: list[tuple[int, ...]]
    seed: int

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel with the runs of the table alone."""
        packed = pack_table(self.table)
        return _unpacked_locator, (self.codec, packed, self.n_entries, self.shapes, self.seed)

    def __call__(self, batch: Batch) -> _Lots:
        most = np.iinfo(np.uint64).max
        lots = _Lots(
            np.full(self.n_entries, most, np.uint64), *np.zeros((2, self.n_entries), np.int64)
        )
        for piece in batch.pieces:
            entries = self.codec.look_up(piece.values, self.table)
            if piece.kept is not None:
                entries[~piece.kept] = 0
            start = 0
            for image, block in piece.places:
                indices = _indices(block, self.shapes[image])
                here = entries[start : start + len(indices)]
                key = np.random.SeedSequence([self.seed, 2, image]).generate_state(1, np.uint64)
                find_least(here, indices, image, key[0], *lots)
                start += len(indices)
        return lots


def _unpacked_locator(codec: Codec, packed: Any, *rest: Any) -> _Locator:
    return _Locator(codec, unpack_table(packed), *rest)


def _least(parts: list[_Lots]) -> _Lots:
    best = parts[0]
    for part in parts[1:]:
        less = part.least < best.least
        best = _Lots(*(np.where(less, new, old) for new, old in zip(part, best, strict=True)))
    return best


class _Sample(NamedTuple):
    """Pixels (m, C) that were drawn, their weights, the image and the number there of each."""

    points: Floats
    weights: Floats
    images: NDArray[np.int64]
    indices: NDArray[np.int64]


def sample_pixels(images: Sequence[Pixels], sampling: Sampling, step: Step = ignore) -> Coreset:
    """Draw a lightweight coreset from each batch, unite them, and thin the union out once.

    Batches are sampled four times as densely as asked for, so that the union
    can be thinned out by sensitivity, where it matters least.
    """
    shapes = [pixels.shape for pixels in images]
    n_pixels = sum(pixels.n_pixels for pixels in images)
    sample = map_reduce(images, _Sampler(sampling, n_pixels, shapes), _union, step)
    if len(sample.points) > sampling.size:
        indices, weights = sampling.draw(sample.points, sample.weights, sampling.size, 3)
        sample = _Sample(
            sample.points[indices], weights, sample.images[indices], sample.indices[indices]
        )
    positions = _positions(sample.images, sample.indices, shapes)
    return Coreset(sample.points, sample.weights, lambda _step: (positions, sample.images))


@dataclass(frozen=True)
class _Sampler:
    """The leaf that draws from a batch: from each piece its share."""

    sampling: Sampling
    n_pixels: int
    shapes: list[tuple[int, ...]]

    def __call__(self, batch: Batch) -> _Sample:
        size = ceil(_OVERSAMPLING * self.sampling.size * batch.n_pixels / self.n_pixels)
        size = max(_MIN_BATCH_SIZE, size)
        n_kept, parts = 0, []
        for number, piece in enumerate(batch.pieces):
            inside = piece.inside
            share = ceil(size * len(piece.values) / batch.n_pixels)
            drawn, weights = self.sampling.draw(inside, None, share, 1, batch.number, number)
            places = drawn if piece.kept is None else np.flatnonzero(piece.kept)[drawn]
            points = inside[drawn].astype(np.float64)
            parts.append(_Sample(points, weights, *self._locate(places, piece)))
            n_kept += len(inside)
        sample = _union(parts)
        # Only now: of a few pixels, the sum says little.
        return sample._replace(weights=sample.weights * (n_kept / (sample.weights.sum() or 1)))

    def _locate(self, places: NDArray[Any], piece: Piece) -> tuple[NDArray[np.int64], ...]:
        """Return the images of some pixels of a piece, and their numbers there."""
        indices = [_indices(block, self.shapes[image]) for image, block in piece.places]
        images = [image for image, _ in piece.places]
        numbers = np.repeat(np.array(images, np.int64), [len(part) for part in indices])
        return numbers[places], np.concatenate(indices)[places]


def _union(parts: list[_Sample]) -> _Sample:
    return _Sample(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _indices(block: Block, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the numbers (n,) that the pixels of a block have in their image, row by row."""
    indices = np.zeros((), np.int64)
    for part, length in zip(block, shape, strict=True):
        indices = indices[..., None] * length + np.arange(part.start, part.stop)
    return indices.ravel()


def _positions(
    images: NDArray[np.int64], indices: NDArray[np.int64], shapes: list[tuple[int, ...]]
) -> Positions:
    """Return where (m, ndim) pixels are, those of an image of fewer dimensions after zeros."""
    positions = np.zeros((len(indices), max(map(len, shapes))), np.int64)
    for image, shape in enumerate(shapes):
        here = images == image
        index = np.stack(np.unravel_index(indices[here], shape), axis=1)
        positions[here, positions.shape[1] - len(shape) :] = index
    return positions
