"""The panel *Compare*: one image in several numbers of clusters, side by side."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import LineEdit, PushButton
from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

from napari_kmeans.options import MAX_CLUSTERS
from napari_kmeans.viewer.background.comparison_work import ComparisonWork
from napari_kmeans.viewer.panels.working_panel import WorkingPanel
from napari_kmeans.viewer.to_layers.compared_layers import compared_layers
from napari_kmeans.viewer.widgets.form import form, row
from napari_kmeans.viewer.widgets.side_by_side import SideBySide

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_kmeans.viewer.background.task import AnySegmentation
    from napari_kmeans.viewer.background.worker import SegmentationWorker
    from napari_kmeans.viewer.from_layers.source import Source
    from napari_kmeans.viewer.panels.panel import Dock

MAX_NUMBERS = 15
"""With the original, these fill a grid of four rows of four."""

_BUTTONS_PER_ROW = 5


def read_numbers(text: str) -> list[int]:
    """Return the distinct numbers of clusters in a text such as "2, 5, 10".

    Raises
    ------
    ValueError
        If the text is not a list of 1 to 15 numbers of clusters, separated by
        commas or spaces.
    """
    words = text.replace(",", " ").split()
    numbers = list(dict.fromkeys(int(word) for word in words if word.isdecimal()))
    in_range = all(1 <= number <= MAX_CLUSTERS for number in numbers)
    if not in_range or not all(map(str.isdecimal, words)) or not 1 <= len(numbers) <= MAX_NUMBERS:
        raise ValueError(
            f"numbers must be 1 to {MAX_NUMBERS} whole numbers from 1 to {MAX_CLUSTERS}, "
            f"got {text!r}: write a list such as 2, 5, 10."
        )
    return numbers


class ComparePanel(WorkingPanel):
    """A panel that shows the chosen image in several numbers of clusters, in a grid.

    Attributes
    ----------
    numbers : LineEdit
        The numbers of clusters to compare.
    side_by_side : SideBySide or None
        The comparison in view.
    choices : QWidget or None
        A button for each number, while a comparison is in view.
    """

    title = "Compare"
    tooltip = "Show the chosen image in several numbers of clusters, side by side."

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self.side_by_side: SideBySide | None = None
        self.numbers = LineEdit(
            name="numbers",
            label="Numbers",
            value="2, 5, 10",
            tooltip=f"Up to {MAX_NUMBERS} numbers of clusters to compare.",
        )
        self.compare_button = PushButton(
            name="compare_button", text="Show side by side", tooltip=self.tooltip
        )
        self.back_button = PushButton(
            name="back_button",
            text="Back",
            tooltip="Remove the compared layers and restore the previous view.",
        )
        self.choices: QWidget | None = None
        self._lay_out()
        self.compare_button.changed.connect(lambda: self.attempt(self.compare))
        self.numbers.native.returnPressed.connect(
            lambda: self.attempt(self._compare_unless_working)
        )
        self.back_button.changed.connect(self.back)
        dock.segmented.connect(self._on_segmented)
        self.work_changed()

    def _lay_out(self) -> None:
        self.column.addWidget(form([self.numbers]))
        self.column.addWidget(self.compare_button.native)
        self.column.addWidget(row([self.back_button, self.cancel_button]))
        self.column.addWidget(self.progress_bar.native)

    def compare(self) -> SegmentationWorker:
        """Cluster the chosen image into each number of clusters, in the background.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with a list of the result of each number once the
            layers are in the viewer, or `errored` with an exception, and always
            `finished`.

        Raises
        ------
        ValueError
            If there is no image layer, or the numbers cannot be read.
        RuntimeError
            If a comparison is running.
        """
        numbers = read_numbers(self.numbers.value)
        # End an earlier comparison: if one of its layers is chosen, choose the original instead.
        self.back()
        task = self.dock.task()
        return self.start(ComparisonWork(task, numbers), partial(self._show, task.source, numbers))

    def back(self) -> None:
        """Remove the compared layers and restore the previous view."""
        if self.side_by_side is None or self.choices is None:
            return
        side_by_side, self.side_by_side = self.side_by_side, None
        side_by_side.back()
        self.choices.hide()
        self.choices.deleteLater()
        self.work_changed()

    def choose(self, n_clusters: int) -> None:
        """Restore the previous view and set the number of clusters in the dock."""
        self.back()
        self.dock.n_clusters.value = n_clusters

    def work_changed(self) -> None:
        """Enable the buttons that can be used now."""
        self.compare_button.enabled = not self.is_working
        self.back_button.enabled = self.side_by_side is not None

    def _compare_unless_working(self) -> None:
        if not self.is_working:
            self.compare()

    def _show(self, source: Source, numbers: list[int], outcomes: list[AnySegmentation]) -> None:
        layers = [
            layer
            for number, outcome in zip(numbers, outcomes, strict=True)
            for layer in compared_layers(outcome, source, number)
        ]
        ids = {source.unique_id, *(channel.unique_id for channel in source.channels)}
        originals = [each for each in self.dock.viewer.layers if str(each.unique_id) in ids]
        with self.dock.selection_kept():
            self.side_by_side = SideBySide(self.dock.viewer, originals, layers)
        self.choices = _number_buttons(numbers, self.choose)
        self.column.insertWidget(self.column.count() - 1, self.choices)
        self.work_changed()

    def _on_segmented(self, _result: Any) -> None:
        # All other layers are hidden now: a result that is updated in place would not be seen.
        self.back()


def _number_buttons(numbers: list[int], choose: Callable[[int], None]) -> QWidget:
    """Return a grid of buttons; each calls `choose` with its number."""
    widget = QWidget()
    grid = QGridLayout(widget)
    grid.setContentsMargins(0, 0, 0, 0)
    for index, number in enumerate(numbers):
        button = QPushButton(f"Use {number}")
        button.setToolTip(f"Restore the previous view and set {number} clusters in the form.")
        button.clicked.connect(lambda _checked, chosen=number: choose(chosen))
        grid.addWidget(button, *divmod(index, _BUTTONS_PER_ROW))
    return widget
