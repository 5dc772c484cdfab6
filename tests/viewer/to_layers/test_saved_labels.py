"""Labels that were saved in napari open as the same layer."""

from __future__ import annotations

import json
import os
from fnmatch import fnmatch
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from napari.layers import Image, Labels

import napari_kmeans
from napari_kmeans import KMeansModel
from napari_kmeans.files.result_record import RECORD_TAG, read_record
from napari_kmeans.viewer.provenance import recorded_model, recorded_slice
from napari_kmeans.viewer.read_results import get_reader
from napari_kmeans.viewer.segment_layer import segment_layer
from napari_kmeans.viewer.to_layers.clusters import Clusters
from napari_kmeans.viewer.to_layers.layer_classes import classes_of, model_of
from napari_kmeans.viewer.to_layers.saved_labels import SavedLabels
from napari_kmeans.viewer.write_results import write_labels

PLACE = {
    "scale": (0.5, 0.25),
    "translate": (10, -3),
    "rotate": 30,
    "units": ("um", "um"),
    "axis_labels": ("row", "column"),
}


def open_labels(path):
    ((data, attributes, kind),) = get_reader(str(path))(str(path))
    assert kind == "labels"
    return Labels(data, **attributes)


def colors_of(layer, labels):
    clusters = Clusters(layer)
    return [clusters.color(label).tolist() for label in labels]


@pytest.fixture
def edited(quadrants):
    """Labels whose classes were named, merged, hidden, recolored and ignored."""
    image = Image(np.asarray(quadrants), name="cells", rgb=True, **PLACE)
    labels, _ = segment_layer(image, 4)
    clusters = Clusters(labels)
    clusters.rename(1, "nucleus")
    clusters.merge([1, 2])
    clusters.set_color(3, "#ff8000")
    clusters.show([3], False)
    clusters.ignore([4])
    return labels


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
@pytest.mark.parametrize("lazy", [False, True])
def test_everything_is_there_tomorrow(edited, tmp_path, suffix, lazy):
    if lazy:
        table = edited.features
        edited.data = da.from_array(edited.data, chunks=(7, 9))
        edited.features = table
    path = tmp_path / f"cells-labels{suffix}"
    table, model = tmp_path / "cells-table.csv", tmp_path / "cells-model.json"
    SavedLabels.of(edited).write(path, table, model)
    again = open_labels(path)
    np.testing.assert_array_equal(again.data, edited.data)
    assert again.name == edited.name
    assert again.axis_labels == edited.axis_labels
    assert again.units == edited.units
    for pixel in ((0, 0), (5, 0), (0, 7)):
        np.testing.assert_allclose(again.data_to_world(pixel), edited.data_to_world(pixel))
    colors = [colors_of(layer, [1, 3, 4]) for layer in (again, edited)]
    np.testing.assert_allclose(*colors, atol=0.5001 / 255)
    assert [Clusters(again).is_shown(label) for label in (1, 3, 4)] == [True, False, False]
    kept = list(edited.features)
    pd.testing.assert_frame_equal(
        again.features[kept], edited.features, check_dtype=False, check_categorical=False
    )
    # 0.5 µm by 0.25 µm.
    np.testing.assert_allclose(again.features["area"], again.features["pixels"] * 0.125)
    assert classes_of(again) == classes_of(edited)
    assert KMeansModel.load(model).classes == classes_of(edited)
    assert pd.read_csv(table)["pixels"].tolist() == edited.features["pixels"].tolist()


