"""write_geojson: polygons with the exact edges of the pixels, as QuPath reads them."""

import json
import re
from itertools import pairwise
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from skimage.draw import polygon2mask

from napari_kmeans import apply_classes, segment, split_objects, write_geojson

NAMES = ['quoted "soil", wet', "Größe/µm\\2 ∅", "", "same", "same"]


def make_classes(n_classes):
    return pd.DataFrame(
        {
            "index": range(1, n_classes + 1),
            "name": [NAMES[n % len(NAMES)] for n in range(n_classes)],
            "color": [f"#0a{n:02x}ff" for n in range(n_classes)],
        }
    )


def read_features(path):
    collection = json.loads(path.read_text("utf-8"))
    assert collection["type"] == "FeatureCollection"
    return collection["features"]


def polygons_of(feature):
    geometry = feature["geometry"]
    coordinates = geometry["coordinates"]
    return [coordinates] if geometry["type"] == "Polygon" else coordinates


def paint(feature, shape):
    """Return the pixels whose centers are in a feature, by scikit-image."""
    painted = np.zeros(shape, bool)
    for polygon in polygons_of(feature):
        own = np.zeros(shape, bool)
        for ring in polygon:
            # scikit-image has the center of the first pixel at 0, 0.
            own ^= polygon2mask(shape, np.array(ring)[:, ::-1] - 0.5)
        assert not (painted & own).any()
        painted |= own
    return painted


def paint_labels(features, shape):
    labels = np.zeros(shape, np.int64)
    for feature in features:
        painted = paint(feature, shape)
        assert not labels[painted].any()
        labels[painted] = feature["properties"]["label"]
    return labels


def check_geometry(feature):
    """Check a polygon against RFC 7946, sections 3.1.6 and 3.1.7, and against touching rings."""
    geometry, polygons = feature["geometry"], polygons_of(feature)
    assert geometry["type"] == ("Polygon" if len(polygons) == 1 else "MultiPolygon")
    assert len(polygons) > 1 or geometry["type"] == "Polygon"
    for outer, *holes in polygons:
        for ring in (outer, *holes):
            assert len(ring) >= 5
            assert ring[0] == ring[-1]
            # A simple ring meets no corner twice, and turns at each corner.
            assert len({*map(tuple, ring)}) == len(ring) - 1
            steps = np.diff(ring, axis=0)
            assert (np.count_nonzero(steps, axis=1) == 1).all()
            turned = [*steps, steps[0]]
            assert all((a != 0).argmax() != (b != 0).argmax() for a, b in pairwise(turned))
        areas = [signed_area(ring) for ring in (outer, *holes)]
        assert areas[0] > 0
        assert all(area < 0 for area in areas[1:])


def signed_area(ring):
    return sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in pairwise(ring)) / 2


