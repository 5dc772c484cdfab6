"""Measure the classes of images, in regions and slices, as one long table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import (
    Flag,
    WholeNumber,
    as_numbers,
    check_result,
    is_whole_number,
    quote_value,
)
from napari_kmeans.execution.progress import Progress, Report, part_of
from napari_kmeans.files.units import SIZE_POWERS
from napari_kmeans.imaging.blocks import as_array, is_dask, open_pixels
from napari_kmeans.imaging.measured_arrays import MeasuredArrays, sum_arrays
from napari_kmeans.measured_regions import MeasuredRegions, open_regions
from napari_kmeans.measurement_table import MeasuredClasses, Measurements
from napari_kmeans.measuring import CONFIDENCE, PER_FRAME, PixelSize, channel_names
from napari_kmeans.segmentation import Segmentation
from napari_kmeans.stacks import StackModel, StackSegmentation

if TYPE_CHECKING:
    import pandas as pd

    from napari_kmeans.imaging.blocks import Pixels


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
        As in `segment`. Pixels where it is zero do not count.
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
    inputs = _split_images(
        seg, Flag().check("multiscale", multiscale), image, regions, values, mask, names
    )
    stages, tables = Progress(progress), []
    for number, each in enumerate(inputs):
        report = part_of(progress, number / len(inputs), (number + 1) / len(inputs))
        tables.append(
            _measure_image(
                seg, each, region_names, slices, spacing, unit, medians, confidence, report
            )
        )
    stages.finish()
    import pandas as pd

    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


@dataclass(frozen=True, eq=False)
class _ImageInput:
    """What is measured of one image."""

    name: str
    labels: Any
    image: Any
    regions: Any
    values: Any
    mask: Any


def _split_images(
    seg: Segmentation | StackSegmentation,
    multiscale: bool,
    image: Any,
    regions: Any,
    values: Any,
    mask: Any,
    names: Any,
) -> list[_ImageInput]:
    """Return the inputs of each image."""
    several = isinstance(seg.labels, list) and not multiscale
    if several:
        n_images = len(seg.labels)
        arguments = {"image": image, "regions": regions, "values": values, "mask": mask}
        columns = [_one_for_each(name, each, n_images) for name, each in arguments.items()]
        labels = seg.labels
    else:
        n_images, labels = 1, [_finest(seg.labels) if multiscale else seg.labels]
        found = [_finest(image), regions, values, _finest(mask)] if multiscale else []
        columns = [[each] for each in found or [image, regions, values, mask]]
    rows = zip(_check_image_names(names, n_images), labels, *columns, strict=True)
    return [_ImageInput(*row) for row in rows]


def _finest(levels: Any) -> Any:
    """Return the finest level of a multiscale image; an array that is no list is the finest."""
    is_array = hasattr(levels, "dtype") or levels is None
    return levels if is_array or not isinstance(levels, Sequence) else levels[0]


def _one_for_each(name: str, value: Any, n_images: int) -> list[Any]:
    if value is None:
        return [None] * n_images
    if not isinstance(value, list | tuple) or len(value) != n_images:
        found = f"{len(value)} entries" if isinstance(value, list | tuple) else quote_value(value)
        raise ValueError(
            f"{name} must be a list with an entry for each of {n_images} images, got {found}: "
            "give None for an image without an entry, or multiscale=True for levels."
        )
    return list(value)


def _check_image_names(names: Any, n_images: int) -> list[str]:
    if names is None:
        return [f"image {number}" for number in range(n_images)]
    if isinstance(names, str):
        names = [names]
    listed = list(names) if isinstance(names, Sequence) else []
    if len(listed) != n_images or not all(isinstance(name, str) for name in listed):
        raise ValueError(
            f"names must be {n_images} texts, one for each image, got {quote_value(names)}: give "
            "the name of each image."
        )
    if len(set(listed)) < n_images:
        raise ValueError(
            f"names must be different, got {quote_value(listed)}: rename the images, for example "
            "with their folders."
        )
    return listed


def _measure_image(
    seg: Segmentation | StackSegmentation,
    given: _ImageInput,
    region_names: Any,
    slices: Any,
    spacing: Any,
    unit: str,
    medians: bool,
    confidence: bool,
    progress: Report | None,
) -> pd.DataFrame:
    labels = as_array("labels", given.labels)
    shape = tuple(int(length) for length in labels.shape)
    regions = open_regions(given.regions, region_names, shape)
    slice_columns = _check_slices(slices, len(shape))
    size = _pixel_size(spacing, unit, shape, tuple(slice_columns))
    pixels = _open_image(seg.model, given, shape, needs_image=confidence)
    channels = {} if pixels is None else _image_channels(pixels, seg.model)
    for name, array in _value_channels(given.values, shape).items():
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
        labels = _keep_inside(labels, pixels.mask)
    elif given.mask is not None:
        labels = _keep_inside(labels, open_pixels(labels, mask=given.mask).mask)
    if confidence:
        channels[CONFIDENCE] = seg.model.confidence(
            given.image, labels=labels, mask=given.mask, progress=part_of(progress, 0, 0.4)
        )
    undecided = None if pixels is None else seg.model.find_undecided(pixels)
    return measure_arrays(
        MeasuredArrays(labels, channels, regions.arrays, undecided, tuple(slice_columns)),
        _classes_of(seg),
        given.name,
        regions,
        list(slice_columns.values()),
        size,
        medians=medians,
        progress=part_of(progress, 0.4 if confidence else 0, 1),
    )


def measure_arrays(
    arrays: MeasuredArrays,
    classes: MeasuredClasses,
    name: str,
    regions: MeasuredRegions,
    slice_names: Sequence[str],
    size: PixelSize | None,
    *,
    medians: bool = True,
    progress: Report | None = None,
) -> pd.DataFrame:
    """Return the table of measurements of one image from arrays of one shape.

    Parameters
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
    medians, progress
        As in `measure`.
    """
    measurements = Measurements(classes, n_channels=len(arrays.channels), medians=medians)
    stages = Progress(progress)
    sum_arrays(arrays, measurements.sums, stages.stage(1, 1))
    stages.finish()
    indices = np.ndindex(*(arrays.shape[axis] for axis in arrays.slice_axes))
    return measurements.table(
        name,
        region_names=regions.names,
        slice_names=slice_names,
        keys=[(index, number) for index in indices for number in regions.expected],
        size=size,
        has_undecided=arrays.undecided is not None,
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


def _open_image(
    model: Any, given: _ImageInput, shape: tuple[int, ...], *, needs_image: bool
) -> Pixels | None:
    """Return the image that was segmented as pixels; None without an image."""
    if given.image is None:
        if needs_image:
            raise ValueError(
                "image must be given for confidence=True, got None: pass the image that was "
                "segmented."
            )
        return None
    if isinstance(model, StackModel):
        pixels = open_pixels(
            given.image, rgb=model.rgb, channel_axis=model.channel_axis, mask=given.mask
        )
    else:
        pixels = model.open(given.image, given.mask)
    if pixels.shape != shape:
        raise ValueError(
            f"image must have the spatial shape of the labels {shape}, got {pixels.shape}: pass "
            "the image that was segmented."
        )
    return pixels


def _image_channels(pixels: Pixels, model: Any) -> dict[str, Any]:
    if isinstance(model, StackModel):
        model = next(each for each in model.models if each is not None)
    names = channel_names(model)
    return {name: pixels.array[..., number] for number, name in enumerate(names)}


def _value_channels(values: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return other images as channels of the shape of the labels, by their names."""
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise TypeError(
            f"values must be a mapping of names to arrays, got {quote_value(values)}: give each "
            "array a name."
        )
    channels: dict[str, Any] = {}
    for key, value in values.items():
        name, array = str(key), value
        if not isinstance(value, np.ma.MaskedArray):
            array = as_array(f"values[{name!r}]", value)
        if np.dtype(array.dtype).kind not in "buif":
            raise TypeError(
                f"values[{name!r}] must be boolean, integer or floating point, got dtype "
                f"{array.dtype}: convert it."
            )
        if tuple(array.shape) == shape:
            channels[name] = array
        elif tuple(array.shape[:-1]) == shape:
            channels |= {f"{name} {k}": array[..., k] for k in range(array.shape[-1])}
        else:
            raise ValueError(
                f"values[{name!r}] must have the shape of the labels {shape}, or one more last "
                f"axis of channels, got {tuple(array.shape)}: pass an image of the same pixels."
            )
    return channels


