"""Return memory to the operating system: that of large tables, and that free after a run."""

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
    """Return an array (size,) of zeros whose memory returns to the system when it is deleted.

    The allocator of the C library would keep the memory: after a large block was
    freed, it takes further blocks of that size from its heap. Small objects then fill
    the gaps in the heap, and the process grows for hundreds of runs.

    Raises
    ------
    MemoryError
        If there is not enough memory.
    """
    n_bytes = max(size * np.dtype(dtype).itemsize, 1)
    try:
        pages = _map_pages(n_bytes)
    except OSError as error:
        raise MemoryError(f"Unable to allocate {n_bytes:,} bytes for a table.") from error
    return np.frombuffer(pages, dtype, size)


def _map_pages(n_bytes: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, n_bytes)
    pages = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if sys.platform == "linux":
        # Ask for huge pages, as numpy does: a table is read at random places, and fewer
        # pages are faster. Linux without huge pages raises OSError.
        with suppress(OSError):
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


def trim_heaps() -> None:
    """Return the free memory of the allocator's heaps to the system, if the library can.

    Only glibc can. Its allocator has a heap for each of several threads. Without this
    call, each heap keeps the largest size that it ever had. The call takes about a
    millisecond.
    """
    trim = _find_malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _find_malloc_trim() -> Any:
    """Return the function malloc_trim of glibc, or None with another C library."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
