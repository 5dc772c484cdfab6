"""Areas, values and shares of regions in a study: their means over the images of each group."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_kmeans.batch.shares import PIXELS, Summary, summarize_shares
from napari_kmeans.files.units import SIZE_POWERS
from napari_kmeans.measurement_table import CLASS, FIXED_COLUMNS, IMAGE, REGION
from napari_kmeans.measuring import CONFIDENCE, MEAN_PREFIX, PER_FRAME, UNIT, percentages

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from napari_kmeans.batch.shares import ShareTable
    from napari_kmeans.types import Floats

MAX_REGIONS = 20
"""The number of names of regions up to which the report compares regions. More are tiles or
objects, whose names do not mean the same in each image."""


class Figure(NamedTuple):
    """One figure of each class, as a mean over the images of each group.

    Attributes
    ----------
    title : str
        What it is, with its unit.
    summaries : list of list of Summary
        For each class that counts, the summary of each group; of all images without groups.
    """

    title: str
    summaries: list[list[Summary]]


def list_figures(table: pd.DataFrame, shares: ShareTable) -> list[Figure]:
    """Return the areas or volumes, the confidence, and the means of all values.

    An image counts once: its areas are summed over its regions, and its means are those of the
    pixels of all its regions. Areas of slices or frames are averaged.
    """
    figures = []
    slices = _slice_columns(table)
    for column in _size_columns(table):
        # A size in another unit is another figure.
        for unit, rows in table.groupby(UNIT, dropna=False, sort=False):
            n_slices = rows.groupby(IMAGE)[slices].apply(lambda own: len(own.drop_duplicates()))
            sums = rows.groupby([IMAGE, CLASS])[column].sum(min_count=1)
            sizes = sums / n_slices.reindex(sums.index, level=0) if slices else sums
            if sizes.notna().any():
                per = " per slice" if slices else ""
                figures.append(_summarize(f"{column.capitalize()}{per}, {unit}", sizes, shares))
    means = [str(name) for name in table if str(name).startswith(MEAN_PREFIX)]
    for column in [*([CONFIDENCE] if CONFIDENCE in table else []), *means]:
        known = table[table[column].notna() & (table[PIXELS] > 0)]
        weighted = (known[column] * known[PIXELS]).groupby([known[IMAGE], known[CLASS]]).sum()
        pixels = known.groupby([IMAGE, CLASS])[PIXELS].sum()
        figures.append(_summarize(column.capitalize(), weighted / pixels, shares))
    return figures


def list_region_shares(table: pd.DataFrame, shares: ShareTable) -> list[Figure]:
    """Return the shares of the classes in each region that images have in common."""
    if REGION not in table or not 1 < table[REGION].nunique() <= MAX_REGIONS:
        return []
    import pandas as pd

    figures = []
    for name, rows in table.groupby(REGION, sort=False):
        counts = pd.DataFrame(rows.groupby([IMAGE, CLASS])[PIXELS].sum().unstack(fill_value=0))
        counts = counts.reindex(columns=list(shares.labels), fill_value=0)
        has_pixels = np.any(counts.to_numpy()[:, ~shares.ignored], axis=1)
        counts = counts.iloc[np.flatnonzero(has_pixels)]
        percent = counts.astype(float)
        for image, pixels in counts.iterrows():
            percent.loc[image] = percentages(pixels.to_numpy(), shares.ignored)
        figures.append(_compare(str(name), percent, shares))
    return figures


def _size_columns(table: pd.DataFrame) -> list[str]:
    names = [name for name, _ in SIZE_POWERS.values()]
    return [each for each in (*names, *(name + PER_FRAME for name in names)) if each in table]


def _slice_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns of slices and frames: those between the region and the class."""
    columns = [str(name) for name in table]
    if REGION not in columns or CLASS not in columns:
        return []
    between = columns[columns.index(REGION) + 1 : columns.index(CLASS)]
    return [name for name in between if name not in FIXED_COLUMNS]


def _summarize(title: str, values: pd.Series, shares: ShareTable) -> Figure:
    """Return the summaries of values by image and class."""
    import pandas as pd

    return _compare(title, pd.DataFrame(values.unstack()), shares)


def _compare(title: str, values: pd.DataFrame, shares: ShareTable) -> Figure:
    """Return the summaries of values with a row for each image and a column for each class."""
    found = values.reindex(index=list(shares.images), columns=list(shares.labels))
    array = found.to_numpy(np.float64)
    groups: Sequence[str | None] = shares.group_names or (None,)
    return Figure(
        title,
        [
            [_summary(array[_rows(shares, group), number]) for group in groups]
            for number in shares.counted
        ],
    )


def _summary(values: Floats) -> Summary:
    return summarize_shares(values[np.isfinite(values)])


def _rows(shares: ShareTable, group: str | None) -> list[int]:
    return [row for row, each in enumerate(shares.groups) if group is None or each == group]
