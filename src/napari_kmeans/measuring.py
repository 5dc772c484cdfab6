"""Tables of clusters: one row for each label."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.files.units import LENGTHS, SIZE_POWERS, convert_length
from napari_kmeans.imaging.channel_names import shown_channel_names
from napari_kmeans.imaging.colors import to_hex
from napari_kmeans.imaging.tally import weighted_means

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from napari_kmeans.files.picture import Axis
    from napari_kmeans.imaging.label_counts import LabelCounts
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.types import Floats

COUNT_COLUMNS = ("index", "pixels", "percent")
"""The first columns of a table of clusters whose pixels were counted."""

NAME, IGNORED = "name", "ignored"
"""Columns of a table whose classes have names, or some of whose classes are ignored.

An ignored class keeps its pixels, but it does not count in the percentages: its own
is NaN.
"""

UNDECIDED = "undecided"
"""The column of a table whose model leaves pixels undecided: how many of each class.

These pixels have label 0, and do not count in the other columns.
"""

CONFIDENCE = "confidence"
"""The column of the mean confidence of the pixels of each class, if it was measured."""

COLOR_COLUMN = "color"
"""The last column of a table of clusters."""

MEAN_PREFIX = "mean "
"""A column of channel means has this prefix, followed by the name of the channel."""


def cluster_table(
    model: KMeansModel,
    counts: NDArray[np.int64] | None = None,
    undecided: NDArray[np.int64] | None = None,
    means: Floats | None = None,
) -> pd.DataFrame:
    """Return the table of the clusters of a model.

    Parameters
    ----------
    model : KMeansModel
    counts : (K,) int64 array, optional
        The number of pixels of each label; None leaves the two columns out.
    undecided : (K,) int64 array, optional
        The number of pixels of each class that are left undecided; None leaves the column
        out.
    means : (K, C) array, optional
        The mean of each channel over the pixels of each class, in an image that the model was
        not fitted to. None takes the means of the fit.

    Returns
    -------
    pandas.DataFrame
        With the columns `index` (the label), `pixels`, `percent` (of all counted
        pixels), `undecided`, the mean of each channel in channel units, and `color` as #rrggbb.
        Before the means are the columns `name` if a class has a name, and `ignored` if
        a class is ignored.
    """
    import pandas as pd

    index, pixels, percent = COUNT_COLUMNS
    columns: dict[str, Any] = {index: model.labels}
    of_classes = class_columns(model)
    if counts is not None:
        columns |= {pixels: counts, percent: percentages(counts, of_classes.get(IGNORED))}
    if undecided is not None:
        columns[UNDECIDED] = undecided
    columns |= of_classes
    means = model.palette if means is None else means
    for name, channel in zip(channel_names(model), means.T, strict=True):
        columns[MEAN_PREFIX + name] = channel
    return pd.DataFrame({**columns, COLOR_COLUMN: to_hex(model.colors)})


def count_undecided(table: pd.DataFrame) -> int:
    """Return the number of undecided pixels of all classes in a table, as far as it is known."""
    return int(table[UNDECIDED].sum()) if UNDECIDED in table else 0


def undecided_percent(table: pd.DataFrame) -> float:
    """Return the undecided pixels in percent of those that have a class or are undecided."""
    undecided = count_undecided(table)
    return 100 * undecided / max(undecided + int(table["pixels"].sum()), 1)


def are_ignored(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return whether the class of each row of a table is ignored."""
    # A row that was added by hand may have NaN.
    ignored = table[IGNORED].eq(True) if IGNORED in table else np.zeros(len(table))
    return np.asarray(ignored, np.bool_)


