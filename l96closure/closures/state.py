"""What a closure carries from step to step, where its noise comes from and what it remembers; what it is handed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from l96closure import checks, noise
from l96closure.arrays import F64, I64, U64

_MOST_MEMBERS = 2**32  # that the noise can tell apart


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
    history : predictors of the steps before (n, H, P, K), the last first; (n, 0) for closures that see the present.
    outside : how many features were outside of the range of the training data so far (n,).
    """

    key: np.uint64
    step: int
    member: U64
    memory: F64
    history: F64
    outside: I64

    def normals(self, draws: int, sites: int, draw: int = 0) -> F64:
        """Return the standard normals of this step.

        Parameters
        ----------
        draws : numbers for each member and site, >= 0.
        sites : number of sites, K.
        draw : number of the first.

        Returns
        -------
        (draws, n, sites)
        """
        return noise.block(self.key, self.member, self.step, draws, sites, draw=draw)

    def uniforms(self, draws: int, sites: int) -> F64:
        """Return the uniform numbers of this step, of the same words as the normals.

        Parameters
        ----------
        draws : numbers for each member and site, >= 0.
        sites : number of sites, K.

        Returns
        -------
        (draws, n, sites)
        """
        return noise.block(self.key, self.member, self.step, draws, sites, normal=False)


def begin(members: int, rng: np.random.Generator | int, member: npt.ArrayLike = 0) -> State:
    """Return the state, at step 0 and with nothing to remember, that an ensemble starts from.

    Parameters
    ----------
    members : how many.
    rng : seed or generator, which give the key; a generator is advanced.
    member : number of the first member, or the numbers of all of them (members,): a batch of a larger ensemble draws
        what its members draw there.

    Returns
    -------
    State

    Raises
    ------
    ValueError
        ``member`` holds no numbers from 0 to 2^32 - 1, or not so many.
    """
    empty = np.empty((members, 0))
    numbers_of = member_numbers(member, members)
    return State(np.uint64(noise.key_of(rng)), 0, numbers_of, empty, empty, np.zeros(members, np.int64))


def member_numbers(member: npt.ArrayLike, members: int) -> U64:
    """Return the numbers of the members of a batch.

    Parameters
    ----------
    member : number of the first, or the numbers of all (members,).
    members : how many.

    Returns
    -------
    (members,)

    Raises
    ------
    ValueError
        ``member`` holds no integers from 0 to 2^32 - 1, or not so many.
    """
    given = np.asarray(member)
    most = _MOST_MEMBERS - members if given.ndim == 0 else _MOST_MEMBERS - 1
    if given.dtype.kind not in "iu" or given.shape not in ((), (members,)) or ((given < 0) | (given > most)).any():
        checks.reject("member", member, f"an integer from 0 to {_MOST_MEMBERS - members}, or {members} of them")
    return given.astype(np.uint64) + (np.arange(members, dtype=np.uint64) if given.ndim == 0 else np.uint64(0))


def following(state: Any, members: int, *memory: int, history: tuple[int, ...] = (0,)) -> State:
    """Return a state with the number of the next step; what it remembers is still that of the last.

    Parameters
    ----------
    state : of the last step.
    members : how many there should be.
    *memory : shape of what a member remembers.
    history : shape of the history of a member; (0,) for closures that see the present.

    Returns
    -------
    State

    Raises
    ------
    ValueError
        It is no :class:`State` of so many members, each with memory and history of these shapes.
    """
    if not isinstance(state, State):
        checks.reject("state", type(state).__qualname__, "a State, as init makes it")
    if len(state.member) != members:
        checks.reject("state.member.shape", np.shape(state.member), f"({members},), one number for each member of z")
    if np.shape(state.outside) != (members,):
        checks.reject("state.outside.shape", np.shape(state.outside), f"({members},), as init makes it")
    kept: dict[str, Any] = {}
    for name, shape in (("memory", memory), ("history", history)):
        kept[name] = numbers(f"state.{name}", getattr(state, name))
        if kept[name].shape != (members, *shape):
            checks.reject(f"state.{name}.shape", kept[name].shape, f"{(members, *shape)}, as init makes it")
    return state._replace(step=state.step + 1, **kept)


def parts(state: Any) -> dict[str, Any]:
    """Return the parts of a closure's state by name: of a NamedTuple its fields, of an array itself.

    Parameters
    ----------
    state : of any closure.

    Returns
    -------
    Numbers and arrays.

    Raises
    ------
    ValueError
        The state is neither, or a part is no number or array of numbers.
    """
    tuple_of = {f"state.{name}": part for name, part in state._asdict().items()} if hasattr(state, "_asdict") else None
    named = {"state": state} if tuple_of is None else tuple_of
    for name, part in named.items():
        if not isinstance(part, np.ndarray | np.generic | int | float) or np.asarray(part).dtype.kind not in "biuf":
            checks.reject(name, type(part).__qualname__, "an array of numbers, or a NamedTuple of such")
    return named


def variables(state: Any) -> dict[str, Any]:
    """Return the parts of a state as variables of a file.

    Parameters
    ----------
    state : of any closure.

    Returns
    -------
    Dims, array and attributes of each, by the name of the variable.
    """
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
    """Return the state in a file, inverse of :func:`variables`.

    Parameters
    ----------
    stored : has the variables.
    like : a state of the same closure.

    Returns
    -------
    State of the type of ``like``.
    """
    arrays = {name: stored[f"closure_{name}"].to_numpy() for name in parts(like)}
    return with_parts(like, {n: a if isinstance(parts(like)[n], np.ndarray) else a[()] for n, a in arrays.items()})


def with_parts(state: Any, named: dict[str, Any]) -> Any:
    """Return a state like another with other :func:`parts`.

    Parameters
    ----------
    state : of any closure.
    named : all its parts anew, by name.

    Returns
    -------
    State of the same type, with numbers of the type that they have in ``state``.
    """
    before = parts(state)
    values = [part if isinstance(part, np.ndarray) else type(before[name])(part) for name, part in named.items()]
    return type(state)(*values) if hasattr(state, "_asdict") else values[0]


def numbers(name: str, value: npt.ArrayLike) -> F64:
    """Return an array, list or DataArray of real numbers of any type as a C-ordered float64 array of native bytes.

    Parameters
    ----------
    name : what a message calls it.
    value : the numbers.

    Returns
    -------
    (...), ``value`` itself where it is such an array.

    Raises
    ------
    ValueError
        It holds something else, or masked values.
    """
    if np.ma.is_masked(value):
        checks.reject(name, "masked values", "numbers everywhere")
    return np.ascontiguousarray(checks.real_array(name, value))


def slow_variables(z: npt.ArrayLike, fitted: tuple[int, ...] | None = None) -> F64:
    """Return z (member, ...) as :func:`numbers` does.

    Parameters
    ----------
    z : slow variables or predictors.
    fitted : shape of one member that the closure was fitted for; None takes (K,) for any K.

    Returns
    -------
    (member, ...)

    Raises
    ------
    ValueError
        ``z`` is not of that shape, or not made of numbers.
    """
    array = numbers("z", z)
    if array.ndim < 2 or (array.ndim != 2 if fitted is None else array.shape[1:] != fitted):
        shape = ", ".join(map(str, fitted or ("K",)))
        size = "" if fitted is None else ", the size the closure was fitted for"
        checks.reject("z.shape", array.shape, f"(member, {shape}){size}")
    return array
