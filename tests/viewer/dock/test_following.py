"""The panels follow the Labels layer that is active, wherever it came from."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from napari.layers import _layer_actions

from napari_kmeans import segment_layer
from napari_kmeans.model import KMeansModel


def run(dock, finish, **fields):
    for name, value in fields.items():
        getattr(dock, name).value = value
    dock.run_button.native.click()
    finish(dock)
    return dock.result.labels


def activate(viewer, layer):
    viewer.layers.selection.active = layer


def duplicate(viewer, *layers):
    viewer.layers.selection = set(layers)
    _layer_actions._duplicate_layer(viewer.layers)
    return [viewer.layers[f"{layer.name} copy"] for layer in layers]


def test_panels_follow_the_active_labels(viewer, dock, finish, quadrants, tmp_path):
    picture, other = viewer.layers["picture"], viewer.add_image(quadrants[::-1], rgb=True)
    clusters, export = dock.folds["clusters"].open(), dock.folds["export"].open()
    first = run(dock, finish, image=picture, n_clusters=4)
    second = run(dock, finish, image=other, n_clusters=2)
    assert dock.result.labels is clusters.list.layer is second
    activate(viewer, first)
    assert dock.result.labels is clusters.list.layer is first
    assert len(dock.result.table) == 4
    assert dock.result.source.unique_id == str(picture.unique_id)
    # Labels do not change the image to cluster, and an image does not change the panels.
    assert dock.image.value is other
    activate(viewer, picture)
    assert dock.image.value is picture
    assert dock.result.labels is first
    # A script adds its layers: napari makes the new layer active.
    labels, recolored = segment_layer(other, 3)
    viewer.add_layer(recolored)
    assert dock.result.labels is first
    viewer.add_layer(labels)
    assert dock.result.labels is clusters.list.layer is labels
    export.save_table(tmp_path / "table.csv")
    assert len((tmp_path / "table.csv").read_text("utf-8").splitlines()) == 4
    # Deleted labels take their classes with them. The newest result is shown.
    viewer.layers.remove(labels)
    assert clusters.list.layer is dock.result.labels is second
    viewer.layers.remove(second)
    assert clusters.list.layer is dock.result.labels is first
    viewer.layers.remove(first)
    assert dock.result is None
    assert clusters.list.layer is None
    assert clusters.list.message.text() == "No clusters yet: run a clustering first."


def test_a_run_shows_its_result_although_other_labels_are_active(viewer, dock, finish, quadrants):
    first = run(dock, finish, n_clusters=4)
    other = viewer.add_image(quadrants[::-1], rgb=True)
    activate(viewer, first)
    second = run(dock, finish, image=other)
    assert viewer.layers.selection.active is first
    assert dock.result.labels is second
    viewer.add_points()
    assert dock.result.labels is second


def test_deleted_labels_leave_nothing_behind(viewer, dock, finish):
    for fold in dock.folds.values():
        fold.open()
    labels = weakref.ref(run(dock, finish))
    result = weakref.ref(dock.result)
    viewer.layers.remove(labels())
    assert dock.result is None
    gc.collect()
    assert result() is None


def test_edits_of_a_duplicate_go_to_the_duplicate(viewer, dock, finish, finish_work):
    first = run(dock, finish, n_clusters=4)
    recolored = viewer.layers["picture recolored"]
    copy, recolored_copy = duplicate(viewer, first, recolored)
    were = first.data.copy(), recolored.data.copy(), first.features.copy()
    activate(viewer, copy)
    assert dock.result.layers == (recolored_copy, copy)
    panel = dock.folds["clusters"].open()
    assert panel.list.layer is copy
    merge = dock.folds["merge"].open()
    merge.distance.value = merge.distance.max
    assert copy.data.max() < 4
    panel.split_anew(1, 2)
    finish_work(panel)
    assert len(copy.features) == len(dock.result.table)
    np.testing.assert_array_equal(first.data, were[0])
    np.testing.assert_array_equal(recolored.data, were[1])
    assert first.features.equals(were[2])
    # The duplicate is still one: the next run updates the original only.
    was = copy.data.copy()
    assert run(dock, finish, image=viewer.layers["picture"], n_clusters=2) is first
    np.testing.assert_array_equal(copy.data, was)


def test_merge_slider_remembers_the_merge_of_each_layer(viewer, dock, finish, quadrants):
    first = run(dock, finish, n_clusters=4)
    merge = dock.folds["merge"].open()
    merge.distance.value = 50
    merged = len(np.unique(first.data))
    assert merged < 4
    run(dock, finish, image=viewer.add_image(quadrants[::-1], rgb=True))
    assert merge.distance.value == 0
    activate(viewer, first)
    assert merge.distance.value == 50
    assert len(np.unique(first.data)) == merged
    merge.distance.value = 0
    assert len(np.unique(first.data)) == 4


@pytest.mark.window
@pytest.mark.parametrize("has_image", [True, False])
def test_every_panel_works_with_labels_of_a_script(
    viewer, dock, quadrants, tmp_path, has_image, finish_work
):
    image = viewer.add_image(quadrants[::-1].copy(), rgb=True, name="leaf")
    layers = segment_layer(image, 4)[::-1]
    if not has_image:
        viewer.layers.remove(image)
    viewer.layers.extend(layers)
    activate(viewer, layers[1])
    labels = layers[1]
    panels = {name: fold.open() for name, fold in dock.folds.items()}
    missing = "The image “leaf” is not in the viewer: open it "
    assert panels["clusters"].list.layer is labels
    assert panels["apply"].message.text() == "leaf: 4 clusters"
    panels["apply"].save(tmp_path / "model.json")
    np.testing.assert_array_equal(
        KMeansModel.load(tmp_path / "model.json").predict(image.data), labels.data
    )
    panels["export"].save_table(tmp_path / "table.csv")
    pytest.importorskip("matplotlib")
    panels["export"].save_figure(tmp_path / "figure.svg")
    panels["objects"].split()
    finish_work(panels["objects"])
    assert viewer.layers["leaf objects"].data.max() == 4
    if not has_image:
        assert panels["merge"].message.text() == missing + "to merge similar clusters."
        for action in (lambda: panels["clusters"].split_anew(1, 2), panels["export"].script):
            with pytest.raises(ValueError, match="The image “leaf” is not in the viewer: open it"):
                action()
        # The image is found as soon as it is there.
        viewer.add_layer(image)
    assert panels["merge"].message.text() == "4 of 4 clusters."
    script = panels["export"].script()
    np.save(tmp_path / "image.npy", image.data)
    space = {}
    exec(script.replace('"image.npy"', repr(str(tmp_path / "image.npy"))), space)
    np.testing.assert_array_equal(space["labels"], labels.data)
    panels["clusters"].split_anew(1, 2)
    finish_work(panels["clusters"])
    assert len(np.unique(labels.data)) == 5
    assert dock.result.model.n_clusters == len(dock.result.table) == 5
