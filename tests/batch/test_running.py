"""A study gives the model, the labels and the table of the functions, and can be continued."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import dask
import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

import napari_kmeans
from napari_kmeans import (
    KMeansModel,
    Study,
    StudyError,
    grid_regions,
    measure,
    run_study,
    segment,
)
from napari_kmeans.batch import image_step, parts
from napari_kmeans.batch.result_files import LOCK_FILE
from napari_kmeans.batch.run_record import RECORD_FILE, hash_file
from napari_kmeans.execution.notices import notices_to
from napari_kmeans.files.lazy import FileArray
from napari_kmeans.files.reading import read_image

on_posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


def _image(n_dark: int, seed: int) -> np.ndarray:
    """Return an image of 40 by 50 pixels, of which `n_dark` columns are dark, with noise."""
    image = np.full((40, 50, 3), (200, 180, 190))
    image[:, :n_dark] = (90, 40, 120)
    return (image + np.random.default_rng(seed).integers(-9, 10, image.shape)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return a folder with the images of two groups, of which 20 and 60 % are dark."""
    (tmp_path / "raw").mkdir()
    for number in range(3):
        iio.imwrite(tmp_path / "raw" / f"c_{number}.png", _image(10, number))
        iio.imwrite(tmp_path / "raw" / f"t_{number}.png", _image(30, 9 + number))
    return tmp_path


def _study(folder: Path, **entries: object) -> Study:
    defaults = {"images": "raw", "fit": {"n_clusters": 2}, "output": "out"}
    entries = {**defaults, **entries}
    return Study.from_dict({k: v for k, v in entries.items() if v is not None}, folder)


def _run(study: Study, **settings: object) -> napari_kmeans.StudyResult:
    with notices_to(lambda _sentence: None):
        return run_study(study, **settings)


def _labels(folder: Path, stem: str, out: str = "out") -> np.ndarray:
    return np.asarray(read_image(folder / out / f"{stem}-labels.tif").pixels)


def _images(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: iio.imread(path) for path in sorted((folder / "raw").glob("*.png"))}


def test_model_labels_and_table_are_those_of_the_functions(folder):
    result = _run(_study(folder))
    images = _images(folder)
    seg = segment(list(images.values()), 2, rgb=True)
    saved = KMeansModel.load(folder / "out" / "napari-kmeans-model.json")
    np.testing.assert_array_equal(saved.cluster_centers_, seg.model.cluster_centers_)
    for (stem, _), labels in zip(images.items(), seg.labels, strict=True):
        np.testing.assert_array_equal(_labels(folder, stem), labels)
    expected = measure(seg, list(images.values()), names=list(images))
    assert result.table["file"].unique().tolist() == [f"raw/{name}.png" for name in images]
    shares = [seg.model.far_share(image) for image in images.values()]
    assert result.shares["far_share"].tolist() == shares
    table = result.table.drop(columns=["file", "far_share"])
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)
    written = pd.read_csv(folder / "out" / "napari-kmeans-measurements.csv")
    np.testing.assert_allclose(written["mean red"], expected["mean red"], 1e-7)
    assert (written["pixels"] == expected["pixels"]).all()


def test_the_record_states_how_many_colors_were_fitted(folder):
    pixels = np.concatenate([image.reshape(-1, 3) for image in _images(folder).values()])
    n_colors = len(np.unique(pixels, axis=0))
    # A run that goes on takes the model of the first.
    for _ in range(2):
        assert _run(_study(folder)).record["n_colors"] == n_colors
    methods = (folder / "out" / "napari-kmeans-methods.md").read_text("utf-8")
    assert f"continued on all {n_colors:,} distinct colors" in methods


def test_the_groups_differ_as_they_were_made(folder):
    groups = {"control": "raw/c_*", "treated": ["raw/t_*"]}
    table = _run(_study(folder, images=None, groups=groups, classes={1: "dark"})).table
    dark = table[table["name"] == "dark"].groupby("group")["percent"].mean()
    np.testing.assert_allclose([dark["control"], dark["treated"]], [20, 60])
    assert list(table.columns[:2]) == ["image", "group"]


def test_rows_state_the_files_whose_names_pass_to_other_images(folder):
    for place in ("a", "b"):
        (folder / "raw" / place).mkdir()
    iio.imwrite(folder / "raw" / "b" / "x.png", _image(10, 5))
    settings = {"recursive": True, "metadata": "{kind}_{number}.png"}
    first = _run(_study(folder, **settings)).shares.set_index("image")["file"]
    assert first["x"] == "raw/b/x.png"
    assert first["c_0"] == "raw/c_0.png"
    iio.imwrite(folder / "raw" / "a" / "x.png", _image(30, 6))
    result = _run(_study(folder, **settings))
    expected = ["image", "kind", "number", "file", "far_share", "region"]
    assert list(result.table.columns[:6]) == expected
    files = result.shares.set_index("image")["file"]
    assert files[["x", "x-2"]].tolist() == ["raw/a/x.png", "raw/b/x.png"]
    # The report shows them where names do not tell the files.
    report = (folder / "out" / "napari-kmeans-report.html").read_text("utf-8")
    assert "x-2 <small>raw/b/x.png</small>" in report
    # A sample has no file, and a pattern may have a field of this name.
    assert "file" not in _run(_study(folder, images=None, sample="leaf", output="s")).table
    own = _run(_study(folder, metadata="{kind}_{file}.png", output="own")).table
    assert set(own["file"]) == {"0", "1", "2"}
    assert "<small>raw" not in (folder / "own" / "napari-kmeans-report.html").read_text("utf-8")


