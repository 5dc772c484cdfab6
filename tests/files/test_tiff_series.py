"""Several images in one TIFF file, slides, data sets of several files, and raw photographs."""

from __future__ import annotations

import struct
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_kmeans.files import tiff
from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.reading import list_series, read_image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

RNG = np.random.default_rng(12)
COLOR = RNG.integers(0, 256, (96, 128, 3), dtype=np.uint8)
SMALL = COLOR[:32, :32]
SVS = "Aperio Image Library v12.0.15 \r\n128x96 [0,0 128x96] (16x16) -> |AppMag = 20|MPP = 0.4990"


def write_pages(path: Path, *pages: tuple[np.ndarray, dict[str, Any]]) -> Path:
    with tifffile.TiffWriter(path) as writer:
        for image, options in pages:
            kind = "rgb" if image.ndim == 3 else "minisblack"
            writer.write(image, metadata=None, **{"photometric": kind, **options})
    return path


def test_pages_of_other_sizes_and_types_are_other_images(tmp_path):
    sizes = ((40, 50), (60, 70), (60, 70), (30, 30))
    pages = [np.full(size, number, np.uint8) for number, size in enumerate(sizes)]
    pages.append(np.full((60, 70), 9, np.uint16))
    path = write_pages(tmp_path / "a.tif", *((page, {}) for page in pages))
    assert [each.shape for each in list_series(path)] == [(40, 50), (2, 60, 70), (30, 30), (60, 70)]
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, np.stack(pages[1:3]))
    assert picture.note == (
        "only series 1, the largest of its 4 images, is read; the others are "
        "0 of shape (40, 50), 2 of shape (30, 30), 3 of shape (60, 70)"
    )
    chosen = read_image(path, 2)
    np.testing.assert_array_equal(chosen.pixels, pages[3])
    assert not chosen.note
    with pytest.raises(UnreadableImageError, match=r"^series must be from 0 to 3, .*, got 4$"):
        read_image(path, 4)
    with pytest.raises(UnreadableImageError, match=r"got -1$"):
        read_image(path, -1)


def test_the_note_lists_few_of_many_images(tmp_path):
    pages = [(np.zeros((20 + n, 20), np.uint8), {}) for n in range(9)]
    path = write_pages(tmp_path / "a.tif", *pages)
    assert read_image(path).note.endswith("3 of shape (23, 20), 4 more")


@pytest.mark.parametrize("odd", [4, 9])
def test_one_page_of_another_size_in_a_long_stack(tmp_path, odd):
    pages = [np.full((20, 30), number, np.uint8) for number in range(12)]
    pages[odd] = np.zeros((21, 30), np.uint8)
    path = write_pages(tmp_path / "a.tif", *((page, {}) for page in pages))
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, np.stack(pages[:odd] + pages[odd + 1 :]))
    assert "1 of shape (21, 30)" in picture.note


def test_a_page_of_half_the_size_is_an_image(tmp_path):
    path = write_pages(tmp_path / "a.tif", (COLOR, {}), (COLOR[::2, ::2], {}))
    assert [each.shape for each in list_series(path)] == [(96, 128, 3), (48, 64, 3)]
    np.testing.assert_array_equal(read_image(path, 1).pixels, COLOR[::2, ::2])


@pytest.mark.parametrize("subfiletype", [1, 4])
def test_a_thumbnail_before_the_image_is_not_the_image(tmp_path, subfiletype):
    other = SMALL if subfiletype == 1 else SMALL[..., 0] > 99
    path = write_pages(tmp_path / "a.tif", (other, {"subfiletype": subfiletype}), (COLOR, {}))
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, COLOR)
    assert not picture.note
    assert len(list_series(path)) == 1


def test_a_thumbnail_larger_than_the_image_is_not_the_image(tmp_path):
    path = write_pages(tmp_path / "a.tif", (COLOR, {"subfiletype": 1}), (SMALL, {}))
    np.testing.assert_array_equal(read_image(path).pixels, SMALL)


