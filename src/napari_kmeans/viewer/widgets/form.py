"""Form fields for options, and the forms, rows and folders that contain the fields."""

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
from qtpy.QtCore import QEvent, QSize, Qt, QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_kmeans.checks import LARGEST, Choice, Flag, RealNumber, WholeNumber
from napari_kmeans.options import AUTO, OPTIONS, LabelList
from napari_kmeans.viewer.widgets.help_page import HelpButton
from napari_kmeans.viewer.widgets.tab_order import order_by_layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QResizeEvent
    from qtpy.QtWidgets import QScrollBar


_NO_LIMIT = 2**24 - 1
"""Height of a widget without a limit in Qt."""


class WordOrNumber(LineEdit):
    """A line edit for a whole number or a word such as "auto"."""

    def get_value(self) -> int | str:  # type: ignore[override]
        """Return the number, or the text if it is not a whole number."""
        text = str(super().get_value()).strip()
        return int(text) if text.isdecimal() else text

    def set_value(self, value: int | str) -> None:
        """Show a number or a word."""
        super().set_value(str(value))


class AnyNumber(LineEdit):
    """A line edit for a number of any size and any number of digits."""

    def get_value(self) -> float | str:  # type: ignore[override]
        """Return the number, or the text if it is not a number."""
        text = str(super().get_value()).strip()
        try:
            return float(text)
        except ValueError:
            return text

    def set_value(self, value: float | str) -> None:
        """Show a number in as few digits as possible."""
        super().set_value(value if isinstance(value, str) else f"{value:.12g}")


