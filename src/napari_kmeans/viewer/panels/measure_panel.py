"""The panel *Measure*: the classes of the result in view, in regions, as one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, PushButton
from napari.layers import Image

from napari_kmeans.viewer.background.cohort_work import CohortOutcome
from napari_kmeans.viewer.from_layers.source import layer_levels, spatial_shape
from napari_kmeans.viewer.measure_layer import measure_layer
from napari_kmeans.viewer.panels.cohort_form import region_choices
from napari_kmeans.viewer.panels.cohort_results import CohortResults
from napari_kmeans.viewer.panels.working_panel import WorkingPanel
from napari_kmeans.viewer.provenance import has_record
from napari_kmeans.viewer.to_layers.soft_layer import is_soft
from napari_kmeans.viewer.widgets.checked_list import CheckedList
from napari_kmeans.viewer.widgets.form import form, narrow, offer_choices, row

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.viewer.background.worker import SegmentationWorker
    from napari_kmeans.viewer.panels.panel import Dock

_NO_LABELS = "there are no labels to measure: tick Labels, and run the clustering."
_NO_LABELS_TEXT = "There" + _NO_LABELS.removeprefix("there")


@dataclass(frozen=True, eq=False)
class MeasureWork:
    """Layers to measure, as work for the background."""

    labels: Labels
    regions: Any
    values: tuple[Image, ...]

    def run(self, progress: Report | None = None) -> pd.DataFrame:
        """Return the table of `measure_layer`."""
        return measure_layer(
            self.labels, regions=self.regions, values=self.values, progress=progress
        )


class MeasurePanel(WorkingPanel):
    """A panel that measures the classes of the labels in view, with all edits by hand.

    Attributes
    ----------
    regions : ComboBox
        None for the whole image, or a Labels or Shapes layer.
    values : CheckedList
        The image layers whose values are measured.
    results : CohortResults
        The table, with the shares of the classes in each region.

    Examples
    --------
    >>> panel = dock.folds["measure"].open()
    >>> panel.regions.value = viewer.layers["Shapes"]
    >>> worker = panel.measure()
    """

    title = "Measure"
    tooltip = "Shares, areas and values of the classes, in the regions of labels or shapes."

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self.regions = ComboBox(
            name="measured_regions",
            label="Regions",
            tooltip="The regions in which the classes are measured.",
            choices=lambda _: [("whole image", None), *region_choices(dock.viewer)],
        )
        narrow(self.regions)
        self.values = CheckedList(self)
        self.values.setToolTip("The images whose mean, deviation and median are measured.")
        self.measure_button = PushButton(
            name="measure_button", text="Measure", tooltip="Measure the labels in view."
        )
        self.results = CohortResults()
        self.results.table.setToolTip("The shares in percent. Save the table for all values.")
        self.column.addWidget(form([self.regions, ("Values", self.values.toolTip(), self.values)]))
        self.column.addWidget(row([self.measure_button, self.cancel_button]))
        for widget in (self.progress_bar.native, self.message, self.results):
            self.column.addWidget(widget)
        self.measure_button.changed.connect(lambda: self.attempt(self.measure))
        self.results.save_button.changed.connect(lambda: self.attempt(self.results.ask_and_save))
        self.results.table.chosen.connect(lambda _image, label: dock.highlight(label))
        self.refresh()

    def measure(self) -> SegmentationWorker:
        """Measure the labels in view in the background.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with the table once it is shown.

        Raises
        ------
        ValueError
            If there are no labels.
        RuntimeError
            If the panel is already working.
        """
        labels = self._labels()
        if labels is None:
            raise ValueError(_NO_LABELS)
        values = tuple(self.values.checked)
        return self.start(MeasureWork(labels, self.regions.value, values), self._show)

    def refresh(self) -> None:
        """Drop the table of another result."""
        self.results.clear()
        self.reset_choices()

    def reset_choices(self) -> None:
        """Offer the regions, and the images with the pixels of the labels."""
        offer_choices(self.regions)
        labels = self._labels()
        images = [each for each in self.dock.viewer.layers if _fits(each, labels)]
        self.values.offer([(each.name, each, "") for each in images])
        self.work_changed()

    def _labels(self) -> Labels | None:
        result = self.dock.result
        layer = None if result is None else result.labels
        return layer if layer in self.dock.viewer.layers else None

    def _show(self, table: pd.DataFrame) -> None:
        names = dict.fromkeys(table["image"])
        self.results.show_outcome(CohortOutcome(table, names, {}, None))
        self.show_message("Shares in percent. Save table… has all values, too.")

    def work_changed(self) -> None:
        """Enable the button that can be used now."""
        has_labels = self._labels() is not None
        self.measure_button.enabled = has_labels and not self.is_working
        if not has_labels:
            self.show_message(_NO_LABELS_TEXT)
        elif self.message.text() == _NO_LABELS_TEXT:
            self.show_message("")


def _fits(layer: Any, labels: Labels | None) -> bool:
    """Return whether a layer is an image with the pixels of labels, and not their colors."""
    if labels is None or not isinstance(layer, Image):
        return False
    if has_record(layer) and not is_soft(layer):
        # A recolored image has the mean colors of the classes, which the table has anyway.
        return False
    shape = spatial_shape(layer_levels(layer)[0], layer.rgb)
    return shape == tuple(layer_levels(labels)[0].shape)
