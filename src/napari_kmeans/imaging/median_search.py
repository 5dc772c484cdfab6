"""Find the exact median of each group, in one pass over the values or in several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.threads import map_slices
from napari_kmeans.imaging.group_kernels import refine_histograms, sort_by_group

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.imaging.value_kinds import ValueKind

_MOST_BITS = 16
"""The number of bits of a key that one pass over histograms finds at most."""

_BATCH = 2**22
"""The number of bins whose cumulative sum is in memory."""

_GROUPS_PER_TASK = 256


class MedianSearch:
    """A search for the two middle values of each group.

    Keys of up to 16 bits are counted in a histogram for each group, if these fit the budget.
    Other keys are kept until there are too many: see `n_bytes` and `spill`. Then, histograms
    count their first bits. Each further pass over the values does the same for the keys that
    begin as the two middle keys do.

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
        self._kept: list[tuple[NDArray[np.int32], NDArray[Any]]] = []
        self.is_keeping = kind.width > _MOST_BITS
        self.histogram = np.zeros((1, 0, 2**self.bits), np.int64)
        self.prefixes = np.zeros((2, 0), np.uint64)
        self._ranks = np.zeros((2, 0), np.int64)

    @property
    def is_done(self) -> bool:
        """Whether all bits of the middle keys are known."""
        return self.known == self.kind.width

    @property
    def shift(self) -> int:
        """The number of low bits that this pass does not count."""
        return self.kind.width - self.known - self.bits

    @property
    def n_bytes(self) -> int:
        """The bytes of the keys that are kept."""
        return sum(groups.nbytes + keys.nbytes for groups, keys in self._kept)

    def grow(self, n_groups: int) -> None:
        """Make room for groups in the first pass."""
        n_before = self.histogram.shape[1]
        if self.is_keeping or n_groups <= n_before:
            return
        bits = self._affordable_bits(1, n_groups)
        if bits < self.bits == self.kind.width:
            self._kept, self.is_keeping = self._expand(), True
            self.histogram = self.histogram[:, :0]
            return
        self._coarsen(bits)
        grown = np.zeros((1, n_groups, 2**self.bits), np.int64)
        grown[:, :n_before] = self.histogram
        self.histogram = grown

    def _affordable_bits(self, n_slots: int, n_groups: int) -> int:
        n_bins = max(self.budget // (8 * n_slots * max(n_groups, 1)), 2)
        return min(self.kind.width - self.known, _MOST_BITS, n_bins.bit_length() - 1)

    def _coarsen(self, bits: int) -> None:
        """Join neighboring bins, so that the histograms have the keys of fewer bits."""
        if bits < self.bits:
            self.histogram = _join_bins(self.histogram, bits)
            self.bits = bits

    def _expand(self) -> list[tuple[NDArray[np.int32], NDArray[Any]]]:
        """Return the groups and the keys that complete histograms have counted."""
        groups, keys = np.nonzero(self.histogram[0])
        counts = self.histogram[0, groups, keys]
        if not len(counts):
            return []
        return [
            (
                np.repeat(groups.astype(np.int32), counts),
                np.repeat(keys.astype(self.kind.key_dtype), counts),
            )
        ]

    def add(self, groups: NDArray[np.int32], keys: NDArray[Any]) -> None:
        """Add the keys (n,) of groups (n,); a negative group does not count."""
        if self.is_keeping:
            if len(groups) and groups.min() < 0:
                kept = groups >= 0
                groups, keys = groups[kept], keys[kept]
            if self.known:
                prefixes = keys >> self.kind.key_dtype.type(self.kind.width - self.known)
                first, second = self.prefixes.astype(self.kind.key_dtype)
                kept = (prefixes == first[groups]) | (prefixes == second[groups])
                groups, keys = groups[kept], keys[kept]
        self._keep_or_count(groups, keys)

    def _keep_or_count(self, groups: NDArray[np.int32], keys: NDArray[Any]) -> None:
        if self.is_keeping:
            self._kept.append((groups, keys))
            return
        # In the first pass, all keys have the same prefix.
        n_groups = self.histogram.shape[1]
        prefixes = self.prefixes if self.known else np.zeros((2, n_groups), np.uint64)
        wide = keys.astype(np.uint64, copy=False)
        refine_histograms(groups, wide, prefixes, self.bits, self.shift, self.histogram)

    def spill(self, n_groups: int) -> None:
        """Count the keys that are kept in histograms, and keep no more."""
        n_slots = 1
        if self.known:
            n_slots, n_groups = self.prefixes.shape
        self.is_keeping, self.bits = False, self._affordable_bits(n_slots, n_groups)
        self.histogram = np.zeros((n_slots, n_groups, 2**self.bits), np.int64)
        while self._kept:
            self._keep_or_count(*self._kept.pop())

    def merge(self, other: MedianSearch, rows: NDArray[np.intp], n_groups: int) -> None:
        """Add what another search of this pass has found; see `ValueSums.merge`."""
        is_complete = other.bits == other.kind.width
        if other.is_keeping or (self.is_keeping and is_complete):
            kept = other._kept if other.is_keeping else other._expand()
            is_same = bool((rows == np.arange(len(rows))).all())
            for groups, keys in kept:
                self._keep_or_count(groups if is_same else rows.astype(np.int32)[groups], keys)
            return
        if self.is_keeping:
            self.spill(n_groups)
        bits = min(self.bits, other.bits)
        self._coarsen(bits)
        added = other.histogram[:, : len(rows)]
        self.histogram[:, rows] += added if other.bits == bits else _join_bins(added, bits)

    def next_pass(self, counts: NDArray[np.int64]) -> None:
        """Find the bits of the middle keys, and begin the next pass.

        Parameters
        ----------
        counts : (G,) int64 array
            The number of values of each group.
        """
        if not self.known:
            self.prefixes = np.zeros((2, len(counts)), np.uint64)
            self._ranks = np.stack([(counts - 1) // 2, counts // 2])
        if self.is_keeping:
            self.prefixes = self._select_middles()
            self.known, self._kept = self.kind.width, []
        else:
            found = [self._find_bins(slot) for slot in range(2)]
            self.prefixes = np.stack([prefixes for prefixes, _ in found])
            self._ranks = np.stack([ranks for _, ranks in found])
            self.known += self.bits
        self.is_keeping = not self.is_done
        self.histogram = np.zeros((2, len(counts), 0), np.int64)

    def _select_middles(self) -> NDArray[np.uint64]:
        """Return the two middle keys of each group, (2, G), from the keys that are kept."""
        n_groups, shift = self.prefixes.shape[1], self.kind.width - self.known
        counts = np.zeros(n_groups, np.int64)
        for groups, _ in self._kept:
            counts += np.bincount(groups, minlength=n_groups)
        ends = np.cumsum(counts)
        starts = ends - counts
        ordered = np.empty(int(counts.sum()), self.kind.key_dtype)
        places = starts.copy()
        while self._kept:
            sort_by_group(*self._kept.pop(), places, ordered)
        middles = np.zeros((2, n_groups), np.uint64)

        def select(part: slice) -> None:
            for group in np.flatnonzero(counts[part]) + part.start:
                own, (first, second) = ordered[starts[group] : ends[group]], self._ranks[:, group]
                if self.prefixes[0, group] != self.prefixes[1, group]:
                    # The keys of the upper prefix follow those of the lower.
                    prefix = int(self.prefixes[0, group])
                    second += np.count_nonzero(own >> own.dtype.type(shift) == prefix)
                own.partition((first, second))
                middles[:, group] = own[first], own[second]

        map_slices(select, n_groups, _GROUPS_PER_TASK)
        return middles

    def _find_bins(self, slot: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return the longer prefixes (G,) of the lower or upper middle, and their ranks there."""
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
        if self.known:
            copy.known, copy.prefixes, copy._ranks = self.known, self.prefixes, self._ranks
            copy.is_keeping, copy.histogram = not self.is_done, self.histogram[..., :0]
        return copy

    def medians(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the median of each group (G,); NaN for a group without values."""
        if not self.is_done:
            return np.full(len(counts), np.nan)
        medians = np.array(self.kind.middles(*self.prefixes), np.float64)
        return np.where(counts > 0, medians, np.nan)


def _join_bins(histogram: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Return histograms (S, G, B) with 2^bits bins, each the sum of neighboring bins."""
    n_joined = histogram.shape[-1] >> bits
    joined: NDArray[np.int64] = histogram.reshape(*histogram.shape[:-1], 2**bits, n_joined).sum(-1)
    return joined
