"""Conditional quantiles of a bridge: against a Gaussian, a brute-force quantile, and the bridge's own mean."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.special import ndtr

from l96closure import bridge
from l96closure.kernel._samples import ESTIMATORS

RHO, M = 0.6, 20_000


@pytest.fixture(scope="module")
def fitted():
    """y given x for a Gaussian pair with correlation ``RHO``, component 1 seeing component 0 alone."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(M)
    y = RHO * x + np.sqrt(1 - RHO**2) * rng.standard_normal(M)
    return bridge.fit(np.stack([x, y], axis=1), 0.005, [[0], [0]], components=[1])


def test_a_gaussian_has_gaussian_conditional_quantiles(fitted):
    quantiles = bridge.tabulate(fitted)
    x, noise = (axis.reshape(1, -1) for axis in np.meshgrid([-1.0, 0.0, 1.0], [-1.5, 0.0, 1.5]))
    x, noise = x.T.copy(), noise.T.copy()
    effective = fitted.effective_samples(np.hstack([x, x]))
    density = np.exp(-0.5 * noise**2) / np.sqrt(2 * np.pi)
    error = np.sqrt(1 - RHO**2) * np.sqrt(ndtr(noise) * ndtr(-noise) / effective) / density
    assert (np.abs(quantiles(x, noise) - RHO * x - np.sqrt(1 - RHO**2) * noise) < 4 * error).all()


def test_the_table_holds_the_quantiles_of_the_weighted_samples(fitted):
    quantiles = bridge.tabulate(fitted)
    dictionary = fitted.dictionaries[0]
    values = dictionary.values[:, 0]
    for g in np.linspace(3, quantiles.nodes.size - 3, 4).astype(int):
        x = quantiles.nodes[g]
        w = dictionary.v * np.exp(-((x - dictionary.coordinates[:, 0]) ** 2) / (4 * 0.005))
        w /= w.sum()
        for level in (32, 64, 90):
            found = quantiles.table[g, level]
            probability = ndtr(-4 + level / 16)
            assert w[values < found - 1e-12].sum() <= probability + w.max()
            assert w[values <= found + 1e-12].sum() >= probability - w.max()