class LabelListEdit(LineEdit):
    """A line edit for labels with commas between them. It is empty for None: all labels."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.native.setPlaceholderText("all clusters")

    def get_value(self) -> tuple[int, ...] | str | None:  # type: ignore[override]
        """Return the labels, or the text if it is not a list of whole numbers."""
        text = str(super().get_value()).strip()
        try:
            return LabelList().parse(text) if text else None
        except ValueError:
            return text

    def set_value(self, value: tuple[int, ...] | str | None) -> None:
        """Show labels or a text."""
        super().set_value(value if isinstance(value, str) else ", ".join(map(str, value or ())))


def option_field(name: str, **arguments: Any) -> Any:
    """Return the field of an option, with its default, bounds, choices and texts."""
    info = OPTIONS[name]
    kind = info.kind
    widget: type[Any]
    if isinstance(kind, Flag):
        return CheckBox(name=name, value=info.default, text=info.label, tooltip=info.tooltip)
    if isinstance(kind, Choice):
        widget = ComboBox
        arguments.setdefault("choices", kind.choices)
    elif isinstance(kind, WholeNumber) and AUTO in kind.others:
        widget = WordOrNumber
    elif isinstance(kind, RealNumber) and kind.maximum == LARGEST:
        widget = AnyNumber
    elif isinstance(kind, LabelList):
        widget = LabelListEdit
    else:
        assert isinstance(kind, WholeNumber | RealNumber)
        arguments.update(min=kind.minimum, max=kind.maximum)
        widget = SpinBox
        if isinstance(kind, RealNumber):
            widget = FloatSlider if kind.step is None else FloatSpinBox
            arguments.update({} if kind.step is None else {"step": kind.step})
    field = widget(
        name=name, value=info.default, label=info.label, tooltip=info.tooltip, **arguments
    )
    if widget is FloatSlider:
        # The slider takes the width that is left, and does not make the dock wider.
        field.native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        field.native.setMinimumWidth(field.native.minimumSizeHint().width())
    return field


def narrow(field: ComboBox) -> None:
    """Allow a combo box to be narrower than its longest choice.

    Layers may have names of any length, and the dock must stay narrow.
    """
    field.native.setSizeAdjustPolicy(
        QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
    )
    field.native.setMinimumContentsLength(9)


def offer_choices(field: ComboBox) -> None:
    """Update the choices of a combo box. The chosen value stays, even if it was renamed."""
    value = field.value
    field.reset_choices()
    if value in field.choices:
        field.value = value
    # The pop-up list may be wider than the field, so that long names can be read.
    view = field.native.view()
    view.setMinimumWidth(view.sizeHintForColumn(0))


def renew_choices(field: ComboBox) -> None:
    """Offer the choices of a combo box anew, in their order, without the signal of a change.

    magicgui appends choices of a new text, which would change their order. The chosen value
    stays if it is still a choice.
    """
    value = field.value
    with field.changed.blocked():
        field.native.clear()
        offer_choices(field)
        if value in field.choices:
            field.value = value


def number_slider(field: SpinBox, usual: tuple[int, int] = (2, 24)) -> Slider:
    """Return a slider for the usual values of a number field.

    The slider and the field follow each other. If the value of the field is
    outside the range of the slider, the slider rests at its nearest end.

    Parameters
    ----------
    field : SpinBox
    usual : tuple of 2 int
        The smallest and the largest value of the slider.
    """
    slider = Slider(
        min=usual[0], max=usual[1], value=field.value, readout=False, tooltip=field.tooltip
    )

    def follow_field(value: int) -> None:
        # Without blocking, the limited value would be written back into the field.
        with slider.changed.blocked():
            slider.value = min(max(value, usual[0]), usual[1])

    slider.changed.connect(field.set_value)
    field.changed.connect(follow_field)
    # The slider takes the width that is left, and does not make the dock wider. Without the
    # stretch, Qt ignores the minimum in a narrow row, and the next widget covers the slider.
    policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    policy.setHorizontalStretch(1)
    slider.native.setSizePolicy(policy)
    slider.native.setMinimumWidth(50)
    return slider


def add_scroll_area(layout: QLayout) -> QVBoxLayout:
    """Add a vertically scrolling area to a layout; return the column layout inside the area."""
    column = QWidget()
    inner = QVBoxLayout(column)
    inner.setContentsMargins(6, 6, 4, 6)
    inner.setAlignment(Qt.AlignmentFlag.AlignTop)
    area = _VerticalScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(column)
    # The Tab key would stop at the area, where nothing shows the focus.
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(area)
    return inner


def scroll_to(widget: QWidget) -> None:
    """Scroll the area that contains a widget to the widget, when its layout is done."""

    def scroll() -> None:
        for area in areas:
            area.ensureWidgetVisible(widget, 0, 0)

    areas: list[QScrollArea] = []
    parent = widget.parentWidget()
    while parent is not None:
        if isinstance(parent, QScrollArea):
            areas.append(parent)
        parent = parent.parentWidget()
    # The timer belongs to the widget, so that nothing is called after the widget was deleted.
    timer = QTimer(widget)
    timer.setSingleShot(True)
    timer.timeout.connect(scroll)
    timer.timeout.connect(timer.deleteLater)
    timer.start(0)


class _VerticalScrollArea(QScrollArea):
    """A scroll area that is as wide as its content, and as high as the window allows."""

    def minimumSizeHint(self) -> QSize:
        """Return the width of the content with the scroll bar, and a height of 200 pixels."""
        return QSize(self._content().minimumSizeHint().width() + self._side_width(), 200)

    def sizeHint(self) -> QSize:
        """Return the size at which all of the content is visible without scrolling."""
        size = self._content().sizeHint()
        return QSize(size.width() + self._side_width(), size.height())

    def event(self, event: QEvent | None) -> bool:
        """Become wider when content that needs more room is unfolded."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().event(event)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Leave room beside the content for the scroll bar, even while the bar is hidden.

        When the bar appears, Qt fits the content to the remaining width some time later:
        until then, the bar would cover the content.
        """
        self._content().setMaximumWidth(max(self.width() - self._side_width(), 0))
        super().resizeEvent(event)

    def focusNextPrevChild(self, next: bool) -> bool:
        """Move the focus to the next field on the screen, or to the field before.

        Panels are created when they are unfolded, and some change their fields later. So
        the order is set whenever the Tab key is pressed.
        """
        order_by_layout(self._content())
        return super().focusNextPrevChild(next)

    def _content(self) -> QWidget:
        return cast("QWidget", self.widget())

    def _side_width(self) -> int:
        """Return the width of the scroll bar and of the frame, which napari's style adds."""
        bar = cast("QScrollBar", self.verticalScrollBar())
        return bar.sizeHint().width() + 2 * self.frameWidth()


def row(fields: Sequence[Any]) -> QWidget:
    """Return a widget with fields side by side."""
    widget = QWidget()
    layout = QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for field in fields:
        layout.addWidget(field.native)
    return widget


