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
# # 6. Where it is hard: scales that hardly differ
#
# In the regime of Crommelin & Vanden-Eijnden (2008) the fast variables of the two-scale Lorenz-96 model are only twice
# as fast as the slow ones. What they do to a site then depends on its past and on its neighbours, not on its present
# alone. We fit the default closure, which sees all three, and one that sees one site at one instant, to the same 200
# time units, and compare climate and forecasts.
#
# Here the runs are kept short. At full length, with intervals and a page: `l96closure model=crommelin`, and the same
# with `closure.fields.radius=0 'closure.fields.lags=[]'`.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np

import l96closure as lc

# %% [markdown]
# ## Fit
#
# What is left open, the radius and the lags, is chosen on held-out blocks of time. `selection` says what was compared:
# `left` is the standard deviation of what the trend leaves of the subgrid tendency `psi`. The smaller it is, the more
# of `psi` can be known from what is seen, and the less has to be drawn.

# %%
model = lc.TwoScaleLorenz96(K=18, J=20, F=10.0, b=np.sqrt(40.0), c=2.0)
recorded = {"every": 50, "coarse_dt": 0.025}  # once a coarse step
truth = model.simulate(samples=8_000, rng=1, **recorded)
judge = model.simulate(samples=40_000, rng=2, **recorded)
closures = {
    "default": lc.closures.SchrodingerBridge.fit(truth),
    "one site, one instant": lc.closures.SchrodingerBridge.fit(truth, lc.Fields(radius=0, lags=())),
}
closures["default"].selection.to_dataframe()[["radius", "lags", "left", "chosen"]]

# %% [markdown]
# ## Climate
#
# Twenty members of 100 time units with each closure, and twenty stretches of 50 time units of the full model. The
# variance of `z` at each wavenumber around the ring is a mean over members, with their standard error.


# %%
def spectrum(z):
    """Variance by wavenumber of fields (member, time, k): its mean over the members, and the standard error."""
    power = (np.abs(np.fft.rfft(z, axis=-1)) ** 2).mean(axis=1)
    return power.mean(axis=0), power.std(axis=0, ddof=1) / np.sqrt(len(power))


start = truth["z"].values[::400]  # twenty members
runs = {name: lc.integrate(model, closure, start, 4_000, rng=3, save_every=2) for name, closure in closures.items()}
expected, expected_error = spectrum(judge["z"].values.reshape(20, -1, model.K))
ratios = {}
for name, run in runs.items():
    found, error = spectrum(run["z"].values)
    ratios[name] = found / expected, np.hypot(error, found / expected * expected_error) / expected

figure, axes = plt.subplots(layout="constrained")
for shift, (name, (ratio, error)) in zip((-0.08, 0.08), ratios.items(), strict=True):
    axes.errorbar(np.arange(ratio.size) + shift, ratio, 2 * error, fmt="o", capsize=3, label=name)
axes.axhline(1.0, color="black", linewidth=0.8)
axes.set(xlabel="wavenumber (cycles around the ring)", ylabel="variance of $z$ over the truth's")
legend = axes.legend()

# %% [markdown]
# The bars are two standard errors. With the default closure they meet the line. Without neighbours and past the waves
# that carry most of the variance, of wavenumbers 3 and 4, are too weak and too strong.
#
# ## Forecasts
#
# Ensembles of 20 from 100 states of the other run, with their recorded past; the fair CRPS is the error of the
# ensemble as a whole, in units of `z`. What is there to be reached? `lc.mark` makes forecasts with the full model
# itself, whose fast variables it spins up along the recorded past; here from 60 states.

# %%
leads = np.arange(0.0, 5.01, 0.5)
scores = {
    name: lc.verify(lc.forecast(model, closure, judge, starts=100, leads=leads), judge)
    for name, closure in closures.items()
}
mark = lc.verify(lc.mark(model, judge, starts=60, members=6, leads=leads, spinup=4.0), judge)

figure, axes = plt.subplots(layout="constrained")
for name, score in scores.items():
    axes.fill_between(leads[1:], score["crps_low"][1:], score["crps_high"][1:], alpha=0.25)
    axes.plot(leads[1:], score["crps"][1:], marker="o", label=name)
axes.plot(leads[1:], mark["crps"][1:], color="black", linestyle="--", label="full model, spun up along z")
axes.axhline(float(mark["crps_climatology"]), color="grey", linestyle=":", label="climatology: no skill")
axes.set(xlabel="lead (model time units)", ylabel="CRPS of $z$", yscale="log")
legend = axes.legend()

# %%
for name, score in scores.items():
    pairs = zip(leads[1::2], score["spread_skill"].values[1::2], strict=True)
    print(f"{name:22s} spread over error: " + ", ".join(f"{ratio:.2f} at {lead:g}" for lead, ratio in pairs))

# %% [markdown]
# **What to conclude.** Noise does not make up for what a closure cannot see. Both closures know how wrong they are:
# their spread is about as large as their error. But the default one is better by a third and more up to a lead of two,
# lies beside the full model's own ensembles, and has the right waves. It was fitted by the same call, nothing added.