def test_a_model_with_other_classes_keeps_the_record_of_its_fit(folder):
    first = _run(_study(folder, fit={"n_clusters": 3, "random_state": 5}))
    model = KMeansModel.load(folder / "out" / "napari-kmeans-model.json")
    edited = model.with_classes(model.classes.merge([2, 3]).rename(1, "dark").ignore(1))
    second = _run(_study(folder, fit=None, output="b"), model=edited)
    texts = [
        (each.directory / "napari-kmeans-methods.md").read_text("utf-8") for each in (first, second)
    ]
    # The paragraphs differ by the classes only.
    classes = (
        "The clusters were merged into 2 classes: class 1 “dark” has 1 cluster, class 2 has 2 "
        "clusters. Pixels of class 1 “dark” were ignored: they did not count in shares. "
    )
    assert classes in texts[1]
    assert texts[0] == texts[1].replace(classes, "")
    assert "The random seed was 5." in texts[0]
    # Other images of the same names have not been in the fit.
    (folder / "raw").rename(folder / "others")
    third = _run(_study(folder, images="others", fit=None, output="c"), model=edited)
    text = (third.directory / "napari-kmeans-methods.md").read_text("utf-8")
    assert "One model was fitted to 6 images (“c\\_0.png”, " in text


class TestContinuing:
    def test_images_that_are_done_again_are_counted(self, folder):
        def listen(**entries: object) -> list[str]:
            sentences: list[str] = []
            with notices_to(sentences.append):
                run_study(_study(folder, **entries))
            return [each for each in sentences if "replaced" in each]

        assert listen() == listen() == []
        (sentence,) = listen(fit={"n_clusters": 3})
        assert sentence == (
            "6 images were done with other options or another model by an earlier run in this "
            "folder: their results are replaced"
        )

    def test_what_was_done_is_not_done_again(self, folder):
        study = _study(folder)
        first = _run(study)
        times = {path: path.stat().st_mtime_ns for path in (folder / "out").glob("*-labels.tif")}
        second = _run(study)
        assert (first.n_earlier, second.n_earlier) == (0, 6)
        assert {path: path.stat().st_mtime_ns for path in times} == times
        pd.testing.assert_frame_equal(first.table, second.table, check_dtype=False)
        assert _run(study, again=True).n_earlier == 0

    def test_other_options_and_a_missing_result_are_done(self, folder):
        _run(_study(folder))
        assert _run(_study(folder, classes={1: "dark"})).n_earlier == 0
        (folder / "out" / "c_1-labels.tif").unlink()
        assert _run(_study(folder, classes={1: "dark"})).n_earlier == 5
        assert _run(_study(folder, fit={"n_clusters": 3})).n_earlier == 0

    def test_a_new_and_a_changed_image_are_done(self, folder):
        _run(_study(folder))
        study = _study(folder, fit=None, model="out/napari-kmeans-model.json", output="b")
        assert _run(study).n_earlier == 0
        iio.imwrite(folder / "raw" / "new.png", _image(20, 5))
        iio.imwrite(folder / "raw" / "c_0.png", _image(15, 5))
        os.utime(folder / "raw" / "c_1.png")
        result = _run(study)
        assert result.n_earlier == 5
        labels = read_image(folder / "b" / "c_0-labels.tif").pixels
        assert (labels == 1).sum() == 15 * 40

    def test_an_image_in_two_groups_is_named(self, folder):
        said = []
        with notices_to(said.append):
            run_study(_study(folder, groups={"a": "raw/c_0.png", "b": "raw/c_*"}))
        assert said == [
            "c_0 is in several groups and counts in the first of them",
            "t_0, t_1 and t_2 are in no group and not compared",
        ]

    def test_groups_change_without_a_new_run(self, folder):
        _run(_study(folder))
        result = _run(_study(folder, groups={"a": "raw/c*"}))
        assert result.n_earlier == 6
        assert set(result.table["group"].dropna()) == {"a"}

    def test_a_canceled_run_keeps_what_was_done(self, folder):
        class Stop(Exception):
            pass

        def stop(progress: object) -> None:
            if progress.stage == "images" and progress.done >= 2:
                raise Stop

        with pytest.raises(Stop):
            _run(_study(folder), progress=stop)
        record = json.loads((folder / "out" / RECORD_FILE).read_text("utf-8"))
        assert record["status"] == "interrupted"
        result = _run(_study(folder))
        assert 2 <= result.n_earlier < 6
        assert not result.failures
        calls = result.record["calls"]
        assert [call["images"] for call in calls] == [result.n_earlier, 6 - result.n_earlier]
        assert [call["status"] for call in calls] == ["interrupted", "complete"]
        assert result.record["started"] == record["started"]
        assert result.record["seconds"] == pytest.approx(sum(each["seconds"] for each in calls))
        assert calls[0]["seconds"] >= record["seconds"]
        report = (folder / "out" / "napari-kmeans-report.html").read_text("utf-8")
        assert "in 2 calls" in report
        assert len(_run(_study(folder), again=True).record["calls"]) == 1

    def test_a_canceled_run_with_named_classes_is_continued(self, folder):
        study = _study(folder, fit={"n_clusters": 3}, classes={1: {"name": "a", "merge": 2}})

        def stop(progress: object) -> None:
            if progress.stage == "images" and progress.done >= 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            _run(study, progress=stop)
        result = _run(study)
        assert 2 <= result.n_earlier < 6
        # The merged class is averaged by the pixels of its centers, also in the continued run.
        fresh = _run(study, output="fresh")
        pd.testing.assert_frame_equal(result.table, fresh.table)

    def test_a_study_of_other_images_in_the_same_folder_is_refused(self, folder):
        _run(_study(folder, images="raw/c*"))
        before = (folder / "out" / RECORD_FILE).read_bytes()
        with pytest.raises(StudyError, match="it has the study of 3 images"):
            _run(_study(folder, images="raw/t*"))
        assert (folder / "out" / RECORD_FILE).read_bytes() == before
        assert _run(_study(folder)).table["image"].nunique() == 6

    @on_posix
    def test_a_killed_run_is_continued_without_half_files(self, folder):
        path = folder / "study.yaml"
        _study(folder).save(path)
        code = (
            "import os, signal, sys\n"
            "from napari_kmeans import Study, run_study\n"
            "def kill(progress):\n"
            "    if progress.stage == 'images' and progress.done >= 2:\n"
            "        os.kill(os.getpid(), signal.SIGKILL)\n"
            "run_study(Study.load(sys.argv[1]), progress=kill)\n"
        )
        root = str(Path(next(iter(napari_kmeans.__path__))).parent)
        done = subprocess.run(
            [sys.executable, "-c", code, path], env={**os.environ, "PYTHONPATH": root}
        )
        assert done.returncode == -signal.SIGKILL
        for labels in (folder / "out").glob("*-labels.tif"):
            assert read_image(labels).pixels.shape == (40, 50)
        result = _run(Study.load(path))
        assert 1 <= result.n_earlier < 6
        names = {each.name for each in (folder / "out").iterdir()}
        assert len([name for name in names if name.endswith("-labels.tif")]) == 6
        assert not [
            name for name in names if name.startswith(".napari-kmeans-") and "." in name[1:]
        ]


