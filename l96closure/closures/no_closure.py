"""No closure: the bare coarse model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks
from l96closure.closures import origin
from l96closure.closures.files import save
from l96closure.closures.inputs import slow_variables
from l96closure.closures.parts import Parts
from l96closure.closures.state import State, begin, following

__all__ = ["NoClosure"]

F64 = npt.NDArray[np.float64]


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
    @checks.arguments(truth=checks.xarray_dataset, dt=checks.optional(partial(checks.number, above=0.0)))
    def fit(cls, truth: xr.Dataset, dt: float | None = None) -> NoClosure:
        """Learn nothing from ``truth`` but its step, unless ``dt`` is another; so every closure is made alike."""
        return cls(**origin.of(truth, dt))

    def init(self, z: F64, rng: np.random.Generator | int, member: npt.ArrayLike = 0) -> State:
        """Return a state that remembers nothing."""
        return begin(len(slow_variables(z)), rng, member)

    def step(self, z: F64, state: State) -> tuple[F64, State]:
        """Return psi = 0 of the shape of ``z`` (member, K), and the next state."""
        z = slow_variables(z)
        return np.zeros_like(z), following(state, len(z), 0)

    def tables(self) -> dict[str, npt.NDArray[Any]]:
        """Everything a step needs: nothing."""
        return {}

    def to_dataset(self) -> xr.Dataset:
        """Everything :meth:`from_dataset` needs."""
        return xr.Dataset(attrs={"closure": self.name, **origin.attributes(self)})

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> NoClosure:
        """Inverse of :meth:`to_dataset`."""
        return cls(**origin.read(Parts(dataset)))
