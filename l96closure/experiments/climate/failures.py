"""Where the closure fails, in words: what is outside its interval, and large enough to matter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

from l96closure.diagnostics import intervals, ring, tails
from l96closure.diagnostics.forecast import headline_leads
from l96closure.diagnostics.scorecard import (
    BOUNDED,
    DISTANCES,
    FIELDS,
    FORECASTS,
    MEMORY,
    NEIGHBOURS,
    RESIDUAL,
    difference,
    scalars,
)
from l96closure.durations import duration, plain, unit_of
from l96closure.experiments.climate.tables import in_units
from l96closure.experiments.climate.verdicts import (
    MATTERS,
    NO_INTERVAL,
    Failure,
    Judged,
    in_percent,
    judge,
    judge_clearest,
    unless_far,
)
from l96closure.report import listed

HEADING = "Where the closure fails"
SMALL = "Small, but more than chance by its 95 % interval, which one in twenty is by chance all the same"
"""Said of what is wrong by less than what is counted as a failure."""

_MAX_NAMED = 4  # wavenumbers that are named
_OUTSIDE = 0.01  # values that a site sees at a step
_LAGS = 10  # at which autocorrelations are judged, closer together where they are short
_OF_TABLES = (1, 2, 5, 10, 20, 50)  # and those, in records, that tables show
_MOMENTS = {"mean": ("mean", 1, " std"), "std": ("standard deviation", 100, " %")}  # as parts of the truth's deviation
_SKILL = ("crps", "energy_score", "variogram_score")

Check = Callable[[xr.Dataset], Judged]
"""Judges what a dataset has of its subject, nothing where it has none."""


def failures(diagnostics: xr.Dataset, further: Mapping[str, Check] | None = None) -> list[str]:
    """Say in sentences where a closure fails, where no failure was found, what is small and what cannot be told.

    Parameters
    ----------
    diagnostics : climate, forecasts and law of a run, or some of these.
    further : checks of what else there is, by what they look at.
    """
    wrong: list[str] = []
    right: list[str] = []
    partly: list[str] = []
    untold: list[str] = []
    small: list[str] = []
    for what, check in {**_CHECKS, **(further or {})}.items():
        judged = list(check(diagnostics))
        off = [each for each in judged if isinstance(each, Failure)]
        found = [each.said for each in off if each.matters]
        small += [] if found else [each.said for each in off]
        wrong += [f"{said[0].upper()}{said[1:]}." for said in found]
        if judged and not found:
            (right if all(judged) else partly if any(judged) else untold).append(what)
    if right:
        wrong.append(f"No failure found in {listed(right)}.")
    if partly:
        wrong.append(f"No failure found, as far as there are intervals, in {listed(partly)}.")
    if small:
        wrong.append(f"{SMALL}: {'; '.join(small)}.")
    if untold:
        wrong.append(f"Not told, for want of intervals: {listed(untold)}.")
    return wrong


def outside(coarse: xr.Dataset) -> list[str]:
    """Say how often sites were given, in a coarse run, what a closure was not trained on; nothing where it is seldom.

    Parameters
    ----------
    coarse : a coarse run.
    """
    sites = math.prod(size for dim, size in coarse.sizes.items() if dim not in ("member", "time"))
    number = float(coarse["features_outside"].mean() / sites) if "features_outside" in coarse else 0.0
    if number <= _OUTSIDE:
        return []
    return [
        "The coarse run leaves the range of the training data, and the closure extrapolates: of the values that a site "
        f"sees at a step, {number:.2g} on average lie outside."
    ]


def _varying(diagnostics: xr.Dataset, fields: Mapping[str, str]) -> dict[str, str]:
    """Return the fields that vary in the coarse run: of a constant psi, that is said once."""
    spread = next((diagnostics[each] for each in ("profile_std_psi", "psi_std") if each in diagnostics), None)
    constant = spread is not None and bool((spread.sel(source="coarse") == 0).all())
    return {name: symbol for name, symbol in fields.items() if name == "z" or not constant}


def _constant(diagnostics: xr.Dataset) -> Judged:
    if "psi" not in _varying(diagnostics, FIELDS):
        yield Failure(f"in the coarse run {FIELDS['psi']} does not vary; what follows is not said of it")


def _moments(diagnostics: xr.Dataset) -> Judged:
    for name, symbol in _varying(diagnostics, FIELDS).items() if "std" in diagnostics else ():
        prefix = "" if name == "z" else "psi_"
        scale = float(diagnostics[f"{prefix}std"].sel(source="truth"))
        for what, (word, factor, unit) in _MOMENTS.items():
            (off, error), matters = _difference(diagnostics, f"{prefix}{what}"), factor * MATTERS.moment
            if scale > 0:
                off, error = (factor * each / scale for each in (off, error))
            else:  # any difference matters, and is told as it is
                unit, matters = in_units(diagnostics[f"{prefix}{what}"]), 0.0
            yield judge(f"{word} of {symbol} is", off, intervals.SIDE * error, matters, unit)


def _profiles(diagnostics: xr.Dataset) -> Judged:
    if "profile_mean_z" not in diagnostics:  # no levels
        return
    for name, symbol in _varying(diagnostics, FIELDS).items():
        scale = diagnostics[f"profile_std_{name}"].sel(source="truth")
        for what, (word, factor, unit) in _MOMENTS.items():
            both = difference(diagnostics, f"profile_{what}_{name}")
            off, error = ((factor * each / scale).where(scale != 0, 0.0) for each in both)
            yield judge_clearest(f"{word} of {symbol}", off, error, factor * MATTERS.moment, unit)


def _planes(diagnostics: xr.Dataset) -> Judged:
    if "isotropic_spectrum_z" not in diagnostics:  # no plane
        return
    for name, symbol in _varying(diagnostics, FIELDS).items():
        waves = diagnostics.isel(total_wavenumber=slice(1, None)).transpose(..., "total_wavenumber")
        spectrum = waves[f"isotropic_spectrum_{name}"].sel(source="truth")
        carries = spectrum.copy(data=ring.carrying(spectrum.to_numpy()))
        both = difference(waves, f"isotropic_spectrum_{name}")
        off, error = ((100 * each / spectrum).where(carries, 0.0) for each in both)
        yield judge_clearest(f"variance of {symbol}", off, error, 100 * MATTERS.spectrum, " %")


def _distributions(diagnostics: xr.Dataset) -> Judged:
    if "hellinger_z" not in diagnostics:  # no coarse run
        return
    for name, symbol in _varying(diagnostics, FIELDS | {"joint": "z and ψ together"}).items():
        score, floor, spread, low, high = scalars(diagnostics, f"hellinger_{name}", DISTANCES["hellinger_z"].parts)
        if not floor > 0:
            yield False
        elif not intervals.known(low):
            said = f"Hellinger distance of {symbol} is {score / floor:.1f} times its floor ({NO_INTERVAL})"
            yield unless_far(said, score / floor - 1, MATTERS.ratio - 1)
        elif low > floor + np.nan_to_num(spread):
            yield Failure(
                f"Hellinger distance of {symbol} is {score / floor:.1f} times its floor "
                f"(interval {low / floor:.1f} to {high / floor:.1f})",
                score > MATTERS.ratio * floor,
            )
        else:
            yield True


class _OfWave(NamedTuple):
    """What is wrong at a wavenumber: by how many per cent at least, in words, and whether that matters."""

    number: int
    near: float
    said: str
    matters: bool


def _spectra(diagnostics: xr.Dataset) -> Judged:
    if "spectrum_z" not in diagnostics:  # no ring
        return
    for name, symbol in _varying(diagnostics, FIELDS).items():
        off: list[_OfWave] = []
        for m, ratio, low, high in _carrying(diagnostics, name):
            percent = 100 * abs(ratio - 1)
            words = f"{in_percent(percent)} % too {'small' if ratio < 1 else 'large'}"
            if not intervals.known(low):
                if far := unless_far(f"{words} ({NO_INTERVAL})", percent, 100 * MATTERS.spectrum):
                    off.append(_OfWave(m, percent, far.said, far.matters))
                else:
                    yield False
            elif low <= 1 <= high:
                yield True
            else:
                near, furthest = sorted(100 * abs(each - 1) for each in (low, high))
                said = f"{words} (interval {in_percent(near)} to {in_percent(furthest)} %)"
                off.append(_OfWave(m, near, said, percent > 100 * MATTERS.spectrum))
        matters = any(each.matters for each in off)
        named = [each for each in off if each.matters or not matters]
        shown = sorted(sorted(named, key=lambda each: -each.near)[:_MAX_NAMED])
        every, last = [f"at {each.number}: {each.said}" for each in shown], f" ({NO_INTERVAL})"
        if all(each.endswith(last) for each in every):
            every = [*(each.removesuffix(last) for each in every[:-1]), *every[-1:]]
        if len(named) == 1:
            yield Failure(f"variance of {symbol} at wavenumber {named[0].number} is {named[0].said}", matters)
        elif named:
            most = "" if len(named) == len(shown) else ", most clearly"
            yield Failure(f"variance of {symbol} is off at {len(named)} wavenumbers{most}: {'; '.join(every)}", matters)


def _carrying(diagnostics: xr.Dataset, name: str) -> Iterator[tuple[int, float, float, float]]:
    """Yield the wavenumbers that carry variance, the ratios there, and bounds that hold all of them at once."""
    carries = ring.carrying(diagnostics[f"spectrum_{name}"].sel(source="truth").to_numpy())
    wider = intervals.together(max(1, int(carries.sum()))) / intervals.SIDE
    for m in diagnostics["wavenumber"].to_numpy()[carries]:
        ratio, low, high = scalars(diagnostics.sel(wavenumber=m), f"spectrum_ratio_{name}")
        if low > 0:
            low, high = (ratio * (bound / ratio) ** wider for bound in (low, high))
        yield int(m), ratio, low, high


def _neighbours(diagnostics: xr.Dataset) -> Judged:
    for name in _varying(diagnostics, FIELDS | RESIDUAL):
        score = NEIGHBOURS[f"neighbour_correlation_{name}"]
        if score.name not in diagnostics or diagnostics[score.name].isnull().all():  # a lone site has none
            continue
        off, error = _difference(diagnostics, score.name)
        yield judge(f"{score.label} is", off, intervals.SIDE * error, MATTERS.neighbour)


def _memory(diagnostics: xr.Dataset) -> Judged:
    for name, symbol in _varying(diagnostics, FIELDS | RESIDUAL).items() if MEMORY.name in diagnostics else ():
        yield from at_lags(symbol, *difference(diagnostics, f"autocorrelation_{name}"))


def at_lags(symbol: str, off: xr.DataArray, error: xr.DataArray) -> Judged:
    """Judge an autocorrelation.

    Parameters
    ----------
    symbol : what it is of, in words.
    off, error : what it is too large by at each lag, from zero on, and the standard error of that.

    Yields
    ------
    The verdict; nothing where there are no lags.
    """
    lags = off[off.dims[0]]
    if lags.size < 2:
        return
    of_tables = [record for record in _OF_TABLES if record < lags.size]
    chosen = np.unique([*np.geomspace(1, lags.size - 1, _LAGS).round().astype(int), *of_tables])
    differences, errors = off.to_numpy()[chosen], error.to_numpy()[chosen]
    half = np.full_like(errors, np.nan) if np.isnan(errors).any() else intervals.together(chosen.size) * errors
    clear = np.where(np.abs(differences) <= half, 0.0, np.abs(differences))
    worst = int(clear.argmax())
    lag = duration(float(lags[chosen[worst]]), unit_of(lags), ".3g")
    said = f"autocorrelation of {symbol} at lag {lag} is"
    yield judge(said, float(differences[worst]), float(half[worst]), MATTERS.memory)


def _extremes(diagnostics: xr.Dataset) -> Judged:
    if "return_period_z" not in diagnostics:  # no coarse run
        return
    levels, wrong = diagnostics["threshold"], []
    for number, level in enumerate(levels):
        at = diagnostics.isel(threshold=number)
        coarse, truth = (scalars(at.sel(source=source), "return_period_z") for source in ("coarse", "truth"))
        if math.isinf(truth[0]):
            yield False
            continue
        ratio, low, high = tails.period_ratio(coarse, truth, intervals.together(levels.size) / intervals.SIDE)
        above, factor = f"{float(level):.3g}{in_units(level)}", max(ratio, 1 / ratio)
        words = f"return period of z above {above} is {_two_digits(ratio)} times the truth's"
        if not intervals.known(low):
            far = unless_far(f"{words} ({NO_INTERVAL})", factor - 1, MATTERS.period - 1)
            if far and math.isfinite(ratio):
                wrong.append((factor, far))
            else:
                yield False
        elif low <= 1 <= high:
            yield True
        elif math.isinf(ratio):
            wrong.append((low, Failure(f"in the coarse run z never exceeds {above}, for which it is long enough")))
        else:
            failure = Failure(f"{words} (interval {_two_digits(low)} to {_two_digits(high)})", factor > MATTERS.period)
            wrong.append((low if low > 1 else 1 / high, failure))
    if wrong:
        yield max(wrong, key=lambda each: (each[1].matters, each[0]))[1]


def _spread(diagnostics: xr.Dataset) -> Judged:
    for lead, at in _at_leads(diagnostics):
        ratio, low, high = scalars(at, "spread_skill")
        words = f"ensembles are too {'narrow' if ratio < 1 else 'wide'} at lead {lead} (spread over error {ratio:.2f}"
        if not intervals.known(low):
            yield unless_far(f"{words}; {NO_INTERVAL})", abs(ratio - 1), MATTERS.spread)
        elif low <= 1 <= high:
            yield True
        else:
            yield Failure(f"{words}, interval {low:.2f} to {high:.2f})", abs(ratio - 1) > MATTERS.spread)


def _skill(diagnostics: xr.Dataset) -> Judged:
    for lead, at in _at_leads(diagnostics):
        each = [beside_climatology(at, name, FORECASTS[name].symbol) for name in _SKILL]
        yield from (judged for judged in each if isinstance(judged, bool))
        if worse := [judged for judged in each if isinstance(judged, str)]:
            yield Failure(f"forecasts of lead {lead} score worse than climatology: {listed(worse)}")


def beside_climatology(scores: xr.Dataset, name: str, symbol: str) -> str | bool | None:
    """Say by how much a score is worse than climatology's; True where it is not, False where that cannot be told.

    Parameters
    ----------
    scores : with the score ``name`` and what belongs to it, one number each.
    name : of the score.
    symbol : what it is called.

    Returns
    -------
    str, bool or None
        None where there is no score: a lone site has no variogram.
    """
    value, low, high, climatology = scalars(scores, name, (*BOUNDED, "_climatology"))
    if math.isnan(value):
        return None
    if not intervals.known(low):
        above = value / climatology - 1 if climatology > 0 else 0.0
        far = unless_far(f"{symbol} by {in_percent(100 * above)} % ({NO_INTERVAL})", above, MATTERS.mark)
        return far.said if far else False
    if low <= climatology:
        return True
    percent = (in_percent(100 * (each / climatology - 1)) for each in (value, low, high))
    return "{} by {} % (interval {} to {} %)".format(symbol, *percent)


def _mark(diagnostics: xr.Dataset) -> Judged:
    if "crps_above_mark" not in diagnostics:
        return
    for lead, at in _at_leads(diagnostics):
        (above, low, high), mark = scalars(at, "crps_above_mark"), float(at["crps_mark"])
        words = f"CRPS at lead {lead} exceeds that of the full model by {above:.2g}"
        percent = f"{in_percent(100 * above / mark)} %"
        if not intervals.known(low):
            yield unless_far(f"{words} ({NO_INTERVAL}), {percent}", above, MATTERS.mark * mark)
        elif low <= 0:
            yield True
        else:
            yield Failure(f"{words} (interval {low:.2g} to {high:.2g}), {percent}", above > MATTERS.mark * mark)


def _law(diagnostics: xr.Dataset) -> Judged:
    if "pit_error" not in diagnostics:
        return
    largest, low, high = scalars(diagnostics, "pit_largest_error")
    words = "the share of ψ below one of its deciles is off by up to"
    if not intervals.known(low):
        yield unless_far(f"law of ψ is wrong: {words} {largest:.3f} ({NO_INTERVAL})", largest, MATTERS.decile)
        return
    if low <= 0:
        yield True
        return
    below, *_, above = (float(x) for x in diagnostics["pit_error"])
    width, shift = below - above, float(diagnostics["pit_error"].mean())
    shape = f"too {'narrow' if width > 0 else 'wide'}" if abs(width) > 2 * abs(shift) else (
        f"too {'high' if shift > 0 else 'low'}"
    )  # fmt: skip
    tails = 100 * (0.2 + width)
    yield Failure(
        f"law of ψ is {shape}: {words} {largest:.4f} (interval {low:.4f} to {high:.4f}), and {tails:.1f} % lie below "
        "the first or above the last, not 20 %",
        largest > MATTERS.decile,
    )


_CHECKS: dict[str, Check] = {
    "variation of ψ": _constant,
    "overall means and standard deviations": _moments,
    "profiles": _profiles,
    "distributions": _distributions,
    "variances by wavenumber": _spectra,
    "variances by total wavenumber": _planes,
    "correlations of neighbours": _neighbours,
    "memory": _memory,
    "extremes": _extremes,
    "spread of the ensembles": _spread,
    "skill beside climatology": _skill,
    "skill beside the full model": _mark,
    "the law on held-out data": _law,
}


def _difference(diagnostics: xr.Dataset, name: str) -> tuple[float, float]:
    """Return coarse run less truth, and its standard error, as numbers."""
    off, error = difference(diagnostics, name)
    return float(off), float(error)


def _at_leads(diagnostics: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield the leads that are shown as numbers, with the scores there; not the start, at which nothing is forecast."""
    if "crps" in diagnostics:
        for lead in headline_leads(diagnostics):
            if lead > 0:
                yield duration(lead, unit_of(diagnostics["lead"])), diagnostics.sel(lead=lead)


def _two_digits(value: float) -> str:
    return plain(float(f"{value:.2g}"), "#.2g").rstrip(".") if math.isfinite(value) else str(value)
