"""The folder of restart files: only own files in it are touched, and it goes with the last of them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import l96closure as lc
from l96closure import store
from l96closure.restart import Restart

PART = xr.Dataset({"z": 1.0})


def test_a_folder_is_there_while_the_work_is_unfinished(tmp_path: Path) -> None:
    restart = Restart(tmp_path / "work", 0.0)
    assert restart.parts() == []
    assert not list(tmp_path.iterdir())
    for n in range(3):
        restart.append(xr.Dataset({"z": ("k", np.full(2, float(n)))}))
    assert [float(part["z"][0]) for part in Restart(tmp_path / "work", 0.0).parts()] == [0.0, 1.0, 2.0]
    restart.clear()
    assert not list(tmp_path.iterdir())


def flip_a_byte(part: Path) -> None:
    content = bytearray(part.read_bytes())
    content[-200] ^= 1
    part.write_bytes(content)


@pytest.mark.parametrize("damage", [flip_a_byte, Path.unlink])
def test_parts_after_a_damaged_one_are_not_used_but_written_anew(tmp_path: Path, damage: Any) -> None:
    restart = Restart(tmp_path, 0.0)
    for n in range(3):
        restart.append(xr.Dataset({"z": float(n)}))
    damage(tmp_path / "000001.nc")
    again = Restart(tmp_path, 0.0)
    assert [float(part["z"]) for part in again.parts()] == [0.0]
    again.append(xr.Dataset({"z": 7.0}))
    assert [float(part["z"]) for part in Restart(tmp_path, 0.0).parts()] == [0.0, 7.0]


@pytest.mark.parametrize("left", [[".000000.0123abcd.tmp.nc"], [".000001.ffffffff.tmp.nc", ".000002.00000000.tmp.nc"]])
@pytest.mark.parametrize("parts", [0, 1, 2, 11])
def test_temporary_files_of_the_killed_take_no_part_away(tmp_path: Path, parts: int, left: list[str]) -> None:
    folder = tmp_path / "work"
    for n in range(parts):
        Restart(folder, 0.0).append(xr.Dataset({"z": float(n)}))
        for name in left:
            (folder / name).write_bytes(b"half of a part")
    for _ in range(2):
        assert [float(part["z"]) for part in Restart(folder, 0.0).parts()] == list(range(parts))
    Restart(folder, 0.0).append(xr.Dataset({"z": float(parts)}))
    assert len(Restart(folder, 0.0).parts()) == parts + 1
    Restart(folder, 0.0).clear()
    assert not folder.exists()


def test_all_that_is_ours_goes_and_takes_the_folder_along(tmp_path: Path) -> None:
    restart = Restart(tmp_path / "work", 0.0)
    for n in range(3):
        restart.of_piece(n).append(PART)
        restart.of_piece(n).of_piece(n).append(PART)
    restart.append(PART)
    restart.clear()
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_of_the_user_stays(tmp_path: Path) -> None:
    restart = Restart(tmp_path, 1e6)
    with restart:
        assert restart.parts() == []
    restart.clear()
    assert tmp_path.is_dir()


# What somebody else may have in the folder; each begins outside of it, where nothing may change either


def _text(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")


def _netcdf(folder: Path) -> None:
    PART.to_netcdf(folder / "000000.nc")


def _of_other_kind(folder: Path) -> None:
    store.write(PART, folder / "000001.nc", kind="truth", title="A title", history="a command")


def _ours_by_another_name(folder: Path) -> None:
    store.write(PART, folder / "truth.nc", kind="restart", title="A title", history="a command")


def _unlike_ours(folder: Path) -> None:
    (folder / ".000000.tmp.nc").write_text("mine")


def _folder(folder: Path) -> None:
    (folder / "piece0").mkdir()
    (folder / "piece0" / "000000.nc").write_text("mine")


def _folder_by_another_name(folder: Path) -> None:
    (folder / "figures").mkdir()


def _link(folder: Path) -> None:
    Restart(folder.parent / "elsewhere", 0.0).append(PART)
    (folder / "000000.nc").symlink_to(folder.parent / "elsewhere" / "000000.nc")


def _link_to_a_folder(folder: Path) -> None:
    Restart(folder.parent / "elsewhere", 0.0).append(PART)
    (folder / "piece0").symlink_to(folder.parent / "elsewhere")


def _link_to_nothing(folder: Path) -> None:
    (folder / "000002.nc").symlink_to(folder.parent / "nothing")


FOREIGN = [
    *(_text, _netcdf, _of_other_kind, _ours_by_another_name, _unlike_ours, _folder, _folder_by_another_name),
    *(_link, _link_to_a_folder, _link_to_nothing),
]


def enter(restart: Restart) -> None:
    with restart:
        restart.parts()


def simulate(restart: Restart) -> None:
    lc.TwoScaleLorenz96(K=4, J=1).simulate(3, spinup=0.0, restart=restart)


CALLS: dict[str, Callable[[Restart], Any]] = {
    "parts": Restart.parts,
    "append": lambda restart: restart.append(PART),
    "clear": Restart.clear,
    "enter": enter,
    "simulate": simulate,
    "of a piece": lambda restart: restart.of_piece(0).parts(),
    "append to a piece": lambda restart: restart.of_piece(0).append(PART),
    "clear a piece": lambda restart: restart.of_piece(0).clear(),
    "of a computation": lambda restart: restart.of("this").append(PART),
}


def everything(root: Path) -> dict[str, Any]:
    """Content of all files, targets of all links, and the folders."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
    return found


