"""The fitted bridge: conditional mean and variance of every component given its neighbourhood."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from l96closure import checks
from l96closure.bridge import kernel_sums, sinkhorn
from l96closure.bridge.kernel_sums import KernelPlan
from l96closure.bridge.neighbourhoods import Neighbourhoods, checked

__all__ = ["ESTIMATORS", "Bridge", "Dictionary", "assemble", "fit"]

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

ESTIMATORS = ("bridge",)


@dataclass(frozen=True)
class Dictionary:
    """The samples one conditional mean is a weighted average of, in physical units.

    Attributes
    ----------
    coordinates : samples restricted to the neighbourhood (M, d_alpha).
    values : samples of the components whose moments are wanted (M, C).
    coordinate_scale, value_scale : what each is divided by in the distances, (d_alpha,) and (C,).
    v : the weights (M,).
    residual : max |v o (T v) - 1|.
    iterations : evaluations of T v used.
    """

    coordinates: F64
    values: F64
    coordinate_scale: F64
    value_scale: F64
    v: F64
    residual: float
    iterations: int


@dataclass(frozen=True)
class Bridge:
    """A fitted (localized) Schrödinger bridge: x -> m(x) and c(x).

    Made by :func:`fit`; knows the conditional moments, not how to sample (that is :func:`l96closure.bridge.sample`).

    Attributes
    ----------
    d : dimension of the state.
    epsilon : bandwidth, the step of the Langevin dynamics, in the scaled metric.
    scale : what each component is divided by in the distances (d,).
    components : the components whose moments the bridge gives, (C,).
    neighbourhoods : Lambda(alpha) of each of ``components``.
    dictionaries : the sample sets; as many as ``components``, or one that all share.
    """

    d: int
    epsilon: float
    scale: F64
    components: Index
    neighbourhoods: Neighbourhoods
    dictionaries: tuple[Dictionary, ...]
    plan: KernelPlan = field(repr=False)

    @property
    def weights(self) -> list[F64] | F64:
        """The Sinkhorn weights v_alpha: a list of (M,), or one (M,) when all components share a dictionary."""
        if len(self.dictionaries) == 1:
            return self.dictionaries[0].v
        return [dictionary.v for dictionary in self.dictionaries]

    @property
    def residual(self) -> F64:
        """The residual max |v_alpha o (T_alpha v_alpha) - 1| of each dictionary."""
        return np.array([dictionary.residual for dictionary in self.dictionaries])

    @property
    def iterations(self) -> npt.NDArray[np.int64]:
        """Evaluations of T_alpha v_alpha that each dictionary's weights took."""
        return np.array([dictionary.iterations for dictionary in self.dictionaries], dtype=np.int64)

    def conditional_mean(self, x: npt.ArrayLike) -> F64:
        """Conditional mean m_alpha(x) = sum_j x_alpha^(j) w_alpha^(j)(x_[alpha]), eqs. (13) and (40).

        Parameters
        ----------
        x : states (n, d).

        Returns
        -------
        (n, C), one column for each of ``components`` (all d by default), in the units of the samples. Each lies
        within the range of its component's samples (Lemma 1), however far ``x`` is from them.

        Raises
        ------
        ValueError
            ``x`` is not (n, d) or not finite.
        """
        return self.moments(x, order=1)[0]

    def conditional_variance(self, x: npt.ArrayLike) -> F64:
        """Conditional variance c_alpha(x) = sum_j (x_alpha^(j) - m_alpha)^2 w_alpha^(j)(x_[alpha]).

        Arguments, shape and errors as for :meth:`conditional_mean`, in squared units of the samples.
        """
        return self.moments(x, order=2)[1]

    def moments(self, x: npt.ArrayLike, order: int = 2) -> tuple[F64, F64]:
        """Conditional mean and, for ``order`` 2, variance at the states x (n, d): two arrays (n, C)."""
        x = checks.finite_array("x", x, 2)
        if x.shape[1] != self.d:
            checks.reject("x.shape", x.shape, f"(n, {self.d})")
        mean, variance = np.empty_like(x), np.empty_like(x)
        many = kernel_sums.runs_in_parallel(self.plan, x.shape[0])
        (kernel_sums.moments_parallel if many else kernel_sums.moments)(x, self.plan, order, mean, variance)
        return mean[:, self.components], variance[:, self.components]


