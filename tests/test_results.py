"""The names and formats of results."""

from __future__ import annotations

import os

import dask.array as da
import numpy as np
import pytest
import zarr

from napari_kmeans import segment
from napari_kmeans.results import free_stems, output_directory, png_holds, write_results


@pytest.mark.parametrize(
    ("axes", "dtype", "expected"),
    [
        ("YX", np.uint8, True),
        ("YX", np.uint16, True),
        ("YXS", np.uint8, True),
        ("YXS", np.uint16, False),
        ("YX", np.int16, False),
        ("YX", np.float32, False),
        ("YXS", np.float64, False),
        ("ZYX", np.uint8, False),
        ("QYXS", np.uint8, False),
        ("CYX", np.uint8, False),
        ("YXC", np.uint8, False),
    ],
)
def test_png_is_chosen_where_it_is_exact(axes, dtype, expected):
    assert png_holds(np.zeros((3,) * len(axes), dtype), axes) == expected


class TestOutputDirectory:
    def test_it_is_made_with_its_parents(self, tmp_path):
        with output_directory(tmp_path / "a" / "b") as directory:
            (directory / "result").touch()
        assert (tmp_path / "a" / "b" / "result").exists()

    def test_what_was_made_and_stayed_empty_is_taken_away(self, tmp_path):
        with output_directory(tmp_path / "a" / "b"):
            pass
        assert list(tmp_path.iterdir()) == []

    def test_what_was_there_stays(self, tmp_path):
        with output_directory(tmp_path):
            pass
        assert tmp_path.is_dir()

    def test_a_file_in_its_place_is_an_error(self, tmp_path):
        (tmp_path / "file").touch()
        for path in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(OSError, match=os.strerror(20)), output_directory(path):
                pass


class TestFreeStems:
    def test_names_that_are_free_stay(self, tmp_path):
        assert free_stems(["a", "b"], tmp_path, []) == ["a", "b"]

    def test_the_same_name_gets_a_number(self, tmp_path):
        assert free_stems(["a", "a", "a-2", "A"], tmp_path, []) == ["a", "a-2", "a-2-2", "A-3"]

    @pytest.mark.parametrize(
        "name", ["a-recolored.png", "a-recolored.tif", "a-labels.tif", "a-labels.zarr"]
    )
    def test_an_input_is_not_overwritten(self, tmp_path, name):
        assert free_stems(["a"], tmp_path, [tmp_path / name]) == ["a-2"]


def test_what_a_killed_run_tried_the_directory_with_is_taken_away(tmp_path):
    (tmp_path / ".napari-kmeans-probe").touch()
    with output_directory(tmp_path):
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("dtype", "factor", "ends", "limits"),
    [
        (np.uint8, 1, (0, 255), (0, 255)),
        (np.uint16, 16, (0, 4095), (0, 65535)),
        (np.float32, 1, (0, 255), (0, 255)),
        (np.float32, 1 / 255, (0, 1), (0, 1)),
    ],
)
def test_ome_zarr_says_how_bright_its_values_are(tmp_path, quadrants, dtype, factor, ends, limits):
    alpha = np.full((20, 21, 1), 255, np.uint8)
    image = (np.concatenate([quadrants, alpha], axis=2).astype(float) * factor).astype(dtype)
    seg = segment(da.from_array(image, chunks=(10, 21, 4)), 4, rgb=True)
    write_results(seg, tmp_path, "picture")
    recolored = zarr.open(tmp_path / "picture-recolored.zarr", mode="r")
    windows = [each["window"] for each in recolored.attrs["ome"]["omero"]["channels"]]
    for window in windows[:3]:
        assert (window["start"], window["end"]) == ends
        assert (window["min"], window["max"]) == limits
    labels = zarr.open(tmp_path / "picture-labels.zarr", mode="r")
    written = labels.attrs["ome"]["image-label"]["colors"]
    shown = [[int(code[at : at + 2], 16) for at in (1, 3, 5)] for code in seg.table["color"]]
    assert [each["rgba"][:3] for each in written] == shown
    # The brightest cluster is about (240, 230, 220) of 255.
    np.testing.assert_allclose(shown[3], (240, 230, 220), atol=2)
