"""Tests of the runner at the end of a script, when Qt deletes its objects in any order."""

from __future__ import annotations

from types import SimpleNamespace

from magicgui.widgets import ProgressBar

from napari_kmeans.viewer.background.runner import Runner
from napari_kmeans.viewer.background.worker import make_worker


def test_signals_that_qt_has_deleted(qtbot):
    progress_bar = ProgressBar()
    qtbot.addWidget(progress_bar.native)
    worker = make_worker(SimpleNamespace(run=lambda _progress: 1))
    # Nothing is started: this thread does the work below.
    worker.start = lambda: None
    runner = Runner(progress_bar, print, lambda: None)
    runner.start(SimpleNamespace(worker=worker))
    worker.signals.deleteLater()

    def are_deleted():
        try:
            worker.signals.objectName()
        except RuntimeError:
            return True
        return False

    qtbot.waitUntil(are_deleted)
    # An error here is a traceback in the terminal, and PyQt aborts the process after one in `run`.
    runner.cancel_and_disconnect()
    assert not runner.is_running
    worker.run()
