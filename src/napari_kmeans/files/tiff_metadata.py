"""Read what TIFF files state about their axes, channels, place on the Earth and missing data."""

from __future__ import annotations

import re
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from napari_kmeans.files.picture import Axis, Channel
from napari_kmeans.files.resolution import (
    MICROMETERS_PER_INCH,
    is_possible_size,
    is_resolution_of_print,
    is_resolution_of_screen,
)
from napari_kmeans.files.units import LENGTHS, TIMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import tifffile

    from napari_kmeans.files.tiff_series import TiffImage

AXIS_KINDS = {"S": "channel", "C": "channel", "T": "time", "X": "space", "Y": "space", "Z": "space"}
"""The kind of each axis, as in OME-Zarr. TIFF calls the axis of colors S (samples)."""

UNITS = {
    "micrometer": ("µm", "μm", "um", "micron", "microns", "micrometer", "micrometers", "\\u00b5m"),
    "nanometer": ("nm", "nanometer", "nanometers"),
    "millimeter": ("mm", "millimeter", "millimeters"),
    "centimeter": ("cm", "centimeter", "centimeters"),
    "meter": ("m", "meter", "meters", "metre"),
    "kilometer": ("km", "kilometer"),
    "picometer": ("pm", "picometer"),
    "angstrom": ("å", "angstrom"),
    "inch": ("in", "inch", "inches"),
    "foot": ("ft", "foot", "feet"),
    "yard": ("yd", "yard", "yards"),
    "mile": ("mi", "mile", "miles"),
    "decimeter": ("dm", "decimeter", "decimeters"),
    "second": ("s", "sec", "second", "seconds"),
    "millisecond": ("ms", "msec", "millisecond"),
    "microsecond": ("µs", "μs", "us", "microsecond"),
    "nanosecond": ("ns", "nanosecond"),
    "minute": ("min", "minute", "minutes"),
    "hour": ("h", "hour", "hours"),
    "day": ("d", "day", "days"),
}
"""The names of units in OME-Zarr, and the spellings in TIFF files."""

UNIT_NAMES = {spelling: name for name, spellings in UNITS.items() for spelling in spellings}

SYMBOLS = {unit.symbol: name for name, unit in {**LENGTHS, **TIMES}.items()}
"""The names of units by their symbols. Upper case counts: Mm is not mm."""

EXPOSURE = {"ExposureTime", "FNumber", "FocalLength"}
"""Entries of Exif that cameras write."""

RESOLUTION_UNITS = {2: "inch", 3: "centimeter", 4: "millimeter", 5: "micrometer"}
"""The values of the tag ResolutionUnit."""

GEO_UNITS = {9001: "meter", 9002: "foot", 9003: "foot", 9036: "kilometer", 9102: "degree"}
"""Units of the European Petroleum Survey Group in GeoTIFF. 9003 is the foot of US surveys."""

GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)
"""ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, GeoDoubleParams,
GeoAsciiParams, GDAL_METADATA and GDAL_NODATA."""


class Step(NamedTuple):
    """The distance of neighboring pixels along one axis."""

    scale: float
    unit: str = ""
    translation: float = 0.0


def read_axes(file: tifffile.TiffFile, image: TiffImage, letters: str) -> tuple[Axis, ...]:
    """Return the axes of an image, one for each letter of tifffile."""
    steps = _read_steps(file, image)
    return tuple(
        Axis(
            "c" if letter in "SC" else letter.lower(),
            AXIS_KINDS.get(letter, ""),
            *_name_step(steps.get(letter)),
        )
        for letter in letters
    )


def _name_step(step: Step | None) -> tuple[str, float, float]:
    if step is None or not isfinite(step.scale) or step.scale <= 0:
        return "", 1.0, 0.0
    return step.unit, float(step.scale), float(step.translation)


def find_unit(text: Any) -> str:
    """Return the name of a unit in OME-Zarr; empty if it is a pixel or unknown."""
    found = str(text).strip()
    return SYMBOLS.get(found) or UNIT_NAMES.get(found.lower(), "")


def _read_steps(file: tifffile.TiffFile, image: TiffImage) -> dict[str, Step]:
    """Return the steps by axis letter, from the first source in the file that states any."""
    for read in STEP_SOURCES:
        # Damaged metadata count as missing. Their readers raise exceptions of many types.
        try:
            steps = dict(read(file, image))
        except Exception:
            continue
        if steps:
            return steps
    return {}


