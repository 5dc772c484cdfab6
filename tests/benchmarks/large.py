"""Measure time and peak memory on very large images, and print a Markdown table.

Usage: ``python tests/benchmarks/large.py [--gigapixels 0.1 1] [--floats 200] [--workers 1 2]``.
The RGB images are written to zarr stores of 1024 x 1024 chunks in a temporary directory, which
is removed at the end. Each case runs in a separate process. The memory of this process and its
children is measured from outside. Compare times only as ratios within one run. The rows with
workers need distributed (``pip install distributed``); ``--workers`` without a number leaves them
out.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import dask.array as da
import numpy as np
import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 1024
N_CLUSTERS = 8
MEGABYTE = 10**6

# The colors of stained tissue: glass, eosin, hematoxylin, blood, pigment.
TISSUE = np.array(
    [
        [242, 240, 243],
        [226, 160, 190],
        [190, 110, 160],
        [110, 70, 140],
        [170, 40, 60],
        [90, 60, 45],
    ],
    dtype=np.float32,
)


class Measured(NamedTuple):
    """The time of a case without the start of its process, and its peak memory in MB."""

    seconds: float
    megabytes: float


# ---------------------------------------------------------------------- images


def make_tissue_chunk(block_info: Any = None) -> np.ndarray:
    """Return a chunk of soft patches of color with noise, similar to tissue in a microscope."""
    (top, _), (left, _), _ = block_info[None]["array-location"]
    rng = np.random.default_rng([top // CHUNK, left // CHUNK])
    patches = TISSUE[rng.integers(0, len(TISSUE), (9, 9))]
    places = np.linspace(0, 8, CHUNK, dtype=np.float32)
    first = np.minimum(places.astype(int), 7)
    share = (places - first)[:, None]
    rows = patches[first] * (1 - share[..., None]) + patches[first + 1] * share[..., None]
    image = rows[:, first] * (1 - share) + rows[:, first + 1] * share
    noise = rng.standard_normal(image.shape, dtype=np.float32) * 4
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def make_image(store: Path, gigapixels: float) -> None:
    """Write an image of a number of gigapixels, chunk by chunk."""
    side = math.ceil(math.sqrt(gigapixels * 1e9) / CHUNK)
    chunks = ((CHUNK,) * side, (CHUNK,) * side, (3,))
    image = da.map_blocks(
        make_tissue_chunk, chunks=chunks, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)
    )
    image.to_zarr(str(store))


# ----------------------------------------------------------------------- cases


def read(store: Path) -> None:
    """Read every chunk once."""
    image = da.from_zarr(str(store))
    ends = da.map_blocks(
        lambda chunk: chunk[-1:, -1:, -1:].copy(),
        image,
        chunks=tuple((1,) * n for n in image.numblocks),
        dtype=image.dtype,
    )
    ends.compute()


def write(store: Path) -> None:
    """Write labels once. Every chunk gets the labels of the first chunk."""
    labels = da.from_zarr(f"{store}-labels")
    first = np.asarray(labels.blocks[0, 0])
    again = da.map_blocks(
        lambda block_info=None: first, chunks=labels.chunks, dtype=labels.dtype, meta=first[:0, :0]
    )
    again.to_zarr(f"{store}-again", overwrite=True)


def fit_and_write(store: Path, smoothing: float = 0.0) -> None:
    """Cluster with the method *full*, and write the labels."""
    from napari_kmeans import segment

    image = da.from_zarr(str(store))
    result = segment(image, N_CLUSTERS, rgb=True, method="full", smoothing=smoothing)
    result.labels.to_zarr(f"{store}-labels", overwrite=True)


def smooth_and_write(store: Path) -> None:
    """Do the same with smoothed labels."""
    fit_and_write(store, smoothing=1.0)


def fit(store: Path) -> None:
    """Cluster with the method *full*, and compute no labels."""
    from napari_kmeans import segment

    segment(da.from_zarr(str(store)), N_CLUSTERS, rgb=True, method="full")


def floats(store: Path) -> None:
    """Cluster a coreset of four float32 channels, and write the labels."""
    from napari_kmeans import segment

    megapixels = int(store.name)
    side = math.ceil(math.sqrt(megapixels * 1e6) / CHUNK) * CHUNK
    image = da.random.default_rng(0).random((side, side, 4), np.float32, chunks=(CHUNK, CHUNK, 4))
    result = segment(image, N_CLUSTERS, channel_axis=-1)
    result.labels.to_zarr(f"{store}-labels", overwrite=True)


CASES: dict[str, Callable[[Path], None]] = {
    "segment": fit_and_write,
    "smooth": smooth_and_write,
    "fit": fit,
    "read": read,
    "write": write,
    "floats": floats,
}


def warm_up() -> None:
    """Compile or load the kernels, in this process and on the workers."""
    from napari_kmeans import segment

    rng = da.random.default_rng(0)
    image = rng.integers(0, 255, (128, 128, 3), np.uint8, chunks=(32, 32, 3))
    segment(image, 4, method="full", smoothing=1.0).labels.compute()
    segment(image / np.float32(255), 4).labels.compute()


def run_here(case: str, store: Path, n_workers: int) -> None:
    """Run a case in this process, and print its time in seconds."""
    if n_workers:
        from distributed import Client, LocalCluster

        cluster = LocalCluster(
            n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=":0"
        )
        Client(cluster)
    if case not in ("read", "write"):
        warm_up()
    start = time.perf_counter()
    CASES[case](store)
    print(json.dumps(time.perf_counter() - start), flush=True)


# ------------------------------------------------------------------- measuring


def measure(case: str, store: Path, n_workers: int = 0) -> Measured:
    """Run a case in a separate process."""
    command = [sys.executable, __file__, "--case", case, "--store", str(store)]
    child = subprocess.Popen(
        [*command, "--workers", str(n_workers)], stdout=subprocess.PIPE, text=True
    )
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, resident_memory(child.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = child.communicate()
    done.set()
    watcher.join()
    if child.returncode:
        raise SystemExit(f"{case} failed")
    return Measured(json.loads(output.splitlines()[-1]), peak / MEGABYTE)


def resident_memory(pid: int) -> int:
    """Return the resident memory of a process and its children, in bytes."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def report(name: str, measured: Measured, note: str = "") -> None:
    """Print a row of the table."""
    print(f"| {name} | {measured.seconds:.2f} | {measured.megabytes:.0f} | {note} |", flush=True)


