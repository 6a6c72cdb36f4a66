"""Two runs made comparable: checked, with one shape and one time step."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import numpy as np
import xarray as xr

from l96closure import checks
from l96closure.arrays import F64, Index
from l96closure.durations import MODEL_TIME
from l96closure.fields import Fields
from l96closure.series import dated, one_run, time_step, time_unit

SOURCES = ("truth", "coarse")


class Runs(NamedTuple):
    """Truth and coarse run at their common time step.

    Attributes
    ----------
    z, psi : by source, each (member, time, k); the truth has one member.
    step : the common time step.
    units : of z and psi.
    time_unit : of the step.
    base : what has been taken off z and psi at each site (k,), see :meth:`anomalies`; None is nothing.
    """

    z: dict[str, F64]
    psi: dict[str, F64]
    step: float
    units: tuple[str, ...] = ("1", "1")
    time_unit: str = MODEL_TIME
    base: tuple[F64, F64] | None = None

    def anomalies(self, groups: Index) -> Runs:
        """Return the runs less the truth's means over the sites of each group; as they are where all are one group.

        Parameters
        ----------
        groups : label of each site (k,), from 0 on, the same for sites that may be pooled.

        Returns
        -------
        Runs, which say what has been taken off.
        """
        if not groups.any():
            return self
        sizes = np.bincount(groups)
        z, psi = ((np.bincount(groups, x["truth"].mean(axis=(0, 1))) / sizes)[groups] for x in (self.z, self.psi))
        return self._replace(
            z={source: x - z for source, x in self.z.items()},
            psi={source: x - psi for source, x in self.psi.items()},
            base=(z, psi),
        )

    @property
    def shortest(self) -> int:
        """Number of times of a member of the shorter run."""
        return min(int(x.shape[1]) for x in self.z.values())


def align(truth: xr.Dataset, coarse: xr.Dataset, fields: Fields, names: tuple[str, str]) -> Runs:
    """Check two runs and take both at the coarser of their two time steps.

    Parameters
    ----------
    truth : variables of dims (time, *dim), uniform time step.
    coarse : variables of dims (member, time, *dim), uniform time step.
    fields : the grid; the sites of its mask are counted through.
    names : of the variables that are z and psi.

    Returns
    -------
    z and psi of both at their common time step, and that step.

    Raises
    ------
    ValueError
        As :func:`l96closure.diagnose` says.
    """
    for dim in fields.dim:
        if dim in truth.dims and dim in coarse.dims and truth.sizes[dim] != coarse.sizes[dim]:
            checks.reject(f"coarse.sizes[{dim!r}]", coarse.sizes[dim], f"the truth's, {truth.sizes[dim]}")
    arrays = {
        "truth": _arrays("truth", truth, ("time",), fields, names),
        "coarse": _arrays("coarse", coarse, ("member", "time"), fields, names),
    }
    for name in names:
        one_run(f"truth.{name}", arrays["truth"][name][0])
    step, every = _common_step(time_step("truth", truth), time_step("coarse", coarse))
    z, psi = ({source: arrays[source][name][:, :: every[source]] for source in SOURCES} for name in names)
    runs = Runs(z, psi, step, tuple(_units(truth, coarse, name) for name in names), time_unit(truth))
    if runs.shortest < 2:
        checks.reject("time", runs.shortest, f"two times or more of both runs at their common step {step:g}")
    return runs


def lag_time(max_lag: float | timedelta | np.timedelta64, truth: xr.Dataset, step: float) -> float:
    """Return the longest lag in the unit of the truth's time, which is seconds where times are dates.

    Parameters
    ----------
    max_lag : as :func:`l96closure.diagnose` has it.
    truth : has the coordinate ``time``.
    step : common time step of the two runs.

    Returns
    -------
    The lag, at least a step.

    Raises
    ------
    ValueError
        ``max_lag`` is shorter than a step, or a duration where times are plain numbers.
    """
    in_seconds = dated(truth)
    if isinstance(max_lag, (timedelta, np.timedelta64)):
        if not in_seconds:
            checks.reject("max_lag", max_lag, "a number, in the unit of the truth's time, which has no dates")
        longest = float(np.timedelta64(max_lag) / np.timedelta64(1, "s"))
    else:
        longest = checks.number("max_lag", max_lag, above=0.0)
    if not longest >= step * (1 - 1e-9):
        unit = " s; as times are dates, give a numpy.timedelta64, a datetime.timedelta or seconds" if in_seconds else ""
        checks.reject("max_lag", max_lag, f"at least the common time step of the runs, {step:g}{unit}")
    return longest


def _units(truth: xr.Dataset, coarse: xr.Dataset, name: str) -> str:
    """Return the units of a variable; raise ``ValueError`` where the two runs say they have different ones."""
    found = [str(run[name].attrs["units"]) for run in (truth, coarse) if "units" in run[name].attrs]
    if len(set(found)) > 1:
        checks.reject(f"coarse[{name!r}].units", found[1], f"the truth's, {found[0]!r}")
    return found[0] if found else "1"


def _arrays(
    name: str, dataset: xr.Dataset, before: tuple[str, ...], fields: Fields, names: tuple[str, str]
) -> dict[str, F64]:
    """Check ``z`` and ``psi`` of a run, called ``names``, and return them as arrays (member, time, k)."""
    checks.xarray_dataset(name, dataset)
    arrays, dims = {}, (*before, *fields.dim)
    for variable in names:
        if variable not in dataset:
            checks.reject(name, sorted(map(str, dataset.data_vars)), f"a Dataset with the variable {variable!r}")
        field = dataset[variable]
        if set(field.dims) != set(dims):
            checks.reject(f"{name}[{variable!r}].dims", field.dims, f"({', '.join(dims)})")
        field = fields.filled(field.transpose(*dims))
        values = checks.real_array(f"{name}[{variable!r}]", field.values)
        bad = ~np.isfinite(values)
        if bad.any():
            index = tuple(int(i) for i in np.argwhere(bad)[0])
            where = ", ".join(
                f"{dim} = {field[dim].values[i] if dim in field.coords else i:g}"
                for dim, i in zip(dims, index, strict=True)
            )
            checks.reject(f"{name}[{variable!r}] at {where}", float(values[index]), "finite")
        values = checks.decoded(f"{name}[{variable!r}]", field, values)
        checked = checks.finite_array(f"{name}[{variable!r}]", values, len(dims))
        members = field.sizes.get("member", 1)
        arrays[variable] = fields.taken(checked.reshape(members, field.sizes["time"], -1))
    return arrays


def _common_step(truth: float, coarse: float) -> tuple[float, dict[str, int]]:
    """Return the coarser of two steps, and every how many samples of each source it is reached."""
    ratio = max(truth, coarse) / min(truth, coarse)
    if abs(ratio - round(ratio)) > 1e-6 * ratio:
        checks.reject("time steps", (truth, coarse), "(of truth and coarse run) a whole multiple one of the other")
    if coarse >= truth:
        return coarse, {"truth": round(ratio), "coarse": 1}
    return truth, {"truth": 1, "coarse": round(ratio)}
