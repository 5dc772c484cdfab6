"""Background work of the panel *Objects*: the connected objects of a Labels layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.imaging.painting import label_dtype
from napari_kmeans.measuring import NAME, UNIT
from napari_kmeans.objects import Objects, split_objects

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.measuring import PixelSize
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
    size : PixelSize, optional
        The area or volume of a pixel; the table has no areas if it is not known.
    time_axis : int, optional
        The objects of each frame along this axis are found for themselves.
    """

    labels: NDArray[Any]
    cluster: int | None
    min_size: int
    connectivity: int | None
    transform: AffineMap
    ignored: tuple[int, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    size: PixelSize | None = None
    time_axis: int | None = None

    def run(self, _progress: Report | None = None) -> Objects:
        """Return the objects; areas and centroids in their table are in world units."""
        labels = np.asarray(self.labels)
        if self.cluster is not None:
            labels = np.where(labels == self.cluster, labels, 0)
        elif self.ignored:
            labels = np.where(np.isin(labels, self.ignored), 0, labels)
        objects = self._split_frames(labels) if self.time_axis is not None else self._split(labels)
        table = self._in_world_units(objects.table)
        if self.names:
            names = [self.names.get(label, "") for label in table["cluster"].tolist()]
            table.insert(2, NAME, names)
        return Objects(objects.labels, table)

    def _split(self, labels: NDArray[Any]) -> Objects:
        return split_objects(labels, min_size=self.min_size, connectivity=self.connectivity)

    def _split_frames(self, labels: NDArray[Any]) -> Objects:
        """Split each frame by itself. The table has the column `frame`, from 0 on."""
        import pandas as pd

        axis, n_before = self.time_axis, 0
        assert axis is not None
        frames = np.moveaxis(labels, axis, 0)
        arrays, tables = [], []
        for number, frame in enumerate(frames):
            objects = self._split(frame)
            place = {f"centroid {n}": f"centroid {n + (n >= axis)}" for n in range(frame.ndim)}
            table = objects.table.rename(columns=place)
            table["index"] += n_before
            table["frame"] = table[f"centroid {axis}"] = number
            tables.append(table)
            shift = np.where(objects.labels > 0, n_before, 0)
            n_before += len(table)
            arrays.append(shift + objects.labels)
        stack = np.moveaxis(np.stack(arrays), 0, axis).astype(label_dtype(n_before))
        return Objects(stack, pd.concat(tables, ignore_index=True))

    def _in_world_units(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the table of objects with areas and centroids in world units."""
        columns = [f"centroid {axis}" for axis in range(len(self.transform.origin))]
        frame = [name for name in ("frame",) if name in table]
        world = table[["index", "cluster", *frame, "pixels"]].copy()
        if self.size is not None:
            world[self.size.name] = table["pixels"] * self.size.value
            world[UNIT] = self.size.unit
        world[columns] = self.transform.apply(table[columns].to_numpy())
        return world
