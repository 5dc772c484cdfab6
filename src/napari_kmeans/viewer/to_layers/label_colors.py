"""The colors of labels: those in which the recolored layer is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from napari_kmeans.imaging.colors import to_hex
from napari_kmeans.imaging.painting import round_to

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from napari_kmeans.viewer.background.task import AnySegmentation
    from napari_kmeans.viewer.from_layers.source import Source

    Color = NDArray[np.floating[Any]]
    Floats = NDArray[np.float64]

TRANSPARENT = (0.0, 0.0, 0.0, 0.0)

_UNLISTED = np.array(
    [
        [1, 0, 1],
        [0, 1, 1],
        [1, 1, 0],
        [0, 1, 0],
        [1, 0.5, 0],
        [0, 0, 1],
        [1, 0, 0],
        [1, 1, 1],
    ]
)
"""Colors to choose from for labels that are no cluster, the most conspicuous first."""

_ALIKE = 0.1
"""The distance below which two colors from 0 to 1 cannot be told apart at a glance."""


def label_colormap(colors: Mapping[Any, Any]) -> DirectLabelColormap:
    """Return the colormap of the clusters with these colors.

    Label 0 is transparent. All other labels that are no cluster, such as a new
    one that is painted by hand, share a visible color that is no cluster's.

    Parameters
    ----------
    colors : mapping from label to color (3,) or (4,)
        A color for None is kept if it is visible and unlike all clusters.
    """
    taken = [np.asarray(color)[:3] for label, color in colors.items() if label not in (None, 0)]
    unlisted = colors.get(None, TRANSPARENT)
    is_seen = len(unlisted) == 3 or unlisted[3] > 0
    if not is_seen or _distances(np.asarray(unlisted)[None, :3], taken)[0] < _ALIKE:
        unlisted = _UNLISTED[_distances(_UNLISTED, taken).argmax()]
    return DirectLabelColormap(color_dict={**colors, None: unlisted, 0: TRANSPARENT})


def color_of_label(colormap: Any, label: int) -> Color:
    """Return the color (4,) of a label from 0 to 1 in any colormap of a Labels layer."""
    if isinstance(colormap, DirectLabelColormap):
        return np.asarray(colormap.color_dict.get(label, colormap.default_color))
    # napari's "show selected" makes all other labels transparent in `map`.
    every_label = colormap.model_copy(update={"use_selection": False})
    return np.asarray(every_label.map(np.array([label]))[0])


def colors_of_labels(colormap: Any, labels: Iterable[int]) -> dict[Any, Color]:
    """Return the color of every label that a direct colormap lists; else those of `labels`."""
    if isinstance(colormap, DirectLabelColormap):
        return dict(colormap.color_dict)
    colors = {label: color_of_label(colormap, label) for label in labels}
    return dict(label_colormap(colors).color_dict)


def _distances(candidates: Floats, taken: list[Any]) -> Floats:
    """Return the distance (n,) of each color to the nearest of those taken."""
    nearest = np.full(len(candidates), np.inf)
    for color in taken:
        nearest = np.minimum(nearest, np.linalg.norm(candidates - color, axis=1))
    return nearest


def shown_colors(values: NDArray[Any], source: Source) -> Floats:
    """Return the colors (n, 3) from 0 to 1 in which napari shows pixels of a source.

    Parameters
    ----------
    values : (n, C) array
        In channel units.
    source : Source
        Its contrast limits and gamma count; for gray its colormap too. Several
        channels are added up, as napari blends them.
    """
    if source.rgb:
        return _brightness(values, source.display)
    displays = [channel.display for channel in source.channels] or [source.display]
    layers = [
        display["colormap"].map(_brightness(levels, display))[:, :3]
        for levels, display in zip(values.T, displays, strict=True)
    ]
    return np.clip(np.sum(layers, axis=0, dtype=np.float64), 0, 1)


def _brightness(values: NDArray[Any], display: dict[str, Any]) -> Floats:
    """Return values between contrast limits as numbers from 0 to 1, with gamma applied."""
    # Halves: the difference of the greatest numbers has no float.
    low, high = (float(limit) / 2 for limit in display["contrast_limits"])
    levels = (np.asarray(values, np.float64) / 2 - low) / (high - low)
    return np.asarray(np.clip(levels, 0, 1) ** display["gamma"])


def cluster_colors(outcome: AnySegmentation, source: Source) -> Floats:
    """Return the colors (K, 3) from 0 to 1 in which the recolored layer shows each cluster."""
    means = outcome.table.filter(like="mean ").to_numpy(np.float64)
    # The recolored image has the dtype of the source, also where the model is of another.
    return shown_colors(round_to(means, np.dtype(source.data.dtype)), source)


def shown_table(outcome: AnySegmentation, source: Source) -> pd.DataFrame:
    """Return the table of an outcome with the colors that are on the screen.

    Where there are several levels, it says which one was counted.
    """
    table = outcome.table.copy()
    table["color"] = to_hex(cluster_colors(outcome, source))
    if source.multiscale:
        table["level"] = source.level
    return table
