"""Ensembles of trajectories of a Markov process: learn one, draw more (Section 4 of Gottwald & Reich 2024)."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import bridge, checks


@dataclass(frozen=True, eq=False)
class TemporalProcess:
    """A Markov process learned from trajectories with localization in time, eqs. (56)-(57); made by :meth:`fit`.

    Attributes
    ----------
    name : the variable.
    fitted : the bridge of the stacked state, one time after the other.
    causal : a component sees its own time and the one before, not the one after.
    training : the trajectories it was learned from, dims (sample, time, component).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> walks = np.random.default_rng(0).standard_normal((200, 5)).cumsum(axis=1)
    >>> process = lc.TemporalProcess.fit(xr.Dataset({"x": (("sample", "time"), walks)}), epsilon=0.05)
    >>> process.sample(3, rng=1)["x"].shape
    (3, 5, 1)
    """

    name: Hashable
    fitted: bridge.Bridge
    causal: bool
    training: xr.DataArray

    @classmethod
    def fit(
        cls, trajectories: xr.Dataset, epsilon: float | str | bridge.Kernel = "auto", sided: str = "causal"
    ) -> TemporalProcess:
        """Learn the law of a process from independent trajectories.

        Parameters
        ----------
        trajectories : Dataset with one variable of dims (sample, time) or (sample, time, component).
        epsilon : as for :func:`l96closure.bridge.fit`; distances are in units of each component's standard deviation
            over samples and times.
        sided : ``causal`` or ``two_sided``, see :func:`l96closure.bridge.markov`. Causal sets allow exact ancestral
            draws. Two-sided ones are drawn by sweeps, in which the errors of full conditionals of strongly tied
            components add up: choose a broad ``epsilon`` there, and look at the variance against chain length.

        Returns
        -------
        TemporalProcess

        Raises
        ------
        ValueError
            There is not exactly one variable of these dims, it is not finite, or an argument is out of its range.
        """
        if len(checks.xarray_dataset("trajectories", trajectories).data_vars) != 1:
            checks.reject("trajectories", sorted(map(str, trajectories.data_vars)), "a Dataset with one variable")
        ((name, data),) = trajectories.data_vars.items()
        if set(data.dims) not in ({"sample", "time"}, {"sample", "time", "component"}):
            checks.reject(f"{name}.dims", data.dims, "(sample, time) or (sample, time, component)")
        if "component" not in data.dims:
            data = data.expand_dims("component")
        data = data.transpose("sample", "time", "component")
        samples = checks.finite_array(str(name), data.values, 3)
        steps, size = samples.shape[1:]
        spread = samples.std(axis=(0, 1))
        if not (spread > 0).all():
            checks.reject(f"standard deviation of {name}", spread.tolist(), "> 0 in every component")
        fitted = bridge.fit(
            samples.reshape(len(samples), -1),
            epsilon,
            bridge.markov(steps, size, sided),
            np.tile(spread, steps),
        )
        return cls(name, fitted, sided == "causal", data)

    def sample(
        self,
        n: int,
        rng: np.random.Generator | int,
        scheme: str | None = None,
        steps: int | None = None,
        initial: npt.ArrayLike | None = None,
    ) -> xr.Dataset:
        """Draw new trajectories.

        Parameters
        ----------
        n : number of trajectories, >= 1.
        rng : generator or seed.
        scheme : see :class:`l96closure.bridge.Chain`; None is ``ancestral`` for causal sets, else ``sequential``.
        steps : length of each chain, which starts from a training sample; None is 1 for ``ancestral`` and 100 else.
        initial : condition on these values at the first time, (component,) or (n, component).

        Returns
        -------
        Dataset (sample, time, component) with the variable and coordinates of the training data.

        Raises
        ------
        ValueError
            An argument is out of its range or does not fit the process.
        """
        n = checks.integer("n", n, 1)
        if scheme is None:
            scheme = "ancestral" if self.causal else "sequential"
        if steps is None:
            steps = 1 if scheme == "ancestral" else 100
        rng = np.random.default_rng(rng)
        samples, times, size = self.training.shape
        start = self.training.values.reshape(samples, -1)[rng.integers(samples, size=n)]
        given = None
        if initial is not None:
            held = checks.real_array("initial", initial)
            checks.finite_array("initial", held, held.ndim)
            if held.shape not in ((size,), (n, size)):
                checks.reject("initial.shape", held.shape, f"({size},) or ({n}, {size})")
            given = dict(enumerate(np.broadcast_to(held, (n, size)).T))
        drawn = bridge.sample(self.fitted, start, steps, rng, scheme, given)
        result = self.training.isel(sample=np.zeros(n, int)).drop_vars("sample", errors="ignore")
        return result.copy(data=drawn.reshape(n, times, size)).to_dataset(name=self.name)
