"""Dialogs that ask for the path of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


def ask_where_to_save(parent: QWidget, title: str, name: str, kinds: str) -> Path | None:
    """Ask for a file to write, None if the user thinks better of it.

    Parameters
    ----------
    parent : QWidget
    title : str
    name : str
        What is suggested; its suffix is added where the user gives none.
    kinds : str
        The files to be seen, as QFileDialog names them.
    """
    path, _ = QFileDialog.getSaveFileName(parent, title, name, kinds)
    if not path:
        return None
    return Path(path) if Path(path).suffix else Path(path + Path(name).suffix)


def ask_what_to_open(parent: QWidget, title: str, kinds: str) -> Path | None:
    """Ask for a file to read, None if the user thinks better of it."""
    path, _ = QFileDialog.getOpenFileName(parent, title, "", kinds)
    return Path(path) if path else None
