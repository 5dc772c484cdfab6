"""The fields that say what of a layer is fitted: which level, and which slices of a stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox

from napari_kmeans.options import AUTO
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

THIS = "this"


def stack_field() -> ComboBox:
    """Return the field for what is clustered of a stack."""
    return ComboBox(
        name="stack",
        label="Stack",
        tooltip=(
            "Whole stack: the same clusters in all slices. This slice: the one in view, the rest "
            "stays as it is. Each slice: clusters of its own, with labels that correspond."
        ),
        choices=[("whole stack", WHOLE), ("this slice", THIS), ("each slice", EACH)],
        value=WHOLE,
    )


def level_field(choices: Callable[[Any], list[tuple[str, Any]]]) -> ComboBox:
    """Return the field for the resolution that is fitted."""
    return ComboBox(
        name="level",
        label="Fit on",
        tooltip=(
            "The resolution at which clusters are found; all are painted. auto takes the finest "
            "for full, and for a coreset the coarsest of at least 4 megapixels."
        ),
        choices=choices,
    )


def level_choices(layer: Image | None, stack: str, method: str) -> list[tuple[str, Any]]:
    """Return the levels of a layer by name, the one that is taken by itself first."""
    if layer is None or not layer.multiscale:
        return [(AUTO, AUTO)]
    shapes = [spatial_shape(level, layer.rgb) for level in layer_levels(layer)]
    kind = shown_slice(layer) if stack == THIS else stack
    names = [f"level {n} ({_format_shape(shape)})" for n, shape in enumerate(shapes)]
    chosen = default_level(shapes, kind, method)
    return [(f"{AUTO}: level {chosen}", AUTO), *((name, n) for n, name in enumerate(names))]


def _format_shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))  # noqa: RUF001 - as one writes sizes


def stack_to_fit(choice: str, layer: Image) -> Stack:
    """Return what is clustered of a layer, by the choice in the field.

    Raises
    ------
    ValueError
        If it is the slice in view, and the image has none there.
    """
    if layer.ndim < 3:
        return WHOLE
    if choice != THIS:
        return choice
    index = shown_slice(layer)
    shape = spatial_shape(layer_levels(layer)[0], layer.rgb)
    for place, size in zip(index, shape, strict=True):
        if place is not None and not 0 <= place < size:
            raise ValueError(
                f"the slice in view must be one of the image, got {place} of {size}: "
                "move the slider to a slice that the image has."
            )
    return index
