import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from napari_kmeans.execution.threads import limit_threads, map_threads, n_threads


@pytest.fixture(params=[1, 4])
def threads(request, monkeypatch):
    monkeypatch.setattr("napari_kmeans.execution.threads.n_threads", lambda: request.param)
    return request.param


def test_map_returns_results_in_order_and_reports_every_item(threads):
    def square(number):
        time.sleep(0.002 * (5 - number))
        return number**2

    steps = []
    assert map_threads(square, range(5), steps.append) == [0, 1, 4, 9, 16]
    assert steps == [1] * 5


def test_map_drops_waiting_items_when_an_item_fails(threads):
    started = []

    def work(number):
        started.append(number)
        if number == 0:
            raise OSError("no such block")
        time.sleep(0.01)

    with pytest.raises(OSError, match="no such block"):
        map_threads(work, range(200))
    assert len(started) < 20


def test_map_drops_waiting_items_while_an_earlier_item_is_running(monkeypatch):
    monkeypatch.setattr("napari_kmeans.execution.threads.n_threads", lambda: 2)
    started = []

    def work(number):
        started.append(number)
        if number == 1:
            raise OSError("no such block")
        time.sleep(0.5 if number == 0 else 0.01)

    with pytest.raises(OSError, match="no such block"):
        map_threads(work, range(200))
    assert len(started) < 20


def test_map_drops_waiting_items_when_the_user_cancels(threads):
    started = []

    def work(number):
        started.append(number)
        time.sleep(0.02)

    def step(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_threads(work, range(1000), step)
    assert len(started) < 100
    assert not [thread for thread in threading.enumerate() if "napari-kmeans" in thread.name]


def test_map_inside_a_map_uses_no_further_threads(threads):
    def name(_):
        return threading.current_thread().name

    inner = map_threads(lambda _: set(map_threads(name, range(3))), range(4))
    assert all(len(names) == 1 for names in inner)


COUNT_IN_TURNS = """
import os
from napari_kmeans.execution.threads import n_threads

allowed = os.sched_getaffinity(0)
counts = [n_threads()]
os.sched_setaffinity(0, {min(allowed)})
counts.append(n_threads())
os.sched_setaffinity(0, allowed)
counts.append(n_threads())
print(*counts)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
@pytest.mark.parametrize("limit", [1, 1000])
def test_number_of_threads_follows_the_affinity_and_the_limit_of_the_environment(limit):
    counts = subprocess.run(
        [sys.executable, "-c", COUNT_IN_TURNS],
        env={**os.environ, "LOKY_MAX_CPU_COUNT": str(limit)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    here = min(limit, n_threads())
    assert counts == [str(here), "1", str(here)]


def test_the_limit_counts_in_all_threads_and_in_dask():
    import dask.array as da

    seen = set()

    def note(block):
        seen.add(threading.get_ident())
        time.sleep(0.01)
        return block

    blocks = da.ones((40,), chunks=5).map_blocks(note, meta=np.ones(0))
    before = n_threads()
    with limit_threads(1):
        blocks.compute(scheduler="threads")
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(n_threads).result() == 1
    assert len(seen) == 1
    assert n_threads() == before
    with limit_threads(before + 1):
        assert n_threads() == before
    with limit_threads(None):
        assert n_threads() == before


def test_map_of_one_item_does_not_count_the_processors():
    code = (
        "import sys; from napari_kmeans.execution.threads import map_threads; "
        "map_threads(abs, [-1]); sys.exit('joblib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
