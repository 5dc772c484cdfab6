"""Features of a pixel that depend on the pixels around it, or on its place in the image."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.feature_space import kernels

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

_INTEGER_TOLERANCE = 7e-7
"""The relative difference below which a mean of integers, summed in float32, is an integer.

Without it, the pixels of one color would have several points near the border of the image and
near pixels that are left out. Rounding errors of constants are below 5e-7 for all radii.
"""


def blur_radii(sigmas: tuple[float, ...]) -> tuple[int, ...]:
    """Return for each axis the distance up to which pixels contribute."""
    return tuple(int(_TRUNCATE * sigma + 0.5) for sigma in sigmas)


def find_reach(sigmas: tuple[float, ...], has_texture: bool) -> tuple[int, ...]:
    """Return for each axis the distance up to which pixels contribute to a point.

    The local contrast needs the neighbors of the pixels that the blur needs.
    """
    return tuple(
        radius + (has_texture and sigma > 0)
        for radius, sigma in zip(blur_radii(sigmas), sigmas, strict=True)
    )


def find_grid_steps(sigmas: tuple[float, ...]) -> tuple[int, ...]:
    """Return for each axis a distance at which pixels of a blurred image represent all pixels.

    A Gaussian is 2.35 standard deviations wide at half of its height: at a distance of 2
    standard deviations, no structure falls between two pixels. The contrast of a pattern with
    this period is reduced to exp(-pi² / 2) = 0.7 %, so that the grid cannot follow a pattern.
    """
    return tuple(max(1, int(2 * sigma)) for sigma in sigmas)


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


def write_places(
    target: NDArray[Any],
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    pixels: tuple[slice, ...],
) -> None:
    """Write the places of pixels in their image, where its longest axis of space has length 1.

    Parameters
    ----------
    target : (n, P) array
        A column for each of the P axes of space. The places are those of the middles of the
        pixels: 0 and 1 are the outer edges along the longest axis. A pixel of a coarser level,
        which stands for several pixels, has their mean place.
    shape : tuple of int
        The spatial shape of the image.
    spacing : tuple of float
        The distance of neighboring pixels along each axis; 0 for an axis that is not of space.
    pixels : tuple of slice
        The n pixels in the image. A slice may have a step.
    """
    lengths = [size * distance for size, distance in zip(shape, spacing, strict=True)]
    grid = [np.arange(size)[side] for side, size in zip(pixels, shape, strict=True)]
    places = target.reshape(*map(len, grid), target.shape[1])
    columns = np.moveaxis(places, -1, 0)
    axes = [axis for axis, distance in enumerate(spacing) if distance]
    for column, axis in zip(columns, axes, strict=True):
        # The spacing of a coarser level is a rounded product: without its last digits, a model
        # that was converted to this level gives exactly the labels of the fit.
        relative = float(f"{lengths[axis] / max(lengths):.9g}")
        along = relative * (grid[axis] + 0.5) / shape[axis]
        column[...] = along.reshape([-1 if own == axis else 1 for own in range(len(shape))])


def compare_window(
    values: NDArray[Any],
    kept: NDArray[np.bool_] | None,
    sigmas: tuple[float, ...],
    margins: tuple[tuple[int, int], ...],
    grid: tuple[range, ...],
) -> NDArray[Any]:
    """Return the blurred values and the local contrasts of pixels in the middle of a window.

    The parameters are those of `blur_window`. A margin that is less than the reach of the
    texture, see `find_reach`, ends at the border of the image.

    Returns
    -------
    (n, 2 C) float32 or float64 array
        The blurred values and after them the contrasts of the n pixels of the grid, with the
        properties of `blur_window`. A contrast is the root of the blurred energy of the
        differences; see `_find_energies`.
    """
    energies = _find_energies(values, kept, [axis for axis, s in enumerate(sigmas) if s > 0])
    # The outermost pixels were needed for the differences only.
    radii = blur_radii(sigmas)
    inner = tuple(
        slice(max(before - radius, 0), length - max(after - radius, 0))
        for (before, after), radius, length in zip(margins, radii, values.shape, strict=False)
    )
    margins = tuple(
        (min(before, radius), min(after, radius))
        for (before, after), radius in zip(margins, radii, strict=True)
    )
    values, kept = values[inner], None if kept is None else kept[inner]
    blurred = blur_window(values, kept, sigmas, margins, grid)
    contrasts = np.sqrt(blur_window(energies[inner], kept, sigmas, margins, grid))
    return np.concatenate([blurred, contrasts.astype(blurred.dtype)], axis=1)


def _find_energies(
    values: NDArray[Any], kept: NDArray[np.bool_] | None, axes: list[int]
) -> NDArray[Any]:
    """Return half the mean squared difference of each pixel from its direct neighbors.

    The mean of white noise is its variance. Differences are exact where a difference of local
    means of squares would lose the digits of a low contrast on a bright background.

    Parameters
    ----------
    values : (..., C) array
    kept : (...) bool array or None
        Pixels that are left out are no neighbors.
    axes : list of int
        The axes along which pixels are neighbors.

    Returns
    -------
    (..., C) float32 or float64 array
        float32 for integers of up to 16 bits. 0 for a pixel without neighbors.
    """
    is_small = values.dtype.kind in "bui" and values.dtype.itemsize <= 2
    dtype = np.dtype(np.float32 if is_small else np.float64)
    if kept is not None:
        values = np.where(kept[..., None], values, values.dtype.type(0))
    values = values.astype(dtype, copy=False)
    energies, counts = np.zeros_like(values), np.zeros((*values.shape[:-1], 1), dtype)
    for axis in axes:
        before = (*[slice(None)] * axis, slice(None, -1))
        after = (*[slice(None)] * axis, slice(1, None))
        squares = values[after] - values[before]
        squares *= squares
        pairs: Any = 1
        if kept is not None:
            pairs = (kept[after] & kept[before])[..., None]
            squares *= pairs
        energies[before] += squares
        energies[after] += squares
        counts[before] += pairs
        counts[after] += pairs
    energies /= 2 * np.maximum(counts, 1)
    return energies


def compared_dtype(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    """Return the dtype of the blurred values of an image: float32 if it represents the image."""
    return np.float32 if np.can_cast(dtype, np.float32) else np.float64


def blur_window(
    values: NDArray[Any],
    kept: NDArray[np.bool_] | None,
    sigmas: tuple[float, ...],
    margins: tuple[tuple[int, int], ...],
    grid: tuple[range, ...],
) -> NDArray[Any]:
    """Return pixels in the middle of a window, blurred by a Gaussian.

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
    grid : tuple of range
        For each axis, the indices in the middle of the pixels to blur.

    Returns
    -------
    (n, C) float32 or float64 array
        The normalized convolution [1]_ of the n pixels of the grid: pixels that are left
        out, and places beyond the border, do not contribute. float32 if it represents the
        values exactly. The value of a pixel does not depend on the place of the window.
        That of a pixel that is left out is without meaning.

    References
    ----------
    .. [1] H. Knutsson, C.-F. Westin, "Normalized and differential convolution",
       :doi:`10.1109/CVPR.1993.341081`.
    """
    # Filter at least two axes.
    for _ in range(2 - len(sigmas)):
        values, kept = values[None], None if kept is None else kept[None]
        sigmas, margins, grid = (0.0, *sigmas), ((0, 0), *margins), (range(1), *grid)
    axes = [
        _Axis.of(sigma, length, margin, places)
        for sigma, length, margin, places in zip(sigmas, values.shape, margins, grid, strict=False)
    ]
    # The sums of small integers need no float64, which takes twice the time.
    is_small = values.dtype.kind in "bui" and values.dtype.itemsize <= 2
    dtype = np.dtype(np.float32 if is_small else np.float64)
    tolerance = _INTEGER_TOLERANCE if is_small else 0.0
    result_dtype = compared_dtype(values.dtype)
    shape, n_channels = tuple(map(len, grid)), values.shape[-1]
    if kept is not None:
        values = np.where(kept[..., None], values, values.dtype.type(0))
    if values.dtype not in (np.uint8, np.float32):
        values = values.astype(dtype, copy=False)
    blurred = np.empty((*shape, n_channels), result_dtype if kept is None else dtype)
    if kept is None:
        _filter_axes(values, axes, 1.0, tolerance, dtype, blurred)
    else:
        _filter_axes(values, axes, 1.0, 0.0, dtype, blurred)
        shares = np.empty((*shape, 1))
        ones = kept[..., None].astype(np.float64)
        _filter_axes(ones, axes, 1.0, 0.0, shares.dtype, shares)
        flat = blurred.reshape(-1, n_channels)
        kernels.divide_by_shares(flat, shares.reshape(-1), dtype.type(tolerance))
    blurred = blurred.reshape(-1, n_channels).astype(result_dtype, copy=False)
    if blurred.dtype == np.float32:
        return blurred
    scaled = blurred * _ROUNDING
    return np.asarray(scaled - (scaled - blurred))


class _Axis(NamedTuple):
    """How to filter along an axis of a window.

    Attributes
    ----------
    taps : (radius + 1,) float64 array
        The weights of pixels at the distances 0, 1, … up to the radius.
    pad : (int, int)
        The number of zeros to put before and after the values.
    factors : (n,) float64 array
        For each place in the middle, one over the sum of the weights that are inside the image.
    grid : range
        The places in the middle to blur.
    """

    taps: Floats
    pad: tuple[int, int]
    factors: Floats
    grid: range

    @classmethod
    def of(cls, sigma: float, length: int, margin: tuple[int, int], grid: range) -> _Axis:
        """Return the filter along an axis of a length, with margins around its middle."""
        (radius,) = blur_radii((sigma,))
        taps = np.exp(-0.5 * (np.arange(radius + 1) / (sigma or 1.0)) ** 2)
        taps /= 2 * taps.sum() - 1
        pad = radius - margin[0], radius - margin[1]
        sums = np.empty(length - sum(margin))
        kernels.sum_neighbors(np.pad(np.ones(length), pad), radius, 1, taps, sums)
        return cls(taps, pad, 1 / sums, grid)


def _filter_axes(
    values: NDArray[Any],
    axes: list[_Axis],
    factor: float,
    tolerance: float,
    dtype: np.dtype[Any],
    blurred: NDArray[Any],
) -> None:
    """Write to `blurred` the weighted means over the neighbors along all axes.

    Parameters
    ----------
    values : (..., C) array
    axes : list of _Axis
        At least two.
    factor : float
        A factor of all means.
    tolerance : float
        See `kernels.blur_rows`.
    dtype : dtype
        The dtype of the sums.
    blurred : (..., C) array
        Its shape is that of the grids of all axes.
    """
    first, *others = axes
    taps, factors = first.taps.astype(dtype), factor * first.factors[first.grid]
    # One axis is padded at a time: padded along all axes, an image that is smaller than the
    # radius would take many times its memory.
    padded = _pad(values, first.pad)
    if len(others) > 1:
        flat, stride = padded.reshape(-1), prod(padded.shape[1:])
        sums = np.empty(padded.shape[1:], dtype)
        for place, own_factor, target in zip(first.grid, factors.tolist(), blurred, strict=True):
            middle = (place + len(taps) - 1) * stride
            kernels.sum_neighbors(flat, middle, stride, taps, sums.reshape(-1))
            _filter_axes(sums, others, own_factor, tolerance, dtype, target)
        return
    (columns,) = others
    n_channels, n_columns = values.shape[-1], len(columns.factors)
    all_columns = blurred
    if blurred.shape[1] < n_columns:
        all_columns = np.empty((len(blurred), n_columns, n_channels), blurred.dtype)
    kernels.blur_rows(
        padded[first.grid.start :].reshape(-1, values.shape[1] * n_channels),
        first.grid.step,
        taps,
        n_channels,
        columns.pad[0] * n_channels,
        columns.taps.astype(dtype),
        factors.astype(dtype),
        np.repeat(columns.factors, n_channels).astype(dtype),
        dtype.type(tolerance),
        all_columns.reshape(len(blurred), n_columns * n_channels),
    )
    if all_columns is not blurred:
        grid = columns.grid
        blurred[...] = all_columns[:, grid.start : grid.stop : grid.step]


def _pad(values: NDArray[Any], pad: tuple[int, int]) -> NDArray[Any]:
    """Return values with zeros before and after them along the first axis, C-contiguous."""
    if not any(pad):
        return np.ascontiguousarray(values)
    padded = np.zeros((len(values) + sum(pad), *values.shape[1:]), values.dtype)
    padded[pad[0] : pad[0] + len(values)] = values
    return padded
