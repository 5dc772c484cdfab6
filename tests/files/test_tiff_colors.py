"""The colors, alpha, palettes, orientation and missing data that TIFF files state."""

from __future__ import annotations

import pickle
import struct
from typing import TYPE_CHECKING

import dask.array as da
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from napari_kmeans.files import tiff
from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.reading import read_image
from napari_kmeans.segmentation import segment

if TYPE_CHECKING:
    from pathlib import Path

    from napari_kmeans.files.picture import Picture

RNG = np.random.default_rng(11)
COLOR = RNG.integers(0, 256, (40, 56, 3), dtype=np.uint8)
GRAY = COLOR[..., 0]


@pytest.fixture(params=["complete", "lazy"])
def path(request, tmp_path, monkeypatch) -> Path:
    """Return a path, of which the file is read completely or lazily."""
    if request.param == "lazy":
        monkeypatch.setattr(tiff, "LARGE", 100)
    return tmp_path / "image.tif"


def read(path: Path) -> Picture:
    """Read a picture. A lazy one must also survive the way to another process."""
    picture = read_image(path)
    assert isinstance(picture.pixels, da.Array) == (tiff.LARGE == 100)
    if picture.mask is not None:
        assert isinstance(picture.mask, da.Array) == (tiff.LARGE == 100)
        assert picture.mask.dtype == bool
        picture = picture._replace(mask=np.asarray(picture.mask))
    return picture._replace(pixels=np.asarray(pickle.loads(pickle.dumps(picture.pixels))))


def set_tag(path: Path, code: int, value: int) -> None:
    """Change a tag of one SHORT value of the first page."""
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].tags[code]
        order, place = file.byteorder, tag.valueoffset
    data = bytearray(path.read_bytes())
    struct.pack_into(order + "H", data, place, value)
    path.write_bytes(data)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}], ids=["plain", "lzw"])
def test_orientation_is_applied(path, orientation, options):
    Image.fromarray(COLOR).save(path, tiffinfo={274: orientation}, **options)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, expected)
    assert [axis.name for axis in picture.axes] == ["y", "x", "c"]


@pytest.mark.parametrize("orientation", [3, 6])
def test_orientation_of_channels_planes_and_masks(path, orientation):
    stack = RNG.integers(0, 9, (3, 4, 20, 30), dtype=np.uint16)
    stack[:, 2, 5, 7] = 0
    tags = [(274, 3, 1, orientation, True), (42113, 2, 0, "0", True)]
    tifffile.imwrite(
        path,
        stack,
        metadata={"axes": "CZYX"},
        photometric="minisblack",
        extratags=tags,
        resolution=(10, 20),
        resolutionunit="centimeter",
    )
    turns = {3: 2, 6: -1}[orientation]
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, np.rot90(stack, turns, (2, 3)))
    np.testing.assert_array_equal(picture.mask, np.rot90((stack != 0).any(axis=0), turns, (1, 2)))
    scales = {axis.name: axis.scale for axis in picture.axes}
    # XResolution is along the stored rows, which orientation 6 shows as columns.
    expected = (1000, 500) if orientation == 3 else (500, 1000)
    assert (scales["x"], scales["y"]) == pytest.approx(expected)


