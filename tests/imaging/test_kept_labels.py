"""Labels of dask images are cleaned once, and kept in memory up to a limit."""

from __future__ import annotations

import gc
import pickle
import threading
import weakref
from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest
from skimage import data

from napari_kmeans import apply_classes, segment, summarize
from napari_kmeans.imaging import kept_labels, label_tally, smoothing
from napari_kmeans.imaging.cleaning import Cleaner

pytestmark = pytest.mark.usefixtures("separate_chunks")

COFFEE = data.coffee()[:160, :180]
CHUNKS = (40, 60, 3)


@pytest.fixture
def cleaned(monkeypatch):
    """Return the windows that were cleaned, as a counter of their places."""
    windows = Counter()
    clean = Cleaner.clean_window

    def count(self, values, labels, n_values, origin):
        windows[origin] += 1
        return clean(self, values, labels, n_values, origin)

    monkeypatch.setattr(Cleaner, "clean_window", count)
    return windows


@pytest.fixture(autouse=True)
def nothing_is_kept_before():
    gc.collect()


def n_kept_bytes():
    return sum(each.n_bytes for each in kept_labels._counts)


@pytest.mark.parametrize("options", [{"smoothing": 1.5}, {"min_size": 5}, {"min_confidence": 0.3}])
def test_each_window_is_cleaned_once(cleaned, options):
    eager = segment(COFFEE, 5, **options)
    cleaned.clear()
    lazy = segment(da.from_array(COFFEE, chunks=CHUNKS), 5, **options)
    labels, recolored = dask.compute(lazy.labels, lazy.recolored)
    assert set(cleaned.values()) == {1}
    np.testing.assert_array_equal(labels, eager.labels)
    np.testing.assert_array_equal(recolored, eager.recolored)
    assert lazy.table.equals(eager.table)
    np.testing.assert_array_equal(lazy.labels[100:101, 50:170].compute(), labels[100:101, 50:170])
    assert set(cleaned.values()) == {1}
    # Kept labels may be written to, like those that are found again.
    assert labels.flags.writeable


