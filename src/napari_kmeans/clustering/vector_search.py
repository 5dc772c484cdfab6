"""Search the nearest centers of a block of points with the vector instructions of the processor.

numba also turns loops into vector instructions, but it keeps sums of products in memory, and uses
half of the width of AVX-512. The function here is written in the intermediate language of LLVM,
which numba compiles for any processor. It keeps the sums in registers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from napari_kmeans.execution.compiling import written_kernel

CENTERS_AT_ONCE = 4
"""Centers whose scores are summed at a time. The number of centers is a multiple of this number."""

_INDEX, _INT, _FLOAT, _BYTE = ir.IntType(64), ir.IntType(32), ir.FloatType(), ir.IntType(8)

_LINE = 16
"""The numbers in 64 bytes, which processors fetch from memory at a time."""


@written_kernel
def search_block(
    _typing: Any,
    columns: Any,
    place: Any,
    n_centers: Any,
    factors: Any,
    squares: Any,
    numbers: Any,
    limit: Any,
    is_repeated: Any,
    old_labels: Any,
    block: Any,
    labels: Any,
    marks: Any,
) -> Any:
    """Find the lowest score ``squares[k] + factors[k] @ columns[place, :, i]`` of each point i.

    Parameters
    ----------
    columns : (B, F, N) float32 array
        The coordinates of points. N is a multiple of 64.
    place : int64
    n_centers : int64
        A multiple of 4.
    factors : (`n_centers` or more, F) float32 array
    squares : (`n_centers` or more,) float32 array
    numbers : (`n_centers` or more,) int32 array
        The labels of the centers.
    limit : float32
    is_repeated : bool
        Whether to compare with `old_labels`.
    old_labels : (N * `block` + N or more,) int32 array
        The labels of the points begin at N * `block`.
    block : int64
    labels : (N,) int32 array
        Receives the label of the first of the lowest scores.
    marks : (N,) uint8 array
        Receives 2 for a point whose second lowest score is not larger by more than `limit`, or
        whose scores are NaN; 1 for other points whose label has changed; and 0 for the rest.

    Notes
    -----
    The points that follow in memory are fetched into the cache during the search. With 40 and
    more features this saves a third of the time. Addresses behind the end of an array may be
    fetched: nothing is read from there.
    """
    arguments = (
        *(columns, place, n_centers, factors, squares, numbers, limit),
        *(is_repeated, old_labels, block, labels, marks),
    )
    return types.void(*arguments), _write_search


def _write_search(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Write the instructions of `search_block`."""
    _, place, n_centers, _, _, _, limit, is_repeated, _, block, _, _ = arguments
    columns, factors, squares, numbers, old_labels, labels, marks = (
        context.make_array(kind)(context, builder, argument)
        for kind, argument in zip(signature.args, arguments, strict=True)
        if isinstance(kind, types.Array)
    )
    _, n_features, n_points = cgutils.unpack_tuple(builder, columns.shape)
    n_values = builder.mul(n_features, n_points)
    points = builder.gep(columns.data, [builder.mul(place, n_values)])
    former = builder.gep(old_labels.data, [builder.mul(block, n_points)])
    # AVX-512 has 32 registers of 16 numbers, of which 16 keep the sums of 64 points and 4 centers.
    # Other processors have 16 or 32 registers of 4 or 8 numbers.
    _, _, cpu_features = context.codegen().magic_tuple()
    vectors = _Vectors(builder, 64 if "+avx512f" in cpu_features else 16)
    limits, is_compared = vectors.repeat(limit), vectors.repeat(is_repeated)
    infinity = vectors.repeat(_FLOAT(float("inf")))
    sums = [vectors.variable(_FLOAT) for _ in range(CENTERS_AT_ONCE)]
    lowest, second, best = (vectors.variable(kind) for kind in (_FLOAT, _FLOAT, _INT))
    # All loops over features together fetch as many values as the block has.
    fetched = cgutils.alloca_once_value(builder, n_values)
    pace = builder.sdiv(_INDEX(CENTERS_AT_ONCE * vectors.size), n_centers)

    with _steps(builder, n_points, vectors.size) as (first, _):
        builder.store(infinity, lowest)
        builder.store(infinity, second)
        builder.store(vectors.repeat(vectors.load_one(numbers.data, _INDEX(0))), best)
        with _steps(builder, n_centers, CENTERS_AT_ONCE) as (k, _):
            centers = [builder.add(k, _INDEX(c)) for c in range(CENTERS_AT_ONCE)]
            rows = [builder.mul(center, n_features) for center in centers]
            for total, center in zip(sums, centers, strict=True):
                builder.store(vectors.repeat(vectors.load_one(squares.data, center)), total)
            with _steps(builder, n_features, 1) as (j, _):
                index = builder.add(builder.mul(j, n_points), first)
                coordinates = vectors.load(points, index, _FLOAT)
                for total, row in zip(sums, rows, strict=True):
                    factor = vectors.load_one(factors.data, builder.add(row, j))
                    vectors.add_product(total, coordinates, vectors.repeat(factor))
                vectors.fetch(points, builder.load(fetched), pace)
                builder.store(builder.add(builder.load(fetched), pace), fetched)
            for total, center in zip(sums, centers, strict=True):
                score, low = builder.load(total), builder.load(lowest)
                is_lower = builder.fcmp_ordered("<", score, low)
                other = builder.select(is_lower, low, score)
                is_second = builder.fcmp_ordered("<", other, builder.load(second))
                label = vectors.repeat(vectors.load_one(numbers.data, center))
                builder.store(builder.select(is_second, other, builder.load(second)), second)
                builder.store(builder.select(is_lower, label, builder.load(best)), best)
                builder.store(builder.select(is_lower, score, low), lowest)
        found = builder.load(best)
        is_changed = builder.icmp_signed("!=", found, vectors.load(former, first, _INT))
        margins = builder.fsub(builder.load(second), builder.load(lowest))
        # True for NaN, too.
        is_unclear = builder.fcmp_unordered("<=", margins, limits)
        rest = builder.zext(builder.and_(is_changed, is_compared), vectors.of(_BYTE))
        mark = builder.select(is_unclear, vectors.repeat(_BYTE(2)), rest)
        vectors.store(found, labels.data, first)
        vectors.store(mark, marks.data, first)
    return context.get_dummy_value()


