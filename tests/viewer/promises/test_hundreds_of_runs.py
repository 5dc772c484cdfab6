"""Hundreds of runs in one viewer: nothing of them is kept but the last.

Twenty-five by default; ``RUNS=500`` makes as many, and looks whether memory grows.
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
MOST_GROWTH = 1.05
"""Of the memory in use, from the tenth run to the last."""

SETTLED = {"lazy": 3}
"""After how many tens of runs memory is first looked at, if not ten: more threads read lazy
images, each with a heap of its own that takes longer to find its size."""

KEPT_BY_NAPARI = {"SegmentationWorker"}
"""Its list of tasks keeps every worker there ever was, without what it worked on."""

DOCKS = {
    "in place": {},
    "with points": {"add_points": True},
    "live": {"live": True},
    "added and removed": {"update_layers": False},
    "lazy": {"n_init": 1},
}


@pytest.fixture
def viewer(make_napari_viewer, request):
    # Points that are never drawn keep all that they were told to draw. But many layers that
    # come and go are too much for OpenGL without a graphics card.
    return make_napari_viewer(show=bool(RUNS) and "points" in request.node.name)


@pytest.fixture(autouse=True)
def no_cache(viewer):
    """Let napari keep no chunks of lazy layers: it takes a share of all memory for that."""
    size = resize_dask_cache().cache.available_bytes
    resize_dask_cache(0)
    yield
    resize_dask_cache(size)


def memory():
    """Return the bytes that are the process's own, without what its allocator holds in reserve.

    Pages of files come and go.
    """
    trim_heaps()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def count_objects():
    """Return how many there are of each of this package's classes, and of layers and graphs."""
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
def test_nothing_of_earlier_runs_is_kept(viewer, open_dock, qtbot, forget_drawing, kind):
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
    for number in range(1, max(RUNS, 25) + 1):
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
    # One that warmed up may have ended since.
    assert threads[1] <= threads[0]
    del dock
    gc.collect()
    assert sum(outcome() is not None for outcome in outcomes) <= 1
    if RUNS:
        assert sizes[-1] - share < MOST_GROWTH * sizes[SETTLED.get(kind, 1) - 1]


@thread_worker
def do_nothing():
    yield


def share_of_napari(viewer, qtbot, with_layers):
    """Return by how many bytes as many workers that do nothing let it grow, and as many layers."""
    warm_up().join()
    active, sizes = viewer.layers.selection.active, []
    for _ in range(RUNS):
        worker = do_nothing()
        with qtbot.waitSignal(worker.finished):
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
