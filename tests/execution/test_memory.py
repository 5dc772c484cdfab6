"""Test that memory is returned to the operating system."""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_kmeans.execution.memory import trim_heaps, zeros

MEGABYTE = 2**20


def private_memory():
    """Return the bytes of memory of this process, without the pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.bool_])
@pytest.mark.parametrize("size", [1, 1000, 2**20])
def test_zeros_returns_a_writable_array_of_zeros(size, dtype):
    table = zeros(size, dtype)
    assert table.shape == (size,)
    assert table.dtype == dtype
    assert not table.any()
    table[-1] = 1
    assert table.sum() == 1
    assert not zeros(size, dtype).any()


def test_zeros_raises_memory_error_for_too_large_a_table():
    with pytest.raises(MemoryError, match="Unable to allocate"):
        zeros(2**60, np.uint32)


@pytest.mark.skipif(sys.platform != "linux", reason="the memory in use is read from /proc")
def test_memory_of_a_deleted_table_is_returned():
    gc.collect()
    before = private_memory()
    for _ in range(5):
        # malloc would keep the memory of a table of this size after a few repetitions.
        table = zeros(16 * MEGABYTE, np.uint8)
        table[:] = 1
        assert private_memory() - before > 15 * MEGABYTE
        view = table[5:].reshape(-1)
        del table
        assert view.sum() == 16 * MEGABYTE - 5
        del view
        assert private_memory() - before < 8 * MEGABYTE


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="this C library has no malloc_trim",
)
def test_trim_heaps_returns_free_memory_between_used_blocks():
    arrays = [np.ones(60_000, np.uint8) for _ in range(2000)]
    before = private_memory()
    remaining = arrays[::20]
    del arrays
    trim_heaps()
    assert private_memory() < before - 60 * MEGABYTE
    assert all(array.all() for array in remaining)


def test_trim_heaps_works_on_every_system():
    assert trim_heaps() is None
