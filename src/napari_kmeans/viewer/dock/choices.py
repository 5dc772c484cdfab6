"""The fields for the level and the slices of a layer that are fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox

from napari_kmeans.files.units import AreaUnit, area_unit
from napari_kmeans.options import AUTO
from napari_kmeans.viewer.from_layers.channels import (
    MAX_CHANNELS,
    has_label,
    likely_channel_axis,
    without_axis,
)
from napari_kmeans.viewer.from_layers.geometry import is_time
from napari_kmeans.viewer.from_layers.source import (
    EACH,
    WHOLE,
    Stack,
    default_level,
    layer_levels,
    shown_slice,
    spatial_shape,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image

METHODS = [("coreset (fast)", "coreset"), ("full (exact)", "full")]
"""The names and the values of the choices in the field *Method*."""

THIS = "this"
"""The choice of the slice in view, beside WHOLE and EACH."""


PIXELS, AREA = "pixels", "area"
"""The units of the field *Minimum size*."""


def size_unit_field(area: Callable[[], AreaUnit | None]) -> ComboBox:
    """Return the field for the unit of the minimum size."""
    return ComboBox(
        name="size_unit",
        label="Unit",
        tooltip="Count pixels of full resolution, or measure the area or volume of a region.",
        choices=lambda _: [("px", PIXELS), ((area() or AreaUnit("area", 1.0)).symbol, AREA)],
        value=PIXELS,
    )


def area_unit_of(layer: Image | None, stack: str, channel_axis: int | None) -> AreaUnit | None:
    """Return the unit of the areas or volumes of a layer; None if its scale states no size."""
    if layer is None:
        return None
    axes = [axis for axis in range(layer.ndim) if axis != channel_axis]
    if len(axes) > 2 and stack == THIS:
        shown = shown_slice(layer)
        axes = [axis for axis in axes if shown[axis] is None]
    elif len(axes) > 2 and stack == EACH:
        axes = axes[-2:]
    units = [str(unit) for unit in layer.units]
    axes = [axis for axis in axes if not is_time(layer.axis_labels[axis], layer.units[axis])]
    return area_unit([float(layer.scale[axis]) for axis in axes], [units[axis] for axis in axes])


def stack_field() -> ComboBox:
    """Return the field for the slices of a stack that are clustered."""
    return ComboBox(
        name="stack",
        label="Stack",
        tooltip=(
            "Whole stack: the same clusters in all slices. This slice: only the slice in view; "
            "the other slices stay unchanged. Each slice: separate clusters for each slice, with "
            "labels that correspond."
        ),
        choices=[("whole stack", WHOLE), ("this slice", THIS), ("each slice", EACH)],
        value=WHOLE,
    )


def channel_axis_field(choices: Callable[[Any], list[tuple[str, Any]]]) -> ComboBox:
    """Return the field for the axis of a layer along which its channels lie."""
    return ComboBox(
        name="channel_axis",
        label="Channel axis",
        tooltip=(
            "The axis of the layer along which its channels lie. They are clustered together, as "
            "the colors of one image."
        ),
        choices=choices,
        nullable=True,
    )


def channel_axis_choices(layer: Image | None) -> list[tuple[str, Any]]:
    """Return the choices for the axis of channels: pairs of a name and a number."""
    if likely_channel_axis(layer) is None:
        return []
    assert layer is not None
    sizes = layer_levels(layer)[0].shape
    labels = layer.axis_labels
    return [
        (f"axis {axis}{_label_text(labels[axis])}, {size} long", axis)
        for axis, size in enumerate(sizes)
        if 2 <= size <= MAX_CHANNELS
    ]


def describe_likely_channels(layer: Image | None, chosen: int | None) -> str:
    """Return the hint that an axis of a layer looks like channels; empty if one is chosen."""
    axis = likely_channel_axis(layer)
    if layer is None or axis is None or chosen is not None:
        return ""
    return (
        f"Axis {axis} of the layer has {layer_levels(layer)[0].shape[axis]} steps and may be its "
        "channels. Choose it as the channel axis to cluster the channels together."
    )


def _label_text(label: str) -> str:
    return f" ({label})" if has_label(label) else ""


def level_field(choices: Callable[[Any], list[tuple[str, Any]]]) -> ComboBox:
    """Return the field for the level that is fitted."""
    return ComboBox(
        name="level",
        label="Fit on",
        tooltip=(
            "The resolution level on which clusters are computed; all levels are painted. auto: "
            "the finest level for full, the coarsest level of at least 4 megapixels for a coreset."
        ),
        choices=choices,
    )


def level_choices(
    layer: Image | None, stack: str, method: str, channel_axis: int | None = None
) -> list[tuple[str, Any]]:
    """Return the choices for the level: pairs of a name and "auto" or a number.

    "auto" comes first. Its name contains the level that it stands for.
    """
    if layer is None or not layer.multiscale:
        return [(AUTO, AUTO)]
    levels = layer_levels(layer)
    shapes = [without_axis(spatial_shape(each, layer.rgb), channel_axis) for each in levels]
    kind: Stack = stack
    if stack == THIS:
        kind = without_axis(shown_slice(layer), channel_axis)
    names = [f"level {n} ({_format_shape(shape)})" for n, shape in enumerate(shapes)]
    chosen = default_level(shapes, kind, method)
    return [(f"{AUTO}: level {chosen}", AUTO), *((name, n) for n, name in enumerate(names))]


def _format_shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))  # noqa: RUF001 - the usual sign between sizes


def stack_to_fit(choice: str, layer: Image, channel_axis: int | None = None) -> Stack:
    """Return the slices that a choice in the field *Stack* means for a layer.

    Raises
    ------
    ValueError
        If the choice is the slice in view, and the slider is beyond the image.
    """
    shape = without_axis(spatial_shape(layer_levels(layer)[0], layer.rgb), channel_axis)
    if len(shape) < 3:
        return WHOLE
    if choice != THIS:
        return choice
    index = without_axis(shown_slice(layer), channel_axis)
    for place, size in zip(index, shape, strict=True):
        if place is not None and not 0 <= place < size:
            raise ValueError(
                f"the slice in view must be in the image, got index {place} of {size} slices: "
                "move the slider to a slice of the image."
            )
    return index
