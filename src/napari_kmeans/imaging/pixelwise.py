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
from napari_kmeans.imaging.halos import (
    halo_depths,
    inner_block,
    join_short_chunks,
    with_halo,
)
from napari_kmeans.imaging.neighborhood import compare_like_blocks
from napari_kmeans.imaging.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_kmeans.feature_space.space import FeatureSpace
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.halos import Chunks
    from napari_kmeans.imaging.smoothing import Smoother
    from napari_kmeans.types import Block


def map_pixels(
    pixels: Pixels,
    function: Callable[..., NDArray[np.float32]],
    space: FeatureSpace,
    n_values: int,
    step: Step = ignore,
    labels: Any = None,
    smoother: Smoother | None = None,
) -> Any:
    """Return the numbers that a function computes from the points of all pixels.

    Parameters
    ----------
    pixels : Pixels
    function : callable
        Called with points (n, F), also on other threads and in other processes. Returns
        numbers (n, n_values). If there are labels, it is called with those of the points (n,),
        and with what is `Around` them, too.
    space : FeatureSpace
        The space of the points.
    n_values : int
    step : callable
        Called after each block, unless the image is a dask array.
    labels : array of unsigned integers, of the spatial shape, optional
        The label of the class of each pixel, from 1 to K; 0 for a pixel without numbers.
    smoother : Smoother, optional
        What smoothed the labels.

    Returns
    -------
    (..., n_values) float32 array
        NaN for a pixel that is left out, or that has the label 0. A dask array, with the
        spatial chunks of the image, if the image is one.
    """
    if pixels.is_lazy:
        return _map_lazily(pixels, function, space, n_values, labels, smoother)
    values = np.empty((*pixels.shape, n_values), np.float32)
    known = None if labels is None else Surroundings(np.asarray(labels), smoother)

    def compute(block: Block) -> None:
        piece = read_piece([pixels], (0, block), space)
        numbers = _compute(piece, function, n_values, known, block)
        values[block] = numbers.reshape(values[block].shape)

    map_threads(compute, pixels.blocks(), step)
    return values


def _compute(
    piece: Piece,
    function: Callable[..., NDArray[np.float32]],
    n_values: int,
    known: Surroundings | None,
    block: Block,
) -> NDArray[np.float32]:
    """Return the numbers of the pixels of a piece. `block` is its place in the known labels."""
    if known is not None:
        own = known.labels[block].reshape(-1)
        numbers = np.full((own.size, n_values), np.nan, np.float32)
        inside = np.full(own.size, True) if piece.kept is None else piece.kept
        is_labeled = own[inside] > 0
        chosen = inside.copy()
        chosen[inside] = is_labeled
        if chosen.any():
            points = piece.points[is_labeled]
            around = known.around(block, chosen)
            numbers[chosen] = function(points, own[chosen], around).reshape(-1, n_values)
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
    smoother: Smoother | None,
) -> Any:
    import dask.array as da

    given = pixels.array.chunks[:-1]
    reaches = (0,) * len(given) if smoother is None else smoother.margins
    # A chunk without pixels has no halo.
    chunks = join_short_chunks(given, reaches)
    depths = halo_depths(chunks, reaches)
    compared, image = None, pixels.array.rechunk(dict(enumerate(chunks)))
    if not space.is_pointwise:
        compared = compare_like_blocks(pixels, space)
        compared = compared.rechunk((*chunks, (compared.shape[-1],)))
    arrays = [image]
    arrays += [] if compared is None else [compared]
    arrays += [] if pixels.mask is None else [pixels.mask.rechunk(chunks)[..., None]]
    if labels is not None:
        own = labels.rechunk(chunks) if is_dask(labels) else da.from_array(labels, chunks)
        arrays.append(with_halo(own[..., None], depths))
    values = da.map_blocks(
        _compute_chunk,
        as_key(function),
        as_key(smoother),
        as_key(chunks),
        depths,
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
    return values.rechunk(dict(enumerate(given)))


def _compute_chunk(
    function: Callable[..., NDArray[np.float32]],
    smoother: Smoother | None,
    chunks: Chunks,
    depths: tuple[int, ...],
    space: FeatureSpace,
    n_channels: int,
    n_values: int,
    has_compared: bool,
    has_mask: bool,
    chunk: NDArray[Any],
    *others: NDArray[Any],
    block_id: tuple[int, ...] = (),
) -> NDArray[np.float32]:
    """Return the numbers of a chunk. Only its labels have a halo, of `depths`."""
    image, arrays = np.asarray(chunk), iter(others)
    compared = np.asarray(next(arrays)) if has_compared else None
    mask = np.asarray(next(arrays))[..., 0] if has_mask else None
    last, shape = next(arrays, None), image.shape[:-1]
    known = None if last is None else Surroundings(np.asarray(last)[..., 0], smoother)
    starts = [side.start for side in inner_block(chunks, depths, block_id[: len(shape)])]
    values = np.empty((*shape, n_values), np.float32)
    frame = Frame(shape, (0,) * len(shape))
    with in_task():
        for block in split_shape(shape) if values.size else []:
            piece = make_piece(image, mask, n_channels, block, (0, block), PLAIN, frame)
            blurred = None if compared is None else compared[block].reshape(-1, compared.shape[-1])
            piece = Piece(piece.values, piece.kept, piece.places, space, blurred)
            inside = tuple(
                slice(side.start + start, side.stop + start)
                for side, start in zip(block, starts, strict=True)
            )
            numbers = _compute(piece, function, n_values, known, inside)
            values[block] = numbers.reshape(values[block].shape)
    return values
