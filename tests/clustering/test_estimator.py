import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from napari_kmeans import CoresetKMeans
from napari_kmeans.clustering import estimator as module


@pytest.fixture(scope="module")
def digits():
    return load_digits().data


def blobs(n=3000, d=4, k=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 100, (k, d))[rng.integers(k, size=n)] + rng.normal(0, 4, (n, d))


# Some checks fit fewer distinct samples than clusters.
@pytest.mark.filterwarnings("ignore:n_clusters:sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        CoresetKMeans(),
        CoresetKMeans(n_clusters=2, coreset_size=12),
        CoresetKMeans(n_clusters=3, init="random", n_init=2),
    ]
)
def test_estimator_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_coreset_of_a_tenth_of_the_digits_costs_less_than_2_percent_more(digits):
    full = KMeans(10, n_init=10, random_state=0).fit(digits).inertia_
    size = len(digits) // 10
    ratios = [
        CoresetKMeans(10, coreset_size=size, random_state=seed).fit(digits).inertia_ / full
        for seed in range(10)
    ]
    assert max(ratios) < 1.02


@pytest.mark.parametrize("tol", [0.0, 1e-4])
def test_fit_equals_scikit_learn_if_the_coreset_has_all_samples(digits, tol):
    start = digits[:10]
    ours = CoresetKMeans(10, init=start, tol=tol).fit(digits)
    theirs = KMeans(10, init=start, n_init=1, tol=tol, algorithm="lloyd").fit(digits)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, atol=1e-8)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    assert ours.inertia_ == pytest.approx(theirs.inertia_)
    assert ours.n_iter_ == theirs.n_iter_


@pytest.mark.parametrize("coreset_size", ["auto", 300])
def test_labels_inertia_and_score_agree_with_transform(coreset_size):
    samples = blobs()
    weights = np.random.default_rng(1).uniform(0, 3, len(samples))
    model = CoresetKMeans(9, coreset_size=coreset_size).fit(samples, sample_weight=weights)
    distances = model.transform(samples)
    np.testing.assert_array_equal(model.labels_, distances.argmin(axis=1))
    np.testing.assert_array_equal(model.labels_, model.predict(samples))
    assert model.inertia_ == pytest.approx(weights @ distances.min(axis=1) ** 2)
    assert model.score(samples, sample_weight=weights) == -model.inertia_
    assert model.get_feature_names_out().tolist() == [f"coresetkmeans{k}" for k in range(9)]
    again = clone(model)
    np.testing.assert_array_equal(again.fit_predict(samples, sample_weight=weights), model.labels_)
    np.testing.assert_array_equal(again.fit_transform(samples, sample_weight=weights), distances)


@pytest.mark.parametrize("coreset_size", ["auto", 200])
def test_weighted_samples_are_fitted_like_repeated_samples(coreset_size):
    samples = blobs(400)
    counts = np.random.default_rng(2).integers(0, 4, len(samples))
    model = CoresetKMeans(6, coreset_size=coreset_size)
    weighted = clone(model).fit(samples, sample_weight=counts)
    repeated = clone(model).fit(np.repeat(samples, counts, axis=0))
    np.testing.assert_allclose(weighted.cluster_centers_, repeated.cluster_centers_)
    assert weighted.inertia_ == pytest.approx(repeated.inertia_)
    assert len(weighted.labels_) == 400


def test_outlier_of_weight_0_has_no_influence():
    samples = np.vstack([blobs(), np.full((1, 4), 1e7)])
    weights = np.append(np.ones(3000), 0)
    model = CoresetKMeans(3, coreset_size=100).fit(samples, sample_weight=weights)
    assert model.cluster_centers_.max() < 200


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("coreset_size", ["auto", 300])
def test_centers_and_distances_have_the_dtype_of_the_samples(dtype, coreset_size):
    samples = blobs().astype(dtype)
    model = CoresetKMeans(6, coreset_size=coreset_size).fit(samples)
    assert model.cluster_centers_.dtype == model.transform(samples).dtype == dtype
    np.testing.assert_array_equal(model.labels_, model.predict(samples))
    double = clone(model).fit(samples.astype(float))
    np.testing.assert_allclose(model.cluster_centers_, double.cluster_centers_, rtol=1e-6)
    assert CoresetKMeans(2).fit(np.arange(40).reshape(20, 2)).cluster_centers_.dtype == float


