"""What is installed: the manifest, the metadata, the rooms and what each of them pulls in."""

from __future__ import annotations

import os
import pkgutil
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import npe2
import numpy as np
import pytest

import napari_kmeans

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(napari_kmeans.__path__, "napari_kmeans.")
)
LOWER_ROOMS = [name for name in MODULES if not name.startswith("napari_kmeans.viewer")]
PULLED_IN = "print(*sorted({name.partition('.')[0] for name in sys.modules}))"


def _top_level_imports(statement: str) -> set[str]:
    """The packages in a fresh interpreter after a statement."""
    code = f"import sys; {statement}; {PULLED_IN}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_rooms_are_found():
    assert {"options", "segmentation", "samples", "model", "files", "__main__"} <= {
        name.removeprefix("napari_kmeans.") for name in LOWER_ROOMS
    }
    assert any(name.startswith("napari_kmeans.clustering.") for name in LOWER_ROOMS)
    assert any(name.startswith("napari_kmeans.imaging.") for name in LOWER_ROOMS)
    assert "napari_kmeans.viewer.segment_layer" in MODULES


@pytest.mark.parametrize("module", LOWER_ROOMS)
def test_a_lower_room_pulls_in_neither_qt_nor_napari(module):
    assert not _top_level_imports(f"import {module}") & {"qtpy", "napari", "magicgui"}


@pytest.mark.parametrize("module", ["napari_kmeans", "napari_kmeans.cli.main"])
def test_importing_the_package_or_the_command_line_is_light(module):
    heavy = {"numba", "sklearn", "skimage", "scipy", "pandas", "dask", "zarr", "napari", "qtpy"}
    assert not _top_level_imports(f"import {module}") & heavy


