"""Tests of the panel *Compare*: several numbers of clusters in a grid, and the way back."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt, QThreadPool
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QPushButton
from skimage import data

from napari_kmeans import segment, segment_slices, summarize
from napari_kmeans.viewer.background.comparison_work import ComparisonWork
from napari_kmeans.viewer.from_layers.view import camera_of, grid_of
from napari_kmeans.viewer.panels.compare_panel import read_numbers


def messages():
    return [each.message for each in notification_manager.records]


def names(viewer):
    return [layer.name for layer in viewer.layers]


def visible(viewer):
    return [layer.name for layer in viewer.layers if layer.visible]


def number_button(panel, n_clusters):
    buttons = {each.text(): each for each in panel.choices.findChildren(QPushButton)}
    return buttons[f"Use {n_clusters}"]


@pytest.fixture
def compare(finish_work):
    """Return a function that compares numbers of clusters in a dock and returns the panel."""

    def compare_them(dock, numbers):
        panel = dock.folds["compare"].open()
        panel.numbers.value = numbers
        panel.compare()
        finish_work(panel)
        return panel

    return compare_them


# ------------------------------------------------------------ read_numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("2, 5, 10", [2, 5, 10]),
        ("7", [7]),
        (" 5,2 ,5,3 ", [5, 2, 3]),
        ("4 8\t16", [4, 8, 16]),
        ("1,65535", [1, 65535]),
    ],
)
def test_read_numbers_returns_distinct_numbers(text, numbers):
    assert read_numbers(text) == numbers


@pytest.mark.parametrize(
    "text", ["", ",", "2, x", "2-5", "2.5", "-3", "0, 4", "65536", " ".join(map(str, range(1, 17)))]
)
def test_read_numbers_rejects_other_texts(text):
    with pytest.raises(ValueError, match="numbers must be 1 to 15 whole numbers") as error:
        read_numbers(text)
    assert repr(text) in str(error.value)
    assert str(error.value).endswith("write a list such as 2, 5, 10.")


def test_button_and_return_key_show_an_error_for_bad_numbers(viewer, dock):
    panel = dock.folds["compare"].open()
    panel.numbers.value = "two"
    panel.compare_button.native.click()
    QTest.keyClick(panel.numbers.native, Qt.Key.Key_Return)
    assert len(messages()) == 2
    assert "got 'two'" in messages()[0]
    assert not panel.is_working
    assert len(viewer.layers) == 1


# ---------------------------------------------------------------- the grid


def test_grid_shows_the_original_and_one_recolored_layer_per_number(
    viewer, dock, compare, quadrants
):
    viewer.add_image(np.zeros((5, 5)), name="something else")
    dock.image.value = viewer.layers["picture"]
    compare(dock, "2, 4, 3")
    assert visible(viewer) == ["picture", "picture K=2", "picture K=4", "picture K=3"]
    for n_clusters in (2, 3, 4):
        layer = viewer.layers[f"picture K={n_clusters}"]
        expected = segment(quadrants, n_clusters, rgb=True)
        np.testing.assert_array_equal(layer.data, expected.recolored)
        assert layer.rgb
    grid = grid_of(viewer)
    assert grid.enabled
    assert grid.stride == 1
    if not hasattr(viewer, "canvas"):
        pytest.skip("napari 0.7 leaves the places of hidden layers empty")
    places = {
        layer.name: grid.position(place, viewer.layers) for place, layer in enumerate(viewer.layers)
    }
    assert places == {
        "picture": (0, 0),
        "something else": (-1, -1),
        "picture K=2": (0, 1),
        "picture K=4": (1, 0),
        "picture K=3": (1, 1),
    }


def test_compare_keeps_the_selection(viewer, dock, compare):
    viewer.layers.selection.active = viewer.layers["picture"]
    compare(dock, "2, 3")
    assert dock.image.value is viewer.layers["picture"]
    assert viewer.layers.selection == {viewer.layers["picture"]}


def test_hidden_original_is_shown_only_in_the_grid(viewer, dock, compare):
    picture = viewer.layers["picture"]
    picture.visible = False
    panel = compare(dock, "2")
    assert picture.visible
    panel.back()
    assert not picture.visible


def test_back_restores_layers_grid_and_camera(viewer, dock, compare, finish):
    dock.run()
    finish(dock)
    viewer.layers["picture labels"].visible = False
    camera_of(viewer).zoom, camera_of(viewer).center = 7.5, (0, 3, 4)
    grid_of(viewer).stride, grid_of(viewer).shape = 2, (1, -1)
    before = names(viewer), visible(viewer)
    panel = compare(dock, "2, 3")
    assert panel.back_button.enabled
    assert viewer.layers["picture"].name_overlay.visible
    panel.back_button.native.click()
    assert (names(viewer), visible(viewer)) == before
    assert not any(layer.name_overlay.visible for layer in viewer.layers)
    grid = grid_of(viewer)
    assert (grid.enabled, grid.stride, grid.shape, grid.spacing) == (False, 2, (1, -1), 0)
    assert camera_of(viewer).zoom == 7.5
    assert camera_of(viewer).center == (0, 3, 4)
    assert not panel.back_button.enabled
    panel.back()
    assert names(viewer) == before[0]


def test_second_comparison_replaces_the_first(viewer, dock, compare):
    viewer.add_image(np.zeros((5, 5)), name="other")
    viewer.layers.move(1, 0)
    dock.image.value = viewer.layers["picture"]
    panel = compare(dock, "2, 3")
    # A click in the layer list may choose a compared layer: the original must be compared.
    viewer.layers.selection.active = viewer.layers["picture K=3"]
    assert dock.image.value is viewer.layers["picture K=3"]
    compare(dock, "4")
    assert names(viewer) == ["other", "picture", "picture K=4"]
    assert dock.image.value is viewer.layers["picture"]
    panel.back()
    assert names(viewer) == ["other", "picture"]
    assert not grid_of(viewer).enabled


def test_back_ignores_layers_that_were_removed(viewer, dock, compare):
    panel = compare(dock, "2, 3")
    viewer.layers.remove("picture K=2")
    viewer.layers.remove("picture")
    viewer.add_image(np.zeros((5, 5)), name="new")
    panel.back()
    assert visible(viewer) == ["new"]
    assert not messages()


def test_number_button_sets_the_number_and_goes_back(viewer, dock, compare):
    panel = compare(dock, "2, 3, 7")
    number_button(panel, 7).click()
    assert dock.n_clusters.value == 7
    assert names(viewer) == ["picture"]
    assert not grid_of(viewer).enabled


@pytest.mark.window
def test_fifteen_buttons_keep_the_dock_narrow(dock, compare):
    panel = compare(dock, ", ".join(map(str, range(1001, 1016))))
    assert len(panel.choices.findChildren(QPushButton)) == 15
    assert dock.native.minimumSizeHint().width() <= 350


def test_run_ends_the_comparison_without_changing_its_layers(viewer, dock, compare, finish):
    panel = compare(dock, "2, 3")
    compared = viewer.layers["picture K=3"]
    pixels = compared.data.copy()
    dock.run()
    finish(dock)
    assert visible(viewer) == ["picture", "picture labels"]
    assert not grid_of(viewer).enabled
    np.testing.assert_array_equal(compared.data, pixels)
    assert panel.side_by_side is None


# ------------------------------------------------------ what is clustered


def test_compare_uses_the_settings_of_the_dock(viewer, dock, compare, quadrants):
    inside = np.zeros((20, 21), dtype=int)
    inside[:12, :15] = 1
    dock.mask.value = viewer.add_labels(inside, name="inside")
    dock.color_space.value, dock.random_state.value, dock.balance.value = "lab", 4, 0.5
    compare(dock, "2, 3")
    for n_clusters in (2, 3):
        expected = segment(
            quadrants,
            n_clusters,
            rgb=True,
            mask=inside,
            color_space="lab",
            random_state=4,
            balance=0.5,
        )
        layer = viewer.layers[f"picture K={n_clusters}"]
        np.testing.assert_array_equal(layer.data, expected.recolored)


@pytest.mark.parametrize("masked", [False, True])
def test_four_numbers_read_the_image_as_often_as_one(viewer, open_dock, quadrants, masked):
    reads = []

    def read(block_info=None):
        reads.append(1)
        return quadrants

    chunks = ((20,), (21,), (3,))
    lazy = da.map_blocks(read, chunks=chunks, dtype=np.uint8, meta=quadrants[:0])
    viewer.add_image(lazy, name="lazy", rgb=True, contrast_limits=(0, 255))
    dock = open_dock()
    if masked:
        dock.mask.value = viewer.add_labels(np.ones((20, 21), int), name="inside")
    counts = []
    for numbers in ([3], [2, 3, 4, 5]):
        reads.clear()
        dock._summary_cache.clear()
        outcomes = ComparisonWork(dock.task(), numbers).run()
        assert [outcome.model.n_clusters for outcome in outcomes] == numbers
        counts.append(len(reads))
    assert counts[0] == counts[1] > 0


def test_float_image_gives_the_result_of_its_summary(viewer, open_dock, compare):
    pixels = np.random.default_rng(0).random((60, 70, 3)).astype(np.float32)
    viewer.add_image(pixels, name="noise", rgb=True)
    compare(open_dock(), "2, 6")
    summary = summarize(pixels, rgb=True)
    for n_clusters in (2, 6):
        expected = segment(pixels, n_clusters, summary=summary)
        layer = viewer.layers[f"noise K={n_clusters}"]
        np.testing.assert_array_equal(layer.data, expected.recolored)


def test_all_levels_of_a_pyramid_are_painted(viewer, open_dock, compare, quadrants):
    coarse = quadrants[::2, ::2] // 2
    viewer.add_image([quadrants, coarse], name="pyramid", multiscale=True, rgb=True)
    dock = open_dock()
    dock.level.value = 1
    compare(dock, "2, 3")
    for n_clusters in (2, 3):
        fitted = segment(coarse, n_clusters, rgb=True)
        layer = viewer.layers[f"pyramid K={n_clusters}"]
        assert layer.multiscale
        np.testing.assert_array_equal(layer.data[1], fitted.recolored)
        np.testing.assert_array_equal(layer.data[0], fitted.model.apply(quadrants)[1])


def test_lazy_image_stays_lazy(viewer, open_dock, compare, steps):
    lazy = da.from_array(steps, chunks=(1, 8, 10))
    viewer.add_image(lazy, name="lazy", scale=(3, 1, 2), contrast_limits=(0, 60_000))
    compare(open_dock(), "2, 3")
    for n_clusters in (2, 3):
        layer = viewer.layers[f"lazy K={n_clusters}"]
        assert isinstance(layer.data, da.Array)
        assert layer.data.chunks == lazy.chunks
        np.testing.assert_array_equal(layer.scale, (3, 1, 2))
        np.testing.assert_array_equal(layer.data, segment(steps, n_clusters).recolored)


@pytest.mark.parametrize("choice", ["whole", "this", "each"])
def test_stack_choices_give_the_results_of_the_api(viewer, open_dock, compare, steps, choice):
    steps = steps + np.random.default_rng(0).integers(0, 900, steps.shape).astype(np.uint16)
    viewer.add_image(steps, name="steps")
    dock = open_dock()
    viewer.dims.set_current_step(0, 2)
    dock.stack.value = choice
    compare(dock, "2, 3")
    for n_clusters in (2, 3):
        expected = steps.copy()
        if choice == "this":
            expected[2] = segment(steps[2], n_clusters).recolored
        else:
            run = segment if choice == "whole" else segment_slices
            expected = run(steps, n_clusters).recolored
        layer = viewer.layers[f"steps K={n_clusters}"]
        np.testing.assert_array_equal(layer.data, expected)


def test_channels_are_compared_as_labels(viewer, open_dock, compare):
    rng = np.random.default_rng(0)
    channels = rng.integers(0, [200, 40_000], (30, 31, 2)).astype(np.uint16)
    viewer.add_image(channels[..., 0], name="dim", colormap="green")
    viewer.add_image(channels[..., 1], name="bright", colormap="magenta")
    viewer.add_image(np.zeros((5, 5)), name="something else")
    dock = open_dock()
    viewer.layers.selection = {viewer.layers["dim"], viewer.layers["bright"]}
    dock.image.value = viewer.layers["dim"]
    dock.together.value = True
    compare(dock, "2, 5")
    assert visible(viewer) == ["dim", "bright", "dim + bright K=2", "dim + bright K=5"]
    for n_clusters in (2, 5):
        expected = segment(channels, n_clusters, channel_axis=-1, normalize="percentile")
        layer = viewer.layers[f"dim + bright K={n_clusters}"]
        assert isinstance(layer, Labels)
        assert layer.opacity == 1
        np.testing.assert_array_equal(layer.data, expected.labels)


def test_photograph_has_the_number_of_colors(viewer, open_dock, compare):
    image = data.coffee()
    viewer.add_image(image, name="coffee")
    compare(open_dock(), "2, 5, 10")
    for n_clusters in (2, 5, 10):
        layer = viewer.layers[f"coffee K={n_clusters}"]
        assert isinstance(layer, Image)
        assert len(np.unique(layer.data.reshape(-1, 3), axis=0)) == n_clusters


# ------------------------------------------------ errors, cancel and close


def test_compare_without_an_image_shows_an_error(open_dock):
    panel = open_dock().folds["compare"].open()
    panel.compare_button.native.click()
    assert messages() == ["image must be an image layer, got None: open an image first."]


def test_error_during_the_work_changes_no_layers(viewer, dock, compare):
    dock.coreset_size.value = 60
    panel = compare(dock, "2, 70")
    assert messages() == [
        "coreset_size must be at least n_clusters, got 60 for 70 clusters: "
        "ask for a larger coreset or fewer clusters."
    ]
    assert names(viewer) == ["picture"]
    assert panel.compare_button.enabled
    assert not grid_of(viewer).enabled


def test_canceled_comparison_changes_no_layers(viewer, dock, qtbot, finish_work, slow):
    viewer.layers["picture"].data = slow
    panel = dock.folds["compare"].open()
    panel.compare_button.native.click()
    qtbot.waitUntil(slow.asked.is_set)
    assert not panel.compare_button.enabled
    with pytest.raises(RuntimeError, match="'Compare' is still working"):
        panel.compare()
    QTest.keyClick(panel.numbers.native, Qt.Key.Key_Return)
    panel.cancel_button.native.click()
    slow.go_on.set()
    finish_work(panel)
    assert names(viewer) == ["picture"]
    assert panel.compare_button.enabled
    assert not messages()


def test_original_deleted_during_the_work(viewer, dock, qtbot, finish_work, slow):
    viewer.layers["picture"].data = slow
    panel = dock.folds["compare"].open()
    panel.numbers.value = "2"
    panel.compare()
    qtbot.waitUntil(slow.asked.is_set)
    viewer.layers.clear()
    slow.go_on.set()
    finish_work(panel)
    assert names(viewer) == ["picture K=2"]
    panel.back()
    assert not viewer.layers


@pytest.mark.window
@pytest.mark.parametrize("closed", ["dock", "viewer"])
def test_closing_cancels_the_comparison(viewer, dock, qtbot, slow, closed):
    viewer.layers["picture"].data = slow
    worker = dock.folds["compare"].open().compare()
    qtbot.waitUntil(slow.asked.is_set)
    if closed == "dock":
        viewer.window.remove_dock_widget(dock.native)
    else:
        viewer.close()
    assert worker.abort_requested
    slow.go_on.set()
    assert QThreadPool.globalInstance().waitForDone(10_000)
    qtbot.wait(50)
    assert not messages()
    if closed == "dock":
        assert names(viewer) == ["picture"]
        dock.native.deleteLater()
        qtbot.wait(50)


def test_progress_never_decreases(viewer, open_dock, finish_work):
    # The progress is shown several times a second: the work must take longer.
    noise = np.random.default_rng(0).random((4000, 4000), dtype=np.float32)
    viewer.add_image(noise, name="noise")
    panel = open_dock().folds["compare"].open()
    values = []
    panel.progress_bar.changed.connect(values.append)
    panel.compare()
    finish_work(panel)
    assert values[-1] == 0
    assert values[:-1] == sorted(values[:-1])
    assert max(values) > 30
    assert not panel.progress_bar.native.isVisibleTo(panel)
