"""Whether an image has the units of the colors that it is compared with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.threads import map_threads
from napari_kmeans.imaging.colors import white_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.types import Block

OTHER_UNITS = 16
"""As a rule, images in the same units differ less than so many times in their greatest values."""

_WINDOW = 512
"""Pixels along each axis that are read of a lazy image."""


def describe_other_units(
    pixels: Pixels, palette: NDArray[np.float64], dtype: np.dtype[Any], name: str = "image"
) -> str | None:
    """Return a sentence if an image seems to be in other units than the colors of a model.

    Parameters
    ----------
    pixels : Pixels
        Of a lazy image only a window in the middle is read, and only if
        full brightness has another value in its dtype.
    palette : (K, C) float64 array
        The colors of the model, in channel units.
    dtype : dtype
        Of the image that was fitted.
    name : str
        What the sentence calls the image.

    Returns
    -------
    str or None
    """
    here_dtype = pixels.dtype
    if white_of(here_dtype) == white_of(dtype):
        return None
    here, there = _greatest(pixels), float(palette.max())
    if here <= 0 or there <= 0 or 1 / OTHER_UNITS <= here / there <= OTHER_UNITS:
        return None
    return (
        f"{name} holds {here_dtype} values up to {here:g}, while the model's colors, of {dtype}, "
        f"go up to {there:g}: values are compared as they are, so bring the image to the model's "
        "units first."
    )


def _greatest(pixels: Pixels) -> float:
    """Return the greatest channel value of the pixels that are not left out, 0 without any."""
    if pixels.is_lazy:
        window = _middle(pixels.shape)
        mask = None if pixels.mask is None else np.asarray(pixels.mask[window])
        pixels = replace(pixels, array=np.asarray(pixels.array[window]), mask=mask)

    def find(block: Block) -> float:
        values = pixels.read_kept(block)
        return float(values.max()) if values.size else 0.0

    return max(map_threads(find, pixels.blocks()))


def _middle(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return a window of the plane in the middle of all axes before the last two."""
    sizes = [*[1] * (len(shape) - 2), _WINDOW, _WINDOW][-len(shape) :]
    starts = [max(full - size, 0) // 2 for full, size in zip(shape, sizes, strict=True)]
    return tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
