"""Eight threads at once get the results of one thread, in each threading layer of numba."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LAYERS = ["workqueue", "omp", "tbb"]

SCRIPT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
import dask.array as da
import numba
import numpy as np
from napari_kmeans import segment, summarize

assert numba.config.THREADING_LAYER == sys.argv[1]

# A parallel loop of another library, such as umap: it starts the thread pool of numba.
@numba.njit(parallel=True)
def add_up(values):
    total = 0.0
    for i in numba.prange(values.size):
        total += values[i]
    return total

try:
    add_up(np.ones(1000))
except ValueError:
    sys.exit(77)  # This machine lacks the library of the layer.
assert numba.threading_layer() == sys.argv[1]

rng = np.random.default_rng(0)
color = rng.integers(0, 256, (150, 160, 3)).astype(np.uint8)
IMAGES = [
    (color, {}),
    (color[..., 0].astype(np.uint16) * 200, {"rgb": False}),
    (color / 255, {"rgb": True}),
    (color / 255, {"rgb": True, "method": "full", "max_iter": 10}),
    (da.from_array(color, chunks=(64, 64, 3)), {"rgb": True}),
    (np.moveaxis(color, -1, 0).astype(np.float32), {"channel_axis": 0}),
    (color, {"color_space": "lab"}),
    (rng.integers(0, 4000, (3, 80, 90)).astype(np.int16), {"rgb": False}),
]

def work(number):
    image, options = IMAGES[number]
    once = segment(image, 5, n_init=2, **options)
    summary_options = {key: value for key, value in options.items() if key != "max_iter"}
    summary = summarize(image, **summary_options)
    fit_options = {key: options[key] for key in ("color_space", "method") if key in options}
    again = segment(image, 7, n_init=2, summary=summary, **fit_options)
    predicted = once.model.predict(image)
    arrays = [once.labels, once.recolored, again.labels, again.recolored, predicted]
    return [np.asarray(array) for array in arrays], once.model.to_dict(), again.model.to_dict()

def are_equal(one, other):
    arrays = all(np.array_equal(*pair) for pair in zip(one[0], other[0], strict=True))
    return arrays and one[1:] == other[1:]

expected = [work(number) for number in range(len(IMAGES))]
start = Barrier(8)

def work_from(thread):
    start.wait()
    return [are_equal(work(n), expected[n]) for n in np.roll(range(len(IMAGES)), thread)]

with ThreadPoolExecutor(8) as pool:
    results = list(pool.map(work_from, range(8)))
assert np.all(results), results
assert len(results) == 8
print("equal")
"""


@pytest.mark.parametrize("layer", LAYERS)
def test_eight_threads_get_the_results_of_one_thread(layer):
    environment = {**os.environ, "NUMBA_THREADING_LAYER": layer}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, layer],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if run.returncode == 77:
        pytest.skip(f"numba's {layer} is not available here")
    assert run.returncode == 0, run.stderr
    assert run.stdout == "equal\n"
