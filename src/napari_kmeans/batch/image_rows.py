"""The rows of the images in the table of measurements, with the columns of each image."""

from __future__ import annotations

import math
from collections import Counter
from itertools import chain
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_kmeans.files.units import size_factor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from napari_kmeans.batch.study_images import StudyImage

FILE, PROBLEM, FAR_SHARE = "file", "problem", "far_share"
"""The columns of the file, the problems and the far pixels of each image.

Each of them is there if an image has a file, a problem or a known share.
"""


class ImageRows(NamedTuple):
    """The rows of an image in the table of measurements.

    Attributes
    ----------
    image : StudyImage
    columns : mapping of str to sequence
        The values in the columns of `measure`; a missing number is None or NaN.
    problems : sequence of str
    far_share : float or None
        See `Review`.
    """

    image: StudyImage
    columns: Mapping[str, Any]
    problems: Sequence[str] = ()
    far_share: float | None = None


def combine_tables(parts: Sequence[ImageRows]) -> pd.DataFrame:
    """Return the rows of all images, with the columns of each image before `region`.

    Areas and volumes of all images have one unit, that of most images.
    """
    import pandas as pd

    if not parts:
        return pd.DataFrame({"image": []})
    has_files = any(part.image.file for part in parts)
    reviewed = {
        PROBLEM: any(part.problems for part in parts),
        FAR_SHARE: any(part.far_share is not None for part in parts),
    }
    found = [name for name, is_found in reviewed.items() if is_found]
    tables = _share_units([_columns_of(part, has_files, found) for part in parts])
    # Columns that not all images have, such as an area, stand where the widest table has them.
    widest = max(tables, key=lambda table: len(table))
    names = dict.fromkeys(chain(widest, *tables))
    # Not pandas.concat, which takes columns without values for the type of the joined column, or
    # does not, depending on its version.
    return pd.DataFrame({name: _join(tables, name) for name in names})


def _columns_of(part: ImageRows, has_files: bool, reviewed: Sequence[str]) -> dict[str, list[Any]]:
    """Return all columns of an image, with those of its review that the table has."""
    image, columns, problems, far_share = part
    # JSON has no NaN: missing numbers are None there.
    values = {name: _with_nan(each) for name, each in columns.items()}
    further = {**({} if image.group is None else {"group": image.group}), **image.metadata}
    if has_files:
        # Metadata may have a column of this name, as studies of version 0.1.1 could.
        further.setdefault(FILE, image.file)
    review = {
        PROBLEM: "; ".join(problems),
        FAR_SHARE: math.nan if far_share is None else far_share,
    }
    further |= {name: review[name] for name in reviewed}
    names = values.pop("image")
    return {
        "image": names,
        **{name: [value] * len(names) for name, value in further.items()},
        **values,
    }


def are_named_by_files(names: Iterable[str], files: Iterable[str]) -> bool:
    """Return whether each name is that of the file, so that the paths add nothing for a reader."""
    return all(
        PurePosixPath(file).stem == name for name, file in zip(names, files, strict=True) if file
    )


def _join(tables: Sequence[Mapping[str, list[Any]]], name: str) -> pd.Series[Any]:
    """Return a column of all images, with NaN for images that do not have it."""
    import pandas as pd

    values: list[Any] = []
    for table in tables:
        values += table.get(name) or [math.nan] * len(table["image"])
    # Whole numbers of metadata stay whole beside None.
    return pd.Series(values, dtype=object if None in values else None)


def _share_units(tables: list[dict[str, list[Any]]]) -> list[dict[str, list[Any]]]:
    """Return the columns of images with areas and volumes in the unit of most images."""
    # This module imports numba, which would slow down the start of the command line.
    from napari_kmeans.measuring import SIZE_COLUMNS, UNIT

    for name in SIZE_COLUMNS:
        units = Counter(table[UNIT][0] for table in tables if table.get(name))
        if len(units) > 1:
            target = max(units, key=units.__getitem__)
            tables = [_convert(table, name, UNIT, target) for table in tables]
    return tables


def _convert(
    table: dict[str, list[Any]], name: str, unit: str, target: str
) -> dict[str, list[Any]]:
    """Return the columns of an image with its areas or volumes in another unit."""
    factor = size_factor(table[unit][0], target) if table.get(name) else None
    if factor is None:
        return table
    sizes = [value * factor for value in table[name]]
    return {**table, name: sizes, unit: [target] * len(sizes)}


def _with_nan(values: Iterable[Any]) -> list[Any]:
    return [math.nan if value is None else value for value in values]
