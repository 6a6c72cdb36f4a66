"""What a file holds where there are no data, or holds in another form, is never taken for data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import l96closure as lc
from l96closure.closures import Analog, Noise, Polynomial, PolynomialAR1, Quantiles, SchrodingerBridge, Trend

FILL = 9.969209968386869e36
TIMES, SITES = 120, 4


def sound() -> xr.Dataset:
    z, psi = np.random.default_rng(0).standard_normal((2, TIMES, SITES))
    return xr.Dataset(
        {"z": (("time", "k"), z), "psi": (("time", "k"), psi - z)}, coords={"time": 0.1 * np.arange(TIMES)}
    )


def spoilt(value: float, **attributes: Any) -> xr.Dataset:
    """Put a value into the last record of psi, and give psi attributes."""
    data = sound()
    data["psi"][-1, 2] = value
    data["psi"].attrs.update(attributes)
    return data


def packed(**attributes: Any) -> xr.Dataset:
    data = sound()
    data["psi"] = (100 * data["psi"]).astype(np.int16).assign_attrs(attributes)
    return data


CASES: dict[str, tuple[xr.Dataset, str]] = {
    "never written": (spoilt(FILL), r"9\.969\S*e\+36 .* netCDF's fill value"),
    "never written, single precision": (spoilt(FILL).astype(np.float32), r"9\.969\S*e\+36 .* netCDF's fill value"),
    "_FillValue": (spoilt(-9999.0, _FillValue=-9999.0), r"-9999\.0 .* _FillValue .* xr\.decode_cf"),
    "missing_value": (spoilt(1e20, missing_value=[1e20, -1.0]), r"1e\+20 .* missing_value .* xr\.decode_cf"),
    "missing_value, single precision": (
        spoilt(1e20).astype(np.float32).pipe(lambda d: d.assign(psi=d["psi"].assign_attrs(missing_value=1e20))),
        r"1\.0*\d*e\+20 .* missing_value",
    ),
    "valid_range": (spoilt(-999.0, valid_range=[-50.0, 50.0]), r"-999\.0 .* from -50 to 50, the valid_range"),
    "valid_min": (spoilt(-999.0, valid_min=-50.0), r"-999\.0 .* from -50 to inf, the valid_min"),
    "valid_max": (spoilt(999.0, valid_max=50.0), r"999\.0 .* from -inf to 50, the valid_max"),
    "packed": (packed(scale_factor=0.01), r"\.scale_factor = 0\.01 .* packed: xr\.decode_cf"),
    "packed about an offset": (packed(add_offset=3.0), r"\.add_offset = 3\.0 .* packed"),
    "unsigned": (packed(_Unsigned="true"), r"\._Unsigned = 'true' .* packed"),
    "default of integers": (
        packed().pipe(lambda d: d.assign(psi=d["psi"].where(d["psi"] != d["psi"][-1, 2], np.int16(-32767)))),
        r"-32767\.0 .* default fill value",
    ),
    "missing": (spoilt(np.nan), r"nan .* finite"),
}
FEW: dict[str, Any] = {
    "fields": lc.Fields(radius=0, lags=()),
    "trend": Trend(2, 1),
    "law": Quantiles(centres=200),
    "noise": Noise(1),
}


def backwards(data: xr.Dataset) -> xr.Dataset:
    """Return the last times of a record as a history whose step before now is the last."""
    before = data.isel(time=slice(None, None, -1)).drop_vars("time").rename(time="lag")
    now = before.isel(lag=slice(1, 2))
    both = xr.concat([now, before], "lag", data_vars="all", combine_attrs="override")
    return both.assign_coords(lag=0.1 * np.arange(both.sizes["lag"])).expand_dims("member")


ENTRIES: dict[str, Callable[[xr.Dataset], object]] = {
    **{
        of.name: of.fit
        for of in (Polynomial, PolynomialAR1, Analog)
    },
    "schrodinger_bridge": lambda data: SchrodingerBridge.fit(data, **FEW),
    "diagnose, truth": lambda data: lc.diagnose(data, sound().expand_dims("member")),
    "diagnose, coarse run": lambda data: lc.diagnose(sound(), data.expand_dims("member")),
    "inputs": lambda data: Polynomial.fit(sound(), lc.Fields("psi", "z", radius=0, lags=())).fields.inputs(
        data.drop_vars("time").rename(time="member")
    ),
    "probability": lambda data: SchrodingerBridge.fit(sound(), **FEW).probability(data),
    "history": lambda data: lc.history(lambda z: -z, data.assign(z=data["psi"])),
    "replay": lambda data: lc.replay(lambda z: -z, data),
    "a closure's history": lambda data: SchrodingerBridge.fit(sound(), **FEW).init(
        sound()["z"].values[:1], 0, history=backwards(data)
    ),
    "forecast": lambda data: lc.forecast(
        lambda z: -z,
        lc.closures.NoClosure(dt=0.1),
        data.assign(z=data["psi"]),
        starts=2, members=2, leads=[0.0, 0.1, 0.2],
    ),
    "verify": lambda data: lc.verify(
        lc.forecast(
            lambda z: -z, lc.closures.NoClosure(dt=0.1), sound(), starts=2, members=2, leads=[0.0, 0.1, 0.2]
        ),
        data.assign(z=data["psi"]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("entry", ENTRIES)
def test_is_refused_everywhere(entry: str, case: str) -> None:
    data, message = CASES[case]
    with pytest.raises(ValueError, match=message) as caught:
        ENTRIES[entry](data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("entry", ENTRIES)
def test_sound_data_with_all_these_attributes_are_taken(entry: str) -> None:
    announced = {"_FillValue": -9999.0, "missing_value": 1e20, "valid_range": [-50.0, 50.0], "valid_min": -50.0}
    data = sound()
    data["psi"].attrs.update(announced)
    ENTRIES[entry](data)


def test_a_valid_range_in_packed_units_counts_in_packed_units(tmp_path: Path) -> None:
    data = sound()
    data["psi"].attrs["valid_range"] = np.array([-1000, 1000], np.int16)
    encoding = {"psi": {"dtype": "int16", "scale_factor": 0.01, "_FillValue": np.int16(-32767)}}
    data.to_netcdf(tmp_path / "packed.nc", encoding=encoding)
    with xr.open_dataset(tmp_path / "packed.nc") as decoded:
        Polynomial.fit(decoded)
    data["psi"].attrs["valid_range"] = np.array([-100, 100], np.int16)
    data.to_netcdf(tmp_path / "packed.nc", encoding=encoding)
    with xr.open_dataset(tmp_path / "packed.nc") as decoded, pytest.raises(ValueError, match="from -1 to 1, the valid"):
        Polynomial.fit(decoded)
    with (
        xr.open_dataset(tmp_path / "packed.nc", mask_and_scale=False) as raw,
        pytest.raises(ValueError, match=r"scale_factor = .* xr\.decode_cf"),
    ):
        Polynomial.fit(raw)
