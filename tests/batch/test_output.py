"""The formats of results."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from napari_kmeans import apply_classes, segment
from napari_kmeans.batch.earlier_results import find_results
from napari_kmeans.batch.output import write_results
from napari_kmeans.cli.main import main
from napari_kmeans.files.ome_zarr_writer import Image, write_images
from napari_kmeans.files.picture import Axis, Channel, Picture
from napari_kmeans.files.result_record import read_record
from napari_kmeans.files.tiff_writer import png_holds
from napari_kmeans.measuring import COLOR_COLUMN, COUNT_COLUMNS, cluster_table, pixel_size
from napari_kmeans.segmentation import Segmentation


@pytest.mark.parametrize(
    ("axes", "dtype", "expected"),
    [
        ("YX", np.uint8, True),
        ("YX", np.uint16, True),
        ("YXS", np.uint8, True),
        ("YXS", np.uint16, False),
        ("YX", np.int16, False),
        ("YX", np.float32, False),
        ("YXS", np.float64, False),
        ("ZYX", np.uint8, False),
        ("QYXS", np.uint8, False),
        ("CYX", np.uint8, False),
        ("YXC", np.uint8, False),
    ],
)
def test_png_holds_images_that_it_gives_back_exactly(axes, dtype, expected):
    channel = axes.index("C") if "C" in axes else None
    picture = Picture(np.zeros((3,) * len(axes), dtype), axes.endswith("S"), channel)
    assert png_holds(picture) == expected


@pytest.mark.parametrize(
    ("dtype", "factor", "ends", "limits"),
    [
        (np.uint8, 1, (0, 255), (0, 255)),
        (np.uint16, 16, (0, 4095), (0, 65535)),
        (np.float32, 1, (0, 255), (0, 255)),
        (np.float32, 1 / 255, (0, 1), (0, 1)),
    ],
)
def test_ome_zarr_states_the_range_of_brightness(tmp_path, quadrants, dtype, factor, ends, limits):
    alpha = np.full((20, 21, 1), 255, np.uint8)
    image = (np.concatenate([quadrants, alpha], axis=2).astype(float) * factor).astype(dtype)
    seg = segment(da.from_array(image, chunks=(10, 21, 4)), 4, rgb=True)
    write_results(seg, tmp_path, "picture")
    recolored = zarr.open(tmp_path / "picture-recolored.zarr", mode="r")
    windows = [each["window"] for each in recolored.attrs["ome"]["omero"]["channels"]]
    for window in windows[:3]:
        assert (window["start"], window["end"]) == ends
        assert (window["min"], window["max"]) == limits
    labels = zarr.open(tmp_path / "picture-labels.zarr", mode="r")
    written = labels.attrs["ome"]["image-label"]["colors"]
    colors = [[int(code[at : at + 2], 16) for at in (1, 3, 5)] for code in seg.table["color"]]
    assert [each["rgba"][:3] for each in written] == colors
    # The brightest cluster is about (240, 230, 220) of 255.
    np.testing.assert_allclose(colors[3], (240, 230, 220), atol=2)


MICROMETERS = (
    Axis("y", unit="micrometer", scale=0.5, translation=7.0),
    Axis("x", unit="micrometer", scale=0.25),
)
CHANNEL = Axis("c", "channel")


def test_ome_zarr_has_units_names_and_colors_of_channels(tmp_path, quadrants):
    image = da.from_array(quadrants[..., :2].astype(np.uint16))
    channels = (Channel("DAPI", "#0000ff"), Channel("GFP", "#00ff00"))
    picture = Picture(image, False, 2, axes=(*MICROMETERS, CHANNEL), channels=channels)
    seg = segment(image, 3, channel_axis=2, channel_names=["DAPI", "GFP"])
    classes = seg.model.classes.rename(1, "nucleus").recolor(2, "#ff8000").ignore(3)
    seg = apply_classes(seg, classes)
    written = write_results(seg, tmp_path, "cell", picture)
    labels = zarr.open(tmp_path / "cell-labels.zarr", mode="r").attrs["ome"]
    recolored = zarr.open(tmp_path / "cell-recolored.zarr", mode="r").attrs["ome"]
    for each in (labels, recolored):
        axes = [axis for axis in each["multiscales"][0]["axes"] if axis["type"] == "space"]
        assert [axis["unit"] for axis in axes] == ["micrometer", "micrometer"]
    pixels = np.bincount(np.asarray(seg.labels).ravel()).tolist()
    # The keys of NGFF 0.5 are "label-value" and "rgba"; further properties are free.
    assert labels["image-label"]["properties"] == [
        {"label-value": 1, "name": "nucleus", "ignored": False, "pixels": pixels[1]},
        {"label-value": 2, "name": "", "ignored": False, "pixels": pixels[2]},
        {"label-value": 3, "name": "", "ignored": True, "pixels": pixels[3]},
    ]
    assert labels["image-label"]["colors"][1]["rgba"] == [255, 128, 0, 255]
    shown = recolored["omero"]["channels"]
    assert [(each["label"], each["color"]) for each in shown] == [
        ("DAPI", "0000FF"),
        ("GFP", "00FF00"),
    ]
    assert shown[1]["window"]["end"] == written.table["mean GFP"].max()


def test_the_table_has_areas_and_names_of_channels(tmp_path, quadrants):
    image = quadrants[..., :2]
    channels = (Channel("DAPI"), Channel(""))
    picture = Picture(image, False, 2, axes=(*MICROMETERS, CHANNEL), channels=channels)
    seg = segment(image, 3, channel_axis=2, channel_names=["DAPI", ""])
    table = write_results(seg, tmp_path, "cell", picture).table
    assert table.columns.tolist() == [
        *COUNT_COLUMNS,
        "area",
        "unit",
        "mean DAPI",
        "mean channel 1",
        COLOR_COLUMN,
    ]
    np.testing.assert_allclose(table["area"], table["pixels"] * 0.125)
    assert set(table["unit"]) == {"µm²"}
    assert find_results([tmp_path / "cell-table.csv"]) == [tmp_path / "cell-table.csv"]


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        (
            (Axis("z", unit="millimeter", scale=0.002), *MICROMETERS),
            ("volume", pytest.approx(0.25), "µm³"),
        ),
        ((Axis("t", "time", "second"), *MICROMETERS), ("area per frame", 0.0625, "µm²")),
        (
            (Axis("t", "time", "second"), Axis("c", "channel"), MICROMETERS[1]),
            ("length per frame", 0.125, "µm"),
        ),
        ((Axis("z"), *MICROMETERS), None),
        ((Axis("p", ""), *MICROMETERS), None),
        ((), None),
        (MICROMETERS, None),
    ],
)
def test_a_pixel_has_a_size_if_all_axes_have_lengths(axes, expected):
    assert pixel_size(axes, (2, 4, 5)) == expected


def test_one_slice_of_time_has_an_area():
    axes = (Axis("t", "time", "second"), *MICROMETERS, CHANNEL)
    assert pixel_size(axes, (1, 4, 5, 3)) == ("area", 0.125, "µm²")


def test_inches_and_degrees_give_no_area():
    for unit in ("inch", "degree", ""):
        axes = (Axis("y", unit=unit), Axis("x", unit=unit))
        assert pixel_size(axes, (4, 5)) is None


def test_a_georeference_that_is_lost_is_printed(tmp_path, quadrants, capsys):
    tags = ((33550, 12, 3, (30.0, 30.0, 0.0)), (42112, 2, 9, "<stats/>"), (42113, 2, 6, "-9999"))
    image = quadrants[..., 0].astype(np.float32)
    seg = segment(image, 3)
    write_results(seg, tmp_path, "map", Picture(image, False, geo_tags=tags))
    assert capsys.readouterr().err == ""
    written = {}
    for name in ("labels", "recolored"):
        with tifffile.TiffFile(tmp_path / f"map-{name}.tif") as file:
            found = file.pages.first.tags
            written[name] = {code: found.valueof(code) for code in (33550, 42112, 42113)}
    # Label 0 is left out, and the metadata of the values do not hold for labels.
    assert written["labels"] == {33550: (30, 30, 0), 42112: None, 42113: "0"}
    assert written["recolored"] == {tag[0]: tag[3] for tag in tags}
    lazy = da.from_array(image)
    write_results(segment(lazy, 3), tmp_path, "map", Picture(lazy, False, geo_tags=tags))
    assert "map: its georeference is not written" in capsys.readouterr().err


def test_axes_of_another_image_are_not_written(tmp_path, quadrants):
    seg = segment(quadrants, 3, rgb=True)
    write_results(seg, tmp_path, "a", Picture(quadrants, True, axes=MICROMETERS))
    record = read_record(tmp_path / "a-labels.tif")
    assert record["axes"] == []


@pytest.mark.parametrize(("second", "columns"), [(0.5, ["area", "unit"]), (2.0, [])])
def test_the_table_of_several_images_has_areas_if_their_pixels_have_one_size(
    tmp_path, quadrants, second, columns
):
    for name, scale in (("a", 0.5), ("b", second)):
        axes = (Axis("y", unit="millimeter", scale=0.5), Axis("x", unit="millimeter", scale=scale))
        image = Image(tmp_path / f"{name}.zarr", name, da.from_array(quadrants[..., 0]), axes)
        write_images([image])
    paths = [str(tmp_path / "a.zarr"), str(tmp_path / "b.zarr")]
    assert main([*paths, "-k", "3", "-o", str(tmp_path / "out")]) == 0
    table = pd.read_csv(tmp_path / "out" / "napari-kmeans-table.csv")
    assert [name for name in table if name in ("area", "unit")] == columns
    if columns:
        np.testing.assert_allclose(table["area"], table["pixels"] / 4)
        assert set(table["unit"]) == {"mm²"}
    own = pd.read_csv(tmp_path / "out" / "b-table.csv")
    np.testing.assert_allclose(own["area"], own["pixels"] * 0.5 * second)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("kinds", [("labels", "recolored"), ("recolored",), ()])
def test_the_table_of_an_applied_model_has_the_means_of_the_image(tmp_path, lazy, kinds):
    values = np.random.default_rng(2).integers(0, 4000, (2, 2, 40, 30)).astype(np.uint16)
    model = segment(values[0], 4, channel_axis=0, channel_names=["DAPI", "GFP"]).model
    model = model.with_classes(model.classes.merge([1, 3]))
    reads = []

    def read(block_info=None):
        reads.append(block_info[None]["chunk-location"])
        return values[1][tuple(slice(*side) for side in block_info[None]["array-location"])]

    mask = np.arange(40 * 30).reshape(40, 30) % 7 > 0
    pixels = values[1]
    if lazy:
        pixels = da.map_blocks(read, chunks=((1, 1), (20, 20), (30,)), dtype=np.uint16)
    labels, recolored = model.apply(pixels, mask=mask)
    seg = Segmentation(labels, recolored, model, cluster_table(model), None, 1.0, model.options)
    picture = Picture(pixels, rgb=False, channel_axis=0, mask=mask)
    reads.clear()
    table = write_results(seg, tmp_path, "a", picture, shared=True, kinds=kinds).table
    # A lazy image is read once, together with the labels and the recolored image.
    assert len(reads) == len({*reads}) == (4 if lazy else 0)
    written, labels = pd.read_csv(tmp_path / "a-table.csv"), np.asarray(labels)
    for row, label in enumerate((1, 2, 4)):
        inside = labels == label
        assert table["pixels"][row] == inside.sum()
        for name, channel in zip(["DAPI", "GFP"], values[1], strict=True):
            assert table[f"mean {name}"][row] == channel[inside].mean()
            assert written[f"mean {name}"][row] == pytest.approx(channel[inside].mean())
