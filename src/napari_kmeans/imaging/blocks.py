"""Open numpy and dask images, read them block by block, and find the pixels to leave out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.checks import LARGEST, Flag, is_whole_number, quote_value, to_array
from napari_kmeans.imaging.declared import as_declared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_kmeans.types import Block


BLOCK_PIXELS = 2**19
"""The maximum number of pixels of a block.

The work on a block takes much longer than starting its task, and a run can be
canceled after every block.
"""

_BLOCK_VALUES = 2**20
"""The maximum number of values of a block of four channels or more.

The work on a pixel grows with its channels, and threads need several blocks each.
"""


class Frame(NamedTuple):
    """The image that some pixels are a part of.

    Attributes
    ----------
    shape : tuple of int
        The spatial shape of the image.
    origin : tuple of int
        The index, in the image, of the first pixel of the part.
    """

    shape: tuple[int, ...]
    origin: tuple[int, ...]

    @classmethod
    def of_chunk(cls, chunks: tuple[tuple[int, ...], ...], numbers: tuple[int, ...]) -> Frame:
        """Return the frame of a chunk, from the lengths of all chunks along each axis."""
        starts = [sum(sizes[:number]) for sizes, number in zip(chunks, numbers, strict=True)]
        return cls(tuple(map(sum, chunks)), tuple(starts))

    def moved_back(self, offset: tuple[int, ...]) -> Frame:
        """Return the frame of an array whose pixels at an offset are this part."""
        return self._replace(
            origin=tuple(own - start for own, start in zip(self.origin, offset, strict=True))
        )


@dataclass(frozen=True, eq=False)
class Pixels:
    """An image with its channels last, read block by block.

    Attributes
    ----------
    array : (..., C) numpy or dask array
        The pixels. If the image has an alpha channel, alpha is the last channel.
    mask : (...) bool array or None
        False where a pixel is left out.
    rgb : bool
        Whether the first three channels are red, green and blue.
    channel_axis : int or None
        The axis of the channels in the image as it was passed; None for gray.
    channel_chunks : tuple of int
        The lengths of the chunks of a dask image along `channel_axis` as it was
        passed. Here all channels of a pixel are in one chunk.
    is_complete : bool
        Whether it is known that no pixel is left out, and that all values are finite. They are
        then not tested again.
    cut_from : Frame or None
        The image that these pixels were cut from, if they were; see `crop`.
    """

    array: Any
    mask: Any
    rgb: bool
    channel_axis: int | None
    channel_chunks: tuple[int, ...] = ()
    is_complete: bool = False
    cut_from: Frame | None = None

    @property
    def frame(self) -> Frame:
        """The whole image, and the place of these pixels in it."""
        return self.cut_from or Frame(self.shape, (0,) * len(self.shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape, which is also the shape of the labels."""
        return tuple(self.array.shape[:-1])

    @property
    def given_shape(self) -> tuple[int, ...]:
        """The shape of the image as it was passed, with its channels at `channel_axis`."""
        if self.channel_axis is None:
            return self.shape
        shape = list(self.shape)
        shape.insert(self.channel_axis % self.array.ndim, int(self.array.shape[-1]))
        return tuple(shape)

    @property
    def n_pixels(self) -> int:
        """The number of all pixels, including the pixels that are left out."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def n_channels(self) -> int:
        """The number of channels that are clustered, without alpha."""
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

    def channels_back(self, array: Any) -> Any:
        """Return an array (..., C) with the axis and the chunks of channels that the image had."""
        if self.channel_axis is None:
            return array[..., 0]
        if not is_dask(array):
            return np.moveaxis(array, -1, self.channel_axis)
        import dask.array as da

        moved = da.moveaxis(array, -1, self.channel_axis)
        return moved.rechunk({self.channel_axis: self.channel_chunks})

    def crop(self, block: Block) -> Pixels:
        """Return the pixels of a block as a separate image, which keep their places."""
        mask = None if self.mask is None else self.mask[block]
        shape, origin = self.frame
        starts = tuple(own + side.start for own, side in zip(origin, block, strict=True))
        return replace(self, array=self.array[block], mask=mask, cut_from=Frame(shape, starts))

    def blocks(self) -> list[Block]:
        """Return the slices of all blocks; the blocks of a dask image are its chunks."""
        if self.is_lazy:
            # Dask allows empty chunks: there is nothing to read in them.
            return [block for block in _iterate_blocks(self.array.chunks[:-1]) if block_size(block)]
        return split_shape(self.shape, self.n_channels)

    def read(self, block: Block) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Read the pixels of a block.

        Parameters
        ----------
        block : tuple of slice

        Returns
        -------
        values : (n, C) array
            The values of all pixels of the block, without alpha, in native byte order. They are
            C-contiguous, or the channels follow each other in memory. Copying an image whose
            channels come first to the other order takes longer than a search.
        kept : (n,) bool array or None
            False where a pixel is left out. None if no pixel is left out.

        Raises
        ------
        ValueError
            If a pixel that is not left out has a value beyond ±1e100.
        """
        mask = None if self.mask is None else np.asarray(self.mask[block])
        return extract_values(np.asarray(self.array[block]), mask, self.n_channels)

    def read_kept(self, block: Block) -> NDArray[Any]:
        """Return the values (n, C) of the pixels of a block that are not left out."""
        values, kept = self.read(block)
        return values if kept is None else values[kept]


