"""Compare time, cost and memory with other tools in one process, and print Markdown tables.

Usage: ``python tests/benchmarks/run.py [TASK ...]``, or ``tox -e bench``. In each round every
tool of a task runs once, so that all tools run under the same load of the machine; a run of less
than a second is repeated at once, and the second run counts. Compare times only as ratios within
one table. Costs are exact. Tools that are not installed are left out. A process reuses memory, so
give one task and ``--rounds 1`` to measure the memory of the first tool.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

MEGABYTE = 2**20
OURS = "napari-kmeans"


class Tool(NamedTuple):
    """A tool: the package that it needs, its work, and the cost of its result.

    A tool that takes many seconds can be marked to run once, so that all tasks end in ten minutes.
    """

    package: str
    run: Callable[[], Any]
    cost: Callable[[Any], float] = lambda _: float("nan")
    once: bool = False


class Measured(NamedTuple):
    """The time of a run in seconds, its processor time, the growth of the process in MB, the cost.

    The cost is the mean squared error. A process reuses the memory of earlier runs without
    growing. So only the first round in a new process measures all the memory that a tool needs.
    """

    seconds: float
    cpu_seconds: float
    megabytes: float
    cost: float


# ---------------------------------------------------------------------- images


def photograph() -> np.ndarray:
    """Return china.jpg enlarged to 12.0 megapixels, with noise: 1.4 million colors."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    china = load_sample_image("china.jpg")
    height, width = (round(6.63 * side) for side in china.shape[:2])
    large = np.asarray(Image.fromarray(china).resize((width, height), Image.Resampling.BICUBIC))
    noise = np.random.default_rng(0).normal(0, 2, large.shape)
    return np.clip(np.rint(large + noise), 0, 255).astype(np.uint8)


def gray_volume() -> np.ndarray:
    """Return a smooth 16-bit volume of 64 by 512 by 512 voxels, with noise."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.random((64, 512, 512), dtype=np.float32), 3)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    return np.clip(4000 * smooth + rng.normal(0, 60, smooth.shape), 0, 65535).astype(np.uint16)


def four_channels(image: np.ndarray) -> np.ndarray:
    """Return the channels of the photograph and their mean as four float32 channels, with noise."""
    noise = np.random.default_rng(1).normal(0, 0.3, (*image.shape[:2], 4))
    return (np.dstack([image, image.mean(axis=2)]) + noise).astype(np.float32)


def fields(n_channels: int, n_pixels: int) -> np.ndarray:
    """Return smooth random channels with noise, as float32 from about 0 to 1."""
    from scipy.ndimage import gaussian_filter

    rng, side = np.random.default_rng(n_channels), round(n_pixels**0.5)
    image = np.empty((side, side, n_channels), np.float32)
    for channel in range(n_channels):
        smooth = gaussian_filter(rng.random((side, side), dtype=np.float32), 8)
        smooth = (smooth - smooth.min()) / np.ptp(smooth)
        image[..., channel] = smooth + rng.normal(0, 0.05, smooth.shape)
    return image


def photographs() -> dict[str, np.ndarray]:
    """Return the photographs of scikit-image and scikit-learn with 0.25 to 0.4 megapixels."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    images = {name: getattr(data, name)() for name in ("astronaut", "coffee", "rocket")}
    images["immunohistochemistry"] = data.immunohistochemistry()
    images["china"], images["flower"] = map(load_sample_image, ("china.jpg", "flower.jpg"))
    return images


# ----------------------------------------------------------------------- tools


def cost_of_labels(points: np.ndarray) -> Callable[[np.ndarray], float]:
    """Return a function of labels: the mean squared distance of points to their label's mean."""
    columns = [column.astype(np.float64) for column in points.reshape(-1, points.shape[-1]).T]
    squares = sum((column**2).sum() for column in columns)

    def cost(labels: np.ndarray) -> float:
        flat = labels.ravel().astype(np.intp)
        counts = np.maximum(np.bincount(flat), 1)
        means = [np.bincount(flat, weights=column) ** 2 / counts for column in columns]
        return float((squares - np.sum(means)) / len(flat))

    return cost