class TestSafety:
    """Nothing of the user is lost, and nothing stale or damaged is taken for a result."""

    def test_files_of_the_user_with_names_of_results_stay(self, folder):
        legend = folder / "raw" / "c_0-legend.png"
        iio.imwrite(legend, np.zeros((9, 9), np.uint8))
        (folder / "raw" / "napari-kmeans-shares.csv").write_text("image,age\nc_0,1\n")
        with pytest.raises(StudyError, match="the study would replace this file"):
            _run(_study(folder, metadata_file="raw/napari-kmeans-shares.csv", output="raw"))
        (folder / "raw" / "napari-kmeans-shares.csv").unlink()
        _run(_study(folder, images="raw/c_0.png", output="raw"))
        assert iio.imread(legend).shape == (9, 9)

    def test_a_model_that_is_applied_is_not_replaced_by_its_edit(self, folder):
        _run(_study(folder, fit={"n_clusters": 3}))
        model = folder / "out" / "napari-kmeans-model.json"
        before = model.read_bytes()
        study = _study(folder, fit=None, model=str(model), classes={1: {"merge": 2}})
        with pytest.raises(StudyError, match="must be another folder"):
            _run(study)
        assert model.read_bytes() == before
        assert _run(_study(folder, fit=None, model=str(model))).n_earlier == 6

    @on_posix
    def test_a_file_that_changed_in_place_is_done_again(self, folder):
        path = folder / "raw" / "c_0.tif"
        tifffile.imwrite(path, _image(10, 3), photometric="rgb")
        _run(_study(folder))
        times = path.stat().st_mtime_ns
        tifffile.imwrite(path, _image(40, 3), photometric="rgb")
        os.utime(path, ns=(times, times))
        assert _run(_study(folder)).n_earlier == 0
        assert (_labels(folder, "c_0-2") == 1).sum() == 40 * 40

    @pytest.mark.parametrize("name", ["c_0-labels.tif", ".napari-kmeans-parts/c_0.json"])
    @pytest.mark.parametrize("damage", ["zeros", "digits", "nested"])
    def test_damaged_results_and_parts_are_done_again(self, folder, name, damage):
        first = _run(_study(folder))
        path = folder / "out" / name
        data = path.read_bytes()
        path.write_bytes(
            {
                "zeros": bytes(len(data)),
                "digits": data.replace(b"1", b"2"),
                "nested": b"[" * 100_000,
            }[damage]
        )
        second = _run(_study(folder))
        assert second.n_earlier == 5
        pd.testing.assert_frame_equal(second.table, first.table)
        assert (_labels(folder, "c_0") == 1).sum() == 10 * 40

    def test_moved_images_are_known_and_have_their_new_place(self, folder):
        _run(_study(folder, output="m"))
        study = {"fit": None, "model": "m/napari-kmeans-model.json"}
        _run(_study(folder, **study))
        iio.imwrite(folder / "raw" / "new.png", _image(20, 5))
        (folder / "out" / RECORD_FILE).unlink()
        (folder / "raw").rename(folder / "moved")
        result = _run(_study(folder, images="moved", **study))
        assert result.n_earlier == 6
        sources = {Path(entry["source"]).parent.name for entry in result.record["images"]}
        assert sources == {"moved"}

    def test_a_second_run_in_the_same_folder_is_refused(self, folder):
        def run_again(progress: object) -> None:
            if progress.stage == "images":
                with pytest.raises(StudyError, match="another run is writing there"):
                    _run(_study(folder))

        assert not _run(_study(folder), progress=run_again).failures

    def test_a_process_with_another_folder_of_temporary_files_is_refused(self, folder):
        (folder / "tmp").mkdir()
        command = [sys.executable, "-m", "napari_kmeans", "run", folder / "raw", "-k", "2"]
        answers = []

        def run_again(progress: object) -> None:
            if progress.stage == "images" and not answers:
                answers.append(
                    subprocess.run(
                        [*command, "-o", folder / "out"],
                        capture_output=True,
                        text=True,
                        env={**os.environ, "TMPDIR": str(folder / "tmp")},
                        timeout=300,
                    )
                )

        assert not _run(_study(folder), progress=run_again).failures
        assert answers[0].returncode == 1
        assert "another run is writing there" in answers[0].stderr
        assert not (folder / "out" / LOCK_FILE).exists()

    def test_the_lock_of_a_killed_run_is_no_result_and_no_file_of_the_user(self, folder):
        (folder / "raw" / "out").mkdir()
        for place in (folder / "raw", folder / "raw" / "out"):
            (place / LOCK_FILE).touch()
        said = []
        with notices_to(said.append):
            result = run_study(_study(folder), "raw")
        assert not result.failures
        assert not [sentence for sentence in said if "skipped" in sentence]
        assert not (folder / "raw" / LOCK_FILE).exists()

    def test_tables_of_other_outputs_are_removed(self, folder):
        _run(_study(folder, grid=30))
        assert (folder / "out" / "napari-kmeans-region-shares.csv").exists()
        _run(_study(folder, outputs="labels"))
        names = {path.name for path in (folder / "out").glob("napari-kmeans-*")}
        assert "napari-kmeans-region-shares.csv" not in names
        assert "napari-kmeans-report.html" not in names

    def test_odd_names_and_images_end_no_run(self, folder):
        brackets = folder / "exp[1]"
        brackets.mkdir()
        (folder / "raw").rename(brackets / "raw")
        tifffile.imwrite(brackets / "raw" / "z.tif", np.ones((40, 50), np.complex64))
        (brackets / "s.csv").write_text("image;id;code\nc_0;12345678901234567;007\nc_1;;NA\n")
        study = _study(brackets, images="raw/*.*", metadata_file="s.csv")
        result = _run(study)
        assert list(result.failures) == ["z"]
        rows = result.table.drop_duplicates("image").set_index("image")
        assert (rows.loc["c_0", "id"], rows.loc["c_0", "code"]) == (12345678901234567, "007")
        assert rows.loc["c_1", "code"] == "NA"


