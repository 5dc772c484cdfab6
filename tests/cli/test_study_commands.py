"""The commands `run` and `repeat`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_kmeans import KMeansModel, Study, run_study
from napari_kmeans.batch import fitting, image_job
from napari_kmeans.cli import study_commands
from napari_kmeans.cli.main import main
from napari_kmeans.execution.notices import notices_to
from napari_kmeans.execution.threads import n_threads
from napari_kmeans.files.reading import read_image

OUT = "napari-kmeans-measurements.csv"


def _image(n_dark: int, seed: int) -> np.ndarray:
    image = np.full((40, 50, 3), (200, 180, 190))
    image[:, :n_dark] = (90, 40, 120)
    return (image + np.random.default_rng(seed).integers(-9, 10, image.shape)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    (tmp_path / "raw").mkdir()
    for number in range(2):
        iio.imwrite(tmp_path / "raw" / f"c_{number}.png", _image(10, number))
        iio.imwrite(tmp_path / "raw" / f"t_{number}.png", _image(30, 9 + number))
    (tmp_path / "study.yaml").write_text(
        "images: raw\nfit: {n_clusters: 2}\nclasses: {1: dark}\noutput: out\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_study_file_gives_what_python_gives(folder, capsys):
    assert main(["run", "study.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "4 images done",
        " label    mean     min     max  name",
        "     1   40.00   20.00   60.00  dark",
    ]
    assert f"wrote {folder / 'out' / OUT}" in lines
    with notices_to(lambda _: None):
        result = run_study(Study.load("study.yaml"), "python")
    written = [(folder / name / OUT).read_text() for name in ("out", "python")]
    assert written[0] == written[1]
    assert len(result.table) == len(pd.read_csv(folder / "out" / OUT))


def test_a_run_states_how_many_pixels_are_undecided(folder, capsys):
    def run(*arguments):
        assert main(["run", "-k", "2", "-o", "out", "--again", *arguments]) == 0
        found = [line for line in capsys.readouterr().out.splitlines() if "undecided" in line]
        table = pd.read_csv(folder / "out" / OUT)
        return found, table

    for number, path in enumerate(sorted((folder / "raw").iterdir())):
        noise = np.random.default_rng(number).integers(0, 100 + 50 * number, (20, 30, 3))
        iio.imwrite(path, noise.astype(np.uint8))
    assert run("raw")[0] == []
    (line,), table = run("raw", "--min-confidence", "0.4")
    sums = table.groupby("image")[["pixels", "undecided"]].sum()
    shares = 100 * sums["undecided"] / sums.sum(axis=1)
    assert 0 < shares.mean() < shares.max()
    expected = (
        f"on average {shares.mean():.2f} % of an image, at most {shares.max():.2f} % "
        f"({shares.idxmax()})"
    )
    assert line == f"undecided pixels: {expected}; the shares are of the decided pixels"
    methods = (folder / "out" / "napari-kmeans-methods.md").read_text("utf-8")
    assert f"The undecided pixels were {expected}.".replace("_", "\\_") in methods
    report = (folder / "out" / "napari-kmeans-report.html").read_text("utf-8")
    assert f"Undecided pixels: {expected}. They do not count in shares." in report
    # Images with models of their own have undecided pixels, too.
    assert len(run("raw", "--min-confidence", "0.9", "--each")[0]) == 1


def test_images_of_other_colors_are_marked(folder, capsys):
    for number, path in enumerate(sorted((folder / "raw").iterdir())):
        noise = np.random.default_rng(number).normal(0, 2, (40, 50, 3))
        iio.imwrite(path, np.clip(_image(10, number) + noise, 0, 255).astype(np.uint8))
    assert main(["run", "study.yaml"]) == 0
    other = np.zeros((40, 50, 3), np.uint8)
    other[:20, :, 1], other[20:, :, 2] = 255, 255
    iio.imwrite(folder / "raw" / "other.png", other)
    capsys.readouterr()
    model = KMeansModel.load("out/napari-kmeans-model.json")
    share = model.far_share(other)
    assert share == 0.5
    assert main(["run", "raw", "--model", "out/napari-kmeans-model.json", "-o", "applied"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[1] == (
        "1 image has colors far from the classes (other): the classes may mean something else there"
    )
    (line,) = [line for line in printed.err.splitlines() if "other.png" in line]
    assert line.startswith(f"napari-kmeans: {100 * share:.0f} % of the pixels of ")
    assert "other.png are farther from their class than this class is from the next one" in line
    table = pd.read_csv(folder / "applied" / OUT, keep_default_na=False)
    problems = table.groupby("image")["problem"].first().to_dict()
    assert problems.pop("other") == "colors far from the classes"
    assert set(problems.values()) == {""}
    record = json.loads((folder / "applied" / "napari-kmeans-run.json").read_text("utf-8"))
    shares = {each["name"]: each["far_share"] for each in record["images"]}
    assert shares.pop("other") == share
    assert max(shares.values()) < 0.1
    # The tables have the numbers behind the marks.
    shares["other"] = share
    for name in (OUT, "napari-kmeans-shares.csv"):
        table = pd.read_csv(folder / "applied" / name)
        by_image = table.groupby("image")["far_share"]
        assert (by_image.nunique() == 1).all()
        assert by_image.first().to_dict() == pytest.approx(shares)
    methods = (folder / "applied" / "napari-kmeans-methods.md").read_text("utf-8")
    assert "In 1 image, at least 40 % of the pixels were farther from their class than" in methods
    # The same with the results of single images.
    assert main(["raw", "--model", "out/napari-kmeans-model.json", "-o", "plain"]) == 0
    assert "1 image has colors far from the classes (other)" in capsys.readouterr().out
    record = json.loads((folder / "plain" / "napari-kmeans-run.json").read_text("utf-8"))
    assert {each["name"]: each["far_share"] for each in record["images"]} == shares


def test_the_far_share_of_images_is_known_for_the_model_of_several(folder):
    """Both commands measure it, also in images of the fit, but not for models of single images."""
    wide = _image(10, 5).astype(np.uint16) * 257
    tifffile.imwrite(folder / "wide.tif", wide, photometric="rgb")
    for command, out in ((["run"], "study"), ([], "plain")):
        assert main([*command, "raw", "-k", "2", "-o", out]) == 0
        record = json.loads((folder / out / "napari-kmeans-run.json").read_text("utf-8"))
        model = KMeansModel.from_dict(record["model"])
        for each in record["images"]:
            image = iio.imread(folder / "raw" / f"{each['name']}.png")
            assert each["far_share"] == model.far_share(image)
    # Of an image in other units, it has no meaning.
    model = "study/napari-kmeans-model.json"
    assert main(["run", "raw", "wide.tif", "--model", model, "-o", "applied"]) == 0
    table = pd.read_csv(folder / "applied" / "napari-kmeans-shares.csv", index_col="image")
    assert table.index[table["far_share"].isna()].tolist() == ["wide"]
    assert list(table)[:4] == ["file", "problem", "far_share", "1"]
    assert main(["run", "raw", "-k", "2", "--each", "-o", "each"]) == 0
    assert "far_share" not in pd.read_csv(folder / "each" / "napari-kmeans-shares.csv")


def test_images_in_other_units_are_marked(folder, capsys):
    assert main(["run", "study.yaml"]) == 0
    wide = _image(10, 5).astype(np.uint16) * 257
    tifffile.imwrite(folder / "raw" / "wide.tif", wide, photometric="rgb")
    capsys.readouterr()
    arguments = ["run", "raw", "--model", "out/napari-kmeans-model.json", "-o", "applied"]
    # An image of another number range may be wanted: it is done.
    assert main(arguments) == 0
    sentence = (
        "1 image has other units than the model (wide): the shares, and means with them, may be "
        "wrong"
    )
    assert capsys.readouterr().out.splitlines()[:2] == ["5 images done", sentence]
    for name in (OUT, "napari-kmeans-shares.csv"):
        table = pd.read_csv(folder / "applied" / name, keep_default_na=False)
        problems = table.groupby("image")["problem"].first().to_dict()
        assert problems.pop("wide") == "other units than the model"
        assert set(problems.values()) == {""}
        # Only tables with a problem have the column.
        assert "problem" not in pd.read_csv(folder / "out" / name)
    report = (folder / "applied" / "napari-kmeans-report.html").read_text("utf-8")
    assert f'<p class="alert">{sentence}.</p>' in report
    # An earlier run has done the image.
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[1] == sentence


def test_an_image_whose_mask_leaves_out_all_is_named(folder, capsys):
    (folder / "masks").mkdir()
    for path in (folder / "raw").iterdir():
        mask = np.full((40, 50), path.stem != "c_1", np.uint8)
        iio.imwrite(folder / "masks" / path.name, mask)
    sentence = "1 image has no counted pixel (c_1): there are no shares, which means leave out"
    message = f"napari-kmeans: {Path('raw', 'c_1.png')}: no pixel is counted, so that there are"
    arguments = ["--mask", "masks", "-k", "2", "-o"]
    for command, out in ((["run", "raw"], "out"), (["raw"], "plain")):
        assert main([*command, *arguments, out]) == 0
        printed = capsys.readouterr()
        assert sentence in printed.out.splitlines()
        assert message.replace("raw", f"{folder / 'raw'}" if out == "out" else "raw") in printed.err
        record = json.loads((folder / out / "napari-kmeans-run.json").read_text("utf-8"))
        entries = {each["name"]: each for each in record["images"]}
        assert entries["c_1"]["problems"] == ["no counted pixel"]
        assert "no pixel is counted" in entries["c_1"]["warnings"][0]
        assert entries["c_0"]["problems"] == entries["c_0"]["warnings"] == []
    shares = pd.read_csv(folder / "out" / "napari-kmeans-shares.csv", index_col="image")
    assert shares.loc["c_1", "problem"] == "no counted pixel"
    assert shares.loc["c_1", ["1", "2"]].isna().all()
    methods = (folder / "out" / "napari-kmeans-methods.md").read_text("utf-8")
    assert "1 image had no counted pixel and no shares." in methods
    report = (folder / "out" / "napari-kmeans-report.html").read_text("utf-8")
    assert f'<p class="alert">{sentence}.</p>' in report


def test_flags_give_the_same_study_as_a_file(folder):
    arguments = ["run", "raw", "-k", "2", "--class", "1=dark", "-o", "flags"]
    arguments += ["--group", "a=raw/c_*", "--group", "b=raw/t_0.png", "--group", "b=raw/t_1.png"]
    assert main([*arguments, "--save-study", "saved.yaml"]) == 0
    assert not (folder / "flags").exists()
    assert main(arguments) == 0
    assert main(["run", "saved.yaml", "-o", "again"]) == 0
    assert (folder / "flags" / OUT).read_text() == (folder / "again" / OUT).read_text()
    table = pd.read_csv(folder / "flags" / OUT)
    assert table.groupby("group")["image"].nunique().to_dict() == {"a": 2, "b": 2}


def test_flags_take_the_place_of_entries(folder):
    arguments = ["run", "study.yaml", "raw/c_0.png", "-k", "3", "--ignore", "3", "-o", "b"]
    assert main([*arguments, "--outputs", "labels"]) == 0
    table = pd.read_csv(folder / "b" / OUT)
    assert table["image"].tolist() == ["c_0"] * 3
    assert table["ignored"].tolist() == [False, False, True]
    assert table["name"].fillna("").tolist() == ["dark", "", ""]
    model = str(folder / "b" / "napari-kmeans-model.json")
    assert main(["run", "study.yaml", "--model", model, "-o", "c"]) == 0
    assert pd.read_csv(folder / "c" / OUT)["class"].nunique() == 3


def test_classes_can_be_ignored_and_merged_by_their_names(folder, capsys):
    arguments = ["run", "study.yaml", "--class", "2=pale paper", "--outputs", "labels"]
    assert main([*arguments, "--ignore", "pale paper", "-o", "a"]) == 0
    table = pd.read_csv(folder / "a" / OUT).drop_duplicates("class")
    assert dict(zip(table["name"], table["ignored"], strict=True)) == {
        "dark": False,
        "pale paper": True,
    }
    model = ["--model", str(folder / "a" / "napari-kmeans-model.json")]
    arguments = ["run", "raw", *model, "--outputs", "labels"]
    assert main([*arguments, "--ignore", "dark", "-o", "b"]) == 0
    assert pd.read_csv(folder / "b" / OUT)["ignored"].all()
    assert main([*arguments, "--merge", "dark,2", "-o", "c"]) == 0
    assert pd.read_csv(folder / "c" / OUT)["class"].unique().tolist() == [1]
    capsys.readouterr()
    assert main([*arguments, "--ignore", "paper", "-o", "d"]) == 1
    assert capsys.readouterr().err == (
        "napari-kmeans: --ignore must be labels or names of classes with commas between them, "
        "got 'paper': give its number, or name it with --class.\n"
    )


def test_the_folder_of_a_saved_study_is_made(folder, capsys):
    place = folder / "new" / "sub" / "s.yaml"
    assert main(["run", "raw", "-k", "2", "-o", "a", "--save-study", str(place)]) == 0
    assert len(Study.load(place).images) == 1
    (folder / "file").touch()
    capsys.readouterr()
    assert main(["run", "raw", "-o", "a", "--save-study", str(folder / "file" / "s.yaml")]) == 1
    assert capsys.readouterr().err == (
        f"napari-kmeans: cannot run: {folder / 'file'}: Not a directory.\n"
    )


def test_classes_of_own_models_have_no_mean(folder, capsys):
    assert main(["run", "raw", "-k", "2", "--each", "-o", "own"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "4 images done",
        "each image has classes of its own, so that their shares have no mean",
        f"wrote files of 4 images to {folder / 'own'}",
    ]


def test_a_folder_that_is_not_there_has_one_sentence(folder, capsys):
    assert main(["run", "nothing", "-o", "a"]) == 1
    assert capsys.readouterr().err == (
        f"napari-kmeans: cannot read {folder / 'nothing'}: there is no such file or folder.\n"
    )


def test_wrong_paths_are_named_where_no_image_is_left(folder, capsys):
    names = [str(folder / f"{name}.tif") for name in "abcd"]
    assert main(["run", *names, "-o", "a"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "napari-kmeans: a model must be fitted to images, got none of 4: correct "
        f"{', '.join(names[:3])} and 1 more."
    )


def test_a_log_states_the_progress(folder, capsys, monkeypatch):
    monkeypatch.setattr(study_commands, "SECONDS_BETWEEN_LINES", -1)
    assert main(["run", "study.yaml"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert "napari-kmeans: 4 of 4 images read for the fit." in lines
    assert "napari-kmeans: 4 of 4 images done." in lines


@pytest.mark.parametrize(
    "arguments", [["run", "study.yaml"], ["repeat", "out"], ["raw", "-k", "2", "-o", "b"]]
)
def test_jobs_is_the_number_of_threads(folder, arguments, monkeypatch, capsys):
    if arguments[0] == "repeat":
        assert main(["run", "study.yaml"]) == 0
    counts = []
    read = image_job.read_picture_or_raise

    def count(*of_image):
        counts.append(n_threads())
        return read(*of_image)

    monkeypatch.setattr(fitting, "read_picture_or_raise", count)
    assert main([*arguments, "--jobs", "1"]) == 0
    assert set(counts) == {1}
    with pytest.raises(SystemExit):
        main([*arguments, "--jobs", "0"])
    assert "--jobs must be a whole number of at least 1, got '0'" in capsys.readouterr().err


def test_a_run_is_repeated_with_identical_labels(folder, capsys):
    assert main(["run", "study.yaml", "--grid", "20"]) == 0
    capsys.readouterr()
    assert main(["repeat", "out"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "4 of 4 images with identical labels"
    iio.imwrite(folder / "raw" / "c_0.png", _image(20, 0))
    assert main(["repeat", str(folder / "out" / "napari-kmeans-run.json"), "-o", "new"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "c_0: other labels, because the file has changed"
    assert read_image(folder / "new" / "c_0-labels.tif").pixels.shape == (40, 50)
    before = json.loads((folder / "out" / "napari-kmeans-run.json").read_text("utf-8"))
    assert before["status"] == "complete"


def test_the_results_of_a_study_stay_together(folder, capsys):
    """Neither some of its images nor a run without tables get another model in its folder."""
    assert main(["run", "study.yaml"]) == 0
    before = {path.name: path.read_bytes() for path in (folder / "out").iterdir() if path.is_file()}
    capsys.readouterr()
    assert main(["run", "raw/c_0.png", "-k", "2", "-o", "out"]) == 1
    sentence = "it has the study of 3 images that this one does not have (c_1, t_0 and t_1)."
    assert sentence in capsys.readouterr().err
    assert main(["raw", "-k", "2", "-o", "out"]) == 1
    assert (
        "it holds a study of these images, whose tables would be wrong" in capsys.readouterr().err
    )
    after = {path.name: path.read_bytes() for path in (folder / "out").iterdir() if path.is_file()}
    assert after == before
    # Another spelling of the paths is the same study, and a deleted image may leave it.
    (folder / "raw" / "t_1.png").unlink()
    (folder / "link").symlink_to(folder / "raw")
    assert main(["run", "link", "-k", "2", "-o", "out"]) == 0


def test_files_of_images_that_left_a_study_are_named(folder, capsys):
    assert main(["run", "study.yaml", "--outputs", "labels,report"]) == 0
    (folder / "raw" / "t_1.png").unlink()
    (folder / "raw" / "c_1.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    sentence = (
        f"4 files of an earlier run in {folder / 'out'} are of no image that is done now "
        "(c_1 and t_1): the record lists them"
    )
    # Also the runs after the next one, and without the hidden folder.
    for _ in range(2):
        capsys.readouterr()
        assert main(["run", "study.yaml", "--outputs", "labels,report"]) == 1
        assert f"napari-kmeans: {sentence}." in capsys.readouterr().err.splitlines()
        record = json.loads((folder / "out" / "napari-kmeans-run.json").read_text("utf-8"))
        assert record["warnings"][-1] == sentence
        assert record["files_of_other_images"] == {
            name: [f"{name}-labels.tif", f"{name}-table.csv"] for name in ("c_1", "t_1")
        }
        shutil.rmtree(folder / "out" / ".napari-kmeans-parts")
    assert sentence in (folder / "out" / "napari-kmeans-report.html").read_text("utf-8")


def test_images_of_a_run_that_was_killed_stay_in_its_study(folder, capsys):
    """Its record was written before the first image, and the tables are of the run before."""
    assert main(["run", "study.yaml"]) == 0
    place = folder / "out" / "napari-kmeans-run.json"
    record = json.loads(place.read_text("utf-8"))
    for each in record["images"]:
        each |= {"status": "not done", "outputs": []}
    place.write_text(json.dumps({**record, "status": "interrupted"}), "utf-8")
    capsys.readouterr()
    assert main(["run", "raw/c_0.png", "-k", "2", "-o", "out"]) == 1
    assert "it has the study of 3 images that this one does not have" in capsys.readouterr().err


def test_repeat_compares_the_files_of_the_labels(folder, capsys):
    assert main(["run", "study.yaml"]) == 0
    out = folder / "out"
    (out / "c_0-labels.tif").write_bytes((out / "t_1-labels.tif").read_bytes())
    (out / "t_0-labels.tif").unlink()
    (out / "t_1-labels.tif").write_bytes(b"II*\0")
    capsys.readouterr()
    assert main(["repeat", "out"]) == 1
    start = "the run has identical labels, but the file"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"c_0: {start} c_0-labels.tif has been changed"
    assert lines[1] == "c_1: identical labels"
    assert lines[2] == f"t_0: {start} t_0-labels.tif is missing"
    assert lines[3].startswith(f"t_1: {start} cannot be read: ")
    assert lines[4] == "1 of 4 images with identical labels"


def test_a_record_without_its_results_is_repeated_by_checksums(folder, capsys, tmp_path):
    assert main(["run", "study.yaml"]) == 0
    alone = tmp_path / "napari-kmeans-run.json"
    alone.write_bytes((folder / "out" / alone.name).read_bytes())
    capsys.readouterr()
    assert main(["repeat", str(alone)]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "4 of 4 images with identical labels"
    assert printed.err == (
        f"napari-kmeans: no labels of the run are in {tmp_path}: only checksums were compared.\n"
    )


def test_repeat_does_not_pass_a_run_that_was_interrupted(folder, capsys):
    assert main(["run", "study.yaml"]) == 0
    path = folder / "out" / "napari-kmeans-run.json"
    record = json.loads(path.read_text("utf-8"))
    record["status"] = "interrupted"
    record["images"][3] |= {"status": "not done", "outputs": []}
    path.write_text(json.dumps(record), "utf-8")
    capsys.readouterr()
    assert main(["repeat", "out"]) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "3 of 3 images with identical labels"
    assert printed.err == (
        "napari-kmeans: the recorded run was interrupted: 1 of 4 images were not done; run the "
        "same command again to finish it.\n"
    )


def test_failures_are_printed_and_end_with_code_1(folder, capsys):
    (folder / "raw" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n123")
    assert main(["run", "study.yaml"]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("4 images done, 1 failed\n")
    bad = Path("raw", "bad.png")
    assert str(bad) in printed.err
    (line,) = printed.err.splitlines()
    assert line.startswith("napari-kmeans: cannot read ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run"], "images must name an image, got none: write images or groups."),
        (["run", "none.yaml"], "none.yaml cannot be read: No such file or directory."),
        (["run", "study.yaml", "-k", "0"], "n_clusters must be"),
        (["run", "study.yaml", "study.yaml"], "one study file can be run at a time"),
        (["repeat", "raw"], "cannot repeat: "),
        (["repeat", "study.yaml"], "cannot repeat: study.yaml is no record of a run."),
    ],
)
def test_a_command_that_cannot_run_says_why(folder, capsys, arguments, sentence):
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"napari-kmeans: {sentence}")


def test_a_study_that_was_moved_is_repeated(folder, capsys, monkeypatch):
    assert main(["run", "study.yaml"]) == 0
    moved = folder.parent / f"{folder.name} moved"
    monkeypatch.chdir(folder.parent)
    folder.rename(moved)
    capsys.readouterr()
    assert main(["repeat", str(moved / "out")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "4 of 4 images with identical labels"


def test_repeat_takes_the_metadata_of_the_record(folder, capsys):
    rows = "".join(f"{name},{name[0]}\n" for name in ("c_0", "c_1", "t_0", "t_1"))
    (folder / "donors.csv").write_text(f"image,group\n{rows}")
    assert main(["run", "study.yaml", "--metadata-file", "donors.csv"]) == 0
    (folder / "donors.csv").unlink()
    capsys.readouterr()
    assert main(["repeat", "out", "-o", "new"]) == 0
    tables = [pd.read_csv(folder / name / OUT) for name in ("out", "new")]
    pd.testing.assert_frame_equal(*tables)
    assert set(tables[1]["group"]) == {"c", "t"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "study.yaml"],
        ["run", "study.yaml", "--fit-on", "raw"],
        ["raw", "-k", "2", "-o", "out"],
        ["raw", "-k", "2", "-o", "out", "--each"],
    ],
)
def test_repeat_does_no_image_that_has_come_since(folder, capsys, arguments):
    assert main(arguments) == 0
    iio.imwrite(folder / "raw" / "a_9.png", 255 - _image(20, 7))
    capsys.readouterr()
    assert main(["repeat", "out"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "4 of 4 images with identical labels"
    assert "differs" not in printed.err


def test_repeat_fits_an_earlier_run_to_images_that_were_done_again(folder, capsys):
    iio.imwrite(folder / "raw" / "c_0.png", 255 - _image(20, 7))
    assert main(["raw", "-k", "3", "-o", "out"]) == 0
    assert main(["raw/c_0.png", "--model", "out/napari-kmeans-model.json", "-o", "out"]) == 0
    iio.imwrite(folder / "raw" / "a_9.png", _image(40, 8))
    capsys.readouterr()
    assert main(["repeat", "out"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "4 of 4 images with identical labels"
    assert "differs" not in printed.err


def test_repeat_tells_that_a_file_with_identical_labels_has_changed(folder, capsys):
    assert main(["run", "study.yaml"]) == 0
    pixels = iio.imread(folder / "raw" / "c_0.png")
    iio.imwrite(folder / "raw" / "c_0.png", pixels, compress_level=0)
    capsys.readouterr()
    assert main(["repeat", "out"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "c_0: identical labels, although the file has changed"
    assert lines[-1] == "4 of 4 images with identical labels"


def test_a_name_that_passed_to_another_image_is_not_compared(folder, capsys):
    for number, place in enumerate(("a", "b")):
        (folder / "raw" / place).mkdir()
        iio.imwrite(folder / "raw" / place / "x.png", _image(10 + 20 * number, 50 + number))
    arguments = ["raw", "--recursive", "--model", "m/napari-kmeans-model.json", "-o", "out"]
    assert main(["run", "raw", "-k", "2", "-o", "m"]) == 0
    assert main(["run", *arguments]) == 0
    (folder / "raw" / "a" / "x.png").unlink()
    capsys.readouterr()
    assert main(["repeat", "out"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "x: failed, it is missing" in lines
    assert "x-2: identical labels" in lines
    assert lines[-1] == "5 of 6 images with identical labels"


def test_files_that_were_moved_out_of_their_folder_are_repeated(folder, capsys):
    """The folder of the study is still there, and the images and results have left it."""
    assert main(["run", "raw/*.png", "-k", "2", "-o", "out"]) == 0
    (folder / "archive").mkdir()
    for name in ("raw", "out"):
        (folder / name).rename(folder / "archive" / name)
    capsys.readouterr()
    assert main(["repeat", "archive/out"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "4 of 4 images with identical labels"
