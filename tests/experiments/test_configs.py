"""Every configuration composes, builds its dataclasses, and takes only arguments that exist."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from l96closure.bridge import Kernel
from l96closure.cli import config_folder
from l96closure.closures import CLOSURES, Chain, Moments, Noise, Quantiles
from l96closure.experiments import WORKFLOWS
from l96closure.experiments.climate import schema
from l96closure.experiments.climate.settings import NO_SETTINGS, Coarse, Forecast, Reference, Settings
from l96closure.experiments.climate.stages import judged_elsewhere
from l96closure.fields import Fields
from l96closure.systems import SYSTEMS

pytestmark = pytest.mark.slow  # whole runs, or many of them


def files(group: str) -> list[str]:
    return sorted(file.stem for file in (config_folder() / group).glob("*.yaml"))


def options(group: str) -> list[str]:
    return sorted({*files(group), *schema.options().get(group, ())} - {"kuramoto_sivashinsky"})  # it takes two groups


def read(group: str, option: str) -> tuple[list[Any], dict[str, Any]]:
    """Return what a file is based on, and what it says itself."""
    body = yaml.safe_load((config_folder() / group / f"{option}.yaml").read_text(encoding="utf-8"))
    return body.pop("defaults", []), body


def leaves(config: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), value


def at(config: dict[str, Any], path: str) -> Any:
    for key in path.split("."):
        config = config[key]
    return config


def workflow(experiment: str) -> str:
    text = (config_folder() / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    based_on = [entry for entry in config.get("defaults", []) if entry in options("experiment")]
    return str(config.get("workflow", workflow(based_on[0]) if based_on else "closure"))


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
    assert config_folder() == Path(__file__).resolve().parents[2] / "conf"


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_builds(composed: Any, experiment: str) -> None:
    config = composed(f"experiment={experiment}")
    assert config["workflow"] == workflow(experiment)
    assert config["experiment_name"] == experiment
    paths = {"data": {"truth": "a.nc", "reference": "b.nc"}, "stages": ["fit"]} if experiment == "data" else {}
    WORKFLOWS[config["workflow"]].settings({**config, **paths})
    made = WORKFLOWS[config["workflow"]]
    assert config["stages"] == [*(name for name, stage in made.stages.items() if not stage.asked_for), "report"]


@pytest.mark.parametrize("closure", options("closure"))
@pytest.mark.parametrize("experiment", [name for name in options("experiment") if workflow(name) == "closure"])
def test_every_closure_experiment_takes_every_closure(composed: Any, experiment: str, closure: str) -> None:
    settings = Settings.from_config(composed(f"experiment={experiment}", f"closure={closure}"))
    assert closure.startswith(settings.closure)


@pytest.mark.parametrize(
    "option",
    [
        f"{group}={option}"
        for group in ("model", "training", "reference", "coarse", "forecast", "diagnostics")
        for option in options(group)
    ],
)
def test_every_option_builds(composed: Any, option: str) -> None:
    group, name = option.split("=")
    of_a_model = [f"model={name}"] if group != "model" and name in options("model") else []  # their steps fit together
    Settings.from_config(composed(*of_a_model, option))


@pytest.mark.parametrize(
    ("group", "option"), [(group, option) for group in schema.options() for option in files(group)]
)
def test_an_option_lists_differences_from_the_defaults_in_code_only(composed: Any, group: str, option: str) -> None:
    bases, body = read(group, option)
    (base,) = (base for base in bases if isinstance(base, str) and base != "_self_")
    assert "_self_" in bases or not body
    inner = [item for each in bases if isinstance(each, dict) for item in each.items()]
    chosen = [
        f"{group}/{key.removeprefix('override ')}={value}" for key, value in inner if not key.startswith("override /")
    ]
    before = composed(f"{group}={base}", *chosen)[group]
    for path, value in leaves(body):
        name = ".".join(path)
        assert at(before, name) != value, f"{group}={option} repeats {name} = {value} of {base}"


@pytest.mark.parametrize("experiment", files("experiment"))
def test_an_experiment_lists_differences_only(composed: Any, experiment: str) -> None:
    bases, body = read("experiment", experiment)
    groups = {
        key.removeprefix("override /"): value for base in bases if isinstance(base, dict) for key, value in base.items()
    }
    based_on = [f"experiment={base}" for base in bases if base in files("experiment")]
    chosen = [f"{group}={option}" if option else f"~{group}" for group, option in groups.items()]
    before = dict(leaves(composed(*based_on, *chosen)))
    for path, value in leaves(body):
        if path != ("experiment_name",) and path in before:
            assert before[path] != value, f"experiment={experiment} repeats {'.'.join(path)} = {value}"


@pytest.mark.parametrize(
    ("group", "option"), [(group, name) for group, named in schema.options().items() for name in named]
)
def test_the_defaults_in_code_can_all_be_overridden(composed: Any, group: str, option: str) -> None:
    """Without a plus, those of the values that an argument is made of too."""
    section = schema.packages.get(group, group)
    node = {key: value for key, value in schema.options()[group][option].items() if key != "defaults"}
    names = [".".join((section, *path)) for path, _ in leaves(node)]
    config = composed(f"{group}={option}", *(f"{name}=7" for name in names))
    assert [name for name in names if at(config, name) != 7] == []


def test_the_default_experiment_is_l96(composed: Any) -> None:
    assert composed() == composed("experiment=l96")


def test_the_paper_is_taken_literally(composed: Any) -> None:
    config = composed("experiment=l96_paper")
    assert config["model"] == {"K": 12, "J": 24, "F": 20.0, "h": 1.0, "b": 10.0, "c": 10.0}
    training = config["training"]
    assert (training["samples"], training["dt"], training["every"]) == (40_000, 5e-4, 1)
    assert training["subgrid"] == "fine"
    closure = config["closure"]
    law = closure["law"]
    assert (law["name"], law["scheme"], law["steps"], law["clamp"]) == ("chain", "split", 100, "state")
    assert (law["centres"], law["compressed"]) == (None, None)
    assert closure["fields"] == {"radius": 1, "lags": [], "previous": None, "pool": [], "conserve": None}
    assert closure["kernel"]["epsilon"] == 0.1
    assert closure["trend"] is None
    assert "noise" not in closure
    coarse = config["coarse"]
    assert (coarse["scheme"], coarse["dt"], coarse["steps"], coarse["members"]) == ("euler", 5e-3, 40_000, 1)


CROMMELIN = {"crommelin": (18, 20, 10.0, -1.0), "crommelin_trimodal": (32, 16, 18.0, -3.2)}  # K, J, F and h_x


@pytest.mark.parametrize("model", CROMMELIN)
def test_a_model_of_crommelin_is_taken_literally_and_picks_its_own_steps(composed: Any, model: str) -> None:
    config = composed(f"model={model}")
    settings = Settings.from_config(config)
    K, J, F, h_x = CROMMELIN[model]
    made = settings.model
    assert (made.K, made.J, made.F, made.h, made.c) == (K, J, F, 1.0, 2.0)
    assert -made.h * made.c * J / made.b**2 == pytest.approx(h_x, rel=1e-12)
    training = config["training"]
    assert training["every"] * training["dt"] == pytest.approx(0.025)
    assert training["samples"] == {"crommelin": 8000, "crommelin_trimodal": 40_000}[model]
    assert settings.coarse.dt == training["coarse_dt"] == pytest.approx(0.025)
    assert {0.5, 1.0, 2.0, 5.0} <= set(settings.forecast.leads.round(9))
    assert composed(f"model={model}", "coarse.dt=0.0125", "training=recommended")["coarse"]["dt"] == 0.0125


@pytest.mark.parametrize("model", [name for name in options("model")])
@pytest.mark.parametrize("experiment", ["l96", "l96_paper", "forcing_shift"])
def test_every_model_goes_with_every_experiment_of_it(composed: Any, experiment: str, model: str) -> None:
    Settings.from_config(composed(f"experiment={experiment}", f"model={model}"))


def test_the_gaussian_is_taken_literally(composed: Any) -> None:
    localized, whole = composed("experiment=gaussian"), composed("experiment=gaussian_global")
    for config, d, samples, epsilon, radius in [(localized, 101, 500, 0.025, 2), (whole, 9, 5000, 0.25, None)]:
        assert (config["target"]["d"], config["target"]["samples"]) == (d, samples)
        assert config["bridge"] == {"epsilon": epsilon, "radius": radius}


def test_the_bistable_case_is_taken_literally(composed: Any) -> None:
    config = composed("experiment=bistable")
    target = {key: config["target"][key] for key in ("samples", "intervals", "interval", "noise")}
    assert target == {"samples": 1000, "intervals": 100, "interval": 5.0, "noise": 0.2}
    assert config["bridge"] == {"epsilon": 0.0025, "sided": "causal"}
    assert config["sampling"]["chains"] * config["sampling"]["records"] == 50_000


@pytest.mark.parametrize(
    "experiment", [name for name in options("experiment") if workflow(name) in ("gaussian", "bistable")]
)
def test_sampling_experiments_have_no_settings_of_the_closure(composed: Any, experiment: str) -> None:
    assert set(composed(f"experiment={experiment}")) == {
        "experiment_name", "seed", "workflow", "stages", "run_dir", "resume", "force", "checkpoint_every", "objective",
        "figures",
        "target", "bridge", "sampling"
    }  # fmt: skip


LAWS = {"quantiles": Quantiles(), "moments": Moments(), "chain": Chain()}


def as_plain(value: Any) -> Any:
    """Return what a value is made of; Fields are not compared by what they hold."""
    return asdict(value) | {"coordinates": None} if isinstance(value, Fields) else value


@pytest.mark.parametrize("name", CLOSURES)
def test_the_settings_of_a_closure_are_what_fit_does_without_arguments(composed: Any, name: str) -> None:
    defaults = {name: given.default for name, given in inspect.signature(CLOSURES[name].fit).parameters.items()}
    settings = Settings.from_config(composed(f"closure={name}")).closure_arguments
    assert set(defaults) - set(settings) <= set(NO_SETTINGS["fit"])
    for key, value in settings.items():
        default = {"noise": defaults.get("noise") or Noise(), "kernel": Kernel(epsilon=0.01)}.get(key, defaults[key])
        assert as_plain(value) == as_plain(default), key


@pytest.mark.parametrize("law", LAWS)
def test_a_law_brings_its_own_defaults_kernel_and_noise(composed: Any, law: str) -> None:
    given = Settings.from_config(composed(f"closure/law={law}")).closure_arguments
    assert given["law"] == LAWS[law]
    assert given["kernel"] == Kernel(epsilon=LAWS[law].epsilon)
    assert given.get("noise") == (None if law == "chain" else Noise())


def test_what_is_left_open_may_be_closed_and_what_is_there_left_out(composed: Any) -> None:
    settings = Settings.from_config(
        composed(
            *("closure.fields.radius=2", "closure.fields.lags=[0.1,0.2]", "closure.fields.pool=[]"),
            *("closure/law=moments", "closure.law.compressed=64", "closure.trend=null", "closure.noise.order=2"),
        )
    )
    given = settings.closure_arguments
    assert (given["fields"].radius, given["fields"].lags, given["fields"].pool) == (2, (0.1, 0.2), ())
    assert given["law"] == Moments(compressed=64)
    assert given["noise"] == Noise(order=2)
    assert given["trend"] is None


@pytest.mark.parametrize("overrides", [["coarse.dt=0.01", "training.every=20"], ["model=crommelin"]])
def test_psi_is_held_over_the_step_of_the_coarse_run(composed: Any, overrides: list[str]) -> None:
    settings = Settings.from_config(composed(*overrides))
    assert settings.training["subgrid"] == "step"
    assert settings.training["coarse_dt"] == settings.coarse.dt
    with pytest.raises(ValueError, match=r"^training\.coarse_dt = 0\.02 is not allowed; it must be coarse\.dt = "):
        Settings.from_config(composed(*overrides, "training.coarse_dt=0.02"))
    Settings.from_config(composed(*overrides, "training.coarse_dt=0.02", "training.subgrid=coupling"))


@pytest.mark.parametrize("save_every", [1, 4, 5])
def test_the_reference_is_recorded_at_every_coarse_step(composed: Any, save_every: int) -> None:
    settings = Settings.from_config(composed(f"coarse.save_every={save_every}"))
    assert settings.reference_every * settings.training["dt"] == pytest.approx(settings.coarse.dt)
    assert settings.reference_samples == 400_000


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_training_is_what_simulate_does_without_arguments(composed: Any, name: str) -> None:
    defaults = {name: given.default for name, given in inspect.signature(SYSTEMS[name].simulate).parameters.items()}
    config = composed(f"training={name}")
    assert config["training"].items() <= {**defaults, "coarse_dt": config["coarse"]["dt"]}.items()
    model = composed(f"model={name}")["model"]
    assert SYSTEMS[name](**{key: value for key, value in model.items() if key != "name"}) == SYSTEMS[name]()


def test_the_recommended_closure_is_the_bridge(composed: Any) -> None:
    assert composed() == composed("closure=schrodinger_bridge")


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
        ("keep_good", 1),
        ("batches", 2),
    ],
)
def test_coarse_rejects(field: str, value: Any) -> None:
    good = {"scheme": "rk4", "dt": 5e-3, "steps": 10, "members": 1, "save_every": 1, "batches": 1, "keep_good": False}
    with pytest.raises(ValueError, match=rf"^coarse\.{field} = .* is not allowed; it must be "):
        Coarse(**{**good, field: value})


@pytest.mark.parametrize(("field", "value"), [("duration", 0), ("spinup", -1.0), ("duration", "long")])
def test_reference_rejects(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^reference\.{field} = "):
        Reference(**{"duration": 10.0, "spinup": 1.0, "model": {}, field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("starts", 1),
        ("members", 1),
        ("members", 2.0),
        ("lead", 0.0),
        ("lead", 0.25),
        ("every", -0.1),
        ("every", "daily"),
        ("mark_starts", 1),
        ("mark_members", 1),
        ("mark_spinup", 0.0),
    ],
)
def test_forecast_rejects(field: str, value: Any) -> None:
    good = {"starts": 10, "members": 5, "lead": 1.0, "every": 0.1}
    with pytest.raises(ValueError, match=rf"^forecast\.{field} = .* is not allowed; it must be "):
        Forecast(**{**good, field: value})


def test_there_are_no_more_forecasts_than_fit_into_the_reference(composed: Any) -> None:
    Settings.from_config(composed("reference.duration=402.005"))
    with pytest.raises(ValueError, match=r"^forecast\.starts = 200 .* at most 199, "):
        Settings.from_config(composed("reference.duration=402"))


def test_a_shift_of_the_forcing_is_that_of_the_reference_alone(composed: Any) -> None:
    settings = Settings.from_config(composed("experiment=forcing_shift", "reference.model.F=24.0"))
    assert settings.model.F == 20.0
    assert settings.judged == replace(settings.model, F=24.0)
    (note,) = judged_elsewhere(settings)
    assert "fitted to the model with F = 20; the coarse run, the truth beside it and all scores are of F = 24" in note
    assert judged_elsewhere(Settings.from_config(composed())) == []
    for override, message in (("+reference.model.G=1", r"G"), ("reference.model.F=warm", r"^F = 'warm'")):
        with pytest.raises(ValueError, match=message):
            Settings.from_config(composed("experiment=forcing_shift", override))
