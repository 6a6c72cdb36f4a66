"""Sums under a tolerance against dense double precision: accuracy, bounds, work, far queries, determinism."""

from __future__ import annotations

from dataclasses import replace

import dense
import numba
import numpy as np
import pytest

from l96closure import TwoScaleLorenz96, bridge, compiled
from l96closure.bridge import sinkhorn
from l96closure.kernel import _groups as groups
from l96closure.kernel import _recombination as recombination
from l96closure.kernel import _tolerant_sums as tolerant_sums
from l96closure.kernel._row_sums import RowSums

pytestmark = pytest.mark.slow  # every path of the kernel sums against dense ones; test_bridge has some of each

EPSILON = 0.1
UNIT = np.sqrt(np.log2(np.e) / (4 * EPSILON))  # kernel units per standard deviation
SITES = 4


def gaussian(M):
    return np.random.default_rng(1).standard_normal((M, 2 * SITES))


def clustered(M):
    """Tight clusters far apart."""
    rng = np.random.default_rng(2)
    x = 4.0 * rng.integers(0, 2, (M, 2 * SITES)) + 0.05 * rng.standard_normal((M, 2 * SITES))
    return x / x.std(axis=0)


def lorenz96(M):
    """Consecutive steps of the two-scale model: neighbours in time are nearly copies of each other."""
    model = TwoScaleLorenz96(K=SITES, J=8)
    truth = model.simulate(samples=M, dt=1e-3, every=1, spinup=5.0, subgrid="fine", rng=3)
    x = np.hstack([truth["z"].values, truth["psi"].values])
    return (x - x.mean(axis=0)) / np.repeat([truth["z"].values.std(), truth["psi"].values.std()], SITES)


DATA = {"gaussian": gaussian, "clustered": clustered, "lorenz96": lorenz96}
M = 6000


@pytest.fixture(scope="module", params=DATA)
def problem(request):
    """A bridge of one component given six, states as the sampler meets them, and dense moments there."""
    x = DATA[request.param](M)
    sets = bridge.stacked(2, SITES, 1)
    fitted = bridge.fit(x, bridge.Kernel(epsilon=EPSILON, sums="brute"), sets, components=[SITES], tolerance=1e-7)
    rng = np.random.default_rng(4)
    states = x[rng.integers(0, M, 100)] + np.sqrt(2 * EPSILON) * rng.standard_normal((100, 2 * SITES))
    exact = dense.moments(states[:, sets[SITES]], x[:, sets[SITES]], x[:, SITES], EPSILON)
    return request.param, fitted, states, exact, x[:, SITES].std()


def with_sums(fitted, sums, rtol=1e-4):
    kernel = replace(fitted.kernel, sums=sums, rtol=rtol)
    return replace(fitted, kernel=kernel)


def evaluations(fitted, states):
    """Kernel evaluations that the mean at each state takes."""
    out = np.zeros((2, 1, fitted.d))
    return np.array([fitted.kernel_sums.moments(state[None], 1, *out) for state in states])


@pytest.mark.parametrize(("sums", "rtol"), [("brute", 1e-5), ("tree", 1e-2), ("tree", 1e-3), ("tree", 1e-4)])
def test_moments_keep_to_the_tolerance(problem, sums, rtol):
    _, fitted, states, (mean, variance), std = problem
    found = with_sums(fitted, sums, max(rtol, 3e-5)).moments(states)
    assert np.abs(found[0][:, 0] - mean).max() <= rtol * std
    # Without a tolerance the variance has the rounding of S_2 / S_0 less the squared mean, which may be larger.
    allowed = 5e-5 if sums == "brute" else rtol + rtol**2
    assert np.abs(found[1][:, 0] - variance).max() <= allowed * std**2


def test_the_mean_alone_is_that_of_both_moments_to_the_tolerance(problem):
    _, fitted, states, (mean, _), std = problem
    alone = with_sums(fitted, "tree").moments(states, order=1)[0][:, 0]
    assert np.abs(alone - mean).max() <= 1e-4 * std


