"""Compute numbers for each pixel of an image from its point, block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import in_task, map_threads
from napari_kmeans.feature_space.space import PLAIN
from napari_kmeans.imaging.blocks import Frame, is_dask, split_shape
from napari_kmeans.imaging.chunks import Piece, make_piece, read_piece
from napari_kmeans.imaging.declared import as_key
from napari_kmeans.imaging.neighborhood import compare_like_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_kmeans.feature_space.space import FeatureSpace
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.types import Block


def map_pixels(
    pixels: Pixels,
    function: Callable[..., NDArray[np.float32]],
    space: FeatureSpace,
    n_values: int,
    step: Step = ignore,
    labels: Any = None,
) -> Any:
    """Return the numbers that a function computes from the points of all pixels.

    Parameters
    ----------
    pixels : Pixels
    function : callable
        Called with points (n, F), also on other threads and in other processes. Returns
        numbers (n, n_values). If there are labels, it is called with those of the points (n,),
        too.
    space : FeatureSpace
        The space of the points.
    n_values : int
    step : callable
        Called after each block, unless the image is a dask array.
    labels : integer array of the spatial shape, optional
        A label of each pixel; 0 for a pixel without numbers.

    Returns
    -------
    (..., n_values) float32 array
        NaN for a pixel that is left out, or that has the label 0. A dask array, with the
        spatial chunks of the image, if the image is one.
    """
    if pixels.is_lazy:
        return _map_lazily(pixels, function, space, n_values, labels)
    values = np.empty((*pixels.shape, n_values), np.float32)
    known = None if labels is None else np.asarray(labels)

    def compute(block: Block) -> None:
        piece = read_piece([pixels], (0, block), space)
        numbers = _compute(piece, function, n_values, None if known is None else known[block])
        values[block] = numbers.reshape(values[block].shape)

    map_threads(compute, pixels.blocks(), step)
    return values


def _compute(
    piece: Piece,
    function: Callable[..., NDArray[np.float32]],
    n_values: int,
    labels: NDArray[Any] | None = None,
) -> NDArray[np.float32]:
    if labels is not None:
        own = labels.reshape(-1)
        numbers = np.full((own.size, n_values), np.nan, np.float32)
        inside = np.full(own.size, True) if piece.kept is None else piece.kept
        is_labeled = own[inside] > 0
        chosen = inside.copy()
        chosen[inside] = is_labeled
        if chosen.any():
            points = piece.points[is_labeled]
            numbers[chosen] = function(points, own[chosen]).reshape(-1, n_values)
        return numbers
    if piece.kept is None:
        return function(piece.points).reshape(-1, n_values)
    numbers = np.full((len(piece.values), n_values), np.nan, np.float32)
    if piece.kept.any():
        numbers[piece.kept] = function(piece.points).reshape(-1, n_values)
    return numbers


def _map_lazily(
    pixels: Pixels,
    function: Callable[..., NDArray[np.float32]],
    space: FeatureSpace,
    n_values: int,
    labels: Any,
) -> Any:
    import dask.array as da

    chunks = pixels.array.chunks[:-1]
    compared = None
    if not space.is_pointwise:
        compared = compare_like_blocks(pixels, space)
        compared = compared.rechunk((*chunks, (compared.shape[-1],)))
    arrays = [pixels.array]
    arrays += [] if compared is None else [compared]
    arrays += [] if pixels.mask is None else [pixels.mask[..., None]]
    if labels is not None:
        own = labels.rechunk(chunks) if is_dask(labels) else da.from_array(labels, chunks)
        arrays.append(own[..., None])
    return da.map_blocks(
        _compute_chunk,
        as_key(function),
        space,
        pixels.n_channels,
        n_values,
        compared is not None,
        pixels.mask is not None,
        *arrays,
        dtype=np.float32,
        chunks=(*chunks, (n_values,)),
        meta=np.empty((0,) * pixels.array.ndim, np.float32),
    )


def _compute_chunk(
    function: Callable[..., NDArray[np.float32]],
    space: FeatureSpace,
    n_channels: int,
    n_values: int,
    has_compared: bool,
    has_mask: bool,
    chunk: NDArray[Any],
    *others: NDArray[Any],
) -> NDArray[np.float32]:
    image, arrays = np.asarray(chunk), iter(others)
    compared = np.asarray(next(arrays)) if has_compared else None
    mask = np.asarray(next(arrays))[..., 0] if has_mask else None
    last = next(arrays, None)
    labels = None if last is None else np.asarray(last)[..., 0]
    shape = image.shape[:-1]
    values = np.empty((*shape, n_values), np.float32)
    frame = Frame(shape, (0,) * len(shape))
    with in_task():
        for block in split_shape(shape) if values.size else []:
            piece = make_piece(image, mask, n_channels, block, (0, block), PLAIN, frame)
            blurred = None if compared is None else compared[block].reshape(-1, compared.shape[-1])
            piece = Piece(piece.values, piece.kept, piece.places, space, blurred)
            own = None if labels is None else labels[block]
            numbers = _compute(piece, function, n_values, own)
            values[block] = numbers.reshape(values[block].shape)
    return values
