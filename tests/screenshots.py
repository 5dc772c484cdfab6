"""Take the pictures of the README and further pictures: the dock in the real viewer.

Usage: ``python tests/screenshots.py [NAME ...]``. Without names, the pictures of the README
are taken. Without a screen, the script starts Xvfb.
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

DIRECTORY = Path(__file__).parents[1] / ".github" / "pictures"
SIZE = (1500, 1050)
"""Width and height of the window: the dock with one open panel needs no scroll bar."""

DOCK_WIDTH = 430
"""The width at which the list of clusters shows short names."""

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


def is_shown(widget: Any, number: int) -> bool:
    """Return whether the dock shows a result of `number` clusters."""
    result = widget.result
    return result is not None and result.outcome.options.n_clusters == number


TAKERS: dict[str, Callable[[], None]] = {
    "viewer": take_viewer,
    "clusters": take_clusters,
    "colors": take_colors,
    "live": take_live,
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
    """Take the pictures of the given names, or the pictures of the README."""
    if not os.environ.get("DISPLAY") and shutil.which("xvfb-run"):
        screen = ["xvfb-run", "-a", "-s", "-screen 0 1600x1200x24"]
        os.execvp(screen[0], [*screen, sys.executable, *sys.argv])
    for name in sys.argv[1:] or ("viewer", "clusters", "colors"):
        TAKERS[name]()


if __name__ == "__main__":
    main()
