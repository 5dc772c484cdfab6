"""Watch for clicks in the picture, and find the label under each click."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import napari
    from napari.layers import Labels

_DRAG_PIXELS = 4
"""A mouse that moves farther on the canvas than this drags: it pans or rotates the view."""


class LabelClicks:
    """A watcher that calls a function after each click in the picture.

    A click is a press and a release of the left button at the same place, without a key, while
    the active layer is moved and zoomed: clicks of other tools draw, pick or select.

    Parameters
    ----------
    viewer : napari.Viewer
    clicked : callable
        Called with the label under the mouse in the watched layer; 0 if there is none. In a
        volume this is the first label along the view.
    """

    def __init__(self, viewer: napari.Viewer, clicked: Callable[[int], None]) -> None:
        self._viewer, self._clicked = viewer, clicked
        self._layer: Labels | None = None

    def watch(self, layer: Labels | None) -> None:
        """Find the labels of this layer instead of the current one; None watches no clicks."""
        callbacks = self._viewer.mouse_drag_callbacks
        if layer is None and self._on_press in callbacks:
            callbacks.remove(self._on_press)
        elif layer is not None and self._on_press not in callbacks:
            callbacks.append(self._on_press)
        self._layer = layer

    def stop(self, *_: Any) -> None:
        """Watch no clicks any more."""
        self.watch(None)

    def _on_press(self, viewer: Any, event: Any) -> Iterator[None]:
        active = viewer.layers.selection.active
        is_tool = active is not None and active.mode != "pan_zoom"
        if event.button != 1 or event.modifiers or is_tool:
            return
        start = np.array(event.pos)
        yield
        while event.type == "mouse_move":
            if np.abs(event.pos - start).max() > _DRAG_PIXELS:
                return
            yield
        # An invisible layer has no label under the mouse.
        if self._layer is not None and self._layer.visible:
            self._clicked(_label_at(self._layer, event))


def _label_at(layer: Labels, event: Any) -> int:
    """Return the label of a layer at the place of a mouse event, or 0."""
    value: Any = layer.get_value(
        event.position,
        view_direction=event.view_direction,
        dims_displayed=event.dims_displayed,
        world=True,
    )
    # The value of a multiscale layer has the level before the label.
    label = value[-1] if isinstance(value, tuple) else value
    return int(label or 0)
