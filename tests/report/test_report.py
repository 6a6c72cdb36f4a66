"""Figures show the numbers of the diagnostics; the page needs no other file and trusts no text."""

from __future__ import annotations

import base64
import inspect
import math
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import xarray as xr
from cycler import cycler
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from overlaps import overlapping

import l96closure as lc
from l96closure import diagnose, report
from l96closure import plot as package
from l96closure.closures import Analog, Chain, Moments, NoClosure, Noise, PolynomialAR1, SchrodingerBridge, Trend
from l96closure.diagnostics import intervals
from l96closure.diagnostics.scorecard import DISTANCES, PARTS
from l96closure.experiments.bistable import figures as of_bistable
from l96closure.experiments.climate import closure_tables as of_closure
from l96closure.experiments.climate import tables as climate
from l96closure.experiments.climate.figures import pictures
from l96closure.experiments.gaussian import figures as of_gaussian
from l96closure.plot import climate as figures
from l96closure.plot import structure, style
from l96closure.plot.style import Picture

pytestmark = pytest.mark.slow  # whole runs, or many of them


@pytest.fixture(scope="module")
def runs() -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((3, 900, 5)).cumsum(axis=1) * 0.05
    psi = -z + 0.1 * rng.standard_normal(z.shape)
    time = 0.02 * np.arange(900)
    truth = xr.Dataset(
        {"z": (("time", "k"), z[0]), "psi": (("time", "k"), psi[0])}, coords={"time": time, "k": np.arange(5)}
    )
    dims = ("member", "time", "k")
    coarse = xr.Dataset(
        {"z": (dims, z[1:, :200]), "psi": (dims, psi[1:, :200])},
        coords={"member": [0, 1], "time": time[:200], "k": np.arange(5)},
    )
    return truth, coarse, diagnose(truth, coarse)


def _known(score: float, floor: float, floor_std: float, ratio: float, error: float) -> xr.Dataset:
    """Diagnostics with known numbers for z and the same for everything else; the residual and the levels are fixed."""
    names = ("mean", "std", "psi_mean", "psi_std")
    pairs = 1 if np.isnan(floor_std) else 3
    return xr.Dataset(
        {
            **{name: ("source", [5.0, 5.0 * ratio]) for name in names},
            **{f"{name}_se": ("source", [error, error]) for name in names},
            **{
                f"{name}{suffix}": value
                for name in DISTANCES
                for suffix, value in zip(PARTS, (score, floor, floor_std, score - 0.001, score + 0.001), strict=True)
            },
            "autocorrelation_residual": (("source", "lag"), 0.9 ** np.array([np.arange(60), 2 * np.arange(60)])),
            "autocorrelation_residual_se": (("source", "lag"), np.full((2, 60), 0.01)),
            **{f"neighbour_correlation_{name}": ("source", [0.14, 0.09]) for name in ("z", "psi", "residual")},
            **{f"neighbour_correlation_{name}_se": ("source", [error, error]) for name in ("z", "psi", "residual")},
            **{
                f"spectrum_{name}": (("source", "wavenumber"), [[1.0, 4.0, 2.0], [1.1, 2.76, 2.0]])
                for name in ("z", "psi")
            },
            **{f"spectrum_{name}_se": (("source", "wavenumber"), np.full((2, 3), error)) for name in ("z", "psi")},
            **{
                f"spectrum_ratio_{name}{part}": ("wavenumber", np.array([1.1, 0.69, 1.0]) + (side and side * error))
                for name in ("z", "psi")
                for part, side in (("", 0), ("_low", -2), ("_high", 2))
            },
            **{
                f"spectrum_error_{name}{part}": 0.31 + (side and side * error)
                for name in ("z", "psi")
                for part, side in (("", 0), ("_low", -3), ("_high", 3))
            },
            "return_period_z": (("source", "threshold"), [[5.0, 80.0], [6.0, np.inf]]),
            "return_period_z_low": (("source", "threshold"), [[4.0, 50.0], [5.0, 1062.4]]),
            "return_period_z_high": (("source", "threshold"), [[6.0, 120.0], [7.0, np.inf]]),
        },
        coords={
            "source": ["truth", "coarse"],
            "lag": 0.02 * np.arange(60),
            "threshold": [10.04, 20.0],
            "wavenumber": np.arange(3),
        },
        attrs={
            "floor_stretches": 3,
            "floor_pairs": pairs,
            "floor_stretch_duration": 100.0,
            "floor_method": "the stretches are what they are",
            "common_time_step": 0.02,
            "interval_blocks": 40,
            "interval_block_duration": 2.5,
        },
    )


