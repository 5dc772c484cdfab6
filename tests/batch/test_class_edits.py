"""The edits of classes in a study file, and those that a list of clusters has made."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import data

from napari_kmeans import ClassScheme, KMeansModel, Study, run_study
from napari_kmeans.batch.class_edits import edit_classes, find_edits


@pytest.mark.parametrize(
    "edit",
    [
        lambda classes: classes,
        lambda classes: classes.rename(1, "a").recolor(3, "#ff0080").ignore(5),
        lambda classes: classes.merge([4, 2, 6]).rename(4, "b").ignore(4).merge([1, 3]),
        lambda classes: classes.rename(1, "a").merge([1, 2]).recolor(1, "#000000"),
    ],
)
def test_edits_of_a_scheme_make_it_of_new_classes(edit):
    plain = ClassScheme.of_centers(6)
    classes = edit(plain)
    edits = find_edits(classes)
    assert edit_classes(plain, edits) == classes
    # A study file can hold them.
    study = Study(images=("a.png",), classes=edits)
    assert edit_classes(plain, Study.from_dict(study.to_dict()).classes) == classes


def test_the_model_of_a_study_gets_classes_after_the_fit(quadrants, tmp_path):
    Image.fromarray(quadrants).save(tmp_path / "a.png")
    study = Study(images=("a.png",), fit={"n_clusters": 4}, folder=tmp_path)
    result = run_study(study, edit=lambda model: model.classes.merge([1, 2]).rename(1, "dark"))
    assert result.record["study"]["classes"] == {1: {"merge": [2], "name": "dark"}}
    assert result.shares.columns.tolist() == ["image", "file", "far_share", "dark", "3", "4"]
    # The record has all that the same run needs.
    entries = {**result.record["study"], "output": "again"}
    again = run_study(Study.from_dict(entries, tmp_path))
    assert again.shares.equals(result.shares)


@pytest.mark.parametrize("each", [False, True])
def test_merged_classes_decide_the_pixels_of_each_image(tmp_path, each):
    coffee = data.coffee()[100:180, 100:200]
    Image.fromarray(coffee).save(tmp_path / "a.png")
    fit = {"n_clusters": 6, "min_confidence": 0.1, "smoothing": 1}
    run_study(
        Study(
            images=("a.png",), fit=fit, each=each, classes={1: {"merge": [2, 3]}}, folder=tmp_path
        )
    )
    (path,) = tmp_path.rglob("*model.json")
    (labels,) = tmp_path.rglob("a-labels.tif")
    model = KMeansModel.load(path)
    assert model.n_clusters == 4
    np.testing.assert_array_equal(tifffile.imread(labels), model.predict(coffee))
