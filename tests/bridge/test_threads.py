"""Chains whose queries several threads share: the same bits whoever makes which, and nobody waits for a sleeper."""

from __future__ import annotations

import numpy as np
import pytest

from l96closure import bridge, claims, compiled
from l96closure.bridge import sampler

SITES, STEPS = 6, 12


@pytest.fixture(params=["one sample set", "one for each site", "tolerance"])
def fitted(request):
    samples = np.random.default_rng(1).standard_normal((3_000, SITES)) @ (np.eye(SITES) + 0.3)
    kernel = bridge.Kernel(epsilon=0.1, sums="tree" if request.param == "tolerance" else "brute")
    near = bridge.periodic(SITES, 1)
    return bridge.fit(samples, kernel, near, shared=request.param == "one sample set", tolerance=1e-3)


def run(fitted, scheme, n, far=False):
    """Make some steps of states; one far from all samples wants double precision halfway."""
    chain = bridge.Chain(fitted, scheme, given=[0])
    rng = np.random.default_rng(2)
    x = rng.standard_normal((n, SITES))
    normals = rng.standard_normal((STEPS, n, chain.numbers))
    if far:
        normals[STEPS // 2, -1] = 200.0
    chain.advance(x, STEPS, lambda first, steps: normals[first : first + steps])
    return x


@pytest.mark.parametrize("scheme", ["split", "euler", "conditional_variance"])
@pytest.mark.parametrize("far", [False, True])
def test_threads_that_share_queries_make_the_bits_of_one(fitted, scheme, far, monkeypatch):
    alone = run(fitted, scheme, 3, far)
    monkeypatch.setattr("l96closure.kernel._sums._PARALLEL_WORK", 1)
    for threads in (1, 2, 5):
        monkeypatch.setattr(compiled, "threads", lambda threads=threads: threads)
        np.testing.assert_array_equal(run(fitted, scheme, 3, far), alone)


def test_what_a_thread_claims_and_never_makes_is_made_by_another(fitted, monkeypatch):
    alone = run(fitted, "split", 2)
    claimed = []

    def at_once(function, most, *arguments):
        *before, together = arguments
        together.board[1::2] = claims.CLAIMED  # every other step, by one that sleeps
        claimed.append(together.board)
        return function(*before, together, 0, 2)

    monkeypatch.setattr(sampler, "at_once", at_once)
    monkeypatch.setattr("l96closure.kernel._sums._PARALLEL_WORK", 1)
    np.testing.assert_array_equal(run(fitted, "split", 2), alone)
    assert all((board > claims.FREE).all() for board in claimed)
    assert len(claimed) == 1