def ours(image: np.ndarray, n_clusters: int, **options: Any) -> Tool:
    """Return the tool of this package, which makes labels and a recolored image."""
    from napari_kmeans import segment

    has_channels = image.shape[-1] == 3 or "channel_axis" in options
    of_labels = cost_of_labels(image if has_channels else image[..., None])

    def cost(result: Any) -> float:
        if options.get("color_space", "rgb") == "rgb" and not options.get("blur"):
            return of_labels(result.labels)
        return result.model.inertia_ / np.count_nonzero(result.labels)

    return Tool("napari_kmeans", lambda: segment(image, n_clusters, **options), cost)


def scikit_learn(points: np.ndarray, n_clusters: int, dtype: str, **options: Any) -> Tool:
    """Return scikit-learn's KMeans. Without start centers it also makes a recolored image."""
    start = options.get("init")

    def run() -> np.ndarray:
        from sklearn.cluster import KMeans

        options.setdefault("random_state", 0)
        pixels = points.reshape(-1, points.shape[-1]).astype(dtype)
        fit = KMeans(n_clusters, n_init=1, algorithm="lloyd", **options).fit(pixels)
        if start is None:
            fit.cluster_centers_.astype(points.dtype)[fit.labels_]
        return fit.labels_

    return Tool("sklearn", run, cost_of_labels(points))


def opencv(points: np.ndarray, n_clusters: int) -> Tool:
    """Return OpenCV's kmeans with one attempt."""

    def run() -> np.ndarray:
        import cv2

        cv2.setRNGSeed(0)
        pixels = points.reshape(-1, points.shape[-1]).astype(np.float32)
        stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 0.85)
        return cv2.kmeans(pixels, n_clusters, None, stop, 1, cv2.KMEANS_PP_CENTERS)[1]

    return Tool("cv2", run, cost_of_labels(points), once=True)


def pillow(image: np.ndarray, n_clusters: int) -> Tool:
    """Return Pillow's quantize."""

    def run() -> np.ndarray:
        from PIL import Image

        return np.asarray(Image.fromarray(image).quantize(n_clusters, kmeans=10))

    return Tool("PIL", run, cost_of_labels(image), once=True)


def faiss_kmeans(points: np.ndarray, n_clusters: int) -> Tool:
    """Return Kmeans of faiss with 25 iterations on all points."""

    def run() -> np.ndarray:
        import faiss

        pixels = points.reshape(-1, points.shape[-1]).astype(np.float32)
        max_points = len(pixels) // n_clusters + 1
        fit = faiss.Kmeans(
            pixels.shape[1], n_clusters, niter=25, max_points_per_centroid=max_points
        )
        fit.train(pixels)
        return fit.assign(pixels)[1]

    return Tool("faiss", run, cost_of_labels(points), once=True)


def simple_itk(volume: np.ndarray, n_clusters: int) -> Tool:
    """Return SimpleITK's ScalarImageKmeans with evenly spaced start means."""

    def run() -> np.ndarray:
        import SimpleITK

        means = np.linspace(int(volume.min()), int(volume.max()), n_clusters).tolist()
        image = SimpleITK.GetImageFromArray(volume)
        return SimpleITK.GetArrayFromImage(SimpleITK.ScalarImageKmeans(image, means))

    return Tool("SimpleITK", run, cost_of_labels(volume[..., None]), once=True)


def distinct_colors(image: np.ndarray, n_clusters: int) -> Tool:
    """Return scikit-learn's KMeans on the distinct colors with their counts as weights."""

    def run() -> np.ndarray:
        from sklearn.cluster import KMeans

        codes = image.reshape(-1, 3) @ np.array([65536, 256, 1])
        colors, places, counts = np.unique(codes, return_inverse=True, return_counts=True)
        points = np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=1)
        fit = KMeans(n_clusters, n_init=1, algorithm="lloyd", random_state=0)
        fit.fit(points.astype(np.float32), sample_weight=counts)
        fit.cluster_centers_.astype(np.uint8)[fit.labels_[places]]
        return fit.labels_[places]

    return Tool("sklearn", run, cost_of_labels(image))


