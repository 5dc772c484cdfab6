"""Memberships of points in classes, and how sure the nearest class is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

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


class Around(NamedTuple):
    """The labels of the neighbors of some pixels, and the energy that smoothing lowers.

    Attributes
    ----------
    labels : (m,) array of unsigned integers
        The label of the class of each pixel of an image, from 1 to K; 0 for a pixel without class,
        and around the image.
    places : (n,) int64 array
        The index of each of some pixels.
    steps : (S,) int64 array
        The differences of the indices of a pixel and its neighbors.
    weights : (S,) float64 array
        What a neighbor of another class adds to the energy of a pixel.
    scale : float
        What a squared distance of 1 from its class adds to the energy of a pixel.
    """

    labels: NDArray[Any]
    places: NDArray[np.int64]
    steps: NDArray[np.int64]
    weights: Floats
    scale: float


NOTHING_AROUND = Around(
    np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), 1.0
)
"""No neighbors: the energy of a pixel is its squared distance."""


def find_confidence(
    points: NDArray[Any],
    centers: Floats,
    classes: NDArray[np.int64],
    own: NDArray[Any] | None = None,
    around: Around = NOTHING_AROUND,
) -> NDArray[np.float32]:
    """Return how sure the class of each point is: its simplified silhouette [1]_.

    Parameters
    ----------
    points, centers, classes
        As for `find_memberships`.
    own : (n,) integer array, optional
        The class of each point, from 0 to K - 1. None takes the nearest class.
    around : Around
        The surroundings of the pixels of the points. The distance from a class is then the square
        root of the energy that the pixel would have in this class.

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
    _write_confidence(points, centers, classes, own, around, int(classes.max()) + 1, confidence)
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
    around: Around,
    n_classes: int,
    confidence: NDArray[Any],
) -> None:
    """Write the confidence of each point in the class `own`; -1 stands for the nearest."""
    labels, places, steps, weights, scale = around
    energies = np.empty(n_classes)
    for i in range(points.shape[0]):
        _square_distances(points, i, centers, classes, energies)
        total = 0.0
        for k in range(n_classes):
            energies[k] *= scale
        for s in range(steps.shape[0]):
            label = np.int64(labels[places[i] + steps[s]])
            if label > 0:
                total += weights[s]
                energies[label - 1] -= weights[s]
        best = own[i]
        if best < 0:
            best = 0
            for k in range(n_classes):
                best = k if energies[k] < energies[best] else best
        other = np.inf
        for k in range(n_classes):
            if k != best:
                other = min(other, energies[k])
        # Differences of sums can be a rounding error below 0.
        first, second = max(energies[best] + total, 0.0), max(other + total, 0.0)
        if first <= second:
            # A point on two equal centers lies between two classes.
            confidence[i] = 1.0 - (np.sqrt(first / second) if second > 0 else 1.0)
        else:
            confidence[i] = np.sqrt(second / first) - 1.0
