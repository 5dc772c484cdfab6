"""Tests of the panel *Objects*, which splits clusters into connected objects."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from scipy import ndimage

from napari_kmeans.viewer.provenance import METADATA_KEY


@pytest.fixture
def spots():
    """Bright spots of 1, 4, 6 and 9 pixels on black. The last two touch at a corner."""
    image = np.zeros((20, 30), np.uint8)
    image[1, 1] = 200
    image[4:6, 4:6] = 200
    image[10:12, 10:13] = 200
    image[12:15, 13:16] = 200
    return image


@pytest.fixture
def panel(viewer, open_dock, finish, spots):
    viewer.add_image(
        spots, name="spots", scale=(2, 0.5), rotate=30, translate=(100, -7), shear=[0.2]
    )
    dock = open_dock()
    dock.n_clusters.value = 2
    dock.run()
    finish(dock)
    return dock.folds["objects"].open()


def split(qtbot, panel):
    panel.split()
    # Not waitSignal: the work may finish before the signal is connected.
    qtbot.waitUntil(lambda: not panel.is_working, timeout=60_000)
    assert panel.split_button.enabled


def test_objects_have_areas_and_centroids_in_world_units(viewer, panel, qtbot, spots):
    panel.min_size.value, panel.cluster.value, panel.connectivity.value = 2, 2, 1
    split(qtbot, panel)
    layer, image = viewer.layers["spots objects"], viewer.layers["spots"]
    expected, _ = ndimage.label(spots > 0)
    sizes = np.bincount(expected.ravel())
    order = np.argsort(np.unique(expected, return_index=True)[1])
    large = [part for part in order if part and sizes[part] >= 2]
    np.testing.assert_array_equal(np.unique(layer.data), np.arange(len(large) + 1))
    assert list(layer.features) == [
        "index",
        "cluster",
        "pixels",
        "area",
        "unit",
        "centroid 0",
        "centroid 1",
    ]
    for (_, row), part in zip(layer.features.iterrows(), large, strict=True):
        inside = expected == part
        assert (layer.data[inside] == row["index"]).all()
        assert (row["cluster"], row["pixels"]) == (2, inside.sum())
        # The scale (2, 0.5) keeps the area of a pixel, as do rotation and shear.
        assert row["area"] == pytest.approx(inside.sum())
        assert row["unit"] == "px²"
        world = np.mean([image.data_to_world(place) for place in np.argwhere(inside)], axis=0)
        np.testing.assert_allclose(row[["centroid 0", "centroid 1"]].astype(float), world)
    np.testing.assert_allclose(layer.extent.world, image.extent.world)
    assert layer.metadata[METADATA_KEY]["source_id"] == str(image.unique_id)
    assert panel.message.text() == "3 objects."


def test_second_split_updates_the_layer(viewer, panel, qtbot):
    panel.min_size.value = 1
    split(qtbot, panel)
    layer = viewer.layers["spots objects"]
    # The background is a cluster too. Two spots that touch at a corner are one object.
    assert sorted(layer.features["pixels"]) == [1, 4, 15, 580]
    panel.connectivity.value, panel.cluster.value = 1, 2
    split(qtbot, panel)
    assert [each.name for each in viewer.layers].count("spots objects") == 1
    assert sorted(layer.features["pixels"]) == [1, 4, 6, 9]
    assert viewer.layers["spots labels"].data.max() == 2


def test_split_uses_labels_edited_by_hand(viewer, panel, qtbot):
    labels = viewer.layers["spots labels"]
    labels.data[4:6, 4:6] = 1
    panel.cluster.value, panel.min_size.value = 2, 1
    split(qtbot, panel)
    assert sorted(viewer.layers["spots objects"].features["pixels"]) == [1, 15]


def test_cluster_choices_follow_the_latest_result(panel, finish):
    dock = panel.dock
    assert [*panel.cluster.choices] == ["all clusters", 1, 2]
    dock.n_clusters.value = 1
    dock.run()
    finish(dock)
    assert [*panel.cluster.choices] == ["all clusters", 1]


def test_split_raises_without_labels_in_memory(viewer, open_dock, finish, spots):
    viewer.add_image(da.from_array(spots, chunks=10), name="lazy")
    dock = open_dock()
    panel = dock.folds["objects"].open()
    assert not panel.split_button.enabled
    with pytest.raises(ValueError, match="there are no labels to split: tick Labels, and run"):
        panel.split()
    dock.n_clusters.value = 2
    dock.run()
    finish(dock)
    notification_manager.records.clear()
    panel.split_button.native.click()
    ((message,),) = [[each.message] for each in notification_manager.records]
    assert message.startswith("the labels of 'lazy' must be in memory to find objects, got a lazy")
    assert panel.split_button.enabled
    viewer.layers.remove("lazy labels")
    with pytest.raises(ValueError, match="there are no labels to split"):
        panel.split()


def test_objects_have_the_names_of_clusters_and_leave_out_ignored_ones(viewer, panel, qtbot):
    clusters = panel.dock.folds["clusters"].open().list._clusters
    panel.cluster.value = 2
    clusters.rename(2, "spot")
    clusters.ignore([1])
    assert panel.cluster.value == 2
    panel.cluster.value = "all clusters"
    texts = [panel.cluster.native.itemText(n) for n in range(3)]
    assert texts == ["all clusters", "cluster 1 (ignored)", "cluster 2: spot"]
    panel.min_size.value = 1
    split(qtbot, panel)
    layer = viewer.layers["spots objects"]
    assert sorted(layer.features["pixels"]) == [1, 4, 15]
    assert list(layer.features)[:3] == ["index", "cluster", "name"]
    assert layer.features["name"].tolist() == ["spot"] * 3
    np.testing.assert_array_equal(layer.data > 0, viewer.layers["spots labels"].data == 2)
    panel.cluster.value = 1
    split(qtbot, panel)
    assert layer.features["pixels"].tolist() == [580]


def test_long_name_does_not_widen_the_panel(panel):
    width = panel.minimumSizeHint().width()
    panel.dock.folds["clusters"].open().list._clusters.rename(2, "a long name " * 10)
    assert "a long name" in panel.cluster.native.itemText(2)
    assert panel.minimumSizeHint().width() == width
    assert panel.sizeHint().width() <= 350


def test_panel_states_why_it_cannot_be_used(viewer, dock, finish):
    panel = dock.folds["objects"].open()
    problem = "There are no labels to split: tick Labels, and run the clustering."
    assert panel.message.text() == problem
    dock.run()
    finish(dock)
    assert panel.message.text() == ""
    assert panel.split_button.enabled
    viewer.layers.remove(dock.result.labels)
    assert panel.message.text() == problem
    assert not panel.split_button.enabled
