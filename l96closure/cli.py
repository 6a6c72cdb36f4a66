"""The command line, ``l96closure [overrides]``: composes the settings with Hydra and runs an experiment.

Standard output carries the scores and, as its last line, the run folder; all else goes to standard error.
Whatever the user has to change ends in one line and exit status 2; ``HYDRA_FULL_ERROR=1`` shows its origin. A run that
is interrupted or terminated keeps what it has done and exits with 130 or 143; ``resume=true`` goes on with it.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import hydra
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

from l96closure import checks
from l96closure.experiments import WORKFLOWS
from l96closure.experiments.run_folder import locked
from l96closure.store import atomic_path

__all__ = ["config_folder", "main"]

_USER_ERRORS = (ValueError, FloatingPointError, MemoryError, OSError, HydraException, OmegaConfBaseException)
_FULL_ERROR = "HYDRA_FULL_ERROR"
_NOTES = ".hydra"
_OF_ONE_COMMAND = ("run_dir", "resume", "force")  # settings that the next command does not take over
_FREE = (*_OF_ONE_COMMAND, "stages", "checkpoint_every", "compute")  # settings that a resumed run may change


class _Stop(BaseException):
    """Carries a user's error, as its cause, past Hydra, which would go on with the next job of a sweep."""


class _Terminated(BaseException):
    """The system asks the program to end."""


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
    OmegaConf.register_new_resolver("run_folder", lambda chosen, usual: chosen or usual, replace=True)
    _run_nothing_else(sys.argv[1:])
    application = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(_job)
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


def _job(config: DictConfig) -> None:
    """Run one experiment in the folder that Hydra has made for it."""
    hydra_config = HydraConfig.get()
    folder, several = Path(hydra_config.runtime.output_dir), hydra_config.mode == RunMode.MULTIRUN
    overrides: Any = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)
    command = shlex.join(["l96closure", *sys.argv[1:]])
    try:
        with locked(folder):
            if checks.boolean("resume", config.resume) and not (several and not (folder / _NOTES).exists()):
                config, overrides = _resumed(config, folder / _NOTES, overrides)
            settings: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
            workflow = WORKFLOWS[checks.one_of("workflow", settings["workflow"], WORKFLOWS)]
            workflow.settings(settings)  # before anything is written
            _write_notes(folder / _NOTES, config, overrides)
            workflow.run(settings, folder, settings["stages"], command=command, progress=True)
    except (KeyboardInterrupt, _Terminated):
        _remove_unused(folder)
        raise
    except _USER_ERRORS as error:
        _remove_unused(folder)
        if isinstance(error, FloatingPointError) and several:
            raise  # Hydra goes on with the sweep and reports this in the end: other points may be stable
        raise _Stop from error
    print(folder, flush=True)


def _resumed(config: DictConfig, notes: Path, overrides: list[str]) -> tuple[DictConfig, list[str]]:
    """Return settings and overrides of the run that ``notes`` are of; ``overrides`` given now must agree with them.

    Raises ``ValueError`` when there is no such run, or an override asks for something else.
    """
    if not (notes / "overrides.yaml").is_file():
        checks.reject("run_dir", str(config.run_dir), "the folder of an earlier run, to resume it")
    earlier, stored = (_loaded(notes / f"{name}.yaml") for name in ("overrides", "config"))
    overrides = [*earlier, *overrides]
    asked: Any = OmegaConf.to_container(hydra.compose("config", overrides))
    stored |= {key: (config if key in _OF_ONE_COMMAND else asked)[key] for key in _FREE}
    for key, was, now in _differing(stored, asked | {key: stored[key] for key in _FREE}):
        raise ValueError(f"{notes.parent} was made with {key} = {was}, not {now}; resume=true changes no setting")
    settings: DictConfig = OmegaConf.create(stored)
    return settings, overrides


def _loaded(path: Path) -> Any:
    return OmegaConf.to_container(OmegaConf.load(path), resolve=False)


def _differing(stored: Any, asked: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield full name and both values of every setting that differs."""
    if not isinstance(stored, Mapping) or not isinstance(asked, Mapping):
        if stored != asked:
            yield name, stored, asked
        return
    for key in dict.fromkeys([*stored, *asked]):
        yield from _differing(stored.get(key), asked.get(key), f"{name}.{key}" if name else str(key))


def _write_notes(notes: Path, config: DictConfig, overrides: list[str]) -> None:
    """Write what Hydra would write into the folder of a run, had it not to be locked first."""
    notes.mkdir(exist_ok=True)
    parts = {"config": config, "hydra": OmegaConf.create({"hydra": HydraConfig.get()}), "overrides": overrides}
    for name, part in parts.items():
        with atomic_path(notes / f"{name}.yaml") as temporary:
            OmegaConf.save(part, temporary)


def _remove_unused(folder: Path) -> None:
    """Remove a run folder that holds nothing but Hydra's notes, and the empty folders above it."""
    notes = {_NOTES, "multirun.yaml"}
    here = Path.cwd()
    for candidate in [folder, *folder.parents]:
        if here not in candidate.parents or not {item.name for item in candidate.iterdir()} <= notes:
            return
        shutil.rmtree(candidate)


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
        groups = [given for given in sys.argv[1:] if (config_folder() / given.partition("=")[0]).is_dir()]
        message += f" ({' '.join(groups)})"
    return " ".join(line.strip() for line in message.splitlines() if line.strip() and not line.startswith("See http"))


def _leave(message: str, status: int) -> NoReturn:
    print(f"l96closure: error: {message}", file=sys.stderr)
    sys.exit(status)