def test_labels_beyond_the_limit_are_cleaned_again(cleaned, monkeypatch):
    expected = segment(COFFEE, 5, min_size=5)
    cleaned.clear()
    whole = segment(da.from_array(COFFEE, chunks=CHUNKS), 5, min_size=5)
    size = n_kept_bytes()
    n_cleaned = cleaned.total()
    for limit in (0, size // 2):
        del whole
        gc.collect()
        monkeypatch.setattr(kept_labels, "_KEPT_BYTES", limit)
        cleaned.clear()
        whole = segment(da.from_array(COFFEE, chunks=CHUNKS), 5, min_size=5)
        assert n_kept_bytes() <= limit
        labels, recolored = dask.compute(whole.labels, whole.recolored)
        np.testing.assert_array_equal(labels, expected.labels)
        np.testing.assert_array_equal(recolored, expected.recolored)
        assert n_cleaned < cleaned.total() <= 2 * n_cleaned


def test_the_limit_is_for_all_results_and_memory_is_given_back(monkeypatch):
    image = da.from_array(COFFEE, chunks=CHUNKS)
    assert n_kept_bytes() == 0
    results = [segment(image, 5, smoothing=1.5)]
    size = n_kept_bytes()
    assert 0 < size < COFFEE[..., 0].size
    monkeypatch.setattr(kept_labels, "_KEPT_BYTES", 2 * size + size // 2)
    results += [segment(image, 5, smoothing=1.5) for _ in range(3)]
    assert 2 * size <= n_kept_bytes() <= 2.5 * size
    expected = results[0].labels.compute()
    for result in results[1:]:
        np.testing.assert_array_equal(result.labels.compute(), expected)
    # Labels that were made of kept labels keep them.
    merged = apply_classes(results[0], results[0].model.classes.merge([1, 2]).renumber({3: 9}))
    del results, result
    gc.collect()
    assert n_kept_bytes() == size
    del merged
    gc.collect()
    assert n_kept_bytes() == 0


def test_kept_labels_can_be_pickled():
    result = segment(da.from_array(COFFEE, chunks=CHUNKS), 5, smoothing=1.5)
    again = pickle.loads(pickle.dumps(result.labels))
    np.testing.assert_array_equal(again.compute(), result.labels.compute())
    with dask.config.set(scheduler="processes"):
        np.testing.assert_array_equal(result.labels.compute(), again.compute())


def test_other_processes_keep_no_labels(cleaned):
    with dask.config.set(scheduler="processes"):
        result = segment(da.from_array(COFFEE, chunks=CHUNKS), 5, min_size=5)
    assert n_kept_bytes() == 0
    expected = segment(COFFEE, 5, min_size=5).labels
    np.testing.assert_array_equal(result.labels.compute(), expected)


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "i1", "<i2", "?", "<i4", "<f4"])
@pytest.mark.parametrize("options", [{"smoothing": 1.5}, {"min_size": 5, "min_confidence": 0.1}])
def test_the_table_is_that_of_the_image_in_memory(dtype, options):
    image = COFFEE[:80, :90] > 100 if dtype == "?" else (COFFEE[:80, :90] // 2).astype(dtype)
    image = np.concatenate([image, image[..., :1]], axis=-1)
    mask = COFFEE[:80, :90, 0] % 9 > 0
    arguments = {"n_clusters": 3, "channel_axis": -1, "mask": mask, **options}
    eager = segment(image, **arguments)
    lazy = segment(da.from_array(image, chunks=(30, 40, 2)), **arguments)
    np.testing.assert_array_equal(lazy.labels.compute(), eager.labels)
    assert lazy.table["pixels"].tolist() == eager.table["pixels"].tolist()
    np.testing.assert_allclose(lazy.model.palette, eager.model.palette, rtol=1e-6)


@pytest.mark.parametrize("left_out", ["nothing", "mask", "alpha"])
def test_an_image_is_not_read_again_if_all_pixels_have_a_label(left_out):
    image, mask, reads = COFFEE, None, Counter()
    if left_out == "mask":
        mask = COFFEE[..., 0] % 9 > 0
    if left_out == "alpha":
        alpha = np.where(COFFEE[..., :1] % 9 > 0, 255, 0).astype(np.uint8)
        image = np.concatenate([COFFEE, alpha], axis=-1)

    def read(block_info=None):
        place = tuple(slice(*each) for each in block_info[None]["array-location"])
        reads[str(place)] += 1
        return image[place]

    chunks = da.core.normalize_chunks((*CHUNKS[:2], image.shape[-1]), image.shape)
    lazy = da.map_blocks(read, chunks=chunks, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    result = segment(lazy, 5, smoothing=1.5, mask=mask)
    reads.clear()
    labels, recolored = dask.compute(result.labels, result.recolored)
    assert set(reads.values()) == (set() if left_out == "nothing" else {1})
    expected = segment(image, 5, smoothing=1.5, mask=mask)
    np.testing.assert_array_equal(labels, expected.labels)
    np.testing.assert_array_equal(recolored, expected.recolored)


@pytest.mark.parametrize(("band_bytes", "width"), [(2**30, 24), (1, 4)])
def test_few_rows_of_a_band_of_chunks_are_in_memory_at_a_time(monkeypatch, band_bytes, width):
    monkeypatch.setattr(smoothing, "N_SWEEPS", 1)
    monkeypatch.setattr(label_tally, "_BAND_BYTES", band_bytes)
    image, alive, n_alive = data.coffee()[:240, :240], [], 0

    def free():
        nonlocal n_alive
        n_alive -= 1

    def read(block_info=None):
        nonlocal n_alive
        chunk = image[tuple(slice(*each) for each in block_info[None]["array-location"])].copy()
        weakref.finalize(chunk, free)
        n_alive += 1
        alive.append(n_alive)
        return chunk

    chunks = da.core.normalize_chunks((10, 10, 3), image.shape)
    lazy = da.map_blocks(read, chunks=chunks, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    summary = summarize(lazy)
    alive.clear()
    with dask.config.set(scheduler="synchronous"):
        result = segment(lazy, 5, smoothing=1.0, summary=summary)
    # The chunks on both sides of a border of two bands are read for both.
    assert len(alive) == 24 * (24 + 2 * (24 // width - 1))
    assert max(alive) <= 4 * min(width + 2, 24)
    expected = segment(image, 5, smoothing=1.0)
    np.testing.assert_array_equal(result.labels.compute(), expected.labels)
    assert result.table.equals(expected.table)


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [((12, 90, 100, 1), (3, 11, 13, 1)), ((97, 101, 3), (7, 5, 3)), ((90, 300, 3), (90, 20, 3))],
)
def test_bands_of_chunks_give_the_same_counts(monkeypatch, shape, chunks):
    image = np.random.default_rng(0).integers(0, 99, shape, np.uint8)
    image[..., 30:, :] //= 2
    eager = segment(image, 4, channel_axis=-1, smoothing=1.0, min_size=2)
    monkeypatch.setattr(label_tally, "_BAND_BYTES", 5000)
    lazy = segment(
        da.from_array(image, chunks=chunks), 4, channel_axis=-1, smoothing=1.0, min_size=2
    )
    np.testing.assert_array_equal(lazy.labels.compute(), eager.labels)
    assert lazy.table.equals(eager.table)


def test_progress_is_reported_while_labels_are_cleaned_and_cancels(cleaned, monkeypatch):
    image = da.from_array(COFFEE, chunks=(20, 30, 3))
    summary, shares = summarize(image), []
    segment(image, 5, smoothing=1.5, summary=summary, progress=lambda a, b: shares.append(a / b))
    assert len(set(shares)) > 5
    assert shares == sorted(shares)
    n_windows = cleaned.total()
    cleaned.clear()
    canceled = threading.Event()
    clean = Cleaner.clean_window

    def clean_and_wait(*arguments):
        result = clean(*arguments)
        canceled.wait(10)
        return result

    def cancel(_done, _total):
        if cleaned:
            canceled.set()
            raise InterruptedError

    monkeypatch.setattr(Cleaner, "clean_window", clean_and_wait)
    with pytest.raises(InterruptedError):
        segment(image, 5, smoothing=1.5, summary=summary, progress=cancel)
    assert 0 < cleaned.total() < n_windows


def test_an_image_that_cannot_be_read_again_raises_its_error():
    is_broken = False

    def read(chunk):
        if is_broken:
            raise OSError("the disk is gone")
        return chunk

    image = da.from_array(COFFEE, chunks=CHUNKS).map_blocks(read, dtype=np.uint8, meta=COFFEE[:0])
    summary = summarize(image)
    is_broken = True
    with pytest.raises(OSError, match="the disk is gone"):
        segment(image, 5, smoothing=1.5, summary=summary)


def test_a_cluster_keeps_no_labels_in_this_process(client):
    # The client stays open to the end of the module: this test is the last.
    result = segment(da.from_array(COFFEE, chunks=CHUNKS), 5, min_size=5)
    assert n_kept_bytes() == 0
    expected = segment(COFFEE, 5, min_size=5)
    np.testing.assert_array_equal(result.labels.compute(), expected.labels)
    np.testing.assert_array_equal(result.recolored.compute(), expected.recolored)
    assert result.table.equals(expected.table)
