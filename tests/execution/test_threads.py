import threading
import time

import pytest

from napari_kmeans.execution.threads import map_threads


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


def test_map_drops_waiting_items_when_the_user_cancels(threads):
    started = []

    def work(number):
        started.append(number)
        time.sleep(0.002)

    def step(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_threads(work, range(200), step)
    assert len(started) < 20
    assert not [thread for thread in threading.enumerate() if "napari-kmeans" in thread.name]


def test_map_inside_a_map_uses_no_further_threads(threads):
    def name(_):
        return threading.current_thread().name

    inner = map_threads(lambda _: set(map_threads(name, range(3))), range(4))
    assert all(len(names) == 1 for names in inner)
