"""The table of a Labels layer, in its features, and whether its counts still hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.viewer.provenance import METADATA_KEY

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels

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
    place = layer.metadata.get(METADATA_KEY, {}).get("stack")
    if not isinstance(place, list):
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
