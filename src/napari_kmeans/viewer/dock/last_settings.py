"""The settings of a dock, for the next dock of the same viewer.

They are held in memory and not written to a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet, ref

from napari.layers import Layer

if TYPE_CHECKING:
    import napari

    from napari_kmeans.files.units import AreaUnit


class LastSettings:
    """The last settings in one viewer.

    Layers are held by weak references, which keep neither the layers nor the viewer alive.

    Attributes
    ----------
    color_schemes : dict of bool to str
        The color scheme that the user chose last for labels of RGB images, and of others.
    has_shown_clusters : bool
        Whether the panel *Clusters* was unfolded for the first result of the viewer.
    area_unit : AreaUnit or None
        The unit of the minimum area.
    opened : WeakSet of Layer
        The labels of files whose options the form has shown.
    """

    def __init__(self) -> None:
        self.color_schemes: dict[bool, str] = {}
        self.area_unit: AreaUnit | None = None
        self.has_shown_clusters = False
        self.opened: WeakSet[Layer] = WeakSet()
        self._settings: dict[str, Any] = {}

    def store(self, name: str, value: Any) -> None:
        """Store the value of a field."""
        self._settings[name] = ref(value) if isinstance(value, Layer) else value

    @property
    def settings(self) -> dict[str, Any]:
        """The values of the fields by name; None in place of a layer that no longer exists."""
        stored = self._settings.items()
        return {name: value() if isinstance(value, ref) else value for name, value in stored}


_LAST_SETTINGS: WeakKeyDictionary[napari.Viewer, LastSettings] = WeakKeyDictionary()


def last_settings_of(viewer: napari.Viewer) -> LastSettings:
    """Return the stored settings of a viewer. They exist as long as the viewer."""
    return _LAST_SETTINGS.setdefault(viewer, LastSettings())
