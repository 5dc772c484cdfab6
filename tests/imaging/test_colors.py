import numpy as np
import pytest

from napari_kmeans.imaging.colors import brightness, display_colors, sort_dark_to_bright, to_hex


def test_brightness_is_the_luminance_of_rgb_and_the_mean_of_other_channels():
    primaries = np.eye(3)
    assert brightness(primaries, rgb=True).tolist() == [0.2126, 0.7152, 0.0722]
    np.testing.assert_allclose(brightness(primaries, rgb=False), 1 / 3)


@pytest.mark.parametrize(
    ("palette", "rgb", "dtype", "expected"),
    [
        ([[255, 0, 51]], True, "u1", ["#ff0033"]),
        ([[65535, 0, 13107]], True, "u2", ["#ff0033"]),
        ([[1.0, 0, 0.2]], True, "f4", ["#ff0033"]),
        # Negative values: from the minimum to the maximum.
        ([[1.0, 0, 0.2], [2, -1, 0]], True, "f4", ["#aa5566", "#ff0055"]),
        ([[-5, 95, 45]], True, "i2", ["#00ff80"]),
        ([[-2.0, -2, -2]], True, "f8", ["#000000"]),
        # Values of 8, 10, 12, 14 and 16 bits in a wider dtype, and 0…255 as floats.
        ([[255, 0, 51]], True, "i8", ["#ff0033"]),
        ([[204, 0, 51]], True, "u2", ["#cc0033"]),
        ([[255.0, 0, 51]], True, "f4", ["#ff0033"]),
        ([[1023, 0, 256]], True, "u2", ["#ff0040"]),
        ([[4080, 0, 816]], True, "u2", ["#fe0033"]),
        ([[16383, 0, 0]], True, "i4", ["#ff0000"]),
        ([[65535, 0, 13107]], True, "f8", ["#ff0033"]),
        ([[2**32 - 1, 0, 2**31]], True, "u4", ["#ff0080"]),
        ([[127, 0, 25.4]], True, "i1", ["#ff0033"]),
        # A dark image stays dark in a wider dtype and in floats.
        ([[5, 0, 0]], True, "u2", ["#050000"]),
        ([[0.01, 0, 0]], True, "f4", ["#030000"]),
        # No usual white fits: the maximum is shown as white.
        ([[2.0, 0, 1]], True, "f4", ["#ff0080"]),
        ([[1_000_000, 0, 200_000]], True, "i8", ["#ff0033"]),
        ([[1_000_000, 0, 200_000]], True, "f8", ["#ff0033"]),
        ([[1e300, 0, 2e299]], True, "f8", ["#ff0033"]),
        ([[0], [128]], False, "u1", ["#000000", "#808080"]),
        ([[1000], [1200], [2000]], False, "u2", ["#000000", "#333333", "#ffffff"]),
        ([[7.5]], False, "f8", ["#000000"]),
        ([[0, 10], [5, 0]], False, "f4", ["#00ff00", "#ff00ff"]),
        ([[0, 0, 0], [9, 0, 0], [0, 0, 9]], False, "f4", ["#000000", "#00ffff", "#ff00ff"]),
    ],
)
def test_display_colors_of_a_palette(palette, rgb, dtype, expected):
    colors = display_colors(np.array(palette, float), rgb, np.dtype(dtype))
    assert to_hex(colors) == expected


def test_display_colors_uses_the_range_of_the_palette():
    palette = np.array([[0, 0, 0], [4000, 0, 2000.0]])
    values = np.array([[40, 0, 4095], [60_000, -5, 0.0]])
    colors = display_colors(values, True, np.dtype(np.uint16), palette)
    np.testing.assert_allclose(colors, [[40 / 4095, 0, 1], [1, 0, 0]])
    gray = display_colors(
        np.array([[5.0], [15], [99]]), False, np.dtype("f4"), palette[:, :1] / 200
    )
    np.testing.assert_allclose(gray[:, 0], [0.25, 0.75, 1])


def test_sums_of_channels_beyond_white_darken_all_colors():
    # Cyan, yellow and magenta of full brightness add up to 2 in red, green and blue.
    palette = np.array([[0, 0, 0], [6.0, 6, 6], [9, 9, 9]])
    colors = display_colors(palette, False, np.dtype("f4"))
    np.testing.assert_allclose(colors, [[0] * 3, [2 / 3] * 3, [1] * 3])
    one = display_colors(np.array([[9.0, 0, 0]]), False, np.dtype("f4"), palette)
    np.testing.assert_allclose(one, [[0, 0.5, 0.5]])


def test_sort_dark_to_bright_sorts_by_brightness_then_by_channel():
    palette = np.array([[0, 255, 0], [255, 0, 0], [9, 9, 9], [0, 0, 255]], float)
    assert sort_dark_to_bright(palette, rgb=True).tolist() == [2, 3, 1, 0]
    equally_bright = np.array([[2, 1], [1, 2], [1, 1]], float)
    assert sort_dark_to_bright(equally_bright, rgb=False).tolist() == [2, 1, 0]


def test_sort_dark_to_bright_keeps_the_order_of_different_colors():
    rng = np.random.default_rng(0)
    for n_channels in (1, 2, 3):
        for scale in (1e-30, 1.0, 1e30):
            palette = scale * rng.random((500, n_channels)) * 10.0 ** rng.integers(-9, 1, (500, 1))
            luminance = brightness(palette, rgb=n_channels == 3)
            order = sort_dark_to_bright(palette, n_channels == 3, rng.random((500, 2)))
            np.testing.assert_array_equal(order, np.argsort(luminance))


def test_rounding_errors_of_equal_colors_do_not_decide_their_order():
    rng = np.random.default_rng(0)
    centers = np.array([[0.3, 5, 2], [0.3, 5, 1], [0.3, 4, 9], [0.1, 9, 9], [0.3, 6, 0]])
    for color in ([0.3], [0.3, -0.3], [0.3, 0.0, 0.7]):
        for n_digits in (16, 13):
            palette = np.array([color] * 5)
            palette *= 1 + rng.uniform(-1, 1, palette.shape) * 10.0**-n_digits
            palette[3] -= 0.1
            errors = rng.uniform(-1, 1, centers.shape) * 10.0**-n_digits
            order = sort_dark_to_bright(palette, len(color) == 3, centers + errors)
            assert order.tolist() == [3, 2, 1, 0, 4]


def test_colors_that_differ_in_the_last_digits_only_are_sorted_by_these():
    palette = 0.3 + 1e-16 * np.array([[5.0], [1], [3]])
    assert sort_dark_to_bright(palette, rgb=False).tolist() == [1, 2, 0]
    # Each is a rounding error from the next: all are equal, and the centers decide.
    palette = 0.3 + 1e-12 * np.arange(20)[:, None]
    centers = np.arange(20)[::-1, None]
    assert sort_dark_to_bright(palette, False, centers).tolist() == centers[:, 0].tolist()


def test_rounding_errors_are_not_shown_as_black_and_white():
    palette = 0.3 + 1e-15 * np.arange(4)[:, None]
    assert to_hex(display_colors(palette, False, np.dtype("f8"))) == ["#000000"] * 4
    palette = np.column_stack([palette, [0, 1, 2, 4]])
    colors = display_colors(palette, False, np.dtype("f8"))
    assert to_hex(colors) == ["#000000", "#004000", "#008000", "#00ff00"]
