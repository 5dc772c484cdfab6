"""Read images of many kinds."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.reading import list_series, read_image

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(1)
COLOR = RNG.integers(0, 256, (5, 20, 31, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 65536, (5, 20, 31), dtype=np.uint16)


def _save_frames(path: Path, **options) -> None:
    first, *others = [Image.fromarray(frame) for frame in COLOR]
    first.save(path, save_all=True, append_images=others, **options)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("image", [COLOR[0], COLOR[0, ..., 0]], ids=["color", "gray"])
def test_the_pixels_that_were_written_are_read(tmp_path, suffix, image):
    path = tmp_path / f"image{suffix}"
    iio.imwrite(path, image)
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, image)
    assert picture.channel_axis is None
    assert bool(picture.rgb) == (image.ndim == 3)


def test_gray_png_keeps_its_16_bits(tmp_path):
    iio.imwrite(tmp_path / "deep.png", GRAY[0])
    picture = read_image(tmp_path / "deep.png")
    np.testing.assert_array_equal(picture.pixels, GRAY[0])
    assert not picture.note


def _write_png_of_16_bit_color(path: Path, image: np.ndarray) -> None:
    """Write a PNG file by hand: header, unfiltered rows, end. No library here writes this kind."""
    height, width, _ = image.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks.items()
        )
    )


def test_color_png_keeps_its_16_bits(tmp_path):
    path = tmp_path / "deep.png"
    deep = COLOR[0].astype(np.uint16) * 200
    _write_png_of_16_bit_color(path, deep)
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, deep)
    assert not picture.note


def test_gray_with_alpha_becomes_rgba(tmp_path):
    gray, alpha = COLOR[0, ..., 0], COLOR[0, ..., 1]
    Image.merge("LA", [Image.fromarray(gray), Image.fromarray(alpha)]).save(tmp_path / "la.png")
    picture = read_image(tmp_path / "la.png")
    np.testing.assert_array_equal(picture.pixels, np.stack([gray, gray, gray, alpha], axis=-1))
    assert picture.rgb


@pytest.mark.parametrize("name", ["image", "image.png", "image.TXT"])
def test_the_first_bytes_choose_the_reader(tmp_path, name):
    tifffile.imwrite(tmp_path / "image.tif", COLOR[0], photometric="rgb")
    (tmp_path / "image.tif").rename(tmp_path / name)
    picture = read_image(tmp_path / name)
    np.testing.assert_array_equal(picture.pixels, COLOR[0])
    assert picture.axes


@pytest.mark.parametrize("suffix", [".png", ".gif", ".tif"])
def test_indices_of_a_palette_become_colors(tmp_path, suffix):
    indexed = Image.fromarray(COLOR[0]).quantize(16)
    indexed.save(tmp_path / f"palette{suffix}")
    picture = read_image(tmp_path / f"palette{suffix}")
    np.testing.assert_array_equal(picture.pixels, np.asarray(indexed.convert("RGB")))
    assert picture.rgb


def test_black_ink_of_cmyk_is_not_taken_for_alpha(tmp_path):
    Image.fromarray(COLOR[0]).convert("CMYK").save(tmp_path / "print.jpg")
    assert read_image(tmp_path / "print.jpg").pixels.shape == (20, 31, 3)


def test_pixels_of_one_bit_become_0_and_255(tmp_path):
    bits = COLOR[0, ..., 0] > 127
    Image.fromarray(bits).save(tmp_path / "bits.png")
    pixels = read_image(tmp_path / "bits.png").pixels
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.where(bits, 255, 0))


def test_frames_of_an_animation_become_a_stack(tmp_path):
    _save_frames(tmp_path / "moving.gif")
    picture = read_image(tmp_path / "moving.gif")
    assert picture.pixels.shape == COLOR.shape
    assert picture.rgb


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_pages_of_a_tiff_file_become_a_stack(tmp_path, compression):
    _save_frames(tmp_path / "pages.tif", compression=compression)
    picture = read_image(tmp_path / "pages.tif")
    np.testing.assert_array_equal(picture.pixels, COLOR)
    assert picture.rgb


def test_colors_in_planes_are_read_as_colors(tmp_path):
    planes = np.moveaxis(COLOR[0], -1, 0)
    path = tmp_path / "planes.tif"
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate")
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, COLOR[0])
    assert picture.rgb


def test_channel_axis_comes_from_the_axes_of_a_tiff_file(tmp_path):
    tifffile.imwrite(tmp_path / "stain.ome.tif", GRAY, metadata={"axes": "CYX"})
    picture = read_image(tmp_path / "stain.ome.tif")
    np.testing.assert_array_equal(picture.pixels, GRAY)
    assert picture.channel_axis == 0


def _damage(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    if "text" in name:
        path.write_text("no image")
    elif "empty" in name:
        path.touch()
    elif "directory" in name:
        path.mkdir()
    elif "cut" in name:
        iio.imwrite(path, COLOR[0])
        path.write_bytes(path.read_bytes()[:400])
    return path


@pytest.mark.parametrize(
    "name",
    [
        *("missing.png", "missing.tif", "text.png", "text.tif", "text", "empty.jpg", "empty.tif"),
        *("cut.png", "cut.tif", "cut.jpg", "directory.tif", "imageio:chelsea.png"),
    ],
)
def test_an_unreadable_file_has_one_short_reason(tmp_path, name):
    with pytest.raises(UnreadableImageError) as caught:
        read_image(_damage(tmp_path, name))
    message = str(caught.value)
    assert message
    assert "\n" not in message


def test_names_in_a_zarr_group_become_one_line(tmp_path):
    path = tmp_path / "a.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=np.zeros((2, 20, 30), np.uint8))
    axes = [
        {"name": "c", "type": "channel"},
        {"name": "y", "type": "space", "unit": "mi\ncron"},
        {"name": "x\x00", "type": "space"},
    ]
    scale = {"type": "scale", "scale": [1, 1, 1]}
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    group.attrs["omero"] = {"channels": [{"label": "a\ud800b"}, {"label": "c\r\nd\u2028e"}]}
    picture = read_image(path)
    assert [each.name for each in picture.channels] == ["a b", "c d e"]
    assert [(each.name, each.unit) for each in picture.axes] == [
        ("c", ""),
        ("y", "mi cron"),
        ("x ", ""),
    ]


def test_names_in_ome_tiff_become_one_line(tmp_path):
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "CYX", "Name": "left\tright", "Channel": {"Name": ["a\x85b", "c,QUOTE!d"]}}
    tifffile.imwrite(path, np.zeros((2, 20, 30), np.uint8), ome=True, metadata=metadata)
    # Early releases of tifffile write a quotation mark as it is, which is no XML.
    path.write_bytes(path.read_bytes().replace(b"QUOTE!", b"&quot;"))
    picture = read_image(path)
    assert [each.name for each in picture.channels] == ["a b", 'c,"d']
    with tifffile.TiffFile(path) as file:
        assert picture.name == file.series[0].name.replace("\t", " ")
    assert [each.name for each in list_series(path)] == [picture.name]


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        # The number of values of the first tag is 0.
        ("a.tif", b"\x04\0\x01\0\0\0", b"\x04\0\0\0\0\0", "it cannot be decoded as TIFF ("),
        ("a.npy", b"'shape'", b"'shap!'", "it cannot be decoded as an array of numpy (Header "),
        ("a.npy", b"'shape'", b"shape--", "it cannot be decoded as an array of numpy ("),
    ],
)
def test_the_error_of_a_decoder_is_in_a_sentence(tmp_path, name, old, new, message):
    path = tmp_path / name
    (tifffile.imwrite if name.endswith("tif") else np.save)(path, COLOR[0])
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    with pytest.raises(UnreadableImageError) as caught:
        read_image(path)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 150