def test_napari_writes_the_same_file_through_the_manifest(edited, tmp_path):
    data, attributes, _ = edited.as_layer_data_tuple()
    path = str(tmp_path / "cells labels.tif")
    assert write_labels(path, data, attributes) == [path]
    assert classes_of(open_labels(path)) == classes_of(edited)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        # The dialog of napari suggests the name of the layer, without a suffix.
        ("cells labels", "cells labels.tif"),
        ("cells v0.2 labels", "cells v0.2 labels.tif"),
        ("cells", "cells-labels.tif"),
        ("cells.tif", "cells-labels.tif"),
        ("cells labels.tiff", "cells labels.tif"),
        ("cells-labels.tif", "cells-labels.tif"),
        ("cells.zarr", "cells.zarr"),
    ],
)
def test_napari_finds_the_reader_by_the_name_of_the_file(edited, tmp_path, name, written):
    data, attributes, _ = edited.as_layer_data_tuple()
    path = tmp_path / written
    assert write_labels(str(tmp_path / name), data, attributes) == [str(path)]
    root = Path(next(iter(napari_kmeans.__path__))).parents[1]
    if not (root / "napari.yaml").is_file():
        pytest.skip("napari.yaml is not beside the sources")
    manifest = yaml.safe_load((root / "napari.yaml").read_text("utf-8"))
    patterns = manifest["contributions"]["readers"][0]["filename_patterns"]
    assert path.is_dir() or any(fnmatch(path.name, pattern) for pattern in patterns)
    assert classes_of(open_labels(path)) == classes_of(edited)
    assert [each.name for each in tmp_path.iterdir()] == [written]


def test_a_name_that_was_completed_replaces_no_file(edited, tmp_path):
    data, attributes, _ = edited.as_layer_data_tuple()
    path = tmp_path / "cells-labels.tif"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="choose another name, or"):
        write_labels(str(tmp_path / "cells.tif"), data, attributes)
    assert path.read_text() == "mine"
    write_labels(str(path), data, attributes)
    assert classes_of(open_labels(path)) == classes_of(edited)


def test_labels_that_napari_saved_open_with_their_folder(edited, tmp_path):
    data, attributes, _ = edited.as_layer_data_tuple()
    write_labels(str(tmp_path / "cells labels"), data, attributes)
    assert classes_of(open_labels(tmp_path)) == classes_of(edited)


def test_painted_pixels_are_counted_when_they_are_saved(edited, quadrants, tmp_path):
    edited.data_setitem(tuple(np.indices((5, 5)).reshape(2, -1)), 4)
    path = tmp_path / "cells-labels.tif"
    SavedLabels.of(edited).write(path)
    values, counts = np.unique(edited.data, return_counts=True)
    features = open_labels(path).features
    assert dict(zip(features["index"], features["pixels"], strict=True)) == dict(
        zip(values, counts, strict=True)
    )
    assert "outdated" not in features
    means = [quadrants[edited.data == value].mean(0) for value in values]
    np.testing.assert_allclose(features[["mean red", "mean green", "mean blue"]], means)


def test_the_finest_level_is_saved_and_counted(tmp_path):
    image = np.zeros((64, 96), np.uint16)
    image[:, 40:], image[:10] = 1000, 3000
    layer = Image([image, image[::2, ::2]], multiscale=True, name="slide", scale=(2, 2))
    labels, _ = segment_layer(layer, 3, level=1)
    for path in (tmp_path / "slide-labels.tif", tmp_path / "slide-labels.zarr"):
        SavedLabels.of(labels).write(path)
        again = open_labels(path)
        values, counts = np.unique(labels.data[0], return_counts=True)
        assert again.features["index"].tolist() == values.tolist()
        assert again.features["pixels"].tolist() == counts.tolist()
        assert "level" not in again.features


def test_a_slice_of_a_stack_stays_the_slice_that_is_counted(tmp_path):
    rng = np.random.default_rng(0)
    layer = Image(rng.integers(0, 255, (3, 20, 20), np.uint8), name="stack")
    labels, _ = segment_layer(layer, 3, stack=1)
    for path in (tmp_path / "stack-labels.tif", tmp_path / "stack-labels.zarr"):
        SavedLabels.of(labels).write(path)
        again = open_labels(path)
        assert recorded_slice(again) == [1, None, None]
        assert again.features["pixels"].sum() == 400
        np.testing.assert_array_equal(again.data, labels.data)


