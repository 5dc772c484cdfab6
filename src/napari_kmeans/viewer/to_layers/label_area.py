"""The area or volume of labels in the units of their layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.viewer.from_layers.geometry import AffineMap
from napari_kmeans.viewer.from_layers.source import layer_levels
from napari_kmeans.viewer.to_layers.label_table import counted_level, counted_slice

if TYPE_CHECKING:
    from napari.layers import Labels


def format_area(layer: Labels, n_pixels: int) -> str:
    """Return the area or volume of pixels that the table of a layer counts, such as 12.3 mm²."""
    size = (n_pixels * _pixel_size(layer)).to_reduced_units()
    units = f"{size.units:~P}".replace("pixel", "px")
    return f"{format_number(size.magnitude)} {units}"


def format_number(value: float) -> str:
    """Return a number of at least 0 in few digits: 1,234 or 12.3.

    Integers and numbers from 1000 are written as integers below a billion. All
    other numbers are rounded to three digits.
    """
    return f"{value:,.0f}" if 999.5 <= value < 1e9 or value == int(value) < 1e9 else f"{value:.3g}"


def _pixel_size(layer: Labels) -> Any:
    """Return the size of one counted pixel in the world, with its units."""
    size: Any = AffineMap.to_world(layer).volume * _finest_pixels_per_counted_pixel(layer)
    for unit in layer.units:
        size = size * unit
    return size


def _finest_pixels_per_counted_pixel(layer: Labels) -> float:
    """Return the number of pixels of the finest level in one counted pixel.

    The number is the ratio of the shapes, because a level may be smaller by any
    factor along each axis. If a single slice was counted, the axes across the
    slice have the factor 1: the slice is as thick as in the finest level.
    """
    levels, slice_index = layer_levels(layer), counted_slice(layer)
    ratios = np.divide(levels[0].shape, levels[counted_level(layer)].shape)
    is_counted = [slice_index is None or slice_index[axis] is None for axis in range(layer.ndim)]
    return float(np.prod(ratios[is_counted]))
