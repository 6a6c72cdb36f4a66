"""The command line ``l96closure-compare RUN...``: lays finished runs side by side.

Standard output carries one table and, as its last line, the path of the page; what the user has to change ends in one
line and exit status 2.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from l96closure import provenance, report, store
from l96closure.experiments.comparison import figures, finished, tables
from l96closure.experiments.comparison.dataset import compare
from l96closure.experiments.comparison.labels import shared
from l96closure.plot import style
from l96closure.report.parts import Part, said
from l96closure.terminal import tell

_PROGRAM = "l96closure-compare"
_FIGURES = "comparison_figures"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 2 when the user has to change something, 130 when interrupted.

    Parameters
    ----------
    arguments : the words behind the name of the program; None takes those it was called with.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    parsed = _parser().parse_args(given)
    atexit.register(gc.freeze)  # as the command line of runs does
    try:
        page = _compare(parsed.runs, parsed.output, shlex.join([_PROGRAM, *given]))
    except KeyboardInterrupt:
        print(f"{_PROGRAM}: error: interrupted", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError) as error:
        print(f"{_PROGRAM}: error: {error}", file=sys.stderr)
        sys.exit(2)
    tell(str(page))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        _PROGRAM,
        description="Lay finished runs of a closure side by side, in a model of ours or on data of your own: a table "
        "here, comparison.nc, comparison.html and comparison_figures/ in the output folder. The last line printed is "
        "the path of the page.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", type=Path, help="folder of a run or of a sweep of runs")
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        type=Path,
        help="where to write; made when missing (default: the sweep's folder when one sweep and nothing else is given, "
        "else the current directory)",
    )
    return parser


def _compare(paths: Sequence[Path], output: Path | None, command: str) -> Path:
    """Print the table, write file, figures and page, and return the path of the page."""
    folders = finished.find(paths)
    if output is None:
        output = paths[0] if len(paths) == 1 and finished.is_sweep(paths[0]) else Path()
    output = output.resolve()
    runs = [finished.read(folder, strict=folder in paths) for folder in folders]
    compared = [(names, *compare(some, output)) for names, some in finished.apart(runs)]
    output.mkdir(parents=True, exist_ok=True)
    common = shared([run.config for run in runs if run.scores is not None])
    title = "Runs of a coarse model side by side"
    files, parts = {}, []
    for names, data, notes in compared:
        file = re.sub(r"\W+", "_", " ".join(["comparison", *names.values()])) + ".nc"
        files[file] = " of ".join(["The numbers of this page", *([" and ".join(names.values())] if names else [])])
        described = data.assign_attrs(comment=" ".join(notes))
        store.write(described, output / file, kind="comparison", title=title, history=command, config_yaml=common)
        tell("\n".join([*([said(names)] if names else []), tables.text(data), *notes]))
        parts.append(Part(tables.headline(data), tables.tables(data), figures.pictures(data), notes).called(names))
    (_, data, _), *_ = compared
    pages = dict(zip((f"{folder}/report.html" for folder in data["folder"].values), data["run"].values, strict=True))
    page = output / "comparison.html"
    report.write_page(
        page,
        title=title,
        headline="\n".join(part.headline for part in parts),
        tables=[*(table for part in parts for table in part.tables), *tables.of_runs(data)],
        figures=style.save_all(output / _FIGURES, {name: one for part in parts for name, one in part.figures.items()}),
        notes=[note for part in parts for note in part.findings],
        downloads={
            **files,
            **{name: f"The page of {run}" for name, run in pages.items() if (output / name).is_file()},
        },
        origin=report.Origin(common, provenance.origin(command)),
    )
    return page