class TestFailures:
    def test_a_damaged_image_is_listed_and_the_others_are_done(self, folder):
        (folder / "raw" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n123")
        result = _run(_study(folder))
        assert list(result.failures) == ["b"]
        assert result.failures["b"].startswith(f"cannot read {folder / 'raw' / 'b.png'}: ")
        assert result.table["image"].nunique() == 6
        entries = {each["name"]: each for each in result.record["images"]}
        assert (entries["b"]["status"], entries["c_0"]["status"]) == ("failed", "done")

    def test_an_image_of_another_kind_fails_instead_of_counting(self, folder):
        deep = iio.imread(folder / "raw" / "c_0.png").astype(np.uint16) * 257
        tifffile.imwrite(folder / "raw" / "deep.tif", deep, photometric="rgb")
        for n_earlier in (0, 6):
            result = _run(_study(folder))
            assert list(result.failures) == ["deep"]
            assert "it must have the dtype of" in result.failures["deep"]
            assert (result.n_earlier, result.table["image"].nunique()) == (n_earlier, 6)

    def test_regions_of_another_shape_fail_alone(self, folder):
        (folder / "regions").mkdir()
        for stem in _images(folder):
            side = 49 if stem == "t_1" else 50
            tifffile.imwrite(folder / "regions" / f"{stem}.tif", np.ones((40, side), np.uint8))
        result = _run(_study(folder, regions="regions"))
        assert list(result.failures) == ["t_1"]
        assert "have the shape (40, 49), and the image has (40, 50)" in result.failures["t_1"]

    @on_posix
    def test_a_file_that_cannot_be_written_is_named(self, folder):
        import resource

        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        noise = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)
        iio.imwrite(folder / "raw" / "n.png", noise)
        _run(_study(folder, images="raw/n.png", output="warm"))
        # As on a disk that is nearly full.
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
        try:
            result = _run(_study(folder, images="raw/n.png"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        path = folder / "out" / "n-labels.tif"
        assert result.failures == {"n": f"cannot write {path}: File too large"}

    def test_a_run_that_does_no_image_keeps_the_results_of_the_earlier_one(
        self, folder, monkeypatch
    ):
        _run(_study(folder))
        out = folder / "out"
        before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}

        def refuse(*arguments, **settings):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out / "c_0-labels.tif"))

        monkeypatch.setattr(image_step, "write_results", refuse)
        for entries in ({"fit": {"n_clusters": 3}}, {"each": True}):
            sentences = []
            with notices_to(sentences.append):
                result = run_study(_study(folder, **entries))
            assert len(result.failures) == 6
            assert not len(result.table)
            assert sentences[-1].startswith("no image is done, so the tables")
            after = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
            assert after == before

    def test_an_image_with_results_is_done_although_the_next_run_does_not_know_it(
        self, folder, monkeypatch
    ):
        def refuse(*arguments):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        _run(_study(folder))
        with monkeypatch.context() as patch:
            patch.setattr(parts, "write_whole", refuse)
            result = _run(_study(folder, fit={"n_clusters": 3}))
        assert not result.failures
        assert {*_labels(folder, "c_0").ravel()} == {1, 2, 3}
        assert {*result.table["class"]} == {1, 2, 3}
        # The small pictures of the earlier run are not in the report.
        assert not list((folder / "out" / parts.PARTS).glob("c_0*"))
        assert _run(_study(folder, fit={"n_clusters": 3})).n_earlier == 0

    def test_a_model_that_cannot_be_written_leaves_the_record_of_the_earlier_run(
        self, folder, monkeypatch
    ):
        _run(_study(folder))
        record = folder / "out" / RECORD_FILE
        before = record.read_bytes()

        def refuse(*arguments):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(KMeansModel, "save", refuse)
        with pytest.raises(OSError, match="No space left"):
            _run(_study(folder, fit={"n_clusters": 3}))
        assert record.read_bytes() == before

    @pytest.mark.parametrize(
        ("entries", "sentence"),
        [
            ({"images": "nothing"}, "a model must be fitted to images"),
            ({"model": "none.json", "fit": None}, "none.json cannot be read"),
            ({"classes": {9: "far"}}, "classes: "),
        ],
    )
    def test_a_study_that_cannot_run_says_why(self, folder, entries, sentence):
        with pytest.raises(StudyError, match=sentence):
            _run(_study(folder, **entries))


