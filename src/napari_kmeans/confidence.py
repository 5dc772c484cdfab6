"""Add the mean confidence of each class to the tables of a segmentation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from napari_kmeans.checks import check_result, quote_value
from napari_kmeans.execution.progress import Report, part_of
from napari_kmeans.imaging.label_counts import LabelCounter
from napari_kmeans.measuring import with_confidence
from napari_kmeans.segmentation import Segmentation, check_image_of
from napari_kmeans.stacks import StackSegmentation

AnySegmentation = TypeVar("AnySegmentation", Segmentation, StackSegmentation)


def add_confidence(
    segmentation: AnySegmentation,
    image: Any,
    *,
    mask: Any = None,
    progress: Report | None = None,
) -> AnySegmentation:
    """Return a segmentation whose table has the mean confidence of each class.

    Parameters
    ----------
    segmentation : Segmentation or StackSegmentation
        It is not changed.
    image : array, or list of arrays
        The image, or the images, that were segmented. A dask image is read once more.
    mask : array or list, optional
        As in `segment`.
    progress : callable, optional
        ``progress(done, total)``; an exception that it raises cancels the work.

    Returns
    -------
    Segmentation or StackSegmentation
        Its table, and that of the slices of a stack, have the column `confidence`, from -1 to 1:
        the mean over the pixels that have the label of their confidence in this class,
        ``model.confidence(image, labels=labels)``. Without `smoothing`, a pixel that `min_size`
        moved from a nearer class counts as negative. Pixels that are left out or undecided do not
        count.

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
    check_result(
        "segmentation",
        segmentation,
        Segmentation,
        StackSegmentation,
        remedy="pass the result of segment or segment_slices",
    )
    if isinstance(segmentation, StackSegmentation):
        return _add_to_slices(segmentation, image, mask, progress)
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


def _add_to_slices(
    segmentation: StackSegmentation, image: Any, mask: Any, progress: Report | None
) -> StackSegmentation:
    import pandas as pd

    model, labels, table = segmentation.model, segmentation.labels, segmentation.slice_table
    shape = model.open(image, mask).shape
    if shape != labels.shape:
        raise ValueError(
            f"image must be that of the segmentation, with the spatial shape {labels.shape}, got "
            f"{quote_value(image)}: pass the stack that was segmented."
        )
    values = model.confidence(image, labels=labels, mask=mask, progress=progress)
    slices, whole = [], LabelCounter()
    for number, position in enumerate(np.ndindex(shape[:-2])):
        counter = LabelCounter()
        counter.add(labels[position], values[position])
        whole.add_all(counter)
        slices.append(with_confidence(table[table["slice"] == number], counter.counts()))
    return replace(
        segmentation,
        table=with_confidence(segmentation.table, whole.counts()),
        slice_table=pd.concat(slices, ignore_index=True),
    )
