"""Every Python block, command and menu path of the README and the documentation works.

The Python blocks of the README each run by themselves. Those of a page of the documentation run
one after the other, in a folder with small images; `image` is a small image there, and `segment`
is imported. A block after a comment ``<!-- not run: reason -->`` is only compiled. A menu path
after a comment ``<!-- a menu of … -->`` is not one of napari.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import imageio.v3 as iio
import npe2
import numpy as np
import pytest

import napari_kmeans
from napari_kmeans.cli.main import build_parser, main
from napari_kmeans.cli.options import OPTIONS_OF_FIT
from napari_kmeans.cli.study_arguments import study_of
from napari_kmeans.cli.study_commands import build_repeat_parser, build_run_parser
from napari_kmeans.options import Options

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BUILT = ("gallery", "generated")
"""Folders of pages that Sphinx writes."""

PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    *sorted(
        page
        for page in (ROOT / "docs").rglob("*.md")
        if page.relative_to(ROOT / "docs").parts[0] not in BUILT
    ),
]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]

_BLOCK = re.compile(
    r"(?:^ *<!-- not run: (?P<reason>.+?) -->\n)?"
    r"^(?P<indent> *)```(?P<language>[\w-]+)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A block of code on a page; `reason` is why it cannot run."""

    page: Path
    language: str
    text: str
    reason: str | None

    @property
    def opens_a_window(self) -> bool:
        """Whether the block is a script with a window."""
        return "napari.run()" in self.text


def blocks_of(page: Path, *languages: str) -> list[Block]:
    """Return the blocks of a page in some languages."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [
        Block(page, match["language"], match["text"], match["reason"])
        for match in found
        if match["language"] in languages
    ]


def name_of(page: Path) -> str:
    """Return the name of a page in the names of tests."""
    return page.relative_to(ROOT).as_posix()


def make_images(folder: Path) -> None:
    """Write the images that the pages name: small ones of two kinds of stained tissue."""
    rng = np.random.default_rng(0)
    colors = np.array([(60, 40, 120), (200, 150, 180), (240, 235, 240)], np.uint8)
    (folder / "raw").mkdir()
    for name in ("control_1", "control_2", "treated_1", "treated_2"):
        image = colors[rng.integers(0, 3, (24, 32))]
        iio.imwrite(folder / "raw" / f"{name}.tif", image)
    rows = [f"{path.name},50\n" for path in sorted((folder / "raw").iterdir())]
    (folder / "patients.csv").write_text("image,age\n" + "".join(rows), encoding="utf-8")
    (study,) = blocks_of(ROOT / "docs" / "cohort.md", "yaml")
    (folder / "example").mkdir()
    for place in (folder, folder / "example"):
        (place / "study.yaml").write_text(study.text, encoding="utf-8")


PYTHON_PAGES = [page for page in PAGES if blocks_of(page, "python")]
WINDOW_BLOCKS = {
    block.text: block
    for page in PYTHON_PAGES
    for block in blocks_of(page, "python")
    if block.opens_a_window and not block.reason
}


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=name_of)
def test_python_blocks_run(page, tmp_path, monkeypatch, qapp):
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path)
    rng = np.random.default_rng(0)
    given = {
        "image": rng.integers(0, 256, (40, 50, 3), np.uint8),
        "segment": napari_kmeans.segment,
    }
    names: dict[str, Any] = dict(given)
    for block in blocks_of(page, "python"):
        code = compile(block.text, f"{name_of(page)}: {block.text.splitlines()[0]}", "exec")
        if block.reason or block.opens_a_window:
            continue
        if page == README:
            names = {}
        exec(code, names)


def test_few_blocks_are_not_run():
    skipped = [block for page in PAGES for block in blocks_of(page, "python") if block.reason]
    assert len(skipped) <= 3


@pytest.mark.parametrize("block", WINDOW_BLOCKS.values(), ids=lambda block: name_of(block.page))
def test_scripts_with_a_window_add_the_layers(block, tmp_path):
    """Run the script in its own process, and close its window once the event loop runs."""
    watch = """
import napari
from napari.qt import get_qapp
from qtpy.QtCore import QTimer

def look():
    viewer = napari.current_viewer()
    print([layer.name for layer in viewer.layers])
    viewer.close()
    app.quit()

