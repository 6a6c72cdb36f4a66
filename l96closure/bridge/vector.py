"""Sixteen single-precision numbers side by side, as a type that compiled loops can hold in a register.

A loop written with this type is vectorised on every machine and always in the same way: what is added to what, and
where a product and a sum are rounded once, is in the source and not up to the optimiser. Machines with narrower
registers take two or four of them.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

__all__ = [
    "LANES",
    "VECTOR",
    "exp2",
    "fma",
    "fnma",
    "larger",
    "load",
    "root",
    "smaller",
    "splat",
    "store",
    "total",
    "where_below",
    "whole_lines",
]

LANES = 16


class _VectorType(types.Type):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


VECTOR = _VectorType()
_REAL = ir.VectorType(ir.FloatType(), LANES)
_BITS = ir.VectorType(ir.IntType(32), LANES)


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _REAL)


def _real(value: float) -> Any:
    return ir.Constant(_REAL, [float(np.float32(value))] * LANES)


def _bits(value: int) -> Any:
    return ir.Constant(_BITS, [value] * LANES)


def _fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(_REAL, [_REAL] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32"), [a, b, c])


def _permuted(builder: Any, value: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(value, ir.Constant(_REAL, ir.Undefined), ir.Constant(_BITS, order))


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _REAL.as_pointer())


@intrinsic  # type: ignore[untyped-decorator]
def load(context: Any, array: Any, index: Any) -> Any:
    """Read elements ``index`` to ``index + LANES`` of a C-ordered float32 array, seen as flat."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.load(_address(context, builder, signature.args[0], *arguments))
        value.align = 4
        return value

    return VECTOR(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def store(context: Any, value: Any, array: Any, index: Any) -> Any:
    """Write a vector to elements ``index`` to ``index + LANES`` of a C-ordered float32 array, seen as flat."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[0], _address(context, builder, signature.args[1], *arguments[1:])).align = 4
        return context.get_dummy_value()

    return types.void(VECTOR, array, types.intp), generate


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
        first = builder.insert_element(ir.Constant(_REAL, ir.Undefined), arguments[0], ir.Constant(ir.IntType(32), 0))
        return _permuted(builder, first, [0] * LANES)

    return VECTOR(types.float32), generate


@intrinsic  # type: ignore[untyped-decorator]
def fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a b + c, rounded once where the machine can."""
    return VECTOR(VECTOR, VECTOR, VECTOR), lambda context, builder, signature, abc: _fused(builder, *abc)


@intrinsic  # type: ignore[untyped-decorator]
def fnma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return c - a b, rounded once where the machine can."""

    def generate(context: Any, builder: Any, signature: Any, abc: Any) -> Any:
        return _fused(builder, builder.fneg(abc[0]), abc[1], abc[2])

    return VECTOR(VECTOR, VECTOR, VECTOR), generate


@intrinsic  # type: ignore[untyped-decorator]
def larger(context: Any, a: Any, b: Any) -> Any:
    """Return the larger of each pair."""

    def generate(context: Any, builder: Any, signature: Any, ab: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *ab), *ab)

    return VECTOR(VECTOR, VECTOR), generate


@intrinsic  # type: ignore[untyped-decorator]
def smaller(context: Any, a: Any, b: Any) -> Any:
    """Return the smaller of each pair."""

    def generate(context: Any, builder: Any, signature: Any, ab: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", *ab), *ab)

    return VECTOR(VECTOR, VECTOR), generate


@intrinsic  # type: ignore[untyped-decorator]
def where_below(context: Any, a: Any, limit: Any, value: Any) -> Any:
    """Return the value where a is below the limit, else zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, limit, value = arguments
        return builder.select(builder.fcmp_ordered("<", a, limit), value, _real(0.0))

    return VECTOR(VECTOR, VECTOR, VECTOR), generate


@intrinsic  # type: ignore[untyped-decorator]
def root(context: Any, a: Any) -> Any:
    """Square roots."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_REAL, [_REAL])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.sqrt.v{LANES}f32"), arguments)

    return VECTOR(VECTOR), generate


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

    return types.float32(VECTOR), generate


def _operator(symbol: Any, name: str) -> None:
    """Give the type an arithmetic operator, lowered to one instruction."""

    @infer_global(symbol)
    class Operator(AbstractTemplate):  # type: ignore[misc]
        def generic(self, arguments: Any, keywords: Any) -> Any:
            return VECTOR(VECTOR, VECTOR) if arguments == (VECTOR, VECTOR) else None

    @lower_builtin(symbol, VECTOR, VECTOR)  # type: ignore[untyped-decorator]
    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, name)(*arguments)


for _symbol, _name in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _operator(_symbol, _name)


_DEGREE = 5
_LEAST = -120.0  # 2^x below is taken as 2^-120: products with less would be denormal and many times slower
_SHIFTER = 1.5 * 2.0**23  # added to a number, its fraction bits are the number's nearest integer


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
    """Return 2^a for a below 127 with a relative error of 2e-7; 2^-120 for a below -120."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (x,) = arguments
        x = builder.select(builder.fcmp_ordered(">", x, _real(_LEAST)), x, _real(_LEAST))
        shifted = builder.fadd(x, _real(_SHIFTER))
        fraction = builder.fsub(x, builder.fsub(shifted, _real(_SHIFTER)))
        leading, *others = _polynomial(_DEGREE)
        power = _real(leading)
        for coefficient in others:
            power = _fused(builder, power, fraction, _real(coefficient))
        exponent = builder.shl(builder.bitcast(shifted, _BITS), _bits(23))
        return builder.bitcast(builder.add(builder.bitcast(power, _BITS), exponent), _REAL)

    return VECTOR(VECTOR), generate
