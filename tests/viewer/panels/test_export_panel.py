"""Tests of the panel *Save and copy*: script, table and figure of a result."""

from __future__ import annotations

import json
import subprocess
import sys
from xml.etree import ElementTree

import dask.array as da
import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
import tifffile
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QApplication
from skimage import data

from napari_kmeans import KMeansModel
from napari_kmeans.viewer.read_results import read_result
from napari_kmeans.viewer.to_layers.as_python import script_of
from napari_kmeans.viewer.to_layers.clusters import Clusters


def finish_run(dock, finish, **fields):
    """Set fields of the dock, run, and return the opened panel."""
    for name, value in fields.items():
        getattr(dock, name).value = value
    dock.run()
    finish(dock)
    return dock.folds["export"].open()


def copy(qtbot, panel):
    """Click the button Copy, and return the text on the clipboard."""
    QApplication.clipboard().clear()
    panel.copy_button.native.click()
    assert not panel.copy_button.enabled
    qtbot.waitUntil(lambda: panel.copy_button.enabled, timeout=60_000)
    return QApplication.clipboard().text()


def run(text, directory):
    """Run a script in a new process. Return the lists of its labels and recolored images."""
    script = directory / "script.py"
    script.write_text(
        text
        + "as_list = lambda each: each if isinstance(each, list) else [each]\n"
        + "save = __import__('numpy').savez\n"
        + "save('out.npz', *as_list(labels), *as_list(recolored))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", script.name],
        cwd=directory,
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    with np.load(directory / "out.npz") as out:
        arrays = [out[name] for name in out]
    return arrays[: len(arrays) // 2], arrays[len(arrays) // 2 :]


def fill_in(viewer, text, directory, monkeypatch):
    """Run the code in the comments of a script, as a user does in napari's console."""
    monkeypatch.chdir(directory)
    lines = text.split("\n")
    code = [line.removeprefix("#").strip() for line in lines if line.startswith("#    ")]
    assert code
    exec("\n".join(code), {"viewer": viewer})


def check(text, labels, recolored, directory):
    """Check that a script gives the pixels of both layers."""
    found = run(text, directory)
    for expected, arrays in zip((labels, recolored), found, strict=True):
        levels = expected.data if expected.multiscale else [expected.data]
        for level, array in zip(levels, arrays, strict=True):
            np.testing.assert_array_equal(array, level)


# ------------------------------------------------------------------- scripts


@pytest.mark.window
def test_script_of_a_sample_with_merged_clusters(viewer, open_dock, finish, qtbot, tmp_path):
    viewer.open_sample("napari-kmeans", "photograph")
    dock = open_dock()
    panel = finish_run(dock, finish, n_clusters=9, color_space="lab", random_state=3)
    dock.folds["merge"].open().distance.value = 12
    labels, recolored = viewer.layers["coffee labels"], viewer.layers["coffee recolored"]
    assert 1 < labels.data.max() < 9
    text = copy(qtbot, panel)
    assert "image = photograph()" in text
    assert "merge_clusters" in text
    assert panel.message.text() == "The script is on the clipboard."
    assert text == panel.script()
    check(text, labels, recolored, tmp_path)


@pytest.mark.window
@pytest.mark.parametrize("name", ["coffee.png", "coffee.tif"])
def test_script_reads_the_file_of_the_image(viewer, open_dock, finish, qtbot, tmp_path, name):
    iio.imwrite(tmp_path / name, data.coffee()[50:150, 100:220])
    viewer.open(tmp_path / name, plugin="napari")
    dock = open_dock()
    text = copy(qtbot, finish_run(dock, finish, n_clusters=6, method="full"))
    assert repr(str(tmp_path / name)) in text
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    check(text, viewer.layers["coffee labels"], viewer.layers["coffee recolored"], elsewhere)


@pytest.mark.window
def test_script_does_not_read_a_file_with_other_pixels(
    viewer, open_dock, finish, qtbot, tmp_path, monkeypatch
):
    image = data.coffee()[50:150, 100:220]
    iio.imwrite(tmp_path / "coffee.png", image)
    viewer.open(tmp_path / "coffee.png", plugin="napari")
    viewer.layers["coffee"].data = 255 - image
    panel = finish_run(open_dock(), finish)
    text = copy(qtbot, panel)
    assert "read_image" not in text
    assert panel.message.text() == (
        "The script is on the clipboard. Its comments state what to fill in."
    )
    fill_in(viewer, text, tmp_path, monkeypatch)
    check(text, viewer.layers["coffee labels"], viewer.layers["coffee recolored"], tmp_path)


@pytest.mark.window
def test_script_repeats_merges_by_hand(viewer, dock, finish, qtbot, tmp_path, monkeypatch):
    dock.n_clusters.value = 6
    panel = finish_run(dock, finish)
    labels, recolored = viewer.layers["picture labels"], viewer.layers["picture recolored"]
    clusters = dock.folds["clusters"].open().list
    clusters.merge([clusters.merge([1, 3]), 2])
    clusters.merge([5, 6])
    clusters.merge([4, 1])
    clusters.undo()
    assert len(np.unique(labels.data)) == 3
    text = copy(qtbot, panel)
    fill_in(viewer, text, tmp_path, monkeypatch)
    check(text, labels, recolored, tmp_path)
    finish_run(dock, finish)
    assert "by hand" not in copy(qtbot, panel)


@pytest.mark.window
def test_script_loads_the_pixels_of_a_changed_sample(viewer, open_dock, finish, qtbot):
    viewer.open_sample("napari-kmeans", "histology")
    viewer.layers["histology"].data = viewer.layers["histology"].data[::2]
    text = copy(qtbot, finish_run(open_dock(), finish))
    assert "samples" not in text
    assert "np.load" in text


@pytest.mark.window
def test_script_of_a_live_run_gives_its_layers_with_and_without_a_mask(
    viewer, open_dock, finish, qtbot, tmp_path, monkeypatch
):
    image = data.coffee()[::2, ::2].astype(np.float32) + np.float32(0.25)
    viewer.add_image(image, name="floats", rgb=True)
    box = viewer.add_shapes([[10, 10], [10, 200], [90, 250]], shape_type="polygon", name="box")
    dock = open_dock()
    panel = dock.folds["export"].open()
    dock.n_clusters.value = 20
    dock.live.value = True
    finish(dock)
    text = copy(qtbot, panel)
    fill_in(viewer, text, tmp_path, monkeypatch)
    result = [viewer.layers["floats labels"], viewer.layers["floats recolored"]]
    check(text, *result, tmp_path)
    dock.mask.value = box
    finish(dock)
    text = copy(qtbot, panel)
    assert "result.masks[0]" in text
    fill_in(viewer, text, tmp_path, monkeypatch)
    assert (result[0].data == 0).any()
    check(text, *result, tmp_path)


@pytest.mark.window
@pytest.mark.parametrize("stack", ["each", "this"])
def test_script_of_slices(viewer, open_dock, finish, qtbot, tmp_path, stack):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 60_000, (4, 30, 20)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "stack.tif", image, photometric="minisblack")
    viewer.open(tmp_path / "stack.tif", plugin="napari")
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_point(1, 7)
    text = copy(qtbot, finish_run(open_dock(), finish, stack=stack, n_clusters=3))
    assert ("segment_slices" in text) == (stack == "each")
    (labels,), (recolored,) = run(text, tmp_path)
    part = slice(None)
    if stack == "this":
        assert ".pixels[:, 7]" in text
        part = (slice(None), 7)
    np.testing.assert_array_equal(labels, viewer.layers["stack labels"].data[part])
    np.testing.assert_array_equal(recolored, viewer.layers["stack recolored"].data[part])


