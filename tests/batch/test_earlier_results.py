"""Results of earlier runs, and files of others with the same names."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_kmeans import segment
from napari_kmeans.batch.earlier_results import find_results
from napari_kmeans.batch.output import write_results
from napari_kmeans.files.picture import Picture
from napari_kmeans.measuring import COLOR_COLUMN, COUNT_COLUMNS, cluster_table

if TYPE_CHECKING:
    from pathlib import Path


class TestFindResults:
    """Results are recognized by their contents, so that files of the user stay."""

    @pytest.fixture
    def results(self, tmp_path, quadrants) -> list[Path]:
        """Return the results of images of several dtypes and layouts: every kind of file."""
        kinds = {
            "rgb": (quadrants, {"rgb": True}),
            "rgba": (np.dstack([quadrants, quadrants[..., 0]]), {"rgb": True}),
            "gray": (quadrants[..., 0], {}),
            "deep": (quadrants[..., 0].astype(np.uint16) * 9, {}),
            "float": (quadrants / 255, {"rgb": True}),
            "channels": (np.moveaxis(quadrants, -1, 0), {"channel_axis": 0}),
            "lazy image": (da.from_array(quadrants), {"rgb": True}),
        }
        written = [
            write_results(segment(image, 3, **settings), tmp_path, stem).paths
            for stem, (image, settings) in kinds.items()
        ]
        return list(itertools.chain(*written))

    def test_all_results_are_recognized(self, results):
        assert len(results) == 7 * 4
        assert {path.suffix for path in results} == {".tif", ".png", ".zarr", ".csv", ".json"}
        assert find_results(results) == results

    def test_tables_of_own_and_shared_models_are_recognized(self, tmp_path, quadrants):
        seg = segment(quadrants, 3, rgb=True)
        columns = [*COUNT_COLUMNS, "mean red", "mean green", "mean blue", COLOR_COLUMN]
        assert seg.table.columns.tolist() == columns
        picture = Picture(quadrants, rgb=True)
        shared = write_results(seg, tmp_path, "photo", picture, shared=True)
        assert shared.table.columns.tolist() == columns
        assert find_results([tmp_path / "photo-table.csv"]) == [tmp_path / "photo-table.csv"]
        assert cluster_table(seg.model).columns.tolist() == ["index", *columns[3:]]

    def test_kept_files_links_and_missing_files_are_left_out(self, results, tmp_path):
        labels = next(path for path in results if path.name == "rgb-labels.tif")
        lazy = next(path for path in results if path.name == "lazy image-labels.zarr")
        link = tmp_path / "link-labels.tif"
        link.symlink_to(labels)
        missing = tmp_path / "missing-model.json"
        assert find_results([labels, lazy, link, missing]) == [labels, lazy]
        assert find_results([labels, lazy], [link, lazy / "0"]) == []

    def test_files_of_the_user_are_not_recognized(self, tmp_path, quadrants):
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

    def test_a_renamed_zarr_directory_is_not_recognized(self, results):
        lazy = next(path for path in results if path.name == "lazy image-labels.zarr")
        renamed = lazy.rename(lazy.with_name("scan-labels.zarr"))
        assert find_results([renamed]) == []

    def test_results_of_version_0_1_1_are_recognized(self, tmp_path, quadrants):
        """These files have no record."""
        paths = [tmp_path / "a-labels.tif", tmp_path / "a-recolored.png"]
        tifffile.imwrite(paths[0], quadrants[..., 0], metadata={}, compression="zlib")
        Image.fromarray(quadrants).save(paths[1])
        assert find_results(paths) == paths

    def test_a_result_saved_by_another_program_is_of_the_user(self, results):
        labels = next(path for path in results if path.name == "gray-labels.tif")
        tifffile.imwrite(labels, tifffile.imread(labels), imagej=True)
        recolored = next(path for path in results if path.name == "rgb-recolored.png")
        Image.open(recolored).save(recolored, dpi=(72, 72))
        assert find_results([labels, recolored]) == []