class TestEntries:
    def test_a_model_of_some_images_is_applied_to_the_rest(self, folder):
        _run(_study(folder, fit_on=["raw/c_0.png", "raw/t_0.png"]))
        images = _images(folder)
        model = segment([images["c_0"], images["t_0"]], 2, rgb=True).model
        for stem, image in images.items():
            np.testing.assert_array_equal(_labels(folder, stem), model.predict(image))

    def test_each_image_has_its_own_model(self, folder):
        result = _run(_study(folder, each=True, classes={2: "bright"}))
        for stem, image in _images(folder).items():
            seg = segment(image, 2, rgb=True)
            np.testing.assert_array_equal(_labels(folder, stem), seg.labels)
            saved = KMeansModel.load(folder / "out" / f"{stem}-model.json")
            np.testing.assert_array_equal(saved.cluster_centers_, seg.model.cluster_centers_)
        assert set(result.table["name"]) == {"", "bright"}
        assert not (folder / "out" / "napari-kmeans-model.json").exists()

    def test_regions_grids_values_and_masks(self, folder):
        for name in ("regions", "values", "masks"):
            (folder / name).mkdir()
        rng = np.random.default_rng(0)
        data = {}
        for stem in _images(folder):
            regions = np.repeat([[0], [3]], 20, 0).repeat(50, 1).astype(np.uint16)
            value = rng.random((40, 50)).astype(np.float32)
            mask = rng.integers(0, 2, (40, 50)).astype(np.uint8)
            data[stem] = regions, value, mask
            tifffile.imwrite(folder / "regions" / f"{stem}-regions.tif", regions)
            tifffile.imwrite(folder / "values" / f"{stem}.tif", value)
            iio.imwrite(folder / "masks" / f"{stem}.png", mask * 255)
        study = _study(folder, regions="regions", values={"ki67": "values"}, mask="masks")
        result = _run(study)
        assert result.failures == {}
        table = result.table
        images = _images(folder)
        for (stem, label), rows in table.groupby(["image", "class"]):
            regions, value, mask = data[stem]
            dark = images[stem][..., 0] < 150
            inside = (regions == 3) & (mask > 0) & (dark == (label == 1))
            assert rows["region"].tolist() == ["3"]
            assert rows["pixels"].tolist() == [inside.sum()]
            np.testing.assert_allclose(rows["mean ki67"], value[inside].mean(), 1e-5)
            np.testing.assert_allclose(rows["median red"], np.median(images[stem][inside, 0]))
        grid = _run(_study(folder, grid=20, output="grid")).table
        assert grid["region"].nunique() == 2 * 3

    def test_names_and_a_csv_file_give_columns(self, folder):
        lines = ["image,age,group", "c_0,33,x", "c_1.png,44,y", "t_0,,y", "zzz.tif,9,x"]
        (folder / "s.csv").write_text("\n".join(lines))
        sentences: list[str] = []
        study = _study(folder, metadata="{arm}_{number}.png", metadata_file="s.csv")
        with notices_to(sentences.append):
            table = run_study(study).table
        assert list(table.columns[:5]) == ["image", "group", "arm", "number", "age"]
        rows = table.drop_duplicates("image").set_index("image")
        assert rows.loc["c_1", ["group", "arm", "number", "age"]].tolist() == ["y", "c", "1", 44]
        assert rows.loc[["t_0", "t_1"], "age"].isna().all()
        assert sentences == [
            "c_2, t_1 and t_2 have no row in the metadata file: its columns are empty there",
            "zzz.tif of s.csv is no image of this study",
            "c_2, t_1 and t_2 are in no group and not compared",
        ]

    @pytest.mark.parametrize(
        ("lines", "sentence"),
        [
            ("image,treatment\n{},a\n", "its column is treatment"),
            ("image,pixel_size,dose,Group\n{},1,2,x\n", "its columns are pixel_size, dose, Group"),
        ],
    )
    def test_a_file_without_a_column_group_is_said_to_compare_none(self, folder, lines, sentence):
        header, row = lines.split("\n")[:2]
        names = [path.stem for path in (folder / "raw").iterdir()]
        (folder / "plants.csv").write_text("\n".join([header, *map(row.format, names)]))
        sentences: list[str] = []
        study = _study(folder, metadata_file="plants.csv", outputs=["labels"])
        with notices_to(sentences.append):
            record = run_study(study).record
        expected = f"no column group in plants.csv: groups are not compared; {sentence}"
        assert sentences == record["warnings"] == [expected]
        # The study has groups of its own, or the file has only pixel sizes.
        sentences.clear()
        with notices_to(sentences.append):
            groups = {"c": ["raw/c*"], "t": ["raw/t*"]}
            run_study(replace(study, images=(), groups=groups), folder / "groups")
            (folder / "plants.csv").write_text(
                "image,pixel_size\n" + "".join(f"{name},1\n" for name in names)
            )
            run_study(study, folder / "sizes")
        assert sentences == []

    def test_images_in_no_group_are_named(self, folder):
        rows = ["image,group", "c_0,x", "c_1,", *(f"{name},y" for name in ("c_2", "t_0", "t_1"))]
        (folder / "s.csv").write_text("\n".join([*rows, "t_2,x"]))
        sentences: list[str] = []
        with notices_to(sentences.append):
            record = run_study(_study(folder, metadata_file="s.csv", outputs=["labels"])).record
        assert sentences == record["warnings"] == ["c_1 is in no group and not compared"]

    @pytest.mark.parametrize(
        ("pattern", "fields"),
        [
            ("{group}_{number}", ["c", "1"]),
            ("{group}_{number}.png", ["c", "1"]),
            ("{group}_{number}.{ending}", ["c", "1", "png"]),
            ("{place}/{group}_{number}", ["c", "raw", "1"]),
            ("{place}/{group}_{number}.png", ["c", "raw", "1"]),
        ],
    )
    def test_a_pattern_may_leave_out_the_suffix(self, folder, pattern, fields):
        sentences: list[str] = []
        with notices_to(sentences.append):
            table = run_study(_study(folder, metadata=pattern, outputs=["labels"])).table
        own = table[table["image"] == "c_1"].iloc[0]
        assert own.iloc[1 : 1 + len(fields)].tolist() == fields
        assert sentences == []

    def test_a_pattern_without_a_group_is_said_to_compare_none(self, folder):
        sentences: list[str] = []
        with notices_to(sentences.append):
            run_study(_study(folder, metadata="{arm}_{number}", outputs=["labels"]))
        assert sentences == [
            "the pattern {arm}_{number} has no field {group}, so that the report compares no "
            "groups: write {group} where a name has its group"
        ]

    @pytest.mark.parametrize(
        ("entries", "sentence"),
        [
            ({"metadata": "{a}{b}.png"}, "metadata: pattern must have text between"),
            ({"metadata": "{region}_{b}.png"}, "metadata must not have the name of a column"),
            ({"metadata_file": "none.csv"}, "none.csv cannot be read"),
            ({"regions": "nowhere"}, "regions must be in a folder with a file for each image"),
            ({"values": {"ki67": "nowhere"}}, "ki67 must be in a folder with a file for each"),
            ({"metadata_file": "twice.csv"}, "several for c_0"),
            ({"metadata_file": "alias.csv"}, "got c_0 and c_0.png"),
            ({"metadata_file": "twice.csv", "metadata": "{age}_{b}.png"}, "several for"),
            ({"metadata_file": "once.csv", "metadata": "{age}_{b}.png"}, "got age in both"),
        ],
    )
    def test_metadata_that_cannot_be_used_say_why(self, folder, entries, sentence):
        for name, second in (("twice", "c_0"), ("alias", "c_0.png"), ("once", "c_1")):
            (folder / f"{name}.csv").write_text(f"image,age\nc_0,1\n{second},2\n")
        with pytest.raises(StudyError, match=sentence):
            _run(_study(folder, **entries))

    def test_slices_and_areas_of_a_stack(self, tmp_path):
        stack = np.stack([_image(10, 0)[..., 0], _image(30, 1)[..., 0], _image(20, 2)[..., 0]])
        settings = {"axes": "ZYX", "spacing": 2.0, "unit": "um"}
        tifffile.imwrite(
            tmp_path / "z.tif", stack, imagej=True, resolution=(2, 2), metadata=settings
        )
        study = _study(tmp_path, images="z.tif", slices=True)
        table = _run(study).table
        dark = table[table["class"] == 1]
        assert dark["slice"].tolist() == [0, 1, 2]
        assert dark["pixels"].tolist() == [400, 1200, 800]

    def test_files_of_the_user_stay(self, folder):
        (folder / "out").mkdir()
        (folder / "out" / "notes.txt").write_text("mine")
        before = {path: hash_file(path) for path in (folder / "raw").iterdir()}
        _run(_study(folder, output="out"))
        assert (folder / "out" / "notes.txt").read_text() == "mine"
        assert {path: hash_file(path) for path in (folder / "raw").iterdir()} == before

    def test_only_the_chosen_outputs_are_written(self, folder):
        _run(_study(folder, outputs="labels"))
        names = {path.name.split("-", 1)[1] for path in (folder / "out").glob("[ct]_*")}
        assert "labels.tif" in names
        assert "recolored.png" not in names


