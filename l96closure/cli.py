"""The command line, ``l96closure [overrides]``: composes the settings with Hydra and runs an experiment.

Standard output carries the scores and, as its last line, the run folder; all else goes to standard error. Hydra's
sweepers get the score that the setting ``objective`` names.
Whatever the user has to change ends in one line and exit status 2; ``HYDRA_FULL_ERROR=1`` shows its origin. A run that
is interrupted or terminated keeps what it has done and exits with 130 or 143; ``resume=true`` goes on with it.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import itertools
import logging
import os
import re
import shlex
import signal
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, cast

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

# Before NumPy is loaded. Several threads of linear algebra wait for each other in busy loops, so that a fit takes ten
# times as long beside another process; and sums would depend on how many processors there are.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

from l96closure import checks, progress
from l96closure.atomic import atomic_path
from l96closure.experiments import WORKFLOWS
from l96closure.experiments.climate import schema
from l96closure.experiments.data.sources import SUFFIXES
from l96closure.experiments.meanings import meanings
from l96closure.experiments.own import TARGET
from l96closure.experiments.run_folder import leaves, locked
from l96closure.experiments.sections import nearest
from l96closure.experiments.stored import read_settings, to_yaml
from l96closure.provenance import package_version
from l96closure.report import WIDTH
from l96closure.terminal import tell

_log = logging.getLogger(__name__)

_USER_ERRORS = (ValueError, FloatingPointError, MemoryError, OSError, HydraException, OmegaConfBaseException)
_FULL_ERROR = "HYDRA_FULL_ERROR"
_OF_A_RUN = ("stages", "checkpoint_every", "objective", "figures")  # settings that a resumed run may change
_CHANGING = (*_OF_A_RUN, "run_dir", "resume", "force", "compute")  # and those that belong to a command, not to a run
_VALUES = 38  # letters of a line of the help, before what a setting means
_EXPERIMENT = {"experiment": "experiment_name"}  # a group whose options are no section


for _group, _options in schema.options().items():  # beside the YAML files of the group
    for _name, _node in _options.items():
        ConfigStore.instance().store(group=_group, name=_name, node=_node, package=schema.packages.get(_group))


def config_folder() -> Path:
    """Return the folder of the configuration: the copy in an installed wheel, else ``conf/`` of the clone."""
    package = Path(__file__).resolve().parent
    shipped = package / "conf"
    return shipped if shipped.is_dir() else package.parent / "conf"


def main() -> None:
    """Run the command line; exits with 2 when the user has to change something, 130 or 143 when stopped by a signal."""
    if "--version" in sys.argv[1:]:  # which would tell Hydra's
        tell(f"l96closure {package_version()}")
        return
    gc.set_threshold(20_000, 50, 50)  # nearly all of a million objects are modules', and stay
    atexit.register(gc.freeze)  # nor does anyone have to look through them at the end, which takes a second
    signal.signal(signal.SIGTERM, lambda *_: _leave("terminated", 143))
    made: list[Path] = []
    OmegaConf.register_new_resolver("run_folder", partial(_run_folder, made), replace=True, use_cache=True)
    OmegaConf.register_new_resolver("explained", lambda *, _root_: _explained(_root_), replace=True)
    sys.argv[1:] = _spelt_out(sys.argv[1:])
    _take_help_that_is_no_string()
    decorate = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")
    if os.environ.get(_FULL_ERROR) == "1":
        decorate(_job)()
        return
    logging.raiseExceptions = False  # a log that cannot be written, on a full disk say, must not hide the error
    os.environ[_FULL_ERROR] = "1"  # makes Hydra pass its exceptions on, where it would print many lines and exit
    try:
        decorate(_job_in_one_line)()
    except KeyboardInterrupt:
        _leave("interrupted", 130)
    except _USER_ERRORS as error:
        _leave(_one_line(error), 2)
    finally:
        with suppress(OSError):  # what holds something stays
            for folder in made:
                folder.rmdir()


class Folders(Callback):
    """Prints the folders of the runs of a sweep whose jobs write to files of their own, as those of submitit do."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print them, each in a line, by number."""
        if "submitit" not in str(config.hydra.launcher.get("_target_")):
            return
        runs = [path.parent for path in Path(config.hydra.sweep.dir).glob("*/.hydra")]
        for folder in sorted(runs, key=lambda run: (len(run.name), run.name)):
            tell(str(folder.absolute()))


def _take_help_that_is_no_string() -> None:
    """Let argparse take Hydra's help of ``--shell-completion``: from Python 3.14 on it looks into each, as a string."""
    check = getattr(argparse.ArgumentParser, "_check_help", None)
    if check is None:
        return

    def check_string(parser: argparse.ArgumentParser, action: argparse.Action) -> None:
        if isinstance(action.help, str):
            check(parser, action)

    argparse.ArgumentParser._check_help = check_string  # type: ignore[attr-defined]


