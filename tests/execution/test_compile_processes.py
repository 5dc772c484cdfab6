"""Kernels are compiled in other processes, which never keep this process from working."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numba
import psutil
import pytest

import napari_kmeans
from napari_kmeans.execution.compile_processes import CompileProcesses, Request, waits_to
from napari_kmeans.execution.threads import map_threads

ROOT = str(Path(next(iter(napari_kmeans.__path__))).parent)

START = """
import sys
import numpy as np
from numba.core import event
from napari_kmeans import segment
from napari_kmeans.execution.compile_processes import COMPILE_PROCESSES, waits_to

recorder = event.RecordingListener()
event.register("numba:compile", recorder)
image = np.zeros((9, 9, 3), np.uint8)
image[:, 4:] = 200
expected = np.where(np.arange(9) < 4, 1, 2)
"""

CLUSTER = """
COMPILE_PROCESSES.enable()
assert (segment(image, 2, rgb=True).labels == expected).all()
print(len(recorder.buffer), COMPILE_PROCESSES.is_enabled)
"""

SLOW_KERNEL = """
import time
from numba import njit
time.sleep({seconds})

@njit(cache=True)
def kernel(number):
    return number + 1
"""


def run(code: str, cache: Path | None = None, command: tuple[str, ...] = (), **variables: str):
    """Return what another process prints."""
    variables |= {} if cache is None else {"NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [*command, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT} | variables,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout.split()


@pytest.fixture
def processes():
    processes = CompileProcesses()
    processes.enable()
    yield processes
    processes.close()


@pytest.fixture
def slow_request(tmp_path, monkeypatch):
    """Return a request that takes a minute."""
    (tmp_path / "slow_kernel.py").write_text(SLOW_KERNEL.format(seconds=60))
    monkeypatch.syspath_prepend(tmp_path)
    return Request("slow_kernel", "kernel", (numba.int64,))


@pytest.fixture
def cache(compiled, tmp_path):
    """Return a cache that lacks the first and one of the last kernels of a run."""
    cache = tmp_path / "cache"
    shutil.copytree(compiled, cache)
    for path in list_missing(cache):
        path.unlink()
    assert not list_missing(cache)
    return cache


def list_missing(cache: Path) -> list[Path]:
    """Return the files of the kernels that `cache` lacks at first."""
    return [*cache.rglob("*.count_codes-*.nb?"), *cache.rglob("*.look_up-*.nb?")]


def test_after_a_rehearsal_a_run_compiles_nothing(compiled):
    photograph = (
        "from skimage.data import astronaut\n"
        "COMPILE_PROCESSES.close()\n"
        "seg = segment(astronaut()[::2, ::2], 9)\n"
        "seg.model.predict(astronaut()[:99])\n"
        "print(len(recorder.buffer))\n"
    )
    assert run(START + photograph, compiled) == ["0"]


def test_this_process_compiles_nothing_and_gives_the_same_labels(cache):
    assert run(START + CLUSTER, cache) == ["0", "True"]
    assert len(list_missing(cache)) >= 4


def test_a_script_compiles_nothing_either(cache):
    script = (
        "seg = segment(np.random.default_rng(0).integers(0, 256, (99, 99, 3), np.uint8), 4)\n"
        "print(len(recorder.buffer), COMPILE_PROCESSES.is_enabled)\n"
    )
    assert run(START + script, cache) == ["0", "True"]
    assert len(list_missing(cache)) >= 4


def test_a_worker_of_a_pool_starts_no_processes(cache):
    script = (
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from multiprocessing import get_context\n"
        "import pickle\n"
        "with ProcessPoolExecutor(1, get_context('forkserver')) as pool:\n"
        "    labels = pool.submit(segment, image, 2, rgb=True).result().labels\n"
        '    child = pool.submit(eval, \'__import__("napari_kmeans.execution.compile_processes", '
        'fromlist=["a"]).COMPILE_PROCESSES.is_enabled\').result()\n'
        "print((labels == expected).all(), child)\n"
    )
    assert run(START + script, cache) == ["True", "False"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_leaves_the_processes_to_its_parent(tmp_path):
    fork = (
        "import os, warnings\n"
        "from napari_kmeans.feature_space.kernels import to_cone\n"
        "def convert(dtype): to_cone(np.ones((1, 3), dtype), np.empty((1, 3), dtype))\n"
        "warnings.simplefilter('ignore')\n"  # Python 3.12 warns of a fork beside threads.
        "COMPILE_PROCESSES.enable_once()\n"
        "convert(np.float64)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    convert(np.float32)\n"
        "    os._exit(0 if recorder.buffer and not COMPILE_PROCESSES.is_enabled else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "convert(np.uint8)\n"
        "print(len(recorder.buffer), COMPILE_PROCESSES.is_enabled)\n"
    )
    assert run(START + fork, tmp_path) == ["0", "True"]


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
def test_kernels_are_compiled_here_if_the_disk_is_full(cache):
    limit = ("bash", "-c", 'ulimit -f 0; exec "$@"', "bash")
    n_events, is_enabled = run(START + CLUSTER, cache, limit)
    assert int(n_events) > 0
    assert is_enabled == "False"


def test_kernels_are_compiled_here_if_the_other_process_is_killed(cache):
    kill = (
        "import psutil\n"
        "def kill(): [child.kill() for child in psutil.Process().children()]\n"
        "COMPILE_PROCESSES.enable()\n"
        "with waits_to(kill):\n"
        "    assert (segment(image, 2, rgb=True).labels == expected).all()\n"
        "print(len(recorder.buffer) > 0)\n"
    )
    assert run(START + kill, cache) == ["True"]


def test_waiting_can_be_canceled_in_a_run(cache):
    cancel = (
        "class Canceled(Exception): pass\n"
        "def cancel(): raise Canceled\n"
        "COMPILE_PROCESSES.enable()\n"
        "try:\n"
        "    with waits_to(cancel): segment(image, 2, rgb=True)\n"
        "except Canceled: print('canceled', len(recorder.buffer))\n"
        "print((segment(image, 2, rgb=True).labels == expected).all())\n"
    )
    assert run(START + cancel, cache) == ["canceled", "0", "True"]


def test_the_listener_of_a_map_is_called_in_its_tasks(processes, slow_request, monkeypatch):
    monkeypatch.setattr("napari_kmeans.execution.threads.n_threads", lambda: 2)

    names = set()

    def cancel():
        names.add(threading.current_thread().name)
        if len(names) == 2:
            raise KeyboardInterrupt

    with waits_to(cancel), pytest.raises(KeyboardInterrupt):
        map_threads(lambda _: processes.compile(slow_request), range(2))
    assert threading.current_thread().name in names
    assert any("napari-kmeans" in name for name in names)


def test_closing_ends_the_processes_and_the_waiting(processes, slow_request):
    before = set(psutil.Process().children())
    errors = []

    def wait():
        with pytest.raises(RuntimeError, match="shutdown") as caught:
            processes.compile(slow_request)
        errors.append(caught.value)

    thread = threading.Thread(target=wait)
    thread.start()
    while set(psutil.Process().children()) <= before:
        pass
    processes.close()
    thread.join()
    assert set(psutil.Process().children()) <= before
    assert len(errors) == 1


def test_one_process_compiles_what_several_threads_need(processes, tmp_path, monkeypatch):
    source = SLOW_KERNEL.format(seconds=1) + f"\nopen({str(tmp_path / 'log')!r}, 'a').write('x')\n"
    (tmp_path / "logging_kernel.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    request = Request("logging_kernel", "kernel", (numba.int64,))
    threads = [threading.Thread(target=processes.compile, args=(request,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "log").read_text() == "x"
    assert list((tmp_path / "__pycache__").glob("*.nbi"))


def test_a_program_that_is_not_python_is_not_started(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/opt/napari/napari")
    processes = CompileProcesses()
    processes.enable()
    assert not processes.is_enabled
