"""The files of results, opened in napari through the manifest."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
import yaml
from npe2 import PluginManager, PluginManifest
from PIL import Image as PillowImage

import napari_kmeans
from napari_kmeans import KMeansModel, apply_classes, segment
from napari_kmeans.batch.output import write_results
from napari_kmeans.cli.main import main
from napari_kmeans.files.picture import Axis, Channel, Picture
from napari_kmeans.files.result_record import RECORD_TAG
from napari_kmeans.imaging.colors import to_hex
from napari_kmeans.viewer.from_layers.source import Source
from napari_kmeans.viewer.provenance import has_record
from napari_kmeans.viewer.read_results import get_reader
from napari_kmeans.viewer.to_layers.clusters import Clusters
from napari_kmeans.viewer.to_layers.distinct_colors import distinct_colors
from napari_kmeans.viewer.to_layers.label_area import format_area
from napari_kmeans.viewer.to_layers.layer_classes import classes_of

PLUGIN = "results-of-kmeans"
ROOT = next(iter(napari_kmeans.__path__))
MICROMETERS = (
    Axis("y", unit="micrometer", scale=0.5),
    Axis("x", unit="micrometer", scale=0.25, translation=3.0),
)
CHANNEL = Axis("c", "channel")
PLANE = (*MICROMETERS, CHANNEL)


@pytest.fixture
def viewer(viewer):
    """A viewer with the reader of these sources, under the name `PLUGIN`.

    The installed manifest may be that of an earlier version.
    """
    path = Path(ROOT).parents[1] / "napari.yaml"
    if not path.is_file():
        pytest.skip("napari.yaml is not beside the sources")
    plugins = PluginManager.instance()
    # Do not tell the application: it may have the commands already.
    if PLUGIN not in plugins:
        text = path.read_text("utf-8").replace("napari-kmeans.", f"{PLUGIN}.")
        given = yaml.safe_load(text)["contributions"]
        commands = [each for each in given["commands"] if each["id"] == f"{PLUGIN}.read"]
        parts = {"commands": commands, "readers": given["readers"]}
        with plugins.events.plugins_registered.blocked():
            plugins.register(PluginManifest(name=PLUGIN, contributions=parts))
    return viewer


@pytest.fixture
def seg(quadrants):
    seg = segment(quadrants, 4, rgb=True)
    classes = seg.model.classes.rename(1, "nucleus").recolor(2, "#ff8000").ignore(3)
    return apply_classes(seg, classes)


def open_results(viewer, paths):
    return [viewer.open(path, plugin=PLUGIN)[0] for path in paths]


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_results_open_as_labels_and_colors(viewer, tmp_path, seg, quadrants, suffix):
    if suffix == ".zarr":
        seg = segment(da.from_array(quadrants, chunks=(10, 21, 3)), 4, rgb=True)
        seg = apply_classes(seg, seg.model.classes.rename(1, "nucleus").recolor(2, "#ff8000"))
    written = write_results(seg, tmp_path, "cell", Picture(quadrants, rgb=True, axes=PLANE))
    labels_path, recolored_path, _, model_path = written.paths
    assert labels_path.suffix == recolored_path.suffix == suffix
    labels, recolored = open_results(viewer, [labels_path, recolored_path])
    assert (labels._type_string, recolored._type_string) == ("labels", "image")
    np.testing.assert_array_equal(labels.data, seg.labels)
    np.testing.assert_array_equal(recolored.data, seg.recolored)
    assert recolored.rgb
    for layer in (labels, recolored):
        assert layer.scale.tolist() == [0.5, 0.25]
        assert layer.translate.tolist() == [0, 3]
        assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]
        assert tuple(layer.axis_labels) == ("y", "x")
    assert labels.features["name"].tolist() == ["nucleus", "", "", ""]
    assert labels.features.columns.tolist() == written.table.columns.tolist()
    np.testing.assert_array_equal(labels.features["pixels"], written.table["pixels"])
    np.testing.assert_allclose(labels.colormap.map(np.array([2]))[0][:3], (1, 128 / 255, 0))
    assert classes_of(labels) == KMeansModel.load(model_path).classes


def test_an_ignored_class_is_hidden_and_has_no_share(viewer, tmp_path, seg):
    path = write_results(seg, tmp_path, "cell").paths[0]
    (labels,) = open_results(viewer, [path])
    assert labels.features["ignored"].tolist() == [False, False, True, False]
    assert np.isnan(labels.features["percent"][2])
    assert labels.colormap.map(np.array([1, 2, 3, 4]))[:, 3].tolist() == [1, 1, 0, 1]


def test_labels_of_gray_results_open_in_distinct_colors(viewer, tmp_path, quadrants):
    seg = segment(quadrants[..., 0].copy(), 3)
    seg = apply_classes(seg, seg.model.classes.recolor(2, "#ff8000"))
    (labels,) = open_results(viewer, [write_results(seg, tmp_path, "cell").paths[0]])
    expected = to_hex(distinct_colors([1, 2, 3]))
    expected[1] = "#ff8000"
    assert labels.features["color"].tolist() == expected
    shown = labels.colormap.map(np.array([1, 2, 3]))[:, :3].astype(np.float64)
    assert to_hex(shown) == expected
    clusters = Clusters(labels, Source.of(viewer.add_image(quadrants[..., 0])), seg.model)
    assert clusters.color_scheme == "distinct"
    clusters.set_color_scheme("mean")
    grays = labels.features["color"][[0, 2]]
    assert all(code[1:3] == code[3:5] == code[5:] for code in grays)


def test_clusters_of_opened_labels_can_be_edited(viewer, tmp_path, seg, quadrants):
    path = write_results(seg, tmp_path, "cell", Picture(quadrants, rgb=True, axes=PLANE)).paths[0]
    (labels,) = open_results(viewer, [path])
    clusters = Clusters(labels)
    assert clusters.name(1) == "nucleus"
    n_pixels = clusters.pixels([1, 2])
    merged = clusters.merge([1, 2])
    row = labels.features[labels.features["index"] == merged]
    assert row["area"].tolist() == [n_pixels * 0.125]
    assert clusters.area([merged]) == format_area(labels, n_pixels)
    assert (np.asarray(labels.data) == merged).sum() == n_pixels
    assert classes_of(labels)[merged].centers == (0, 1)


def test_the_png_of_a_photograph_opens_in_color(viewer, tmp_path, seg, quadrants):
    axes = (Axis("y", unit="inch", scale=1 / 300), Axis("x", unit="inch", scale=1 / 300), PLANE[2])
    path = write_results(seg, tmp_path, "photo", Picture(quadrants, rgb=True, axes=axes)).paths[1]
    assert path.suffix == ".png"
    (recolored,) = open_results(viewer, [path])
    np.testing.assert_array_equal(recolored.data, seg.recolored)
    assert recolored.rgb
    assert recolored.scale.tolist() == [1 / 300, 1 / 300]
    assert str(recolored.units[0]) == "inch"


def test_channels_open_with_names_and_colors(viewer, tmp_path, quadrants):
    image = quadrants[..., :2].astype(np.uint16)
    channels = (Channel("DAPI", "#0000ff"), Channel("GFP", "#00ff00"))
    picture = Picture(image, False, 2, axes=PLANE, channels=channels)
    seg = segment(image, 3, channel_axis=2)
    path = write_results(seg, tmp_path, "cell", picture).paths[1]
    dapi, gfp = viewer.open(path, plugin=PLUGIN)
    assert (dapi.name, gfp.name) == ("cell-recolored DAPI", "cell-recolored GFP")
    np.testing.assert_array_equal(gfp.data, seg.recolored[..., 1])
    np.testing.assert_array_equal(gfp.colormap.map(np.array([1.0]))[0], (0, 1, 0, 1))
    assert gfp.scale.tolist() == [0.5, 0.25]
    assert [str(unit) for unit in gfp.units] == ["micrometer", "micrometer"]


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_one_channel_opens_with_its_name_and_color(viewer, tmp_path, quadrants, dtype):
    image = quadrants[..., 0].astype(dtype)
    picture = Picture(image, rgb=False, channels=(Channel("GFP", "#00ff00"),))
    path = write_results(segment(image, 2), tmp_path, "cell", picture).paths[1]
    assert path.suffix == ".png"
    (layer,) = viewer.open(path, plugin=PLUGIN)
    assert layer.name == "cell-recolored GFP"
    assert layer.colormap.map(np.ones(1))[0].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("channels", [1, 2])
def test_pixels_without_data_do_not_count_for_the_contrast(viewer, tmp_path, channels):
    image = np.arange(200, 200 + 6 * 40 * channels, 3, dtype=np.int16).reshape(40, 2, channels)
    image[:7] = -9999
    tags = [(33550, 12, 3, (1.0, 1.0, 0.0), True), (42113, 2, 0, "-9999", True)]
    layout = {"photometric": "minisblack", "planarconfig": "contig"} if channels == 2 else {}
    tifffile.imwrite(tmp_path / "map.tif", image.squeeze(), extratags=tags, **layout)
    assert main([str(tmp_path / "map.tif"), "-k", "3", "-o", str(tmp_path / "out")]) == 0
    layers = viewer.open(tmp_path / "out" / "map-recolored.tif", plugin=PLUGIN)
    assert len(layers) == channels
    for layer in layers:
        kept = np.asarray(layer.data)[7:]
        assert layer.data.min() == -9999
        assert layer.contrast_limits == [kept.min(), kept.max()]


@pytest.mark.parametrize("channels", [1, 2])
def test_axes_of_one_pixel_are_kept(viewer, tmp_path, quadrants, channels):
    """ImageJ and OME-TIFF files do not state them."""
    image = np.moveaxis(quadrants[None, ..., :channels], -1, 1)
    axes = (Axis("z", unit="micrometer", scale=2.0), CHANNEL, *MICROMETERS)
    picture = Picture(image, False, 1, axes=axes)
    seg = segment(image, 3, channel_axis=1)
    labels_path, recolored_path = write_results(seg, tmp_path, "cell", picture).paths[:2]
    (labels,) = viewer.open(labels_path, plugin=PLUGIN)
    recolored = viewer.open(recolored_path, plugin=PLUGIN)
    assert len(recolored) == channels
    np.testing.assert_array_equal(labels.data, seg.labels)
    for number, layer in enumerate(recolored):
        np.testing.assert_array_equal(layer.data, seg.recolored[:, number])
    for layer in (labels, *recolored):
        assert layer.scale.tolist() == [2, 0.5, 0.25]
        assert tuple(layer.axis_labels) == ("z", "y", "x")


def test_files_that_are_no_results_are_left_to_other_readers(tmp_path, quadrants):
    tifffile.imwrite(tmp_path / "mine-labels.tif", quadrants[..., 0])
    for name, text in (("list", "[1, 2]"), ("text", "no JSON"), ("kind", '{"kind": "other"}')):
        tags = [(RECORD_TAG, "s", 0, text, True)]
        tifffile.imwrite(tmp_path / f"{name}-labels.tif", quadrants[..., 0], extratags=tags)
    PillowImage.fromarray(quadrants).save(tmp_path / "mine-recolored.png")
    (tmp_path / "cut-recolored.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (tmp_path / "empty-labels.tif").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "other.zarr").mkdir()
    (tmp_path / "other.zarr" / "zarr.json").write_text('{"attributes": []}')
    paths = [*tmp_path.iterdir(), tmp_path / "missing-labels.tif"]
    assert len(paths) == 10
    assert [get_reader(str(path)) for path in paths] == [None] * len(paths)
    assert get_reader([str(paths[0])]) is None


def test_a_changed_record_still_opens_the_labels(viewer, tmp_path, quadrants):
    record = '{"kind": "labels", "table": {"index": 3}, "model": {}, "axes": [[1]], "channels": 2}'
    path = tmp_path / "cell-labels.tif"
    tags = [(RECORD_TAG, "s", 0, record, True)]
    tifffile.imwrite(path, quadrants[..., 0], extratags=tags)
    (labels,) = open_results(viewer, [path])
    np.testing.assert_array_equal(labels.data, quadrants[..., 0])
    assert labels.scale.tolist() == [1, 1]


def test_a_physical_size_arrives_everywhere(viewer, tmp_path):
    """From OME-TIFF through the command line to tifffile, ImageJ's metadata and napari."""
    volume = np.random.default_rng(0).integers(0, 255, (5, 40, 60), dtype=np.uint8)
    sizes = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 0.5}
    path = tmp_path / "cell.ome.tif"
    tifffile.imwrite(path, volume, metadata={"axes": "ZYX", **sizes})
    assert main([str(path), "-k", "3", "-o", str(tmp_path / "out")]) == 0
    labels_path = tmp_path / "out" / "cell.ome-labels.tif"
    with tifffile.TiffFile(labels_path) as file:
        numerator, denominator = file.pages.first.tags["XResolution"].value
        imagej = file.imagej_metadata
        assert file.series[0].axes == "ZYX"
        assert (imagej["unit"], imagej["spacing"]) == ("um", 0.5)
        assert numerator / denominator == 4
    (labels,) = open_results(viewer, [labels_path])
    extent = labels.extent.world[1] - labels.extent.world[0] + labels.scale
    np.testing.assert_allclose(extent, (2.5, 10, 15))
    assert [str(unit) for unit in labels.units] == ["micrometer"] * 3


