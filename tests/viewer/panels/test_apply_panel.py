"""Tests of the panel *Apply to…*: apply a model to another layer, save it and load it."""

from __future__ import annotations

import contextlib
import json

import dask.array as da
import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt

from napari_kmeans import KMeansModel, merge_clusters, segment
from napari_kmeans.viewer.provenance import METADATA_KEY


@pytest.fixture
def panel(dock, finish):
    dock.run()
    finish(dock)
    return dock.folds["apply"].open()


@pytest.fixture
def other():
    return np.random.default_rng(5).integers(0, 256, (31, 27, 3)).astype(np.uint8)


def nearest(image, palette):
    """Return the label of the nearest color of each pixel, by brute force."""
    distances = ((image[..., None, :3].astype(float) - palette) ** 2).sum(axis=-1)
    return distances.argmin(axis=-1) + 1


def apply(qtbot, panel, layer=None):
    panel.apply(layer)
    # Not waitSignal: the work may finish before the signal is connected.
    qtbot.waitUntil(lambda: not panel.is_working, timeout=60_000)
    assert not panel.cancel_button.enabled


def notifications():
    return [(str(each.severity), each.message) for each in notification_manager.records]


def test_apply_adds_labels_and_recolored_image_of_another_layer(viewer, dock, panel, qtbot, other):
    layer = viewer.add_image(other, name="other", rgb=True, scale=(2, 3), translate=(5, 7))
    viewer.layers.selection.active = viewer.layers["picture"]
    panel.images.check([(layer,)])
    panel.apply_button.native.click()
    assert not panel.apply_button.enabled
    qtbot.waitUntil(lambda: panel.apply_button.enabled, timeout=60_000)
    model = dock.result.outcome.model
    expected = nearest(other, model.cluster_centers_)
    labels, recolored = viewer.layers["other labels"], viewer.layers["other recolored"]
    np.testing.assert_array_equal(labels.data, expected)
    np.testing.assert_array_equal(recolored.data, np.rint(model.palette)[expected - 1])
    first = viewer.layers["picture labels"]
    assert list(labels.features) == list(first.features)
    # The means are those of this image, and not those of the fit.
    means = [other[expected == label].mean(axis=0) for label in range(1, 5)]
    columns = ["mean red", "mean green", "mean blue"]
    np.testing.assert_allclose(labels.features[columns], means)
    assert labels.features["pixels"].tolist() == np.bincount(expected.ravel())[1:].tolist()
    assert labels.features["percent"].sum() == pytest.approx(100)
    for label in range(1, 5):
        np.testing.assert_array_equal(
            labels.colormap.color_dict[label], first.colormap.color_dict[label]
        )
    np.testing.assert_array_equal(labels.extent.world, layer.extent.world)
    provenance = labels.metadata[METADATA_KEY]
    assert (provenance["source"], provenance["source_id"]) == ("other", str(layer.unique_id))
    assert KMeansModel.from_dict(provenance["model"]).to_dict() == model.to_dict()
    assert viewer.layers.selection.active is viewer.layers["picture"]
    assert not notifications()


def test_second_apply_updates_the_layers_unless_update_is_off(
    viewer, dock, panel, qtbot, other, finish
):
    layer = viewer.add_image(other, name="other", rgb=True)
    apply(qtbot, panel, layer)
    labels = viewer.layers["other labels"]
    dock.image.value, dock.n_clusters.value = viewer.layers["picture"], 2
    dock.run()
    finish(dock)
    apply(qtbot, panel, layer)
    assert [each.name for each in viewer.layers].count("other labels") == 1
    np.testing.assert_array_equal(
        labels.data, nearest(other, dock.result.outcome.model.cluster_centers_)
    )
    assert labels.data.max() == 2
    dock.update_layers.value = False
    apply(qtbot, panel, layer)
    assert len([each for each in viewer.layers if each.name.startswith("other labels")]) == 2


