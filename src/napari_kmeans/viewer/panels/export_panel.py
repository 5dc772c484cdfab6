"""The panel that takes a result along: as a script, a table, a figure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from magicgui.widgets import PushButton
from qtpy.QtGui import QGuiApplication

from napari_kmeans.figures import plot_palette
from napari_kmeans.files.atomic import write_whole
from napari_kmeans.viewer.panels.working_panel import WorkingPanel
from napari_kmeans.viewer.to_layers.as_python import script_of
from napari_kmeans.viewer.widgets.dialogs import ask_where_to_save
from napari_kmeans.viewer.widgets.form import row

if TYPE_CHECKING:
    import os

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.viewer.background.task import AnySegmentation
    from napari_kmeans.viewer.background.worker import SegmentationWorker
    from napari_kmeans.viewer.panels.panel import Dock
    from napari_kmeans.viewer.to_layers.result import Result

_FIGURES = (".png", ".svg")


class ExportPanel(WorkingPanel):
    """Copies the latest result as a script, and saves its table and its palette.

    Examples
    --------
    >>> panel = dock.folds["export"].open()
    >>> panel.save_table("clusters.csv")
    """

    title = "Save and copy"
    tooltip = "Take the result along: as a Python script, a table, a figure."

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._make_buttons()
        self.column.addWidget(row([self.copy_button, self.cancel_button]))
        self.column.addWidget(row([self.table_button, self.figure_button]))
        for widget in (self.message, self.progress_bar.native):
            self.column.addWidget(widget)
        self.refresh()

    def _make_buttons(self) -> None:
        self.copy_button = PushButton(
            name="copy_button",
            text="Copy as Python",
            tooltip="Put a script on the clipboard that gives exactly this result.",
        )
        self.table_button = PushButton(
            name="table_button",
            text="Table…",
            tooltip="Write the table of the clusters to a CSV file.",
        )
        self.figure_button = PushButton(
            name="figure_button",
            text="Figure…",
            tooltip="Write a picture of the palette and the shares to a PNG or SVG file.",
        )
        self.copy_button.changed.connect(lambda: self.attempt(self.copy))
        self.table_button.changed.connect(lambda: self.attempt(self._ask_for_table))
        self.figure_button.changed.connect(lambda: self.attempt(self._ask_for_figure))

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
        work = ScriptWork(self._result(), self._masks_in_console())
        return self.start(work, self._show_script)

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
        self.show_message(f"The table is in {Path(path).name}.")

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
        self._figure_work(Path(path)).run()
        self.show_message(f"The figure is in {Path(path).name}.")

    def refresh(self) -> None:
        """Offer what can be done with the latest result."""
        self.show_message("")
        self.work_changed()

    def _result(self) -> Result:
        if self.dock.result is None:
            raise ValueError("there is no result yet: run the clustering first.")
        return self.dock.result

    def _masks_in_console(self) -> str:
        docks = self.dock.viewer.window.dock_widgets
        names = [name for name, widget in docks.items() if widget is self.dock]
        dock = f"viewer.window.dock_widgets[{names[0]!r}]" if names else "widget"
        return f"{dock}.result.task.masks"

    def work_changed(self) -> None:
        """Enable what can be done."""
        can_do = self.dock.result is not None and not self.is_working
        for button in (self.copy_button, self.table_button, self.figure_button):
            button.enabled = can_do

    def _show_script(self, text: str) -> None:
        clipboard = QGuiApplication.clipboard()
        assert clipboard is not None
        clipboard.setText(text)
        self.show_message(_told_of_script(text))

    def _figure_work(self, path: Path) -> FigureWork:
        result = self._result()
        return FigureWork(replace(result.outcome, table=result.table), path)

    def _ask_for_table(self) -> None:
        path = ask_where_to_save(self, "Save table", self._name("table.csv"), "Tables (*.csv)")
        if path is not None:
            self.save_table(path)

    def _ask_for_figure(self) -> None:
        kinds = "Figures (*.png *.svg)"
        path = ask_where_to_save(self, "Save figure", self._name("palette.png"), kinds)
        if path is not None:
            told = f"The figure is in {path.name}."
            self.start(self._figure_work(path), lambda _: self.show_message(told))

    def _name(self, ending: str) -> str:
        return f"{self._result().task.source.name} {ending}"


def _told_of_script(text: str) -> str:
    told = "The script is on the clipboard"
    return told + (", which says what to fill in." if "# Fill in" in text else ".")


@dataclass(frozen=True, eq=False)
class ScriptWork:
    """A result to be written as a script, and what its masks are called in the console."""

    result: Result
    masks: str

    def run(self, _progress: Report | None = None) -> str:
        """Return the script."""
        return script_of(self.result, self.masks)


@dataclass(frozen=True, eq=False)
class FigureWork:
    """A figure of a palette, and the file that it is to be in."""

    outcome: AnySegmentation
    path: Path

    def run(self, _progress: Report | None = None) -> None:
        """Write the file, whole or not at all."""
        if self.path.suffix.lower() not in _FIGURES:
            raise ValueError(
                f"a figure must be saved as .png or .svg, got {self.path.name!r}: name it so."
            )
        write_whole({self.path: plot_palette(self.outcome).savefig})
