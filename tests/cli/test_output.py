"""The names and formats of results."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_kmeans import segment
from napari_kmeans.cli.output import (
    find_results,
    free_stems,
    output_directory,
    png_holds,
    write_results,
)

if TYPE_CHECKING:
    from pathlib import Path


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


class TestFindResults:
    """What a run wrote is told from files of others by its contents."""

    @pytest.fixture
    def results(self, tmp_path, quadrants) -> list[Path]:
        """Every kind of file that a run writes for an image, of any dtype and layout."""
        kinds = {
            "rgb": (quadrants, {"rgb": True}),
            "rgba": (np.dstack([quadrants, quadrants[..., 0]]), {"rgb": True}),
            "gray": (quadrants[..., 0], {}),
            "deep": (quadrants[..., 0].astype(np.uint16) * 9, {}),
            "float": (quadrants / 255, {"rgb": True}),
            "channels": (np.moveaxis(quadrants, -1, 0), {"channel_axis": 0}),
            "a lazy one": (da.from_array(quadrants), {"rgb": True}),
        }
        written = [
            write_results(segment(image, 3, **how), tmp_path, stem).paths
            for stem, (image, how) in kinds.items()
        ]
        return list(itertools.chain(*written))

    def test_all_results_are_known(self, results):
        assert len(results) == 7 * 4
        assert {path.suffix for path in results} == {".tif", ".png", ".zarr", ".csv", ".json"}
        assert find_results(results) == results

    def test_kept_files_and_links_and_what_is_gone_are_not(self, results, tmp_path):
        labels = next(path for path in results if path.name == "rgb-labels.tif")
        lazy = next(path for path in results if path.name == "a lazy one-labels.zarr")
        link = tmp_path / "link-labels.tif"
        link.symlink_to(labels)
        missing = tmp_path / "missing-model.json"
        assert find_results([labels, lazy, link, missing]) == [labels, lazy]
        assert find_results([labels, lazy], [link, lazy / "0"]) == []

    def test_files_of_others_are_not(self, tmp_path, quadrants):
        writers = {
            "notes-table.csv": lambda path: path.write_text("name,weight\na,1\n"),
            "list-model.json": lambda path: path.write_text('{"format": "another"}'),
            "gray-labels.tif": lambda path: tifffile.imwrite(path, quadrants[..., 0]),
            "plain-recolored.tif": lambda path: tifffile.imwrite(
                path, quadrants, photometric="rgb", metadata=None, compression="zlib"
            ),
            "text-recolored.png": lambda path: path.write_text("no image"),
            "mine-recolored.png": lambda path: Image.fromarray(quadrants).save(path, dpi=(72, 72)),
            "empty-labels.tif": lambda path: path.touch(),
            "folder-labels.tif": lambda path: path.mkdir(),
            "file-labels.zarr": lambda path: path.touch(),
            "empty-labels.zarr": lambda path: path.mkdir(),
            "other-labels.zarr": lambda path: zarr.save(path, quadrants),
        }
        for name, write in writers.items():
            write(tmp_path / name)
        assert len(list(tmp_path.iterdir())) == len(writers)
        assert find_results(tmp_path / name for name in writers) == []

    def test_a_renamed_zarr_is_somebody_s(self, results):
        lazy = next(path for path in results if path.name == "a lazy one-labels.zarr")
        renamed = lazy.rename(lazy.with_name("scan-labels.zarr"))
        assert find_results([renamed]) == []


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
