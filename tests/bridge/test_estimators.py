"""The other estimators against dense formulas, and the full conditionals against closed forms."""

from __future__ import annotations

import dense
import numba
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import logsumexp, softmax

from l96closure import bridge, compiled
from l96closure.bridge import full_conditionals
from l96closure.kernel import _shifted_sums as shifted_sums


def two_clusters(rng, M, d):
    return 6.0 * rng.integers(0, 2, (M, 1)) + rng.standard_normal((M, d)) @ np.triu(np.ones((d, d)))


@pytest.fixture(scope="module")
def x():
    return two_clusters(np.random.default_rng(1), 600, 4)


@pytest.fixture(scope="module")
def queries(x):
    near = x[:40] + np.random.default_rng(2).standard_normal((40, 4))
    return np.concatenate([near, near[:3] + 1e3])


@pytest.mark.parametrize("neighbourhoods", [None, bridge.periodic(4, 1)])
def test_the_attention_form_gives_the_means_of_the_bridge(x, queries, neighbourhoods):
    """Eqs. (19)-(21): other weights, the same means."""
    scale = x.std(axis=0)
    plain = bridge.fit(x, 0.1, neighbourhoods, scale, tolerance=1e-9)
    attention = bridge.fit(x, bridge.Kernel("dot_product"), neighbourhoods, scale, tolerance=1e-9)
    difference = attention.conditional_mean(queries) - plain.conditional_mean(queries)
    assert np.abs(difference / scale).max() < 1e-6
    first = [np.atleast_2d(fitted.weights)[0] for fitted in (plain, attention)]
    assert np.abs(first[0] / first[1] - 1).max() > 0.1


def test_attention_weights_solve_the_dot_product_problem(x):
    fitted = bridge.fit(x, bridge.Kernel("dot_product", 0.5), scale=x.std(axis=0), tolerance=1e-9)
    y = (x - x.mean(axis=0)) / x.std(axis=0)
    u = np.log(fitted.weights)
    np.testing.assert_allclose(u + logsumexp(y @ y.T / 1.0 + u, axis=1), 0.0, atol=1e-8)


@pytest.mark.parametrize("localized", [True, False])
def test_kde_with_gamma_2_epsilon_is_a_bridge_with_equal_weights(x, queries, localized):
    """Eqs. (22)-(25) and Remark 5."""
    epsilon, sets = 0.3, bridge.periodic(4, 1) if localized else bridge.everywhere(4)
    kde = bridge.fit(x, bridge.Kernel("kde", gamma=2 * epsilon), sets)
    for alpha, members in enumerate(sets):
        w = softmax(dense.kernel(queries[:, members], x[:, members], epsilon, 1.0), axis=1)
        np.testing.assert_allclose(kde.conditional_mean(queries)[:, alpha], w @ x[:, alpha], atol=3e-5)
    assert (np.concatenate(np.atleast_2d(kde.weights)) == 1.0).all()


def test_kde_bandwidth_is_epsilon_when_not_given(x, queries):
    default = bridge.fit(x, bridge.Kernel("kde", 0.2)).conditional_mean(queries)
    given = bridge.fit(x, bridge.Kernel("kde", 0.2, gamma=0.2)).conditional_mean(queries)
    np.testing.assert_array_equal(default, given)


def test_variable_bandwidth_against_a_dense_evaluation(x, queries):
    epsilon, k = 0.1, 16
    fitted = bridge.fit(x, bridge.Kernel("variable", epsilon, nearest=k), tolerance=1e-10)
    rho = np.partition(cdist(x, x, "sqeuclidean"), k - 1, axis=1)[:, k - 1]
    unit = np.exp(np.log(rho).mean())
    T = np.exp(-cdist(x, x, "sqeuclidean") / (2 * epsilon * (rho[:, None] + rho) / unit))
    v = fitted.weights
    np.testing.assert_allclose(v * (T @ v), 1.0, atol=1e-9)
    own = np.partition(cdist(queries, x, "sqeuclidean"), k - 1, axis=1)[:, k - 1]
    exponent = -cdist(queries, x, "sqeuclidean") / (2 * epsilon * (own[:, None] + rho) / unit)
    w = softmax(np.log(v) + exponent, axis=1)
    np.testing.assert_allclose(fitted.conditional_mean(queries), w @ x, atol=1e-9 * np.abs(x).max())


