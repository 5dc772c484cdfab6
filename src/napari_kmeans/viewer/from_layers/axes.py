"""The axes of a layer, in the words of image files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_kmeans.files.ome_zarr_writer import spatial_axes
from napari_kmeans.files.picture import Axis
from napari_kmeans.files.units import LENGTHS, TIMES
from napari_kmeans.viewer.from_layers.geometry import is_time

if TYPE_CHECKING:
    from napari.layers import Layer


def layer_axes(layer: Layer) -> tuple[Axis, ...]:
    """Return the name, kind, unit, scale and translation of each axis of a layer.

    An axis is of time if its label or its unit says so. Rotation and shear are left out.
    A unit that is neither a length nor a time, such as a pixel, is left out too.
    """
    axes = []
    attributes = zip(
        layer.axis_labels,
        layer.units,
        layer.scale.tolist(),
        layer.translate.tolist(),
        spatial_axes(layer.ndim),
        strict=True,
    )
    for label, quantity, scale, translation, default in attributes:
        unit = str(quantity)
        # napari's own labels are "axis -2" and "axis -1".
        name = default.name if label.startswith("axis ") else label
        kind = "time" if is_time(label, quantity) else "space"
        known = unit if unit in LENGTHS or unit in TIMES else ""
        axes.append(Axis(name, kind, known, scale, translation))
    return tuple(axes)
