"""Map a function over the pixels of images and merge the results, on threads or with dask.

Numpy images are split into blocks, which a pool of threads works on. Dask images
become one dask graph. One task of the graph, a leaf, works on a batch of neighboring
chunks, one chunk after another. Other tasks merge the results of the leaves in a tree,
a few results at a time. Dask's active scheduler computes the graph: threads, processes
or a `distributed.Client`. The same function works on numpy blocks and on batches.

Estimated cost of 100 gigapixels of 8-bit RGB on 50 workers with one thread each,
extrapolated from `tests/benchmarks/large.py` on two workers of about 2 GHz:

- Time: reading and counting takes a worker 17 s per gigapixel, of which two thirds are
  reading. Painting and writing the labels takes 29 s per gigapixel. All workers together
  need 34 s to fit and 58 s to paint, if the storage delivers the 300 GB in that time for
  the fit and once more for painting.
- Tasks: a dask scheduler spends 1 to 2 ms on each task. Chunks of 1024 x 1024 pixels make
  95,000 tasks, which take the scheduler two to three minutes: the fit cannot be faster.
  Chunks of 4096 x 4096 pixels make 6,000 tasks, whose cost is negligible.
- Depth: 12,000 batches of 8 megapixels are merged four at a time in 7 levels.
- Traffic: the result of a batch has 8 bytes for each distinct color of the batch, or 6 MB
  for 800,000 colors in the noisy image of the benchmark. All these results are 76 GB. The
  first level of merges moves up to three quarters of them, 1.1 GB for each worker in half
  a minute. Each further level moves a quarter of the level before, or a little more. The
  final result is the whole histogram: 134 MB if all 2^24 colors occur, usually 10 MB.
  Pixels stay on the worker that reads them.
- A coreset, if colors cannot be counted: a worker keeps 40,000 pixels of its first
  batch, 2 MB. Of each later batch, it keeps only the pixels that may still be drawn, given
  all pixels that this worker has seen. Each worker sends about 260,000 pixels in all; 50
  workers send 750 MB.
- Full K-means, if colors cannot be counted: each iteration reads all pixels again. Each
  batch sends K sums, a few hundred bytes.
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

import numpy as np

from napari_kmeans.execution.dask_graph import TaskFailed, compute_graph, merge_graphs
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import in_task, map_threads, raise_if_stopped
from napari_kmeans.feature_space.space import PLAIN
from napari_kmeans.imaging.blocks import (
    Frame,
    block_size,
    extract_with_bounds,
    move_block,
    split_shape,
    thin_block,
)
from napari_kmeans.imaging.declared import ChunkError, format_block
from napari_kmeans.imaging.neighborhood import add_halo, join_chunks, read_compared
from napari_kmeans.types import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_kmeans.feature_space.space import FeatureSpace
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.types import Block

_BATCH_PIXELS = 2**23
_BATCH_BYTES = 2**25
"""A batch ends with the chunk that reaches one of these limits.

