"""The command line, ``l96closure [overrides]``: composes the settings with Hydra and runs an experiment.

Standard output carries the scores and, as its last line, the run folder; all else goes to standard error.
Whatever the user has to change ends in one line and exit status 2; ``HYDRA_FULL_ERROR=1`` shows its origin. A run that
is interrupted or terminated keeps what it has done and exits with 130 or 143; ``resume=true`` goes on with it.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from l96closure import checks, progress
from l96closure.experiments import WORKFLOWS
from l96closure.experiments.climate import schema
from l96closure.experiments.run_folder import locked
from l96closure.experiments.stored import read_settings, read_yaml, to_yaml
from l96closure.store import atomic_path
from l96closure.terminal import tell

__all__ = ["config_folder", "main"]

_USER_ERRORS = (ValueError, FloatingPointError, MemoryError, OSError, HydraException, OmegaConfBaseException)
_FULL_ERROR = "HYDRA_FULL_ERROR"
_NOTES, _NOTES_OF_SWEEP = ".hydra", "multirun.yaml"
_OF_ONE_COMMAND = ("run_dir", "resume", "force")  # settings that the next command does not take over
_FREE = (*_OF_ONE_COMMAND, "stages", "checkpoint_every", "compute")  # settings that a resumed run may change


for _group, _options in schema.options().items():  # beside the YAML files of the group
    for _name, _node in _options.items():
        ConfigStore.instance().store(group=_group, name=_name, node=_node, package=schema.packages.get(_group))


class _Stop(BaseException):
    """Carries a user's error, as its cause, past Hydra, which would go on with the next job of a sweep."""


class _Terminated(BaseException):
    """The system asks the program to end."""


class _Folders:
    """The run folder of this command, and what was there before: what fails takes away no more than it has made."""

    def __init__(self) -> None:
        self._before: set[Path] | None = None

    def choose(self, chosen: Any, usual: str) -> Any:
        """Return the folder the user has chosen, or a new one that no other command has, called ``usual`` if free."""
        folder = Path(os.path.abspath(str(chosen or usual)))
        self._before = {path for path in (folder, *folder.parents) if os.path.lexists(path)}
        with suppress(OSError):
            self._before |= set(folder.iterdir())  # the runs of a sweep
        if chosen:
            return chosen
        for number in itertools.count(1):
            name = usual if number == 1 else f"{usual}_{number}"
            try:
                os.makedirs(name)
            except FileExistsError:
                continue
            except OSError:  # Hydra meets it again, and tells it better
                pass
            return name

    def remove_unused(self, folder: Path) -> None:
        """Remove a run folder, and those above it, if this command has made them and they hold but Hydra's notes."""
        before = self._before
        if before is None:  # a job of a sweep in another process does not know
            return
        with suppress(OSError):  # in its place the reader wants to see why the command failed
            for made in itertools.takewhile(lambda path: path not in before, (folder, *folder.parents)):
                if not {item.name for item in made.iterdir()} <= {_NOTES, _NOTES_OF_SWEEP}:
                    return
                shutil.rmtree(made / _NOTES, ignore_errors=True)
                (made / _NOTES_OF_SWEEP).unlink(missing_ok=True)
                made.rmdir()


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated


def config_folder() -> Path:
    """Return the folder of the configuration: the copy in an installed wheel, else ``conf/`` of the clone."""
    package = Path(__file__).resolve().parent
    shipped = package / "conf"
    return shipped if shipped.is_dir() else package.parent / "conf"


def main() -> None:
    """Run the command line; exits with 2 when the user has to change something, 130 or 143 when stopped by a signal."""
    signal.signal(signal.SIGTERM, _terminate)
    folders = _Folders()
    OmegaConf.register_new_resolver("run_folder", folders.choose, replace=True, use_cache=True)
    _run_nothing_else(sys.argv[1:])

    def job(config: DictConfig) -> None:
        _job(config, folders)

    application = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(job)
    if os.environ.get(_FULL_ERROR) == "1":
        application()
        return
    logging.raiseExceptions = False  # a log that cannot be written, on a full disk say, must not hide the error
    os.environ[_FULL_ERROR] = "1"  # makes Hydra pass its exceptions on, where it would print many lines and exit
    try:
        application()
    except KeyboardInterrupt:
        _leave("interrupted", 130)
    except _Terminated:
        _leave("terminated", 143)
    except _Stop as stop:
        _leave(_one_line(stop.__cause__), 2)
    except _USER_ERRORS as error:
        _leave(_one_line(error), 2)


def _run_nothing_else(arguments: list[str]) -> None:
    """Leave if an override would have Hydra or the logging call something that is not of this package."""
    for given in arguments:
        called = re.findall(r"(?:_target_|\(\)|\bclass)['\"]?\s*[:=]\s*['\"]?([^,}'\"]*)", given)
        for name in called:
            if not name.startswith("l96closure."):
                _leave(f"{given} is not allowed: what an override has called must be of l96closure", 2)


