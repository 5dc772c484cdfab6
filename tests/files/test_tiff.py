"""Large TIFF files, read lazily: the same pixels as from reading completely."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import psutil
import pytest
import tifffile
from PIL import Image

from napari_kmeans.files import tiff
from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.reading import read_image

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(3)
COLOR = RNG.integers(0, 256, (300, 500, 3), dtype=np.uint8)
STACK = RNG.integers(0, 65536, (3, 300, 500), dtype=np.uint16)
TILED = {"tile": (64, 128), "compression": "zlib", "predictor": True}


@pytest.fixture
def path(tmp_path, monkeypatch) -> Path:
    """Return a path. Every TIFF file of more than 1000 bytes of pixels counts as large."""
    monkeypatch.setattr(tiff, "LARGE", 1000)
    return tmp_path / "large.tif"


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (COLOR, {"photometric": "rgb", **TILED}),
        (COLOR, {"photometric": "rgb", "compression": "zlib", "rowsperstrip": 7}),
        (COLOR, {"photometric": "rgb"}),
        (COLOR, {"photometric": "rgb", "byteorder": ">"}),
        (np.moveaxis(COLOR, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}),
        (np.moveaxis(COLOR, -1, 0), {"photometric": "rgb", "planarconfig": "separate", **TILED}),
        (STACK, {"photometric": "minisblack"}),
        (STACK, {"photometric": "minisblack", "byteorder": ">"}),
        (STACK, {"photometric": "minisblack", **TILED}),
        (STACK, {"metadata": {"axes": "CYX"}, "ome": True, **TILED}),
        (STACK.astype(np.float32), {"metadata": {"axes": "ZYX"}, "imagej": True}),
    ],
)
def test_lazy_pixels_equal_pixels_read_completely(path, monkeypatch, image, options):
    tifffile.imwrite(path, image, **options)
    lazy = read_image(path)
    assert isinstance(lazy.pixels, da.Array)
    assert lazy.levels == (lazy.pixels,)
    monkeypatch.undo()
    complete = read_image(path)
    assert isinstance(complete.pixels, np.ndarray)
    assert complete.levels == ()
    np.testing.assert_array_equal(lazy.pixels, complete.pixels)
    assert lazy._replace(pixels=None, levels=()) == complete._replace(pixels=None)


def test_axes_have_names_and_kinds(path):
    tifffile.imwrite(path, STACK, metadata={"axes": "CYX"}, ome=True)
    axes = read_image(path).axes
    assert [(axis.name, axis.kind) for axis in axes] == [
        ("c", "channel"),
        ("y", "space"),
        ("x", "space"),
    ]


def test_each_level_of_a_pyramid_is_read(path):
    levels = [COLOR, COLOR[::2, ::2], COLOR[::4, ::4]]
    options = {"photometric": "rgb", **TILED}
    with tifffile.TiffWriter(path) as writer:
        writer.write(levels[0], subifds=2, **options)
        for level in levels[1:]:
            writer.write(level, subfiletype=1, **options)
    picture = read_image(path)
    assert picture.levels[0] is picture.pixels
    for lazy, level in zip(picture.levels, levels, strict=True):
        np.testing.assert_array_equal(lazy, level)


def test_chunks_consist_of_complete_tiles(path):
    image = np.zeros((3000, 2100, 3), np.uint8)
    tifffile.imwrite(path, image, photometric="rgb", tile=(192, 256), compression="zlib")
    assert read_image(path).pixels.chunksize == (768, 1024, 3)
    tifffile.imwrite(path, image, photometric="rgb")
    assert read_image(path).pixels.chunksize == (1024, 1024, 3)


def test_the_file_is_open_only_while_it_is_read(path):
    tifffile.imwrite(path, COLOR, photometric="rgb", **TILED)
    brighter = read_image(path).pixels + 1
    assert not any(path.samefile(file.path) for file in psutil.Process().open_files())
    np.testing.assert_array_equal(brighter, COLOR + 1)


@pytest.mark.parametrize("options", [{}, TILED])
def test_another_process_opens_the_file_itself(path, options):
    tifffile.imwrite(path, COLOR, photometric="rgb", **options)
    pixels = pickle.loads(pickle.dumps(read_image(path).pixels))
    np.testing.assert_array_equal(pixels, COLOR)


def test_a_palette_becomes_colors_lazily(path):
    indexed = Image.fromarray(COLOR).quantize(16)
    indexed.save(path)
    picture = read_image(path)
    assert isinstance(picture.pixels, da.Array)
    np.testing.assert_array_equal(picture.pixels, np.asarray(indexed.convert("RGB")))


def test_the_message_states_the_place_of_a_damaged_tile(path):
    image = RNG.integers(0, 256, (2048, 1024), dtype=np.uint8)
    tifffile.imwrite(path, image, tile=(256, 256), compression="zlib")
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].dataoffsets[-1]
    data = bytearray(path.read_bytes())
    data[place : place + 50] = b"\xff" * 50
    path.write_bytes(data)
    pixels = read_image(path).pixels
    np.testing.assert_array_equal(pixels[:1024], image[:1024])
    with pytest.raises(UnreadableImageError, match=r"^its pixels \[1024:2048, 0:1024\]: "):
        pixels.compute(scheduler="sync")


def test_a_file_that_ends_too_early_is_refused(path):
    tifffile.imwrite(path, COLOR, photometric="rgb")
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(UnreadableImageError):
        read_image(path).pixels.compute(scheduler="sync")
