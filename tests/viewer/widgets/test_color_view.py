"""Tests of the view of colors in 3-D, with mouse and keys in a real viewer.

Some tests check that a closed view leaves no canvas and no widget behind.
"""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLabel
from vispy.gloo import context
from vispy.scene import SceneCanvas

from napari_kmeans import segment
from napari_kmeans.viewer.widgets.color_view import MAX_POINTS, ColorSpaceView

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


@pytest.fixture
def view(viewer, qtbot):
    widget = ColorSpaceView()
    viewer.window.add_dock_widget(widget, name="Color space")
    qtbot.waitUntil(lambda: widget.canvas is not None)
    return widget


@pytest.fixture
def segmentation(quadrants):
    return segment(quadrants, 4, rgb=True)


def picture_of(widget):
    return widget.canvas.render()[..., :3]


def share_of(picture, color, tolerance=3):
    return (np.abs(picture.astype(int) - np.array(color)).max(axis=-1) <= tolerance).mean()


def camera_of(widget):
    return widget.canvas.central_widget.children[0].camera


def press_keys(widget, keys):
    for key in keys:
        QTest.keyClick(widget, key)


def names_in(widget):
    native = widget.canvas.native
    return [label.text() for label in native.findChildren(QLabel) if label.isVisibleTo(native)]


# ----------------------------------------------------------------- drawing


def test_check_box_switches_to_the_colors_of_the_clusters(view, qtbot, random_cloud):
    cloud = random_cloud(3_000)
    cloud.colors[:] = (1, 0, 0)
    cloud.cluster_colors[:] = (0, 1, 0)
    view.show_cloud(cloud)
    own = picture_of(view)
    assert share_of(own, (255, 0, 0)) > 0.02
    qtbot.mouseClick(view.cluster_colors, LEFT, pos=QPoint(8, 8))
    assert view.cluster_colors.isChecked()
    clusters = picture_of(view)
    assert share_of(clusters, (255, 0, 0)) == 0
    assert share_of(clusters, (0, 255, 0)) > 0.02


def test_centers_are_drawn_in_front_of_the_points(view, random_cloud):
    cloud = random_cloud(5_000, n_clusters=1)
    cloud.centers[:] = 0.5
    cloud.colors[:] = (1, 0, 0)
    cloud.cluster_colors[:] = (0, 0, 1)
    view.show_cloud(cloud)
    picture = picture_of(view)
    assert share_of(picture, (0, 0, 255)) > 0.0005
    heights, widths = np.nonzero((picture == (0, 0, 255)).all(axis=-1))
    assert abs(heights.mean() - picture.shape[0] / 2) < 12
    assert abs(widths.mean() - picture.shape[1] / 2) < 12


def test_heavy_points_are_larger(view, random_cloud):
    cloud = random_cloud(2, n_clusters=2)
    cloud.points[:] = [[0, 0, 0], [1, 1, 1]]
    cloud.centers[:] = [[0, 1, 0], [1, 0, 1]]
    cloud.weights[:] = [1, 9]
    cloud.colors[:] = [[1, 0, 0], [0, 1, 0]]
    cloud.cluster_colors[:] = 0.5
    view.show_cloud(cloud)
    # The software renderer once left out the small point in its first frame.
    pictures = (picture_of(view) for _ in range(10))
    picture = next(each for each in pictures if share_of(each, (255, 0, 0)))
    assert share_of(picture, (0, 255, 0)) > 3 * share_of(picture, (255, 0, 0))


def test_axis_names_follow_the_ends_of_the_axes(view, segmentation):
    view.show_segmentation(segmentation)
    assert names_in(view) == ["red", "green", "blue"]
    native = view.canvas.native
    picture_of(view)
    places = {label.text(): label.pos() for label in native.findChildren(QLabel)}
    assert all(native.rect().contains(place) for place in places.values())
    assert places["blue"].y() < min(places["red"].y(), places["green"].y())
    before = dict(places)
    press_keys(native, [Qt.Key.Key_Left] * 3)
    places = {label.text(): label.pos() for label in native.findChildren(QLabel)}
    assert all(places[name] != before[name] for name in ("red", "green"))


def test_single_channel_is_a_curve_seen_from_the_front(view, steps):
    view.show_segmentation(segment(steps, 3))
    assert names_in(view) == ["intensity", "pixels"]
    assert (camera_of(view).azimuth, camera_of(view).elevation) == (0, 0)


