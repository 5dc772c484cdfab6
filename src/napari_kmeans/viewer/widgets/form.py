"""Fields for options, and the forms, rows and folders they are laid out in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    FloatSlider,
    FloatSpinBox,
    LineEdit,
    Slider,
    SpinBox,
)
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_kmeans.checks import Choice, RealNumber, WholeNumber
from napari_kmeans.options import AUTO, OPTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtWidgets import QScrollBar


class WordOrNumber(LineEdit):
    """A line that holds a whole number, or a word such as "auto"."""

    def get_value(self) -> int | str:  # type: ignore[override]
        """Return the number, or the text where it is none."""
        text = str(super().get_value()).strip()
        return int(text) if text.isdecimal() else text

    def set_value(self, value: int | str) -> None:
        """Show a number or a word."""
        super().set_value(str(value))


def option_field(name: str, **arguments: Any) -> Any:
    """Return the field of an option, with its default, bounds, choices and texts."""
    info = OPTIONS[name]
    kind = info.kind
    widget: type[Any]
    if isinstance(kind, Choice):
        widget = ComboBox
        arguments.setdefault("choices", kind.choices)
    elif isinstance(kind, WholeNumber) and AUTO in kind.others:
        widget = WordOrNumber
    else:
        arguments.update(min=kind.minimum, max=kind.maximum)
        widget = SpinBox
        if isinstance(kind, RealNumber):
            widget = FloatSlider if kind.step is None else FloatSpinBox
            arguments.update({} if kind.step is None else {"step": kind.step})
    return widget(
        name=name, value=info.default, label=info.label, tooltip=info.tooltip, **arguments
    )


def narrow(field: ComboBox) -> None:
    """Let a field be narrower than its longest choice, for layers may have any name."""
    field.native.setSizeAdjustPolicy(
        QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
    )
    field.native.setMinimumContentsLength(12)


def offer_choices(field: ComboBox) -> None:
    """Offer the choices there are now; what is chosen stays, also under a new name."""
    chosen = field.value
    field.reset_choices()
    if chosen in field.choices:
        field.value = chosen
    # The list may be wider than the field, to be read to the end.
    view = field.native.view()
    view.setMinimumWidth(view.sizeHintForColumn(0))


def number_slider(field: SpinBox, usual: tuple[int, int] = (2, 24)) -> Slider:
    """Return a slider over the usual values of a field; it rests at the end beyond them."""
    slider = Slider(
        min=usual[0], max=usual[1], value=field.value, readout=False, tooltip=field.tooltip
    )

    def follow(value: int) -> None:
        with slider.changed.blocked():
            slider.value = min(max(value, usual[0]), usual[1])

    slider.changed.connect(field.set_value)
    field.changed.connect(follow)
    return slider


def scrolling(layout: QLayout) -> QVBoxLayout:
    """Put a column into a layout that scrolls, from top to bottom only."""
    column = QWidget()
    inner = QVBoxLayout(column)
    inner.setContentsMargins(6, 6, 4, 6)
    inner.setAlignment(Qt.AlignmentFlag.AlignTop)
    area = _Scroller()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(column)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(area)
    return inner


class _Scroller(QScrollArea):
    """A scroll area as wide as what is in it, and as high as there is room."""

    def minimumSizeHint(self) -> QSize:
        """Return the width of the content, with room for the bar."""
        return QSize(self._with_bar(self._content().minimumSizeHint().width()), 200)

    def sizeHint(self) -> QSize:
        """Return the size at which nothing needs to scroll."""
        size = self._content().sizeHint()
        return QSize(self._with_bar(size.width()), size.height())

    def _content(self) -> QWidget:
        return cast("QWidget", self.widget())

    def _with_bar(self, width: int) -> int:
        return width + cast("QScrollBar", self.verticalScrollBar()).sizeHint().width()


def row(fields: Sequence[Any]) -> QWidget:
    """Put fields side by side."""
    widget = QWidget()
    layout = QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for field in fields:
        layout.addWidget(field.native)
    return widget


def form(rows: Sequence[Any]) -> QWidget:
    """Stack fields beside their labels; magicgui aligns them for a font that is not napari's.

    A row is a field, or a label, a tooltip and what stands beside them.
    """
    widget = QWidget()
    layout = QFormLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    for each in rows:
        if isinstance(each, CheckBox):
            layout.addRow(each.native)
        elif isinstance(each, tuple):
            layout.addRow(_label(*each[:2]), each[2])
        else:
            layout.addRow(_label(each.label, each.tooltip), each.native)
    return widget


def show_row(field: Any, visible: bool) -> None:
    """Show a row of a form with its label, or take it away; nothing before it is in a form."""
    parent = field.native.parentWidget()
    layout = parent.layout() if parent else None
    label = layout.labelForField(field.native) if isinstance(layout, QFormLayout) else None
    if label is not None:
        label.setVisible(visible)
        field.native.setVisible(visible)


def _label(text: str, tooltip: str) -> QLabel:
    label = QLabel(text)
    label.setToolTip(tooltip)
    return label


def folder(title: str, tooltip: str = "") -> QCollapsible:
    """Return an empty folder, closed at first, that opens at a click on its title."""
    # Blank, since the title has an arrow; an empty QIcon counts as none in PySide.
    folder = QCollapsible(expandedIcon=" ", collapsedIcon=" ")
    # What is inside grows and shrinks; an animation would keep the height it began with.
    folder.setDuration(0)
    for layout in (folder.layout(), folder.content().layout()):
        if layout is not None:
            layout.setContentsMargins(0, 0, 0, 0)
    button = folder.toggleButton()
    button.setIconSize(QSize(0, 0))
    button.setStyleSheet("text-align: left; border: none; background: none;")
    button.setToolTip(tooltip)
    folder.toggled.connect(lambda is_open: folder.setText(f"{'▾' if is_open else '▸'} {title}"))
    folder.setText(f"▸ {title}")
    folder.collapse(animate=False)
    return folder


def folded_away(title: str, content: QWidget) -> QCollapsible:
    """Return a folder with something inside."""
    result = folder(title)
    result.addWidget(content)
    return result