# Figures


def _line(figure, axes: int, label: str):
    return next(line for line in figure.axes[axes].lines if line.get_label() == label)


def test_covariance_figure_shows_rows_mean_and_truth(runs) -> None:
    *_, diagnostics = runs
    figure = style.figure_of(figures.covariance(diagnostics))
    truth = _line(figure, 0, "truth")
    np.testing.assert_array_equal(truth.get_ydata(), diagnostics["covariance"].sel(source="truth"))
    assert truth.get_linestyle() == "None"
    mean = _line(figure, 0, "coarse run, mean over rows")
    np.testing.assert_array_equal(mean.get_ydata(), diagnostics["covariance"].sel(source="coarse"))
    thin = [line for line in figure.axes[0].lines if line.get_linewidth() < 1 and len(line.get_xdata()) == 5]
    rows = diagnostics["covariance_rows"].sel(source="coarse")
    np.testing.assert_array_equal([line.get_ydata() for line in thin], rows)


def test_histograms_show_the_densities(runs) -> None:
    *_, diagnostics = runs
    figure = style.figure_of(figures.histograms(diagnostics))
    for axes, name in zip(figure.axes, ("z", "psi"), strict=True):
        values, edges, _ = axes.patches[-1].get_data()
        np.testing.assert_array_equal(values, diagnostics[f"density_{name}"].sel(source="coarse"))
        np.testing.assert_allclose((edges[1:] + edges[:-1]) / 2, diagnostics[f"{name}_bin"])


def test_autocorrelations_are_drawn_for_both_sources(runs) -> None:
    *_, diagnostics = runs
    figure = style.figure_of(figures.autocorrelations(diagnostics))
    for axes, name in enumerate(("z", "psi")):
        for source, label in style.LABELS.items():
            line = _line(figure, axes, label)
            np.testing.assert_array_equal(line.get_ydata(), diagnostics[f"autocorrelation_{name}"].sel(source=source))
            assert to_hex(line.get_color()) == style.COLOURS[source]


def test_joint_density_shows_both_and_their_difference(runs) -> None:
    *_, diagnostics = runs
    truth, coarse, difference = (axes.collections[0] for axes in structure.joint_density(diagnostics))
    for mesh, source in ((truth, "truth"), (coarse, "coarse")):
        density = diagnostics["density_joint"].sel(source=source).values.T
        np.testing.assert_array_equal(mesh.get_array().filled(0.0), density)
    assert truth.get_clim() == coarse.get_clim()
    joint = diagnostics["density_joint"]
    np.testing.assert_array_equal(difference.get_array(), (joint.sel(source="coarse") - joint.sel(source="truth")).T)
    assert difference.get_clim()[0] == -difference.get_clim()[1]


def test_residual_autocorrelation_is_drawn_twice_with_its_band(runs) -> None:
    *_, diagnostics = runs
    figure = style.figure_of(structure.residual_autocorrelation(diagnostics))
    for axes in (0, 1):
        for source, label in style.LABELS.items():
            line = _line(figure, axes, label)
            np.testing.assert_array_equal(line.get_ydata(), diagnostics["autocorrelation_residual"].sel(source=source))
        assert len(figure.axes[axes].collections) == 2
    assert figure.axes[0].get_xlim()[1] == pytest.approx(50 * 0.02)


def test_spectra_are_drawn_for_both_sources(runs) -> None:
    *_, diagnostics = runs
    figure = style.figure_of(structure.spectra(diagnostics))
    for axes, name in zip(figure.axes[2:], ("z", "psi"), strict=True):
        shown = [line.get_ydata() for line in axes.lines]
        np.testing.assert_array_equal(shown, diagnostics[f"power_{name}"].isel(frequency=slice(1, -1)))
    for axes, name in zip(figure.axes[:2], ("z", "psi"), strict=True):
        shown = [container.lines[0].get_ydata() for container in axes.containers]
        np.testing.assert_array_equal(shown, diagnostics[f"spectrum_{name}"])


@pytest.mark.parametrize("error", [np.nan, 0.02])
def test_correlations_in_space_and_time_are_drawn_with_what_differs_by_more_than_chance(runs, error: float) -> None:
    diagnostics = runs[2].copy(deep=True)
    for name in ("psi", "residual"):
        diagnostics[f"space_time_correlation_{name}_se"][:] = error
    for row, name in zip(structure.space_time(diagnostics), ("psi", "residual"), strict=True):
        correlation = diagnostics[f"space_time_correlation_{name}"].transpose("source", "time_lag", "offset").values
        shown = [panel.collections[0].get_array() for panel in row]
        np.testing.assert_array_equal(shown[:2], correlation)
        difference = correlation[1] - correlation[0]
        difference[np.abs(difference) <= intervals.SIDE * np.hypot(error, error)] = 0.0
        np.testing.assert_array_equal(shown[2].filled(0.0), difference)


