"""Panels that unfold below the form of the dock, and what they see of the dock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_kmeans.viewer.widgets.form import folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from napari.layers import Layer
    from superqt import QCollapsible

    from napari_kmeans.viewer.background.task import AnySegmentation, Task
    from napari_kmeans.viewer.to_layers.result import Result


class Dock(Protocol):
    """What a panel sees of the dock: the viewer, the latest result, and some fields."""

    viewer: Any
    result: Result | None
    n_clusters: Any
    update_layers: Any
    live: Any

    @property
    def segmented(self) -> Any:
        """The signal that a run has shown its layers."""

    @property
    def native_parent_changed(self) -> Any:
        """The signal that the dock was moved to another window, or closed."""

    def task(self) -> Task:
        """Return what a run would do now."""

    def show_layers(self, layers: Sequence[Layer], *, update: bool) -> tuple[Layer, ...]:
        """Show layers of a result."""

    def show_outcome(self, outcome: AnySegmentation) -> None:
        """Show another outcome in place of the latest result."""

    def selection_kept(self) -> AbstractContextManager[None]:
        """Leave the selection of layers as it was."""


class Panel(QWidget):
    """A part of the dock, made when it is first unfolded.

    Parameters
    ----------
    dock : Dock

    Attributes
    ----------
    message : QLabel
        A sentence that wraps, hidden while it is empty. A subclass that shows
        messages puts it into its layout.
    """

    title: ClassVar[str]
    tooltip: ClassVar[str]

    def __init__(self, dock: Dock) -> None:
        super().__init__()
        self.dock = dock
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.message = QLabel(self)
        self.message.setWordWrap(True)
        self.message.hide()

    def show_message(self, text: str) -> None:
        """Show a sentence in the label `message`, or hide the label if the text is empty."""
        self.message.setText(text)
        self.message.setVisible(bool(text))

    def refresh(self) -> None:
        """Show the latest result, `dock.result`, which may be None."""

    def reset_choices(self) -> None:
        """Offer the layers there are now."""


class Fold:
    """A panel and the title that it unfolds from; a folded one costs nothing."""

    def __init__(self, kind: type[Panel], dock: Dock) -> None:
        self._kind, self._dock = kind, dock
        self.panel: Panel | None = None
        self.folder: QCollapsible = folder(kind.title, kind.tooltip)
        self.folder.toggled.connect(self._on_toggled)

    @property
    def is_open(self) -> bool:
        """Whether the panel can be seen."""
        return self.panel is not None and bool(self.folder.isExpanded())

    def open(self) -> Panel:
        """Unfold the panel, and return it."""
        self.folder.expand(animate=False)
        assert self.panel is not None
        return self.panel

    def refresh(self) -> None:
        """Show the latest result, if the panel is open; else when it is opened."""
        if self.panel is not None and self.is_open:
            self.panel.refresh()

    def reset_choices(self) -> None:
        """Offer the layers there are now, also while the panel is folded."""
        if self.panel is not None:
            self.panel.reset_choices()

    def _on_toggled(self, is_open: bool) -> None:
        if not is_open:
            return
        if self.panel is None:
            self.panel = self._kind(self._dock)
            self.folder.addWidget(self.panel)
            # Now that it is known how high it is.
            self.folder.expand(animate=False)
            return
        self.panel.refresh()
