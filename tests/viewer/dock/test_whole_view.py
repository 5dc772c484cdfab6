"""The whole picture stays in view while the dock opens, unless the user has zoomed in."""

import numpy as np
import pytest

from napari_kmeans.viewer.dock.whole_view import shows_whole_picture
from napari_kmeans.viewer.from_layers.view import camera_of, canvas_size


@pytest.fixture
def shown(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    viewer.add_image(np.zeros((30, 60, 3), np.uint8), rgb=True)
    viewer.window.resize(1000, 600)
    qtbot.wait(200)
    viewer.reset_view()
    return viewer


def visible_corners(viewer):
    """Return the first and the last row and column that lie in the canvas."""
    half = np.array(canvas_size(viewer)) / camera_of(viewer).zoom / 2
    center = np.array(camera_of(viewer).center)[-2:]
    return *(center - half), *(center + half)


def test_view_is_fitted_again_when_the_dock_opens(shown, qtbot):
    before = canvas_size(shown)
    shown.window.add_plugin_dock_widget("napari-kmeans")
    qtbot.waitUntil(lambda: canvas_size(shown)[1] < before[1] - 100)
    top, left, bottom, right = visible_corners(shown)
    assert top <= -0.5
    assert left <= -0.5
    assert bottom >= 29.5
    assert right >= 59.5
    # The picture fills the width but for the margin.
    assert right - left < 60 * 1.2
    assert shows_whole_picture(shown)


@pytest.mark.parametrize("zoomed", ["before", "after"])
def test_view_of_the_user_stays(shown, qtbot, zoomed):
    if zoomed == "before":
        camera_of(shown).zoom = 40
    shown.window.add_plugin_dock_widget("napari-kmeans")
    if zoomed == "after":
        qtbot.wait(100)
        camera_of(shown).zoom = 40
    camera_of(shown).center = (0, 3, 5)
    assert not shows_whole_picture(shown)
    before = canvas_size(shown)
    shown.window.resize(1100, 650)
    qtbot.waitUntil(lambda: canvas_size(shown) != before)
    assert camera_of(shown).zoom == 40
    assert tuple(camera_of(shown).center) == (0, 3, 5)
