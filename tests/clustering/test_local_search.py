import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_kmeans.clustering import local_search
from napari_kmeans.clustering.assignment import GroupedPoints
from napari_kmeans.clustering.lloyd import fit_restarts, lloyd
from napari_kmeans.clustering.local_search import (
    improve,
    try_swaps,
)


def scattered(seed, n, d, n_values):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, n_values, (n, d)).astype(float)
    return GroupedPoints(points, rng.integers(1, 50, n).astype(float)), rng


def cost_of(points, weights, labels):
    """Return the cost of labels with each center at the mean of its points, by plain numpy."""
    total = 0.0
    for label in np.unique(labels):
        own, mass = points[labels == label], weights[labels == label]
        mean = mass @ own / mass.sum()
        total += mass @ ((own - mean) ** 2).sum(axis=1)
    return total


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31), n=st.integers(2, 40), d=st.integers(1, 4), k=st.integers(2, 9))
def test_no_single_move_lowers_the_cost_of_the_result(seed, n, d, k):
    data, rng = scattered(seed, n, d, 6)
    k = min(k, len(np.unique(data.points, axis=0)))
    options = {"n_clusters": k, "init": "random", "n_init": 1, "max_iter": 2, "tol": 0}
    before = fit_restarts(data, rng=rng, **options)[0]
    after = improve(data, before, max_iter=300, tol=0, rng=rng)
    assert len(after.centers) == k
    assert after.inertia <= before.inertia * (1 + 1e-12)
    assert after.inertia == pytest.approx(cost_of(data.points, data.weights, after.labels))
    if after is before:
        return
    for point in range(n):
        for label in range(k):
            moved = after.labels.copy()
            moved[point] = label
            assert cost_of(data.points, data.weights, moved) >= after.inertia * (1 - 1e-6) - 1e-9


def test_improve_leaves_a_local_optimum_of_lloyd():
    # In this local optimum of Lloyd's algorithm, one cluster contains two groups of points, and the
    # two other clusters divide the third group.
    groups = np.array([[0.0, 0], [0, 100], [1000, 0]])
    points = np.concatenate([group + np.indices((2, 2)).reshape(2, 4).T for group in groups])
    data = GroupedPoints(points, np.ones(12))
    stuck = lloyd(data, np.array([[0.5, 50.5], [1000.0, 0.5], [1001.0, 0.5]]), max_iter=99, tol=0)
    assert stuck.inertia > 20_000
    rng = np.random.default_rng(0)
    assert improve(data, stuck, max_iter=300, tol=0, rng=rng).inertia == pytest.approx(6.0)


def test_exception_from_step_ends_the_search():
    data, rng = scattered(0, 200, 3, 99)
    fit = fit_restarts(data, n_clusters=5, init="random", n_init=1, max_iter=1, tol=0, rng=rng)[0]

    def cancel(_steps):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        improve(data, fit, max_iter=300, tol=0, rng=rng, step=cancel)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(3, 200),
    d=st.integers(1, 5),
    k=st.integers(2, 20),
    n_values=st.integers(2, 99),
)
def test_swaps_never_raise_the_cost(seed, n, d, k, n_values):
    data, rng = scattered(seed, n, d, n_values)
    k = min(k, len(np.unique(data.points, axis=0)))
    if k < 2:
        return
    centers = rng.choice(np.unique(data.points, axis=0), k, replace=False)
    columns = np.ascontiguousarray(data.points.T)

    def cost():
        squares = ((data.points[:, None] - centers) ** 2).sum(axis=2)
        return cost_of(data.points, data.weights, squares.argmin(axis=1))

    for _ in range(5):
        before = cost()
        centers = try_swaps(columns, data.weights, centers, rng.random(9), 0.2, 1e-9).centers
        assert np.isfinite(centers).all()
        assert cost() <= before * (1 + 1e-12) + 1e-9


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 300),
    d=st.integers(1, 5),
    k=st.integers(2, 40),
    n_swaps=st.sampled_from([0, 1, 5, 50]),
)
def test_clusters_after_swaps_are_those_of_brute_force(seed, n, d, k, n_swaps):
    rng = np.random.default_rng(seed)
    points, weights, start = rng.random((n, d)), rng.random(n) + 0.1, rng.random((k, d))
    columns = np.ascontiguousarray(points.T)
    clusters = try_swaps(columns, weights, start, rng.random(n_swaps), 0.2, 1e-9)
    distances = ((points[:, None] - clusters.centers) ** 2).sum(axis=2)
    labels = distances.argmin(axis=1)
    np.testing.assert_array_equal(clusters.labels, distances.argsort(axis=1)[:, :2].T)
    np.testing.assert_allclose(clusters.squares, np.sort(distances, axis=1)[:, :2].T)
    np.testing.assert_array_equal(clusters.counts, np.bincount(labels, minlength=k))
    np.testing.assert_allclose(clusters.totals, np.bincount(labels, weights, k), atol=1e-12)
    sums = [np.bincount(labels, weights * column, k) for column in columns]
    np.testing.assert_allclose(clusters.sums, np.transpose(sums), atol=1e-12)


def test_swaps_in_several_calls_are_those_of_one(monkeypatch):
    data, rng = scattered(0, 900, 3, 99)
    columns, draws = np.ascontiguousarray(data.points.T), rng.random(60)
    arguments = columns, data.weights, data.points[:12], draws, 0.2, 1e-9
    steps = []
    at_once = try_swaps(*arguments, steps.append)
    monkeypatch.setattr(local_search, "_CALL_WORK", 4 * 900 * 7)
    in_parts = try_swaps(*arguments, steps.append)
    assert steps == [0] * (1 + 9)
    for ours, theirs in zip(in_parts, at_once, strict=True):
        np.testing.assert_array_equal(ours, theirs)
