"""Weighted sums of vectors that stay in registers, the code for each term one after the other."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from l96closure.vector import LANES, call_llvm, permuted


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
        total = call_llvm(builder, "fmuladd", [_element(builder, data, first + i, total.type), one, total])
    return total


def _element(builder: Any, data: Any, index: int, kind: Any) -> Any:
    """Return a vector of copies of element ``index`` of what ``data`` points to."""
    number = builder.load(builder.gep(data, [ir.Constant(ir.IntType(64), index)]))
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    return permuted(builder, first, [0] * LANES)


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
            before = call_llvm(builder, "fmuladd", [inner, x[i], so_far])
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
                call_llvm(builder, "fmuladd", [_element(builder, data, 4 * i + j, phi.type), x[i], phi])
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
