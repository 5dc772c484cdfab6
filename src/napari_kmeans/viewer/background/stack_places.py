"""Put the results of clustered slices into their place in the stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.imaging.declared import as_declared

if TYPE_CHECKING:
    from napari_kmeans.viewer.from_layers.source import Source


def place_in_stack(source: Source, level: int, values: Any, others: Any) -> Any:
    """Return the values of the clustered slices of a level in their place in the stack.

    Parameters
    ----------
    source : Source
    level : int
    values : array
        Returned as it is if the stack was clustered as a whole.
    others : number or array
        The value of the pixels of the other slices, or an array of the whole stack that
        contains their values. It is not changed.

    Returns
    -------
    array
        A dask array if the level is one.
    """
    index, pixels = source.index_of(level), source.levels[level]
    if index is None:
        return values
    shape, lazy = source.shape_of(level), is_dask(pixels)
    if isinstance(others, int | float):
        if lazy:
            import dask.array as da

            chunks = pixels.chunks[: len(shape)]
            stack: Any = da.full(shape, others, dtype=values.dtype, chunks=chunks)
        else:
            stack = np.full(shape, others, values.dtype)
    else:
        stack = as_declared(others) if lazy else np.array(others)
    stack[index] = values
    return stack
