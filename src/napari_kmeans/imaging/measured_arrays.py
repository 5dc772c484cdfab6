"""Sum the classes and regions of whole arrays, on threads or with dask, in one pass or several."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.dask_graph import TaskFailed, compute_graph, merge_graphs
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import in_task, map_threads, n_threads
from napari_kmeans.imaging.blocks import block_size, is_dask, split_shape
from napari_kmeans.imaging.computed_regions import ComputedRegions
from napari_kmeans.imaging.declared import ChunkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_kmeans.imaging.region_sums import RegionSums
    from napari_kmeans.types import Block

_BATCH_PIXELS = 2**22
"""The number of pixels whose chunks one task of dask holds in memory."""

_FAN_IN = 4
"""Results that one task merges, and therefore holds in memory."""


@dataclass(frozen=True, eq=False)
class MeasuredArrays:
    """The arrays of one image, all of the spatial shape: numpy, dask, or both.

    Attributes
    ----------
    labels : array of integers
    channels : dict of str to arrays
    regions : array, mapping of int to arrays, ComputedRegions or None
        As in `RegionSums.add`.
    undecided : array of integers or None
    slice_axes : tuple of int
        The axes along which every index is measured by itself.
    """

    labels: Any
    channels: dict[str, Any]
    regions: Any = None
    undecided: Any = None
    slice_axes: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape."""
        return tuple(self.labels.shape)

    @property
    def is_lazy(self) -> bool:
        """Whether an array is a dask array."""
        return any(map(is_dask, self.arrays()))

    def arrays(self) -> Iterator[Any]:
        """Yield all arrays."""
        yield self.labels
        yield from self.channels.values()
        if isinstance(self.regions, Mapping):
            yield from self.regions.values()
        elif self.regions is not None:
            yield self.regions
        if self.undecided is not None:
            yield self.undecided

    def map(self, function: Callable[[Any], Any]) -> MeasuredArrays:
        """Return these arrays with a function applied to each."""
        regions = self.regions
        if isinstance(regions, Mapping):
            regions = {number: function(mask) for number, mask in regions.items()}
        elif regions is not None:
            regions = function(regions)
        return replace(
            self,
            labels=function(self.labels),
            channels={name: function(each) for name, each in self.channels.items()},
            regions=regions,
            undecided=None if self.undecided is None else function(self.undecided),
        )

    def read(self, block: Block) -> MeasuredArrays:
        """Return the arrays of a block."""
        return self.map(partial(_read, block))

    def add_to(self, sums: RegionSums, origin: tuple[int, ...]) -> None:
        """Add these arrays in memory to sums, as the block that begins at an index."""
        axes = self.slice_axes
        for index in np.ndindex(*(self.shape[axis] for axis in axes)):
            place: list[Any] = [slice(None)] * len(self.shape)
            for axis, number in zip(axes, index, strict=True):
                place[axis] = number
            own = self.map(partial(_take, tuple(place))) if axes else self
            where = tuple(origin[axis] + number for axis, number in zip(axes, index, strict=True))
            sums.add(own.labels, own.channels, own.regions, own.undecided, where)


def _take(index: tuple[Any, ...], array: Any) -> Any:
    return None if array is None else array[index]


def _read(block: Block, array: Any) -> Any:
    return array.numbers(block) if isinstance(array, ComputedRegions) else array[block]


def sum_arrays(
    arrays: MeasuredArrays,
    sums: RegionSums,
    step: Step = ignore,
    first_pass: SideSums | None = None,
) -> RegionSums:
    """Return the sums of whole arrays, with all medians.

    Parameters
    ----------
    arrays : MeasuredArrays
    sums : RegionSums
        Without pixels.
    step : callable
        Called with the shares of the work that are done, 1 in all. An exception that it raises
        cancels the work.
    first_pass : SideSums, optional
        The sums of the first pass, if they were found while other arrays were computed.
    """
    one_pass = _sum_lazily if arrays.is_lazy else _sum_in_memory
    # The number of passes is not known before the first: each takes half of the rest.
    share = 0.5
    while True:
        if first_pass is None:
            sums.merge(one_pass(arrays, sums.fresh(), partial(_step_part, step, share)))
        else:
            first_pass.add_to(sums)
            first_pass = None
        sums.next_pass()
        if sums.is_done:
            return sums
        share /= 2


