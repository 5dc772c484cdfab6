"""Find every menu, field and button that a tutorial names in the real viewer and dock."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from napari._app_model import get_app_model
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QAbstractButton, QComboBox, QLabel

TUTORIALS = sorted((Path(__file__).parents[2] / "docs" / "tutorials").glob("plot_*.py"))


def names_in(path: Path) -> set[str]:
    """Return the names in italics of the section *In the dock* of a tutorial."""
    text = path.read_text("utf-8").split("# In the dock\n")[1].split("# Watch out\n")[0]
    text = " ".join(line.lstrip("# ") for line in text.splitlines())
    return {name for path in re.findall(r"\*([^*]+)\*", text) for name in path.split(" ▸ ")}


def texts_of(widget) -> set[str]:
    """Return the texts of all labels, buttons, actions and choices of a widget."""
    kinds = (QLabel, QAbstractButton, QAction)
    texts = {each.text() for kind in kinds for each in widget.findChildren(kind)}
    for box in widget.findChildren(QComboBox):
        texts |= {box.itemText(number) for number in range(box.count())}
    # Folders have an arrow before their title.
    return {text.replace("&", "").strip("▸▾ ") for text in texts}


def texts_of_menus() -> set[str]:
    """Return the titles of all menus of napari and of their entries."""
    menus = get_app_model().menus
    entries = [entry for name, _ in menus for entry in menus.get_menu(name)]
    titles = [(entry if hasattr(entry, "submenu") else entry.command).title for entry in entries]
    # napari adds the name of the plugin to the entry of a widget.
    return {str(title).replace("&", "").removesuffix(" (napari-kmeans)") for title in titles}


@pytest.mark.window
def test_every_name_is_in_the_viewer(viewer, open_dock):
    dock = open_dock()
    for fold in dock.folds.values():
        fold.open()
    found = texts_of_menus() | texts_of(viewer.window._qt_window) | texts_of(dock.native)
    missing = {path.stem: names_in(path) - found for path in TUTORIALS}
    assert {stem: names for stem, names in missing.items() if names} == {}
