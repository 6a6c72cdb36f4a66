"""Spectra of coupled runs, and the coefficients of a spectral closure tuned until they are those of a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from l96closure import checks, noise, progress
from l96closure.arrays import C128, F64
from l96closure.closures.parts import Parts
from l96closure.closures.wavevectors import Wavevectors
from l96closure.pairing import scheme_of, step_of, tendency_of
from l96closure.record import Record
from l96closure.schemes import SCHEMES, Timed
from l96closure.training import read

_NAMED = "calibration_"  # before the names of the report's variables in a file
_PRIOR = 0.2  # standard deviation of the coefficients that are tuned, all of them relative
_HELD_OUT = 0.25  # part of each segment of the reference that the result is judged by


class Tuning(NamedTuple):
    """What is changed of a closure, of each member by itself.

    Attributes
    ----------
    driven : what is added to the coefficients of a target's own predictor now (n, C, M).
    gain : factor of the noise (n, C, M).
    """

    driven: F64
    gain: F64


@dataclass(frozen=True, eq=False)
class Bands:
    """Overlapping bands of the size of the wavevector, evenly spaced; together they are 1 everywhere.

    Attributes
    ----------
    grid : the wavevectors.
    number : how many bands.
    largest : size of the largest wavevector that has psi.
    """

    grid: Wavevectors
    number: int
    largest: float

    @property
    def centres(self) -> F64:
        """Wavenumbers at which the bands are 1."""
        return np.linspace(1.0, self.largest, self.number)

    @property
    def weights(self) -> F64:
        """Value of each band at each wavevector (band, M), triangles that are cut at the ends."""
        return np.stack([np.interp(self.grid.sizes, self.centres, row) for row in np.eye(self.number)])

    def powers(self, modes: C128) -> F64:
        """Return the variance in each band (..., band) of modes (..., M)."""
        return (np.abs(modes) ** 2 * self.grid.counts) @ self.weights.T


def calibrated(
    closure: Any,
    model: Any,
    reference: xr.Dataset,
    bands: int,
    members: int,
    steps: int,
    spinup: int,
    iterations: int,
    rng: np.random.Generator | int,
) -> tuple[Tuning, xr.Dataset]:
    """Do what :meth:`~l96closure.closures.SpectralAutoregression.calibrate` says; return the change and a report."""
    from iterative_ensemble_smoother import ESMDA  # optional, and slow to import

    tendency = tendency_of(model)
    if isinstance(tendency, Timed):
        checks.reject("model", model, "one whose tendency does not depend on time, to be calibrated with")
    early, late = _halves(read(reference, closure.fields, closure.dt, ordered=True, grouped=True))
    of = Bands(closure.grid, bands, closure.grid.sizes[closure.law.coefficients.any(axis=(0, 1))].max())
    learned, held_out = (_reference_powers(closure, of, parts, steps) for parts in (early, late))
    if len(learned) < 3:
        checks.reject("runs of steps in reference", len(learned), "at least 3, before the quarter that is held out")
    wanted, spread = learned.mean(axis=0), np.log(learned).std(axis=0, ddof=1) / np.sqrt(len(learned))
    scale = _scale(closure, of, wanted)
    key = np.random.default_rng(noise.key_of(rng))
    run = _Coupled(closure, tendency, of, steps, spinup)
    found = _PRIOR * key.standard_normal((members, scale.shape[0], 2, bands))
    smoother = ESMDA(spread.ravel() ** 2, np.log(wanted).ravel(), iterations, key)
    z = _starts(early, members)
    for _ in range(iterations):
        powers, z = run(z, _tuning(of, found, scale), noise.key_of(key))
        fine = np.isfinite(powers).all(axis=(1, 2, 3))
        if fine.sum() < 2 + members // 2:
            checks.reject("members that stay finite", int(fine.sum()), f"more than half of the {members}")
        smoother.prepare_assimilation(Y=np.log(powers[fine]).reshape(fine.sum(), -1).T, truncation=1.0)
        updated = smoother.assimilate_batch(X=found[fine].reshape(fine.sum(), -1).T).T
        kept = np.resize(np.arange(len(updated)), members)
        found, z = updated[kept].reshape(found.shape), z[fine][kept]
    best = found.mean(axis=0)
    both = np.where((np.arange(members) % 2 == 0)[:, None, None, None], best, 0.0)
    powers, _ = run(z, _tuning(of, both, scale), noise.key_of(key))
    ratios = {name: powers[first::2] / held_out.mean(axis=0) for first, name in enumerate(("after", "before"))}
    report = _report(of, best, ratios)
    missed = {name: float((np.log(np.nanmean(ratio, axis=0)) ** 2).mean()) for name, ratio in ratios.items()}
    if not missed["after"] < missed["before"]:
        checks.reject("mean square of the logarithm of held-out ratios", missed, "less after than before")
    tuning = _tuning(of, best[None], scale)
    report.attrs |= {"members": members, "steps": steps, "spinup": spinup, "iterations": iterations}
    return tuning, report


@dataclass(frozen=True, eq=False)
class _Coupled:
    """Coupled runs of an ensemble, and the powers of z and psi in them."""

    closure: Any
    tendency: Any
    bands: Bands
    steps: int
    spinup: int

    def __call__(self, z: F64, tuning: Tuning, key: int) -> tuple[F64, F64]:
        """Return mean powers (member, z and psi, C, band) of runs from z (member, ...), NaN where lost, and ends."""
        closure, steps = self.closure, self.spinup + self.steps
        total: Any = 0.0
        advance, dt = SCHEMES[scheme_of(closure)], step_of(closure, None)
        state = closure.init(z, key)
        lost = np.zeros(len(z), bool)
        with progress.bar(steps, f"{len(z)} coupled runs") as bar:
            for step in range(steps):
                psi, state = closure.advanced(z, state, tuning)
                if step >= self.spinup:
                    total = total + _powers(closure, self.bands, z, psi)
                with np.errstate(over="ignore", invalid="ignore"):
                    following = advance(self.tendency, z, psi, dt)
                wild = ~np.isfinite(following).reshape(len(z), -1).all(axis=1)
                lost |= wild
                following[wild] = 0.0
                z = following
                bar.update()
        return np.where(lost[:, None, None, None], np.nan, total / self.steps), z


def _powers(closure: Any, bands: Bands, z: F64, psi: F64) -> F64:
    """Return powers (n, z and psi, C, band) of the targets and their own predictors; the means count."""
    sites, targets = closure.fields.sites, len(closure.fields.targets)
    own = z.reshape(len(z), -1, sites)[:, :targets]
    return bands.powers(np.stack([bands.grid.modes(one.reshape(len(z), -1, sites)) for one in (own, psi)], axis=1))


def _halves(record: Record) -> tuple[list[tuple[F64, F64]], list[tuple[F64, F64]]]:
    """Return the predictors and targets of each segment, early and late."""
    both = [(z, psi.reshape(len(psi), -1)) for z, psi in zip(record.series, record.target, strict=True)]
    ends = [round((1.0 - _HELD_OUT) * len(z)) for z, _ in both]
    early = [(z[:end], psi[:end]) for (z, psi), end in zip(both, ends, strict=True)]
    return early, [(z[end:], psi[end:]) for (z, psi), end in zip(both, ends, strict=True)]


def _reference_powers(closure: Any, bands: Bands, parts: list[tuple[F64, F64]], steps: int) -> F64:
    """Return the powers of runs of about so many steps (run, z and psi, C, band)."""
    blocks = [
        _powers(closure, bands, *block).mean(axis=0)
        for z, psi in parts
        for block in zip(*(np.array_split(one, max(1, len(z) // steps)) for one in (z, psi)), strict=True)
    ]
    return np.stack(blocks)


def _scale(closure: Any, bands: Bands, powers: F64) -> F64:
    """Return the change of psi's dependence on its own z that is of the order of psi itself (C, M)."""
    ratio = np.sqrt(powers[1] / powers[0]) @ bands.weights
    targets = len(ratio)
    own = closure.law.coefficients[: closure.order * targets].reshape(closure.order, targets, targets, -1)
    kept = np.einsum("pccm->cm", own)
    return ratio * np.abs(1.0 - kept)


