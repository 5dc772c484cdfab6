"""Memberships and confidence: truth is a loop in numpy, and scikit-learn's silhouette."""

from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from skimage import data
from skimage.color import rgb2lab

from napari_kmeans import (
    add_confidence,
    apply_classes,
    segment,
    segment_slices,
    split_anew,
)
from napari_kmeans.imaging import blocks

COFFEE = data.coffee()[:60, :70]
GRAY = np.random.default_rng(0).integers(0, 4000, (6, 20, 30)).astype(np.uint16)
CHANNELS = np.random.default_rng(1).normal(size=(5, 24, 25)).astype(np.float32)

IMAGES = {
    "rgb": (COFFEE, {}),
    "lab": (COFFEE, {"color_space": "lab"}),
    "blur": (COFFEE, {"blur": 1.5}),
    "gray volume": (GRAY, {}),
    "channels": (CHANNELS, {"channel_axis": 0, "normalize": "zscore"}),
}


def points_of(image, model):
    """Return the points (..., F) of an image by other means than those of the package."""
    if model.color_space == "lab":
        return rgb2lab(image)
    if model.channel_axis == 0:
        return (np.moveaxis(image, 0, -1) - np.array(model.offset)) / model.scale
    return image.astype(float) if model.rgb else image[..., None].astype(float)


def squares_of(image, model):
    """Return the squared distance of each pixel from each class, (..., K)."""
    points = points_of(image, model)
    squares = cdist(points.reshape(-1, points.shape[-1]), model.cluster_centers_, "sqeuclidean")
    columns = [squares[:, model.center_labels == label].min(axis=1) for label in model.labels]
    return np.stack(columns, axis=-1).reshape(*points.shape[:-1], -1)


@pytest.mark.parametrize("name", ["rgb", "lab", "gray volume", "channels"])
@pytest.mark.parametrize("exponent", [1.2, 2.0, 5.0])
def test_memberships_are_those_of_the_formula(name, exponent):
    image, options = IMAGES[name]
    model = segment(image, 4, **options).model
    memberships = model.memberships(image, exponent=exponent)
    ratios = squares_of(image, model)[..., :, None] / squares_of(image, model)[..., None, :]
    expected = 1 / (ratios ** (1 / (exponent - 1))).sum(axis=-1)
    assert memberships.dtype == np.float32
    np.testing.assert_allclose(memberships, expected, atol=2e-6)
    np.testing.assert_allclose(memberships.sum(axis=-1), 1, atol=1e-6)
    assert (memberships.argmax(axis=-1) + 1 == model.predict(image)).all()


@pytest.mark.parametrize("name", ["rgb", "lab", "gray volume", "channels"])
def test_confidence_is_the_simplified_silhouette(name):
    image, options = IMAGES[name]
    model = segment(image, 4, **options).model
    first, second = np.sqrt(np.sort(squares_of(image, model), axis=-1)[..., :2]).T
    confidence = model.confidence(image)
    np.testing.assert_allclose(confidence, (1 - first / second).T, atol=2e-6)
    assert confidence.dtype == np.float32


def test_a_merged_class_has_the_distance_of_its_nearest_center():
    segmentation = segment(COFFEE, 5)
    model = segmentation.model
    model = model.with_classes(model.classes.merge([2, 4]).rename(2, "cup"))
    memberships, squares = model.memberships(COFFEE), squares_of(COFFEE, model)
    expected = (1 / squares) / (1 / squares).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(memberships, expected, atol=2e-6)
    assert (model.labels[memberships.argmax(axis=-1)] == model.predict(COFFEE)).all()
    nearest, second = np.sqrt(np.sort(squares, axis=-1)[..., :2]).T
    np.testing.assert_allclose(model.confidence(COFFEE), (1 - nearest / second).T, atol=2e-6)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("chunks", [(7, 11, 5), (64, 64, 64)])
def test_dask_and_numpy_are_equal(name, chunks, monkeypatch):
    image, options = IMAGES[name]
    axes = image.ndim - ("channel_axis" in options or image is COFFEE)
    mask = np.random.default_rng(2).random((4, *image.shape)) < 0.9
    mask = mask[0, ..., 0] if image is COFFEE else mask[0, 0] if axes == 2 else mask[0]
    model = segment(image, 3, mask=mask, **options).model
    memberships = model.memberships(image, mask=mask)
    confidence = model.confidence(image, mask=mask)
    lazy = da.from_array(image, chunks=chunks)
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", 100)
    lazy_memberships = model.memberships(lazy, mask=mask)
    lazy_confidence = model.confidence(lazy, mask=da.from_array(mask, chunks=5))
    assert isinstance(lazy_memberships, da.Array)
    assert isinstance(lazy_confidence, da.Array)
    assert lazy_memberships.shape == memberships.shape == (*mask.shape, 3)
    np.testing.assert_array_equal(lazy_memberships.compute(), memberships)
    np.testing.assert_array_equal(lazy_confidence.compute(), confidence)
    assert np.isnan(memberships[~mask]).all()
    assert (np.isnan(confidence) == ~mask).all()


