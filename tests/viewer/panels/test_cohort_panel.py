"""Tests of the panel *Cohort*: many images, one model, one table, one image in view."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication

from napari_kmeans import (
    KMeansModel,
    Study,
    add_metadata,
    measure,
    pivot_measurements,
    run_study,
    segment,
)
from napari_kmeans.execution.notices import notices_to
from napari_kmeans.files.reading import read_image
from napari_kmeans.viewer.panels.cohort_form import with_group
from napari_kmeans.viewer.provenance import METADATA_KEY
from napari_kmeans.viewer.to_layers.clusters import Clusters
from napari_kmeans.viewer.to_layers.highlight import HighlightColormap
from napari_kmeans.viewer.to_layers.layer_classes import classes_of
from napari_kmeans.viewer.widgets.share_table import ShareClass, Shares, ShareTable


@pytest.fixture
def images(quadrants):
    """Three images of the same four colors in other parts, by name."""
    return {"a": quadrants, "b": quadrants[:14], "c": quadrants[5:, 6:].copy()}


@pytest.fixture
def panel(viewer, open_dock, images):
    for name, image in images.items():
        viewer.add_image(image, name=name, rgb=True)
    return open_dock().folds["cohort"].open()


@pytest.fixture
def folder(tmp_path, images):
    """Return a folder with the three images as files, and a damaged one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, image in images.items():
        Image.fromarray(image).save(folder / f"{name}.png")
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:200])
    (folder / "notes.txt").write_text("no image")
    return folder


def run(qtbot, panel, button=True):
    if button:
        panel.run_button.native.click()
    else:
        panel.run()
    wait(qtbot, panel)


def wait(qtbot, panel):
    qtbot.waitUntil(lambda: not panel.is_working, timeout=60_000)


def repeat(path):
    """Run a study file, as the command line does."""
    with notices_to(lambda _sentence: None):
        return run_study(Study.load(path))


def choose(qtbot, panel, folder):
    panel.form.choose_folder(folder)
    qtbot.waitUntil(lambda: panel.run_button.enabled, timeout=20_000)


def click(panel, image, label=None):
    table = panel.results.table
    table.clicked.emit(table.index_of(image, label))


def shares_of(labels, n_classes=4):
    counts = np.bincount(np.ravel(labels), minlength=n_classes + 1)[1:]
    return 100 * counts / counts.sum()


def shown(panel):
    """Return the shares in the table of each image, and the titles of the columns."""
    model = panel.results.table.model()
    texts = [
        [str(model.index(row, column).data()) for column in range(model.columnCount())]
        for row in range(model.rowCount())
    ]
    titles = [
        model.headerData(column, Qt.Orientation.Horizontal) for column in range(model.columnCount())
    ]
    return {row[0]: row[1:] for row in texts}, titles


def messages():
    return [each.message for each in notification_manager.records]


def test_three_clicks_cluster_all_layers_with_one_model(viewer, panel, qtbot, images):
    originals = {name: image.copy() for name, image in images.items()}
    viewer.add_image(images["a"][..., 0], name="gray", rgb=False)
    viewer.layers.selection.active = viewer.layers["a"]
    assert [layers[0].name for layers in panel.form.layers.checked] == ["a", "b", "c"]
    run(qtbot, panel)
    together = segment(list(images.values()), 4, rgb=True)
    texts, titles = shown(panel)
    assert titles == ["Image", "1", "2", "3", "4"]
    for name, expected in zip(images, together.labels, strict=True):
        np.testing.assert_array_equal(viewer.layers[f"{name} labels"].data, expected)
        assert texts[name] == [f"{share:.1f}" for share in shares_of(expected)]
        np.testing.assert_array_equal(viewer.layers[name].data, originals[name])
    assert panel.message.text() == "3 images done."
    assert not messages()
    # Painting by hand is kept as a copy by the next run, as after Run and Apply.
    painted = viewer.layers["b labels"]
    painted.paint((3, 3), 4)
    run(qtbot, panel)
    assert [layer.name for layer in viewer.layers if layer.name.startswith("b labels")] == [
        "b labels edited",
        "b labels",
    ]
    np.testing.assert_array_equal(painted.data, together.labels[1])


