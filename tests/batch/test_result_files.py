"""The names of results, and the directory in which they are written."""

from __future__ import annotations

import os

import pytest

from napari_kmeans.batch.result_files import free_stems, output_directory


class TestOutputDirectory:
    def test_a_directory_is_created_with_its_parents(self, tmp_path):
        with output_directory(tmp_path / "a" / "b") as directory:
            (directory / "result").touch()
        assert (tmp_path / "a" / "b" / "result").exists()

    def test_created_directories_are_removed_if_they_stay_empty(self, tmp_path):
        with output_directory(tmp_path / "a" / "b"):
            pass
        assert list(tmp_path.iterdir()) == []

    def test_an_existing_directory_stays(self, tmp_path):
        with output_directory(tmp_path):
            pass
        assert tmp_path.is_dir()

    def test_a_file_at_the_path_is_an_error(self, tmp_path):
        (tmp_path / "file").touch()
        for path in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(OSError, match=os.strerror(20)), output_directory(path):
                pass

    def test_the_probe_of_a_killed_run_is_removed(self, tmp_path):
        (tmp_path / ".napari-kmeans-probe").touch()
        with output_directory(tmp_path):
            assert not list(tmp_path.iterdir())


class TestFreeStems:
    def test_free_names_stay(self, tmp_path):
        assert free_stems(["a", "b"], tmp_path, []) == ["a", "b"]

    def test_the_same_name_gets_a_number(self, tmp_path):
        assert free_stems(["a", "a", "a-2", "A"], tmp_path, []) == ["a", "a-2", "a-2-2", "A-3"]

    @pytest.mark.parametrize(
        "name", ["a-recolored.png", "a-recolored.tif", "a-labels.tif", "a-labels.zarr"]
    )
    def test_an_input_is_not_overwritten(self, tmp_path, name):
        assert free_stems(["a"], tmp_path, [tmp_path / name]) == ["a-2"]
