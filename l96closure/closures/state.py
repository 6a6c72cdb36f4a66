"""What a closure carries from step to step: where its noise comes from, and what it remembers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks, noise

__all__ = ["State", "begin", "parts", "restored", "variables"]

F64 = npt.NDArray[np.float64]
U64 = npt.NDArray[np.uint64]


class State(NamedTuple):
    """The state of an ensemble of one closure; made by :func:`begin`, never changed in place.

    The noise of a step is a function of key, step and member number (:mod:`l96closure.noise`): a copy of a state draws
    the same numbers again, members may be split into batches or put into another order, and a run that was stopped
    needs nothing but its state.

    Attributes
    ----------
    key : of the ensemble's noise, of 64 bits.
    step : steps made so far; the noise of ``init`` is that of step 0.
    member : numbers of the members (n,).
    memory : what the closure remembers (n, ...), of a shape of its own.
    """

    key: np.uint64
    step: int
    member: U64
    memory: F64

    def advanced(self) -> State:
        """Return the state with the number of the next step; its memory is still that of the last."""
        return self._replace(step=self.step + 1)

    def normals(self, draws: int, sites: int) -> F64:
        """Return the standard normals of this step (draws, n, sites)."""
        return noise.block(self.key, self.member, self.step, draws, sites)

    def uniforms(self, draws: int, sites: int) -> F64:
        """Return the uniform numbers of this step (draws, n, sites), of the same words as the normals."""
        return noise.block(self.key, self.member, self.step, draws, sites, normal=False)

    def remembering(self, *shape: int) -> F64:
        """Return the memory; raise ``ValueError`` unless each member's is of this shape."""
        if self.memory.shape != (len(self.member), *shape):
            checks.reject("state.memory.shape", self.memory.shape, f"{(len(self.member), *shape)}, as init makes it")
        return self.memory


def begin(members: int, rng: np.random.Generator | int, member: npt.ArrayLike = 0) -> State:
    """Return the state, at step 0 and with nothing to remember, that an ensemble starts from.

    Parameters
    ----------
    members : how many.
    rng : seed or generator, which give the key; a generator is advanced.
    member : number of the first member, or the numbers of all of them (members,): a batch of a larger ensemble draws
        what its members draw there.

    Raises
    ------
    ValueError
        ``member`` holds no numbers from 0 to 2^32 - 1, or not so many.
    """
    numbers = np.asarray(member)
    if numbers.ndim == 0:
        numbers = numbers + np.arange(members)
    if numbers.shape != (members,) or numbers.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() >= 2**32:
        checks.reject("member", member, f"an integer from 0 to {2**32 - members}, or {members} of them")
    return State(np.uint64(noise.key_of(rng)), 0, numbers.astype(np.uint64), np.empty((members, 0)))


def parts(state: Any) -> dict[str, Any]:
    """Return the parts of a closure's state by name: of a NamedTuple its fields, of an array itself.

    Raises ``ValueError`` when a state is neither, or a part is no number or array of numbers.
    """
    named = state._asdict() if hasattr(state, "_asdict") else {"": state}
    for name, part in named.items():
        if np.asarray(part).dtype.kind not in "biuf":
            kind = type(part).__qualname__
            checks.reject(f"state.{name}" if name else "state", kind, "an array of numbers, or a NamedTuple of such")
    return {f"state.{name}" if name else "state": part for name, part in named.items()}


def variables(state: Any) -> dict[str, Any]:
    """Return the parts of a state as variables of a file."""
    arrays = {name: np.asarray(part) for name, part in parts(state).items()}
    return {
        f"closure_{name}": (
            [f"{name}_{axis}" for axis in range(array.ndim)],
            array,
            {"long_name": f"{name} of the closure"},
        )
        for name, array in arrays.items()
    }


def restored(stored: xr.Dataset, like: Any) -> Any:
    """Return the state in a file, inverse of :func:`variables`; ``like`` is one of the same closure."""
    values = []
    for name, part in parts(like).items():
        array = stored[f"closure_{name}"].to_numpy()
        values.append(array if isinstance(part, np.ndarray) else type(part)(array[()]))
    return type(like)(*values) if hasattr(like, "_asdict") else values[0]
