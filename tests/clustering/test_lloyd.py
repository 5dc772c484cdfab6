from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from napari_kmeans.clustering import assignment
from napari_kmeans.clustering.assignment import Assignment, GroupedPoints
from napari_kmeans.clustering.lloyd import fit_restarts, lloyd, refill_empty_clusters
from napari_kmeans.clustering.seeding import draw_seeds
from napari_kmeans.clustering.tiles import find_labels, find_nearest


def blobs(seed, n=3000, d=3, k=5):
    rng = np.random.default_rng(seed)
    centers = rng.uniform(0, 255, (k, d))
    return centers[rng.integers(k, size=n)] + rng.normal(0, 12, (n, d)), rng


def run(points, weights, start, **options):
    return lloyd(GroupedPoints(points, weights), start, **options)


def brute_force_nearest(points, centers):
    squared = ((points[:, None, :] - centers[None]) ** 2).sum(axis=2)
    return squared.argmin(axis=1), squared.min(axis=1)


def test_find_nearest_equals_brute_force():
    points, rng = blobs(0)
    centers = rng.uniform(0, 255, (7, 3))
    labels, distances = find_nearest(points, centers)
    expected, squared = brute_force_nearest(points, centers)
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_allclose(distances, squared, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1e-21, 1, 255, 1e18, 1e34])
@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize("n_features", [1, 3, 9])
def test_float32_points_have_the_labels_and_distances_of_float64(n_features, offset, scale):
    rng = np.random.default_rng(0)
    points = ((rng.random((3000, n_features)) + offset) * scale).astype(np.float32)
    centers = points[rng.integers(3000, size=9)].astype(np.float64)
    centers[3] = centers[2]
    # Points exactly and almost in the middle between two centers.
    points[:100] = (centers[0] + centers[1]) / 2
    points[:100] += np.float32(scale * 1e-7) * rng.integers(-3, 4, (100, n_features))
    expected = find_nearest(points.astype(np.float64), centers)
    for result, truth in zip(find_nearest(points, centers), expected, strict=True):
        np.testing.assert_array_equal(result, truth)
    np.testing.assert_array_equal(find_labels(points, centers), expected[0])


def test_find_nearest_takes_the_first_of_equally_near_centers():
    centers = np.array([[4.0], [0.0], [2.0], [0.0]])
    labels, _ = find_nearest(np.array([[1.0], [3.0], [0.0]]), centers)
    assert labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tol", [0.0, 1e-4, 1e-2])
def test_lloyd_equals_scikit_learn(seed, tol):
    points, rng = blobs(seed)
    start = points[rng.choice(len(points), 8, replace=False)]
    ours = run(points, np.ones(len(points)), start, max_iter=300, tol=tol)
    theirs = KMeans(8, init=start, n_init=1, tol=tol, algorithm="lloyd").fit(points)
    np.testing.assert_allclose(ours.centers, theirs.cluster_centers_, atol=1e-8)
    assert ours.n_iter == theirs.n_iter_
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-10)


def test_weighted_points_are_fitted_like_repeated_points():
    points, rng = blobs(1, n=400)
    counts = rng.integers(1, 9, len(points))
    start = points[:6]
    once = run(points, counts.astype(float), start, max_iter=300, tol=1e-6)
    repeated = np.repeat(points, counts, axis=0)
    many = run(repeated, np.ones(len(repeated)), start, max_iter=300, tol=1e-6)
    np.testing.assert_allclose(once.centers, many.centers, atol=1e-9)
    assert once.n_iter == many.n_iter
    assert once.inertia == pytest.approx(many.inertia)


@pytest.mark.parametrize("n_equal", [2, 4])
def test_empty_center_moves_as_in_scikit_learn(n_equal):
    points, _ = blobs(3, n=500)
    start = np.vstack([np.repeat(points[:1], n_equal, axis=0), points[1:4]])
    ours = run(points, np.ones(len(points)), start, max_iter=300, tol=0)
    theirs = KMeans(len(start), init=start, n_init=1, tol=0, algorithm="lloyd").fit(points)
    np.testing.assert_allclose(ours.centers, theirs.cluster_centers_, atol=1e-8)
    assert len(np.unique(find_nearest(points, ours.centers)[0])) == len(start)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), k=st.integers(1, 9))
