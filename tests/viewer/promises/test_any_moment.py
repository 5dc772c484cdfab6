"""Whatever happens while a run is under way, at any of its steps: nothing breaks, nothing stays."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import warnings
import weakref
import zlib
from copy import deepcopy

import dask.array as da
import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QApplication

from napari_kmeans import segment
from napari_kmeans.viewer.background import worker
from napari_kmeans.viewer.background.worker import warm_up
from napari_kmeans.viewer.dock.widget import KMeansWidget
from napari_kmeans.viewer.provenance import METADATA_KEY

SECONDS = 20
BEGINNING, MIDDLE, END = 0, 4, 10**9
"""Steps to hold work back at: before the first, in between, after the last."""


class Gate:
    """Holds all work in the background back at one step, until it is opened."""

    def __init__(self):
        self.n_steps = self.n_held = 0
        self._at = None
        self._go_on = threading.Event()

    def shut(self, at):
        self._go_on.clear()
        self.n_held, self._at = 0, at

    def open(self):
        self._at = None
        self._go_on.set()

    def hold(self, number):
        """Hold back what has come to this step, if that is wanted; return whether it was held."""
        self.n_steps = number
        if self._at is None or number < self._at:
            return False
        self.n_held += 1
        assert self._go_on.wait(SECONDS)
        return True


@pytest.fixture
def gate(monkeypatch):
    gate, run = Gate(), worker._run_work

    class HeldWatch(worker._ProgressRecorder):
        n_steps, was_held = 0, False

        def pass_gate(self, number):
            self.was_held = self.was_held or gate.hold(number)

        def __call__(self, done, total):
            self.n_steps += 1
            self.pass_gate(self.n_steps)
            super().__call__(done, total)

    def held_run(task, locate, watch):
        watch.pass_gate(BEGINNING)
        outcome = run(task, locate, watch)
        n_steps = watch.n_steps
        watch.pass_gate(END)
        gate.n_steps = n_steps
        return outcome

    monkeypatch.setattr(worker, "_ProgressRecorder", HeldWatch)
    monkeypatch.setattr(worker, "_run_work", held_run)
    yield gate
    gate.open()


def live_threads():
    """Python's threads, without those of Qt, which has a pool to ask, and of dask's own pool.

    The latter stays: napari reads lazy layers with it.
    """
    return {
        thread
        for thread in threading.enumerate()
        if not isinstance(thread, threading._DummyThread)
        and not thread.name.startswith("ThreadPoolExecutor")
    }


@pytest.fixture(autouse=True)
def nothing_stays(gate, qtbot):
    """After a test no thread is left, and warnings go where they went before."""
    warm_up().join()
    before, show, filters = live_threads(), warnings.showwarning, list(warnings.filters)
    yield
    gate.open()
    assert QThreadPool.globalInstance().waitForDone(1000 * SECONDS)
    qtbot.waitUntil(lambda: not live_threads() - before)
    assert warnings.showwarning is show
    assert warnings.filters == filters


@pytest.fixture
def held(gate, qtbot):
    """Start some work, and return when it is held back."""

    def hold(start, at, n_works=1):
        gate.shut(at)
        start()
        qtbot.waitUntil(lambda: gate.n_held == n_works, timeout=1000 * SECONDS)

    return hold


@pytest.fixture
def rest(qtbot):
    """Wait until nothing is under way."""

    def wait(*docks):
        pool = QThreadPool.globalInstance()
        runners = [runner for dock in docks for runner in runners_of(dock)]
        qtbot.waitUntil(lambda: not any(each.is_running for each in runners), timeout=20_000)
        qtbot.waitUntil(lambda: not pool.activeThreadCount(), timeout=20_000)
        for dock in docks:
            assert dock.run_button.enabled or dock.image.value is None
            assert not dock.cancel_button.enabled

    return wait


def runners_of(dock):
    panels = [fold.panel for fold in dock.folds.values()]
    return [dock._runner, *(each._runner for each in panels if hasattr(each, "_runner"))]


def close_dock(viewer, dock):
    viewer.window.remove_dock_widget(dock.native)
    dock.native.deleteLater()


def state(layer):
    """Everything of a source that work could spoil."""
    levels = layer.data if layer.multiscale else [layer.data]
    pixels = [zlib.crc32(np.asarray(level).tobytes()) for level in levels]
    look = [getattr(layer, name) for name in ("name", "opacity", "visible", "gamma")]
    return pixels, deepcopy(layer.metadata), look, layer.affine.affine_matrix.tolist()


def notifications():
    return [each.message for each in notification_manager.records]


def results(viewer):
    return [each for each in viewer.layers if METADATA_KEY in each.metadata]


def check_result(labels, expected, recolored=None):
    """Nothing of it is half-made: pixels, colors, table and provenance are of one run."""
    np.testing.assert_array_equal(labels.data, expected.labels)
    assert labels.features["pixels"].tolist() == expected.table["pixels"].tolist()
    assert set(labels.colormap.color_dict) == {None, 0, *expected.table["index"]}
    assert labels.metadata[METADATA_KEY]["model"] == expected.model.to_dict()
    if recolored is not None:
        np.testing.assert_array_equal(recolored.data, expected.recolored)
        assert recolored.metadata[METADATA_KEY]["model"] == expected.model.to_dict()


# ---------------------------------------------------------------------- cancel


def noise(*shape):
    return np.random.default_rng(0).integers(0, 250, shape).astype(np.uint8)


KINDS = {
    "counted": ({"data": noise(20, 21, 3), "rgb": True}, {"add_points": True}),
    "sampled": ({"data": noise(20, 21, 3) / 255, "rgb": True}, {"add_points": True}),
    "full": ({"data": noise(20, 21, 3) / 255, "rgb": True}, {"method": "full", "max_iter": 5}),
    "each slice": ({"data": noise(3, 20, 21), "rgb": False}, {"stack": "each"}),
    "levels": ({"data": [noise(40, 42, 3), noise(20, 21, 3)], "rgb": True}, {}),
    "lazy": (
        {"data": da.from_array(noise(20, 21, 3), chunks=(8, 8, 3)), "rgb": True},
        {"add_points": True},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_cancelled_at_any_step(viewer, open_dock, gate, held, rest, kind):
    image, settings = KINDS[kind]
    source = viewer.add_image(name="picture", multiscale=kind == "levels", **image)
    dock = open_dock()
    dock.n_init.value = 2
    for name, value in settings.items():
        getattr(dock, name).value = value
    before = state(source)
    dock.run()
    rest(dock)
    n_layers, n_steps = len(viewer.layers), gate.n_steps
    assert n_layers == (4 if settings.get("add_points") else 3)
    assert n_steps > 3
    for layer in results(viewer):
        viewer.layers.remove(layer)
    for at in {*np.linspace(0, n_steps, 6, dtype=int).tolist(), n_steps - 1, END}:
        held(dock.run, at)
        dock.cancel_button.native.click()
        assert not dock.run_button.enabled
        gate.open()
        rest(dock)
        assert list(viewer.layers) == [source], at
    dock.run()
    rest(dock)
    assert len(viewer.layers) == n_layers
    assert state(source) == before
    assert not notifications()


# ----------------------------------------------------------- changed meanwhile


def remove(viewer, *names):
    for name in names:
        viewer.layers.remove(name)


def set_data(layer, data):
    layer.data = data


EVENTS = {
    "source deleted": lambda viewer: remove(viewer, "picture"),
    "source renamed": lambda viewer: setattr(viewer.layers["picture"], "name", "picture labels"),
    "another shape": lambda viewer: set_data(viewer.layers["picture"], noise(7, 5, 3)),
    "another dtype": lambda viewer: set_data(viewer.layers["picture"], noise(20, 21, 3) / 255),
    "another dimension": lambda viewer: set_data(viewer.layers["picture"], noise(2, 9, 8, 3)),
    "mask deleted": lambda viewer: remove(viewer, "mask"),
    "mask of another shape": lambda viewer: set_data(viewer.layers["mask"], np.ones((3, 4), int)),
    "marks deleted": lambda viewer: remove(viewer, "marks"),
    "results deleted": lambda viewer: remove(viewer, "picture labels", "picture recolored"),
    "labels deleted": lambda viewer: remove(viewer, "picture labels"),
    "results of another shape": lambda viewer: [
        set_data(viewer.layers["picture labels"], np.ones((3, 4), int)),
        set_data(viewer.layers["picture recolored"], noise(3, 4, 3)),
    ],
    "everything deleted": lambda viewer: viewer.layers.clear(),
    "seen in 3-D": lambda viewer: setattr(viewer.dims, "ndisplay", 3),
}


def test_nothing_is_kept_of_what_was_cancelled_before_it_began(qtbot):
    class Idle:
        def run(self, progress=None):
            raise AssertionError

    task = Idle()
    gone, job = weakref.ref(task), worker.make_worker(task)
    del task
    job.quit()
    with qtbot.waitSignals([job.aborted, job.finished]):
        job.start()
    gc.collect()
    assert gone() is None


def test_warnings_of_the_window_stay_its_own(dock, gate, held, rest):
    held(dock.run, BEGINNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gate.open()
        rest(dock)
        # Would be an error if the worker had brought back what it found.
        warnings.warn("Nobody wants to know.", UserWarning, stacklevel=1)


@pytest.mark.parametrize("event", EVENTS)
def test_whatever_becomes_of_the_layers(
    viewer, dock, gate, held, rest, quadrants, quadrant_labels, event
):
    picture = viewer.layers["picture"]
    mask = viewer.add_labels(np.where(quadrant_labels == 4, 0, 1), name="mask")
    marks = viewer.add_points([(2, 3), (2, 17), (17, 3)], name="marks")
    dock.image.value, dock.mask.value, dock.init.value = picture, mask, marks
    colors = quadrants[(2, 2, 17), (3, 17, 3)]
    expected = segment(quadrants, 3, mask=quadrant_labels < 4, init=colors, rgb=True)
    before, pixels = quadrants.tobytes(), picture.data
    for at in (BEGINNING, MIDDLE, END):
        dock.run()
        rest(dock)
        held(dock.run, at)
        EVENTS[event](viewer)
        gate.open()
        rest(dock)
        labels, recolored = dock.result.labels, dock.result.recolored[0]
        assert {labels, recolored} <= set(viewer.layers)
        assert len(results(viewer)) == 2
        check_result(labels, expected, recolored)
        assert quadrants.tobytes() == before
        viewer.dims.ndisplay = 2
        restore(viewer, dock, picture, pixels, mask, marks, quadrant_labels)
    assert not notifications()


def restore(viewer, dock, picture, pixels, mask, marks, quadrant_labels):
    """Bring back what was deleted or changed."""
    picture.name, picture.data = "picture", pixels
    mask.data = np.where(quadrant_labels == 4, 0, 1)
    for layer in (picture, mask, marks):
        if layer not in viewer.layers:
            viewer.layers.append(layer)
    dock.image.value, dock.mask.value, dock.init.value = picture, mask, marks


@pytest.mark.parametrize("at", [BEGINNING, MIDDLE, END])
@pytest.mark.parametrize("closed", ["dock", "viewer"])
def test_closed_at_any_step(viewer, dock, gate, held, qtbot, closed, at):
    source = viewer.layers["picture"]
    before, runner = state(source), dock._runner
    dock.add_points.value = True
    held(dock.run, at)
    if closed == "dock":
        close_dock(viewer, dock)
    else:
        viewer.close()
    gate.open()
    assert QThreadPool.globalInstance().waitForDone(1000 * SECONDS)
    qtbot.waitUntil(lambda: not runner.is_running)
    assert not results(viewer)
    assert state(source) == before
    assert not notifications()


# ------------------------------------------------------------------- many runs


def test_run_pressed_fifty_times(viewer, dock, rest, quadrants):
    given = []
    dock.segmented.connect(given.append)
    for _ in range(50):
        dock.run_button.native.click()
    rest(dock)
    assert len(given) == 1
    assert len(viewer.layers) == 3
    check_result(dock.result.labels, segment(quadrants, 4, rgb=True))
    for number in range(50):
        dock.run_button.native.click()
        (dock.cancel_button if number % 2 else dock.run_button).native.click()
    rest(dock)
    assert len(viewer.layers) == 3
    assert not notifications()


def test_run_pressed_fifty_times_while_it_is_live(viewer, dock, rest, qtbot, quadrants):
    dock.live.value = True
    for number in range(50):
        dock.run_button.native.click()
        dock.n_clusters.value = 2 + number % 3
        if number % 10 == 9:
            qtbot.wait(30)
    rest(dock)
    assert dock.n_clusters.value == 3
    assert len(viewer.layers) == 3
    check_result(dock.result.labels, segment(quadrants, 3, rgb=True), dock.result.recolored[0])
    assert not notifications()


@pytest.fixture
def two_docks(viewer, dock):
    other = KMeansWidget(viewer)
    viewer.window.add_dock_widget(other, name="another")
    dock.n_clusters.value, other.n_clusters.value = 2, 4
    return dock, other


def test_two_docks_update_the_same_layers(viewer, two_docks, gate, held, rest, quadrants):
    for dock in two_docks:
        for title in ("Clusters", "Merge similar"):
            dock.folds[title].open()
    for _ in range(3):
        held(lambda: [dock.run() for dock in two_docks], MIDDLE, n_works=2)
        gate.open()
        rest(*two_docks)
        assert len(viewer.layers) == 3
        labels, recolored = two_docks[0].result.labels, two_docks[0].result.recolored[0]
        assert two_docks[1].result.labels is labels
        shown = labels.metadata[METADATA_KEY]["options"]["n_clusters"]
        check_result(labels, segment(quadrants, shown, rgb=True), recolored)
    assert not notifications()


def test_one_of_two_docks_is_closed(viewer, two_docks, gate, held, rest, quadrants):
    dock, other = two_docks
    held(lambda: [each.run() for each in two_docks], BEGINNING, n_works=2)
    close_dock(viewer, dock)
    gate.open()
    rest(other)
    assert len(viewer.layers) == 3
    check_result(other.result.labels, segment(quadrants, 4, rgb=True), other.result.recolored[0])


@pytest.mark.parametrize("is_closed", [False, True])
def test_two_viewers_at_once(dock, make_napari_viewer, quadrants, gate, held, rest, is_closed):
    there = make_napari_viewer()
    there.add_image(quadrants, name="picture", rgb=True)
    _, other = there.window.add_plugin_dock_widget("napari-kmeans")
    other.n_clusters.value = 3
    held(lambda: [each.run() for each in (dock, other)], MIDDLE, n_works=2)
    if is_closed:
        there.close()
    gate.open()
    if is_closed:
        # napari stops what is under way in all viewers then.
        rest(dock)
        assert not results(there)
        dock.run()
    else:
        rest(other)
        check_result(other.result.labels, segment(quadrants, 3, rgb=True))
    rest(dock)
    check_result(dock.result.labels, segment(quadrants, 4, rgb=True), dock.result.recolored[0])
    assert not notifications()


PLUGIN_SCRIPT = """
import napari
import numpy as np
from npe2 import PluginManager
from qtpy.QtWidgets import QApplication

