import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from sklearn.cluster import KMeans

from napari_kmeans.clustering.coreset import draw_coreset
from napari_kmeans.clustering.tiles import find_nearest


def total_cost(points, weights, centers):
    return find_nearest(points, centers)[1] @ weights


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 400),
    size=st.integers(3, 500),
    n_values=st.integers(1, 50),
)
def test_weights_of_coreset_have_the_sum_of_all_weights(seed, n, size, n_values):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, n_values, (n, 2)).astype(float)
    weights = rng.uniform(0.1, 10, n)
    indices, sampled = draw_coreset(points, weights, 3, size, rng)
    assert sampled.sum() == pytest.approx(weights.sum())
    assert (sampled > 0).all()
    assert (np.diff(indices) > 0).all()
    assert len(indices) <= max(size, n if n <= size else 0)


def test_coreset_of_full_size_contains_all_points():
    points = np.random.default_rng(0).normal(size=(50, 3))
    weights = np.arange(1.0, 51)
    indices, sampled = draw_coreset(points, weights, 5, 50, np.random.default_rng(0))
    np.testing.assert_array_equal(indices, np.arange(50))
    np.testing.assert_array_equal(sampled, weights)


def test_cost_of_coreset_is_unbiased_and_varies_less_than_a_uniform_sample():
    pixels = data.coffee().reshape(-1, 3).astype(float)
    ones = np.ones(len(pixels))
    centers = KMeans(32, n_init=1, random_state=0).fit(pixels[::20]).cluster_centers_
    cost = total_cost(pixels, ones, centers)
    ratios, uniform = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        indices, weights = draw_coreset(pixels, ones, 32, 2000, rng)
        ratios.append(total_cost(pixels[indices], weights, centers) / cost)
        chosen = rng.choice(len(pixels), 2000)
        share = np.full(2000, len(pixels) / 2000)
        uniform.append(total_cost(pixels[chosen], share, centers) / cost)
    # The bias is below three standard errors, and the standard deviation is smaller.
    assert abs(np.mean(ratios) - 1) < 3 * np.std(ratios) / np.sqrt(30)
    assert np.std(ratios) < 0.7 * np.std(uniform)


def test_single_outlier_in_a_million_points_is_drawn():
    points = np.zeros((1_000_000, 3))
    points[::2] = 1
    points[123_456] = 200
    for seed in range(5):
        indices, _ = draw_coreset(points, np.ones(len(points)), 3, 300, np.random.default_rng(seed))
        assert 123_456 in indices


def test_same_seed_draws_same_coreset():
    points = np.random.default_rng(0).normal(size=(5000, 3))
    draws = [
        draw_coreset(points, np.ones(5000), 4, 200, np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(draws[0][0], draws[1][0])
    np.testing.assert_array_equal(draws[0][1], draws[1][1])
    assert not np.array_equal(draws[0][0], draws[2][0])