@pytest.mark.parametrize("distance", [8.0, 30.0, 1e3, 1e15])
def test_far_queries_are_as_right_as_near_ones(problem, distance):
    _, fitted, states, _, std = problem
    far = states.copy()
    far[:, fitted.neighbourhoods[0][0]] += distance
    mean, _ = with_sums(fitted, "tree").moments(far)
    exact, _ = with_sums(fitted, "brute").moments(far)
    # Where a sum is too small for single precision both take the same path in double.
    assert np.abs(mean - exact).max() <= 1.1e-4 * std


@pytest.mark.parametrize("members", [3, 12])
def test_a_chain_that_meets_far_queries_makes_each_step_once(members):
    """Single precision ends at the first such query of some state; the steps after it are made in the other loop."""
    x = gaussian(M)
    fitted = bridge.fit(x, bridge.Kernel(epsilon=EPSILON, sums="brute"), bridge.stacked(2, SITES, 1), tolerance=1e-3)
    state = x[:members].copy()
    state[1::2, 0] += 40.0
    expected, normals = state.copy(), np.random.default_rng(6).standard_normal((4, members, 2 * SITES - 1))
    for step in normals:
        mean, variance = fitted.moments(expected)
        expected[:, 1:] = mean[:, 1:] + np.sqrt(variance[:, 1:]) * step
    chain = bridge.Chain(fitted, "conditional_variance", given=[0])
    chain.advance(state, 4, chain.drawn_from(np.random.default_rng(6), members))
    np.testing.assert_array_equal(state, expected)


@pytest.mark.parametrize("sums", ["brute", "tree"])
@pytest.mark.parametrize("components", [1, 7, 8, 17])
def test_the_bits_of_a_state_do_not_depend_on_how_many_there_are(components, sums):
    x = np.random.default_rng(1).standard_normal((800, 17))
    fitted = bridge.fit(
        x,
        bridge.Kernel(epsilon=EPSILON, sums=sums),
        bridge.periodic(17, 1),
        components=range(components),
        shared=[0] * components,
        tolerance=1e-3,
    )
    states = np.concatenate([x[:20], x[:3] + 40.0])  # the last are far from every sample
    together = fitted.moments(states)
    for some in (slice(1), slice(3, 5), slice(5, 17), slice(19, None)):
        for one, all_ in zip(fitted.moments(states[some]), together, strict=True):
            np.testing.assert_array_equal(one, all_[some])


def test_work_is_saved_on_a_trajectory_and_never_more_than_repeated():
    x = lorenz96(20_000)
    fitted = bridge.fit(x, EPSILON, bridge.stacked(2, SITES, 1), components=[SITES], tolerance=1e-3)
    rng = np.random.default_rng(5)
    states = x[rng.integers(0, len(x), 100)] + np.sqrt(2 * EPSILON) * rng.standard_normal((100, 2 * SITES))
    assert fitted.kernel_sums.groups.rtol[0] == fitted.kernel.rtol  # the tree was chosen
    assert fitted.kernel_sums.groups.number[0, 0] < fitted.kernel_sums.groups.number[0, 1] / 2
    work = evaluations(fitted, states)
    assert work.mean() < len(x) / 3
    assert work.max() < 2.3 * len(x)  # both levels, and then all samples
    brute = evaluations(with_sums(fitted, "brute"), states)
    assert (brute >= len(x)).all()
    assert (brute < 2 * len(x) + groups.GROUP).all()


def test_scattered_samples_are_not_recombined_and_few_are_summed_by_brute_force():
    fitted = bridge.fit(gaussian(M), EPSILON, bridge.stacked(2, SITES, 1), components=[SITES], tolerance=1e-3)
    assert with_sums(fitted, "tree").kernel_sums.groups.number[0, 0] == 0
    few = bridge.fit(gaussian(500), EPSILON, tolerance=1e-3)
    assert few.kernel_sums.groups.rtol[0] == 0.0


