"""Build the Labels layer of the panel *Objects*."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels

from napari_kmeans.viewer.provenance import sign, source_metadata
from napari_kmeans.viewer.to_layers.hand_edits import watch_edits

if TYPE_CHECKING:
    from napari_kmeans.objects import Objects


def objects_layer(
    objects: Objects, *, name: str, source_id: str, spatial: dict[str, Any]
) -> Labels:
    """Build the Labels layer of connected objects.

    Parameters
    ----------
    objects : Objects
        Their table becomes the features of the layer.
    name, source_id : str
        The name of the image that was clustered, and its `unique_id`.
    spatial : dict
        Scale, translation and further arguments that place the layer in the world.
    """
    layer = Labels(
        objects.labels,
        name=f"{name} objects",
        features=objects.table,
        metadata=source_metadata("objects", name, source_id),
        **spatial,
    )
    watch_edits(layer)
    return sign(layer)
