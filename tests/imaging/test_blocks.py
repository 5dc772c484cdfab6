import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.layers.image._image_utils import guess_rgb

from napari_kmeans.imaging import blocks
from napari_kmeans.imaging.blocks import open_pixels

shapes = st.lists(st.integers(1, 40), min_size=1, max_size=4).map(tuple)


@settings(deadline=None)
@given(shape=shapes, limit=st.integers(20, 300))
def test_blocks_cover_each_pixel_once_within_the_size_limit(shape, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_PIXELS", limit)
        pixels = open_pixels(np.zeros(shape, bool), rgb=False)
        visits = np.zeros(shape, int)
        for block in pixels.blocks():
            visits[block] += 1
            assert visits[block].size <= limit
    assert (visits == 1).all()


@given(shape=st.lists(st.sampled_from([2, 3, 4, 29, 30, 31, 64]), min_size=1, max_size=4))
def test_guess_of_rgb_agrees_with_napari(shape):
    pixels = open_pixels(np.broadcast_to(np.uint8(0), shape))
    assert pixels.rgb == guess_rgb(tuple(shape))


def test_alpha_is_not_a_channel():
    image = np.zeros((40, 50, 4), np.uint8)
    pixels = open_pixels(image)
    assert pixels.n_channels == 3
    assert pixels.shape == (40, 50)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_read_returns_pixels_by_channels(axis):
    image = np.arange(24).reshape(2, 3, 4)
    pixels = open_pixels(image, channel_axis=axis)
    (block,) = pixels.blocks()
    values, kept = pixels.read(block)
    expected = np.moveaxis(image, axis, -1).reshape(-1, image.shape[axis])
    np.testing.assert_array_equal(values, expected)
    assert kept is None


def test_gray_image_has_one_channel():
    pixels = open_pixels(np.arange(6).reshape(2, 3))
    values, _ = pixels.read(pixels.blocks()[0])
    assert values.tolist() == [[0], [1], [2], [3], [4], [5]]
    assert pixels.channel_axis is None


def test_read_returns_native_byte_order():
    pixels = open_pixels(np.array([1, 258], ">u2"))
    values, _ = pixels.read(pixels.blocks()[0])
    assert values.dtype == np.uint16
    assert values.tolist() == [[1], [258]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_mask_alpha_0_and_nonfinite_values_leave_pixels_out(bad):
    image = np.full((1, 6, 4), 0.5)
    image[0, 1, 3] = 0
    image[0, 2, 1] = bad
    image[0, 3, 3] = bad
    mask = np.array([[1, 2, -1, 1, 0, 1]])
    pixels = open_pixels(image, rgb=True, mask=mask)
    _, kept = pixels.read(pixels.blocks()[0])
    # A NaN in alpha leaves no pixel out, because alpha is not a channel.
    assert kept.tolist() == [True, False, False, True, False, True]
    assert len(pixels.read_kept(pixels.blocks()[0])) == 3


def test_dask_chunks_become_blocks_with_all_channels():
    image = da.zeros((3, 8, 10), chunks=(1, 4, 7), dtype=np.uint8)
    pixels = open_pixels(image, channel_axis=0)
    assert len(pixels.blocks()) == 4
    values, _ = pixels.read(pixels.blocks()[-1])
    assert values.shape == (4 * 3, 3)


@pytest.mark.parametrize(
    ("image", "options", "error", "words"),
    [
        (np.zeros((0, 5)), {}, ValueError, "(0, 5)"),
        (np.float64(3), {}, ValueError, "()"),
        (np.zeros((5, 5), complex), {}, TypeError, "complex128"),
        (np.array([["a", "b"]]), {}, TypeError, "<U1"),
        (np.array([[None, 1]]), {}, TypeError, "object"),
        (np.zeros((5, 5), "M8[s]"), {}, TypeError, "datetime64"),
        (np.zeros((5, 5)), {"rgb": True}, ValueError, "(5, 5)"),
        (np.zeros((5, 5, 3)), {"rgb": True, "channel_axis": 1}, ValueError, "channel_axis"),
        (np.zeros((5, 5, 3)), {"channel_axis": 3}, ValueError, "3"),
        (np.zeros((5, 5, 3)), {"channel_axis": 1.0}, TypeError, "1.0"),
        (np.zeros(5), {"channel_axis": 0}, ValueError, "(5,)"),
        (np.zeros((5, 5, 3)), {"channel_axis": np.arange(3)}, TypeError, "shape (3,)"),
        (np.zeros((5, 5, 2)), {"rgb": True}, ValueError, "got shape (5, 5, 2)"),
        ([[1, 2], [3]], {}, ValueError, "image must be an array, got [[1, 2], [3]]"),
        (zarr.group(), {}, TypeError, "image must be an array, got <Group"),
        (np.zeros(2), {"mask": [[1, 2], [3]]}, ValueError, "mask must be an array"),
        (np.zeros(2), {"mask": ["yes", "no"]}, TypeError, "mask must be an array, got 'yes'"),
        (np.zeros((5, 6)), {"mask": np.ones((6, 5))}, ValueError, "(6, 5)"),
        (np.zeros((40, 50, 3)), {"mask": np.ones((40, 50, 3))}, ValueError, "(40, 50)"),
    ],
)
def test_invalid_image_raises_error_of_one_sentence(image, options, error, words):
    with pytest.raises(error) as caught:
        open_pixels(image, **options)
    assert words in str(caught.value)
    assert str(caught.value).count(". ") == 0


@pytest.mark.parametrize("dtype", ["f8", ">f8", "g"])
@pytest.mark.parametrize("value", [1.5e100, -1.7e308])
def test_values_beyond_1e100_are_refused_unless_masked(dtype, value):
    image = np.ones((5, 5), dtype)
    image[2, 3], image[0, 0] = value, np.nan
    (block,) = open_pixels(image).blocks()
    with pytest.raises(ValueError, match=r"image must have values from -1e\+100 to 1e\+100, got"):
        open_pixels(image).read(block)
    values, kept = open_pixels(image, mask=image == 1).read(block)
    assert np.count_nonzero(kept) == 23
    assert (values[kept] == 1).all()


@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_maximum_of_float16_and_float32_is_accepted(dtype):
    image = np.full((5, 5), np.finfo(dtype).max)
    values, kept = open_pixels(image).read(open_pixels(image).blocks()[0])
    assert kept is None
    assert (values == np.finfo(dtype).max).all()


def test_numpy_channel_axis_becomes_python_int():
    assert type(open_pixels(np.zeros((4, 5, 2)), channel_axis=np.int8(-1)).channel_axis) is int


def test_empty_chunks_of_axis_of_length_1_are_removed():
    image = da.from_array(np.arange(21).reshape(1, 21), chunks=((0, 1), (10, 0, 11)))
    pixels = open_pixels(image, mask=np.arange(21)[None] != 3)
    assert pixels.array.chunks[:2] == ((1,), (10, 0, 11))
    values = [pixels.read_kept(block)[:, 0] for block in pixels.blocks()]
    assert np.concatenate(values).tolist() == [0, 1, 2, *range(4, 21)]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", np.longdouble])
@pytest.mark.parametrize("others", [[0.0, 1.0], [-1.0, -0.0], [-1e4, 1e4], [6e4, -6e4]])
def test_values_that_are_not_finite_are_left_out(others, dtype, order):
    rows = [[others[0], others[1]]] * 3
    bad = [np.nan, -np.nan, np.inf, -np.inf]
    for value in bad:
        values = np.array([*rows, [others[0], value], *rows], dtype, order=order)
        _, kept = blocks.extract_values(values, None, 2)
        np.testing.assert_array_equal(kept, np.arange(7) != 3)
    values = np.array(rows, dtype, order=order)
    assert blocks.extract_values(values, None, 2)[1] is None


@pytest.mark.parametrize("dtype", ["f8", np.longdouble])
@pytest.mark.parametrize("factor", [1, -1])
def test_values_beyond_the_limit_are_refused(factor, dtype):
    values = factor * np.array([[1e100], [0.0]], dtype)
    assert blocks.extract_values(values, None, 1)[1] is None
    with pytest.raises(ValueError, match="rescale the image"):
        blocks.extract_values(np.nextafter(values, 2 * values), None, 1)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", np.longdouble])
@pytest.mark.parametrize(
    "numbers", [[0.0, 3.0], [-2.0, -1.0], [-0.0, 0.0], [-5.0, 7.0], [9.0, 9.5]]
)
def test_bounds_contain_all_values(numbers, dtype):
    values, kept, (low, high) = blocks.extract_with_bounds(np.array([numbers], dtype), None, 2)
    assert kept is None
    assert low <= values.min()
    assert values.max() <= high <= max(0, values.max())


def test_bounds_of_values_with_nan_and_of_integers_are_not_known():
    for values in (np.array([[1.0, np.nan]]), np.array([[1, 2]])):
        assert blocks.extract_with_bounds(values, None, 2)[2] is None
