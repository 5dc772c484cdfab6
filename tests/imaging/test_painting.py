import dask.array as da
import numpy as np
import pytest
from skimage import data

from napari_kmeans.feature_space.space import FeatureSpace
from napari_kmeans.imaging.blocks import open_pixels
from napari_kmeans.imaging.histogram import build_histogram, find_codec
from napari_kmeans.imaging.painting import (
    Painter,
    label_dtype,
    paint,
    recolor,
    renumber_labels,
    round_to,
)


@pytest.mark.parametrize("space", ["rgb", "hsv", "lab"])
def test_painters_with_and_without_a_table_give_the_same_labels(space):
    image = data.coffee()[:150]
    mask = np.random.default_rng(0).random(image.shape[:2]) < 0.9
    pixels = open_pixels(image, mask=mask)
    centers = np.random.default_rng(1).uniform(0, 100, (9, 3))
    search = Painter(centers, FeatureSpace(space, 255))
    table = search.with_table(build_histogram([pixels], find_codec([pixels])))
    assert table.table is not None
    searched, _ = paint(pixels, search, None)
    looked_up, _ = paint(pixels, table, None)
    np.testing.assert_array_equal(searched, looked_up)
    np.testing.assert_array_equal(searched == 0, ~mask)


@pytest.mark.parametrize(("n", "dtype"), [(1, "u1"), (255, "u1"), (256, "u2"), (65_535, "u2")])
def test_label_dtype_is_the_smallest_that_holds_all_labels(n, dtype):
    assert label_dtype(n) == dtype


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_round_to_clips_to_the_limits_of_integer_dtypes(dtype):
    dtype = np.dtype(dtype)
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    values = np.array([-1e30, float(low), 0.6, float(high), 1e30])
    rounded = round_to(values, dtype)
    assert rounded.dtype == dtype
    assert [int(value) for value in rounded] == [low, low, 1, high, high]


def test_recolor_keeps_alpha_and_pixels_of_label_0():
    original = np.arange(12, dtype=np.uint8).reshape(3, 4)
    palette = np.array([[100, 101, 102], [200, 201, 202]], np.uint8)
    colored = recolor(np.array([2, 0, 1], np.uint8), palette, original)
    assert colored.tolist() == [[200, 201, 202, 3], [4, 5, 6, 7], [100, 101, 102, 11]]
    assert original[0, 0] == 0


@pytest.mark.parametrize("dtype", [">u2", ">i4", ">u8", ">f2", ">f8", "<u2"])
def test_round_to_keeps_the_byte_order_of_the_dtype(dtype):
    rounded = round_to(np.array([[1.0], [257.75]]), np.dtype(dtype))
    assert rounded.dtype == np.dtype(dtype)
    assert rounded.tolist() == [[1], [257.75 if "f" in dtype else 258]]


@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_round_to_clips_to_the_limits_of_float_dtypes(dtype):
    maximum = np.finfo(dtype).max
    rounded = round_to(np.array([[-1e99], [0.5], [1e99]]), np.dtype(dtype))
    assert rounded.tolist() == [[-maximum], [0.5], [maximum]]


def test_renumber_labels_looks_up_the_new_label_of_each_pixel():
    labels = np.array([[0, 1, 2], [3, 3, 0]], np.uint16)
    new_labels = np.array([0, 2, 1, 2], np.uint8)
    renumbered = renumber_labels(labels, new_labels)
    assert renumbered.dtype == np.uint8
    assert renumbered.tolist() == [[0, 2, 1], [2, 2, 0]]
    assert labels[0].tolist() == [0, 1, 2]


def test_renumber_labels_keeps_dask_labels_lazy_and_their_chunks():
    labels = np.random.default_rng(0).integers(0, 4, (3, 20, 21)).astype(np.uint8)
    new_labels = np.array([0, 300, 1, 300], np.uint16)
    lazy = renumber_labels(da.from_array(labels, chunks=(1, 10, 8)), new_labels)
    assert lazy.chunks == ((1, 1, 1), (10, 10), (8, 8, 5))
    assert lazy.dtype == lazy._meta.dtype == np.uint16
    assert lazy.shape == labels.shape
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), new_labels[labels])
