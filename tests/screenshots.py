"""Take the pictures of the README and of the documentation: results, and the real viewer.

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

STRIP_CLASSES = {
    "brown stain": "#7a4419",
    "pale brown": "#c08d4f",
    "blue nuclei": "#5572c4",
    "background": "#e4e1dc",
}
"""The names and the display colors of the classes of the tissue, from dark to bright."""


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


def take_strip() -> None:
    """Draw a stained tissue, its classes, the cleaned classes, and their table."""
    import matplotlib.pyplot as plt
    import numpy as np
    from matplotlib.colors import to_rgb

    from napari_kmeans import apply_classes, segment
    from napari_kmeans.samples import histology

    image = histology()[:320, 96:416]
    plain = segment(image, len(STRIP_CLASSES), color_space="lab")
    clean = segment(image, len(STRIP_CLASSES), color_space="lab", smoothing=1, min_size=20)
    classes = clean.model.classes
    for label, (name, color) in enumerate(STRIP_CLASSES.items(), 1):
        classes = classes.rename(label, name).recolor(label, color)
    table = apply_classes(clean, classes).table
    colors = np.array([to_rgb(color) for color in STRIP_CLASSES.values()])
    pictures = {
        "Image": image,
        "Classes": colors[plain.labels - 1],
        "Smoothed": colors[clean.labels - 1],
    }
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.25), layout="constrained")
    for axis, (title, picture) in zip(axes[:3], pictures.items(), strict=True):
        axis.imshow(picture)
        axis.set_title(title, fontsize=13)
    axes[3].set_title("Table", fontsize=13)
    axes[3].set(xlim=(0, 1), ylim=(len(table) + 1, 0))
    for row in range(len(table) + 1):
        texts = ("class", "share", "pixels")
        if row:
            entry = table.iloc[row - 1]
            texts = (entry["name"], f"{entry['percent']:.1f} %", f"{entry['pixels']:,}")
            swatch = plt.Rectangle((0, row + 0.25), 0.07, 0.5, color=entry["color"])
            axes[3].add_patch(swatch)
        weight = "normal" if row else "bold"
        axes[3].text(0.11, row + 0.5, texts[0], va="center", fontsize=12, weight=weight)
        for text, right in zip(texts[1:], (0.7, 1.0), strict=True):
            axes[3].text(
                right, row + 0.5, text, va="center", ha="right", fontsize=12, weight=weight
            )
    for axis in axes:
        axis.set_axis_off()
    figure.savefig(DIRECTORY / "strip.png", dpi=120)


def is_shown(widget: Any, number: int) -> bool:
    """Return whether the dock shows a result of `number` clusters."""
    result = widget.result
    return result is not None and result.outcome.options.n_clusters == number


TAKERS: dict[str, Callable[[], None]] = {
    "strip": take_strip,
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
    for name in sys.argv[1:] or ("strip", "viewer", "clusters", "colors"):
        TAKERS[name]()


if __name__ == "__main__":
    main()