def test_time_keeps_its_place_among_the_axes(tmp_path):
    rng = np.random.default_rng(0)
    layer = Image(
        rng.integers(0, 255, (3, 4, 20, 21), np.uint8),
        axis_labels=("z", "t", "y", "x"),
        units=("um", "s", "um", "um"),
        scale=(2, 5, 0.5, 0.5),
    )
    labels, _ = segment_layer(layer, 3)
    for path in (tmp_path / "movie-labels.tif", tmp_path / "movie-labels.zarr"):
        SavedLabels.of(labels).write(path)
        again = open_labels(path)
        np.testing.assert_array_equal(again.data, labels.data)
        assert again.axis_labels == ("z", "t", "y", "x")
        assert again.scale.tolist() == [2, 5, 0.5, 0.5]


def test_slices_with_a_model_each_keep_their_models(tmp_path):
    rng = np.random.default_rng(0)
    layer = Image(rng.integers(0, 255, (3, 20, 20), np.uint8), name="stack")
    labels, _ = segment_layer(layer, 3, stack="each")
    path = tmp_path / "stack-labels.tif"
    SavedLabels.of(labels).write(path)
    again = open_labels(path)
    assert again.features["pixels"].tolist() == labels.features["pixels"].tolist()
    assert recorded_model(again) == recorded_model(labels)
    assert len(model_of(again).models) == 3


def test_any_labels_can_be_saved(tmp_path):
    layer = Labels(np.arange(12).reshape(3, 4), name="plain", scale=(3, 4))
    path = tmp_path / "plain-labels.tif"
    SavedLabels.of(layer).write(path)
    again = open_labels(path)
    np.testing.assert_array_equal(again.data, layer.data)
    assert again.scale.tolist() == [3, 4]


def test_the_folder_of_a_result_opens(edited, tmp_path):
    SavedLabels.of(edited).write(tmp_path / "a-labels.tif", tmp_path / "a-table.csv")
    SavedLabels.of(edited).write(tmp_path / "b-labels.zarr")
    tifffile.imwrite(tmp_path / "c-labels.tif", np.zeros((3, 3), np.uint8))
    layers = get_reader(str(tmp_path))(str(tmp_path))
    assert [kind for _, _, kind in layers] == ["labels", "labels"]
    (tmp_path / "empty").mkdir()
    assert get_reader(str(tmp_path / "empty")) is None


@pytest.mark.parametrize(
    "layer",
    [
        3,
        {"name": 4, "place": 5, "run": 6, "hidden": None},
        {"place": {"scale": [1, 2, 3]}},
        {"place": {"scale": [0, 0]}},
        {"place": {"units": ["apple", "pear"]}},
        {"place": {"shear": "x", "data": 3}},
        {"run": {"stack": [0, None, None], "options": 7, "distortion": "x", "source": 2}},
        {"run": {"stack": [-1, None], "model": 3}},
        {"hidden": [[1], {}]},
    ],
)
def test_a_record_that_was_changed_opens_as_far_as_it_is_valid(edited, tmp_path, layer):
    path = tmp_path / "cells-labels.tif"
    SavedLabels.of(edited).write(path)
    record = {**read_record(path), "layer": layer}
    text = json.dumps(record).encode()
    tifffile.imwrite(path, edited.data, extratags=[(RECORD_TAG, "s", 0, text, True)])
    again = open_labels(path)
    np.testing.assert_array_equal(again.data, edited.data)
    assert recorded_slice(again) is None
    assert recorded_model(again) == record["model"]


def test_nothing_is_left_of_a_save_that_was_canceled(edited, tmp_path):
    def stop(_done, _total):
        raise KeyboardInterrupt

    edited.data = da.from_array(edited.data, chunks=(7, 9))
    with pytest.raises(KeyboardInterrupt):
        SavedLabels.of(edited).write(
            tmp_path / "a-labels.zarr", tmp_path / "a-table.csv", progress=stop
        )
    assert os.listdir(tmp_path) == []
