"""The closures that are fitted without a bridge: each against an oracle of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from command_line import TINY, Call
from scipy.signal import lfilter

import l96closure as lc
from l96closure.closures import Analog, NoClosure, Noise, Polynomial, PolynomialAR1, Trend, load
from l96closure.closures.patterns import Pattern
from l96closure.store import seal

F64 = npt.NDArray[np.float64]
K, F = 5, 10.0
MODEL = lc.TwoScaleLorenz96(K, 3, F)
INTERVAL = 5e-3
BASELINES = [Polynomial, PolynomialAR1, Analog]
REMEMBERING = [PolynomialAR1, Analog]


def simulated(**settings: Any) -> xr.Dataset:
    return MODEL.simulate(**{"samples": 2000, "dt": 1e-3, "every": 5, "spinup": 3.0, **settings})


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return simulated(subgrid="coupling")


def near(radius: int) -> lc.Fields:
    return lc.Fields(radius=radius, lags=())


def mean_of(closure: Any, z: F64) -> F64:
    """Evaluate the trend of a closure of one predictor that sees the present alone."""
    return closure.trend(z[:, None], z[:, None, :0].reshape(len(z), 0, 1, z.shape[1]))[0]  # type: ignore[no-any-return]


def variance_of(closure: Any, z: F64) -> F64:
    return np.exp(closure.law.of(z))  # type: ignore[no-any-return]


def phi_of(closure: Any) -> float:
    (phi,) = closure.law.pattern.reflection[:, 0]
    assert phi.imag == 0.0
    return float(phi.real)


def made_of(z: F64, psi: F64) -> xr.Dataset:
    return xr.Dataset(
        {"z": (("time", "k"), z), "psi": (("time", "k"), psi)}, coords={"time": INTERVAL * np.arange(len(z))}
    )


class TestPolynomial:
    def test_is_the_fit_of_numpy(self, truth: xr.Dataset) -> None:
        z, psi = truth["z"].values, truth["psi"].values
        expected = np.polyfit(z.ravel(), psi.ravel(), 4)
        closure = Polynomial.fit(truth)
        found, _ = closure.step(z, closure.init(z, 0))
        expected = np.clip(np.polyval(expected, z), psi.min(), psi.max())
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)

    def test_is_constant_beyond_the_training_range(self, truth: xr.Dataset) -> None:
        closure, (low, high) = Polynomial.fit(truth), (truth["z"].values.min(), truth["z"].values.max())
        z = np.array([[low - 9.0, low, high, high + 9.0, 0.0]])
        ((below, lowest, highest, above, _),), state = closure.step(z, closure.init(z, 0))
        np.testing.assert_allclose(
            (below, above), (lowest, highest), rtol=1e-13
        )  # an end is scaled to 1 but for rounding
        assert state.outside.tolist() == [2]

    def test_learns_data_with_next_to_no_noise(self) -> None:
        rng = np.random.default_rng(0)
        z = rng.normal(3.0, 5.0, (50, K))
        exact = 1.0 - 2.0 * z
        closure = Polynomial.fit(made_of(z, exact + 1e-9 * rng.standard_normal(z.shape)), trend=Trend(1, 1, ridge=0.0))
        np.testing.assert_allclose(mean_of(closure, z), exact, rtol=0, atol=2e-9)


class TestPolynomialAR1:
    PHI, TREND, LOG_VARIANCE = 0.9, np.array([0.5, -0.8, 0.02]), np.array([0.4, -0.1, 0.03])
    TIMES, SITES = 20_000, 6

    @pytest.fixture
    def known(self) -> xr.Dataset:
        """AR(1) noise about a parabola, with a variance that depends on z; z is white in time and space."""
        rng = np.random.default_rng(0)
        z = rng.uniform(-6.0, 8.0, (self.TIMES, self.SITES))
        innovations = np.sqrt(1.0 - self.PHI**2) * rng.standard_normal(z.shape)
        innovations[0] /= np.sqrt(1.0 - self.PHI**2)
        noise = lfilter([1.0], [1.0, -self.PHI], innovations, axis=0)
        trend, log_variance = (np.polynomial.polynomial.polyval(z, c) for c in (self.TREND, self.LOG_VARIANCE))
        return made_of(z, trend + np.exp(0.5 * log_variance) * noise)

    @pytest.mark.parametrize("order", [1, 3])
    def test_finds_a_known_process(self, known: xr.Dataset, order: int) -> None:
        closure = PolynomialAR1.fit(known, trend=Trend(2, 1, ridge=0.0), residual_degree=2, noise=Noise(order, None))
        size = self.TIMES * self.SITES
        found = closure.law.pattern.reflection[0].real
        assert abs(found[0] - self.PHI) < 4 * np.sqrt((1.0 - self.PHI**2) / size)  # Bartlett's formula
        assert (np.abs(found[1:]) < 4 / np.sqrt(size)).all()  # partial autocorrelations beyond the order are none
        # Squares of normals about their mean have variance 2, and the correlation phi^2l at lag l.
        longer = (1.0 + self.PHI**2) / (1.0 - self.PHI**2)
        design = np.vander(known["z"].values.ravel(), 3, increasing=True)
        covariance = 2.0 * longer * np.linalg.inv(design.T @ design)
        for z in np.linspace(-5.5, 7.5, 9):
            powers = z ** np.arange(3)
            difference = closure.law.of(np.array(z)) - powers @ self.LOG_VARIANCE
            assert abs(difference) < 4 * np.sqrt(powers @ covariance @ powers)

    def test_the_constant_variance_is_that_of_the_residual(self, truth: xr.Dataset) -> None:
        """It is held out, a block of time at a time, and so a little larger than that of the trend's own data."""
        closure, z = PolynomialAR1.fit(truth), truth["z"].values
        residual = truth["psi"].values - mean_of(closure, z)
        assert 1.0 < variance_of(closure, np.array(0.0)) / (residual**2).mean() < 1.05
        assert np.array_equal(closure.trend.chebyshev, Polynomial.fit(truth).trend.chebyshev)

    @pytest.mark.parametrize("degree", [0, 1, 4])
    def test_squares_have_the_fitted_mean(self, known: xr.Dataset, degree: int) -> None:
        """Of so many data those that the trend has not seen are like the others."""
        closure, z = PolynomialAR1.fit(known, trend=Trend(2, 1, ridge=0.0), residual_degree=degree), known["z"].values
        excess = (known["psi"].values - mean_of(closure, z)) ** 2 / variance_of(closure, z) - 1.0
        for power in range(degree + 1):
            column = ((z - z.mean()) / z.std()) ** power
            assert abs((excess * column).sum() / np.linalg.norm(excess) / np.linalg.norm(column)) < 1e-3

    @pytest.mark.parametrize("steps", [1, 2, 7])
    def test_phi_belongs_to_the_coarse_step(self, known: xr.Dataset, steps: int) -> None:
        closure = PolynomialAR1.fit(known, trend=Trend(2, 1, ridge=0.0), residual_degree=2, dt=steps * INTERVAL)
        expected, size = self.PHI**steps, self.TIMES // steps * self.SITES
        assert abs(phi_of(closure) - expected) < 4 * np.sqrt((1.0 - expected**2) / size)
        assert closure.coarse_dt == steps * INTERVAL

    def test_what_is_drawn_has_the_fitted_moments_from_the_first_step_on(self, truth: xr.Dataset) -> None:
        closure = PolynomialAR1.fit(truth, residual_degree=2)
        members, steps = 2000, 12
        z = np.tile(truth["z"].values[7], (members, 1))
        state = closure.init(z, 1)
        drawn = np.empty((steps, members, K))
        for step in range(steps):
            _, state = closure.step(z, state)
            drawn[step] = closure.law.made_of(z, state.memory[:, 0]) / np.sqrt(variance_of(closure, z))
        for step in range(steps):
            correlation = phi_of(closure) ** step
            error = np.sqrt((1.0 + correlation**2) / (members * K))  # of the mean product of two standard normals
            assert abs((drawn[0] * drawn[step]).mean() - correlation) < 4 * error
            assert abs((drawn[step] ** 2).mean() - 1.0) < 4 * np.sqrt(2.0 / (members * K))
        across = np.corrcoef(drawn[0].T)[np.triu_indices(K, 1)]
        assert (np.abs(across) < 4 / np.sqrt(members)).all()  # every site has noise of its own

    def test_psi_is_trend_and_noise_within_the_range_of_the_training_data(self, truth: xr.Dataset) -> None:
        closure, z, psi = PolynomialAR1.fit(truth), truth["z"].values[::40], truth["psi"].values
        drawn, state = closure.step(z, closure.init(z, 1))
        whole = mean_of(closure, z) + np.sqrt(variance_of(closure, z)) * state.memory[:, 0]
        np.testing.assert_allclose(drawn, whole.clip(psi.min(), psi.max()), rtol=0, atol=1e-12)


