"""Sentences that the command line prints name no flag in the dock."""

import numpy as np
import pytest
from PIL import Image

from napari_kmeans.batch.jobs import check_color_space
from napari_kmeans.batch.picture_options import options_for
from napari_kmeans.files.picture import Picture
from napari_kmeans.options import Options
from napari_kmeans.viewer.background.cohort_study import ChosenFiles, ListWork
from napari_kmeans.viewer.background.dock_words import in_words_of_dock


def test_a_subfolder_is_named_with_the_box_that_reads_it(tmp_path):
    (tmp_path / "inner").mkdir()
    for place in (tmp_path, tmp_path / "inner"):
        Image.fromarray(np.zeros((4, 5), np.uint8)).save(place / "a.png")
    found = ListWork(ChosenFiles(tmp_path)).run()
    assert [path.name for path in found.paths] == ["a.png"]
    (note,) = found.notes
    assert note == f"{tmp_path}: skipped 1 subfolder, because Subfolders is not checked"


def test_errors_about_options_name_the_fields_of_the_dock():
    with pytest.raises(ValueError, match="--color-space must be rgb") as error:
        check_color_space(False, Options(color_space="lab"))
    assert in_words_of_dock(str(error.value)).startswith("Color space must be rgb for an image")
    picture = Picture(np.zeros((4, 5), np.uint8))
    with pytest.raises(ValueError, match="--min-area must go with --spacing") as error:
        options_for(picture, Options(min_area=3))
    words = "Minimum size must be in px for a file without the size of its pixels, got 3; choose px"
    assert in_words_of_dock(str(error.value)) == words


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("a: it must be gray; --each clusters each by itself", "a: it must be gray; cluster such"),
        ("a, b are compared by position; use --channels b,a", "a, b are compared by position"),
        ("a.png: damaged", "a.png: damaged"),
    ],
)
def test_other_flags_are_left_out(sentence, words):
    shown = in_words_of_dock(sentence)
    assert shown.startswith(words)
    assert "--" not in shown
