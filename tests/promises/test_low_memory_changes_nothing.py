"""Too little memory for the result raises MemoryError, and the same call succeeds afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource
import sys
import threading
from pathlib import Path

import numpy as np

from napari_kmeans import segment, summarize

rng = np.random.default_rng(0)
tile = rng.integers(0, 250, (500, 500, 3)).astype(np.uint8)
image = np.tile(tile, (8, 16, 1))
image = {"counted": image, "sampled": image[:2000] / np.float32(250)}[sys.argv[1]]

def paint(progress=None):
    result = segment(image, 4, summary=summary, progress=progress, n_init=2)
    return result.labels, result.recolored

def apply(progress=None):
    return model.apply(image, progress=progress)

summary = summarize(image, rgb=True)
result = segment(image, 4, summary=summary, n_init=2)
model, expected = result.model, (result.labels, result.recolored)
before, n_threads = image.copy(), threading.active_count()

for work in (paint, apply):
    lines = Path("/proc/self/status").read_text().splitlines()
    in_use = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmSize"))
    # Leave enough memory for threads and tables, but not for another image. Smaller arrays may
    # take memory that is in use already, so that a whole image would leave enough.
    resource.setrlimit(resource.RLIMIT_AS, (in_use + 3 * image.nbytes // 4, -1))
    reports = []
    try:
        work(lambda done, total: reports.append(done / total))
    except MemoryError as error:
        assert "Unable to allocate" in str(error), error
    else:
        raise AssertionError(f"no MemoryError in {work}: the limit leaves enough memory")
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    assert 1 not in reports
    assert threading.active_count() == n_threads
    np.testing.assert_array_equal(image, before)
    for array, other in zip(work(), expected, strict=True):
        np.testing.assert_array_equal(array, other)
    del array
print("equal")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS of Linux")
@pytest.mark.parametrize("kind", ["counted", "sampled"])
def test_memory_error_leaves_image_and_threads_unchanged(kind):
    command = [sys.executable, "-c", SCRIPT, kind]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "equal\n"
