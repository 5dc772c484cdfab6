"""The table of a Labels layer, in its features, and whether its counts still hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.viewer.from_layers.source import layer_levels
from napari_kmeans.viewer.provenance import recorded_level, recorded_slice

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels
    from numpy.typing import NDArray

COLUMNS = ("index", "pixels", "percent")
"""What the features of a layer must have to tell of clusters."""

OUTDATED = "outdated"
"""The column that is True in all rows once pixels were edited after they were counted."""


def is_outdated(features: pd.DataFrame) -> bool:
    """Return whether a table is marked as counted before an edit."""
    return OUTDATED in features and bool(features[OUTDATED].any())


def without_mark(features: pd.DataFrame) -> pd.DataFrame:
    """Return a table without the column that marks it as outdated."""
    return features.drop(columns=OUTDATED, errors="ignore")


def counted_level(layer: Labels) -> int:
    """Return the level whose pixels the table of a layer counts, 0 being the finest."""
    level = recorded_level(layer)
    # Metadata may be those of a layer with more levels.
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


def merge_rows(features: pd.DataFrame, rows: list[int]) -> pd.DataFrame:
    """Return a table in which the first of several rows replaces them all.

    Pixels and percentages are added up, means are weighted by the pixels, and names
    are joined. All other columns keep the values of the first row.
    """
    table, first = features.copy(), rows[0]
    shares = pixel_shares(features["pixels"].to_numpy()[rows])
    total = features["pixels"].sum()
    table.loc[first, "pixels"] = features["pixels"][rows].sum()
    table.loc[first, "percent"] = 100 * table["pixels"][first] / max(total, 1)
    for column in features:
        if str(column).startswith("mean "):
            table.loc[first, column] = shares @ features[column][rows]
    if "name" in features:
        names = dict.fromkeys(filter(None, features["name"][rows]))
        table.loc[first, "name"] = " + ".join(names)
    return table.drop(index=rows[1:]).reset_index(drop=True)


def mark_outdated(layer: Labels) -> None:
    """Mark the table of a layer as outdated, if it counts pixels."""
    features = layer.features
    if "pixels" in features and not is_outdated(features):
        layer.features = features.assign(**{OUTDATED: True})


def watch_edits(layer: Labels) -> None:
    """Mark the table of a layer from now on as soon as pixels that it counts are edited.

    napari emits `paint` once for every stroke, fill, polygon and `data_setitem`,
    and `data` where the array is replaced. An undo follows one of these. Code
    that replaces pixels and table together sets the table last, and so takes
    the mark away. Watching twice is watching once.
    """
    for event in (layer.events.paint, layer.events.data):
        event.connect(_on_edited)


def _on_edited(event: Any) -> None:
    layer, edits = event.source, getattr(event, "value", ())
    if event.type != "paint" or any(_is_counted(layer, indices) for indices, *_ in edits):
        mark_outdated(layer)


def _is_counted(layer: Labels, indices: tuple[Any, ...]) -> bool:
    """Return whether some pixels lie in the slice that the table counts, if it is of one."""
    place = counted_slice(layer)
    if place is None:
        return True
    inside: Any = True
    # napari gives the numbers of single pixels, or the box around a stroke.
    for here, wanted, length in zip(indices, place, layer.data.shape, strict=True):
        if wanted is not None:
            is_here = (
                wanted in range(*here.indices(length))
                if isinstance(here, slice)
                else np.asarray(here) == wanted
            )
            inside = inside & is_here
    return bool(np.any(inside))


def forget_strokes(layer: Labels) -> None:
    """Empty napari's history of strokes in a layer, keeping the tool that is chosen.

    napari keeps the history when data are replaced: an undo would then write
    old labels into the new result. It is emptied where a layer cannot be edited.
    """
    mode = layer.mode
    if layer.editable:
        layer.editable = False
        layer.editable = True
        layer.mode = mode
