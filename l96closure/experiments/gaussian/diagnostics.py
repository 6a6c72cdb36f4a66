"""How far samples of the Gaussian on a ring are from it, and how far those of a perfect fit would be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import scipy
import xarray as xr

from l96closure.arrays import F64
from l96closure.attributes import labelled
from l96closure.bridge.neighbourhoods import Neighbourhoods
from l96closure.diagnostics import climate, intervals, ring
from l96closure.experiments.sampling.chains import NAMES

_NAMES = {
    **NAMES,
    "source": "origin of the statistics",
    "offset": "distance along the ring of sites",
    "x_bin": "state, centre of the bin",
    "covariance": "covariance along the ring, averaged over the sites",
    "covariance_rows": "row of the covariance matrix along the ring, centred at its site",
    "density_x": "probability density of the components of the state",
    "predicted_covariance": "covariance of the split scheme after infinitely many training samples",
}
_BINS = 60
_MARGIN = 0.1  # of the training samples' range, by which the bins reach beyond it on either side


def variances(x: F64) -> F64:
    """Estimate the variance, averaged over the components, from each state alone but for the mean over the states.

    The estimates average to the usual (n - 1) estimate; their spread tells its error when the states are independent.

    Parameters
    ----------
    x : states (n, d), n >= 2.

    Returns
    -------
    (n,)
    """
    return ((x - x.mean(axis=0)) ** 2).mean(axis=1) * (len(x) / (len(x) - 1))


def offset_covariance(x: F64) -> F64:
    """Covariance by distance along the ring, averaged over its sites, for each chain.

    Parameters
    ----------
    x : states (chain, record, d); the mean over all of them is removed.

    Returns
    -------
    (chain, offset), with the offsets of :func:`l96closure.diagnostics.ring.offsets`; the average over the
    chains is the covariance matrix's average along its diagonals.
    """
    chains, records, d = x.shape
    power = np.abs(scipy.fft.rfft(x - x.mean(axis=(0, 1)), axis=-1)) ** 2
    products = scipy.fft.irfft(power.mean(axis=1), n=d, axis=-1) / d  # over the circle: sum_a x_a x_{a+o}
    n = chains * records
    return products[:, ring.offsets(d) % d] * (n / (n - 1))


def linear_mean(covariance: F64, epsilon: float, neighbourhoods: Neighbourhoods) -> F64:
    """Matrix A of the conditional mean m(x) = A x that a bridge has after infinitely many samples of a Gaussian.

    The bridge couples N(0, C) with itself under the kernel exp(-|x - y|^2 / 4 epsilon). Along an eigenvector of C
    with eigenvalue lambda, E[Y | X = x] = rho x with 2 epsilon rho = lambda (1 - rho^2). A localized bridge takes the
    row of its own component from the bridge of the marginal distribution of its neighbourhood, eqs. (36)-(42).

    Parameters
    ----------
    covariance : of the zero-mean Gaussian (d, d).
    epsilon : bandwidth, > 0.
    neighbourhoods : the d sets Lambda(alpha), each with alpha in it.

    Returns
    -------
    (d, d)
    """
    A = np.zeros_like(covariance)
    for alpha, members in enumerate(neighbourhoods):
        eigenvalues, vectors = np.linalg.eigh(covariance[np.ix_(members, members)])
        rho = np.sqrt(1.0 + (epsilon / eigenvalues) ** 2) - epsilon / eigenvalues
        own = int(np.flatnonzero(members == alpha)[0])
        A[alpha, members] = (vectors[own] * rho) @ vectors.T
    return A


def split_covariance(A: F64, epsilon: float) -> F64:
    """Stationary covariance of the split scheme (14) with the conditional mean m(x) = A x.

    Solves S = A (S + 2 epsilon I) A^T.

    Parameters
    ----------
    A : (d, d), of spectral radius < 1.
    epsilon : bandwidth, > 0.

    Returns
    -------
    (d, d)
    """
    return scipy.linalg.solve_discrete_lyapunov(A, 2.0 * epsilon * A @ A.T)


def compare(training: xr.Dataset, generated: xr.Dataset, covariance: F64, neighbourhoods: Neighbourhoods) -> xr.Dataset:
    """Set training and generated samples beside the Gaussian they are to follow, Figure 1 of Gottwald & Reich (2024).

    Parameters
    ----------
    training : ``x`` (realisation, sample, component).
    generated : ``x`` (scheme, realisation, chain, record, component); attribute ``epsilon``.
    covariance : exact covariance (d, d), circulant.
    neighbourhoods : the sets of the bridge.

    Returns
    -------
    Dataset with the coordinate ``source`` = exact, training and the schemes:

    - ``covariance`` (source, offset), averaged over sites and realisations, with ``covariance_se``: the standard error
      over realisations, or, if there is but one, over chains (for the training set, over samples); NaN for fewer than
      five of them;
    - ``covariance_rows`` (source, component, offset), the rows of the first realisation, each centred at its site;
    - ``density_x`` (source, x_bin), of all components and realisations;
    - ``predicted_covariance`` (offset), what the split scheme would give after infinitely many samples, if it ran.
    """
    d = training.sizes["component"]
    offsets = ring.offsets(d)
    states = {"training": training["x"].values[:, :, np.newaxis, :]}  # every sample a chain of one record
    states |= {str(s): generated["x"].sel(scheme=s).values.astype(np.float64) for s in generated["scheme"].values}
    exact = covariance[0, offsets % d]
    given = training["x"].values
    reach = _MARGIN * float(np.ptp(given))
    edges = np.linspace(given.min() - reach, given.max() + reach, _BINS + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    means, errors, rows = [exact], [np.zeros(d)], [np.tile(exact, (d, 1))]
    densities = [scipy.stats.norm.pdf(centres, scale=np.sqrt(exact[offsets == 0]))]
    for x in states.values():
        mean, error = _with_error(offset_covariance(one) for one in x)
        means.append(mean)
        errors.append(error)
        rows.append(ring.covariance_rows(x[0]))
        densities.append(climate.density(x, edges))
    result = xr.Dataset(
        {
            "covariance": (("source", "offset"), np.array(means)),
            "covariance_se": (("source", "offset"), np.array(errors), _attributes(states)),
            "covariance_rows": (("source", "component", "offset"), np.array(rows)),
            "density_x": (("source", "x_bin"), np.array(densities)),
        },
        coords={
            "source": ["exact", *states],
            "offset": offsets,
            "component": np.arange(d),
            "x_bin": centres,
        },
    )
    if "split" in states:
        epsilon = float(generated.attrs["epsilon"])
        S = split_covariance(linear_mean(covariance, epsilon, neighbourhoods), epsilon)
        result["predicted_covariance"] = ("offset", S[0, offsets % d])
    return labelled(result, _NAMES)


def _with_error(by_chain: Iterable[F64]) -> tuple[F64, F64]:
    """Average (chain, offset) arrays, one a realisation; return mean and standard error, each (offset,)."""
    arrays = list(by_chain)
    independent = np.array([array.mean(axis=0) for array in arrays]) if len(arrays) > 1 else arrays[0]
    return independent.mean(axis=0), intervals.standard_error(independent)


def _attributes(states: Mapping[str, F64]) -> dict[str, int | str]:
    """Say what the standard errors of states (realisation, chain, record, component) by source are over."""
    realisations = min(len(x) for x in states.values())
    if realisations > 1:
        return intervals.replicate_attributes(realisations, "training sets")
    return intervals.replicate_attributes(min(x.shape[1] for x in states.values()), "chains")
