"""Background work of the panel Objects: the connected objects of a Labels layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.objects import Objects, split_objects

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_kmeans.execution.progress import Report


@dataclass(frozen=True, eq=False)
class ObjectsWork:
    """Labels to split into connected objects.

    Attributes
    ----------
    labels : array of integers
    cluster : int or None
        The label to split; None splits all labels.
    min_size : int
        Smaller objects are left out, in pixels.
    connectivity : int or None
        As for :func:`napari_kmeans.split_objects`.
    transform : WorldTransform
        From the pixels of the labels to the world.
    """

    labels: NDArray[Any]
    cluster: int | None
    min_size: int
    connectivity: int | None
    transform: WorldTransform

    def run(self, _progress: Report | None = None) -> Objects:
        """Return the objects; areas and centroids in their table are in world units."""
        labels = np.asarray(self.labels)
        if self.cluster is not None:
            labels = np.where(labels == self.cluster, labels, 0)
        objects = split_objects(labels, min_size=self.min_size, connectivity=self.connectivity)
        return Objects(objects.labels, self.transform.to_world(objects.table))


@dataclass(frozen=True, eq=False)
class WorldTransform:
    """The affine map from the pixels of a layer to the world.

    Attributes
    ----------
    origin : (D,) array
        World coordinates of the first pixel.
    axes : (D, D) array
        Column i is the step in the world from one pixel to the next along axis i.
    """

    origin: NDArray[np.float64]
    axes: NDArray[np.float64]

    @classmethod
    def of(cls, layer: Labels) -> WorldTransform:
        """Return the current map of a layer; later moves of the layer do not change it."""
        origin = np.array(layer.data_to_world(np.zeros(layer.ndim)))
        steps = [np.array(layer.data_to_world(step)) - origin for step in np.eye(layer.ndim)]
        return cls(origin, np.stack(steps, axis=1))

    def to_world(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a table of objects with areas and centroids in world units."""
        world = table[["index", "cluster", "pixels"]].copy()
        world["area"] = table["pixels"] * abs(np.linalg.det(self.axes))
        columns = [f"centroid {axis}" for axis in range(len(self.origin))]
        world[columns] = table[columns].to_numpy() @ self.axes.T + self.origin
        return world
