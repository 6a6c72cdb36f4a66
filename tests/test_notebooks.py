"""The notebooks are kept as text beside the .ipynb files, without outputs, and run from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
LENGTH = re.compile(r"\b\d+_000\b|\b1_250\b|(?<=starts=)\d+")
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


def cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_every_notebook_has_both_files() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_text_and_notebook_are_in_sync(name: str) -> None:
    text, notebook = (jupytext.read(FOLDER / f"{name}{suffix}") for suffix in (".py", ".ipynb"))
    assert cells(text) == cells(notebook), "run: jupytext --sync notebooks/*.py"
    for one in (text, notebook):
        assert one.metadata.jupytext.formats == "ipynb,py:percent"
        assert one.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_stripped(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs(name: str, tmp_path: Path) -> None:
    """It raises nothing, says nothing on standard error (so no warnings), draws, and writes no files.

    Runs and records are a fifth as long; ``make notebooks`` runs them whole.
    """
    notebook = jupytext.read(FOLDER / f"{name}.py")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = LENGTH.sub(lambda length: str(int(length[0]) // 5), cell.source)
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert list(tmp_path.iterdir()) == []
