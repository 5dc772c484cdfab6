"""Find the exact median of each group in passes over the values, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.imaging.group_kernels import refine_histograms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.imaging.value_kinds import ValueKind

_MOST_BITS = 18
"""The number of bits of a key that one pass finds at most: float32 then takes two passes."""

_BATCH = 2**22
"""The number of bins whose cumulative sum is in memory."""


class MedianSearch:
    """A search for the two middle values of each group, from the high bits of keys to the low.

    Each pass counts the next bits of the keys that begin as the two middle keys do. A search
    whose histograms do not fit the budget finds fewer bits per pass.

    Parameters
    ----------
    kind : ValueKind
    budget : int
        The bytes of the histograms.
    """

    def __init__(self, kind: ValueKind, budget: int) -> None:
        self.kind, self.budget = kind, budget
        self.known = 0
        self.bits = min(kind.width, _MOST_BITS)
        self.histogram = np.zeros((1, 0, 2**self.bits), np.int64)
        self.prefixes: NDArray[np.uint64] | None = None
        self._ranks = np.zeros((2, 0), np.int64)

    @property
    def is_done(self) -> bool:
        """Whether all bits of the middle keys are known."""
        return self.known == self.kind.width

    @property
    def shift(self) -> int:
        """The number of low bits that this pass does not count."""
        return self.kind.width - self.known - self.bits

    def grow(self, n_groups: int) -> None:
        """Make room for groups in the first pass."""
        if n_groups > self.histogram.shape[1]:
            self._coarsen(self._affordable_bits(1, n_groups))
            grown = np.zeros((1, n_groups, 2**self.bits), np.int64)
            grown[:, : self.histogram.shape[1]] = self.histogram
            self.histogram = grown

    def _affordable_bits(self, n_slots: int, n_groups: int) -> int:
        n_bins = max(self.budget // (8 * n_slots * max(n_groups, 1)), 2)
        return min(self.kind.width - self.known, _MOST_BITS, n_bins.bit_length() - 1)

    def _coarsen(self, bits: int) -> None:
        """Join neighboring bins, so that the histograms have the keys of fewer bits."""
        if bits < self.bits:
            self.histogram = _join_bins(self.histogram, bits)
            self.bits = bits

    def refine(self, groups: NDArray[np.int32], keys: NDArray[np.uint64]) -> None:
        """Count the keys (n,) of groups (n,) in a pass after the first."""
        assert self.prefixes is not None
        refine_histograms(groups, keys, self.prefixes, self.bits, self.shift, self.histogram)

    def merge(self, other: MedianSearch, rows: Any) -> None:
        """Add the histograms of another search of this pass; see `ValueSums.merge`."""
        bits = min(self.bits, other.bits)
        self._coarsen(bits)
        added = other.histogram[:, : len(rows)]
        self.histogram[:, rows] += added if other.bits == bits else _join_bins(added, bits)

    def next_pass(self, counts: NDArray[np.int64]) -> None:
        """Find the bits of the middle keys from the histograms, and begin the next pass.

        Parameters
        ----------
        counts : (G,) int64 array
            The number of values of each group.
        """
        if self.prefixes is None:
            self.prefixes = np.zeros((2, len(counts)), np.uint64)
            self._ranks = np.stack([(counts - 1) // 2, counts // 2])
        found = [self._find_bins(slot) for slot in range(2)]
        self.prefixes = np.stack([prefixes for prefixes, _ in found])
        self._ranks = np.stack([ranks for _, ranks in found])
        self.known += self.bits
        n_groups = len(counts)
        self.bits = self._affordable_bits(2, n_groups)
        n_bins = 0 if self.is_done else 2**self.bits
        self.histogram = np.zeros((2, n_groups, n_bins), np.int64)

    def _find_bins(self, slot: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return the longer prefixes (G,) of the lower or upper middle, and their ranks there."""
        assert self.prefixes is not None
        prefixes, ranks = self.prefixes[slot], self._ranks[slot].copy()
        is_shared = self.prefixes[0] == self.prefixes[1]
        n_groups, n_bins = self.histogram.shape[1:]
        bins = np.zeros(n_groups, np.uint64)
        step = max(_BATCH // n_bins, 1)
        for start in range(0, n_groups, step):
            part = slice(start, start + step)
            own = self.histogram[0, part]
            if slot and len(self.histogram) == 2:
                own = np.where(is_shared[part, None], own, self.histogram[1, part])
            ends = own.cumsum(axis=1)
            # The first bin whose end is beyond the rank. A group without values has none.
            column = np.minimum((ends <= ranks[part, None]).sum(axis=1), n_bins - 1)
            rows = np.arange(len(column))
            ranks[part] -= ends[rows, column] - own[rows, column]
            bins[part] = column
        return (prefixes << np.uint64(self.bits)) | bins, ranks

    def fresh(self) -> MedianSearch:
        """Return a search of the same pass that has counted nothing."""
        copy = MedianSearch(self.kind, self.budget)
        copy.known, copy.prefixes, copy._ranks = self.known, self.prefixes, self._ranks
        if self.prefixes is not None:
            copy.bits = self.bits
            copy.histogram = np.zeros_like(self.histogram)
        return copy

    def medians(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the median of each group (G,); NaN for a group without values."""
        if self.prefixes is None or not self.is_done:
            return np.full(len(counts), np.nan)
        medians = np.array(self.kind.middles(*self.prefixes), np.float64)
        return np.where(counts > 0, medians, np.nan)


def _join_bins(histogram: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Return histograms (S, G, B) with 2^bits bins, each the sum of neighboring bins."""
    n_joined = histogram.shape[-1] >> bits
    joined: NDArray[np.int64] = histogram.reshape(*histogram.shape[:-1], 2**bits, n_joined).sum(-1)
    return joined
