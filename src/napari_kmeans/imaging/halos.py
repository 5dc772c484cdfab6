"""Read the chunks of dask arrays with the pixels around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

Chunks = tuple[tuple[int, ...], ...]
"""The lengths of the chunks along each axis."""


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
