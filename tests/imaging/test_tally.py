"""The tally of all pixels, and labels that do not depend on threads, chunks and axis order."""

import dask.array as da
import numpy as np
import pytest

from napari_kmeans import segment
from napari_kmeans.clustering.center_splits import CenterSplit
from napari_kmeans.execution import threads
from napari_kmeans.feature_space.space import FeatureSpace
from napari_kmeans.imaging.blocks import open_images
from napari_kmeans.imaging.painting import round_to
from napari_kmeans.imaging.tally import tally_pixels

PLAIN = FeatureSpace("rgb", 1.0)


def field(shape, n_channels, dtype, seed=0):
    """Return smooth channels with noise, (C, ...)."""
    rng = np.random.default_rng(seed)
    grids = np.meshgrid(*(np.linspace(0, 3, length) for length in shape), indexing="ij")
    channels = [
        1000 + 800 * np.sin(sum(rng.uniform(-2, 2) * grid for grid in grids) + rng.uniform(0, 6))
        for _ in range(n_channels)
    ]
    return (np.array(channels) + rng.normal(0, 30, (n_channels, *shape))).astype(dtype)


def assign(points, centers):
    squares = ((points[:, None].astype(np.float64) - centers) ** 2).sum(axis=2)
    return squares.argmin(axis=1), squares.min(axis=1)


@pytest.mark.parametrize("dtype", ["u2", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize("n_channels", [1, 3, 5, 20, 40])
def test_tally_is_that_of_bincount(dtype, n_channels, in_order):
    image = field((61, 67), n_channels, dtype)
    inside = np.random.default_rng(1).random(image.shape[1:]) < 0.9
    if image.dtype.kind == "f":
        image[0, 3, 4:9] = np.nan
        image[-1, 5, 6] = -np.inf
    points = image.reshape(n_channels, -1).T
    kept = inside.ravel() & np.isfinite(points).all(axis=1)
    centers = points[kept][::500].astype(np.float64)
    labels, squares = assign(points[kept], centers)
    images = open_images(in_order(image), channel_axis=0, mask=inside)
    tally = tally_pixels(images, centers, PLAIN)
    np.testing.assert_array_equal(tally.counts, np.bincount(labels, minlength=len(centers)))
    sums = [np.bincount(labels, column, len(centers)) for column in points[kept].T.astype(float)]
    np.testing.assert_allclose(tally.sums, np.transpose(sums), rtol=1e-12)
    assert tally.cost == pytest.approx(squares.sum(), rel=1e-11)
    if tally.pixel_labels[0] is not None:
        expected = np.zeros(kept.shape, np.uint8)
        expected[kept] = labels + 1
        np.testing.assert_array_equal(tally.pixel_labels[0].ravel(), expected)


@pytest.fixture(params=["planes", "pixels", "chunks"])
def in_order(request):
    """Return a function that gives an image of channels first another layout in memory."""
    return {
        "planes": np.ascontiguousarray,
        "pixels": lambda image: np.moveaxis(np.moveaxis(image, 0, -1).copy(), -1, 0),
        "chunks": lambda image: da.from_array(image, chunks=(-1, 17, 23)),
    }[request.param]


def test_points_of_another_space_are_counted_with_their_channels():
    image = field((40, 50), 4, "f4")
    scale = np.array([10.0, 20.0, 5.0, 8.0])
    space = PLAIN.scaled(np.full(4, 900.0), scale)
    points = image.reshape(4, -1).T.astype(np.float64)
    centers = (points[::300] - 900.0) / scale
    labels, squares = assign((points - 900.0) / scale, centers)
    tally = tally_pixels(open_images(image, channel_axis=0), centers, space)
    np.testing.assert_array_equal(tally.counts, np.bincount(labels, minlength=len(centers)))
    sums = [np.bincount(labels, column, len(centers)) for column in points.T]
    np.testing.assert_allclose(tally.sums, np.transpose(sums), rtol=1e-12)
    assert tally.cost == pytest.approx(squares.sum(), rel=1e-11)


def test_split_centers_are_counted_among_the_points_of_the_replaced_center():
    image = field((40, 50), 3, "f4")
    points = image.reshape(3, -1).T
    before = points[::400].astype(np.float64)
    new = before[1] + np.array([[100.0, 0, 0], [-100.0, 0, 0]])
    after = np.vstack([before[:1], before[2:], new])
    labels, _ = assign(points, before)
    inner, _ = assign(points, new)
    expected = np.select(
        [labels == 0, labels > 1], [0, labels - 1], default=len(before) - 1 + inner
    )
    split = CenterSplit(before[1:2], np.array([1]), 2)
    tally = tally_pixels(open_images(image, channel_axis=0), after, PLAIN, splits=(split,))
    np.testing.assert_array_equal(tally.pixel_labels[0].ravel(), expected + 1)
    np.testing.assert_array_equal(tally.counts, np.bincount(expected))
    assert tally.cost == pytest.approx(((points - after[expected]) ** 2).sum(), rel=1e-6)


@pytest.mark.parametrize("n_channels", [4, 20])
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_threads_and_chunks_and_axes_give_the_same_labels(dtype, n_channels, monkeypatch):
    image = field((71, 83), n_channels, dtype)
    mask = np.ones(image.shape[1:], bool)
    mask[10:14, 20:60] = False
    expected = segment(image, 6, channel_axis=0, mask=mask, coreset_size=1000)
    colors = np.vstack([np.zeros(n_channels), expected.model.palette])
    colors = round_to(colors, image.dtype)[expected.labels]
    recolored = np.where(mask, np.moveaxis(colors, -1, 0), image)
    np.testing.assert_array_equal(expected.labels > 0, mask)
    np.testing.assert_array_equal(expected.recolored, recolored)
    for n_threads in (1, 8):
        monkeypatch.setattr(threads, "n_threads", lambda n=n_threads: n)
        for array, axis in (
            (image, 0),
            (np.moveaxis(image, 0, -1).copy(), -1),
            (np.moveaxis(image, 0, 1).copy(), 1),
            (da.from_array(image, chunks=(3, 13, 29)), 0),
        ):
            result = segment(array, 6, channel_axis=axis, mask=mask, coreset_size=1000)
            np.testing.assert_array_equal(result.labels, expected.labels)
            np.testing.assert_array_equal(np.moveaxis(result.recolored, axis, 0), recolored)


def test_blocks_of_a_volume_with_channels_in_the_middle(monkeypatch):
    monkeypatch.setattr("napari_kmeans.imaging.blocks.BLOCK_PIXELS", 700)
    image = field((5, 21, 33), 4, "u2")
    expected = segment(np.moveaxis(image, 0, -1).copy(), 4, channel_axis=-1, coreset_size=500)
    result = segment(np.moveaxis(image, 0, 1).copy(), 4, channel_axis=1, coreset_size=500)
    np.testing.assert_array_equal(result.labels, expected.labels)
    np.testing.assert_array_equal(
        np.moveaxis(result.recolored, 1, 0), np.moveaxis(expected.recolored, -1, 0)
    )
