"""Sixteen numbers side by side, in single or double precision, as a type that compiled loops hold in registers.

A loop written with this type is vectorised on every machine and always in the same way: what is added to what, and
where a product and a sum are rounded once, is in the source and not up to the optimiser. Machines with narrower
registers take two or four of them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

__all__ = [
    "LANES",
    "aligned_stack",
    "append_within",
    "dot",
    "element",
    "exceeds",
    "exp2",
    "floor",
    "fma",
    "fnma",
    "four_sums",
    "gather",
    "gather_fours",
    "larger",
    "load",
    "load_each",
    "load_fours",
    "quadratic",
    "root",
    "shifted",
    "smaller",
    "splat",
    "store",
    "store_whole",
    "total",
    "where_below",
    "whole_lines",
]

LANES = 16


class _VectorType(types.Type):  # type: ignore[misc]
    def __init__(self, element: Any) -> None:
        self.element = element
        super().__init__(name=f"{element.name}x{LANES}")


SINGLE, DOUBLE = _VectorType(types.float32), _VectorType(types.float64)
_VECTORS = {vector.element: vector for vector in (SINGLE, DOUBLE)}
_LLVM = {SINGLE: ir.VectorType(ir.FloatType(), LANES), DOUBLE: ir.VectorType(ir.DoubleType(), LANES)}


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _LLVM[numba_type])


def _real(like: Any, value: float) -> Any:
    """Return a constant of the type of ``like``, a vector or a number in double precision."""
    number = float(np.float32(value)) if like.type == _LLVM[SINGLE] else value
    return ir.Constant(like.type, [number] * LANES if isinstance(like.type, ir.VectorType) else number)


def _call(builder: Any, name: str, arguments: Any) -> Any:
    """Call the LLVM intrinsic of arguments that all have the type of the first."""
    kind = arguments[0].type
    signature = ir.FunctionType(kind, [kind] * len(arguments))
    suffix = "f64" if kind == ir.DoubleType() else f"v{LANES}f{32 if kind == _LLVM[SINGLE] else 64}"
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.{suffix}"), arguments)


def _permuted(builder: Any, value: Any, order: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), order)
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), mask)


def _converted(builder: Any, numbers: Any) -> Any:
    """Return whole numbers below 2^31 as integers of 64 bits, by way of 32, which all machines convert to."""
    places = builder.fptosi(numbers, ir.VectorType(ir.IntType(32), LANES))
    return builder.zext(places, ir.VectorType(ir.IntType(64), LANES))


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _LLVM[_VECTORS[array_type.dtype]].as_pointer())


@intrinsic  # type: ignore[untyped-decorator]
def aligned_stack(context: Any) -> Any:
    """Let the function that calls it keep vectors in whole cache lines of its stack.

    LLVM aligns a stack for what has a place there from the start, not for registers that it puts aside later.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = cgutils.alloca_once(builder, _LLVM[SINGLE])
        place.align = 64
        kind = ir.FunctionType(ir.VoidType(), [place.type])
        builder.asm(kind, "", "r,~{memory}", [place], side_effect=True)  # else it would be left out
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic  # type: ignore[untyped-decorator]
def load(context: Any, array: Any, index: Any) -> Any:
    """Read elements ``index`` to ``index + LANES`` of a C-ordered array of floats, seen as flat."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.load(_address(context, builder, signature.args[0], *arguments))
        value.align = array.dtype.bitwidth // 8
        return value

    return _VECTORS[array.dtype](array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def element(context: Any, array: Any, index: Any) -> Any:
    """Return an element of a C-ordered array, seen as flat; ``index`` is not negative, and nothing is done about it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0]).data
        return builder.load(builder.gep(data, [arguments[1]]))

    return array.dtype(array, types.intp), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def load_each(context: Any, array: Any, places: Any, first: Any, index: Any, count: Any) -> Any:
    """Return a tuple of ``count`` vectors, a constant: from ``places[first + i] + index`` for each i."""
    vectors = types.UniTuple(_VECTORS[array.dtype], count.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, places, first, index, _ = arguments
        data = cgutils.create_struct_proxy(signature.args[1])(context, builder, places).data
        loaded = []
        for i in range(len(vectors)):
            place = builder.load(builder.gep(data, [builder.add(first, ir.Constant(first.type, i))]))
            address = _address(context, builder, signature.args[0], values, builder.add(place, index))
            loaded.append(builder.load(address))
            loaded[-1].align = array.dtype.bitwidth // 8
        return context.make_tuple(builder, vectors, loaded)

    return vectors(array, places, types.intp, types.intp, count), generate


@intrinsic  # type: ignore[untyped-decorator]
def dot(context: Any, a: Any, first: Any, x: Any, start: Any) -> Any:
    """Return start + sum_i a[first + i] x_i, of a tuple x of vectors; in this order, each product and sum fused."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, first, x, total = arguments
        data = builder.gep(cgutils.create_struct_proxy(signature.args[0])(context, builder, a).data, [first])
        return _dot(builder, data, 0, cgutils.unpack_tuple(builder, x), total)

    return start(a, types.intp, x, start), generate


def _dot(builder: Any, data: Any, first: int, x: Any, total: Any) -> Any:
    for i, one in enumerate(x):
        total = _call(builder, "fmuladd", [_element(builder, data, first + i, total.type), one, total])
    return total


def _element(builder: Any, data: Any, index: int, kind: Any) -> Any:
    """Return a vector of copies of element ``index`` of what ``data`` points to."""
    number = builder.load(builder.gep(data, [ir.Constant(ir.IntType(64), index)]))
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    return _permuted(builder, first, [0] * LANES)


@intrinsic  # type: ignore[untyped-decorator]
def quadratic(context: Any, a: Any, first: Any, start: Any, x: Any, total: Any) -> Any:
    """Return total + sum_{i >= start} x_i (b_i + sum_{k >= i} c_ik x_k), of a tuple x of vectors.

    From ``a[first]`` on stand b_i and c_ii, c_i,i+1, ... of each i, from ``start`` on. The code for all i stands in a
    row, entered where ``start`` says, so that the x stay in registers.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, first, start, x, total = arguments
        x, before, entry = cgutils.unpack_tuple(builder, x), total, builder.block
        data = cgutils.create_struct_proxy(signature.args[0])(context, builder, a).data
        rows = [builder.append_basic_block(f"row{i}") for i in range(len(x))]
        done = builder.append_basic_block("done")
        where = [sum(len(x) - k + 1 for k in range(i)) for i in range(len(x))]  # of b_i, where start is 0
        table = cgutils.global_constant(builder, "skipped", ir.Constant(ir.ArrayType(ir.IntType(64), len(x)), where))
        skipped = builder.load(builder.gep(table, [ir.Constant(ir.IntType(64), 0), start]))
        data = builder.gep(data, [builder.sub(first, skipped)])
        jump = builder.switch(start, done)
        for i, row in enumerate(rows):
            jump.add_case(ir.Constant(start.type, i), row)
            builder.position_at_end(row)
            so_far = builder.phi(total.type)
            so_far.add_incoming(total, entry)
            if i:
                so_far.add_incoming(before, rows[i - 1])
            inner = _dot(builder, data, where[i] + 1, x[i:], _element(builder, data, where[i], total.type))
            before = _call(builder, "fmuladd", [inner, x[i], so_far])
            builder.branch(rows[i + 1] if i + 1 < len(rows) else done)
        builder.position_at_end(done)
        result = builder.phi(total.type)
        result.add_incoming(total, entry)
        result.add_incoming(before, rows[-1])
        return result

    return total(a, types.intp, types.intp, x, total), generate


@intrinsic  # type: ignore[untyped-decorator]
def four_sums(context: Any, a: Any, first: Any, start: Any, x: Any, totals: Any) -> Any:
    """Return totals_j + sum_{i >= start} a_ij x_i, a tuple for j = 0 to 3, of a tuple x of vectors.

    From ``a[first]`` on stand the four a_ij of each i, from ``start`` on. As in :func:`quadratic` the x stay in
    registers.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, first, start, x, totals = arguments
        x, sums, entry = cgutils.unpack_tuple(builder, x), cgutils.unpack_tuple(builder, totals), builder.block
        data = cgutils.create_struct_proxy(signature.args[0])(context, builder, a).data
        data = builder.gep(data, [builder.sub(first, builder.mul(start, ir.Constant(start.type, 4)))])
        terms = [builder.append_basic_block(f"term{i}") for i in range(len(x))]
        done = builder.append_basic_block("done")
        jump, so_far = builder.switch(start, done), sums
        for i, term in enumerate(terms):
            jump.add_case(ir.Constant(start.type, i), term)
            builder.position_at_end(term)
            entering = [builder.phi(one.type) for one in sums]
            for phi, at_entry, before in zip(entering, sums, so_far, strict=True):
                phi.add_incoming(at_entry, entry)
                if i:
                    phi.add_incoming(before, terms[i - 1])
            so_far = [
                _call(builder, "fmuladd", [_element(builder, data, 4 * i + j, phi.type), x[i], phi])
                for j, phi in enumerate(entering)
            ]
            builder.branch(terms[i + 1] if i + 1 < len(x) else done)
        builder.position_at_end(done)
        results = [builder.phi(one.type) for one in sums]
        for phi, at_entry, before in zip(results, sums, so_far, strict=True):
            phi.add_incoming(at_entry, entry)
            phi.add_incoming(before, terms[-1])
        return context.make_tuple(builder, totals_type, results)

    totals_type = totals
    return totals(a, types.intp, types.intp, x, totals), generate


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
        addresses = builder.add(_permuted(builder, first, [0] * LANES), bytes_on)
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

    fours = types.UniTuple(_VECTORS[array.dtype], 4)
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


@intrinsic  # type: ignore[untyped-decorator]
def store(context: Any, value: Any, array: Any, index: Any) -> Any:
    """Write a vector to elements ``index`` to ``index + LANES`` of a C-ordered array of floats, seen as flat."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _address(context, builder, signature.args[1], *arguments[1:])
        builder.store(arguments[0], place).align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(value, array, types.intp), generate


@numba.njit(forceinline=True)  # type: ignore[untyped-decorator]
def whole_lines(n: int) -> npt.NDArray[np.float32]:
    """Zeros (n,) in cache lines of their own, which vectors do not straddle and no other thread writes to."""
    memory = np.zeros(n + 2 * LANES, np.float32)
    start = -(memory.ctypes.data // memory.itemsize) % LANES
    return memory[start : start + n]


@intrinsic  # type: ignore[untyped-decorator]
def splat(context: Any, number: Any) -> Any:
    """Return a vector of equal numbers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        undefined = ir.Constant(_LLVM[_VECTORS[number]], ir.Undefined)
        first = builder.insert_element(undefined, arguments[0], ir.Constant(ir.IntType(32), 0))
        return _permuted(builder, first, [0] * LANES)

    return _VECTORS[number](number), generate


@intrinsic  # type: ignore[untyped-decorator]
def fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a b + c, rounded once where the machine can."""
    return a(a, a, a), lambda context, builder, signature, abc: _call(builder, "fmuladd", abc)


@intrinsic  # type: ignore[untyped-decorator]
def fnma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return c - a b, rounded once where the machine can."""
    return a(a, a, a), lambda context, builder, signature, abc: _call(
        builder, "fmuladd", [builder.fneg(abc[0]), *abc[1:]]
    )


@intrinsic  # type: ignore[untyped-decorator]
def larger(context: Any, a: Any, b: Any) -> Any:
    """Return the larger of each pair."""
    return a(a, a), lambda context, builder, signature, ab: builder.select(builder.fcmp_ordered(">", *ab), *ab)


@intrinsic  # type: ignore[untyped-decorator]
def smaller(context: Any, a: Any, b: Any) -> Any:
    """Return the smaller of each pair."""
    return a(a, a), lambda context, builder, signature, ab: builder.select(builder.fcmp_ordered("<", *ab), *ab)


@intrinsic  # type: ignore[untyped-decorator]
def exceeds(context: Any, a: Any, b: Any) -> Any:
    """Return whether any of a is greater than what is beside it in b."""

    def generate(context: Any, builder: Any, signature: Any, ab: Any) -> Any:
        places = ir.IntType(LANES)
        return builder.icmp_unsigned("!=", builder.bitcast(builder.fcmp_ordered(">", *ab), places), places(0))

    return types.boolean(a, a), generate


@intrinsic  # type: ignore[untyped-decorator]
def floor(context: Any, a: Any) -> Any:
    """Round down."""
    return a(a), lambda context, builder, signature, arguments: _call(builder, "floor", arguments)


@intrinsic  # type: ignore[untyped-decorator]
def where_below(context: Any, a: Any, limit: Any, value: Any) -> Any:
    """Return the value where a is below the limit, else zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, limit, value = arguments
        return builder.select(builder.fcmp_ordered("<", a, limit), value, _real(value, 0.0))

    return a(a, a, a), generate


@intrinsic  # type: ignore[untyped-decorator]
def append_within(context: Any, a: Any, lower: Any, upper: Any, first: Any, array: Any, index: Any) -> Any:
    """Write ``first + i`` of each place i with ``lower <= a < upper`` to an array of 32-bit integers from ``index``.

    Returns how many these are; what follows them, up to ``LANES`` elements, is overwritten too.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, lower, upper, first, array, index = arguments
        short, integers = ir.IntType(32), ir.VectorType(ir.IntType(32), LANES)
        inside = builder.and_(builder.fcmp_ordered(">=", a, lower), builder.fcmp_ordered("<", a, upper))
        start = builder.insert_element(ir.Constant(integers, ir.Undefined), builder.trunc(first, short), short(0))
        places = builder.add(_permuted(builder, start, [0] * LANES), ir.Constant(integers, list(range(LANES))))
        data = cgutils.create_struct_proxy(signature.args[4])(context, builder, array).data
        address = builder.bitcast(builder.gep(data, [index]), integers.as_pointer())
        if binding.llvm_version_info >= (19,):
            name, kinds = "llvm.experimental.vector.compress", [integers, inside.type, integers]
            pack = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(integers, kinds), f"{name}.v{LANES}i32"
            )
            packed = builder.call(pack, [places, inside, ir.Constant(integers, ir.Undefined)])
            builder.store(packed, address).align = 4
        else:
            name, kinds = "llvm.masked.compressstore", [integers, data.type, inside.type]
            pack = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), kinds), f"{name}.v{LANES}i32"
            )
            builder.call(pack, [places, builder.gep(data, [index]), inside])
        return builder.zext(builder.ctpop(builder.bitcast(inside, ir.IntType(LANES))), ir.IntType(64))

    return types.intp(a, a, a, types.intp, array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def root(context: Any, a: Any) -> Any:
    """Square roots."""
    return a(a), lambda context, builder, signature, arguments: _call(builder, "sqrt", arguments)


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def shifted(context: Any, a: Any, b: Any, first: Any) -> Any:
    """Return the numbers from number ``first``, a constant, on of those of a and, after them, b."""
    order = [first.literal_value + i for i in range(LANES)]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), order)
        return builder.shuffle_vector(arguments[0], arguments[1], mask)

    return a(a, a, first), generate


@intrinsic  # type: ignore[untyped-decorator]
def total(context: Any, a: Any) -> Any:
    """Sum of the numbers, by halves."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (value,) = arguments
        half = LANES // 2
        while half:
            value = builder.fadd(value, _permuted(builder, value, [(i + half) % LANES for i in range(LANES)]))
            half //= 2
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return a.element(a), generate


def _operator(symbol: Any, name: str) -> None:
    """Give the type an arithmetic operator, lowered to one instruction."""

    @type_callable(symbol)  # type: ignore[untyped-decorator]
    def typed(context: Any) -> Any:
        return lambda a, b: a if a == b and isinstance(a, _VectorType) else None

    @lower_builtin(symbol, _VectorType, _VectorType)  # type: ignore[untyped-decorator]
    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, name)(*arguments)


for _symbol, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
):
    _operator(_symbol, _name)


