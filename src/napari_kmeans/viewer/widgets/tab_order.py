"""The order in which the Tab key visits fields: that of their layouts, as on the screen."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qtpy.QtWidgets import QLayout


def order_by_layout(widget: QWidget) -> None:
    """Let the Tab key visit the fields in a widget in the order of their layouts.

    Qt visits fields in the order in which they were created, unless it is told otherwise.
    """
    for before, after in pairwise(_fields_in(widget)):
        QWidget.setTabOrder(before, after)


def _fields_in(widget: QWidget) -> Iterator[QWidget]:
    if widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
        # The parts of a field, such as the arrows of a number, follow the field.
        yield widget
    elif (layout := widget.layout()) is not None:
        yield from _fields_of_layout(layout)


def _fields_of_layout(layout: QLayout) -> Iterator[QWidget]:
    for number in range(layout.count()):
        item = layout.itemAt(number)
        if item is None:
            continue
        if (inner := item.layout()) is not None:
            yield from _fields_of_layout(inner)
        elif (widget := item.widget()) is not None:
            yield from _fields_in(widget)
