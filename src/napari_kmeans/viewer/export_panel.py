"""The panel that takes a result along: as a script, a table, a figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtGui import QGuiApplication

from napari_kmeans.figures import plot_palette
from napari_kmeans.files import write_whole
from napari_kmeans.viewer.as_python import script_of
from napari_kmeans.viewer.panels import Panel
from napari_kmeans.viewer.work import Work, ask_where_to_save, button, line_of_text, side_by_side

if TYPE_CHECKING:
    import os

    from napari_kmeans.progress import Report
    from napari_kmeans.viewer.result import Result
    from napari_kmeans.viewer.task import Outcome
    from napari_kmeans.viewer.widget import KMeansWidget
    from napari_kmeans.viewer.worker import SegmentationWorker

_FIGURES = (".png", ".svg")


class ExportPanel(Panel):
    """Copies the latest result as a script, and saves its table and its palette.

    Examples
    --------
    >>> panel = dock.folds["Save and copy"].open()
    >>> panel.save_table("clusters.csv")
    """

    title = "Save and copy"
    tooltip = "Take the result along: as a Python script, a table, a figure."

    def __init__(self, dock: KMeansWidget) -> None:
        super().__init__(dock)
        self._work = Work(dock, self._show_state)
        self.copy_button = button(
            "Copy as Python",
            "Put a script on the clipboard that gives exactly this result.",
            self.copy,
        )
        self.table_button = button(
            "Table…", "Write the table of the clusters to a CSV file.", self._ask_for_table
        )
        self.figure_button = button(
            "Figure…",
            "Write a picture of the palette and the shares to a PNG or SVG file.",
            self._ask_for_figure,
        )
        self._told = line_of_text()
        self._told.hide()
        buttons = [self.copy_button, self.table_button, self.figure_button]
        self.column.addWidget(side_by_side(buttons))
        self.column.addWidget(self._told)
        self._show_state()

    def script(self) -> str:
        """Return a script that gives the latest result again.

        Where the pixels are not those of a sample or of the file that the layer
        is from, it loads ``image.npy``, and a mask from ``mask.npy``; it says
        how to save them.

        Raises
        ------
        ValueError
            If there is no result.
        """
        return script_of(self._result(), self._masks_in_console())

    def copy(self) -> SegmentationWorker:
        """Put the script on the clipboard, once it is known whether the file has the pixels.

        Returns
        -------
        SegmentationWorker
            Emits `returned` with the text once it is on the clipboard.

        Raises
        ------
        ValueError
            If there is no result.
        RuntimeError
            If the panel is busy.
        """
        result, masks = self._result(), self._masks_in_console()

        def show(text: str) -> None:
            clipboard = QGuiApplication.clipboard()
            assert clipboard is not None
            clipboard.setText(text)
            self._tell(_told_of_script(text, result))

        return self._work.start(lambda _progress: script_of(result, masks), show)

    def save_table(self, path: str | os.PathLike[str]) -> None:
        """Write the table, as the layer of the labels has it now, to a CSV file.

        Raises
        ------
        ValueError
            If there is no result.
        OSError
            If the file cannot be written.
        """
        table = self._result().table
        write_whole({Path(path): lambda part: table.to_csv(part, index=False)})
        self._tell(f"The table is in {Path(path).name}.")

    def save_figure(self, path: str | os.PathLike[str]) -> None:
        """Write a picture of the palette and the shares to a PNG or SVG file.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is no result, or the name of the file ends in something else.
        OSError
            If the file cannot be written.
        """
        result = self._result()
        _write_figure(result.outcome, result.table, Path(path))
        self._tell(f"The figure is in {Path(path).name}.")

    def refresh(self) -> None:
        """Offer what can be done with the latest result."""
        self._told.hide()
        self._show_state()

    def _result(self) -> Result:
        if self.dock.result is None:
            raise ValueError("there is no result yet: run the clustering first.")
        return self.dock.result

    def _masks_in_console(self) -> str:
        docks = self.dock.viewer.window.dock_widgets
        names = [name for name, widget in docks.items() if widget is self.dock]
        dock = f"viewer.window.dock_widgets[{names[0]!r}]" if names else "widget"
        return f"{dock}.result.task.masks"

    def _show_state(self) -> None:
        can_do = self.dock.result is not None and not self._work.is_running
        for each in (self.copy_button, self.table_button, self.figure_button):
            each.setEnabled(can_do)

    def _tell(self, text: str) -> None:
        self._told.setText(text)
        self._told.show()

    def _ask_for_table(self) -> None:
        path = ask_where_to_save(self, "Save table", self._name("table.csv"), "Tables (*.csv)")
        if path:
            self.save_table(path)

    def _ask_for_figure(self) -> None:
        result = self._result()
        path = Path(
            ask_where_to_save(
                self, "Save figure", self._name("palette.png"), "Figures (*.png *.svg)"
            )
        )

        def work(_progress: Report) -> None:
            _write_figure(result.outcome, result.table, path)

        if path.name:
            self._work.start(work, lambda _: self._tell(f"The figure is in {path.name}."))

    def _name(self, ending: str) -> str:
        return f"{self._result().task.source.name} {ending}"


def _told_of_script(text: str, result: Result) -> str:
    told = "The script is on the clipboard"
    told += ", which says what to fill in." if "# Fill in" in text else "."
    if len(result.table) < len(result.outcome.table):
        told += " It does not have the clusters that were merged in the list."
    return told


def _write_figure(outcome: Outcome, table: Any, path: Path) -> None:
    if path.suffix.lower() not in _FIGURES:
        raise ValueError(f"a figure must be saved as .png or .svg, got {path.name!r}: name it so.")
    figure = plot_palette(replace(outcome, table=table))
    write_whole({path: figure.savefig})
