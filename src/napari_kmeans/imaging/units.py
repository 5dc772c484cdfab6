"""Warn if an image seems to have other units than the colors of a model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.threads import map_threads
from napari_kmeans.feature_space.colors import white_of
from napari_kmeans.imaging.blocks import middle_window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.types import Block

OTHER_UNITS = 16
"""The ratio of two maxima above which the units seem to differ.

A darker or brighter image in the same units rarely reaches this ratio. The smallest
usual change of units, from 8-bit values to values from 0 to 1, is a factor of 255.
"""

_WINDOW_SIDE = 512
"""Pixels along each axis of the window that is read from a lazy image."""


def describe_other_units(
    pixels: Pixels, palette: NDArray[np.float64], dtype: np.dtype[Any], name: str = "image"
) -> str | None:
    """Return a warning if an image seems to have other units than the colors of a model.

    Parameters
    ----------
    pixels : Pixels
        They are read only if full brightness has another value in the dtype of
        the image than in `dtype`, or if they are floats in memory. Of a lazy image,
        only a window in the middle is read.
    palette : (K, C) float64 array
        The colors of the model, in channel units.
    dtype : dtype
        The dtype of the image that the model was fitted to.
    name : str
        The name of the image in the warning.

    Returns
    -------
    str or None
        One sentence, or None if the units seem to be the same.
    """
    image_dtype = pixels.dtype
    has_same_white = white_of(image_dtype) == white_of(dtype)
    if has_same_white and (image_dtype.kind != "f" or pixels.is_lazy):
        return None
    image_max, model_max = _find_maximum(pixels), float(palette.max())
    low, high = sorted((image_max, model_max))
    if low <= 0 or high / low <= OTHER_UNITS:
        return None
    # Two images of floats may differ by much, as an empty one from others: only values from 0 to 1
    # beside values of integers are in other units.
    if has_same_white and not low <= 1 < OTHER_UNITS < high:
        return None
    return (
        f"{name} holds {image_dtype} values up to {image_max:g}, while the model's colors, of "
        f"{dtype}, go up to {model_max:g}: values are compared as they are, so bring the image to "
        "the model's units first."
    )


def _find_maximum(pixels: Pixels) -> float:
    """Return the maximum channel value of the pixels that are not left out, or 0 without any.

    Of a lazy image only the middle is searched. The result is at least 0.
    """
    if pixels.is_lazy:
        window = middle_window(pixels.shape, _WINDOW_SIDE)
        mask = None if pixels.mask is None else np.asarray(pixels.mask[window])
        pixels = replace(pixels, array=np.asarray(pixels.array[window]), mask=mask)

    def find(block: Block) -> float:
        values = pixels.read_kept(block)
        return float(values.max()) if values.size else 0.0

    return max(map_threads(find, pixels.blocks()))
