"""Vectors of numbers that stand at many places, and their places written down."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from l96closure.vector import DOUBLE, LANES, VECTORS, address, permuted


def _converted(builder: Any, numbers: Any) -> Any:
    """Return whole numbers below 2^31 as integers of 64 bits, by way of 32, which all machines convert to."""
    places = builder.fptosi(numbers, ir.VectorType(ir.IntType(32), LANES))
    return builder.zext(places, ir.VectorType(ir.IntType(64), LANES))


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def load_each(context: Any, array: Any, places: Any, first: Any, index: Any, count: Any) -> Any:
    """Return a tuple of ``count`` vectors, a constant: from ``places[first + i] + index`` for each i."""
    vectors = types.UniTuple(VECTORS[array.dtype], count.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, places, first, index, _ = arguments
        data = cgutils.create_struct_proxy(signature.args[1])(context, builder, places).data
        loaded = []
        for i in range(len(vectors)):
            place = builder.load(builder.gep(data, [builder.add(first, ir.Constant(first.type, i))]))
            where = address(context, builder, signature.args[0], values, builder.add(place, index))
            loaded.append(builder.load(where))
            loaded[-1].align = array.dtype.bitwidth // 8
        return context.make_tuple(builder, vectors, loaded)

    return vectors(array, places, types.intp, types.intp, count), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def load_pieces(context: Any, array: Any, first: Any, places: Any, length: Any) -> Any:
    """Return two vectors, one after the other, of pieces of a constant length: from ``first + places[i]`` for each i.

    A piece that stands in what one vector has written need not wait until that is in memory.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, first, places, _ = arguments
        data = builder.gep(cgutils.create_struct_proxy(signature.args[0])(context, builder, values).data, [first])
        at = cgutils.create_struct_proxy(signature.args[2])(context, builder, places).data
        kind = ir.VectorType(ir.DoubleType(), length.literal_value)
        parts = []
        for i in range(2 * LANES // length.literal_value):
            place = builder.load(builder.gep(at, [ir.IntType(64)(i)]))
            parts.append(builder.load(builder.bitcast(builder.gep(data, [place]), kind.as_pointer())))
            parts[-1].align = types.float64.bitwidth // 8
        while len(parts) > 2:
            size = 2 * parts[0].type.count
            parts = [_picked(builder, a, b, range(size)) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return context.make_tuple(builder, pair, parts)

    pair = types.UniTuple(DOUBLE, 2)
    return pair(array, types.intp, places, length), generate


@intrinsic  # type: ignore[untyped-decorator]
def gather(context: Any, array: Any, where: Any, further: Any) -> Any:
    """Read the elements whose numbers are ``where``, whole numbers below 2^31, + ``further`` of an array of doubles."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, where, further = arguments
        data = cgutils.create_struct_proxy(signature.args[0])(context, builder, array).data
        integers, mask = ir.VectorType(ir.IntType(64), LANES), ir.VectorType(ir.IntType(1), LANES)
        bytes_on = builder.shl(_converted(builder, where), ir.Constant(integers, [3] * LANES))
        start = builder.ptrtoint(builder.gep(data, [further]), ir.IntType(64))
        first = builder.insert_element(ir.Constant(integers, ir.Undefined), start, ir.IntType(32)(0))
        addresses = builder.add(permuted(builder, first, [0] * LANES), bytes_on)
        pointers = builder.inttoptr(addresses, ir.VectorType(data.type, LANES))
        kinds = [pointers.type, ir.IntType(32), mask, where.type]
        name, signature = f"llvm.masked.gather.v{LANES}f64.v{LANES}p0", ir.FunctionType(where.type, kinds)
        read = cgutils.get_or_insert_function(builder.module, signature, name)
        nothing = ir.Constant(where.type, ir.Undefined)
        return builder.call(read, [pointers, ir.IntType(32)(8), ir.Constant(mask, [1] * LANES), nothing])

    return DOUBLE(array, DOUBLE, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def gather_fours(context: Any, array: Any, where: Any, further: Any) -> Any:
    """Read as :func:`gather` does, and the three elements after each: a tuple of four vectors."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, where, further = arguments
        data = cgutils.create_struct_proxy(signature.args[0])(context, builder, array).data
        places = _converted(builder, where)
        numbers = [builder.extract_element(places, ir.IntType(32)(i)) for i in range(LANES)]
        return context.make_tuple(builder, fours, _fours(builder, builder.gep(data, [further]), numbers))

    fours = types.UniTuple(DOUBLE, 4)
    return fours(array, DOUBLE, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def load_fours(context: Any, array: Any, places: Any, first: Any, further: Any) -> Any:
    """Do as :func:`gather_fours`, from ``places[first]`` on, integers of 32 bits, + ``further``.

    Where many are read one after the other it is faster than to take them out of vectors; for a few it is slower.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, places, first, further = arguments
        data = cgutils.create_struct_proxy(signature.args[0])(context, builder, values).data
        at = cgutils.create_struct_proxy(signature.args[1])(context, builder, places).data
        loads = [builder.load(builder.gep(at, [builder.add(first, ir.IntType(64)(i))])) for i in range(LANES)]
        numbers = [builder.zext(one, ir.IntType(64)) for one in loads]
        return context.make_tuple(builder, fours, _fours(builder, builder.gep(data, [further]), numbers))

    fours = types.UniTuple(VECTORS[array.dtype], 4)
    return fours(array, places, types.intp, types.intp), generate


def _fours(builder: Any, start: Any, places: list[Any]) -> list[Any]:
    """Return four vectors, of what stands at some places and after them.

    Eight places at a time: what belongs to the first and the fifth stands side by side in a register, and so on, so
    that two exchanges put each of the four elements together.
    """
    read, four = [], ir.VectorType(ir.DoubleType(), 4)
    for place in places:
        read.append(builder.load(builder.bitcast(builder.gep(start, [place]), four.as_pointer())))
        read[-1].align = types.float64.bitwidth // 8
    halves = [_transposed(builder, read[:8]), _transposed(builder, read[8:])]
    return [_picked(builder, one, other, range(LANES)) for one, other in zip(*halves, strict=True)]


def _picked(builder: Any, a: Any, b: Any, order: Iterable[int]) -> Any:
    """Return elements of two vectors, one after the other, by number."""
    numbers = list(order)
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), numbers))


def _transposed(builder: Any, fours: list[Any]) -> list[Any]:
    """Return four vectors of eight, given eight of four."""
    sides = [_picked(builder, fours[i], fours[4 + i], range(8)) for i in range(4)]
    found = []
    for element in range(4):
        alternate = [8 * side + element % 2 + i for i in range(0, 8, 2) for side in range(2)]
        one, other = (_picked(builder, sides[i], sides[i + 1], alternate) for i in (0, 2))
        begins = [8 * side + half + element - element % 2 for half in (0, 4) for side in (0, 1)]
        found.append(_picked(builder, one, other, (begin + i for begin in begins for i in (0, 1))))
    return found


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def store_turned(
    context: Any, array: Any, first: Any, apart: Any, rows: Any, out: Any, place: Any, between: Any
) -> Any:  # fmt: skip
    """Write eight columns of some rows of numbers, a constant, 4 or 8: one after the other, each in a row.

    Row i begins at ``array[first + apart i]``, and column j is written from ``out[place + between j]`` on; both arrays
    are C-ordered and seen as flat.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, first, apart, _, out, place, between = arguments
        data, into = (
            builder.gep(cgutils.create_struct_proxy(kind)(context, builder, one).data, [start])
            for kind, one, start in ((signature.args[0], array, first), (signature.args[4], out, place))
        )
        size, row = rows.literal_value, ir.VectorType(ir.DoubleType(), 8)
        read = []
        for _i in range(size):
            read.append(builder.load(builder.bitcast(data, row.as_pointer())))
            read[-1].align = types.float64.bitwidth // 8
            data = builder.gep(data, [apart])
        columns = _turned(builder, read)
        column = columns[0].type
        for one in columns:
            builder.store(one, builder.bitcast(into, column.as_pointer())).align = types.float64.bitwidth // 8
            into = builder.gep(into, [between])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, rows, out, types.intp, types.intp), generate


def _turned(builder: Any, rows: list[Any]) -> list[Any]:
    """Return the eight columns of four or eight rows, by exchanges of single numbers, of pairs, and of fours."""
    step, size = 1, len(rows)
    while step < size:
        for i in range(size):
            if i & step == 0:
                a, b = rows[i], rows[i + step]
                upper = [j - step + 8 if j & step else j for j in range(8)]
                rows[i], rows[i + step] = (
                    _picked(builder, a, b, upper),
                    _picked(builder, a, b, (j + step for j in upper)),
                )
        step *= 2
    if size == 8:
        return rows
    return [_picked(builder, one, one, range(first, first + 4)) for first in (0, 4) for one in rows]


@intrinsic  # type: ignore[untyped-decorator]
def store_whole(context: Any, value: Any, array: Any, index: Any) -> Any:
    """Write whole numbers, from 0 on and below 2^31, to elements ``index`` and following of integers of 32 bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, array, index = arguments
        data = cgutils.create_struct_proxy(signature.args[1])(context, builder, array).data
        integers = builder.fptosi(value, ir.VectorType(ir.IntType(32), LANES))
        place = builder.bitcast(builder.gep(data, [index]), integers.type.as_pointer())
        builder.store(integers, place).align = 4
        return context.get_dummy_value()

    return types.void(value, array, types.intp), generate
