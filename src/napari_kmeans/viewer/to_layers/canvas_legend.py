"""A legend of the clusters of a layer on the canvas: one text for each cluster, on its color.

napari has no overlay for legends. Several text overlays in one corner, each with its own
background, are placed below each other by napari.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components.overlays import TextOverlay

from napari_kmeans.figures import LegendRow, legend_rows, undecided_rows
from napari_kmeans.imaging.colors import LUMINANCE
from napari_kmeans.viewer.from_layers.layer_watcher import LayerWatcher
from napari_kmeans.viewer.from_layers.view import canvas_overlays
from napari_kmeans.viewer.to_layers.saved_labels import hidden_labels, shown_table

if TYPE_CHECKING:
    from napari.layers import Labels, Layer
    from qtpy.QtCore import QObject

_CORNER = "top_left"
"""napari places the overlays of this corner below each other."""

_MAX_ROWS = 25
"""Rows that fit on a canvas of 800 pixels."""

_NUMBERS = count()


def _events(_layer: Layer) -> tuple[str, ...]:
    return ("features", "colormap", "visible")


class CanvasLegend:
    """The legend of one layer at a time. It follows the names, colors and shares of the layer.

    Hidden clusters are left out.

    Parameters
    ----------
    viewer : napari.Viewer
    parent : QObject
        Its deletion ends the watching of the layer.
    """

    def __init__(self, viewer: Any, parent: QObject) -> None:
        self._overlays = canvas_overlays(viewer)
        # Two docks may show a legend each in one viewer.
        self._prefix = f"kmeans_legend_{next(_NUMBERS)}"
        self._keys: list[str] = []
        self._layer: Labels | None = None
        self._watcher = LayerWatcher(parent, self._update, _events)

    def show(self, layer: Labels | None) -> None:
        """Show the legend of a layer instead of the current one; None removes the legend."""
        self._layer = layer
        self._watcher.watch(layer)
        self._update()

    def _update(self) -> None:
        rows = self._rows()
        for key in self._keys[len(rows) :]:
            del self._overlays[key]
        self._keys = [f"{self._prefix}_{n}" for n in range(len(rows))]
        for n, (key, row) in enumerate(zip(self._keys, rows, strict=True)):
            settings = _settings(row)
            if key not in self._overlays:
                self._overlays[key] = TextOverlay(
                    position=_CORNER, visible=True, order=10**6 + n, **settings
                )
            else:
                self._overlays[key].update(settings)

    def _rows(self) -> list[LegendRow]:
        if self._layer is None or not self._layer.visible:
            return []
        table = shown_table(self._layer)
        if table is None:
            return []
        rows = legend_rows(table[~table["index"].isin(hidden_labels(self._layer))])
        if len(rows) > _MAX_ROWS:
            n_more = len(rows) - _MAX_ROWS + 1
            rows = [*rows[: _MAX_ROWS - 1], LegendRow("…", f"{n_more} more", "#000000", "")]
        return [*rows, *undecided_rows(table)]


def _settings(row: LegendRow) -> dict[str, Any]:
    """Return the text of a row in black or white, whichever is readable on its color."""
    color = np.frombuffer(bytes.fromhex(row.color[1:]), np.uint8) / 255
    is_bright = LUMINANCE @ color > 0.5
    text = "  ".join(filter(None, (row.label, row.name, row.share)))
    return {
        # napari measures the text a little too narrow: the last letter would touch the edge.
        "text": f"{text}\u00a0",
        "color": "black" if is_bright else "white",
        "box_color": row.color,
    }
