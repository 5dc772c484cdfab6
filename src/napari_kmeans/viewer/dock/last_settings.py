"""The settings and the result of a dock, for the next dock of the same viewer.

They are held in memory and not written to a file.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from napari.layers import Layer

if TYPE_CHECKING:
    import napari

    from napari_kmeans.viewer.to_layers.result import Result


class LastSettings:
    """The last settings and the last result in one viewer.

    Layers are held by weak references, which keep neither the layers nor the viewer alive.

    Attributes
    ----------
    has_shown_clusters : bool
        Whether the panel *Clusters* was unfolded for the first result of the viewer.
    """

    def __init__(self) -> None:
        self.has_shown_clusters = False
        self._settings: dict[str, Any] = {}
        self._result: Result | None = None
        self._layers: list[ref[Layer]] = []

    def store(self, name: str, value: Any) -> None:
        """Store the value of a field."""
        self._settings[name] = ref(value) if isinstance(value, Layer) else value

    @property
    def settings(self) -> dict[str, Any]:
        """The values of the fields by name; None in place of a layer that no longer exists."""
        stored = self._settings.items()
        return {name: value() if isinstance(value, ref) else value for name, value in stored}

    def store_result(self, result: Result) -> None:
        """Store the result of a run, without its summary cache."""
        self._layers = [ref(layer) for layer in result.layers]
        self._result = replace(result, task=replace(result.task, cache=None), layers=())

    @property
    def result(self) -> Result | None:
        """The result of the last run, with those of its layers that still exist."""
        layers = [reference() for reference in self._layers]
        existing = tuple(layer for layer in layers if layer is not None)
        return None if self._result is None else replace(self._result, layers=existing)


_LAST_SETTINGS: WeakKeyDictionary[napari.Viewer, LastSettings] = WeakKeyDictionary()


def last_settings_of(viewer: napari.Viewer) -> LastSettings:
    """Return the stored settings of a viewer. They exist as long as the viewer."""
    return _LAST_SETTINGS.setdefault(viewer, LastSettings())