def test_napari_starts_without_the_plugin_s_code():
    """The menus have it, but nothing of it is imported before its dock is opened."""
    code = """
import sys
import napari
from npe2 import PluginManager

def ours():
    return {name for name in sys.modules if name.partition(".")[0] == "napari_kmeans"}

viewer = napari.Viewer(show=False)
texts = {}
for bar in viewer.window._qt_window.menuBar().actions():
    menus = [bar.menu()]
    for menu in menus:
        menu.aboutToShow.emit()
        texts |= {action.text(): action for action in menu.actions()}
        menus += [action.menu() for action in menu.actions() if action.menu()]
assert "napari-kmeans" in {m.name for m in PluginManager.instance().iter_manifests(disabled=False)}
assert any("K-means segmentation" in text for text in texts), sorted(texts)
assert any("Color photograph" in text for text in texts), sorted(texts)
assert not ours(), ours()

before = set(sys.modules)
import napari_kmeans
new = set(sys.modules) - before
assert new == {"napari_kmeans", "napari_kmeans._version"}, new

viewer.window.add_plugin_dock_widget("napari-kmeans")
assert "napari_kmeans.viewer.dock.widget" in ours()
viewer.close()
"""
    environment = os.environ | {"NAPARI_CONFIG": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr


def test_the_public_names_are_there():
    for name in napari_kmeans.__all__:
        assert getattr(napari_kmeans, name).__name__ == name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = napari_kmeans.no_such_name
    assert dir(napari_kmeans) == sorted([*napari_kmeans.__all__, "__version__"])


def test_the_manifest_is_installed_and_its_commands_can_be_imported():
    manifest = npe2.PluginManifest.from_distribution("napari-kmeans")
    manifest.validate_imports()
    assert manifest.contributions.widgets
    assert len(manifest.contributions.sample_data) == 3
    installed = resources.files("napari_kmeans_manifest") / "napari.yaml"
    assert installed.read_text("utf-8") == (ROOT / "napari.yaml").read_text("utf-8")


def test_the_metadata_agree_with_the_code():
    installed = metadata.metadata("napari-kmeans")
    assert PROJECT["version"] == napari_kmeans.__version__ == installed["Version"]
    assert installed["License-Expression"] == "BSD-3-Clause"
    assert "Framework :: napari" in installed.get_all("Classifier")
    assert PROJECT["dependencies"]
    assert not any(re.match("pyqt|pyside", name, re.I) for name in PROJECT["dependencies"])


def test_the_entry_points_lead_somewhere():
    (script,) = metadata.entry_points(group="console_scripts", name="napari-kmeans")
    assert script.load() is __import__("napari_kmeans.cli.main", fromlist=["main"]).main


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A directory with the sdist, and with the wheel that is built from it."""
    directory = tmp_path_factory.mktemp("built")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    return directory


def test_the_sdist_has_what_builds_and_tests_it_and_nothing_else(built):
    (sdist,) = built.glob("napari_kmeans-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    written = {
        path.relative_to(ROOT).as_posix()
        for directory in ("src", "tests", "docs", ".ci", ".github/pictures")
        for path in (ROOT / directory).rglob("*")
        if path.is_file() and "cache" not in path.parent.name
    }
    assert {name for name in names if "/" in name} == written
    assert {name for name in names if "/" not in name} == {
        *(".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"),
        *("PKG-INFO", "README.md", "napari.yaml", "pyproject.toml", "tox.ini"),
    }


def test_the_wheel_carries_the_manifest_and_the_types(built):
    (wheel,) = built.glob("napari_kmeans-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        manifest = archive.read("napari_kmeans_manifest/napari.yaml")
    assert manifest == (ROOT / "napari.yaml").read_bytes()
    assert "napari_kmeans/py.typed" in names
    for name in LOWER_ROOMS:
        path = name.replace(".", "/")
        assert names & {f"{path}.py", f"{path}/__init__.py"}, name
    assert not any(name.startswith("tests") for name in names)


def _readme_commands() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if "python3 -m venv .venv &&" in line]


def test_ci_runs_the_two_commands_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    in_script = re.findall(r"^run '([^']*)'$", script, re.M)
    in_readme = _readme_commands()
    assert len(in_readme) == 2
    assert in_script[:2] == in_readme
    assert in_script[2:] == [".venv/bin/tox -e lint,types"]


def test_the_tools_have_one_version_everywhere():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    for tool in ("ruff", "mypy"):
        versions = re.findall(rf"{tool}==[\d.]+\d", tox + hooks)
        assert len(versions) == 2
        assert len(set(versions)) == 1


def _readme_snippets() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


def test_the_script_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(_readme_snippets()[0], names)
    assert set(np.unique(names["seg"].labels)) == set(range(1, 9))
    assert names["picture"].shape == names["histology"]().shape
    np.testing.assert_array_equal(names["model"].predict(names["image"]), names["seg"].labels)


def test_the_viewer_of_the_readme_runs_with_the_layers(tmp_path):
    """As a script of its own, whose window is closed when its event loop runs."""
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
    (tmp_path / "script.py").write_text(watch + _readme_snippets()[1], encoding="utf-8")
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


def test_the_other_verbs_of_the_readme_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(_readme_snippets()[2], names)
    assert names["many"].model.n_clusters == 32
    assert 1 < names["few"].model.n_clusters < 32
    assert names["rare"].table["pixels"].sum() == 400 * 600
    assert len(names["objects"].table) > 1
    assert "segmentation = segment(" in capsys.readouterr().out
    assert (tmp_path / "palette.svg").stat().st_size > 0


def test_the_menus_that_the_readme_names_are_those_of_napari(make_napari_viewer):
    viewer = make_napari_viewer()
    paths: set[str] = set()

    def walk(menu: Any, path: str) -> None:
        menu.aboutToShow.emit()
        for action in menu.actions():
            # A plugin's entry ends with the name of the plugin.
            text = re.sub(r" \(.*\)$", "", action.text().replace("&", ""))
            paths.add(f"{path} ▸ {text}")
            if action.menu():
                walk(action.menu(), f"{path} ▸ {text}")

    for action in viewer.window._qt_window.menuBar().actions():
        walk(action.menu(), action.text().replace("&", ""))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"\*([^*\n]* ▸ [^*\n]*)\*", readme)
    assert len(named) == 3
    assert set(named) <= paths


def test_the_changelog_begins_with_this_version_or_the_next():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (\d+\.\d+\.\d+) - ", text, re.M)
    assert versions == sorted(versions, key=lambda text: [*map(int, text.split("."))], reverse=True)
    assert PROJECT["version"] in versions[:2]


def test_the_files_that_the_readme_names_are_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!http)([^)]+)\)", text)
    assert links
    assert all((ROOT / link).is_file() for link in links)
