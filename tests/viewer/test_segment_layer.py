"""Layers without a window: snapshots of sources, results, updates in place, masks."""

from __future__ import annotations

import json

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image, Labels, Points, Shapes

import napari_kmeans
from napari_kmeans import segment, segment_layer
from napari_kmeans.viewer.from_layers.masks import mask_levels
from napari_kmeans.viewer.from_layers.source import Source
from napari_kmeans.viewer.provenance import METADATA_KEY
from napari_kmeans.viewer.to_layers.layers import coreset_layer, labels_layer, recolored_layers
from napari_kmeans.viewer.to_layers.update import find_result, update_layer

PLACES_2D = {
    "scaled": {"scale": (2, 0.5), "translate": (10, -3)},
    "rotated": {"scale": (2, 0.5), "rotate": 30, "translate": (10, -3), "shear": [0.2]},
    "affine": {"scale": (3, 1), "affine": [[0.8, 0.6, 5], [-0.6, 0.8, 7], [0, 0, 1]]},
    "labeled": {"scale": (2, 0.5), "units": ("mm", "mm"), "axis_labels": ("up", "along")},
}
PLACES_3D = {
    "scaled": {"scale": (4, 0.5, 0.7), "translate": (10, -3, 2)},
    "rotated": {"scale": (4, 0.5, 0.7), "rotate": (30, 20, 10), "translate": (10, -3, 2)},
    "affine": {"scale": (3, 1, 2), "affine": np.diag([2.0, 3, 4, 1]) + np.eye(4, k=1)},
    "labeled": {"units": ("um",) * 3, "axis_labels": ("z", "y", "x")},
}


def results(layer, n_clusters=3, **options):
    source = Source.of(layer)
    segmentation = segment(source.data, n_clusters, rgb=source.rgb, **options)
    (recolored,) = recolored_layers(segmentation, source)
    return [labels_layer(segmentation, source), recolored, coreset_layer(segmentation, source)]


def mask_array(mask, layer):
    masks = mask_levels(mask, layer, Source.of(layer))
    return masks and masks[0]


def label_color(labels, label):
    return labels.colormap.color_dict[label]


@pytest.fixture
def picture(quadrants):
    return Image(quadrants, name="picture", rgb=True)


@pytest.fixture
def volume(steps):
    return Image(steps, name="volume", rgb=False)


# ------------------------------------------------------------------- results


def test_segment_layer_returns_labels_and_recolored_layers(picture, quadrant_labels):
    labels, recolored = segment_layer(picture, n_clusters=4)
    assert (type(labels), labels.name) == (Labels, "picture labels")
    assert (type(recolored), recolored.name) == (Image, "picture recolored")
    np.testing.assert_array_equal(labels.data, quadrant_labels)
    assert recolored.rgb
    assert (recolored.data.shape, recolored.data.dtype) == (picture.data.shape, np.uint8)


def test_segment_layer_passes_options_and_mask(picture, quadrants):
    start = quadrants[[0, 0, 19, 19], [0, 20, 0, 20]]
    mask = np.zeros((20, 21), dtype=bool)
    mask[:, :15] = True
    steps = []
    options = {
        "color_space": "lab",
        "method": "full",
        "coreset_size": 77,
        "init": start,
        "n_init": 2,
        "max_iter": 5,
        "tol": 0.01,
        "random_state": 7,
    }
    labels, _ = segment_layer(
        picture,
        4,
        mask=mask,
        progress=lambda *done_and_total: steps.append(done_and_total),
        **options,
    )
    stored = labels.metadata[METADATA_KEY]["options"]
    others = {"normalize": "none", "blur": 0.0, "texture": 0.0, "balance": 0.0, "keep_init": False}
    others |= {"smoothing": 0.0, "min_size": 0, "min_area": 0.0, "spacing": 1.0}
    others |= {"min_size_classes": None, "min_confidence": 0.0, "position": 0.0, "refits": 0}
    assert stored == {"n_clusters": 4, **options, **others, "init": start.tolist()}
    assert not labels.data[:, 15:].any()
    assert labels.data[:, :15].all()
    assert steps


