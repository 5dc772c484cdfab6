"""Background work of the panel *Compare*: one image in several numbers of clusters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_kmeans.execution.progress import part_of
from napari_kmeans.viewer.from_layers.source import EACH

if TYPE_CHECKING:
    from napari_kmeans.execution.progress import Report
    from napari_kmeans.viewer.background.task import AnySegmentation, Task

_SUMMARY_SHARE = 0.3
"""Share of the progress for the summary. The fits divide the rest equally."""


@dataclass(frozen=True, eq=False)
class ComparisonWork:
    """A task that runs once for each of several numbers of clusters.

    Attributes
    ----------
    task : Task
        The image and all options except `n_clusters`.
    numbers : list of int
    """

    task: Task
    numbers: list[int]

    def run(self, progress: Report | None = None) -> list[AnySegmentation]:
        """Run the task for each number in turn, from one summary; return the outcomes."""
        task = self.task
        # Slices with a model each have no common summary.
        if task.source.stack != EACH:
            task = replace(task, summary=task.summarize(part_of(progress, 0, _SUMMARY_SHARE)))
        size = (1 - _SUMMARY_SHARE) / len(self.numbers)
        return [
            _with_clusters(task, number).run(
                part_of(progress, _SUMMARY_SHARE + n * size, _SUMMARY_SHARE + (n + 1) * size)
            )
            for n, number in enumerate(self.numbers)
        ]


def _with_clusters(task: Task, n_clusters: int) -> Task:
    return replace(task, options=replace(task.options, n_clusters=n_clusters))