def test_a_single_page_is_the_image_whatever_its_type(tmp_path):
    path = write_pages(tmp_path / "a.tif", (COLOR, {"subfiletype": 1}))
    np.testing.assert_array_equal(read_image(path).pixels, COLOR)


@pytest.mark.parametrize("kind", ["flat", "without flags", "SubIFDs"])
def test_a_pyramid_is_one_image(tmp_path, monkeypatch, kind):
    levels = [COLOR, COLOR[::2, ::2], COLOR[::4, ::4]]
    path = tmp_path / "a.tif"
    tiles = {"photometric": "rgb", "tile": (16, 16), "metadata": None}
    with tifffile.TiffWriter(path) as writer:
        writer.write(levels[0], subifds=2 if kind == "SubIFDs" else 0, **tiles)
        for level in levels[1:]:
            writer.write(level, subfiletype=int(kind != "without flags"), **tiles)
    complete = read_image(path)
    np.testing.assert_array_equal(complete.pixels, COLOR)
    assert complete.levels == ()
    assert not complete.note
    monkeypatch.setattr(tiff, "LARGE", 1000)
    picture = read_image(path)
    assert len(picture.levels) == 3
    for lazy, level in zip(picture.levels, levels, strict=True):
        np.testing.assert_array_equal(lazy, level)


def test_a_pyramid_of_channels_is_one_image(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "LARGE", 1000)
    image = np.moveaxis(COLOR, -1, 0)
    path = tmp_path / "a.ome.tif"
    options = {"tile": (16, 16), "compression": "lzw", "photometric": "minisblack"}
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(image, subifds=1, metadata={"axes": "CYX"}, **options)
        writer.write(image[:, ::2, ::2], subfiletype=1, **options)
    picture = read_image(path)
    assert picture.channel_axis == 0
    for lazy, level in zip(picture.levels, (image, image[:, ::2, ::2]), strict=True):
        np.testing.assert_array_equal(lazy, level)


def write_svs(path: Path) -> Path:
    tiles = {"tile": (16, 16), "compression": "jpeg", "compressionargs": {"level": 95}}
    label = RNG.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    macro = RNG.integers(0, 256, (200, 300, 3), dtype=np.uint8)
    smooth = np.full_like(COLOR, 90)
    return write_pages(
        path,
        (smooth, {"description": SVS, **tiles}),
        (np.full((48, 64, 3), 5, np.uint8), {"description": SVS + "|thumbnail"}),
        (smooth[::2, ::2], {"description": SVS, **tiles}),
        (label, {"description": SVS + " label", "subfiletype": 1, "compression": "lzw"}),
        (macro, {"description": SVS + " macro", "subfiletype": 9}),
    )


@pytest.mark.parametrize("name", ["a.svs", "a.ndpi", "slide"])
def test_thumbnail_label_and_macro_of_a_slide_are_not_images(tmp_path, monkeypatch, name):
    path = write_svs(tmp_path / name)
    assert [(each.name, each.shape) for each in list_series(path)] == [("Baseline", (96, 128, 3))]
    monkeypatch.setattr(tiff, "LARGE", 1000)
    picture = read_image(path)
    assert [level.shape for level in picture.levels] == [(96, 128, 3), (48, 64, 3)]
    assert np.abs(np.asarray(picture.pixels).astype(int) - 90).max() <= 2
    assert not picture.note
    assert [(axis.scale, axis.unit) for axis in picture.axes[:2]] == [(0.499, "micrometer")] * 2