def test_tails_show_differences_of_quantiles_and_finite_return_periods(runs) -> None:
    *_, diagnostics = runs
    diagnostics = diagnostics.copy(deep=True)
    for part, factor in (("", 1.0), ("_low", 0.5), ("_high", 2.0)):
        diagnostics[f"return_period_z{part}"][1] = factor * np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, np.inf])
    figure = style.figure_of(structure.tails(diagnostics))
    for axes, name in zip(figure.axes[:2], ("z", "psi"), strict=True):
        quantile = diagnostics[f"quantile_{name}"]
        np.testing.assert_array_equal(
            axes.containers[0].lines[0].get_ydata(), quantile.sel(source="coarse") - quantile.sel(source="truth")
        )
    coarse = figure.axes[2].containers[1].lines[0].get_ydata()
    assert np.isnan(coarse[-1])
    np.testing.assert_array_equal(coarse[:-1], diagnostics["return_period_z"].sel(source="coarse")[:-1])


def test_hovmoeller_panels_share_scale_and_time(runs) -> None:
    truth, coarse, _ = runs
    left, right = (axes.images[0] for axes in figures.hovmoeller(truth, coarse))
    assert left.get_clim() == right.get_clim()
    assert left.get_extent() == pytest.approx(right.get_extent())
    assert left.get_extent()[3] == pytest.approx(199 * 0.02)
    np.testing.assert_array_equal(right.get_array(), coarse["z"].isel(member=0))


def test_psi_against_z_repeats_the_truth_beside_the_coarse_run(runs) -> None:
    left, right = figures.psi_against_z(*runs)
    assert left.get_legend_handles_labels()[1] == ["truth: mean", "truth: mean ± std"]
    assert right.get_legend_handles_labels()[1] == [*left.get_legend_handles_labels()[1], "coarse run: mean",
                                                    "coarse run: mean ± std"]  # fmt: skip
    (legend,) = left.figure.legends
    assert len(legend.get_texts()) == 4
    assert [axes.get_ylabel() for axes in left.figure.axes[2:]] == ["probability density"]  # the colour bar


def of_climate(truth: xr.Dataset, coarse: xr.Dataset, diagnostics: xr.Dataset) -> Mapping[str, style.Drawing]:
    return pictures(diagnostics, truth=truth, coarse=coarse)


def test_all_pictures_are_written(runs, tmp_path: Path) -> None:
    pictures = style.save_all(tmp_path / "figures", of_climate(*runs))
    names = [
        "covariance", "histograms", "autocorrelations", "psi_against_z", "joint_density", "residual_autocorrelation",
        "spectra", "space_time", "tails", "hovmoeller",
    ]  # fmt: skip
    assert [picture.name for picture in pictures] == names
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == sorted(f"{name}.png" for name in names)
    for picture in pictures:
        assert picture.path.read_bytes().startswith(b"\x89PNG")
        assert picture.caption.endswith(".")


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_pictures_are_vectors_too_where_asked_for(runs, tmp_path: Path, kind: str) -> None:
    made = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        drawing = partial(figures.histograms, runs[2]), "A caption."
        (picture,) = style.save_all(folder, {"histograms": drawing}, kind)
        assert picture.path.name == "histograms.png"
        made.append((folder / f"histograms.{kind}").read_bytes())
    assert made[0].startswith({"svg": b"<?xml", "pdf": b"%PDF"}[kind])
    assert made[0] == made[1]


def test_a_picture_has_the_pixels_of_matplotlibs_own_saving_and_the_figure_stays_as_it_was(
    runs, tmp_path: Path
) -> None:
    figure = style.figure_of(figures.histograms(runs[2]))
    dpi, engine = figure.dpi, figure.get_layout_engine()
    style.save(figure, tmp_path / "ours.png")
    assert (figure.dpi, figure.get_layout_engine()) == (dpi, engine)
    with style.settings():
        style.figure_of(figures.histograms(runs[2])).savefig(tmp_path / "theirs.png", dpi=200)
    assert (matplotlib.image.imread(tmp_path / "ours.png") == matplotlib.image.imread(tmp_path / "theirs.png")).all()


