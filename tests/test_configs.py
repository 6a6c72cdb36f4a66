"""Every configuration composes, builds its dataclasses, and takes only arguments that exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from l96closure.cli import config_folder
from l96closure.experiments.settings import Coarse, Reference, Settings


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (config_folder() / group).glob("*.yaml"))


@pytest.fixture(scope="module")
def composed() -> Iterator[Callable[..., dict[str, Any]]]:
    def compose_config(*overrides: str) -> dict[str, Any]:
        config = OmegaConf.to_container(
            compose("config", overrides=list(overrides)), resolve=True, throw_on_missing=True
        )
        assert isinstance(config, dict)
        return {str(key): value for key, value in config.items()}

    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield compose_config


def test_the_clone_uses_its_own_configuration() -> None:
    assert config_folder() == Path(__file__).resolve().parents[1] / "conf"


@pytest.mark.parametrize("closure", options("closure"))
@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_takes_every_closure(composed: Any, experiment: str, closure: str) -> None:
    settings = Settings.from_config(composed(f"experiment={experiment}", f"closure={closure}"))
    assert closure.startswith(settings.closure)


@pytest.mark.parametrize(
    "option",
    [
        f"{group}={option}"
        for group in ("model", "training", "reference", "coarse", "diagnostics")
        for option in options(group)
    ],
)
def test_every_option_builds(composed: Any, option: str) -> None:
    Settings.from_config(composed(option))


def test_the_default_experiment_is_l96(composed: Any) -> None:
    assert composed() == composed("experiment=l96")


def test_the_paper_is_taken_literally(composed: Any) -> None:
    config = composed("experiment=l96_paper")
    assert config["model"] == {"K": 12, "J": 24, "F": 20.0, "h": 1.0, "b": 10.0, "c": 10.0}
    training = config["training"]
    assert (training["samples"], training["dt"], training["every"]) == (40_000, 5e-4, 1)
    assert training["subgrid"] == "fine"
    closure = config["closure"]
    assert (closure["epsilon"], closure["radius"], closure["decorrelation_steps"]) == (0.1, 1, 100)
    assert (closure["scheme"], closure["clamp"]) == ("split", "state")
    assert not closure["pooled"]
    assert closure["trend_degree"] is None
    coarse = config["coarse"]
    assert (coarse["scheme"], coarse["dt"], coarse["steps"], coarse["members"]) == ("euler", 5e-3, 40_000, 1)


def test_the_recommended_closure_is_what_fit_does_without_arguments(composed: Any) -> None:
    import inspect

    from l96closure.closures import SchrodingerBridge

    defaults = {
        name: parameter.default for name, parameter in inspect.signature(SchrodingerBridge.fit).parameters.items()
    }
    settings = Settings.from_config(composed()).closure_arguments
    assert settings == {name: defaults[name] for name in settings}


def test_seeds_differ_from_each_other_and_follow_from_one(composed: Any) -> None:
    seeds = Settings.from_config(composed("seed=3")).seeds
    assert len(set(seeds.values())) == len(seeds)
    assert seeds == Settings.from_config(composed("seed=3")).seeds
    assert not set(seeds.values()) & set(Settings.from_config(composed("seed=4")).seeds.values())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scheme", "heun"),
        ("dt", 0.0),
        ("dt", float("nan")),
        ("steps", 0),
        ("steps", 1e3),
        ("members", True),
        ("save_every", 11),
    ],
)
def test_coarse_rejects(field: str, value: Any) -> None:
    good = {"scheme": "rk4", "dt": 5e-3, "steps": 10, "members": 1, "save_every": 1}
    with pytest.raises(ValueError, match=rf"^coarse\.{field} = .* is not allowed; it must be "):
        Coarse(**{**good, field: value})


@pytest.mark.parametrize(("field", "value"), [("duration", 0), ("spinup", -1.0), ("duration", "long")])
def test_reference_rejects(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^reference\.{field} = "):
        Reference(**{"duration": 10.0, "spinup": 1.0, field: value})
