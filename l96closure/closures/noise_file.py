"""The noise of a closure as the variables of a file."""

from __future__ import annotations

from typing import Any

import numpy as np

from l96closure import checks
from l96closure.closures.parts import Parts, named
from l96closure.closures.patterns import AnyPattern, Pattern
from l96closure.closures.vector_pattern import VectorPattern
from l96closure.closures.wavevectors import Wavevectors

_PRESCRIBED, _ESTIMATED = "prescribed", "estimated from the training data"  # sources of the correlations in space


def noise_variables(pattern: AnyPattern) -> dict[str, Any]:
    """Everything :func:`pattern_from` needs."""
    if isinstance(pattern, VectorPattern):
        dims = ("wavevector", "noise_lag", "noise_component", "other_component", "complex_part")
        values = np.stack([pattern.covariance.real, pattern.covariance.imag], axis=-1)
        return {
            "noise_covariance": named(dims, values, "covariances of vectors of the noise with earlier ones"),
            "noise_shape": named("noise_axis", np.array(pattern.grid.shape, np.int32), "cells along an axis"),
            "noise_alike": named("noise_axis", np.array(pattern.grid.periodic, np.int8), "whether sites are alike"),
        }
    parts = np.stack([pattern.reflection.real, pattern.reflection.imag], axis=-1)
    factor: dict[str, Any] = {}
    if pattern.factor is not None:
        pairs = "noise_site", "white_site"
        factor["noise_factor"] = named(pairs, pattern.factor, "what makes white noise correlated in space")
        factor["noise_factor"][2]["source"] = _PRESCRIBED if pattern.prescribed else _ESTIMATED
    if pattern.modes is not None:
        factor["noise_modes"] = named(("noise_mode", "noise_site"), pattern.modes, "modes of the noise in space")
    return factor | {
        "reflection": named(
            ("mode", "order", "complex_part"), parts, "reflection coefficients of the noise at a wavenumber"
        ),
        "noise_power": named("noise_wavenumber", pattern.power, "part of the noise's variance at a wavenumber"),
    }


def pattern_from(parts: Parts, sites: int) -> AnyPattern:
    """Inverse of :func:`noise_variables`; raises ``ValueError`` when something is missing or does not fit."""
    if "noise_covariance" in parts:
        return _vector_pattern_from(parts, sites)
    both = parts.array("reflection", "mode", "order", "complex_part")
    power = parts.array("noise_power", "noise_wavenumber")
    wavenumbers = sites // 2 + 1
    if both.shape[0] not in (1, wavenumbers) or both.shape[2] != 2 or power.size not in (1, wavenumbers):
        checks.reject(
            "reflection.shape, noise_power.size", (both.shape, power.size), f"of 1 or {wavenumbers} wavenumbers"
        )
    if (power < 0.0).any() or not np.isclose(power.sum(), 1.0):
        checks.reject("noise_power", power.tolist(), ">= 0 and a sum of 1")
    factor = parts.array("noise_factor", "noise_site", "white_site") if "noise_factor" in parts else None
    if factor is not None and (factor.shape != (sites, sites) or np.triu(factor, 1).any() or power.size > 1):
        checks.reject("noise_factor.shape", factor.shape, f"({sites}, {sites}), lower triangular, beside a power of 1")
    modes = parts.array("noise_modes", "noise_mode", "noise_site") if "noise_modes" in parts else None
    if modes is not None and (modes.shape[1] != sites or power.size > 1 or ((modes**2).sum(axis=0) >= 1.0).any()):
        checks.reject(
            "noise_modes.shape", modes.shape, f"(modes, {sites}), which leave some variance, beside a power of 1"
        )
    source = None if factor is None else parts.dataset["noise_factor"].attrs.get("source")
    if factor is not None:
        checks.one_of("noise_factor.source", source, (_PRESCRIBED, _ESTIMATED))
    return Pattern(both[..., 0] + 1j * both[..., 1], power, sites, factor, source == _PRESCRIBED, modes)


def _vector_pattern_from(parts: Parts, cells: int) -> VectorPattern:
    shape = parts.indices("noise_shape", "noise_axis", low=1, high=2**31 - 1).tolist()
    alike = parts.indices("noise_alike", "noise_axis", low=0, high=1).astype(bool).tolist()
    grid = Wavevectors(tuple(shape), tuple(alike))
    dims = ("wavevector", "noise_lag", "noise_component", "other_component", "complex_part")
    values = parts.array("noise_covariance", *dims)
    square = (grid.levels, grid.levels)
    if grid.cells != cells or values.shape != (grid.counts.size, values.shape[1], *square, 2) or not values.shape[1]:
        checks.reject("noise_covariance.shape", values.shape, f"of vectors on a grid {tuple(shape)} of {cells} cells")
    return VectorPattern(values[..., 0] + 1j * values[..., 1], grid)
