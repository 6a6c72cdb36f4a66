"""The command line, ``l96closure [overrides]``: composes the settings with Hydra and runs an experiment.

Standard output carries the scores and, as its last line, the run folder; all else goes to standard error.
Whatever the user has to change ends in one line and exit status 2; ``HYDRA_FULL_ERROR=1`` shows its origin.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
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

__all__ = ["config_folder", "main"]

_USER_ERRORS = (ValueError, FloatingPointError, OSError, HydraException, OmegaConfBaseException)
_FULL_ERROR = "HYDRA_FULL_ERROR"


class _Stop(BaseException):
    """Carries a user's error, as its cause, past Hydra, which would go on with the next job of a sweep."""


def config_folder() -> Path:
    """Return the folder of the configuration: the copy in an installed wheel, else ``conf/`` of the clone."""
    package = Path(__file__).resolve().parent
    shipped = package / "conf"
    return shipped if shipped.is_dir() else package.parent / "conf"


def main() -> None:
    """Run the command line; exits with 2 when the user has to change something, 130 when interrupted."""
    OmegaConf.register_new_resolver("run_folder", lambda chosen, usual: chosen or usual, replace=True)
    application = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(_job)
    if os.environ.get(_FULL_ERROR) == "1":
        application()
        return
    os.environ[_FULL_ERROR] = "1"  # makes Hydra pass its exceptions on, where it would print many lines and exit
    try:
        application()
    except KeyboardInterrupt:
        _leave("interrupted", 130)
    except _Stop as stop:
        _leave(_one_line(stop.__cause__), 2)
    except _USER_ERRORS as error:
        _leave(_one_line(error), 2)


def _job(config: DictConfig) -> None:
    """Run one experiment in the folder that Hydra has made for it."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    command = shlex.join(["l96closure", *sys.argv[1:]])
    try:
        settings: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        workflow = WORKFLOWS[checks.one_of("workflow", settings["workflow"], WORKFLOWS)]
        workflow.run(settings, folder, settings["stages"], command=command, progress=sys.stderr.isatty())
    except KeyboardInterrupt:
        _remove_unused(folder)
        raise
    except _USER_ERRORS as error:
        _remove_unused(folder)
        if isinstance(error, FloatingPointError) and HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # Hydra goes on with the sweep and reports this in the end: other points may be stable
        raise _Stop from error
    print(folder, flush=True)


def _remove_unused(folder: Path) -> None:
    """Remove a run folder that holds nothing but Hydra's notes, and the empty folders above it."""
    notes = {".hydra", "multirun.yaml"}
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
    return " ".join(line.strip() for line in message.splitlines() if line.strip() and not line.startswith("See http"))


def _leave(message: str, status: int) -> NoReturn:
    print(f"l96closure: error: {message}", file=sys.stderr)
    sys.exit(status)
