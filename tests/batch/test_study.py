"""Study files: what they may contain, and one sentence for each mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_kmeans import Study, StudyError

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """
images: raw/*.tif
groups:
  control: raw/c*.tif
  treated: [raw/t1.tif, raw/t2.tif]
series: 0
channels: DAPI, GFP
spacing: [0.5, 0.25]
fit: {n_clusters: 5, color_space: lab, smoothing: 1}
fit_on: raw/c1.tif
classes:
  1: nuclei
  2: {name: stroma, merge: 3, color: "#ff0000", ignored: true}
outputs: labels, report
medians: false
output: results
"""


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(TEXT, "utf-8")
    return path


def _mistakes(path: Path, text: str) -> list[str]:
    path.write_text(text, "utf-8")
    with pytest.raises(StudyError) as caught:
        Study.load(path)
    return caught.value.mistakes


def test_a_file_becomes_a_study(path, tmp_path):
    study = Study.load(path)
    assert study.images == ("raw/*.tif",)
    assert study.groups == {"control": ("raw/c*.tif",), "treated": ("raw/t1.tif", "raw/t2.tif")}
    assert study.series == "0"
    assert study.channels == ("DAPI", "GFP")
    assert study.spacing == (0.5, 0.25)
    assert (study.options.n_clusters, study.options.color_space) == (5, "lab")
    assert study.classes[1] == {"name": "nuclei"}
    expected = {"name": "stroma", "merge": [3], "color": "#ff0000", "ignored": True}
    assert study.classes[2] == expected
    assert study.outputs == ("labels", "report")
    assert study.patterns == ("raw/*.tif", "raw/c*.tif", "raw/t1.tif", "raw/t2.tif")
    assert study.path("raw") == tmp_path / "raw"


def test_a_study_is_saved_and_loaded(path, tmp_path):
    study = Study.load(path)
    study.save(tmp_path / "copy.yaml")
    assert Study.load(tmp_path / "copy.yaml").to_dict() == study.to_dict()
    moved = study.at(study.folder)
    assert moved.images == (str(tmp_path / "raw" / "*.tif"),)
    assert moved.fit_on == (str(tmp_path / "raw" / "c1.tif"),)
    assert moved.to_dict().keys() == study.to_dict().keys()


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("images: [", ["no YAML"]),
        ("images: a.png\nfit: {}\nfit: {}", ["no YAML: the entry fit is there twice in line 3"]),
        ("classes:\n  1: {name: a}\n  1: b", ["no YAML: the entry 1 is there twice in line 3"]),
        ("- a", ["must be a mapping of entries, got ['a']"]),
        ("", ["must be a mapping of entries, got None"]),
        ("imges: a", ["imges is no entry of a study: write images"]),
        ("images: a\nfit: {n_cluster: 5}", ["got 'n_cluster': write n_clusters"]),
        (
            "images: a\nfit: {n_clusters: 0}\ngrid: -1\noutputs: labls",
            ["grid must be", "n_clusters must be", "got 'labls': write labels"],
        ),
        ("images: a\nmodel: b\neach: true", ["model must go without each"]),
        ("images: a\nregions: b\ngrid: 3", ["regions must go without grid, got grid 3"]),
        ("images: a\npixels_per_image: 9\nfit: {blur: 1}", ["pixels_per_image must be 0"]),
        ("images: a\nmask: [1]", ["mask must be a text, got [1]"]),
        ("images: a\ngroups: 3", ["groups must be a mapping of names to paths"]),
        ("images: a\nclasses: {0: a}", ["classes: label must be a whole number from 1"]),
        ("images: a\nclasses: {1: {nam: s}}", ["got 'nam': write name"]),
        ("images: a\nspacing: x", ["spacing must be a number"]),
        ("images: a\nspacing: 0", ["spacing must be above 0, got 0.0"]),
        ("images: a\nunit: kg", ["unit must be a length such as µm, mm or cm"]),
        ("images: a\nunit: 3", ["not inches, got 3: write its symbol"]),
        ("images: {a: 1}", ["images must be a text or a list of texts"]),
        ("images: a\neach: 3", ["each must be"]),
    ],
)
def test_each_mistake_has_a_sentence(path, text, sentences):
    mistakes = _mistakes(path, text)
    assert len(mistakes) == len(sentences)
    for sentence in sentences:
        assert any(sentence in mistake for mistake in mistakes)
    assert not any("\n" in mistake for mistake in mistakes)


def test_a_study_in_another_encoding_is_a_sentence(path):
    path.write_bytes("images: Ren\xe9.png".encode("latin-1"))
    with pytest.raises(StudyError, match="must be in UTF-8, got bytes of another encoding"):
        Study.load(path)


def test_nothing_in_a_file_is_executed(path, tmp_path):
    (mistake,) = _mistakes(path, f"images: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']")
    assert "no YAML" in mistake
    assert not (tmp_path / "made").exists()
