"""Call the kernels of a fit on a few points, so that other processes compile them in time."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import cache, partial
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np

from napari_kmeans.clustering.assignment import GroupedPoints
from napari_kmeans.clustering.lloyd import Fit, lloyd
from napari_kmeans.clustering.local_search import improve
from napari_kmeans.execution.compile_processes import COMPILE_PROCESSES, is_listened, waits_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def kernels_of_fit() -> Iterator[None]:
    """Compile kernels in other processes, those of a fit while the first kernel is compiled.

    This is for scripts. The dock and the command line have a listener, which does this and more.
    """
    COMPILE_PROCESSES.enable_once()
    if is_listened() or not COMPILE_PROCESSES.is_enabled:
        yield
        return
    with waits_to(rehearse_fit):
        yield


@cache
def rehearse_fit() -> tuple[Thread, ...]:
    """Start threads that need the kernels of a fit."""
    threads = tuple(
        Thread(target=partial(run_unless_exiting, stage), name="rehearsal", daemon=True)
        for stage in (_improve_fit, _fit_points)
    )
    for thread in threads:
        thread.start()
    return threads


def run_unless_exiting(function: Callable[[], object]) -> None:
    """Call a function. Stop without a traceback if the interpreter is shutting down.

    Pools of threads then refuse new work with a RuntimeError such as "cannot schedule new
    futures after shutdown". This was seen when napari was closed within seconds after the
    dock had opened. A kind of image that cannot be clustered is an error of the run, not here.
    """
    try:
        with suppress(TypeError, ValueError):
            function()
    except RuntimeError as error:
        if "shutdown" not in str(error):
            raise


def _fit_points() -> Fit:
    points = np.random.default_rng(0).integers(1, 256, (1024, 3)).astype(np.float64)
    return lloyd(GroupedPoints(points, np.ones(len(points))), points[:2], max_iter=1, tol=0.0)


def _improve_fit() -> None:
    """Improve a fit without fitting it first: other kernels are compiled at the same time."""
    points = np.random.default_rng(0).random((99, 3))
    labels = np.zeros(len(points), np.int32)
    fit = Fit(points[:2].copy(), 1.0, 1, labels)
    data = GroupedPoints(points, np.ones(len(points)))
    improve(data, fit, max_iter=1, tol=0.0, rng=np.random.default_rng(0))
