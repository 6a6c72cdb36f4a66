"""Statistics on other grids than a ring: profiles along levels, and isotropic spectra of planes."""

from __future__ import annotations

import numpy as np
import scipy

from l96closure.arrays import F64, I64
from l96closure.diagnostics import intervals
from l96closure.diagnostics.climate import batch_standard_errors, long_enough


def levels_of(rings: tuple[bool, ...]) -> int | None:
    """Return the number of the one dimension of a grid that is not periodic; None where there is not one such."""
    return rings.index(False) if rings.count(False) == 1 else None


def plane_of(rings: tuple[bool, ...]) -> tuple[int, int] | None:
    """Return the numbers of the two periodic dimensions of a grid; None where there are not two."""
    found = [number for number, ring in enumerate(rings) if ring]
    return (found[0], found[1]) if len(found) == 2 else None


def profile(x: F64, level: I64, levels: int) -> tuple[F64, F64, F64, F64]:
    """Mean and standard deviation at each level, over all else, with their standard errors.

    Parameters
    ----------
    x : (member, time, k).
    level : number of the level of each site (k,).
    levels : how many there are.

    Returns
    -------
    Mean, its error, standard deviation, its error, each (level,), NaN at a level without sites; errors as in
    :func:`~climate.batch_standard_errors`.
    """
    mean, mean_se, std, std_se = np.full((4, levels), np.nan)
    for number in np.unique(level):
        at = x[:, :, level == number]
        mean[number], std[number] = at.mean(), at.std()
        mean_se[number], std_se[number] = batch_standard_errors(at)
    return mean, mean_se, std, std_se


def total_wavenumbers(rows: int, columns: int) -> I64:
    """Total wavenumber of each wave of a plane, rounded: |m| with m in cycles along the longer side.

    Parameters
    ----------
    rows, columns : number of sites along either side, equally far apart.

    Returns
    -------
    (rows, columns // 2 + 1), for waves as :func:`scipy.fft.rfft2` has them.
    """
    most = max(rows, columns)
    waves = np.hypot(np.fft.fftfreq(rows)[:, np.newaxis], np.fft.rfftfreq(columns))
    return np.rint(most * waves).astype(np.int64)


def isotropic_spectrum(x: F64, shape: tuple[int, ...], plane: tuple[int, int]) -> tuple[F64, F64]:
    """How the variance on a periodic plane is shared among total wavenumbers, with its standard error.

    The power of all waves whose total wavenumber, in cycles along the longer side, rounds to the same number is summed,
    those of the corners too; so the spectrum sums to the variance about the mean of everything on that plane.

    Parameters
    ----------
    x : (member, time, k).
    shape : sizes of the grid, whose sites k are counted in C order.
    plane : numbers of the two periodic dimensions, along which sites are equally far apart.

    Returns
    -------
    Two arrays (*rest, wavenumber), ``rest`` the other dimensions of the grid; the standard errors are by batch means,
    as in :func:`~ring.spectrum`.
    """
    at = np.moveaxis(x.reshape(*x.shape[:2], *shape), [2 + axis for axis in plane], [-2, -1])
    rows, columns = at.shape[-2:]
    anomaly = at - at.mean(axis=(0, 1, -2, -1), keepdims=True)
    power = np.abs(scipy.fft.rfft2(anomaly, norm="forward")) ** 2
    power[..., 1 : (columns + 1) // 2] *= 2  # waves that come in a pair
    shells = total_wavenumbers(rows, columns)
    number = int(shells.max()) + 1
    sums = np.zeros((shells.size, number))
    sums[np.arange(shells.size), shells.ravel()] = 1.0
    series = power.reshape(*power.shape[:-2], -1) @ sums
    error = intervals.batched_standard_error(series)
    return series.mean(axis=(0, 1)), error if long_enough(x) else np.full_like(error, np.nan)
