"""What a file gives: pixels, in memory or read when they are needed, and what is known of them."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CHUNK_PIXELS = 2**20
"""What tiles are gathered to: 1024 by 1024 pixels, some milliseconds of work."""


MOST_CHUNKS = 2**18
"""More than that, of a million pixels each, are not worked through in days."""


class UnreadableImageError(Exception):
    """A file is no image that can be read; the message is the reason, in a few words."""


class Axis(NamedTuple):
    """What a file says of an axis."""

    name: str
    kind: str = "space"
    """As OME-Zarr calls it: space, time, channel, or nothing."""

    unit: str = ""
    scale: float = 1.0
    """The distance of neighbours, in units."""

    translation: float = 0.0
    """Where the first pixel is, in units."""


class Picture(NamedTuple):
    """An image from a file and what the file says of its axes, as `segment` takes it."""

    pixels: Any
    """A numpy array, or a dask array that reads the file when it is computed."""

    rgb: bool | None = None
    channel_axis: int | None = None
    note: str = ""
    """What was lost in reading, for the user."""

    levels: tuple[Any, ...] = ()
    """Lazy pixels and their coarser copies, finest first; empty for pixels in memory."""

    axes: tuple[Axis, ...] = ()
    """One for each axis of the pixels, or none where nothing is known."""


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


def check_memory(n_bytes: int, what: str) -> None:
    """Refuse what does not fit into memory, before it is tried.

    Raises
    ------
    UnreadableImageError
        If more bytes are wanted than are free.
    """
    from psutil import virtual_memory

    free = virtual_memory().available
    if n_bytes > free:
        wanted, there = (f"{number / 2**30:,.1f} GB" for number in (n_bytes, free))
        raise UnreadableImageError(f"{what} takes {wanted} of memory, and {there} are free")


def reason(error: BaseException) -> str:
    """Return why, in one line: what the system says, or the first line of the message."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "Could not find a backend" in str(error):
        return "it is no image in a format known here"
    if isinstance(error, KeyError):
        return f"{error} is missing in it"
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
