"""The camera, the grid and the canvas of a viewer, which napari 0.9 has moved.

No other module, and no test, uses these attributes of a viewer directly: napari 0.7 and 0.8 have
them at other places, and napari 0.9 warns about the earlier ones.
"""

from __future__ import annotations

from typing import Any


def camera_of(viewer: Any) -> Any:
    """Return the camera of a viewer."""
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera


def grid_of(viewer: Any) -> Any:
    """Return the grid in which a viewer shows its layers."""
    return viewer.canvas.grid if hasattr(viewer, "canvas") else viewer.grid


def canvas_size(viewer: Any) -> tuple[int, int]:
    """Return the height and the width of the canvas in pixels."""
    height, width = viewer.canvas.size if hasattr(viewer, "canvas") else viewer._canvas_size
    return height, width


def canvas_overlays(viewer: Any) -> Any:
    """Return the overlays on the canvas by their names."""
    return viewer.canvas.overlays if hasattr(viewer, "canvas") else viewer._overlays


def canvas_resized(viewer: Any) -> Any:
    """Return the event of a new size of the canvas; None if no window can change the size."""
    if hasattr(viewer, "canvas"):
        return viewer.canvas.events.size
    # Only a viewer with a window has this attribute.
    if not hasattr(viewer, "window"):
        return None
    return viewer.window._qt_viewer.canvas._scene_canvas.events.resize
