"""Write images as TIFF or PNG, with their axes, pixel size, channels, georeference and profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans._version import __version__
from napari_kmeans.files.picture import Axis
from napari_kmeans.files.resolution import is_resolution_of_print
from napari_kmeans.files.result_record import RECORD_KEY, RECORD_TAG, encode_record
from napari_kmeans.files.units import LENGTHS, TIMES, convert_length

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_kmeans.files.picture import Channel, Picture

SOFTWARE = f"napari-kmeans {__version__}"

IMAGEJ_ORDER = "TZCYXS"
"""The order of the axes of ImageJ, and of OME-TIFF as it is written here."""

IMAGEJ_BYTES = 2**32 - 2**25
"""ImageJ reads no BigTIFF. Its files end below 4 GiB, with room for metadata."""

IMAGEJ_UNITS = {"micrometer": "um"}
"""ImageJ's metadata are in Latin-1 or ASCII. It shows um as µm."""

OME_DTYPES = ("i1", "i2", "i4", "u1", "u2", "u4", "f4", "f8")

MAX_DPI = 2540
"""The largest resolution that is written to a PNG file: that of scanners and cameras.

Programs for microscopy and maps ignore the pixel size in a PNG file.
"""


def write_png(path: Path, picture: Picture, record: dict[str, Any]) -> None:
    """Write an image that `png_holds`, with its print resolution, color profile and record."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_itxt(RECORD_KEY, encode_record(record, picture.pixels.shape, picture.axes))
    settings: dict[str, Any] = {"pnginfo": text}
    resolution = _print_resolution(picture)
    if resolution is not None:
        # Pillow multiplies by the inches of a meter again.
        settings["dpi"] = tuple(value * LENGTHS["inch"].size for value in resolution)
    if picture.profile:
        settings["icc_profile"] = picture.profile
    Image.fromarray(picture.pixels).save(path, "PNG", **settings)


def png_holds(picture: Picture) -> bool:
    """Return whether reading a PNG file gives back an image and its metadata.

    The answer is no for 16-bit colors. PNG can store them, but Pillow, which most
    Python packages use for reading, returns 8 bits. It is also no for a georeference,
    for a pixel size that is no resolution of a scanner, and for one that would be read as the
    resolution of a screen.
    """
    letters, dtype = tiff_axes(picture), picture.pixels.dtype
    plain = letters == "YX" and dtype in (np.uint8, np.uint16)
    if not (plain or (letters == "YXS" and dtype == np.uint8)) or picture.geo_tags:
        return False
    return not _has_place(picture.axes) or _print_resolution(picture) is not None


def _has_place(axes: Sequence[Axis]) -> bool:
    """Return whether an axis has a scale, a unit or a translation."""
    return any((axis.scale, axis.unit, axis.translation) != (1, "", 0) for axis in axes)


def _print_resolution(picture: Picture) -> tuple[float, float] | None:
    """Return the pixels per meter along x and y; None if the axes state no print resolution."""
    plane = [axis for axis in picture.axes if axis.kind == "space"]
    if len(plane) != 2 or any(axis.translation or axis.unit not in LENGTHS for axis in plane):
        return None
    sizes = [_length(axis) * LENGTHS[axis.unit].size for axis in plane]
    dpi = [LENGTHS["inch"].size / size for size in sizes]
    if any(is_resolution_of_print(each) or each > MAX_DPI for each in dpi):
        return None
    y, x = (1 / size for size in sizes)
    return x, y


def tiff_axes(picture: Picture) -> str:
    """Return a letter for each axis of an image, as in TIFF.

    The last spatial axes are Z, Y and X, other spatial axes are Q (unknown), and the
    first axis of time is T. The channels are S if they are colors, otherwise C.
    """
    ndim = picture.pixels.ndim
    channels = ndim - 1 if picture.rgb else picture.channel_axis
    letters = [""] * ndim
    if channels is not None:
        letters[channels % ndim] = "S" if picture.rgb else "C"
    time = (n for n, axis in enumerate(picture.axes) if axis.kind == "time" and not letters[n])
    first = next(time, None)
    if first is not None:
        letters[first] = "T"
    names = iter("XYZ")
    return "".join([letter or next(names, "Q") for letter in reversed(letters)])[::-1]


def write_tiff(path: Path, picture: Picture, record: dict[str, Any]) -> None:
    """Write an image as TIFF, compressed with zlib.

    The file has the metadata of ImageJ if ImageJ reads its dtype, size and axes: Fiji
    and tifffile read them. Otherwise it is an OME-TIFF file, which has more
    dtypes, units and bytes. An image that neither can describe, such as int64, has the
    metadata of tifffile and resolution tags. So has a line of pixels with more axes of
    length 1.

    Parameters
    ----------
    path : Path
    picture : Picture
        An image in memory.
    record : dict
        The record of the result. The colors of its classes become the lookup table of
        ImageJ.
    """
    import tifffile

    letters = tiff_axes(picture)
    axes = picture.axes or (Axis(""),) * len(letters)
    by_letter = dict(zip(letters, axes, strict=True))
    pixels = picture.pixels.astype(picture.pixels.dtype.newbyteorder("="), copy=False)
    if set(letters) <= set(IMAGEJ_ORDER):
        order = sorted(range(len(letters)), key=lambda axis: IMAGEJ_ORDER.index(letters[axis]))
        pixels, axes = pixels.transpose(order), tuple(axes[axis] for axis in order)
        letters = "".join(letters[axis] for axis in order)
    arguments = (
        _imagej_arguments(pixels, letters, by_letter, picture.channels, record)
        or _ome_arguments(pixels, letters, by_letter, picture.channels)
        or _plain_arguments(letters, by_letter)
    )
    has_alpha = letters.endswith("S") and pixels.shape[-1] == 4
    text = encode_record(record, pixels.shape, axes if picture.axes else ()).encode()
    tifffile.imwrite(
        path,
        pixels,
        photometric="rgb" if letters.endswith("S") else "minisblack",
        extrasamples=["unassalpha"] if has_alpha else None,
        compression="zlib",
        software=SOFTWARE,
        iccprofile=picture.profile or None,
        extratags=[(RECORD_TAG, "s", 0, text, True), *((*tag, True) for tag in picture.geo_tags)],
        **arguments,
    )


def _imagej_arguments(
    pixels: np.ndarray,
    letters: str,
    axes: dict[str, Axis],
    channels: Sequence[Channel],
    record: dict[str, Any],
) -> dict[str, Any] | None:
    """Return the arguments of `tifffile.imwrite` for an ImageJ file, or None if it cannot be one.

    ImageJ has one unit for all spatial axes. Times are in seconds, and origins in pixels.
    """
    dtypes = (np.uint8,) if "S" in letters else (np.uint8, np.uint16, np.float32)
    spaces = {letter: axes[letter] for letter in "XYZ" if letter in letters}
    unit = spaces["X"].unit
    scales = {name: convert_length(_length(axis), axis.unit, unit) for name, axis in spaces.items()}
    if (
        not {*"YX"} <= {*letters} <= {*IMAGEJ_ORDER}
        or {"C", "S"} <= set(letters)
        or pixels.dtype not in dtypes
        or pixels.nbytes > IMAGEJ_BYTES
        or not unit.isascii()
        or not all(scales.values())
        # tifffile takes a last axis of length 1 in ImageJ stacks for samples.
        or (pixels.ndim > 2 and pixels.shape[letters.index("X")] == 1)
        or _is_line(pixels, letters)
    ):
        return None
    metadata: dict[str, Any] = {
        "axes": letters,
        **_imagej_colors(pixels, letters, channels, record),
    }
    if unit:
        name = LENGTHS[unit].symbol if unit in LENGTHS else unit
        metadata["unit"] = IMAGEJ_UNITS.get(unit, name if name.isascii() else unit)
    if "Z" in scales:
        metadata["spacing"] = scales["Z"]
    for name, axis in spaces.items():
        if axis.translation and axis.scale > 0:
            metadata[f"{name.lower()}origin"] = -axis.translation / axis.scale
    if "T" in letters and axes["T"].unit in TIMES:
        metadata["finterval"] = axes["T"].scale * TIMES[axes["T"].unit].size
    resolution = [1 / float(scales[name] or 1) for name in "XY"]
    return {
        "imagej": True,
        "metadata": metadata,
        "resolution": tuple(resolution),
        "resolutionunit": "none",
    }


def _is_line(pixels: np.ndarray, letters: str) -> bool:
    """Return whether an axis of the plane has length 1, and another axis too.

    tifffile leaves out the axes of length 1 of ImageJ and OME-TIFF files, and nobody could
    tell which of the axes those were.
    """
    lengths = dict(zip(letters, pixels.shape, strict=True))
    plane = [lengths.pop(letter) for letter in "YX"]
    return 1 in plane and 1 in lengths.values()


def _imagej_colors(
    pixels: np.ndarray, letters: str, channels: Sequence[Channel], record: dict[str, Any]
) -> dict[str, Any]:
    """Return the colors and names of classes or channels, as metadata of ImageJ."""
    metadata: dict[str, Any] = {}
    classes = record.get("classes", ())
    if classes:
        names = (f"{each['label']} {each['color']} {each['name']}".strip() for each in classes)
        # ImageJ reads this text as UTF-16, and shows it with Image > Show Info.
        metadata["Info"] = "\n".join(names)
        if pixels.dtype == np.uint8:
            lut = np.zeros((256, 3), np.uint8)
            for each in classes:
                lut[each["label"]] = _rgb(each["color"])
            metadata["LUTs"] = [lut.T]
    if _has_channels(letters, channels):
        others = pixels.size // (len(channels) * pixels.shape[-1] * pixels.shape[-2])
        metadata["mode"] = "composite" if "C" in letters else "grayscale"
        metadata["Labels"] = [channel.name for channel in channels] * others
        ramp = np.arange(256)[None] / 255
        metadata["LUTs"] = [
            np.rint(_rgb(channel.color or "#ffffff")[:, None] * ramp).astype(np.uint8)
            for channel in channels
        ]
    return metadata


def _has_channels(letters: str, channels: Sequence[Channel]) -> bool:
    """Return whether channels are those of an image. A gray image may be one channel of a file."""
    return "C" in letters if len(channels) > 1 else "S" not in letters and bool(channels)


def _ome_arguments(
    pixels: np.ndarray, letters: str, axes: dict[str, Axis], channels: Sequence[Channel]
) -> dict[str, Any] | None:
    """Return the arguments of `tifffile.imwrite` for an OME-TIFF file, or None if it cannot be one.

    Units that OME does not have are left out, with the sizes in them.
    """
    if (
        not {*"YX"} <= {*letters} <= {*IMAGEJ_ORDER}
        or pixels.dtype.str[1:] not in OME_DTYPES
        or _is_line(pixels, letters)
    ):
        return None
    plane = 3 if "S" in letters else 2
    n_planes = int(np.prod(pixels.shape[:-plane], dtype=np.int64))
    metadata: dict[str, Any] = {"axes": letters, "Creator": SOFTWARE}
    planes: dict[str, Any] = {}
    for letter in "XYZ":
        axis = axes.get(letter)
        if axis is None or axis.unit not in LENGTHS:
            continue
        symbol = LENGTHS[axis.unit].symbol
        metadata[f"PhysicalSize{letter}"] = _length(axis)
        metadata[f"PhysicalSize{letter}Unit"] = symbol
        if axis.translation:
            planes[f"Position{letter}"] = [axis.translation] * n_planes
            planes[f"Position{letter}Unit"] = [symbol] * n_planes
    if planes:
        metadata["Plane"] = planes
    if "T" in axes and axes["T"].unit in TIMES:
        metadata["TimeIncrement"] = axes["T"].scale
        metadata["TimeIncrementUnit"] = TIMES[axes["T"].unit].symbol
    if _has_channels(letters, channels):
        metadata["Channel"] = {
            "Name": [channel.name for channel in channels],
            "Color": [_ome_color(channel.color or "#ffffff") for channel in channels],
        }
    return {"ome": True, "metadata": metadata, "bigtiff": pixels.nbytes > IMAGEJ_BYTES}


def _plain_arguments(letters: str, axes: dict[str, Axis]) -> dict[str, Any]:
    """Return the arguments of `tifffile.imwrite` for a file with tifffile's own metadata."""
    plane = [axes.get(letter, Axis("")) for letter in "XY"]
    metadata = {"axes": letters}
    if not all(axis.unit in LENGTHS for axis in plane):
        return {"metadata": metadata}
    sizes = [_length(axis) * LENGTHS[axis.unit].size / LENGTHS["centimeter"].size for axis in plane]
    return {
        "metadata": metadata,
        "resolution": tuple(1 / size for size in sizes),
        "resolutionunit": "centimeter",
    }


def _length(axis: Axis) -> float:
    """Return the size of a pixel. The scale of an axis that runs backwards is negative."""
    return abs(axis.scale) or 1.0


def _rgb(color: str) -> np.ndarray:
    """Return the red, green and blue of a color #rrggbb, from 0 to 255."""
    return np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)])


def _ome_color(color: str) -> int:
    """Return a color #rrggbb as OME does: the signed integer of red, green, blue and alpha."""
    number = int(color[1:] + "ff", 16)
    return number - 2**32 if number >= 2**31 else number
