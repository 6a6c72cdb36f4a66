"""Arrays without reference counts, for loops that pass many of them around.

Numba counts references of every array at every function it is passed to, also in a tuple, and even if the function is
inlined: tens of atomic additions for a query that takes a microsecond, and threads that share the arrays wait for each
other at each of them. Small queries take two to four times as long with counts. An unmanaged array has none; whoever
makes one sees to it that the owner lives on. Where numba keeps its counts in another way, arrays stay counted.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_OWNER = ("meminfo", "parent")  # the fields of an array that say whose memory it is


def _without_count(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.BaseTuple):
        pairs = zip(kind.types, cgutils.unpack_tuple(builder, value), strict=True)
        return context.make_tuple(builder, kind, [_without_count(context, builder, *pair) for pair in pairs])
    if not isinstance(kind, types.Array):
        return value
    fields = cgutils.create_struct_proxy(kind)(context, builder, value)
    try:
        for name in _OWNER:
            setattr(fields, name, cgutils.get_null_value(getattr(fields, name).type))
    except (AttributeError, KeyError):  # numba has another inside
        context.nrt.incref(builder, kind, value)  # as of any value that is returned
        return value
    return fields._getvalue()


@intrinsic  # type: ignore[untyped-decorator]
def unmanaged(context: Any, value: Any) -> Any:
    """Return an array, or a tuple of arrays, numbers and such tuples, whose arrays are not counted."""
    return value(value), lambda context, builder, signature, arguments: _without_count(
        context, builder, value, arguments[0]
    )