Large batches need few tasks and few merges. But a task holds all chunks of its batch
in memory.
"""

_PIECE_PIXELS = 2**16
"""Chunks are joined until they have this many pixels: a call of a kernel has a fixed cost."""

_FAN_IN = 4
"""Results that one task merges, and therefore holds in memory."""

_TASK_ERROR_MARK = "_napari_kmeans_task"
"""The attribute of errors that a leaf or a merge raised, and not the reading of a chunk."""

_stop_events: dict[str, threading.Event] = {}
"""For the name of each graph that is computed in this process, the event that stops its tasks."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Pixels that a kernel works on at a time: a block, or small chunks joined.

    Attributes
    ----------
    values : (n, C) array
        In channel units.
    kept : (n,) bool array or None
        False where a pixel is left out. None if no pixel is left out.
    places : list of (image, block)
        The number of the image and the block there, in the order of the pixels. The slices
        have a step if the piece has only the pixels of a grid.
    space : FeatureSpace
        The space of `points`.
    blurred : (n, F) float32 or float64 array or None
        The compared values; see `read_compared`. None if the space is pointwise.
    bounds : tuple of float or None
        Bounds of `values`, if they are known; see `extract_with_bounds`.
    """

    values: NDArray[Any]
    kept: NDArray[np.bool_] | None
    places: list[tuple[int, Block]]
    space: FeatureSpace = PLAIN
    blurred: NDArray[Any] | None = None
    bounds: tuple[float, float] | None = None

    @cached_property
    def inside(self) -> NDArray[Any]:
        """The values of the pixels that are not left out."""
        # This takes a fifth of the time of `values[kept]`.
        return self.values if self.kept is None else self.values.compress(self.kept, axis=0)

    @cached_property
    def compared(self) -> NDArray[Any]:
        """The values (m, C) that are compared, of the pixels that are not left out."""
        if self.blurred is None:
            return self.inside
        return self.blurred if self.kept is None else self.blurred.compress(self.kept, axis=0)

    @cached_property
    def points(self) -> NDArray[Any]:
        """The points (m, F) of the pixels that are not left out, made when they are first used."""
        return self.space.points(self.compared)

    @cached_property
    def coordinates(self) -> NDArray[Any]:
        """The numbers of `points`, in any dtype and memory layout."""
        return self.space.coordinates(self.compared)


class Batch(NamedTuple):
    """Pixels that one leaf works on: neighboring chunks of dask images, or one numpy block.

    Attributes
    ----------
    number : int
        The index of the batch among the batches of all images.
    n_pixels : int
        Includes the pixels that are left out.
    pieces : iterable of Piece
        Read once. Joined pieces are made when the iteration reaches them.
    """

    number: int
    n_pixels: int
    pieces: Iterable[Piece]


def count_steps(images: Sequence[Pixels]) -> int:
    """Return the number of steps that `map_reduce` reports for these images."""
    n_blocks = sum(len(pixels.blocks()) for pixels in images if not pixels.is_lazy)
    return n_blocks + sum(1 for _ in _split_into_batches(images))


def blocks_in_memory(images: Sequence[Pixels]) -> list[tuple[int, Block]]:
    """Return (image number, block) for every block of the numpy images."""
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
    space: FeatureSpace = PLAIN,
    steps: Sequence[tuple[int, ...]] = (),
) -> Result:
    """Apply `leaf` to every batch of pixels and merge the results.

    Parameters
    ----------
    images : sequence of Pixels
        Numpy images, dask images, or both.
    leaf : callable
        Called with a `Batch`, on other threads. For dask images it may be called
        in other processes: it must be picklable, and small when pickled.
    merge : callable
        Called with a list of results in the order of the images. Must be associative.
    step : callable
        Called in the calling thread with the number of batches done since the
        last call, and with 0 several times a second. An exception from `step`
        cancels: no further task starts. Dask still finishes the reads that it
        has started.
    space : FeatureSpace
        The space of the points of the pieces.
    steps : sequence of tuple of int
        For each image, the distance along each axis of the pixels in the pieces, which
        form a grid; see `thin_block`. By default, the pieces have all pixels.

    Returns
    -------
    Result
        The merged result, of the type that `leaf` returns.

    Raises
    ------
    ChunkError
        If a chunk cannot be read. The message names the chunk.
    MemoryError
        The same, if there was not enough memory to read the chunk.
    """
    results = map_threads(
        lambda item: leaf(_read_as_batch(images, *item, space, steps)),
        enumerate(blocks_in_memory(images)),
        step,
    )
    results += map_reduce_lazy(images, leaf, merge, step, space, steps)
    return results[0] if len(results) == 1 else merge(results)


def map_reduce_lazy(
    images: Sequence[Pixels],
    leaf: Callable[[Batch], Result],
    merge: Callable[[list[Result]], Result],
    step: Step = ignore,
    space: FeatureSpace = PLAIN,
    steps: Sequence[tuple[int, ...]] = (),
) -> list[Result]:
    """Run `map_reduce` on the dask images only: return a list of one result, or an empty list."""
    if not any(pixels.is_lazy for pixels in images):
        return []
    return [_Graph(images, leaf, merge, space, steps).compute(step)]


def read_piece(
    images: Sequence[Pixels],
    place: tuple[int, Block],
    space: FeatureSpace,
    steps: Sequence[tuple[int, ...]] = (),
) -> Piece:
    """Read a block of a numpy image; `steps` are those of `map_reduce`."""
    image, block = place
    pixels = images[image]
    own = steps[image] if steps else ()
    if pixels.is_complete and space.is_pointwise and not own:
        array = pixels.array[block]
        return Piece(array.reshape(-1, array.shape[-1]), None, [place], space)
    return make_piece(
        pixels.array, pixels.mask, pixels.n_channels, block, place, space, pixels.frame, own
    )


def make_piece(
    array: NDArray[Any],
    mask: NDArray[np.bool_] | None,
    n_channels: int,
    block: Block,
    place: tuple[int, Block],
    space: FeatureSpace,
    frame: Frame,
    steps: tuple[int, ...] = (),
) -> Piece:
    """Return the pixels of a block of a numpy array.

    Parameters
    ----------
    array : (..., C or more) array
        An image, or a chunk with its halo.
    mask : (...) bool array or None
    n_channels : int
    block : tuple of slice
        The block in `array`.
    place : (image, block)
        The number of the image, and the block there.
    space : FeatureSpace
    frame : Frame
        What the image of `place` is a part of.
    steps : tuple of int
        See `thin_block`. Empty for all pixels of the block.
    """
    image, in_image = place
    thinned = thin_block(in_image, steps)
    offset = tuple(side.start - own.start for side, own in zip(block, in_image, strict=True))
    pixels = move_block(thinned, offset)
    inside = None if mask is None else mask[pixels]
    values, kept, bounds = extract_with_bounds(array[pixels], inside, n_channels)
    blurred = None
    if not space.is_pointwise:
        own = frame.moved_back(offset)
        blurred = read_compared(array, mask, n_channels, block, pixels, space, own)
    return Piece(values, kept, [(image, thinned)], space, blurred, bounds)


def _read_as_batch(
    images: Sequence[Pixels],
    number: int,
    place: tuple[int, Block],
    space: FeatureSpace,
    steps: Sequence[tuple[int, ...]],
) -> Batch:
    """Read a block of a numpy image as a batch of one piece."""
    piece = read_piece(images, place, space, steps)
    return Batch(number, len(piece.values), [piece])


class _Chunk(NamedTuple):
    """A chunk of a dask image.

    Attributes
    ----------
    place : (image, block)
        The number of the image, and the block there.
    origin : tuple of int
        The place of the first pixel of the block in the array of the key `pixels`. This
        array has a halo if the space is not pointwise.
    pixels, mask
        The dask keys of the arrays that a leaf reads; None for no mask.
    sources : list
        The dask keys of the same arrays without a halo.
    """

    place: tuple[int, Block]
    origin: tuple[int, ...]
    pixels: Any
    mask: Any
    sources: list[Any]


def _chunk_places(images: Sequence[Pixels]) -> list[tuple[int, Block]]:
    """Return (image number, block) for every chunk of the dask images."""
    return [
        (number, block)
        for number, pixels in enumerate(images)
        if pixels.is_lazy
        for block in pixels.blocks()
    ]


def _split_into_batches(images: Sequence[Pixels]) -> Iterator[slice]:
    """Yield the slice of each batch in the list of the chunks of all dask images."""
    limit = min(_BATCH_PIXELS, _BATCH_BYTES // (images[0].dtype.itemsize * images[0].n_channels))
    start = size = stop = 0
    for stop, (_, block) in enumerate(_chunk_places(images), 1):
        size += block_size(block)
        if size >= limit:
            yield slice(start, stop)
            start, size = stop, 0
    if stop > start:
        yield slice(start, stop)


@dataclass(frozen=True, eq=False)
class _BatchTask:
    """The task that applies the leaf to a batch."""

    number: int
    places: list[tuple[int, Block]]
    origins: list[tuple[int, ...]]
    n_channels: int
    graph: str
    space: FeatureSpace
    frames: dict[int, Frame]
    steps: Sequence[tuple[int, ...]]

    def __call__(self, leaf: Callable[[Batch], Result], *arrays: list[Any]) -> Result:
        size = sum(block_size(block) for _, block in self.places)
        with in_task(_stop_events.get(self.graph)):
            return _call_and_mark(leaf, Batch(self.number, size, self._pieces(*arrays)))

    def _pieces(self, *arrays: list[Any]) -> Iterator[Piece]:
        """Yield the blocks of the chunks, joined where they are small."""
        waiting: list[Piece] = []
        n_waiting = 0
        for piece in self._blocks(*arrays):
            raise_if_stopped()
            waiting.append(piece)
            n_waiting += len(piece.values)
            if n_waiting >= _PIECE_PIXELS:
                yield _join_pieces(waiting)
                waiting, n_waiting = [], 0
        if waiting:
            yield _join_pieces(waiting)

    def _blocks(self, chunks: list[Any], masks: list[Any]) -> Iterator[Piece]:
        """Yield each block of each chunk: large chunks are split to limit the kernels' memory."""
        for (image, place), origin, chunk, mask in zip(
            self.places, self.origins, chunks, masks, strict=True
        ):
            pixels, inside = np.asarray(chunk), None if mask is None else np.asarray(mask)
            for block in split_shape(tuple(side.stop - side.start for side in place)):
                in_image = move_block(block, tuple(side.start for side in place))
                yield make_piece(
                    pixels,
                    inside,
                    self.n_channels,
                    move_block(block, origin),
                    (image, in_image),
                    self.space,
                    self.frames[image],
                    self.steps[image] if self.steps else (),
                )


