"""The pages of Help describe all that the dock shows, and open in its window."""

from __future__ import annotations

import re
from email.message import Message
from pathlib import Path

import pytest
from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QAbstractButton,
    QFormLayout,
    QHeaderView,
    QMenu,
    QWidget,
)
from superqt import QCollapsible

from napari_kmeans.viewer.widgets import help_page
from napari_kmeans.viewer.widgets.help_page import HelpButton, HelpWindow, page_path

FOLDER = Path(__file__).parents[3] / "docs" / "dock"
PICTURES = FOLDER.parent / "pictures" / "dock"
MAX_BYTES = 150_000


def clean(text):
    return text.replace("&", "").strip()


def is_in(widget, folders):
    parent = widget.parentWidget()
    while parent is not None:
        if parent in folders:
            return True
        parent = parent.parentWidget()
    return False


def labels_in(widget, without=()):
    """Return the labels of all fields, buttons, columns and menu entries in a widget."""
    folders = widget.findChildren(QCollapsible)
    titles = [each.toggleButton() for each in [*folders, *without]]
    titles += [widget.toggleButton()] if isinstance(widget, QCollapsible) else []
    found = set()
    for each in widget.findChildren(QWidget):
        if is_in(each, without):
            continue
        if isinstance(layout := each.layout(), QFormLayout):
            labels = [layout.itemAt(row, QFormLayout.ItemRole.LabelRole) for row in range(99)]
            found |= {clean(item.widget().text()) for item in labels if item is not None}
        elif isinstance(each, QAbstractButton) and not isinstance(each, HelpButton):
            found |= {clean(each.text())} - {clean(title.text()) for title in titles}
        elif isinstance(each, QMenu) or each.actions():
            found |= {clean(action.text()) for action in each.actions()}
        elif isinstance(each, QHeaderView) and each.model() is not None:
            sections = range(each.model().columnCount())
            found |= {str(each.model().headerData(n, Qt.Orientation.Horizontal)) for n in sections}
    return {text for text in found if re.search(r"\w", text)}


def entries_of(name):
    text = (FOLDER / f"{name}.md").read_text("utf-8")
    # MyST reads what follows a heading of three signs; further names are bold.
    return {*re.findall(r"^### (.+)$", text, re.M), *re.findall(r"\*\*(.+?)\*\*", text)}


def page_names():
    return sorted(path.stem for path in FOLDER.glob("*.md"))


def test_each_panel_has_a_page(dock):
    assert {"index", "options", *dock.folds} == {*page_names()}


def test_pages_describe_all_fields_and_buttons_and_nothing_else(dock):
    more, *_ = [
        each for each in dock.native.findChildren(QCollapsible) if "More options" in each.text()
    ]
    folders = [fold.folder for fold in dock.folds.values()]
    shown = {"options": labels_in(more), "index": labels_in(dock.native, [more, *folders])}
    for name, fold in dock.folds.items():
        panel = fold.open()
        shown[name] = labels_in(panel)
        if hasattr(panel, "export_menu"):
            shown[name] |= {clean(action.text()) for action in panel.export_menu.actions()}
    # The panel *Measure* has no folder and hides no layers, so these buttons stay hidden.
    shown["measure"] -= {"Open report", "Open folder", "Show all layers"}
    # The table has these columns only if they tell rows apart or mark some.
    shown["cohort"] |= {"File", "Problem"}
    assert len(shown["index"]) > 15
    assert len(shown["cohort"]) > 20
    for name, labels in shown.items():
        assert labels == entries_of(name), name


@pytest.mark.parametrize("name", page_names())
def test_pages_have_a_picture_and_their_links_lead_somewhere(name):
    text = (FOLDER / f"{name}.md").read_text("utf-8")
    (picture,) = re.findall(r"!\[[^]]{20,}\]\((.+?)\)", text)
    assert 0 < (FOLDER / picture).stat().st_size < MAX_BYTES
    links = re.findall(r"\]\((.+?)\)", text)
    assert all((FOLDER / link).is_file() for link in links)
    assert text.startswith("# ")


