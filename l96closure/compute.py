"""Where independent pieces of work are done: here, one after the other, or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from l96closure import checks

__all__ = ["Compute", "Each", "each", "groups", "mapped"]

Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Applies a function to several arguments, like the builtin ``map``; the results are in the order of these."""

_EACH: ContextVar[Each] = ContextVar("each", default=map)
_AT_ONCE: ContextVar[int] = ContextVar("at_once", default=1)
_T = TypeVar("_T")


@contextmanager
def mapped(how: Each, at_once: int = 1) -> Iterator[None]:
    """Let independent pieces of work in this context be done by a function like ``map``: the sites of a fit, say.

    Parameters
    ----------
    how : takes a function and its arguments, as ``concurrent.futures.Executor.map`` does.
    at_once : how many pieces it does at the same time; :func:`groups` makes as many.

    Yields
    ------
    None

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> import numpy as np
    >>> from l96closure import compute
    >>> samples = np.random.default_rng(0).standard_normal((50, 4))
    >>> with ThreadPoolExecutor(2) as pool, compute.mapped(pool.map):
    ...     fitted = lc.bridge.fit(samples, 0.5, lc.bridge.periodic(4, 1))
    >>> len(fitted.dictionaries)
    4
    """
    before = _EACH.set(how), _AT_ONCE.set(at_once)
    try:
        yield
    finally:
        _EACH.reset(before[0])
        _AT_ONCE.reset(before[1])


def each(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
    """Apply a function to independent pieces of work as the context says, one after the other by default.

    Parameters
    ----------
    function : of one piece.
    items : the pieces.

    Returns
    -------
    Results in the order of the pieces.
    """
    return _EACH.get()(function, items)


def groups(items: Sequence[_T]) -> list[Sequence[_T]]:
    """Part things that are best done together into as many groups as are done at the same time, one by default.

    Parameters
    ----------
    items : one or more.

    Returns
    -------
    Some of the items each, in their order.
    """
    number = min(_AT_ONCE.get(), len(items))
    ends = [len(items) * i // number for i in range(number + 1)]
    return [items[first:last] for first, last in pairwise(ends)]


@dataclass(frozen=True)
class Compute:
    """An engine for independent pieces of work; the results do not depend on it.

    Parameters
    ----------
    engine : ``local``, in this process; ``dask``, on a cluster.
    address : of the scheduler of a running cluster; None makes one of processes on this machine.
    workers : processes of that cluster, >= 1.

    Raises
    ------
    ValueError
        A field is out of its range.
    """

    engine: str = "local"
    address: str | None = None
    workers: int = 2

    def __post_init__(self) -> None:
        checks.one_of("compute.engine", self.engine, ("local", "dask"))
        if self.address is not None and not isinstance(self.address, str):
            checks.reject("compute.address", self.address, "the address of a scheduler, or null")
        checks.integer("compute.workers", self.workers, 1)

    @contextmanager
    def engaged(self) -> Iterator[None]:
        """Do pieces of work here; on a cluster they are done at the same time, and again if a worker dies.

        Yields
        ------
        None

        Raises
        ------
        ValueError
            Dask is asked for and not installed.
        OSError
            No scheduler answers at ``address``.
        """
        if self.engine == "local":
            with mapped(map):
                yield
            return
        try:
            from distributed import Client, LocalCluster
        except ImportError:
            checks.reject("compute.engine", "dask", 'local, or pip install "l96closure[dask]"')
        own = (
            LocalCluster(n_workers=self.workers, threads_per_worker=1)
            if self.address is None
            else nullcontext(self.address)
        )
        with own as cluster, Client(cluster) as client:

            def everywhere(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
                return client.gather(client.map(function, list(items), pure=False))

            with mapped(everywhere, sum(client.nthreads().values())):
                yield
