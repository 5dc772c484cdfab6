"""split_objects: labels, sizes, centroids and boxes equal those of SciPy and scikit-image."""

import dask.array as da
import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import regionprops

from napari_kmeans import segment, split_objects


def find_objects_with_scipy(labels, connectivity):
    """Return a dict from the flat indices of each object's pixels to its cluster."""
    structure = ndimage.generate_binary_structure(labels.ndim, connectivity)
    objects = {}
    for cluster in set(np.unique(labels).tolist()) - {0}:
        components, n_components = ndimage.label(labels == cluster, structure)
        for number in range(1, n_components + 1):
            objects[frozenset(np.flatnonzero(components == number).tolist())] = cluster
    return objects


@pytest.mark.parametrize("shape", [(23, 31), (6, 9, 11), (40,)])
@pytest.mark.parametrize("connectivity", [1, None])
@pytest.mark.parametrize("min_size", [1, 4])
def test_objects_equal_the_components_of_each_cluster_in_scipy(shape, connectivity, min_size):
    labels = np.random.default_rng(0).integers(0, 4, shape).astype(np.uint8)
    expected = find_objects_with_scipy(labels, connectivity or labels.ndim)
    expected = {pixels: cluster for pixels, cluster in expected.items() if len(pixels) >= min_size}
    objects = split_objects(labels, min_size=min_size, connectivity=connectivity)
    pixels_and_clusters = {
        frozenset(np.flatnonzero(objects.labels == index).tolist()): cluster
        for index, cluster in zip(objects.table["index"], objects.table["cluster"], strict=True)
    }
    assert pixels_and_clusters == expected
    assert objects.labels.max() == len(objects.table)
    assert objects.labels.shape == shape


@pytest.mark.parametrize("shape", [(23, 31), (6, 9, 11)])
def test_table_equals_regionprops_of_scikit_image(shape):
    labels = np.random.default_rng(1).integers(0, 3, shape)
    scale = np.array([2.0, 0.5, 0.25])[-len(shape) :]
    objects = split_objects(labels, min_size=2, connectivity=1, scale=scale)
    assert len(objects.table) > 3
    regions = regionprops(objects.labels, spacing=tuple(scale))
    for row, region in zip(objects.table.itertuples(index=False), regions, strict=True):
        index, cluster, pixels, area, *rest = row
        assert index == region.label
        assert pixels == region.num_pixels
        assert area == pytest.approx(region.area)
        n = len(shape)
        np.testing.assert_allclose(rest[:n], region.centroid)
        assert tuple(rest[n:]) == region.bbox
        assert {cluster} == set(labels[objects.labels == index].tolist())


def test_table_of_one_object_has_the_documented_columns():
    table = split_objects(np.array([[0, 7, 7], [0, 7, 0]])).table
    assert list(table) == [
        *("index", "cluster", "pixels", "area", "centroid 0", "centroid 1"),
        *("min 0", "min 1", "max 0", "max 1"),
    ]
    assert table.iloc[0, :4].tolist() == [1, 7, 3, 3]
    assert table.iloc[0, 4:6].tolist() == pytest.approx([1 / 3, 4 / 3])
    assert table.iloc[0, 6:].tolist() == [0, 1, 2, 3]


def test_pixels_that_share_a_corner_are_connected_unless_connectivity_is_1():
    labels = np.eye(4, dtype=bool)
    assert split_objects(labels).table["pixels"].tolist() == [4]
    assert split_objects(labels, connectivity=1).table["pixels"].tolist() == [1, 1, 1, 1]
    assert split_objects(labels).table["cluster"].tolist() == [1]


@pytest.mark.parametrize("labels", [np.zeros((3, 4), int), np.eye(3, dtype=int)])
def test_table_is_empty_where_all_objects_are_too_small(labels):
    objects = split_objects(labels, min_size=4)
    assert not objects.labels.any()
    assert objects.labels.shape == labels.shape
    assert len(objects.table) == 0
    assert "centroid 1" in objects.table


def test_clusters_of_a_picture_are_split_into_objects(quadrants):
    twice = np.concatenate([quadrants, quadrants], axis=1)
    objects = split_objects(segment(twice, 4, rgb=True).labels)
    assert sorted(objects.table["cluster"]) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert objects.table["pixels"].sum() == twice.shape[0] * twice.shape[1]


def test_dask_labels_and_other_values_than_integers_are_refused():
    with pytest.raises(TypeError, match=r"labels must be in memory, .* pass labels.compute\(\)"):
        split_objects(da.ones((4, 4), dtype=int))
    for labels in (np.ones((2, 2)), np.ones((0, 2), int), np.int64(3)):
        with pytest.raises(TypeError, match="labels must be an image of whole numbers, got shape"):
            split_objects(labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_size": 0}, "min_size must be a whole number from 1 to .*, got 0"),
        ({"min_size": 2.5}, "min_size must be a whole number from 1 to .*, got 2.5"),
        ({"min_size": True}, "min_size must be a whole number from 1 to .*, got True"),
        ({"connectivity": 3}, "connectivity must be None or a whole number from 1 to 2, got 3"),
        ({"scale": ["a", "b"]}, "scale must be 2 positive numbers"),
        ({"scale": [[1, 2], [3]]}, "scale must be 2 positive numbers"),
        ({"scale": {1: 2}}, "scale must be 2 positive numbers"),
        ({"scale": [1, 0]}, r"scale must be 2 positive numbers, one for each axis, got \[1, 0\]"),
        ({"scale": [1, 1, 1]}, "scale must be 2 positive numbers"),
    ],
)
def test_arguments_out_of_bounds_are_refused(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        split_objects(np.eye(3, dtype=int), **options)


@pytest.mark.parametrize("connectivity", [1, 4])
def test_four_dimensional_objects_equal_those_of_their_three_dimensions(connectivity):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (4, 7, 8, 9))
    # Nothing touches across the first axis, so every volume is split by itself.
    spaced = np.zeros((7, 7, 8, 9), labels.dtype)
    spaced[::2] = labels
    objects = split_objects(spaced, connectivity=connectivity)
    n_objects = 0
    for volume, given in zip(objects.labels[::2], labels, strict=True):
        expected = split_objects(given, connectivity=min(connectivity, 3))
        np.testing.assert_array_equal(
            volume, np.where(expected.labels, expected.labels.astype(int) + n_objects, 0)
        )
        n_objects += len(expected.table)
    assert len(objects.table) == n_objects
    assert split_objects(np.full((2, 2, 2, 2), 5)).table["pixels"].tolist() == [16]
