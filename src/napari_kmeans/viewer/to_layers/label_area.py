"""The area or volume of labels in the units of their layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_kmeans.files.units import SIZE_POWERS
from napari_kmeans.measuring import (
    COUNT_COLUMNS,
    PER_FRAME,
    PixelSize,
    add_sizes,
    drop_sizes,
)
from napari_kmeans.viewer.from_layers.geometry import AffineMap, is_time
from napari_kmeans.viewer.from_layers.source import layer_levels
from napari_kmeans.viewer.to_layers.label_table import counted_level, counted_slice

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Layer


def counted_size(layer: Layer, level: int | None = None) -> PixelSize | None:
    """Return the size of one pixel that the table of a layer counts, at its level or another.

    An axis of time does not count as space. In a layer with several frames, the sum of the
    sizes of pixels is their mean area or volume per frame.

    Returns
    -------
    PixelSize or None
        None if the layer has more than three axes of space, or axes whose units are not of
        the same kind, such as pixels and micrometers.
    """
    levels, slice_index = layer_levels(layer), counted_slice(layer)
    shape = levels[counted_level(layer) if level is None else level].shape
    size = finest_size(layer)
    if size is None:
        return None
    counted = [
        axis for axis in range(layer.ndim) if slice_index is None or slice_index[axis] is None
    ]
    times, n_frames = time_axes(layer), count_frames(layer)
    # Levels may differ by any factor along each axis. A single slice is as thick as in the
    # finest level.
    ratio = np.prod([levels[0].shape[axis] / shape[axis] for axis in counted if axis not in times])
    name = size.name + PER_FRAME if n_frames > 1 else size.name
    return PixelSize(name, size.value * float(ratio) / n_frames, size.unit)


def finest_size(layer: Layer) -> PixelSize | None:
    """Return the area or volume of one pixel of the finest level; None as in `counted_size`."""
    times = time_axes(layer)
    axes = [axis for axis in range(layer.ndim) if axis not in times]
    if len(axes) not in SIZE_POWERS:
        return None
    unit = layer.units[axes[-1]]
    if not all(layer.units[axis].is_compatible_with(unit) for axis in axes):
        return None
    steps = AffineMap.to_world(layer).axes[np.ix_(axes, axes)]
    lengths = [float((1 * layer.units[axis]).to(unit).magnitude) for axis in axes]
    name, power = SIZE_POWERS[len(axes)]
    # napari composes scale, rotation and shear: the last digits are rounding errors.
    value = float(f"{abs(np.linalg.det(steps * np.array(lengths)[:, None])):.12g}")
    # pint writes the Greek letter mu or the micro sign, depending on its version.
    symbol = f"{unit:~P}".replace("pixel", "px").replace("\u03bc", "\u00b5")
    return PixelSize(name, value, symbol and symbol + power)


def time_axes(layer: Layer) -> list[int]:
    """Return the axes of a layer that are time, by their labels or their units."""
    pairs = zip(layer.axis_labels, layer.units, strict=True)
    return [axis for axis, (label, unit) in enumerate(pairs) if is_time(label, unit)]


def count_frames(layer: Layer) -> int:
    """Return the number of frames that the table of a layer counts; 1 without an axis of time."""
    shape, slice_index = layer_levels(layer)[counted_level(layer)].shape, counted_slice(layer)
    times = [axis for axis in time_axes(layer) if slice_index is None or slice_index[axis] is None]
    return int(np.prod([shape[axis] for axis in times], dtype=np.int64))


def with_sizes(table: pd.DataFrame, layer: Layer) -> pd.DataFrame:
    """Return the table of a layer with the area or volume of each cluster, and its unit.

    Earlier columns of sizes are replaced. A table without counts is returned unchanged.
    """
    if not set(COUNT_COLUMNS) <= set(table):
        return table
    size, plain = counted_size(layer), drop_sizes(table)
    return plain if size is None else add_sizes(plain, size)


def format_area(layer: Layer, n_pixels: int) -> str:
    """Return the area or volume of pixels that the table of a layer counts, such as 12.3 mm².

    In a layer with several frames, this is the mean per frame. The text is empty if the
    size of a pixel is not known.
    """
    size = counted_size(layer)
    return "" if size is None else f"{format_number(n_pixels * size.value)} {size.unit}".rstrip()


def describe_size(layer: Layer) -> str:
    """Return the word for the sizes of a layer: Length, Area or Volume, or Area / frame."""
    size = counted_size(layer)
    if size is None:
        return "Size"
    return size.name.replace(PER_FRAME, " / frame").capitalize()


def format_number(value: float) -> str:
    """Return a number of at least 0 in few digits: 1,234 or 12.3.

    Integers and numbers from 1000 are written as integers below a billion. All
    other numbers are rounded to three digits.
    """
    return f"{value:,.0f}" if 999.5 <= value < 1e9 or value == int(value) < 1e9 else f"{value:.3g}"
