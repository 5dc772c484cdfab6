"""Stacks: one model for all slices, for one slice, or for each slice."""

from __future__ import annotations

import json

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image, Labels, Shapes

from napari_kmeans import segment, segment_layer, segment_slices
from napari_kmeans.options import Options
from napari_kmeans.viewer.background.task import Task
from napari_kmeans.viewer.from_layers.source import Source, layer_levels
from napari_kmeans.viewer.provenance import METADATA_KEY
from napari_kmeans.viewer.to_layers.apply_model import ApplyWork
from napari_kmeans.viewer.to_layers.clusters import Clusters
from napari_kmeans.viewer.to_layers.layers import coreset_layer, labels_layer, recolored_layers
from napari_kmeans.viewer.to_layers.update import find_result, update_layer

PLACE = {"scale": (4, 0.5, 0.7), "translate": (10, -3, 2), "units": ("um",) * 3}


@pytest.fixture
def film(quadrants):
    """An RGB stack (T, Y, X, 3) of four colors that get darker."""
    return np.stack([quadrants // n for n in (1, 2, 3)])


@pytest.fixture
def ramp():
    """A gray volume (Z, Y, X) with three gray values in each slice, other ones per slice."""
    volume = np.empty((4, 8, 10), np.uint16)
    for z in range(4):
        volume[z, :4], volume[z, 4:, :5], volume[z, 4:, 5:] = 100 + z, 900 + z, 5000 + z
    return volume


def make_data(array, lazy):
    return da.from_array(array, chunks=3) if lazy else array.copy()


def record_in(layer):
    return layer.metadata[METADATA_KEY]


@pytest.mark.parametrize("stack", ["none", "all", -1, 4, (0, 9), (1, 2, 3), (0.5,), (True,), [9]])
def test_missing_slice_is_refused(ramp, stack):
    with pytest.raises(ValueError, match=r"stack must be .* in the shape \(4, 8, 10\), got"):
        segment_layer(Image(ramp, rgb=False), 3, stack=(0, 9, 9) if stack == "none" else stack)


# ------------------------------------------------------------------- one slice


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("stack", "index"),
    [
        (2, np.s_[2]),
        ((2, None, None), np.s_[2]),
        ((None, 5, None), np.s_[:, 5]),
        ((None, None, 7), np.s_[:, :, 7]),
        ((1, 5), np.s_[1, 5]),
    ],
)
def test_run_on_one_slice_changes_no_other_slice(ramp, stack, index, lazy):
    layer = Image(make_data(ramp, lazy), rgb=False, name="volume", **PLACE)
    labels, recolored = segment_layer(layer, 2, stack=stack)
    alone = segment(ramp[index], 2, rgb=False)
    expected = np.zeros(ramp.shape, int)
    expected[index] = alone.labels
    np.testing.assert_array_equal(labels.data, expected)
    painted = ramp.copy()
    painted[index] = alone.recolored
    np.testing.assert_array_equal(recolored.data, painted)
    assert record_in(labels)["model"] == alone.model.to_dict()
    assert labels.features["pixels"].sum() == ramp[index].size
    for result in (labels, recolored):
        assert isinstance(result.data, da.Array) == lazy
        np.testing.assert_allclose(result.extent.world, layer.extent.world)
    np.testing.assert_array_equal(layer.data, ramp)
    known = json.loads(json.dumps(record_in(labels)))
    again, _ = segment_layer(layer, **known["options"], stack=known["stack"])
    np.testing.assert_array_equal(again.data, labels.data)


def test_run_on_one_rgb_slice(film, quadrant_labels):
    labels, recolored = segment_layer(Image(film, rgb=True), 4, stack=1)
    np.testing.assert_array_equal(labels.data[1], quadrant_labels)
    assert not labels.data[[0, 2]].any()
    np.testing.assert_array_equal(recolored.data[[0, 2]], film[[0, 2]])
    np.testing.assert_array_equal(recolored.data[1], segment(film[1], 4, rgb=True).recolored)


def test_lazy_run_reads_only_its_slice(ramp):
    read = []

    def load(chunk, block_info=None):
        read.append(block_info[0]["chunk-location"][0])
        return chunk

    meta = np.empty((0, 0, 0), ramp.dtype)
    lazy = da.from_array(ramp, chunks=(1, 8, 10)).map_blocks(load, dtype=ramp.dtype, meta=meta)
    layer = Image(lazy, rgb=False, contrast_limits=(0, 9_000))
    read.clear()
    labels, _ = segment_layer(layer, 3, stack=2)
    assert set(read) <= {0, 2}
    read.clear()
    labels.data[2].compute()
    assert set(read) == {2}


def test_lazy_result_of_one_slice_has_one_dtype(ramp):
    meta = np.empty((0, 0, 0), ramp.dtype)
    lazy = da.from_array(ramp, chunks=(2, 8, 10))
    lazy = lazy.map_blocks(lambda block: block.astype(">f8"), dtype=ramp.dtype, meta=meta)
    _, recolored = segment_layer(Image(lazy, rgb=False, contrast_limits=(0, 9_000)), 3, stack=2)
    _, expected = segment_layer(Image(ramp, rgb=False), 3, stack=2)
    for index in range(len(ramp)):
        plane = recolored.data[index].compute()
        assert plane.dtype == ramp.dtype
        np.testing.assert_array_equal(plane, expected.data[index])


def test_one_slice_takes_its_slice_of_the_mask(ramp):
    mask = np.zeros(ramp.shape, int)
    mask[2, :, :6] = 1
    mask[1, :, 6:] = 1
    for masked in (mask, Labels(mask), da.from_array(mask)):
        labels, _ = segment_layer(Image(ramp, rgb=False), 3, mask=masked, stack=2)
        np.testing.assert_array_equal(
            labels.data > 0, (mask > 0) & (np.arange(4) == 2)[:, None, None]
        )
    box = np.array([[2, -0.5, -0.5], [2, -0.5, 5.5], [2, 7.5, 5.5], [2, 7.5, -0.5]])
    outside = box + np.array([1, 0, 0])
    shapes = Shapes([box, outside], shape_type="polygon")
    labels, _ = segment_layer(Image(ramp, rgb=False), 3, mask=shapes, stack=2)
    np.testing.assert_array_equal(labels.data[2] > 0, mask[2] > 0)
    assert not labels.data[3].any()


def test_coreset_positions_lie_in_their_slice(ramp):
    task = Task.of(
        [Image(ramp, rgb=False)],
        Options(n_clusters=3, coreset_size=10),
        mask=None,
        level=None,
        stack=(None, 5, None),
    )
    points = coreset_layer(task.run(), task.source)
    assert points.ndim == 3
    assert set(points.data[:, 1]) == {5}
    assert points.data[:, 0].max() == 3
    assert (points.data[:, 2] > 5).any()


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("levels", [1, 2])
def test_runs_on_several_slices_share_one_layer(ramp, lazy, levels):
    data = [make_data(ramp, lazy), make_data(ramp[:, ::2, ::2], lazy)][:levels]
    layer = Image(data if levels > 1 else data[0], multiscale=levels > 1, rgb=False)
    runs = [(1, 3), (3, 2), (1, 2)]
    earlier = segment_layer(layer, 3, stack=1, level=0)
    drawn = [(0, 0, 0)]
    if not lazy and levels == 1:
        earlier[0].data[0, 0, 0] = 7
    for place, n_clusters in runs[1:]:
        for old, new in zip(
            earlier, segment_layer(layer, n_clusters, stack=place, level=0), strict=True
        ):
            assert find_result(earlier, new) is old
            update_layer(old, new)
    labels, recolored = earlier
    for n in range(levels):
        shown = np.asarray(labels.data[n] if levels > 1 else labels.data)
        colors = np.asarray(recolored.data[n] if levels > 1 else recolored.data)
        original = np.asarray(data[n])
        for place in (1, 3):
            alone = segment(ramp[place], 2, rgb=False).model.apply(original[place])
            np.testing.assert_array_equal(shown[place], alone[0])
            np.testing.assert_array_equal(colors[place], alone[1])
        np.testing.assert_array_equal(colors[[0, 2]], original[[0, 2]])
        assert not shown[2].any()
    if not lazy and levels == 1:
        assert labels.data[drawn[0]] == 7
    # The three colors of the first run stay: other slices may contain their labels.
    assert set(labels.colormap.color_dict) == {None, 0, 1, 2, 3}
    assert labels.features["index"].tolist() == [1, 2]
    assert record_in(labels)["stack"] == [1, None, None]
    (other,) = record_in(labels)["earlier"]
    assert (other["stack"], other["options"]["n_clusters"]) == ([3, None, None], 2)
    assert json.loads(json.dumps(record_in(labels))) == record_in(labels)


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("lazy", [False, True])
def test_merge_changes_only_the_slice_of_the_table(ramp, lazy, levels):
    data = [make_data(ramp, lazy), make_data(ramp[:, ::2, ::2], lazy)][:levels]
    layer = Image(data if levels > 1 else data[0], multiscale=levels > 1, rgb=False)
    labels = segment_layer(layer, 3, stack=1, level=0)[0]
    update_layer(labels, segment_layer(layer, 3, stack=2, level=0)[0])
    before = [np.array(level) for level in layer_levels(labels)]
    colors = {label: tuple(color) for label, color in labels.colormap.color_dict.items()}
    clusters = Clusters(labels)
    clusters.merge([2, 3])
    assert labels.features["index"].tolist() == [1, 2]
    for now, earlier in zip(layer_levels(labels), before, strict=True):
        expected = earlier.copy()
        expected[2][expected[2] == 3] = 2
        np.testing.assert_array_equal(np.asarray(now), expected)
    merged = [np.array(level) for level in layer_levels(labels)]
    # The other slice contains the label.
    assert tuple(labels.colormap.color_dict[3]) == colors[3]
    clusters.undo()
    for now, earlier in zip(layer_levels(labels), before, strict=True):
        np.testing.assert_array_equal(np.asarray(now), earlier)
    clusters.redo()
    for now, earlier in zip(layer_levels(labels), merged, strict=True):
        np.testing.assert_array_equal(np.asarray(now), earlier)


def test_slice_with_more_labels_than_uint8_holds():
    volume = np.arange(2 * 20 * 20, dtype=np.uint16).reshape(2, 20, 20)
    layer = Image(volume, rgb=False)
    earlier = segment_layer(layer, 2, stack=0)[0]
    update_layer(earlier, segment_layer(layer, 300, stack=1, n_init=1)[0])
    assert earlier.data[1].max() == 300
    assert sorted(np.unique(earlier.data[0])) == [1, 2]


def apply_to(layer, model):
    source = Source.of(layer).fitted_on(None, "whole", "coreset")
    outcome = ApplyWork(model, source).run()
    return labels_layer(outcome, source), recolored_layers(outcome, source)[0]


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("before", ["whole", "each", "applied"])
def test_slice_replaces_no_other_slice_of_any_result(ramp, before, levels, lazy):
    data = [make_data(ramp, lazy), make_data(ramp[:, ::2, ::2], lazy)][:levels]
    layer = Image(data if levels > 1 else data[0], multiscale=levels > 1, rgb=False)
    if before == "applied":
        earlier = apply_to(layer, segment(ramp, 3, rgb=False).model)
    else:
        earlier = segment_layer(layer, 3, stack=before, level=0)
    held = [layer_levels(each) for each in earlier]
    if not lazy and levels == 1:
        earlier[0].data[0, 0, 0] = 7
    kept = [[np.array(level) for level in each] for each in held]
    run = segment_layer(layer, 2, stack=2, level=0)
    for old, new in zip(earlier, run, strict=True):
        assert find_result(earlier, new) is old
        update_layer(old, new)
    for old, new, were in zip(earlier, run, kept, strict=True):
        for now, made, was in zip(layer_levels(old), layer_levels(new), were, strict=True):
            np.testing.assert_array_equal(np.asarray(now)[2], np.asarray(made)[2])
            np.testing.assert_array_equal(np.asarray(now)[[0, 1, 3]], was[[0, 1, 3]])
    # A script may hold the arrays of the earlier run: they are not changed.
    for each, were in zip(held, kept, strict=True):
        for level, was in zip(each, were, strict=True):
            np.testing.assert_array_equal(np.asarray(level), was)
    labels = earlier[0]
    assert set(labels.colormap.color_dict) == {None, 0, 1, 2, 3}
    assert record_in(labels)["stack"] == [2, None, None]
    (other,) = record_in(labels)["earlier"]
    assert other["stack"] == ("whole" if before == "applied" else before)
    whole = segment_layer(layer, 3, level=0)[0]
    update_layer(labels, whole)
    for now, made in zip(layer_levels(labels), layer_levels(whole), strict=True):
        np.testing.assert_array_equal(np.asarray(now), np.asarray(made))
    assert "earlier" not in record_in(labels)


def test_slice_of_channels_replaces_no_other_slice(ramp):
    layers = [Image(ramp, rgb=False), Image(ramp[..., ::-1].copy(), rgb=False)]
    labels, colors = segment_layer(layers, 3, stack="each")
    earlier = [labels, *colors]
    were = [np.array(each.data) for each in earlier]
    labels, colors = segment_layer(layers, 2, stack=1)
    run = [labels, *colors]
    for new in run:
        update_layer(find_result(earlier, new), new)
    for old, new, was in zip(earlier, run, were, strict=True):
        np.testing.assert_array_equal(old.data[1], new.data[1])
        np.testing.assert_array_equal(old.data[[0, 2, 3]], was[[0, 2, 3]])
        assert not np.array_equal(old.data[1], was[1])


def test_slice_keeps_colors_behind_a_highlight(ramp):
    layer = Image(ramp, rgb=False)
    labels = segment_layer(layer, 3)[0]
    color = tuple(labels.colormap.color_dict[3])
    clusters = Clusters(labels)
    clusters.highlight([1])
    update_layer(labels, segment_layer(layer, 2, stack=2)[0])
    assert tuple(labels.colormap.color_dict[3]) == color


def test_slice_of_another_shape_replaces_the_data(ramp):
    earlier = segment_layer(Image(ramp, rgb=False), 3)[0]
    smaller = Image(ramp[:, :6], rgb=False)
    update_layer(earlier, segment_layer(smaller, 3, stack=2)[0])
    assert earlier.data.shape == (4, 6, 10)
    assert not earlier.data[[0, 1, 3]].any()


# ------------------------------------------------------------------ each slice


@pytest.mark.parametrize("lazy", [False, True])
def test_one_model_for_each_slice(film, quadrant_labels, lazy):
    layer = Image(make_data(film, False), rgb=True, **PLACE)
    if lazy:
        layer.data = da.from_array(film, chunks=(2, 9, 9, 3))
    labels, recolored = segment_layer(layer, 4, stack="each", method="full")
    expected = segment_slices(film, 4, rgb=True, method="full")
    np.testing.assert_array_equal(labels.data, np.stack([quadrant_labels] * 3))
    np.testing.assert_array_equal(recolored.data, expected.recolored)
    for label in range(1, 5):
        color = film[:, quadrant_labels == label].reshape(-1, 3).mean(axis=0)
        shown = labels.colormap.color_dict[label]
        np.testing.assert_allclose(shown[:3], np.rint(color) / 255, atol=1e-6)
    assert labels.features["pixels"].tolist() == [300, 330, 300, 330]
    for result in (labels, recolored):
        assert isinstance(result.data, da.Array) == lazy
        np.testing.assert_allclose(result.extent.world, layer.extent.world)
    known = json.loads(json.dumps(record_in(labels)))
    assert known == record_in(labels)
    assert known["model"] == expected.model.to_dict()
    again, _ = segment_layer(layer, **known["options"], stack=known["stack"])
    np.testing.assert_array_equal(again.data, labels.data)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("level", [0, 1])
def test_one_model_for_each_slice_with_fewer_slices_in_coarse_levels(ramp, level, lazy):
    finest = ramp.repeat(2, axis=0).repeat(2, axis=1)
    arrays = [finest, finest[::2, ::2]]
    data = [make_data(each, lazy) for each in arrays]
    layer = Image(data, multiscale=True, rgb=False, **PLACE)
    labels, recolored = segment_layer(layer, 3, stack="each", level=level)
    fitted = segment_slices(arrays[level], 3, rgb=False)
    for n, array in enumerate(arrays):
        for z in range(len(array)):
            ratio = len(arrays[level]) / len(array)
            model = fitted.model.models[min(round(z * ratio), len(arrays[level]) - 1)]
            expected = model.apply(array[z])
            np.testing.assert_array_equal(labels.data[n][z], expected[0])
            np.testing.assert_array_equal(recolored.data[n][z], expected[1])
    assert record_in(labels)["level"] == level
    np.testing.assert_allclose(labels.extent.world, layer.extent.world)


@pytest.mark.parametrize("place", [0, 3, 5, 7])
def test_one_slice_with_fewer_slices_in_coarse_levels(ramp, place):
    """The painted slice of the coarse level is the slice that napari shows."""
    finest = ramp.repeat(2, axis=0).repeat(2, axis=1)
    layer = Image([finest, finest[::2, ::2]], multiscale=True, rgb=False)
    mask = np.zeros(finest.shape, int)
    mask[place, :, 3:] = 1
    labels, _ = segment_layer(layer, 2, stack=place, mask=Labels(mask), level=1)
    shown = min(int(np.round(place / 2)), 3)
    assert labels.data[0][place, :, 3:].all()
    assert labels.data[0].astype(bool).sum() == (mask > 0).sum()
    assert labels.data[1][shown, :, 3:].all()
    assert labels.data[1].astype(bool).sum() == 8 * 7


def test_2d_image_is_a_stack_of_one_slice(quadrants, quadrant_labels):
    labels, _ = segment_layer(Image(quadrants, rgb=True), 4, stack="each")
    np.testing.assert_array_equal(labels.data, quadrant_labels)


def test_index_of_a_row_is_not_a_slice():
    image = np.random.default_rng(0).integers(0, 255, (20, 30)).astype(np.uint8)
    with pytest.raises(ValueError, match="stack must be 'whole', 'each' or the index of a slice"):
        segment_layer(Image(image, rgb=False), 2, stack=0)
