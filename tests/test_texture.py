"""The option `texture`: truth is a loop over pixels, and mosaics of known textures."""

from __future__ import annotations

import json
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from skimage import data
from skimage.color import rgb2lab

from napari_kmeans import KMeansModel, segment, segment_slices, split_anew, summarize
from napari_kmeans.feature_space.space import FeatureSpace
from napari_kmeans.imaging import blocks
from napari_kmeans.imaging.blocks import open_images
from napari_kmeans.options import Options

COFFEE = data.coffee()[:45, :55]


def energies(image, kept, axes):
    """Return half the mean squared difference of each pixel (..., C) from its neighbors."""
    result = np.zeros(image.shape)
    for place in np.argwhere(kept):
        squares = []
        for axis in axes:
            for side in (-1, 1):
                other = place.copy()
                other[axis] += side
                if 0 <= other[axis] < kept.shape[axis] and kept[tuple(other)]:
                    difference = image[tuple(place)].astype(float) - image[tuple(other)]
                    squares.append(difference**2)
        if squares:
            result[tuple(place)] = np.mean(squares, axis=0) / 2
    return result


def texture_mosaic():
    """Return three textures in a disk and two halves around it, and the class of each pixel."""
    y, x = np.mgrid[:256, :256]
    classes = np.where((y - 128) ** 2 + (x - 128) ** 2 < 70**2, 0, 1 + (x >= 128))
    textures = [image[:256, :256] for image in (data.brick(), data.grass(), data.gravel())]
    return np.choose(classes, textures), classes


def share_right(labels, classes):
    """Return the share of pixels that are right after the best matching of labels."""
    counts = np.zeros((labels.max() + 1, classes.max() + 1))
    np.add.at(counts, (labels, classes), 1)
    return counts[linear_sum_assignment(-counts)].sum() / classes.size


@pytest.mark.parametrize("sigma", [1.5, (2.0, 0.0)])
@pytest.mark.parametrize("block_pixels", [300, 10**6])
def test_points_are_blurred_colors_and_contrasts_for_any_block(
    sigma, block_pixels, monkeypatch, blur, read_points
):
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", block_pixels)
    mask = np.random.default_rng(0).random(COFFEE.shape[:2]) < 0.8
    axes = [0] if sigma == (2.0, 0.0) else [0, 1]
    contrasts = np.sqrt(blur(energies(COFFEE, mask, axes), sigma, mask))[mask]
    colors = blur(COFFEE, sigma, mask)
    images = open_images(COFFEE, mask=mask)
    space = FeatureSpace("rgb", 255.0, blur=sigma, texture=2.0)
    points = read_points(images, space)
    np.testing.assert_allclose(points[:, :3], colors[mask], rtol=1e-6)
    np.testing.assert_allclose(points[:, 3:], 2 * contrasts, rtol=1e-5)
    points = read_points(images, space.scaled(np.array([9.0, 8, 7]), np.array([2.0, 4, 5])))
    np.testing.assert_allclose(points[:, 3:], 2 * contrasts / [2, 4, 5], rtol=1e-5)
    points = read_points(images, replace(space, color_space="lab"))
    np.testing.assert_allclose(points[:, :3], rgb2lab(colors / 255)[mask], atol=1e-4)
    np.testing.assert_allclose(points[:, 3:], 2 * contrasts * 100 / 255, rtol=1e-4)


@pytest.mark.parametrize("chunks", [(45, 55), (20, 33), (1, 55), ((25, 0, 3, 17), (55,))])
def test_chunks_of_any_size_give_the_same_bits(chunks, monkeypatch, read_points):
    mask = np.random.default_rng(0).random(COFFEE.shape[:2]) < 0.8
    spread = np.random.default_rng(1).random((45, 55)) * 1e3
    spread[3, 4], spread[30, 40] = np.nan, np.inf
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", 700)
    for image, rest in ((COFFEE, (3,)), (spread, ()), (spread.astype(np.float32), ())):
        space = FeatureSpace("rgb", 255.0, blur=1.5, texture=1.0)
        whole = read_points(open_images(image, mask=mask), space)
        lazy = da.from_array(image, chunks=(*chunks, *rest))
        points = read_points(open_images(lazy, mask=mask), space)
        assert np.isfinite(whole).all()
        # The chunks are in another order than the pixels: compare the sorted points.
        for channel, expected in zip(points.T, whole.T, strict=True):
            np.testing.assert_array_equal(np.sort(channel), np.sort(expected))