def test_the_model_is_fitted_to_some_layers(viewer, panel, qtbot, images):
    corners = np.array([[-0.5, -0.5], [-0.5, 7.5], [5.5, 7.5], [5.5, -0.5]])
    shapes = viewer.add_shapes([corners], name="box")
    panel.form.model.value, panel.form.regions.value = "some", shapes
    panel.form.fit_on.check([(viewer.layers["b"],)])
    panel.dock.mask.value = shapes
    run(qtbot, panel)
    assert panel.message.text().endswith("The mask of the form is not used in a cohort.")
    texts, titles = shown(panel)
    assert titles[:2] == ["Image", "Region"]
    in_box = shares_of(viewer.layers["c labels"].data[:6, :8])
    assert texts["c"] == ["1", *(f"{share:.1f}" for share in in_box)]
    with pytest.raises(ValueError, match="regions must be files in a batch, got the layer 'box'"):
        panel.save_batch("study.yaml")
    model = segment(images["b"], 4, rgb=True).model
    for name, image in images.items():
        np.testing.assert_array_equal(viewer.layers[f"{name} labels"].data, model.predict(image))


def test_the_model_of_the_list_brings_names_and_ignored_classes(
    viewer, panel, qtbot, images, finish, tmp_path
):
    dock = panel.dock
    dock.image.value = viewer.layers["a"]
    dock.run()
    finish(dock)
    clusters = dock.folds["clusters"].open().list
    clusters._clusters.rename(1, "ink")
    clusters._clusters.ignore([4])
    clusters.merge([2, 3])
    panel.form.model.value = "apply"
    assert "ink" in panel.form.classes.text()
    run(qtbot, panel)
    texts, titles = shown(panel)
    assert titles == ["Image", "ink", "2", "4"]
    expected = dock.result.model.predict(images["b"])
    counts = [np.sum(expected == label) for label in (1, 2)]
    assert texts["b"] == [*(f"{100 * n / sum(counts):.1f}" for n in counts), "–"]  # noqa: RUF001
    # The batch has the model beside it, and gives the same labels. The layers have no files.
    panel.form.images.value = "files"
    Image.fromarray(images["b"]).save(tmp_path / "b.png")
    choose(qtbot, panel, tmp_path)
    panel.save_batch(tmp_path / "study.yaml")
    assert KMeansModel.load(tmp_path / "study-model.json").classes == dock.result.model.classes
    done = repeat(tmp_path / "study.yaml")
    np.testing.assert_array_equal(read_image(done.directory / "b-labels.tif").pixels, expected)


def test_files_give_a_folder_of_results_and_a_table(viewer, panel, qtbot, images, folder):
    user = list(viewer.layers)
    choose(qtbot, panel, folder)
    assert panel.form.found.text().startswith("4 images found.")
    run(qtbot, panel)
    together = segment(list(images.values()), 4, rgb=True)
    output = folder / "napari-kmeans-output"
    texts, _ = shown(panel)
    for name, expected in zip(images, together.labels, strict=True):
        np.testing.assert_array_equal(read_image(output / f"{name}-labels.tif").pixels, expected)
        assert texts[name] == [f"{share:.1f}" for share in shares_of(expected)]
    # The damaged image is listed with its sentence, and there is no flood of notifications.
    assert texts["broken"][0] == "failed"
    assert "broken.png" in panel.results.failures.text()
    assert panel.message.text().startswith("3 images done; 1 failed.")
    assert not messages()
    # A click shows one image at a time, and leaves the layers of the user.
    click(panel, "b")
    qtbot.waitUntil(lambda: "b-labels" in viewer.layers, timeout=20_000)
    click(panel, "c", 3)
    qtbot.waitUntil(lambda: "c-labels" in viewer.layers, timeout=20_000)
    added = [layer for layer in viewer.layers if layer not in user]
    assert [layer.name for layer in added] == ["c [1]", "c-labels"]
    np.testing.assert_array_equal(added[0].data, images["c"])
    np.testing.assert_array_equal(added[1].data, together.labels[2])
    assert isinstance(added[1].colormap, HighlightColormap)
    assert panel.dock.result.labels is added[1]
    assert list(viewer.layers)[:3] == user
    # Labels that the user has painted on stay.
    added[1].paint((2, 2), 1)
    click(panel, "a")
    qtbot.waitUntil(lambda: "a-labels" in viewer.layers, timeout=20_000)
    assert added[1] in viewer.layers
    # Another run does not do again what is done.
    stamp = (output / "a-labels.tif").stat().st_mtime_ns
    # The button is disabled until the image in view was read.
    wait(qtbot, panel)
    run(qtbot, panel)
    assert panel.message.text().startswith(
        "3 images done, 3 of them by an earlier run; 1 failed. The results are in photos/"
    )
    # Other settings do not replace results.
    panel.dock.n_clusters.value = 2
    run(qtbot, panel)
    assert panel.results.outcome.directory.name == "napari-kmeans-output-2"
    assert (output / "a-labels.tif").stat().st_mtime_ns == stamp


