"""Layers beside their originals in napari's grid, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import napari
    from napari.layers import Layer

_GRID = ("enabled", "stride", "shape", "spacing")
_CAMERA = ("center", "zoom", "angles")
_GAP = 0.02


class SideBySide:
    """Shows layers in a grid beside those they were made of, until `back`.

    Parameters
    ----------
    viewer : napari.Viewer
    originals : sequence of napari.layers.Layer
        Those in the viewer that come first.
    layers : sequence of napari.layers.Layer
        Not yet in the viewer.
    """

    def __init__(
        self, viewer: napari.Viewer, originals: Sequence[Layer], layers: Sequence[Layer]
    ) -> None:
        self._viewer, self._originals, self.layers = viewer, originals, layers
        grid, camera = viewer.canvas.grid, viewer.scene.camera
        self._seen = {each: (each.visible, each.name_overlay.visible) for each in viewer.layers}
        self._grid = {name: getattr(grid, name) for name in _GRID}
        self._camera = {name: getattr(camera, name) for name in _CAMERA}
        for each in viewer.layers:
            each.visible = each in originals
        viewer.layers.extend(layers)
        for each in [*originals, *layers]:
            each.name_overlay.visible = True
        grid.stride, grid.shape, grid.spacing, grid.enabled = 1, (-1, -1), _GAP, True
        viewer.reset_view(reset_camera_angle=False)

    def back(self) -> None:
        """Take the layers away, and show what was seen before; what is gone stays gone."""
        # First of all: the grid is laid out anew at every change.
        self._viewer.canvas.grid.update(self._grid)
        here = self._viewer.layers
        if here.selection.active in self.layers:
            here.selection.active = next((each for each in self._originals if each in here), None)
        for layer in self.layers:
            if layer in here:
                here.remove(layer)
        for layer, (visible, named) in self._seen.items():
            if layer in here:
                layer.visible, layer.name_overlay.visible = visible, named
        self._viewer.scene.camera.update(self._camera)
