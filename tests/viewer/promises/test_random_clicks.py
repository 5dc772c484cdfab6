"""Test random clicks on all controls of the dock, also during runs.

The default is 300 steps, or fewer on a slow machine. ``CLICK_MINUTES=10`` clicks for ten minutes
and checks that memory does not grow. ``CLICK_SEED=7`` chooses other steps. The steps are printed
on failure.
"""

from __future__ import annotations

import gc
import os
import re
import time
import weakref
from collections import Counter
from typing import NamedTuple

import dask.array as da
import numpy as np
import psutil
import pytest
from napari.layers import Labels, Points
from napari.utils.notifications import Notification, notification_manager
from qtpy.QtCore import QAbstractTableModel, Qt, QThreadPool
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDialog,
    QDoubleSpinBox,
    QFileDialog,
    QLineEdit,
    QScrollBar,
    QWidget,
)
from vispy.scene import ViewBox

from napari_kmeans.options import DOCK_OPTIONS, Options
from napari_kmeans.viewer import commands
from napari_kmeans.viewer.background.worker import SegmentationWorker

SEED = int(os.environ.get("CLICK_SEED", "0"))
MINUTES = float(os.environ.get("CLICK_MINUTES", "0"))
STEPS = 300
SECONDS = 15
"""Time limit of the steps if no minutes are given."""
CLEAN_EVERY = 100
MAX_LAYERS = 6
PATIENCE_MS = 60_000
MAX_GROWTH = 100
"""Allowed growth of the process, in megabytes, from the first to the last third of a long run."""
VIEW_MEGABYTES = 0.65
"""Memory that napari 0.9.2 leaks for each view of its grid mode. napari creates all views again
when a layer is added or removed. Measured in viewers without a dock: 0.65 to 1.5 MB for a view."""
MAX_OBJECTS = 300
"""Allowed objects of this package's classes after all layers and the dock are closed."""

COMMANDS = (commands.segment_active_layer, commands.suggest_number, commands.apply_last_model)
CONTROLS = (QAbstractButton, QComboBox, QAbstractSpinBox, QAbstractSlider, QLineEdit)
WORDS = ("auto", "auto", "60", "5000", "5", "4 7", "-1", "many", "")


