"""Computing a dask graph where dask would, with progress, and so that it can be canceled."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import POLL_SECONDS, Stopped

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Sequence


class TaskFailed(Exception):
    """A task of a graph has raised what is the cause of this.

    Attributes
    ----------
    suspects : set of keys
        The task that failed is one of these, or one of these depends on it.
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
    """Compute the task of key `root` with the scheduler that is active in dask.

    Parameters
    ----------
    tasks : dict
        A dask graph.
    root : key
    leaves : sequence of keys
        The tasks whose ends are the steps.
    stop : Event
        Set when nothing more is wanted of the tasks that still run.
    step : callable
        Called in this thread with the number of leaves that have ended since
        the last time, also 0, several times a second. If it raises, no other
        task begins, and the exception travels on.

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
            return _compute_here(get, needed, root, leaves, stop, step)
        return _compute_on(client, needed, root, leaves, step)
    finally:
        stop.set()


def _active_scheduler() -> Callable[..., Any]:
    """Return what dask computes arrays with: a function, or the method of a Client."""
    from dask import config, threaded
    from dask.array import Array
    from dask.base import get_scheduler

    if "distributed" not in sys.modules and not config.get("scheduler", None):
        # Dask would import distributed to see whether a Client is active.
        return threaded.get
    return get_scheduler(cls=Array)  # type: ignore[no-any-return]


class _Watch:
    """The callbacks of a graph that is computed in this process."""

    def __init__(self, leaves: Sequence[Any], stop: threading.Event) -> None:
        self.leaves = set(leaves)
        self.stop = stop
        self.n_done = 0
        self.suspects: set[Any] = set()

    def begun(self, key: Any, graph: Any, state: Any) -> None:
        """Begin no task after the stop."""
        if self.stop.is_set():
            raise Stopped

    def ended(self, key: Any, result: Any, graph: Any, state: Any, worker: Any) -> None:
        """Count the leaves."""
        self.n_done += key in self.leaves
        self.begun(key, graph, state)

    def finished(self, graph: Any, state: Any, errored: bool) -> None:
        """Note which tasks ran when one of them failed, and all that depend on these."""
        todo = list(state.get("running", ())) if errored else []
        while todo:
            key = todo.pop()
            if key not in self.suspects:
                self.suspects.add(key)
                todo.extend(state["dependents"].get(key, ()))


def _compute_here(
    get: Callable[..., Any],
    tasks: dict[Any, Any],
    root: Any,
    leaves: Sequence[Any],
    stop: threading.Event,
    step: Step,
) -> Any:
    from dask.callbacks import Callback

    watch = _Watch(leaves, stop)
    # Those that are active for all of dask would be left out where some are given.
    callbacks = [(None, None, watch.begun, watch.ended, watch.finished), *Callback.active]
    n_told = 0
    # Reading may take long: this thread is for `step`.
    with _own_threads(get) as options, ThreadPoolExecutor(1, "napari-kmeans") as pool:
        future = pool.submit(get, tasks, root, callbacks=callbacks, **options)
        try:
            while not wait([future], timeout=POLL_SECONDS).done:
                n_done = watch.n_done
                step(n_done - n_told)
                n_told = n_done
        finally:
            stop.set()
    if error := future.exception():
        raise TaskFailed(watch.suspects) from error
    step(len(leaves) - n_told)
    return future.result()


@contextmanager
def _own_threads(get: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """Give dask threads that end with the graph, unless it was told which to take.

    Called from a thread that is not the main one, dask would make several times
    as many as there are processors, and keep them for nobody.
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
        # After an error, what is being read is not waited for.
        pool.shutdown(wait=False)


def _compute_on(
    client: Any, tasks: dict[Any, Any], root: Any, leaves: Sequence[Any], step: Step
) -> Any:
    from distributed import wait as wait_for

    # The cluster itself runs again what was lost with a worker.
    *pending, result = client.get(tasks, [*leaves, root], sync=False)
    try:
        while not result.done():
            with suppress(TimeoutError):
                wait_for([result], timeout=POLL_SECONDS)
            n_before = len(pending)
            # Without its future, the cluster forgets a leaf once it is merged.
            pending = [future for future in pending if future.status != "finished"]
            step(n_before - len(pending))
        try:
            value = result.result()
        except Exception as error:
            raise TaskFailed(leaf.key for leaf in pending if leaf.status == "error") from error
        step(len(pending))
        return value
    finally:
        # The cluster drops what nobody waits for.
        for future in [*pending, result]:
            future.release()