@pytest.mark.parametrize("stack", ["whole", "each"])
def test_lab_of_int32_layer_raises(quadrants, stack):
    layer = Image(np.stack([quadrants] * 2).astype(np.int32), rgb=True)
    with pytest.raises(ValueError, match=r"color_space must be .* got 'lab' for int32"):
        segment_layer(layer, 3, color_space="lab", stack=stack)


def test_labels_layer_as_source_raises(quadrant_labels):
    with pytest.raises(TypeError, match="layer must be an Image layer, got <Labels layer"):
        segment_layer(Labels(quadrant_labels))


def test_label_colors_match_displayed_gray_values(steps):
    layer = Image(steps, rgb=False, colormap="viridis", contrast_limits=(2_000, 40_000), gamma=0.7)
    _, recolored, _ = results(layer)
    labels = labels_layer(segment(steps, 3, rgb=False), Source.of(layer), "mean")
    for label, level in enumerate((0, (18_000 / 38_000) ** 0.7, 1), start=1):
        expected = layer.colormap.map(np.array([level]))[0]
        np.testing.assert_allclose(label_color(labels, label), expected, atol=1e-3)
    assert recolored.colormap.name == "viridis"
    assert recolored.contrast_limits == [2_000, 40_000]
    assert recolored.gamma == 0.7


def test_label_0_is_transparent(picture):
    labels, _, _ = results(picture)
    assert label_color(labels, 0)[3] == 0


def test_label_colors_ignore_alpha(quadrants):
    alpha = np.full((20, 21, 1), 128, dtype=np.uint8)
    labels, recolored, _ = results(Image(np.concatenate([quadrants, alpha], axis=-1), rgb=True), 4)
    np.testing.assert_array_equal(recolored.data[..., 3], alpha[..., 0])
    np.testing.assert_allclose(label_color(labels, 4), [0.94, 0.9, 0.86, 1], atol=0.01)


def test_features_contain_the_table(picture):
    labels, _ = segment_layer(picture, n_clusters=4)
    assert labels.features["index"].tolist() == [1, 2, 3, 4]
    assert labels.features["pixels"].tolist() == [100, 110, 100, 110]
    assert labels.features["percent"].sum() == pytest.approx(100)
    assert {"mean red", "mean green", "mean blue", "color"} <= set(labels.features)


def test_metadata_suffices_to_repeat_the_run(picture):
    labels, recolored, points = results(picture, 4, random_state=3)
    for layer, kind in ((labels, "labels"), (recolored, "recolored"), (points, "coreset")):
        stored = layer.metadata[METADATA_KEY]
        assert (stored["kind"], stored["source"]) == (kind, "picture")
        assert stored["source_id"] == str(picture.unique_id)
        assert stored["version"] == napari_kmeans.__version__
        assert json.loads(json.dumps(stored)) == stored
    again = segment(picture.data, rgb=stored["model"]["rgb"], **stored["options"])
    np.testing.assert_array_equal(again.labels, labels.data)
    model = napari_kmeans.KMeansModel.from_dict(stored["model"])
    np.testing.assert_array_equal(model.predict(picture.data), labels.data)


# ---------------------------------------------------------- world coordinates


@pytest.mark.parametrize("place", PLACES_2D.values(), ids=PLACES_2D)
@pytest.mark.parametrize("rgb", [True, False])
def test_results_have_coordinates_of_the_picture(quadrants, place, rgb):
    check_place(Image(quadrants if rgb else quadrants[..., 0], rgb=rgb, **place))


# napari warns for each volume that is rotated out of its slice planes.
@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize("place", PLACES_3D.values(), ids=PLACES_3D)
def test_results_have_coordinates_of_the_volume(steps, place):
    check_place(Image(steps, rgb=False, **place))