def _read_ome_steps(file: tifffile.TiffFile, image: TiffImage) -> Iterator[tuple[str, Step]]:
    pixels = _find_ome_pixels(file, image)
    if pixels is None:
        return
    for letter in "XYZ":
        if size := pixels.get(f"PhysicalSize{letter}"):
            yield (
                letter,
                Step(float(size), find_unit(pixels.get(f"PhysicalSize{letter}Unit", "µm"))),
            )
    if interval := pixels.get("TimeIncrement"):
        yield "T", Step(float(interval), find_unit(pixels.get("TimeIncrementUnit", "s")))


def _find_ome_pixels(file: tifffile.TiffFile, image: TiffImage) -> ElementTree.Element | None:
    """Return the element of an image in OME-XML."""
    if image.series.kind != "ome":
        return None
    root = ElementTree.fromstring(file.ome_metadata or "")
    found = [
        (element.get("Name") or "", pixels)
        for element in root
        if element.tag.endswith("Image")
        for pixels in element
        if pixels.tag.endswith("Pixels")
    ]
    series = [each for each in file.series if each.kind == "ome"]
    if len(found) == len(series):
        return found[series.index(image.series)][1]
    size = str(image.page.imagewidth), str(image.page.imagelength)
    alike = [
        pixels
        for name, pixels in found
        if name == image.series.name and (pixels.get("SizeX"), pixels.get("SizeY")) == size
    ]
    return alike[0] if len(alike) == 1 else None


def _read_imagej_steps(file: tifffile.TiffFile, image: TiffImage) -> Iterator[tuple[str, Step]]:
    if image.series.kind != "imagej":
        return
    metadata = file.imagej_metadata or {}
    unit = find_unit(metadata.get("unit", ""))
    if "unit" not in metadata:
        # Steps along z have this unit, too.
        unit = RESOLUTION_UNITS.get(image.page.tags.valueof(296, default=1), "")
    is_print = "unit" not in metadata and bool(_find_unusable_resolution(image.page))
    for letter, code, origin in (("X", 282, "xorigin"), ("Y", 283, "yorigin")):
        if is_print:
            continue
        if scale := _read_pixel_length(image.page, code):
            yield letter, Step(scale, unit, -scale * float(metadata.get(origin, 0)))
    if spacing := abs(float(metadata.get("spacing", 0))):
        yield "Z", Step(spacing, unit, -spacing * float(metadata.get("zorigin", 0)))
    time_unit = find_unit(metadata.get("tunit", "sec"))
    if interval := float(metadata.get("finterval", 0)):
        yield "T", Step(interval, time_unit)
    elif rate := float(metadata.get("fps", 0)):
        yield "T", Step(1 / rate, time_unit)


def _read_lsm_steps(file: tifffile.TiffFile, image: TiffImage) -> Iterator[tuple[str, Step]]:
    metadata = file.lsm_metadata or {}
    for letter in "XYZ":
        if size := metadata.get(f"VoxelSize{letter}"):
            yield letter, Step(size * 1e6, "micrometer")
    if interval := metadata.get("TimeIntervall"):
        yield "T", Step(interval, "second")


def _read_stk_steps(file: tifffile.TiffFile, image: TiffImage) -> Iterator[tuple[str, Step]]:
    metadata = file.stk_metadata or {}
    unit = find_unit(metadata.get("CalibrationUnits", ""))
    for letter in "XY":
        if size := metadata.get(f"{letter}Calibration"):
            yield letter, Step(float(np.ravel(size)[0]), unit)
    distances = np.ravel(metadata.get("ZDistance", ()))
    if len(distances) and distances[0]:
        yield "Z", Step(float(distances[0]), unit)
    times = np.ravel(metadata.get("TimeCreated", ())).astype(float)
    if len(times) > 1 and times[-1] > times[0]:
        # Milliseconds since midnight.
        yield "T", Step((times[-1] - times[0]) / (len(times) - 1), "millisecond")


def _read_micromanager_steps(
    file: tifffile.TiffFile, image: TiffImage
) -> Iterator[tuple[str, Step]]:
    summary = (file.micromanager_metadata or {}).get("Summary") or {}
    if size := summary.get("PixelSize_um"):
        yield "X", Step(float(size), "micrometer")
        yield "Y", Step(float(size), "micrometer")
    if depth := summary.get("z-step_um"):
        yield "Z", Step(abs(float(depth)), "micrometer")
    if interval := summary.get("Interval_ms"):
        yield "T", Step(float(interval), "millisecond")


