"""Noise with memory in time and colour in space: an autoregression, standard normal at every site and time.

On a ring the noise x_k(n) is autoregressive in each wavenumber m,

    X_m(n) = sum_l a_m,l X_m(n - l) + sqrt(e_m) W_m(n),   l = 1 ... p,

with the transform W_m of white noise; so any covariance in space and any autocorrelation of p steps can be met. The
variances of all modes are scaled together so that a site's is 1. A step is made in space, as circular convolutions with
the transforms of a_m,l and sqrt(e_m). Where nothing is won by coefficients for each wavenumber, and on large rings, a_l
are those of all sites together, and the colour alone differs by wavenumber, on large rings by a kernel that is cut off.
On other grids a_l are those of all sites together too, and white noise is correlated among all pairs of sites, or a few
modes are drawn and a white remainder. :mod:`~l96closure.closures.noise_fit` says how it is learned, and when the noise
of :class:`~l96closure.closures.vector_pattern.VectorPattern` is taken in its place.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from l96closure import checks
from l96closure.arrays import C128, F64, Array, Bools, Index
from l96closure.closures.state import State
from l96closure.closures.vector_pattern import VectorPattern
from l96closure.compiled import cached

LARGEST_RING = 64
"""Sites of a ring on which every wavenumber has coefficients of its own; larger ones have kernels that are cut off."""

_ROUNDED = 1e-12  # beside the largest, of a weight that is no more than what a transform and its inverse leave
_REACH = 24  # sites on either side to which the colour of larger rings reaches


@dataclass(frozen=True, eq=False)
class Pattern:
    """An autoregression of order p on K sites; made by :func:`fit_pattern`.

    Attributes
    ----------
    reflection : coefficients of each order (M, p), complex and less than 1 in size: for each of the wavenumbers
        0, ... K // 2 of a ring, or (1, p) for all together.
    power : part of each wavenumber in the variance of a site (K // 2 + 1,), both signs together; (1,) for independent
        sites, and on grids that are no ring. They add up to 1.
    sites : K.
    factor : lower triangular (K, K), which times white noise is as correlated as the sites are; None on rings, and for
        independent sites.
    prescribed : whether the correlations are the user's, not the data's.
    modes : of the noise of many sites (r, K), each of which is multiplied by a normal, with a white remainder that
        makes each site's variance 1; None without.
    """

    reflection: C128
    power: F64
    sites: int
    factor: F64 | None = None
    prescribed: bool = False
    modes: F64 | None = None
    _earlier: tuple[F64, Index] = field(init=False, repr=False)
    _fresh: tuple[F64, Index] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not (np.abs(self.reflection) < 1.0).all():
            checks.reject("reflection", float(np.abs(self.reflection).max()), "less than 1 in size; stable noise")
        coefficients, innovation = coefficients_of(self.reflection)
        kernels = [_in_space(row, self.sites) for row in coefficients[-1].T]
        earlier = np.stack(kernels) if kernels else np.empty((0, 1))
        fresh = _in_space(np.sqrt(innovation[:, -1] * self._variance()), self.sites)
        object.__setattr__(self, "_earlier", (np.ascontiguousarray(earlier), np.arange(earlier.shape[1])))
        object.__setattr__(self, "_fresh", _near(fresh))

    @property
    def order(self) -> int:
        """Steps that are remembered, p."""
        return int(self.reflection.shape[1])

    @property
    def autocorrelation(self) -> F64:
        """Autocorrelation of a memory that is the same for all sites, of 0 to p steps (p + 1,)."""
        coefficients, innovation = coefficients_of(self.reflection[:1].real.astype(np.complex128))
        found = [1.0]
        for j, one in enumerate(coefficients[:-1]):
            found.append(float(one[0].real @ found[:0:-1]) + float((self.reflection[0, j] * innovation[0, j]).real))
        return np.array(found)

    def _variance(self) -> F64:
        """Variance of each wavenumber of the noise over that of white noise (M,)."""
        if self.power.size == 1:
            return np.ones(1)
        return self.power * self.sites / np.where(real_wavenumbers(self.sites), 1.0, 2.0)

    def tables(self) -> dict[str, Array]:
        """Return the kernels of a step, circular in space: of each earlier value, and of white noise.

        Returns
        -------
        ``noise_earlier`` (p, T) and ``noise_fresh`` (T',), whose taps belong to the sites that lie
        ``noise_earlier_offset`` (T,) and ``noise_fresh_offset`` (T',) to the left; perhaps ``noise_factor`` (K, K), by
        which white noise is multiplied before, or ``noise_modes`` (r, K), which as many normals of the next draw are
        multiplied by, and ``noise_remainder`` (K,), which white noise is multiplied by before both are added.
        """
        (earlier, offsets), (fresh, of_fresh) = self._earlier, self._fresh
        tables = {
            "noise_earlier": earlier,
            "noise_earlier_offset": offsets,
            "noise_fresh": fresh,
            "noise_fresh_offset": of_fresh,
        }
        if self.modes is not None:
            return tables | {"noise_modes": self.modes, "noise_remainder": self._remainder}
        return tables if self.factor is None else tables | {"noise_factor": self.factor}

    def resized(self, sites: int) -> Pattern:
        """Return the noise on a ring of another size, or independent noise of more or fewer sites.

        On the ring white noise is weighed by the same numbers at the same offsets, so that the covariance by offset is
        the same where these reach less than half the way round the first ring, and falls to 0 beyond. Memories of
        wavenumbers are interpolated at wavenumbers per site.

        Parameters
        ----------
        sites : how many there are to be.

        Returns
        -------
        Pattern

        Raises
        ------
        ValueError
            The correlations are neither those of a ring nor none.
        """
        if self.factor is not None or self.modes is not None:
            given = "prescribed" if self.prescribed else "of modes or pairs of sites"
            checks.reject(
                "noise", given, "white, or that of the data where sites are alike, on another size of the grid"
            )
        if self.power.size == 1:
            return replace(self, sites=sites)
        kernel = by_offset(np.fft.irfft(np.sqrt(self._variance()), self.sites), sites)
        power = np.abs(np.fft.rfft(kernel)) ** 2 * np.where(real_wavenumbers(sites), 1.0, 2.0)
        reflection = self.reflection
        if len(reflection) > 1:
            before, now = np.arange(len(reflection)) / self.sites, np.arange(power.size) / sites
            reflection = np.stack([np.interp(now, before, one) for one in reflection.T], axis=1)
            reflection[real_wavenumbers(sites)] = reflection[real_wavenumbers(sites)].real
        return Pattern(reflection, power / power.sum(), sites)

    @cached_property
    def _remainder(self) -> F64:
        """Standard deviation of the white remainder beside the modes (K,)."""
        return np.empty(0) if self.modes is None else remainder_of(self.modes)

    @cached_property
    def _stationary(self) -> tuple[list[C128], F64]:
        """Coefficients of each order, and standard deviation of each value given those before it (M, p + 1)."""
        coefficients, innovation = coefficients_of(self.reflection)
        return coefficients, np.sqrt(innovation * self._variance()[:, None])

    def _white(self, state: State, draws: int) -> F64:
        """Draw what is independent in time (draw, member, K), and as correlated as the sites are."""
        white = state.normals(draws, self.sites)
        if self.factor is None and self.modes is None:
            return white
        flat = white.reshape(-1, self.sites)
        out = np.empty_like(flat)
        if self.modes is not None:
            of_modes = state.normals(draws, len(self.modes), draw=draws).reshape(len(flat), -1)
            _add_modes(self.modes, of_modes, self._remainder, flat, out)
        else:
            _multiply(self.factor, flat, out)
        return out.reshape(white.shape)

    def initial(self, state: State) -> F64:
        """Draw the last p values from their stationary distribution.

        Parameters
        ----------
        state : gives key, members and step of the normals.

        Returns
        -------
        (member, p, K), the last first.
        """
        normals = self._white(state, max(self.order, 1))
        coefficients, spread = self._stationary
        coloured = self.power.size > 1
        modes = np.fft.rfft(normals, axis=2) if coloured else normals.astype(np.complex128)
        drawn: list[C128] = []
        for j in range(self.order):  # the first alone, each next one given those before it
            value = modes[j] * spread[:, j]
            for i in range(j):
                value = value + coefficients[j][:, i] * drawn[j - 1 - i]
            drawn.append(value)
        values = [np.fft.irfft(one, self.sites, axis=1) if coloured else one.real for one in drawn]
        empty = np.empty((len(state.member), 0, self.sites))
        return np.ascontiguousarray(np.stack(values[::-1], axis=1)) if values else empty

    def advance(self, state: State) -> tuple[F64, F64]:
        """Make a step.

        Parameters
        ----------
        state : gives the normals of the step; its ``memory`` is the last p values (member, p, K).

        Returns
        -------
        The noise (member, K), and the last p values (member, p, K) to remember next.
        """
        fresh = self._white(state, 1)[0]
        value = np.empty_like(fresh)
        _advance(state.memory, fresh, *self._earlier, *self._fresh, value)
        if not self.order:
            return value, state.memory
        return value, np.concatenate([value[:, None], state.memory[:, :-1]], axis=1)


@cached
def _advance(memory: F64, fresh: F64, earlier: F64, of_earlier: Index, kernel: F64, of_kernel: Index, out: F64) -> None:
    members, K = fresh.shape
    for n in range(members):
        for k in range(K):
            total = 0.0
            for i in range(kernel.size):
                total += kernel[i] * fresh[n, k - of_kernel[i]]  # negative indices go around the ring
            for lag in range(earlier.shape[0]):
                for i in range(earlier.shape[1]):
                    total += earlier[lag, i] * memory[n, lag, k - of_earlier[i]]
            out[n, k] = total


@cached
def _multiply(factor: F64, white: F64, out: F64) -> None:
    for n in range(white.shape[0]):  # not by BLAS, whose bits depend on how many members there are
        for k in range(factor.shape[0]):
            total = 0.0
            for j in range(k + 1):
                total += factor[k, j] * white[n, j]
            out[n, k] = total


@cached
def _add_modes(modes: F64, of_modes: F64, remainder: F64, white: F64, out: F64) -> None:
    """Add modes times their normals (n, r) to the white remainder, of white noise (n, K)."""
    for n in range(white.shape[0]):
        for k in range(remainder.size):
            out[n, k] = white[n, k] * remainder[k]
        for i in range(modes.shape[0]):
            amplitude = of_modes[n, i]
            for k in range(remainder.size):
                out[n, k] += amplitude * modes[i, k]


def remainder_of(modes: F64) -> F64:
    """Return the standard deviation of the white remainder of each cell.

    Parameters
    ----------
    modes : of the noise (r, K), whose squares add up to less than 1 at each cell.

    Returns
    -------
    (K,)
    """
    return np.sqrt(1.0 - (modes**2).sum(axis=0))


def _near(kernel: F64) -> tuple[F64, Index]:
    """Return the taps of a circular kernel that reach no farther than is meant, of the same norm, and their offsets."""
    offsets = np.flatnonzero(np.abs(kernel) > _ROUNDED * np.abs(kernel).max())
    if kernel.size > LARGEST_RING:
        offsets = offsets[np.minimum(offsets, kernel.size - offsets) <= _REACH]
    taps: F64 = kernel[offsets]
    return np.ascontiguousarray(taps * np.sqrt((kernel**2).sum() / (taps**2).sum())), offsets


def by_offset(values: F64, sites: int) -> F64:
    """Put what belongs to offsets on a ring on another one, round which it goes where that is smaller, else 0.

    Parameters
    ----------
    values : of the offsets 0, 1, ... to one side on the first ring (K,), each on the short way.
    sites : of the other.

    Returns
    -------
    (sites,)
    """
    K = values.size
    offset, out = np.arange(-(K // 2), K // 2 + 1), np.zeros(sites)
    half = np.where(2 * np.abs(offset) == K, 0.5, 1.0)  # of an even ring the farthest is on both sides
    np.add.at(out, offset % sites, half * values[offset])
    return out


def real_wavenumbers(sites: int) -> Bools:
    """Tell which of the wavenumbers 0 ... K // 2 are real: the mean, and the highest where K is even.

    Parameters
    ----------
    sites : K.

    Returns
    -------
    (K // 2 + 1,)
    """
    m = np.arange(sites // 2 + 1)
    return np.asarray((m == 0) | (2 * m == sites))


def _in_space(modes: npt.NDArray[np.complexfloating] | F64, sites: int) -> F64:
    """Return the circular kernel (K,) whose transform these are; of one for all wavenumbers, its one tap."""
    return np.real(modes) if modes.size == 1 else np.asarray(np.fft.irfft(modes, sites))


def coefficients_of(reflection: C128) -> tuple[list[C128], F64]:
    """Find the coefficients of autoregressions of all orders up to theirs, by Levinson's recursion.

    Parameters
    ----------
    reflection : reflection coefficients of each wavenumber (M, p).

    Returns
    -------
    Coefficients of the orders 0 to p, those of order j (M, j), and the variance of the innovations of each order in
    parts of that of the process (M, p + 1).
    """
    M, p = reflection.shape
    found = [np.empty((M, 0), np.complex128)]
    for j in range(p):
        k, before = reflection[:, j, None], found[-1]
        found.append(np.concatenate([before - k * before[:, ::-1].conj(), k], axis=1))
    innovation = np.cumprod(np.concatenate([np.ones((M, 1)), 1.0 - np.abs(reflection) ** 2], axis=1), axis=1)
    return found, innovation


AnyPattern = Pattern | VectorPattern
