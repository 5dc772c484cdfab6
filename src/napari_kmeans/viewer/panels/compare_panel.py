"""Several numbers of clusters side by side, below the form of the dock."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import LineEdit, PushButton
from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

from napari_kmeans.options import OPTIONS
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

MOST_NUMBERS = 15
"""With the original, four rows of four."""

_BUTTONS_IN_A_ROW = 5


def read_numbers(text: str) -> list[int]:
    """Return the numbers of a list such as "2, 5, 10", each once.

    Raises
    ------
    ValueError
        If it is no list of 1 to 15 numbers of clusters.
    """
    info = OPTIONS["n_clusters"]
    words = text.replace(",", " ").split()
    numbers = list(dict.fromkeys(int(word) for word in words if word.isdecimal()))
    fit = all(info.minimum <= number <= info.maximum for number in numbers)  # type: ignore[operator]
    if not fit or not all(map(str.isdecimal, words)) or not 1 <= len(numbers) <= MOST_NUMBERS:
        raise ValueError(
            f"numbers must be 1 to {MOST_NUMBERS} whole numbers from {info.minimum} to "
            f"{info.maximum}, got {text!r}: write a list such as 2, 5, 10."
        )
    return numbers


class ComparePanel(WorkingPanel):
    """Shows the chosen image in several numbers of clusters, in a grid beside the original.

    Attributes
    ----------
    numbers : LineEdit
        The list of numbers.
    side_by_side : SideBySide or None
        What is shown now.
    choices : QWidget
        A button for each number while they are shown.
    """

    title = "Compare"
    tooltip = "See the chosen image in several numbers of clusters, side by side."

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self.side_by_side: SideBySide | None = None
        self.numbers = LineEdit(
            name="numbers",
            label="Numbers",
            value="2, 5, 10",
            tooltip=f"Numbers of clusters to compare, up to {MOST_NUMBERS} of them.",
        )
        self.compare_button = PushButton(
            name="compare_button", text="Show side by side", tooltip=self.tooltip
        )
        self.back_button = PushButton(
            name="back_button", text="Back", tooltip="Show what was seen before, in one view."
        )
        self.choices: QWidget | None = None
        self._lay_out()
        self.compare_button.changed.connect(lambda: self.attempt(self.compare))
        self.numbers.native.returnPressed.connect(lambda: self.attempt(self._compare_by_key))
        self.back_button.changed.connect(self.back)
        dock.segmented.connect(self._on_segmented)
        self.work_changed()

    def _lay_out(self) -> None:
        self.column.addWidget(form([self.numbers]))
        self.column.addWidget(self.compare_button.native)
        self.column.addWidget(row([self.back_button, self.cancel_button]))
        self.column.addWidget(self.progress_bar.native)

    def compare(self) -> SegmentationWorker:
        """Cluster the chosen image into each of the numbers, in the background.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with a list of what each number gave once the
            layers are in the viewer, `errored` with an exception, and in every
            case `finished`.

        Raises
        ------
        ValueError
            If there is no image layer, or the list cannot be read.
        RuntimeError
            If a comparison is under way.
        """
        numbers = read_numbers(self.numbers.value)
        # An earlier comparison is no image to compare.
        self.back()
        task = self.dock.task()
        return self.start(ComparisonWork(task, numbers), partial(self._show, task.source, numbers))

    def back(self) -> None:
        """Remove what is compared, and show what was seen before."""
        if self.side_by_side is None or self.choices is None:
            return
        side_by_side, self.side_by_side = self.side_by_side, None
        side_by_side.back()
        self.choices.hide()
        self.choices.deleteLater()
        self.work_changed()

    def take(self, n_clusters: int) -> None:
        """Go back, and set the number of clusters in the dock."""
        self.back()
        self.dock.n_clusters.value = n_clusters

    def work_changed(self) -> None:
        """Enable what can be done."""
        self.compare_button.enabled = not self.is_working
        self.back_button.enabled = self.side_by_side is not None

    def _compare_by_key(self) -> None:
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
        self.choices = _buttons(numbers, self.take)
        self.column.insertWidget(self.column.count() - 1, self.choices)
        self.work_changed()

    def _on_segmented(self, _result: Any) -> None:
        # Else nothing would be seen of the run.
        self.back()


def _buttons(numbers: list[int], take: Callable[[int], None]) -> QWidget:
    """Return a button for each number, that takes it."""
    widget = QWidget()
    grid = QGridLayout(widget)
    grid.setContentsMargins(0, 0, 0, 0)
    for place, number in enumerate(numbers):
        button = QPushButton(f"Take {number}")
        button.setToolTip(f"Go back, and set {number} clusters in the form above.")
        button.clicked.connect(lambda _checked, chosen=number: take(chosen))
        grid.addWidget(button, *divmod(place, _BUTTONS_IN_A_ROW))
    return widget
