"""Tests of the panels below the form: creation, size, refresh, merging and live runs."""

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton
from skimage import data

from napari_kmeans import merge_similar, segment, segment_layer
from napari_kmeans.viewer.widgets.cluster_list import AREA, ClusterList


@pytest.fixture
def coffee(viewer, open_dock):
    viewer.add_image(data.coffee(), name="coffee")
    widget = open_dock()
    widget.n_clusters.value = 9
    return widget


def test_panel_is_created_when_it_is_unfolded(coffee):
    for fold in coffee.folds.values():
        assert fold.panel is None
        assert not fold.is_open
    fold = coffee.folds["clusters"]
    assert fold.open() is fold.panel
    assert fold.is_open
    assert fold.panel.isVisibleTo(coffee.native)


@pytest.mark.window
def test_dock_with_all_panels_is_narrow_and_scrolls(viewer, coffee):
    for fold in coffee.folds.values():
        fold.open()
    assert coffee.native.minimumSizeHint().width() <= 350
    assert coffee.native.minimumSizeHint().height() < 400


class TestClusters:
    def test_list_shows_the_labels_of_the_latest_result(self, coffee, finish):
        panel = coffee.folds["clusters"].open()
        assert panel.list.layer is None
        coffee.run()
        finish(coffee)
        assert panel.list.layer is coffee.result.labels
        coffee.folds["clusters"].folder.collapse(animate=False)
        coffee.update_layers.value = False
        coffee.run()
        finish(coffee)
        coffee.folds["clusters"].open()
        assert panel.list.layer is coffee.result.labels

    def test_list_is_empty_after_the_labels_were_removed(self, viewer, coffee, finish):
        coffee.run()
        finish(coffee)
        viewer.layers.remove(coffee.result.labels)
        assert coffee.folds["clusters"].open().list.layer is None

    def test_open_panels_follow_the_removal_of_the_layers(self, viewer, coffee, finish):
        panel, merge = coffee.folds["clusters"].open(), coffee.folds["merge"].open()
        assert panel.list.message.text() == "No clusters yet: run a clustering first."
        coffee.run()
        finish(coffee)
        viewer.layers.remove(coffee.result.labels)
        assert panel.list.layer is None
        assert coffee.result is None
        assert panel.list.message.text() == "No clusters yet: run a clustering first."
        assert not merge.distance.enabled
        assert merge.message.text() == "No clusters yet: run a clustering first."
        merge.distance.value = 40
        assert [layer.name for layer in viewer.layers] == ["coffee", "coffee recolored"]

    def test_recolored_image_without_labels_still_merges(self, viewer, coffee, finish):
        panel, merge = coffee.folds["clusters"].open(), coffee.folds["merge"].open()
        coffee.add_labels.value = False
        coffee.run()
        finish(coffee)
        assert panel.list.message.text().startswith("The latest result has no labels: tick")
        before = viewer.layers["coffee recolored"].data
        merge.distance.value = 20
        assert [layer.name for layer in viewer.layers] == ["coffee", "coffee recolored"]
        assert len(np.unique(viewer.layers["coffee recolored"].data.reshape(-1, 3), axis=0)) < len(
            np.unique(before.reshape(-1, 3), axis=0)
        )

    def test_ignore_becomes_count_for_ignored_clusters(self, coffee, finish):
        panel = coffee.folds["clusters"].open()
        coffee.run()
        finish(coffee)
        texts = []
        for labels in ([1], [1, 2], [2]):
            panel.list._clusters.ignore([1])
            panel.list.select(labels)
            texts.append(panel.list.ignore_action.text())
        assert texts == ["Coun&t", "&Ignore", "&Ignore"]
        panel.list.select([1])
        buttons = [each.text() for each in panel.list.findChildren(QPushButton)]
        assert "Coun&t" in buttons
        panel.list.ignore_action.trigger()
        assert not panel.list._clusters.is_ignored(1)
        assert panel.list.ignore_action.text() == "&Ignore"

    @pytest.mark.parametrize(("n_axes", "title"), [(2, "Area"), (3, "Volume"), (4, "Size")])
    def test_sizes_have_the_title_of_their_unit(self, qtbot, n_axes, title):
        image = np.random.default_rng(0).integers(0, 256, (8,) * n_axes).astype(np.uint8)
        labels, _ = segment_layer(Image(image, rgb=False), 2)
        widget = ClusterList(labels)
        qtbot.addWidget(widget)
        assert widget.table.model().headerData(AREA, Qt.Orientation.Horizontal) == title