def test_shares_of_tiles_are_those_of_the_image(folder):
    plain, tiles = _run(_study(folder)), _run(_study(folder, grid=30, output="tiles"))
    pd.testing.assert_frame_equal(plain.shares, tiles.shares)
    written = pd.read_csv(folder / "tiles" / "napari-kmeans-region-shares.csv")
    assert len(written) == 6 * 2 * 2
    assert len(pd.read_csv(folder / "tiles" / "napari-kmeans-shares.csv")) == 6
    empty = _run(_study(folder, classes={1: {"ignored": True}}, grid=10, output="e")).table
    # In a tile of ignored pixels only, the share of the other class is not known.
    lost = empty[(empty["class"] == 2) & (empty["region"] == "row 0 column 0")]
    assert lost["percent"].isna().all()


def test_the_record_states_what_was_done(folder):
    result = _run(_study(folder))
    record = json.loads((folder / "out" / RECORD_FILE).read_text("utf-8"))
    assert record["status"] == "complete"
    assert record["versions"]["napari-kmeans"] == napari_kmeans.__version__
    entry = next(each for each in record["images"] if each["name"] == "c_0")
    assert entry["sha256"] == hash_file(folder / "raw" / "c_0.png")
    assert (entry["shape"], entry["dtype"]) == ([40, 50, 3], "uint8")
    assert record["options"]["n_clusters"] == 2
    assert set(result.record) == set(record)


