"""A closure of your own: psi = a + b z + r, and r remembers, r' = phi r + s sqrt(1 - phi^2) xi at every step."""

from typing import NamedTuple

import numpy as np

import l96closure as lc


class State(NamedTuple):
    """What is carried from step to step: the residual (member, K), and what the noise is a function of."""

    r: np.ndarray
    key: int
    member: np.ndarray
    now: int


class Linear:
    """A line with red noise. All randomness is a function of the state, so runs can be stopped and resumed."""

    def __init__(self, line, phi, s, dt):
        self.line, self.phi, self.s, self.dt = line, phi, s, dt

    @classmethod
    def fit(cls, truth, dt, memory=True):
        """Fit it; ``memory`` is set by ``closure.memory=false`` on the command line."""
        z, psi = truth["z"].values, truth["psi"].values
        line = np.polyfit(z.ravel(), psi.ravel(), 1)
        r = psi - np.polyval(line, z)
        phi = (r[1:] * r[:-1]).mean() / (r**2).mean() if memory else 0.0
        return cls(line, phi, r.std(), dt)

    def init(self, z, rng, member=0):
        """Return the state that a run from z (member, K) starts with; ``member`` is the first number, or all."""
        numbers = np.arange(len(z)) + member if np.ndim(member) == 0 else np.asarray(member)
        key = lc.noise.key_of(rng)
        return State(self.s * noise(key, numbers, 0, z), key, numbers, 1)

    def step(self, z, state):
        """Return psi (member, K), and the state of the next step."""
        fresh = self.s * np.sqrt(1.0 - self.phi**2) * noise(state.key, state.member, state.now, z)
        psi = np.polyval(self.line, z) + state.r
        return psi, state._replace(r=self.phi * state.r + fresh, now=state.now + 1)


def noise(key, member, step, z):
    """White noise (member, K): a function of its arguments alone."""
    return lc.noise.normals(key, member[:, None], step, site=np.arange(z.shape[1]))
