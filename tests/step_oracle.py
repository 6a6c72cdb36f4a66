"""A step of the closures in slow, plain NumPy, driven by their tables and the words of Philox alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from oracles import philox4x32

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
        words = philox4x32(counter, [int(self.key) % 2**32, int(self.key) >> 32])
        u = (words.astype(float) + 0.5) / 2**32
        radius, angle = np.sqrt(-2.0 * np.log(u[..., ::2])), 2.0 * np.pi * u[..., 1::2]
        pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
        return pairs.reshape(len(self.member), -1)[:, :sites]


class Kept(NamedTuple):
    """What is carried from step to step: noise (member, p, K), predictors and targets (member, H, P, K)."""

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
    """Return psi (member, K) for z (member, P, K), or (member, Q, K) of several targets, and what to keep."""
    if not tables:
        return np.zeros_like(z[:, 0]), kept
    if "mask" in tables:
        psi, kept = step(
            {name: one for name, one in tables.items() if name != "mask"}, z[..., tables["mask"]], kept, source
        )
        return np.where(tables["mask"], psi[..., np.cumsum(tables["mask"]) - 1], np.nan), kept
    K, history = z.shape[-1], kept.history
    scaling = [
        tables.get(f"scaling_{name}", neutral) for name, neutral in (("centre", np.zeros(K)), ("spread", np.ones(K)))
    ]
    z = scaled(z, scaling, slice(z.shape[1]))
    before = int(tables["previous"])
    now_seen, earlier = with_targets(z, history, before)
    groups = [of_group(tables, g) for g in range(sum(name.endswith("_cells") for name in tables))]
    groups = groups or [tables | {"cells": np.arange(K)}]
    psi, outside = np.zeros((len(z), sum(group["cells"].size for group in groups))), 0
    trends = np.zeros_like(psi)
    xi, memory = noise_of(tables, kept.memory, source, psi.shape[1])
    for group in groups:
        cells = group["cells"]
        now, mean = now_seen[..., cells % K], psi[:, cells]
        if "linear" in group:
            f, beyond = features(group, now_seen, earlier)
            mean, outside = trend(group, f), outside + beyond
            trends[:, cells] = mean
        if "coordinates" in group:
            given = [mean if one < 0 else now[:, one] for one in group["coordinates"]]
            own = xi[:, cells]
            mean = mean + (quantiles(group, *given, xi=own) if "quantile" in group else spread(group, *given) * own)
        psi[:, cells] = mean
    if "bounds" in tables:
        psi, trends = psi.clip(*tables["bounds"]), trends.clip(*tables["bounds"])
    if "conserve_weight" in tables:
        off = psi if tables["conserve_zero"] else psi - trends
        psi = psi - np.outer(off @ tables["conserve_weight"], tables["conserve_share"])
    psi = psi.reshape(len(z), -1, K)
    if tables["conserve"]:
        psi = psi - psi.mean(axis=2, keepdims=True)
    if history.size:
        beside = [scaled(psi, scaling, slice(z.shape[1], z.shape[1] + psi.shape[1]))] if before else []
        history = np.concatenate([np.concatenate([z, *beside], axis=1)[:, None], history[:, :-1]], axis=1)
    return psi[:, 0] if psi.shape[1] == 1 else psi, Kept(memory, history, kept.outside + outside)


def scaled(values: F64, scaling: list[F64], rows: slice) -> F64:
    """Return fields less a centre, over a spread, which each of these rows has."""
    centre, spread_of = (one if one.ndim == 1 else one[rows] for one in scaling)
    return (values - centre) / spread_of


def with_targets(z: F64, history: F64, before: int) -> tuple[F64, F64]:
    """Put targets of so many steps before after predictors now, and after those of steps before."""
    P, rows = z.shape[1], history.shape[1] - before
    if not before:
        return z, history
    now = np.concatenate([z, *(history[:, ago, P:] for ago in range(before))], axis=1)
    targets = [history[:, ago : ago + rows, P:] for ago in range(1, before + 1)]
    return now, np.concatenate([history[:, :rows, :P], *targets], axis=2)


def of_group(tables: Tables, number: int) -> Tables:
    """Return the tables of a group of cells, with what it sees."""
    start = f"group{number}_"
    own = {name.removeprefix(start): table for name, table in tables.items() if name.startswith(start)}
    return {**own, "range": tables["range"], "lag": tables["lag"]}


def noise_of(tables: Tables, memory: F64, source: Noise, cells: int) -> tuple[F64, F64]:
    """Return the noise of a step (member, C), and the last p values to keep."""
    white = source.normals(0, cells)
    if "noise_modes" in tables:
        modes = tables["noise_modes"]
        white = white * tables["noise_remainder"] + source.normals(1, len(modes)) @ modes
    if "noise_fresh" in tables:
        taps = np.zeros(cells)
        taps[tables["noise_fresh_offset"].astype(int)] = tables["noise_fresh"]
        xi = around_the_ring(taps, white @ tables.get("noise_factor", np.eye(cells)).T)
        for lag, taps in enumerate(tables["noise_earlier"]):
            xi = xi + around_the_ring(taps, memory[:, lag])
    elif "noise_of_white" in tables:
        shape, alike = tables["noise_shape"], tables["noise_alike"].astype(bool)
        axes = np.flatnonzero(alike) + 1

        def vectors(field: F64) -> npt.NDArray[Any]:
            whole = np.fft.fftn(field.reshape(-1, *shape), axes=axes)
            return np.moveaxis(whole, axes, range(1, len(axes) + 1)).reshape(len(field), shape[alike].prod(), -1)

        made = np.einsum("mij,nmj->nmi", whole_of(tables["noise_of_white"], shape[alike]), vectors(white))
        for lag, of_earlier in enumerate(np.moveaxis(tables["noise_of_earlier"], 1, 0)):
            made = made + np.einsum("mij,nmj->nmi", whole_of(of_earlier, shape[alike]), vectors(memory[:, lag]))
        made = np.moveaxis(made.reshape(-1, *shape[alike], *shape[~alike]), range(1, len(axes) + 1), axes)
        xi = np.fft.ifftn(made, axes=axes).real.reshape(len(white), cells)
    else:
        return np.zeros_like(white), memory
    return xi, np.concatenate([xi[:, None], memory[:, :-1]], axis=1) if memory.size else memory


def whole_of(half: npt.NDArray[Any], periods: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return matrices (M, B, B) of all wavevectors, from those of half of them (M, B, B, 2): of -k the conjugates."""
    half = half[..., 0] + 1j * half[..., 1]
    if not periods.size:
        return half
    stored = half.reshape(*periods[:-1], periods[-1] // 2 + 1, *half.shape[1:])
    out = np.empty((*periods, *half.shape[1:]), complex)
    for k in np.ndindex(*periods):
        other = tuple(-np.array(k) % periods)
        out[k] = stored[k] if k[-1] < stored.shape[len(periods) - 1] else stored[other].conj()
    return out.reshape(-1, *half.shape[1:])


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