@pytest.mark.parametrize("how", ["tree", "brute"])
def test_results_depend_neither_on_threads_nor_on_the_company(problem, how, monkeypatch):
    _, fitted, states, _, _ = problem
    sums = with_sums(fitted, how).kernel_sums
    serial = np.zeros((2, *states.shape))
    for state, mean, variance in zip(states, *serial, strict=True):
        sums.moments(state[None], 2, mean[None], variance[None])
    monkeypatch.setattr("l96closure.kernel._sums._PARALLEL_WORK", 1)
    assert sums.in_parallel(len(states))
    threads = numba.get_num_threads()
    for count in {1, threads}:
        numba.set_num_threads(count)
        for parts in (1, 7, 1000):
            monkeypatch.setattr(compiled, "_PARTS", parts)
            parallel = np.zeros_like(serial)
            sums.moments(states, 2, *parallel)
            np.testing.assert_array_equal(parallel, serial)
    numba.set_num_threads(threads)
    backwards = np.zeros_like(serial)
    sums.moments(states[::-1].copy(), 2, *backwards)
    np.testing.assert_array_equal(backwards[:, ::-1], serial)


def test_several_dictionaries_of_different_sizes_share_one_layout():
    x = lorenz96(M)
    sets = [[0, 4, 5], [1, 4, 5, 6, 7], [2], [3, 2], [4, 0], [5], [6, 1, 2, 3, 0, 7], [7, 6]]
    both = [
        bridge.fit(x, bridge.Kernel(epsilon=EPSILON, sums=sums), sets, tolerance=1e-4) for sums in ("brute", "tree")
    ]
    brute, tree = (fitted.moments(x[::200]) for fitted in both)
    assert np.abs(brute[0] - tree[0]).max() <= 1.1e-4 * x.std(axis=0).max()
    assert np.abs(brute[1] - tree[1]).max() <= 1.1e-4 * x.var(axis=0).max()


@pytest.mark.parametrize("budget", [0.0, 1e-30, 1e-6, 0.3, 1e9, np.nan])
def test_what_is_left_out_keeps_to_the_budget_and_a_threshold_is_always_found(budget):
    bound = np.zeros(112, np.float32)
    bound[:100] = 10.0 ** np.random.default_rng(10).uniform(-12, 0, 100)
    threshold, left_out = tolerant_sums.share_below(bound, 100, np.float32(budget))
    assert left_out == pytest.approx(bound[bound < threshold].sum(), rel=1e-6)
    assert not left_out > budget


@pytest.mark.parametrize("n", [0, 1, 16, 100])
def test_the_groups_listed_are_those_within_the_limits(n):
    part, near = np.full(112, 0.5, np.float32), np.zeros(128, np.int32)
    part[:n] = np.random.default_rng(11).random(n)
    lower, upper = np.float32(0.3), np.float32(0.8)
    found = tolerant_sums.list_near(part, 5, n, lower, upper, near)
    np.testing.assert_array_equal(near[:found], 5 + np.flatnonzero((lower <= part[:n]) & (part[:n] < upper)))


def path(samples):
    """A smooth path in six dimensions with a fast wiggle on top; a step is about 0.03 units."""
    rng, t = np.random.default_rng(6), np.arange(samples) * 0.01
    rows = [np.sin(rng.uniform(0.5, 2.0, 5)[:, None] * t + rng.uniform(0, 6, 5)[:, None]).sum(axis=0) for _ in range(6)]
    table = UNIT * np.array(rows) / 1.6 + 0.03 * np.sin(5.0 * t)
    return table, 0.02 + 0.01 * np.sin(table[0])


def test_rules_match_weights_and_first_moments_and_are_positive():
    table, v = path(2000)
    rules = recombination.recombine(table, v, 6, np.array([4]), 16, 1e-6)
    used = np.setdiff1d(np.arange(v.size), rules.rest)
    assert used.size > v.size / 2
    assert (rules.weights > 0).all()
    np.testing.assert_allclose(rules.weights.sum(), v[used].sum(), rtol=1e-12)
    moment = np.einsum("brk,bk->r", rules.nodes, rules.weights)
    np.testing.assert_allclose(moment, table[:, used] @ v[used], rtol=0, atol=1e-10 * v.sum())
    assert (rules.error[:, 0, 0] <= 1e-6 * rules.weights.sum(axis=1)).all()


