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


def color_with_numpy(labels, palette, original):
    """Return the palette's colors taken by labels, written over the pixels of labels above 0."""
    colored, inside = original.copy(), labels > 0
    n_channels = palette.shape[1]
    colored[inside, :n_channels] = np.take(palette, labels[inside] - 1, axis=0)
    return colored


def make_labels(rng, shape, zeros, n_clusters=9):
    """Return labels from 1 on, of which no, some, scattered or all pixels have 0 instead."""
    labels = rng.integers(1, n_clusters + 1, shape).astype(np.uint8)
    if zeros == "scattered":
        labels[rng.random(shape) < 0.3] = 0
    elif zeros == "few":
        labels[rng.random(shape) < 0.01] = 0
    elif zeros == "rows":
        labels[::2] = 0
    elif zeros == "all":
        labels[:] = 0
    return labels


@pytest.mark.parametrize("zeros", ["none", "few", "scattered", "rows", "all"])
@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("n_channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "<u2", ">u2", "f4", ">i8", "f8"])
@pytest.mark.parametrize("n_clusters", [8, 9])
def test_recolor_takes_the_color_of_each_label(n_clusters, dtype, n_channels, has_alpha, zeros):
    rng = np.random.default_rng(0)
    labels = make_labels(rng, (7, 401), zeros, n_clusters)
    original = round_to(rng.uniform(-99, 255, (7, 401, n_channels + has_alpha)), np.dtype(dtype))
    original.flags.writeable = False
    palette = round_to(rng.uniform(-99, 255, (n_clusters, n_channels)), original.dtype)
    colored = recolor(labels, palette, original)
    assert colored.dtype == original.dtype
    np.testing.assert_array_equal(colored, color_with_numpy(labels, palette, original))


@pytest.mark.parametrize("zeros", ["none", "scattered"])
@pytest.mark.parametrize("n_channels", [3, 4])
@pytest.mark.parametrize("n_pixels", [0, 1, 2, 3, 4, 5, 6, 7, 255, 256, 257, 1023])
def test_recolor_of_any_number_of_bytes_at_any_address(n_pixels, n_channels, zeros):
    rng = np.random.default_rng(n_pixels)
    labels = make_labels(rng, n_pixels, zeros)
    palette = rng.integers(0, 256, (9, 3)).astype(np.uint8)
    memory = rng.integers(0, 256, n_pixels * n_channels + 4).astype(np.uint8)
    for start in range(4):
        original = memory[start : start + n_pixels * n_channels].reshape(-1, n_channels)
        colored = recolor(labels, palette, original)
        np.testing.assert_array_equal(colored, color_with_numpy(labels, palette, original))


def test_recolor_keeps_nan_with_all_its_bits_where_the_label_is_0():
    original = np.array([[0x7FC12345, 0xFFC00001, 0]], np.uint32).view(np.float32)
    colored = recolor(np.zeros(1, np.uint8), np.ones((2, 3), np.float32), original)
    assert colored.view(np.uint32).tolist() == original.view(np.uint32).tolist()


@pytest.mark.parametrize("layout", ["C", "F", "strided", "reversed", "planes", "odd rows"])
@pytest.mark.parametrize("channels", ["rgb", "rgba"])
@pytest.mark.parametrize("has_mask", [False, True])
def test_paint_takes_the_color_of_each_label_in_any_layout(layout, channels, has_mask, monkeypatch):
    monkeypatch.setattr("napari_kmeans.imaging.blocks.BLOCK_PIXELS", 2**15)
    rng = np.random.default_rng(0)
    # Several blocks, which start at addresses that are no multiples of 4.
    image = rng.integers(0, 4, (301, 403, len(channels))).astype(np.uint8) * 80
    image = {
        "C": image,
        "F": np.asfortranarray(image),
        "strided": np.repeat(image, 2, axis=1)[:, ::2],
        "reversed": image[::-1, ::-1],
        "planes": np.moveaxis(np.ascontiguousarray(np.moveaxis(image, -1, 0)), 0, -1),
        "odd rows": image[1:],
    }[layout]
    image.flags.writeable = False
    mask = rng.random(image.shape[:2]) < 0.9 if has_mask else None
    pixels = open_pixels(image, rgb=True, mask=mask)
    centers = np.array([[20, 30, 200], [200, 20, 60], [90, 160, 90.0]])
    painter = Painter(centers, FeatureSpace("rgb", 255))
    painter = painter.with_table(build_histogram([pixels], find_codec([pixels])))
    labels, recolored = paint(pixels, painter, centers)
    kept = np.ones(image.shape[:2], bool) if mask is None else mask.copy()
    if channels == "rgba":
        kept &= image[..., 3] > 0
    squares = ((image[..., np.newaxis, :3] - centers) ** 2).sum(axis=-1)
    np.testing.assert_array_equal(labels, np.where(kept, squares.argmin(axis=-1) + 1, 0))
    expected = color_with_numpy(labels, centers.astype(np.uint8), image)
    np.testing.assert_array_equal(recolored, expected)


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
