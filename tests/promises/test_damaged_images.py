"""Damaged images on the command line get one line of error each; other images are clustered."""

from __future__ import annotations

import json
import os
import struct
import sys
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import psutil
import pytest
import tifffile
import zarr
from PIL import Image

from napari_kmeans.cli.main import main
from napari_kmeans.files import tiff
from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.reading import read_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COLOR = np.random.default_rng(4).integers(0, 256, (60, 70, 3), dtype=np.uint8)
ABSURD = 2**31 - 1
TILED = {"compression": "zlib", "tile": (16, 16)}
on_posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")

Damage = "Callable[[Path], None]"


def cut(kind: str, tenths: int, **options: Any) -> Damage:
    """Return a function that writes an image file without its last bytes."""

    def write(path: Path) -> None:
        stream = BytesIO()
        Image.fromarray(COLOR).save(stream, kind, **options)
        data = stream.getvalue()
        path.write_bytes(data[: len(data) * tenths // 10])

    return write


def cut_tiff(tenths: int, **options: Any) -> Damage:
    def write(path: Path) -> None:
        stream = BytesIO()
        tifffile.imwrite(stream, COLOR, photometric="rgb", **options)
        data = stream.getvalue()
        path.write_bytes(data[: len(data) * tenths // 10])

    return write


def tiff_with_tags(tags: dict[str, int], **options: Any) -> Damage:
    """Return a function that writes a TIFF file in which some tags have other values."""

    def write(path: Path) -> None:
        tifffile.imwrite(path, COLOR, photometric="rgb", metadata=None, **options)
        with tifffile.TiffFile(path) as file:
            places = {name: file.pages[0].tags[name].offset for name in tags}
        data = bytearray(path.read_bytes())
        for name, value in tags.items():
            struct.pack_into("<H", data, places[name] + 2, tifffile.DATATYPE.LONG)
            struct.pack_into("<I", data, places[name] + 8, value)
        path.write_bytes(data)

    return write


def png(width: int, height: int, n_megabytes: int = 0) -> Damage:
    """Return a function that writes a PNG file with a declared size and few or no pixels."""

    def write(path: Path) -> None:
        packer = zlib.compressobj(9)
        parts = [packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)]
        chunks = {
            b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),
            b"IDAT": parts[0] + parts[1] * n_megabytes,
            b"IEND": b"",
        }
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n" + b"".join(make_png_chunk(*each) for each in chunks.items())
        )

    return write


def make_png_chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def file_with(content: bytes) -> Damage:
    return lambda path: path.write_bytes(content)


def zarr_with(change: Callable[[dict[str, Any]], object], zarr_format: int = 3) -> Damage:
    """Return a function that writes a zarr array whose metadata are changed after writing."""

    def write(path: Path) -> None:
        zarr.create_array(path, data=COLOR, chunks=(16, 16, 3), zarr_format=zarr_format)
        marker = path / ("zarr.json" if zarr_format == 3 else ".zarray")
        metadata = json.loads(marker.read_text())
        change(metadata)
        marker.write_text(json.dumps(metadata))

    return write


def zarr_without(name: str) -> Damage:
    return zarr_with(lambda metadata: metadata.pop(name))


def zarr_of_shape(shape: list[Any], chunks: list[int], **more: Any) -> Damage:
    grid = {"name": "regular", "configuration": {"chunk_shape": chunks}}
    return zarr_with(lambda metadata: metadata.update(shape=shape, chunk_grid=grid, **more))


def zarr_with_chunk(change: Callable[[Path], object]) -> Damage:
    def write(path: Path) -> None:
        zarr.create_array(path, data=COLOR, chunks=(16, 16, 3))
        change(path / "c" / "1" / "2" / "0")

    return write


def ome_image(**multiscale: Any) -> Damage:
    def write(path: Path) -> None:
        axes = [{"name": name} for name in "yxc"]
        values = {"axes": axes, "datasets": [{"path": "0"}], **multiscale}
        ome = {"ome": {"version": "0.5", "multiscales": [values]}}
        zarr.open_group(path, mode="w", attributes=ome).create_array("0", data=COLOR)

    return write


def write_metadata(path: Path, content: bytes) -> None:
    (path / "zarr.json").write_bytes(content)


DAMAGES: dict[str, Damage] = {
    **{f"cut-{n}.png": cut("PNG", n) for n in range(10)},
    **{f"cut-{n}.jpg": cut("JPEG", n) for n in range(0, 10, 2)},
    **{f"cut-{n}.gif": cut("GIF", n) for n in range(0, 10, 3)},
    **{f"lzw-{n}.tif": cut("TIFF", n, compression="tiff_lzw") for n in range(1, 10, 2)},
    **{f"jpeg-{n}.tif": cut("TIFF", n, compression="jpeg") for n in range(1, 10, 2)},
    **{f"plain-{n}.tif": cut_tiff(n) for n in range(10)},
    **{f"tiles-{n}.tif": cut_tiff(n, **TILED) for n in range(10)},
    "text.png": file_with(b"no image"),
    "text.tif": file_with(b"no image"),
    "text.zarr": file_with(b"no image"),
    "empty.jpg": file_with(b""),
    "empty.zarr": file_with(b""),
    "objects.npy": lambda path: np.save(path, np.array([[{}]]), allow_pickle=True),
    "bomb.png": png(2**20, 2**20, 100),
    "absurd.png": png(ABSURD, ABSURD),
    "wide.tif": tiff_with_tags({"ImageWidth": ABSURD}),
    "tall.tif": tiff_with_tags({"ImageLength": ABSURD}),
    "both.tif": tiff_with_tags({"ImageWidth": ABSURD, "ImageLength": ABSURD}),
    "flat.tif": tiff_with_tags({"ImageLength": 0}),
    "wide-tiled.tif": tiff_with_tags({"ImageWidth": ABSURD}, **TILED),
    "both-tiled.tif": tiff_with_tags({"ImageWidth": ABSURD, "ImageLength": ABSURD}, **TILED),
    "few-tiles.tif": tiff_with_tags({"ImageWidth": 20_000, "ImageLength": 20_000}, **TILED),
    "tall-strips.tif": tiff_with_tags({"ImageLength": ABSURD}, compression="zlib"),
    "one-strip.tif": tiff_with_tags(
        {"ImageWidth": 2**20, "ImageLength": 2**20, "RowsPerStrip": 2**20}, compression="zlib"
    ),
    "one-tile.tif": tiff_with_tags(
        dict.fromkeys(("ImageWidth", "ImageLength", "TileWidth", "TileLength"), 2**20), **TILED
    ),
    "huge.zarr": zarr_of_shape([10**9, 10**9, 3], [1024, 1024, 3]),
    "huge-pieces.zarr": zarr_of_shape([10**9, 10**9, 3], [10**8, 10**8, 3]),
    "tiny-pieces.zarr": zarr_of_shape([10**8, 10**8, 3], [1, 1, 1]),
    "pieces-of-nothing.zarr": zarr_of_shape([60, 70, 3], [0, 16, 3]),
    "negative.zarr": zarr_of_shape([-60, 70, 3], [16, 16, 3]),
    "fractions.zarr": zarr_of_shape([1.5, 70, 3], [16, 16, 3]),
    "nothing.zarr": zarr_of_shape([0, 70, 3], [16, 16, 3]),
    "dimensions.zarr": zarr_of_shape([1] * 100, [1] * 100),
    "number.zarr": zarr_of_shape([], []),
    "other-type.zarr": zarr_of_shape([60, 70, 3], [16, 16, 3], data_type="float64"),
    "no-such-type.zarr": zarr_of_shape([60, 70, 3], [16, 16, 3], data_type="color"),
    "codec.zarr": zarr_with(lambda metadata: metadata.update(codecs=[{"name": "none such"}])),
    "shapeless.zarr": zarr_without("shape"),
    "pickle.zarr": zarr_with(
        lambda values: values.update(dtype="|O", filters=[{"id": "pickle"}]), 2
    ),
    "garbled.zarr": lambda path: (path.mkdir(), write_metadata(path, b"\xff\xfe\0garbled")),
    "list.zarr": lambda path: (path.mkdir(), write_metadata(path, b"[1, 2]")),
    "cut-piece.zarr": zarr_with_chunk(lambda chunk: os.truncate(chunk, 9)),
    "linked-piece.zarr": zarr_with_chunk(lambda chunk: (chunk.unlink(), chunk.symlink_to(chunk))),
    "ome-axes.zarr": ome_image(axes=[{"name": "y"}]),
    "ome-path.zarr": ome_image(datasets=[{"path": "nowhere"}]),
    "ome-above.zarr": ome_image(datasets=[{"path": "../../.."}]),
    "directory.png": lambda path: path.mkdir(),
    "loop.png": lambda path: path.symlink_to(path),
    "loop.zarr": lambda path: path.symlink_to(path),
    "dangling.tif": lambda path: path.symlink_to("nowhere"),
    "missing.png": lambda path: None,
    f"{'long' * 100}.png": lambda path: None,
    "sparse.png": lambda path: (path.write_bytes(b"\x89PNG\r\n\x1a\n"), os.truncate(path, 2**43)),
}
"""Writers by file name. None of the files can be read and clustered."""

if os.name == "posix":
    DAMAGES["zero.png"] = DAMAGES["zero.tif"] = lambda path: path.symlink_to("/dev/zero")
    DAMAGES["null.jpg"] = lambda path: path.symlink_to("/dev/null")


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def good(tmp_path) -> Path:
    path = tmp_path / "good.png"
    iio.imwrite(path, COLOR)
    return path


def test_damaged_images_get_one_line_each_and_others_are_clustered(tmp_path, out, good, capfd):
    paths = [tmp_path / name for name in DAMAGES]
    for path, write in zip(paths, DAMAGES.values(), strict=True):
        write(path)
    files_before = sorted(tmp_path.iterdir())
    middle = len(paths) // 2
    arguments = [*paths[:middle], good, *paths[middle:], "--each", "-k", "2", "-o", out]
    memory = peak_memory()
    assert main([*map(str, arguments)]) == 1
    assert peak_memory() - memory < 2**29
    # capfd captures the output of the process: C libraries print too, past sys.stderr.
    lines = capfd.readouterr().err.splitlines()
    for path, line in zip(paths, lines, strict=True):
        assert line.startswith(f"napari-kmeans: cannot {line.split()[2]} {path}: "), line
        assert len(line) < len(str(path)) + 400
        assert line.endswith(".")
    names = sorted(path.name for path in out.iterdir())
    assert names == [
        *(f"good-{part}" for part in ("labels.tif", "model.json", "recolored.png", "table.csv")),
        "napari-kmeans-run.json",
    ]
    assert sorted(tmp_path.iterdir()) == sorted([*files_before, out])


def peak_memory() -> int:
    if os.name == "posix":
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used if sys.platform == "darwin" else used * 1024
    return psutil.Process().memory_info().peak_wset


@pytest.mark.parametrize("name", ["cut-5.png", "plain-5.tif", "cut-piece.zarr", "loop.png"])
def test_single_damaged_image_writes_nothing(name, tmp_path, out, capfd):
    DAMAGES[name](tmp_path / name)
    assert main([str(tmp_path / name), "-o", str(out)]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert str(tmp_path / name) in line
    assert not out.exists()


def test_joint_model_leaves_out_damaged_images(tmp_path, out, good, capfd):
    names = ["bomb.png", "both-tiled.tif", "huge.zarr", "loop.zarr"]
    for name in names:
        DAMAGES[name](tmp_path / name)
    paths = [str(tmp_path / name) for name in names]
    assert main([*paths, str(good), "-k", "2", "-o", str(out)]) == 1
    lines = capfd.readouterr().err.splitlines()
    assert [path in line for path, line in zip(paths, lines, strict=True)] == [True] * len(names)
    assert (out / "napari-kmeans-model.json").is_file()
    assert (out / "good-labels.tif").is_file()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "bomb.png",
            r"^an image of the size that it states needs 12,288.0 GB of memory, and .* free$",
        ),
        ("text.png", "^it is not an image in a supported format$"),
        ("empty.jpg", "^the file is empty$"),
        ("loop.png", "^there is no such file or folder$"),
        ("sparse.png", r"^the file needs 8,192.0 GB of memory, and .* are free$"),
        ("both.tif", r"^it ends too early: \d+ bytes are missing$"),
        (
            "few-tiles.tif",
            r"^its shape, \(20000, 20000, 3\), needs 1562500 tiles or strips, and it has 20$",
        ),
        ("huge.zarr", r"^its shape, \(1000000000, 1000000000, 3\), is too large to be"),
        ("huge-pieces.zarr", "^one chunk of it needs .* GB of memory, and .* are free$"),
        ("shapeless.zarr", "'shape'"),
        ("long" * 100 + ".png", os.strerror(36)),
    ],
)
def test_error_states_the_damage(name, why, tmp_path):
    DAMAGES[name](tmp_path / name)
    with pytest.raises(UnreadableImageError, match=why):
        read_image(tmp_path / name)


@on_posix
@pytest.mark.parametrize("name", ["zero.png", "zero.tif", "null.jpg"])
def test_device_is_refused(name, tmp_path):
    DAMAGES[name](tmp_path / name)
    with pytest.raises(UnreadableImageError, match="it is a device, not a file"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("tenths", [2, 5, 8])
@pytest.mark.parametrize("options", [{}, {"rowsperstrip": 5, "compression": "zlib"}, TILED])
def test_large_truncated_tiff_file_is_refused(tenths, options, tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "LARGE", 1000)
    cut_tiff(tenths, **options)(tmp_path / "cut.tif")
    with pytest.raises(UnreadableImageError, match=r"^it ends too early: \d+ bytes are missing$"):
        read_image(tmp_path / "cut.tif")
