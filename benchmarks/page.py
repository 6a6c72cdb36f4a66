"""A page of what ``make bench`` has measured: how many times as long peers take, over commits, and the last tables.

It reads records of :func:`common.print_record`, one in a line, and writes ``index.html`` and its figures beside them.
Commits stand in the order in which they were first measured; a star tells that files were changed since. Run it
with ``python benchmarks/page.py``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

# `python benchmarks/page.py` puts benchmarks/ on the path, not the clone it belongs to.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from matplotlib.figure import Figure

from l96closure.plot import style
from l96closure.provenance import origin
from l96closure.report import NONE, Origin, Row, Table, write_page

Record = dict[str, Any]
RATIOS = {
    "simulator": "Time of a fine step in plain loops over ours, for as many members on as many threads",
    "closure": "Time of ten fine steps over that of a step of the closure from Python, 64 members",
    "kernel_sums": "Time of a conditional mean by others, or by ours under a tolerance, over ours of all samples",
    "closed_loop": "Time of a step of the published closure with NumPy over ours",
    "coarse_step": "Time of ten fine steps in plain loops over that of a coarse step, for so many members",
    "fit": "Time of a fit of 10,000 samples with NumPy over ours",
}
COLUMNS, SHOWN, MOST_NAMED = 3, 7, 12  # panels beside each other; letters of a commit; commits on an axis, at most


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    results = Path("runs", "bench", "results.jsonl")
    arguments.add_argument("results", type=Path, nargs="?", default=results, help=f"the records (default {results})")
    path = arguments.parse_args().results
    by_benchmark = grouped(path.read_text(encoding="utf-8"))
    commits = list(dict.fromkeys(record["git_commit"] for records in by_benchmark.values() for record in records))
    page = path.parent / "index.html"
    write_page(
        page,
        title="Speed over commits",
        headline=f"{len(by_benchmark)} benchmarks at {len(commits)} commits.",
        tables=[table(name, records[-1]) for name, records in by_benchmark.items()],
        figures=style.save_all(
            path.parent / "figures", {n: (partial(drawn, r), said(n)) for n, r in by_benchmark.items()}
        ),
        downloads={path.name: "all records"},
        origin=Origin("", origin(" ".join(["python", *sys.argv]))),
    )
    print(page)


def said(benchmark: str) -> str:
    """Return the caption of a figure."""
    return f"{benchmark}: {RATIOS[benchmark]}; dots: medians of the runs at a commit. What is higher is better."


def grouped(text: str) -> dict[str, list[Record]]:
    """Return the records of each benchmark that had a peer, by date."""
    records = sorted((json.loads(line) for line in text.splitlines()), key=lambda record: record["date"])
    compared = [record for record in records if record["ratios"]]
    found = {name: [record for record in compared if record["benchmark"] == name] for name in RATIOS}
    return {name: some for name, some in found.items() if some}


def medians(records: list[Record], name: str, cpu: str) -> dict[str, float]:
    """Return the median of a ratio at each commit where this processor has measured it, by first date."""
    values: dict[str, list[float]] = {}
    for record in records:
        if record["cpu"] == cpu and name in record["ratios"]:
            values.setdefault(record["git_commit"], []).append(record["ratios"][name])
    return {commit: statistics.median(some) for commit, some in values.items()}


def drawn(records: list[Record]) -> Figure:
    """Draw the ratios of a benchmark, a panel each, with a line for each processor."""
    names = list(dict.fromkeys(name for record in records for name in record["ratios"]))
    commits = list(dict.fromkeys(record["git_commit"] for record in records))
    cpus = list(dict.fromkeys(record["cpu"] for record in records))
    columns, named = min(COLUMNS, len(names)), range(0, len(commits), -(-len(commits) // MOST_NAMED))
    rows = -(-len(names) // columns)
    with style.settings():
        figure, lines = style.grid(rows, columns, width=9.6, height=1.2 + 1.4 * rows)
        panels = [axes for line in lines for axes in line]
        for axes, name in zip(panels, names, strict=False):
            for number, cpu in enumerate(cpus):
                points = medians(records, name, cpu)
                at = [commits.index(commit) for commit in points]
                axes.plot(at, list(points.values()), marker="o", markersize=3.5, label=cpu, **style.line_style(number))
            axes.set_title(name, fontsize=9)
            axes.set_ylim(0.0, 1.1 * axes.dataLim.ymax)
            axes.set_xlim(-0.5, len(commits) - 0.5)
            axes.set_xticks(named, [])
        for axes in panels[len(names) :]:
            axes.set_visible(False)
        for axes in panels[: len(names)][-columns:]:
            axes.set_xticks(named, [short(commits[i]) for i in named], rotation=45, ha="right", fontsize=7)
        style.legend_above(figure, panels[0])
    return figure


def short(commit: str) -> str:
    """Show a commit."""
    return commit[:SHOWN] + ("*" if commit.endswith("-dirty") else "")


def table(benchmark: str, record: Record) -> Table:
    """Show the last record of a benchmark: ratios, and what of the machine's limits was reached."""
    shares = record.get("shares", {})
    columns = ("", "ratio", *next(iter(shares.values()), ()))
    rows = []
    for name in dict.fromkeys((*record["ratios"], *shares)):
        cells = [record["ratios"].get(name), *(shares.get(name, {}).get(column) for column in columns[2:])]
        rows.append(Row(name, tuple(NONE if cell is None else f"{cell:g}" for cell in cells)))
    limits = ", ".join(f"{name} {rate:g}" for name, rate in record.get("limits", {}).items())
    versions = ", ".join(f"{package} {number}" for package, number in record["versions"].items())
    where = f"{record['date'][:10]}, commit {short(record['git_commit'])}, {record['cpu']}; {versions}"
    note = f"{RATIOS[benchmark]}. {where}."
    if limits:
        note += f" One core, Gflop/s and GB/s: {limits}."
    return Table(benchmark, columns, tuple(rows), note)


if __name__ == "__main__":
    main()
