"""Compiled loops over colors, and over the pixels of a window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.compiling import compile_kernel, inline_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray


_VALUES_AT_ONCE = 3072
"""Sums of a row that `blur_rows` computes at a time. They stay in the fastest cache."""

_EQUAL_SHARES = 1e-12
"""The difference below which a share of weights counts as 1.

Rounding errors are below 1e-13 for the largest radius.
"""


@compile_kernel
def to_cone(values: NDArray[Any], points: NDArray[Any]) -> None:
    """Write (s v cos h, s v sin h, v) of RGB colors (n, 3) to `points` (n, 3), the cone of hsv."""
    third = np.pi / 3
    for i in range(values.shape[0]):
        red, green, blue = values[i, 0], values[i, 1], values[i, 2]
        value = max(red, green, blue)
        chroma = value - min(red, green, blue)
        hue = 0.0
        if chroma > 0:
            if value == red:
                hue = (green - blue) / chroma * third
            elif value == green:
                hue = (2 + (blue - red) / chroma) * third
            else:
                hue = (4 + (red - green) / chroma) * third
        points[i, 0] = chroma * np.cos(hue)
        points[i, 1] = chroma * np.sin(hue)
        points[i, 2] = value


@compile_kernel
def sum_neighbors(
    values: NDArray[Any], middle: int, stride: int, taps: NDArray[Any], sums: NDArray[Any]
) -> None:
    """Write to `sums` (n,) the sums of neighbors in an array, weighted by symmetric taps.

    ``sums[j]`` is the sum of ``values[middle + j + k * stride]`` times ``taps[|k|]`` for k from
    -radius to radius. The order of the additions is the same for every sum, whatever its
    place: from the outermost neighbors to the center, which has the least rounding errors.

    Parameters
    ----------
    values : (m,) array
    middle : int
        The index of the center of the first sum.
    stride : int
        The distance of neighbors.
    taps : (radius + 1,) float32 or float64 array
        The weight of the center, and of both neighbors at each distance.
    sums : (n,) array of the dtype of `taps`
    """
    n, k, real = len(sums), len(taps) - 1, taps.dtype.type
    sums[:] = 0
    while k % 8:
        before = values[middle - k * stride : middle - k * stride + n]
        after = values[middle + k * stride : middle + k * stride + n]
        weight = taps[k]
        for j in range(n):
            sums[j] += weight * (real(before[j]) + real(after[j]))
        k -= 1
    center, weight = values[middle : middle + n], taps[0]
    if len(taps) <= 8:
        for j in range(n):
            sums[j] += weight * real(center[j])
    # Eight distances at a time: the sums are read and written less often.
    while k > 0:
        w8, w7, w6, w5 = taps[k], taps[k - 1], taps[k - 2], taps[k - 3]
        w4, w3, w2, w1 = taps[k - 4], taps[k - 5], taps[k - 6], taps[k - 7]
        w0 = weight if k == 8 else real(0)
        first = middle - k * stride
        a8 = values[first : first + n]
        a7 = values[first + stride : first + stride + n]
        a6 = values[first + 2 * stride : first + 2 * stride + n]
        a5 = values[first + 3 * stride : first + 3 * stride + n]
        a4 = values[first + 4 * stride : first + 4 * stride + n]
        a3 = values[first + 5 * stride : first + 5 * stride + n]
        a2 = values[first + 6 * stride : first + 6 * stride + n]
        a1 = values[first + 7 * stride : first + 7 * stride + n]
        last = middle + k * stride
        b8 = values[last : last + n]
        b7 = values[last - stride : last - stride + n]
        b6 = values[last - 2 * stride : last - 2 * stride + n]
        b5 = values[last - 3 * stride : last - 3 * stride + n]
        b4 = values[last - 4 * stride : last - 4 * stride + n]
        b3 = values[last - 5 * stride : last - 5 * stride + n]
        b2 = values[last - 6 * stride : last - 6 * stride + n]
        b1 = values[last - 7 * stride : last - 7 * stride + n]
        for j in range(n):
            total = sums[j] + w8 * (real(a8[j]) + real(b8[j]))
            total += w7 * (real(a7[j]) + real(b7[j]))
            total += w6 * (real(a6[j]) + real(b6[j]))
            total += w5 * (real(a5[j]) + real(b5[j]))
            total += w4 * (real(a4[j]) + real(b4[j]))
            total += w3 * (real(a3[j]) + real(b3[j]))
            total += w2 * (real(a2[j]) + real(b2[j]))
            total += w1 * (real(a1[j]) + real(b1[j]))
            sums[j] = total + w0 * real(center[j])
        k -= 8


@inline_kernel
def _snap(value: Any, tolerance: Any) -> Any:
    """Return the nearest integer if its relative distance is at most `tolerance`, or the value."""
    integer = np.rint(value)
    return integer if abs(value - integer) <= tolerance * abs(value) else value


@compile_kernel
def blur_rows(
    rows: NDArray[Any],
    step: int,
    row_taps: NDArray[Any],
    stride: int,
    n_before: int,
    column_taps: NDArray[Any],
    row_factors: NDArray[Any],
    column_factors: NDArray[Any],
    tolerance: Any,
    blurred: NDArray[Any],
) -> None:
    """Write the weighted sums over neighboring rows and columns, times factors, to `blurred`.

    Parameters
    ----------
    rows : (N, M) array
        The pixels, with `radius` rows before and after the rows that are blurred.
    step : int
        The distance of the rows that are blurred.
    row_taps : (radius + 1,) float32 or float64 array
        See `sum_neighbors`.
    stride : int
        The distance of neighbors in a row: the number of channels.
    n_before : int
        The number of zeros to imagine before each row. As many as needed are imagined
        after it.
    column_taps : array of the same dtype
    row_factors, column_factors : (n,) and (m,) arrays of the same dtype
        The factors of each row and of each value of a row.
    tolerance : scalar of the same dtype
        A value whose relative distance from an integer is at most this becomes the integer.
    blurred : (n, m) array
    """
    n_values, reach = rows.shape[1], (len(column_taps) - 1) * stride
    values, radius = rows.reshape(-1), len(row_taps) - 1
    # The sums of columns are computed twice where two parts of a row overlap.
    size = max(_VALUES_AT_ONCE, 8 * reach)
    sums = np.empty(size + 2 * reach, row_taps.dtype)
    line = np.empty(size, row_taps.dtype)
    for i in range(blurred.shape[0]):
        factor, first = row_factors[i], (i * step + radius) * n_values
        for start in range(0, blurred.shape[1], size):
            n = min(size, blurred.shape[1] - start)
            place = start - n_before
            left, right = max(place, 0), min(place + n + 2 * reach, n_values)
            sums[: left - place] = 0
            sum_neighbors(
                values, first + left, n_values, row_taps, sums[left - place : right - place]
            )
            sums[right - place : n + 2 * reach] = 0
            sum_neighbors(sums, reach, stride, column_taps, line[:n])
            target, factors = blurred[i, start : start + n], column_factors[start : start + n]
            for j in range(n):
                target[j] = _snap(line[j] * (factor * factors[j]), tolerance)


@compile_kernel
def divide_by_shares(blurred: NDArray[Any], shares: NDArray[Any], tolerance: Any) -> None:
    """Divide the means (n, C) of all pixels by the shares (n,) of the weights that are kept.

    If a pixel has a share of 1, its mean does not change, so that it is the same as in a block
    where no pixel is left out. A share of 0 is that of a pixel far from all kept pixels.

    Parameters
    ----------
    blurred : (n, C) array
        Changed in place.
    shares : (n,) float64 array
    tolerance : scalar of the dtype of `blurred`
        As in `blur_rows`.
    """
    real = blurred.dtype.type
    for i in range(len(shares)):
        share = shares[i] if shares[i] > 0 and abs(shares[i] - 1) > _EQUAL_SHARES else 1.0
        for j in range(blurred.shape[1]):
            blurred[i, j] = _snap(real(blurred[i, j] / share), tolerance)
