"""Tests of events during background work, at any of its steps.

Examples are canceling, removing layers, closing the dock and a second run. No
event may break a result or leave a thread, a layer or an object behind.
"""

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
"""Steps at which work is paused: before the first, in the middle, after the last."""


class Gate:
    """A gate that pauses all background work at one step until it is opened."""

    def __init__(self):
        self.n_steps = self.n_paused = 0
        self._at = None
        self._go_on = threading.Event()

    def shut(self, at):
        self._go_on.clear()
        self.n_paused, self._at = 0, at

    def open(self):
        self._at = None
        self._go_on.set()

    def pause(self, number):
        """Pause the calling work if it has reached the step of the gate; return whether it did."""
        self.n_steps = number
        if self._at is None or number < self._at:
            return False
        self.n_paused += 1
        assert self._go_on.wait(SECONDS)
        return True


@pytest.fixture
def gate(monkeypatch):
    """The gate that all workers of the test pass."""
    gate, run = Gate(), worker._run_work

    class PausedWatch(worker._ProgressRecorder):
        n_steps, was_paused = 0, False

        def pass_gate(self, number):
            self.was_paused = self.was_paused or gate.pause(number)

        def __call__(self, done, total):
            self.n_steps += 1
            self.pass_gate(self.n_steps)
            super().__call__(done, total)

    def paused_run(task, locate, watch):
        watch.pass_gate(BEGINNING)
        outcome = run(task, locate, watch)
        n_steps = watch.n_steps
        watch.pass_gate(END)
        gate.n_steps = n_steps
        return outcome

    monkeypatch.setattr(worker, "_ProgressRecorder", PausedWatch)
    monkeypatch.setattr(worker, "_run_work", paused_run)
    yield gate
    gate.open()


def live_threads():
    """Return Python's threads, without the threads of Qt and of dask's own pool.

    Qt has a pool of its own to ask. dask's pool stays alive: napari reads lazy
    layers with it.
    """
    return {
        thread
        for thread in threading.enumerate()
        if not isinstance(thread, threading._DummyThread)
        and not thread.name.startswith("ThreadPoolExecutor")
    }


@pytest.fixture(autouse=True)
def no_thread_stays(gate, qtbot):
    """Check after each test that no thread is left and that warnings are handled as before."""
    warm_up().join()
    before, show, filters = live_threads(), warnings.showwarning, list(warnings.filters)
    yield
    gate.open()
    assert QThreadPool.globalInstance().waitForDone(1000 * SECONDS)
    # The kernels of another kind of image may still be compiled, for the first run of this kind.
    for thread in threading.enumerate():
        if thread.name in ("warm-up", "rehearsal"):
            thread.join()
    qtbot.waitUntil(lambda: not live_threads() - before)
    assert warnings.showwarning is show
    assert warnings.filters == filters


@pytest.fixture
def start_paused(gate, qtbot):
    """Return a function that starts work and returns when the work is paused."""

    def start_and_wait(start, at, n_works=1):
        gate.shut(at)
        start()
        qtbot.waitUntil(lambda: gate.n_paused == n_works, timeout=1000 * SECONDS)

    return start_and_wait


@pytest.fixture
def wait_until_idle(qtbot):
    """Return a function that waits until no work is running in docks."""

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
    """Return all attributes of a source layer that work could change by mistake."""
    levels = layer.data if layer.multiscale else [layer.data]
    pixels = [zlib.crc32(np.asarray(level).tobytes()) for level in levels]
    look = [getattr(layer, name) for name in ("name", "opacity", "visible", "gamma")]
    return pixels, deepcopy(layer.metadata), look, layer.affine.affine_matrix.tolist()


def notifications():
    return [each.message for each in notification_manager.records]


def results(viewer):
    return [each for each in viewer.layers if METADATA_KEY in each.metadata]


