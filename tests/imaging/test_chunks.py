"""Test dask images: results as with numpy, number of reads, errors, cancellation, clusters."""

import os
import pickle
import signal
import threading
import time

import dask
import dask.array as da
import numpy as np
import pytest
from dask.callbacks import Callback
from distributed import Client, LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.color import rgb2lab
from sklearn.cluster import KMeans

from napari_kmeans import segment, summarize
from napari_kmeans.feature_space.space import PLAIN, FeatureSpace
from napari_kmeans.imaging import chunks as chunks_module
from napari_kmeans.imaging.blocks import open_images
from napari_kmeans.imaging.chunks import ChunkError, Piece, count_steps, map_reduce
from napari_kmeans.imaging.histogram import build_histogram, find_codec
from napari_kmeans.imaging.painting import Painter

METHODS = ["full", "coreset"]


def picture(kind):
    """Return a small image whose colors can be counted, and the options of `segment` for it."""
    image = data.coffee()[100:160, 200:270]
    gray = image @ [1, 2, 1]
    return {
        "rgb": (image, {}),
        "rgba": (np.dstack([image, image[..., 0] > 60]), {"rgb": True}),
        "hsv": (image, {"color_space": "hsv"}),
        "lab": (image, {"color_space": "lab"}),
        "gray 8": ((gray // 4).astype(np.uint8), {}),
        "gray 16": (gray.astype(np.uint16) * 50, {}),
        "channels": (np.moveaxis(image, -1, 0).astype(np.uint16), {"channel_axis": 0}),
        "bool": (gray > 300, {}),
    }[kind]


KINDS = ["rgb", "rgba", "hsv", "lab", "gray 8", "gray 16", "channels", "bool"]


def small_batches(monkeypatch, pixels=1000):
    # Other processes are not patched: no result may depend on the size of a batch.
    monkeypatch.setattr(chunks_module, "_BATCH_PIXELS", pixels)


def assert_same(lazy, expected):
    assert isinstance(lazy.labels, da.Array)
    np.testing.assert_array_equal(lazy.labels.compute(), expected.labels)
    np.testing.assert_array_equal(lazy.recolored.compute(), expected.recolored)
    assert lazy.model.to_dict() == expected.model.to_dict()
    assert lazy.table.equals(expected.table)


@st.composite
def chunkings(draw, shape):
    """Draw chunks of a shape, with empty chunks among them."""
    chunks = []
    for length in shape:
        cuts = sorted(draw(st.lists(st.integers(0, length), max_size=4)))
        chunks.append(tuple(np.diff([0, *cuts, length]).tolist()))
    return tuple(chunks)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_labels_of_counted_colors_do_not_depend_on_chunks(data):
    image, options = picture(data.draw(st.sampled_from(KINDS)))
    method = data.draw(st.sampled_from(METHODS))
    n_spatial = image.ndim - ("channel_axis" in options or image.shape[-1] in (3, 4))
    shape = image.shape[-n_spatial:] if "channel_axis" in options else image.shape[:n_spatial]
    mask = np.random.default_rng(0).random(shape) < 0.9
    lazy = da.from_array(image, chunks=data.draw(chunkings(image.shape)))
    lazy_mask = da.from_array(mask, chunks=data.draw(chunkings(shape)))
    given_mask = data.draw(st.sampled_from([None, mask, lazy_mask]))
    with pytest.MonkeyPatch.context() as patch:
        small_batches(patch, data.draw(st.sampled_from([1, 300, 10**6])))
        patch.setattr(chunks_module, "_PIECE_PIXELS", data.draw(st.sampled_from([1, 200, 10**5])))
        result = segment(lazy, 2, method=method, mask=given_mask, **options)
    expected = segment(
        image, 2, method=method, mask=None if given_mask is None else mask, **options
    )
    assert_same(result, expected)
    assert result.recolored.chunks == lazy.chunks


def test_positions_of_coreset_do_not_depend_on_chunks():
    image = data.coffee()
    expected = segment(image, 8).coreset
    lazy = segment(da.from_array(image, chunks=(77, 130, 2)), 8).coreset
    np.testing.assert_array_equal(lazy.points, expected.points)
    np.testing.assert_array_equal(lazy.positions, expected.positions)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_labels_do_not_depend_on_scheduler(dtype, scheduler, monkeypatch):
    small_batches(monkeypatch, 20_000)
    image = da.from_array(data.coffee()[:200, :300].astype(dtype), chunks=(60, 70, 3))
    expected = segment(image, 5, rgb=True).labels.compute()
    # The scheduler "processes" starts new processes for each read of the image.
    with dask.config.set(scheduler=scheduler, num_workers=1 if scheduler == "processes" else 2):
        result = segment(image, 5, rgb=True)
    np.testing.assert_array_equal(result.labels.compute(), expected)


def test_sample_of_tiny_chunks_has_requested_size_and_true_mean(monkeypatch):
    image = data.coffee() / 255
    sample = summarize(da.from_array(image, chunks=(9, 11, 3)), coreset_size=10**6).coreset
    # If all pixels are drawn, each pixel is drawn once.
    assert len(sample.points) <= image[..., 0].size
    sample = summarize(da.from_array(image, chunks=(9, 11, 3)), coreset_size=3000).coreset
    assert len(sample.points) <= 3000
    assert sample.weights.sum() == pytest.approx(image[..., 0].size)
    np.testing.assert_array_equal(image[tuple(sample.positions.T)], sample.points)
    means = sample.weights @ sample.points / sample.weights.sum()
    np.testing.assert_allclose(means, image.mean(axis=(0, 1)), rtol=0.02)


def test_equal_batches_draw_different_pixels(monkeypatch):
    small_batches(monkeypatch, 1)
    chunk = np.random.default_rng(0).random((200, 200))
    image = da.from_array(np.concatenate([chunk, chunk]), chunks=200)
    positions = summarize(image, coreset_size=3000).coreset.positions
    first, second = (
        {(row % 200, column) for row, column in positions.tolist() if row // 200 == number}
        for number in (0, 1)
    )
    # Independent draws share about 4 % of the places. If both batches drew the
    # same places and then selected among them, they would share about 25 %.
    assert len(first & second) < 0.1 * len(first)


# ------------------------------------------------ method "full" on float images


@pytest.mark.parametrize("chunks", [(31, 47, 3), (400, 600, 3)])
def test_full_on_dask_floats_agrees_with_scikit_learn(chunks, monkeypatch):
    small_batches(monkeypatch, 3000)
    image = data.coffee()[::4, ::4] / 255
    start = np.random.default_rng(3).uniform(0, 1, (7, 3))
    reference = KMeans(7, init=start, n_init=1, algorithm="lloyd").fit(image.reshape(-1, 3))
    lazy = da.from_array(image, chunks=chunks)
    lazy_result = segment(lazy, 7, rgb=True, method="full", init=start)
    numpy_result = segment(image, 7, rgb=True, method="full", init=start)
    assert lazy_result.model.n_iter_ == numpy_result.model.n_iter_ == reference.n_iter_
    assert lazy_result.model.inertia_ == pytest.approx(reference.inertia_, rel=1e-9)
    for center in reference.cluster_centers_:
        assert np.linalg.norm(lazy_result.model.cluster_centers_ - center, axis=1).min() < 1e-9
    np.testing.assert_allclose(lazy_result.model.palette, numpy_result.model.palette, rtol=1e-9)
    np.testing.assert_array_equal(lazy_result.labels.compute(), numpy_result.labels)
    assert lazy_result.coreset is None


def test_empty_clusters_of_dask_floats_are_refilled_as_in_numpy():
    rng = np.random.default_rng(0)
    image = rng.random((40, 50, 2))
    start = np.array([[0.5, 0.5], [9.0, 9.0], [8.0, -7.0], [0.1, 0.2]])
    lazy = da.from_array(image, chunks=(7, 13, 1))
    options = {"channel_axis": -1, "method": "full", "init": start, "tol": 0}
    lazy_result, numpy_result = (
        segment(lazy, 4, **options).model,
        segment(image, 4, **options).model,
    )
    assert lazy_result.n_clusters == 4
    assert lazy_result.n_iter_ == numpy_result.n_iter_
    np.testing.assert_allclose(
        lazy_result.cluster_centers_, numpy_result.cluster_centers_, rtol=1e-12
    )


@pytest.mark.parametrize("space", ["rgb", "hsv", "lab"])
def test_full_on_dask_floats_costs_about_the_same_as_on_numpy(space):
    image = data.coffee()[::3, ::3] / 255
    lazy = da.from_array(image, chunks=(50, 60, 3))
    options = {"rgb": True, "method": "full", "color_space": space}
    lazy_result, numpy_result = segment(lazy, 6, **options), segment(image, 6, **options)
    assert lazy_result.model.inertia_ == pytest.approx(numpy_result.model.inertia_, rel=0.005)
    counts = np.bincount(lazy_result.labels.compute().ravel())[1:]
    assert lazy_result.table["pixels"].tolist() == counts.tolist()


def test_full_on_dask_gray_floats_finds_the_optimum():
    rng = np.random.default_rng(0)
    image = rng.normal(rng.integers(0, 4, (90, 80)), 0.2)
    image[3, 4] = np.nan
    lazy_result = segment(da.from_array(image, chunks=(17, 80)), 4, method="full")
    numpy_result = segment(image, 4, method="full")
    assert lazy_result.model.inertia_ == pytest.approx(numpy_result.model.inertia_, rel=1e-6)
    assert lazy_result.labels[3, 4].compute() == 0


def test_full_on_dask_integers_of_many_colors_gives_labels_of_numpy():
    image = data.coffee()[:60, :70].astype(np.uint16) * 250
    lazy = da.from_array(image, chunks=(20, 30, 3))
    start = image[5::12, 7].astype(float)
    options = {"rgb": True, "method": "full", "init": start}
    np.testing.assert_array_equal(
        segment(lazy, 5, **options).labels, segment(image, 5, **options).labels
    )


# ------------------------------------------------------ unusual shapes and chunks


def test_one_pixel_empty_chunks_and_one_row_are_clustered():
    image = np.array([[7.5]])
    assert segment(da.from_array(image), 1).labels.compute().tolist() == [[1]]
    row = np.arange(40, dtype=np.uint8)
    lazy = da.from_array(row, chunks=((0, 13, 0, 27),))
    np.testing.assert_array_equal(segment(lazy, 4).labels, segment(row, 4).labels)


def test_unknown_chunk_sizes_raise_error_of_one_sentence():
    image = da.from_array(np.arange(100.0), chunks=10)
    unknown = image[image > 30]
    with pytest.raises(ValueError, match="compute_chunk_sizes") as caught:
        segment(unknown, 2)
    assert str(caught.value).count(". ") == 0
    with pytest.raises(ValueError, match="mask must have chunks of known sizes"):
        segment(np.zeros(69), 2, mask=unknown)
    assert segment(unknown.compute_chunk_sizes(), 2).labels.shape == (69,)


def test_image_with_all_pixels_left_out_is_refused():
    lazy = da.zeros((40, 50), chunks=9)
    for method in METHODS:
        with pytest.raises(ValueError, match="all 2000 left out"):
            segment(lazy, 2, mask=np.zeros((40, 50)), method=method)


def test_error_of_leaf_is_not_reported_as_read_error():
    lazy = da.full((40, 50, 3), 2.0, chunks=20)
    for method in METHODS:
        with pytest.raises(ValueError, match="from 0 to 1, got 2"):
            segment(lazy, 2, color_space="lab", method=method)


# ---------------------------------------------------------- reading the chunks


class Source:
    """An array that records each read, and raises an error when the place `bad` is read."""

    def __init__(self, array, delay=0.0):
        self.array, self.delay = array, delay
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self.reads, self.bad, self.error = [], None, OSError("the disk is gone")
        self.lock = threading.Lock()

    def __getitem__(self, index):
        place = tuple((side.start, side.stop) for side in index)
        with self.lock:
            self.reads.append(place)
        if self.bad is not None and place[: len(self.bad)] == self.bad:
            raise self.error
        time.sleep(self.delay)
        return self.array[index]


def lazy_source(array, chunks, **options):
    source = Source(array, **options)
    return source, da.from_array(
        source, chunks=chunks, meta=np.empty((0,) * array.ndim, array.dtype)
    )


@pytest.mark.parametrize("method", METHODS)
def test_each_chunk_is_read_once_to_fit_and_once_to_paint(method, monkeypatch):
    small_batches(monkeypatch, 20_000)
    source, lazy = lazy_source(data.coffee(), (100, 120, 3))
    result = segment(lazy, 6, method=method)
    assert len(source.reads) == len(set(source.reads)) == 4 * 5
    dask.compute(result.labels, result.recolored)
    assert sorted(source.reads) == sorted(2 * list(dict.fromkeys(source.reads)))
    source.reads.clear()
    result.labels[:50, :50].compute()
    assert len(source.reads) == 1


def test_read_shared_by_many_chunks_is_done_once():
    source, lazy = lazy_source(data.coffee(), -1)
    segment(lazy.rechunk((50, 60, 3)), 4)
    assert len(source.reads) == 1


def test_persisted_image_is_not_read_again():
    source, lazy = lazy_source(data.coffee() / 255, (100, 120, 3))
    persisted = lazy.persist()
    source.reads.clear()
    segment(persisted, 4, method="full", max_iter=5)
    assert source.reads == []


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
@pytest.mark.parametrize(
    ("error", "kind"),
    [(OSError("the disk is gone"), ChunkError), (RuntimeError("bad\nbytes."), ChunkError),
     (KeyError(3), ChunkError), (MemoryError(), MemoryError)],
)  # fmt: skip
def test_read_error_names_the_chunk(error, kind, scheduler):
    source, lazy = lazy_source(data.coffee(), (100, 120, 3))
    source.bad, source.error = ((100, 200), (240, 360)), error
    with (
        pytest.raises(kind, match=r"chunk \[100:200, 240:360\] of the image") as caught,
        dask.config.set(scheduler=scheduler),
    ):
        segment(lazy, 4)
    assert isinstance(caught.value, (OSError, MemoryError))
    assert isinstance(caught.value.__cause__, type(error))
    assert "\n" not in str(caught.value)
    assert str(caught.value).count(". ") == 0


def test_read_error_names_the_image_and_covers_masks():
    image = data.coffee()
    source, lazy = lazy_source(image, (100, 120, 3))
    source.bad = ((0, 100), (0, 120))
    with pytest.raises(OSError, match=r"chunk \[0:100, 0:120\] of image 1 cannot be read"):
        segment([image, lazy], 4)
    source, mask = lazy_source(np.ones((400, 600)), (100, 120))
    source.bad = ((300, 400), (0, 120))
    with pytest.raises(OSError, match=r"chunk \[300:400, 0:120\] of the image"):
        segment(da.from_array(image, chunks=(100, 120, 3)), 4, mask=mask)


def test_chunk_that_fails_only_once_raises_error():
    source, lazy = lazy_source(data.coffee(), (100, 120, 3))

    class Once(OSError):
        def __init__(self):
            source.bad = None
            super().__init__("for once")

    source.bad = ((0, 100), (0, 120))
    type(source).error = property(lambda self: Once(), lambda self, value: None)
    try:
        with pytest.raises(ChunkError, match="cannot be read, got Once: for once"):
            segment(lazy, 4)
    finally:
        del type(source).error
    segment(lazy, 4)


# ------------------------------------------------------- progress and cancellation


class Canceled(Exception):
    pass


@pytest.mark.parametrize("dtype", ["u1", "f4"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", [1, 10**9])
def test_canceling_stops_reading(dtype, method, batch, monkeypatch):
    small_batches(monkeypatch, batch)
    array = data.coffee().astype(dtype)
    source, lazy = lazy_source(array, (50, 60, 3), delay=0.02)
    callers = set()

    def progress(done, total):
        callers.add(threading.get_ident())
        if len(source.reads) >= 6:
            raise Canceled

    with pytest.raises(Canceled):
        segment(lazy, 4, rgb=True, method=method, progress=progress)
    n_reads = len(source.reads)
    time.sleep(0.3)
    # At most the reads that had started before the cancellation were finished.
    assert len(source.reads) <= n_reads + os.cpu_count()
    assert n_reads < 80
    assert callers == {threading.get_ident()}
    assert not [thread for thread in threading.enumerate() if "napari-kmeans" in thread.name]


def test_run_can_be_canceled_during_a_slow_read():
    source, lazy = lazy_source(data.coffee(), -1, delay=1)
    calls = []

    def progress(done, total):
        calls.append(done)
        if len(calls) > 3:
            raise Canceled

    with pytest.raises(Canceled):
        segment(lazy, 4, progress=progress)
    assert len(source.reads) == 1


def test_run_can_be_canceled_within_a_large_chunk(monkeypatch):
    stop = threading.Event()
    seen = []

    def leaf(batch):
        for piece in batch.pieces:
            seen.append(len(piece.values))
            stop.set()
            time.sleep(0.05)

    def step(_n):
        if stop.is_set():
            raise Canceled

    image = da.zeros((2**13, 2**11), np.uint8, chunks=-1)
    with pytest.raises(Canceled):
        map_reduce(open_images(image), leaf, lambda results: None, step)
    assert 0 < len(seen) < 2**24 // 2**19


@pytest.mark.parametrize("method", METHODS)
def test_each_batch_counts_as_one_step(method, monkeypatch):
    small_batches(monkeypatch, 20_000)
    lazy = da.from_array(data.coffee(), chunks=(100, 120, 3))
    images = open_images([lazy, data.coffee()])
    assert count_steps(images) == 10 + len(images[1].blocks())
    steps = []
    codec = find_codec(images, steps.append)
    assert not steps
    build_histogram(images, codec, steps.append)
    assert sum(steps) == count_steps(images)
    seen = []
    segment(lazy, 4, method=method, progress=lambda *args: seen.append(args))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (1000, 1000)


def test_dask_callbacks_of_the_user_are_called(monkeypatch):
    keys = []
    with Callback(posttask=lambda key, *rest: keys.append(key)):
        segment(da.from_array(data.coffee(), chunks=100), 4)
    assert any("batch" in str(key) for key in keys)


def test_eight_concurrent_threads_give_the_same_labels(monkeypatch):
    small_batches(monkeypatch, 20_000)
    image = da.from_array(data.coffee(), chunks=(100, 120, 3))
    expected = segment(image, 6).labels.compute()
    results = [None] * 8

    def work(number):
        results[number] = segment(image, 6).labels.compute()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for labels in results:
        np.testing.assert_array_equal(labels, expected)


# ------------------------------------------------------------------ painted arrays


def test_table_of_labels_is_one_small_key_of_the_graph():
    image = data.coffee()
    lazy = da.from_array(image, chunks=50)
    result = segment(lazy, 8, method="full")
    for painted in (result.labels, result.recolored):
        (painted,) = dask.optimize(painted)
        graph = dict(painted.__dask_graph__())
        assert sum("painter" in str(key) for key in graph) == 1
        assert len(pickle.dumps(graph)) < 4 * 2**20


def test_pickled_painter_paints_the_same_labels():
    image = data.coffee()
    images = open_images(image)
    histogram = build_histogram(images, find_codec(images))
    painter = Painter(np.array([[0.0, 0, 0], [99, 99, 99]]), FeatureSpace("rgb", 255.0))
    painter = painter.with_table(histogram)
    copy = pickle.loads(pickle.dumps(painter))
    assert len(copy.table.pages) == 2**18
    piece = Piece(image.reshape(-1, 3), None, [])
    labels, expected = np.zeros((2, len(piece.values)), painter.dtype)
    copy.label(piece, labels)
    painter.label(piece, expected)
    assert expected.all()
    np.testing.assert_array_equal(labels, expected)


def test_painted_arrays_can_be_saved_to_zarr(tmp_path):
    image = data.coffee()
    result = segment(da.from_array(image, chunks=(100, 150, 3)), 5)
    expected = segment(image, 5)
    for name, array in (("labels", result.labels), ("recolored", result.recolored)):
        array.to_zarr(str(tmp_path / name))
        saved = da.from_zarr(str(tmp_path / name))
        np.testing.assert_array_equal(saved, getattr(expected, name))
        assert saved.chunks == array.chunks


# ------------------------------------------------------------------------- clusters


@pytest.mark.parametrize("dtype", ["u1", "f4"])
@pytest.mark.parametrize("method", METHODS)
def test_cluster_gives_the_result_of_threads(client, dtype, method, monkeypatch):
    small_batches(monkeypatch, 20_000)
    mask = np.ones((200, 300), bool)
    mask[:20] = False
    lazy = da.from_array(data.coffee()[:200, :300].astype(dtype), chunks=(60, 70, 3))
    with dask.config.set(scheduler="threads"):
        expected = segment(lazy, 5, rgb=True, method=method, mask=mask)
        labels, recolored = dask.compute(expected.labels, expected.recolored)
    seen = []
    result = segment(
        lazy, 5, rgb=True, method=method, mask=mask, progress=lambda *args: seen.append(args)
    )
    assert seen[-1] == (1000, 1000)
    assert result.model.to_dict() == expected.model.to_dict()
    assert result.table.equals(expected.table)
    np.testing.assert_array_equal(result.labels.compute(), labels)
    np.testing.assert_array_equal(result.recolored.compute(), recolored)
    if method == "coreset":
        np.testing.assert_array_equal(result.coreset.positions, expected.coreset.positions)


def test_read_error_on_cluster_names_the_chunk_and_later_runs_work(client):
    # Defined inside the test, because the workers cannot import the tests.
    def break_chunk(block, block_info=None):
        if block_info[0]["chunk-location"][:2] == (1, 2):
            raise RuntimeError("no such chunk")
        return block

    image = da.from_array(data.coffee(), chunks=(100, 120, 3))
    broken = image.map_blocks(break_chunk, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    with pytest.raises(ChunkError, match=r"\[100:200, 240:360\] .* RuntimeError: no such chunk"):
        segment(broken, 4)
    assert segment(image, 4).model.n_clusters == 4


def test_image_persisted_on_cluster_gives_labels_of_numpy(client):
    image = data.coffee()
    persisted = da.from_array(image, chunks=(100, 120, 3)).persist()
    np.testing.assert_array_equal(segment(persisted, 4).labels, segment(image, 4).labels)


def slowed(image):
    def slow(block):
        time.sleep(0.1)
        return block

    return image.map_blocks(slow, dtype=image.dtype, meta=image._meta)


def test_cluster_is_idle_after_cancellation(client, monkeypatch):
    small_batches(monkeypatch, 1)
    lazy = slowed(da.from_array(data.coffee(), chunks=(50, 60, 3)))
    done_at = []

    def progress(done, total):
        done_at.append(done)
        if done > 20:
            raise Canceled

    with pytest.raises(Canceled):
        segment(lazy, 4, progress=progress)
    end = time.monotonic() + 2
    while any(client.processing().values()) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(client.processing().values())


def test_killed_worker_is_replaced_and_result_is_complete(monkeypatch):
    small_batches(monkeypatch, 1)
    image = data.coffee()
    expected = segment(image, 6, method="full").labels
    lazy = slowed(da.from_array(image, chunks=(100, 60, 3)))
    with (
        dask.config.set({"distributed.comm.retry.count": 0}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        pids = list(client.run(os.getpid).values())
        killed = []

        def progress(done, total):
            if done > 100 and not killed:
                os.kill(pids[0], signal.SIGKILL)
                killed.append(done)

        result = segment(lazy, 6, method="full", progress=progress)
        np.testing.assert_array_equal(result.labels.compute(), expected)
        assert killed
        assert pids[0] not in client.run(os.getpid).values()


def test_no_thread_remains_after_a_run():
    image = da.from_array(data.coffee(), chunks=(100, 100, 3))
    before = set(threading.enumerate())
    with dask.config.set(scheduler="threads"):
        summarize(image, rgb=True)
    ends = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < ends:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


# --------------------------------------------------------------------------- pieces


@pytest.mark.parametrize(
    "space", [FeatureSpace("lab", 255.0), PLAIN.scaled(np.ones(3), np.full(3, 4.0))]
)
def test_points_of_a_piece_are_those_of_the_pixels_that_are_not_left_out(space):
    image = data.coffee()[:60, :70]
    mask = np.random.default_rng(0).random(image.shape[:2]) < 0.7
    expected = rgb2lab(image)[mask] if space.color_space == "lab" else (image[mask] - 1.0) / 4
    for array in (image, da.from_array(image, chunks=(25, 70, 3))):
        points = map_reduce(
            open_images(array, mask=mask),
            lambda batch: np.concatenate([piece.points for piece in batch.pieces]),
            np.concatenate,
            space=space,
        )
        np.testing.assert_allclose(points, expected)
