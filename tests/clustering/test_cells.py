import heapq
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from napari_kmeans.clustering.assignment import GroupedPoints
from napari_kmeans.clustering.cells import group_in_cells
from napari_kmeans.clustering.coreset import draw_coreset
from napari_kmeans.clustering.lloyd import fit_restarts
from napari_kmeans.clustering.tiles import find_nearest


def cost(points, weights, centers):
    return float(np.sum(weights * find_nearest(points, centers)[1]))


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 200),
    n_values=st.integers(1, 60),
    n_cells=st.integers(1, 250),
)
def test_cells_contain_each_point_once_and_bound_the_cost(seed, n, n_values, n_cells):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, n_values, (n, 2)) / 7
    weights = rng.uniform(0.1, 10, n)
    cells = group_in_cells(points, weights, n_cells)[0]
    rows = sorted(map(tuple, np.column_stack([points, weights])))
    assert sorted(map(tuple, np.column_stack([cells.points, cells.weights]))) == rows
    sizes = np.diff(cells.starts)
    assert (sizes > 0).all()
    assert len(sizes) == min(n_cells, len(np.unique(points, axis=0)))
    centers = rng.uniform(0, n_values / 7, (4, 2))
    true, summary = cost(points, weights, centers), cost(cells.means, cells.totals, centers)
    scatter = cells.scatters.sum()
    assert np.sqrt(summary) - np.sqrt(scatter) <= np.sqrt(true) * (1 + 1e-9) + 1e-6
    assert true <= (summary + scatter) * (1 + 1e-9) + 1e-9


def test_input_points_are_not_changed():
    points = np.random.default_rng(0).normal(size=(100, 3))
    before = points.copy()
    group_in_cells(points, np.ones(100), 10)
    np.testing.assert_array_equal(points, before)


def test_points_of_a_cell_are_equal_with_enough_cells():
    points = np.random.default_rng(0).normal(size=(30, 4)).repeat(5, axis=0)
    cells = group_in_cells(points, np.ones(150), 1000)[0]
    assert len(cells.totals) == 30
    assert (cells.totals == 5).all()
    np.testing.assert_allclose(cells.radii, 0, atol=1e-12)


def test_adjacent_floats_get_separate_cells():
    for number in (1.0, 1e6, 1e-5, -3.0):
        points = np.array([[number], [np.nextafter(number, 1e9)], [number]])
        assert sorted(group_in_cells(points, np.ones(3), 3)[0].totals) == [1, 2]


def test_points_with_underflowing_squares_stay_in_one_cell():
    points = np.array([[1e-300], [2e-300], [1e-300]])
    assert len(group_in_cells(points, np.ones(3), 3)[0].totals) == 1


@pytest.mark.parametrize("distance", [1e200, 1e160, 3e-162, 2e-162, 1.75e-162, 1e-162])
def test_spreads_may_overflow_or_be_the_smallest_numbers(distance):
    # Seven tenths of the smallest number are rounded to this number.
    cells, order = group_in_cells(np.array([[0.0], [distance]]), np.ones(2), 2)
    assert 1 <= len(cells.totals) <= 2
    assert sorted(order) == [0, 1]


def test_outlier_gets_its_own_cell():
    points = np.random.default_rng(0).normal(size=(10_000, 3))
    points[1234] = 1e6
    cells = group_in_cells(points, np.ones(len(points)), 10)[0]
    assert (cells.means == points[1234]).all(axis=1).any()


