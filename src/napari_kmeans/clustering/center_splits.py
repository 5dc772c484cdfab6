"""Centers that were replaced by new ones, which compete only for the points of the old ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_kmeans.clustering.tiles import find_labels, find_nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_kmeans.types import Floats


@dataclass(frozen=True, eq=False)
class CenterSplit:
    """Some centers, and the number of new centers that replaced them.

    Only points of the replaced centers get a new center: their nearest new one. The points
    of all other centers stay, also where a new center is nearer.

    Attributes
    ----------
    replaced : (k, F) float64 array
        The replaced centers.
    places : (k,) int64 array
        Their indices among the centers before the split, in ascending order.
    n_new : int
        The number of new centers: the last ones after the split, behind the centers that
        were kept.
    """

    replaced: Floats
    places: NDArray[np.int64]
    n_new: int

    def is_replaced(self, n_after: int) -> NDArray[np.bool_]:
        """Return for each center before the split whether it was replaced."""
        replaced = np.zeros(n_after - self.n_new + len(self.places), np.bool_)
        replaced[self.places] = True
        return replaced


def assign_to_centers(
    points: Floats, centers: Floats, splits: Sequence[CenterSplit] = ()
) -> tuple[NDArray[np.int32], Floats]:
    """Assign each point to its nearest center, or where centers were split to their successors.

    Parameters
    ----------
    points : (n, F) float64 array
    centers : (K, F) float64 array
        The centers after all splits.
    splits : sequence of CenterSplit
        In the order in which they were made.

    Returns
    -------
    labels : (n,) int32 array
        The index of the center of each point; of equally near centers, the first.
    distances : (n,) float64 array
        Squared distances to these centers.
    """
    stages = []
    for split in reversed(splits):
        is_replaced, n_kept = split.is_replaced(len(centers)), len(centers) - split.n_new
        stages.append((is_replaced, n_kept, centers[n_kept:]))
        before = np.empty((len(is_replaced), centers.shape[1]))
        before[is_replaced], before[~is_replaced] = split.replaced, centers[:n_kept]
        centers = before
    labels, distances = find_nearest(points, centers)
    for is_replaced, n_kept, new_centers in reversed(stages):
        rows = np.flatnonzero(is_replaced[labels])
        labels = (np.cumsum(~is_replaced) - 1).astype(np.int32)[labels]
        if len(rows):
            nearest, distances[rows] = find_nearest(points[rows], new_centers)
            labels[rows] = n_kept + nearest
    return labels, distances


def label_by_centers(
    points: Floats, centers: Floats, splits: Sequence[CenterSplit] = ()
) -> NDArray[np.int32]:
    """Return the labels (n,) that `assign_to_centers` returns, faster."""
    return assign_to_centers(points, centers, splits)[0] if splits else find_labels(points, centers)
