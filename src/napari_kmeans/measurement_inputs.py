"""Check the arguments of `measure`, and turn them into arrays of the shape of the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.checks import WholeNumber, as_numbers, is_whole_number, quote_value
from napari_kmeans.files.units import SIZE_POWERS
from napari_kmeans.imaging.blocks import as_array, is_dask, open_pixels
from napari_kmeans.measurement_table import FIXED_COLUMNS
from napari_kmeans.measuring import PER_FRAME, PixelSize, channel_names
from napari_kmeans.stacks import StackModel, StackSegmentation

if TYPE_CHECKING:
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.segmentation import Segmentation


@dataclass(frozen=True, eq=False)
class ImageInput:
    """What is measured of one image."""

    name: str
    labels: Any
    image: Any
    regions: Any
    values: Any
    mask: Any


def split_images(
    seg: Segmentation | StackSegmentation,
    multiscale: bool,
    image: Any,
    regions: Any,
    values: Any,
    mask: Any,
    names: Any,
) -> list[ImageInput]:
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
    return [ImageInput(*row) for row in rows]


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


def open_image(
    model: Any, given: ImageInput, shape: tuple[int, ...], *, needs_image: bool
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
        n_channels = next(each.n_channels for each in model.models if each is not None)
        if pixels.n_channels != n_channels:
            raise ValueError(
                f"image must have the model's {n_channels} channels, got {pixels.n_channels}: pass "
                "the image that was segmented."
            )
    else:
        pixels = model.open(given.image, given.mask)
    if pixels.shape != shape:
        raise ValueError(
            f"image must have the spatial shape of the labels {shape}, got {pixels.shape}: pass "
            "the image that was segmented."
        )
    return pixels


def pixel_channels(pixels: Pixels, model: Any) -> dict[str, Any]:
    """Return the channels of the image that was segmented, by their names."""
    if isinstance(model, StackModel):
        model = next(each for each in model.models if each is not None)
    names = channel_names(model)
    return {name: pixels.array[..., number] for number, name in enumerate(names)}


def value_channels(values: Any, shape: tuple[int, ...]) -> dict[str, Any]:
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


def keep_inside(labels: Any, inside: Any) -> Any:
    """Return labels with 0 outside a mask."""
    if is_dask(labels) or is_dask(inside):
        import dask.array as da

        return da.where(inside, labels, labels.dtype.type(0))
    return np.where(inside, labels, labels.dtype.type(0))


def check_slices(slices: Any, n_axes: int) -> dict[int, str]:
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
    taken = [name for name in checked.values() if name in FIXED_COLUMNS]
    if taken:
        raise ValueError(
            f"slices must have other names than the columns of the table, got {taken[0]!r}: "
            'rename it, for example "frame".'
        )
    if len(set(checked.values())) < len(slices):
        raise ValueError(
            f"slices must have different axes and names, got {quote_value(slices)}: name each "
            "axis once."
        )
    return dict(sorted(checked.items()))


def check_spacing(
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
