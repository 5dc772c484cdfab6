"""Base class of the panels below the form, and the part of the dock that they use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_kmeans.viewer.widgets.form import add_content, folder
from napari_kmeans.viewer.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from napari.layers import Layer
    from superqt import QCollapsible

    from napari_kmeans.options import Options
    from napari_kmeans.segmentation import Segmentation
    from napari_kmeans.viewer.background.task import AnySegmentation, Task
    from napari_kmeans.viewer.from_layers.source import Source
    from napari_kmeans.viewer.to_layers.result import Result


class Dock(Protocol):
    """The part of the dock that panels use: the viewer, the result in view and some settings."""

    viewer: Any
    result: Result | None
    image: Any
    channel_axis: Any
    mask: Any
    init: Any
    n_clusters: Any
    update_layers: Any
    live: Any
    color_schemes: dict[bool, str]

    @property
    def shows_last_run(self) -> bool:
        """Whether `result` is that of the last run of this dock, as it was after the run."""

    @property
    def segmented(self) -> Any:
        """Signal with the new result, emitted when its layers are in the viewer."""

    @property
    def native_parent_changed(self) -> Any:
        """Signal with the new parent widget, or None when the dock is closed."""

    def task(self) -> Task:
        """Return the task of a run with the current image and settings."""

    def fit_options(self) -> Options:
        """Return the options of the fields for images of any kind, such as files.

        A minimum area is in the unit of areas of the image.
        """

    def show_options(self, options: Options, name: str) -> None:
        """Show the options of a model in the fields, and its name below them."""

    def highlight(self, label: int | None) -> None:
        """Highlight a class of the result in view in the list of clusters; None ends it."""

    def show_layers(self, layers: Sequence[Layer], *, update: bool) -> tuple[Layer, ...]:
        """Add layers of a result, or update the earlier ones in place; return those shown."""

    def show_outcome(self, outcome: AnySegmentation) -> None:
        """Replace the result in view by a version of it, such as one with merged clusters."""

    def show_applied(
        self, applied: Sequence[tuple[Source, Segmentation]], *, update: bool, is_latest: bool
    ) -> None:
        """Show the layers of a model that was applied to images, maybe as the latest result."""

    def selection_kept(self) -> AbstractContextManager[None]:
        """Restore the selection of layers at the end of a `with` block."""


class Panel(QWidget):
    """A section of the dock below the form, created when it is first unfolded.

    Parameters
    ----------
    dock : Dock

    Attributes
    ----------
    message : WrappedLabel
        A word-wrapped label, hidden while it is empty. A subclass that shows
        messages adds it to its layout.
    """

    title: ClassVar[str]
    tooltip: ClassVar[str]

    def __init__(self, dock: Dock) -> None:
        super().__init__()
        self.dock = dock
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.message = WrappedLabel(self)

    def show_message(self, text: str) -> None:
        """Show a text in `message`. An empty text hides the label."""
        self.message.show_text(text)

    def refresh(self) -> None:
        """Show the result of the dock, of another layer or of a new run; there may be none."""

    def reset_choices(self) -> None:
        """Update the choices that list layers of the viewer."""


class Fold:
    """A title that unfolds a panel. The panel is created at the first unfolding.

    Parameters
    ----------
    kind : type of Panel
    dock : Dock
    page : str
        The page of the documentation that describes the panel.

    Attributes
    ----------
    panel : Panel or None
        None until the first unfolding: a panel that is never opened costs nothing.
    folder : QCollapsible
        The title and the widget that contains the panel.
    """

    def __init__(self, kind: type[Panel], dock: Dock, page: str) -> None:
        self._kind, self._dock = kind, dock
        self.panel: Panel | None = None
        self.folder: QCollapsible = folder(kind.title, kind.tooltip, page)
        self.folder.toggled.connect(self._on_toggled)

    @property
    def is_open(self) -> bool:
        """Whether the panel is unfolded."""
        return self.panel is not None and bool(self.folder.isExpanded())

    def open(self) -> Panel:
        """Unfold the panel and return it."""
        self.folder.expand(animate=False)
        assert self.panel is not None
        return self.panel

    def refresh(self) -> None:
        """Show the latest result if the panel is open. A folded panel does so when it is opened."""
        if self.panel is not None and self.is_open:
            self.panel.refresh()

    def reset_choices(self) -> None:
        """Update the choices that list layers, also in a panel that was folded again."""
        if self.panel is not None:
            self.panel.reset_choices()

    def _on_toggled(self, is_open: bool) -> None:
        if not is_open:
            return
        if self.panel is None:
            self.panel = self._kind(self._dock)
            add_content(self.folder, self.panel)
            return
        self.panel.refresh()
