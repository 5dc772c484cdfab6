import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_kmeans.clustering.balancing import balance_weights


@given(st.integers(0, 2**31), st.integers(1, 4), st.floats(0, 1))
def test_weight_of_a_cell_is_raised_to_a_power(seed, d, balance):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 128, (200, d)).astype(float)
    points[0], points[1] = 0, 127
    weights = rng.integers(1, 9, 200).astype(float)
    result = balance_weights(points, weights, balance)
    # Compute the weights of the cells with a loop, for 16 cells along each axis.
    totals, after = {}, {}
    for point, weight, balanced in zip(points, weights, result, strict=True):
        cell = tuple(min(int(x / 127 * 16), 15) for x in point)
        totals[cell] = totals.get(cell, 0) + weight
        after[cell] = after.get(cell, 0) + balanced
    expected = {cell: total ** (1 - balance) for cell, total in totals.items()}
    scale = weights.sum() / sum(expected.values())
    assert result.sum() == pytest.approx(weights.sum())
    for cell, value in expected.items():
        assert after[cell] == pytest.approx(scale * value)


def test_weights_keep_their_ratios_within_a_cell():
    points = np.array([[0.0], [0.0], [1.0], [100.0]])
    weights = np.array([1.0, 3.0, 4.0, 1.0])
    np.testing.assert_allclose(balance_weights(points, weights, 0.0), weights)
    # The first three points are in one cell. Each of the two cells gets half of the weight.
    np.testing.assert_allclose(
        balance_weights(points, weights, 1.0), np.array([1, 3, 4, 8]) / 16 * 9
    )


def test_constant_axis_has_no_effect():
    rng = np.random.default_rng(0)
    points, weights = rng.random((50, 2)), rng.random(50) + 0.1
    flat = np.column_stack([points[:, 0], np.full(50, 3.0), points[:, 1]])
    np.testing.assert_array_equal(
        balance_weights(flat, weights, 0.7), balance_weights(points, weights, 0.7)
    )
