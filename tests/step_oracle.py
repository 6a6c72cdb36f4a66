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


def polynomials(coefficients: F64, bounds: F64, z: F64) -> F64:
    """Sum of polynomials in each predictor of z (member, P, K); (member, K)."""
    total = np.zeros_like(z[:, 0])
    for p, ((low, high), own) in enumerate(zip(bounds, coefficients, strict=True)):
        total += np.polynomial.chebyshev.chebval(2.0 * (z[:, p].clip(low, high) - low) / (high - low) - 1.0, own)
    return total


def at_the_start(tables: Tables, source: Noise, sites: int) -> F64:
    """What is remembered before the first step."""
    if "phi" in tables:
        return source.normals(0, sites)
    if "memory_last" not in tables:
        return np.empty((len(source.member), 0))
    m = tables["memory_last"].size
    together = tables["memory_last"] / (1.0 - tables["memory_before"])
    last = np.stack([source.normals(i, sites) for i in range(m)], axis=2)
    before = np.stack([source.normals(m + i, sites) for i in range(m)], axis=2)
    return np.concatenate([last, together * last + np.sqrt(1.0 - together**2) * before], axis=2)


def step(tables: Tables, z: F64, memory: F64, source: Noise) -> tuple[F64, F64]:
    """Return psi (member, K) for z (member, P, K), and what to remember."""
    psi, sites = polynomials(tables["trend"], tables["trend_range"], z), z.shape[-1]
    if "phi" in tables:
        phi = tables["phi"]
        memory = phi * memory + np.sqrt(1.0 - phi**2) * source.normals(0, sites)
        spread = np.exp(0.5 * polynomials(tables["log_variance"], tables["trend_range"], z))
        return psi + spread * memory, memory
    if "quantile" not in tables:
        return psi, memory
    if "memory_last" in tables:
        m = tables["memory_last"].size
        normals = np.stack([source.normals(i, sites) for i in range(m)], axis=2)
        now = tables["memory_last"] * memory[..., :m] + tables["memory_before"] * memory[..., m:]
        now = now + tables["memory_noise"] * normals
        xi, memory = (tables["memory_weight"] * now).sum(axis=2), np.concatenate([now, memory[..., :m]], axis=2)
    else:
        xi = source.normals(0, sites)
    psi = psi + quantiles(tables, z[:, 0], xi)
    return psi - psi.mean(axis=1, keepdims=True) if tables["conserve"] else psi, memory


def quantiles(tables: Tables, z: F64, xi: F64) -> F64:
    """Bilinear interpolation in the tables."""
    out, (low, high) = np.empty_like(z), tables["quantile_noise"]
    for n, k in np.ndindex(z.shape):
        of = tables["dictionary_of_site"][k]
        first, last = tables["quantile_nodes_of"][of]
        table, nodes = tables["quantile"][first : last + 1], tables["quantile_node"][first : last + 1]
        levels = np.linspace(low, high, table.shape[1])
        along = [np.interp(xi[n, k], levels, row) for row in table]
        out[n, k] = np.interp(z[n, k], nodes, along)
    return out
