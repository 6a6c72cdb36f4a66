"""What every setting means: the first sentence of the docstrings of the code that takes it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from l96closure.closures import CLOSURES
from l96closure.compute import Compute
from l96closure.experiments import sections
from l96closure.experiments.bistable import stages as bistable
from l96closure.experiments.climate import settings as climate
from l96closure.experiments.data import settings as data
from l96closure.experiments.gaussian import stages as gaussian
from l96closure.experiments.sampling.chains import Lengths, Sampling
from l96closure.selection import Selection
from l96closure.systems import SYSTEMS

_Code = Callable[..., Any]

_SECTIONS: Mapping[str, Mapping[str, _Code]] = {
    "closure": {
        "reference": climate.Reference,
        "coarse": climate.Coarse,
        "forecast": climate.Forecast,
        "diagnostics": climate.Diagnostics,
        "compute": Compute,
    },
    "data": {
        "data": data.Paths,
        "fields": data.Names,
        "offline": data.Offline,
        "coarse": data.Coarse,
        "forecast": data.Forecast,
        "diagnostics": data.Diagnostics,
    },
    "gaussian": {"target": gaussian.Target, "bridge": gaussian.BridgeSettings, "sampling": Sampling},
    "bistable": {"target": bistable.Target, "bridge": bistable.BridgeSettings, "sampling": Sampling},
}
"""Code that takes the settings of a section, by the workflow."""

_ENTRY = re.compile(r"(\w+(?:, \w+)*) : (.*)")
_ROLE = re.compile(r":\w+:`~?([^`]*)`")
_END = re.compile(r"(?<!eqs)(?<!eq)(?<! al)[.](?= |$)")  # of the first sentence


def meanings(config: Mapping[str, Any]) -> dict[str, str]:
    """Return what the settings of a configuration mean, with their units, by their full names.

    Parameters
    ----------
    config : plain data; what it does not say enough of has no meanings here.
    """
    found: dict[str, str] = {}
    for section, code in _code(config).items():
        found |= {f"{section}.{name}": text for name, text in _described(code).items()}
    return found


def _code(config: Mapping[str, Any]) -> dict[str, _Code]:
    """Return the code that takes the settings of each section, by the full name of the section."""
    known = dict(_SECTIONS.get(str(config.get("workflow")), {}))
    model, closure, sampling = (_section(config, name) for name in ("model", "closure", "sampling"))
    if (system := SYSTEMS.get(model.get("name", next(iter(SYSTEMS))))) is not None:
        known |= {"model": system, "training": system.simulate}
    if (kind := CLOSURES.get(closure.get("name", ""))) is not None:
        known |= {"closure": kind.fit, "closure.selection": Selection}
        for name, value in sections.values(kind.fit).items():
            first, chosen = next(iter(value.kinds.values())), _section(closure, name).get("name", "")
            known[f"closure.{name}"] = value.kinds.get(chosen, first)
    return known | {f"sampling.schemes.{name}": Lengths for name in sampling.get("schemes", ())}


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a section; an empty one where there is none."""
    given = config.get(name)
    return given if isinstance(given, Mapping) else {}


def _described(code: _Code) -> dict[str, str]:
    """Return the first sentence of a docstring about each parameter."""
    _, _, rest = (inspect.getdoc(code) or "").partition("Parameters\n----------\n")
    block, found = re.split(r"\n\n\w+\n-+\n", rest)[0], dict[str, str]()
    for entry in re.split(r"\n(?=\S)", block):
        if match := _ENTRY.match(" ".join(line.strip() for line in entry.splitlines())):
            words = re.sub(r"\bNone\b", "null", _ROLE.sub(r"\1", match[2]).replace("``", ""))
            found |= dict.fromkeys(match[1].split(", "), _END.split(words)[0].strip())
    return {name: words for name, words in found.items() if not words.startswith("as ")}