def test_message_explains_missing_points(view, lazy_floats, segmentation):
    assert "run a clustering" in view.message.text()
    assert not view.canvas.native.isVisible()
    view.show_segmentation(segment(lazy_floats, 4, rgb=True, method="full"))
    assert view.message.isVisible()
    assert "no pixels were kept" in view.message.text()
    view.show_segmentation(segmentation)
    assert not view.message.isVisible()
    view.clear()
    assert view.message.isVisible()


def test_many_points_are_thinned(view, random_cloud):
    view.show_cloud(random_cloud(MAX_POINTS + 20_000))
    assert len(view._cloud.points) <= MAX_POINTS
    assert picture_of(view).std() > 0


# ------------------------------------------------------------------ turning


def test_mouse_turns_the_view_and_the_button_resets_it(view, segmentation, qtbot):
    view.show_segmentation(segmentation)
    native, camera = view.canvas.native, camera_of(view)
    azimuth, elevation = camera.azimuth, camera.elevation
    before = picture_of(view)
    qtbot.mousePress(native, LEFT, pos=QPoint(100, 100))
    qtbot.mouseMove(native, QPoint(140, 90))
    qtbot.mouseRelease(native, LEFT, pos=QPoint(140, 90))
    assert camera.azimuth == pytest.approx(azimuth - 20)
    assert camera.elevation == pytest.approx(elevation - 5)
    assert (picture_of(view) != before).any()
    qtbot.mouseClick(view.reset_button, LEFT)
    assert (camera.azimuth, camera.elevation) == (azimuth, elevation)
    np.testing.assert_array_equal(picture_of(view), before)


def test_keys_turn_and_zoom_the_view(view, segmentation):
    view.show_segmentation(segmentation)
    native, camera = view.canvas.native, camera_of(view)
    azimuth, elevation, distance = camera.azimuth, camera.elevation, camera.scale_factor
    press_keys(native, [Qt.Key.Key_Left, Qt.Key.Key_Left, Qt.Key.Key_Up, Qt.Key.Key_Plus])
    assert camera.azimuth == pytest.approx(azimuth + 20)
    assert camera.elevation == pytest.approx(elevation + 10)
    assert camera.scale_factor == pytest.approx(distance / 1.1)
    press_keys(native, [Qt.Key.Key_Right, Qt.Key.Key_Down, Qt.Key.Key_Minus])
    assert camera.azimuth == pytest.approx(azimuth + 10)
    assert camera.elevation == pytest.approx(elevation)
    assert camera.scale_factor == pytest.approx(distance)


def test_new_run_keeps_the_direction_of_view_unless_the_axes_change(view, quadrants, segmentation):
    view.show_segmentation(segmentation)
    camera_of(view).azimuth = 77
    view.show_segmentation(segment(quadrants, 3, rgb=True))
    assert camera_of(view).azimuth == 77
    view.show_segmentation(segment(quadrants, 3, rgb=True, color_space="lab"))
    assert camera_of(view).azimuth != 77


# -------------------------------------------------------------------- theme


def test_background_follows_the_theme(view, viewer, segmentation):
    view.show_segmentation(segmentation)
    for theme in ("dark", "light"):
        viewer.theme = theme
        QApplication.processEvents()
        background = view.palette().window().color().getRgb()[:3]
        assert share_of(picture_of(view), background) > 0.5
        assert (np.mean(background) > 128) == (theme == "light")


# ------------------------------------------------------ opening and closing


def test_hidden_view_frees_its_canvas_and_shows_the_same_picture_again(view, segmentation, qtbot):
    view.show_segmentation(segmentation)
    camera_of(view).azimuth = 77
    before = picture_of(view)
    canvas = weakref.ref(view.canvas)
    view.parentWidget().hide()
    assert view.canvas is None
    QApplication.sendPostedEvents(None, 52)  # 52 is QEvent.DeferredDelete.
    gc.collect()
    assert canvas() is None
    view.parentWidget().show()
    qtbot.waitUntil(lambda: view.canvas is not None)
    assert camera_of(view).azimuth == 77
    np.testing.assert_array_equal(picture_of(view), before)


