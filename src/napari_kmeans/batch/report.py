"""Write the report of a study of many images: one HTML file that opens without a network."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.report_contents import collect_contents
from napari_kmeans.batch.shares import PIXELS
from napari_kmeans.checks import check_path, quote_value
from napari_kmeans.files.atomic import write_whole
from napari_kmeans.measurement_table import CLASS, IMAGE

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

_FILES = resources.files("napari_kmeans.batch")


def write_report(
    path: str | os.PathLike[str],
    record: Mapping[str, Any],
    table: pd.DataFrame,
    thumbnails: Mapping[str, tuple[Any, Any]],
) -> None:
    """Write the report of a study to an HTML file, whole or not at all.

    The file contains its pictures, charts, style and script, and loads nothing. It can be
    read without JavaScript, which adds pages, a filter and sorting. All names are escaped.

    Parameters
    ----------
    path : path
        The file to write.
    record : mapping
        The record of the run, as it is in ``napari-kmeans-run.json``.
    table : pandas.DataFrame
        The table of measurements: one row per image, region, slice and class, with the columns
        `image`, `class` and `pixels`, and `name`, `color` and `ignored` if they are known.
        Shares are computed from the pixels of all regions of an image together.
    thumbnails : mapping of str to pair of path or None
        For the name of an image, the picture of the original and that of its classes.

    Raises
    ------
    TypeError, ValueError
        If the path is no path, if the record is not that of a run, or if the table lacks a
        column.
    OSError
        If the file cannot be written.
    """
    path = check_path("path", path)
    _check_inputs(record, table)
    contents = collect_contents(record, table, thumbnails)
    write_whole({path: lambda temporary: _render(temporary, contents)})


def _check_inputs(record: Mapping[str, Any], table: pd.DataFrame) -> None:
    if record.get("format") != "napari-kmeans run":
        raise ValueError(
            f"record must be that of a run of napari-kmeans, got format "
            f"{quote_value(record.get('format'))}: "
            "read it from napari-kmeans-run.json."
        )
    missing = [name for name in (IMAGE, CLASS, PIXELS) if name not in table]
    # A study in which all images failed has no measurements, and perhaps no columns.
    if missing and len(table):
        raise ValueError(
            f"table must have the columns image, class and pixels, got none named "
            f"{', '.join(missing)}: pass the table of measurements of the study."
        )


def _render(path: Path, contents: Mapping[str, Any]) -> None:
    """Write the file piece by piece, so that its text is not in memory twice."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.lstrip_blocks = True
    template = environment.from_string(_read("report.html.jinja"))
    # Names of files that are no valid text have single surrogates, which cannot be encoded.
    with path.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        file.writelines(template.generate({**contents, **_read_assets()}))


def _read_assets() -> dict[str, Any]:
    """Return the style and the script, which the template does not escape."""
    from markupsafe import Markup

    script = _read("report.js")
    # The browser runs this script only: no script that a name might bring along.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return {
        "style": Markup(_read("report.css")),
        "script": Markup(script),
        "script_hash": f"sha256-{digest}",
    }


def _read(name: str) -> str:
    return (_FILES / name).read_text("utf-8")
