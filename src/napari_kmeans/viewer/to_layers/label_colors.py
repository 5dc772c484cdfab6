"""Colors for labels: those in which napari shows the recolored layer, or distinct colors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from napari_kmeans.imaging.colors import to_hex
from napari_kmeans.imaging.painting import round_to
from napari_kmeans.measuring import channel_means
from napari_kmeans.model import KMeansModel
from napari_kmeans.viewer.to_layers.distinct_colors import distinct_colors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_kmeans.types import Floats
    from napari_kmeans.viewer.background.task import AnySegmentation
    from napari_kmeans.viewer.from_layers.source import Source

    Color = NDArray[np.floating[Any]]

TRANSPARENT = (0.0, 0.0, 0.0, 0.0)

MEAN, DISTINCT = "mean", "distinct"
"""The color schemes of labels: the colors of the recolored layer, or colors that differ."""

OPACITIES = {MEAN: 1.0, DISTINCT: 0.7}
"""The opacity of new labels in each scheme.

Through transparent labels, mean colors would mix with the image, and a hidden cluster would
look like the others. Distinct colors show the image below, as napari's own labels do.
"""

_UNLISTED_COLORS = np.array(
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
"""Colors to choose from for labels that are no cluster, the most striking first."""

_SIMILAR = 0.1
"""Distance between colors from 0 to 1 below which they look the same at a glance."""


def label_colormap(colors: Mapping[Any, Any]) -> DirectLabelColormap:
    """Return a colormap that gives each cluster its color.

    Label 0 is transparent. Labels that are no cluster, for example a new label that
    the user paints by hand, share one visible color that no cluster has.

    Parameters
    ----------
    colors : mapping from label to color (3,) or (4,)
        The key None holds the color of labels that are no cluster. It is replaced
        if it is transparent or similar to the color of a cluster.
    """
    listed = [np.asarray(color)[:3] for label, color in colors.items() if label not in (None, 0)]
    unlisted = colors.get(None, TRANSPARENT)
    is_visible = len(unlisted) == 3 or unlisted[3] > 0
    distance = _distances_to_nearest(np.asarray(unlisted)[None, :3], listed)[0]
    if not is_visible or distance < _SIMILAR:
        farthest = _distances_to_nearest(_UNLISTED_COLORS, listed).argmax()
        unlisted = _UNLISTED_COLORS[farthest]
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


def _distances_to_nearest(candidates: Floats, colors: list[Any]) -> Floats:
    """Return the distance of each candidate (n, 3) to the nearest of some colors, (n,)."""
    nearest = np.full(len(candidates), np.inf)
    for color in colors:
        nearest = np.minimum(nearest, np.linalg.norm(candidates - color, axis=1))
    return nearest


def show_colormap(layer: Labels, colormap: Any) -> None:
    """Give a layer another colormap; "show selected" of napari stays as it is."""
    # napari stores the state of "show selected" in the colormap: copy it, or the
    # new colormap would show all labels.
    colormap.selection = layer.selected_label
    colormap.use_selection = layer.show_selected_label
    layer.colormap = colormap


def color_new_labels(colormap: DirectLabelColormap, labels: Sequence[int]) -> DirectLabelColormap:
    """Return a colormap in which further labels have visible colors that no other label has.

    The first of them gets the color that it already has as a label without an entry.
    """
    colors = dict(colormap.color_dict)
    new = [label for label in labels if label not in colors]
    if not new:
        return colormap
    listed = [color[:3] for label, color in colors.items() if label not in (None, 0)]
    n_candidates = 2 * len(new) + _N_SPIRAL
    candidates = np.concatenate([[colormap.default_color[:3]], _spiral(n_candidates)])
    nearest = _distances_to_nearest(candidates, listed)
    choice = 0 if nearest[0] >= _SIMILAR else int(nearest.argmax())
    for label in new:
        colors[label] = candidates[choice]
        distances = np.linalg.norm(candidates - candidates[choice], axis=1)
        nearest = np.minimum(nearest, distances)
        choice = int(nearest.argmax())
    return label_colormap(colors)


_N_SPIRAL = 256


def _spiral(number: int) -> Floats:
    """Return bright colors (n, 3) whose hues are spread by the golden angle."""
    steps = np.arange(number)
    hues = steps * 0.618034 % 1
    values, saturations = 1 - 0.4 * (steps % 7) / 6, 1 - 0.6 * (steps % 5) / 4
    phases = np.abs((hues[:, None] + np.array([1, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1
    return np.asarray(values[:, None] * (1 + saturations[:, None] * (np.clip(phases, 0, 1) - 1)))


def shown_colors(values: NDArray[Any], source: Source) -> Floats:
    """Return the colors (n, 3) from 0 to 1 in which napari shows pixels of a layer.

    Parameters
    ----------
    values : (n, C) array
        Pixels in channel units.
    source : Source
        Its contrast limits and gamma apply; for gray pixels its colormap applies too.
        The colors of several channels are added, as in napari's additive blending.
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
    """Scale values from the contrast limits to the range 0 to 1, and apply gamma."""
    # Halve first, so that the difference of two large floats cannot overflow.
    low, high = (float(limit) / 2 for limit in display["contrast_limits"])
    levels = (np.asarray(values, np.float64) / 2 - low) / (high - low)
    return np.asarray(np.clip(levels, 0, 1) ** display["gamma"])


def mean_colors(means: Floats, source: Source) -> Floats:
    """Return the colors (K, 3) from 0 to 1 in which a recolored layer shows means (K, C)."""
    # Round to the dtype of the layer, as the recolored image is. A model that is applied
    # to another layer may have another dtype.
    return shown_colors(round_to(means, np.dtype(source.data.dtype)), source)


def default_scheme(rgb: bool) -> str:
    """Return the color scheme of new labels: mean colors for RGB, else distinct colors.

    The mean colors of gray levels are hard to tell apart, and so are those of channels, which
    are mixed from few hues.
    """
    return MEAN if rgb else DISTINCT


def class_colors(model: KMeansModel, source: Source, scheme: str) -> Floats:
    """Return the colors (K, 3) from 0 to 1 of the classes of a model.

    Parameters
    ----------
    model : KMeansModel
    source : Source
    scheme : {"mean", "distinct"}
        The colors in which the recolored layer shows the classes, or colors that differ.
        Classes with their own display color have this color.
    """
    if scheme == DISTINCT:
        return model.with_own_colors(distinct_colors(model.labels))
    return model.with_own_colors(mean_colors(model.palette, source))


def cluster_colors(outcome: AnySegmentation, source: Source, scheme: str) -> Floats:
    """Return the colors (K, 3) from 0 to 1 in which the labels show each cluster."""
    model = outcome.model
    if isinstance(model, KMeansModel):
        return class_colors(model, source, scheme)
    if scheme == DISTINCT:
        return distinct_colors(outcome.table["index"].to_numpy())
    return mean_colors(channel_means(outcome.table), source)


def layer_table(outcome: AnySegmentation, source: Source, scheme: str) -> pd.DataFrame:
    """Return the table of a result with the colors in which napari shows the clusters.

    For a multiscale layer, the column `level` is the level whose pixels were counted.
    """
    table = outcome.table.copy()
    table["color"] = to_hex(cluster_colors(outcome, source, scheme))
    if source.multiscale:
        table["level"] = source.level
    return table