def test_pictures_of_a_closure_without_tendency(runs, tmp_path: Path) -> None:
    truth, coarse, _ = runs
    coarse = coarse.assign(psi=xr.zeros_like(coarse["psi"]))
    drawn = [draw() for draw, _ in of_climate(truth, coarse, diagnose(truth, coarse)).values()]
    assert len(drawn) == 10


HOSTILE = {
    "text.usetex": True,
    "font.family": "no such font",
    "axes.formatter.use_locale": True,
    "figure.dpi": 31,
    "lines.linewidth": 9.0,
    "axes.facecolor": "black",
    "figure.constrained_layout.use": False,
    "savefig.transparent": True,
    "axes.prop_cycle": cycler(color=["red"]),
}


def test_pictures_do_not_depend_on_the_settings_of_the_user(
    runs, gaussian_data, bistable_data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte."""
    monkeypatch.setattr(style, "_DPI", 40)

    def pictures() -> dict[str, bytes]:
        made = [
            *style.save_all(tmp_path / "climate", of_climate(*runs)),
            *style.save_all(tmp_path / "gaussian", of_gaussian.pictures(gaussian_data[2])),
            *style.save_all(tmp_path / "bistable", of_bistable.pictures(bistable_data)),
        ]
        return {str(picture.path): picture.path.read_bytes() for picture in made}

    plain = pictures()
    with matplotlib.rc_context(HOSTILE):
        before = dict(matplotlib.rcParams)
        assert pictures() == plain
        assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", package.__all__)
def test_every_plotting_function_has_our_settings_and_takes_axes(name: str) -> None:
    function = getattr(package, name)
    assert hasattr(function, "__wrapped__")
    *_, last = inspect.signature(function).parameters.values()
    assert (last.name, last.default) == ("ax", None)
    assert function.__annotations__["return"] in ("Axes", "Panels")


def test_what_is_drawn_into_given_axes_is_drawn_there_alone(runs) -> None:
    *_, diagnostics = runs
    mine = Figure()
    alone, *pair = mine.subplots(1, 3)
    assert figures.covariance(diagnostics, ax=alone) is alone
    drawn = figures.histograms(diagnostics, ax=np.array(pair))
    assert list(drawn) == pair
    assert mine.legends == []  # there may be no room above
    assert [text.get_text() for text in pair[0].get_legend().get_texts()] == ["truth", "coarse run"]
    ours = figures.histograms(diagnostics)
    for axes, other in zip(drawn, ours, strict=True):
        np.testing.assert_array_equal(axes.patches[-1].get_data().values, other.patches[-1].get_data().values)
    for wrong in (alone, pair[:1], [1, 2]):
        with pytest.raises(ValueError, match="2 of them"):
            figures.histograms(diagnostics, ax=wrong)


def test_truth_and_coarse_run_differ_in_grey() -> None:
    """By the relative luminance of WCAG 2."""
    light, dark = (
        float(np.array([0.2126, 0.7152, 0.0722]) @ [((c + 0.055) / 1.055) ** 2.4 if c > 0.04045 else c / 12.92
                                                    for c in to_rgb(colour)]) + 0.05
        for colour in (style.GIVEN, style.GENERATED)
    )  # fmt: skip
    assert light / dark > 2.0
    assert 1.05 / light > 3.0  # of both against the paper


OF_OTHERS = {"choice", "plumes", "rank_histograms", "reliability", "skill"}
OF_GRIDS = {"isotropic_spectra", "profiles"}


@pytest.mark.parametrize("name", sorted(OF_GRIDS))
def test_no_text_of_a_figure_of_grids_lies_upon_another(name: str) -> None:
    rng, dims = np.random.default_rng(0), ("time", "lev", "y", "x")
    runs = [
        xr.Dataset(
            {
                each: (dims, 250.0 + rng.standard_normal((100, 3, 8, 8)), {"units": "g kg-1 s-1"})
                for each in ("z", "psi")
            },
            {
                "time": 0.1 * np.arange(100),
                "lev": ("lev", [1000.0, 500.0, 100.0], {"units": "hPa", "positive": "down"}),
            },
        )
        for _ in range(2)
    ]
    found = diagnose(runs[0], runs[1].expand_dims("member"), dim=dims[1:], periodic=[False, True, True], bins=5)
    figure = style.figure_of(getattr(package, name)(found))
    assert overlapping(figure) == []
    if name == "profiles":
        assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]  # pressure falls upwards


@pytest.mark.parametrize("name", sorted({*package.__all__} - OF_OTHERS - OF_GRIDS))
def test_no_text_of_a_figure_lies_upon_another(runs, name: str) -> None:
    given = dict(zip(("truth", "coarse", "diagnostics"), runs, strict=True))
    function = getattr(package, name)
    taken = {key: given[key] for key in inspect.signature(function).parameters if key in given}
    figure = style.figure_of(function(**taken))
    assert overlapping(figure) == []
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
    for number, axes in enumerate(figure.axes[:2]):
        axes.set_xlabel(f"label {number} " + 80 * "n")
    assert len(overlapping(figure)) >= (len(figure.axes) > 1)


def test_a_legend_of_long_names_is_whole() -> None:
    figure, (axes,) = style.row(1, width=10.5)
    for length in (21, 9, 50, 46, 26):
        axes.plot([0, 1], [0, 1], label="tendency=model.tendency closure=schrodinger_bridge"[:length])
    style.legend_above(figure, axes)
    assert overlapping(figure) == []  # draws it, too
    box = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1


def test_sites_are_named_by_their_coordinate() -> None:
    _, (axes,) = style.row(1)
    levels = xr.DataArray(np.linspace(1000.0, 100.0, 20), dims="lev", name="lev", attrs={"units": "hPa"})
    style.site_axis(axes.xaxis, 20, levels)
    assert axes.get_xlabel() == "lev (hPa)"
    assert [label.get_text() for label in axes.get_xticklabels()][:2] == ["1000", "857.89"]
    style.site_axis(axes.yaxis, 20, None)
    assert axes.get_ylabel() == "site $k$"


def test_package_import_pulls_no_graphics() -> None:
    code = "import sys, l96closure; print([m for m in ('matplotlib', 'jinja2') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_figures_do_without_pyplot() -> None:
    code = "import sys, l96closure.plot.climate, l96closure.report; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


# Words and tables


@pytest.mark.parametrize(
    ("numbers", "phrases"),
    [
        ((0.020, 0.018, 0.003, 1.001, 0.02), ["as much as the truth", "1.11 times its floor, no more than chance"]),
        ((0.060, 0.018, 0.003, 1.10, 0.02), ["10.0 % more", "3.33 times its floor"]),
        ((0.060, 0.018, 0.003, 0.90, 0.02), ["10.0 % less"]),
        ((0.020, 0.018, np.nan, 1.001, 0.02), ["one pair of stretches", "uncertain"]),
        ((0.020, 0.0, 0.0, 1.001, 0.02), ["– times its floor"]),
    ],
)
def test_headline_judges_against_chance(numbers: tuple[float, ...], phrases: list[str]) -> None:
    text = climate.headline(_known(*numbers))
    for phrase in phrases:
        assert phrase in text


def test_score_table_lines_up_and_holds_the_numbers() -> None:
    table = climate.score_table(_known(0.02, 0.016, 0.0031, 1.1, 0.02))
    blocks = [block.splitlines() for block in table.split("\n\n")]
    assert [len(block) for block in blocks[:2]] == [6, 5]
    assert len(blocks) == 3
    assert len({len(line) for block in blocks[:2] for line in block}) == 1
    assert blocks[0][1].split() == [
        "hellinger_z", "0.0200", "0.0190", "to", "0.0210", "0.0160", "±", "0.0031", "1.25",
    ]  # fmt: skip
    assert "5.500 ± 0.020" in blocks[1][2]
    assert "+0.500 ± 0.028" in blocks[1][2]
    assert blocks[1][2].split()[-1] == "+17.7"
    assert "40 blocks of 2.5 time units" in " ".join(blocks[2])


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (12.3456, 3, "12.346"),
        (0.0123, 3, "0.012"),
        (0.00234, 3, "0.00234"),
        (4.5678e-6, 4, "4.568e-06"),
        (-0.0004, 3, "-4.00e-04"),
        (0.0, 3, "0.000"),
        (0.96, 1, "1.0"),
        (0.04, 1, "0.0400"),
    ],
)
def test_no_number_is_shown_as_zero_that_is_none(value: float, digits: int, shown: str) -> None:
    assert report.number(value, digits) == shown
    assert report.with_interval((value, value, value), digits) == f"{shown} ({shown} to {shown})"
    assert report.with_interval((value, math.nan, math.nan), digits) == shown


@pytest.mark.parametrize(
    ("values", "errors", "shown"),
    [
        ((3.6451, -0.13942), (np.nan, 0.027), ("3.645", "-0.139 ± 0.027")),
        ((5.0253, -0.041412), (np.nan, np.nan), ("5.025", "-0.041")),
        ((3.1e-5, 2e-9), (2.2e-6, 1.4e-10), ("3.10e-05 ± 2.2e-06", "2.00e-09 ± 1.4e-10")),
        ((0.0, 0.0), (np.nan, np.nan), ("0", "0")),
    ],
)
def test_numbers_of_a_row_have_one_form(
    values: tuple[float, ...], errors: tuple[float, ...], shown: tuple[str, ...]
) -> None:
    beside = report.finest(values, errors)
    assert tuple(report.with_error(*each, beside=beside) for each in zip(values, errors, strict=True)) == shown


def test_the_bounds_of_a_small_number_have_its_form() -> None:
    assert report.with_interval((2.5e-3, -4e-5, 5e-3), 4) == "0.0025 (0.0000 to 0.0050)"
    assert report.with_interval((2.5e-4, -4e-6, 5e-4), 4) == "2.500e-04 (-4.000e-06 to 5.000e-04)"
    assert report.with_interval((3e-5, -1e-6, 6e-5), 3) == "3.00e-05 (-1.00e-06 to 6.00e-05)"
    assert report.with_interval((9e-5, 8e-5, 1e-4), 3, beside=2e-3) == "0.00009 (0.00008 to 0.00010)"


def test_a_variance_that_is_round_off_is_not_compared() -> None:
    numbers = _known(0.02, 0.016, 0.0031, 1.1, 0.01)
    numbers["spectrum_z"][:, 0] = 1e-30
    assert climate.tables(numbers)[2].rows[0].cells[:2] == ("0", "–")


def test_columns_without_room_on_the_terminal_follow_below() -> None:
    columns = ("run", *(f"column {number}" for number in range(9)))
    rows = tuple(report.Row(label, tuple(f"{number}.0 (0.1 to 0.9)" for number in range(9))) for label in ("a", "bb"))
    lines = report.as_text([report.Table("", columns, rows, "")]).splitlines()
    assert max(map(len, lines)) <= report.WIDTH
    assert [line[:3].strip() for line in lines] == ["run", "a", "bb", "", "run", "a", "bb"]
    assert sum(line.count("(") for line in lines) == 18
    assert " ".join(lines[0].split() + lines[4].split()[1:]) == " ".join(columns)
    assert max(map(len, report.paragraph("word " * 100).splitlines())) <= report.WIDTH


def test_scores_without_interval_say_so() -> None:
    numbers = _known(0.02, 0.016, 0.0031, 1.1, 0.02).assign_attrs(interval_blocks=0, interval_method="none: few")
    numbers["hellinger_z_low"] = np.nan
    table = climate.score_table(numbers)
    assert table.splitlines()[1].split()[2] == "–"
    assert "too short against their memory" in table


def test_runs_too_short_for_standard_errors_have_numbers_without_and_say_why() -> None:
    numbers = _known(0.02, 0.016, 0.0031, 1.1, np.nan)
    for name in ("autocorrelation_residual_se", "return_period_z_low", "return_period_z_high"):
        numbers[name] = numbers[name] * np.nan
    assert "as far as runs this short against their memory can tell" in climate.headline(numbers)
    for name in [name for name in numbers if "spectrum" in str(name) and str(name).endswith(("_low", "_high"))]:
        numbers[name] = numbers[name] * np.nan
    _, moments, waves, neighbours, memory, extremes = climate.tables(numbers)
    assert moments.rows[0].cells == ("5.500", "5.000", "+0.500", "–")
    assert memory.rows[0].cells == ("0.8100", "0.9000", "-0.0900", "–")
    assert extremes.rows[0].cells == ("6.00", "5.00")
    assert waves.rows[1].cells == ("4.000", "0.690", "4.000", "0.690")
    assert waves.rows[-1].cells[1] == "31.0 % at 1"
    assert neighbours.rows[1].cells == ("0.0900", "0.1400", "-0.0500", "–")
    for table in (moments, waves, neighbours, memory, extremes):
        assert "not given where fewer than 20 stretches of time are independent" in table.note
        assert "±" not in table.note
    for table in climate.tables(_known(0.02, 0.016, 0.0031, 1.1, 0.01))[1:5]:
        assert "After ± stands the standard error, " in table.note


def test_structure_along_the_ring_is_compared() -> None:
    numbers = _known(0.02, 0.016, 0.0031, 1.1, 0.01)
    waves, neighbours = climate.tables(numbers)[2:4]
    assert [row.label for row in waves.rows] == ["wavenumber 0", "wavenumber 1", "wavenumber 2", "largest error"]
    assert waves.rows[1].cells == ("4.000 ± 0.010", "0.690 (0.670 to 0.710)") * 2
    assert waves.rows[-1].cells[1] == "31.0 % (28.0 to 34.0) at 1"
    assert neighbours.rows[1].cells == ("0.090 ± 0.010", "0.140 ± 0.010", "-0.050 ± 0.014", "-3.5")
    lone = numbers.assign({name: numbers[name] * np.nan for name in numbers if "neighbour" in str(name)})
    assert [table.heading for table in climate.tables(lone)[2:-2]] == ["Spectra along the ring"]
    many = climate.tables(numbers.isel(wavenumber=np.arange(40) % 3).assign_coords(wavenumber=np.arange(40)))[2]
    assert len(many.rows) == 16
    assert "Wavenumbers beyond 14 are in diagnostics.nc" in many.note


def test_memory_and_extremes_are_compared() -> None:
    *_, memory, extremes = climate.tables(_known(0.02, 0.016, 0.0031, 1.1, 0.02))
    assert [row.label for row in memory.rows] == ["lag 0.02, 1 record", "lag 0.2, 10 records", "lag 1, 50 records"]
    assert memory.rows[0].cells == ("0.810 ± 0.010", "0.900 ± 0.010", "-0.090 ± 0.014", "-6.4")
    assert "0.02 time units" in memory.note
    assert [(row.label, row.cells) for row in extremes.rows] == [
        ("z above 10.0", ("6.00 (5.00 to 7.00)", "5.00 (4.00 to 6.00)")),
        ("z above 20.0", ("never (1060 to ∞)", "80.0 (50.0 to 120)")),
    ]


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (3.70849, 0.0281, "3.708 ± 0.028"),
        (1234.0, 56.0, "1234 ± 56"),
        (2.0, np.nan, "2.000"),
        (2.5, 0.0, "2.500"),
        (2.1e-18, 3.4e-19, "2.10e-18 ± 3.4e-19"),
    ],
)
def test_values_are_shown_to_the_digits_their_error_allows(value: float, error: float, shown: str) -> None:
    assert report.with_error(value, error) == shown


# The page


class _Page(HTMLParser):
    """Collect links and texts, and check that tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)
        for name, value in attrs:
            if name == "src":
                self.sources.append(value or "")
            if name == "href" and not (value or "").startswith("#"):
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _written(folder: Path, diagnostics: xr.Dataset, pictures=(), **changes) -> str:
    arguments = {
        "title": "A run",
        "origin": report.Origin("model:\n  K: 5\n", {"numpy": "2.0"}),
        "headline": climate.headline(diagnostics),
        "tables": climate.tables(diagnostics),
        "figures": pictures,
        "downloads": {"truth.nc": "the truth"},
        "notes": ["A note."],
    }
    report.write_page(folder / "report.html", **(arguments | changes))
    return (folder / "report.html").read_text(encoding="utf-8")


