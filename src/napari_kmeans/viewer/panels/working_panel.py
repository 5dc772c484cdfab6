"""A panel that works in the background, with progress and a button that cancels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ProgressBar, PushButton

from napari_kmeans.viewer.background.runner import EXPECTED_ERRORS, Runner, report_error
from napari_kmeans.viewer.background.worker import make_worker
from napari_kmeans.viewer.panels.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_kmeans.viewer.background.worker import SegmentationWorker, Work
    from napari_kmeans.viewer.panels.panel import Dock


@dataclass(frozen=True, eq=False)
class _Errand:
    worker: SegmentationWorker
    show: Callable[[Any], None]


class WorkingPanel(Panel):
    """A panel that does one piece of work at a time, and can be stopped.

    Parameters
    ----------
    dock : Dock
        Closing it stops the work.
    """

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self.cancel_button = PushButton(
            name="cancel_button", text="Cancel", tooltip="Stop this; nothing changes."
        )
        self.progress_bar = ProgressBar(
            name="progress_bar", min=0, max=100, value=0, tooltip="How far this is."
        )
        self._runner: Runner[_Errand] = Runner(self.progress_bar, _show, self._on_work_changed)
        self.cancel_button.enabled = False
        # It takes its room also while it is hidden: what is below does not jump.
        policy = self.progress_bar.native.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.progress_bar.native.setSizePolicy(policy)
        self.progress_bar.native.hide()
        self.cancel_button.changed.connect(self.cancel)
        dock.native_parent_changed.connect(self._on_parent_changed)
        self.destroyed.connect(self._runner.cancel_and_disconnect)

    @property
    def is_working(self) -> bool:
        """Whether something is under way, also if it is being canceled."""
        return self._runner.is_running

    def cancel(self) -> None:
        """Stop what is under way, if anything is."""
        self.cancel_button.enabled = False
        self._runner.cancel()

    def work_changed(self) -> None:
        """Enable what can be done; called when work begins and when it is over."""

    def start(self, work: Work, show: Callable[[Any], None]) -> SegmentationWorker:
        """Do some work in the background, and call `show` with what it gives.

        Raises
        ------
        RuntimeError
            If work is under way.
        """
        if self.is_working:
            raise RuntimeError(
                f"{self.title!r} is at work: wait until it is finished, or cancel it."
            )
        worker: SegmentationWorker = make_worker(work)
        self._runner.start(_Errand(worker, show))
        return worker

    def attempt(self, action: Callable[[], Any]) -> None:
        """Do what a click asks for, and tell in a sentence what is wrong with it."""
        try:
            action()
        except EXPECTED_ERRORS as error:
            report_error(error)

    def _on_work_changed(self) -> None:
        self.cancel_button.enabled = self.is_working
        self.progress_bar.native.setVisible(self.is_working)
        self.work_changed()

    def _on_parent_changed(self, parent: Any) -> None:
        if parent is None:
            self.cancel()


def _show(errand: _Errand, outcome: Any) -> None:
    errand.show(outcome)