def test_naming_classes_keeps_how_the_model_was_fitted(
    viewer, panel, qtbot, images, folder, tmp_path
):
    (folder / "broken.png").unlink()
    choose(qtbot, panel, folder)
    panel.dock.random_state.value = 7
    run(qtbot, panel)
    click(panel, "b")
    qtbot.waitUntil(lambda: "b-labels" in viewer.layers, timeout=20_000)
    wait(qtbot, panel)
    clusters = panel.dock.folds["clusters"].open().list
    clusters._clusters.rename(1, "ink")
    clusters._clusters.ignore([4])
    panel.form.model.value = "apply"
    qtbot.waitUntil(lambda: panel.run_button.enabled, timeout=20_000)
    run(qtbot, panel)
    assert panel.results.outcome.directory.name == "napari-kmeans-output-2"
    # The image in view is shown again, with the labels of this run.
    assert panel.dock.result.labels is viewer.layers["b-labels"]
    assert names_of(viewer.layers["b-labels"])[0] == "ink"
    panel.save_batch(tmp_path / "study.yaml")
    for place in (panel.results.outcome.directory, repeat(tmp_path / "study.yaml").directory):
        methods = (place / "napari-kmeans-methods.md").read_text("utf-8")
        assert "One model was fitted to all images together." in methods
        assert "The random seed was 7." in methods
        assert "Pixels of class 4 were ignored" in methods


def test_the_list_stays_at_the_model_of_the_cohort(
    viewer, panel, qtbot, images, folder, finish, tmp_path
):
    """An image that was clustered alone, with the same names, is not listed again."""
    (folder / "broken.png").unlink()
    dock = panel.dock
    viewer.layers["a"].data = 255 - images["a"]
    dock.image.value = viewer.layers["a"]
    dock.run()
    finish(dock)
    alone = viewer.layers["a labels"]
    choose(qtbot, panel, folder)
    run(qtbot, panel)
    assert dock.result.labels is viewer.layers["a-labels"]
    for labels in (alone, dock.result.labels):
        for label in range(1, 5):
            Clusters(labels).rename(label, f"name {label}")
    panel.form.model.value = "apply"
    assert panel.form.classes.text().startswith("From “a-labels”, last run of the cohort:")
    qtbot.waitUntil(lambda: panel.run_button.enabled, timeout=20_000)
    run(qtbot, panel)
    outcome = panel.results.outcome
    fitted = KMeansModel.load(outcome.directory / "napari-kmeans-model.json")
    assert dock.result.labels is viewer.layers["a-labels"]
    np.testing.assert_array_equal(dock.result.model.cluster_centers_, fitted.cluster_centers_)
    assert panel.message.text().startswith("3 images done.")
    assert panel.form.classes.text().startswith("From “a-labels”, last run of the cohort:")
    panel.save_batch(tmp_path / "study.yaml")
    saved = KMeansModel.load(tmp_path / "study-model.json")
    np.testing.assert_array_equal(saved.cluster_centers_, fitted.cluster_centers_)
    # The model of the preview is applied to layers, and the preview is removed.
    panel.form.images.value = "layers"
    panel.form.layers.check([(viewer.layers["b"],)])
    panel.form.layers.checked_by_user.emit()
    run(qtbot, panel)
    assert "a-labels" not in viewer.layers
    assert dock.result.labels is viewer.layers["b labels"]
    np.testing.assert_array_equal(dock.result.model.cluster_centers_, fitted.cluster_centers_)
    viewer.layers.selection.active = alone
    assert panel.form.classes.text().startswith("From “a labels”:")


@pytest.mark.parametrize("results", ["layers", "folder"])
def test_a_fit_of_layers_comes_into_the_list(
    viewer, panel, qtbot, images, finish, tmp_path, results
):
    dock = panel.dock
    other = viewer.add_image(255 - images["a"], name="other", rgb=True)
    dock.image.value = other
    dock.run()
    finish(dock)
    panel.form.layers.check([(viewer.layers[name],) for name in "abc"])
    panel.form.layers.checked_by_user.emit()
    panel.form.results.value = results
    panel.form.output.value = str(tmp_path / "out")
    run(qtbot, panel)
    together = segment(list(images.values()), 4, rgb=True)
    np.testing.assert_array_equal(
        dock.result.model.cluster_centers_, together.model.cluster_centers_
    )


