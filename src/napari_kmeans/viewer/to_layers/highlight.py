"""A colormap that highlights some labels and fades all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from napari_kmeans.viewer.to_layers.label_colors import colors_of_labels

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from napari_kmeans.viewer.to_layers.label_colors import Color

_GRAY_SHARE = 0.85
"""The share of gray in a faded color; the rest is the color of the cluster."""


class HighlightColormap(DirectLabelColormap):  # type: ignore[misc]
    """The colormap of a layer while some labels are highlighted.

    Attributes
    ----------
    original : Colormap
        The colormap that the layer has without the highlight.
    """

    _original: Any = None

    @property
    def original(self) -> Any:
        """The colormap that the layer has without the highlight."""
        return self._original

    @classmethod
    def of(
        cls, original: Any, labels: Iterable[int], highlighted: Collection[int]
    ) -> HighlightColormap:
        """Return a colormap that fades all labels but the highlighted ones.

        Faded colors are nearly black, gray or white, whichever differs most from
        the highlighted colors. Labels keep their alpha: transparent labels would show
        the layer below, which often has the same colors as the labels.

        Parameters
        ----------
        original : Colormap
        labels : iterable of int
            All labels of the layer, for colormaps that do not list them.
        highlighted : collection of int
            At least one label.
        """
        colors = colors_of_labels(original, labels)
        gray = _farthest_gray(np.array([colors[label][:3] for label in highlighted]))
        for label in set(colors) - set(highlighted) - {0}:
            rgb = (1 - _GRAY_SHARE) * colors[label][:3] + _GRAY_SHARE * gray
            colors[label] = np.append(rgb, colors[label][3])
        highlight = cls(color_dict=colors)
        highlight._original = original
        return highlight


def without_highlight(colormap: Any) -> Any:
    """Return the colormap that a layer has while no label is highlighted."""
    return colormap.original if isinstance(colormap, HighlightColormap) else colormap


def _farthest_gray(colors: Color) -> float:
    """Return 0, 0.5 or 1: the gray level whose nearest color (m, 3) is farthest away."""
    grays = np.array([0, 0.5, 1])
    distances = np.linalg.norm(colors - grays[:, None, None], axis=-1)
    return float(grays[distances.min(axis=1).argmax()])
