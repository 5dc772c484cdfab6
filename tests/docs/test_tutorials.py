"""Run each tutorial, and look up every menu and field that it names in the real dock."""

from __future__ import annotations

import re
import runpy
import tempfile
from pathlib import Path

import pytest

from napari_kmeans.cli.main import build_parser

TUTORIALS = sorted((Path(__file__).parents[2] / "docs" / "tutorials").glob("plot_*.py"))


def test_there_are_ten_tutorials():
    assert len(TUTORIALS) == 10


# Scripts show their figures, which this backend cannot.
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive:UserWarning")
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_draws_and_leaves_no_files(path, tmp_path, monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    try:
        runpy.run_path(str(path), run_name="__main__")
        assert plt.get_fignums()
    finally:
        plt.close("all")
    # A cluster of dask keeps its locks for the next time.
    kept = {each.name for each in tmp_path.iterdir() if each.suffix != ".lock"}
    assert kept <= {"dask-scratch-space"}


def test_commands_of_the_tutorials_have_arguments_that_exist():
    options = {text for action in build_parser()._actions for text in action.option_strings}
    commands = [
        line
        for path in TUTORIALS
        for line in re.findall(r"^# {5}napari-kmeans (.*)$", path.read_text("utf-8"), re.M)
    ]
    assert len(commands) >= 2
    for command in commands:
        assert {word for word in command.split() if word.startswith("-")} <= options
