"""Find the nearest centers of points in tiles: columns of float32 that fit in the cache.

Scores are computed in float32, with a bound of their rounding errors. Points whose two lowest
scores differ by no more than this bound are compared again in float64. So the labels are equal
to those of a search in float64.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from napari_kmeans.clustering.vector_search import CENTERS_AT_ONCE, fetch, search_block
from napari_kmeans.execution.compiling import (
    compile_kernel,
    inline_kernel,
    inner_kernel,
    written_kernel,
)
from napari_kmeans.execution.threads import map_slices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_kmeans.types import Floats

WIDTH = 128
"""The number of points whose coordinates lie next to each other in a tile."""

_TILE_VALUES = 2**17
"""Values of a tile: 512 KB in float32, which fit in the second cache of most processors.

Smaller tiles spend more time in Python. On 16 threads, those that wait for the interpreter
would slow down the others.
"""

NO_COLUMNS = np.empty((0, 1, WIDTH), np.float32)
"""The columns for `label_blocks` to compute the columns itself."""

_NO_SUMS = np.empty(0, np.int64), np.empty((0, 1))
"""The counts and sums for `label_blocks` to write labels only."""

_FAR = 16
"""The largest coordinate of the middle of the centers, divided by the largest extent of the
centers, above which points are moved to this middle. Moving all points takes as long as half of a
search. Below this limit, at most 3 of 10,000 points have two lowest scores that rounding could
exchange, and are compared in float64 (8 random centers, 4 and 40 features).
"""

_MIN_COST = 1e-5
"""The share of the squared coordinates below which a cost is added up from squared distances.

