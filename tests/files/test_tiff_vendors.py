"""Files of microscopes and slide scanners: hand-made with the tags that these programs write."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_kmeans.files import tiff
from napari_kmeans.files.picture import Axis, Channel
from napari_kmeans.files.reading import list_series, read_image

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(15)
PLANE = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
COLOR = RNG.integers(0, 256, (96, 128, 3), dtype=np.uint8)
FORMATS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 12: "d"}

Tag = tuple[int, int, int, bytes]


@pytest.fixture(params=["complete", "lazy"])
def path(request, tmp_path, monkeypatch) -> Path:
    if request.param == "lazy":
        monkeypatch.setattr(tiff, "LARGE", 100)
    return tmp_path / "image"


def tag(code: int, kind: int, *values: Any) -> Tag:
    packed = struct.pack(f"<{len(values)}{FORMATS[kind]}", *values)
    return code, kind, len(values) // (2 if kind == 5 else 1), packed


def make_tiff(pages: list[list[Tag]], blob: bytes = b"") -> bytes:
    """Return a TIFF file of pages with these tags. Tag offsets are positions in the file.

    `blob` begins at byte 8.
    """
    data = bytearray(b"II*\0" + bytes(4) + blob)
    link = 4
    for tags in pages:
        places = []
        for _, _, _, packed in tags:
            places.append(len(data))
            data += packed if len(packed) > 4 else b""
        struct.pack_into("<I", data, link, len(data))
        data += struct.pack("<H", len(tags))
        for (code, kind, count, packed), place in zip(tags, places, strict=True):
            value = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", place)
            data += struct.pack("<HHI", code, kind, count) + value
        link = len(data)
        data += bytes(4)
    return bytes(data)


def plane_tags(shape: tuple[int, int], offsets: list[int], n_bytes: int, **more: Any) -> list[Tag]:
    n_samples = len(offsets)
    return [
        tag(254, 4, more.get("subfiletype", 0)),
        tag(256, 4, shape[1]),
        tag(257, 4, shape[0]),
        tag(258, 3, *[8] * n_samples),
        tag(259, 3, 1),
        tag(262, 3, 2 if n_samples > 1 else 1),
        tag(273, 4, *offsets),
        tag(277, 3, n_samples),
        tag(278, 4, shape[0]),
        tag(279, 4, *[n_bytes] * n_samples),
        tag(284, 3, 2 if n_samples > 1 else 1),
        *more.get("tags", ()),
    ]


def make_lsm(image: np.ndarray) -> bytes:
    """Return a file of Zeiss: (planes, channels, rows, columns), each with a thumbnail."""
    n_planes, n_channels, *shape = image.shape
    names = [f"channel {number}".encode() + b"\0" for number in range(n_channels)]
    colors = bytes([255, 0, 0, 0, 0, 255, 0, 0, 0, 0, 255, 0])
    named = b"".join(struct.pack("<I", len(name)) + name for name in names)
    size = 24 + len(colors) + len(named)
    colors = (
        struct.pack("<6I", size, n_channels, n_channels, 24, 24 + len(colors), 0) + colors + named
    )
    blob = colors + image.tobytes()
    pixels = 8 + len(colors)
    info = struct.pack(
        "<IiiiiiiiiiddddddHHIIIIIdIIIIIIII",
        *(67127628, 148, shape[1], shape[0], n_planes, n_channels, 1, 1, 8, 8),
        *(2e-7, 3e-7, 5e-7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 2.5, 0, 0, 0, 0, 0, 0, 0, 0),
    )
    n_bytes = shape[0] * shape[1]
    pages = []
    for plane in range(n_planes):
        start = pixels + plane * n_channels * n_bytes
        offsets = [start + channel * n_bytes for channel in range(n_channels)]
        own = [(34412, 1, len(info), info)] if plane == 0 else []
        pages.append(plane_tags((shape[0], shape[1]), offsets, n_bytes, tags=own))
        pages.append(plane_tags((8, 8), [pixels] * n_channels, 64, subfiletype=1))
    return make_tiff(pages, blob)


def test_lsm(path):
    image = RNG.integers(0, 256, (4, 3, 20, 30), dtype=np.uint8)
    path.write_bytes(make_lsm(image))
    with tifffile.TiffFile(path) as file:
        assert file.is_lsm
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, image)
    assert (picture.rgb, picture.channel_axis) == (False, 1)
    assert picture.channels == (
        Channel("channel 0", "#ff0000"),
        Channel("channel 1", "#00ff00"),
        Channel("channel 2", "#0000ff"),
    )
    assert [(axis.name, axis.unit) for axis in picture.axes] == [
        ("z", "micrometer"),
        ("c", ""),
        ("y", "micrometer"),
        ("x", "micrometer"),
    ]
    assert [axis.scale for axis in picture.axes] == pytest.approx([0.5, 1, 0.3, 0.2])
    assert len(list_series(path)) == 1


@pytest.mark.parametrize(("pixels", "step"), [(1, (1, "")), (200, (127, "micrometer"))])
def test_inch_is_the_unit_of_a_resolution_without_a_unit(path, pixels, step):
    more = [tag(282, 5, pixels, 1), tag(283, 5, pixels, 1)]
    path.write_bytes(make_tiff([plane_tags((20, 30), [8], 600, tags=more)], PLANE.tobytes()))
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, PLANE)
    assert [(axis.scale, axis.unit) for axis in picture.axes] == [step] * 2


@pytest.mark.parametrize("time", [False, True])
def test_stk(path, time):
    stack = RNG.integers(0, 256, (3, 20, 30), dtype=np.uint8)
    blob = struct.pack("<4I", 1, 4, 1, 2) + struct.pack("<I", 3) + b"um\0"
    units = 8 + 16
    pixels = 8 + len(blob)
    # Tags of MetaMorph: an identifier and a value, or the offset of a value.
    calibration = struct.pack("<8I", 3, 1, 4, 8, 5, 16, 6, units)
    planes = b"".join(
        struct.pack("<6I", 0 if time else 3, 2, 2459000, 1000 + 250 * number, 2459000, 0)
        for number in range(3)
    )
    more = [(33628, 4, 4, calibration), (33629, 5, 3, planes)]
    tags = plane_tags((20, 30), [pixels], 600, tags=more)
    path.write_bytes(make_tiff([tags], blob + stack.tobytes()))
    with tifffile.TiffFile(path) as file:
        assert file.is_stk
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, stack)
    first = Axis("t", "time", "millisecond", 250) if time else Axis("z", "space", "micrometer", 1.5)
    assert picture.axes == (
        first,
        Axis("y", "space", "micrometer", 0.5),
        Axis("x", "space", "micrometer", 0.25),
    )


def write_ome_free(path: Path, image: np.ndarray, *tags: Any, **options: Any) -> None:
    tifffile.imwrite(path, image, metadata=None, extratags=tags, **options)


@pytest.mark.parametrize(
    ("tags", "options", "scales"),
    [
        (
            [(34682, 2, 0, "[Scan]\r\nPixelWidth=2e-09\r\nPixelHeight=4e-09\r\n", True)],
            {},
            (2e-9, 4e-9, "meter"),
        ),
        (
            [(34118, 2, 0, "0\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 5.5 nm\r\n", True)],
            {},
            (5.5, 5.5, "nanometer"),
        ),
        (
            [],
            {
                "software": "MetaSeries",
                "description": "<MetaData><PlaneInfo>"
                '<prop id="spatial-calibration-x" type="float" value="0.65"/>'
                '<prop id="spatial-calibration-y" type="float" value="0.325"/>'
                '<prop id="spatial-calibration-units" type="string" value="um"/>'
                "</PlaneInfo></MetaData>",
            },
            (0.65, 0.325, "micrometer"),
        ),
    ],
    ids=["FEI", "Zeiss SEM", "MetaSeries"],
)
def test_sizes_in_the_metadata_of_microscopes(path, tags, options, scales):
    write_ome_free(path, PLANE, *tags, **options)
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, PLANE)
    y, x = picture.axes
    assert (x.scale, y.scale) == pytest.approx(scales[:2])
    assert x.unit == y.unit == scales[2]


def test_micro_manager(path):
    stack = RNG.integers(0, 256, (2, 3, 20, 30), dtype=np.uint8)
    summary = {
        "MicroManagerVersion": "2.0",
        **{"Frames": 1, "Slices": 2, "Channels": 3, "Positions": 1, "SlicesFirst": True},
        **{"PixelSize_um": 0.1, "z-step_um": -0.4, "Interval_ms": 30},
        **{"ChNames": ["a", "b", "c"], "ChColors": [-65536, -16711936, -16776961]},
    }
    text = json.dumps(summary).encode()
    # The header, the summary, and after the pages the map of their positions.
    header = struct.pack("<8I", 54773648, 0, 0, 0, 0, 0, 2355492, len(text)) + text
    data = bytearray(b"II*\0" + bytes(4) + header)
    settings = struct.pack("<I", len(data))
    data += b'{"a": 1}\0'
    tags = plane_tags((20, 30), [0], 600, tags=[(51123, 2, 9, settings)])
    link, places = 4, []
    # Micro-Manager writes the pixels 162 bytes after the beginning of the page.
    for plane in stack.reshape(6, 20, 30):
        places.append(len(data))
        struct.pack_into("<I", data, link, len(data))
        body = struct.pack("<H", len(tags))
        for code, kind, count, packed in tags:
            value = struct.pack("<I", places[-1] + 162) if code == 273 else packed.ljust(4, b"\0")
            body += struct.pack("<HHI", code, kind, count) + value
        link = len(data) + len(body)
        data += (body + bytes(4)).ljust(162, b"\0") + plane.tobytes()
    struct.pack_into("<I", data, 12, len(data))
    data += struct.pack("<2I", 3453623, 6)
    for number, place in enumerate(places):
        data += struct.pack("<5I", number % 3, number // 3, 0, 0, place)
    path.write_bytes(data)
    with tifffile.TiffFile(path) as file:
        assert file.series[0].kind == "mmstack"
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, stack)
    assert picture.axes == (
        Axis("z", "space", "micrometer", 0.4),
        Axis("c", "channel"),
        Axis("y", "space", "micrometer", 0.1),
        Axis("x", "space", "micrometer", 0.1),
    )
    assert picture.channels == (
        Channel("a", "#ff0000"),
        Channel("b", "#00ff00"),
        Channel("c", "#0000ff"),
    )


def test_qptiff(path):
    levels = [COLOR, COLOR[::2, ::2]]
    text = (
        "<PerkinElmer-QPI-ImageDescription><Name>{}</Name><Color>{}</Color>"
        "</PerkinElmer-QPI-ImageDescription>"
    )
    named = [text.format("DAPI", "0,0,255"), text.format("Opal 520", "0,255,0")]
    options = {"software": "PerkinElmer-QPI", "metadata": None, "photometric": "minisblack"}
    size = {"resolution": (20_000, 20_000), "resolutionunit": "centimeter", "tile": (16, 16)}
    with tifffile.TiffWriter(path) as writer:
        for channel in range(2):
            writer.write(levels[0][..., channel], description=named[channel], **options, **size)
        writer.write(COLOR[:40, :40], photometric="rgb", metadata=None, subfiletype=1)
        for channel in range(2):
            writer.write(levels[1][..., channel], description=named[channel], **options, **size)
        writer.write(np.zeros((300, 200, 3), np.uint8), photometric="rgb", metadata=None)
        writer.write(np.zeros((300, 300, 3), np.uint8), photometric="rgb", metadata=None)
    assert [each.name for each in list_series(path)] == ["Baseline"]
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, np.moveaxis(COLOR[..., :2], -1, 0))
    assert picture.channels == (Channel("DAPI", "#0000ff"), Channel("Opal 520", "#00ff00"))
    assert (picture.axes[2].scale, picture.axes[2].unit) == (0.5, "micrometer")
    assert not picture.note
    if picture.levels:
        assert [level.shape for level in picture.levels] == [(2, 96, 128), (2, 48, 64)]


def test_scn(path):
    macro = np.zeros((40, 50, 3), np.uint8)
    ifds = "".join(
        f'<image name="{name}"><pixels sizeX="1" sizeY="1">{dimensions}</pixels></image>'
        for name, dimensions in (
            ("macro", '<dimension sizeX="50" sizeY="40" r="0" ifd="0"/>'),
            (
                "image",
                '<dimension sizeX="128" sizeY="96" r="0" ifd="1"/>'
                '<dimension sizeX="64" sizeY="48" r="1" ifd="2"/>',
            ),
        )
    )
    text = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        f"<collection>{ifds}</collection></scn>"
    )
    options = {"photometric": "rgb", "metadata": None, "tile": (16, 16)}
    with tifffile.TiffWriter(path) as writer:
        writer.write(macro, description=text, **options)
        writer.write(COLOR, **options)
        writer.write(COLOR[::2, ::2], **options)
    with tifffile.TiffFile(path) as file:
        assert file.is_scn
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, COLOR)
    assert picture.name == "image"


def test_philips(path):
    spacing = '<Attribute Name="DICOM_PIXEL_SPACING">"{0}" "{0}"</Attribute>'
    levels = "".join(
        '<DataObject ObjectType="PixelDataRepresentation">' + spacing.format(size) + "</DataObject>"
        for size in (0.00025, 0.0005)
    )
    text = f'<DataObject ObjectType="DPUfsImport"><Attribute>{levels}</Attribute></DataObject>'
    options = {"photometric": "rgb", "metadata": None}
    tiles = {"software": "Philips DP v1.0", "tile": (16, 16)}
    with tifffile.TiffWriter(path) as writer:
        writer.write(COLOR, description=text, **options, **tiles)
        writer.write(COLOR[::2, ::2], **options, **tiles)
        writer.write(
            np.zeros((300, 200, 3), np.uint8), description="Macro -offset=(0,0)", **options
        )
        writer.write(np.zeros((300, 300, 3), np.uint8), description="Label", **options)
    assert [each.name for each in list_series(path)] == ["Baseline"]
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, COLOR)
    assert [(axis.scale, axis.unit) for axis in picture.axes[:2]] == [(0.00025, "millimeter")] * 2
