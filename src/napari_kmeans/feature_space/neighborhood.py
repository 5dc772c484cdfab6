"""Features of a pixel that depend on the pixels around it: Gaussian blur."""

from __future__ import annotations

from functools import reduce
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.feature_space import kernels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

_TRUNCATE = 4.0
"""The radius of the Gaussian in standard deviations, the default of scipy."""

_ROUNDING = 2.0**13 + 1
"""The factor that rounds float64 to 40 significant bits, by the splitting of Dekker.

The ratio of two sums has an error in its last digits. Without rounding, the pixels of one
color would have several points. 40 bits represent all integers up to 2^40 exactly.
"""

_EQUAL_WEIGHTS = 1e-12
"""The relative difference below which two sums of weights count as equal.

Rounding errors are below 1e-13 for the largest radius.
"""

_VALUES_AT_ONCE = 2**16
"""Sums along one axis that are computed before the next axis: they stay in the cache."""


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


def blur_window(
    values: NDArray[Any],
    kept: NDArray[np.bool_] | None,
    sigmas: tuple[float, ...],
    margins: tuple[tuple[int, int], ...],
) -> NDArray[Any]:
    """Return the pixels in the middle of a window, blurred by a Gaussian.

    Parameters
    ----------
    values : (..., C) array
    kept : (...) bool array or None
        False where a pixel is left out. None if no pixel is left out.
    sigmas : tuple of float
        The standard deviation along each spatial axis, in pixels.
    margins : tuple of (int, int)
        For each axis, the number of pixels before and after the middle. A margin
        that is less than the radius of the blur ends at the border of the image.

    Returns
    -------
    (n, C) float32 or float64 array
        The normalized convolution [1]_ of the n pixels in the middle: pixels that are left
        out, and places beyond the border, do not contribute. float32 if it represents the
        values exactly. The value of a pixel does not depend on the place of the window.
        That of a pixel that is left out is without meaning.

    References
    ----------
    .. [1] H. Knutsson, C.-F. Westin, "Normalized and differential convolution",
       :doi:`10.1109/CVPR.1993.341081`.
    """
    if not sigmas:
        # An image of a single pixel, without axes.
        values, sigmas, margins = values[None], (0.0,), ((0, 0),)
        kept = None if kept is None else kept[None]
    all_taps = [_gaussian_taps(sigma) for sigma in sigmas]
    dtype = np.dtype(np.float32 if np.can_cast(values.dtype, np.float32) else np.float64)
    pads = [
        (len(taps) - 1 - before, len(taps) - 1 - after)
        for taps, (before, after) in zip(all_taps, margins, strict=True)
    ]
    shape = tuple(
        length - before - after
        for length, (before, after) in zip(values.shape, margins, strict=False)
    )
    factors = [
        _border_factors(length, pad, taps)
        for length, pad, taps in zip(values.shape, pads, all_taps, strict=False)
    ]
    means = np.empty((*shape, values.shape[-1]), dtype)
    all_weights = None
    if kept is not None:
        all_weights = np.empty((*shape, 1))
        ones = kept[..., None].astype(dtype)
        for index, weights in _filter_axes(ones, pads, all_taps):
            all_weights[index] = weights
        values = np.where(kept[..., None], values, 0)
    for index, sums in _filter_axes(values.astype(dtype, copy=False), pads, all_taps):
        _divide_sums(
            sums,
            [factor[place] for factor, place in zip(factors, index, strict=True)],
            None if all_weights is None else all_weights[index],
            means[index],
        )
    means = means.reshape(-1, values.shape[-1])
    if dtype == np.float32:
        return means
    scaled = means * _ROUNDING
    return np.asarray(scaled - (scaled - means))


