"""Compute a dask graph with the active dask scheduler, with progress and cancellation."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import POLL_SECONDS, Stopped, in_task

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from napari_kmeans.types import Result

Item = TypeVar("Item")


def merge_graphs(arrays: Iterable[Any]) -> dict[Any, Any]:
    """Return the tasks of dask arrays as one graph, in which data that they share are read once.

    `dask.optimize` optimizes each array by itself (dask 2026.8): it fuses the task that reads a
    chunk into each task that uses it, and reads the chunk for each channel.
    """
    from dask.array.optimization import optimize
    from dask.core import flatten
    from dask.highlevelgraph import HighLevelGraph

    arrays = list(arrays)
    keys = [key for array in arrays for key in flatten(array.__dask_keys__())]
    graph = HighLevelGraph.merge(*(array.__dask_graph__() for array in arrays))
    return dict(optimize(graph, keys))


class TaskFailed(Exception):
    """A task of a graph has failed: its exception is the ``__cause__`` of this exception.

    Attributes
    ----------
    suspects : set of keys
        These tasks include the task that failed, or a task that depends on it.
    """

    def __init__(self, suspects: Iterable[Any]) -> None:
        super().__init__()
        self.suspects = set(suspects)


def compute_graph(
    tasks: dict[Any, Any],
    root: Any,
    leaves: Sequence[Any],
    stop: threading.Event,
    step: Step = ignore,
) -> Any:
    """Return the result of task `root`, computed with the active scheduler of dask.

    Parameters
    ----------
    tasks : dict
        A dask graph.
    root : key
    leaves : sequence of keys
        The tasks that are counted as steps.
    stop : Event
        An event that this function sets at the end, or after an error. Tasks that are
        still running can look at it and stop.
    step : callable
        Called in this thread several times a second, with the number of leaves that
        have ended since the last call, which may be 0. If it raises, no further task
        is started and the exception is passed on.

    Raises
    ------
    TaskFailed
        If a task raises.
    """
    from dask.optimization import cull

    get = _active_scheduler()
    client = getattr(get, "__self__", None)
    needed: dict[Any, Any] = cull(tasks, [root])[0]
    try:
        if client is None:
            return _compute_in_process(get, needed, root, leaves, stop, step)
        return _compute_on_cluster(client, needed, root, leaves, step)
    finally:
        stop.set()


def active_client() -> Any:
    """Return the active `distributed.Client`; None if dask computes in this process."""
    client = getattr(_active_scheduler(), "__self__", None)
    return client if hasattr(client, "submit") else None


def is_on_threads() -> bool:
    """Return whether dask computes on threads of this process, which share its memory."""
    from dask import local, threaded

    return _active_scheduler() in (threaded.get, local.get_sync)


def map_on_cluster(
    client: Any,
    function: Callable[[Item], Result],
    items: Sequence[Item],
    on_result: Callable[[int, Result], object],
    step: Step = ignore,
) -> None:
    """Call a function for each item on the workers of a cluster.

    A worker that dies costs a retry of its items.

    Parameters
    ----------
    client : distributed.Client
    function : callable
        It runs in one thread of a worker, and computes dask arrays there.
    items : sequence
    on_result : callable
        Called in this thread with the number of an item and its result, as soon as it is known.
    step : callable
        Called in this thread several times a second with 0. If it or `on_result` raises, items
        that have not started are dropped, and the exception is passed on.
    """
    from distributed import wait as wait_for

    if not items:
        return
    futures = client.map(_run_on_worker, [function] * len(items), items, pure=False, retries=2)
    numbers = {future.key: number for number, future in enumerate(futures)}
    pending = set(futures)
    try:
        while pending:
            with suppress(TimeoutError):
                wait_for(pending, timeout=POLL_SECONDS, return_when="FIRST_COMPLETED")
            for future in [each for each in pending if each.done()]:
                pending.discard(future)
                on_result(numbers[future.key], future.result())
                # The cluster can then free the result.
                future.release()
            step(0)
    finally:
        client.cancel(list(pending))


def _run_on_worker(function: Callable[[Item], Result], item: Item) -> Result:
    """Run a task in one thread, whose dask arrays are not computed by other workers.

    A task that waits for other tasks of its cluster could wait forever.
    """
    from dask import config

    with config.set(scheduler="threads"), in_task():
        return function(item)


def _active_scheduler() -> Callable[..., Any]:
    """Return the function that dask computes arrays with, perhaps a method of a Client."""
    from dask import config, threaded
    from dask.array import Array
    from dask.base import get_scheduler

    if "distributed" not in sys.modules and not config.get("scheduler", None):
        # get_scheduler would import distributed, to look for an active Client.
        return threaded.get
    return get_scheduler(cls=Array)  # type: ignore[no-any-return]


class _Callbacks:
    """The callbacks of a graph that is computed in this process."""

    def __init__(self, leaves: Sequence[Any], stop: threading.Event) -> None:
        self.leaves = set(leaves)
        self.stop = stop
        self.n_done = 0
        self.suspects: set[Any] = set()

    def as_tuple(self) -> tuple[Any, ...]:
        """Return the callbacks in the order that dask expects."""
        return None, None, self.on_task_start, self.on_task_end, self.on_graph_end

    def on_task_start(self, key: Any, graph: Any, state: Any) -> None:
        """Start no further task after the stop."""
        if self.stop.is_set():
            raise Stopped

    def on_task_end(self, key: Any, result: Any, graph: Any, state: Any, worker: Any) -> None:
        """Count the leaves that have ended."""
        self.n_done += key in self.leaves
        self.on_task_start(key, graph, state)

    def on_graph_end(self, graph: Any, state: Any, errored: bool) -> None:
        """After an error, collect the tasks that were running, and all that depend on these."""
        keys = list(state.get("running", ())) if errored else []
        while keys:
            key = keys.pop()
            if key not in self.suspects:
                self.suspects.add(key)
                keys.extend(state["dependents"].get(key, ()))


def _compute_in_process(
    get: Callable[..., Any],
    tasks: dict[Any, Any],
    root: Any,
    leaves: Sequence[Any],
    stop: threading.Event,
    step: Step,
) -> Any:
    from dask.callbacks import Callback

    graph_callbacks = _Callbacks(leaves, stop)
    # dask ignores the active callbacks, such as its progress bar, if callbacks are passed:
    # pass these too.
    callbacks = [graph_callbacks.as_tuple(), *Callback.active]
    n_reported = 0
    # Compute on another thread: this thread calls `step` while a chunk is being read.
    with _temporary_pool(get) as options, ThreadPoolExecutor(1, "napari-kmeans") as pool:
        future = pool.submit(get, tasks, root, callbacks=callbacks, **options)
        try:
            while not wait([future], timeout=POLL_SECONDS).done:
                n_done = graph_callbacks.n_done
                step(n_done - n_reported)
                n_reported = n_done
        finally:
            stop.set()
    if error := future.exception():
        raise TaskFailed(graph_callbacks.suspects) from error
    step(len(leaves) - n_reported)
    return future.result()


@contextmanager
def _temporary_pool(get: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """Give dask a pool of threads that end with the graph, unless dask has settings for it.

    Called from a thread other than the main thread, dask would make a pool with more
    threads than processors, and keep this pool after the calling thread has ended.
    """
    from dask import config, threaded
    from dask.system import CPU_COUNT

    if get is not threaded.get or config.get("num_workers", None) or config.get("pool", None):
        yield {}
        return
    pool = ThreadPoolExecutor(CPU_COUNT, "napari-kmeans-dask")
    try:
        yield {"pool": pool}
    finally:
        # After an error, do not wait for chunks that are still being read.
        pool.shutdown(wait=False)


def _compute_on_cluster(
    client: Any, tasks: dict[Any, Any], root: Any, leaves: Sequence[Any], step: Step
) -> Any:
    from distributed import wait as wait_for

    # No retries are needed here: the cluster runs tasks again whose worker was lost.
    *pending, result = client.get(tasks, [*leaves, root], sync=False)
    try:
        while not result.done():
            with suppress(TimeoutError):
                wait_for([result], timeout=POLL_SECONDS)
            n_before = len(pending)
            # Drop the futures of finished leaves: the cluster can then free the result of a
            # leaf once it is merged.
            pending = [future for future in pending if future.status != "finished"]
            step(n_before - len(pending))
        try:
            value = result.result()
        except Exception as error:
            raise TaskFailed(leaf.key for leaf in pending if leaf.status == "error") from error
        step(len(pending))
        return value
    finally:
        # The cluster cancels tasks that no future waits for.
        for future in [*pending, result]:
            future.release()