def check_place(layer):
    labels, recolored, points = results(layer)
    for result in (labels, recolored):
        np.testing.assert_allclose(result.extent.world, layer.extent.world)
    for result in (labels, recolored, points):
        assert result.units == layer.units
        assert result.axis_labels == layer.axis_labels
        corner = np.arange(1, layer.ndim + 1)
        np.testing.assert_allclose(result.data_to_world(corner), layer.data_to_world(corner))


def test_update_moves_results_with_their_source(picture):
    labels, recolored, points = results(picture)
    for name, value in {**PLACES_2D["rotated"], "units": ("mm", "mm")}.items():
        setattr(picture, name, value)
    picture.affine = PLACES_2D["affine"]["affine"]
    for earlier, result in zip((labels, recolored, points), results(picture), strict=True):
        update_layer(earlier, result)
        np.testing.assert_allclose(earlier.data_to_world([1, 2]), picture.data_to_world([1, 2]))
        assert earlier.units == picture.units


# ------------------------------------------------------------------ coreset


def test_coreset_points_have_labels_weights_and_colors(volume):
    labels, _, points = results(volume, 3, coreset_size=20)
    assert isinstance(points, Points)
    assert points.name == "volume coreset"
    assert points.ndim == 3
    places = tuple(points.data.astype(int).T)
    np.testing.assert_array_equal(points.features["index"], labels.data[places])
    for color, label in zip(points.face_color, points.features["index"], strict=True):
        np.testing.assert_allclose(color, label_color(labels, label))
    assert points.features["weight"].sum() == pytest.approx(volume.data.size, rel=0.5)
    order = np.argsort(points.features["weight"])
    assert (np.diff(points.size[order]) >= 0).all()


def test_coreset_layer_of_full_run_raises(picture):
    segmentation = segment(picture.data, 4, rgb=True, method="full")
    with pytest.raises(ValueError, match='method must be "coreset"'):
        coreset_layer(segmentation, Source.of(picture))


# --------------------------------------------------------------- in place


def test_find_result_compares_metadata_not_names(picture, quadrants):
    labels, recolored, points = results(picture)
    labels.name, recolored.name = "renamed", "picture labels"
    strangers = [
        Labels(labels.data, name="picture labels"),
        Image(quadrants, name="picture", rgb=True),
    ]
    others = results(Image(quadrants, name="picture", rgb=True))
    layers = [*strangers, labels, recolored, points, *others]
    for earlier, result in zip((labels, recolored, points), results(picture), strict=True):
        assert find_result(layers, result) is earlier
    assert find_result(strangers, labels) is None


def test_find_result_returns_the_latest_result(picture):
    first, second = results(picture)[0], results(picture)[0]
    assert find_result([first, second], results(picture)[0]) is second


def test_find_result_skips_results_of_other_dimensions(picture, steps):
    labels, recolored, _ = results(picture)
    source = Source.of(picture)
    volume = Source(**{**vars(source), "levels": (steps,), "rgb": False, "spatial": {}})
    segmentation = segment(steps, 3, rgb=False)
    assert find_result([labels], labels_layer(segmentation, volume)) is None
    assert find_result([recolored], recolored_layers(segmentation, volume)[0]) is None


def test_update_replaces_data_colors_table_and_metadata(picture):
    earlier = results(picture, 2, coreset_size=50)
    earlier[0].name = "mine"
    earlier[0].metadata["note"] = "kept"
    new = results(picture, 4, coreset_size=30)
    for layer, result in zip(earlier, new, strict=True):
        update_layer(layer, result)
        np.testing.assert_array_equal(layer.data, result.data)
        assert layer.metadata[METADATA_KEY]["options"]["n_clusters"] == 4
    labels, _, points = earlier
    assert (labels.name, labels.metadata["note"]) == ("mine", "kept")
    assert labels.features["index"].tolist() == [1, 2, 3, 4]
    assert set(labels.colormap.color_dict) == {None, 0, 1, 2, 3, 4}
    np.testing.assert_allclose(points.face_color, new[2].face_color)
    np.testing.assert_allclose(points.size, new[2].size)


# ----------------------------------------------------------------- snapshots


