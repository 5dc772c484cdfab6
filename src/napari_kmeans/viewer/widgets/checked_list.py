"""A list of things with a check box each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QAbstractItemView, QListWidget, QListWidgetItem, QSizePolicy, QWidget

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MOST_ROWS = 6
"""Rows that are visible without scrolling."""


class CheckedList(QListWidget):
    """A list whose rows are checked by a click, or by the space key.

    Attributes
    ----------
    checked_by_user : Signal
        Emitted after the user has checked or unchecked a row.
    """

    checked_by_user = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._values: list[Any] = []
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setStyleSheet("QListWidget::item { padding: 2px; }")
        self.itemChanged.connect(lambda _item: self.checked_by_user.emit())

    @property
    def values(self) -> list[Any]:
        """The values of all rows."""
        return list(self._values)

    @property
    def checked(self) -> list[Any]:
        """The values of the checked rows, from top to bottom."""
        checked = Qt.CheckState.Checked
        return [
            each for row, each in enumerate(self._values) if self._row(row).checkState() == checked
        ]

    def check(self, values: Iterable[Any]) -> None:
        """Check the rows of some values, and no others."""
        chosen = list(values)
        blocked = self.blockSignals(True)
        for row, value in enumerate(self._values):
            state = Qt.CheckState.Checked if value in chosen else Qt.CheckState.Unchecked
            self._row(row).setCheckState(state)
        self.blockSignals(blocked)

    def offer(self, choices: Sequence[tuple[str, Any, str]]) -> None:
        """Replace all rows. Values that stay keep their check marks.

        Parameters
        ----------
        choices : sequence of (text, value, tooltip)
        """
        chosen = self.checked
        blocked = self.blockSignals(True)
        self.clear()
        self._values = [value for _, value, _ in choices]
        for text, _, tooltip in choices:
            item = QListWidgetItem(text, self)
            item.setToolTip(tooltip)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Unchecked)
        self.blockSignals(blocked)
        self.check(chosen)
        self.updateGeometry()

    def sizeHint(self) -> QSize:
        """Return the height of the rows, up to six of them."""
        rows = min(max(self.count(), 1), _MOST_ROWS)
        row_height = max(self.sizeHintForRow(0), self.fontMetrics().height() + 4)
        return QSize(super().sizeHint().width(), rows * row_height + 2 * self.frameWidth())

    def minimumSizeHint(self) -> QSize:
        """Return a width at which long names are cut, and the height of the rows."""
        return QSize(100, self.sizeHint().height())

    def changeEvent(self, event: Any) -> None:
        """Update the height for a new font or theme."""
        super().changeEvent(event)
        self.updateGeometry()

    def _row(self, row: int) -> QListWidgetItem:
        item = self.item(row)
        assert item is not None
        return item
