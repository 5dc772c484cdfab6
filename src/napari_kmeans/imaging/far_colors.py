"""Find images whose colors are far from the classes of a model that was fitted to others."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from napari_kmeans.imaging.blocks import block_size
from napari_kmeans.imaging.tally import tally_pixels

if TYPE_CHECKING:
    from napari_kmeans.clustering.center_splits import CenterSplit
    from napari_kmeans.feature_space.space import FeatureSpace
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.types import Block, Floats

FAR = 2.5
"""The ratio of distances from which the colors of an image are far from the classes.

A model of 4 or 8 classes of an IHC section was applied to other images. The same section with a
fifth more or less light, half or one and a half times as much of a stain, or noise of 10 levels has
ratios from 1.1 to 1.9 (rgb) and from 1.3 to 2.4 (lab), a fundus and photographs from 3 to 6.5.
"""

_MAX_PIXELS = 2**18
_WINDOW_SIDE = 64
_WINDOWS_PER_AXIS = 4
"""Images of more pixels are measured in windows: their side along the last two axes, and the most
windows along each axis."""


def distance_ratio(
    pixels: Pixels,
    centers: Floats,
    space: FeatureSpace,
    splits: tuple[CenterSplit, ...],
    mean_square: float,
) -> float:
    """Return how many times as far pixels are from their centers as those of the fit.

    Parameters
    ----------
    pixels : Pixels
        Of large images, only windows are read, which are spread over the image.
    centers : (K, F) float64 array
    space : FeatureSpace
    splits : tuple of CenterSplit
        As in `assign_to_centers`.
    mean_square : float
        The mean squared distance of the pixels of the fit from their centers. The ratio is that to
        at least an eighth of the distance between neighboring centers: an image of a few pure
        colors has the distance 0.

    Returns
    -------
    float
        The ratio of the roots of the mean squared distances. NaN if no pixel is there.
    """
    windows = _spread_windows(pixels.shape)
    tally = tally_pixels([pixels.crop(window) for window in windows], centers, space, splits=splits)
    n_pixels = int(tally.counts.sum())
    if not n_pixels:
        return float("nan")
    mean_square = max(mean_square, (_middle_distance(centers) / 8) ** 2)
    if mean_square == 0:
        return 1.0 if tally.cost == 0 else float("inf")
    return float(np.sqrt(tally.cost / n_pixels / mean_square))


def describe_far_colors(ratio: float, name: str = "image") -> str | None:
    """Return a sentence about an image whose colors are far from the classes, None if not."""
    if not ratio >= FAR:
        return None
    return (
        f"the colors of {name} are {ratio:.1f} times as far from the classes as those of the "
        "images that the model was fitted to: look at its labels, and compare how it was stained, "
        "exposed and stored."
    )


def _spread_windows(shape: tuple[int, ...]) -> list[Block]:
    """Return windows that are spread over an image, or all of a small image."""
    if prod(shape) <= _MAX_PIXELS:
        return [tuple(slice(0, length) for length in shape)]
    sides = [*[1] * (len(shape) - 2), _WINDOW_SIDE, _WINDOW_SIDE][-len(shape) :]
    slices = []
    for length, side in zip(shape, sides, strict=True):
        n_windows = min(_WINDOWS_PER_AXIS, -(-length // side))
        places = (np.arange(n_windows) + 0.5) / n_windows * length - side / 2
        starts = np.clip(places, 0, max(length - side, 0)).astype(int).tolist()
        slices.append([slice(start, min(start + side, length)) for start in starts])
    return [block for block in product(*slices) if block_size(block)]


def _middle_distance(centers: Floats) -> float:
    """Return the median distance of centers (K, F) from the nearest other center; 0 for one."""
    if len(centers) < 2:
        return 0.0
    squares = ((centers[:, None] - centers) ** 2).sum(axis=2)
    np.fill_diagonal(squares, np.inf)
    return float(np.sqrt(np.median(squares.min(axis=1))))
