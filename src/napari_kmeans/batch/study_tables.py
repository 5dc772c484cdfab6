"""The tables, the record and the report of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.run_record import RECORD_FILE, encode_run_record
from napari_kmeans.files.atomic import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from napari_kmeans.batch.parts import PartStore
    from napari_kmeans.batch.study import Study
    from napari_kmeans.batch.study_images import StudyImage

MEASUREMENTS = "napari-kmeans-measurements.csv"
SHARES = "napari-kmeans-shares.csv"
REPORT = "napari-kmeans-report.html"
METHODS = "napari-kmeans-methods.md"
"""The files of a study, beside its record and its model."""


def combine_tables(parts: Sequence[tuple[StudyImage, Mapping[str, list[Any]]]]) -> pd.DataFrame:
    """Return the rows of all images, with the columns of groups and metadata after the image."""
    import pandas as pd

    tables = []
    for image, columns in parts:
        table = pd.DataFrame(columns)
        further = {**({} if image.group is None else {"group": image.group}), **image.metadata}
        for place, (name, value) in enumerate(further.items(), start=1):
            table.insert(min(place, table.shape[1]), name, value, allow_duplicates=False)
        tables.append(table)
    if not tables:
        return pd.DataFrame({"image": []})
    # Columns that not all images have, such as a group, stay at the place of the first.
    return pd.concat(tables, ignore_index=True)


def write_study_files(
    study: Study, directory: Path, store: PartStore, record: dict[str, Any], table: pd.DataFrame
) -> list[Path]:
    """Write the tables, the record, the methods and the report, all or none of them."""
    from napari_kmeans.measuring import write_csv

    text = encode_run_record(record)
    writers: dict[Path, Any] = {
        directory / RECORD_FILE: lambda path: path.write_text(text, "utf-8"),
        directory / MEASUREMENTS: lambda path: write_csv(table, path),
    }
    write_whole(writers)
    return list(writers)
