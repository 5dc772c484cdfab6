from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.filters import threshold_multiotsu
from sklearn.cluster import KMeans

from napari_kmeans.clustering import one_dimension as module
from napari_kmeans.clustering.one_dimension import (
    Bins,
    bin_values,
    fit_bins,
    fit_line,
    optimal_1d,
)
from napari_kmeans.clustering.tiles import find_nearest


def cost_of_cuts(values, weights, cuts):
    """Return the cost of the clusters that start at index 0 and at `cuts`."""
    cost = 0.0
    for part, weight in zip(np.split(values, cuts), np.split(weights, cuts), strict=True):
        mean = np.average(part, weights=weight)
        cost += weight @ (part - mean) ** 2
    return cost


def brute_force(values, weights, n_clusters):
    all_cuts = combinations(range(1, len(values)), n_clusters - 1)
    return min(cost_of_cuts(values, weights, list(cuts)) for cuts in all_cuts)


def nearest_cost(numbers, centers):
    return find_nearest(np.asarray(numbers, float)[:, None], centers)[1]


numbers = st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda number: round(number, 3))


@settings(deadline=None, max_examples=150)
@given(
    values=st.lists(numbers, min_size=1, max_size=11, unique=True).map(sorted).map(np.array),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_optimum_equals_brute_force(values, seed, data):
    weights = np.random.default_rng(seed).uniform(0.1, 100, len(values))
    k = data.draw(st.integers(1, len(values)))
    fit = optimal_1d(values, weights, k)
    expected = brute_force(values, weights, k)
    assert fit.inertia == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert fit.centers.shape == (k, 1)
    assert (np.diff(fit.centers[:, 0]) > 0).all()
    assert (fit.n_iter, fit.excess) == (1, 0)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31), k=st.integers(2, 40))
def test_optimum_equals_plain_dynamic_program_for_all_limits(seed, k):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(k, 130))
    values = np.sort(rng.choice(1000, n, replace=False)).astype(float)
    weights = rng.integers(1, 50, n).astype(float)
    costs = np.full((k + 1, n + 1), np.inf)
    costs[0, 0] = 0
    for end in range(1, n + 1):
        one = [cost_of_cuts(values[i:end], weights[i:end], []) for i in range(end)]
        costs[1:, end] = np.min(costs[:-1, :end] + one, axis=1)
    with pytest.MonkeyPatch.context() as patch:
        for stored, serial, task in [(2**25, 2**16, 2**22), (50, 2**16, 1), (0, 0, 60)]:
            patch.setattr(module, "_MAX_STORED_CUTS", stored)
            patch.setattr(module, "_MAX_SERIAL_ENTRIES", serial)
            patch.setattr(module, "_TASK_ENTRIES", task)
            assert optimal_1d(values, weights, k).inertia == pytest.approx(costs[k, n], rel=1e-12)


def test_optimum_costs_at_most_as_much_as_scikit_learn():
    rng = np.random.default_rng(0)
    for seed in range(200):
        n = int(rng.integers(5, 60))
        values = np.sort(rng.choice(256, n, replace=False)).astype(float)
        weights = rng.integers(1, 1000, n).astype(float)
        k = int(rng.integers(2, 6))
        theirs = KMeans(k, init="random", n_init=1, random_state=seed)
        inertia = theirs.fit(values[:, None], sample_weight=weights).inertia_
        assert optimal_1d(values, weights, k).inertia <= inertia * (1 + 1e-9)


@pytest.mark.parametrize("n_clusters", [2, 3, 4])
@pytest.mark.parametrize("name", ["camera", "coins", "moon"])
def test_optimum_equals_multi_otsu_on_8_bit_images(name, n_clusters):
    image = getattr(data, name)()
    values, counts = np.unique(image, return_counts=True)
    weights = counts.astype(float)
    fit = optimal_1d(values.astype(float), weights, n_clusters)
    thresholds = threshold_multiotsu(image, classes=n_clusters)
    theirs = np.searchsorted(thresholds, values)
    if not np.array_equal(fit.labels, theirs):
        # scikit-image adds in single precision, so that two partitions can have equal costs
        # there.
        cost = cost_of_cuts(values.astype(float), weights, np.flatnonzero(np.diff(theirs)) + 1)
        assert fit.inertia == pytest.approx(cost, rel=1e-6)
        assert fit.inertia <= cost


def test_inertia_and_labels_are_those_of_the_nearest_centers():
    values, counts = np.unique(data.camera(), return_counts=True)
    fit = optimal_1d(values.astype(float), counts.astype(float), 7)
    labels, distances = find_nearest(values[:, None].astype(float), fit.centers)
    np.testing.assert_array_equal(fit.labels, labels)
    assert fit.inertia == pytest.approx(counts @ distances, rel=1e-12)
    means = np.bincount(labels, counts * values) / np.bincount(labels, counts)
    np.testing.assert_allclose(fit.centers[:, 0], means, rtol=1e-13)


