"""Killed at any moment, whatever was written is the old or the new, never half.

KILLS asks for more kills of each kind than the few of an ordinary run.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pytest
import zarr

from napari_kmeans import segment
from napari_kmeans.cli.main import main
from napari_kmeans.files.atomic import PREFIX, write_whole
from napari_kmeans.measuring import cluster_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KILLS = int(os.environ.get("KILLS", "3"))
pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs kill -9")

COMMAND_LINE = """
import sys
from napari_kmeans.cli.main import main

for n in range(10**9):
    main([*sys.argv[2:], "--each", "-k", "23"[n % 2], "-o", sys.argv[1]])
"""

SCRIPT = """
import sys
from pathlib import Path
from napari_kmeans import KMeansModel
from napari_kmeans.files.atomic import write_whole
from napari_kmeans.measuring import cluster_table

models = [KMeansModel.load(path) for path in sys.argv[2:]]
tables = [cluster_table(model) for model in models]
for n in range(10**9):
    models[n % 2].save(Path(sys.argv[1], "model.json"))
    write_whole({Path(sys.argv[1], "table.csv"): tables[n % 2].to_csv})
"""


def digest(path: Path) -> str:
    """What a file or a directory holds."""
    parts = sorted(path.rglob("*")) if path.is_dir() else [path]
    held = hashlib.sha256()
    for part in parts:
        held.update(str(part.relative_to(path)).encode())
        held.update(part.read_bytes() if part.is_file() else b"directory")
    return held.hexdigest()


def digests(directory: Path) -> dict[str, str]:
    return {path.name: digest(path) for path in directory.iterdir()}


def kill_at_work(script: str, arguments: list[Path], rng: random.Random) -> None:
    """Start a process that writes again and again, and kill it soon after it has begun."""
    out = arguments[0]
    before = hidden(out)
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while not hidden(out) - before:
            assert process.poll() is None
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.4))
        process.kill()
    assert process.returncode == -signal.SIGKILL


def hidden(directory: Path) -> set[str]:
    return {path.name for path in directory.glob(f"{PREFIX}*")}


def check_all_whole(out: Path, allowed: list[dict[str, str]]) -> bool:
    """Everything is as in one of two states; return whether something was left behind."""
    names = set(allowed[0])
    found = digests(out)
    for name in names:
        # A directory that was just being replaced lies beside, for the next run to put back.
        held = found[name] if name in found else found[f"{PREFIX}previous-{name}"]
        assert held in [state[name] for state in allowed], name
        assert name in found or name.endswith(".zarr")
    others = set(found) - names
    assert all(name.startswith(PREFIX) for name in others)
    return bool(others)


def kill_again_and_again(
    script: str,
    arguments: list[Path],
    states: list[dict[str, str]],
    run: Callable[[], object],
) -> None:
    """Kill KILLS times; after every second one a run to its end takes all leftovers away."""
    out, rng, n_left = arguments[0], random.Random(0), 0
    run()
    for number in range(KILLS):
        kill_at_work(script, arguments, rng)
        n_left += check_all_whole(out, states)
        if number % 2 == 0 or number == KILLS - 1:
            run()
            assert digests(out) == states[0]
    print(f"{KILLS} kills, {n_left} of them amid the writing")


def test_the_command_line(tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    iio.imwrite(tmp_path / "photo.png", noise)
    tall = np.repeat(noise, 2, axis=0)
    zarr.create_array(tmp_path / "scan.zarr", data=tall, chunks=(256, 256, 3))
    sources = [tmp_path / "photo.png", tmp_path / "scan.zarr"]
    states = []
    for n_clusters in ("2", "3"):
        directory = tmp_path / n_clusters
        assert main([*map(str, sources), "--each", "-k", n_clusters, "-o", str(directory)]) == 0
        states.append(digests(directory))
    out = tmp_path / "out"
    arguments = [*map(str, sources), "--each", "-k", "2", "-o", str(out)]
    kill_again_and_again(COMMAND_LINE, [out, *sources], states, lambda: main(arguments))
    assert len(states[0]) == 8
    with capsys.disabled():
        print(end=capsys.readouterr().out.splitlines()[-1] + " ")


def random_tables(rng: np.random.Generator, n_clusters: int) -> dict[str, np.ndarray]:
    return {name: rng.random((n_clusters, 1)) for name in ("cluster_centers_", "palette")}


def test_a_model_and_a_table_from_a_script(tmp_path, capsys):
    fitted = segment(np.arange(60).reshape(6, 10), 3).model
    rng = np.random.default_rng(0)
    models = [replace(fitted, **random_tables(rng, 5000)) for _ in range(2)]
    sources = [tmp_path / f"{number}.json" for number in range(2)]
    for model, path in zip(models, sources, strict=True):
        model.save(path)

    def write(directory: Path, number: int) -> None:
        directory.mkdir(exist_ok=True)
        models[number].save(directory / "model.json")
        write_whole({directory / "table.csv": cluster_table(models[number]).to_csv})

    states = []
    for number in range(2):
        write(tmp_path / str(number), number)
        states.append(digests(tmp_path / str(number)))
    out = tmp_path / "out"
    out.mkdir()
    kill_again_and_again(SCRIPT, [out, *sources], states, lambda: write(out, 0))
    with capsys.disabled():
        print(end=capsys.readouterr().out.splitlines()[-1] + " ")
