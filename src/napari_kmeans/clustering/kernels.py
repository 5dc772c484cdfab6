"""Compiled loops over weighted points. Each runs on one thread, without the GIL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def nearest(
    points: NDArray[Any], centers: NDArray[Any], labels: NDArray[Any], distances: NDArray[Any]
) -> None:
    """Write each point's nearest centre, the first of equals, and its squared distance."""
    for i in range(points.shape[0]):
        least = np.inf
        label = 0
        for k in range(centers.shape[0]):
            distance = 0.0
            for j in range(points.shape[1]):
                difference = points[i, j] - centers[k, j]
                distance += difference * difference
            if distance < least:
                least = distance
                label = k
        labels[i] = label
        distances[i] = least


@njit(cache=True, nogil=True)
def assign_and_add(
    points: NDArray[Any],
    weights: NDArray[Any],
    centers: NDArray[Any],
    labels: NDArray[Any],
    sums: NDArray[Any],
    totals: NDArray[Any],
) -> int:
    """Do one half of a Lloyd iteration; return how many labels changed.

    `sums` (K, F) and `totals` (K,) receive the weighted sums and the weights
    of the points nearest to each centre.
    """
    changed = 0
    for i in range(points.shape[0]):
        least = np.inf
        label = 0
        for k in range(centers.shape[0]):
            distance = 0.0
            for j in range(points.shape[1]):
                difference = points[i, j] - centers[k, j]
                distance += difference * difference
            if distance < least:
                least = distance
                label = k
        if labels[i] != label:
            labels[i] = label
            changed += 1
        totals[label] += weights[i]
        for j in range(points.shape[1]):
            sums[label, j] += weights[i] * points[i, j]
    return changed


@njit(cache=True, nogil=True)
def spread_seeds(
    points: NDArray[Any], weights: NDArray[Any], draws: NDArray[Any], seeds: NDArray[Any]
) -> Any:
    """Choose seeds by greedy k-means++; return how many there are.

    `draws` (K, T) are uniform numbers from [0, 1): T candidates for each seed.
    Fewer than K are chosen where the points have fewer distinct values.
    """
    n = points.shape[0]
    distances = np.empty(n)
    cumulative = np.cumsum(weights)
    seeds[0] = min(np.searchsorted(cumulative, draws[0, 0] * cumulative[-1], side="right"), n - 1)
    for i in range(n):
        distances[i] = _squared_distance(points, i, seeds[0])
    candidate = np.empty(n)
    best = np.empty(n)
    for c in range(1, draws.shape[0]):
        total = 0.0
        for i in range(n):
            total += weights[i] * distances[i]
            cumulative[i] = total
        if total <= 0:
            return c
        least = np.inf
        for t in range(draws.shape[1]):
            # To the right: a point at distance 0 is never drawn.
            index = np.searchsorted(cumulative, draws[c, t] * total, side="right")
            index = min(index, n - 1)
            potential = 0.0
            for i in range(n):
                candidate[i] = min(distances[i], _squared_distance(points, i, index))
                potential += weights[i] * candidate[i]
            if potential < least:
                least = potential
                seeds[c] = index
                best[:] = candidate
        distances[:] = best
    return draws.shape[0]


@njit(cache=True, nogil=True)
def _squared_distance(points: NDArray[Any], i: int, k: int) -> Any:
    distance = 0.0
    for j in range(points.shape[1]):
        difference = points[i, j] - points[k, j]
        distance += difference * difference
    return distance
