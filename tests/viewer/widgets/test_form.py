"""Tests of the scroll area that contains the form and the panels of the dock."""

from qtpy.QtCore import QPoint
from qtpy.QtWidgets import (
    QAbstractScrollArea,
    QApplication,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_kmeans.viewer.widgets.form import add_scroll_area


def left_of(widget, ancestor):
    return widget.mapTo(ancestor, QPoint(0, 0)).x()


def is_in_inner_area(widget, content):
    parent = widget.parentWidget()
    while parent is not content:
        if isinstance(parent, QAbstractScrollArea):
            return True
        parent = parent.parentWidget()
    return False


def cut_widgets(area):
    """Return the visible widgets of an area that lie partly under its bar or beyond its edge."""
    content, viewport, bar = area.widget(), area.viewport(), area.verticalScrollBar()
    room = area.width() - bar.sizeHint().width() - 2 * area.frameWidth()
    assert room <= viewport.width()
    return [
        widget
        for widget in content.findChildren(QWidget)
        if widget.isVisible()
        and not is_in_inner_area(widget, content)
        and left_of(widget, viewport) + widget.width() > room
    ]


def test_no_field_is_cut_at_the_right_edge(make_napari_viewer, quadrants, finish, qtbot):
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1280, 720)
    viewer.add_image(quadrants, name="picture", rgb=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-kmeans")
    area = dock.native.findChild(QScrollArea)
    QApplication.processEvents()
    assert area.isVisible()
    assert not cut_widgets(area)
    assert dock.native.width() <= 350
    more = dock.native.findChild(QCollapsible)
    more.expand(animate=False)
    qtbot.wait(20)
    assert not cut_widgets(area)
    dock.n_clusters.value = 4
    dock.run()
    finish(dock)
    for fold in dock.folds.values():
        fold.open()
        qtbot.wait(20)
        assert not cut_widgets(area), fold.folder.text()
    qtbot.waitUntil(area.verticalScrollBar().isVisible)
    assert not cut_widgets(area)
    assert dock.native.width() <= 350
    number, slider, button = (
        field.native.geometry()
        for field in (dock.n_clusters, dock.n_clusters_slider, dock.which_button)
    )
    assert number.right() < slider.left()
    assert slider.right() < button.left()
    assert slider.width() >= 50


def test_area_becomes_wider_with_its_content(qtbot):
    window = QWidget()
    qtbot.addWidget(window)
    inner = add_scroll_area(QVBoxLayout(window))
    label = QLabel("narrow")
    inner.addWidget(label)
    window.show()
    area = window.findChild(QScrollArea)
    qtbot.waitUntil(lambda: label.isVisible() and not cut_widgets(area))
    label.setMinimumWidth(700)
    qtbot.waitUntil(lambda: window.width() >= 700 and not cut_widgets(area))