def test_page_holds_everything_and_needs_no_other_file(runs, tmp_path: Path) -> None:
    pictures = style.save_all(tmp_path / "figures", of_climate(*runs))
    text = _written(tmp_path, runs[2], pictures)
    page = _Page(text)
    assert page.open == []
    assert [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in page.sources] == [
        picture.path.read_bytes() for picture in pictures
    ]
    assert page.links == ["truth.nc"]
    assert not re.search(r"https?://|url\(|@import|<script\s|<link|<iframe|\bimport\b.*from|fetch\(", text)
    words = " ".join(page.text.split())
    for expected in (
        climate.headline(runs[2]), "model: K: 5", "numpy", "A note.", *(picture.caption for picture in pictures)
    ):  # fmt: skip
        assert expected in words
    assert f"{float(runs[2]['hellinger_psi']):.4f}" in words


def test_no_line_ends_beside_a_sign_or_inside_a_unit(tmp_path: Path) -> None:
    said = "-2.0 ± 0.1 g kg⁻¹ s⁻¹, 5 % of 1.2e-05 K s⁻¹ in 3 to 9 rows"
    page = _written(tmp_path, _known(0.02, 0.018, 0.003, 1.0, 0.02), headline=said, notes=[])
    assert "−2.0~±~0.1 g~kg⁻¹~s⁻¹, 5~% of 1.2e−05 K~s⁻¹ in 3 to 9 rows".replace("~", "\N{NO-BREAK SPACE}") in page


