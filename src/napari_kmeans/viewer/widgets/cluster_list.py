"""A list widget that shows and edits the clusters of a Labels layer."""

from __future__ import annotations

from colorsys import rgb_to_hsv
from contextlib import contextmanager
from math import isnan
from typing import TYPE_CHECKING, Any, cast

from psygnal import Signal
from qtpy.QtCore import (
    QAbstractTableModel,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QSize,
    Qt,
)
from qtpy.QtGui import QAction, QColor, QKeySequence  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSpinBox,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_kmeans.measuring import count_undecided, undecided_percent
from napari_kmeans.viewer.to_layers.clusters import Clusters
from napari_kmeans.viewer.widgets.swatch import SWATCH_SIZE, make_swatch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from napari.layers import Image, Labels, Layer

    from napari_kmeans.model import KMeansModel
    from napari_kmeans.viewer.from_layers.source import Source
    from napari_kmeans.viewer.to_layers.split_class import ClassSplit

LABEL, NAME, PERCENT, AREA, COLOR = range(5)
"""The columns of the table. The means of the channels follow."""

# The swatches of colors need less room than a header would.
_HEADERS = ("Label", "Name", "Share", "Area", "")
_HEADER_TIPS = (
    "The label of the cluster in the layer. Clear the box to hide the cluster: the layers below "
    "show. The recolored layer below is hidden at first.",
    "The name of the cluster. Double-click or press F2 to edit it.",
    "The share of all pixels that have a cluster, without ignored clusters and undecided pixels.",
    "The area or volume, in the units of the layer. Of several frames, the mean per frame: the "
    "saved table has each frame.",
    "The color of the cluster. Double-click to choose another one.",
)
_SORT_TIP = (
    " Click to sort the clusters; click again for the reverse order, and for that of labels."
)
_MIN_ROWS, _MAX_ROWS = 4, 10
"""The number of rows that are visible at least; longer lists show at most the second number."""

_ROW_HEIGHT = 24
_NAME_WIDTHS = (60, 130)
"""The least width of the column of names in pixels, and the least for long names if means of
channels follow."""

_GRAY = 0.1
"""The saturation of a color below which its hue is hardly visible."""

NO_CLUSTERS = "No clusters yet: run a clustering first."

_OUTDATED = "\u26a0 The labels were edited by hand: shares and areas are outdated"
_UNTIL_COUNTED = f"{_OUTDATED} until the pixels are counted again."
_NEVER_COUNTED = f"{_OUTDATED}, because labels that are not in memory are not counted again."

_MERGE_TIP = (
    "Merge the selected clusters into the first of them: it keeps its label and its own color, "
    "and stays ignored or counted. Names are joined."
)

_IGNORE_TIP = "Leave the selected clusters out of the shares, and hide them."
_COUNT_TIP = "Count the selected clusters in the shares again, and show them."

_SPLIT_TIP = "Split the selected cluster into the clusters that were merged into it."

_SPLIT_ANEW_TIP = (
    "Cluster the pixels of the selected cluster in this number of new clusters. All other "
    "clusters stay as they are."
)
_MAX_PARTS = 99
"""The largest number of new clusters that the field offers: two digits."""

_Role = Qt.ItemDataRole


