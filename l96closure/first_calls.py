"""The first calls of what others may have written, a tendency and a closure: what they give is checked.

Later calls are trusted: a check of each would cost more than a step.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.arrays import F64
from l96closure.closures import Closure
from l96closure.closures import state as states
from l96closure.schemes import Tendency

_PUSHED = 1e-3  # part by which the states of half of the members are changed, to see whether the others notice
_ROUNDING = 1e2  # spacings of its numbers, by which a tendency may differ where nothing it depends on does


def check_tendency(tendency: Tendency, z: F64) -> None:
    """Try a tendency at the start of a run, in at most four calls.

    Parameters
    ----------
    tendency : resolved tendency, z (member, ...) -> dz/dt (member, ...).
    z : slow variables to try it with.

    Raises
    ------
    ValueError
        It gives something else than an array of numbers of the shape of z, it writes into z, or what it gives for a
        member changes with the states of other members.
    """
    given = z.copy()
    gives = tendency(given)
    usual = _field("tendency(z)", gives, z).copy()
    _unchanged("z", given, z, "tendency(z)")
    kind = getattr(gives, "dtype", usual.dtype)
    limit = _ROUNDING * np.finfo(kind if kind.kind == "f" else usual.dtype).eps * _largest(usual)
    for first in (0, 1) if len(z) > 1 else ():
        pushed, others = slice(first, None, 2), slice(1 - first, None, 2)
        near = z.copy()
        near[pushed] += _PUSHED * (np.abs(z[pushed]) + (_largest(z) or 1.0))
        noticed = _largest((_field("tendency(z)", tendency(near), z) - usual)[others])
        if noticed > limit:
            random = _largest(_field("tendency(z)", tendency(z.copy()), z) - usual)
            if noticed > 10.0 * random:  # else it draws random numbers or counts its calls, which is no mistake here
                checks.reject(
                    "tendency(z) of a member",
                    "changed by the others",
                    "what it is for the member alone; members are rows of z, so a function along the sites needs its "
                    "axis, e.g. np.roll(z, 1, axis=1)",
                )


def _largest(values: F64) -> float:
    """Return the largest size of numbers, those aside that are NaN as a model may have them outside of a mask."""
    return float(np.fmax.reduce(np.abs(values), axis=None))


def first_state(
    closure: Closure,
    z: F64,
    rng: np.random.Generator | int,
    member: npt.ArrayLike = 0,
    history: xr.Dataset | None = None,
) -> Any:
    """Return the state that a closure starts from: of the history where it remembers, else drawn.

    Parameters
    ----------
    closure : obeys :class:`l96closure.closures.Closure`.
    z : initial slow variables (member, K).
    rng : seed or generator, which give the key of the noise.
    member : number of the first member, or the numbers of all.
    history : what is known of the past, from :func:`l96closure.history`; not looked at by a closure without memory.

    Returns
    -------
    What the closure's ``init`` gives.
    """
    if history is None or not getattr(closure, "past_steps", 0):
        return closure.init(z, rng, member=member)
    remembers: Any = closure
    return remembers.init(z, rng, member=member, history=_in_names_of(remembers, history))


def _in_names_of(closure: Any, history: xr.Dataset) -> xr.Dataset:
    """Give a history of ``z`` and ``psi`` on sites ``k`` the names and the grid of the data that a closure is of."""
    fields = getattr(closure, "fields", None)
    if fields is None or len({*fields.predictors, *fields.targets}) > 2 or not {"z", "psi"} <= set(history):
        return history
    if (*fields.predictors, *fields.targets, *fields.dim) == ("z", "psi", "k"):
        return history
    dims = ("member", "lag", *fields.dim)
    arrays = {theirs: history[ours].transpose("member", "lag", "k").to_numpy()
              for ours, theirs in (("z", fields.predictors[0]), ("psi", fields.targets[0]))}  # fmt: skip
    named = {name: (dims, array.reshape(*array.shape[:2], *fields.shape)) for name, array in arrays.items()}
    return xr.Dataset(named, {"lag": history["lag"]}, history.attrs)


def take_step(closure: Closure, z: F64, state: Any, shape: tuple[int, ...] | None = None) -> tuple[F64, Any]:
    """Take the first step of a closure in a run: what ``closure.step`` gives, checked.

    Parameters
    ----------
    closure : obeys :class:`l96closure.closures.Closure`.
    z : slow variables (member, K), or (member, P, K).
    state : from the closure's ``init``.
    shape : of a member's psi; None is that of its z.

    Returns
    -------
    psi (member, K), and the next state.

    Raises
    ------
    ValueError
        psi is no array of numbers of that shape, or the step writes into ``z`` or ``state``.
    """
    before, state_before = z.copy(), deepcopy(state)
    psi, following = closure.step(z, state)
    _field("psi of the closure", psi, z if shape is None else np.empty((len(z), *shape)))
    _unchanged("z", z, before, "closure.step(z, state)")
    for name, part in states.parts(state).items():
        _unchanged(name, part, states.parts(state_before)[name], "closure.step(z, state)")
    return psi, following


def _unchanged(name: str, after: npt.ArrayLike, before: npt.ArrayLike, call: str) -> None:
    """Raise ``ValueError`` if a call has written into its argument."""
    if not np.array_equal(after, before, equal_nan=True):
        checks.reject(f"{name} after {call}", "changed", "left as it was; work on a copy of it")


def _field(name: str, values: npt.ArrayLike, z: F64) -> F64:
    """Return ``values`` as an array; raise ``ValueError`` unless they are numbers, one for each of z."""
    array = checks.real_array(name, values)
    if array.shape != z.shape:
        checks.reject(f"{name}.shape", array.shape, f"{z.shape}, as z asks for")
    return array
