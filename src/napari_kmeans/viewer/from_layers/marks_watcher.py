"""Find the layers that can mark starting colors, and watch the marks of one layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Points
from qtpy.QtCore import QTimer

from napari_kmeans.viewer.from_layers.start_marks import nonzero_labels
from napari_kmeans.viewer.provenance import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image, Layer
    from qtpy.QtCore import QObject


def can_hold_marks(layer: Any, image: Image | None) -> bool:
    """Return whether a layer can mark starting colors of an image.

    Points and Labels layers can, if they overlap the image in the world or are
    empty. The points of a coreset cannot: they are a result.
    """
    if image is None or not isinstance(layer, Points | Labels):
        return False
    if kind_of(layer) == "coreset":
        return False
    n_axes = min(layer.ndim, image.ndim)
    first, last = layer.extent.world[:, -n_axes:]
    low, high = image.extent.world[:, -n_axes:]
    # The extent of an empty layer is NaN: both comparisons are then false.
    return not (np.any(first > high) or np.any(last < low))


def count_marks(layer: Points | Labels) -> int | None:
    """Return the number of clusters that a layer marks; None for lazy labels, to read nothing."""
    if isinstance(layer, Points):
        return int(np.sum(layer.shown))
    return len(nonzero_labels(layer.data)) if isinstance(layer.data, np.ndarray) else None


class MarksWatcher:
    """A watcher that calls a function after the marks of a layer have changed.

    Parameters
    ----------
    parent : QObject
        The Qt parent of the timer: the watcher stops when it is deleted.
    changed : callable
        Called without arguments after points are added, moved or removed, and
        after a stroke.
    """

    def __init__(self, parent: QObject, changed: Callable[[], None]) -> None:
        self._layer: Layer | None = None
        # napari emits the event of some strokes before it draws them: wait for the
        # next turn of the event loop.
        self._timer = QTimer(parent)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(changed)

    def watch(self, layer: Layer | None) -> None:
        """Watch this layer instead of the current one; None watches no layer."""
        if self._layer is not None:
            self._mark_event(self._layer).disconnect(self._on_event)
        self._layer = layer
        if layer is not None:
            self._mark_event(layer).connect(self._on_event)

    def _mark_event(self, layer: Layer) -> Any:
        # Not `data` for labels: each run replaces the data of a result, and would
        # make a live run start again without end.
        return layer.events.data if isinstance(layer, Points) else layer.events.paint

    def _on_event(self, _event: Any) -> None:
        self._timer.start(0)
