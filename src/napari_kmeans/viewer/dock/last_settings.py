"""What is remembered of a viewer between the openings of its dock; nothing goes to a file."""

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

    Layers are held by weak references, which keep neither them nor their viewer alive.
    """

    def __init__(self) -> None:
        self._settings: dict[str, Any] = {}
        self._result: Result | None = None
        self._layers: list[ref[Layer]] = []

    def store(self, name: str, value: Any) -> None:
        """Remember the value of a field."""
        self._settings[name] = ref(value) if isinstance(value, Layer) else value

    @property
    def settings(self) -> dict[str, Any]:
        """The values of the fields by their names, None for layers that are gone."""
        stored = self._settings.items()
        return {name: value() if isinstance(value, ref) else value for name, value in stored}

    def store_result(self, result: Result) -> None:
        """Remember what a run gave."""
        self._layers = [ref(layer) for layer in result.layers]
        self._result = replace(result, task=replace(result.task, cache=None), layers=())

    @property
    def result(self) -> Result | None:
        """What the last run gave, with those of its layers that there are still."""
        layers = [reference() for reference in self._layers]
        found = tuple(layer for layer in layers if layer is not None)
        return None if self._result is None else replace(self._result, layers=found)


_LAST_SETTINGS: WeakKeyDictionary[napari.Viewer, LastSettings] = WeakKeyDictionary()


def last_settings_of(viewer: napari.Viewer) -> LastSettings:
    """Return what is remembered of a viewer, as long as it lives."""
    return _LAST_SETTINGS.setdefault(viewer, LastSettings())
