"""The exact sums and the median search of the values of one channel, for each group of pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.imaging.exact_sums import carry_limbs, means_and_stds
from napari_kmeans.imaging.group_kernels import add_small, add_wide
from napari_kmeans.imaging.median_search import MedianSearch
from napari_kmeans.imaging.value_kinds import ValueKind

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from napari_kmeans.types import Floats

_CARRY_AFTER = 2**27
"""The number of values after which limbs are carried: they overflow at 2^29 or later."""


class Statistics(NamedTuple):
    """The statistics of the values of each group (G,); NaN for a group without values."""

    means: Floats
    stds: Floats
    medians: Floats | None


class ValueSums:
    """The sums of the values of one channel for each group of pixels.

    Parameters
    ----------
    dtype : dtype
        The dtype of the values.
    budget : int or None
        The bytes of the histograms that find medians; None for no medians.
    """

    def __init__(self, dtype: DTypeLike, budget: int | None) -> None:
        self.dtype, self.budget = np.dtype(dtype), budget
        self.kind = ValueKind.of(dtype)
        self.search = None if budget is None else MedianSearch(self.kind, budget)
        self.is_refining = False
        self._reset(0)

    def _reset(self, n_groups: int) -> None:
        self.counts = np.zeros(n_groups, np.int64)
        self.sums, self.squares = (np.zeros((n_groups, n), np.int64) for n in self.kind.n_limbs)
        self._n_added = 0

    @property
    def is_done(self) -> bool:
        """Whether the medians are known, or not wanted."""
        return self.search is None or self.search.is_done

    def grow(self, n_groups: int) -> None:
        """Make room for groups in the first pass."""
        n_new = n_groups - len(self.counts)
        if n_new > 0:
            self.counts = np.append(self.counts, np.zeros(n_new, np.int64))
            self.sums = np.pad(self.sums, ((0, n_new), (0, 0)))
            self.squares = np.pad(self.squares, ((0, n_new), (0, 0)))
            if self.search is not None:
                self.search.grow(n_groups)

    def add(self, groups: NDArray[np.int32], values: NDArray[Any]) -> None:
        """Add values (n,) of groups (n,); a negative group does not count."""
        if not self.is_refining:
            self._add_sums(groups, values)
        elif self.is_done:
            return
        search = self.search
        if search is not None and (self.is_refining or search.is_keeping or not self.kind.is_small):
            search.add(self._finite(groups, values), self.kind.keys(values))

    def _finite(self, groups: NDArray[np.int32], values: NDArray[Any]) -> NDArray[np.int32]:
        """Return the groups, and -1 for NaN and infinities."""
        if not self.kind.is_float:
            return groups
        finite = np.isfinite(values)
        return groups if finite.all() else np.where(finite, groups, np.int32(-1))

    def _add_sums(self, groups: NDArray[np.int32], values: NDArray[Any]) -> None:
        patterns, search = self.kind.patterns(values), self.search
        sums = self.counts, self.sums, self.squares
        if self.kind.is_small:
            # One loop finds the sums and fills the histograms.
            is_counting = search is not None and not search.is_keeping
            bins = search.histogram[0] if is_counting and search else np.zeros((0, 0), np.int64)
            add_small(groups, patterns, search.shift if search else 0, *sums, bins)
        else:
            add_wide(groups, patterns, self.kind.is_float, self.kind.lowest, *sums)
        self._n_added += len(groups)
        if self._n_added >= _CARRY_AFTER:
            self._carry()

    def _carry(self) -> None:
        carry_limbs(self.sums)
        carry_limbs(self.squares)
        self._n_added = 0

    def merge(self, other: ValueSums, rows: NDArray[np.intp]) -> None:
        """Add the sums of the same pass over other pixels.

        Parameters
        ----------
        other : ValueSums
        rows : (n,) array
            The groups here of the first n groups of `other`. Its other groups are empty.
        """
        if not self.is_refining:
            self._carry()
            sums, squares = other.sums.copy(), other.squares.copy()
            carry_limbs(sums)
            carry_limbs(squares)
            own = slice(0, len(rows))
            self.counts[rows] += other.counts[own]
            self.sums[rows] += sums[own]
            self.squares[rows] += squares[own]
        if self.search is not None and other.search is not None and not self.is_done:
            self.search.merge(other.search, rows, len(self.counts))

    @property
    def n_bytes(self) -> int:
        """The bytes of the values that are kept to find medians."""
        return 0 if self.search is None else self.search.n_bytes

    def spill(self) -> None:
        """Count the values that are kept in histograms, and keep no more."""
        if self.search is not None:
            self.search.spill(len(self.counts))

    def next_pass(self) -> None:
        """Begin the next pass, in which values are added for medians only."""
        self.is_refining = True
        if self.search is not None and not self.search.is_done:
            self.search.next_pass(self.counts)

    def fresh(self) -> ValueSums:
        """Return sums of the same pass that have counted nothing."""
        copy = ValueSums(self.dtype, self.budget)
        copy.is_refining = self.is_refining
        if self.is_refining and self.search is not None:
            copy.search = self.search.fresh()
        return copy

    def statistics(self) -> Statistics:
        """Return the statistics of each group; medians are NaN until their search is done."""
        means, stds = means_and_stds(self.counts, self.sums, self.squares, self.kind)
        medians = None if self.search is None else self.search.medians(self.counts)
        return Statistics(means, stds, medians)