def _join_pieces(pieces: list[Piece]) -> Piece:
    if len(pieces) == 1:
        return pieces[0]
    kept = None
    if any(piece.kept is not None for piece in pieces):
        kept = np.concatenate(
            [np.ones(len(p.values), np.bool_) if p.kept is None else p.kept for p in pieces]
        )
    values = np.concatenate([piece.values for piece in pieces])
    places = [place for piece in pieces for place in piece.places]
    blurred = [piece.blurred for piece in pieces if piece.blurred is not None]
    return Piece(
        values, kept, places, pieces[0].space, np.concatenate(blurred) if blurred else None
    )


@dataclass(frozen=True, eq=False)
class _MergeTask(Generic[Result]):
    """The task that merges results."""

    merge: Callable[[list[Result]], Result]

    def __call__(self, results: list[Result]) -> Result:
        with in_task():
            return _call_and_mark(self.merge, results)


def _call_and_mark(function: Callable[[Any], Result], argument: Any) -> Result:
    """Call a function and mark its errors, to distinguish them from errors of reading."""
    try:
        return function(argument)
    except Exception as error:
        setattr(error, _TASK_ERROR_MARK, True)
        raise


class _Graph(Generic[Result]):
    """The dask graph of a `map_reduce` over the dask images among `images`.

    Notes
    -----
    This graph is made by hand for three reasons:

    - An error must name the chunk that cannot be read. This class knows the keys of the
      tasks that read the chunks of each batch. If several chunks may be the cause, it
      reads each of them alone once more.
    - A run reports its steps and can be canceled. `compute_graph` counts finished leaves
      by their keys. A leaf in this process finds its stop event by the name of the graph,
      and stops between two pieces.
    - A task must cost little. A graph of 10,000 batches of one chunk took about 90 s to
      build with `dask.delayed`, which merges the graphs of all arguments of a task, and
      1.0 to 1.6 s as a dictionary (two cores, dask 2026.8). Only this cost rules out
      `dask.delayed`, which an earlier version of this class used.

    `dask.bag.Bag.reduction` makes the same map and the same tree, at little cost. But its
    functions receive neither the number nor the places of a batch, and the keys of its
    tasks are not public.

    A task is a tuple (function, argument, ...). This is the older form of tasks in dask,
    which dask converts to its present form.
    """

    def __init__(
        self,
        images: Sequence[Pixels],
        leaf: Callable[[Batch], Result],
        merge: Callable[[list[Result]], Result],
        space: FeatureSpace,
        steps: Sequence[tuple[int, ...]],
    ) -> None:
        self.name, self.n_images = f"napari-kmeans-{uuid.uuid4().hex}", len(images)
        if not space.is_pointwise:
            images = [join_chunks(p, space) if p.is_lazy else p for p in images]
        self.tasks, self.chunks = _collect_reading_tasks(images, space)
        # The leaf has a key of its own: the graph contains it once, and not in every task.
        self.tasks[f"{self.name}-function"] = leaf
        self.batches: dict[str, list[_Chunk]] = {}
        first = len(blocks_in_memory(images))
        for number, batch_slice in enumerate(_split_into_batches(images), first):
            batch = self.chunks[batch_slice]
            places, origins, pixels, masks, _ = map(list, zip(*batch, strict=True))
            n_channels = images[0].n_channels
            frames = {image: images[image].frame for image, _ in places}
            task = _BatchTask(number, places, origins, n_channels, self.name, space, frames, steps)
            key = self._add_task(f"batch-{number}", task, f"{self.name}-function", pixels, masks)
            self.batches[key] = batch
        self.root = self._add_merges(_MergeTask(merge))

    def _add_task(self, name: str, function: Callable[..., Any], *arguments: Any) -> str:
        """Add a task and return its key."""
        key = f"{self.name}-{name}"
        self.tasks[key] = (function, *arguments)
        return key

    def _add_merges(self, merge: _MergeTask[Any]) -> str:
        """Add the tree of merges and return the key of its root."""
        keys, depth = list(self.batches), 0
        while len(keys) > 1:
            depth += 1
            groups = [keys[start : start + _FAN_IN] for start in range(0, len(keys), _FAN_IN)]
            keys = [
                self._add_task(f"merge-{depth}-{number}", merge, group)
                for number, group in enumerate(groups)
            ]
        return keys[0]

    def compute(self, step: Step) -> Result:
        """Compute the graph with the active scheduler of dask."""
        stop = _stop_events[self.name] = threading.Event()
        try:
            result: Result = compute_graph(self.tasks, self.root, list(self.batches), stop, step)
        except TaskFailed as failed:
            error = failed.__cause__
            assert isinstance(error, Exception)
            names_chunk = isinstance(error, ChunkError) and self.n_images == 1
            if hasattr(error, _TASK_ERROR_MARK) or names_chunk:
                raise error from error.__cause__
            chunk = self._find_unreadable_chunk(failed.suspects)
            raise self._make_read_error(chunk, error) from error
        finally:
            del _stop_events[self.name]
        return result

    def _find_unreadable_chunk(self, suspects: set[Any]) -> _Chunk | None:
        """Return the chunk that cannot be read, or None if a second attempt reads all of them.

        The key of the task that failed is in `suspects`, or `suspects` has the key of a
        task that depends on the failed task.
        """
        chunks = [chunk for chunk in self.chunks if {*chunk.sources} & suspects]
        if len(chunks) == 1:
            return chunks[0]
        chunks = chunks or [
            chunk for key, batch in self.batches.items() if key in suspects for chunk in batch
        ]
        for number, chunk in enumerate(chunks):
            key = self._add_task(f"again-{number}", _do_nothing, chunk.sources)
            try:
                compute_graph(self.tasks, key, [], threading.Event())
            except TaskFailed:
                return chunk
        return None

    def _make_read_error(self, chunk: _Chunk | None, error: Exception) -> Exception:
        """Return an error whose message names the chunk and the reason."""
        if isinstance(error, ChunkError):
            # This message names the chunk already, but not the image.
            return ChunkError(str(error) if chunk is None else f"image {chunk.place[0]}: {error}")
        lines = str(error).strip().splitlines()
        reason = ": ".join([type(error).__name__, *(line.rstrip(".") for line in lines[:1])])
        subject = "image" if chunk is None else f"chunk {format_block(chunk.place[1])} of the image"
        if chunk is not None and self.n_images > 1:
            subject = f"chunk {format_block(chunk.place[1])} of image {chunk.place[0]}"
        kind = MemoryError if isinstance(error, MemoryError) else ChunkError
        return kind(
            f"{subject} cannot be read, got {reason}: check the file or the function that its data "
            "come from."
        )


