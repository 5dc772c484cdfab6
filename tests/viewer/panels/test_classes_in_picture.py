"""Clicks in the picture select clusters in the list, and the list chooses the colors."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def viewer(make_napari_viewer):
    """A visible window: a hidden canvas has no places to click at."""
    return make_napari_viewer(show=True)


@pytest.fixture
def canvas(viewer):
    return viewer.window._qt_viewer.canvas.native


@pytest.fixture
def run(finish, qtbot):
    """Return a function that runs a dock and returns its panel, open and in view."""

    def run_it(dock):
        dock.run()
        finish(dock)
        panel = dock.folds["clusters"].open()
        qtbot.waitUntil(panel.isVisible)
        return panel

    return run_it


def places(canvas):
    """Return the middle of each quadrant of a square picture in view, row by row."""
    height, width = canvas.height(), canvas.width()
    step = min(height, width) // 6
    return [
        QPoint(width // 2 + across * step, height // 2 + down * step)
        for down in (-1, 1)
        for across in (-1, 1)
    ]


def click(canvas, place, modifier=Qt.KeyboardModifier.NoModifier):
    QTest.mouseClick(canvas, LEFT, modifier, place)
    # The next click must not be part of a double click.
    QTest.qWait(1)


def drag(canvas, start, end):
    QTest.mousePress(canvas, LEFT, pos=start)
    QTest.mouseMove(canvas, end)
    QTest.mouseRelease(canvas, LEFT, pos=end)


def labels_in_view(dock):
    """Return the label in the middle of each quadrant."""
    labels = dock.result.labels
    data = np.asarray(labels.data[0] if labels.multiscale else labels.data)
    height, width = data.shape[-2:]
    return [
        int(data[..., height * down // 4, width * across // 4].flat[0])
        for down in (1, 3)
        for across in (1, 3)
    ]


def test_clicks_in_the_picture_select_clusters(viewer, canvas, open_dock, run, qtbot, quadrants):
    image = viewer.add_image(quadrants[:, :40].repeat(5, 0).repeat(5, 1), rgb=True)
    dock = open_dock()
    panel = run(dock)
    viewer.reset_view(margin=0)
    labels = labels_in_view(dock)
    assert sorted(labels) == [1, 2, 3, 4]
    spots = places(canvas)
    for layer in (image, dock.result.labels, None):
        viewer.layers.selection.active = layer
        for place, label in zip(spots, labels, strict=True):
            click(canvas, place)
            assert panel.list.selected == [label]
            assert panel.list._clusters.highlighted == {label}
    click(canvas, spots[-1])
    assert panel.list.selected == []
    click(canvas, spots[0])
    click(canvas, QPoint(3, 3))
    assert panel.list.selected == []
    # Dragging moves the view, a key extends a selection elsewhere, and tools draw.
    drag(canvas, spots[0], spots[0] + QPoint(20, 0))
    viewer.reset_view(margin=0)
    click(canvas, spots[0], Qt.KeyboardModifier.ShiftModifier)
    assert panel.list.selected == []
    layer = dock.result.labels
    viewer.layers.selection.active, layer.mode, layer.selected_label = layer, "paint", 3
    click(canvas, spots[0])
    assert panel.list.selected == []
    layer.mode = "pan_zoom"
    points = viewer.add_points(ndim=2)
    points.mode = "add"
    click(canvas, spots[0])
    assert len(points.data) == 1
    assert panel.list.selected == []
    # Label 0, and a label without a row.
    points.mode = "pan_zoom"
    layer.data[:] = 0
    layer.refresh()
    panel.list.select([1])
    click(canvas, spots[0])
    assert panel.list.selected == []
    layer.data[:] = 9
    layer.refresh()
    click(canvas, spots[0])
    assert panel.list.selected == []
    # A hidden layer is not clicked at.
    panel.list.select([1])
    layer.visible = False
    click(canvas, spots[0])
    assert panel.list.selected == [1]
    # A folded panel, and a removed layer, watch no clicks.
    callbacks = viewer.mouse_drag_callbacks
    n_callbacks = len(callbacks)
    dock.folds["clusters"].folder.collapse(animate=False)
    qtbot.waitUntil(lambda: len(callbacks) == n_callbacks - 1)
    dock.folds["clusters"].open()
    qtbot.waitUntil(panel.isVisible)
    assert len(callbacks) == n_callbacks
    viewer.layers.remove(layer)
    assert len(callbacks) == n_callbacks - 1


def test_clicks_select_in_levels_and_in_three_dimensions(viewer, canvas, open_dock, run, quadrants):
    gray = (quadrants[:, :40, 0] // 2 + quadrants[:, :40, 2] // 2).repeat(5, 0).repeat(5, 1)
    viewer.add_image([gray, gray[::2, ::2]], multiscale=True, name="levels")
    dock = open_dock()
    panel = run(dock)
    viewer.reset_view(margin=0)
    for place, label in zip(places(canvas), labels_in_view(dock), strict=True):
        panel.list.select([])
        click(canvas, place)
        assert panel.list.selected == [label]
    viewer.layers.clear()
    volume = viewer.add_image(np.stack([gray[::5, ::5]] * 40), name="volume")
    dock.image.value = volume
    run(dock)
    viewer.dims.ndisplay = 3
    viewer.reset_view()
    for place, label in zip(places(canvas), labels_in_view(dock), strict=True):
        panel.list.select([])
        click(canvas, place)
        assert panel.list.selected == [label]


def test_the_list_chooses_the_colors_of_this_layer_and_of_new_ones(
    viewer, open_dock, run, quadrants
):
    gray = viewer.add_image(quadrants[..., 0].copy(), name="gray")
    dock = open_dock()
    dock.n_clusters.value = 2
    panel = run(dock)
    labels = dock.result.labels
    assert (panel.scheme.value, labels.opacity) == ("distinct", 0.7)
    assert not dock.result.recolored[0].visible
    distinct = labels.features["color"].tolist()
    panel.scheme.value = "mean"
    means = labels.features["color"].tolist()
    assert all(code[1:3] == code[3:5] == code[5:] for code in means)
    panel.list.undo()
    assert panel.scheme.value == "distinct"
    assert labels.features["color"].tolist() == distinct
    panel.list.redo()
    assert panel.scheme.value == "mean"
    # The next run has the colors of the layer that it updates, and other layers the last choice.
    run(dock)
    assert labels.features["color"].tolist() == means
    dock.update_layers.value = False
    dock.add_recolored.value = False
    run(dock)
    assert dock.result.labels is not labels
    assert panel.scheme.value == "mean"
    picture = viewer.add_image(quadrants, name="picture", rgb=True)
    dock.image.value = picture
    run(dock)
    assert (panel.scheme.value, dock.result.labels.opacity) == ("mean", 1)
    panel.scheme.value = "distinct"
    dock.image.value = gray
    run(dock)
    assert panel.scheme.value == "mean"
    # Without labels, the recolored image is shown.
    dock.add_labels.value, dock.add_recolored.value = False, True
    run(dock)
    assert dock.result.recolored[0].visible
    assert not panel.scheme.enabled
