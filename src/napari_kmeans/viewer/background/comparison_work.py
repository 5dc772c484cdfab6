"""Cluster one image into several numbers of clusters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_kmeans.execution.progress import part_of
from napari_kmeans.viewer.from_layers.source import EACH

if TYPE_CHECKING:
    from napari_kmeans.execution.progress import Report
    from napari_kmeans.viewer.background.task import AnySegmentation, Task

_READING = 0.3


@dataclass(frozen=True, eq=False)
class ComparisonWork:
    """A task to be done for several numbers of clusters."""

    task: Task
    numbers: list[int]

    def run(self, progress: Report | None = None) -> list[AnySegmentation]:
        """Do it for each number in turn, from one summary."""
        task = self.task
        if task.source.stack != EACH:
            task = replace(task, summary=task.summarize(part_of(progress, 0, _READING)))
        size = (1 - _READING) / len(self.numbers)
        return [
            _with_clusters(task, number).run(
                part_of(progress, _READING + place * size, _READING + (place + 1) * size)
            )
            for place, number in enumerate(self.numbers)
        ]


def _with_clusters(task: Task, n_clusters: int) -> Task:
    return replace(task, options={**task.options, "n_clusters": n_clusters})
