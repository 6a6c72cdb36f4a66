"""The peers of ``benchmarks/kernel_sums.py``: the same conditional means by other means.

Each is written to be as fast as its library allows. Tables are laid out when a peer is built, queries when it runs.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from common import available_cores, in_turns

F64 = npt.NDArray[np.float64]
Run = Callable[[int], npt.NDArray[Any]]

SHIFT = 60.0  # added to every exponent: e^-100 is denormal in single precision and slow, e^60 times 40,000 still fits


class Problem(NamedTuple):
    """Sums S_0 = sum_j v_j t_j and S_1 = sum_j v_j t_j y_j with t_j = exp(-|q - x_j|^2), and the mean S_1 / S_0.

    Attributes
    ----------
    x, y, v : coordinates (M, D), values (M,) and weights (M,) of the samples.
    queries : where the sums are wanted (n, D).
    """

    x: F64
    y: F64
    v: F64
    queries: F64


class Contestant(NamedTuple):
    """What is timed.

    Attributes
    ----------
    run : the ``quantity`` at the first so many queries.
    threads : how many it uses.
    quantity : ``mean`` or ``S_0``.
    queries : how many a timing takes; None is all.
    note : its settings.
    """

    run: Run
    threads: int
    quantity: str = "mean"
    queries: int | None = None
    note: str = ""


def with_plain_numpy(problem: Problem) -> list[Contestant]:
    """Single and double precision; blocks of queries against all samples, the formula as it stands."""

    def build(dtype: type, batch: int) -> Run:
        x, y, v, queries = (array.astype(dtype) for array in problem)
        norm = (x**2).sum(axis=1)

        def means(count: int) -> npt.NDArray[Any]:
            out = np.empty(count, dtype)
            for start in range(0, count, batch):
                q = queries[start : min(start + batch, count)]
                squared = (q**2).sum(axis=1)[:, None] + norm - 2 * q @ x.T
                w = v * np.exp(-squared)
                out[start : start + batch] = (w @ y) / w.sum(axis=1)
            return out

        return means

    contestants = []
    for dtype in (np.float32, np.float64):
        settings = ((dtype, batch) for batch in (10, 50, 250))
        some = min(500, len(problem.queries))
        means, (_, batch) = fastest(build, settings, some)
        contestants.append(Contestant(means, 1, queries=some, note=f"blocks of {batch} queries"))
    return contestants


def with_numpy(problem: Problem) -> list[Contestant]:
    """Single and double precision; a pool of threads shares the blocks of queries, each through all samples."""
    rows, columns = augmented(problem), value_columns(problem)
    threads = available_cores()
    pool = ThreadPoolExecutor(threads)

    def build(dtype: type, exponential: np.ufunc, batch: int, step: int) -> Run:
        unit = 1.0 if exponential is np.exp else np.log2(np.e)
        table, values = np.ascontiguousarray((unit * rows).T, dtype), columns.astype(dtype)

        def sums(block: npt.NDArray[Any]) -> F64:
            total, buffer = np.zeros((len(block), 2)), np.empty(len(block) * step, dtype)
            for start in range(0, len(values), step):
                right = values[start : start + step]
                t = buffer[: len(block) * len(right)].reshape(len(block), len(right))
                np.matmul(block, table[:, start : start + step], out=t)
                exponential(t, out=t)
                total += t @ right
            return total

        def means(count: int) -> F64:
            q = problem.queries[:count]
            left = np.column_stack([2 * q, np.ones(count), SHIFT - (q**2).sum(axis=1)]).astype(dtype)
            blocks = [left[start : start + batch] for start in range(0, count, batch)]
            zeroth, first = np.concatenate(list(pool.map(sums, blocks))).T
            return first / zeroth

        return means

    contestants = []
    for dtype in (np.float32, np.float64):
        shapes = ((125, 1_000), (250, 500), (500, 250), (500, 500))
        settings = ((dtype, exponential, *shape) for exponential, shape in itertools.product((np.exp, np.exp2), shapes))
        means, (_, exponential, *shape) = fastest(build, settings, len(problem.queries))
        note = f"{exponential.__name__}, blocks of {shape[0]} x {shape[1]}"
        contestants.append(Contestant(means, threads, note=note))
    return contestants


def with_jax(problem: Problem) -> list[Contestant]:
    """Single precision; the queries are shared among the devices."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(np.array(jax.devices()), ("queries",))
    shared, whole = PartitionSpec("queries"), PartitionSpec()

    def build(batch: int, step: int) -> Run:
        rows = augmented(problem)
        tables = (rows.reshape(-1, step, rows.shape[1]).transpose(0, 2, 1), value_columns(problem).reshape(-1, step, 2))
        on_devices = [jax.device_put(table.astype(np.float32), NamedSharding(mesh, whole)) for table in tables]

        def of_share(q: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
            left = jnp.column_stack([2 * q, jnp.ones(len(q)), -(q**2).sum(axis=1)])

            def of_batch(block: jax.Array) -> jax.Array:
                def add(total: jax.Array, tables: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
                    return total + jnp.exp(block @ tables[0]) @ tables[1], None

                return jax.lax.scan(add, jnp.zeros((batch, 2)), (rows, columns))[0]

            zeroth, first = jax.lax.map(of_batch, left.reshape(-1, batch, left.shape[1])).reshape(-1, 2).T
            return first / zeroth

        specs = (shared, whole, whole)
        compiled = jax.jit(jax.shard_map(of_share, mesh=mesh, in_specs=specs, out_specs=shared, check_vma=False))

        def means(count: int) -> npt.NDArray[np.float32]:
            share = batch * mesh.size
            q = np.zeros((-(-count // share) * share, problem.queries.shape[1]), np.float32)
            q[:count] = problem.queries[:count]
            return np.asarray(compiled(q, *on_devices).block_until_ready())[:count]

        return means

    shapes = [(50, 4_000), (100, 2_000), (100, 4_000), (200, 1_000), (500, 500)]
    means, shape = fastest(build, shapes, len(problem.queries))
    return [Contestant(means, mesh.size, note=f"blocks of {shape[0]} x {shape[1]}")]


def with_plain_jax(problem: Problem) -> list[Contestant]:
    """Single precision; ``lax.map`` over batches of queries against all samples."""
    import jax
    import jax.numpy as jnp

    x, y, v = (jnp.asarray(array, jnp.float32) for array in problem[:3])

    def build(batch: int) -> Run:
        @jax.jit
        def compiled(queries: jax.Array, x: jax.Array, y: jax.Array, v: jax.Array) -> jax.Array:
            norm = (x**2).sum(axis=1)

            def mean(q: jax.Array) -> jax.Array:
                w = v * jnp.exp(2 * x @ q - norm - (q**2).sum())
                return (w @ y) / w.sum()

            return jax.lax.map(mean, queries, batch_size=batch)

        def means(count: int) -> npt.NDArray[np.float32]:
            queries = problem.queries[:count].astype(np.float32)
            return np.asarray(compiled(queries, x, y, v).block_until_ready())

        return means

    means, (batch,) = fastest(build, [(16,), (64,), (256,)], len(problem.queries))
    return [Contestant(means, available_cores(), note=f"lax.map, batches of {batch}")]


def with_keops(problem: Problem) -> list[Contestant]:
    """Single precision; both sums in one reduction."""
    from pykeops.numpy import LazyTensor

    x = LazyTensor(problem.x.astype(np.float32, order="C")[None])
    weights = LazyTensor((problem.v[:, None] * value_columns(problem)).astype(np.float32)[None])

    def means(count: int) -> npt.NDArray[np.float32]:
        q = LazyTensor(problem.queries[:count].astype(np.float32, order="C")[:, None])
        zeroth, first = ((-((q - x) ** 2).sum(-1)).exp() * weights).sum(axis=1).T
        return first / zeroth

    means(1)  # compiles, or tells that it cannot
    return [Contestant(means, available_cores(), note=os.environ.get("CXXFLAGS", ""))]


def with_scikit_learn(problem: Problem) -> list[Contestant]:
    """S_0 alone, as the density that ``KernelDensity`` gives, in double precision with a tree."""
    from sklearn.neighbors import KernelDensity

    tolerance = 1e-4
    tree = KernelDensity(bandwidth=np.sqrt(0.5), algorithm="kd_tree", rtol=tolerance)
    tree.fit(problem.x, sample_weight=problem.v)
    norm = problem.v.sum() * np.pi ** (problem.x.shape[1] / 2)

    def zeroth(count: int) -> F64:
        return norm * np.exp(tree.score_samples(problem.queries[:count]))

    return [Contestant(zeroth, 1, "S_0", 100, f"S_0 alone, rtol = {tolerance:g}")]


# The package that has to be installed, the names of its contestants, and what builds them.
PEERS: list[tuple[str, list[str], Callable[[Problem], list[Contestant]]]] = [
    ("numpy", ["NumPy float32, plain", "NumPy float64, plain"], with_plain_numpy),
    ("numpy", ["NumPy float32, tuned", "NumPy float64, tuned"], with_numpy),
    ("jax", ["JAX float32, plain"], with_plain_jax),
    ("jax", ["JAX float32, tuned"], with_jax),
    ("pykeops", ["KeOps float32"], with_keops),
    ("sklearn", ["scikit-learn"], with_scikit_learn),
]


def augmented(problem: Problem) -> F64:
    """Rows (x, log v - |x|^2, 1): times (2 q, 1, -|q|^2) they are log(v t), one matrix product for all."""
    exponents = np.log(problem.v) - (problem.x**2).sum(axis=1)
    return np.column_stack([problem.x, exponents, np.ones_like(exponents)])


def value_columns(problem: Problem) -> F64:
    """Columns (1, y), which make S_0 and S_1 of v t."""
    return np.column_stack([np.ones_like(problem.y), problem.y])


def fastest(build: Callable[..., Run], settings: Iterable[tuple[Any, ...]], queries: int) -> tuple[Run, Any]:
    """Build one for each of ``settings``; return the fastest at so many queries, and its settings."""
    built = {setting: build(*setting) for setting in settings}
    for run in built.values():
        run(queries)  # compiles for this number
    times = in_turns({setting: (run, queries) for setting, run in built.items()}, repeats=5)
    best = min(built, key=lambda setting: min(times[setting]))
    return built[best], best
