"""The command line prints a line while kernels are compiled, once after installation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import napari_kmeans


def test_the_first_run_prints_that_it_prepares(tmp_path, cache_without_imaging):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    command = [sys.executable, "-m", "napari_kmeans", str(tmp_path / "noise.png")]
    root = str(Path(next(iter(napari_kmeans.__path__))).parent)
    env = {**os.environ, "PYTHONPATH": root, "NUMBA_CACHE_DIR": str(cache_without_imaging)}
    first, second = (
        subprocess.run(
            [*command, "-o", str(tmp_path / name)], capture_output=True, text=True, env=env
        )
        for name in ("first", "second")
    )
    assert first.returncode == second.returncode == 0
    expected = "napari-kmeans: preparing for the first run, 10 to 40 seconds, once after"
    assert first.stderr.strip() == f"{expected} installation."
    assert second.stderr == ""
    labels = "noise-labels.tif"
    assert (tmp_path / "first" / labels).read_bytes() == (tmp_path / "second" / labels).read_bytes()