@pytest.mark.slow
def test_variable_bandwidth_with_coinciding_samples_stays_finite():
    x = np.repeat(np.random.default_rng(3).standard_normal((40, 2)), 20, axis=0)
    fitted = bridge.fit(x, bridge.Kernel("variable", 0.1, nearest=16))
    assert np.isfinite(fitted.conditional_mean(x)).all()


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["bridge", "kde", "dot_product", "variable"])
def test_every_estimator_keeps_lemma_1_and_runs_every_scheme(x, estimator):
    fitted = bridge.fit(x, bridge.Kernel(estimator), bridge.periodic(4, 1), x.std(axis=0))
    far = np.random.default_rng(4).standard_normal((50, 4)) * 10.0 ** np.arange(50)[:, None] / 1e20
    mean = fitted.conditional_mean(far)
    slack = 1e-5 * x.std(axis=0)
    assert (mean >= x.min(axis=0) - slack).all()
    assert (mean <= x.max(axis=0) + slack).all()
    for scheme in ("split", "euler", "conditional_variance", "sequential", "ancestral"):
        assert np.isfinite(bridge.sample(fitted, x[:5], 3, 0, scheme)).all()


def test_effective_samples(x, queries):
    fitted = bridge.fit(x, 0.1, bridge.periodic(4, 1))
    effective = fitted.effective_samples(queries)
    for alpha, members in enumerate(bridge.periodic(4, 1)):
        log_w = np.log(fitted.weights[alpha]) + dense.kernel(queries[:, members], x[:, members], 0.1, 1.0)
        np.testing.assert_allclose(effective[:, alpha], 1 / (softmax(log_w, axis=1) ** 2).sum(axis=1), rtol=1e-9)
    assert bridge.fit(x, 0.1).effective_samples(queries).shape == (len(queries), 4)


def ring(d, M, rng):
    """Samples of a Gaussian ring with precision tridiag(2, -0.5), and its covariance."""
    precision = 2.0 * np.eye(d) - 0.5 * (np.roll(np.eye(d), 1, axis=1) + np.roll(np.eye(d), -1, axis=1))
    covariance = np.linalg.inv(precision)
    return rng.multivariate_normal(np.zeros(d), covariance, M, method="cholesky"), covariance


@pytest.mark.slow
def test_sequential_draws_keep_the_law_of_a_gaussian_ring():
    """Stationary variance and covariance over independent data sets, within three standard errors.

    With 500 samples they would be some 3 % too large: the estimated full conditionals have errors of their own.
    """
    d, found = 8, []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x, covariance = ring(d, 1500, rng)
        out = bridge.sample(bridge.fit(x, 0.025, bridge.periodic(d, 2)), x, 30, rng, "sequential")
        C = np.cov(out.T)
        found.append([np.mean([C[i, (i + k) % d] for i in range(d)]) for k in range(3)])
    standard_error = np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - covariance[0, :3]) < 3 * standard_error).all()
    assert standard_error[0] < 0.02 * covariance[0, 0]


def test_sequential_draws_do_not_replay_the_samples():
    rng = np.random.default_rng(5)
    x, _ = ring(40, 500, rng)
    out = bridge.sample(bridge.fit(x, 0.025, bridge.periodic(40, 2)), x, 30, rng, "sequential")
    assert bridge.replay_score(out, x) > 0.9
    assert bridge.replay_score(x + 1e-3, x) < bridge.REPLAY_WARNING


