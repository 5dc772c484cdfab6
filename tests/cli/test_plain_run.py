"""The record of a run with -o, and what `repeat` finds with it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from napari_kmeans import KMeansModel, Study, run_study, segment, split_anew
from napari_kmeans.batch import parts
from napari_kmeans.batch.result_files import LOCK_FILE
from napari_kmeans.batch.run_record import hash_labels
from napari_kmeans.cli import plain_run
from napari_kmeans.cli.main import main
from napari_kmeans.execution.notices import notices_to
from napari_kmeans.files.reading import read_image
from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.options import OPTIONS
from napari_kmeans.samples import SAMPLES

RECORD = "napari-kmeans-run.json"


def _image(seed: int) -> np.ndarray:
    image = np.full((30, 40, 3), (200, 180, 190))
    image[:, : 10 + seed] = (90, 40, 120)
    return (image + np.random.default_rng(seed).integers(-9, 10, image.shape)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    for seed, name in enumerate("abc"):
        iio.imwrite(tmp_path / f"{name}.png", _image(seed))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _record(folder: Path) -> dict:
    return json.loads((folder / "out" / RECORD).read_text("utf-8"))


def _repeat(capsys) -> tuple[int, list[str]]:
    capsys.readouterr()
    code = main(["repeat", str(Path("out", RECORD))])
    return code, capsys.readouterr().out.splitlines()


def test_a_record_states_the_files_the_options_and_the_results(folder, capsys):
    spacing = {"resolution": (2e4, 2e4), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(folder / "d.tif", _image(3), photometric="rgb", **spacing)
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert main(["a.png", "bad.png", "d.tif", "-k", "2", "--seed", "7", "-o", "out"]) == 1
    assert f"wrote {Path('out', RECORD)}\n" in capsys.readouterr().out
    record = _record(folder)
    assert record["status"] == "complete"
    assert not record["has_tables"]
    assert record["options"]["random_state"] == 7
    assert record["versions"]["numpy"] == np.__version__
    assert record["model"] == KMeansModel.load(folder / "out/napari-kmeans-model.json").to_dict()
    first, bad, last = record["images"]
    assert first["source"] == "a.png"
    assert first["sha256"] == hashlib.sha256((folder / "a.png").read_bytes()).hexdigest()
    assert first["shape"] == [30, 40, 3]
    assert first["dtype"] == "uint8"
    assert first["outputs"] == ["a-labels.tif", "a-recolored.png", "a-table.csv"]
    labels = tifffile.imread(folder / "out" / "a-labels.tif")
    assert first["labels_sha256"] == hash_labels(labels)
    assert last["pixel_size"] == {"value": 0.25, "unit": "µm²"}
    assert bad["status"] == "failed"
    assert bad["failure"].startswith("cannot read bad.png: ")
    assert bad["failure"] in record["warnings"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.png", "-k", "3", "--color-space", "lab", "--seed", "5"],
        ["a.png", "b.png", "c.png", "-k", "2"],
        ["a.png", "b.png", "--each", "-k", "2", "--smoothing", "1"],
        ["*.png", "-k", "2", "--export", "geojson"],
        ["--sample", "histology", "-k", "2"],
        ["a.png", "--model", "model.json"],
    ],
)
def test_a_run_is_repeated_with_identical_labels(folder, arguments, capsys, monkeypatch):
    if "--sample" in arguments:
        monkeypatch.setitem(SAMPLES, "histology", lambda: _image(1))
    if "--model" in arguments:
        assert main(["b.png", "-k", "3", "-o", "other"]) == 0
        (folder / "other" / "b-model.json").rename(folder / "model.json")
    assert main([*arguments, "-o", "out"]) == 0
    n_images = len(_record(folder)["images"])
    code, lines = _repeat(capsys)
    assert code == 0
    assert lines[-1].startswith(f"{n_images} of {n_images} image")
    # A study of the record is that of the flags: it has the same labels.
    with notices_to(lambda _: None):
        result = run_study(Study.from_dict(_record(folder)["study"], folder), "study")
    assert [each["labels_sha256"] for each in result.record["images"]] == [
        each["labels_sha256"] for each in _record(folder)["images"]
    ]


def test_a_run_that_does_no_image_keeps_the_results_of_the_earlier_one(folder, capsys, monkeypatch):
    assert main(["*.png", "-k", "2", "-o", "out"]) == 0
    before = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}

    def refuse(*arguments, **settings):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(plain_run, "write_results", refuse)
    assert main(["*.png", "-k", "3", "-o", "out"]) == 1
    assert "no image is done, so the results of the earlier run" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (folder / "out").iterdir()} == before


def test_a_file_that_has_changed_gives_other_labels(folder, capsys):
    assert main(["a.png", "-k", "2", "-o", "out"]) == 0
    iio.imwrite(folder / "a.png", _image(5))
    code, lines = _repeat(capsys)
    assert code == 1
    assert lines[0] == "a: other labels, because the file has changed"


def test_images_of_other_runs_keep_their_records(folder, capsys):
    assert main(["a.png", "-k", "2", "-o", "out"]) == 0
    assert main(["b.png", "-k", "3", "-o", "out"]) == 0
    assert main(["c.png", "-k", "4", "-o", "out"]) == 0
    record = _record(folder)
    runs = [record, *record["earlier"]]
    assert [[each["name"] for each in run["images"]] for run in runs] == [["c"], ["b"], ["a"]]
    assert [run["options"]["n_clusters"] for run in runs] == [4, 3, 2]
    assert not any("earlier" in run for run in record["earlier"])
    code, lines = _repeat(capsys)
    assert code == 0
    assert lines[-1] == "3 of 3 images with identical labels"
    # An image that is done again is in one record, and a result that was removed in none.
    (folder / "out" / "b-labels.tif").unlink()
    assert main(["a.png", "-k", "5", "-o", "out"]) == 0
    record = _record(folder)
    runs = [record, *record["earlier"]]
    assert [[each["name"] for each in run["images"]] for run in runs] == [["a"], ["c"]]


def test_a_record_states_the_options_of_the_fit_of_a_given_model(folder):
    """A model of a study has them. Other options have no part in a run that fits nothing."""
    arguments = ["-k", "2", "--seed", "7", "--smoothing", "0.5", "-o"]
    assert main(["run", "a.png", "b.png", *arguments, "study"]) == 0
    assert main(["a.png", "b.png", *arguments, "plain"]) == 0
    options = []
    for name in ("study", "plain"):
        assert main(["c.png", "--model", f"{name}/napari-kmeans-model.json", "-o", "out"]) == 0
        record = _record(folder)
        assert set(record["options"]).isdisjoint(record["options_not_used"])
        assert {*record["options"], *record["options_not_used"]} == set(OPTIONS)
        options.append(record["options"])
        (folder / "out" / "napari-kmeans-model.json").unlink(missing_ok=True)
    assert (options[0]["random_state"], options[0]["n_init"]) == (7, "auto")
    assert "random_state" not in options[1]
    assert "n_init" not in options[1]
    assert [each["n_clusters"] for each in options] == [2, 2]
    assert [each["smoothing"] for each in options] == [0.5, 0.5]


def test_a_run_that_does_nothing_leaves_the_record(folder):
    assert main(["a.png", "-k", "2", "-o", "out"]) == 0
    before = (folder / "out" / RECORD).read_bytes()
    (folder / "bad.png").write_bytes(b"no image")
    assert main(["bad.png", "-k", "2", "-o", "out"]) == 1
    assert (folder / "out" / RECORD).read_bytes() == before


def test_a_run_that_is_stopped_has_the_record_of_what_is_done(folder, monkeypatch):
    write = plain_run.write_results

    def stop_at_b(seg, directory, stem, *arguments, **settings):
        if stem == "b":
            raise KeyboardInterrupt
        return write(seg, directory, stem, *arguments, **settings)

    monkeypatch.setattr(plain_run, "write_results", stop_at_b)
    assert main(["a.png", "b.png", "c.png", "-k", "2", "-o", "out"]) == 130
    record = _record(folder)
    assert record["status"] == "interrupted"
    assert [each["status"] for each in record["images"]] == ["done", "not done", "not done"]


@pytest.mark.parametrize("fails", ["far_share", "hash"])
@pytest.mark.parametrize("is_shared", [False, True])
def test_an_image_that_cannot_be_read_again_keeps_its_results(
    folder, fails, is_shared, monkeypatch, capsys
):
    """As in a study, the other images are done."""
    gray = [_image(seed)[..., 0] for seed in range(3)]
    iio.imwrite(folder / "a.png", gray[0])
    zarr.save_array(folder / "b.zarr", gray[1])
    iio.imwrite(folder / "c.png", gray[2])
    assert main(["a.png", "-k", "2", "-o", "other"]) == 0
    capsys.readouterr()
    far_share, hash_file = KMeansModel.far_share, parts.hash_file

    def measure_or_fail(model, image, **settings):
        return fail() if is_dask(image) else far_share(model, image, **settings)

    def hash_or_fail(path):
        return fail() if path == Path("b.zarr") else hash_file(path)

    def fail():
        raise OSError(errno.EIO, "Input/output error")

    if fails == "far_share":
        monkeypatch.setattr(KMeansModel, "far_share", measure_or_fail)
    else:
        monkeypatch.setattr(parts, "hash_file", hash_or_fail)
    arguments = ["-k", "2"] if is_shared else ["--model", "other/a-model.json"]
    assert main(["b.zarr", "a.png", "c.png", *arguments, "-o", "out"]) == 1
    sentence = "cannot process b.zarr: Input/output error"
    assert f"napari-kmeans: {sentence}.\n" in capsys.readouterr().err
    images = {each["name"]: each for each in _record(folder)["images"]}
    assert {name: each["status"] for name, each in images.items()} == {
        "b": "failed",
        "a": "done",
        "c": "done",
    }
    assert images["b"]["failure"] == sentence
    # The results of the image are complete.
    model = KMeansModel.from_dict(_record(folder)["model"])
    labels = read_image(folder / "out" / "b-labels.zarr").pixels.compute()
    np.testing.assert_array_equal(labels, model.predict(gray[1]))
    assert (folder / "out" / "b-table.csv").exists()


def test_a_study_and_a_run_in_one_folder_keep_their_records(folder):
    assert main(["a.png", "-k", "2", "-o", "out"]) == 0
    assert main(["run", "b.png", "-k", "2", "-o", "out"]) == 0
    assert [each["name"] for each in _record(folder)["images"]] == ["b"]
    assert [each["name"] for each in _record(folder)["earlier"][0]["images"]] == ["a"]
    assert main(["c.png", "-k", "2", "-o", "out"]) == 0
    # The study is still known: it is continued, and another one is refused.
    assert main(["run", "a.png", "-k", "2", "-o", "out"]) == 1
    assert main(["run", "b.png", "-k", "2", "-o", "out"]) == 0
    record = _record(folder)
    assert record["has_tables"]
    runs = [record, *record["earlier"]]
    assert [[each["name"] for each in run["images"]] for run in runs] == [["b"], ["c"], ["a"]]


@pytest.mark.parametrize("command", [[], ["run"]])
def test_a_second_run_in_the_same_folder_is_refused(folder, capsys, monkeypatch, command):
    codes = []

    def write_both(run: plain_run.PlainRun) -> bool:
        codes.append(main([*command, "b.png", "-k", "2", "-o", "out"]))
        return write(run)

    write = plain_run.PlainRun.write
    monkeypatch.setattr(plain_run.PlainRun, "write", write_both)
    assert main(["a.png", "-k", "2", "-o", "out"]) == 0
    assert codes == [1]
    out = folder / "out" if command else "out"
    assert (
        f"napari-kmeans: output must be another folder, got {out}: another run is writing there."
    ) in capsys.readouterr().err.splitlines()
    assert not list(Path("out").glob("b*"))
    assert not Path("out", LOCK_FILE).exists()


@pytest.mark.skipif(os.name != "posix", reason="needs pipes")
def test_a_pipe_has_a_record_without_hash(folder):
    os.mkfifo(folder / "pipe.png")
    pixels = (folder / "a.png").read_bytes()
    writer = threading.Thread(target=(folder / "pipe.png").write_bytes, args=(pixels,))
    writer.start()
    assert main(["pipe.png", "-k", "2", "-o", "out"]) == 0
    writer.join()
    (entry,) = _record(folder)["images"]
    assert entry["sha256"] == ""
    assert entry["status"] == "done"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (RECORD, b"{}"),
        ("napari-kmeans-table.csv", b"my,table"),
        ("napari-kmeans-model.json", b"{}"),
        ("b-table.csv", b"my,table"),
        ("b-labels.tif", b"my labels"),
        ("b-recolored.png", b"my picture"),
        ("b-legend.png", b"my legend"),
    ],
)
def test_files_of_others_are_not_replaced(folder, name, content, capsys):
    (folder / "out").mkdir()
    (folder / "out" / name).write_bytes(content)
    assert main(["a.png", "b.png", "-k", "2", "--export", "legend", "-o", "out"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert name in line
    assert (folder / "out" / name).read_bytes() == content
    # Another image is written nevertheless.
    assert (folder / "out" / "a-labels.tif").exists() == name.startswith("b")


def test_the_tables_of_images_have_the_confidence_if_it_is_asked_for(folder):
    zarr.save_array(folder / "lazy.zarr", _image(5)[..., 0])
    for arguments in (["a.png", "b.png"], ["a.png"], ["lazy.zarr"]):
        options = ["-k", "2", "--smoothing", "1", "--confidence"]
        assert main([*arguments, *options, "-o", "out"]) == 0
        assert main(["run", *arguments, *options, "-o", "study"]) == 0
        measured = pd.read_csv(folder / "study" / "napari-kmeans-measurements.csv")
        for name in arguments:
            stem = Path(name).stem
            table = pd.read_csv(folder / "out" / f"{stem}-table.csv")
            expected = measured[measured["image"] == stem]["confidence"].tolist()
            assert table["confidence"].tolist() == pytest.approx(expected, abs=1e-6)
            is_lazy = (folder / "out" / f"{stem}-labels.zarr").is_dir()
            assert is_lazy == (stem == "lazy")
        shutil.rmtree(folder / "out")
        shutil.rmtree(folder / "study")


def test_confidence_needs_a_folder_for_its_table(folder, capsys):
    with pytest.raises(SystemExit):
        main(["a.png", "--confidence"])
    assert "--confidence must go with -o, the folder of its table" in capsys.readouterr().err


def test_no_confidence_of_a_model_whose_classes_were_split_anew(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    iio.imwrite("a.png", image)
    split_anew(image, segment(image, 3).model, 2).save("split.json")
    assert main(["a.png", "--model", "split.json", "--confidence", "-o", "out"]) == 1
    error = capsys.readouterr().err
    assert "--confidence needs a model whose classes were not split anew, got split.json" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [[], ["run"]])
def test_options_of_a_fit_are_refused_beside_a_model(command, folder, capsys):
    assert main(["a.png", "-k", "2", "-o", "out"]) == 0
    words = [*command, "b.png", "--model", "out/a-model.json", "--min-confidence", "0.2"]
    if command:
        assert main(words) == 1
    else:
        with pytest.raises(SystemExit):
            main(words)
    sentence = (
        "--model must go without --min-confidence, which is part of a model: leave it out, or fit "
        "a model with it"
    )
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--model", "out/a-model.json"], ["-k", "2"]])
def test_tables_of_several_images_have_their_own_means_and_areas(folder, capsys, arguments):
    spacing = {"resolution": (2e4, 2e4), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(folder / "d.tif", _image(3), photometric="rgb", **spacing)
    assert main(["a.png", "-k", "2", "-o", "out"]) == 0
    assert main(["b.png", "d.tif", *arguments, "-o", "new"]) == 0
    sentence = "b states no pixel size, so its areas are not in the tables; use --spacing"
    assert sentence in capsys.readouterr().err
    for name, seed in (("b", 1), ("d", 3)):
        image, table = _image(seed), pd.read_csv(folder / "new" / f"{name}-table.csv")
        labels = tifffile.imread(folder / "new" / f"{name}-labels.tif")
        expected = [image[labels == label].mean(axis=0) for label in (1, 2)]
        found = table[["mean red", "mean green", "mean blue"]]
        np.testing.assert_allclose(found, expected, rtol=1e-7)
        assert ("area" in table) == (name == "d")
    for name in "bd":
        assert (
            main([*map(str, Path().glob(f"{name}.*")), "--model", "out/a-model.json", "-o", name])
            == 0
        )
    assert "no pixel size" not in capsys.readouterr().err