@pytest.mark.parametrize("lazy", [False, True])
def test_apply_paints_all_levels_and_keeps_lazy_levels_lazy(
    viewer, dock, panel, qtbot, other, lazy
):
    levels = [np.kron(other, np.ones((2, 2, 1), np.uint8)), other]
    if lazy:
        levels = [da.from_array(level, chunks=(20, 20, 3)) for level in levels]
    layer = viewer.add_image(levels, name="other", rgb=True, multiscale=True)
    apply(qtbot, panel, layer)
    labels, recolored = viewer.layers["other labels"], viewer.layers["other recolored"]
    palette = dock.result.outcome.model.palette
    for level_labels, level_colors, image in zip(labels.data, recolored.data, levels, strict=True):
        assert isinstance(level_labels, da.Array) == isinstance(level_colors, da.Array) == lazy
        expected = nearest(np.asarray(image), dock.result.outcome.model.cluster_centers_)
        np.testing.assert_array_equal(level_labels, expected)
        np.testing.assert_array_equal(level_colors, np.rint(palette)[expected - 1])
    counts = np.bincount(np.asarray(labels.data[0]).ravel())[1:]
    assert labels.features["pixels"].tolist() == counts.tolist()


@pytest.mark.parametrize("lazy", [False, True])
def test_loaded_model_with_merged_clusters_is_applied(
    viewer, dock, qtbot, quadrants, other, tmp_path, lazy, choose_file
):
    merged = merge_clusters(segment(quadrants, 4, rgb=True), [0, 1, 0, 2])
    merged.model.save(tmp_path / "model.json")
    panel = dock.folds["apply"].open()
    assert not panel.apply_button.enabled
    choose_file(tmp_path / "model.json")
    panel.load_button.native.click()
    assert panel.apply_button.enabled
    data = da.from_array(other, chunks=(10, 27, 3)) if lazy else other
    apply(qtbot, panel, viewer.add_image(data, name="other", rgb=True))
    labels = viewer.layers["other labels"]
    expected = merged.model.predict(other)
    np.testing.assert_array_equal(labels.data, expected)
    assert labels.features["pixels"].tolist() == np.bincount(expected.ravel())[1:].tolist()
    assert labels.metadata[METADATA_KEY]["options"]["n_clusters"] == 3


@pytest.mark.parametrize("lazy", [False, True])
def test_loaded_model_brings_names_colors_and_ignored_classes(
    viewer, dock, qtbot, quadrants, other, tmp_path, lazy
):
    model = segment(quadrants, 4, rgb=True).model
    classes = model.classes.merge([3, 2]).rename(3, "soil").recolor(4, "#ff0080").ignore(1)
    model.with_classes(classes.renumber({4: 300})).save(tmp_path / "model.json")
    panel = dock.folds["apply"].open()
    panel.load(tmp_path / "model.json")
    data = da.from_array(other, chunks=(10, 27, 3)) if lazy else other
    apply(qtbot, panel, viewer.add_image(data, name="other", rgb=True))
    labels = viewer.layers["other labels"]
    expected = np.array([0, 1, 3, 3, 300])[nearest(other, model.cluster_centers_)]
    np.testing.assert_array_equal(labels.data, expected)
    counts = np.array([np.sum(expected == label) for label in (1, 3, 300)])
    assert labels.features["index"].tolist() == [1, 3, 300]
    assert labels.features["pixels"].tolist() == counts.tolist()
    assert labels.features["name"].tolist() == ["", "soil", ""]
    assert labels.features["ignored"].tolist() == [True, False, False]
    shares = [np.nan, *(100 * counts[1:] / counts[1:].sum())]
    np.testing.assert_allclose(labels.features["percent"], shares)
    assert labels.features["color"][2] == "#ff0080"
    colors = labels.colormap.color_dict
    np.testing.assert_allclose(colors[300], [1, 0, 128 / 255, 1], atol=1e-6)
    assert [float(colors[label][3]) for label in (1, 3, 300)] == [0, 1, 1]
    recolored = viewer.layers["other recolored"].data
    mean = quadrants[np.isin(model.predict(quadrants), [2, 3])].mean(axis=0)
    np.testing.assert_allclose(np.asarray(recolored)[expected == 3][0], mean, atol=0.51)


