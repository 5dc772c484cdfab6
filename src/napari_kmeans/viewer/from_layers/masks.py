"""Convert masks to the pixels of an image: arrays by index, labels and shapes by the world."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Shapes

from napari_kmeans.checks import WholeNumber, quote_value
from napari_kmeans.imaging.blocks import as_lazy, is_dask
from napari_kmeans.viewer.from_layers.geometry import AffineMap
from napari_kmeans.viewer.from_layers.source import Inside, Source, layer_levels
from napari_kmeans.viewer.provenance import has_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari.layers import Layer

    from napari_kmeans.types import Block

_LARGEST_LABEL = 2**62
"""The largest label that is looked up in a Labels layer."""

ELLIPSE_VERTICES = 128
"""Vertices of the polygon for an ellipse: it differs by 0.3 pixels at a radius of 1000."""


def mask_levels(
    mask: Any, layer: Image, source: Source, classes: Sequence[int] | None = None
) -> list[Any] | None:
    """Return a mask for each level of an image, or None without a mask.

    Each mask has the shape of the part of its level that is clustered: the whole
    level, or one slice of it.

    Parameters
    ----------
    mask : None, array, napari.layers.Labels or napari.layers.Shapes
        Arrays have one value for each pixel of the finest level. A pixel of a coarser
        level takes the value at its center. Labels and shapes count where they lie
        over the image in the world; a pixel takes the label under its center, and 0
        beside the Labels layer. Labels without some of the first axes of the image lie
        in all slices along these axes, as napari shows them. If a Labels layer has the
        pixels of the image at every level, its level i is the mask of level i.
    layer : napari.layers.Image
        The image layer.
    source : Source
        The snapshot of the layer, with the choice of level and slice.
    classes : sequence of int, optional
        The labels of a Labels layer that count. None counts all labels but 0.

    Returns
    -------
    list of arrays or None
        An array for an image of one level is returned as it is, unless one slice
        is clustered. All other masks are boolean. They are lazy if the mask is
        lazy; masks of shapes, and of labels on other pixels, are lazy if the level is.

    Raises
    ------
    ValueError
        If an array does not have the shape of the image, or if a Labels layer has
        more axes than the image.
    """
    if mask is None:
        return None
    if isinstance(mask, Shapes):
        shapes = list(shape_vertices(mask, layer).values())
        return [_draw_level(shapes, mask.ndim, source, level) for level in range(source.n_levels)]
    if isinstance(mask, Labels):
        return _label_levels(mask, layer, source, classes)
    if source.n_levels == 1 and source.index_of(0) is None:
        return [mask]
    return _resize_to_levels(mask if is_dask(mask) else np.asarray(mask), source)


def shape_vertices(shapes: Shapes, layer: Layer) -> dict[int, np.ndarray]:
    """Return the vertices (n, D) of each shape that encloses an area, by its index.

    Parameters
    ----------
    shapes : napari.layers.Shapes
    layer : napari.layers.Layer
        The vertices are in the pixels of this layer.
    """
    return {index: _in_pixels(outline, shapes, layer) for index, outline in _outlines(shapes)}


def draw_shape(vertices: np.ndarray, ndim: int, block: Block) -> np.ndarray | None:
    """Return the mask of a block: pixels whose center is inside a shape; None if there are none.

    Parameters
    ----------
    vertices : (n, D) array
    ndim : int
        The number of dimensions of the Shapes layer.
    block : tuple of slice
    """
    # Draw only the part of the block that the shape covers: a block has much more pixels.
    plane = []
    for side, along in zip(block[-2:], vertices[:, -2:].T, strict=True):
        first = max(side.start, int(np.floor(along.min())))
        last = min(side.stop, int(np.ceil(along.max())) + 1)
        if last <= first:
            return None
        plane.append(slice(first, last))
    window = (*block[:-2], *plane)
    if _slices_in_block(vertices, ndim, window) is None:
        return None
    inside = np.zeros([side.stop - side.start for side in block], np.bool_)
    own = tuple(
        slice(part.start - side.start, part.stop - side.start)
        for part, side in zip(window, block, strict=True)
    )
    inside[own] = _draw_block([vertices], ndim, window)
    return inside


def find_inside(mask: Any, classes: Any) -> Inside | None:
    """Return the layer in whose classes a run clusters; None for a mask without classes.

    A Labels layer has classes if some are chosen, or if it is the result of a run.

    Parameters
    ----------
    mask, classes
        As in `mask_levels`.

    Raises
    ------
    TypeError, ValueError
        If classes are chosen of a mask that is no Labels layer, or if they are not one or
        more labels.
    """
    if classes is None:
        if isinstance(mask, Labels) and has_record(mask):
            return Inside(mask.name, str(mask.unique_id))
        return None
    if not isinstance(mask, Labels):
        raise TypeError(
            f"mask must be a Labels layer if mask_classes is given, got {quote_value(mask)}: "
            "compare an array with the labels instead, such as mask=array == 3."
        )
    if not isinstance(classes, Iterable) or isinstance(classes, str):
        classes = (classes,)
    labels = tuple(WholeNumber(0, _LARGEST_LABEL).check("mask_classes", each) for each in classes)
    if not labels:
        raise ValueError(
            f"mask_classes must have one or more labels, got none of {mask.name!r}: choose the "
            "classes to cluster in."
        )
    return Inside(mask.name, str(mask.unique_id), labels, max(_largest_label(mask), *labels))


def _largest_label(labels: Labels) -> int:
    """Return the largest label in the table of a layer and, if they are in memory, its pixels."""
    table, finest = labels.features, layer_levels(labels)[0]
    in_table = table["index"].max() if "index" in table and len(table) else 0
    in_pixels = finest.max() if isinstance(finest, np.ndarray) and finest.size else 0
    return max(int(in_table), int(in_pixels))


def _label_levels(
    labels: Labels, layer: Image, source: Source, classes: Sequence[int] | None
) -> list[Any]:
    """Return the mask of each level where a Labels layer has one of its classes."""
    levels = [as_lazy(level) for level in layer_levels(labels)]
    to_labels = _map_to_labels(layer, labels)
    if tuple(levels[0].shape) == source.shape and to_labels.is_identity:
        shapes = [source.shape_of(level) for level in range(source.n_levels)]
        if [tuple(level.shape) for level in levels] == shapes:
            slices = [_take_slice(inside, source, n) for n, inside in enumerate(levels)]
            return [_find_inside(each, classes) for each in slices]
        return _resize_to_levels(levels[0], source, classes)
    return [
        _resample_labels(levels[0], classes, to_labels, source, level)
        for level in range(source.n_levels)
    ]


def _find_inside(array: Any, classes: Sequence[int] | None) -> Any:
    """Return a mask of the pixels that have one of the classes; all labels but 0 for None."""
    if classes is None:
        return array != 0
    if is_dask(array):
        return array.map_blocks(np.isin, list(classes), dtype=bool)
    return np.isin(array, list(classes))


def _map_to_labels(layer: Image, labels: Labels) -> AffineMap:
    if labels.ndim > layer.ndim:
        raise ValueError(
            f"mask must have at most the {layer.ndim} axes of the image, got the {labels.ndim} "
            f"axes of {labels.name!r}: take one slice of it."
        )
    return AffineMap.to_pixels(layer, labels)


def _resample_labels(
    array: Any, classes: Sequence[int] | None, to_labels: AffineMap, source: Source, level: int
) -> Any:
    """Return the mask of a level, or of its slice, from labels on other pixels.

    Parameters
    ----------
    array : array
        The finest level of the Labels layer.
    classes : sequence of int or None
    to_labels : AffineMap
        From the pixels of the finest level of the image to those of the labels.
    source : Source
    level : int
    """
    shape, pixels = source.shape_of(level), source.levels[level]
    # A pixel of a coarser level lies at the center of the pixels of the finest level.
    factors = np.divide(source.shape, shape)
    to_finest = AffineMap(np.diag(factors), (factors - 1) / 2)
    stack = source.stack if isinstance(source.stack, tuple) else (None,) * len(shape)
    for axis, item in enumerate(stack):
        if item is not None:
            to_finest = to_finest.with_constant(axis, item)
    axes = [axis for axis, item in enumerate(stack) if item is None]
    to_array = to_labels.after(to_finest).of_axes(axes)

    def sample(block: Block) -> np.ndarray:
        return sample_labels(array, to_array, block, partial(_find_inside, classes=classes))

    if is_dask(pixels):
        return _draw_lazily(sample, [pixels.chunks[axis] for axis in axes])
    return sample(tuple(slice(0, shape[axis]) for axis in axes))


def sample_labels(
    array: Any,
    to_array: AffineMap,
    block: Block,
    convert: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> np.ndarray:
    """Return the label under the center of each pixel of a block; 0 beside the labels.

    Parameters
    ----------
    array : array
        The labels.
    to_array : AffineMap
        From the pixels of the image to those of the labels.
    block : tuple of slice
        The block of the image.
    convert : callable
        Converts the part of the labels that lies under the block, for example to a mask.
    """
    from scipy.ndimage import affine_transform

    starts = np.array([side.start for side in block], float)
    sizes = [side.stop - side.start for side in block]
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in sizes])).reshape(len(block), -1).T
    positions = to_array.apply(corners + starts)
    # Read only the part of the labels that lies under the block.
    first = np.clip(np.floor(positions.min(axis=0)), 0, array.shape).astype(int)
    last = np.clip(np.ceil(positions.max(axis=0)) + 1, first, array.shape).astype(int)
    window = tuple(slice(low, high) for low, high in zip(first, last, strict=True))
    if not np.all(last > first):
        return np.zeros(sizes, convert(np.zeros(1, array.dtype)).dtype)
    part = convert(np.asarray(array[window]))
    origin = to_array.apply(starts[None])[0] - first
    # `affine_transform` needs as many axes in its input as in its output.
    n_axes = max(part.ndim, len(sizes))
    matrix, offset = np.zeros((n_axes, n_axes)), np.zeros(n_axes)
    matrix[n_axes - part.ndim :, n_axes - len(sizes) :] = to_array.axes
    offset[n_axes - part.ndim :] = origin
    sampled = affine_transform(
        _as_integers(part).reshape((1,) * (n_axes - part.ndim) + part.shape),
        matrix,
        offset,
        output_shape=(1,) * (n_axes - len(sizes)) + tuple(sizes),
        order=0,
        # "constant" leaves out pixels whose center lies between the center of the last label
        # and its edge.
        mode="grid-constant",
    )
    return np.asarray(sampled.reshape(sizes).view(part.dtype))


def _as_integers(array: np.ndarray) -> np.ndarray:
    return array.view(np.uint8) if array.dtype == np.bool_ else array


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


def _resize_to_levels(
    inside: Any, source: Source, classes: Sequence[int] | None = None
) -> list[Any]:
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
        levels.append(_find_inside(_resize(finest, shape), classes))
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


def _outlines(shapes: Shapes) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the index and the vertices of all shapes that enclose an area."""
    for index, (vertices, kind) in enumerate(zip(shapes.data, shapes.shape_type, strict=True)):
        if kind == "ellipse":
            yield index, _ellipse_outline(np.asarray(vertices))
        elif kind in ("rectangle", "polygon"):
            yield index, np.asarray(vertices)


def _ellipse_outline(corners: np.ndarray) -> np.ndarray:
    """Return the vertices of the ellipse that a parallelogram of four corners encloses."""
    angles = np.linspace(0, 2 * np.pi, ELLIPSE_VERTICES, endpoint=False)[:, None]
    across, along = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    return np.asarray(corners.mean(axis=0) + np.cos(angles) * across + np.sin(angles) * along)


def _in_pixels(vertices: np.ndarray, shapes: Shapes, layer: Layer) -> np.ndarray:
    """Return vertices (n, D) of shapes in the pixels of the finest level of an image."""
    return AffineMap.to_pixels(shapes, layer).apply(vertices)


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