def test_weighted_values_are_fitted_like_repeated_numbers():
    rng = np.random.default_rng(1)
    values = np.sort(rng.normal(size=50))
    counts = rng.integers(1, 9, 50)
    repeated = rng.permutation(np.repeat(values, counts))
    once = optimal_1d(values, counts.astype(float), 6)
    many = fit_line(repeated[:, None], np.ones(len(repeated)), 6)
    np.testing.assert_array_equal(once.centers, many.centers)
    assert once.inertia == pytest.approx(many.inertia)
    np.testing.assert_array_equal(many.labels, find_nearest(repeated[:, None], many.centers)[0])


def test_mirrored_values_have_mirrored_centers():
    rng = np.random.default_rng(2)
    values, weights = np.sort(rng.normal(size=300)), rng.uniform(1, 5, 300)
    fit = optimal_1d(values, weights, 9)
    mirrored = optimal_1d(-values[::-1], weights[::-1], 9)
    np.testing.assert_allclose(mirrored.centers[::-1], -fit.centers, rtol=1e-12)


@pytest.mark.parametrize("n_clusters", [3, 4, 90])
def test_clusters_are_no_more_than_the_values(n_clusters):
    values = np.array([-3.0, 0.5, 8.0])
    fit = optimal_1d(values, np.array([1.0, 2.0, 3.0]), n_clusters)
    np.testing.assert_array_equal(fit.centers[:, 0], values)
    assert fit.labels.tolist() == [0, 1, 2]
    assert fit.inertia == 0


@pytest.mark.parametrize("values", [[], [1.0, 1.0], [2.0, 1.0], [0.0, np.nan]])
def test_values_that_do_not_ascend_raise(values):
    with pytest.raises(ValueError, match="strictly ascending"):
        optimal_1d(np.array(values), np.ones(len(values)), 2)


@pytest.mark.parametrize("offset", [0.0, 1e9, -4e12])
def test_optimum_far_from_0_is_as_precise_as_near_0(offset):
    steps = np.sort(np.random.default_rng(0).choice(1024, 200, replace=False)) / 1024
    weights = np.random.default_rng(1).integers(1, 1000, 200).astype(float)
    fit, far = optimal_1d(steps, weights, 5), optimal_1d(steps + offset, weights, 5)
    np.testing.assert_array_equal(far.labels, fit.labels)
    assert far.inertia == pytest.approx(fit.inertia, rel=1e-9 if abs(offset) < 1e10 else 1e-5)


@pytest.mark.parametrize("outlier", [1e9, -9999.0, 3.4e38, -3.4e38])
def test_outlier_does_not_reduce_the_precision_of_other_clusters(outlier):
    # The difference of two cumulative sums of squares has no correct digit here.
    values = np.sort(np.random.default_rng(0).uniform(0, 1, 200))
    alone = optimal_1d(values, np.ones(200), 4)
    both = optimal_1d(np.sort(np.append(values, outlier)), np.ones(201), 5)
    assert both.inertia == pytest.approx(alone.inertia, rel=1e-9)
    assert outlier in both.centers


def test_optimum_of_all_16_bit_numbers():
    counts = np.random.default_rng(0).integers(1, 100, 2**16).astype(float)
    values = np.arange(2.0**16)
    fits = [optimal_1d(values, counts, k) for k in (1, 2, 3, 8)]
    costs = [fit.inertia for fit in fits]
    assert costs == sorted(costs, reverse=True)
    # For evenly distributed numbers, K clusters cost 1 / K² of the cost of one cluster.
    np.testing.assert_allclose(np.array(costs) * [1, 4, 9, 64], costs[0], rtol=0.01)


def test_cuts_above_16_bits_are_stored():
    values = np.append(np.arange(70_000.0), 1e7)
    fit = optimal_1d(values, np.ones(len(values)), 4)
    assert np.flatnonzero(np.diff(fit.labels)).tolist()[-1] == 69_999
    sizes = np.bincount(fit.labels)
    assert np.ptp(sizes[:3]) <= 1


def test_result_does_not_depend_on_the_number_of_threads(monkeypatch):
    values = np.sort(np.random.default_rng(0).normal(size=20_000))
    fits = []
    for threads in (1, 8):
        monkeypatch.setattr(
            "napari_kmeans.execution.threads.n_threads", lambda threads=threads: threads
        )
        fits.append(optimal_1d(values, np.ones(len(values)), 6))
    np.testing.assert_array_equal(fits[0].centers, fits[1].centers)
    assert fits[0].inertia == fits[1].inertia


def test_exception_from_step_ends_the_search(monkeypatch):
    class Stop(Exception):
        pass

    seen = []

    def step(count):
        seen.append(count)
        if len(seen) == 3:
            raise Stop

    monkeypatch.setattr(module, "_TASK_ENTRIES", 1000)
    with pytest.raises(Stop):
        optimal_1d(np.arange(1000.0), np.ones(1000), 20, step)
    assert seen == [0, 0, 0]


