"""The panel *Colors in 3-D*."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_kmeans.model import KMeansModel
from napari_kmeans.segmentation import Segmentation
from napari_kmeans.viewer.panels.panel import Panel
from napari_kmeans.viewer.to_layers.label_colors import shown_colors
from napari_kmeans.viewer.widgets.color_view import ColorSpaceView

if TYPE_CHECKING:
    from napari_kmeans.viewer.panels.panel import Dock


class ColorsPanel(Panel):
    """A panel with the colors and the cluster centers of the latest result in 3-D."""

    title = "Colors in 3-D"
    tooltip = "Show the colors of the image and the centers of its clusters in 3-D."

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self.view = ColorSpaceView()
        self.column.addWidget(self.view)
        self.refresh()

    def refresh(self) -> None:
        """Show the colors of the latest result."""
        result = self.dock.result
        if result is None:
            self.view.clear()
        elif isinstance(result.outcome, Segmentation):
            source = result.source
            to_screen = None if source is None else partial(shown_colors, source=source)
            self.view.show_segmentation(result.outcome, to_screen)
        elif isinstance(result.model, KMeansModel):
            self.view.clear(result.describe_missing_outcome())
        else:
            self.view.clear("Each slice has its own clusters: cluster one slice to see its colors.")
