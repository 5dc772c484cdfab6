"""Draw pixels at random by their places, so that the chunks do not change the drawn pixels."""

from __future__ import annotations

import threading
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.clustering.tiles import iterate_columns
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.feature_space.neighborhood import find_grid_steps
from napari_kmeans.imaging.blocks import thin_block, whole_block
from napari_kmeans.imaging.chunks import map_reduce, read_piece
from napari_kmeans.imaging.declared import ChunkError
from napari_kmeans.imaging.kernels import select_points, select_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_kmeans.feature_space.space import FeatureSpace
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.chunks import Batch, Piece
    from napari_kmeans.types import Block

_N_REFERENCES = 5
"""Pixels whose median is the reference.

A single pixel could be an outlier. For many pixels, many chunks would have to be read.
"""


_PIXELS_PER_DRAWN = 16
"""The pixels of a grid from which a pixel is drawn, where not all pixels are needed."""

_LEAST_PIXELS_PER_DRAWN = 4
"""The same without the pixels that are left out. With fewer, all pixels are used."""


_MAX_SHARE = 0.25
"""Share of the pixels up to which these are selected before their distances are computed.

With many more, copying them takes longer than computing the distances of all pixels.
"""

_N_GUESSED, _LEAST_GUESSED = 2**14, 2**20
"""Limits are guessed from about so many pixels, if the images have so many pixels at least."""

_GUESS_MARGIN = 2
"""The limits are guessed so that this many times the pixels to draw are expected below them. If
there are too few, all pixels are read again."""


class Drawn(NamedTuple):
    """Pixels that were drawn, in the order of the images and of the places there.

    Attributes
    ----------
    values : (m, C) float64 array
        In channel units.
    weights : (m,) float64 array
        The number of pixels that each drawn pixel stands for. Their sum is the
        number of pixels that are not left out; an estimate if only the pixels of a grid
        were read.
    images : (m,) int64 array
        The number of the image of each pixel.
    indices : (m,) int64 array
        The index of each pixel in its flattened image, in C order.
    """

    values: NDArray[np.float64]
    weights: NDArray[np.float64]
    images: NDArray[np.int64]
    indices: NDArray[np.int64]


def draw_pixels(
    images: Sequence[Pixels],
    n_uniform: int,
    n_far: int,
    space: FeatureSpace,
    seed: Sequence[int],
    step: Step = ignore,
) -> Drawn:
    """Draw some pixels uniformly, and others by their distance from a typical pixel.

    Each pixel has a random number between 0 and 1, which depends only on the seed and
    on the place of the pixel. The `n_uniform` pixels with the lowest random numbers are
    drawn. The rank of a pixel is its random number divided by its squared distance from
    a reference, the median of a few pixels. The `n_far` pixels with the lowest ranks are
    drawn as well. So chunks, blocks and threads do not change the drawn pixels. Pixels
    far from the reference are drawn more densely, for example a few bright objects on a
    dark background. A lightweight coreset [2]_ is drawn in a similar way.

    Neighboring pixels of a blurred image are nearly equal. If the image is large, only the
    pixels of a grid are blurred and can be drawn; see `find_grid_steps`.

    Parameters
    ----------
    images : sequence of Pixels
    n_uniform, n_far : int
        The number of pixels to draw in each way. A pixel may be drawn in both ways,
        and is returned once.
    space : FeatureSpace
        The clustering space, in which distances are measured.
    seed : sequence of int
        Each sequence gives other random numbers.
    step : callable
        Called after each block or batch.

    Returns
    -------
    Drawn
        Empty if all pixels are left out.

    Notes
    -----
    Let a be the lowest random number and b the lowest rank among the pixels that are not
    drawn. A pixel of random number u and squared distance d is drawn if u is below the
    threshold max(a, b d). So the pixel stands for 1 / max(a, b d) pixels, and for at least
    1 pixel. The estimate is unbiased for the lowest of any number of such priorities [1]_.
    The weights are then scaled so that their sum is the number of pixels.

    References
    ----------
    .. [1] N. Duffield, C. Lund, M. Thorup, "Priority sampling for estimation of arbitrary
       subset sums", :doi:`10.1145/1314690.1314696`.
    .. [2] O. Bachem, M. Lucic, A. Krause, "Scalable k-Means Clustering via
       Lightweight Coresets", :doi:`10.1145/3219819.3219973`.
    """
    reference = _find_reference(images, space, seed, step) if n_far else None
    shapes = [pixels.shape for pixels in images]

    def collect(
        steps: list[tuple[int, ...]], limits: tuple[float, float] = (np.inf, np.inf)
    ) -> _Candidates:
        leaf = _CandidatesLeaf(reference, n_uniform, n_far, seed, shapes, limits)
        return map_reduce(images, leaf, leaf.merge, step, space, steps)

    steps = _find_steps(shapes, space, _PIXELS_PER_DRAWN * (n_uniform + n_far))
    if steps:
        candidates = collect(steps)
    else:
        limits = _guess_limits(images, reference, n_uniform, n_far, space)
        candidates = collect(steps, limits)
        if not candidates.are_enough(limits, n_uniform, n_far):
            candidates = collect(steps)
    if steps and candidates.n_pixels < _LEAST_PIXELS_PER_DRAWN * (n_uniform + n_far):
        # Most pixels are left out.
        steps, candidates = [], collect([])
    n_pixels = candidates.n_pixels * _count_pixels(shapes) // _count_pixels(shapes, steps)
    return candidates._replace(n_pixels=n_pixels).draw(n_uniform, n_far)


