"""The coarse run in batches of members: where one blows up, all are kept as if they had been one."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import xarray as xr
from command_line import composed

import l96closure as lc
from l96closure.coarse import BlowUpError
from l96closure.experiments.climate.batches import run_batches
from l96closure.experiments.climate.settings import Settings


def start(wild: int, members: int = 6) -> Any:
    """Return states of which one is about to blow up."""
    z0 = np.random.default_rng(1).normal(2.0, 2.0, (members, 12))
    z0[wild] *= 8.0
    return z0


def blown_up(batches: int, wild: int, keep_good: bool = True) -> BlowUpError:
    how = ("coarse=euler", "coarse.dt=0.01", "coarse.steps=400", "coarse.save_every=3", "coarse.members=6")
    how += ("forecast.every=0.06", "forecast.lead=0.6", f"coarse.batches={batches}")
    given = Settings.from_config(composed(*how, f"coarse.keep_good={str(keep_good).lower()}"))
    with pytest.raises(BlowUpError) as caught:
        run_batches(given, start(wild), lc.closures.NoClosure(), None)
    return caught.value


@pytest.mark.parametrize("wild", [0, 2, 5])
@pytest.mark.parametrize("batches", [2, 3, 6])
def test_a_blow_up_in_any_batch_keeps_what_one_batch_keeps(batches: int, wild: int) -> None:
    """Without noise the members are the same however they are divided."""
    one, several = blown_up(1, wild), blown_up(batches, wild)
    assert several.run.identical(one.run)
    assert several.good.identical(one.good)
    assert several.good.sizes["member"] == 6
    assert np.isfinite(several.good["z"]).all()
    assert str(several) == str(one)
    assert several.last.attrs == one.last.attrs
    assert several.last.identical(one.last.sel(member=several.last["member"]))
    assert several.last.attrs["member"] in several.last["member"]


@pytest.mark.parametrize("batches", [2, 3])
def test_members_keep_their_numbers_where_nothing_is_kept(batches: int) -> None:
    error = blown_up(batches, wild=5, keep_good=False)
    assert error.last.attrs["member"] in error.last["member"]
    assert f"in member {error.last.attrs['member']} in step " in str(error)


def test_a_blow_up_in_the_spin_up_leaves_no_records() -> None:
    """What came before would be states of the truth."""
    how = ("coarse=euler", "coarse.dt=0.05", "coarse.members=6", "coarse.batches=2", "coarse.keep_good=true")
    how += ("reference.spinup=50", "+reference.model.F=24", "forecast.every=0.5", "diagnostics.max_lag=1")
    given = Settings.from_config(composed(*how))
    with pytest.raises(BlowUpError, match=r"\(time -\d+") as caught:
        run_batches(given, start(0), lc.closures.NoClosure(), None)
    assert caught.value.good.sizes["time"] == 0
    assert caught.value.last.attrs["step"] < 0


def test_a_blow_up_comes_back_from_another_process_as_it_was() -> None:
    error = blown_up(2, wild=1)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert again.last.identical(error.last)
    assert again.good.identical(error.good)
    assert isinstance(again.good, xr.Dataset)
