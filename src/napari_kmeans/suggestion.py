"""Suggest a number of clusters from scores on the summary of an image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import WholeNumber, quote_value
from napari_kmeans.clustering.selection import Scores, elect, score_numbers, vote
from napari_kmeans.execution.progress import Progress, Report
from napari_kmeans.execution.threads import shared_pool
from napari_kmeans.options import (
    MAX_CLUSTERS,
    SUMMARY_OPTIONS,
    Options,
    check_names,
    show_options,
)
from napari_kmeans.summary import Summary, summary_for

if TYPE_CHECKING:
    from typing import Unpack

    import pandas as pd

    from napari_kmeans.options import SummaryValues


@dataclass(frozen=True, eq=False)
class Suggestion:
    """A suggested number of clusters, with the scores that support it.

    Attributes
    ----------
    n_clusters : int
        The median of the three votes.
    votes : dict of str to int
        The best number of clusters by each score: ``calinski_harabasz``,
        ``silhouette``, ``bic``.
    scores : pandas.DataFrame
        One row per number of clusters: `n_clusters`; `inertia`, the sum of
        squared distances to the centers; `calinski_harabasz` and `silhouette`,
        for which higher is better; `bic`, for which lower is better; and `stability`,
        which does not vote: how far two halves of at most 10,000 random pixels give
        the same clusters, as the mean adjusted Rand index of two samples. 1 is the
        best. See `measure_stability`.
    """

    n_clusters: int
    votes: dict[str, int]
    scores: pd.DataFrame


@show_options(SUMMARY_OPTIONS)
def suggest_n_clusters(
    image: Any,
    n_clusters: Iterable[int] = range(2, 17),
    *,
    rgb: bool | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    summary: Summary | None = None,
    progress: Report | None = None,
    **options: Unpack[SummaryValues],
) -> Suggestion:
    """Suggest a number of clusters for an image.

    A reduced set of points, which represents all pixels, is clustered once for
    each number in `n_clusters`. Each of three scores votes for the number that
    it rates best. The suggestion is the median of the three votes: a number on
    which two scores agree, or the number between the two others.

    Parameters
    ----------
    image, rgb, channel_axis, color_space, normalize
    method, coreset_size, mask, random_state
        As in `segment`.
    n_clusters : iterable of int, default range(2, 17)
        The numbers to compare, from 2 to 65535 each. Numbers above the number of
        distinct colors are left out.
    summary : Summary, optional
        The result of `summarize` for this image; the image is then not read again.
    progress : callable, optional
        ``progress(done, total)``; an exception that it raises cancels the work.

    Returns
    -------
    Suggestion

    Raises
    ------
    TypeError, ValueError
        If an argument cannot be used, or if the image has fewer distinct
        colors than the smallest number in `n_clusters`.

    Notes
    -----
    The scores are the Calinski-Harabasz index, the simplified silhouette and a
    Bayesian information criterion, all weighted by pixels. See
    `napari_kmeans.clustering.selection.score_fit` for their formulas and
    sources. A single cluster is never suggested, because the scores compare
    clusters. A color of a few percent of the pixels has little effect on the scores, and may
    have no cluster of its own in the suggested number.

    Examples
    --------
    >>> from skimage import data
    >>> suggestion = suggest_n_clusters(data.coffee())
    >>> segmentation = segment(data.coffee(), suggestion.n_clusters)
    """
    numbers = _check_numbers(n_clusters)
    check_names(SUMMARY_OPTIONS, options)
    report = Progress(progress)
    with shared_pool():
        summary = summary_for(
            image,
            Options(n_clusters=1, **options).for_summary(),
            summary,
            report,
            rgb=rgb,
            channel_axis=channel_axis,
            mask=mask,
        )
        data = summary.few_points
        scores = score_numbers(data, numbers, summary.seed, report.stage(0.7, len(numbers)))
    report.finish()
    if not scores:
        raise ValueError(
            f"n_clusters must include a number up to that of the image's distinct colors, "
            f"{len(np.unique(data.points, axis=0))}, got {numbers}: add a smaller number."
        )
    votes = vote(scores)
    import pandas as pd

    return Suggestion(elect(votes), votes, pd.DataFrame(scores, columns=list(Scores._fields)))


def _check_numbers(n_clusters: Iterable[int]) -> list[int]:
    if not isinstance(n_clusters, Iterable):
        raise TypeError(
            f"n_clusters must be several numbers, got {quote_value(n_clusters)}: give one or more "
            "numbers, such as range(2, 17)."
        )
    kind = WholeNumber(2, MAX_CLUSTERS)
    numbers = sorted({kind.check("n_clusters", number) for number in n_clusters})
    if not numbers:
        raise ValueError(
            f"n_clusters must have a number, got {quote_value(n_clusters)}: give one or more "
            "numbers, such as range(2, 17)."
        )
    return numbers