class Visitor:
    """A user who takes random steps in a viewer with a dock; checks the state after each."""

    def __init__(self, viewer, qtbot, rng):
        self.viewer, self.qtbot, self.rng = viewer, qtbot, rng
        self.docks: list[weakref.ref] = []
        self.n_results = 0
        self.add_image()
        self.open()

    # ------------------------------------------------------------------ steps

    def step(self):
        """Take a random step, then process events for a moment."""
        steps = (self.control, self.change_layers, self.use_command, self.start_run)
        steps += (self.settle, self.reopen)
        self.rng.choice(np.array(steps), p=(0.66, 0.2, 0.03, 0.08, 0.02, 0.01))()
        self.qtbot.wait(int(self.rng.choice([0, 0, 0, 1, 5, 10])))
        self.close_dialogs()
        self.check_notifications()

    def control(self):
        """Use a random control that is visible and enabled."""
        controls = [
            each
            for kind in (*CONTROLS, QAbstractItemView)
            for each in self.dock.native.findChildren(kind)
            if each.isVisibleTo(self.dock.native) and each.isEnabled()
        ]
        inner = [each for each in controls if isinstance(each, QScrollBar) or is_inside(each)]
        self.use(self.pick([each for each in controls if each not in inner]))

    def use(self, control):
        print("use", type(control).__name__, control.objectName(), text_of(control))
        if isinstance(control, QAbstractButton):
            control.click()
        elif isinstance(control, QComboBox):
            control.setCurrentIndex(int(self.rng.integers(max(control.count(), 1))))
        elif isinstance(control, QDoubleSpinBox):
            control.setValue(control.minimum() + 10.0 ** -self.rng.integers(6))
        elif isinstance(control, QAbstractItemView):
            self.use_list(control)
        elif isinstance(control, QLineEdit):
            control.setText(self.pick(WORDS))
            control.returnPressed.emit()
        else:
            top = min(control.maximum(), control.minimum() + 40)
            control.setValue(int(self.rng.integers(control.minimum(), top + 1)))

    def use_list(self, view):
        """Select in a list, rename an entry, or tick a box."""
        model = view.model()
        # A list has one column, which PyQt does not count.
        n_columns = model.columnCount() if isinstance(model, QAbstractTableModel) else 1
        if not (model.rowCount() and n_columns):
            return
        index = model.index(
            int(self.rng.integers(model.rowCount())), int(self.rng.integers(n_columns))
        )
        flags = model.flags(index)
        if self.rng.random() < 0.5:
            view.setCurrentIndex(index)
        elif flags & Qt.ItemFlag.ItemIsEditable:
            model.setData(index, self.pick(WORDS), Qt.ItemDataRole.EditRole)
        elif flags & Qt.ItemFlag.ItemIsUserCheckable:
            state = self.pick([Qt.CheckState.Checked, Qt.CheckState.Unchecked])
            model.setData(index, state, Qt.ItemDataRole.CheckStateRole)
        else:
            view.selectAll()

    def change_layers(self):
        steps = [self.add_image, self.add_marks, self.remove, self.select, self.rename]
        steps += [self.move, self.paint, self.slide, self.select]
        step = self.remove if len(self.viewer.layers) > MAX_LAYERS else self.pick(steps)
        print(step.__name__)
        step()

    def add_image(self):
        self.viewer.add_image(**self.pick(IMAGES)(self.rng))

    def add_marks(self):
        add = self.viewer
        corners = [[2, 2], [2, 20], [15, 20], [15, 2]]
        size = (24, 32)
        self.pick(
            [
                lambda: add.add_points(self.rng.uniform(-2, 24, (self.rng.integers(5), 2))),
                lambda: add.add_labels(self.rng.integers(0, 3, size)),
                lambda: add.add_labels(np.zeros(size, int)),
                self.remove,
                lambda: add.add_shapes([np.array(corners)], shape_type="polygon"),
            ]
        )()

    def remove(self):
        if self.viewer.layers:
            self.viewer.layers.remove(self.pick(list(self.viewer.layers)))

    def select(self):
        if self.viewer.layers:
            chosen = [each for each in self.viewer.layers if self.rng.random() < 0.3]
            self.viewer.layers.selection = set(chosen) or {self.pick(list(self.viewer.layers))}

    def rename(self):
        if self.viewer.layers:
            self.pick(list(self.viewer.layers)).name = self.pick(WORDS)

    def move(self):
        if self.viewer.layers:
            layer = self.pick(list(self.viewer.layers))
            layer.translate = self.rng.integers(-40, 40, layer.ndim)
            layer.scale = self.rng.uniform(0.5, 2, layer.ndim)

    def paint(self):
        for layer in self.viewer.layers:
            if isinstance(layer, Points):
                layer.add(self.rng.uniform(0, 20, layer.ndim))
            elif type(layer) is Labels and isinstance(layer.data, np.ndarray):
                layer.fill((1,) * layer.ndim, int(self.rng.integers(1, 5)))

    def slide(self):
        dims = self.viewer.dims
        if self.rng.random() < 0.2:
            dims.ndisplay = 5 - dims.ndisplay
        elif dims.ndim > 2:
            dims.set_current_step(0, int(self.rng.integers(-1, 4)))

    def start_run(self):
        """Start a run with settings that are valid for every image."""
        print("start_run")
        dock = self.dock
        if dock.image.value is None:
            self.add_image()
        for field in (dock.coreset_size, dock.n_init):
            field.value = "auto"
        dock.mask.value, dock.init.value, dock.add_labels.value = None, "k-means++", True
        dock.run_button.native.click()

    def use_command(self):
        command = self.pick(COMMANDS)
        print(command.__name__)
        command(self.viewer)

    # ------------------------------------------------------------------- dock

    def open(self):
        _, self.dock = self.viewer.window.add_plugin_dock_widget("napari-kmeans")
        self.dock.segmented.connect(self.count)
        self.docks.append(weakref.ref(self.dock))

    def count(self, _result):
        self.n_results += 1

    def close(self):
        widget, self.dock = self.dock, None
        self.viewer.window.remove_dock_widget(widget.native)
        widget.native.deleteLater()

    def reopen(self):
        print("reopen")
        self.close()
        self.open()

    def close_dialogs(self):
        for dialog in self.dock.native.findChildren(QDialog):
            if dialog.isVisible():
                self.pick([dialog.accept, dialog.reject])()

    # ----------------------------------------------------------------- checks

    def check_notifications(self):
        """Check that every notification is a sentence, and none is a traceback."""
        for record in notification_manager.records:
            assert type(record) is Notification, text_of_record(record)
            assert "\n" not in record.message
            assert record.message
        notification_manager.records.clear()

    def settle(self):
        """Check that all work ends and that the buttons are enabled again."""
        cancel = [
            button
            for button in self.dock.native.findChildren(QAbstractButton)
            if button.text() == "Cancel"
        ]
        assert cancel
        pool, dock = QThreadPool.globalInstance(), self.dock
        has_output = dock.add_labels.value or dock.add_recolored.value
        can_run = dock.image.value is not None and has_output

        def is_at_rest():
            # The signal that a canceled run has ended may be pending; it enables the button.
            is_ready = dock.run_button.enabled or not can_run
            return is_ready and not any(map(enabled, cancel)) and not pool.activeThreadCount()

        self.qtbot.waitUntil(is_at_rest, timeout=PATIENCE_MS)

    def clean(self):
        """Close the dock, remove all layers, and return the memory that is still in use."""
        self.settle()
        self.viewer.dims.ndisplay = 2
        self.close()
        self.viewer.layers.clear()
        notification_manager.records.clear()
        for _ in range(3):
            self.qtbot.wait(20)
            QApplication.sendPostedEvents()
            gc.collect()
        alive = sum(reference() is not None for reference in self.docks)
        assert not alive, f"{alive} of {len(self.docks)} docks were not deleted"
        self.docks.clear()
        counts = count_objects()
        assert counts.total() < MAX_OBJECTS, counts
        use = Use.now()
        print(use, dict(counts))
        self.add_image()
        self.open()
        return use

    def finish(self, quadrants, quadrant_labels):
        """Check that a run with the default settings still gives the right labels."""
        self.settle()
        self.viewer.dims.ndisplay = 2
        self.viewer.layers.clear()
        self.viewer.add_image(quadrants, name="picture", rgb=True)
        dock = self.dock
        dock.live.value = False
        self.settle()
        options = Options(n_clusters=4, method="full", n_init=5)
        for name in DOCK_OPTIONS:
            getattr(dock, name).value = getattr(options, name)
        dock.add_labels.value = True
        dock.run_button.native.click()
        self.qtbot.waitUntil(lambda: "picture labels" in self.viewer.layers, timeout=PATIENCE_MS)
        np.testing.assert_array_equal(self.viewer.layers["picture labels"].data, quadrant_labels)
        self.settle()

    def pick(self, things):
        return things[int(self.rng.integers(len(things)))]