def _find_steps(
    shapes: list[tuple[int, ...]], space: FeatureSpace, n_pixels: int
) -> list[tuple[int, ...]]:
    """Return the steps of the coarsest grid in each image that has enough pixels in all.

    An empty list if all pixels are needed.
    """
    steps = [find_grid_steps(space.sigmas(len(shape))) for shape in shapes]
    for largest in range(max(max(own, default=1) for own in steps), 1, -1):
        limited = [tuple(min(step, largest) for step in own) for own in steps]
        if _count_pixels(shapes, limited) >= n_pixels:
            return limited
    return []


def _count_pixels(shapes: list[tuple[int, ...]], steps: Sequence[tuple[int, ...]] = ()) -> int:
    """Return the number of pixels of images, or of grids in them."""
    blocks = map(whole_block, shapes)
    grids = map(thin_block, blocks, steps or [()] * len(shapes))
    return sum(
        prod(len(range(length)[side]) for length, side in zip(shape, grid, strict=True))
        for shape, grid in zip(shapes, grids, strict=True)
    )


def _guess_limits(
    images: Sequence[Pixels],
    reference: NDArray[np.float64] | None,
    n_uniform: int,
    n_far: int,
    space: FeatureSpace,
) -> tuple[float, float]:
    """Guess numbers a little above the random numbers and the ranks of the pixels to draw.

    Without a guess, all pixels of the first pieces are candidates, and on many threads, many pieces
    are the first. The guess is infinite for small images, for blurred images, and for dask images,
    whose chunks would be read for it.
    """
    shapes = [pixels.shape for pixels in images]
    n_all = _count_pixels(shapes)
    is_lazy = any(pixels.is_lazy for pixels in images)
    if n_all < _LEAST_GUESSED or is_lazy or not space.is_pointwise:
        return np.inf, np.inf
    steps = [_spread_step(shape, n_all / _N_GUESSED) for shape in shapes]
    squares = []
    for number, shape in enumerate(shapes):
        place = number, whole_block(shape)
        points = read_piece(images, place, space, steps).points.astype(np.float64)
        squares.append(((points - (0 if reference is None else reference)) ** 2).sum(axis=1))
    share = _GUESS_MARGIN * _count_pixels(shapes, steps) / n_all
    return _solve_limits(np.concatenate(squares), share * n_uniform, share * n_far)


def _spread_step(shape: tuple[int, ...], ratio: float) -> tuple[int, ...]:
    """Return the steps of a grid in an image that has about one of `ratio` pixels."""
    steps = [1] * len(shape)
    for n_done, axis in enumerate(np.argsort(shape).tolist()):
        wanted = round(ratio ** (1 / (len(shape) - n_done)))
        steps[axis] = min(max(wanted, 1), shape[axis])
        ratio /= steps[axis]
    return tuple(steps)


def _solve_limits(
    squares: NDArray[np.float64], n_uniform: float, n_far: float
) -> tuple[float, float]:
    """Return the limits below which so many pixels of these squared distances are expected.

    A pixel of squared distance d is below a limit b of the ranks with the probability min(1, b d).
    Infinity if there are not so many pixels.
    """
    uniform_limit = n_uniform / len(squares) if n_uniform < len(squares) else np.inf
    ordered = np.sort(squares[squares > 0])
    if n_far >= len(ordered):
        return uniform_limit, np.inf
    # The expected number is at most c + b s, if s is the sum of the lowest squares and c is the
    # number of the others, and it is equal to one of these bounds.
    with np.errstate(over="ignore"):
        limits = (n_far - np.arange(len(ordered))[::-1]) / np.cumsum(ordered)
    return uniform_limit, float(limits.max())