app = get_qapp()
QTimer.singleShot(0, look)
"""
    (tmp_path / "script.py").write_text(watch + block.text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "script.py"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env=os.environ | {"NAPARI_CONFIG": ""},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1:] == ["['coffee', 'coffee recolored', 'coffee labels']"]


# -------------------------------------------------------------------- commands


def commands_of(page: Path) -> list[str]:
    """Return the commands in the blocks of a page, and the commands in its text."""
    lines = [
        command.strip()
        for block in blocks_of(page, "sh", "bat")
        for line in block.text.splitlines()
        for command in re.sub(r"\s#.*", "", line).split("&&")
    ]
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    inline = re.findall(r"`((?:napari-kmeans|pip install|tox|python) [^`\n]+)`", text)
    return [line for line in lines + inline if line]


def split_command(command: str) -> tuple[str, list[str]]:
    """Return the program of a command, without its folder, and its arguments."""
    # In the words of Windows, \ is no escape.
    first, *words = shlex.split(command.replace("\\", "/"))
    return first.rpartition("/")[2], words


def check_own_command(words: list[str]) -> None:
    """Parse the arguments of napari-kmeans, and check the options."""
    if words[0] == "run":
        study_of(build_run_parser().parse_args(words[1:]))
    elif words[0] == "repeat":
        build_repeat_parser().parse_args(words[1:])
    else:
        arguments = build_parser().parse_args(words)
        Options(**{name: getattr(arguments, name) for name in OPTIONS_OF_FIT})


def check_install(words: list[str]) -> None:
    """Check the extras of this package, if it is the one that is installed."""
    for word in words:
        for extra in re.findall(r"^\.\[(.+)\]$", word):
            assert set(extra.split(",")) <= set(EXTRAS)


def check_tox(words: list[str]) -> None:
    """Check the names of environments."""
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    for name in words[words.index("-e") + 1].split(","):
        assert f"testenv:{name}" in tox


def check_python(words: list[str]) -> None:
    """Check that the script is a file of the repository, or that the module is known."""
    assert words[:2] == ["-m", "venv"] or (ROOT / words[0]).is_file()


CHECKS = {
    "napari-kmeans": check_own_command,
    "pip": check_install,
    "tox": check_tox,
    "python": check_python,
    "python3": check_python,
    "py": check_python,
}


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=name_of)
def test_commands_are_understood(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path)
    for command in commands_of(page):
        program, words = split_command(command)
        if command.endswith(("napari-kmeans", "napari-kmeans run", "pytest -n 2", "--help")):
            continue
        try:
            CHECKS[program](words)
        except (Exception, SystemExit) as error:
            raise AssertionError(f"{name_of(page)} has the command {command!r}") from error


def test_commands_of_the_readme_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path)
    (tmp_path / "raw").rename("images")
    iio.imwrite("new.tif", iio.imread("images/control_1.tif"))
    run = [
        command
        for command in commands_of(README)
        if command.startswith("napari-kmeans") and " -o " in command and "photo" not in command
    ]
    assert len(run) == 4
    for command in run:
        assert main(shlex.split(command)[1:]) == 0, capsys.readouterr().err
    assert (tmp_path / "new-results" / "new-labels.tif").is_file()
    assert (tmp_path / "study" / "napari-kmeans-report.html").is_file()


# ------------------------------------------------------- menus, links and names


def test_menus_exist_in_napari(make_napari_viewer):
    viewer = make_napari_viewer()
    paths: set[str] = set()

    def walk(menu: Any, path: str) -> None:
        menu.aboutToShow.emit()
        for action in menu.actions():
            # Menu entries of a plugin end with its name in parentheses.
            text = re.sub(r" \(.*\)$", "", action.text().replace("&", "").replace("...", "…"))
            paths.add(f"{path} ▸ {text}")
            if action.menu():
                walk(action.menu(), f"{path} ▸ {text}")

    for action in viewer.window._qt_window.menuBar().actions():
        walk(action.menu(), action.text().replace("&", ""))
    named = {
        path: name_of(page)
        for page in PAGES
        for path in re.findall(r"(?<!-->)\*([^*\n]* ▸ [^*\n]*)\*", page.read_text(encoding="utf-8"))
    }
    assert len(named) >= 4
    assert {path: page for path, page in named.items() if path not in paths} == {}


def test_actions_of_the_palette_exist_in_the_manifest():
    text = (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if "command palette" in line]
    manifest = npe2.PluginManifest.from_file(ROOT / "napari.yaml")
    titles = {command.title for command in manifest.contributions.commands}
    named = re.findall(r"\*([^*]+)\*", line)
    assert len(named) == 5
    assert set(named) <= titles


@pytest.mark.parametrize("page", [README, ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_links_lead_to_files(page):
    """Sphinx checks the links between the pages of the documentation."""
    links = re.findall(r"\]\((?!http)([^)]+)\)", page.read_text(encoding="utf-8"))
    assert all((ROOT / link).exists() for link in links)


def test_the_reference_lists_every_public_name():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^   ([\w.]+)$", text, re.MULTILINE)
    assert sorted(name for name in listed if "." not in name) == sorted(napari_kmeans.__all__)
