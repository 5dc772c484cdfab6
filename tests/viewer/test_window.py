"""The window of the command line: its layers have the metadata of the files."""

from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest

from napari_kmeans import segment
from napari_kmeans.batch.jobs import ClusteredImage
from napari_kmeans.files.picture import Axis, Channel, Picture
from napari_kmeans.imaging.colors import to_hex
from napari_kmeans.options import Options
from napari_kmeans.viewer import window
from napari_kmeans.viewer.dock.whole_view import shows_whole_picture
from napari_kmeans.viewer.from_layers.channels import source_of_channels
from napari_kmeans.viewer.from_layers.source import Source
from napari_kmeans.viewer.from_layers.view import camera_of, canvas_size
from napari_kmeans.viewer.to_layers.clusters import Clusters
from napari_kmeans.viewer.to_layers.distinct_colors import distinct_colors

pytestmark = pytest.mark.window

NOISE = np.random.default_rng(0).integers(0, 255, (3, 40, 60), dtype=np.uint8)
PLANE = (
    Axis("row", unit="micrometer", scale=0.5, translation=2.0),
    Axis("column", unit="micrometer", scale=0.25),
)


def assert_in_place(layers, units, labels):
    for layer in layers:
        assert layer.scale[-2:].tolist() == [0.5, 0.25], layer
        assert layer.translate[-2:].tolist() == [2, 0], layer
        assert [str(unit) for unit in layer.units] == units, layer
        assert tuple(layer.axis_labels) == labels, layer


def test_layers_have_units_and_axis_labels(viewer):
    axes = (Axis("time", "time", "second", 3.0), *PLANE)
    picture = Picture(NOISE, rgb=False, axes=axes)
    outcome = ClusteredImage("film", picture, segment(NOISE, 3))
    window.fill_viewer(viewer, [outcome], Options(n_clusters=3))
    assert [layer.name for layer in viewer.layers] == ["film", "film recolored", "film labels"]
    units = ["second", "micrometer", "micrometer"]
    assert_in_place(viewer.layers, units, ("time", "row", "column"))


def test_units_that_are_no_lengths_are_pixels(viewer):
    axes = (Axis("y", unit="degree", scale=0.5), Axis("", "", ""))
    picture = Picture(NOISE[0], rgb=False, axes=axes)
    window.fill_viewer(viewer, [ClusteredImage("map", picture, segment(NOISE[0], 3))], Options())
    assert [str(unit) for unit in viewer.layers[0].units] == ["pixel", "pixel"]
    assert tuple(viewer.layers[0].axis_labels) == ("y", "axis -1")


def test_channels_have_names_and_colors(viewer):
    channels = (Channel("DAPI", "#0000ff"), Channel("", "#00ff00"), Channel("light"))
    axes = (Axis("c", "channel"), *PLANE)
    picture = Picture(NOISE, False, 0, axes=axes, channels=channels)
    outcome = ClusteredImage("cell", picture, segment(NOISE, 3, channel_axis=0))
    window.fill_viewer(viewer, [outcome], Options(n_clusters=3))
    names = [f"cell {name}{part}" for part in ("", " recolored") for name in ("DAPI", "1", "light")]
    assert [layer.name for layer in viewer.layers] == [*names, "cell labels"]
    assert_in_place(viewer.layers, ["micrometer"] * 2, ("row", "column"))
    brightest = [viewer.layers[name].colormap.map(np.ones(1))[0, :3].tolist() for name in names[:3]]
    assert brightest == [[0, 0, 1], [0, 1, 0], [1, 1, 1]]


def test_one_channel_has_its_name_and_color(viewer):
    picture = Picture(NOISE[0], rgb=False, channels=(Channel("GFP", "#00ff00"),))
    window.fill_viewer(viewer, [ClusteredImage("cell", picture, segment(NOISE[0], 3))], Options())
    names = [layer.name for layer in viewer.layers]
    assert names == ["cell GFP", "cell GFP recolored", "cell GFP labels"]
    for layer in viewer.layers[:2]:
        assert layer.colormap.map(np.ones(1))[0, :3].tolist() == [0, 1, 0]


def test_labels_have_the_colors_of_the_channels(viewer):
    image = np.zeros((2, 20, 40), np.uint8)
    image[0, :, 20:], image[1, :, :20] = 200, 100
    channels = (Channel("DAPI", "#0000ff"), Channel("GFP", "#00ff00"))
    outcome = ClusteredImage(
        "cell", Picture(image, False, 0, channels=channels), segment(image, 2, channel_axis=0)
    )
    window.fill_viewer(viewer, [outcome], Options(n_clusters=2))
    labels = viewer.layers["cell labels"]
    left, right = labels.data[0, 0], labels.data[0, -1]
    assert labels.features["color"].tolist() == to_hex(distinct_colors([1, 2]))
    assert [layer.visible for layer in viewer.layers] == [True, True, False, False, True]
    source = source_of_channels(viewer.layers[:2])
    Clusters(labels, source, outcome.seg.model).set_color_scheme("mean")
    shown = labels.colormap.map(np.array([0, left, right]))
    # napari shows 8-bit images from 0 to 255.
    expected = [[0, 0, 0, 0], [0, 100 / 255, 0, 1], [0, 0, 200 / 255, 1]]
    np.testing.assert_allclose(shown, expected, atol=0.005)
    colors = dict(zip(labels.features["index"], labels.features["color"], strict=True))
    assert colors == {left: "#006400", right: "#0000c8"}


