"""measure_layer: classes, regions, values, frames and units of layers."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from napari.layers import Image, Labels, Shapes

from napari_kmeans import measure, measure_layer, segment, segment_layer
from napari_kmeans.viewer.to_layers.label_area import finest_size


@pytest.fixture
def picture(quadrants):
    return Image(quadrants, name="picture", rgb=True, scale=(0.5, 2), units=("um", "um"))


def draw(shapes):
    """Return the masks of rectangles (top, left, bottom, right) whose edges are on pixels."""
    masks = np.zeros((len(shapes), 20, 21), bool)
    for mask, (top, left, bottom, right) in zip(masks, shapes, strict=True):
        mask[top : bottom + 1, left : right + 1] = True
    return masks


def corners(top, left, bottom, right):
    """Return the corners of a rectangle around pixels, in pixels."""
    first, last = (top - 0.5, left - 0.5), (bottom + 0.5, right + 0.5)
    return np.array([first, (first[0], last[1]), last, (last[0], first[1])])


def test_figures_equal_those_of_arrays(picture, quadrants):
    labels, _ = segment_layer(picture, 4)
    marker = np.random.default_rng(0).normal(size=(20, 21)).astype(np.float32)
    regions = np.arange(21) // 8 + np.zeros((20, 1), int)
    layers = {
        "regions": Labels(regions, scale=(0.5, 2), units=("um", "um")),
        "values": Image(marker, name="marker", scale=(0.5, 2), units=("um", "um")),
    }
    table = measure_layer(labels, image=picture, **layers)
    segmentation = segment(quadrants, 4, rgb=True)
    expected = measure(
        segmentation,
        quadrants,
        regions=regions,
        values={"marker": marker},
        names="picture",
        spacing=(0.5, 2),
        unit="µm",
    )
    pd.testing.assert_frame_equal(table.drop(columns="color"), expected.drop(columns="color"))
    assert table["area"].sum() == (regions > 0).sum() == 20 * 13
    assert finest_size(labels).value == 1


@pytest.mark.parametrize("is_lazy", [False, True])
def test_shapes_are_regions_with_names_and_may_overlap(picture, is_lazy):
    if is_lazy:
        picture.data = da.from_array(np.asarray(picture.data), (7, 8, 3))
    labels, _ = segment_layer(picture, 4)
    boxes = [(2, 3, 8, 12), (5, 5, 18, 20), (0, 0, 1, 1), (3, 3, 3, 3)]
    shapes = Shapes(
        [corners(*box) for box in boxes],
        shape_type=["rectangle", "polygon", "rectangle", "rectangle"],
        scale=(0.5, 2),
        units=("um", "um"),
        features={"name": ["tumor", "stroma", None, "tumor"]},
    )
    table = measure_layer(labels, image=picture, regions=shapes)
    assert table["region"].drop_duplicates().tolist() == ["tumor (1)", "stroma", "3", "tumor (4)"]
    rows = table.set_index(["region", "class"])
    for name, mask in zip(rows.index.unique("region"), draw(boxes), strict=True):
        for label in (1, 2, 3, 4):
            inside = mask & (np.asarray(labels.data) == label)
            assert rows.loc[(name, label), "pixels"] == inside.sum()
            if inside.any():
                red = np.asarray(picture.data)[inside][:, 0]
                assert rows.loc[(name, label), "median red"] == np.median(red)
    shapes.features = pd.DataFrame({"cell": ["a", "b", "c", "d"]})
    shapes.text = "cell {cell}"
    assert measure_layer(labels, regions=shapes)["region"].unique()[1] == "cell b"


def test_labels_of_another_place_are_looked_up_in_the_world(picture):
    labels, _ = segment_layer(picture, 4)
    # Pixels twice as large, from row 4 and column 6 on.
    coarse = np.array([[1, 2, 0], [5, 5, 3]])
    regions = Labels(
        coarse,
        scale=(1, 4),
        translate=(4 * 0.5 + 0.25, 6 * 2 + 1),
        units=("um", "um"),
        features={"index": [0, 1, 5], "name": ["", "edge", "core"]},
    )
    table = measure_layer(labels, regions=regions)
    fine = np.zeros((20, 21), int)
    fine[4:8, 6:12] = coarse.repeat(2, axis=0).repeat(2, axis=1)
    counts = table.groupby("region", sort=False)["pixels"].sum()
    assert counts.to_dict() == {"edge": 4, "2": 4, "3": 4, "core": 8}
    rows = table.set_index(["region", "class"])["pixels"]
    for number, name in ((1, "edge"), (2, "2"), (3, "3"), (5, "core")):
        for label in (1, 2, 3, 4):
            assert rows[name, label] == ((fine == number) & (labels.data == label)).sum()


def test_frames_have_rows_of_their_own():
    stack = np.random.default_rng(1).integers(0, 255, (3, 8, 9)).astype(np.uint8)
    film = Image(stack, name="film", axis_labels=("t", "y", "x"), scale=(1, 2, 2), rgb=False)
    labels, _ = segment_layer(film, 2)
    outline = Shapes([corners(0, 0, 3, 8)], shape_type="polygon", scale=(2, 2))
    table = measure_layer(labels, image=film, regions=outline)
    assert list(table)[:3] == ["image", "region", "frame"]
    assert table["frame"].tolist() == [0, 0, 1, 1, 2, 2]
    for _, row in table.iterrows():
        own = stack[row["frame"], :4][labels.data[row["frame"], :4] == row["class"]]
        assert (row["pixels"], row["area"]) == (own.size, 4 * own.size)
        assert row["mean intensity"] == own.mean()


def test_names_and_ignored_classes_of_the_layer_are_in_the_table(picture):
    labels, _ = segment_layer(picture, 4)
    features = labels.features
    labels.features = features.assign(
        name=["", "soil", "", ""], ignored=[False, False, True, False]
    )
    labels.data[labels.data == 4] = 2
    table = measure_layer(labels)
    assert table["name"].tolist() == ["", "soil", "", ""]
    assert table["pixels"].tolist() == np.bincount(labels.data.ravel(), minlength=5)[1:].tolist()
    assert np.isnan(table["percent"][2])


def test_channels_of_several_layers_and_of_an_axis():
    pixels = np.random.default_rng(2).integers(0, 255, (2, 9, 11)).astype(np.uint8)
    layers = [Image(each, name=f"slide {name}") for each, name in zip(pixels, "ab", strict=True)]
    labels, _ = segment_layer(layers, 2)
    table = measure_layer(labels, image=layers)
    alone = Image(pixels, name="both", rgb=False)
    along = measure_layer(segment_layer(alone, 2, channel_axis=0)[0], image=alone)
    assert table["mean a"].tolist() == along["mean channel 0"].tolist()
    assert table["median b"].tolist() == along["median channel 1"].tolist()


def test_finest_level_is_measured(quadrants):
    levels = Image([quadrants, quadrants[::2, ::2]], rgb=True, multiscale=True, name="levels")
    labels, _ = segment_layer(levels, 4)
    table = measure_layer(labels, image=levels)
    assert table["pixels"].sum() == 20 * 21


def test_layers_that_cannot_be_used_are_refused(picture):
    labels, _ = segment_layer(picture, 4)
    with pytest.raises(TypeError, match="labels_layer must be a Labels layer"):
        measure_layer(picture)
    with pytest.raises(ValueError, match="labels_layer must be a result of this plugin"):
        measure_layer(Labels(np.ones((3, 3), int)))
    with pytest.raises(TypeError, match="values must be Image layers"):
        measure_layer(labels, values=labels)
    with pytest.raises(ValueError, match="values must have the pixels of the labels"):
        measure_layer(labels, values=Image(np.ones((20, 21)), name="elsewhere"))
    with pytest.raises(TypeError, match="regions must be a Labels or Shapes layer"):
        measure_layer(labels, regions=picture)
    with pytest.raises(ValueError, match="regions must have a rectangle"):
        measure_layer(labels, regions=Shapes([[[0, 0], [1, 1]]], shape_type="line"))
    with pytest.raises(ValueError, match="regions must have at most the 2 axes"):
        measure_layer(labels, regions=Labels(np.ones((2, 20, 21), int)))
