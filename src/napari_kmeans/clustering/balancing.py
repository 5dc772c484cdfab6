"""Weights between those of all points and those of all places where there are points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

_STEPS = 16
"""Cells along each axis, from the least to the greatest coordinate. With more of them,
noise makes so many colors of a large even area that a rare color stays rare."""


def balance_weights(points: NDArray[Any], weights: Floats, balance: float) -> Floats:
    """Return weights under which crowded cells of the space count for less.

    Parameters
    ----------
    points : (n, F) array
        Finite, at least one.
    weights : (n,) float64 array
        Positive.
    balance : float
        From 0, which leaves the weights as they are, to 1, with which every
        cell weighs the same. A cell of weight w gets w ** (1 - balance), and
        its points their shares of that.

    Returns
    -------
    (n,) float64 array
        Their sum is that of `weights`.
    """
    cells = _cells(points)
    totals = np.bincount(cells, weights)
    balanced = weights * totals[cells] ** -balance
    return np.asarray(balanced * (weights.sum() / balanced.sum()))


def _cells(points: NDArray[Any]) -> NDArray[np.intp]:
    """Return the number of the cell of each point: of 16 along each axis."""
    numbers = np.zeros(len(points), np.intp)
    for column in np.asarray(points, np.float64).T:
        low, high = column.min(), column.max()
        if high > low:
            steps = np.minimum((column - low) / (high - low) * _STEPS, _STEPS - 1)
            # Numbered anew after each axis, so that they never overflow.
            numbers = np.unique(numbers * _STEPS + steps.astype(np.intp), return_inverse=True)[1]
    return numbers
