"""Measure the classes of images, in regions and slices, as one long table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import (
    Flag,
    check_result,
)
from napari_kmeans.execution.progress import Progress, Report, part_of
from napari_kmeans.imaging.blocks import as_array, open_pixels
from napari_kmeans.imaging.measured_arrays import MeasuredArrays, SideSums, sum_arrays
from napari_kmeans.measured_regions import MeasuredRegions, open_regions
from napari_kmeans.measurement_inputs import (
    ImageInput,
    check_slices,
    check_spacing,
    keep_inside,
    open_image,
    pixel_channels,
    split_images,
    value_channels,
)
from napari_kmeans.measurement_table import MeasuredClasses, Measurements
from napari_kmeans.measuring import CONFIDENCE, PixelSize
from napari_kmeans.segmentation import Segmentation
from napari_kmeans.stacks import StackSegmentation

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd


def measure(
    seg: Segmentation | StackSegmentation,
    image: Any = None,
    *,
    regions: Any = None,
    region_names: Any = None,
    values: Any = None,
    names: Any = None,
    slices: Any = None,
    spacing: Any = None,
    unit: str = "",
    medians: bool = True,
    confidence: bool = False,
    mask: Any = None,
    multiscale: bool = False,
    progress: Report | None = None,
) -> pd.DataFrame:
    """Measure each class in each region of images: one long table.

    Parameters
    ----------
    seg : Segmentation or StackSegmentation
        The result of `segment` or `segment_slices`. Its labels are numpy or dask arrays. A list
        of labels is several images, as in `segment`, unless `multiscale` is True.
    image : array or list of arrays, optional
        The image, or the images, that were segmented. Its channels are measured.
    regions : array, mapping, Objects, GridRegions or list of these, optional
        The regions of an image, of the shape of its labels: an array of whole numbers, where
        each number is a region and pixels with 0 are in no region and do not count; a mapping
        of names to boolean masks, which may overlap; the result of `split_objects`; or that of
        `grid_regions`. None is one region, "all". For several images a list with one entry for
        each image.
    region_names : mapping of int to str, or sequence of str, optional
        The names of the numbers in an array, or of the numbers from 1 on. Regions without a
        name have their number. A region that is named here has rows also if it has no pixels.
    values : mapping of str to array, or list of mappings, optional
        Other images whose values are measured, by their names: arrays of the shape of the
        labels, or with channels as one more last axis. NaN, infinities and masked values
        are left out of the statistics of their channel. For several images, a list with a
        mapping or None for each.
    names : str or sequence of str, optional
        The name of the image, or of each image. The default is "image 0", "image 1", and so on.
    slices : int, sequence of int, or mapping of int to str, optional
        The axes of the labels along which each index has its own rows. A mapping gives the names
        of their columns. The default is "slice", or "slice 0" for several axes.
    spacing : float, or one float for each spatial axis, optional
        The distance of neighboring pixels along each axis, as in `segment`: 0 for an axis of
        time. Without it there are no areas.
    unit : str, default ""
        The unit of `spacing`, such as "µm".
    medians : bool, default True
        Whether to find medians. They need further passes over values of more than 8 bits.
    confidence : bool, default False
        Whether to measure the mean confidence, as `add_confidence` does.
    mask : array or list, optional
        As in `segment`. Pixels where it is zero do not count. To measure a part of what was
        segmented, pass it as `regions`: pixels outside a mask are no neighbors, so that another
        mask than that of the fit can change undecided pixels and the confidence along its border.
    multiscale : bool, default False
        Whether lists are the levels of one multiscale image, finest first. Only the finest
        level is measured. Nothing in a list tells levels from images of different sizes.
    progress : callable, optional
        ``progress(done, total)``; an exception that it raises cancels the work.

    Returns
    -------
    pandas.DataFrame
        A row for each image, region, slice and class, also for a class without pixels in the
        region, which has 0 pixels and NaN statistics. The columns are

        - `image`, `region`, and the columns of `slices`;
        - `class` (its label), `name`, `color` as #rrggbb, and `ignored`;
        - `pixels`, and `percent` of the pixels of the region that have a class which is not
          ignored. It is NaN for an ignored class;
        - `area` or `volume` and `unit`, with `spacing`; for an image with several frames that
          are not measured by themselves `area per frame`, the mean;
        - `undecided`, with an image whose model leaves pixels undecided: the number of pixels
          that would have this class. They do not count in the other columns;
        - `confidence`, the mean, if it is asked for;
        - `mean X`, `std X` and `median X` of each channel X of the image and of `values`. The
          standard deviation is that of the pixels, divided by their number.

    Notes
    -----
    All numbers are exact: means are those of exact arithmetic rounded once, standard deviations
    the roots of exact variances, and medians the middle value or the mean of the two middle
    values. So the table does not depend on threads and chunks. Floats of more than 64 bits are
    rounded to float64 first.

    Raises
    ------
    TypeError, ValueError
        If an argument cannot be used, or if shapes do not agree.

    Examples
    --------
    >>> segmentation = segment(image, 4)
    >>> table = measure(segmentation, image, regions=nuclei, values={"marker": marker})
    >>> table[["region", "class", "percent", "median marker"]]
    """
    check_result("seg", seg, Segmentation, StackSegmentation, remedy="pass the result of segment")
    medians, confidence = Flag().check("medians", medians), Flag().check("confidence", confidence)
    inputs = split_images(
        seg, Flag().check("multiscale", multiscale), image, regions, values, mask, names
    )
    stages, tables = Progress(progress), []
    for number, each in enumerate(inputs):
        report = part_of(progress, number / len(inputs), (number + 1) / len(inputs))
        share = 0.4 if confidence else 0
        measuring = open_measuring(
            seg,
            each,
            region_names=region_names,
            slices=slices,
            spacing=spacing,
            unit=unit,
            medians=medians,
            confidence=confidence,
            progress=part_of(report, 0, share),
        )
        tables.append(measuring.table(progress=part_of(report, share, 1)))
    stages.finish()
    import pandas as pd

    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


@dataclass(eq=False)
class Measuring:
    """The arrays of one image that are to be measured, and what the table states of them.

    Attributes
    ----------
    arrays : MeasuredArrays
    classes : MeasuredClasses
    name : str
        The name of the image.
    regions : MeasuredRegions
        The names of the regions of `arrays`.
    slice_names : sequence of str
        The names of the columns of the slice axes of `arrays`.
    size : PixelSize or None
    medians : bool
        As in `measure`.
    """

    arrays: MeasuredArrays
    classes: MeasuredClasses
    name: str
    regions: MeasuredRegions
    slice_names: Sequence[str]
    size: PixelSize | None
    medians: bool = True
    _beside: SideSums | None = None

    def _measurements(self) -> Measurements:
        n_channels = len(self.arrays.channels)
        return Measurements(self.classes, n_channels=n_channels, medians=self.medians)

    def beside(self) -> Any:
        """Return a dask array that measures its chunks when they are computed.

        It is for writers of lazy labels: computed together with them, once, it reads nothing
        twice. `table` has these figures, and reads the arrays again only for medians that do
        not fit the memory.
        """
        self._beside = SideSums(self.arrays, self._measurements().sums)
        return self._beside.array

    def table(self, labels: Any = None, progress: Report | None = None) -> pd.DataFrame:
        """Return the table of measurements.

        `labels` are the same labels, in memory or in a file, for the passes after `beside`.
        """
        measurements = self._measurements()
        arrays = self.arrays if labels is None else replace(self.arrays, labels=labels)
        stages = Progress(progress)
        sum_arrays(arrays, measurements.sums, stages.stage(1, 1), self._beside)
        stages.finish()
        indices = np.ndindex(*(arrays.shape[axis] for axis in arrays.slice_axes))
        return measurements.table(
            self.name,
            region_names=self.regions.names,
            slice_names=self.slice_names,
            keys=[(index, number) for index in indices for number in self.regions.expected],
            size=self.size,
            has_undecided=arrays.undecided is not None,
        )


def open_measuring(
    seg: Segmentation | StackSegmentation,
    given: ImageInput,
    *,
    region_names: Any = None,
    slices: Any = None,
    spacing: Any = None,
    unit: str = "",
    medians: bool = True,
    confidence: bool = False,
    progress: Report | None = None,
) -> Measuring:
    """Return what `measure` measures of one image, with arguments that are checked here."""
    labels = as_array("labels", given.labels)
    shape = tuple(int(length) for length in labels.shape)
    regions = open_regions(given.regions, region_names, shape)
    slice_columns = check_slices(slices, len(shape))
    size = check_spacing(spacing, unit, shape, tuple(slice_columns))
    pixels = open_image(seg.model, given, shape, needs_image=confidence)
    channels = {} if pixels is None else pixel_channels(pixels, seg.model)
    for name, array in value_channels(given.values, shape).items():
        if name in channels:
            raise ValueError(
                f"values must have other names than the channels of the image, got {name!r}: "
                "rename it."
            )
        channels[name] = array
    if confidence and CONFIDENCE in channels:
        raise ValueError(
            f"values must not have the name {CONFIDENCE!r} with confidence=True: rename it."
        )
    if pixels is not None and pixels.mask is not None:
        labels = keep_inside(labels, pixels.mask)
    elif given.mask is not None:
        labels = keep_inside(labels, open_pixels(labels, mask=given.mask).mask)
    if confidence:
        channels[CONFIDENCE] = seg.model.confidence(
            given.image, labels=labels, mask=given.mask, progress=progress
        )
    undecided = None if pixels is None else seg.model.find_undecided(pixels)
    return Measuring(
        MeasuredArrays(labels, channels, regions.arrays, undecided, tuple(slice_columns)),
        _classes_of(seg),
        given.name,
        regions,
        list(slice_columns.values()),
        size,
        medians,
    )


def _classes_of(seg: Segmentation | StackSegmentation) -> MeasuredClasses:
    if isinstance(seg, Segmentation):
        return MeasuredClasses.of(seg.model)
    table = seg.table
    n_classes = len(table)
    return MeasuredClasses(
        tuple(table["index"].tolist()),
        tuple(table["name"]) if "name" in table else ("",) * n_classes,
        tuple(table["color"]),
        tuple(table["ignored"]) if "ignored" in table else (False,) * n_classes,
    )
