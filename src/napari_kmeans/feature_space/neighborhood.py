"""Features of a pixel that depend on the pixels around it: Gaussian blur."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

_TRUNCATE = 4.0
"""The radius of the Gaussian in standard deviations, the default of scipy."""

_ROUNDING = 2.0**13 + 1
"""The factor that rounds float64 to 40 significant bits, by the splitting of Dekker.

The ratio of two sums has an error in its last digits. Without rounding, the pixels of one
color would have several points. 40 bits represent all integers up to 2^40 exactly.
"""


def blur_radii(sigmas: tuple[float, ...]) -> tuple[int, ...]:
    """Return for each axis the distance up to which pixels contribute."""
    return tuple(int(_TRUNCATE * sigma + 0.5) for sigma in sigmas)


def scale_blur(
    blur: float | tuple[float, ...], finest: tuple[int, ...], shape: tuple[int, ...]
) -> float | tuple[float, ...]:
    """Return a blur in pixels of a coarser level.

    Parameters
    ----------
    blur : float or tuple of float
        In pixels of the finest level.
    finest, shape : tuple of int
        The spatial shapes of the finest level and of the other level.
    """
    sigmas = blur if isinstance(blur, tuple) else (blur,) * len(shape)
    if finest == shape or not any(sigmas) or len(sigmas) != len(shape):
        return blur
    return tuple(
        sigma * size / full for sigma, size, full in zip(sigmas, shape, finest, strict=True)
    )


def mark_left_out(values: NDArray[Any], kept: NDArray[np.bool_] | None) -> Floats:
    """Return values (..., C) as float64, with NaN where `kept` (...) is False."""
    marked = values.astype(np.float64)
    if kept is not None:
        marked[~kept] = np.nan
    return marked


def blur_marked(marked: Floats, sigmas: tuple[float, ...]) -> Floats:
    """Blur each channel by a Gaussian, without the pixels that are left out.

    Parameters
    ----------
    marked : (..., C) float64 array
        NaN marks pixels that are left out.
    sigmas : tuple of float
        The standard deviation along each spatial axis, in pixels.

    Returns
    -------
    (..., C) float64 array
        The normalized convolution [1]_: pixels that are left out, and places beyond the
        border, do not contribute. NaN where `marked` is NaN.

    References
    ----------
    .. [1] H. Knutsson, C.-F. Westin, "Normalized and differential convolution",
       :doi:`10.1109/CVPR.1993.341081`.
    """
    from scipy.ndimage import gaussian_filter

    def blur(channel: Floats) -> Floats:
        blurred = gaussian_filter(channel, sigmas, mode="constant", cval=0, truncate=_TRUNCATE)
        return np.asarray(blurred)

    kept = ~np.isnan(marked[..., 0])
    weights = blur(kept.astype(np.float64))
    blurred = np.full(marked.shape, np.nan)
    for channel in range(marked.shape[-1]):
        sums = blur(np.where(kept, marked[..., channel], 0))
        np.divide(sums, weights, out=blurred[..., channel], where=kept)
    scaled = blurred * _ROUNDING
    return np.asarray(scaled - (scaled - blurred))
