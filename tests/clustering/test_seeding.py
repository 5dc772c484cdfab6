import numpy as np
import pytest
from sklearn.cluster import kmeans_plusplus

from napari_kmeans.clustering.seeding import add_farthest, draw_seeds
from napari_kmeans.clustering.tiles import find_nearest


def total_cost(points, weights, centers):
    return find_nearest(points, centers)[1] @ weights


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(size=(500, 3))


def rows(array):
    return {tuple(row) for row in array.tolist()}


@pytest.mark.parametrize("init", ["k-means++", "random"])
@pytest.mark.parametrize("n_clusters", [1, 2, 50, 500])
def test_seeds_are_distinct_points(points, init, n_clusters):
    seeds = draw_seeds(points, np.ones(500), n_clusters, init, np.random.default_rng(1))
    assert seeds.shape == (n_clusters, 3)
    assert len(rows(seeds)) == n_clusters
    assert rows(seeds) <= rows(points)


@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_seeds_are_no_more_than_the_distinct_points(init):
    points = np.repeat([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [1, 700, 40], axis=0)
    seeds = draw_seeds(points, np.ones(len(points)), 5, init, np.random.default_rng(0))
    assert rows(seeds) == {(1, 2), (3, 4), (5, 6)}


@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_first_seed_is_drawn_in_proportion_to_the_weights(init):
    points = np.arange(3.0)[:, None]
    weights = np.array([1.0, 2.0, 5.0])
    rng = np.random.default_rng(3)
    first = [draw_seeds(points, weights, 1, init, rng)[0, 0] for _ in range(4000)]
    shares = np.bincount(np.array(first, int), minlength=3) / 4000
    # Allow four standard deviations of a binomial proportion.
    assert np.abs(shares - weights / 8).max() < 4 * np.sqrt(0.25 / 4000)


def test_kmeans_plusplus_seeds_cost_as_in_scikit_learn():
    rng = np.random.default_rng(5)
    points = rng.normal(size=(2000, 3)) + 8 * rng.integers(0, 6, size=(2000, 1))
    weights = rng.uniform(0.5, 2, 2000)
    ours, theirs = [], []
    for seed in range(30):
        seeds = draw_seeds(points, weights, 10, "k-means++", np.random.default_rng(seed))
        ours.append(total_cost(points, weights, seeds))
        seeds, _ = kmeans_plusplus(points, 10, sample_weight=weights, random_state=seed)
        theirs.append(total_cost(points, weights, seeds))
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.1)
    random = draw_seeds(points, weights, 10, "random", np.random.default_rng(0))
    assert np.mean(ours) < total_cost(points, weights, random)


def test_add_farthest_adds_one_point_after_another():
    points = np.array([[0.0], [1], [10], [9], [4]])
    added = add_farthest(np.array([[0.0]]), points, 3)
    assert added.tolist() == [[0], [10], [4]]
    assert add_farthest(np.array([[0.0], [1.0]]), points[:2], 5).tolist() == [[0], [1]]


@pytest.mark.parametrize("n_clusters", [2, 9, 60])
def test_each_seed_is_the_best_of_its_candidates(n_clusters):
    # More points than are compared with all candidates at a time.
    rng = np.random.default_rng(n_clusters)
    points, weights = rng.normal(size=(1300, 4)), rng.uniform(0.5, 2, 1300)
    found = draw_seeds(points, weights, n_clusters, "k-means++", np.random.default_rng(7))
    draws = np.random.default_rng(7).random((n_clusters, 2 + int(np.log(n_clusters))))
    expected = [points[np.searchsorted(np.cumsum(weights), draws[0, 0] * weights.sum(), "right")]]
    for some in draws[1:]:
        costs = weights * find_nearest(points, np.array(expected))[1]
        drawn = points[np.searchsorted(np.cumsum(costs), some * costs.sum(), "right")]
        expected.append(
            min(drawn, key=lambda seed: total_cost(points, weights, np.array([*expected, seed])))
        )
    np.testing.assert_array_equal(found, expected)
