"""Scores of clusterings into several numbers of clusters, and the number they agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_kmeans.clustering.assignment import GroupedPoints
from napari_kmeans.clustering.cells import group_in_cells
from napari_kmeans.clustering.coreset import draw_coreset
from napari_kmeans.clustering.fit import fit_points
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import map_threads, raise_if_stopped
from napari_kmeans.options import Options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_kmeans.types import Floats


_CELLS = 4000
"""Points that are fitted and scored: on photographs, their scatter is 1 % of the cost at K = 8."""

_MANY_POINTS = 2**18
_SAMPLE = 20_000
"""More points are sampled before they are parted into cells."""

_N_INIT = 8

BIC_PIXELS = 100
"""How many independent pixels all those of an image count as in the BIC."""


class Scores(NamedTuple):
    """What tells about a clustering whether its number of clusters is a good one."""

    n_clusters: int
    inertia: float
    calinski_harabasz: float
    silhouette: float
    bic: float


TITLES = {
    "calinski_harabasz": "Calinski\u2013Harabasz",
    "silhouette": "silhouette",
    "bic": "tempered BIC",
}
"""Titles of the scores, for figures."""


BEST = {"calinski_harabasz": max, "silhouette": max, "bic": min}
"""Which end of each score is the good one."""


def score_numbers(
    data: GroupedPoints, numbers: Sequence[int], seed: int, step: Step = ignore
) -> list[Scores]:
    """Cluster weighted points into several numbers of clusters, and score each result.

    Parameters
    ----------
    data : GroupedPoints
        The points (n, F), with weights in pixels. Many are replaced by the
        means of 4000 cells, whose scatter is added to every cost.
    numbers : sequence of int
        The numbers of clusters, 2 or more. Those above the number of distinct
        points are left out.
    seed : int
        What random draws start from; a number's scores do not depend on the others.
    step : callable
        Called with 1 after each number.
    """
    points, scatter = _reduced(data, seed)
    n_distinct = len(np.unique(points.points, axis=0))

    def score(n_clusters: int) -> Scores:
        options = Options(n_clusters=n_clusters, n_init=_N_INIT)
        rng = np.random.default_rng([seed, n_clusters])
        fit = fit_points([points], options, None, rng, raise_if_stopped)
        return score_fit(points.points, points.weights, fit.centers, scatter)

    return map_threads(score, [k for k in numbers if k <= n_distinct], step)


def _reduced(data: GroupedPoints, seed: int) -> tuple[GroupedPoints, float]:
    """Return few enough points, and what they cost less than all wherever the centers are."""
    points, weights = data.points, data.weights
    if len(points) <= _CELLS:
        return data, 0.0
    if len(points) > _MANY_POINTS:
        rng = np.random.default_rng([seed, 0])
        drawn, weights = draw_coreset(points, weights, 16, _SAMPLE, rng)
        points = points[drawn]
    cells, _ = group_in_cells(points, weights, _CELLS)
    return GroupedPoints(cells.means, cells.totals), float(cells.scatters.sum())


def score_fit(points: Floats, weights: Floats, centers: Floats, scatter: float = 0.0) -> Scores:
    """Score centers on weighted points.

    Parameters
    ----------
    points : (n, F) float64 array
    weights : (n,) float64 array
        Positive; a weight counts as so many points.
    centers : (K, F) float64 array
        Two or more; every one nearest to a point.
    scatter : float
        A cost that the points do not show, such as that of the cells they are means of.

    Returns
    -------
    Scores
        `inertia` is the weighted sum of squared distances to the nearest
        center, with the scatter. `calinski_harabasz` is the variance between
        clusters over that within, each by its degrees of freedom [1]_.
        `silhouette`, at most 1, is the mean of 1 - a/b, with a and b the
        distances to the nearest and the second nearest center [2]_. `bic`, the
        lower the better, is described in the notes.

    Notes
    -----
    Clusters are taken for spherical normal distributions of one variance, each
    pixel from its own cluster alone. So the Bayesian information criterion is
    n (F ln(inertia / (N F)) + 2 H) + p ln n, for N pixels, with H the entropy
    of the shares, in nats, and p = K (F + 1) parameters [3]_. The entropy is
    what keeps a single normal distribution from being parted, whatever n. But
    colors of a picture lie along curves that every further cluster
    approximates better, and neighboring pixels are no independent witnesses:
    with n = N it names the largest K asked for, on photographs. So n is at most
    100. On made pictures of 3, 5 and 8 noisy colors any n from 50 to 10,000
    finds their number; on photographs 100 gives 6 to 10.

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
    middle = weights @ points / total
    whole = float(weights @ ((points - middle) ** 2).sum(axis=1)) + scatter
    shares = np.bincount(labels, weights, minlength=len(centers)) / total
    return Scores(
        len(centers),
        inertia,
        _calinski_harabasz(whole, inertia, total, len(centers)),
        _silhouette(squares, weights),
        _bic(inertia / (total * n_features), n_features, shares, min(total, BIC_PIXELS)),
    )


def _calinski_harabasz(whole: float, inertia: float, total: float, n_clusters: int) -> float:
    if inertia <= 0 or total <= n_clusters:
        return float("inf")
    return (whole - inertia) / (n_clusters - 1) / (inertia / (total - n_clusters))


def _silhouette(squares: Floats, weights: Floats) -> float:
    nearest, second = np.sqrt(np.partition(squares, 1, axis=1)[:, :2]).T
    # Where two centers coincide, a point on them belongs to neither.
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
    """Return for each score the number of clusters it finds best, the least of equals."""
    return {
        name: best(scores, key=lambda item: getattr(item, name)).n_clusters
        for name, best in BEST.items()
    }


def elect(votes: dict[str, int]) -> int:
    """Return the middle one of the votes: what two scores agree on, or what lies between.

    Each score has pictures on which it goes astray, the silhouette to 2, the
    others to the most that they are asked for; one of three does not matter.
    """
    return sorted(votes.values())[len(votes) // 2]