def form(rows: Sequence[Any]) -> QWidget:
    """Return a form with one field per row, and the label of the field to its left.

    A container of magicgui could do the same, but it computes the width of the
    labels for the default font of Qt, which is not the font of napari.

    Parameters
    ----------
    rows : sequence
        Each row is a field of magicgui, a QWidget, or a tuple of label, tooltip and QWidget.
        A check box contains its own label and gets the full width, as a QWidget does.
    """
    widget = QWidget()
    layout = QFormLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    for each in rows:
        if isinstance(each, CheckBox):
            layout.addRow(each.native)
        elif isinstance(each, QWidget):
            layout.addRow(each)
        elif isinstance(each, tuple):
            label, tooltip, content = each
            layout.addRow(_make_label(label, tooltip), content)
        else:
            layout.addRow(_make_label(each.label, each.tooltip), each.native)
    return widget


def show_row(field: Any, visible: bool) -> None:
    """Show or hide a row of a form with its label. Do nothing if the field is not in a form.

    The field is one of magicgui, or a QWidget.
    """
    native = getattr(field, "native", field)
    parent = native.parentWidget()
    layout = parent.layout() if parent else None
    label = layout.labelForField(native) if isinstance(layout, QFormLayout) else None
    if label is not None:
        label.setVisible(visible)
        native.setVisible(visible)


class Note(QLabel):
    """A text below fields, over several lines, which is hidden while it is empty."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        # Qt takes a width for wrapped text from its length, which would widen the dock.
        policy = self.sizePolicy()
        policy.setHorizontalPolicy(QSizePolicy.Policy.Ignored)
        self.setSizePolicy(policy)
        self.hide()

    def show_text(self, text: str) -> None:
        """Show a text, or hide the note if the text is empty."""
        self.setText(text)
        self.setVisible(bool(text))


def _make_label(text: str, tooltip: str) -> QLabel:
    label = QLabel(text)
    label.setToolTip(tooltip)
    return label


def folder(title: str, tooltip: str = "", page: str = "") -> QCollapsible:
    """Return an empty, closed folder that opens with a click on its title.

    If it has a page of the documentation, a button beside the title opens the page while the
    folder is open.
    """
    # The icons are blank, because the title contains the arrow. They are spaces, because
    # an empty QIcon is false in PySide: superqt would then set no icon, and fail.
    collapsible = QCollapsible(expandedIcon=" ", collapsedIcon=" ")
    # The content may grow or shrink at any time. An animation would end at the height that
    # the content had when the animation began.
    collapsible.setDuration(0)
    for layout in (collapsible.layout(), collapsible.content().layout()):
        if layout is not None:
            layout.setContentsMargins(0, 0, 0, 0)
    button = collapsible.toggleButton()
    button.setIconSize(QSize(0, 0))
    button.setStyleSheet("text-align: left; border: none; background: none;")
    button.setToolTip(tooltip)
    collapsible.toggled.connect(
        lambda is_open: collapsible.setText(f"{'▾' if is_open else '▸'} {title}")
    )
    # superqt limits the height to that of the content when the folder is opened.
    collapsible.toggled.connect(
        lambda is_open: collapsible.content().setMaximumHeight(_NO_LIMIT if is_open else 0)
    )
    # superqt only gives the content a height of 0: the Tab key would still give its fields the
    # focus, and panels would not know that they are folded.
    collapsible.toggled.connect(collapsible.content().setVisible)
    if page:
        _add_help(collapsible, HelpButton(page, title))
    collapsible.setText(f"▸ {title}")
    collapsible.collapse(animate=False)
    collapsible.content().hide()
    return collapsible


def _add_help(collapsible: QCollapsible, help_button: HelpButton) -> None:
    """Add a button beside the title of a folder, which is hidden while the folder is closed."""
    column, title_row = cast("QVBoxLayout", collapsible.layout()), QHBoxLayout()
    column.removeWidget(collapsible.toggleButton())
    column.insertLayout(0, title_row)
    title_row.addWidget(collapsible.toggleButton(), 1)
    title_row.addWidget(help_button)
    help_button.hide()
    collapsible.toggled.connect(help_button.setVisible)


def add_content(collapsible: QCollapsible, content: QWidget) -> None:
    """Add a widget to a folder. The height of the folder follows that of the widget.

    `QCollapsible.addWidget` would limit the height again whenever the widget is resized:
    a list that gets more rows would be cut.
    """
    layout = collapsible.content().layout()
    assert layout is not None
    layout.addWidget(content)


def folder_with(title: str, content: QWidget, page: str = "") -> QCollapsible:
    """Return a closed folder that contains a widget."""
    collapsible = folder(title, page=page)
    add_content(collapsible, content)
    return collapsible
