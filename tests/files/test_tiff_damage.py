"""Damaged and hostile TIFF files: one sentence each, and no memory for what they claim to hold."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import tifffile
from PIL import Image

from napari_kmeans.files import tiff
from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.reading import list_series, read_image

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(14)
COLOR = RNG.integers(0, 256, (40, 56, 3), dtype=np.uint8)
SMOOTH = np.full((64, 64, 3), 90, np.uint8)
STACK = RNG.integers(0, 99, (2, 3, 20, 30), dtype=np.uint16)


@pytest.fixture(params=["complete", "lazy"])
def path(request, tmp_path, monkeypatch) -> Path:
    if request.param == "lazy":
        monkeypatch.setattr(tiff, "LARGE", 100)
    return tmp_path / "image.tif"


def replace_strip(path: Path, strip: bytes) -> None:
    """Append other contents for the first tile or strip of a file."""
    with tifffile.TiffFile(path) as file:
        tags = file.pages[0].tags
        offsets, counts = (tags.get(324) or tags[273]), (tags.get(325) or tags[279])
        places = {
            offsets.valueoffset: (offsets.dtype, path.stat().st_size),
            counts.valueoffset: (counts.dtype, len(strip)),
        }
    data = bytearray(path.read_bytes())
    for place, (kind, value) in places.items():
        struct.pack_into({3: "<H", 4: "<I", 16: "<Q"}[kind], data, place, value)
    path.write_bytes(data + strip)


def read_completely(path: Path) -> np.ndarray:
    return np.asarray(read_image(path).pixels)


def bomb(codec: str) -> bytes:
    """Return 2 MB of zeros, or a picture of 2000 x 2000 pixels, packed."""
    if codec == "zlib":
        return zlib.compress(bytes(2**21), 9)
    stream = BytesIO()
    kind = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP", "jpeg2000": "JPEG2000"}[codec]
    options = {"no_jp2": True} if codec == "jpeg2000" else {}
    Image.new("RGB", (2000, 2000)).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("codec", ["png", "jpeg", "webp", "jpeg2000"])
def test_a_large_picture_in_a_small_tile_is_not_unpacked(path, codec):
    options: dict[str, Any] = {"compression": codec, "tile": (64, 64), "bigtiff": True}
    tifffile.imwrite(path, SMOOTH, photometric="rgb", **options)
    replace_strip(path, bomb(codec))
    message = r"one of its tiles contains an image of shape \(2000, 2000, 3\), which is larger"
    with pytest.raises(UnreadableImageError, match=message):
        read_completely(path)


def test_a_strip_that_unpacks_to_more_than_its_pixels_is_damaged(path):
    tifffile.imwrite(path, COLOR, photometric="rgb", compression="zlib", bigtiff=True)
    replace_strip(path, bomb("zlib"))
    tracemalloc.start()
    with pytest.raises(UnreadableImageError, match=r"INSUFFICIENT_SPACE"):
        read_completely(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_small_file_of_a_huge_image_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8000, 8000), np.uint8), compression="zlib", tile=(8000, 8000))
    assert path.stat().st_size < 100_000
    free = type("Memory", (), {"available": 10_000_000})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(UnreadableImageError, match=r"needs 0.1 GB of memory, and only 0.0 GB are"):
        read_image(path)
    monkeypatch.setattr(tiff, "LARGE", 1000)
    with pytest.raises(UnreadableImageError, match=r"^one chunk of it needs"):
        read_image(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'SizeT="2"', b'SizeT="666666667"'),
        (b'PlaneCount="6"', b'PlaneCount="2000000000"'),
    ],
)
def test_ome_metadata_of_too_many_planes_are_refused(path, old, new):
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(STACK, metadata={"axes": "TCYX"}, photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        text = file.ome_metadata.encode()
    assert old in text
    text = text.replace(old, new)
    tifffile.imwrite(
        path, STACK, description=text.decode(), metadata=None, photometric="minisblack"
    )
    for read in (read_image, list_series):
        with pytest.raises(
            UnreadableImageError, match=r"^its OME metadata state 200000000. planes"
        ):
            read(path)


def test_imagej_metadata_of_too_many_planes_are_refused(path):
    options = {"imagej": True, "metadata": {"axes": "TZYX"}, "compression": "zlib"}
    tifffile.imwrite(path, STACK, **options)
    data = path.read_bytes()
    assert b"frames=2" in data
    path.write_bytes(data.replace(b"frames=2", b"frames=9"))
    with pytest.raises(UnreadableImageError, match=r"^its metadata state 27 planes, and it has 6$"):
        read_image(path)


def test_pages_that_lead_back_to_the_first_page(path):
    tifffile.imwrite(path, STACK.reshape(6, 20, 30), metadata=None, photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        first, last = file.pages[0].offset, file.pages[5]
        place = last.offset + 2 + 12 * len(last.tags)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, place, first)
    path.write_bytes(data)
    pixels = read_completely(path)
    np.testing.assert_array_equal(pixels, STACK.reshape(6, 20, 30)[: len(pixels)])


@pytest.mark.parametrize("code", [22610, 34934])
def test_jpeg_xr_is_refused(path, code):
    tifffile.imwrite(path, SMOOTH, photometric="rgb", compression=code)
    with pytest.raises(
        UnreadableImageError, match=r"^its compression, JPEG XR, is not supported: "
    ):
        read_image(path)


def test_jpeg_xr_in_a_coarse_level_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "LARGE", 100)
    path = tmp_path / "a.tif"
    options = {"photometric": "rgb", "tile": (16, 16)}
    with tifffile.TiffWriter(path) as writer:
        writer.write(SMOOTH, subifds=1, **options)
        writer.write(SMOOTH[::2, ::2], subfiletype=1, compression="jpegxr", **options)
    with pytest.raises(UnreadableImageError, match=r"^its compression, JPEG XR, is not supported"):
        read_image(path)


def make_seeds() -> list[bytes]:
    """Return small TIFF files of many kinds."""

    def write(image: np.ndarray, **options: Any) -> bytes:
        stream = BytesIO()
        tifffile.imwrite(stream, image, **options)
        return stream.getvalue()

    def save(mode: str, **options: Any) -> bytes:
        stream = BytesIO()
        Image.fromarray(COLOR).convert(mode).save(stream, "TIFF", **options)
        return stream.getvalue()

    codecs = ("zlib", "zstd", "packbits", "lzma", "png", "jpeg", "jpeg2000", "webp", "jpegxl")
    return [
        *(write(SMOOTH, photometric="rgb", compression=codec) for codec in codecs),
        write(COLOR, photometric="rgb"),
        write(COLOR, photometric="rgb", compression="lzw", predictor=2, tile=(16, 16)),
        write(STACK, ome=True, metadata={"axes": "TCYX", "PhysicalSizeX": 0.5}),
        write(STACK, imagej=True, metadata={"axes": "TCYX", "unit": "um"}),
        write(
            STACK, metadata={"axes": "TCYX"}, byteorder=">", bigtiff=True, photometric="minisblack"
        ),
        write(
            STACK.reshape(6, 20, 30),
            metadata=None,
            photometric="minisblack",
            extratags=[(42113, 2, 0, "0", True)],
        ),
        save("P"),
        save("CMYK"),
        save("1", compression="group4"),
    ]


SEEDS = make_seeds()
EXTREMES = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x10", b"\1\0\0\0")


@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_changed_and_truncated_files_are_read_or_get_one_sentence(path, seed):
    rng = np.random.default_rng(seed)
    messages = []
    for number in range(24):
        data = bytearray(SEEDS[seed])
        if number % 3 == 0:
            data = data[: rng.integers(len(data))]
        elif number % 3 == 1:
            for place in rng.integers(0, len(data), 4):
                data[place] = rng.integers(256)
        else:
            place = rng.integers(0, len(data) - 4)
            data[place : place + 4] = EXTREMES[rng.integers(len(EXTREMES))]
        path.write_bytes(data)
        try:
            picture = read_image(path)
            if picture.pixels.nbytes < 2**24:
                np.asarray(picture.pixels)
            list_series(path)
        except UnreadableImageError as error:
            messages.append(str(error))
    assert all(messages)
    assert not any("\n" in message for message in messages)


HYPERSTACK = np.random.default_rng(0).integers(0, 4000, (2, 3, 2, 64, 96), dtype=np.uint16)


@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize(
    ("pixels", "settings"),
    [
        (HYPERSTACK, {"imagej": True, "metadata": {"axes": "TZCYX"}}),
        (HYPERSTACK, {"imagej": True, "metadata": {"axes": "TZCYX"}, "compression": "zlib"}),
        (HYPERSTACK[0, :, 0], {"ome": True, "metadata": {"axes": "CYX"}}),
        (HYPERSTACK[0, 0], {"compression": "lzw"}),
        (HYPERSTACK[0], {}),
    ],
)
def test_a_file_without_its_last_pages_is_refused(tmp_path, pixels, settings, part):
    """tifffile would return the pages that are left, as an image of another kind."""
    tifffile.imwrite(tmp_path / "whole.tif", pixels, photometric="minisblack", **settings)
    data = (tmp_path / "whole.tif").read_bytes()
    np.testing.assert_array_equal(read_image(tmp_path / "whole.tif").pixels, pixels)
    (tmp_path / "cut.tif").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(UnreadableImageError, match=r"^it ends too early: "):
        read_image(tmp_path / "cut.tif")
