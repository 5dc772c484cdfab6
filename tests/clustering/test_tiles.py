"""Searches in tiles against searches by brute force, in float64 and in whole numbers."""

import os
import subprocess
import sys

import numpy as np
import pytest

from napari_kmeans.clustering import tiles
from napari_kmeans.clustering.tiles import (
    TiledCenters,
    find_labels,
    find_nearest,
    label_and_sum,
    sum_by_label,
)

FEATURES = [1, 3, 4, 5, 16, 20, 40, 64, 200]


def search_in_float64(points, centers):
    """Return labels and squared distances that are added up axis by axis in float64."""
    labels, best = np.zeros(len(points), np.int32), np.full(len(points), np.inf)
    columns = points.astype(np.float64).T
    for k, center in enumerate(centers):
        squares = np.zeros(len(points))
        for column, coordinate in zip(columns, center, strict=True):
            squares += (column - coordinate) ** 2
        labels[squares < best] = k
        best = np.minimum(best, squares)
    return labels, best


def draw_near_ties(rng, centers, n_points, dtype):
    """Return points on the planes that bisect two centers, and up to 3 units beside them."""
    first = rng.integers(len(centers), size=n_points)
    second = rng.integers(len(centers), size=n_points)
    across = centers[first] - centers[second]
    along = rng.normal(size=across.shape) * np.abs(across).max(initial=1e-300)
    squares = np.maximum((across**2).sum(axis=1), 1e-300)
    along -= ((along * across).sum(axis=1) / squares)[:, None] * across
    points = ((centers[first] + centers[second]) / 2 + 0.1 * along).astype(dtype)
    steps = rng.integers(-3, 4, points.shape)
    return points + (steps * np.spacing(np.abs(points))).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("offset", "scale"), [(0, 1), (12, 1), (1e5, 1), (-3, 1e-12), (0, 1e-25)])
@pytest.mark.parametrize(("n_clusters", "n_points"), [(2, 20_000), (8, 12_000), (255, 4_000)])
def test_labels_of_a_million_near_ties_are_those_of_float64(
    n_clusters, n_points, offset, scale, dtype
):
    rng = np.random.default_rng(n_clusters)
    for n_features in (1, 3, 5, 18):
        centers = (offset + rng.normal(size=(n_clusters, n_features))) * scale
        points = draw_near_ties(rng, centers, n_points, dtype)
        labels, squares = search_in_float64(points, centers)
        found, distances = find_nearest(points, centers)
        np.testing.assert_array_equal(found, labels)
        np.testing.assert_array_equal(distances, squares)
        np.testing.assert_array_equal(find_labels(points, centers), labels)


@pytest.mark.parametrize("n_clusters", [2, 8, 255, 300])
def test_ties_of_whole_numbers_get_the_first_label(n_clusters):
    rng = np.random.default_rng(0)
    # On a small lattice, most points are equally far from several centers, and centers repeat.
    centers = rng.integers(0, 7, (n_clusters, 3))
    points = rng.integers(-2, 9, (50_000, 3))
    squares = ((points[:, None] - centers) ** 2).sum(axis=2)
    found, distances = find_nearest(points.astype(np.int16), centers.astype(np.float64))
    np.testing.assert_array_equal(found, squares.argmin(axis=1))
    np.testing.assert_array_equal(distances, squares.min(axis=1))


@pytest.mark.parametrize("n_clusters", [1, 3, 8, 33])
@pytest.mark.parametrize("n_features", FEATURES)
def test_any_number_of_features(n_features, n_clusters):
    rng = np.random.default_rng(n_features)
    points = rng.normal(size=(5000, n_features)).astype(np.float32)
    centers = rng.normal(size=(n_clusters, n_features))
    labels, squares = search_in_float64(points, centers)
    for layout in (points, np.asfortranarray(points), np.repeat(points, 2, axis=0)[::2]):
        found, distances = find_nearest(layout, centers)
        np.testing.assert_array_equal(found, labels)
        np.testing.assert_array_equal(distances, squares)


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f8"])
def test_any_dtype(dtype):
    rng = np.random.default_rng(0)
    kind = np.dtype(dtype)
    if kind.kind in "ui":
        limits = np.iinfo(kind)
        points = rng.integers(limits.min, limits.max, (3000, 4), kind, endpoint=True)
    else:
        points = rng.normal(size=(3000, 4)).astype(kind)
    centers = points[:9].astype(np.float64)
    labels, squares = search_in_float64(points, centers)
    found, distances = find_nearest(points, centers)
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_array_equal(distances, squares)