class TestAnalog:
    @staticmethod
    def oracle(truth: xr.Dataset, radius: int, lag: int) -> tuple[F64, F64]:
        """Coordinates of every sample in units of their standard deviation (time, K, C), and psi (time, K)."""
        z, psi = truth["z"].values, truth["psi"].values
        seen = [np.roll(z, -offset, axis=1)[lag:] / z.std() for offset in range(-radius, radius + 1)]
        if lag:
            change = z[lag:] - z[:-lag]
            seen += [change / change.std(), psi[:-lag] / psi.std()]
        return np.stack(seen, axis=2), psi[lag:]

    @pytest.mark.parametrize(("radius", "lag"), [(0, 0), (2, 0), (0, 1), (1, 1)])
    def test_draws_evenly_from_the_nearest_by_brute_force(self, truth: xr.Dataset, radius: int, lag: int) -> None:
        neighbours, members, time = 4, 4000, 700
        settings = {} if lag else {"memory": False}
        closure = Analog.fit(truth, near(radius), neighbours=neighbours, **settings)
        z, psi = truth["z"].values, truth["psi"].values
        here = z[time] + 0.05
        memory = np.stack([psi[time - lag] + 0.1, z[time - lag]], axis=1) if lag else np.empty(0)
        one_each = (1,) * memory.ndim
        z_now = np.tile(here, (members, 1))
        drawn, _ = closure.step(z_now, closure.init(z_now, 0)._replace(memory=np.tile(memory, (members, *one_each))))
        samples, values = self.oracle(truth, radius, lag)
        query = [np.roll(here, -offset) / z.std() for offset in range(-radius, radius + 1)]
        if lag:
            change = (z[lag:] - z[:-lag]).std()
            query += [(here - z[time - lag]) / change, (psi[time - lag] + 0.1) / psi.std()]
        for site, point in enumerate(np.stack(query, axis=1)):
            distance = ((samples - point) ** 2).sum(axis=2).ravel()
            nearest = values.ravel()[np.argsort(distance)[:neighbours]]
            found, counts = np.unique(drawn[:, site], return_counts=True)
            assert np.array_equal(found, np.sort(nearest))
            error = np.sqrt(members * (1.0 - 1.0 / neighbours) / neighbours)
            assert (np.abs(counts - members / neighbours) < 4.5 * error).all()

    def test_starts_from_what_came_before_the_nearest(self, truth: xr.Dataset) -> None:
        z, psi = truth["z"].values, truth["psi"].values
        state = Analog.fit(truth, neighbours=1).init(z[1:9], 0)
        np.testing.assert_allclose(state.memory, np.stack([psi[:8], z[:8]], axis=2), rtol=1e-12, atol=1e-12)

    def test_at_a_step_of_several_intervals_it_knows_those_records_alone(self, truth: xr.Dataset) -> None:
        some, step = Analog.fit(truth.isel(time=slice(None, None, 3))), Analog.fit(truth, dt=3 * INTERVAL)
        assert step.to_dataset().equals(some.to_dataset())
        assert step.coarse_dt == pytest.approx(3 * INTERVAL, rel=1e-9)

    @pytest.mark.parametrize("subgrid", ["coarse", "step"])
    def test_of_one_neighbour_follows_the_truth_it_starts_on(self, subgrid: str) -> None:
        # Every state it comes to is a training sample but for round-off, so the coarse model replays the record.
        truth = simulated(subgrid=subgrid, coarse_dt=INTERVAL)
        closure, z = Analog.fit(truth, neighbours=1), truth["z"].values
        run = lc.integrate(MODEL, closure, z[1:2], steps=100)
        np.testing.assert_allclose(run["z"].values[0], z[1:101], rtol=0, atol=1e-9)

    def test_commutes_with_shifts_of_the_sites(self, truth: xr.Dataset) -> None:
        closure, z = Analog.fit(truth, near(1), neighbours=1), truth["z"].values[5:9] + 0.3
        state = closure.init(z, 0)
        psi, following = closure.step(z, state)
        psi_shifted, shifted = closure.step(
            np.roll(z, 2, axis=1), state._replace(memory=np.roll(state.memory, 2, axis=1))
        )
        assert np.array_equal(psi_shifted, np.roll(psi, 2, axis=1))
        assert np.array_equal(shifted.memory, np.roll(following.memory, 2, axis=1))

    def test_draws_from_the_samples_of_alike_sites_alone(self) -> None:
        """psi tells the site that a sample is of: on a line those near an edge are alike no other."""
        rng, sites, members = np.random.default_rng(0), 8, 200
        z = rng.standard_normal((300, sites))
        truth = made_of(z, sites * rng.integers(-9, 9, z.shape) + np.arange(float(sites)))
        for pool, allowed in (("k", [{0}, {1}, *[{2, 3, 4, 5}] * 4, {6}, {7}]), ((), [{k} for k in range(8)])):
            fields = lc.Fields(radius=2, lags=(), periodic=False, pool=pool)
            closure = Analog.fit(truth, fields, neighbours=30)
            psi, _ = closure.step(z[:members], closure.init(z[:members], 0))
            assert [set(one.astype(int) % sites) for one in psi.T] == allowed
            again = Analog.from_dataset(closure.to_dataset())
            assert np.array_equal(again.step(z[:members], again.init(z[:members], 0))[0], psi)
        with pytest.raises(ValueError, match=r"^neighbours = 300 .* at most the 299 samples of a site"):
            Analog.fit(truth, fields, neighbours=300)

    def test_conserves_what_the_data_conserve(self, truth: xr.Dataset) -> None:
        psi, z = truth["psi"] - truth["psi"].mean("k"), truth["z"].values[:50]
        for conserve, largest in ((None, 1e-12), (True, 1e-12), (False, np.inf)):
            closure = Analog.fit(truth.assign(psi=psi), lc.Fields(radius=0, lags=(), conserve=conserve))
            state, sums = closure.init(z, 0), []
            for _ in range(3):
                drawn, state = closure.step(z, state)
                sums.append(np.abs(drawn.sum(axis=1)).max())
                assert np.array_equal(state.memory[:, :, 0], drawn)
            assert max(sums) < largest
            assert (max(sums) > 0.1) == (conserve is False)


