import colorsys

import numpy as np
import pytest

from napari_kmeans.feature_space.colors import SPACES, convert_colors, find_space
from napari_kmeans.options import OPTIONS


def test_options_offer_every_color_space():
    assert OPTIONS["color_space"].choices == tuple(SPACES)


@pytest.mark.parametrize("name", SPACES)
def test_number_of_features_is_that_of_the_points(name):
    colors = np.random.default_rng(0).random((5, 3))
    space = find_space(name)
    points = convert_colors(colors, name, 1)
    assert points.shape == (5, space.n_features(3))
    assert not space.axes or len(space.axes) == points.shape[1]


def test_rgb_has_one_feature_for_each_channel():
    assert find_space("rgb").n_features(7) == convert_colors(np.zeros((1, 7)), "rgb", 1).shape[1]


def test_convert_colors_returns_rgb_unchanged():
    values = np.array([[0, 128, 255]], np.uint8)
    assert convert_colors(values, "rgb", 255).tolist() == [[0, 128, 255]]


def test_convert_colors_converts_hsv_to_the_cone():
    values = np.random.default_rng(0).integers(0, 256, (500, 3))
    points = convert_colors(values, "hsv", 255)
    for value, point in zip(values, points, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(value / 255))
        x, y = s * v * np.cos(2 * np.pi * h), s * v * np.sin(2 * np.pi * h)
        np.testing.assert_allclose(point, np.array([x, y, v]) * 255, atol=1e-9)


def test_reds_on_both_sides_of_hue_0_are_neighbors_on_the_cone():
    reds = np.array([colorsys.hsv_to_rgb(h / 360 % 1, 1, 1) for h in (-5, 5, 40)])
    before, after, orange = convert_colors(reds, "hsv", 1)
    assert np.linalg.norm(before - after) < np.linalg.norm(after - orange) / 3


def test_convert_colors_gives_tabulated_values_of_cielab():
    # CIELAB of the sRGB primaries and of white under D65, from the tables of B. Lindbloom.
    values = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]])
    expected = [[53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86], [100, 0, 0]]
    np.testing.assert_allclose(convert_colors(values, "lab", 255), expected, atol=0.02)


@pytest.mark.parametrize("space", ["hsv", "lab"])
@pytest.mark.parametrize("value", [-1.0, 256.0])
def test_convert_colors_refuses_colors_out_of_range(space, value):
    with pytest.raises(ValueError, match=f"'{space}' needs channels from 0 to 255, got {value:g}"):
        convert_colors(np.array([[value, 0, 10]]), space, 255)


@pytest.mark.parametrize("values", [[], [[1.0, 2, 3]]])
@pytest.mark.parametrize("name", ["LAB", "luv", ""])
def test_convert_colors_refuses_unknown_color_spaces(name, values):
    colors = np.array(values, float).reshape(-1, 3)
    with pytest.raises(ValueError, match=f"color_space must be 'rgb' .* got '{name}': choose"):
        convert_colors(colors, name, 255)


def test_point_of_a_color_does_not_depend_on_the_other_colors():
    colors = np.random.default_rng(0).random((500, 3))
    for name in SPACES:
        points = convert_colors(colors, name, 1)
        alone = np.concatenate([convert_colors(color[None], name, 1) for color in colors])
        np.testing.assert_array_equal(alone, points)
