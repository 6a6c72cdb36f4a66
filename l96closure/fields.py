"""What the numbers of a closure mean: names and units of its fields, and the grid they live on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from l96closure import checks
from l96closure.arrays import F64, Array, Bools, Index
from l96closure.bridge.neighbourhoods import Neighbourhoods, alike, around_sites
from l96closure.durations import MODEL_TIME
from l96closure.series import spellings, time_unit

MOST_PREVIOUS = 8
"""Steps before now at which targets may be seen."""

_ROUNDING = 4 * float(np.finfo(np.float32).eps)  # of coordinates that went through single precision
_AUTO = "auto"
_BEFORE = " before"  # after the name of a target of the step before


@dataclass(frozen=True, eq=False)
class Fields:
    """What a closure's numbers are and where they live; the defaults are those of the Lorenz-96 model.

    Parameters
    ----------
    predictors : names of the variables that the target is drawn given; one name or several, (P,).
    targets : names of the variables that are drawn together; one name or several, (Q,).
    dim : dimensions of the grid; its K sites are counted in C order.
    sample_dim : dimensions whose entries are independent samples, such as the members of an ensemble; those that the
        data lack are not looked for. Memory is computed within each entry.
    periodic : whether the grid is a ring; one answer, or one for each of ``dim``. Unused with ``neighbourhoods``.
    radius : a site sees so many neighbours on either side, along every axis of the grid; 2 ``radius`` + 1 <= the size
        of every periodic axis. None is chosen on held-out data on a ring, and 0 elsewhere. Unused with
        ``neighbourhoods``.
    lags : times before now at which the predictors are seen too, > 0 in the unit of the data's time (seconds where
        times are dates); () sees the present alone. None is chosen on held-out data.
    previous : at how many steps before now the targets are seen too, as further predictors; True is one. Without them
        the noise is taken for independent of the predictors; where these follow what psi was, as damped variables that
        psi drives do, that counts its past twice, and the coarse model varies too much. Of Lorenz-96 it is nearly
        independent. None is chosen on held-out data (:mod:`l96closure.closures.one_step`) by
        :class:`~l96closure.closures.SchrodingerBridge` where ``noise.order`` is left open too, and none elsewhere.
    pool : dimensions along which the sites learn together; ``auto`` is those that are periodic, and those of
        ``neighbourhoods``. Where a neighbourhood is cut by an edge of such a dimension, the law of the residual is
        learned with sites at the same distances from the same edges alone. () is each site for itself. Along other
        dimensions every site has a trend, a law and a scale of its own.
    mask : True at the sites that there are; elsewhere psi is NaN (:meth:`placed`), which a coarse run adds as
        0. Of the dims ``dim``, in the order of the data where both have coordinates.
        Others (land, say) are neither read, where data may be NaN, nor drawn, where psi is NaN; a neighbour that is
        none is taken for the site itself, as beyond an edge. Such sites at a coast have a law of the residual of their
        own. None is every site.
    neighbourhoods : a set of sites for each site, itself among them, for any other grid (unstructured, on a sphere:
        stack it into one ``dim`` of its sites); in place of ``radius``. Sites pool where their sets have one
        size and the site itself stands at one place in them: list them so that one place means one relative neighbour.
    conserve : take the mean over the sites, which stand for equal volumes, off every psi: for a quantity that the
        unresolved scales move about but do not make. Else its mean drifts by the errors of all sites. None is true
        where that mean is zero, up to rounding, at all times of the data. Or a weight for some targets by their names,
        a number or a DataArray along some of ``dim`` (mass times heat capacity or latent heat, say): the sum of weight
        times psi over targets and sites is then zero where it is so in the data, else that of the trend, so that the
        noise makes none of it.
    shape, units, coordinates, time_unit : sites along each of ``dim``; units of the predictors and then of the targets,
        "1" where a variable had none, as CF reads it; numbers and texts along ``dim``; and the unit that steps and lags
        are in, that of model time, 1, where the times say none. These are the data's own: leave them.

    Raises
    ------
    ValueError
        A field is out of its range.

    Examples
    --------
    A field of temperatures on a plane that is a ring in ``x`` alone, of which the heating is to be drawn:

    >>> fields = lc.Fields(predictors="T", targets="heating", dim=("y", "x"), periodic=(False, True), radius=1)
    >>> fields.predictors, fields.targets, fields.ring
    (('T',), ('heating',), False)
    >>> import numpy as np, xarray as xr
    >>> values = xr.DataArray(np.zeros((9, 4, 6)), dims=("time", "y", "x"), attrs={"units": "K"})
    >>> known = fields.of(xr.Dataset({"T": values, "heating": values.assign_attrs(units="K s-1")}))
    >>> known.shape, known.units, known.around(1)[0].tolist()
    ((4, 6), ('K', 'K s-1'), [5, 0, 1, 11, 6, 7])
    """

    predictors: str | Sequence[str] = "z"
    targets: str | Sequence[str] = "psi"
    dim: str | Sequence[str] = "k"
    sample_dim: str | Sequence[str] = "member"
    periodic: bool | Sequence[bool] = True
    radius: int | None = None
    lags: Sequence[float] | None = None
    previous: int | None = None
    pool: str | Sequence[str] = "auto"
    mask: xr.DataArray | None = None
    neighbourhoods: Sequence[Iterable[int]] | None = None
    conserve: bool | Mapping[str, Any] | None = None
    shape: tuple[int, ...] = ()
    units: tuple[str, ...] = ()
    coordinates: xr.Dataset = field(default_factory=xr.Dataset)
    time_unit: str = MODEL_TIME

    def __post_init__(self) -> None:
        for name in ("predictors", "targets", "dim", "sample_dim"):
            object.__setattr__(self, name, _several(name, getattr(self, name), empty=name == "sample_dim"))
        for target in self.targets:
            if target in self.predictors:
                checks.reject("targets", target, f"none of the predictors {', '.join(self.predictors)}")
        if self.radius is not None:
            checks.integer("radius", self.radius, 0)
        if self.lags is not None:
            object.__setattr__(self, "lags", _checked_lags(self.lags))
        pool = (self.pool,) if isinstance(self.pool, str) else self.pool
        if not isinstance(pool, (list, tuple)) or (pool != (_AUTO,) and not set(pool) <= set(self.dim)):
            checks.reject("pool", self.pool, f"{_AUTO!r}, or some of the dimensions {', '.join(self.dim)}, or ()")
        object.__setattr__(self, "pool", _AUTO if pool == (_AUTO,) else tuple(pool))
        if self.previous is not None:
            steps = int(self.previous) if isinstance(self.previous, bool) else self.previous
            object.__setattr__(self, "previous", checks.integer("previous", steps, 0, below=MOST_PREVIOUS + 1))
        _check_mask(self.mask, tuple(self.dim))
        if not (self.conserve is None or isinstance(self.conserve, (bool, Mapping))):
            checks.reject("conserve", self.conserve, "true or false, or weights of some of the targets")

    def of(self, truth: xr.Dataset) -> Fields:
        """Return the same with shape, units and coordinates of a training Dataset.

        Parameters
        ----------
        truth : Dataset in which each variable has the dims time and ``dim``, and perhaps those of ``sample_dim``;
            predictors may lack some of them.

        Returns
        -------
        Fields

        Raises
        ------
        ValueError
            A variable is missing or has other dims, or the mask does not fit the grid.
        """
        checks.xarray_dataset("truth", truth)
        for name in self.names:
            if name not in truth:
                checks.reject("truth", sorted(map(str, truth.data_vars)), f"a Dataset with the variable {name}")
        first = truth[self.targets[0]].dims
        wanted = (*(name for name in self.sample_dim if name in first), "time", *self.dim)
        for name in self.names:
            dims = set(truth[name].dims)
            if not (dims == set(wanted) or (name in self.predictors and dims < set(wanted))):
                checks.reject(f"truth.{name}.dims", truth[name].dims, repr(wanted))
        unit = time_unit(truth) if "time" in truth.coords else MODEL_TIME
        units = tuple(_units(truth[name]) for name in self.names)
        known = replace(self, units=units, time_unit=unit, previous=self.before)
        return known.on_grid_of(truth)

    def on_grid_of(self, dataset: xr.Dataset) -> Fields:
        """Return the same with shape and coordinates of the grid of a Dataset, and the mask in its order.

        Parameters
        ----------
        dataset : has the dims ``dim``.

        Returns
        -------
        Fields

        Raises
        ------
        ValueError
            The mask does not fit the grid.
        """
        shape = tuple(dataset.sizes[name] for name in self.dim)
        known = replace(self, shape=shape, coordinates=_coordinates(dataset, tuple(self.dim)))
        return known if self.mask is None else replace(known, mask=known._aligned(self.mask))

    def _aligned(self, mask: xr.DataArray) -> xr.DataArray | None:
        """Return a mask with its sites in the order of the grid, and the coordinates of that; None where all are."""
        mask = mask.transpose(*self.dim)
        if mask.shape != self.shape:
            checks.reject("mask.shape", mask.shape, f"{self.shape}, the sizes of {', '.join(self.dim)}")
        ordered = self.in_order(mask.to_dataset(name="mask"), "mask")["mask"].values
        if not ordered.any():
            checks.reject("mask", "False everywhere", "True at one site at least")
        return None if ordered.all() else xr.DataArray(ordered, self.coordinates.coords, self.dim)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the predictors, and then of the targets."""
        return (*self.predictors, *self.targets)

    @property
    def seen(self) -> tuple[str, ...]:
        """Names of all that a site sees: the predictors, and perhaps the targets of steps before, the last first."""
        before = [_BEFORE, *(f" {steps} steps{_BEFORE}" for steps in range(2, self.before + 1))][: self.before]
        return (*self.predictors, *(f"{name}{when}" for when in before for name in self.targets))

    @property
    def before(self) -> int:
        """At how many steps before now the targets are seen."""
        return self.previous or 0

    @property
    def remembered(self) -> int:
        """Number of fields that are kept of each step before now: the predictors, and the targets if they are seen."""
        return len(self.predictors) + (len(self.targets) if self.before else 0)

    @property
    def ring(self) -> bool:
        """Whether the sites are those of one ring, all alike."""
        return self._regular and self.rings == (True,)

    @property
    def _regular(self) -> bool:
        """Whether the sites are all of a grid, not chosen or tied to each other by the user."""
        return self.neighbourhoods is None and self.mask is None

    @property
    def homogeneous(self) -> tuple[bool, ...]:
        """Along which dims the grid is periodic and its sites are taken for alike."""
        if not self._regular:
            return len(self.dim) * (False,)
        return tuple(ring and pooled for ring, pooled in zip(self.rings, self._pooled, strict=True))

    @property
    def rings(self) -> tuple[bool, ...]:
        """Which dims are periodic; none of those of ``neighbourhoods``."""
        given = self.periodic if self.neighbourhoods is None else False
        return len(self.dim) * (given,) if isinstance(given, bool) else tuple(given)

    @property
    def _pooled(self) -> tuple[bool, ...]:
        """Along which dims the sites learn together."""
        if self.pool == _AUTO:
            return len(self.dim) * (True,) if self.neighbourhoods is not None else self.rings
        return tuple(name in self.pool for name in self.dim)

    @property
    def no_tendencies(self) -> list[str]:
        """What to say of targets whose units are not those of their predictors per time, as a coarse run takes them."""
        notes = []
        targets = zip(self.targets, self.units[len(self.predictors) :], strict=False)
        for predictor, of, (target, theirs) in zip(self.predictors, self.units, targets, strict=False):
            each, unit = f"{of} " if of != "1" else "", self.time_unit
            if unit == MODEL_TIME or theirs == "1":
                continue
            rates = {f"{of}/{one}" for one in spellings(unit)}
            for power in ("-1", "^-1", "**-1"):
                rates |= {f"{each}{one}{power}" for one in spellings(unit)}
                if of.endswith(f"{unit}{power}"):
                    rates.add(f"{of[:-1]}2")
            if of.endswith(f"/{unit}"):
                rates |= {f"{of}{power}" for power in ("2", "^2", "**2")}
            if theirs not in rates:
                notes.append(
                    f"The coarse run adds {target} to the tendency of {predictor} as numbers in {each}{unit}-1; the "
                    f"data say {theirs}. Where these are not the same, convert {target}, or have the tendency do so."
                )
        return notes

    def around(self, radius: int) -> Neighbourhoods:
        """Return the sites that each site sees within a radius, or its ``neighbourhoods``.

        Parameters
        ----------
        radius : neighbours on either side along every axis, >= 0; unused with ``neighbourhoods``.

        Returns
        -------
        A set of sites (W,) for each of the K sites.

        Raises
        ------
        ValueError
            ``radius`` is out of its range for the grid, or a set of ``neighbourhoods`` does not fit it.
        """
        sets = self._uncut(radius)
        if self.mask is None:
            return sets
        number = np.full(self.size, -1)
        number[self.kept] = np.arange(self.sites)
        numbered = [number[sets[site]] for site in self.kept]
        return [members[members >= 0] for members in numbered]

    def _uncut(self, radius: int) -> Neighbourhoods:
        """Return what :meth:`around` does without a mask."""
        return around_sites(self.neighbourhoods, self.shape, radius, self.periodic)

    @property
    def groups(self) -> Index:
        """Label of each site (K,), the same for those that share a trend: at one place of the dims that do not pool."""
        places = np.indices(self.shape).reshape(len(self.shape), -1)[:, self.kept]
        kept = places[[not pooled for pooled in self._pooled]]
        return np.unique(kept, axis=1, return_inverse=True)[1].reshape(-1) if len(kept) else np.zeros(self.sites, int)

    @property
    def pools(self) -> Index:
        """Label of each site (K,), the same for those that share a law too, as they look the same."""
        whole = self._uncut(self.radius or 0)
        looks = [self.groups, alike(whole)[self.kept]]
        if self.mask is not None:
            cut = self.around(self.radius or 0)
            looks.append(np.array([one.size < whole[site].size for site, one in zip(self.kept, cut, strict=True)]))
        return np.unique(np.stack(looks), axis=1, return_inverse=True)[1].reshape(-1)

    @property
    def size(self) -> int:
        """Number of sites of the grid, those outside of the mask too."""
        return math.prod(self.shape)

    @cached_property
    def kept(self) -> Index:
        """Numbers on the grid of the sites that there are (K,)."""
        return np.arange(self.size) if self.mask is None else np.flatnonzero(self.mask.values)

    @property
    def sites(self) -> int:
        """Number of sites, K; with a mask those that it leaves."""
        return int(self.kept.size)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one member's predictors on the grid: (size,) for one predictor, (P, size) for several."""
        return (self.size,) if len(self.predictors) == 1 else (len(self.predictors), self.size)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one member's psi on the grid: (size,) for one target, (Q, size) for several."""
        return (self.size,) if len(self.targets) == 1 else (len(self.targets), self.size)

    def taken(self, values: F64) -> F64:
        """Return values on the grid at the sites that there are.

        Parameters
        ----------
        values : (..., size)

        Returns
        -------
        (..., K)
        """
        return values if self.mask is None else np.take(values, self.kept, axis=-1)

    def placed(self, values: F64, elsewhere: float = np.nan) -> F64:
        """Put values of the sites that there are on the grid, inverse of :meth:`taken`.

        Parameters
        ----------
        values : (..., K)
        elsewhere : what stands outside of the mask.

        Returns
        -------
        (..., size)
        """
        if self.mask is None:
            return values
        out = np.full((*values.shape[:-1], self.size), elsewhere)
        out[..., self.kept] = values
        return out

    def filled(self, variable: xr.DataArray) -> xr.DataArray:
        """Return a variable with the values of the first site outside of the mask, so that all of it can be checked.

        Parameters
        ----------
        variable : with the dims of the grid; of others it is returned as it is.

        Returns
        -------
        DataArray
        """
        if self.mask is None or not set(self.dim) <= set(variable.dims):
            return variable
        first = dict(zip(self.dim, np.unravel_index(self.kept[0], self.shape), strict=True))
        filled = variable.where(self.mask.drop_vars(self.mask.coords), variable.isel(first, drop=True))
        filled.encoding = variable.encoding
        return filled

    def values(self, shown: str, dataset: xr.Dataset, name: str, before: tuple[str, ...]) -> F64:
        """Return a variable of a Dataset at the sites that there are.

        Parameters
        ----------
        shown : what an error calls the Dataset.
        dataset : has the variable ``name``, of the dims ``before`` and those of the grid, in any order.
        name, before : of the variable, and of what comes before its sites.

        Returns
        -------
        (*before, K)

        Raises
        ------
        ValueError
            There is no such variable, its dims are others, or it is not finite or not decoded within the mask.
        """
        if self.mask is not None and name in dataset:
            dataset = dataset.assign({name: self.filled(dataset[name])})
        array = checks.variable(shown, dataset, name, (*before, *self.dim))
        return self.taken(array.reshape(*array.shape[: len(before)], -1))

    def inputs(self, dataset: xr.Dataset) -> F64:
        """Take the predictors out of a Dataset, as a closure wants them.

        Parameters
        ----------
        dataset : has the predictors, each with the dims of the grid and perhaps ``member``, in any order; along those
            that it lacks it is the same. Where it has coordinates of the grid, its sites are put into the order of the
            training data.

        Returns
        -------
        (member, K) for one predictor, (member, P, K) for several, K being all sites of the grid.

        Raises
        ------
        ValueError
            A predictor is missing, is not finite or not decoded within the mask, or has further dims, or other sizes,
            units or coordinates than in the training data.
        """
        dataset = self.in_order(checks.xarray_dataset("dataset", dataset))
        arrays = []
        for name, units in zip(self.predictors, self.units, strict=False):
            if name not in dataset:
                checks.reject("dataset", sorted(map(str, dataset.data_vars)), f"a Dataset with the variable {name}")
            variable = dataset[name]
            if not set(variable.dims) <= {"member", *self.dim}:
                checks.reject(f"dataset.{name}.dims", variable.dims, repr(("member", *self.dim)))
            if _units(variable) != units:
                checks.reject(f"dataset.{name}.units", _units(variable), f"{units!r}, the units of the training data")
            lacking = {d: n for d, n in zip(self.dim, self.shape, strict=True) if d not in variable.dims}
            variable = variable.expand_dims(lacking if "member" in variable.dims else {"member": 1} | lacking)
            variable = variable.transpose("member", *self.dim)
            if variable.shape[1:] != self.shape:
                checks.reject(f"dataset.{name}.shape", variable.shape, f"(member, {', '.join(map(str, self.shape))})")
            shown = f"dataset.{name}"
            known = self.filled(variable)
            checks.finite_array(shown, checks.decoded(shown, known, checks.real_array(shown, known)), known.ndim)
            arrays.append(checks.real_array(shown, variable).reshape(len(variable), -1))
        return arrays[0] if len(arrays) == 1 else np.stack(np.broadcast_arrays(*arrays), axis=1)

    def output(self, psi: F64) -> xr.Dataset:
        """Give a closure's psi its names, its dims, its coordinates and its units.

        Parameters
        ----------
        psi : of each member, (member, K) for one target, (member, Q, K) for several, K being all sites of the grid.

        Returns
        -------
        Dataset with each target, of dims (member, *``dim``).
        """
        shape, dims = (len(psi), *self.shape), ("member", *self.dim)
        units, fields = self.units[len(self.predictors) :], np.moveaxis(psi.reshape(len(psi), -1, self.size), 1, 0)
        variables = {
            name: (dims, one.reshape(shape), {"units": unit})
            for name, unit, one in zip(self.targets, units, fields, strict=True)
        }
        return xr.Dataset(variables, self.coordinates.coords)

    def in_order(self, dataset: xr.Dataset, shown: str = "dataset") -> xr.Dataset:
        """Return a Dataset with its sites in the order of those of the training data.

        Coordinates that only one of the two has, and dims of another size, are not looked at.

        Parameters
        ----------
        dataset : has some of the dims of the grid.
        shown : what an error calls it.

        Returns
        -------
        Dataset

        Raises
        ------
        ValueError
            A coordinate of the grid has other values than in the training data.
        """
        known = {
            name: ours
            for name, ours in self.coordinates.variables.items()
            if name in dataset.coords
            and set(dataset[name].dims) == set(ours.dims)
            and all(dataset.sizes[d] == self.coordinates.sizes[d] for d in ours.dims)
        }
        for dim in self.dim:
            names = [name for name, ours in known.items() if ours.dims == (dim,)]
            order = _order([known[name].values for name in names], [dataset[name].values for name in names])
            dataset = dataset if order is None else dataset.isel({dim: order})
        for name, ours in known.items():
            theirs = dataset[name].transpose(*ours.dims).values
            if (differing := np.argwhere(~_same(ours.values, theirs))).size:
                first = tuple(differing[0])
                where, wanted = ", ".join(map(str, first)), ours.values[first]
                checks.reject(
                    f"{shown}.{name}[{where}]", theirs[first].item(), f"{wanted}, the coordinate in the training data"
                )
        return dataset


