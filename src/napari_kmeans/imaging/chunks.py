"""One map over the pixels of images, and one tree of merges: on threads, or as a dask graph.

Numpy images are cut into blocks, which a pool of threads works through. Dask
images become one graph. A leaf works through a batch of neighboring chunks,
one after the other, and what the leaves return is merged, a few at a time, in
a tree. The graph is computed by whatever scheduler is active in dask, threads
or a `distributed.Client`. Either way the same function sees the pixels.

What 100 gigapixels of 8-bit RGB ask of 50 workers of one thread, reckoned from
`tests/benchmarks/large.py` on two workers of 2 GHz or so:

- Seconds: reading and counting takes a worker 17 s per gigapixel, two thirds of
  them to read; painting and writing the labels 29 s. So 34 s to fit and 58 s to
  paint, if the storage delivers the 300 GB that fast, twice.
- Tasks: a scheduler of dask spends 1 to 2 ms on each. Chunks of 1024 x 1024 make
  95,000, two to three minutes, which is then what the fit takes; chunks of
  4096 x 4096 make 6,000, and it no longer counts.
- Depth: 12,000 batches of 8 megapixels are merged four at a time in 7 levels.
- Traffic: a batch gives 8 bytes for each of its distinct colors, 6 MB of
  800,000 in the noisy image of the benchmark. The first level of merges moves
  up to three quarters of the 76 GB that these are, 1.1 GB for each worker in
  half a minute; the next ones a quarter of the level before, or a little more.
  What arrives in the end is the whole histogram: 134 MB if all 2^24 colors
  occur, 10 MB as a rule. Pixels stay where they are read.
- A coreset of other data keeps 40,000 pixels of a worker's first batch, 2 MB, and of
  each later one only the pixels that may still be drawn among all that the worker has
  seen: some 260,000 pixels of each worker in all, 750 MB from 50 of them. Full K-means
  sends K sums of every batch in each iteration, some hundred bytes, and reads
  everything again.
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

import numpy as np

from napari_kmeans.execution.dask_graph import TaskFailed, compute_graph
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import in_task, map_threads, raise_if_stopped
from napari_kmeans.imaging.blocks import block_size, cut, split
from napari_kmeans.imaging.declared import ChunkError, shown_block
from napari_kmeans.types import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.types import Block

_BATCH_PIXELS = 2**23
_BATCH_BYTES = 2**25
"""A batch ends with the chunk that reaches one of these."""

_PIECE_PIXELS = 2**16
"""Chunks of fewer pixels are put together: a call of a kernel has a price."""

_FAN_IN = 4
"""Summaries merged at a time."""

_MARK = "_napari_kmeans_task"
"""An attribute of errors that were not raised in reading."""

_stops: dict[str, threading.Event] = {}
"""What ends the tasks of a graph before their time, by its name, in this process."""


class Piece(NamedTuple):
    """Pixels that are worked on at a time.

    Attributes
    ----------
    values : (n, C) array
        In channel units.
    kept : (n,) bool array or None
        Which of them are not left out; None: all.
    places : list of (image, block)
        Where they are: the blocks of which images, one after the other.
    """

    values: NDArray[Any]
    kept: NDArray[np.bool_] | None
    places: list[tuple[int, Block]]

    @property
    def inside(self) -> NDArray[Any]:
        """The values of the pixels that are not left out."""
        return self.values if self.kept is None else self.values[self.kept]


class Batch(NamedTuple):
    """What a leaf works on: pixels, left out or not, piece by piece.

    Attributes
    ----------
    number : int
        Its place among the batches of all images.
    n_pixels : int
    pieces : iterator of Piece
        Read, or put together, as it goes on.
    """

    number: int
    n_pixels: int
    pieces: Iterable[Piece]


def count_steps(images: Sequence[Pixels]) -> int:
    """Return how many steps a `map_reduce` of these images takes."""
    n_blocks = sum(len(pixels.blocks()) for pixels in images if not pixels.is_lazy)
    return n_blocks + sum(1 for _ in _batches(images))


def blocks_in_memory(images: Sequence[Pixels]) -> list[tuple[int, Block]]:
    """Return (image, block) for every block of the numpy images."""
    return [
        (number, block)
        for number, pixels in enumerate(images)
        if not pixels.is_lazy
        for block in pixels.blocks()
    ]


def map_reduce(
    images: Sequence[Pixels],
    leaf: Callable[[Batch], Result],
    merge: Callable[[list[Result]], Result],
    step: Step = ignore,
) -> Result:
    """Return what `leaf` makes of every batch of pixels, merged.

    Parameters
    ----------
    images : sequence of Pixels
        Numpy or dask, or some of each.
    leaf : callable
        Gets a `Batch`. It is called on other threads, for dask images perhaps
        in another process: it must be picklable, and small.
    merge : callable
        Gets a list of results in the order of the images; associative.
    step : callable
        Called in the calling thread with the number of batches done since the
        last time, 0 several times a second; raising from it cancels: what
        dask has begun to read is read, nothing else.

    Raises
    ------
    ChunkError
        If a chunk cannot be read; the message names it. MemoryError where that
        is why.
    """
    parts = map_threads(
        lambda item: leaf(_in_memory(images, *item)), enumerate(blocks_in_memory(images)), step
    )
    parts += map_reduce_lazy(images, leaf, merge, step)
    return parts[0] if len(parts) == 1 else merge(parts)


def map_reduce_lazy(
    images: Sequence[Pixels],
    leaf: Callable[[Batch], Result],
    merge: Callable[[list[Result]], Result],
    step: Step = ignore,
) -> list[Result]:
    """Return what `map_reduce` makes of the dask images alone: one result, none without any."""
    if not any(pixels.is_lazy for pixels in images):
        return []
    return [_Graph(images, leaf, merge).compute(step)]


def _in_memory(images: Sequence[Pixels], number: int, place: tuple[int, Block]) -> Batch:
    image, block = place
    piece = Piece(*images[image].read(block), [place])
    return Batch(number, len(piece.values), [piece])


class _Chunk(NamedTuple):
    """A chunk: where it is, (image, block), and its keys in the graph, of its mask too."""

    place: tuple[int, Block]
    pixels: Any
    mask: Any


def _lazy_places(images: Sequence[Pixels]) -> list[tuple[int, Block]]:
    """Return (image, block) for every chunk of the dask images."""
    return [
        (number, block)
        for number, pixels in enumerate(images)
        if pixels.is_lazy
        for block in pixels.blocks()
    ]


def _batches(images: Sequence[Pixels]) -> Iterator[slice]:
    """Yield which chunks of all dask images are a batch: neighbors, some megabytes."""
    limit = min(_BATCH_PIXELS, _BATCH_BYTES // (images[0].dtype.itemsize * images[0].n_channels))
    start = size = stop = 0
    for stop, (_, block) in enumerate(_lazy_places(images), 1):
        size += block_size(block)
        if size >= limit:
            yield slice(start, stop)
            start, size = stop, 0
    if stop > start:
        yield slice(start, stop)


@dataclass(frozen=True, eq=False)
class _Leaf:
    """The task of a batch."""

    number: int
    places: list[tuple[int, Block]]
    n_channels: int
    graph: str

    def __call__(
        self, leaf: Callable[[Batch], Result], chunks: list[Any], masks: list[Any]
    ) -> Result:
        size = sum(block_size(block) for _, block in self.places)
        with in_task(_stops.get(self.graph)):
            return _marked(leaf, Batch(self.number, size, self._pieces(chunks, masks)))

    def _pieces(self, chunks: list[Any], masks: list[Any]) -> Iterator[Piece]:
        waiting: list[Piece] = []
        n_waiting = 0
        for piece in self._blocks(chunks, masks):
            raise_if_stopped()
            waiting.append(piece)
            n_waiting += len(piece.values)
            if n_waiting >= _PIECE_PIXELS:
                yield _united(waiting)
                waiting, n_waiting = [], 0
        if waiting:
            yield _united(waiting)

    def _blocks(self, chunks: list[Any], masks: list[Any]) -> Iterator[Piece]:
        """Cut what is large, so that working on it takes little memory."""
        for (image, place), chunk, mask in zip(self.places, chunks, masks, strict=True):
            pixels = np.asarray(chunk)
            for block in cut(pixels.shape[:-1]):
                kept = None if mask is None else np.asarray(mask)[block]
                shifted = tuple(
                    slice(part.start + whole.start, part.stop + whole.start)
                    for part, whole in zip(block, place, strict=True)
                )
                values = split(pixels[block], kept, self.n_channels)
                yield Piece(*values, [(image, shifted)])


def _united(pieces: list[Piece]) -> Piece:
    if len(pieces) == 1:
        return pieces[0]
    kept = None
    if any(piece.kept is not None for piece in pieces):
        kept = np.concatenate(
            [np.ones(len(p.values), np.bool_) if p.kept is None else p.kept for p in pieces]
        )
    values = np.concatenate([piece.values for piece in pieces])
    return Piece(values, kept, [place for piece in pieces for place in piece.places])


@dataclass(frozen=True, eq=False)
class _Merge(Generic[Result]):
    """The task that merges results."""

    merge: Callable[[list[Result]], Result]

    def __call__(self, parts: list[Result]) -> Result:
        with in_task():
            return _marked(self.merge, parts)


def _marked(function: Callable[[Any], Result], argument: Any) -> Result:
    """Call a function so that its errors are told from those of reading."""
    try:
        return function(argument)
    except Exception as error:
        setattr(error, _MARK, True)
        raise


class _Graph(Generic[Result]):
    """The map over the dask images among `images`, and its merges, as one dask graph."""

    def __init__(
        self,
        images: Sequence[Pixels],
        leaf: Callable[[Batch], Result],
        merge: Callable[[list[Result]], Result],
    ) -> None:
        self.name, self.n_images = f"napari-kmeans-{uuid.uuid4().hex}", len(images)
        self.tasks, self.chunks = _read(images)
        # One key, however many tasks.
        self.tasks[f"{self.name}-function"] = leaf
        self.batches: dict[str, list[_Chunk]] = {}
        first = len(blocks_in_memory(images))
        for number, part in enumerate(_batches(images), first):
            batch = self.chunks[part]
            task = _Leaf(number, [chunk.place for chunk in batch], images[0].n_channels, self.name)
            pixels, masks = [chunk.pixels for chunk in batch], [chunk.mask for chunk in batch]
            key = self._add(f"batch-{number}", task, f"{self.name}-function", pixels, masks)
            self.batches[key] = batch
        self.root = self._add_tree(_Merge(merge))

    def _add(self, name: str, function: Callable[..., Any], *arguments: Any) -> str:
        key = f"{self.name}-{name}"
        self.tasks[key] = (function, *arguments)
        return key

    def _add_tree(self, merge: _Merge[Any]) -> str:
        keys, depth = list(self.batches), 0
        while len(keys) > 1:
            depth += 1
            groups = [keys[start : start + _FAN_IN] for start in range(0, len(keys), _FAN_IN)]
            keys = [
                self._add(f"merge-{depth}-{number}", merge, group)
                for number, group in enumerate(groups)
            ]
        return keys[0]

    def compute(self, step: Step) -> Result:
        """Compute the graph with the active scheduler of dask."""
        stop = _stops[self.name] = threading.Event()
        try:
            result: Result = compute_graph(self.tasks, self.root, list(self.batches), stop, step)
        except TaskFailed as failed:
            error = failed.__cause__
            assert isinstance(error, Exception)
            names_chunk = isinstance(error, ChunkError) and self.n_images == 1
            if hasattr(error, _MARK) or names_chunk:
                raise error from error.__cause__
            culprit = self._find_culprit(failed.suspects)
            raise self._unreadable(culprit, error) from error
        finally:
            del _stops[self.name]
        return result

    def _find_culprit(self, suspects: set[Any]) -> _Chunk | None:
        """Return the chunk that cannot be read, None where all can the second time."""
        read = [chunk for chunk in self.chunks if {chunk.pixels, chunk.mask} & suspects]
        if len(read) == 1:
            return read[0]
        read = read or [
            chunk for key, batch in self.batches.items() if key in suspects for chunk in batch
        ]
        for number, chunk in enumerate(read):
            key = self._add(f"again-{number}", _touch, [chunk.pixels, chunk.mask])
            try:
                compute_graph(self.tasks, key, [], threading.Event())
            except TaskFailed:
                return chunk
        return None

    def _unreadable(self, chunk: _Chunk | None, error: Exception) -> Exception:
        """Return the error that says which chunk cannot be read, and why."""
        if isinstance(error, ChunkError):
            # The message names the chunk, but not the image.
            return ChunkError(str(error) if chunk is None else f"image {chunk.place[0]}: {error}")
        lines = str(error).strip().splitlines()
        reason = ": ".join([type(error).__name__, *(line.rstrip(".") for line in lines[:1])])
        what = "image" if chunk is None else f"chunk {shown_block(chunk.place[1])} of the image"
        if chunk is not None and self.n_images > 1:
            what = f"chunk {shown_block(chunk.place[1])} of image {chunk.place[0]}"
        kind = MemoryError if isinstance(error, MemoryError) else ChunkError
        return kind(f"{what} cannot be read, got {reason}: check where its data are.")


def _touch(_chunk: Any) -> None:
    """Be the task that wants a chunk only to be there."""


def _read(images: Sequence[Pixels]) -> tuple[dict[Any, Any], list[_Chunk]]:
    """Return the tasks that read the dask images and their masks, and all chunks."""
    from dask.base import optimize

    lazy = [pixels for pixels in images if pixels.is_lazy]
    # All at once, so that what they share is read once.
    arrays = optimize(*(array for pixels in lazy for array in (pixels.array, pixels.mask)))
    tasks: dict[Any, Any] = {}
    keys: tuple[list[Any], list[Any]] = [], []
    for number, array in enumerate(arrays):
        pixels = lazy[number // 2]
        if array is not None:
            tasks.update(array.__dask_graph__())
        keys[number % 2].extend([None] * len(pixels.blocks()) if array is None else _keys(array))
    return tasks, list(map(_Chunk, _lazy_places(images), *keys))


def _keys(array: Any) -> list[Any]:
    """Return the keys of the chunks of a dask array that are not empty."""
    from dask.core import flatten

    sizes = reduce(np.multiply.outer, [np.array(axis) for axis in array.chunks])
    keys = flatten(array.__dask_keys__())
    return [key for key, size in zip(keys, sizes.flat, strict=True) if size]
