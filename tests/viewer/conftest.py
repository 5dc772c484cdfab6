"""Fixtures with the dock in a real viewer, and images whose reading can be paused."""

from __future__ import annotations

import gc
from threading import Event, current_thread, main_thread

import pytest
from napari import Viewer
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from npe2 import PluginManager
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog, QLineEdit

from napari_kmeans.viewer.dock.widget import KMeansWidget


@pytest.fixture(autouse=True)
def _short_collections():
    """Exclude the objects of earlier tests from the garbage collections of this test.

    Each viewer of napari leaves thousands of objects, and the fixture of the
    viewer collects garbage several times. After hundreds of viewers, these
    collections would take most of the time of the tests.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _plugins_are_discovered_once():
    """Read the manifests of the installed plugins for the first viewer only.

    Each viewer reads them again, which takes a fifth of the time to open it, and
    registers the plugins that were installed since. The tests install none.
    """
    manager = PluginManager.instance()
    manager.discover(include_npe1=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manager, "discover", lambda **_: 0)
        yield


@pytest.fixture
def window_viewer(make_napari_viewer):
    """A viewer with a real window."""
    notification_manager.records.clear()
    return make_napari_viewer()


@pytest.fixture
def viewer(request):
    """A viewer without a window; with the mark `window`, a viewer with a real window.

    A window takes most of the time of a test. The layers and the dock are the same without it.
    """
    if request.node.get_closest_marker("window"):
        return request.getfixturevalue("window_viewer")
    notification_manager.records.clear()
    return ViewerModel()


@pytest.fixture
def open_dock(viewer, qtbot):
    """Return a function that opens the dock as napari does, with four clusters."""

    def open_it():
        if isinstance(viewer, Viewer):
            _, widget = viewer.window.add_plugin_dock_widget("napari-kmeans")
        else:
            widget = KMeansWidget(viewer)
            qtbot.addWidget(widget.native)
        widget.n_clusters.value = 4
        return widget

    return open_it


@pytest.fixture
def dock(viewer, open_dock, quadrants):
    """The dock in a viewer with the image of four colors."""
    viewer.add_image(quadrants, name="picture", rgb=True)
    return open_dock()


@pytest.fixture
def finish(qtbot):
    """Return a function that processes events until the run of a dock has ended."""

    def wait(widget):
        qtbot.waitUntil(lambda: not widget.cancel_button.enabled, timeout=20_000)
        qtbot.waitUntil(lambda: widget.run_button.enabled, timeout=20_000)

    return wait


@pytest.fixture
def finish_work(qtbot):
    """Return a function that processes events until the work of a panel has ended."""

    def wait(panel):
        # Not waitSignal: the work may end before the signal is connected.
        qtbot.waitUntil(lambda: not panel.is_working, timeout=60_000)

    return wait


@pytest.fixture
def delete(qtbot):
    """Return a function that deletes a widget and waits for the deletion."""

    def delete_it(widget):
        deleted = Event()
        # Not waitSignal: PySide warns when waitSignal disconnects from a deleted widget.
        widget.destroyed.connect(lambda: deleted.set())
        widget.deleteLater()
        qtbot.waitUntil(deleted.is_set)

    return delete_it


class SlowImage:
    """An image whose slices are read at once, but whose array is read when `go_on` is set.

    Only threads other than the main thread wait. They set `asked` before they
    wait. If `error` is set, they raise it instead of returning the array.
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
    """The image of four colors; reading the whole array waits for `go_on`."""
    image = SlowImage(quadrants)
    yield image
    image.go_on.set()


@pytest.fixture
def choose_file():
    """Return a function that answers the next file dialog as a user: type a path, press Return."""

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