def names_of(labels):
    return [each.name for each in classes_of(labels)]


def show_file(qtbot, panel, viewer, name):
    click(panel, name)
    qtbot.waitUntil(lambda: f"{name}-labels" in viewer.layers, timeout=20_000)
    wait(qtbot, panel)
    return viewer.layers[f"{name}-labels"]


def test_names_go_to_the_next_image_and_to_a_second_fit(viewer, panel, qtbot, folder, tmp_path):
    (folder / "broken.png").unlink()
    choose(qtbot, panel, folder)
    run(qtbot, panel)
    edited = Clusters(show_file(qtbot, panel, viewer, "b"))
    edited.rename(1, "ink")
    edited.set_color(1, "#ff0080")
    edited.ignore([4])
    # A click on another image shows its classes with the names.
    labels = show_file(qtbot, panel, viewer, "a")
    assert "b-labels" not in viewer.layers
    assert names_of(labels) == ["ink", "", "", ""]
    assert classes_of(labels).ignored.tolist() == [False, False, False, True]
    assert labels.features["color"][0] == "#ff0080"
    # Fewer clusters, in another color space: the file of the labels and the table have the names.
    panel.dock.n_clusters.value, panel.dock.color_space.value = 3, "lab"
    run(qtbot, panel)
    message = panel.message.text().splitlines()
    assert message[0].endswith("The results are in photos/napari-kmeans-output-2.")
    assert message[1].startswith("Names and edits are kept by color in cluster")
    assert shown(panel)[1][1] == "ink"
    directory = panel.results.outcome.directory
    model = KMeansModel.load(directory / "napari-kmeans-model.json")
    assert (model.classes[1].name, model.classes[1].color) == ("ink", "#ff0080")
    assert model.options.color_space == "lab"
    labels = show_file(qtbot, panel, viewer, "c")
    assert names_of(labels)[0] == "ink"
    # The same fit again goes on in its folder, and another name needs another folder.
    run(qtbot, panel)
    assert "3 of them by an earlier run" in panel.message.text()
    assert panel.results.outcome.directory == directory
    Clusters(show_file(qtbot, panel, viewer, "c")).rename(1, "ink spot")
    run(qtbot, panel)
    assert panel.results.outcome.directory.name == "napari-kmeans-output-3"
    # The batch gives the same labels with the same names.
    panel.save_batch(tmp_path / "study.yaml")
    assert Study.load(tmp_path / "study.yaml").classes[1]["name"] == "ink spot"
    done = repeat(tmp_path / "study.yaml")
    for name in "abc":
        both = [
            read_image(place / f"{name}-labels.tif").pixels
            for place in (done.directory, panel.results.outcome.directory)
        ]
        np.testing.assert_array_equal(*both)
    assert list(done.shares.columns[:4]) == ["image", "file", "far_share", "ink spot"]
    panel.dock.n_clusters.value = 4
    panel.save_batch(tmp_path / "other.yaml")
    assert not Study.load(tmp_path / "other.yaml").classes


def test_classes_merged_in_the_dock_have_the_colors_of_a_study(viewer, panel, qtbot, tmp_path):
    """The clusters have other shares in each image, and those of the fit give the color."""
    folder = tmp_path / "photos"
    folder.mkdir()
    colors = np.array([[10, 10, 10], [100, 20, 20], [140, 40, 20], [230, 230, 200]], np.uint8)
    for name, counts in (("a", [100, 90, 10, 100]), ("b", [100, 10, 90, 100])):
        image = np.repeat(colors, counts, axis=0).reshape(15, 20, 3)
        Image.fromarray(image).save(folder / f"{name}.png")
    panel.dock.n_clusters.value = 4
    choose(qtbot, panel, folder)
    run(qtbot, panel)
    show_file(qtbot, panel, viewer, "a")
    clusters = panel.dock.folds["clusters"].open().list._clusters
    clusters.merge([2, 3])
    assert clusters.hex_color(2) == "#781e14"
    panel.form.model.value = "apply"
    qtbot.waitUntil(lambda: panel.run_button.enabled, timeout=20_000)
    run(qtbot, panel)
    study = Study(
        images=("photos",),
        fit={"n_clusters": 4},
        classes={2: {"merge": [3]}},
        output=str(tmp_path / "study"),
        folder=tmp_path,
    )
    with notices_to(lambda _sentence: None):
        done = run_study(study)
    for table in (panel.results.outcome.table, done.table):
        assert set(table.loc[table["class"] == 2, "color"]) == {"#781e14"}


