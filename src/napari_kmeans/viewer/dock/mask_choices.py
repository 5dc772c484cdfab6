"""The choices of the mask: layers, and the classes of Labels layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from napari.layers import Labels, Shapes

from napari_kmeans.imaging.colors import to_hex
from napari_kmeans.measuring import NAME
from napari_kmeans.viewer.provenance import kind_of
from napari_kmeans.viewer.to_layers.highlight import without_highlight
from napari_kmeans.viewer.to_layers.label_colors import color_of_label
from napari_kmeans.viewer.widgets.class_picker import ClassRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Layer


class ClassesOf:
    """The choice of single classes of a Labels layer as the mask.

    The layer is held by a weak reference, so that stored settings do not keep it alive.
    """

    def __init__(self, layer: Labels) -> None:
        self._layer = ref(layer)

    @property
    def layer(self) -> Labels | None:
        """The Labels layer; None if it no longer exists."""
        return self._layer()

    def __eq__(self, other: object) -> bool:
        """Return whether the other choice is that of the same layer."""
        return isinstance(other, ClassesOf) and self._layer == other._layer

    def __hash__(self) -> int:
        """Return the hash of the layer."""
        return hash(self._layer)


def mask_choices(layers: Iterable[Layer]) -> list[tuple[str, Any]]:
    """Return the choices of the mask: pairs of a name and a layer or its classes."""
    choices: list[tuple[str, Any]] = []
    for layer in layers:
        if isinstance(layer, Labels | Shapes):
            choices.append((layer.name, layer))
        if isinstance(layer, Labels) and has_classes(layer):
            choices.append((f"classes of {layer.name}…", ClassesOf(layer)))
    return choices


def has_classes(layer: Labels) -> bool:
    """Return whether the table of a layer lists its labels as classes, not as objects."""
    features = layer.features
    return "index" in features and len(features) > 0 and kind_of(layer) != "objects"


def class_rows(layer: Labels) -> list[ClassRow]:
    """Return the label, the name and the color of each class in the table of a layer."""
    features, colormap = layer.features, without_highlight(layer.colormap)
    labels = [int(label) for label in features["index"]]
    names = list(features[NAME].fillna("")) if NAME in features else [""] * len(labels)
    colors = to_hex(np.array([color_of_label(colormap, label)[:3] for label in labels]))
    return [ClassRow(*row) for row in zip(labels, names, colors, strict=True)]