def open_page(dock, name):
    """Press the button of a page, and return the window with the page."""
    main = dock.native.window()
    (button,) = [each for each in main.findChildren(HelpButton) if each.page == name]
    button.click()
    (window,) = main.findChildren(HelpWindow)
    return window


def test_installed_pages_are_those_of_the_documentation():
    for name in page_names():
        path = page_path(name)
        assert path.read_text("utf-8") == (FOLDER / f"{name}.md").read_text("utf-8")
        for picture in re.findall(r"!\[.*?\]\((.+?)\)", path.read_text("utf-8")):
            assert (path.parent / picture).read_bytes() == (FOLDER / picture).read_bytes()


def test_buttons_open_the_page_of_their_panel(dock):
    fold = dock.folds["merge"]
    (button,) = fold.folder.findChildren(HelpButton)
    assert button.toolTip() == "Help: Merge similar"
    assert not button.isVisibleTo(dock.native)
    fold.open()
    assert button.isVisibleTo(dock.native)
    window = open_page(dock, "merge")
    assert not window.isModal()
    assert window.windowTitle() == "Help: Merge similar"
    shown = window.text.toPlainText()
    assert "CIEDE2000" in shown
    assert "toctree" not in shown
    # The next page comes into the same window.
    assert open_page(dock, "options") is window
    assert "Tolerance" in window.text.toPlainText()


def test_links_lead_to_other_pages_but_not_to_those_that_are_not_installed(dock):
    window = open_page(dock, "index")
    html = window.text.document().toHtml()
    assert 'href="clusters.md"' in html
    assert "color-spaces.md" not in html
    assert "The measurements" in window.text.toPlainText()
    window.text.setSource(window.text.source().resolved(QUrl("clusters.md")))
    assert window.windowTitle() == "Help: Clusters"
    window.text.backward()
    assert window.windowTitle() == "Help: The dock"


@pytest.mark.window
def test_links_have_the_color_of_the_text_in_the_first_page(dock):
    """napari's stylesheet sets the color only when the window is shown."""
    window = open_page(dock, "clusters")
    color = window.text.palette().text().color().name()
    assert color == "#f0f1f2"
    (link,) = re.findall(r'<a href="apply.md"><span style="([^"]*)"', window.text.toHtml())
    assert f"color:{color}" in link


def test_pictures_are_in_the_page(dock):
    window = open_page(dock, "clusters")
    name = QUrl("../pictures/dock/clusters.png")
    picture = window.text.loadResource(2, name)
    assert picture is not None
    assert (PICTURES / "clusters.png").stat().st_size == len(bytes(picture))


def test_help_works_during_a_run_and_by_keyboard(viewer, open_dock, slow, finish, qtbot):
    viewer.add_image(slow, rgb=True)
    dock = open_dock()
    dock.run()
    qtbot.waitUntil(slow.asked.is_set)
    fold = dock.folds["clusters"]
    fold.open()
    (button,) = fold.folder.findChildren(HelpButton)
    assert button.focusPolicy() & Qt.FocusPolicy.TabFocus
    button.click()
    (window,) = dock.native.window().findChildren(HelpWindow)
    assert window.windowTitle() == "Help: Clusters"
    assert dock.cancel_button.enabled
    window.close()
    slow.go_on.set()
    finish(dock)


def test_an_address_opens_the_web_browser(dock, monkeypatch):
    """The address is that of the package's metadata: there is none yet."""
    assert help_page.documentation_address() == ""
    entries = Message()
    entries["Project-URL"] = "Source, https://example.org/source"
    entries["Project-URL"] = "Documentation, https://example.org/docs/"
    monkeypatch.setattr(help_page.metadata, "metadata", lambda _: entries)
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url) or True)
    dock.folds["merge"].open()
    dock.folds["merge"].folder.findChild(HelpButton).click()
    assert [url.toString() for url in opened] == ["https://example.org/docs/dock/merge.html"]
    assert not dock.native.window().findChildren(HelpWindow)
