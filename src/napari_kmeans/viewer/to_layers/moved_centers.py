"""Find the classes whose color has visibly moved from the mark where it started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_kmeans.feature_space.colors import rgb_to_lab
from napari_kmeans.segmentation import Segmentation
from napari_kmeans.viewer.to_layers.label_colors import shown_colors

if TYPE_CHECKING:
    from napari_kmeans.viewer.background.task import AnySegmentation
    from napari_kmeans.viewer.from_layers.source import Source

_JUST_VISIBLE = 2.3
"""The distance in CIELAB of two colors that observers just tell apart (Mahy et al. 1994,
:doi:`10.1002/col.5080190206`)."""

_MAX_NAMES = 3
"""The largest number of classes that the sentence names."""


def describe_moved_centers(outcome: AnySegmentation, source: Source) -> str:
    """Return a sentence that names the classes which left their marks by a visible difference.

    The colors are compared as napari shows them. The sentence is empty if there are no marks,
    if their colors were kept, or if each slice has its own model.
    """
    if not isinstance(outcome, Segmentation) or outcome.starts is None:
        return ""
    options, model = outcome.options, outcome.model
    if options.keep_init or len(outcome.starts) != len(model.center_palette):
        return ""
    marks = np.asarray(options.init)[outcome.starts]
    before, after = (
        rgb_to_lab(shown_colors(colors, source)) for colors in (marks, model.center_palette)
    )
    has_moved = np.linalg.norm(after - before, axis=1) > _JUST_VISIBLE
    labels = dict.fromkeys(sorted(model.center_labels[has_moved].tolist()))
    names = [
        f"“{name}”" if (name := model.classes[label].name) else f"class {label}" for label in labels
    ]
    if not names:
        return ""
    advice = "check “Keep my colors” under “More options” to hold"
    if len(names) == 1:
        return f"The color of {names[0]} has visibly moved from its mark: {advice} it."
    if len(names) > _MAX_NAMES:
        names = [*names[:_MAX_NAMES], "others"]
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    return f"The colors of {listed} have visibly moved from their marks: {advice} them."
