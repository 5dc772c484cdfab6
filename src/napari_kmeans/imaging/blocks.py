"""Numpy or dask arrays as blocks of pixels, and which pixels are left out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

Block: TypeAlias = tuple[slice, ...]

BLOCK_PIXELS = 2**19
"""Large enough that a block's work dwarfs its overhead, small enough to cancel within it."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """An image with its channels last, read block by block.

    Attributes
    ----------
    array : (..., C) numpy or dask array
        The pixels, with an alpha channel last of all where there is one.
    mask : (...) bool array or None
        False where a pixel is to be left out.
    rgb : bool
        Whether the first three channels are red, green and blue.
    channel_axis : int or None
        Where the channels are in the image as it was given; None for gray.
    """

    array: Any
    mask: Any
    rgb: bool
    channel_axis: int | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape: that of the labels."""
        return tuple(self.array.shape[:-1])

    @property
    def n_pixels(self) -> int:
        """The number of pixels, left out or not."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def n_channels(self) -> int:
        """The number of channels that are clustered: alpha is not one of them."""
        return 3 if self.rgb else int(self.array.shape[-1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the image."""
        dtype: np.dtype[Any] = np.dtype(self.array.dtype)
        return dtype

    @property
    def is_lazy(self) -> bool:
        """Whether the image is a dask array."""
        return is_dask(self.array)

    def blocks(self) -> list[Block]:
        """Return the slices of every block: dask's chunks, or about half a million pixels each."""
        if self.is_lazy:
            return list(_grid(self.array.chunks[:-1]))
        return list(_grid(_chunks(self.shape)))

    def read(self, block: Block) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return the values (n, C) of a block's pixels, and which are kept (None: all)."""
        mask = None if self.mask is None else np.asarray(self.mask[block])
        return self.split(np.asarray(self.array[block]), mask)

    def split(
        self, chunk: NDArray[Any], mask: NDArray[np.bool_] | None
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return the values (n, C) of a chunk (..., C), and which are kept (None: all)."""
        flat = chunk.reshape(-1, chunk.shape[-1])
        values = np.ascontiguousarray(
            flat[:, : self.n_channels], dtype=chunk.dtype.newbyteorder("=")
        )
        conditions = []
        if mask is not None:
            conditions.append(mask.reshape(-1))
        if flat.shape[1] > self.n_channels:
            conditions.append(flat[:, -1] != 0)
        # All are, as a rule, and that is quickly seen.
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            conditions.append(np.isfinite(values).all(axis=1))
        if not conditions:
            return values, None
        kept = np.logical_and.reduce(conditions)
        return values, None if kept.all() else kept

    def read_kept(self, block: Block) -> NDArray[Any]:
        """Return the values (n, C) of the pixels of a block that are not left out."""
        values, kept = self.read(block)
        return values if kept is None else values[kept]


def open_pixels(
    image: Any, *, rgb: bool | None = None, channel_axis: int | None = None, mask: Any = None
) -> Pixels:
    """Check an image and its mask and say where its channels are.

    Parameters
    ----------
    image : array-like
        Boolean, integer or floating point; never changed.
    rgb : bool, optional
        Whether the last axis is red, green, blue and perhaps alpha. None
        guesses as napari does: the last axis has 3 or 4 entries and the two
        before it more than 30.
    channel_axis : int, optional
        The axis of the channels of any other multichannel image.
    mask : array-like of the image's spatial shape, optional
        Zero or False where a pixel is left out.

    Raises
    ------
    TypeError
        If the image is not made of real numbers.
    ValueError
        If a shape does not fit.
    """
    array = image if is_dask(image) else np.asarray(image)
    _check_image(array)
    if rgb and channel_axis not in (None, -1, array.ndim - 1):
        raise ValueError(
            f"channel_axis must be None for an rgb image, got {channel_axis}: "
            "pass rgb=False, or leave channel_axis out."
        )
    if rgb is None:
        rgb = channel_axis is None and _looks_rgb(array.shape)
    if rgb and (array.ndim < 2 or array.shape[-1] not in (3, 4)):
        raise ValueError(
            f"rgb must be False for an image of shape {array.shape}: "
            "the last axis of an rgb image has 3 or 4 entries."
        )
    axis = -1 if rgb else channel_axis
    channels_last = _channels_last(array, axis)
    return Pixels(channels_last, _check_mask(mask, channels_last.shape[:-1]), bool(rgb), axis)


def is_dask(array: Any) -> bool:
    """Tell whether an array is a dask array, without importing dask for it."""
    return type(array).__module__.partition(".")[0] == "dask" and hasattr(array, "chunks")


def _check_image(array: Any) -> None:
    if np.dtype(array.dtype).kind not in "buif":
        raise TypeError(
            f"image must be boolean, integer or floating point, got dtype {array.dtype}: "
            "convert it to one of these first."
        )
    if array.ndim == 0 or 0 in array.shape:
        raise ValueError(
            f"image must have at least one pixel, got shape {tuple(array.shape)}: "
            "pass an image that is not empty."
        )


def _looks_rgb(shape: tuple[int, ...]) -> bool:
    # napari.layers.image._image_utils.guess_rgb, which cannot be imported here
    # without importing napari.
    return len(shape) > 2 and shape[-1] in (3, 4) and min(shape[-3:-1]) > 30


def _channels_last(array: Any, axis: int | None) -> Any:
    if axis is None:
        return array[..., None]
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
        raise TypeError(
            f"channel_axis must be a whole number or None, got {axis!r}: name one axis."
        )
    if array.ndim < 2 or not -array.ndim <= axis < array.ndim:
        raise ValueError(
            f"channel_axis must name one of several axes, got {axis} for an image of shape "
            f"{tuple(array.shape)}: choose an axis that the image has beside its pixels."
        )
    if not is_dask(array):
        return np.moveaxis(array, axis, -1)
    import dask.array as da

    # One chunk along the channels: a pixel is never split.
    return da.moveaxis(array, axis, -1).rechunk({array.ndim - 1: -1})


def _check_mask(mask: Any, shape: tuple[int, ...]) -> Any:
    if mask is None:
        return None
    inside = mask if is_dask(mask) else np.asarray(mask)
    if tuple(inside.shape) != tuple(shape):
        raise ValueError(
            f"mask must have the image's spatial shape {tuple(shape)}, got "
            f"{tuple(inside.shape)}: draw or crop it on the same pixels."
        )
    return inside != 0


def _chunks(shape: tuple[int, ...]) -> list[list[int]]:
    """Cut a shape into chunks of at most `BLOCK_PIXELS`, along its first axes."""
    chunks = []
    below = int(np.prod(shape, dtype=np.int64))
    for length in shape:
        below //= length
        size = max(1, min(length, BLOCK_PIXELS // below))
        full, rest = divmod(length, size)
        chunks.append([size] * full + [rest] * (rest > 0))
    return chunks


def _grid(chunks: Any) -> Iterator[Block]:
    ends = [np.cumsum(sizes) for sizes in chunks]
    slices = [
        [slice(int(end - size), int(end)) for end, size in zip(stops, sizes, strict=True)]
        for stops, sizes in zip(ends, chunks, strict=True)
    ]
    yield from product(*slices)
