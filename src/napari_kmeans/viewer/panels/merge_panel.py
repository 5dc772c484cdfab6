"""The panel *Merge similar*: a slider that merges clusters of similar colors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

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
from napari_kmeans.viewer.to_layers.edited_parts import is_edited_in
from napari_kmeans.viewer.to_layers.label_table import counted_slice
from napari_kmeans.viewer.widgets.form import form

if TYPE_CHECKING:
    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_kmeans.merging import MergeTree
    from napari_kmeans.viewer.background.task import AnySegmentation
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
        self._merges: WeakKeyDictionary[Layer, _Merge] = WeakKeyDictionary()
        self._merge = _Merge(None)
        self.refresh()

    def refresh(self) -> None:
        """Show the fields for the shown result.

        Reset them for the result of a new run. Keep them for a result that this panel
        merged, also after the panels have shown another result.
        """
        result = self.dock.result
        outcome = None if result is None else result.outcome
        layer = None if result is None else result.layer
        merge = None if layer is None else self._merges.get(layer)
        if merge is None or merge.shown is not outcome:
            merge = _Merge(outcome)
            if layer is not None:
                self._merges[layer] = merge
        self._merge = merge
        if result is not None and result.labels is not None:
            # Painting by hand rules merging out. Connecting again has no effect.
            result.labels.events.features.connect(self._on_edited)
        self._restore_fields()
        self._show_state()

    def _on_edited(self, _event: Any) -> None:
        self._show_state()

    def _take_hand_edits(self) -> bool:
        """Start from the classes of the layer if the user has edited them in the list.

        Merges that this panel made before the edits can then no longer be taken back here.
        Return False if the first outcome does not contain the classes of the layer.
        """
        result, first = self.dock.result, self._merge.first
        if first is None or result is None:
            return True
        assert isinstance(result.outcome, Segmentation)
        model = result.model
        if isinstance(model, KMeansModel) and model.classes != result.outcome.model.classes:
            if _splits_classes(model, first.model):
                return False
            self._merge.start_from(_mergeable_segmentation(apply_classes(first, model.classes)))
        return True

    def merge(self, *_: Any) -> None:
        """Merge the clusters of the run by the distance and the minimum share in the fields.

        Names, colors, ignored clusters and merges from the list of clusters are kept.

        Labels that were edited by hand are left unchanged, and the fields are
        reset: labels that are painted from the run would not contain the edits.
        """
        if self._is_edited() or self._lacks_image():
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
        merge = self._merge
        if merge.unmerged is None or merge.tree is None:
            self._show_state()
            return
        merge.values = (self.distance.value, self.min_share.value)
        pixels = _pixels_of(merge.unmerged)
        groups = cut_tree(merge.tree, self.distance.value)
        groups = merge_small(merge.unmerged.model, pixels, self.min_share.value / 100, groups)
        if groups.tolist() != merge.groups:
            merge.groups = groups.tolist()
            is_unmerged = len(set(merge.groups)) == len(pixels)
            result = self.dock.result
            renumber = result is not None and not result.has_own_numbers
            merge.shown = (
                merge.unmerged
                if is_unmerged
                else merge_clusters(merge.unmerged, groups, renumber=renumber)
            )
            self.dock.show_outcome(merge.shown)
        self._show_state()

    def _is_edited(self) -> bool:
        labels = None if self.dock.result is None else self.dock.result.labels
        return labels is not None and is_edited_in(labels, counted_slice(labels))

    def _lacks_image(self) -> bool:
        return self.dock.result is not None and self.dock.result.source is None

    def reset_choices(self) -> None:
        """Disable the fields after the layers of the result were removed."""
        self._show_state()

    def _restore_fields(self) -> None:
        """Reset the fields to the values that the layers were last merged with."""
        for field, value in zip((self.distance, self.min_share), self._merge.values, strict=True):
            with field.changed.blocked():
                field.value = value

    def _show_state(self) -> None:
        """Enable the fields if merging is possible. Show the number of groups, or the problem."""
        merge, result = self._merge, self.dock.result
        is_edited, lacks_image = self._is_edited(), self._lacks_image()
        for field in (self.distance, self.min_share):
            field.enabled = not (merge.tree is None or is_edited or lacks_image)
        if result is None:
            text = "No clusters yet: run a clustering first."
        elif lacks_image:
            text = result.describe_missing("to merge similar clusters")
        elif merge.tree is not None and is_edited:
            text = (
                "The labels were edited by hand, and merging here would undo the edits: "
                "merge in the list of clusters, or run again."
            )
        elif merge.tree is not None:
            text = f"{len(set(merge.groups))} of {merge.tree.n_clusters} clusters."
        elif result.outcome is None:
            text = result.describe_missing_outcome()
        else:
            text = (
                f"Merging needs one model of 2 to {MAX_CLUSTERS} clusters, and colors that are "
                "not integers of more than 16 bits."
            )
        self.show_message(text)


class _Merge:
    """A result, the tree of its clusters, and the values of the fields that merged them.

    Attributes
    ----------
    first : Segmentation or None
        The result before any merge of the panel; None if its clusters cannot be merged.
    shown : Segmentation or StackSegmentation or None
        The result that the layers show.
    unmerged : Segmentation or None
        The clusters at distance 0.
    tree : MergeTree or None
    groups : list of int
        The group of each of these clusters.
    values : tuple of float
        The values of the fields `distance` and `min_share`.
    """

    def __init__(self, outcome: AnySegmentation | None) -> None:
        self.shown, self.first = outcome, _mergeable_segmentation(outcome)
        self.groups: list[int] = []
        self.values = (0.0, 0.0)
        self.start_from(self.first)

    def start_from(self, segmentation: Segmentation | None) -> None:
        """Use the clusters of a segmentation as those at distance 0."""
        self.unmerged = segmentation
        self.tree: MergeTree | None = None
        if segmentation is not None:
            self.tree = merge_tree(segmentation.model, _pixels_of(segmentation))
            self.groups = list(range(self.tree.n_clusters))


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
