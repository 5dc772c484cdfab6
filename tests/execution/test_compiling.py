"""Kernels run in every place, and their machine code is kept where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import napari_kmeans

CODE = """
import numpy as np
from napari_kmeans import segment
from napari_kmeans.imaging import kernels

image = np.zeros((9, 9, 3), np.uint8)
image[:, 4:] = 200
assert (segment(image, 2, rgb=True).labels == np.where(np.arange(9) < 4, 1, 2)).all()
stats = [each.stats for each in vars(kernels).values() if hasattr(each, "stats")]
for name in ("cache_hits", "cache_misses"):
    print(sum(sum(getattr(each, name).values()) for each in stats))
"""
"""A run that prints the number of kernels that were loaded from the cache, and of all others."""


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
    """Return a directory with a copy of the package without compiled kernels."""
    source = Path(next(iter(napari_kmeans.__path__)))
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, tmp_path / "place" / "napari_kmeans", ignore=ignore)
    return tmp_path / "place"


def _run(
    package: Path, command: list[str] | None = None, code: str = CODE, **variables: str
) -> list[int]:
    """Return how many kernels another process loads from the cache, and how many it compiles."""
    done = subprocess.run(
        [*(command or []), sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=package,
        env={**os.environ, "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"} | variables,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


def test_machine_code_is_kept_beside_the_package(package):
    _, n_compiled = _run(package, code=IN_THIS_PROCESS + CODE)
    assert n_compiled > 0
    assert _run(package) == [n_compiled, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_kernels_are_compiled_where_nothing_can_be_written(package):
    # `/proc` is a place in which even root cannot create a directory.
    for folder in ("clustering", "feature_space", "imaging"):
        (package / "napari_kmeans" / folder / "__pycache__").symlink_to("/proc/none")
    nowhere = {"HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none/cache"}
    for code in (CODE, IN_THIS_PROCESS + CODE, IN_OTHER_PROCESSES + CODE):
        n_loaded, n_compiled = _run(package, code=code, **nowhere)
        assert n_loaded == 0 < n_compiled


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
def test_kernels_run_although_the_disk_is_full(package):
    # The limit lets numba create files, but not write to them, as on a full disk.
    limit = ["bash", "-c", 'ulimit -f 0; exec "$@"', "bash"]
    n_loaded, n_compiled = _run(package, limit)
    assert n_loaded == 0 < n_compiled