def test_cost_never_rises(seed, k):
    points, rng = blobs(seed, n=200, d=2)
    weights = rng.uniform(0.1, 5, len(points))
    start = rng.uniform(0, 255, (k, 2))
    costs = [run(points, weights, start, max_iter=i, tol=0).inertia for i in range(1, 12)]
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(costs))


def test_initial_centers_are_not_changed():
    points, _ = blobs(0, n=100)
    start = points[:3].copy()
    run(points, np.ones(100), start, max_iter=10, tol=0)
    np.testing.assert_array_equal(start, points[:3])


def test_result_does_not_depend_on_the_number_of_threads(monkeypatch):
    monkeypatch.setattr(assignment, "TASK_POINTS", 1000)
    points, rng = blobs(2, n=20_500)
    weights = rng.uniform(0, 1, len(points))
    fits = []
    for threads in (1, 8):
        monkeypatch.setattr(
            "napari_kmeans.execution.threads.n_threads", lambda threads=threads: threads
        )
        fits.append(run(points, weights, points[:9], max_iter=20, tol=0))
    np.testing.assert_array_equal(fits[0].centers, fits[1].centers)
    assert fits[0].inertia == fits[1].inertia


def test_restarts_are_sorted_by_cost():
    points, _ = blobs(4, k=12)
    data = GroupedPoints(points, np.ones(len(points)))
    options = {"n_clusters": 12, "init": "random", "max_iter": 300, "tol": 0.0}
    streams = np.random.default_rng(7).spawn(6)
    single = [
        fit_restarts(data, n_init=1, rng=ParentOf(stream), **options)[0].inertia
        for stream in streams
    ]
    fits = fit_restarts(data, n_init=6, rng=np.random.default_rng(7), **options)
    assert len(set(np.round(single))) > 1
    assert [fit.inertia for fit in fits] == sorted(single)


@pytest.mark.parametrize("max_iter", [1, 2, 300])
@pytest.mark.parametrize("shape", [(150, 3), (60, 2)])
@pytest.mark.parametrize("init", ["random", "k-means++"])
def test_restarts_are_single_runs_from_their_seeds(init, shape, max_iter):
    # Two of the random starts of 60 points lose a cluster, which is refilled.
    rng = np.random.default_rng(1)
    points, weights = rng.integers(0, 999, shape).astype(float), rng.random(shape[0]) + 0.1
    data, options = GroupedPoints(points, weights), {"max_iter": max_iter, "tol": 1e-4}
    fits = fit_restarts(
        data, n_clusters=30, init=init, n_init=40, rng=np.random.default_rng(2), **options
    )
    expected = [
        lloyd(data, draw_seeds(points, weights, 30, init, stream), **options)
        for stream in np.random.default_rng(2).spawn(40)
    ]
    expected.sort(key=lambda fit: fit.inertia)
    for ours, theirs in zip(fits, expected, strict=True):
        assert (ours.inertia, ours.n_iter) == (theirs.inertia, theirs.n_iter)
        np.testing.assert_array_equal(ours.centers, theirs.centers)
        np.testing.assert_array_equal(ours.labels, theirs.labels)


def test_the_cost_is_that_of_the_centers_and_labels():
    for seed in range(1500):
        rng = np.random.default_rng(seed)
        points = rng.integers(0, 3, (int(rng.integers(2, 9)), int(rng.integers(1, 3)))).astype(
            float
        )
        weights, start = rng.random(len(points)) + 0.1, rng.random((int(rng.integers(2, 7)), 1)) * 3
        start = np.repeat(start, points.shape[1], axis=1)
        fit = run(points, weights, start, max_iter=int(rng.integers(1, 4)), tol=0.0)
        squares = brute_force_nearest(points, fit.centers)[1]
        np.testing.assert_allclose(fit.inertia, weights @ squares, atol=1e-12, err_msg=str(seed))