def test_source_is_not_affected_by_later_layer_changes(picture):
    source = Source.of(picture)
    data = picture.data
    picture.name, picture.data = "other", np.zeros((5, 5, 3), dtype=np.uint8)
    picture.scale, picture.contrast_limits = (7, 7), (0, 9)
    assert (source.name, source.shape) == ("picture", (20, 21))
    assert source.data is data
    assert source.spatial["scale"].tolist() == [1, 1]
    assert source.display["contrast_limits"] == [0, 255]


def test_dask_image_gives_lazy_result_layers(quadrants, quadrant_labels):
    lazy = da.from_array(quadrants, chunks=(7, 9, 3))
    labels, recolored, points = results(Image(lazy, rgb=True), 4, coreset_size=50)
    assert isinstance(labels.data, da.Array)
    assert isinstance(recolored.data, da.Array)
    np.testing.assert_array_equal(labels.data, quadrant_labels)
    places = tuple(points.data.astype(int).T)
    np.testing.assert_array_equal(points.features["index"], quadrant_labels[places])


# --------------------------------------------------------------------- masks

SQUARE = np.array([[1.5, 2.5], [1.5, 7.5], [6.5, 7.5], [6.5, 2.5]])


def inside_square(shape=(20, 21)):
    mask = np.zeros(shape, dtype=bool)
    mask[2:7, 3:8] = True
    return mask


def test_array_mask_is_used_without_copy(picture):
    array = inside_square()
    assert mask_array(None, picture) is None
    assert mask_array(array, picture) is array


def test_mask_of_labels_layer_is_its_nonzero_pixels(picture):
    drawn = Labels(inside_square() * 5)
    mask = mask_array(drawn, picture)
    drawn.data[:] = 0
    np.testing.assert_array_equal(mask, inside_square())
    labels, recolored = segment_layer(picture, 2, mask=Labels(inside_square().astype(int)))
    np.testing.assert_array_equal(labels.data > 0, inside_square())
    np.testing.assert_array_equal(recolored.data[~inside_square()], picture.data[~inside_square()])


def test_labels_mask_with_more_axes_than_the_image_raises(picture):
    with pytest.raises(ValueError, match="mask must have at most the 2 axes"):
        segment_layer(picture, 2, mask=Labels(np.ones((3, 20, 21), dtype=int)))


def labels_under_pixels(labels, image):
    """Whether the label under the center of each pixel is not 0, asked pixel by pixel."""
    mask = np.zeros(image.data.shape[: image.ndim], bool)
    for index in np.ndindex(mask.shape):
        place = labels.world_to_data(image.data_to_world(index))
        nearest = tuple(np.floor(np.array(place) + 0.5).astype(int))
        inside = all(
            0 <= each < size for each, size in zip(nearest, labels.data.shape, strict=True)
        )
        mask[index] = inside and labels.data[nearest] != 0
    return mask


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    "place",
    [
        *PLACES_2D.values(),
        {"translate": (7, -4)},
        {"scale": (2.1, 1.3), "translate": (-3.2, 2.1)},
        {"translate": (100, 100)},
    ],
)
def test_labels_mask_counts_where_it_is_seen(quadrants, place, lazy):
    pixels = da.from_array(quadrants, chunks=(7, 8, 3)) if lazy else quadrants
    image = Image(pixels, rgb=True, scale=(1.01, 1.5), translate=(2, 3))
    drawn = np.random.default_rng(0).integers(0, 2, (23, 18))
    mask = Labels(da.from_array(drawn, chunks=9) if lazy else drawn, **place)
    found = mask_array(mask, image)
    assert isinstance(found, da.Array) == lazy
    mask.data = drawn
    expected = labels_under_pixels(mask, image)
    assert expected.any() == (place.get("translate") != (100, 100))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "place",
    [
        {"scale": (1.7, 0.9, 1.1), "translate": (-1, -2, 1)},
        {"affine": [[1, 0, 0, 0], [0, 0.8, 0.6, -1], [0, -0.6, 0.8, 3], [0, 0, 0, 1]]},
        {"scale": (2, 1, 1), "axis_labels": ("z", "y", "x")},
    ],
)
def test_labels_mask_of_a_volume_counts_where_it_is_seen(volume, place):
    volume.scale = (2, 1, 1)
    mask = Labels(np.random.default_rng(0).integers(0, 2, (9, 12, 9)), **place)
    expected = labels_under_pixels(mask, volume)
    assert expected.any()
    np.testing.assert_array_equal(mask_array(mask, volume), expected)


