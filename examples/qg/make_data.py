"""Write truth.nc: runs of the fine model, and psi, what the coarse model lacks in each step of 12 hours."""

import sys

import numpy as np
import xarray as xr
from model import STEP, simulate, tendency


def with_psi(q):
    """Return q (member, time, lev, y, x) and psi, of which 12 hours take the coarse model from q(t) to q(t + 12 h)."""
    states = q.transpose("time", "member", "lev", "y", "x").values
    psi = np.empty((len(states) - 1, *states.shape[1:]))
    for n in range(len(psi)):
        psi[n] = (states[n + 1] - states[n]) / STEP - tendency(states[n])
    dims = ("time", "member", "lev", "y", "x")
    data = xr.Dataset({"q": q.isel(time=slice(-1)), "psi": (dims, psi, {"units": "s-2"})})
    return data.assign_attrs(subgrid="coarse", coarse_dt=STEP)


if __name__ == "__main__":
    members, years = (int(number) for number in sys.argv[1:3])
    data = with_psi(simulate(members, years, spinup=8, seed=1))
    data.to_netcdf("truth.nc")
    print(f"truth.nc: {dict(data.sizes)}")
