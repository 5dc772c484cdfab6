"""Dask arrays whose chunks are whole tiles of a file."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.files.errors import UnreadableImageError, check_memory, reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CHUNK_PIXELS = 2**20
"""What tiles are gathered to: 1024 by 1024 pixels, some milliseconds of work."""


MOST_CHUNKS = 2**18
"""More than that, of a million pixels each, are not worked through in days."""


class FileArray:
    """An array in a file, whose pixels are read where it is sliced.

    Parameters
    ----------
    array : array-like
        With `shape` and `dtype`; slicing it reads.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)
        self.ndim = len(self.shape)

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[Any]:
        """Return the pixels of slices.

        Raises
        ------
        UnreadableImageError
            If the file is damaged there; the message names the place.
        """
        try:
            return np.array(self._array[key])
        except Exception as error:
            # Decoders answer damaged files with errors of many kinds.
            place = ", ".join(f"{part.start}:{part.stop}" for part in key)
            raise UnreadableImageError(f"its pixels [{place}]: {reason(error)}") from error


def open_lazily(array: FileArray, tiles: Sequence[int], channel_axis: int | None) -> Any:
    """Return a dask array, in chunks made of whole tiles of the file.

    Parameters
    ----------
    array : FileArray
    tiles : sequence of int
        The shape of the tiles in which the file is stored.
    channel_axis : int or None
        An axis that is not cut.

    Raises
    ------
    UnreadableImageError
        If there are too many chunks, or one does not fit into memory, as in a
        file whose sizes are damaged.
    """
    import dask.array as da

    chunks = _gathered(array.shape, tiles, channel_axis)
    check_memory(prod(chunks) * array.dtype.itemsize, "a piece of it")
    if (
        prod(-(-length // max(size, 1)) for length, size in zip(array.shape, chunks, strict=True))
        > MOST_CHUNKS
    ):
        raise UnreadableImageError(f"its shape, {array.shape}, is too large to be worked through")
    # No name from the contents: a file may change while the process lives.
    return da.from_array(array, chunks=chunks, name=False, inline_array=True)


def _gathered(
    shape: Sequence[int], tiles: Sequence[int], channel_axis: int | None
) -> tuple[int, ...]:
    """Double the tiles along their shortest side, first in the plane, up to `CHUNK_PIXELS`."""
    if not all(tiles):
        raise UnreadableImageError(f"its pieces have the shape {tuple(tiles)}, without a pixel")
    sizes = [min(tile, length) for tile, length in zip(tiles, shape, strict=True)]
    spatial = [axis for axis in range(len(shape)) if axis != channel_axis]
    if channel_axis is not None:
        sizes[channel_axis] = shape[channel_axis]
    while 2 * np.prod([sizes[axis] for axis in spatial], dtype=np.int64) <= CHUNK_PIXELS:
        short = [axis for axis in spatial if sizes[axis] < shape[axis]]
        if not short:
            break
        axis = min(short, key=lambda axis: (axis not in spatial[-2:], sizes[axis], -axis))
        sizes[axis] = min(2 * sizes[axis], shape[axis])
    return tuple(sizes)