def _job(config: DictConfig, folders: _Folders) -> None:
    """Run one experiment in the folder that Hydra has made for it."""
    hydra_config = HydraConfig.get()
    folder, several = Path(hydra_config.runtime.output_dir), hydra_config.mode == RunMode.MULTIRUN
    overrides: Any = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)
    command = shlex.join(["l96closure", *sys.argv[1:]])
    try:
        with locked(folder):
            settings: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
            overrides = [_evaluated(given, settings) for given in overrides]
            if checks.boolean("resume", settings["resume"]):
                if several and not (folder / _NOTES).exists():  # the sweep was stopped before this job
                    settings["resume"] = False
                else:
                    settings, overrides = _resumed(settings, folder / _NOTES, overrides)
            workflow = WORKFLOWS[checks.one_of("workflow", settings.get("workflow"), WORKFLOWS)]
            write_notes = partial(_write_notes, folder / _NOTES, settings, overrides)
            with progress.shown():
                workflow.run(settings, folder, settings.get("stages"), command=command, once_checked=write_notes)
    except (KeyboardInterrupt, _Terminated):
        folders.remove_unused(folder)
        raise
    except _USER_ERRORS as error:
        folders.remove_unused(folder)
        if isinstance(error, FloatingPointError) and several:
            raise  # Hydra goes on with the sweep and reports this in the end: other points may be stable
        raise _Stop from error
    tell(str(folder))


def _evaluated(given: str, settings: Mapping[str, Any]) -> str:
    """Return an override with the number it stands for in place of what refers to it: notes are never evaluated."""
    key, _, value = given.partition("=")
    found = OmegaConf.select(OmegaConf.create({**settings}), key.lstrip("+")) if "$" in value else None
    return f"{key}={found}" if isinstance(found, (bool, int, float)) else given


def _resumed(now: Mapping[str, Any], notes: Path, overrides: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return settings and overrides of the run that ``notes`` are of; what is asked for now must agree with them.

    Parameters
    ----------
    now : the settings that follow from the overrides of this command alone.
    notes : the folder of Hydra's notes.
    overrides : those of this command.

    Raises
    ------
    ValueError
        There is no such run, the notes are not as we write them, or an override asks for something else.
    """
    if not (notes / "overrides.yaml").is_file():
        checks.reject("run_dir", str(now["run_dir"]), "the folder of an earlier run, to resume it")
    stored = read_settings(notes / "config.yaml")
    overrides = [*_stored_overrides(notes / "overrides.yaml"), *overrides]
    asked: Any = OmegaConf.to_container(hydra.compose("config", overrides), resolve=True)
    free = {key: now[key] if key in _OF_ONE_COMMAND else asked.get(key) for key in _FREE if key in asked}
    address = (free.get("compute") or {}).get("address")
    if address not in (None, now.get("compute", {}).get("address")):
        checks.reject("compute.address", address, "given with resume=true again: no file decides who gets the work")
    stored |= free
    for key, was, wanted in _differing(stored, asked | free):
        raise ValueError(f"{notes.parent} was made with {key} = {was}, not {wanted}; resume=true changes no setting")
    return stored, overrides


def _stored_overrides(path: Path) -> list[str]:
    """Return the overrides of an earlier command that are settings of its run.

    Raises ``ValueError`` where one is none of a setting, or would have to be evaluated: a file from elsewhere may not
    look up what is on this machine, nor tell Hydra where to find more.
    """
    given = read_yaml(path)
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        checks.reject(str(path), given, "a list of overrides")
    kept = [each for each in given if each.lstrip("+~").partition("=")[0] not in _OF_ONE_COMMAND]
    for each in kept:
        if "$" in each or each.lstrip("+~").startswith("hydra"):
            checks.reject(
                str(path), each, "settings alone, without $; repeat the first command in place of resume=true"
            )
    return kept


def _differing(stored: Any, asked: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield full name and both values of every setting that differs."""
    if not isinstance(stored, Mapping) or not isinstance(asked, Mapping):
        if stored != asked:
            yield name, stored, asked
        return
    for key in dict.fromkeys([*stored, *asked]):
        yield from _differing(stored.get(key), asked.get(key), f"{name}.{key}" if name else str(key))


def _write_notes(notes: Path, settings: Mapping[str, Any], overrides: list[str]) -> None:
    """Write what Hydra would write into the folder of a run, had it not to be locked first."""
    notes.mkdir(exist_ok=True)
    parts = {
        "config": to_yaml(settings),
        "hydra": OmegaConf.to_yaml(OmegaConf.create({"hydra": HydraConfig.get()})),
        "overrides": to_yaml(overrides),
    }
    for name, part in parts.items():
        with atomic_path(notes / f"{name}.yaml") as temporary:
            temporary.write_text(part, encoding="utf-8")


def _one_line(error: BaseException | None) -> str:
    """Say in one line what was wrong, in the user's terms rather than Hydra's."""
    cause = error.__cause__ if isinstance(error, ConfigCompositionException) else None
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
        siblings = sorted(str(key) for key in cause.parent_node or () if key != "hydra")
        return f"there is no setting {cause.full_key}" + (f"; there is {', '.join(siblings)}" if siblings else "")
    if isinstance(error, MissingConfigException) and error.options:
        return f"there is no {error.missing_cfg_file}; there is {', '.join(sorted(error.options))}"
    message = str(error)
    if isinstance(error, OverrideParseException):
        message = f"{error.override!r} is not of the form key=value: {message}"
    if cause is not None:
        message += f" ({cause})"
    if message.startswith("Config group override must be"):  # it does not say which
        groups = [given for given in sys.argv[1:] if _is_group(given.partition("=")[0])]
        message += f" ({' '.join(groups)})"
    return " ".join(line.strip() for line in message.splitlines() if line.strip() and not line.startswith("See http"))


def _is_group(name: str) -> bool:
    """Tell whether a setting is a group of options, of files or of the code's own."""
    return name in schema.options() or (config_folder() / name).is_dir()


def _leave(message: str, status: int) -> NoReturn:
    print(f"l96closure: error: {message}", file=sys.stderr)
    sys.exit(status)
