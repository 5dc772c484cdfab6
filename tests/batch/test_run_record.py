"""The record of a run: the hashes of labels and of files."""

from __future__ import annotations

import os
import tracemalloc

import dask.array as da
import numpy as np
import pytest
import zarr

from napari_kmeans.batch import run_record
from napari_kmeans.batch.run_record import hash_file, hash_labels
from napari_kmeans.files.zarr_chunks import count_missing_chunks


@pytest.mark.parametrize("shape", [(20,), (0, 5), (20, 30), (9, 10, 11)])
def test_labels_in_memory_and_on_disk_have_the_same_hash(monkeypatch, shape):
    labels = np.random.default_rng(0).integers(0, 9, shape, np.uint8)
    expected = hash_labels(labels)
    assert hash_labels(labels.astype(np.int64)) == expected
    for n_pixels in (1, 50, 2**26):
        monkeypatch.setattr(run_record, "_PART_PIXELS", n_pixels)
        monkeypatch.setattr(run_record, "_ROWS_PIXELS", n_pixels)
        assert hash_labels(labels) == expected
        assert hash_labels(da.from_array(labels, chunks=4)) == expected


def test_large_labels_are_hashed_in_parts():
    labels = da.zeros((4096, 4096), chunks=(4096, 512), dtype=np.uint8)
    hash_labels(labels[:9, :9])
    tracemalloc.start()
    hash_labels(labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The labels and their chunks have 17 MB each; all labels as 32-bit numbers have 67 MB.
    assert peak < 5e7


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
def test_linked_chunks_of_a_zarr_directory_are_found_and_hashed(tmp_path):
    for number in (1, 2):
        place = tmp_path / f"{number}.zarr"
        array = zarr.create_array(place, shape=(8, 8), chunks=(4, 4), dtype="uint8")
        array[...] = number
    first, second = (tmp_path / f"{number}.zarr" for number in (1, 2))
    before = hash_file(first)
    (first / "c").rename(tmp_path / "elsewhere")
    (first / "c").symlink_to(tmp_path / "elsewhere")
    assert count_missing_chunks(zarr.open_array(first, mode="r")) == (0, 4)
    assert hash_file(first) == before
    (first / "c").unlink()
    (first / "c").symlink_to(second / "c")
    assert hash_file(first) == hash_file(second) != before
