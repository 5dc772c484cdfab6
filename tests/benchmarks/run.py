"""Compare time, cost and memory with other tools in one process, and print Markdown tables.

Usage: ``python tests/benchmarks/run.py [TASK ...]``, or ``tox -e bench``. In each round every
tool of a task runs once, so that all tools run under the same load of the machine. Compare
times only as ratios within one table. Costs are exact. Tools that are not installed are left
out.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
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
    """A tool: the package that it needs, its work, and the cost of its result."""

    package: str
    run: Callable[[], Any]
    cost: Callable[[Any], float] = lambda _: float("nan")


class Measured(NamedTuple):
    """The time of a run in seconds, the growth of the process in MB, and the mean squared error.

    A process reuses the memory of earlier runs without growing. So only the first
    round in a new process measures all the memory that a tool needs.
    """

    seconds: float
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

    of_labels = cost_of_labels(image if image.shape[-1] in (3, 4) else image[..., None])

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


def mini_batch(points: np.ndarray, n_clusters: int) -> Tool:
    """Return scikit-learn's MiniBatchKMeans."""

    def run() -> np.ndarray:
        from sklearn.cluster import MiniBatchKMeans

        pixels = points.reshape(-1, points.shape[-1]).astype(np.float32)
        return MiniBatchKMeans(n_clusters, n_init=3, random_state=0).fit(pixels).predict(pixels)

    return Tool("sklearn", run, cost_of_labels(points))


def opencv(points: np.ndarray, n_clusters: int) -> Tool:
    """Return OpenCV's kmeans with one attempt."""

    def run() -> np.ndarray:
        import cv2

        cv2.setRNGSeed(0)
        pixels = points.reshape(-1, points.shape[-1]).astype(np.float32)
        stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 0.85)
        return cv2.kmeans(pixels, n_clusters, None, stop, 1, cv2.KMEANS_PP_CENTERS)[1]

    return Tool("cv2", run, cost_of_labels(points))


def pillow(image: np.ndarray, n_clusters: int) -> Tool:
    """Return Pillow's quantize."""

    def run() -> np.ndarray:
        from PIL import Image

        return np.asarray(Image.fromarray(image).quantize(n_clusters, kmeans=10))

    return Tool("PIL", run, cost_of_labels(image))


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

    return Tool("faiss", run, cost_of_labels(points))


def simple_itk(volume: np.ndarray, n_clusters: int) -> Tool:
    """Return SimpleITK's ScalarImageKmeans with evenly spaced start means."""

    def run() -> np.ndarray:
        import SimpleITK

        means = np.linspace(int(volume.min()), int(volume.max()), n_clusters).tolist()
        image = SimpleITK.GetImageFromArray(volume)
        return SimpleITK.GetArrayFromImage(SimpleITK.ScalarImageKmeans(image, means))

    return Tool("SimpleITK", run, cost_of_labels(volume[..., None]))


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
        "copying once": copying(image),
        "scikit-learn KMeans, float32": scikit_learn(image, 8, "float32"),
        "scikit-learn MiniBatchKMeans": mini_batch(image, 8),
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
}


def measure(tool: Tool) -> Measured:
    """Run a tool once, and measure it."""
    process, done = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    result = tool.run()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    return Measured(seconds, (peak - before) / MEGABYTE, tool.cost(result))


def main() -> None:
    """Print a table for each task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", help=f"some of: {', '.join(TASKS)}")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each tool")
    parser.add_argument("--tools", nargs="+", default=[""], help="words of the tools to run")
    arguments = parser.parse_args()
    if unknown := set(arguments.tasks) - set(TASKS):
        parser.error(f"no such task: {', '.join(sorted(unknown))}")
    for name in arguments.tasks or TASKS:
        tools = {
            label: tool
            for label, tool in TASKS[name]().items()
            if importlib.util.find_spec(tool.package)
            and any(word in label for word in arguments.tools)
        }
        # Compile and load the kernels before the measurement.
        next(iter(tools.values())).run()
        runs: dict[str, list[Measured]] = {label: [] for label in tools}
        for _ in range(arguments.rounds):
            for label, tool in tools.items():
                runs[label].append(measure(tool))
        print_table(name, runs)


def print_table(name: str, runs: dict[str, list[Measured]]) -> None:
    """Print the median of each tool, and its ratio to the first tool."""
    print(f"\n**{name}**, median of {len(next(iter(runs.values())))}\n")
    print("| tool | ms | ratio | cost | MB grown |\n|---|---:|---:|---:|---:|")
    base = statistics.median(run.seconds for run in next(iter(runs.values())))
    for label, results in runs.items():
        seconds = statistics.median(run.seconds for run in results)
        megabytes = statistics.median(run.megabytes for run in results)
        cost = results[-1].cost
        cost_text = "" if np.isnan(cost) else f"{cost:,.2f}"
        numbers = f"{1000 * seconds:,.0f} | {seconds / base:.1f} | {cost_text} | {megabytes:,.0f}"
        print(f"| {label} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
