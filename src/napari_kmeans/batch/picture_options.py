"""The options of a fit for the axes, the pixel size and the channels of an image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_kmeans.batch.channels import find_axis_of_channels, find_channels
from napari_kmeans.files.units import area_unit, comparable_lengths
from napari_kmeans.options import Options

if TYPE_CHECKING:
    from napari_kmeans.files.picture import Axis, Picture
    from napari_kmeans.files.units import AreaUnit


def blur_of_space(picture: Picture, blur: float | tuple[float, ...]) -> float | tuple[float, ...]:
    """Return a blur that does not blur the axes that the file states not to be of space.

    These are time, and axes of unknown meaning such as the pages of a TIFF file.
    """
    kinds = [axis.kind for axis in axes_without_channels(picture)]
    if isinstance(blur, tuple) or not blur or all(kind == "space" for kind in kinds):
        return blur
    return tuple(blur if kind == "space" else 0.0 for kind in kinds)


def options_for(picture: Picture, options: Options) -> Options:
    """Return the options for the axes of space of an image, and for its pixel size.

    Raises
    ------
    ValueError
        If there is a minimum area, but no size of the pixels.
    """
    min_area = options.min_area
    if min_area:
        unit = area_unit_of(picture)
        if unit is None:
            raise ValueError(
                "--min-area must go with --spacing for a file without the size of its pixels, got "
                f"{min_area:g}; use --spacing, or --min-size for a number of pixels"
            )
        min_area *= unit.size
    return replace(
        options,
        blur=blur_of_space(picture, options.blur),
        spacing=spacing_of(picture),
        min_area=min_area,
    )


def axes_without_channels(picture: Picture) -> list[Axis]:
    """Return the axes of an image but that of its channels or colors."""
    channels = find_axis_of_channels(picture)
    return [axis for number, axis in enumerate(picture.axes) if number != channels]


def area_unit_of(picture: Picture) -> AreaUnit | None:
    """Return the unit of areas or volumes; None if the file does not state the size of a pixel.

    Inches are the unit of a resolution for printing.
    """
    axes = [axis for axis in axes_without_channels(picture) if axis.kind == "space"]
    scales, units = [axis.scale for axis in axes], [axis.unit for axis in axes]
    return area_unit(scales, units) if all(scales) and "inch" not in units else None


def spacing_of(picture: Picture) -> float | tuple[float, ...]:
    """Return the distance of neighboring pixels along each axis; 0 for an axis not of space.

    In micrometers if the units of the file are lengths. 1 if the file states no distance.
    """
    axes = axes_without_channels(picture)
    spatial = [axis for axis in axes if axis.kind == "space"]
    scales, units = [abs(axis.scale) for axis in spatial], [axis.unit for axis in spatial]
    distances = iter(comparable_lengths(scales, units) if all(scales) else ())
    known = tuple(next(distances, 0.0) if axis.kind == "space" else 0.0 for axis in axes)
    return known if any(known) else Options.spacing


def channel_names_of(picture: Picture) -> tuple[str, ...]:
    """Return the names of the channels that are compared; nothing if the file has none."""
    rgb, axis = find_channels(picture)
    n_channels = 1 if axis is None else picture.pixels.shape[axis]
    names = tuple(channel.name for channel in picture.channels)
    return names if any(names) and not rgb and len(names) == n_channels else ()
