"""Give images the pixel size that the command line states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_kmeans.batch.channels import find_axis_of_channels
from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.picture import Axis
from napari_kmeans.files.units import LENGTHS

if TYPE_CHECKING:
    from napari_kmeans.files.picture import Picture

_NAMES = ("z", "y", "x")


def set_pixel_size(picture: Picture, spacing: float | tuple[float, ...]) -> Picture:
    """Return an image whose pixels have another size than its file states.

    Parameters
    ----------
    picture : Picture
    spacing : float or tuple of float
        The distance of neighboring pixels along all axes of space, or along each axis but that
        of the channels; 0 for an axis of time. In the unit of the file, or in micrometers if the
        file states none. Inches are the unit of a resolution for printing.

    Raises
    ------
    UnreadableImageError
        If the spacing has another number of axes.
    """
    channels = find_axis_of_channels(picture)
    axes = list(picture.axes) or _name_axes(picture.pixels.ndim, channels)
    own = [number for number in range(len(axes)) if number != channels]
    spatial = [number for number in own if axes[number].kind == "space"]
    if not isinstance(spacing, tuple):
        sizes = dict.fromkeys(spatial or own[-len(_NAMES) :], spacing)
    elif len(spacing) == len(own):
        sizes = dict(zip(own, spacing, strict=True))
    else:
        raise UnreadableImageError(
            f"--spacing must have a number for each of its {len(own)} axes besides channels, got "
            f"{len(spacing)}"
        )
    for number, size in sizes.items():
        axis = axes[number]
        has_length = axis.unit in LENGTHS and axis.unit != "inch"
        if size:
            unit = axis.unit if has_length else "micrometer"
            axes[number] = axis._replace(kind="space", unit=unit, scale=size)
        elif axis.kind != "time":
            axes[number] = axis._replace(kind="time", unit="", scale=1.0)
    return picture._replace(axes=tuple(axes))


def _name_axes(n_axes: int, channels: int | None) -> list[Axis]:
    """Return axes for an image whose file states none: the last are those of space."""
    own = [number for number in range(n_axes) if number != channels]
    axes = [Axis("c", "channel")] * n_axes
    for place, number in enumerate(reversed(own)):
        is_space = place < len(_NAMES)
        axes[number] = Axis(_NAMES[-1 - place] if is_space else f"a{place}", "space" * is_space)
    return axes