def _keep_inside(labels: Any, inside: Any) -> Any:
    """Return labels with 0 outside a mask."""
    if is_dask(labels) or is_dask(inside):
        import dask.array as da

        return da.where(inside, labels, labels.dtype.type(0))
    return np.where(inside, labels, labels.dtype.type(0))


def _check_slices(slices: Any, n_axes: int) -> dict[int, str]:
    """Return the axes whose indices have rows of their own, with the names of their columns."""
    if slices is None:
        return {}
    if is_whole_number(slices):
        slices = {slices: "slice"}
    elif isinstance(slices, Sequence) and not isinstance(slices, str):
        slices = {axis: "slice" if len(slices) == 1 else f"slice {axis}" for axis in slices}
    if not isinstance(slices, Mapping):
        raise TypeError(
            f"slices must be an axis, several axes, or a mapping of axes to names, got "
            f"{quote_value(slices)}: give the number of an axis of the labels."
        )
    checked = {}
    for axis, name in slices.items():
        place = WholeNumber(-n_axes, n_axes - 1).check("slices", axis) % n_axes
        checked[place] = str(name)
    if len(set(checked.values())) < len(slices):
        raise ValueError(
            f"slices must have different axes and names, got {quote_value(slices)}: name each "
            "axis once."
        )
    return dict(sorted(checked.items()))


def _pixel_size(
    spacing: Any, unit: str, shape: tuple[int, ...], slice_axes: tuple[int, ...]
) -> PixelSize | None:
    """Return the area or the volume of a pixel; None if it is not known."""
    if not isinstance(unit, str):
        raise TypeError(f"unit must be a text such as µm, got {quote_value(unit)}: pass a str.")
    if spacing is None:
        return None
    lengths = as_numbers(spacing)
    if lengths is not None and lengths.ndim == 0:
        lengths = np.full(len(shape), lengths)
    if (
        lengths is None
        or lengths.shape != (len(shape),)
        or lengths.dtype.kind == "b"
        or not (np.isfinite(lengths) & (lengths >= 0)).all()
    ):
        raise ValueError(
            f"spacing must be one number or {len(shape)} numbers of at least 0, got "
            f"{quote_value(spacing)}: give the distance of pixels along each axis."
        )
    counted = [axis for axis in range(len(shape)) if axis not in slice_axes]
    space = [axis for axis in counted if lengths[axis]]
    if len(space) not in SIZE_POWERS:
        return None
    n_frames = prod(shape[axis] for axis in counted if axis not in space)
    name, power = SIZE_POWERS[len(space)]
    value = prod(float(lengths[axis]) for axis in space) / n_frames
    name += PER_FRAME if n_frames > 1 else ""
    return PixelSize(name, value, unit and unit + power)
