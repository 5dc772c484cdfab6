"""Smooth labels: neighboring pixels prefer the same class."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_kmeans.clustering.tiles import WIDTH, Tile, TiledCenters, exact_dtype
from napari_kmeans.execution.progress import Step, ignore
from napari_kmeans.execution.threads import map_threads
from napari_kmeans.imaging import smoothing_kernels as kernels
from napari_kmeans.imaging.volumes import MAX_AXES, Volumes, neighbor_steps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

N_SWEEPS = 8
"""Sweeps over the checkerboard. Later sweeps change less than one pixel of a thousand in
phantoms of noise."""

_PASSES_AT_ONCE = 8
"""Passes of a task: four sweeps of an image, two of a volume. With more, the tasks would have to be
larger."""

_BAND_PIXELS = 2**18
"""Approximate number of pixels of a task."""

_MEANS = 2**13
"""Means that are searched at a time, in buffers that stay in the cache."""

_SUM_TYPES = {np.dtype(np.uint8).str: np.uint16, np.dtype(np.uint16).str: np.int32}
"""Dtypes for the sums of 27 values, by the dtype of the values; float64 for all others."""

Part = tuple[tuple[int, int], tuple[int, int]]
"""The bounds and moves of `sweep`."""


@dataclass(frozen=True, eq=False)
class Smoother:
    """The classes of pixels, and what a pair of neighbors of different classes costs.

    The labels are near a local minimum of the energy, which can be above the minimum of all
    labelings. The energy is the sum over all pixels of d² / (2 σ²), where d is the distance from
    the class, plus the weight of each pair of neighbors of different classes. Two pixels at the
    distance r have the weight `smoothing` times r0 / r, where r0 is the distance of the nearest
    neighbors. A pixel has up to 8 neighbors in an image and 26 in a volume.

    Attributes
    ----------
    centers : (M, F) float64 array
    classes : (M,) int64 array
        The class of each center, from 0 to K - 1. The distance from a class is that from the
        nearest of its centers.
    variance : float
        σ²: the variance of the points within their clusters, per feature.
    smoothing : float
    spacing : tuple of float
        The distance of neighbors along each axis of the labels; 0 for an axis along which
        pixels are not neighbors, such as time.
    is_nearest : bool, default True
        Whether the labels to smooth are those of the nearest classes. Then fewer classes have to
        be compared. After a center was split, a pixel may have the label of a class that is not
        the nearest.

    Notes
    -----
    The energy is a Potts model [1]_. Each sweep of iterated conditional modes [2]_ gives each pixel
    the label of least energy, given its neighbors. Pixels of one color of a checkerboard are no
    neighbors, so that their order does not matter: the result does not depend on blocks and
    threads. The start decides how good a minimum the sweeps find. A pixel starts from the nearest
    class of the mean of the pixel and its neighbors, unless neighbors of its own class have more
    than half of the weight: then it cannot change before they do. In a phantom of six classes with
    a noise of 45 levels, a start from such means leads to an energy of 769.7 thousand, a start from
    the nearest classes of the pixels to 777.7, and twelve sweeps of a mean field [3]_ to 767.4 in
    four times the time. If all pixels with a neighbor of another class started from means, the
    energy would differ by at most 0.03 %. Because of the start, the energy can end above that of
    the nearest classes: in 13 of 3,206 small random images, by 20 % at worst.

    References
    ----------
    .. [1] S. Geman, D. Geman, "Stochastic relaxation, Gibbs distributions, and the Bayesian
       restoration of images", :doi:`10.1109/TPAMI.1984.4767596`.
    .. [2] J. Besag, "On the statistical analysis of dirty pictures",
       :doi:`10.1111/j.2517-6161.1986.tb01412.x`.
    .. [3] J. Zhang, "The mean field theory in EM procedures for Markov random fields",
       :doi:`10.1109/78.157297`.
    """

    centers: Floats
    classes: NDArray[np.int64]
    variance: float
    smoothing: float
    spacing: tuple[float, ...]
    is_nearest: bool = True

    @property
    def is_off(self) -> bool:
        """Whether the labels stay the same."""
        return self.smoothing == 0 or self.variance <= 0 or not any(self.spacing)

    @property
    def axes(self) -> list[int]:
        """The axes along which pixels are neighbors."""
        return [axis for axis, distance in enumerate(self.spacing) if distance]

    @property
    def margins(self) -> tuple[int, ...]:
        """The distance in pixels of the neighbors of a pixel along each axis: 0 or 1."""
        return tuple(int(distance > 0 and not self.is_off) for distance in self.spacing)

    @property
    def reach(self) -> tuple[int, ...]:
        """The largest distance in pixels, along each axis, of pixels that can affect a label.

        Within a sweep, a change passes from color to color of the checkerboard: along the last
        axis at most 2^n times for n axes, and along each earlier axis half as often.
        """
        reach, n_axes = [0] * len(self.spacing), len(self.axes)
        for place, axis in enumerate(self.axes):
            reach[axis] = N_SWEEPS * 2 ** (place + 1) + 1 if n_axes else 0
        return tuple(reach)

    def smooth(
        self,
        points: NDArray[Any],
        nearest: NDArray[Any],
        origin: tuple[int, ...] | None = None,
        step: Step = ignore,
    ) -> NDArray[Any]:
        """Return the smoothed labels of an image or of a window of it.

        Parameters
        ----------
        points : (..., F or more) array
        nearest : (...) array of unsigned integers
            The label of the nearest class of each pixel, from 1 to K; 0 where a pixel is left out.
        origin : tuple of int, optional
            The place of the window in the image.
        step : callable
            Called with 0 after each part of the work.
        """
        if self.is_off or not nearest.size:
            return nearest
        volumes = Volumes(nearest.shape, tuple(self.axes))
        moved, moved_points = volumes.split(nearest), volumes.split(points)
        starts = origin or (0,) * nearest.ndim
        parity = volumes.pad([starts[axis] % 2 for axis in self.axes], 0)
        if len(moved) == 1:
            return volumes.join(self._smooth_volume(moved_points[0], moved[0], parity, step))
        smoothed = np.empty_like(moved)
        for number, volume in enumerate(moved):
            smoothed[number] = self._smooth_volume(moved_points[number], volume, parity, step)
        return volumes.join(smoothed)

    def _smooth_volume(
        self, points: NDArray[Any], nearest: NDArray[Any], origin: tuple[int, ...], step: Step
    ) -> NDArray[Any]:
        """Return the smoothed labels of a volume (Z, Y, X), whose axes all have neighbors."""
        order = np.argsort(self.classes, kind="stable")
        centers = np.ascontiguousarray(self.centers[order], np.float64)
        steps, weights = self.neighbors()
        steps = np.pad(steps[:, self.axes], [(0, 0), (MAX_AXES - len(self.axes), 0)])
        volume = _Volume(self, centers, self.classes[order], steps, weights, points, nearest)
        bands = volume.split_rows()
        for stage in (volume.find_start, volume.unsettle):
            map_threads(stage, bands)
            step(0)
        colors = volume.list_colors(origin)
        at_once = max(1, _PASSES_AT_ONCE // len(colors))
        for first in range(0, N_SWEEPS, at_once):
            passes = np.concatenate([colors] * min(at_once, N_SWEEPS - first))
            for parts in volume.split_slabs(len(passes)):
                map_threads(partial(volume.sweep, passes, (origin[2] + 1) % 2), parts)
                step(0)
        smoothed = np.empty_like(nearest, order="C")
        map_threads(partial(volume.copy_labels, smoothed), bands)
        return smoothed

    def neighbors(self) -> tuple[NDArray[np.int64], Floats]:
        """Return the steps to the neighbors of a pixel along each axis, and the weights of pairs.

        Returns
        -------
        steps : (n, axes of the labels) int64 array
        weights : (n,) float64 array
        """
        steps = neighbor_steps([distance > 0 for distance in self.spacing])
        lengths = np.sqrt(((steps * self.spacing) ** 2).sum(axis=1))
        nearest = min(self.spacing[axis] for axis in self.axes)
        return steps, self.smoothing * nearest / lengths


class _Volume:
    """The labels of a volume (Z, Y, X) while they are smoothed.

    Parameters
    ----------
    smoother : Smoother
    centers : (M, F) float64 array
        In the order of their classes.
    classes : (M,) int64 array
    offsets : (n, 3) int64 array
        The steps to the neighbors of a pixel.
    weights : (n,) float64 array
        The weights of the pairs.
    points : (Z, Y, X, F or more) array
    nearest : (Z, Y, X) array of unsigned integers
    """

    def __init__(
        self,
        smoother: Smoother,
        centers: Floats,
        classes: NDArray[np.int64],
        offsets: NDArray[np.int64],
        weights: Floats,
        points: NDArray[Any],
        nearest: NDArray[Any],
    ) -> None:
        self._smoother = smoother
        self._classes = centers, np.searchsorted(classes, np.arange(classes.max() + 2))
        self._center_labels, self._tiled = classes + 1, TiledCenters(centers)
        self._offsets, self._points, self._nearest = offsets, points, nearest
        depth, n_rows, self._length = nearest.shape
        self._pad = int(-offsets[:, 0].min())
        shape = depth + 2 * self._pad, n_rows + 2, -(-(self._length + 2) // 8) * 8
        self._padded, self._marks = np.zeros(shape, nearest.dtype), np.zeros(shape, np.uint8)
        self._active = np.zeros((*shape[:2], -(-shape[2] // 512) * 8), np.uint8)
        self._steps = offsets @ [shape[1] * shape[2], shape[2], 1]
        self._weight_sums = _sum_sets(weights)
        # Rounded down, so that they sum up to one byte at most.
        self._shares = np.floor(255 * weights / weights.sum()).astype(np.uint8)
        # Slabs are divided along the longer axis.
        self._axis = int(n_rows > depth)

    @property
    def labels(self) -> NDArray[Any]:
        """A view (Z, Y, X) of the labels."""
        depth, n_rows, length = self._nearest.shape
        return self._padded[self._pad : self._pad + depth, 1 : n_rows + 1, 1 : length + 1]

    def split_rows(self) -> list[tuple[int, int]]:
        """Return the first row and the end of each task of the stages before the sweeps."""
        n_rows = self._nearest.shape[0] * self._nearest.shape[1]
        size = max(1, _BAND_PIXELS // self._length)
        return [(first, min(first + size, n_rows)) for first in range(0, n_rows, size)]

    def find_start(self, rows: tuple[int, int]) -> None:
        """Write the labels of some rows from which the sweeps start.

        They are those of the nearest classes. A pixel whose neighbors could change its label gets
        that of the nearest class of the mean around it.
        """
        for box in self._boxes(rows):
            self.labels[box] = self._nearest[box]
        self._find_unsettled(self._nearest, (0, 0, 0), rows)
        points, (centers, starts) = self._points, self._classes
        n_values, dtype = points.shape[-1], exact_dtype(points.dtype)
        tile = Tile(self._tiled, np.dtype(dtype))
        n_blocks = -(-max(_MEANS, self._length) // WIDTH)
        means = np.zeros((n_blocks, centers.shape[1], WIDTH), dtype)
        places, row = np.empty(n_blocks * WIDTH, np.int64), rows[0]
        n_sums = (kernels.STRIP + 2) * n_values
        sums = np.empty((2, n_sums), _SUM_TYPES.get(points.dtype.str, np.float64))
        while row < rows[1]:
            n_means, row = kernels.average_neighbors(
                points.reshape(*points.shape[:2], -1),
                (n_values, centers.shape[1]),
                self._nearest,
                (row, rows[1]),
                self._pad,
                self._marks.view(np.uint64),
                self._active,
                sums,
                means,
                places,
            )
            for some in tile.split(slice(0, n_means)):
                columns = tile.use(means[some.start // WIDTH :], some.stop - some.start)
                kernels.assign_means(
                    columns,
                    places[some],
                    tile.label(),
                    self._center_labels,
                    centers,
                    starts,
                    self._padded,
                )

    def unsettle(self, rows: tuple[int, int]) -> None:
        """Mark the pixels of some rows that can change."""
        if self._smoother.is_nearest:
            self._find_unsettled(self._padded, (self._pad, 1, 1), rows)
            return
        for z, some in self._boxes(rows):
            self._marks[z + self._pad, 1:-1][some] = 1
            self._active[z + self._pad, 1:-1][some] = 1

    def _find_unsettled(
        self, labels: NDArray[Any], origin: tuple[int, int, int], rows: tuple[int, int]
    ) -> None:
        kernels.find_unsettled(
            labels,
            origin,
            self._nearest,
            self._offsets,
            self._shares,
            rows,
            self._pad,
            self._marks,
            self._marks.view(np.uint64),
            self._active,
        )

    def copy_labels(self, target: NDArray[Any], rows: tuple[int, int]) -> None:
        """Copy the labels of some rows to an array (Z, Y, X)."""
        for box in self._boxes(rows):
            target[box] = self.labels[box]

    def _boxes(self, rows: tuple[int, int]) -> Iterator[tuple[int, slice]]:
        """Yield the indices of the rows along the first two axes."""
        n_rows = self._nearest.shape[1]
        for z in range(rows[0] // n_rows, -(-rows[1] // n_rows)):
            yield z, slice(max(rows[0] - z * n_rows, 0), min(rows[1] - z * n_rows, n_rows))

    def list_colors(self, origin: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the passes of a sweep: the parities of slabs and of their rows, (P, 2)."""
        colors = [((a + origin[0]) % 2, (b + origin[1]) % 2) for a in (0, 1) for b in (0, 1)]
        # Skip colors without rows.
        sides = self._nearest.shape[:2]
        colors = [color for color in colors if color[0] < sides[0] and color[1] < sides[1]]
        return np.array([color[:: 1 - 2 * self._axis] for color in colors], np.int64)

    def split_slabs(self, n_passes: int) -> list[list[Part]]:
        """Return the parts of some passes, as two lists: those of one list are independent.

        A pass needs the neighboring slabs as the pass before has left them. So the parts of the
        first list lose a slab at each inner border with each pass. The parts of the second list
        start at these borders, and make up for it.
        """
        n_slabs, n_lines = (self._nearest.shape[axis] for axis in (self._axis, 1 - self._axis))
        size = max(_BAND_PIXELS // (n_lines * self._length), 2 * n_passes)
        borders = [size * number for number in range(1, n_slabs // size)]
        ends = zip([0, *borders], [*borders, n_slabs], strict=True)
        inner = [(pair, (int(pair[0] > 0), -int(pair[1] < n_slabs))) for pair in ends]
        return [inner, [((border, border), (-1, 1)) for border in borders]]

    def sweep(self, passes: NDArray[np.int64], first_column: int, part: Part) -> None:
        """Lower the energy of the pixels of a part of `split_slabs`."""
        centers, starts = self._classes
        kernels.sweep(
            self._points,
            self._nearest,
            self._steps,
            self._weight_sums,
            centers,
            starts,
            self._padded,
            self._marks,
            self._marks.view(np.uint64),
            self._active,
            self._active.view(np.uint64),
            self._pad,
            self._smoother.is_nearest,
            1 / (2 * self._smoother.variance),
            passes,
            self._axis,
            first_column,
            *part,
        )


def _sum_sets(weights: Floats) -> Floats:
    """Return the sum of the weights of each set of neighbors, as `sweep` needs it."""
    tables = []
    for group in np.append(weights, np.zeros(-len(weights) % 8)).reshape(-1, 8):
        sums = np.zeros(1)
        for weight in group:
            sums = np.concatenate([sums, sums + weight])
        tables.append(sums)
    return np.array(tables)
