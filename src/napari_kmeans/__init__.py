"""K-means colour clustering for napari: exact, or on a coreset.

The public names are imported on first use, so that importing the package costs
next to nothing and pulls in neither Qt nor napari.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_kmeans.clustering.estimator import CoresetKMeans
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.segmentation import Segmentation, segment, summarize
    from napari_kmeans.slices import segment_slices
    from napari_kmeans.viewer.layers import segment_layer

__version__ = "0.1.0"
__all__ = [
    "CoresetKMeans",
    "KMeansModel",
    "Segmentation",
    "segment",
    "segment_layer",
    "segment_slices",
    "summarize",
]

_MODULES = {
    "CoresetKMeans": "napari_kmeans.clustering.estimator",
    "KMeansModel": "napari_kmeans.model",
    "Segmentation": "napari_kmeans.segmentation",
    "segment": "napari_kmeans.segmentation",
    "segment_layer": "napari_kmeans.viewer.layers",
    "segment_slices": "napari_kmeans.slices",
    "summarize": "napari_kmeans.segmentation",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
