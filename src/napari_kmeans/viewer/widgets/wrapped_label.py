"""A label of several lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QLabel, QWidget

if TYPE_CHECKING:
    from qtpy.QtGui import QResizeEvent


class WrappedLabel(QLabel):
    """A label whose lines are wrapped and never cut. It is hidden while its text is empty.

    A `QLabel` states the height of its text at another width than its own, so that a dock of
    limited height cuts the last lines.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        # Names of layers and of clusters may look like HTML.
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.hide()

    def show_text(self, text: str) -> None:
        """Show a text, or hide the label if the text is empty."""
        self.setText(text)
        self.setVisible(bool(text))

    def minimumSizeHint(self) -> QSize:
        """Return a small width, and the height of the text at the width that the label has."""
        hint = super().minimumSizeHint()
        return QSize(min(hint.width(), 100), self.heightForWidth(max(self.width(), 100)))

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Update the height for the new width."""
        super().resizeEvent(event)
        self.updateGeometry()
