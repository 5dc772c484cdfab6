"""Start one run at a time, and show its progress, its warnings and its errors.

The progress is shown in a bar, warnings and errors as napari notifications.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from napari.utils.notifications import notification_manager, show_error, show_warning

if TYPE_CHECKING:
    from collections.abc import Callable

    from magicgui.widgets import ProgressBar

    from napari_kmeans.viewer.background.task import Task
    from napari_kmeans.viewer.background.worker import SegmentationWorker, Steps
    from napari_kmeans.viewer.from_layers.source import Source

PATIENCE_SECONDS = 1.0
"""A newer live run cancels a run that has taken longer than this time.

A shorter run is finished and its result is shown, so that the layers change while the user
moves a slider."""

EXPECTED_ERRORS = (ValueError, TypeError, MemoryError, OSError, ImportError)
"""Errors whose message alone is shown. Other errors are shown with their traceback."""


def report_error(error: Exception) -> None:
    """Show an error as a notification: an expected error as a sentence, others with a traceback."""
    if isinstance(error, EXPECTED_ERRORS):
        show_error(describe_error(error))
    else:
        notification_manager.receive_error(type(error), error, error.__traceback__)


def describe_error(error: Exception) -> str:
    """Return the sentence of an expected error."""
    return str(error) or f"There is too little memory ({type(error).__name__})."


@dataclass(frozen=True, eq=False)
class Run:
    """A run and its settings when it was started; later changes in the dock have no effect.

    Attributes
    ----------
    task : Task
    builders : tuple of callables
        The functions that make the layers of the result.
    update : bool
        Whether layers of an earlier run are changed in place.
    worker : SegmentationWorker
    """

    task: Task
    builders: tuple[Callable[[Any, Source], Any], ...]
    update: bool
    worker: SegmentationWorker


class AnyRun(Protocol):
    """A run of any kind: an object with a worker."""

    @property
    def worker(self) -> SegmentationWorker:
        """The worker, which is not started yet."""


RunType = TypeVar("RunType", bound=AnyRun)


class Runner(Generic[RunType]):
    """Starts a run, and shows its progress, result, warnings and errors.

    Parameters
    ----------
    progress_bar : ProgressBar
    show : callable
        Called with the run and its outcome, unless the run was canceled.
    changed : callable
        Called when a run starts and when its worker has finished.
    report : callable
        Called with an error of the worker.
    """

    # PySide calls connected methods even if their object has been collected, which is an
    # error. These references keep each runner alive until its worker has finished.
    _active_runners: ClassVar[set[Runner[Any]]] = set()

    def __init__(
        self,
        progress_bar: ProgressBar,
        show: Callable[[RunType, Any], None],
        changed: Callable[[], None],
        report: Callable[[Exception], None] = report_error,
    ) -> None:
        self._progress_bar, self._show, self._changed = progress_bar, show, changed
        self._report = report
        self._run: RunType | None = None
        self._start_time = 0.0
        self._clear_progress()

    @property
    def is_running(self) -> bool:
        """Whether a run is under way, including a canceled run whose worker has not stopped."""
        return self._run is not None

    @property
    def seconds(self) -> float:
        """The time since the start of the latest run."""
        return time.monotonic() - self._start_time

    def start(self, run: RunType) -> None:
        """Start the worker of a run."""
        self._run, worker, self._start_time = run, run.worker, time.monotonic()
        self._active_runners.add(self)
        for signal, slot in self._connections(worker):
            signal.connect(slot)
        self._show_progress((0, 0))
        self._changed()
        worker.start()

    def cancel(self) -> None:
        """Cancel the run, if there is one. `is_running` is true until its worker has stopped."""
        if self._run is not None:
            self._run.worker.quit()

    def cancel_if_slow(self) -> None:
        """Cancel the run if it has taken longer than PATIENCE_SECONDS."""
        if self.seconds > PATIENCE_SECONDS:
            self.cancel()

    def cancel_and_disconnect(self) -> None:
        """Cancel the run and disconnect from its worker, because the Qt widgets are deleted."""
        run, self._run = self._run, None
        if run is not None:
            run.worker.quit()
            # Qt may have deleted the signals before the widgets, as at the end of a script.
            with suppress(RuntimeError):
                for signal, slot in self._connections(run.worker):
                    signal.disconnect(slot)
            self._active_runners.discard(self)

    def _connections(self, worker: SegmentationWorker) -> list[tuple[Any, Callable[..., None]]]:
        return [
            (worker.yielded, self._on_yielded),
            (worker.warned, self._on_warned),
            (worker.returned, self._on_returned),
            (worker.errored, self._on_errored),
            (worker.finished, self._on_finished),
        ]

    def _accepts_results(self) -> bool:
        """Return whether a run is under way and was not canceled.

        Signals that the worker emitted before it was canceled may arrive afterwards.
        """
        return self._run is not None and not self._run.worker.abort_requested

    def _on_yielded(self, steps: Steps) -> None:
        if self._run is not None:
            self._show_progress(steps)

    def _show_progress(self, steps: Steps) -> None:
        """Show the progress in percent, or a busy bar if the total is not known yet."""
        done, total = steps
        self._progress_bar.native.setMaximum(100 if total else 0)
        self._progress_bar.native.setTextVisible(total > 0)
        self._progress_bar.value = 100 * done // max(total, 1)

    def _clear_progress(self) -> None:
        self._progress_bar.native.setMaximum(100)
        self._progress_bar.native.setTextVisible(False)
        self._progress_bar.value = 0

    def _on_warned(self, warned: tuple[Any, ...]) -> None:
        if self._accepts_results():
            show_warning(str(warned[0]))

    def _on_returned(self, outcome: Any) -> None:
        if self._run is not None and self._accepts_results():
            self._show(self._run, outcome)

    def _on_errored(self, error: Exception) -> None:
        if self._accepts_results():
            self._report(error)

    def _on_finished(self) -> None:
        if self._run is None:
            return
        self._run = None
        self._active_runners.discard(self)
        self._clear_progress()
        self._changed()