def test_random_state_determines_the_result():
    samples = np.random.default_rng(0).normal(size=(3000, 3))
    model = CoresetKMeans(12, coreset_size=200, n_init=1)
    first, second = clone(model).fit(samples), clone(model).fit(samples)
    np.testing.assert_array_equal(first.cluster_centers_, second.cluster_centers_)
    other = clone(model).set_params(random_state=1).fit(samples)
    assert not np.array_equal(first.cluster_centers_, other.cluster_centers_)
    states = [np.random.RandomState(5) for _ in range(2)]
    drawn = [clone(model).set_params(random_state=state).fit(samples) for state in states]
    np.testing.assert_array_equal(drawn[0].cluster_centers_, drawn[1].cluster_centers_)
    clone(model).set_params(random_state=None).fit(samples)


def test_iteration_on_all_samples_lowers_the_cost(digits, monkeypatch):
    model = CoresetKMeans(10, coreset_size=180)
    after = clone(model).fit(digits)
    monkeypatch.setattr(
        module, "lloyd", lambda _data, centers, **_: module.Fit(centers, 0, 0, None)
    )
    before = clone(model).fit(digits)
    assert after.inertia_ < before.inertia_
    assert after.n_iter_ == before.n_iter_


def test_estimator_works_in_pipeline_and_grid_search(digits):
    pipeline = make_pipeline(StandardScaler(), CoresetKMeans(5, coreset_size=200, n_init=2))
    assert pipeline.fit(digits).transform(digits).shape == (len(digits), 5)
    grid = {"coresetkmeans__n_clusters": [3, 10]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(digits)
    assert search.best_params_ == {"coresetkmeans__n_clusters": 10}
    assert search.predict(digits).max() == 9


def test_fewer_distinct_samples_give_fewer_clusters():
    samples = np.repeat([[0.0, 1.0], [2.0, 3.0], [9.0, 9.0]], 10, axis=0)
    with pytest.warns(ConvergenceWarning, match="n_clusters=5 gave 3 clusters"):
        model = CoresetKMeans(5).fit(samples)
    assert model.cluster_centers_.shape == (3, 2)
    assert model.inertia_ == 0
    assert model.transform(samples).shape == (30, 3)
    assert len(model.get_feature_names_out()) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_clusters": 0}, "n_clusters must be a whole number"),
        ({"n_clusters": 21}, "n_samples=20 should be >= n_clusters=21"),
        ({"coreset_size": 3}, "coreset_size must be at least n_clusters"),
        ({"init": "spread"}, "init must be 'k-means\\+\\+' or 'random'"),
        ({"n_clusters": 2, "init": [[1.0], [2.0]]}, "one column for each of the 2 features"),
        ({"n_init": 0}, "n_init must be"),
        ({"tol": -1}, "tol must be"),
        ({"random_state": "now"}, "cannot be used to seed"),
    ],
)
def test_invalid_parameters_raise(options, message):
    with pytest.raises(ValueError, match=message):
        CoresetKMeans(**options).fit(np.arange(40.0).reshape(20, 2))


@pytest.mark.parametrize("weights", [np.zeros(20), np.full(20, -1.0)])
def test_zero_or_negative_weights_raise(weights):
    with pytest.raises(ValueError, match=r"[Ww]eight"):
        CoresetKMeans(2).fit(np.arange(40.0).reshape(20, 2), sample_weight=weights)


