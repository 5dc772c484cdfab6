"""Merging labels in an array of pixels, and splitting them again."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from napari_kmeans.viewer.to_layers.pixel_merge import PixelMerge, merge_pixels, split_pixels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int8, np.int32, np.int64, np.uint64])
@pytest.mark.parametrize("chosen", [[5, 2], [1, 7, 3], [2, 9, 5, 4], list(range(1, 10)), [9, 1]])
def test_split_pixels_reverts_merge_pixels(dtype, chosen):
    data = np.random.default_rng(0).integers(0, 11, (613, 701)).astype(dtype)
    data[0, :2] = np.iinfo(dtype).min, np.iinfo(dtype).max
    original = data.copy()
    labels = np.array(chosen)
    merged, planes = merge_pixels(data, labels)
    np.testing.assert_array_equal(merged, np.where(np.isin(original, chosen), chosen[0], original))
    assert merged.dtype == dtype
    np.testing.assert_array_equal(split_pixels(merged, labels, planes), original)
    np.testing.assert_array_equal(data, original)


def test_planes_have_one_bit_for_each_doubling_of_the_labels():
    data = np.zeros((1000, 1000), np.uint8)
    for n_labels, n_bits in ((2, 1), (3, 2), (4, 2), (5, 3), (64, 6)):
        _, planes = merge_pixels(data, np.arange(1, n_labels + 1))
        assert planes.nbytes == data.size * n_bits / 8


def test_merge_pixels_accepts_any_memory_order():
    data = np.random.default_rng(0).integers(0, 5, (40, 30, 7)).astype(np.uint8)
    for view in (data.T, data[::2, ::-1], np.asfortranarray(data)):
        merged, planes = merge_pixels(view, np.array([1, 3]))
        np.testing.assert_array_equal(merged, np.where(view == 3, 1, view))
        np.testing.assert_array_equal(split_pixels(merged, np.array([1, 3]), planes), view)


def test_merge_pixels_accepts_more_labels_than_uint8_holds():
    data = np.random.default_rng(0).integers(0, 700, (60, 70)).astype(np.uint16)
    labels = np.arange(1, 601)
    merged, planes = merge_pixels(data, labels)
    np.testing.assert_array_equal(merged, np.where((data > 0) & (data < 601), 1, data))
    np.testing.assert_array_equal(split_pixels(merged, labels, planes), data)


@pytest.mark.parametrize("index", [..., (1,)])
@pytest.mark.parametrize("lazy", [False, True])
def test_undoing_a_merge_keeps_what_was_painted_since(lazy, index):
    original = np.random.default_rng(0).integers(0, 7, (3, 40, 50)).astype(np.uint8)
    data = da.from_array(original, chunks=(2, 15, 20)) if lazy else original.copy()
    merge = PixelMerge(np.array([2, 4, 5]), index)
    merged = merge.apply(data)
    merged[1, 3:30, 5:9] = 6
    merged[:, 10, 20:40] = 9
    reverted = merge.revert(merged)
    assert isinstance(reverted, da.Array) == lazy
    expected = original.copy()
    expected[1, 3:30, 5:9] = 6
    expected[:, 10, 20:40] = 9
    np.testing.assert_array_equal(np.asarray(reverted), expected)
    again = merge.revert(merge.apply(reverted))
    np.testing.assert_array_equal(np.asarray(again), expected)
    assert (again is reverted) == lazy
