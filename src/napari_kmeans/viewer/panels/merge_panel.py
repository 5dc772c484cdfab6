"""The panel *Merge similar*: a slider that merges clusters of similar colors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import FloatSlider, FloatSpinBox

from napari_kmeans.merging import (
    apply_classes,
    can_compare_colors,
    cut_tree,
    merge_clusters,
    merge_small,
    merge_tree,
)
from napari_kmeans.model import KMeansModel
from napari_kmeans.segmentation import Segmentation
from napari_kmeans.viewer.panels.panel import Panel
from napari_kmeans.viewer.provenance import is_edited_by_hand
from napari_kmeans.viewer.widgets.form import form

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.merging import MergeTree
    from napari_kmeans.viewer.panels.panel import Dock

MAX_CLUSTERS = 512
"""Largest model for which the tree is built. The window waits for it: about 0.6 s for 512
clusters, 3 s for 1024."""

_MAX_DISTANCE = 50.0
"""End of the slider: colors at this distance are not similar. Black and white are 100 apart."""


class MergePanel(Panel):
    """A panel that merges clusters of similar colors, and small clusters, of the latest result.

    Attributes
    ----------
    distance : FloatSlider
        Groups of colors up to this distance are merged.
    min_share : FloatSpinBox
        Smaller clusters are merged with the cluster of the nearest color, in percent.
    """

    title = "Merge similar"
    tooltip = (
        "Merge clusters of similar colors, and small ones. Start from a run with many clusters. "
        "Ignored clusters never merge."
    )

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self.distance = FloatSlider(
            name="distance",
            label="Color distance",
            tooltip="Merge colors up to this distance: 2 is hardly visible, black to white is 100.",
            max=_MAX_DISTANCE,
            value=0.0,
        )
        self.min_share = FloatSpinBox(
            name="min_share",
            label="Minimum share (%)",
            tooltip="Merge clusters with a smaller share of the pixels into the nearest color.",
            max=50.0,
            step=0.1,
            value=0.0,
        )
        self.column.addWidget(form([self.distance, self.min_share]))
        self.column.addWidget(self.message)
        for field in (self.distance, self.min_share):
            field.changed.connect(self.merge)
        self._first: Segmentation | None = None
        self._unmerged: Segmentation | None = None
        self._task: Any = None
        self._tree: MergeTree | None = None
        self._groups: list[int] = []
        self._applied_values = (0.0, 0.0)
        self.refresh()

    def refresh(self) -> None:
        """Reset the fields for the result of a new run.

        Keep them for a result that this panel merged: its task is the same.
        """
        result = self.dock.result
        if result is not None and result.task is self._task:
            self._show_state()
            return
        self._task = None if result is None else result.task
        self._first = None if result is None else _mergeable_segmentation(result.outcome)
        self._start_from(self._first)
        self._applied_values = (0.0, 0.0)
        self._restore_fields()
        self._show_state()

    def _start_from(self, segmentation: Segmentation | None) -> None:
        """Use the clusters of a segmentation as those at distance 0."""
        self._unmerged, self._tree = segmentation, None
        if segmentation is not None:
            self._tree = merge_tree(segmentation.model, _pixels_of(segmentation))
            self._groups = list(range(self._tree.n_clusters))

    def _take_hand_edits(self) -> bool:
        """Start from the classes of the layer if the user has edited them in the list.

        Merges that this panel made before the edits can then no longer be taken back here.
        Return False if the first outcome does not contain the classes of the layer.
        """
        result = self.dock.result
        if self._first is None or result is None:
            return True
        assert isinstance(result.outcome, Segmentation)
        model = result.model
        if isinstance(model, KMeansModel) and model.classes != result.outcome.model.classes:
            if _splits_classes(model, self._first.model):
                return False
            edited = apply_classes(self._first, model.classes)
            self._start_from(_mergeable_segmentation(edited))
        return True

    def merge(self, *_: Any) -> None:
        """Merge the clusters of the run by the distance and the minimum share in the fields.

        Names, colors, ignored clusters and merges from the list of clusters are kept.

        Labels that were edited by hand are left unchanged, and the fields are
        reset: labels that are painted from the run would not contain the edits.
        """
        if self._is_edited() or self._is_removed():
            self._restore_fields()
            self._show_state()
            return
        if not self._take_hand_edits():
            self._restore_fields()
            self.show_message(
                "The clusters were split, and merging here would undo the split: "
                "merge in the list of clusters, or run again."
            )
            return
        if self._unmerged is None or self._tree is None:
            self._show_state()
            return
        self._applied_values = (self.distance.value, self.min_share.value)
        pixels = _pixels_of(self._unmerged)
        groups = cut_tree(self._tree, self.distance.value)
        groups = merge_small(self._unmerged.model, pixels, self.min_share.value / 100, groups)
        if groups.tolist() != self._groups:
            self._groups = groups.tolist()
            is_unmerged = len(set(self._groups)) == len(pixels)
            outcome = self._unmerged if is_unmerged else merge_clusters(self._unmerged, groups)
            self.dock.show_outcome(outcome)
        self._show_state()

    def _is_edited(self) -> bool:
        labels = None if self.dock.result is None else self.dock.result.labels
        return labels is not None and is_edited_by_hand(labels)

    def _is_removed(self) -> bool:
        """Return whether the user has removed all layers of the latest result."""
        result = self.dock.result
        if result is None:
            return False
        return not any(layer in self.dock.viewer.layers for layer in result.layers)

    def reset_choices(self) -> None:
        """Disable the fields after the layers of the result were removed."""
        self._show_state()

    def _restore_fields(self) -> None:
        """Reset the fields to the values that the layers were last merged with."""
        for field, value in zip((self.distance, self.min_share), self._applied_values, strict=True):
            with field.changed.blocked():
                field.value = value

    def _show_state(self) -> None:
        """Enable the fields if merging is possible. Show the number of groups, or the problem."""
        is_edited, is_removed = self._is_edited(), self._is_removed()
        for field in (self.distance, self.min_share):
            field.enabled = self._tree is not None and not is_edited and not is_removed
        if is_removed:
            text = "The layers of the latest result were removed: run again."
        elif self._tree is not None and is_edited:
            text = (
                "The labels were edited by hand, and merging here would undo the edits: "
                "merge in the list of clusters, or run again."
            )
        elif self._tree is not None:
            text = f"{len(set(self._groups))} of {self._tree.n_clusters} clusters."
        elif self.dock.result is None:
            text = "No clusters yet: run a clustering first."
        else:
            text = (
                f"Merging needs one model of 2 to {MAX_CLUSTERS} clusters, and colors that are "
                "not integers of more than 16 bits."
            )
        self.show_message(text)


def _pixels_of(segmentation: Segmentation) -> NDArray[np.int64]:
    """Return the number of pixels of each cluster, at least 1.

    An image need not have all clusters of a model that is applied to it.
    """
    return np.asarray(np.maximum(segmentation.table["pixels"].to_numpy(), 1))


def _mergeable_segmentation(outcome: Any) -> Segmentation | None:
    """Return the outcome if its clusters can be merged, otherwise None."""
    if not isinstance(outcome, Segmentation):
        return None
    if not 2 <= outcome.model.n_clusters <= MAX_CLUSTERS:
        return None
    if not can_compare_colors(outcome.model):
        return None
    return outcome


def _splits_classes(model: KMeansModel, earlier: KMeansModel) -> bool:
    """Return whether a model has other centers than an earlier one, or splits its classes."""
    if not np.array_equal(model.cluster_centers_, earlier.cluster_centers_):
        return True
    pairs = {*zip(earlier.center_labels.tolist(), model.center_labels.tolist(), strict=True)}
    return len(pairs) > earlier.n_clusters