class SideSums:
    """The sums of lazy arrays that are found while other arrays are computed from the same data.

    Computing each chunk of `array` once, together with the other arrays, in the threads of this
    process, adds the chunk to the sums.

    Parameters
    ----------
    arrays : MeasuredArrays
        At least one is a dask array.
    empty : RegionSums
        Without pixels.

    Attributes
    ----------
    array : dask array
        Of zeros, of the shape of the labels.
    """

    def __init__(self, arrays: MeasuredArrays, empty: RegionSums) -> None:
        from dask.array import map_blocks

        self._arrays, self._empty = _with_same_chunks(arrays), empty
        self._all: list[RegionSums] = []
        self._free: SimpleQueue[RegionSums] = SimpleQueue()
        first = next(each for each in self._arrays.arrays() if is_dask(each))
        # The same order as that of `map`. What is no dask array is read in the task.
        lazy = [each for each in self._arrays.arrays() if is_dask(each)]
        meta = np.empty((0,) * first.ndim, np.uint8)
        self.array = map_blocks(self._add, *lazy, dtype=np.uint8, meta=meta)

    def _add(self, *chunks: Any, block_info: Any = None) -> NDArray[np.uint8]:
        place = block_info[0]["array-location"]
        block = tuple(slice(start, stop) for start, stop in place)
        following = iter(chunks)

        def read(array: Any) -> Any:
            return next(following) if is_dask(array) else _read(block, array)

        sums = self._take()
        try:
            with in_task():
                self._arrays.map(read).add_to(sums, tuple(side.start for side in block))
        finally:
            self._free.put(sums)
        return np.broadcast_to(np.uint8(0), tuple(stop - start for start, stop in place))

    def _take(self) -> RegionSums:
        """Return sums that no other thread uses."""
        try:
            return self._free.get_nowait()
        except Empty:
            sums = self._empty.fresh()
            self._all.append(sums)
            return sums

    def add_to(self, sums: RegionSums) -> None:
        """Add the pixels of all chunks that were computed."""
        for each in self._all:
            sums.merge(each)


def _step_part(step: Step, share: float, done: float) -> None:
    step(done * share)


def _sum_in_memory(arrays: MeasuredArrays, empty: RegionSums, step: Step) -> RegionSums:
    blocks = split_shape(arrays.shape)
    # Sums are exact: it does not matter which block is added to which of them.
    free: SimpleQueue[RegionSums] = SimpleQueue()
    all_sums = [empty.fresh() for _ in range(min(n_threads(), len(blocks)))]
    for each in all_sums:
        free.put(each)

    def add(block: Block) -> None:
        sums = free.get()
        try:
            arrays.read(block).add_to(sums, tuple(side.start for side in block))
        finally:
            free.put(sums)

    map_threads(add, blocks, lambda done: step(done / len(blocks)))
    for each in all_sums:
        empty.merge(each)
    return empty


def _sum_lazily(arrays: MeasuredArrays, empty: RegionSums, step: Step) -> RegionSums:
    """Return the sums of arrays that are read chunk by chunk with dask."""
    name = f"napari-kmeans-{uuid.uuid4().hex}"
    chunked = _with_same_chunks(arrays)
    lazy = [each for each in chunked.arrays() if is_dask(each)]
    tasks: dict[Any, Any] = {f"{name}-empty": empty, **merge_graphs(lazy)}
    keys = {id(each): _chunk_keys(each) for each in lazy}
    leaves = []
    for number, batch in enumerate(_batches(lazy[0])):
        key = f"{name}-leaf-{number}"
        chunks = [_chunk_arguments(chunked, keys, place, block) for place, block in batch]
        origins = [tuple(side.start for side in block) for _, block in batch]
        numbers = tuple(chunked.regions) if isinstance(chunked.regions, Mapping) else None
        task = _SumTask(tuple(chunked.channels), numbers, chunked.slice_axes, origins)
        tasks[key] = (task, f"{name}-empty", chunks)
        leaves.append(key)
    root = _add_merges(tasks, leaves, name)
    try:
        result: RegionSums = compute_graph(
            tasks, root, leaves, threading.Event(), lambda done: step(done / len(leaves))
        )
    except TaskFailed as failed:
        raise _read_error(failed.__cause__) from failed.__cause__
    return result


def _chunk_keys(array: Any) -> Any:
    """Return the keys of the chunks of a dask array as an array of objects."""
    keys = np.empty(array.numblocks, object)
    for place in np.ndindex(*array.numblocks):
        keys[place] = (array.name, *place)
    return keys


