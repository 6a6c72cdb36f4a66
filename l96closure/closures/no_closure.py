"""No closure: the bare coarse model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.arrays import F64, Array
from l96closure.closures.parts import Parts, save, told_of
from l96closure.closures.state import State, begin, following, slow_variables
from l96closure.training import RULES, steps_of


@dataclass(frozen=True)
class NoClosure:
    """psi = 0 everywhere: what the coarse model does when nothing stands in for the fast variables.

    Attributes
    ----------
    subgrid, dt : definition of psi and step of the training data, which say how a coarse model would be run.
    """

    subgrid: str | None = None
    dt: float | None = None

    name, title = "none", "No closure"
    save = save

    @classmethod
    @checks.arguments(**RULES)
    def fit(cls, truth: xr.Dataset, dt: float | None = None) -> NoClosure:
        """Learn nothing but the step and the definition of psi; so every closure is made alike.

        Parameters
        ----------
        truth : Dataset as for any other closure, of which times and attributes are read.
        dt : step of the coarse model; None is the interval of ``truth``, where its times have a uniform one.

        Returns
        -------
        NoClosure

        Raises
        ------
        ValueError
            ``dt`` is out of its range, or is not the step that psi is defined over.
        """
        steps = steps_of(truth, dt)
        return cls(steps.subgrid, steps.dt)

    def init(self, z: F64, rng: np.random.Generator | int, member: npt.ArrayLike = 0) -> State:
        """Return a state that remembers nothing.

        Parameters
        ----------
        z : slow variables (member, K).
        rng : seed or generator, which give the key of the noise; there is none.
        member : number of the first member, or the numbers of all, see :func:`l96closure.closures.state.begin`.

        Returns
        -------
        A state for so many members.

        Raises
        ------
        ValueError
            ``z`` is not (member, K).
        """
        return begin(len(slow_variables(z)), rng, member)

    def step(self, z: F64, state: State) -> tuple[F64, State]:
        """Return psi = 0.

        Parameters
        ----------
        z : slow variables (member, K).
        state : from :meth:`init` or the previous step.

        Returns
        -------
        Zeros of the shape of ``z``, and the next state.

        Raises
        ------
        ValueError
            ``z`` is not (member, K), or ``state`` does not fit it.
        """
        z = slow_variables(z)
        return np.zeros_like(z), following(state, len(z), 0)

    def tables(self) -> dict[str, Array]:
        """Return everything a step needs: nothing.

        Returns
        -------
        No arrays.
        """
        return {}

    def to_dataset(self) -> xr.Dataset:
        """Return everything :meth:`from_dataset` needs, and nothing that can be derived from it.

        Returns
        -------
        Dataset, what the file of the closure holds.
        """
        return xr.Dataset(attrs=told_of(self))

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> NoClosure:
        """Make the closure of what :meth:`to_dataset` gave.

        Parameters
        ----------
        dataset : from :meth:`to_dataset`, perhaps by way of a file.

        Returns
        -------
        The closure, whose steps have the same bits.

        Raises
        ------
        ValueError
            Something is missing or wrong.
        """
        return cls(**Parts(dataset).origin())
