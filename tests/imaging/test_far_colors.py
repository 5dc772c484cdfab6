"""The share of an image's pixels that are far from the classes of a model fitted to others."""

import pickle
import tracemalloc

import dask.array as da
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from skimage import data as pictures

from napari_kmeans import merge_clusters, segment, split_anew
from napari_kmeans.imaging.far_colors import FAR, describe_far_colors

TISSUE = pictures.immunohistochemistry()[::2, ::2]


def far_share(model, image, mask=None):
    """Return the share by brute force."""
    points = model.space.points(image.reshape(-1, model.n_channels))
    if mask is not None:
        points = points[mask.ravel()]
    centers = model.cluster_centers_
    between = cdist(centers, centers) + np.diag([np.inf] * len(centers))
    distances = cdist(points, centers)
    return np.mean(distances.min(axis=1) > between.min(axis=1)[distances.argmin(axis=1)])


@pytest.mark.parametrize("color_space", ["rgb", "lab", "hsv"])
def test_share_is_that_of_the_pixels_that_are_far(color_space):
    model = segment(TISSUE, 5, color_space=color_space).model
    assert model.far_share(TISSUE) == pytest.approx(far_share(model, TISSUE))
    assert model.far_share(TISSUE) < 0.1
    other = pictures.coffee()[::3, ::3]
    mask = np.random.default_rng(0).random(other.shape[:2]) < 0.3
    expected = far_share(model, other, mask)
    assert model.far_share(other, mask=mask) == pytest.approx(expected)
    assert expected > FAR
    # The share does not depend on how much of the fit was background, or undecided.
    slide = np.full((600, 600, 3), 235, np.uint8)
    slide[:256, :256] = TISSUE
    for options in ({}, {"min_confidence": 0.5}):
        model = segment(slide, 5, color_space=color_space, **options).model
        assert model.far_share(TISSUE) < 0.15
        assert model.far_share(255 - TISSUE) > FAR


@pytest.mark.parametrize("shape", [(900, 1000), (1, 900, 1000), (30, 120, 130), (400_000,)])
def test_windows_are_spread_over_large_images(shape):
    rng = np.random.default_rng(0)
    image = rng.choice([0.0, 100], shape) + rng.normal(0, 5, shape)
    model = segment(image, 2).model
    assert model.far_share(image) == 0
    for axis, length in enumerate(shape):
        if length == 1:
            continue
        # Another half of the image along any axis is seen, also in chunks.
        other = image.copy()
        np.moveaxis(other, axis, 0)[length // 2 :] += 300
        share = model.far_share(other)
        assert share == pytest.approx(0.5, abs=0.2)
        chunks = tuple(-(-side // 2) for side in shape)
        assert model.far_share(da.from_array(other, chunks=chunks)) == share


def test_windows_are_inside_the_mask():
    image = np.full((2000, 1500), 100.0)
    image[:1000] = 0
    model = segment(image, 2).model
    image[700:760, 900:930] = 500
    mask = np.zeros(image.shape, bool)
    mask[700:760, 900:930] = True
    assert model.far_share(image, mask=mask) == 1
    mask[:] = False
    assert np.isnan(model.far_share(image, mask=mask))


@pytest.mark.parametrize(
    "options", [{"blur": 2.0}, {"blur": 2.0, "texture": 0.5}, {"smoothing": 1.0}]
)
def test_features_are_those_of_the_model(options):
    model = segment(TISSUE, 4, **options).model
    assert model.far_share(TISSUE) < 0.1
    assert model.far_share(255 - TISSUE) > FAR


def test_models_of_places_have_no_share():
    assert np.isnan(segment(TISSUE, 4, position=0.5).model.far_share(TISSUE))


def test_one_center_has_no_share():
    model = segment(np.full((9, 9), 7, np.uint8), 1).model
    assert np.isnan(model.far_share(np.full((9, 9), 90, np.uint8)))
    assert describe_far_colors(float("nan")) is None


def test_saved_merged_and_split_models(tmp_path):
    result = segment(TISSUE, 6)
    other = pictures.coffee()[::3, ::3]
    expected = result.model.far_share(other)
    result.model.save(tmp_path / "model.json")
    assert type(result.model).load(tmp_path / "model.json").far_share(other) == expected
    assert pickle.loads(pickle.dumps(result.model)).far_share(other) == expected
    merged = merge_clusters(result, [0, 0, 1, 1, 0, 1]).model
    assert merged.far_share(other) == expected
    split = split_anew(TISSUE[:50, :50], segment(TISSUE, 3).model, 1, 3)
    assert split.far_share(TISSUE) < 0.2


def test_many_centers_take_little_memory():
    image = np.random.default_rng(0).integers(0, 65536, (200, 200)).astype(np.uint16)
    colors = np.unique(image)[:20_000, np.newaxis]
    model = segment(image, len(colors), init=colors, keep_init=True).model
    tracemalloc.start()
    share = model.far_share(image)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 <= share <= 1
    # Distances between all centers would take gigabytes.
    assert peak < 2**26


def test_other_channels_are_refused():
    model = segment(TISSUE, 3).model
    with pytest.raises(ValueError, match="channels"):
        model.far_share(TISSUE[..., 0])
