"""The list of clusters, below the form of the dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_kmeans.viewer.panels.panel import Panel
from napari_kmeans.viewer.widgets.cluster_list import ClusterList

if TYPE_CHECKING:
    from napari_kmeans.viewer.panels.panel import Dock


class ClustersPanel(Panel):
    """The clusters of the latest result, to look at, name, recolor, hide and merge."""

    title = "Clusters"
    tooltip = "List, highlight, name, recolor, hide and merge the clusters of the last run."

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self.list = ClusterList()
        self.column.addWidget(self.list)
        self.refresh()

    def refresh(self) -> None:
        """List the clusters of the layer of labels, if it is still in the viewer."""
        result = self.dock.result
        labels = None if result is None else result.labels
        self.list.set_layer(labels if labels in self.dock.viewer.layers else None)