@pytest.mark.parametrize("largest", [1e18, 1e19, 3e19, 1e25, 3e38, 1e60, 1e100])
def test_numbers_beyond_float32(largest):
    rng = np.random.default_rng(0)
    points = rng.uniform(-largest, largest, (2000, 3))
    centers = points[:9]
    labels, squares = search_in_float64(points, centers)
    found, distances = find_nearest(points, centers)
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_array_equal(distances, squares)


def test_points_far_from_close_centers():
    # The squared distances in float64 are equal, although scores in float32 differ.
    centers = np.array([[0.0, 3e-12], [0.0, 0.0], [1e-12, 0.0]])
    points = np.random.default_rng(0).normal(size=(2000, 2)) * 1e6
    labels, _ = search_in_float64(points, centers)
    np.testing.assert_array_equal(find_labels(points, centers), labels)


@pytest.mark.parametrize("n_points", [0, 1, 127, 128, 129, 40_000])
@pytest.mark.parametrize("n_features", [1, 3, 16])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4", "f8"])
def test_sums_are_those_of_bincount(dtype, n_features, n_points):
    rng = np.random.default_rng(n_points)
    points = (rng.normal(100, 20, (n_points, n_features))).astype(dtype)
    centers = 100 + 20 * rng.normal(size=(6, n_features))
    labels = np.empty(n_points, np.int32)
    sums, cost = label_and_sum(points, TiledCenters(centers), labels)
    expected, squares = search_in_float64(points, centers)
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(sums.counts, np.bincount(labels, minlength=6))
    assert cost == pytest.approx(squares.sum(), rel=1e-11, abs=1e-9)
    totals = [np.bincount(labels, column, minlength=6) for column in points.T.astype(float)]
    exact = {"rtol": 0} if np.dtype(dtype).kind in "ui" else {"rtol": 1e-12}
    np.testing.assert_allclose(sums.totals, np.transpose(totals), **exact)
    again = sum_by_label(points, labels, 6)
    np.testing.assert_array_equal(again.counts, sums.counts)
    np.testing.assert_allclose(again.totals, np.transpose(totals), **exact)


