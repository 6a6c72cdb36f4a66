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
# # 1. The whole job from Python
#
# The two-scale Lorenz-96 model (eq. 59 of Gottwald & Reich 2024) has twelve slow variables `z` and 288 fast ones. We
# run it, learn the distribution of the subgrid tendency `psi` given `z` from it, run the coarse model (eq. 60) with
# `psi` drawn from that distribution at ten times the fine time step, and compare the climate of the coarse run with
# that of an independent run of the full model.
#
# Here the runs are kept short. The full-size run, with a report, is `l96closure` on the command line.

# %%
# %matplotlib inline
import l96closure as lc
from l96closure.plot import climate

# %% [markdown]
# ## Simulate, fit, integrate, diagnose

# %%
model = lc.TwoScaleLorenz96(K=12, J=24, F=20.0)
truth = model.simulate(samples=20_000, rng=1)
judge = model.simulate(samples=40_000, every=50, rng=2)
closure = lc.closures.SchrodingerBridge.fit(truth)
start = truth["z"].values[::5_000]  # four members, 25 time units apart
run = {"steps": 10_000, "save_every": 5, "rng": 3}
coarse = lc.integrate(model, closure, start, **run)
bare = lc.integrate(model, lc.closures.NoClosure(), start, dt=5e-3, **run)
scores = lc.diagnose(judge, coarse)
without = lc.diagnose(judge, bare)

# %% [markdown]
# ## What came out
#
# `scores` is an `xarray.Dataset`: statistics of both runs along the coordinate `source`, and distances. Each distance
# comes with its *floor*, the same distance between two independent stretches of the full model as long as the coarse
# run. A perfect closure would score the floor, give or take its spread, so read the first number beside the second.

# %%
print(f"std of z   truth {float(scores['std'][0]):.3f} ± {float(scores['std_se'][0]):.3f}")
for name, result in (("closure", scores), ("none", without)):
    print(f"           {name:7s} {float(result['std'][1]):.3f} ± {float(result['std_se'][1]):.3f}")
for name, result in (("closure", scores), ("none", without)):
    print(
        f"Hellinger distance of z, {name:7s} {float(result['hellinger_z']):.4f}, "
        f"floor {float(result['hellinger_z_floor']):.4f} ± {float(result['hellinger_z_floor_std']):.4f}"
    )

# %% [markdown]
# ## The figures
#
# First the covariance of `z` along the ring, the left panel of Figure 4 of the paper. Look whether the markers (truth)
# lie on the thick line (coarse run); the thin lines, one for each site, show how far chance alone moves it.

# %%
climate.covariance(scores).figure

# %% [markdown]
# Then the histograms of `z` and `psi`, the right panel of Figure 4 and what lies behind it.

# %%
climate.histograms(scores)[0].figure

# %% [markdown]
# Last, `psi` against `z`. A deterministic closure would be a curve here; what the sampler adds is the spread about it.

# %%
climate.psi_against_z(judge, coarse, scores)[0].figure

# %% [markdown]
# **What to conclude.** With the closure the standard deviation of `z` agrees with the truth within a few standard
# errors and the Hellinger distance is of the size of its floor: a run of this length cannot tell the coarse model from
# the full one by its histogram. The bare coarse model is far off on both counts.