def skewed(seed, n):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.gamma(2, 3, n), rng.normal(40, 2, n // 2), np.zeros(n // 3)])


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**31), n_bins=st.integers(2, 400), k=st.integers(1, 8))
def test_cost_of_binned_numbers_is_within_the_bound(seed, n_bins, k):
    numbers = skewed(seed, 60)
    values, counts = np.unique(numbers, return_counts=True)
    optimum = optimal_1d(values, counts.astype(float), k).inertia
    bins = bin_values(numbers, None, numbers.min(), numbers.max(), n_bins)
    fit = fit_bins(bins, k)
    assert optimum * (1 - 1e-9) <= nearest_cost(numbers, fit.centers).sum() <= fit.inertia + 1e-9
    assert fit.inertia - optimum <= fit.excess + 1e-9
    max_weight = bins.totals.max()
    assert fit.excess <= np.ptp(numbers) ** 2 * max_weight / (2 * n_bins) + 1e-9


def test_inertia_of_bins_is_the_cost_of_their_numbers():
    numbers = skewed(0, 500).astype(np.float32)
    fit = fit_bins(bin_values(numbers, None, numbers.min(), numbers.max(), 100), 4)
    bins = (100 * (numbers - numbers.min()) / np.ptp(numbers)).astype(int).clip(max=99)
    assert set(np.flatnonzero(fit.labels < 0)) == set(range(100)) - set(bins)
    squares = (numbers - fit.centers[fit.labels[bins], 0]) ** 2
    assert fit.inertia == pytest.approx(squares.sum(dtype=float), rel=1e-5)


def test_one_bin_per_number_gives_the_optimum():
    numbers = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    fit = fit_bins(bin_values(numbers, None, -32768, 32767), 6)
    best = fit_line(numbers[:, None], np.ones(len(numbers)), 6)
    np.testing.assert_allclose(fit.centers, best.centers, rtol=1e-12)
    assert fit.inertia == pytest.approx(best.inertia, rel=1e-12)
    assert fit.excess <= 1e-6 * fit.inertia


def test_merged_bins_equal_the_bins_of_all_numbers():
    numbers = skewed(1, 3000)
    weights = np.random.default_rng(0).uniform(1, 2, len(numbers))
    ends = numbers.min(), numbers.max()
    expected = bin_values(numbers, weights, *ends, 64)
    parts = [
        bin_values(part, weight, *ends, 64)
        for part, weight in zip(np.split(numbers, 5), np.split(weights, 5), strict=True)
    ]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    for name in ("totals", "sums", "squares"):
        np.testing.assert_allclose(getattr(merged, name), getattr(expected, name), atol=1e-9)
    assert merged.totals.sum() == pytest.approx(weights.sum())
    with pytest.raises(ValueError, match="same ends"):
        merged.merge(Bins(0.0, 1.0, *np.zeros((3, 64))))


@pytest.mark.parametrize("number", [0.0, -7.5, 1e9])
def test_bins_of_equal_numbers(number):
    fit = fit_bins(bin_values(np.full(10, number), None, number, number), 3)
    assert fit.centers.tolist() == [[number]]
    assert (fit.inertia, fit.excess) == (0, 0)


def test_many_distinct_numbers_are_binned(monkeypatch):
    numbers = np.random.default_rng(0).permutation(skewed(2, 2000))
    ones = np.ones(len(numbers))
    exact = fit_line(numbers[:, None], ones, 5)
    monkeypatch.setattr(module, "N_BINS", 1000)
    fit = fit_line(numbers[:, None], ones, 5)
    labels, distances = find_nearest(numbers[:, None], fit.centers)
    np.testing.assert_array_equal(fit.labels, labels)
    assert fit.inertia == pytest.approx(distances.sum())
    assert exact.excess == 0
    assert 0 <= fit.inertia - exact.inertia <= fit.excess
    assert fit.inertia == pytest.approx(exact.inertia, rel=1e-4)


def test_bins_of_a_million_numbers_with_few_distinct_values_give_the_optimum():
    rng = np.random.default_rng(0)
    levels = np.sort(rng.normal(100, 30, 256).round(2))
    numbers = levels[rng.integers(0, 256, 2**20 + 1)]
    values, counts = np.unique(numbers, return_counts=True)
    best = optimal_1d(values, counts.astype(float), 6)
    fit = fit_line(numbers[:, None], np.ones(len(numbers)), 6)
    np.testing.assert_allclose(fit.centers, best.centers, rtol=1e-9)
    assert fit.inertia == pytest.approx(best.inertia, rel=1e-9)
    assert fit.excess <= 1e-9 * fit.inertia
    np.testing.assert_array_equal(fit.labels, best.labels[np.searchsorted(values, numbers)])


def test_denormal_numbers_are_in_one_bin():
    values = np.array([0, 1, 2, 3]) * 5e-324
    bins = bin_values(values, None, values[0], values[-1])
    assert bins.totals[0] == 4
    assert bins.totals[1:].sum() == 0
