"""Build the layers of a comparison of several numbers of clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_kmeans.viewer.provenance import METADATA_KEY
from napari_kmeans.viewer.to_layers.layers import labels_layer, recolored_layers

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_kmeans.viewer.background.task import AnySegmentation
    from napari_kmeans.viewer.from_layers.source import Source


def compared_layers(outcome: AnySegmentation, source: Source, n_clusters: int) -> list[Layer]:
    """Return the recolored image; of several channels the labels, which are their mixed colors."""
    layers: list[Layer] = recolored_layers(outcome, source)
    if source.channels:
        layers = [labels_layer(outcome, source)]
    for layer in layers:
        layer.name = f"{source.name} K={n_clusters}"
        layer.opacity = 1
        # A later run shall not take it for its own.
        layer.metadata[METADATA_KEY]["kind"] = "compared"
    return layers
