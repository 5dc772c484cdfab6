"""Buttons that open a page of the documentation: on the web, or in a window of napari."""

from __future__ import annotations

import re
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices, QTextCharFormat, QTextCursor, QTextDocument
from qtpy.QtWidgets import QDialog, QTextBrowser, QToolButton, QVBoxLayout, QWidget

MAIN_PAGE, OPTIONS_PAGE = "index", "options"
"""The pages of the form above the panels, and of *More options*."""

_PACKAGE, _FOLDER = "napari_kmeans_help", "dock"
"""Where the pages are installed: pyproject.toml copies them there."""

_SIZE = 640, 760
"""The width and height of the window: the pictures are 420 pixels wide, and the lines of text
have about 90 characters."""


def page_path(page: str) -> Path:
    """Return the path of an installed page, which is Markdown."""
    return Path(str(resources.files(_PACKAGE) / _FOLDER / f"{page}.md"))


def documentation_address() -> str:
    """Return the address of the documentation in the metadata of the package, or ""."""
    for entry in metadata.metadata("napari-kmeans").get_all("Project-URL") or ():
        name, _, address = str(entry).partition(",")
        if name.strip().lower() == "documentation":
            return address.strip().rstrip("/")
    return ""


def open_help(page: str, parent: QWidget) -> None:
    """Open a page: in the web browser if the package states an address, else in a window.

    Parameters
    ----------
    page : str
        The name of its file, without the suffix.
    parent : QWidget
        A widget of the window over which the page is shown.
    """
    address = documentation_address()
    if address and QDesktopServices.openUrl(QUrl(f"{address}/{_FOLDER}/{page}.html")):
        return
    window: Any = parent.window()
    dialog = window.findChild(HelpWindow) or HelpWindow(window)
    dialog.open_page(page)


class HelpButton(QToolButton):
    """A button with a question mark that opens a page.

    Parameters
    ----------
    page : str
        The name of its file, without the suffix.
    title : str
        The title of what the page describes.
    """

    def __init__(self, page: str, title: str) -> None:
        super().__init__()
        self.page = page
        self.setText("?")
        self.setToolTip(f"Help: {title}")
        self.setAccessibleName(f"Help: {title}")
        self.clicked.connect(lambda: open_help(page, self))

    @property
    def native(self) -> HelpButton:
        """The Qt widget, as of a field of magicgui."""
        return self


class HelpWindow(QDialog):
    """A window with a page of the documentation. Work in the background goes on behind it.

    Parameters
    ----------
    parent : QWidget
        The window that it belongs to.

    Attributes
    ----------
    text : QTextBrowser
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.text = _Page(self)
        self.text.sourceChanged.connect(self._show_title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)
        self.resize(*_SIZE)

    def open_page(self, page: str) -> None:
        """Show a page, in front of other windows."""
        # The stylesheet sets the color of the text, which links get, when the window is shown.
        self.show()
        self.text.ensurePolished()
        self.text.setSource(QUrl.fromLocalFile(str(page_path(page))))
        self.raise_()
        self.activateWindow()

    def _show_title(self, _url: QUrl) -> None:
        title = self.text.toPlainText().partition("\n")[0]
        self.setWindowTitle(f"Help: {title}")


class _Page(QTextBrowser):
    """A page of which links to other installed pages work."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setOpenExternalLinks(True)

    def loadResource(self, kind: int, name: QUrl) -> Any:
        """Return a page without links to pages that are not installed, or a picture of a page."""
        if kind != QTextDocument.ResourceType.MarkdownResource.value:
            return super().loadResource(kind, name)
        path = Path(name.toLocalFile())
        return _LINK.sub(
            lambda link: link[0] if (path.parent / link[2]).exists() else link[1],
            _DIRECTIVE.sub("", path.read_text("utf-8")),
        )

    def doSetSource(
        self, name: QUrl, kind: Any = QTextDocument.ResourceType.UnknownResource
    ) -> None:
        """Show a page, with links in the color of the text.

        Qt shows links in dark blue, which cannot be read in the dark theme, and the stylesheet
        of napari cannot change this.
        """
        super().doSetSource(name, kind)
        link = QTextCharFormat()
        link.setFontUnderline(True)
        link.setForeground(self.palette().text())
        document: Any = self.document()
        cursor, block = QTextCursor(document), document.begin()
        while block.isValid():
            for span in block.textFormats():
                if span.format.isAnchor():
                    cursor.setPosition(block.position() + span.start)
                    end = block.position() + span.start + span.length
                    cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
                    cursor.mergeCharFormat(link)
            block = block.next()


_LINK = re.compile(r"(?<!!)\[([^]]+)\]\((?!https?:)([^)#]+)[^)]*\)")
"""A link to a file in Markdown: its text and its path. Pictures have a ! before it."""

_DIRECTIVE = re.compile(r"^```\{.*?^```$", re.M | re.S)
"""A directive of the documentation site, such as its table of contents."""
