"""Describe the classes of a model in a line of text."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from napari_kmeans.measuring import channel_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_kmeans.classes import ColorClass
    from napari_kmeans.model import KMeansModel

_MOST_CLASSES = 12
"""Classes that are listed: more would fill the dock."""


def count_classes(model: KMeansModel) -> str:
    """Return the number of classes in words: "3 classes of 5 clusters, 1 ignored"."""
    n_classes, n_centers = model.n_clusters, len(model.cluster_centers_)
    if model.edited_classes is None:
        return f"{n_centers} {'cluster' if n_centers == 1 else 'clusters'}"
    text = f"{n_classes} {'class' if n_classes == 1 else 'classes'}"
    if n_classes < n_centers:
        text += f" of {n_centers} clusters"
    n_ignored = sum(each.ignored for each in model.edited_classes)
    return f"{text}, {n_ignored} ignored" if n_ignored else text


def list_classes(model: KMeansModel, colors: Mapping[int, str]) -> str:
    """Return the classes as rich text: a square of the color of each, and its name or label.

    Parameters
    ----------
    model : KMeansModel
    colors : mapping from label to #rrggbb
        The colors in which the classes are shown.
    """
    listed = model.classes.classes[:_MOST_CLASSES]
    parts = [_describe_class(each, colors[each.label]) for each in listed]
    more = model.n_clusters - len(parts)
    text = ", ".join([*parts, *([f"… {more} more"] if more else [])])
    if not model.rgb and model.n_channels > 1:
        text += f"<br>Channels: {escape(', '.join(channel_names(model)))}"
    return text


def _describe_class(each: ColorClass, color: str) -> str:
    notes = [f"{len(each.centers)} merged"] if len(each.centers) > 1 else []
    notes += ["ignored"] if each.ignored else []
    note = f" ({', '.join(notes)})" if notes else ""
    # A no-break space keeps the square beside its name.
    return (
        f'<span style="color: {color}">■</span>\u00a0{escape(each.name or str(each.label))}{note}'
    )
