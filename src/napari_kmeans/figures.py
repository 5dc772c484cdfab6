"""Plot palettes, legends, colors, scores and the shares of groups with matplotlib."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.checks import check_result, quote_value
from napari_kmeans.classes import clean_name
from napari_kmeans.clustering.selection import BEST, TITLES
from napari_kmeans.imaging.blocks import as_array
from napari_kmeans.imaging.colors import display_colors
from napari_kmeans.measurement_output import check_measurements, sum_regions
from napari_kmeans.measurement_table import CLASS, COLOR, IMAGE, REGION
from napari_kmeans.measuring import (
    COUNT_COLUMNS,
    IGNORED,
    NAME,
    are_ignored,
    count_undecided,
    undecided_percent,
)
from napari_kmeans.segmentation import Segmentation
from napari_kmeans.stacks import StackSegmentation
from napari_kmeans.suggestion import Suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

_N_SAMPLED = 4000
"""Approximate number of pixels in a scatter plot."""

_INK, _GRID, _ACCENT = "#333333", "#dddddd", "#0b6e99"
_PANEL = "#ececec"
"""Background of scatter plots: light gray, so that white pixels are visible."""

_MAX_NAME = 60
"""Characters of a name beside a bar: longer names would make the figure too wide."""

_NAME_WIDTH = 0.067
"""Width of a character of a name in inches, at 8 points of a monospaced font."""

_LEGEND_ROW = 0.24
"""Height of a row of a legend in inches."""

_LEGEND_SWATCH, _LEGEND_GAP = 0.3, 0.12
"""Width of a swatch, and distance between the columns of a legend, in inches."""

_MAX_LEGEND_ROWS = 500
"""Rows of a legend: matplotlib draws no figure of more than 65,536 pixels in height."""

_MAX_ROWS = 40
"""Number of bars above which the bars are too thin for a text each."""


_FIGURE_WIDTH = 7.3
"""The largest width in inches of a figure of shares in several columns: a page of a journal."""

_PANEL_HEIGHT, _LEAST_WIDTH, _Y_AXIS_WIDTH = 2.2, 1.1, 0.65
"""Height and least width of the axes of a class, and width of the numbers beside them, in inches.
"""

_TEXT_WIDTH, _TEXT_HEIGHT = 0.068, 0.14
"""Mean width of a character, and height of a line, in inches at 8 points."""

_MAX_GROUP = 24
"""Characters of the name of a group: longer names would leave no space for the axes."""

_MAX_TITLE_LINES = 3

_MAX_CLASSES, _MAX_GROUPS = 60, 100
"""Numbers of classes and of groups of one figure. With more, matplotlib needs minutes."""

_MAX_VECTOR_POINTS = 2000
"""Number of points of a class above which an SVG or PDF file has them as pixels."""

_PRINT_DPI = 300
"""Pixels per inch of a figure of shares, which journals ask for."""

_MAX_HEIGHT = 65_000
"""Pixels in height of a figure of shares: matplotlib draws no figure of more than 65,536."""

_GOLDEN = 0.6180339887498949
"""Multiples of this number, modulo 1, are evenly spread for any number of points."""


def plot_palette(segmentation: Segmentation | StackSegmentation) -> Figure:
    """Plot the colors of the clusters and their shares.

    Parameters
    ----------
    segmentation : Segmentation or StackSegmentation
        The result of `segment` or `segment_slices`.

    Returns
    -------
    matplotlib.figure.Figure
        Save the figure with ``figure.savefig``, as PNG, SVG or another format.
        The figure is not registered with `matplotlib.pyplot`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If `segmentation` is no such result.

    Examples
    --------
    >>> plot_palette(segmentation).savefig("palette.svg")
    """
    check_result("segmentation", segmentation, Segmentation, StackSegmentation)
    return plot_table(segmentation.table)


def plot_table(table: pd.DataFrame) -> Figure:
    """Plot the colors and the shares in a table of clusters, as `plot_palette` does."""
    rows = min(len(table), _MAX_ROWS)
    names = _shown_names(table) if len(table) <= _MAX_ROWS else []
    width = 5 + _NAME_WIDTH * max(map(len, names), default=0)
    figure = _new_figure(width, 1.15 + 0.24 * rows)
    strip, bars = figure.subplots(2, 1, height_ratios=(0.45, 0.24 * rows))
    _draw_strip(strip, table)
    _draw_bars(bars, table)
    return figure


def plot_legend(segmentation: Segmentation | StackSegmentation) -> Figure:
    """Plot a legend of the classes: the color, the label, the name and the share of each.

    Parameters
    ----------
    segmentation : Segmentation or StackSegmentation
        The result of `segment` or `segment_slices`. The percentages are of the pixels that have
        a class. If pixels are undecided, a last row has their percentage of all pixels.

    Returns
    -------
    matplotlib.figure.Figure
        Its background is transparent in a file if ``savefig`` gets ``transparent=True``. Save
        it as PNG, SVG or PDF, or in another format. It is not registered with
        `matplotlib.pyplot`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If `segmentation` is no such result.

    Examples
    --------
    >>> plot_legend(segmentation).savefig("legend.svg")
    """
    check_result("segmentation", segmentation, Segmentation, StackSegmentation)
    return plot_legend_of_table(segmentation.table)


def plot_legend_of_table(table: pd.DataFrame) -> Figure:
    """Plot the legend of a table of clusters, as `plot_legend` does."""
    rows = legend_rows(table)[:_MAX_LEGEND_ROWS]
    if len(rows) < len(table):
        rows.append(LegendRow("…", f"{len(table) - len(rows)} more", "#ffffff", ""))
    rows += undecided_rows(table)
    height = _LEGEND_ROW * max(len(rows), 1)
    figure = _new_figure(1, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    # "$" would begin a formula.
    style: dict[str, Any] = {"fontsize": 9, "color": _INK, "va": "center", "parse_math": False}
    x = 2 * _LEGEND_GAP + _LEGEND_SWATCH
    for n, row in enumerate(rows):
        axes.barh(n + 0.5, _LEGEND_SWATCH, 0.64, _LEGEND_GAP, color=row.color, ec=_INK, lw=0.5)
    columns = [([row.label for row in rows], "right"), ([row.name for row in rows], "left")]
    for column, side in [*columns, ([row.share for row in rows], "right")]:
        texts = [axes.text(x, n + 0.5, text, **style) for n, text in enumerate(column)]
        width = max((text.get_window_extent().width for text in texts), default=0) / figure.dpi
        for text in texts:
            text.set(x=x + width if side == "right" else x, ha=side)
        x += width + _LEGEND_GAP if width else 0
    figure.set_size_inches(x, height)
    axes.set(xlim=(0, x), ylim=(len(rows), 0))
    return figure


class LegendRow(NamedTuple):
    """What a legend shows of one class."""

    label: str
    name: str
    color: str
    """As #rrggbb."""

    share: str
    """The percentage of the pixels, "ignored", or "" if it is not known."""