def test_a_second_fit_of_layers_keeps_names(viewer, panel, qtbot):
    run(qtbot, panel)
    assert "kept" not in panel.message.text()
    clusters = Clusters(viewer.layers["b labels"])
    clusters.rename(clusters.merge([1, 2]), "dark")
    clusters.rename(4, "pale")
    panel.dock.color_space.value = "hsv"
    run(qtbot, panel)
    assert panel.message.text().splitlines()[1] == (
        "Names and edits are kept by color in clusters 1 “dark” and 4 “pale”."
    )
    for name in "abc":
        assert names_of(viewer.layers[f"{name} labels"]) == ["dark", "", "pale"]
    # Each layer has its own names: those in the list count.
    Clusters(viewer.layers["c labels"]).rename(3, "middle")
    viewer.layers.selection.active = viewer.layers["c labels"]
    run(qtbot, panel)
    assert names_of(viewer.layers["a labels"]) == ["dark", "middle", "pale"]
    # A new cluster of another color is stated.
    panel.dock.n_clusters.value = 5
    viewer.layers["c"].data[:4, :4] = 255, 0, 255
    run(qtbot, panel)
    assert "is new and has no name." in panel.message.text().splitlines()[1]


def test_names_of_colors_that_are_gone_are_stated(viewer, panel, qtbot, images):
    run(qtbot, panel)
    clusters = Clusters(viewer.layers["a labels"])
    for label in clusters.labels:
        clusters.rename(label, f"name {label}")
    for name in images:
        viewer.layers[name].data = np.full_like(images[name], 128)
        viewer.layers[name].data[:4] = images["a"][0, 0]
    panel.dock.n_clusters.value = 2
    run(qtbot, panel)
    first, second, third = panel.message.text().splitlines()
    assert first == "3 images done."
    assert second.startswith("Names and edits are kept by color in ")
    assert third.startswith("No cluster of the new result has the color of “name ")
    names = names_of(viewer.layers["a labels"])
    assert len([name for name in names if name]) == 1
    assert all(f"“{name}”" in second for name in names if name)


def test_a_batch_of_layers_names_their_files(viewer, panel, qtbot, images, folder, tmp_path):
    panel.form.layers.check([])
    with pytest.raises(ValueError, match="images must be one or more layers, got none: check"):
        panel.save_batch(tmp_path / "study.yaml")
    viewer.layers.clear()
    for name in "ab":
        # napari takes a smaller file for a stack.
        pixels = np.kron(images[name], np.ones((3, 3, 1), np.uint8))
        Image.fromarray(pixels).save(folder / f"{name}.png")
        viewer.open(folder / f"{name}.png", plugin="napari")
    panel.save_batch(tmp_path / "study.yaml")
    wait(qtbot, panel)
    study = Study.load(tmp_path / "study.yaml")
    assert study.images == ("photos/a.png", "photos/b.png")
    run(qtbot, panel)
    done = repeat(tmp_path / "study.yaml")
    for name in "ab":
        labels = read_image(done.directory / f"{name}-labels.tif").pixels
        np.testing.assert_array_equal(viewer.layers[f"{name} labels"].data, labels)
    viewer.layers["b"].data = 255 - viewer.layers["b"].data
    panel.save_batch(tmp_path / "other.yaml")
    wait(qtbot, panel)
    assert "the layer 'b' must have the pixels of a file" in panel.message.text()
    assert not (tmp_path / "other.yaml").exists()


def test_layers_are_written_to_a_folder_and_done_again(viewer, panel, qtbot, images, tmp_path):
    panel.form.results.value = "folder"
    panel.form.output.value = str(tmp_path / "out")
    panel.form.model.value = "some"
    panel.form.fit_on.check([(viewer.layers["a"],)])
    viewer.layers["c"].name = "c/d"
    run(qtbot, panel)
    model = segment(images["a"], 4, rgb=True).model
    expected = model.predict(images["c"])
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "c_d-labels.tif").pixels, expected)
    assert list(viewer.layers) == list(viewer.layers)[:3]
    # A layer may have other pixels now, which no file tells.
    viewer.layers["c/d"].data = images["c"][::-1].copy()
    run(qtbot, panel)
    labels = read_image(tmp_path / "out" / "c_d-labels.tif").pixels
    np.testing.assert_array_equal(labels, expected[::-1])


