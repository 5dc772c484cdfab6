"""Write files and directories completely or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

import pytest

from napari_kmeans.files.atomic import replacing, write_whole


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

    def test_an_error_of_the_system_names_the_path(self, tmp_path):
        first, second = tmp_path / "first.txt", tmp_path / "second.txt"

        def full(path: Path) -> None:
            path.touch()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def missing(path: Path) -> None:
            (path / "below").touch()

        def other(_path: Path) -> None:
            (tmp_path / "other").read_text()

        for write, name in ((full, second), (missing, second), (other, tmp_path / "other")):
            with pytest.raises(OSError, match=re.escape(repr(str(name)))):
                write_whole({first: Path.touch, second: write})


class TestReplacing:
    """Replace files and directories.

    A killed run is simulated by a `replacing` whose clean-up does not happen.
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
        missing = tmp_path / "missing.json"
        with replacing([tmp_path / "new.tif"], [target, old, missing]) as temporary:
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