def _read_svs_steps(file: tifffile.TiffFile, image: TiffImage) -> Iterator[tuple[str, Step]]:
    """Return the micrometers per pixel of a slide of Aperio."""
    if not file.is_svs:
        return
    for size in re.findall(r"\bMPP\s*=\s*([\d.]+)", file.pages.first.description)[:1]:
        yield "X", Step(float(size), "micrometer")
        yield "Y", Step(float(size), "micrometer")


def _read_philips_steps(file: tifffile.TiffFile, image: TiffImage) -> Iterator[tuple[str, Step]]:
    if file.is_philips:
        root = ElementTree.fromstring(file.philips_metadata or "")
        text = next(
            each.text or "" for each in root.iter() if each.get("Name") == "DICOM_PIXEL_SPACING"
        )
        rows, columns = (float(value) for value in text.replace('"', "").split())
        yield "Y", Step(rows, "millimeter")
        yield "X", Step(columns, "millimeter")


def _read_microscope_steps(file: tifffile.TiffFile, image: TiffImage) -> Iterator[tuple[str, Step]]:
    """Return the steps in files of electron microscopes (FEI, Zeiss) and MetaMorph."""
    if file.is_fei:
        scan = (file.fei_metadata or {})["Scan"]
        yield "X", Step(float(scan["PixelWidth"]), "meter")
        yield "Y", Step(float(scan["PixelHeight"]), "meter")
    elif file.is_sem:
        _, size, unit = (file.sem_metadata or {})["ap_image_pixel_size"]
        yield "X", Step(float(size), find_unit(unit))
        yield "Y", Step(float(size), find_unit(unit))
    elif file.is_metaseries:
        plane = (file.metaseries_metadata or {})["PlaneInfo"]
        unit = find_unit(plane["spatial-calibration-units"])
        yield "X", Step(float(plane["spatial-calibration-x"]), unit)
        yield "Y", Step(float(plane["spatial-calibration-y"]), unit)


def _read_geo_steps(file: tifffile.TiffFile, image: TiffImage) -> Iterator[tuple[str, Step]]:
    """Return the steps of GeoTIFF. Coordinates are left to the tags: north is up there."""
    page = image.page
    unit = _read_geo_unit(page)
    if scales := page.tags.valueof(33550):
        yield "X", Step(abs(float(scales[0])), unit)
        yield "Y", Step(abs(float(scales[1])), unit)
    elif matrix := page.tags.valueof(34264):
        columns = np.array(matrix, float).reshape(4, 4)[:2]
        yield "X", Step(float(np.hypot(*columns[:, 0])), unit)
        yield "Y", Step(float(np.hypot(*columns[:, 1])), unit)


def _read_geo_unit(page: tifffile.TiffPage) -> str:
    keys = page.tags.valueof(34735) or ()
    entries = {keys[start]: keys[start + 3] for start in range(4, len(keys) - 3, 4)}
    # GTModelType 2: longitude and latitude.
    if entries.get(1024) == 2:
        return GEO_UNITS.get(entries.get(2054, 9102), "")
    return GEO_UNITS.get(entries.get(3076, 9001), "") if entries else ""


def _read_resolution_steps(file: tifffile.TiffFile, image: TiffImage) -> Iterator[tuple[str, Step]]:
    if not _find_unusable_resolution(image.page):
        # Inch and centimeter are units of resolutions: no object is measured in square
        # centimeters because its file states pixels per centimeter.
        for letter, size in _read_resolution_sizes(image.page).items():
            yield letter, Step(size, "micrometer")


def _read_resolution_sizes(page: tifffile.TiffPage) -> dict[str, float]:
    """Return the micrometers per pixel by axis letter, as the tags of the resolution state them."""
    # Inch is the default of the unit. Programs that know no size write 1 without a unit.
    stated = page.tags.valueof(296)
    unit = RESOLUTION_UNITS.get(2 if stated is None else int(stated))
    if unit is None:
        return {}
    micrometers = LENGTHS[unit].size / LENGTHS["micrometer"].size
    lengths = {"X": _read_pixel_length(page, 282), "Y": _read_pixel_length(page, 283)}
    return {
        letter: float(f"{length * micrometers:.12g}")
        for letter, length in lengths.items()
        if length and not (stated is None and length == 1)
    }


