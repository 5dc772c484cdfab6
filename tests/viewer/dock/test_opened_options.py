"""The form shows the options of a model that was loaded, and of labels that were opened."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels

from napari_kmeans import segment
from napari_kmeans.options import Options
from napari_kmeans.viewer.dock.widget import KMeansWidget
from napari_kmeans.viewer.read_results import read_result

OPTIONS = {
    "n_clusters": 3,
    "color_space": "lab",
    "blur": 0.5,
    "smoothing": 1.5,
    "min_size": 2,
    "balance": 0.25,
    "method": "full",
    "coreset_size": 500,
    "random_state": 9,
    "init": "random",
    "n_init": 3,
    "max_iter": 17,
}
UNITS = {"scale": (0.5, 0.5), "units": ("um", "um")}


def shown(dock):
    return {name: getattr(dock, name).value for name in OPTIONS}


def choose(dock, values):
    for name, value in values.items():
        getattr(dock, name).value = value


@pytest.fixture
def open_file(viewer):
    """Return a function that opens a file of labels as napari does: the layer has its path."""

    def open_it(path):
        from napari.layers._source import layer_source

        with layer_source(path=str(path), reader_plugin="napari-kmeans"):
            layers = [Labels(data, **attributes) for data, attributes, _ in read_result(str(path))]
        for layer in layers:
            viewer.add_layer(layer)
        return layers

    return open_it


@pytest.fixture
def saved(dock, finish, tmp_path):
    """Return the file of a result with many options, after the form has the defaults again."""
    choose(dock, OPTIONS)
    dock.run()
    finish(dock)
    panel = dock.folds["export"].open()
    worker = panel.save_result(tmp_path / "cells.tif")
    finish_worker(worker)
    choose(dock, {name: getattr(Options, name) for name in OPTIONS})
    return tmp_path / "cells-labels.tif"


def finish_worker(worker):
    from qtpy.QtWidgets import QApplication

    done = []
    worker.finished.connect(lambda: done.append(True))
    while not done:
        QApplication.processEvents()


def test_a_run_after_opening_labels_does_what_their_run_did(viewer, dock, finish, saved, open_file):
    before = np.array(dock.result.labels.data)
    viewer.layers.remove(dock.result.labels)
    (labels,) = open_file(saved)
    assert shown(dock) == OPTIONS
    assert dock.options_note.text().startswith(f"The fields show the options of “{labels.name}”")
    dock.run()
    finish(dock)
    assert dock.options_note.isHidden()
    np.testing.assert_array_equal(dock.result.labels.data, before)
    # Each layer sets the form once: the next options are the user's.
    dock.n_clusters.value = 5
    viewer.layers.selection.active = labels
    viewer.layers.move(0, 2)
    assert dock.n_clusters.value == 5


def test_a_dock_that_opens_after_the_labels_shows_their_options(viewer, dock, saved, open_file):
    viewer.layers.clear()
    dock.n_clusters.value = 30
    dock._disconnect()
    (labels,) = open_file(saved)
    other = KMeansWidget(viewer)
    assert shown(other) == OPTIONS
    other.n_clusters.value = 31
    assert KMeansWidget(viewer).n_clusters.value == 31
    assert labels in viewer.layers


def test_labels_of_this_session_leave_the_form_alone(viewer, dock, finish):
    dock.n_clusters.value = 4
    dock.run()
    finish(dock)
    dock.n_clusters.value = 6
    data, attributes, _ = dock.result.labels.as_layer_data_tuple()
    viewer.add_layer(Labels(data.copy(), **attributes))
    viewer.layers.selection.active = dock.result.labels
    assert dock.n_clusters.value == 6
    assert dock.options_note.isHidden()


def test_a_loaded_model_sets_the_form(viewer, dock, quadrants, tmp_path, finish):
    options = {"color_space": "lab", "blur": 1.0, "smoothing": 2.0, "min_confidence": 0.1}
    model = segment(quadrants, 3, rgb=True, **options).model
    model.save(tmp_path / "model.json")
    dock.live.value = True
    finish(dock)
    result = dock.result
    dock.folds["apply"].open().load(tmp_path / "model.json")
    for name, value in {"n_clusters": 3, **options}.items():
        assert getattr(dock, name).value == value
    assert dock.options_note.text().startswith("The fields show the options of “model.json”")
    # No run replaces the result before the user asks for one.
    assert dock.live.value
    assert dock.result is result
    assert not dock._runner.is_running


def test_a_minimum_area_is_shown_in_the_unit_of_the_image(viewer, dock, quadrants, tmp_path):
    model = segment(quadrants, 3, rgb=True, spacing=0.5, min_area=20.0).model
    model.save(tmp_path / "model.json")
    panel = dock.folds["apply"].open()
    # An image without a unit does not count it, and the next one shows it in its own.
    panel.load(tmp_path / "model.json")
    assert dock.task().options.min_area == 0
    assert dock.options_note.text().endswith(
        "Its minimum size of 20 µm² is not used, because “picture” has no scale: enter a minimum "
        "size for this image."
    )
    viewer.add_image(quadrants, rgb=True, name="scaled", scale=(5e-4, 5e-4), units=("mm", "mm"))
    assert (dock.size_unit.value, dock.min_area.value) == ("area", pytest.approx(2e-5))
    assert dock.task().options.min_area == pytest.approx(20)
    panel.load(tmp_path / "model.json")
    assert "minimum size" not in dock.options_note.text()
    # An area is no volume.
    volume = viewer.add_image(quadrants[None, ..., 0], name="volume", scale=(1, 1, 1), units="um")
    assert dock.image.value is volume
    panel.load(tmp_path / "model.json")
    assert "20 µm² is not used, because “volume” is measured in µm³" in dock.options_note.text()
    viewer.layers.remove(volume)
    dock.image.value = viewer.layers["scaled"]
    segment(quadrants, 3, rgb=True, min_size=5).model.save(tmp_path / "other.json")
    panel.load(tmp_path / "other.json")
    options = dock.task().options
    assert (options.min_size, options.min_area) == (5, 0)


def test_channels_keep_the_scale_of_opened_labels(viewer, dock, quadrants, tmp_path, open_file):
    channels = [quadrants[..., n].astype(np.uint16) for n in range(2)]
    for number, channel in enumerate(channels):
        viewer.add_image(channel, name=f"channel {number}")
    viewer.layers.selection.update(viewer.layers[-2:])
    dock.image.value = viewer.layers[-1]
    dock.together.value = True
    assert dock.normalize.value == "percentile"
    dock.normalize.value = "zscore"
    worker = dock.run()
    finish_worker(worker)
    finish_worker(dock.folds["export"].open().save_result(tmp_path / "cells.tif"))
    viewer.layers.remove(dock.result.labels)
    dock.together.value, dock.normalize.value = False, "none"
    open_file(tmp_path / "cells-labels.tif")
    assert dock.normalize.value == "zscore"
    viewer.layers.selection.active = viewer.layers["channel 1"]
    viewer.layers.selection.update([viewer.layers["channel 0"], viewer.layers["channel 1"]])
    dock.together.value = True
    assert dock.normalize.value == "zscore"


def test_a_model_of_a_study_states_how_it_was_fitted(dock, quadrants, tmp_path):
    from PIL import Image

    from napari_kmeans import Study, run_study

    Image.fromarray(quadrants).save(tmp_path / "a.png")
    fit = {"n_clusters": 4, "method": "full", "n_init": 7, "smoothing": 1.0}
    result = run_study(Study(images=("a.png",), fit=fit, folder=tmp_path))
    dock.folds["apply"].open().load(result.directory / "napari-kmeans-model.json")
    assert {name: getattr(dock, name).value for name in fit} == fit