def legend_rows(table: pd.DataFrame) -> list[LegendRow]:
    """Return the rows of a legend for a table of clusters, in the order of the table."""
    names = table[NAME].fillna("") if NAME in table else [""] * len(table)
    percent = table["percent"] if "percent" in table else [float("nan")] * len(table)
    rows = zip(table["index"], names, table["color"], percent, are_ignored(table), strict=True)
    return [
        LegendRow(str(label), _shorten(str(name)), color, _share(share, bool(is_ignored)))
        for label, name, color, share, is_ignored in rows
    ]


def undecided_rows(table: pd.DataFrame) -> list[LegendRow]:
    """Return a row for the pixels that a table counts as undecided; none if there are none."""
    if not count_undecided(table):
        return []
    share = _share(undecided_percent(table), is_ignored=False)
    return [LegendRow("", "undecided", "#ffffff", share)]


def _share(percent: float, is_ignored: bool) -> str:
    if is_ignored:
        return "ignored"
    return "" if percent != percent else f"{percent:.1f} %"


def _shown_names(table: pd.DataFrame) -> list[str]:
    """Return the names of a table in one length, so that they form a column; it may be empty."""
    names = [_shorten(str(name)) for name in table[NAME].fillna("")] if NAME in table else []
    length = max(map(len, names), default=0)
    return [name.ljust(length) for name in names]