def make_ndpi(pages: list[tuple[np.ndarray, float]]) -> bytes:
    """Return a slide as Hamamatsu writes it: a TIFF file with offsets of 8 bytes.

    After the tags of a page follow the offset of the next page in 8 bytes, and the high 4 bytes
    of each value.
    """
    data = bytearray(b"II*\0" + bytes(8))
    link = 4
    for image, magnification in pages:
        pixels = len(data)
        data += image.tobytes()
        maker = len(data)
        data += b"Hamamatsu\0"
        bits = len(data)
        data += struct.pack("<3H", 8, 8, 8)
        tags = [
            (256, 4, 1, image.shape[1]),
            (257, 4, 1, image.shape[0]),
            (258, 3, 3, bits),
            (259, 3, 1, 1),
            (262, 3, 1, 2),
            (271, 2, 10, maker),
            (273, 4, 1, pixels),
            (277, 3, 1, 3),
            (278, 4, 1, image.shape[0]),
            (279, 4, 1, image.nbytes),
            (65420, 4, 1, 1),
            (65421, 11, 1, struct.unpack("<I", struct.pack("<f", magnification))[0]),
        ]
        struct.pack_into("<Q", data, link, len(data))
        data += struct.pack("<H", len(tags))
        for tag in tags:
            data += struct.pack("<HHII", *tag)
        link = len(data)
        data += bytes(8 + 4 * len(tags))
    return bytes(data)


@pytest.mark.parametrize("name", ["a.ndpi", "a.tif", "slide"])
def test_a_slide_of_hamamatsu_is_recognized_by_its_bytes(tmp_path, name):
    macro = RNG.integers(0, 256, (150, 200, 3), dtype=np.uint8)
    path = tmp_path / name
    path.write_bytes(make_ndpi([(COLOR, 20), (COLOR[::2, ::2], 10), (macro, -1)]))
    with tifffile.TiffFile(path, is_ndpi=True) as file:
        assert file.tiff.is_ndpi
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, COLOR)
    assert len(list_series(path)) == 1


def write_raw(path: Path, photometric: int, preview: bool) -> Path:
    """Write a raw photograph as DNG does: a preview, and the sensor data in a SubIFD."""
    sensor = RNG.integers(0, 4096, (96, 128), dtype=np.uint16)
    with tifffile.TiffWriter(path) as writer:
        if preview:
            version = [(50706, 1, 4, b"\1\4\0\0", True)]
            options = {"photometric": "rgb", "metadata": None, "subfiletype": 1}
            writer.write(SMALL, subifds=1, extratags=version, **options)
        writer.write(sensor, photometric="cfa", metadata=None)
    data = bytearray(path.read_bytes())
    place = data.rindex(struct.pack("<HHII", 262, 3, 1, 32803))
    struct.pack_into("<I", data, place + 8, photometric)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("preview", [True, False])
@pytest.mark.parametrize("photometric", [32803, 34892])
def test_a_raw_photograph_is_refused(tmp_path, photometric, preview):
    path = write_raw(tmp_path / "a.dng", photometric, preview)
    for read in (read_image, list_series):
        with pytest.raises(UnreadableImageError, match=r"^it is a raw photograph: "):
            read(path)


@pytest.mark.parametrize(
    "header",
    [b"IIU\0", b"IIRO", b"MMOR", b"II*\0\x10\0\0\0CR\2\0"],
    ids=["rw2", "orf", "mm", "cr2"],
)
def test_raw_photographs_of_other_kinds_are_refused(tmp_path, header):
    (tmp_path / "a").write_bytes(header + bytes(100))
    with pytest.raises(UnreadableImageError, match=r"^it is a raw photograph: "):
        read_image(tmp_path / "a")


def write_parts(
    folder: Path, options: Sequence[dict[str, Any]] = ({}, {})
) -> tuple[Path, Path, np.ndarray]:
    """Write an OME-TIFF data set of two files, one channel in each."""
    image = RNG.integers(0, 99, (2, 20, 30), dtype=np.uint16)
    names = ["first.ome.tif", "second.ome.tif"]
    identifiers = [f"urn:uuid:00000000-0000-0000-0000-00000000000{n}" for n in range(2)]
    data = "".join(
        f'<TiffData FirstC="{n}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{names[n]}">{identifiers[n]}</UUID></TiffData>'
        for n in range(2)
    )
    for n in range(2):
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="{identifiers[n]}"><Image ID="Image:0" Name="cells"><Pixels ID="Pixels:0" '
            'DimensionOrder="XYZCT" Type="uint16" SizeX="30" SizeY="20" SizeZ="1" SizeC="2" '
            'SizeT="1"><Channel ID="Channel:0:0" Name="DAPI" Color="65535"/>'
            f'<Channel ID="Channel:0:1" Name="GFP" Color="16711935"/>{data}</Pixels></Image></OME>'
        )
        settings = {"description": text, "metadata": None, **options[n]}
        tifffile.imwrite(folder / names[n], image[n], **settings)
    return folder / names[0], folder / names[1], image


