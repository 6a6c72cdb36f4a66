"""Gauss rules along a trajectory: a run of neighbouring samples replaced by a few weighted nodes.

Consecutive samples of a trajectory are nearly copies of each other. A *run* of L of them, with weights v_j, is a
discrete measure on the curve x(t); its n-point Gauss rule in t (Golub & Welsch 1969) integrates every polynomial of
degree 2n - 1 along the curve exactly. The Lanczos process on diag(t) from sqrt(v) gives the Jacobi matrix, whose
eigenvalues are the nodes and whose eigenvectors U give positive weights w_i = (sum v) U_0i^2; in the Lanczos basis the
least-squares polynomial of degree n - 1 through the samples, taken at the nodes, is a product with U. Weights,
first moments, and second moments up to the residual of that polynomial, are matched exactly.

Bound. k(q, x) = 2^(-|q - x|^2) is a reproducing kernel with k(q, q) = 1. The error of the run's share of S_0 is the
inner product <k(q, .), e> with e = sum_j v_j k(x_j, .) - sum_i w_i k(X_i, .), so that for every query q

    |error of S_0| <= ||e|| = sqrt(c' K c),   c = (v, -w),   K the kernel matrix of the samples and the nodes,

by Cauchy-Schwarz: it is the worst case, and nothing is assumed of the curve. For a query far from the run the same
inequality, applied to k(q, x) = C int 2^(-2 |q - u|^2 - 2 |u - x|^2) du with weights 2^(-+ b |u|^2), says more: about
any origin, for 0 <= b < 1,

    |error of S_0|^2 <= (1 - b^2)^(-D/2) c' K_b c 2^(-4 b / (1 + b) |q|^2),
    K_b(x, y) = 2^(-|x - y|^2 + b / (1 - b) |x + y|^2);

b = 1/3 is taken, which gives 2^(-|q|^2) and K_b = 2^(|x|^2 + |y|^2 - 3/2 |x - y|^2). The error of the share of
sum v t (y - b), of one power of a value, obeys the same with c = (v (y - b), -w (Y - b)). The quadratic forms cancel,
so their rounding is added to the bound, which cannot be much smaller than 2e-8 of the run's weight.

Runs are cut to a path length; where the bound exceeds the tolerance, shorter ones are tried, and samples that are
not worth a rule (scattered, or so few that they are their own nodes) are handed back as they are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from l96closure.arrays import F64, Bools, Index
from l96closure.compiled import cached, shared
from l96closure.vector import exp2

LONGEST = 256  # samples in a run; more would not make it longer than its bound allows at the finest steps
_ARCS = tuple(4.0 * 0.75**k for k in range(8))  # path lengths tried, in kernel units: 4 down to 0.5
_RUNS = 512  # runs treated at a time
_NODES = 16  # nodes of a rule that stands for samples of equal weights
_RULE_SHARE = 2e-2  # part of the tolerance that such a rule may use up where its run's share is its whole weight


class Rules(NamedTuple):
    """Gauss rules of B runs of samples, ``count`` nodes each, and the samples that belong to none.

    Attributes
    ----------
    nodes : rows of the nodes (B, R, count).
    weights : (B, count), positive.
    error : bounds (B, 2, 1 + 2 C) on the error of the run's share of S_0, of the C sums of (y - b) v t, and of those of
        (y - b)^2 v t, where b is the run's mean of y: first for any query, then to be multiplied by 2^(-d^2 / 2), d the
        distance of the query from the middle of the box.
    lower, upper : the box of the run's samples and nodes (B, R).
    rest : the samples in no run.
    """

    nodes: F64
    weights: F64
    error: F64
    lower: F64
    upper: F64
    rest: Index


def run_edges(table: F64, size: int, arc: float) -> Index:
    """Cut consecutive samples into runs no longer than ``arc`` along the path and ``LONGEST`` samples.

    Parameters
    ----------
    table : rows of samples (R, M); the first ``size`` are coordinates.
    size : number of coordinates.
    arc : largest path length of a run, in kernel units.

    Returns
    -------
    The first sample of each run, and M after the last (runs + 1,).
    """
    M = table.shape[1]
    path = np.concatenate([[0.0], np.cumsum(np.sqrt((np.diff(table[:size], axis=1) ** 2).sum(axis=0)))])
    reach = np.searchsorted(path, path + arc, side="right")
    edges = [0]
    while edges[-1] < M:
        edges.append(min(int(reach[edges[-1]]), edges[-1] + LONGEST, M))
    return np.array(edges, np.intp)


def gauss_nodes(rows: F64, v: F64, t: F64, count: int) -> tuple[F64, F64]:
    """Gauss rules of several runs at once.

    Parameters
    ----------
    rows : samples of each run (B, R, L).
    v : their weights (B, L), 0 where a run is shorter than L.
    t : the parameter along each run (B, L), within [-1, 1].
    count : nodes of a rule, at most the samples of the shortest run.

    Returns
    -------
    nodes (B, R, count) and their weights (B, count).
    """
    run_weight = v.sum(axis=1)
    root = np.sqrt(v)
    basis = np.empty((count, *v.shape))
    basis[0] = root / np.sqrt(run_weight)[:, None]
    jacobi = np.zeros((v.shape[0], count, count))
    for k in range(count):
        image = t * basis[k]
        jacobi[:, k, k] = (image * basis[k]).sum(axis=1)
        if k + 1 == count:
            break
        for _ in range(2):  # once is not enough to keep the basis orthogonal to the last digit
            image -= np.einsum("kb,kbl->bl", np.einsum("kbl,bl->kb", basis[: k + 1], image), basis[: k + 1])
        norm = np.sqrt((image**2).sum(axis=1))
        jacobi[:, k + 1, k] = jacobi[:, k, k + 1] = norm
        basis[k + 1] = image / norm[:, None]
    vectors = np.linalg.eigh(jacobi)[1]
    weights = run_weight[:, None] * vectors[:, 0] ** 2
    coefficients = np.einsum("kbl,brl->brk", basis, rows * root[:, None])
    return coefficients @ (vectors / (np.sqrt(run_weight)[:, None] * vectors[:, 0])[:, None]), weights


@cached
def _forms(points: F64, size: int, signed: F64, sharpness: float, out: F64, start: int, stop: int) -> None:
    """Write c' K c of sets ``start`` to ``stop`` of points (B, R, L) for their signed (B, K, L) into ``out`` (B, K).

    K = 2^(-``sharpness`` |x - y|^2).
    """
    K, L = signed.shape[1], points.shape[2]
    kernel = np.empty(L)
    for b in range(start, stop):
        for i in range(L):
            row = kernel[:i]
            for a in range(size):
                x, q = points[b, a], points[b, a, i]
                for j in range(i):
                    step = x[j] - q
                    row[j] = step * step if a == 0 else row[j] + step * step
            for j in range(i):
                row[j] = exp2(-sharpness * row[j])
            for k in range(K):
                c, total = signed[b, k], 0.0
                for j in range(i):
                    total += row[j] * c[j]
                out[b, k] += c[i] * (c[i] + 2.0 * total)


def _bounds(points: F64, size: int, signed: F64, sharpness: float = 1.0) -> F64:
    """sqrt(c' K c) and what rounding may have taken from it, (B, K)."""
    forms = np.zeros(signed.shape[:2])
    shared(_forms, len(points), points, size, signed, sharpness, forms)
    rounding = 2.0 * np.finfo(float).eps * np.abs(signed).sum(axis=2) ** 2
    return np.sqrt(np.maximum(forms, 0.0) + rounding)


def _rules(
    table: F64, v: F64, first: Index, length: Index, size: int, values: Index, count: int, tolerance: float
) -> tuple[Rules, Bools]:
    """Rules of given runs, each longer than ``count``, that keep to the tolerance, and which runs these are."""
    slot = np.arange(length.max())
    inside = slot < length[:, None]
    samples = np.where(inside, first[:, None] + slot, first[:, None])
    rows = np.ascontiguousarray(table[:, samples].transpose(1, 0, 2))
    run_weights = np.where(inside, v[samples], 0.0)
    t = np.where(inside, 2.0 * slot / (length - 1)[:, None] - 1.0, 0.0)
    nodes, weights = gauss_nodes(rows, run_weights, t, count)
    points = np.concatenate([rows, nodes], axis=2)
    run_weight = run_weights.sum(axis=1)
    y = points[:, values] - ((rows[:, values] * run_weights[:, None]).sum(axis=2) / run_weight[:, None])[:, :, None]
    signed = np.concatenate([run_weights, -weights], axis=1)[:, None]
    powers = np.concatenate([signed, signed * y, signed * y * y], axis=1)
    spread = np.concatenate([[1.0], np.maximum(table[values].std(axis=1), np.finfo(float).tiny)])
    allowed = tolerance * run_weight[:, None] * spread
    error = _bounds(points, size, powers)
    good = (error[:, : spread.size] <= allowed).all(axis=1)
    nodes, weights, points = nodes[good], weights[good], points[good]
    lower, upper = points.min(axis=2), points.max(axis=2)
    local = points[:, :size] - 0.5 * (lower + upper)[:, :size, None]
    outward = powers[good] * np.exp2((local**2).sum(axis=1))[:, None]
    decaying = (8.0 / 9.0) ** (-size / 4.0) * _bounds(local, size, outward, 1.5)
    return Rules(nodes, weights, np.stack([error[good], decaying], axis=1), lower, upper, np.empty(0, np.intp)), good


def recombine(table: F64, v: F64, size: int, values: Index, count: int, tolerance: float) -> Rules:
    """Replace runs of consecutive samples by Gauss rules whose bounds are small enough.

    Parameters
    ----------
    table : rows of samples (R, M) in kernel units, in the order of the trajectory; the first ``size`` are coordinates.
    v : weights (M,), positive.
    size : number of coordinates.
    values : which rows are averaged (C,).
    count : nodes of each rule.
    tolerance : a rule is taken where its bound on the error of S_0 is at most this part of its weight, and that of
        (y - b) v t at most this part of its weight times the standard deviation of y.

    Returns
    -------
    Rules. Every sample is in exactly one run or in ``rest``.
    """
    rest = np.arange(v.size)
    taken: list[Rules] = []
    for arc in _ARCS:
        stretches = np.split(rest, np.flatnonzero(np.diff(rest) > 1) + 1) if rest.size else []
        edges = [stretch[0] + run_edges(table[:, stretch], size, arc) for stretch in stretches]
        first = np.concatenate([e[:-1] for e in edges] or [rest])
        length = np.concatenate([np.diff(e) for e in edges] or [rest])
        worth = length >= 2 * count
        first, length = first[worth], length[worth]
        for start in range(0, first.size, _RUNS):
            a, n = first[start : start + _RUNS], length[start : start + _RUNS]
            rules, good = _rules(table, v, a, n, size, values, count, tolerance)
            taken.append(rules)
            used = np.repeat(a[good], n[good]) + _counting(n[good])
            rest = rest[~np.isin(rest, used, assume_unique=True)] if used.size else rest
    R, C = table.shape[0], values.size
    nothing = np.empty((0, R))
    taken.append(
        Rules(np.empty((0, R, count)), np.empty((0, count)), np.empty((0, 2, 1 + 2 * C)), nothing, nothing, rest)
    )
    nodes, weights, error, lower, upper, _ = (np.concatenate(fields) for fields in zip(*taken, strict=True))
    return Rules(nodes, weights, error, lower, upper, rest)


def representatives(samples: F64, tolerance: float) -> tuple[F64, F64]:
    """Replace samples of equal weights by fewer points, where they come along a trajectory.

    Parameters
    ----------
    samples : (D, M) in kernel units, trajectories one after the other.
    tolerance : the relative error of the kernel's sums over them that is wanted.

    Returns
    -------
    points (D, N), and how many samples each stands for (N,).
    """
    size, M = samples.shape
    rules = recombine(samples, np.ones(M), size, np.empty(0, np.intp), _NODES, _RULE_SHARE * tolerance)
    nodes = rules.nodes.transpose(1, 0, 2).reshape(size, -1)
    weights = np.concatenate([rules.weights.ravel(), np.ones(rules.rest.size)])
    return np.concatenate([nodes, samples[:, rules.rest]], axis=1), weights


def _counting(lengths: Index) -> Index:
    """0 .. n-1 for each n of ``lengths``, one after the other."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
