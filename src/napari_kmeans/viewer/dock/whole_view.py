"""Keep the whole picture in view while the dock takes its place in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer

from napari_kmeans.viewer.from_layers.view import camera_of, canvas_resized, canvas_size, grid_of

if TYPE_CHECKING:
    import napari
    from qtpy.QtWidgets import QWidget

SETTLING_MS = 1500
"""Milliseconds after which the layout of the window has settled.

A window manager may resize a new window some time after it was shown."""


def shows_whole_picture(viewer: napari.Viewer) -> bool:
    """Return whether all layers lie inside the canvas. False in 3-D and in a grid."""
    if not viewer.layers or viewer.dims.ndisplay != 2 or grid_of(viewer).enabled:
        return False
    corners = viewer.layers.extent.world[:, list(viewer.dims.displayed)]
    camera = camera_of(viewer)
    # Distances in pixels of the canvas from its center, with a tolerance of one pixel.
    reach = np.abs(corners - np.array(camera.center)[-2:]) * camera.zoom
    return bool((reach <= np.array(canvas_size(viewer)) / 2 + 1).all())


class WholeView(QObject):
    """Fits the view whenever the canvas changes its size, until the window has settled.

    It does nothing if a part of the picture is outside of the view now, and it stops when
    the user moves or zooms: the view is then the choice of the user.

    Parameters
    ----------
    viewer : napari.Viewer
    parent : QWidget
        The dock. If it is deleted, nothing is fitted any more.
    """

    def __init__(self, viewer: napari.Viewer, parent: QWidget) -> None:
        super().__init__(parent)
        self._viewer, self._fitted = viewer, self._view_of(viewer)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.stop)
        resized = canvas_resized(viewer)
        if resized is not None and shows_whole_picture(viewer):
            # napari itself takes the new size first.
            resized.connect(self._fit, position="last")
            self._timer.start(SETTLING_MS)

    def stop(self) -> None:
        """Fit the view no more."""
        self._timer.stop()
        canvas_resized(self._viewer).disconnect(self._fit)

    def _fit(self, _event: Any) -> None:
        if self._view_of(self._viewer) != self._fitted:
            self.stop()
            return
        self._viewer.fit_to_view()
        self._fitted = self._view_of(self._viewer)

    @staticmethod
    def _view_of(viewer: napari.Viewer) -> tuple[Any, ...]:
        return (*camera_of(viewer).center, camera_of(viewer).zoom)
