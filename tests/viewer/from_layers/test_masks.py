"""Clustering inside chosen classes of a Labels layer."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image, Labels

from napari_kmeans import segment, segment_layer, segment_slices
from napari_kmeans.options import Options
from napari_kmeans.viewer.background.task import Task
from napari_kmeans.viewer.from_layers.masks import mask_levels
from napari_kmeans.viewer.from_layers.source import Source
from napari_kmeans.viewer.provenance import METADATA_KEY
from napari_kmeans.viewer.to_layers.as_python import script_of
from napari_kmeans.viewer.to_layers.layers import labels_layer
from napari_kmeans.viewer.to_layers.result import Result
from napari_kmeans.viewer.to_layers.update import find_result


@pytest.fixture
def noise():
    """An RGB image without clusters, so that each mask gives another result."""
    return np.random.default_rng(1).integers(0, 256, (24, 32, 3)).astype(np.uint8)


@pytest.fixture
def drawn():
    """Labels 1 to 4 in stripes, and 0 in the last rows."""
    labels = np.repeat(np.arange(32) // 8 + 1, 24).reshape(32, 24).T.copy()
    labels[20:] = 0
    return labels


def shifted(labels, number):
    """Return labels in which all clusters have larger numbers."""
    return np.where(labels > 0, np.int64(labels) + number, 0)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("classes", [[3], [2, 4]])
def test_only_pixels_of_the_chosen_classes_are_clustered(noise, drawn, classes, lazy):
    pixels = da.from_array(noise, chunks=(10, 12, 3)) if lazy else noise
    image = Image(pixels, rgb=True, name="picture", contrast_limits=(0, 255))
    mask = Labels(da.from_array(drawn, chunks=9) if lazy else drawn, features=table_of(4))
    labels, recolored = segment_layer(image, 3, mask=mask, mask_classes=classes)
    expected = segment(pixels, 3, rgb=True, mask=np.isin(drawn, classes))
    np.testing.assert_array_equal(np.asarray(labels.data), shifted(expected.labels, 4))
    np.testing.assert_array_equal(np.asarray(recolored.data), np.asarray(expected.recolored))
    assert isinstance(labels.data, da.Array if lazy else np.ndarray)
    assert labels.features["index"].tolist() == [5, 6, 7]
    assert labels.features["pixels"].sum() == np.isin(drawn, classes).sum()
    # The colors of the layer are those of its own labels.
    assert {*labels.colormap.color_dict} == {None, 0, 5, 6, 7}
    record = labels.metadata[METADATA_KEY]
    assert record["inside"]["classes"] == classes
    assert record["inside"]["layer_id"] == str(mask.unique_id)


def table_of(n_labels):
    return {"index": list(range(1, n_labels + 1))}


def test_one_class_may_be_given_as_a_number(noise, drawn):
    image, mask = Image(noise, rgb=True), Labels(drawn)
    one, _ = segment_layer(image, 2, mask=mask, mask_classes=2)
    np.testing.assert_array_equal(one.data > 0, drawn == 2)
    assert one.data.max() == 6


def test_classes_count_where_they_are_seen(noise):
    image = Image(noise, rgb=True, scale=(2, 2), translate=(3, 4))
    coarse = np.array([[1, 2], [3, 1]])
    mask = Labels(coarse, scale=(24, 32), translate=(14, 19))
    (inside,) = mask_levels(mask, image, Source.of(image), [1])
    for index in np.ndindex(inside.shape):
        row, column = np.rint(mask.world_to_data(image.data_to_world(index))).astype(int)
        is_over = 0 <= row < 2 and 0 <= column < 2
        assert inside[index] == (is_over and coarse[row, column] == 1), index
    assert 0 < inside.sum() < (coarse[0, 0] == 1) * inside.size


def test_levels_of_a_multiscale_result_are_the_masks_of_the_levels(noise):
    image = Image([noise, noise[::2, ::2]], multiscale=True, rgb=True)
    outer, _ = segment_layer(image, 3, level=1)
    inner, _ = segment_layer(image, 2, mask=outer, mask_classes=[2])
    for mask, found in zip(outer.data, inner.data, strict=True):
        np.testing.assert_array_equal(found > 0, mask == 2)
        assert set(np.unique(found)) == {0, 4, 5}


def test_classes_in_a_slice_and_in_each_slice():
    volume = np.random.default_rng(0).integers(0, 60000, (3, 9, 11)).astype(np.uint16)
    image, mask = Image(volume), Labels(np.random.default_rng(1).integers(0, 4, volume.shape))
    inside = mask.data == 2
    one, _ = segment_layer(image, 2, mask=mask, mask_classes=[2], stack=1)
    expected = segment(volume[1], 2, mask=inside[1]).labels
    np.testing.assert_array_equal(one.data[1], shifted(expected, 3))
    assert not one.data[[0, 2]].any()
    each, _ = segment_layer(image, 2, mask=mask, mask_classes=[2], stack="each")
    expected = segment_slices(volume, 2, mask=inside)
    np.testing.assert_array_equal(each.data, shifted(expected.labels, 3))
    assert each.features["index"].tolist() == [4, 5]


def test_several_layers_as_channels_inside_a_class(noise, drawn):
    layers = [Image(noise[..., channel]) for channel in range(3)]
    labels, _ = segment_layer(layers, 3, mask=Labels(drawn), mask_classes=[1])
    expected = segment(noise, 3, channel_axis=-1, mask=drawn == 1).labels
    np.testing.assert_array_equal(labels.data, shifted(expected, 4))


def test_result_replaces_results_inside_the_same_layer_and_never_its_mask(noise, drawn):
    image, other = Image(noise, rgb=True, name="picture"), Labels(drawn, name="by hand")
    outer, outer_colors = segment_layer(image, 3)
    inner, inner_colors = segment_layer(image, 2, mask=outer, mask_classes=[1])
    whole, _ = segment_layer(image, 2, mask=outer)
    deeper, _ = segment_layer(image, 2, mask=inner, mask_classes=[4])
    layers = [outer, outer_colors]
    for new in (inner, inner_colors, whole):
        assert find_result(layers, new) is None
    layers += [inner, inner_colors]
    again, again_colors = segment_layer(image, 2, mask=outer, mask_classes=[2, 3])
    assert find_result(layers, again) is inner
    assert find_result(layers, again_colors) is inner_colors
    assert find_result(layers, whole) is inner
    assert find_result(layers, deeper) is None
    assert find_result(layers, segment_layer(image, 4)[0]) is outer
    # A mask that is no result: the run is an ordinary one.
    assert find_result(layers, segment_layer(image, 4, mask=other)[0]) is outer
    assert (outer.name, inner.name) == ("picture labels", "picture inner labels")
    assert not {*np.unique(inner.data)} & {*np.unique(outer.data)} - {0}


@pytest.mark.parametrize(
    ("mask", "classes", "error", "message"),
    [
        (np.ones((24, 32)), [1], TypeError, "mask must be a Labels layer if mask_classes"),
        (Labels(np.ones((24, 32), int), name="drawn"), [], ValueError, "got none of 'drawn'"),
        (Labels(np.ones((24, 32), int)), ["tumor"], TypeError, "mask_classes must be a whole"),
        (Labels(np.full((24, 32), 65534)), [1], ValueError, "follow the label 65534"),
        (Labels(np.ones((24, 32), int)), [2], ValueError, "all 768 left out"),
    ],
)
def test_classes_that_cannot_be_used_are_refused(noise, mask, classes, error, message):
    with pytest.raises(error, match=message):
        segment_layer(Image(noise, rgb=True), 2, mask=mask, mask_classes=classes)


@pytest.mark.parametrize("stack", ["whole", "each"])
def test_copied_script_gives_the_labels_inside_classes(noise, drawn, tmp_path, monkeypatch, stack):
    monkeypatch.chdir(tmp_path)
    image, mask = Image(noise[None], rgb=True), Labels(drawn[None])
    task = Task.of(
        [image],
        Options(n_clusters=3),
        mask=mask,
        mask_classes=[2, 3],
        level=None,
        stack=stack,
    )
    np.save("image.npy", noise[None])
    np.save("mask.npy", task.masks[0])
    outcome = task.run()
    labels = labels_layer(outcome, task.source)
    script, found = script_of(Result(task, outcome, (labels,))), {}
    exec(script, found)
    if stack == "whole":
        np.testing.assert_array_equal(found["labels"], labels.data)
        assert found["segmentation"].table["index"].tolist() == [5, 6, 7]
    else:
        np.testing.assert_array_equal(shifted(found["labels"], 4), labels.data)
        assert "the labels follow those of the layer whose classes are the mask" in script
