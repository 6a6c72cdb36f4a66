"""What a user might write, with types: held to mypy --strict by ``make lint``, and run by test_front_door.py."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes

import l96closure as lc

F64 = npt.NDArray[np.float64]


class State(NamedTuple):
    """The state of a closure of one's own: what its noise is a function of."""

    key: int
    member: npt.NDArray[np.int64]
    now: int


class Line:
    """A closure of one's own, psi = a z + s xi: no base class, ``init`` and ``step`` alone."""

    def __init__(self, a: float, s: float) -> None:
        self.a, self.s = a, s

    @classmethod
    def fit(cls, truth: xr.Dataset) -> "Line":
        z, psi = truth["z"].to_numpy().ravel(), truth["psi"].to_numpy().ravel()
        a = float(z @ psi / (z @ z))
        return cls(a, float((psi - a * z).std()))

    def init(self, z: F64, rng: np.random.Generator | int, member: npt.ArrayLike = 0) -> State:
        return State(lc.noise.key_of(rng), np.arange(len(z)) + np.asarray(member), 0)

    def step(self, z: F64, state: State) -> tuple[F64, State]:
        xi = lc.noise.normals(state.key, state.member[:, None], state.now, site=np.arange(z.shape[1]))
        return self.a * z + self.s * xi, state._replace(now=state.now + 1)


class Relaxing:
    """A system of one's own: whatever has ``resolved_tendency``."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def resolved_tendency(self, z: F64) -> F64:
        return -self.rate * z


def forced(z: F64) -> F64:
    """Return a tendency of one's own: a function of z alone."""
    return np.full_like(z, 2.0) - z


def ours() -> tuple[xr.Dataset, xr.Dataset]:
    """Go all the way with what the package has: simulate, fit, keep, run, judge, draw."""
    model = lc.TwoScaleLorenz96(K=6, J=4)
    truth, reference = (model.simulate(samples=1_000, rng=seed) for seed in (1, 2))
    fields = lc.Fields(predictors="z", targets="psi", dim="k", periodic=True, radius=0, lags=())
    closure = lc.closures.SchrodingerBridge.fit(
        truth, fields, law=lc.closures.Moments(), noise=lc.closures.Noise(order=1)
    )
    simple: lc.closures.Closure = lc.closures.PolynomialAR1.fit(truth)
    coarse = lc.integrate(model, closure, truth["z"].to_numpy()[:2], steps=200, rng=3)
    lc.integrate(model, simple, truth["z"].to_numpy()[:2], steps=10)
    scores = lc.diagnose(reference, coarse, bins=20, max_lag=0.5)
    forecasts = lc.forecast(model, closure, reference, starts=3, members=3, leads=[0.0, 0.05, 0.1])
    skill = lc.verify(forecasts, reference)
    state = closure.init(truth["z"].to_numpy()[:2], rng=0)
    psi, state = closure.step(truth["z"].to_numpy()[:2], state)
    drawn: xr.DataArray = closure.fields.output(psi)["psi"]
    print(drawn.dims, float(scores["hellinger_z"]), float(skill["crps"][-1]))
    kept = closure.to_dataset()
    panels: list[Axes] = [lc.plot.covariance(scores), *lc.plot.histograms(scores).ravel()]
    panels[0].set_title("mine")
    return kept, lc.history(model, reference.isel(time=slice(50)))


def own() -> xr.Dataset:
    """Run a system, a tendency and a closure of one's own."""
    truth = lc.TwoScaleLorenz96(K=6, J=4).simulate(samples=500, rng=1)
    closure, start = Line.fit(truth), truth["z"].to_numpy()[:2]
    lc.integrate(forced, closure, start, steps=20, dt=0.01)
    return lc.integrate(Relaxing(2.0), closure, start, steps=20, dt=0.01, save_every=2)


if __name__ == "__main__":
    ours()
    own()
