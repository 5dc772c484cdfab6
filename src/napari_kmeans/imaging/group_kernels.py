"""Compiled loops that add the values of pixels to the sums and histograms of their groups.

The sums are exact: a sum is a row of limbs of 32 bits, and the sum of limb k counts 2^(32 k).
So the order of the pixels does not matter. A value adds less than 2^34 to a limb; carry the
limbs before they overflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.compiling import compile_kernel, inner_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

# numba converts int64 and uint64 in one expression to float64: all constants of bits are uint64.
_LOW = np.uint64(2**32 - 1)
_HALF = np.uint64(32)
_ONE = np.uint64(1)
_FRACTION_BITS = np.uint64(52)
_FRACTION = np.uint64(2**52 - 1)
_HIDDEN = np.uint64(2**52)
_EXPONENT = np.uint64(0x7FF)
_SIGN = np.uint64(2**63)


@compile_kernel
def add_small(
    groups: NDArray[Any],
    keys: NDArray[Any],
    shift: int,
    counts: NDArray[Any],
    sums: NDArray[Any],
    squares: NDArray[Any],
    histogram: NDArray[Any],
) -> None:
    """Add integers of up to 16 bits to the sums and the histograms of their groups.

    Parameters
    ----------
    groups : (n,) int32 array
        The group of each value. Negative for a value that does not count.
    keys : (n,) uint16 array
    shift : int
        The number of low bits of a key that its bin does not have.
    counts : (G,) int64 array
    sums, squares : (G, L) int64 arrays
        The limbs of the sums of the keys and of their squares.
    histogram : (G, B) int64 array
        Without bins (B = 0), no histogram is made.
    """
    n_bins = histogram.shape[1]
    for i in range(groups.shape[0]):
        group = groups[i]
        if group >= 0:
            key = np.int64(keys[i])
            counts[group] += 1
            sums[group, 0] += key
            squares[group, 0] += key * key
            if n_bins:
                histogram[group, key >> shift] += 1


@compile_kernel
def add_wide(
    groups: NDArray[Any],
    patterns: NDArray[Any],
    is_float: bool,
    lowest: int,
    counts: NDArray[Any],
    sums: NDArray[Any],
    squares: NDArray[Any],
) -> None:
    """Add floats or integers of more than 16 bits to the sums of their groups.

    NaN and infinities do not count.

    Parameters
    ----------
    groups : (n,) int32 array
        The group of each value. Negative for a value that does not count.
    patterns : (n,) uint64 array
        Whole numbers, or the bits of float64 numbers.
    is_float : bool
    lowest : int
        For floats, sums are in units of 2^(lowest - 1074).
    counts, sums, squares
        See `add_small`.
    """
    for i in range(groups.shape[0]):
        group = groups[i]
        if group < 0:
            continue
        magnitude, position, sign = patterns[i], np.int64(0), np.int64(1)
        if is_float:
            pattern = patterns[i]
            exponent = np.int64((pattern >> _FRACTION_BITS) & _EXPONENT)
            if exponent == 2047:
                continue
            magnitude = pattern & _FRACTION
            if exponent > 0:
                magnitude |= _HIDDEN
                position = exponent - 1 - lowest
            else:
                position = -np.int64(lowest)
            if pattern & _SIGN:
                sign = np.int64(-1)
            if magnitude == 0:
                position = np.int64(0)
            elif position < 0:
                # These bits are 0: no value has bits below the lowest.
                magnitude >>= np.uint64(-position)
                position = np.int64(0)
        counts[group] += 1
        _add_limbs(sums, group, magnitude, position, sign)
        high, low = magnitude >> _HALF, magnitude & _LOW
        _add_limbs(squares, group, low * low, 2 * position, np.int64(1))
        if high:
            _add_limbs(squares, group, high * low, 2 * position + 33, np.int64(1))
            _add_limbs(squares, group, high * high, 2 * position + 64, np.int64(1))


@compile_kernel
def refine_histograms(
    groups: NDArray[Any],
    keys: NDArray[Any],
    prefixes: NDArray[Any],
    bits: int,
    shift: int,
    histograms: NDArray[Any],
) -> None:
    """Count the next bits of the keys that begin with one of the two prefixes of their group.

    Parameters
    ----------
    groups : (n,) int32 array
        The group of each value. Negative for a value that does not count.
    keys : (n,) uint64 array
    prefixes : (2, G) uint64 array
    bits, shift : int
        The number of bits that are counted, and of the bits below them.
    histograms : (2, G, 2^bits) int64 array
        If both prefixes of a group are the same, only the first histogram is filled.
    """
    mask = (_ONE << np.uint64(bits)) - _ONE
    for i in range(groups.shape[0]):
        group = groups[i]
        if group < 0:
            continue
        known = keys[i] >> np.uint64(shift)
        prefix, column = known >> np.uint64(bits), np.int64(known & mask)
        if prefix == prefixes[0, group]:
            histograms[0, group, column] += 1
        elif prefix == prefixes[1, group]:
            histograms[1, group, column] += 1


@compile_kernel
def sort_by_group(
    groups: NDArray[Any], keys: NDArray[Any], places: NDArray[Any], ordered: NDArray[Any]
) -> None:
    """Write keys in the order of their groups: a counting sort.

    Parameters
    ----------
    groups : (n,) int32 array
    keys : (n,) array of unsigned integers
    places : (G,) int64 array
        The place of the next key of each group. It is moved.
    ordered : (m,) array of the dtype of `keys`
        Output.
    """
    for i in range(groups.shape[0]):
        place = places[groups[i]]
        ordered[place] = keys[i]
        places[groups[i]] = place + 1


@inner_kernel
def _add_limbs(limbs: Any, group: Any, magnitude: Any, position: Any, sign: Any) -> None:
    """Add ``sign * magnitude * 2**position`` to the limbs of a group."""
    limb, shift = position >> 5, np.uint64(position & 31)
    low, high = (magnitude & _LOW) << shift, (magnitude >> _HALF) << shift
    limbs[group, limb] += sign * np.int64(low & _LOW)
    limbs[group, limb + 1] += sign * (np.int64(low >> _HALF) + np.int64(high & _LOW))
    limbs[group, limb + 2] += sign * np.int64(high >> _HALF)
