import pickle

import dask.array as da
import numpy as np
import pytest
from skimage import data

from napari_kmeans import segment
from napari_kmeans.clustering.assignment import GroupedPoints
from napari_kmeans.feature_space.space import FeatureSpace
from napari_kmeans.imaging import blocks as blocks_module
from napari_kmeans.imaging.blocks import open_pixels
from napari_kmeans.imaging.histogram import build_histogram, find_codec
from napari_kmeans.imaging.sampling import Sampling, find_colors, sample_pixels, take_cells


def draw(image, size=1500, seed=0, **options):
    pixels = open_pixels(image, **options)
    sampling = Sampling(8, size, FeatureSpace("rgb", 255), seed)
    codec = find_codec([pixels])
    if codec is None:
        return sample_pixels([pixels], sampling)
    histogram = build_histogram([pixels], codec)
    colors = GroupedPoints(histogram.points, histogram.weights, histogram.starts)
    return take_cells(histogram, colors, size, [pixels], seed)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("block_pixels", [7000, 10**6])
def test_points_are_pixels_at_their_positions_inside_the_mask(dtype, block_pixels, monkeypatch):
    monkeypatch.setattr(blocks_module, "BLOCK_PIXELS", block_pixels)
    image = data.coffee().astype(dtype)
    mask = np.zeros(image.shape[:2], bool)
    mask[50:300, 100:400] = True
    coreset = draw(image, mask=mask)
    assert 1000 < len(coreset.points) <= 1500
    assert coreset.weights.sum() == pytest.approx(mask.sum())
    where = tuple(coreset.positions.T)
    assert mask[where].all()
    if dtype == np.float32:
        np.testing.assert_array_equal(image[where], coreset.points)
    else:
        # Each position is a pixel of the cell of its point. Usually no other point is nearer.
        squared = ((image[where][:, None].astype(float) - coreset.points) ** 2).sum(axis=2)
        assert (squared.argmin(axis=1) == np.arange(len(where[0]))).mean() > 0.75


def test_position_may_be_any_pixel_of_a_color():
    image = np.zeros((100, 50), np.uint8)
    image[0] = 1
    rows = [draw(image, seed=seed).positions[0, 0] for seed in range(40)]
    assert min(rows) < 25
    assert max(rows) > 75


def test_positions_have_all_dimensions():
    volume = np.random.default_rng(0).normal(size=(5, 30, 40))
    coreset = draw(volume)
    np.testing.assert_array_equal(volume[tuple(coreset.positions.T)], coreset.points[:, 0])


def test_blocks_with_all_pixels_left_out_are_ignored(monkeypatch):
    monkeypatch.setattr(blocks_module, "BLOCK_PIXELS", 100)
    image = np.random.default_rng(0).normal(size=(40, 100))
    image[:30] = np.nan
    coreset = draw(image, size=50)
    assert coreset.weights.sum() == pytest.approx(1000)
    assert (coreset.positions[:, 0] >= 30).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_seed_determines_the_coreset(dtype):
    image = data.coffee().astype(dtype)
    first, again, other = draw(image), draw(image), draw(image, seed=1)
    np.testing.assert_array_equal(first.points, again.points)
    np.testing.assert_array_equal(first.positions, again.positions)
    # Cells of color space do not depend on the seed. The pixel chosen in each cell does.
    assert np.array_equal(first.points, other.points) == (dtype == np.uint8)
    assert not np.array_equal(first.positions, other.positions)


def test_cells_count_each_pixel_and_have_exact_means():
    image = data.coffee()
    mask = np.zeros(image.shape[:2], bool)
    mask[50:300, 100:400] = True
    pixels = open_pixels(image, mask=mask)
    histogram = build_histogram([pixels], find_codec([pixels]))
    colors = GroupedPoints(histogram.points, histogram.weights, histogram.starts)
    cells = take_cells(histogram, colors, None, [pixels], 0)
    numbers = image[mask] // 4
    _, inverse, counts = np.unique(numbers, axis=0, return_inverse=True, return_counts=True)
    sums = [np.bincount(inverse.ravel(), image[mask][:, channel]) for channel in range(3)]
    np.testing.assert_array_equal(cells.weights, counts)
    np.testing.assert_allclose(cells.points, np.transpose(sums) / counts[:, None])
    where = tuple(cells.positions.T)
    assert mask[where].all()
    np.testing.assert_array_equal(image[where] // 4, np.floor(cells.points) // 4)


@pytest.mark.parametrize("lazy", [False, True])
def test_find_positions_can_be_canceled(lazy):
    image = np.random.default_rng(0).integers(0, 255, (300, 400, 3)).astype(np.uint8)
    pixels = da.from_array(image, chunks=(100, 100, 3)) if lazy else image
    coreset = draw(pixels)

    def cancel(_steps):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        coreset.find_positions(cancel)
    steps = []
    coreset.find_positions(steps.append)
    assert sum(steps) > 0
    n_steps = len(steps)
    coreset.find_positions(steps.append)
    assert len(steps) == n_steps
    np.testing.assert_array_equal(coreset.positions, draw(image).positions)


@pytest.mark.parametrize("dtype", ["f4", "f8", "u2", "i8", "g", "f2"])
@pytest.mark.parametrize("limit", [5, 10_000])
def test_distinct_colors_equal_those_of_numpy(dtype, limit):
    rng = np.random.default_rng(0)
    image = rng.integers(-3, 4, (80, 90, 3)).astype(dtype)
    expected = np.unique(image.reshape(-1, 3), axis=0)[:limit]
    lazy = da.from_array(image, chunks=(30, 40, 3))
    for array in (image, lazy):
        colors = find_colors([open_pixels(array, rgb=True)], limit)
        np.testing.assert_array_equal(colors, expected)


def test_zero_and_negative_zero_are_one_color():
    image = np.where(np.random.default_rng(0).random((9, 9)) > 0.5, 0.0, -0.0)
    assert find_colors([open_pixels(image)], 5).tolist() == [[0.0]]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_segmentation_can_be_pickled_with_its_coreset(dtype):
    image = (data.coffee()[::4, ::4] + np.random.default_rng(0).random((100, 150, 3))).astype(dtype)
    result = segment(image, 3, rgb=True)
    copy = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(copy.labels, result.labels)
    np.testing.assert_array_equal(copy.coreset.points, result.coreset.points)
    np.testing.assert_array_equal(copy.coreset.positions, result.coreset.positions)
    np.testing.assert_array_equal(copy.coreset.images, result.coreset.images)
