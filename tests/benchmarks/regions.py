"""Compare ways to label noisy phantoms, print Markdown tables, and draw the picture of the docs.

Usage: ``python tests/benchmarks/regions.py [PICTURE.png]``. The phantoms have regions of four and
six colors, in two and three dimensions, with Gaussian noise of 15, 30 and 45 levels, or of four
gray levels with soft edges, as in a scan. Each tool has its best of a few settings. If antspyx is
installed, ANTs Atropos is compared, too. A second table is about rare classes: a leaf with twelve
lesions. A third one is about pixels that are left undecided.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.optimize import linear_sum_assignment
from skimage import data

from napari_kmeans import segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SHAPES = {"2-D": (512, 512), "3-D": (48, 96, 96)}
STRENGTHS = {"2-D": (1.0, 2.0, 3.0), "3-D": (0.5, 1.0, 1.5)}


def draw_classes(rng: np.random.Generator, n_classes: int, shape: tuple[int, ...]) -> Any:
    """Return the classes of an image, from 0 on."""
    width = 24 if len(shape) == 2 else 8
    fields = [gaussian_filter(rng.normal(size=shape), width) for _ in range(n_classes)]
    return np.argmax(fields, axis=0)


def phantom(n_classes: int, noise: float, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Return the classes of an image and the noisy 8-bit RGB image."""
    rng = np.random.default_rng(0)
    truth = draw_classes(rng, n_classes, shape)
    colors: list[Any] = []
    while len(colors) < n_classes:
        color = rng.uniform(60, 195, 3)
        if all(np.linalg.norm(color - other) > 45 for other in colors):
            colors.append(color)
    image = np.array(colors)[truth] + rng.normal(0, noise, (*shape, 3))
    return truth, np.clip(np.rint(image), 0, 255).astype(np.uint8)


def scan_phantom(noise: float) -> tuple[Any, Any]:
    """Return the classes of a volume and its noisy 8-bit gray values.

    Edges are blurred by 0.8 voxels. Between the darkest and the brightest class they have the
    values of the classes between.
    """
    rng = np.random.default_rng(0)
    truth = draw_classes(rng, 4, SHAPES["3-D"])
    values = gaussian_filter(np.array([20.0, 90.0, 130.0, 220.0])[truth], 0.8)
    values += rng.normal(0, noise, truth.shape)
    return truth, np.clip(np.rint(values), 0, 255).astype(np.uint8)


def right(labels: Any, truth: Any) -> float:
    """Return the share of pixels that are right after the best matching of labels."""
    size = int(max(labels.max(), truth.max())) + 1
    pairs = np.zeros((size, size))
    np.add.at(pairs, (np.asarray(labels, int).ravel(), truth.ravel()), 1)
    rows, columns = linear_sum_assignment(-pairs)
    return float(pairs[rows, columns].sum() / truth.size)


def majority(labels: Any, width: int) -> Any:
    """Return the most frequent label in a window around each pixel."""
    votes = [uniform_filter((labels == k).astype(np.float32), width) for k in np.unique(labels)]
    return np.argmax(votes, axis=0)


def atropos(image: Any, n_classes: int, weight: float) -> Any:
    """Return the labels of ANTs Atropos from a K-means start, with a Markov random field."""
    import ants

    channels = [ants.from_numpy(image[..., c].astype(np.float32)) for c in range(3)]
    mask = ants.from_numpy(np.ones(image.shape[:-1], np.float32))
    radius = "x".join(["1"] * mask.dimension)
    found = ants.atropos(
        a=channels, x=mask, i=f"KMeans[{n_classes}]", m=f"[{weight},{radius}]", c="[8,0]"
    )
    return found["segmentation"].numpy()


def best_of(
    run: Callable[[float], Any], settings: Iterable[float], truth: Any
) -> tuple[float, float]:
    """Return the best share of right pixels, and the CPU seconds of a setting, on average."""
    start, shares = time.process_time(), []
    for setting in settings:
        try:
            shares.append(right(run(setting), truth))
        except RuntimeError:
            # Atropos ends with an error for some weights.
            shares.append(0.0)
    return max(shares), (time.process_time() - start) / len(shares)


def compare() -> None:
    """Print the table."""
    print("| phantom | plain | majority | blur | smoothing | Atropos |\n|---|---|---|---|---|---|")
    for kind in SHAPES:
        for n_classes in (4, 6):
            for noise in (15, 30, 45):
                name = f"{kind}, {n_classes} classes, {noise} levels"
                compare_on(name, *phantom(n_classes, noise, SHAPES[kind]))
    for noise in (15, 25):
        compare_on(f"3-D, 4 gray levels, soft edges, {noise} levels", *scan_phantom(noise))


