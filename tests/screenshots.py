"""Take the pictures of the README and of the documentation: results, and the real viewer.

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
    """Take a cohort of a folder of leaves in two groups, with named clusters."""
    from tempfile import TemporaryDirectory

    import imageio.v3 as iio

    from napari_kmeans.samples import leaf

    percents = {"control": (2, 3, 5), "treated": (8, 9, 13)}
    with TemporaryDirectory() as parent, page_window("leaf") as (viewer, widget):
        viewer.layers.clear()
        folder = Path(parent) / "leaves"
        folder.mkdir()
        for group, shares in percents.items():
            for plant, percent in enumerate(shares, start=1):
                picture = leaf(percent, 10 * percent)[::2, ::2]
                iio.imwrite(folder / f"{group}_{plant}.png", picture)
        widget.n_clusters.value, widget.color_space.value = 4, "lab"
        widget.smoothing.value = 1
        panel = open_only(widget, "cohort")
        panel.form.choose_folder(folder)
        panel.form.groups.value = "name"
        panel.form.group_pattern.value = "{group}_{rest}"
        wait_for(lambda: panel.run_button.enabled)
        work(panel, panel.run)
        panel.show_image("treated_3")
        wait_for(lambda: not panel.is_working)
        clusters = open_only(widget, "clusters").list._clusters
        for label, name in enumerate(("lesion", "leaf", "halo", "paper"), start=1):
            clusters.rename(label, name)
        clusters.ignore([4])
        panel.form.model.value = "apply"
        wait_for(lambda: panel.run_button.enabled)
        work(panel, panel.run)
        # The image that was in view is shown again.
        wait_for(lambda: not panel.is_working)
        panel = open_only(widget, "cohort")
        # A path of a temporary folder says nothing.
        with panel.form.folder.changed.blocked():
            panel.form.folder.value = "leaves"
        save_panel(widget, "cohort")


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