@pytest.mark.parametrize("spread", [1.0, 4.0])
def test_the_error_of_every_rule_is_within_both_of_its_bounds(spread):
    """For S_0, and for the first two powers of y about the run's mean."""
    table, v = path(600)
    rules = recombination.recombine(table, v, 6, np.array([4]), 8, 1e-3)
    used = np.setdiff1d(np.arange(v.size), rules.rest)
    runs = np.split(used, np.cumsum(np.diff(np.flatnonzero(np.append(True, np.diff(used) > 1)))))
    rng = np.random.default_rng(7)
    # each rule against the run it stands for: the consecutive samples within its box whose weights it has
    assert len(rules.weights) > 3
    for box_low, box_high, nodes, weights, error in zip(
        rules.lower, rules.upper, rules.nodes, rules.weights, rules.error, strict=True
    ):
        inside = ((table >= box_low[:, None] - 1e-12) & (table <= box_high[:, None] + 1e-12)).all(axis=0)
        candidates = [
            np.arange(a, b)
            for a in np.flatnonzero(inside)
            for b in range(a + 16, min(a + 257, v.size + 1))
            if inside[a:b].all() and abs(v[a:b].sum() - weights.sum()) < 1e-12
        ]
        assert candidates, runs
        run = candidates[0]
        centre = 0.5 * (box_low + box_high)
        queries = centre[:6] + spread * rng.standard_normal((200, 6))
        middle = (v[run] @ table[4, run]) / v[run].sum()
        exact = v[run] * np.exp2(-((table[:6, run] - queries[:, :, None]) ** 2).sum(axis=1))
        rule = weights * np.exp2(-((nodes[:6] - queries[:, :, None]) ** 2).sum(axis=1))
        falling = np.exp2(-0.5 * ((queries - centre[:6]) ** 2).sum(axis=1))
        for power in range(3):
            wrong = rule @ (nodes[4] - middle) ** power - exact @ (table[4, run] - middle) ** power
            assert (np.abs(wrong) <= error[0, power]).all()
            assert (np.abs(wrong) <= error[1, power] * falling).all()


def test_the_bound_is_the_quadratic_form():
    rng = np.random.default_rng(1)
    points, charges = rng.standard_normal((3, 2, 7)), rng.standard_normal((3, 4, 7))
    bound = recombination._bounds(points, 2, charges, 1.5)
    kernel = np.exp2(-1.5 * ((points[:, :, :, None] - points[:, :, None]) ** 2).sum(axis=1))
    np.testing.assert_allclose(bound**2, np.einsum("bkl,blm,bkm->bk", charges, kernel, charges), rtol=1e-11)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("share", [0.0, 1e-6, 1e-3])
def test_row_sums_leave_out_no_more_than_they_may(double, share):
    rng = np.random.default_rng(8)
    samples, targets = 6.0 * rng.standard_normal((4, 3000)), 6.0 * rng.standard_normal((4, 501))
    u = rng.standard_normal(3000)
    product = RowSums(samples)
    found = np.exp(product.log(u, share, double, at=RowSums(targets)))
    exact = np.exp2(-((targets[:, :, None] - samples[:, None]) ** 2).sum(axis=0)) @ np.exp(u)
    error, rounding = found / exact - 1, 1e-12 if double else 1e-5
    assert error.min() >= -share - rounding
    assert error.max() <= rounding
    if share == 1e-3:
        assert product.evaluations < 0.8 * 3000 * 501


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA)
def test_many_samples_are_scaled_as_few_are(name):
    """Beyond 20,000 the iteration starts from every eighth sample; memory stays proportional to their number."""
    x = DATA[name](24_000)[:, :6].T * UNIT
    scaling = sinkhorn.solve_samples(np.ascontiguousarray(x), 1e-4)
    some = np.random.default_rng(9).integers(0, x.shape[1], 300)
    v = np.exp(scaling.log_v)
    product = [(v * np.exp2(-((x - x[:, [i]]) ** 2).sum(axis=0))).sum() for i in some]
    assert scaling.residual <= 1e-4
    assert np.abs(v[some] * product - 1).max() <= 1.1e-4
    assert scaling.iterations <= 10


@pytest.mark.parametrize(
    ("arguments", "names"),
    [({"rtol": 1e-6}, "rtol = 1e-06"), ({"rtol": 0.0}, "rtol = 0.0"), ({"sums": "fast"}, "sums = 'fast'")],
)
def test_what_cannot_be_promised_is_rejected(arguments, names):
    with pytest.raises(ValueError, match=f"^{names}.* must be "):
        bridge.Kernel(**arguments)
