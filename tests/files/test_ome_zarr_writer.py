"""Written OME-Zarr images: read back with zarr alone, and compared with numpy."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from napari_kmeans.files import lazy, ome_zarr_writer, tiff
from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.lazy import FileArray, open_lazily
from napari_kmeans.files.ome_zarr_writer import Image, spatial_axes, write_images
from napari_kmeans.files.picture import Axis
from napari_kmeans.files.reading import read_image

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(4)
Y, X, C = Axis("y"), Axis("x"), Axis("c", "channel")
PLANE = RNG.integers(0, 9, (203, 330), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Make coarser levels of images of more than 100 pixels, in small chunks, to be quick."""
    monkeypatch.setattr(ome_zarr_writer, "STORED_CHUNK_SIDE", 100)
    monkeypatch.setattr(lazy, "CHUNK_PIXELS", 32 * 32)


def _levels(path: Path) -> list[zarr.Array]:
    group = zarr.open_group(path, mode="r")
    (multiscale,) = group.attrs["ome"]["multiscales"]
    return [group[dataset["path"]] for dataset in multiscale["datasets"]]


@pytest.mark.parametrize("chunks", [(64, 64), (100, 330), (203, 330), (31, 17), (130, 7)])
def test_each_level_holds_every_second_pixel_of_the_finer_one(tmp_path, chunks):
    path = tmp_path / "a.zarr"
    write_images([Image(path, "a", da.from_array(PLANE, chunks), (Y, X))])
    levels = _levels(path)
    assert [level.shape for level in levels] == [(203, 330), (102, 165), (51, 83)]
    for number, level in enumerate(levels):
        np.testing.assert_array_equal(level[:], PLANE[:: 2**number, :: 2**number])
        assert level.dtype == np.uint8
        assert level.metadata.dimension_names == ("y", "x")


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ((64, 64), (64, 64)),
        # 160 is halved: two computed chunks must not write to the same stored chunk.
        ((160, 330), (80, 100)),
        ((203, 330), (100, 100)),
        ((101, 110), (101, 55)),
        (((60, 70, 73), (330,)), (73, 100)),
        (((73, 60, 70), (30, 300)), (73, 75)),
    ],
)
def test_stored_chunks_divide_the_computed_chunks(tmp_path, chunks, expected):
    path = tmp_path / "a.zarr"
    write_images([Image(path, "a", da.from_array(PLANE, chunks), (Y, X))])
    assert _levels(path)[0].chunks == expected
    np.testing.assert_array_equal(_levels(path)[0][:], PLANE)


def test_metadata_state_axes_scale_and_translation_of_each_level(tmp_path):
    path = tmp_path / "a.zarr"
    axes = (Axis("y", "space", "micrometer", 0.5, 3.0), Axis("x", "space", "micrometer", 0.25))
    image = Image(path, "a scan", da.from_array(PLANE, 64), axes, {"image-label": {"colors": []}})
    write_images([image])
    group = zarr.open_group(path, mode="r", zarr_format=3)
    assert group.attrs.asdict() == {
        "ome": {
            "version": "0.5",
            "image-label": {"colors": []},
            "multiscales": [
                {
                    "name": "a scan",
                    "axes": [
                        {"name": "y", "type": "space", "unit": "micrometer"},
                        {"name": "x", "type": "space", "unit": "micrometer"},
                    ],
                    "datasets": [
                        {
                            "path": str(number),
                            "coordinateTransformations": [
                                {"type": "scale", "scale": [0.5 * 2**number, 0.25 * 2**number]},
                                {"type": "translation", "translation": [3.0, 0.0]},
                            ],
                        }
                        for number in range(3)
                    ],
                }
            ],
        }
    }
    assert read_image(path).axes == axes


@pytest.mark.parametrize(
    ("names", "stored"), [("yxc", "cyx"), ("zyxc", "czyx"), ("tcyx", "tcyx"), ("yxt", "tyx")]
)
def test_axes_are_stored_in_the_order_of_the_specification(tmp_path, names, stored):
    sizes = {"t": 2, "c": 3, "z": 5, "y": 110, "x": 120}
    kinds = {"t": "time", "c": "channel"}
    pixels = RNG.integers(0, 256, [sizes[name] for name in names], dtype=np.uint8)
    axes = [Axis(name, kinds.get(name, "space")) for name in names]
    path = tmp_path / "a.zarr"
    write_images([Image(path, "a", da.from_array(pixels, 60), axes)])
    expected = pixels.transpose([names.index(name) for name in stored])
    fine, coarse = _levels(path)
    np.testing.assert_array_equal(fine[:], expected)
    np.testing.assert_array_equal(coarse[:], expected[..., ::2, ::2])
    assert "".join(axis.name for axis in read_image(path).axes).replace("c", "") == (
        stored.replace("c", "")
    )