def _do_nothing(_chunk: Any) -> None:
    """Serve as a task whose only purpose is that its arguments are read."""


def _collect_reading_tasks(
    images: Sequence[Pixels], space: FeatureSpace
) -> tuple[dict[Any, Any], list[_Chunk]]:
    """Return the tasks that read the dask images and their masks, and a list of all chunks."""
    lazy = [(number, pixels) for number, pixels in enumerate(images) if pixels.is_lazy]
    arrays, depths = [], []
    for _, pixels in lazy:
        *with_halo, depth = add_halo(pixels, space)
        arrays += [*with_halo, pixels.array, pixels.mask]
        depths.append(depth)
    tasks = merge_graphs(array for array in arrays if array is not None)
    chunks = []
    for which, (number, pixels) in enumerate(lazy):
        blocks = pixels.blocks()
        own = arrays[4 * which : 4 * which + 4]
        keys = [[None] * len(blocks) if array is None else _chunk_keys(array) for array in own]
        for block, key, mask_key, *sources in zip(blocks, *keys, strict=True):
            origin = tuple(min(s.start, d) for s, d in zip(block, depths[which], strict=True))
            chunks.append(_Chunk((number, block), origin, key, mask_key, sources))
    return tasks, chunks


def _chunk_keys(array: Any) -> list[Any]:
    """Return the keys of the chunks of a dask array that are not empty."""
    from dask.core import flatten

    sizes = reduce(np.multiply.outer, [np.array(axis) for axis in array.chunks])
    keys = flatten(array.__dask_keys__())
    return [key for key, size in zip(keys, sizes.flat, strict=True) if size]
