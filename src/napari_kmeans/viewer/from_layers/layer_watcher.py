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


def events_of_marks(layer: Layer) -> tuple[str, ...]:
    """Return the events of other marks: new points or strokes, or another place.

    Not `data` of labels: each run replaces the data of a result, and would make a live run
    that starts from this result start again without end.
    """
    return ("paint" if isinstance(layer, Labels) else "data", *_PLACE)


def events_of_mask(layer: Layer) -> tuple[str, ...]:
    """Return the events of another mask. No run replaces the data of its own mask."""
    return ("data", *events_of_marks(layer))


def events_of_classes(_layer: Layer) -> tuple[str, ...]:
    """Return the events of other names and colors of classes."""
    return ("features", "colormap")


def events_of_size(_layer: Layer) -> tuple[str, ...]:
    """Return the events of another size of pixels."""
    return ("scale", "units", "axis_labels")


class LayerWatcher:
    """A watcher that calls a function after a layer has emitted some of its events.

    Parameters
    ----------
    parent : QObject
        The Qt parent of the timer: the watcher stops when it is deleted.
    changed : callable
        Called without arguments, once after one or more events.
    events_of : callable
        Returns the names of the events of a layer.
    """

    def __init__(
        self,
        parent: QObject,
        changed: Callable[[], None],
        events_of: Callable[[Layer], tuple[str, ...]],
    ) -> None:
        self._layer: Layer | None = None
        self._events_of = events_of
        # napari emits the event of some strokes before it draws them: wait for the
        # next turn of the event loop.
        self._timer = QTimer(parent)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(changed)

    def watch(self, layer: Layer | None) -> None:
        """Watch this layer instead of the current one; None watches no layer."""
        if layer is self._layer:
            return
        for event in self._events(self._layer):
            event.disconnect(self._on_event)
        self._layer = layer
        for event in self._events(layer):
            event.connect(self._on_event)

    def _events(self, layer: Layer | None) -> list[Any]:
        if layer is None:
            return []
        return [getattr(layer.events, name) for name in dict.fromkeys(self._events_of(layer))]

    def _on_event(self, _event: Any) -> None:
        self._timer.start(0)
