"""What of a coarse model follows from its system and its closure: tendency, time step and scheme."""

from __future__ import annotations

import math
from typing import Any

from l96closure import checks
from l96closure.schemes import Tendency
from l96closure.subgrid import FITTING_SCHEME

__all__ = ["SchemeWarning", "Tendency", "check_step", "mismatch", "scheme_of", "step_of", "tendency_of"]


class SchemeWarning(UserWarning):
    """The scheme of the coarse model is not the one that the closure's definition of psi is consistent with."""


def tendency_of(model: Any) -> Tendency:
    """Return the resolved tendency of a system, or ``model`` itself where it is a function z -> dz/dt.

    Raises ``ValueError`` where it is neither.
    """
    tendency = getattr(model, "resolved_tendency", model)
    if not callable(tendency) or isinstance(model, type):
        checks.reject("model", model, "an object with resolved_tendency(z), or a function z -> dz/dt")
    found: Tendency = tendency
    return found


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
