"""Names, colors, merges and ignored classes of the list are the same wherever the model goes."""

from __future__ import annotations

import json
import subprocess
import sys

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_kmeans import KMeansModel, segment
from napari_kmeans.cli.main import main

COLOR = "#ff0080"


def wait_for(qtbot, panel):
    qtbot.waitUntil(lambda: not panel.is_working, timeout=60_000)


@pytest.fixture
def edited(dock, finish):
    """Return the dock after a run of four clusters, all of them edited in the list."""
    dock.n_clusters.value = 4
    dock.run()
    finish(dock)
    clusters = dock.folds["clusters"].open().list
    clusters.select([1])
    clusters.ignore_action.trigger()
    clusters.merge([2, 3])
    kept = next(label for label in (2, 3) if label in dock.result.labels.features["index"].tolist())
    clusters.select([kept])
    clusters._model.setData(clusters._model.index(1, 1), "soil, dry")
    clusters.set_color(4, COLOR)
    # The highlight of selected rows fades the colors of the layer.
    clusters.select([])
    return dock, kept


def check_table(table, labels, kept):
    """Check the rows of a table against the pixels of its labels, counted by hand."""
    counts = np.array([np.sum(labels == label) for label in (1, kept, 4)])
    assert table["index"].tolist() == [1, kept, 4]
    assert table["pixels"].tolist() == counts.tolist()
    np.testing.assert_allclose(table["percent"], [np.nan, *(100 * counts / counts[1:].sum())[1:]])
    assert table["name"].fillna("").tolist() == ["", "soil, dry", ""]
    assert table["ignored"].tolist() == [True, False, False]
    assert table["color"].iloc[2] == COLOR


def check_layer(layer, kept):
    check_table(layer.features, np.asarray(layer.data), kept)
    colors = layer.colormap.color_dict
    np.testing.assert_allclose(colors[4], [1, 0, 128 / 255, 1], atol=1e-6)
    assert [float(colors[label][3]) for label in (1, kept)] == [0, 1]


def test_edits_of_the_list_are_in_models_layers_scripts_and_files(
    viewer, edited, quadrants, quadrant_labels, qtbot, tmp_path, open_dock
):
    dock, kept = edited
    truth = np.array([0, 1, kept, kept, 4])
    np.testing.assert_array_equal(dock.result.labels.data, truth[quadrant_labels])
    check_layer(dock.result.labels, kept)
    # Apply to a second image, twice as high: the same labels, by hand.
    other, expected = np.vstack([quadrants] * 2), truth[np.vstack([quadrant_labels] * 2)]
    panel = dock.folds["apply"].open()
    assert panel.message.text() == "picture: 3 classes of 4 clusters, 1 ignored"
    panel.apply(viewer.add_image(other, name="other", rgb=True))
    wait_for(qtbot, panel)
    np.testing.assert_array_equal(viewer.layers["other labels"].data, expected)
    check_layer(viewer.layers["other labels"], kept)
    # Save, and load in another dock.
    panel.save(tmp_path / "model.json")
    another = open_dock().folds["apply"].open()
    another.load(tmp_path / "model.json")
    another.apply(viewer.add_image(other, name="again", rgb=True))
    wait_for(qtbot, another)
    np.testing.assert_array_equal(viewer.layers["again labels"].data, expected)
    check_layer(viewer.layers["again labels"], kept)
    # The command line.
    iio.imwrite(tmp_path / "other.png", other)
    arguments = [str(tmp_path / "other.png"), "--model", str(tmp_path / "model.json")]
    assert main([*arguments, "-o", str(tmp_path)]) == 0
    labels = tifffile.imread(tmp_path / "other-labels.tif")
    np.testing.assert_array_equal(labels, expected)
    check_table(pd.read_csv(tmp_path / "other-table.csv"), labels, kept)
    # A split gives back the centers.
    model = KMeansModel.load(tmp_path / "model.json")
    split = model.with_classes(model.classes.split(kept))
    np.testing.assert_array_equal(split.palette, segment(quadrants, 4, rgb=True).model.palette)


def test_script_gives_the_edited_classes(edited, qtbot, tmp_path):
    dock, kept = edited
    text = dock.folds["export"].open().script()
    np.save(tmp_path / "image.npy", dock.result.task.source.data)
    code = "labels.dump('labels.pkl'); segmentation.table.to_csv('table.csv', index=False)"
    (tmp_path / "script.py").write_text(f"{text}\n{code}")
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=True, capture_output=True)
    labels = np.load(tmp_path / "labels.pkl", allow_pickle=True)
    np.testing.assert_array_equal(labels, dock.result.labels.data)
    check_table(pd.read_csv(tmp_path / "table.csv"), labels, kept)


def test_undo_and_redo_change_the_classes(edited):
    dock, _ = edited
    clusters = dock.folds["clusters"].open().list
    schemes = [dock.result.model.classes]
    while clusters.undo_action.isEnabled():
        clusters.undo()
        schemes.append(dock.result.model.classes)
    assert dock.result.model.edited_classes is None
    assert "ignored" not in dock.result.labels.features
    assert len(set(schemes)) == len(schemes) == 5
    for scheme in schemes[-2::-1]:
        clusters.redo()
        assert dock.result.model.classes == scheme
    json.dumps(dock.result.labels.metadata["napari-kmeans"])


def test_merge_similar_keeps_the_edits_of_the_list(edited, quadrants):
    dock, kept = edited
    names = dock.folds["merge"].open()
    names.distance.value = 0.5
    check_layer(dock.result.labels, kept)
    names.distance.value = 50
    table = dock.result.labels.features
    assert len(table) < 3
    assert "soil, dry" in " ".join(table["name"])
    names.distance.value = 0
    table = dock.result.labels.features
    assert table["name"].tolist() == ["", "soil, dry", ""]
    assert table["ignored"].tolist() == [True, False, False]
    assert table["color"].iloc[2] == COLOR