def test_pixels_on_centers_belong_to_one_class():
    image = np.zeros((4, 6), np.uint8)
    image[:, 2:], image[:, 4:] = 100, 250
    model = segment(image, 3).model
    expected = np.eye(3)[np.repeat([0, 1, 2], 2)]
    np.testing.assert_array_equal(model.memberships(image), np.broadcast_to(expected, (4, 6, 3)))
    np.testing.assert_array_equal(model.confidence(image), np.ones((4, 6)))
    between = np.array([[50, 175]], np.uint8)
    np.testing.assert_array_equal(model.confidence(between), [[0, 0]])


def test_one_class_is_sure_of_all_pixels():
    model = segment(COFFEE, 1).model
    assert (model.confidence(COFFEE) == 1).all()
    assert (model.memberships(COFFEE) == 1).all()


def test_equal_centers_of_two_classes_share_their_pixels():
    model = segment(COFFEE, 3).model
    centers = model.cluster_centers_.copy()
    centers[1] = centers[0]
    twice = replace(model, cluster_centers_=centers)
    memberships = twice.memberships(COFFEE)
    np.testing.assert_array_equal(memberships[..., 0], memberships[..., 1])
    near = twice.predict(COFFEE) == 1
    assert (twice.confidence(COFFEE)[near] == 0).all()
    on_both = np.full((1, 1, 3), centers[0])
    model = replace(twice, dtype=np.dtype(np.float64))
    np.testing.assert_allclose(model.memberships(on_both), [[[0.5, 0.5, 0]]])
    assert model.confidence(on_both) == 0


def test_transparent_and_infinite_pixels_have_no_confidence():
    rgba = np.dstack([COFFEE, np.full(COFFEE.shape[:2], 255, np.uint8)])
    rgba[3, 4, 3] = 0
    model = segment(rgba, 3).model
    assert np.argwhere(np.isnan(model.confidence(rgba))).tolist() == [[3, 4]]
    infinite = CHANNELS.copy()
    infinite[2, 1, 1] = np.inf
    model = segment(infinite, 3, channel_axis=0).model
    assert np.argwhere(np.isnan(model.confidence(infinite))).tolist() == [[1, 1]]


def test_bad_exponents_and_split_classes_are_refused():
    model = segment(COFFEE, 3).model
    with pytest.raises(ValueError, match=r"exponent must be .* 1\.01 .* got 1"):
        model.memberships(COFFEE, exponent=1)
    split = split_anew(COFFEE, model, label=2, n_clusters=2)
    with pytest.raises(ValueError, match=r"confidence must be .* split anew"):
        split.confidence(COFFEE)


