"""What the dock knows of layers that one points with: which may be used, and when they change."""

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
    """Return whether a layer has marks over an image, or is an empty one to put them into."""
    if image is None or not isinstance(layer, Points | Labels):
        return False
    if kind_of(layer) == "coreset":
        return False
    n_axes = min(layer.ndim, image.ndim)
    first, last = layer.extent.world[:, -n_axes:]
    low, high = image.extent.world[:, -n_axes:]
    # An empty layer extends from NaN to NaN.
    return not (np.any(first > high) or np.any(last < low))


def count_marks(layer: Points | Labels) -> int | None:
    """Return how many clusters a layer asks for; None if that is not known before it is read."""
    if isinstance(layer, Points):
        return int(np.sum(layer.shown))
    return len(nonzero_labels(layer.data)) if isinstance(layer.data, np.ndarray) else None


class MarksWatcher:
    """The layer that clusters start from, and what is to be done when its marks change.

    Parameters
    ----------
    parent : QObject
        That for which it watches.
    changed : callable
        Called without arguments after points are added, moved or removed, and
        after a stroke.
    """

    def __init__(self, parent: QObject, changed: Callable[[], None]) -> None:
        self._layer: Layer | None = None
        # napari tells of some strokes before it has drawn them.
        self._soon = QTimer(parent)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(changed)

    def watch(self, layer: Layer | None) -> None:
        """Watch another layer, or none."""
        if self._layer is not None:
            self._event(self._layer).disconnect(self._on_event)
        self._layer = layer
        if layer is not None:
            self._event(layer).connect(self._on_event)

    def _event(self, layer: Layer) -> Any:
        # A Labels layer that shows a result gets new data with each run.
        return layer.events.data if isinstance(layer, Points) else layer.events.paint

    def _on_event(self, _event: Any) -> None:
        self._soon.start(0)
