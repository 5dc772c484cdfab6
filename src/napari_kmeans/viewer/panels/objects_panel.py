"""The panel that parts clusters into connected objects, as labels of their own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, PushButton, SpinBox

from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.viewer.background.objects_work import ObjectsWork, WorldTransform
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


class ObjectsPanel(WorkingPanel):
    """Parts the clusters of the latest result into connected objects.

    Attributes
    ----------
    cluster : ComboBox
        "all clusters", or the label of one.
    min_size : SpinBox
        In pixels.
    connectivity : ComboBox
        1: pixels that share a side are connected; None: all that touch.

    Examples
    --------
    >>> panel = dock.folds["objects"].open()
    >>> panel.min_size.value = 50
    >>> worker = panel.split()
    """

    title = "Objects"
    tooltip = "Part clusters where their pixels do not touch, as labels with a table of areas."

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
            label="Of",
            tooltip="The clusters to part into objects.",
            choices=self._clusters,
        )
        self.min_size = SpinBox(
            name="min_size",
            label="Minimum size",
            tooltip="Objects of fewer pixels, those of the finest level, are left out.",
            value=20,
            min=1,
            max=1_000_000_000,
        )
        self.connectivity = ComboBox(
            name="connectivity",
            label="Connected by",
            tooltip="Whether pixels that touch at a corner only are one object.",
            choices=[("sides and corners", None), ("sides only", 1)],
        )
        self.split_button = PushButton(
            name="split_button",
            text="Find objects",
            tooltip="Add the connected objects as a layer of labels.",
        )
        self.split_button.changed.connect(lambda: self.attempt(self.split))

    def split(self) -> SegmentationWorker:
        """Find the objects in the layer of the labels as it is now, in the background.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with the `Objects` once they are in the viewer.

        Raises
        ------
        ValueError
            If there is no layer of labels, or if its pixels are not in memory.
        RuntimeError
            If objects are being looked for already.
        """
        layer, source = self._labels(), self._source()
        labels = layer_levels(layer)[0]
        if is_dask(labels) or not hasattr(labels, "__array__"):
            raise ValueError(
                f"the labels of {source.name!r} are read piece by piece, and objects may cross "
                "all of them: crop the image, or save the labels and use split_objects."
            )
        cluster = None if self.cluster.value == ALL else self.cluster.value
        work = ObjectsWork(
            labels, cluster, self.min_size.value, self.connectivity.value, WorldTransform.of(layer)
        )
        update = self.dock.update_layers.value
        return self.start(work, partial(self._show, source, spatial_attributes(layer), update))

    def refresh(self) -> None:
        """Offer the clusters of the latest result."""
        offer_choices(self.cluster)
        self.show_message("")
        self.work_changed()

    def _clusters(self, _combo_box: Any) -> list[tuple[str, Any]]:
        result = self.dock.result
        labels = [] if result is None else result.table["index"].tolist()
        return [(ALL, ALL), *((f"cluster {label}", label) for label in labels)]

    def _labels(self) -> Labels:
        result = self.dock.result
        layer = None if result is None else result.labels
        if layer is None or layer not in self.dock.viewer.layers:
            raise ValueError("there are no labels to part: tick Labels, and run the clustering.")
        return layer

    def _source(self) -> Source:
        assert self.dock.result is not None
        return self.dock.result.task.source

    def work_changed(self) -> None:
        """Enable what can be done."""
        self.split_button.enabled = self.dock.result is not None and not self.is_working

    def _show(
        self, source: Source, spatial: dict[str, Any], update: bool, objects: Objects
    ) -> None:
        self.dock.show_layers([objects_layer(objects, source, spatial)], update=update)
        n_objects = len(objects.table)
        self.show_message(f"{n_objects:,} object{'' if n_objects == 1 else 's'}.")