def test_view_is_drawn_in_a_floating_dock(view, segmentation, qtbot):
    view.show_segmentation(segmentation)
    before = share_of(picture_of(view), view.palette().window().color().getRgb()[:3])
    dock = view.parentWidget()
    dock.setFloating(True)
    qtbot.waitUntil(lambda: view.canvas is not None and view.window() is dock)
    qtbot.wait(50)
    after = share_of(picture_of(view), view.palette().window().color().getRgb()[:3])
    assert 0.3 < after < 1
    assert 0.3 < before < 1


def test_segmentation_is_drawn_when_the_view_is_opened_later(viewer, segmentation, qtbot):
    widget = ColorSpaceView()
    widget.show_segmentation(segmentation)
    widget.reset_view()
    viewer.window.add_dock_widget(widget)
    qtbot.waitUntil(lambda: widget.canvas is not None)
    assert names_in(widget) == ["red", "green", "blue"]


def test_two_views_are_open_at_once(viewer, view, quadrants, segmentation, qtbot, delete):
    other = ColorSpaceView()
    viewer.window.add_dock_widget(other)
    qtbot.waitUntil(lambda: other.canvas is not None)
    view.show_segmentation(segmentation)
    other.show_segmentation(segment(quadrants, 2, rgb=True, color_space="lab"))
    assert names_in(view) == ["red", "green", "blue"]
    assert names_in(other) == ["a", "b", "L"]
    # It depends on Qt how soon the view would take the space of the closed one.
    view.setFixedSize(view.size())
    before = picture_of(view)
    viewer.window.remove_dock_widget(other)
    delete(other)
    np.testing.assert_array_equal(picture_of(view), before)


def test_closed_views_leave_no_canvases_and_widgets(viewer, segmentation, qtbot):
    def open_and_close():
        docks = {}
        for _ in range(2):
            widget = ColorSpaceView()
            docks[viewer.window.add_dock_widget(widget)] = widget
        qtbot.waitUntil(lambda: all(widget.canvas for widget in docks.values()))
        for widget in docks.values():
            widget.show_segmentation(segmentation)
            picture_of(widget)
        for dock, widget in docks.items():
            viewer.window.remove_dock_widget(dock)
            widget.deleteLater()
        return [weakref.ref(widget) for widget in docks.values()]

    open_and_close()
    qtbot.wait(50)
    n_widgets, n_canvases = len(QApplication.allWidgets()), len(live_canvases())
    views = [view for _ in range(5) for view in open_and_close()]
    qtbot.wait(50)
    assert len(live_canvases()) == n_canvases
    assert len(QApplication.allWidgets()) == n_widgets
    qtbot.waitUntil(lambda: gc.collect() >= 0 and not any(view() for view in views))


def live_canvases():
    gc.collect()
    known = [each() for each in context.canvasses if each() is not None]
    found = [each for each in gc.get_objects() if isinstance(each, SceneCanvas)]
    assert set(known) <= set(found)
    return found


def test_channels_are_chosen_for_the_axes(view, segmentation):
    image = np.random.default_rng(0).integers(0, 4000, (5, 20, 30)).astype(np.uint16)
    names = ["DAPI", "<b>GFP</b>", "Cy3", "Cy5", "light"]
    result = segment(image, 3, channel_axis=0, channel_names=names)
    view.show_segmentation(segmentation)
    assert not view.axes[0].isVisible()
    view.show_segmentation(result)
    assert view.axes[0].isVisible()
    assert [box.currentText() for box in view.axes] == names[:3]
    before = picture_of(view)
    view.axes[0].setFocus()
    # The keys choose the last channel, which no other axis has.
    QTest.keyClick(view.axes[0], Qt.Key.Key_End)
    assert [box.currentText() for box in view.axes] == ["light", *names[1:3]]
    assert names_in(view) == ["light", *names[1:3]]
    assert (picture_of(view) != before).any()
    # The channel of another axis is exchanged.
    QTest.keyClick(view.axes[1], Qt.Key.Key_End)
    assert [box.currentText() for box in view.axes] == [names[1], "light", names[2]]
    # The choice stays for the next result of the same channels.
    view.show_segmentation(segment(image, 4, channel_axis=0, channel_names=names))
    assert [box.currentText() for box in view.axes] == [names[1], "light", names[2]]
    view.show_segmentation(segment(image[::-1], 3, channel_axis=0, channel_names=names[::-1]))
    assert [box.currentText() for box in view.axes] == names[:1:-1]
    view.clear()
    assert not view.axes[0].isVisible()
