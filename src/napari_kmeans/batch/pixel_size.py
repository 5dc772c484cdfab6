"""Give images the pixel size that the command line or a metadata file states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from napari_kmeans.batch.channels import find_axis_of_channels
from napari_kmeans.checks import quote_value
from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.picture import Axis
from napari_kmeans.files.units import LENGTHS, convert_length, find_length

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_kmeans.files.picture import Picture

_NAMES = ("z", "y", "x")


class StatedSize(NamedTuple):
    """The pixel size of an image in a metadata file: as `set_pixel_size` takes it."""

    spacing: float | tuple[float, ...]
    unit: str


SIZE, SIZE_UNIT = "pixel_size", "pixel_size_unit"
SIZES = ("pixel_size_z", "pixel_size_y", "pixel_size_x")
"""The columns of a metadata file: one number for all axes, or one for each; and their unit."""


def check_unit(name: str, value: Any) -> str:
    """Return the name of a unit of length that is given by its name or symbol.

    Raises
    ------
    ValueError
        If the value is no unit of length, or if it is the inch, in which files state a
        resolution for printing: `measuring.pixel_size` returns no area then.
    """
    unit = find_length(value) if isinstance(value, str) else None
    if unit in (None, "inch"):
        raise ValueError(
            f"{name} must be a length such as µm, mm or cm, and not inches, got "
            f"{quote_value(value)}: write its symbol."
        )
    return str(unit)


def read_stated_size(
    entries: Mapping[str, Any], image: str, default_unit: str = "micrometer"
) -> StatedSize | None:
    """Return the pixel size in the metadata of an image; None if they state none.

    `default_unit` is the name of the unit of a size that is stated without one.

    Raises
    ------
    ValueError
        If a size is not a number above 0, or if the unit is no length.
    """
    names = [name for name in (SIZE, *SIZES) if entries.get(name) is not None]
    if not names:
        return None
    values = [_to_number(entries[name]) for name in names]
    for name, value in zip(names, values, strict=True):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 < value < float("inf"):
            raise ValueError(
                f"{name} of {image} must be a number above 0, got {quote_value(value)}: correct it."
            )
    if SIZE in names and len(names) > 1:
        raise ValueError(f"{SIZE} of {image} must go without {names[1]}, got both: leave one out.")
    given = str(entries.get(SIZE_UNIT) or default_unit)
    unit = check_unit(f"{SIZE_UNIT} of {image}", given)
    return StatedSize(float(values[0]) if SIZE in names else tuple(map(float, values)), unit)


def _to_number(value: Any) -> Any:
    """Return a text as a number if it is one: one wrong row makes a column of texts."""
    # Python takes "0_25" for 25.
    if not isinstance(value, str) or "_" in value:
        return value
    try:
        return float(value)
    except ValueError:
        return value


def check_spacing(spacing: float | tuple[float, ...]) -> None:
    """Refuse a spacing without an axis of space: areas would be left out without a word.

    Raises
    ------
    ValueError
        If all its numbers are 0.
    """
    if not any(spacing if isinstance(spacing, tuple) else (spacing,)):
        raise ValueError(
            f"spacing must be above 0, got {quote_value(spacing)}: give the distance of "
            "neighboring pixels; in a list, 0 stands for an axis of time."
        )


def set_pixel_size(
    picture: Picture,
    spacing: float | tuple[float, ...],
    unit: str | None = None,
    name: str = "--spacing",
) -> Picture:
    """Return an image whose pixels have another size than its file states.

    Parameters
    ----------
    picture : Picture
    spacing : float or tuple of float
        The distance of neighboring pixels along all axes of space, or along each axis but that
        of the channels; 0 for an axis of time.
    unit : str, optional
        The name of a unit of length. Without it that of the file, or micrometers if the file states
        none. Inches are the unit of a resolution for printing.
    name : str
        The name of the spacing in messages.

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
            f"{name} must have a number for each of its {len(own)} axes besides channels, got "
            f"{len(spacing)}"
        )
    for number, size in sizes.items():
        axis = axes[number]
        has_length = axis.unit in LENGTHS and axis.unit != "inch"
        if size:
            new_unit = unit or (axis.unit if has_length else "micrometer")
            placed = _convert(axis, new_unit)
            axes[number] = placed._replace(kind="space", unit=new_unit, scale=size)
        elif axis.kind != "time":
            axes[number] = axis._replace(kind="time", unit="", scale=1.0)
    return picture._replace(axes=tuple(axes))


def convert_pixel_size(picture: Picture, unit: str) -> Picture:
    """Return an image with its pixel size in another unit of length, which is given by its name.

    A pixel size that the file states without a unit is taken to be in this unit. Inches are the
    unit of a resolution for printing and stay, as does an image without a pixel size.
    """
    spatial = [axis for axis in picture.axes if axis.kind == "space"]
    is_unitless = not any(axis.unit for axis in spatial)
    if is_unitless and any(axis.scale != 1 for axis in spatial):
        axes = [a._replace(unit=unit) if a.kind == "space" else a for a in picture.axes]
    else:
        axes = [axis if axis.unit == "inch" else _convert(axis, unit) for axis in picture.axes]
    return picture._replace(axes=tuple(axes))


def _convert(axis: Axis, unit: str) -> Axis:
    """Return an axis in another unit of length, or unchanged if its unit is no length."""
    scale = convert_length(axis.scale, axis.unit, unit)
    start = convert_length(axis.translation, axis.unit, unit)
    if scale is None or start is None:
        return axis
    return axis._replace(unit=unit, scale=scale, translation=start)


def _name_axes(n_axes: int, channels: int | None) -> list[Axis]:
    """Return axes for an image whose file states none: the last are those of space."""
    own = [number for number in range(n_axes) if number != channels]
    axes = [Axis("c", "channel")] * n_axes
    for place, number in enumerate(reversed(own)):
        is_space = place < len(_NAMES)
        axes[number] = Axis(_NAMES[-1 - place] if is_space else f"a{place}", "space" * is_space)
    return axes
