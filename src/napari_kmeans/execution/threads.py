"""Map a function over items on threads, with results in the order of the items."""

from __future__ import annotations

import os
import threading
import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from napari_kmeans.execution.progress import Step, ignore

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from napari_kmeans.types import Result

Item = TypeVar("Item")

_thread = threading.local()

_limit: int | None = None
"""The number of threads that `limit_threads` allows; None for all processors."""

POLL_SECONDS = 0.1
"""The seconds between two calls of a step function, in which the user can cancel."""


def n_threads() -> int:
    """Return the number of threads of a map: the processors that this process may use.

    These are the processors of its affinity, or fewer if a container has a smaller quota
    of processor time, if the environment variable LOKY_MAX_CPU_COUNT is smaller, or in
    `limit_threads`.
    """
    if _limit == 1:
        return 1
    if not hasattr(os, "sched_getaffinity"):
        number = _count_processors(None)
    else:
        affinity = frozenset(os.sched_getaffinity(0))
        number = 1 if len(affinity) == 1 else _count_processors(affinity)
    return number if _limit is None else min(number, _limit)


@contextmanager
def limit_threads(number: int | None) -> Iterator[None]:
    """Use at most so many threads in this process within the context, also those of dask.

    None sets no limit. Do not use it in a library: it counts for all threads of the process.
    """
    global _limit
    if number is None:
        yield
        return
    from dask import config

    before, _limit = _limit, number
    try:
        with config.set(num_workers=n_threads()):
            yield
    finally:
        _limit = before


def n_workers() -> int:
    """Return the number of threads of a map that starts in this thread: 1 inside a task."""
    return 1 if _in_task() else n_threads()


@lru_cache(maxsize=1)
def _count_processors(_affinity: frozenset[int] | None) -> int:
    """Return joblib's count, and ask again only if the affinity has changed.

    joblib reads files: a count takes 50 microseconds, as long as a map over a small image.
    """
    # Imported here because the import takes 0.1 seconds, and maps of one item need no count.
    with warnings.catch_warnings():
        # joblib warns if it cannot make a semaphore, as on a full disk. None is needed here.
        warnings.simplefilter("ignore", UserWarning)
        from joblib import cpu_count

    return int(cpu_count())


class Stopped(Exception):
    """Raised inside a task whose map has already failed or been canceled."""


@contextmanager
def shared_pool() -> Iterator[None]:
    """Run all maps of this thread within the context on one pool, instead of one pool each."""
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

    A map inside a task of another map runs in the thread of that task.

    Parameters
    ----------
    function : callable
        Called with each item, on several threads at a time.
    items : iterable
    step : callable
        Called in the calling thread: with 1 for each item that is done, and with 0 several times
        a second while only other threads work.

    Raises
    ------
    Exception
        Any exception that `function` or `step` raises. Before it is passed on, items
        that have not started are dropped, and running items are waited for.

    Notes
    -----
    The calling thread and those of the pool take one item after another. One future for each item,
    for which the calling thread wakes up, took 40 microseconds of processor time more per item:
    with hundreds of short items, a tenth of a run.
    """
    all_items = list(items)
    if len(all_items) < 2 or _in_task() or n_threads() < 2:
        return [_report_item(function(item), step) for item in all_items]
    stop, waiting = threading.Event(), deque(enumerate(all_items))
    results: dict[int, Result] = {}
    errors: list[BaseException] = []

    def work(reporter: _Reporter | None = None) -> None:
        try:
            with in_task(stop):
                while not stop.is_set():
                    try:
                        number, item = waiting.popleft()
                    except IndexError:
                        return
                    results[number] = function(item)
                    if reporter is not None:
                        reporter.report()
        except BaseException as error:
            # The first error is the cause: it stops all other items.
            errors.append(error)
            stop.set()

    reporter = _Reporter(results, step)
    with shared_pool():
        # A task has the listeners of its caller: see `notices_to` and `waits_to`.
        n_others = min(n_threads(), len(all_items)) - 1
        futures = [_thread.pool.submit(copy_context().run, work) for _ in range(n_others)]
        try:
            work(reporter)
            while wait(futures, POLL_SECONDS).not_done:
                if not reporter.report():
                    step(0)
            if errors:
                raise errors[0]
            reporter.report()
        finally:
            stop.set()
            wait(futures)
            # An error and this frame would keep each other, and all results, in memory.
            errors.clear()
    return [results[number] for number in range(len(all_items))]


def map_slices(function: Callable[[slice], Result], length: int, size: int) -> list[Result]:
    """Return the results of a function for slices of `size` that cover `length`, on threads."""
    starts = range(0, length, size)
    return map_threads(function, [slice(start, min(start + size, length)) for start in starts])


def raise_if_stopped(_steps: float = 0) -> None:
    """Raise Stopped if the map of the current task has ended. This is also a step function."""
    if _in_task() and _thread.stop.is_set():
        raise Stopped


@contextmanager
def in_task(stop: threading.Event | None = None) -> Iterator[None]:
    """Run the work within the context as a task: its maps run in this thread.

    For tasks on the threads of another scheduler, such as dask, which has work for the
    other processors. The work is stopped when the event `stop` is set.
    """
    saved = vars(_thread).copy()
    _thread.stop = stop or threading.Event()
    try:
        yield
    finally:
        vars(_thread).clear()
        vars(_thread).update(saved)


class _Reporter:
    """Reports the number of results to a step function."""

    def __init__(self, results: Collection[Any], step: Step) -> None:
        self._results, self._step, self._n_reported = results, step, 0

    def report(self) -> bool:
        """Call the step function with 1 for each new result; return whether there was one."""
        before, self._n_reported = self._n_reported, len(self._results)
        for _ in range(before, self._n_reported):
            self._step(1)
        return before < self._n_reported


def _in_task() -> bool:
    return hasattr(_thread, "stop")


def _report_item(result: Result, step: Step) -> Result:
    raise_if_stopped()
    step(1)
    return result
