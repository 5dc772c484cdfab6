"""The dock widget: it runs the clustering in the background and shows the results as layers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, ProgressBar, PushButton
from napari.layers import Image, Labels, Points
from psygnal import Signal

from napari_kmeans.options import AUTO, OPTIONS, Options
from napari_kmeans.viewer.background.runner import EXPECTED_ERRORS, Run, Runner, report_error
from napari_kmeans.viewer.background.summary_cache import SummaryCache
from napari_kmeans.viewer.background.task import Task
from napari_kmeans.viewer.background.worker import make_worker, warm_up
from napari_kmeans.viewer.dock.choices import stack_to_fit
from napari_kmeans.viewer.dock.fields import Fields
from napari_kmeans.viewer.dock.last_settings import last_settings_of
from napari_kmeans.viewer.dock.live import LiveRuns
from napari_kmeans.viewer.dock.result_layers import ResultLayers, build_layers, builders_like
from napari_kmeans.viewer.dock.whole_view import WholeView
from napari_kmeans.viewer.from_layers.channels import can_be_channels
from napari_kmeans.viewer.from_layers.marks_watcher import MarksWatcher, count_marks
from napari_kmeans.viewer.from_layers.source import EACH
from napari_kmeans.viewer.panels.apply_panel import ApplyPanel
from napari_kmeans.viewer.panels.clusters_panel import ClustersPanel
from napari_kmeans.viewer.panels.colors_panel import ColorsPanel
from napari_kmeans.viewer.panels.compare_panel import ComparePanel
from napari_kmeans.viewer.panels.export_panel import ExportPanel
from napari_kmeans.viewer.panels.merge_panel import MergePanel
from napari_kmeans.viewer.panels.number_panel import NumberPanel
from napari_kmeans.viewer.panels.objects_panel import ObjectsPanel
from napari_kmeans.viewer.panels.panel import Fold, Panel
from napari_kmeans.viewer.provenance import has_record
from napari_kmeans.viewer.to_layers.label_table import watch_edits
from napari_kmeans.viewer.to_layers.layers import coreset_layer, labels_layer, recolored_layers
from napari_kmeans.viewer.to_layers.result import Result
from napari_kmeans.viewer.widgets.form import offer_choices, scroll_to, show_row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    import napari
    from napari.layers import Layer

    from napari_kmeans.segmentation import Segmentation
    from napari_kmeans.viewer.background.task import AnySegmentation
    from napari_kmeans.viewer.background.worker import SegmentationWorker
    from napari_kmeans.viewer.dock.result_layers import Builder
    from napari_kmeans.viewer.from_layers.source import Source

PANELS: dict[str, type[Panel]] = {
    "number": NumberPanel,
    "clusters": ClustersPanel,
    "merge": MergePanel,
    "colors": ColorsPanel,
    "compare": ComparePanel,
    "apply": ApplyPanel,
    "objects": ObjectsPanel,
    "export": ExportPanel,
}
"""The panels below the form by name, in the order from top to bottom."""


class KMeansWidget(Fields):
    """Cluster the colors of an image layer from a dock in napari.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer whose layers are offered and to which the results are added.

    Attributes
    ----------
    result : Result or None
        The latest result: of a run, or of a loaded model that was applied.
    segmented : psygnal.Signal
        Emitted with the result once its layers are in the viewer.

    Examples
    --------
    >>> _, widget = viewer.window.add_plugin_dock_widget("napari-kmeans")
    >>> widget.n_clusters.value = 5
    >>> worker = widget.run()
    """

    segmented = Signal(Result)

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        # napari gives plugins a proxy of the viewer, which returns a new wrapper for each
        # access to a layer: layers could not be compared by identity. Use the viewer itself.
        super().__init__(getattr(napari_viewer, "__wrapped__", napari_viewer))
        self.result: Result | None = None
        self._summary_cache = SummaryCache()
        self._marks_watcher = MarksWatcher(self.native, self._on_marks_changed)
        self._runner = Runner(self.progress_bar, self._show_results, self._on_run_changed)
        self._live_runs = LiveRuns(
            self.live, self._setting_fields(), self._runner, self._can_run, self._start
        )
        self._result_layers = ResultLayers(self.viewer, self._follow_selection)
        self.folds = {name: Fold(kind, self) for name, kind in PANELS.items()}
        for fold in self.folds.values():
            self.column.addWidget(fold.folder)
        self._follow_selection()
        self._restore_settings()
        self._connect()
        self._follow_marks()
        self._update_fields()
        self.status.show_result(self.result, self.viewer.layers)
        WholeView(self.viewer, self.native)
        warm_up()

    # --------------------------------------------------------- stored settings

    def _restore_settings(self) -> None:
        """Restore the last result and settings of this viewer, as far as they still fit."""
        stored = last_settings_of(self.viewer)
        self.result = stored.result
        for name, value in stored.settings.items():
            field = getattr(self, name)
            if isinstance(field, ComboBox):
                # The choices may depend on the fields that were restored before.
                field.reset_choices()
                if value not in field.choices:
                    continue
            field.value = value

    def _store_settings(self) -> None:
        stored = last_settings_of(self.viewer)
        for field in self:
            if field is not self.image and not isinstance(field, PushButton | ProgressBar):
                stored.store(field.name, field.value)

    # ------------------------------------------------- following the viewer

    def _connect(self) -> None:
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            event.connect(self.reset_choices)
        events.inserted.connect(self._watch_edits)
        self._watch_edits()
        self.viewer.layers.selection.events.active.connect(self._follow_selection)
        self.viewer.layers.selection.events.changed.connect(self._update_fields)
        self.together.changed.connect(self._set_normalize)
        self.init.changed.connect(self._follow_marks)
        for field in (self.image, self.together, self.method, self.stack, self.init):
            field.changed.connect(self._update_fields)
        for box in (self.add_labels, self.add_recolored, self.add_points):
            box.changed.connect(self._update_fields)
        for field in self._setting_fields():
            field.changed.connect(self._live_runs.on_setting_changed)
        self.changed.connect(self._store_settings)
        self.segmented.connect(last_settings_of(self.viewer).store_result)
        self.live.changed.connect(self._live_runs.on_checked)
        self.live.changed.connect(self._on_live_changed)
        self.run_button.changed.connect(self._on_run_clicked)
        self.which_button.changed.connect(self._suggest_number)
        self.cancel_button.changed.connect(self.cancel)
        self.native_parent_changed.connect(self._on_parent_changed)
        self.native.destroyed.connect(self._on_destroyed)

    def _disconnect(self) -> None:
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            event.disconnect(self.reset_choices)
        events.inserted.disconnect(self._watch_edits)
        self.viewer.layers.selection.events.active.disconnect(self._follow_selection)
        self.viewer.layers.selection.events.changed.disconnect(self._update_fields)
        self._marks_watcher.watch(None)
        self.status.stop()

    def reset_choices(self, *_: Any) -> None:
        """Offer the current layers. The chosen layer stays chosen, even if it was renamed."""
        for combo_box in (self.image, self.mask):
            offer_choices(combo_box)
        for fold in self.folds.values():
            fold.reset_choices()
        self.status.show_result(self.result, self.viewer.layers)
        self._update_fields()

    def _watch_edits(self, *_: Any) -> None:
        """Watch the Labels layers of results, and duplicates of them, for edits by hand."""
        for layer in self.viewer.layers:
            if isinstance(layer, Labels) and has_record(layer):
                watch_edits(layer)

    def _follow_selection(self, *_: Any) -> None:
        active = self.viewer.layers.selection.active
        if isinstance(active, Image):
            self.reset_choices()
            self.image.value = active

    def _setting_fields(self) -> list[Any]:
        """Return the fields that a result depends on, besides the image."""
        options = [getattr(self, name) for name in OPTIONS]
        return [*options, self.together, self.mask, self.stack, self.level]

    def _marks_layer(self) -> Points | Labels | None:
        chosen = self.init.value
        return chosen if isinstance(chosen, Points | Labels) else None

    def _follow_marks(self, *_: Any) -> None:
        self._marks_watcher.watch(self._marks_layer())
        self._set_number_to_marks()

    def _set_number_to_marks(self) -> None:
        """Set the number of clusters to the number of marks, if it is known and not 0."""
        layer = self._marks_layer()
        if layer is not None:
            self.n_clusters.value = count_marks(layer) or self.n_clusters.value

    def _on_marks_changed(self) -> None:
        self._set_number_to_marks()
        # Marks that moved give other colors, although no field has another value.
        self._live_runs.run_again()

    def _layers_to_cluster(self) -> list[Image]:
        """Return the layers to cluster: the image, or the selected layers as channels."""
        return self._selected_layers() if self._combines_layers() else [self.image.value]

    def _selected_layers(self) -> list[Layer]:
        selection = self.viewer.layers.selection
        return [layer for layer in self.viewer.layers if layer in selection]

    def _can_combine_layers(self) -> bool:
        selected = self._selected_layers()
        return self.image.value in selected and can_be_channels(selected)

    def _combines_layers(self) -> bool:
        return self.together.value and self._can_combine_layers()

    def _set_normalize(self, together: bool) -> None:
        """Scale the channels of several layers by default, so that all have the same weight."""
        self.normalize.value = "percentile" if together else Options.normalize

    def _update_fields(self, *_: Any) -> None:
        """Show the fields that apply to the image, and enable those that have an effect."""
        image, running = self.image.value, self._runner.is_running
        for combo_box in (self.level, self.init):
            offer_choices(combo_box)
        has_no_marks = self._marks_layer() is None
        for field in (self.n_clusters, self.n_clusters_slider, self.n_init):
            field.enabled = has_no_marks
        show_row(self.stack, image is not None and image.ndim > 2)
        show_row(self.level, image is not None and image.multiscale)
        self.together.visible = self._can_combine_layers()
        show_row(self.normalize, self._combines_layers())
        self.color_space.enabled = image is not None and image.rgb
        self.coreset_size.enabled = self.method.value == "coreset"
        is_each = image is not None and image.ndim > 2 and self.stack.value == EACH
        self.add_points.enabled = self.coreset_size.enabled and not is_each
        self.run_button.enabled = self._can_run() and not running
        self.cancel_button.enabled = running

    def _can_run(self) -> bool:
        return self.image.value is not None and bool(self._chosen_builders())

    # ----------------------------------------------------------------- running

    def run(self) -> SegmentationWorker:
        """Cluster the chosen image in the background.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with the Segmentation, or with the StackSegmentation if each
            slice is clustered by itself, once its layers are in the viewer. Emits `errored`
            with an exception, and always `finished` at the end.

        Raises
        ------
        ValueError
            If there is no image layer.
        RuntimeError
            If a run is under way.
        """
        if self._runner.is_running:
            raise RuntimeError("A run is under way: wait until it is finished, or cancel it.")
        self._summary_cache.clear()
        return self._start()

    def task(self) -> Task:
        """Return the task that a run would have now: the pixels and the options.

        Raises
        ------
        ValueError
            If there is no image layer.
        """
        layer = self.image.value
        if layer is None:
            raise ValueError("image must be an image layer, got None: open an image first.")
        return Task.of(
            self._layers_to_cluster(),
            self._options(),
            start=self._marks_layer(),
            mask=self.mask.value,
            level=None if self.level.value == AUTO else self.level.value,
            stack=stack_to_fit(self.stack.value, layer),
            cache=self._summary_cache,
        )

    def _start(self) -> SegmentationWorker:
        task = self.task() if self.live.value else replace(self.task(), cache=None)
        builders = self._chosen_builders()
        worker: SegmentationWorker = make_worker(task, locate=coreset_layer in builders)
        update = self.update_layers.value or self.live.value
        self._runner.start(Run(task, builders, update, worker))
        return worker

    def cancel(self) -> None:
        """Stop the run, if there is one. No layer is added to the viewer."""
        self.cancel_button.enabled = False
        self._runner.cancel()

    def _options(self) -> Options:
        """Return the options of the fields, with defaults for fields that do not apply.

        Raises
        ------
        TypeError, ValueError
            If the value of a field is not valid for its option.
        """
        values = {name: getattr(self, name).value for name in OPTIONS}
        if not self.color_space.enabled:
            values["color_space"] = Options.color_space
        if not self._combines_layers():
            values["normalize"] = Options.normalize
        if self._marks_layer() is not None:
            # The worker reads the marks, whose colors then replace the option.
            values["init"] = Options.init
        return Options(**values)

    def _chosen_builders(self) -> tuple[Builder, ...]:
        """Return the builders of the layers to add, from the bottom to the top."""
        choices = (
            (self.add_recolored.value, recolored_layers),
            (self.add_labels.value, labels_layer),
            (self.add_points.value and self.add_points.enabled, coreset_layer),
        )
        return tuple(builder for is_chosen, builder in choices if is_chosen)

    def _on_run_clicked(self) -> None:
        try:
            self.run()
        except EXPECTED_ERRORS as error:
            report_error(error)

    def _suggest_number(self) -> None:
        """Unfold the panel *Which K?*, scroll to it, and suggest a number of clusters."""
        fold = self.folds["number"]
        panel = fold.open()
        scroll_to(fold.folder)
        assert isinstance(panel, NumberPanel)
        panel.suggest_unless_working()

    def _on_run_changed(self) -> None:
        self._update_fields()
        self._live_runs.on_run_changed()

    def _on_live_changed(self, live: bool) -> None:
        if not live:
            self._summary_cache.clear()

    # ----------------------------------------------------------------- results

    def _show_results(self, run: Run, outcome: AnySegmentation) -> None:
        if run.update:
            outcome = self._result_layers.carry_edits(outcome, run.task.source)
        self._show_outcome(run.task, outcome, run.builders, run.update, self._runner.seconds)
        assert self.result is not None
        self._result_layers.remember_start(self.result.labels, outcome)

    def show_outcome(self, outcome: AnySegmentation) -> None:
        """Show another outcome of the latest task, in place of the latest result.

        Raises
        ------
        ValueError
            If there is no result.
        """
        if self.result is None:
            raise ValueError("result must be a Result, got None: run first.")
        # A layer that the user removed does not come back.
        shown = [layer for layer in self.result.layers if layer in self.viewer.layers]
        builders = builders_like(shown)
        self._show_outcome(self.result.task, outcome, builders, update=True)

    def show_applied(
        self, source: Source, outcome: Segmentation, *, update: bool, is_latest: bool
    ) -> None:
        """Show the layers of a model that was applied to an image.

        Parameters
        ----------
        source : Source
        outcome : Segmentation
        update : bool
            As in `show_layers`.
        is_latest : bool
            Whether the outcome becomes the latest result. It does in any case if it has
            replaced a layer of the latest result.
        """
        layers = build_layers((recolored_layers, labels_layer), outcome, source)
        shown = self.show_layers(layers, update=update)
        earlier = () if self.result is None else self.result.layers
        if is_latest or any(layer in earlier for layer in shown):
            task = Task(source, None, outcome.options, applied=True)
            self._set_result(Result(task, outcome, shown))

    def _show_outcome(
        self,
        task: Task,
        outcome: AnySegmentation,
        builders: tuple[Builder, ...],
        update: bool,
        seconds: float | None = None,
    ) -> None:
        layers = build_layers(builders, outcome, task.source)
        result = Result(task, outcome, self.show_layers(layers, update=update), seconds)
        if task.start is not None:
            self.n_clusters.value = outcome.options.n_clusters
        self._set_result(result)

    def show_result(self, result: Result) -> None:
        """Show a result in the panels whose layers are in the viewer already."""
        self._set_result(result)

    def _set_result(self, result: Result) -> None:
        """Show the latest result in the panels."""
        self.result = result
        self.segmented.emit(result)
        for fold in self.folds.values():
            fold.refresh()
        self.status.show_result(self.result, self.viewer.layers)
        stored = last_settings_of(self.viewer)
        if not stored.has_shown_clusters:
            stored.has_shown_clusters = True
            self.folds["clusters"].open()

    def show_layers(self, layers: Sequence[Layer], *, update: bool) -> tuple[Layer, ...]:
        """Show layers of a result, and leave the selection unchanged.

        Parameters
        ----------
        layers : sequence of napari.layers.Layer
            From the bottom to the top.
        update : bool
            Whether layers of an earlier run on the same source are changed in place.

        Returns
        -------
        tuple of napari.layers.Layer
            The layers in the viewer: those that were added, and those that were updated.
        """
        return self._result_layers.show(layers, update=update)

    def selection_kept(self) -> AbstractContextManager[None]:
        """Leave the selection of layers, and with it the image to cluster, unchanged."""
        return self._result_layers.selection_kept()

    # ----------------------------------------------------------------- closing

    def _on_parent_changed(self, parent: Any) -> None:
        """Stop the run when the dock is closed: napari then removes this widget from its parent."""
        if parent is None:
            self.cancel()

    def _on_destroyed(self) -> None:
        """Stop the run when the window is deleted. Qt objects must not be used any more."""
        self._disconnect()
        self._runner.cancel_and_disconnect()
