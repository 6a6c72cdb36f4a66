"""Words, tables and figures of the sampling experiments show the numbers of their diagnostics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from overlaps import overlapping_in

from l96closure import report
from l96closure.experiments.bistable import figures as bistable_figures
from l96closure.experiments.bistable import report as bistable_words
from l96closure.experiments.bistable import stages as bistable
from l96closure.experiments.gaussian import figures as gaussian_figures
from l96closure.experiments.gaussian import report as gaussian_words
from l96closure.experiments.gaussian import stages as gaussian
from l96closure.experiments.sampling import figures as chain_figures
from l96closure.experiments.sampling import report as chain_words
from l96closure.plot import style

# Words


def test_good_chains_are_not_warned_of(gaussian_data: Any, bistable_data: xr.Dataset) -> None:
    for data in (gaussian_data[2], bistable_data):
        assert chain_words.warnings(data, "scored quantity") == []


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"replay_score": ("scheme", [0.3, 1.0])}, "The split scheme replays its training samples"),
        ({"effective_sample_size": (("scheme", "component"), [[500.0, 40.0], [500.0, 500.0]])}, "only 40"),
        ({"convergence": (("scheme", "length"), [[1.0, 1.0, 2.0], [1.0, 1.0, 1.0]])}, "have not converged"),
    ],
)
def test_each_fault_of_a_scheme_is_named(gaussian_data: Any, change: dict[str, Any], phrase: str) -> None:
    data = gaussian_data[2]
    if "effective_sample_size" in change:
        data = data.isel(component=slice(2))
    (sentence,) = chain_words.warnings(data.assign(change), "variance")
    assert phrase in sentence
    assert "split" in sentence


def test_a_scheme_of_one_length_cannot_be_unconverged(gaussian_data: Any) -> None:
    data = gaussian_data[2]
    curve = data["convergence"].where((data["scheme"] != "split") | (data["length"] == 1))
    assert chain_words.warnings(data.assign(convergence=curve), "variance") == []


@pytest.mark.parametrize(
    ("value", "phrase"), [(1.0, "the same within sampling error"), (1.5, "50.0 % more"), (0.5, "50.0 % less")]
)
def test_judgement_counts_standard_errors(value: float, phrase: str) -> None:
    assert phrase in chain_words.judged(value, 0.1, 1.01, 0.1, 2.0).replace("48.5", "50.0").replace("50.5", "50.0")


def test_what_has_no_standard_error_is_not_judged_by_one(gaussian_data: Any) -> None:
    data = gaussian_data[2]  # three training sets
    assert data["covariance_se"].sel(source="split").isnull().all()
    assert data["covariance_se"].attrs["interval_method"] == "none: fewer than 5 training sets"
    text = gaussian_words.headline(data) + gaussian.PAGE.text(data)
    assert "nan" not in text
    assert "of unknown error (fewer than 5 chains or training sets)" in text
    assert "Standard errors of fewer than 5 are not given." in text
    assert "±" not in text
    known = data.assign(covariance_se=xr.full_like(data["covariance_se"], 0.01))
    assert "Standard errors of fewer" not in gaussian.PAGE.text(known)
    assert "After ± stands the standard error" in gaussian.PAGE.text(known)
    (sentence,) = chain_words.warnings(
        data.assign(convergence_se=data["convergence_se"].where(data["scheme"] != "split")), ""
    )
    assert sentence.startswith("Whether the chains of the split scheme have converged is not told")


def test_tables_show_the_numbers(gaussian_data: Any, bistable_data: xr.Dataset) -> None:
    covariance, chain = gaussian_words.table(gaussian_data[2]), chain_words.chain_table(gaussian_data[2])
    assert covariance.columns == ("covariance", "exact", "training", "split", "euler", "split, M → ∞")
    assert [row.label for row in covariance.rows][:2] == ["variance", "covariance at distance 1"]
    assert covariance.rows[0].cells[1:] == (
        *(report.with_error(*(float(gaussian_data[2][name].sel(source=source, offset=0))
          for name in ("covariance", "covariance_se"))) for source in ("training", "split", "euler")),
        f"{float(gaussian_data[2]['predicted_covariance'].sel(offset=0)):.4g}",
    )  # fmt: skip
    assert chain.columns == ("chains", "split", "euler")
    trajectories = bistable_words.table(bistable_data)
    assert trajectories.columns == ("statistic", "training", "split", "euler")
    for stages, table, data in ((gaussian, covariance, gaussian_data[2]), (bistable, trajectories, bistable_data)):
        text = stages.PAGE.text(data)
        assert all(row.label in text for shown in (table, chain) for row in shown.rows)
        assert stages.PAGE.headline(data).endswith(".")


# Figures


def test_rows_and_histograms_show_the_diagnostics(gaussian_data: Any) -> None:
    data = gaussian_data[2]
    figure = gaussian_figures.rows_and_histograms(data)
    for axes, scheme in zip(figure.axes[:2], ("split", "euler"), strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        np.testing.assert_array_equal(lines["generated: mean"].get_ydata(), data["covariance"].sel(source=scheme))
        np.testing.assert_array_equal(lines["exact"].get_ydata(), data["covariance"].sel(source="exact"))
        thin = [line.get_ydata() for line in axes.lines if line.get_linewidth() == 0.5]
        np.testing.assert_array_equal(thin, data["covariance_rows"].sel(source=scheme))
    for axes, scheme in zip(figure.axes[2:], ("split", "euler"), strict=True):
        np.testing.assert_array_equal(axes.patches[-1].get_data()[0], data["density_x"].sel(source=scheme))


def test_trajectories_and_histograms_show_the_diagnostics(bistable_data: xr.Dataset) -> None:
    figure = bistable_figures.trajectories(bistable_data)
    assert [len(axes.lines) for axes in figure.axes] == [20, 20, 20]
    np.testing.assert_array_equal(
        [line.get_ydata() for line in figure.axes[0].lines], bistable_data["example"].sel(source="training")
    )
    for axes, scheme in zip(bistable_figures.histograms(bistable_data).axes, ("split", "euler"), strict=True):
        np.testing.assert_array_equal(axes.patches[-1].get_data()[0], bistable_data["density_x"].sel(source=scheme))


def test_convergence_and_bandwidth_show_the_diagnostics(gaussian_data: Any) -> None:
    data = gaussian_data[2]
    figure = chain_figures.convergence(data, "variance", {"split": {"exact": 0.5}, "euler": {"exact": 0.5}})
    for axes, scheme in zip(figure.axes, ("split", "euler"), strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        np.testing.assert_array_equal(lines["generated"].get_ydata(), data["convergence"].sel(scheme=scheme))
        assert lines["exact"].get_ydata()[0] == 0.5
        assert axes.get_xscale() == "log"
    (axes,) = chain_figures.bandwidth(data).axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), data["bandwidth_criterion"])
    assert axes.lines[1].get_xdata()[0] == float(data["chosen_bandwidth"])
    assert axes.lines[2].get_xdata()[0] == 0.1


def test_no_text_of_a_figure_lies_upon_another(gaussian_data: Any, bistable_data: xr.Dataset) -> None:
    for drawn in (gaussian_figures.pictures(gaussian_data[2]), bistable_figures.pictures(bistable_data)):
        assert overlapping_in(drawn) == {}


@pytest.mark.parametrize(
    ("values", "labels"),
    [([100, 150, 700], ["100", "200", "500"]), ([1, 10, 100, 1000], ["$\\mathdefault{10^{0}}$"])],
)
def test_logarithmic_axes_have_plain_numbers_over_few_decades(values: list[int], labels: list[str]) -> None:
    _, (axes,) = style.row(1, width=4.0, height=3.0)
    axes.plot(values, values)
    axes.set_xscale("log")
    style.log_axis(axes.xaxis, values)
    axes.figure.canvas.draw()
    shown = [tick.get_text() for tick in axes.get_xticklabels()]
    assert set(labels) <= set(shown)
    assert not any(tick.get_text() for tick in axes.get_xticklabels(minor=True))