@pytest.mark.parametrize("channel_axis", [None, 0])
def test_pixels_without_data_are_left_out_at_all_levels(viewer, monkeypatch, channel_axis):
    monkeypatch.setattr(window, "MAX_PLANE_SIDE", 30)
    image = NOISE[0] if channel_axis is None else NOISE
    mask = np.ones((40, 60), bool)
    mask[:20] = mask[:, 30:36] = False
    pixels, axes = da.from_array(image), (Axis("c", "channel"), *PLANE)[-image.ndim :]
    lazy = da.from_array(mask)
    picture = Picture(pixels, False, channel_axis, levels=(pixels,), axes=axes, mask=lazy)
    seg = segment(pixels, 3, channel_axis=channel_axis, mask=lazy)
    window.fill_viewer(viewer, [ClusteredImage("map", picture, seg)], Options(n_clusters=3))
    levels = [np.asarray(level) for level in viewer.layers["map labels"].data]
    assert [level.shape for level in levels] == [(40, 60), (20, 30)]
    np.testing.assert_array_equal(levels[0] == 0, ~mask)
    np.testing.assert_array_equal(levels[1] == 0, ~mask[::2, ::2])
    layer = viewer.layers["map mask"]
    assert not layer.visible
    assert_in_place([layer], ["micrometer"] * 2, ("row", "column"))


def test_a_run_in_the_dock_uses_the_mask_of_the_file(viewer, finish):
    mask = np.ones((40, 60), bool)
    mask[:20] = False
    picture = Picture(NOISE[0], rgb=False, axes=PLANE, mask=mask)
    seg = segment(NOISE[0], 3, mask=mask)
    window.fill_viewer(viewer, [ClusteredImage("map", picture, seg)], Options(n_clusters=3))
    (dock,) = (each for each in viewer.window.dock_widgets.values() if hasattr(each, "run"))
    assert (dock.image.value.name, dock.mask.value.name) == ("map", "map mask")
    viewer.layers["map labels"].data = np.zeros_like(seg.labels)
    dock.run()
    finish(dock)
    np.testing.assert_array_equal(dock.result.labels.data, seg.labels)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("channel_axis", [None, 0])
def test_pixels_without_data_do_not_count_for_the_contrast(viewer, channel_axis, lazy):
    image = NOISE.astype(np.int16) + np.int16([[[0]], [[300]], [[600]]])
    image = image[1] if channel_axis is None else image
    mask = np.ones((40, 60), bool)
    mask[:21, 5:] = False
    image[..., ~mask] = -9999
    pixels, inside = (da.from_array(image), da.from_array(mask)) if lazy else (image, mask)
    picture = Picture(pixels, False, channel_axis, mask=inside)
    seg = segment(image, 3, channel_axis=channel_axis, mask=mask)
    window.fill_viewer(viewer, [ClusteredImage("map", picture, seg)], Options(n_clusters=3))
    kept = image[..., mask].reshape(-1, mask.sum())
    expected = [[values.min(), values.max()] for values in kept]
    shown = [layer.contrast_limits for layer in viewer.layers if layer._type_string == "image"]
    assert shown == expected * 2
    if channel_axis is None:
        low, high = expected[0]
        labels, source = viewer.layers["map labels"], Source.of(viewer.layers["map"])
        Clusters(labels, source, seg.model).set_color_scheme("mean")
        brightness = (seg.model.palette[:, 0] - low) / (high - low)
        colors = labels.colormap.map(np.array([1, 2, 3]))[:, 0]
        np.testing.assert_allclose(colors, brightness, atol=0.005)


def test_an_image_without_any_data_has_contrast_limits(viewer):
    picture = Picture(np.full((4, 5), 7.0), rgb=False, mask=np.zeros((4, 5), bool))
    assert window.contrast_arguments(picture) == {"contrast_limits": (0, 1)}


def dock_of(viewer):
    (dock,) = (each for each in viewer.window.dock_widgets.values() if hasattr(each, "run"))
    return dock