@pytest.mark.parametrize("n_features", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u2", "u4", "i8", "f2", "f4", "f8"])
def test_sums_of_any_dtype_and_layout(dtype, n_features):
    rng = np.random.default_rng(n_features)
    for n_points in (1, 2, 3, 5, 131):
        points = rng.normal(0, 50, (n_points, n_features)).astype(dtype)
        centers = rng.normal(0, 50, (5, n_features))
        expected, squares = search_in_float64(points, centers)
        columns = points.T.astype(float)
        totals = np.transpose([np.bincount(expected, column, minlength=5) for column in columns])
        for layout in (points, np.asfortranarray(points), np.repeat(points, 2, axis=0)[::2]):
            labels = np.empty(n_points, np.uint8)
            sums, cost = label_and_sum(layout, TiledCenters(centers), labels)
            np.testing.assert_array_equal(labels, expected)
            np.testing.assert_array_equal(sums.counts, np.bincount(expected, minlength=5))
            np.testing.assert_allclose(sums.totals, totals, rtol=1e-12, atol=1e-12)
            assert cost == pytest.approx(squares.sum(), rel=1e-9)


def test_sums_of_small_and_of_large_numbers_are_both_exact():
    points = np.array([[1], [1], [2**63], [2**64 - 2048]], np.uint64)
    centers = np.array([[1.0], [1.3e19]])
    sums, _ = label_and_sum(points, TiledCenters(centers), np.empty(4, np.int32))
    assert sums.totals.tolist() == [[2.0], [2.0**63 + 2.0**64 - 2048]]


@pytest.mark.parametrize("offset", [0, 1e9])
def test_cost_of_points_on_their_centers_is_exact(offset):
    centers = offset + np.random.default_rng(0).normal(size=(5, 3))
    points = np.repeat(centers, 100, axis=0)
    _, cost = label_and_sum(points, TiledCenters(centers), np.empty(500, np.int32))
    assert cost == 0
    points[0] += 1e-3
    _, squares = search_in_float64(points, centers)
    _, cost = label_and_sum(points, TiledCenters(centers), np.empty(500, np.int32))
    assert cost == pytest.approx(squares.sum(), rel=1e-12)


def test_only_near_ties_are_compared_in_float64():
    # A bound of the rounding errors that is too large would be right, but slow.
    rng = np.random.default_rng(0)
    for n_features, offset in ((3, 0), (40, 0), (3, 1000)):
        points = rng.normal(offset, 1, (20_000, n_features)).astype(np.float32)
        centers = rng.normal(offset, 1, (8, n_features))
        tiled = TiledCenters(centers)
        _, squares = search_in_float64(points, centers)
        moved = np.abs(points - tiled.origin)
        sizes = moved.sum(axis=1)
        limits = np.polyval(tiled.errors[2::-1].astype(float), sizes)
        second = np.partition(((points[:, None] - centers) ** 2).sum(axis=2), 1, axis=1)[:, 1]
        assert np.mean(second - squares < limits) < 0.002


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 1e5])
@pytest.mark.parametrize(("n_features", "n_clusters"), [(1, 2), (3, 5), (5, 33), (70, 8)])
def test_sums_follow_labels_of_repeated_searches(n_features, n_clusters, offset, dtype):
    rng = np.random.default_rng(n_features)
    centers = offset + rng.normal(size=(n_clusters, n_features))
    points = draw_near_ties(rng, centers, 3001, dtype)
    columns = tiles.make_columns(points)
    labels, sizes = np.zeros(len(columns) * 128, np.int32), np.full(len(columns), np.nan, "f4")
    tiled = TiledCenters(centers)
    tiles.find_tile_labels(columns, len(points), tiled, labels, sizes)
    sums = sum_by_label(points, labels[: len(points)], n_clusters)
    for scale in (0, 1e-3, 0.1, 1e-6, 0):
        centers = centers + scale * rng.normal(size=centers.shape)
        tiles.find_tile_labels(columns, len(points), TiledCenters(centers), labels, sizes, sums)
        expected, _ = search_in_float64(points, centers)
        np.testing.assert_array_equal(labels[: len(points)], expected)
        again = sum_by_label(points, expected, n_clusters)
        np.testing.assert_array_equal(sums.counts, again.counts)
        np.testing.assert_allclose(sums.totals, again.totals, rtol=1e-12, atol=1e-9)
    if dtype == np.float32 and not tiled.is_far:
        # The bound of rounding errors depends on the largest point of each block.
        largest = np.abs(columns).sum(axis=1).max(axis=1)
        np.testing.assert_allclose(sizes, largest, rtol=1e-5)
    else:
        assert np.isnan(sizes).all()


def test_labels_are_those_of_a_processor_without_wide_vectors(tmp_path):
    code = """
import sys
import numpy as np
from napari_kmeans.clustering.tiles import find_labels
with np.load(sys.argv[1]) as given:
    np.save(sys.argv[2], find_labels(given["points"], given["centers"]))
"""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(9, 5))
    points = draw_near_ties(rng, centers, 5000, np.float32)
    np.savez(tmp_path / "given.npz", points=points, centers=centers)
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    command = [sys.executable, "-c", code, tmp_path / "given.npz", tmp_path / "labels.npy"]
    subprocess.run(command, env=environment, check=True)
    expected, _ = search_in_float64(points, centers)
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), expected)


def test_tiles_of_few_points(monkeypatch):
    monkeypatch.setattr(tiles, "_TILE_VALUES", 1)
    rng = np.random.default_rng(0)
    points, centers = rng.normal(size=(1000, 7)), rng.normal(size=(4, 7))
    labels, squares = search_in_float64(points, centers)
    found, distances = find_nearest(points, centers)
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_array_equal(distances, squares)