class _Candidates(NamedTuple):
    """Pixels that may be drawn, and the number of all pixels from which they were chosen.

    Attributes
    ----------
    values : (m, C) array
        In channel units, in the dtype of the image, which takes less memory than float64.
    randoms : (m,) float64 array
        The random number of each pixel, between 0 and 1.
    squares : (m,) float64 array
        Squared distances from the reference.
    images, indices : (m,) int64 arrays
        As in `Drawn`.
    n_pixels : int
    """

    values: NDArray[Any]
    randoms: NDArray[np.float64]
    squares: NDArray[np.float64]
    images: NDArray[np.int64]
    indices: NDArray[np.int64]
    n_pixels: int

    @classmethod
    def concatenate(cls, results: list[_Candidates]) -> _Candidates:
        """Return the candidates of all results."""
        *columns, counts = zip(*results, strict=True)
        return cls._make([*map(np.concatenate, columns), sum(counts)])

    def are_enough(self, limits: tuple[float, float], n_uniform: int, n_far: int) -> bool:
        """Return whether more pixels than are drawn are below the limits of the candidates."""
        found = _find_limit(self.randoms, n_uniform), _find_limit(self.ranks, n_far)
        return found[0] <= limits[0] and found[1] <= limits[1]

    @property
    def ranks(self) -> NDArray[np.float64]:
        """The random numbers divided by the squared distances; infinite at distance 0."""
        return _rank(self.randoms, self.squares)

    def select(self, chosen: NDArray[Any]) -> _Candidates:
        """Return the candidates of some indices, or of a mask."""
        *columns, n_pixels = self
        rows = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        return _Candidates._make([*(_take_rows(column, rows) for column in columns), n_pixels])

    def draw(self, n_uniform: int, n_far: int) -> Drawn:
        """Return the pixels that are drawn, with their weights."""
        candidates = self.select(np.lexsort([self.indices, self.images]))
        limits = _find_limit(candidates.randoms, n_uniform), _find_limit(candidates.ranks, n_far)
        candidates = candidates.select(
            (candidates.randoms < limits[0]) | (candidates.ranks < limits[1])
        )
        # If few pixels differ from the reference, all of these are drawn, and the limit of
        # the ranks is infinite. Infinity times a squared distance of 0 would be NaN.
        thresholds = np.multiply(
            candidates.squares,
            limits[1],
            where=candidates.squares > 0,
            out=np.zeros(len(candidates.randoms)),
        )
        weights = 1 / np.clip(thresholds, min(limits[0], 1.0), 1)
        weights *= candidates.n_pixels / (weights.sum() or 1)
        values = candidates.values.astype(np.float64)
        return Drawn(values, weights, candidates.images, candidates.indices)


