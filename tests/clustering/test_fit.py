import numpy as np
import pytest

from napari_kmeans.clustering import fit as fitting
from napari_kmeans.clustering.assignment import GroupedPoints
from napari_kmeans.clustering.fit import fit_points
from napari_kmeans.clustering.lloyd import lloyd
from napari_kmeans.execution import threads
from napari_kmeans.options import Options


def colors(seed=0, n=20_000):
    """Return distinct colors of a few blobs as cells and as colors that are grouped by cell."""
    rng = np.random.default_rng(seed)
    blobs = rng.integers(20, 236, (40, 3))
    drawn = blobs[rng.integers(0, 40, 3 * n)] + rng.normal(0, 12, (3 * n, 3))
    points = np.unique(np.clip(np.rint(drawn), 0, 255).astype(np.int64), axis=0)
    cells = (points >> 3) @ [1024, 32, 1]
    points = points[np.argsort(cells, kind="stable")]
    starts = np.flatnonzero(np.diff(np.sort(cells), prepend=-1))
    weights = rng.integers(1, 100, len(points)).astype(np.float64)
    fine = GroupedPoints(points.astype(np.float64), weights, np.append(starts, len(points)))
    return [GroupedPoints(fine.means, fine.totals), fine]


def fit_integers(points, weights, start):
    """Run Lloyd's algorithm to the end, with the sums of integers in int64."""
    points, weights, centers = points.astype(np.int64), weights.astype(np.int64), start
    labels = np.full(len(points), -1)
    while True:
        # Chunks keep the array of differences small.
        parts = np.array_split(points, 50)
        found = [((part[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1) for part in parts]
        if np.array_equal(labels, np.concatenate(found)):
            return centers, labels
        labels = np.concatenate(found)
        sums = np.zeros((len(centers), 3), np.int64)
        totals = np.zeros(len(centers), np.int64)
        np.add.at(sums, labels, points * weights[:, None])
        np.add.at(totals, labels, weights)
        centers = sums / totals[:, None]


@pytest.mark.parametrize("k", [8, 32, 256])
def test_lloyd_equals_an_exact_integer_loop_to_the_last_digit(k):
    data = colors(n=2500)[1]
    start = np.random.default_rng(k).choice(data.points, k, replace=False)
    expected, labels = fit_integers(data.points, data.weights, start)
    fit = lloyd(data, start, max_iter=10_000, tol=0)
    np.testing.assert_array_equal(fit.centers, expected)
    np.testing.assert_array_equal(fit.labels, labels)


@pytest.mark.parametrize("k", [4, 20, 100])
def test_result_is_a_fixed_point_of_lloyd_in_the_given_order(k):
    levels = colors()
    data = levels[1]
    fit = fit_points(levels, Options(n_clusters=k, tol=0), None, np.random.default_rng(0))
    centers, labels = fit_integers(data.points, data.weights, fit.centers)
    np.testing.assert_allclose(centers, fit.centers, rtol=1e-12)
    np.testing.assert_array_equal(fit.labels, labels)
    squares = ((data.points - centers[labels]) ** 2).sum(axis=1)
    assert fit.inertia == pytest.approx(float(data.weights @ squares))


@pytest.mark.parametrize("k", [6, 40, 80])
def test_fits_are_equal_on_any_number_of_threads(k, monkeypatch):
    fits = []
    for n_threads in (1, 2, 8):
        monkeypatch.setattr(threads, "n_threads", lambda n=n_threads: n)
        levels = colors()
        fits.append(fit_points(levels, Options(n_clusters=k), None, np.random.default_rng(3)))
    for fit in fits[1:]:
        np.testing.assert_array_equal(fit.centers, fits[0].centers)
        np.testing.assert_array_equal(fit.labels, fits[0].labels)


def test_levels_that_are_not_groups_of_each_other_are_fitted_too():
    levels = colors()
    other = GroupedPoints(levels[1].points[::2], levels[1].weights[::2])
    fit = fit_points([levels[0], other], Options(n_clusters=9), None, np.random.default_rng(0))
    squares = ((other.points[:, None] - fit.centers) ** 2).sum(axis=2)
    np.testing.assert_array_equal(fit.labels, squares.argmin(axis=1))


@pytest.mark.parametrize("k", [3, 8])
def test_fits_of_equal_cost_are_compared_once(k, monkeypatch):
    options, kept = Options(n_clusters=k, tol=0), []
    without_repeats = fitting._without_repeats
    monkeypatch.setattr(fitting, "_without_repeats", lambda fits: kept.append(fits) or fits)
    expected = fit_points(colors(), options, None, np.random.default_rng(1))
    assert len(without_repeats(kept[0])) < len(kept[0]) == 4
    monkeypatch.undo()
    fit = fit_points(colors(), options, None, np.random.default_rng(1))
    np.testing.assert_array_equal(fit.labels, expected.labels)
    np.testing.assert_allclose(fit.centers, expected.centers)
