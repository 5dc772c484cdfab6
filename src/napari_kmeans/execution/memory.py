"""Memory that is given back to the system: of large tables, and of what a run leaves free."""

from __future__ import annotations

import ctypes
import mmap
import sys
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


def zeros(size: int, dtype: DTypeLike) -> NDArray[Any]:
    """Return an array (size,) of zeros that is given back to the system once it is gone.

    The allocator of the C library keeps what is freed, the more of it the
    larger it was, and other things settle in the holes: a process would grow
    for hundreds of runs.

    Raises
    ------
    MemoryError
        If there is too little.
    """
    n_bytes = max(size * np.dtype(dtype).itemsize, 1)
    try:
        pages = _pages(n_bytes)
    except OSError as error:
        raise MemoryError(f"Unable to allocate {n_bytes:,} bytes for a table.") from error
    return np.frombuffer(pages, dtype, size)


def _pages(n_bytes: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, n_bytes)
    pages = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if sys.platform == "linux":
        # As numpy does: entries all over a table are far apart. Not every kernel can.
        with suppress(OSError):
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


def trim_heaps() -> None:
    """Give the system what is free in the allocator's heaps, where it can be asked to.

    Each thread frees into a heap of its own, and each of these would grow to
    the most that a thread ever took. Takes a millisecond.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Any:
    """Return malloc_trim of the C library of GNU; None where there is another one."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