def test_original_is_one_click_away_and_clusters_are_listed(viewer, quadrants, finish):
    outcome = ClusteredImage("photo", Picture(quadrants, rgb=True), segment(quadrants, 4, rgb=True))
    window.fill_viewer(viewer, [outcome], Options(n_clusters=4))
    assert [layer.name for layer in viewer.layers if layer.visible] == ["photo", "photo labels"]
    dock = dock_of(viewer)
    clusters = dock.folds["clusters"]
    assert clusters.is_open
    assert clusters.panel.list.layer is viewer.layers["photo labels"]
    assert dock.status.text().startswith("4 clusters · 420 pixels · cost ")
    Clusters(viewer.layers["photo labels"]).rename(1, "shadow")
    dock.run()
    finish(dock)
    assert len(viewer.layers) == 3
    assert viewer.layers["photo labels"].features["name"][0] == "shadow"


def test_channels_are_clustered_again_as_channels(viewer, finish):
    channels = (Channel("DAPI"), Channel("GFP"), Channel("light"))
    picture = Picture(NOISE, False, 0, channels=channels)
    seg = segment(NOISE, 3, channel_axis=0)
    window.fill_viewer(viewer, [ClusteredImage("cell", picture, seg)], Options(n_clusters=3))
    labels = viewer.layers["cell labels"]
    np.testing.assert_array_equal(labels.data, seg.labels)
    for number, channel in enumerate(channels):
        recolored = viewer.layers[f"cell {channel.name} recolored"]
        np.testing.assert_array_equal(recolored.data, seg.recolored[number])
        assert not recolored.visible
    dock = dock_of(viewer)
    assert dock.folds["clusters"].panel.list.layer is labels
    assert dock.status.text().startswith("3 clusters · 2,400 pixels · cost ")
    dock.run()
    finish(dock)
    assert len(viewer.layers) == 7
    assert dock.result.labels is labels
    np.testing.assert_array_equal(labels.data, seg.labels)


def test_tables_of_several_images_count_the_pixels_of_each(viewer):
    images = [NOISE[0], NOISE[1, :10]]
    both = segment(images, 3)
    outcomes = [
        ClusteredImage(name, Picture(image, rgb=False), replace(both, labels=labels, recolored=new))
        for name, image, labels, new in zip("ab", images, both.labels, both.recolored, strict=True)
    ]
    window.fill_viewer(viewer, outcomes, Options(n_clusters=3))
    for name, image, labels in zip("ab", images, both.labels, strict=True):
        table = viewer.layers[f"{name} labels"].features
        assert table["pixels"].tolist() == np.bincount(labels.ravel(), minlength=4)[1:].tolist()
        means = [image[labels == label].mean() for label in (1, 2, 3)]
        np.testing.assert_allclose(table["mean intensity"], means)
    # The costs are those of both images together.
    assert dock_of(viewer).status.text() == "3 clusters · 600 pixels"


def test_window_shows_the_whole_picture(make_napari_viewer, qtbot, monkeypatch, quadrants):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(700, 500)
    monkeypatch.setattr(window, "WINDOW_SIZE", (900, 600))
    small = ClusteredImage("small", Picture(quadrants, rgb=True), segment(quadrants, 4, rgb=True))
    wide = np.tile(quadrants, (1, 4, 1))
    large = ClusteredImage("large", Picture(wide, rgb=True), segment(wide, 4, rgb=True))
    window.fill_viewer(viewer, [small, large], Options(n_clusters=4))
    native = dock_of(viewer).native
    screen = native.screen().availableGeometry()
    smallest = native.window().minimumSizeHint()
    width = max(min(900, screen.width()), smallest.width())
    qtbot.waitUntil(lambda: native.window().width() == width)
    qtbot.waitUntil(lambda: shows_whole_picture(viewer))
    qtbot.wait(100)
    half_width = canvas_size(viewer)[1] / camera_of(viewer).zoom / 2
    assert 42 <= half_width <= 42 * 1.2
    viewer.window.set_geometry(0, 0, 5000, 4000)
    window._enlarge_window(viewer, native)
    left, top, width, height = viewer.window.geometry()
    assert left >= screen.left()
    assert top >= screen.top()
    assert width <= max(screen.width(), smallest.width())
    assert height <= max(screen.height(), smallest.height())


def test_dock_shows_the_minimum_area_in_the_unit_of_the_file(viewer):
    axes = tuple(axis._replace(unit="nanometer", scale=axis.scale * 1000) for axis in PLANE)
    picture = Picture(NOISE[0], rgb=False, axes=axes)
    # The command line was given 3,000,000 nm², and lengths are in micrometers.
    seg = segment(NOISE[0], 3, min_area=3, spacing=(0.5, 0.25))
    options = Options(n_clusters=3, min_area=3e6)
    window.fill_viewer(viewer, [ClusteredImage("cell", picture, seg)], options)
    (dock,) = [dock for dock in viewer.window.dock_widgets.values() if hasattr(dock, "min_area")]
    assert (dock.min_area.value, dock.size_unit.value) == (3e6, "area")
    assert dock.task().options.min_area == pytest.approx(3)
    np.testing.assert_array_equal(dock.task().run().labels, seg.labels)
