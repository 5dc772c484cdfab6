"""Show layers beside their originals in the grid of napari, and restore the earlier view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_kmeans.viewer.from_layers.view import camera_of, grid_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import napari
    from napari.layers import Layer

_GRID = ("enabled", "stride", "shape", "spacing")
_CAMERA = ("center", "zoom", "angles")
_GAP = 0.02
"""Space between the cells of the grid, as a share of the size of a cell."""


class SideBySide:
    """A view of layers in a grid beside their originals, until `back` is called.

    All other layers are hidden.

    Parameters
    ----------
    viewer : napari.Viewer
    originals : sequence of napari.layers.Layer
        Layers in the viewer. They come first in the grid.
    layers : sequence of napari.layers.Layer
        Layers to add to the viewer.
    """

    def __init__(
        self, viewer: napari.Viewer, originals: Sequence[Layer], layers: Sequence[Layer]
    ) -> None:
        self._viewer, self._originals, self.layers = viewer, originals, layers
        grid, camera = grid_of(viewer), camera_of(viewer)
        self._visibility = {
            each: (each.visible, each.name_overlay.visible) for each in viewer.layers
        }
        self._grid = {name: getattr(grid, name) for name in _GRID}
        self._camera = {name: getattr(camera, name) for name in _CAMERA}
        for each in viewer.layers:
            each.visible = each in originals
        viewer.layers.extend(layers)
        for each in [*originals, *layers]:
            each.name_overlay.visible = True
        # Enable the grid last, for the reason given in `back`.
        grid.stride, grid.shape, grid.spacing, grid.enabled = 1, (-1, -1), _GAP, True
        viewer.reset_view(reset_camera_angle=False)

    def back(self) -> None:
        """Remove the layers, and restore visibility, name overlays, grid and camera.

        Layers that the user has removed in the meantime are left out.
        """
        # Restore the grid first: while it is enabled, napari lays it out again whenever a
        # layer is removed, shown or hidden.
        grid_of(self._viewer).update(self._grid)
        present = self._viewer.layers
        if present.selection.active in self.layers:
            present.selection.active = next(
                (each for each in self._originals if each in present), None
            )
        for layer in self.layers:
            if layer in present:
                present.remove(layer)
        for layer, (visible, has_overlay) in self._visibility.items():
            if layer in present:
                layer.visible, layer.name_overlay.visible = visible, has_overlay
        camera_of(self._viewer).update(self._camera)