@pytest.mark.parametrize("of", REMEMBERING)
class TestCoarseStep:
    def test_another_one_is_refused(self, truth: xr.Dataset, of: Any) -> None:
        closure, z0 = of.fit(truth, dt=2 * INTERVAL), truth["z"].values[:2]
        run = partial(lc.integrate, MODEL, z0=z0, steps=3)
        run(closure=closure, dt=2 * INTERVAL)
        run(closure=NoClosure(), dt=INTERVAL)
        with pytest.raises(ValueError, match=r"^dt = 0\.005 .* 0\.01, the coarse step the closure was fitted for"):
            run(closure=closure, dt=INTERVAL)

    @pytest.mark.parametrize(
        ("damage", "step", "message"),
        [
            (lambda t: t.drop_vars("time"), INTERVAL, r"^truth\.sizes\['time'\] = 2000 .* a time coordinate"),
            (lambda t: t.isel(time=[0, 1, 5]), None, r"^truth\['time'\]\[2\] = .* uniform step"),
            (lambda t: t, 0.0, r"^dt = 0\.0 .* > 0"),
            (lambda t: t, "fast", r"^dt = 'fast' .* number"),
            (lambda t: t, INTERVAL / 2, r"^dt = 0\.0025 .* a whole multiple of 0\.005, the interval of truth"),
            (lambda t: t, 1.5 * INTERVAL, r"^dt = 0\.0075 .* a whole multiple"),
            (lambda t: t, 11.0, r"^(dt|noise\.order|truth\.z|truth\.sizes\['time'\]) = "),
        ],
    )
    def test_that_cannot_be_right(
        self, truth: xr.Dataset, of: Any, damage: Callable[[xr.Dataset], xr.Dataset], step: Any, message: str
    ) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            of.fit(damage(truth), dt=step)
        assert "\n" not in str(caught.value)