@settings(max_examples=60, deadline=None)
@given(
    foreign=st.sampled_from(FOREIGN),
    before=st.lists(st.sampled_from(["append", "append to a piece"]), max_size=2),
    calls=st.lists(st.sampled_from(sorted(CALLS)), min_size=1, max_size=5),
    same=st.booleans(),
)
def test_what_is_somebody_elses_survives_any_sequence_of_calls(
    foreign: Callable[[Path], None], before: list[str], calls: list[str], same: bool
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder, alone = Path(scratch) / "a" / "work", Path(scratch) / "b" / "work"
        for place in (folder, alone):
            place.mkdir(parents=True)
        foreign(alone)
        theirs = everything(alone.parent)
        restart = Restart(folder, 0.0)
        for name in before:
            CALLS[name](restart)
        if foreign in (_folder, _link_to_a_folder):
            shutil.rmtree(folder / "piece0", ignore_errors=True)
        for name in ("000000.nc", "000001.nc", "000002.nc"):
            if name in {Path(path).name for path in theirs}:
                (folder / name).unlink(missing_ok=True)
        folder.mkdir(exist_ok=True)
        foreign(folder)
        theirs = {name: value for name, value in everything(folder.parent).items() if name in theirs}
        for name in calls:
            with suppress(ValueError):
                CALLS[name](restart if same else Restart(folder, 0.0))
            now = everything(folder.parent)
            assert {other: now.get(other) for other in theirs} == theirs


@pytest.mark.parametrize("foreign", [one for one in FOREIGN if one is not _folder])
@pytest.mark.parametrize("name", sorted(set(CALLS) - {"clear", "clear a piece"}))
def test_a_folder_of_somebody_elses_is_refused_at_the_first_call(
    tmp_path: Path, foreign: Callable[[Path], None], name: str
) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    foreign(folder)
    before = everything(tmp_path)
    with pytest.raises(ValueError, match=r"^folder of restart files = '.*results' is not .* a folder of .*$"):
        CALLS[name](Restart(folder, 0.0))
    assert everything(tmp_path) == before


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("mine")
    with pytest.raises(ValueError, match=r"it must be a folder$"):
        Restart(tmp_path / "results", 0.0).parts()


def test_a_file_that_came_in_between_is_not_written_over(tmp_path: Path) -> None:
    restart = Restart(tmp_path, 0.0)
    restart.append(PART)
    (tmp_path / "000001.nc").write_text("mine")
    with pytest.raises(ValueError, match=r"'000001\.nc' in it is none of them"):
        restart.append(PART)
    assert (tmp_path / "000001.nc").read_text() == "mine"