def _with_same_chunks(arrays: MeasuredArrays) -> MeasuredArrays:
    """Return arrays whose dask arrays have the chunks of the first of them."""
    first = next(each for each in arrays.arrays() if is_dask(each))
    return arrays.map(lambda each: each.rechunk(first.chunks) if is_dask(each) else each)


def _batches(array: Any) -> Iterator[list[tuple[tuple[int, ...], Block]]]:
    """Yield neighboring chunks that are not empty: the place of each chunk, and its block."""
    starts = [np.cumsum((0, *sizes)).tolist() for sizes in array.chunks]
    batch, size = [], 0
    for place in np.ndindex(*array.numblocks):
        block = tuple(
            slice(own[number], own[number + 1]) for own, number in zip(starts, place, strict=True)
        )
        if not block_size(block):
            continue
        batch.append((place, block))
        size += block_size(block)
        if size >= _BATCH_PIXELS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _chunk_arguments(
    arrays: MeasuredArrays, keys: dict[int, Any], place: tuple[int, ...], block: Block
) -> list[Any]:
    """Return the labels, channels, regions and undecided labels of a chunk, as dask arguments.

    Dask replaces the keys in lists by the arrays.
    """

    def argument(each: Any) -> Any:
        if each is None:
            return None
        if id(each) in keys:
            return keys[id(each)][place]
        # Computed here, the regions of all chunks would be in memory together.
        return _Later(each, block) if isinstance(each, ComputedRegions) else each[block]

    regions = arrays.regions
    layers = list(regions.values()) if isinstance(regions, Mapping) else [regions]
    return [
        argument(arrays.labels),
        [argument(each) for each in arrays.channels.values()],
        [argument(each) for each in layers],
        argument(arrays.undecided),
    ]


@dataclass(frozen=True)
class _Later:
    """Regions of a chunk that the task of this chunk computes."""

    regions: ComputedRegions
    block: Block


def _compute_regions(regions: Any) -> Any:
    return regions.regions.numbers(regions.block) if isinstance(regions, _Later) else regions


@dataclass(frozen=True)
class _SumTask:
    """The task that sums a batch of chunks.

    Attributes
    ----------
    names : tuple of str
        The names of the channels.
    numbers : tuple of int or None
        The numbers of the regions that are masks; None if regions are no masks.
    slice_axes : tuple of int
    origins : list of tuple of int
        The index of the first pixel of each chunk.
    """

    names: tuple[str, ...]
    numbers: tuple[int, ...] | None
    slice_axes: tuple[int, ...]
    origins: list[tuple[int, ...]]

    def __call__(self, empty: RegionSums, chunks: list[list[Any]]) -> RegionSums:
        sums = empty.fresh()
        with in_task():
            for origin, (labels, values, layers, undecided) in zip(
                self.origins, chunks, strict=True
            ):
                layers = [_compute_regions(each) for each in layers]
                regions = layers[0]
                if self.numbers is not None:
                    regions = dict(zip(self.numbers, layers, strict=True))
                channels = dict(zip(self.names, map(np.asanyarray, values), strict=True))
                arrays = MeasuredArrays(labels, channels, regions, undecided, self.slice_axes)
                arrays.add_to(sums, origin)
        return sums


def _add_merges(tasks: dict[Any, Any], leaves: list[str], name: str) -> str:
    """Add the tree of merges and return the key of its root."""
    keys, depth = leaves, 0
    while len(keys) > 1:
        groups = [keys[start : start + _FAN_IN] for start in range(0, len(keys), _FAN_IN)]
        keys = [f"{name}-merge-{depth}-{number}" for number in range(len(groups))]
        tasks.update({key: (_merge, group) for key, group in zip(keys, groups, strict=True)})
        depth += 1
    return keys[0]


def _merge(parts: list[RegionSums]) -> RegionSums:
    # Do not change a part: dask may give it to this task once more.
    merged = parts[0].fresh()
    for part in parts:
        merged.merge(part)
    return merged


def _read_error(error: BaseException | None) -> Exception:
    if isinstance(error, ChunkError | MemoryError | ValueError | TypeError):
        return error
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    return ChunkError(
        f"a chunk cannot be read, got {type(error).__name__}: {reason}: check the files or the "
        "functions that the arrays come from."
    )
