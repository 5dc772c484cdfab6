"""TIFF and PNG files of results, read back with tifffile and Pillow."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage
from PIL import ImageCms

from napari_kmeans.files import tiff_writer
from napari_kmeans.files.picture import Axis, Channel, Picture
from napari_kmeans.files.reading import read_image
from napari_kmeans.files.result_record import read_record, recorded_axes
from napari_kmeans.files.tiff_writer import png_holds, tiff_axes, write_png, write_tiff

SPACE = (
    Axis("z", unit="millimeter", scale=0.002),
    Axis("y", unit="micrometer", scale=0.5, translation=4.0),
    Axis("x", unit="micrometer", scale=0.25, translation=-3.0),
)
TIME = Axis("t", "time", "millisecond", 40.0)
CHANNEL = Axis("c", "channel")
RECORD = {"kind": "recolored", "version": "0"}
LABELS = {
    "kind": "labels",
    "classes": [
        {"label": 1, "name": "nucleus µ", "color": "#0080ff"},
        {"label": 2, "name": "", "color": "#ffffff"},
    ],
}
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def make(shape, dtype):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def resolution(page, name):
    numerator, denominator = page.tags[f"{name}Resolution"].value
    return numerator / denominator


@pytest.mark.parametrize(
    ("dtype", "axes", "letters"),
    [
        ("u1", SPACE[1:], "YX"),
        ("u2", SPACE, "ZYX"),
        (">u2", SPACE, "ZYX"),
        ("f4", (TIME, *SPACE), "TZYX"),
        ("u1", (*SPACE, TIME), "TZYX"),
    ],
)
def test_imagej_metadata_state_the_physical_size(tmp_path, dtype, axes, letters):
    pixels = make((2, 3, 4, 5)[: len(axes)], dtype)
    write_tiff(tmp_path / "a.tif", Picture(pixels, rgb=False, axes=axes), RECORD)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page, metadata = file.pages.first, file.imagej_metadata
        assert (file.is_imagej, file.series[0].axes) == (True, letters)
        moved = np.moveaxis(pixels, -1, 0) if axes[-1] == TIME else pixels
        np.testing.assert_array_equal(file.asarray(), moved)
        # One unit for all axes, and one pixel is 0.25 µm wide: 4 pixels in a µm.
        assert metadata["unit"] == "um"
        assert (resolution(page, "X"), resolution(page, "Y")) == (4, 2)
        assert page.tags["ResolutionUnit"].value == 1
        # ImageJ: position = (index - origin) * size.
        assert (metadata["xorigin"], metadata["yorigin"]) == (12, -8)
        if "Z" in letters:
            assert metadata["spacing"] == pytest.approx(2.0)
        if "T" in letters:
            assert metadata["finterval"] == pytest.approx(0.04)
    stored = [axes[-1], *axes[:-1]] if axes[-1] == TIME else axes
    assert recorded_axes(read_record(tmp_path / "a.tif")) == tuple(stored)


@pytest.mark.parametrize(
    ("shape", "dtype", "axes", "letters"),
    [
        ((4, 5), "i2", SPACE[1:], "YX"),
        ((3, 4, 5), "f8", SPACE, "ZYX"),
        ((4, 5, 3), "u2", (*SPACE[1:], CHANNEL), "YXS"),
        ((4, 5, 4), "f4", (*SPACE[1:], CHANNEL), "YXS"),
        ((2, 3, 4, 5), "u4", (TIME, *SPACE), "TZYX"),
    ],
)
def test_ome_metadata_state_the_physical_size(tmp_path, shape, dtype, axes, letters):
    pixels = make(shape, dtype)
    write_tiff(tmp_path / "a.tif", Picture(pixels, rgb="S" in letters, axes=axes), RECORD)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert (file.is_ome, file.series[0].axes) == (True, letters)
        np.testing.assert_array_equal(file.asarray(), pixels)
        tree = ElementTree.fromstring(file.ome_metadata)
    found = tree.find(".//{*}Pixels").attrib
    assert (found["PhysicalSizeX"], found["PhysicalSizeXUnit"]) == ("0.25", "µm")
    assert (found["PhysicalSizeY"], found["PhysicalSizeYUnit"]) == ("0.5", "µm")
    if "Z" in letters:
        assert (found["PhysicalSizeZ"], found["PhysicalSizeZUnit"]) == ("0.002", "mm")
    if "T" in letters:
        assert (found["TimeIncrement"], found["TimeIncrementUnit"]) == ("40.0", "ms")
    planes = tree.findall(".//{*}Plane")
    assert {(each.get("PositionX"), each.get("PositionXUnit")) for each in planes} == {
        ("-3.0", "µm")
    }


@pytest.mark.parametrize("dtype", ["u2", "f8"])
def test_channels_have_names_and_colors(tmp_path, dtype):
    pixels = make((4, 5, 2), dtype)
    channels = (Channel("DAPI", "#0000ff"), Channel("GFP"))
    picture = Picture(pixels, False, 2, axes=(*SPACE[1:], CHANNEL), channels=channels)
    write_tiff(tmp_path / "a.tif", picture, RECORD)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.series[0].axes == "CYX"
        np.testing.assert_array_equal(file.asarray(), np.moveaxis(pixels, 2, 0))
        if dtype == "u2":
            assert file.imagej_metadata["Labels"] == ["DAPI", "GFP"]
            blue, white = file.imagej_metadata["LUTs"]
            assert blue[:, -1].tolist() == [0, 0, 255]
            assert white[:, 128].tolist() == [128, 128, 128]
            return
        found = ElementTree.fromstring(file.ome_metadata).findall(".//{*}Channel")
    assert [each.get("Name") for each in found] == ["DAPI", "GFP"]
    # OME-XML states a color as the signed integer of red, green, blue and alpha.
    assert [int(each.get("Color")) for each in found] == [0x0000FFFF, -1]


@pytest.mark.parametrize(
    ("shape", "dtype", "axes"),
    [((4, 5), "i8", SPACE[1:]), ((2, 2, 2, 4, 5), "u1", (Axis("p"), Axis("q"), *SPACE))],
)
def test_other_images_have_resolution_tags(tmp_path, shape, dtype, axes):
    pixels = make(shape, dtype)
    write_tiff(tmp_path / "a.tif", Picture(pixels, rgb=False, axes=axes), RECORD)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages.first
        assert not file.is_imagej
        assert not file.is_ome
        assert file.series[0].axes == "QQZYX"[-len(shape) :]
        np.testing.assert_array_equal(file.asarray(), pixels)
        # 0.25 µm are 40,000 pixels in a centimeter.
        assert (resolution(page, "X"), resolution(page, "Y")) == (40_000, 20_000)
        assert page.tags["ResolutionUnit"].value == 3


def test_images_that_imagej_cannot_hold_are_bigtiff(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_writer, "IMAGEJ_BYTES", 39)
    for size, big in ((39, False), (40, True)):
        pixels = make((1, size), "u1")
        write_tiff(tmp_path / "a.tif", Picture(pixels, rgb=False, axes=SPACE[1:]), RECORD)
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            assert (file.is_bigtiff, bool(file.is_ome), file.is_imagej) == (big, big, not big)
        assert recorded_axes(read_record(tmp_path / "a.tif")) == SPACE[1:]


def test_an_axis_that_runs_backwards_keeps_its_pixel_size(tmp_path):
    axes = tuple(axis._replace(scale=-axis.scale) for axis in SPACE)
    for dtype in ("u1", "f8", "i8"):
        pixels = make((3, 4, 5), dtype)
        write_tiff(tmp_path / "a.tif", Picture(pixels, rgb=False, axes=axes), RECORD)
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            if dtype == "u1":
                assert resolution(file.pages.first, "X") == 4
                assert "xorigin" not in file.imagej_metadata
            np.testing.assert_array_equal(file.asarray(), pixels)
        assert recorded_axes(read_record(tmp_path / "a.tif")) == axes


@pytest.mark.parametrize("axis", [["x"], ["x", "space", "", "a", 0], ["x", "", "", 0, 0], 3])
def test_damaged_axes_of_a_record_are_left_out(axis):
    assert recorded_axes({"axes": [axis]}) == ()
    assert recorded_axes({"axes": [["x", "space", "", float("nan"), 0.0]]}) == ()


def test_classes_are_in_the_file(tmp_path):
    write_tiff(tmp_path / "a.tif", Picture(make((4, 5), "u1"), rgb=False), LABELS)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        lut = np.reshape(file.imagej_metadata["LUTs"], (3, 256))
        assert lut[:, :3].T.tolist() == [[0, 0, 0], [0, 128, 255], [255, 255, 255]]
        assert file.imagej_metadata["Info"] == "1 #0080ff nucleus µ\n2 #ffffff"
        assert file.pages.first.photometric == tifffile.PHOTOMETRIC.MINISBLACK
    assert read_record(tmp_path / "a.tif")["classes"] == LABELS["classes"]
    # The lookup table of ImageJ has 256 entries.
    write_tiff(tmp_path / "b.tif", Picture(make((4, 5), "u2"), rgb=False), LABELS)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert "LUTs" not in file.imagej_metadata


def test_georeference_and_profile_are_written(tmp_path):
    keys = (1, 1, 0, 1, 3072, 0, 1, 32633)
    tags = (
        (33550, 12, 3, (30.0, 30.0, 0.0)),
        (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 4e6, 0.0)),
        (34735, 3, 8, keys),
    )
    picture = Picture(make((4, 5, 3), "u1"), rgb=True, profile=PROFILE, geo_tags=tags)
    assert not png_holds(picture)
    write_tiff(tmp_path / "a.tif", picture, RECORD)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages.first
        assert {tag[0]: page.tags[tag[0]].value for tag in tags} == {tag[0]: tag[3] for tag in tags}
        assert file.geotiff_metadata["ProjectedCSTypeGeoKey"] == 32633
        assert page.iccprofile == PROFILE


def test_png_has_profile_and_resolution(tmp_path):
    inches = (Axis("y", unit="inch", scale=1 / 300), Axis("x", unit="inch", scale=1 / 150), CHANNEL)
    picture = Picture(make((4, 5, 3), "u1"), rgb=True, axes=inches, profile=PROFILE)
    assert png_holds(picture)
    write_png(tmp_path / "a.png", picture, RECORD)
    with PillowImage.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(image, picture.pixels)
        assert image.info["icc_profile"] == PROFILE
        assert image.info["dpi"] == pytest.approx((150, 300), rel=1e-4)
    assert read_record(tmp_path / "a.png")["kind"] == "recolored"
    assert recorded_axes(read_record(tmp_path / "a.png")) == inches


@pytest.mark.parametrize("size", [0.3, 0.3529, 1.0, 25.4 / 144])
def test_png_does_not_hold_a_pixel_size_that_is_the_resolution_of_a_screen(size, tmp_path):
    # Reading takes up to 100 dpi, and 120, 144 and 192 dpi, for the resolution of a screen.
    axes = tuple(Axis(name, unit="millimeter", scale=size) for name in "yx")
    picture = Picture(make((4, 5), "u1"), rgb=False, axes=axes)
    assert not png_holds(picture)
    write_tiff(tmp_path / "a.tif", picture, LABELS)
    read = read_image(tmp_path / "a.tif").axes
    assert [(each.unit, each.scale) for each in read] == [("millimeter", pytest.approx(size))] * 2


def test_a_png_of_16_bits_is_read_back(tmp_path):
    picture = Picture(make((4, 5), "u2") * np.uint16(300), rgb=False)
    assert png_holds(picture)
    write_png(tmp_path / "a.png", picture, RECORD)
    np.testing.assert_array_equal(PillowImage.open(tmp_path / "a.png"), picture.pixels)


@pytest.mark.parametrize(
    "axes",
    [
        SPACE[1:],
        (Axis("y", scale=2.0), Axis("x", scale=2.0)),
        (Axis("y", unit="meter", scale=30.0), Axis("x", unit="meter", scale=30.0)),
        (Axis("y", unit="inch", scale=0.01, translation=1.0), Axis("x", unit="inch", scale=0.01)),
    ],
)
def test_png_does_not_hold_the_pixel_size_of_microscopes_and_maps(axes):
    assert not png_holds(Picture(make((4, 5), "u1"), rgb=False, axes=axes))


def test_axes_without_metadata_are_space():
    assert tiff_axes(Picture(make((2, 3, 4, 5), "u1"), rgb=False)) == "QZYX"
    assert tiff_axes(Picture(make((2, 4, 5, 3), "u1"), rgb=True)) == "ZYXS"
    assert tiff_axes(Picture(make((2, 4, 5), "u1"), False, 0)) == "CYX"


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "f8", "i8"])
@pytest.mark.parametrize(
    "shape",
    [
        (5, 20, 1),
        (5, 1, 20),
        (5, 1, 1),
        (1, 1, 20),
        (1, 20, 1),
        (1, 1, 1),
        (1, 5, 1, 20),
        (1, 5, 20, 1),
        (5, 1, 20, 1),
        (20, 1),
        (1, 20),
        (1, 1),
    ],
)
def test_images_of_length_1_keep_their_shape(tmp_path, shape, dtype):
    pixels = make(shape, dtype)
    axes = (TIME, *SPACE)[-len(shape) :]
    write_tiff(tmp_path / "a.tif", Picture(pixels, rgb=False, axes=axes), RECORD)
    found = tifffile.imread(tmp_path / "a.tif")
    np.testing.assert_array_equal(found, pixels)
    read = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(read.pixels, pixels)
    assert (read.channel_axis, read.rgb) == (None, False)


def test_channels_of_width_1_are_read_as_channels(tmp_path):
    pixels = make((3, 20, 1), "u1")
    picture = Picture(pixels, rgb=False, channel_axis=0, axes=(CHANNEL, *SPACE[1:]))
    write_tiff(tmp_path / "a.tif", picture, RECORD)
    read = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(read.pixels, pixels)
    assert read.channel_axis == 0
    assert [axis.scale for axis in read.axes[1:]] == [0.5, 0.25]
