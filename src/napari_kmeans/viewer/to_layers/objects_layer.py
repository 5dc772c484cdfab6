"""Build the Labels layer of the panel *Objects*."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels

from napari_kmeans._version import __version__
from napari_kmeans.viewer.provenance import METADATA_KEY, sign
from napari_kmeans.viewer.to_layers.label_table import watch_edits

if TYPE_CHECKING:
    from napari_kmeans.objects import Objects
    from napari_kmeans.viewer.from_layers.source import Source


def objects_layer(objects: Objects, source: Source, spatial: dict[str, Any]) -> Labels:
    """Build the Labels layer of connected objects.

    Parameters
    ----------
    objects : Objects
        Their table becomes the features of the layer.
    source : Source
        The image that was clustered.
    spatial : dict
        Scale, translation and further arguments that place the layer in the world.
    """
    provenance = {
        "kind": "objects",
        "version": __version__,
        "source": source.name,
        "source_id": source.unique_id,
    }
    layer = Labels(
        objects.labels,
        name=f"{source.name} objects",
        features=objects.table,
        metadata={METADATA_KEY: provenance},
        **spatial,
    )
    watch_edits(layer)
    return sign(layer)
