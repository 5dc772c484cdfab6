"""The dock widget: it runs the clustering in the background and shows the results as layers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import ref

from magicgui.widgets import ComboBox, ProgressBar, PushButton
from napari.layers import Image, Labels, Points
from psygnal import Signal

from napari_kmeans.files.units import area_unit, convert_area
from napari_kmeans.model import KMeansModel
from napari_kmeans.options import AUTO, DOCK_OPTIONS, OPTIONS, Options
from napari_kmeans.rehearsal import ImageKind
from napari_kmeans.viewer.background.runner import (
    EXPECTED_ERRORS,
    Run,
    Runner,
    describe_error,
    report_error,
)
from napari_kmeans.viewer.background.summary_cache import SummaryCache
from napari_kmeans.viewer.background.task import Task
from napari_kmeans.viewer.background.worker import make_worker, warm_up
from napari_kmeans.viewer.dock.choices import (
    AREA,
    PIXELS,
    area_unit_of,
    describe_likely_channels,
    stack_to_fit,
)
from napari_kmeans.viewer.dock.fields import Fields
from napari_kmeans.viewer.dock.known_results import KNOWN_RESULTS
from napari_kmeans.viewer.dock.last_settings import last_settings_of
from napari_kmeans.viewer.dock.live import LiveRuns
from napari_kmeans.viewer.dock.mask_choices import ClassesOf, class_rows
from napari_kmeans.viewer.dock.result_layers import ResultLayers, builders_like
from napari_kmeans.viewer.dock.result_undo import LIVE, MERGE, ResultUndo
from napari_kmeans.viewer.dock.whole_view import WholeView
from napari_kmeans.viewer.from_layers.channels import (
    can_be_channels,
    likely_channel_axis,
    stated_channel_axis,
)
from napari_kmeans.viewer.from_layers.layer_watcher import (
    LayerWatcher,
    events_of_classes,
    events_of_marks,
    events_of_mask,
    events_of_size,
)
from napari_kmeans.viewer.from_layers.source import EACH
from napari_kmeans.viewer.from_layers.start_marks import count_marks
from napari_kmeans.viewer.panels.apply_panel import ApplyPanel
from napari_kmeans.viewer.panels.clusters_panel import ClustersPanel
from napari_kmeans.viewer.panels.cohort_panel import CohortPanel
from napari_kmeans.viewer.panels.colors_panel import ColorsPanel
from napari_kmeans.viewer.panels.compare_panel import ComparePanel
from napari_kmeans.viewer.panels.confidence_panel import ConfidencePanel
from napari_kmeans.viewer.panels.export_panel import ExportPanel
from napari_kmeans.viewer.panels.measure_panel import MeasurePanel
from napari_kmeans.viewer.panels.merge_panel import MergePanel
from napari_kmeans.viewer.panels.number_panel import NumberPanel
from napari_kmeans.viewer.panels.objects_panel import ObjectsPanel
from napari_kmeans.viewer.panels.panel import Fold, Panel
from napari_kmeans.viewer.provenance import has_record, sign_unsigned
from napari_kmeans.viewer.to_layers.hand_edits import watch_edits
from napari_kmeans.viewer.to_layers.layers import coreset_layer, labels_layer, recolored_layers
from napari_kmeans.viewer.to_layers.moved_centers import describe_moved_centers
from napari_kmeans.viewer.to_layers.result import Result
from napari_kmeans.viewer.widgets.form import offer_choices, scroll_to, show_row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    import napari
    from napari.layers import Layer, Shapes

    from napari_kmeans.files.units import AreaUnit
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
    "cohort": CohortPanel,
    "objects": ObjectsPanel,
    "confidence": ConfidencePanel,
    "measure": MeasurePanel,
    "export": ExportPanel,
}
"""The panels below the form by name, in the order from top to bottom.

