"""Point clouds and images for the tests of the color space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest

from napari_kmeans.viewer.widgets.point_cloud import PointCloud

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def random_cloud() -> Callable[..., PointCloud]:
    """A function that makes a cloud of random points. Its arrays may be changed."""

    def make(n_points: int, n_clusters: int = 4) -> PointCloud:
        rng = np.random.default_rng(0)
        points, centers = rng.random((n_points, 3)), rng.random((n_clusters, 3))
        return PointCloud(
            points=points,
            weights=rng.random(n_points) + 0.1,
            labels=((points[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1) + 1,
            centers=centers,
            colors=rng.random((n_points, 3)),
            cluster_colors=rng.random((n_clusters, 3)),
            axis_names=("p", "q", "r"),
        )

    return make


@pytest.fixture
def lazy_floats(quadrants: np.ndarray) -> da.Array:
    """A lazy image of floats, whose colors are neither counted nor kept by method full."""
    return da.from_array(quadrants.astype(np.float32), chunks=(10, 10, 3))
