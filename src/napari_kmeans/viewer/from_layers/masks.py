"""Masks in the pixels of an image: from labels pixel by pixel, from shapes by their outlines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Shapes

from napari_kmeans.imaging.blocks import as_lazy, is_dask
from napari_kmeans.viewer.from_layers.geometry import position_in_pixels
from napari_kmeans.viewer.from_layers.source import Source, layer_levels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_kmeans.types import Block

ELLIPSE_VERTICES = 128


def mask_levels(mask: Any, layer: Image, source: Source) -> list[Any] | None:
    """Return a mask for what is clustered of each level of an image, None where there is none.

    Parameters
    ----------
    mask : None, array, napari.layers.Labels or napari.layers.Shapes
        Arrays and labels are in the pixels of the finest level, whatever their
        transform; of these, each pixel of another level takes the one in its
        middle. Labels of as many levels are taken level by level. Shapes are
        drawn where they lie over the image in the world.
    layer : napari.layers.Image
    source : Source
        Its snapshot, with the choice of what is fitted.

    Returns
    -------
    list of arrays or None
        Arrays of a single level as they are; else boolean, of its own, and lazy
        where the mask is, or where shapes lie over a lazy level.

    Raises
    ------
    ValueError
        If the mask has not the shape of the image.
    """
    if mask is None:
        return None
    if isinstance(mask, Shapes):
        shapes = [_in_pixels(outline, mask, layer) for outline in _outlines(mask)]
        return [_drawn(shapes, mask.ndim, source, level) for level in range(source.n_levels)]
    if isinstance(mask, Labels):
        levels = [as_lazy(level) for level in layer_levels(mask)]
        if len(levels) == source.n_levels > 1:
            return [_part(inside, source, n) != 0 for n, inside in enumerate(levels)]
        return _sampled(levels[0], source)
    if source.n_levels == 1 and source.index_of(0) is None:
        return [mask]
    return _sampled(mask if is_dask(mask) else np.asarray(mask), source)


def _part(array: Any, source: Source, level: int) -> Any:
    """Return what is clustered of a mask of the shape of a level."""
    shape = source.shape_of(level)
    if tuple(array.shape) != shape:
        raise ValueError(
            f"mask must have the image's spatial shape {shape}, got {tuple(array.shape)}: "
            "draw or crop it on the same pixels."
        )
    index = source.index_of(level)
    return array if index is None else array[index]


def _sampled(inside: Any, source: Source) -> list[Any]:
    """Return a mask of the finest level, brought to each."""
    # First the slice, then its pixels: the one in view counts, not its neighbor.
    finest = _part(inside, source, 0)
    levels = []
    for level in range(source.n_levels):
        index, shape = source.index_of(level), source.shape_of(level)
        if index is not None:
            shape = tuple(n for n, at in zip(shape, index, strict=True) if isinstance(at, slice))
        levels.append(_resized(finest, shape) != 0)
    return levels


def _resized(array: Any, shape: tuple[int, ...]) -> Any:
    """Return the nearest pixel of an array for each pixel of another shape."""
    for axis, (full, size) in enumerate(zip(array.shape, shape, strict=True)):
        if full != size:
            middles = (np.arange(size) * 2 + 1) * full // (2 * size)
            array = array[(slice(None),) * axis + (middles,)]
    return array


def _drawn(shapes: list[np.ndarray], ndim: int, source: Source, level: int) -> Any:
    """Return which pixels of what is clustered of a level have their center inside a shape."""
    array, shape = source.levels[level], source.shape_of(level)
    scaled = [_at_level(vertices, source.shape, shape) for vertices in shapes]

    def draw(block: Block) -> np.ndarray:
        return _draw(scaled, ndim, block)

    if is_dask(array):
        inside = _draw_lazily(draw, array.chunks[: len(shape)])
    else:
        inside = draw(tuple(slice(0, size) for size in shape))
    index = source.index_of(level)
    return inside if index is None else inside[index]


def _at_level(vertices: np.ndarray, finest: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Return vertices in the pixels of another level, their slices as napari shows them."""
    factors = np.divide(finest, shape)[-vertices.shape[1] :]
    scaled = vertices / factors
    # A pixel is an area, and its middle moves when it grows.
    scaled[:, -2:] = (vertices[:, -2:] + 0.5) / factors[-2:] - 0.5
    return np.asarray(scaled)


def _draw_lazily(draw: Callable[[Block], np.ndarray], chunks: Any) -> Any:
    import dask.array as da

    def draw_chunk(block_info: Any = None) -> np.ndarray:
        return draw(tuple(slice(*ends) for ends in block_info[None]["array-location"]))

    meta = np.empty((0,) * len(chunks), bool)
    return da.map_blocks(draw_chunk, chunks=chunks, dtype=bool, meta=meta)


def _draw(shapes: list[np.ndarray], ndim: int, block: Block) -> np.ndarray:
    """Return which pixels of a block are inside a shape; 2-D shapes hold in every slice."""
    from skimage.draw import polygon2mask

    inside = np.zeros([part.stop - part.start for part in block], dtype=bool)
    corner = [part.start for part in block[-2:]]
    for vertices in shapes:
        index = _slice_of(vertices, ndim, block)
        if index is not None:
            inside[index] |= polygon2mask(inside.shape[-2:], vertices[:, -2:] - corner)
    return inside


def _outlines(shapes: Shapes) -> Iterator[np.ndarray]:
    """Yield the vertices of all shapes that have an inside."""
    for vertices, kind in zip(shapes.data, shapes.shape_type, strict=True):
        if kind == "ellipse":
            yield _ellipse(np.asarray(vertices))
        elif kind in ("rectangle", "polygon"):
            yield np.asarray(vertices)


def _ellipse(corners: np.ndarray) -> np.ndarray:
    """Return the outline of the ellipse in a parallelogram of four corners."""
    angles = np.linspace(0, 2 * np.pi, ELLIPSE_VERTICES, endpoint=False)[:, None]
    across, along = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    return np.asarray(corners.mean(axis=0) + np.cos(angles) * across + np.sin(angles) * along)


def _in_pixels(vertices: np.ndarray, shapes: Shapes, layer: Image) -> np.ndarray:
    """Carry vertices of shapes through the world into the pixel grid of an image."""
    return np.array([position_in_pixels(vertex, shapes, layer) for vertex in vertices])


def _slice_of(vertices: np.ndarray, ndim: int, block: Block) -> tuple[Any, ...] | None:
    """Return the slices a shape is drawn in, all along axes it lacks; None if outside."""
    index = [slice(None)] * (len(block) - 2)
    for axis in range(max(len(block) - ndim, 0), len(block) - 2):
        place = round(float(vertices[:, axis].mean())) - block[axis].start
        if not 0 <= place < block[axis].stop - block[axis].start:
            return None
        index[axis] = slice(place, place + 1)
    return tuple(index)
