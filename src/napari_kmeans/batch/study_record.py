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

if TYPE_CHECKING:
    from collections.abc import Sequence
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
    options = study.options
    if model is not None and study.model is not None:
        options = model.options
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "versions": describe_versions(),
        "platform": platform.platform(),
        "has_tables": has_tables,
        "study": study.to_dict(),
        "folder": [str(study.folder), relative_path(study.folder, directory)],
        "options": options.to_dict(),
        "model": None if model is None else model.to_dict(),
    }


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