def test_merge_is_disabled_for_integers_of_more_than_16_bits(viewer, open_dock, finish):
    viewer.add_image(data.coffee().astype(np.int32), name="wide", rgb=True)
    dock = open_dock()
    dock.n_clusters.value = 4
    panel = dock.folds["merge"].open()
    dock.run()
    finish(dock)
    assert not panel.distance.enabled
    assert "integers of more than 16 bits" in panel.message.text()


class TestMergeSimilar:
    @pytest.fixture
    def panel(self, coffee, finish):
        coffee.run()
        finish(coffee)
        return coffee.folds["merge"].open()

    def test_slider_merges_as_the_api(self, viewer, coffee, panel):
        unmerged = segment(data.coffee(), 9, rgb=True)
        for distance, share in ((12.0, 0.0), (12.0, 5.0), (30.0, 0.0)):
            panel.distance.value, panel.min_share.value = distance, share
            expected = merge_similar(unmerged, distance, share / 100)
            labels, recolored = coffee.result.labels, viewer.layers["coffee recolored"]
            np.testing.assert_array_equal(labels.data, expected.labels)
            np.testing.assert_array_equal(recolored.data, expected.recolored)
            assert list(labels.features["pixels"]) == list(expected.table["pixels"])
            assert coffee.result.outcome.model.edited_classes is not None
            assert panel.message.text() == f"{len(expected.table)} of 9 clusters."
        assert [layer.name for layer in viewer.layers] == [
            "coffee",
            "coffee recolored",
            "coffee labels",
        ]

    @pytest.mark.parametrize("lazy", [False, True])
    def test_slider_merges_all_levels(self, viewer, open_dock, finish, lazy):
        image = data.coffee()
        levels = [image, image[::2, ::2]]
        if lazy:
            levels = [da.from_array(level, (100, 100, 3)) for level in levels]
        viewer.add_image(levels, multiscale=True, rgb=True, name="coffee")
        dock = open_dock()
        dock.n_clusters.value = 9
        dock.run()
        finish(dock)
        panel = dock.folds["merge"].open()
        panel.distance.value = 30
        model = dock.result.outcome.model
        assert model.n_clusters < 9
        for shown, level in zip(dock.result.labels.data, levels, strict=True):
            np.testing.assert_array_equal(np.asarray(shown), model.predict(np.asarray(level)))
        panel.distance.value = 0
        assert np.asarray(dock.result.labels.data[1]).max() == 9

    def test_distance_0_restores_labels_and_colors(self, coffee, panel):
        labels = coffee.result.labels.data.copy()
        colors = dict(coffee.result.labels.colormap.color_dict)
        panel.distance.value = 40
        assert coffee.result.labels.data.max() < 9
        panel.distance.value = 0
        np.testing.assert_array_equal(coffee.result.labels.data, labels)
        assert coffee.result.labels.colormap.color_dict.keys() == colors.keys()

    def test_new_run_resets_the_distance(self, coffee, panel, finish):
        panel.distance.value = 40
        coffee.n_clusters.value = 7
        coffee.run()
        finish(coffee)
        assert panel.distance.value == 0
        assert panel.message.text() == "7 of 7 clusters."
        assert coffee.result.labels.data.max() == 7

    def test_merge_is_disabled_for_one_cluster(self, coffee, panel, finish):
        coffee.n_clusters.value = 1
        coffee.run()
        finish(coffee)
        assert not panel.distance.enabled
        assert "2 to 512 clusters" in panel.message.text()