def test_a_turned_image_can_be_clustered(path):
    Image.fromarray(COLOR).save(path, tiffinfo={274: 7})
    picture = read_image(path)
    labels = segment(picture.pixels, 3, rgb=picture.rgb).labels
    expected = segment(np.ascontiguousarray(picture.pixels), 3, rgb=True).labels
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("extra", ["assocalpha", "unassalpha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_alpha_is_kept_and_premultiplied_colors_are_divided(path, extra, dtype):
    full = 1 if dtype == np.float32 else np.iinfo(dtype).max
    colors = (RNG.random((30, 40, 3)) * full).astype(dtype)
    alpha = (RNG.random((30, 40, 1)) * full).astype(dtype)
    alpha[:9] = 0
    stored = colors
    if extra == "assocalpha":
        stored = colors * (alpha.astype(float) / full)
        stored = (stored if full == 1 else np.rint(stored)).astype(dtype)
    tifffile.imwrite(
        path, np.concatenate([stored, alpha], -1), photometric="rgb", extrasamples=[extra]
    )
    picture = read(path)
    assert picture.rgb
    assert picture.pixels.dtype == dtype
    np.testing.assert_array_equal(picture.pixels[..., 3:], alpha)
    opaque = alpha[..., 0] > full * 0.9
    np.testing.assert_allclose(picture.pixels[opaque][:, :3], colors[opaque], atol=full / 250)
    if extra == "unassalpha":
        np.testing.assert_array_equal(picture.pixels[..., :3], colors)
    else:
        assert not picture.pixels[:9, :, :3].any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_gray_with_alpha_becomes_rgba(path, dtype, photometric):
    image = RNG.integers(0, np.iinfo(dtype).max, (30, 40, 2), dtype=dtype)
    tifffile.imwrite(
        path, image, photometric=photometric, extrasamples=["unassalpha"], planarconfig="contig"
    )
    gray = image[..., 0] if photometric == "minisblack" else np.iinfo(dtype).max - image[..., 0]
    picture = read(path)
    assert picture.rgb
    np.testing.assert_array_equal(picture.pixels, np.stack([gray] * 3 + [image[..., 1]], -1))


@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
def test_alpha_beside_channels_becomes_the_mask(path, photometric):
    bands = RNG.integers(1, 256, (30, 40, 5), dtype=np.uint8)
    bands[3:9, 4:20, 4] = 0
    extras = [0, 0, 0, 2] if photometric == "minisblack" else [0, 2]
    tifffile.imwrite(
        path, bands, photometric=photometric, planarconfig="contig", extrasamples=extras
    )
    picture = read(path)
    assert (picture.rgb, picture.channel_axis) == (False, 2)
    np.testing.assert_array_equal(picture.pixels, bands[..., :4])
    np.testing.assert_array_equal(picture.mask, bands[..., 4] > 0)


def test_premultiplied_channels_have_a_note(path):
    bands = RNG.integers(1, 256, (30, 40, 4), dtype=np.uint8)
    tifffile.imwrite(
        path, bands, photometric="minisblack", planarconfig="contig", extrasamples=[0, 0, 1]
    )
    assert read(path).note == "its channels stay multiplied by its alpha channel"


def test_two_color_samples_are_channels(path):
    bands = RNG.integers(1, 256, (30, 40, 2), dtype=np.uint8)
    tifffile.imwrite(path, bands, photometric="minisblack", planarconfig="contig")
    picture = read(path)
    assert (picture.rgb, picture.channel_axis) == (False, 2)
    np.testing.assert_array_equal(picture.pixels, bands)


@pytest.mark.parametrize(("factor", "dtype"), [(257, np.uint8), (256, np.uint8), (1, np.uint8)])
def test_palettes_of_8_bits(path, factor, dtype):
    table = RNG.integers(0, 256, (3, 256), dtype=np.uint16)
    tifffile.imwrite(path, GRAY, photometric="palette", colormap=table * factor)
    picture = read(path)
    assert picture.pixels.dtype == dtype
    assert picture.rgb
    np.testing.assert_array_equal(picture.pixels, table.T[GRAY])


def test_palettes_of_16_bits_keep_them(path):
    table = RNG.integers(0, 65536, (3, 256), dtype=np.uint16)
    tifffile.imwrite(path, GRAY, photometric="palette", colormap=table)
    picture = read(path)
    assert picture.pixels.dtype == np.uint16
    np.testing.assert_array_equal(picture.pixels, table.T[GRAY])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_palettes_of_few_colors(path, bits, writing):
    indices = GRAY % 2**bits
    table = RNG.integers(0, 256, (3, 2**bits), dtype=np.uint16)
    tags = [(320, 3, table.size, (table * 257).ravel(), True)]
    stored = indices.astype(bool) if bits == 1 else indices
    with writing():
        tifffile.imwrite(path, stored, photometric="minisblack", bitspersample=bits, extratags=tags)
    set_tag(path, 262, 3)
    picture = read(path)
    assert picture.rgb
    np.testing.assert_array_equal(picture.pixels, table.T[indices])


@pytest.mark.parametrize("n_pages", [2, 12])
def test_each_page_has_its_palette(path, n_pages):
    tables = RNG.integers(0, 256, (n_pages, 3, 256), dtype=np.uint16) * 257
    pages = RNG.integers(0, 256, (n_pages, 30, 40), dtype=np.uint8)
    with tifffile.TiffWriter(path) as writer:
        for page, table in zip(pages, tables, strict=True):
            writer.write(page, photometric="palette", colormap=table, metadata=None)
    expected = np.stack([t.T[page] // 257 for t, page in zip(tables, pages, strict=True)])
    np.testing.assert_array_equal(read(path).pixels, expected)


def test_no_data_of_a_palette_are_indices(path):
    table = RNG.integers(0, 256, (3, 256), dtype=np.uint16) * 257
    tags = [(42113, 2, 0, "7", True)]
    tifffile.imwrite(path, GRAY, photometric="palette", colormap=table, extratags=tags)
    np.testing.assert_array_equal(read(path).mask, GRAY != 7)


def test_lookup_tables_of_imagej_do_not_change_values(path):
    ramp = np.arange(256, dtype=np.uint16) * 257
    green = np.stack([ramp * 0, ramp, ramp * 0])
    tifffile.imwrite(path, GRAY, imagej=True, colormap=green, photometric="palette")
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].photometric == tifffile.PHOTOMETRIC.PALETTE
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, GRAY)
    assert picture.rgb is False


def test_channels_of_imagej_are_no_colors(path):
    table = RNG.integers(0, 256, (3, 256), dtype=np.uint16) * 257
    channels = np.stack([GRAY, GRAY.T[:40, :40].repeat(2, 1)[:, :56]])
    metadata = {"axes": "CYX", "mode": "composite"}
    tifffile.imwrite(
        path, channels, imagej=True, colormap=table, photometric="palette", metadata=metadata
    )
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, channels)
    assert (picture.rgb, picture.channel_axis) == (False, 0)


def test_colors_of_imagej_are_colors(path):
    table = RNG.integers(0, 256, (3, 256), dtype=np.uint16) * 257
    tifffile.imwrite(path, GRAY, imagej=True, colormap=table, photometric="palette")
    np.testing.assert_array_equal(read(path).pixels, table.T[GRAY] // 257)


@pytest.mark.parametrize("photometric", ["cielab", "icclab"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lab_is_converted_as_by_littlecms(path, photometric, dtype):
    # Without strong colors: 8 bits of L, a and b are too few for these.
    photo = Image.fromarray(COLOR // 3 + 90)
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    exact = {"flags": ImageCms.Flags.NOOPTIMIZE}
    shown = ImageCms.profileToProfile(photo, srgb, lab, outputMode="LAB", **exact)
    back = ImageCms.profileToProfile(shown, lab, srgb, outputMode="RGB", **exact)
    stored = np.asarray(shown).copy()
    # Pillow returns a and b as signed numbers, as CIELAB has them.
    if dtype == np.uint16:
        light = stored[..., :1].astype(float) / 255 * (65535 if photometric == "cielab" else 0xFF00)
        stored = np.concatenate([np.rint(light), stored[..., 1:] * 256.0], -1).astype(np.uint16)
    if photometric == "icclab":
        stored[..., 1:] ^= 0x80 if dtype == np.uint8 else 0x8000
    tifffile.imwrite(path, stored, photometric=photometric)
    picture = read(path)
    assert picture.rgb
    assert picture.pixels.dtype == dtype
    scale = 1 if dtype == np.uint8 else 257
    assert np.abs(picture.pixels / scale - np.asarray(back)).max() <= 3


@pytest.mark.parametrize(
    ("photometric", "white"),
    [("cielab", (65535, 0, 0)), ("icclab", (0xFF00, 0x8000, 0x8000))],
)
def test_white_of_lab_is_white(path, photometric, white):
    tifffile.imwrite(path, np.full((20, 30, 3), white, np.uint16), photometric=photometric)
    assert read(path).pixels.min() >= 65500


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_inks_become_the_colors_that_pillow_shows(path, dtype):
    inks = RNG.integers(0, 256, (30, 40, 4), dtype=np.uint8)
    scale = 1 if dtype == np.uint8 else 257
    tifffile.imwrite(path, inks.astype(dtype) * dtype(scale), photometric="separated")
    picture = read(path)
    expected = np.asarray(Image.fromarray(inks, "CMYK").convert("RGB"))
    assert np.abs(picture.pixels / scale - expected).max() <= 1
    assert picture.rgb


def test_inks_that_are_not_cmyk_are_channels(path):
    inks = RNG.integers(0, 256, (30, 40, 4), dtype=np.uint8)
    tifffile.imwrite(path, inks, photometric="separated", extratags=[(332, 3, 1, 2, True)])
    picture = read(path)
    assert (picture.rgb, picture.channel_axis) == (False, 2)
    np.testing.assert_array_equal(picture.pixels, inks)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_ycbcr_without_jpeg_is_converted(path, compression):
    ycbcr = np.asarray(Image.fromarray(COLOR).convert("YCbCr"))
    tifffile.imwrite(
        path,
        ycbcr,
        photometric="rgb",
        compression=compression,
        extratags=[(530, 3, 2, (1, 1), True)],
    )
    set_tag(path, 262, 6)
    picture = read(path)
    expected = np.asarray(Image.fromarray(ycbcr, "YCbCr").convert("RGB"))
    assert np.abs(picture.pixels.astype(int) - expected).max() <= 1


def pack_ycbcr(ycbcr: np.ndarray, width: int, height: int) -> bytes:
    """Return the units of subsampled YCbCr: Y of a block of pixels, then its Cb and Cr."""
    rows, columns, _ = ycbcr.shape
    padded = np.pad(ycbcr, ((0, -rows % height), (0, -columns % width), (0, 0)), "edge")
    data = bytearray()
    for row in range(0, rows, height):
        for column in range(0, columns, width):
            block = padded[row : row + height, column : column + width]
            data += block[..., 0].tobytes() + block[0, 0, 1:].tobytes()
    return bytes(data)


@pytest.mark.parametrize("factors", [(2, 2), (2, 1), (4, 2), (1, 1)])
@pytest.mark.parametrize("compression", [1, 5, 8])
def test_subsampled_ycbcr_is_converted(path, factors, compression):
    ycbcr = np.asarray(Image.fromarray(COLOR[:37, :53]).convert("YCbCr"))
    encode = {1: bytes, 5: imagecodecs.lzw_encode, 8: imagecodecs.zlib_encode}[compression]
    starts = range(0, 37, 16)
    strips = [encode(pack_ycbcr(ycbcr[start : start + 16], *factors)) for start in starts]
    data = bytearray(b"II*\0" + bytes(4))
    places = []
    for strip in strips:
        places.append(len(data))
        data += strip
    tables = {}
    for code, values in ((273, places), (279, list(map(len, strips)))):
        tables[code] = len(data)
        data += struct.pack("<3I", *values)
    bits = len(data)
    data += struct.pack("<3H", 8, 8, 8)
    tags = [
        struct.pack("<HHII", 256, 4, 1, 53),
        struct.pack("<HHII", 257, 4, 1, 37),
        struct.pack("<HHII", 258, 3, 3, bits),
        struct.pack("<HHII", 259, 3, 1, compression),
        struct.pack("<HHII", 262, 3, 1, 6),
        struct.pack("<HHII", 273, 4, 3, tables[273]),
        struct.pack("<HHII", 277, 3, 1, 3),
        struct.pack("<HHII", 278, 4, 1, 16),
        struct.pack("<HHII", 279, 4, 3, tables[279]),
        struct.pack("<HHIHH", 530, 3, 2, *factors),
    ]
    struct.pack_into("<I", data, 4, len(data))
    path.write_bytes(data + struct.pack("<H", len(tags)) + b"".join(tags) + bytes(4))
    expected = ycbcr.copy()
    for row in range(37):
        for column in range(53):
            start = row // 16 * 16
            first = (
                start + (row - start) // factors[1] * factors[1],
                column // factors[0] * factors[0],
            )
            expected[row, column, 1:] = ycbcr[first][1:]
    expected = np.asarray(Image.fromarray(expected, "YCbCr").convert("RGB")).astype(int)
    picture = read(path)
    assert picture.rgb
    assert np.abs(picture.pixels - expected).max() <= 1


def test_subsampled_colors_of_16_bits_are_refused(path):
    image = COLOR.astype(np.uint16)
    tifffile.imwrite(path, image, photometric="rgb", extratags=[(530, 3, 2, (2, 2), True)])
    set_tag(path, 262, 6)
    with pytest.raises(UnreadableImageError, match=r"^its subsampled colors are not supported"):
        read_image(path)


@pytest.mark.parametrize("photometric", [2, 6])
def test_jpeg_2000_of_aperio_is_ycbcr(path, photometric):
    ycbcr = np.asarray(Image.fromarray(COLOR).convert("YCbCr"))
    tifffile.imwrite(
        path,
        ycbcr,
        photometric="rgb",
        compression=33005,
        compressionargs={"level": 0, "mct": False},
    )
    set_tag(path, 259, 33003)
    set_tag(path, 262, photometric)
    picture = read(path)
    expected = np.asarray(Image.fromarray(ycbcr, "YCbCr").convert("RGB"))
    assert np.abs(picture.pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("code", "name"), [(10, "ITULAB"), (32845, "LOGLUV"), (999, "999")])
def test_other_colors_are_refused(path, code, name):
    tifffile.imwrite(path, COLOR, photometric="rgb")
    set_tag(path, 262, code)
    with pytest.raises(UnreadableImageError, match=f"photometric interpretation {name}, are not"):
        read_image(path)


def test_other_compressions_are_refused(path):
    tifffile.imwrite(path, COLOR, photometric="rgb")
    set_tag(path, 259, 34676)
    with pytest.raises(UnreadableImageError, match=r"^its compression, SGILOG, is not supported$"):
        read_image(path)


@pytest.mark.parametrize(("bits", "dtype"), [(4, np.uint8), (10, np.uint16), (12, np.uint16)])
def test_white_of_colors_with_few_bits_is_white(path, bits, dtype, writing):
    image = RNG.integers(0, 2**bits, (30, 40, 3)).astype(dtype)
    image[0, 0], image[0, 1] = 0, 2**bits - 1
    with writing():
        tifffile.imwrite(path, image, photometric="rgb", bitspersample=bits)
    full = np.iinfo(dtype).max
    expected = np.rint(image * (full / (2**bits - 1))).astype(dtype)
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, expected)
    assert picture.pixels[0, 1].tolist() == [full] * 3


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_negative_values_of_miniswhite_stay_with_a_note(path, dtype):
    image = RNG.integers(-99, 99, (30, 40)).astype(dtype)
    tifffile.imwrite(path, image, photometric="miniswhite")
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, image)
    assert "lowest value is white" in picture.note


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_bits_are_black_and_white(path, photometric):
    bits = GRAY > 127
    tifffile.imwrite(path, bits, photometric=photometric)
    expected = bits if photometric == "minisblack" else ~bits
    np.testing.assert_array_equal(read(path).pixels, expected.astype(np.uint8) * 255)


@pytest.mark.parametrize(
    ("dtype", "text", "value"),
    [
        ("f4", "-9999", -9999),
        ("f4", "-3.4028234663852886e+38", np.finfo("f4").min),
        ("f8", "-3,5", -3.5),
        ("i2", "-32768", -32768),
        ("u1", "255.0", 255),
        ("u8", str(2**64 - 1), 2**64 - 1),
    ],
)
def test_missing_data_are_masked(path, dtype, text, value):
    image = np.arange(1200).reshape(30, 40).astype(dtype) % 100
    image[3:9, 4:20] = value
    tags = [(42113, 2, 0, text, True)]
    tifffile.imwrite(path, image, extratags=tags, tile=(16, 16))
    picture = read(path)
    expected = np.ones((30, 40), bool)
    expected[3:9, 4:20] = False
    np.testing.assert_array_equal(picture.mask, expected)
    np.testing.assert_array_equal(picture.pixels, image)


@pytest.mark.parametrize(
    ("dtype", "text"), [("f4", "nan"), ("u1", "-9999"), ("u1", "x"), ("u2", "0.5")]
)
def test_values_that_no_pixel_can_have_need_no_mask(path, dtype, text):
    tags = [(42113, 2, 0, text, True)]
    tifffile.imwrite(path, GRAY.astype(dtype), photometric="minisblack", extratags=tags)
    assert read(path).mask is None


@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
def test_a_pixel_is_missing_where_all_bands_are(path, photometric):
    image = RNG.integers(0, 3, (30, 40, 3), dtype=np.uint8)
    tags = [(42113, 2, 0, "0", True)]
    tifffile.imwrite(path, image, photometric=photometric, planarconfig="contig", extratags=tags)
    np.testing.assert_array_equal(read(path).mask, image.any(axis=-1))


def test_tiles_that_the_file_lacks_are_missing_data(path):
    image = np.full((64, 64), 5, np.int16)
    tags = [(42113, 2, 0, "-7", True)]
    tifffile.imwrite(path, image, tile=(32, 32), compression="zlib", extratags=tags)
    with tifffile.TiffFile(path) as file:
        tags = [file.pages[0].tags[code] for code in (324, 325)]
        places = [(tag.valueoffset, tag.valuebytecount // tag.count) for tag in tags]
    data = bytearray(path.read_bytes())
    for place, size in places:
        data[place + size : place + 2 * size] = bytes(size)
    path.write_bytes(data)
    image[:32, 32:] = -7
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, image)
    np.testing.assert_array_equal(picture.mask, image != -7)


def test_the_mask_page_of_gdal_is_the_mask(path):
    valid = GRAY > 99
    with tifffile.TiffWriter(path) as writer:
        writer.write(COLOR, photometric="rgb", metadata=None)
        writer.write(valid, photometric="minisblack", subfiletype=4, metadata=None)
    set_tag_of_page(path, 1, 262, 4)
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, COLOR)
    np.testing.assert_array_equal(picture.mask, valid)
    assert not picture.note


def set_tag_of_page(path: Path, page: int, code: int, value: int) -> None:
    with tifffile.TiffFile(path) as file:
        place = file.pages[page].tags[code].valueoffset
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, place, value)
    path.write_bytes(data)


def test_the_profile_is_kept_where_it_describes_the_colors(path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tifffile.imwrite(path, COLOR, photometric="rgb", iccprofile=profile)
    assert read(path).profile == profile
    inks = RNG.integers(0, 256, (30, 40, 4), dtype=np.uint8)
    tifffile.imwrite(path, inks, photometric="separated", iccprofile=profile)
    picture = read(path)
    assert picture.profile == b""
    assert picture.note == "its inks are converted to RGB without their color profile"


@pytest.mark.parametrize("dtype", ["c8", "c16"])
def test_complex_integers_are_complex(path, dtype):
    image = (RNG.integers(-9, 9, (30, 40)) + 1j * RNG.integers(-9, 9, (30, 40))).astype(dtype)
    parts = image.view(dtype.replace("c8", "f4").replace("c16", "f8"))
    bits = {"c8": 16, "c16": 32}[dtype]
    pairs = parts.astype(f"i{bits // 8}")
    tifffile.imwrite(path, pairs.view(f"f{bits // 4}"), photometric="minisblack")
    set_tag(path, 339, 5)
    np.testing.assert_array_equal(read(path).pixels, image)
