"""The tables, the record and the report of a study."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.parts import write_text
from napari_kmeans.batch.result_files import SHARED_MODEL
from napari_kmeans.batch.run_record import RECORD_FILE, encode_run_record
from napari_kmeans.files.atomic import replacing

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from napari_kmeans.batch.parts import PartStore
    from napari_kmeans.batch.study import Study

MEASUREMENTS = "napari-kmeans-measurements.csv"
SHARES = "napari-kmeans-shares.csv"
REGION_SHARES = "napari-kmeans-region-shares.csv"
REPORT = "napari-kmeans-report.html"
METHODS = "napari-kmeans-methods.md"
"""The files of a study, beside its record and its model."""


def study_files(directory: Path) -> list[Path]:
    """Return all paths at which a study can write a file, besides those of its images."""
    tables = [directory / name for name in (MEASUREMENTS, SHARES, REGION_SHARES)]
    others = [directory / name for name in (RECORD_FILE, METHODS, REPORT, SHARED_MODEL)]
    return [*tables, *(path.with_suffix(".parquet") for path in tables), *others]


def share_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return the share of each class in each image, over all its regions and slices.

    Parameters
    ----------
    table : pandas.DataFrame
        The table of measurements of a study.

    Returns
    -------
    pandas.DataFrame
        A row for each image, with the columns before `region`, and a column for each class.
    """
    from napari_kmeans.measurement_output import pivot_measurements, sum_regions

    return pivot_measurements(sum_regions(table)).drop(columns="region")


def write_study_files(
    study: Study, directory: Path, store: PartStore, record: dict[str, Any], table: pd.DataFrame
) -> list[Path]:
    """Write the tables, the record, the methods and the report, all or none of them."""
    from napari_kmeans.batch.methods import describe_methods
    from napari_kmeans.batch.report import write_report
    from napari_kmeans.measurement_output import pivot_measurements, write_measurements

    texts = {
        RECORD_FILE: encode_run_record(record),
        METHODS: f"{describe_methods(record, table)}\n",
    }
    writers: dict[Path, Any] = {
        directory / name: partial(write_text, text) for name, text in texts.items()
    }
    if len(table):
        suffixes = (".csv", ".parquet") if "parquet" in study.outputs else (".csv",)
        tables = {MEASUREMENTS: table, SHARES: share_table(table)}
        if table["region"].nunique() > 1 or study.regions or study.grid or study.slices:
            tables[REGION_SHARES] = pivot_measurements(table)
        for name, each in tables.items():
            for suffix in suffixes:
                path = (directory / name).with_suffix(suffix)
                writers[path] = partial(write_measurements, each)
    if "report" in study.outputs and len(table):
        done = [entry["name"] for entry in record["images"] if entry["status"] == "done"]
        thumbnails = {name: store.thumbnails(name) for name in done}
        writers[directory / REPORT] = partial(
            write_report, record=record, table=table, thumbnails=thumbnails
        )
    model = [] if record["model"] is None else [directory / SHARED_MODEL]
    # Files of an earlier run with other outputs would not be about these images.
    old = [path for path in study_files(directory) if path not in (*writers, *model)]
    with replacing(list(writers), [path for path in old if path.is_file()]) as temporary:
        for path, write in writers.items():
            write(temporary[path])
    return list(writers)
