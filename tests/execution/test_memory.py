"""Test that memory is returned to the operating system."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from napari_kmeans.execution import memory
from napari_kmeans.execution.memory import claim, trim_heaps, zeros
from napari_kmeans.execution.threads import limit_threads

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


def wait_until(is_true):
    """Wait until a condition holds, at most ten seconds, and return whether it does."""
    stop = time.monotonic() + 10
    while not is_true() and time.monotonic() < stop:
        time.sleep(0.001)
    return is_true()


@pytest.mark.skipif(sys.platform != "linux", reason="the memory in use is read from /proc")
def test_claimed_memory_is_in_use_before_it_is_written_to(monkeypatch):
    monkeypatch.setattr(memory, "n_workers", lambda: 2)
    gc.collect()
    before = private_memory()
    arrays = [np.empty((64, MEGABYTE // 4), np.float32), np.empty(3, np.uint8)]
    assert private_memory() - before < 8 * MEGABYTE
    with claim(arrays):
        assert wait_until(lambda: private_memory() - before > 60 * MEGABYTE)


def test_nothing_is_written_to_claimed_arrays_after_the_context():
    array = np.empty(256 * MEGABYTE, np.uint8)
    with claim([array]):
        pass
    array[:MEGABYTE] = 7
    time.sleep(0.05)
    assert (array[:MEGABYTE] == 7).all()
    assert not any(thread.name == "napari-kmeans-memory" for thread in threading.enumerate())


def test_an_error_in_the_context_ends_the_claim():
    with pytest.raises(KeyboardInterrupt), claim([np.empty(256 * MEGABYTE, np.uint8)]):
        raise KeyboardInterrupt
    assert not any(thread.name == "napari-kmeans-memory" for thread in threading.enumerate())


def test_one_thread_claims_nothing():
    array = np.full(MEGABYTE, 7, np.uint8)
    with limit_threads(1), claim([array]):
        assert not any(thread.name == "napari-kmeans-memory" for thread in threading.enumerate())
    assert (array == 7).all()
