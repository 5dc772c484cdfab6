"""Watch the layers that a live run depends on besides the image: its mask and its marks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer
    from qtpy.QtCore import QObject

_PLACE = ("scale", "translate", "rotate", "shear", "affine", "units")


class LayerWatcher:
    """A watcher that calls a function after the content or the place of a layer has changed.

    The content is the points, the shapes, or the strokes in labels.

    Parameters
    ----------
    parent : QObject
        The Qt parent of the timer: the watcher stops when it is deleted.
    changed : callable
        Called without arguments, once after one or more changes.
    is_result : bool
        Whether runs may update the layer. The replacement of all pixels of a Labels layer is
        then no change: it would make a live run start again without end.
    """

    def __init__(
        self, parent: QObject, changed: Callable[[], None], *, is_result: bool = False
    ) -> None:
        self._layer: Layer | None = None
        self._is_result = is_result
        # napari emits the event of some strokes before it draws them: wait for the
        # next turn of the event loop.
        self._timer = QTimer(parent)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(changed)

    def watch(self, layer: Layer | None) -> None:
        """Watch this layer instead of the current one; None watches no layer."""
        if layer is self._layer:
            return
        if self._layer is not None:
            for event in self._events(self._layer):
                event.disconnect(self._on_event)
        self._layer = layer
        if layer is not None:
            for event in self._events(layer):
                event.connect(self._on_event)

    def _events(self, layer: Layer) -> list[Any]:
        contents = ["paint"] if isinstance(layer, Labels) else []
        if not contents or not self._is_result:
            contents.append("data")
        return [getattr(layer.events, name) for name in (*contents, *_PLACE)]

    def _on_event(self, _event: Any) -> None:
        self._timer.start(0)