class _ClusterModel(QAbstractTableModel):
    """A table with one row per cluster.

    Its cells are read from the layer on request. Qt requests the texts dozens of times for each
    result, so they are kept until the next refresh.

    Attributes
    ----------
    clusters : Clusters or None
    labels : list of int
        The label of each row.
    channels : list of (str, str)
        The name of each channel whose means are shown, and their column in the table.
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.clusters: Clusters | None = None
        self.labels: list[int] = []
        self.channels: list[tuple[str, str]] = []
        self._order: tuple[int, bool] | None = None
        self._texts: dict[tuple[int, int], str] = {}

    def refresh(self) -> None:
        """Read the clusters of the layer again."""
        self._texts.clear()
        clusters = self.clusters
        channels = [] if clusters is None else clusters.channels
        labels = self._sort([] if clusters is None else clusters.labels)
        # A reset clears the selection and closes the editor of a name. It is only needed
        # if there are other rows or columns.
        if set(labels) == set(self.labels) and channels == self.channels:
            self._reorder(labels)
            # Qt warns of an empty range.
            if labels:
                last = self.index(len(labels) - 1, self.columnCount() - 1)
                self.dataChanged.emit(self.index(0, LABEL), last)
        else:
            self.beginResetModel()
            self.labels, self.channels = labels, channels
            self.endResetModel()
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, AREA, AREA)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort the rows by a column; -1 restores the order of the labels."""
        self._order = (column, order == Qt.SortOrder.DescendingOrder) if column >= 0 else None
        if self.clusters is not None:
            self._reorder(self._sort(self.clusters.labels))

    def _sort(self, labels: list[int]) -> list[int]:
        """Return labels in the chosen order; those without a value come last."""
        if self._order is None or self._order[0] >= self.columnCount():
            return labels
        column, is_reversed = self._order
        keys = {label: self._sort_key(label, column) for label in labels}
        known = [label for label in labels if keys[label] is not None]
        unknown = [label for label in labels if keys[label] is None]
        return sorted(known, key=lambda label: keys[label], reverse=is_reversed) + unknown

    def _sort_key(self, label: int, column: int) -> Any:
        """Return the value of a cell that rows are sorted by; None if it is empty."""
        clusters = self.clusters
        assert clusters is not None
        if column == LABEL:
            return label
        if column == NAME:
            return clusters.name(label).casefold() or None
        if column == PERCENT:
            percent = clusters.percent([label])
            return None if isnan(percent) else percent
        if column == AREA:
            return clusters.pixels([label])
        if column == COLOR:
            hue, saturation, value = rgb_to_hsv(*clusters.color(label)[:3].tolist())
            # Grays first, from dark to bright.
            return (0, value) if saturation < _GRAY else (1, hue, value)
        mean = clusters.mean(label, self.channels[column - COLOR - 1][1])
        return None if isnan(mean) else mean

    def _reorder(self, labels: list[int]) -> None:
        """Show the same rows in another order; selection and current cell move with them."""
        if labels == self.labels:
            return
        self.layoutAboutToBeChanged.emit()
        before = self.persistentIndexList()
        rows = {label: row for row, label in enumerate(labels)}
        after = [self.index(rows[self.labels[each.row()]], each.column()) for each in before]
        self.labels = labels
        self.changePersistentIndexList(before, after)
        self.layoutChanged.emit()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.labels)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        if parent is not None and parent.isValid():
            return 0
        return len(_HEADERS) + len(self.channels)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = _Role.DisplayRole
    ) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == _Role.InitialSortOrderRole and section in (LABEL, NAME, COLOR):
            return Qt.SortOrder.AscendingOrder.value
        if role == _Role.InitialSortOrderRole:
            # The largest clusters first.
            return Qt.SortOrder.DescendingOrder.value
        if role == _Role.DisplayRole:
            return self._header(section)
        if role == _Role.ToolTipRole:
            return self._header_tip(section) + _SORT_TIP
        return None

    def _header(self, section: int) -> str:
        if section > COLOR:
            return self.channels[section - COLOR - 1][0]
        if section == AREA and self.clusters is not None:
            return self.clusters.size_word
        return _HEADERS[section]

    def _header_tip(self, section: int) -> str:
        if section > COLOR:
            return f"The mean of the cluster in the channel: {self._header(section)}."
        return _HEADER_TIPS[section]

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        if index.column() == LABEL:
            flags |= Qt.ItemFlag.ItemIsUserCheckable
        if index.column() == NAME:
            flags |= Qt.ItemFlag.ItemIsEditable
        return flags

    def data(self, index: QModelIndex, role: int = _Role.DisplayRole) -> Any:
        if self.clusters is None or not index.isValid():
            return None
        label, column = self.labels[index.row()], index.column()
        if role in (_Role.DisplayRole, _Role.EditRole):
            if (label, column) not in self._texts:
                self._texts[label, column] = self._cell_text(label, column)
            return self._texts[label, column]
        if role == _Role.ToolTipRole:
            return self._cell_tip(label, column)
        if role == _Role.TextAlignmentRole and column not in (LABEL, NAME, COLOR):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == _Role.DecorationRole and column == COLOR:
            return make_swatch(self.clusters.hex_color(label))
        if role == _Role.AccessibleTextRole and column == COLOR:
            return self.clusters.hex_color(label)
        if role == _Role.CheckStateRole and column == LABEL:
            shown = self.clusters.is_shown(label)
            return Qt.CheckState.Checked if shown else Qt.CheckState.Unchecked
        return None

    def _cell_text(self, label: int, column: int) -> str:
        clusters = self.clusters
        assert clusters is not None
        if column == PERCENT:
            return format_percent(clusters.percent([label]))
        if column == AREA:
            return clusters.area([label])
        if column == LABEL:
            return str(label)
        if column == NAME:
            return clusters.name(label)
        if column > COLOR:
            return format_mean(clusters.mean(label, self.channels[column - COLOR - 1][1]))
        # The names need the room of the code, which the tooltip shows.
        return ""

    def _cell_tip(self, label: int, column: int) -> str:
        assert self.clusters is not None
        if column in (PERCENT, AREA):
            counted = self.clusters.counted
            tip = f"{self.clusters.pixels([label]):,} pixels"
            return f"{tip}, counted {counted}" if counted else tip
        if column == COLOR:
            return f"{self.clusters.hex_color(label)}. {_HEADER_TIPS[COLOR]}"
        return (self.clusters.name(label) if column == NAME else "") or self._header_tip(column)

    def setData(self, index: QModelIndex, value: Any, role: int = _Role.EditRole) -> bool:
        if self.clusters is None:
            return False
        label = self.labels[index.row()]
        if role == _Role.CheckStateRole:
            self.clusters.show([label], Qt.CheckState(value) == Qt.CheckState.Checked)
        else:
            self.clusters.rename(label, str(value).strip())
        return True


