"""Everything in small, that nothing is broken: a year of truth, psi replayed, a fit, ten days of coarse runs."""

import innovations
import judge
import numpy as np
from make_data import with_psi
from model import simulate, tendency

import l96closure as lc

data = with_psi(simulate(1, 1, spinup=2)).isel(member=0)
print(f"exact psi replayed, correlation with the truth after 20 days: {judge.replay(data, days=20):.6f}")
closure = lc.closures.SpectralAutoregression.fit(data, judge.FIELDS)
print(closure)
assert np.isfinite(innovations.innovations(closure, data.isel(time=slice(60)))).all()
run = lc.integrate(tendency, closure, data["q"].values[[100, 200]].reshape(2, -1), steps=20, scheme="euler")
assert np.isfinite(run.to_array()).all()
