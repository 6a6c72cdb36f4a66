"""Sixteen numbers side by side, in single or double precision, as a type that compiled loops hold in registers.

A loop written with this type is vectorised on every machine and always in the same way: what is added to what, and
where a product and a sum are rounded once, is in the source and not up to the optimiser. Machines with narrower
registers take two or four of them. Reading at many places is in :mod:`l96closure.vector_places`, long sums are in
:mod:`l96closure.vector_sums`.
"""

from __future__ import annotations

import math
import operator
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_jitable, register_model, type_callable

from l96closure.arrays import F32

LANES = 16


class _VectorType(types.Type):  # type: ignore[misc]
    def __init__(self, element: Any) -> None:
        self.element = element
        super().__init__(name=f"{element.name}x{LANES}")


SINGLE, DOUBLE = _VectorType(types.float32), _VectorType(types.float64)
VECTORS = {vector.element: vector for vector in (SINGLE, DOUBLE)}
LLVM = {SINGLE: ir.VectorType(ir.FloatType(), LANES), DOUBLE: ir.VectorType(ir.DoubleType(), LANES)}


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, LLVM[numba_type])


def _real(like: Any, value: float) -> Any:
    """Return a constant of the type of ``like``, a vector or a number in double precision."""
    number = float(np.float32(value)) if like.type == LLVM[SINGLE] else value
    return ir.Constant(like.type, [number] * LANES if isinstance(like.type, ir.VectorType) else number)


def call_llvm(builder: Any, name: str, arguments: Any) -> Any:
    """Call the LLVM intrinsic of arguments that all have the type of the first."""
    kind = arguments[0].type
    signature = ir.FunctionType(kind, [kind] * len(arguments))
    suffix = "f64" if kind == ir.DoubleType() else f"v{LANES}f{32 if kind == LLVM[SINGLE] else 64}"
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.{suffix}"), arguments)


def permuted(builder: Any, value: Any, order: list[int]) -> Any:
    """Return the elements of a vector in another order."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), order)
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), mask)


def address(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Return the address of the vector that begins at a place of an array."""
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), LLVM[VECTORS[array_type.dtype]].as_pointer())


@intrinsic  # type: ignore[untyped-decorator]
def aligned_stack(context: Any) -> Any:
    """Let the function that calls it keep vectors in whole cache lines of its stack.

    LLVM aligns a stack for what has a place there from the start, not for registers that it puts aside later.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = cgutils.alloca_once(builder, LLVM[SINGLE])
        place.align = 64
        kind = ir.FunctionType(ir.VoidType(), [place.type])
        builder.asm(kind, "", "r,~{memory}", [place], side_effect=True)  # else it would be left out
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic  # type: ignore[untyped-decorator]
def load(context: Any, array: Any, index: Any) -> Any:
    """Read elements ``index`` to ``index + LANES`` of a C-ordered array of floats, seen as flat."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.load(address(context, builder, signature.args[0], *arguments))
        value.align = array.dtype.bitwidth // 8
        return value

    return VECTORS[array.dtype](array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def element(context: Any, array: Any, index: Any) -> Any:
    """Return an element of a C-ordered array, seen as flat; ``index`` is not negative, and nothing is done about it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0]).data
        return builder.load(builder.gep(data, [arguments[1]]))

    return array.dtype(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def store(context: Any, value: Any, array: Any, index: Any) -> Any:
    """Write a vector to elements ``index`` to ``index + LANES`` of a C-ordered array of floats, seen as flat."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = address(context, builder, signature.args[1], *arguments[1:])
        builder.store(arguments[0], place).align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(value, array, types.intp), generate


@register_jitable(forceinline=True)  # type: ignore[untyped-decorator]
def whole_lines(n: int) -> F32:
    """Zeros (n,) in cache lines of their own, which vectors do not straddle and no other thread writes to."""
    memory = np.zeros(n + 2 * LANES, np.float32)
    start = -(memory.ctypes.data // memory.itemsize) % LANES
    return memory[start : start + n]


@intrinsic  # type: ignore[untyped-decorator]
def splat(context: Any, number: Any) -> Any:
    """Return a vector of equal numbers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        undefined = ir.Constant(LLVM[VECTORS[number]], ir.Undefined)
        first = builder.insert_element(undefined, arguments[0], ir.Constant(ir.IntType(32), 0))
        return permuted(builder, first, [0] * LANES)

    return VECTORS[number](number), generate


@intrinsic  # type: ignore[untyped-decorator]
def fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a b + c, rounded once where the machine can."""
    return a(a, a, a), lambda context, builder, signature, abc: call_llvm(builder, "fmuladd", abc)


@intrinsic  # type: ignore[untyped-decorator]
def fnma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return c - a b, rounded once where the machine can."""
    return a(a, a, a), lambda context, builder, signature, abc: call_llvm(
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
    return a(a), lambda context, builder, signature, arguments: call_llvm(builder, "floor", arguments)


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
        places = builder.add(permuted(builder, start, [0] * LANES), ir.Constant(integers, list(range(LANES))))
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
    return a(a), lambda context, builder, signature, arguments: call_llvm(builder, "sqrt", arguments)


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def shifted(context: Any, a: Any, b: Any, first: Any) -> Any:
    """Return the numbers from number ``first``, a constant, on of those of a and, after them, b."""
    order = [first.literal_value + i for i in range(LANES)]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), order)
        return builder.shuffle_vector(arguments[0], arguments[1], mask)

    return a(a, a, first), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def shifted_by(context: Any, a: Any, b: Any, first: Any, least: Any, most: Any) -> Any:
    """Return what :func:`shifted` does, from a number known in the run alone, from ``least`` to ``most``, constants.

    What it returns for other numbers is undefined.
    """
    starts = range(least.literal_value, most.literal_value + 1)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one, other, number, *_ = arguments
        done, far = builder.append_basic_block("done"), builder.append_basic_block("far")
        jump, found = builder.switch(number, far), []
        for start in starts:
            place = builder.append_basic_block(f"from{start}")
            jump.add_case(ir.Constant(number.type, start), place)
            builder.position_at_end(place)
            mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [start + i for i in range(LANES)])
            found.append((builder.shuffle_vector(one, other, mask), place))
            builder.branch(done)
        builder.position_at_end(far)
        builder.unreachable()
        builder.position_at_end(done)
        result = builder.phi(one.type)
        for value, place in found:
            result.add_incoming(value, place)
        return result

    return a(a, a, types.intp, least, most), generate


@intrinsic  # type: ignore[untyped-decorator]
def total(context: Any, a: Any) -> Any:
    """Sum of the numbers, by halves."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (value,) = arguments
        half = LANES // 2
        while half:
            value = builder.fadd(value, permuted(builder, value, [(i + half) % LANES for i in range(LANES)]))
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
            power = call_llvm(builder, "fmuladd", [power, fraction, _real(x, coefficient)])
        one = ir.IntType(how.width)
        integers, bits = (ir.VectorType(one, LANES), [how.bits] * LANES) if a != types.float64 else (one, how.bits)
        exponent = builder.shl(builder.bitcast(shifted, integers), ir.Constant(integers, bits))
        return builder.bitcast(builder.add(builder.bitcast(power, integers), exponent), x.type)

    return a(a), generate