def check_result(labels, expected, recolored=None):
    """Check that pixels, colors, table and provenance of the layers are from one run."""
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
def test_canceled_run_adds_nothing_at_any_step(
    viewer, open_dock, gate, start_paused, wait_until_idle, kind
):
    image, settings = KINDS[kind]
    source = viewer.add_image(name="picture", multiscale=kind == "levels", **image)
    dock = open_dock()
    dock.n_init.value = 2
    for name, value in settings.items():
        getattr(dock, name).value = value
    before = state(source)
    dock.run()
    wait_until_idle(dock)
    n_layers, n_steps = len(viewer.layers), gate.n_steps
    assert n_layers == (4 if settings.get("add_points") else 3)
    assert n_steps > 3
    for layer in results(viewer):
        viewer.layers.remove(layer)
    for at in {*np.linspace(0, n_steps, 6, dtype=int).tolist(), n_steps - 1, END}:
        start_paused(dock.run, at)
        dock.cancel_button.native.click()
        assert not dock.run_button.enabled
        gate.open()
        wait_until_idle(dock)
        assert list(viewer.layers) == [source], at
    dock.run()
    wait_until_idle(dock)
    assert len(viewer.layers) == n_layers
    assert state(source) == before
    assert not notifications()


# ------------------------------------------------------- changes during a run


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
    "displayed in 3-D": lambda viewer: setattr(viewer.dims, "ndisplay", 3),
}


def test_task_canceled_before_its_start_is_released(qtbot):
    class Idle:
        def run(self, progress=None):
            raise AssertionError

    task = Idle()
    reference, job = weakref.ref(task), worker.make_worker(task)
    del task
    job.quit()
    with qtbot.waitSignals([job.aborted, job.finished]):
        job.start()
    gc.collect()
    assert reference() is None