def _draw_strip(axes: Axes, table: pd.DataFrame) -> None:
    """Draw a strip in which the width of each color is the share of its cluster."""
    percent = table["percent"].fillna(0)
    axes.barh(0, percent, left=percent.cumsum() - percent, color=table["color"], height=1, lw=0)
    axes.set(xlim=(0, 100), ylim=(-0.5, 0.5), xticks=[], yticks=[])
    title = f"{len(table)} clusters"
    if count_undecided(table):
        all_pixels = table["pixels"].sum() + count_undecided(table)
        title += f"; {100 * count_undecided(table) / all_pixels:.1f} % of the pixels undecided"
    axes.set_title(title, loc="left", fontsize=10, color=_INK)
    axes.spines[:].set_color(_INK)


def _draw_bars(axes: Axes, table: pd.DataFrame) -> None:
    """Draw a bar for each cluster, from top to bottom in the order of the table."""
    # Place bars by row, not by label: a table that was edited may lack labels.
    places, percent = range(1, len(table) + 1), table["percent"].fillna(0).to_numpy()
    # The edge keeps a white bar visible on the white background.
    edge = 0.5 if len(table) <= _MAX_ROWS else 0.2
    bars = axes.barh(
        places, percent, color=table["color"], height=0.8, edgecolor=_INK, linewidth=edge
    )
    # The scale of the strip above: a share ends at the same place in both.
    axes.set(ylim=(len(table) + 0.6, 0.4), xlim=(0, 100))
    pixels = "decided pixels" if count_undecided(table) else "pixels"
    axes.set_xlabel(f"percent of the {pixels}", color=_INK, fontsize=9)
    _tidy(axes)
    axes.grid(axis="y", visible=False)
    if len(table) <= _MAX_ROWS:
        texts = table["index"].astype(str) + "  " + table["color"]
        if NAME in table:
            texts = texts + "  " + _shown_names(table)
        axes.set_yticks(places, texts, family="monospace")
        # An ignored class has no share: NaN in the table.
        shares = ["ignored" if share != share else f"{share:.1f}" for share in table["percent"]]
        axes.bar_label(bars, shares, padding=3, fontsize=8, color=_INK)


def plot_colors(image: Any, segmentation: Segmentation) -> Figure:
    """Plot red against green and red against blue, before and after recoloring.

    Parameters
    ----------
    image : (..., 3) or (..., 4) array
        The RGB image that was segmented, as a NumPy or dask array.
    segmentation : Segmentation
        The result of `segment` for the image.

    Returns
    -------
    matplotlib.figure.Figure
        Top row: about 4000 pixels on a regular grid in their own colors. Bottom
        row: the same pixels in the colors of their clusters, with a disc at the
        color of each cluster. The area of a disc is proportional to the share of
        its cluster, with a minimum. Pixels that were left out are not shown.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If the image is not RGB or has another shape than the segmentation, or if the
        segmentation is not of one image.
    """
    check_result("segmentation", segmentation, Segmentation)
    if isinstance(segmentation.labels, list):
        raise ValueError(
            f"segmentation must be of one image, got one of {len(segmentation.labels)} images or "
            "levels: segment the image by itself."
        )
    sample = _sample_pixels(image, segmentation)
    figure = _new_figure(7, 7)
    panels = figure.subplots(2, 2, sharex=True, sharey="col")
    for column, (channel, name) in enumerate(((1, "green"), (2, "blue"))):
        before, after = panels[:, column]
        _scatter(before, sample.values[:, [0, channel]], sample.own_colors)
        _scatter(after, sample.values[:, [0, channel]], sample.cluster_colors)
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
    """Sampled pixels: their values, their own colors and the colors of their clusters.

    All arrays are (n, 3); colors are from 0 to 1.
    """

    values: NDArray[np.float64]
    own_colors: NDArray[np.float64]
    cluster_colors: NDArray[np.float64]


