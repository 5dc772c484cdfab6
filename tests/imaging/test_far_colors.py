"""How far the colors of an image are from the classes of a model that was fitted to others."""

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from skimage import data as pictures

from napari_kmeans import merge_clusters, segment, split_anew
from napari_kmeans.imaging.far_colors import FAR, describe_far_colors

TISSUE = pictures.immunohistochemistry()[::2, ::2]


def root_mean_square(model, image, mask=None):
    points = model.space.points(image.reshape(-1, model.n_channels))
    if mask is not None:
        points = points[mask.ravel()]
    return np.sqrt((cdist(points, model.cluster_centers_).min(axis=1) ** 2).mean())


@pytest.mark.parametrize("color_space", ["rgb", "lab", "hsv"])
def test_ratio_is_that_of_the_distances_of_all_pixels(color_space):
    model = segment(TISSUE, 5, color_space=color_space).model
    assert model.distance_ratio(TISSUE) == pytest.approx(1, rel=1e-6)
    other = pictures.coffee()[::3, ::3]
    mask = np.random.default_rng(0).random(other.shape[:2]) < 0.3
    expected = root_mean_square(model, other, mask) / root_mean_square(model, TISSUE)
    assert model.distance_ratio(other, mask=mask) == pytest.approx(expected, rel=1e-6)
    assert expected > FAR


@pytest.mark.parametrize("shape", [(700, 900), (1, 700, 900), (30, 120, 130), (400_000,)])
def test_windows_are_spread_over_large_images(shape):
    rng = np.random.default_rng(0)
    image = rng.normal(100, 5, shape).astype(np.float32)
    model = segment(image, 3).model
    assert model.distance_ratio(image) == pytest.approx(1, abs=0.05)
    # Another half of the image, along any axis, is seen.
    for axis, length in enumerate(shape):
        if length == 1:
            continue
        other = image.copy()
        np.moveaxis(other, axis, 0)[length // 2 :] += 60
        ratio = model.distance_ratio(other)
        assert ratio == pytest.approx(distance_of_halves(model, image, other), rel=0.1)
        chunks = tuple(-(-side // 2) for side in shape)
        assert model.distance_ratio(da.from_array(other, chunks=chunks)) == pytest.approx(ratio)


def distance_of_halves(model, image, other):
    squares = [root_mean_square(model, each.reshape(-1, 1)) for each in (other, image)]
    return squares[0] / squares[1]


@pytest.mark.parametrize("options", [{"blur": 2.0}, {"blur": 2.0, "texture": 0.5}])
def test_blurred_colors_of_the_own_image_have_ratio_1(options):
    model = segment(TISSUE, 4, **options).model
    assert model.distance_ratio(TISSUE) == pytest.approx(1, rel=1e-3)
    assert model.distance_ratio(pictures.retina()[::5, ::5]) > FAR


def test_position_counts():
    model = segment(TISSUE, 4, position=0.5).model
    assert model.distance_ratio(TISSUE) == pytest.approx(1, rel=1e-3)


def test_light_noise_is_not_far_from_pure_colors():
    image = np.zeros((40, 40), np.uint8)
    image[10:], image[20:], image[30:] = 60, 120, 250
    model = segment(image, 4).model
    assert model.inertia_ == 0
    assert model.distance_ratio(image) == 0
    noisy = np.clip(image + np.random.default_rng(0).normal(0, 6, image.shape), 0, 255)
    assert describe_far_colors(model.distance_ratio(noisy)) is None
    assert describe_far_colors(model.distance_ratio(image + np.uint8(30))) is not None


def test_model_of_one_color():
    image = np.full((9, 9), 7, np.uint8)
    model = segment(image, 1).model
    assert model.distance_ratio(image) == 1
    assert model.distance_ratio(image + np.uint8(1)) == np.inf


def test_ratio_is_unknown_without_pixels():
    model = segment(TISSUE, 3).model
    empty = np.zeros(TISSUE.shape[:2], bool)
    assert np.isnan(model.distance_ratio(TISSUE, mask=empty))
    assert np.isnan(replace(model, center_pixels=None).distance_ratio(TISSUE))
    assert describe_far_colors(float("nan")) is None


def test_saved_and_merged_models_have_the_same_ratio(tmp_path):
    result = segment(TISSUE, 6)
    other = pictures.coffee()[::3, ::3]
    expected = result.model.distance_ratio(other)
    result.model.save(tmp_path / "model.json")
    saved = type(result.model).load(tmp_path / "model.json")
    assert saved.distance_ratio(other) == pytest.approx(expected)
    merged = merge_clusters(result, [0, 0, 1, 1, 0, 1]).model
    assert merged.distance_ratio(other) == pytest.approx(expected)


def test_other_channels_are_refused():
    model = segment(TISSUE, 3).model
    with pytest.raises(ValueError, match="channels"):
        model.distance_ratio(TISSUE[..., 0])


def test_classes_that_were_split_have_ratio_1():
    model = split_anew(TISSUE, segment(TISSUE, 3).model, 1, 3)
    assert len(model.cluster_centers_) == 5
    assert model.distance_ratio(TISSUE) == pytest.approx(1, rel=1e-6)
