"""Sums over the pixels of each class in each region, block by block and in any order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from napari_kmeans.checks import quote_value
from napari_kmeans.imaging.value_sums import ValueSums

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

Key: TypeAlias = tuple[tuple[int, ...], int]
"""The index of a slice, and the number of a region in the slice."""

WHOLE = 1
"""The number of the only region, if there are no regions."""

_PIECE = 2**19
"""The number of pixels that are added at a time: their groups and keys are copies."""

_LARGEST_TABLE = 2**20
"""The largest array with an entry for each number, in which labels and regions are looked up."""

_ABSENT = -(2**30)
"""The group of no class or no region. The sum of two of them is still an int32."""


class Budget(NamedTuple):
    """The memory in which medians are found.

    Attributes
    ----------
    kept : int
        The bytes of values that are kept, of all channels.
    histograms : int
        The bytes of the histograms of a channel.
    """

    kept: int
    histograms: int


class Layer(NamedTuple):
    """Regions that do not overlap: the number of the region of each pixel, or one region.

    Attributes
    ----------
    numbers : int or (n,) array of integers
        0 is no region.
    inside : (n,) bool array or None
        Where the region is, if `numbers` is one number. None for all pixels.
    """

    numbers: Any
    inside: Any = None


class RegionSums:
    """The numbers of pixels and the sums of the channels of each class in each region.

    Parameters
    ----------
    labels : sequence of int
        The labels of the K classes, ascending.
    budget : Budget or None
        The memory in which medians are found; None for no medians.
    only_means : collection of str
        The channels without medians.

    Attributes
    ----------
    rows : dict of Key to int
        The row of each region in the arrays, whose length R is the number of regions or more.
    pixels, undecided : (R * K,) int64 arrays
        The number of pixels with a label, and of undecided pixels, of each class in each region.
    channels : dict of str to ValueSums
        The groups of a channel are the R * K pairs of a region and a class.
    is_refining : bool
        Whether this is not the first pass. Later passes find medians only.
    """

    def __init__(
        self, labels: Sequence[int], budget: Budget | None, only_means: Collection[str] = ()
    ) -> None:
        self.labels, self.budget = tuple(int(label) for label in labels), budget
        self.only_means = frozenset(only_means)
        self.rows: dict[Key, int] = {}
        self.channels: dict[str, ValueSums] = {}
        self.pixels, self.undecided = np.zeros((2, 0), np.int64)
        self.is_refining = False
        # Labels of 16 bits need no check: numbers beyond the last class are absent, too.
        size = max(min(self.labels[-1] + 2, _LARGEST_TABLE), 2**16)
        self._classes = np.full(size, _ABSENT, np.int32)
        small = [label for label in self.labels if label < size - 1]
        self._classes[small] = np.arange(len(small))

    @property
    def is_done(self) -> bool:
        """Whether all medians are known, or not wanted."""
        return all(channel.is_done for channel in self.channels.values())

    def add(
        self,
        labels: NDArray[Any],
        channels: Mapping[str, NDArray[Any]],
        regions: Any = None,
        undecided: NDArray[Any] | None = None,
        index: tuple[int, ...] = (),
    ) -> None:
        """Add the pixels of a block.

        Parameters
        ----------
        labels : array of integers
        channels : mapping of str to arrays of the shape of `labels`
            A masked value does not count.
        regions : array of the shape of `labels`, or mapping of int to boolean arrays, optional
            The number of the region of each pixel, where 0 is no region; or the pixels of each
            region, or None if the block has none of them. None is one region with the number 1.
        undecided : array of the shape of `labels`, optional
            The label of the class of undecided pixels. It counts where `labels` is 0.
        index : tuple of int
            The index of the slice that the block belongs to.
        """
        flat, layers = labels.reshape(-1), flat_layers(regions)
        values = {name: channel.reshape(-1) for name, channel in channels.items()}
        doubtful = None if undecided is None else undecided.reshape(-1)
        for name, channel in values.items():
            self._open_channel(name, channel.dtype)
        for start in range(0, flat.size, _PIECE):
            part = slice(start, start + _PIECE)
            parts = {name: channel[part] for name, channel in values.items()}
            classes = self._classes_of(flat[part])
            others = None
            if doubtful is not None and not self.is_refining:
                others = self._classes_of(np.where(flat[part] == 0, doubtful[part], 0))
            for layer in layers:
                if layer.inside is None:
                    firsts = self._first_groups_of(layer.numbers, part, index)
                    self._add_values(classes + firsts, parts)
                    if others is not None:
                        self.undecided += _count(others + firsts, len(self.undecided))
                else:
                    self._add_mask(layer, part, classes, parts, others, index)

    def _add_mask(
        self,
        layer: Layer,
        part: slice,
        classes: NDArray[np.int32],
        values: dict[str, NDArray[Any]],
        others: NDArray[np.int32] | None,
        index: tuple[int, ...],
    ) -> None:
        """Add the pixels of a region that is a mask: most masks have few pixels of a piece."""
        places = np.flatnonzero(layer.inside[part])
        (first,) = self._first_groups([layer.numbers], index)
        if len(places):
            own = {name: channel[places] for name, channel in values.items()}
            self._add_values(classes[places] + first, own)
            if others is not None:
                self.undecided += _count(others[places] + first, len(self.undecided))

    def _open_channel(self, name: str, dtype: np.dtype[Any]) -> None:
        if name not in self.channels:
            self.channels[name] = ValueSums(dtype, self._histogram_bytes(name))
            self.channels[name].grow(len(self.pixels))
        known = self.channels[name].dtype
        if known.newbyteorder("=") != dtype.newbyteorder("="):
            raise ValueError(
                f"the values {name} must have the dtype {known} in every block, got {dtype}: "
                "convert them."
            )

    def _histogram_bytes(self, name: str) -> int | None:
        return None if self.budget is None or name in self.only_means else self.budget.histograms

    def _limit_memory(self) -> None:
        """Let channels keep their values only as far as they fit the budget."""
        n_bytes = {name: channel.n_bytes for name, channel in self.channels.items()}
        while self.budget is not None and sum(n_bytes.values()) > self.budget.kept:
            largest = max(n_bytes, key=n_bytes.__getitem__)
            self.channels[largest].spill()
            n_bytes[largest] = 0

    def _classes_of(self, labels: NDArray[Any]) -> NDArray[np.int32]:
        """Return the class of each label; negative where a pixel has none."""
        last = len(self._classes) - 1
        if self.labels[-1] >= last:
            places = np.searchsorted(self.labels, labels).clip(0, len(self.labels) - 1)
            is_class = np.asarray(self.labels)[places] == labels
            return np.where(is_class, places, _ABSENT).astype(np.int32)
        if labels.dtype.kind != "u" or np.iinfo(labels.dtype).max > last:
            # Labels beyond the last class are painted by hand. The last entry is no class.
            labels = np.where((labels >= 0) & (labels < last), labels, last)
        return self._classes.take(labels.astype(np.intp), mode="clip")

    def _first_groups_of(self, numbers: Any, part: slice, index: tuple[int, ...]) -> Any:
        """Return the group of the first class in the region of each pixel; negative for none."""
        if isinstance(numbers, int):
            return self._first_groups([numbers], index)[0]
        numbers = numbers[part]
        if numbers.dtype.kind == "b":
            numbers = numbers.view(np.uint8)
        if numbers.min() < 0:
            raise ValueError(
                f"regions must have numbers from 0 on, got {numbers.min()}: give pixels of no "
                "region the number 0."
            )
        if numbers.max() <= max(2**16, min(len(numbers), _LARGEST_TABLE)):
            places = numbers.astype(np.intp)
            present = np.flatnonzero(np.bincount(places))
            table = np.full(int(present[-1]) + 1, _ABSENT, np.int32)
        else:
            present, places = np.unique(numbers, return_inverse=True)
            table = np.full(len(present), _ABSENT, np.int32)
        is_region = present > 0
        where = present if len(table) > len(present) else np.arange(len(present))
        table[where[is_region]] = self._first_groups(present[is_region].tolist(), index)
        return table.take(places, mode="clip")

    def _first_groups(self, numbers: Sequence[int], index: tuple[int, ...]) -> NDArray[np.int32]:
        """Return the group of the first class in each region; a new region gets a new row."""
        keys = [(index, number) for number in numbers]
        if self.is_refining and not self.rows.keys() >= set(keys):
            raise ValueError(
                "regions must be the same in every pass, got a new one: pass the same regions."
            )
        rows = [self.rows.setdefault(key, len(self.rows)) for key in keys]
        self._grow(len(self.rows))
        return np.array(rows, np.int32) * np.int32(len(self.labels))

    def _grow(self, n_rows: int) -> None:
        n_groups = n_rows * len(self.labels)
        if n_groups <= len(self.pixels):
            return
        if n_groups >= -_ABSENT:
            raise ValueError(
                f"regions must be at most {-_ABSENT // len(self.labels)} for {len(self.labels)} "
                f"classes, got {n_rows}: measure fewer regions or slices at a time."
            )
        # Growing by half keeps the number of copies small.
        n_groups = max(n_groups, min(len(self.pixels) * 3 // 2, -_ABSENT - 1))
        n_new = n_groups - len(self.pixels)
        self.pixels = np.pad(self.pixels, (0, n_new))
        self.undecided = np.pad(self.undecided, (0, n_new))
        for channel in self.channels.values():
            channel.grow(n_groups)

    def _add_values(self, groups: NDArray[np.int32], values: dict[str, NDArray[Any]]) -> None:
        if not self.is_refining:
            self.pixels += _count(groups, len(self.pixels))
        for name, channel in values.items():
            own = groups
            if np.ma.getmask(channel) is not np.ma.nomask:
                own = np.where(np.ma.getmaskarray(channel), np.int32(-1), groups)
                channel = np.ma.getdata(channel)
            self.channels[name].add(own, channel)
        self._limit_memory()

    def merge(self, other: RegionSums) -> None:
        """Add the sums of the same pass over other pixels."""
        firsts = np.empty(len(other.rows), np.intp)
        for (index, number), row in other.rows.items():
            firsts[row] = self._first_groups([number], index)[0]
        groups = (firsts[:, None] + np.arange(len(self.labels))).ravel()
        own = slice(0, len(groups))
        self.pixels[groups] += other.pixels[own]
        self.undecided[groups] += other.undecided[own]
        for name, channel in other.channels.items():
            self._open_channel(name, channel.dtype)
            self.channels[name].merge(channel, groups)
        self._limit_memory()

    def next_pass(self) -> None:
        """Begin the next pass over the same pixels, for medians that are not yet known."""
        self.is_refining = True
        for channel in self.channels.values():
            channel.next_pass()

    def fresh(self) -> RegionSums:
        """Return sums of the same pass that have counted nothing, to be merged into these."""
        copy = RegionSums(self.labels, self.budget, self.only_means)
        if self.is_refining:
            copy.is_refining, copy.rows = True, self.rows.copy()
            copy.pixels, copy.undecided = np.zeros((2, len(self.pixels)), np.int64)
            copy.channels = {name: each.fresh() for name, each in self.channels.items()}
        return copy


def flat_layers(regions: Any) -> list[Layer]:
    """Return regions, as `RegionSums.add` takes them, as layers of flat arrays."""
    if regions is None:
        return [Layer(WHOLE)]
    if isinstance(regions, Mapping):
        return [
            Layer(int(number), np.asarray(mask).reshape(-1) != 0)
            for number, mask in regions.items()
            if mask is not None
        ]
    numbers = np.asarray(regions).reshape(-1)
    if numbers.dtype.kind not in "bui":
        raise TypeError(
            f"regions must be whole numbers, got {quote_value(regions)}: pass a label image."
        )
    return [Layer(numbers)]


def _count(groups: NDArray[np.int32], n_groups: int) -> NDArray[np.int64]:
    if len(groups) and groups.min() < 0:
        groups = groups[groups >= 0]
    return np.bincount(groups, minlength=n_groups)
