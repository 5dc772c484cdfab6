"""The color space view, in a real viewer, by mouse and keys, and what it gives back."""

from __future__ import annotations

import gc
import weakref

import dask.array as da
import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QLabel
from vispy.gloo import context
from vispy.scene import SceneCanvas

from napari_kmeans import segment
from napari_kmeans.imaging.colors import to_space
from napari_kmeans.viewer.widgets.color_view import MAX_POINTS, Cloud, ColorSpaceView, cloud_of

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


def names_in(widget):
    native = widget.canvas.native
    return [label.text() for label in native.findChildren(QLabel) if label.isVisibleTo(native)]


def random_cloud(n_points, n_axes=3, n_clusters=4):
    rng = np.random.default_rng(0)
    points = rng.random((n_points, n_axes))
    centers = rng.random((n_clusters, n_axes))
    labels = ((points[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1) + 1
    return {
        "points": points,
        "weights": rng.random(n_points) + 0.1,
        "labels": labels,
        "centers": centers,
        "colors": rng.random((n_points, 3)),
        "cluster_colors": rng.random((n_clusters, 3)),
        "axis_names": ["p", "q", "r"][:n_axes],
    }


# ------------------------------------------------------------ what is shown


@pytest.mark.parametrize(
    ("color_space", "order", "names"),
    [
        ("rgb", [0, 1, 2], ("red", "green", "blue")),
        ("hsv", [0, 1, 2], ("x", "y", "value")),
        ("lab", [1, 2, 0], ("a", "b", "L")),
    ],
)
def test_the_sample_in_the_space_of_the_clusters(quadrants, color_space, order, names):
    segmentation = segment(quadrants, 4, rgb=True, color_space=color_space, coreset_size=60)
    cloud, coreset = cloud_of(segmentation), segmentation.coreset
    points = to_space(coreset.points, color_space, 255)
    np.testing.assert_allclose(cloud.points, points[:, order])
    np.testing.assert_array_equal(cloud.weights, coreset.weights)
    np.testing.assert_allclose(cloud.centers, segmentation.model.cluster_centers_[:, order])
    expected = segmentation.model.predict(coreset.points[None])[0]
    np.testing.assert_array_equal(cloud.labels, expected)
    np.testing.assert_allclose(cloud.colors, coreset.points / 255)
    np.testing.assert_allclose(cloud.cluster_colors, segmentation.model.palette / 255)
    assert tuple(cloud.axis_names) == names


def test_several_channels_show_the_first_three():
    image = np.random.default_rng(0).integers(0, 4000, (5, 20, 30)).astype(np.uint16)
    segmentation = segment(image, 3, channel_axis=0)
    cloud = cloud_of(segmentation)
    np.testing.assert_array_equal(cloud.points, segmentation.coreset.points[:, :3])
    assert tuple(cloud.axis_names) == ("channel 0", "channel 1", "channel 2")
    expected = ((segmentation.coreset.points[:, None] - segmentation.model.palette) ** 2).sum(2)
    np.testing.assert_array_equal(cloud.labels, expected.argmin(axis=1) + 1)


def test_two_channels_lie_in_a_plane():
    image = np.random.default_rng(0).integers(0, 4000, (2, 20, 30)).astype(np.uint16)
    cloud = cloud_of(segment(image, 3, channel_axis=0))
    assert tuple(cloud.axis_names) == ("channel 0", "channel 1", "")
    assert not cloud.points[:, 2].any()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_where_all_pixels_were_fitted_colors_of_all_are_shown(quadrants, dtype):
    image = np.tile(quadrants, (8, 8, 1)).astype(dtype)
    cloud = cloud_of(segment(image, 4, rgb=True, method="full"))
    assert len(cloud.points) > 4
    pixels = image.reshape(-1, 3).astype(float)
    assert cloud.weights.sum() == pytest.approx(len(pixels))
    if dtype == np.uint8:
        np.testing.assert_allclose(
            cloud.weights @ cloud.points / len(pixels), pixels.mean(axis=0), rtol=1e-9
        )
    else:
        assert {tuple(point) for point in cloud.points} <= {tuple(pixel) for pixel in pixels}
    shares = np.bincount(cloud.labels, cloud.weights)[1:] / len(pixels)
    np.testing.assert_allclose(shares, np.array([100, 110, 100, 110]) / 420, atol=0.02)


def lazy_floats(quadrants):
    """Colors that cannot be counted, and are not kept."""
    return da.from_array(quadrants.astype(np.float32), chunks=(10, 10, 3))


def test_without_colors_clusters_stand_for_themselves(quadrants):
    segmentation = segment(lazy_floats(quadrants), 4, rgb=True, method="full")
    cloud = cloud_of(segmentation)
    np.testing.assert_array_equal(cloud.points, segmentation.model.cluster_centers_)
    assert cloud.weights.tolist() == [100, 110, 100, 110]
    assert cloud.labels.tolist() == [1, 2, 3, 4]


def test_a_single_channel_is_a_curve_of_its_histogram(steps):
    segmentation = segment(steps, 3)
    cloud = cloud_of(segmentation)
    assert tuple(cloud.axis_names) == ("intensity", "", "")
    curve = cloud.as_curve()
    np.testing.assert_allclose(curve.points[:, 0], [1_000, 20_000, 50_000], atol=400)
    assert not curve.points[:, 1].any()
    heights = curve.points[:, 2] / curve.points[:, 2].max()
    np.testing.assert_allclose(heights, [1, 0.5, 0.5])
    assert curve.labels.tolist() == [1, 2, 3]


# ---------------------------------------------------------------- thinning


def test_a_few_points_are_all_kept():
    cloud = as_cloud(random_cloud(100))
    assert cloud.thinned(100) is cloud


def test_thinned_points_stand_for_all_of_them():
    cloud = as_cloud(random_cloud(50_000))
    thin = cloud.thinned(5_000)
    assert 4_000 < len(thin.points) <= 5_000
    assert thin.weights.sum() == pytest.approx(cloud.weights.sum())
    mean = np.average(cloud.points, axis=0, weights=cloud.weights)
    np.testing.assert_allclose(np.average(thin.points, axis=0, weights=thin.weights), mean, 0.02)
    np.testing.assert_array_equal(thin.points, cloud.thinned(5_000).points)
    indices = np.flatnonzero(np.isin(cloud.points[:, 0], thin.points[:, 0]))
    np.testing.assert_array_equal(thin.labels, cloud.labels[indices])
    np.testing.assert_array_equal(thin.colors, cloud.colors[indices])


def test_a_heavy_point_is_never_left_out():
    values = random_cloud(50_000)
    values["weights"][:] = 1
    values["weights"][777] = 1_000
    thin = as_cloud(values).thinned(5_000)
    (row,) = np.flatnonzero((thin.points == values["points"][777]).all(axis=1))
    assert thin.weights[row] == pytest.approx(1_000, rel=0.05)


def as_cloud(values):
    return Cloud(**values)


# ----------------------------------------------------------------- drawing


def test_points_are_drawn_in_their_own_or_their_clusters_colors(view, qtbot):
    values = random_cloud(3_000)
    values["colors"][:] = (1, 0, 0)
    values["cluster_colors"][:] = (0, 1, 0)
    view.show_points(**values)
    own = picture_of(view)
    assert share_of(own, (255, 0, 0)) > 0.02
    qtbot.mouseClick(view.cluster_colors, LEFT, pos=QPoint(8, 8))
    assert view.cluster_colors.isChecked()
    clusters = picture_of(view)
    assert share_of(clusters, (255, 0, 0)) == 0
    assert share_of(clusters, (0, 255, 0)) > 0.02


def test_centers_are_in_front_of_their_points(view):
    values = random_cloud(5_000, n_clusters=1)
    values["centers"][:] = 0.5
    values["colors"][:] = (1, 0, 0)
    values["cluster_colors"][:] = (0, 0, 1)
    view.show_points(**values)
    picture = picture_of(view)
    assert share_of(picture, (0, 0, 255)) > 0.0005
    heights, widths = np.nonzero((picture == (0, 0, 255)).all(axis=-1))
    assert abs(heights.mean() - picture.shape[0] / 2) < 12
    assert abs(widths.mean() - picture.shape[1] / 2) < 12


def test_heavier_points_are_larger(view):
    values = random_cloud(2, n_clusters=2)
    values["points"][:] = [[0, 0, 0], [1, 1, 1]]
    values["centers"][:] = [[0, 1, 0], [1, 0, 1]]
    values["weights"][:] = [1, 9]
    values["colors"][:] = [[1, 0, 0], [0, 1, 0]]
    values["cluster_colors"][:] = 0.5
    view.show_points(**values)
    picture = picture_of(view)
    assert share_of(picture, (0, 255, 0)) > 3 * share_of(picture, (255, 0, 0)) > 0


def test_names_stand_at_the_ends_of_the_axes(view, segmentation):
    view.show_segmentation(segmentation)
    assert names_in(view) == ["red", "green", "blue"]
    native = view.canvas.native
    picture_of(view)
    places = {label.text(): label.pos() for label in native.findChildren(QLabel)}
    assert all(native.rect().contains(place) for place in places.values())
    assert places["blue"].y() < min(places["red"].y(), places["green"].y())
    before = dict(places)
    qtbot_keys(native, [Qt.Key.Key_Left] * 3)
    places = {label.text(): label.pos() for label in native.findChildren(QLabel)}
    assert all(places[name] != before[name] for name in ("red", "green"))


def qtbot_keys(widget, keys):
    from qtpy.QtTest import QTest

    for key in keys:
        QTest.keyClick(widget, key)


def test_gray_shows_a_curve_from_the_front(view, steps):
    view.show_segmentation(segment(steps, 3))
    assert names_in(view) == ["intensity", "pixels"]
    assert (camera_of(view).azimuth, camera_of(view).elevation) == (0, 0)


def test_without_a_sample_it_says_so(view, quadrants, segmentation):
    assert "run a clustering" in view.message.text()
    assert not view.canvas.native.isVisible()
    view.show_segmentation(segment(lazy_floats(quadrants), 4, rgb=True, method="full"))
    assert view.message.isVisible()
    assert "no pixels were kept" in view.message.text()
    view.show_segmentation(segmentation)
    assert not view.message.isVisible()
    view.clear()
    assert view.message.isVisible()


def test_no_points_are_refused(view):
    values = random_cloud(0)
    with pytest.raises(ValueError, match="points must not be empty, got none"):
        view.show_points(**values)


def test_many_points_are_thinned(view):
    view.show_points(**random_cloud(MAX_POINTS + 20_000))
    assert len(view._cloud.points) <= MAX_POINTS
    assert picture_of(view).std() > 0


# ------------------------------------------------------------------ turning


def test_the_mouse_turns_and_the_wheel_zooms(view, segmentation, qtbot):
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


def test_keys_turn_and_zoom(view, segmentation):
    view.show_segmentation(segmentation)
    native, camera = view.canvas.native, camera_of(view)
    azimuth, elevation, distance = camera.azimuth, camera.elevation, camera.scale_factor
    qtbot_keys(native, [Qt.Key.Key_Left, Qt.Key.Key_Left, Qt.Key.Key_Up, Qt.Key.Key_Plus])
    assert camera.azimuth == pytest.approx(azimuth + 20)
    assert camera.elevation == pytest.approx(elevation + 10)
    assert camera.scale_factor == pytest.approx(distance / 1.1)
    qtbot_keys(native, [Qt.Key.Key_Right, Qt.Key.Key_Down, Qt.Key.Key_Minus])
    assert camera.azimuth == pytest.approx(azimuth + 10)
    assert camera.elevation == pytest.approx(elevation)
    assert camera.scale_factor == pytest.approx(distance)


def test_a_new_run_is_seen_from_the_same_side(view, quadrants, segmentation):
    view.show_segmentation(segmentation)
    camera_of(view).azimuth = 77
    view.show_segmentation(segment(quadrants, 3, rgb=True))
    assert camera_of(view).azimuth == 77
    view.show_segmentation(segment(quadrants, 3, rgb=True, color_space="lab"))
    assert camera_of(view).azimuth != 77


# -------------------------------------------------------------------- theme


def test_the_background_is_that_of_the_theme(view, viewer, segmentation):
    view.show_segmentation(segmentation)
    for theme in ("dark", "light"):
        viewer.theme = theme
        QApplication.processEvents()
        background = view.palette().window().color().getRgb()[:3]
        assert share_of(picture_of(view), background) > 0.5
        assert (np.mean(background) > 128) == (theme == "light")


# ------------------------------------------------------ opening and closing


def test_hidden_it_holds_no_canvas_and_shown_again_it_looks_as_before(view, segmentation, qtbot):
    view.show_segmentation(segmentation)
    camera_of(view).azimuth = 77
    before = picture_of(view)
    canvas = weakref.ref(view.canvas)
    view.parentWidget().hide()
    assert view.canvas is None
    QApplication.sendPostedEvents(None, 52)  # QEvent.DeferredDelete
    gc.collect()
    assert canvas() is None
    view.parentWidget().show()
    qtbot.waitUntil(lambda: view.canvas is not None)
    assert camera_of(view).azimuth == 77
    np.testing.assert_array_equal(picture_of(view), before)


def test_it_is_drawn_in_a_window_of_its_own(view, segmentation, qtbot):
    view.show_segmentation(segmentation)
    before = share_of(picture_of(view), view.palette().window().color().getRgb()[:3])
    dock = view.parentWidget()
    dock.setFloating(True)
    qtbot.waitUntil(lambda: view.canvas is not None and view.window() is dock)
    qtbot.wait(50)
    after = share_of(picture_of(view), view.palette().window().color().getRgb()[:3])
    assert 0.3 < after < 1
    assert 0.3 < before < 1


def test_what_is_shown_before_it_is_opened(viewer, segmentation, qtbot):
    widget = ColorSpaceView()
    widget.show_segmentation(segmentation)
    widget.reset_view()
    viewer.window.add_dock_widget(widget)
    qtbot.waitUntil(lambda: widget.canvas is not None)
    assert names_in(widget) == ["red", "green", "blue"]


def test_several_are_open_at_once(viewer, view, quadrants, segmentation, qtbot, delete):
    other = ColorSpaceView()
    viewer.window.add_dock_widget(other)
    qtbot.waitUntil(lambda: other.canvas is not None)
    view.show_segmentation(segmentation)
    other.show_segmentation(segment(quadrants, 2, rgb=True, color_space="lab"))
    assert names_in(view) == ["red", "green", "blue"]
    assert names_in(other) == ["a", "b", "L"]
    # Whether the room that the other leaves is taken at once depends on Qt.
    view.setFixedSize(view.size())
    before = picture_of(view)
    viewer.window.remove_dock_widget(other)
    delete(other)
    np.testing.assert_array_equal(picture_of(view), before)


def test_opening_and_closing_two_in_turn_leaves_nothing(viewer, segmentation, qtbot):
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
