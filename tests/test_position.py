"""The option `position`: truth is a loop over pixels, and the nearest centers of scikit-learn."""

from __future__ import annotations

import json
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from skimage import data
from skimage.color import rgb2lab
from sklearn.metrics import pairwise_distances_argmin

from napari_kmeans import (
    KMeansModel,
    measure_stability,
    merge_clusters,
    merge_similar,
    segment,
    segment_slices,
    split_anew,
    suggest_n_clusters,
    summarize,
)
from napari_kmeans.feature_space.space import FeatureSpace
from napari_kmeans.imaging import blocks
from napari_kmeans.imaging.blocks import open_images
from napari_kmeans.options import Options
from napari_kmeans.stacks import StackModel

pytestmark = pytest.mark.usefixtures("separate_chunks")

COFFEE = data.coffee()[:45, :55]
MASK = np.random.default_rng(0).random(COFFEE.shape[:2]) < 0.8


def places(shape, spacing):
    """Return the place (..., P) of the middle of each pixel; the longest axis has length 1."""
    lengths = [size * distance for size, distance in zip(shape, spacing, strict=True)]
    result = np.zeros((*shape, sum(distance > 0 for distance in spacing)))
    for index in np.ndindex(shape):
        result[index] = [
            (place + 0.5) * distance / max(lengths)
            for place, distance in zip(index, spacing, strict=True)
            if distance
        ]
    return result


def features(image, weight, spacing=None):
    """Return the colors of an image (..., C), and its places times a weight."""
    own = places(image.shape[:-1], spacing or (1,) * (image.ndim - 1))
    return np.concatenate([image.astype(float), weight * own], axis=-1)


def nearest(points, centers):
    """Return the label of the nearest center of points (..., F)."""
    flat = pairwise_distances_argmin(points.reshape(-1, points.shape[-1]), centers)
    return flat.reshape(points.shape[:-1]) + 1


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.5, 1.0), (0.0, 3.0)])
@pytest.mark.parametrize("block_pixels", [300, 10**6])
def test_points_are_colors_and_places_for_any_block(
    spacing, block_pixels, monkeypatch, read_points
):
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", block_pixels)
    images = open_images(COFFEE, mask=MASK)
    space = FeatureSpace("rgb", 255.0, position=0.5, spacing=spacing)
    own = places(COFFEE.shape[:2], spacing)[MASK]
    points = read_points(images, space)
    np.testing.assert_array_equal(points[:, :3], COFFEE[MASK])
    np.testing.assert_allclose(points[:, 3:], 0.5 * 255 * own, rtol=1e-6)
    # In lab, the difference of black and white is 100.
    points = read_points(images, replace(space, color_space="lab"))
    np.testing.assert_allclose(points[:, :3], rgb2lab(COFFEE)[MASK], atol=1e-9)
    np.testing.assert_allclose(points[:, 3:], 0.5 * 100 * own, rtol=1e-6)
    points = read_points(images, replace(space, color_space="hsv"))
    np.testing.assert_allclose(points[:, 3:], 0.5 * 255 * own, rtol=1e-6)
    # Scaled channels have a unit of their own.
    points = read_points(images, space.scaled(np.array([9.0, 8, 7]), np.array([2.0, 4, 5])))
    np.testing.assert_allclose(points[:, :3], (COFFEE[MASK] - [9.0, 8, 7]) / [2, 4, 5], rtol=1e-9)
    np.testing.assert_allclose(points[:, 3:], 0.5 * own, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["u1", ">u2", "i8", "f4", "f8", "?"])
def test_colors_are_not_rounded_beside_places(dtype, read_points):
    values = np.random.default_rng(0).integers(0, 2 if dtype == "?" else 120, (8, 9)).astype(dtype)
    if values.dtype.kind == "f":
        values += values.dtype.type(1 / 3)
    space = FeatureSpace("rgb", 1.0, position=1.0, spacing=(1.0, 1.0))
    points = read_points(open_images(values), space)
    np.testing.assert_array_equal(points[:, 0], values.ravel())


