"""Draw pixels by their place in the image, so that the chunks do not change which are drawn."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.imaging.chunks import map_reduce
from napari_kmeans.imaging.declared import ChunkError
from napari_kmeans.imaging.kernels import select_points

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.chunks import Batch, Piece
    from napari_kmeans.imaging.colors import ColorSpace
    from napari_kmeans.types import Block

_N_REFERENCES = 5
"""Pixels whose median is the reference. One could be an outlier; each may be a chunk to read."""


class Drawn(NamedTuple):
    """Pixels that were drawn, in the order of their images and places.

    Attributes
    ----------
    values : (m, C) float64 array
        In channel units.
    weights : (m,) float64 array
        How many pixels each stands for; their sum is the number of pixels that are
        not left out.
    images, indices : (m,) int64 arrays
        The number of the image, and the number of the pixel there, row by row.
    """

    values: NDArray[np.float64]
    weights: NDArray[np.float64]
    images: NDArray[np.int64]
    indices: NDArray[np.int64]


def draw_pixels(
    images: Sequence[Pixels],
    n_uniform: int,
    n_far: int,
    space: ColorSpace,
    seed: Sequence[int],
    step: Step = ignore,
) -> Drawn:
    """Draw pixels uniformly, and others by their distance from a typical pixel.

    Every pixel has a lot, a number from 0 to 1 that depends on the seed and the place of
    the pixel alone. The pixels with the `n_uniform` least lots are drawn, and those with
    the `n_far` least quotients of the lot and the squared distance from a reference:
    the median of a few pixels. So the draw does not depend on chunks, blocks or
    threads. What is far from the reference, such as a few bright objects on a dark
    background, is drawn more densely, in the way of a lightweight coreset [2]_.

    Parameters
    ----------
    images : sequence of Pixels
    n_uniform, n_far : int
        How many pixels are drawn in each way. A pixel may be drawn in both.
    space : ColorSpace
        Where distances are measured.
    seed : sequence of int
        Another stream of draws for each.
    step : callable
        Called after each block or batch.

    Notes
    -----
    A pixel of lot u and squared distance d is drawn if u is below the threshold
    max(a, b d), with a and b the least lot and the least quotient that were not drawn any
    more. So it stands for 1 / max(a, b d) pixels, at least 1: an unbiased
    estimate for the least of any such priorities [1]_.

    References
    ----------
    .. [1] N. Duffield, C. Lund, M. Thorup, "Priority sampling for estimation of arbitrary
       subset sums", :doi:`10.1145/1314690.1314696`.
    .. [2] O. Bachem, M. Lucic, A. Krause, "Scalable k-Means Clustering via
       Lightweight Coresets", :doi:`10.1145/3219819.3219973`.
    """
    reference = _find_reference(images, space, seed, step) if n_far else None
    lottery = _Lottery(space, reference, n_uniform, n_far, seed, [p.shape for p in images])
    tickets = map_reduce(images, lottery, lottery.merge, step)
    return tickets.drawn(n_uniform, n_far)


class _Tickets(NamedTuple):
    """Pixels that may be drawn, and how many pixels took part."""

    values: NDArray[np.float64]
    lots: NDArray[np.float64]
    squares: NDArray[np.float64]
    images: NDArray[np.int64]
    indices: NDArray[np.int64]
    n_pixels: int

    @classmethod
    def merge(cls, parts: list[_Tickets]) -> _Tickets:
        """Return the tickets of all parts together."""
        *columns, counts = zip(*parts, strict=True)
        return cls._make([*map(np.concatenate, columns), sum(counts)])

    @property
    def quotients(self) -> NDArray[np.float64]:
        """The lots by squared distance; infinite at no distance."""
        with np.errstate(divide="ignore", over="ignore"):
            return self.lots / self.squares

    def of(self, chosen: NDArray[Any]) -> _Tickets:
        """Return some of them."""
        *columns, n_pixels = self
        return _Tickets._make([*(column[chosen] for column in columns), n_pixels])

    def drawn(self, n_uniform: int, n_far: int) -> Drawn:
        """Return those that are drawn, with their weights."""
        tickets = self.of(np.lexsort([self.indices, self.images]))
        limits = _limit(tickets.lots, n_uniform), _limit(tickets.quotients, n_far)
        tickets = tickets.of((tickets.lots < limits[0]) | (tickets.quotients < limits[1]))
        # Where few pixels differ from the reference, all of these are drawn: an infinite limit.
        far = np.multiply(
            tickets.squares, limits[1], where=tickets.squares > 0, out=np.zeros(len(tickets.lots))
        )
        weights = 1 / np.clip(far, min(limits[0], 1.0), 1)
        weights *= tickets.n_pixels / (weights.sum() or 1)
        return Drawn(tickets.values, weights, tickets.images, tickets.indices)


def _limit(numbers: NDArray[np.float64], size: int) -> float:
    """Return the least number that is not among the `size` least, infinite if all are."""
    if not size:
        return 0.0
    return float(np.partition(numbers, size)[size]) if len(numbers) > size else np.inf


class _Lottery:
    """The leaf that collects the pixels of a batch that may be drawn."""

    def __init__(
        self,
        space: ColorSpace,
        reference: NDArray[np.float64] | None,
        n_uniform: int,
        n_far: int,
        seed: Sequence[int],
        shapes: list[tuple[int, ...]],
    ) -> None:
        self._arguments = space, reference, n_uniform, n_far, seed, shapes
        self.space, self.reference, self.shapes = space, reference, shapes
        self.sizes = n_uniform, n_far
        self.keys = [
            np.random.SeedSequence([*seed, image]).generate_state(1, np.uint64)[0]
            for image in range(len(shapes))
        ]
        # Limits that the batches seen so far give, above which no pixel can be drawn.
        # They save work and do not change the result.
        self._limits = [np.inf if size else 0.0 for size in self.sizes]
        self._least = [np.empty(0), np.empty(0)]
        self._seen: set[int] = set()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel without what was seen."""
        return _Lottery, self._arguments

    def __call__(self, batch: Batch) -> _Tickets:
        parts = [self._collect(piece) for piece in batch.pieces]
        tickets = self.merge(parts)
        self._tighten(batch.number, tickets)
        return tickets.of(
            (tickets.lots <= self._limits[0]) | (tickets.quotients <= self._limits[1])
        )

    def merge(self, parts: list[_Tickets]) -> _Tickets:
        """Return the tickets of all parts that may still be drawn."""
        tickets = _Tickets.merge(parts)
        if len(tickets.lots) <= min(size for size in self.sizes if size):
            return tickets
        limits = _limit(tickets.lots, self.sizes[0]), _limit(tickets.quotients, self.sizes[1])
        return tickets.of((tickets.lots <= limits[0]) | (tickets.quotients <= limits[1]))

    def _tighten(self, number: int, tickets: _Tickets) -> None:
        """Lower the limits by what a batch has."""
        with self._lock:
            # A batch may be worked on twice, where its result was lost.
            if number in self._seen:
                return
            self._seen.add(number)
            for which, numbers in enumerate((tickets.lots, tickets.quotients)):
                size = self.sizes[which]
                least = np.concatenate([self._least[which], numbers])
                if size and len(least) > size:
                    least = np.partition(least, size)[: size + 1]
                    self._limits[which] = float(least[size])
                self._least[which] = least

    def _collect(self, piece: Piece) -> _Tickets:
        parts, start = [], 0
        for image, block in piece.places:
            indices = indices_of(block, self.shapes[image])
            stop = start + len(indices)
            values = piece.values[start:stop]
            if piece.kept is not None:
                kept = piece.kept[start:stop]
                values, indices = values[kept], indices[kept]
            parts.append(self._draw(values, indices, image))
            start = stop
        return parts[0] if len(parts) == 1 else self.merge(parts)

    def _draw(self, values: NDArray[Any], indices: NDArray[np.int64], image: int) -> _Tickets:
        points = self.space.convert(values)
        reference = np.zeros(points.shape[1]) if self.reference is None else self.reference
        chosen = np.empty(len(points), np.int64)
        lots, squares = np.empty((2, len(points)))
        limits = self._limits[0], self._limits[1]
        n_chosen = select_points(
            points, indices, self.keys[image], reference, *limits, chosen, lots, squares
        )
        chosen = chosen[:n_chosen]
        return _Tickets(
            values[chosen].astype(np.float64),
            lots[:n_chosen].copy(),
            squares[:n_chosen].copy(),
            np.full(n_chosen, image),
            indices[chosen],
            len(points),
        )


def _find_reference(
    images: Sequence[Pixels], space: ColorSpace, seed: Sequence[int], step: Step
) -> NDArray[np.float64] | None:
    """Return the median of a few pixels in the clustering space (F,), None if all are left out."""
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
        values = map_reduce(places, _values, np.concatenate, poll)
    except ChunkError:
        # Reading all pixels fails as well, and says which chunk it is.
        return None
    return np.median(space.convert(values), axis=0) if len(values) else None


def _values(batch: Batch) -> NDArray[Any]:
    return np.concatenate([piece.inside for piece in batch.pieces])


def indices_of(block: Block, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the numbers (n,) that the pixels of a block have in their image, row by row."""
    indices = np.zeros((), np.int64)
    for part, length in zip(block, shape, strict=True):
        indices = indices[..., None] * length + np.arange(part.start, part.stop)
    return indices.ravel()
