"""The panel *Clusters*."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, ComboBox
from napari.utils.notifications import show_warning
from superqt import QElidingLabel

from napari_kmeans.model import KMeansModel
from napari_kmeans.viewer.from_layers.label_clicks import LabelClicks
from napari_kmeans.viewer.from_layers.source import layer_levels
from napari_kmeans.viewer.panels.working_panel import WorkingPanel
from napari_kmeans.viewer.provenance import is_of_rgb, recorded_model, recorded_scheme
from napari_kmeans.viewer.to_layers.canvas_legend import CanvasLegend
from napari_kmeans.viewer.to_layers.label_colors import DISTINCT, MEAN
from napari_kmeans.viewer.to_layers.layer_classes import labels_at_run
from napari_kmeans.viewer.to_layers.split_class import SplitAnewWork, SplitWork
from napari_kmeans.viewer.widgets.cluster_list import NO_CLUSTERS, ClusterList
from napari_kmeans.viewer.widgets.form import form, row

if TYPE_CHECKING:
    from napari_kmeans.viewer.background.task import Task
    from napari_kmeans.viewer.background.worker import SegmentationWorker
    from napari_kmeans.viewer.panels.panel import Dock
    from napari_kmeans.viewer.to_layers.result import Result
    from napari_kmeans.viewer.to_layers.split_class import ClassSplit

_SCHEME_TIP = (
    "Mean colors: those of the recolored layer. Distinct colors: easy to tell apart. Colors that "
    "you chose stay. New labels of images of the same kind get these colors too."
)


class ClustersPanel(WorkingPanel):
    """A panel that lists the clusters of the result in view, and edits them.

    Splitting a cluster reads the image again, in the background.
    """

    title = "Clusters"
    tooltip = "List, highlight, name, recolor, hide, merge and split the clusters of a layer."

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self.layer_name = QElidingLabel()
        self.layer_name.setToolTip("The Labels layer whose clusters the panels show.")
        self.list = ClusterList()
        self.list.split_requested.connect(lambda label: self.attempt(partial(self.split, label)))
        self.list.split_anew_requested.connect(
            lambda label, number: self.attempt(partial(self.split_anew, label, number))
        )
        self.scheme = ComboBox(
            name="scheme",
            label="Colors",
            tooltip=_SCHEME_TIP,
            choices=[("mean colors", MEAN), ("distinct colors", DISTINCT)],
        )
        self.scheme.changed.connect(self._on_scheme_chosen)
        self.list.changed.connect(self._show_scheme)
        self.legend = CheckBox(
            name="legend",
            text="Legend on the canvas",
            tooltip="Show the names, colors and shares of the clusters in a corner of the picture.",
        )
        self._canvas_legend = CanvasLegend(dock.viewer, self)
        self.legend.changed.connect(self._show_legend)
        dock.native_parent_changed.connect(self._on_dock_moved)
        self._clicks = LabelClicks(dock.viewer, self.list.toggle)
        self.destroyed.connect(self._clicks.stop)
        self._progress_row = row([self.progress_bar, self.cancel_button])
        self.column.addWidget(self.layer_name)
        self.column.addWidget(form([self.scheme, self.legend]))
        self.column.addWidget(self.list)
        self.column.addWidget(self._progress_row)
        self.refresh()

    def split(self, label: int) -> SegmentationWorker:
        """Split a merged cluster into one cluster for each of its centers, in the background.

        Returns
        -------
        SegmentationWorker
            Emits `returned` once the layers show the new clusters.

        Raises
        ------
        ValueError
            If the result has no model or no such cluster, or if the cluster has one center.
        RuntimeError
            If a cluster is being split.
        """
        result, model, layers = self._splittable_result()
        assert result.labels is not None
        own_labels = labels_at_run(result.labels, model)
        after = model.with_classes(model.classes.split(label, own_labels))
        work = SplitWork(label, model, after, *layers)
        return self._start_split(work, result, model)

    def split_anew(self, label: int, n_clusters: int) -> SegmentationWorker:
        """Cluster the pixels of one cluster in several new clusters, in the background.

        Returns
        -------
        SegmentationWorker
            Emits `returned` once the layers show the new clusters.

        Raises
        ------
        ValueError
            If the result has no model or no such cluster.
        RuntimeError
            If a cluster is being split.
        """
        result, model, layers = self._splittable_result()
        work = SplitAnewWork(model.classes[label].label, n_clusters, model, *layers)
        return self._start_split(work, result, model)

    def _splittable_result(self) -> tuple[Result, KMeansModel, tuple[Task, Any]]:
        """Return the result, its model, and its task with the levels of its labels."""
        problem, result = self._find_problem(), self.dock.result
        if result is None or result.labels is None or result.task is None or problem:
            raise ValueError(problem)
        model = result.model
        assert isinstance(model, KMeansModel)
        task = replace(result.task, masks=result.masks)
        return result, model, (task, layer_levels(result.labels))

    def _find_problem(self) -> str:
        """Return why no cluster can be split; empty if clusters can be split."""
        result = self.dock.result
        if result is None:
            return NO_CLUSTERS
        if result.labels not in self.dock.viewer.layers:
            return "The latest result has no labels: tick Labels, and run the clustering."
        if not isinstance(result.model, KMeansModel):
            return "Each slice has a model of its own: run on the whole stack to split clusters."
        return "" if result.source is not None else result.describe_missing("to split clusters")

    def _start_split(
        self, work: SplitWork | SplitAnewWork, result: Result, model: KMeansModel
    ) -> SegmentationWorker:
        assert result.labels is not None
        recorded = recorded_model(result.labels)
        return self.start(work, partial(self._show_split, result, model, recorded))

    def _show_split(
        self, result: Result, before: KMeansModel, recorded: Any, split: ClassSplit
    ) -> None:
        if self._fits(result, before, recorded, split):
            # The user may have activated another layer in the meantime.
            self._list_clusters_of(result)
            self.list.split(split)
            self.refresh()
        else:
            show_warning("The clusters have changed in the meantime: split the cluster again.")

    def _fits(self, result: Result, before: KMeansModel, recorded: Any, split: ClassSplit) -> bool:
        """Return whether the layers of a result are still those that were split."""
        model, labels = result.model, result.labels
        if labels is None or labels not in self.dock.viewer.layers:
            return False
        # A run, or its undo, records another model. A script may have replaced the pixels or
        # the table.
        is_same = recorded_model(labels) is recorded
        is_same = is_same and isinstance(model, KMeansModel) and model.classes == before.classes
        shapes = [level.shape for level in layer_levels(labels)]
        has_row = "index" in labels.features and split.label in {*labels.features["index"]}
        return is_same and has_row and shapes == [each.painted.shape for each in split.pixels]

    def work_changed(self) -> None:
        """Show the progress while a cluster is being split, and allow one split at a time."""
        self._progress_row.setVisible(self.is_working)
        self._update_problem()

    def _update_problem(self) -> None:
        problem = self._find_problem()
        self.list.split_problem = "A cluster is being split." if self.is_working else problem

    def reset_choices(self) -> None:
        """List no clusters after their layer was removed."""
        self.refresh()

    def refresh(self) -> None:
        """List the clusters of the Labels layer in view, or none if there is none."""
        result = self.dock.result
        if result is None or result.labels not in self.dock.viewer.layers:
            self.list.problem = self._find_problem()
            self.list.set_layer(None)
        else:
            self._list_clusters_of(result)
        self.list.keep_only(self.dock.viewer.layers)
        name = "" if self.list.layer is None else self.list.layer.name
        self.layer_name.setText(f"Layer: {name}")
        self.layer_name.setVisible(bool(name))
        self._watch_clicks()
        self._show_scheme()
        self._show_legend()
        self.work_changed()

    def _show_scheme(self) -> None:
        """Show the color scheme of the listed layer."""
        layer = self.list.layer
        self.scheme.enabled = layer is not None
        if layer is not None:
            with self.scheme.changed.blocked():
                self.scheme.value = recorded_scheme(layer)

    def _show_legend(self) -> None:
        """Show the legend of the listed layer if the box is checked."""
        self._canvas_legend.show(self.list.layer if self.legend.value else None)

    def _on_dock_moved(self, parent: Any) -> None:
        """Remove the legend when the dock is closed: nothing could switch it off."""
        if parent is None:
            self._canvas_legend.show(None)

    def _on_scheme_chosen(self, scheme: str) -> None:
        self.list.set_color_scheme(scheme)
        if self.list.layer is not None:
            self.dock.color_schemes[is_of_rgb(self.list.layer)] = scheme

    # ------------------------------------------------ following the picture

    def _watch_clicks(self) -> None:
        """Watch for clicks in the picture while the panel is open."""
        self._clicks.watch(self.list.layer if self.isVisible() else None)

    def showEvent(self, event: Any) -> None:
        """Watch for clicks in the picture when the panel is opened."""
        super().showEvent(event)
        self._watch_clicks()

    def hideEvent(self, event: Any) -> None:
        """Watch for no clicks when the panel is folded or closed.

        A spontaneous event comes from the window system, for example when the window is
        minimized.
        """
        if not event.spontaneous():
            self._clicks.stop()
        super().hideEvent(event)

    def _list_clusters_of(self, result: Result) -> None:
        model = result.fitted_model
        fitted = model if isinstance(model, KMeansModel) else None
        self.list.set_layer(result.labels, result.source, fitted, result.recolored)