def test_only_the_axes_of_the_plane_get_coarser(tmp_path):
    axes = (Axis("t", "time", "second", 2.0), Axis("z", scale=3.0), Axis("y", scale=0.5), X)
    stack = da.zeros((2, 150, 101, 120), np.uint8, chunks=60)
    write_images([Image(tmp_path / "a.zarr", "a", stack, axes)])
    assert [level.shape for level in _levels(tmp_path / "a.zarr")] == [
        (2, 150, 101, 120),
        (2, 150, 51, 60),
    ]
    ome = zarr.open_group(tmp_path / "a.zarr", mode="r").attrs["ome"]
    places = [data["coordinateTransformations"] for data in ome["multiscales"][0]["datasets"]]
    assert places == [
        [{"type": "scale", "scale": [2.0, 3.0, 0.5, 1.0]}],
        [{"type": "scale", "scale": [2.0, 3.0, 1.0, 2.0]}],
    ]


def test_default_axes_are_named_from_the_last():
    assert [axis.name for axis in spatial_axes(2)] == ["y", "x"]
    assert [axis.kind for axis in spatial_axes(4)] == ["time", "space", "space", "space"]
    assert [axis.name for axis in spatial_axes(6)] == ["dim_0", "dim_1", "t", "z", "y", "x"]
    assert spatial_axes(0) == ()


class _Counting(FileArray):
    """An array that counts how often each slice is read, and by which threads."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array)
        self.reads: Counter[str] = Counter()
        self.threads: set[str] = set()

    def __getitem__(self, key):
        self.reads[str(key)] += 1
        self.threads.add(threading.current_thread().name)
        return super().__getitem__(key)


def test_the_source_of_two_images_is_read_once(tmp_path):
    source = _Counting(PLANE)
    opened = open_lazily(source, (32, 32), None)
    source.reads.clear()
    paths = [tmp_path / name for name in ("a.zarr", "b.zarr")]
    arrays = [opened + np.uint8(1), da.stack([opened, 2 * opened], axis=-1)]
    images = [
        Image(path, "", array, axes)
        for path, array, axes in zip(paths, arrays, [(Y, X), (Y, X, C)], strict=True)
    ]
    write_images(images)
    assert len(source.reads) == 77
    assert set(source.reads.values()) == {1}
    np.testing.assert_array_equal(_levels(paths[0])[0][:], PLANE + 1)
    np.testing.assert_array_equal(_levels(paths[1])[0][:], [PLANE, 2 * PLANE])


def test_chunks_without_a_pixel_are_refused():
    # Some releases of zarr return this shape as it is stored, others return [1, 16].
    with pytest.raises(UnreadableImageError, match=r"^its chunks have the shape \(0, 16\)"):
        open_lazily(FileArray(PLANE), (0, 16), None)


def test_progress_ends_at_the_total(tmp_path):
    shares = []
    image = Image(tmp_path / "a.zarr", "a", da.from_array(PLANE, 32), (Y, X))
    write_images([image], lambda done, total: shares.append(done / total))
    assert shares == sorted(shares)
    assert shares[-1] == 1
    # The finest level alone has 77 chunks.
    assert len(shares) > 77
    assert np.diff(shares).max() < 0.1


def test_canceling_stops_soon_and_leaves_no_running_thread(tmp_path):
    class Canceled(Exception):
        pass

    def cancel(_done: int, _total: int) -> None:
        raise Canceled

    source = _Counting(np.tile(PLANE, (10, 10)))
    opened = open_lazily(source, (32, 32), None)
    source.reads.clear()
    source.threads.clear()
    with pytest.raises(Canceled):
        write_images([Image(tmp_path / "a.zarr", "a", opened, (Y, X))], cancel)
    running = {thread.name for thread in threading.enumerate()} & source.threads
    assert not running
    # The image has 6,656 chunks.
    assert 0 < len(source.reads) < 50
    assert "ome" not in zarr.open_group(tmp_path / "a.zarr", mode="r").attrs


def test_an_image_of_one_pixel_is_written(tmp_path):
    write_images([Image(tmp_path / "a.zarr", "a", da.ones((1, 1), dtype=np.uint8), (Y, X))])
    (level,) = _levels(tmp_path / "a.zarr")
    assert level[:].tolist() == [[1]]


@pytest.mark.parametrize("code", ["q", "Q", "l", "L"])
def test_all_types_of_64_bits_are_written(tmp_path, code):
    plane = PLANE.astype(code)
    write_images([Image(tmp_path / "a.zarr", "a", da.from_array(plane, (64, 64)), (Y, X))])
    np.testing.assert_array_equal(_levels(tmp_path / "a.zarr")[0][:], plane)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_lazy_tiff_of_64_bits_is_written(tmp_path, monkeypatch, dtype, compression, byteorder):
    monkeypatch.setattr(tiff, "LARGE", 100)
    plane = PLANE.astype(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, plane, compression=compression, byteorder=byteorder)
    pixels = read_image(path).pixels
    assert isinstance(pixels, da.Array)
    write_images([Image(tmp_path / "a.zarr", "a", pixels, (Y, X))])
    np.testing.assert_array_equal(_levels(tmp_path / "a.zarr")[0][:], plane)
