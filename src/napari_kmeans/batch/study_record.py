"""The record of a study from its images and their results."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.image_record import (
    describe_failed,
    describe_not_done,
    describe_source,
)
from napari_kmeans.batch.run_record import (
    FORMAT,
    FORMAT_VERSION,
    describe_versions,
    relative_path,
)
from napari_kmeans.options import CLEANING_OPTIONS, OPTIONS, SPACE_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_kmeans.batch.image_step import ImageResult
    from napari_kmeans.batch.study import Study
    from napari_kmeans.batch.study_images import StudyImage
    from napari_kmeans.model import KMeansModel


def describe_study(
    study: Study, directory: Path, model: KMeansModel | None, *, has_tables: bool = True
) -> dict[str, Any]:
    """Return the entries of a record that are known before the first image is done.

    `has_tables` is False for a run without the tables of a study.
    """
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "versions": describe_versions(),
        "platform": platform.platform(),
        "has_tables": has_tables,
        "study": study.to_dict(),
        "folder": [str(study.folder), relative_path(study.folder, directory)],
        "options": study.options.to_dict(),
        "model": None if model is None else model.to_dict(),
    }
    options = known_options(record)
    not_used = [name for name in OPTIONS if name not in options]
    return {**record, "options": options, "options_not_used": not_used}


def known_options(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were used in a run, as far as they are known.

    Of a model that was given, they are its own, and those of its fit if it has them.
    """
    model = record.get("model") or {}
    if (record.get("study") or {}).get("model"):
        names = (*SPACE_OPTIONS, *CLEANING_OPTIONS, "normalize")
        own = {name: model[name] for name in names if name in model}
        fitted = (model.get("fit") or {}).get("options") or {
            "n_clusters": len(model["cluster_centers"])
        }
        values = {**fitted, **own}
    else:
        values = dict(record.get("options") or {})
    return {name: values[name] for name in OPTIONS if name in values}


def describe_images(
    images: Sequence[StudyImage], results: Sequence[ImageResult]
) -> list[dict[str, Any]]:
    """Return the entry of each image in a record."""
    found = {each.image.stem: each for each in results}
    return [_describe_image(image, found.get(image.stem)) for image in images]


def _describe_image(image: StudyImage, result: ImageResult | None) -> dict[str, Any]:
    """Return the entry of an image in the record."""
    if result is not None and result.part is not None:
        return result.part.entry
    source = describe_source(image.job, image.stem, image.group, image.metadata)
    if result is None:
        return {**source, **describe_not_done()}
    return {**source, **describe_failed(result.failure, result.sentences)}