def _steps(builder: Any, stop: Any, step: int) -> Any:
    """Return the context of a loop from 0 to `stop`, which gives the index."""
    return cgutils.for_range_slice(builder, _INDEX(0), stop, _INDEX(step), _INDEX)


@written_kernel
def fetch(_typing: Any, values: Any, _index: Any) -> Any:
    """Start to fetch the 64 bytes at an index of an array (n,) into the second cache.

    Addresses behind the end of the array may be fetched: nothing is read from there.
    """

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, index = arguments
        data = context.make_array(signature.args[0])(context, builder, values).data
        _prefetch(builder, builder.gep(data, [index]))
        return context.get_dummy_value()

    return types.void(values, types.int64), write


def _prefetch(builder: Any, place: Any) -> None:
    """Start to fetch the 64 bytes at an address into the second cache."""
    address = _BYTE.as_pointer()
    fetch_type = ir.FunctionType(ir.VoidType(), [address, _INT, _INT, _INT])
    function = builder.module.declare_intrinsic("llvm.prefetch", [address], fetch_type)
    is_for_writing, locality, is_data = _INT(0), _INT(2), _INT(1)
    builder.call(function, [builder.bitcast(place, address), is_for_writing, locality, is_data])


class _Vectors:
    """Instructions for vectors of some numbers.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    size : int
        The length of the vectors.
    """

    def __init__(self, builder: Any, size: int) -> None:
        self._builder, self.size = builder, size

    def of(self, kind: Any) -> Any:
        """Return the type of a vector."""
        return ir.VectorType(kind, self.size)

    def variable(self, kind: Any) -> Any:
        """Return the address of a variable, which the compiler keeps in registers."""
        return cgutils.alloca_once(self._builder, self.of(kind))

    def repeat(self, number: Any) -> Any:
        """Return a vector of equal numbers."""
        undefined, zeros = ir.Constant(self.of(number.type), ir.Undefined), [0] * self.size
        one = self._builder.insert_element(undefined, number, _INT(0))
        return self._builder.shuffle_vector(one, undefined, ir.Constant(self.of(_INT), zeros))

    def load_one(self, data: Any, index: Any) -> Any:
        """Return a number of an array."""
        return self._builder.load(self._builder.gep(data, [index]))

    def load(self, data: Any, index: Any, kind: Any) -> Any:
        """Return the numbers of an array from an index on."""
        return self._builder.load(self._address(data, index, self.of(kind)), align=4)

    def store(self, vector: Any, data: Any, index: Any) -> None:
        """Write numbers to an array from an index on."""
        self._builder.store(vector, self._address(data, index, vector.type), align=1)

    def add_product(self, total: Any, vector: Any, factors: Any) -> None:
        """Add a product to a variable."""
        # The processor may multiply and add with one instruction, and round once.
        flags = ("contract",)
        product = self._builder.fmul(vector, factors, flags=flags)
        self._builder.store(
            self._builder.fadd(self._builder.load(total), product, flags=flags), total
        )

    def fetch(self, data: Any, index: Any, pace: Any) -> None:
        """Start to fetch `pace` numbers of an array of float32 into the second cache."""
        n_lines = self.size // _LINE
        for line in range(n_lines):
            part = self._builder.sdiv(self._builder.mul(pace, _INDEX(line)), _INDEX(n_lines))
            _prefetch(self._builder, self._builder.gep(data, [self._builder.add(index, part)]))

    def _address(self, data: Any, index: Any, kind: Any) -> Any:
        return self._builder.bitcast(self._builder.gep(data, [index]), kind.as_pointer())
