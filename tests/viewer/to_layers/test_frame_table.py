"""Areas and tables of time lapses, whose time axis is no axis of space."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from napari.layers import Image, Labels
from skimage.measure import label, regionprops

from napari_kmeans import segment_layer
from napari_kmeans.viewer.background.objects_work import ObjectsWork
from napari_kmeans.viewer.from_layers.geometry import AffineMap
from napari_kmeans.viewer.to_layers.clusters import Clusters
from napari_kmeans.viewer.to_layers.frame_table import FramesWork
from napari_kmeans.viewer.to_layers.label_area import counted_size, finest_size, time_axes
from napari_kmeans.viewer.to_layers.objects_layer import objects_layer

LAPSE = {"scale": (30, 0.5, 0.25), "units": ("s", "um", "um"), "axis_labels": ("t", "y", "x")}


@pytest.fixture
def growth():
    """Four frames of 10 by 8 pixels with a bright square of 1, 4, 9 and 16 pixels."""
    frames = np.zeros((4, 10, 8), np.uint8)
    for number in range(4):
        frames[number, : number + 1, : number + 1] = 200
    return frames


def test_list_and_table_of_a_time_lapse_have_the_mean_area_of_a_frame(growth):
    labels, _ = segment_layer(Image(growth, rgb=False, **LAPSE), 2)
    clusters = Clusters(labels)
    assert clusters.size_word == "Area / frame"
    assert clusters.counted == "in 4 frames"
    assert clusters.area([2]) == "0.938 µm²"  # 30 pixels in 4 frames, of 0.125
    assert labels.features["area per frame"].tolist() == [290 / 4 / 8, 30 / 4 / 8]
    assert labels.features["unit"].tolist() == ["µm²"] * 2
    merged = clusters.merge([1, 2])
    assert labels.features["area per frame"].tolist() == [10]
    assert clusters.area([merged]) == "10 µm²"


def test_table_of_frames_has_the_area_of_each_frame_and_cluster(growth):
    labels, _ = segment_layer(Image(growth, rgb=False, **LAPSE), 2)
    Clusters(labels).rename(2, "cell")
    table = FramesWork.of(labels, labels.features).run()
    columns = ["frame", "index", "pixels", "percent", "area", "unit", "name", "color"]
    assert table.columns.tolist() == columns
    assert table["frame"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    cells = table[table["name"] == "cell"]
    assert cells["pixels"].tolist() == [1, 4, 9, 16]
    assert cells["area"].tolist() == [0.125, 0.5, 1.125, 2]
    np.testing.assert_allclose(table.groupby("frame")["percent"].sum(), 100)
    # The time need not be the first axis; a single frame is an area.
    moved = {name: [*value[1:], value[0]] for name, value in LAPSE.items()}
    other = Image(np.moveaxis(growth, 0, -1), rgb=False, **moved)
    labels, _ = segment_layer(other, 2)
    table = FramesWork.of(labels, labels.features).run()
    assert table["pixels"][table["index"] == 2].tolist() == [1, 4, 9, 16]
    labels, _ = segment_layer(Image(growth, rgb=False, **LAPSE), 2, stack=2)
    assert FramesWork.of(labels, labels.features) is None
    assert labels.features["area"].tolist() == [71 / 8, 9 / 8]


@pytest.mark.parametrize(
    ("shape", "place", "word", "area"),
    [
        ((4, 8), {"scale": (1, 0.5), "units": ("s", "mm")}, "Length / frame", "4 mm"),
        ((4, 2), {}, "Area", "8 px²"),
        ((2, 2, 2), {"scale": (2, 1, 1)}, "Volume", "16 px³"),
        ((2, 2, 2), {"axis_labels": ("time", "y", "x")}, "Area / frame", "4 px²"),
        ((2, 2, 2), {"units": ("min", "um", "um")}, "Area / frame", "4 µm²"),
        ((2, 2, 2, 2), {"axis_labels": ("T", "z", "y", "x")}, "Volume / frame", "8 px³"),
        ((2, 2, 2, 2), {}, "Size", ""),
        ((4, 2), {"units": ("um", "pixel")}, "Size", ""),
    ],
)
def test_word_and_unit_of_sizes(shape, place, word, area):
    features = {"index": [1], "pixels": [int(np.prod(shape))], "percent": [100.0]}
    clusters = Clusters(Labels(np.ones(shape, np.uint8), features=features, **place))
    assert clusters.size_word == word
    assert clusters.area([1]) == area


def test_table_follows_the_place_of_the_layer(quadrants):
    labels, _ = segment_layer(Image(quadrants, rgb=True), 4)
    clusters = Clusters(labels)
    clusters.rename(1, "ink")
    labels.scale = (2, 2)
    assert labels.features["area"].tolist() == [400, 440, 400, 440]
    labels.units = ("mm", "mm")
    assert set(labels.features["unit"]) == {"mm²"}
    labels.affine = np.diag([3, 1, 1])
    assert labels.features["area"][0] == 1200
    clusters.undo()
    assert labels.features["area"][0] == 1200
    assert "name" not in labels.features


def test_objects_of_a_time_lapse_are_found_in_each_frame(growth):
    growth[1, 6, 6] = growth[3, 9, 6:] = 200
    layer = Labels(growth, **LAPSE)
    work = ObjectsWork(
        growth,
        None,
        1,
        None,
        AffineMap.to_world(layer),
        size=finest_size(layer),
        time_axis=time_axes(layer)[0],
    )
    objects = work.run()
    expected = [
        (number, region.area / 8, region.centroid)
        for number, frame in enumerate(growth)
        for region in regionprops(label(frame > 0))
    ]
    table = objects.table
    assert table["frame"].tolist() == [number for number, _, _ in expected]
    assert table["area"].tolist() == [area for _, area, _ in expected]
    assert table["centroid 0"].tolist() == [30 * number for number, _, _ in expected]
    places = np.array([place for _, _, place in expected]) * (0.5, 0.25)
    np.testing.assert_allclose(table[["centroid 1", "centroid 2"]], places)
    # A table of objects has positions, which do not follow the scale of the layer.
    shown = objects_layer(objects, name="growth", source_id="", spatial={"scale": LAPSE["scale"]})
    shown.scale = (30, 1, 1)
    assert shown.features["outdated"].all()
    counts = np.bincount(objects.labels.ravel())[1:]
    assert counts.tolist() == table["pixels"].tolist()


def test_saved_table_of_a_time_lapse_counts_edits_by_hand(
    viewer, open_dock, finish, growth, tmp_path
):
    viewer.add_image(growth, name="lapse", **LAPSE)
    dock = open_dock()
    dock.n_clusters.value = 2
    dock.run()
    finish(dock)
    labels = dock.result.labels
    labels.data_setitem((np.array([3]), np.array([9]), np.array([7])), 5)
    dock.folds["export"].open().save_table(tmp_path / "table.csv")
    with open(tmp_path / "table.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == np.repeat(range(4), 3).tolist()
    pixels = {(int(row["frame"]), int(row["index"])): int(row["pixels"]) for row in rows}
    for number, frame in enumerate(labels.data):
        counts = np.bincount(frame.ravel(), minlength=6)
        assert [pixels[number, each] for each in (1, 2, 5)] == counts[[1, 2, 5]].tolist()
    assert float(rows[-1]["area"]) == 0.125
    assert counted_size(labels).value == 0.125 / 4
