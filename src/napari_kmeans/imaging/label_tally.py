"""Count the pixels of each label, and keep the labels of dask images that were found for it."""

from __future__ import annotations

import math
import threading
import uuid
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.clustering.tiles import sum_by_label
from napari_kmeans.execution.dask_graph import (
    TaskFailed,
    compute_graph,
    is_on_threads,
    merge_graphs,
)
from napari_kmeans.execution.memory import trim_heaps
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import map_threads
from napari_kmeans.imaging import kernels
from napari_kmeans.imaging.blocks import extract_values, is_dask
from napari_kmeans.imaging.kept_labels import KeptLabels
from napari_kmeans.imaging.tally import Tally, add_tallies

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.cleaning import Cleaner
    from napari_kmeans.types import Block

_BAND_BYTES = 2**26
"""Dask images are tallied in bands, in which a row of chunks has about this size.

About three rows are in memory at a time, because a chunk that is cleaned needs its neighbors. An
RGB image of 32 by 32 chunks of a megapixel with smoothing took 0.6 GB on two threads, and 1 GB in
one band.
"""

_BAND_CHUNKS = 4
"""The smallest width of a band in chunks. The chunks beside a band are read for it, too."""


def clean_and_tally(
    cleaner: Cleaner,
    images: Sequence[Pixels],
    labels: Sequence[Any],
    tally: Tally | None = None,
    step: Step = ignore,
) -> tuple[list[Any], Tally, NDArray[np.int64] | None]:
    """Clean and mark the labels of images, and count the pixels of each class.

    The labels of dask images are cleaned to be counted. As many of them as there is room for are
    kept in memory, so that they are not cleaned again when they are drawn or written.

    Parameters
    ----------
    cleaner : Cleaner
    images : sequence of Pixels
    labels : sequence of arrays
        The labels of each image, as for `Cleaner.clean_and_mark`.
    tally : Tally, optional
        The tally of these labels, if it is known.
    step : callable
        Called several times a second, and after each block.

    Returns
    -------
    marked : list of arrays
        From `Cleaner.clean_and_mark`.
    tally, undecided
        From `tally_cleaned`.
    """
    marked = [
        cleaner.clean_and_mark(pixels, own, step)
        for pixels, own in zip(images, labels, strict=True)
    ]
    kept = [KeptLabels() for _ in images]
    before = None if tally is None else (labels, tally)
    cleaned, undecided = tally_cleaned(cleaner, images, marked, step, before, kept)
    pairs = zip(images, kept, marked, strict=True)
    marked = [own.replace_chunks(each) if pixels.is_lazy else each for pixels, own, each in pairs]
    return marked, cleaned, undecided


def tally_cleaned(
    cleaner: Cleaner,
    images: Sequence[Pixels],
    marked: Sequence[Any],
    step: Step = ignore,
    before: tuple[Sequence[Any], Tally] | None = None,
    kept: Sequence[KeptLabels] | None = None,
) -> tuple[Tally, NDArray[np.int64] | None]:
    """Return the counts and sums of the pixels of each class, and the undecided pixels of each.

    Parameters
    ----------
    cleaner : Cleaner
    images : sequence of Pixels
    marked : sequence of arrays
        The labels of each image that `clean_and_mark` of the cleaner returned.
    step : callable
        Called after each block, and several times a second for dask images.
    before : (sequence of arrays, Tally), optional
        See `tally_labels`.
    kept : sequence of KeptLabels, optional
        See `tally_labels`.

    Returns
    -------
    tally : Tally
        Its cost is 0. Undecided pixels do not count.
    undecided : (K,) int64 array or None
        None if all pixels are decided.
    """
    n_classes = cleaner.n_classes
    if before is not None:
        # No pixel was undecided before.
        labels, tally = before
        n_more = cleaner.n_marked - n_classes
        counts, sums = np.pad(tally.counts, (0, n_more)), np.pad(tally.sums, [(0, n_more), (0, 0)])
        before = labels, replace(tally, counts=counts, sums=sums)
    tally = tally_labels(images, marked, cleaner.n_marked, step, before, kept)
    decided = Tally(tally.counts[:n_classes], tally.sums[:n_classes], 0.0)
    return decided, tally.counts[n_classes:] if cleaner.cleaning.min_confidence else None


