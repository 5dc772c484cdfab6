"""The command line prints a line while kernels are compiled, once for each kind of run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import napari_kmeans
from napari_kmeans.batch.preparing import NOT_KEPT_SENTENCE
from napari_kmeans.batch.run_record import RECORD_FILE
from napari_kmeans.batch.running import DEFAULT_OUTPUT


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
    assert first.stderr.strip() == (
        "napari-kmeans: compiling for the first run of this kind, up to 40 seconds."
    )
    assert second.stderr == ""
    labels = "noise-labels.tif"
    assert (tmp_path / "first" / labels).read_bytes() == (tmp_path / "second" / labels).read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_a_run_whose_kernels_cannot_be_kept_says_so_once(tmp_path):
    root = Path(next(iter(napari_kmeans.__path__)))
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root, tmp_path / "place" / root.name, ignore=ignore)
    # `/proc` is a place in which even root cannot create a directory.
    for folder in ("clustering", "feature_space", "imaging"):
        (tmp_path / "place" / root.name / folder / "__pycache__").symlink_to("/proc/none")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for name in "ab":
        Image.fromarray(noise).save(tmp_path / f"{name}.png")
    # A model needs fewer kernels than a fit.
    napari_kmeans.segment(noise, 2, rgb=True).model.save(tmp_path / "m.json")
    command = [sys.executable, "-m", "napari_kmeans", "run", "a.png", "b.png", "--model", "m.json"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "place"), "HOME": "/proc/none"}
    env |= {"XDG_CACHE_HOME": "/proc/none/cache", "NUMBA_CACHE_DIR": "/proc/none"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0
    # A slow computer prints its progress, too.
    lines = [line for line in done.stderr.splitlines() if not line.endswith(" done.")]
    assert lines == [f"napari-kmeans: {NOT_KEPT_SENTENCE}."]
    record = json.loads((tmp_path / DEFAULT_OUTPUT / RECORD_FILE).read_text("utf-8"))
    assert record["warnings"] == []
    assert [each["warnings"] for each in record["images"]] == [[], []]
