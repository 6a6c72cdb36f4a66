"""Runs side by side: what is shown is what the diagnostics hold, and what cannot be compared is said."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from cf_checker import cf_complaints
from command_line import TINY, Outcome
from hydra import compose, initialize_config_dir
from matplotlib.cbook import is_math_text
from omegaconf import OmegaConf
from overlaps import overlapping_in

from l96closure import compare, store
from l96closure.cli import config_folder
from l96closure.diagnostics import intervals, ranking
from l96closure.diagnostics.scorecard import DISTANCES, PARTS
from l96closure.experiments import WORKFLOWS
from l96closure.experiments.climate.stages import BLOW_UP
from l96closure.experiments.comparison import columns, figures, finished, labels
from l96closure.experiments.comparison import tables as report
from l96closure.experiments.comparison.dataset import compare as lay_side_by_side
from l96closure.experiments.comparison.dataset import told_apart
from l96closure.plot import style

pytestmark = pytest.mark.slow  # whole runs, or many of them

STAGES = ["simulate", "fit", "integrate", "forecast", "diagnose"]


def _run(folder: Path, *overrides: str) -> None:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("config", [*TINY, "forecast.lead=0.4", *overrides]), resolve=True)
    WORKFLOWS["closure"].run(config, folder, STAGES)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a sweep of three closures, and two further runs of one of them."""
    folder = tmp_path_factory.mktemp("runs")
    for number, closure in ((2, "none"), (10, "polynomial"), (1, "polynomial_ar1")):
        _run(folder / "sweep" / str(number), f"closure={closure}")
    _run(folder / "seed", "closure=none", "seed=1")
    _run(folder / "short", "closure=none", "coarse.steps=150", "diagnostics.bins=50")
    return folder


@pytest.fixture
def runs(made: Path) -> list[finished.Run]:
    return [finished.read(path) for path in finished.find([made / "sweep"])]