def test_layers_in_other_units_are_marked_in_the_table(viewer, panel, qtbot, images):
    run(qtbot, panel)
    viewer.add_image(images["a"] / 255, name="floats", rgb=True)
    panel.form.model.value = "apply"
    run(qtbot, panel)
    texts, titles = shown(panel)
    assert titles == ["Image", "1", "2", "3", "4", "Problem"]
    assert "\n1 image has other units than the model (floats): the shares" in panel.message.text()
    problems = {name: row[-1] for name, row in texts.items()}
    assert problems.pop("floats") == "other units than the model"
    assert set(problems.values()) == {""}
    # The shares of far pixels are for the saved table only.
    far = panel.results.outcome.table.groupby("image")["far_share"].first()
    assert far.index[far.isna()].tolist() == ["floats"]


def test_groups_regions_and_copied_table(viewer, panel, qtbot, images, tmp_path):
    for group, name in (("old", "a"), ("new", "b")):
        (tmp_path / "photos" / group).mkdir(parents=True)
        Image.fromarray(images[name]).save(tmp_path / "photos" / group / f"{name}.png")
    panel.form.groups.value, panel.form.regions.value = "subfolder", "grid"
    panel.form.grid.value = 14
    choose(qtbot, panel, tmp_path / "photos")
    run(qtbot, panel)
    _, titles = shown(panel)
    assert titles == ["Image", "Group", "Region", "1", "2", "3", "4"]
    assert panel.results.outcome.directory == tmp_path / "photos-napari-kmeans-output"
    frame = panel.results.table.shares.frame()
    assert frame.groupby("image")["group"].first().to_dict() == {"a": "old", "b": "new"}
    labels = read_image(panel.results.outcome.directory / "b-labels.tif").pixels
    first = frame[(frame["image"] == "b")].iloc[0, 3:7].to_numpy(float)
    np.testing.assert_allclose(first, shares_of(labels[:14, :14]))
    panel.results.copy_button.native.click()
    lines = QGuiApplication.clipboard().text().splitlines()
    numbers = [f"class {label}" for label in range(1, 5)]
    assert lines[0].split("\t") == ["image", "group", "region", *numbers]
    assert len(lines) == 1 + len(frame)
    panel.results.save_table(tmp_path / "all.csv", measurements=True)
    assert (tmp_path / "all.csv").read_text().startswith("image,group,file,far_share,region,")


def test_files_are_shown_where_names_do_not_tell_them(viewer, panel, qtbot, images, tmp_path):
    for place, name in (("old", "a"), ("new", "b"), ("new", "a")):
        (tmp_path / "photos" / place).mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[name]).save(tmp_path / "photos" / place / f"{name}.png")
    panel.form.recursive.value = True
    choose(qtbot, panel, tmp_path / "photos")
    run(qtbot, panel)
    texts, titles = shown(panel)
    assert titles[-1] == "File"
    files = {name: row[-1] for name, row in texts.items()}
    assert files == {"a": "new/a.png", "a-2": "old/a.png", "b": "new/b.png"}


def test_a_table_gives_the_groups(panel, qtbot, folder, tmp_path, choose_file):
    (folder / "broken.png").unlink()
    table = tmp_path / "groups.csv"
    table.write_text("image,group,day\na.png,old,1\nb,young,2\n")
    panel.form.groups.value = "table"
    choose(qtbot, panel, folder)
    with pytest.raises(ValueError, match="the table of the groups must be given, got none"):
        panel.cohort()
    choose_file(table)
    panel.form.group_table_button.native.click()
    about = panel.form.about_table
    qtbot.waitUntil(lambda: about.text() == "2 of 3 images have a row.", timeout=20_000)
    qtbot.waitUntil(lambda: panel.run_button.enabled, timeout=20_000)
    run(qtbot, panel)
    groups = panel.results.outcome.table.groupby("image")["group"].first().to_dict()
    assert (groups["a"], groups["b"]) == ("old", "young")
    panel.save_batch(tmp_path / "study.yaml")
    assert Study.load(tmp_path / "study.yaml").metadata_file == "groups.csv"
    assert repeat(tmp_path / "study.yaml").table["group"].dropna().unique().tolist() == [
        "old",
        "young",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "image;treatment;day\na;old;1\n",
            "1 of 3 images has a row. No column has the name group, so that nothing is compared: "
            "the columns are treatment and day.",
        ),
        ("image,group\na,old\na,new\n", "must have one row for each image, got several for a"),
        ("image,percent\na,1\n", "must not have the name of a column of the table, got percent"),
        (None, "cannot be read"),
    ],
)
def test_a_table_without_groups_is_described(panel, qtbot, folder, tmp_path, text, sentence):
    (folder / "broken.png").unlink()
    if text is not None:
        (tmp_path / "groups.csv").write_text(text)
    panel.form.groups.value = "table"
    panel.form.group_table.value = str(tmp_path / "groups.csv")
    choose(qtbot, panel, folder)
    assert sentence in panel.form.about_table.text()


