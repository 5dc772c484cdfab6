"""Folders, wildcards and odd names as arguments of the command line."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import zarr

from napari_kmeans import Study, run_study, segment
from napari_kmeans.batch.inputs import find_inputs
from napari_kmeans.batch.run_record import RECORD_FILE
from napari_kmeans.cli.main import main
from napari_kmeans.execution.notices import notices_to
from napari_kmeans.files.reading import read_image

PARTS = ("labels.tif", "model.json", "recolored.png", "table.csv")
on_posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


def _noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _names(directory: Path) -> list[str]:
    """Return the names of the results in a folder, without the record of the run."""
    return sorted(path.name for path in directory.iterdir() if path.name != RECORD_FILE)


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return a folder with images and other files, and two subfolders."""
    folder = tmp_path / "data"
    for name in ("", "day 1", ".hidden"):
        (folder / name).mkdir()
        iio.imwrite(folder / name / "a.png", _noise(20, 21, 3))
    tifffile.imwrite(folder / "b.tif", _noise(20, 21, 3, seed=1), photometric="rgb")
    iio.imwrite(folder / "c", _noise(20, 21, 3, seed=2), extension=".png")
    zarr.create_array(folder / "d.zarr", data=_noise(40, 50, 3, seed=3), chunks=(32, 32, 3))
    zarr.create_array(folder / "day 1" / "e", data=_noise(40, 50, 3, seed=4), chunks=(32, 32, 3))
    (folder / "notes.txt").write_text("no image")
    (folder / "empty.txt").touch()
    (folder / ".photo.png.swp").write_bytes(b"draft")
    return folder