class _Table(QTableView):
    """A table that calls a function when its width or height has changed."""

    def __init__(self, resized: Callable[[], None], parent: QWidget) -> None:
        super().__init__(parent)
        self._resized = resized

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._resized()


class _Header(QHeaderView):
    """The header of the table, with little room beside its texts."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)

    def sectionSizeFromContents(self, section: int) -> QSize:
        """Return the size of a title with 12 pixels on each side, which the sort arrow needs."""
        size = super().sectionSizeFromContents(section)
        # Qt adds 32 pixels, which the names need in a dock of the first width.
        return QSize(size.width() - 8, size.height())


class ClusterList(QWidget):
    """A list of the clusters of a Labels layer with their names, sizes and colors.

    The clusters of the selected rows are highlighted in the viewer. Every edit
    changes the layer itself: its `data`, `colormap` and `features`.

    Parameters
    ----------
    layer : napari.layers.Labels, optional
        A layer that a run of this plugin has made. None shows an empty list.
    parent : QWidget, optional

    Attributes
    ----------
    split_requested : Signal
        Emitted with the label of a merged cluster that the user wants to split. Its pixels
        have to be read, which is not done here; see `split`.
    split_anew_requested : Signal
        Emitted with the label of a cluster and the number of new clusters in which its
        pixels are to be clustered.
    changed : Signal
        Emitted after every change of the clusters or of their layer.
    n_parts : QSpinBox
        The number of new clusters.
    problem : str
        Why there are no clusters, in one sentence, shown while the list is empty.
    """

    split_requested = Signal(int)
    split_anew_requested = Signal(int, int)
    changed = Signal()

    def __init__(self, layer: Labels | None = None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._clusters: Clusters | None = None
        self._earlier: list[Clusters] = []
        self._is_refreshing = False
        self._split_problem = "The list does not have the image."
        self.problem = NO_CLUSTERS
        self._model = _ClusterModel(self)
        self.table = self._make_table()
        self._selection = cast("Any", self.table.selectionModel())
        self.message, self.outdated = QLabel(), QLabel()
        for label in (self.message, self.outdated):
            label.setWordWrap(True)
        self.outdated.hide()
        self._selection.selectionChanged.connect(self._on_selection_changed)
        self._make_actions()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table)
        layout.addWidget(self.outdated)
        layout.addWidget(self.message)
        layout.addWidget(self._make_buttons())
        self.set_layer(layer)

    # ---------------------------------------------------------------- widgets

    def _make_table(self) -> QTableView:
        table: Any = _Table(self._fit_table, self)
        table.setModel(self._model)
        table.setAccessibleName("Clusters")
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked)
        # Tab moves the focus to the buttons. The arrow keys move between the rows.
        table.setTabKeyNavigation(False)
        table.setMinimumWidth(310)
        table.setShowGrid(False)
        table.setWordWrap(False)
        table.setIconSize(QSize(SWATCH_SIZE, SWATCH_SIZE))
        table.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(_ROW_HEIGHT)
        header = _Header(table)
        table.setHorizontalHeader(header)
        header.setSectionsClickable(True)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        # A column that stretches would have no width beside many others: `_fit_table` sets it.
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Fixed)
        header.setMinimumSectionSize(SWATCH_SIZE + 12)
        # The third click on a header restores the order of the labels.
        header.setSortIndicatorClearable(True)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        table.setSortingEnabled(True)
        table.doubleClicked.connect(self._on_double_clicked)
        return cast("QTableView", table)

    def _make_actions(self) -> None:
        self.merge_action = self._make_action("&Merge", "M", _MERGE_TIP, self._on_merge)
        self.split_action = self._make_action("&Split", "S", _SPLIT_TIP, self._on_split)
        self.split_anew_action = self._make_action(
            "Split i&n", "Shift+S", _SPLIT_ANEW_TIP, self._on_split_anew
        )
        self.rename_action = self._make_action(
            "Re&name", "F2", "Edit the name of the selected cluster.", self._on_rename
        )
        self.color_action = self._make_action(
            "&Color…", "Return", "Choose a color for the selected cluster.", self.choose_color
        )
        self.ignore_action = self._make_action("&Ignore", "I", _IGNORE_TIP, self._on_ignore)
        self.show_action = self._make_action(
            "Show or hide", "Space", "Hide or show the selected clusters.", self._on_show
        )
        self._make_action(
            "Select none", "Escape", "Clear the selection and the highlight.", self._on_clear
        )
        self.undo_action = self._make_action(
            "&Undo", "Ctrl+Z", "Undo the last change in this list.", self.undo
        )
        self.redo_action = self._make_action(
            "Red&o", "Ctrl+Shift+Z", "Repeat the change that was undone last.", self.redo
        )
        # Undo and redo also work while a button of this widget has the focus.
        for action in (self.undo_action, self.redo_action):
            action.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            self.addAction(action)

    def _make_action(self, text: str, keys: str, tip: str, slot: Callable[[], None]) -> QAction:
        action = QAction(text, self)
        action.setShortcut(QKeySequence(keys))
        # The shortcut acts only while the table itself has the focus. In the editor of a
        # name, keys such as M and Space must type letters.
        action.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
        _set_tip(action, tip)
        action.triggered.connect(lambda _checked=False: slot())
        self.table.addAction(action)
        return action

    def _make_buttons(self) -> QWidget:
        widget = QWidget()
        layout = QVBoxLayout(widget)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        self.n_parts = self._make_n_parts()
        first = [self.merge_action, self.split_action, self.split_anew_action]
        second = [self.rename_action, self.color_action, self.ignore_action]
        rows: tuple[list[QWidget], ...] = (
            [*map(_make_button, first), self.n_parts],
            [*map(_make_button, [*second, self.undo_action, self.redo_action])],
        )
        for widgets in rows:
            row = QHBoxLayout()
            row.setSpacing(4)
            layout.addLayout(row)
            for each in widgets:
                row.addWidget(each)
        return widget

    def _make_n_parts(self) -> QSpinBox:
        field = QSpinBox()
        field.setRange(2, _MAX_PARTS)
        field.setToolTip("The number of new clusters of Split in.")
        field.setAccessibleName("Number of new clusters")
        return field

    # --------------------------------------------------------------- the layer

    @property
    def layer(self) -> Labels | None:
        """The layer whose clusters are listed, or None."""
        return None if self._clusters is None else self._clusters.layer

    def set_layer(
        self,
        layer: Labels | None,
        source: Source | None = None,
        model: KMeansModel | None = None,
        recolored: Sequence[Image] = (),
    ) -> None:
        """List the clusters of another layer, and remove the highlight from the previous one.

        Edits of the previous layer can be undone when the list shows it again, until
        `keep_only` forgets the layer.

        Parameters
        ----------
        layer : napari.layers.Labels or None
        source, model, recolored
            See `Clusters`.
        """
        if self._clusters is not None and layer is self._clusters.layer:
            # A new run may have updated the layer for other contrast limits.
            self._clusters.source, self._clusters.model = source, model
            self._clusters.recolored = recolored
            return
        if self._clusters is not None:
            self._clusters.highlight([])
            self._clusters.events.changed.disconnect(self._refresh)
            self._earlier.append(self._clusters)
        self._clusters = self._model.clusters = (
            None if layer is None else self._clusters_of(layer, source, model, recolored)
        )
        if self._clusters is not None:
            self._clusters.events.changed.connect(self._refresh)
        self._refresh()

    def keep_only(self, layers: Iterable[Layer]) -> None:
        """Forget the edits of layers that are not among some layers."""
        kept = [*layers]
        for clusters in [each for each in self._earlier if each.layer not in kept]:
            self._earlier.remove(clusters)
            clusters.disconnect()
            self.destroyed.disconnect(clusters.disconnect)

    def _clusters_of(
        self,
        layer: Labels,
        source: Source | None,
        model: KMeansModel | None,
        recolored: Sequence[Image],
    ) -> Clusters:
        """Return the clusters of a layer, with the edits that were made in this list."""
        for clusters in self._earlier:
            if clusters.layer is layer:
                self._earlier.remove(clusters)
                clusters.source, clusters.model = source, model
                clusters.recolored = recolored
                return clusters
        clusters = Clusters(layer, source, model, recolored)
        # A deleted widget must not follow its layer, which may live on.
        self.destroyed.connect(clusters.disconnect)
        return clusters

    def _refresh(self) -> None:
        with self._refreshing():
            self._model.refresh()
            self._select_highlighted()
        self._fit_table()
        self._update_actions_and_texts()
        self.changed.emit()

    def _fit_table(self) -> None:
        """Fit the height of the table to its rows, up to ten, and the names to its width."""
        table: Any = self.table
        header, room = table.horizontalHeader(), table.viewport().width()
        least, most = _NAME_WIDTHS
        # A list with means is often wider than the dock. Other lists fit into it, unless
        # areas have many digits.
        if self._model.channels:
            least = max(least, min(table.sizeHintForColumn(NAME), most))
        others = header.length() - header.sectionSize(NAME)
        table.setColumnWidth(NAME, max(room - others, least))
        n_rows = min(max(len(self._model.labels), _MIN_ROWS), _MAX_ROWS)
        height = header.sizeHint().height() + n_rows * _ROW_HEIGHT + 2 * table.frameWidth()
        if header.length() > room:
            height += table.horizontalScrollBar().sizeHint().height()
        table.setMinimumHeight(height)

    @contextmanager
    def _refreshing(self) -> Iterator[None]:
        """Do not highlight the selected clusters while the rows and the selection are rebuilt."""
        self._is_refreshing = True
        try:
            yield
        finally:
            self._is_refreshing = False

    # --------------------------------------------------------------- selecting

    @property
    def selected(self) -> list[int]:
        """The labels of the selected rows, from top to bottom."""
        rows = sorted(index.row() for index in self._selection.selectedRows())
        return [self._model.labels[row] for row in rows]

    def select(self, labels: Collection[int]) -> None:
        """Select exactly the rows of these labels."""
        if self._clusters is not None:
            self._clusters.highlight(labels)

    def toggle(self, label: int) -> None:
        """Select only this label; clear the selection if it is selected or has no row."""
        is_known = label in self._model.labels
        self.select([label] if is_known and self.selected != [label] else [])

    def _select_highlighted(self) -> None:
        highlighted = self._clusters.highlighted if self._clusters else frozenset()
        if highlighted == set(self.selected):
            return
        selection, last = QItemSelection(), self._model.columnCount() - 1
        for row, label in enumerate(self._model.labels):
            if label in highlighted:
                selection.select(self._model.index(row, LABEL), self._model.index(row, last))
        flag = QItemSelectionModel.SelectionFlag.ClearAndSelect
        self._selection.select(selection, flag)
        # The arrow keys start from the current cell.
        if selection.indexes():
            current = selection.indexes()[0].siblingAtColumn(NAME)
            no_update = QItemSelectionModel.SelectionFlag.NoUpdate
            self._selection.setCurrentIndex(current, no_update)
            self.table.scrollTo(current)

    def _on_selection_changed(self) -> None:
        if not self._is_refreshing and self._clusters is not None:
            self._clusters.highlight(self.selected)

    def _update_actions_and_texts(self) -> None:
        selected = self.selected
        self.merge_action.setEnabled(len(selected) > 1)
        split_problem = self._find_split_problem(selected)
        self.split_action.setEnabled(not split_problem)
        _set_tip(self.split_action, split_problem or _SPLIT_TIP)
        anew_problem = self._find_split_anew_problem(selected)
        for each in (self.split_anew_action, self.n_parts):
            each.setEnabled(not anew_problem)
        _set_tip(self.split_anew_action, anew_problem or _SPLIT_ANEW_TIP)
        self.rename_action.setEnabled(len(selected) == 1)
        self.color_action.setEnabled(len(selected) == 1)
        self.ignore_action.setEnabled(bool(selected))
        are_ignored = self._are_ignored(selected)
        self.ignore_action.setText("Coun&t" if are_ignored else "&Ignore")
        _set_tip(self.ignore_action, _COUNT_TIP if are_ignored else _IGNORE_TIP)
        self.show_action.setEnabled(bool(selected))
        self.undo_action.setEnabled(self._clusters is not None and self._clusters.can_undo)
        self.redo_action.setEnabled(self._clusters is not None and self._clusters.can_redo)
        self.message.setText(self._describe_selection(selected))
        if self._clusters is not None:
            can_be_counted = self._clusters.can_be_counted
            self.outdated.setText(_UNTIL_COUNTED if can_be_counted else _NEVER_COUNTED)
        self.outdated.setVisible(self._clusters is not None and self._clusters.is_outdated)

    def _find_split_anew_problem(self, selected: list[int]) -> str:
        """Return why the selected cluster cannot be clustered anew; empty if it can."""
        classes = None if self._clusters is None else self._clusters.classes
        if len(selected) != 1:
            return "Select one cluster to split it."
        if self._split_problem:
            return self._split_problem
        if classes is None or selected[0] not in classes.labels:
            return "The clusters have no single model, which splitting needs."
        return ""

    def _find_split_problem(self, selected: list[int]) -> str:
        """Return why the selected cluster cannot be split; empty if it can."""
        problem = self._find_split_anew_problem(selected)
        if problem or self._clusters is None or self._clusters.classes is None:
            return problem
        if len(self._clusters.classes[selected[0]].centers) < 2:
            return "This cluster has one center: only a merged cluster can be split."
        return ""

    def _describe_selection(self, selected: list[int]) -> str:
        if self._clusters is None or not self._model.labels:
            return self.problem
        text = f"{len(self._model.labels)} clusters; select rows to highlight them."
        if selected:
            sizes = [
                format_percent(self._clusters.percent(selected)),
                self._clusters.area(selected),
            ]
            text = f"{len(selected)} selected: {', '.join(filter(None, sizes))}"
        counted = self._clusters.counted
        counted = counted and f"Counted {counted}."
        edited = "Edited by hand." if self._clusters.is_edited_by_hand else ""
        lines = [text, self._describe_undecided(), counted, edited]
        return "\n".join(filter(None, lines))

    def _describe_undecided(self) -> str:
        """Return the number and the share of the pixels that have no row; empty for none."""
        assert self._clusters is not None
        table = self._clusters.layer.features
        undecided = count_undecided(table)
        if not undecided:
            return ""
        share = format_percent(undecided_percent(table))
        return f"Undecided: {undecided:,} pixels ({share}), which have label 0 and no row."

    # ----------------------------------------------------------------- editing

    def set_color(self, label: int, color: Any) -> None:
        """Set the color of a cluster: a name or code that napari accepts, or (red, green, blue)."""
        self._require_clusters().set_color(label, color)

    def set_color_scheme(self, scheme: str) -> None:
        """Show mean colors or distinct colors; see `Clusters.set_color_scheme`."""
        self._require_clusters().set_color_scheme(scheme)

    def merge(self, labels: Collection[int]) -> int:
        """Merge clusters into one, and return the label of the merged cluster."""
        return self._require_clusters().merge(labels)

    @property
    def split_problem(self) -> str:
        """Why no cluster can be split, in one sentence; empty if clusters can be split."""
        return self._split_problem

    @split_problem.setter
    def split_problem(self, problem: str) -> None:
        self._split_problem = problem
        self._update_actions_and_texts()

    def split(self, split: ClassSplit) -> None:
        """Split a cluster into several, and select them; see `Clusters.split`."""
        self.select(self._require_clusters().split(split))

    def undo(self) -> None:
        """Undo the last edit, if there is one."""
        self._require_clusters().undo()

    def redo(self) -> None:
        """Repeat the edit that was undone last, if there is one."""
        self._require_clusters().redo()

    def choose_color(self) -> None:
        """Open a dialog to choose a color for the selected cluster.

        Do nothing unless exactly one cluster is selected.
        """
        if self._clusters is None or len(self.selected) != 1:
            return
        clusters, label = self._clusters, self.selected[0]
        dialog = QColorDialog(QColor(clusters.hex_color(label)), self)
        dialog.setWindowTitle(f"Color of cluster {label}")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)

        def set_chosen_color(color: QColor) -> None:
            # By now the list may show another layer, which must keep its colors.
            if clusters is self._clusters:
                self.set_color(label, color.name())

        dialog.colorSelected.connect(set_chosen_color)
        dialog.open()

    def _require_clusters(self) -> Clusters:
        if self._clusters is None:
            raise ValueError("layer must be a Labels layer, got None: call set_layer first.")
        return self._clusters

    def _on_merge(self) -> None:
        self.select([self.merge(self.selected)])

    def _on_split(self) -> None:
        self.split_requested.emit(self.selected[0])

    def _on_split_anew(self) -> None:
        self.split_anew_requested.emit(self.selected[0], self.n_parts.value())

    def _on_rename(self) -> None:
        row = self._model.labels.index(self.selected[0])
        self.table.edit(self._model.index(row, NAME))

    def _on_show(self) -> None:
        clusters, selected = self._require_clusters(), self.selected
        clusters.show(selected, not all(clusters.is_shown(label) for label in selected))

    def _on_ignore(self) -> None:
        selected = self.selected
        is_ignored = not self._are_ignored(selected)
        self._require_clusters().ignore(selected, is_ignored)
        if is_ignored:
            # Hidden clusters cannot be seen, and their highlight would fade all others.
            self.select([])

    def _are_ignored(self, labels: list[int]) -> bool:
        clusters = self._clusters
        if clusters is None or not labels:
            return False
        return all(clusters.is_ignored(label) for label in labels)

    def _on_clear(self) -> None:
        self.select([])

    def _on_double_clicked(self, index: QModelIndex) -> None:
        if index.column() == COLOR:
            self.choose_color()

    # ----------------------------------------------------------------- closing

    def hideEvent(self, event: Any) -> None:
        """Remove the highlight when the list is closed or folded, or its tab is left.

        A spontaneous event comes from the window system, for example when the window is
        minimized: then the highlight stays.
        """
        if not event.spontaneous():
            self.select([])
        super().hideEvent(event)


def format_percent(percent: float) -> str:
    """Return a percentage as text: one decimal, or one significant digit below 0.95 %.

    NaN is the share of an ignored cluster.
    """
    if isnan(percent):
        return "ignored"
    return f"{percent:.1f} %" if percent >= 0.95 or not percent else f"{percent:.1g} %"


def format_mean(mean: float) -> str:
    """Return a mean as text: whole numbers from 1000 on, else four significant digits.

    NaN is the mean of a cluster without pixels.
    """
    if isnan(mean):
        return ""
    return f"{mean:.0f}" if abs(mean) >= 1000 else f"{mean:.4g}"


def _set_tip(action: QAction, tip: str) -> None:
    """Give an action a tooltip that ends with its shortcut."""
    native = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
    action.setToolTip(f"{tip} ({native})")


def _make_button(action: QAction) -> QPushButton:
    """Return a button that triggers an action and is enabled whenever the action is."""
    button = QPushButton(action.text())
    button.setToolTip(action.toolTip())
    button.setMinimumWidth(0)
    button.clicked.connect(lambda _checked=False: action.trigger())
    action.changed.connect(lambda: button.setToolTip(action.toolTip()))
    action.changed.connect(lambda: button.setText(action.text()))
    action.enabledChanged.connect(button.setEnabled)
    return button
