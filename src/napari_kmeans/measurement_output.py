"""Pivot tables of measurements, and write them to files."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from napari_kmeans.checks import check_path, quote_value
from napari_kmeans.files.atomic import write_whole
from napari_kmeans.measurement_table import ALL, CLASS, COLOR, IMAGE, REGION
from napari_kmeans.measuring import COUNT_COLUMNS, IGNORED, NAME, percentages, write_csv

if TYPE_CHECKING:
    import os

    import pandas as pd


def pivot_measurements(table: pd.DataFrame, column: str = "percent") -> pd.DataFrame:
    """Return one row for each image and region, with a column for each class.

    Parameters
    ----------
    table : pandas.DataFrame
        The result of `measure`, perhaps with the columns of `join_metadata`.
    column : str, default "percent"
        The column whose values are returned, such as "area" or "mean red".

    Returns
    -------
    pandas.DataFrame
        The columns before `class`, such as `image`, `region`, `slice` and metadata, followed by
        a column for each class: its name, or its number if it has no name or shares its name
        with another class. NaN where an image does not have the class.

    Raises
    ------
    TypeError, ValueError
        If `table` is no table of measurements, or has no such column.
    """
    places = check_measurements(table)
    if not isinstance(column, str) or column not in table or list(table).index(column) <= places:
        raise ValueError(
            f"column must be a column of values of the table, got {quote_value(column)}: choose "
            f"one of {quote_value(list(table)[places + 1 :])}."
        )
    table, keys = table.reset_index(drop=True), [str(name) for name in list(table)[:places]]
    # Keys may be missing, as the metadata of an image without a row has: number the groups.
    numbers = table.groupby(keys, dropna=False, sort=False).ngroup()
    repeated = table[[*keys, CLASS]].duplicated()
    if repeated.any():
        raise ValueError(
            "table must have one row for each image, region and class, got two of "
            f"{quote_value(table[[*keys, CLASS]][repeated].iloc[0].tolist())}: give images "
            "different names."
        )
    headings = _class_headings(table, numbers, keys)
    rows = table[keys].loc[~numbers.duplicated()].reset_index(drop=True)
    order = table[CLASS].groupby(headings).min().reset_index().sort_values([CLASS, "heading"])
    for heading in order["heading"]:
        own = headings == heading
        rows[heading] = table[column][own].set_axis(numbers[own]).reindex(range(len(rows)))
    return rows


def sum_regions(table: pd.DataFrame) -> pd.DataFrame:
    """Return the pixels and the share of each class in each image, over its regions and slices.

    Parameters
    ----------
    table : pandas.DataFrame
        A table of measurements.

    Returns
    -------
    pandas.DataFrame
        A row for each image and class, with the columns before `region`. A pixel in two regions
        counts twice. The shares are NaN in an image without counted pixels.
    """
    columns = list(table)
    keys = columns[: columns.index(REGION)]
    classes, pixels = [CLASS, NAME, COLOR, IGNORED], COUNT_COLUMNS[1]
    # Metadata may be missing.
    sums = table.groupby([*keys, *classes], sort=False, dropna=False)[pixels].sum()
    rows = sums.reset_index()
    for _, own in rows.groupby(IMAGE, sort=False):
        counts, ignored = own[pixels].to_numpy(), own[IGNORED].to_numpy(bool)
        is_known = counts[~ignored].any()
        rows.loc[own.index, "percent"] = percentages(counts, ignored) if is_known else math.nan
    rows.insert(len(keys), REGION, ALL)
    return rows


def check_measurements(table: Any) -> int:
    """Return the place of the column `class`, before which are the columns of keys.

    Raises
    ------
    TypeError
        If the value is no table of measurements.
    """
    columns = list(getattr(table, "columns", ()))
    if not {IMAGE, REGION, CLASS, NAME} <= set(columns):
        raise TypeError(
            f"table must be a table of measurements, got {quote_value(table)}: pass the result of "
            "measure."
        )
    return columns.index(CLASS)


def _class_headings(table: pd.DataFrame, numbers: pd.Series, keys: list[str]) -> pd.Series:
    """Return the heading of the class of each row: its name, or its number."""
    names, labels = table[NAME].fillna("").astype(str), table[CLASS].astype(str)
    headings = names.where(names != "", labels).rename("heading")
    # A heading that two classes of an image have, or a column, also has the number.
    in_image = numbers.to_frame("number").assign(heading=headings).duplicated()
    repeated = set(headings[in_image]) | set(keys)
    return headings.where(~headings.isin(repeated), headings + " (" + labels + ")")


def write_measurements(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table of measurements to a file, completely or not at all.

    Parameters
    ----------
    table : pandas.DataFrame
        The result of `measure`, `pivot_measurements` or `join_metadata`.
    path : str or path
        A path that ends in ``.parquet`` is written as Parquet, which needs pyarrow and keeps all
        digits. All other files are CSV in UTF-8, with 8 significant digits of each number.

    Raises
    ------
    TypeError, ValueError
        If `table` is no table, or if pyarrow is not installed.
    OSError
        If the file cannot be written.
    """
    if not hasattr(table, "to_csv"):
        raise TypeError(
            f"table must be a table, got {quote_value(table)}: pass the result of measure."
        )
    target = check_path("path", path)
    if target.suffix.lower() != ".parquet":
        write_whole({target: lambda temporary: write_csv(table, temporary)})
        return
    if find_spec("pyarrow") is None:
        raise ValueError(
            f"path must end in .csv if pyarrow is not installed, got {quote_value(str(path))}: "
            "install pyarrow, or write a CSV file."
        )
    write_whole({target: lambda temporary: table.to_parquet(temporary, engine="pyarrow")})
