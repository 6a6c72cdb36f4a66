"""The unit of time: decided by the times of the data, and shown as a reader would choose it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from l96closure.attributes import ATTRIBUTES
from l96closure.durations import duration, scaled
from l96closure.plot import hovmoeller
from l96closure.series import time_step, time_unit

STEPS = 6 * np.arange(4)
DATES = np.datetime64("2001-01-01T00", "ns") + STEPS.astype("m8[h]")


@pytest.mark.parametrize(
    ("values", "attributes", "unit", "step"),
    [
        (STEPS, {}, "1", 6.0),
        (STEPS, ATTRIBUTES["time"], "1", 6.0),  # of our own files, whose dates are none
        (DATES, {"long_name": "model time"}, "s", 21600.0),  # a climate model's
        (DATES, {}, "s", 21600.0),
        (xr.date_range("2001-01-01", periods=4, freq="6h", calendar="360_day", use_cftime=True), {}, "s", 21600.0),
        (STEPS.astype("m8[h]").astype("m8[ns]"), {}, "s", 21600.0),
        (STEPS, {"units": "hours since 2001-01-01"}, "h", 6.0),
        (STEPS, {"units": "hours"}, "h", 6.0),
        (STEPS, {"units": "months"}, "months", 6.0),
    ],
)
def test_the_unit_of_time_is_what_a_step_is_counted_in(
    values: Any, attributes: dict[str, str], unit: str, step: float
) -> None:
    data = xr.Dataset(coords={"time": ("time", values, attributes)})
    assert time_unit(data) == unit
    assert time_step("data", data) == step


@pytest.mark.parametrize(
    ("longest", "unit", "shown"),
    [
        (432000.0, "s", (5.0, "days")),
        (7200.0, "s", (2.0, "h")),
        (7199.0, "s", (7199.0 / 60.0, "min")),
        (90.0, "s", (90.0, "s")),
        (0.0, "s", (0.0, "s")),
        (50.0, "h", (50.0, "h")),
        (3.0, "d", (3.0, "days")),
        (1e6, "1", (1e6, "model time units")),
    ],
)
def test_an_axis_has_the_unit_that_its_longest_time_asks_for(
    longest: float, unit: str, shown: tuple[float, str]
) -> None:
    times = xr.DataArray([0.0, longest, np.inf, np.nan], dims="lag", attrs={"units": unit})
    factor, name = scaled(times)
    assert (factor * longest, name) == (pytest.approx(shown[0]), shown[1])


def test_no_time_is_shown_with_an_exponent_or_without_its_unit() -> None:
    assert duration(86400.0 * 12345.0, "s", ".3g") == "12345 days"
    assert duration(1234.5, "1", ".3g") == "1234"
    assert duration(2.0, "d") == "2 days"
    assert duration(1e-3, "s") == "0.001 s"


@pytest.mark.parametrize("times", [DATES, STEPS * 3600.0])
def test_a_hovmoeller_picture_of_dates_covers_the_records(times: Any) -> None:
    run = xr.Dataset({"z": (("time", "k"), np.arange(12.0).reshape(4, 3))}, {"time": times})
    if times is not DATES:
        run["time"].attrs["units"] = "s"
    panels = hovmoeller(run, run.expand_dims("member"))
    assert panels[0].get_ylabel() == "time (h)"
    assert panels[0].images[0].get_extent() == [-0.5, 2.5, 0.0, 18.0]
    assert panels[0].images[0].get_array().shape == (4, 3)