@pytest.mark.window
@pytest.mark.parametrize("in_files", [True, False])
def test_script_of_several_channels(
    viewer, open_dock, finish, qtbot, tmp_path, monkeypatch, in_files
):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        image = rng.integers(0, 4000, (40, 50)).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"{name}.tif", image)
        viewer.open(tmp_path / f"{name}.tif", plugin="napari")
        if not in_files:
            viewer.layers[name].data = image[::-1]
    dock = open_dock()
    viewer.layers.selection = set(viewer.layers)
    text = copy(qtbot, finish_run(dock, finish, together=True, n_clusters=3))
    assert ("paths = [" in text) == in_files
    if not in_files:
        fill_in(viewer, text, tmp_path, monkeypatch)
    (labels,), (recolored,) = run(text, tmp_path)
    assert "normalize='percentile'" in text
    assert "channel_names=['a', 'b']" in text
    np.testing.assert_array_equal(labels, viewer.layers["a + b labels"].data)
    for number, name in enumerate("ab"):
        shown = viewer.layers[f"{name} recolored"].data
        np.testing.assert_array_equal(recolored[..., number], shown)


@pytest.mark.window
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("stack", ["whole", "this"])
def test_script_of_several_levels(
    viewer, open_dock, finish, qtbot, tmp_path, monkeypatch, masked, stack
):
    volume = np.random.default_rng(0).integers(0, 60_000, (6, 32, 24)).astype(np.uint16)
    levels = [volume, volume[::2, ::2, ::2]]
    viewer.add_image(levels, name="levels", multiscale=True)
    viewer.dims.set_point(0, 4)
    dock = open_dock()
    dock.image.value, dock.stack.value = viewer.layers["levels"], stack
    if masked:
        dock.mask.value = viewer.add_labels((volume > 20_000).astype(np.uint8), name="inside")
    text = copy(qtbot, finish_run(dock, finish, n_clusters=3, level=1))
    fill_in(viewer, text, tmp_path, monkeypatch)
    if stack == "whole":
        results = [viewer.layers[f"levels {kind}"] for kind in ("labels", "recolored")]
        check(text, *results, tmp_path)
    else:
        for kind, arrays in zip(("labels", "recolored"), run(text, tmp_path), strict=True):
            for level, array in enumerate(arrays):
                shown = viewer.layers[f"levels {kind}"].data[level][(4, 2)[level]]
                np.testing.assert_array_equal(array, shown)


