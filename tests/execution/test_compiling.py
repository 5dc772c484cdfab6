"""Kernels run in every place, and their machine code is kept where that is possible."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import napari_kmeans

SEGMENT = """
import numpy as np
from napari_kmeans import KMeansModel, segment
from napari_kmeans.imaging import kernels

image = np.zeros((9, 9, 3), np.uint8)
image[:, 4:] = 200
model = KMeansModel.load("model.json")
assert (segment(image, 2, rgb=True).labels == np.where(np.arange(9) < 4, 1, 2)).all()
"""
"""A run in a directory with a model. A script has its kernels compiled by other processes."""

PREDICT = SEGMENT.replace("segment(image, 2, rgb=True).labels", "model.predict(image)")
"""The same labels by few kernels, in less time."""

COUNT = """
dispatchers = [each for each in vars(kernels).values() if hasattr(each, "stats")]
inner = [each for each in dispatchers if "no_cpython_wrapper" in each.targetoptions]
stats = [each.stats for each in dispatchers if each not in inner]
for name in ("cache_hits", "cache_misses"):
    print(sum(sum(getattr(each, name).values()) for each in stats))
"""
"""Print the number of kernels that were loaded from the cache, and of all others.

Inner kernels are kept in the kernels that call them.
"""

IN_OTHER_PROCESSES = """
from napari_kmeans.execution.compile_processes import COMPILE_PROCESSES
COMPILE_PROCESSES.enable()
"""

IN_THIS_PROCESS = """
from napari_kmeans.execution.compile_processes import COMPILE_PROCESSES
COMPILE_PROCESSES.close()
"""


@pytest.fixture
def package(tmp_path) -> Path:
    """Return a directory with a copy of the package without compiled kernels, and a model."""
    source = Path(next(iter(napari_kmeans.__path__)))
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, tmp_path / "place" / "napari_kmeans", ignore=ignore)
    pixels = np.array([[[0, 0, 0], [200, 200, 200]]], np.uint8)
    napari_kmeans.segment(pixels, 2, rgb=True).model.save(tmp_path / "place" / "model.json")
    return tmp_path / "place"


def _run(package: Path, code: str, command: list[str] | None = None, **variables: str) -> list[int]:
    """Return how many kernels another process loads from the cache, and how many it compiles."""
    done = subprocess.run(
        [*(command or []), sys.executable, "-c", code + COUNT],
        capture_output=True,
        text=True,
        cwd=package,
        env={**os.environ, "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"} | variables,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


def test_machine_code_is_kept_beside_the_package(package):
    _, n_compiled = _run(package, IN_THIS_PROCESS + PREDICT)
    assert n_compiled > 0
    assert _run(package, PREDICT) == [n_compiled, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_kernels_are_compiled_where_nothing_can_be_written(package):
    # `/proc` is a place in which even root cannot create a directory.
    for folder in ("clustering", "feature_space", "imaging"):
        (package / "napari_kmeans" / folder / "__pycache__").symlink_to("/proc/none")
    nowhere = {"HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none/cache"}
    for code in (SEGMENT, IN_THIS_PROCESS + PREDICT, IN_OTHER_PROCESSES + PREDICT):
        n_loaded, n_compiled = _run(package, code, **nowhere)
        assert n_loaded == 0 < n_compiled


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
def test_kernels_run_although_the_disk_is_full(package):
    # The limit lets numba create files, but not write to them, as on a full disk.
    limit = ["bash", "-c", 'ulimit -f 0; exec "$@"', "bash"]
    n_loaded, n_compiled = _run(package, IN_OTHER_PROCESSES + PREDICT, limit)
    assert n_loaded == 0 < n_compiled


@pytest.mark.parametrize("process", [IN_THIS_PROCESS, IN_OTHER_PROCESSES])
def test_machine_code_of_a_version_with_other_classes_is_replaced(package, process):
    _, n_compiled = _run(package, IN_THIS_PROCESS + PREDICT)
    lists = list(package.rglob("*.nbi"))
    assert lists
    for path in lists:
        with path.open("rb") as file:
            version = pickle.load(file)
        # A pickle that names a class of a module that is there.
        missing = b"cnapari_kmeans.clustering.kernels\nClassThatIsGone\n."
        path.write_bytes(pickle.dumps(version) + missing)
    n_loaded, n_again = _run(package, process + PREDICT)
    assert n_loaded + n_again == n_compiled
    # And kept again.
    assert _run(package, PREDICT) == [n_compiled, 0]