class TestColors:
    def test_colors_are_shown_after_a_run_and_a_merge(self, viewer, coffee, finish):
        panel = coffee.folds["colors"].open()
        assert "No colors yet" in panel.view.message.text()
        coffee.color_space.value = "lab"
        coffee.run()
        finish(coffee)
        assert "No colors yet" not in panel.view.message.text()
        coffee.folds["merge"].open().distance.value = 20

    def test_result_with_a_model_per_slice_shows_a_message(self, viewer, open_dock, steps, finish):
        viewer.add_image(steps, name="steps", rgb=False)
        widget = open_dock()
        widget.n_clusters.value = 3
        widget.stack.value = "each"
        panel = widget.folds["colors"].open()
        widget.run()
        finish(widget)
        assert "Each slice has its own clusters" in panel.view.message.text()


class TestLive:
    def settle(self, qtbot, widget):
        """Wait until no run is in progress."""
        qtbot.waitUntil(lambda: not widget._runner.is_running, timeout=20_000)

    def test_last_of_many_changes_gives_the_result(self, viewer, coffee, qtbot):
        coffee.live.value = True
        self.settle(qtbot, coffee)
        assert coffee.result.labels.data.max() == 9
        for number in (2, 3, 4, 5, 6, 7, 8, 12):
            coffee.n_clusters_slider.value = number
        coffee.color_space.value = "lab"
        qtbot.waitUntil(lambda: coffee.result.task.options.color_space == "lab", timeout=20_000)
        self.settle(qtbot, coffee)
        expected, _ = segment_layer(viewer.layers["coffee"], 12, color_space="lab")
        np.testing.assert_array_equal(coffee.result.labels.data, expected.data)
        assert len(viewer.layers) == 3

    def test_changes_during_a_run_do_not_queue(self, coffee, qtbot):
        coffee.live.value = True
        self.settle(qtbot, coffee)
        results = []
        coffee.segmented.connect(results.append)
        for number in range(2, 22):
            coffee.n_clusters.value = number
        self.settle(qtbot, coffee)
        assert len(results) <= 3
        assert coffee.result.labels.data.max() == 21

    def test_live_runs_read_the_pixels_once(self, viewer, open_dock, slow, qtbot):
        viewer.add_image(slow, name="slow", rgb=True)
        widget = open_dock()
        slow.go_on.set()
        widget.live.value = True
        self.settle(qtbot, widget)
        slow.asked.clear()
        summary = widget._summary_cache._entry.summary
        widget.n_clusters.value = 3
        self.settle(qtbot, widget)
        assert widget.result.labels.data.max() == 3
        assert widget._summary_cache._entry.summary is summary
        widget.live.value = False
        assert widget._summary_cache._entry is None

    def test_changes_start_no_run_while_live_is_off(self, coffee, qtbot):
        coffee.n_clusters.value = 3
        coffee.method.value = "full"
        assert not coffee._runner.is_running
        coffee.live.value = True
        self.settle(qtbot, coffee)
        coffee.live.value = False
        coffee.n_clusters.value = 4
        assert not coffee._runner.is_running
        assert coffee.result.labels.data.max() == 3

    def test_changed_pixels_are_read_again(self, viewer, coffee, qtbot):
        coffee.live.value = True
        self.settle(qtbot, coffee)
        viewer.layers["coffee"].data = 255 - data.coffee()
        coffee.n_clusters.value = 5
        self.settle(qtbot, coffee)
        expected = segment(255 - data.coffee(), 5, rgb=True)
        np.testing.assert_array_equal(coffee.result.labels.data, expected.labels)

    @pytest.mark.parametrize("method", ["coreset", "full"])
    def test_live_runs_accept_float_images(self, viewer, open_dock, quadrants, qtbot, method):
        viewer.add_image(quadrants / 255, name="floats", rgb=True)
        widget = open_dock()
        widget.method.value = method
        widget.live.value = True
        self.settle(qtbot, widget)
        widget.n_clusters.value = 3
        self.settle(qtbot, widget)
        widget.coreset_size.value = "50"
        self.settle(qtbot, widget)
        assert widget.result.labels.data.max() == 3
        assert widget.result.task.options.coreset_size == 50
