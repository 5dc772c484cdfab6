"""One axis of a layer as the channels of an image."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image, Labels, Points, Shapes

from napari_kmeans import segment, segment_layer, segment_slices
from napari_kmeans.options import Options
from napari_kmeans.viewer.background.task import Task
from napari_kmeans.viewer.from_layers.channels import likely_channel_axis, stated_channel_axis
from napari_kmeans.viewer.provenance import METADATA_KEY
from napari_kmeans.viewer.to_layers.as_python import script_of
from napari_kmeans.viewer.to_layers.layers import labels_layer
from napari_kmeans.viewer.to_layers.result import Result
from napari_kmeans.viewer.to_layers.update import find_result, update_layer


@pytest.fixture
def pixels():
    """A stack of 3 slices of 12 by 14 pixels with 4 channels, which are the last axis."""
    return np.random.default_rng(0).integers(0, 5000, (3, 12, 14, 4)).astype(np.uint16)


def channels_at(pixels, axis):
    return np.moveaxis(pixels, -1, axis)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_axis_is_clustered_as_channels(pixels, axis, lazy):
    data = channels_at(pixels, axis)
    image = da.from_array(data, chunks=2) if lazy else data
    layer = Image(image, name="cells", rgb=False, contrast_limits=(0, 5000))
    labels, recolored = segment_layer(layer, 5, channel_axis=axis)
    expected = segment(image, 5, channel_axis=axis)
    np.testing.assert_array_equal(np.asarray(labels.data), np.asarray(expected.labels))
    np.testing.assert_array_equal(np.asarray(recolored.data), np.asarray(expected.recolored))
    assert labels.data.shape == (3, 12, 14)
    assert isinstance(labels.data, da.Array if lazy else np.ndarray)
    assert recolored.data.shape == data.shape
    assert (labels.name, recolored.name) == ("cells labels", "cells recolored")
    assert [f"mean channel {n}" in labels.features for n in range(5)] == [True] * 4 + [False]
    assert labels.metadata[METADATA_KEY]["channel_axis"] == axis % 4
    alone, _ = segment_layer(layer, 5)
    assert alone.data.shape == data.shape


def test_labels_lie_where_the_other_axes_of_the_layer_lie(pixels):
    data = channels_at(pixels, 0)
    turn = np.eye(5)
    turn[2:4, 2:4] = [[0.8, -0.6], [0.6, 0.8]]
    turn[1:4, 4] = [1, 2, 3]
    place = {"scale": (9, 3, 0.5, 0.4), "translate": (7, 1, 2, 3), "shear": [0, 0, 0, 0, 0, 0.3]}
    layer = Image(
        data, affine=turn, units=("pixel", "um", "um", "um"), axis_labels=("c", *"zyx"), **place
    )
    labels, recolored = segment_layer(layer, 3, channel_axis=0)
    assert labels.axis_labels == ("z", "y", "x")
    assert labels.units == layer.units[1:]
    np.testing.assert_allclose(labels.scale, (3, 0.5, 0.4))
    for position in [(0, 0, 0), (2, 5, 7), (1, 11, 3)]:
        in_world = layer.data_to_world((1, *position))[1:]
        np.testing.assert_allclose(labels.data_to_world(position), in_world)
    np.testing.assert_allclose(
        recolored.data_to_world((3, 1, 2, 4)), layer.data_to_world((3, 1, 2, 4))
    )


@pytest.mark.parametrize(
    ("place", "axis"),
    [({"rotate": 30}, 2), ({"shear": [0, 0.2, 0]}, 0), ({"shear": [0.2, 0, 0]}, 1)],
)
def test_axis_that_is_turned_is_refused(place, axis):
    layer = Image(np.zeros((4, 5, 6)), name="turned", **place)
    with pytest.raises(ValueError, match=r"channel_axis must be an axis along .* of 'turned'"):
        segment_layer(layer, 1, channel_axis=axis)


def test_levels_and_slices_of_a_layer_with_channels(pixels):
    levels = [channels_at(each, 0) for each in (pixels, pixels[:, ::2, ::2])]
    layer = Image(levels, multiscale=True, name="pyramid")
    labels, recolored = segment_layer(layer, 3, channel_axis=0, level=1, stack=1)
    expected = segment(levels[1][:, 1], 3, channel_axis=0)
    np.testing.assert_array_equal(labels.data[1][1], expected.labels)
    np.testing.assert_array_equal(recolored.data[1][:, 1], expected.recolored)
    np.testing.assert_array_equal(labels.data[0][1], expected.model.predict(levels[0][:, 1]))
    for level, original in zip(recolored.data, levels, strict=True):
        np.testing.assert_array_equal(level[:, [0, 2]], original[:, [0, 2]])
    # Another slice is added to the layers of the first.
    more = segment_layer(layer, 3, channel_axis=0, level=1, stack=2)
    for old, new in zip((labels, recolored), more, strict=True):
        assert find_result([old], new) is old
        update_layer(old, new)
    np.testing.assert_array_equal(labels.data[1][1], expected.labels)
    np.testing.assert_array_equal(recolored.data[0][:, 2], more[1].data[0][:, 2])
    each, _ = segment_layer(Image(levels[0]), 3, channel_axis=0, stack="each")
    np.testing.assert_array_equal(each.data, segment_slices(levels[0], 3, channel_axis=0).labels)


def test_masks_and_marks_lie_over_the_other_axes(pixels):
    data = channels_at(pixels, 0)
    layer = Image(data, scale=(5, 3, 2, 2))
    first, _ = segment_layer(layer, 3, channel_axis=0)
    inner, _ = segment_layer(layer, 2, channel_axis=0, mask=first, mask_classes=[2])
    np.testing.assert_array_equal(inner.data > 0, first.data == 2)
    box = np.array([(2, 2), (2, 14), (12, 14), (12, 2)])
    boxed, _ = segment_layer(layer, 2, channel_axis=0, mask=Shapes([box]))
    inside = np.zeros((3, 12, 14), bool)
    inside[:, 1:7, 1:8] = True
    np.testing.assert_array_equal(boxed.data > 0, inside)
    array = np.random.default_rng(1).random((3, 12, 14)) < 0.5
    masked, _ = segment_layer(layer, 2, channel_axis=0, mask=array)
    np.testing.assert_array_equal(masked.data > 0, array)
    # A point in the pixels of the labels, and one in those of the image, in any channel.
    marks = [pixels[1, 4, 6], pixels[2, 8, 3]]
    for points in (
        Points([(3, 8, 12), (6, 16, 6)]),
        Points([(0, 3, 8, 12), (5, 6, 16, 6)]),
    ):
        labels, _ = segment_layer(layer, channel_axis=0, init=points, keep_init=True)
        np.testing.assert_array_equal(labels.metadata[METADATA_KEY]["options"]["init"], marks)
        distances = np.linalg.norm(pixels[..., None, :].astype(float) - marks, axis=-1)
        np.testing.assert_array_equal(labels.data, distances.argmin(axis=-1) + 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channel_axis": 4}, "channel_axis must be a whole number from -4 to 3"),
        (
            {"channel_axis": 0, "mask": np.ones((4, 3, 12, 14))},
            "mask must have the image's spatial",
        ),
        (
            {"channel_axis": 0, "mask": Labels(np.ones((4, 3, 12, 14), int))},
            "mask must have at most the 3",
        ),
        ({"channel_axis": 1, "init": Points([(0, 0, 0, 0)])}, "init must have at most the 3 axes"),
    ],
)
def test_arguments_that_do_not_fit_the_axis_are_refused(pixels, arguments, message):
    with pytest.raises(ValueError, match=message):
        segment_layer(Image(channels_at(pixels, 0)), 2, **arguments)


def test_layers_that_have_no_axis_of_channels_are_refused(quadrants):
    photo, gray = Image(quadrants, rgb=True), Image(quadrants[..., 0])
    for layers in (photo, gray):
        with pytest.raises(ValueError, match="channel_axis must be None for a layer without"):
            segment_layer(layers, 2, channel_axis=0)
    with pytest.raises(ValueError, match="channel_axis must be None for several layers, got 0"):
        segment_layer([gray, gray], 2, channel_axis=0)


@pytest.mark.parametrize("stack", ["whole", "each", 1])
def test_copied_script_clusters_the_axis(pixels, tmp_path, monkeypatch, stack):
    monkeypatch.chdir(tmp_path)
    data = channels_at(pixels, 1)
    np.save("image.npy", data)
    task = Task.of(
        [Image(data)], Options(n_clusters=3), mask=None, level=None, stack=stack, channel_axis=1
    )
    outcome = task.run()
    labels = labels_layer(outcome, task.source)
    found = {}
    exec(script_of(Result(task, outcome, (labels,))), found)
    expected = labels.data[1] if stack == 1 else labels.data
    np.testing.assert_array_equal(found["labels"], expected)
    assert found["recolored"].shape == (data[1].shape if stack == 1 else data.shape)


@pytest.mark.parametrize(
    ("shape", "names", "likely", "stated"),
    [
        ((4, 20, 30), None, 0, None),
        ((20, 30, 3), None, 2, None),
        ((20, 30, 9), None, None, None),
        ((5, 6, 7), None, None, None),
        ((4, 20, 30), ("z", "y", "x"), None, None),
        ((4, 20, 30), ("t", "y", "x"), None, None),
        ((20, 4, 30, 31), ("t", "c", "y", "x"), 1, 1),
        ((40, 30, 31), ("Channel", "y", "x"), 0, 0),
        ((65, 90, 91), ("c", "y", "x"), None, None),
        ((1, 90, 91), ("c", "y", "x"), None, None),
        ((4, 90), None, None, None),
    ],
)
def test_axis_that_looks_like_channels(shape, names, likely, stated):
    layer = Image(np.zeros(shape, np.uint8), axis_labels=names, rgb=False)
    assert likely_channel_axis(layer) == likely
    assert stated_channel_axis(layer) == stated
    assert likely_channel_axis(Image(np.zeros((20, 30, 3), np.uint8), rgb=True)) is None
