"""Check and cast the chunks of dask arrays to the shape and the dtype that the array declares."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import quote_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.types import Block


class ChunkError(OSError):
    """An error of reading a chunk. The message names the chunk and the reason."""


def as_declared(array: Any, name: str = "image") -> Any:
    """Return a dask array whose chunks are checked and cast when they are read.

    Dask does not check the results of its tasks. A function that is mapped over
    chunks may return another dtype than the array declares, and a cluster returns
    big-endian numbers in native byte order. Kernels that rely on the declared
    dtype would then copy bits of the wrong size or order.

    Parameters
    ----------
    array : dask array
        With chunks of known sizes.
    name : {"image", "mask"}
        The word for the array in messages. For a mask only the shape of the
        chunks is checked, because every value except 0 means the same.

    Returns
    -------
    dask array
        Has the same chunks and the same dtype. Reading a chunk raises ChunkError
        if the chunk does not have the declared shape, or if the declared dtype
        cannot hold a value of the chunk. Floats may be rounded to a float dtype
        of fewer bits.
    """
    return array.map_blocks(
        _check_chunk,
        as_key(array.chunks),
        name,
        None if name == "mask" else array.dtype,
        dtype=array.dtype,
        meta=np.empty((0,) * array.ndim, array.dtype),
    )


def as_key(value: Any) -> Any:
    """Wrap a value as one key of a dask graph, which all tasks that use the value share."""
    from dask.delayed import delayed

    name = f"napari-kmeans-{type(value).__name__.lower()}-{uuid.uuid4().hex}"
    return delayed(value, name=name, pure=False, traverse=False)


def format_block(block: Block) -> str:
    """Format the slices of a block for a message: ``[0:100, 100:200]``."""
    return "[" + ", ".join(f"{side.start}:{side.stop}" for side in block) + "]"


def _check_chunk(
    chunk: Any,
    chunks: tuple[tuple[int, ...], ...],
    name: str,
    dtype: np.dtype[Any] | None,
    block_id: tuple[int, ...] = (),
) -> NDArray[Any]:
    """Return a chunk in the declared dtype; `block_id` is its index along each axis."""
    values = np.asarray(chunk)
    shape = tuple(sizes[number] for sizes, number in zip(chunks, block_id, strict=True))
    if values.shape != shape:
        raise ChunkError(
            f"chunk {_format_place(chunks, block_id)} of the {name} must have the shape {shape}, "
            f"got {values.shape}: declare the chunks that the function returns, as in "
            "map_blocks(…, chunks=…)."
        )
    if dtype is None or values.dtype == dtype:
        return values
    cast, lost = _cast_values(values, dtype)
    if lost.size:
        got = f"{quote_value(lost[0].item())} in {values.dtype}"
        raise ChunkError(
            f"chunk {_format_place(chunks, block_id)} of the {name} must have values that the "
            f"declared dtype {dtype} can hold, got {got}: declare the dtype that the function "
            "returns, as in map_blocks(…, dtype=…)."
        )
    return cast


def _format_place(chunks: tuple[tuple[int, ...], ...], block_id: tuple[int, ...]) -> str:
    starts = [sum(sizes[:number]) for sizes, number in zip(chunks, block_id, strict=True)]
    return format_block(
        tuple(
            slice(start, start + sizes[number])
            for start, sizes, number in zip(starts, chunks, block_id, strict=True)
        )
    )


def _cast_values(values: NDArray[Any], dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the values in another dtype, and the original values that this dtype cannot hold."""
    if values.dtype.kind not in "buif":
        return values, values.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = values.astype(dtype)
    # numpy calls the cast from int64 to float64 safe, although it can change large integers.
    if np.can_cast(values.dtype, dtype) and (
        values.dtype.kind == dtype.kind or values.dtype.itemsize < 8
    ):
        return cast, values.reshape(-1)[:0]
    if values.dtype.kind == dtype.kind == "f":
        return cast, values[np.isfinite(values) & ~np.isfinite(cast)]
    # Cast to the new dtype and back, and compare. A cast from float to integer is only
    # defined for values within the range of the integer: check the range before each cast.
    fits = _are_within(values, dtype)
    back = np.where(fits, cast, dtype.type(0))
    fits &= _are_within(back, values.dtype)
    with np.errstate(invalid="ignore"):
        fits &= back.astype(values.dtype) == values
    return cast, values[~fits]


def _are_within(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """Return a mask of the values that lie within the range of a dtype."""
    if dtype.kind == "f":
        return np.ones(values.shape, np.bool_)
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if values.dtype.kind == "f":
        # float64 cannot represent the maximum of int64: compare with the maximum plus 1.
        wide = values.astype(np.promote_types(values.dtype, np.float64))
        return np.asarray((wide >= float(low)) & (wide < float(high + 1)))
    if values.dtype.kind == "b":
        return np.ones(values.shape, np.bool_)
    return np.asarray((values >= low) & (values <= high))
