"""Zarr and OME-Zarr images: their pixels, axes, channels and levels, all lazy."""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import zarr

from napari_kmeans.files.errors import UnreadableImageError
from napari_kmeans.files.picture import Axis
from napari_kmeans.files.reading import read_image

if TYPE_CHECKING:
    from pathlib import Path

    from napari_kmeans.files.picture import Picture

RNG = np.random.default_rng(2)
COLOR = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
PLANES = np.moveaxis(COLOR, -1, 0)
VOLUME = RNG.integers(0, 65536, (4, 20, 30), dtype=np.uint16)
RGB_COLORS = ["FF0000", "00FF00", "0000FF"]


def _write_ome(path: Path, levels: list[np.ndarray], axes: str, version: str, **extra: Any) -> None:
    """Write an image according to version 0.4 or 0.5 of the specification."""
    kinds = {"t": "time", "c": "channel"}
    multiscale = {
        "axes": [{"name": name, "type": kinds.get(name, "space")} for name in axes],
        "datasets": [
            {
                "path": f"level{number}",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [2.0**number] * len(axes)}
                ],
            }
            for number in range(len(levels))
        ],
    }
    multiscale.update(extra.pop("multiscale", {}))
    values = {"multiscales": [multiscale], **extra}
    nested = version == "0.5"
    attributes = {"ome": {"version": version, **values}} if nested else values
    group = zarr.open_group(path, mode="w", zarr_format=3 if nested else 2, attributes=attributes)
    for number, level in enumerate(levels):
        group.create_array(
            f"level{number}", data=level, chunks=tuple(min(n, 16) for n in level.shape)
        )


