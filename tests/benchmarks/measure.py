"""Compare `measure` with scikit-image's `regionprops_table` looped over the classes.

Usage: ``python tests/benchmarks/measure.py [SIDE]``. The image has 12 megapixels of RGB, 500
regions, eight classes, and three other images with values of uint8, uint16 and float32. Both run
in the same process, one after the other, five times; the medians of the times are printed, with
the maximal relative difference of all figures.
"""

from __future__ import annotations

import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.measure import regionprops_table

from napari_kmeans import grid_regions, measure, segment

if TYPE_CHECKING:
    from collections.abc import Callable

N_REGIONS = (25, 20)
PROPERTIES = ("label", "num_pixels", "intensity_mean", "intensity_std", "intensity_median")


def make_images(side: int) -> tuple[Any, dict[str, Any], Any]:
    """Return an RGB image, three images of values, and the label image of 500 regions."""
    rng = np.random.default_rng(0)
    shape = (side, side * 3 // 4)
    tissue = gaussian_filter(rng.random(shape), 6)
    tissue = (tissue - tissue.min()) / np.ptp(tissue)
    colors = np.array([(230, 210, 230), (90, 40, 130)])
    image = colors[0] + (colors[1] - colors[0]) * tissue[..., None] + rng.normal(0, 12, (*shape, 3))
    values = {
        "u8": rng.integers(0, 256, shape).astype(np.uint8),
        "u16": (tissue * 4000 + rng.normal(0, 100, shape)).clip(0).astype(np.uint16),
        "f32": (tissue + rng.normal(0, 0.1, shape)).astype(np.float32),
    }
    size = [-(-length // n) for length, n in zip(shape, N_REGIONS, strict=True)]
    regions = np.asarray(grid_regions(shape, size)).astype(np.int32)
    return np.clip(image, 0, 255).astype(np.uint8), values, regions


def loop_over_classes(labels: Any, image: Any, values: dict[str, Any], regions: Any) -> Any:
    """Return the figures (class, region, figure, channel) of scikit-image."""
    # In float64, in which both sum: float32 sums of numpy have other last digits.
    channels = [*np.moveaxis(image, -1, 0), *values.values()]
    stack = np.stack([each.astype(np.float64) for each in channels], axis=-1)
    n_regions = int(regions.max())
    figures = np.full((int(labels.max()), n_regions, 3, len(channels)), np.nan)
    for label in range(1, len(figures) + 1):
        own = np.where(labels == label, regions, 0)
        found = regionprops_table(own, stack, properties=PROPERTIES)
        rows = found["label"] - 1
        for k, name in enumerate(("mean", "std", "median")):
            for c in range(len(channels)):
                figures[label - 1, rows, k, c] = found[f"intensity_{name}-{c}"]
    return figures


def to_figures(table: Any, names: list[str], shape: tuple[int, ...]) -> Any:
    """Return the same figures from a table of measurements."""
    columns = [[f"{kind} {name}" for name in names] for kind in ("mean", "std", "median")]
    flat = np.stack([table[each].to_numpy() for each in columns], axis=1)
    return flat.reshape(shape[1], shape[0], *flat.shape[1:]).swapaxes(0, 1)


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that a function takes, and its result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def compare(side: int, n_runs: int = 5) -> None:
    """Print the times of both, and the maximal difference."""
    image, values, regions = make_images(side)
    segmentation = segment(image, 8, n_init=1)
    labels = segmentation.labels
    measure(segmentation, image, regions=regions, values=values)  # compiles
    seconds: dict[str, list[float]] = {"measure": [], "regionprops_table": []}
    for _ in range(n_runs):
        own, table = timed(lambda: measure(segmentation, image, regions=regions, values=values))
        other, expected = timed(lambda: loop_over_classes(labels, image, values, regions))
        seconds["measure"].append(own)
        seconds["regionprops_table"].append(other)
        print(f"{own:.2f} s, {other:.2f} s", flush=True)
    found = to_figures(table, ["red", "green", "blue", *values], expected.shape)
    assert (np.isnan(found) == np.isnan(expected)).all()
    difference = np.nanmax(np.abs(found - expected) / np.maximum(np.abs(expected), 1e-9))
    ours, others = (median(each) for each in seconds.values())
    print(f"{image.shape[0] * image.shape[1] / 1e6:.1f} Mpx, {regions.max()} regions, 8 classes")
    print(f"| measure | regionprops_table | ratio | maximal relative difference |\n|{'---|' * 4}")
    print(f"| {ours:.2f} s | {others:.2f} s | {others / ours:.1f} | {difference:.1e} |")


if __name__ == "__main__":
    compare(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
