"""Compiled loops over pixels. Each runs on one thread, without the GIL, on one block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def count_codes(values: NDArray[Any], shifts: NDArray[Any], top: int, counts: NDArray[Any]) -> None:
    """Add the pixels of `values` (n, C), unsigned, to `counts`, by code."""
    for i in range(values.shape[0]):
        code = 0
        for j in range(values.shape[1]):
            code |= int(values[i, j]) << shifts[j]
        counts[code & top] += 1


@njit(cache=True, nogil=True)
def look_up(
    values: NDArray[Any], shifts: NDArray[Any], top: int, table: NDArray[Any], labels: NDArray[Any]
) -> None:
    """Write the entry of `table` for each pixel of `values` (n, C), unsigned, to `labels`."""
    for i in range(values.shape[0]):
        code = 0
        for j in range(values.shape[1]):
            code |= int(values[i, j]) << shifts[j]
        # The image may have changed since its codes were counted: stay inside.
        labels[i] = table[code & top]


@njit(cache=True, nogil=True)
def find_occurrences(entries: NDArray[Any], waits: NDArray[Any], found: NDArray[Any]) -> None:
    """Note in ``found[e - 1]`` where the ``waits[e - 1]``-th pixel of entry e > 0 is.

    `waits` counts down, so that the search can go on in the next block.
    """
    for i in range(entries.shape[0]):
        entry = entries[i]
        if entry > 0:
            waits[entry - 1] -= 1
            if waits[entry - 1] == 0:
                found[entry - 1] = i
