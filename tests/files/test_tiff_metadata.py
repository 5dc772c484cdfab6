"""Axes, sizes, units, channels and georeferences that TIFF files state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pint
import pytest
import tifffile
from PIL import Image as PillowImage
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from napari_kmeans.files.picture import Axis, Channel
from napari_kmeans.files.reading import read_image
from napari_kmeans.files.tiff_writer import write_tiff
from napari_kmeans.files.units import LENGTHS, TIMES

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(13)
STACK = RNG.integers(0, 99, (2, 3, 20, 30), dtype=np.uint16)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "image.tif"


def steps(path: Path) -> dict[str, tuple[float, str]]:
    return {axis.name: (axis.scale, axis.unit) for axis in read_image(path).axes}


def test_axes_of_ome(path):
    metadata = {
        "axes": "TCYX",
        "PhysicalSizeX": 0.5,
        "PhysicalSizeXUnit": "mm",
        "PhysicalSizeY": 0.25,
        "TimeIncrement": 20,
        "TimeIncrementUnit": "ms",
        "Channel": {"Name": ["a", "b", "c"], "Color": [-16776961, 16711935, 65535]},
    }
    tifffile.imwrite(path, STACK, ome=True, metadata=metadata, photometric="minisblack")
    picture = read_image(path)
    assert picture.axes == (
        Axis("t", "time", "millisecond", 20),
        Axis("c", "channel"),
        Axis("y", "space", "micrometer", 0.25),
        Axis("x", "space", "millimeter", 0.5),
    )
    assert picture.channel_axis == 1
    assert picture.channels == (
        Channel("a", "#ff0000"),
        Channel("b", "#00ff00"),
        Channel("c", "#0000ff"),
    )


@pytest.mark.parametrize(
    ("unit", "name"),
    [("um", "micrometer"), ("\\u00B5m", "micrometer"), ("micron", "micrometer"),
     ("nm", "nanometer"), ("cm", "centimeter"), ("inch", "inch"), ("pixel", ""), ("bananas", "")],
)  # fmt: skip
def test_units_of_imagej(path, unit, name):
    metadata = {"axes": "TZYX", "unit": unit, "spacing": 3.0, "finterval": 0.5}
    tifffile.imwrite(path, STACK, imagej=True, metadata=metadata, resolution=(4, 8))
    assert steps(path) == {
        "t": (0.5, "second"),
        "z": (3, name),
        "y": (0.125, name),
        "x": (0.25, name),
    }


def test_origin_and_frame_rate_of_imagej(path):
    metadata = {"axes": "TZYX", "unit": "um", "spacing": 3.0, "fps": 4.0, "tunit": "ms"}
    origin = {"xorigin": 10, "yorigin": -20.0, "zorigin": 1}
    tifffile.imwrite(path, STACK, imagej=True, metadata=metadata | origin, resolution=(4, 8))
    assert read_image(path).axes == (
        Axis("t", "time", "millisecond", 0.25),
        Axis("z", "space", "micrometer", 3, -3),
        Axis("y", "space", "micrometer", 0.125, 2.5),
        Axis("x", "space", "micrometer", 0.25, -2.5),
    )


def test_channels_of_imagej(path):
    ramp = np.arange(256, dtype=np.uint8)
    tables = [np.stack([ramp, ramp * 0, ramp]), np.stack([ramp * 0, ramp, ramp * 0])]
    metadata = {"axes": "CYX", "mode": "composite", "Labels": ["nuclei", "cells"], "LUTs": tables}
    tifffile.imwrite(path, STACK[:, 0], imagej=True, metadata=metadata)
    assert read_image(path).channels == (
        Channel("nuclei", "#ff00ff"),
        Channel("cells", "#00ff00"),
    )


@pytest.mark.parametrize(
    ("labels", "names"),
    [(["DAPI", "GFP"] * 6, ["DAPI", "GFP"]), ([f"plane {n}" for n in range(12)], [])],
)
def test_labels_of_planes_that_repeat_are_channels_of_imagej(path, labels, names):
    pixels = RNG.integers(0, 99, (2, 3, 2, 20, 30), dtype=np.uint8)
    metadata = {"axes": "TZCYX", "Labels": labels}
    tifffile.imwrite(path, pixels, imagej=True, metadata=metadata)
    picture = read_image(path)
    assert picture.channel_axis == 2
    assert [channel.name for channel in picture.channels] == names


@pytest.mark.parametrize(("unit", "sizes"), [("inch", (127, 63.5)), ("centimeter", (50, 25))])
def test_resolution_with_a_unit_is_a_size_in_micrometers(path, unit, sizes):
    tifffile.imwrite(path, STACK[0, 0], resolution=(400, 200), resolutionunit=unit)
    assert steps(path) == {
        "y": (sizes[0], "micrometer"),
        "x": (sizes[1], "micrometer"),
    }


@pytest.mark.parametrize(
    "options", [{}, {"resolution": (200, 100), "resolutionunit": "none"}, {"resolution": (0, 0)}]
)
def test_resolution_without_a_unit_is_no_size(path, options):
    tifffile.imwrite(path, STACK[0, 0], **options)
    assert steps(path) == {"y": (1, ""), "x": (1, "")}


@pytest.mark.parametrize("dpi", [1, 72, 96, 100, 120, 144, 192])
def test_resolution_of_a_screen_is_no_size(path, dpi):
    PillowImage.fromarray(STACK[0, 0].astype(np.uint8)).save(path, dpi=(dpi, dpi))
    assert steps(path) == {"y": (1, ""), "x": (1, "")}
    assert read_image(path).note == (
        f"its resolution, {dpi} dpi, is that of a screen or a print, no pixel size: give "
        "--spacing for areas"
    )


@pytest.mark.parametrize("dpi", [150, 300, 600])
def test_resolution_of_a_scanner_is_a_size(path, dpi):
    PillowImage.fromarray(STACK[0, 0].astype(np.uint8)).save(path, dpi=(dpi, dpi))
    assert steps(path)["x"] == (pytest.approx(25400 / dpi), "micrometer")
    assert not read_image(path).note


def test_resolution_in_centimeters_is_no_size_only_for_that_of_a_screen(path):
    for resolution, expected in ((28.3465, 1), (37.8, 1), (10, 1000), (20, 500)):
        tifffile.imwrite(
            path, STACK[0, 0], resolution=(resolution,) * 2, resolutionunit="centimeter"
        )
        assert steps(path)["x"][0] == expected
        assert bool(read_image(path).note) == (expected == 1)


def test_resolution_of_an_impossible_size_is_none(path):
    for resolution in ((1, 4_000_000_000), (4_000_000_000, 1)):
        tifffile.imwrite(path, STACK[0, 0], resolution=(50, 50), resolutionunit="micrometer")
        with tifffile.TiffFile(path, mode="r+") as file:
            for code in (282, 283):
                file.pages.first.tags[code].overwrite(resolution)
        assert steps(path) == {"y": (1, ""), "x": (1, "")}
        assert "µm per pixel, which is no pixel size" in read_image(path).note


def test_resolution_of_a_camera_is_no_size(path):
    tags = ImageFileDirectory_v2()
    # The exposure time in the tags of Exif.
    tags[34665] = {0x829A: 0.01}
    PillowImage.fromarray(STACK[0, 0].astype(np.uint8)).save(path, dpi=(300, 300), tiffinfo=tags)
    assert steps(path) == {"y": (1, ""), "x": (1, "")}
    assert "camera" in read_image(path).note


def test_other_statements_of_a_size_count_beside_the_resolution_of_a_screen(path):
    options = {"resolution": (72, 72), "resolutionunit": "inch"}
    metadata = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "axes": "YX"}
    tifffile.imwrite(path, STACK[0, 0], ome=True, metadata=metadata, **options)
    assert steps(path) == {"y": (0.5, "micrometer"), "x": (0.5, "micrometer")}
    assert not read_image(path).note
    tifffile.imwrite(path, STACK[0, 0], imagej=True, resolution=(4, 4), metadata={"unit": "um"})
    assert steps(path) == {"y": (0.25, "micrometer"), "x": (0.25, "micrometer")}
    # ImageJ writes the unit of its size: without one, the resolution is a default.
    tifffile.imwrite(path, STACK[0, 0], imagej=True, **options)
    assert steps(path) == {"y": (1, ""), "x": (1, "")}
    assert "72 dpi" in read_image(path).note


GEO_KEYS = (1, 1, 0, 2, 1024, 0, 1, 1, 3076, 0, 1, 9001)
PLACE = [
    (33550, 12, 3, (30.0, 20.0, 0.0), True),
    (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 4e6, 0.0), True),
    (34735, 3, len(GEO_KEYS), GEO_KEYS, True),
    (34737, 2, 0, "UTM zone 33N|", True),
    (42112, 2, 0, '<GDALMetadata><Item name="DESCRIPTION" sample="1" role="description">NIR</Item>'
     "</GDALMetadata>", True),
    (42113, 2, 0, "0", True),
]  # fmt: skip


def test_georeference_and_band_names(path, tmp_path):
    bands = np.moveaxis(STACK[0], 0, -1)
    tifffile.imwrite(path, bands, photometric="minisblack", planarconfig="contig", extratags=PLACE)
    picture = read_image(path)
    assert steps(path) == {"y": (20, "meter"), "x": (30, "meter"), "c": (1, "")}
    assert [each.name for each in picture.channels] == ["", "NIR", ""]
    copy = tmp_path / "copy.tif"
    tifffile.imwrite(copy, STACK[0, 0], extratags=[(*tag, True) for tag in picture.geo_tags])
    with tifffile.TiffFile(path) as a, tifffile.TiffFile(copy) as b:
        assert a.geotiff_metadata == b.geotiff_metadata
        for code in (33550, 33922, 34735, 34737, 42112, 42113):
            assert a.pages[0].tags[code].value == b.pages[0].tags[code].value


@pytest.mark.parametrize("kind", [1, 2, 7])
@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "cp1252", "utf-16"])
def test_texts_of_a_georeference_are_written_as_they_are(path, tmp_path, kind, encoding):
    name = "Höhe" if encoding != "ascii" else "height"
    text = name.encode(encoding) + b"|" + bytes(kind == 2)
    tags = [(code, kind, len(text), text, True) for code in (34737, 42112)]
    tifffile.imwrite(path, STACK[0, 0], extratags=[*PLACE[:3], *tags])
    copy = tmp_path / "copy.tif"
    write_tiff(copy, read_image(path)._replace(pixels=STACK[0, 0]), {"kind": "labels"})
    for file in (path, copy):
        data = file.read_bytes()
        with tifffile.TiffFile(file) as opened:
            for code in (34737, 42112):
                tag = opened.pages.first.tags[code]
                assert tag.dtype == kind
                assert data[tag.valueoffset : tag.valueoffset + tag.count] == text


def test_missing_data_are_stated_as_bytes(path):
    tifffile.imwrite(path, STACK[0, 0], extratags=[(42113, 1, 2, b"7\0", True)])
    np.testing.assert_array_equal(read_image(path).mask, STACK[0, 0] != 7)


def test_transformation_of_geotiff_in_degrees(path):
    keys = (1, 1, 0, 2, 1024, 0, 1, 2, 2054, 0, 1, 9102)
    matrix = (0.3, 0.4, 0, 10, 0.4, -0.3, 0, 50, 0, 0, 0, 0, 0, 0, 0, 1)
    tags = [(34264, 12, 16, matrix, True), (34735, 3, len(keys), keys, True)]
    tifffile.imwrite(path, STACK[0, 0], extratags=tags)
    assert steps(path) == {"y": (0.5, "degree"), "x": (0.5, "degree")}


def test_the_georeference_of_a_turned_image_is_left_out_with_a_note(path):
    tifffile.imwrite(path, STACK[0, 0], extratags=[*PLACE[:3], (274, 3, 1, 6, True)])
    picture = read_image(path)
    assert picture.geo_tags == ()
    assert picture.note == "its georeference is left out, because the image is turned"


@pytest.mark.parametrize("axes", ["RYX", "AYX", "QYX", "HYX"])
def test_other_axes_keep_their_letter(path, axes):
    tifffile.imwrite(path, STACK[0], metadata={"axes": axes}, photometric="minisblack")
    picture = read_image(path)
    assert picture.axes[0] == Axis(axes[0].lower(), "")
    assert (picture.rgb, picture.channel_axis) == (False, None)


def test_a_volume_of_three_columns_is_no_color_image(path):
    tifffile.imwrite(path, STACK[0, :, :, :3], metadata={"axes": "ZYX"}, photometric="minisblack")
    assert read_image(path).rgb is False


def test_channels_of_colors_are_a_stack(path):
    image = RNG.integers(0, 99, (2, 20, 30, 3), dtype=np.uint8)
    tifffile.imwrite(path, image, metadata={"axes": "CYXS"}, photometric="rgb")
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, image)
    assert (picture.rgb, picture.channel_axis) == (True, None)
    assert [axis.kind for axis in picture.axes] == ["", "space", "space", "channel"]


def test_channels_of_samples_are_joined(path):
    image = RNG.integers(0, 99, (2, 20, 30, 5), dtype=np.uint8)
    metadata = {"axes": "CYXS"}
    tifffile.imwrite(
        path, image, metadata=metadata, photometric="minisblack", planarconfig="contig"
    )
    picture = read_image(path)
    expected = np.moveaxis(image, 0, -2).reshape(20, 30, 10)
    np.testing.assert_array_equal(picture.pixels, expected)
    assert (picture.rgb, picture.channel_axis) == (False, 2)
    assert [axis.name for axis in picture.axes] == ["y", "x", "c"]


def test_the_last_axis_is_color_whatever_its_letter(path):
    image = RNG.integers(0, 99, (20, 30, 3), dtype=np.uint8)
    tifffile.imwrite(path, image, metadata={"axes": "YXC"}, photometric="rgb")
    picture = read_image(path)
    assert (picture.rgb, picture.channel_axis) == (True, None)


def test_damaged_metadata_count_as_missing(path):
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.5}
    tifffile.imwrite(path, STACK[0], ome=True, metadata=metadata, photometric="minisblack")
    path.write_bytes(path.read_bytes().replace(b'SizeX="0.5"', b'SizeX="x.5"'))
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, STACK[0])
    assert {axis.scale for axis in picture.axes} == {1}


@pytest.mark.parametrize(
    "unit",
    [
        "fm",
        "pm",
        "Å",
        "nm",
        "µm",
        "mm",
        "cm",
        "dm",
        "m",
        "hm",
        "km",
        "Mm",
        "Gm",
        "Tm",
        "Pm",
        "thou",
        "in",
        "ft",
        "yd",
        "mi",
    ],
)
def test_lengths_of_ome_are_those_of_pint(path, unit):
    metadata = {"axes": "YX", "PhysicalSizeX": 2.5, "PhysicalSizeXUnit": unit}
    tifffile.imwrite(path, STACK[0, 0], ome=True, metadata=metadata)
    axis = read_image(path).axes[1]
    assert axis.scale == 2.5
    meters = pint.Quantity(1, unit).to("meter").magnitude
    assert pint.Quantity(1, axis.unit).to("meter").magnitude == pytest.approx(meters, rel=1e-12)
    assert LENGTHS[axis.unit].size == pytest.approx(meters, rel=1e-12)


@pytest.mark.parametrize("unit", ["ps", "ns", "µs", "ms", "s", "min", "h", "d", "Ms"])
def test_times_of_ome_are_those_of_pint(path, unit):
    metadata = {"axes": "TYX", "TimeIncrement": 2.5, "TimeIncrementUnit": unit}
    tifffile.imwrite(path, STACK[0], ome=True, metadata=metadata)
    axis = read_image(path).axes[0]
    assert axis.scale == 2.5
    assert pint.Unit(axis.unit) == pint.Unit(unit)
    seconds = pint.Quantity(1, unit).to("second").magnitude
    assert TIMES[axis.unit].size == pytest.approx(seconds, rel=1e-12)
