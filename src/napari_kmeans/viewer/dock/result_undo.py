"""Undo the last result: the layers and the panels become what they were before it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari.layers import Labels
from napari.utils.notifications import show_info

from napari_kmeans.viewer.to_layers.layer_state import EditWatch, LayerState
from napari_kmeans.viewer.to_layers.update import copy_of_edited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import napari
    from napari.layers import Layer

    from napari_kmeans.viewer.to_layers.result import Result

LIVE, MERGE = "live", "merge"
"""Kinds of changes that follow each other while a field is moved: one undo takes all back."""


class ResultUndo:
    """Undoes the last change of the layers of results: a run, a merge or an applied model.

    One change can be undone. Until the next one, the arrays that it has replaced stay in
    memory: the labels and the recolored image of the earlier result.

    Parameters
    ----------
    viewer : napari.Viewer
    changed : callable
        Called when there is another change to undo, or none.
    """

    def __init__(self, viewer: napari.Viewer, changed: Callable[[], None]) -> None:
        self._viewer, self._changed = viewer, changed
        self._last: Change | None = None
        self._open: Change | None = None

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to undo."""
        return self._last is not None

    @contextmanager
    def recording(self, shown: Result | None, kind: str = "") -> Iterator[None]:
        """Record the layers that are changed in a `with` block as one change.

        A block inside another one belongs to the outer one. A change of the kind `LIVE` or
        `MERGE` belongs to the last one if that is of the same kind and of the same layers,
        and if the user has edited nothing in between.

        Parameters
        ----------
        shown : Result or None
            The result that the panels show before the change.
        kind : str
        """
        if self._open is not None:
            yield
            return
        last = self._last
        goes_on = last is not None and last.kind == kind in (LIVE, MERGE) and not last.edited
        change = self._open = Change(shown, kind)
        try:
            yield
        finally:
            # Also after an error: the layers that were changed before it can be restored.
            self._open = None
            self._keep(change, goes_on)

    def before_update(self, layer: Layer, result: Layer, restore: Callable[[], None]) -> None:
        """Record the state of a layer that a new result will update.

        Parameters
        ----------
        layer, result : napari.layers.Layer
        restore : callable
            Restores what the dock knows of the layer besides the layer itself.
        """
        if self._open is not None:
            self._open.states.append((LayerState.before(layer, result), restore))

    def added(self, layer: Layer) -> None:
        """Record a layer that was added."""
        if self._open is not None:
            self._open.added.append(layer)

    def forget_removed(self) -> None:
        """Forget the layers that the user has removed."""
        if self._last is not None:
            self._last.keep_only([*self._viewer.layers])
            self._replace(self._last)

    def undo(self) -> Change:
        """Restore the layers, and return the change that was undone.

        Labels that were edited after the change are kept: in a copy of the layer, or in the
        layer itself if the change has added it. A message names the layer.

        Raises
        ------
        ValueError
            If there is no change to undo.
        """
        change = self._last
        if change is None:
            raise ValueError("there is no result to undo: run the clustering first.")
        edited = change.edited
        self._replace(None)
        layers = self._viewer.layers
        # Remove before the others change: when a layer is removed, napari 0.9 can lose new
        # textures of other layers that it has not drawn yet, and then cannot draw these layers.
        for layer in change.added:
            if layer in edited:
                show_info(f"The labels edited by hand are kept in the layer “{layer.name}”.")
            else:
                layers.remove(layer)
        for state, restore in change.states:
            if state.layer in edited:
                copy = copy_of_edited(state.layer)
                layers.insert(layers.index(state.layer), copy)
                show_info(f"The labels edited by hand are kept in the layer “{copy.name}”.")
            state.restore()
            restore()
        return change

    def _keep(self, change: Change, goes_on: bool) -> None:
        if not change.layers:
            return
        last = self._last
        if goes_on and last is not None and last.contains(change):
            last.added += change.added
            change = last
        self._replace(change)
        change.watch()

    def _replace(self, change: Change | None) -> None:
        if self._last is not None and self._last is not change:
            self._last.stop_watching()
        self._last = change if change is not None and change.layers else None
        self._changed()


@dataclass(eq=False)
class Change:
    """The layers that a result has updated, with their earlier states, and has added."""

    shown: Result | None
    """The result that the panels showed before."""
    kind: str
    states: list[tuple[LayerState, Callable[[], None]]] = field(default_factory=list)
    added: list[Layer] = field(default_factory=list)
    watches: list[EditWatch] = field(default_factory=list)

    @property
    def layers(self) -> list[Layer]:
        """The layers that were updated or added."""
        return [*(state.layer for state, _ in self.states), *self.added]

    @property
    def edited(self) -> list[Layer]:
        """The layers that the user has edited since."""
        return [watch.layer for watch in self.watches if watch.is_edited]

    def contains(self, other: Change) -> bool:
        """Return whether another change has updated layers of this one only."""
        return all(state.layer in self.layers for state, _ in other.states)

    def watch(self) -> None:
        """Notice the edits of the user from now on."""
        self.stop_watching()
        self.watches = [EditWatch(layer) for layer in self.layers if isinstance(layer, Labels)]

    def stop_watching(self) -> None:
        """Stop noticing edits."""
        for watch in self.watches:
            watch.disconnect()
        self.watches = []

    def keep_only(self, layers: list[Layer]) -> None:
        """Forget all other layers."""
        self.states = [each for each in self.states if each[0].layer in layers]
        self.added = [layer for layer in self.added if layer in layers]
        if self.shown is not None and self.shown.layer not in layers:
            self.shown = None
        gone = [watch for watch in self.watches if watch.layer not in layers]
        for watch in gone:
            watch.disconnect()
            self.watches.remove(watch)
