"""What a look at a result must not change, and what one undo takes back."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from skimage import data

from napari_kmeans import segment
from napari_kmeans.batch.output import write_results
from napari_kmeans.files.picture import Axis, Channel, Picture
from napari_kmeans.viewer.read_results import read_result
from napari_kmeans.viewer.to_layers.edited_parts import is_edited_in
from napari_kmeans.viewer.to_layers.hand_edits import count_now

NOISE = np.random.default_rng(0).integers(0, 255, (2, 30, 40), dtype=np.uint8)


def names(viewer):
    return [layer.name for layer in viewer.layers]


def test_one_undo_takes_back_all_images_of_apply(viewer, dock, quadrants, finish, finish_work):
    dock.run()
    finish(dock)
    images = [viewer.add_image(quadrants[::-1], name=name, rgb=True) for name in ("b", "c")]
    before = names(viewer)
    panel = dock.folds["apply"].open()
    panel.apply(images)
    finish_work(panel)
    assert len(viewer.layers) == len(before) + 4
    assert panel.match.text() == "Applied to “b”, “c”."
    dock.undo_result()
    assert names(viewer) == before
    assert not dock.undo_button.enabled


def test_looking_at_the_labels_keeps_the_channels_of_the_next_run(viewer, open_dock, finish):
    images = [viewer.add_image(NOISE[n], name=name) for n, name in enumerate(("DAPI", "GFP"))]
    dock = open_dock()
    viewer.layers.selection = set(images)
    dock.together.value = True
    dock.run()
    finish(dock)
    viewer.layers.selection.active = dock.result.labels
    before = names(viewer)
    dock.run()
    finish(dock)
    assert names(viewer) == before
    assert [channel.name for channel in dock.result.source.channels] == ["DAPI", "GFP"]
    # The channels of a removed layer are gone.
    viewer.layers.remove(images[0])
    assert not dock.task().source.channels


def test_the_channels_of_a_file_are_found_for_its_result(viewer, dock, tmp_path):
    picture = Picture(
        NOISE,
        channel_axis=0,
        axes=(Axis("c", "channel"), Axis("y"), Axis("x")),
        channels=(Channel("DAPI"), Channel("GFP")),
    )
    seg = segment(NOISE, 3, channel_axis=0, channel_names=["DAPI", "GFP"])
    path = write_results(seg, tmp_path, "cells", picture).paths[0]
    viewer.add_image(NOISE, channel_axis=0, name=["cells DAPI", "cells GFP"])
    ((pixels, attributes, _),) = read_result(str(path))
    labels = viewer.add_labels(pixels, **attributes)
    viewer.layers.selection.active = labels
    assert [channel.name for channel in dock.result.source.channels] == ["cells DAPI", "cells GFP"]
    assert dock.folds["merge"].open().message.text() == "3 of 3 clusters."
    np.testing.assert_array_equal(dock.result.model.predict(np.moveaxis(NOISE, 0, -1)), seg.labels)


@pytest.mark.window
def test_hand_edits_end_the_highlight_and_are_named_in_the_script(viewer, open_dock, finish):
    viewer.add_image(data.coffee()[:40, :60], name="coffee", rgb=True)
    dock = open_dock()
    dock.run()
    finish(dock)
    labels, cluster_list = dock.result.labels, dock.folds["clusters"].open().list
    merge, export = dock.folds["merge"].open(), dock.folds["export"].open()
    assert "by hand" not in export.script()
    cluster_list.table.selectRow(0)
    assert cluster_list._clusters.highlighted
    labels.mode = "paint"
    assert not cluster_list._clusters.highlighted
    labels.paint((5, 5), 2)
    assert "painted by hand are not in the labels" in export.script()
    assert merge.message.text().startswith("The labels were edited by hand")
    assert not merge.distance.enabled


def test_the_status_counts_the_rows_of_the_list(dock, finish, qtbot):
    dock.run()
    finish(dock)
    dock.result.labels.paint((5, 5), 9)
    qtbot.waitUntil(lambda: dock.status.text().startswith("5 clusters"), timeout=5000)
    assert len(dock.folds["clusters"].open().list.table.model().labels) == 5


def test_a_stroke_during_the_saving_is_not_in_the_file(
    viewer, open_dock, finish, tmp_path, finish_work
):
    viewer.add_image(np.random.default_rng(0).integers(0, 255, (700, 800), np.uint8), name="big")
    dock = open_dock()
    dock.run()
    finish(dock)
    labels = dock.result.labels
    panel = dock.folds["export"].open()
    panel.save_result(tmp_path / "big-labels.tif")
    labels.data_setitem(tuple(np.indices((100, 800)).reshape(2, -1)), 1)
    finish_work(panel)
    ((pixels, attributes, _),) = read_result(str(tmp_path / "big-labels.tif"))
    values, counts = np.unique(pixels, return_counts=True)
    assert attributes["features"]["index"].tolist() == values.tolist()
    assert attributes["features"]["pixels"].tolist() == counts.tolist()


def test_saved_lazy_labels_have_a_row_for_every_label(
    viewer, open_dock, finish, tmp_path, finish_work
):
    pixels = np.random.default_rng(0).integers(0, 255, (60, 61), np.uint8)
    viewer.add_image(da.from_array(pixels, chunks=16), name="lazy")
    dock = open_dock()
    dock.run()
    finish(dock)
    labels = dock.result.labels
    labels.data = da.where((da.arange(60, chunks=16) < 20)[:, None], np.int16(9), labels.data)
    panel = dock.folds["export"].open()
    panel.save_result(tmp_path / "lazy-labels.zarr")
    finish_work(panel)
    ((saved, attributes, _),) = read_result(str(tmp_path / "lazy-labels.zarr"))
    saved = np.asarray(saved[0] if isinstance(saved, list) else saved)
    values, counts = np.unique(saved, return_counts=True)
    table = attributes["features"]
    assert dict(zip(table["index"], table["pixels"], strict=True)) == dict(
        zip(values.tolist(), counts.tolist(), strict=True)
    )
    np.testing.assert_allclose(table["percent"].sum(), 100)


def test_undo_of_a_slice_counts_the_strokes_in_other_slices(viewer, open_dock, finish):
    stack = np.random.default_rng(0).integers(0, 255, (4, 20, 22), np.uint8)
    viewer.add_image(stack, name="stack")
    dock = open_dock()
    dock.stack.value = "this"
    for index in (0, 1):
        viewer.dims.set_current_step(0, index)
        dock.run()
        finish(dock)
    labels = dock.result.labels
    labels.brush_size = 6
    labels.paint((0, 8, 8), 7)
    dock.undo_result()
    count_now(labels)
    values, counts = np.unique(labels.data[0], return_counts=True)
    assert 7 in values
    table = labels.features
    assert dict(zip(table["index"], table["pixels"], strict=True)) == dict(
        zip(values.tolist(), counts.tolist(), strict=True)
    )
    assert is_edited_in(labels, None)


@pytest.mark.parametrize("edit", ["color", "ignore"])
def test_undo_keeps_edited_labels_of_slices_with_a_model_each(viewer, open_dock, finish, edit):
    stack = np.random.default_rng(0).integers(0, 255, (3, 20, 22), np.uint8)
    viewer.add_image(stack, name="stack")
    dock = open_dock()
    dock.stack.value = "each"
    dock.run()
    finish(dock)
    clusters = dock.folds["clusters"].open().list._clusters
    clusters.set_color(2, "red") if edit == "color" else clusters.ignore([2])
    dock.undo_result()
    assert "stack labels" in names(viewer)
    if edit == "ignore":
        dock.run()
        finish(dock)
        assert "cluster 2 are not carried" in notification_manager.records[-1].message