class Use(NamedTuple):
    """The memory of the process, and the number of views of napari's grid mode."""

    megabytes: float
    n_views: int

    @classmethod
    def now(cls):
        n_views = sum(isinstance(each, ViewBox) for each in gc.get_objects())
        return cls(psutil.Process().memory_info().rss / 1e6, n_views)


def count_objects():
    """Return the number of objects of each class of this package, except workers.

    napari's list of workers keeps every worker, but not the task of the worker.
    """
    kinds = (type(each) for each in gc.get_objects())
    ours = (kind for kind in kinds if str(kind.__module__).startswith("napari_kmeans"))
    return Counter(kind.__name__ for kind in ours if kind is not SegmentationWorker)


def is_inside(control):
    """Return whether a control is inside another control."""
    parent = control.parentWidget()
    return isinstance(parent, (QComboBox, QAbstractSpinBox, QAbstractItemView)) or (
        isinstance(parent, QWidget) and isinstance(parent.parentWidget(), QComboBox)
    )


def text_of(control):
    return control.text() if hasattr(control, "text") else ""


def text_of_record(record):
    return record.as_text() if hasattr(record, "as_text") else record.message


def enabled(button):
    return button.isEnabled()


def pixels(rng, shape, dtype=np.uint8):
    return rng.integers(0, 250, shape).astype(dtype)