class TestCluster:
    """With an active Client, the workers do the images."""

    @pytest.fixture
    def cluster(self):
        from distributed import Client, LocalCluster

        settings = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
        with LocalCluster(**settings, processes=True) as cluster, Client(cluster) as client:
            yield client

    def test_workers_give_the_results_of_threads(self, folder, cluster):
        zarr.create_array(folder / "raw" / "z.zarr", data=_image(20, 1), chunks=(20, 25, 3))
        study = _study(folder)
        result = _run(study)
        assert not result.failures
        with dask.config.set(scheduler="threads"):
            expected = _run(study, output="threads")
        pd.testing.assert_frame_equal(result.table, expected.table)
        hashes = [
            [entry["labels_sha256"] for entry in each.record["images"]]
            for each in (result, expected)
        ]
        assert hashes[0] == hashes[1]
        assert _run(study).n_earlier == 7


@pytest.mark.parametrize("name", ["shares.csv", "report.html", "methods.md", "run.json"])
def test_files_of_others_are_not_replaced(folder, name):
    path = folder / "out" / f"napari-kmeans-{name}"
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(StudyError, match=f"{path.name} in it is not of a study"):
        _run(_study(folder))
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert path.read_text() == "mine"


def test_labels_of_others_are_not_replaced(folder):
    path = folder / "out" / "c_1-labels.tif"
    path.parent.mkdir()
    path.write_text("mine")
    result = _run(_study(folder))
    assert list(result.failures) == ["c_1"]
    assert "c_1-labels.tif in it is no result of an earlier run" in result.failures["c_1"]
    assert path.read_text() == "mine"


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_lazy_image_is_painted_written_and_measured_in_one_pass(folder, dtype, monkeypatch):
    image = np.random.default_rng(0).integers(0, 99, (300, 280, 3)).astype(dtype)
    zarr.create_array(folder / "scan.zarr", data=image, chunks=(128, 128, 3))
    _run(_study(folder, images="scan.zarr", output="first"))
    reads: dict[str, int] = {}
    read = FileArray.__getitem__

    def count(array: FileArray, key: tuple[slice, ...]) -> np.ndarray:
        if array.shape == image.shape:
            reads[str(key)] = reads.get(str(key), 0) + 1
        return read(array, key)

    monkeypatch.setattr(FileArray, "__getitem__", count)
    # Small pictures are drawn from other pixels: every n-th of the image. How far the colors are
    # from the classes is measured in windows, which are all of this small image.
    monkeypatch.setattr(image_step, "draw_thumbnails", lambda *_: None)
    monkeypatch.setattr(KMeansModel, "far_share", lambda *_, **__: 0.0)
    model = "first/napari-kmeans-model.json"
    study = _study(folder, images="scan.zarr", fit=None, model=model, grid=100)
    table = _run(study).table.drop(columns=["file", "far_share"])
    assert set(reads.values()) == {1}
    labels = read_image(folder / "out" / "scan-labels.zarr").pixels.compute()
    seg = segment(image, 2)
    np.testing.assert_array_equal(labels, seg.labels)
    expected = measure(seg, image, names="scan", regions=grid_regions(labels.shape, 100))
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)