def _sample_pixels(image: Any, segmentation: Segmentation) -> _Sample:
    """Return the pixels on a regular grid, without pixels that were left out."""
    model, shape = segmentation.model, tuple(segmentation.labels.shape)
    pixels = as_array("image", image)
    is_rgb = model.rgb and pixels.shape[-1:] in ((3,), (4,)) and pixels.dtype.kind in "buif"
    if not is_rgb or tuple(pixels.shape[:-1]) != shape:
        raise ValueError(
            f"image must be the RGB image that was segmented, of spatial shape {shape}, got "
            f"shape {tuple(pixels.shape)} and dtype {pixels.dtype}: pass that image."
        )
    step = max(1, round((np.prod(shape) / _N_SAMPLED) ** (1 / len(shape))))
    grid = (slice(None, None, step),) * len(shape)
    labels = np.asarray(segmentation.labels[grid])
    values = np.asarray(pixels[grid])[labels > 0][:, :3].astype(np.float64)
    own = display_colors(values, model.rgb, model.dtype, model.palette)
    return _Sample(values, own, model.colors[np.searchsorted(model.labels, labels[labels > 0])])


def _scatter(axes: Axes, values: NDArray[np.float64], colors: NDArray[np.float64]) -> None:
    # Rasterize: thousands of vector shapes make an SVG file of several megabytes.
    axes.scatter(values[:, 0], values[:, 1], c=colors, s=5, linewidths=0, rasterized=True)


