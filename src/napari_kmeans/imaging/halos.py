"""Read the chunks of dask arrays with the pixels around them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

Chunks = tuple[tuple[int, ...], ...]
"""The lengths of the chunks along each axis."""

_SMALL_HALO = 1 / 8
"""The halo on both sides, divided by the length of a chunk, below which chunks are not joined."""


def join_short_chunks(chunks: Chunks, reaches: Sequence[int]) -> Chunks:
    """Join neighboring chunks that are shorter than the reach along their axis."""
    return tuple(
        _join_short(sizes, reach) if reach else sizes
        for sizes, reach in zip(chunks, reaches, strict=True)
    )


def _join_short(sizes: tuple[int, ...], shortest: int) -> tuple[int, ...]:
    joined = [0]
    for size in sizes:
        if joined[-1] < shortest:
            joined[-1] += size
        else:
            joined.append(size)
    if len(joined) > 1 and joined[-1] < shortest:
        last = joined.pop()
        joined[-1] += last
    return tuple(joined)


def join_to_blocks(chunks: Chunks, reaches: Sequence[int], n_pixels: int) -> Chunks:
    """Join neighboring chunks to blocks of about `n_pixels`, so that halos are small parts of them.

    No block is shorter than the reach along its axis, even if it then has more pixels. Axes
    whose halo is small already keep their chunks.
    """
    joined = join_short_chunks(chunks, reaches)
    while True:
        sizes = [max(own) for own in joined]
        halos = [
            2 * reach / size if reach and len(own) > 1 else 0.0
            for reach, size, own in zip(reaches, sizes, joined, strict=True)
        ]
        axis = int(np.argmax(halos))
        if halos[axis] <= _SMALL_HALO or 2 * math.prod(sizes) > n_pixels:
            return joined
        longer = _join_short(joined[axis], 2 * sizes[axis])
        joined = (*joined[:axis], longer, *joined[axis + 1 :])


def halo_depths(chunks: Chunks, reaches: Sequence[int]) -> tuple[int, ...]:
    """Return the number of pixels around each chunk along each axis.

    A single chunk needs none: the borders of the image have no halo.
    """
    return tuple(
        reach if len(sizes) > 1 else 0 for sizes, reach in zip(chunks, reaches, strict=True)
    )


def with_halo(array: Any, depths: Sequence[int]) -> Any:
    """Return a dask array (..., or ..., C) whose chunks have pixels of their neighbors.

    No chunk may be shorter than the halo; see `join_short_chunks`.
    """
    if not any(depths):
        return array
    from dask.array.overlap import overlap

    return overlap(array, dict(enumerate(depths)), "none")


def inner_block(chunks: Chunks, depths: Sequence[int], numbers: Sequence[int]) -> tuple[slice, ...]:
    """Return the place of a chunk in the chunk with its halo, from its number along each axis."""
    block = []
    for sizes, depth, number in zip(chunks, depths, numbers, strict=True):
        start = depth if number else 0
        block.append(slice(start, start + sizes[number]))
    return tuple(block)