def test_page_escapes_every_text(tmp_path: Path) -> None:
    evil = '<script>"&'
    text = _written(
        tmp_path,
        _known(0.02, 0.018, 0.003, 1.0, 0.02).assign_attrs(floor_method=evil),
        title=evil,
        origin=report.Origin(evil, {evil: evil}),
        downloads={f"{evil}.nc": evil},
        notes=[evil],
        warnings=[evil],
        headline=evil,
    )
    assert text.count("<script") == 1  # the page's own
    assert text.count("&lt;script&gt;") == 11  # the title stands twice
    assert _Page(text).links == ["%3Cscript%3E%22%26.nc"]


def test_page_without_notes_has_no_heading_for_them(tmp_path: Path) -> None:
    assert ">Notes</h2>" not in _written(tmp_path, _known(0.02, 0.018, 0.003, 1.0, 0.02), notes=())


def test_page_with_warnings_shows_them_before_the_scores(tmp_path: Path) -> None:
    numbers = _known(0.02, 0.018, 0.003, 1.0, 0.02)
    text = _written(tmp_path, numbers, warnings=["Do not trust this."])
    assert text.index("Do not trust this.") < text.index("<table>")
    assert '<ul class="warnings">' not in _written(tmp_path, numbers)


def test_findings_stand_before_the_scores_with_what_they_rest_on(tmp_path: Path) -> None:
    numbers = _known(0.02, 0.018, 0.003, 1.0, 0.02)
    said = ("Where it <fails>", ["Here & there.", "No failure elsewhere."], "What counts.")
    text = _written(tmp_path, numbers, findings=said)
    words = " ".join(_Page(text).text.split())
    assert f"{said[0]} Here & there. No failure elsewhere. What counts." in words
    assert text.index("No failure elsewhere.") < text.index("<table>")
    assert '<a href="#where-it-fails">' in text
    assert "Where it" not in _written(tmp_path, numbers)