def test_saved_model_is_loaded_until_it_is_dropped(dock, panel, tmp_path, finish, choose_file):
    model = dock.result.outcome.model
    choose_file(tmp_path / "by dialog.json")
    panel.save_button.native.click()
    panel.save(tmp_path / "by script.json")
    for name in ("by dialog.json", "by script.json"):
        assert json.loads((tmp_path / name).read_text()) == model.to_dict()
    dock.n_clusters.value = 3
    dock.run()
    finish(dock)
    assert panel.model.n_clusters == 3
    panel.load(tmp_path / "by script.json")
    assert panel.model.to_dict() == model.to_dict()
    assert "by script.json" in panel.message.text()
    # The form has the options of the loaded model.
    dock.n_clusters.value = 3
    dock.run()
    finish(dock)
    assert panel.model.to_dict() == model.to_dict()
    panel.drop_loaded()
    assert panel.model.n_clusters == 3
    assert panel.message.text() == "picture: 3 clusters"


def test_unsuitable_model_or_file_raises(viewer, dock, panel, quadrants, tmp_path):
    gray = viewer.add_image(quadrants[..., 0], name="gray", rgb=False)
    with pytest.raises(ValueError, match=r"the model is of colors .* 'gray' has none: choose"):
        panel.apply(gray)
    segment(quadrants[..., 0], 2).model.save(tmp_path / "gray.json")
    panel.load(tmp_path / "gray.json")
    with pytest.raises(ValueError, match=r"gray levels, and 'picture' is in color: choose"):
        panel.apply(viewer.layers["picture"])
    segment(quadrants, 2, channel_axis=-1).model.save(tmp_path / "channels.json")
    panel.load(tmp_path / "channels.json")
    with pytest.raises(ValueError, match="compares 3 channels, and 'gray' is a single layer: ch"):
        panel.apply(gray)
    with pytest.raises(ValueError, match=r"layers must be 3, one for each channel .* got 2"):
        panel.apply([[gray, gray]])
    assert not panel.apply_button.enabled
    with pytest.raises(ValueError, match="images must be image layers, got 5"):
        panel.apply([5])
    (tmp_path / "none.json").write_text("[]")
    with pytest.raises(ValueError, match=r"none\.json.*not a napari-kmeans model"):
        panel.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("factor", "dtype", "warns"),
    [(1 / 255, np.float32, True), (1, np.float32, False), (257.0, np.uint16, True)],
)
def test_image_in_other_units_gives_a_warning(
    viewer, panel, qtbot, quadrants, factor, dtype, warns
):
    layer = viewer.add_image((quadrants * factor).astype(dtype), name="other", rgb=True)
    apply(qtbot, panel, layer)
    messages = [message for severity, message in notifications() if severity == "warning"]
    assert len(messages) == warns
    if warns:
        assert messages[0].startswith(f"'other' holds {np.dtype(dtype)} values up to")
    assert "other labels" in viewer.layers


def test_image_of_other_colors_gives_a_warning(viewer, panel, qtbot, quadrants):
    image = np.zeros_like(quadrants)
    image[:, :15] = 0, 0, 255
    layer = viewer.add_image(image, name="other", rgb=True)
    apply(qtbot, panel, layer)
    (message,) = [message for severity, message in notifications() if severity == "warning"]
    assert message.startswith("71 % of the pixels of 'other' are farther from their class than")
    # The message of napari disappears, that of the panel stays.
    assert panel.match.text() == "Applied to “other” (71 % of the pixels far from all clusters)."
    assert "other labels" in viewer.layers


def test_levels_in_other_units_give_one_warning(viewer, panel, qtbot, quadrants):
    levels = [quadrants / 255, quadrants[::2, ::2] / 255]
    lazy = [da.from_array(level) for level in levels]
    for name, data in (("levels", levels), ("lazy", lazy)):
        layer = viewer.add_image(data, name=name, rgb=True, multiscale=True)
        apply(qtbot, panel, layer)
    messages = [message for severity, message in notifications() if severity == "warning"]
    assert [message.partition(" ")[0] for message in messages] == ["'levels'", "'lazy'"]


