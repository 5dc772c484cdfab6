"""Return memory to the operating system: that of large tables, and that free after a run."""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.threads import n_workers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import DTypeLike, NDArray

_CLAIMED_AT_ONCE = 2**22
"""Bytes that `claim` claims before it looks whether it has to stop: a quarter of a millisecond."""


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


@contextmanager
def claim(arrays: Sequence[NDArray[Any]]) -> Iterator[None]:
    """Claim the memory of new arrays on another thread, as far as it gets within the context.

    The system clears memory when it is written to for the first time, page by page. This takes
    longer than to write labels to it, and can be done while other work leaves a processor free.

    Parameters
    ----------
    arrays : sequence of C-contiguous arrays
        As `numpy.empty` returns them. Values in them may change until the context ends.
    """
    stop = threading.Event()

    def write() -> None:
        for array in arrays:
            values = array.reshape(-1).view(np.uint8)
            for start in range(0, values.size, _CLAIMED_AT_ONCE):
                if stop.is_set():
                    return
                values[start : start + _CLAIMED_AT_ONCE : mmap.PAGESIZE] = 0

    if not arrays or n_workers() < 2:
        yield
        return
    thread = threading.Thread(target=write, name="napari-kmeans-memory")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


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
