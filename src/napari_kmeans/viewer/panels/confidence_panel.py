"""The panel *Confidence*: how sure the classes of pixels are, and whether they are found again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import ComboBox, PushButton
from napari.utils import Colormap

from napari_kmeans.measuring import CONFIDENCE, with_confidence
from napari_kmeans.model import KMeansModel
from napari_kmeans.segmentation import Segmentation
from napari_kmeans.viewer.background.confidence_work import SoftWork, StabilityWork
from napari_kmeans.viewer.from_layers.source import layer_levels, spatial_attributes
from napari_kmeans.viewer.panels.cluster_choices import cluster_rows
from napari_kmeans.viewer.panels.working_panel import WorkingPanel
from napari_kmeans.viewer.to_layers.soft_layer import follow_model, soft_layer
from napari_kmeans.viewer.widgets.form import form, narrow, renew_choices, row, scroll_to

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_kmeans.stability import Stability
    from napari_kmeans.viewer.background.confidence_work import SoftImage
    from napari_kmeans.viewer.background.worker import SegmentationWorker
    from napari_kmeans.viewer.panels.panel import Dock
    from napari_kmeans.viewer.to_layers.result import Result

_NO_LABELS = "there are no labels: tick Labels, and run the clustering."


class ConfidencePanel(WorkingPanel):
    """A panel that adds images of confidence and memberships, and measures the stability.

    Attributes
    ----------
    cluster : ComboBox
        The label of the class whose memberships are shown.

    Examples
    --------
    >>> panel = dock.folds["confidence"].open()
    >>> worker = panel.add_confidence()
    """

    title = "Confidence"
    tooltip = "How sure the class of each pixel is, and whether the classes are found again."

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self.confidence_button = PushButton(
            name="confidence_button",
            text="Confidence",
            tooltip="Add an image of how sure the class of each pixel is, by its color and, with "
            "Smooth, by the classes of its neighbors: from 0 (between two classes) to 1 (on a "
            "center). The table gets the mean for each class.",
        )
        self.stability_button = PushButton(
            name="stability_button",
            text="Stability",
            tooltip="Cluster again with other seeds and with halves of the pixels, and compare.",
        )
        self.cluster = ComboBox(
            name="membership_cluster",
            label="Class",
            tooltip="The class whose memberships are shown.",
            choices=self._cluster_choices,
        )
        # A long name must not widen the dock.
        narrow(self.cluster)
        self.membership_button = PushButton(
            name="membership_button",
            text="Membership",
            tooltip="Add an image of how much each pixel belongs to the class, from 0 to 1.",
        )
        self.column.addWidget(row([self.confidence_button, self.stability_button]))
        self.column.addWidget(form([self.cluster]))
        self.column.addWidget(row([self.membership_button, self.cancel_button]))
        for widget in (self.message, self.progress_bar.native):
            self.column.addWidget(widget)
        self.confidence_button.changed.connect(lambda: self.attempt(self.add_confidence))
        self.membership_button.changed.connect(lambda: self.attempt(self.add_membership))
        self.stability_button.changed.connect(lambda: self.attempt(self.measure_stability))
        self.refresh()

    def add_confidence(self) -> SegmentationWorker:
        """Add the image of the confidence, and its means to the table, in the background.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with a `SoftImage` once the layer is in the viewer.

        Raises
        ------
        ValueError
            If there are no labels, or if their image is not in the viewer.
        RuntimeError
            If the panel is already working.
        """
        result, labels = self._known_result("to measure the confidence")
        return self.start(
            self._soft_work(result, labels, None), partial(self._show_confidence, result, labels)
        )

    def add_membership(self) -> SegmentationWorker:
        """Add the image of the memberships in the chosen class, in the background.

        Raises
        ------
        ValueError, RuntimeError
            As `add_confidence` does.
        """
        result, labels = self._known_result("to measure memberships")
        label = int(self.cluster.value)
        return self.start(
            self._soft_work(result, labels, label),
            partial(self._show_membership, result, labels, label),
        )

    def measure_stability(self) -> SegmentationWorker:
        """Measure how far the classes agree over seeds and over halves of the pixels.

        Raises
        ------
        ValueError
            If there are no labels, if their image is not in the viewer, or if each slice has a
            model of its own.
        RuntimeError
            If the panel is already working.
        """
        result, _labels = self._known_result("to measure the stability")
        outcome, model = result.known_outcome(), result.model
        if not isinstance(outcome, Segmentation) or not isinstance(model, KMeansModel):
            raise ValueError(
                "the stability of slices with a model each is not known: cluster the stack as a "
                "whole, or one slice."
            )
        assert result.task is not None
        segmentation = replace(outcome, model=model)
        work = StabilityWork(result.task, segmentation)
        return self.start(work, partial(self._show_stability, result))

    def refresh(self) -> None:
        """Offer the classes of the result in view, and hide the message of an earlier one."""
        labels = None if self.dock.result is None else self.dock.result.labels
        if labels is not None:
            labels.events.features.connect(self._on_classes_edited)
        self._on_classes_edited()
        self.show_message("")
        self.work_changed()

    def show_message(self, text: str) -> None:
        """Show a text below the buttons, and scroll to it: the window may end there."""
        super().show_message(text)
        if text:
            scroll_to(self.message)

    def reset_choices(self) -> None:
        """Disable the buttons after the labels were removed."""
        self.work_changed()

    def work_changed(self) -> None:
        """Enable the buttons that can be used now."""
        result = self.dock.result
        has_labels = result is not None and result.labels in self.dock.viewer.layers
        for button in (self.confidence_button, self.membership_button, self.stability_button):
            button.enabled = has_labels and not self.is_working
        self.membership_button.enabled &= bool(self.cluster.choices)

    def _known_result(self, purpose: str) -> tuple[Result, Labels]:
        result = self.dock.result
        if result is None or result.labels not in self.dock.viewer.layers:
            raise ValueError(_NO_LABELS)
        result.known_source(purpose)
        return result, result.labels

    def _soft_work(self, result: Result, labels: Labels, label: int | None) -> SoftWork:
        assert result.task is not None
        return SoftWork(result.task, result.model, result.masks, layer_levels(labels), label)

    def _cluster_choices(self, _combo_box: Any) -> list[tuple[str, int]]:
        return [(row.text, row.label) for row in cluster_rows(self.dock.result)]

    def _on_classes_edited(self, _event: Any = None) -> None:
        renew_choices(self.cluster)

    def _show_layer(
        self, result: Result, labels: Labels, image: SoftImage, title: str, colormap: Any
    ) -> None:
        layer = soft_layer(
            image.levels,
            title,
            colormap,
            name=result.name,
            source_id=result.source_id,
            spatial=spatial_attributes(labels),
        )
        with self.dock.selection_kept():
            (shown,) = self.dock.show_layers([layer], update=self.dock.update_layers.value)
        # A new run hides it.
        shown.visible = True
        follow_model(shown, labels)

    def _show_confidence(self, result: Result, labels: Labels, image: SoftImage) -> None:
        self._show_layer(result, labels, image, "confidence", "viridis")
        if image.counts is None or image.counts.means is None:
            self.show_message("The labels are computed when they are viewed: no means of classes.")
            return
        labels.features = with_confidence(labels.features, image.counts)
        # A label that was painted by hand is no class of the model: its mean is NaN.
        known = np.isfinite(image.counts.means[:, 0])
        if not known.any():
            self.show_message("No pixel has a class: no means of classes.")
            return
        pixels, means = image.counts.pixels[known], image.counts.means[known, 0]
        lowest = int(np.argmin(means))
        self.show_message(
            f"Mean confidence {np.average(means, weights=pixels):.2f}; lowest "
            f"{means[lowest]:.2f} in class {image.counts.labels[known][lowest]}. The table has the "
            f"column {CONFIDENCE}."
        )

    def _show_membership(
        self, result: Result, labels: Labels, label: int, image: SoftImage
    ) -> None:
        color = labels.get_color(label)
        title = f"membership {label}"
        ramp = Colormap([[0, 0, 0, 1], [*color[:3], 1]], name=f"class {label}")
        self._show_layer(result, labels, image, title, ramp)
        self.show_message("")

    def _show_stability(self, result: Result, stability: Stability) -> None:
        table = stability.table
        weak = [
            f"{label} ({jaccard:.2f})"
            for label, jaccard in zip(table["index"], table["jaccard"], strict=True)
            if jaccard < _WEAK
        ]
        found = (
            f"Classes that are not found again: {', '.join(weak)}."
            if weak
            else "The fits find each class again."
        )
        self.show_message(
            f"Agreement over seeds {stability.seeds:.2f}, over halves of the pixels "
            f"{stability.halves:.2f} (1 is the best). {found}{_describe_start(result)}"
            f"{_describe_cleaning(result)}"
        )


def _describe_start(result: Result) -> str:
    """Return a sentence about start colors that were kept; empty if the centers were fitted."""
    if not result.options.keep_init:
        return ""
    return (
        " The start colors of this result were kept: the fits that are compared with it start "
        "elsewhere, and need not find them."
    )


def _describe_cleaning(result: Result) -> str:
    """Return sentences about the options whose effect is not in a stability; empty without any."""
    model, table = result.model, result.table
    assert isinstance(model, KMeansModel)
    fields = {
        "Smooth": model.cleaning.smoothing,
        "Minimum size": model.cleaning.min_size > 1 or model.cleaning.min_area,
        "Minimum confidence": model.cleaning.min_confidence,
    }
    used = [name for name, value in fields.items() if value]
    if not used:
        return ""
    words = " and ".join(filter(None, [", ".join(used[:-1]), used[-1]]))
    text = f" {words} {'comes' if len(used) == 1 else 'come'} after the fit."
    empty = table.loc[table["pixels"] == 0, "index"].astype(str).tolist()
    if empty:
        text += f" No pixel of the labels is in {'class' if len(empty) == 1 else 'classes'} "
        text += f"{', '.join(empty)}."
    return text


_WEAK = 0.6
"""The Jaccard index below which a class should not be trusted: see `Stability`."""
