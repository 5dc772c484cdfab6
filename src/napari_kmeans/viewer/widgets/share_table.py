"""The shares of classes in many images: a row for each image, a column for each class."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from psygnal import Signal
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSize, QSortFilterProxyModel, Qt
from qtpy.QtWidgets import QAbstractItemView, QApplication, QHeaderView, QTableView, QWidget

from napari_kmeans.batch.image_rows import FAR_SHARE, FILE, are_named_by_files
from napari_kmeans.batch.study_metadata import GROUP
from napari_kmeans.viewer.widgets.swatch import make_swatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from qtpy.QtGui import QResizeEvent

_Role = Qt.ItemDataRole

_SORT_ROLE = _Role.UserRole

_MIN_ROWS, _MAX_ROWS = 3, 10
_ROW_HEIGHT = 24
_NAME_WIDTHS = 90, 220
"""The least and the largest width of the first column."""

_KEY_WIDTH = 90
"""The largest width of the other columns without shares."""

_SHARE_WIDTH = 60
"""The least width of a class whose name is cut, so that more classes are in view: a swatch and the
start of the name."""

REST = "rest"
"""The field of a pattern of file names that is not shown."""

FAILED = "failed"
"""The text in the first class of an image that failed."""


class ShareClass(NamedTuple):
    """A class with its own column."""

    label: int
    name: str
    color: str


class Shares(NamedTuple):
    """The contents of the table.

    Attributes
    ----------
    keys : tuple of str
        The first columns: the image and, where there are some, its group, region and slice.
    classes : tuple of ShareClass
    rows : tuple
        For each row its keys, the share of each class in percent, NaN if it has none, and its
        metadata.
    failures : mapping of str to str
        The sentence of each image that failed.
    metadata : tuple of str
        The last columns, such as the patient: the shares stay in view beside the images.
    """

    keys: tuple[str, ...] = ("image",)
    classes: tuple[ShareClass, ...] = ()
    rows: tuple[tuple[tuple[Any, ...], tuple[float, ...], tuple[Any, ...]], ...] = ()
    failures: Mapping[str, str] = {}
    metadata: tuple[str, ...] = ()

    @property
    def headings(self) -> tuple[str, ...]:
        """The heading of each class, which no other column has."""
        names = [each.name or f"class {each.label}" for each in self.classes]
        others = [*self.keys, *self.metadata, *names]
        return tuple(
            f"{name} ({each.label})" if others.count(name) > 1 else name
            for name, each in zip(names, self.classes, strict=True)
        )

    @classmethod
    def of(cls, table: pd.DataFrame, failures: Mapping[str, str]) -> Shares:
        """Return the shares in a table of measurements, and the images that failed."""
        if "class" not in table:
            return cls(failures=dict(failures))
        columns = [str(name) for name in list(table)[: list(table).index("class")]]
        place = columns.index("region")
        # In the pattern {group}_{rest}, the rest is what the user does not ask for. Large shares
        # of far pixels are among the problems.
        metadata = [name for name in columns[1:place] if name not in (GROUP, REST, FAR_SHARE)]
        if FILE in metadata:
            files = table[[columns[0], FILE]].drop_duplicates().astype(str)
            if are_named_by_files(files[columns[0]], files[FILE]):
                metadata.remove(FILE)
        # The groups are compared, so that they are beside the images.
        keys = [columns[0], *([GROUP] if GROUP in columns[:place] else []), *columns[place:]]
        if (table["region"] == "all").all():
            keys.remove("region")
        known = table[["class", "name", "color"]].drop_duplicates("class").sort_values("class")
        classes = tuple(ShareClass(int(label), name, color) for label, name, color in known.values)
        rows: dict[tuple[Any, ...], dict[int, float]] = {}
        texts = table[[*keys, *metadata]].astype(object)
        values = texts.where(texts.notna(), "").values.tolist()
        for key, label, share in zip(values, table["class"], table["percent"], strict=True):
            rows.setdefault(tuple(key), {})[int(label)] = float(share)
        n_keys = len(keys)
        shares = tuple(
            (
                key[:n_keys],
                tuple(found.get(each.label, math.nan) for each in classes),
                key[n_keys:],
            )
            for key, found in rows.items()
        )
        return cls(tuple(keys), classes, shares, dict(failures), tuple(metadata))

    def text(self, separator: str = "\t") -> str:
        """Return the table as lines of text, for a spreadsheet."""
        heads = [*self.keys, *self.headings, *self.metadata]
        lines = [heads]
        for key, shares, metadata in self.rows:
            numbers = ["" if math.isnan(x) else f"{x:.4f}" for x in shares]
            lines.append([*map(str, key), *numbers, *map(str, metadata)])
        for name in self.failures:
            line = [name, *[""] * (len(self.keys) - 1), FAILED, *[""] * len(heads)]
            lines.append(line[: len(heads)])
        return "\n".join(separator.join(line) for line in lines)

    def frame(self) -> pd.DataFrame:
        """Return the table without the images that failed."""
        import pandas as pd

        heads = [*self.keys, *self.headings, *self.metadata]
        rows = [[*key, *shares, *metadata] for key, shares, metadata in self.rows]
        return pd.DataFrame(rows, columns=heads)


class _Model(QAbstractTableModel):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.shares = Shares()
        self._failed: list[str] = []

    def show(self, shares: Shares) -> None:
        self.beginResetModel()
        self.shares, self._failed = shares, list(shares.failures)
        self.endResetModel()

    def rowCount(self, _parent: QModelIndex | None = None) -> int:
        return len(self.shares.rows) + len(self._failed)

    def columnCount(self, _parent: QModelIndex | None = None) -> int:
        # A failed image needs a column for the word.
        shares = self.shares
        n_classes = max(len(shares.classes), bool(self._failed))
        return len(shares.keys) + n_classes + len(shares.metadata)

    def name_of(self, row: int) -> str:
        """Return the image of a row."""
        if row < len(self.shares.rows):
            return str(self.shares.rows[row][0][0])
        return self._failed[row - len(self.shares.rows)]

    def label_of(self, column: int) -> int | None:
        """Return the label of a column; None for a column of keys."""
        place = column - len(self.shares.keys)
        return self.shares.classes[place].label if 0 <= place < len(self.shares.classes) else None

    def data(self, index: QModelIndex, role: int = _Role.DisplayRole) -> Any:
        """Return the text, the value to sort by, or the tooltip of a cell."""
        row, column = index.row(), index.column()
        if row >= len(self.shares.rows):
            return self._failed_data(self._failed[row - len(self.shares.rows)], column, role)
        key, shares, metadata = self.shares.rows[row]
        place = column - len(key)
        if not 0 <= place < len(shares):
            text = key[column] if place < 0 else metadata[place - len(shares)]
            return text if role == _SORT_ROLE else self._key_data(text, role)
        if role == _Role.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        share = shares[place]
        if role == _SORT_ROLE:
            return -1.0 if math.isnan(share) else share
        if role == _Role.DisplayRole:
            return "–" if math.isnan(share) else f"{share:.1f}"  # noqa: RUF001 - a dash
        return None

    def _key_data(self, value: Any, role: int) -> Any:
        return str(value) if role in (_Role.DisplayRole, _Role.ToolTipRole) else None

    def _failed_data(self, name: str, column: int, role: int) -> Any:
        if role == _Role.ToolTipRole:
            return self.shares.failures[name]
        is_share = self.label_of(column) is not None
        if role == _SORT_ROLE:
            return name if column == 0 else -2.0 if is_share else ""
        if role == _Role.DisplayRole:
            return name if column == 0 else FAILED if column == len(self.shares.keys) else ""
        if role == _Role.TextAlignmentRole and column >= len(self.shares.keys):
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = _Role.DisplayRole
    ) -> Any:
        """Return the name and the color of a class, or the name of a column of keys."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        place = section - len(self.shares.keys)
        n_classes = len(self.shares.classes)
        if not 0 <= place < n_classes:
            others = self.shares.keys + self.shares.metadata
            # A failed image may be alone, and its word has no heading.
            head = dict(enumerate(others)).get(section if place < 0 else section - n_classes, "")
            return head.capitalize() if role == _Role.DisplayRole else None
        each = self.shares.classes[place]
        if role == _Role.DecorationRole:
            return make_swatch(each.color)
        if role == _Role.ToolTipRole:
            return f"The share of class {each.name or each.label} in percent. Click to sort."
        if role == _Role.DisplayRole:
            return self.shares.headings[place] if each.name else str(each.label)
        return None


