"""Add the mean confidence of each class to the table of a segmentation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from napari_kmeans.checks import check_result
from napari_kmeans.execution.progress import Report, part_of
from napari_kmeans.imaging.label_counts import LabelCounter
from napari_kmeans.measuring import with_confidence
from napari_kmeans.segmentation import Segmentation, check_image_of


def add_confidence(
    segmentation: Segmentation, image: Any, *, mask: Any = None, progress: Report | None = None
) -> Segmentation:
    """Return a segmentation whose table has the mean confidence of each class.

    Parameters
    ----------
    segmentation : Segmentation
        It is not changed.
    image : array, or list of arrays
        The image, or the images, that were segmented. A dask image is read once more.
    mask : array or list, optional
        As in `segment`.
    progress : callable, optional
        ``progress(done, total)``; an exception that it raises cancels the work.

    Returns
    -------
    Segmentation
        Its table has the column `confidence`, from -1 to 1: the mean over the pixels that have
        the label of their confidence in this class, ``model.confidence(image,
        labels=labels)``. Without `smoothing`, a pixel that `min_size` moved from a nearer class
        counts as negative. Pixels that are left out or undecided do not count.

    Raises
    ------
    TypeError, ValueError
        If `segmentation` is no segmentation, if `image` is not the image of it, or as
        `KMeansModel.confidence` raises them.

    Examples
    --------
    >>> segmentation = segment(image, 6)
    >>> add_confidence(segmentation, image).table[["index", "percent", "confidence"]]
    """
    check_result("segmentation", segmentation, Segmentation, remedy="pass the result of segment")
    check_image_of(segmentation, image, mask)
    model, labels = segmentation.model, segmentation.labels
    several = isinstance(labels, list)
    all_labels, images = (labels, list(image)) if several else ([labels], [image])
    masks = list(mask) if several and mask is not None else [mask] * len(images)
    counter = LabelCounter()
    for number, (each, own) in enumerate(zip(images, masks, strict=True)):
        report = part_of(progress, number / len(images), (number + 1) / len(images))
        own_labels = all_labels[number]
        values = model.confidence(each, labels=own_labels, mask=own, progress=report)
        counter.add(own_labels, values)
    return replace(segmentation, table=with_confidence(segmentation.table, counter.counts()))
