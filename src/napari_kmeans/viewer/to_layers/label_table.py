"""Read and edit the table of clusters in the features of a Labels layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.classes import clean_name
from napari_kmeans.measuring import (
    CONFIDENCE,
    IGNORED,
    NAME,
    SIZE_COLUMNS,
    UNDECIDED,
    UNIT,
    mean_columns,
    merge_rows,
    percentages,
)
from napari_kmeans.viewer.from_layers.source import index_at_level, layer_levels
from napari_kmeans.viewer.provenance import recorded_level, recorded_slice

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_kmeans.imaging.label_counts import LabelCounts

OUTDATED = "outdated"
"""The column that marks a table: True in all rows until edited pixels are counted again."""


def is_outdated(features: pd.DataFrame) -> bool:
    """Return whether pixels were edited after the table was made."""
    return OUTDATED in features and bool(features[OUTDATED].any())


def without_mark(features: pd.DataFrame) -> pd.DataFrame:
    """Return a table without the column `OUTDATED`."""
    return features.drop(columns=OUTDATED, errors="ignore")


def counted_level(layer: Labels) -> int:
    """Return the level whose pixels the table of a layer counts, 0 being the finest."""
    level = recorded_level(layer)
    # A user or a script may copy the metadata to a layer with fewer levels.
    return int(level) if level in range(len(layer_levels(layer))) else 0


def counted_slice(layer: Labels) -> list[int | None] | None:
    """Return the index of the only slice that the table of a layer counts.

    The index holds None for the axes of the slice. The return value is None if the
    table counts all slices.
    """
    index = recorded_slice(layer)
    return index if index is not None and len(index) == layer.ndim else None


def describe_counted(layer: Labels) -> str:
    """Return the slice and the level that the table of a layer counts, in words.

    The text is empty if the layer has one level and all its slices are counted.
    """
    slice_index, level, levels = counted_slice(layer), counted_level(layer), layer_levels(layer)
    parts = []
    if slice_index is not None:
        across = ", ".join(str(index) for index in slice_index if index is not None)
        parts.append(f"in slice {across} only")
    if len(levels) > 1:
        shape = [
            size
            for axis, size in enumerate(levels[level].shape)
            if slice_index is None or slice_index[axis] is None
        ]
        # No-break spaces keep a size in one line.
        size = "\u00a0\u00d7\u00a0".join(map(str, shape))
        parts.append(f"on level {level} ({size})")
    return ", ".join(parts)


def pixel_shares(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Return the share of each cluster in the sum of their pixels; equal shares if it is 0."""
    total = pixels.sum()
    return np.asarray(pixels / total) if total else np.full(len(pixels), 1 / len(pixels))


def merge_rows_into_first(features: pd.DataFrame, rows: list[int]) -> pd.DataFrame:
    """Return a table in which the first of several rows replaces them all.

    Pixels and sizes are added up, percentages are computed again, means are weighted by the
    pixels, names are joined, and the confidence is not known. All other columns keep the
    values of the first row.
    """
    groups, first = np.arange(len(features)), rows[0]
    groups[rows] = first
    table = merge_rows(features, groups)
    row = int(np.flatnonzero(np.unique(groups) == first)[0])
    merged = {"pixels", "percent", UNDECIDED, CONFIDENCE, *SIZE_COLUMNS, *mean_columns(features)}
    for column in set(features) - merged:
        table.loc[row, column] = features[column][first]
    if NAME in features:
        names = dict.fromkeys(filter(None, features[NAME][rows].fillna("")))
        table.loc[row, NAME] = clean_name(" + ".join(names))
    is_ignored = table[IGNORED].to_numpy(bool) if IGNORED in table else None
    table["percent"] = percentages(table["pixels"].to_numpy(), is_ignored)
    return table


