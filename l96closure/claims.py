"""Work that threads take from a common board, each at its own pace, without ever waiting for one that was interrupted.

A place of the board is free, claimed or finished. Whoever claims a place does its work and writes the result to where
all can read it, then calls it finished. Who needs a result that another has claimed looks for it for some microseconds
and then makes it again for itself: so a thread that the system has put to sleep holds nobody up, which matters on a
machine that others use too. Results have to be the same whoever makes them.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from l96closure.arrays import I64
from l96closure.compiled import part

Board = I64

FREE, CLAIMED = 0, -1
_LOOKS = 20_000  # some ten microseconds


def _place(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    data = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0]).data
    return builder.gep(data, [arguments[1]])


@intrinsic  # type: ignore[untyped-decorator]
def _swap(context: Any, board: Any, i: Any, old: Any, new: Any) -> Any:
    """Write ``new`` where ``old`` stands, at one go, and tell whether it stood there."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature, arguments)
        return builder.extract_value(builder.cmpxchg(place, *arguments[2:], "acq_rel", "acquire"), 1)

    return types.boolean(board, types.intp, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _read(context: Any, board: Any, i: Any) -> Any:
    """Read a place, and after it what was written before it was."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_place(context, builder, signature, arguments), "acquire", 8)

    return types.int64(board, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def _write(context: Any, board: Any, i: Any, value: Any) -> Any:
    """Write a place after all that was written before it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store_atomic(arguments[2], _place(context, builder, signature, arguments), "release", 8)
        return context.get_dummy_value()

    return types.void(board, types.intp, types.int64), generate


@part
def claim(board: Board, i: int) -> bool:
    """Claim a place of the board (rows, columns), counted along the rows; whether it was free."""
    return _swap(board, i, FREE, CLAIMED)


@part
def finish(board: Board, i: int, result: int) -> None:
    """Call a place finished, with a positive number."""
    _write(board, i, result)


@part
def found(board: Board, i: int) -> int:
    """Return the number that a claimed place was finished with, or FREE where that does not happen in good time."""
    result = _read(board, i)
    for _ in range(_LOOKS):
        if result > FREE:
            return result
        result = _read(board, i)
    return FREE
