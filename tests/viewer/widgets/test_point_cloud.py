"""Tests of the point cloud of a segmentation, of thinning it and of its curve."""

from __future__ import annotations

import numpy as np
import pytest

from napari_kmeans import merge_similar, segment
from napari_kmeans.feature_space.colors import convert_colors
from napari_kmeans.viewer.widgets.point_cloud import make_point_cloud

# ------------------------------------------------------ the cloud of a segmentation


@pytest.mark.parametrize(
    ("color_space", "order", "names"),
    [
        ("rgb", [0, 1, 2], ("red", "green", "blue")),
        ("hsv", [0, 1, 2], ("x", "y", "value")),
        ("lab", [1, 2, 0], ("a", "b", "L")),
    ],
)
def test_points_are_the_sample_in_the_color_space(quadrants, color_space, order, names):
    segmentation = segment(quadrants, 4, rgb=True, color_space=color_space, coreset_size=60)
    cloud, coreset = make_point_cloud(segmentation), segmentation.coreset
    points = convert_colors(coreset.points, color_space, 255)
    np.testing.assert_allclose(cloud.points, points[:, order])
    np.testing.assert_array_equal(cloud.weights, coreset.weights)
    np.testing.assert_allclose(cloud.centers, segmentation.model.cluster_centers_[:, order])
    expected = segmentation.model.predict(coreset.points[None])[0]
    np.testing.assert_array_equal(cloud.labels, expected)
    np.testing.assert_allclose(cloud.colors, coreset.points / 255)
    np.testing.assert_allclose(cloud.cluster_colors, segmentation.model.palette / 255)
    assert tuple(cloud.axis_names) == names


def test_first_three_of_many_channels_are_the_axes():
    image = np.random.default_rng(0).integers(0, 4000, (5, 20, 30)).astype(np.uint16)
    segmentation = segment(image, 3, channel_axis=0)
    cloud = make_point_cloud(segmentation)
    np.testing.assert_array_equal(cloud.points, segmentation.coreset.points[:, :3])
    assert tuple(cloud.axis_names) == ("channel 0", "channel 1", "channel 2")
    expected = ((segmentation.coreset.points[:, None] - segmentation.model.palette) ** 2).sum(2)
    np.testing.assert_array_equal(cloud.labels, expected.argmin(axis=1) + 1)


def test_any_three_of_many_channels_are_the_axes():
    image = np.random.default_rng(0).integers(0, 4000, (5, 20, 30)).astype(np.uint16)
    names = ["DAPI", "GFP", "Cy3", "Cy5", "light"]
    segmentation = segment(image, 3, channel_axis=0, channel_names=names)
    cloud = make_point_cloud(segmentation)
    assert cloud.channels == tuple(names)
    assert cloud.axis_names == ("DAPI", "GFP", "Cy3")
    other = cloud.on_axes([4, 0, 3])
    assert other.axis_names == ("light", "DAPI", "Cy5")
    np.testing.assert_array_equal(other.points, segmentation.coreset.points[:, [4, 0, 3]])
    np.testing.assert_array_equal(other.centers, segmentation.model.palette[:, [4, 0, 3]])
    np.testing.assert_array_equal(other.labels, cloud.labels)
    thin = cloud.thin(20)
    rows = [np.flatnonzero((cloud.points == point).all(axis=1))[0] for point in thin.points]
    np.testing.assert_array_equal(thin.on_axes([4, 0, 3]).points, other.points[rows])


