"""The panel *Which K?*, which suggests a number of clusters and plots its scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from magicgui.widgets import PushButton

from napari_kmeans.execution.progress import part_of
from napari_kmeans.suggestion import suggest_n_clusters
from napari_kmeans.viewer.panels.working_panel import WorkingPanel
from napari_kmeans.viewer.widgets.form import row, scroll_to
from napari_kmeans.viewer.widgets.score_curve import ScoreCurve

if TYPE_CHECKING:
    from napari_kmeans.execution.progress import Report
    from napari_kmeans.suggestion import Suggestion
    from napari_kmeans.viewer.background.task import Task
    from napari_kmeans.viewer.background.worker import SegmentationWorker
    from napari_kmeans.viewer.panels.panel import Dock
    from napari_kmeans.viewer.to_layers.result import Result

_MAX_NAME_LENGTH = 30
"""Maximum number of characters of a layer name in the message."""


@dataclass(frozen=True, eq=False)
class SuggestionWork:
    """Background work that suggests a number of clusters for the pixels that a task fits."""

    task: Task

    def run(self, progress: Report | None = None) -> Suggestion:
        """Return the suggestion for 2 to 16 clusters, from a cached summary if there is one."""
        summary = self.task.summarize(part_of(progress, 0, 0.5))
        return suggest_n_clusters(
            self.task.fitted_part,
            summary=summary,
            progress=part_of(progress, 0.5, 1),
            **self.task.summary_options,
        )


class NumberPanel(WorkingPanel):
    """A panel that suggests a number of clusters for the chosen image of the dock."""

    title = "Which K?"
    tooltip = "Score 2 to 16 clusters for the chosen image, and suggest a number."

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._task: Task | None = None
        self._checked_result: Result | None = None
        self.suggest_button = PushButton(name="suggest_button", text="Suggest")
        self.suggest_button.tooltip = self.tooltip
        self.curve = ScoreCurve()
        self.curve.hide()
        self.show_message("Press Suggest to score 2 to 16 clusters for the chosen image.")
        for widget in (self.message, self.curve, self.progress_bar.native):
            self.column.addWidget(widget)
        self.column.insertWidget(0, row([self.suggest_button, self.cancel_button]))
        self.suggest_button.changed.connect(self.suggest_unless_working)
        self.curve.chosen.connect(self._set_n_clusters)
        dock.n_clusters.changed.connect(self.curve.mark)
        self.curve.mark(dock.n_clusters.value)
        self.refresh()

    def suggest(self) -> SegmentationWorker:
        """Score numbers of clusters for the chosen image in the background.

        Returns
        -------
        SegmentationWorker
            A worker that emits `returned` with the Suggestion or `errored` with
            an exception, and in every case `finished`, also after canceling.

        Raises
        ------
        ValueError
            If there is no image layer.
        RuntimeError
            If a suggestion is already being computed.
        """
        return self._suggest_for(self.dock.task())

    def suggest_unless_working(self) -> None:
        """Start a suggestion if none is being computed. Show expected errors as notifications."""
        if not self.is_working:
            self.attempt(self.suggest)

    def refresh(self) -> None:
        """Suggest again if the last run has other pixels or other options of the summary.

        Do so only in live mode, and once for each run: when the panel is opened again, it must
        not replace a suggestion that the user asked for. Merged clusters, and the labels of
        another run that the user activates, are no new run.
        """
        result = self.dock.result
        if not self.dock.live.value or self.is_working or not self.dock.shows_last_run:
            return
        if result is None or result is self._checked_result:
            return
        task = result.task
        if task is None or task.applied:
            return
        self._checked_result = result
        if self._task is None or not _fit_same_pixels(task, self._task):
            self._suggest_for(task)

    def work_changed(self) -> None:
        """Enable the button when no suggestion is being computed."""
        self.suggest_button.enabled = not self.is_working
        if not self.is_working:
            # `refresh` has ignored results that arrived during the work.
            self.refresh()

    def _suggest_for(self, task: Task) -> SegmentationWorker:
        worker = self.start(SuggestionWork(task), partial(self._show_suggestion, task.source.name))
        self._task = task
        return worker

    def _show_suggestion(self, name: str, suggestion: Suggestion) -> None:
        short = name if len(name) <= _MAX_NAME_LENGTH else f"{name[: _MAX_NAME_LENGTH - 1]}…"
        votes = ", ".join(map(str, sorted(suggestion.votes.values())))
        self.message.setText(
            f"Suggested for {short}: {suggestion.n_clusters} clusters (votes: {votes})."
        )
        self.curve.show_suggestion(suggestion)
        is_first = self.curve.isHidden()
        self.curve.show()
        if is_first:
            # The panel has become higher than what was visible of it.
            scroll_to(self)

    def _set_n_clusters(self, n_clusters: int) -> None:
        self.dock.n_clusters.value = n_clusters


def _fit_same_pixels(task: Task, other: Task) -> bool:
    """Return whether two tasks fit the same pixels with the same options of the summary."""
    if task.masks is not None or other.masks is not None:
        # The user may have painted in the layer of the mask.
        return False
    return _identify_pixels(task) == _identify_pixels(other)


def _identify_pixels(task: Task) -> tuple[object, ...]:
    # The task keeps its arrays alive, so no other array can get the same id.
    source, pixels = task.source, [id(array) for array in task.arrays]
    return (source.unique_id, source.level, source.stack, task.summary_options, pixels)
