# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 7. Data that are not Lorenz-96
#
# A closure is fitted to any gridded Dataset: here to heating in a channel, with names, units and a grid of our own,
# made by NumPy so that we know what is in it. The heating depends on temperature and moisture of the site and on the
# temperature of its neighbour to the north; what these leave is skewed, as of rare strong events, and remembers.

# %%
# %matplotlib inline
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import l96closure as lc
from l96closure.diagnostics import reliability

# %% [markdown]
# ## The data

# %%
rng = np.random.default_rng(0)
n, sites = 12_000, 12


def red(memory):
    """Return unit Gaussian noise (time, site) that decays by ``memory`` from one time to the next."""
    noise = rng.standard_normal((n, sites))
    for i in range(1, n):
        noise[i] = memory * noise[i - 1] + np.sqrt(1 - memory**2) * noise[i]
    return noise


warm, moist, event = red(0.95), red(0.9), red(0.8)
north = np.pad(warm[:, 1:], ((0, 0), (0, 1)))  # a wall beyond the last site
heating = np.tanh(warm) + 0.5 * warm * moist - 0.4 * north + 0.3 * (np.exp(0.7 * event) - np.exp(0.245))
data = xr.Dataset(
    {
        "temperature": (("time", "lat"), 285.0 + 3.0 * warm, {"units": "K"}),
        "moisture": (("time", "lat"), 8.0 + 2.0 * moist, {"units": "g kg-1"}),
        "heating": (("time", "lat"), heating, {"units": "K h-1"}),
    },
    coords={
        "time": ("time", np.arange(n) / 6.0, {"units": "h"}),
        "lat": ("lat", 10.0 + 5.0 * np.arange(sites), {"units": "degrees_north"}),
    },
)
early, late = data.isel(time=slice(5_000)), data.isel(time=slice(5_000, None))
data

# %% [markdown]
# ## Fit
#
# `Fields` says what is what. A channel has edges, so that sites at the edge see fewer neighbours and learn for
# themselves; all others learn together. A site sees one neighbour on either side. Whether it sees the past, too, is
# left open, and chosen on held-out blocks of time: `left` is the standard deviation of what the trend leaves.

# %%
fields = lc.Fields(predictors=("temperature", "moisture"), targets="heating", dim="lat", periodic=False, radius=1)
closure = lc.closures.SchrodingerBridge.fit(early, fields)
print(closure)
closure.selection.to_dataframe()[["lags", "left", "chosen"]]

# %% [markdown]
# ## Does the law hold?
#
# On times that the closure has not seen we ask for the probability that its law gives to less heating than there was.
# Where the law is right, these are uniform. Beside it stands a closure with the same features and a trend of the same
# kind, but with Gaussian noise.

# %%
baseline = lc.closures.PolynomialAR1.fit(early, closure.fields, trend=lc.closures.Trend())
laws = {"Schrödinger bridge": closure, "Gaussian noise": baseline}
figure, axes = plt.subplots(layout="constrained")
for name, law in laws.items():
    pit = reliability.pit(law.probability(late).rename(lat="k"), max_lag=5.0)
    axes.fill_between(pit["decile"], pit["pit_error_low"], pit["pit_error_high"], alpha=0.25)
    axes.plot(pit["decile"], pit["pit_error"], marker="o", label=name)
axes.axhline(0.0, color="black", linewidth=0.8)
axes.set(xlabel="probability $u$ that the law gives to less", ylabel="share of values below, less $u$")
legend = axes.legend()

# %% [markdown]
# The bands are 95 % intervals for held-out values of this number. The bridge is within one or two hundredths of every
# decile, as near as its training data let it come. The Gaussian law is off by a tenth: it expects low values that never
# come, and has too many below its middle, as it does not know that events are rare and strong.
#
# ## Draw
#
# Times become members: `inputs` takes the predictors from a Dataset and checks names, units and coordinates, `output`
# gives the heating back with all three. A state goes from step to step.

# %%
now = late.isel(time=[0, 1_000, 2_000]).rename(time="member").drop_vars("member")
z = closure.fields.inputs(now)
state = closure.init(z, rng=1)
psi, state = closure.step(z, state)
closure.fields.output(psi)

# %% [markdown]
# Data in other units are refused, as are other grids:

# %%
celsius = now.assign(temperature=(now["temperature"] - 273.15).assign_attrs(units="degC"))
try:
    closure.fields.inputs(celsius)
except ValueError as error:
    print(error)

# %% [markdown]
# ## Keep
#
# A closure goes into a netCDF file with all it needs, and comes back with the same bits at every step.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "heating.nc"
    closure.save(path)
    print(f"{path.stat().st_size / 1e3:.0f} kB")
    again = lc.closures.load(path)
drawn, _ = again.step(z, again.init(z, rng=1))
print("the same bits:", bool(np.array_equal(drawn, psi)))

# %% [markdown]
# **What to conclude.** Say in `Fields` what the numbers are and where the grid has edges; fit; look at held-out
# probabilities before believing the noise. In a model of yours the closure takes one `init`, and one `step` a step.
