"""Base class of panels that work in the background, with progress and Cancel."""

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
class PanelWork:
    """A worker, and the function that shows its outcome."""

    worker: SegmentationWorker
    show: Callable[[Any], None]


class WorkingPanel(Panel):
    """A panel that runs one piece of background work at a time and can cancel it.

    Parameters
    ----------
    dock : Dock
        Closing the dock cancels the work.

    Attributes
    ----------
    cancel_button : PushButton
        Enabled while work is running.
    progress_bar : ProgressBar
        Visible while work is running. A subclass adds both to its layout.
    """

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self.cancel_button = PushButton(
            name="cancel_button", text="Cancel", tooltip="Stop the work. Nothing changes."
        )
        self.progress_bar = ProgressBar(
            name="progress_bar", min=0, max=100, value=0, tooltip="Progress of the work."
        )
        self._runner: Runner[PanelWork] = Runner(
            self.progress_bar, show_outcome, self._on_work_changed, self.report
        )
        self.cancel_button.enabled = False
        # Reserve the space of the hidden bar, so that the widgets below do not move.
        policy = self.progress_bar.native.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.progress_bar.native.setSizePolicy(policy)
        self.progress_bar.native.hide()
        self.cancel_button.changed.connect(self.cancel)
        dock.native_parent_changed.connect(self._on_parent_changed)
        self.destroyed.connect(self._runner.cancel_and_disconnect)

    @property
    def is_working(self) -> bool:
        """Whether work is running; canceled work counts until its worker has stopped."""
        return self._runner.is_running

    def cancel(self) -> None:
        """Cancel the running work, if any."""
        self.cancel_button.enabled = False
        self._runner.cancel()

    def work_changed(self) -> None:
        """Enable the buttons that can be used; called when work starts and when it ends."""

    def report(self, error: Exception) -> None:
        """Show an error of the work."""
        report_error(error)

    def start(self, work: Work, show: Callable[[Any], None]) -> SegmentationWorker:
        """Run work in the background, then call `show` with its outcome.

        Raises
        ------
        RuntimeError
            If the panel is already working.
        """
        if self.is_working:
            raise RuntimeError(
                f"{self.title!r} is still working: wait until it is finished, or cancel it."
            )
        worker: SegmentationWorker = make_worker(work)
        self._runner.start(PanelWork(worker, show))
        return worker

    def attempt(self, action: Callable[[], Any]) -> None:
        """Call the action of a button, and show expected errors as notifications."""
        try:
            action()
        except EXPECTED_ERRORS as error:
            self.report(error)

    def _on_work_changed(self) -> None:
        self.cancel_button.enabled = self.is_working
        self.progress_bar.native.setVisible(self.is_working)
        self.work_changed()

    def _on_parent_changed(self, parent: Any) -> None:
        if parent is None:
            self.cancel()


def show_outcome(work: PanelWork, outcome: Any) -> None:
    """Show the outcome of work by its own function."""
    work.show(outcome)
