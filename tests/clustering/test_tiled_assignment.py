"""Lloyd's algorithm with searches in tiles against the algorithm with bounds, and scikit-learn."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from napari_kmeans.clustering import tiled_assignment
from napari_kmeans.clustering.assignment import Assignment, GroupedPoints, label_once
from napari_kmeans.clustering.cells import group_in_cells
from napari_kmeans.clustering.kernels import MIXED
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


@pytest.mark.parametrize("n_values", [6, 10**6])
@pytest.mark.parametrize(("n_features", "n_clusters"), [(1, 12), (3, 9), (3, 120), (6, 60)])
def test_labels_are_those_of_all_centers_where_blocks_are_small(n_features, n_clusters, n_values):
    # Consecutive points are near each other: most centers are not compared with a block. With few
    # values, many points are equally near to several centers.
    rng = np.random.default_rng(0)
    points = rng.integers(0, n_values, (9000, n_features)) / n_values
    cells, _ = group_in_cells(points, rng.uniform(1, 2, 9000), 1000)
    start = rng.integers(0, n_values, (n_clusters, n_features)) / n_values
    ours, theirs = TiledAssignment(cells, start), Assignment(cells, start)
    for _ in range(4):
        ours.update()
        theirs.update()
        squares = ((cells.points[:, None] - ours.centers) ** 2).sum(axis=2)
        np.testing.assert_array_equal(ours.labels(), squares.argmin(axis=1))
        np.testing.assert_array_equal(ours.labels(), theirs.labels())
        sums, totals = theirs.sums.copy(), theirs.totals.copy()
        ours.move(sums, totals)
        theirs.move(sums, totals)


@pytest.mark.parametrize("offset", [0, 1e7])
@pytest.mark.parametrize("n_values", [6, 10**6])
@pytest.mark.parametrize(("n_features", "n_clusters"), [(1, 12), (3, 1), (3, 120), (6, 60)])
def test_labels_found_once_are_those_of_an_assignment(n_features, n_clusters, n_values, offset):
    rng = np.random.default_rng(1)
    points = offset + rng.integers(0, n_values, (9000, n_features)) / n_values
    centers = offset + rng.integers(0, n_values, (n_clusters, n_features)) / n_values
    cells, _ = group_in_cells(points, rng.uniform(1, 2, 9000), 1000)
    for data in (cells, GroupedPoints(points, np.ones(len(points)))):
        found, expected = label_once(data, centers), Assignment(data, centers)
        expected.update()
        np.testing.assert_array_equal(found.labels, expected.labels())
        np.testing.assert_allclose(found.totals, expected.totals, rtol=1e-12)
        np.testing.assert_allclose(found.sums, expected.sums, rtol=1e-12)
        # Costs of whole groups have the rounding error of their means, 1e-9 near 1e7.
        assert found.cost == pytest.approx(expected.cost(), rel=1e-8)


@pytest.mark.parametrize("n_clusters", [1, 2, 30])
def test_groups_without_points_are_labeled_as_a_whole_or_marked(n_clusters):
    rng = np.random.default_rng(2)
    data, _ = group_in_cells(rng.random((9000, 3)), rng.uniform(1, 2, 9000), 700)
    centers = rng.random((n_clusters, 3))
    expected = label_once(data, centers)
    moments = GroupedPoints(data.points[:0], data.weights[:0], data.starts, data.moments)
    found = label_once(moments, centers)
    np.testing.assert_array_equal(found.group_labels, expected.group_labels)
    whole = np.repeat(found.group_labels, np.diff(data.starts))
    is_whole = whole != MIXED
    assert 0 < is_whole.mean() <= 1
    assert is_whole.all() == (n_clusters == 1)
    np.testing.assert_array_equal(whole[is_whole], expected.labels[is_whole])
    totals = np.bincount(whole[is_whole], data.weights[is_whole], n_clusters)
    np.testing.assert_allclose(found.totals, totals, rtol=1e-12)
    distances = ((data.points - centers[expected.labels]) ** 2).sum(axis=1)
    cost = (data.weights * distances)[is_whole].sum()
    assert found.cost == pytest.approx(cost, rel=1e-9)


def test_a_group_with_points_at_equal_distances_is_not_labeled_as_a_whole():
    points = np.array([[0.0, 0], [1, 0], [4, 0], [5, 0]])
    data = GroupedPoints(points, np.ones(4), np.array([0, 2, 4]))
    # The second point is equally near to both centers.
    found = label_once(data, np.array([[0.0, 0], [2, 0]]))
    assert found.group_labels.tolist() == [MIXED, 1]
    assert found.labels.tolist() == [0, 0, 1, 1]
