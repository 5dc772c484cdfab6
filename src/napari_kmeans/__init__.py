"""Cluster the colors of images by K-means: on all pixels, or on a weighted sample (coreset).

The public names are imported on first use. So importing the package is fast and
imports neither Qt nor napari: scripts and the command line need neither.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from napari_kmeans._version import __version__ as __version__

if TYPE_CHECKING:
    from napari_kmeans.batch.running import run_study
    from napari_kmeans.batch.study import Study, StudyError
    from napari_kmeans.batch.study_result import StudyResult
    from napari_kmeans.class_masks import write_masks
    from napari_kmeans.classes import ClassScheme
    from napari_kmeans.clustering.estimator import CoresetKMeans
    from napari_kmeans.confidence import add_confidence
    from napari_kmeans.figures import (
        plot_colors,
        plot_legend,
        plot_palette,
        plot_scores,
        plot_shares,
    )
    from napari_kmeans.geojson import write_geojson
    from napari_kmeans.measured_regions import grid_regions
    from napari_kmeans.measurement import measure
    from napari_kmeans.measurement_output import pivot_measurements, write_measurements
    from napari_kmeans.measurement_table import Measurements
    from napari_kmeans.merging import apply_classes, merge_clusters, merge_similar
    from napari_kmeans.metadata import add_metadata, join_metadata, parse_metadata
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.objects import split_objects
    from napari_kmeans.scripting import to_python
    from napari_kmeans.segmentation import Segmentation, segment, summarize
    from napari_kmeans.splitting import split_anew
    from napari_kmeans.stability import Stability, measure_stability
    from napari_kmeans.stacks import segment_slices
    from napari_kmeans.suggestion import Suggestion, suggest_n_clusters
    from napari_kmeans.viewer.measure_layer import measure_layer
    from napari_kmeans.viewer.segment_layer import segment_layer

__all__ = [
    "ClassScheme",
    "CoresetKMeans",
    "KMeansModel",
    "Measurements",
    "Segmentation",
    "Stability",
    "Study",
    "StudyError",
    "StudyResult",
    "Suggestion",
    "add_confidence",
    "add_metadata",
    "apply_classes",
    "grid_regions",
    "join_metadata",
    "measure",
    "measure_layer",
    "measure_stability",
    "merge_clusters",
    "merge_similar",
    "parse_metadata",
    "pivot_measurements",
    "plot_colors",
    "plot_legend",
    "plot_palette",
    "plot_scores",
    "plot_shares",
    "run_study",
    "segment",
    "segment_layer",
    "segment_slices",
    "split_anew",
    "split_objects",
    "suggest_n_clusters",
    "summarize",
    "to_python",
    "write_geojson",
    "write_masks",
    "write_measurements",
]
if find_spec("napari") is None:
    # `from napari_kmeans import *` and `help(napari_kmeans)` work without napari. Importing one
    # of these names still states what is missing.
    __all__.remove("measure_layer")
    __all__.remove("segment_layer")

_MODULES = {
    "ClassScheme": "napari_kmeans.classes",
    "CoresetKMeans": "napari_kmeans.clustering.estimator",
    "KMeansModel": "napari_kmeans.model",
    "Measurements": "napari_kmeans.measurement_table",
    "Segmentation": "napari_kmeans.segmentation",
    "Stability": "napari_kmeans.stability",
    "Study": "napari_kmeans.batch.study",
    "StudyError": "napari_kmeans.batch.study",
    "StudyResult": "napari_kmeans.batch.study_result",
    "Suggestion": "napari_kmeans.suggestion",
    "add_confidence": "napari_kmeans.confidence",
    "add_metadata": "napari_kmeans.metadata",
    "apply_classes": "napari_kmeans.merging",
    "grid_regions": "napari_kmeans.measured_regions",
    "join_metadata": "napari_kmeans.metadata",
    "measure": "napari_kmeans.measurement",
    "measure_layer": "napari_kmeans.viewer.measure_layer",
    "measure_stability": "napari_kmeans.stability",
    "merge_clusters": "napari_kmeans.merging",
    "merge_similar": "napari_kmeans.merging",
    "parse_metadata": "napari_kmeans.metadata",
    "pivot_measurements": "napari_kmeans.measurement_output",
    "plot_colors": "napari_kmeans.figures",
    "plot_legend": "napari_kmeans.figures",
    "plot_palette": "napari_kmeans.figures",
    "plot_scores": "napari_kmeans.figures",
    "plot_shares": "napari_kmeans.figures",
    "run_study": "napari_kmeans.batch.running",
    "segment": "napari_kmeans.segmentation",
    "segment_layer": "napari_kmeans.viewer.segment_layer",
    "segment_slices": "napari_kmeans.stacks",
    "split_anew": "napari_kmeans.splitting",
    "split_objects": "napari_kmeans.objects",
    "suggest_n_clusters": "napari_kmeans.suggestion",
    "summarize": "napari_kmeans.segmentation",
    "to_python": "napari_kmeans.scripting",
    "write_measurements": "napari_kmeans.measurement_output",
    "write_geojson": "napari_kmeans.geojson",
    "write_masks": "napari_kmeans.class_masks",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return ["__version__", *__all__]
