"""Background work of the panel *Confidence*: images of confidence and memberships, stability."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.execution.progress import Progress, part_of
from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.imaging.cleaning import Cleaning
from napari_kmeans.imaging.label_counts import LabelCounter
from napari_kmeans.model import KMeansModel
from napari_kmeans.stability import measure_fit
from napari_kmeans.viewer.background.paint_levels import paint_levels
from napari_kmeans.viewer.background.stack_places import place_in_stack

if TYPE_CHECKING:
    from napari_kmeans.execution.progress import Report
    from napari_kmeans.imaging.label_counts import LabelCounts
    from napari_kmeans.segmentation import Segmentation
    from napari_kmeans.stability import Stability
    from napari_kmeans.stacks import StackModel
    from napari_kmeans.viewer.background.task import Task


class SoftImage(NamedTuple):
    """An image of confidence or of the membership in a class."""

    levels: list[Any]
    """float32 arrays of the spatial shapes, finest level first; lazy where the image is."""

    counts: LabelCounts | None
    """The mean confidence of the pixels of each label in their class, in the level that was
    clustered. None for memberships, and if the labels are lazy."""


@dataclass(frozen=True, eq=False)
class SoftWork:
    """An image to compute from the distances of pixels to the classes of a model.

    Attributes
    ----------
    task : Task
        Its source, with the level and the slices that were clustered.
    model : KMeansModel or StackModel
    masks : list of arrays or None
        The mask of the clustered slices of each level.
    labels : list of arrays
        The labels of each level.
    label : int or None
        The label of the class whose memberships are computed; None computes the confidence.
    """

    task: Task
    model: KMeansModel | StackModel
    masks: list[Any] | None
    labels: list[Any]
    label: int | None = None

    def run(self, progress: Report | None = None) -> SoftImage:
        """Compute the levels in memory; lazy levels are computed when they are viewed."""
        source = self.task.source
        values = paint_levels(source.levels, self._compute, progress=progress)
        levels = [
            place_in_stack(source, level, own, float("nan")) for level, own in enumerate(values)
        ]
        return SoftImage(levels, self._count())

    def _count(self) -> LabelCounts | None:
        """Return the mean confidence of the pixels of each label in their class."""
        source = self.task.source
        index, labels = source.index_of(source.level), self.labels[source.level]
        if self.label is not None or is_dask(labels) or is_dask(source.levels[source.level]):
            return None
        own = labels if index is None else labels[index]
        counter = LabelCounter()
        counter.add(np.asarray(own), self._compute(source.level, None, own))
        return counter.counts()

    def _compute(self, level: int, progress: Report | None, labels: Any = None) -> Any:
        """Return the numbers of the clustered slices of a level.

        The confidence is that in the class that the model gives, or in that of `labels`.
        """
        source = self.task.source
        index, image = source.index_of(level), source.levels[level]
        model = self.model.with_blur(source.blur_at(self.task.options.blur, level))
        cleaning = Cleaning.of(self.task.options)
        model = model.with_cleaning(source.cleaning_at(cleaning, level, model.position))
        mask = None if self.masks is None else self.masks[level]
        part = image if index is None else image[index]
        if self.label is None:
            return model.confidence(part, labels=labels, mask=mask, progress=progress)
        memberships = model.memberships(part, mask=mask, progress=progress)
        if isinstance(model, KMeansModel):
            return memberships[..., model.labels.tolist().index(self.label)]
        return memberships[..., self.label - 1]


@dataclass(frozen=True, eq=False)
class StabilityWork:
    """A segmentation whose stability is measured, on the pixels that a task fits."""

    task: Task
    segmentation: Segmentation

    def run(self, progress: Report | None = None) -> Stability:
        """Return the stability, from a cached summary if there is one."""
        summary = self.task.summarize(part_of(progress, 0, 0.5))
        # The blur of the summary is in pixels of the level that is fitted.
        options = replace(self.segmentation.options, **self.task.summary_options)
        # The labels may be those of all levels: they are not compared with the fitted level.
        return measure_fit(
            self.segmentation.model,
            summary.with_options(options),
            Progress(part_of(progress, 0.5, 1)),
        )