def _divide_sums(
    sums: Floats, factors: list[Floats], weights: Floats | None, means: NDArray[Any]
) -> None:
    """Write weighted sums (..., C) divided by the sums of their weights to `means`.

    Parameters
    ----------
    sums : (..., C) float64 array
    factors : list of float64 arrays
        For each axis, one over the sum of the weights that are inside the image. The
        first axes may be missing in `sums`, whose factors are single numbers.
    weights : (..., 1) float64 array or None
        The sums of the weights of pixels that are not left out, if some are.
    means : (..., C) array
    """
    *others, last = factors
    row_factors = reduce(np.multiply.outer, others, np.ones(())).reshape(-1)
    n_rows, n_channels = len(row_factors), sums.shape[-1]
    columns = np.repeat(last, n_channels)
    kernels.scale_rows(sums.reshape(n_rows, -1), row_factors, columns, means.reshape(n_rows, -1))
    if weights is not None:
        # Where no pixel of the window is left out, the mean must be the same as in a block
        # where no pixel is left out, down to the last bit.
        product = np.multiply.outer(row_factors, last).reshape(weights.shape)
        differs = (np.abs(weights * product - 1) > _EQUAL_WEIGHTS) & (weights > 0)
        np.divide(sums, weights, out=means, where=differs, casting="same_kind")


def _gaussian_taps(sigma: float) -> Floats:
    """Return the weights of pixels at the distances 0, 1, … up to the radius."""
    (radius,) = blur_radii((sigma,))
    taps = np.exp(-0.5 * (np.arange(radius + 1) / (sigma or 1.0)) ** 2)
    return np.asarray(taps / (2 * taps.sum() - 1))


def _filter_axes(
    values: NDArray[Any], pads: list[tuple[int, int]], all_taps: list[Floats]
) -> Iterator[tuple[Any, Floats]]:
    """Yield parts of the weighted sums over the neighbors along all axes of values (..., C).

    Parameters
    ----------
    values : (..., C) float32 or float64 array
    pads : list of (int, int)
        For each axis, the number of zeros to put before and after the values.
    all_taps : list of float64 arrays
        See `filter_rows`, for each axis.

    Yields
    ------
    index : tuple
        The place of a part in the array of all sums.
    sums : (..., C) float64 array
        The part.
    """
    pad, *other_pads = pads
    taps, *others = all_taps
    # One axis is padded at a time: padded along all axes, an image that is smaller than the
    # radius would take many times its memory.
    padded = _pad(values, 0, pad)
    radius, stride = len(taps) - 1, prod(padded.shape[1:])
    n_sums = len(padded) - 2 * radius
    n_rows = max(1, _VALUES_AT_ONCE // stride)
    for start in range(0, n_sums, n_rows):
        place = slice(start, min(start + n_rows, n_sums))
        sums = np.empty((place.stop - start, *padded.shape[1:]))
        rows = padded[start : place.stop + 2 * radius]
        kernels.filter_rows(rows.reshape(1, -1), stride, taps, sums.reshape(1, -1))
        if not others:
            yield (place,), sums
        elif len(others) == 1:
            # A row is shorter than the part: filter all rows in one call.
            rows = _pad(sums, 1, other_pads[0])
            n_rows_now, length, n_channels = rows.shape
            sums = np.empty((n_rows_now, length - 2 * (len(others[0]) - 1), n_channels))
            kernels.filter_rows(
                rows.reshape(n_rows_now, -1), n_channels, others[0], sums.reshape(n_rows_now, -1)
            )
            yield (place, slice(None)), sums
        else:
            for number, row in enumerate(sums, start):
                for index, part in _filter_axes(row, other_pads, others):
                    yield (number, *index), part


def _pad(values: NDArray[Any], axis: int, pad: tuple[int, int]) -> NDArray[Any]:
    """Return values with zeros before and after them along an axis, C-contiguous."""
    if not any(pad):
        return np.ascontiguousarray(values)
    shape = list(values.shape)
    length = shape[axis]
    shape[axis] += sum(pad)
    padded = np.zeros(shape, values.dtype)
    padded[(slice(None),) * axis + (slice(pad[0], pad[0] + length),)] = values
    return padded


def _border_factors(length: int, pad: tuple[int, int], taps: Floats) -> Floats:
    """Return one over the sum of the weights inside the image, for each place along an axis."""
    inside = np.pad(np.ones((1, length)), ((0, 0), pad))
    sums = np.empty((1, inside.size - 2 * (len(taps) - 1)))
    kernels.filter_rows(inside, 1, taps, sums)
    return np.asarray(1 / sums[0])
