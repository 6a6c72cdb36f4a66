"""Circular kernels no longer than the data ask for.

An estimate for each wavenumber of a ring makes a kernel with a weight for each of its sites, most of which may be no
more than errors of the estimate; and each has its price at every step. So the shortest kernel is taken whose response
at every wavenumber agrees with the estimate within its errors, as differences among blocks of time tell them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from l96closure.arrays import C128, F64

Numbers = TypeVar("Numbers", F64, C128)

WITHIN = 3.0
"""Standard errors, within which a response agrees with its estimate."""

_BLOCKS = 20  # of time, left out one by one


def by_blocks(products: Numbers) -> Numbers:
    """Return sums over blocks of time (block, ...) of what was found at each time (time, ...)."""
    parts = np.array_split(products, max(min(_BLOCKS, len(products) // 2), 1))
    return np.stack([part.sum(axis=0) for part in parts])


def jackknife(estimate: Callable[..., Numbers], *sums: npt.NDArray[np.generic]) -> tuple[Numbers, F64]:
    """Estimate from sums over blocks of time, leaving out each in turn for the error (Quenouille 1956; Tukey 1958).

    Parameters
    ----------
    estimate : of sums over all times; it gives numbers, real or complex.
    sums : over each block (block, ...), from :func:`by_blocks`.

    Returns
    -------
    The estimate and its standard error, not finite where there is one block only.
    """
    totals, blocks = [one.sum(axis=0) for one in sums], len(sums[0])
    without = np.stack(
        [estimate(*(total - one[block] for total, one in zip(totals, sums, strict=True))) for block in range(blocks)]
    )
    if blocks == 1:
        return estimate(*totals), np.full(without.shape[1:], np.inf)
    squares = np.abs(without - without.mean(axis=0)) ** 2
    return estimate(*totals), np.sqrt((blocks - 1.0) * squares.mean(axis=0))


def reaches(sites: int) -> Iterator[int]:
    """Give how far kernels on a ring reach to either side, from 0 to less than half of it, about doubled each time."""
    reach = 0
    while 2 * reach + 1 < sites:
        yield reach
        reach = max(2 * reach, 1)


def shortest(kernels: Iterable[F64], agrees: Callable[[F64], bool]) -> F64:
    """Return the first of some kernels that agrees with the data; else the last.

    Parameters
    ----------
    kernels : circular weights (K,) of the site itself and of those 1, 2, ... to its left, one set at least.
    agrees : tells whether a kernel does.

    Returns
    -------
    (K,)
    """
    for kernel in kernels:
        if agrees(kernel):
            break
    return kernel
