"""The localization sets Lambda(alpha): which components each component's conditional mean depends on.

Every function returns a list of ``d`` integer arrays, one a component; any such list may be given by the user. The
order inside a set matters only where several components share one dictionary: position i then means the same
relative neighbour in each set.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from l96closure import checks
from l96closure.arrays import F64, Index

Neighbourhoods = list[Index]


def everywhere(d: int) -> Neighbourhoods:
    """Lambda(alpha) = {0, ..., d-1} for every component: the sampler without localization, eqs. (7)-(13).

    Parameters
    ----------
    d : number of components, >= 1.

    Returns
    -------
    d sets, all of them the whole.

    Raises
    ------
    ValueError
        ``d`` is out of its range.
    """
    whole = np.arange(checks.integer("d", d, 1))
    return [whole] * d


def periodic(d: int, radius: int) -> Neighbourhoods:
    """Stencil of the given radius on a ring of ``d`` components, eq. (33) for ``radius = 1``.

    Parameters
    ----------
    d : number of components, >= 1.
    radius : neighbours on either side, >= 0; 2 ``radius`` + 1 <= ``d``.

    Returns
    -------
    d sets of 2 ``radius`` + 1 components, in the order of the ring.

    Raises
    ------
    ValueError
        An argument is out of its range.

    Examples
    --------
    >>> lc.bridge.periodic(5, radius=1)[0].tolist()
    [4, 0, 1]
    """
    return stacked(1, d, radius)


def grid(shape: Sequence[int], radius: int, periodic: bool | Sequence[bool] = True) -> Neighbourhoods:
    """Stencil of the given radius along every axis of a grid: an interval of a line, a square of a plane.

    The state is the grid in C order, d = prod(``shape``). At the edges of an axis that is not periodic the sets are
    cut, so that there they are smaller.

    Parameters
    ----------
    shape : sites along each axis, each >= 1.
    radius : neighbours on either side; 2 ``radius`` + 1 <= the size of every periodic axis.
    periodic : whether the axes are rings; one for all, or one for each.

    Returns
    -------
    d sets.

    Raises
    ------
    ValueError
        An argument is out of its range.

    Examples
    --------
    >>> lc.bridge.grid((2, 3), radius=1, periodic=False)[0].tolist()
    [0, 1, 3, 4]
    """
    shape = tuple(checks.integer(f"shape[{axis}]", size, 1) for axis, size in enumerate(shape))
    radius = checks.integer("radius", radius, 0)
    rings = (periodic,) * len(shape) if isinstance(periodic, bool) else tuple(periodic)
    if len(rings) != len(shape) or not all(isinstance(ring, bool) for ring in rings):
        checks.reject("periodic", periodic, f"True, False or {len(shape)} of them, one an axis")
    windows = [_windows(size, radius, ring) for size, ring in zip(shape, rings, strict=True)]
    return [
        np.ravel_multi_index(np.ix_(*(axis[i] for axis, i in zip(windows, site, strict=True))), shape).ravel()
        for site in np.ndindex(*shape)
    ]


def in_every_field(n_fields: int, sites: Sequence[Index]) -> Neighbourhoods:
    """Repeat the sets of the sites of one grid in every one of several fields that live on it.

    The state is the fields one after the other, d = ``n_fields`` * len(``sites``).

    Parameters
    ----------
    n_fields : number of fields, >= 1.
    sites : set of each site.

    Returns
    -------
    d sets, each ``n_fields`` times as large.

    Raises
    ------
    ValueError
        ``n_fields`` is out of its range.
    """
    n_fields, size = checks.integer("n_fields", n_fields, 1), len(sites)
    one_field = [np.concatenate([field * size + members for field in range(n_fields)]) for members in sites]
    return one_field * n_fields


def stacked(n_fields: int, size: int, radius: int) -> Neighbourhoods:
    """Stencil of the given radius in every one of several fields that live on one ring.

    The state is the fields one after the other, d = ``n_fields`` * ``size``. For two fields and ``radius = 1`` this
    is the set of Section 5.1, {alpha-1, alpha, alpha+1, K+alpha-1, K+alpha, K+alpha+1} (periodic).

    Parameters
    ----------
    n_fields : number of fields, >= 1.
    size : sites on the ring, >= 1.
    radius : neighbours on either side; 2 ``radius`` + 1 <= ``size``.

    Returns
    -------
    d sets of ``n_fields`` (2 ``radius`` + 1) components.

    Raises
    ------
    ValueError
        An argument is out of its range.

    Examples
    --------
    >>> lc.bridge.stacked(2, 5, radius=1)[0].tolist()
    [4, 0, 1, 9, 5, 6]
    """
    return in_every_field(n_fields, grid((checks.integer("size", size, 1),), radius))


def markov(steps: int, size: int = 1, sided: str = "causal") -> Neighbourhoods:
    """Localize trajectories of a Markov process, eq. (57) (whose l runs to K-1, not K-2).

    The state is ``steps`` times of ``size`` components, one time after the other, d = ``steps`` * ``size``.

    Parameters
    ----------
    steps : number of times in a trajectory, >= 2.
    size : components at each time, >= 1.
    sided : ``causal``, a component sees its own time and the one before; ``two_sided``, also the one after.

    Returns
    -------
    d sets, smaller at the first time and, for ``two_sided``, at the last.

    Raises
    ------
    ValueError
        An argument is out of its range.
    """
    steps, size = checks.integer("steps", steps, 2), checks.integer("size", size, 1)
    ahead = {"causal": 1, "two_sided": 2}[checks.one_of("sided", sided, ("causal", "two_sided"))]
    windows = [np.arange(max(time - 1, 0) * size, min(time + ahead, steps) * size) for time in range(steps)]
    return [window for window in windows for _ in range(size)]


def checked(neighbourhoods: Sequence[Iterable[int]] | None, d: int) -> Neighbourhoods:
    """Return user-given sets as index arrays; ``None`` means :func:`everywhere`.

    Raises
    ------
    ValueError
        There are not ``d`` sets, or one is empty, repeats an index or leaves 0..d-1.
    """
    if neighbourhoods is None:
        return everywhere(d)
    if len(neighbourhoods) != d:
        checks.reject("len(neighbourhoods)", len(neighbourhoods), f"{d}, one set a component")
    allowed = f"a non-empty set of distinct integers from 0 to {d - 1}"
    return [_distinct(f"neighbourhoods[{alpha}]", members, d, allowed) for alpha, members in enumerate(neighbourhoods)]


def around_sites(
    given: Sequence[Iterable[int]] | None, shape: tuple[int, ...], radius: int, periodic: bool | Sequence[bool]
) -> Neighbourhoods:
    """Return user-given sets of neighbours of each site of a grid; ``None`` means :func:`grid`.

    Raises
    ------
    ValueError
        A set is not one for :func:`checked`, or lacks the site itself.
    """
    if given is None:
        return grid(shape, radius, periodic)
    sets = checked(given, math.prod(shape))
    for site, members in enumerate(sets):
        if site not in members:
            checks.reject(f"neighbourhoods[{site}]", members.tolist(), f"a set with the site itself, {site}")
    return sets


def alike(sets: Neighbourhoods) -> Index:
    """Label the sites: those with sets of one size, in which they stand at one place, look the same."""
    looks = [(members.size, int(np.flatnonzero(members == site)[0])) for site, members in enumerate(sets)]
    return np.unique(looks, axis=0, return_inverse=True)[1].reshape(-1)


def checked_scale(scale: npt.ArrayLike | None, d: int) -> F64:
    """Return user-given scales as (d,); raise ``ValueError`` unless all are finite and > 0."""
    if scale is None:
        return np.ones(d)
    given = np.atleast_1d(checks.real_array("scale", scale))
    if given.shape not in ((1,), (d,)):
        checks.reject("scale.shape", given.shape, f"a scalar or ({d},)")
    if not (checks.finite_array("scale", given, 1) > 0).all():
        checks.reject("scale", given.tolist(), "finite and > 0 everywhere")
    return np.broadcast_to(given, (d,)).copy()


def checked_components(components: Iterable[int] | None, d: int) -> Index:
    """Return user-given components as an array; raise ``ValueError`` unless they are distinct and 0..d-1."""
    if components is None:
        return np.arange(d)
    return _distinct("components", components, d, f"distinct integers from 0 to {d - 1}, at least one")


def checked_pools(shared: bool | Sequence[int], sets: Neighbourhoods) -> Index:
    """Return which dictionary each of several components draws from: one for all, one each, or one a label.

    Raises ``ValueError`` when there are not as many labels as sets, or sets of one label differ in size.
    """
    if isinstance(shared, bool):
        pools = np.zeros(len(sets), np.intp) if shared else np.arange(len(sets))
    else:
        labels = np.asarray(shared)
        if labels.shape != (len(sets),):
            checks.reject("shared", shared, f"True, False or {len(sets)} labels, one a component")
        pools = np.unique(labels, return_inverse=True)[1]
    for pool in range(pools.max() + 1):
        if len({sets[i].size for i in np.flatnonzero(pools == pool)}) != 1:
            checks.reject("shared", shared, "False unless all neighbourhoods have the same size")
    return pools


def padded(sets: Sequence[Index]) -> Index:
    """Put sets of different sizes into one array, a row each, filled up with zeros."""
    out = np.zeros((len(sets), max(members.size for members in sets)), np.intp)
    for row, members in zip(out, sets, strict=True):
        row[: members.size] = members
    return out


def _windows(size: int, radius: int, ring: bool) -> Neighbourhoods:
    """Places within ``radius`` of each place of one axis."""
    if ring and 2 * radius + 1 > size:
        checks.reject("radius", radius, f"at most {(size - 1) // 2} on a ring of {size} sites")
    windows = [np.arange(i - radius, i + radius + 1) for i in range(size)]
    return [window % size if ring else window[(window >= 0) & (window < size)] for window in windows]


def _distinct(name: str, members: Iterable[int], d: int, allowed: str) -> Index:
    array = np.asarray(list(members) if not isinstance(members, np.ndarray) else members)
    if array.ndim != 1 or array.size == 0 or not np.issubdtype(array.dtype, np.integer):
        checks.reject(name, members, allowed)
    if array.min() < 0 or array.max() >= d or np.unique(array).size != array.size:
        checks.reject(name, array.tolist(), allowed)
    return array.astype(np.intp)