@pytest.mark.parametrize("dtype", ["u1", ">i2", "f2", "f4", "f8", "i8", "?"])
def test_contrast_of_white_noise_is_its_standard_deviation(dtype, read_points):
    noise = np.random.default_rng(0).normal(100, 7, (120, 120))
    image = noise > 100 if dtype == "?" else noise.round().astype(dtype)
    points = read_points(open_images(image), FeatureSpace("rgb", 1.0, blur=100.0, texture=1.0))
    np.testing.assert_allclose(points[:, 1], np.std(image.astype(float)), rtol=0.03)


def test_pixels_of_one_color_have_no_contrast(read_points):
    image = np.full((30, 40), 1e6 + 0.1)
    points = read_points(open_images(image), FeatureSpace("rgb", 1.0, blur=2.0, texture=1.0))
    assert (points[:, 1] == 0).all()


@pytest.mark.parametrize("method", ["coreset", "full"])
@pytest.mark.parametrize("options", [{}, {"color_space": "lab"}, {"normalize": "zscore"}])
def test_dask_gives_the_labels_of_numpy(method, options):
    options = {"method": method, "blur": 1.5, "texture": 2.0, **options}
    expected = segment(COFFEE, 4, **options)
    lazy = segment(da.from_array(COFFEE, chunks=(17, 20, 3)), 4, **options)
    np.testing.assert_array_equal(lazy.labels, expected.labels)
    np.testing.assert_array_equal(expected.model.predict(COFFEE), expected.labels)


def test_textures_of_a_mosaic_are_told_apart():
    image, classes = texture_mosaic()
    colors = share_right(segment(image, 3).labels, classes)
    blurred = share_right(segment(image, 3, blur=12).labels, classes)
    texture = share_right(segment(image, 3, blur=12, texture=2).labels, classes)
    assert texture > colors + 0.2
    assert texture > blurred + 0.1


def test_several_images_slices_and_volumes_have_textures():
    stack = np.stack([COFFEE[..., 0], COFFEE[::-1, ::-1, 1]])
    options = {"blur": 2.0, "texture": 1.0}
    several = segment(list(stack), 3, **options)
    sliced = segment(stack, 3, blur=(0.0, 2.0, 2.0), texture=1.0)
    np.testing.assert_array_equal(np.stack(several.labels), sliced.labels)
    each = segment_slices(stack, 3, **options)
    assert each.labels.shape == stack.shape
    assert segment(stack, 3, **options).labels.shape == stack.shape


def test_saved_model_keeps_the_texture(tmp_path):
    model = segment(COFFEE, 3, blur=2.0, texture=1.5).model
    model.save(tmp_path / "model.json")
    loaded = KMeansModel.load(tmp_path / "model.json")
    assert loaded.texture == 1.5
    other = data.coffee()[100:140, 50:120]
    np.testing.assert_array_equal(loaded.predict(other), model.predict(other))
    values = json.loads((tmp_path / "model.json").read_text())
    assert values["version"] == 2
    for wrong in ({"blur": 0.0}, {"texture": -1}, {"texture": 0.0}, {"texture": [1]}):
        with pytest.raises(ValueError, match=r"texture must be|must belong together"):
            KMeansModel.from_dict(values | wrong)


def test_texture_follows_the_order_of_the_channels():
    model = segment(COFFEE, 3, rgb=False, channel_axis=-1, blur=2.0, texture=1.0).model
    expected = model.predict(COFFEE)
    turned = model.with_channel_order([2, 0, 1])
    np.testing.assert_array_equal(turned.predict(COFFEE[..., [2, 0, 1]]), expected)


def test_what_texture_cannot_do_is_refused():
    with pytest.raises(ValueError, match="texture must be 0 without a blur, got 1: set blur"):
        Options(texture=1.0)
    with pytest.raises(ValueError, match="texture must be 0 without a blur"):
        Options(texture=1.0, blur=(0.0, 0.0))
    with pytest.raises(ValueError, match="texture must be 0 for start colors"):
        Options(n_clusters=2, texture=1.0, blur=2.0, init=[[0], [1]])
    model = segment(COFFEE, 3, blur=2.0, texture=1.0).model
    with pytest.raises(ValueError, match="model must have no texture"):
        split_anew(COFFEE, model, 1, 2)
    with pytest.raises(ValueError, match="texture must be 0 without a blur"):
        model.with_blur(0.0)
    summary = summarize(COFFEE, blur=2.0, texture=1.0)
    with pytest.raises(ValueError, match=r"texture must be 1\.0"):
        segment(COFFEE, 3, blur=2.0, texture=2.0, summary=summary)


def test_the_largest_contrasts_do_not_overflow(read_points):
    image = np.zeros((20, 20), np.float32)
    image[::2] = 3e38
    space = FeatureSpace("rgb", 1.0, blur=2.0, texture=100.0)
    assert np.isfinite(read_points(open_images(image), space)).all()
