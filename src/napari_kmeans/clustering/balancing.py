"""Reweight points so that dense regions of the color space count less."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

_CELLS_PER_AXIS = 16
"""Cells along each axis, between the lowest and the highest coordinate. With more cells, noise
spreads a large area of one color over many cells. Each of these cells then counts as much as a
rare color, and the rare color stays rare."""


def balance_weights(points: NDArray[Any], weights: Floats, balance: float) -> Floats:
    """Return weights that reduce the influence of crowded cells of the space.

    Parameters
    ----------
    points : (n, F) array
        Finite, n ≥ 1.
    weights : (n,) float64 array
        Positive.
    balance : float
        From 0, which keeps the weights, to 1, which gives all cells the same weight. The
        weight w of a cell becomes w ** (1 - balance), up to a common factor. Within a cell,
        the ratios of the weights stay the same.

    Returns
    -------
    (n,) float64 array
        The new weights. Their sum is equal to the sum of `weights`.
    """
    cells = _number_cells(points)
    totals = np.bincount(cells, weights)
    balanced = weights * totals[cells] ** -balance
    return np.asarray(balanced * (weights.sum() / balanced.sum()))


def _number_cells(points: NDArray[Any]) -> NDArray[np.intp]:
    """Return the number of the cell of each point, (n,). There are 16 cells along each axis."""
    cells = np.zeros(len(points), np.intp)
    for column in np.asarray(points, np.float64).T:
        low, high = column.min(), column.max()
        if high > low:
            positions = (column - low) / (high - low) * _CELLS_PER_AXIS
            positions = np.minimum(positions, _CELLS_PER_AXIS - 1).astype(np.intp)
            # Renumber the cells after each axis, so that the numbers cannot overflow.
            cells = np.unique(cells * _CELLS_PER_AXIS + positions, return_inverse=True)[1]
    return cells
