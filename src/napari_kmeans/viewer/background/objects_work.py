"""Find the connected objects of a Labels layer."""

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
    """Labels, and how to part them into objects; `cluster` None takes all."""

    labels: NDArray[Any]
    cluster: int | None
    min_size: int
    connectivity: int | None
    transform: WorldTransform

    def run(self, _progress: Report | None = None) -> Objects:
        """Find the objects, with areas and centroids in the world in their table."""
        labels = np.asarray(self.labels)
        if self.cluster is not None:
            labels = np.where(labels == self.cluster, labels, 0)
        found = split_objects(labels, min_size=self.min_size, connectivity=self.connectivity)
        return Objects(found.labels, self.transform.table(found.table))


@dataclass(frozen=True, eq=False)
class WorldTransform:
    """Where the pixels of a layer are in the world: origin (D,) and axes (D, D), in its columns."""

    origin: NDArray[np.float64]
    axes: NDArray[np.float64]

    @classmethod
    def of(cls, layer: Labels) -> WorldTransform:
        """Return where the pixels of a layer are now."""
        origin = np.array(layer.data_to_world(np.zeros(layer.ndim)))
        steps = [np.array(layer.data_to_world(step)) - origin for step in np.eye(layer.ndim)]
        return cls(origin, np.stack(steps, axis=1))

    def table(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the table of objects with areas and centroids in the world."""
        world = table[["index", "cluster", "pixels"]].copy()
        world["area"] = table["pixels"] * abs(np.linalg.det(self.axes))
        names = [f"centroid {axis}" for axis in range(len(self.origin))]
        world[names] = table[names].to_numpy() @ self.axes.T + self.origin
        return world
