"""Background work of the panel *Objects*: the connected objects of a Labels layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.measuring import NAME
from napari_kmeans.objects import Objects, split_objects

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.viewer.from_layers.geometry import AffineMap


@dataclass(frozen=True, eq=False)
class ObjectsWork:
    """Labels to split into connected objects.

    Attributes
    ----------
    labels : array of integers
    cluster : int or None
        The label to split; None splits all labels.
    ignored : tuple of int
        Labels that are left out if all labels are split.
    names : mapping of int to str
        The names of clusters. Their objects have them in the column `name` of the table.
    min_size : int
        Smaller objects are left out, in pixels.
    connectivity : int or None
        As for :func:`napari_kmeans.split_objects`.
    transform : AffineMap
        From the pixels of the labels to the world.
    """

    labels: NDArray[Any]
    cluster: int | None
    min_size: int
    connectivity: int | None
    transform: AffineMap
    ignored: tuple[int, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)

    def run(self, _progress: Report | None = None) -> Objects:
        """Return the objects; areas and centroids in their table are in world units."""
        labels = np.asarray(self.labels)
        if self.cluster is not None:
            labels = np.where(labels == self.cluster, labels, 0)
        elif self.ignored:
            labels = np.where(np.isin(labels, self.ignored), 0, labels)
        objects = split_objects(labels, min_size=self.min_size, connectivity=self.connectivity)
        table = _in_world_units(objects.table, self.transform)
        if self.names:
            names = [self.names.get(label, "") for label in table["cluster"].tolist()]
            table.insert(2, NAME, names)
        return Objects(objects.labels, table)


def _in_world_units(table: pd.DataFrame, transform: AffineMap) -> pd.DataFrame:
    """Return the table of objects with areas and centroids in world units."""
    columns = [f"centroid {axis}" for axis in range(len(transform.origin))]
    world = table[["index", "cluster", "pixels"]].copy()
    world["area"] = table["pixels"] * transform.volume
    world[columns] = transform.apply(table[columns].to_numpy())
    return world
