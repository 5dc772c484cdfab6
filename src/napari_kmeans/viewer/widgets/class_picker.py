"""A list of classes with check boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from psygnal import Signal
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QSizePolicy

from napari_kmeans.viewer.widgets.swatch import SWATCH_SIZE, make_swatch

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN_ROWS = 6
"""The rows that are shown without scrolling."""


class ClassRow(NamedTuple):
    """A class to choose: its label, its name or "", and its color as #rrggbb."""

    label: int
    name: str
    color: str


class ClassPicker(QListWidget):
    """A list of classes, of which the user checks one or several.

    Attributes
    ----------
    changed : psygnal.Signal
        Emitted with the checked labels after the user or a script has changed them.
    """

    changed = Signal(tuple)

    def __init__(self) -> None:
        super().__init__()
        self.setSelectionMode(QListWidget.SelectionMode.NoSelection)
        self.setIconSize(QSize(SWATCH_SIZE, SWATCH_SIZE))
        # The list has a fixed height: as an expanding widget it would stretch the form.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.itemChanged.connect(lambda _item: self.changed.emit(self.value))

    @property
    def native(self) -> ClassPicker:
        """The Qt widget, as of a field of magicgui."""
        return self

    @property
    def value(self) -> tuple[int, ...]:
        """The labels of the checked classes."""
        return tuple(
            item.data(Qt.ItemDataRole.UserRole)
            for item in self._items()
            if item.checkState() == Qt.CheckState.Checked
        )

    @value.setter
    def value(self, labels: Sequence[int]) -> None:
        before = self.value
        self.blockSignals(True)
        for item in self._items():
            item.setCheckState(_state(item.data(Qt.ItemDataRole.UserRole) in labels))
        self.blockSignals(False)
        if self.value != before:
            self.changed.emit(self.value)

    def offer(self, rows: Sequence[ClassRow], checked: Sequence[int]) -> None:
        """Offer other classes, of which some are checked. `changed` is not emitted."""
        self.blockSignals(True)
        self.clear()
        for label, name, color in rows:
            item = QListWidgetItem(make_swatch(color), f"{label}  {name}".rstrip(), self)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
            item.setData(Qt.ItemDataRole.UserRole, label)
            item.setCheckState(_state(label in checked))
        self.blockSignals(False)
        height = self.sizeHintForRow(0) * min(max(len(rows), 1), _SHOWN_ROWS)
        self.setFixedHeight(height + 2 * self.frameWidth())

    def _items(self) -> list[QListWidgetItem]:
        return [item for row in range(self.count()) if (item := self.item(row)) is not None]


def _state(checked: bool) -> Qt.CheckState:
    return Qt.CheckState.Checked if checked else Qt.CheckState.Unchecked
