"""The coreset of an image: a weighted sample of its pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_kmeans.clustering.cells import group_in_cells
from napari_kmeans.clustering.coreset import draw_coreset
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.imaging.chunks import map_reduce
from napari_kmeans.imaging.drawing import Drawn, draw_pixels, indices_of
from napari_kmeans.imaging.histogram import pack_table, unpack_table
from napari_kmeans.imaging.kernels import update_smallest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_kmeans.clustering.assignment import GroupedPoints
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.chunks import Batch
    from napari_kmeans.imaging.colors import ColorSpace
    from napari_kmeans.imaging.histogram import Codec, Histogram
    from napari_kmeans.types import Floats

Positions = NDArray[np.int64]

_FINER = 8
_OVERSAMPLING = 4
"""How many pixels are drawn for each that is kept: so sensitivities decide which."""


@dataclass(frozen=True, eq=False)
class Coreset:
    """A few weighted colors whose cost stands for that of all pixels.

    Attributes
    ----------
    points : (m, C) float64 array
        In channel units: mean colors of cells of color space where colors
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
    return np.unique(_one_of_each(np.concatenate(parts)), axis=0)[:limit]


def _one_of_each(colors: NDArray[Any]) -> NDArray[Any]:
    """Return rows (m, C) that contain each distinct row (n, C) at least once, most of them once.

    Rows are told apart by a hash of their bits: numpy sorts numbers twenty times as fast
    as rows. Two of a million colors have the same hash once in 40 million images.
    """
    if not colors.size:
        return colors
    words = colors.view(f"u{min(colors.dtype.itemsize, 8)}").reshape(len(colors), -1)
    hashes = np.zeros(len(colors), np.uint64)
    for column in words.T:
        hashes = (hashes ^ column) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(32)
    return colors[np.unique(hashes, return_index=True)[1]]


@dataclass(frozen=True)
class Sampling:
    """How a coreset is drawn: for how many clusters, how large, from which seed."""

    n_clusters: int
    size: int
    space: ColorSpace
    seed: int

    def draw(self, values: NDArray[Any], weights: Floats) -> tuple[NDArray[np.int64], Floats]:
        """Draw from weighted colors (n, C) by sensitivity; see `draw_coreset`."""
        points = self.space.convert(values)
        rng = np.random.default_rng([self.seed, 3])
        return draw_coreset(points, weights, self.n_clusters, self.size, rng)


def take_cells(
    histogram: Histogram,
    colors: GroupedPoints,
    size: int | None,
    images: Sequence[Pixels],
    seed: int,
) -> Coreset:
    """Return cells of color space as a coreset: mean colors and numbers of pixels.

    Parameters
    ----------
    histogram : Histogram
    colors : GroupedPoints
        Its distinct colors in channel units, in its own cells.
    size : int or None
        The number of cells; None takes the histogram's own. Where there are no
        more colors than cells, each is a cell of its own.
    images, seed
        To find a pixel of each cell, any of them with equal probability.

    Notes
    -----
    Nothing is drawn at random to be fitted, and the mean of any union of cells
    is exact. Centers from cells cost less than from as many points drawn by
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
    """Return for each color (n,) the number of its cell."""
    own = np.repeat(np.arange(len(colors.totals)), np.diff(colors.starts))
    if size is None:
        return own
    if len(own) <= size:
        return np.arange(len(own))
    # Own cells that are much finer than asked for may be parted in place of colors.
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
                indices = indices_of(block, self.shapes[image])
                here = entries[start : start + len(indices)]
                key = np.random.SeedSequence([self.seed, 2, image]).generate_state(1, np.uint64)
                update_smallest(here, indices, image, key[0], *lots)
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


def sample_pixels(images: Sequence[Pixels], sampling: Sampling, step: Step = ignore) -> Coreset:
    """Draw more pixels than asked for, and thin them out by sensitivity.

    Half of the pixels are drawn uniformly, the others by their distance from a typical
    pixel; see `draw_pixels`. The result does not depend on chunks or threads.
    """
    return thin_out(draw_many(images, sampling, step), images, sampling)


def draw_many(images: Sequence[Pixels], sampling: Sampling, step: Step = ignore) -> Drawn:
    """Draw more pixels than asked for, whatever the number of clusters."""
    n_each = _OVERSAMPLING // 2 * sampling.size
    return draw_pixels(images, n_each, n_each, sampling.space, [sampling.seed, 1], step)


def thin_out(drawn: Drawn, images: Sequence[Pixels], sampling: Sampling) -> Coreset:
    """Draw a sample of the pixels that were drawn, by their sensitivity for K clusters."""
    shapes = [pixels.shape for pixels in images]
    if len(drawn.values) > sampling.size:
        indices, weights = sampling.draw(drawn.values, drawn.weights)
        drawn = Drawn(drawn.values[indices], weights, drawn.images[indices], drawn.indices[indices])
    positions = _positions(drawn.images, drawn.indices, shapes)
    return Coreset(drawn.values, drawn.weights, lambda _step: (positions, drawn.images))


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
