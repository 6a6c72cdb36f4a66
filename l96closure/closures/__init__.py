"""Closures: what stands in for the unresolved scales. One file each; all obey :class:`Closure`.

:class:`SchrodingerBridge` is made of parts: what a site sees (``features``; chosen in ``choice``), its trend
(``trend``, its ``regression`` and ``smooth_steps``, ``filtered_trend``), the law of the residual (``laws``, as fitted
``fitted_laws``) and the noise that drives it (``patterns``, of levels and targets ``vector_pattern``; learned by
``noise_fit``, from a known past ``past``). ``fitting`` fits them, ``composed`` is all of them, ``resizing`` and
``tile`` put them on other grids, ``stepping`` is the step by their tables (``compiled_tables``, ``blocks``), and what a
run carries from step to step is a ``state``. What a file may hold says ``closure_file``, with ``trend_file``,
``noise_file`` and ``bridge_file``, by the rules of ``parts``; closures that are not made of parts say it in their
``from_dataset``.
"""

from __future__ import annotations

import os
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks, store
from l96closure.arrays import F64
from l96closure.closures.analog import Analog
from l96closure.closures.laws import Chain, Moments, Quantiles
from l96closure.closures.no_closure import NoClosure
from l96closure.closures.noise_fit import Noise
from l96closure.closures.parts import save
from l96closure.closures.polynomial import Polynomial
from l96closure.closures.polynomial_ar1 import PolynomialAR1
from l96closure.closures.schrodinger_bridge import SchrodingerBridge
from l96closure.closures.spectral_autoregression import SpectralAutoregression
from l96closure.closures.trend import Trend

__all__ = [
    "CLOSURES",
    "Analog",
    "Chain",
    "Closure",
    "Moments",
    "NoClosure",
    "Noise",
    "Polynomial",
    "PolynomialAR1",
    "Quantiles",
    "SchrodingerBridge",
    "SpectralAutoregression",
    "StoredClosure",
    "Trend",
    "load",
    "save",
]


class Closure(Protocol):
    """What the coarse model asks of a closure: a pure init and a pure step.

    ``init(z, rng, member)`` gives the state a run starts with, ``step(z, state)`` the subgrid tendency psi (member, K)
    for the slow variables z (member, K), and the next state. Ours is a :class:`~l96closure.closures.state.State`; a
    closure of your own may have an array, or any NamedTuple of arrays and numbers. All randomness follows from the
    state (:func:`l96closure.noise.normals`), and neither function changes its arguments. A closure may have the
    attributes ``dt``, the coarse step it was fitted for, which :func:`l96closure.integrate` takes unless it is told
    another; ``coarse_dt``, where it remembers from one step to the next, the only step that it then takes;
    ``past_steps``, so many steps of a past that ``init`` then takes as ``history=`` (:func:`l96closure.history`); and
    ``subgrid``, the definition of psi it was fitted to (:data:`l96closure.subgrid.DEFINITIONS`), from which the scheme
    follows.
    """

    def init(self, z: F64, rng: np.random.Generator | int, member: npt.ArrayLike = 0) -> Any:
        """Return the state that a run starts with.

        Parameters
        ----------
        z : slow variables of the ensemble (member, K).
        rng : seed or generator, which give the key of the noise.
        member : number of the first member, or the numbers of all (member,).

        Returns
        -------
        The state.
        """

    def step(self, z: F64, state: Any) -> tuple[F64, Any]:
        """Return the subgrid tendency at a step, and the state of the next.

        Parameters
        ----------
        z : slow variables (member, K).
        state : from :meth:`init` or the previous step; it is not changed.

        Returns
        -------
        psi (member, K), and the next state.
        """


class StoredClosure(Closure, Protocol):
    """A closure that a file holds, as ours are."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the closure to a netCDF file that :func:`load` reads.

        Parameters
        ----------
        path : of the file; one that is there is replaced.
        """

    def to_dataset(self) -> xr.Dataset:
        """Return everything the file holds.

        Returns
        -------
        Dataset with the attribute ``closure``, a name of :data:`CLOSURES`.
        """


CLOSURES: dict[str, Any] = {
    closure.name: closure
    for closure in (NoClosure, Polynomial, PolynomialAR1, Analog, SchrodingerBridge, SpectralAutoregression)
}
"""The closures by the name they have in files and configurations."""


def load(path: str | os.PathLike[str]) -> StoredClosure:
    """Read a closure that :meth:`StoredClosure.save` wrote.

    Parameters
    ----------
    path : of the file.

    Returns
    -------
    The closure, whose steps have the same bits as those of the one that was saved.

    Raises
    ------
    ValueError
        The file is missing, damaged, not a closure, from another version of the format, or what it holds does not fit.
    """
    dataset = store.read(path, kind="closure")
    try:
        name = checks.one_of("closure", dataset.attrs.get("closure"), CLOSURES)
        closure: StoredClosure = CLOSURES[name].from_dataset(dataset)
    except ValueError as error:
        raise ValueError(f"{path} is not a complete closure: {error}") from error
    return closure