def test_a_figure_of_the_groups_is_saved(panel, qtbot, folder, tmp_path, choose_file):
    for name, group in (("a", "old_1"), ("b", "old_2"), ("c", "young_1")):
        (folder / f"{name}.png").rename(folder / f"{group}.png")
    panel.form.groups.value = "name"
    choose(qtbot, panel, folder)
    with pytest.raises(ValueError, match="there is no table yet: run the cohort first"):
        panel.save_figure(tmp_path / "early.png")
    run(qtbot, panel)
    choose_file(tmp_path / "shares")
    panel.figure_button.native.click()
    qtbot.waitUntil(lambda: panel.message.text() == "The figure is in shares.png.", timeout=60_000)
    picture = np.asarray(Image.open(tmp_path / "shares.png").convert("RGB"))
    seen = {tuple(color) for color in picture.reshape(-1, 3).tolist()}
    # The mean of each group is a dark line, and each class has axes on white.
    assert {(255, 255, 255), (0x33, 0x33, 0x33)} <= seen
    wait(qtbot, panel)
    panel.save_figure(tmp_path / "shares.svg")
    wait(qtbot, panel)
    text = (tmp_path / "shares.svg").read_text("utf-8")
    assert all(each in text for each in ("old", "young", "n = 2", "n = 1", "class 4"))
    panel.save_figure(tmp_path / "shares.gif")
    wait(qtbot, panel)
    assert "must be saved as .png, .svg or .pdf, got 'shares.gif'" in panel.message.text()
    assert panel.figure_button.enabled


def test_a_field_and_a_class_of_one_name_are_two_columns():
    image = np.array([[0, 0, 9]], np.uint8)
    table = measure(segment([image, image], 2), names=["old_1_a", "new_2_b"])
    table.loc[table["class"] == 2, "name"] = "leaf"
    table = add_metadata(table, "{group}_{leaf}_{rest}")
    shares = Shares.of(table, {"x_3": "damaged"})
    # As in the tables of a study.
    assert pivot_measurements(table).columns[-1] == shares.headings[-1]
    assert [line.split("\t") for line in shares.text().splitlines()] == [
        ["image", "group", "class 1", "leaf (2)", "leaf"],
        ["old_1_a", "old", "66.6667", "33.3333", "1"],
        ["new_2_b", "new", "66.6667", "33.3333", "2"],
        ["x_3", "", "failed", "", ""],
    ]
    frame = shares.frame()
    assert frame.columns.is_unique
    assert frame["leaf"].tolist() == ["1", "2"]


def test_the_shares_of_some_classes_fit_beside_the_images(qtbot):
    classes = tuple(ShareClass(n, f"a class of long name {n}", "#808080") for n in (1, 2, 3))
    rows = ((("a",), (20.0, 30.0, 50.0), ("old", "x" * 90)),)
    table = ShareTable()
    qtbot.addWidget(table)
    table.resize(320, 200)
    table.show()
    table.show_shares(Shares(("image",), classes, rows, {}, ("group", "plant")))
    viewport = table.viewport()
    assert sum(map(table.columnWidth, range(4))) <= viewport.width()
    assert table.columnViewportPosition(4) + table.columnWidth(4) > viewport.width()


@pytest.mark.parametrize(
    ("pattern", "used"),
    [
        ("{treatment}_{leaf}.jpg", "{group}_{leaf}.jpg"),
        ("{leaf}_{group}", "{leaf}_{group}"),
        ("{rest}_{treatment}", "{rest}_{group}"),
        ("{{a}}_{b}", "{{a}}_{group}"),
        ("", ""),
    ],
)
def test_the_first_field_of_a_pattern_is_the_group(pattern, used):
    assert with_group(pattern) == used


