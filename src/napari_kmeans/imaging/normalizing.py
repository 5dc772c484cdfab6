"""Find the offset and the scale of each channel, so that all channels have the same weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import LARGEST
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.feature_space.space import PLAIN, FeatureSpace
from napari_kmeans.imaging.drawing import draw_pixels
from napari_kmeans.imaging.streaming import find_moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.types import Floats


PERCENTILES = (1.0, 99.0)
"""The percentiles of a channel that `normalize="percentile"` maps to 0 and to 1."""

_PERCENTILE_PIXELS = 2**17
"""Pixels that are drawn to estimate percentiles.

From this number, the percentiles of normally distributed values are within 2 % of the
distance between them.
"""

_SCALE_DIGITS = 10
"""Digits of offsets and scales that do not depend on the order of sums in float64."""


def scales_of_colors(
    colors: NDArray[Any], weights: Floats, normalize: str
) -> tuple[Floats, Floats]:
    """Return the offset and the scale of each channel of weighted colors.

    Parameters
    ----------
    colors : (n, C) array
        Finite, at least one color.
    weights : (n,) float64 array
        Positive.
    normalize : {"zscore", "percentile"}
        "zscore" takes the mean and the standard deviation. "percentile" takes
        the first percentile, and the distance from there to the 99th percentile.

    Returns
    -------
    offset, scale : (C,) float64 arrays
        In channel units. The scale of a constant channel is 1. So is a scale
        below 1e-100, because no model could store it.
    """
    values = np.asarray(colors, np.float64)
    if normalize == "percentile":
        low, high = _find_percentiles(values, weights).T
        return low, _replace_tiny_scales(high - low)
    means = np.average(values, axis=0, weights=weights)
    variances = np.average((values - means) ** 2, axis=0, weights=weights)
    return means, _replace_tiny_scales(np.sqrt(variances))


def find_scales(
    images: Sequence[Pixels],
    normalize: str,
    seed: int,
    space: FeatureSpace = PLAIN,
    step: Step = ignore,
) -> tuple[Floats, Floats]:
    """Return the offset and the scale of each channel of images, from one pass over the pixels.

    Parameters
    ----------
    images : sequence of Pixels
        Pixels that are left out do not count. The chunks do not change the result.
    normalize : {"zscore", "percentile"}
        See `scales_of_colors`. Percentiles are those of about 130,000 pixels
        that are drawn at random.
    seed : int
        For drawing these pixels.
    space : FeatureSpace
        The space before the scaling: rgb, perhaps blurred.
    step : callable
        Called after each block or batch.

    Returns
    -------
    offset, scale : (C,) float64 arrays
    """
    if normalize == "percentile":
        drawn = draw_pixels(images, _PERCENTILE_PIXELS, 0, space, [seed, 4], step)
        if not len(drawn.values):
            return np.zeros(images[0].n_channels), np.ones(images[0].n_channels)
        return scales_of_colors(drawn.values, drawn.weights, normalize)
    moments = find_moments(images, space, step)
    deviations = np.sqrt(moments.scatters / max(moments.n_pixels, 1))
    # Round: the last digits of sums depend on the order in which chunks are added.
    scale = np.array(
        [float(f"{value:.{_SCALE_DIGITS}g}") for value in _replace_tiny_scales(deviations)]
    )
    # Count the digits of the offset from the first digit of the scale or of the offset,
    # whichever is smaller.
    unit = np.maximum(np.minimum(scale, np.abs(moments.means)), 1 / LARGEST)
    unit = 10.0 ** np.floor(np.log10(unit))
    return np.round(moments.means / unit, _SCALE_DIGITS) * unit, scale


def _replace_tiny_scales(scale: Floats) -> Floats:
    """Replace scales below 1 / `LARGEST` by 1."""
    return np.where(LARGEST * scale >= 1, scale, 1.0)


def _find_percentiles(values: Floats, weights: Floats) -> Floats:
    """Return the weighted percentiles `PERCENTILES` of each channel of values (n, C), (C, 2)."""
    result = np.empty((values.shape[1], len(PERCENTILES)))
    for channel, column in enumerate(values.T):
        order = np.argsort(column)
        cumulative = np.cumsum(weights[order])
        targets = np.array(PERCENTILES) / 100 * cumulative[-1]
        result[channel] = column[order][np.searchsorted(cumulative, targets)]
    return result
