"""What tells whether the chains of a sampler can be believed: convergence, mixing, replay."""

from __future__ import annotations

import numpy as np
import xarray as xr

from l96closure import bridge
from l96closure.arrays import F64
from l96closure.attributes import labelled
from l96closure.bridge.neighbourhoods import Neighbourhoods
from l96closure.experiments.sampling.chains import NAMES

_NAMES = {
    **NAMES,
    "states": "number of states kept of all chains of one training set",
    "effective_sample_size": "effective number of independent states of all chains of one training set",
    "autocorrelation_time": "integrated autocorrelation time of a chain in steps",
    "replay_score": "distance to the nearest training sample over that of the training samples themselves",
    "bandwidth": "candidate for the bandwidth of the bridge",
    "bandwidth_criterion": "leave-one-out log-likelihood of the training samples",
    "chosen_bandwidth": "bandwidth that maximises the criterion",
}
_MAX_STATES = 2000  # of a scheme in the replay score, which compares each with every training sample


def describe(training: F64, generated: xr.Dataset) -> xr.Dataset:
    """Say how the chains of every scheme converge and mix, and how close their states are to the training samples.

    Parameters
    ----------
    training : (realisation, sample, d).
    generated : as :func:`l96closure.experiments.sampling.chains.generate` returns it.

    Returns
    -------
    Dataset of means over the realisations of

    - ``convergence`` (scheme, length) and its standard error ``convergence_se`` over all chains;
    - ``effective_sample_size`` (scheme, component), of all records of one realisation together, and
      ``autocorrelation_time`` (scheme, component), the integrated autocorrelation time in steps, see
      :func:`l96closure.bridge.mixing`;
    - ``effective_samples`` (scheme, component) behind a conditional mean;
    - ``replay_score`` (scheme), see :func:`l96closure.bridge.replay_score`;

    and of ``states`` (scheme), the number of records of one realisation, and ``sinkhorn_residual``, the largest.
    """
    sizes, times, replays = [], [], []
    for scheme in generated["scheme"].values:
        mixed, replay = [], []
        for x, samples in zip(
            generated["x"].sel(scheme=scheme).transpose("realisation", ...).values, training, strict=True
        ):
            states = x.astype(np.float64)
            mixed.append(bridge.mixing(states))
            flat = states.reshape(-1, states.shape[-1])
            replay.append(bridge.replay_score(flat[:: -(-len(flat) // _MAX_STATES)], samples))
        thin = int(generated["thin"].sel(scheme=scheme))
        sizes.append(np.mean([m.effective_sample_size for m in mixed], axis=0))
        times.append(np.mean([m.autocorrelation_time for m in mixed], axis=0) * thin)
        replays.append(np.mean(replay))
    mean = generated[["convergence", "effective_samples"]].mean("realisation")
    realisations = generated.sizes["realisation"]
    described = mean.assign(
        convergence_se=np.sqrt((generated["convergence_se"] ** 2).sum("realisation", skipna=False)) / realisations,
        effective_sample_size=(("scheme", "component"), np.array(sizes)),
        autocorrelation_time=(("scheme", "component"), np.array(times)),
        replay_score=("scheme", np.array(replays)),
        states=("scheme", np.full(len(sizes), generated.sizes["chain"] * generated.sizes["record"])),
        sinkhorn_residual=generated["sinkhorn_residual"].max(),
    )
    return labelled(described, _NAMES)


def bandwidth_criterion(samples: F64, neighbourhoods: Neighbourhoods) -> xr.Dataset:
    """Return the criterion that ``epsilon: auto`` maximises, and where it does.

    Parameters
    ----------
    samples : training samples (M, d).
    neighbourhoods : the sets of the bridge.

    Returns
    -------
    Dataset of ``bandwidth_criterion`` (bandwidth) and the scalar ``chosen_bandwidth``, see
    :func:`l96closure.bridge.choose_epsilon`.
    """
    choice = bridge.choose_epsilon(samples, neighbourhoods)
    criterion = {"bandwidth_criterion": ("bandwidth", choice.criterion), "chosen_bandwidth": choice.epsilon}
    return labelled(xr.Dataset(criterion, coords={"bandwidth": choice.candidates}), _NAMES)
