"""The geometry of the charts in a report, which its template draws as SVG.

The charts are bars, boxes and points, so that a few lines of the template draw them: they need no
library, their text is text, and each point has the name of its image.
"""

from __future__ import annotations

from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

_GOLDEN = 0.6180339887498949
"""Multiples of this number, modulo 1, are evenly spread for any number of points."""


class Segment(NamedTuple):
    """A part of a bar: the position of its start and its length in percent, and its color."""

    start: float
    length: float
    color: str


def stack_bar(percent: Floats, colors: Sequence[str]) -> list[Segment]:
    """Return the segments of a bar of shares (K,), of which NaN are left out."""
    starts = np.cumsum(np.nan_to_num(percent)) - np.nan_to_num(percent)
    return [
        Segment(round(start, 2), round(length, 2), color)
        for start, length, color in zip(starts.tolist(), percent.tolist(), colors, strict=True)
        if length > 0
    ]


def draw_columns(percent: Floats, colors: NDArray[Any]) -> list[tuple[str, str]]:
    """Return bars side by side as a color and an SVG path for each color of each class.

    Parameters
    ----------
    percent : (N, K) float64 array
        The shares of N bars, each one unit wide and 100 high. A bar of NaN is left out.
    colors : (N, K) array of str

    Returns
    -------
    list of (color, path)
        In the order to draw them: each part reaches to the end of its bar, under the next ones.
    """
    shares = np.nan_to_num(percent)
    starts = np.cumsum(shares, axis=1) - shares
    paths: dict[tuple[int, str], list[str]] = {}
    for number in range(shares.shape[1]):
        for bar in np.flatnonzero(shares[:, number]).tolist():
            part = f"M{bar} {starts[bar, number]:.4g}h1V100h-1z"
            paths.setdefault((number, str(colors[bar, number])), []).append(part)
    return [(color, "".join(parts)) for (_, color), parts in paths.items()]


class Box(NamedTuple):
    """A row of a box plot.

    The box reaches from the first to the third quartile, and the whiskers to the smallest and the
    largest value, because all points are shown.
    """

    label: str
    color: str
    """Of the points, as #rrggbb."""

    n: int
    low: float
    first: float
    median: float
    third: float
    high: float
    mean: float
    points: list[tuple[float, float, str]]
    """The value, the offset from the middle of the row from -1 to 1, and the name."""


def make_box(label: str, color: str, values: Floats, names: Sequence[str]) -> Box | None:
    """Return the box of values (n,) with the name of each; None for no value."""
    if not len(values):
        return None
    low, first, median, third, high = np.percentile(values, [0, 25, 50, 75, 100]).tolist()
    offsets = [2 * ((number * _GOLDEN) % 1) - 1 for number in range(1, len(values) + 1)]
    points = list(zip(values.tolist(), offsets, names, strict=True))
    mean = float(values.mean())
    return Box(label, color, len(values), low, first, median, third, high, mean, points)


class Axis(NamedTuple):
    """An axis from 0 to `end` with ticks."""

    end: float
    ticks: list[float]

    def place(self, value: float, start: float, length: float) -> float:
        """Return the coordinate of a value on an axis of a length in pixels."""
        return round(start + length * value / self.end, 1)


def make_axis(largest: float) -> Axis:
    """Return an axis from 0 to the first round number of at least `largest`, with 3 to 6 ticks."""
    if not largest > 0:
        return Axis(1.0, [0.0, 0.5, 1.0])
    power = 10.0 ** floor(log10(largest))
    step = next(step for step in (0.2, 0.5, 1.0, 2.0) if ceil(largest / power / step) <= 5) * power
    n_steps = max(2, ceil(round(largest / step, 9)))
    return Axis(n_steps * step, [number * step for number in range(n_steps + 1)])


class Panel(NamedTuple):
    """One box plot: its title and its rows on one axis."""

    title: Any
    boxes: list[Box]
    axis: Axis


def make_panel(title: Any, boxes: Sequence[Box | None]) -> Panel:
    """Return a box plot of rows on a common axis that begins at 0."""
    shown = [box for box in boxes if box is not None]
    return Panel(title, shown, make_axis(max((box.high for box in shown), default=0.0)))