def test_quantiles_average_to_the_conditional_mean_and_lie_within_the_samples(fitted):
    quantiles = bridge.tabulate(fitted)
    x = quantiles.nodes[quantiles.nodes.size // 4 : -quantiles.nodes.size // 4 : 9, None]
    levels = np.linspace(-4, 4, 4001)
    weight = np.exp(-0.5 * levels**2)
    pairs = [axis.reshape(-1, 1) for axis in np.meshgrid(x, levels, indexing="ij")]
    mean = quantiles(*pairs).reshape(x.size, -1) @ weight / weight.sum()
    expected = fitted.conditional_mean(np.hstack([x, x]))[:, 0]
    np.testing.assert_allclose(mean, expected, atol=2e-3)
    far = quantiles(np.array([[-1e9, 1e9, 0.0, 0.0]]).T.copy(), np.array([[0.0, 0.0, -1e9, 1e9]]).T.copy())
    values = fitted.dictionaries[0].values
    assert values.min() <= far.min() <= far.max() <= values.max()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_another_kernel_has_quantiles_of_its_own_mean_or_none(estimator: str) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal(2000)
    pairs = np.stack([x, x**2 + 0.3 * rng.standard_normal(2000)], axis=1)
    fitted = bridge.fit(pairs, bridge.Kernel(estimator, 0.02), [[0], [0]], components=[1])
    if estimator not in ("bridge", "kde"):
        with pytest.raises(ValueError, match=f"^estimator = '{estimator}' is not allowed; it must be bridge or kde"):
            bridge.tabulate(fitted)
        return
    at, levels = np.linspace(-1.5, 1.5, 13)[:, None], np.linspace(-4, 4, 2001)
    weight = np.exp(-0.5 * levels**2)
    both = [axis.reshape(-1, 1) for axis in np.meshgrid(at, levels, indexing="ij")]
    mean = bridge.tabulate(fitted)(*both).reshape(at.size, -1) @ weight / weight.sum()
    np.testing.assert_allclose(mean, fitted.conditional_mean(np.hstack([at, at]))[:, 0], atol=2e-2)


def test_a_state_that_is_no_number_gives_none(fitted):
    quantiles = bridge.tabulate(fitted)
    assert np.isnan(quantiles(np.array([[np.nan], [np.inf]]), np.zeros((2, 1)))).all()
    assert np.isnan(quantiles(np.zeros((1, 1)), np.array([[np.nan]]))).all()


def test_more_than_one_coordinate_or_a_compressed_bridge_is_refused(fitted):
    x = np.random.default_rng(1).standard_normal((200, 2))
    with pytest.raises(ValueError, match="single component"):
        bridge.tabulate(bridge.fit(x, 0.1, components=[1]))
    with pytest.raises(ValueError, match="shapes"):
        bridge.tabulate(fitted)(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="compression"):
        bridge.tabulate(bridge.compress(fitted, 20))


def normal(x):
    return x


def one_outlier(x):
    return np.append(x[:-1], 100.0)


def one_far_outlier(x):
    return np.append(x[:-1], 1e6)


def two_clusters(x):
    return x + 40.0 * (np.arange(x.size) % 2)


def offset(x):
    return 1e6 + 1e-3 * x


PREDICTORS = {
    "normal": normal,
    "lognormal": np.exp,
    "one_outlier": one_outlier,
    "one_far_outlier": one_far_outlier,
    "two_clusters": two_clusters,
    "offset": offset,
}


def responding(x, epsilon, rng):
    """A bridge of a value that varies over three standard deviations of the samples' middle half, given ``x``."""
    middle = x - np.median(x)
    y = np.sin(2.0 * middle / np.abs(middle).mean()) + 0.3 * rng.standard_normal(x.size)
    scale = np.subtract(*np.percentile(x, [75, 25]))
    return bridge.fit(np.stack([x, y], axis=1), epsilon, [[0], [0]], [scale, 1.0], components=[1])


@pytest.mark.parametrize("name", PREDICTORS)
@pytest.mark.parametrize("epsilon", [0.005, 0.1])
def test_the_table_is_as_good_wherever_the_samples_are(name, epsilon):
    """Its mean is the bridge's own, and its error is what it says, at every kind of states that were trained on."""
    rng = np.random.default_rng(2)
    fitted = responding(PREDICTORS[name](rng.standard_normal(2000)), epsilon, rng)
    quantiles, dictionary = bridge.tabulate(fitted), fitted.dictionaries[0]
    x, std = dictionary.coordinates[:, 0], dictionary.values.std()
    noise = np.linspace(-4, 4, 161)
    density = np.exp(-0.5 * noise**2) / np.exp(-0.5 * noise**2).sum()
    pairs = [axis.reshape(-1, 1) for axis in np.meshgrid(x, noise, indexing="ij")]
    found = quantiles(*pairs).reshape(x.size, noise.size)
    mean = fitted.conditional_mean(np.stack([x, x], axis=1))[:, 0]
    off = np.abs(found @ density - mean) / std
    assert np.sqrt((off**2).mean()) < 0.03
    assert np.quantile(off, 0.99) < 0.05  # the rest are between the last few samples of a tail
    order = np.argsort(dictionary.values[:, 0])
    factor = fitted.kernel.factor(dictionary.coordinate_scale)[0]
    exponent = dictionary.log_v[order] / np.log(2) - ((x[:, None] - dictionary.coordinates[order, 0]) * factor) ** 2
    w = np.exp2(exponent - exponent.max(axis=1, keepdims=True))
    below = (np.cumsum(w, axis=1) - 0.5 * w) / w.sum(axis=1, keepdims=True)
    exact = np.array([np.interp(ndtr(noise), one, dictionary.values[order, 0]) for one in below])
    error = np.sqrt(((found - exact) ** 2 @ density).mean()) / std
    assert error < 0.05
    assert error < 1.5 * quantiles.error[0] + 1e-3
    assert quantiles.error[0] < 1.5 * error + 1e-3


def test_several_dictionaries_are_looked_up_as_if_each_were_alone():
    rng = np.random.default_rng(3)
    x = np.stack([rng.standard_normal(500), np.exp(2 * rng.standard_normal(500)), rng.standard_normal(500)], axis=1)
    together = bridge.tabulate(bridge.fit(x, 0.01, [[0], [1], [0]]))
    states, noise = x[:100].copy(), rng.standard_normal((100, 3))
    states[:2] = [-1e9], [1e9]
    found = together(states[:, [0, 1, 0]].copy(), noise)
    for alpha, seen in enumerate([0, 1, 0]):
        alone = bridge.tabulate(bridge.fit(x, 0.01, [[0], [1], [0]], components=[alpha]))
        np.testing.assert_allclose(found[:, [alpha]], alone(states[:, [seen]].copy(), noise[:, [alpha]].copy()))


NODES = {
    "even": np.linspace(-1.0, 2.0, 31),
    "even, with gaps": np.linspace(-1.0, 2.0, 31)[[0, 1, 2, 7, 8, 12, 29, 30]],
    "uneven": np.sort(np.random.default_rng(7).uniform(-1.0, 2.0, 40)),
    "crowded": np.append(np.geomspace(1e-7, 1.0, 60), 1e3),
    "two": np.array([-1.0, 2.0]),
}


@pytest.mark.parametrize("names", [*itertools.product(NODES), ("even", "even, with gaps"), ("two", "crowded", "even")])
def test_a_table_is_interpolated_between_its_nodes_wherever_they_are(names):
    rng = np.random.default_rng(8)
    own = [NODES[name] for name in names]
    tables = [np.sort(rng.standard_normal((nodes.size, 129)), axis=1) for nodes in own]
    ends = np.cumsum([nodes.size for nodes in own])
    ends = np.stack([np.append(0, ends[:-1]), ends - 1], axis=1)
    look_up = bridge.ConditionalQuantiles(
        np.concatenate(tables), np.concatenate(own), ends, np.arange(len(own)), np.zeros(len(own))
    )
    x = np.stack([np.concatenate([nodes, rng.uniform(nodes[0] - 1.0, nodes[-1] + 1.0, 500)])[:500] for nodes in own], 1)
    noise = rng.uniform(-4.5, 4.5, x.shape)
    found = look_up(x, noise)
    for k, (nodes, table) in enumerate(zip(own, tables, strict=True)):
        along = [np.interp(noise[:, k], np.linspace(-4.0, 4.0, 129), row) for row in table]
        expected = [np.interp(at, nodes, row) for at, row in zip(x[:, k], np.transpose(along), strict=True)]
        np.testing.assert_allclose(found[:, k], expected, rtol=0, atol=1e-12)


def test_a_table_that_cannot_be_fine_enough_says_so():
    rng = np.random.default_rng(4)
    x = rng.standard_normal(3000)
    fitted = bridge.fit(np.stack([x, rng.standard_normal(3000)], axis=1), 1e-7, [[0], [0]], components=[1])
    with pytest.warns(bridge.AccuracyWarning, match=r"quantiles is wrong by \d\.\d+ standard deviations"):
        quantiles = bridge.tabulate(fitted)
    assert quantiles.error[0] > 0.1


@pytest.mark.parametrize("name", PREDICTORS)
def test_scores_are_the_inverse_of_the_call(name):
    """The noise that made a value, within the table; beyond, its ends; where nothing lies between, any noise there."""
    rng = np.random.default_rng(5)
    x = PREDICTORS[name](rng.standard_normal(1500))
    fitted = responding(x, 0.02, rng)
    quantiles = bridge.tabulate(fitted)
    some = np.repeat(np.append(x[:200], [x.min() - 1e9, x.max() + 1e9]), 40)[:, None]
    noise = rng.uniform(-4.5, 4.5, some.shape)
    values = quantiles(some, noise)
    found = quantiles.scores(some, values)
    assert (np.abs(found) <= 4.0).all()
    # Both ways: the value is met again, and the noise wherever the value tells it.
    std = fitted.dictionaries[0].values.std()
    np.testing.assert_allclose(quantiles(some, found), values, rtol=0, atol=1e-7 * std)
    slopes = [(quantiles(some, noise + step) - values) / (step * std) for step in (0.01, -0.01)]
    tells = (slopes[0] > 1e-2) & (slopes[1] > 1e-2)
    assert tells.mean() > 0.5
    np.testing.assert_allclose(found[tells], noise[tells], rtol=0, atol=1e-5)
    sides = np.sign(noise)
    assert (sides * quantiles.scores(some, 1e9 * sides) > 3.9).all()
    assert np.isnan(quantiles.scores(np.array([[np.nan], [0.0]]), np.array([[0.0], [np.nan]]))).all()


def test_scores_of_several_dictionaries_are_those_of_each():
    rng = np.random.default_rng(6)
    x = np.stack([rng.standard_normal(600), np.exp(rng.standard_normal(600)), rng.standard_normal(600)], axis=1)
    together = bridge.tabulate(bridge.fit(x, 0.01, [[0], [1], [0]]))
    states, noise = x[:100, [0, 1, 0]].copy(), rng.uniform(-3, 3, (100, 3))
    np.testing.assert_allclose(
        together(states, together.scores(states, together(states, noise))), together(states, noise)
    )
    for shapes in ((np.zeros((3, 2)), np.zeros((3, 2))), (np.zeros((3, 3)), np.zeros((2, 3)))):
        with pytest.raises(ValueError, match="shapes"):
            together.scores(*shapes)


def at_levels():
    """Tables of y = level + x e at two levels of each of two groups, and all of them together."""
    rng = np.random.default_rng(8)
    level = np.array([[-1.0, 0.5, 2.0], [10.0, 12.0, 14.0]])
    single = []
    for value in level.ravel():
        x = rng.uniform(1.0, 3.0, 800)
        nodes = np.linspace(1.0, 3.0 if value < 5.0 else 4.0, 33)
        samples = np.stack([x, value + x * rng.standard_normal(x.size)], axis=1)
        single.append(bridge.tabulate(bridge.fit(samples, 0.02, [[0], [0]], [1.0, 3.0], components=[1]), nodes))
    return single, bridge.ConditionalQuantiles.joined(single, np.array([0, 1, 0]), level), level


def test_between_two_levels_of_a_second_coordinate_quantiles_are_interpolated_and_beyond_they_are_held():
    single, both, level = at_levels()
    rng = np.random.default_rng(9)
    x, xi = rng.uniform(0.5, 3.5, (50, 3)), rng.standard_normal((50, 3))
    for b, between in ((0, 0.0), (0, 0.25), (1, 0.5), (1, 1.0)):
        y = (1.0 - between) * level[:, b] + between * level[:, b + 1]
        of = [[single[3 * g + n](x[:, [k]], xi[:, [k]])[:, 0] for k, g in enumerate((0, 1, 0))] for n in (b, b + 1)]
        expected = (1.0 - between) * np.stack(of[0], axis=1) + between * np.stack(of[1], axis=1)
        found = both(np.stack([x, np.broadcast_to(y[[0, 1, 0]], x.shape)], axis=1), xi)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    ends, beyond = (both(np.stack([x, np.full_like(x, y)], axis=1), xi)[:, [0, 2]] for y in (2.0, 7.0))
    np.testing.assert_array_equal(ends, beyond)
    assert np.isnan(both(np.stack([x, np.full_like(x, np.nan)], axis=1), xi)).all()


@pytest.mark.parametrize("far", [1e6, 1e12])
def test_levels_far_from_zero_are_told_as_well(far: float):
    _, both, level = at_levels()
    apart = dataclasses.replace(both, level=far + np.round(16.0 * level) / 16.0)
    rng = np.random.default_rng(11)
    x, xi, y = rng.uniform(1.0, 3.0, (50, 3)), rng.standard_normal((50, 3)), rng.integers(-32, 240, (50, 3)) / 16.0
    near, there = both(np.stack([x, y], axis=1), xi), apart(np.stack([x, far + y], axis=1), xi)
    np.testing.assert_allclose(there, near, rtol=0, atol=1e-13)
    thirds = dataclasses.replace(both, level=far + np.array([[0.0, 1.0 / 3.0, 2.0 / 3.0]] * 2))
    assert np.isfinite(thirds(np.stack([x, far + y], axis=1), xi)).all()


@pytest.mark.parametrize("level", [[0.0, 1.0, 3.0], [0.0, 0.0, 0.0], [2.0, 1.0, 0.0]])
def test_levels_off_a_lattice_are_refused(level: list[float]):
    _, both, _ = at_levels()
    with pytest.raises(ValueError, match="evenly spaced"):
        _ = dataclasses.replace(both, level=np.array([level, [0.0, 1.0, 2.0]])).look_up


def test_scores_given_two_coordinates_are_the_inverse_of_the_call():
    _, both, level = at_levels()
    rng = np.random.default_rng(10)
    x, xi = rng.uniform(1.0, 3.0, (200, 3)), 0.8 * rng.standard_normal((200, 3))
    y = rng.uniform(level[:, :1] - 1.0, level[:, -1:] + 1.0, (2, 200))[[0, 1, 0]].T
    given = np.stack([x, y], axis=1)
    np.testing.assert_allclose(both.scores(given, both(given, xi)), xi, rtol=0, atol=1e-6)


def test_another_number_of_coordinates_is_refused():
    single, both, _ = at_levels()
    one, two = np.zeros((5, 3)), np.zeros((5, 2, 3))
    with pytest.raises(ValueError, match=r"^shapes of x and noise .* x \(n, 2, 3\)$"):
        both(one, one)
    with pytest.raises(ValueError, match=r"^shapes of x and values"):
        single[0].scores(two[..., :1], one[:, :1])