def test_two_channels_are_points_in_a_plane():
    image = np.random.default_rng(0).integers(0, 4000, (2, 20, 30)).astype(np.uint16)
    cloud = make_point_cloud(segment(image, 3, channel_axis=0))
    assert tuple(cloud.axis_names) == ("channel 0", "channel 1", "")
    assert cloud.n_axes == 2
    assert not cloud.points[:, 2].any()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_method_full_gives_colors_of_all_pixels(quadrants, dtype):
    image = np.tile(quadrants, (8, 8, 1)).astype(dtype)
    cloud = make_point_cloud(segment(image, 4, rgb=True, method="full"))
    assert len(cloud.points) > 4
    pixels = image.reshape(-1, 3).astype(float)
    assert cloud.weights.sum() == pytest.approx(len(pixels))
    if dtype == np.uint8:
        np.testing.assert_allclose(
            cloud.weights @ cloud.points / len(pixels), pixels.mean(axis=0), rtol=1e-9
        )
    else:
        assert {tuple(point) for point in cloud.points} <= {tuple(pixel) for pixel in pixels}
    shares = np.bincount(cloud.labels, cloud.weights)[1:] / len(pixels)
    np.testing.assert_allclose(shares, np.array([100, 110, 100, 110]) / 420, atol=0.02)


def test_centers_are_the_points_if_no_colors_were_kept(lazy_floats):
    segmentation = segment(lazy_floats, 4, rgb=True, method="full")
    cloud = make_point_cloud(segmentation)
    np.testing.assert_array_equal(cloud.points, segmentation.model.cluster_centers_)
    assert cloud.weights.tolist() == [100, 110, 100, 110]
    assert cloud.labels.tolist() == [1, 2, 3, 4]


def test_centers_of_a_merged_cluster_share_its_pixels_and_its_color(lazy_floats):
    segmentation = segment(lazy_floats, 4, rgb=True, method="full")
    merged = merge_similar(segmentation, 0, 0.25)
    assert len(merged.table) < 4
    cloud = make_point_cloud(merged)
    np.testing.assert_array_equal(cloud.points, merged.model.cluster_centers_)
    assert cloud.weights.sum() == 420
    np.testing.assert_array_equal(cloud.colors, cloud.cluster_colors)
    assert len(np.unique(cloud.colors, axis=0)) == len(merged.table)


def test_curve_of_a_single_channel_is_its_histogram(steps):
    cloud = make_point_cloud(segment(steps, 3))
    assert tuple(cloud.axis_names) == ("intensity", "", "")
    assert cloud.n_axes == 1
    curve = cloud.as_curve()
    assert curve.axis_names == ("intensity", "", "pixels")
    np.testing.assert_allclose(curve.points[:, 0], [1_000, 20_000, 50_000], atol=400)
    assert not curve.points[:, 1].any()
    heights = curve.points[:, 2] / curve.points[:, 2].max()
    np.testing.assert_allclose(heights, [1, 0.5, 0.5])
    assert curve.labels.tolist() == [1, 2, 3]


# ---------------------------------------------------------------- thinning


def test_thin_keeps_a_small_cloud(random_cloud):
    cloud = random_cloud(100)
    assert cloud.thin(100) is cloud


def test_thin_cloud_represents_all_points(random_cloud):
    cloud = random_cloud(50_000)
    thin = cloud.thin(5_000)
    assert 4_000 < len(thin.points) <= 5_000
    assert thin.weights.sum() == pytest.approx(cloud.weights.sum())
    mean = np.average(cloud.points, axis=0, weights=cloud.weights)
    np.testing.assert_allclose(np.average(thin.points, axis=0, weights=thin.weights), mean, 0.02)
    np.testing.assert_array_equal(thin.points, cloud.thin(5_000).points)
    indices = np.flatnonzero(np.isin(cloud.points[:, 0], thin.points[:, 0]))
    np.testing.assert_array_equal(thin.labels, cloud.labels[indices])
    np.testing.assert_array_equal(thin.colors, cloud.colors[indices])


def test_thin_cloud_keeps_a_heavy_point(random_cloud):
    cloud = random_cloud(50_000)
    cloud.weights[:] = 1
    cloud.weights[777] = 1_000
    thin = cloud.thin(5_000)
    (row,) = np.flatnonzero((thin.points == cloud.points[777]).all(axis=1))
    assert thin.weights[row] == pytest.approx(1_000, rel=0.05)
