"""Measure whether the classes of a segmentation are found again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_kmeans.checks import WholeNumber, check_result, quote_value
from napari_kmeans.clustering.agreement import Refits
from napari_kmeans.execution.progress import Progress, Report
from napari_kmeans.execution.threads import shared_pool
from napari_kmeans.measuring import class_columns
from napari_kmeans.segmentation import Segmentation, check_image_of
from napari_kmeans.summary import Summary, summary_for

if TYPE_CHECKING:
    import pandas as pd

    from napari_kmeans.model import KMeansModel

_REPEATS = WholeNumber(1, 1000)


@dataclass(frozen=True, eq=False)
class Stability:
    """How far the labels of repeated fits agree.

    Attributes
    ----------
    seeds : float
        The mean adjusted Rand index [1]_ of the classes and those of fits with other seeds: 1
        if the same classes are found again, about 0 if they are unrelated.
    halves : float
        The mean adjusted Rand index of the classes that two halves of a sample of pixels give.
    table : pandas.DataFrame
        One row per class: `index` (the label), `name` and `ignored` if they are used, and
        `jaccard`, the mean Jaccard index [2]_ of the pixels of the class and those of the same
        class of a half. A class with less than 0.6 should not be trusted, one with more than
        0.85 is found again [2]_.

    References
    ----------
    .. [1] L. Hubert, P. Arabie, "Comparing partitions", :doi:`10.1007/BF01908075`.
    .. [2] C. Hennig, "Cluster-wise assessment of cluster stability",
       :doi:`10.1016/j.csda.2006.11.025`.
    """

    seeds: float
    halves: float
    table: pd.DataFrame


def measure_stability(
    segmentation: Segmentation,
    image: Any,
    *,
    mask: Any = None,
    n_repeats: int = 10,
    summary: Summary | None = None,
    progress: Report | None = None,
) -> Stability:
    """Measure how far the classes of a segmentation agree over seeds and over halves of pixels.

    The fits are to the small summary of the image, of some thousand points. So the time does not
    grow with the image, except for reading it once.

    Parameters
    ----------
    segmentation : Segmentation
    image : array, or list of arrays
        The image, or the images, that were segmented.
    mask : array or list, optional
        As in `segment`.
    n_repeats : int, default 10
        The number of repetitions, from 1 to 1000. Each makes a fit with another seed, and a fit
        to each half of at most 10,000 random pixels.
    summary : Summary, optional
        The result of `summarize` for this image; the image is then not read again.
    progress : callable, optional
        ``progress(done, total)``; an exception that it raises cancels the work.

    Returns
    -------
    Stability

    Raises
    ------
    TypeError, ValueError
        If `segmentation` is no segmentation, if a class of it was split anew, if `image` is not
        the image of it, or if the image, the mask or the summary cannot be used.

    Notes
    -----
    Only the fit is repeated: cleaning (`smoothing`, `min_size`, `min_confidence`) is not
    included, so the labels that are compared are those of the nearest centers. The fits start from
    k-means++. With `keep_init`, a low number then only states that K-means by itself would find
    other classes than those of the start colors.

    High stability does not prove that the classes are real: too few classes are often stable,
    too. Low stability shows that the number of classes, or the boundaries between them, are
    arbitrary. Pixels of one image are not independent: another image can differ more than the
    halves of one.

    Examples
    --------
    >>> segmentation = segment(image, 6)
    >>> measure_stability(segmentation, image).halves
    """
    check_result("segmentation", segmentation, Segmentation, remedy="pass the result of segment")
    n_repeats = _REPEATS.check("n_repeats", n_repeats)
    model, stages = segmentation.model, Progress(progress)
    _check_splits(model)
    check_image_of(segmentation, image, mask)
    channel_axis = None if model.rgb else model.channel_axis
    with shared_pool():
        summary = summary_for(
            image,
            segmentation.options,
            summary,
            stages,
            rgb=None if summary is not None else model.rgb,
            channel_axis=None if summary is not None else channel_axis,
            mask=mask,
        )
        return measure_fit(model, summary, stages, n_repeats=n_repeats)


def measure_fit(
    model: KMeansModel, summary: Summary, stages: Progress, *, n_repeats: int = 10
) -> Stability:
    """Measure the stability of the classes of a model, from the summary of its image.

    Parameters
    ----------
    model : KMeansModel
    summary : Summary
        With the options of the fit.
    stages : Progress
    n_repeats : int, default 10
        As in `measure_stability`.

    Raises
    ------
    ValueError
        If a class was split anew.
    """
    _check_splits(model)
    options = replace(
        summary.options,
        n_clusters=len(model.cluster_centers_),
        init="k-means++",
        keep_init=False,
    )
    with shared_pool():
        refits = Refits(summary.few_points, model.cluster_centers_, options, model.center_classes)
        agreement = refits.measure(range(n_repeats), stages.stage(0.5, n_repeats))
    stages.finish()
    import pandas as pd

    columns = {"index": model.labels, **class_columns(model), "jaccard": agreement.jaccard}
    return Stability(agreement.seeds, agreement.halves, pd.DataFrame(columns))


def _check_splits(model: KMeansModel) -> None:
    if model.splits:
        raise ValueError(
            "segmentation must have classes that were not split anew, got "
            f"{quote_value(model)}: measure the stability before the split."
        )
