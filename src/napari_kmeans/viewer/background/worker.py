"""Run background work in a thread that emits progress, results and errors as Qt signals."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from functools import cache, partial
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from napari.qt.threading import GeneratorWorker, thread_worker
from qtpy.QtWidgets import QApplication

from napari_kmeans.clustering.rehearsal import run_unless_exiting
from napari_kmeans.execution.compile_processes import COMPILE_PROCESSES, waits_to
from napari_kmeans.execution.memory import trim_heaps
from napari_kmeans.execution.notices import notices_to
from napari_kmeans.rehearsal import RGB_IMAGE, ImageKind, rehearse
from napari_kmeans.segmentation import Segmentation

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_kmeans.execution.progress import Report

POLL_SECONDS = 1 / 20
"""The interval of progress signals: the bar moves smoothly, and the event loop is not flooded."""

Steps: TypeAlias = tuple[int, int]
"""The number of finished steps and of all steps; (0, 0) until the total is known."""


def warm_up(kind: ImageKind = RGB_IMAGE) -> Thread:
    """Load or compile the kernels for a kind of image in the background, once in a process.

    The dock calls this function when it opens, so that the first run does not wait for the
    compiler. Kernels are compiled in other processes, also those of later runs.
    """
    application = QApplication.instance()
    if COMPILE_PROCESSES.enable() and application is not None:
        # Functions of `atexit` run after Python has waited for the threads of all pools.
        application.aboutToQuit.connect(COMPILE_PROCESSES.close)
    return _start_rehearsal(kind)


@cache
def _start_rehearsal(kind: ImageKind) -> Thread:
    work = partial(run_unless_exiting, partial(rehearse, kind))
    thread = Thread(target=work, name="warm-up", daemon=True)
    thread.start()
    return thread


class Canceled(Exception):
    """Raised inside a task to stop it."""


class UnexpectedError(Exception):
    """Raised in place of a RuntimeError or StopIteration of a task.

    napari's worker takes a RuntimeError as a sign that Qt has deleted the worker, and emits
    neither `errored` nor `finished`. Python turns a StopIteration in a generator into a
    RuntimeError.
    """


class _ProgressRecorder:
    """A progress callable that stores the latest steps, and raises if the task is canceled."""

    def __init__(self) -> None:
        self.steps: Steps = (0, 0)
        self.canceled = False

    def __call__(self, done: int, total: int) -> None:
        if self.canceled:
            raise Canceled
        self.steps = done, total


class SegmentationWorker(GeneratorWorker):  # type: ignore[misc]
    """A worker whose thread and generator have ended when it emits `finished`.

    napari's worker does not close a generator that was asked to quit. The generator would
    live until it is collected, and the task that its `finally` waits for would go on.
    """

    def run(self) -> None:
        """Do the work; called by Qt.

        This method replaces that of the base class, which calls `warnings.catch_warnings`
        during the work. The warning filters belong to the whole process. So warnings that
        the main thread ignores would be shown. If two workers overlap, the last to end
        would restore the filters that the other worker had set, and they would stay.
        """
        # The work itself raises no RuntimeError (see `UnexpectedError`): Qt has deleted the
        # signals, as at the end of a script. PyQt would abort the process.
        with suppress(RuntimeError):
            self._run_and_emit()
        # Return free memory to the system only now: the result need not wait for that.
        trim_heaps()

    def _run_and_emit(self) -> None:
        self.started.emit()
        self._running = True
        try:
            with notices_to(self._warn):
                result = self.work()
            if isinstance(result, RuntimeError):
                # `work` returns a RuntimeError if Qt has deleted the signals: do not emit.
                return
            if not self.abort_requested:
                self.returned.emit(result)
        except Exception as error:
            self.errored.emit(error)
        self._running = False
        self.finished.emit()
        self._finished.emit(self)

    def _warn(self, sentence: str) -> None:
        self.warned.emit((sentence, UserWarning))

    def work(self) -> Any:
        """Run the generator, and close it in this thread."""
        try:
            return super().work()
        finally:
            self._gen.close()
            # napari keeps references to its workers. In Python 3.13, closing a generator
            # that was never started does not release its arguments, so the task would stay
            # in memory.
            del self._gen


class Work(Protocol):
    """Work that can run in the background, such as a Task."""

    def run(self, progress: Report | None = None) -> Any:
        """Do the work and return its result.

        `progress` is called with the finished steps and all steps. It may raise to stop.
        """


def make_worker(task: Work, *, locate: bool = False) -> SegmentationWorker:
    """Return a worker that does a task in the background; the worker is not started yet.

    Parameters
    ----------
    task : Task or other Work
    locate : bool, default False
        Whether to find the positions of the coreset points too. That takes as long as
        reading the image once, so the main thread should not do it.

    Returns
    -------
    SegmentationWorker
        Emits `yielded` with (done, total) steps, `returned` with the result of the task,
        `errored` with the exception, `warned` with (sentence, category), and always
        `finished` at the end. `quit()` stops the clustering after the current block.
    """
    worker: SegmentationWorker = _run_with_progress(task, locate)
    # napari connects a slot that does not accept the exception, so PySide raises a second
    # error. Disconnect that slot. `disconnect()` raises if nothing is connected, which
    # happens without a napari window: connect any function first. `print` is never called.
    worker.errored.connect(print)
    worker.errored.disconnect()
    return worker


@thread_worker(worker_class=SegmentationWorker, ignore_errors=True)  # type: ignore[untyped-decorator]
def _run_with_progress(task: Work, locate: bool) -> Generator[Steps, None, Any]:
    """Do a task in a second thread, and yield its latest steps until it has finished."""
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
    with waits_to(lambda: watch(*watch.steps)):
        outcome = task.run(watch)
        if locate and isinstance(outcome, Segmentation) and outcome.coreset is not None:
            outcome.coreset.find_positions(lambda _: watch(*watch.steps))
    return outcome


def _result_of(future: Future[Any]) -> Any:
    try:
        return future.result()
    except (RuntimeError, StopIteration) as error:
        raise UnexpectedError(f"{type(error).__name__}: {error}") from error
