"""A closure on another size of the same grid: along periodic dims, whose sites are alike, offsets are all it needs.

Grid spacings, not lengths of the grid, are kept: what a site sees, its law, and what its noise has to do with that of a
site so many steps away. On a ring the noise's weights and those of the filter of the trend are taken by offset, up to
half the way round, beyond which they are 0; memories of wavenumbers are interpolated at wavenumbers per site. On planes
and on rings of levels the covariances are interpolated between wavevectors, of all of which any mean is a covariance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from l96closure import bridge, checks
from l96closure.arrays import Array, Index
from l96closure.closures.features import Features
from l96closure.closures.filtered_trend import AnyTrend, FilteredTrend, GroupedTrend
from l96closure.closures.fitted_laws import Distribution, DrivenLaw, FittedLaw, Grouped
from l96closure.closures.noise_fit import arrangement
from l96closure.closures.past import Past
from l96closure.closures.patterns import Pattern, by_offset
from l96closure.closures.vector_pattern import VectorPattern
from l96closure.closures.wavevectors import Wavevectors
from l96closure.fields import Fields
from l96closure.record import Scaling


class _Grids(NamedTuple):
    """Both grids, and the site of the old one that each of the new one is like (K',)."""

    old: Fields
    new: Fields
    like: Index

    def taken(self, values: Array) -> Array:
        """Return values of sites (..., K), the same where sites are alike, of the new grid (..., K')."""
        on_grid = values.reshape(-1, *self.old.shape)
        for axis, (name, n, now) in enumerate(zip(self.old.dim, self.old.shape, self.new.shape, strict=True), start=1):
            if n != now and (on_grid != on_grid.take([0], axis)).any():
                _refuse(name)
        return values[..., self.like]

    def of_cells(self, values: Array) -> Array:
        """Return values of cells (..., Q K), the same where sites are alike, of the new grid (..., Q K')."""
        of_targets = values.reshape(*values.shape[:-1], len(self.old.targets), self.old.sites)
        return self.taken(of_targets).reshape(*values.shape[:-1], -1)

    def cells(self, groups: tuple[Index, ...]) -> tuple[Index, ...]:
        """Return the cells of groups."""
        label = np.empty(sum(one.size for one in groups), np.intp)
        for number, one in enumerate(groups):
            label[one] = number
        of = self.of_cells(label)
        return tuple(np.flatnonzero(of == number) for number in range(len(groups)))

    def neighbours(self, of: Index) -> Index:
        """Return sites (K', W) at the offsets of those of the old grid (K, W)."""
        old, new = np.array(self.old.shape), np.array(self.new.shape)
        here = np.arange(self.old.sites)
        away = _places(of, self.old.shape) - _places(here, self.old.shape)[:, None]
        away = np.where(self.old.homogeneous, (away + old // 2) % old - old // 2, away)
        fewest = 2 * np.abs(away).max(axis=(0, 1)) + 1
        for name, size, before, least in zip(self.new.dim, new.tolist(), old, fewest.tolist(), strict=True):
            if size != before and size < least:
                checks.reject(f"sizes[{name!r}]", size, f"at least {least}, which a site sees")
        places = _places(np.arange(self.new.sites), self.new.shape)[:, None] + away[self.like]
        return np.ravel_multi_index(tuple(np.moveaxis(places % new, -1, 0)), self.new.shape)


def resized(closure: Any, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Return the parts of a composed closure that differ on another size of its grid.

    Parameters
    ----------
    closure : a :class:`~l96closure.closures.composed.Composed`.
    sizes : sites along some dims of its grid.

    Returns
    -------
    Parts by name; none where the sizes are those of the closure.

    Raises
    ------
    ValueError
        The sites along a dim are not alike, a size is too small for what a site sees, or a part of the closure is of
        its own grid alone.
    """
    old = closure.fields
    for name, size in sizes.items():
        checks.one_of("a dim of sizes", name, old.dim)
        checks.integer(f"sizes[{name!r}]", size, 1)
    changed = [name for name, n in zip(old.dim, old.shape, strict=True) if sizes.get(name, n) != n]
    if not changed:
        return {}
    for name, alike in zip(old.dim, old.homogeneous, strict=True):
        if name in changed and not alike:
            _refuse(name)
    shape = tuple(sizes.get(name, n) for name, n in zip(old.dim, old.shape, strict=True))
    kept = old.coordinates.drop_dims(changed, errors="ignore")
    grids = _Grids(old, replace(old, shape=shape, coordinates=kept), _like(old.shape, shape))
    features = replace(closure.features, neighbour=grids.neighbours(closure.features.neighbour))
    scaling, bounds, conserved = closure.scaling, closure.bounds, closure.conserved
    return {
        "fields": grids.new,
        "features": features,
        "trend": None if closure.trend is None else _trend(closure.trend, features, grids),
        "law": None if closure.law is None else _law(closure.law, grids),
        "bounds": grids.of_cells(bounds) if np.ndim(bounds) > 1 else bounds,
        "past": None if closure.past is None else _past(closure.past, grids),
        "scaling": None if scaling is None else Scaling(*(grids.taken(one) for one in scaling)),
        "conserved": None if conserved is None else conserved.on(*map(grids.of_cells, conserved[:2])),
    }


def _refuse(name: str) -> None:
    """Say that the sites along a dim are not alike."""
    checks.reject("a dim of sizes", name, "periodic, without mask, its sites having learned together")


def _places(sites: Index, shape: tuple[int, ...]) -> Index:
    """Return the places of sites along each dim of a grid (..., dims)."""
    return np.stack(np.unravel_index(sites, shape), axis=-1)


def _like(old: tuple[int, ...], new: tuple[int, ...]) -> Index:
    """Return the site of a grid that each site of another is like: at the same place, going round the first."""
    places = np.indices(new).reshape(len(new), -1) % np.array(old)[:, None]
    return np.ravel_multi_index(tuple(places), old)


def _trend(trend: AnyTrend, features: Features, grids: _Grids) -> AnyTrend:
    if isinstance(trend, GroupedTrend):
        cells = grids.cells(trend.cells)
        seen = [features.of_sites(one % grids.new.sites) for one in cells]
        return GroupedTrend(tuple(_trend(one, own, grids) for one, own in zip(trend.of, seen, strict=True)), cells)
    if isinstance(trend, FilteredTrend):
        return replace(trend, of=replace(trend.of, features=features), kernel=by_offset(trend.kernel, grids.new.sites))
    return replace(trend, features=features)


def _law(law: FittedLaw, grids: _Grids) -> DrivenLaw:
    if not isinstance(law, DrivenLaw) or isinstance(law.of, bridge.Bridge):
        checks.reject("law", "a bridge of all sites", "quantiles or Gaussian, on another size of the grid")
    of, pattern = _distribution(law.of, grids), law.pattern
    if isinstance(pattern, Pattern) and pattern.factor is not None and not pattern.prescribed:
        pattern = _by_wavevector(pattern, grids.old)
    if isinstance(pattern, VectorPattern):
        return DrivenLaw(of, _between_wavevectors(pattern, grids))
    return DrivenLaw(of, pattern.resized(len(grids.new.targets) * grids.new.sites))


def _by_wavevector(pattern: Pattern, fields: Fields) -> VectorPattern:
    """Return the same noise of one memory, as correlated at every place, as vectors."""
    assert pattern.factor is not None
    grid = Wavevectors(*arrangement(fields))
    cells = np.arange(grid.cells).reshape(grid.shape)
    origin = cells[tuple(0 if alike else slice(None) for alike in grid.periodic)].ravel()
    to_all = grid.modes((pattern.factor[origin] @ pattern.factor.T)[:, None])  # of one cell of each kind (B, B, M)
    spectrum = math.sqrt(grid.cells / grid.levels) * to_all.transpose(2, 1, 0)
    return VectorPattern(np.stack([one * spectrum for one in pattern.autocorrelation], axis=1), grid)


def _between_wavevectors(pattern: VectorPattern, grids: _Grids) -> VectorPattern:
    """Interpolate the covariances of noise, linearly in the components of the wavevector, in cycles per site."""
    old = pattern.grid
    new = Wavevectors(*arrangement(grids.new))
    half = pattern.covariance.reshape(*old.size[:-1], old.size[-1] // 2 + 1, *pattern.covariance.shape[1:])
    axes = tuple(range(len(old.size)))
    whole = np.fft.fftn(np.fft.irfftn(half, old.size, axes), axes=axes)  # both signs of the last component
    for axis, (before, now) in enumerate(zip(old.size, new.size, strict=True)):
        place = np.fft.fftfreq(now) * before
        first = np.floor(place).astype(np.intp)
        weight = (place - first).reshape(-1, *(1,) * (whole.ndim - 1 - axis))
        beside = [whole.take((first + one) % before, axis) for one in (0, 1)]
        whole = (1.0 - weight) * beside[0] + weight * beside[1]
    covariance = whole[..., : new.size[-1] // 2 + 1, :, :, :].reshape(-1, *pattern.covariance.shape[1:])
    counts = new.counts / new.counts.sum()
    spread = np.sqrt(np.einsum("m,mii->i", counts, covariance[:, 0].real))
    return VectorPattern(covariance / (spread[:, None] * spread), new)


def _distribution(of: Distribution, grids: _Grids) -> Distribution:
    if isinstance(of, bridge.ConditionalQuantiles):
        return replace(of, of=grids.taken(of.of))
    if not isinstance(of, Grouped):
        return of
    cells, made = grids.cells(of.cells), list(of.of)
    for number, (one, before, now) in enumerate(zip(of.of, of.cells, cells, strict=True)):
        if isinstance(one, bridge.ConditionalQuantiles):
            label = np.zeros(sum(some.size for some in of.cells), np.intp)
            label[before] = one.of
            made[number] = replace(one, of=grids.of_cells(label)[now])
    return Grouped(tuple(made), cells)


def _past(past: Past, grids: _Grids) -> Past:
    """Return a past whose training states go round the old grid."""
    return replace(past, fields=past.fields[:, :, grids.like], window=grids.neighbours(past.window))
