"""Test that many runs keep no objects except those of the last run, and of the one before it.

The default is 20 runs. ``RUNS=500`` makes 500 runs, and checks that memory does not grow.
"""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections import Counter
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from napari.layers import Layer
from napari.qt.threading import thread_worker
from napari.utils import resize_dask_cache
from skimage import data

from napari_kmeans.execution.memory import trim_heaps
from napari_kmeans.viewer.background.worker import warm_up

RUNS = int(os.environ.get("RUNS", "0"))
MAX_GROWTH = 1.05
"""Largest factor between the memory in use after the tenth run and after the last run."""

FIRST_SAMPLE = {"lazy": 3}
"""First memory sample that counts, if not the first; a sample is taken every ten runs. More
threads read lazy images, and the heap of each thread takes longer to reach its size."""

KEPT_BY_NAPARI = {"SegmentationWorker"}
"""napari's list of workers keeps every worker, but not the task of the worker."""

DOCKS = {
    "in place": {},
    "with points": {"add_points": True},
    "live": {"live": True},
    "added and removed": {"update_layers": False},
    "lazy": {"n_init": 1},
}


@pytest.fixture
def viewer(make_napari_viewer, request):
    # Points that are never drawn keep all their drawing commands: show the window for them.
    # Do not show it for the other kinds: OpenGL without a graphics card fails with hundreds
    # of added and removed layers.
    return make_napari_viewer(show=bool(RUNS) and "points" in request.node.name)


@pytest.fixture(autouse=True)
def no_cache(viewer):
    """Switch off napari's cache of the chunks of lazy layers, which uses a share of the memory."""
    size = resize_dask_cache().cache.available_bytes
    resize_dask_cache(0)
    yield
    resize_dask_cache(size)


def memory():
    """Return the anonymous memory of the process in bytes, after its heaps were trimmed.

    Pages of mapped files are not counted: the system loads and drops them at any time.
    """
    trim_heaps()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def count_objects():
    """Return the number of objects of each class of this package, of layers and of dask arrays."""
    gc.collect()
    kinds = (type(each) for each in gc.get_objects())
    counts = Counter(
        kind.__name__
        for kind in kinds
        if str(kind.__module__).startswith("napari_kmeans") or issubclass(kind, Layer | da.Array)
    )
    for name in KEPT_BY_NAPARI:
        del counts[name]
    return counts


@pytest.mark.parametrize("kind", DOCKS)
def test_earlier_runs_leave_no_objects(viewer, open_dock, qtbot, forget_drawing, kind):
    photograph = data.coffee() if RUNS else data.coffee()[::4, ::4]
    image = da.from_array(photograph, chunks=(200, 200, 3)) if kind == "lazy" else photograph
    source = viewer.add_image(image, name="coffee", rgb=True)
    dock = open_dock()
    for name, value in DOCKS[kind].items():
        getattr(dock, name).value = value
    share = share_of_napari(viewer, qtbot, kind == "added and removed") if RUNS else 0
    print(f"{share / 1e6:.1f} MB are napari's own")
    outcomes, counts, sizes = [], [], []
    dock.segmented.connect(lambda result: outcomes.append(weakref.ref(result.outcome)))
    for number in range(1, max(RUNS, 20) + 1):
        run(dock, number, qtbot, outcomes)
        if kind == "added and removed":
            viewer.layers.selection.active = source
            for layer in [each for each in viewer.layers if each is not source]:
                viewer.layers.remove(layer)
        if number % 10 == 0:
            qtbot.wait(50)
            forget_drawing()
            counts.append((count_objects(), threading.active_count()))
            sizes.append(memory() if RUNS else 0)
            print(number, f"{sizes[-1] / 1e6:.0f} MB", len(gc.get_objects()), "objects")
    objects, threads = zip(counts[0], counts[-1], strict=True)
    assert objects[1] == objects[0]
    # The warm-up thread may have ended in between.
    assert threads[1] <= threads[0]
    del dock
    gc.collect()
    # *Undo run* can bring back the result before the last one.
    assert sum(outcome() is not None for outcome in outcomes) <= 2
    if RUNS:
        assert sizes[-1] - share < MAX_GROWTH * sizes[FIRST_SAMPLE.get(kind, 1) - 1]


@thread_worker
def do_nothing():
    yield


def share_of_napari(viewer, qtbot, with_layers):
    """Return the growth of memory, in bytes, by the same number of empty workers and layers."""
    warm_up().join()
    active, sizes = viewer.layers.selection.active, []
    for _ in range(RUNS):
        worker = do_nothing()
        with qtbot.waitSignal(worker.finished, timeout=20_000):
            worker.start()
        if with_layers:
            viewer.layers.remove(viewer.add_labels(np.ones((400, 600), np.uint8)))
            viewer.layers.remove(viewer.add_image(np.ones((400, 600, 3), np.uint8)))
        sizes.append(memory())
    viewer.layers.selection.active = active
    return sizes[-1] - sizes[9]


def run(dock, number, qtbot, outcomes):
    n_before, runner = len(outcomes), dock._runner
    if dock.live.value:
        dock.n_clusters.value = 2 + number % 5
    else:
        dock.run()
    qtbot.waitUntil(lambda: len(outcomes) > n_before and not runner.is_running, timeout=60_000)