def split_row(features: pd.DataFrame, row: int, parts: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which several rows replace one row, sorted by label.

    The columns that `parts` does not have keep the value of the row. Percentages are
    computed again. The confidence and the undecided pixels of the parts are not known.
    """
    import pandas as pd

    rows = features.loc[np.repeat(row, len(parts))].reset_index(drop=True)
    for name in [NAME, *parts]:
        if name in features:
            rows[name] = parts[name].to_numpy() if name in parts else ""
    for name in {CONFIDENCE, UNDECIDED} & set(features):
        rows[name] = np.nan
    table = pd.concat([features.drop(index=row), rows]).sort_values("index", ignore_index=True)
    is_ignored = table[IGNORED].to_numpy(bool) if IGNORED in table else None
    table["percent"] = percentages(table["pixels"].to_numpy(), is_ignored)
    return table


def mark_outdated(layer: Labels) -> None:
    """Mark the table of a layer as outdated, if it has a column of pixels."""
    features = layer.features
    if "pixels" in features and not is_outdated(features):
        layer.features = features.assign(**{OUTDATED: True})


def counted_index(layer: Labels) -> Any:
    """Return the index of the counted slice in the counted level; ... for all slices."""
    levels, slice_index = layer_levels(layer), counted_slice(layer)
    if slice_index is None:
        return ...
    shape = levels[counted_level(layer)].shape
    return index_at_level(tuple(slice_index), levels[0].shape, shape)


def counted_pixels(layer: Labels) -> Any:
    """Return the pixels that the table of a layer counts: a level, or a slice of a level."""
    return layer_levels(layer)[counted_level(layer)][counted_index(layer)]


def recounted_table(features: pd.DataFrame, counts: LabelCounts) -> pd.DataFrame:
    """Return a table with other numbers of pixels, and with rows for labels that it lacks.

    A label that has no pixel any more keeps its row, because its pixels may come back.
    The means of channels are those of `counts`, or are left out if it has none: means from
    before the edit would be wrong. So would be the confidence and the undecided pixels, which
    are left out, too.

    Parameters
    ----------
    features : pandas.DataFrame
        With the columns `COUNT_COLUMNS`.
    counts : LabelCounts
        Those of the pixels after an edit by hand.
    """
    import pandas as pd

    new = np.setdiff1d(counts.labels, features["index"])
    table = without_mark(features).drop(columns=[CONFIDENCE, UNDECIDED], errors="ignore")
    if len(new):
        # Values such as the level are the same in all rows. Those of other columns are missing.
        rows = pd.DataFrame({"index": new})
        for name, empty in ((NAME, ""), (IGNORED, False)):
            if name in table:
                rows[name] = empty
        for name in {"level", UNIT} & set(table) if len(table) else ():
            rows[name] = table[name].iloc[0]
        table = pd.concat([table, rows]).sort_values("index", ignore_index=True)
    labels = table["index"].to_numpy()
    # Searching in a list with an entry at the end gives each label a place.
    places = np.searchsorted(counts.labels, labels)
    is_there = np.isin(labels, counts.labels)
    table["pixels"] = np.where(is_there, np.append(counts.pixels, 0)[places], 0)
    ignored = table[IGNORED].to_numpy(bool) if IGNORED in table else None
    table["percent"] = percentages(table["pixels"].to_numpy(), ignored)
    means = mean_columns(table)
    if counts.means is None or counts.means.shape[1] != len(means):
        return table.drop(columns=means)
    found = np.concatenate([counts.means, np.full((1, len(means)), np.nan)])[places]
    table[means] = np.where(is_there[:, None], found, np.nan)
    return table


def is_counted(layer: Labels, indices: tuple[Any, ...]) -> bool:
    """Return whether the table counts some of the pixels with these indices."""
    slice_index = counted_slice(layer)
    if slice_index is None:
        return True
    inside: Any = True
    # napari gives arrays with the indices of single pixels, or the slices of the box
    # around a stroke.
    for index, counted, length in zip(indices, slice_index, layer.data.shape, strict=True):
        if counted is not None:
            is_inside = (
                counted in range(*index.indices(length))
                if isinstance(index, slice)
                else np.asarray(index) == counted
            )
            inside = inside & is_inside
    return bool(np.any(inside))


def forget_strokes(layer: Labels) -> None:
    """Clear napari's undo history of strokes in a layer, and keep the current tool.

    napari keeps the history when data are replaced: an undo would then write old
    labels into the new result. The only public way to clear the history is to make
    the layer not editable, which also resets the tool.
    """
    mode = layer.mode
    if layer.editable:
        layer.editable = False
        layer.editable = True
        layer.mode = mode
