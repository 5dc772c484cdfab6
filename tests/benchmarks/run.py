"""Measure time and cost beside other tools, on one image, in one process.

Run it by ``python tests/benchmarks/run.py [TOOL ...]``, or ``tox -e bench``. Tools that
are not installed are left out. Times hold only as ratios within one table; costs are exact.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Labeller = Callable[[np.ndarray, int, int], np.ndarray]

REPEATS = 5


class Tool(NamedTuple):
    """One way to cluster: the package it needs, and image, K and seed to labels."""

    package: str
    label: Labeller


def _ours(**options) -> Labeller:
    def label(image: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
        from napari_kmeans import segment

        seg = segment(image, n_clusters, rgb=True, random_state=seed, **options)
        return np.asarray(seg.labels) - 1

    return label


def _scikit_learn(n_init: int) -> Labeller:
    def label(image: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
        from sklearn.cluster import KMeans

        pixels = image.reshape(-1, 3).astype(np.float64)
        fit = KMeans(n_clusters, n_init=n_init, random_state=seed).fit(pixels)
        # A user wants the picture too, as ours gives it.
        _recolored = fit.cluster_centers_.round().astype(np.uint8)[fit.labels_]
        return fit.labels_.reshape(image.shape[:2])

    return label


def _opencv(image: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    import cv2

    cv2.setRNGSeed(seed)
    pixels = image.reshape(-1, 3).astype(np.float32)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 300, 0.01)
    found = cv2.kmeans(pixels, n_clusters, None, stop, 1, cv2.KMEANS_PP_CENTERS)
    return found[1].reshape(image.shape[:2])


def _pillow(image: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(image).quantize(n_clusters, kmeans=10))


TOOLS = {
    "napari-kmeans coreset": Tool("napari_kmeans", _ours(method="coreset")),
    "napari-kmeans full": Tool("napari_kmeans", _ours(method="full")),
    "scikit-learn, 1 start": Tool("sklearn", _scikit_learn(1)),
    "scikit-learn, 10 starts": Tool("sklearn", _scikit_learn(10)),
    "OpenCV, 1 start": Tool("cv2", _opencv),
    "Pillow": Tool("PIL", _pillow),
}


def cost(image: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean squared distance of the pixels to the mean colour of their label."""
    pixels, flat = image.reshape(-1, 3).astype(np.float64), labels.ravel().astype(np.intp)
    counts = np.bincount(flat)
    sums = np.stack([np.bincount(flat, weights=channel) for channel in pixels.T])
    used = counts > 0
    # The sum of squares minus that of the means: exact here, all are whole numbers.
    return float(((pixels**2).sum() - (sums[:, used] ** 2 / counts[used]).sum()) / len(pixels))


def measure(tool: Tool, image: np.ndarray, n_clusters: int) -> tuple[float, float]:
    """Return the median time in milliseconds and the mean cost, over the seeds."""
    tool.label(image[:64, :64], n_clusters, 0)  # what is compiled or loaded on first use
    seconds, costs = [], []
    for seed in range(REPEATS):
        start = time.perf_counter()
        labels = tool.label(image, n_clusters, seed)
        seconds.append(time.perf_counter() - start)
        costs.append(cost(image, labels))
    return 1000 * statistics.median(seconds), statistics.fmean(costs)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tools", nargs="*", help=f"some of: {', '.join(map(repr, TOOLS))}")
    parser.add_argument("-k", type=int, nargs="+", default=[8, 32], help="numbers of clusters")
    arguments = parser.parse_args()
    if unknown := set(arguments.tools) - set(TOOLS):
        parser.error(f"no such tool: {', '.join(sorted(unknown))}")
    from sklearn.datasets import load_sample_image

    image = np.asarray(load_sample_image("china.jpg"))
    height, width, _ = image.shape
    print(f"china.jpg, {width} by {height}, {REPEATS} seeds: median time, mean cost per pixel\n")
    print("| tool | K | ms | cost |\n|---|---:|---:|---:|")
    for name in arguments.tools or TOOLS:
        if importlib.util.find_spec(TOOLS[name].package) is None:
            continue
        for n_clusters in arguments.k:
            milliseconds, mean_cost = measure(TOOLS[name], image, n_clusters)
            print(f"| {name} | {n_clusters} | {milliseconds:,.0f} | {mean_cost:.1f} |", flush=True)


if __name__ == "__main__":
    main()