@pytest.mark.parametrize("large", [False, True])
def test_a_data_set_of_several_files_is_one_image(tmp_path, monkeypatch, large):
    first, second, image = write_parts(tmp_path)
    if large:
        monkeypatch.setattr(tiff, "LARGE", 100)
    for path in (first, second):
        picture = read_image(path)
        np.testing.assert_array_equal(picture.pixels, image)
        assert picture.channel_axis == 0
        assert [(each.name, each.color) for each in picture.channels] == [
            ("DAPI", "#0000ff"),
            ("GFP", "#00ff00"),
        ]


LAYOUTS = [
    {"byteorder": "<"},
    {"byteorder": ">"},
    {"compression": "zlib"},
    {"compression": "lzw", "byteorder": ">"},
    {"compression": "zlib", "predictor": True},
    {"compression": "zlib", "rowsperstrip": 3},
    {"compression": "zlib", "tile": (16, 16)},
    {"tile": (32, 16)},
]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("options", list(permutations(LAYOUTS, 2)))
def test_each_file_of_a_data_set_is_decoded_with_its_own_layout(
    tmp_path, monkeypatch, options, large
):
    first, second, image = write_parts(tmp_path, options)
    if large:
        monkeypatch.setattr(tiff, "LARGE", 100)
    for path in (first, second):
        np.testing.assert_array_equal(tifffile.imread(path), image)
        np.testing.assert_array_equal(read_image(path).pixels, image)


@pytest.mark.parametrize("large", [False, True])
def test_pixels_at_following_places_of_two_files_are_not_contiguous(tmp_path, monkeypatch, large):
    first, second, image = write_parts(tmp_path)
    if large:
        monkeypatch.setattr(tiff, "LARGE", 100)
    with tifffile.TiffFile(first) as file:
        end = file.pages.first.dataoffsets[0] + file.pages.first.nbytes
    data = second.read_bytes()
    with tifffile.TiffFile(second) as file:
        tag = file.pages.first.tags["StripOffsets"]
        place, old = tag.valueoffset, tag.value[0]
    moved = bytearray(data.ljust(end, b"\0")[:end] + data[old : old + image[1].nbytes])
    moved[place : place + 4] = end.to_bytes(4, "little")
    second.write_bytes(moved)
    # Make room in the first file, so that its size does not tell.
    first.write_bytes(first.read_bytes() + b"\1" * 5000)
    np.testing.assert_array_equal(read_image(first).pixels, image)


def test_a_file_may_be_shorter_than_the_others_of_its_data_set(tmp_path):
    first, second, image = write_parts(tmp_path)
    with tifffile.TiffFile(first) as file:
        text = file.ome_metadata.replace('Y="20"', 'Y="900"')
    tall = np.repeat(image, 45, axis=1)
    tifffile.imwrite(first, tall[0], description=text, metadata=None)
    text = text.replace('0000"><Image', '0001"><Image')
    tifffile.imwrite(second, tall[1], description=text, metadata=None, compression="zlib")
    for path in (first, second):
        np.testing.assert_array_equal(read_image(path).pixels, tall)