def _find_unusable_resolution(page: tifffile.TiffPage) -> str:
    """Return why a stated resolution is no pixel size, for a note; empty if it is one.

    The resolution of screens and cameras is the size of a print, as in `photographs`. A resolution
    in centimeters is that of a screen only if screens have it: 10 pixels per centimeter are
    written for an object.
    """
    sizes = _read_resolution_sizes(page)
    if not all(map(is_possible_size, sizes.values())):
        size = next(size for size in sizes.values() if not is_possible_size(size))
        return f"its resolution states {size:.4g} µm per pixel, which is no pixel size"
    is_in_inches = page.tags.valueof(296) in (None, 2)
    is_print = is_resolution_of_print if is_in_inches else is_resolution_of_screen
    found = [
        dpi for dpi in (MICROMETERS_PER_INCH / size for size in sizes.values()) if is_print(dpi)
    ]
    if found:
        return f"its resolution, {found[0]:.4g} dpi, is that of a screen or a print, no pixel size"
    exif = page.tags.valueof(34665)
    if sizes and isinstance(exif, dict) and EXPOSURE & exif.keys():
        return "its resolution is that of a camera, no pixel size"
    return ""


def note_unusable_resolution(image: TiffImage, axes: Sequence[Axis]) -> str:
    """Return a message if a resolution is no pixel size, and the file states no other; or empty."""
    if any(axis.name in ("y", "x") and (axis.unit or axis.scale != 1) for axis in axes):
        return ""
    # Damaged metadata count as missing, as in `_read_steps`.
    try:
        why = _find_unusable_resolution(image.page)
    except Exception:
        return ""
    return f"{why}: give --spacing for areas" if why else ""


def _read_pixel_length(page: tifffile.TiffPage, code: int) -> float:
    """Return the length of a pixel by a tag of pixels per unit; 0 if it is not stated."""
    pixels, units = page.tags.valueof(code) or (0, 0)
    return units / pixels if pixels > 0 and units > 0 else 0.0


STEP_SOURCES: tuple[Callable[[Any, Any], Iterator[tuple[str, Step]]], ...] = (
    _read_ome_steps,
    _read_imagej_steps,
    _read_lsm_steps,
    _read_stk_steps,
    _read_micromanager_steps,
    _read_svs_steps,
    _read_philips_steps,
    _read_microscope_steps,
    _read_geo_steps,
    _read_resolution_steps,
)
"""The sources of steps, in the order in which they are asked."""


def read_channels(file: tifffile.TiffFile, image: TiffImage, count: int) -> tuple[Channel, ...]:
    """Return the names and colors of channels; empty if the file states none for `count`."""
    for read in CHANNEL_SOURCES:
        try:
            channels = tuple(read(file, image, count))
        except Exception:
            continue
        if len(channels) == count and any(channel != Channel() for channel in channels):
            return channels
    return ()


def _read_ome_channels(file: tifffile.TiffFile, image: TiffImage, count: int) -> Iterator[Channel]:
    pixels = _find_ome_pixels(file, image)
    for element in () if pixels is None else pixels:
        if element.tag.endswith("Channel"):
            color = element.get("Color")
            # A signed number of 32 bits: red, green, blue and alpha.
            number = None if color is None else int(color) % 2**32 >> 8
            yield Channel(element.get("Name") or "", None if number is None else f"#{number:06x}")


def _read_imagej_channels(
    file: tifffile.TiffFile, image: TiffImage, count: int
) -> Iterator[Channel]:
    metadata = file.imagej_metadata or {}
    tables = metadata.get("LUTs", [])
    names = _read_imagej_names(metadata.get("Labels", []), image.series, count)
    for number in range(count):
        color = _format_color(tables[number][:, -1]) if len(tables) == count else None
        yield Channel(str(names[number]), color)


