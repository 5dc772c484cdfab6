"""The imports between modules run in the one direction that docs/architecture.md states."""

from __future__ import annotations

import ast
from pathlib import Path

import napari_kmeans

ROOT = Path(next(iter(napari_kmeans.__path__))).parent

ORDER = [
    ("_version", "checks", "types"),
    ("execution", "files"),
    ("options",),
    ("classes",),
    ("clustering",),
    ("feature_space",),
    ("imaging",),
    ("model_json",),
    ("model", "summary"),
    ("measuring",),
    ("segmentation", "objects"),
    ("stacks", "suggestion", "merging", "splitting", "confidence", "stability", "rehearsal"),
    ("measured_regions", "measurement_table"),
    ("measurement_inputs", "measurement_output"),
    ("measurement",),
    ("metadata",),
    ("figures", "samples", "scripting", "exported"),
    ("geojson", "class_masks"),
    ("batch",),
    ("cli", "viewer"),
    ("__main__",),
]
"""Folders and files of the package, from the bottom to the top.

A module may import modules of its own entry and of earlier entries.
"""

VIEWER = [
    ("provenance",),
    ("from_layers",),
    ("background",),
    ("to_layers",),
    ("measure_layer",),
    ("widgets",),
    ("panels",),
    ("dock",),
    ("segment_layer", "samples", "read_results", "write_results"),
    ("commands", "window"),
]
"""Folders and files of the viewer, from the bottom to the top: the direction of the data."""


def find_arrows() -> dict[str, set[str]]:
    """Return the modules of the package that each module imports, also for types only."""
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in ROOT.glob("napari_kmeans/**/*.py")
    }
    arrows: dict[str, set[str]] = {}
    for name, path in paths.items():
        arrows[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("napari_kmeans"):
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    arrows[name].add(full if full in paths else str(node.module))
    return arrows


ARROWS = find_arrows()


def rank(order: list[tuple[str, ...]], part: str) -> int:
    return next(number for number, parts in enumerate(order) if part in parts)


def split_name(name: str) -> list[str]:
    return name.split(".")[1:]


def test_every_module_is_in_the_order():
    for name in ARROWS:
        if parts := split_name(name):
            assert rank(ORDER, parts[0]) >= 0, name
            if parts[0] == "viewer" and len(parts) > 1:
                assert rank(VIEWER, parts[1]) >= 0, name


def test_imports_run_one_way():
    wrong = []
    for name, targets in ARROWS.items():
        for target in targets:
            a, b = split_name(name), split_name(target)
            # Skip the package itself: it has the version and imports public names on first use.
            if not a or not b:
                continue
            in_viewer = a[0] == b[0] == "viewer" and len(a) > 1 and len(b) > 1
            upward = in_viewer and rank(VIEWER, a[1]) < rank(VIEWER, b[1])
            if upward or rank(ORDER, a[0]) < rank(ORDER, b[0]):
                wrong.append(f"{name} -> {target}")
    assert not wrong


def test_imports_have_no_circle():
    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        todo = list(ARROWS[start])
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo += ARROWS.get(name, ())
        return seen

    assert {name for name in ARROWS if name != "napari_kmeans" and name in reach(name)} == set()


def test_private_names_are_not_imported_from_other_modules():
    for path in ROOT.glob("napari_kmeans/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("napari_kmeans"):
                names = [alias.name for alias in node.names if not alias.name.startswith("__")]
                assert not [name for name in names if name.startswith("_")], path
