"""Describe what the spectral autoregression leaves of truth.nc: whether it is Gaussian, steady and white in time."""

import numpy as np
import scipy
import xarray as xr
from judge import A_YEAR, FIELDS, deterministic

import l96closure as lc

YEARS, AT_ONCE = 4, 360  # of a run that the closure was not fitted to, and times whose past is in memory
SIZES = (1, 4), (5, 8), (9, 12), (13, 15)
LEVELS = (np.arange(400) + 0.5) / 400


def innovations(closure, run):
    """Return psi less what the closure expects given the recorded past (time, lev, y, x)."""
    q, psi = (run[name].transpose("time", *FIELDS.dim).values for name in ("q", "psi"))
    mean, left = deterministic(closure), []
    steps = np.arange(closure.past_steps + 1)
    for n in np.array_split(np.arange(steps.size, len(q)), -(-len(q) // AT_ONCE)):
        past = {name: (("member", "lag", *FIELDS.dim), x[n[:, None] - steps]) for name, x in (("q", q), ("psi", psi))}
        z = q[n].reshape(n.size, -1)
        state = mean.init(z, 0, history=xr.Dataset(past, {"lag": closure.dt * steps}))
        left.append(psi[n] - mean.step(z, state)[0].reshape(psi[n].shape))
    return np.concatenate(left)


def kurtosis(x):
    """Return the mean over wavevectors of the excess kurtosis in time of complex modes (time, M), 0 for a Gaussian."""
    power = np.abs(x) ** 2
    return ((power**2).mean(axis=0) / power.mean(axis=0) ** 2 - 2.0).mean()


def crps(values, quantiles):
    """Return the mean CRPS of values (n,) under a law of these quantiles."""
    off = values[:: max(1, values.size // 100_000), None] - quantiles
    return 2.0 * np.maximum(LEVELS * off, (LEVELS - 1.0) * off).mean()


def gain(x):
    """Return by how much the CRPS of the second half of numbers (time, M) is less under the law of the first half."""
    first, second = (part.ravel() / part.std() for part in np.array_split(x, 2))
    return 1.0 - crps(second, np.quantile(first, LEVELS)) / crps(second, scipy.special.ndtri(LEVELS))


def main():
    """Fit one year, and describe what it leaves of others."""
    data = xr.open_dataset("truth.nc").astype(np.float64)
    closure = lc.closures.SpectralAutoregression.fit(data.isel(member=0, time=slice(A_YEAR)), FIELDS)
    left = innovations(closure, data.isel(member=1, time=slice(YEARS * A_YEAR)))
    across, along = np.abs(np.fft.fftfreq(left.shape[-1], 1 / left.shape[-1]))[:, None], np.arange(left.shape[-1] // 2)
    size = np.rint(np.hypot(across, along))
    modes = np.fft.rfft2(left)[..., 1 : along.size]
    for layer in (0, 1):
        x = left[:, layer] / left[:, layer].std()
        print(f"layer {layer + 1}: excess kurtosis at a point {(x**4).mean() - 3.0:.1f}")
        for low, high in SIZES:
            some = modes[:, layer][:, ((low <= size) & (size <= high))[:, 1:]]
            x = some / some.std(axis=0)
            amplitude = np.sqrt((np.abs(x) ** 2).mean(axis=1, keepdims=True))
            memory = (x[1:] * x[:-1].conj()).real.mean()
            steady = np.log(amplitude) - np.log(amplitude).mean()
            lasting = (steady[1:] * steady[:-1]).mean() / steady.var()
            better = 100.0 * gain(np.concatenate([x.real, x.imag], axis=1))
            print(
                f"  {low}-{high}: kurtosis {kurtosis(x):.2f}, given the amplitude {kurtosis(x / amplitude):.2f}",
                end="; ",
            )
            print(f"std of log amplitude {steady.std():.2f}, its correlation after a step {lasting:.2f}", end="; ")
            print(f"correlation after a step {memory:.2f}; CRPS less by {better:.3f} %")


if __name__ == "__main__":
    main()
