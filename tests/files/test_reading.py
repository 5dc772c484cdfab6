"""Read images of many kinds, and write files completely or not at all."""

from __future__ import annotations

import shutil
import struct
import zlib
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_kmeans.files.atomic import replacing, write_whole
from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.picture import Picture
from napari_kmeans.files.reading import READERS, read_image

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


def test_color_png_of_16_bits_is_read_with_a_note(tmp_path):
    path = tmp_path / "deep.png"
    _write_png_of_16_bit_color(path, COLOR[0].astype(np.uint16) * 257)
    picture = read_image(path)
    assert "16-bit" in picture.note
    np.testing.assert_array_equal(picture.pixels, COLOR[0])


def test_gray_with_alpha_becomes_rgba(tmp_path):
    gray, alpha = COLOR[0, ..., 0], COLOR[0, ..., 1]
    Image.merge("LA", [Image.fromarray(gray), Image.fromarray(alpha)]).save(tmp_path / "la.png")
    picture = read_image(tmp_path / "la.png")
    np.testing.assert_array_equal(picture.pixels, np.stack([gray, gray, gray, alpha], axis=-1))
    assert picture.rgb


@pytest.mark.parametrize("name", ["image.xyz", "IMAGE.XYZ", "image.other"])
def test_the_suffix_chooses_the_reader(tmp_path, monkeypatch, name):
    monkeypatch.setitem(READERS, (".xyz", ".other"), lambda path: Picture(GRAY, note=path.name))
    (tmp_path / name).touch()
    picture = read_image(tmp_path / name)
    assert picture.pixels is GRAY
    assert picture.note == name


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


class TestWriteWhole:
    def test_files_are_written_with_the_usual_permissions(self, tmp_path):
        target, ordinary = tmp_path / "target.txt", tmp_path / "ordinary.txt"
        ordinary.touch()
        write_whole({target: lambda path: path.write_text("new")})
        assert target.read_text() == "new"
        assert target.stat().st_mode == ordinary.stat().st_mode
        assert sorted(tmp_path.iterdir()) == [ordinary, target]

    @pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
    def test_an_exception_leaves_the_earlier_files(self, tmp_path, error):
        first, second = tmp_path / "first.txt", tmp_path / "second.txt"
        first.write_text("old")

        def half(path: Path) -> None:
            path.write_text("hal")
            raise error

        with pytest.raises(type(error)):
            write_whole({first: lambda path: path.write_text("new"), second: half})
        assert list(tmp_path.iterdir()) == [first]
        assert first.read_text() == "old"


class TestReplacing:
    """Replace files and directories.

    To simulate a killed run, the tests leave its clean-up out.
    """

    @pytest.fixture
    def target(self, tmp_path) -> Path:
        """Return a directory with files in it, written by an earlier run."""
        target = tmp_path / "labels.zarr"
        self._fill(target, "old")
        return target

    def _fill(self, directory: Path, text: str) -> None:
        (directory / "0").mkdir(parents=True)
        (directory / "0" / "chunk").write_text(text)

    def _names(self, directory: Path) -> list[str]:
        return [path.name for path in directory.iterdir()]

    def test_a_directory_replaces_a_directory(self, target):
        (target / "only in the old directory").touch()
        with replacing([target]) as temporary:
            self._fill(temporary[target], "new")
            assert (target / "0" / "chunk").read_text() == "old"
            assert temporary[target].parent == target.parent
            assert temporary[target].name.startswith(".napari-kmeans-")
        assert (target / "0" / "chunk").read_text() == "new"
        assert self._names(target) == ["0"]
        assert self._names(target.parent) == ["labels.zarr"]

    def test_a_directory_replaces_a_file(self, tmp_path):
        (tmp_path / "labels.zarr").touch()
        with replacing([tmp_path / "labels.zarr"]) as temporary:
            self._fill(temporary[tmp_path / "labels.zarr"], "new")
        assert (tmp_path / "labels.zarr" / "0" / "chunk").read_text() == "new"
        assert self._names(tmp_path) == ["labels.zarr"]

    @pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
    def test_an_exception_leaves_the_earlier_directory(self, target, error):
        def write(part: Path) -> None:
            self._fill(part, "new")
            raise error

        with pytest.raises(type(error)):
            write_whole({target: write})
        assert (target / "0" / "chunk").read_text() == "old"
        assert self._names(target.parent) == ["labels.zarr"]

    def test_the_next_run_removes_files_of_a_killed_run(self, target):
        killed = replacing([target])
        self._fill(killed.__enter__()[target], "half")
        other = target.with_name("x-labels.zarr")
        beside = replacing([other])
        part = beside.__enter__()[other]
        part.mkdir()
        assert len(self._names(target.parent)) == 3
        with replacing([target]) as temporary:
            self._fill(temporary[target], "new")
        # The file that another run is writing for another target stays.
        assert set(self._names(target.parent)) == {"labels.zarr", part.name}

    def test_the_next_run_puts_back_a_directory_that_was_moved_aside(self, target):
        target.rename(target.with_name(".napari-kmeans-previous-labels.zarr"))
        with pytest.raises(KeyboardInterrupt), replacing([target]):
            raise KeyboardInterrupt
        assert (target / "0" / "chunk").read_text() == "old"
        assert self._names(target.parent) == ["labels.zarr"]

    def test_the_next_run_does_not_put_back_a_half_removed_directory(self, target, monkeypatch):
        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", killed)
            with pytest.raises(KeyboardInterrupt), replacing([target]) as temporary:
                self._fill(temporary[target], "new")
        assert (target / "0" / "chunk").read_text() == "new"
        target.rename(target.with_name("moved"))
        with pytest.raises(KeyboardInterrupt), replacing([target]):
            raise KeyboardInterrupt
        assert self._names(target.parent) == ["moved"]

    def test_obsolete_files_are_removed_at_the_end(self, target, tmp_path):
        old = tmp_path / "labels.tif"
        old.touch()
        gone = tmp_path / "never-there.json"
        with replacing([tmp_path / "new.tif"], [target, old, gone]) as temporary:
            temporary[tmp_path / "new.tif"].touch()
            assert target.exists()
            assert old.exists()
        assert self._names(tmp_path) == ["new.tif"]

    def test_an_exception_leaves_obsolete_files(self, target, tmp_path):
        with pytest.raises(OSError, match="full"), replacing([tmp_path / "new.tif"], [target]):
            raise OSError("the disk is full")
        assert (target / "0" / "chunk").read_text() == "old"
        assert self._names(tmp_path) == ["labels.zarr"]

    def test_a_kill_leaves_obsolete_directories_complete_or_hidden(self, target, monkeypatch):
        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", killed)
            with pytest.raises(KeyboardInterrupt), replacing([], [target]):
                pass
        (name,) = self._names(target.parent)
        assert name.startswith(".napari-kmeans-")
        with replacing([target.with_name("labels.tif")], [target]) as temporary:
            temporary[target.with_name("labels.tif")].touch()
        assert self._names(target.parent) == ["labels.tif"]

    def test_a_temporary_file_of_a_temporary_file_is_removed(self, tmp_path):
        name = ".napari-kmeans-0123abcd-.napari-kmeans-4567cdef-model.json"
        (tmp_path / name).touch()
        write_whole({tmp_path / "model.json": lambda path: path.touch()})
        assert self._names(tmp_path) == ["model.json"]
