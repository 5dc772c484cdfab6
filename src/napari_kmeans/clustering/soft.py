"""Memberships of points in classes, and how sure the nearest class is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.compiling import compile_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_kmeans.types import Floats


def find_memberships(
    points: NDArray[Any], centers: Floats, classes: NDArray[np.int64], exponent: float
) -> NDArray[np.float32]:
    """Return the fuzzy membership of points in classes.

    Parameters
    ----------
    points : (n, F) array
    centers : (M, F) float64 array
    classes : (M,) int64 array
        The class of each center, from 0 to K - 1. A class has one center or more, and the
        distance from a class is that from the nearest of its centers.
    exponent : float
        The fuzzifier m of fuzzy c-means, above 1 [1]_.

    Returns
    -------
    (n, K) float32 array
        Proportional to ``distance ** (-2 / (exponent - 1))``, with the sum 1. A point on a
        center belongs entirely to its class.

    References
    ----------
    .. [1] J. C. Bezdek, R. Ehrlich, W. Full, "FCM: The fuzzy c-means clustering
       algorithm", :doi:`10.1016/0098-3004(84)90020-7`.
    """
    memberships = np.empty((len(points), int(classes.max()) + 1), np.float32)
    points = np.ascontiguousarray(points, np.float64)
    _write_memberships(points, centers, classes, 1 / (exponent - 1), memberships)
    return memberships


def find_confidence(
    points: NDArray[Any],
    centers: Floats,
    classes: NDArray[np.int64],
    own: NDArray[Any] | None = None,
) -> NDArray[np.float32]:
    """Return how sure the class of each point is: its simplified silhouette [1]_.

    Parameters
    ----------
    points, centers, classes
        As for `find_memberships`.
    own : (n,) integer array, optional
        The class of each point, from 0 to K - 1. None takes the nearest class.

    Returns
    -------
    (n,) float32 array
        (b - a) / max(a, b) for the distance a from the own class and the distance b from the
        nearest of the other classes: 0 for a point between two classes, 1 for a point on a
        center of its own class, and negative if another class is nearer. 1 if there is only one
        class.

    References
    ----------
    .. [1] E. R. Hruschka, R. J. G. B. Campello, L. N. de Castro, "Evolving
       clusters in gene-expression data", :doi:`10.1016/j.ins.2005.07.015`.
    """
    confidence = np.empty(len(points), np.float32)
    points = np.ascontiguousarray(points, np.float64)
    if own is None:
        own = np.full(len(points), -1)
    own = np.ascontiguousarray(own, np.int64)
    _write_confidence(points, centers, classes, own, int(classes.max()) + 1, confidence)
    return confidence


@compile_kernel
def _square_distances(
    points: NDArray[Any],
    i: int,
    centers: NDArray[Any],
    classes: NDArray[Any],
    squares: NDArray[Any],
) -> None:
    """Write the squared distance of point i from each class to `squares` (K,)."""
    for k in range(len(squares)):
        squares[k] = np.inf
    for m in range(centers.shape[0]):
        square = 0.0
        for j in range(points.shape[1]):
            square += (points[i, j] - centers[m, j]) ** 2
        squares[classes[m]] = min(squares[classes[m]], square)


@compile_kernel
def _write_memberships(
    points: NDArray[Any],
    centers: NDArray[Any],
    classes: NDArray[Any],
    power: float,
    memberships: NDArray[Any],
) -> None:
    squares = np.empty(memberships.shape[1])
    for i in range(points.shape[0]):
        _square_distances(points, i, centers, classes, squares)
        least, total = np.inf, 0.0
        for k in range(len(squares)):
            least = min(least, squares[k])
        for k in range(len(squares)):
            # Relative to the least distance, no power overflows.
            ratio = least / squares[k] if squares[k] > 0 else 1.0
            squares[k] = ratio if power == 1 else ratio**power
            total += squares[k]
        for k in range(len(squares)):
            memberships[i, k] = squares[k] / total


@compile_kernel
def _write_confidence(
    points: NDArray[Any],
    centers: NDArray[Any],
    classes: NDArray[Any],
    own: NDArray[Any],
    n_classes: int,
    confidence: NDArray[Any],
) -> None:
    """Write the confidence of each point in the class `own`; -1 stands for the nearest."""
    squares = np.empty(n_classes)
    for i in range(points.shape[0]):
        _square_distances(points, i, centers, classes, squares)
        first, second, nearest = np.inf, np.inf, 0
        for k in range(n_classes):
            if squares[k] < first:
                first, second, nearest = squares[k], first, k
            elif squares[k] < second:
                second = squares[k]
        if own[i] < 0 or own[i] == nearest or squares[own[i]] == first:
            # A point on two equal centers lies between two classes.
            confidence[i] = 1.0 - (np.sqrt(first / second) if second > 0 else 1.0)
        else:
            confidence[i] = np.sqrt(first / squares[own[i]]) - 1.0
