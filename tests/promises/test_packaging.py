"""The package installs its manifest and metadata, imports little, and runs as the README states."""

from __future__ import annotations

import ast
import importlib
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

import napari
import npe2
import numpy as np
import pytest
import yaml
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager
from PIL import Image

import napari_kmeans.viewer
from napari_kmeans._version import RELEASED
from napari_kmeans.batch.references import REFERENCES

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = SETTINGS["project"]
SOURCE = ROOT / "src" / "napari_kmeans"
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(napari_kmeans.__path__, "napari_kmeans.")
)
MODULES_WITHOUT_VIEWER = [name for name in MODULES if not name.startswith("napari_kmeans.viewer")]
PRINT_IMPORTED = "print(*sorted({name.partition('.')[0] for name in sys.modules}))"


def _find_imported_packages(statement: str) -> set[str]:
    """Return the top-level packages that a new interpreter has imported after a statement."""
    code = f"import sys; {statement}; {PRINT_IMPORTED}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_modules_are_found():
    assert {"options", "segmentation", "samples", "model", "files", "__main__"} <= {
        name.removeprefix("napari_kmeans.") for name in MODULES_WITHOUT_VIEWER
    }
    assert any(name.startswith("napari_kmeans.clustering.") for name in MODULES_WITHOUT_VIEWER)
    assert any(name.startswith("napari_kmeans.imaging.") for name in MODULES_WITHOUT_VIEWER)
    assert "napari_kmeans.viewer.segment_layer" in MODULES


def test_scripts_and_the_command_line_run_without_napari_and_qt(tmp_path):
    """In a process in which these packages cannot be imported, as if they were not installed."""
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(tmp_path / "image.png")
    (tmp_path / "scan.nii").write_bytes(bytes(344) + b"n+1\0")
    code = """
import importlib
import sys

for name in ("napari", "npe2", "magicgui", "qtpy", "superqt", "vispy", "psygnal", "PyQt6"):
    sys.modules[name] = None
for module in sys.argv[1:]:
    importlib.import_module(module)

from napari_kmeans import *
from napari_kmeans.cli.main import main

assert callable(segment)
assert main(["image.png", "-k", "2"]) == 0
assert main(["image.png", "-k", "2", "-o", "results"]) == 0
assert main(["scan.nii", "-k", "2", "-o", "results"]) == 1
try:
    from napari_kmeans import segment_layer
except ImportError as error:
    print(error, file=sys.stderr)
"""
    command = [sys.executable, "-c", code, *MODULES_WITHOUT_VIEWER]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    missing = 'napari is not installed: run pip install "napari-kmeans[all]"'
    assert f"no screen: {missing}; writing to" in done.stderr
    assert "it is NIfTI, which needs npe2 and a reader plugin of napari: pip install npe2" in (
        done.stderr
    )
    assert done.stderr.splitlines()[-1] == missing
    for directory in ("napari-kmeans-output", "results"):
        assert (tmp_path / directory / "image-labels.tif").is_file()


def test_an_older_napari_is_refused(monkeypatch):
    monkeypatch.setattr(napari, "__version__", "0.6.6")
    (lowest,) = re.findall("napari>=(.+)", "\n".join(PROJECT["optional-dependencies"]["napari"]))
    with pytest.raises(ImportError, match=f"napari must be {lowest} or later, got 0.6.6: run pip"):
        importlib.reload(napari_kmeans.viewer)
    monkeypatch.setattr(napari, "__version__", lowest)
    importlib.reload(napari_kmeans.viewer)


def test_imported_packages_are_declared():
    """What a module imports when it is imported is a dependency, or of the viewer's extra."""
    names = metadata.packages_distributions()

    def find_names(requirements):
        return {re.match(r"[\w.-]+", each)[0].lower() for each in requirements}

    extras = PROJECT["optional-dependencies"]
    core = find_names(PROJECT["dependencies"])
    viewer = core | find_names(extras["napari"])
    every = viewer | find_names(extras["figures"]) | find_names(extras["distributed"])
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        allowed = viewer if "viewer" in path.relative_to(SOURCE).parts else core
        for nodes, declared in ((tree.body, allowed), (ast.walk(tree), every)):
            for node in nodes:
                modules = [alias.name for alias in node.names] if type(node) is ast.Import else []
                modules += [node.module] if type(node) is ast.ImportFrom else []
                for module in modules:
                    package = module.partition(".")[0]
                    if package not in sys.stdlib_module_names | {"napari_kmeans"}:
                        assert {name.lower() for name in names[package]} & declared, (path, package)