def test_worker_keeps_the_warning_filters_of_the_window(dock, gate, start_paused, wait_until_idle):
    start_paused(dock.run, BEGINNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gate.open()
        wait_until_idle(dock)
        # Raises if the worker has restored the filters that were set when it started.
        warnings.warn("This warning is ignored.", UserWarning, stacklevel=1)


@pytest.mark.parametrize("event", EVENTS)
def test_run_survives_changes_of_the_layers(
    viewer, dock, gate, start_paused, wait_until_idle, quadrants, quadrant_labels, event
):
    if event == "another dimension" and not hasattr(viewer, "canvas"):
        pytest.skip("napari 0.7 itself fails to show data of another dimension in a layer")
    picture = viewer.layers["picture"]
    mask = viewer.add_labels(np.where(quadrant_labels == 4, 0, 1), name="mask")
    marks = viewer.add_points([(2, 3), (2, 17), (17, 3)], name="marks")
    dock.image.value, dock.mask.value, dock.init.value = picture, mask, marks
    colors = quadrants[(2, 2, 17), (3, 17, 3)]
    expected = segment(quadrants, 3, mask=quadrant_labels < 4, init=colors, rgb=True)
    before, pixels = quadrants.tobytes(), picture.data
    for at in (BEGINNING, MIDDLE, END):
        dock.run()
        wait_until_idle(dock)
        start_paused(dock.run, at)
        EVENTS[event](viewer)
        gate.open()
        wait_until_idle(dock)
        labels, recolored = dock.result.labels, dock.result.recolored[0]
        assert {labels, recolored} <= set(viewer.layers)
        # Labels that were replaced by hand are kept in a copy.
        copies = [layer for layer in results(viewer) if layer.name.startswith(f"{labels.name} ed")]
        assert bool(copies) == (event == "results of another shape")
        assert len(results(viewer)) == 2 + len(copies)
        for copy in copies:
            viewer.layers.remove(copy)
        check_result(labels, expected, recolored)
        assert quadrants.tobytes() == before
        viewer.dims.ndisplay = 2
        restore(viewer, dock, picture, pixels, mask, marks, quadrant_labels)
    kept = "The labels edited by hand are kept in the layer"
    assert not [message for message in notifications() if kept not in message]


def restore(viewer, dock, picture, pixels, mask, marks, quadrant_labels):
    """Restore the layers that were deleted or changed."""
    picture.name, picture.data = "picture", pixels
    mask.data = np.where(quadrant_labels == 4, 0, 1)
    for layer in (picture, mask, marks):
        if layer not in viewer.layers:
            viewer.layers.append(layer)
    dock.image.value, dock.mask.value, dock.init.value = picture, mask, marks


@pytest.mark.parametrize("at", [BEGINNING, MIDDLE, END])
@pytest.mark.parametrize("closed", ["dock", "viewer"])
def test_closing_during_a_run_adds_nothing_at_any_step(
    viewer, dock, gate, start_paused, qtbot, closed, at
):
    source = viewer.layers["picture"]
    before, runner = state(source), dock._runner
    dock.add_points.value = True
    start_paused(dock.run, at)
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


def test_fifty_clicks_on_run_give_one_result(viewer, dock, wait_until_idle, quadrants):
    outcomes = []
    dock.segmented.connect(outcomes.append)
    for _ in range(50):
        dock.run_button.native.click()
    wait_until_idle(dock)
    assert len(outcomes) == 1
    assert len(viewer.layers) == 3
    check_result(dock.result.labels, segment(quadrants, 4, rgb=True))
    for number in range(50):
        dock.run_button.native.click()
        (dock.cancel_button if number % 2 else dock.run_button).native.click()
    wait_until_idle(dock)
    assert len(viewer.layers) == 3
    assert not notifications()


def test_fifty_clicks_on_run_while_live_show_the_last_settings(
    viewer, dock, wait_until_idle, qtbot, quadrants
):
    dock.live.value = True
    for number in range(50):
        dock.run_button.native.click()
        dock.n_clusters.value = 2 + number % 3
        if number % 10 == 9:
            qtbot.wait(30)
    wait_until_idle(dock)
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


def test_two_docks_update_the_same_layers(
    viewer, two_docks, gate, start_paused, wait_until_idle, quadrants
):
    for dock in two_docks:
        for name in ("clusters", "merge"):
            dock.folds[name].open()
    for _ in range(3):
        start_paused(lambda: [dock.run() for dock in two_docks], MIDDLE, n_works=2)
        gate.open()
        wait_until_idle(*two_docks)
        assert len(viewer.layers) == 3
        labels, recolored = two_docks[0].result.labels, two_docks[0].result.recolored[0]
        assert two_docks[1].result is two_docks[0].result
        n_clusters = labels.metadata[METADATA_KEY]["options"]["n_clusters"]
        check_result(labels, segment(quadrants, n_clusters, rgb=True), recolored)
    assert not notifications()


def test_second_dock_finishes_after_the_first_was_closed(
    viewer, two_docks, gate, start_paused, wait_until_idle, quadrants
):
    dock, other = two_docks
    start_paused(lambda: [each.run() for each in two_docks], BEGINNING, n_works=2)
    close_dock(viewer, dock)
    gate.open()
    wait_until_idle(other)
    assert len(viewer.layers) == 3
    check_result(other.result.labels, segment(quadrants, 4, rgb=True), other.result.recolored[0])


@pytest.mark.parametrize("is_closed", [False, True])
def test_two_viewers_run_at_once(
    dock, make_napari_viewer, quadrants, gate, start_paused, wait_until_idle, is_closed
):
    second = make_napari_viewer()
    second.add_image(quadrants, name="picture", rgb=True)
    _, other = second.window.add_plugin_dock_widget("napari-kmeans")
    other.n_clusters.value = 3
    start_paused(lambda: [each.run() for each in (dock, other)], MIDDLE, n_works=2)
    if is_closed:
        second.close()
    gate.open()
    if is_closed:
        # napari cancels the workers of all viewers when one is closed.
        wait_until_idle(dock)
        assert not results(second)
        dock.run()
    else:
        wait_until_idle(other)
        check_result(other.result.labels, segment(quadrants, 3, rgb=True))
    wait_until_idle(dock)
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

def wait_until_idle(dock):
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
    wait_until_idle(dock)
    # napari closes the docks of a plugin that is unregistered, which cancels their runs.
    is_open = dock.native.parent() is not None
    assert is_open == (event is not reload)
    assert ("picture labels" in viewer.layers) == is_open
    for layer in list(viewer.layers)[1:]:
        viewer.layers.remove(layer)
again = open_dock()
again.n_clusters.value = 3
again.run()
wait_until_idle(again)
assert viewer.layers["picture labels"].data.max() == 3
viewer.close()
print("all events passed")
"""


def test_plugin_is_disabled_and_reloaded_during_a_run():
    """Use a new process: registrations by viewers of other tests cannot be undone."""
    command = [sys.executable, "-c", PLUGIN_SCRIPT]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert run.stdout == "all events passed\n", run.stderr
    assert "Traceback" not in run.stderr


# --------------------------------------------------------------------- panels

PANELS = {
    "number": lambda panel, _: panel.suggest(),
    "compare": lambda panel, _: panel.compare(),
    "apply": lambda panel, viewer: panel.apply(viewer.layers["other"]),
    "objects": lambda panel, _: panel.split(),
    "export": lambda panel, _: panel.copy(),
}


@pytest.mark.parametrize(
    ("name", "event"),
    [
        *((name, "layers deleted") for name in PANELS if name != "compare"),
        *((name, "canceled") for name in PANELS),
        *((name, "dock closed") for name in ("objects", "export")),
        *((name, "viewer closed") for name in ("objects", "export")),
    ],
)
def test_work_of_panels_survives_events(
    viewer, dock, gate, start_paused, wait_until_idle, qtbot, quadrants, name, event
):
    source, other = (
        viewer.layers["picture"],
        viewer.add_image(quadrants[::-1], name="other", rgb=True),
    )
    dock.image.value = source
    dock.run()
    wait_until_idle(dock)
    panel = dock.folds[name].open()
    runner = panel._runner
    before = state(source), state(other)
    for at in (BEGINNING, END) if event == "canceled" else (BEGINNING,):
        start_paused(lambda: PANELS[name](panel, viewer), at)
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
        check_that_it_works_again(
            viewer, dock, panel, wait_until_idle, name, (source, other), gate, start_paused
        )
    assert (state(source), state(other)) == before
    assert not notifications()


def check_that_it_works_again(
    viewer, dock, panel, wait_until_idle, name, sources, gate, start_paused
):
    """Run again, and check that the work of the panel still returns."""
    for layer in sources:
        if layer not in viewer.layers:
            viewer.layers.append(layer)
    dock.image.value = sources[0]
    dock.run()
    wait_until_idle(dock)
    returned = []
    # Pause the work: without the pause, it may return before the signal is connected.
    start_paused(lambda: PANELS[name](panel, viewer).returned.connect(returned.append), BEGINNING)
    gate.open()
    wait_until_idle(dock)
    assert len(returned) == 1
    if name == "compare":
        panel.back()


def test_run_of_a_deleted_dock_ends_without_errors(viewer, gate, start_paused, qtbot):
    viewer.add_image(noise(20, 21, 3), rgb=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-kmeans")
    start_paused(dock.run, BEGINNING)
    reference = weakref.ref(dock._runner)
    close_dock(viewer, dock)
    del dock
    for _ in range(5):
        qtbot.wait(20)
        QApplication.sendPostedEvents()
        gc.collect()
    assert reference() is None
    gate.open()
    assert QThreadPool.globalInstance().waitForDone(1000 * SECONDS)
    # A signal to a method of the collected runner would raise in the event loop and fail the test.
    qtbot.wait(50)