def test_failed_report_leaves_the_old_page(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(FileNotFoundError):
        _written(tmp_path, _known(0.02, 0.018, 0.003, 1.0, 0.02), [Picture("gone", tmp_path / "gone.png", "caption")])
    assert (tmp_path / "report.html").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_report_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="existing folder"):
        _written(tmp_path / "nowhere", _known(0.02, 0.018, 0.003, 1.0, 0.02))


LOCAL, WIDE = lc.Fields(radius=0, lags=()), lc.Fields(radius=1, lags=(0.01, 0.03))
FITTED = {
    "bridge": (SchrodingerBridge, {"fields": WIDE, "trend": Trend(degree=3, order=2), "noise": Noise(order=2)}),
    "moments": (SchrodingerBridge, {"fields": LOCAL, "trend": None, "law": Moments(centres=200)}),
    "chain": (SchrodingerBridge, {"fields": LOCAL, "law": Chain("split", steps=3, centres=200)}),
    "ar1": (PolynomialAR1, {}),
    "analog": (Analog, {"neighbours": 7}),
    "none": (NoClosure, {}),
}
SAID = {
    "bridge": {
        "neighbours seen on either side": "1",
        "lags seen": "0.01, 0.03",
        "trend": "degree 3 at the site, products of order 2",
        "law of the residual": "quantiles given {coordinates}",
        "noise": "autoregressive of order 2, correlated in space",
    },
    "moments": {"trend": "none", "law of the residual": "moments given all that is seen"},
    "chain": {"lags seen": "none", "law of the residual": "chain, scheme split, 3 steps"},
    "ar1": {
        "trend": "degree 4 at the site, products of order 1",
        "law of the residual": "Gaussian given z",
        "noise": "autoregressive of order 1, independent at every site",
    },
    "analog": {"samples drawn from": "the 7 nearest of 2,994", "memory": "the last step"},
    "none": {},
}


@pytest.mark.filterwarnings("ignore::l96closure.bridge.AccuracyWarning")  # of few samples, which is no matter here
@pytest.mark.parametrize("name", FITTED)
def test_what_a_closure_is_made_of_is_said_also_of_one_from_a_file(tmp_path: Path, name: str) -> None:
    truth = lc.TwoScaleLorenz96(K=6, J=4).simulate(samples=500, spinup=1.0)
    kind, how = FITTED[name]
    closure = kind.fit(truth, **how)
    closure.save(tmp_path / "closure.nc")
    for one in (closure, lc.closures.load(tmp_path / "closure.nc")):
        tables = of_closure.tables(one)
        found = {row.label: row.cells[0] for table in tables[:1] for row in table.rows}
        compared = getattr(one, "selection", None)
        assert len(tables[1:]) == (compared is not None)
        assert [row.cells[-1] for row in tables[-1].rows].count("yes") == (compared is not None) if tables else True
        names = " and ".join(one.coordinates) if kind is SchrodingerBridge else ""
        told = {key: text.format(coordinates=names) for key, text in SAID[name].items()}
        assert found.items() >= told.items()
        assert of_closure.text(one) == "; ".join(f"{label}: {said}" for label, said in found.items())
