"""The panel *Clusters*."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_kmeans.viewer.panels.panel import Panel
from napari_kmeans.viewer.widgets.cluster_list import ClusterList

if TYPE_CHECKING:
    from napari_kmeans.viewer.panels.panel import Dock


class ClustersPanel(Panel):
    """A panel that lists the clusters of the latest result, and edits them."""

    title = "Clusters"
    tooltip = "List, highlight, name, recolor, hide and merge the clusters of the last run."

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self.list = ClusterList()
        self.column.addWidget(self.list)
        self.refresh()

    def refresh(self) -> None:
        """List the clusters of the latest Labels layer, or none if the layer was removed."""
        result = self.dock.result
        if result is None or result.labels not in self.dock.viewer.layers:
            self.list.set_layer(None)
        else:
            self.list.set_layer(result.labels, result.task.source)
