import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_kmeans.clustering.balancing import balance_weights


@given(st.integers(0, 2**31), st.integers(1, 4), st.floats(0, 1))
def test_a_cell_weighs_a_power_of_what_it_had(seed, d, balance):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 128, (200, d)).astype(float)
    points[0], points[1] = 0, 127
    weights = rng.integers(1, 9, 200).astype(float)
    result = balance_weights(points, weights, balance)
    # Of 16 cells along each axis, by hand.
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


def test_nothing_changes_at_0_and_points_share_their_cell_by_weight():
    points = np.array([[0.0], [0.0], [1.0], [100.0]])
    weights = np.array([1.0, 3.0, 4.0, 1.0])
    np.testing.assert_allclose(balance_weights(points, weights, 0.0), weights)
    # The first three are a cell: of two alike.
    np.testing.assert_allclose(
        balance_weights(points, weights, 1.0), np.array([1, 3, 4, 8]) / 16 * 9
    )


def test_an_axis_on_which_all_are_equal_parts_nothing():
    rng = np.random.default_rng(0)
    points, weights = rng.random((50, 2)), rng.random(50) + 0.1
    flat = np.column_stack([points[:, 0], np.full(50, 3.0), points[:, 1]])
    np.testing.assert_array_equal(
        balance_weights(flat, weights, 0.7), balance_weights(points, weights, 0.7)
    )
