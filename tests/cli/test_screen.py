"""The reason why no window can be opened is that of Qt, and names the missing package."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from napari_kmeans.cli import screen
from napari_kmeans.cli.screen import debian_package, describe_qt_failure, screen_problem

TESTS = Path(__file__).parents[1]
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="X11 and its libraries")


def problem_in(without=("WAYLAND_DISPLAY", "XDG_RUNTIME_DIR"), **environment):
    """Return what `screen_problem` returns in a process with other variables."""
    kept = {name: value for name, value in os.environ.items() if name not in without}
    code = "from napari_kmeans.cli.screen import screen_problem; print(screen_problem())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_screen_is_found(qapp):
    assert screen_problem() is None


def test_the_message_without_qt_names_the_extra(monkeypatch):
    monkeypatch.setattr(screen, "QT_BINDINGS", ("NoSuchQt",))
    assert "no Qt is installed" in screen_problem()


@on_linux
def test_reasons_are_those_of_qt():
    none = problem_in(("DISPLAY", "WAYLAND_DISPLAY"))
    assert none == "neither DISPLAY nor WAYLAND_DISPLAY is set"
    closed = problem_in(DISPLAY=":4711")
    assert closed == "Qt cannot open the display, could not connect to display :4711"
    unknown = problem_in(QT_QPA_PLATFORM="glass")
    assert unknown == ('Qt cannot open the display, Could not find the Qt platform plugin "glass"')


@on_linux
@pytest.mark.skipif(find_spec("PyQt6") is None, reason="the library of another Qt is elsewhere")
def test_a_missing_library_is_named_with_its_package(tmp_path):
    # A copy of Qt's library that needs a cursor library which does not exist.
    import PyQt6

    (library,) = Path(PyQt6.__path__[0]).glob("Qt6/lib/libQt6XcbQpa.so.6")
    content = library.read_bytes()
    assert b"libxcb-cursor.so.0" in content
    broken = content.replace(b"libxcb-cursor.so.0", b"libxcb-cursor.so.7")
    (tmp_path / library.name).write_bytes(broken)
    assert problem_in(DISPLAY=":4711", LD_LIBRARY_PATH=str(tmp_path)) == (
        "Qt cannot open the display, libxcb-cursor.so.7 is missing "
        "(on Debian and Ubuntu: apt install libxcb-cursor7)"
    )


def test_a_library_that_python_cannot_import_is_named():
    error = "ImportError: libEGL.so.1: cannot open shared object file: No such file or directory"
    assert "apt install libegl1)" in describe_qt_failure(f"Traceback (most recent…\n{error}\n")
    assert describe_qt_failure("Segmentation fault\n") == ""


@on_linux
@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root calls apt-get")
def test_a_failure_of_apt_get_is_told_in_a_sentence(tmp_path):
    (tmp_path / "apt-get").write_text("#!/bin/sh\necho no network >&2\nexit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    kept = {name: os.environ[name] for name in os.environ if not name.endswith("DISPLAY")}
    done = subprocess.run(
        [sys.executable, TESTS / "screen.py"],
        # Xvfb is not in this folder either, so that there is something to install.
        env=kept | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == "no network\n"
    assert "update failed with exit code 100" in done.stdout
    assert "install" in done.stdout
    assert "xvfb" in done.stdout


def test_packages_of_libraries_have_the_names_of_debian():
    # The packages that the tests install, each with a library that it contains.
    libraries = runpy.run_path(str(TESTS / "screen.py"))["LIBRARIES"]
    assert {library: debian_package(library) for library in libraries} == libraries
    assert debian_package("libX11.so.6") == "libx11-6"
