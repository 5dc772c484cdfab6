"""The square that shows the color of a class in a list."""

from __future__ import annotations

from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap

SWATCH_SIZE = 14
"""Edge of the square, in pixels."""


def make_swatch(color: str) -> QIcon:
    """Return the square of a color, #rrggbb."""
    pixmap = QPixmap(SWATCH_SIZE, SWATCH_SIZE)
    pixmap.fill(QColor(color))
    # The gray border keeps black visible on a dark theme, and white on a light theme.
    painter = QPainter(pixmap)
    painter.setPen(QColor(128, 128, 128))
    painter.drawRect(0, 0, SWATCH_SIZE - 1, SWATCH_SIZE - 1)
    painter.end()
    icon = QIcon(pixmap)
    # Without a pixmap for this mode, Qt tints the icon in a selected row.
    icon.addPixmap(pixmap, QIcon.Mode.Selected)
    return icon