def _read_imagej_names(labels: list[str], series: tifffile.TiffPageSeries, count: int) -> list[str]:
    """Return the names of channels: the labels of their planes, if all of a channel are equal."""
    if len(labels) == count:
        return labels
    # There is one label for each plane, in the order of the planes.
    axes = zip(series.axes, series.shape, strict=True)
    sizes = {letter: size for letter, size in axes if letter not in "YXS"}
    if sizes.get("C") != count or len(labels) != prod(sizes.values()):
        return [""] * count
    planes = np.array(labels, object).reshape(tuple(sizes.values()))
    by_channel = np.moveaxis(planes, list(sizes).index("C"), 0).reshape(count, -1)
    alike = (by_channel == by_channel[:, :1]).all()
    return [str(name) for name in by_channel[:, 0]] if alike else [""] * count


def _read_lsm_channels(file: tifffile.TiffFile, image: TiffImage, count: int) -> Iterator[Channel]:
    metadata = (file.lsm_metadata or {})["ChannelColors"]
    for name, color in zip(metadata["ColorNames"], metadata["Colors"], strict=True):
        yield Channel(str(name), _format_color(color[:3]))


def _read_micromanager_channels(
    file: tifffile.TiffFile, image: TiffImage, count: int
) -> Iterator[Channel]:
    summary = (file.micromanager_metadata or {}).get("Summary") or {}
    names = summary["ChNames"]
    colors = summary.get("ChColors") or [None] * len(names)
    for name, color in zip(names, colors, strict=True):
        yield Channel(str(name), None if color is None else f"#{color % 2**24:06x}")


def _read_qpi_channels(file: tifffile.TiffFile, image: TiffImage, count: int) -> Iterator[Channel]:
    if image.series.kind == "qpi":
        for page in image.series:
            root = ElementTree.fromstring(page.aspage().description if page else "")
            color = root.findtext("Color")
            yield Channel(
                root.findtext("Name") or "",
                _format_color([int(part) for part in color.split(",")]) if color else None,
            )


def _read_gdal_channels(file: tifffile.TiffFile, image: TiffImage, count: int) -> Iterator[Channel]:
    """Return the descriptions of bands."""
    root = ElementTree.fromstring(image.page.tags.valueof(42112) or "")
    names = {
        int(item.get("sample", 0)): item.text or ""
        for item in root.iter("Item")
        if item.get("role") == "description"
    }
    for number in range(count if names else 0):
        yield Channel(names.get(number, ""))


CHANNEL_SOURCES: tuple[Callable[[Any, Any, int], Iterator[Channel]], ...] = (
    _read_ome_channels,
    _read_imagej_channels,
    _read_lsm_channels,
    _read_micromanager_channels,
    _read_qpi_channels,
    _read_gdal_channels,
)
"""The sources of channels, in the order in which they are asked."""


def _format_color(color: Sequence[int]) -> str:
    red, green, blue = (int(part) & 255 for part in color[:3])
    return f"#{red:02x}{green:02x}{blue:02x}"


def read_geo_tags(page: tifffile.TiffPage) -> tuple[tuple[int, int, int, Any], ...]:
    """Return the tags of a georeference, for `tifffile.TiffWriter`.

    Texts are bytes, as in the file: their encoding is unknown, and tifffile writes texts as ASCII.
    """
    found: list[tuple[int, int, int, Any]] = []
    for code in GEO_TAGS:
        tag = page.tags.get(code)
        if tag is None:
            continue
        if isinstance(tag.value, str | bytes):
            with Path(page.parent.filehandle.path).open("rb") as stream:
                stream.seek(tag.valueoffset)
                text = stream.read(tag.count)
            found.append((code, int(tag.dtype), len(text), text))
        else:
            value = tuple(np.ravel(tag.value).tolist())
            found.append((code, int(tag.dtype), len(value), value))
    return tuple(found)


def read_no_data(page: tifffile.TiffPage) -> Any:
    """Return the value that stands for missing data, in the dtype of the pixels, or None.

    NaN returns None: pixels of NaN are left out anyway.
    """
    dtype = np.dtype(page.dtype)
    try:
        stated = page.tags.valueof(42113)
        text = stated.decode("latin-1").rstrip("\0") if isinstance(stated, bytes) else str(stated)
        # Some programs write the comma of their language.
        text = text.replace(",", ".")
        number = int(text) if text.strip("+- ").isdigit() else float(text)
    except ValueError:
        return None
    if not isfinite(number) and dtype.kind != "f":
        return None
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if number != round(number) or not limits.min <= number <= limits.max:
            return None
        return dtype.type(int(number))
    value = dtype.type(number)
    return None if np.isnan(value) else value