def _spelt_out(arguments: Iterable[str]) -> list[str]:
    """Return arguments as Hydra takes them: a path is no option of a group, and code of one's own has its own settings.

    ``truth=PATH`` and ``reference=PATH`` are settings of the section ``data``; where a ``_target_`` is given, the
    section is the user's, whatever it has in the configuration.
    """
    given = list(arguments)
    for section in ("model", "tendency", "closure"):
        if any(each.lstrip("+").startswith(f"{section}.{TARGET}=") for each in given):
            chosen = any(each.startswith(f"{section}=") for each in given)
            given = [f"++{each}" if each.startswith(f"{section}.") else each for each in given]
            given += [f"~{section}"] if section == "closure" and not chosen else []
    of_data = "experiment=data" in given
    return [
        f"data.{each}"
        if each.startswith(("truth=", "reference=")) and (of_data or Path(each).suffix in SUFFIXES)
        else each
        for each in given
    ]


def _run_folder(made: list[Path], chosen: Any, usual: str) -> Any:
    """Return the folder the user has chosen, or a new one that no other command has, called ``usual`` if free.

    What is not there yet, of it and the folders above, is put down in ``made``.
    """
    folder = Path(os.path.abspath(str(chosen or usual)))
    made += [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
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


def _explained(root: DictConfig) -> str:
    """Return all settings, each with what it means, as text in which Hydra's help replaces nothing."""
    settings = OmegaConf.masked_copy(root, [str(key) for key in root if key != "hydra"])
    known = _of_every_run() | meanings(cast(dict[str, Any], OmegaConf.to_container(settings)))
    lines = []
    for name, line in _named(OmegaConf.to_yaml(settings)):
        indent = max(_VALUES, len(line) + 2)
        first, *others = _wrapped(known.get(name, ""), WIDTH - indent - 2) or [""]
        lines.append(f"{line:{indent}}# {first}" if first else line)
        lines += [f"{'':{indent}}# {other}" for other in others]
    return "\n".join(lines).replace("$", "$$")


def _wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines, with bounds such as >= 0 in one of them."""
    bound = re.sub(r"([<>]=?) (?=\S)", "\\1\u00a0", text)
    return [line.replace("\u00a0", " ") for line in textwrap.wrap(bound, width)]


def _named(settings: str) -> Iterator[tuple[str, str]]:
    """Yield each line of settings in YAML with the full name of its setting."""
    above = list[str]()
    for line in settings.splitlines():
        depth, name = (len(line) - len(line.lstrip())) // 2, line.strip().partition(":")[0]
        above = [*above[:depth], name]
        yield ".".join(above), line


def _of_every_run() -> dict[str, str]:
    """Return what the settings beside the sections mean: the comments of the configuration."""
    text = (config_folder() / "config.yaml").read_text(encoding="utf-8")
    return {name: line.partition(" # ")[2] for name, line in _named(text) if " # " in line}


def _job_in_one_line(config: DictConfig) -> float | None:
    """Run one experiment; leave where the user has to change something, but in a sweep, whose other jobs come first."""
    try:
        return _job(config)
    except _USER_ERRORS as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        _leave(_one_line(error), 2)


def _job(config: DictConfig) -> float | None:
    """Run one experiment in the folder that Hydra has made for it; return the score that a sweeper is to make small."""
    now = HydraConfig.get()
    folder = Path(now.runtime.output_dir)
    notes = folder / ".hydra"
    with locked(folder):
        settings: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        resume = checks.boolean("resume", settings["resume"])
        given = settings["run_dir"] is not None or now.mode == RunMode.MULTIRUN
        missed = resume and given and not notes.exists()  # it, or the sweep, had not come so far
        if missed:
            settings["resume"] = resume = False
        if resume:
            settings = _resumed(settings, notes / "config.yaml", now.overrides.task)
        workflow = WORKFLOWS[checks.one_of("workflow", settings.get("workflow"), WORKFLOWS)]
        command = shlex.join(["l96closure", *sys.argv[1:]])
        write_notes = None if resume else partial(_write_notes, notes, settings, missed)
        work = partial(workflow.run, settings, folder, settings.get("stages"))
        try:
            with progress.shown():
                score = work(command=command, once_checked=write_notes)
        except (KeyboardInterrupt, SystemExit):
            chosen = folder if now.mode == RunMode.RUN else Path(now.sweep.dir).absolute()
            _log.warning("note: the same command with run_dir=%s resume=true goes on", chosen)
            raise
    tell(str(folder))
    return score


def _resumed(now: Mapping[str, Any], notes: Path, overrides: Iterable[str]) -> dict[str, Any]:
    """Return the settings of the run that ``notes`` are of; what is asked for now must agree with them.

    Parameters
    ----------
    now : the settings that follow from the overrides of this command alone.
    notes : the settings of the run; data, in which nothing is looked up.
    overrides : those of this command.

    Raises
    ------
    ValueError
        There is no such run, the notes are not as we write them, or an override asks for something else.
    """
    if not notes.is_file():
        checks.reject("run_dir", str(now["run_dir"]), "the folder of an earlier run, to resume it")
    stored = read_settings(notes)
    for key, code in {key: leaf for name in stored for key, leaf in leaves(stored, name).items()}.items():
        if key.endswith(f".{TARGET}") and leaves(now, key) != {key: code}:
            raise ValueError(f"{notes.parents[1]} runs code of your own: give {key}={code} on this command too")
    asked = [re.split(r"[=@/]", override.lstrip("+~"))[0] for override in overrides]
    for name in asked:
        if name.partition(".")[0] in _CHANGING:
            continue
        then, wanted = (leaves(each, _EXPERIMENT.get(name, name)) for each in (stored, now))
        for key in {**then, **wanted}:
            if then.get(key) != wanted.get(key):
                raise ValueError(
                    f"{notes.parents[1]} was made with {key} = {then.get(key)}, not {wanted.get(key)}; resume=true "
                    "changes no setting"
                )
    sections = {name.partition(".")[0] for name in asked}
    kept = {*stored}.difference(_OF_A_RUN)  # of the experiment of the run, which this command need not name
    changed = [name for name in _CHANGING if name in now and (name in kept or name in sections)]
    return {**stored, **{name: now[name] for name in changed}}


def _write_notes(notes: Path, settings: Mapping[str, Any], missed: bool) -> None:
    """Write what Hydra would write into the folder of a run, had it not to be locked first.

    Parameters
    ----------
    notes : the folder to write to.
    settings : of the run.
    missed : whether the run was to be resumed and was not there; said now, as the first word makes the log.
    """
    if missed:
        _log.info("nothing to resume in %s: the run starts", notes.parent)
    notes.mkdir(exist_ok=True)
    now = HydraConfig.get()
    parts = {
        "config": to_yaml(settings),
        "hydra": OmegaConf.to_yaml(OmegaConf.create({"hydra": now})),
        "overrides": OmegaConf.to_yaml(now.overrides.task),
    }
    for name, part in parts.items():
        with atomic_path(notes / f"{name}.yaml") as temporary:
            temporary.write_text(part, encoding="utf-8")


def _one_line(error: BaseException | None) -> str:
    """Say in one line what was wrong, in the user's terms rather than Hydra's."""
    cause = error.__cause__ if isinstance(error, ConfigCompositionException) else None
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
        given, _, _ = str(cause.full_key).rpartition(".")
        known = _names_below(cause.parent_node, f"{given}." if given else "")
        siblings = sorted(str(key) for key in cause.parent_node or () if key != "hydra")
        there = f"; there is {', '.join(siblings)}" if siblings else ""
        return f"there is no setting {cause.full_key}{there}{nearest(str(cause.full_key), known)}"
    if isinstance(error, MissingConfigException) and error.options:
        missing = str(error.missing_cfg_file)
        options = sorted(error.options)
        there = f"there is no {missing}; there is {', '.join(options)}"
        return there + nearest(missing.rpartition("/")[2], options)
    message = str(error)
    if isinstance(error, OverrideParseException):
        message = f"{error.override!r} is not of the form key=value: {message}"
    if cause is not None:
        message += f" ({cause})"
    if message.startswith("Config group override must be"):  # it does not say which
        groups = [given for given in sys.argv[1:] if _is_group(given.partition("=")[0])]
        message += f" ({' '.join(groups)})"
    return " ".join(line.strip() for line in message.splitlines() if line.strip() and not line.startswith("See http"))


def _names_below(node: Any, above: str) -> list[str]:
    """Return the full names of all settings in a section and in those inside, what is nearest first."""
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
        return []
    names = {str(key): node._get_node(key) for key in node if key != "hydra"}
    inside = [name for key, inner in names.items() for name in _names_below(inner, f"{above}{key}.")]
    return [*(f"{above}{key}" for key in names), *inside]


def _is_group(name: str) -> bool:
    """Tell whether a setting is a group of options, of files or of the code's own."""
    return name in schema.options() or (config_folder() / name).is_dir()


def _leave(message: str, status: int) -> NoReturn:
    print(f"l96closure: error: {message}", file=sys.stderr)
    sys.exit(status)
