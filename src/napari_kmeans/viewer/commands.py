"""What napari's command palette offers: each opens the dock, with its last settings, and runs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import napari  # noqa: TC002 - looked up to know what is to be passed
from napari.layers import Image
from napari.utils.notifications import show_error

from napari_kmeans.viewer.background.runner import EXPECTED_ERRORS, report_error
from napari_kmeans.viewer.dock.widget import KMeansWidget

if TYPE_CHECKING:
    from collections.abc import Iterator


def segment_active_layer(viewer: napari.Viewer) -> None:
    """Cluster the active layer with the last settings."""
    with _told():
        _dock_on_active_layer(viewer).run()


def suggest_number(viewer: napari.Viewer) -> None:
    """Suggest the number of clusters for the active layer."""
    with _told():
        _panel_of(_dock_on_active_layer(viewer), "Which K?").suggest()


def apply_last_model(viewer: napari.Viewer) -> None:
    """Find the clusters of the last run in the active layer."""
    with _told():
        dock = _dock_on_active_layer(viewer)
        _panel_of(dock, "Apply to…").apply(dock.image.value)


def open_dock(viewer: napari.Viewer) -> KMeansWidget:
    """Return the dock of a viewer: the one there is, brought to sight, or a new one."""
    viewer = getattr(viewer, "__wrapped__", viewer)
    for widget in viewer.window.dock_widgets.values():
        if isinstance(widget, KMeansWidget):
            widget.native.parentWidget().show()
            return widget
    dock: KMeansWidget = viewer.window.add_plugin_dock_widget("napari-kmeans")[1]
    return dock


@contextmanager
def _told() -> Iterator[None]:
    """Show in one sentence why nothing was begun."""
    try:
        yield
    except EXPECTED_ERRORS as error:
        report_error(error)
    except RuntimeError as error:
        # Something is under way.
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


def _panel_of(dock: KMeansWidget, title: str) -> Any:
    return dock.folds[title].open()