def _coordinates(truth: xr.Dataset, dim: tuple[str, ...]) -> xr.Dataset:
    """Return the coordinates along the dims of a grid that are numbers or texts (no dates, no tuples)."""
    found = {}
    for name, coordinate in truth.coords.items():
        values = np.asarray(coordinate.values)
        if values.dtype == object and all(isinstance(value, str) for value in values.flat):
            values = values.astype(str)
        if coordinate.ndim and set(coordinate.dims) <= set(dim) and values.dtype.kind in "iufU":
            found[name] = (coordinate.dims, values, coordinate.attrs)
    return xr.Dataset(coords=found)


def _order(ours: Sequence[Array], theirs: Sequence[Array]) -> Index | None:
    """Return where the sites of our order are in theirs, by one coordinate or several; None where order is no help."""
    if not ours or all(_same(a, b).all() for a, b in zip(ours, theirs, strict=True)):
        return None
    first, second = np.lexsort(ours), np.lexsort(theirs)
    if not all(_same(a[first], b[second]).all() for a, b in zip(ours, theirs, strict=True)):
        return None
    order = np.empty_like(first)
    order[first] = second
    return order


def _same(a: Array, b: Array) -> Bools:
    """Tell where coordinates are the same: texts, or numbers but for the rounding of single precision."""
    if a.dtype.kind not in "iuf" or b.dtype.kind not in "iuf":
        return np.asarray(a == b) & np.ones(a.shape, bool)
    steps = np.diff(np.unique(a))
    tolerance = min(_ROUNDING * np.nanmax(np.abs(a)), 0.25 * steps.min() if steps.size else np.inf)
    return (np.abs(a - b) <= tolerance) | (np.isnan(a) & np.isnan(b))


def _several(name: str, given: str | Sequence[str], empty: bool = False) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
    if not (names or empty) or not all(isinstance(one, str) for one in names) or len(set(names)) != len(names):
        checks.reject(name, given, "a name or several different names")
    return names


def _checked_lags(given: Sequence[float]) -> tuple[float, ...]:
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
        checks.reject("lags", given, "times > 0, or none, in a sequence")
    lags = tuple(sorted(checks.number("lags", lag, above=0.0) for lag in given))
    if len(set(lags)) != len(lags):
        checks.reject("lags", given, "different times > 0")
    return lags


def _check_mask(mask: Any, dim: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless a mask is None or a boolean DataArray of some dims."""
    if mask is not None and not (isinstance(mask, xr.DataArray) and mask.dtype == bool and set(mask.dims) == set(dim)):
        given = (str(mask.dtype), mask.dims) if isinstance(mask, xr.DataArray) else type(mask).__name__
        checks.reject("mask", given, f"None, or a DataArray of True and False of the dims ({', '.join(dim)})")


def _units(variable: xr.DataArray) -> str:
    return str(variable.attrs.get("units", "1"))