class ParentOf:
    """A random generator that returns the same child for each call of `spawn`."""

    def __init__(self, child):
        self.child = child

    def spawn(self, n):
        return [self.child] * n


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    k=st.integers(1, 12),
    d=st.integers(1, 5),
    lattice=st.booleans(),
    n_groups=st.integers(1, 60),
    offset=st.sampled_from([0.0, 1e8]),
)
def test_assignment_equals_full_search_including_ties(seed, k, d, lattice, n_groups, offset):
    rng = np.random.default_rng(seed)
    points = offset + (rng.integers(0, 6, (300, d)) if lattice else rng.normal(size=(300, d)))
    points = np.ascontiguousarray(points[np.lexsort(points.T)], dtype=float)
    weights = rng.integers(1, 9, 300).astype(float)
    inner = rng.choice(np.arange(1, 300), n_groups, replace=False)
    starts = np.sort(np.concatenate([[0, 300], inner]))
    data = GroupedPoints(points, weights, starts)
    # On a lattice, many centers are equal, and many points have two equally near centers.
    centers = points[rng.integers(300, size=k)].copy()
    state = Assignment(data, centers)
    for _ in range(8):
        before = state.labels()
        changed = state.update()
        expected, squared = brute_force_nearest(points, state.centers)
        labels = state.labels()
        np.testing.assert_array_equal(labels, expected)
        assert changed == np.count_nonzero(labels != before)
        np.testing.assert_array_equal(state.counts, np.bincount(labels, minlength=k))
        np.testing.assert_allclose(state.totals, np.bincount(labels, weights, k), atol=1e-9)
        # With the offset of 1e8, 8 of 16 digits remain for the coordinates.
        near = {"rel": 1e-7} if offset else {"abs": 1e-9}
        assert state.cost() == pytest.approx((squared * weights).sum(), **near)
        state.move(state.sums, state.totals)


def test_mean_variance_equals_numpy():
    points, rng = blobs(5, n=300)
    weights = rng.integers(1, 5, 300)
    repeated = np.repeat(points, weights, axis=0)
    data = GroupedPoints(points, weights.astype(float))
    assert data.mean_variance == pytest.approx(repeated.var(axis=0).mean(), rel=1e-12)


def test_exception_from_step_ends_the_run():
    class Stop(Exception):
        pass

    seen = []

    def step(count):
        seen.append(count)
        if len(seen) == 3:
            raise Stop

    points, _ = blobs(0, n=150_000)
    with pytest.raises(Stop):
        run(points, np.ones(len(points)), points[:9], max_iter=300, tol=0, step=step)
    assert seen == [0, 0, 0]


def test_lloyd_converges_for_coordinates_of_all_magnitudes():
    rng = np.random.default_rng(2986)
    for _ in range(300):
        n = int(rng.integers(5, 60))
        points = rng.choice([-1, 1], (n, 3)) * 10.0 ** rng.uniform(-100, 100, (n, 3))
        start = points[rng.choice(n, n // 2, replace=False)]
        fit = run(points, rng.random(n) * 30, start, max_iter=10_000, tol=0.0)
        assert fit.n_iter < 10_000


def test_refilling_does_not_take_the_only_point_of_a_cluster():
    sums, totals = np.array([[0.0], [30.0], [0.0]]), np.array([0.0, 3.0, 0.0])
    points, weights = np.array([[10.5], [10.0]]), np.array([3.0, 1.0])
    refill_empty_clusters(
        sums, totals, np.array([0, 2]), points, weights, np.array([1, 1]), np.array([0.25, 1e-28])
    )
    assert totals.tolist() == [0, 3, 0]


@pytest.mark.parametrize("n_init", [1, 2, 7, 30])
def test_each_restart_is_one_step(n_init):
    data = GroupedPoints(np.random.default_rng(0).normal(size=(300, 3)), np.ones(300))
    steps = []
    options = {"n_clusters": 4, "init": "k-means++", "max_iter": 9, "tol": 0.0}
    rng = np.random.default_rng(0)
    fits = fit_restarts(data, n_init=n_init, rng=rng, step=steps.append, **options)
    assert len(fits) == n_init
    assert n_init == 1 or sum(steps) == n_init
