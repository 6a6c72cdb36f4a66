"""Reliability of a conditional law by its probabilities: uniform where it is right, and said how where it is not.

Tolerances of statistical claims are intervals of the kind tested in test_coverage.py, doubled.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from scipy import signal, stats

from l96closure import plot
from l96closure.diagnostics.reliability import DECILES, pit
from l96closure.experiments.climate import tables as report
from l96closure.experiments.climate.figures import pictures
from l96closure.plot import style

F64 = npt.NDArray[np.float64]

_PHI = 0.6


def probabilities(
    times: int, sites: int, rng: np.random.Generator, spread: float = 1.0, shift: float = 0.0, members: int = 0
) -> xr.DataArray:
    """Of normal values, correlated in time and space, under a law ``spread`` times as wide and ``shift`` too high."""
    noise = rng.standard_normal((members or 1, times, sites))
    noise[:, 1:] *= np.sqrt(1 - _PHI**2)
    x = signal.lfilter([1.0], [1.0, -_PHI], noise, axis=1)
    x = (x + np.roll(x, 1, axis=2)) / np.sqrt(2.0 if sites > 1 else 4.0)
    u = stats.norm.cdf((x - shift) / spread)
    dims = ("member", "time", "k") if members else ("time", "k")
    return xr.DataArray(u if members else u[0], dims=dims, coords={"time": 0.1 * np.arange(times)})


def expected(spread: float, shift: float) -> F64:
    """Share of values below the deciles of the law, less the deciles."""
    return stats.norm.cdf(spread * stats.norm.ppf(DECILES) + shift) - DECILES


@pytest.mark.parametrize("members", [0, 3])
@pytest.mark.parametrize(("spread", "shift"), [(1.0, 0.0), (0.8, 0.0), (1.3, 0.0), (1.0, 0.3)])
@pytest.mark.parametrize("sites", [1, 5])
def test_shares_are_those_of_the_known_law(sites: int, spread: float, shift: float, members: int) -> None:
    u = probabilities(6000, sites, np.random.default_rng([sites, members]), spread, shift, members)
    result = pit(u, max_lag=2.0)
    low, value, high = (result[f"pit_error{part}"].values for part in ("_low", "", "_high"))
    truth = expected(spread, shift)
    assert (value + 2 * (low - value) < truth).all()
    assert (truth < value + 2 * (high - value)).all()
    largest, least, most = (float(result[f"pit_largest_error{part}"]) for part in ("", "_low", "_high"))
    assert largest == np.abs(value).max()
    assert largest + 2 * (least - largest) <= np.abs(truth).max() <= largest + 2 * (most - largest)
    if spread != 1.0 or shift:
        assert least > 0.0
    np.testing.assert_allclose(value, [(u.values <= p).mean() - p for p in DECILES])
    np.testing.assert_allclose(result["pit_density"], np.histogram(u.values, bins=10, range=(0, 1), density=True)[0])
    assert all(variable.attrs["long_name"] for variable in result.variables.values())


def test_memory_of_u_is_told_and_widens_the_intervals() -> None:
    u = probabilities(8000, 1, np.random.default_rng(3))
    result = pit(u, max_lag=1.0)
    # The correlation of u of two normal values of correlation r is 6 / pi arcsin(r / 2).
    known = 6 / np.pi * np.arcsin(_PHI ** np.arange(11) / 2)
    departure = np.abs(result["pit_autocorrelation"] - known)
    assert (departure <= 4 * result["pit_autocorrelation_se"] + 1e-12).all()
    np.testing.assert_allclose(result["pit_lag"], 0.1 * np.arange(11))
    widths: list[tuple[float, float]] = []
    for seed in range(20):
        rng = np.random.default_rng([4, seed])
        again = probabilities(4000, 1, rng)
        pair = (pit(x, max_lag=1.0).sel(decile=0.5) for x in (again, again.copy(data=rng.permutation(again.values))))
        widths.append(tuple(float(r["pit_error_high"] - r["pit_error_low"]) ** 2 for r in pair))
    # Of the share below the median the correlation is 2 / pi arcsin(r). A squared width has 19 degrees of freedom.
    longer = 1 + 2 * (2 / np.pi * np.arcsin(_PHI ** np.arange(1, 60))).sum()
    ratio = np.mean(widths, axis=0)[0] / np.mean(widths, axis=0)[1]
    assert abs(np.log(ratio / longer)) < 4 * np.sqrt(2 * 2 / 19 / 20)
    copies = pit(xr.concat([u] * 4, dim="k"), max_lag=1.0)  # sites that are alike make nothing narrower
    np.testing.assert_allclose(copies["pit_error_high"], result["pit_error_high"], rtol=1e-6)


def test_unknown_first_times_and_sites_are_left_out() -> None:
    u = probabilities(4000, 4, np.random.default_rng(5))
    padded = u.copy(data=np.where(np.arange(4000)[:, None] < 7, np.nan, u.values))
    xr.testing.assert_allclose(pit(padded), pit(u.isel(time=slice(7, None))))
    with_land = xr.concat([padded, padded.isel(k=[0]) * np.nan], dim="k")
    xr.testing.assert_allclose(pit(with_land), pit(padded))


def test_a_short_record_has_no_intervals() -> None:
    result = pit(probabilities(60, 3, np.random.default_rng(6)), max_lag=1.0)
    assert result["pit_error"].notnull().all()
    for name in ("pit_error", "pit_largest_error", "pit_density"):
        assert result[f"{name}_low"].isnull().all()
        assert result[f"{name}_high"].isnull().all()
    (table,) = report.law(result)
    assert not any("nan" in cell for row in table.rows for cell in row.cells)
    assert "not given where fewer than 20 stretches of time are independent" in table.note


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda u: u.values, r"^probabilities = 'ndarray' .* DataArray of dims \(time, k\)"),
        (lambda u: u.rename(k="site"), r"^probabilities = .* DataArray of dims \(time, k\)"),
        (lambda u: u.drop_vars("time"), r"^probabilities\.sizes\['time'\] = .* time coordinate"),
        (lambda u: u * 2, r"^probabilities = 1\.\d+ .* between 0 and 1"),
        (lambda u: u * np.nan, r"^probabilities = '0 times at which all are known' .* two or more"),
        (lambda u: u.where(u["time"] != u["time"][9]), r"^probabilities at member 0, time index 9 = nan .* finite"),
    ],
)
def test_what_is_no_record_of_probabilities_is_refused(change, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        pit(change(probabilities(40, 3, np.random.default_rng(7))))
    assert "\n" not in str(caught.value)


def test_table_and_picture_show_the_numbers(tmp_path: Path) -> None:
    result = pit(probabilities(3000, 4, np.random.default_rng(8), spread=0.8), max_lag=1.0)
    (table,) = report.law(result)
    assert [row.label for row in table.rows] == [*(f"{p:g}" for p in DECILES), "largest"]
    first = float(result["pit_error"][0])
    assert table.rows[0].cells[:2] == (f"{first + 0.1:.4f}", f"{first:+.4f}")
    assert table.rows[-1].cells[1] == f"{float(result['pit_largest_error']):.4f}"
    histogram, errors, memory = plot.reliability(result)
    np.testing.assert_array_equal(histogram.patches[0].get_data().values, result["pit_density"])
    np.testing.assert_array_equal(errors.lines[0].get_ydata(), result["pit_error"])
    np.testing.assert_array_equal(memory.lines[0].get_ydata(), result["pit_autocorrelation"])
    (picture,) = style.save_all(tmp_path, pictures(result))
    assert picture.path.read_bytes().startswith(b"\x89PNG")
    assert style.save_all(tmp_path, pictures(xr.Dataset())) == report.law(xr.Dataset()) == []