@pytest.mark.parametrize("options", [{}, {"blur": 1.5}, {"blur": 1.5, "texture": 2.0}])
@pytest.mark.parametrize("chunks", [(45, 55), (20, 33), (1, 55), ((25, 0, 3, 17), (55,))])
def test_chunks_of_any_size_give_the_same_bits(chunks, options, monkeypatch, read_points):
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", 700)
    spread = np.random.default_rng(1).random((45, 55)) * 1e3
    spread[3, 4], spread[30, 40] = np.nan, np.inf
    for image, rest in ((COFFEE, (3,)), (spread, ()), (spread.astype(np.float32), ())):
        space = FeatureSpace("rgb", 255.0, position=1.0, spacing=(1.0, 2.0), **options)
        whole = read_points(open_images(image, mask=MASK), space)
        lazy = da.from_array(image, chunks=(*chunks, *rest))
        points = read_points(open_images(lazy, mask=MASK), space)
        assert np.isfinite(whole).all()
        # The chunks are in another order than the pixels, and the places differ everywhere.
        for rows in (points, whole):
            rows[...] = rows[np.lexsort(rows.T[-2:])]
        np.testing.assert_array_equal(points, whole)


@pytest.mark.parametrize("method", ["coreset", "full"])
@pytest.mark.parametrize("spacing", [1.0, (3.0, 1.0)])
def test_labels_are_those_of_the_nearest_centers(method, spacing):
    options = {"position": 0.8, "spacing": spacing, "method": method, "mask": MASK}
    seg = segment(COFFEE, 5, **options)
    points = features(COFFEE, 0.8 * 255, spacing if isinstance(spacing, tuple) else None)
    centers = seg.model.cluster_centers_
    np.testing.assert_array_equal(seg.labels, np.where(MASK, nearest(points, centers), 0))
    squares = ((points[MASK][:, None] - centers) ** 2).sum(axis=-1).min(axis=1)
    np.testing.assert_allclose(seg.model.inertia_, squares.sum(), rtol=1e-5)
    # The palette and the table are of the colors alone.
    assert seg.model.palette.shape == (5, 3)
    for label, color in enumerate(seg.model.palette, 1):
        np.testing.assert_allclose(color, COFFEE[seg.labels == label].mean(axis=0))
    if method == "full":
        for label, center in enumerate(centers, 1):
            mean = points[seg.labels == label].mean(axis=0)
            np.testing.assert_allclose(center, mean, atol=2.0)


def test_blur_comes_before_the_places(blur):
    seg = segment(COFFEE, 4, blur=2.0, position=0.5)
    points = features(blur(COFFEE.astype(float), (2, 2)), 0.5 * 255)
    np.testing.assert_array_equal(seg.labels, nearest(points, seg.model.cluster_centers_))


def test_places_alone_divide_an_image_of_one_color():
    image = np.full((20, 60), 7, np.uint8)
    labels = segment(image, 3, position=1.0).labels
    # The image is three times as wide as it is high: three squares have the lowest cost.
    assert (labels == labels[:1]).all()
    np.testing.assert_array_equal(np.sort(np.bincount(labels.ravel())[1:]), [400] * 3)
    # With rows at six times the distance, the image is higher than it is wide.
    labels = segment(image, 3, position=1.0, spacing=(6.0, 1.0)).labels
    assert (labels == labels[:, :1]).all()


def test_weight_of_the_longest_axis_is_a_full_range():
    image = np.zeros((1, 100, 3), np.uint8)
    image[:, 50:, 0] = 255
    options = {"rgb": True, "position": 1.0, "method": "full"}
    seg = segment(image, 2, **options)
    centers = seg.model.cluster_centers_
    np.testing.assert_allclose(centers[:, 4], 255 * np.array([0.25, 0.75]), rtol=1e-6)
    np.testing.assert_allclose(centers[:, 3], 255 * 0.005, rtol=1e-6)


