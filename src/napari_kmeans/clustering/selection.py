"""Score clusterings with different numbers of clusters, and choose a number."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_kmeans.clustering.agreement import Refits
from napari_kmeans.clustering.assignment import GroupedPoints
from napari_kmeans.clustering.cells import MAX_POINTS, group_in_cells
from napari_kmeans.clustering.coreset import draw_coreset
from napari_kmeans.clustering.fit import fit_points
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import map_threads, raise_if_stopped
from napari_kmeans.options import Options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_kmeans.types import Floats


_N_CELLS = 4000
"""Largest number of points that are fitted and scored. In photographs, the scatter of 4000 cells
is 1 % of the cost at K = 8."""

_SAMPLE_SIZE = 20_000
"""Points that are drawn from more than `MAX_POINTS` points before they are grouped into cells."""

_N_INIT = 8
"""Restarts for each number of clusters."""

BIC_PIXELS = 100
"""Largest number of independent pixels that an image counts as in the BIC: see `score_fit`."""


_HALVES = range(2)
"""The seeds of the samples whose halves are compared, for each number of clusters."""

_HALVES_N_INIT = 4
"""Restarts of the fits to halves."""


class Scores(NamedTuple):
    """Scores of one clustering, to compare numbers of clusters: see `score_fit`.

    The `stability` is `Agreement.halves`; NaN if it was not measured.
    """

    n_clusters: int
    inertia: float
    calinski_harabasz: float
    silhouette: float
    bic: float
    stability: float = float("nan")


TITLES = {
    "calinski_harabasz": "Calinski\u2013Harabasz",
    "silhouette": "silhouette",
    "bic": "tempered BIC",
}
"""Titles of the scores, for figures."""


BEST = {"calinski_harabasz": max, "silhouette": max, "bic": min}
"""The function that selects the best value of each score."""


def score_numbers(
    data: GroupedPoints, numbers: Sequence[int], seed: int, step: Step = ignore
) -> list[Scores]:
    """Cluster weighted points with several numbers of clusters, and score the results.

    Parameters
    ----------
    data : GroupedPoints
        The points (n, F), with weights in pixels. More than 4000 points are replaced by the
        means of 4000 cells, and the scatter of the cells is added to each cost.
    numbers : sequence of int
        The numbers of clusters, 2 or more. Numbers above the number of distinct points are
        left out.
    seed : int
        The seed of the random draws. The scores of a number do not depend on the other
        numbers. The halves of pixels are the same for all seeds.
    step : callable
        Called with 1 after each number.
    """
    points, scatter = _reduce_points(data, seed)
    n_distinct = len(np.unique(points.points, axis=0))

    def score(n_clusters: int) -> Scores:
        options = Options(n_clusters=n_clusters, n_init=_N_INIT)
        rng = np.random.default_rng([seed, n_clusters])
        fit = fit_points([points], options, None, rng, raise_if_stopped)
        scores = score_fit(points.points, points.weights, fit.centers, scatter)
        refits = Refits(points, fit.centers, replace(options, n_init=_HALVES_N_INIT))
        return scores._replace(stability=refits.measure_halves(_HALVES))

    return map_threads(score, [k for k in numbers if k <= n_distinct], step)


def _reduce_points(data: GroupedPoints, seed: int) -> tuple[GroupedPoints, float]:
    """Return a reduced set of points, and the constant cost that the reduction leaves out."""
    points, weights = data.points, data.weights
    if len(points) <= _N_CELLS:
        return data, 0.0
    if len(points) > MAX_POINTS:
        rng = np.random.default_rng([seed, 0])
        drawn, weights = draw_coreset(points, weights, 16, _SAMPLE_SIZE, rng)
        points = points[drawn]
    cells, _ = group_in_cells(points, weights, _N_CELLS)
    return GroupedPoints(cells.means, cells.totals), float(cells.scatters.sum())


def score_fit(points: Floats, weights: Floats, centers: Floats, scatter: float = 0.0) -> Scores:
    """Score centers on weighted points.

    Parameters
    ----------
    points : (n, F) float64 array
    weights : (n,) float64 array
        Positive. A point of weight w counts as w points.
    centers : (K, F) float64 array
        K ≥ 2. Each center is the nearest center of at least one point.
    scatter : float
        A cost to add, for points that are the means of cells: the sum of squared distances of
        the pixels from these means.

    Returns
    -------
    Scores
        `inertia` is the weighted sum of squared distances to the nearest center, plus the
        scatter. `calinski_harabasz` is the variance between clusters divided by the variance
        within clusters, each divided by its degrees of freedom [1]_. `silhouette`, at most 1,
        is the weighted mean of 1 - a/b, where a and b are the distances to the nearest and the
        second nearest center [2]_. `bic` is described in the notes; the lowest value is the
        best.

    Notes
    -----
    The Bayesian information criterion assumes that the clusters are spherical normal
    distributions with a common variance, and that each pixel belongs to exactly one cluster. It is
    n (F ln(inertia / (N F)) + 2 H) + p ln n. N is the number of pixels, H is the entropy of the
    shares of the clusters, in nats, and p = K (F + 1) is the number of parameters [3]_. Because
    of the entropy, a single normal distribution is not divided into clusters, for any n.

    The number n is the number of independent pixels, at most 100. Neighboring pixels are not
    independent. The colors of a picture lie along curves, and each further cluster approximates
    the curves better: with n = N, the largest K has the lowest value in photographs. In synthetic
    pictures of 3, 5 and 8 noisy colors, all n from 50 to 10,000 find the number of colors. In
    photographs, n = 100 finds 6 to 10 clusters.

    References
    ----------
    .. [1] T. Caliński, J. Harabasz, "A dendrite method for cluster analysis",
       :doi:`10.1080/03610927408827101`.
    .. [2] E. R. Hruschka, R. J. G. B. Campello, L. N. de Castro, "Evolving
       clusters in gene-expression data", :doi:`10.1016/j.ins.2005.07.015`.
    .. [3] C. Biernacki, G. Celeux, G. Govaert, "Assessing a mixture model for
       clustering with the integrated completed likelihood",
       :doi:`10.1109/34.865189`.
    """
    squares = ((points[:, None] - centers[None]) ** 2).sum(axis=2)
    labels = squares.argmin(axis=1)
    total, n_features = float(weights.sum()), points.shape[1]
    inertia = float(weights @ squares.min(axis=1)) + scatter
    mean = weights @ points / total
    total_scatter = float(weights @ ((points - mean) ** 2).sum(axis=1)) + scatter
    shares = np.bincount(labels, weights, minlength=len(centers)) / total
    return Scores(
        len(centers),
        inertia,
        _calinski_harabasz(total_scatter, inertia, total, len(centers)),
        _silhouette(squares, weights),
        _bic(inertia / (total * n_features), n_features, shares, min(total, BIC_PIXELS)),
    )


def _calinski_harabasz(
    total_scatter: float, inertia: float, total: float, n_clusters: int
) -> float:
    if inertia <= 0 or total <= n_clusters:
        return float("inf")
    return (total_scatter - inertia) / (n_clusters - 1) / (inertia / (total - n_clusters))


def _silhouette(squares: Floats, weights: Floats) -> float:
    nearest, second = np.sqrt(np.partition(squares, 1, axis=1)[:, :2]).T
    # If two centers are equal, a/b is 0/0 for a point on them. The ratio is set to 1, so that
    # the point adds 0 to the silhouette.
    ratios = np.divide(nearest, second, out=np.ones_like(nearest), where=second > 0)
    return float(weights @ (1 - ratios) / weights.sum())


def _bic(variance: float, n_features: int, shares: Floats, n_pixels: float) -> float:
    if variance <= 0:
        return float("-inf")
    present = shares[shares > 0]
    entropy = -float(present @ np.log(present))
    n_parameters = len(shares) * (n_features + 1)
    misfit = n_features * np.log(variance) + 2 * entropy
    return float(n_pixels * misfit + n_parameters * np.log(n_pixels))


def vote(scores: Sequence[Scores]) -> dict[str, int]:
    """Return the best number of clusters by each score. Of equal scores, the lowest number wins."""
    return {
        name: best(scores, key=lambda item: getattr(item, name)).n_clusters
        for name, best in BEST.items()
    }


def elect(votes: dict[str, int]) -> int:
    """Return the median of the votes of three scores.

    Each score is wrong for some pictures: the silhouette then votes for 2 clusters, the other
    scores for the largest number. A single wrong vote has little effect on the median, and has no
    effect if the two other votes agree.
    """
    return sorted(votes.values())[len(votes) // 2]
