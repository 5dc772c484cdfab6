"""K-means on a coreset as a scikit-learn estimator."""

# scikit-learn ships no types.
# mypy: allow-subclassing-any

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from napari_kmeans.clustering.assignment import GroupedPoints
from napari_kmeans.clustering.cells import group_in_cells
from napari_kmeans.clustering.fit import fit_points
from napari_kmeans.clustering.lloyd import Fit, lloyd
from napari_kmeans.clustering.tiles import find_nearest
from napari_kmeans.options import Options

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from sklearn.utils import Tags

    from napari_kmeans.types import Floats


class CoresetKMeans(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClusterMixin,
    BaseEstimator,
):
    """K-means clustering that runs its restarts on a coreset.

    The samples are grouped in `coreset_size` cells of small spread. Lloyd's algorithm runs from
    several starts on the weighted means of the cells. The best result gets one more iteration
    on all samples. If there are at most `coreset_size` distinct samples, the samples themselves
    are clustered.

    Parameters
    ----------
    n_clusters : int, default 8
        From 1 to 65535.
    coreset_size : int or "auto", default "auto"
        The number of cells. "auto" means 500 per cluster, at least 10,000.
    init : {"k-means++", "random"}, array or callable, default "k-means++"
        The initial centers: seeds far apart from each other, distinct cells at random, or an
        array (n_clusters, n_features). A callable gets the samples, `n_clusters` and
        `random_state`, and returns such an array, as in scikit-learn. With an array or a
        callable there is a single run.
    n_init : int or "auto", default "auto"
        The number of runs from different initial centers. The run of lowest cost is kept.
        "auto" means 10.
    max_iter : int, default 300
        The largest number of iterations of a run.
    tol : float, default 1e-4
        A run has converged when the sum of the squared motions of the centers is at most
        `tol` times the mean variance of the features.
    random_state : int, RandomState or None, default 0
        The same seed gives the same result. None gives a different result in each call.

    Attributes
    ----------
    cluster_centers_ : (n_clusters, n_features) array
        The dtype is that of the samples, float64 or float32. If there are fewer distinct
        samples than `n_clusters`, there are fewer rows, for every `init`, and `fit` emits a
        ConvergenceWarning.
    labels_ : (n_samples,) int32 array
        The index of the nearest center of each sample.
    inertia_ : float
        The weighted sum of squared distances of all samples to their centers.
    n_iter_ : int
        The number of iterations of the best run, including the iteration on all samples.
    n_features_in_ : int
    feature_names_in_ : (n_features,) array of str
        Defined only if the samples have feature names.

    Notes
    -----
    Samples are compared in float64. Samples of weight 0 get a label, and have no influence on
    the centers. The result does not depend on the unit of the weights. Adding a constant to a
    feature of all samples changes the result only by rounding errors.

    References
    ----------
    .. [1] D. Feldman, M. Schmidt, C. Sohler, "Turning big data into tiny data:
       constant-size coresets for k-means, PCA, and projective clustering",
       :arxiv:`1807.04518`.
    .. [2] S. Lloyd, "Least squares quantization in PCM",
       :doi:`10.1109/TIT.1982.1056489`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> samples = load_digits().data
    >>> model = CoresetKMeans(n_clusters=10, coreset_size=180).fit(samples)
    >>> model.cluster_centers_.shape
    (10, 64)
    """

    def __init__(
        self,
        n_clusters: int = Options.n_clusters,
        *,
        coreset_size: int | str = Options.coreset_size,
        init: Any = Options.init,
        n_init: int | str = Options.n_init,
        max_iter: int = Options.max_iter,
        tol: float = Options.tol,
        random_state: Any = Options.random_state,
    ) -> None:
        self.n_clusters = n_clusters
        self.coreset_size = coreset_size
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Find the cluster centers.

        Parameters
        ----------
        X : (n_samples, n_features) array
            Finite, not sparse.
        y : ignored
        sample_weight : (n_samples,) array, optional
            Non-negative, not all 0. By default, all samples have the same weight.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the samples are invalid. The message states the parameter, the
            value received, and how to correct it.

        Warns
        -----
        ConvergenceWarning
            If there are fewer clusters than `n_clusters`.
        """
        samples = validate_data(self, X, dtype=[np.float64, np.float32], order="C")
        random = check_random_state(self.random_state)
        options = self._options(samples, random)
        weights = _check_sample_weight(
            sample_weight, samples, dtype=np.float64, ensure_non_negative=True
        )
        self._check_shapes(options, samples, weights)
        rng = np.random.default_rng(random.randint(2**31))
        fit = _fit_samples(samples, weights, options, rng)
        self.cluster_centers_ = fit.centers.astype(samples.dtype)
        # Rounding the centers to float32 can change the nearest center of a sample. The labels
        # are computed from the rounded centers, so that they are equal to those of `predict`.
        self.labels_, distances = self._find_nearest(samples)
        used, labels = np.unique(self.labels_, return_inverse=True)
        if len(used) < len(self.cluster_centers_):
            # A center has no samples if `init` contains it twice, or if it is equal to another
            # center after rounding. Remove these centers.
            self.cluster_centers_ = self.cluster_centers_[used]
            self.labels_ = labels.astype(np.int32)
        self.inertia_ = float(np.sum(weights * distances))
        self.n_iter_ = fit.n_iter
        self._warn_of_fewer_clusters(len(used))
        return self

    def fit_predict(
        self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> NDArray[np.int32]:
        """Find the cluster centers and return the label of each sample, (n_samples,)."""
        return self.fit(X, sample_weight=sample_weight).labels_

    def fit_transform(
        self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> NDArray[Any]:
        """Find the cluster centers and return the distances to them, (n_samples, n_clusters)."""
        return self.fit(X, sample_weight=sample_weight).transform(X)

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Return the index of the nearest center of each sample, (n_samples,).

        Of equally near centers, the first is taken.
        """
        return self._find_nearest(self._check_samples(X))[0]

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Return the distance of each sample to each center, (n_samples, n_clusters)."""
        distances: NDArray[Any] = euclidean_distances(self._check_samples(X), self.cluster_centers_)
        return distances

    def score(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Return minus the weighted sum of squared distances to the nearest centers."""
        samples = self._check_samples(X)
        weights = _check_sample_weight(sample_weight, samples, dtype=np.float64)
        return -float(np.sum(weights * self._find_nearest(samples)[1]))

    def __sklearn_tags__(self) -> Tags:
        """Declare to scikit-learn that `transform` preserves float32."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return len(self.cluster_centers_)

    def _options(self, samples: NDArray[Any], random: np.random.RandomState) -> Options:
        init = self.init
        if callable(init):
            init = init(samples, self.n_clusters, random_state=random)
        return Options(
            n_clusters=self.n_clusters,
            coreset_size=self.coreset_size,
            init=init,
            n_init=self.n_init,
            max_iter=self.max_iter,
            tol=self.tol,
        )

    def _check_shapes(self, options: Options, samples: NDArray[Any], weights: Floats) -> None:
        n_samples, n_features = samples.shape
        if n_samples < options.n_clusters:
            raise ValueError(
                f"n_samples={n_samples} should be >= n_clusters={options.n_clusters}: "
                "ask for fewer clusters."
            )
        if not weights.any():
            raise ValueError(
                f"sample_weight must not be zero for all {n_samples} samples: "
                "give at least one sample a positive weight."
            )
        if not isinstance(options.init, str) and options.init.shape[1] != n_features:
            raise ValueError(
                f"init must have one column for each of the {n_features} features, "
                f"got {options.init.shape[1]}: give centers with the features of the samples."
            )

    def _check_samples(self, X: ArrayLike) -> NDArray[Any]:
        check_is_fitted(self)
        samples: NDArray[Any] = validate_data(
            self, X, reset=False, dtype=[np.float64, np.float32], order="C"
        )
        return samples

    def _find_nearest(self, samples: NDArray[Any]) -> tuple[NDArray[np.int32], Floats]:
        centers = self.cluster_centers_.astype(np.float64)
        return find_nearest(samples.astype(np.float64, copy=False), centers)

    def _warn_of_fewer_clusters(self, n_clusters_found: int) -> None:
        if n_clusters_found < self.n_clusters:
            warnings.warn(
                f"n_clusters={self.n_clusters} gave {n_clusters_found} clusters: "
                "there are no more distinct samples in float64.",
                ConvergenceWarning,
                stacklevel=3,
            )


def _fit_samples(
    samples: NDArray[Any], weights: Floats, options: Options, rng: np.random.Generator
) -> Fit:
    """Fit the coreset of the samples. If it is not exact, then iterate once on all samples."""
    # Scale the weights to at most 1, because the sum of very large weights is infinite. Only
    # the ratios of the weights matter.
    shares = weights / weights.max()
    has_weight = shares > 0
    points = samples[has_weight].astype(np.float64)
    offset = _common_offset(points)
    points -= offset
    shares = shares[has_weight]
    size = options.resolved_coreset_size
    data, _ = group_in_cells(points, shares, size)
    coreset = GroupedPoints(data.means, data.totals)
    start = None if isinstance(options.init, str) else options.init - offset
    fit = fit_points([coreset], options, start, rng)
    if len(coreset.points) == size < len(points):
        # With many features, the centers of the coreset cost more than centers of the samples.
        # One iteration on the samples removes most of this excess. The iteration is cheap,
        # because most cells are assigned as a whole.
        last = lloyd(data, fit.centers, max_iter=1, tol=0.0)
        fit = replace(last, n_iter=fit.n_iter + 1)
    return replace(fit, centers=fit.centers + offset)


def _common_offset(points: Floats) -> Floats:
    """Return a number for each feature, (F,), that can be subtracted without rounding.

    If the values of a feature are close to each other and far from 0, sums and squares lose the
    digits in which the values differ. Subtracting the lowest value first keeps these digits.
    The subtraction is exact if the values differ by at most a factor of 2 (Sterbenz's lemma).
    The number is 0 for features that differ by more.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    is_exact = ((low > 0) & (high <= 2 * low)) | ((high < 0) & (low >= 2 * high))
    return np.where(is_exact, low, 0.0)