@pytest.mark.parametrize("method", ["coreset", "full"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"color_space": "lab"},
        {"normalize": "percentile"},
        {"normalize": "zscore"},
        {"blur": 1.5, "texture": 2.0},
        {"smoothing": 1.0, "min_size": 5},
        {"spacing": (1.0, 4.0)},
    ],
)
def test_dask_gives_the_labels_of_numpy(method, options, monkeypatch):
    options = {"method": method, "position": 0.7, "mask": MASK, **options}
    expected = segment(COFFEE, 4, **options)
    for chunks in ((17, 20, 3), (45, 55, 1), (8, 55, 3)):
        image = da.from_array(COFFEE, chunks=chunks)
        lazy = segment(image, 4, **options)
        np.testing.assert_array_equal(lazy.labels, expected.labels)
        np.testing.assert_array_equal(lazy.recolored, expected.recolored)
        np.testing.assert_array_equal(lazy.model.predict(image, mask=MASK), expected.labels)
    for name in ("confidence", "memberships"):
        numbers = getattr(expected.model, name)(COFFEE, mask=MASK)
        np.testing.assert_array_equal(
            getattr(expected.model, name)(image, mask=MASK).compute(), numbers
        )
    # A block of a few rows gives the same labels, too.
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", 300)
    np.testing.assert_array_equal(segment(COFFEE, 4, **options).labels, expected.labels)


@pytest.mark.parametrize("method", ["coreset", "full"])
@pytest.mark.parametrize("options", [{}, {"blur": 1.5, "texture": 2.0}, {"smoothing": 1.0}])
def test_classes_of_one_color_have_the_same_numbers_for_dask(method, options):
    # The last digits of the mean of 0.3 depend on the order in which pixels are added.
    image = np.full((300, 400), 0.3)
    options = {"method": method, "position": 0.3, "rgb": False, **options}
    whole = segment(image, 4, **options)
    lazy = segment(da.from_array(image, chunks=(90, 170)), 4, **options)
    np.testing.assert_array_equal(lazy.labels, whole.labels)
    # They are numbered by their places, the first rows first.
    assert (np.diff(whole.model.cluster_centers_[:, -2]) > 0).all()
    assert whole.table["color"].tolist() == lazy.table["color"].tolist() == ["#000000"] * 4
    for edit in (
        lambda seg: merge_clusters(seg, [0, 1, 1, 2]),
        lambda seg: merge_similar(seg, 0.0),
        lambda seg: merge_similar(seg, 0.0, 0.249),
    ):
        merged, lazily = edit(whole), edit(lazy)
        np.testing.assert_array_equal(lazily.labels, merged.labels)
    stack = np.stack([image, image])
    whole = segment_slices(stack, 4, **options)
    lazy = segment_slices(da.from_array(stack, chunks=(1, 90, 170)), 4, **options)
    np.testing.assert_array_equal(lazy.labels, whole.labels)


def test_drawn_pixels_have_their_own_places():
    image = np.random.default_rng(0).random((300, 400))
    for array in (image, da.from_array(image, chunks=(70, 130))):
        seg = segment(array, 4, position=1.0)
        rows = seg.coreset.positions
        expected = (rows + 0.5) / 400
        np.testing.assert_allclose(seg.coreset.points[:, 1:], expected, rtol=1e-6)
        np.testing.assert_array_equal(seg.coreset.points[:, 0], image[tuple(rows.T)])


@pytest.mark.parametrize("chunks", [None, (20, 33, 3)])
def test_cropped_pixels_keep_their_places(chunks, read_points):
    image = COFFEE if chunks is None else da.from_array(COFFEE, chunks=chunks)
    (pixels,) = open_images(image)
    space = FeatureSpace("rgb", 255.0, position=1.0, spacing=(1.0, 1.0))
    once = pixels.crop((slice(10, 30), slice(5, 50)))
    points = read_points([once.crop((slice(2, 3), slice(0, 40)))], space)
    expected = features(COFFEE, 255)[12, 5:45]
    order = np.argsort(points[:, -1])
    np.testing.assert_allclose(points[order], expected, rtol=1e-6)


