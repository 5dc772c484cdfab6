"""A map over blocks on threads, with results in the order of the blocks."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from napari_kmeans.progress import Step, ignore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Item = TypeVar("Item")
Result = TypeVar("Result")

_thread = threading.local()


def n_threads() -> int:
    """Return how many threads a map uses: the processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_threads(
    function: Callable[[Item], Result], items: Iterable[Item], step: Step = ignore
) -> list[Result]:
    """Return ``[function(item) for item in items]``, computed on a pool of threads.

    `step(1)` is called in the calling thread after each item, in order. If it
    or an item raises, items that have not begun are dropped, those that have
    are waited for, and the exception travels on. A map within a map runs in
    the thread of the outer one.
    """
    todo = list(items)
    workers = min(n_threads(), len(todo))
    if workers < 2 or getattr(_thread, "is_worker", False):
        return [_stepped(function(item), step) for item in todo]
    with ThreadPoolExecutor(workers, "napari-kmeans", initializer=_mark_worker) as pool:
        futures = [pool.submit(function, item) for item in todo]
        try:
            return [_stepped(future.result(), step) for future in futures]
        finally:
            for future in futures:
                future.cancel()


def _mark_worker() -> None:
    _thread.is_worker = True


def _stepped(result: Result, step: Step) -> Result:
    step(1)
    return result
