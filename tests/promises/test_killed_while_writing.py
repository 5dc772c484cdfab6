"""After a kill at any moment, each output file is the old or the new one, never a part.

``KILLS`` sets the number of kills in each test; an ordinary run has 3.
"""

from __future__ import annotations

import hashlib
import json
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
from napari_kmeans.batch.run_record import RECORD_FILE
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
    """Return a hash of the content of a file or a directory; a record states times: parse it."""
    if path.name == RECORD_FILE:
        return str(json.loads(path.read_text(encoding="utf-8")).keys() > {"images", "started"})
    entries = sorted(path.rglob("*")) if path.is_dir() else [path]
    result = hashlib.sha256()
    for entry in entries:
        result.update(str(entry.relative_to(path)).encode())
        result.update(entry.read_bytes() if entry.is_file() else b"directory")
    return result.hexdigest()


def digest_entries(directory: Path) -> dict[str, str]:
    return {path.name: digest(path) for path in directory.iterdir()}


def kill_while_writing(script: str, arguments: list[Path], rng: random.Random) -> None:
    """Start a process that writes in a loop, and kill it soon after its first write has begun."""
    out = arguments[0]
    before = list_temporary(out)
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while not list_temporary(out) - before:
            assert process.poll() is None
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.4))
        process.kill()
    assert process.returncode == -signal.SIGKILL


def list_temporary(directory: Path) -> set[str]:
    return {path.name for path in directory.glob(f"{PREFIX}*")}


def check_no_file_is_partial(out: Path, allowed: list[dict[str, str]]) -> bool:
    """Check that each entry is in an allowed state; return whether temporary files remain."""
    names = set(allowed[0])
    entries = digest_entries(out)
    for name in names:
        # A kill between the two renames of a directory leaves the old directory under another
        # name; the next run puts it back.
        present = entries[name] if name in entries else entries[f"{PREFIX}previous-{name}"]
        assert present in [state[name] for state in allowed], name
        assert name in entries or name.endswith(".zarr")
    others = set(entries) - names
    assert all(name.startswith(PREFIX) for name in others)
    return bool(others)


def kill_repeatedly(
    script: str,
    arguments: list[Path],
    states: list[dict[str, str]],
    run: Callable[[], object],
) -> None:
    """Kill KILLS times; after every second kill, a complete run has to remove all leftovers."""
    out, rng, n_left = arguments[0], random.Random(0), 0
    run()
    for number in range(KILLS):
        kill_while_writing(script, arguments, rng)
        n_left += check_no_file_is_partial(out, states)
        if number % 2 == 0 or number == KILLS - 1:
            run()
            assert digest_entries(out) == states[0]
    print(f"{KILLS} kills, {n_left} of them during a write")


def test_killed_command_line_leaves_no_partial_file(tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    iio.imwrite(tmp_path / "photo.png", noise)
    tall = np.repeat(noise, 2, axis=0)
    zarr.create_array(tmp_path / "scan.zarr", data=tall, chunks=(256, 256, 3))
    sources = [tmp_path / "photo.png", tmp_path / "scan.zarr"]
    states = []
    for n_clusters in ("2", "3"):
        directory = tmp_path / n_clusters
        assert main([*map(str, sources), "--each", "-k", n_clusters, "-o", str(directory)]) == 0
        states.append(digest_entries(directory))
    out = tmp_path / "out"
    arguments = [*map(str, sources), "--each", "-k", "2", "-o", str(out)]
    kill_repeatedly(COMMAND_LINE, [out, *sources], states, lambda: main(arguments))
    assert len(states[0]) == 9
    with capsys.disabled():
        print(end=capsys.readouterr().out.splitlines()[-1] + " ")


def random_tables(rng: np.random.Generator, n_clusters: int) -> dict[str, np.ndarray | None]:
    centers, palette = rng.random((2, n_clusters, 1))
    return {"cluster_centers_": centers, "center_palette": palette, "center_pixels": None}


def test_killed_script_leaves_no_partial_model_or_table(tmp_path, capsys):
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
        states.append(digest_entries(tmp_path / str(number)))
    out = tmp_path / "out"
    out.mkdir()
    kill_repeatedly(SCRIPT, [out, *sources], states, lambda: write(out, 0))
    with capsys.disabled():
        print(end=capsys.readouterr().out.splitlines()[-1] + " ")
