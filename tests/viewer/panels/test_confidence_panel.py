"""Tests of the panel *Confidence*, against the methods of the model."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from skimage import data

from napari_kmeans.viewer.to_layers.hand_edits import count_now

COFFEE = data.coffee()[:60, :70]


@pytest.fixture
def work(qtbot):
    def run(panel, action):
        action()
        # Not waitSignal: the work may finish before the signal is connected.
        qtbot.waitUntil(lambda: not panel.is_working, timeout=60_000)

    return run


@pytest.fixture
def run_dock(viewer, open_dock, finish):
    def run(**settings):
        dock = open_dock()
        for name, value in settings.items():
            getattr(dock, name).value = value
        dock.run()
        finish(dock)
        return dock, dock.folds["confidence"].open()

    return run


def test_images_and_table_are_those_of_the_model(viewer, run_dock, work):
    viewer.add_image(COFFEE, name="coffee", scale=(2, 0.5), translate=(10, -7))
    dock, panel = run_dock(n_clusters=4)
    model, labels = dock.result.model, viewer.layers["coffee labels"]
    work(panel, panel.add_confidence)
    layer, confidence = viewer.layers["coffee confidence"], model.confidence(COFFEE)
    np.testing.assert_array_equal(layer.data, confidence)
    np.testing.assert_array_equal(layer.scale, (2, 0.5))
    np.testing.assert_array_equal(layer.translate, (10, -7))
    expected = [confidence[labels.data == label].mean() for label in range(1, 5)]
    np.testing.assert_allclose(labels.features["confidence"], expected, rtol=1e-5)
    assert f"{confidence.mean():.2f}" in panel.message.text()
    panel.cluster.value = 3
    work(panel, panel.add_membership)
    layer = viewer.layers["coffee membership 3"]
    np.testing.assert_array_equal(layer.data, model.memberships(COFFEE)[..., 2])
    # The color of the class is that of a full membership.
    np.testing.assert_allclose(layer.colormap.map(1.0).ravel()[:3], labels.get_color(3)[:3])
    work(panel, panel.measure_stability)
    assert "over seeds" in panel.message.text()
    # The same image again updates its layer, and the table of another run starts anew.
    n_layers = len(viewer.layers)
    work(panel, panel.add_confidence)
    assert len(viewer.layers) == n_layers
    assert dock.result.labels is labels


def test_a_label_painted_by_hand_has_no_confidence(viewer, run_dock, work):
    viewer.add_image(COFFEE, name="coffee")
    dock, panel = run_dock(n_clusters=3)
    labels, before = viewer.layers["coffee labels"], viewer.layers["coffee labels"].data.copy()
    labels.data_setitem((np.full(5, 20), np.arange(5)), 9)
    # The other pixels count in the class that they were painted with.
    labels.data_setitem((np.full(5, 30), np.arange(5)), 3)
    count_now(labels)
    work(panel, panel.add_confidence)
    own = dock.result.model.confidence(COFFEE, labels=labels.data)
    assert np.isnan(own[20, :5]).all()
    assert (own[30, :5] < 0).any() == (before[30, :5] != 3).any()
    means = [own[labels.data == label].mean(dtype=float) for label in (1, 2, 3)]
    np.testing.assert_allclose(labels.features["confidence"], [*means, np.nan], rtol=1e-5)
    assert f"Mean confidence {np.nanmean(own):.2f}; lowest {min(means):.2f}" in panel.message.text()


def test_levels_slices_and_lazy_images(viewer, run_dock, work):
    levels = [da.from_array(COFFEE, chunks=(30, 30, 3)), COFFEE[::2, ::2]]
    viewer.add_image(levels, multiscale=True, rgb=True, name="slide")
    dock, panel = run_dock(n_clusters=3, blur=2.0)
    work(panel, panel.add_confidence)
    layer = viewer.layers["slide confidence"]
    assert layer.multiscale
    for level, image in enumerate(levels):
        own = dock.result.model.with_blur(2.0 / 2**level)
        np.testing.assert_array_equal(
            np.asarray(layer.data[level]), own.confidence(np.asarray(image))
        )
    work(panel, panel.measure_stability)
    assert "over seeds" in panel.message.text()


@pytest.mark.parametrize("stack", ["each", "this"])
def test_slices_of_a_stack(viewer, run_dock, work, stack):
    image = np.stack([COFFEE[..., 0], COFFEE[::-1, :, 1]])
    viewer.add_image(image, name="stack")
    dock, panel = run_dock(n_clusters=3, stack=stack)
    work(panel, panel.add_confidence)
    confidence = viewer.layers["stack confidence"].data
    if stack == "each":
        np.testing.assert_array_equal(confidence, dock.result.model.confidence(image))
        return
    shown = int(viewer.dims.current_step[0])
    np.testing.assert_array_equal(confidence[shown], dock.result.model.confidence(image[shown]))
    assert np.isnan(confidence[1 - shown]).all()


def test_buttons_need_labels_and_the_image(viewer, run_dock):
    viewer.add_image(COFFEE, name="coffee")
    _dock, panel = run_dock(n_clusters=3)
    assert panel.confidence_button.enabled
    viewer.layers.remove("coffee labels")
    panel.reset_choices()
    assert not panel.confidence_button.enabled
    with pytest.raises(ValueError, match="there are no labels: tick Labels"):
        panel.add_confidence()


def test_images_of_an_earlier_model_are_marked_until_they_are_measured_again(
    viewer, run_dock, work, finish
):
    viewer.add_image(COFFEE, name="coffee")
    dock, panel = run_dock(n_clusters=4)
    work(panel, panel.add_confidence)
    work(panel, panel.add_membership)
    confidence, membership = viewer.layers["coffee confidence"], viewer.layers[-1]
    panel.dock.folds["clusters"].panel.list._clusters.rename(1, "shadow")
    dock.smoothing.value = 1
    dock.run()
    finish(dock)
    # Neither a name nor the cleaning changes the confidence.
    assert confidence.name == "coffee confidence"
    dock.n_clusters.value = 3
    dock.run()
    finish(dock)
    assert confidence.name == "coffee confidence (outdated)"
    assert membership.name == "coffee membership 1 (outdated)"
    dock.undo_result()
    assert confidence.name == "coffee confidence"
    assert membership.name == "coffee membership 1"
    dock.folds["clusters"].panel.list.merge([1, 2])
    assert confidence.name == "coffee confidence (outdated)"
    work(panel, panel.add_confidence)
    assert viewer.layers["coffee confidence"] is confidence
    np.testing.assert_array_equal(confidence.data, dock.result.model.confidence(COFFEE))
    assert membership.name == "coffee membership 1 (outdated)"


def test_a_new_run_hides_images_that_cover_its_labels(viewer, run_dock, work, finish):
    viewer.add_image(COFFEE, name="coffee")
    dock, panel = run_dock(n_clusters=4)
    work(panel, panel.add_confidence)
    work(panel, panel.add_membership)
    soft = [viewer.layers["coffee confidence"], viewer.layers["coffee membership 1"]]
    other = viewer.add_image(np.ones((60, 70)), name="marker")
    dock.image.value = viewer.layers["coffee"]
    dock.smoothing.value = 1
    dock.run()
    finish(dock)
    assert [each.visible for each in (*soft, other)] == [False, False, True]
    dock.undo_result()
    assert [each.visible for each in soft] == [True, True]
    dock.run()
    finish(dock)
    work(panel, panel.add_confidence)
    assert [each.visible for each in soft] == [True, False]
    # The labels of a run that adds layers lie over them.
    dock.update_layers.value = False
    dock.run()
    finish(dock)
    assert soft[0].visible


def test_the_stability_is_that_of_the_fit_before_labels_are_cleaned(viewer, run_dock, work, finish):
    viewer.add_image(COFFEE, name="coffee")
    dock, panel = run_dock(n_clusters=4)
    work(panel, panel.measure_stability)
    assert panel.message.text().endswith("(1 is the best). The fits find each class again.")
    dock.smoothing.value, dock.min_size.value = 1, 600
    dock.run()
    finish(dock)
    empty = dock.result.table.loc[dock.result.table["pixels"] == 0, "index"].astype(str).tolist()
    assert len(empty) > 1
    work(panel, panel.measure_stability)
    assert panel.message.text().endswith(
        f"Smooth and Minimum size come after the fit. "
        f"No pixel of the labels is in classes {', '.join(empty)}."
    )


@pytest.mark.window
def test_the_message_is_in_view(viewer, open_dock, finish, work, qtbot):
    viewer.add_image(COFFEE, name="coffee")
    viewer.window.resize(1000, 600)
    dock = open_dock()
    viewer.show()
    dock.run()
    finish(dock)
    dock.folds["clusters"].open()
    panel = dock.folds["confidence"].open()
    work(panel, panel.add_confidence)
    qtbot.waitUntil(lambda: not panel.message.visibleRegion().isEmpty(), timeout=5000)
    assert panel.message.text().startswith("Mean confidence")
    height = panel.message.visibleRegion().boundingRect().height()
    assert height == panel.message.height()


def test_a_stability_with_kept_start_colors_says_what_is_compared(viewer, run_dock, work):
    viewer.add_image(COFFEE, name="coffee")
    points = viewer.add_points([[5, 5], [30, 40], [55, 60]])
    viewer.layers.selection.active = viewer.layers["coffee"]
    dock, panel = run_dock(init=points, keep_init=True)
    assert dock.result.options.keep_init
    work(panel, panel.measure_stability)
    assert "The start colors of this result were kept" in panel.message.text()
    dock, panel = run_dock(init="k-means++")
    work(panel, panel.measure_stability)
    assert "start colors" not in panel.message.text()
