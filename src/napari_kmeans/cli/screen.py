"""Find out whether a window can be opened, and if not, why."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys

from napari_kmeans.cli.terminal import PROGRAM

QT_BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")

_MISSING_LIBRARY = re.compile(r"(\S+\.so(?:\.\d+)*): cannot open shared object file")

_REASON = re.compile(r"^qt\.qpa\.\S+: (?!From 6\.5\.0)(.+?)\.?$", re.MULTILINE)
"""A message of Qt about the display.

Qt writes that it needs xcb-cursor0 ("From 6.5.0, …") whenever it cannot use X11, also if the
library is there. Whether it is missing is known from the attempt to load it.
"""


def screen_problem() -> str | None:
    """Return the reason why no window can be opened, or None if a window can be opened."""
    try:
        from napari_kmeans.viewer import NAPARI_VERSION  # noqa: F401
    except ImportError as error:
        return str(error)
    if not any(importlib.util.find_spec(binding) for binding in QT_BINDINGS):
        return f'no Qt is installed: run pip install "{PROGRAM}[all]"'
    platform = os.environ.get("QT_QPA_PLATFORM", "").partition(":")[0]
    if platform in ("offscreen", "minimal"):
        return f"QT_QPA_PLATFORM is {platform}"
    on_x11 = sys.platform not in ("win32", "darwin") and not platform
    if on_x11 and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "neither DISPLAY nor WAYLAND_DISPLAY is set"
    # Try in another process: Qt ends the process if it cannot open the display.
    probe = "from qtpy.QtGui import QGuiApplication; QGuiApplication([])"
    try:
        done = subprocess.run(
            [sys.executable, "-c", probe],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            # Without it, Qt does not name a library that it cannot load.
            env=os.environ | {"QT_DEBUG_PLUGINS": "1"},
        )
    except subprocess.TimeoutExpired:
        return "the display does not answer"
    if not done.returncode:
        return None
    reason = describe_qt_failure(done.stderr.decode(errors="replace"))
    return "Qt cannot open the display" + (f", {reason}" if reason else "")


def describe_qt_failure(messages: str) -> str:
    """Return why Qt has failed, from what it has written with QT_DEBUG_PLUGINS=1.

    The reason is a missing library with the package that contains it, or else the first message
    of Qt about the display. It is empty if there is neither.
    """
    if missing := _MISSING_LIBRARY.search(messages):
        library = missing[1]
        package = debian_package(library)
        return f"{library} is missing (on Debian and Ubuntu: apt install {package})"
    reason = _REASON.search(messages)
    return reason[1].replace(' in ""', "") if reason else ""


def debian_package(library: str) -> str:
    """Return the Debian package of a shared library, whose name follows from that of the library.

    The name is in lower case, and a dash separates two digits: libX11.so.6 is in libx11-6.
    """
    name, _, version = library.partition(".so")
    # The only library that Qt needs whose package is named in another way.
    name = "libglib2.0" if name == "libglib-2.0" else name
    name = name.lower().replace("_", "-")
    version = version.removeprefix(".")
    return f"{name}-{version}" if name[-1:].isdigit() and version else f"{name}{version}"
