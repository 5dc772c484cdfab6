"""A plot of three scores over the number of clusters, in which a number can be chosen.

The plot is drawn with QPainter. A canvas of matplotlib was tried: it looks the
same, and its code is about as long. But matplotlib is an optional dependency,
without which the panel would have no plot. Its import takes 0.7 s, and a redraw,
which every move of the mouse needs, takes 160 ms instead of 4 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_kmeans.clustering.selection import BEST, TITLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_kmeans.suggestion import Suggestion

_STYLES = {
    "calinski_harabasz": (Qt.PenStyle.SolidLine, "{:,.0f}"),
    "silhouette": (Qt.PenStyle.DashLine, "{:.3f}"),
    "bic": (Qt.PenStyle.DotLine, "{:,.0f}"),
}
"""The style of the line of each score, and the format of its values."""

_STABILITY = "stability"
_LEGEND = {**TITLES, _STABILITY: "agreement of halves"}
"""The texts of the legend: the scores, and the stability, which has no line and no vote."""

# Lengths in pixels.
_PLOT_HEIGHT = 110
_MARGIN, _LEGEND_LINE, _DOT_RADIUS, _VOTE_RADIUS = 10.0, 26.0, 1.6, 4.2
_STEP_KEYS = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
_CHOOSE_KEYS = (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space)


def score_heights(suggestion: Suggestion) -> dict[str, NDArray[np.float64]]:
    """Return each score scaled from 0 to 1, where 1 is the best.

    The worst finite value becomes 0 and the best finite value becomes 1. Clusters
    without scatter have infinite scores: these are clipped, and count as the best.
    """
    heights = {}
    for name, best in BEST.items():
        values = suggestion.scores[name].to_numpy(np.float64)
        values = -values if best is min else values
        finite = values[np.isfinite(values)]
        low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
        span = high - low if high > low else 1.0
        heights[name] = np.clip((values - low) / span, 0, 1)
    return heights


class ScoreCurve(QWidget):
    """A plot of three scores over the number of clusters, scaled to the same height.

    A click chooses a number. The left and right arrow keys move along the
    numbers, and Enter or Space chooses. The legend shows the values of the
    number under the mouse, or those of the suggested number. Below the scores, it shows how
    far two halves of the pixels give the same clusters.

    Attributes
    ----------
    suggestion : Suggestion or None
        The latest suggestion.
    pointed_at : int or None
        The number of clusters under the mouse, or reached with the arrow keys.
    """

    chosen = Signal(int)
    """Emitted with the chosen number of clusters."""

    def __init__(self) -> None:
        super().__init__()
        self.suggestion: Suggestion | None = None
        self.pointed_at: int | None = None
        self._current = 0
        self._heights: dict[str, NDArray[np.float64]] = {}
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Scores over the number of clusters")
        self.setToolTip("Click a number of clusters to use it, or press the arrow keys and Enter.")

    def show_suggestion(self, suggestion: Suggestion) -> None:
        """Draw the scores of a suggestion."""
        self.suggestion, self.pointed_at = suggestion, None
        self._heights = score_heights(suggestion)
        self.update()

    def mark(self, n_clusters: int) -> None:
        """Mark the current number of clusters with a frame."""
        self._current = n_clusters
        self.update()

    @property
    def numbers(self) -> list[int]:
        """The numbers of clusters that have scores."""
        return [] if self.suggestion is None else self.suggestion.scores["n_clusters"].tolist()

    def values_at(self, n_clusters: int) -> dict[str, str]:
        """Return the scores of a number of clusters as texts."""
        if self.suggestion is None:
            return {}
        row = self.suggestion.scores.set_index("n_clusters").loc[n_clusters]
        values = {name: text.format(row[name]) for name, (_, text) in _STYLES.items()}
        return {**values, _STABILITY: f"{row[_STABILITY]:.2f}"}

    def place_of(self, n_clusters: int) -> QPointF:
        """Return the center of the tick label of a number, in pixels of this widget."""
        plot = self._plot_area()
        index, last = self.numbers.index(n_clusters), max(len(self.numbers) - 1, 1)
        x = plot.left() + plot.width() * index / last
        return QPointF(x, plot.bottom() + self._line_height / 2)

    # ------------------------------------------------------- mouse and keys

    def mouseMoveEvent(self, event: Any) -> None:
        """Point at the number under the mouse."""
        self._point_at(self._nearest(event.position().x()))

    def leaveEvent(self, event: Any) -> None:
        """Point at no number when the mouse leaves the plot."""
        self._point_at(None)

    def mouseReleaseEvent(self, event: Any) -> None:
        """Choose the number that was clicked. A click on the legend chooses nothing."""
        nearest = self._nearest(event.position().x())
        below_legend = event.position().y() >= self._plot_area().top()
        # Qt also sends the event if the button is released outside of the widget.
        inside = below_legend and self.rect().contains(event.pos())
        if event.button() == Qt.MouseButton.LeftButton and nearest is not None and inside:
            self.chosen.emit(nearest)

    def keyPressEvent(self, event: Any) -> None:
        """Point at the next number, or choose the number that is pointed at."""
        if self.suggestion is None or event.key() not in (*_STEP_KEYS, *_CHOOSE_KEYS):
            super().keyPressEvent(event)
            return
        here = self.pointed_at or self.suggestion.n_clusters
        if event.key() in _CHOOSE_KEYS:
            self.chosen.emit(here)
            return
        place = self.numbers.index(here) + _STEP_KEYS[event.key()]
        self._point_at(self.numbers[min(max(place, 0), len(self.numbers) - 1)])

    def focusInEvent(self, event: Any) -> None:
        """Point at the number from which the arrow keys start."""
        super().focusInEvent(event)
        if self.suggestion is not None:
            self._point_at(self.pointed_at or self.suggestion.n_clusters)

    def focusOutEvent(self, event: Any) -> None:
        """Point at no number when the focus is lost."""
        super().focusOutEvent(event)
        self._point_at(None)

    def _nearest(self, x: float) -> int | None:
        return min(self.numbers, key=lambda k: abs(self.place_of(k).x() - x), default=None)

    def _point_at(self, n_clusters: int | None) -> None:
        self.pointed_at = n_clusters
        self.update()

    # -------------------------------------------------------------- drawing

    @property
    def _line_height(self) -> float:
        return float(self.fontMetrics().height()) + 2

    def _plot_area(self) -> QRectF:
        top = self._line_height * len(_LEGEND) + _MARGIN
        height = self.height() - top - self._line_height - 2
        return QRectF(_MARGIN, top, self.width() - 2 * _MARGIN, height)

    def sizeHint(self) -> QSize:
        """Return a size at which the legend and all numbers are readable."""
        return QSize(300, int(self._line_height * (len(_LEGEND) + 1) + _MARGIN) + _PLOT_HEIGHT)

    def minimumSizeHint(self) -> QSize:
        """Return a size that is narrower than the dock."""
        return QSize(220, self.sizeHint().height())

    def paintEvent(self, event: Any) -> None:
        """Draw the legend, the lines and the numbers below the axis."""
        if self.suggestion is None:
            return
        with QPainter(self) as painter:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            self._draw_marks(painter, self.suggestion)
            self._draw_legend(painter, self.pointed_at or self.suggestion.n_clusters)
            for name, vote in self.suggestion.votes.items():
                self._draw_line(painter, name, vote)
            self._draw_numbers(painter)

    def _text_color(self, alpha: float = 1.0) -> QColor:
        color = self.palette().windowText().color()
        color.setAlphaF(alpha)
        return color

    def _draw_marks(self, painter: QPainter, suggestion: Suggestion) -> None:
        """Draw a band at the suggested number, a line at the number pointed at, and the axis."""
        plot = self._plot_area()
        x = self.place_of(suggestion.n_clusters).x()
        height = plot.height() + self._line_height + 8
        band = QRectF(x - _MARGIN, plot.top() - 6, 2 * _MARGIN, height)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self.palette().highlight().color())
        painter.drawRoundedRect(band, 3, 3)
        painter.setPen(QPen(self._text_color(0.5), 1))
        painter.drawLine(plot.bottomLeft(), plot.bottomRight())
        if self.pointed_at is not None:
            x = self.place_of(self.pointed_at).x()
            painter.drawLine(QPointF(x, plot.top() - 6), QPointF(x, plot.bottom()))

    def _draw_legend(self, painter: QPainter, n_clusters: int) -> None:
        values, height = self.values_at(n_clusters), self._line_height
        for place, (name, title) in enumerate(_LEGEND.items()):
            line = QRectF(_MARGIN, place * height, self._plot_area().width(), height)
            middle = line.center().y()
            if name in TITLES:
                painter.setPen(QPen(self._text_color(), 1.5, _STYLES[name][0]))
                painter.drawLine(QPointF(_MARGIN, middle), QPointF(_MARGIN + _LEGEND_LINE, middle))
            painter.setPen(self._text_color())
            left, right = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
            # A score whose smallest value is the best is drawn upside down.
            text = title[:1].upper() + title[1:] + (", inverted" if BEST.get(name) is min else "")
            painter.drawText(line.adjusted(_LEGEND_LINE + 8, 0, 0, 0), left, text)
            value = f"K = {n_clusters}:  {values[name]}" if place == 0 else values[name]
            painter.drawText(line, right, value)

    def _draw_line(self, painter: QPainter, name: str, vote: int) -> None:
        """Draw a line through dots, with a large dot at the number that the score votes for."""
        points = dict(zip(self.numbers, self._line_points(name), strict=True))
        painter.setPen(QPen(self._text_color(), 1.5, _STYLES[name][0]))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPolyline(QPolygonF(list(points.values())))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._text_color())
        for number, point in points.items():
            radius = _VOTE_RADIUS if number == vote else _DOT_RADIUS
            painter.drawEllipse(point, radius, radius)

    def _line_points(self, name: str) -> Iterator[QPointF]:
        plot = self._plot_area()
        for number, height in zip(self.numbers, self._heights[name], strict=True):
            yield QPointF(self.place_of(number).x(), plot.bottom() - plot.height() * height)

    def _draw_numbers(self, painter: QPainter) -> None:
        """Draw the numbers below the axis, and a frame around the current number."""
        for number in self.numbers:
            place, height = self.place_of(number), self._line_height
            box = QRectF(place.x() - _MARGIN, place.y() - height / 2, 2 * _MARGIN, height)
            painter.setPen(self._text_color())
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, str(number))
            if number == self._current:
                painter.drawRoundedRect(box.adjusted(0.5, 1, -0.5, 0), 3, 3)
