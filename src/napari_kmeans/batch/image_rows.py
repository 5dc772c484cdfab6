"""The rows of the images in the table of measurements, with the columns of each image."""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from napari_kmeans.batch.study_images import StudyImage

FILE, PROBLEM = "file", "problem"
"""The column of the file of each image, which is there if images are files, and that of the
problems of an image, which is there if an image has one."""


class ImageRows(NamedTuple):
    """The rows of an image in the table of measurements.

    Attributes
    ----------
    image : StudyImage
    columns : mapping of str to sequence
        The values in the columns of `measure`; a missing number is None or NaN.
    problems : sequence of str
        See `find_problems`.
    """

    image: StudyImage
    columns: Mapping[str, Any]
    problems: Sequence[str] = ()


def combine_tables(parts: Sequence[ImageRows]) -> pd.DataFrame:
    """Return the rows of all images, with the columns of each image before `region`."""
    import pandas as pd

    has_files = any(part.image.file for part in parts)
    has_problems = any(part.problems for part in parts)
    tables = []
    for image, columns, problems in parts:
        # JSON has no NaN: missing numbers are None there.
        table = pd.DataFrame({name: _with_nan(values) for name, values in columns.items()})
        further = {**({} if image.group is None else {"group": image.group}), **image.metadata}
        if has_files:
            # Metadata may have a column of this name, as studies of version 0.1.1 could.
            further.setdefault(FILE, image.file)
        further |= {PROBLEM: "; ".join(problems)} if has_problems else {}
        for place, (name, value) in enumerate(further.items(), start=1):
            table.insert(min(place, table.shape[1]), name, value, allow_duplicates=False)
        tables.append(table)
    if not tables:
        return pd.DataFrame({"image": []})
    # Columns that not all images have, such as an area, stand where the widest table has them.
    widest = max(tables, key=lambda table: table.shape[1])
    joined = pd.concat(tables, ignore_index=True)
    return joined[[*widest, *(name for name in joined if name not in widest)]]


def are_named_by_files(names: Iterable[str], files: Iterable[str]) -> bool:
    """Return whether each name is that of the file, so that the paths add nothing for a reader."""
    return all(
        PurePosixPath(file).stem == name for name, file in zip(names, files, strict=True) if file
    )


def _with_nan(values: list[Any]) -> list[Any]:
    return [math.nan if value is None else value for value in values]
