"""Convert masks to the pixels of an image: arrays and labels by index, shapes by outline."""

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
"""Vertices of the polygon for an ellipse: it differs by 0.3 pixels at a radius of 1000."""


def mask_levels(mask: Any, layer: Image, source: Source) -> list[Any] | None:
    """Return a mask for each level of an image, or None without a mask.

    Each mask has the shape of the part of its level that is clustered: the whole
    level, or one slice of it.

    Parameters
    ----------
    mask : None, array, napari.layers.Labels or napari.layers.Shapes
        Arrays and labels have one value for each pixel of the finest level; the
        transform of a Labels layer is ignored. A pixel of a coarser level takes
        the value at its center. If a Labels layer has as many levels as the
        image, its level i is the mask of level i. Shapes are drawn where they lie over
        the image in the world.
    layer : napari.layers.Image
        The image layer.
    source : Source
        The snapshot of the layer, with the choice of level and slice.

    Returns
    -------
    list of arrays or None
        An array for an image of one level is returned as it is, unless one slice
        is clustered. All other masks are boolean. They are lazy if the mask is
        lazy; masks of shapes are lazy if the level is.

    Raises
    ------
    ValueError
        If an array or a Labels layer does not have the shape of the image.
    """
    if mask is None:
        return None
    if isinstance(mask, Shapes):
        shapes = [_in_pixels(outline, mask, layer) for outline in _outlines(mask)]
        return [_draw_level(shapes, mask.ndim, source, level) for level in range(source.n_levels)]
    if isinstance(mask, Labels):
        levels = [as_lazy(level) for level in layer_levels(mask)]
        if len(levels) == source.n_levels > 1:
            return [_take_slice(inside, source, n) != 0 for n, inside in enumerate(levels)]
        return _resize_to_levels(levels[0], source)
    if source.n_levels == 1 and source.index_of(0) is None:
        return [mask]
    return _resize_to_levels(mask if is_dask(mask) else np.asarray(mask), source)


def _take_slice(array: Any, source: Source, level: int) -> Any:
    """Check that a mask has the shape of a level, and return the slice that is clustered."""
    shape = source.shape_of(level)
    if tuple(array.shape) != shape:
        raise ValueError(
            f"mask must have the image's spatial shape {shape}, got {tuple(array.shape)}: "
            "draw or crop it on the same pixels."
        )
    index = source.index_of(level)
    return array if index is None else array[index]


def _resize_to_levels(inside: Any, source: Source) -> list[Any]:
    """Return a mask of the finest level in the pixels of every level."""
    # Take the slice before resizing. Resizing first would take the mask at the center
    # of a slice of a coarser level, which may lie in a neighbor of the slice in view.
    finest = _take_slice(inside, source, 0)
    levels = []
    for level in range(source.n_levels):
        index, shape = source.index_of(level), source.shape_of(level)
        if index is not None:
            axes = zip(shape, index, strict=True)
            shape = tuple(size for size, item in axes if isinstance(item, slice))
        levels.append(_resize(finest, shape) != 0)
    return levels


def _resize(array: Any, shape: tuple[int, ...]) -> Any:
    """Return an array of another shape, with the value at the center of each new pixel."""
    for axis, (full, size) in enumerate(zip(array.shape, shape, strict=True)):
        if full != size:
            centers = (np.arange(size) * 2 + 1) * full // (2 * size)
            array = array[(slice(None),) * axis + (centers,)]
    return array


def _draw_level(shapes: list[np.ndarray], ndim: int, source: Source, level: int) -> Any:
    """Return the mask of a level, or of its slice: pixels whose center is inside a shape.

    Parameters
    ----------
    shapes : list of (n, D) arrays
        Vertices in the pixels of the finest level.
    ndim : int
        The number of dimensions of the Shapes layer.
    source : Source
    level : int
    """
    array, shape = source.levels[level], source.shape_of(level)
    scaled = [_scale_to_level(vertices, source.shape, shape) for vertices in shapes]

    def draw(block: Block) -> np.ndarray:
        return _draw_block(scaled, ndim, block)

    if is_dask(array):
        inside = _draw_lazily(draw, array.chunks[: len(shape)])
    else:
        inside = draw(tuple(slice(0, size) for size in shape))
    index = source.index_of(level)
    return inside if index is None else inside[index]


def _scale_to_level(
    vertices: np.ndarray, finest: Sequence[int], shape: Sequence[int]
) -> np.ndarray:
    """Return vertices in the pixels of another level."""
    factors = np.divide(finest, shape)[-vertices.shape[1] :]
    # Across slices, as napari scales the index of the slice in view.
    scaled = vertices / factors
    # Within a slice, coordinates are integers at pixel centers. The edge of the image
    # is at -0.5 in every level.
    scaled[:, -2:] = (vertices[:, -2:] + 0.5) / factors[-2:] - 0.5
    return np.asarray(scaled)


def _draw_lazily(draw: Callable[[Block], np.ndarray], chunks: Any) -> Any:
    """Return a lazy mask whose chunks are drawn when they are read."""
    import dask.array as da

    def draw_chunk(block_info: Any = None) -> np.ndarray:
        return draw(tuple(slice(*ends) for ends in block_info[None]["array-location"]))

    meta = np.empty((0,) * len(chunks), bool)
    return da.map_blocks(draw_chunk, chunks=chunks, dtype=bool, meta=meta)


def _draw_block(shapes: list[np.ndarray], ndim: int, block: Block) -> np.ndarray:
    """Return the mask of a block: pixels whose center is inside a shape."""
    from skimage.draw import polygon2mask

    inside = np.zeros([axis.stop - axis.start for axis in block], dtype=bool)
    corner = [axis.start for axis in block[-2:]]
    for vertices in shapes:
        index = _slices_in_block(vertices, ndim, block)
        if index is not None:
            inside[index] |= polygon2mask(inside.shape[-2:], vertices[:, -2:] - corner)
    return inside


def _outlines(shapes: Shapes) -> Iterator[np.ndarray]:
    """Yield the vertices of all shapes that enclose an area."""
    for vertices, kind in zip(shapes.data, shapes.shape_type, strict=True):
        if kind == "ellipse":
            yield _ellipse_outline(np.asarray(vertices))
        elif kind in ("rectangle", "polygon"):
            yield np.asarray(vertices)


def _ellipse_outline(corners: np.ndarray) -> np.ndarray:
    """Return the vertices of the ellipse that a parallelogram of four corners encloses."""
    angles = np.linspace(0, 2 * np.pi, ELLIPSE_VERTICES, endpoint=False)[:, None]
    across, along = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    return np.asarray(corners.mean(axis=0) + np.cos(angles) * across + np.sin(angles) * along)


def _in_pixels(vertices: np.ndarray, shapes: Shapes, layer: Image) -> np.ndarray:
    """Return vertices (n, D) of shapes in the pixels of the finest level of an image."""
    return np.array([position_in_pixels(vertex, shapes, layer) for vertex in vertices])


def _slices_in_block(vertices: np.ndarray, ndim: int, block: Block) -> tuple[Any, ...] | None:
    """Return the index of the slices of a block in which a shape lies; None if in no slice.

    A shape lies in all slices along the axes that its layer does not have.
    """
    index = [slice(None)] * (len(block) - 2)
    for axis in range(max(len(block) - ndim, 0), len(block) - 2):
        position = round(float(vertices[:, axis].mean())) - block[axis].start
        if not 0 <= position < block[axis].stop - block[axis].start:
            return None
        index[axis] = slice(position, position + 1)
    return tuple(index)
