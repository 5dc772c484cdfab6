"""What the channels of images are scaled by, so that each counts alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_kmeans.imaging.chunks import map_reduce
from napari_kmeans.imaging.colors import ColorSpace
from napari_kmeans.imaging.streaming import find_moments
from napari_kmeans.parameters import LARGEST
from napari_kmeans.progress import Step, ignore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.chunks import Batch

Floats: TypeAlias = NDArray[np.float64]

PERCENTILES = (1.0, 99.0)
"""What `percentile` takes for the dark and the bright end of a channel."""

_SAMPLE = 2**17
"""Pixels drawn, about, to tell percentiles where values cannot be counted."""


def scales_of_colors(
    colors: NDArray[Any], weights: Floats, normalize: str
) -> tuple[Floats, Floats]:
    """Return the offset (C,) and the scale (C,) of the channels of weighted colours (n, C).

    Parameters
    ----------
    colors : (n, C) array
        Finite, at least one.
    weights : (n,) float64 array
        Positive.
    normalize : {"zscore", "percentile"}
        "zscore" takes the mean and the standard deviation, "percentile" the
        first percentile and the distance from there to the 99th. The scale
        of a channel that is the same everywhere is 1; so is that of one whose
        values differ by less than 1e-100, which no model could hold.
    """
    values = np.asarray(colors, np.float64)
    if normalize == "percentile":
        low, high = _percentiles(values, weights).T
        return low, _positive(high - low)
    means = np.average(values, axis=0, weights=weights)
    variances = np.average((values - means) ** 2, axis=0, weights=weights)
    return means, _positive(np.sqrt(variances))


def find_scales(
    images: Sequence[Pixels], normalize: str, seed: int, step: Step = ignore
) -> tuple[Floats, Floats]:
    """Return the offset (C,) and the scale (C,) of the channels of images, from one pass.

    As `scales_of_colors`, with the percentiles of some 130,000 pixels drawn at
    random. Pixels that are left out do not count.
    """
    if normalize == "percentile":
        share = _SAMPLE / max(sum(pixels.n_pixels for pixels in images), 1)
        colors = map_reduce(images, _Drawer(min(share, 1.0), seed), np.concatenate, step)
        if not len(colors):
            return np.zeros(images[0].n_channels), np.ones(images[0].n_channels)
        return scales_of_colors(colors, np.ones(len(colors)), normalize)
    moments = find_moments(images, ColorSpace("rgb", 1.0), step)
    deviations = np.sqrt(moments.scatters / max(moments.n_pixels, 1))
    return moments.means, _positive(deviations)


def _positive(scale: Floats) -> Floats:
    return np.where(LARGEST * scale >= 1, scale, 1.0)


def _percentiles(values: Floats, weights: Floats) -> Floats:
    """Return for each channel the least values that so many percent do not exceed, (C, 2)."""
    result = np.empty((values.shape[1], len(PERCENTILES)))
    for channel, column in enumerate(values.T):
        order = np.argsort(column)
        reached = np.cumsum(weights[order])
        wanted = np.array(PERCENTILES) / 100 * reached[-1]
        result[channel] = column[order][np.searchsorted(reached, wanted)]
    return result


@dataclass(frozen=True)
class _Drawer:
    """The leaf that draws a share of the pixels, with replacement."""

    share: float
    seed: int

    def __call__(self, batch: Batch) -> NDArray[Any]:
        rng = np.random.default_rng([self.seed, 4, batch.number])
        return np.concatenate([self._draw(piece.inside, rng) for piece in batch.pieces])

    def _draw(self, values: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        if self.share == 1.0 or not len(values):
            return values
        size = int(np.ceil(self.share * len(values)))
        return values[rng.integers(len(values), size=size)]
