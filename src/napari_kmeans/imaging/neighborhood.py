"""Read the values of pixels that are compared, where they depend on more than their own color."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.feature_space.neighborhood import (
    blur_window,
    compare_window,
    compared_dtype,
    find_reach,
    write_places,
)
from napari_kmeans.imaging.blocks import Frame, extract_values, move_block
from napari_kmeans.imaging.declared import as_key
from napari_kmeans.imaging.halos import halo_depths, inner_block, join_short_chunks, with_halo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.feature_space.space import FeatureSpace
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.types import Block, Floats


def read_compared(
    array: NDArray[Any],
    mask: NDArray[np.bool_] | None,
    n_channels: int,
    block: Block,
    pixels: Block,
    space: FeatureSpace,
    frame: Frame,
) -> NDArray[Any]:
    """Return the compared values of a block of an image, or of a chunk with a halo.

    Parameters
    ----------
    array : (..., C or more) array
    mask : (...) bool array or None
        As in `extract_values`.
    n_channels : int
    block : tuple of slice
        Its distance from an end of the array is at least the reach of the space,
        or this end is a border of the image.
    pixels : tuple of slice
        The pixels of the block whose values are returned.
    space : FeatureSpace
    frame : Frame
        The place in the image of the first pixel of `array`. A halo may begin before it.

    Returns
    -------
    (n, F) array
        The blurred values (n, C), after them the local contrasts (n, C) if the space has a
        texture, and the places of the pixels (n, P) if it has a position.
    """
    values = _read_blurred(array, mask, n_channels, block, pixels, space)
    if not space.position:
        return values
    n_values = values.shape[1]
    joined = np.empty((len(values), n_values + space.n_places), values.dtype)
    # numpy copies short rows one by one.
    for column in range(n_values):
        joined[:, column] = values[:, column]
    own = move_block(pixels, frame.origin)
    write_places(joined[:, n_values:], frame.shape, space.spacing, own)
    return joined


def _read_blurred(
    array: NDArray[Any],
    mask: NDArray[np.bool_] | None,
    n_channels: int,
    block: Block,
    pixels: Block,
    space: FeatureSpace,
) -> NDArray[Any]:
    """Return what `read_compared` does without the places of the pixels."""
    sigmas = space.sigmas(len(block))
    if not any(sigmas):
        inside = None if mask is None else mask[pixels]
        values, kept = extract_values(array[pixels], inside, n_channels)
        if kept is not None:
            values = np.where(kept[:, None], values, values.dtype.type(0))
        return values.astype(compared_dtype(values.dtype), copy=False)
    window, margins = [], []
    for side, radius, length in zip(
        block, _find_radii(space, len(block)), array.shape, strict=False
    ):
        start, stop = max(side.start - radius, 0), min(side.stop + radius, length)
        window.append(slice(start, stop))
        margins.append((side.start - start, stop - side.stop))
    neighbors = array[tuple(window)]
    inside = None if mask is None else mask[tuple(window)]
    values, kept = extract_values(neighbors, inside, n_channels)
    shape = neighbors.shape[:-1]
    compare = compare_window if space.texture else blur_window
    return compare(
        np.ascontiguousarray(values).reshape(*shape, n_channels),
        None if kept is None else kept.reshape(shape),
        sigmas,
        tuple(margins),
        tuple(
            range(own.start - side.start, own.stop - side.start, own.step or 1)
            for own, side in zip(pixels, block, strict=True)
        ),
    )


def _find_radii(space: FeatureSpace, n_axes: int) -> tuple[int, ...]:
    """Return for each axis the distance up to which pixels contribute to a point."""
    return find_reach(space.sigmas(n_axes), space.texture > 0)


def join_chunks(pixels: Pixels, space: FeatureSpace) -> Pixels:
    """Return a dask image whose chunks are not shorter than the reach of the space."""
    joined = join_short_chunks(pixels.array.chunks[:-1], _find_radii(space, len(pixels.shape)))
    chunks = dict(enumerate(joined))
    mask = None if pixels.mask is None else pixels.mask.rechunk(chunks)
    return replace(pixels, array=pixels.array.rechunk(chunks), mask=mask)


def add_halo(pixels: Pixels, space: FeatureSpace) -> tuple[Any, Any, tuple[int, ...]]:
    """Return the dask array and the mask of an image, each chunk with pixels around it.

    Parameters
    ----------
    pixels : Pixels
        No chunk may be shorter than the reach of the space; see `join_chunks`.
    space : FeatureSpace

    Returns
    -------
    array : (..., C) dask array
    mask : (...) dask array or None
    depths : tuple of int
        The number of pixels around each chunk along each axis, except at the borders of
        the image.
    """
    radii = _find_radii(space, len(pixels.shape))
    depths = halo_depths(pixels.array.chunks[:-1], radii)
    mask = None if pixels.mask is None else with_halo(pixels.mask, depths)
    return with_halo(pixels.array, depths), mask, depths


def compare_like_blocks(pixels: Pixels, space: FeatureSpace) -> Any:
    """Return the values of `compare_lazily` in the dtype that images in memory give.

    Points that are made of them are then the same to the last digit.
    """
    return compare_lazily(pixels, space).astype(compared_dtype(pixels.dtype))


def compare_lazily(pixels: Pixels, space: FeatureSpace) -> Any:
    """Return the compared values (..., F) of a dask image, lazily, as float64.

    Chunks that are shorter than the radius of the blur are joined. The value of a pixel
    that is left out is without meaning.
    """
    import dask.array as da

    pixels = join_chunks(pixels, space)
    chunks = pixels.array.chunks[:-1]
    array, mask, depths = add_halo(pixels, space)
    return da.map_blocks(
        _compare_chunk,
        pixels.n_channels,
        as_key(chunks),
        depths,
        space,
        array,
        *([] if mask is None else [mask[..., None]]),
        dtype=np.float64,
        chunks=(*chunks, (pixels.n_channels * (2 if space.texture else 1) + space.n_places,)),
        meta=np.empty((0,) * array.ndim),
    )


def _compare_chunk(
    n_channels: int,
    chunks: tuple[tuple[int, ...], ...],
    depths: tuple[int, ...],
    space: FeatureSpace,
    chunk: NDArray[Any],
    *masks: NDArray[np.bool_],
    block_id: tuple[int, ...] = (),
) -> Floats:
    block = inner_block(chunks, depths, block_id[: len(chunks)])
    mask = np.asarray(masks[0])[..., 0] if masks else None
    frame = Frame.of_chunk(chunks, block_id[: len(chunks)])
    frame = frame.moved_back(tuple(side.start for side in block))
    values = read_compared(np.asarray(chunk), mask, n_channels, block, block, space, frame)
    shape = [side.stop - side.start for side in block]
    return values.astype(np.float64).reshape(*shape, values.shape[-1])
