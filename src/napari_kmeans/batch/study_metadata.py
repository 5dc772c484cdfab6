"""Columns of the tables from the names of the files and from a CSV file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_kmeans.batch.image_job import ImageJob
    from napari_kmeans.batch.study import Study


def find_metadata(
    study: Study, jobs: Sequence[ImageJob], stems: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the metadata of each image, by column.

    Raises
    ------
    StudyError
        If the pattern or the CSV file cannot be used.
    """
    found: list[dict[str, Any]] = [{} for _ in jobs]
    return found
