"""The tables of a closure: a slow step made of them alone is the closure's step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import step_oracle
import xarray as xr

import l96closure as lc
from l96closure.closures import CLOSURES

K, MEMBERS, STEPS = 6, 5, 8
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "polynomial": ("polynomial", {}),
    "AR(1)": ("polynomial_ar1", {}),
    "AR(1) with a variance that depends on z": ("polynomial_ar1", {"residual_degree": 3}),
    "quantile": ("schrodinger_bridge", {}),
    "quantile without trend": ("schrodinger_bridge", {"trend_degree": None, "memory": 2}),
    "quantile, fresh noise": ("schrodinger_bridge", {"memory": None}),
    "quantile, per site": ("schrodinger_bridge", {"pooled": False, "centres": 300}),
    "quantile, conserving": ("schrodinger_bridge", {"conserve": True}),
}


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return lc.TwoScaleLorenz96(K, 3, 10.0).simulate(samples=3000, dt=1e-3, every=5, spinup=3.0, subgrid="coupling")


@pytest.mark.parametrize("case", CASES)
def test_a_slow_step_made_of_them_alone_is_the_step(truth: xr.Dataset, case: str) -> None:
    name, settings = CASES[case]
    closure: Any = CLOSURES[name].fit(truth, **settings)
    tables, z = closure.tables(), 1.3 * truth["z"].values[:: 3000 // MEMBERS]  # beyond the training range, too
    assert all(isinstance(table, np.ndarray) and table.dtype.kind in "fib" for table in tables.values())
    state = closure.init(z, 7, member=2**32 - MEMBERS)
    source, memory = step_oracle.Noise(int(state.key), 2**32 - MEMBERS + np.arange(MEMBERS), 0), state.memory
    if state.memory.size:
        memory = step_oracle.at_the_start(tables, source, K)
        np.testing.assert_allclose(state.memory, memory, rtol=0, atol=1e-13)
    tolerance = 1e-13 * float(truth["psi"].std())
    for step in range(1, STEPS):
        psi, state = closure.step(z, state)
        found, memory = step_oracle.step(tables, z[:, None], memory, source._replace(step=step))
        np.testing.assert_allclose(psi, found, rtol=0, atol=tolerance)
        np.testing.assert_allclose(state.memory, memory, rtol=0, atol=1e-13)
        z = z + 0.1


def test_what_sums_over_samples_has_none(truth: xr.Dataset) -> None:
    closure = CLOSURES["schrodinger_bridge"].fit(truth, scheme="moments")
    with pytest.raises(ValueError, match=r"^scheme = 'moments' .* quantile, for tables of a step$"):
        closure.tables()
