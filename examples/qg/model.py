"""Two-layer quasi-geostrophic flow, a truth of 96 x 96 points and a coarse model of 32 x 32, both by pyqg-jax.

The flow is the "eddy" configuration of Ross et al. (2023, J. Adv. Model. Earth Syst. 15, e2022MS003258), the defaults
of pyqg: a baroclinically unstable shear on a beta plane, with drag at the bottom. The coarse model keeps the
wavenumbers below 16, cut off sharply, and has no filter, which would delete what a closure puts into the highest of
them; its products are computed on 48 x 48 points, so that psi is what smaller scales do, not the aliases of the grid.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from pyqg_jax import qg_model, steppers
from pyqg_jax.state import Precision, PseudoSpectralState

jax.config.update("jax_enable_x64", True)

FINE, COARSE = 96, 32
HOUR, DAY, YEAR = 3600.0, 86400.0, 360 * 86400.0
BANDS = {"1-4": (1, 4), "5-8": (5, 8), "9-12": (9, 12)}  # of wavenumber
STEP = 12 * HOUR  # of the closure, over which psi is defined
_FINE_STEPS = 12  # of Adams and Bashforth's third-order scheme in a step
_COARSE_STEPS = 3  # of Runge and Kutta's scheme of fourth order

_fine = qg_model.QGModel(nx=FINE, precision=Precision.DOUBLE)
_coarse = qg_model.QGModel(nx=COARSE, precision=Precision.DOUBLE)
_dealiased = qg_model.QGModel(nx=3 * COARSE // 2, precision=Precision.DOUBLE)


def resolved(n):
    """Return which wavevectors of a grid of n x n points the coarse model keeps, (n, n // 2 + 1)."""
    across, along = np.abs(np.fft.fftfreq(n, 1 / n))[:, None], np.arange(n // 2 + 1)[None]
    return (across < COARSE // 2) & (along < COARSE // 2) & (across + along > 0)


def regrid(qh, n):
    """Return the spectral field (..., m, m // 2 + 1) of a grid as that of another, of what the coarse model keeps."""
    m, half = qh.shape[-2], COARSE // 2
    out = jnp.zeros((*qh.shape[:-2], n, n // 2 + 1), qh.dtype)
    out = out.at[..., :half, :half].set(qh[..., :half, :half])
    out = out.at[..., -half:, :half].set(qh[..., -half:, :half])
    return jnp.where(resolved(n), out, 0.0) * (n / m) ** 2


def on_coarse_grid(qh):
    """Return potential vorticity (..., 32, 32) of its transform on any grid."""
    return jnp.fft.irfftn(regrid(qh, COARSE), axes=(-2, -1))


@functools.partial(jax.jit, static_argnames="steps")
def _fine_run(states, steps):
    """Advance states of the truth; return them and the resolved q (member, step, 2, 32, 32) before each step."""
    stepped = steppers.SteppedModel(_fine, steppers.AB3Stepper(dt=STEP / _FINE_STEPS))

    def step(state, _):
        following = jax.lax.fori_loop(0, _FINE_STEPS, lambda _, s: stepped.step_model(s), state)
        return following, on_coarse_grid(state.state.qh)

    return jax.vmap(lambda state: jax.lax.scan(step, state, length=steps))(states)


def simulate(members, years, spinup, seed=0, every=120):
    """Run the truth from random states; return the resolved q (member, time, lev, y, x), recorded every 12 hours."""
    stepped = steppers.SteppedModel(_fine, steppers.AB3Stepper(dt=STEP / _FINE_STEPS))
    states = jax.vmap(stepped.create_initial_state)(jax.random.split(jax.random.key(seed), members))
    records, skipped = [], round(spinup * YEAR / STEP)
    for start in range(0, skipped + round(years * YEAR / STEP), every):
        states, q = _fine_run(states, every)
        if start >= skipped:
            records.append(np.asarray(q))
    q = np.concatenate(records, axis=1)
    times = ("time", STEP * np.arange(q.shape[1]), {"units": "s"})
    dims = ("member", "time", "lev", "y", "x")
    return xr.DataArray(q, {"time": times, "member": np.arange(members)}, dims, attrs={"units": "s-1"})


@jax.jit
def coarse_step(q):
    """Advance potential vorticity (member, 2, 32, 32) by 12 hours without a closure; products are free of aliases."""
    n = _dealiased.nx

    def tendency(qh):
        updates = jax.vmap(lambda one: _dealiased.get_updates(PseudoSpectralState(one, _q_shape=(n, n))))(qh)
        return jnp.where(resolved(n), updates.qh, 0.0)

    def step(_, qh):
        dt = STEP / _COARSE_STEPS
        k1 = tendency(qh)
        k2 = tendency(qh + 0.5 * dt * k1)
        k3 = tendency(qh + 0.5 * dt * k2)
        k4 = tendency(qh + dt * k3)
        return qh + dt / 6 * (k1 + 2 * (k2 + k3) + k4)

    return on_coarse_grid(jax.lax.fori_loop(0, _COARSE_STEPS, step, regrid(jnp.fft.rfftn(q, axes=(-2, -1)), n)))


def tendency(z):
    """Return (what the coarse model is 12 hours later - z) / 12 hours, of states of potential vorticity (member, ...).

    So a step of forward Euler with it is a run of the coarse model by its own scheme, and psi is what is missing then:
    closures and coarse runs need to know nothing of the model's scheme.
    """
    q = jnp.reshape(z, (-1, 2, COARSE, COARSE))
    return np.asarray((coarse_step(q) - q) / STEP).reshape(np.shape(z))


def spectra(q):
    """Return variance of potential vorticity and kinetic energy (..., 2, lev, band) of q (..., lev, 32, 32)."""
    qh = np.fft.rfft2(q) / COARSE**2
    flat = jnp.reshape(qh, (-1, *qh.shape[-3:]))
    streamfunction = np.reshape(_streamfunction(flat), qh.shape)
    both = np.where(np.arange(COARSE // 2 + 1) > 0, 2.0, 1.0)  # wavevectors of both signs
    vorticity, energy = both * np.abs(qh) ** 2, 0.5 * both * _coarse.wv2 * np.abs(streamfunction) ** 2
    power, ring = np.stack([vorticity, energy], axis=-4), np.rint(_coarse.wv * _coarse.L / (2 * np.pi))
    bands = [(ring >= low) & (ring <= high) for low, high in BANDS.values()]
    return np.stack([power[..., band].sum(axis=-1) for band in bands], axis=-1)


@jax.jit
def _streamfunction(qh):
    """Return the transforms of the streamfunctions (n, lev, ...) of those of potential vorticity."""
    shape = COARSE, COARSE
    return jax.vmap(lambda one: _coarse.get_full_state(PseudoSpectralState(one, _q_shape=shape)).ph)(qh)
