"""2^x for x <= 0 in a form that the compiler vectorises: a polynomial, and the integer part as exponent bits."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["FAST", "exp2_double", "exp2_single"]

# No reordering is allowed to invent or lose NaN here: queries and samples are finite by the time they arrive.
FAST = {"contract", "reassoc", "nsz", "nnan", "ninf", "arcp"}


def _exponent_parts(real: Any, bits: Any, bias: int, shift: int) -> Any:
    """Make an intrinsic x -> (rint(x) as a float, 2**rint(x)) for x <= 0; pure bit arithmetic, so it vectorises."""

    @intrinsic  # type: ignore[untyped-decorator]
    def parts(context: Any, x: Any) -> Any:
        signature = types.UniTuple(real, 2)(real)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            (value,) = arguments
            rounded = builder.fptosi(builder.fsub(value, ir.Constant(value.type, 0.5)), ir.IntType(32))
            whole = builder.sitofp(rounded, value.type)
            wide = rounded if bits.width == 32 else builder.sext(rounded, bits)
            biased = builder.add(wide, ir.Constant(bits, bias))
            power = builder.bitcast(builder.shl(biased, ir.Constant(bits, shift)), value.type)
            return context.make_tuple(builder, signature.return_type, (whole, power))

        return signature, generate

    return parts


_parts32 = _exponent_parts(types.float32, ir.IntType(32), 127, 23)
_parts64 = _exponent_parts(types.float64, ir.IntType(64), 1023, 52)


def _exp2_coefficients(degree: int, dtype: type) -> tuple[Any, ...]:
    """Taylor coefficients of 2^f about 0, highest power first, for |f| <= 1/2.

    They are constants of the compiled code and so of its cache: plain scalar arithmetic gives the same bits in every
    process, where a fit through vectorised library calls need not.
    """
    return tuple(dtype(math.log(2.0) ** k / math.factorial(k)) for k in range(degree, -1, -1))


_C32 = _exp2_coefficients(6, np.float32)  # relative error 1e-7, the rounding of single precision
_C64 = _exp2_coefficients(13, np.float64)  # relative error 1e-16


@numba.njit(fastmath=FAST, inline="always")  # type: ignore[untyped-decorator]
def exp2_single(x: Any) -> Any:
    """2^x for x <= 0 in single precision, 2^-90 below: products with less are denormal and twenty times slower."""
    x = max(x, np.float32(-90.0))
    whole, power = _parts32(x)
    f = x - whole
    p = _C32[0]
    for a in _C32[1:]:
        p = p * f + a
    return p * power


@numba.njit(fastmath=FAST, inline="always")  # type: ignore[untyped-decorator]
def exp2_double(x: Any) -> Any:
    """2^x for x <= 0 in double precision, 2^-900 below, for the same reason."""
    x = max(x, -900.0)
    whole, power = _parts64(x)
    f = x - whole
    p = _C64[0]
    for a in _C64[1:]:
        p = p * f + a
    return p * power
