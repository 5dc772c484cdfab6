"""The option `blur` on napari layers: levels, stacks and axes of time."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image
from scipy.ndimage import gaussian_filter
from skimage import data

from napari_kmeans import segment, segment_layer
from napari_kmeans.options import Options
from napari_kmeans.viewer.background.task import Task
from napari_kmeans.viewer.from_layers.source import Source
from napari_kmeans.viewer.to_layers.apply_model import ApplyWork
from napari_kmeans.viewer.to_layers.as_python import script_of
from napari_kmeans.viewer.to_layers.layers import coreset_layer
from napari_kmeans.viewer.to_layers.result import Result

COFFEE = data.coffee()[:120, :160]


def nearest(image, sigma, centers):
    """Return the label of the nearest center of each pixel of a blurred image (..., C)."""
    arguments = {"sigma": sigma, "mode": "constant", "truncate": 4}
    weights = gaussian_filter(np.ones(image.shape[:-1]), **arguments)
    channels = [
        gaussian_filter(image[..., c].astype(float), **arguments) for c in range(image.shape[-1])
    ]
    points = np.stack(channels, axis=-1) / weights[..., None]
    return ((points[..., None, :] - centers) ** 2).sum(axis=-1).argmin(axis=-1) + 1


def run(layer, **options):
    task = Task.of(
        [layer],
        Options(n_clusters=4, **options),
        mask=None,
        level=options.pop("level", None),
        stack="whole",
    )
    return task.run()


@pytest.mark.parametrize("level", [0, 1])
def test_blur_is_in_pixels_of_the_finest_level(level):
    levels = [COFFEE, COFFEE[::2, ::2], COFFEE[::4, ::4]]
    layer = Image(levels, rgb=True, multiscale=True)
    task = Task.of([layer], Options(n_clusters=4, blur=4), mask=None, level=level, stack="whole")
    seg = task.run()
    for number, (image, labels) in enumerate(zip(levels, seg.labels, strict=True)):
        expected = nearest(image, 4 / 2**number, seg.model.cluster_centers_)
        np.testing.assert_array_equal(labels, expected)
    # The model has the blur of the finest level.
    assert seg.model.blur == 4
    np.testing.assert_array_equal(seg.model.predict(COFFEE), seg.labels[0])
    # *Apply to* paints the same labels.
    applied = ApplyWork(seg.model, Source.of(layer)).run()
    for one, two in zip(applied.labels, seg.labels, strict=True):
        np.testing.assert_array_equal(one, two)
    counts = np.bincount(seg.labels[0].ravel(), minlength=5)[1:]
    np.testing.assert_array_equal(applied.table["pixels"], counts)


@pytest.mark.parametrize(
    ("arguments", "sigma"),
    [
        ({"axis_labels": ("t", "y", "x")}, (0, 2, 2)),
        ({"axis_labels": ("Time", "y", "x")}, (0, 2, 2)),
        ({"units": ("second", "um", "um")}, (0, 2, 2)),
        ({"axis_labels": ("z", "y", "x"), "units": ("um",) * 3}, (2, 2, 2)),
        ({}, (2, 2, 2)),
    ],
)
def test_axes_of_time_are_not_blurred(arguments, sigma):
    film = np.random.default_rng(0).random((5, 40, 50))
    seg = run(Image(film, **arguments), blur=2)
    expected = nearest(film[..., None], sigma, seg.model.cluster_centers_)
    np.testing.assert_array_equal(seg.labels, expected)
    # The model blurs the same axes elsewhere.
    np.testing.assert_array_equal(seg.model.predict(film), seg.labels)


@pytest.mark.parametrize("stack", ["each", 1])
def test_slices_of_a_layer_are_blurred_in_their_plane(stack):
    film = np.random.default_rng(0).random((3, 40, 50))
    labels = segment_layer(Image(film), 4, blur=2, stack=stack)[0].data
    expected = segment(film[1], 4, blur=2).labels
    if stack == 1:
        np.testing.assert_array_equal(labels[1], expected)
    else:
        # The clusters of a stack have numbers of their own.
        pairs = {*zip(labels[1].ravel().tolist(), expected.ravel().tolist(), strict=True)}
        assert len(pairs) == 4


def test_points_of_the_coreset_have_the_labels_of_their_centers():
    layer = Image(COFFEE, rgb=True)
    seg = run(layer, blur=2)
    features = coreset_layer(seg, Source.of(layer)).features
    squares = ((seg.coreset.points[:, None] - seg.model.cluster_centers_) ** 2).sum(axis=-1)
    np.testing.assert_array_equal(features["index"], squares.argmin(axis=1) + 1)


@pytest.mark.parametrize("level", [0, 1])
def test_copied_script_gives_the_same_labels(level, tmp_path):
    levels = [COFFEE, COFFEE[::2, ::2], COFFEE[::4, ::4]]
    layer = Image(levels, rgb=True, multiscale=True)
    task = Task.of([layer], Options(n_clusters=4, blur=4), mask=None, level=level, stack="whole")
    seg = task.run()
    text = script_of(Result(task, seg, ()), "masks")
    for number, image in enumerate(levels):
        np.save(tmp_path / f"image-{number}.npy", image)
    text = text.replace('np.load(f"', f'np.load(f"{tmp_path}/')
    values: dict = {}
    exec(text, values)
    for one, two in zip(values["labels"], seg.labels, strict=True):
        np.testing.assert_array_equal(one, two)
