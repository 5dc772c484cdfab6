"""Find images whose colors are far from the classes of a model that was fitted to others."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import find_objects
from scipy.spatial import KDTree

from napari_kmeans.clustering.center_splits import assign_to_centers
from napari_kmeans.imaging.blocks import block_size, whole_block, window_sides
from napari_kmeans.imaging.chunks import map_reduce

if TYPE_CHECKING:
    from napari_kmeans.clustering.center_splits import CenterSplit
    from napari_kmeans.feature_space.space import FeatureSpace
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.chunks import Batch
    from napari_kmeans.types import Block, Floats

FAR = 0.4
"""The share of far pixels from which an image is pointed out.

Models of 3 to 8 classes of an IHC section were applied to other images. The section itself has a
share of 0.02 at most, with a fifth less light or noise of 10 levels up to 0.14, with half or one
and a half times as much of a stain up to 0.31, and in another tint up to 0.65. A fundus, a
photograph and the inverted section have 0.40 to 1.
"""

_MAX_PIXELS = 2**18
_WINDOW_SIDE, _WINDOWS_PER_AXIS = 64, 3
"""In images of more pixels, windows are measured: their side along the last two axes, and the most
windows along each axis."""


def find_far_share(
    pixels: Pixels, centers: Floats, space: FeatureSpace, splits: tuple[CenterSplit, ...]
) -> float:
    """Return the share of the pixels that are far from the centers.

    A pixel is far if it is farther from its center than this center is from the next one.

    Parameters
    ----------
    pixels : Pixels
        Of large images, only windows are read, which are spread over the image.
    centers : (K, F) float64 array
    space : FeatureSpace
    splits : tuple of CenterSplit
        As in `assign_to_centers`.

    Returns
    -------
    float
        From 0 to 1. NaN for a single center, if the windows have no pixel, and if places are
        compared, which are far in a larger image.
    """
    if len(centers) < 2 or space.position:
        return float("nan")
    gaps = KDTree(centers).query(centers, 2)[0][:, 1]
    count = partial(_count_far, centers=centers, gaps=gaps, splits=splits)
    images = [pixels.crop(window) for window in _find_windows(pixels)]
    n_far, n_pixels = map_reduce(images, count, _add, space=space) if images else (0, 0)
    return n_far / n_pixels if n_pixels else float("nan")


def describe_far_colors(share: float, name: str = "image") -> str | None:
    """Return a sentence about an image of which many pixels are far, None if there are few."""
    if not share >= FAR:
        return None
    return (
        f"{100 * share:.0f} % of the pixels of {name} are farther from their class than this "
        "class is from the next one: look at its labels, and compare how it was stained, exposed "
        "and stored."
    )


def _count_far(
    batch: Batch, centers: Floats, gaps: Floats, splits: tuple[CenterSplit, ...]
) -> tuple[int, int]:
    """Return the numbers of far pixels and of all pixels of a batch."""
    n_far = n_pixels = 0
    for piece in batch.pieces:
        labels, squares = assign_to_centers(piece.coordinates, centers, splits)
        n_far += int(np.count_nonzero(np.sqrt(squares) > gaps[labels]))
        n_pixels += len(labels)
    return n_far, n_pixels


def _add(counts: list[tuple[int, int]]) -> tuple[int, int]:
    n_far, n_pixels = zip(*counts, strict=True)
    return sum(n_far), sum(n_pixels)


def _find_windows(pixels: Pixels) -> list[Block]:
    """Return windows that are spread over an image, or over the part inside its mask."""
    inside = whole_block(pixels.shape)
    if isinstance(pixels.mask, np.ndarray):
        if not pixels.mask.any():
            return []
        (inside,) = find_objects(pixels.mask.astype(np.uint8))
    if block_size(inside) <= _MAX_PIXELS:
        return [inside] if block_size(inside) else []
    lengths = [side.stop - side.start for side in inside]
    # At random places: at equal distances, the windows could miss what repeats along an axis.
    rng = np.random.default_rng(0)
    sides, slices = window_sides(len(lengths), _WINDOW_SIDE), []
    for own, length, side in zip(inside, lengths, sides, strict=True):
        n_windows = min(_WINDOWS_PER_AXIS, -(-length // side))
        places = (np.arange(n_windows) + rng.random(n_windows)) / n_windows
        starts = own.start + (places * max(length - side, 0)).astype(int)
        slices.append([slice(start, min(start + side, own.stop)) for start in starts.tolist()])
    return list(product(*slices))