def test_a_negative_autocorrelation(truth: xr.Dataset) -> None:
    noise = np.random.default_rng(0).standard_normal((400, K))
    truth = made_of(np.random.default_rng(1).normal(size=noise.shape), lfilter([1.0], [1.0, 0.8], noise, axis=0))
    assert phi_of(PolynomialAR1.fit(truth)) < -0.7


@pytest.mark.parametrize(
    ("of", "settings", "message"),
    [
        (Polynomial, {"trend": 4}, r"^trend = 4 .* made by Trend"),
        (Polynomial, {"trend": None}, r"^trend = None .* made by Trend"),
        (Polynomial, {"fields": "z"}, r"^fields = 'z' .* made by Fields"),
        (PolynomialAR1, {"noise": 1}, r"^noise = 1 .* made by Noise"),
        (PolynomialAR1, {"residual_degree": -1}, r"^residual_degree = -1 .* >= 0"),
        (PolynomialAR1, {"noise": Noise(120), "dt": 3 * INTERVAL}, r"^noise\.order = 120 .* a tenth of the times"),
        (PolynomialAR1, {"fields": lc.Fields(radius=0, lags=(0.7 * INTERVAL,))}, r"^lags = 0\.003\d* .* a multiple of"),
        (PolynomialAR1, {"fields": lc.Fields(radius=3, lags=())}, r"^radius = 3 .* at most 2 on a ring of 5"),
        (Analog, {"fields": near(3)}, r"^radius = 3 .* at most 2 on a ring of 5"),
        (Analog, {"fields": lc.Fields(radius=0, lags=(INTERVAL,))}, r"^lags = \(0\.005,\) .* \(\)"),
        (Analog, {"neighbours": 0}, r"^neighbours = 0 .* >= 1"),
        (Analog, {"neighbours": 9996}, r"^neighbours = 9996 .* at most the 9995 samples"),
        (Analog, {"memory": 1}, r"^memory = 1 .* true or false"),
    ],
)
def test_bad_settings(truth: xr.Dataset, of: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        of.fit(truth, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (lambda: Trend(-1), r"^trend\.degree = -1 .* >= 0"),
        (lambda: Trend(2.0), r"^trend\.degree = 2\.0 .* integer"),  # type: ignore[arg-type]
        (lambda: Trend(order=0), r"^trend\.order = 0 .* >= 1"),
        (lambda: Trend(order=4), r"^trend\.order = 4 .* below 4"),
        (lambda: Trend(ridge=-1.0), r"^trend\.ridge = -1\.0"),
        (lambda: Noise(-1), r"^noise\.order = -1 .* >= 0"),
        (lambda: Noise(covariance="1"), r"^noise\.covariance = '1' .* 'auto', None, or a matrix"),
        (lambda: lc.Fields(radius=-1), r"^radius = -1 .* >= 0"),
        (lambda: lc.Fields(lags=0.1), r"^lags = 0\.1 .* in a sequence"),  # type: ignore[arg-type]
        (lambda: lc.Fields(pool=None), r"^pool = None .* 'auto', or some of the dimensions k, or \(\)"),  # type: ignore[arg-type]
        (lambda: lc.Fields(lags=(0.0,)), r"^lags = 0\.0 .* > 0"),
        (lambda: lc.Fields(lags=(0.1, 0.1)), r"^lags = \(0\.1, 0\.1\) .* different"),
        (lambda: lc.Fields(pool="none"), r"^pool = 'none' .* 'auto', or some of the dimensions k, or \(\)"),
        (lambda: lc.Fields(conserve=1), r"^conserve = 1 .* true or false"),  # type: ignore[arg-type]
    ],
)
def test_bad_options(options: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        options()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("of", BASELINES)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.assign(z=t["z"].where(t["k"] != 3)), r"^truth\.z\[0, 3\] = nan .* finite"),
        (lambda t: t.assign(psi=xr.zeros_like(t["psi"])), r"^truth\.psi = 0\.0 .* two distinct"),
        (lambda t: t.drop_vars("psi"), r"^truth = \['z'\] .* variable psi"),
        (lambda t: t.rename(k="x"), r"^truth\.z\.dims = \('time', 'x'\) .* \('time', 'k'\)"),
    ],
)
def test_bad_training_data(
    truth: xr.Dataset, of: Any, damage: Callable[[xr.Dataset], xr.Dataset], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        of.fit(damage(truth))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("of", BASELINES)
def test_dims_of_any_order(truth: xr.Dataset, of: Any) -> None:
    turned = truth.assign(z=truth["z"].transpose())
    assert of.fit(turned).to_dataset().identical(of.fit(truth).to_dataset())


def test_noise_and_analogs_need_something_that_varies(truth: xr.Dataset) -> None:
    for of in (Polynomial, PolynomialAR1):
        with pytest.raises(ValueError, match=r"^std of psi about its trend = .* > 0"):
            of.fit(truth.assign(psi=1.0 - 2.0 * truth["z"]))
    with pytest.raises(ValueError, match=r"^change of truth\.z = 0\.0 .* two distinct"):
        Analog.fit(truth.assign(z=xr.zeros_like(truth["z"]) + truth["z"][0].drop_vars("time")))


@pytest.mark.parametrize("shape", [(2, K + 1), (K,), (1, 2, K)])
def test_z_of_another_size(truth: xr.Dataset, shape: tuple[int, ...]) -> None:
    closure, z = Analog.fit(truth), np.ones(shape)
    for call in (lambda: closure.init(z, 0), lambda: closure.step(z, closure.init(np.ones((2, K)), 0))):
        with pytest.raises(ValueError, match=r"^z\.shape = \(.*\) .* \(member, 5\)"):
            call()


PARTS = [
    *((Polynomial, part) for part in ("chebyshev", "linear", "predictor_range", "neighbour", "feature_lag", "law")),
    *((PolynomialAR1, part) for part in ("chebyshev", "log_variance", "reflection", "noise_power", "coordinate")),
    *(
        (Analog, part)
        for part in (
            "coordinates",
            "coordinate_scale",
            "psi",
            "neighbour",
            "pool_of_site",
            "neighbours",
            "memory",
            "dt",
        )
    ),
]


@pytest.mark.parametrize(("of", "part"), PARTS, ids=[f"{of.name} {part}" for of, part in PARTS])
def test_a_file_without_one_of_its_parts(truth: xr.Dataset, tmp_path: Path, of: Any, part: str) -> None:
    of.fit(truth.isel(time=slice(100))).save(tmp_path / "closure.nc")
    with netCDF4.Dataset(tmp_path / "closure.nc", "a") as file:
        if part in file.variables:
            file.renameVariable(part, "something_else")
        else:
            file.delncattr(part)
    seal(tmp_path / "closure.nc")
    with pytest.raises(ValueError, match=rf"closure\.nc is not a complete closure: .*{part}"):
        load(tmp_path / "closure.nc")


@pytest.mark.parametrize("phi", [1.0, -1.0, 1.5, np.nan])
def test_a_process_that_is_not_stationary(phi: float) -> None:
    with pytest.raises(ValueError, match=r"^reflection = \S+ .* less than 1"):
        Pattern(np.full((1, 1), phi, np.complex128), np.ones(1), K)


@pytest.mark.parametrize("of", BASELINES)
@pytest.mark.slow
def test_on_the_command_line(call: Call, of: Any) -> None:
    run = [*TINY, "training.every=10", f"closure={of.name}", "run_dir=mine"]
    stages = [] if of is PolynomialAR1 else ["stages=[simulate,fit,integrate]"]
    outcome = call(*run, *stages)
    assert outcome.status == 0, outcome.err
    closure = load(outcome.folder / "closure.nc")
    assert type(closure) is of
    assert getattr(closure, "coarse_dt", None) == (5e-3 if of in REMEMBERING else None)
    with xr.open_dataset(outcome.folder / "coarse.nc", decode_times=False) as coarse:
        assert (coarse["psi"] != 0).all()
    outcome = call(*run, "stages=[integrate]", "coarse.dt=0.01", "force=true")
    assert outcome.status == 2
    assert "coarse_dt = 0.005, not 0.01" in outcome.err
