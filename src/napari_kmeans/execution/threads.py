"""A map over blocks on threads, with results in the order of the blocks."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from napari_kmeans.execution.progress import Step, ignore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Item = TypeVar("Item")
Result = TypeVar("Result")

_thread = threading.local()

POLL_SECONDS = 0.1
"""How often a user is given a chance to cancel."""


def n_threads() -> int:
    """Return how many threads a map uses: the processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Stopped(Exception):
    """Raised in a task that goes on for nothing: its map has failed or was canceled."""


@contextmanager
def shared_pool() -> Iterator[None]:
    """Let the maps that this thread makes inside use one pool, instead of one each."""
    if hasattr(_thread, "pool") or _in_task():
        yield
        return
    with ThreadPoolExecutor(n_threads(), "napari-kmeans") as pool:
        _thread.pool = pool
        try:
            yield
        finally:
            del _thread.pool


def map_threads(
    function: Callable[[Item], Result], items: Iterable[Item], step: Step = ignore
) -> list[Result]:
    """Return ``[function(item) for item in items]``, computed on a pool of threads.

    `step(1)` is called in the calling thread after each item, in order, and
    `step(0)` several times a second. If it or an item raises, items that have
    not begun are dropped, those that have are waited for, and the exception
    travels on. A map within a map runs in the thread of the outer one.
    """
    todo = list(items)
    if min(n_threads(), len(todo)) < 2 or _in_task():
        return [_stepped(function(item), step) for item in todo]
    stop = threading.Event()

    def run(item: Item) -> Result:
        with in_task(stop):
            return function(item)

    with shared_pool():
        futures = [_thread.pool.submit(run, item) for item in todo]
        try:
            return [_stepped(_awaited(future, step), step) for future in futures]
        finally:
            stop.set()
            for future in futures:
                future.cancel()
            wait(futures)


def map_slices(function: Callable[[slice], Result], length: int, size: int) -> list[Result]:
    """Return ``function(part)`` for each slice of `size` items of `length`, on threads."""
    return map_threads(function, [slice(start, start + size) for start in range(0, length, size)])


def raise_if_stopped(_steps: float = 0) -> None:
    """Be the step of a task: raise Stopped if the map around it has ended."""
    if _in_task() and _thread.stop.is_set():
        raise Stopped


@contextmanager
def in_task(stop: threading.Event | None = None) -> Iterator[None]:
    """Make a task of what is done within: its maps run in this thread, until `stop` is set.

    For tasks on the threads of somebody else, who has work for the other processors.
    """
    before = vars(_thread).copy()
    _thread.stop = stop or threading.Event()
    try:
        yield
    finally:
        vars(_thread).clear()
        vars(_thread).update(before)


def _awaited(future: Future[Result], step: Step) -> Result:
    while not wait([future], timeout=POLL_SECONDS).done:
        step(0)
    return future.result()


def _in_task() -> bool:
    return hasattr(_thread, "stop")


def _stepped(result: Result, step: Step) -> Result:
    raise_if_stopped()
    step(1)
    return result
