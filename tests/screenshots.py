"""Take the picture of the README: the photograph, clustered by the dock in the real viewer.

Run it by ``python tests/screenshots.py [FILE]``; without a screen it starts Xvfb.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PICTURE = Path(__file__).parents[1] / ".github" / "pictures" / "viewer.png"
SIZE = (1400, 900)
TIMEOUT_SECONDS = 120


def take(path: Path, theme: str = "dark") -> None:
    """Cluster the photograph and save a picture of the whole window."""
    import napari
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    viewer.theme = theme
    viewer.window.resize(*SIZE)
    viewer.open_sample("napari-kmeans", "photograph")
    dock, widget = viewer.window.add_plugin_dock_widget("napari-kmeans")
    dock.setMinimumWidth(360)
    finished: list[bool] = []
    worker = widget.run()
    worker.finished.connect(lambda: finished.append(True))
    _wait(QApplication.processEvents, lambda: bool(finished))
    viewer.canvas.grid.enabled = True
    # Two layers in a cell: the labels lie over the recolored image.
    viewer.canvas.grid.stride = -2
    viewer.canvas.grid.shape = (2, 1)
    viewer.canvas.grid.spacing = 0.02
    viewer.reset_view(margin=0.02)
    _wait(QApplication.processEvents, _after(1.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    viewer.window.remove_dock_widget(dock)
    viewer.close()


def _wait(turn: Callable[[], None], is_over: Callable[[], bool]) -> None:
    """Let the window live until `is_over`."""
    too_late = _after(TIMEOUT_SECONDS)
    while not is_over():
        if too_late():
            raise TimeoutError(f"nothing came within {TIMEOUT_SECONDS} s")
        turn()
        time.sleep(0.01)


def _after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def _find_screen() -> None:
    """Start again under Xvfb where there is no screen."""
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY"):
        return
    xvfb_run = shutil.which("xvfb-run")
    if xvfb_run is None:
        sys.exit("There is no screen: install Xvfb, or run this on a desktop.")
    screen = ["-a", "-s", "-screen 0 1920x1200x24"]
    os.execv(xvfb_run, [xvfb_run, *screen, sys.executable, *sys.argv])


if __name__ == "__main__":
    _find_screen()
    take(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE)
