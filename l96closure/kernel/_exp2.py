"""2^x in double precision for x <= 0, in a form that the compiler vectorises: see :mod:`vector` for single."""

from __future__ import annotations

import math
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["FAST", "exp2_double"]

# No reordering is allowed to invent or lose NaN here: queries and samples are finite by the time they arrive.
FAST = {"contract", "reassoc", "nsz", "nnan", "ninf", "arcp"}

_BIAS, _SHIFT = 1023, 52  # of the exponent bits
# Taylor coefficients of 2^f about 0, highest power first, for |f| <= 1/2: relative error 1e-16. They are constants of
# the compiled code and so of its cache; plain scalar arithmetic gives the same bits in every process.
_COEFFICIENTS = tuple(math.log(2.0) ** k / math.factorial(k) for k in range(13, -1, -1))


@intrinsic  # type: ignore[untyped-decorator]
def _parts(context: Any, x: Any) -> Any:
    """(rint(x) as a float, 2**rint(x)) for x <= 0; pure bit arithmetic, so it vectorises."""
    signature = types.UniTuple(types.float64, 2)(types.float64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (value,) = arguments
        bits = ir.IntType(64)
        rounded = builder.fptosi(builder.fsub(value, ir.Constant(value.type, 0.5)), ir.IntType(32))
        whole = builder.sitofp(rounded, value.type)
        biased = builder.add(builder.sext(rounded, bits), ir.Constant(bits, _BIAS))
        power = builder.bitcast(builder.shl(biased, ir.Constant(bits, _SHIFT)), value.type)
        return context.make_tuple(builder, signature.return_type, (whole, power))

    return signature, generate


@numba.njit(fastmath=FAST, inline="always")  # type: ignore[untyped-decorator]
def exp2_double(x: Any) -> Any:
    """2^x for x <= 0, 2^-900 below: products with less are denormal and twenty times slower."""
    x = max(x, -900.0)
    whole, power = _parts(x)
    f = x - whole
    p = _COEFFICIENTS[0]
    for a in _COEFFICIENTS[1:]:
        p = p * f + a
    return p * power
