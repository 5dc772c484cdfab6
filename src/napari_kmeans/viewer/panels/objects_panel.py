"""The panel *Objects*: split clusters into connected objects, in a new Labels layer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, PushButton, SpinBox

from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.viewer.background.objects_work import ObjectsWork
from napari_kmeans.viewer.from_layers.geometry import AffineMap
from napari_kmeans.viewer.from_layers.source import layer_levels, spatial_attributes
from napari_kmeans.viewer.panels.working_panel import WorkingPanel
from napari_kmeans.viewer.to_layers.objects_layer import objects_layer
from napari_kmeans.viewer.widgets.form import form, offer_choices, row

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_kmeans.objects import Objects
    from napari_kmeans.viewer.background.worker import SegmentationWorker
    from napari_kmeans.viewer.from_layers.source import Source
    from napari_kmeans.viewer.panels.panel import Dock

ALL = "all clusters"
"""Choice of the field `cluster` that splits every cluster."""


class ObjectsPanel(WorkingPanel):
    """A panel that splits the clusters of the latest result into connected objects.

    Attributes
    ----------
    cluster : ComboBox
        "all clusters", or the label of a cluster.
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
    tooltip = "Split clusters into connected objects, with a table of their areas."

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
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
            tooltip="The clusters to split into objects.",
            choices=self._cluster_choices,
        )
        self.min_size = SpinBox(
            name="min_size",
            label="Minimum size",
            tooltip="Leave out objects with fewer pixels, counted at full resolution.",
            value=20,
            min=1,
            max=1_000_000_000,
        )
        self.connectivity = ComboBox(
            name="connectivity",
            label="Connected by",
            tooltip="Whether pixels that touch only at a corner belong to one object.",
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
        layer, source = self._labels_layer(), self._source()
        labels = layer_levels(layer)[0]
        # An object may cross any number of chunks of a lazy array.
        if is_dask(labels) or not hasattr(labels, "__array__"):
            raise ValueError(
                f"the labels of {source.name!r} must be in memory to find objects, got a lazy "
                "array: crop the image, or save the labels and use split_objects."
            )
        cluster = None if self.cluster.value == ALL else self.cluster.value
        work = ObjectsWork(
            labels, cluster, self.min_size.value, self.connectivity.value, AffineMap.to_world(layer)
        )
        update = self.dock.update_layers.value
        return self.start(work, partial(self._show, source, spatial_attributes(layer), update))

    def refresh(self) -> None:
        """Offer the clusters of the latest result, and hide the message of an earlier one."""
        offer_choices(self.cluster)
        self.show_message("")
        self.work_changed()

    def _cluster_choices(self, _combo_box: Any) -> list[tuple[str, Any]]:
        result = self.dock.result
        labels = [] if result is None else result.table["index"].tolist()
        return [(ALL, ALL), *((f"cluster {label}", label) for label in labels)]

    def _labels_layer(self) -> Labels:
        result = self.dock.result
        layer = None if result is None else result.labels
        if layer is None or layer not in self.dock.viewer.layers:
            raise ValueError("there are no labels to split: tick Labels, and run the clustering.")
        return layer

    def _source(self) -> Source:
        assert self.dock.result is not None
        return self.dock.result.task.source

    def work_changed(self) -> None:
        """Enable the buttons that can be used now."""
        self.split_button.enabled = self.dock.result is not None and not self.is_working

    def _show(
        self, source: Source, spatial: dict[str, Any], update: bool, objects: Objects
    ) -> None:
        self.dock.show_layers([objects_layer(objects, source, spatial)], update=update)
        n_objects = len(objects.table)
        self.show_message(f"{n_objects:,} object{'' if n_objects == 1 else 's'}.")