def extract_values(
    chunk: NDArray[Any], mask: NDArray[np.bool_] | None, n_channels: int
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Extract the values of the pixels of a chunk or a block, and find those to leave out.

    Parameters
    ----------
    chunk : (..., C or more) array
        Another channel after the first `n_channels` is alpha: pixels of alpha 0
        are left out.
    mask : (...) bool array or None
        False where a pixel is left out.
    n_channels : int

    Returns
    -------
    values, kept
        See `Pixels.read`. Pixels with NaN or an infinity are left out.

    Raises
    ------
    ValueError
        If a pixel that is not left out has a value beyond ±1e100.
    """
    return extract_with_bounds(chunk, mask, n_channels)[:2]


def extract_with_bounds(
    chunk: NDArray[Any], mask: NDArray[np.bool_] | None, n_channels: int
) -> tuple[NDArray[Any], NDArray[np.bool_] | None, tuple[float, float] | None]:
    """Do the same as `extract_values`, and return also bounds of the values.

    Returns
    -------
    values, kept
    bounds : tuple of float or None
        No value is below the first number or above the second number. None if they are not
        known: for integers, and if some values are not finite.
    """
    flat = chunk.reshape(-1, chunk.shape[-1])
    values = np.asarray(flat[:, :n_channels], chunk.dtype.newbyteorder("="))
    if values.strides[0] != values.itemsize and not values.flags.c_contiguous:
        values = _copy_rows(values)
    conditions = []
    if mask is not None:
        conditions.append(mask.reshape(-1))
    if flat.shape[1] > n_channels:
        conditions.append(flat[:, -1] != 0)
    bounds = _find_bounds(values) if values.dtype.kind == "f" else None
    has_extremes = values.dtype.kind == "f" and bounds is None
    if has_extremes:
        # numpy tests short rows one by one: with four channels, this takes a fifth of the time of
        # `all(axis=1)`.
        conditions.append(np.isfinite(values).T.copy().all(axis=0))
    if not conditions:
        return values, None, bounds
    kept = np.logical_and.reduce(conditions)
    if has_extremes:
        _check_range(values[kept])
    return values, None if kept.all() else kept, bounds


def _copy_rows(values: NDArray[Any]) -> NDArray[Any]:
    """Return a C-contiguous copy of values (n, C)."""
    if values.shape[1] > 4:
        return np.ascontiguousarray(values)
    # numpy copies short rows one by one: three of four channels take five times as long.
    rows = np.empty(values.shape, values.dtype)
    for channel in range(values.shape[1]):
        rows[:, channel] = values[:, channel]
    return rows


def _find_bounds(values: NDArray[Any]) -> tuple[float, float] | None:
    """Return numbers that no float is below or above; None if one is not within ±`LARGEST`.

    All values are in this range in most images, so that this is found before the pixels to leave
    out. If no value is negative, the first number is 0.

    Parameters
    ----------
    values : (n, C) array
        C-contiguous, or the channels follow each other.
    """
    if not values.size:
        return 0.0, 0.0
    if values.dtype.itemsize > 8:
        low, high = values.min(), values.max()
        # NaN makes both comparisons false.
        return (float(low), float(high)) if low >= -LARGEST and high <= LARGEST else None
    # Imported here because loading numba takes half a second, and most modules that import this
    # one read no pixels.
    from napari_kmeans.imaging.kernels import find_largest

    # The bits of floats of one sign are in the order of their absolute values, NaN last, and
    # the sign is the first bit. The maximum of whole numbers takes a third of the time of
    # `numpy.isfinite`.
    size, largest = values.itemsize, min(LARGEST, float(np.finfo(values.dtype).max))
    limit, negative_limit = np.array([largest, -largest], values.dtype).view(f"u{size}").tolist()
    rows = [values.reshape(-1)] if values.flags.c_contiguous else values.T
    found = [find_largest(row.view(f"u{size}"), row.view(f"i{size}")) for row in rows]
    unsigned, signed = map(max, zip(*found, strict=True))
    low, high = np.array([unsigned, max(signed, 0)], f"u{size}").view(values.dtype).tolist()
    if unsigned <= limit:
        return 0.0, high
    return (low, high) if unsigned <= negative_limit and signed <= limit else None


def _check_range(values: NDArray[Any]) -> None:
    if _find_bounds(values) is None:
        raise ValueError(
            f"image must have values from {-LARGEST:g} to {LARGEST:g}, got "
            f"{values.flat[np.abs(values).argmax()]:g}: rescale the image, or leave these pixels "
            "out with a mask."
        )


def block_size(block: Block) -> int:
    """Return the number of pixels of a block."""
    return prod(axis_slice.stop - axis_slice.start for axis_slice in block)


def whole_block(shape: tuple[int, ...]) -> Block:
    """Return the block of all pixels of a spatial shape."""
    return tuple(slice(0, length) for length in shape)


def window_sides(n_axes: int, side: int) -> list[int]:
    """Return the lengths of a window: `side` along the last two axes, and one index of others."""
    return [*[1] * (n_axes - 2), side, side][-n_axes:]


def middle_window(shape: tuple[int, ...], side: int) -> Block:
    """Return the slices of a window in the middle, with the lengths of `window_sides`."""
    sizes = window_sides(len(shape), side)
    starts = [max(full - size, 0) // 2 for full, size in zip(shape, sizes, strict=True)]
    return tuple(
        slice(start, min(start + size, full))
        for start, size, full in zip(starts, sizes, shape, strict=True)
    )


def move_block(block: Block, offset: tuple[int, ...]) -> Block:
    """Return the block that lies at an offset from another block."""
    return tuple(
        slice(side.start + start, side.stop + start, side.step)
        for side, start in zip(block, offset, strict=True)
    )


def thin_block(block: Block, steps: tuple[int, ...]) -> Block:
    """Return the slices of the pixels in a block of an image that belong to a grid.

    Along each axis, the grid has the pixels whose index, divided by the step, has the
    remainder ``step // 2``. Without steps, the grid has all pixels.
    """
    if not steps:
        return block
    firsts = [
        side.start + (step // 2 - side.start) % step
        for side, step in zip(block, steps, strict=True)
    ]
    return tuple(
        slice(min(first, side.stop), side.stop, step)
        for first, side, step in zip(firsts, block, steps, strict=True)
    )


def split_shape(shape: tuple[int, ...], n_channels: int = 1) -> list[Block]:
    """Split a shape into blocks of at most `BLOCK_PIXELS` pixels, or fewer with many channels."""
    n_pixels = BLOCK_PIXELS if n_channels < 4 else min(BLOCK_PIXELS, _BLOCK_VALUES // n_channels)
    return list(_iterate_blocks(_block_lengths(shape, max(n_pixels, 1))))


def open_images(
    image: Any, *, rgb: bool | None = None, channel_axis: int | None = None, mask: Any = None
) -> tuple[Pixels, ...]:
    """Check one image, or several images that are clustered together, and find the channels.

    Parameters
    ----------
    image : array-like, or several arrays
        One image, or a list or tuple of images: see `are_several`.
    rgb, channel_axis
        As in `open_pixels`, for all images.
    mask : array-like or None
        For several images, a list with an entry for each image.

    Returns
    -------
    tuple of Pixels
        One for each image.

    Raises
    ------
    TypeError
        If an image is not made of real numbers.
    ValueError
        If a shape does not fit, or if the images differ in dtype or in channels.
        The message gives the number of the image.
    """
    if not are_several(image):
        return (open_pixels(image, rgb=rgb, channel_axis=channel_axis, mask=mask),)
    if mask is not None and not (isinstance(mask, (list, tuple)) and len(mask) == len(image)):
        raise ValueError(
            f"mask must be a list with an entry for each of {len(image)} images, "
            f"got {_describe_masks(mask)}: give None for an image without a mask."
        )
    images = []
    for number, (array, inside) in enumerate(zip(image, mask or [None] * len(image), strict=True)):
        try:
            pixels = open_pixels(array, rgb=rgb, channel_axis=channel_axis, mask=inside)
        except (TypeError, ValueError) as error:
            raise type(error)(f"image {number}: {error}") from error
        images.append(pixels)
        _check_kind(pixels, images[0], number)
    return tuple(images)


def are_several(image: Any) -> bool:
    """Return whether an argument is several images: a list of arrays of two or more dimensions.

    A tuple counts as a list. Nested lists of numbers and lists of 1-D arrays are a
    single image, as for ``numpy.asarray``. To cluster a list of slices as one volume,
    stack the slices first.
    """
    return (
        isinstance(image, (list, tuple))
        and len(image) > 0
        and all(hasattr(item, "dtype") and len(getattr(item, "shape", ())) > 1 for item in image)
    )


def open_pixels(
    image: Any, *, rgb: bool | None = None, channel_axis: int | None = None, mask: Any = None
) -> Pixels:
    """Check an image and its mask, and find the axis of its channels.

    Parameters
    ----------
    image : array-like
        Boolean, integer or floating point. The image is not changed.
    rgb : bool, optional
        Whether the last axis is red, green, blue and possibly alpha. None
        guesses as napari does: True if the last axis has 3 or 4 entries and the
        two axes before it have more than 30.
    channel_axis : int, optional
        The axis of the channels of a multichannel image that is not RGB.
    mask : array-like of the image's spatial shape, optional
        Zero or False where a pixel is left out. If the image is a masked array
        of `numpy.ma` or dask, pixels with a masked channel are left out too.

    Returns
    -------
    Pixels

    Raises
    ------
    TypeError
        If the image is not made of real numbers.
    ValueError
        If a shape does not fit.
    """
    array = as_array("image", image)
    _check_image(array)
    rgb = Flag((None,)).check("rgb", rgb)
    if rgb and channel_axis not in (None, -1, array.ndim - 1):
        raise ValueError(
            f"channel_axis must be None for an rgb image, got {channel_axis}: "
            "pass rgb=False, or leave channel_axis out."
        )
    if rgb is None:
        rgb = channel_axis is None and _looks_rgb(array.shape)
    if rgb and (array.ndim < 2 or array.shape[-1] not in (3, 4)):
        raise ValueError(
            f"rgb must be False for an image without 3 or 4 entries along its last axis, got "
            f"shape {tuple(array.shape)}: pass an image of red, green, blue and possibly alpha."
        )
    if is_dask(array):
        array = as_declared(array)
    axis = -1 if rgb else channel_axis
    channels_last = _move_channels_last(array, axis)
    # The model is saved as JSON, and the json module cannot write numpy integers.
    axis = None if axis is None else int(axis)
    chunks = array.chunks[axis] if axis is not None and is_dask(array) else ()
    inside = _check_mask(mask, channels_last)
    own_mask = _get_own_mask(image)
    if own_mask is not np.ma.nomask:
        valid = ~_move_channels_last(own_mask, axis).any(axis=-1)
        inside = valid if inside is None else inside & valid
    return Pixels(channels_last, inside, bool(rgb), axis, chunks)


def _get_own_mask(image: Any) -> Any:
    """Return the mask of a masked numpy or dask array, `numpy.ma.nomask` for other arrays."""
    if not is_dask(image):
        return np.ma.getmask(image)
    if not isinstance(image._meta, np.ma.MaskedArray):
        return np.ma.nomask
    import dask.array as da

    return da.ma.getmaskarray(image)


def as_lazy(array: Any) -> Any:
    """Convert a zarr array to a dask array with the same chunks; return other arrays unchanged."""
    if type(array).__module__.partition(".")[0] != "zarr":
        return array
    import dask.array as da

    return da.from_zarr(array)


def as_array(name: str, value: Any) -> Any:
    """Convert an array or nested lists to a numpy array, or to a dask array if it is lazy.

    Raises
    ------
    TypeError, ValueError
        As `to_array` does.
    """
    return to_array(name, value, _convert)


def _convert(value: Any) -> Any:
    array = as_lazy(value)
    return _join_chunks_of_single_axes(array) if is_dask(array) else np.asarray(array)


def _join_chunks_of_single_axes(array: Any) -> Any:
    """Remove the empty chunks along axes of length 1 of a dask array.

    Dask broadcasts an axis of length 1. In `map_blocks`, an empty chunk of the mask
    could then meet a chunk of the image that has pixels.
    """
    single = {axis: 1 for axis, sizes in enumerate(array.chunks) if sum(sizes) == 1 != len(sizes)}
    return array.rechunk(single) if single else array


def is_dask(array: Any) -> bool:
    """Return whether an array is a dask array, without importing dask."""
    return type(array).__module__.partition(".")[0] == "dask" and hasattr(array, "chunks")


def _check_image(array: Any) -> None:
    if np.dtype(array.dtype).kind not in "buif":
        raise TypeError(
            f"image must be boolean, integer or floating point, got dtype {array.dtype}: "
            "convert the image to one of these first."
        )
    _check_sizes("image", array)
    if array.ndim == 0 or 0 in array.shape:
        raise ValueError(
            f"image must have at least one pixel, got shape {tuple(array.shape)}: "
            "pass an image that is not empty."
        )


def _looks_rgb(shape: tuple[int, ...]) -> bool:
    # The rule of napari.layers.image._image_utils.guess_rgb. That function is not
    # imported because its import would import all of napari.
    return len(shape) > 2 and shape[-1] in (3, 4) and min(shape[-3:-1]) > 30


def _move_channels_last(array: Any, axis: int | None) -> Any:
    if axis is None:
        return array[..., None]
    if not is_whole_number(axis):
        raise TypeError(
            f"channel_axis must be a whole number or None, got {quote_value(axis)}: pass the "
            "number of one axis."
        )
    if array.ndim < 2 or not -array.ndim <= axis < array.ndim:
        raise ValueError(
            f"channel_axis must be one of several axes, got {axis} for an image of shape "
            f"{tuple(array.shape)}: choose an axis that the image has besides its spatial axes."
        )
    if not is_dask(array):
        return np.moveaxis(array, axis, -1)
    import dask.array as da

    # All channels of a pixel must be in one chunk.
    return da.moveaxis(array, axis, -1).rechunk({array.ndim - 1: -1})


def _check_sizes(name: str, array: Any) -> None:
    # An unknown size is NaN, which differs from itself.
    if is_dask(array) and any(size != size for size in array.shape):
        raise ValueError(
            f"{name} must have chunks of known sizes, got shape {array.shape}: "
            "call its compute_chunk_sizes() first."
        )


def _check_mask(mask: Any, image: Any) -> Any:
    """Return the mask as a boolean array with the chunks of the image (..., C)."""
    if mask is None:
        return None
    inside = as_array("mask", mask)
    if np.dtype(inside.dtype).kind not in "buif":
        raise TypeError(
            f"mask must be boolean or of numbers, got dtype {inside.dtype}: convert it, or pass "
            "a comparison such as mask > 0."
        )
    _check_sizes("mask", inside)
    shape = tuple(image.shape[:-1])
    if tuple(inside.shape) != shape:
        raise ValueError(
            f"mask must have the image's spatial shape {shape}, got "
            f"{tuple(inside.shape)}: draw or crop it on the same pixels."
        )
    if is_dask(inside):
        inside = as_declared(inside, "mask")
    if not is_dask(image):
        # The image fits in memory, so its mask does too.
        return np.asarray(inside) != 0
    import dask.array as da

    if not is_dask(inside):
        inside = da.from_array(inside, chunks=image.chunks[:-1], name=False)
    return inside.rechunk(image.chunks[:-1]) != 0


def _check_kind(pixels: Pixels, first: Pixels, number: int) -> None:
    """Check that an image has the dtype and the channels of the first of several images."""
    for name, value, expected in (
        ("the dtype", pixels.dtype.newbyteorder("="), first.dtype.newbyteorder("=")),
        ("the colors", _describe_channels(pixels), _describe_channels(first)),
    ):
        if value != expected:
            raise ValueError(
                f"image {number} must have {name} of image 0, {expected}, got {value}: "
                "convert the image, or pass rgb or channel_axis for all images."
            )


def _describe_channels(pixels: Pixels) -> str:
    if pixels.rgb:
        return "rgb"
    return "gray" if pixels.channel_axis is None else f"{pixels.n_channels} channels"


def _describe_masks(mask: Any) -> str:
    return f"{len(mask)} masks" if isinstance(mask, (list, tuple)) else f"one {type(mask).__name__}"


def _block_lengths(shape: tuple[int, ...], n_pixels: int) -> list[list[int]]:
    """Return for each axis the lengths of blocks of at most `n_pixels` pixels.

    The first axes are split, so that a block is contiguous in a C-ordered array.
    """
    lengths = []
    pixels_per_index = int(np.prod(shape, dtype=np.int64))
    for length in shape:
        pixels_per_index //= length
        size = max(1, min(length, n_pixels // pixels_per_index))
        full, rest = divmod(length, size)
        lengths.append([size] * full + [rest] * (rest > 0))
    return lengths


def _iterate_blocks(lengths: Any) -> Iterator[Block]:
    """Yield the block of each combination of lengths along the axes, the last axis fastest."""
    ends = [np.cumsum(sizes) for sizes in lengths]
    slices = [
        [slice(int(end - size), int(end)) for end, size in zip(stops, sizes, strict=True)]
        for stops, sizes in zip(ends, lengths, strict=True)
    ]
    yield from product(*slices)
