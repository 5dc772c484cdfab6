"""Settings and hand-made images that all tests share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Set these before napari is imported: the tests must not read or write the settings of the
# user, and a test fails if it leaves Qt objects behind.
os.environ["NAPARI_CONFIG"] = ""
os.environ.setdefault("NAPARI_STRICT_QT", "1")

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Run the tests in this process without -n, although `dist` is set in pyproject.toml.

    pytest-xvfb starts a screen in processes that run tests. It takes a process with `dist` for
    one that only distributes them, and Qt aborts without a screen.
    """
    if not config.getoption("numprocesses"):
        config.option.dist = "no"


@pytest.fixture
def quadrants() -> np.ndarray:
    """Return an RGB image of 20 by 21 pixels: four colors with a little noise, darkest first."""
    rng = np.random.default_rng(0)
    image = np.empty((20, 21, 3))
    image[:10, :10] = (20, 10, 60)
    image[:10, 10:] = (200, 30, 40)
    image[10:, :10] = (40, 180, 60)
    image[10:, 10:] = (240, 230, 220)
    return (image + rng.integers(-3, 4, image.shape)).astype(np.uint8)


@pytest.fixture
def quadrant_labels() -> np.ndarray:
    """Return the labels of `quadrants`, ordered by luminance."""
    labels = np.empty((20, 21), dtype=int)
    labels[:10, :10], labels[:10, 10:], labels[10:, :10], labels[10:, 10:] = 1, 2, 3, 4
    return labels


@pytest.fixture
def separate_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clean the chunks of dask images one by one, unless they are shorter than their halo."""
    from napari_kmeans.imaging import cleaning

    # The chunks of a small image would be joined to a single block, without halos.
    monkeypatch.setattr(cleaning, "_BLOCK_PIXELS", 1)


@pytest.fixture
def steps() -> np.ndarray:
    """Return a 16-bit gray volume of 3 by 8 by 10 voxels with three gray levels."""
    volume = np.full((3, 8, 10), 1_000, dtype=np.uint16)
    volume[:, 4:] = 20_000
    volume[:, 4:, 5:] = 50_000
    return volume


@pytest.fixture(scope="session")
def blur() -> Callable[..., np.ndarray]:
    """Return a function that blurs an image (..., C) by the normalized convolution of scipy."""
    from scipy.ndimage import gaussian_filter

    def blur(image: np.ndarray, sigma: Any, kept: np.ndarray | None = None) -> np.ndarray:
        kept = np.ones(image.shape[:-1], bool) if kept is None else kept
        arguments = {"sigma": sigma, "mode": "constant", "truncate": 4}
        weights = gaussian_filter(kept.astype(float), **arguments)
        channels = np.where(kept[..., None], image, 0).astype(float)
        sums = [gaussian_filter(channels[..., c], **arguments) for c in range(image.shape[-1])]
        return np.stack(sums, axis=-1) / np.where(kept, weights, 1)[..., None]

    return blur


@pytest.fixture(scope="session")
def read_points() -> Callable[..., np.ndarray]:
    """Return a function that reads the points of all pixels of images that are not left out."""
    from napari_kmeans.imaging.chunks import map_reduce

    def read_points(images: Any, space: Any) -> np.ndarray:
        return map_reduce(
            images,
            lambda batch: np.concatenate([piece.points for piece in batch.pieces]),
            np.concatenate,
            space=space,
        )

    return read_points


@pytest.fixture(autouse=True, scope="session")
def _kernels_are_announced() -> None:
    """Announce the compilation once: tests compare what is printed with what they expect."""
    from napari_kmeans.batch.preparing import PREPARING_SENTENCE, announce
    from napari_kmeans.execution.notices import notices_to

    with notices_to(lambda sentence: None):
        announce(PREPARING_SENTENCE)


REHEARSE = """
from numba.core import event
from napari_kmeans.execution.compile_processes import COMPILE_PROCESSES
from napari_kmeans.rehearsal import RGB_IMAGE, rehearse, rehearse_stages

recorder = event.RecordingListener()
event.register("numba:compile", recorder)
COMPILE_PROCESSES.enable()
rehearse(RGB_IMAGE)
for thread in rehearse_stages(RGB_IMAGE):
    thread.join()
print(len(recorder.buffer))
"""
"""Have the kernels of a run compiled, and print how many this process compiled itself."""


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache that a rehearsal has filled with the kernels of a run.

    Its compilation takes 20 seconds. So all workers of pytest-xdist share this cache, and tests
    that need a cache without certain kernels copy it.
    """
    import napari_kmeans
    from napari_kmeans.execution.file_lock import locked

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    cache, done = shared / "compiled-kernels", shared / "compiled-kernels-done"
    root = str(Path(next(iter(napari_kmeans.__path__))).parent)
    with locked(shared / "compiled-kernels.lock"):
        if not done.exists():
            run = subprocess.run(
                [sys.executable, "-c", REHEARSE],
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": root, "NUMBA_CACHE_DIR": str(cache)},
                timeout=300,
            )
            assert (run.returncode, run.stdout) == (0, "0\n"), run.stderr
            done.touch()
    return cache


@pytest.fixture
def cache_without_imaging(compiled: Path, tmp_path: Path) -> Path:
    """Return a cache whose missing kernels take some seconds to compile, as after installation."""
    cache = tmp_path / "cache"
    shutil.copytree(compiled, cache, ignore=shutil.ignore_patterns("imaging_*"))
    assert len(list(cache.iterdir())) < len(list(compiled.iterdir()))
    return cache