@pytest.mark.parametrize("n_clusters", [8, 32])
def test_centers_of_cells_cost_less_than_centers_of_a_sample(n_clusters):
    pixels = data.coffee().reshape(-1, 3)[::20].astype(float)
    ones = np.ones(len(pixels))
    options = {
        "n_clusters": n_clusters,
        "init": "k-means++",
        "n_init": 5,
        "max_iter": 300,
        "tol": 1e-4,
    }

    def cost_of_fit(points, weights, rng):
        summary = GroupedPoints(np.ascontiguousarray(points), weights)
        return cost(pixels, ones, fit_restarts(summary, rng=rng, **options)[0].centers)

    cells = group_in_cells(pixels, ones, 1000)[0]
    means, samples = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        means.append(cost_of_fit(cells.means, cells.totals, rng))
        indices, weights = draw_coreset(pixels, ones, n_clusters, 1000, rng)
        samples.append(cost_of_fit(pixels[indices], weights, rng))
    assert np.mean(means) < np.mean(samples)


def test_cells_that_are_there_already_are_only_divided():
    rng = np.random.default_rng(3)
    points, weights = rng.normal(size=(400, 3)), rng.integers(1, 9, 400).astype(float)
    first = np.sort(rng.choice(np.arange(1, 400), 30, replace=False))
    first = np.concatenate([[0], first, [400]])
    data, order = group_in_cells(points, weights, 90, first)
    np.testing.assert_array_equal(data.points, points[order])
    np.testing.assert_array_equal(data.weights, weights[order])
    assert len(data.totals) == 90
    assert set(first) <= set(data.starts)
    for start, stop in pairwise(first):
        assert sorted(order[start:stop]) == list(range(start, stop))
    again, _ = group_in_cells(points, weights, 90, np.array([0, 400]))
    alone, _ = group_in_cells(points, weights, 90)
    np.testing.assert_array_equal(again.starts, alone.starts)


def spread_of(points, weights):
    """Return the largest weighted sum of squared deviations along an axis, the axis, the mean."""
    mean = weights @ points / weights.sum()
    squares = weights @ (points - mean) ** 2
    return squares.max(), squares.argmax(), mean


def divide_with_a_queue(points, weights, n_cells, first_starts):
    """Return sets of indices: always divide the cell of the largest spread."""
    ranges = [range(*pair) for pair in pairwise(first_starts)]
    queue = [(-spread_of(points[own], weights[own])[0], min(own), list(own)) for own in ranges]
    heapq.heapify(queue)
    while len(queue) < n_cells:
        own = np.array(heapq.heappop(queue)[2])
        _, axis, mean = spread_of(points[own], weights[own])
        is_low = points[own, axis] <= mean[axis]
        for part in (own[is_low], own[~is_low]):
            spread = spread_of(points[part], weights[part])[0]
            heapq.heappush(queue, (-spread, part.min(), part.tolist()))
    return {frozenset(cell) for _, _, cell in queue}


@pytest.mark.parametrize("n_features", [1, 3, 5])
@pytest.mark.parametrize("n_first", [1, 30, 2000])
def test_cells_of_the_largest_spread_are_divided(n_features, n_first):
    # A limit is guessed from every 16th of 2000 cells.
    rng = np.random.default_rng(n_first)
    points, weights = rng.lognormal(size=(12_000, n_features)), rng.uniform(1, 9, 12_000)
    first = np.sort(rng.choice(np.arange(1, 12_000), n_first - 1, replace=False))
    first = np.concatenate([[0], first, [12_000]])
    n_cells = n_first + 2500
    cells, order = group_in_cells(points, weights, n_cells, first)
    found = {frozenset(order[start:stop].tolist()) for start, stop in pairwise(cells.starts)}
    assert found == divide_with_a_queue(points, weights, n_cells, first)


def test_a_limit_guessed_too_low_makes_no_cell_too_many(monkeypatch):
    rng = np.random.default_rng(0)
    points, weights = rng.normal(size=(3000, 3)), np.ones(3000)
    expected = group_in_cells(points, weights, 200)[0]
    for limit in (1e-3, 1.0, 30.0, 1e9):
        monkeypatch.setattr("napari_kmeans.clustering.cells._guess_limit", lambda *_, x=limit: x)
        found = group_in_cells(points, weights, 200)[0]
        assert len(found.totals) == 200
        if limit >= 1:
            np.testing.assert_array_equal(found.starts, expected.starts)