def test_cancel_keeps_the_images_that_are_done(viewer, panel, qtbot, images, slow):
    layer = viewer.add_image(np.asarray(slow), name="slow", rgb=True)
    layer.data = slow
    viewer.layers.move(viewer.layers.index(layer), 1)
    panel.form.model.value = "some"
    panel.form.fit_on.check([(viewer.layers["a"],)])
    panel.run_button.native.click()
    qtbot.waitUntil(slow.asked.is_set, timeout=20_000)
    assert not panel.run_button.enabled
    panel._show_state()
    assert panel.message.text().startswith("1 of 4 images")
    panel.cancel_button.native.click()
    # The worker passes the cancellation on to its work within a twentieth of a second.
    qtbot.wait(300)
    slow.go_on.set()
    wait(qtbot, panel)
    expected = segment(images["a"], 4, rgb=True).labels
    np.testing.assert_array_equal(viewer.layers["a labels"].data, expected)
    assert "b labels" not in viewer.layers
    assert panel.message.text().startswith("Stopped: 1 of 4 images")
    assert list(shown(panel)[0]) == ["a"]
    # An image that fails is listed, and the others are done.
    slow.error = OSError("the disk is gone")
    run(qtbot, panel)
    assert panel.results.failures.text() == "slow: the disk is gone"
    assert {"a labels", "b labels", "c labels"} <= {each.name for each in viewer.layers}
    # A click hides the other images of the cohort, and shows the classes in the panels.
    click(panel, "b", 2)
    assert [name for name in "abc" if viewer.layers[name].visible] == ["b"]
    assert [name for name in "abc" if viewer.layers[f"{name} labels"].visible] == ["b"]
    assert panel.dock.result.labels is viewer.layers["b labels"]
    assert isinstance(viewer.layers["b labels"].colormap, HighlightColormap)


def test_layers_that_a_click_hides_can_be_shown_again(viewer, panel, qtbot, images):
    viewer.add_image(images["a"][..., 0], name="other", rgb=False)
    viewer.layers.selection.active = viewer.layers["a"]
    viewer.layers["c"].visible = False
    run(qtbot, panel)
    before = {layer.name: layer.visible for layer in viewer.layers}
    button = panel.results.all_button
    assert button.native.isHidden()
    click(panel, "b")
    click(panel, "c")
    shown = {layer.name for layer in viewer.layers if layer.visible}
    # The layers of other images stay as they are.
    assert {each for each in shown if "recolored" not in each} == {"c", "c labels", "other"}
    assert not button.native.isHidden()
    button.native.click()
    assert {layer.name: layer.visible for layer in viewer.layers} == before
    assert button.native.isHidden()
    # A further run finds all layers as they were.
    click(panel, "a")
    run(qtbot, panel)
    assert {layer.name: layer.visible for layer in viewer.layers} == before


@pytest.mark.window
@pytest.mark.parametrize("closed", ["dock", "viewer"])
def test_closing_stops_the_cohort(viewer, panel, qtbot, slow, closed):
    layer = viewer.add_image(np.asarray(slow), name="slow", rgb=True)
    layer.data = slow
    panel.form.model.value = "some"
    panel.form.fit_on.check([(viewer.layers["a"],)])
    worker = panel.run()
    qtbot.waitUntil(slow.asked.is_set, timeout=20_000)
    dock = panel.dock
    if closed == "dock":
        viewer.window.remove_dock_widget(dock.native)
    else:
        viewer.close()
    assert worker.abort_requested
    slow.go_on.set()
    qtbot.waitUntil(lambda: not worker.is_running, timeout=20_000)
    qtbot.wait(50)
    assert not any(METADATA_KEY in each.metadata for each in viewer.layers)
    assert not messages()
    if closed == "dock":
        dock.native.deleteLater()
        qtbot.wait(50)


def test_wrong_choices_are_sentences(viewer, panel, qtbot, folder):
    choose(qtbot, panel, folder)
    panel.form.pixels.value = "many"
    panel.run_button.native.click()
    assert panel.message.text().startswith("pixels_per_image must be")
    panel.form.pixels.value = "all"
    panel.form.pattern.value = "*.tif"
    qtbot.waitUntil(lambda: panel.form.found.text() == "0 images found.", timeout=20_000)
    assert not panel.run_button.enabled
    panel.form.model.value = "apply"
    assert panel.form.classes.text().startswith("There is no model yet")
    assert Path(panel.form.folder.value) == folder


def test_the_panel_fits_into_a_narrow_dock(panel):
    panel.form.more.expand(animate=False)
    for images in ("layers", "files"):
        panel.form.images.value = images
        assert panel.minimumSizeHint().width() <= 330