def fit(
    samples: npt.ArrayLike,
    epsilon: float = 0.1,
    neighbourhoods: Sequence[Iterable[int]] | None = None,
    scale: npt.ArrayLike | None = None,
    estimator: str = "bridge",
    *,
    components: Iterable[int] | None = None,
    shared: bool = False,
    centres: int | None = None,
    rng: np.random.Generator | int = 0,
    tolerance: float = 1e-6,
    max_iterations: int = 200,
    progress: bool = False,
) -> Bridge:
    """Fit the localized Schrödinger bridge to samples, eqs. (7)-(13) and (36)-(43) of Gottwald & Reich (2024).

    Parameters
    ----------
    samples : (M, d) training samples.
    epsilon : bandwidth in the scaled metric, > 0.
    neighbourhoods : the d sets Lambda(alpha), see :mod:`l96closure.bridge.neighbourhoods`; None is no localization.
    scale : (d,) or scalar, what each component is divided by in the distances (Section 5.1); None is 1.
    estimator : ``bridge``, v from the symmetric Sinkhorn scaling (8)-(9).
    components : which components' moments are wanted; None is all d.
    shared : the system looks the same from every component in ``components`` (translation symmetry): pool their
        restricted samples, in the order of their neighbourhoods, into one dictionary of M * len(components) samples.
    centres : keep only this many samples of each dictionary, drawn without replacement; None keeps all.
    rng : generator or seed that draws the centres; unused otherwise.
    tolerance : the Sinkhorn iteration stops at max |v o (T v) - 1| <= tolerance.
    max_iterations : it also stops after so many evaluations of T v, with a warning.
    progress : show progress bars.

    Returns
    -------
    Bridge

    Raises
    ------
    ValueError
        An argument is out of its range; a component has fewer than two distinct samples; a sample is not finite.
    """
    samples = checks.finite_array("samples", samples, 2)
    M, d = samples.shape
    epsilon = checks.number("epsilon", epsilon, above=0.0)
    tolerance = checks.number("tolerance", tolerance, above=0.0)
    max_iterations = checks.integer("max_iterations", max_iterations, 1)
    checks.one_of("estimator", estimator, ESTIMATORS)
    sets = checked(neighbourhoods, d)
    scales = _checked_scale(scale, d)
    wanted = _checked_components(components, d)
    if M < 2:
        checks.reject("samples.shape", samples.shape, "(M, d) with M >= 2")
    constant = wanted[np.ptp(samples[:, wanted], axis=0) == 0.0]
    if constant.size:
        checks.reject(
            f"samples[:, {constant[0]}]",
            float(samples[0, constant[0]]),
            "at least two distinct values, not a constant",
        )
    wanted_sets = [sets[alpha] for alpha in wanted]
    same_set = all(np.array_equal(members, wanted_sets[0]) for members in wanted_sets)

    def dictionary(label: str, coordinates: F64, values: F64, members: Index, targets: Index) -> Dictionary:
        if centres is not None:
            if checks.integer("centres", centres, 2) > coordinates.shape[0]:
                checks.reject("centres", centres, f"at most the number of samples, {coordinates.shape[0]}")
            kept = np.sort(np.random.default_rng(rng).choice(coordinates.shape[0], centres, replace=False))
            coordinates, values = coordinates[kept], values[kept]
        in_kernel_units = ((coordinates - coordinates.mean(axis=0)) * _factor(scales[members], epsilon)).T
        scaling = sinkhorn.solve(np.ascontiguousarray(in_kernel_units), tolerance, max_iterations, label, progress)
        return Dictionary(coordinates, values, scales[members], scales[targets], *scaling)

    if shared:
        if len({members.size for members in wanted_sets}) != 1:
            checks.reject("shared", shared, "False unless all neighbourhoods have the same size")
        coordinates = np.concatenate([samples[:, members] for members in wanted_sets])
        values = np.concatenate([samples[:, [alpha]] for alpha in wanted])
        dictionaries = [dictionary("", coordinates, values, wanted_sets[0], wanted[:1])]
    elif same_set:
        dictionaries = [dictionary("", samples[:, wanted_sets[0]], samples[:, wanted], wanted_sets[0], wanted)]
    else:
        dictionaries = [
            dictionary(f"of component {alpha}", samples[:, members], samples[:, [alpha]], members, np.array([alpha]))
            for alpha, members in zip(wanted, wanted_sets, strict=True)
        ]
    return assemble(d, epsilon, scales, wanted, wanted_sets, tuple(dictionaries))


