"""Figures of a result, to look at or to save; they need matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.imaging.colors import display_colors

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_kmeans.segmentation import Segmentation
    from napari_kmeans.stacks import StackSegmentation
    from napari_kmeans.suggestion import Suggestion

_SAMPLE = 4000
"""Pixels in a scatter plot, about."""

_INK, _GRID, _ACCENT = "#333333", "#dddddd", "#0b6e99"
_PANEL = "#ececec"
"""White pixels are seen on it."""

_MOST_ROWS = 40
"""Bars of more clusters have no room for a text each."""

_SCORES = {
    "calinski_harabasz": "Calinski\u2013Harabasz\n(higher is better)",
    "silhouette": "silhouette\n(higher is better)",
    "bic": "tempered BIC\n(lower is better)",
}


def plot_palette(segmentation: Segmentation | StackSegmentation) -> Figure:
    """Plot the colors of the clusters and their shares.

    Parameters
    ----------
    segmentation : Segmentation or StackSegmentation
        What `segment` or `segment_slices` returned.

    Returns
    -------
    matplotlib.figure.Figure
        For ``figure.savefig``, to PNG, SVG and others. It is not one of pyplot's.

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> plot_palette(segmentation).savefig("palette.svg")
    """
    table = segmentation.table
    rows = min(len(table), _MOST_ROWS)
    figure = _new_figure(5, 1.15 + 0.24 * rows)
    strip, bars = figure.subplots(2, 1, height_ratios=(0.45, 0.24 * rows))
    _draw_strip(strip, table)
    _draw_bars(bars, table)
    return figure


def _draw_strip(axes: Axes, table: pd.DataFrame) -> None:
    """Fill a strip with the colors, as wide as their shares."""
    ends = table["percent"].cumsum()
    axes.barh(
        0, table["percent"], left=ends - table["percent"], color=table["color"], height=1, lw=0
    )
    axes.set(xlim=(0, 100), ylim=(-0.5, 0.5), xticks=[], yticks=[])
    axes.set_title(f"{len(table)} clusters", loc="left", fontsize=10, color=_INK)
    axes.spines[:].set_color(_INK)


def _draw_bars(axes: Axes, table: pd.DataFrame) -> None:
    """Draw a bar for each cluster, the first one on top."""
    # Labels may be missing from a table that was edited.
    places, percent = range(1, len(table) + 1), table["percent"].to_numpy()
    # With an edge, for white would not be seen on white.
    edge = 0.5 if len(table) <= _MOST_ROWS else 0.2
    bars = axes.barh(
        places, percent, color=table["color"], height=0.8, edgecolor=_INK, linewidth=edge
    )
    axes.set(ylim=(len(table) + 0.6, 0.4), xlim=(0, 1.14 * percent.max()))
    axes.set_xlabel("percent of the pixels", color=_INK, fontsize=9)
    _tidy(axes)
    axes.grid(axis="y", visible=False)
    if len(table) <= _MOST_ROWS:
        names = table["index"].astype(str) + "  " + table["color"]
        axes.set_yticks(places, names, family="monospace")
        axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8, color=_INK)


def plot_colors(image: Any, segmentation: Segmentation) -> Figure:
    """Plot red against green and red against blue, before and after recoloring.

    Parameters
    ----------
    image : (..., 3) or (..., 4) array
        The RGB image that was segmented; numpy or dask.
    segmentation : Segmentation
        What `segment` returned for it.

    Returns
    -------
    matplotlib.figure.Figure
        Above, about 4000 pixels on a regular grid in their own colors; below,
        the same pixels in the colors of their clusters, and discs where these
        colors are, with areas as the shares of the clusters. Pixels that were
        left out are not shown.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the image is not RGB or not the one that was segmented.
    """
    sample = _sampled(image, segmentation)
    figure = _new_figure(7, 7)
    panels = figure.subplots(2, 2, sharex=True, sharey="col")
    for column, (channel, name) in enumerate(((1, "green"), (2, "blue"))):
        before, after = panels[:, column]
        _scatter(before, sample.values[:, [0, channel]], sample.own)
        _scatter(after, sample.values[:, [0, channel]], sample.shown)
        _draw_discs(after, segmentation, channel)
        before.set_title(f"red and {name}, before", loc="left", fontsize=10, color=_INK)
        after.set_title(f"red and {name}, after", loc="left", fontsize=10, color=_INK)
        after.set_xlabel("red", color=_INK)
        for axes in (before, after):
            axes.set_ylabel(name, color=_INK)
            _tidy(axes)
            axes.set_facecolor(_PANEL)
    return figure


class _Sample(NamedTuple):
    """Values (n, 3) of some pixels, their own colors and those of their clusters, 0 to 1."""

    values: NDArray[np.float64]
    own: NDArray[np.float64]
    shown: NDArray[np.float64]


def _sampled(image: Any, segmentation: Segmentation) -> _Sample:
    """Return pixels on a regular grid that were not left out."""
    model, shape = segmentation.model, tuple(segmentation.labels.shape)
    if not model.rgb or tuple(np.shape(image)[:-1]) != shape:
        raise ValueError(
            f"image must be the RGB image that was segmented, of spatial shape {shape}, got "
            f"shape {np.shape(image)}: pass that image."
        )
    step = max(1, round((np.prod(shape) / _SAMPLE) ** (1 / len(shape))))
    grid = (slice(None, None, step),) * len(shape)
    labels = np.asarray(segmentation.labels[grid])
    values = np.asarray(image[grid])[labels > 0][:, :3].astype(np.float64)
    own = display_colors(values, model.rgb, model.dtype, model.palette)
    return _Sample(values, own, model.colors[labels[labels > 0].astype(np.int64) - 1])


def _scatter(axes: Axes, values: NDArray[np.float64], colors: NDArray[np.float64]) -> None:
    # As thousands of shapes they would make an SVG file of megabytes.
    axes.scatter(values[:, 0], values[:, 1], c=colors, s=5, linewidths=0, rasterized=True)


def _draw_discs(axes: Axes, segmentation: Segmentation, channel: int) -> None:
    palette = segmentation.model.palette[:, [0, channel]]
    shares = segmentation.table["percent"].to_numpy() / 100
    sizes = np.maximum(1200 * shares, 20)
    colors = segmentation.model.colors
    for edge, width in (("white", 2.4), (_INK, 1.0)):
        axes.scatter(
            palette[:, 0], palette[:, 1], c=colors, s=sizes, edgecolors=edge, linewidths=width
        )


def plot_scores(suggestion: Suggestion) -> Figure:
    """Plot the scores of several numbers of clusters, with the suggested one.

    Parameters
    ----------
    suggestion : Suggestion
        What `suggest_n_clusters` returned.

    Returns
    -------
    matplotlib.figure.Figure
        A curve for each of the three scores, a disc at what it votes for, and
        a line at the suggested number.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    figure = _new_figure(5, 5)
    from matplotlib.ticker import EngFormatter, MaxNLocator

    panels = figure.subplots(3, 1, sharex=True)
    numbers = suggestion.scores["n_clusters"]
    for axes, (name, text) in zip(panels, _SCORES.items(), strict=True):
        values = suggestion.scores[name]
        vote = suggestion.votes[name]
        axes.axvline(suggestion.n_clusters, color=_ACCENT, alpha=0.25, linewidth=7)
        axes.plot(numbers, values, color=_INK, linewidth=1.2, marker="o", markersize=3)
        axes.plot(vote, values[numbers == vote], "o", color=_ACCENT, markersize=8)
        axes.set_ylabel(text, color=_INK, fontsize=8)
        _tidy(axes)
    # It grows with the number of pixels.
    panels[0].yaxis.set_major_formatter(EngFormatter(sep=""))
    title = f"suggested number of clusters: {suggestion.n_clusters}"
    panels[0].set_title(title, loc="left", fontsize=10, color=_INK)
    panels[-1].set_xlabel("number of clusters", color=_INK)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels(panels)
    return figure


def _new_figure(width: float, height: float) -> Figure:
    """Return a figure of so many inches that belongs to nobody else."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "figures need matplotlib, which is not installed: "
            "run pip install 'napari-kmeans[figures]'."
        ) from error
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.tick_params(labelsize=8, colors=_INK)
    axes.grid(color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
