"""The clustering on a thread of its own, with progress, canceling and errors as signals."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import cache
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from napari.qt.threading import GeneratorWorker, thread_worker

from napari_kmeans.execution.memory import trim_heaps
from napari_kmeans.execution.notices import notices_to
from napari_kmeans.options import OPTIONS
from napari_kmeans.segmentation import Segmentation, segment

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_kmeans.execution.progress import Report

POLL_SECONDS = 1 / 20
"""How often progress is told: smooth to the eye, and no flood of events."""

Steps: TypeAlias = tuple[int, int]
"""Steps done, and all of them; (0, 0) until the first ones are known."""


@cache
def warm_up() -> Thread:
    """Load the compiled loops in the background, or compile them; once in a process.

    Called when a dock opens, so that the first click finds them ready.
    """
    thread = Thread(target=_call_kernels, name="warm-up", daemon=True)
    thread.start()
    return thread


def _call_kernels() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    for image in (noise.astype(np.uint8), noise[..., 0].astype(np.uint16), noise / 255):
        for method in OPTIONS["method"].choices:
            segment(image, 4, method=method)
    segment(noise.astype(np.uint8), 4, color_space="hsv")


class Canceled(Exception):
    """Raised inside of a task to stop it."""


class UnexpectedError(Exception):
    """A RuntimeError, which a worker would swallow without any signal."""


class _ProgressRecorder:
    """The progress that a task calls: remembers the latest steps, and stops it on request."""

    def __init__(self) -> None:
        self.steps: Steps = (0, 0)
        self.canceled = False

    def __call__(self, done: int, total: int) -> None:
        if self.canceled:
            raise Canceled
        self.steps = done, total


class SegmentationWorker(GeneratorWorker):  # type: ignore[misc]
    """A worker that has stopped for good when it says that it is finished.

    Without this, a generator that was told to quit lives on until it is
    collected, and what it waits for in its `finally` goes on unseen.
    """

    def run(self) -> None:
        """Do the work; called by Qt.

        Not that of the base: it catches the warnings of the whole process
        meanwhile, and those that the window ignores come through, or it brings
        back what another worker had made of them, for good.
        """
        self.started.emit()
        self._running = True
        try:
            with notices_to(self._warn):
                result = self.work()
            if isinstance(result, RuntimeError):
                # Its signals are deleted: there is nobody left to tell.
                return
            if not self.abort_requested:
                self.returned.emit(result)
        except Exception as error:
            self.errored.emit(error)
        self._running = False
        self.finished.emit()
        self._finished.emit(self)
        # The result is on its way: nobody waits for this.
        trim_heaps()

    def _warn(self, sentence: str) -> None:
        self.warned.emit((sentence, UserWarning))

    def work(self) -> Any:
        """Run the generator, and close it on its own thread."""
        try:
            return super().work()
        finally:
            self._gen.close()
            # napari keeps its workers, and one that never began would keep its task:
            # closing does not make it forget that in Python 3.13.
            del self._gen


class Work(Protocol):
    """What can be done in the background, such as a task."""

    def run(self, progress: Report | None = None) -> Any:
        """Do it, with progress told to a callable that may raise to stop it."""


def make_worker(task: Work, *, locate: bool = False) -> SegmentationWorker:
    """Return a worker, not yet started, that does a task.

    Parameters
    ----------
    task : Task or other Work
    locate : bool, default False
        Whether the coreset's positions will be asked for: finding them takes
        as long as reading the image once, which is no work for the window.

    Returns
    -------
    SegmentationWorker
        Emits `yielded` with (done, total) steps, `returned` with what the task
        gives, `errored` with the exception, `warned` with (sentence, category),
        and in every case `finished`. Its `quit()` stops the clustering within
        a block of pixels.
    """
    worker: SegmentationWorker = _run_with_progress(task, locate)
    # What napari connects to an error cannot take it, which under PySide is a second
    # error. There may be nothing to disconnect, which is another: hence the print.
    worker.errored.connect(print)
    worker.errored.disconnect()
    return worker


@thread_worker(worker_class=SegmentationWorker, ignore_errors=True)  # type: ignore[untyped-decorator]
def _run_with_progress(task: Work, locate: bool) -> Generator[Steps, None, Any]:
    """Do a task on yet another thread, and tell its progress."""
    watch = _ProgressRecorder()
    with ThreadPoolExecutor(1, thread_name_prefix="napari-kmeans") as executor:
        try:
            future = executor.submit(copy_context().run, _run_work, task, locate, watch)
            while not wait([future], timeout=POLL_SECONDS).done:
                yield watch.steps
            return _result_of(future)
        finally:
            watch.canceled = True


def _run_work(task: Work, locate: bool, watch: _ProgressRecorder) -> Any:
    outcome = task.run(watch)
    if locate and isinstance(outcome, Segmentation) and outcome.coreset is not None:
        outcome.coreset.find_positions(lambda _: watch(*watch.steps))
    return outcome


def _result_of(future: Future[Any]) -> Any:
    try:
        return future.result()
    except (RuntimeError, StopIteration) as error:
        raise UnexpectedError(f"{type(error).__name__}: {error}") from error