def with_nan(rng):
    image = rng.random((24, 32), dtype=np.float32)
    image[:4] = np.nan
    return {"data": image, "contrast_limits": (0, 1)}


IMAGES = (
    lambda rng: {"data": pixels(rng, (24, 32, 3)), "rgb": True},
    lambda rng: {"data": pixels(rng, (24, 32, 4)), "rgb": True, "scale": (2, 0.5)},
    lambda rng: {"data": pixels(rng, (24, 32))},
    lambda rng: {"data": pixels(rng, (3, 24, 32), np.uint16)},
    lambda rng: {"data": pixels(rng, (3, 24, 32, 3)), "rgb": True},
    lambda rng: {"data": da.from_array(pixels(rng, (24, 32, 3)), chunks=(10, 10, 3)), "rgb": True},
    lambda rng: {
        "data": [pixels(rng, (48, 64, 3)), pixels(rng, (24, 32, 3))],
        "multiscale": True,
        "rgb": True,
    },
    lambda rng: {"data": np.full((24, 32), 7, np.uint8)},
    lambda rng: {"data": pixels(rng, (400, 300, 3), np.float32) / 250, "rgb": True},
    with_nan,
)


@pytest.fixture(autouse=True)
def files(monkeypatch, tmp_path):
    """Choose files without a dialog: a dialog of the system would wait for a user."""

    def choose(_parent, _title, _name, kinds):
        ending = re.search(r"\*(\.\w+)", kinds)[1]
        return str(tmp_path / f"chosen{ending}"), kinds

    for name in ("getSaveFileName", "getOpenFileName"):
        monkeypatch.setattr(QFileDialog, name, choose)
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: ([], ""))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "")


def test_random_clicks_break_nothing(viewer, qtbot, forget_drawing, quadrants, quadrant_labels):
    rng = np.random.default_rng(SEED)
    max_steps = np.inf if MINUTES else STEPS
    end, uses, n_steps = time.monotonic() + (60 * MINUTES or SECONDS), [], 0
    with qtbot.captureExceptions() as exceptions:
        visitor = Visitor(viewer, qtbot, rng)
        while n_steps < max_steps and time.monotonic() < end:
            visitor.step()
            assert not exceptions
            n_steps += 1
            if n_steps % CLEAN_EVERY == 0:
                forget_drawing()
                uses.append(visitor.clean())
        print(f"{n_steps} steps gave {visitor.n_results} results")
        visitor.clean()
        visitor.finish(quadrants, quadrant_labels)
        visitor.close()
        qtbot.wait(20)
    assert not exceptions
    if MINUTES:
        # With fewer results, hardly any click would have started a run.
        assert visitor.n_results > n_steps / 50
        ours = [use.megabytes - VIEW_MEGABYTES * use.n_views for use in uses]
        third = len(ours) // 3
        first, last = np.median(ours[:third]), np.median(ours[-third:])
        assert last - first < MAX_GROWTH, f"from {first:.0f} to {last:.0f} MB"
