"""Passes that keep points in memory against sums and searches by brute force."""

import numpy as np
import pytest

from napari_kmeans import segment
from napari_kmeans.execution.progress import ignore
from napari_kmeans.feature_space.space import PLAIN, FeatureSpace
from napari_kmeans.imaging import blocks, passes
from napari_kmeans.imaging.blocks import open_images
from napari_kmeans.imaging.passes import KeptPasses, Passes


def search(points, centers):
    """Return the nearest centers (n,) and the sum of the squared distances, in float64."""
    squares = ((points[:, None].astype(np.float64) - centers) ** 2).sum(axis=2)
    return squares.argmin(axis=1), squares.min(axis=1).sum()


def sums_of(points, labels, n_clusters):
    """Return the numbers and the sums of the points of each label."""
    counts = np.bincount(labels, minlength=n_clusters)
    columns = points.T.astype(np.float64)
    return counts, np.transpose([np.bincount(labels, c, minlength=n_clusters) for c in columns])


@pytest.fixture(params=["all", "some", "none"])
def kept(request, monkeypatch):
    """Keep the points of all blocks, of some of them, or of none."""
    monkeypatch.setattr(blocks, "_BLOCK_VALUES", 4000)
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", 1000)
    limits = {"all": 2**27, "some": 100_000, "none": 0}
    monkeypatch.setattr(passes, "_KEPT_BYTES", limits[request.param])
    return request.param


@pytest.mark.parametrize("n_channels", [2, 5, 20])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4", "f8"])
def test_sums_follow_moving_centers(kept, dtype, n_channels):
    rng = np.random.default_rng(n_channels)
    image = rng.normal(60, 15, (61, 83, n_channels)).astype(dtype)
    mask = rng.random((61, 83)) < 0.9
    planes = np.ascontiguousarray(np.moveaxis(image, -1, 0))
    centers = rng.normal(60, 15, (7, n_channels))
    rows = np.concatenate([image[mask], image.reshape(-1, n_channels)])
    images = [
        *open_images(image, rgb=False, channel_axis=-1, mask=mask),
        *open_images(planes, rgb=False, channel_axis=0),
    ]
    own = KeptPasses(images, PLAIN)
    exact = {"rtol": 0} if np.dtype(dtype).kind in "ui" else {"rtol": 1e-12}
    for _ in range(6):
        labels, cost = search(rows, centers)
        counts, totals = sums_of(rows, labels, 7)
        sums = own.sum(centers, ignore)
        np.testing.assert_array_equal(sums.counts, counts)
        np.testing.assert_allclose(sums.totals, totals, **exact)
        tally = own.tally(centers, ignore)
        np.testing.assert_array_equal(tally.counts, counts)
        np.testing.assert_allclose(tally.sums, totals, **exact)
        assert tally.cost == pytest.approx(cost, rel=1e-11)
        first, second = tally.pixel_labels
        np.testing.assert_array_equal(first[mask], labels[: mask.sum()] + 1)
        assert not first[~mask].any()
        np.testing.assert_array_equal(second.ravel(), labels[mask.sum() :] + 1)
        centers = totals / np.maximum(counts, 1)[:, None] + rng.normal(0, 0.5, centers.shape)


def test_channels_are_summed_beside_scaled_points(kept):
    image = np.random.default_rng(1).normal(5, 2, (40, 50, 4)).astype(np.float32)
    space = FeatureSpace("rgb", 1.0, (5.0,) * 4, (2.0,) * 4)
    images = open_images(image, rgb=False, channel_axis=-1)
    centers = np.random.default_rng(2).normal(0, 1, (3, 4))
    labels, cost = search((image.reshape(-1, 4).astype(np.float64) - 5) / 2, centers)
    tally = KeptPasses(images, space).tally(centers, ignore)
    counts, totals = sums_of(image.reshape(-1, 4), labels, 3)
    np.testing.assert_array_equal(tally.counts, counts)
    np.testing.assert_allclose(tally.sums, totals, rtol=1e-12)
    assert tally.cost == pytest.approx(cost, rel=1e-11)


def test_cost_of_points_that_lie_on_far_centers(kept):
    image = np.full((30, 40, 3), 1e6, np.float32)
    image[:, 20:] += 1
    images = open_images(image, rgb=False, channel_axis=-1)
    centers = np.array([[1e6] * 3, [1e6 + 1] * 3])
    assert KeptPasses(images, PLAIN).tally(centers, ignore).cost == 0


def test_far_pixels_are_those_of_passes_that_read(kept):
    image = np.random.default_rng(3).random((40, 50, 4))
    images = open_images(image, rgb=False, channel_axis=-1)
    centers = image.reshape(-1, 4)[:5]
    one = KeptPasses(images, PLAIN).find_far(centers, 8, ignore)
    other = Passes(images, PLAIN).find_far(centers, 8, ignore)
    np.testing.assert_array_equal(one.distances, other.distances)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_fits_are_those_of_whole_numbers(kept, dtype):
    """Compare with Lloyd's algorithm on int64 sums, which has no rounding."""
    rng = np.random.default_rng(4)
    image = rng.integers(0, 5000, (50, 60, 17))
    points, start = image.reshape(-1, 17), image[0, :6].astype(np.float64)
    centers = start
    for _ in range(12):
        labels, _ = search(points, centers)
        totals = np.stack([points[labels == k].sum(axis=0) for k in range(6)])
        centers = totals / np.bincount(labels)[:, None]
    labels, cost = search(points, centers)
    options = {"method": "full", "channel_axis": -1, "max_iter": 12, "tol": 0}
    found = segment(image.astype(dtype), 6, init=start, **options)
    expected = centers[np.lexsort(centers.T)]
    found_centers = found.model.cluster_centers_
    np.testing.assert_array_equal(found_centers[np.lexsort(found_centers.T)], expected)
    assert found.model.inertia_ == pytest.approx(cost, rel=1e-12)
    for label in range(6):
        assert len(np.unique(found.labels.ravel()[labels == label])) == 1
