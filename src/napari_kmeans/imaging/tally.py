"""Sum the pixels of each cluster: their number, their channels, their cost."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.clustering.center_splits import assign_to_centers
from napari_kmeans.clustering.tiles import TiledCenters, label_and_sum, sum_by_label
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import map_slices, map_threads
from napari_kmeans.feature_space.colors import convert_colors
from napari_kmeans.imaging import kernels
from napari_kmeans.imaging.blocks import block_size
from napari_kmeans.imaging.chunks import blocks_in_memory, map_reduce_lazy, read_piece
from napari_kmeans.imaging.painting import label_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_kmeans.clustering.center_splits import CenterSplit
    from napari_kmeans.feature_space.space import FeatureSpace
    from napari_kmeans.imaging.blocks import Pixels
    from napari_kmeans.imaging.chunks import Batch, Piece
    from napari_kmeans.imaging.histogram import WholeCells
    from napari_kmeans.types import Block, Floats


_COLORS_PER_TASK = 2**18
"""The number of colors that a task sums. Fixed: sums do not depend on the number of threads."""

_KEPT_BYTES = 2**27
"""The maximum size of all labels of dask images in memory.

The limit is for all results together: a caller may keep the results of a loop, or of the
slices of a stack.
"""

_kept_labels: weakref.WeakValueDictionary[int, NDArray[Any]] = weakref.WeakValueDictionary()
"""The labels of dask images that are in memory, by their ids."""


@dataclass(frozen=True, eq=False)
class Tally:
    """The sums over the pixels of each of K clusters.

    Attributes
    ----------
    counts : (K,) int64 array
        The number of pixels.
    sums : (K, C) float64 array
        The sums of the channels, in channel units; see also `Nearest`.
    cost : float
        The sum of the squared distances of all pixels from their centers, in the
        clustering space.
    labels : (n,) integer array or None
        The cluster of each color that was summed, from 0 on, if known.
    whole : WholeCells or None
        The cells of the histogram whose colors all have one cluster. `labels` are then those of
        the other colors.
    pixel_labels : list of integer arrays of the spatial shapes, or None
        For each image the cluster of each pixel, from 1 on, if known; 0 where a pixel is
        left out. None instead of an array for a dask image whose labels are not kept.
    placed : list of (image, block, labels)
        Labels of blocks of dask images, numbered in the same way, if they are kept.
    """

    counts: NDArray[np.int64]
    sums: Floats
    cost: float
    labels: NDArray[Any] | None = None
    whole: WholeCells | None = None
    pixel_labels: list[NDArray[Any] | None] | None = None
    placed: list[tuple[int, Block, NDArray[Any]]] = field(default_factory=list)

    @property
    def means(self) -> Floats:
        """The mean color (K, C) of each cluster; NaN for a cluster without pixels."""
        return np.divide(
            self.sums,
            self.counts[:, None],
            out=np.full_like(self.sums, np.nan),
            where=self.counts[:, None] > 0,
        )


def tally_colors(
    values: NDArray[Any],
    weights: Floats,
    labels: NDArray[np.int32],
    cost: float,
    n_clusters: int,
) -> Tally:
    """Return the tally of weighted colors whose labels are known.

    Parameters
    ----------
    values : (n, C) array
        Colors, in channel units.
    weights : (n,) float64 array
        The number of pixels of each color.
    labels : (n,) int32 array
        The cluster of each color, from 0 on.
    cost : float
        The cost of all pixels.
    n_clusters : int
    """
    colors = convert_colors(values, "rgb", 1.0)

    def add(rows: slice) -> tuple[Floats, Floats]:
        totals, sums = np.zeros(n_clusters), np.zeros((n_clusters, colors.shape[1]))
        kernels.add_by_label(labels[rows], colors[rows], weights[rows], totals, sums)
        return totals, sums

    totals, sums = zip(*map_slices(add, max(len(colors), 1), _COLORS_PER_TASK), strict=True)
    counts = np.rint(np.sum(totals, axis=0)).astype(np.int64)
    return Tally(counts, np.sum(sums, axis=0), cost, labels)


def tally_pixels(
    images: Sequence[Pixels],
    centers: Floats,
    space: FeatureSpace,
    step: Step = ignore,
    splits: tuple[CenterSplit, ...] = (),
) -> Tally:
    """Return the tally of all pixels of images that are not left out.

    `step` is called after each block or batch.
    """
    dtype = label_dtype(len(centers))
    n_lazy = sum(pixels.n_pixels for pixels in images if pixels.is_lazy)
    # The labels of a dask image may not fit in memory. Those of colors that are not blurred
    # are found again faster than they are read.
    keeps_lazy = not space.is_pointwise and _have_room(n_lazy * dtype.itemsize)
    nearest = Nearest(centers, splits=splits, keeps_labels=keeps_lazy)
    pixel_labels = [
        None if pixels.is_lazy and not keeps_lazy else np.zeros(pixels.shape, dtype)
        for pixels in images
    ]

    def tally(place: tuple[int, Block]) -> Tally:
        piece = read_piece(images, place, space)
        return write_labels(pixel_labels, piece, nearest.tally(piece))

    tallies = map_threads(tally, blocks_in_memory(images), step)
    tallies += map_reduce_lazy(images, nearest, add_tallies, step, space)
    total = add_tallies(tallies)
    for image, block, labels in total.placed:
        target = pixel_labels[image]
        assert target is not None
        target[block] = labels
    for pixels, kept in zip(images, pixel_labels, strict=True):
        if pixels.is_lazy and kept is not None:
            _kept_labels[id(kept)] = kept
    return replace(total, pixel_labels=pixel_labels, placed=[])


def write_labels(pixel_labels: Sequence[NDArray[Any] | None], piece: Piece, tally: Tally) -> Tally:
    """Write the labels of a block to those of its image, and return its tally without them."""
    ((image, block),) = piece.places
    target = pixel_labels[image]
    assert target is not None
    assert tally.labels is not None
    own = target[block].reshape(-1)
    if piece.kept is None:
        np.add(tally.labels, 1, out=own, casting="unsafe")
    else:
        own[piece.kept] = tally.labels + 1
    return replace(tally, labels=None)


def _have_room(size: int) -> bool:
    """Return whether labels of a number of bytes can be kept besides those in memory."""
    return size + sum(array.nbytes for array in list(_kept_labels.values())) <= _KEPT_BYTES


@dataclass(frozen=True, eq=False)
class Nearest:
    """The leaf that assigns pixels to their nearest centers and tallies them.

    Attributes
    ----------
    centers : (K, F) float64 array
        Centers in the clustering space.
    in_space : bool, default False
        If True, sum the coordinates in the clustering space (K, F) instead of the
        channels (K, C).
    splits : tuple of CenterSplit
        As in `assign_to_centers`.
    keeps_labels : bool, default False
        Whether tallies have the labels of the pixels, in `placed`.
    """

    centers: Floats
    in_space: bool = False
    splits: tuple[CenterSplit, ...] = ()
    keeps_labels: bool = False

    def __call__(self, batch: Batch) -> Tally:
        """Return the tally of a batch."""
        return add_tallies([self._tally_and_place(piece) for piece in batch.pieces])

    def _tally_and_place(self, piece: Piece) -> Tally:
        tally = self.tally(piece)
        assert tally.labels is not None
        placed = []
        if self.keeps_labels:
            labels = np.zeros(len(piece.values), label_dtype(len(self.centers)))
            if piece.kept is None:
                np.add(tally.labels, 1, out=labels, casting="unsafe")
            else:
                labels[piece.kept] = tally.labels + 1
            ends = np.cumsum([block_size(block) for _, block in piece.places])
            parts = np.split(labels, ends[:-1])
            placed = [
                (image, block, part.reshape([side.stop - side.start for side in block]))
                for (image, block), part in zip(piece.places, parts, strict=True)
            ]
        return replace(tally, labels=None, placed=placed)

    def tally(self, piece: Piece) -> Tally:
        """Return the tally of the pixels of a piece that are not left out, with their labels."""
        points, n_clusters = piece.coordinates, len(self.centers)
        values = points if self.in_space else piece.inside
        if self.splits:
            labels, distances = assign_to_centers(points, self.centers, self.splits)
            cost, sums = float(distances.sum()), sum_by_label(values, labels, n_clusters)
        else:
            labels = np.empty(len(points), label_dtype(n_clusters))
            sums, cost = label_and_sum(points, self._tiled, labels)
            if values is not points:
                sums = sum_by_label(values, labels, n_clusters)
        return Tally(sums.counts, sums.totals, cost, labels)

    @cached_property
    def _tiled(self) -> TiledCenters:
        return TiledCenters(self.centers)


def add_tallies(tallies: list[Tally]) -> Tally:
    """Return the sum of tallies, without the labels."""
    return Tally(
        np.sum([tally.counts for tally in tallies], axis=0),
        np.sum([tally.sums for tally in tallies], axis=0),
        float(np.sum([tally.cost for tally in tallies])),
        placed=[item for tally in tallies for item in tally.placed],
    )


def weighted_means(values: Floats, weights: NDArray[Any], groups: NDArray[np.int64]) -> Floats:
    """Return the weighted mean (G, C) of the rows (n, C) of each group 0…G-1.

    If all weights of a group are 0, its rows get equal weights.
    """
    weights = np.where(np.bincount(groups, weights)[groups] > 0, weights, 1.0)
    sums = [np.bincount(groups, weights * column) for column in values.T]
    return np.stack(sums, axis=-1) / np.bincount(groups, weights)[:, None]
