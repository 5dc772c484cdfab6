"""Collect measurements of the classes in regions, and turn them into one long table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.imaging.colors import to_hex
from napari_kmeans.imaging.region_sums import WHOLE, Budget, Key, RegionSums
from napari_kmeans.measuring import (
    CONFIDENCE,
    COUNT_COLUMNS,
    IGNORED,
    MEAN_PREFIX,
    NAME,
    SIZE_COLUMNS,
    UNDECIDED,
    UNIT,
    channel_names,
    percentages,
)
from napari_kmeans.model import KMeansModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from napari_kmeans.measuring import PixelSize

IMAGE, REGION, CLASS, COLOR = "image", "region", "class", "color"
"""Columns of every table of measurements."""

FIXED_COLUMNS = {IMAGE, REGION, CLASS, COLOR, NAME, IGNORED, *COUNT_COLUMNS, UNIT, *SIZE_COLUMNS}
"""The columns whose names no column of slices may have."""

STD_PREFIX, MEDIAN_PREFIX = "std ", "median "
"""Columns of standard deviations and of medians have these prefixes, as those of means do."""

ALL = "all"
"""The name of the only region, if there are no regions."""

BUDGET = 2**28
"""The bytes of the values that are kept until their medians are found; see `Measurements`."""


class MeasuredClasses(NamedTuple):
    """The classes that are measured, in ascending order of their labels (K,)."""

    labels: tuple[int, ...]
    names: tuple[str, ...]
    colors: tuple[str, ...]
    ignored: tuple[bool, ...]

    @classmethod
    def of(cls, model: KMeansModel) -> MeasuredClasses:
        """Return the classes of a model."""
        return cls(
            tuple(model.labels.tolist()),
            tuple(each.name for each in model.classes),
            tuple(to_hex(model.colors)),
            tuple(bool(ignored) for ignored in model.classes.ignored),
        )


class Measurements:
    """Measurements of one image, collected block by block in any order.

    Blocks may be added to several objects, on threads or in processes, that are merged. The
    result is the same for any blocks and any order, to the last bit.

    Parameters
    ----------
    classes : KMeansModel or MeasuredClasses
    n_channels : int
        The number of channels, of the image and of all values. The memory for medians is
        divided by it.
    medians : bool, default True
        Whether medians are found. See `is_done`.
    budget : int
        The bytes of the values that are kept until their medians are found. If there are more
        values, histograms find the medians in further passes. They have a quarter of these bytes.

    Examples
    --------
    >>> measurements = Measurements(model, n_channels=3)
    >>> for block in blocks:
    ...     measurements.add(labels[block], {"red": image[block][..., 0]})
    >>> measurements.table(image="a.tif")
    """

    def __init__(
        self,
        classes: KMeansModel | MeasuredClasses,
        *,
        n_channels: int = 1,
        medians: bool = True,
        budget: int = BUDGET,
    ) -> None:
        if isinstance(classes, KMeansModel):
            classes = MeasuredClasses.of(classes)
        self.classes = classes
        memory = Budget(budget, budget // (4 * max(n_channels, 1))) if medians else None
        self.sums = RegionSums(classes.labels, memory, {CONFIDENCE})

    def add(
        self,
        labels: NDArray[Any],
        channels: Mapping[str, NDArray[Any]] | None = None,
        regions: Any = None,
        *,
        undecided: NDArray[Any] | None = None,
        confidence: NDArray[Any] | None = None,
        index: tuple[int, ...] = (),
    ) -> None:
        """Add a block of the image.

        Parameters
        ----------
        labels : array of integers
        channels : mapping of str to arrays of the shape of `labels`, optional
            The values to measure, by their names: see `image_channels`. Blocks with one name
            have one dtype.
        regions : array of the shape of `labels`, or mapping of int to boolean arrays, optional
            The number of the region of each pixel, where 0 is no region; or the pixels of each
            region, which may overlap. None is one region.
        undecided : array of the shape of `labels`, optional
            The label of the class of undecided pixels. It counts where `labels` is 0.
        confidence : float array of the shape of `labels`, optional
            The confidence of each pixel in its class.
        index : tuple of int
            The index of the slice that the block belongs to; as many numbers in all blocks.

        Raises
        ------
        TypeError, ValueError
            If regions are not whole numbers from 0 on, or if shapes or dtypes do not agree.
        """
        values = dict(channels or {})
        if confidence is not None:
            values[CONFIDENCE] = confidence
        layers = list(regions.values()) if isinstance(regions, Mapping) else [regions]
        for each in (*values.values(), undecided, *layers):
            if each is not None and np.shape(each) != np.shape(labels):
                raise ValueError(
                    f"all arrays of a block must have the shape of its labels "
                    f"{np.shape(labels)}, got {np.shape(each)}: pass the same block of each."
                )
        self.sums.add(np.asarray(labels), values, regions, undecided, index)

    def merge(self, other: Measurements) -> None:
        """Add the measurements of other blocks of the image in the same pass."""
        self.sums.merge(other.sums)

    @property
    def is_done(self) -> bool:
        """Whether all medians are known.

        Values are counted in histograms where these fit the budget, as those of 8 bits do, or
        kept. Then medians are known after `next_pass`. If more values than fit the budget have
        more than 8 bits, `next_pass` returns True: add all blocks once more.
        """
        return self.sums.is_done

    def next_pass(self) -> bool:
        """End the pass over all blocks. Return whether the blocks must be added once more."""
        if not self.sums.is_done:
            self.sums.next_pass()
        return not self.sums.is_done

    def fresh(self) -> Measurements:
        """Return measurements of the same pass without blocks, to be merged into these."""
        copy = Measurements(self.classes)
        copy.sums = self.sums.fresh()
        return copy

    def table(
        self,
        image: str = "",
        *,
        region_names: Mapping[int, str] | None = None,
        slice_names: Sequence[str] = (),
        keys: Sequence[Key] = (),
        size: PixelSize | None = None,
        has_undecided: bool = False,
    ) -> pd.DataFrame:
        """Return the measurements as a table with a row for each slice, region and class.

        Medians that are not yet known are NaN.

        Parameters
        ----------
        image : str
            The name of the image.
        region_names : mapping of int to str, optional
            The names of regions. Other regions are named by their numbers.
        slice_names : sequence of str
            The names of the columns of the index of a slice.
        keys : sequence of (index, number)
            Regions that have rows also if they have no pixels.
        size : PixelSize, optional
            The size of a pixel, for the area or volume.
        has_undecided : bool, default False
            Whether there is a column of undecided pixels.

        Returns
        -------
        pandas.DataFrame
            See `measure`.
        """
        import pandas as pd

        sums, n_classes = self.sums, len(self.classes.labels)
        rows = dict(sums.rows)
        missing = {key: -1 for key in keys if key not in rows}
        ordered = sorted([*rows.items(), *missing.items()])
        # The group of each row of the table; the group after the last has no pixels.
        firsts = np.array([row for _, row in ordered], np.intp) * n_classes
        groups = (firsts[:, None] + np.arange(n_classes)).ravel()
        groups[np.repeat(firsts < 0, n_classes)] = len(sums.pixels)
        pixels = np.append(sums.pixels, 0)[groups]
        columns: dict[str, Any] = {
            IMAGE: [image] * len(groups),
            REGION: _name_regions([number for (_, number), _ in ordered], region_names, n_classes),
        }
        for place, name in enumerate(slice_names):
            own = np.array([index[place] for (index, _), _ in ordered], np.int64)
            columns[name] = np.repeat(own, n_classes)
        columns |= self._class_columns(len(ordered)) | self._count_columns(pixels, size)
        if has_undecided:
            columns[UNDECIDED] = np.append(sums.undecided, 0)[groups]
        return pd.DataFrame(columns | self._value_columns(groups))

    def _class_columns(self, n_regions: int) -> dict[str, Any]:
        labels, names, colors, ignored = self.classes
        return {
            CLASS: np.tile(labels, n_regions),
            NAME: list(names) * n_regions,
            COLOR: list(colors) * n_regions,
            IGNORED: np.tile(np.array(ignored, np.bool_), n_regions),
        }

    def _count_columns(self, pixels: NDArray[np.int64], size: PixelSize | None) -> dict[str, Any]:
        _, pixel_column, percent = COUNT_COLUMNS
        ignored = np.array(self.classes.ignored)
        by_region = pixels.reshape(-1, len(ignored))
        # The share of nothing is not known.
        shares = [
            percentages(counts, ignored) if counts[~ignored].any() else np.full(len(counts), np.nan)
            for counts in by_region
        ]
        columns: dict[str, Any] = {pixel_column: pixels}
        columns[percent] = np.concatenate([np.zeros(0), *shares])
        if size is not None:
            columns |= {size.name: pixels * size.value, UNIT: [size.unit] * len(pixels)}
        return columns

    def _value_columns(self, groups: NDArray[np.intp]) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        for name, channel in sorted(
            self.sums.channels.items(), key=lambda item: item[0] != CONFIDENCE
        ):
            means, stds, medians = channel.statistics()
            if name == CONFIDENCE:
                columns[CONFIDENCE] = _take(means, groups)
                continue
            columns[MEAN_PREFIX + name] = _take(means, groups)
            columns[STD_PREFIX + name] = _take(stds, groups)
            if medians is not None:
                columns[MEDIAN_PREFIX + name] = _take(medians, groups)
        return columns


def image_channels(image: Any, model: KMeansModel) -> dict[str, Any]:
    """Return the channels of an image or a block, by their names, without alpha.

    Parameters
    ----------
    image : numpy or dask array
        With the axes of the images of the model.
    model : KMeansModel
    """
    names = channel_names(model)
    if model.channel_axis is None and not model.rgb:
        return {names[0]: image}
    axis = -1 if model.channel_axis is None else model.channel_axis
    place: list[Any] = [slice(None)] * image.ndim
    channels = {}
    for number, name in enumerate(names):
        place[axis] = number
        channels[name] = image[tuple(place)]
    return channels


def _name_regions(numbers: list[int], names: Mapping[int, str] | None, n_repeats: int) -> list[str]:
    default = {WHOLE: ALL} if set(numbers) <= {WHOLE} and names is None else {}
    known = default if names is None else names
    return [known.get(number, str(number)) for number in numbers for _ in range(n_repeats)]


def _take(values: NDArray[np.float64], groups: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.append(values, np.nan)[groups]
