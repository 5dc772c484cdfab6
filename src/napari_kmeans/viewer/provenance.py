"""What the metadata of a result layer contain, and which layer they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from napari.layers import Layer

AnyLayer = TypeVar("AnyLayer", bound="Layer")


METADATA_KEY = "napari-kmeans"


def sign(layer: AnyLayer) -> AnyLayer:
    """Record in the provenance of a layer which layer it belongs to.

    napari copies the metadata when a layer is duplicated, but gives the copy
    another `unique_id`.
    """
    provenance = {**layer.metadata[METADATA_KEY], "layer_id": str(layer.unique_id)}
    layer.metadata[METADATA_KEY] = provenance
    return layer


def is_copy(layer: Layer) -> bool:
    """Return whether a layer is the user's duplicate of a result.

    Layers made before the record was introduced count as originals.
    """
    recorded = layer.metadata.get(METADATA_KEY, {}).get("layer_id")
    return recorded is not None and recorded != str(layer.unique_id)
