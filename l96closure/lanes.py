"""Eight float64 side by side, as a type that compiled loops hold in registers.

A loop written with this type is vectorised on every machine, and its arithmetic is what the source says: no lane knows
of the others, and a product and a sum are rounded once where it says :func:`fma` and nowhere else. So a number has the
same bits in whichever lane it is computed. Where nothing is compiled (``NUMBA_DISABLE_JIT``) NumPy does the same with
arrays of eight, but for :func:`fma`, which it rounds twice.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_jitable, register_model

from l96closure.arrays import F64

LANES = 8


class _LanesType(types.Type):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(name=f"float64x{LANES}")


_TYPE = _LanesType()
_LLVM = ir.VectorType(ir.DoubleType(), LANES)


@register_model(_LanesType)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _LLVM)


def _interpreted_as(plain: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Make an intrinsic of a function that types it; where nothing is compiled, take the plain function instead."""
    return lambda typed: plain if numba.config.DISABLE_JIT else intrinsic(typed)


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _LLVM.as_pointer())


@_interpreted_as(lambda array, index: array[index : index + LANES].copy())
def load(context: Any, array: Any, index: Any) -> Any:
    """Read elements ``index`` to ``index + LANES`` of a flat array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.load(_address(context, builder, signature.args[0], *arguments))
        value.align = types.float64.bitwidth // 8
        return value

    return _TYPE(array, types.intp), generate


@_interpreted_as(lambda value, array, index: array.__setitem__(slice(index, index + LANES), value))
def store(context: Any, value: Any, array: Any, index: Any) -> Any:
    """Write to elements ``index`` to ``index + LANES`` of a flat array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _address(context, builder, signature.args[1], *arguments[1:])
        builder.store(arguments[0], place).align = types.float64.bitwidth // 8
        return context.get_dummy_value()

    return types.void(value, array, types.intp), generate


@_interpreted_as(lambda number: np.full(LANES, number))
def splat(context: Any, number: Any) -> Any:
    """Return the same number in all lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        nothing, integer = ir.Constant(_LLVM, ir.Undefined), ir.IntType(32)
        first = builder.insert_element(nothing, arguments[0], integer(0))
        return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(integer, LANES), [0] * LANES))

    return _TYPE(types.float64), generate


@_interpreted_as(lambda a, b, c: a * b + c)
def fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a b + c, rounded once; by the processor's instruction or, where it has none, by software."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_LLVM, [_LLVM] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f64"), arguments)

    return _TYPE(_TYPE, _TYPE, _TYPE), generate


def _operator(symbol: Any, name: str) -> None:
    """Give the type an arithmetic operator, lowered to one instruction."""

    @infer_global(symbol)
    class Operator(AbstractTemplate):  # type: ignore[misc]
        def generic(self, arguments: Any, keywords: Any) -> Any:
            return _TYPE(_TYPE, _TYPE) if arguments == (_TYPE, _TYPE) else None

    @lower_builtin(symbol, _LanesType, _LanesType)  # type: ignore[untyped-decorator]
    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, name)(*arguments)


for _symbol, _name in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _operator(_symbol, _name)


@register_jitable(forceinline=True)  # type: ignore[untyped-decorator]
def lines(n: int) -> F64:
    """Zeros (n,) that begin with a cache line, so that eight of them never straddle two."""
    memory = np.zeros(n + LANES)
    start = -(memory.ctypes.data // memory.itemsize) % LANES
    return memory[start : start + n]
