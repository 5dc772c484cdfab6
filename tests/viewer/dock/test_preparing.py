"""The dock shows a line while other processes compile kernels, and a run waits for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

import numba
import pytest

import napari_kmeans
from napari_kmeans.execution.compile_processes import COMPILE_PROCESSES, PREPARING, Request

SLOW_KERNEL = """
import time
from numba import njit
time.sleep(3)

@njit(cache=True)
def kernel(number):
    return number + 1
"""

FIRST_RUN = """
import napari
import numpy as np
from numba.core import event
from qtpy.QtWidgets import QApplication
from napari_kmeans.execution.compile_processes import COMPILE_PROCESSES
from napari_kmeans.viewer.dock.widget import KMeansWidget

compiled = event.RecordingListener()
event.register("numba:compile", compiled)
image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
viewer = napari.components.ViewerModel()
viewer.add_image(image, rgb=True)
application = QApplication([])
dock = KMeansWidget(viewer)

def run(cancels):
    worker, ended, texts = dock.run(), [], set()
    worker.finished.connect(lambda: ended.append(True))
    while not ended:
        application.processEvents()
        texts.add(dock.preparing_note.text())
        if cancels and dock.preparing_note.text():
            dock.cancel()
    return texts

texts = run(True)
print(len(texts), len(viewer.layers))
run(False)
while dock.preparing_note.text():
    application.processEvents()
ours = [e for _, e in compiled.buffer if "napari_kmeans" in e.data["dispatcher"].py_func.__module__]
print(len(viewer.layers), len(ours))
COMPILE_PROCESSES.close()
"""
"""A run that is canceled while kernels are compiled, and another run."""


def test_the_line_is_shown_while_a_kernel_is_compiled(dock, qtbot, tmp_path, monkeypatch):
    (tmp_path / "slow_kernel_of_dock.py").write_text(SLOW_KERNEL)
    monkeypatch.syspath_prepend(tmp_path)
    COMPILE_PROCESSES.enable()
    note = dock.preparing_note
    qtbot.waitUntil(lambda: not note.text(), timeout=300_000)
    request = Request("slow_kernel_of_dock", "kernel", (numba.int64,))
    thread = Thread(target=COMPILE_PROCESSES.compile, args=(request,))
    thread.start()
    qtbot.waitUntil(lambda: note.text() == PREPARING and not note.isHidden(), timeout=30_000)
    assert thread.is_alive()
    thread.join()
    qtbot.waitUntil(lambda: not note.text() and note.isHidden(), timeout=30_000)


@pytest.mark.skipif(sys.platform == "win32", reason="needs xvfb or a screen")
def test_the_first_run_after_installation_compiles_elsewhere_and_can_be_canceled(
    cache_without_imaging,
):
    root = str(Path(next(iter(napari_kmeans.__path__))).parent)
    done = subprocess.run(
        [sys.executable, "-c", FIRST_RUN],
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache_without_imaging), "PYTHONPATH": root},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    n_texts, n_layers, n_layers_after, n_compiled = map(int, done.stdout.split())
    assert n_texts == 2
    assert n_layers == 1
    assert n_layers_after == 3
    assert n_compiled == 0