def nested_rings(size):
    """Return rings of two labels inside each other, on a background of label 0."""
    y, x = np.indices((size, size)) - size // 2
    return (np.maximum(abs(y), abs(x)) // 2) % 3


IMAGES = {
    "one pixel": np.ones((1, 1), np.uint8),
    "one class": np.full((3, 5), 2, np.uint16),
    "nothing": np.zeros((3, 5), np.uint8),
    "checkerboard": (np.indices((7, 8)).sum(axis=0) % 2).astype(np.uint8),
    "holes in holes": nested_rings(17).astype(np.int32),
    # The hole at the center touches the outside at a corner, and so do two holes.
    "touching holes": np.array(
        [[0, 1, 1, 1, 1], [1, 0, 1, 0, 1], [1, 1, 0, 1, 1], [1, 1, 1, 1, 1]], bool
    ),
    "diamond": (abs(np.indices((9, 9)) - 4).sum(axis=0) != 3).astype(np.uint8),
    **{
        f"noise {seed}": np.random.default_rng(seed).integers(0, 2 + seed, (23, 31))
        for seed in range(4)
    },
}


@pytest.mark.parametrize("objects", [False, True])
@pytest.mark.parametrize("labels", IMAGES.values(), ids=IMAGES)
def test_polygons_read_back_as_the_labels(labels, objects, tmp_path):
    path = tmp_path / "labels.geojson"
    write_geojson(labels, path, classes=make_classes(5), objects=objects)
    features = read_features(path)
    assert np.array_equal(paint_labels(features, labels.shape), labels)
    for feature in features:
        check_geometry(feature)
    assert len(features) == len(split_objects(labels).table if objects else np.setdiff1d(labels, 0))


def test_objects_are_those_of_split_objects(tmp_path):
    labels = np.random.default_rng(5).integers(0, 3, (20, 30))
    for connectivity in (1, 2):
        path = tmp_path / "objects.geojson"
        write_geojson(
            labels, path, classes=make_classes(2), objects=True, connectivity=connectivity
        )
        objects = split_objects(labels, connectivity=connectivity)
        features = read_features(path)
        assert len(features) == len(objects.table)
        for number, feature in enumerate(features, start=1):
            assert np.array_equal(paint(feature, labels.shape), objects.labels == number)


def test_features_have_what_qupath_reads(tmp_path):
    classes = make_classes(5).assign(ignored=[False, True, False, False, False])
    labels = np.arange(6)[None].repeat(2, axis=0)
    write_geojson(labels, tmp_path / "a.geojson", classes=classes)
    properties = [each["properties"] for each in read_features(tmp_path / "a.geojson")]
    # QuPath takes classes of one name for one, and needs a name. Label 2 is ignored.
    names = [NAMES[0], "Class 3", "same (4)", "same (5)"]
    assert [each["classification"]["name"] for each in properties] == names
    assert [each["name"] for each in properties] == names
    assert properties[0]["classification"]["color"] == [10, 0, 255]
    assert {each["objectType"] for each in properties} == {"annotation"}
    write_geojson(
        labels, tmp_path / "a.geojson", classes=classes, objects=True, include_ignored=True
    )
    properties = [each["properties"] for each in read_features(tmp_path / "a.geojson")]
    assert properties[1]["classification"] == {"name": NAMES[1], "color": [10, 1, 255]}
    assert {each["objectType"] for each in properties} == {"detection"}


@pytest.mark.parametrize("axes", [None, "tyx"])
def test_a_stack_has_features_of_each_plane(axes, tmp_path):
    labels = np.random.default_rng(6).integers(0, 3, (3, 9, 8))
    path = tmp_path / "stack.geojson"
    write_geojson(labels, path, classes=make_classes(2), axes=axes)
    features, letter = read_features(path), "t" if axes else "z"
    for n, plane in enumerate(labels):
        place = {"c": -1, "z": 0, "t": 0, letter: n}
        own = [each for each in features if each["geometry"]["plane"] == place]
        assert np.array_equal(paint_labels(own, plane.shape), plane)
    written = path.read_bytes()
    write_geojson(da.from_array(labels, chunks=(2, 4, 5)), path, classes=make_classes(2), axes=axes)
    assert path.read_bytes() == written


def test_long_rings_are_written_in_several_pieces(tmp_path, monkeypatch):
    labels = np.random.default_rng(7).integers(0, 3, (30, 40))
    path = tmp_path / "labels.geojson"
    write_geojson(labels, path, classes=make_classes(2), objects=True)
    whole = path.read_bytes()
    monkeypatch.setattr("napari_kmeans.geojson._N_CORNERS", 20)
    write_geojson(labels, path, classes=make_classes(2), objects=True)
    assert path.read_bytes() == whole


def test_scale_gives_physical_coordinates(tmp_path):
    write_geojson(
        np.ones((2, 3), int), tmp_path / "a.geojson", classes=make_classes(1), scale=(3, 0.1)
    )
    (feature,) = read_features(tmp_path / "a.geojson")
    # 3 * 0.1 is 0.30000000000000004 in float64.
    assert feature["geometry"]["coordinates"] == [[[0, 0], [0.3, 0], [0.3, 6], [0, 6], [0, 0]]]


def test_a_segmentation_brings_its_classes(tmp_path):
    image = np.random.default_rng(8).integers(0, 256, (12, 14), np.uint8)
    seg = segment(image, 3)
    seg = apply_classes(seg, seg.model.classes.rename(2, "leaf").recolor(2, "#00ff00").ignore(1))
    path = tmp_path / "a.geojson"
    write_geojson(seg, path)
    features = read_features(path)
    expected = np.where(seg.labels == 1, 0, seg.labels)
    assert np.array_equal(paint_labels(features, image.shape), expected)
    assert features[0]["properties"]["classification"] == {"name": "leaf", "color": [0, 255, 0]}
    written = path.read_bytes()
    write_geojson(seg.labels, path, classes=seg.model)
    assert path.read_bytes() == written


@pytest.mark.parametrize(
    ("labels", "arguments", "error"),
    [
        (np.ones((3, 3)), {}, "segmentation must be .* whole numbers"),
        (np.ones(3, int), {}, "labels must have 2 to 4 axes, got 1"),
        ([np.ones((3, 3), int)] * 2, {}, "segmentation must be of one image"),
        (np.full((3, 3), 7), {}, r"labels must have a class each, got \[7\]"),
        (np.ones((3, 3), int), {"classes": None}, "classes must be a KMeansModel"),
        (np.ones((3, 3), int), {"classes": pd.DataFrame({"a": [1]})}, "classes must have the col"),
        (np.ones((3, 3), int), {"axes": "xy"}, "axes must be 2 letters"),
        (np.ones((3, 3), int), {"scale": (1,)}, "scale must be 2 positive numbers"),
        (da.ones((2**20, 2**20), dtype=int), {}, "labels must have slices that fit into memory"),
    ],
)
def test_nonsense_is_refused_and_writes_nothing(labels, arguments, error, tmp_path):
    with pytest.raises((TypeError, ValueError), match=error):
        write_geojson(labels, tmp_path / "a.geojson", **{"classes": make_classes(2), **arguments})
    assert not [*tmp_path.iterdir()]


def test_code_of_the_documentation_runs(tmp_path, monkeypatch):
    text = (Path(__file__).parents[1] / "docs" / "exports.md").read_text("utf-8")
    # The second block reads a file that the command line writes.
    code, _ = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    masks = [path.name for path in names["masks"]]
    assert masks == ["histology-mask-1-nuclei.png", "histology-mask-2.png", "histology-mask-3.png"]
    others = {"histology.geojson", "objects.geojson", "legend.pdf"}
    assert {path.name for path in tmp_path.iterdir()} == {*masks, *others}
