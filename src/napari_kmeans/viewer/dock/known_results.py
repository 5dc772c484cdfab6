"""The results of this session, by their layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from napari.layers import Labels, Layer
from psygnal import Signal

from napari_kmeans.viewer.to_layers.result import Result

if TYPE_CHECKING:
    from collections.abc import Sequence


class KnownResults:
    """The results of this session, by their layer: see `Result.layer`.

    Layers are held by weak references:
    a result is forgotten with its layer.

    Attributes
    ----------
    stored : psygnal.Signal
        Emitted with each result that is stored, for the docks that show its layer.
    """

    stored = Signal(Result)

    def __init__(self) -> None:
        self._entries: WeakKeyDictionary[Layer, _Entry] = WeakKeyDictionary()

    def store(self, result: Result) -> None:
        """Store a result as the newest one, in place of an earlier result of its layer."""
        if result.layer is not None:
            self._entries.pop(result.layer, None)
            self._entries[result.layer] = _Entry.of(result)
            self.stored.emit(result)

    def forget(self, layer: Layer) -> None:
        """Forget the result of a layer, if it is known."""
        self._entries.pop(layer, None)

    def find(self, layer: Layer) -> Result | None:
        """Return the known result of a layer, or None."""
        entry = self._entries.get(layer)
        return None if entry is None else entry.result

    def result_of(self, layer: Layer, layers: Sequence[Layer]) -> Result | None:
        """Return the result that a layer shows; None if it has no clusters.

        The result of a layer that is not known is rebuilt from its record; see
        `Result.of_layer`.
        """
        known = self.find(layer)
        if not isinstance(layer, Labels) or (known is not None and known.is_current(layers)):
            return known
        result = Result.of_layer(layer, layers)
        if result is not None:
            self._entries[layer] = _Entry.of(result)
        return result

    def newest(self, layers: Sequence[Layer]) -> Result | None:
        """Return the newest result whose Labels layer is among some layers, or None.

        A layer that is not known, such as one of a file, is older than those that are.
        """
        for layer in reversed([*self._entries]):
            if layer in layers:
                return self._entries[layer].result
        rebuilt = (self.result_of(layer, layers) for layer in reversed([*layers]))
        return next((result for result in rebuilt if result is not None), None)


KNOWN_RESULTS = KnownResults()
"""The results of this session. A layer may be moved from one viewer to another."""


@dataclass(eq=False)
class _Entry:
    """A result that keeps none of its layers alive."""

    bare: Result
    layers: list[ref[Layer]]
    same: ref[Result]
    """The result itself, as long as a panel or its work holds it."""

    @classmethod
    def of(cls, result: Result) -> _Entry:
        task = None if result.task is None else replace(result.task, cache=None)
        bare = replace(result, task=task, layers=())
        return cls(bare, [ref(layer) for layer in result.layers], ref(result))

    @property
    def result(self) -> Result:
        """The result, with those of its layers that still exist."""
        result = self.same()
        if result is None:
            layers: list[Any] = [reference() for reference in self.layers]
            result = replace(self.bare, layers=tuple(each for each in layers if each is not None))
            self.same = ref(result)
        return result
