"""Clusters of similar colors joined by a slider, below the form of the dock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import FloatSlider, FloatSpinBox

from napari_kmeans.merging import can_compare_colors, cut, join_small, merge_clusters, merge_tree
from napari_kmeans.segmentation import Segmentation
from napari_kmeans.viewer.panels.panel import Panel
from napari_kmeans.viewer.to_layers.label_table import is_outdated
from napari_kmeans.viewer.widgets.form import form

if TYPE_CHECKING:
    from napari_kmeans.merging import MergeTree
    from napari_kmeans.viewer.panels.panel import Dock

MOST_CLUSTERS = 512
"""Trees of more clusters would take longer than a slider can wait."""

_MOST = 50.0
"""The end of the slider: colors so far apart have nothing in common."""


class MergePanel(Panel):
    """Joins the clusters of the latest result where their colors are similar."""

    title = "Merge similar"
    tooltip = "Join clusters of similar colors, and small ones: begin with many, end with few."

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self.distance = FloatSlider(
            name="distance",
            label="Color distance",
            tooltip="Colors at most so far apart join; 2 is hardly seen, black and white are 100.",
            max=_MOST,
            value=0.0,
        )
        self.min_share = FloatSpinBox(
            name="min_share",
            label="Least share in %",
            tooltip="Clusters below this share of the pixels join the one of the nearest color.",
            max=50.0,
            step=0.1,
            value=0.0,
        )
        self.column.addWidget(form([self.distance, self.min_share]))
        self.column.addWidget(self.message)
        for field in (self.distance, self.min_share):
            field.changed.connect(self.merge)
        self._whole: Segmentation | None = None
        self._task: Any = None
        self._tree: MergeTree | None = None
        self._groups: list[int] = []
        self._merged_at = (0.0, 0.0)
        self.refresh()

    def refresh(self) -> None:
        """Take the clusters of a new run as they are; of one that was merged here, nothing."""
        result = self.dock.result
        if result is not None and result.task is self._task:
            self._tell()
            return
        self._task = None if result is None else result.task
        self._whole = None if result is None else _mergeable(result.outcome)
        self._tree = None
        if self._whole is not None:
            self._tree = merge_tree(self._whole.model, self._whole.table["pixels"])
            self._groups = list(range(self._tree.n_clusters))
        self._merged_at = (0.0, 0.0)
        self._restore_fields()
        self._tell()

    def merge(self, *_: Any) -> None:
        """Show the clusters as distance and least share want them.

        Labels that were edited by hand are left alone, for painting them anew
        from the run would lose the edits.
        """
        if self._whole is None or self._tree is None:
            return
        if self._is_edited():
            self._restore_fields()
            self._tell()
            return
        self._merged_at = (self.distance.value, self.min_share.value)
        pixels = self._whole.table["pixels"]
        groups = cut(self._tree, self.distance.value)
        groups = join_small(self._whole.model, pixels, self.min_share.value / 100, groups)
        if groups.tolist() != self._groups:
            self._groups = groups.tolist()
            apart = len(set(self._groups)) == len(pixels)
            self.dock.show_outcome(self._whole if apart else merge_clusters(self._whole, groups))
        self._tell()

    def _is_edited(self) -> bool:
        labels = None if self.dock.result is None else self.dock.result.labels
        return labels is not None and is_outdated(labels.features)

    def _restore_fields(self) -> None:
        """Show the distance and the share that the layers were last joined at."""
        for field, value in zip((self.distance, self.min_share), self._merged_at, strict=True):
            with field.changed.blocked():
                field.value = value

    def _tell(self) -> None:
        is_edited = self._is_edited()
        for field in (self.distance, self.min_share):
            field.enabled = self._tree is not None and not is_edited
        if self._tree is not None and is_edited:
            text = (
                "The labels were edited by hand, which joining here would undo: "
                "merge them in the list of clusters, or run again."
            )
        elif self._tree is not None:
            text = f"{len(set(self._groups))} of {self._tree.n_clusters} clusters."
        elif self.dock.result is None:
            text = "No clusters yet: run a clustering first."
        else:
            text = (
                f"This works for one model of 2 to {MOST_CLUSTERS} clusters and images of a single "
                "resolution whose colors are not integers of more than 16 bits."
            )
        self.show_message(text)


def _mergeable(outcome: Any) -> Segmentation | None:
    """Return what clusters can be merged of, None where they cannot."""
    one = isinstance(outcome, Segmentation) and not isinstance(outcome.labels, list)
    if not one or not 2 <= outcome.model.n_clusters <= MOST_CLUSTERS:
        return None
    if not can_compare_colors(outcome.model):
        return None
    return outcome  # type: ignore[no-any-return]