class TestFolders:
    def test_all_images_of_a_folder_are_clustered(self, folder, out, capsys):
        assert main([str(folder), "-k", "3", "-o", str(out)]) == 0
        assert capsys.readouterr().err == (
            f"napari-kmeans: {folder}: skipped 2 hidden files; 2 files that are not images "
            "(empty.txt and notes.txt); 1 subfolder, without --recursive.\n"
        )
        images = [_noise(20, 21, 3, seed=seed) for seed in range(3)]
        seg = segment([*images, _noise(40, 50, 3, seed=3)], 3, rgb=True)
        for name, labels in zip(("a", "b", "c", "d"), seg.labels, strict=True):
            (path,) = out.glob(f"{name}-labels.*")
            np.testing.assert_array_equal(read_image(path).pixels, labels)

    def test_subfolders_are_read_with_recursive(self, folder, out, capsys):
        assert main([str(folder), "--recursive", "--each", "-k", "3", "-o", str(out)]) == 0
        assert "--recursive" not in capsys.readouterr().err
        stems = {name.partition("-labels")[0] for name in _names(out) if "-labels" in name}
        assert stems == {"a", "b", "c", "d", "a-2", "e"}
        # A zarr directory is an image: its chunks are not files of a folder.
        assert len(_names(out)) == 4 * 6

    def test_results_of_an_earlier_run_are_skipped(self, folder, capsys):
        for _ in range(2):
            assert main([str(folder), "--each", "-k", "3", "-o", str(folder)]) == 0
            assert len(_names(folder)) == 9 + 4 * 4
        assert "skipped 16 files of earlier runs; 2 hidden files; " in capsys.readouterr().err

    def test_folders_of_results_are_no_subfolders_that_were_skipped(self, tmp_path):
        folder = tmp_path / "photos"
        folder.mkdir()
        iio.imwrite(folder / "a.png", _noise(20, 21, 3))
        said = []
        with notices_to(said.append):
            for options in ({"n_clusters": 2}, {"n_clusters": 3}):
                entries = {"images": "photos", "fit": options, "outputs": ["labels"]}
                output = f"photos/out-{options['n_clusters']}"
                assert not run_study(Study.from_dict(entries, tmp_path), output).failures
            assert not said
            (folder / "day 1").mkdir()
            find_inputs([folder])
            (folder / "day 1" / "b.png").touch()
            find_inputs([folder])
        assert said == [f"{folder}: skipped 1 subfolder, without --recursive"]

    def test_files_of_the_user_with_names_of_results_are_read(self, tmp_path, folder):
        tifffile.imwrite(folder / "x-labels.tif", _noise(9, 9), compression="zlib")
        iio.imwrite(folder / "y-recolored.png", _noise(9, 9))
        names = [each.path.name for each in find_inputs([folder])]
        assert names == ["a.png", "b.tif", "c", "d.zarr", "x-labels.tif", "y-recolored.png"]

    def test_a_folder_without_images_fails_alone(self, tmp_path, folder, out, capsys):
        (tmp_path / "none").mkdir()
        arguments = [str(tmp_path / "none"), str(folder / "a.png"), "--each", "-k", "2"]
        assert main([*arguments, "-o", str(out)]) == 1
        assert capsys.readouterr().err == (
            f"napari-kmeans: cannot read {tmp_path / 'none'}: it is a folder without an image.\n"
        )
        assert _names(out) == [f"a-{part}" for part in PARTS]

    def test_a_broken_image_in_a_folder_fails_alone(self, folder, out, capsys):
        data = (folder / "b.tif").read_bytes()
        (folder / "b.tif").write_bytes(data[: len(data) // 2])
        assert main([str(folder), "-k", "3", "-o", str(out)]) == 1
        assert f"cannot read {folder / 'b.tif'}: " in capsys.readouterr().err
        assert {"a-labels.tif", "c-labels.tif", "d-labels.zarr"} <= set(_names(out))

    def test_an_empty_image_in_a_folder_is_damaged(self, folder, out, capsys):
        (folder / "empty.tif").touch()
        assert main([str(folder), "--each", "-k", "2", "-o", str(out)]) == 1
        expected = f"napari-kmeans: cannot read {folder / 'empty.tif'}: the file is empty."
        assert expected in capsys.readouterr().err.splitlines()
        assert len(_names(out)) == 4 * 4

    def test_files_with_the_suffix_of_an_image_that_are_no_image_fail(self, folder, out, capsys):
        (folder / "zeros.tif").write_bytes(bytes(4000))
        (folder / "text.PNG").write_text("no image")
        (folder / "short.jpg").write_bytes(b"\xff\xd8\xff"[:2])
        (folder / "chunks.zarr" / "c").mkdir(parents=True)
        (folder / "drawing.svg").write_text("<svg/>")
        names = ["chunks.zarr", "short.jpg", "text.PNG", "zeros.tif"]
        if os.name == "posix":
            (folder / "gone.tif").symlink_to(folder / "elsewhere.tif")
            names.insert(1, "gone.tif")
        for options in ([], ["--recursive"]):
            assert main([str(folder), *options, "--each", "-k", "2", "-o", str(out)]) == 1
            told = capsys.readouterr().err
            assert "3 files that are not images (drawing.svg, empty.txt and notes.txt)" in told
            lines = [line.partition("cannot read ")[2] for line in told.splitlines()]
            failed = [line.partition(":")[0] for line in lines if line]
            assert sorted(failed) == [str(folder / name) for name in names]

    def test_a_study_lists_files_with_the_suffix_of_an_image_that_are_no_image(self, folder):
        (folder / "zeros.tif").write_bytes(bytes(4000))
        entries = {"images": "data", "fit": {"n_clusters": 2}, "outputs": ["labels"]}
        result = run_study(Study.from_dict(entries, folder.parent), "results")
        assert list(result.failures) == ["zeros"]

    def test_each_file_is_read_once(self, folder):
        arguments = [folder / "b.tif", folder, folder / "day 1" / ".." / "a.png"]
        names = [each.path.name for each in find_inputs(arguments)]
        assert names == ["b.tif", "a.png", "c", "d.zarr"]

    @on_posix
    def test_pipes_and_loops_in_a_folder_end_no_run(self, folder):
        os.mkfifo(folder / "pipe.png")
        (folder / "loop.png").symlink_to(folder / "loop.png")
        (folder / "again").symlink_to(folder, target_is_directory=True)
        names = [each.path.name for each in find_inputs([folder], recursive=True)]
        # Pipes may have no end, and are skipped. A link to itself is an image that fails.
        assert names == ["a.png", "b.tif", "c", "d.zarr", "loop.png", "a.png", "e"]

    @on_posix
    def test_links_to_files_and_folders_are_read(self, folder, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        iio.imwrite(tmp_path / "elsewhere" / "far.png", _noise(9, 9))
        (folder / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
        (folder / "z.png").symlink_to(folder / "a.png")
        (folder / "far too.png").symlink_to(tmp_path / "elsewhere" / "far.png")
        (tmp_path / "away.png").write_bytes((folder / "a.png").read_bytes())
        (folder / "other.png").symlink_to(tmp_path / "away.png")
        sentences = []
        with notices_to(sentences.append):
            names = [each.path.name for each in find_inputs([folder], recursive=True)]
        assert names == ["a.png", "b.tif", "c", "d.zarr", "other.png", "a.png", "e", "far.png"]
        # An image would count twice, as in the mean of a group.
        assert sentences[-1] == (
            "far too.png and z.png are links to images that are there, too, and are skipped"
        )
        sentences.clear()
        with notices_to(sentences.append):
            assert len(find_inputs([folder / "z.png", folder / "a.png"])) == 2
            assert len(find_inputs([folder / "z.png"])) == 1
        assert sentences == ["z.png is a link to an image that is there, too, and is counted twice"]


class TestFoldersWithoutPermission:
    """The tests refuse calls of the system, because root may enter every folder."""

    @pytest.fixture
    def locked(self, folder, monkeypatch) -> Path:
        locked = folder / "locked"
        locked.mkdir()

        def refuse(call, is_refused):
            def refused(path=".", *arguments, **options):
                if not isinstance(path, int) and is_refused(Path(path)):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
                return call(path, *arguments, **options)

            return refused

        monkeypatch.setattr(os, "stat", refuse(os.stat, lambda path: locked in path.parents))
        monkeypatch.setattr(os, "scandir", refuse(os.scandir, lambda path: path == locked))
        return locked

    @pytest.mark.parametrize("command", [[], ["run"]])
    def test_such_a_subfolder_fails_alone(self, folder, locked, out, capsys, command):
        arguments = [*command, str(folder), "--recursive", "--each", "-k", "2", "-o", str(out)]
        assert main(arguments) == 1
        told = capsys.readouterr().err
        assert told.count(f"cannot read {locked}: {os.strerror(errno.EACCES)}") == 1
        stems = {name.partition("-labels")[0] for name in _names(out) if "-labels" in name}
        assert stems == {"a", "b", "c", "d", "a-2", "e"}

    def test_such_a_folder_that_is_named_fails(self, folder, locked, out, capsys):
        assert main([str(locked), str(folder / "a.png"), "--each", "-o", str(out)]) == 1
        told = capsys.readouterr().err
        assert told == f"napari-kmeans: cannot read {locked}: {os.strerror(errno.EACCES)}.\n"


class TestWildcards:
    """The tests pass wildcards as cmd.exe does: as they are."""

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("*.png", ["a.png"]),
            ("?", ["c"]),
            ("[ab].*", ["a.png", "b.tif"]),
            ("*/a.png", ["a.png"]),
            ("**/a.png", ["a.png", "a.png"]),
            ("d.*", ["d.zarr"]),
            ("none*.png", ["none*.png"]),
        ],
    )
    def test_a_name_with_wildcards_is_expanded(self, folder, pattern, expected):
        names = [each.path.name for each in find_inputs([folder / pattern])]
        assert names == expected

    @on_posix
    def test_a_file_with_such_a_name_is_read(self, folder):
        for name in ("scan[1].png", "what?.png", "*.png"):
            iio.imwrite(folder / name, _noise(9, 9))
            assert [each.path.name for each in find_inputs([folder / name])] == [name]

    @pytest.mark.parametrize("expanded", [False, True])
    def test_results_match_wildcards_only_if_the_shell_expands_them(
        self, tmp_path, capsys, expanded
    ):
        for name in ("a", "b"):
            tifffile.imwrite(tmp_path / f"{name}.tif", _noise(9, 9))
        assert main([str(tmp_path), "--each", "-k", "2", "-o", str(tmp_path)]) == 0
        capsys.readouterr()
        pattern = "*.tif"
        arguments = sorted(tmp_path.glob(pattern)) if expanded else [tmp_path / pattern]
        names = {each.path.name for each in find_inputs(arguments)}
        results = {"a-labels.tif", "b-labels.tif"}
        assert names == {"a.tif", "b.tif", *(results if expanded else ())}
        assert capsys.readouterr().err == (
            "napari-kmeans: a-labels.tif and b-labels.tif are results of earlier runs.\n"
            if expanded
            else f"napari-kmeans: {tmp_path / pattern}: skipped 2 files of earlier runs.\n"
        )

    def test_one_result_that_is_named_is_read_with_a_note(self, folder, out, capsys):
        assert main([str(folder / "a.png"), "-k", "2", "-o", str(out)]) == 0
        path = out / "a-labels.tif"
        assert [each.path for each in find_inputs([path])] == [path]
        assert capsys.readouterr().err == (
            "napari-kmeans: a-labels.tif is a result of an earlier run.\n"
        )

    def test_wildcards_without_a_match_are_an_error(self, folder, out, capsys):
        assert main([str(folder / "*.jpg"), "-o", str(out)]) == 1
        assert capsys.readouterr().err == (
            f"napari-kmeans: cannot read {folder / '*.jpg'}: there is no such file or folder.\n"
        )


@on_posix
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_names_that_cannot_be_printed_do_not_end_a_batch(tmp_path, out, encoding):
    # The name of a file need not be valid UTF-8, for example from an old archive.
    names = ["画像.png", os.fsdecode(b"bild-\xe4.png"), "last.png"]
    for name in names:
        iio.imwrite(tmp_path / name, _noise(20, 21, 3))
    zarr.create_array(tmp_path / os.fsdecode(b"z-\xe4"), data=_noise(40, 50, 3), chunks=(32, 32, 3))
    names.insert(2, os.fsdecode(b"z-\xe4"))
    paths = [tmp_path / name for name in names]
    done = subprocess.run(
        [sys.executable, "-m", "napari_kmeans", *paths, "--each", "-k", "2", "-o", out],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(_names(out)) == 4 * len(names)
    printed = done.stdout.decode(encoding)
    assert "bild-\\udce4: 2 clusters" in printed
    assert ("画像: 2 clusters" if encoding == "utf-8" else r"\u753b\u50cf: 2 clusters") in printed
