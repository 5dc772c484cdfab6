"""Recolored layers follow merges and splits of classes, compared with `apply_classes`."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image

from napari_kmeans import apply_classes
from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.options import Options
from napari_kmeans.viewer.background.task import Task
from napari_kmeans.viewer.from_layers.source import WHOLE
from napari_kmeans.viewer.to_layers.clusters import Clusters
from napari_kmeans.viewer.to_layers.layers import labels_layer, recolored_layers
from napari_kmeans.viewer.to_layers.recoloring import recolor_labels

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (4, 30, 41, 3)).astype(np.uint8)
ALPHA = NOISE[..., [0, 1, 2, 2]].copy()
ALPHA[..., 3] = np.where(NOISE[..., 0] > 40, 255, 0)

LAYERS = {
    "rgb": lambda: [Image(NOISE[0], rgb=True)],
    "alpha": lambda: [Image(ALPHA[0], rgb=True)],
    "gray": lambda: [Image(NOISE[0, ..., 0].astype(np.uint16))],
    "floats with NaN": lambda: [Image(np.where(NOISE[..., 0] < 9, np.nan, NOISE[..., 0] / 255))],
    "lazy": lambda: [Image(da.from_array(NOISE, chunks=(1, 20, 20, 3)), rgb=True)],
    "multiscale": lambda: [Image([NOISE[0], NOISE[0, ::2, ::2]], rgb=True, multiscale=True)],
    "channels": lambda: [Image(NOISE[..., channel]) for channel in range(3)],
    "lazy channels": lambda: [
        Image(da.from_array(NOISE[0, ..., channel], chunks=20)) for channel in range(2)
    ],
}


def levels_of(layers):
    return [
        np.array(level)
        for layer in layers
        for level in (layer.data if layer.multiscale else [layer.data])
    ]


def check_same(arrays, expected):
    for one, two in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", LAYERS)
def test_merges_show_in_the_recolored_layers_as_apply_classes_shows_them(kind):
    task = Task.of(LAYERS[kind](), Options(n_clusters=6), mask=None, level=None, stack=WHOLE)
    outcome, source = task.run(), task.source
    labels, recolored = labels_layer(outcome, source), recolored_layers(outcome, source)
    lazy = is_dask(recolored[0].data)
    clusters = Clusters(labels, source, outcome.model, recolored)
    states = [levels_of(recolored)]
    for group in ([2, 5], [3, 4], [1, 2]):
        clusters.merge(group)
        states.append(levels_of(recolored))
    expected = apply_classes(outcome, clusters.classes).recolored
    if source.channels:
        expected = np.moveaxis(np.asarray(expected), -1, 0)
    check_same(states[-1], list(expected) if source.channels or source.multiscale else [expected])
    assert len({state[0].tobytes() for state in states}) == 4
    for state in states[-2::-1]:
        clusters.undo()
        check_same(levels_of(recolored), state)
    for state in states[1:]:
        clusters.redo()
        check_same(levels_of(recolored), state)
    assert is_dask(recolored[0].data) == lazy
    # The arrays of the result belong to the user.
    untouched = recolored_layers(outcome, source)
    check_same(levels_of(untouched), states[0])


def test_only_the_clustered_slice_is_recolored():
    stack = NOISE[..., 0]
    task = Task.of([Image(stack)], Options(n_clusters=4), mask=None, level=None, stack=1)
    outcome, source = task.run(), task.source
    labels, recolored = labels_layer(outcome, source), recolored_layers(outcome, source)
    before = np.array(recolored[0].data)
    labels.data[0] = 2
    Clusters(labels, source, outcome.model, recolored).merge([2, 3])
    after = np.array(recolored[0].data)
    np.testing.assert_array_equal(after[[0, 2, 3]], stack[[0, 2, 3]])
    mean = np.rint(stack[1][np.isin(outcome.labels[1], [2, 3])].mean())
    merged = np.isin(outcome.labels[1], [2, 3])
    np.testing.assert_array_equal(after[1], np.where(merged, mean, before[1]))


def test_an_edit_that_keeps_the_pixels_keeps_the_recolored_image():
    task = Task.of([Image(NOISE[0], rgb=True)], Options(), mask=None, level=None, stack=WHOLE)
    outcome, source = task.run(), task.source
    (recolored,) = recolored_layers(outcome, source)
    data = recolored.data
    clusters = Clusters(labels_layer(outcome, source), source, outcome.model, [recolored])
    clusters.set_color(1, "red")
    clusters.ignore([2])
    clusters.set_color_scheme("distinct")
    assert recolored.data is data
    # A script has replaced the pixels by others.
    recolored.data = data[::2]
    clusters.merge([1, 2])
    np.testing.assert_array_equal(recolored.data, data[::2])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_recolor_labels_paints_the_pixels_of_the_labels(dtype):
    image = RNG.integers(0, 100, (600, 500, 2)).astype(dtype)
    labels = RNG.integers(0, 9, image.shape[:2]).astype(np.uint16)
    labels[:3] = 60_000
    colors = {7: np.array([3, 4], dtype), 2: np.array([120, 5], dtype)}
    expected = image.copy()
    for label, color in colors.items():
        expected[labels == label] = color
    np.testing.assert_array_equal(recolor_labels(image, labels, colors), expected)
    lazy = recolor_labels(da.from_array(image, chunks=(200, 300, 2)), labels, colors)
    np.testing.assert_array_equal(lazy, expected)
    assert lazy.dtype == dtype