def test_ancestral_draws_are_independent_of_their_start_and_right_after_one_sweep():
    """A first-order autoregression: variance and lag-one covariance within three standard errors of the data's."""
    rng = np.random.default_rng(6)
    M, steps, a = 1000, 12, 0.7
    x = np.empty((M, steps))
    x[:, 0] = rng.standard_normal(M)
    for i in range(1, steps):
        x[:, i] = a * x[:, i - 1] + np.sqrt(1 - a * a) * rng.standard_normal(M)
    fitted = bridge.fit(x, 0.05, bridge.markov(steps))
    out = bridge.sample(fitted, np.full((M, steps), 1e3), 1, 7, "ancestral")
    again = bridge.sample(fitted, x, 1, 7, "ancestral")
    np.testing.assert_allclose(out, again, rtol=0, atol=1e-9)
    for product_out, product in ((out**2, x**2), (out[:, 1:] * out[:, :-1], x[:, 1:] * x[:, :-1])):
        a_out, a_in = product_out.mean(axis=1), product.mean(axis=1)
        standard_error = np.hypot(a_out.std(), a_in.std()) / np.sqrt(M)
        assert abs(a_out.mean() - a_in.mean()) < 3 * standard_error


def test_sequential_conditioning_on_a_gaussian():
    """Given x_0 = z*, x_1 is N(0.6 z*, 0.64): its kernel is flat once the linear part is removed."""
    rng = np.random.default_rng(8)
    z, n = 0.8, 4000
    x = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 4000)
    given = bridge.sample(bridge.fit(x, 0.2), np.zeros((n, 2)), 1, 9, "sequential", {0: z})
    assert (given[:, 0] == z).all()
    standard_error = np.sqrt(0.64 * (1 / n + 10 / 4000))  # of the draws, and of about a tenth of the samples
    assert abs(given[:, 1].mean() - 0.6 * z) < 3 * standard_error
    assert given[:, 1].var() == pytest.approx(0.64, abs=3 * 0.64 * np.sqrt(2 * (1 / n + 10 / 4000)))


@pytest.mark.slow
def test_draws_follow_the_weights_whichever_path_makes_them():
    """Frequencies of the drawn sample against w(x), by chi-squared, near and far from the samples."""
    from scipy.stats import chisquare

    weights = numba.njit(shifted_sums.weights.py_func)
    x = np.random.default_rng(10).standard_normal((70, 2))
    for estimator, query in (("bridge", 0.3), ("bridge", 60.0), ("variable", 0.3), ("dot_product", 0.3)):
        fitted = bridge.fit(x, bridge.Kernel(estimator, 0.5), [[0, 1], [0, 1]])
        plan, _, _, residual = fitted.full_conditionals
        n = 20_000
        state = np.tile([query, 0.0], (n, 1))
        drawn = bridge.sample(fitted, state, 1, 11, "sequential", {0: query})[:, 1]
        conditional = fitted.full_conditionals
        h = plan.head[1]
        offsets = drawn - conditional.intercept[h] - conditional.slope[h, 0] * query
        index = np.abs(offsets[:, None] - residual[h]).argmin(axis=1)
        w = np.empty(70)
        coordinates = shifted_sums.query_coordinates.py_func(state[0], 1, plan, np.empty(1))
        total = weights(coordinates, h, plan, w)
        expected = n * w / total
        frequent = expected > 5
        observed = np.bincount(index, minlength=70)
        groups = np.append(observed[frequent], observed[~frequent].sum())
        wanted = np.append(expected[frequent], expected[~frequent].sum())
        kept = wanted > 0
        if kept.sum() > 1:
            assert chisquare(groups[kept], wanted[kept]).pvalue > 1e-4, (estimator, query)


@pytest.mark.slow
def test_sweeps_do_not_depend_on_the_number_of_threads():
    x = two_clusters(np.random.default_rng(12), 300, 4)
    conditionals = bridge.fit(x, 0.1, bridge.periodic(4, 1)).full_conditionals
    uniforms = np.random.default_rng(13).random((3, 50, 4))
    serial, parallel = x[:50].copy(), x[:50].copy()
    full_conditionals.sweep(serial, uniforms, *conditionals, 0, 50)
    compiled.shared(full_conditionals.sweep, 50, parallel, uniforms, *conditionals)
    np.testing.assert_array_equal(serial, parallel)