def compare_on(name: str, truth: Any, image: Any) -> None:
    """Print the best share of right pixels and the CPU seconds of each tool."""
    n_classes = int(truth.max()) + 1
    plain = segment(image, n_classes).labels

    def run(option: str) -> Callable[[float], Any]:
        return lambda value: segment(image, n_classes, **{option: value}).labels

    results = [
        (right(plain, truth), 0.0),
        best_of(lambda width: majority(plain, int(width)), (3, 5, 7), truth),
        best_of(run("blur"), (1, 2, 3), truth),
        best_of(run("smoothing"), STRENGTHS[f"{truth.ndim}-D"], truth),
    ]
    if image.ndim > truth.ndim and importlib.util.find_spec("ants"):
        results.append(best_of(lambda w: atropos(image, n_classes, w), (0.3, 1.0, 3.0), truth))
    cells = " | ".join(f"{100 * share:.1f} ({cpu:.1f} s)" for share, cpu in results)
    print(f"| {name} | {cells} |", flush=True)


def leaf(noise: float) -> tuple[Any, Any]:
    """Return the classes of a leaf, and the image: paper, leaf, twelve lesions and their halos."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:400, :600]
    truth = (((x - 300) / 260) ** 2 + ((y - 200) / 150) ** 2 < 1).astype(int)
    for _ in range(12):
        center_x, center_y, radius = rng.integers((120, 110, 6), (480, 290, 16))
        square = (x - center_x) ** 2 + (y - center_y) ** 2
        truth[(square < (radius + 4) ** 2) & (truth == 1)] = 3
        truth[square < radius**2] = 2
    colors = np.array([[230, 228, 220], [90, 140, 60], [120, 80, 40], [180, 170, 80]])
    image = colors[truth] + rng.normal(0, noise, (*truth.shape, 3))
    return truth, np.clip(np.rint(image), 0, 255).astype(np.uint8)


def compare_refits() -> None:
    """Print the table of the share of right pixels and the area of the lesions."""
    print("\n| leaf, noise | plain | refits 0 | 1 | 3 | 5 | 10 |\n|---|---|---|---|---|---|---|")
    for noise in (15, 25, 35):
        truth, image = leaf(noise)
        options = [{}, *({"smoothing": 2.0, "refits": number} for number in (0, 1, 3, 5, 10))]
        cells = []
        for each in options:
            labels = segment(image, 4, **each).labels
            pairs = np.zeros((5, 5))
            np.add.at(pairs, (labels.ravel(), truth.ravel()), 1)
            rows, columns = linear_sum_assignment(-pairs)
            area = pairs[rows[columns == 2]].sum() / (truth == 2).sum()
            cells.append(f"{100 * right(labels, truth):.1f} ({100 * area:.0f} %)")
        print(f"| {noise} levels | {' | '.join(cells)} |", flush=True)


def compare_undecided() -> None:
    """Print the table of the share of right pixels of those that are decided."""
    limits = (0.0, 0.1, 0.2, 0.3, 0.5)
    print(f"\n| phantom | {' | '.join(map(str, limits))} |\n|{'---|' * (len(limits) + 1)}")
    for n_classes, noise, smoothing in (
        *((n, noise, 0.0) for n, noise in ((4, 30.0), (6, 30.0))),
        *((n, noise, 2.0) for n, noise in ((4, 30.0), (6, 30.0), (4, 45.0), (6, 45.0))),
    ):
        truth, image = phantom(n_classes, noise, SHAPES["2-D"])
        decided = segment(image, n_classes, smoothing=smoothing)
        confidence = decided.model.confidence(image)
        cells = []
        for limit in limits:
            kept = confidence >= limit
            share = right(decided.labels[kept], truth[kept])
            cells.append(f"{100 * share:.1f} ({100 * kept.mean():.0f})")
        name = f"{n_classes} classes, noise of {noise:g} levels, smoothing={smoothing:g}"
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def draw(path: str) -> None:
    """Draw an image, its clusters, and its regions, for three images in three rows."""
    from PIL import Image

    rng = np.random.default_rng(1)
    tissue = gaussian_filter(rng.random((1, 220, 220)), (0, 12, 12))[0]
    tissue = 60 + 60 * (tissue > np.median(tissue)) + 70 * (tissue > np.quantile(tissue, 0.8))
    scan = np.clip(tissue + rng.normal(0, 28, tissue.shape), 0, 255).astype(np.uint8)
    rows = []
    for image, n_clusters, smoothing, min_size in (
        (data.immunohistochemistry()[100:320, 100:320], 4, 2.0, 30),
        (scan, 3, 2.0, 10),
        (data.coffee()[100:320, 330:550], 5, 2.0, 30),
    ):
        before = segment(image, n_clusters)
        after = segment(image, n_clusters, smoothing=smoothing, min_size=min_size)
        pictures = [image, before.recolored, after.recolored]
        rows.append(
            np.hstack([p if p.ndim == 3 else np.repeat(p[..., None], 3, axis=2) for p in pictures])
        )
    picture = Image.fromarray(np.vstack(rows)).convert("P", palette=Image.Palette.ADAPTIVE)
    picture.save(path, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        draw(sys.argv[1])
    else:
        compare()
        compare_refits()
        compare_undecided()
