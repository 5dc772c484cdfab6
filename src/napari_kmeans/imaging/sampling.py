"""Summarize the pixels of images by a coreset: a few weighted colors."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_kmeans.clustering.cells import group_in_cells
from napari_kmeans.clustering.coreset import draw_coreset
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.feature_space.space import PLAIN
from napari_kmeans.imaging.chunks import map_reduce
from napari_kmeans.imaging.drawing import Drawn, draw_pixels, indices_of
from napari_kmeans.imaging.kernels import update_smallest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_kmeans.clustering.assignment import GroupedPoints
    from napari_kmeans.feature_space.space import FeatureSpace
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.chunks import Batch
    from napari_kmeans.imaging.histogram import Codec, CodeTable, Histogram
    from napari_kmeans.types import Floats

Positions = NDArray[np.int64]

_FINE_CELLS = 8
"""If a histogram has more cells than this per cell of the coreset, its cells are grouped again.

Otherwise its colors are grouped. This takes longer, because there are more colors than cells.
"""

_OVERSAMPLING = 4
"""Pixels that are drawn for each pixel of the coreset, so that sensitivities select among them."""


@dataclass(frozen=True, eq=False)
class Coreset:
    """A few weighted colors whose K-means cost approximates the cost of all pixels.

    Attributes
    ----------
    points : (m, C) float64 array
        In channel units. With a texture (m, 2 C): after the colors, the contrast of each
        channel. With a position, the last columns are the places along the axes of space, of
        which the longest has length 1. If the colors of the image can be counted, the points
        are the mean colors of cells of color space. Otherwise they are pixels of
        the image.
    weights : (m,) float64 array
        The number of pixels that each point stands for.
    positions : (m, ndim) int64 array
        The index of one pixel of each point. `ndim` is the largest number of
        spatial dimensions of the images. The index in an image of fewer
        dimensions has zeros in front. For cells, the positions are found when
        they are first used, by reading the images again: the images should not
        have changed since the fit.
    images : (m,) int64 array
        The number of the image of each of these pixels.
    locate : callable
        Returns `positions` and `images`. Called with a step function.
    """

    points: Floats
    weights: Floats
    locate: Callable[[Step], tuple[Positions, NDArray[np.int64]]] = field(repr=False)

    def __reduce__(self) -> Any:
        """Find the positions before pickling: `locate` may be a local function."""
        return type(self), (self.points, self.weights, partial(_known_positions, self._located))

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
        """Find the positions now, if they are not known yet. An exception from `step` cancels."""
        if "_located" not in vars(self):
            vars(self)["_located"] = self.locate(step)


def find_colors(
    images: Sequence[Pixels], limit: int, step: Step = ignore, space: FeatureSpace = PLAIN
) -> NDArray[Any]:
    """Return the distinct compared colors of images, at most the first `limit` colors.

    Parameters
    ----------
    images : sequence of Pixels
    limit : int
    step : callable
        Called with 0 several times a second.
    space : FeatureSpace
        The blurred colors are found if the space is not pointwise.

    Returns
    -------
    (m, C) array
        In lexicographic order, so that the chunks do not change which colors are
        the first.
    """

    def poll(_steps: float) -> None:
        step(0)

    return map_reduce(images, _ColorsLeaf(limit), partial(_merge_colors, limit=limit), poll, space)


def _known_positions(
    located: tuple[Positions, NDArray[np.int64]], _step: Step
) -> tuple[Positions, NDArray[np.int64]]:
    """Return positions that were found before, in place of `Coreset.locate`."""
    return located


@dataclass(frozen=True)
class _ColorsLeaf:
    """The leaf of `find_colors`."""

    limit: int

    def __call__(self, batch: Batch) -> NDArray[Any]:
        return _merge_colors(
            [_merge_colors([piece.compared], self.limit) for piece in batch.pieces], self.limit
        )


def _merge_colors(results: list[NDArray[Any]], limit: int) -> NDArray[Any]:
    return np.unique(_drop_duplicates(np.concatenate(results)), axis=0)[:limit]


def _drop_duplicates(colors: NDArray[Any]) -> NDArray[Any]:
    """Return colors (m, C) that contain each distinct color of (n, C) at least once.

    Colors are compared by a hash of their bits, because numpy sorts numbers twenty times
    as fast as rows. Equal colors with different bits, such as 0.0 and -0.0, are both
    returned. Among a million distinct colors, two have the same hash once in 40 million
    images; then one of these two colors is lost.
    """
    if not colors.size:
        return colors
    words = (
        np.ascontiguousarray(colors)
        .view(f"u{min(colors.dtype.itemsize, 8)}")
        .reshape(len(colors), -1)
    )
    hashes = np.zeros(len(colors), np.uint64)
    for column in words.T:
        hashes = (hashes ^ column) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(32)
    return colors[np.unique(hashes, return_index=True)[1]]


@dataclass(frozen=True)
class Sampling:
    """The options for drawing a coreset.

    Attributes
    ----------
    n_clusters : int
        The number of clusters that the coreset is for.
    size : int
        The maximum number of points.
    space : FeatureSpace
    seed : int
    """

    n_clusters: int
    size: int
    space: FeatureSpace
    seed: int

    def draw(self, values: NDArray[Any], weights: Floats) -> tuple[NDArray[np.int64], Floats]:
        """Draw from weighted colors (n, C) by sensitivity: return indices and weights (m,).

        See `draw_coreset`.
        """
        points = self.space.points(values)
        rng = np.random.default_rng([self.seed, 3])
        return draw_coreset(points, weights, self.n_clusters, self.size, rng)


def take_cells(
    histogram: Histogram,
    colors: GroupedPoints,
    size: int | None,
    images: Sequence[Pixels],
    seed: int,
) -> Coreset:
    """Return cells of color space as a coreset: their mean colors and numbers of pixels.

    Parameters
    ----------
    histogram : Histogram
    colors : GroupedPoints
        The distinct colors of the histogram in channel units, grouped by its cells.
    size : int or None
        The number of cells. None takes the cells of the histogram. If there are
        at most `size` colors, each color is a cell.
    images, seed
        For finding a pixel of each cell. All pixels of a cell have the same
        probability.

    Returns
    -------
    Coreset

    Notes
    -----
    Nothing is drawn at random for the fit, and the mean of any union of cells is exact.
    Centers that are fitted to cells have a lower cost than centers that are fitted to the
    same number of points drawn by sensitivity. This holds for each size that was tried:
    2,000 and 10,000 points with K = 8, 16 and 32.
    """
    if size is None:
        points, weights = colors.means, colors.totals
        number = partial(_number_groups, colors)
    elif len(colors.weights) <= size:
        points, weights = colors.points.copy(), colors.weights.copy()
        number = partial(np.arange, len(weights))
    else:
        # The cells of the histogram are small compared with those of a much smaller coreset.
        are_fine = len(colors.totals) > _FINE_CELLS * size
        if are_fine:
            cells, order = group_in_cells(colors.means, colors.totals, size)
        else:
            first_starts = colors.starts if len(colors.totals) <= size else None
            cells, order = group_in_cells(colors.points, colors.weights, size, first_starts)
        points, weights = cells.means, cells.totals
        sizes = np.diff(cells.starts)
        number = partial(_number_cells, order, sizes, colors if are_fine else None)

    def locate(step: Step) -> tuple[Positions, NDArray[np.int64]]:
        table = histogram.table(number(), np.arange(1, len(weights) + 1, dtype=np.uint32))
        shapes = [pixels.shape for pixels in images]
        leaf = _ChoiceLeaf(histogram.codec, table, len(weights), shapes, seed)
        choice = map_reduce(images, leaf, _merge_choices, step)
        return _find_positions(choice.images, choice.indices, shapes), choice.images

    return Coreset(points, weights, locate)


def _number_groups(colors: GroupedPoints) -> NDArray[np.int64]:
    """Return the number (n,) of the group of each color."""
    return np.repeat(np.arange(len(colors.totals)), np.diff(colors.starts))


def _number_cells(
    order: NDArray[np.int64], sizes: NDArray[np.int64], colors: GroupedPoints | None
) -> NDArray[np.int64]:
    """Return the number (n,) of the cell of each color.

    Parameters
    ----------
    order : (m,) int64 array
        The indices of the colors in the order of the cells.
    sizes : (G,) int64 array
        The number of these colors in each cell.
    colors : GroupedPoints or None
        The colors, if the indices are those of their groups.
    """
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.repeat(np.arange(len(sizes)), sizes)
    return numbers if colors is None else numbers[_number_groups(colors)]


class _Choice(NamedTuple):
    """The pixel of each cell that has the lowest random number.

    Attributes
    ----------
    randoms : (m,) uint64 array
        The random number of this pixel; the maximum of uint64 if no pixel was seen.
    images : (m,) int64 array
        The number of the image of this pixel.
    indices : (m,) int64 array
        The index of this pixel in its flattened image, in C order.
    """

    randoms: NDArray[np.uint64]
    images: NDArray[np.int64]
    indices: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _ChoiceLeaf:
    """The leaf that chooses a pixel of each cell, all pixels with the same probability.

    The random number of a pixel depends only on the seed and on the place of the pixel.
    So the chunks do not change the chosen pixels.
    """

    codec: Codec
    table: CodeTable
    n_cells: int
    shapes: list[tuple[int, ...]]
    seed: int

    def __call__(self, batch: Batch) -> _Choice:
        maximum = np.iinfo(np.uint64).max
        choice = _Choice(
            np.full(self.n_cells, maximum, np.uint64), *np.zeros((2, self.n_cells), np.int64)
        )
        for piece in batch.pieces:
            entries = self.codec.look_up(piece.values, self.table)
            if piece.kept is not None:
                entries[~piece.kept] = 0
            start = 0
            for image, block in piece.places:
                indices = indices_of(block, self.shapes[image])
                block_entries = entries[start : start + len(indices)]
                key = np.random.SeedSequence([self.seed, 2, image]).generate_state(1, np.uint64)
                update_smallest(block_entries, indices, image, key[0], *choice)
                start += len(indices)
        return choice


def _merge_choices(results: list[_Choice]) -> _Choice:
    best = results[0]
    for result in results[1:]:
        less = result.randoms < best.randoms
        best = _Choice(*(np.where(less, new, old) for new, old in zip(result, best, strict=True)))
    return best


def sample_pixels(images: Sequence[Pixels], sampling: Sampling, step: Step = ignore) -> Coreset:
    """Draw a coreset: draw more pixels than needed, then select among them by sensitivity.

    Half of the pixels are drawn uniformly, and half by their distance from a typical
    pixel; see `draw_pixels`. Chunks and threads do not change the result.
    """
    return thin_out(draw_many(images, sampling, step), images, sampling)


def draw_many(images: Sequence[Pixels], sampling: Sampling, step: Step = ignore) -> Drawn:
    """Draw more pixels than a coreset needs; the number of clusters does not matter."""
    n_each = _OVERSAMPLING // 2 * sampling.size
    return draw_pixels(images, n_each, n_each, sampling.space, [sampling.seed, 1], step)


def thin_out(drawn: Drawn, images: Sequence[Pixels], sampling: Sampling) -> Coreset:
    """Select a coreset among drawn pixels, by their sensitivity for `sampling.n_clusters`."""
    shapes = [pixels.shape for pixels in images]
    if len(drawn.values) > sampling.size:
        indices, weights = sampling.draw(drawn.values, drawn.weights)
        drawn = Drawn(drawn.values[indices], weights, drawn.images[indices], drawn.indices[indices])
    positions = _find_positions(drawn.images, drawn.indices, shapes)
    return Coreset(drawn.values, drawn.weights, lambda _step: (positions, drawn.images))


def _find_positions(
    images: NDArray[np.int64], indices: NDArray[np.int64], shapes: list[tuple[int, ...]]
) -> Positions:
    """Return the positions (m, ndim) of pixels, with zeros in front for fewer dimensions."""
    positions = np.zeros((len(indices), max(map(len, shapes))), np.int64)
    for image, shape in enumerate(shapes):
        in_image = images == image
        index = np.stack(np.unravel_index(indices[in_image], shape), axis=1)
        positions[in_image, positions.shape[1] - len(shape) :] = index
    return positions
