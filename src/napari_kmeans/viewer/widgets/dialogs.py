"""Dialogs that ask the user for the path of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


def ask_where_to_save(parent: QWidget, title: str, name: str, kinds: str) -> Path | None:
    """Ask for the path of a file to write, and return the path.

    Parameters
    ----------
    parent : QWidget
    title : str
    name : str
        The suggested file name. Its suffix is added if the user enters a path
        without a suffix.
    kinds : str
        The file types to list, as a name filter of QFileDialog: "Tables (*.csv)".

    Returns
    -------
    pathlib.Path or None
        None if the user cancels the dialog.
    """
    chosen = ask_where_and_what_to_save(parent, title, name, kinds)
    return None if chosen is None else chosen[0]


def ask_where_and_what_to_save(
    parent: QWidget, title: str, name: str, kinds: str
) -> tuple[Path, str] | None:
    """Ask for the path of a file to write and for its kind, one of `kinds`; None if canceled.

    The arguments are those of `ask_where_to_save`, with kinds as "One (*.csv);;Other (*.csv)".
    """
    path, kind = QFileDialog.getSaveFileName(parent, title, name, kinds)
    if not path:
        return None
    return (Path(path) if Path(path).suffix else Path(path + Path(name).suffix)), kind


def ask_what_to_open(parent: QWidget, title: str, kinds: str) -> Path | None:
    """Ask for the path of a file to read. Return None if the user cancels the dialog."""
    path, _ = QFileDialog.getOpenFileName(parent, title, "", kinds)
    return Path(path) if path else None


def ask_for_folder(parent: QWidget, title: str, start: str = "") -> Path | None:
    """Ask for a folder. Return None if the user cancels the dialog."""
    path = QFileDialog.getExistingDirectory(parent, title, start)
    return Path(path) if path else None


def ask_for_files(parent: QWidget, title: str, start: str = "") -> list[Path]:
    """Ask for one or more files to read; none if the user cancels the dialog."""
    paths, _ = QFileDialog.getOpenFileNames(parent, title, start)
    return [Path(path) for path in paths]