def with_confidence(table: pd.DataFrame, counts: LabelCounts) -> pd.DataFrame:
    """Return a table with the mean confidence of each label, before its channel means.

    Parameters
    ----------
    table : pandas.DataFrame
        With the column `index`.
    counts : LabelCounts
        Its means are those of one value, the confidence. Labels that it does not have get NaN.
    """
    assert counts.means is not None
    means = dict(zip(counts.labels.tolist(), counts.means[:, 0].tolist(), strict=True))
    described = table.drop(columns=CONFIDENCE, errors="ignore")
    columns = list(described)
    place = columns.index((mean_columns(described) or [COLOR_COLUMN])[0])
    described.insert(place, CONFIDENCE, [means.get(label, np.nan) for label in table["index"]])
    return described


def class_columns(model: KMeansModel) -> dict[str, Any]:
    """Return the columns `name` and `ignored` of a model's classes, each only if it is used."""
    if model.edited_classes is None:
        return {}
    names = [each.name for each in model.edited_classes]
    return used_class_columns(names, model.edited_classes.ignored)


def place_class_columns(table: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Return a table with other columns `name` and `ignored`, at their place after the counts.

    Parameters
    ----------
    table : pandas.DataFrame
    columns : mapping
        The values of `name`, `ignored`, both or neither.
    """
    placed = table.drop(columns=[NAME, IGNORED], errors="ignore")
    counts = [name for name in (*COUNT_COLUMNS, *SIZE_COLUMNS, UNDECIDED) if name in placed]
    if UNIT in placed and SIZE_COLUMNS & set(placed):
        counts.append(UNIT)
    place = 1 + max(list(placed).index(name) for name in counts)
    for name in (IGNORED, NAME):
        if name in columns:
            placed.insert(place, name, columns[name])
    return placed


def used_class_columns(names: Sequence[str], ignored: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the columns `name` and `ignored`, each only if it is used."""
    columns: dict[str, Any] = {NAME: names} if any(names) else {}
    return {**columns, **({IGNORED: ignored} if ignored.any() else {})}


def channel_names(model: KMeansModel) -> list[str]:
    """Return the names of the channels of a model's images, or their numbers."""
    if model.rgb:
        return ["red", "green", "blue"]
    if model.channel_axis is None:
        return list(model.channel_names) or ["intensity"]
    return shown_channel_names(model.channel_names, model.n_channels)


class PixelSize(NamedTuple):
    """The area or the volume of one pixel, and its unit."""

    name: str
    """"length", "area" or "volume"; with " per frame" for the mean of several frames."""

    value: float
    unit: str


def pixel_size(axes: Sequence[Axis], shape: Sequence[int]) -> PixelSize | None:
    """Return the size of one pixel in the unit of the last axis of space.

    Returns
    -------
    PixelSize or None
        None if a length is not known, or if the image has slices along an axis of unknown
        kind. Also None for inches, in which files state a resolution for printing, not the
        size of an object. For an image with several frames, the sum over all pixels is the
        mean per frame: a sum of areas over times would be no area.
    """
    if len(axes) != len(shape):
        return None
    lengths = [axis for axis in axes if axis.kind == "space"]
    pairs = list(zip(axes, shape, strict=True))
    n_frames = prod(length for axis, length in pairs if axis.kind == "time")
    n_slices = prod(length for axis, length in pairs if axis.kind not in _KNOWN_KINDS)
    if len(lengths) not in SIZE_POWERS or n_slices != 1:
        return None
    unit = lengths[-1].unit
    sizes = [convert_length(axis.scale, axis.unit, unit) for axis in lengths]
    if unit not in LENGTHS or unit == "inch" or not all(sizes):
        return None
    name, power = SIZE_POWERS[len(lengths)]
    value = abs(prod(float(size or 0) for size in sizes)) / n_frames
    name += PER_FRAME if n_frames > 1 else ""
    return PixelSize(name, value, LENGTHS[unit].symbol + power)


_KNOWN_KINDS = ("space", "time", "channel")

PER_FRAME = " per frame"
"""The ending of the column of mean areas or volumes of an image with several frames."""

SIZE_COLUMNS = {name + end for name, _ in SIZE_POWERS.values() for end in ("", PER_FRAME)}
"""The columns of areas and volumes. A table has at most one of them."""

UNIT = "unit"
"""The column after that of the areas or volumes."""


def add_sizes(table: pd.DataFrame, size: PixelSize) -> pd.DataFrame:
    """Return a table with the area or volume of each cluster, and its unit, after the shares."""
    described, pixels, percent = table.copy(), COUNT_COLUMNS[1], COUNT_COLUMNS[2]
    after = list(table).index(percent) + 1
    described.insert(after, size.name, table[pixels] * size.value)
    described.insert(after + 1, UNIT, size.unit)
    return described


def drop_sizes(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table without the areas or volumes and their unit."""
    sizes = SIZE_COLUMNS & set(table)
    return table.drop(columns=[*sizes, UNIT], errors="ignore") if sizes else table


def percentages(counts: Any, ignored: Any = None) -> Any:
    """Return numbers of pixels in percent of their sum; zeros if there is no pixel.

    Parameters
    ----------
    counts : (K,) array
    ignored : (K,) array of bool, optional
        The rows that do not count in the sum. They get NaN.
    """
    if ignored is None:
        return 100 * counts / max(counts.sum(), 1)
    counted = np.where(ignored, 0, counts)
    return np.where(ignored, np.nan, 100 * counted / max(counted.sum(), 1))


def mean_columns(table: pd.DataFrame) -> list[str]:
    """Return the names of the columns of channel means."""
    return [str(name) for name in table if str(name).startswith(MEAN_PREFIX)]


def channel_means(table: pd.DataFrame) -> Floats:
    """Return the channel means of each row, (K, C)."""
    return table[mean_columns(table)].to_numpy(np.float64)


def write_csv(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table to a CSV file, with 8 significant digits of each real number.

    Names are written unchanged: spreadsheets may read a name that begins with =, +, - or @
    as a formula.
    """
    # Names of files may have characters that UTF-8 does not have.
    table.to_csv(path, index=False, float_format="%.8g", errors="backslashreplace")


def merge_rows(table: pd.DataFrame, groups: Sequence[int] | NDArray[Any]) -> pd.DataFrame:
    """Merge the rows of a table that belong to the same group.

    Parameters
    ----------
    table : pandas.DataFrame
        With the columns `pixels` and `percent`.
    groups : (n,) integers
        The group of each row.

    Returns
    -------
    pandas.DataFrame
        One row for each group, in ascending order of the groups' numbers. Pixels, undecided
        pixels, areas and volumes are summed and channel means are weighted by pixels;
        percentages are computed again from the pixels. The confidence of merged rows is NaN.
        The other columns have the value of the row with the most pixels.
    """
    pixels = table["pixels"].to_numpy()
    _, numbers = np.unique(groups, return_inverse=True)
    n_groups = numbers.max() + 1
    # Sort by group, and within a group by pixels, the largest first.
    order = np.lexsort([-pixels, numbers])
    largest = order[np.searchsorted(numbers[order], np.arange(n_groups))]
    merged = table.iloc[largest].reset_index(drop=True)
    counts = np.bincount(numbers, pixels).astype(np.int64)
    merged["pixels"], merged["percent"] = counts, percentages(counts, merged.get(IGNORED))
    for name in SIZE_COLUMNS & set(table):
        merged[name] = np.bincount(numbers, table[name])
    if UNDECIDED in table:
        sums = np.bincount(numbers, table[UNDECIDED])
        # The undecided pixels of the parts of a class that was split are not known.
        merged[UNDECIDED] = sums if np.isnan(sums).any() else sums.astype(np.int64)
    if CONFIDENCE in table:
        # The mean of the parts is not the confidence of the whole.
        merged.loc[np.bincount(numbers) > 1, CONFIDENCE] = np.nan
    # The table of each frame has no means.
    if names := mean_columns(table):
        # A class without pixels has no means. It does not count, unless the whole group has none.
        is_counted = (pixels > 0) | (counts[numbers] == 0)
        means = np.where(is_counted[:, None], channel_means(table), 0)
        merged[names] = weighted_means(means, pixels, numbers)
    return merged
