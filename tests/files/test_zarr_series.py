"""Several images in one zarr directory: plates, series, groups, labels; and hostile chunks."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
import zlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np
import psutil
import pytest
import zarr
from zarr.codecs import BloscCodec, BytesCodec, GzipCodec, ShardingCodec, ZstdCodec

from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.reading import list_series, read_image

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(16)
on_posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def write_group(path: Path, version: str, attributes: dict[str, Any]) -> zarr.Group:
    is_new = version == "0.5"
    return zarr.open_group(
        path,
        mode="w",
        zarr_format=3 if is_new else 2,
        attributes={"ome": {"version": version, **attributes}} if is_new else attributes,
    )


def write_image(path: Path, pixels: np.ndarray, version: str = "0.5", **extra: Any) -> None:
    names = "tczyx"[-pixels.ndim :]
    kinds = {"t": "time", "c": "channel"}
    multiscale = {
        "axes": [{"name": name, "type": kinds.get(name, "space")} for name in names],
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [{"type": "scale", "scale": [1] * pixels.ndim}],
            }
        ],
    }
    name = extra.pop("name", None)
    multiscale |= {} if name is None else {"name": name}
    group = write_group(path, version, {"multiscales": [multiscale], **extra})
    group.create_array("0", data=pixels)


def write_plate(path: Path, version: str) -> dict[str, np.ndarray]:
    """Write two wells with two fields, and return the pixels by name. Two wells are missing."""
    wells = [{"path": f"{row}/{column}"} for row in "AB" for column in ("1", "12")]
    plate = {"plate": {"wells": wells, "rows": [], "columns": []}}
    write_group(path, version, plate)
    fields = {}
    for well in ("A/1", "B/12"):
        write_group(path / well, version, {"well": {"images": [{"path": "0"}, {"path": "1"}]}})
        for field in "01":
            pixels = noise(2, 16, 20)
            write_image(path / well / field, pixels, version)
            fields[f"{well.replace('/', '')}-{field}"] = pixels
    return fields


@pytest.mark.parametrize("version", ["0.4", "0.5"])
class TestSeries:
    @pytest.mark.parametrize("zipped", [False, True])
    def test_fields_of_a_plate_are_images(self, tmp_path, version, zipped):
        path = tmp_path / "plate"
        fields = write_plate(path, version)
        if zipped:
            shutil.make_archive(str(tmp_path / "packed"), "zip", path)
            path = tmp_path / "packed.zip"
        series = list_series(path)
        assert [each.name for each in series] == list(fields)
        assert {each.shape for each in series} == {(2, 16, 20)}
        for number, (name, pixels) in enumerate(fields.items()):
            picture = read_image(path, number)
            np.testing.assert_array_equal(picture.pixels, pixels)
            assert (picture.name, picture.note) == (name, "")
        picture = read_image(path)
        assert picture.name == "A1-0"
        assert picture.note == (
            "only series 0, field A1-0 of 4 of its plate, is read; "
            "the others are A1-1, B12-0, B12-1"
        )

    def test_fields_of_a_well_are_images(self, tmp_path, version):
        fields = write_plate(tmp_path / "plate", version)
        series = list_series(tmp_path / "plate" / "B" / "12")
        assert [each.name for each in series] == ["0", "1"]
        np.testing.assert_array_equal(
            read_image(tmp_path / "plate" / "B" / "12", 1).pixels, fields["B12-1"]
        )

    def test_a_damaged_field_costs_that_field_alone(self, tmp_path, version):
        fields = write_plate(tmp_path / "plate", version)
        shutil.rmtree(tmp_path / "plate" / "A" / "1" / "1")
        assert [each.shape for each in list_series(tmp_path / "plate")] == [
            (2, 16, 20),
            (),
            (2, 16, 20),
            (2, 16, 20),
        ]
        with pytest.raises(UnreadableImageError):
            read_image(tmp_path / "plate", 1)
        np.testing.assert_array_equal(read_image(tmp_path / "plate", 2).pixels, fields["B12-0"])

    @pytest.mark.parametrize("listed", [False, True])
    def test_images_of_bioformats2raw_are_series(self, tmp_path, version, listed):
        path = tmp_path / "slide"
        write_group(path, version, {"bioformats2raw.layout": 3})
        small, large = noise(8, 9), noise(30, 40)
        write_image(path / "0", small, version, name="label image")
        write_image(path / "1", large, version)
        write_image(path / "10", small, version)
        if listed:
            write_group(path / "OME", version, {"series": ["1", "0", "10"]})
        series = list_series(path)
        names = ["label image", "1", "10"]
        assert [each.name for each in series] == (["1", "label image", "10"] if listed else names)
        picture = read_image(path)
        np.testing.assert_array_equal(picture.pixels, large)
        assert picture.name == "1"
        assert "the largest of its 3 images" in picture.note
        assert "(label image) of shape (8, 9)" in picture.note

    def test_groups_are_searched_without_labels(self, tmp_path, version):
        path = tmp_path / "study"
        write_group(path, version, {})
        zarr_format = 3 if version == "0.5" else 2
        for name in ("images", "labels", "tables"):
            zarr.open_group(path / name, mode="w", zarr_format=zarr_format)
        image, other = noise(30, 40), noise(20, 20)
        write_image(path / "images" / "cells", image, version)
        write_image(path / "images" / "other", other, version)
        write_image(path / "labels" / "nuclei", noise(90, 90), version)
        write_image(path / "images" / "mask", noise(99, 99), version, **{"image-label": {}})
        table = zarr.open_group(path / "tables", mode="a", zarr_format=zarr_format)
        table.create_array("index", data=np.arange(10_000))
        assert [each.name for each in list_series(path)] == ["images/cells", "images/other"]
        picture = read_image(path)
        np.testing.assert_array_equal(picture.pixels, image)
        assert "1 (images/other) of shape (20, 20)" in picture.note
        np.testing.assert_array_equal(read_image(path, 1).pixels, other)

    def test_arrays_of_a_group_are_series(self, tmp_path, version):
        group = write_group(tmp_path / "two", version, {})
        small, large = noise(8, 9), noise(30, 40)
        group.create_array("a", data=small)
        group.create_array("b", data=large)
        group.create_array("x", data=np.arange(40))
        picture = read_image(tmp_path / "two")
        np.testing.assert_array_equal(picture.pixels, large)
        assert [each.name for each in list_series(tmp_path / "two")] == ["a", "b"]

    def test_labels_that_are_named_are_read(self, tmp_path, version):
        labels = noise(12, 14)
        write_image(tmp_path / "labels", labels, version, **{"image-label": {}})
        np.testing.assert_array_equal(read_image(tmp_path / "labels").pixels, labels)

    @pytest.mark.parametrize("number", [-1, 4, 10**9])
    def test_a_series_that_is_not_there_is_refused(self, tmp_path, version, number):
        write_plate(tmp_path / "plate", version)
        with pytest.raises(UnreadableImageError, match=f"from 0 to 3, .*, got {number}$"):
            read_image(tmp_path / "plate", number)

    @pytest.mark.parametrize(
        "attributes",
        [
            {"plate": 3},
            {"plate": {"wells": [{}]}},
            {"plate": {"wells": 7}},
            {"well": {"images": [{}]}},
            {"well": None},
            {"multiscales": []},
            {"multiscales": 3},
            {"bioformats2raw.layout": 3},
            {"multiscales": [{"datasets": [{"path": "0"}], "axes": "yx", "omero": 3}]},
        ],
    )
    def test_damaged_metadata_give_one_sentence(self, tmp_path, version, attributes):
        write_group(tmp_path / "a", version, attributes)
        with pytest.raises(UnreadableImageError) as caught:
            read_image(tmp_path / "a")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("scale", [0, float("nan"), float("inf"), "wide"])
    def test_a_scale_that_is_no_length_is_refused(self, tmp_path, version, scale):
        write_image(tmp_path / "a", noise(9, 9), version)
        place = tmp_path / "a" / ("zarr.json" if version == "0.5" else ".zattrs")
        stored = place.read_text().replace(
            '"scale": [', f'"scale": [{json.dumps(scale)}, 1], "x": ['
        )
        place.write_text(stored)
        with pytest.raises(UnreadableImageError, match="OME-Zarr metadata are damaged"):
            read_image(tmp_path / "a")


@on_posix
def test_links_that_make_a_circle_end(tmp_path):
    group = zarr.open_group(tmp_path / "a", mode="w")
    group.create_group("inner").create_array("image", data=noise(9, 9))
    (tmp_path / "a" / "inner" / "again").symlink_to(tmp_path / "a")
    assert read_image(tmp_path / "a").pixels.shape == (9, 9)


class TestZip:
    def test_several_directories_in_a_zip_file_are_series(self, tmp_path):
        images = {name: noise(9, 10) for name in ("a.zarr", "b.zarr")}
        for name, pixels in images.items():
            zarr.create_array(tmp_path / "in" / name, data=pixels)
        shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "in")
        for number, pixels in enumerate(images.values()):
            np.testing.assert_array_equal(
                read_image(tmp_path / "packed.zip", number).pixels, pixels
            )

    def test_chunks_of_a_zip_file_are_read_after_a_pickle(self, tmp_path):
        pixels = noise(9, 10)
        with zarr.storage.ZipStore(tmp_path / "a.ozx", mode="w") as store:
            zarr.create_array(store, data=pixels)
        picture = read_image(tmp_path / "a.ozx")
        again = pickle.loads(pickle.dumps(picture.pixels))
        np.testing.assert_array_equal(again, pixels)

    @pytest.mark.parametrize("names", [[], ["text.txt"], ["a/b/c.tif"]])
    def test_other_zip_files_are_left_to_other_readers(self, tmp_path, names):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
            for name in names:
                file.writestr(name, b"content")
        with pytest.raises(UnreadableImageError, match="not an image in a supported format"):
            read_image(tmp_path / "a.zip")

    def test_a_zip_file_that_is_cut_gives_one_sentence(self, tmp_path):
        with zarr.storage.ZipStore(tmp_path / "a.zip", mode="w") as store:
            zarr.create_array(store, data=noise(90, 90), chunks=(9, 9))
        content = (tmp_path / "a.zip").read_bytes()
        for tenths in range(10):
            (tmp_path / "a.zip").write_bytes(content[: len(content) * tenths // 10])
            with pytest.raises(UnreadableImageError):
                read_image(tmp_path / "a.zip").pixels.compute(scheduler="sync")


def make_bomb(kind: str) -> bytes:
    """Return a chunk that unpacks to two gigabytes of zeros."""
    n_bytes = 2**31 - 2**16
    if kind in ("gzip", "zlib"):
        packer = zlib.compressobj(1, wbits=31 if kind == "gzip" else 15)
        part = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
        repeated = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
        return part + repeated * 127 + packer.flush()
    if kind == "zstd":
        # Blocks of 128 KB that repeat one byte, in a frame that states no size.
        block = (2 | (2**17 << 3)).to_bytes(3, "little") + b"\0"
        end = (3 | (1 << 3)).to_bytes(3, "little") + b"\0"
        return b"\x28\xb5\x2f\xfd\0\x58" + block * (n_bytes // 2**17) + end
    small = bytearray(numcodecs.Blosc("lz4").encode(np.zeros(2**16, np.uint8)))
    small[4:8] = n_bytes.to_bytes(4, "little")
    return bytes(small)


CODECS_3 = {"gzip": GzipCodec(), "zstd": ZstdCodec(), "blosc": BloscCodec(typesize=1)}
CODECS_2 = {
    "gzip": numcodecs.GZip(),
    "zlib": numcodecs.Zlib(),
    "zstd": numcodecs.Zstd(),
    "blosc": numcodecs.Blosc(),
}


class TestHostileChunks:
    @on_posix
    @pytest.mark.parametrize(
        ("version", "kind"),
        [*[(3, kind) for kind in CODECS_3], *[(2, kind) for kind in CODECS_2]],
    )
    def test_a_chunk_that_unpacks_to_gigabytes_is_refused(self, tmp_path, version, kind):
        codec = (CODECS_3 if version == 3 else CODECS_2)[kind]
        zarr.create_array(
            tmp_path / "a",
            data=noise(64, 64),
            chunks=(64, 64),
            compressors=codec,
            zarr_format=version,
        )
        chunk = tmp_path / "a" / ("c/0/0" if version == 3 else "0.0")
        assert chunk.is_file()
        chunk.write_bytes(make_bomb(kind))
        code = (
            "import resource, sys; from napari_kmeans.files.reading import read_image\n"
            "pixels = read_image(sys.argv[1]).pixels\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "try:\n    pixels.compute(scheduler='sync')\n"
            "except Exception as error:\n    print(type(error).__name__, error)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "a")],
            capture_output=True,
            text=True,
            check=True,
        )
        message, used = done.stdout.splitlines()
        assert message.startswith("UnreadableImageError its pixels [0:64, 0:64]: ")
        # A frame of zstd states no size here: the decoder stops at the end of its buffer.
        assert "a chunk unpacks to more than" in message or kind == "zstd"
        assert int(used) < 100_000

    @pytest.mark.parametrize("kind", ["gzip", "blosc"])
    def test_a_bomb_in_a_shard_is_refused(self, tmp_path, kind):
        sharding = ShardingCodec(
            chunk_shape=(32, 32),
            codecs=[BytesCodec(), CODECS_3[kind]],
            index_codecs=[BytesCodec()],
        )
        options = {"serializer": sharding, "compressors": None, "filters": None}
        zarr.create_array(tmp_path / "a", data=noise(64, 64), chunks=(64, 64), **options)
        bomb = gzip.compress(bytes(2**27), 1) if kind == "gzip" else make_bomb(kind)
        place = tmp_path / "a" / "c" / "0" / "0"
        # The index at the end has the position and length of each chunk.
        place.write_bytes(bomb + np.array([[0, len(bomb)]] * 4, "<u8").tobytes())
        with pytest.raises(UnreadableImageError, match="a chunk unpacks to more than"):
            read_image(tmp_path / "a").pixels.compute(scheduler="sync")

    def test_a_chunk_shape_larger_than_the_memory_is_refused(self, tmp_path):
        zarr.create_array(tmp_path / "a", shape=(60, 70), chunks=(60, 70), dtype="u1")
        place = tmp_path / "a" / "zarr.json"
        metadata = json.loads(place.read_text())
        metadata["chunk_grid"]["configuration"]["chunk_shape"] = [10**8, 10**8]
        place.write_text(json.dumps(metadata))
        with pytest.raises(UnreadableImageError, match="one chunk of it needs"):
            read_image(tmp_path / "a")

    def test_a_chunk_file_larger_than_the_memory_is_refused(self, tmp_path):
        zarr.create_array(tmp_path / "a", data=noise(60, 70), compressors=None)
        os.truncate(tmp_path / "a" / "c" / "0" / "0", 2**43)
        with pytest.raises(UnreadableImageError, match="one chunk of it needs 8,192"):
            read_image(tmp_path / "a").pixels.compute(scheduler="sync")

    def test_an_entry_of_a_zip_file_larger_than_the_memory_is_refused(self, tmp_path, monkeypatch):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
            zarr.create_array(tmp_path / "a", data=noise(60, 70), compressors=None)
            file.write(tmp_path / "a" / "zarr.json", "zarr.json")
            file.writestr("c/0/0", bytes(2**25))
        memory = SimpleNamespace(available=2**24)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
        pixels = read_image(tmp_path / "a.zip").pixels
        with pytest.raises(UnreadableImageError, match="one chunk of it needs"):
            pixels.compute(scheduler="sync")

    @on_posix
    @pytest.mark.parametrize("device", ["/dev/zero", "pipe"])
    def test_a_chunk_that_is_a_device_is_refused(self, tmp_path, device):
        zarr.create_array(tmp_path / "a", data=noise(60, 70))
        chunk = tmp_path / "a" / "c" / "0" / "0"
        chunk.unlink()
        if device == "pipe":
            os.mkfifo(chunk)
        else:
            chunk.symlink_to(device)
        with pytest.raises(UnreadableImageError, match="c/0/0 is a device or a pipe"):
            read_image(tmp_path / "a").pixels.compute(scheduler="sync")

    def test_large_metadata_are_refused(self, tmp_path):
        zarr.create_array(tmp_path / "a", data=noise(60, 70))
        os.truncate(tmp_path / "a" / "zarr.json", 2**27)
        with pytest.raises(UnreadableImageError, match=r"metadata zarr.json have \d+ bytes"):
            read_image(tmp_path / "a")

    def test_python_objects_are_not_unpickled(self, tmp_path):
        zarr.create_array(
            tmp_path / "a", data=noise(8, 8), chunks=(8, 8), zarr_format=2, compressors=None
        )
        metadata = json.loads((tmp_path / "a" / ".zarray").read_text())
        metadata |= {"filters": [{"id": "pickle"}], "dtype": "|O"}
        (tmp_path / "a" / ".zarray").write_text(json.dumps(metadata))
        done = tmp_path / "done"
        code = f"c__builtin__\nopen\n(V{done}\nVw\ntR.".encode()
        (tmp_path / "a" / "0.0").write_bytes(code)
        with pytest.raises(UnreadableImageError):
            read_image(tmp_path / "a").pixels.compute(scheduler="sync")
        assert not done.exists()
