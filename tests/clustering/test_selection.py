import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import calinski_harabasz_score

from napari_kmeans.clustering.assignment import GroupedPoints
from napari_kmeans.clustering.selection import Scores, elect, score_fit, score_numbers, vote


def weighted_blobs(seed, n=150, d=3, k=4):
    rng = np.random.default_rng(seed)
    centers = rng.uniform(0, 255, (k, d))
    points = centers[rng.integers(k, size=n)] + rng.normal(0, 15, (n, d))
    return points, rng.integers(1, 9, n), centers


def brute_force_silhouette(points, weights, centers):
    total = 0.0
    for point, weight in zip(points, weights, strict=True):
        nearest, second = sorted(np.linalg.norm(point - center) for center in centers)[:2]
        total += weight * (second - nearest) / second
    return total / weights.sum()


@pytest.mark.parametrize("seed", range(3))
def test_calinski_harabasz_equals_scikit_learn_on_repeated_points(seed):
    points, counts, _ = weighted_blobs(seed)
    repeated = np.repeat(points, counts, axis=0)
    fit = KMeans(5, n_init=1, random_state=seed).fit(repeated)
    ours = score_fit(points, counts.astype(float), fit.cluster_centers_)
    assert ours.n_clusters == 5
    assert ours.inertia == pytest.approx(fit.inertia_)
    theirs = calinski_harabasz_score(repeated, fit.labels_)
    assert ours.calinski_harabasz == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize("d", [1, 3, 5])
def test_silhouette_equals_a_loop(d):
    points, counts, centers = weighted_blobs(1, d=d, k=6)
    ours = score_fit(points, counts.astype(float), centers).silhouette
    assert ours == pytest.approx(brute_force_silhouette(points, counts, centers))


def test_silhouette_is_0_at_equal_centers():
    points = np.array([[0.0], [0.0], [5.0]])
    centers = np.array([[0.0], [0.0], [5.0]])
    # The points on the two equal centers count 0, and the point on the third center counts 1.
    assert score_fit(points, np.ones(3), centers).silhouette == pytest.approx(1 / 3)


def test_bic_is_that_of_normal_distributions_with_a_common_variance():
    points, counts, _ = weighted_blobs(2, n=12)
    weights = counts.astype(float)
    fit = KMeans(3, n_init=1, random_state=0).fit(points, sample_weight=weights)
    repeated = np.repeat(points, counts, axis=0)
    labels = np.repeat(fit.labels_, counts)
    n, f = repeated.shape
    assert n < 100
    variance = ((repeated - fit.cluster_centers_[labels]) ** 2).sum() / (n * f)
    likelihood = sum(
        np.log((labels == own).mean())
        - ((point - fit.cluster_centers_[own]) ** 2).sum() / (2 * variance)
        - f / 2 * np.log(2 * np.pi * variance)
        for point, own in zip(repeated, labels, strict=True)
    )
    # The BIC omits terms that do not depend on K.
    constant = n * f * (np.log(2 * np.pi) + 1)
    expected = -2 * likelihood + 3 * (f + 1) * np.log(n) - constant
    assert score_fit(points, weights, fit.cluster_centers_).bic == pytest.approx(expected)


def test_bic_does_not_change_above_100_pixels():
    points, counts, centers = weighted_blobs(3)
    few, many = (score_fit(points, counts * factor, centers) for factor in (10.0, 1e5))
    assert few.bic == pytest.approx(many.bic)
    assert many.inertia == pytest.approx(1e4 * few.inertia)


def test_scores_of_cells_include_their_scatter():
    rng = np.random.default_rng(0)
    centers = np.array([[0.0, 0.0], [90.0, 0.0], [0.0, 90.0]])
    points = np.repeat(centers, 3000, axis=0) + rng.normal(0, 5, (9000, 2))
    scores = score_numbers(GroupedPoints(points, np.ones(9000)), [2, 3, 4], 0)
    for item in scores:
        theirs = KMeans(item.n_clusters, n_init=10, random_state=0).fit(points)
        assert item.inertia == pytest.approx(theirs.inertia_, rel=0.01)
        index = calinski_harabasz_score(points, theirs.labels_)
        assert item.calinski_harabasz == pytest.approx(index, rel=0.01)


def test_scores_do_not_depend_on_the_other_numbers():
    # Uniform points have no clusters: different starts end in different optima.
    points = np.random.default_rng(0).random((5000, 3))
    data = GroupedPoints(points, np.ones(5000))
    alone = score_numbers(data, [14], 3)
    among = score_numbers(data, [2, 14, 15], 3)
    assert alone[0] == among[1]


def test_numbers_above_the_distinct_points_are_left_out():
    points = np.repeat([[0.0, 1.0], [3.0, 1.0], [9.0, 9.0]], 5, axis=0)
    scores = score_numbers(GroupedPoints(points, np.ones(15)), [2, 3, 4], 0)
    assert [item.n_clusters for item in scores] == [2, 3]
    assert scores[1].inertia == 0
    assert vote(scores) == {"calinski_harabasz": 3, "silhouette": 3, "bic": 3}


def test_many_points_are_sampled():
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=300_000)
    points = np.eye(4)[labels] * 100 + rng.normal(0, 4, (300_000, 4))
    scores = score_numbers(GroupedPoints(points, np.ones(len(points))), range(2, 8), 0)
    assert set(vote(scores).values()) == {4}
    exact = ((points - np.eye(4)[labels] * 100) ** 2).sum()
    assert scores[2].inertia == pytest.approx(exact, rel=0.02)


def test_vote_takes_the_best_score_and_the_lowest_number_of_equal_scores():
    scores = [Scores(2, 9, 5, 0.5, 40), Scores(3, 7, 8, 0.7, 30), Scores(4, 5, 8, 0.7, 20)]
    assert vote(scores) == {"calinski_harabasz": 3, "silhouette": 3, "bic": 4}


@pytest.mark.parametrize(
    ("votes", "expected"), [((12, 2, 7), 7), ((4, 4, 16), 4), ((2, 9, 9), 9), ((5, 5, 5), 5)]
)
def test_elect_returns_the_median_vote(votes, expected):
    names = ("calinski_harabasz", "silhouette", "bic")
    assert elect(dict(zip(names, votes, strict=True))) == expected
