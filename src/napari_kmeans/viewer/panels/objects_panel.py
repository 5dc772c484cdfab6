"""The panel *Objects*: split clusters into connected objects, in a new Labels layer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

from magicgui.widgets import ComboBox, PushButton, SpinBox

from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.viewer.background.objects_work import ObjectsWork
from napari_kmeans.viewer.from_layers.geometry import AffineMap
from napari_kmeans.viewer.from_layers.source import layer_levels, spatial_attributes
from napari_kmeans.viewer.panels.cluster_choices import cluster_rows
from napari_kmeans.viewer.panels.working_panel import WorkingPanel
from napari_kmeans.viewer.to_layers.label_area import finest_size, time_axes
from napari_kmeans.viewer.to_layers.objects_layer import objects_layer
from napari_kmeans.viewer.widgets.form import form, narrow, renew_choices, row

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels

    from napari_kmeans.objects import Objects
    from napari_kmeans.viewer.background.worker import SegmentationWorker
    from napari_kmeans.viewer.panels.panel import Dock

ALL = "all clusters"
"""Choice of the field `cluster` that splits every cluster."""


_NO_LABELS = "there are no labels to split: tick Labels, and run the clustering."
_NO_LABELS_TEXT = "There" + _NO_LABELS.removeprefix("there")

_STALE = "The labels have changed since the objects were found: find the objects again."


class ObjectsPanel(WorkingPanel):
    """A panel that splits the clusters of the latest result into connected objects.

    Attributes
    ----------
    cluster : ComboBox
        "all clusters", or the label of a cluster. Ignored clusters are not among all.
    min_size : SpinBox
        Smaller objects are left out, in pixels.
    connectivity : ComboBox
        1 connects pixels that share a side; None also connects pixels that share
        an edge or a corner.

    Examples
    --------
    >>> panel = dock.folds["objects"].open()
    >>> panel.min_size.value = 50
    >>> worker = panel.split()
    """

    title = "Objects"
    tooltip = "Split clusters into connected objects, with a table of their areas or volumes."

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._split_layer: Any = lambda: None
        self._is_stale = False
        self._make_fields()
        self.column.addWidget(form([self.cluster, self.min_size, self.connectivity]))
        self.column.addWidget(row([self.split_button, self.cancel_button]))
        for widget in (self.message, self.progress_bar.native):
            self.column.addWidget(widget)
        self.refresh()

    def _make_fields(self) -> None:
        self.cluster = ComboBox(
            name="object_cluster",
            label="Clusters",
            tooltip="The clusters to split into objects. All clusters are those that count: "
            "ignored clusters are left out.",
            choices=self._cluster_choices,
        )
        # A long name must not widen the dock.
        narrow(self.cluster)
        self.min_size = SpinBox(
            name="min_size",
            label="Minimum size",
            tooltip="Leave out objects with fewer pixels or voxels, counted at full resolution.",
            value=20,
            min=1,
            max=1_000_000_000,
        )
        self.connectivity = ComboBox(
            name="connectivity",
            label="Connected by",
            tooltip="Whether pixels that touch only at a corner, or in a volume at an edge, "
            "belong to one object.",
            choices=[("sides and corners", None), ("sides only", 1)],
        )
        self.split_button = PushButton(
            name="split_button",
            text="Find objects",
            tooltip="Add a Labels layer with the connected objects.",
        )
        self.split_button.changed.connect(lambda: self.attempt(self.split))

    def split(self) -> SegmentationWorker:
        """Find the objects in the current labels, with all edits, in the background.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with the `Objects` once they are in the viewer.

        Raises
        ------
        ValueError
            If there is no Labels layer, or if its pixels are not in memory.
        RuntimeError
            If the panel is already working.
        """
        layer = self._labels_layer()
        assert self.dock.result is not None
        name, source_id = self.dock.result.name, self.dock.result.source_id
        labels = layer_levels(layer)[0]
        # An object may cross any number of chunks of a lazy array.
        if is_dask(labels) or not hasattr(labels, "__array__"):
            raise ValueError(
                f"the labels of {name!r} must be in memory to find objects, got a lazy "
                "array: crop the image, or save the labels and use split_objects."
            )
        cluster = None if self.cluster.value == ALL else self.cluster.value
        rows = cluster_rows(self.dock.result)
        work = ObjectsWork(
            labels,
            cluster,
            self.min_size.value,
            self.connectivity.value,
            AffineMap.to_world(layer),
            ignored=tuple(row.label for row in rows if row.ignored),
            names={row.label: row.name for row in rows if row.name},
            size=finest_size(layer),
            time_axis=next(iter(time_axes(layer)), None),
        )
        update = self.dock.update_layers.value
        make_layer = partial(
            objects_layer, name=name, source_id=source_id, spatial=spatial_attributes(layer)
        )
        worker = self.start(work, partial(self._show, make_layer, layer, update))
        # The user may paint during the search.
        self._split_layer, self._is_stale = ref(layer), False
        for event in (layer.events.paint, layer.events.data):
            event.connect(self._on_labels_edited)
        return worker

    def refresh(self) -> None:
        """Offer the clusters of the latest result, and hide the message of an earlier one."""
        labels = None if self.dock.result is None else self.dock.result.labels
        if labels is not None:
            labels.events.features.connect(self._on_clusters_edited)
        self._on_clusters_edited()
        self.show_message(self._describe_stale())
        self.work_changed()

    def reset_choices(self) -> None:
        """Disable the button after the labels were removed."""
        self.work_changed()

    def _on_clusters_edited(self, _event: Any = None) -> None:
        renew_choices(self.cluster)

    def _cluster_choices(self, _combo_box: Any) -> list[tuple[str, Any]]:
        rows = cluster_rows(self.dock.result)
        texts = [f"cluster {row.text}{' (ignored)' if row.ignored else ''}" for row in rows]
        return [(ALL, ALL), *((text, row.label) for text, row in zip(texts, rows, strict=True))]

    def _labels_layer(self) -> Labels:
        result = self.dock.result
        layer = None if result is None else result.labels
        if layer is None or layer not in self.dock.viewer.layers:
            raise ValueError(_NO_LABELS)
        return layer

    def work_changed(self) -> None:
        """Enable the buttons that can be used now."""
        result = self.dock.result
        has_labels = result is not None and result.labels in self.dock.viewer.layers
        self.split_button.enabled = has_labels and not self.is_working
        if not has_labels:
            self.show_message(_NO_LABELS_TEXT)
        elif self.message.text() == _NO_LABELS_TEXT:
            self.show_message("")

    def _show(
        self,
        make_layer: Callable[[Objects], Labels],
        layer: Labels,
        update: bool,
        objects: Objects,
    ) -> None:
        self.dock.show_layers([make_layer(objects)], update=update)
        n_objects = len(objects.table)
        counted = ", counted on level 0" if layer.multiscale else ""
        found = f"{n_objects:,} object{'' if n_objects == 1 else 's'}{counted}."
        self.show_message(self._describe_stale() or found)

    def _on_labels_edited(self, event: Any) -> None:
        """State that the objects are those from before an edit of the labels."""
        if event.source is self._split_layer():
            self._is_stale = True
            self.show_message(self._describe_stale())

    def _describe_stale(self) -> str:
        """Return a sentence if the latest labels were edited after their objects were found."""
        result = self.dock.result
        is_shown = result is not None and result.labels is self._split_layer()
        return _STALE if is_shown and self._is_stale else ""