def test_choose_epsilon_finds_the_best_candidate():
    rng = np.random.default_rng(14)
    x = rng.standard_normal((400, 1))
    y = np.sin(4 * x) + 0.1 * rng.standard_normal((400, 1))
    found = bridge.choose_epsilon(np.hstack([x, y]))
    best = found.criterion.argmax()
    assert 0 < best < found.candidates.size - 1
    assert found.candidates[best - 1] < found.epsilon < found.candidates[best + 1]
    assert bridge.fit(np.hstack([x, y]), "auto").epsilon == found.epsilon


def test_choose_epsilon_scales_with_the_number_of_samples_and_their_units():
    x = np.random.default_rng(15).standard_normal((300, 3))
    found = bridge.choose_epsilon(x, bridge.periodic(3, 1))
    assert bridge.choose_epsilon(x, bridge.periodic(3, 1), size=3000).epsilon == pytest.approx(
        found.epsilon * 10 ** (-2 / 7)
    )
    assert bridge.choose_epsilon(5 * x, bridge.periodic(3, 1), 5.0).epsilon == pytest.approx(found.epsilon)


def test_the_criterion_is_a_leave_one_out_likelihood():
    """Against a plain double loop."""
    x = np.random.default_rng(16).standard_normal((30, 2))
    found = bridge.choose_epsilon(x, components=[1])
    epsilon = found.candidates[12]
    r = x[:, 1] - np.polyval(np.polyfit(x[:, 0], x[:, 1], 1), x[:, 0])
    v = dense.weights(x[:, :1], epsilon)
    total = 0.0
    for j in range(30):
        others = np.arange(30) != j
        w = (v * np.exp(-((x[:, 0] - x[j, 0]) ** 2) / (4 * epsilon)))[others]
        normal = np.exp(-((r - r[j]) ** 2) / (4 * epsilon))[others] / np.sqrt(4 * np.pi * epsilon)
        total += np.log((w * normal).sum() / w.sum())
    assert found.criterion[12] == pytest.approx(total / 30, abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("memory", [1, 8, 25])
def test_choose_epsilon_does_not_find_the_near_copies_of_a_record(memory):
    """However finely a record is sampled, its bandwidth is right for states of another one.

    Out-of-sample log-likelihood against the best of a range of bandwidths; where the samples next to one in time stay,
    25 steps of memory lose more than ten.
    """
    rng, n = np.random.default_rng(19), 2
    u = np.zeros((1600 + 20 * memory, n + 1))
    decay = 0.0 if memory == 1 else np.exp(-1.0 / memory)
    for _ in range(2):  # twice, so that the record is smooth
        e = rng.standard_normal(u.shape) + u
        for i in range(1, len(u)):
            e[i] += decay * e[i - 1]
        u = (e / e.std(axis=0))[-1600 - 10 * memory :] if u.any() else e / e.std(axis=0)
    u = np.concatenate([u[-1600:] / u[-1600:].std(axis=0), rng.standard_normal((800, n + 1))])
    x, y = u[:, :n], np.sin(1.5 * u[:, 0]) + 0.5 * u[:, 1] + 0.5 * u[:, n]
    sets = [[0, 1]] * n + [[0, 1, 2]]
    found = bridge.choose_epsilon(np.column_stack([x, y])[:1600], sets, components=[n])

    def likelihood(epsilon):
        exponent = -cdist(x[1600:], x[:1600], "sqeuclidean") / (4 * epsilon)
        exponent += np.log(bridge.fit(x[:1600], epsilon, tolerance=1e-3).weights)
        joint = logsumexp(exponent - (y[1600:, None] - y[:1600]) ** 2 / (4 * epsilon), axis=1)
        return (joint - logsumexp(exponent, axis=1)).mean() - 0.5 * np.log(4 * np.pi * epsilon)

    best = max(map(likelihood, np.geomspace(0.005, 1.0, 9)))
    assert likelihood(found.epsilon) > best - 0.15


@pytest.mark.parametrize(("width", "radius", "grows"), [(0.0, 1, False), (0.6, 1, False), (2.0, 1, True)])
def test_sequential_draws_that_would_grow_are_refused(width, radius, grows):
    """A Gaussian ring with correlation exp(-distance^2 / 2 width^2), the smoother the wider, seen ``radius`` sites far.

    Where it is not refused, the standard deviation after many sweeps is that of the samples within a tenth.
    """
    d, rng = 16, np.random.default_rng(20)
    lag = np.minimum(np.arange(d), d - np.arange(d))
    first = np.exp(-0.5 * (lag / max(width, 1e-3)) ** 2)
    spectrum = np.maximum(np.fft.fft(first).real, 0.0) + 1e-3
    x = np.fft.ifft(np.sqrt(spectrum) * np.fft.fft(rng.standard_normal((1500, d)))).real
    fitted = bridge.fit(x, 0.1, bridge.periodic(d, radius), shared=True, centres=1500, tolerance=1e-3)
    if grows:
        with pytest.raises(ValueError, match=r"^scheme = 'sequential' .* larger neighbourhoods: .* grow to 1\.\d+ "):
            bridge.Chain(fitted, "sequential")
    else:
        out = bridge.sample(fitted, x[:200], 60, 21, "sequential")
        assert out.std() == pytest.approx(x.std(), rel=0.1)


def test_mixing_of_an_autoregression():
    """Integrated autocorrelation time (1 + a) / (1 - a), within a tenth."""
    rng, a = np.random.default_rng(17), 0.8
    x = np.empty((8, 8000, 1))
    x[:, 0] = rng.standard_normal((8, 1))
    for i in range(1, 8000):
        x[:, i] = a * x[:, i - 1] + np.sqrt(1 - a * a) * rng.standard_normal((8, 1))
    found = bridge.mixing(x)
    assert found.autocorrelation_time[0] == pytest.approx(9.0, rel=0.1)
    assert found.effective_sample_size[0] * found.autocorrelation_time[0] == pytest.approx(64_000)


X = np.random.default_rng(18).standard_normal((50, 3))


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: bridge.Kernel(gamma=0.2), "gamma = 0.2"),
        (lambda: bridge.Kernel("kde", gamma=0.0), "gamma = 0.0"),
        (lambda: bridge.Kernel("variable", nearest=1), "nearest = 1"),
        (lambda: bridge.fit(X, bridge.Kernel("variable", nearest=51)), "nearest = 51"),
        (lambda: bridge.fit(X, "best"), "epsilon = 'best'"),
        (lambda: bridge.fit(X[:19], "auto"), r"samples.shape = \(19, 3\)"),
        (lambda: bridge.sample(bridge.fit(X[:3], 0.1), X, 1, 0, "sequential"), r"samples.shape = \(3, 'd'\)"),
        (
            lambda: bridge.sample(bridge.fit(X), X, 1, 0, "sequential", grad_log_likelihood=np.zeros_like),
            "grad_log_likelihood = 'given'",
        ),
        (lambda: bridge.sample(bridge.fit(X), X, 1, 0, "ancestral", {1: 0.0}), r"given = \[1\]"),
        (
            lambda: bridge.sample(bridge.fit(X, 0.1, [[0, 1], [0, 1], [1, 2]], shared=True), X, 1, 0, "sequential"),
            "shared = True",
        ),
        (lambda: bridge.replay_score(X[:, :2], X), r"generated.shape = \(50, 2\)"),
        (lambda: bridge.replay_score(X, X[:1]), r"training.shape = \(1, 3\)"),
        (lambda: bridge.replay_score(X, np.ones((5, 3))), "training = 'coinciding samples'"),
        (lambda: bridge.mixing(X[None, :3]), r"kept.shape = \(1, 3, 3\)"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_line_that_names_it(call, names):
    with pytest.raises(ValueError, match=f"^{names}.* must be ") as caught:
        call()
    assert "\n" not in str(caught.value)