def test_apply_needs_one_model_for_all_slices(viewer, open_dock, finish, steps):
    viewer.add_image(steps, name="steps")
    dock = open_dock()
    panel = dock.folds["apply"].open()
    with pytest.raises(ValueError, match="there is no model yet: run the clustering, or load"):
        panel.apply()
    dock.stack.value, dock.n_clusters.value = "each", 2
    dock.run()
    finish(dock)
    assert not panel.apply_button.enabled
    assert panel.message.text().startswith("The latest result has a model for each slice")


def texts(panel):
    return [panel.images.item(row).text() for row in range(panel.images.count())]


def test_images_that_fit_are_offered_and_the_active_one_is_checked(viewer, panel, dock, quadrants):
    picture = viewer.layers["picture"]
    other = viewer.add_image(quadrants, name="other", rgb=True)
    gray = viewer.add_image(quadrants[..., 0], name="gray", rgb=False)
    # The recolored image of the run is not offered.
    assert texts(panel) == ["picture", "other"]
    viewer.layers.selection.active = other
    assert panel.images.checked == [(other,)]
    viewer.layers.selection.active = gray
    assert panel.images.checked == [(other,)]
    viewer.layers.selection.active = picture
    assert panel.images.checked == [(picture,)]
    # A choice of the user stays.
    panel.images.item(1).setCheckState(Qt.CheckState.Checked)
    viewer.layers.selection.active = other
    assert panel.images.checked == [(picture,), (other,)]
    other.name = "renamed"
    assert texts(panel) == ["picture", "renamed"]
    viewer.layers.remove(other)
    assert panel.images.checked == [(picture,)]
    viewer.layers.remove(picture)
    # Nothing but the recolored image fits.
    assert texts(panel) == ["picture recolored"]
    viewer.layers.remove(viewer.layers["picture recolored"])
    assert panel.match.text() == "The model is of colors: open an RGB image."
    assert not panel.apply_button.enabled


def test_edits_of_the_classes_are_shown_before_applying(panel, dock):
    clusters = dock.folds["clusters"].open().list
    assert panel.message.text() == "picture: 4 clusters"
    clusters._clusters.rename(1, "a < b")
    clusters.merge([2, 3])
    clusters._clusters.ignore([4])
    clusters.set_color(1, "#ff0080")
    assert panel.message.text() == "picture: 3 classes of 4 clusters, 1 ignored"
    for part in ("a &lt; b", "#ff0080", "2 (2 merged)", "4 (ignored)"):
        assert part in panel.classes.text()


def test_a_model_is_applied_to_several_images(viewer, dock, panel, qtbot, other, slow, tmp_path):
    model = dock.result.outcome.model
    images = [other, da.from_array(other[:20]), np.asarray(slow), other[:9]]
    names = ["one", "lazy", "broken", "one labels"]
    layers = [
        viewer.add_image(image, name=name, rgb=True)
        for image, name in zip(images, names, strict=True)
    ]
    layers[2].data, slow.error = slow, OSError("the file is gone")
    slow.go_on.set()
    model.save(tmp_path / "model.json")
    panel.load(tmp_path / "model.json")
    panel.images.check([(layer,) for layer in layers])
    panel.apply_button.native.click()
    qtbot.waitUntil(lambda: not panel.is_working, timeout=60_000)
    assert notifications() == [("warning", "'broken' is left out: the file is gone")]
    assert len({layer.name for layer in viewer.layers}) == len(viewer.layers)
    results = {
        each.metadata[METADATA_KEY]["source"]: each
        for each in viewer.layers
        if METADATA_KEY in each.metadata and each.name.partition(" [")[0].endswith("labels")
    }
    assert set(results) == {"picture", "one", "lazy", "one labels"}
    for name, image in (("one", other), ("lazy", other[:20]), ("one labels", other[:9])):
        np.testing.assert_array_equal(results[name].data, nearest(image, model.cluster_centers_))
    # The list shows the clusters of the first image, because the model came from a file.
    assert dock.result.labels is results["one"]
    # Applying again updates the same layers.
    n_layers = len(viewer.layers)
    apply(qtbot, panel, [layers[0], layers[3]])
    assert len(viewer.layers) == n_layers


