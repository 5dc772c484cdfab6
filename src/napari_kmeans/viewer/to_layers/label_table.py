"""The table of a Labels layer, in its features, and whether its counts still hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    """Mark the table of a layer from now on as soon as its pixels are edited.

    napari emits `paint` once for every stroke, fill, polygon and `data_setitem`,
    and `data` where the array is replaced. An undo follows one of these. Code
    that replaces pixels and table together sets the table last, and so takes
    the mark away. Watching twice is watching once.
    """
    for event in (layer.events.paint, layer.events.data):
        event.connect(_on_edited)


def _on_edited(event: Any) -> None:
    mark_outdated(event.source)
