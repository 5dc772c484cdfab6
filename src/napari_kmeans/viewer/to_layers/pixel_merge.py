"""Merge labels in an array of pixels, and split them again without a copy of the array."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.threads import map_slices
from napari_kmeans.imaging.blocks import is_dask

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK_PIXELS = 2**17
"""Pixels per task: few enough for the processor's cache.

It is a multiple of 8, so that the bits of a block fill whole bytes: no two threads
write to the same byte.
"""


def merge_pixels(
    data: NDArray[Any], labels: NDArray[np.integer[Any]]
) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Replace several labels by the first of them.

    Parameters
    ----------
    data : array of integers
        The label of each pixel. The array is not changed.
    labels : (m,) integer array
        The labels to merge, all positive. Their pixels get the first label.

    Returns
    -------
    merged : array like `data`
    planes : (b, ceil(n / 8)) uint8 array
        The earlier labels of the n pixels, for `split_pixels`: the bits of the
        index into `labels`, one plane for each of its b bits. A pair of labels
        needs one bit per pixel, 64 labels need six.
    """
    flat = np.ascontiguousarray(data).reshape(-1)
    merged, offsets = np.empty_like(flat), _offsets_to_first(labels, data.dtype)
    # np.take clips the index: the first entry serves negative labels, the last one
    # serves labels above the greatest. Both hold 0, which leaves a label as it is.
    code_of_label = np.zeros(labels.max() + 2, np.min_scalar_type(len(labels)))
    code_of_label[labels] = np.arange(len(labels))
    planes = np.empty(((len(labels) - 1).bit_length(), -(-flat.size // 8)), np.uint8)

    def merge_block(part: slice) -> None:
        block = flat[part]
        codes = np.take(code_of_label, block.astype(np.intp), mode="clip")
        np.add(block, np.take(offsets, codes, mode="clip"), out=merged[part])
        for bit, plane in enumerate(planes):
            bits = np.packbits(codes >> bit & 1)
            plane[part.start // 8 :][: bits.size] = bits

    map_slices(merge_block, flat.size, _BLOCK_PIXELS)
    return merged.reshape(data.shape), planes


def split_pixels(
    data: NDArray[Any], labels: NDArray[np.integer[Any]], planes: NDArray[np.uint8]
) -> NDArray[Any]:
    """Return the array that `merge_pixels` received.

    Pixels that were painted over since the merge keep their new label.
    """
    flat = np.ascontiguousarray(data).reshape(-1)
    split, offsets = np.empty_like(flat), _offsets_to_first(labels, data.dtype)

    def split_block(part: slice) -> None:
        block = flat[part]
        codes = np.zeros(block.size, np.min_scalar_type(len(labels)))
        for bit, plane in enumerate(planes):
            bits = np.unpackbits(plane[part.start // 8 :][: -(-block.size // 8)])
            codes |= bits[: block.size].astype(codes.dtype) << bit
        # A pixel with any other label was painted over.
        codes *= block == labels[0]
        np.subtract(block, np.take(offsets, codes, mode="clip"), out=split[part])

    map_slices(split_block, flat.size, _BLOCK_PIXELS)
    return split.reshape(data.shape)


def _offsets_to_first(labels: NDArray[np.integer[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the number that turns each label into the first one when it is added.

    The sum of unsigned integers wraps around, so that the number need not be negative.
    """
    as_stored = labels.astype(dtype)
    return np.asarray(as_stored[0] - as_stored)


def _merge_chunk(chunk: NDArray[Any], labels: NDArray[np.integer[Any]]) -> NDArray[Any]:
    return merge_pixels(chunk, labels)[0]


def _split_chunk(
    chunk: NDArray[Any], before: NDArray[Any], labels: NDArray[np.integer[Any]]
) -> NDArray[Any]:
    """Return a chunk in which pixels of the first label have their label from before a merge."""
    was_merged = (chunk == labels[0]) & np.isin(before, labels)
    return np.where(was_merged, before, chunk)


@dataclass(eq=False)
class PixelMerge:
    """A merge of labels that can be applied to label data and reverted.

    Attributes
    ----------
    labels : (m,) integer array
        The labels to merge; the first one stays.
    index : tuple or ...
        The index of the only slice of a stack that changes; ... if all pixels may change.
    """

    labels: NDArray[np.integer[Any]]
    index: Any = ...
    _undo_data: Any = field(default=None, init=False, repr=False)
    """The bit planes of `merge_pixels`; for lazy data, the data before the merge and the
    name of the merged array, which is another one after painting."""

    def apply(self, data: Any) -> Any:
        """Return label data with the labels merged; lazy data stay lazy."""
        part = data[self.index]
        if is_dask(data):
            merged = part.map_blocks(_merge_chunk, labels=self.labels, dtype=data.dtype)
            whole = self._in_stack(data, merged)
            self._undo_data = data, whole.name
            return whole
        merged, self._undo_data = merge_pixels(np.asarray(part), self.labels)
        return self._in_stack(data, merged)

    def revert(self, data: Any) -> Any:
        """Return the data that `apply` received.

        Pixels that were painted over since then keep their new label.
        """
        undo_data, self._undo_data = self._undo_data, None
        if is_dask(data):
            before, merged_name = undo_data
            if data.name == merged_name:
                return before
            part = data[self.index]
            earlier = before[self.index].rechunk(part.chunks)
            split = part.map_blocks(_split_chunk, earlier, labels=self.labels, dtype=data.dtype)
            return self._in_stack(data, split)
        split = split_pixels(np.asarray(data[self.index]), self.labels, undo_data)
        return self._in_stack(data, split)

    def _in_stack(self, data: Any, part: Any) -> Any:
        """Return label data with other pixels at the index."""
        if self.index is ...:
            return part
        data = data.copy()
        data[self.index] = part
        return data