def test_a_model_of_channels_is_applied_to_layers_matched_by_name(viewer, open_dock, finish, qtbot):
    rng = np.random.default_rng(0)
    stains = rng.integers(0, 4000, (2, 3, 20, 31)).astype(np.uint16)
    layers = {}
    # The layers of the second slide are in another order.
    for slide, order in ((1, (0, 1, 2)), (2, (2, 0, 1))):
        for channel in order:
            name = f"slide{slide} {('DAPI', 'GFP', 'Cy5')[channel]}"
            layers[name] = viewer.add_image(stains[slide - 1, channel], name=name)
    dock = open_dock()
    viewer.layers.selection.active = layers["slide1 DAPI"]
    viewer.layers.selection.update(list(layers.values())[:3])
    dock.together.value = True
    dock.run()
    finish(dock)
    panel = dock.folds["apply"].open()
    assert texts(panel) == ["slide1: DAPI, GFP, Cy5", "slide2: DAPI, GFP, Cy5"]
    viewer.layers.selection.active = layers["slide2 GFP"]
    (chosen,) = panel.images.checked
    assert [layer.name for layer in chosen] == ["slide2 DAPI", "slide2 GFP", "slide2 Cy5"]
    assert panel.match.text().startswith("DAPI = “slide2 DAPI”, GFP = “slide2 GFP”, ")
    assert panel.classes.text().endswith("Channels: DAPI, GFP, Cy5")
    apply(qtbot, panel)
    model = dock.result.outcome.model
    assert model.channel_names == ("DAPI", "GFP", "Cy5")
    assert {"mean DAPI", "mean GFP", "mean Cy5"} <= set(dock.result.table)
    expected = model.predict(np.moveaxis(stains[1], 0, -1))
    labels = viewer.layers["slide2 DAPI + slide2 GFP + slide2 Cy5 labels"]
    np.testing.assert_array_equal(labels.data, expected)
    recolored = viewer.layers["slide2 Cy5 recolored"].data
    np.testing.assert_array_equal(recolored, np.rint(model.palette[:, 2])[expected - 1])
    # Other names are taken in the order of the layer list, as is stated.
    for name in ("a", "b", "c"):
        layers[name] = viewer.add_image(stains[1, "abc".index(name)], name=name)
    viewer.layers.selection.clear()
    viewer.layers.selection.update([layers[name] for name in "cab"])
    assert texts(panel)[2:] == ["a, b, c"]
    assert panel.match.text().endswith("Cy5 = “c” (in the order of the layer list)")
    apply(qtbot, panel)
    np.testing.assert_array_equal(viewer.layers["a + b + c labels"].data, expected)


@pytest.mark.window
@pytest.mark.parametrize("lazy", [False, True])
def test_a_model_of_channels_is_applied_to_an_axis_of_a_layer(
    viewer, open_dock, finish, qtbot, tmp_path, lazy
):
    images = np.random.default_rng(0).integers(0, 4000, (2, 4, 3, 20, 31)).astype(np.uint16)
    names = ("z", "c", "y", "x")
    data = [da.from_array(image, chunks=(2, 2, 20, 20)) if lazy else image for image in images]
    first = viewer.add_image(data[0], name="first", axis_labels=names)
    second = viewer.add_image(data[1], name="second", axis_labels=names, scale=(2, 1, 0.5, 0.5))
    dock = open_dock()
    viewer.layers.selection.active = first
    assert dock.channel_axis.value == 1
    dock.run()
    finish(dock)
    panel = dock.folds["apply"].open()
    assert texts(panel) == ["first", "second"]
    viewer.layers.selection.active = second
    assert panel.images.checked == [(second,)]
    assert "= axis 1 (c) of “second”" in panel.match.text()
    apply(qtbot, panel)
    model, labels = dock.result.model, viewer.layers["second labels"]
    expected = model.predict(np.moveaxis(images[1], 1, -1))
    np.testing.assert_array_equal(np.asarray(labels.data), expected)
    counts = np.bincount(expected.ravel())[1:]
    assert labels.features["pixels"].tolist() == counts.tolist()
    assert labels.features["volume"].tolist() == pytest.approx((counts * 0.5).tolist())
    recolored = np.moveaxis(np.rint(model.palette)[expected - 1], -1, 1)
    np.testing.assert_array_equal(np.asarray(viewer.layers["second recolored"].data), recolored)
    # Applying again updates the layers; the list edits them, and the script gives them.
    apply(qtbot, panel, second)
    assert len(viewer.layers) == 6
    viewer.layers.selection.active = labels
    dock.folds["clusters"].open().list.merge([1, 2])
    np.testing.assert_array_equal(np.asarray(labels.data), np.where(expected == 2, 1, expected))
    merged = np.moveaxis(np.rint(dock.result.model.palette), -1, 0)[:, [0, 0, 1, 2]]
    np.testing.assert_array_equal(
        np.asarray(viewer.layers["second recolored"].data), merged[:, expected - 1].swapaxes(0, 1)
    )
    np.save(tmp_path / "image.npy", images[1])
    space = {}
    with contextlib.chdir(tmp_path):
        exec(dock.folds["export"].open().script(), space)
    np.testing.assert_array_equal(space["labels"], np.asarray(labels.data))


