"""The results of a cohort: the table of shares, its images in the viewer, and its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import PushButton
from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices, QGuiApplication
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_kmeans.batch.study_tables import REPORT
from napari_kmeans.files.atomic import write_whole
from napari_kmeans.measuring import write_csv
from napari_kmeans.viewer.widgets.dialogs import ask_where_and_what_to_save
from napari_kmeans.viewer.widgets.form import row
from napari_kmeans.viewer.widgets.share_table import Shares, ShareTable
from napari_kmeans.viewer.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    import os

    from napari_kmeans.viewer.background.cohort_work import CohortOutcome

_AS_SHOWN, _ALL_MEASUREMENTS = "Table as shown (*.csv)", "All measurements (*.csv)"

_MOST_FAILURES = 5
"""Failures that are listed below the table; all have their sentence in the table."""


class CohortResults(QWidget):
    """The table of a cohort with its buttons. It is hidden until there is one.

    Parameters
    ----------
    *buttons : PushButton
        Further buttons, beside those that copy and save the table.

    Attributes
    ----------
    table : ShareTable
    outcome : CohortOutcome or None
    """

    def __init__(self, *buttons: PushButton) -> None:
        super().__init__()
        self.outcome: CohortOutcome | None = None
        self.table = ShareTable(self)
        self.failures = WrappedLabel(self)
        self.report_button = PushButton(
            name="report_button", text="Open report", tooltip="Open the report in the browser."
        )
        self.folder_button = PushButton(
            name="open_folder_button", text="Open folder", tooltip="Open the folder of the results."
        )
        self.copy_button = PushButton(
            name="copy_table_button",
            text="Copy table",
            tooltip="Copy the table as it is shown, for a spreadsheet.",
        )
        self.save_button = PushButton(
            name="save_table_button",
            text="Save table…",
            tooltip="Save the table as it is shown, or all measurements: a row for each image and "
            "class, with counts, areas and mean colors.",
        )
        self.all_button = PushButton(
            name="all_layers_button",
            text="Show all layers",
            tooltip="Show the layers that a click in the table has hidden.",
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (
            self.table,
            self.failures,
            row([self.all_button]),
            row([self.copy_button, self.save_button, *buttons]),
            row([self.report_button, self.folder_button]),
        ):
            column.addWidget(widget)
        self.copy_button.changed.connect(self.copy)
        self.report_button.changed.connect(lambda: self._open(self._report_path()))
        self.folder_button.changed.connect(lambda: self._open(self._directory()))
        self.hide()

    def show_outcome(self, outcome: CohortOutcome) -> None:
        """Show the table of a cohort, and the sentences of its failures."""
        self.outcome = outcome
        self.table.show_shares(Shares.of(outcome.table, outcome.failures))
        self.failures.show_text(describe_failures(outcome.failures))
        self.report_button.enabled = self._report_path() is not None
        for button in (self.report_button, self.folder_button):
            button.visible = outcome.directory is not None
        self.show_hidden(False)
        self.setVisible(bool(outcome.images or outcome.failures))

    def show_hidden(self, is_hidden: bool) -> None:
        """Offer to show the layers that are hidden."""
        self.all_button.visible = is_hidden

    def clear(self) -> None:
        """Hide the table."""
        self.outcome = None
        self.hide()

    def copy(self) -> None:
        """Copy the table as it is shown to the clipboard, as text with tabs."""
        clipboard = QGuiApplication.clipboard()
        assert clipboard is not None
        clipboard.setText(self.table.shares.text())

    def save_table(self, path: str | os.PathLike[str], *, measurements: bool = False) -> None:
        """Write the table as it is shown, or all measurements, to a CSV file.

        Raises
        ------
        ValueError
            If there is no table.
        OSError
            If the file cannot be written.
        """
        if self.outcome is None:
            raise ValueError("there is no table yet: run the cohort first.")
        table = self.outcome.table if measurements else self.table.shares.frame()
        write_whole({Path(path): lambda temporary: write_csv(table, temporary)})

    def ask_and_save(self) -> None:
        """Ask for the file of the table and what it contains, and write it."""
        kinds = f"{_AS_SHOWN};;{_ALL_MEASUREMENTS}"
        chosen = ask_where_and_what_to_save(self, "Save table", "cohort.csv", kinds)
        if chosen is not None:
            self.save_table(chosen[0], measurements=chosen[1] == _ALL_MEASUREMENTS)

    def _directory(self) -> Path | None:
        return None if self.outcome is None else self.outcome.directory

    def _report_path(self) -> Path | None:
        directory = self._directory()
        path = None if directory is None else directory / REPORT
        return path if path is not None and path.exists() else None

    def _open(self, path: Path | None) -> None:
        if path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))


def describe_failures(failures: Any) -> str:
    """Return the sentences of failures, a line for each of the first ones."""
    lines = [f"{name}: {sentence}" for name, sentence in [*failures.items()][:_MOST_FAILURES]]
    more = len(failures) - len(lines)
    if more > 0:
        lines.append(f"… and {more:,} more: see the rows “failed” of the table.")
    return "\n".join(lines)
