"""Noise with memory and colour: a known process is met, drawn, continued and found again; any data make it stable.

What is drawn is held against its exact covariance in space and time: the largest of all errors, in standard errors
that know of the correlation, below the 99 % point of the largest of so many.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

import l96closure as lc
from l96closure.closures import Noise
from l96closure.closures.noise_fit import LARGEST_GRID, fit_pattern
from l96closure.closures.patterns import Pattern
from l96closure.closures.state import State, begin, following

F64 = npt.NDArray[np.float64]

ORDERS = (0, 1, 3, 8)
SITES = (1, 2, 5, 8)
LAGS, LONG = 12, 4000


@cache
def known(order: int, coloured: bool, K: int) -> Pattern:
    """Give a process of which nothing is special: of every order, travelling where it is coloured."""
    rng = np.random.default_rng([order, K])
    M = K // 2 + 1 if coloured and K > 2 else 1
    size = rng.uniform(0.1, 0.7, (M, order)) * 0.8 ** np.arange(order)
    reflection = size * np.exp(1j * rng.uniform(-1.0, 1.0, (M, order)))
    m = np.arange(M)
    if M == 1:
        reflection = reflection.real + 0j
        return Pattern(reflection, np.ones(1), K)
    reflection[(m == 0) | (2 * m == K)] = reflection[(m == 0) | (2 * m == K)].real
    power = rng.uniform(0.2, 1.0, M) * np.where((m == 0) | (2 * m == K), 1.0, 2.0)
    return Pattern(reflection, power / power.sum(), K)


PROCESSES = [(order, coloured, K) for order in ORDERS for coloured in (False, True) for K in SITES]
PROCESSES = [one for one in PROCESSES if not one[1] or one[2] > 2]
every_process = pytest.mark.parametrize(("order", "coloured", "K"), PROCESSES)


def response(pattern: Pattern, length: int = LONG) -> F64:
    """Return the answer (length, K) to a unit of white noise at site 0, step by step, circular sums written out."""
    tables, K = pattern.tables(), pattern.sites

    def circular(taps: F64, values: F64) -> F64:
        return sum((tap * np.roll(values, d) for d, tap in enumerate(taps)), np.zeros(K))

    out = np.zeros((length, K))
    out[0] = circular(tables["noise_fresh"], np.eye(K)[0])
    for n in range(1, length if pattern.order else 1):
        for lag, taps in enumerate(tables["noise_earlier"][:n], start=1):
            out[n] += circular(taps, out[n - lag])
        if np.abs(out[max(n - pattern.order, 0) : n + 1]).max() < 1e-17:
            break
    return out


@cache
def covariance(order: int, coloured: bool, K: int, lags: int = LAGS) -> F64:
    """E x_0(n) x_d(n + l), (lags, K), from the response to white noise: nothing of the fit, nothing of its formulas."""
    transform = np.fft.rfft2(response(known(order, coloured, K)), (2 * LONG, K))
    return np.fft.irfft2(np.abs(transform) ** 2, (2 * LONG, K))[:lags]


def drawn(pattern: Pattern, members: int, steps: int, seed: int = 0) -> F64:
    """Draw (steps, members, K), the last of ``initial`` first where there is memory."""
    state = begin(members, seed)
    state = state._replace(memory=pattern.initial(state))
    found = [state.memory[:, 0]] if pattern.order else []
    for _ in range(steps - len(found)):
        x, state = step(pattern, state)
        found.append(x)
    return np.array(found)


def step(pattern: Pattern, state: State) -> tuple[F64, State]:
    state = following(state, len(state.member), pattern.order, pattern.sites)
    x, memory = pattern.advance(state)
    return x, state._replace(memory=memory)


def largest_of(size: int) -> float:
    """Return the 99 % point of the largest of so many independent standard normals in size."""
    return float(stats.norm.isf(0.5 * (1.0 - 0.99 ** (1.0 / size))))


@every_process
def test_every_site_has_variance_one_and_each_is_as_the_others(order: int, coloured: bool, K: int) -> None:
    np.testing.assert_allclose(covariance(order, coloured, K)[0, 0], 1.0, rtol=0, atol=1e-10)


@every_process
def test_it_is_stationary_from_the_first_value_on(order: int, coloured: bool, K: int) -> None:
    """All covariances of all pairs of values, over members: of ``initial``, of ``advance`` and across the two."""
    members, steps = 4000, order + LAGS // 2
    pattern = known(order, coloured, K)
    state = begin(members, 0)
    state = state._replace(memory=pattern.initial(state))
    rows = list(np.moveaxis(state.memory, 1, 0)[::-1])
    for _ in range(steps - order):
        x, state = step(pattern, state)
        rows.append(x)
    x = np.concatenate(rows, axis=1)  # (members, steps K)
    expected = np.empty((steps, K, steps, K))
    of_lag = covariance(order, coloured, K, steps)
    a, k, b, j = np.ix_(range(steps), range(K), range(steps), range(K))
    expected[:] = np.where(b >= a, of_lag[abs(b - a), (j - k) % K], of_lag[abs(b - a), (k - j) % K])
    expected = expected.reshape(steps * K, steps * K)
    error = np.sqrt((1.0 + expected**2) / members)  # of a mean product of two standard normals
    # Entries beside each other tell the same twice; so many at most are independent.
    off = np.abs(x.T @ x / members - expected) / error
    assert off.max() < largest_of(x.shape[1] * (x.shape[1] + 1) // 2)
    assert np.abs(x.mean(axis=0)).max() * np.sqrt(members) < largest_of(x.shape[1])


@every_process
def test_one_long_series_has_its_covariance_in_space_and_time(order: int, coloured: bool, K: int) -> None:
    """Time averages of one member; their standard errors are those of a Gaussian process (Bartlett's formula)."""
    steps, lags, first = 20_000, 6, 300
    x = drawn(known(order, coloured, K), 1, steps, seed=1)[:, 0]
    long = covariance(order, coloured, K, first + lags)
    both = np.concatenate([np.roll(long[:0:-1, ::-1], 1, axis=1), long])  # lags from -(first + lags) + 1 on
    zero = len(long) - 1
    off = []
    for lag in range(lags):
        for d in range(K):
            found = (x[: steps - lag] * np.roll(x[lag:], -d, axis=1)).mean()
            # var of the mean over n and k of x_k(n) x_{k+d}(n+l): C(u, e)^2 + C(u + l, e + d) C(u - l, e - d), summed
            c = both[zero - first : zero + first + 1]
            ahead = np.roll(both[zero - first + lag : zero + first + 1 + lag], -d, axis=1)
            behind = np.roll(both[zero - first - lag : zero + first + 1 - lag], d, axis=1)
            variance = (c**2 + ahead * behind).sum() / (K * (steps - lag))
            off.append(abs(found - long[lag, d]) / np.sqrt(variance))
    assert max(off) < largest_of(len(off))


@every_process
def test_the_fit_finds_the_process_again(order: int, coloured: bool, K: int) -> None:
    """From two segments of a long series: power and reflection coefficients, each in standard errors."""
    pattern, times = known(order, coloured, K), 8000
    x = np.concatenate([drawn(pattern, 1, times, seed=seed)[:, 0] for seed in (2, 3)])
    found = fit_pattern([x[:times], x[times:]], Noise(order, "auto" if coloured else None), alike=(True,))
    assert found.reflection.shape == (pattern.reflection.shape if order else (1, 0))  # nothing to tell apart
    assert found.power.shape == pattern.power.shape
    # Of an autoregression's reflection coefficients the last has variance (1 - |k|^2) / n, those before it no less
    # than their own; the bound holds for all as they are smaller than one.
    M = len(pattern.reflection)
    samples = len(x) * (K if M == 1 else 1)
    memory = np.abs(covariance(order, coloured, K, 200)[:, 0]).sum() * 2.0
    limit = largest_of(max(2 * pattern.reflection.size, M))
    assert np.abs(found.reflection - pattern.reflection).max(initial=0.0) < limit * np.sqrt(memory / samples)
    if M > 1:
        relative = np.abs(found.power / pattern.power - 1.0)
        slow = (1.0 + np.abs(pattern.reflection)) / (1.0 - np.abs(pattern.reflection))  # of |X_m|^2, at most
        assert (relative < limit * np.sqrt(4.0 * slow.prod(axis=1) / len(x))).all()
    long = covariance(order, coloured, K)
    np.testing.assert_allclose(tables_covariance(found), long, rtol=0, atol=limit * np.sqrt(4 * memory / len(x)))


def test_wavenumbers_that_remember_alike_share_their_coefficients() -> None:
    """The colour is theirs alone; the step is cheaper by as many taps as there are sites."""
    of_each = known(3, True, 8)
    alike = Pattern(np.repeat(of_each.reflection[:1], 5, axis=0), of_each.power, 8)
    found = fit_pattern([drawn(alike, 1, 8000, seed=4)[:, 0]], Noise(3), alike=(True,))
    assert found.reflection.shape == (1, 3)
    assert found.power.size == 5
    memory = np.abs(tables_covariance(alike)[:, 0]).sum() * 2.0
    five_errors = 5.0 * np.sqrt(2.0 * memory / (8000 * 8))
    np.testing.assert_allclose(tables_covariance(found), tables_covariance(alike), rtol=0, atol=five_errors)


def tables_covariance(pattern: Pattern) -> F64:
    transform = np.fft.rfft2(response(pattern), (2 * LONG, pattern.sites))
    return np.fft.irfft2(np.abs(transform) ** 2, (2 * LONG, pattern.sites))[:LAGS]


def test_errors_of_the_memory_count_by_the_spread() -> None:
    """Noise that forgets fast where it counts: what it is multiplied by there decides."""
    rng, times = np.random.default_rng(5), 20_000
    active = (np.arange(times) // 500 % 2 == 1)[:, None]
    kept, spread = np.where(active, 0.5, 0.95), np.where(active, 3.0, 0.2)
    x = rng.standard_normal((times, 4))
    for t in range(1, times):
        x[t] = kept[t] * x[t - 1] + np.sqrt(1.0 - kept[t] ** 2) * x[t]
    memories = [
        fit_pattern([x], Noise(1), (True,), spread=of).reflection.real for of in (None, [spread], [7.0 * spread])
    ]
    weight = spread[1:] * spread[:-1]
    expected = 2.0 * (weight * x[1:] * x[:-1]).sum() / (weight * (x[1:] ** 2 + x[:-1] ** 2)).sum()
    np.testing.assert_allclose(memories[1], expected, rtol=1e-3)  # but for the mean, which is taken off
    np.testing.assert_allclose(memories[2], memories[1], rtol=1e-12)
    assert abs(expected - 0.5) < 0.02 < memories[0].min() - 0.6


def test_what_is_not_coloured_takes_the_sites_for_independent_and_a_line_is_never_coloured() -> None:
    x = drawn(known(3, True, 8), 1, 3000)[:, 0]
    for options, alike in ((Noise(3, None), (True,)), (Noise(3, None), (False,))):
        found = fit_pattern([x], options, alike)
        assert found.power.size == 1
        assert found.tables()["noise_fresh"].shape == (1,)


@given(
    st.sampled_from([0, 1, 3]).flatmap(
        lambda order: st.tuples(
            st.just(order),
            st.booleans(),
            st.integers(1, 6).flatmap(
                lambda K: arrays(np.float64, (11 * (order + 1), K), elements=st.floats(-1e3, 1e3, width=32))
            ),
        )
    )
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_data_make_a_stable_process_of_variance_one(case: tuple[int, bool, F64]) -> None:
    order, coloured, x = case
    x = x + 1e-3 * np.random.default_rng(0).standard_normal(x.shape)  # a constant has no memory to speak of
    pattern = fit_pattern([x], Noise(order, "auto" if coloured else None), alike=(True,))
    assert (np.abs(pattern.reflection) < 1.0).all()
    assert pattern.power.sum() == pytest.approx(1.0)
    earlier = pattern.tables()["noise_earlier"]
    if order:
        for taps in np.fft.fft(earlier, axis=1).T if earlier.shape[1] > 1 else earlier.T:
            assert np.abs(np.roots(np.concatenate([[1.0], -taps]))).max() < 1.0
    state = begin(2, 0)
    state = state._replace(memory=pattern.initial(state))
    for _ in range(30):
        value, state = step(pattern, state)
        assert np.abs(value).max() < 20.0 * np.sqrt(pattern.sites)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_burg_finds_an_autoregression_from_few_values(order: int) -> None:
    """The prediction error of a short record's fit exceeds the process's by about order / n, no more."""
    coefficients = of_poles(order)
    rng, n, trials = np.random.default_rng(order), 200, 100
    excess = []
    for _ in range(trials):
        x = np.zeros(n + 500)
        noise = rng.standard_normal(x.size)
        for t in range(order, x.size):
            x[t] = coefficients @ x[t - order : t][::-1] + noise[t]
        x = x[500:, None]
        found = fit_pattern([x], Noise(order), alike=(True,)).tables()["noise_earlier"][:, 0]
        # error of one-step predictions over a long new record, less that of the truth, in parts of the noise's variance
        y = np.zeros(4000)
        fresh = rng.standard_normal(y.size)
        for t in range(order, y.size):
            y[t] = coefficients @ y[t - order : t][::-1] + fresh[t]
        past = np.stack([y[order - lag : y.size - lag] for lag in range(1, order + 1)], axis=1)
        excess.append((((found - coefficients) @ past.T) ** 2).mean())
    mean, error = np.mean(excess), np.std(excess) / np.sqrt(trials)
    assert mean < 1.5 * order / n + 4 * error


def of_poles(order: int) -> F64:
    """Coefficients of a real autoregression with poles at 0.9 and, of odd order, one at 0.5."""
    poles = np.concatenate([0.9 * np.exp(1j * np.linspace(0.4, 2.0, order // 2)), [0.5] * (order % 2)])
    pairs = np.concatenate([poles, poles[: order // 2].conj()])
    return -np.poly(pairs)[1:].real


@every_process
def test_a_start_from_a_known_past_continues_it(order: int, coloured: bool, K: int) -> None:
    """The innovations of a series are the white noise that made it, whatever came before."""
    pattern = known(order, coloured, K)
    x = drawn(pattern, 3, 40 + order)
    state = begin(3, 9)
    state = state._replace(memory=np.moveaxis(x[::-1][:order], 0, 1).copy(), step=70)
    value, after = step(pattern, state)
    again, _ = step(pattern, state)
    np.testing.assert_array_equal(value, again)
    if order:
        np.testing.assert_array_equal(after.memory[:, 0], value)
        np.testing.assert_array_equal(after.memory[:, 1:], state.memory[:, :-1])
    for member in range(3):
        series = np.concatenate([x[:, member], value[None, member]])
        fresh, tables = state._replace(step=71).normals(1, K)[0, member], pattern.tables()
        left = series[-1].copy()
        for lag, taps in enumerate(tables["noise_earlier"], start=1):
            left -= convolved(series[-1 - lag], taps, tables["noise_earlier_offset"])
        made = convolved(fresh, tables["noise_fresh"], tables["noise_fresh_offset"])
        np.testing.assert_allclose(left, made, rtol=0, atol=1e-12)


def convolved(values: F64, taps: F64, offsets: npt.NDArray[np.intp]) -> F64:
    return np.sum([tap * np.roll(values, offset) for tap, offset in zip(taps, offsets, strict=True)], axis=0)


@every_process
def test_a_step_does_not_change_its_arguments(order: int, coloured: bool, K: int) -> None:
    pattern, state = known(order, coloured, K), begin(3, 1)
    state = state._replace(memory=pattern.initial(state))
    before = state.memory.copy()
    first, second = (pattern.advance(state) for _ in range(2))
    np.testing.assert_array_equal(state.memory, before)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": -1}, r"^noise\.order = -1 .* >= 0"),
        ({"order": 1.5}, r"^noise\.order = 1\.5 .* integer"),
        ({"order": 129}, r"^noise\.order = 129 .* below"),
        ({"covariance": "white"}, r"^noise\.covariance = 'white' .* 'auto', None, or a matrix$"),
        ({"covariance": True}, r"^noise\.covariance\.shape = \(\) .* 2-dimensional"),
        ({"covariance": np.ones((2, 3))}, r"^noise\.covariance\.shape = \(2, 3\) .* as many rows as columns$"),
        ({"covariance": np.diag([1.0, 0.0])}, r"^diagonal of noise\.covariance = 0\.0 .* > 0$"),
        ({"covariance": [[1.0, 0.5], [0.2, 1.0]]}, r"^noise\.covariance = 'asymmetric by 0\.3 .* symmetric$"),
        ({"covariance": [[1.0, 2.0], [2.0, 1.0]]}, r"^least eigenvalue .* of noise\.covariance = -1\.0* .* >= 0$"),
        ({"covariance": [[1.0, np.nan], [np.nan, 1.0]]}, r"^noise\.covariance\[0, 1\] = nan"),
    ],
)
def test_bad_options_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Noise(**arguments)
    assert "\n" not in str(caught.value)


def test_a_record_too_short_for_the_order_and_unstable_noise_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^noise\.order = 8 .* a tenth of the times"):
        fit_pattern([np.random.default_rng(0).standard_normal((97, 3))], Noise(8), alike=(True,))
    with pytest.raises(ValueError, match=r"^reflection = 1\.0 .* less than 1"):
        Pattern(np.ones((1, 1), np.complex128), np.ones(1), 3)


def test_segments_are_not_tied_to_each_other() -> None:
    """Two segments with nothing in common at their joint: the same as either alone, where they are the same."""
    x = drawn(known(3, True, 5), 1, 400)[:, 0]
    once, twice = (fit_pattern([x] * n, Noise(3), alike=(True,)) for n in (1, 2))
    np.testing.assert_allclose(once.reflection, twice.reflection, rtol=0, atol=1e-12)
    np.testing.assert_allclose(once.power, twice.power, rtol=0, atol=1e-12)


def test_a_closure_fitted_to_its_own_draws_has_the_same_noise() -> None:
    """The residual of a record that a known pattern made is drawn with that pattern's covariance again."""
    K, pattern = 5, known(1, True, 5)
    x = drawn(pattern, 1, 3000)[:, 0]
    z = drawn(known(3, False, 5), 1, 3000, seed=4)[:, 0]
    truth = xr.Dataset(
        {"z": (("time", "k"), z), "psi": (("time", "k"), z + x)}, {"time": 0.1 * np.arange(3000), "k": np.arange(K)}
    )
    closure = lc.closures.PolynomialAR1.fit(truth, noise=Noise(1))
    limit = largest_of(2 * pattern.reflection.size) * np.sqrt(4.0 / 3000)
    assert np.abs(closure.law.pattern.reflection - pattern.reflection).max() < limit


def of_a_grid(shape: tuple[int, ...], alike: tuple[bool, ...]) -> F64:
    """Return correlations (K, K) of sites of a grid that are alike along some axes: of sums of shifted white noise."""
    rng = np.random.default_rng([*shape, *alike])
    K = int(np.prod(shape))
    axes = [axis for axis, same in enumerate(alike) if same]
    response = np.zeros((K, *shape, K))
    varying = [range(1) if same else range(size) for same, size in zip(alike, shape, strict=True)]
    shifts = [range(size) if same else range(1) for same, size in zip(alike, shape, strict=True)]
    for n, first in enumerate(np.ndindex(*(len(one) for one in varying))):
        kernel = rng.standard_normal(shape) * np.exp(-np.arange(K).reshape(shape) / 4.0)
        for m, shift in enumerate(np.ndindex(*(len(one) for one in shifts))):
            response[n, ..., m] = np.roll(kernel, [shift[axis] for axis in axes], axes)
        assert len(first) == len(shape)
    flat = np.moveaxis(response, 0, -1).reshape(K, -1) + 0.0
    covariance = flat @ flat.T + 0.05 * np.eye(K)
    spread = np.sqrt(np.diag(covariance))
    return covariance / np.outer(spread, spread)


GRIDS = {
    "levels": ((6,), (False,)),
    "a plane that is a ring in both": ((4, 5), (True, True)),
    "levels of a ring": ((3, 6), (False, True)),
    "a ring of levels": ((6, 3), (True, False)),
    "a plane with edges": ((3, 4), (False, False)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_on_any_grid_the_correlations_of_sites_are_found_and_drawn(name: str) -> None:
    shape, alike = GRIDS[name]
    expected, K, members = of_a_grid(shape, alike), int(np.prod(shape)), 24
    pattern = Pattern(np.array([[0.6 + 0j]]), np.ones(1), K, np.linalg.cholesky(expected))
    series = drawn(pattern, members, 3000, seed=1)
    found = []
    for member in range(members):
        of = fit_pattern([series[:, member]], Noise(1), alike, shape).factor
        assert of is not None
        found.append(of @ of.T)
    off = np.triu_indices(K, 1)
    estimates = np.array(found)[:, *off]
    error = estimates.std(axis=0, ddof=1) / members**0.5
    distinct = np.unique(expected[off].round(10)).size  # of sites that are alike, the same correlation many times over
    limit = float(stats.t.isf(0.5 * (1.0 - 0.99 ** (1.0 / distinct)), members - 1))
    assert (np.abs(estimates.mean(axis=0) - expected[off]) / error).max() < limit
    # And what is drawn: at one time and from one to the next, over many members.
    x = drawn(pattern, 4000, 3, seed=2)
    for lag, kept in ((0, 1.0), (1, 0.6), (2, 0.36)):
        products = x[0].T @ x[lag] / 4000
        error = np.sqrt((1.0 + (kept * expected) ** 2) / 4000)
        assert (np.abs(products - kept * expected) / error).max() < largest_of(K * (K + 1) // 2)


def test_few_times_leave_sites_nearly_independent() -> None:
    white = np.random.default_rng(6).standard_normal((60, 40))
    factor = fit_pattern([white], Noise(0), (False,)).factor
    assert factor is not None
    assert np.abs(np.triu((factor @ factor.T), 1)).max() < 0.05  # the largest of the sample's is 0.5


def test_a_site_without_noise_has_a_factor_and_no_correlations() -> None:
    noise = np.random.default_rng(3).standard_normal((400, 3)) @ np.array([[1.0, 0.8, 0.0], [0.0, 0.6, 0.0], [0, 0, 0]])
    factor = fit_pattern([noise], Noise(1), (False,)).factor
    assert factor is not None
    correlation = factor @ factor.T
    np.testing.assert_allclose(np.diag(correlation), 1.0, rtol=1e-12)
    assert np.abs(correlation[2, :2]).max() < 4.0 / np.sqrt(400)
    assert correlation[0, 1] > 0.7


def test_bits_on_a_grid_do_not_depend_on_the_other_members() -> None:
    pattern = Pattern(np.array([[0.5 + 0j]]), np.ones(1), 6, np.linalg.cholesky(of_a_grid((6,), (False,))))
    together, alone = drawn(pattern, 5, 4), begin(1, 0, member=3)
    alone = alone._replace(memory=pattern.initial(alone))
    for n in range(4):
        x = alone.memory[:, 0]
        np.testing.assert_array_equal(x[0], together[n, 3])
        _, alone = step(pattern, alone)


def test_a_prescribed_covariance_is_what_is_drawn() -> None:
    """Its correlations, at every step and from one to the next, whatever those of the data are."""
    site = np.arange(7)
    apart = np.minimum(np.abs(np.subtract.outer(site, site)), 7 - np.abs(np.subtract.outer(site, site)))
    wanted = np.exp(-0.5 * (apart / 1.5) ** 2)
    spread = 1.0 + site
    data = drawn(Pattern(np.full((1, 1), 0.6 + 0j), np.ones(1), 7), 1, 4000, seed=3)[:, 0]
    pattern = fit_pattern([data], Noise(1, wanted * np.outer(spread, spread)), alike=(True,))
    assert isinstance(pattern, Pattern)
    assert pattern.prescribed
    x, members = drawn(pattern, 6000, 3, seed=2), 6000
    kept = float(pattern.reflection[0, 0].real)
    assert abs(kept - 0.6) < 4.0 * 0.8 / np.sqrt(data.size)
    for lag in range(3):
        products = x[0].T @ x[lag] / members
        error = np.sqrt((1.0 + (kept**lag * wanted) ** 2) / members)
        assert (np.abs(products - kept**lag * wanted) / error).max() < largest_of(28)


@pytest.mark.parametrize("ring", [True, False])
def test_smooth_and_singular_covariances_have_factors(ring: bool) -> None:
    """Gaussians in the distance, of which nearly all eigenvalues are rounding, in single precision too."""
    site = np.arange(60)
    apart = np.abs(np.subtract.outer(site, site))
    apart = np.minimum(apart, 60 - apart) if ring else apart
    wanted = np.exp(-0.5 * (apart / 4.0) ** 2)
    noise = np.random.default_rng(0).standard_normal((200, 60))
    for matrix in (wanted, wanted.astype(np.float32), np.ones((60, 60)), 4.0 * wanted):
        pattern = fit_pattern([noise], Noise(0, matrix), alike=(ring,))
        assert isinstance(pattern, Pattern)
        assert pattern.factor is not None
        correlation = matrix / matrix[0, 0]
        np.testing.assert_allclose(pattern.factor @ pattern.factor.T, correlation, rtol=0, atol=2e-6)
        np.testing.assert_allclose(np.diag(pattern.factor @ pattern.factor.T), 1.0, rtol=0, atol=1e-12)


def test_options_are_the_same_where_their_covariances_are() -> None:
    some = np.array([[1.0, 0.5], [0.5, 1.0]])
    assert Noise(1) == Noise(1, "auto") != Noise(1, None)
    assert Noise(1, some) == Noise(1, 9.0 * some) != Noise(1, some**2)
    assert Noise(1, some) != Noise(1)
    assert Noise(1, some) != Noise(2, some)


MANY = LARGEST_GRID + 76


def loadings() -> F64:
    """Three modes of many sites, which make a half of the variance at most, and none at some sites."""
    k = np.arange(MANY) / MANY
    return np.stack([np.sin(np.pi * k), 0.8 * np.cos(3.0 * np.pi * k), 0.6 * (k > 0.5)]) / np.sqrt(3.0)


def test_many_sites_have_a_few_modes_and_a_white_remainder() -> None:
    """Nearer to the correlations that the data are drawn from than those of the data are, and all of variance one."""
    rng, true = np.random.default_rng(5), loadings()
    times, kept = 1500, 0.5
    x = rng.standard_normal((times, 3)) @ true + np.sqrt(1.0 - (true**2).sum(axis=0)) * rng.standard_normal(
        (times, MANY)
    )
    for n in range(1, times):
        x[n] = kept * x[n - 1] + np.sqrt(1.0 - kept**2) * x[n]
    pattern = fit_pattern([x[:900], x[900:]], Noise(1), (False,))
    assert isinstance(pattern, Pattern)
    assert pattern.modes is not None
    assert 3 <= len(pattern.modes) <= 8
    some = np.arange(0, MANY, 11)
    wanted = (true.T @ true)[np.ix_(some, some)]
    off = ~np.eye(some.size, dtype=bool)
    found, sampled = (pattern.modes.T @ pattern.modes)[np.ix_(some, some)], np.corrcoef(x[:, some], rowvar=False)
    assert np.sqrt(((found - wanted)[off] ** 2).mean()) < np.sqrt(((sampled - wanted)[off] ** 2).mean())
    members = 3000
    drawn_ones = drawn(pattern, members, 2, seed=2)[..., some]
    memory = float(pattern.reflection[0, 0].real)
    assert abs(memory - kept) < 0.01
    for lag, share in ((0, 1.0), (1, memory)):
        expected = share * np.where(off, found, 1.0)
        products = drawn_ones[0].T @ drawn_ones[lag] / members
        error = np.sqrt((1.0 + expected**2) / members)
        assert (np.abs(products - expected) / error).max() < largest_of(some.size * (some.size + 1) // 2)
    few, many = (drawn(pattern, n, 2, seed=2) for n in (2, 5))
    assert np.array_equal(few, many[:, :2])


def test_many_sites_that_share_nothing_have_no_modes_and_those_that_share_all_one() -> None:
    white = np.random.default_rng(6).standard_normal((300, MANY))
    independent, alike = (fit_pattern([x], Noise(0), (False,)) for x in (white, np.repeat(white[:, :1], MANY, axis=1)))
    assert isinstance(independent, Pattern)
    assert independent.modes is None
    assert isinstance(alike, Pattern)
    assert alike.modes is not None
    np.testing.assert_allclose((alike.modes.T @ alike.modes)[0], 1.0, rtol=0, atol=1e-3)