@pytest.fixture
def sweep(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "sweep", tmp_path / "sweep"))


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sketched: None):
    """Run l96closure-compare in this process, in an empty current directory."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def run(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["l96closure-compare", *map(str, arguments)])
        status = 0
        try:
            compare.main()
        except SystemExit as leave:
            status = int(leave.code or 0)
        return Outcome(status, *capsys.readouterr())

    return run


def _changed(run: finished.Run, **sections: dict[str, Any]) -> finished.Run:
    """Return a run whose configuration has other values in some sections."""
    return replace(run, config={**run.config, **{name: {**run.config[name], **new} for name, new in sections.items()}})


# The command


def test_a_sweep_is_laid_side_by_side_in_the_order_of_its_numbers(call, sweep: Path) -> None:
    outcome = call(sweep)
    assert outcome.status == 0, outcome.err
    assert outcome.err == ""
    assert outcome.out.splitlines()[-1] == str(sweep / "comparison.html")
    rows = [line.split()[0] for line in outcome.out.splitlines()[2:5]]
    assert rows == ["closure=polynomial_ar1", "closure=none", "closure=polynomial"]
    with xr.open_dataset(sweep / "comparison.nc") as data:
        assert list(data["run"].values) == rows
        assert list(data["folder"].values) == ["1", "2", "10"]
    assert {item.name for item in sweep.iterdir()} == {
        *("1", "2", "10", "comparison.html", "comparison.nc", "comparison_figures")
    }


@pytest.mark.parametrize("given", [("--output", "new/folder"), ()])
def test_runs_given_one_by_one_go_to_the_current_or_the_named_folder(call, sweep: Path, given: tuple[str, ...]) -> None:
    outcome = call(sweep / "2", sweep / "1", sweep / "2", *given)
    assert outcome.status == 0, outcome.err
    assert outcome.folder == Path.cwd() / "/".join(given[1:]) / "comparison.html"
    with xr.open_dataset(outcome.folder.parent / "comparison.nc") as data:
        assert list(data["run"].values) == ["closure=none", "closure=polynomial_ar1"]
        assert [(outcome.folder.parent / folder).resolve() for folder in data["folder"].values] == [
            sweep / "2",
            sweep / "1",
        ]
    assert not (sweep / "comparison.nc").exists()


def test_folders_are_named_as_seen_from_the_file(call, sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(sweep)
    call(tmp_path / "link")
    assert list(store.read(sweep / "comparison.nc", kind="comparison")["folder"].values) == ["1", "2", "10"]


def test_the_table_shows_the_diagnostics(call, sweep: Path) -> None:
    lines = call(sweep).out.splitlines()
    heads = "run H(z) H(ψ) H(z,ψ) std(z) r(0.05) CRPS(0.2) spread-skill(0.2) fit step"
    assert lines[0].split() == heads.split(" ")
    for line, number in zip(lines[2:5], (1, 2, 10), strict=True):
        cells = [cell.rstrip("*") for cell in line.split()]
        one = store.read(sweep / str(number) / "diagnostics.nc", kind="diagnostics")
        coarse = store.attributes(sweep / str(number) / "coarse.nc", kind="coarse")
        difference = one["std"].diff("source").item()
        error = float(np.hypot(*one["std_se"].values))
        residual = one["autocorrelation_residual"].sel(lag=0.05, method="nearest").diff("source").item()
        middle = one.sel(lead=0.2, method="nearest")
        assert cells[1:4] == [f"{float(one[name]):.4f}" for name in list(DISTANCES)[:3]]
        assert cells[4] == ("–" if np.isnan(error) else f"{difference / error:+.1f}")
        assert cells[5] == f"{residual:+.3f}"
        assert cells[6:8] == [f"{float(middle['crps']):.3f}", f"{float(middle['spread_skill']):.3f}"]
        seconds = float(cells[10]) * {"µs": 1e-6, "ms": 1e-3}[cells[11]]
        assert seconds == pytest.approx(
            coarse["wall_time_seconds"] / (200 * 2), abs=5e-5 if cells[11] == "ms" else 5e-8
        )
    assert lines[1].split()[3:6] == [f"{float(one[f'{name}_floor']):.4f}" for name in list(DISTANCES)[:3]]


def test_the_file_holds_what_the_diagnostics_hold(runs: list[finished.Run], tmp_path: Path) -> None:
    data, notes = lay_side_by_side(runs, tmp_path)
    assert notes == []
    for run, label in zip(runs, data["run"].values, strict=True):
        mine = data.sel(run=label)
        structure = ("spectrum_ratio_z", "spectrum_error_psi_low", "neighbour_correlation_psi_se")
        distances = (f"{score}{part}" for score in DISTANCES for part in PARTS)
        for name in [*distances, "mean", "std_se", "density_psi", *structure]:
            np.testing.assert_array_equal(mine[name], run.scores[name])
        for name in ("crps", "crps_low", "rmse_high", "spread_skill", "energy_score", "variogram_score_climatology"):
            np.testing.assert_array_equal(mine[name], run.scores[name])
        residual = mine["autocorrelation_residual"]
        np.testing.assert_allclose(residual["lag"], [0.005, 0.05, 0.25])
        assert residual.isel(lag=[0, 2]).isnull().all()  # records are five steps apart, and lags end at 0.2
        np.testing.assert_array_equal(residual.isel(lag=1), run.scores["autocorrelation_residual"].isel(lag=2))


def test_the_file_passes_the_cf_checker(call, sweep: Path) -> None:
    (sweep / "2" / "diagnostics.nc").unlink()
    call(sweep)
    assert not cf_complaints(sweep / "comparison.nc")
    data = store.read(sweep / "comparison.nc", kind="comparison")
    assert data["fit_time"].attrs["units"] == "s"
    assert data["hellinger_z"].attrs["long_name"] == DISTANCES["hellinger_z"].label
    assert "samples: 3000" in data.attrs["config"]
    assert "polynomial" not in data.attrs["config"]


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.links, self.sources = "", [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if name == "href" and not str(value).startswith("#")]
        self.sources += [value for name, value in attrs if name == "src"]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.pictures
def test_the_page_needs_no_other_file_and_leads_to_those_of_the_runs(call, sweep: Path) -> None:
    (sweep / "10" / "report.html").write_text("the page of the run")
    text = call(sweep).folder.read_text(encoding="utf-8")
    page = _Page(text)
    assert page.links == ["comparison.nc", "10/report.html"]
    assert len(page.sources) == 4
    assert all(str(source).startswith("data:image/png;base64,") for source in page.sources)
    assert not re.search(r"https?://|url\(|@import", text)
    data = store.read(sweep / "comparison.nc", kind="comparison")
    for name in ("hellinger_z", "wasserstein_z"):
        assert all(f"{value:.4f}" in page.text for value in data[name].values)
    assert "noise: autoregressive of order 1, independent" in str(
        data["parts"].sel(run="closure=polynomial_ar1").item()
    )
    assert all(str(parts) in page.text for parts in data["parts"].values)


@pytest.mark.pictures
def test_the_same_runs_give_the_same_files(call, sweep: Path) -> None:
    first, second = call(sweep, "--output", "a"), call(sweep, "--output", "b")
    assert first.out.splitlines()[:-1] == second.out.splitlines()[:-1]
    a, b = (store.read(f"{name}/comparison.nc", kind="comparison") for name in "ab")
    xr.testing.assert_equal(a, b)
    for path in Path("a", "comparison_figures").iterdir():
        assert path.read_bytes() == Path("b", "comparison_figures", path.name).read_bytes()


# Runs that are not there, not finished, or not comparable


def test_a_run_of_a_sweep_that_blew_up_is_a_row(call, sweep: Path) -> None:
    for name in ("diagnostics", "coarse", "forecast"):
        (sweep / "10" / f"{name}.nc").unlink()
    last = xr.Dataset(attrs={"step": 37, "member": 1})
    store.write(last, sweep / "10" / f"{BLOW_UP}.nc", kind=BLOW_UP, title="Last good state", history="l96closure")
    outcome = call(sweep)
    assert outcome.status == 0, outcome.err
    lines = [line for line in outcome.out.splitlines() if line.startswith("closure=polynomial,")]
    row = lines[0] + "".join(line.removeprefix("closure=polynomial, did not finish") for line in lines[1:])
    assert row.split()[:4] == ["closure=polynomial,", "did", "not", "finish"]
    seconds = store.attributes(sweep / "10" / "closure.nc", kind="closure")["wall_time_seconds"]
    assert row.split()[4:] == [*["–"] * 7, f"{seconds:.1f}", "s", "–"]
    assert "closure=polynomial: did not finish: blew up at step 37." in outcome.out
    page = _Page(outcome.folder.read_text(encoding="utf-8")).text
    assert "10: did not finish: blew up at step 37" in page
    assert "3 runs, 1 of which did not finish" in page


def test_a_run_that_left_only_its_settings_is_named_by_them(call, sweep: Path) -> None:
    shutil.rmtree(sweep / "10")
    (sweep / "10" / ".hydra").mkdir(parents=True)
    (sweep / "10" / ".hydra" / "config.yaml").write_text("experiment_name: l96\nseed: 0\nclosure: {name: analog}\n")
    assert "closure=analog, did not finish" in call(sweep).out


@pytest.mark.parametrize("name", ["diagnostics", "closure", "coarse"])
def test_a_damaged_run_of_a_sweep_is_a_row(call, sweep: Path, name: str) -> None:
    file = sweep / "10" / f"{name}.nc"
    file.write_bytes(file.read_bytes()[:-100])
    notes = {"experiment_name": "l96", "seed": 0, "closure": {"name": "polynomial"}}
    (sweep / "10" / ".hydra").mkdir(exist_ok=True)
    (sweep / "10" / ".hydra" / "config.yaml").write_text(yaml.safe_dump(notes))
    outcome = call(sweep)
    assert outcome.status == 0, outcome.err
    (note,) = (line for line in outcome.out.splitlines() if line.startswith("closure=polynomial: cannot be read: "))
    assert f"{name}.nc" in note
    assert "cannot be read" in note or "checksum" in note
    data = store.read(sweep / "comparison.nc", kind="comparison")
    assert np.isnan(data["hellinger_z"].values).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda sweep: shutil.rmtree(sweep), "there is no folder "),
        (lambda sweep: (sweep / "diagnostics.nc").unlink(), "did not finish: there is no diagnostics.nc"),
        (
            lambda sweep: [file.unlink() for file in sweep.glob("*.nc")],
            "of neither a run of a closure nor a sweep",
        ),
        (lambda sweep: (sweep / "diagnostics.nc").write_text("nonsense"), "a netCDF file of kind 'diagnostics'"),
    ],
)
def test_a_folder_that_holds_no_finished_run_ends_in_one_line(call, sweep: Path, break_it, message: str) -> None:
    break_it(sweep / "2")
    outcome = call(sweep / "2", sweep / "1")
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.startswith("l96closure-compare: error: ")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not list(Path.cwd().iterdir())


def test_a_sweep_without_a_finished_run_ends_in_one_line(call, sweep: Path) -> None:
    for path in sweep.glob("*/diagnostics.nc"):
        path.unlink()
    outcome = call(sweep)
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert "none of the 3 runs can be compared" in outcome.err
    assert "did not finish" in outcome.err


def test_runs_of_another_experiment_are_refused(call, sweep: Path) -> None:
    gaussian = xr.Dataset({"std": ((), 1.0, {"long_name": "standard deviation"})})
    store.write(gaussian, sweep / "1" / "diagnostics.nc", kind="diagnostics", title="Another", history="l96closure")
    outcome = call(sweep / "1", sweep / "2")
    assert outcome.status == 2
    assert "is not one of a closure" in outcome.err


@pytest.mark.parametrize("section", [{"model": {"F": 18.0}}, {"reference": {"model": {"F": 18.0}}}])
def test_runs_judged_by_different_truths_are_refused(runs: list[finished.Run], tmp_path: Path, section) -> None:
    with pytest.raises(ValueError, match=r"different truths judge them \(model.F 20 and 18\)"):
        lay_side_by_side([runs[0], _changed(runs[1], **section)], tmp_path)


def test_another_seed_is_another_stretch_of_the_same_truth(call, made: Path) -> None:
    outcome = call(made / "seed", made / "sweep" / "2")
    assert outcome.status == 0, outcome.err
    assert [line.split()[0] for line in outcome.out.splitlines()[2:4]] == ["seed=1", "seed=0"]
    assert "judged by different stretches of truth (seed 1 and 0)" in outcome.out
    assert "Densities of z are left out" in outcome.out
    with xr.open_dataset("comparison.nc") as data:
        assert "density_z" not in data
        assert "z_bin" not in data.dims
        assert data["hellinger_z_floor"][0] != data["hellinger_z_floor"][1]


def test_runs_of_other_length_and_bins_are_shown_but_not_ranked(made: Path, runs, tmp_path: Path) -> None:
    short = finished.read(made / "short")
    data, notes = lay_side_by_side([*runs, short], tmp_path)
    assert data.attrs["unranked"].split() == list(DISTANCES)
    assert any("stretches of" in note for note in notes)
    assert any(f"{float(short.scores['hellinger_z']):.4f}" in line for line in report.text(data).splitlines())
    assert "Hellinger" not in report.headline(data)
    hellinger = report.tables(data)[0]
    assert not any("*" in cell for row in hellinger.rows for cell in row.cells)


def test_other_bins_alone_leave_the_distances_of_distribution_functions_ranked(runs, tmp_path: Path) -> None:
    data, notes = lay_side_by_side([runs[0], _changed(runs[1], diagnostics={"bins": 7})], tmp_path)
    assert data.attrs["unranked"].split() == list(DISTANCES)[:3]
    assert "diagnostics.bins 100 and 7" in notes[0]


def test_another_definition_of_psi_leaves_its_scores_out(runs, tmp_path: Path) -> None:
    data, notes = lay_side_by_side([runs[0], _changed(runs[1], training={"subgrid": "fine"})], tmp_path)
    assert not [
        name for name in data.variables if "psi" in str(name) or "joint" in str(name) or "residual" in str(name)
    ]
    assert "training.subgrid step and fine" in notes[0]
    assert "H(ψ)" not in report.text(data)
    assert not any("ψ" in words for table in report.tables(data) for words in (table.heading, *table.columns))
    assert "distance of z" in report.headline(data)
    assert [picture.name for picture in style.save_all(tmp_path, figures.pictures(data))] == [
        "scores",
        "densities",
        "forecasts",
    ]


@pytest.mark.parametrize(("shift", "left"), [(0.1, 7), (0.013, 0)])
def test_forecasts_are_compared_at_the_leads_all_runs_have(runs, tmp_path: Path, shift: float, left: int) -> None:
    other = replace(runs[1], scores=runs[1].scores.assign_coords(lead=runs[1].scores["lead"] + shift))
    data, notes = lay_side_by_side([runs[0], other], tmp_path)
    if left:
        assert f"at the {left} leads that all runs have" in notes[0]
        np.testing.assert_allclose(data["crps"][1], runs[1].scores["crps"][:left])
        np.testing.assert_allclose(data["crps"][0], runs[0].scores["crps"][-left:])
    else:
        assert "no lead in common" in notes[0]
        assert "crps" not in data
        assert "CRPS" not in report.text(data) + report.headline(data)
        assert list(figures.pictures(data)) == ["scores", "densities", "space_time"]


@pytest.mark.pictures
@pytest.mark.parametrize("name", ["cost $5 and $6", "$x_{$", "_hidden", "a^b & c%", "µψ"])
def test_runs_are_shown_by_any_name_a_folder_can_have(call, sweep: Path, name: str) -> None:
    """In the legend, where a formula would be set in letters of its own, too."""
    runs = [Path(shutil.copytree(sweep / "2", sweep / f"{name}{end}")) for end in ("", " again")]
    outcome = call(*runs)
    assert outcome.status == 0, outcome.err
    assert outcome.err == ""
    data = store.read("comparison.nc", kind="comparison")
    assert list(data["run"].values) == [run.name for run in runs]
    with style.settings():
        figure = figures.forecasts(data)
        figure.draw_without_rendering()
    (legend,) = figure.legends
    shown = [text.get_text().replace(r"\$", "$").strip() for text in legend.get_texts()]
    assert [label for label in shown if label.startswith(name)] == [run.name for run in runs]
    for text in legend.get_texts():
        assert not is_math_text(text.get_text())


@pytest.mark.parametrize("text", ["$", "$$", r"\$", r"a\$b$", r"\\$x$", "_$a$", r"$\frac$", ""])
def test_a_literal_text_is_no_formula(text: str) -> None:
    shown = style.literal(text)
    assert not is_math_text(shown)
    assert not shown.startswith("_")
    assert shown.replace(r"\$", "$").strip() == text  # as matplotlib does where there is no formula


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data.drop_vars("crps"), "lack crps"),
        (
            lambda data: data.drop_attrs(deep=False).assign_attrs(config=data.attrs["config"]),
            "lacks the attribute 'floor",
        ),
        (lambda data: data.assign_attrs(config="coarse: {dt: often}\nmodel: {}"), "lack the section 'training'"),
        (lambda data: data.assign_attrs(config=3), "must be YAML"),
        (
            lambda data: data.assign_attrs(config=data.attrs["config"].replace("  dt: 0.005", "  dt: often")),
            "coarse.dt",
        ),
    ],
)
def test_a_run_that_lacks_what_is_compared_ends_in_one_line(call, sweep: Path, damage, message: str) -> None:
    path = sweep / "2" / "diagnostics.nc"
    data = store.read(path, kind="diagnostics")
    config = data.attrs["config"]
    changed = damage(data)
    write = {"kind": "diagnostics", "title": "Made elsewhere", "history": "test"}
    store.write(changed, path, **write, config_yaml=changed.attrs.get("config", config))
    outcome = call(sweep / "2", sweep / "1")
    assert outcome.status == 2
    assert outcome.err.startswith("l96closure-compare: error: ")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err


# Labels


def _config(closure: str = "none", seed: int = 0, experiment: str = "l96", **more: object) -> dict[str, Any]:
    return {
        "experiment_name": experiment,
        "seed": seed,
        "run_dir": closure,
        "stages": [closure],
        "model": {"F": 20.0},
        "closure": {"name": closure, **more},
    }


@pytest.mark.parametrize(
    ("configs", "expected"),
    [
        ([_config(), _config("analog", k=3)], ["closure=none", "closure=analog"]),
        (
            [_config("analog", k=3), _config("analog", k=4), _config()],
            ["closure=analog closure.k=3", "closure=analog closure.k=4", "closure=none"],
        ),
        ([_config(seed=1), _config("analog")], ["closure=none seed=1", "closure=analog seed=0"]),
        ([_config(), _config(experiment="ks", x=1)], ["experiment=l96", "experiment=ks"]),
        ([_config(), _config()], ["a", "b"]),
        ([_config(), _config(), _config("analog")], ["closure=none (a)", "closure=none (b)", "closure=analog"]),
        (
            [_config(p=1, q=2.5, r=3, s=4), _config(p=2, q=3, r=4, s=5)],
            [
                "closure.p=1 closure.q=2.5 closure.r=3 +1 more",
                "closure.p=2 closure.q=3 closure.r=4 +1 more",
            ],
        ),
        (
            [_config("bridge", law={"name": "chain", "steps": n}, kernel={"epsilon": 0.1}) for n in (1, 3)]
            + [_config("bridge", law={"name": "quantiles"}, kernel={"epsilon": 0.5}, noise={"order": 8})],
            [
                "closure.law=chain closure.law.steps=1",
                "closure.law=chain closure.law.steps=3",
                "closure.law=quantiles",
            ],
        ),
        (
            [_config("bridge", trend=None), _config("bridge", trend={"degree": 4})],
            ["closure.trend=None", "closure.trend.degree=4"],
        ),
        ([_config()], ["a"]),
        ([_config(), {}], ["a", "b"]),
    ],
)
def test_a_run_is_called_by_what_differs(configs: list[dict[str, Any]], expected: list[str]) -> None:
    assert labels.labels(configs, ["a", "b", "c"][: len(configs)]) == expected


def test_settings_a_label_has_no_room_for_are_told_in_a_sentence() -> None:
    configs = [_config(p=1, q=2.5, r=3, s=4), _config(p=2, q=3, r=4, s=5), _config("analog")]
    assert labels.abridged(configs, "abc") == [
        "a: closure=none closure.p=1 closure.q=2.5 closure.r=3 closure.s=4.",
        "b: closure=none closure.p=2 closure.q=3 closure.r=4 closure.s=5.",
    ]


def test_what_runs_share_is_told_without_what_differs() -> None:
    assert labels.shared([_config("none", x=1), _config("analog", x=1)]) == (
        "experiment_name: l96\nseed: 0\nmodel:\n  F: 20.0\nclosure:\n  x: 1\n"
    )


# The best


@pytest.mark.parametrize(
    ("value", "width", "expected"),
    [
        ([1.0, 2.0, 3.0], 0.1, [True, False, False]),
        ([1.0, 1.1, 3.0], 0.1, [True, True, False]),
        ([1.0, 1.1, 1.2], 0.1, [True, True, True]),
        ([1.0, 1.05, 1.1], 0.1, None),
        ([1.0, np.nan, 3.0], 0.1, [True, False, False]),
        ([1.0, np.nan, np.nan], 0.1, None),
        ([1.0, 2.0, 3.0], np.nan, None),
        ([np.nan, np.nan, np.nan], 0.1, None),
    ],
)
def test_the_best_is_marked_where_intervals_tell_it(value: list[float], width: float, expected) -> None:
    x = np.array(value)
    expected = [False] * 3 if expected in (None, [True] * 3) else expected
    np.testing.assert_array_equal(ranking.best(x, x - width, x + width), expected)


def test_departure_from_a_target_has_the_interval_of_its_size() -> None:
    value, low, high = np.array([[1.2, 0.7, 1.0], [1.1, 0.6, 0.9], [1.4, 0.9, 1.3]])
    size, least, most = ranking.departure(value, low, high, 1.0)
    np.testing.assert_allclose(size, [0.2, 0.3, 0.0])
    np.testing.assert_allclose(least, [0.1, 0.1, 0.0])
    np.testing.assert_allclose(most, [0.4, 0.4, 0.3])


def test_marks_in_the_tables_are_those_of_the_ranking(runs, tmp_path: Path) -> None:
    data, _ = lay_side_by_side(runs, tmp_path)
    data = data.copy(deep=True)
    for part, values in (("", [0.1, 0.3, 0.11]), ("_low", [0.09, 0.2, 0.1]), ("_high", [0.105, 0.4, 0.2])):
        data[f"hellinger_joint{part}"][:] = values
        data[f"spread_skill{part}"][:, -1] = (
            1.0 + np.array([-0.3, 0.1, 0.5]) + {"": 0.0, "_low": -0.01, "_high": 0.01}[part]
        )
    hellinger, spread_skill = (
        next(table for table in report.tables(data) if heading in table.heading)
        for heading in ("Hellinger", "spread-skill")
    )
    assert [row.cells[2] for row in hellinger.rows[1:]] == [
        "0.1000 (0.0900 to 0.1050)*",
        "0.3000 (0.2000 to 0.4000)",
        "0.1100 (0.1000 to 0.2000)*",
    ]
    assert [row.cells[-1].endswith("*") for row in spread_skill.rows[1:]] == [False, True, False]
    assert "closure=polynomial_ar1 and closure=polynomial are best, not told apart" in report.headline(data)


def test_structure_along_the_ring_has_columns_of_its_own_and_is_ranked(runs, tmp_path: Path) -> None:
    data, _ = lay_side_by_side(runs, tmp_path)
    data = data.copy(deep=True)
    for part, values in (("", [0.31, 0.04, 0.05]), ("_low", [0.28, 0.0, 0.01]), ("_high", [0.34, 0.08, 0.09])):
        data[f"spectrum_error_z{part}"][:] = values
    data["neighbour_correlation_psi"][:] = [[0.14, 0.09], [0.14, 0.15], [0.14, 0.3]]
    data["neighbour_correlation_psi_se"][:] = 0.005
    table = next(table for table in report.tables(data) if table.heading == "Climate: structure along the ring")
    cells = {name: [row.cells[i] for row in table.rows] for i, name in enumerate(table.columns[1:])}
    assert cells["spectrum of z (%)"] == ["0", "31.0 (28.0 to 34.0)", "4.0 (0.0 to 8.0)*", "5.0 (1.0 to 9.0)*"]
    shown = ["0", "-0.0500 ± 0.0071", "+0.0100 ± 0.0071*", "+0.1600 ± 0.0071"]
    assert cells["neighbours, ψ"] == shown
    alone = data.isel(run=[0]).assign({name: data[name].isel(run=[0]) * np.nan for name in data if "neighbour" in name})
    assert len(columns.structure(alone)) == 2  # a ring of one site


def test_the_reliability_of_laws_has_a_table_where_a_closure_states_one(runs, tmp_path: Path) -> None:
    heading = "Reliability of the law on held-out data"
    runs = [
        replace(run, scores=run.scores.drop_vars([name for name in run.scores.variables if "pit_" in str(name)]))
        for run in runs
    ]
    assert heading not in [table.heading for table in report.tables(lay_side_by_side(runs, tmp_path)[0])]
    stated = {"pit_largest_error": 0.05, "pit_largest_error_low": 0.04, "pit_largest_error_high": 0.06}
    with_law = replace(runs[1], scores=runs[1].scores.assign(stated))
    data, _ = lay_side_by_side([runs[0], with_law, runs[2]], tmp_path)
    table = next(table for table in report.tables(data) if table.heading == heading)
    assert [row.cells for row in table.rows] == [("0",), ("–",), ("0.0500 (0.0400 to 0.0600)",), ("–",)]


@pytest.mark.parametrize("lost", [(0, 1, 2), (2,)])
def test_runs_without_intervals_are_neither_told_apart_nor_called_alike(
    runs, tmp_path: Path, lost: tuple[int, ...]
) -> None:
    data, _ = lay_side_by_side(runs, tmp_path)
    data = data.copy(deep=True)
    for part, step in (("", 0.0), ("_low", -0.01), ("_high", 0.01)):
        values = np.array([0.063, 0.9, 0.5]) + step
        if step:
            values[list(lost)] = np.nan
        data[f"hellinger_joint{part}"][:] = values
        data[f"crps{part}"][:] = values[:, np.newaxis]
    for sentence in report.headline(data).split(". ")[1:]:
        assert "closure=polynomial_ar1 comes first with 0.063" in sentence
        assert f"{'no run has' if len(lost) == 3 else 'not all runs have'} intervals" in sentence
    assert "tell no run from the best" not in report.headline(data)
    hellinger, *_ = made = report.tables(data)
    assert hellinger.columns[3] == "Hellinger distance of z and ψ together\u00a0†"
    crps = next(table for table in made if table.heading == "Forecasts: CRPS")
    assert all(column.endswith("\u00a0†") for column in crps.columns[1:])
    assert crps.note.endswith("† not all runs have intervals.")
    shown = [cell for table in (hellinger, crps) for row in table.rows for cell in row.cells]
    assert not any(cell.endswith("*") for cell in shown)
    assert not any("nan" in cell for table in made for row in table.rows for cell in row.cells)
    words = " ".join(report.text(data).split())
    assert "Without intervals of all runs, and so without *: " in words
    assert "H(z,ψ)" in words.split("so without *: ")[1]


# Figures


@pytest.mark.parametrize("number", [1, 2, 12])
def test_figures_show_every_run(runs, tmp_path: Path, number: int) -> None:
    data, _ = lay_side_by_side(runs[:1], tmp_path)
    many = data.isel(run=np.zeros(number, dtype=int)).assign_coords(run=[f"run={i}" for i in range(number)])
    scores = figures.scores(many).axes[0]
    assert [label.get_text() for label in scores.get_yticklabels()] == [f"run={i}" for i in range(number)]
    np.testing.assert_array_equal(scores.containers[0].lines[0].get_xdata(), many["hellinger_z"])
    assert len(figures.densities(many).axes) == 2 * number
    crps = figures.forecasts(many).axes[0]
    for i in range(number):
        line = next(line for line in crps.lines if line.get_label() == f"run={i}")
        np.testing.assert_array_equal(line.get_ydata(), many["crps"][i])


def test_correlations_in_space_and_time_are_drawn_for_every_run_that_has_them(runs, tmp_path: Path) -> None:
    name = "space_time_correlation_psi"
    data, _ = lay_side_by_side([run for run in runs if run.scores[name].sel(source="coarse").notnull().any()], tmp_path)
    assert data.sizes["run"] == 2
    data[f"{name}_se"][:] = 0.01
    left, right = (
        [axes.collections[0].get_array() for axes in column]
        for column in zip(*(figures.space_time(data).axes[first : first + 2] for first in (2, 4)), strict=True)
    )
    correlation = data[name].transpose("run", "source", "time_lag", "offset")
    off = (correlation.sel(source="coarse") - correlation.sel(source="truth")).to_numpy()
    off[np.abs(off) <= intervals.SIDE * np.hypot(0.01, 0.01)] = 0.0
    np.testing.assert_array_equal(left, correlation.sel(source="coarse"))
    np.testing.assert_array_equal([values.filled(0.0) for values in right], off)
    every, _ = lay_side_by_side(runs, tmp_path)  # with that of a closure whose psi is zero
    assert sum(axes.get_title("left").startswith("less truth") for axes in figures.space_time(every).axes) == 2
    captions = [figures.pictures(some)["space_time"][1] for some in (data, every)]
    assert ["as where it is zero, are left out" in one for one in captions] == [False, True]
    assert "space_time" not in figures.pictures(data.drop_vars(name))


def test_correlations_at_other_lags_are_left_out(runs, tmp_path: Path) -> None:
    other = replace(runs[1], scores=runs[1].scores.assign_coords(time_lag=2.0 * runs[1].scores["time_lag"]))
    data, notes = lay_side_by_side([runs[0], other], tmp_path)
    assert "Correlations in space and time are left out" in " ".join(notes)
    assert not [name for name in data.variables if "space_time" in str(name)]


def test_a_long_legend_takes_nothing_from_the_panels(runs, tmp_path: Path) -> None:
    data, _ = lay_side_by_side(runs, tmp_path)
    many = data.isel(run=np.zeros(12, dtype=int)).assign_coords(run=[f"{60 * '='}{i}" for i in range(12)])
    heights = []
    for each in (data, many):
        figure = figures.forecasts(each)
        figure.draw_without_rendering()
        heights.append(figure.axes[0].get_position().height * figure.get_figheight())
    assert heights[1] > 0.9 * heights[0]


def test_no_text_of_a_figure_lies_upon_another(runs, tmp_path: Path) -> None:
    drawn = figures.pictures(lay_side_by_side(runs, tmp_path)[0])
    assert overlapping_in(drawn) == {}


def test_curves_of_eighteen_runs_look_different() -> None:
    assert len({str(style.line_style(number)) for number in range(18)}) == 18


def test_draws_that_were_told_more_are_not_ranked_beside_others() -> None:
    scores = xr.Dataset({"offline_crps": 1.0})
    told, not_told = scores.assign_attrs(offline_told=1), scores.assign_attrs(offline_told=0)
    assert told_apart([told, not_told])
    assert not told_apart([told, told])
    assert not told_apart([not_told, xr.Dataset()])
