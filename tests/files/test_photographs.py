"""Photographs: orientation, pixel size, color profile, transparency, frames and damage."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
import zlib
from contextlib import suppress
from io import BytesIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import psutil
import pytest
from PIL import Image, ImageCms, ImageOps

from napari_kmeans import segment
from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.picture import Axis
from napari_kmeans.files.reading import list_series, read_image

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)
GRAY_16 = RNG.integers(0, 65536, (24, 40), dtype=np.uint16)
_rows, _columns = np.mgrid[:24, :40]
SMOOTH = np.dstack([40 + 8 * _rows, 220 - 5 * _columns, 60 + 3 * _rows + 2 * _columns])
SMOOTH = SMOOTH.astype(np.uint8)
on_posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")

ORIENTATION, EXIF, EXPOSURE_TIME = 0x0112, 0x8769, 0x829A


def exif_of(orientation: int = 1, exposure: float = 0) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    if exposure:
        exif[EXIF] = {EXPOSURE_TIME: exposure}
    return exif


def png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def with_png_chunk(content: bytes, kind: bytes, data: bytes) -> bytes:
    """Return a PNG file with a chunk after its header."""
    return content[:33] + png_chunk(kind, data) + content[33:]


def encode(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "image"


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("JPEG", {}),
            ("PNG", {}),
            ("WEBP", {"lossless": True}),
            ("AVIF", {}),
            ("MPO", {}),
        ],
    )
    def test_is_applied(self, path, orientation, kind, options):
        path.write_bytes(encode(SMOOTH, kind, exif=exif_of(orientation), **options))
        with Image.open(path) as image:
            expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        np.testing.assert_array_equal(read_image(path).pixels, expected)

    @pytest.mark.parametrize(
        ("orientation", "corner"),
        # Where the first pixel of the file is shown, according to the tables of Exif.
        [
            (1, (0, 0)),
            (2, (0, -1)),
            (3, (-1, -1)),
            (4, (-1, 0)),
            (5, (0, 0)),
            (6, (0, -1)),
            (7, (-1, -1)),
            (8, (-1, 0)),
        ],
    )
    def test_is_applied_to_16_bits(self, path, orientation, corner):
        path.write_bytes(encode(GRAY_16, "PNG", exif=exif_of(orientation)))
        pixels = read_image(path).pixels
        assert pixels.shape == ((24, 40) if orientation < 5 else (40, 24))
        assert pixels[corner] == GRAY_16[0, 0]

    def test_is_applied_to_each_frame(self, path):
        frames = [Image.fromarray(np.roll(RGB, number, axis=1)) for number in range(3)]
        frames[0].save(path, "PNG", save_all=True, append_images=frames[1:], exif=exif_of(6))
        expected = [np.rot90(np.asarray(frame), -1) for frame in frames]
        np.testing.assert_array_equal(read_image(path).pixels, expected)

    @pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II"])
    def test_damaged_exif_data_cost_nothing_else(self, path, exif):
        path.write_bytes(encode(RGB, "PNG", exif=exif))
        np.testing.assert_array_equal(read_image(path).pixels, RGB)

    def test_impossible_orientation_is_upright(self, path):
        path.write_bytes(encode(RGB, "PNG", exif=exif_of(99)))
        np.testing.assert_array_equal(read_image(path).pixels, RGB)


class TestPixelSize:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
    @pytest.mark.parametrize("dpi", [150, 300, 600, 2400])
    def test_of_a_scanner_is_read(self, path, kind, dpi):
        path.write_bytes(encode(RGB, kind, dpi=(dpi, dpi)))
        y, x, _ = read_image(path).axes
        assert (y.unit, x.unit) == ("micrometer", "micrometer")
        assert (y.scale, x.scale) == pytest.approx((25400 / dpi, 25400 / dpi), rel=1e-4)

    @pytest.mark.parametrize("dpi", [1, 28, 71.1, 72, 96, 96.5, 100, 120, 144, 192])
    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    def test_of_a_screen_is_not_taken_for_that_of_an_object(self, path, kind, dpi):
        path.write_bytes(encode(RGB, kind, dpi=(dpi, dpi)))
        assert read_image(path).axes == (Axis("y"), Axis("x"), Axis("c", "channel"))

    def test_of_a_camera_is_not_taken_for_that_of_an_object(self, path):
        path.write_bytes(encode(RGB, "JPEG", dpi=(300, 300), exif=exif_of(exposure=0.01)))
        assert read_image(path).axes[0] == Axis("y")

    @pytest.mark.parametrize(("orientation", "expected"), [(3, (100, 50)), (6, (50, 100))])
    def test_turns_with_the_image(self, path, orientation, expected):
        exif = exif_of(orientation)
        path.write_bytes(encode(RGB, "JPEG", dpi=(508, 254), exif=exif))
        axes = read_image(path).axes
        assert (axes[0].scale, axes[1].scale) == pytest.approx(expected)

    def test_of_a_microscope_is_read_with_16_bits(self, path):
        # 4 pixels per micrometer.
        size = struct.pack(">IIB", 4_000_000, 4_000_000, 1)
        path.write_bytes(with_png_chunk(encode(GRAY_16), b"pHYs", size))
        assert [axis.scale for axis in read_image(path).axes] == pytest.approx([0.25, 0.25])

    def test_of_no_unit_is_a_shape(self, path):
        size = struct.pack(">IIB", 4_000_000, 4_000_000, 0)
        path.write_bytes(with_png_chunk(encode(RGB), b"pHYs", size))
        assert read_image(path).axes[0] == Axis("y")

    @pytest.mark.parametrize("numbers", [(0, 0), (2**32 - 1, 0), (0, 300)])
    def test_of_zero_is_none(self, path, numbers):
        path.write_bytes(with_png_chunk(encode(RGB), b"pHYs", struct.pack(">IIB", *numbers, 1)))
        assert read_image(path).axes[0] == Axis("y")


class TestColors:
    def test_profile_is_kept(self, path):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        for kind in ("PNG", "JPEG", "WEBP", "AVIF"):
            path.write_bytes(encode(RGB, kind, icc_profile=profile))
            assert read_image(path).profile == profile, kind
        deep = imagecodecs.png_encode(RGB.astype(np.uint16) * 257)
        packed = b"name\0\0" + zlib.compress(profile)
        path.write_bytes(with_png_chunk(deep, b"iCCP", packed))
        assert read_image(path).profile == profile

    @pytest.mark.parametrize("profile", [b"", b"no profile", bytes(200)])
    def test_a_profile_of_other_colors_is_none(self, path, profile):
        path.write_bytes(encode(RGB, "JPEG", icc_profile=profile))
        assert read_image(path).profile == b""

    def test_lab_is_converted_by_its_profile(self, path):
        # JPEG stores the three channels of CIELAB without a name: the profile names them.
        lab_profile = ImageCms.createProfile("LAB")
        srgb = ImageCms.createProfile("sRGB")
        smooth = Image.fromarray(SMOOTH)
        lab = ImageCms.profileToProfile(smooth, srgb, lab_profile, outputMode="LAB")
        as_rgb = Image.merge("RGB", lab.split())
        profile = ImageCms.ImageCmsProfile(lab_profile).tobytes()
        as_rgb.save(path, "JPEG", quality=100, keep_rgb=True, icc_profile=profile)
        picture = read_image(path)
        difference = np.abs(picture.pixels.astype(int) - SMOOTH)
        assert np.median(difference) <= 3
        assert picture.profile == b""

    def test_ink_is_converted_without_the_profile_of_other_colors(self, path):
        inks = np.dstack([255 - SMOOTH, np.zeros(SMOOTH.shape[:2], np.uint8)])
        image = Image.frombytes("CMYK", (40, 24), inks.tobytes())
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        image.save(path, "JPEG", quality=98, subsampling=0, icc_profile=profile)
        picture = read_image(path)
        np.testing.assert_allclose(picture.pixels.astype(int), SMOOTH, atol=8)
        assert picture.profile == b""

    def test_tga_file_without_bits_of_alpha_is_opaque(self, path):
        content = bytearray(encode(np.dstack([RGB, np.zeros((24, 40), np.uint8)]), "TGA"))
        assert read_image_of(path, content).shape == (24, 40, 4)
        content[17] &= 0xF0
        np.testing.assert_array_equal(read_image_of(path, content), RGB)

    @pytest.mark.parametrize("kind", ["PNG", "GIF"])
    def test_transparent_pixels_are_left_out(self, path, kind):
        indices = np.repeat([0, 1, 2], 20).astype(np.uint8)[None].repeat(9, 0)
        image = Image.frombytes("P", (60, 9), indices.tobytes())
        image.putpalette([10, 200, 30, 200, 20, 20, 20, 20, 200])
        image.save(path, kind, transparency=0)
        picture = read_image(path)
        labels = segment(picture.pixels, 2, rgb=picture.rgb).labels
        np.testing.assert_array_equal(labels == 0, indices == 0)


def read_image_of(path: Path, content: bytes) -> np.ndarray:
    path.write_bytes(content)
    return read_image(path).pixels


class TestFrames:
    @pytest.mark.parametrize(
        ("durations", "expected"),
        [
            ([50, 50, 50], Axis("t", "time", "second", 0.05)),
            ([50, 100, 50], Axis("t", "time")),
            ([0, 0, 0], Axis("t", "time")),
        ],
    )
    @pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
    def test_time_between_frames_is_read_if_it_is_one(self, path, kind, durations, expected):
        frames = [Image.fromarray(np.roll(RGB, number, axis=1)) for number in range(3)]
        options = {"lossless": True} if kind == "WEBP" else {}
        frames[0].save(
            path, kind, save_all=True, append_images=frames[1:], duration=durations, **options
        )
        picture = read_image(path)
        assert picture.pixels.shape == (3, *RGB.shape)
        assert picture.axes[0] == expected

    def test_frames_with_16_bits_are_read_with_a_note(self, path):
        frames = np.stack([RGB, RGB[::-1]]).astype(np.uint16) * 257
        path.write_bytes(imagecodecs.apng_encode(frames, photometric="rgb"))
        picture = read_image(path)
        assert "16-bit" in picture.note
        np.testing.assert_array_equal(picture.pixels, frames >> 8)

    def test_channels_of_16_bits_in_sgi_files_are_read_with_a_note(self, path):
        header = struct.pack(">HBBHHHHII", 474, 0, 2, 2, 40, 24, 1, 0, 65535)
        path.write_bytes(header.ljust(512, b"\0") + GRAY_16[::-1].astype(">u2").tobytes())
        picture = read_image(path)
        assert "16-bit" in picture.note
        np.testing.assert_array_equal(picture.pixels, GRAY_16 >> 8)

    def test_images_of_a_stereo_photograph_are_series(self, path):
        left, right = Image.fromarray(SMOOTH), Image.fromarray(SMOOTH[:, ::-1])
        left.save(path, "MPO", save_all=True, append_images=[right], quality=100, subsampling=0)
        assert [series.shape for series in list_series(path)] == [SMOOTH.shape] * 2
        picture = read_image(path)
        assert "2 images" in picture.note
        np.testing.assert_allclose(picture.pixels.astype(int), SMOOTH, atol=4)
        other = read_image(path, 1)
        assert not other.note
        np.testing.assert_allclose(other.pixels.astype(int), SMOOTH[:, ::-1], atol=4)
        with pytest.raises(UnreadableImageError, match=r"^series must be from 0 to 1, .*, got 2$"):
            read_image(path, 2)

    def test_previews_in_a_photograph_are_not_mentioned(self, path):
        large, preview = Image.fromarray(SMOOTH), Image.fromarray(SMOOTH[::4, ::4])
        large.save(path, "MPO", save_all=True, append_images=[preview])
        picture = read_image(path)
        assert (picture.pixels.shape, picture.note) == (SMOOTH.shape, "")


class TestMemory:
    @pytest.fixture
    def little(self, monkeypatch) -> None:
        memory = SimpleNamespace(available=2_000_000)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)

    @pytest.mark.parametrize(
        "encode_large",
        [
            encode,
            lambda pixels: encode(pixels, "GIF"),
            lambda pixels: encode(pixels, "WEBP"),
            lambda pixels: encode(pixels, "AVIF"),
            lambda pixels: encode(pixels, "JPEG"),
            lambda pixels: encode(pixels, "JPEG2000"),
            lambda pixels: imagecodecs.png_encode(pixels.astype(np.uint16)),
            lambda pixels: imagecodecs.jpeg2k_encode(pixels.astype(np.uint16)),
            imagecodecs.jpegxl_encode,
            imagecodecs.jpegls_encode,
            lambda pixels: imagecodecs.ljpeg_encode(pixels[..., 0].astype(np.uint16)),
            lambda pixels: imagecodecs.avif_encode(
                pixels.astype(np.uint16), bitspersample=10, speed=10
            ),
        ],
    )
    def test_is_checked_before_unpacking(self, path, little, encode_large):
        large = np.zeros((700, 800, 3), np.uint8)
        large[0, 0] = 1
        path.write_bytes(encode_large(large))
        with pytest.raises(UnreadableImageError, match="size that it states needs"):
            read_image(path)

    def test_is_checked_for_all_frames(self, path, little):
        frames = [Image.new("L", (100, 100), number) for number in range(60)]
        frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])
        with pytest.raises(UnreadableImageError, match="size that it states needs"):
            read_image(path)

    @pytest.mark.parametrize("disposal", [0, 1, 2])
    def test_is_not_filled_by_a_frame_that_is_larger_than_its_image(self, path, disposal):
        frames = [Image.new("P", (40, 24), number) for number in range(2)]
        for number, frame in enumerate(frames):
            frame.putpalette([0, 0, 0, 255, 255, 255])
            frame.putpixel((3, 3), 1 - number)
        stream = BytesIO()
        frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], disposal=disposal)
        content = bytearray(stream.getvalue())
        # The last image descriptor: a comma, its position, and its size.
        place = content.rindex(b",\0\0\0\0\x28\0\x18\0")
        content[place + 5 : place + 9] = b"\xff\xff\xff\xff"
        path.write_bytes(content)
        with pytest.raises(UnreadableImageError, match="its frame 1 is larger than"):
            read_image(path)

    @pytest.mark.parametrize(
        ("kind", "start"), [(b"zTXt", b"a\0\0"), (b"iCCP", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0")]
    )
    def test_is_not_filled_by_text_or_profiles(self, path, kind, start):
        packer = zlib.compressobj(1)
        zeros = b"".join(packer.compress(bytes(2**20)) for _ in range(400)) + packer.flush()
        path.write_bytes(with_png_chunk(encode(RGB), kind, start + zeros))
        code = (
            "import resource, sys; from napari_kmeans.files.reading import read_image\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "try:\n    read_image(sys.argv[1])\nexcept Exception as error:\n    print(error)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
        )
        if os.name != "posix":
            pytest.skip("needs POSIX")
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        )
        assert int(done.stdout.split()[-1]) < 200_000


class TestRecognition:
    @pytest.mark.parametrize("name", ["image", "image.txt", "image.jpg", "image.tif", "image.zarr"])
    def test_the_first_bytes_count(self, tmp_path, name):
        path = tmp_path / name
        path.write_bytes(encode(RGB))
        np.testing.assert_array_equal(read_image(path).pixels, RGB)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\0",
            b"no image",
            bytes(5000),
            b"\x89HDF\r\n\x1a\n" + bytes(600),
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n",
            b"SIMPLE  =                    T" + b" " * 2850,
            bytes(128) + b"DICM" + bytes(300),
            b"BM is a text, not a bitmap",
            b"P5 is a text too, and longer than a header",
        ],
    )
    def test_unknown_bytes_are_left_to_other_readers(self, path, content):
        from napari_kmeans.files.photographs import is_photograph

        path.write_bytes(content)
        if content[:2] != b"P5":
            assert not is_photograph(path, content[:4096])
        with pytest.raises(UnreadableImageError):
            read_image(path)

    def test_random_bytes_are_not_taken_for_a_photograph(self, path):
        from napari_kmeans.files.photographs import is_photograph

        noise = np.random.default_rng(0).integers(0, 256, (20_000, 64), dtype=np.uint8)
        # TGA has no signature: its headers look like these.
        noise[::2, :3], noise[::2, 16:18] = (0, 0, 2), (24, 0)
        path.write_bytes(bytes(300_000))
        assert sum(is_photograph(path, bytes(row)) for row in noise) <= 2


class TestPipes:
    @on_posix
    def test_a_pipe_is_read(self, tmp_path):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        writer = threading.Thread(target=lambda: pipe.write_bytes(encode(RGB)))
        writer.start()
        np.testing.assert_array_equal(read_image(pipe).pixels, RGB)
        writer.join()

    @pytest.mark.skipif(not os.path.exists("/dev/fd/0"), reason="needs /dev/fd")
    def test_a_pipe_without_a_name_can_be_read_again(self):
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as file:
            file.write(encode(RGB))
        path = f"/dev/fd/{reading}"
        assert list_series(path)[0].shape == RGB.shape
        np.testing.assert_array_equal(read_image(path).pixels, RGB)
        os.close(reading)

    @on_posix
    def test_an_endless_pipe_is_refused(self, tmp_path, monkeypatch):
        memory = SimpleNamespace(available=5_000_000)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)

        def write() -> None:
            with suppress(BrokenPipeError), pipe.open("wb") as file:
                while True:
                    file.write(bytes(2**16))

        writer = threading.Thread(target=write)
        writer.start()
        with pytest.raises(UnreadableImageError, match="the contents of the pipe need"):
            read_image(pipe)
        writer.join()


class TestDamage:
    @pytest.mark.parametrize(
        "content",
        [
            encode(RGB),
            encode(GRAY_16),
            encode(SMOOTH, "JPEG"),
            encode(RGB, "GIF"),
            encode(RGB, "TGA"),
            encode(RGB, "QOI"),
            encode(SMOOTH, "AVIF"),
            encode(SMOOTH, "WEBP"),
            encode(SMOOTH, "JPEG2000"),
            imagecodecs.png_encode(RGB.astype(np.uint16)),
            imagecodecs.jpegxl_encode(RGB),
            imagecodecs.jpegls_encode(RGB),
            imagecodecs.jpeg2k_encode(GRAY_16),
            b"P6 40 24 65535\n" + bytes(24 * 40 * 6),
            b"P7\nWIDTH 40\nHEIGHT 24\nDEPTH 3\nMAXVAL 255\nENDHDR\n" + RGB.tobytes(),
        ],
    )
    def test_files_with_errors_give_one_sentence_or_an_image(self, path, content):
        rng = np.random.default_rng(len(content))
        for number in range(24):
            data = bytearray(content)
            if number % 2:
                del data[int(rng.integers(len(data))) :]
            else:
                for place in rng.integers(0, min(len(data), 100 * number + 40), 4):
                    data[place] = rng.integers(256)
            path.write_bytes(data)
            message = "none"
            try:
                assert read_image(path).pixels.ndim >= 2
            except UnreadableImageError as error:
                message = str(error)
            assert message
            assert "\n" not in message

    def test_jpeg_xr_is_refused(self, path):
        path.write_bytes(imagecodecs.jpegxr_encode(RGB))
        with pytest.raises(UnreadableImageError, match="it is a JPEG XR image, which is not supp"):
            read_image(path)

    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 3), (8, 8), (17, 33)])
    def test_interlaced_image_of_16_bits_is_decoded_in_passes(self, path, capfd, size):
        pixels = RNG.integers(0, 65536, (*size, 3), dtype=np.uint16)
        # The starts and steps of Adam7 along rows and columns.
        passes = ["0808", "0848", "4804", "0424", "2402", "0212", "1201"]
        rows = b"".join(
            b"\0" + row.astype(">u2").tobytes()
            for top, down, left, across in (map(int, each) for each in passes)
            for row in pixels[top::down, left::across]
            if row.size
        )
        header = struct.pack(">IIBBBBB", size[1], size[0], 16, 2, 0, 0, 1)
        chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
        content = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*each) for each in chunks)
        path.write_bytes(content)
        np.testing.assert_array_equal(read_image(path).pixels, pixels)
        for place in (len(content) - 30, 45):
            damaged = bytearray(content)
            damaged[place] ^= 0xFF
            path.write_bytes(damaged)
            with pytest.raises(UnreadableImageError):
                read_image(path)
        assert capfd.readouterr() == ("", "")

    def test_decoders_print_nothing(self, path, capfd):
        deep = imagecodecs.png_encode(GRAY_16)
        path.write_bytes(with_png_chunk(deep, b"iCCP", b"a\0\0no profile"))
        np.testing.assert_array_equal(read_image(path).pixels, GRAY_16)
        assert capfd.readouterr() == ("", "")