def _draw_discs(axes: Axes, segmentation: Segmentation, channel: int) -> None:
    palette = segmentation.model.palette[:, [0, channel]]
    shares = np.nan_to_num(segmentation.table["percent"].to_numpy()) / 100
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
        The result of `suggest_n_clusters`.

    Returns
    -------
    matplotlib.figure.Figure
        A curve for each of the three scores, a disc at the number of clusters
        that the score votes for, and a line at the suggested number.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If `suggestion` is no such result.
    """
    check_result("suggestion", suggestion, Suggestion)
    figure = _new_figure(5, 5)
    from matplotlib.ticker import EngFormatter, MaxNLocator

    panels = figure.subplots(3, 1, sharex=True)
    numbers = suggestion.scores["n_clusters"]
    for axes, (name, title) in zip(panels, TITLES.items(), strict=True):
        values = suggestion.scores[name]
        vote = suggestion.votes[name]
        axes.axvline(suggestion.n_clusters, color=_ACCENT, alpha=0.25, linewidth=7)
        axes.plot(numbers, values, color=_INK, linewidth=1.2, marker="o", markersize=3)
        axes.plot(vote, values[numbers == vote], "o", color=_ACCENT, markersize=8)
        better = "higher" if BEST[name] is max else "lower"
        axes.set_ylabel(f"{title}\n({better} is better)", color=_INK, fontsize=8)
        _tidy(axes)
    # The Calinski-Harabasz index grows with the number of pixels: write 1M for 1,000,000.
    panels[0].yaxis.set_major_formatter(EngFormatter(sep=""))
    title = f"suggested number of clusters: {suggestion.n_clusters}"
    panels[0].set_title(title, loc="left", fontsize=10, color=_INK)
    panels[-1].set_xlabel("number of clusters", color=_INK)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels(panels)
    return figure


def plot_shares(
    table: pd.DataFrame,
    by: str = "group",
    *,
    classes: str | int | Sequence[str | int] | None = None,
) -> Figure:
    """Plot the share of each class in each image, by group.

    Parameters
    ----------
    table : pandas.DataFrame
        Measurements of several images: ``run_study(…).table``, the result of `measure`, or the
        file ``napari-kmeans-measurements.csv``. The regions and slices of an image are summed.
        The rows of some classes keep the shares of their column `percent`.
    by : str, default "group"
        The column of the groups, such as "patient". Groups have the order of their first
        images. If there is no column "group", all images are in one column.
    classes : str, int or sequence of them, optional
        The names or the numbers of the classes to draw, in this order. None draws all that are
        not ignored, in the order of their numbers.

    Returns
    -------
    matplotlib.figure.Figure
        Axes for each class, with a point for each image and a line at the mean of each group. The
        numbers below are those of images. Images without counted pixels are left out. A PNG file
        has 300 pixels per inch. The figure is not registered with `matplotlib.pyplot`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If `table` is no table of measurements, has no pixels that count, or more than 60 classes
        or 100 groups, or if `by` is no column before "region". If a class of `classes` is ignored
        or not in the table. If the table has some classes of an image with several regions, whose
        shares are not known without the other classes.

    Examples
    --------
    >>> plot_shares(run_study(study).table, classes="lesion").savefig("shares.pdf")
    """
    shares, groups = _shares_of_groups(table, by, classes)
    names, labels = list(dict.fromkeys(groups)), [int(label) for label in shares.columns]
    n_classes = len(labels)
    columns = _describe_columns(names, groups, n_classes)
    n_columns = max(1, min(n_classes, int(_FIGURE_WIDTH / columns.width)))
    n_rows = math.ceil(n_classes / n_columns)
    # As many in each row: five classes in rows of three and two.
    n_columns = math.ceil(n_classes / n_rows)
    height = n_rows * (_PANEL_HEIGHT + columns.height)
    titles = _class_titles(table, labels, columns.width - _Y_AXIS_WIDTH)
    y_label, width = "percent of the pixels that count", n_columns * columns.width
    if n_classes == 1:
        # The name is along the axis, in lines of its own.
        (name,) = _class_titles(table, labels, _PANEL_HEIGHT)
        titles, y_label = [""], f"{name}\n(% of the pixels that count)"
        width += y_label.count("\n") * _TEXT_HEIGHT
    figure = _new_figure(width, height, min(_PRINT_DPI, _MAX_HEIGHT / height))
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    colors = table.groupby(CLASS)[COLOR].first()
    places = np.array([names.index(name) for name in groups])
    for number, (axes, label) in enumerate(zip(panels, labels, strict=False)):
        _draw_groups(axes, shares[label].to_numpy(np.float64), places, colors[label])
        axes.set_title(titles[number], loc="left", fontsize=9, color=_INK, parse_math=False)
        axes.set_xticks(
            range(len(names)), columns.texts, rotation=columns.rotation, parse_math=False
        )
        if number % n_columns == 0:
            axes.set_ylabel(y_label, color=_INK, fontsize=8, parse_math=False)
    for axes in panels[n_classes:]:
        axes.set_axis_off()
    return figure


class _Columns(NamedTuple):
    """The columns of the groups in the axes of a class, in inches."""

    texts: list[str]
    rotation: int
    width: float
    """Of the axes with their numbers."""

    height: float
    """Of the texts."""


def _describe_columns(names: list[str], groups: list[str], n_classes: int) -> _Columns:
    """Return the columns of groups: with upright texts if those side by side take a whole page."""
    shown = [_cut(name, _MAX_GROUP) for name in names]
    numbers = [f"n = {groups.count(name):,}" for name in names]
    longest = max(map(len, [*shown, *numbers])) * _TEXT_WIDTH
    width = _Y_AXIS_WIDTH + max(len(names) * (longest + 0.1), _LEAST_WIDTH)
    if width * min(n_classes, 2) <= _FIGURE_WIDTH:
        texts = [f"{name}\n{number}" for name, number in zip(shown, numbers, strict=True)]
        return _Columns(texts, 0, width, 4 * _TEXT_HEIGHT)
    texts = [f"{name} ({number})" for name, number in zip(shown, numbers, strict=True)]
    spacing = np.clip((_FIGURE_WIDTH - _Y_AXIS_WIDTH) / len(names), _TEXT_HEIGHT, 2 * _TEXT_HEIGHT)
    width = _Y_AXIS_WIDTH + max(len(names) * spacing, _LEAST_WIDTH)
    return _Columns(texts, 90, width, 2 * _TEXT_HEIGHT + max(map(len, texts)) * _TEXT_WIDTH)


def _shares_of_groups(table: Any, by: str, classes: Any) -> tuple[pd.DataFrame, list[str]]:
    """Return the shares in percent, a row for each image and a column for each class, and groups.

    Ignored classes and images without counted pixels are left out.
    """
    places = check_measurements(table)
    missing = [name for name in (COLOR, *COUNT_COLUMNS[1:], IGNORED) if name not in table]
    if missing:
        raise ValueError(
            f"table must have the column {quote_value(missing[0])}, got {quote_value(list(table))}:"
            " pass all columns of the result of measure."
        )
    keys = [str(name) for name in list(table)[: list(table).index(REGION)] if name != IMAGE]
    if by not in (*keys, "group"):
        raise ValueError(
            f"by must be a column of the groups, got {quote_value(by)}: choose one of "
            f"{quote_value(keys)}, or add metadata to the table."
        )
    shares = _shares_of_images(table, list(table)[:places])
    if classes is not None:
        shares = shares[_find_classes(table, shares, classes)]
    names = table.drop_duplicates(IMAGE).set_index(IMAGE)
    groups = [_group_name(value) for value in names[by][shares.index]] if by in names else []
    groups = groups or ["all images"] * len(shares)
    n_groups, n_classes = len(set(groups)), len(shares.columns)
    if not 1 <= n_classes <= _MAX_CLASSES:
        raise ValueError(
            f"table must have 1 to {_MAX_CLASSES} classes that count, got {n_classes}: merge "
            "classes, choose some by classes, or measure images whose pixels are not all ignored."
        )
    if n_groups > _MAX_GROUPS:
        raise ValueError(
            f"by must be a column of at most {_MAX_GROUPS} groups, got {quote_value(by)} with "
            f"{n_groups:,}: choose a column with fewer groups."
        )
    return shares, groups


def _shares_of_images(table: pd.DataFrame, keys: list[Any]) -> pd.DataFrame:
    """Return the shares in percent, a row for each image and a column for each class that counts.

    Rows of classes may have been removed from the table: the shares of the others are then those
    of the column `percent`, because the pixels that are left would add up to 100 %.
    """
    percent = COUNT_COLUMNS[2]
    # A region without counted pixels has no shares.
    sums = table.groupby(keys, sort=False, dropna=False)[percent].sum(min_count=1).dropna()
    is_whole = np.allclose(sums, 100, rtol=0, atol=0.01)
    repeated = table[table[[IMAGE, CLASS]].duplicated()]
    if not is_whole and len(repeated):
        image, label = repeated[[IMAGE, CLASS]].iloc[0]
        raise ValueError(
            "table must have all classes of an image with several regions, got several rows of "
            f"class {label} in {quote_value(image)} without all classes: pass the whole table, "
            "and choose the classes by classes."
        )
    rows = sum_regions(table) if is_whole else table
    counted = rows[~rows[IGNORED].astype(bool) & rows[percent].notna()]
    shares = counted.pivot_table(percent, IMAGE, CLASS, sort=False).sort_index(axis=1)
    if is_whole:
        # An image of fewer classes has no pixels of the others.
        return shares.fillna(0)
    images, labels = np.nonzero(shares.isna().to_numpy())
    if len(images):
        raise ValueError(
            f"table must have the same classes in each image, got no row of class "
            f"{shares.columns[labels[0]]} in {quote_value(shares.index[images[0]])}: pass the "
            "whole table, and choose the classes by classes."
        )
    return shares


def _find_classes(table: pd.DataFrame, shares: pd.DataFrame, classes: Any) -> list[int]:
    """Return the numbers of the classes of these names or numbers, each once."""
    names = _class_names(table)
    is_one = isinstance(classes, str) or not isinstance(classes, Iterable)
    counted = [int(label) for label in shares.columns]
    found: list[int] = []
    for each in [classes] if is_one else classes:
        labels = [label for label in counted if each in (label, names.get(label))]
        if not labels:
            raise ValueError(
                f"classes must be names or numbers of classes that count, got {quote_value(each)}: "
                f"choose from {quote_value([names.get(label, label) for label in counted])}."
            )
        found += labels
    return list(dict.fromkeys(found))


def _group_name(value: Any) -> str:
    # A column of whole numbers with a missing one is read as real numbers.
    if value is None or value != value or value == "":
        return "no group"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _class_names(table: pd.DataFrame) -> dict[Any, str]:
    """Return the name of each class that has one."""
    named = table[table[NAME].notna() & (table[NAME].astype(str) != "")]
    known = named.groupby(CLASS)[NAME].first().to_dict()
    return {label: str(name) for label, name in known.items()}


def _class_titles(table: pd.DataFrame, labels: list[int], width: float) -> list[str]:
    """Return the title of each class, in lines of a width in inches: its name, or its label."""
    known = _class_names(table)
    names = [_shorten(known.get(label, f"class {label}")) for label in labels]
    # A title has 9 points, the other texts 8.
    n_characters = int(width / (1.15 * _TEXT_WIDTH))
    titles = []
    for label, name in zip(labels, names, strict=True):
        title = f"{name} ({label})" if names.count(name) > 1 else name
        lines = textwrap.wrap(title, n_characters, max_lines=_MAX_TITLE_LINES, placeholder="…")
        titles.append("\n".join(lines))
    return titles


def _draw_groups(axes: Axes, percent: Floats, places: NDArray[np.int64], color: str) -> None:
    """Draw a point for each share (n,) at the place of its group, and the mean of each group."""
    spread = np.zeros(len(percent))
    n_groups = int(places.max()) + 1
    for place in range(n_groups):
        rows = np.flatnonzero(places == place)
        # One point is in the middle, and more are side by side.
        spread[rows] = 0.36 * ((np.arange(1, len(rows) + 1) * _GOLDEN) % 1 - 0.5) * (len(rows) > 1)
        mean = percent[rows].mean()
        axes.plot([place - 0.3, place + 0.3], [mean, mean], color=_INK, linewidth=1.6, zorder=3)
    size = 26 if len(percent) <= 200 else 9
    axes.scatter(
        places + spread,
        percent,
        s=size,
        c=color,
        edgecolors=_INK,
        linewidths=0.5,
        alpha=0.85,
        clip_on=False,
        rasterized=len(percent) > _MAX_VECTOR_POINTS,
        zorder=2,
    )
    # A share of 0 lies on the axis, which begins there: shares can be compared by eye.
    axes.set(xlim=(-0.5, n_groups - 0.5), ylim=(0, 1.08 * percent.max() or 1))
    _tidy(axes)
    axes.grid(axis="x", visible=False)


def _shorten(text: str) -> str:
    """Return a name on one line, and cut if it is too long. A script may have written it."""
    return _cut(text, _MAX_NAME)


def _cut(text: str, length: int) -> str:
    name = clean_name(text)
    return name if len(name) <= length else name[: length - 1] + "…"


def _new_figure(width: float, height: float, dpi: float = 150) -> Figure:
    """Return a figure of a size in inches that is not registered with pyplot.

    So the figure needs no window system, and nothing has to close it.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "figures need matplotlib, which is not installed: run pip install matplotlib."
        ) from error
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.tick_params(labelsize=8, colors=_INK)
    axes.grid(color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