def tally_labels(
    images: Sequence[Pixels],
    labels: Sequence[Any],
    n_classes: int,
    step: Step = ignore,
    before: tuple[Sequence[Any], Tally] | None = None,
    kept: Sequence[KeptLabels] | None = None,
) -> Tally:
    """Return the counts and sums of the pixels of each class, from labels of all images.

    Parameters
    ----------
    images : sequence of Pixels
    labels : sequence of arrays
        The labels of each image, from 1 to K; 0 for pixels that are left out.
    n_classes : int
    step : callable
        Called after each block, and several times a second for dask images.
    before : (sequence of arrays, Tally), optional
        The labels before they were cleaned, and their tally. Where sums are exact, only the values
        of pixels whose label has changed are summed.
    kept : sequence of KeptLabels, optional
        Receives the labels of each dask image, if dask computes on threads of this process.

    Returns
    -------
    Tally
        Its cost is 0.
    """
    tallies = []
    olds: Sequence[Any] = [None] * len(images)
    if before is not None and all(_has_exact_sums(pixels) for pixels in images):
        tallies.append(replace(before[1], cost=0.0, placed=[]))
        olds = before[0]
    for number, (pixels, old, own) in enumerate(zip(images, olds, labels, strict=True)):
        keeper = kept[number] if kept is not None and pixels.is_lazy and is_on_threads() else None
        leaf = _TallyLeaf(pixels.n_channels, n_classes, keeper)
        if pixels.is_lazy:
            tallies.append(_tally_lazily(pixels, own, old, leaf, step))
        else:
            tallies += _tally_in_memory(pixels, own, old, leaf, step)
    return add_tallies(tallies)


def tally_classes(
    model_labels: NDArray[np.int64], pixels: Pixels, labels: Any, step: Step = ignore
) -> Tally:
    """Return the counts and sums of the pixels of each class of a model, from labels of an image.

    Parameters
    ----------
    model_labels : (K,) int64 array
        The label of each class, ascending. Edited classes have gaps between their labels.
    pixels : Pixels
    labels : array
        0 for pixels that are left out or undecided.
    step : callable
        As for `tally_labels`.
    """
    if pixels.is_lazy and not is_dask(labels):
        from dask.array import from_array

        labels = from_array(labels, chunks=pixels.array.chunks[:-1])
    tally = tally_labels([pixels], [labels], int(model_labels[-1]), step)
    return _select_classes(tally, model_labels)


def _select_classes(tally: Tally, labels: NDArray[np.int64]) -> Tally:
    """Return the tally of some labels of a tally of the labels from 1 on."""
    return replace(tally, counts=tally.counts[labels - 1], sums=tally.sums[labels - 1])


class SideTally:
    """The tally of a dask image and its labels that are computed for another purpose.

    Computing each chunk of `array` once, together with these labels, in the threads of this
    process, tallies the chunk. So the image is read once.

    Parameters
    ----------
    model_labels : (K,) int64 array
        As for `tally_classes`.
    pixels : Pixels
        A dask image.
    labels : dask array

    Attributes
    ----------
    array : dask array
        Of zeros, of the shape of the labels.
    """

    def __init__(self, model_labels: NDArray[np.int64], pixels: Pixels, labels: Any) -> None:
        from dask.array import map_blocks

        self._labels = model_labels
        self._leaf = _TallyLeaf(pixels.n_channels, int(model_labels[-1]))
        self._tallies: dict[tuple[int, ...], Tally] = {}
        image = pixels.array.rechunk((*labels.chunks, (pixels.array.shape[-1],)))
        meta = np.empty((0,) * labels.ndim, np.uint8)
        # dask matches the last axes of arrays: without an axis of one channel, columns of labels
        # would be matched with the channels of the image.
        columns, channels = labels[..., np.newaxis], labels.ndim
        self.array = map_blocks(
            self._add, image, columns, drop_axis=channels, dtype=np.uint8, meta=meta
        )

    def _add(
        self, image: NDArray[Any], labels: NDArray[Any], block_info: Any = None
    ) -> NDArray[np.uint8]:
        place = tuple(block_info[1]["chunk-location"])
        self._tallies[place] = self._leaf(0, image, labels)
        return np.broadcast_to(np.uint8(0), labels.shape[:-1])

    def tally(self) -> Tally:
        """Return the tally of all chunks that were computed, as `tally_classes` does."""
        # Threads end in any order. Added in that of the chunks, floats have the same sums always.
        tallies = [self._tallies[place] for place in sorted(self._tallies)]
        return _select_classes(add_tallies(tallies), self._labels)


def _has_exact_sums(pixels: Pixels) -> bool:
    """Return whether float64 has no rounding errors in the sums of an image."""
    return pixels.dtype.kind in "uib" and pixels.dtype.itemsize <= 2