def _tuning(bands: Bands, found: F64, scale: F64) -> Tuning:
    """Return what coefficients (n, C, damping and amplitude, band) do."""
    damping, amplitude = np.moveaxis(found @ bands.weights, 2, 0)
    return Tuning(-damping * scale, np.exp(amplitude))


def _starts(parts: list[tuple[F64, F64]], members: int) -> F64:
    """Return states spread over the segments (member, ...)."""
    every = np.concatenate([z for z, _ in parts])
    some = every[np.arange(members) * len(every) // members]
    return some[:, 0] if some.shape[1] == 1 else some


def _report(bands: Bands, found: F64, ratios: dict[str, F64]) -> xr.Dataset:
    """Return the coefficients, and the ratios of powers to those of the held-out reference with their errors."""
    said = {"after": "with calibration", "before": "without calibration"}
    variables: dict[str, Any] = {
        "damping": (("target", "band"), found[:, 0], {"long_name": "damping, in parts of psi over its predictor"}),
        "amplitude": (("target", "band"), np.exp(found[:, 1]), {"long_name": "factor of the noise"}),
    }
    for name, ratio in ratios.items():
        dims = ("variable", "target", "band")
        text = f"variance over that of the held-out reference, {said[name]}"
        error = np.nanstd(ratio, axis=0, ddof=1) / np.sqrt(len(ratio))
        variables[name] = dims, np.nanmean(ratio, axis=0), {"long_name": text}
        variables[f"{name}_se"] = dims, error, {"long_name": f"standard error of the {text}"}
    for _, _, attributes in variables.values():
        attributes["units"] = "1"
    wavenumber = ("band", bands.centres, {"long_name": "wavenumber of a band", "units": "1"})
    return xr.Dataset(variables, {"wavenumber": wavenumber, "variable": ["predictor", "target"]})


def report_variables(report: xr.Dataset) -> dict[str, Any]:
    """Return the report of a calibration as variables of a closure's file.

    Parameters
    ----------
    report : of :func:`calibrated`.

    Returns
    -------
    Variables by name.
    """
    plain: dict[Any, Any] = dict(report.reset_coords("wavenumber").drop_vars("variable").variables)
    counts: dict[Any, Any] = {
        name: ((), np.int64(value), {"long_name": f"{name} of the calibration", "units": "1"})
        for name, value in report.attrs.items()
    }
    return {f"{_NAMED}{name}": one for name, one in (plain | counts).items()}


def report_from(parts: Parts) -> xr.Dataset | None:
    """Inverse of :func:`report_variables`; None where there is none.

    Parameters
    ----------
    parts : of what the file of a closure holds.
    """
    found = parts.named(_NAMED)
    counts = {name: one.values.item() for name, one in found.items() if not one.ndim}
    report = xr.Dataset({name: one for name, one in found.items() if one.ndim}, attrs=counts)
    return report.assign_coords(variable=["predictor", "target"]).set_coords("wavenumber") if found else None