def test_2d_labels_mask_every_slice(volume):
    volume.scale = (5, 2, 2)
    drawn = np.zeros((16, 20), int)
    drawn[2:10, 2:12] = 3
    expected = np.zeros((3, 8, 10), dtype=bool)
    expected[:, 1:5, 1:6] = True
    np.testing.assert_array_equal(mask_array(Labels(drawn), volume), expected)
    source = Source.of(volume).fitted_on(None, (1, None, None), "coreset")
    (found,) = mask_levels(Labels(drawn), volume, source)
    np.testing.assert_array_equal(found, expected[0])


def test_labels_mask_of_another_scale_masks_one_slice_of_a_stack(volume):
    drawn = np.random.default_rng(0).integers(0, 2, (6, 8, 10))
    labels = Labels(drawn, scale=(0.5, 1, 1))
    source = Source.of(volume).fitted_on(None, (1, None, None), "coreset")
    (found,) = mask_levels(labels, volume, source)
    np.testing.assert_array_equal(found, drawn[2] != 0)


@pytest.mark.parametrize(("units", "scale"), [("nm", 1000), ("um", 1), ("mm", 0.001), ("s", 1)])
def test_labels_mask_is_converted_between_units(quadrants, units, scale):
    image = Image(quadrants, rgb=True, units=("um", "um"), scale=(2, 2))
    drawn = np.pad(np.ones((10, 21), int), ((0, 10), (0, 0)))
    mask = Labels(drawn, units=(units, units), scale=(2 * scale, 2 * scale))
    np.testing.assert_array_equal(mask_array(mask, image), drawn != 0)


@pytest.mark.parametrize("place", PLACES_2D.values(), ids=PLACES_2D)
def test_shapes_mask_uses_world_coordinates(quadrants, place):
    layer = Image(quadrants, rgb=True, **place)
    corners = np.array([layer.data_to_world(corner) for corner in SQUARE])
    shapes = Shapes([corners / 3 - 1], shape_type="polygon", scale=(3, 3), translate=(3, 3))
    np.testing.assert_array_equal(mask_array(shapes, layer), inside_square())


def test_shapes_mask_unites_areas_and_ignores_lines(picture):
    shapes = Shapes()
    shapes.add_ellipses([[10, 10], [10, 18], [18, 18], [18, 10]])
    shapes.add_rectangles(SQUARE)
    shapes.add_lines([[0, 0], [19, 20]])
    rows, columns = np.mgrid[:20, :21]
    disk = np.hypot(rows - 14, columns - 14) < 4
    mask = mask_array(shapes, picture)
    assert (mask == (disk | inside_square())).mean() > 0.98
    assert not mask[0, 0]


def test_2d_shapes_mask_every_slice(volume):
    volume.scale = (5, 2, 2)
    flat = Shapes([np.array([[2, 2], [2, 10], [8, 10], [8, 2]])], shape_type="rectangle")
    expected = np.zeros((3, 8, 10), dtype=bool)
    expected[:, 1:5, 1:6] = True
    np.testing.assert_array_equal(mask_array(flat, volume), expected)


def test_3d_shapes_mask_only_their_slice(volume):
    square = np.array([[2, 2], [2, 5], [5, 5], [5, 2]])
    in_slice = [np.insert(square, 0, z, axis=1) for z in (1, 7)]
    expected = np.zeros((3, 8, 10), dtype=bool)
    expected[1, 2:6, 2:6] = True
    shapes = Shapes(in_slice, shape_type="polygon")
    np.testing.assert_array_equal(mask_array(shapes, volume), expected)