The difference of two sums would have a relative rounding error of up to 1e-10.
"""

_COPIED_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))
_LEAST_COPIED = 2**10
"""The dtypes of points, and the number, from which a compiled loop copies them to columns. It takes
half to three quarters of the time of numpy, which copies a few values at a time."""

_POINTS_PER_TASK = 2**17
"""The number of points that a task searches."""

_BLOCKS_PER_TASK = 2**6
"""The number of blocks that a task copies to columns."""


def find_nearest(points: NDArray[Any], centers: Floats) -> tuple[NDArray[np.int32], Floats]:
    """Find the nearest center of each point, on threads.

    Parameters
    ----------
    points : (n, F) array
        Finite real numbers of any dtype and memory layout.
    centers : (K, F) float64 array

    Returns
    -------
    labels : (n,) int32 array
        Of equally near centers, the first is taken.
    distances : (n,) float64 array
        Squared distances to these centers.
    """
    labels, distances = np.empty(len(points), np.int32), np.empty(len(points))
    _search(points, centers, labels, distances)
    return labels, distances


def find_labels(points: NDArray[Any], centers: Floats) -> NDArray[np.int32]:
    """Return the labels that `find_nearest` returns, faster."""
    labels = np.empty(len(points), np.int32)
    _search(points, centers, labels, None)
    return labels


def _search(
    points: NDArray[Any], centers: Floats, labels: NDArray[np.int32], distances: Floats | None
) -> None:
    """Write the nearest centers of points and, unless it is None, the squared distances."""
    tiled = TiledCenters(centers)

    def search(part: slice) -> None:
        tile = Tile(tiled, points.dtype)
        for rows in tile.split(part):
            tile.read(points[rows])
            labels[rows] = tile.label()
            if distances is not None:
                tile.measure(labels[rows], distances[rows])

    map_slices(search, len(points), _POINTS_PER_TASK)


def _measure(points: NDArray[Any], tiled: TiledCenters, labels: NDArray[np.int32]) -> Floats:
    """Return the squared distance of each point from the center of its label."""
    distances, tile = np.empty(len(points)), Tile(tiled, points.dtype)
    for rows in tile.split(slice(0, len(points))):
        tile.read(points[rows])
        tile.measure(labels[rows], distances[rows])
    return distances


class Sums(NamedTuple):
    """Sums of the points of each label.

    Attributes
    ----------
    counts : (K,) int64 array
        The number of points.
    totals : (K, F) float64 array
        The sums of the points.
    """

    counts: NDArray[np.int64]
    totals: Floats

    @classmethod
    def zeros(cls, n_clusters: int, n_features: int) -> Sums:
        """Return the sums of no points."""
        return cls(np.zeros(n_clusters, np.int64), np.zeros((n_clusters, n_features)))


def label_and_sum(
    points: NDArray[Any], tiled: TiledCenters, labels: NDArray[Any]
) -> tuple[Sums, float]:
    """Write the labels of points, and return the sums and the cost, on the calling thread.

    Parameters
    ----------
    points : (n, F) array
    tiled : TiledCenters
    labels : (n,) integer array
        Receives the index of the nearest center of each point.

    Returns
    -------
    sums : Sums
    cost : float
        The sum of the squared distances of the points from their nearest centers.
    """
    if points.dtype.kind not in "iu" and points.dtype not in (np.float32, np.float64):
        # numba knows no other floats.
        points = points.astype(exact_dtype(points.dtype))
    sums = Sums.zeros(*tiled.centers.shape)
    scatter = label_rows(
        points,
        points.reshape(-1) if points.flags.c_contiguous else points[:0].reshape(-1),
        np.zeros((1, points.shape[1], WIDTH), exact_dtype(points.dtype)),
        tiled.origin,
        tiled.centers,
        tiled.factors,
        tiled.squares,
        tiled.errors,
        tiled.numbers,
        labels,
        *sums,
        Scratch.of(points.shape[1]),
    )
    cost = cost_of_sums(
        sums, scatter, tiled.centers, lambda: float(_measure(points, tiled, labels).sum())
    )
    return sums, cost


def cost_of_sums(
    sums: Sums, scatter: float, centers: Floats, measure: Callable[[], float]
) -> float:
    """Return the sum of the squared distances of points from the centers (K, F) of their labels.

    Parameters
    ----------
    sums : Sums
    scatter : float
        The sum of the squared coordinates of all points.
    centers : (K, F) float64 array
    measure : callable
        Returns the same cost, from the distances. Called if a difference of sums is not precise.
    """
    # The scatter about 0, minus the scatter of the centers.
    with np.errstate(invalid="ignore"):
        between = 2 * (centers * sums.totals).sum() - sums.counts @ (centers**2).sum(axis=1)
        cost = float(scatter - between)
    # Not true for NaN either, if squares are too large.
    return cost if cost >= _MIN_COST * scatter else measure()


def sum_by_label(points: NDArray[Any], labels: NDArray[np.int32], n_clusters: int) -> Sums:
    """Return the sums of points (n, F) by their labels (n,), on the calling thread."""
    sums = Sums.zeros(n_clusters, points.shape[1])
    for rows, columns in iterate_columns(points):
        sum_tile(columns, labels[rows], *sums)
    return sums


def iterate_columns(points: NDArray[Any]) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield the rows of each tile of points (n, F), and their exact values as columns (B, F, 128).

    The columns have the dtype of `Tile.read`. The next iteration overwrites them.
    """
    n_features = points.shape[1]
    n_blocks = max(1, min(_TILE_VALUES // n_features, len(points) + WIDTH - 1) // WIDTH)
    columns = np.empty((n_blocks, n_features, WIDTH), exact_dtype(points.dtype))
    for start in range(0, len(points), n_blocks * WIDTH):
        rows = slice(start, min(start + n_blocks * WIDTH, len(points)))
        copy_columns(points[rows], columns)
        yield rows, columns


class TiledPoints(NamedTuple):
    """Points (n, F) as columns, for searches that are repeated.

    Attributes
    ----------
    columns : (B, F, 128) float32 array
        The coordinates from the origin, in blocks of 128 points.
    sizes : (B,) float32 array
        The largest sum of the absolute coordinates of a point of each block.
    exact : (B, F, 128) float64 array
        The coordinates.
    boxes : (2, B, F) float64 array
        The middle and half of the extent of the points of each block.
    origin : (F,) float32 array
    """

    columns: NDArray[np.float32]
    sizes: NDArray[np.float32]
    exact: Floats
    boxes: Floats
    origin: NDArray[np.float32]

    @classmethod
    def of(cls, points: Floats, origin: Floats) -> TiledPoints:
        """Return points as columns. The origin should be near the points."""
        n_blocks, n_features = -(-len(points) // WIDTH), points.shape[1]
        exact = np.zeros((n_blocks, n_features, WIDTH))
        columns, sizes = np.empty(exact.shape, np.float32), np.empty(n_blocks, np.float32)
        boxes = np.empty((2, n_blocks, n_features))
        with np.errstate(over="ignore"):
            rounded = origin.astype(np.float32)
        if not np.isfinite(rounded).all():
            rounded[:] = 0

        def fill(blocks: slice) -> None:
            own = points[blocks.start * WIDTH : blocks.stop * WIDTH]
            copy_columns(own, exact[blocks])
            with np.errstate(over="ignore"):
                difference = columns[blocks]
                np.subtract(exact[blocks], rounded[:, None], out=difference, casting="same_kind")
                sizes[blocks] = np.abs(difference).sum(axis=1).max(axis=1, initial=0)
            starts = np.arange(0, len(own), WIDTH)
            low, high = np.minimum.reduceat(own, starts), np.maximum.reduceat(own, starts)
            middle = boxes[0, blocks] = low / 2 + high / 2
            boxes[1, blocks] = np.maximum(high - middle, middle - low)

        map_slices(fill, n_blocks, _BLOCKS_PER_TASK)
        return cls(columns, sizes, exact, boxes, rounded)


def make_columns(points: NDArray[Any]) -> NDArray[Any]:
    """Return points (n, F) as columns (B, F, 128) for `Tile.use`."""
    shape = -(-len(points) // WIDTH), points.shape[1], WIDTH
    columns = np.zeros(shape, exact_dtype(points.dtype))
    copy_columns(points, columns)
    return columns


def make_factors(
    n_clusters: int, n_features: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the arrays `factors`, `squares` and `errors` for `prepare_centers`."""
    size = -(-n_clusters // CENTERS_AT_ONCE) * CENTERS_AT_ONCE
    factors = np.zeros((size, n_features), np.float32)
    return factors, np.full(size, np.inf, np.float32), np.empty(4, np.float32)


def exact_dtype(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    """Return float32 if it represents a dtype exactly, float64 otherwise."""
    return np.float32 if np.can_cast(dtype, np.float32) else np.float64


class Scratch(NamedTuple):
    """The working memory of a search in blocks of 128 points.

    Attributes
    ----------
    moved : (1, F, 128) float32 array
        The coordinates of the points of a block from the origin.
    point_sizes : (128,) float32 array
        The sum of the absolute coordinates of each point.
    size_bits : (128,) int32 array
        The bits of `point_sizes`.
    labels : (128,) int32 array
        The labels that are found.
    marks : (128,) uint8 array
        See `search_block`.
    mark_groups : (16,) uint64 array
        The marks of eight points as one number.
    changed : (128,) int64 array
        The points whose label has changed.
    """

    moved: NDArray[np.float32]
    point_sizes: NDArray[np.float32]
    size_bits: NDArray[np.int32]
    labels: NDArray[np.int32]
    marks: NDArray[np.uint8]
    mark_groups: NDArray[np.uint64]
    changed: NDArray[np.int64]

    @classmethod
    def of(cls, n_features: int) -> Scratch:
        """Return the working memory for points with a number of features."""
        point_sizes, marks = np.empty(WIDTH, np.float32), np.empty(WIDTH, np.uint8)
        return cls(
            np.empty((1, n_features, WIDTH), np.float32),
            point_sizes,
            point_sizes.view(np.int32),
            np.empty(WIDTH, np.int32),
            marks,
            marks.view(np.uint64),
            np.empty(WIDTH, np.int64),
        )


class TiledCenters:
    """Centers, prepared for searches of the nearest center in tiles of points.

    The score of a center c is the squared distance of a point x from c minus that from the
    middle o of all centers: ``c @ c - o @ o - 2 * x @ (c - o)``. If the centers are very far from
    0 compared with their distances, the coordinates of points are those from the middle, so that
    fewer points have to be compared in float64.

    Parameters
    ----------
    centers : (K, F) float64 array
        Finite.

    Attributes
    ----------
    origin : (F,) float32 array
        The middle, if the coordinates of points are those from the middle, and 0 otherwise.
        float32 stores it exactly: the difference of a point is rounded once.
    is_far : bool
        Whether the coordinates of points are those from the middle.
    """

    def __init__(self, centers: Floats) -> None:
        self.centers = np.ascontiguousarray(centers, np.float64)
        n_clusters, n_features = self.centers.shape
        self.factors, self.squares, self.errors = make_factors(n_clusters, n_features)
        low, high = self.centers.min(axis=0), self.centers.max(axis=0)
        middle = np.zeros(n_features, np.float32)
        with np.errstate(over="ignore"):
            middle[:] = low / 2 + high / 2
            if not np.isfinite(middle).all():
                middle[:] = 0
            self.is_far = bool(np.abs(middle).max() > _FAR * (high - low).max())
        self.origin = middle if self.is_far else np.zeros_like(middle)
        self.numbers = np.arange(len(self.squares), dtype=np.int32)
        prepare_centers(self.centers, middle, self.is_far, self.factors, self.squares, self.errors)


class Tile:
    """The columns of some points, in buffers of one thread that one tile after another uses.

    Parameters
    ----------
    of : TiledCenters
    dtype : dtype
        The dtype of the points that are read.
    """

    def __init__(self, of: TiledCenters, dtype: np.dtype[Any]) -> None:
        self._of, self._dtype = of, exact_dtype(dtype)
        self._n_features = of.centers.shape[1]
        self._n_blocks = max(1, _TILE_VALUES // self._n_features // WIDTH)
        self.length = self._n_blocks * WIDTH
        self._labels = np.empty(self.length, np.int32)
        self._columns: NDArray[Any] = NO_COLUMNS
        self._n_points = 0

    def split(self, part: slice) -> Iterator[slice]:
        """Yield the rows of each tile of a part of the points."""
        for start in range(part.start, part.stop, self.length):
            yield slice(start, min(start + self.length, part.stop))

    def read(self, points: NDArray[Any]) -> NDArray[Any]:
        """Read points (m, F), and return their exact values as columns (B, F, 128).

        The columns are float32 if that represents the dtype of the points exactly, and float64
        otherwise. The next call overwrites them.
        """
        columns = self._read_columns[: -(-len(points) // WIDTH)]
        copy_columns(points, columns)
        return self.use(columns, len(points))

    def use(self, columns: NDArray[Any], n_points: int) -> NDArray[Any]:
        """Use columns (B, F, 128) as if their points had been read."""
        self._columns, self._n_points = columns, n_points
        return columns

    @cached_property
    def _read_columns(self) -> NDArray[Any]:
        return np.zeros((self._n_blocks, self._n_features, WIDTH), self._dtype)

    def label(self) -> NDArray[np.int32]:
        """Return the index of the nearest center of the points that were read last, (m,).

        The next call overwrites the result.
        """
        find_tile_labels(self._columns, self._n_points, self._of, self._labels)
        return self._labels[: self._n_points]

    def measure(self, labels: NDArray[np.int32], distances: Floats) -> None:
        """Write the squared distances (m,) of the points from the centers of their labels."""
        measure_tile(self._columns, self._of.centers, labels, distances)


def copy_columns(points: NDArray[Any], columns: NDArray[Any]) -> None:
    """Copy points (m, F) to columns (B, F, 128), m ≤ 128 B."""
    n_features = points.shape[1]
    is_common = points.dtype in _COPIED_DTYPES and columns.dtype == np.float32
    if is_common and len(points) >= _LEAST_COPIED and points.flags.c_contiguous:
        copy_rows(points, columns)
        return
    n_whole, n_rest = divmod(len(points), WIDTH)
    whole = points[: n_whole * WIDTH].reshape(n_whole, WIDTH, n_features)
    columns[:n_whole, :n_features] = whole.transpose(0, 2, 1)
    if n_rest:
        columns[n_whole, :n_features, :n_rest] = points[n_whole * WIDTH :].T


@compile_kernel
def copy_rows(points: NDArray[Any], columns: NDArray[np.float32]) -> None:
    """Do the same as `copy_columns`."""
    for start in range(0, points.shape[0], WIDTH):
        some = points[start : start + WIDTH]
        for j in range(points.shape[1]):
            column = columns[start // WIDTH, j]
            for i in range(some.shape[0]):
                column[i] = some[i, j]


@inline_kernel
def squared_distance(columns: Any, block: int, i: int, centers: Any, k: int) -> Any:
    """Return the squared distance of point i of a block of columns from center k."""
    square = 0.0
    for j in range(centers.shape[1]):
        difference = np.float64(columns[block, j, i]) - centers[k, j]
        square += difference * difference
    return square


@inner_kernel
def _search_one(columns: Any, block: int, i: int, centers: Any, n_centers: int) -> Any:
    """Return the index of the nearest center of a point, the first of equally near ones."""
    best, label = np.inf, 0
    for k in range(n_centers):
        square = squared_distance(columns, block, i, centers, k)
        if square < best:
            best, label = square, k
    return label


@compile_kernel
def prepare_centers(
    centers: NDArray[np.float64],
    middle: NDArray[np.float32],
    is_origin: bool,
    factors: NDArray[np.float32],
    squares: NDArray[np.float32],
    errors: NDArray[np.float32],
) -> None:
    """Write the parameters of `label_blocks` that depend on the centers (K, F).

    `middle` (F,) is any point, and `is_origin` whether the columns are the coordinates from it.
    Entries of centers that fill up do not change. Numbers that are too large for float32 become
    infinite.
    """
    largest = largest_constant = largest_square = 0.0
    for k in range(centers.shape[0]):
        constant = square = 0.0
        for j in range(centers.shape[1]):
            origin = np.float64(middle[j])
            moved = centers[k, j] - origin
            factors[k, j] = -2 * moved
            largest = max(largest, abs(2 * moved))
            if is_origin:
                constant += moved * moved
                square += moved * moved
            else:
                # The difference of the squares of the center and of the middle.
                constant += moved * (centers[k, j] + origin)
                square += centers[k, j] * centers[k, j]
        squares[k] = constant
        largest_constant = max(largest_constant, abs(constant))
        largest_square = max(largest_square, square)
    # A score is a sum of F + 1 terms. Its error is at most F + 4 roundings of the sum of the
    # absolute terms: those of the two factors and of the product, and one for each addition.
    # The difference of two scores has twice this error. The slack stands for the rounding of
    # the bound itself, and for products of rounding errors.
    n_roundings = centers.shape[1] + 4
    slack = 1.01 + 4 * n_roundings * 2.0**-24
    single = slack * 2 * n_roundings * 2.0**-24
    # The squared distances in float64, and the constants, have rounding errors, too, relative to
    # the squares, which are at most 2 (x @ x + c @ c).
    double = slack * 4 * n_roundings * 2.0**-53
    # The last term stands for numbers that are too small for float32.
    errors[0] = single * largest_constant + 2 * double * largest_square + 1e-36
    errors[1] = single * largest
    errors[2] = double
    # The sum of the absolute terms of a score is then at most 1e38, so that no score overflows.
    errors[3] = single * 1e38


def find_tile_labels(
    exact: NDArray[Any],
    n_points: int,
    tiled: TiledCenters,
    labels: NDArray[np.int32],
    sizes: NDArray[np.float32] | None = None,
    sums: Sums | None = None,
) -> None:
    """Write the index of the nearest center of each point of a tile, on the calling thread.

    Parameters
    ----------
    exact : (B, F, 128) float32 or float64 array
        The coordinates of the points.
    n_points : int
        At most 128 B.
    tiled : TiledCenters
    labels : (128 B,) int32 array
        If there are no sums, the labels behind `n_points` become undefined.
    sizes : (B,) float32 array, optional
        A cache for repeated searches of the same points: see `label_blocks`.
    sums : Sums, optional
        The sums of the points by their labels. Points whose label changes are moved.
    """
    n_blocks, n_clusters = -(-n_points // WIDTH), len(tiled.centers)
    counts, totals = _NO_SUMS if sums is None else sums
    label_blocks(
        NO_COLUMNS if tiled.is_far or exact.dtype != np.float32 else exact,
        np.full(len(exact), np.nan, np.float32) if sizes is None else sizes,
        exact,
        tiled.origin,
        0,
        n_blocks,
        n_points,
        n_clusters,
        tiled.centers,
        tiled.factors,
        tiled.squares,
        tiled.errors,
        tiled.numbers,
        labels,
        None,
        totals,
        None,
        counts,
        Scratch.of(exact.shape[1]),
    )


@compile_kernel
def label_blocks(
    columns: NDArray[np.float32],
    sizes: NDArray[np.float32],
    exact: NDArray[Any],
    origin: NDArray[np.float32],
    first: int,
    stop: int,
    n_points: int,
    n_centers: int,
    centers: NDArray[np.float64],
    factors: NDArray[np.float32],
    squares: NDArray[np.float32],
    errors: NDArray[np.float32],
    numbers: NDArray[np.int32],
    labels: NDArray[np.int32],
    weights: NDArray[np.float64] | None,
    sums: NDArray[np.float64],
    totals: NDArray[np.float64] | None,
    counts: NDArray[np.int64],
    scratch: Scratch,
) -> Any:
    """Find the labels of the points of some blocks, and move points to the sums of their labels.

    Arrays are neither sliced nor passed on for each block: numba would count the references to
    them, which took half of the time of a search in 4 features.

    Parameters
    ----------
    columns : (B, F, 128) float32 array
        The coordinates of the points from the origin; `NO_COLUMNS` if they are not known yet.
    sizes : (B,) array
        The largest sum of the absolute coordinates of a point of each block of columns. NaN if
        it is not known: it is then written.
    exact : (B, F, 128) float32 or float64 array
        The coordinates of the points.
    origin : (F,) array
    first, stop : int
        The first block, and the one behind the last block.
    n_points : int
        Points of all blocks.
    n_centers : int
    centers : (K, F) array
    factors : (K or more, F) array
        The coordinates of the centers from their middle, times -2. The length is a multiple of 4.
    squares : (K or more,) array
        The scores of the origin of the columns, infinite for centers that fill up.
    errors : (4,) array
        The coefficients of a polynomial of degree 2 of the sum of the absolute coordinates of a
        point, and the value from which scores can overflow. The polynomial bounds the error of
        the difference of two scores of this point. If the two lowest scores do not differ by
        more, squared distances in float64 are compared.
    numbers : (K or more,) array
        The labels of the centers.
    labels : (128 B,) array
        -1 for a point that is in no sum yet.
    weights : (n,) array or None
        None if all weights are 1.
    sums, totals, counts : (K, F), (K,) and (K,) arrays
        Weighted sum, total weight and number of the points of each cluster. Empty if there are no
        sums. `totals` is None if `weights` is None.
    scratch : Scratch

    Returns
    -------
    int
        The number of labels that changed. 0 if there are no sums.
    """
    # Centers that fill up to a multiple of 4 are infinitely far.
    n_filled = (n_centers + CENTERS_AT_ONCE - 1) // CENTERS_AT_ONCE * CENTERS_AT_ONCE
    moved, point_sizes, size_bits = scratch.moved, scratch.point_sizes, scratch.size_bits
    new_labels, marks, mark_groups = scratch.labels, scratch.marks, scratch.mark_groups
    changed = scratch.changed
    has_sums, is_moved = counts.shape[0] > 0, columns.shape[0] == 0
    searched = moved if is_moved else columns
    n_all_changed = 0
    for block in range(first, stop):
        start, place = block * WIDTH, block
        if is_moved:
            place = 0
            for j in range(exact.shape[1]):
                for i in range(WIDTH):
                    moved[0, j, i] = exact[block, j, i] - origin[j]
        size = np.float32(np.nan) if is_moved else sizes[block]
        if np.isnan(size):
            size = _find_size(searched, place, point_sizes, size_bits)
            if not is_moved:
                sizes[block] = size
        limit = errors[0] + size * (errors[1] + size * errors[2])
        # Scores can overflow. False for NaN, too.
        if not limit < errors[3]:
            limit = np.float32(np.inf)
        search_block(
            searched,
            place,
            n_filled,
            factors,
            squares,
            numbers,
            limit,
            has_sums,
            labels,
            block,
            new_labels,
            marks,
        )
        n_changed = 0
        for group in range(mark_groups.shape[0]):
            if mark_groups[group]:
                for i in range(8 * group, min(8 * group + 8, n_points - start)):
                    if marks[i] == 2:
                        new_labels[i] = numbers[_search_one(exact, block, i, centers, n_centers)]
                    changed[n_changed] = i
                    n_changed += new_labels[i] != labels[start + i]
        if not has_sums:
            for i in range(WIDTH):
                labels[start + i] = new_labels[i]
            continue
        for c in range(n_changed):
            i = changed[c]
            old, new = labels[start + i], new_labels[i]
            if old >= 0:
                counts[old] -= 1
            counts[new] += 1
            if weights is not None and totals is not None:
                if old >= 0:
                    totals[old] -= weights[start + i]
                totals[new] += weights[start + i]
        for j in range(sums.shape[1]):
            for c in range(n_changed):
                i = changed[c]
                old, new = labels[start + i], new_labels[i]
                value = np.float64(exact[block, j, i])
                if weights is not None:
                    value *= weights[start + i]
                if old >= 0:
                    sums[old, j] -= value
                sums[new, j] += value
        for c in range(n_changed):
            labels[start + changed[c]] = new_labels[changed[c]]
        n_all_changed += n_changed
    return n_all_changed


@inner_kernel
def _find_size(
    columns: NDArray[np.float32],
    block: int,
    point_sizes: NDArray[np.float32],
    size_bits: NDArray[np.int32],
) -> np.float32:
    """Return the largest sum of the absolute coordinates of a point of a block.

    `point_sizes` (128,) is working memory, and `size_bits` the same as integers.
    """
    for i in range(WIDTH):
        point_sizes[i] = 0
    for j in range(columns.shape[1]):
        for i in range(WIDTH):
            point_sizes[i] += abs(columns[block, j, i])
    # The bits of floats that are not negative have the order of the floats, and NaN is the
    # largest. The compiler vectorizes the maximum of integers only.
    largest = np.int32(0)
    for i in range(WIDTH):
        largest = max(largest, size_bits[i])
    size_bits[0] = largest
    size: np.float32 = point_sizes[0]
    return size


@written_kernel
def _add_four(_typing: Any, sums: Any, _place: Any, values: Any, _first: Any) -> Any:
    """Add four of some values, from an index on, to four of some sums, from a place on.

    numba vectorizes loops, but neither statements that follow each other nor loops of four steps.
    """

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def find_address(which: int) -> Any:
            kind = signature.args[which]
            data = context.make_array(kind)(context, builder, arguments[which]).data
            four = ir.VectorType(context.get_data_type(kind.dtype), 4)
            address = builder.gep(data, [arguments[which + 1]])
            return builder.bitcast(address, four.as_pointer())

        target, kind = find_address(0), signature.args[2].dtype
        total, added = builder.load(target, align=8), builder.load(find_address(2), align=1)
        if kind in types.integer_domain:
            convert = builder.sitofp if kind in types.signed_domain else builder.uitofp
            added = convert(added, total.type)
        elif kind.bitwidth < 64:
            added = builder.fpext(added, total.type)
        builder.store(builder.fadd(total, added), target, align=8)
        return context.get_dummy_value()

    return types.void(sums, types.uint64, values, types.uint64), write


@partial(inner_kernel, fastmath={"contract", "reassoc"})
def _sum_squares(columns: Any, n_features: int, n_points: int) -> Any:
    """Return the sum of the squared coordinates of the points of the first block."""
    total = 0.0
    for j in range(n_features):
        for i in range(n_points):
            value = np.float64(columns[0, j, i])
            total += value * value
    return total


@inner_kernel
def _copy_few_columns(
    values: Any, first: int, n_points: int, n_features: int, columns: Any
) -> None:
    """Write points of 3 or 4 features, from an index of `values` on, to columns of 128 values.

    The compiler uses vector instructions, but only if it knows the number of features and the
    distance of the columns.
    """
    one, two, three, four = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
    start, n, width = np.uint64(first), np.uint64(n_points), np.uint64(WIDTH)
    # Values of 8 bytes are there in time without this.
    if values.itemsize < 8:
        for i in range(0, WIDTH * n_features, 64 // values.itemsize):
            fetch(values, first + 2 * WIDTH * n_features + i)
    if n_features == 3:
        for i in range(n):
            columns[i] = values[start + three * i]
            columns[i + width] = values[start + three * i + one]
            columns[i + two * width] = values[start + three * i + two]
    else:
        for i in range(n):
            columns[i] = values[start + four * i]
            columns[i + width] = values[start + four * i + one]
            columns[i + two * width] = values[start + four * i + two]
            columns[i + three * width] = values[start + four * i + three]


@compile_kernel
def label_rows(
    points: NDArray[Any],
    values: NDArray[Any],
    exact: NDArray[Any],
    origin: NDArray[np.float32],
    centers: NDArray[np.float64],
    factors: NDArray[np.float32],
    squares: NDArray[np.float32],
    errors: NDArray[np.float32],
    numbers: NDArray[np.int32],
    labels: NDArray[Any],
    counts: NDArray[np.int64],
    sums: NDArray[np.float64],
    scratch: Scratch,
) -> Any:
    """Write the labels of points (n, F), and add up their numbers and coordinates by label.

    This is `copy_columns`, `label_blocks` and `sum_tile` for one block of 128 points after
    another, whose columns stay in the smallest cache. A call of `label_blocks` for each block
    would take longer than its search.

    Parameters
    ----------
    points : (n, F) array
    values : (n F,) array or empty array
        The same points if they are C-contiguous.
    exact : (1, F, 128) array
        Working memory for the columns of a block, which is 0 before the call.
    origin, centers, factors, squares, errors, numbers
        See `label_blocks`.
    labels : (n,) integer array
    counts, sums
        See `sum_tile`.
    scratch : Scratch

    Returns
    -------
    float
        The sum of the squared coordinates of all points.
    """
    moved, point_sizes, size_bits = scratch.moved, scratch.point_sizes, scratch.size_bits
    new_labels, marks, mark_groups = scratch.labels, scratch.marks, scratch.mark_groups
    n_points, n_features = points.shape
    n_clusters, n_rows = centers.shape[0], (n_features + 3) // 4 * 4
    # Adding to the same sum again has to wait until the last addition is done: add to four
    # copies in turn.
    copies, copied_counts = np.zeros(n_clusters * 4 * n_rows), np.zeros(n_clusters * 4, np.int64)
    # Unsigned indices need no check for negative numbers.
    three, four, step, row = np.uint64(3), np.uint64(4), np.uint64(n_features), np.uint64(n_rows)
    scatter, flat = 0.0, exact.reshape(-1)
    for start in range(0, n_points, WIDTH):
        some, own = points[start : start + WIDTH], labels[start : start + WIDTH]
        n = some.shape[0]
        if not len(values) or not 3 <= n_features <= 4:
            for j in range(n_features):
                column = exact[0, j]
                for i in range(n):
                    column[i] = some[i, j]
                for i in range(WIDTH):
                    moved[0, j, i] = column[i] - origin[j]
        else:
            _copy_few_columns(values, start * n_features, n, n_features, flat)
            for j in range(n_features):
                for i in range(WIDTH):
                    moved[0, j, i] = exact[0, j, i] - origin[j]
        size = _find_size(moved, 0, point_sizes, size_bits)
        limit = errors[0] + size * (errors[1] + size * errors[2])
        # Scores can overflow. False for NaN, too.
        if not limit < errors[3]:
            limit = np.float32(np.inf)
        search_block(
            moved,
            0,
            squares.shape[0],
            factors,
            squares,
            numbers,
            limit,
            False,
            new_labels,
            0,
            new_labels,
            marks,
        )
        for group in range(mark_groups.shape[0]):
            if mark_groups[group]:
                for i in range(8 * group, 8 * group + 8):
                    if marks[i] == 2:
                        new_labels[i] = _search_one(exact, 0, i, centers, n_clusters)
        for i in range(n):
            own[i] = new_labels[i]
        scatter += _sum_squares(exact, n_features, n)
        for i in range(np.uint64(n)):
            copied_counts[np.uint64(new_labels[i]) * four + (i & three)] += 1
        # Four values may begin in a row and end three rows later.
        n_whole = min(n, max(n_points - 3 - start, 0)) if len(values) else 0
        for j in range(np.uint64(0), step, four):
            first = np.uint64(start) * step + j
            for i in range(np.uint64(n_whole)):
                place = (np.uint64(new_labels[i]) * four + (i & three)) * row + j
                _add_four(copies, place, values, first + i * step)
        for j in range(step):
            for i in range(np.uint64(n_whole), np.uint64(n)):
                place = (np.uint64(new_labels[i]) * four + (i & three)) * row + j
                copies[place] += np.float64(exact[0, j, i])
    for k in range(n_clusters):
        for copy in range(4 * k, 4 * k + 4):
            counts[k] += copied_counts[copy]
            for j in range(n_features):
                sums[k, j] += copies[copy * n_rows + j]
    return scatter


@compile_kernel
def measure_tile(
    columns: NDArray[Any],
    centers: NDArray[np.float64],
    labels: NDArray[np.int32],
    distances: NDArray[np.float64],
) -> None:
    """Write the squared distance of each point (n,) from the center of its label.

    `columns` (B, F, 128) are the coordinates of the points.
    """
    for i in range(labels.shape[0]):
        distances[i] = squared_distance(columns, i // WIDTH, i % WIDTH, centers, labels[i])


@partial(compile_kernel, fastmath={"contract", "reassoc"})
def sum_tile(
    columns: NDArray[Any],
    labels: NDArray[np.int32],
    counts: NDArray[np.int64],
    sums: NDArray[np.float64],
) -> Any:
    """Add the number of points of each label, and the points.

    Parameters
    ----------
    columns : (B, F, 128) float32 or float64 array
        The coordinates of n points.
    labels : (n,) array
    counts : (K,) array
        Receives the numbers of points.
    sums : (K, F) array
        Receives the sums of the points.

    Returns
    -------
    float
        The sum of the squared coordinates of all points.
    """
    n_points, n_clusters = labels.shape[0], sums.shape[0]
    scatter = 0.0
    # Adding to the same sum again has to wait until the last addition is done: add to eight
    # copies in turn.
    t0, t1, t2, t3, t4, t5, t6, t7 = np.empty((8, n_clusters))
    values = np.empty(WIDTH)
    # The axis after the last one has the value 1 at each point.
    for j in range(sums.shape[1] + 1):
        for k in range(n_clusters):
            t0[k] = t1[k] = t2[k] = t3[k] = t4[k] = t5[k] = t6[k] = t7[k] = 0.0
        for start in range(0, n_points, WIDTH):
            own = labels[start : start + WIDTH]
            n = len(own)
            if j < sums.shape[1]:
                column = columns[start // WIDTH, j]
                for i in range(n):
                    value = np.float64(column[i])
                    scatter += value * value
                    values[i] = value
            else:
                for i in range(n):
                    values[i] = 1.0
            n_even = n - n % 8
            for i in range(0, n_even, 8):
                # An unsigned index needs no check for negative numbers.
                t0[np.uint32(own[i])] += values[i]
                t1[np.uint32(own[i + 1])] += values[i + 1]
                t2[np.uint32(own[i + 2])] += values[i + 2]
                t3[np.uint32(own[i + 3])] += values[i + 3]
                t4[np.uint32(own[i + 4])] += values[i + 4]
                t5[np.uint32(own[i + 5])] += values[i + 5]
                t6[np.uint32(own[i + 6])] += values[i + 6]
                t7[np.uint32(own[i + 7])] += values[i + 7]
            for i in range(n_even, n):
                t0[own[i]] += values[i]
        for k in range(n_clusters):
            total = t0[k] + t1[k] + t2[k] + t3[k] + t4[k] + t5[k] + t6[k] + t7[k]
            if j < sums.shape[1]:
                sums[k, j] += total
            else:
                counts[k] += np.int64(total)
    return scatter
