"""The colors of labels, compared with the recolored layer on the canvas."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_kmeans import KMeansModel, segment, segment_layer
from napari_kmeans.viewer.from_layers.source import WHOLE, Source
from napari_kmeans.viewer.to_layers.apply_model import ApplyWork
from napari_kmeans.viewer.to_layers.clusters import Clusters
from napari_kmeans.viewer.to_layers.distinct_colors import distinct_colors
from napari_kmeans.viewer.to_layers.label_colors import label_colormap
from napari_kmeans.viewer.to_layers.layers import labels_layer, recolored_layers
from napari_kmeans.viewer.to_layers.update import update_layer

RANGES = {
    "uint8": (np.uint8, 1, {}),
    "uint8, limits and gamma": (np.uint8, 1, {"contrast_limits": (30, 180), "gamma": 0.6}),
    "12 bits in uint16": (np.uint16, 16, {}),
    "16 bits, limits and gamma": (np.uint16, 200, {"contrast_limits": (500, 30_000), "gamma": 2}),
    "int16, negative": (np.int16, -100, {}),
    "0 to 255 in int64": (np.int64, 1, {}),
    "uint32": (np.uint32, 2**24, {}),
    "floats to 1": (np.float32, 1 / 255, {}),
    "floats to 255": (np.float32, 1, {}),
    "float64, limits": (np.float64, 1e3, {"contrast_limits": (30_000, 220_000)}),
    "float64 beyond float32": (np.float64, 1e97, {}),
}


def on_canvas(viewer, layer):
    """Return the colors that the canvas shows in the middle of each quadrant of a layer."""
    for each in viewer.layers:
        each.visible = each is layer
    viewer.reset_view()
    canvas = viewer.screenshot(canvas_only=True, flash=False)[..., :3]
    height, width = canvas.shape[:2]
    rows, columns = (
        [height // 3, 2 * height // 3],
        [width // 2 - height // 6, width // 2 + height // 6],
    )
    return canvas[np.ix_(rows, columns)].reshape(-1, 3).astype(int)


def to_hex(colors):
    return ["#{:02x}{:02x}{:02x}".format(*color) for color in colors]


def test_labels_and_table_have_the_colors_on_the_canvas(make_napari_viewer, quadrants):
    viewer = make_napari_viewer(show=True)
    for name, (dtype, factor, display) in RANGES.items():
        viewer.layers.clear()
        pixels = (quadrants[::5, ::5].astype(np.float64) * factor).astype(dtype)
        image = viewer.add_image(pixels.repeat(5, 0).repeat(5, 1), rgb=True, **display)
        labels, recolored = segment_layer(image, 4)
        viewer.add_layer(recolored)
        viewer.add_layer(labels)
        labels.opacity = 1
        expected = on_canvas(viewer, recolored)
        assert len(np.unique(expected, axis=0)) > 2, name
        # The software renderer rounds colors to integers.
        np.testing.assert_allclose(on_canvas(viewer, labels), expected, atol=1, err_msg=name)
        named = labels.data[[5, 5, 14, 14], [5, 14, 5, 14]] - 1
        codes = labels.features["color"].to_numpy()[named]
        shown = [[int(code[at : at + 2], 16) for at in (1, 3, 5)] for code in codes]
        np.testing.assert_allclose(shown, expected, atol=1, err_msg=name)


def test_table_of_a_gray_image_has_the_colors_of_its_colormap(steps):
    layer = Image(steps, rgb=False, colormap="viridis", contrast_limits=(2_000, 40_000), gamma=0.7)
    labels, _ = segment_layer(layer, 3)
    clusters = Clusters(labels, Source.of(layer), segment(steps, 3, rgb=False).model)
    clusters.set_color_scheme("mean")
    levels = np.array([0, (18_000 / 38_000) ** 0.7, 1])
    expected = np.rint(layer.colormap.map(levels)[:, :3] * 255).astype(int)
    assert labels.features["color"].tolist() == to_hex(expected)


def test_applied_model_has_the_colors_of_the_layer_it_is_applied_to(quadrants):
    model = segment(quadrants, 4, rgb=True).model
    pixels = quadrants.astype(np.float32)
    layer = Image(pixels, rgb=True, contrast_limits=(20, 220), gamma=1.5)
    source = Source.of(layer).fitted_on(None, WHOLE, "coreset")
    outcome = ApplyWork(model, source).run()
    labels, (recolored,) = labels_layer(outcome, source), recolored_layers(outcome, source)
    for label in range(1, 5):
        # The recolored layer has the dtype of the layer: means are not rounded to uint8.
        pixel = recolored.data[labels.data == label][0]
        expected = np.clip((pixel - 20) / 200, 0, 1) ** 1.5
        np.testing.assert_allclose(labels.colormap.color_dict[label][:3], expected, atol=1e-5)


def test_merged_cluster_has_the_mean_of_the_layer_colors(quadrants):
    twelve_bits = Image(quadrants.astype(np.uint16) * 16, rgb=True, contrast_limits=(0, 4080))
    labels, _ = segment_layer(twelve_bits, 4)
    plain, _ = segment_layer(Image(quadrants, rgb=True), 4)
    here, there = Clusters(labels), Clusters(plain)
    for clusters in (here, there):
        assert clusters.merge([1, 2]) == 1
    np.testing.assert_allclose(here.color(1)[:3], there.color(1)[:3], atol=0.005)
    assert labels.features["color"][0] == here.hex_color(1)


def test_dock_shows_the_layer_colors_without_a_labels_layer(viewer, open_dock, finish, quadrants):
    image = viewer.add_image(quadrants.astype(np.int64) * 10, rgb=True, contrast_limits=(0, 2550))
    dock = open_dock()
    dock.add_labels.value = False
    dock.run_button.native.click()
    finish(dock)
    shown = dock.result.table["color"].tolist()
    labels, _ = segment_layer(image, 4)
    assert shown == labels.features["color"].tolist()
    assert len(set(shown)) == 4
    view = dock.folds["colors"].open().view
    cloud = view._cloud
    np.testing.assert_allclose(cloud.cluster_colors, dock.result.outcome.model.palette / 2550)
    truth = dock.result.outcome.colors.points / 2550
    np.testing.assert_allclose(np.sort(cloud.colors, axis=0), np.sort(truth, axis=0))


# ------------------------------------------------------- labels that are no cluster


def test_label_painted_by_hand_is_visible(quadrants):
    labels, _ = segment_layer(Image(quadrants, rgb=True), 4)
    labels.selected_label = 5
    labels.paint((5, 5), 5)
    colors = labels.colormap.map(np.arange(7))
    assert colors[0, 3] == 0
    assert (colors[5] == colors[6]).all()
    assert colors[5, 3] == 1
    assert np.linalg.norm(colors[1:5, :3] - colors[5, :3], axis=1).min() > 0.4


@pytest.mark.parametrize(
    "color", [(1, 0, 1), (0, 1, 1), (1, 1, 0), (0, 1, 0), (1, 0.5, 0), (0, 0, 1), (1, 0, 0)]
)
def test_label_painted_by_hand_has_no_cluster_color(color):
    colormap = label_colormap({1: (*color, 1), 2: (1, 0, 1, 1), 3: (0.5, 0.5, 0.5)})
    unlisted = colormap.color_dict[None]
    assert unlisted[3] == 1
    for label in (1, 2, 3):
        assert np.abs(unlisted[:3] - colormap.color_dict[label][:3]).max() >= 0.5


def test_label_painted_by_hand_keeps_its_color_until_a_cluster_has_it(quadrants):
    labels, _ = segment_layer(Image(quadrants, rgb=True), 4)
    clusters = Clusters(labels)
    unlisted = tuple(labels.colormap.color_dict[None])
    clusters.set_color(2, "orange")
    clusters.merge([3, 4])
    assert tuple(labels.colormap.color_dict[None]) == unlisted
    clusters.set_color(1, unlisted[:3])
    assert np.abs(labels.colormap.color_dict[None][:3] - unlisted[:3]).max() >= 0.5
    clusters.undo()
    assert tuple(labels.colormap.color_dict[None]) == unlisted


def test_transparent_color_of_other_labels_is_replaced_by_the_next_edit(quadrants):
    labels, _ = segment_layer(Image(quadrants, rgb=True), 4)
    colors = {**labels.colormap.color_dict, None: (0, 0, 0, 0)}
    labels.colormap = DirectLabelColormap(color_dict=colors)
    Clusters(labels).set_color(1, "orange")
    assert labels.colormap.color_dict[None][3] == 1
    labels.colormap = DirectLabelColormap(color_dict=colors)
    update_layer(labels, segment_layer(Image(quadrants, rgb=True), 4)[0])
    assert labels.colormap.color_dict[None][3] == 1


def test_cyclic_colormap_gets_a_color_for_other_labels(quadrant_labels):
    table = {"index": [1, 2, 3, 4], "pixels": [100] * 4, "percent": [25.0] * 4}
    layer = Labels(quadrant_labels, features=table)
    clusters = Clusters(layer)
    clusters.set_color(1, "orange")
    assert layer.colormap.color_dict[None][3] == 1
    assert layer.colormap.color_dict[0][3] == 0


def test_colors_of_a_12_bit_model_are_not_black(quadrants, tmp_path):
    """Without a layer, white is the smallest usual maximum above the palette: here 4095."""
    seg = segment(quadrants.astype(np.uint16) * 16, 4, rgb=True)
    plain = segment(quadrants, 4, rgb=True)
    np.testing.assert_allclose(seg.model.colors, plain.model.colors * 4080 / 4095, atol=1e-9)
    assert len(set(seg.table["color"])) == 4
    seg.model.save(tmp_path / "model.json")
    loaded = KMeansModel.load(tmp_path / "model.json")
    np.testing.assert_array_equal(loaded.colors, seg.model.colors)


def to_rgb(codes):
    return np.array([[int(code[at : at + 2], 16) for at in (1, 3, 5)] for code in codes]) / 255


@pytest.mark.parametrize("rgb", [True, False])
def test_color_scheme_can_be_switched_and_undone(quadrants, rgb):
    image = Image(quadrants if rgb else quadrants[..., 0].copy(), rgb=rgb)
    source = Source.of(image)
    outcome = segment(image.data, 4, rgb=rgb)
    labels = labels_layer(outcome, source)
    clusters = Clusters(labels, source, outcome.model)
    n_clusters = len(clusters.labels)
    means = np.repeat(outcome.model.palette, 1 if rgb else 3, axis=1) / 255
    schemes = {"mean": means, "distinct": distinct_colors(range(1, n_clusters + 1))}
    default, other = ("mean", "distinct") if rgb else ("distinct", "mean")

    def check(scheme, own=None):
        colors = schemes[scheme].copy()
        if own is not None:
            colors[0] = own
        assert clusters.color_scheme == scheme
        shown = [labels.colormap.color_dict[label][:3] for label in clusters.labels]
        np.testing.assert_allclose(shown, colors, atol=0.005)
        np.testing.assert_allclose(to_rgb(labels.features["color"]), colors, atol=0.005)

    check(default)
    clusters.set_color_scheme(other)
    check(other)
    clusters.undo()
    check(default)
    clusters.redo()
    clusters.set_color(1, "#102030")
    clusters.show([2], False)
    clusters.set_color_scheme(default)
    check(default, own=to_rgb(["#102030"])[0])
    assert not clusters.is_shown(2)
    # A distinct color stays that of the label, a mean color becomes that of all pixels.
    before = clusters.color(2)[:3]
    clusters.merge([2, 3])
    assert (clusters.color(2)[:3] == before).all() == (default == "distinct")


def test_distinct_colors_of_slices_with_their_own_models(steps):
    layer = Image(steps, rgb=False)
    labels, _ = segment_layer(layer, 3, stack="each")
    clusters = Clusters(labels, Source.of(layer))
    np.testing.assert_allclose(to_rgb(labels.features["color"]), distinct_colors([1, 2, 3]))
    clusters.set_color(2, "#ff0080")
    clusters.set_color_scheme("mean")
    assert labels.features["color"][1] == "#ff0080"
    gray = to_rgb(labels.features["color"][[0, 2]])
    low, high = layer.contrast_limits
    means = (labels.features["mean intensity"].to_numpy()[[0, 2]] - low) / (high - low)
    np.testing.assert_allclose(gray, np.clip(means, 0, 1)[:, None].repeat(3, 1), atol=0.005)


def test_layers_of_earlier_versions_have_mean_colors(quadrants):
    labels, _ = segment_layer(Image(quadrants[..., 0].copy(), rgb=False), 2)
    del labels.metadata["napari-kmeans"]["colors"]
    assert Clusters(labels).color_scheme == "mean"
