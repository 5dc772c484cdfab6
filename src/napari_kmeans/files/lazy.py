"""Lazy dask arrays over files, with chunks that consist of complete tiles."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.files.errors import UnreadableImageError, check_memory, reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CHUNK_PIXELS = 2**20
"""Small tiles are joined to chunks of at most this size: some milliseconds of work."""

MAX_CHUNKS = 2**18
"""Limit on the number of chunks. More chunks of a million pixels would take days to process.

A file with more chunks usually has damaged metadata.
"""


class FileArray:
    """An array in a file. Slicing it reads pixels.

    Parameters
    ----------
    array : array-like
        It has `shape` and `dtype`, and slicing it reads from the file.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)
        self.ndim = len(self.shape)

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[Any]:
        """Return the pixels of the slices.

        Raises
        ------
        UnreadableImageError
            If the file is damaged in these slices. The message names them.
        """
        try:
            return np.array(self._array[key])
        except Exception as error:
            # Decoders raise exceptions of many types for damaged files.
            place = ", ".join(f"{each.start}:{each.stop}" for each in key)
            raise UnreadableImageError(f"its pixels [{place}]: {reason(error)}") from error


def open_lazily(array: FileArray, tiles: Sequence[int], channel_axis: int | None) -> Any:
    """Return a dask array over a file, with chunks that consist of complete tiles.

    Parameters
    ----------
    array : FileArray
    tiles : sequence of int
        The shape of the tiles in which the file is stored.
    channel_axis : int or None
        An axis that is not split into chunks.

    Returns
    -------
    dask array

    Raises
    ------
    UnreadableImageError
        If there are more than `MAX_CHUNKS` chunks, if one chunk does not fit into
        memory, or if a tile has no pixel. A file with damaged metadata has such
        sizes.
    """
    import dask.array as da

    chunks = _join_tiles(array.shape, tiles, channel_axis)
    check_memory(prod(chunks) * array.dtype.itemsize, "one chunk of it")
    if (
        prod(-(-length // max(size, 1)) for length, size in zip(array.shape, chunks, strict=True))
        > MAX_CHUNKS
    ):
        raise UnreadableImageError(f"its shape, {array.shape}, is too large to be processed")
    # With `name=False` the array gets a random name. Otherwise dask would give the same name
    # to the same file after it has changed, and take both arrays for one.
    # Without `meta`, dask takes an empty slice, for which a file of one chunk is read completely.
    meta = np.empty((0,) * array.ndim, array.dtype)
    return da.from_array(array, chunks=chunks, name=False, inline_array=True, meta=meta)


def _join_tiles(
    shape: Sequence[int], tiles: Sequence[int], channel_axis: int | None
) -> tuple[int, ...]:
    """Return the shape of the chunks: tiles, doubled up to at most `CHUNK_PIXELS` pixels.

    Each step doubles the shortest axis of the plane, or of the other spatial axes
    once the plane is complete.
    """
    # A length of 0 would be doubled forever.
    if not all(tiles):
        raise UnreadableImageError(
            f"its chunks have the shape {tuple(tiles)}, which holds no pixel"
        )
    sizes = [min(tile, length) for tile, length in zip(tiles, shape, strict=True)]
    spatial = [axis for axis in range(len(shape)) if axis != channel_axis]
    if channel_axis is not None:
        sizes[channel_axis] = shape[channel_axis]
    while 2 * np.prod([sizes[axis] for axis in spatial], dtype=np.int64) <= CHUNK_PIXELS:
        incomplete = [axis for axis in spatial if sizes[axis] < shape[axis]]
        if not incomplete:
            break
        axis = min(incomplete, key=lambda axis: (axis not in spatial[-2:], sizes[axis], -axis))
        sizes[axis] = min(2 * sizes[axis], shape[axis])
    return tuple(sizes)