def assemble(
    d: int,
    epsilon: float,
    scale: F64,
    components: Index,
    neighbourhoods: Neighbourhoods,
    dictionaries: tuple[Dictionary, ...],
) -> Bridge:
    """Put a bridge together from dictionaries that are already fitted (from a file, say); no argument is checked.

    One dictionary for several components is either one set that gives them all (as many value columns as components)
    or one that they share (a single value column, each component gathers its own neighbourhood).
    """
    one_for_all = len(dictionaries) == 1 and dictionaries[0].values.shape[1] == len(components)
    targets = components[None, :] if one_for_all else components[:, None]
    sets = neighbourhoods[:1] if one_for_all else neighbourhoods
    head = np.zeros(len(sets), np.intp) if len(dictionaries) == 1 else np.arange(len(sets))
    tables = [_table(dictionary, epsilon) for dictionary in dictionaries]
    rows = max(table["table"].shape[0] for table in tables)
    table = _stack([t["table"] for t in tables], rows)
    charge = np.stack([dictionary.v for dictionary in dictionaries])
    plan = KernelPlan(
        table=table,
        table32=table.astype(np.float32),
        charge=charge,
        charge32=charge.astype(np.float32),
        centre=_stack([t["centre"] for t in tables], rows),
        factor=_stack([t["factor"] for t in tables], rows),
        size=np.array([dictionary.coordinates.shape[1] for dictionary in dictionaries], np.intp),
        value_rows=np.stack([t["value_rows"] for t in tables]),
        head=head.astype(np.intp),
        gather=_stack(list(sets), rows).astype(np.intp),
        targets=np.ascontiguousarray(targets, dtype=np.intp),
    )
    return Bridge(d, epsilon, scale, components, neighbourhoods, dictionaries, plan)


def _factor(scale: F64, epsilon: float) -> F64:
    """Kernel units: exp(-|x|^2 / 4 epsilon) = 2^(-|x factor|^2) in the scaled metric."""
    return np.sqrt(np.log2(np.e) / (4.0 * epsilon)) / scale  # type: ignore[no-any-return]


def _table(dictionary: Dictionary, epsilon: float) -> dict[str, Any]:
    """Rows of coordinates, then of those values that are no coordinate, centred and in kernel units."""
    coordinates, values = dictionary.coordinates, dictionary.values
    rows, scale, value_rows = list(coordinates.T), list(dictionary.coordinate_scale), []
    for value, value_scale in zip(values.T, dictionary.value_scale, strict=True):
        same = [r for r in range(coordinates.shape[1]) if np.array_equal(coordinates[:, r], value)]
        if not same:
            rows.append(value)
            scale.append(value_scale)
        value_rows.append(same[0] if same else len(rows) - 1)
    physical = np.array(rows)
    centre, factor = physical.mean(axis=1), _factor(np.array(scale), epsilon)
    return {
        "table": (physical - centre[:, None]) * factor[:, None],
        "centre": centre,
        "factor": factor,
        "value_rows": np.array(value_rows, np.intp),
    }


def _stack(arrays: Sequence[npt.NDArray[Any]], rows: int) -> npt.NDArray[Any]:
    """Stack arrays along a new first axis, their first axes padded with zeros to ``rows``."""
    return np.stack([np.pad(a, [(0, rows - a.shape[0])] + [(0, 0)] * (a.ndim - 1)) for a in arrays])


def _checked_scale(scale: npt.ArrayLike | None, d: int) -> F64:
    if scale is None:
        return np.ones(d)
    given = np.atleast_1d(np.asarray(scale, dtype=np.float64))
    if given.shape not in ((1,), (d,)):
        checks.reject("scale.shape", given.shape, f"a scalar or ({d},)")
    if not (np.isfinite(given).all() and (given > 0).all()):
        checks.reject("scale", given.tolist(), "finite and > 0 everywhere")
    return np.broadcast_to(given, (d,)).copy()


def _checked_components(components: Iterable[int] | None, d: int) -> Index:
    if components is None:
        return np.arange(d)
    wanted = np.asarray(list(components))
    allowed = f"distinct integers from 0 to {d - 1}, at least one"
    if wanted.size == 0 or not np.issubdtype(wanted.dtype, np.integer):
        checks.reject("components", components, allowed)
    if wanted.min() < 0 or wanted.max() >= d or np.unique(wanted).size != wanted.size:
        checks.reject("components", wanted.tolist(), allowed)
    return wanted.astype(np.intp)
