"""Find the nearest centers of points in tiles: columns of float32 that fit in the cache.

Scores are computed in float32, with a bound of their rounding errors. Points whose two lowest
scores differ by no more than this bound are compared again in float64. So the labels are equal
to those of a search in float64.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_kmeans.execution.compiling import compile_kernel, inline_kernel, inner_kernel
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

_SIDE = 4
"""Centers, and features, whose products the kernel sums at a time, in registers.

The numbers of centers and of features are filled up to multiples of this number.
"""


_MATMUL_SIZE = 16
"""The number of features, and of centers, from which `np.matmul` computes their products.

It takes 0.8 of the time of the kernel for 16 features and 32 centers or 64 features and 32 centers,
0.7 for 40 and 16, and 1.0 to 1.2 for 8 centers: the kernel reads the memory in a better order.
"""

_PRODUCTS_PER_MATMUL = 2**18
"""Products up to which OpenBLAS uses the calling thread alone. All threads are busy already."""

NO_PRODUCTS = np.empty((0, _SIDE, WIDTH), np.float32)
"""The products for `label_tile` to compute the products itself."""

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
    points: NDArray[Any], tiled: TiledCenters, labels: NDArray[np.int32]
) -> tuple[Sums, float]:
    """Write the labels of points, and return the sums and the cost, on the calling thread.

    Parameters
    ----------
    points : (n, F) array
    tiled : TiledCenters
    labels : (n,) int32 array
        Receives the index of the nearest center of each point.

    Returns
    -------
    sums : Sums
    cost : float
        The sum of the squared distances of the points from their nearest centers.
    """
    tile, centers = Tile(tiled, points.dtype), tiled.centers
    sums = Sums.zeros(*centers.shape)
    scatter = 0.0
    for rows in tile.split(slice(0, len(points))):
        columns = tile.read(points[rows])
        labels[rows] = tile.label()
        scatter += sum_tile(columns, labels[rows], *sums)
    cost = cost_of_sums(
        sums, scatter, centers, lambda: float(_measure(points, tiled, labels).sum())
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
    n_blocks = max(1, _TILE_VALUES // n_features // WIDTH)
    columns = np.empty((n_blocks, n_features, WIDTH), exact_dtype(points.dtype))
    for start in range(0, len(points), n_blocks * WIDTH):
        rows = slice(start, min(start + n_blocks * WIDTH, len(points)))
        copy_columns(points[rows], columns)
        yield rows, columns


class TiledPoints(NamedTuple):
    """Points (n, F) as columns, for searches that are repeated.

    Attributes
    ----------
    columns : (B, F or more, 128) float32 array
        The coordinates from the origin, in blocks of 128 points.
    exact : (B, F, 128) float64 array
        The coordinates.
    boxes : (2, B, F) float64 array
        The middle and half of the extent of the points of each block.
    origin : (F,) float32 array
    """

    columns: NDArray[np.float32]
    exact: Floats
    boxes: Floats
    origin: NDArray[np.float32]

    @classmethod
    def of(cls, points: Floats, origin: Floats) -> TiledPoints:
        """Return points as columns. The origin should be near the points."""
        n_features, starts = points.shape[1], np.arange(0, len(points), WIDTH)
        exact = np.zeros((len(starts), n_features, WIDTH))
        copy_columns(points, exact)
        columns = np.zeros((len(starts), n_rows(n_features), WIDTH), np.float32)
        with np.errstate(over="ignore"):
            rounded = origin.astype(np.float32)
            if not np.isfinite(rounded).all():
                rounded[:] = 0
            np.subtract(exact, rounded[:, None], out=columns[:, :n_features], casting="same_kind")
        low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
        middle = low / 2 + high / 2
        boxes = np.stack([middle, np.maximum(high - middle, middle - low)])
        return cls(columns, exact, boxes, rounded)


def make_columns(points: NDArray[Any]) -> NDArray[Any]:
    """Return points (n, F) as columns (B, F or more, 128) for `Tile.use`."""
    shape = -(-len(points) // WIDTH), n_rows(points.shape[1]), WIDTH
    columns = np.zeros(shape, exact_dtype(points.dtype))
    copy_columns(points, columns)
    return columns


def n_rows(n_features: int) -> int:
    """Return the number of rows of a tile of points with `n_features` coordinates."""
    return -(-n_features // _SIDE) * _SIDE


def make_factors(
    n_clusters: int, n_features: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the arrays `factors`, `squares` and `errors` for `prepare_centers`."""
    size = -(-n_clusters // _SIDE) * _SIDE
    factors = np.zeros((size, n_rows(n_features)), np.float32)
    return factors, np.full(size, np.inf, np.float32), np.empty(4, np.float32)


def exact_dtype(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    """Return float32 if it represents a dtype exactly, float64 otherwise."""
    return np.float32 if np.can_cast(dtype, np.float32) else np.float64


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
    centers_per_matmul : int
        The number of centers that `np.matmul` multiplies with points at a time. 0 if there are
        so few features or centers that `label_tile` does this faster.
    origin : (F or more, 1) float32 array or None
        The middle, if the coordinates of points are those from the middle. float32 stores it
        exactly: the difference of a point is rounded once.
    """

    def __init__(self, centers: Floats) -> None:
        self.centers = np.ascontiguousarray(centers, np.float64)
        n_clusters, n_features = self.centers.shape
        self.n_rows = n_rows(n_features)
        self.factors, self.squares, self.errors = make_factors(n_clusters, n_features)
        self.centers_per_matmul = 0
        if min(n_features, n_clusters) >= _MATMUL_SIZE:
            self.centers_per_matmul = max(1, _PRODUCTS_PER_MATMUL // (self.n_rows * WIDTH))
        low, high = self.centers.min(axis=0), self.centers.max(axis=0)
        middle = np.zeros(n_features, np.float32)
        with np.errstate(over="ignore"):
            middle[:] = low / 2 + high / 2
            if not np.isfinite(middle).all():
                middle[:] = 0
            is_far = np.abs(middle).max() > _FAR * (high - low).max()
        self.origin = None
        if is_far:
            self.origin = np.zeros((self.n_rows, 1), np.float32)
            self.origin[:n_features, 0] = middle
        prepare_centers(self.centers, middle, is_far, self.factors, self.squares, self.errors)


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
        n_values = of.n_rows if of.centers_per_matmul == 0 else max(of.n_rows, len(of.squares))
        self._n_blocks = max(1, _TILE_VALUES // n_values // WIDTH)
        self.length = self._n_blocks * WIDTH
        self._labels = np.empty(self.length, np.int32)
        self._exact = self._scored = np.empty((0, of.n_rows, WIDTH), np.float32)
        self._n_points = 0

    def split(self, part: slice) -> Iterator[slice]:
        """Yield the rows of each tile of a part of the points."""
        for start in range(part.start, part.stop, self.length):
            yield slice(start, min(start + self.length, part.stop))

    def read(self, points: NDArray[Any]) -> NDArray[Any]:
        """Read points (m, F), and return their exact values as columns (B, F or more, 128).

        The columns are float32 if that represents the dtype of the points exactly, and float64
        otherwise. The next call overwrites them.
        """
        columns = self._read_columns[: -(-len(points) // WIDTH)]
        copy_columns(points, columns)
        return self.use(columns, len(points))

    def use(self, columns: NDArray[Any], n_points: int) -> NDArray[Any]:
        """Use columns (B, `TiledCenters.n_rows`, 128) as if their points had been read."""
        self._exact = self._scored = columns
        self._n_points = n_points
        origin = self._of.origin
        if origin is not None or columns.dtype != np.float32:
            self._scored = self._moved_columns[: len(columns)]
            with np.errstate(over="ignore", invalid="ignore"):
                if origin is None:
                    self._scored[...] = columns
                else:
                    np.subtract(columns, origin, out=self._scored, casting="same_kind")
        return columns

    @cached_property
    def _read_columns(self) -> NDArray[Any]:
        return np.zeros((self._n_blocks, self._of.n_rows, WIDTH), self._dtype)

    @cached_property
    def _moved_columns(self) -> NDArray[np.float32]:
        return np.zeros((self._n_blocks, self._of.n_rows, WIDTH), np.float32)

    @cached_property
    def _products(self) -> NDArray[np.float32]:
        return np.empty((self._n_blocks, len(self._of.factors), WIDTH), np.float32)

    def label(self) -> NDArray[np.int32]:
        """Return the index of the nearest center of the points that were read last, (m,).

        The next call overwrites the result.
        """
        of, labels = self._of, self._labels[: self._n_points]
        if len(of.centers) == 1:
            labels[:] = 0
            return labels
        products = NO_PRODUCTS
        if of.centers_per_matmul:
            n_used = -(-self._n_points // WIDTH)
            columns, products = self._scored[:n_used, :-_SIDE], self._products[:n_used]
            with np.errstate(all="ignore"):
                for first in range(0, len(of.factors), of.centers_per_matmul):
                    some = slice(first, first + of.centers_per_matmul)
                    np.matmul(of.factors[some, :-_SIDE], columns, out=products[:, some])
        label_tile(
            self._scored,
            self._exact,
            of.centers,
            of.factors,
            of.squares,
            of.errors,
            products,
            labels,
        )
        return labels

    def measure(self, labels: NDArray[np.int32], distances: Floats) -> None:
        """Write the squared distances (m,) of the points from the centers of their labels."""
        measure_tile(self._exact, self._of.centers, labels, distances)


def copy_columns(points: NDArray[Any], columns: NDArray[Any]) -> None:
    """Copy points (m, F) to columns (B, F or more, 128), m ≤ 128 B."""
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
def _squared_distance(columns: Any, i: int, centers: Any, k: int) -> Any:
    square = 0.0
    for j in range(centers.shape[1]):
        difference = np.float64(columns[j, i]) - centers[k, j]
        square += difference * difference
    return square


@inner_kernel
def _search_one(columns: Any, i: int, centers: Any) -> Any:
    """Return the index of the nearest center of a point, the first of equally near ones."""
    best, label = np.inf, 0
    for k in range(centers.shape[0]):
        square = _squared_distance(columns, i, centers, k)
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
    """Write the parameters of `label_tile` that depend on the centers (K, F).

    `middle` (F,) is any point, and `is_origin` whether the columns are the coordinates from it.
    Entries of centers and of features that fill up do not change. Numbers that are too large for
    float32 become infinite.
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


@partial(inner_kernel, fastmath={"contract"})
def label_block(
    columns: NDArray[np.float32],
    exact: NDArray[Any],
    centers: NDArray[np.float64],
    factors: NDArray[np.float32],
    squares: NDArray[np.float32],
    errors: NDArray[np.float32],
    products: NDArray[np.float32],
    scratch: NDArray[np.float32],
    best_labels: NDArray[np.int32],
    labels: NDArray[np.int32],
) -> None:
    """Write the labels (n,), n ≤ 128, of the points of one block.

    `columns` and `exact` are those of the block, and `products` (1 or 0, K or more, 128), too; the
    other parameters are described in `label_tile`. `scratch` (7, 128), which is 0 before the first
    call, and `best_labels` (128,) are working memory.
    """
    scores, best, second, sizes = scratch[:4], scratch[4], scratch[5], scratch[6]
    knows_products = products.shape[0] > 0
    # The last four products of a score are summed together with the search of the lowest score,
    # which saves writing and reading it: 20 % of the time for four features and eight centers.
    last = factors.shape[1] - 4
    for i in range(WIDTH):
        sizes[i] = 0.0
        best[i] = second[i] = np.inf
        best_labels[i] = 0
    for j in range(columns.shape[0]):
        column = columns[j]
        for i in range(WIDTH):
            sizes[i] += abs(column[i])
    # The compiler vectorizes the innermost loops over a fixed number of points.
    for k in range(0, factors.shape[0], 4):
        rows = products[0, k : k + 4] if knows_products else scores
        s0, s1, s2, s3 = rows[0], rows[1], rows[2], rows[3]
        if last and not knows_products:
            scores[:] = 0
        for j in range(0, 0 if knows_products else last, 4):
            a, b, c, d = columns[j], columns[j + 1], columns[j + 2], columns[j + 3]
            a0, b0 = factors[k, j], factors[k, j + 1]
            c0, d0 = factors[k, j + 2], factors[k, j + 3]
            a1, b1 = factors[k + 1, j], factors[k + 1, j + 1]
            c1, d1 = factors[k + 1, j + 2], factors[k + 1, j + 3]
            a2, b2 = factors[k + 2, j], factors[k + 2, j + 1]
            c2, d2 = factors[k + 2, j + 2], factors[k + 2, j + 3]
            a3, b3 = factors[k + 3, j], factors[k + 3, j + 1]
            c3, d3 = factors[k + 3, j + 2], factors[k + 3, j + 3]
            for i in range(WIDTH):
                x, y, z, w = a[i], b[i], c[i], d[i]
                s0[i] += x * a0 + y * b0 + z * c0 + w * d0
                s1[i] += x * a1 + y * b1 + z * c1 + w * d1
                s2[i] += x * a2 + y * b2 + z * c2 + w * d2
                s3[i] += x * a3 + y * b3 + z * c3 + w * d3
        k0, k1, k2, k3 = np.int32(k), np.int32(k + 1), np.int32(k + 2), np.int32(k + 3)
        q0, q1, q2, q3 = squares[k], squares[k + 1], squares[k + 2], squares[k + 3]
        a, b, c, d = columns[last], columns[last + 1], columns[last + 2], columns[last + 3]
        a0, b0 = factors[k, last], factors[k, last + 1]
        c0, d0 = factors[k, last + 2], factors[k, last + 3]
        a1, b1 = factors[k + 1, last], factors[k + 1, last + 1]
        c1, d1 = factors[k + 1, last + 2], factors[k + 1, last + 3]
        a2, b2 = factors[k + 2, last], factors[k + 2, last + 1]
        c2, d2 = factors[k + 2, last + 2], factors[k + 2, last + 3]
        a3, b3 = factors[k + 3, last], factors[k + 3, last + 1]
        c3, d3 = factors[k + 3, last + 2], factors[k + 3, last + 3]
        for i in range(WIDTH):
            x, y, z, w = a[i], b[i], c[i], d[i]
            lowest, other, label = best[i], second[i], best_labels[i]
            score = s0[i] + q0 + x * a0 + y * b0 + z * c0 + w * d0
            other = min(other, max(score, lowest))
            label = k0 if score < lowest else label
            lowest = min(score, lowest)
            score = s1[i] + q1 + x * a1 + y * b1 + z * c1 + w * d1
            other = min(other, max(score, lowest))
            label = k1 if score < lowest else label
            lowest = min(score, lowest)
            score = s2[i] + q2 + x * a2 + y * b2 + z * c2 + w * d2
            other = min(other, max(score, lowest))
            label = k2 if score < lowest else label
            lowest = min(score, lowest)
            score = s3[i] + q3 + x * a3 + y * b3 + z * c3 + w * d3
            other = min(other, max(score, lowest))
            label = k3 if score < lowest else label
            lowest = min(score, lowest)
            best[i], second[i], best_labels[i] = lowest, other, label
    n_found = 0
    for i in range(WIDTH):
        limit = errors[0] + sizes[i] * (errors[1] + sizes[i] * errors[2])
        # False for NaN, too.
        is_clear = limit < min(second[i] - best[i], errors[3])
        sizes[i] = is_clear
        n_found += not is_clear
    if n_found:
        for i in range(labels.shape[0]):
            if not sizes[i]:
                best_labels[i] = _search_one(exact, i, centers)
    for i in range(labels.shape[0]):
        labels[i] = best_labels[i]


@compile_kernel
def label_tile(
    columns: NDArray[np.float32],
    exact: NDArray[Any],
    centers: NDArray[np.float64],
    factors: NDArray[np.float32],
    squares: NDArray[np.float32],
    errors: NDArray[np.float32],
    products: NDArray[np.float32],
    labels: NDArray[np.int32],
) -> None:
    """Write the index of the nearest center of each point to `labels` (n,), n ≤ 128 B.

    Parameters
    ----------
    columns : (B, F, 128) array
        The coordinates of the points. F is a multiple of 4.
    exact : (B, F or less, 128) float32 or float64 array
        The coordinates before the origin was moved.
    centers : (K, F or less) array
    factors : (K or more, F) array
        The coordinates of the centers from their middle, times -2. The length is a multiple of 4.
    squares : (K or more,) array
        The scores of the origin of the columns, infinite for centers that fill up.
    errors : (4,) array
        The coefficients of a polynomial of degree 2 of the sum of the absolute coordinates of a
        point, and the value from which scores can overflow. The polynomial bounds the error of
        the difference of two scores of this point. If the two lowest scores do not differ by
        more, squared distances in float64 are compared.
    products : (B, K or more, 128) array
        The products of the factors and the columns, without those of the last four features;
        `NO_PRODUCTS` if they are not known yet.
    """
    scratch, best_labels = np.zeros((7, WIDTH), np.float32), np.empty(WIDTH, np.int32)
    for start in range(0, labels.shape[0], WIDTH):
        block = start // WIDTH
        label_block(
            columns[block],
            exact[block],
            centers,
            factors,
            squares,
            errors,
            products[block : block + 1],
            scratch,
            best_labels,
            labels[start : start + WIDTH],
        )


@compile_kernel
def measure_tile(
    columns: NDArray[Any],
    centers: NDArray[np.float64],
    labels: NDArray[np.int32],
    distances: NDArray[np.float64],
) -> None:
    """Write the squared distance of each point (n,) from the center of its label.

    `columns` (B, F or more, 128) are the coordinates of the points.
    """
    for i in range(labels.shape[0]):
        distances[i] = _squared_distance(columns[i // WIDTH], i % WIDTH, centers, labels[i])


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
    columns : (B, F or more, 128) float32 or float64 array
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
