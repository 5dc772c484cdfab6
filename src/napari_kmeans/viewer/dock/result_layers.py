"""The layers of results: make them, and add them to the viewer or update earlier layers."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

from napari.layers import Image, Labels
from napari.utils.notifications import show_info

from napari_kmeans.segmentation import Segmentation
from napari_kmeans.viewer.dock.known_results import KNOWN_RESULTS
from napari_kmeans.viewer.provenance import recorded_scheme, result_key
from napari_kmeans.viewer.to_layers.hand_edits import count_now
from napari_kmeans.viewer.to_layers.layer_classes import (
    LayerHistory,
    carry_edits,
    describe_dropped_edits,
    edited_before,
)
from napari_kmeans.viewer.to_layers.layers import labels_layer, recolored_layers
from napari_kmeans.viewer.to_layers.soft_layer import is_soft
from napari_kmeans.viewer.to_layers.update import (
    copy_of_edited,
    find_counterpart,
    find_labels,
    find_result,
    loses_edits,
    update_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import napari
    from napari.layers import Layer

    from napari_kmeans.model import KMeansModel
    from napari_kmeans.viewer.background.task import AnySegmentation, Task
    from napari_kmeans.viewer.dock.result_undo import ResultUndo
    from napari_kmeans.viewer.from_layers.source import Source

    Builder: TypeAlias = Callable[..., Layer | list[Layer]]
    """A function that makes layers of the outcome of a run and its source. Those of labels and
    points also take the color scheme."""


def builders_like(layers: Sequence[Layer]) -> tuple[Builder, ...]:
    """Return the builders of the recolored image and of the labels, if `layers` contain them."""
    kinds = {type(layer) for layer in layers}
    builders = ((Image, recolored_layers), (Labels, labels_layer))
    return tuple(build for kind, build in builders if kind in kinds)


class ResultLayers:
    """Shows the layers of results in a viewer, and leaves the selection unchanged.

    Parameters
    ----------
    viewer : napari.Viewer
    follow_selection : callable
        The slot of the dock for changes of the active layer. It is blocked while layers are
        added, because the dock would take a recolored image as the image to cluster.
    color_schemes : dict of bool to str
        The color scheme that the user chose last for labels of RGB images, and of others.
    undo : ResultUndo
        Records the layers that are updated and added.
    """

    def __init__(
        self,
        viewer: napari.Viewer,
        follow_selection: Callable[..., None],
        color_schemes: dict[bool, str],
        undo: ResultUndo,
    ) -> None:
        self._viewer, self._follow_selection, self._undo = viewer, follow_selection, undo
        self._color_schemes = color_schemes
        self._history: WeakKeyDictionary[Layer, LayerHistory] = WeakKeyDictionary()
        self._edited: KMeansModel | None = None

    def build(
        self,
        builders: Sequence[Builder],
        outcome: AnySegmentation,
        source: Source,
        *,
        update: bool = False,
        labels: Labels | None = None,
    ) -> list[Layer]:
        """Return the layers that the builders make, in order.

        Labels that will replace earlier labels have the color scheme of these: of `labels`, or
        if `update` is True of the labels that a run on the source updates. The recolored
        image below labels is hidden: it would show the same colors where a cluster is hidden.
        """
        earlier = find_labels(self._viewer.layers, source) if update else labels
        scheme = self._color_schemes.get(source.rgb)
        if earlier is not None:
            scheme = recorded_scheme(earlier)
        layers: list[Layer] = []
        for build in builders:
            if build is recolored_layers:
                layers += recolored_layers(outcome, source, visible=labels_layer not in builders)
            else:
                layers.append(build(outcome, source, scheme))
        return layers

    def show(self, layers: Sequence[Layer], *, update: bool) -> tuple[Layer, ...]:
        """Show layers of a result; see `KMeansWidget.show_layers`."""
        with self.selection_kept():
            return tuple(self._show_layer(layer, update) for layer in layers)

    def update(self, shown: Sequence[Layer], layers: Iterable[Layer]) -> tuple[Layer, ...]:
        """Give the layers of a result the pixels of another outcome of it; return these layers.

        Duplicates stay duplicates. A layer that has no counterpart is not added.
        """
        with self.selection_kept():
            pairs = [(find_counterpart(shown, layer), layer) for layer in layers]
            for earlier, layer in pairs:
                if earlier is not None:
                    self._record(earlier, layer)
                    update_layer(earlier, layer, keeps_identity=True)
        return tuple(earlier for earlier, _ in pairs if earlier is not None)

    def edited_before(self, source: Source) -> KMeansModel | None:
        """Return the model of the labels that a new result will replace, if it was edited."""
        earlier = find_labels(self._viewer.layers, source)
        if earlier is None:
            return None
        try:
            return edited_before(earlier, self._history.get(earlier))
        except ValueError:
            # `carry_edits` tells the user that the edits are not carried.
            return None

    def carry_edits(self, outcome: AnySegmentation, task: Task) -> tuple[AnySegmentation, str]:
        """Return a new result with the names, colors and merges of the labels it will replace.

        The second value is a sentence about the clusters that have got them. A message names the
        edits that the new result cannot have.
        """
        earlier = find_labels(self._viewer.layers, task.source)
        self._edited, carried = None, ""
        if earlier is None:
            # The user may have removed the labels during the run.
            self._edited = task.edited
            return outcome, ""
        if not isinstance(outcome, Segmentation):
            message = describe_dropped_edits(earlier)
        else:
            outcome, self._edited, message, carried = carry_edits(
                outcome, task, earlier, self._history.get(earlier)
            )
        if message:
            show_info(message)
        return outcome, carried

    def hide_soft_images(self, source: Source) -> None:
        """Hide the images of confidence and memberships of a source: they cover its labels."""
        for layer in self._viewer.layers:
            if is_soft(layer) and result_key(layer)[1] == source.unique_id and layer.visible:
                self._undo.before_update(layer, layer, partial(setattr, layer, "visible", True))
                layer.visible = False

    def remember_start(self, labels: Labels | None, outcome: AnySegmentation) -> None:
        """Remember the classes of a Labels layer directly after a run, before any edit."""
        if labels is not None and isinstance(outcome, Segmentation):
            self._history[labels] = LayerHistory(outcome.model.classes, self._edited)
        self._edited = None

    @contextmanager
    def selection_kept(self) -> Iterator[None]:
        """Restore the selection and the active layer afterwards."""
        selection = self._viewer.layers.selection
        selected, active = set(selection), selection.active
        with selection.events.active.blocker(self._follow_selection):
            yield
            # Undo removes the layers that a run has added.
            present = {layer for layer in selected if layer in self._viewer.layers}
            selection.intersection_update(present)
            selection.update(present)
            selection.active = active if active in present else None

    def _show_layer(self, layer: Layer, update: bool) -> Layer:
        earlier = find_result(self._viewer.layers, layer) if update else None
        if earlier is None:
            self._undo.added(layer)
            # A layer that is hidden before it is added has a black thumbnail.
            visible, layer.visible = layer.visible, True
            self._viewer.add_layer(layer).visible = visible
            return layer
        if isinstance(earlier, Labels) and loses_edits(earlier, layer):
            count_now(earlier)
            copy = copy_of_edited(earlier)
            self._undo.added(copy)
            self._viewer.layers.insert(self._viewer.layers.index(earlier), copy)
            show_info(f"The labels edited by hand are kept in the layer “{copy.name}”.")
        self._record(earlier, layer)
        update_layer(earlier, layer)
        return earlier

    def _record(self, earlier: Layer, layer: Layer) -> None:
        """Record the state of a layer, its result and its history before an update."""
        known, history = KNOWN_RESULTS.find(earlier), self._history.get(earlier)

        def restore() -> None:
            KNOWN_RESULTS.forget(earlier)
            if known is not None:
                KNOWN_RESULTS.store(known)
            self._history.pop(earlier, None)
            if history is not None:
                self._history[earlier] = history

        self._undo.before_update(earlier, layer, restore)