def on_cores(tool: Tool, n_cores: int) -> Tool:
    """Return a tool that runs on some of the cores that this process may use."""

    def run() -> Any:
        cores = os.sched_getaffinity(0)
        # New threads inherit the cores of the thread that starts them.
        os.sched_setaffinity(0, sorted(cores)[:n_cores])
        try:
            return tool.run()
        finally:
            os.sched_setaffinity(0, cores)

    return tool._replace(run=run)


def copying(image: np.ndarray) -> Tool:
    """Return the limit of the memory speed: copy image, labels and recolored image once."""
    labels = np.zeros(image.shape[:2], np.uint8)
    return Tool("numpy", lambda: (image.copy(), image.copy(), labels.copy()))


# ----------------------------------------------------------------------- tasks


def click(image: np.ndarray) -> dict[str, Tool]:
    """Return the tools for the default: a coreset, K = 8, labels and recolored image."""
    return {
        OURS: ours(image, 8),
        f"{OURS}, full": ours(image, 8, method="full"),
        f"{OURS}, smoothing": ours(image, 8, smoothing=1.0),
        "copying once": copying(image),
        "scikit-learn KMeans, float32": scikit_learn(image, 8, "float32"),
        "OpenCV kmeans": opencv(image, 8),
        "Pillow quantize": pillow(image, 8),
        "faiss Kmeans": faiss_kmeans(image, 8),
    }


def same_start(image: np.ndarray, n_clusters: int) -> dict[str, Tool]:
    """Return the tools for full K-means from the same random start pixels."""
    rng = np.random.default_rng(n_clusters)
    start = np.unique(image.reshape(-1, 3)[rng.integers(0, image[..., 0].size, 500)], axis=0)
    start = rng.permutation(start)[:n_clusters].astype(np.float64)
    return {
        OURS: ours(image, n_clusters, method="full", init=start),
        "scikit-learn KMeans, float64": scikit_learn(image, n_clusters, "float64", init=start),
    }


def kept_summary(image: np.ndarray) -> dict[str, Tool]:
    """Return the tools for another K of the same image, with a summary made before."""
    from napari_kmeans import summarize

    summary = summarize(image)
    return {
        f"{OURS}, K = 5": ours(image, 5, summary=summary),
        f"{OURS}, K = 8": ours(image, 8, summary=summary),
        "copying once": copying(image),
    }


def hsv(image: np.ndarray) -> dict[str, Tool]:
    """Return the tools for K = 8 on the HSV cone."""

    def run() -> np.ndarray:
        from skimage.color import rgb2hsv

        h, s, v = np.moveaxis(rgb2hsv(image), -1, 0)
        angle, chroma = 2 * np.pi * h, 255 * s * v
        cone = np.stack([chroma * np.cos(angle), chroma * np.sin(angle), 255 * v], axis=-1)
        return scikit_learn(cone, 8, "float32").run()

    return {
        OURS: ours(image, 8, color_space="hsv"),
        "rgb2hsv + scikit-learn KMeans": Tool("sklearn", run),
    }


def gray(volume: np.ndarray) -> dict[str, Tool]:
    """Return the tools for a 16-bit gray volume, K = 4."""
    return {
        OURS: ours(volume, 4),
        "scikit-learn KMeans, float32": scikit_learn(volume[..., None], 4, "float32"),
        "SimpleITK ScalarImageKmeans": simple_itk(volume, 4),
    }


def floats(image: np.ndarray) -> dict[str, Tool]:
    """Return the tools for four float32 channels, K = 8, from a coreset."""
    return {
        OURS: ours(image, 8, channel_axis=-1),
        "scikit-learn KMeans, float32": scikit_learn(image, 8, "float32"),
    }


def many_clusters(image: np.ndarray, n_clusters: int) -> dict[str, Tool]:
    """Return the default with many clusters. The other tools take minutes."""
    return {OURS: ours(image, n_clusters)}


