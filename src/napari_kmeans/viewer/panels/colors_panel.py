"""The colors of the image in 3-D, below the form of the dock."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_kmeans.segmentation import Segmentation
from napari_kmeans.viewer.panels.panel import Panel
from napari_kmeans.viewer.to_layers.label_colors import shown_colors
from napari_kmeans.viewer.widgets.color_view import ColorSpaceView

if TYPE_CHECKING:
    from napari_kmeans.viewer.panels.panel import Dock


class ColorsPanel(Panel):
    """The sample of the latest result, and the centers of its clusters."""

    title = "Colors in 3-D"
    tooltip = "Where the colors of the image and the centers of the clusters lie."

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
            self.view.show_segmentation(
                result.outcome, partial(shown_colors, source=result.task.source)
            )
        else:
            self.view.clear("Each slice has clusters of its own: look at one slice for its colors.")
