"""A step of the closures in slow, plain NumPy, driven by their tables and the words of Philox alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from l96closure import noise

F64 = npt.NDArray[np.float64]
Tables = dict[str, npt.NDArray[Any]]


class Noise(NamedTuple):
    """Where the noise of a step comes from."""

    key: int
    member: npt.NDArray[Any]
    step: int

    def normals(self, draw: int, sites: int) -> F64:
        """Normals (member, sites), the formula of Box and Muller with NumPy's logarithm, cosine and sine."""
        block, member = np.broadcast_arrays(np.arange(-(-sites // 4)), np.asarray(self.member)[:, None])
        counter = np.stack([block, np.full_like(block, draw), member, np.full_like(block, self.step)], axis=-1)
        words = noise.philox4x32(counter, [int(self.key) % 2**32, int(self.key) >> 32])
        u = (words.astype(float) + 0.5) / 2**32
        radius, angle = np.sqrt(-2.0 * np.log(u[..., ::2])), 2.0 * np.pi * u[..., 1::2]
        pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
        return pairs.reshape(len(self.member), -1)[:, :sites]


class Kept(NamedTuple):
    """What is carried from step to step: the last noise (member, p, K), and predictors (member, H, P, K)."""

    memory: F64
    history: F64
    outside: npt.NDArray[Any]


def features(tables: Tables, z: F64, history: F64) -> tuple[F64, npt.NDArray[Any]]:
    """What each site sees (member, K, F), mapped to [-1, 1], and how much of it each member has beyond (member,)."""
    low, high = tables["range"].T[..., None]
    seen = []
    for lag in tables["lag"]:
        scaled = 2.0 * ((history[:, lag - 1] if lag else z) - low) / (high - low) - 1.0
        seen += [scaled[:, p, place] for p in range(z.shape[1]) for place in tables["neighbour"].T]
    f = np.stack(seen, axis=2)
    return f.clip(-1.0, 1.0), (np.abs(f) > 1.0 + 1e-14).sum(axis=(1, 2))


def trend(tables: Tables, f: F64) -> F64:
    """Polynomials in the predictors at the site itself and products of up to three features; (member, K)."""
    total = f @ tables["linear"] + np.einsum("nki,nkj,ij->nk", f, f, tables["quadratic"])
    if tables["cubic"].size:
        total += np.einsum("nki,nkj,nkl,ijl->nk", f, f, f, tables["cubic"])
    if tables.get("output", np.empty(0)).size:
        sums = (np.concatenate([f, np.ones((*f.shape[:-1], 1))], axis=-1) @ tables["hidden"]).clip(-1.0, 1.0)
        total += sums * (3.0 - sums**2) / 2.0 @ tables["output"]
    for own, coefficients in enumerate(tables["chebyshev"]):
        total += np.polynomial.chebyshev.chebval(f[..., own * tables["neighbour"].shape[1]], coefficients)
    if "trend_filter" in tables:
        level = tables["trend_level"]
        total = level + around_the_ring(tables["trend_filter"], total - level)
    return total


def around_the_ring(taps: F64, values: F64) -> F64:
    """Circular convolution, sum_d taps[d] values[k - d]."""
    return sum(tap * np.roll(values, d, axis=-1) for d, tap in enumerate(taps))


def step(tables: Tables, z: F64, kept: Kept, source: Noise) -> tuple[F64, Kept]:
    """Return psi (member, K) for z (member, P, K), and what to keep."""
    if not tables:
        return np.zeros_like(z[:, 0]), kept
    psi, outside = np.zeros_like(z[:, 0]), 0
    if "linear" in tables:
        f, outside = features(tables, z, kept.history)
        psi = trend(tables, f)
    memory = kept.memory
    if "noise_fresh" in tables:
        white = source.normals(0, z.shape[-1]) @ tables.get("noise_factor", np.eye(z.shape[-1])).T
        xi = around_the_ring(tables["noise_fresh"], white)
        for lag, taps in enumerate(tables["noise_earlier"]):
            xi = xi + around_the_ring(taps, memory[:, lag])
        if memory.size:
            memory = np.concatenate([xi[:, None], memory[:, :-1]], axis=1)
        given = [psi if one < 0 else z[:, one] for one in tables["coordinates"]]
        psi = psi + (quantiles(tables, *given, xi=xi) if "quantile" in tables else spread(tables, *given) * xi)
    if "bounds" in tables:
        psi = psi.clip(*tables["bounds"])
    if tables["conserve"]:
        psi = psi - psi.mean(axis=1, keepdims=True)
    history = kept.history
    if history.size:
        history = np.concatenate([z[:, None], history[:, :-1]], axis=1)
    return psi, Kept(memory, history, kept.outside + outside)


def spread(tables: Tables, x: F64) -> F64:
    """Return the standard deviation of a Gaussian law (member, K)."""
    low, high = tables["log_variance_range"]
    scaled = 2.0 * (x.clip(low, high) - low) / (high - low) - 1.0
    return np.exp(0.5 * np.polynomial.chebyshev.chebval(scaled, tables["log_variance"]))


def quantiles(tables: Tables, x: F64, y: F64 | None = None, *, xi: F64) -> F64:
    """Bilinear interpolation in the tables, and linear between those at levels of a second coordinate."""
    out = np.empty_like(x)
    for n, k in np.ndindex(x.shape):
        of = tables["dictionary_of_site"][k]
        if y is None:
            out[n, k] = quantile(tables, of, x[n, k], xi[n, k])
        else:
            level = tables["quantile_level"][of]
            out[n, k] = np.interp(
                y[n, k], level, [quantile(tables, of * level.size + b, x[n, k], xi[n, k]) for b in range(level.size)]
            )
    return out


def quantile(tables: Tables, dictionary: int, x: float, xi: float) -> float:
    """Bilinear interpolation in a table."""
    first, last = tables["quantile_nodes_of"][dictionary]
    table, nodes = tables["quantile"][first : last + 1], tables["quantile_node"][first : last + 1]
    levels = np.linspace(*tables["quantile_noise"], table.shape[1])
    return float(np.interp(x, nodes, [np.interp(xi, levels, row) for row in table]))