def test_script_of_a_lazy_copy_does_not_read_the_file(viewer, open_dock, finish, tmp_path):
    image = data.coffee()[:100, :120]
    iio.imwrite(tmp_path / "coffee.png", image)
    viewer.open(tmp_path / "coffee.png", plugin="napari")
    viewer.layers["coffee"].data = da.from_array(image, chunks=(50, 50, 3))
    panel = finish_run(open_dock(), finish)
    assert "read_image" not in script_of(panel.dock.result)


# ----------------------------------------------------------- table and figure


def test_saved_table_is_the_table_of_the_layer(viewer, dock, finish, tmp_path, choose_file):
    panel = finish_run(dock, finish)
    features = viewer.layers["picture labels"].features
    choose_file(tmp_path / "by dialog.csv")
    panel.table_button.native.click()
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "by dialog.csv"), features, check_dtype=False
    )
    assert panel.message.text() == "The table is in by dialog.csv."
    named = features.assign(name=["a", "b", "c", "d"])
    viewer.layers["picture labels"].features = named
    panel.save_table(tmp_path / "by script.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "by script.csv"), named, check_dtype=False)
    texts = pd.read_csv(tmp_path / "by script.csv", dtype=str)["percent"]
    assert texts.tolist() == [f"{share:.8g}" for share in named["percent"]]


def test_saved_figure_shows_the_colors_of_the_table(
    viewer, dock, finish, qtbot, tmp_path, choose_file
):
    panel = finish_run(dock, finish)
    layer = viewer.layers["picture labels"]
    # A label is missing, as after merging in the list of clusters.
    layer.features = layer.features.drop(index=1)
    choose_file(tmp_path / "by dialog.png")
    panel.figure_button.native.click()
    qtbot.waitUntil(lambda: "by dialog.png" in panel.message.text(), timeout=60_000)
    picture = iio.imread(tmp_path / "by dialog.png")
    seen = {tuple(color) for color in picture[..., :3].reshape(-1, 3)}
    for color in layer.features["color"]:
        assert tuple(bytes.fromhex(color[1:])) in seen
    panel.save_figure(tmp_path / "by script.svg")
    assert ElementTree.parse(tmp_path / "by script.svg").getroot().tag.endswith("svg")
    panel.save_figure(tmp_path / "by script.pdf")
    assert (tmp_path / "by script.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(ValueError, match=r"saved as \.png, \.svg or \.pdf, got 'figure\.gif'"):
        panel.save_figure(tmp_path / "figure.gif")


def test_figure_without_matplotlib_shows_an_error(
    dock, finish, qtbot, tmp_path, choose_file, monkeypatch
):
    panel = finish_run(dock, finish)
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    notification_manager.records.clear()
    choose_file(tmp_path / "figure.png")
    panel.figure_button.native.click()
    qtbot.waitUntil(lambda: bool(notification_manager.records), timeout=20_000)
    ((severity, message),) = [(str(n.severity), n.message) for n in notification_manager.records]
    assert severity == "error"
    assert "pip install matplotlib" in message
    qtbot.waitUntil(lambda: panel.figure_button.enabled)
    assert not (tmp_path / "figure.png").exists()


def test_export_before_a_run_is_disabled(dock):
    panel = dock.folds["export"].open()
    assert panel.message.text() == "No result yet: run a clustering first."
    assert not any(
        each.enabled for each in (panel.copy_button, panel.table_button, panel.figure_button)
    )
    for action in (panel.copy, panel.script):
        with pytest.raises(ValueError, match="there is no result yet: run the clustering first"):
            action()


@pytest.mark.window
def test_script_of_slices_names_the_edits_that_it_lacks(viewer, dock, finish, quadrants, tmp_path):
    film = np.stack([quadrants, quadrants[::-1]])
    viewer.layers.clear()
    viewer.add_image(film, name="film", rgb=True)
    panel = finish_run(dock, finish, stack="each", n_clusters=4)
    assert "Each slice has its own model" not in panel.script()
    clusters = dock.folds["clusters"].open().list._clusters
    clusters.merge([2, 3])
    clusters.rename(4, "snow")
    clusters.ignore([1])
    text = panel.script()
    assert "# Each slice has its own model: edits of the list of clusters are not in" in text
    np.save(tmp_path / "image.npy", film)
    (labels,), _ = run(text, tmp_path)
    np.testing.assert_array_equal(labels, dock.result.labels.data)
    panel.save_table(tmp_path / "table.csv")
    table = pd.read_csv(tmp_path / "table.csv")
    assert table["name"].fillna("").tolist() == ["", "", "snow"]
    assert table["ignored"].tolist() == [True, False, False]
    counts = np.array([np.sum(labels == label) for label in table["index"]])
    np.testing.assert_allclose(table["percent"][1:], 100 * counts[1:] / counts[1:].sum())
    with pytest.raises(ValueError, match="has a model for each slice, which no other image can"):
        dock.folds["apply"].open().save(tmp_path / "model.json")


# --------------------------------------------------------------------- results


def test_a_result_is_saved_by_the_button(dock, qtbot, finish, choose_file, tmp_path):
    panel = finish_run(dock, finish)
    Clusters(dock.result.labels).rename(2, "leaf")
    saved = [tmp_path / name for name in ("a-labels.tif", "a-table.csv", "a-model.json")]
    choose_file(tmp_path / "a-labels.tif")
    panel.save_button.native.click()
    qtbot.waitUntil(lambda: panel.message.text().startswith("Saved"), timeout=20_000)
    assert sorted(tmp_path.iterdir()) == sorted(saved)
    assert pd.read_csv(saved[1])["name"].fillna("").tolist() == ["", "leaf", "", ""]
    assert KMeansModel.load(saved[2]).classes[2].name == "leaf"
    ((pixels, attributes, _),) = read_result(str(saved[0]))
    np.testing.assert_array_equal(pixels, dock.result.labels.data)
    assert attributes["features"]["name"].tolist() == ["", "leaf", "", ""]


def test_saving_again_replaces_the_result_and_no_other_file(dock, finish, tmp_path, finish_work):
    panel = finish_run(dock, finish)

    def save(name):
        panel.save_result(tmp_path / name)
        finish_work(panel)

    save("a.tif")
    assert (tmp_path / "a-labels.tif").exists()
    Clusters(dock.result.labels).rename(1, "soil")
    save("a-labels.tif")
    assert "soil" in (tmp_path / "a-table.csv").read_text()
    # Nobody was asked about the file of the labels.
    with pytest.raises(FileExistsError, match=r"a\.tif.*a-labels\.tif exists"):
        panel.save_result(tmp_path / "a.tif")
    (tmp_path / "b-table.csv").write_text("mine")
    with pytest.raises(FileExistsError, match=r"b-table\.csv exists"):
        panel.save_result(tmp_path / "b-labels.tif")
    assert (tmp_path / "b-table.csv").read_text() == "mine"


@pytest.mark.parametrize("name", ["x.csv", "x.tiff", "x-labels.json", "x"])
def test_labels_are_saved_under_a_name_by_which_they_open(
    dock, finish, tmp_path, name, finish_work
):
    panel = finish_run(dock, finish)
    panel.save_result(tmp_path / name)
    finish_work(panel)
    names = ["x-labels.tif", "x-model.json", "x-table.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    np.testing.assert_array_equal(
        read_result(str(tmp_path / "x-labels.tif"))[0][0], dock.result.labels.data
    )


def test_there_is_nothing_to_save_without_labels(dock, viewer, finish, tmp_path):
    panel = finish_run(dock, finish, add_labels=False)
    with pytest.raises(ValueError, match="no labels in the viewer: tick Labels"):
        panel.save_result(tmp_path / "a-labels.tif")


# --------------------------------------------------------------------- exports


def export(qtbot, panel, text, choose_file, path):
    """Choose an entry of the menu and a file, and wait for the message."""
    choose_file(path)
    (action,) = [each for each in panel.export_menu.actions() if each.text() == text]
    action.trigger()
    qtbot.waitUntil(lambda: not panel.is_working, timeout=60_000)
    return panel.message.text()


def test_exports_of_the_menu_hold_the_layer_as_it_is_now(
    viewer, dock, finish, qtbot, tmp_path, choose_file
):
    panel = finish_run(dock, finish)
    labels = viewer.layers["picture labels"]
    clusters = dock.folds["clusters"].open().list._clusters
    clusters.rename(2, "leaf/stem")
    clusters.set_color(2, "#00ff00")
    clusters.ignore([1])
    # A label that the user painted has no class of the model.
    labels.paint((3, 3), 9)
    expected = np.array(labels.data)
    path = tmp_path / "a.geojson"
    assert export(qtbot, panel, "Polygons of clusters…", choose_file, path).endswith(": a.geojson.")
    features = json.loads(path.read_text("utf-8"))["features"]
    assert [each["properties"]["label"] for each in features] == [2, 3, 4, 9]
    assert features[0]["properties"]["classification"] == {
        "name": "leaf/stem",
        "color": [0, 255, 0],
    }
    of_objects = tmp_path / "objects.geojson"
    export(qtbot, panel, "Polygons of objects…", choose_file, of_objects)
    objects = json.loads(of_objects.read_text("utf-8"))["features"]
    assert {each["properties"]["objectType"] for each in objects} == {"detection"}
    export(qtbot, panel, "Masks…", choose_file, tmp_path / "a.png")
    names = {path.name: path for path in tmp_path.glob("a-mask-*")}
    assert {*names} == {f"a-mask-{each}.png" for each in ("2-leaf_stem", 3, 4, 9)}
    mask = iio.imread(names["a-mask-2-leaf_stem.png"])
    np.testing.assert_array_equal(mask, 255 * (expected == 2))
    # Masks of clusters that are gone are removed, and no file of the user is replaced.
    clusters.merge([3, 4])
    export(qtbot, panel, "Masks…", choose_file, tmp_path / "a.png")
    assert {path.name for path in tmp_path.glob("a-mask-*")} == {*names} - {"a-mask-4.png"}
    export(qtbot, panel, "Legend…", choose_file, tmp_path / "legend.svg")
    assert ElementTree.parse(tmp_path / "legend.svg").getroot().tag.endswith("svg")
    (tmp_path / "b-mask-3.png").write_text("mine")
    notification_manager.records.clear()
    export(qtbot, panel, "Masks…", choose_file, tmp_path / "b.png")
    assert "b-mask-3.png exists" in notification_manager.records[-1].message
    assert (tmp_path / "b-mask-3.png").read_text() == "mine"
    assert not (tmp_path / "b-mask-9.png").exists()