class _Exponential(NamedTuple):
    """How 2^x is evaluated in one precision.

    Attributes
    ----------
    degree : of the polynomial for the fraction.
    least : 2^x below is taken as 2^least: products with less would be denormal and many times slower.
    bits : of the fraction of a number. With 1.5 2^bits added to it, they are the number's nearest integer.
    width : of a number.
    """

    degree: int
    least: float
    bits: int
    width: int


_EXPONENTIAL = {SINGLE: _Exponential(5, -120.0, 23, 32), DOUBLE: _Exponential(11, -900.0, 52, 64)}
_EXPONENTIAL[types.float64] = _EXPONENTIAL[DOUBLE]


def _polynomial(degree: int) -> tuple[float, ...]:
    """Coefficients of 2^f for |f| <= 1/2, highest power first: the interpolant at the Chebyshev points.

    Plain scalar arithmetic gives the same bits in every process; they are constants of the compiled code.
    """
    x = [0.5 * math.cos((2 * k + 1) * math.pi / (2 * degree + 2)) for k in range(degree + 1)]
    newton = [2.0**t for t in x]  # divided differences
    for order in range(1, degree + 1):
        for k in range(degree, order - 1, -1):
            newton[k] = (newton[k] - newton[k - 1]) / (x[k] - x[k - order])
    power = [newton[degree]]
    for k in range(degree - 1, -1, -1):  # Horner's rule in (t - x_k), expanded
        power = [a - x[k] * b for a, b in zip([*power, 0.0], [0.0, *power], strict=True)]
        power[-1] += newton[k]
    return tuple(power)