def cores(image: np.ndarray) -> dict[str, Tool]:
    """Return the default, K = 8, on 1, 2, 4, … of the cores that this process may use."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    numbers = [2**i for i in range(available.bit_length())]
    return {f"{OURS}, {number} cores": on_cores(ours(image, 8), number) for number in numbers}


def same_start_channels(n_channels: int, n_pixels: int, n_clusters: int) -> dict[str, Tool]:
    """Return the tools for 25 iterations of full K-means of float32 channels."""
    image = fields(n_channels, n_pixels)
    points = image.reshape(-1, n_channels)
    start = points[np.random.default_rng(0).integers(0, len(points), n_clusters)]
    options = {"init": start.astype(np.float64), "max_iter": 25, "tol": 0}
    return {
        OURS: ours(image, n_clusters, method="full", channel_axis=-1, **options),
        "scikit-learn KMeans, float32": scikit_learn(
            image, n_clusters, "float32", **(options | {"init": start})
        ),
    }


def forty_channels() -> dict[str, Tool]:
    """Return the tools for the default on 40 uint16 channels of one megapixel, K = 8."""
    image = np.clip(4000 * fields(40, 10**6) + 500, 0, 65535).astype(np.uint16)
    return {
        OURS: ours(image, 8, channel_axis=-1),
        "scikit-learn KMeans, float32": scikit_learn(image, 8, "float32"),
    }


def small_photographs(n_clusters: int) -> dict[str, Tool]:
    """Return two tools for each photograph."""
    tools = {}
    for name, image in photographs().items():
        tools[f"{name}: {OURS}"] = ours(image, n_clusters)
        tools[f"{name}: scikit-learn, distinct colors"] = distinct_colors(image, n_clusters)
    return tools


def large_channels(n_channels: int, n_pixels: int, dtype: str) -> dict[str, Tool]:
    """Return full K-means, K = 8, of many pixels, to measure its memory."""
    image = fields(n_channels, n_pixels)
    if dtype == "uint16":
        image = np.clip(4000 * image + 500, 0, 65535).astype(np.uint16)
    start = image.reshape(-1, n_channels)[:: n_pixels // 8][:8].astype(np.float64)
    full = {"method": "full", "channel_axis": -1, "max_iter": 5}
    return {OURS: ours(image, 8, init=start, **full)}


def blurred(image: np.ndarray) -> dict[str, Tool]:
    """Return the tools for K = 8 of the image blurred by a Gaussian, and the blur alone."""
    from scipy.ndimage import gaussian_filter

    def blur() -> np.ndarray:
        return gaussian_filter(image.astype(np.float32), (2, 2, 0), mode="nearest")

    points = blur()
    return {
        f"{OURS}, blur": ours(image, 8, blur=2.0),
        f"{OURS}, no blur": ours(image, 8),
        f"{OURS}, no blur, of the blurred image": ours(points, 8),
        "scipy gaussian_filter alone": Tool("scipy", blur),
        "gaussian_filter + scikit-learn KMeans": Tool(
            "sklearn",
            lambda: scikit_learn(blur(), 8, "float32").run(),
            cost_of_labels(points),
        ),
    }


TASKS: dict[str, Callable[[], dict[str, Tool]]] = {
    "click": lambda: click(photograph()),
    "same-start-8": lambda: same_start(photograph(), 8),
    "same-start-32": lambda: same_start(photograph(), 32),
    "summary": lambda: kept_summary(photograph()),
    "hsv": lambda: hsv(photograph()),
    "blur": lambda: blurred(photograph()),
    "gray": lambda: gray(gray_volume()),
    "floats": lambda: floats(four_channels(photograph())),
    "forty-channels": forty_channels,
    "channels-4": lambda: same_start_channels(4, 2_100_000, 8),
    "channels-16": lambda: same_start_channels(16, 640_000, 8),
    "channels-16-k32": lambda: same_start_channels(16, 640_000, 32),
    "channels-40": lambda: same_start_channels(40, 500_000, 8),
    "channels-64-k32": lambda: same_start_channels(64, 360_000, 32),
    "cores": lambda: cores(photograph()),
    "click-32": lambda: many_clusters(photograph(), 32),
    "click-256": lambda: many_clusters(photograph(), 256),
    "photographs-8": lambda: small_photographs(8),
    "photographs-64": lambda: small_photographs(64),
}
"""The tasks that run by default."""

MORE_TASKS: dict[str, Callable[[], dict[str, Tool]]] = {
    "memory-4-float32": lambda: large_channels(4, 24_000_000, "float32"),
    "memory-4-uint16": lambda: large_channels(4, 24_000_000, "uint16"),
    "memory-40-uint16": lambda: large_channels(40, 2_000_000, "uint16"),
}
"""The tasks that run if they are named."""


_SHORT = 1.0
"""Seconds below which a run is repeated at once, and the second run is measured."""


def measure(tool: Tool) -> Measured:
    """Run a tool once, and measure it; a second time if the run was short.

    The other tools run for seconds in between. Meanwhile some systems, above all virtual machines,
    take back the free memory of the process and put processors to sleep. A short run would measure
    how long it takes to get them back, which is longer than the run itself. The growth of the
    process is that of the first run.
    """
    process, done = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    seconds, cpu_seconds, result = _time(tool)
    done.set()
    watcher.join()
    if seconds < _SHORT:
        result = None  # The second run can then use the memory of the first.
        seconds, cpu_seconds, result = _time(tool)
    return Measured(seconds, cpu_seconds, (peak - before) / MEGABYTE, tool.cost(result))


def _time(tool: Tool) -> tuple[float, float, Any]:
    """Run a tool, and return the seconds, the seconds of processor time, and the result."""
    start, cpu_start = time.perf_counter(), time.process_time()
    result = tool.run()
    return time.perf_counter() - start, time.process_time() - cpu_start, result


def main() -> None:
    """Print a table for each task."""
    all_tasks = TASKS | MORE_TASKS
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", help=f"some of: {', '.join(all_tasks)}")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each tool")
    parser.add_argument("--tools", nargs="+", default=[""], help="words of the tools to run")
    arguments = parser.parse_args()
    if unknown := set(arguments.tasks) - set(all_tasks):
        parser.error(f"no such task: {', '.join(sorted(unknown))}")
    for name in arguments.tasks or TASKS:
        tools = {
            label: tool
            for label, tool in all_tasks[name]().items()
            if importlib.util.find_spec(tool.package)
            and any(word in label for word in arguments.tools)
        }
        # Compile and load the kernels before the measurement.
        if arguments.rounds > 1:
            next(iter(tools.values())).run()
        runs: dict[str, list[Measured]] = {label: [] for label in tools}
        for number in range(arguments.rounds):
            for label, tool in tools.items():
                if number == 0 or not tool.once:
                    print(f"{name}: {label}, run {number + 1}", file=sys.stderr, flush=True)
                    runs[label].append(measure(tool))
        print_table(name, runs)


def print_table(name: str, runs: dict[str, list[Measured]]) -> None:
    """Print the medians of each tool, and the ratio to the first tool of the same image.

    The image is the part of a label before a colon.
    """
    print(f"\n**{name}**\n")
    print("| tool | runs | ms | ratio | CPU ms | cost | MB grown |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    bases: dict[str, float] = {}
    for label, results in runs.items():
        columns = [statistics.median(column) for column in zip(*results, strict=True)]
        seconds, cpu_seconds, megabytes, _ = columns
        base = bases.setdefault(label.partition(":")[0] if ": " in label else "", seconds)
        cost = results[-1].cost
        cost_text = "" if np.isnan(cost) else f"{cost:,.4g}" if cost < 10 else f"{cost:,.2f}"
        print(
            f"| {label} | {len(results)} | {1000 * seconds:,.0f} | {seconds / base:.1f} "
            f"| {1000 * cpu_seconds:,.0f} | {cost_text} | {megabytes:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