@pytest.mark.parametrize("module", ["napari_kmeans", "napari_kmeans.cli.main"])
def test_package_and_command_line_import_no_large_library(module):
    heavy = {"numba", "sklearn", "skimage", "scipy", "pandas", "dask", "zarr", "napari", "qtpy"}
    assert not _find_imported_packages(f"import {module}") & heavy


def test_napari_starts_without_importing_the_plugin():
    """The menus list the plugin, but its code is imported only when its dock is opened."""
    code = """
import sys
import napari
from npe2 import PluginManager

def plugin_modules():
    # A thread may import modules meanwhile.
    return {name for name in list(sys.modules) if name.partition(".")[0] == "napari_kmeans"}

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
assert not plugin_modules(), plugin_modules()

before = set(sys.modules)
import napari_kmeans
new = set(sys.modules) - before
assert new == {"napari_kmeans", "napari_kmeans._version"}, new

viewer.window.add_plugin_dock_widget("napari-kmeans")
assert "napari_kmeans.viewer.dock.widget" in plugin_modules()
viewer.close()
"""
    environment = os.environ | {"NAPARI_CONFIG": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr


def test_public_names_can_be_imported():
    for name in napari_kmeans.__all__:
        assert getattr(napari_kmeans, name).__name__ == name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = napari_kmeans.no_such_name
    assert dir(napari_kmeans) == sorted([*napari_kmeans.__all__, "__version__"])


def test_manifest_is_installed_and_its_commands_can_be_imported():
    manifest = npe2.PluginManifest.from_distribution("napari-kmeans")
    manifest.validate_imports()
    assert manifest.contributions.widgets
    assert len(manifest.contributions.sample_data) == 6
    installed = resources.files("napari_kmeans_manifest") / "napari.yaml"
    assert installed.read_text("utf-8") == (ROOT / "napari.yaml").read_text("utf-8")


def test_metadata_agree_with_the_code():
    installed = metadata.metadata("napari-kmeans")
    assert "version" in PROJECT["dynamic"]
    assert napari_kmeans.__version__ == installed["Version"]
    assert installed["License-Expression"] == "BSD-3-Clause"
    assert "Framework :: napari" in installed.get_all("Classifier")
    assert PROJECT["dependencies"]
    assert not any(re.match("pyqt|pyside", name, re.I) for name in PROJECT["dependencies"])


def test_citation_is_that_of_this_version():
    """All publications in it are in the list from which reports cite, with the same DOI."""
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    own, references = text.split("\nreferences:\n")
    entries = dict(re.findall(r"^([a-z-]+): (.+)$", own, re.M))
    assert entries["cff-version"] == "1.2.0"
    assert entries["version"] == napari_kmeans.__version__
    assert entries["date-released"] == RELEASED
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## {napari_kmeans.__version__} - {RELEASED}\n" in changelog
    assert entries["license"] == PROJECT["license"]
    assert [PROJECT["authors"][0]["name"]] == re.findall(r"^  - name: (.+)$", own, re.M)
    cited = {
        (each.title, each.link.removeprefix("doi:") if each.link.startswith("doi:") else "")
        for each in REFERENCES.values()
    }
    for entry in references.split("\n  - type: "):
        title = re.search(r'^    title: "?(.+?)"?$', entry, re.M)
        doi = re.search(r"^    doi: (.+)$", entry, re.M)
        assert title is not None
        assert (title[1], doi[1] if doi else "") in cited


def test_extras_that_install_qt_install_what_figures_need():
    extras = PROJECT["optional-dependencies"]
    for name in ("all", "pyside"):
        assert any(each.startswith("napari[") for each in extras[name]), name
        assert set(extras["figures"]) <= set(extras[name]), name


def test_conda_recipe_has_the_version_and_the_dependencies_of_the_package():
    """Except that conda-forge names dask without its optional parts dask-core."""
    recipe = yaml.safe_load(
        (ROOT / "docs" / "conda-forge" / "recipe.yaml").read_text(encoding="utf-8")
    )
    requirements, python = recipe["requirements"], PROJECT["requires-python"].removeprefix(">=")
    assert recipe["context"] == {"version": napari_kmeans.__version__, "python_min": python}
    assert recipe["about"]["summary"] == PROJECT["description"]
    assert recipe["about"]["license"] == PROJECT["license"]

    def find_pairs(lines):
        return {tuple(re.split(" ?>=", line.replace("dask[array]", "dask-core"))) for line in lines}

    assert find_pairs(requirements["run"]) == {
        *find_pairs(PROJECT["dependencies"]),
        ("python", "${{ python_min }}"),
    }
    napari_extra = PROJECT["optional-dependencies"]["napari"]
    assert find_pairs(requirements["run_constraints"]) == find_pairs(napari_extra)
    assert find_pairs(requirements["host"]) >= find_pairs(SETTINGS["build-system"]["requires"])
    (script,) = recipe["build"]["python"]["entry_points"]
    assert script.split(" = ") == [*next(iter(PROJECT["scripts"].items()))]


def test_release_workflow_publishes_only_where_a_person_has_set_it_up():
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    publish = jobs.pop("publish")
    assert publish["if"] == "github.ref_type == 'tag' && vars.PUBLISH == 'true'"
    assert publish["environment"] == "pypi"
    assert publish["permissions"] == {"id-token": "write"}
    assert not any("permissions" in job for job in jobs.values())
    # It installs the extra of the first command of the README, and runs its last part.
    tried = {step.get("run") for step in jobs["try"]["steps"]}
    first = _readme_commands()[0].split(" && ")
    assert first[-1].removeprefix(".venv/bin/") in tried
    assert any(run and first[1].partition("[")[2].strip('"') in run for run in tried)


def test_console_script_is_the_main_function():
    (script,) = metadata.entry_points(group="console_scripts", name="napari-kmeans")
    assert script.load() is __import__("napari_kmeans.cli.main", fromlist=["main"]).main


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return a directory with the sdist, and with the wheel that is built from the sdist."""
    directory = tmp_path_factory.mktemp("built")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    return directory


def test_sdist_has_exactly_the_files_to_build_and_test_it(built):
    (sdist,) = built.glob("napari_kmeans-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {
        path.relative_to(ROOT).as_posix()
        for directory in ("src", "tests", "docs", ".ci", ".github")
        for path in (ROOT / directory).rglob("*")
        # Sphinx writes pages into the last two folders.
        if path.is_file() and not {"__pycache__", "gallery", "generated"} & set(path.parts)
    }
    assert {name for name in names if "/" in name} == expected
    assert {name for name in names if "/" not in name} == {
        *(".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md", "CITATION.cff"),
        *(
            "CONTRIBUTING.md",
            "LICENSE",
            "PKG-INFO",
            "README.md",
            "napari.yaml",
            "pyproject.toml",
            "tox.ini",
        ),
    }


def test_wheel_has_the_description_for_the_package_index(built):
    (wheel,) = built.glob("napari_kmeans-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(name).decode()
    assert text.startswith("Metadata-Version:")
    description = text.partition("\n\n")[2]
    core = ProjectMetadata(str(ROOT), PluginManager()).core
    assert description.strip() == core.readme.strip()
    assert "\nDescription-Content-Type: text/markdown\n" in text


def test_wheel_has_the_manifest_the_types_and_the_template(built):
    (wheel,) = built.glob("napari_kmeans-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        manifest = archive.read("napari_kmeans_manifest/napari.yaml")
    assert manifest == (ROOT / "napari.yaml").read_bytes()
    assert "napari_kmeans_manifest/icon.svg" in names
    assert "napari_kmeans/py.typed" in names
    for name in ("report.html.jinja", "report.css", "report.js"):
        assert f"napari_kmeans/batch/{name}" in names
    for name in MODULES_WITHOUT_VIEWER:
        path = name.replace(".", "/")
        assert names & {f"{path}.py", f"{path}/__init__.py"}, name
    assert not any(name.startswith("tests") for name in names)


def test_help_opens_the_pages_of_the_wheel(built, tmp_path):
    (wheel,) = built.glob("napari_kmeans-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = """
from napari_kmeans.viewer.widgets.help_page import page_path

path = page_path("clusters")
print(path, (path.parent / "../pictures/dock/clusters.png").is_file(), path.read_text("utf-8")[:10])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    path = tmp_path / "napari_kmeans_help" / "dock" / "clusters.md"
    assert done.stdout.split() == [str(path), "True", "#", "Clusters"]


def _readme_commands() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if "python3 -m venv .venv &&" in line]


def test_ci_runs_both_commands_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    in_script = re.findall(r"^run '([^']*)'$", script, re.M)
    in_readme = _readme_commands()
    assert len(in_readme) == 2
    assert in_script[:2] == in_readme
    assert in_script[2:] == [".venv/bin/tox -e lint,types,docs"]


def test_tools_have_the_same_version_in_all_configurations():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    for tool in ("ruff", "mypy"):
        versions = re.findall(rf"{tool}==[\d.]+\d", tox + hooks)
        assert len(versions) == 2
        assert len(set(versions)) == 1


def test_changelog_begins_with_this_version_or_the_next():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (\d+\.\d+\.\d+) - ", text, re.M)
    assert versions == sorted(versions, key=lambda text: [*map(int, text.split("."))], reverse=True)
    assert napari_kmeans.__version__ in versions[:2]
