"""Days of work in the real viewer: all numbers are those of the pixels, counted by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QRect, Qt
from qtpy.QtWidgets import QComboBox, QScrollArea, QWidget
from scipy.spatial.distance import cdist

from napari_kmeans.samples import histology
from napari_kmeans.viewer.dock.mask_choices import ClassesOf
from napari_kmeans.viewer.widgets.cluster_list import AREA, NAME, PERCENT

CHANNELS = ["DAPI", "GFP", "mCherry", "Cy5"]
MICROMETERS = {"scale": (0.5, 0.5), "units": ("um", "um")}


@pytest.fixture
def work_done(qtbot):
    """Return a function that processes events until the work of a panel has ended."""

    def wait(panel):
        qtbot.waitUntil(lambda: not panel.is_working, timeout=20_000)

    return wait


@pytest.fixture
def saved_table(tmp_path):
    """Return a function that saves the table of the result in view, and reads the file."""

    def save(dock):
        dock.folds["export"].open().save_table(tmp_path / "table.csv")
        return pd.read_csv(tmp_path / "table.csv", keep_default_na=False, na_values={"percent": ""})

    return save


def column_of_list(dock, column):
    """Return the texts of a column of the list of clusters; µ as in the other texts."""
    model = dock.folds["clusters"].open().list.table.model()
    cells = [model.data(model.index(row, column)) for row in range(model.rowCount())]
    return [cell.replace("\u03bc", "µ") for cell in cells]


def headers_of_list(dock):
    model = dock.folds["clusters"].open().list.table.model()
    return [model.headerData(n, Qt.Orientation.Horizontal) for n in range(model.columnCount())]


def rename(dock, label, name):
    model = dock.folds["clusters"].open().list.table.model()
    assert model.setData(model.index(model.labels.index(label), NAME), name)


def check_slide(dock, table, labels, pixel_area):
    """Check list, features and saved table of the classes 1, 2 and 4, of which 4 is ignored."""
    counts = np.array([np.sum(labels == label) for label in (1, 2, 4)])
    percent = 100 * counts[:2] / counts[:2].sum()
    for each in (table, dock.result.labels.features):
        assert each["index"].tolist() == [1, 2, 4]
        assert each["pixels"].tolist() == counts.tolist()
        np.testing.assert_allclose(each["percent"], [*percent, np.nan], rtol=1e-6)
        np.testing.assert_allclose(each["area"], counts * pixel_area, rtol=1e-6)
        assert {unit.replace("\u03bc", "µ") for unit in each["unit"]} == {"µm²"}
        assert each["name"].tolist() == ["nuclei", "stroma", "background"]
        assert each["ignored"].tolist() == [False, False, True]
        assert each["color"][0] == "#0000ff"
    assert column_of_list(dock, NAME) == ["nuclei", "stroma", "background"]
    assert column_of_list(dock, PERCENT) == [*(f"{each:.1f} %" for each in percent), "ignored"]
    areas = [float(text.removesuffix(" µm²")) for text in column_of_list(dock, AREA)]
    np.testing.assert_allclose(areas, counts * pixel_area, rtol=5e-3)
    colors = dock.result.labels.colormap.color_dict
    np.testing.assert_allclose(colors[1], [0, 0, 1, 1])
    assert colors[4][3] == 0


def test_stained_slides_keep_their_classes(viewer, open_dock, finish, work_done, saved_table):
    slide = viewer.add_image(histology()[300:350, 200:240], name="one", **MICROMETERS)
    darker = (histology()[480:420:-1, 300:240:-1] * 0.9).astype(np.uint8)
    other = viewer.add_image(darker, name="two", scale=(0.25, 0.25), units=("um", "um"))
    dock = open_dock()
    viewer.layers.selection.active = slide
    dock.run()
    finish(dock)
    centers = dock.result.model.cluster_centers_
    truth = [
        np.array([1, 2, 2, 4])[cdist(image.data.reshape(-1, 3), centers).argmin(axis=1)]
        for image in (slide, other)
    ]
    clusters = dock.folds["clusters"].open().list
    assert clusters.merge([2, 3]) == 2
    for label, name in {1: "nuclei", 2: "stroma", 4: "background"}.items():
        rename(dock, label, name)
    clusters.select([4])
    clusters.ignore_action.trigger()
    clusters.set_color(1, "#0000ff")
    clusters.select([])
    np.testing.assert_array_equal(dock.result.labels.data.ravel(), truth[0])
    check_slide(dock, saved_table(dock), truth[0], 0.25)
    # The second slide is active, and gets the same classes by one click.
    viewer.layers.selection.active = other
    panel = dock.folds["apply"].open()
    panel.apply_button.native.click()
    work_done(panel)
    viewer.layers.selection.active = viewer.layers["two labels"]
    np.testing.assert_array_equal(dock.result.labels.data.ravel(), truth[1])
    check_slide(dock, saved_table(dock), truth[1], 0.0625)


def make_cells(seed):
    """Return the classes of cells in five markers, and their four channels in uint16."""
    rng = np.random.default_rng(seed)
    classes = np.repeat(rng.permutation([0, 0, 0, 1, 2, 3, 4]), 6)[:, None].repeat(30, axis=1)
    means = np.array(
        [
            [100, 120, 90, 110],
            [3000, 200, 150, 180],
            [900, 2500, 160, 170],
            [200, 300, 1800, 220],
            [600, 250, 300, 3900],
        ]
    )
    noise = rng.normal(0, 20, (*classes.shape, 4))
    return classes, (means[classes] + noise).round().astype(np.uint16)


def check_classes(labels, classes):
    """Check that each class has one label of its own, and return the class of each label."""
    pairs = np.unique(np.stack([labels.ravel(), classes.ravel()]), axis=1)
    assert pairs[0].tolist() == [1, 2, 3, 4, 5]
    assert sorted(pairs[1]) == [0, 1, 2, 3, 4]
    return pairs[1]


def check_width(dock):
    """Check that no panel and no field is cut off or covered in a dock of its first width."""
    content = dock.native.findChild(QScrollArea).widget()
    for each in content.findChildren(QWidget):
        # In a window that is not shown, widgets do not have napari's style yet.
        each.ensurePolished()
        each.updateGeometry()
    assert content.minimumSizeHint().width() <= 330
    fields = [dock.n_clusters, dock.n_clusters_slider, dock.which_button]
    numbers = fields[0].native.parentWidget()
    numbers.layout().setGeometry(QRect(0, 0, numbers.minimumSizeHint().width(), 24))
    number, slider, button = (each.native.geometry() for each in fields)
    assert number.right() < slider.left() < slider.right() < button.left()


def test_channels_keep_their_names(viewer, open_dock, finish, work_done, saved_table, tmp_path):
    (classes, image), (other_classes, other) = make_cells(0), make_cells(1)
    layers = [
        viewer.add_image(image[..., n], name=f"A1 {name}", **MICROMETERS)
        for n, name in enumerate(CHANNELS)
    ]
    dock = open_dock()
    viewer.layers.selection = {*layers}
    dock.together.value, dock.n_clusters.value = True, 5
    dock.run()
    finish(dock)
    labels = dock.result.labels
    order = check_classes(labels.data, classes)
    assert headers_of_list(dock)[-4:] == CHANNELS
    means = np.array([image[classes == number].mean(axis=0) for number in order])
    for table in (labels.features, saved_table(dock)):
        shown = table[[f"mean {name}" for name in CHANNELS]]
        np.testing.assert_allclose(shown, means, rtol=1e-5)
        areas = [np.sum(classes == number) * 0.25 for number in order]
        np.testing.assert_allclose(table["area"], areas)
    for fold in dock.folds.values():
        fold.open()
    boxes = dock.folds["colors"].open().findChildren(QComboBox)
    assert [[box.itemText(n) for n in range(box.count())] for box in boxes] == [CHANNELS] * 3
    check_width(dock)
    panel = dock.folds["apply"].open()
    panel.save(tmp_path / "model.json")
    assert json.loads((tmp_path / "model.json").read_text())["channel_names"] == CHANNELS
    rename(dock, 1, "medium")
    # The layers of the second well are in another order, and are found by their names.
    second = [
        viewer.add_image(other[..., n], name=f"B7 {CHANNELS[n]}", **MICROMETERS)
        for n in (2, 0, 3, 1)
    ]
    viewer.layers.selection = {*second}
    panel.apply_button.native.click()
    work_done(panel)
    (applied,) = (each for each in viewer.layers if "B7" in each.name and "labels" in each.name)
    np.testing.assert_array_equal(check_classes(applied.data, other_classes), order)
    assert applied.features["name"].tolist() == ["medium", "", "", "", ""]
    # One layer with the channels as an axis gives the same labels.
    stack = np.moveaxis(image, -1, 0)
    axes = {"scale": (1, 0.5, 0.5), "units": ("pixel", "um", "um"), "axis_labels": ("c", "y", "x")}
    viewer.layers.selection.active = viewer.add_image(stack, name="stack", **axes)
    dock.run()
    finish(dock)
    np.testing.assert_array_equal(viewer.layers["stack labels"].data, labels.data)
    assert column_of_list(dock, AREA)[0] == f"{np.sum(labels.data == 1) * 0.25:.3g} µm²"


def test_volume_inside_a_mask(viewer, open_dock, finish, qtbot, saved_table):
    millimeters = {"units": ("mm",) * 3, "axis_labels": ("z", "y", "x")}
    # Head and skull, and inside: fluid, gray and white matter of two kinds.
    tissue = np.zeros((4, 16, 20), int)
    tissue[:, 1:15, 1:19] = 1
    brain = np.zeros(tissue.shape, bool)
    brain[:, 2:14, 2:18] = True
    tissue[brain] = 2
    tissue[:, 4:8, 4:16], tissue[:, 8:12, 4:10], tissue[:, 8:12, 10:16] = 3, 4, 5
    values = np.array([-1000, 900, 5, 30, 60, 64])[tissue]
    image = (values + np.random.default_rng(0).integers(-1, 2, values.shape)).astype(np.int16)
    scan = viewer.add_image(
        image, name="CT", scale=(5, 0.5, 0.5), translate=(7, 20, 30), **millimeters
    )
    # The mask has voxels twice as large. Its first voxel covers the first four of a plane.
    mask = viewer.add_labels(
        brain[:, ::2, ::2].astype(np.uint8),
        name="brain",
        scale=(5, 1, 1),
        translate=(7, 20.25, 30.25),
        **millimeters,
    )
    dock = open_dock()
    viewer.layers.selection.active = scan
    dock.mask.value, dock.n_clusters.value = mask, 3
    dock.run()
    finish(dock)
    labels = dock.result.labels
    truth = np.array([0, 0, 1, 2, 3, 3])[tissue]
    np.testing.assert_array_equal(labels.data, truth)
    table = saved_table(dock)
    np.testing.assert_allclose(table["volume"], np.bincount(truth.ravel())[1:] * 1.25)
    assert set(table["unit"]) == {"mm³"}
    assert column_of_list(dock, AREA) == [f"{volume:.3g} mm³" for volume in table["volume"]]
    # The white matter alone: other labels, in another layer.
    dock.mask.value = ClassesOf(labels)
    dock.mask_classes.value = (3,)
    dock.n_clusters.value = 2
    dock.run()
    finish(dock)
    assert dock.result.labels is not labels
    np.testing.assert_array_equal(labels.data, truth)
    np.testing.assert_array_equal(dock.result.labels.data, np.array([0, 0, 0, 0, 4, 5])[tissue])
    # Live follows the mask while it is painted.
    dock.mask.value, dock.n_clusters.value = mask, 3
    dock.live.value = True
    finish(dock)
    mask.selected_label, mask.brush_size = 0, 2
    mask.paint((1, 1, 1), 0)
    inside = np.repeat(np.repeat(mask.data > 0, 2, axis=1), 2, axis=2)
    assert 0 < inside.sum() < brain.sum()
    qtbot.waitUntil(lambda: np.array_equal(labels.data > 0, inside), timeout=20_000)
    finish(dock)
    expected = np.where(inside, truth, 0)
    np.testing.assert_array_equal(labels.data, expected)
    assert labels.features["pixels"].tolist() == np.bincount(expected.ravel())[1:].tolist()


@pytest.mark.parametrize("stack", ["whole", "each"])
def test_time_lapse_has_a_table_of_frames(viewer, open_dock, finish, saved_table, stack):
    truth = np.ones((4, 10, 12), int)
    for frame in range(4):
        truth[frame, : 1 + frame], truth[frame, 6:, : 2 + 2 * frame] = 3, 2
    movie = np.array([0, 50, 150, 230], np.uint8)[truth]
    movie += np.random.default_rng(0).integers(0, 3, movie.shape, np.uint8)
    viewer.add_image(
        movie, scale=(30, 0.5, 0.5), units=("s", "um", "um"), axis_labels=("t", "y", "x")
    )
    dock = open_dock()
    dock.stack.value, dock.n_clusters.value = stack, 3
    dock.run()
    finish(dock)
    np.testing.assert_array_equal(dock.result.labels.data, truth)
    counts = np.array([np.bincount(frame.ravel())[1:] for frame in truth])
    table = saved_table(dock)
    assert table["frame"].tolist() == np.repeat(range(4), 3).tolist()
    assert table["index"].tolist() == [1, 2, 3] * 4
    assert table["pixels"].tolist() == counts.ravel().tolist()
    np.testing.assert_allclose(table["area"], counts.ravel() * 0.25)
    np.testing.assert_allclose(table["percent"], counts.ravel() / 1.2)
    assert headers_of_list(dock)[AREA] == "Area / frame"
    areas = [float(text.removesuffix(" µm²")) for text in column_of_list(dock, AREA)]
    np.testing.assert_allclose(areas, counts.mean(axis=0) * 0.25, rtol=5e-3)
