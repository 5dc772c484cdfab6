"""The work of a panel, one piece at a time, and the buttons that start it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QWidget

from napari_kmeans.viewer.run import EXPECTED_ERRORS, tell, tell_warning
from napari_kmeans.viewer.worker import work_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_kmeans.progress import Report
    from napari_kmeans.viewer.widget import KMeansWidget
    from napari_kmeans.viewer.worker import SegmentationWorker, Steps


class Work:
    """Does work in the background, and stops it when the dock is closed.

    Parameters
    ----------
    dock : KMeansWidget
    changed : callable
        Called when work begins, goes on and is over.
    """

    def __init__(self, dock: KMeansWidget, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._worker: SegmentationWorker | None = None
        self._show: Callable[[Any], None]
        self.percent = 0
        dock.native_parent_changed.connect(self._on_parent_changed)
        dock.native.destroyed.connect(self._abandon)

    @property
    def is_running(self) -> bool:
        """Whether work is under way, also if it is being cancelled."""
        return self._worker is not None

    def start(
        self, work: Callable[[Report], Any], show: Callable[[Any], None]
    ) -> SegmentationWorker:
        """Start some work.

        Parameters
        ----------
        work : callable
            As for `work_in_thread`.
        show : callable
            Called with what the work gives, in the thread of the window.

        Returns
        -------
        SegmentationWorker
            Started; emits `returned` after `show`.

        Raises
        ------
        RuntimeError
            If there is work under way.
        """
        if self.is_running:
            raise RuntimeError("Work is under way here: wait until it is finished, or cancel it.")
        worker: SegmentationWorker = work_in_thread(work)
        self._worker, self._show, self.percent = worker, show, 0
        worker.yielded.connect(self._on_yielded)
        worker.warned.connect(self._on_warned)
        worker.returned.connect(self._on_returned)
        worker.errored.connect(self._on_errored)
        worker.finished.connect(self._on_finished)
        self._changed()
        worker.start()
        return worker

    def cancel(self) -> None:
        """Stop the work, if there is some; nothing is shown of it."""
        if self._worker is not None:
            self._worker.quit()

    def _is_awaited(self) -> bool:
        return self._worker is not None and not self._worker.abort_requested

    def _on_yielded(self, steps: Steps) -> None:
        if self._is_awaited():
            done, total = steps
            self.percent = 100 * done // max(total, 1)
            self._changed()

    def _on_warned(self, warned: tuple[Any, ...]) -> None:
        if self._is_awaited():
            tell_warning(warned)

    def _on_returned(self, outcome: Any) -> None:
        if self._is_awaited():
            self._show(outcome)

    def _on_errored(self, error: Exception) -> None:
        if self._is_awaited():
            tell(error)

    def _on_finished(self) -> None:
        if self._worker is not None:
            self._worker = None
            self._changed()

    def _on_parent_changed(self, parent: Any) -> None:
        if parent is None:
            self.cancel()

    def _abandon(self) -> None:
        """Stop the work when the window is gone; nothing of Qt may be touched any more."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.quit()


def button(text: str, tooltip: str, action: Callable[[], Any]) -> QPushButton:
    """Return a button; what its action cannot do is told in one sentence."""
    widget = QPushButton(text)
    widget.setToolTip(tooltip)

    def act() -> None:
        try:
            action()
        except EXPECTED_ERRORS as error:
            tell(error)

    widget.clicked.connect(act)
    return widget


def side_by_side(widgets: Sequence[QWidget]) -> QWidget:
    """Put widgets into a row."""
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    return row


def line_of_text() -> QLabel:
    """Return a label that breaks its lines, for names may be long."""
    label = QLabel()
    label.setWordWrap(True)
    return label


def ask_where_to_save(parent: QWidget, title: str, name: str, kinds: str) -> str:
    """Ask for the path of a file to write; empty if the user thinks better of it."""
    return str(QFileDialog.getSaveFileName(parent, title, name, kinds)[0])


def ask_what_to_open(parent: QWidget, title: str, kinds: str) -> str:
    """Ask for the path of a file to read; empty if the user thinks better of it."""
    return str(QFileDialog.getOpenFileName(parent, title, "", kinds)[0])
