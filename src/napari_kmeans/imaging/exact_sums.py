"""Exact sums of values and of their squares for each group, which no order of values changes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.imaging.value_kinds import ValueKind
    from napari_kmeans.types import Floats

_LOW = 2**32 - 1


def carry_limbs(limbs: NDArray[np.int64]) -> None:
    """Carry limbs (G, L), so that all but the last are from 0 to 2^32 - 1."""
    for k in range(limbs.shape[1] - 1):
        limbs[:, k + 1] += limbs[:, k] >> 32
        limbs[:, k] &= _LOW


def join_limbs(limbs: NDArray[np.int64]) -> list[int]:
    """Return the whole number of each row of limbs (G, L)."""
    carried = limbs.copy()
    carry_limbs(carried)
    bits = 32 * (limbs.shape[1] - 1)
    low = carried[:, :-1].astype("<u4")
    return [
        int.from_bytes(row.tobytes(), "little") + (top << bits)
        for row, top in zip(low, carried[:, -1].tolist(), strict=True)
    ]


def means_and_stds(
    counts: NDArray[np.int64],
    sums: NDArray[np.int64],
    squares: NDArray[np.int64],
    kind: ValueKind,
) -> Floats:
    """Return the mean and the standard deviation of the values of each group, (2, G).

    The mean is that of exact arithmetic, rounded once. The standard deviation is the root of
    the exact variance, divided by the number of values. NaN for a group without values.

    Parameters
    ----------
    counts : (G,) int64 array
    sums, squares : (G, L) int64 arrays
        The limbs of the sums of keys, or of floats in units of 2^(lowest - 1074).
    kind : ValueKind
    """
    result = np.full((2, len(counts)), np.nan)
    is_small = _are_small(counts, sums, squares, kind)
    small, groups = np.flatnonzero(is_small), np.flatnonzero((counts > 0) & ~is_small)
    n, total, square = counts[small], sums[small, 0], squares[small, 0]
    result[0, small] = (total + n * kind.offset) / n
    result[1, small] = np.sqrt((n * square - total * total) / (n * n))
    scale = 1074 - kind.lowest if kind.is_float else 0
    totals, total_squares = join_limbs(sums[groups]), join_limbs(squares[groups])
    for group, own, own_square in zip(groups.tolist(), totals, total_squares, strict=True):
        n_own = int(counts[group])
        result[0, group] = (own + n_own * kind.offset) / (n_own << scale)
        result[1, group] = _root(n_own * own_square - own * own, n_own << scale)
    return result


def _are_small(
    counts: NDArray[np.int64],
    sums: NDArray[np.int64],
    squares: NDArray[np.int64],
    kind: ValueKind,
) -> NDArray[np.bool_]:
    """Return the groups whose whole numbers float64 can hold: they need no longer numbers."""
    if not kind.is_small:
        return np.zeros(len(counts), np.bool_)
    limit = 2.0**52
    is_first = (sums[:, 1:] == 0).all(axis=1) & (squares[:, 1:] == 0).all(axis=1)
    first = is_first & (counts > 0)
    is_low = counts.astype(float) * squares[:, 0] < limit
    return np.asarray(first & is_low & (counts.astype(float) ** 2 * 2**16 < limit))


def _root(numerator: int, divisor: int) -> float:
    """Return the root of a whole number of at least 0, divided by another number."""
    # Take a power of 4 out of the ratio: float64 can hold the rest.
    power = numerator.bit_length() // 2 - divisor.bit_length()
    denominator = divisor * divisor
    if power > 0:
        denominator <<= 2 * power
    else:
        numerator <<= -2 * power
    return math.ldexp(math.sqrt(numerator / denominator), power)