class ShareTable(QTableView):
    """A sortable table of shares.

    Attributes
    ----------
    chosen : Signal
        Emitted with the image of a cell that the user has chosen with the mouse or the arrow
        keys, and the label of its column; None in a column without a class.
    """

    chosen = Signal(str, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = _Model(self)
        self._sorted = QSortFilterProxyModel(self)
        self._sorted.setSourceModel(self._model)
        self._sorted.setSortRole(_SORT_ROLE)
        self.setModel(self._sorted)
        self.setSortingEnabled(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setWordWrap(False)
        self.setToolTip(
            "Click a row to show its image and classes. Click the share of a class to highlight "
            "the class. Click a title to sort."
        )
        rows, columns = self.verticalHeader(), self.horizontalHeader()
        assert rows is not None
        assert columns is not None
        rows.setVisible(False)
        rows.setDefaultSectionSize(_ROW_HEIGHT)
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        columns.setMinimumSectionSize(40)
        columns.setTextElideMode(Qt.TextElideMode.ElideRight)
        # The widths are those of the first rows: a table may have thousands.
        columns.setResizeContentsPrecision(100)
        self.clicked.connect(self._choose)
        selection = self.selectionModel()
        assert selection is not None
        selection.currentChanged.connect(self._on_current_changed)
        self.show_shares(Shares())

    @property
    def shares(self) -> Shares:
        """What the table shows."""
        return self._model.shares

    def show_shares(self, shares: Shares) -> None:
        """Show other shares, in their order."""
        self._model.show(shares)
        self.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        self._fit()

    def index_of(self, image: str, label: int | None = None) -> QModelIndex:
        """Return the cell of an image and a class, where it is on the screen."""
        for row in range(self._model.rowCount()):
            if self._model.name_of(row) == image:
                labels = [self._model.label_of(n) for n in range(self._model.columnCount())]
                column = 0 if label is None else labels.index(label)
                return self._sorted.mapFromSource(self._model.index(row, column))
        return QModelIndex()

    def sizeHint(self) -> QSize:
        """Return the height of the rows, up to ten of them."""
        n_rows = min(max(self._model.rowCount(), _MIN_ROWS), _MAX_ROWS)
        header, bar = self.horizontalHeader(), self.horizontalScrollBar()
        assert header is not None
        assert bar is not None
        height = header.sizeHint().height() + n_rows * _ROW_HEIGHT + 2 * self.frameWidth()
        return QSize(super().sizeHint().width(), height + bar.sizeHint().height())

    def minimumSizeHint(self) -> QSize:
        """Return a small width, and the height of the rows: the dock scrolls."""
        return QSize(100, self.sizeHint().height())

    def _fit(self) -> None:
        self.resizeColumnsToContents()
        others = [n for n in range(1, self._model.columnCount()) if self._model.label_of(n) is None]
        for column in others:
            self.setColumnWidth(column, min(self.columnWidth(column), _KEY_WIDTH))
        least, most = _NAME_WIDTHS
        viewport = self.viewport()
        assert viewport is not None
        # Long names are cut in the middle, rather than to scroll to the last class. The metadata
        # are behind it.
        n_keys, n_classes = len(self.shares.keys), len(self.shares.classes)
        room = viewport.width() - least - sum(map(self.columnWidth, range(1, n_keys)))
        widest = max(room // max(n_classes, 1), _SHARE_WIDTH)
        classes = range(n_keys, n_keys + n_classes)
        if sum(map(self.columnWidth, classes)) > room:
            for column in classes:
                self.setColumnWidth(column, min(self.columnWidth(column), widest))
        room = viewport.width() - sum(map(self.columnWidth, range(1, n_keys + n_classes)))
        self.setColumnWidth(0, min(max(room, least), most, max(self.columnWidth(0), least)))
        self.updateGeometry()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Give the names the width that the classes leave."""
        super().resizeEvent(event)
        self._fit()

    def _on_current_changed(self, current: QModelIndex, _previous: QModelIndex) -> None:
        # A click emits `clicked`, too. A new table has a current cell before the user chose one.
        if self.hasFocus() and QApplication.mouseButtons() == Qt.MouseButton.NoButton:
            self._choose(current)

    def _choose(self, index: QModelIndex) -> None:
        if index.isValid():
            place = self._sorted.mapToSource(index)
            name, label = self._model.name_of(place.row()), self._model.label_of(place.column())
            self.chosen.emit(name, label)
