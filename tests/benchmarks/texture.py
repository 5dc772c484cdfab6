"""Measure textures, positions and superpixels: figures of docs/texture.md and docs/position.md.

Run ``python tests/benchmarks/texture.py [mosaics] [positions] [phantoms] [pictures]``. Times are
CPU times.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.signal import fftconvolve
from skimage import data
from skimage.color import rgb2gray
from skimage.filters import gabor_kernel
from skimage.segmentation import slic
from sklearn.cluster import KMeans

from napari_kmeans import segment

SIDE = 256


def mosaics():
    """Yield the name, the image and the classes of six mosaics."""
    textures = [image[:SIDE, :SIDE] for image in (data.brick(), data.grass(), data.gravel())]
    y, x = np.mgrid[:SIDE, :SIDE]
    middle = SIDE / 2
    angle = np.arctan2(y - middle, x - middle) / (2 * np.pi) + 0.5
    layouts = {
        "stripes": x * 3 // SIDE,
        "disk": np.where(np.hypot(y - middle, x - middle) < SIDE / 4, 0, 1 + (x >= middle)),
        "checker": (x * 3 // SIDE + y * 3 // SIDE) % 3,
        "wedges": np.minimum((angle * 3).astype(int), 2),
    }
    for name, classes in layouts.items():
        yield name, np.choose(classes, textures), classes
    # Parts of photographs in gray, of equal mean brightness.
    fur = rgb2gray(data.chelsea()[20:148, 190:318]) * 255
    lawn = data.camera()[384:512, 384:512].astype(float)
    tissue = rgb2gray(data.immunohistochemistry()[:128, :128]) * 255
    halves = (np.arange(SIDE) >= 128) * np.ones((128, 1), int)
    for name, pair in {"fur, lawn": (fur, lawn), "fur, tissue": (fur, tissue)}.items():
        image = np.hstack([part - part.mean() + 128 for part in pair])
        yield name, np.clip(image, 0, 255).round().astype(np.uint8), halves


def phantom(n_classes, noise, side=512):
    """Return smooth regions of colors with Gaussian noise, and the classes."""
    rng = np.random.default_rng(0)
    colors = [[60] * 3, [120, 90, 70], [90, 130, 110], [160, 150, 120], [200, 120, 140]]
    colors = np.array([*colors, [110, 170, 190]][:n_classes])
    fields = [ndimage.gaussian_filter(rng.normal(size=(side, side)), 20) for _ in colors]
    classes = np.argmax(fields, axis=0)
    image = colors[classes] + rng.normal(0, noise, (side, side, 3))
    return np.clip(image, 0, 255).round().astype(np.uint8), classes


def percent_right(labels, classes):
    """Return the percentage of pixels that are right after the best matching of labels."""
    labels = labels - labels.min()
    counts = np.zeros((labels.max() + 1, classes.max() + 1))
    np.add.at(counts, (labels, classes), 1)
    return 100 * counts[linear_sum_assignment(-counts)].sum() / classes.size


def cluster(features, n_clusters, weights=None):
    """Return the clusters of features (..., F) by scikit-learn."""
    rows = features.reshape(-1, features.shape[-1])
    labels = KMeans(n_clusters, n_init=3, random_state=0).fit(rows, sample_weight=weights).labels_
    return labels.reshape(features.shape[:-1])


def by_gabor(image, n_clusters, with_position=True):
    """Cluster by the recipe of MATLAB's imsegkmeans: 24 Gabor filters, perhaps the position."""
    gray = image.astype(float)
    features = [gray, *(np.indices(gray.shape) if with_position else [])]
    for wavelength in 4 / np.sqrt(2) * 2.0 ** np.arange(6):
        for angle in np.deg2rad([0, 45, 90, 135]):
            kernel = gabor_kernel(1 / wavelength, angle)
            padded = np.pad(gray, [(side // 2, side // 2) for side in kernel.shape], "symmetric")
            magnitude = abs(fftconvolve(padded, kernel, "valid"))
            features.append(ndimage.gaussian_filter(magnitude, 3 * 0.5 * wavelength))
    features = np.stack(features, axis=-1)
    return cluster((features - features.mean((0, 1))) / features.std((0, 1)), n_clusters)


def by_deviation(image, n_clusters, weight=1):
    """Cluster the local mean and the local standard deviation of a Gaussian window."""
    gray = image.astype(float)
    mean, square = (ndimage.gaussian_filter(values, 12) for values in (gray, gray**2))
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    return cluster(np.stack([mean, weight * deviation], axis=-1), n_clusters)


def by_superpixels(image, n_clusters, n_segments=2000, compactness=30, with_contrast=False):
    """Cluster the mean colors of superpixels, perhaps with their standard deviations."""
    channel_axis = -1 if image.ndim == 3 else None
    segments = slic(
        image, n_segments, compactness, sigma=1, start_label=0, channel_axis=channel_axis
    )
    values = image.reshape(segments.size, -1).astype(float).T
    weights = np.bincount(segments.ravel())
    means = [np.bincount(segments.ravel(), channel) / weights for channel in values]
    if with_contrast:
        squares = [np.bincount(segments.ravel(), channel**2) / weights for channel in values]
        means += [np.sqrt(square - mean**2) for square, mean in zip(squares, means, strict=True)]
    return cluster(np.stack(means, axis=-1), n_clusters, weights)[segments]


def by_mean_field(image, n_clusters, weight=1.5):
    """Smooth the labels of plain K-means by 12 sweeps of mean field on a Potts model."""
    model = segment(image, n_clusters, n_init=4).model
    squares = ((image[..., None, :] - model.cluster_centers_) ** 2).sum(axis=-1)
    energies = squares / (2 * squares.min(axis=-1).mean() / image.shape[-1])
    shares = np.exp(energies.min(-1, keepdims=True) - energies)
    neighbors = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])[..., None]
    for _ in range(12):
        shares /= shares.sum(-1, keepdims=True)
        logarithms = weight * ndimage.convolve(shares, neighbors, mode="constant") - energies
        shares = np.exp(logarithms - logarithms.max(-1, keepdims=True))
    return shares.argmax(axis=-1)


def show(name, image, classes, methods):
    """Print the pixels right and the CPU time of each method."""
    cells = []
    for method, function in methods.items():
        start = time.process_time()
        labels = function(image, classes.max() + 1)
        seconds = time.process_time() - start
        cells.append(f"{method} {percent_right(labels, classes):.1f} % {seconds:.2f} s")
    print(name, *cells, sep=" | ", flush=True)


def by_segment(**options):
    return lambda image, n_clusters: segment(image, n_clusters, **options).labels


def measure_mosaics():
    methods = {
        "colors": by_segment(),
        "blur": by_segment(blur=12),
        "texture 1": by_segment(blur=12, texture=1),
        "texture 2": by_segment(blur=12, texture=2),
        "texture 3": by_segment(blur=12, texture=3),
        "deviation": by_deviation,
        "deviation 2": lambda image, n_clusters: by_deviation(image, n_clusters, 2),
        "superpixels": lambda image, n_clusters: by_superpixels(image, n_clusters, 100, 30, True),
        "gabor": by_gabor,
        "gabor alone": lambda image, n_clusters: by_gabor(image, n_clusters, False),
    }
    segment(data.brick()[:64, :64], 2, blur=2, texture=1)
    for mosaic in mosaics():
        show(*mosaic, methods)


def measure_positions():
    for texture in (0, 2, 3):
        methods = {
            f"texture {texture}, position {position}": by_segment(
                blur=12, texture=texture, position=position
            )
            for position in (0, 0.05, 0.1, 0.2, 0.5, 1)
        }
        for mosaic in mosaics():
            show(*mosaic, methods)


def measure_phantoms():
    methods = {
        "plain": by_segment(),
        "blur": by_segment(blur=1.5),
        "mean field": by_mean_field,
        "superpixels": by_superpixels,
    }
    for n_classes in (4, 6):
        for noise in (15, 30, 45):
            show(f"{n_classes} classes, noise {noise}", *phantom(n_classes, noise), methods)


def draw_pictures(folder=Path(__file__).parents[2] / "docs"):
    """Draw two mosaics, and their clusters with some options."""
    texture = {"blur": 12, "texture": 2}
    draw(folder / "texture.png", "wedges", {}, texture)
    texture = {"blur": 12, "texture": 3}
    positions = ({**texture, "position": position} for position in (0.1, 1))
    draw(folder / "position.png", "disk", texture, *positions)


def draw(path, mosaic, *options_of_panels):
    """Draw a mosaic, and beside it its clusters with each of some options."""
    from skimage.io import imsave

    image, classes = next(each[1:] for each in mosaics() if each[0] == mosaic)
    colors = np.array([[68, 119, 170], [238, 204, 102], [170, 51, 119]], np.uint8)
    gap = np.full((SIDE, 8, 3), 255, np.uint8)
    panels = [np.stack([image] * 3, axis=-1)]
    for options in options_of_panels:
        labels = segment(image, 3, **options).labels - 1
        counts = np.zeros((3, 3))
        np.add.at(counts, (labels, classes), 1)
        panels += [gap, colors[linear_sum_assignment(-counts)[1]][labels]]
    imsave(path, np.hstack(panels))


if __name__ == "__main__":
    parts = {
        "mosaics": measure_mosaics,
        "positions": measure_positions,
        "phantoms": measure_phantoms,
        "pictures": draw_pictures,
    }
    for part in sys.argv[1:] or parts:
        parts[part]()