def test_opened_results_are_those_of_the_dock(viewer, open_dock, qtbot, tmp_path, quadrants):
    """Sizes, counts after edits by hand, and no offer of recolored images."""
    channels = (Channel("DAPI", "#0000ff"), Channel("GFP", "#00ff00"))
    pixels = quadrants[..., :2].astype(np.uint16)
    for name, image in (("photo", quadrants), ("cells", pixels)):
        of_channels = image is pixels
        picture = Picture(image, not of_channels, 2, channels=channels if of_channels else ())
        given = {"channel_axis": 2} if of_channels else {"rgb": True}
        write_results(segment(image, 4, **given), tmp_path, name, picture)
    image = viewer.add_image(quadrants, name="photo", rgb=True)
    dock = open_dock()
    labels, photo = open_results(
        viewer, [tmp_path / "photo-labels.tif", tmp_path / "photo-recolored.png"]
    )
    channels = viewer.open(tmp_path / "cells-recolored.tif", plugin=PLUGIN)
    assert labels.features["area"].tolist() == labels.features["pixels"].tolist()
    assert set(labels.features["unit"]) == {"px²"}
    viewer.layers.selection.active = labels
    assert dock.result.labels is labels
    panel = dock.folds["apply"].open()
    assert panel.images.values == [(image,)]
    for layer in (photo, *channels):
        assert has_record(layer)
    labels.data_setitem((np.array([0, 0]), np.array([0, 1])), 9)
    qtbot.waitUntil(lambda: 9 in labels.features["index"].tolist(), timeout=20_000)
    row = labels.features.set_index("index").loc[9]
    assert (row["pixels"], row["area"]) == (2, 2)
    assert row[["mean red", "mean green", "mean blue"]].tolist() == pytest.approx(
        quadrants[0, :2].mean(axis=0).tolist()
    )