def _tally_in_memory(
    pixels: Pixels, labels: Any, old: Any, leaf: _TallyLeaf, step: Step
) -> list[Tally]:
    """Return the tallies of the blocks of an image in memory."""

    def tally(block: Block) -> Tally:
        return leaf(0, pixels.array[block], labels[block], None if old is None else old[block])

    return map_threads(tally, pixels.blocks(), step)


@dataclass(frozen=True, eq=False)
class _TallyLeaf:
    """The task that tallies the pixels of a window.

    Attributes
    ----------
    n_channels, n_classes : int
    kept : KeptLabels or None
        Receives the labels.
    """

    n_channels: int
    n_classes: int
    kept: KeptLabels | None = None

    def __call__(self, number: int, image: Any, labels: Any, old: Any = None) -> Tally:
        """Return the tally of a window (..., C or more), minus that of the old labels if given."""
        image, labels = np.asarray(image), np.asarray(labels)
        if self.kept is not None:
            self.kept.add(number, labels)
        flat = labels.reshape(-1)
        if old is None:
            values = extract_values(image, None, self.n_channels)[0]
            some = flat > 0
            if not some.all():
                flat, values = flat[some], values[some]
            return self._sum(values, flat)
        counts = np.zeros(self.n_classes, np.int64)
        sums = np.zeros((self.n_classes, self.n_channels), np.int64)
        values = image.astype(image.dtype.newbyteorder("="), copy=False)
        values = values.reshape(-1, image.shape[-1])
        kernels.add_changes(values, flat, np.asarray(old).reshape(-1), counts, sums)
        return Tally(counts, sums.astype(np.float64), 0.0)

    def _sum(self, values: NDArray[Any], labels: NDArray[Any]) -> Tally:
        sums = sum_by_label(values, labels.astype(np.int32) - 1, self.n_classes)
        return Tally(sums.counts, sums.totals, 0.0)


def _tally_lazily(pixels: Pixels, labels: Any, old: Any, leaf: _TallyLeaf, step: Step) -> Tally:
    """Return the tally of a dask image."""
    image = pixels.array.rechunk((*pixels.array.chunks[:-1], (pixels.array.shape[-1],)))
    arrays = [image, labels] if old is None else [image, labels, old]
    numbers = np.arange(math.prod(labels.numblocks)).reshape(labels.numblocks)
    tallies = []
    # Kept labels lie between chunks that were freed: the heaps of two threads kept 400 MB.
    trim_heaps()
    for band in _split_into_bands(arrays):
        parts = [array.blocks[band] for array in arrays]
        tallies.append(_tally_band(parts, numbers[band].reshape(-1).tolist(), leaf, step))
        trim_heaps()
    return add_tallies(tallies)


def _split_into_bands(arrays: Sequence[Any]) -> Iterator[tuple[slice, ...]]:
    """Yield parts of the chunks of dask arrays, of which a row needs about `_BAND_BYTES`.

    All chunks along the first axis are in the same part. The arrays have the same spatial chunks.
    """
    labels = min(arrays, key=lambda array: array.ndim)
    n_bytes = sum(math.prod(array.chunksize) * array.dtype.itemsize for array in arrays)
    # Blocks of joined chunks end at powers of two: see `join_to_blocks`.
    sizes = [2 ** (number - 1).bit_length() for number in labels.numblocks]
    first, *others = sizes
    while n_bytes * math.prod(others) > _BAND_BYTES and max(others) > _BAND_CHUNKS:
        others[int(np.argmax(others))] //= 2
    ranges = [
        [slice(start, start + size) for start in range(0, number, size)]
        for number, size in zip(labels.numblocks, [first, *others], strict=True)
    ]
    return product(*ranges)


def _tally_band(
    arrays: Sequence[Any], numbers: Sequence[int], leaf: _TallyLeaf, step: Step
) -> Tally:
    """Return the tally of the chunks of an image, its labels and perhaps its old labels."""
    from dask.core import flatten

    tasks = merge_graphs(arrays)
    root = f"napari-kmeans-tally-{uuid.uuid4().hex}"
    keys = zip(*(flatten(array.__dask_keys__()) for array in arrays), strict=True)
    leaves, total = [], ""
    for number, own in zip(numbers, keys, strict=True):
        leaves.append(f"{root}-{number}")
        tasks[leaves[-1]] = (leaf, number, *own)
        # Added one after another, tallies make dask compute the chunks in the order of the image,
        # and free chunks whose neighbors are done.
        total, before = f"{root}-total-{number}", total
        tasks[total] = (add_tallies, [before, leaves[-1]] if before else [leaves[-1]])
    try:
        tally: Tally = compute_graph(tasks, total, leaves, threading.Event(), step)
    except TaskFailed as failed:
        raise failed.__cause__ or failed from None
    return tally
