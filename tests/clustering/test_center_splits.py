"""Assignment to centers some of which replaced others, against a search center by center."""

from __future__ import annotations

import numpy as np

from napari_kmeans.clustering.center_splits import CenterSplit, assign_to_centers


def nearest(point, centers):
    distances = [float(((point - center) ** 2).sum()) for center in centers]
    return distances.index(min(distances))


def test_points_of_replaced_centers_get_their_nearest_successor():
    """Keep for each point the coordinates of its center, and replace them split by split."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(2000, 2))
    centers = rng.normal(size=(6, 2))
    own = [centers[nearest(point, centers)] for point in points]
    splits = []
    for places, n_new in (([1, 4], 3), ([0], 2), ([2, 5, 7], 1), ([5, 4], 4)):
        places = np.sort(places)
        old, new = centers[places], rng.normal(size=(n_new, 2))
        splits.append(CenterSplit(old, places, n_new))
        centers = np.concatenate([np.delete(centers, places, axis=0), new])
        own = [
            new[nearest(point, new)] if (center == old).all(axis=1).any() else center
            for point, center in zip(points, own, strict=True)
        ]
        labels, distances = assign_to_centers(points, centers, splits)
        np.testing.assert_array_equal(centers[labels], own)
        np.testing.assert_allclose(distances, ((points - own) ** 2).sum(axis=1))
    # The nearest of all centers is another one for many points.
    assert np.mean([nearest(point, centers) for point in points] != labels) > 0.1


def test_no_points_and_no_splits():
    centers = np.array([[0.0], [1.0]])
    split = CenterSplit(np.array([[5.0]]), np.array([1]), 1)
    labels, distances = assign_to_centers(np.empty((0, 1)), centers, [split])
    assert labels.shape == distances.shape == (0,)
    labels, distances = assign_to_centers(np.array([[0.5], [0.9], [9.0]]), centers)
    assert labels.tolist() == [0, 1, 1]
    np.testing.assert_allclose(distances, [0.25, 0.01, 64])