def test_files_of_one_name_need_rows_with_their_folders(folder):
    for group in ("control", "treated"):
        (folder / group).mkdir()
        iio.imwrite(folder / group / "p0.png", _image(20, 0))
    study = _study(folder, images=["control", "treated"], metadata_file="doses.csv")
    (folder / "doses.csv").write_text("image,dose\np0,1\n")
    with pytest.raises(StudyError, match="got p0 for 2 images: write the folder, too, such as con"):
        _run(study)
    (folder / "doses.csv").write_text("image,dose\ncontrol/p0.png,1\ntreated/p0,2\n")
    table = _run(study).table
    assert table.groupby("image")["dose"].first().to_dict() == {"p0": 1, "p0-2": 2}


def test_each_image_has_the_pixel_size_of_the_metadata_file(folder):
    lines = [
        "image,pixel_size,pixel_size_y,pixel_size_x,pixel_size_unit",
        "c_0,0.5,,,",
        "c_1,,2,3,nm",
    ]
    (folder / "s.csv").write_text("\n".join([*lines, "c_2,0.002,,,mm", "t_0,,,,"]))
    study = _study(folder, metadata_file="s.csv", spacing=7)
    result = _run(study)
    areas = result.table.groupby("image")["area"].sum()
    # 40 by 50 pixels. An image without a size in the file has that of the study.
    expected = {"c_0": 500.0, "c_1": 0.012, "c_2": 8000.0, "t_0": 2000 * 49.0, "t_1": 98000.0}
    assert {name: areas[name] for name in expected} == pytest.approx(expected)
    # A column with areas in nm², mm² and µm² would have no mean.
    assert set(result.table["unit"]) == {"µm²"}
    sizes = {each["name"]: each["pixel_size"]["unit"] for each in result.record["images"]}
    assert [sizes[name] for name in ("c_0", "c_1", "c_2")] == ["µm²", "nm²", "mm²"]
    # Only the image whose size has changed is done again.
    (folder / "s.csv").write_text(
        "\n".join([lines[0], "c_0,0.25,,,", *lines[2:], "c_2,0.002,,,mm"])
    )
    again = _run(study)
    assert again.n_earlier == 5
    assert again.table.groupby("image")["area"].sum()["c_0"] == pytest.approx(125)


def test_all_pixel_sizes_are_stated_in_the_unit_of_the_study(folder):
    lines = ["image,pixel_size,pixel_size_unit", "c_0,0.5,", "c_1,20,µm"]
    (folder / "s.csv").write_text("\n".join(lines), "utf-8")
    settings = {"axes": "YX", "PhysicalSizeX": 2.0, "PhysicalSizeY": 3.0}
    gray = np.arange(2000, dtype=np.uint8).reshape(40, 50)
    tifffile.imwrite(folder / "raw" / "c_9.ome.tif", gray, metadata=settings, ome=True)
    study = _study(folder, metadata_file="s.csv", unit="mm", each=True)
    result = _run(study)
    assert set(result.table["unit"].dropna()) == {"mm²"}
    areas = result.table.groupby("image")["area"].sum()
    # A size in the CSV file without a unit has that of the study, and others are converted.
    expected = {"c_0": 500.0, "c_1": 0.8, "c_9.ome": 2000 * 6e-6}
    assert {name: areas[name] for name in expected} == pytest.approx(expected)
    sizes = {each["name"]: each["pixel_size"] for each in result.record["images"]}
    assert sizes["c_0"] == {"value": 0.25, "unit": "mm²"}
    assert sizes["t_0"] is None
    # Another unit gives other areas: all images are done again.
    again = _run(replace(study, unit="cm"))
    assert again.n_earlier == 0
    assert set(again.table["unit"].dropna()) == {"cm²"}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("c_0,0,,", "pixel_size of c_0 must be a number above 0, got 0"),
        ("c_0,0.25,,\nc_1,abc,,", "pixel_size of c_1 must be a number above 0, got 'abc'"),
        ("c_0,0_5,,", "pixel_size of c_0 must be a number above 0, got '0_5'"),
        ("c_0,a,,", "pixel_size of c_0 must be a number above 0, got 'a'"),
        ("c_0,1,2,", "pixel_size of c_0 must go without pixel_size_x, got both"),
        ("c_0,1,,kg", "pixel_size_unit of c_0 must be a length such as µm.*, got 'kg'"),
        ("c_0,1,,in", "pixel_size_unit of c_0 must be a length such as µm.*not inches, got 'in'"),
    ],
)
def test_a_wrong_pixel_size_is_a_sentence(folder, row, sentence):
    (folder / "s.csv").write_text(f"image,pixel_size,pixel_size_x,pixel_size_unit\n{row}\n")
    with pytest.raises(StudyError, match=sentence):
        _run(_study(folder, metadata_file="s.csv"))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("image,name\nc_0,Ren\xe9\n".encode("latin-1"), "s.csv must be in UTF-8, got bytes of "),
        ("image,name\nc_0,x\n".encode("utf-16"), "another encoding: save it as CSV UTF-8"),
        (b"", "s.csv must have a column of images, got an empty file"),
        (b"\n\n", "s.csv must have a column of images, got an empty file"),
    ],
)
def test_a_metadata_file_without_readable_text_is_a_sentence(folder, data, sentence):
    (folder / "s.csv").write_bytes(data)
    with pytest.raises(StudyError, match=sentence) as caught:
        _run(_study(folder, metadata_file="s.csv"))
    assert "cannot be read" not in str(caught.value)
