"""The layers of results: make them, and add them to the viewer or update earlier layers."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from napari.layers import Image, Labels
from napari.utils.notifications import show_info

from napari_kmeans.segmentation import Segmentation
from napari_kmeans.viewer.provenance import is_edited_by_hand
from napari_kmeans.viewer.to_layers.hand_edits import count_now
from napari_kmeans.viewer.to_layers.layer_classes import (
    LayerHistory,
    carry_edits,
    describe_dropped_edits,
)
from napari_kmeans.viewer.to_layers.layers import labels_layer, recolored_layers
from napari_kmeans.viewer.to_layers.update import (
    copy_of_edited,
    find_labels,
    find_result,
    update_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import napari
    from napari.layers import Layer

    from napari_kmeans.model import KMeansModel
    from napari_kmeans.viewer.background.task import AnySegmentation
    from napari_kmeans.viewer.from_layers.source import Source

    Builder: TypeAlias = Callable[[Any, Source], Layer | list[Layer]]
    """A function that makes layers of the outcome of a run and its source."""


def builders_like(layers: Sequence[Layer]) -> tuple[Builder, ...]:
    """Return the builders of the recolored image and of the labels, if `layers` contain them."""
    kinds = {type(layer) for layer in layers}
    builders = ((Image, recolored_layers), (Labels, labels_layer))
    return tuple(build for kind, build in builders if kind in kinds)


def build_layers(
    builders: Sequence[Builder], outcome: AnySegmentation, source: Source
) -> list[Layer]:
    """Return the layers that the builders make, in order."""
    layers: list[Layer] = []
    for build in builders:
        built = build(outcome, source)
        layers += built if isinstance(built, list) else [built]
    return layers


class ResultLayers:
    """Shows the layers of results in a viewer, and leaves the selection unchanged.

    Parameters
    ----------
    viewer : napari.Viewer
    follow_selection : callable
        The slot of the dock for changes of the active layer. It is blocked while layers are
        added, because the dock would take a recolored image as the image to cluster.
    """

    def __init__(self, viewer: napari.Viewer, follow_selection: Callable[..., None]) -> None:
        self._viewer, self._follow_selection = viewer, follow_selection
        self._history: WeakKeyDictionary[Layer, LayerHistory] = WeakKeyDictionary()
        self._edited: KMeansModel | None = None

    def show(self, layers: Sequence[Layer], *, update: bool) -> tuple[Layer, ...]:
        """Show layers of a result; see `KMeansWidget.show_layers`."""
        with self.selection_kept():
            return tuple(self._show_layer(layer, update) for layer in layers)

    def carry_edits(self, outcome: AnySegmentation, source: Source) -> AnySegmentation:
        """Return a new result with the names, colors and merges of the labels it will replace.

        A message names the edits that the new result cannot have.
        """
        earlier = find_labels(self._viewer.layers, source)
        self._edited = None
        if earlier is None:
            return outcome
        if not isinstance(outcome, Segmentation):
            message = describe_dropped_edits(earlier)
        else:
            outcome, self._edited, message = carry_edits(
                outcome, earlier, self._history.get(earlier)
            )
        if message:
            show_info(message)
        return outcome

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
            selection.intersection_update(selected)
            selection.update(selected)
            selection.active = active

    def _show_layer(self, layer: Layer, update: bool) -> Layer:
        earlier = find_result(self._viewer.layers, layer) if update else None
        if earlier is None:
            return self._viewer.add_layer(layer)
        if isinstance(earlier, Labels) and is_edited_by_hand(earlier):
            count_now(earlier)
            copy = copy_of_edited(earlier)
            self._viewer.layers.insert(self._viewer.layers.index(earlier), copy)
            show_info(f"The labels edited by hand are kept in the layer “{copy.name}”.")
        update_layer(earlier, layer)
        return earlier
