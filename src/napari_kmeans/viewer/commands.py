"""Commands of napari's command palette.

Each command opens the dock with its last settings, and starts one task in it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import napari  # noqa: TC002 - napari reads the annotations to pass the viewer
from napari.layers import Image
from napari.utils.notifications import show_error

from napari_kmeans.viewer.background.runner import EXPECTED_ERRORS, report_error
from napari_kmeans.viewer.dock.widget import KMeansWidget
from napari_kmeans.viewer.widgets.form import scroll_to
from napari_kmeans.viewer.widgets.help_page import MAIN_PAGE, open_help

if TYPE_CHECKING:
    from collections.abc import Iterator


def segment_active_layer(viewer: napari.Viewer) -> None:
    """Cluster the active layer with the last settings."""
    with _show_errors():
        _dock_on_active_layer(viewer).run()


def suggest_number(viewer: napari.Viewer) -> None:
    """Suggest a number of clusters for the active layer."""
    with _show_errors():
        _panel_of(_dock_on_active_layer(viewer), "number").suggest()


def apply_last_model(viewer: napari.Viewer) -> None:
    """Apply the model of the last run to the active layer."""
    with _show_errors():
        dock = _dock_on_active_layer(viewer)
        _panel_of(dock, "apply").apply(dock.image.value)


def open_measure_panel(viewer: napari.Viewer) -> None:
    """Open the panel that measures the clusters in regions."""
    dock = open_dock(viewer)
    _panel_of(dock, "measure")
    scroll_to(dock.folds["measure"].folder)


def open_dock_help(viewer: napari.Viewer) -> None:
    """Open the page of the documentation that describes the dock."""
    open_help(MAIN_PAGE, open_dock(viewer).native)


def open_dock(viewer: napari.Viewer) -> KMeansWidget:
    """Return the dock of a viewer.

    Show the dock if the viewer has one, otherwise open a new dock.
    """
    # napari passes a proxy of the viewer to commands.
    viewer = getattr(viewer, "__wrapped__", viewer)
    for widget in viewer.window.dock_widgets.values():
        if isinstance(widget, KMeansWidget):
            widget.native.parentWidget().show()
            return widget
    dock: KMeansWidget = viewer.window.add_plugin_dock_widget("napari-kmeans")[1]
    return dock


@contextmanager
def _show_errors() -> Iterator[None]:
    """Show expected errors as notifications of one sentence."""
    try:
        yield
    except EXPECTED_ERRORS as error:
        report_error(error)
    except RuntimeError as error:
        # Raised if the dock or the panel is still working.
        show_error(str(error))


def _dock_on_active_layer(viewer: napari.Viewer) -> KMeansWidget:
    active = viewer.layers.selection.active
    active = getattr(active, "__wrapped__", active)
    if not isinstance(active, Image):
        raise ValueError(
            f"the active layer must be an image, got {active!r}: select one in the layer list."
        )
    dock = open_dock(viewer)
    dock.image.value = active
    return dock


def _panel_of(dock: KMeansWidget, name: str) -> Any:
    return dock.folds[name].open()
