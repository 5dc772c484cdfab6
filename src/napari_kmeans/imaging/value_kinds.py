"""Convert values of any dtype to whole numbers in the same order, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

_SIGN = np.uint64(2**63)

_FLOATS = {2: (1050, 42, 22), 4: (925, 29, 35)}
"""For float16 and float32 of a number of bytes: `lowest`, `drop` and `width` of `ValueKind`."""

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
    drop : int
        For floats, the number of low bits of a float64 that are 0.
    n_limbs : (int, int)
        The number of limbs of a sum, and of a sum of squares.
    """

    is_float: bool
    width: int
    offset: int
    lowest: int
    drop: int
    n_limbs: tuple[int, int]

    @classmethod
    def of(cls, dtype: DTypeLike) -> ValueKind:
        """Return the kind of a boolean, integer or floating point dtype.

        Floats of more than 64 bits are rounded to float64.
        """
        dtype = np.dtype(dtype)
        if dtype.kind == "f":
            size = min(dtype.itemsize, 8)
            lowest, drop, width = _FLOATS.get(size, (0, 0, 64))
            position = max(_LARGEST_EXPONENTS[size] - 1 - lowest, 0)
            return cls(True, width, 0, lowest, drop, (_count_limbs(position), _square(position)))
        width = 1 if dtype.kind == "b" else 8 * dtype.itemsize
        offset = -(2 ** (width - 1)) if dtype.kind == "i" else 0
        return cls(False, width, offset, 0, 0, (_count_limbs(0), _square(0)))

    @property
    def is_small(self) -> bool:
        """Whether values are integers of up to 16 bits."""
        return not self.is_float and self.width <= 16

    def patterns(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values (n,) as uint16 keys if they are small, or as uint64 patterns.

        The pattern of an integer is its key, and that of a float the bits of its float64.
        """
        if self.is_float:
            return np.ascontiguousarray(values, np.float64).view(np.uint64)
        if self.is_small:
            keys = np.ascontiguousarray(values).astype(np.uint16)
            # The conversion of negative numbers wraps around.
            return (keys - np.uint16(self.offset % 2**16)) if self.offset else keys
        keys = np.ascontiguousarray(values).astype(np.uint64)
        return (keys - np.uint64(self.offset % 2**64)) if self.offset else keys

    def keys(self, patterns: NDArray[Any]) -> NDArray[np.uint64]:
        """Return patterns (n,) as keys, whole numbers in the order of the values."""
        if not self.is_float:
            return patterns.astype(np.uint64)
        patterns = np.where(patterns == _SIGN, np.uint64(0), patterns)
        keys = np.where(patterns & _SIGN, ~patterns, patterns | _SIGN)
        return keys >> np.uint64(self.drop)

    def are_finite(self, patterns: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which patterns are finite; None if all are."""
        if not self.is_float:
            return None
        finite = np.isfinite(patterns.view(np.float64))
        return None if finite.all() else finite

    def middles(self, first: NDArray[np.uint64], second: NDArray[np.uint64]) -> list[float]:
        """Return the means of the values of two arrays of keys (n,)."""
        if not self.is_float:
            pairs = zip(first.tolist(), second.tolist(), strict=True)
            return [(a + b + 2 * self.offset) / 2 for a, b in pairs]
        a, b = self._floats(first), self._floats(second)
        with np.errstate(over="ignore"):
            middles = (a + b) / 2
        return np.where(np.isfinite(middles), middles, a / 2 + b / 2).tolist()  # type: ignore[no-any-return]

    def _floats(self, keys: NDArray[np.uint64]) -> NDArray[np.float64]:
        shifted = keys << np.uint64(self.drop)
        # The dropped bits of a negative number are 0 before they are inverted.
        ones = np.uint64(2**self.drop - 1)
        patterns = np.where(shifted & _SIGN, shifted ^ _SIGN, ~(shifted | ones))
        return patterns.view(np.float64)


def _count_limbs(position: int) -> int:
    """Return the number of limbs for numbers whose lowest bit is up to a position."""
    # Three limbs hold a number, and one holds the carry.
    return (position >> 5) + 4


def _square(position: int) -> int:
    return _count_limbs(2 * position + 64)
