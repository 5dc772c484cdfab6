"""Convert values of any dtype to whole numbers in the same order, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

_LOWEST_BITS = {2: 1050, 4: 925, 8: 0}
"""The lowest bit of a float of a number of bytes, above that of float64: 2^-1074."""

_LARGEST_EXPONENTS = {2: 1038, 4: 1150, 8: 2046}
"""The exponent, in the bits of float64, of the largest float of a number of bytes."""


class ValueKind(NamedTuple):
    """How the values of a dtype are counted and summed.

    Attributes
    ----------
    is_float : bool
    width : int
        The number of bits of a key: a whole number in the order of the values.
    offset : int
        For integers, the value of the key 0.
    lowest : int
        For floats, all values are multiples of 2^(lowest - 1074).
    n_limbs : (int, int)
        The number of limbs of a sum, and of a sum of squares.
    """

    is_float: bool
    width: int
    offset: int
    lowest: int
    n_limbs: tuple[int, int]

    @classmethod
    def of(cls, dtype: DTypeLike) -> ValueKind:
        """Return the kind of a boolean, integer or floating point dtype.

        Floats of more than 64 bits are rounded to float64.
        """
        dtype = np.dtype(dtype)
        if dtype.kind == "f":
            size = min(dtype.itemsize, 8)
            lowest = _LOWEST_BITS[size]
            position = max(_LARGEST_EXPONENTS[size] - 1 - lowest, 0)
            n_limbs = _count_limbs(position), _count_limbs(2 * position + 64)
            return cls(True, 64 if size == 8 else 32, 0, lowest, n_limbs)
        width = 1 if dtype.kind == "b" else 8 * dtype.itemsize
        offset = -(2 ** (width - 1)) if dtype.kind == "i" else 0
        return cls(False, width, offset, 0, (_count_limbs(0), _count_limbs(64)))

    @property
    def is_small(self) -> bool:
        """Whether values are integers of up to 16 bits."""
        return not self.is_float and self.width <= 16

    @property
    def key_dtype(self) -> np.dtype[Any]:
        """The dtype of keys: unsigned integers of 32 or 64 bits."""
        return np.dtype(np.uint32 if self.width <= 32 else np.uint64)

    def patterns(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values (n,) as uint16 keys if they are small, or as uint64 patterns.

        The pattern of an integer is its key, and that of a float the bits of its float64.
        """
        if self.is_float:
            return np.ascontiguousarray(values, np.float64).view(np.uint64)
        dtype = np.uint16 if self.is_small else np.uint64
        # The conversion of negative numbers wraps around, and so does the difference.
        keys: NDArray[Any] = np.ascontiguousarray(values).astype(dtype)
        if self.offset:
            keys = keys - dtype(self.offset % 2 ** (8 * keys.itemsize))
        return keys

    def keys(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values (n,) as keys: whole numbers in the order of the values.

        The keys of NaN and of infinities are larger or smaller than all others.
        """
        if not self.is_float:
            return self.patterns(values).astype(self.key_dtype, copy=False)
        size = self.key_dtype.itemsize
        # The sum turns -0 into 0.
        bits = (values.astype(f"f{size}", copy=False) + np.zeros((), f"f{size}")).view(f"i{size}")
        # All bits of a negative number are inverted, and the sign of all others.
        inverted = (bits >> (8 * size - 1)).view(self.key_dtype)
        inverted |= self.key_dtype.type(2 ** (8 * size - 1))
        inverted ^= bits.view(self.key_dtype)
        return inverted

    def middles(self, first: NDArray[Any], second: NDArray[Any]) -> list[float]:
        """Return the means of the values of two arrays of keys (n,)."""
        if not self.is_float:
            pairs = zip(first.tolist(), second.tolist(), strict=True)
            return [(a + b + 2 * self.offset) / 2 for a, b in pairs]
        a, b = self._floats(first), self._floats(second)
        with np.errstate(over="ignore", invalid="ignore"):
            middles = (a + b) / 2
            halves = a / 2 + b / 2
        return np.where(np.isfinite(middles), middles, halves).tolist()  # type: ignore[no-any-return]

    def _floats(self, keys: NDArray[Any]) -> NDArray[np.float64]:
        bits = keys.astype(self.key_dtype)
        sign = self.key_dtype.type(2 ** (8 * bits.itemsize - 1))
        patterns = np.where(bits & sign, bits ^ sign, ~bits)
        return patterns.view(f"f{bits.itemsize}").astype(np.float64)


def _count_limbs(position: int) -> int:
    """Return the number of limbs for numbers whose lowest bit is up to a position."""
    # Three limbs hold a number, and one holds the carry.
    return (position >> 5) + 4
