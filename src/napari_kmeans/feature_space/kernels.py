"""Compiled loops over colors, and over the pixels of a window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.compiling import compile_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray


_VALUES_AT_ONCE = 1024
"""Sums that `filter_rows` computes at a time. They stay in the fastest cache."""


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
def filter_rows(
    rows: NDArray[Any], stride: int, taps: NDArray[np.float64], sums: NDArray[np.float64]
) -> None:
    """Write to `sums` (n, m) the sums of neighbors in each row, weighted by symmetric taps.

    ``sums[i, j]`` is the sum of ``rows[i, j + (radius + k) * stride]`` times ``taps[|k|]`` for k
    from -radius to radius. The order of the additions is the same for every sum, whatever its
    place: from the center outwards, and the two neighbors at one distance together.

    Parameters
    ----------
    rows : (n, m + 2 * radius * stride) array
    stride : int
        The distance of neighbors.
    taps : (radius + 1,) float64 array
        The weight of the center, and of both neighbors at each distance.
    sums : (n, m) float64 array
    """
    radius = taps.shape[0] - 1
    for i in range(sums.shape[0]):
        for first in range(0, sums.shape[1], _VALUES_AT_ONCE):
            n = min(_VALUES_AT_ONCE, sums.shape[1] - first)
            row, total = rows[i, first:], sums[i, first : first + n]
            middle = radius * stride
            center = row[middle : middle + n]
            for j in range(n):
                total[j] = taps[0] * np.float64(center[j])
            k = 1
            # Four distances at a time: the sums are read and written less often.
            while k + 3 <= radius:
                w1, w2, w3, w4 = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
                start = middle - k * stride
                a1 = row[start : start + n]
                a2 = row[start - stride : start - stride + n]
                a3 = row[start - 2 * stride : start - 2 * stride + n]
                a4 = row[start - 3 * stride : start - 3 * stride + n]
                start = middle + k * stride
                b1 = row[start : start + n]
                b2 = row[start + stride : start + stride + n]
                b3 = row[start + 2 * stride : start + 2 * stride + n]
                b4 = row[start + 3 * stride : start + 3 * stride + n]
                for j in range(n):
                    total[j] = (
                        total[j]
                        + w1 * (np.float64(a1[j]) + np.float64(b1[j]))
                        + w2 * (np.float64(a2[j]) + np.float64(b2[j]))
                        + w3 * (np.float64(a3[j]) + np.float64(b3[j]))
                        + w4 * (np.float64(a4[j]) + np.float64(b4[j]))
                    )
                k += 4
            while k <= radius:
                before = row[middle - k * stride : middle - k * stride + n]
                after = row[middle + k * stride : middle + k * stride + n]
                for j in range(n):
                    total[j] += taps[k] * (np.float64(before[j]) + np.float64(after[j]))
                k += 1


@compile_kernel
def scale_rows(
    rows: NDArray[np.float64],
    row_factors: NDArray[np.float64],
    column_factors: NDArray[np.float64],
    scaled: NDArray[Any],
) -> None:
    """Write rows (n, m), times a factor for each row and each column, to `scaled` (n, m)."""
    for i in range(rows.shape[0]):
        factor, row, target = row_factors[i], rows[i], scaled[i]
        for j in range(row.shape[0]):
            target[j] = row[j] * (factor * column_factors[j])