The page of the documentation that describes a panel has its name.
"""


class KMeansWidget(Fields):
    """Cluster the colors of an image layer from a dock in napari.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer whose layers are offered and to which the results are added.

    Attributes
    ----------
    result : Result or None
        The result that the panels show: that of the Labels layer that was activated last, or
        of a newer run. If its labels are removed, the newest result whose labels are in the
        viewer.
    segmented : psygnal.Signal
        Emitted with the result of a run once its layers are in the viewer.

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
        self._last_run: Callable[[], Result | None] = lambda: None
        self._summary_cache = SummaryCache()
        self._marks_watcher = LayerWatcher(self.native, self._on_marks_changed, events_of_marks)
        self._mask_watcher = LayerWatcher(self.native, self._on_mask_changed, events_of_mask)
        self._classes_watcher = LayerWatcher(self.native, self._offer_classes, events_of_classes)
        self._size_watcher = LayerWatcher(self.native, self._update_fields, events_of_size)
        self._runner = Runner(
            self.progress_bar, self._show_results, self._on_run_changed, self._report
        )
        self._live_runs = LiveRuns(
            self.live,
            self._setting_fields(),
            self._runner,
            self._can_run,
            self._start,
            self._report,
        )
        self.color_schemes = last_settings_of(self.viewer).color_schemes
        self._undo = ResultUndo(self.viewer, self._update_fields)
        self._result_layers = ResultLayers(
            self.viewer, self._follow_selection, self.color_schemes, self._undo
        )
        self.folds = {name: Fold(kind, self, name) for name, kind in PANELS.items()}
        for fold in self.folds.values():
            self.column.addWidget(fold.folder)
        self._axis_image: Image | None = None
        self._last_selected: list[Layer] = []
        self._follow_selection()
        self._follow_image()
        self._restore_settings()
        if self.result is None:
            self.result = KNOWN_RESULTS.newest(self.viewer.layers)
        self._connect()
        self._follow_marks()
        self._follow_mask()
        self._update_fields()
        self.status.show_result(self.result, self.viewer.layers)
        WholeView(self.viewer, self.native)
        if self.image.value is None:
            warm_up()

    @property
    def shows_last_run(self) -> bool:
        """Whether `result` is that of the last run of this dock, as it was after the run."""
        return self.result is not None and self.result is self._last_run()

    # --------------------------------------------------------- stored settings

    def _restore_settings(self) -> None:
        """Restore the last settings of this viewer, as far as they still fit."""
        stored = last_settings_of(self.viewer)
        for name, value in stored.settings.items():
            field = getattr(self, name)
            if isinstance(field, ComboBox):
                # The choices may depend on the fields that were restored before.
                field.reset_choices()
                if value not in field.choices:
                    continue
            if field is self.mask_classes:
                self._offer_classes()
            field.value = value
        self.entered_unit = stored.area_unit or self.entered_unit

    def _store_settings(self) -> None:
        stored = last_settings_of(self.viewer)
        stored.area_unit = self.entered_unit
        for field in self:
            if field is not self.image and not isinstance(field, PushButton | ProgressBar):
                stored.store(field.name, field.value)
        stored.store("mask_classes", self.mask_classes.value)

    # ------------------------------------------------- following the viewer

    def _connect(self) -> None:
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            event.connect(self.reset_choices)
        events.inserted.connect(self._watch_edits)
        events.inserted.connect(self._show_opened_options)
        self._watch_edits()
        self._show_opened_options()
        self.viewer.layers.selection.events.active.connect(self._follow_selection)
        self.viewer.layers.selection.events.changed.connect(self.reset_choices)
        self.image.changed.connect(self._follow_image)
        self.together.changed.connect(self._set_normalize)
        self.channel_axis.changed.connect(self._set_normalize)
        self.init.changed.connect(self._follow_marks)
        self.mask.changed.connect(self._follow_mask)
        self.mask_classes.changed.connect(self._store_settings)
        fields = (self.image, self.together, self.channel_axis, self.method, self.stack, self.init)
        for field in (*fields, self.size_unit):
            field.changed.connect(self._update_fields)
        for box in (self.add_labels, self.add_recolored, self.add_points):
            box.changed.connect(self._update_fields)
        for field in self._setting_fields():
            field.changed.connect(self._live_runs.on_setting_changed)
        self.changed.connect(self._store_settings)
        KNOWN_RESULTS.stored.connect(self._on_result_stored)
        self.live.changed.connect(self._live_runs.on_checked)
        self.live.changed.connect(self._on_live_changed)
        self.run_button.changed.connect(self._on_run_clicked)
        self.which_button.changed.connect(self._suggest_number)
        self.cancel_button.changed.connect(self.cancel)
        self.undo_button.changed.connect(self.undo_result)
        self.native_parent_changed.connect(self._on_parent_changed)
        self.native.destroyed.connect(self._on_destroyed)

    def _disconnect(self) -> None:
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            event.disconnect(self.reset_choices)
        events.inserted.disconnect(self._watch_edits)
        events.inserted.disconnect(self._show_opened_options)
        self.viewer.layers.selection.events.active.disconnect(self._follow_selection)
        self.viewer.layers.selection.events.changed.disconnect(self.reset_choices)
        KNOWN_RESULTS.stored.disconnect(self._on_result_stored)
        self._marks_watcher.watch(None)
        self._mask_watcher.watch(None)
        self._classes_watcher.watch(None)
        self.status.stop()

    def reset_choices(self, *_: Any) -> None:
        """Offer the current layers. The chosen layer stays chosen, even if it was renamed."""
        offer_choices(self.image)
        self._follow_layers()
        for fold in self.folds.values():
            fold.reset_choices()
        self.status.show_result(self.result, self.viewer.layers)
        self._update_fields()

    def _watch_edits(self, *_: Any) -> None:
        """Watch the Labels layers of results, and duplicates of them, for edits by hand."""
        for layer in self.viewer.layers:
            sign_unsigned(layer)
            if isinstance(layer, Labels) and has_record(layer):
                watch_edits(layer)

    def _follow_selection(self, *_: Any) -> None:
        active = self.viewer.layers.selection.active
        if isinstance(active, Image):
            self.reset_choices()
            self.image.value = active
        elif isinstance(active, Labels):
            result = KNOWN_RESULTS.result_of(active, self.viewer.layers)
            if result is not None:
                self._show_in_panels(result)

    def _follow_layers(self) -> None:
        """Show another result after the labels were removed; find layers that were added."""
        self._undo.forget_removed()
        result, layers = self.result, self.viewer.layers
        if result is None:
            return
        if result.layer not in layers:
            self._show_in_panels(KNOWN_RESULTS.newest(layers))
        elif result.labels is not None:
            self._show_in_panels(KNOWN_RESULTS.result_of(result.labels, layers))

    def _show_opened_options(self, *_: Any) -> None:
        """Show the options of labels from a file in the form, once for each layer."""
        opened = last_settings_of(self.viewer).opened
        for layer in self.viewer.layers:
            is_new = isinstance(layer, Labels) and layer.source.path and layer not in opened
            if not is_new or not has_record(layer):
                continue
            opened.add(layer)
            result = KNOWN_RESULTS.result_of(layer, self.viewer.layers)
            if result is not None:
                self.show_options(result.options, layer.name)

    def _on_result_stored(self, result: Result) -> None:
        """Show a new result of a layer in view, which may come from another dock of the viewer."""
        if result.layer not in self.viewer.layers:
            return
        if self.result is None or self.result.layer is result.layer:
            self._show_in_panels(result)

    def _show_in_panels(self, result: Result | None) -> None:
        if result is self.result:
            return
        self.result = result
        self.carried_note.show_text("")
        if result is not None and result.labels is not None and result.source is not None:
            # The image of labels from a file gives the means after an edit by hand.
            watch_edits(result.labels, result.source)
        self.status.show_result(result, self.viewer.layers)
        for fold in self.folds.values():
            fold.refresh()

    def _setting_fields(self) -> list[Any]:
        """Return the fields that a result depends on, besides the image."""
        options = [getattr(self, name) for name in DOCK_OPTIONS]
        return [
            *options,
            self.size_unit,
            self.together,
            self.channel_axis,
            self.mask,
            self.mask_classes,
            self.stack,
            self.level,
        ]

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

    def _mask_layer(self) -> Labels | Shapes | None:
        chosen = self.mask.value
        return chosen.layer if isinstance(chosen, ClassesOf) else chosen

    def _follow_mask(self, *_: Any) -> None:
        """Watch the chosen mask, and offer its classes if single classes are the mask."""
        self._mask_watcher.watch(self._mask_layer())
        self._offer_classes()

    def _offer_classes(self) -> None:
        """Offer the classes of the mask: those that were checked, or else the selected label."""
        layer = self.mask.value.layer if isinstance(self.mask.value, ClassesOf) else None
        self._classes_watcher.watch(layer)
        if layer is not None:
            rows = class_rows(layer)
            labels = [row.label for row in rows]
            checked = [label for label in self.mask_classes.value if label in labels]
            self.mask_classes.offer(rows, checked or [layer.selected_label])
        show_row(self.mask_classes, layer is not None)

    def _on_mask_changed(self) -> None:
        self._live_runs.run_again()

    def _layers_to_cluster(self) -> list[Image]:
        """Return the layers to cluster: the image, or the selected layers as channels."""
        return self._selected_layers() if self._combines_layers() else [self.image.value]

    def _selected_layers(self) -> list[Layer]:
        """Return the selected layers; without an image among them, those selected before.

        A click on the labels of a run shows their clusters, and does not change the next run.
        """
        layers, selection = self.viewer.layers, self.viewer.layers.selection
        selected = [layer for layer in layers if layer in selection]
        if any(isinstance(layer, Image) for layer in selected):
            self._last_selected = selected
        self._last_selected = [layer for layer in self._last_selected if layer in layers]
        return self._last_selected

    def _can_combine_layers(self) -> bool:
        selected = self._selected_layers()
        return self.image.value in selected and can_be_channels(selected)

    def _combines_layers(self) -> bool:
        return self.together.value and self._can_combine_layers()

    def _follow_image(self, *_: Any) -> None:
        """Choose the axis of the channels of another image if its label says so."""
        image = self.image.value
        self._size_watcher.watch(image)
        self.size_offer.follow(image)
        if image is not self._axis_image:
            self._axis_image = image
            offer_choices(self.channel_axis)
            self.channel_axis.value = stated_channel_axis(image)
            if image is not None:
                level = image.data[0] if image.multiscale else image.data
                warm_up(ImageKind.of(level, image.rgb, self.channel_axis.value))

    def _chosen_axis(self) -> int | None:
        """Return the axis of the channels of the image; None if it is an image without one."""
        return None if self._combines_layers() else self.channel_axis.value

    def _n_axes(self) -> int:
        """Return the number of axes of the image without its channels."""
        image = self.image.value
        return 0 if image is None else image.ndim - (self._chosen_axis() is not None)

    def _set_normalize(self, *_: Any) -> None:
        """Scale several channels by default, so that all have the same weight."""
        has_channels = self.together.value or self.channel_axis.value is not None
        self.normalize.value = self._scale_of_channels() if has_channels else Options.normalize

    def _scale_of_channels(self) -> str:
        """Return how several channels are scaled: as in labels that were opened, or by default."""
        result = self.result
        if result is not None and result.labels in last_settings_of(self.viewer).opened:
            model = result.model
            if isinstance(model, KMeansModel) and model.n_channels > 1 and not model.rgb:
                return result.options.normalize
        return "percentile"

    def _update_fields(self, *_: Any) -> None:
        """Show the fields that apply to the image, and enable those that have an effect."""
        image, running = self.image.value, self._runner.is_running
        for combo_box in (self.channel_axis, self.mask, self.level, self.init):
            offer_choices(combo_box)
        has_no_marks = self._marks_layer() is None
        for field in (self.n_clusters, self.n_clusters_slider, self.n_init):
            field.enabled = has_no_marks
        self.keep_init.enabled = not has_no_marks
        show_row(self.stack, self._n_axes() > 2)
        show_row(self.level, image is not None and image.multiscale)
        self.show_size_fields(self._area_unit())
        self.size_offer.update_offer()
        self.together.visible = self._can_combine_layers()
        may_have_axis = likely_channel_axis(image) is not None and not self._combines_layers()
        show_row(self.channel_axis, may_have_axis)
        hint = describe_likely_channels(image, self.channel_axis.value) if may_have_axis else ""
        self.channel_hint.show_text(hint)
        show_row(self.normalize, self._has_channels())
        # Without an image, the options are those of files for the panel *Cohort*.
        self.color_space.enabled = image is None or image.rgb
        self.coreset_size.enabled = self.method.value == "coreset"
        is_each = self._n_axes() > 2 and self.stack.value == EACH
        self.add_points.enabled = self.coreset_size.enabled and not is_each
        self.run_button.enabled = self._can_run() and not running
        self.cancel_button.enabled = running
        self.undo_button.enabled = self._undo.can_undo

    def _has_channels(self) -> bool:
        """Return whether a run would cluster several channels that are not RGB."""
        return self._combines_layers() or self._chosen_axis() is not None

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
            keep_start=self.keep_init.value,
            mask=self._mask_layer(),
            mask_classes=self._chosen_classes(),
            level=None if self.level.value == AUTO else self.level.value,
            stack=stack_to_fit(self.stack.value, layer, self._chosen_axis()),
            channel_axis=self._chosen_axis(),
            cache=self._summary_cache,
        )

    def _chosen_classes(self) -> tuple[int, ...] | None:
        """Return the checked classes of the mask; None if a whole layer is the mask."""
        return self.mask_classes.value if isinstance(self.mask.value, ClassesOf) else None

    def _start(self) -> SegmentationWorker:
        task = self.task() if self.live.value else replace(self.task(), cache=None)
        builders = self._chosen_builders()
        update = self.update_layers.value or self.live.value
        if update:
            # The worker decides pixels by merged classes: the window need not wait for it.
            task = replace(task, edited=self._result_layers.edited_before(task.source))
        worker: SegmentationWorker = make_worker(task, locate=coreset_layer in builders)
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
        values = {name: getattr(self, name).value for name in DOCK_OPTIONS}
        if not self.color_space.enabled:
            values["color_space"] = Options.color_space
        if not self._has_channels():
            values["normalize"] = Options.normalize
        if self._marks_layer() is not None:
            # The worker reads the marks, whose colors then replace the option.
            values["init"] = Options.init
        # Only marks give the dock start colors, which the task keeps.
        values["keep_init"] = False
        unit = self._area_unit() if self.size_unit.value == AREA else None
        if unit is None:
            values["min_area"] = Options.min_area
        else:
            # Lengths of layers are in micrometers.
            area = OPTIONS["min_area"].kind.check("min_area", values["min_area"])
            values |= {"min_size": Options.min_size, "min_area": area * unit.size}
        return Options(**values)

    def fit_options(self) -> Options:
        """Return the options of the fields for images of any kind, such as files.

        A minimum area is in the unit of areas of the image.
        """
        options, unit = self._options(), self._area_unit()
        if unit is None or not options.min_area:
            return options
        return replace(options, min_area=options.min_area / unit.size)

    def _area_unit(self) -> AreaUnit | None:
        """Return the unit of areas or volumes of the image; None if its scale states no size."""
        return area_unit_of(self.image.value, self.stack.value, self._chosen_axis())

    def show_options(self, options: Options, name: str = "") -> None:
        """Show options in the fields, so that a run has them. No run of *Live* starts.

        Parameters
        ----------
        options : Options
            A minimum area is in square or cubic micrometers.
        name : str
            What has the options. A line below the fields names it.
        """
        with self._live_runs.paused():
            for option in DOCK_OPTIONS:
                value = getattr(options, option)
                if option == "init" and not isinstance(value, str):
                    value = Options.init
                # The field of a blur has one number. A stack may have no blur along time.
                value = max(value) if option == "blur" and isinstance(value, tuple) else value
                # The dock cannot show a seed that each run draws.
                is_shown = option != "random_state" or value is not None
                if is_shown and option not in ("min_area", "keep_init"):
                    getattr(self, option).value = value
            unused = self._show_min_area(options)
        if name:
            text = f"The fields show the options of “{name}”: Run clusters the image with them."
            if not isinstance(options.init, str):
                text += " Its start colors are not in the fields."
            text += f" {unused}" if unused else ""
            self.options_note.show_text(text)

    def _show_min_area(self, options: Options) -> str:
        """Show a minimum area in square or cubic micrometers in the unit of the image.

        Return a sentence for the user if a run cannot use the area.
        """
        spacing = options.spacing if isinstance(options.spacing, tuple) else (1.0, 1.0)
        n_axes = sum(step > 0 for step in spacing)
        entered = area_unit([1.0] * n_axes, ["micrometer"] * n_axes)
        own = self._area_unit()
        shown = own or entered
        self.size_unit.value = AREA if options.min_area else PIXELS
        # Without an image, the next one that has a unit shows the number in its own.
        self.entered_unit = shown
        converted = None
        if entered is not None and shown is not None:
            converted = convert_area(options.min_area, entered, shown)
        self.min_area.value = converted or 0.0
        if not options.min_area or entered is None or (own is not None and converted):
            return ""
        area, image = f"{options.min_area:,.12g} {entered.symbol}", self.image.value
        if image is None:
            return f"Its minimum size of {area} needs an image with a scale."
        reason = "has no scale" if own is None else f"is measured in {own.symbol}"
        return (
            f"Its minimum size of {area} is not used, because “{image.name}” {reason}: enter a "
            "minimum size for this image."
        )

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
            self._report(error)

    def _report(self, error: Exception) -> None:
        """Show an error of a run: napari's notification may cut the sentence off, the dock not."""
        report_error(error)
        if isinstance(error, EXPECTED_ERRORS):
            self.error_note.show_text(f"No new result: {describe_error(error)}")

    def _suggest_number(self) -> None:
        """Unfold the panel *Which K?*, scroll to it, and suggest a number of clusters."""
        fold = self.folds["number"]
        panel = fold.open()
        scroll_to(fold.folder)
        assert isinstance(panel, NumberPanel)
        panel.suggest_unless_working()

    def _on_run_changed(self) -> None:
        run, cancel = self.run_button.native, self.cancel_button.native
        has_focus = self.native.window().focusWidget() in (run, cancel)
        if self._runner.is_running:
            self.error_note.show_text("")
            self.options_note.show_text("")
        self._update_fields()
        if has_focus:
            # Qt gives the focus of a disabled button to the next field: another press of the
            # space bar would check Live, or undo the run.
            (cancel if self._runner.is_running else run).setFocus()
        self._live_runs.on_run_changed()

    def _on_live_changed(self, live: bool) -> None:
        if not live:
            self._summary_cache.clear()

    # ----------------------------------------------------------------- results

    def _show_results(self, run: Run, outcome: AnySegmentation) -> None:
        source = run.task.source
        with self._undo.recording(self.result, "" if run.task.cache is None else LIVE):
            carried = ""
            if run.update:
                outcome, carried = self._result_layers.carry_edits(outcome, run.task)
                self._result_layers.hide_soft_images(source)
            layers = self._result_layers.build(run.builders, outcome, source, update=run.update)
            shown = self.show_layers(layers, update=run.update)
            result = Result(run.task, outcome, shown, seconds=self._runner.seconds)
            if run.task.start is not None:
                self.n_clusters.value = outcome.options.n_clusters
            self.marks_note.show_text(describe_moved_centers(outcome, source))
            self._last_run = ref(result)
            self._set_result(result)
            self.carried_note.show_text(carried)
            self._result_layers.remember_start(result.labels, outcome)

    def undo_result(self) -> None:
        """Undo the last run, merge or applied model: restore the layers as they were before.

        All runs of *Live* that followed each other are undone at once, and so are all moves
        of the slider of *Merge similar*. Layers that were added are removed. Labels that the
        user has edited since are kept, and a message names their layer. One result can be
        undone. Until the next one, the arrays that it has replaced stay in memory.

        Raises
        ------
        ValueError
            If there is no result to undo.
        """
        layers, active = self.viewer.layers, self.viewer.layers.selection.active
        layer = None if self.result is None else self.result.layer
        with self.selection_kept():
            change = self._undo.undo()
        if layer is None or layer in change.layers:
            shown = None if change.shown is None else change.shown.layer
            again = KNOWN_RESULTS.result_of(shown, layers) if shown in layers else None
            self._show_in_panels(again or KNOWN_RESULTS.newest(layers))
        if active is not None and active not in layers:
            layers.selection.active = self.image.value

    def show_outcome(self, outcome: AnySegmentation) -> None:
        """Show another outcome of the shown result in its own layers.

        Raises
        ------
        ValueError
            If there is no result, or if its image is not known.
        """
        if self.result is None:
            raise ValueError("result must be a Result, got None: run first.")
        source = self.result.known_source("to change its result")
        # A layer that the user removed does not come back.
        shown = [layer for layer in self.result.layers if layer in self.viewer.layers]
        builders = builders_like(shown)
        layers = self._result_layers.build(builders, outcome, source, labels=self.result.labels)
        with self._undo.recording(self.result, MERGE):
            updated = self._result_layers.update(shown, layers)
            self._set_result(replace(self.result, outcome=outcome, layers=updated))

    def show_applied(
        self, applied: Sequence[tuple[Source, Segmentation]], *, update: bool, is_latest: bool
    ) -> None:
        """Show the layers of a model that was applied to images. One undo removes all of them.

        Parameters
        ----------
        applied : sequence of (Source, Segmentation)
        update : bool
            As in `show_layers`.
        is_latest : bool
            Whether the first outcome becomes the latest result. An outcome does in any case if
            it has replaced a layer of the latest result.
        """
        with self._undo.recording(self.result):
            for number, (source, outcome) in enumerate(applied):
                builders = (recolored_layers, labels_layer)
                layers = self._result_layers.build(builders, outcome, source, update=update)
                shown = self.show_layers(layers, update=update)
                earlier = () if self.result is None else self.result.layers
                task = Task(source, None, outcome.options, applied=True)
                result = Result(task, outcome, shown)
                is_first = is_latest and number == 0
                if is_first or any(layer in earlier for layer in shown):
                    self._set_result(result)
                else:
                    KNOWN_RESULTS.store(result)

    def show_result(self, result: Result) -> None:
        """Show a result in the panels whose layers are in the viewer already."""
        self._set_result(result)

    def _set_result(self, result: Result) -> None:
        """Show a new result in the panels, although another layer may be active."""
        KNOWN_RESULTS.store(result)
        self._show_in_panels(result)
        self.segmented.emit(result)
        stored = last_settings_of(self.viewer)
        if not stored.has_shown_clusters:
            stored.has_shown_clusters = True
            self.folds["clusters"].open()

    def highlight(self, label: int | None) -> None:
        """Highlight a class of the result in view in the list of clusters; None ends it."""
        fold = self.folds["clusters"]
        if label is not None:
            fold.open()
        if isinstance(fold.panel, ClustersPanel):
            fold.panel.list.select([] if label is None else [label])

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
        with self._undo.recording(self.result):
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
