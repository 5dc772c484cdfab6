"""Take the pictures of the README and of the pages about the dock in the real viewer.

Usage: ``python tests/screenshots.py [NAME ...]``. Without names, all of these pictures are
taken. Without a screen, the script starts Xvfb.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
DIRECTORY = ROOT / ".github" / "pictures"
DOCK_DIRECTORY = ROOT / "docs" / "pictures" / "dock"
SIZE = (1500, 1050)
"""Width and height of the window: the dock with one open panel needs no scroll bar."""

DOCK_WIDTH = 430
"""The width at which the list of clusters shows short names."""

PAGE_WIDTH = 420
"""The width of the dock in the pictures of its pages: the texts are readable at full size."""

N_COLORS = 128
"""The colors of the palette of a picture, which makes its file four times smaller."""

TIMEOUT_SECONDS = 120


@contextmanager
def window(sample: str, theme: str = "dark") -> Iterator[tuple[Any, Any]]:
    """Open a window with a sample and the dock, and close it at the end."""
    import napari

    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    viewer.theme = theme
    viewer.window.resize(*SIZE)
    viewer.open_sample("napari-kmeans", sample)
    dock, widget = viewer.window.add_plugin_dock_widget("napari-kmeans")
    dock.setMinimumWidth(DOCK_WIDTH)
    yield viewer, widget
    viewer.window.remove_dock_widget(dock)
    viewer.close()


def save(viewer: Any, name: str) -> None:
    """Save a picture of the window to the directory of the pictures."""
    pause(1.0)
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    viewer.screenshot(str(DIRECTORY / f"{name}.png"), canvas_only=False, flash=False)


def take_viewer() -> None:
    """Take the photograph, and above it its labels."""
    with window("photograph") as (viewer, widget):
        run_twice(widget)
        viewer.canvas.grid.enabled = True
        # The labels and the recolored image, which is hidden, share a cell.
        viewer.canvas.grid.stride = -2
        viewer.canvas.grid.shape = (2, 1)
        viewer.canvas.grid.spacing = 0.02
        viewer.reset_view(margin=0.02)
        save(viewer, "viewer")


def take_clusters() -> None:
    """Take a few clusters that were merged from many. One is highlighted in the list."""
    with window("histology") as (viewer, widget):
        widget.n_clusters.value = 16
        run_twice(widget)
        merge = widget.folds["merge"]
        merge.open().distance.value = 12
        merge.folder.collapse(animate=False)
        panel = widget.folds["clusters"].open()
        panel.list._clusters.rename(1, "brown stain")
        panel.list.select([1])
        save(viewer, "clusters")


def take_colors() -> None:
    """Take the colors in 3-D, in the light theme."""
    with window("photograph", "light") as (viewer, widget):
        run_twice(widget)
        widget.folds["clusters"].folder.collapse(animate=False)
        widget.folds["colors"].open()
        save(viewer, "colors")


def take_live() -> None:
    """Take two numbers of clusters in live mode, one after the other."""
    with window("photograph") as (viewer, widget):
        widget.live.value = True
        for number in (3, 12):
            widget.n_clusters_slider.value = number
            wait_for(partial(is_shown, widget, number))
            save(viewer, f"live-{number}")


def save_part(widget: Any, name: str, height: int | None = None) -> None:
    """Save a picture of a widget, or of its upper part, to the pictures of the pages."""
    from PIL import Image
    from qtpy.QtCore import QRect

    pause(0.5)
    DOCK_DIRECTORY.mkdir(parents=True, exist_ok=True)
    path = DOCK_DIRECTORY / f"{name}.png"
    widget.grab(QRect(0, 0, -1, -1 if height is None else height)).save(str(path))
    picture = Image.open(path).convert("RGB").quantize(N_COLORS, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)


def open_only(widget: Any, name: str) -> Any:
    """Fold all panels but one, and return this one."""
    for other, fold in widget.folds.items():
        if other != name:
            fold.folder.collapse(animate=False)
    return widget.folds[name].open()


def save_panel(widget: Any, name: str) -> None:
    """Save a picture of a panel with its title."""
    save_part(widget.folds[name].folder, name)


def work(panel: Any, action: Callable[[], Any]) -> None:
    """Start the work of a panel, and wait for its end."""
    action()
    wait_for(lambda: not panel.is_working)


@contextmanager
def page_window(sample: str) -> Iterator[tuple[Any, Any]]:
    """Open a window with a sample and the dock in the width of its pages."""
    with window(sample) as (viewer, widget):
        dock = widget.native.parentWidget()
        dock.setMinimumWidth(PAGE_WIDTH)
        dock.setMaximumWidth(PAGE_WIDTH)
        pause(0.5)
        yield viewer, widget


def take_form() -> None:
    """Take the form with its result, and the options below it."""
    from qtpy.QtCore import QPoint
    from superqt import QCollapsible

    with page_window("histology") as (_, widget):
        widget.smoothing.value = 1
        run_twice(widget)
        open_only(widget, "clusters").hide()
        column = widget.status.parentWidget()
        more = column.findChild(QCollapsible)
        save_part(column, "form", more.mapTo(column, QPoint(0, 0)).y())
        more.expand(animate=False)
        save_part(more, "options")


def take_panels() -> None:
    """Take the panels that show a result of one image."""
    with page_window("histology") as (viewer, widget):
        widget.n_clusters.value, widget.smoothing.value = 6, 1
        viewer.layers["histology"].scale = (0.5, 0.5)
        viewer.layers["histology"].units = ("um", "um")
        run_twice(widget)
        panel = open_only(widget, "clusters")
        panel.list._clusters.rename(1, "brown stain")
        panel.list._clusters.rename(6, "slide")
        panel.list._clusters.ignore([6], True)
        panel.list.select([1])
        save_panel(widget, "clusters")
        panel.list.select([])
        panel = open_only(widget, "number")
        work(panel, panel.suggest)
        save_panel(widget, "number")
        panel = open_only(widget, "confidence")
        work(panel, panel.add_confidence)
        save_panel(widget, "confidence")
        panel = open_only(widget, "objects")
        panel.cluster.value = 1
        work(panel, panel.split)
        save_panel(widget, "objects")
        panel = open_only(widget, "apply")
        save_panel(widget, "apply")
        open_only(widget, "export")
        save_panel(widget, "export")
        shapes = [[[40, 40], [200, 220]], [[260, 60], [420, 240]], [[150, 270], [330, 460]]]
        viewer.add_shapes(shapes, name="regions", scale=(0.5, 0.5), units=("um", "um"))
        viewer.layers.selection.active = viewer.layers["histology labels"]
        panel = open_only(widget, "measure")
        panel.regions.value = viewer.layers["regions"]
        work(panel, panel.measure)
        save_panel(widget, "measure")


def take_photograph_panels() -> None:
    """Take the panels that show colors of a photograph."""
    with page_window("photograph") as (_, widget):
        run_twice(widget)
        open_only(widget, "colors")
        # The cloud is drawn in the background.
        pause(2.0)
        save_panel(widget, "colors")
        widget.n_clusters.value = 16
        finish(widget.run())
        panel = open_only(widget, "merge")
        panel.distance.value, panel.min_share.value = 12, 1
        save_panel(widget, "merge")
        panel = open_only(widget, "compare")
        work(panel, panel.compare)
        save_panel(widget, "compare")


def take_cohort() -> None:
    """Take a cohort of three parts of an image."""
    with page_window("histology") as (viewer, widget):
        image = viewer.layers["histology"].data
        viewer.layers.clear()
        for name, rows in (("control 1", slice(170)), ("control 2", slice(170, 340))):
            viewer.add_image(image[rows], name=name, rgb=True)
        viewer.add_image(image[340:], name="treated 1", rgb=True)
        widget.n_clusters.value = 3
        panel = open_only(widget, "cohort")
        work(panel, panel.run)
        open_only(widget, "cohort")
        save_panel(widget, "cohort")


def is_shown(widget: Any, number: int) -> bool:
    """Return whether the dock shows a result of `number` clusters."""
    result = widget.result
    return result is not None and result.outcome.options.n_clusters == number


TAKERS: dict[str, Callable[[], None]] = {
    "viewer": take_viewer,
    "clusters": take_clusters,
    "colors": take_colors,
    "live": take_live,
    "dock-form": take_form,
    "dock-panels": take_panels,
    "dock-photograph": take_photograph_panels,
    "dock-cohort": take_cohort,
}


def run_twice(widget: Any) -> None:
    """Run, and run again: the time of the first run includes the loading of kernels."""
    for _ in range(2):
        finish(widget.run())


def finish(worker: Any) -> None:
    """Process the events of the window until a worker has finished."""
    finished: list[bool] = []
    worker.finished.connect(lambda: finished.append(True))
    wait_for(lambda: bool(finished))


def pause(seconds: float) -> None:
    """Process the events of the window for a number of seconds."""
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > end)


def wait_for(done: Callable[[], bool]) -> None:
    """Process the events of the window until `done` returns True."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + TIMEOUT_SECONDS
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"not done after {TIMEOUT_SECONDS} seconds")
        QApplication.processEvents()
        time.sleep(0.01)


def main() -> None:
    """Take the pictures of the given names, or those of the README and of the pages."""
    if not os.environ.get("DISPLAY") and shutil.which("xvfb-run"):
        screen = ["xvfb-run", "-a", "-s", "-screen 0 1600x1200x24"]
        os.execvp(screen[0], [*screen, sys.executable, *sys.argv])
    for name in sys.argv[1:] or [name for name in TAKERS if name != "live"]:
        TAKERS[name]()


if __name__ == "__main__":
    main()