def test_a_loaded_model_stays_until_it_is_applied_or_dropped(
    viewer, dock, panel, qtbot, finish, other, tmp_path
):
    first, image = dock.result.labels, viewer.add_image(other, name="other", rgb=True)
    dock.image.value, dock.n_clusters.value = image, 2
    dock.run()
    finish(dock)
    loaded = segment(255 - other, 3, rgb=True).model
    loaded.save(tmp_path / "three.json")
    assert not panel.list_button.visible
    panel.load(tmp_path / "three.json")
    assert panel.list_button.native.isVisibleTo(panel)
    viewer.layers.selection.active = first
    assert dock.result.labels is first
    dock.n_clusters.value = 2
    dock.run()
    finish(dock)
    assert panel.message.text() == "three.json, loaded and not applied yet: 3 clusters"
    assert panel.model.to_dict() == loaded.to_dict()
    panel.list_button.native.click()
    assert panel.model.n_clusters == 2
    assert not panel.list_button.native.isVisibleTo(panel)
    panel.load(tmp_path / "three.json")
    apply(qtbot, panel, image)
    np.testing.assert_array_equal(viewer.layers["other labels"].data, loaded.predict(other))
    viewer.layers.selection.active = image
    viewer.layers.selection.active = first
    assert panel.model.n_clusters == 4


def test_canceled_apply_adds_no_layers(viewer, panel, qtbot, slow):
    layer = viewer.add_image(np.asarray(slow), name="other", rgb=True)
    layer.data = slow
    n_layers = len(viewer.layers)
    # The first image is finished when the second one is canceled.
    panel.apply([viewer.layers["picture"], layer])
    qtbot.waitUntil(slow.asked.is_set, timeout=20_000)
    panel.cancel_button.native.click()
    slow.go_on.set()
    qtbot.waitUntil(lambda: panel.apply_button.enabled, timeout=20_000)
    assert len(viewer.layers) == n_layers
    assert not notifications()


@pytest.mark.window
@pytest.mark.parametrize("closed", ["dock", "viewer"])
def test_closing_cancels_apply(viewer, dock, panel, qtbot, slow, closed):
    layer = viewer.add_image(np.asarray(slow), name="other", rgb=True)
    layer.data = slow
    worker = panel.apply(layer)
    qtbot.waitUntil(slow.asked.is_set, timeout=20_000)
    if closed == "dock":
        viewer.window.remove_dock_widget(dock.native)
    else:
        viewer.close()
    assert worker.abort_requested
    slow.go_on.set()
    qtbot.waitUntil(lambda: not worker.is_running, timeout=20_000)
    qtbot.wait(50)
    assert "other labels" not in viewer.layers
    assert not notifications()
    if closed == "dock":
        dock.native.deleteLater()
        qtbot.wait(50)