viewer = napari.Viewer(show=False)
image = np.random.default_rng(0).integers(0, 250, (200, 210, 3)).astype(np.uint8)
viewer.add_image(image, name="picture", rgb=True)
manager = PluginManager.instance()

def open_dock():
    return viewer.window.add_plugin_dock_widget("napari-kmeans")[1]

def rest(dock):
    while not dock.run_button.enabled:
        QApplication.processEvents()

def disable():
    manager.disable("napari-kmeans")

def reload():
    manifest = manager.get_manifest("napari-kmeans")
    manager.unregister("napari-kmeans")
    manager.register(manifest)

dock = open_dock()
for event in (disable, lambda: manager.enable("napari-kmeans"), reload):
    dock.run()
    event()
    rest(dock)
    # napari closes the docks of a plugin that goes, which stops what they do.
    is_open = dock.native.parent() is not None
    assert is_open == (event is not reload)
    assert ("picture labels" in viewer.layers) == is_open
    for layer in list(viewer.layers)[1:]:
        viewer.layers.remove(layer)
again = open_dock()
again.n_clusters.value = 3
again.run()
rest(again)
assert viewer.layers["picture labels"].data.max() == 3
viewer.close()
print("it works on")
"""


def test_the_plugin_is_disabled_and_reloaded():
    """In a process of its own: what viewers of other tests registered cannot be taken back."""
    command = [sys.executable, "-c", PLUGIN_SCRIPT]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert run.stdout == "it works on\n", run.stderr
    assert "Traceback" not in run.stderr


# --------------------------------------------------------------------- panels

PANELS = {
    "Which K?": lambda panel, _: panel.suggest(),
    "Compare": lambda panel, _: panel.compare(),
    "Apply to…": lambda panel, viewer: panel.apply(viewer.layers["other"]),
    "Objects": lambda panel, _: panel.split(),
    "Save and copy": lambda panel, _: panel.copy(),
}


@pytest.mark.parametrize(
    ("title", "event"),
    [
        *((title, "layers deleted") for title in PANELS if title != "Compare"),
        *((title, "canceled") for title in PANELS),
        *((title, "dock closed") for title in ("Objects", "Save and copy")),
        *((title, "viewer closed") for title in ("Objects", "Save and copy")),
    ],
)
def test_panels(viewer, dock, gate, held, rest, qtbot, quadrants, title, event):
    source, other = (
        viewer.layers["picture"],
        viewer.add_image(quadrants[::-1], name="other", rgb=True),
    )
    dock.image.value = source
    dock.run()
    rest(dock)
    panel = dock.folds[title].open()
    runner = panel._runner
    before = state(source), state(other)
    for at in (BEGINNING, END) if event == "canceled" else (BEGINNING,):
        held(lambda: PANELS[title](panel, viewer), at)
        n_layers = len(viewer.layers)
        if event == "layers deleted":
            viewer.layers.clear()
        elif event == "canceled":
            panel.cancel_button.native.click()
        elif event == "dock closed":
            close_dock(viewer, dock)
        else:
            viewer.close()
        gate.open()
        assert QThreadPool.globalInstance().waitForDone(1000 * SECONDS)
        qtbot.waitUntil(lambda: not runner.is_running)
        if event in ("canceled", "dock closed"):
            assert len(viewer.layers) == n_layers
    if event in ("layers deleted", "canceled"):
        assert not panel.cancel_button.enabled
        assert not panel.progress_bar.native.isVisibleTo(panel)
        check_that_it_works_again(viewer, dock, panel, rest, title, (source, other), gate, held)
    assert (state(source), state(other)) == before
    assert not notifications()


def check_that_it_works_again(viewer, dock, panel, rest, title, sources, gate, held):
    """No button is dead."""
    for layer in sources:
        if layer not in viewer.layers:
            viewer.layers.append(layer)
    dock.image.value = sources[0]
    dock.run()
    rest(dock)
    returned = []
    # Held back, or it might return before anybody listens.
    held(lambda: PANELS[title](panel, viewer).returned.connect(returned.append), BEGINNING)
    gate.open()
    rest(dock)
    assert len(returned) == 1
    if title == "Compare":
        panel.back()


def test_a_run_ends_in_peace_whose_dock_is_gone(viewer, gate, held, qtbot):
    viewer.add_image(noise(20, 21, 3), rgb=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-kmeans")
    held(dock.run, BEGINNING)
    gone = weakref.ref(dock._runner)
    close_dock(viewer, dock)
    del dock
    for _ in range(5):
        qtbot.wait(20)
        QApplication.sendPostedEvents()
        gc.collect()
    assert gone() is None
    gate.open()
    assert QThreadPool.globalInstance().waitForDone(1000 * SECONDS)
    # A method of what was collected would be an exception in the loop of events: a failure.
    qtbot.wait(50)
