"""What the channels of images are scaled by, so that each counts alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import LARGEST
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.imaging.colors import ColorSpace
from napari_kmeans.imaging.drawing import draw_pixels
from napari_kmeans.imaging.streaming import find_moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.types import Floats


PERCENTILES = (1.0, 99.0)
"""What `percentile` takes for the dark and the bright end of a channel."""

_SAMPLE = 2**17
"""Pixels drawn, about, to tell percentiles where values cannot be counted."""

_DIGITS = 10
"""Digits of a scale that do not depend on the order of sums in float64."""


def scales_of_colors(
    colors: NDArray[Any], weights: Floats, normalize: str
) -> tuple[Floats, Floats]:
    """Return the offset (C,) and the scale (C,) of the channels of weighted colors (n, C).

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
    random. Pixels that are left out do not count. The chunks of the images do not
    change the result.
    """
    plain = ColorSpace("rgb", 1.0)
    if normalize == "percentile":
        drawn = draw_pixels(images, _SAMPLE, 0, plain, [seed, 4], step)
        if not len(drawn.values):
            return np.zeros(images[0].n_channels), np.ones(images[0].n_channels)
        return scales_of_colors(drawn.values, drawn.weights, normalize)
    moments = find_moments(images, plain, step)
    deviations = np.sqrt(moments.scatters / max(moments.n_pixels, 1))
    # The last digits depend on the order in which chunks are summed.
    scale = np.array([float(f"{value:.{_DIGITS}g}") for value in _positive(deviations)])
    unit = np.maximum(np.minimum(scale, np.abs(moments.means)), 1 / LARGEST)
    unit = 10.0 ** np.floor(np.log10(unit))
    return np.round(moments.means / unit, _DIGITS) * unit, scale


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