def test_volumes_and_axes_of_time():
    volume = np.random.default_rng(0).random((4, 12, 15))
    seg = segment(volume, 4, position=0.5, spacing=(3, 1, 1), method="full")
    points = features(volume[..., None], 0.5, (3, 1, 1))
    np.testing.assert_array_equal(seg.labels, nearest(points, seg.model.cluster_centers_))
    film = segment(volume, 4, position=0.5, spacing=(0, 1, 1), method="full")
    points = features(volume[..., None], 0.5, (0, 1, 1))
    assert film.model.cluster_centers_.shape == (4, 3)
    np.testing.assert_array_equal(film.labels, nearest(points, film.model.cluster_centers_))


def test_several_images_have_their_own_places():
    images = [COFFEE, COFFEE[:30, 10:60]]
    seg = segment(images, 4, rgb=True, position=0.5)
    for image, labels in zip(images, seg.labels, strict=True):
        expected = nearest(features(image, 0.5 * 255), seg.model.cluster_centers_)
        np.testing.assert_array_equal(labels, expected)
        np.testing.assert_array_equal(seg.model.predict(image), labels)
    lazy = [da.from_array(image, chunks=(20, 20, 3)) for image in images]
    lazy = segment(lazy, 4, rgb=True, position=0.5)
    for labels, expected in zip(lazy.labels, seg.labels, strict=True):
        np.testing.assert_array_equal(labels, expected)


def test_each_slice_has_places_of_two_axes():
    stack = np.stack([COFFEE[..., 0], COFFEE[::-1, ::-1, 1]])
    seg = segment_slices(stack, 3, position=0.6, spacing=(2, 1))
    for image, model, labels in zip(stack, seg.model.models, seg.labels, strict=True):
        points = features(image[..., None], 0.6 * 255, (2, 1))
        np.testing.assert_array_equal(labels, nearest(points, model.cluster_centers_))
    loaded = StackModel.from_dict(json.loads(json.dumps(seg.model.to_dict())))
    np.testing.assert_array_equal(loaded.apply(stack)[0], seg.labels)
    # The same spacing in another unit gives the same places.
    scaled = loaded.at_scale((2.0, 2.0))
    np.testing.assert_array_equal(scaled.apply(stack)[0], seg.labels)


def test_another_image_is_compared_by_relative_places():
    model = segment(COFFEE, 4, position=0.5, spacing=(2, 1)).model
    other = data.coffee()[100:131, 50:120]
    expected = nearest(features(other, 0.5 * 255, (2, 1)), model.cluster_centers_)
    np.testing.assert_array_equal(model.predict(other), expected)
    coarser = COFFEE[::3, ::5]
    points = features(coarser, 0.5 * 255, (2 * 3, 1 * 5))
    expected = nearest(points, model.cluster_centers_)
    np.testing.assert_array_equal(model.at_scale((3, 5)).predict(coarser), expected)


def test_saved_model_keeps_the_position(tmp_path):
    seg = segment(COFFEE, 3, position=0.4, spacing=(2, 1), smoothing=1.0)
    for model in (seg.model, segment(COFFEE, 3, position=0.4, blur=2.0, texture=1.0).model):
        model.save(tmp_path / "model.json")
        loaded = KMeansModel.load(tmp_path / "model.json")
        assert loaded.position == 0.4
        np.testing.assert_array_equal(loaded.predict(COFFEE), model.predict(COFFEE))
        other = data.coffee()[100:140, 50:120]
        np.testing.assert_array_equal(loaded.predict(other), model.predict(other))
        assert loaded.to_dict() == model.to_dict()
        assert loaded.options.position == 0.4
    assert "position" not in segment(COFFEE, 3).model.to_dict()
    values = seg.model.to_dict()
    assert values["version"] == 2
    assert values["spacing"] == [2, 1]
    for wrong, message in (
        ({"position": -1}, "position must be a number from 0"),
        ({"position": 0.0}, "must belong together"),
        ({"spacing": 2.0}, "spacing must have a number for each spatial axis"),
        ({"spacing": [0, 0]}, "position must be 0 without an axis of space"),
        ({"spacing": [1, 0]}, "must belong together"),
        ({"spacing": [1, 1, 1]}, "must belong together"),
    ):
        with pytest.raises(ValueError, match=message):
            KMeansModel.from_dict(values | wrong)


