"""The colors of an image as weighted points in the space of the clustering."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_kmeans.clustering.center_splits import assign_to_centers
from napari_kmeans.feature_space.colors import find_space
from napari_kmeans.imaging.colors import display_colors
from napari_kmeans.measuring import channel_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_kmeans.segmentation import Segmentation
    from napari_kmeans.types import Floats

    ToScreen: TypeAlias = Callable[[Floats], Floats]

_BINS = 128
"""Number of bins of the curve that shows a single channel."""


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Weighted points in the space of the clustering, and the clusters of the points.

    Attributes
    ----------
    points : (m, 3) float64 array
    weights : (m,) float64 array
        Positive.
    labels : (m,) integer array
        The nearest center of each point, from 1 to K.
    centers : (K, 3) float64 array
    colors : (m, 3) float64 array
        The display color of each point, from 0 to 1.
    cluster_colors : (K, 3) float64 array
        The display color of the cluster of each center, from 0 to 1.
    axis_names : sequence of 3 str
        An empty name stands for a missing axis.
    channels : sequence of C str
        The names of all channels if there are more than three, otherwise empty. Then
        `on_axes` shows others of them.
    in_channels : tuple of (m, C) and (K, C) float64 arrays, or None
        The points and the centers in all channels.
    """

    points: Floats
    weights: Floats
    labels: NDArray[np.integer[Any]]
    centers: Floats
    colors: Floats
    cluster_colors: Floats
    axis_names: Sequence[str]
    channels: Sequence[str] = ()
    in_channels: tuple[Floats, Floats] | None = None

    @property
    def n_axes(self) -> int:
        """The number of axes: 1 for a single channel, 2 for two channels, otherwise 3."""
        return sum(bool(name) for name in self.axis_names)

    @property
    def bounds(self) -> Floats:
        """The smallest and the largest coordinates of all points and centers, (2, 3)."""
        everything = np.vstack([self.points, self.centers])
        return np.array([everything.min(axis=0), everything.max(axis=0)])

    @property
    def size(self) -> float:
        """The length of the longest edge of the bounds, or 1 if all points coincide."""
        return float(np.ptp(self.bounds, axis=0).max()) or 1.0

    def take(self, indices: NDArray[np.integer[Any]], weights: Floats) -> PointCloud:
        """Return a cloud of some of the points, with new weights."""
        everywhere = self.in_channels
        return replace(
            self,
            points=self.points[indices],
            weights=weights,
            labels=self.labels[indices],
            colors=self.colors[indices],
            in_channels=None if everywhere is None else (everywhere[0][indices], everywhere[1]),
        )

    def on_axes(self, axes: Sequence[int]) -> PointCloud:
        """Return the cloud along three of its `channels`, given by their indices."""
        assert self.in_channels is not None
        points, centers = self.in_channels
        return replace(
            self,
            points=points[:, axes],
            centers=centers[:, axes],
            axis_names=tuple(self.channels[axis] for axis in axes),
        )

    def thin(self, n_points: int) -> PointCloud:
        """Return a cloud of at most `n_points` points that represents all points.

        The total weight is divided into `n_points` equal shares, and one point
        is taken from each share. A point that is taken for several shares gets
        the weight of all of them.
        """
        if len(self.points) <= n_points:
            return self
        sums = np.cumsum(self.weights)
        middles = (np.arange(n_points) + 0.5) / n_points * sums[-1]
        indices, counts = np.unique(np.searchsorted(sums, middles), return_counts=True)
        return self.take(indices, counts * (sums[-1] / n_points))

    def as_curve(self) -> PointCloud:
        """Return the distribution of the weights along the first axis as a curve.

        The first coordinate of each point is its place on the axis. The third
        coordinate is the weight there, scaled to half of the size of the cloud.
        """
        low, size = self.bounds[0, 0], self.size
        bins = ((self.points[:, 0] - low) / size * (_BINS - 1)).astype(np.intp)
        totals = np.bincount(bins, self.weights, _BINS)
        # Each bin has the color and the label of its heaviest point.
        order = np.argsort(-self.weights, kind="stable")
        used, first = np.unique(bins[order], return_index=True)
        places = low + used / (_BINS - 1) * size
        heights = totals[used] / totals.max() * size / 2
        return replace(
            self.take(order[first], np.ones(len(used))),
            points=np.column_stack([places, np.zeros_like(places), heights]),
            axis_names=(self.axis_names[0], "", "pixels"),
        )


def make_point_cloud(segmentation: Segmentation, to_screen: ToScreen | None = None) -> PointCloud:
    """Return the cloud of the colors of all pixels, in the space of the clustering.

    Parameters
    ----------
    segmentation : Segmentation
        If the segmentation has no `colors`, the centers are the points, with
        the numbers of pixels as weights. The pixels of a merged cluster are
        divided equally among its centers.
    to_screen : callable, optional
        A function from channel values (n, C) to display colors (n, 3) from 0
        to 1. None takes the display colors of the model.

    Returns
    -------
    PointCloud
        With the first three channels, if there are more.
    """
    model, centers = segmentation.model, segmentation.model.cluster_centers_
    clusters = model.center_classes
    if segmentation.colors is None:
        pixels = segmentation.table["pixels"].to_numpy(np.float64)
        values, weights = model.palette[clusters], (pixels / np.bincount(clusters))[clusters]
        points = centers
    else:
        values, weights = segmentation.colors
        points = np.asarray(model.space.points(values), np.float64)
    if to_screen is None:
        to_screen = partial(display_colors, rgb=model.rgb, dtype=model.dtype, palette=model.palette)
    space = find_space(model.color_space)
    axes = tuple(space.axes or channel_names(model))
    names = (*axes, "", "")
    # Contrasts and places are not coordinates of colors.
    shown, shown_centers = points[:, : len(axes)], centers[:, : len(axes)]
    # The third axis of the view is vertical.
    order = [*(axis for axis in range(3) if axis != space.vertical), space.vertical]
    return PointCloud(
        points=_pad_to_three_axes(shown)[:, order],
        weights=weights,
        labels=assign_to_centers(points, centers, model.splits)[0] + 1,
        centers=_pad_to_three_axes(shown_centers)[:, order],
        colors=to_screen(values[:, : model.n_channels]),
        # A merged cluster has several centers. Each of them gets the color of the cluster.
        cluster_colors=model.with_own_colors(to_screen(model.palette))[clusters],
        axis_names=tuple(names[axis] for axis in order),
        channels=axes if len(axes) > 3 else (),
        in_channels=(shown, shown_centers) if len(axes) > 3 else None,
    )


def _pad_to_three_axes(points: Floats) -> Floats:
    """Return the first three coordinates of points (n, F), filled up with zeros, (n, 3)."""
    return np.pad(points[:, :3], ((0, 0), (0, max(0, 3 - points.shape[1]))))
