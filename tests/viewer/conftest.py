"""The dock in a real viewer, and images whose pixels can be held back."""

from __future__ import annotations

import gc
from threading import Event, current_thread, main_thread

import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog, QLineEdit


@pytest.fixture(autouse=True)
def _short_collections():
    """Leave what earlier tests left out of the garbage collections of this one.

    Each viewer of napari leaves thousands of objects, and its fixture collects
    garbage several times: with hundreds of viewers, that would take most of the time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def viewer(make_napari_viewer):
    notification_manager.records.clear()
    return make_napari_viewer()


@pytest.fixture
def forget_drawing(viewer):
    """Drop what the canvas was told to draw: one that is not shown keeps all of it."""
    return viewer.window._qt_viewer.canvas._scene_canvas.context.glir.clear


@pytest.fixture
def open_dock(viewer):
    """Open the dock as napari does."""

    def open_it():
        _, widget = viewer.window.add_plugin_dock_widget("napari-kmeans")
        widget.n_clusters.value = 4
        return widget

    return open_it


@pytest.fixture
def dock(viewer, open_dock, quadrants):
    """The dock on the picture of four colors."""
    viewer.add_image(quadrants, name="picture", rgb=True)
    return open_dock()


@pytest.fixture
def finish(qtbot):
    """Let the window live until the run of a dock is over."""

    def wait(widget):
        qtbot.waitUntil(lambda: not widget.cancel_button.enabled, timeout=20_000)
        qtbot.waitUntil(lambda: widget.run_button.enabled, timeout=20_000)

    return wait


@pytest.fixture
def delete(qtbot):
    """Delete a widget, and wait until it is gone."""

    def delete_it(widget):
        gone = Event()
        # Not waitSignal, which PySide warns that it cannot disconnect from a widget that is gone.
        widget.destroyed.connect(lambda: gone.set())
        widget.deleteLater()
        qtbot.waitUntil(gone.is_set)

    return delete_it


class SlowImage:
    """A picture in a file that shows at once, but is read as a whole when it is told to go on.

    It fails instead where it is given an error.
    """

    def __init__(self, image):
        self.asked, self.go_on, self.error = Event(), Event(), None
        self._image = image
        self.shape, self.dtype, self.ndim, self.size = (
            image.shape,
            image.dtype,
            image.ndim,
            image.size,
        )

    def __getitem__(self, key):
        return self._image[key]

    def __array__(self, dtype=None, copy=None):
        if current_thread() is not main_thread():
            self.asked.set()
            assert self.go_on.wait(20)
            if self.error is not None:
                raise self.error
        return self._image


@pytest.fixture
def slow(quadrants):
    image = SlowImage(quadrants)
    yield image
    image.go_on.set()


@pytest.fixture
def choose_file():
    """Let the next dialog of files be answered, as a user does: type a path, press Return."""

    def answer_soon(path):
        def answer():
            dialog = QApplication.activeModalWidget()
            if not isinstance(dialog, QFileDialog):
                QTimer.singleShot(20, answer)
                return
            line = dialog.findChild(QLineEdit, "fileNameEdit")
            line.setText(str(path))
            QTest.keyClick(line, Qt.Key.Key_Return)

        QTimer.singleShot(20, answer)

    QApplication.setAttribute(Qt.ApplicationAttribute.AA_DontUseNativeDialogs)
    return answer_soon
