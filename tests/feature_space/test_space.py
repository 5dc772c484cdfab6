import numpy as np
import pytest

from napari_kmeans.feature_space.space import FeatureSpace


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize("color_space", ["rgb", "hsv", "lab"])
def test_coordinates_are_points_in_any_layout_and_dtype(color_space, dtype, order):
    colors = np.random.default_rng(0).uniform(0, 1 if dtype[0] == "f" else 100, (500, 3))
    values = np.array(colors.astype(dtype), order=order)
    before = values.copy()
    white = 1.0 if dtype[0] == "f" else float(np.iinfo(dtype).max)
    spaces = [FeatureSpace(color_space, white)]
    if color_space == "rgb":
        spaces.append(spaces[0].scaled(np.array([1.0, 2, 3]), np.array([0.5, 7, 1e-3])))
    for space in spaces:
        points = space.points(values)
        assert points.flags.c_contiguous
        np.testing.assert_array_equal(space.coordinates(values), points)
        np.testing.assert_array_equal(values, before)
    if color_space == "rgb":
        expected = (values.astype(np.float64) - [1, 2, 3]) / [0.5, 7, 1e-3]
        np.testing.assert_array_equal(points, expected)