def test_places_follow_the_order_of_the_channels():
    image = COFFEE.astype(float)
    options = {"rgb": False, "channel_axis": -1, "position": 200.0}
    for own in ({}, {"blur": 2.0, "texture": 1.0}):
        model = segment(image, 3, **options, **own).model
        turned = model.with_channel_order([2, 0, 1])
        np.testing.assert_array_equal(turned.predict(image[..., [2, 0, 1]]), model.predict(image))


@pytest.mark.parametrize("method", ["coreset", "full"])
def test_summary_keeps_the_position(method):
    summary = summarize(COFFEE, position=0.5, spacing=(2, 1), method=method)
    options = {"position": 0.5, "spacing": (2, 1), "method": method}
    seg = segment(COFFEE, 4, summary=summary, **options)
    np.testing.assert_array_equal(seg.labels, segment(COFFEE, 4, **options).labels)
    with pytest.raises(ValueError, match=r"position must be 0\.5"):
        segment(COFFEE, 4, summary=summary, **{**options, "position": 0.0})
    with pytest.raises(ValueError, match=r"spacing must be \(2\.0, 1\.0\)"):
        segment(COFFEE, 4, summary=summary, **{**options, "spacing": 1.0})
    with pytest.raises(ValueError, match=r"position must be 0\.0"):
        segment(COFFEE, 4, summary=summarize(COFFEE), position=0.5)
    # Without a position, the spacing is that of the regions only.
    colors = summarize(COFFEE, blur=1.0)
    segment(COFFEE, 4, blur=1.0, smoothing=1.0, spacing=(2, 1), summary=colors)
    assert suggest_n_clusters(COFFEE, [2, 3], summary=summary, **options).n_clusters in (2, 3)
    assert measure_stability(seg, COFFEE, n_repeats=1, summary=summary).seeds >= 0


def test_what_position_cannot_do_is_refused():
    with pytest.raises(ValueError, match=r"position must be a number from 0\.0 to 1000\.0"):
        Options(position=-1.0)
    with pytest.raises(ValueError, match="position must be 0 without an axis of space, got 1"):
        Options(position=1.0, spacing=0.0)
    with pytest.raises(ValueError, match="position must be 0 for start colors"):
        Options(n_clusters=2, position=1.0, init=[[0], [1]])
    model = segment(COFFEE, 3, position=1.0).model
    with pytest.raises(ValueError, match="model must have no position, got position=1"):
        split_anew(COFFEE, model, 1, 2)
    volume = np.zeros((2, 40, 40, 3), np.uint8)
    with pytest.raises(ValueError, match=r"image must have 2 axes of space among 2, .* got 3"):
        model.predict(volume)
    film = segment(volume[..., 0], 2, position=1.0, spacing=(0, 1, 1)).model
    with pytest.raises(ValueError, match=r"image must have 2 axes of space among 3, .* got 2"):
        film.predict(volume[0, ..., 0])
    space = replace(film.cleaning, spacing=(1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"image must have 2 axes of space among 3, .* got 3"):
        film.with_cleaning(space).predict(volume[..., 0])
    with pytest.raises(ValueError, match="spacing must have a number for each of the image's 2"):
        segment(COFFEE, 3, position=1.0, spacing=(1, 1, 1))
    with pytest.raises(ValueError, match="position must be 0 for images with different numbers"):
        segment([volume[..., 0], volume[0, ..., 0]], 2, position=1.0)
    numbers = np.arange(60).reshape(6, 10)
    with pytest.raises(ValueError, match="position must be 0 for integers of more than 16 bits"):
        segment(numbers, 2, position=1.0)
    labels = segment(numbers, 2, position=1.0, normalize="percentile").labels
    assert labels.max() == 2


def test_a_spacing_with_other_axes_of_space_is_refused():
    image = np.arange(30, dtype=np.uint8).reshape(5, 6)
    model = segment(image, 3, rgb=False, position=0.3, spacing=(0, 1)).model
    for spacing in (1.0, (1, 1), (0, 0), (0, 1, 1)):
        with pytest.raises(ValueError, match="spacing must have 1 of 2 axes of space, as the posi"):
            model.with_spacing(spacing)
    assert model.with_spacing((0, 2)).cleaning.spacing == (0, 2)