@pytest.mark.window
@pytest.mark.parametrize("run_first", [False, True])
@pytest.mark.parametrize("lazy", [False, True])
def test_edits_of_a_loaded_model_are_saved(
    viewer, dock, finish, qtbot, quadrants, tmp_path, run_first, lazy
):
    """The list shows the classes of the applied model, and its edits are in the new file."""
    model = segment(255 - quadrants, 4, rgb=True).model
    model.with_classes(model.classes.rename(1, "old")).save(tmp_path / "old.json")
    if lazy:
        viewer.layers.clear()
        viewer.add_image(da.from_array(quadrants, chunks=(9, 20, 3)), name="picture", rgb=True)
    if run_first:
        dock.run()
        finish(dock)
    panel = dock.folds["apply"].open()
    panel.load(tmp_path / "old.json")
    assert panel.message.text() == "old.json, loaded and not applied yet: 4 classes"
    panel.save(tmp_path / "same.json")
    assert (tmp_path / "same.json").read_bytes() == (tmp_path / "old.json").read_bytes()
    apply(qtbot, panel, viewer.layers["picture"])
    assert panel.message.text() == "picture: 4 classes"
    clusters = dock.folds["clusters"].open().list
    assert clusters.layer is viewer.layers["picture labels"]
    clusters._clusters.rename(1, "new")
    clusters.merge([2, 3])
    clusters._clusters.ignore([4])
    panel.save(tmp_path / "new.json")
    saved = KMeansModel.load(tmp_path / "new.json")
    np.testing.assert_array_equal(saved.cluster_centers_, model.cluster_centers_)
    assert saved.classes == model.classes.rename(1, "new").merge([2, 3]).ignore(4)
    np.testing.assert_array_equal(saved.predict(quadrants), np.asarray(clusters.layer.data))
    # The copied script applies the edited model.
    np.save(tmp_path / "image.npy", quadrants)
    space = {}
    with contextlib.chdir(tmp_path):
        exec(dock.folds["export"].open().script(), space)
    np.testing.assert_array_equal(space["labels"], np.asarray(clusters.layer.data))


@pytest.mark.parametrize("lazy", [False, True])
def test_clusters_of_a_loaded_model_are_split_and_merged(
    viewer, dock, qtbot, quadrants, tmp_path, lazy, finish_work
):
    model = segment(quadrants, 4, rgb=True).model
    model.with_classes(model.classes.merge([1, 2])).save(tmp_path / "model.json")
    viewer.layers.clear()
    # The image lacks a cluster of the model.
    image = quadrants[:, :9]
    data = da.from_array(image, chunks=(9, 9, 3)) if lazy else image
    layer = viewer.add_image(data, name="part", rgb=True)
    panel = dock.folds["apply"].open()
    panel.load(tmp_path / "model.json")
    apply(qtbot, panel, layer)
    merge = dock.folds["merge"].open()
    for share, n_clusters in ((10, 2), (0, 3)):
        merge.min_share.value = share
        assert len(viewer.layers["part labels"].features) == n_clusters
    clusters = dock.folds["clusters"].open()
    clusters.split(1)
    finish_work(clusters)
    labels = viewer.layers["part labels"]
    expected = model.predict(image)
    np.testing.assert_array_equal(np.asarray(labels.data), expected)
    counts = np.bincount(expected.ravel(), minlength=5)[1:]
    assert labels.features["pixels"].tolist() == counts.tolist()
    means = [image[expected == label].mean(axis=0) for label in np.flatnonzero(counts) + 1]
    columns = ["mean red", "mean green", "mean blue"]
    np.testing.assert_allclose(labels.features[columns][counts > 0], means)


def test_list_keeps_the_run_when_its_model_is_applied_to_another_image(
    viewer, dock, panel, qtbot, other
):
    result = dock.result
    apply(qtbot, panel, viewer.add_image(other, name="other", rgb=True))
    assert dock.result is result
    # Its own layers now show the applied model.
    apply(qtbot, panel, viewer.layers["picture"])
    assert dock.result is not result
    assert dock.result.labels is result.labels
