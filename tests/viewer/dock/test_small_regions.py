"""The field for the clusters whose small regions are replaced."""

from __future__ import annotations

import numpy as np
import pytest

from napari_kmeans import segment
from napari_kmeans.options import Options

NOISE = np.random.default_rng(0).integers(0, 255, (30, 35)).astype(np.uint8)


@pytest.fixture
def dock(viewer, open_dock):
    viewer.add_image(NOISE)
    dock = open_dock()
    dock.n_clusters.value, dock.min_size.value = 3, 12
    return dock


@pytest.mark.parametrize(
    ("text", "value"), [("2, 3", (2, 3)), ("2,3", (2, 3)), ("1", (1,)), ("  ", None)]
)
def test_small_regions_of_the_clusters_are_replaced(dock, finish, text, value):
    field = dock.min_size_classes
    field.native.setText(text)
    assert field.value == value
    dock.run()
    finish(dock)
    expected = segment(NOISE, 3, min_size=12, min_size_classes=value)
    np.testing.assert_array_equal(dock.result.labels.data, expected.labels)
    others = segment(NOISE, 3, min_size=12).labels
    assert (dock.result.labels.data == others).all() == (value is None)


@pytest.mark.parametrize("text", ["2; 3", "two", "2,", "0", "4"])
def test_other_texts_are_refused(dock, qtbot, text):
    dock.min_size_classes.native.setText(text)
    dock.run_button.native.click()
    qtbot.waitUntil(lambda: "min_size_classes must be" in dock.error_note.text())
    assert dock.result is None


def test_options_of_a_result_are_shown(dock):
    dock.show_options(Options(n_clusters=5, min_size_classes=(2, 4)))
    assert dock.min_size_classes.native.text() == "2, 4"
    dock.show_options(Options(n_clusters=5))
    assert dock.min_size_classes.native.text() == ""
    assert dock.min_size_classes.native.placeholderText() == "all clusters"
