"""Build the layers that the panel *Compare* shows side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_kmeans.viewer.provenance import set_kind
from napari_kmeans.viewer.to_layers.label_colors import MEAN
from napari_kmeans.viewer.to_layers.layers import labels_layer, recolored_layers

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_kmeans.viewer.background.task import AnySegmentation
    from napari_kmeans.viewer.from_layers.source import Source


def compared_layers(outcome: AnySegmentation, source: Source, n_clusters: int) -> list[Layer]:
    """Build the layer that shows an image in `n_clusters` colors, named after their number.

    The result is a list of one recolored image. For several channels it is a
    Labels layer, because their recolored image would be one layer per channel;
    the labels show the mixed colors in one layer.
    """
    layers: list[Layer] = recolored_layers(outcome, source)
    if source.channels:
        layers = [labels_layer(outcome, source, MEAN)]
    for layer in layers:
        layer.name = f"{source.name} K={n_clusters}"
        layer.opacity = 1
        # Keep a later run from updating this layer in place as an earlier result.
        set_kind(layer, "compared")
    return layers
