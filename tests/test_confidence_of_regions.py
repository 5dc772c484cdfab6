"""The confidence of models that smooth labels, against a loop over all pixels."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import dask.array as da
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_kmeans import add_confidence, apply_classes, segment, segment_slices
from napari_kmeans.imaging import blocks, smoothing

pytestmark = pytest.mark.usefixtures("separate_chunks")


def noisy_regions(*shape, n_channels=0, seed=0):
    """Return an image of smooth regions with as much noise as contrast."""
    rng = np.random.default_rng(seed)
    smooth = [gaussian_filter(rng.normal(size=shape), 3) for _ in range(max(n_channels, 1))]
    smooth = np.stack(smooth, axis=-1) if n_channels else smooth[0]
    image = smooth / smooth.std() + rng.normal(0, 0.7, smooth.shape)
    return np.clip(np.rint(128 + 30 * image), 0, 255).astype(np.uint8)


IMAGES = {
    "color": (noisy_regions(30, 34, n_channels=3), {"rgb": True}),
    "gray": (noisy_regions(30, 34), {}),
    "volume": (noisy_regions(7, 14, 12).astype(np.uint16), {"spacing": (2.0, 1.0, 0.5)}),
    "film": (noisy_regions(4, 16, 18), {"spacing": (0.0, 1.0, 1.0)}),
    "channels": (
        np.moveaxis(noisy_regions(24, 22, n_channels=4), -1, 0).astype(np.float32),
        {"channel_axis": 0},
    ),
}


def silhouettes(image, labels, model):
    """Return the silhouette of each pixel, with the energies of smoothing, by a loop."""
    spacing = model.cleaning.spacing_of(labels.ndim)
    nearest = min(distance for distance in spacing if distance)
    weights = {}
    for step in product(*((-1, 0, 1) if distance else (0,) for distance in spacing)):
        if any(step):
            length = np.sqrt(sum((a * b) ** 2 for a, b in zip(step, spacing, strict=True)))
            weights[step] = model.cleaning.smoothing * nearest / length
    found = np.full(labels.shape, np.nan, np.float32)
    for place in np.ndindex(labels.shape):
        if labels[place] not in model.labels:
            continue
        energies = dict.fromkeys(model.labels.tolist(), np.inf)
        for center, label in zip(model.cluster_centers_, model.center_labels.tolist(), strict=True):
            square = ((image[place].astype(float) - center) ** 2).sum() / (2 * model.variance)
            energies[label] = min(energies[label], square)
        for step, weight in weights.items():
            neighbor = tuple(a + b for a, b in zip(place, step, strict=True))
            is_inside = all(0 <= a < b for a, b in zip(neighbor, labels.shape, strict=True))
            if is_inside and labels[neighbor] in model.labels:
                for label in energies:
                    energies[label] += weight * (labels[neighbor] != label)
        a = np.sqrt(energies.pop(int(labels[place])))
        b = np.sqrt(min(energies.values()))
        found[place] = (b - a) / max(a, b)
    return found


def with_channels_last(image, options):
    axis = options.get("channel_axis", -1 if "rgb" in options else None)
    return image[..., None] if axis is None else np.moveaxis(image, axis, -1)


@pytest.fixture(params=IMAGES)
def fitted(request):
    image, options = IMAGES[request.param]
    points = with_channels_last(image, options)
    mask = np.random.default_rng(2).random(points.shape[:-1]) < 0.95
    return image, points, mask, segment(image, 4, smoothing=0.8, mask=mask, **options)


def test_neighbors_of_other_classes_lower_the_confidence(fitted):
    image, points, mask, segmentation = fitted
    model, labels = segmentation.model, segmentation.labels
    expected = silhouettes(points, labels, model)
    np.testing.assert_allclose(model.confidence(image, mask=mask), expected, atol=1e-5)
    own = model.confidence(image, mask=mask, labels=labels)
    np.testing.assert_allclose(own, expected, atol=1e-5)
    table = add_confidence(segmentation, image, mask=mask).table
    means = [expected[labels == label].mean(dtype=float) for label in table["index"]]
    np.testing.assert_allclose(table["confidence"], means, atol=1e-5)


@pytest.mark.parametrize("n_pixels", [60, 10**6])
def test_labels_by_hand_have_the_confidence_of_their_neighbors(fitted, n_pixels, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", n_pixels)
    image, points, mask, segmentation = fitted
    model = segmentation.model
    labels = np.random.default_rng(1).choice([-3, 0, 1, 2, 3, 4, 9], mask.shape)
    labels[~mask] = 0
    expected = silhouettes(points, labels, model)
    confidence = model.confidence(image, mask=mask, labels=labels)
    np.testing.assert_allclose(confidence, expected, atol=1e-5)


@pytest.mark.parametrize("length", [1, 5, 11])
def test_confidence_does_not_depend_on_chunks(fitted, length):
    image, _, mask, segmentation = fitted
    model, labels = segmentation.model, segmentation.labels
    expected = model.confidence(image, mask=mask)
    lazy = da.from_array(image, chunks=length)
    lazy_mask = da.from_array(mask, chunks=length)
    with_labels = model.confidence(lazy, mask=lazy_mask, labels=da.from_array(labels, chunks=4))
    np.testing.assert_array_equal(with_labels.compute(), expected)
    if length > 1:
        found = model.confidence(lazy, mask=lazy_mask)
        np.testing.assert_array_equal(found.compute(), expected)


@pytest.mark.parametrize("length", [None, 5, 11])
def test_undecided_pixels_are_those_of_low_confidence(fitted, length):
    image, _, mask, segmentation = fitted
    is_undecided = segmentation.model.confidence(image, mask=mask) < 0.3
    assert 0.02 < is_undecided.mean() < 0.4
    model = segmentation.model.with_cleaning(
        replace(segmentation.model.cleaning, min_confidence=0.3)
    )
    pixels = image if length is None else da.from_array(image, chunks=length)
    labels = np.asarray(model.predict(pixels, mask=mask))
    expected = np.where(is_undecided, 0, segmentation.labels)
    np.testing.assert_array_equal(labels, expected)
    # The confidence does not depend on which pixels are undecided.
    confidence = np.asarray(model.confidence(pixels, mask=mask))
    decided = np.asarray(model.confidence(pixels, mask=mask, labels=labels))
    np.testing.assert_array_equal(decided, np.where(labels > 0, confidence, np.nan))
    np.testing.assert_array_equal(confidence, segmentation.model.confidence(image, mask=mask))


def test_undecided_pixels_do_not_depend_on_chunks(monkeypatch):
    # With few sweeps, the halos of chunks are small.
    monkeypatch.setattr(smoothing, "N_SWEEPS", 1)
    image = noisy_regions(120, 150)
    model = segment(image, 5, smoothing=0.4, min_confidence=0.3).model
    expected = model.predict(image)
    for length in (7, 9, 10, 13):
        found = model.predict(da.from_array(image, chunks=length))
        np.testing.assert_array_equal(found.compute(), expected)


@pytest.mark.parametrize("shape", [(40, 50), (1, 40, 50), (40, 1, 50), (40, 50, 1)])
def test_axes_without_neighbors_may_be_the_last(shape):
    image = noisy_regions(40, 50)
    spacing = (1.0, 0.0)
    whole = tuple(spacing[0] if length == 40 else 0.0 for length in shape)
    options = {"smoothing": 1.0, "min_confidence": 0.3}
    expected = segment(np.ascontiguousarray(image.T), 3, spacing=(0.0, 1.0), **options)
    result = segment(image.reshape(shape), 3, spacing=whole, **options)
    np.testing.assert_array_equal(result.labels.reshape(image.shape), expected.labels.T)
    confidence = result.model.confidence(image.reshape(shape)).reshape(image.shape)
    theirs = expected.model.confidence(np.ascontiguousarray(image.T)).T
    np.testing.assert_allclose(confidence, theirs, atol=1e-5)
    fortran = np.asfortranarray(result.labels)
    own = result.model.confidence(image.reshape(shape), labels=fortran)
    same = result.model.confidence(image.reshape(shape), labels=result.labels)
    np.testing.assert_array_equal(own, same)


@pytest.mark.parametrize("rows", [(12, 0, 12, 6), (0, 30), (2, 0, 2, 26), (30, 0)])
def test_chunks_without_pixels_change_nothing(rows):
    image = noisy_regions(30, 34)
    segmentation = segment(image, 4, smoothing=1.0)
    model, expected = segmentation.model, segmentation.model.confidence(image)
    lazy = da.from_array(image, chunks=(rows, (20, 14)))
    found = model.confidence(lazy)
    assert found.chunks == lazy.chunks
    np.testing.assert_array_equal(found.compute(), expected)
    found = model.confidence(lazy, labels=segmentation.labels, mask=np.ones(image.shape, bool))
    np.testing.assert_array_equal(found.compute(), expected)


def test_labels_outside_a_mask_are_no_neighbors(fitted):
    image, points, mask, segmentation = fitted
    inside = mask & (np.random.default_rng(8).random(mask.shape) < 0.7)
    model = segmentation.model
    labels = np.random.default_rng(1).integers(1, 5, mask.shape)
    expected = silhouettes(points, np.where(inside, labels, 0), model)
    confidence = model.confidence(image, mask=inside, labels=labels)
    np.testing.assert_allclose(confidence, expected, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"smoothing": 1.0, "min_confidence": 0.2}])
def test_an_image_in_memory_has_its_confidence_in_memory(options):
    image = noisy_regions(30, 34)
    segmentation = segment(image, 4, **options)
    labels = da.from_array(segmentation.labels, chunks=9)
    confidence = segmentation.model.confidence(image, labels=labels)
    assert isinstance(confidence, np.ndarray)
    expected = segmentation.model.confidence(image, labels=segmentation.labels)
    np.testing.assert_array_equal(confidence, expected)


def test_a_merged_class_has_neighbors_of_all_its_clusters(fitted):
    image, points, mask, segmentation = fitted
    merged = apply_classes(segmentation, segmentation.model.classes.merge([2, 3]))
    expected = silhouettes(points, merged.labels, merged.model)
    confidence = merged.model.confidence(image, mask=mask, labels=merged.labels)
    np.testing.assert_allclose(confidence, expected, atol=1e-5)


def test_each_slice_has_its_own_neighbors():
    image, _ = IMAGES["volume"]
    stack = segment_slices(image, 3, smoothing=0.8)
    confidence = stack.model.confidence(image)
    assert len(confidence) == len(image)
    for plane, labels, own, model, names in zip(
        image, stack.labels, confidence, stack.model.models, stack.model.names, strict=True
    ):
        numbers = np.searchsorted(names, labels)
        expected = silhouettes(plane[..., None], numbers, model)
        np.testing.assert_allclose(own, expected, atol=1e-5)


def test_regions_are_surer_than_their_noisy_pixels():
    truth = np.zeros((60, 60), int)
    truth[:, 30:] = 1
    image = np.random.default_rng(0).normal(100 + 50 * truth, 30)
    plain, smooth = segment(image, 2), segment(image, 2, smoothing=2)
    is_right = smooth.labels == truth + 1
    assert is_right.mean() > 0.98
    inside = np.abs(np.arange(60) - 29.5) > 3
    assert np.quantile(smooth.model.confidence(image)[:, inside], 0.01) > 0.3
    assert np.quantile(plain.model.confidence(image)[:, inside], 0.05) < 0.3
    sure = segment(image, 2, smoothing=2, min_confidence=0.2).labels > 0
    assert sure.mean() > 0.95
    assert (is_right[sure]).mean() >= is_right.mean()


def test_one_class_is_sure_of_all_pixels():
    image, _ = IMAGES["gray"]
    model = segment(image, 1, smoothing=1).model
    assert (model.confidence(image) == 1).all()
