"""What is remembered of a viewer between the openings of its dock; nothing goes to a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from napari.layers import Layer

if TYPE_CHECKING:
    import napari


@dataclass
class Memory:
    """The last settings and the last result in one viewer.

    Attributes
    ----------
    settings : dict
        The values of the fields by their names; layers as weak references,
        which keep neither them nor their viewer alive.
    model : KMeansModel, StackModel or None
        The one that was fitted last.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    model: Any = None

    def keep(self, name: str, value: Any) -> None:
        """Remember the value of a field."""
        self.settings[name] = ref(value) if isinstance(value, Layer) else value

    def values(self) -> dict[str, Any]:
        """Return the values of the fields, None for layers that are gone."""
        kept = self.settings.items()
        return {name: value() if isinstance(value, ref) else value for name, value in kept}


_MEMORIES: WeakKeyDictionary[napari.Viewer, Memory] = WeakKeyDictionary()


def memory_of(viewer: napari.Viewer) -> Memory:
    """Return what is remembered of a viewer, as long as it lives."""
    return _MEMORIES.setdefault(viewer, Memory())
