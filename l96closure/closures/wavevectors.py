"""Fields on a grid, some of whose dims may be periodic, as vectors for each wavevector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from l96closure import checks
from l96closure.arrays import C128, F64, Index
from l96closure.fields import Fields


@dataclass(frozen=True)
class Wavevectors:
    """The wavevectors of the periodic dims of a grid; its other dims are levels, of L sites. Without any there is one.

    Of a real field those of one sign of the last component are enough, M of them. Transforms are unitary: white noise
    of variance 1 has variance 1 at every wavevector.

    Attributes
    ----------
    shape : sites along each dim of the grid.
    periodic : which of the dims have wavenumbers.
    """

    shape: tuple[int, ...]
    periodic: tuple[bool, ...]

    @classmethod
    def of(cls, fields: Fields) -> Wavevectors:
        """Return those of the grid of a closure; raises ``ValueError`` where no dim is periodic."""
        if not any(fields.homogeneous):
            checks.reject(
                "fields.periodic", fields.periodic, "True for one dim at least, whose sites are alike, without mask"
            )
        return cls(fields.shape, fields.homogeneous)

    @property
    def size(self) -> tuple[int, ...]:
        """Sites along each periodic dim."""
        return tuple(n for n, periodic in zip(self.shape, self.periodic, strict=True) if periodic)

    @property
    def cells(self) -> int:
        """Sites of the whole grid."""
        return math.prod(self.shape)

    @property
    def levels(self) -> int:
        """Sites of the other dims together, L."""
        return self.cells // math.prod(self.size)

    @property
    def _order(self) -> tuple[int, ...]:
        """Dims with the levels first."""
        return tuple(sorted(range(len(self.shape)), key=lambda dim: self.periodic[dim]))

    def modes(self, values: F64) -> C128:
        """Transform fields.

        Parameters
        ----------
        values : (..., V, K)

        Returns
        -------
        (..., V L, M)
        """
        lead = values.shape[:-1]
        grid = values.reshape(*lead, *self.shape)
        grid = grid.transpose(*range(len(lead)), *(len(lead) + dim for dim in self._order))
        grid = grid.reshape(*lead[:-1], lead[-1] * self.levels, *self.size)
        if not self.size:
            return grid.astype(np.complex128)[..., None]
        modes = np.fft.rfftn(grid, axes=range(-len(self.size), 0), norm="ortho")
        return modes.reshape(*modes.shape[: -len(self.size)], math.prod(modes.shape[-len(self.size) :]))

    def values(self, modes: C128) -> F64:
        """Inverse of :meth:`modes`.

        Parameters
        ----------
        modes : (..., V L, M)

        Returns
        -------
        (..., V, K)
        """
        lead = modes.shape[:-2]
        grid: npt.NDArray[np.floating] = modes.real
        if self.size:
            half = modes.reshape(*modes.shape[:-1], *self.size[:-1], self.size[-1] // 2 + 1)
            grid = np.fft.irfftn(half, self.size, axes=range(-len(self.size), 0), norm="ortho")
        ordered = tuple(self.shape[dim] for dim in self._order)
        grid = grid.reshape(*lead, modes.shape[-2] // self.levels, *ordered)
        back = np.argsort(self._order)
        grid = grid.transpose(*range(len(lead) + 1), *(len(lead) + 1 + dim for dim in back))
        return np.ascontiguousarray(grid).reshape(*lead, -1, self.cells)

    def means(self, segments: Sequence[F64]) -> F64:
        """Average fields over time and the periodic dims.

        Parameters
        ----------
        segments : fields of each segment (time, V, K).

        Returns
        -------
        (V L,)
        """
        total = sum((self.modes(one.sum(axis=0))[:, 0].real for one in segments), np.zeros(()))
        return total / (math.sqrt(math.prod(self.size)) * sum(map(len, segments)))

    def shift(self, modes: C128, by: F64) -> None:
        """Add constants to fields, in place of their transforms.

        Parameters
        ----------
        modes : (..., V L, M), written to.
        by : (V L,)
        """
        modes[..., 0] += math.sqrt(math.prod(self.size)) * by

    @property
    def sizes(self) -> F64:
        """Size of each wavevector (M,), in cycles over the longest periodic dim; grid spacings count as equal."""
        last = np.arange(self.size[-1] // 2 + 1) / self.size[-1]
        axes = [np.fft.fftfreq(n) for n in self.size[:-1]] + [last]
        squares = sum(np.meshgrid(*(axis**2 for axis in axes), indexing="ij"))
        return max(self.size) * np.sqrt(np.ravel(squares))

    @property
    def directions(self) -> F64:
        """Angle of each wavevector of a plane (M,), 0 along its last dim."""
        last = np.arange(self.size[1] // 2 + 1) / self.size[1]
        return np.ravel(np.arctan2(np.fft.fftfreq(self.size[0])[:, None], last))

    @property
    def rings(self) -> Index:
        """Ring of each wavevector (M,): the whole number nearest to its size; the mean alone is 0."""
        return np.rint(self.sizes).astype(np.intp)

    @property
    def counts(self) -> F64:
        """How many wavevectors each stands for (M,): two, of both signs, unless both are among those here."""
        if not self.size:
            return np.ones(1)
        last = np.arange(self.size[-1] // 2 + 1)
        alone = (last == 0) | (2 * last == self.size[-1])
        return np.broadcast_to(np.where(alone, 1.0, 2.0), (*self.size[:-1], last.size)).ravel().copy()
