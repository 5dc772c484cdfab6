"""Tests of the panel *Which K?*: its suggestion, its plot, and choosing a number."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from napari.utils.notifications import notification_manager
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QPoint, Qt, QThreadPool
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from skimage import data

from napari_kmeans import suggest_n_clusters

LEFT = Qt.MouseButton.LeftButton


def messages():
    return [each.message for each in notification_manager.records]


def open_panel(dock):
    return dock.folds["number"].open()


@pytest.fixture
def wait(qtbot):
    def wait_for_panel(panel):
        qtbot.waitUntil(lambda: not panel.is_working, timeout=20_000)

    return wait_for_panel


@pytest.fixture
def suggested(dock, wait):
    """The panel with a suggestion for the picture of four colors."""
    panel = open_panel(dock)
    panel.suggest()
    wait(panel)
    return panel


def check_suggestion(panel, *args, **options):
    expected = suggest_n_clusters(*args, **options)
    assert panel.curve.suggestion.n_clusters == expected.n_clusters
    assert panel.curve.suggestion.votes == expected.votes
    pd.testing.assert_frame_equal(panel.curve.suggestion.scores, expected.scores)


def pixels_of(widget):
    picture = widget.grab().toImage()
    return np.array(
        [
            [picture.pixelColor(x, y).getRgb()[:3] for x in range(picture.width())]
            for y in range(picture.height())
        ]
    )


# ------------------------------------------------------------- the suggestion


def test_suggestion_is_that_of_suggest_n_clusters(dock, suggested, quadrants):
    check_suggestion(suggested, quadrants, rgb=True)
    votes = ", ".join(map(str, sorted(suggested.curve.suggestion.votes.values())))
    number = suggested.curve.suggestion.n_clusters
    assert suggested.message.text() == f"Suggested for picture: {number} clusters (votes: {votes})."
    assert suggested.curve.isVisibleTo(dock.native)
    assert dock.n_clusters.value == 4


def test_button_starts_one_suggestion_at_a_time(dock, wait, quadrants):
    panel = open_panel(dock)
    assert panel.curve.suggestion is None
    assert not panel.curve.isVisibleTo(dock.native)
    panel.suggest_button.native.click()
    assert not panel.suggest_button.enabled
    assert panel.cancel_button.enabled
    with pytest.raises(RuntimeError, match="'Which K\\?' is still working: wait until"):
        panel.suggest()
    wait(panel)
    assert panel.suggest_button.enabled
    assert not panel.cancel_button.enabled
    check_suggestion(panel, quadrants, rgb=True)


@pytest.mark.parametrize(
    "options",
    [
        {"color_space": "lab"},
        {"color_space": "hsv"},
        {"method": "full"},
        {"coreset_size": 60},
        {"random_state": 5},
    ],
)
def test_suggestion_uses_the_settings_of_the_dock(dock, wait, quadrants, options):
    for name, value in options.items():
        getattr(dock, name).value = value
    panel = open_panel(dock)
    panel.suggest()
    wait(panel)
    check_suggestion(panel, quadrants, rgb=True, **options)


def test_mask_leaves_pixels_out_also_after_painting(viewer, dock, wait, quadrants):
    inside = np.zeros((20, 21), dtype=int)
    inside[:12, :15] = 1
    dock.mask.value = viewer.add_labels(inside, name="inside")
    panel = open_panel(dock)
    for _ in range(2):
        panel.suggest()
        wait(panel)
        check_suggestion(panel, quadrants, rgb=True, mask=inside)
        inside[:, :8] = 1


def test_layers_as_channels_are_normalized(viewer, open_dock, wait):
    rng = np.random.default_rng(0)
    channels = rng.integers(0, [200, 40_000], (30, 31, 2)).astype(np.uint16)
    viewer.add_image(channels[..., 0], name="dim")
    viewer.add_image(channels[..., 1], name="bright")
    dock = open_dock()
    viewer.layers.selection.update(viewer.layers)
    dock.together.value = True
    panel = open_panel(dock)
    panel.suggest()
    wait(panel)
    check_suggestion(panel, channels, channel_axis=-1, normalize="percentile")


def test_suggestion_is_for_the_fitted_level(viewer, open_dock, wait, quadrants):
    coarse = np.roll(quadrants, 3, axis=-1)[::2, ::2] // 2
    viewer.add_image([quadrants, coarse], name="pyramid", multiscale=True, rgb=True)
    dock = open_dock()
    dock.level.value = 1
    panel = open_panel(dock)
    panel.suggest()
    wait(panel)
    check_suggestion(panel, coarse, rgb=True)


def test_suggestion_is_for_the_slice_or_the_whole_stack(viewer, open_dock, wait, steps):
    steps = steps + np.random.default_rng(0).integers(0, 900, steps.shape).astype(np.uint16)
    viewer.add_image(steps, name="steps")
    dock = open_dock()
    panel = open_panel(dock)
    viewer.dims.set_current_step(0, 2)
    for choice, part in (("whole", steps), ("this", steps[2]), ("each", steps)):
        dock.stack.value = choice
        panel.suggest()
        wait(panel)
        check_suggestion(panel, part)


def test_lazy_image_is_read_once(viewer, open_dock, wait, quadrants):
    reads = []

    def read(block_info=None):
        reads.append(block_info[None]["array-location"])
        return quadrants

    chunks = ((20,), (21,), (3,))
    lazy = da.map_blocks(read, chunks=chunks, dtype=np.uint8, meta=quadrants[:0])
    viewer.add_image(lazy, name="lazy", rgb=True, contrast_limits=(0, 255))
    dock = open_dock()
    panel = open_panel(dock)
    panel.suggest()
    wait(panel)
    check_suggestion(panel, quadrants, rgb=True)
    reads.clear()
    dock.color_space.value = "lab"
    panel.suggest()
    wait(panel)
    check_suggestion(panel, quadrants, rgb=True, color_space="lab")
    assert not reads


def test_new_run_reads_the_changed_pixels(viewer, dock, wait, finish, quadrants, suggested):
    quadrants[:5] = np.arange(21, dtype=np.uint8)[:, np.newaxis] * 10
    dock.run()
    finish(dock)
    suggested.suggest()
    wait(suggested)
    check_suggestion(suggested, quadrants, rgb=True)


# ------------------------------------------------------- errors and canceling


def test_errors_are_shown_as_one_sentence(viewer, open_dock, wait):
    panel = open_panel(open_dock())
    panel.suggest_button.native.click()
    assert messages() == ["image must be an image layer, got None: open an image first."]
    viewer.add_image(np.zeros((5, 5), np.uint8), name="flat")
    panel.suggest_button.native.click()
    wait(panel)
    assert messages()[1].startswith("n_clusters must include a number up to that of the image's")
    assert panel.suggest_button.enabled
    assert panel.curve.suggestion is None


def wait_until_threads_stop(qtbot):
    assert QThreadPool.globalInstance().waitForDone(10_000)
    qtbot.wait(50)


def test_canceling_keeps_the_earlier_suggestion(viewer, dock, wait, qtbot, slow, suggested):
    before, text = suggested.curve.suggestion, suggested.message.text()
    viewer.layers["picture"].data = slow
    suggested.suggest()
    qtbot.waitUntil(slow.asked.is_set)
    suggested.cancel_button.native.click()
    assert not suggested.cancel_button.enabled
    slow.go_on.set()
    wait(suggested)
    assert suggested.suggest_button.enabled
    assert suggested.curve.suggestion is before
    assert suggested.message.text() == text


@pytest.mark.window
def test_closing_the_dock_cancels_the_suggestion(viewer, dock, qtbot, slow):
    panel = open_panel(dock)
    viewer.layers["picture"].data = slow
    worker = panel.suggest()
    qtbot.waitUntil(slow.asked.is_set)
    viewer.window.remove_dock_widget(dock.native)
    assert worker.abort_requested
    slow.go_on.set()
    wait_until_threads_stop(qtbot)
    assert panel.curve.suggestion is None
    assert not messages()
    dock.native.deleteLater()
    qtbot.wait(50)


@pytest.mark.window
def test_closing_the_viewer_cancels_the_suggestion(viewer, dock, qtbot, slow):
    viewer.layers["picture"].data = slow
    worker = open_panel(dock).suggest()
    qtbot.waitUntil(slow.asked.is_set)
    viewer.close()
    assert worker.abort_requested
    slow.go_on.set()
    wait_until_threads_stop(qtbot)
    assert not messages()


# ----------------------------------------------------------------------- live


def test_live_suggestion_follows_the_image_but_not_the_number(
    viewer, open_dock, wait, qtbot, quadrants
):
    viewer.add_image(quadrants, name="picture", rgb=True)
    other = np.ascontiguousarray(quadrants[:9])
    viewer.add_image(other, name="other", rgb=True)
    dock = open_dock()
    panel = open_panel(dock)
    dock.live.value = True
    qtbot.waitUntil(lambda: panel.curve.suggestion is not None, timeout=20_000)
    check_suggestion(panel, other, rgb=True)
    wait(panel)
    first = panel.curve.suggestion
    with qtbot.waitSignal(dock.segmented, timeout=20_000):
        dock.n_clusters.value = 3
    assert not panel.is_working
    assert panel.curve.suggestion is first
    dock.color_space.value = "lab"
    qtbot.waitUntil(lambda: panel.curve.suggestion is not first, timeout=20_000)
    check_suggestion(panel, other, rgb=True, color_space="lab")
    second = panel.curve.suggestion
    dock.image.value = viewer.layers["picture"]
    dock.n_clusters.value = 2
    qtbot.waitUntil(lambda: panel.curve.suggestion is not second, timeout=20_000)
    check_suggestion(panel, quadrants, rgb=True, color_space="lab")
    wait(panel)


def test_run_does_not_suggest_without_live(dock, finish, suggested):
    before = suggested.curve.suggestion
    dock.color_space.value = "lab"
    dock.run()
    finish(dock)
    assert not suggested.is_working
    assert suggested.curve.suggestion is before


def test_opening_the_panel_again_keeps_a_requested_suggestion(
    viewer, dock, wait, finish, qtbot, quadrants
):
    """In live mode, the suggestion for another image than that of the last run stays."""
    dock.live.value = True
    finish(dock)
    panel = open_panel(dock)
    wait(panel)
    other = np.ascontiguousarray(quadrants[:9])
    dock.image.value = viewer.add_image(other, name="other", rgb=True)
    panel.suggest()
    wait(panel)
    dock.folds["number"].folder.collapse(animate=False)
    open_panel(dock)
    assert not panel.is_working
    check_suggestion(panel, other, rgb=True)


def test_another_result_that_is_activated_or_merged_starts_no_suggestion(
    viewer, dock, wait, finish, qtbot, quadrants
):
    dock.run()
    finish(dock)
    first = dock.result.labels
    other = viewer.add_image(np.ascontiguousarray(quadrants[:9]), name="other", rgb=True)
    viewer.layers.selection.active = other
    dock.mask.value = viewer.add_labels(np.ones((9, 21), int), name="inside")
    panel, merge = open_panel(dock), dock.folds["merge"].open()
    dock.live.value = True
    qtbot.waitUntil(lambda: panel.curve.suggestion is not None, timeout=20_000)
    wait(panel)
    finish(dock)
    second, results = dock.result.labels, []
    dock.segmented.connect(results.append)
    for layer in (first, second, first, second):
        viewer.layers.selection.active = layer
        assert dock.result.labels is layer
        qtbot.wait(50)
        assert not panel.is_working
    assert not results
    merge.min_share.value = 50
    assert len(results) == 1
    assert not panel.is_working


# ------------------------------------------------------------------- the plot


@pytest.fixture
def seen(make_napari_viewer, quadrants, wait):
    """The panel with a suggestion in a visible window."""
    viewer = make_napari_viewer(show=True)
    viewer.add_image(quadrants, name="picture", rgb=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-kmeans")
    panel = open_panel(dock)
    panel.suggest()
    wait(panel)
    QApplication.processEvents()
    return panel


def test_numbers_are_evenly_spaced_inside_the_plot(suggested):
    curve = suggested.curve
    curve.resize(300, curve.sizeHint().height())
    places = [curve.place_of(k) for k in range(2, 17)]
    gaps = np.diff([place.x() for place in places])
    np.testing.assert_allclose(gaps, gaps[0])
    assert gaps[0] > 15
    assert all(curve.rect().contains(place.toPoint()) for place in places)


def test_click_sets_the_number_of_the_dock(dock, suggested):
    for number in (7, 2, 16):
        QTest.mouseClick(suggested.curve, LEFT, pos=suggested.curve.place_of(number).toPoint())
        assert dock.n_clusters.value == number
    plot_top = QPoint(suggested.curve.place_of(9).toPoint().x(), 90)
    QTest.mouseClick(suggested.curve, LEFT, pos=plot_top)
    assert dock.n_clusters.value == 9
    QTest.mouseClick(suggested.curve, LEFT, pos=QPoint(100, 3))
    assert dock.n_clusters.value == 9, "a click on the legend must not set a number"


def test_keys_set_the_number_of_the_dock(dock, suggested):
    curve, start = suggested.curve, suggested.curve.suggestion.n_clusters
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Right, Qt.Key.Key_Left, Qt.Key.Key_Right):
        QTest.keyClick(curve, key)
    assert curve.pointed_at == start + 2
    assert dock.n_clusters.value == 4
    QTest.keyClick(curve, Qt.Key.Key_Return)
    assert dock.n_clusters.value == start + 2
    for _ in range(20):
        QTest.keyClick(curve, Qt.Key.Key_Left)
    QTest.keyClick(curve, Qt.Key.Key_Space)
    assert dock.n_clusters.value == 2


def test_legend_shows_the_values_under_the_mouse(seen):
    curve = seen.curve
    # Send an event instead of moving the pointer: the dock may extend beyond the screen.
    place, none = curve.place_of(6), Qt.KeyboardModifier.NoModifier
    button = Qt.MouseButton.NoButton
    event = QMouseEvent(
        QEvent.Type.MouseMove, place, curve.mapToGlobal(place), button, button, none
    )
    QApplication.sendEvent(curve, event)
    assert curve.pointed_at == 6
    row = seen.curve.suggestion.scores.set_index("n_clusters").loc[6]
    assert curve.values_at(6) == {
        "calinski_harabasz": f"{row['calinski_harabasz']:,.0f}",
        "silhouette": f"{row['silhouette']:.3f}",
        "bic": f"{row['bic']:,.0f}",
        "stability": f"{row['stability']:.2f}",
    }


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_plot_has_the_colors_of_the_theme(seen, theme):
    seen.dock.viewer.theme = theme
    QApplication.processEvents()
    curve, colors = seen.curve, get_theme(theme)
    assert curve.height() == curve.sizeHint().height()
    picture = pixels_of(curve)
    is_text = np.abs(picture - colors.text.as_rgb_tuple()[:3]).max(axis=-1) < 10
    assert is_text.sum() > 500
    x = curve.place_of(seen.curve.suggestion.n_clusters).x()
    shown = curve.palette().highlight().color().getRgb()[:3]
    # napari 0.7 shows a selection in another color of the theme.
    assert shown in [each.as_rgb_tuple()[:3] for each in (colors.highlight, colors.secondary)]
    band = (picture == shown).all(axis=-1).any(axis=0)
    assert abs(np.flatnonzero(band).mean() - x) < 1.5


def test_frame_marks_the_number_of_the_dock(seen):
    curve, pictures = seen.curve, []
    for number in (5, 13):
        seen.dock.n_clusters.value = number
        pictures.append(pixels_of(curve))
    changed = np.flatnonzero((pictures[0] != pictures[1]).any(axis=(0, 2)))
    distances = np.abs(np.subtract.outer(changed, [curve.place_of(k).x() for k in (5, 13)]))
    assert distances.min(axis=1).max() <= 11
    assert distances.min(axis=0).max() <= 11


def test_long_layer_name_does_not_widen_the_dock(viewer, open_dock, wait):
    viewer.add_image(data.coffee()[::4, ::4].copy(), name="coffee" * 40)
    dock = open_dock()
    panel = open_panel(dock)
    panel.suggest()
    wait(panel)
    assert dock.native.minimumSizeHint().width() <= 350
    assert f"for {'coffee' * 4}coffe…: " in panel.message.text()