@intrinsic  # type: ignore[untyped-decorator]
def exp2(context: Any, a: Any) -> Any:
    """Return 2^a with a relative error of 2e-7 or 1e-15; 2^-120 for a below -120, 2^-900 in double precision.

    It takes a number in double precision too, for loops that the compiler vectorises.
    """
    how = _EXPONENTIAL[a]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (x,) = arguments
        least, shifter = _real(x, how.least), _real(x, 1.5 * 2.0**how.bits)
        x = builder.select(builder.fcmp_ordered(">", x, least), x, least)
        exactly = ("nsz",)  # numba leaves what has flags alone: fast math would take x + shifter - shifter for x
        shifted = builder.fadd(x, shifter, flags=exactly)
        fraction = builder.fsub(x, builder.fsub(shifted, shifter, flags=exactly), flags=exactly)
        leading, *others = _polynomial(how.degree)
        power = _real(x, leading)
        for coefficient in others:
            power = _call(builder, "fmuladd", [power, fraction, _real(x, coefficient)])
        one = ir.IntType(how.width)
        integers, bits = (ir.VectorType(one, LANES), [how.bits] * LANES) if a != types.float64 else (one, how.bits)
        exponent = builder.shl(builder.bitcast(shifted, integers), ir.Constant(integers, bits))
        return builder.bitcast(builder.add(builder.bitcast(power, integers), exponent), x.type)

    return a(a), generate
