"""Find the pixels of each part of a class that is split, in the layers of a result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.execution.progress import part_of
from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.imaging.label_tally import tally_classes
from napari_kmeans.imaging.painting import label_dtype
from napari_kmeans.imaging.tally import Tally
from napari_kmeans.measuring import COLOR_COLUMN, cluster_table
from napari_kmeans.options import MAX_CLUSTERS
from napari_kmeans.splitting import split_anew
from napari_kmeans.viewer.background.paint_levels import paint_levels
from napari_kmeans.viewer.to_layers.apply_model import tally_image

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from napari_kmeans.execution.progress import Report
    from napari_kmeans.model import KMeansModel
    from napari_kmeans.viewer.background.task import Task


@dataclass(eq=False)
class PixelSplit:
    """A split of a label into several that can be applied to label data and reverted.

    Attributes
    ----------
    label : int
        The label that is split. It is one of the parts.
    parts : (m,) integer array
        The labels that its pixels get.
    painted : integer array
        The part of each pixel; 0 for pixels that keep their label in any case.
    """

    label: int
    parts: NDArray[np.int64]
    painted: Any

    def apply(self, data: Any) -> Any:
        """Return label data with the parts; only pixels that have `label` change."""
        dtype = np.promote_types(data.dtype, label_dtype(int(self.parts.max())))
        self._keep((data == self.label) & (self.painted > 0), self.painted)
        return _choose(self.painted > 0, self.painted, data).astype(dtype, copy=False)

    def revert(self, data: Any) -> Any:
        """Return label data in which the pixels that the split has painted have `label` again.

        Pixels that were painted over with another label than that of a part keep it. If they
        got another part, they get the same one when the split is applied again.
        """
        self._keep((self.painted > 0) & _is_in(data, self.parts), data)
        return _choose(self.painted > 0, data.dtype.type(self.label), data)

    def _keep(self, is_part: Any, parts: Any) -> None:
        """Keep the parts of some pixels, and no part of all other pixels."""
        dtype = self.painted.dtype
        self.painted = _choose(is_part, parts, dtype.type(0)).astype(dtype, copy=False)


@dataclass(frozen=True, eq=False)
class ClassSplit:
    """The outcome of `SplitWork`.

    Attributes
    ----------
    label : int
        The label of the class.
    model : KMeansModel
        The model after the split.
    rows : pandas.DataFrame
        The rows of the parts in the table of clusters, without percentages and colors.
    pixels : list of PixelSplit
        One for each level.
    """

    label: int
    model: KMeansModel
    rows: pd.DataFrame
    pixels: list[PixelSplit]


@dataclass(frozen=True, eq=False)
class SplitAnewWork:
    """A class to cluster inside itself, as work for the background.

    Attributes
    ----------
    label, n_clusters : int
        The class, and the number of new classes.
    before, task, labels
        As in `SplitWork`.
    """

    label: int
    n_clusters: int
    before: KMeansModel
    task: Task
    labels: list[Any]

    def run(self, progress: Report | None = None) -> ClassSplit:
        """Cluster the class at the level of the fit, and paint its pixels at all levels."""
        before, task, source = self.before, self.task, self.task.source
        after = split_anew(
            task.fitted_part,
            before.with_blur(source.blur_at(before.blur, source.level)),
            self.label,
            self.n_clusters,
            mask=None if task.masks is None else task.masks[source.level],
            method=task.options.method,
            random_state=task.options.random_state,
            progress=part_of(progress, 0, 0.6),
        )
        after = after.with_blur(before.blur)
        work = SplitWork(self.label, before, after, task, self.labels)
        return work.run(part_of(progress, 0.6, 1))


@dataclass(frozen=True, eq=False)
class SplitWork:
    """A class to split in the layers of a result, as work for the background.

    Only pixels that have the label of the class change. Of these, pixels that the model
    gives another class, because they were painted by hand, keep the label.

    Attributes
    ----------
    label : int
        The label of the class. One of its parts keeps it.
    before, after : KMeansModel
        The model before and after the split.
    task : Task
        The run that made the layers.
    labels : list of arrays
        The data of each level of the Labels layer.
    """

    label: int
    before: KMeansModel
    after: KMeansModel
    task: Task
    labels: list[Any]

    def run(self, progress: Report | None = None) -> ClassSplit:
        """Paint the pixels of the class with the model after the split.

        Parts get labels that no pixel of the clustered slices has, such as one painted by
        hand. Only labels in memory are searched.
        """
        return replace(self, after=self._with_unused_labels())._paint_parts(progress)

    def _with_unused_labels(self) -> KMeansModel:
        """Return the model after the split with other labels for parts that pixels have."""
        arrays = [
            labels[self._index(level)]
            for level, labels in enumerate(self.labels)
            if not is_dask(labels)
        ]

        def is_used(label: int) -> bool:
            return any((array == label).any() for array in arrays)

        classes = self.after.classes
        numbers = (number for number in range(1, MAX_CLUSTERS + 1) if number not in classes.labels)
        free = (number for number in numbers if not is_used(number))
        used = [part for part in self._parts.tolist() if part != self.label and is_used(part)]
        if not used:
            return self.after
        return self.after.with_classes(classes.renumber({part: next(free, part) for part in used}))

    def _paint_parts(self, progress: Report | None) -> ClassSplit:
        source = self.task.source
        # A level of labels in memory is painted now, also if its image is lazy.
        painted = paint_levels(self.labels, self._paint, progress=part_of(progress, 0, 0.9))
        splits = [
            PixelSplit(self.label, self._parts, self._in_stack(level, labels, self.labels[level]))
            for level, labels in enumerate(painted)
        ]
        tally = self._tally(splits[source.level])
        table = cluster_table(self.after, tally.counts, means=tally.means)
        rows = table[table["index"].isin(self._parts)].drop(columns=["percent", COLOR_COLUMN])
        return ClassSplit(self.label, self.after, rows, splits)

    @property
    def _parts(self) -> NDArray[np.int64]:
        """The labels of the parts, in ascending order."""
        others = {*self.before.classes.labels} - {self.label}
        return np.array([label for label in self.after.labels if label not in others])

    def _index(self, level: int) -> Any:
        """Return the index of the clustered slices in the data of a level."""
        index = self.task.source.index_of(level)
        return ... if index is None else index

    def _paint(self, level: int, progress: Report | None) -> Any:
        """Return the part of each clustered pixel of a level."""
        source, index = self.task.source, self._index(level)
        model = self._at_level(level)
        # The pixels were decided: one between two parts gets the nearer part.
        model = model.with_cleaning(replace(model.cleaning, min_confidence=0.0))
        is_class = self.labels[level][index] == self.label
        # Pixels of other classes need no search, but a blur needs the pixels around.
        mask = is_class
        if not model.space.is_pointwise:
            mask = None if self.task.masks is None else self.task.masks[level]
        pixels = model.open(source.levels[level][index], mask)
        labels, _ = model.paint(pixels, progress, recolored=False)
        is_part = np.zeros(int(model.labels[-1]) + 1, np.bool_)
        is_part[self._parts] = True
        painted = _choose(is_class & _look_up(is_part, labels), labels, labels.dtype.type(0))
        if is_dask(painted) and not is_dask(self.labels[level]):
            return painted.compute()
        return painted

    def _at_level(self, level: int) -> KMeansModel:
        """Return the model after the split for a level."""
        return self.task.source.model_at(self.after, level, is_own=not self.task.applied)

    def _in_stack(self, level: int, painted: Any, like: Any) -> Any:
        """Return the parts of the clustered slices in their place; 0 in other slices."""
        index = self._index(level)
        if index is ...:
            return painted
        whole = np.zeros_like(like, dtype=painted.dtype)
        whole[index] = painted
        return whole

    def _tally(self, split: PixelSplit) -> Tally:
        """Return the pixels of each class after the split, at the counted level.

        Only those of the parts are used. Labels of lazy images are not read, unless the model
        cleans them: the pixels of their centers were counted in the fit, or are counted in the
        image if the model was applied.
        """
        after, source = self.after, self.task.source
        own, image = self._at_level(source.level), source.levels[source.level]
        if not is_dask(split.painted) or not own.cleaning.is_off:
            index = self._index(source.level)
            painted, data = split.painted[index], self.labels[source.level][index]
            # Pixels of the class that are in no part keep its label.
            is_rest = (painted == 0) & (data == self.label)
            labels = _choose(is_rest, np.int64(self.label), painted)
            return tally_classes(own.labels, own.open(image[index]), labels)
        if self.task.applied:
            return tally_image(own, image, split.painted, None)
        assert after.center_pixels is not None
        counts = np.bincount(after.center_classes, after.center_pixels).astype(np.int64)
        return Tally(counts, counts[:, None] * after.palette, 0.0)


def _choose(condition: Any, chosen: Any, other: Any) -> Any:
    """Return `numpy.where` of numpy or dask arrays."""
    if any(map(is_dask, (condition, chosen, other))):
        import dask.array as da

        return da.where(condition, chosen, other)
    return np.where(condition, chosen, other)


def _is_in(data: Any, labels: NDArray[np.int64]) -> Any:
    """Return `numpy.isin` of numpy or dask arrays."""
    if is_dask(data):
        import dask.array as da

        return da.isin(data, labels)
    return np.isin(data, labels)


def _look_up(values: NDArray[Any], labels: Any) -> Any:
    """Return ``values[labels]`` of numpy or dask labels."""
    if not is_dask(labels):
        return values[labels]
    return labels.map_blocks(values.__getitem__, dtype=values.dtype)
