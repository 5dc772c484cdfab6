"""Read the values of pixels that are compared, where they depend on the pixels around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.feature_space.neighborhood import blur_marked, blur_radii, mark_left_out
from napari_kmeans.imaging.blocks import extract_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.feature_space.space import FeatureSpace
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.types import Block, Floats


def read_compared(pixels: Pixels, block: Block, space: FeatureSpace) -> Floats:
    """Return the blurred values (n, C) of a block of a numpy image; NaN where left out."""
    sigmas = space.sigmas(len(pixels.shape))
    window, inner = [], []
    for side, radius, length in zip(block, blur_radii(sigmas), pixels.shape, strict=True):
        start, stop = max(side.start - radius, 0), min(side.stop + radius, length)
        window.append(slice(start, stop))
        inner.append(slice(side.start - start, side.stop - start))
    values, kept = pixels.read(tuple(window))
    shape = tuple(side.stop - side.start for side in window)
    marked = mark_left_out(values, kept).reshape(*shape, pixels.n_channels)
    return blur_marked(marked, sigmas)[tuple(inner)].reshape(-1, pixels.n_channels)


def compare_lazily(pixels: Pixels, space: FeatureSpace) -> Any:
    """Return the blurred values (..., C) of a dask image, lazily; NaN where left out.

    The chunks are those of the image.
    """
    import dask.array as da

    sigmas = space.sigmas(len(pixels.shape))
    n_channels, array = pixels.n_channels, pixels.array
    masks = [] if pixels.mask is None else [pixels.mask[..., None]]
    marked = da.map_blocks(
        _mark_chunk,
        n_channels,
        array,
        *masks,
        dtype=np.float64,
        chunks=(*array.chunks[:-1], (n_channels,)),
        meta=np.empty((0,) * array.ndim),
    )
    chunks, depth = marked.chunks, {}
    for axis, (radius, length) in enumerate(zip(blur_radii(sigmas), pixels.shape, strict=True)):
        # A halo may not be longer than the axis: read the whole axis then.
        is_whole = 2 * radius >= length
        depth[axis] = 0 if is_whole else radius
        if is_whole and radius:
            marked = marked.rechunk({axis: -1})
    depth[len(sigmas)] = 0
    blurred = da.map_overlap(
        blur_marked,
        marked,
        sigmas=sigmas,
        depth=depth,
        boundary="none",
        dtype=np.float64,
        meta=np.empty((0,) * array.ndim),
    )
    return blurred.rechunk(chunks)


def _mark_chunk(n_channels: int, chunk: NDArray[Any], *masks: NDArray[np.bool_]) -> Floats:
    pixels = np.asarray(chunk)
    values, kept = extract_values(pixels, np.asarray(masks[0]) if masks else None, n_channels)
    return mark_left_out(values, kept).reshape(*pixels.shape[:-1], n_channels)
