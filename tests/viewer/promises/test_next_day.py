"""Days of work from the image to the files, and the next day from the files to the edits."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from napari.layers import Labels

from napari_kmeans.viewer.provenance import kind_of
from napari_kmeans.viewer.read_results import get_reader
from napari_kmeans.viewer.to_layers.clusters import Clusters
from napari_kmeans.viewer.to_layers.layer_classes import classes_of

MICROMETERS = {"scale": (0.5, 0.25), "units": ("um", "um"), "axis_labels": ("y", "x")}
UNITS = {"µm²": 1.0, "mm²": 1e6}


@pytest.fixture
def open_again(viewer):
    """Return a function that removes all layers, and opens a file as napari does."""

    def open_it(path):
        viewer.layers.clear()
        return [
            viewer.add_layer(Labels(data, **attributes))
            for data, attributes, _ in get_reader(str(path))(str(path))
        ]

    return open_it


def listed_rows(dock):
    """Return the rows of the list of clusters as the screen shows them, by label."""
    model = dock.folds["clusters"].open().list.table.model()
    rows = [
        [str(model.index(row, column).data()) for column in range(model.columnCount())]
        for row in range(model.rowCount())
    ]
    return {int(row[0]): row for row in rows}


def saved_table(dock, path):
    dock.folds["export"].open().save_table(path)
    return pd.read_csv(path)


def count(pixels):
    """Return the number of pixels of each label but 0."""
    labels, counts = np.unique(np.asarray(pixels), return_counts=True)
    pairs = zip(labels.tolist(), counts.tolist(), strict=True)
    return {label: number for label, number in pairs if label}


def counts_in(table):
    return {label: n for label, n in zip(table["index"], table["pixels"], strict=True) if n}


def describe(dock):
    """Return everything that the list shows of the clusters of the result in view."""
    layer = dock.result.labels
    clusters = Clusters(layer)
    looks = [
        (label, clusters.name(label), clusters.hex_color(label), clusters.is_shown(label))
        for label in clusters.labels
    ]
    place = layer.scale.tolist(), layer.units, layer.axis_labels
    return listed_rows(dock), looks, classes_of(layer), clusters.color_scheme, place


def test_areas_of_a_slide_sum_to_its_area(viewer, open_dock, finish, quadrants, tmp_path):
    slide = np.kron(quadrants, np.ones((8, 8, 1), np.uint8))
    levels = [da.from_array(slide[::step, ::step], chunks=(50, 50, 3)) for step in (1, 2, 4)]
    viewer.add_image(levels, rgb=True, name="slide", **MICROMETERS)
    dock = open_dock()
    dock.level.value = 1
    dock.run()
    finish(dock)
    area = 160 * 168 * 0.125
    assert dock.status.text().endswith("fitted on level 1 of 3")
    for table in (dock.result.labels.features, saved_table(dock, tmp_path / "slide.csv")):
        assert (table["area"] * table["unit"].map(UNITS)).sum() == pytest.approx(area, rel=1e-9)
    listed = [row[3].replace(",", "").split() for row in listed_rows(dock).values()]
    assert sum(float(number) * UNITS[unit] for number, unit in listed) == pytest.approx(area)


def test_a_leaf_that_was_corrected_by_hand(viewer, open_dock, finish, quadrants, qtbot, tmp_path):
    viewer.add_image(quadrants, rgb=True, name="leaf", **MICROMETERS)
    dock = open_dock()
    dock.run()
    finish(dock)
    (layer,) = [each for each in viewer.layers if isinstance(each, Labels)]
    layer.brush_size = 5
    for correct in (
        lambda: layer.paint((4, 4), 2),
        lambda: layer.fill((15, 15), 1),
        lambda: layer.paint((15, 4), 0),
        lambda: layer.paint((4, 15), 9),
    ):
        correct()
        truth = count(layer.data)
        qtbot.waitUntil(lambda truth=truth: counts_in(layer.features) == truth)
        assert counts_in(saved_table(dock, tmp_path / "leaf.csv")) == truth
        rows = listed_rows(dock)
        total = sum(truth.values())
        for label, number in truth.items():
            assert float(rows[label][2].split()[0]) == pytest.approx(100 * number / total, abs=0.06)
            assert rows[label][3].split()[0] == f"{number * 0.125:.3g}"
    # The list has a row for the label that was painted.
    assert dock.status.text().split(" · ")[0] == "5 clusters"
    corrected = np.array(layer.data)
    dock.run()
    finish(dock)
    kept = [each for each in viewer.layers if isinstance(each, Labels) and each is not layer]
    np.testing.assert_array_equal(kept[0].data, corrected)
    assert not np.array_equal(layer.data, corrected)
    dock.undo_result()
    assert [each for each in viewer.layers if isinstance(each, Labels)] == [layer]
    np.testing.assert_array_equal(layer.data, corrected)
    assert counts_in(layer.features) == count(corrected)


@pytest.mark.parametrize("kind", ["rgb", "channels", "painted", "slices"])
def test_the_next_day(
    viewer, open_dock, finish, finish_work, open_again, quadrants, steps, qtbot, tmp_path, kind
):
    def add_images():
        if kind == "channels":
            channels = [(f"stain {number}", quadrants[..., number]) for number in range(3)]
            added = [viewer.add_image(data, name=name, **MICROMETERS) for name, data in channels]
            viewer.layers.selection.update(added)
        elif kind == "slices":
            viewer.add_image(steps, name="volume", scale=(2, 1, 1))
        else:
            viewer.add_image(quadrants, rgb=True, name="cells", **MICROMETERS)

    add_images()
    dock = open_dock()
    dock.together.value = kind == "channels"
    if kind == "slices":
        dock.n_clusters.value, dock.stack.value = 3, "each"
    dock.run()
    finish(dock)
    cluster_list = dock.folds["clusters"].open().list
    clusters = Clusters(dock.result.labels)
    first, second, third, *_ = clusters.labels
    clusters.rename(first, "tissue µ")
    clusters.ignore([first])
    clusters.set_color(third, "#ff8000")
    if kind != "slices":
        merged = cluster_list.merge([second, third])
        cluster_list.set_color(merged, "#00aaff")
        clusters.show([merged], False)
    if kind == "painted":
        dock.result.labels.paint((15, 15), 9)
        truth = count(dock.result.labels.data)
        qtbot.waitUntil(lambda: counts_in(dock.result.labels.features) == truth)
    shown, pixels = describe(dock), np.array(dock.result.labels.data)
    export = dock.folds["export"].open()
    export.save_result(tmp_path / "cells-labels.tif")
    finish_work(export)

    (layer,) = open_again(tmp_path)
    viewer.layers.selection.active = layer
    assert dock.result.labels is layer
    np.testing.assert_array_equal(layer.data, pixels)
    assert describe(dock) == shown
    dock.folds["export"].panel.save_figure(tmp_path / "cells.png")
    add_images()
    viewer.layers.selection.active = layer
    panel, merge = dock.folds["clusters"].panel, dock.folds["merge"].open()
    assert merge.distance.enabled == (kind in ("rgb", "channels"))
    if kind == "slices":
        assert merge.message.text().startswith("The results of the single slices")
        with pytest.raises(ValueError, match="a model of its own"):
            panel.split_anew(first, 2)
        return
    assert panel.list.split_problem == ""
    panel.split(merged)
    finish_work(panel)
    assert {second, third} <= {*listed_rows(dock)}
    assert counts_in(layer.features) == count(layer.data)
    shown = describe(dock)
    export = dock.folds["export"].panel
    export.save_result(tmp_path / "cells-labels.tif")
    finish_work(export)
    open_again(tmp_path / "cells-labels.tif")
    assert describe(dock) == shown


def test_one_model_for_many_photographs(viewer, dock, finish, finish_work, quadrants):
    others = [quadrants[:, shift:] for shift in (1, 4)]
    for number, other in enumerate(others):
        viewer.add_image(other, rgb=True, name=f"photo {number}", **MICROMETERS)
    viewer.layers.selection.active = viewer.layers["picture"]
    dock.run()
    finish(dock)
    cluster_list = dock.folds["clusters"].open().list
    Clusters(dock.result.labels).rename(4, "paper")
    cluster_list.set_color(cluster_list.merge([1, 2]), "#00aaff")
    shown = describe(dock)[1]
    panel = dock.folds["apply"].open()
    panel.apply([viewer.layers["photo 0"], viewer.layers["photo 1"]])
    finish_work(panel)
    results = [each for each in viewer.layers if kind_of(each) == "labels"]
    assert len(results) == 3
    for layer, other in zip(results[1:], others, strict=True):
        viewer.layers.selection.active = layer
        assert describe(dock)[1] == shown
        assert counts_in(layer.features) == count(layer.data)
        assert layer.features["area"].sum() == pytest.approx(other[..., 0].size * 0.125)
