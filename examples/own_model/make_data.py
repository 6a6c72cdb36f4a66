"""Write truth.nc and reference.nc, two independent runs of the full model: replace it by your own files."""

import numpy as np
import xarray as xr
from model import simulate

DT = 0.02

for name, samples, seed in (("truth", 20_000, 1), ("reference", 60_000, 2)):
    z, psi = simulate(samples, DT, seed=seed)
    data = xr.Dataset(
        {"z": (("time", "k"), z, {"units": "1"}), "psi": (("time", "k"), psi, {"units": "1"})},
        coords={"time": ("time", DT * np.arange(samples), {"units": "seconds since 2000-01-01"})},
    )
    data.to_netcdf(f"{name}.nc")
    print(f"{name}.nc: {samples} times of {z.shape[1]} sites")