@pytest.mark.parametrize("lazy", [False, True])
def test_each_slice_of_a_stack_has_its_own_classes(lazy):
    stack = np.stack([COFFEE, np.zeros_like(COFFEE), COFFEE[::-1] // 2])
    stack[1, :30] = 200
    mask = np.ones(stack.shape[:3], bool)
    mask[0, 5:9] = False
    image = da.from_array(stack, chunks=(1, 40, 40, 3)) if lazy else stack
    with pytest.warns(UserWarning, match="gave fewer clusters in 1 of 3"):
        model = segment_slices(image, 3, mask=mask).model
    memberships, confidence = map(
        np.asarray, (model.memberships(image, mask=mask), model.confidence(image, mask=mask))
    )
    assert memberships.shape == (*mask.shape, 3)
    labels = np.asarray(model.apply(image, mask=mask)[0])
    for number, (own, names) in enumerate(zip(model.models, model.names, strict=True)):
        expected = np.zeros((*mask.shape[1:], 3), np.float32)
        expected[..., names[1:] - 1] = own.memberships(stack[number], mask=mask[number])
        expected[~mask[number]] = np.nan
        np.testing.assert_array_equal(memberships[number], expected)
        np.testing.assert_array_equal(
            confidence[number], own.confidence(stack[number], mask=mask[number])
        )
    inside = np.where(np.isnan(memberships), -1, memberships).argmax(axis=-1) + 1
    np.testing.assert_array_equal(np.where(mask, inside, 0), labels)


def test_a_slice_that_is_left_out_has_no_memberships():
    stack, mask = np.stack([COFFEE, COFFEE]), np.ones((2, *COFFEE.shape[:2]), bool)
    mask[0] = False
    model = segment_slices(stack, 3, mask=mask).model
    memberships = model.memberships(stack, mask=mask)
    assert np.isnan(memberships[0]).all()
    np.testing.assert_allclose(memberships[1].sum(axis=-1), 1, atol=1e-6)


def mean_by_loop(labels, confidence):
    return [confidence[labels == label].mean(dtype=float) for label in range(1, labels.max() + 1)]


@pytest.mark.parametrize("lazy", [False, True])
def test_the_table_has_the_mean_confidence_of_each_class(lazy):
    mask = np.random.default_rng(3).random(COFFEE.shape[:2]) < 0.8
    image = da.from_array(COFFEE, chunks=(25, 40, 3)) if lazy else COFFEE
    segmentation = segment(image, 4, mask=mask)
    table = add_confidence(segmentation, image, mask=mask).table
    expected = mean_by_loop(np.asarray(segmentation.labels), segmentation.model.confidence(COFFEE))
    np.testing.assert_allclose(table["confidence"], expected, rtol=1e-6)
    assert list(table).index("confidence") == list(table).index("mean red") - 1
    assert "confidence" not in segmentation.table


def test_pixels_of_small_regions_count_in_the_class_that_they_have():
    segmentation = segment(COFFEE, 4, min_size=20)
    model, labels = segmentation.model, segmentation.labels
    points = COFFEE.reshape(-1, 3).astype(float)
    distances = np.linalg.norm(points[:, None] - model.cluster_centers_, axis=-1)
    rows, own = np.arange(len(points)), labels.ravel().astype(int) - 1
    a = distances[rows, own]
    distances[rows, own] = np.inf
    b = distances.min(axis=1)
    silhouettes = ((b - a) / np.maximum(a, b)).reshape(labels.shape)
    assert (silhouettes < 0).sum() > 10
    table = add_confidence(segmentation, COFFEE).table
    np.testing.assert_allclose(table["confidence"], mean_by_loop(labels, silhouettes), rtol=1e-5)
    # The mean confidence in the nearest classes would be larger.
    nearest = mean_by_loop(labels, model.confidence(COFFEE))
    assert (table["confidence"] < np.array(nearest) - 0.01).any()


def test_confidence_of_several_images_is_that_of_all_pixels():
    images = [COFFEE[:50], COFFEE[10:, :40]]
    masks = [None, np.random.default_rng(3).random((50, 40)) < 0.5]
    segmentation = segment(images, 3, mask=masks)
    table = add_confidence(segmentation, images, mask=masks).table
    labels = np.concatenate([each.ravel() for each in segmentation.labels])
    confidence = np.concatenate([segmentation.model.confidence(each).ravel() for each in images])
    np.testing.assert_allclose(table["confidence"], mean_by_loop(labels, confidence), rtol=1e-6)


@pytest.mark.parametrize("lazy", [False, True])
def test_tables_of_slices_have_the_mean_confidence(lazy):
    image = da.from_array(GRAY, chunks=(2, 9, 30)) if lazy else GRAY
    mask = np.random.default_rng(5).random(GRAY.shape) < 0.8
    mask[2] = False
    segmentation = segment_slices(image, 3, mask=mask)
    result = add_confidence(segmentation, image, mask=mask)
    labels = np.asarray(segmentation.labels)
    confidence = segmentation.model.confidence(GRAY, mask=mask)
    np.testing.assert_allclose(result.table["confidence"], mean_by_loop(labels, confidence))
    own = result.slice_table
    expected = [
        confidence[number][labels[number] == index].mean(dtype=float)
        for number, index in zip(own["slice"], own["index"], strict=True)
    ]
    np.testing.assert_allclose(own["confidence"], expected, rtol=1e-6)
    assert own.drop(columns="confidence").equals(segmentation.slice_table)
    assert result.distortion == segmentation.distortion
    assert "confidence" not in segmentation.table
    with pytest.raises(ValueError, match=r"image must be .* \(6, 20, 30\), got ndarray"):
        add_confidence(segmentation, GRAY[..., :29])


def test_merged_classes_have_no_confidence_until_it_is_measured_again():
    segmentation = add_confidence(segment(COFFEE, 4), COFFEE)
    merged = apply_classes(segmentation, segmentation.model.classes.merge([2, 3]))
    assert np.isnan(merged.table["confidence"]).tolist() == [False, True, False]
    again = add_confidence(merged, COFFEE).table["confidence"]
    confidence = merged.model.confidence(COFFEE)
    expected = [confidence[merged.labels == label].mean(dtype=float) for label in (1, 2, 4)]
    np.testing.assert_allclose(again, expected, rtol=1e-6)


def test_confidence_needs_the_image_of_the_segmentation():
    segmentation = segment(COFFEE, 3)
    with pytest.raises(TypeError, match="segmentation must be a Segmentation"):
        add_confidence(segmentation.labels, COFFEE)
    with pytest.raises(ValueError, match=r"image must be that of .* shape \(60, 70\)"):
        add_confidence(segmentation, COFFEE[:50])
    with pytest.raises(ValueError, match=r"image must be that of .* and 1 channel, got ndarray"):
        add_confidence(segment(COFFEE[..., 0], 3), CHANNELS)
    several = segment([COFFEE, COFFEE[:50]], 3)
    for images in (COFFEE, [COFFEE], [COFFEE, COFFEE], [COFFEE[:50], COFFEE]):
        with pytest.raises(ValueError, match=r"image must be that of .*\(60, 70\), \(50, 70\)\]"):
            add_confidence(several, images)
    with pytest.raises(ValueError, match="mask must be a list with an entry for each of 2 images"):
        add_confidence(several, [COFFEE, COFFEE[:50]], mask=[None])
