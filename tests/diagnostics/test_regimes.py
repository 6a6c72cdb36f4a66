"""The regimes of Crommelin and co-workers, in their variables and in ours."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from scipy.integrate import solve_ivp
from scipy.signal import find_peaks

import l96closure as lc
from l96closure.cli import config_folder

pytestmark = pytest.mark.slow  # integrations by DOP853

F64 = npt.NDArray[np.float64]


class Published(NamedTuple):
    """Parameters as published: dX/dt = ... + (h_x / J) sum Y, dY/dt = (...) / epsilon."""

    K: int
    J: int
    F: float
    h_x: float
    h_y: float = 1.0
    epsilon: float = 0.5

    def __call__(self, _: float, state: F64) -> F64:
        """The tendency of X (K,) and Y (K J,), one after the other."""
        X, Y = state[: self.K], state[self.K :]
        mean = Y.reshape(self.K, self.J).mean(axis=1)
        dX = -np.roll(X, 1) * (np.roll(X, 2) - np.roll(X, -1)) - X + self.F + self.h_x * mean
        fast = -np.roll(Y, -1) * (np.roll(Y, -2) - np.roll(Y, 1)) - Y + self.h_y * np.repeat(X, self.J)
        return np.concatenate([dX, fast / self.epsilon])


PUBLISHED = {"crommelin": Published(18, 20, 10.0, -1.0), "crommelin_trimodal": Published(32, 16, 18.0, -3.2)}


def parameters(name: str) -> dict[str, Any]:
    """Parameters of a file of ``conf/model`` and of those it is based on."""
    path = config_folder() / "model" / f"{name}.yaml"
    if not path.is_file():
        return {}
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    bases = [base for base in given.pop("defaults") if isinstance(base, str) and base != "_self_"]
    return {**{key: value for base in bases for key, value in parameters(base).items()}, **given}


@pytest.mark.parametrize("name", PUBLISHED)
def test_both_forms_of_the_equations_have_the_same_solution(name: str) -> None:
    """X = z and Y = b y, over a time in which a difference grows a few times only."""
    published, model = PUBLISHED[name], lc.TwoScaleLorenz96(**parameters(name))
    rng = np.random.default_rng(1)
    z, y = model.F / 4 + rng.standard_normal(model.K), 0.1 * rng.standard_normal((model.K, model.J))
    z, y = model.step(z, y, 5e-4, 10_000)  # both on the attractor
    start = np.concatenate([z, model.b * y.ravel()])
    end = solve_ivp(published, (0.0, 0.5), start, method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    found, fast = model.step(z, y, 2.5e-4, 2000)
    np.testing.assert_allclose(found, end[: model.K], atol=1e-6)
    np.testing.assert_allclose(model.b * fast.ravel(), end[model.K :], atol=1e-5)
    assert np.abs(found - z).max() > 1.0
    psi = -model.coupling * fast.sum(axis=1)
    mean = end[model.K :].reshape(model.K, model.J).mean(axis=1)
    np.testing.assert_allclose(psi, published.h_x * mean, atol=1e-5)


@pytest.mark.parametrize(("name", "peaks"), [("crommelin", 1), ("crommelin_trimodal", 3)])
def test_z_has_the_peaks_that_give_the_regime_its_name(name: str, peaks: int) -> None:
    """In the calmest of twelve runs: the three are sharp in the calm one of two long-lived states."""
    model = lc.TwoScaleLorenz96(**parameters(name))
    runs = model.simulate(samples=1000, dt=1e-3, every=100, rng=2, members=12)["z"]
    calmest = runs.isel(member=int(runs.std(("time", "k")).argmin("member")))
    density, _ = np.histogram(calmest, bins=30, range=(-10.0, 15.0))
    found, _ = find_peaks(density, prominence=0.1 * density.max())
    assert len(found) == peaks