def measure_pictures(store: Path, gigapixels: float) -> None:
    """Measure the cases on a uint8 RGB image of a number of gigapixels."""
    make_image(store, gigapixels)
    name = f"{gigapixels:g} Gpx"
    cases = ("segment", "smooth", "fit", "read", "write")
    runs = {case: measure(case, store) for case in cases}
    limit = runs["read"].seconds + runs["write"].seconds
    for case, measured in runs.items():
        note = f"{measured.seconds / limit:.2f} of read + write" if case == "segment" else ""
        if case == "smooth":
            note = f"{measured.seconds / runs['segment'].seconds:.2f} of segment"
        report(f"{name}, {case}", measured, note)


def measure_workers(store: Path, numbers: list[int]) -> None:
    """Measure the case "segment" on distributed clusters of one-threaded workers."""
    runs = {number: measure("segment", store, number) for number in numbers}
    slowest = runs[numbers[0]].seconds
    for number, measured in runs.items():
        speed = slowest / measured.seconds
        report(
            f"{store.name}, {number} distributed workers", measured, f"{speed:.2f} times as fast"
        )


def main() -> None:
    """Print a table of all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigapixels", nargs="*", type=float, default=[0.1, 1])
    parser.add_argument(
        "--floats",
        type=int,
        default=200,
        help="megapixels of the floating-point image, 0 for no such image",
    )
    parser.add_argument("--workers", nargs="*", type=int, default=[1, 2])
    parser.add_argument(
        "--directory", help="directory for the images; default: a temporary directory"
    )
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        run_here(arguments.case, arguments.store, arguments.workers[0])
        return
    if arguments.workers and find_spec("distributed") is None:
        parser.error("--workers needs distributed: run pip install distributed, or leave it empty")
    with tempfile.TemporaryDirectory(dir=arguments.directory) as folder:
        needed = 5e9 * sum(arguments.gigapixels) + 1e6 * arguments.floats
        if shutil.disk_usage(folder).free < 1.2 * needed:
            parser.error(
                f"{folder} needs {1.2 * needed / 1e9:.0f} GB of free space: choose a --directory."
            )
        print("| case | s | peak MB | |\n|---|---:|---:|---|")
        stores = {size: Path(folder, f"{size:g}-Gpx") for size in arguments.gigapixels}
        for size, store in stores.items():
            measure_pictures(store, size)
        if stores and arguments.workers:
            measure_workers(stores[max(stores)], arguments.workers)
        if arguments.floats:
            report(
                f"{arguments.floats} Mpx, 4 channels of float32, coreset",
                measure("floats", Path(folder, str(arguments.floats))),
            )


if __name__ == "__main__":
    main()