class TestMissingChunks:
    """A chunk that is not stored counts as the fill value, and a note says so."""

    @pytest.mark.parametrize(
        "kind",
        [
            {"zarr_format": 2},
            {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
            {"zarr_format": 3},
            {"zarr_format": 3, "shards": (32, 32)},
        ],
        ids=["dots", "slashes", "zarr 3", "shards"],
    )
    @pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
    def test_they_are_counted(self, tmp_path, kind, packed):
        path = tmp_path / "a.zarr"
        array = zarr.create_array(path, shape=(70, 64), dtype="u1", chunks=(16, 16), **kind)
        array[:] = 9
        read = partial(_read_packed, tmp_path) if packed else read_image
        assert read(path).note == ""
        # What lies outside the grid of the chunks does not count.
        lost = path / array.metadata.encode_chunk_key((1, 1))
        outside = path / array.metadata.encode_chunk_key((8, 1))
        outside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(lost, outside)
        lost.unlink()
        parts = "6 shards" if "shards" in kind else "20 chunks"
        picture = read(path)
        assert picture.note == f"1 of its {parts} is not stored and counts as 0, the fill value"
        assert (np.asarray(picture.pixels) == 0).sum() == (32 * 32 if "shards" in kind else 16 * 16)

    def test_the_finest_level_counts_and_the_fill_value_is_named(self, tmp_path):
        path = tmp_path / "a.zarr"
        _write_ome(path, [VOLUME, VOLUME[:, ::2, ::2]], "zyx", "0.5")
        assert read_image(path).note == ""
        shutil.rmtree(path / "level1" / "c")
        assert read_image(path).note == ""
        array = zarr.create_array(
            tmp_path / "b.zarr", shape=(40, 40), chunks=(20, 20), dtype="f4", fill_value=-1
        )
        array[:20] = RNG.random((20, 40))
        assert read_image(tmp_path / "b.zarr").note == (
            "2 of its 4 chunks are not stored and count as -1.0, the fill value"
        )

    def test_the_note_is_beside_that_about_other_images(self, tmp_path):
        group = zarr.open_group(tmp_path / "a.zarr")
        group.create_array("a", shape=(40, 40), chunks=(40, 40), dtype="u1")
        group.create_array("b", data=COLOR[:20, :20, 0])
        note = read_image(tmp_path / "a.zarr").note
        assert note.startswith("only series 0, the largest of its 2 images, is read; ")
        assert note.endswith("; 1 of its 1 chunks is not stored and counts as 0, the fill value")


def _read_packed(folder: Path, path: Path) -> Picture:
    return read_image(shutil.make_archive(str(folder / "packed"), "zip", path))


class TestPlainArrays:
    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_an_array_is_read_lazily(self, tmp_path, zarr_format):
        path = tmp_path / "plain.zarr"
        zarr.create_array(path, data=VOLUME, chunks=(1, 16, 16), zarr_format=zarr_format)
        picture = read_image(path)
        assert isinstance(picture.pixels, da.Array)
        np.testing.assert_array_equal(picture.pixels, VOLUME)
        assert (picture.rgb, picture.channel_axis, picture.axes) == (None, None, ())
        assert picture.levels == (picture.pixels,)

    def test_the_directory_needs_no_suffix(self, tmp_path):
        zarr.create_array(tmp_path / "plain", data=VOLUME)
        np.testing.assert_array_equal(read_image(tmp_path / "plain").pixels, VOLUME)

    def test_bool_becomes_0_and_255(self, tmp_path):
        zarr.create_array(tmp_path / "bits.zarr", data=COLOR[..., 0] > 127)
        picture = read_image(tmp_path / "bits.zarr")
        np.testing.assert_array_equal(picture.pixels, np.where(COLOR[..., 0] > 127, 255, 0))
        assert picture.levels[0].dtype == picture.pixels.dtype == np.uint8

    def test_channel_axis_comes_from_the_names_of_the_dimensions(self, tmp_path):
        data = VOLUME.transpose(1, 0, 2)
        zarr.create_array(tmp_path / "a.zarr", data=data, dimension_names=["y", "c", "x"])
        picture = read_image(tmp_path / "a.zarr")
        assert picture.channel_axis == 1
        assert [axis.kind for axis in picture.axes] == ["space", "channel", "space"]

    def test_names_of_dimensions_are_read_from_the_attribute_of_xarray(self, tmp_path):
        attributes = {"_ARRAY_DIMENSIONS": ["time", "y", "x"]}
        zarr.create_array(tmp_path / "a.zarr", data=VOLUME, zarr_format=2, attributes=attributes)
        picture = read_image(tmp_path / "a.zarr")
        assert [axis.kind for axis in picture.axes] == ["time", "space", "space"]
        assert (picture.rgb, picture.channel_axis) == (False, None)

    def test_the_only_array_of_a_group_is_read(self, tmp_path):
        group = zarr.open_group(tmp_path / "group.zarr", mode="w")
        group.create_array("data", data=VOLUME)
        np.testing.assert_array_equal(read_image(tmp_path / "group.zarr").pixels, VOLUME)

    @pytest.mark.parametrize(
        ("chunks", "expected"),
        [
            # Tiles are joined to a million pixels: first in the plane, then along the stack.
            ((1, 1, 256, 256), (1, 2, 1024, 1024)),
            ((1, 1, 1, 5000), (1, 2, 128, 5000)),
            ((1, 2, 1024, 1024), (1, 2, 1024, 1024)),
            ((4, 2, 2048, 2048), (4, 2, 2048, 2048)),
            ((1, 1, 100, 5000), (1, 2, 200, 5000)),
        ],
    )
    def test_chunks_consist_of_complete_tiles(self, tmp_path, chunks, expected):
        path = tmp_path / "large.zarr"
        names = ["z", "c", "y", "x"]
        shape = (9, 2, 5000, 5000)
        zarr.create_array(path, shape=shape, chunks=chunks, dtype="u1", dimension_names=names)
        assert read_image(path).pixels.chunksize == expected

    def test_small_planes_are_joined_along_the_stack(self, tmp_path):
        path = tmp_path / "film.zarr"
        zarr.create_array(path, shape=(500, 100, 100), chunks=(1, 50, 100), dtype="u1")
        assert read_image(path).pixels.chunksize == (64, 100, 100)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
class TestOmeZarr:
    def test_pixels_are_those_of_the_finest_level(self, tmp_path, version):
        levels = [VOLUME, VOLUME[:, ::2, ::2], VOLUME[:, ::4, ::4]]
        labels = {"labels": ["cells"]}
        _write_ome(tmp_path / "v.zarr", levels, "zyx", version)
        _write_ome(tmp_path / "v.zarr" / "labels" / "cells", levels[:1], "zyx", version)
        zarr.open_group(tmp_path / "v.zarr" / "labels", mode="a", attributes=labels)
        picture = read_image(tmp_path / "v.zarr")
        assert (picture.rgb, picture.channel_axis) == (False, None)
        assert picture.levels[0] is picture.pixels
        assert len(picture.levels) == 3
        for lazy, level in zip(picture.levels, levels, strict=True):
            assert isinstance(lazy, da.Array)
            np.testing.assert_array_equal(lazy, level)

    def test_levels_are_sorted_by_size(self, tmp_path, version):
        _write_ome(tmp_path / "v.zarr", [VOLUME[:, ::2, ::2], VOLUME], "zyx", version)
        assert read_image(tmp_path / "v.zarr").pixels.shape == VOLUME.shape

    def test_axes_have_the_scale_and_translation_of_all_transformations(self, tmp_path, version):
        multiscale = {
            "axes": [
                {"name": "t", "type": "time", "unit": "second"},
                {"name": "y", "type": "space", "unit": "micrometer"},
                {"name": "x"},
            ],
            "datasets": [
                {
                    "path": "level0",
                    "coordinateTransformations": [
                        {"type": "scale", "scale": [1, 0.5, 0.25]},
                        {"type": "translation", "translation": [0, 10, 20]},
                    ],
                }
            ],
            "coordinateTransformations": [{"type": "scale", "scale": [3, 2, 2]}],
        }
        _write_ome(tmp_path / "v.zarr", [VOLUME], "tyx", version, multiscale=multiscale)
        assert read_image(tmp_path / "v.zarr").axes == (
            Axis("t", "time", "second", 3.0, 0.0),
            Axis("y", "space", "micrometer", 1.0, 20.0),
            Axis("x", "space", "", 0.5, 40.0),
        )

    def test_channel_axis_comes_from_the_metadata(self, tmp_path, version):
        stack = RNG.integers(0, 256, (2, 5, 20, 30), dtype=np.uint8)
        _write_ome(tmp_path / "c.zarr", [stack, stack[..., ::2, ::2]], "tcyx", version)
        picture = read_image(tmp_path / "c.zarr")
        assert (picture.rgb, picture.channel_axis) == (False, 1)
        np.testing.assert_array_equal(picture.levels[1], stack[..., ::2, ::2])

    @pytest.mark.parametrize(
        ("colors", "dtype", "expected"),
        [
            (RGB_COLORS, "uint8", True),
            (["ff0000", "00ff00", "0000ff"], "uint16", True),
            (RGB_COLORS, "float32", False),
            (["0000FF", "00FF00", "FF0000"], "uint8", False),
            (["FF0000", "00FF00", "FFFFFF"], "uint8", False),
            (["FF0000", "00FF00"], "uint8", False),
            ([], "uint8", False),
        ],
    )
    def test_three_channels_are_rgb_if_their_colors_are_red_green_and_blue(
        self, tmp_path, version, colors, dtype, expected
    ):
        omero = {"channels": [{"color": color} for color in colors]}
        pixels = PLANES.astype(dtype)
        _write_ome(tmp_path / "c.zarr", [pixels, pixels[:, ::2, ::2]], "cyx", version, omero=omero)
        picture = read_image(tmp_path / "c.zarr")
        assert picture.rgb is expected
        assert picture.channel_axis == (None if expected else 0)
        assert picture.axes[-1].name == ("c" if expected else "x")
        pixels_read = COLOR if expected else PLANES
        np.testing.assert_array_equal(picture.pixels, pixels_read.astype(dtype))
        assert picture.levels[1].shape == ((20, 25, 3) if expected else (3, 20, 25))

    @pytest.mark.parametrize(("label", "expected"), [("alpha", True), ("far red", False)])
    def test_a_fourth_channel_is_alpha_if_its_label_is_alpha(
        self, tmp_path, version, label, expected
    ):
        channels = [{"color": color} for color in RGB_COLORS] + [
            {"color": "FFFFFF", "label": label}
        ]
        pixels = np.concatenate([PLANES, PLANES[:1]])
        _write_ome(tmp_path / "c.zarr", [pixels], "cyx", version, omero={"channels": channels})
        assert read_image(tmp_path / "c.zarr").rgb is expected

    @pytest.mark.parametrize("count", [2, 3, 4, 5])
    def test_three_or_four_channels_on_the_last_axis_are_colors(self, tmp_path, version, count):
        pixels = RNG.integers(0, 256, (20, 30, count), dtype=np.uint8)
        _write_ome(tmp_path / "c.zarr", [pixels], "yxc", version)
        picture = read_image(tmp_path / "c.zarr")
        assert picture.rgb == (count in (3, 4))
        assert picture.channel_axis == (None if picture.rgb else 2)

    def test_a_narrow_image_is_not_taken_for_colors(self, tmp_path, version):
        pixels = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        _write_ome(tmp_path / "c.zarr", [pixels], "zyx", version)
        assert read_image(tmp_path / "c.zarr").rgb is False

    def test_the_first_of_several_images_is_read_with_a_note(self, tmp_path, version):
        zarr_format = 3 if version == "0.5" else 2
        layout = {"bioformats2raw.layout": 3}
        attributes = {"ome": layout} if version == "0.5" else layout
        path = tmp_path / "slide.zarr"
        zarr.open_group(path, mode="w", zarr_format=zarr_format, attributes=attributes)
        _write_ome(path / "0", [VOLUME], "zyx", version)
        assert not read_image(path).note
        _write_ome(path / "1", [VOLUME[:1]], "zyx", version)
        picture = read_image(path)
        np.testing.assert_array_equal(picture.pixels, VOLUME)
        assert picture.note.startswith("only series 0, the largest of its 2 images, is read")


class TestFaults:
    def _message(self, path: Path) -> str:
        with pytest.raises(UnreadableImageError) as caught:
            read_image(path)
        message = str(caught.value)
        assert message
        assert "\n" not in message
        return message

    def test_a_directory_without_zarr_is_refused(self, tmp_path):
        assert self._message(tmp_path) == "it is a directory without a zarr array"

    def test_an_empty_group_is_refused(self, tmp_path):
        zarr.open_group(tmp_path / "empty.zarr", mode="w")
        message = self._message(tmp_path / "empty.zarr")
        assert message == "it is a group without a zarr array of pixels"

    @pytest.mark.parametrize("name", ["zarr.json", ".zarray", ".zgroup"])
    def test_metadata_that_are_not_json_are_refused(self, tmp_path, name):
        (tmp_path / name).write_text("{")
        self._message(tmp_path)

    @pytest.mark.parametrize(
        "multiscale",
        [{"axes": None}, {"axes": [{}]}, {"datasets": [{}]}, {"datasets": []}, {"datasets": 3}],
    )
    def test_damaged_ome_metadata_are_refused(self, tmp_path, multiscale):
        _write_ome(tmp_path / "a.zarr", [VOLUME], "zyx", "0.5", multiscale=multiscale)
        assert "OME-Zarr metadata" in self._message(tmp_path / "a.zarr")

    def test_a_missing_level_is_refused(self, tmp_path):
        datasets = [{"path": "nowhere"}]
        _write_ome(tmp_path / "a.zarr", [VOLUME], "zyx", "0.4", multiscale={"datasets": datasets})
        assert "OME-Zarr metadata" in self._message(tmp_path / "a.zarr")

    def test_axes_that_do_not_match_the_array_are_refused(self, tmp_path):
        _write_ome(tmp_path / "a.zarr", [VOLUME], "yx", "0.4")
        assert self._message(tmp_path / "a.zarr") == "its OME-Zarr metadata do not match its arrays"

    def test_the_message_states_the_place_of_a_damaged_chunk(self, tmp_path):
        path = tmp_path / "a.zarr"
        zarr.create_array(path, data=np.tile(COLOR, (40, 40, 1)), chunks=(1024, 1024, 3))
        (path / "c" / "1" / "0" / "0").write_bytes(b"no chunk")
        picture = read_image(path)
        np.testing.assert_array_equal(picture.pixels[:40, :50], COLOR)
        with pytest.raises(UnreadableImageError, match=r"^its pixels \[1024:1600, 0:1024, 0:3\]: "):
            picture.pixels.compute(scheduler="sync")
