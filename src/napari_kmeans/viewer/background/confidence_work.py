"""Background work of the panel *Confidence*: images of confidence and memberships, stability."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.execution.progress import part_of
from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.imaging.cleaning import Cleaning
from napari_kmeans.imaging.label_counts import LabelCounter
from napari_kmeans.model import KMeansModel
from napari_kmeans.stability import measure_stability
from napari_kmeans.viewer.background.paint_levels import painting_effort

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
    """The mean of each label in the level that was clustered; None if its labels are lazy."""


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
        efforts = [painting_effort(level) for level in source.levels]
        ends = np.cumsum(efforts) / max(sum(efforts), 1)
        levels, means = [], None
        for level, (start, end) in enumerate(zip((0.0, *ends), ends, strict=False)):
            index = source.index_of(level)
            values = self._compute(level, part_of(progress, start, end))
            labels = self.labels[level] if index is None else self.labels[level][index]
            if level == source.level and not is_dask(labels) and not is_dask(values):
                counter = LabelCounter()
                counter.add(np.asarray(labels), values)
                means = counter.counts()
            levels.append(values if index is None else self._place(values, level, index))
        return SoftImage(levels, means)

    def _compute(self, level: int, progress: Report | None) -> Any:
        """Return the numbers of the clustered slices of a level."""
        source = self.task.source
        index, image = source.index_of(level), source.levels[level]
        model = self.model.with_blur(source.blur_at(self.task.options.blur, level))
        if model.position:
            cleaning = Cleaning.of(self.task.options)
            model = model.with_cleaning(source.cleaning_at(cleaning, level, model.position))
        mask = None if self.masks is None else self.masks[level]
        part = image if index is None else image[index]
        if self.label is None:
            return model.confidence(part, mask=mask, progress=progress)
        memberships = model.memberships(part, mask=mask, progress=progress)
        if isinstance(model, KMeansModel):
            return memberships[..., model.labels.tolist().index(self.label)]
        return memberships[..., self.label - 1]

    def _place(self, values: Any, level: int, index: Any) -> Any:
        """Return numbers of a slice in their place in the stack; NaN elsewhere."""
        shape = self.task.source.shape_of(level)
        if is_dask(values):
            import dask.array as da

            stack: Any = da.full(shape, np.nan, dtype=np.float32)
        else:
            stack = np.full(shape, np.nan, np.float32)
        stack[index] = values
        return stack


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
        return measure_stability(
            replace(self.segmentation, options=options),
            self.task.fitted_part,
            summary=summary,
            progress=part_of(progress, 0.5, 1),
        )
