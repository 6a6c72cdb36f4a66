"""What of a coarse model follows from its system and its closure: tendency, time step and scheme."""

from __future__ import annotations

import inspect
import math
from typing import Any

from l96closure import checks
from l96closure.schemes import Tendency, Timed
from l96closure.subgrid import FITTING_SCHEME


class SchemeWarning(UserWarning):
    """The scheme of the coarse model is not the one that the closure's definition of psi is consistent with."""


class UnitsWarning(UserWarning):
    """A closure's target, which a coarse run adds to the tendency of a predictor, has other units than that."""


def tendency_of(model: Any) -> Tendency:
    """Return the resolved tendency of a system, or ``model`` itself where it is a function z -> dz/dt.

    A function (z, t) -> dz/dt becomes a :class:`~l96closure.schemes.Timed`; it is told by its second argument, which
    has no default or is called ``t`` or ``time``. Raises ``ValueError`` where it is none of these.
    """
    tendency = getattr(model, "resolved_tendency", model)
    allowed = "an object with resolved_tendency(z), or a function z -> dz/dt or (z, t) -> dz/dt"
    if not callable(tendency) or isinstance(model, type):
        checks.reject("model", model, allowed)
    found: Tendency = tendency
    if isinstance(found, Timed):
        return found
    given = _positional(tendency)
    needed = sum(parameter.default is parameter.empty for parameter in given)
    if needed > 2:
        checks.reject("model", model, f"{allowed}; it asks for {needed} arguments")
    timed = needed == 2 or (len(given) > 1 and given[1].name in ("t", "time"))
    return Timed(tendency) if timed else found


def _positional(function: Any) -> list[inspect.Parameter]:
    """Return the parameters that a call may give by their places; none where the function does not tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]


def step_of(closure: Any, dt: float | None) -> float:
    """Return the time step of a coarse model: ``dt``, or, for None, the one its closure was fitted for.

    Raises ``ValueError`` where neither gives one, it is not > 0, or the closure is right for another step alone.
    """
    if dt is None:
        fitted = (getattr(closure, name, None) for name in ("dt", "coarse_dt"))
        dt = next((step for step in fitted if step is not None), None)
        if dt is None:
            checks.reject("dt", None, "a number > 0; the closure was fitted for no step that it could be taken from")
    dt = checks.number("dt", dt, above=0.0)
    check_step(closure, dt)
    return dt


def check_step(closure: Any, dt: float, rounding: float = 0.0) -> None:
    """Raise ``ValueError`` if a closure remembers, and is right for another coarse step than ``dt``.

    ``rounding`` is the error that ``dt`` may have where it was taken from times of limited resolution.
    """
    right = getattr(closure, "coarse_dt", None)
    if right is not None and not math.isclose(dt, right, rel_tol=1e-6, abs_tol=rounding):
        checks.reject("dt", dt, f"{right:g}, the coarse step the closure was fitted for")


def scheme_of(closure: Any) -> str:
    """Return the scheme that the closure's definition of psi is consistent with; ``rk4`` where it is not known."""
    return FITTING_SCHEME.get(getattr(closure, "subgrid", None) or "", "rk4")


def mismatch(closure: Any, scheme: str) -> str | None:
    """Say in one line why a scheme does not fit the closure's definition of psi; None where it does."""
    if scheme == scheme_of(closure) or getattr(closure, "subgrid", None) not in FITTING_SCHEME:
        return None
    return (
        f"scheme = {scheme!r} does not fit a closure of psi defined as subgrid = {closure.subgrid!r}, which is "
        f"consistent with {scheme_of(closure)!r}; the climate of z will be off"
    )