def test_a_data_set_of_different_photometric_interpretations_is_refused(tmp_path):
    options = ({"photometric": "minisblack"}, {"photometric": "miniswhite"})
    first, _, _ = write_parts(tmp_path, options)
    message = (
        r"^the planes in second\.ome\.tif have another shape, dtype or photometric "
        r"interpretation than the first plane; save them alike$"
    )
    with pytest.raises(UnreadableImageError, match=message):
        read_image(first)


def test_missing_parts_of_a_data_set_are_named(tmp_path):
    first, second, _ = write_parts(tmp_path)
    second.unlink()
    message = r"^parts of its data set are missing: second\.ome\.tif$"
    with pytest.raises(UnreadableImageError, match=message):
        read_image(first)


def test_a_data_set_does_not_reach_other_folders(tmp_path):
    first, second, _ = write_parts(tmp_path)
    (tmp_path / "inner").mkdir()
    second.rename(tmp_path / "inner" / second.name)
    data = first.read_bytes().replace(b"second.ome.tif", b"inner/secd.tif")
    first.write_bytes(data)
    (tmp_path / "inner" / second.name).rename(tmp_path / "inner" / "secd.tif")
    with pytest.raises(UnreadableImageError, match=r"are missing: inner/secd.tif$"):
        read_image(first)


def test_a_renamed_ome_file_is_read(tmp_path):
    stack = RNG.integers(0, 99, (3, 20, 30), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "old.ome.tif", stack, metadata={"axes": "CYX"})
    (tmp_path / "old.ome.tif").rename(tmp_path / "new.ome.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "new.ome.tif").pixels, stack)


def test_the_metadata_of_a_companion_file_are_used(tmp_path):
    first, _, image = write_parts(tmp_path)
    with tifffile.TiffFile(first) as file:
        text = file.ome_metadata
    text = text.replace('UUID="urn:uuid:00000000-0000-0000-0000-000000000000"', 'UUID="urn:x"')
    (tmp_path / "all.companion.ome").write_text(text, encoding="utf-8")
    short = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        'UUID="urn:uuid:00000000-0000-0000-0000-000000000000">'
        '<BinaryOnly MetadataFile="{}" UUID="urn:x"/></OME>'
    )
    options = {"metadata": None}
    tifffile.imwrite(first, image[0], description=short.format("all.companion.ome"), **options)
    picture = read_image(first)
    np.testing.assert_array_equal(picture.pixels, image)
    assert picture.channels[0].name == "DAPI"
    tifffile.imwrite(first, image[0], description=short.format("none.companion.ome"), **options)
    with pytest.raises(UnreadableImageError, match=r"are missing: none.companion.ome$"):
        read_image(first)
    tifffile.imwrite(first, image[0], description=short.format("second.ome.tif"), **options)
    with pytest.raises(UnreadableImageError, match=r"give second.ome.tif, its first file$"):
        read_image(first)


def test_planes_that_the_file_lacks_have_a_note(tmp_path):
    stack = RNG.integers(1, 99, (3, 20, 30), dtype=np.uint16)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, stack, metadata={"axes": "ZYX"}, compression="zlib")
    data = path.read_bytes().replace(b'SizeZ="3"', b'SizeZ="5"')
    path.write_bytes(data)
    picture = read_image(path)
    assert picture.pixels.shape == (5, 20, 30)
    np.testing.assert_array_equal(picture.pixels[:3], stack)
    assert picture.note == "2 of its 5 planes are missing and read as 0"


def test_images_of_an_ome_file_are_listed(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(COLOR, photometric="rgb", metadata={"Name": "left"})
        writer.write(SMALL, photometric="rgb", metadata={"Name": "right", "PhysicalSizeX": 0.3})
        writer.write(COLOR[:90], photometric="rgb", metadata={"Name": "label image"})
    assert [(each.name, each.shape) for each in list_series(path)] == [
        ("left", (96, 128, 3)),
        ("right", (32, 32, 3)),
    ]
    picture = read_image(path, 1)
    assert picture.name == "right"
    assert picture.axes[1].scale == 0.3
    np.testing.assert_array_equal(picture.pixels, SMALL)
