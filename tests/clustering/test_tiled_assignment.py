"""Lloyd's algorithm with searches in tiles against the algorithm with bounds, and scikit-learn."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from napari_kmeans.clustering import tiled_assignment
from napari_kmeans.clustering.assignment import Assignment, GroupedPoints
from napari_kmeans.clustering.lloyd import lloyd
from napari_kmeans.clustering.tiled_assignment import TiledAssignment


def blobs(n_points, n_features, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(7, n_features)) * 3
    points = offset + centers[rng.integers(7, size=n_points)] + rng.normal(size=(1, n_features))
    points += rng.normal(size=points.shape)
    return points, rng.uniform(0.5, 3, n_points), points[rng.permutation(n_points)[:9]]


@pytest.mark.parametrize("offset", [0, 1e7])
@pytest.mark.parametrize("n_features", [1, 2, 3, 5, 20, 64])
def test_each_iteration_equals_that_of_bounds(n_features, offset):
    points, weights, start = blobs(3001, n_features, offset=offset)
    data = GroupedPoints(points, weights)
    ours, theirs = TiledAssignment(data, start), Assignment(data, start)
    for _ in range(12):
        assert ours.update() == theirs.update()
        np.testing.assert_array_equal(ours.labels(), theirs.labels())
        np.testing.assert_array_equal(ours.counts, theirs.counts)
        np.testing.assert_allclose(ours.totals, theirs.totals, rtol=1e-12)
        np.testing.assert_allclose(ours.sums, theirs.sums, rtol=1e-9)
        assert ours.cost() == pytest.approx(theirs.cost(), rel=1e-12)
        # The same sums, so that rounding does not make later labels differ.
        sums, totals = theirs.sums.copy(), theirs.totals.copy()
        assert ours.move(sums, totals) == pytest.approx(theirs.move(sums, totals))
        np.testing.assert_array_equal(ours.centers, theirs.centers)


@pytest.mark.parametrize("products", [1, 2**28])
@pytest.mark.parametrize("n_features", [4, 17])
def test_lloyd_equals_scikit_learn(n_features, products, monkeypatch):
    monkeypatch.setattr(tiled_assignment, "_PRODUCTS_PER_CALL", products)
    points, weights, start = blobs(4000, n_features)
    fit = lloyd(GroupedPoints(points, weights), start, max_iter=300, tol=1e-4)
    peer = KMeans(len(start), init=start, n_init=1, algorithm="lloyd", tol=1e-4)
    peer.fit(points, sample_weight=weights)
    assert fit.inertia == pytest.approx(peer.inertia_, rel=1e-9)
    np.testing.assert_array_equal(fit.labels, peer.labels_)
    assert fit.n_iter == peer.n_iter_


def test_empty_centers_are_refilled():
    points, weights, start = blobs(500, 3)
    start[4:] = 1e6
    fit = lloyd(GroupedPoints(points, weights), start, max_iter=300, tol=0)
    assert len(np.unique(fit.labels)) == len(start)


def test_points_beyond_float32():
    points, weights, start = blobs(500, 3)
    data = GroupedPoints(points * 1e60, weights)
    ours, theirs = TiledAssignment(data, start * 1e60), Assignment(data, start * 1e60)
    assert ours.update() == theirs.update()
    np.testing.assert_array_equal(ours.labels(), theirs.labels())