def _rank(randoms: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", over="ignore"):
        return randoms / squares


def _find_limit(numbers: NDArray[np.float64], size: int) -> float:
    """Return the lowest number after the `size` lowest numbers, infinity if there is none."""
    if not size:
        return 0.0
    return float(np.partition(numbers, size)[size]) if len(numbers) > size else np.inf


class _CandidatesLeaf:
    """The leaf that collects the pixels of a batch that may be drawn."""

    def __init__(
        self,
        reference: NDArray[np.float64] | None,
        n_uniform: int,
        n_far: int,
        seed: Sequence[int],
        shapes: list[tuple[int, ...]],
        limits: tuple[float, float] = (np.inf, np.inf),
    ) -> None:
        self._arguments = reference, n_uniform, n_far, seed, shapes, limits
        self.reference, self.shapes = reference, shapes
        self.sizes = n_uniform, n_far
        self.keys = [
            np.random.SeedSequence([*seed, image]).generate_state(1, np.uint64)[0]
            for image in range(len(shapes))
        ]
        # Upper limits of random numbers and ranks, from the pieces seen so far: a pixel
        # above both cannot be drawn. They save work and do not change the result.
        self._limits = [
            limit if size else 0.0 for size, limit in zip(self.sizes, limits, strict=True)
        ]
        self._lowest = [np.empty(0), np.empty(0)]
        self._seen: set[tuple[int, int]] = set()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the state of the pieces seen so far."""
        return _CandidatesLeaf, self._arguments

    def __call__(self, batch: Batch) -> _Candidates:
        return self.merge(
            [self._collect((batch.number, n), piece) for n, piece in enumerate(batch.pieces)]
        )

    def _collect(self, number: tuple[int, int], piece: Piece) -> _Candidates:
        candidates = self._collect_piece(piece)
        # Without limits, all pixels of a piece are candidates: do not keep all candidates of
        # a batch, which may be a gigabyte.
        self._lower_limits(number, candidates)
        return candidates.select(
            (candidates.randoms <= self._limits[0]) | (candidates.ranks <= self._limits[1])
        )

    def merge(self, results: list[_Candidates]) -> _Candidates:
        """Return the candidates of all results that may still be drawn."""
        if len(results) == 1:
            return results[0]
        candidates = _Candidates.concatenate(results)
        if len(candidates.randoms) <= min(size for size in self.sizes if size):
            return candidates
        limits = self._find_limits(candidates.randoms, candidates.ranks)
        return candidates.select(
            (candidates.randoms <= limits[0]) | (candidates.ranks <= limits[1])
        )

    def _find_limits(
        self, randoms: NDArray[np.float64], ranks: NDArray[np.float64]
    ) -> tuple[float, float]:
        """Return the limits that follow from the numbers of some pixels."""
        return _find_limit(randoms, self.sizes[0]), _find_limit(ranks, self.sizes[1])

    def _lower_limits(self, number: tuple[int, int], candidates: _Candidates) -> None:
        """Lower the limits by the candidates of a piece, of which `number` is the only one."""
        with self._lock:
            # A cluster runs a batch again if its result was lost. Counting its pixels twice
            # would make the limits too low.
            if number in self._seen:
                return
            self._seen.add(number)
            for which, numbers in enumerate((candidates.randoms, candidates.ranks)):
                size = self.sizes[which]
                lowest = np.concatenate(
                    [self._lowest[which], numbers[numbers < self._limits[which]]]
                )
                # A limit that is a little too high costs less than finding it after each piece. But
                # without a limit, all pixels of the next piece are candidates.
                slack = 0 if np.isinf(self._limits[which]) else size // 8
                if size and len(lowest) > size + slack:
                    lowest = np.partition(lowest, size)[: size + 1]
                    self._limits[which] = float(lowest[size])
                self._lowest[which] = lowest

    def _collect_piece(self, piece: Piece) -> _Candidates:
        compared, points = piece.compared, piece.coordinates
        bounds = piece.bounds if points is piece.values else None
        results, start, first = [], 0, 0
        for place in piece.places:
            stop = start + _count_pixels_of(place[1])
            kept = None if piece.kept is None else piece.kept[start:stop]
            last = first + (stop - start if kept is None else int(np.count_nonzero(kept)))
            rows = slice(first, last)
            values = compared[rows]
            own = values if points is compared else points[rows]
            results.append(self._collect_pixels(values, own, place, kept, bounds))
            start, first = stop, last
        return results[0] if len(results) == 1 else self.merge(results)

    def _collect_pixels(
        self,
        values: NDArray[Any],
        points: NDArray[Any],
        place: tuple[int, Block],
        kept: NDArray[np.bool_] | None,
        bounds: tuple[float, float] | None,
    ) -> _Candidates:
        """Return the candidates among the pixels of a block that are not left out.

        Parameters
        ----------
        values, points : (n, C) and (n, F) arrays
            The values and the points of these pixels.
        place : (image, block)
        kept : bool array or None
            False for pixels of the block that are left out. None if there are none.
        bounds : tuple of float or None
            Bounds of the coordinates of the points, if they are known.
        """
        # Without a reference, distances are measured from the origin.
        reference = np.zeros(points.shape[1]) if self.reference is None else self.reference
        (image, block), n_pixels = place, len(points)
        key, shape = self.keys[image], self.shapes[image]
        limits = self._limits[0], self._limits[1]
        limit = np.inf
        if bounds is not None:
            limit = max(limits[0], limits[1] * _largest_square(bounds, reference))
        if limit >= _MAX_SHARE:
            # The bounds may be far from the points. Finding their range takes longer.
            limit = max(limits[0], limits[1] * _largest_square(_find_range(points), reference))
        if limit < _MAX_SHARE:
            # Read only the few pixels whose random numbers are low enough at any distance.
            few, indices = _select_few(block, shape, kept, key, limit)
            is_plain = points is values
            values = _take_rows(values, few)
            points = values if is_plain else _take_rows(points, few)
        else:
            indices = indices_of(block, shape)
            indices = indices if kept is None else indices[kept]
        chosen = np.empty(len(points), np.int64)
        randoms, squares = np.empty((2, len(points)))
        n_chosen = 0
        for rows, columns in iterate_columns(points):
            n_chosen += select_points(
                columns,
                indices[rows],
                rows.start,
                key,
                reference,
                *limits,
                chosen[n_chosen:],
                randoms[n_chosen:],
                squares[n_chosen:],
            )
            # Without limits from earlier pieces, all pixels of the first tiles are chosen.
            if n_chosen > 2 * sum(self.sizes):
                arrays = [array[:n_chosen] for array in (chosen, randoms, squares)]
                ranks = _rank(randoms[:n_chosen], squares[:n_chosen])
                limits = self._find_limits(randoms[:n_chosen], ranks)
                still = np.flatnonzero((arrays[1] <= limits[0]) | (ranks <= limits[1]))
                n_chosen = len(still)
                for array in arrays:
                    array[:n_chosen] = array[still]
        chosen = chosen[:n_chosen]
        return _Candidates(
            _take_rows(values, chosen),
            randoms[:n_chosen].copy(),
            squares[:n_chosen].copy(),
            np.full(n_chosen, image),
            indices[chosen],
            n_pixels,
        )


def _find_range(points: NDArray[Any]) -> tuple[float, float]:
    """Return bounds of the coordinates of points (n, F)."""
    if not points.size:
        return 0.0, 0.0
    low = 0.0 if points.dtype.kind in "bu" else float(points.min())
    return low, float(points.max())


def _largest_square(bounds: tuple[float, float], reference: NDArray[np.float64]) -> float:
    """Return a bound of the squared distances from a reference (F,) of points within bounds."""
    # In float64: squares of large float32 numbers would overflow.
    reference = np.asarray(reference, np.float64)
    distances = np.maximum(bounds[1] - reference, reference - bounds[0])
    # The slack is far above the rounding errors.
    return 1.001 * float((distances**2).sum())


def _find_reference(
    images: Sequence[Pixels], space: FeatureSpace, seed: Sequence[int], step: Step
) -> NDArray[np.float64] | None:
    """Return the median of a few pixels in the clustering space (F,).

    None if all of them are left out, or if a chunk cannot be read.
    """
    rng = np.random.default_rng([*seed, 0])
    ends = np.cumsum([pixels.n_pixels for pixels in images])
    places = []
    for number in np.sort(rng.integers(ends[-1], size=_N_REFERENCES)).tolist():
        image = int(np.searchsorted(ends, number, side="right"))
        pixels = images[image]
        index = np.unravel_index(number - int(ends[image] - pixels.n_pixels), pixels.shape)
        places.append(pixels.crop(tuple(slice(int(i), int(i) + 1) for i in index)))

    def poll(_steps: float) -> None:
        step(0)

    try:
        points = map_reduce(places, _join_points, np.concatenate, poll, space)
    except ChunkError:
        # The pass over all pixels will fail too, and its message names the chunk.
        return None
    return np.median(points, axis=0) if len(points) else None


def _join_points(batch: Batch) -> NDArray[Any]:
    """Return the points (n, F) of the pixels of a batch that are not left out."""
    return np.concatenate([piece.points for piece in batch.pieces])


def _select_few(
    block: Block, shape: tuple[int, ...], kept: NDArray[np.bool_] | None, key: Any, limit: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Select the pixels of a block whose random numbers are at most `limit`.

    Return their rows (m,) among the pixels that are not left out, and their indices (m,). An
    array of the indices of all pixels would take longer to write than their random numbers.
    """
    *outer, side = block
    step, length = side.step or 1, _count_pixels_of((side,))
    starts = indices_of((*outer, slice(side.start, side.start + 1)), shape)
    rows = np.empty(len(starts) * length + 1, np.int64)
    rows = rows[: select_rows(starts, length, step, key, limit, rows)]
    if kept is not None:
        rows = rows[kept[rows]]
    indices = starts[rows // length] + rows % length * step
    return rows if kept is None else np.searchsorted(np.flatnonzero(kept), rows), indices


def _take_rows(values: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return ``values[rows]`` for indices of rows, faster if the values are C-contiguous."""
    # Of other arrays, `numpy.take` would copy all values first.
    return np.take(values, rows, axis=0) if values.flags.c_contiguous else values[rows]


def _count_pixels_of(block: Block) -> int:
    """Return the number of pixels of a block, whose slices may have a step."""
    return prod(len(range(side.start, side.stop, side.step or 1)) for side in block)


def indices_of(block: Block, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the indices (n,) of the pixels of a block in their flattened image, in C order."""
    indices = np.zeros((), np.int64)
    for side, length in zip(block, shape, strict=True):
        indices = indices[..., None] * length + np.arange(side.start, side.stop, side.step)
    return indices.ravel()