def test_sparse_samples_and_nan_raise():
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        CoresetKMeans(2).fit(sparse.eye(20, format="csr"))
    samples = np.ones((20, 2))
    samples[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        CoresetKMeans(2).fit(samples)


def test_importing_the_package_does_not_import_scikit_learn():
    code = (
        "import sys, napari_kmeans; assert 'sklearn' not in sys.modules; "
        "from napari_kmeans import CoresetKMeans; assert 'napari' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("unit", [1e-300, 1e15, 1e300])
def test_result_does_not_depend_on_the_unit_of_the_weights(unit):
    rng = np.random.default_rng(0)
    samples, weights = rng.normal(size=(300, 2)), rng.integers(1, 9, 300).astype(float)
    plain = CoresetKMeans(4).fit(samples, sample_weight=weights)
    scaled = CoresetKMeans(4).fit(samples, sample_weight=unit * weights)
    np.testing.assert_array_equal(scaled.labels_, plain.labels_)
    assert scaled.inertia_ == pytest.approx(unit * plain.inertia_)


def test_sample_of_very_large_weight_gets_its_own_center():
    rng = np.random.default_rng(0)
    samples, weights = rng.normal(size=(300, 2)), np.ones(300)
    weights[7] = 1e12
    model = CoresetKMeans(4).fit(samples, sample_weight=weights)
    assert len(np.unique(model.labels_)) == 4
    own = model.cluster_centers_[model.labels_[7]]
    np.testing.assert_allclose(own, samples[7], atol=1e-9)
    # Three centers cost more than the result: the other samples still have three centers.
    assert model.inertia_ < KMeans(3, n_init=10, random_state=0).fit(samples).inertia_


@pytest.mark.parametrize("number", [1.0, 1e6, -1e-5, 1e100])
@pytest.mark.parametrize("n_features", [1, 2])
def test_adjacent_floats_are_two_clusters(number, n_features):
    samples = np.full((40, n_features), number)
    samples[::2, 0] = np.nextafter(number, np.inf)
    model = CoresetKMeans(2).fit(samples)
    assert len(model.cluster_centers_) == 2
    np.testing.assert_array_equal(model.labels_[::2], model.labels_[0])
    assert model.labels_[0] != model.labels_[1]
    assert model.inertia_ == 0


def test_fit_far_from_0_is_as_precise_as_near_0():
    samples = np.random.default_rng(0).integers(0, 99, (400, 3)).astype(float)
    near, far = (CoresetKMeans(5).fit(samples + offset) for offset in (0.0, 2.0**40))
    np.testing.assert_array_equal(near.labels_, far.labels_)
    assert far.inertia_ == pytest.approx(near.inertia_, rel=1e-6)


@pytest.mark.parametrize("init", ["k-means++", "random", np.array([[0, 0.0], [1, 1], [5, 5]])])
def test_centers_without_samples_are_removed_for_every_init(init):
    samples = np.repeat([[0.0, 0], [1, 1]], 10, axis=0)
    with pytest.warns(ConvergenceWarning, match="n_clusters=3 gave 2 clusters"):
        model = CoresetKMeans(3, init=init).fit(samples)
    assert model.cluster_centers_.shape == (2, 2)
    assert np.bincount(model.labels_).tolist() == [10, 10]
    assert model.transform(samples).shape == (20, 2)


def test_callable_init_is_called_as_by_scikit_learn():
    samples = np.random.default_rng(0).normal(size=(300, 2))
    seen = {}

    def init(X, n_clusters, random_state):
        seen.update(shape=X.shape, n_clusters=n_clusters)
        return X[random_state.permutation(len(X))[:n_clusters]].copy()

    ours = CoresetKMeans(4, init=init, tol=0, random_state=3).fit(samples)
    theirs = KMeans(4, init=init, n_init=1, tol=0, random_state=3).fit(samples)
    assert seen == {"shape": (300, 2), "n_clusters": 4}
    start = samples[np.random.RandomState(3).permutation(300)[:4]]
    again = KMeans(4, init=start, n_init=1, tol=0).fit(samples)
    np.testing.assert_allclose(ours.cluster_centers_, again.cluster_centers_, atol=1e-9)
    assert theirs.n_features_in_ == ours.n_features_in_


def test_callable_init_that_returns_no_centers_raises():
    with pytest.raises(ValueError, match="init must be"):
        CoresetKMeans(2, init=lambda X, n_clusters, random_state: "a").fit(np.eye(5))


def test_weights_of_all_magnitudes_are_fitted():
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(200, 2))
    model = CoresetKMeans(3).fit(samples, sample_weight=10.0 ** rng.uniform(-300, 300, 200))
    assert len(model.cluster_centers_) == 3
