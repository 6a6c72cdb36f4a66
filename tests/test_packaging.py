"""The console script works from the clone and from a plain wheel, which carries the configuration."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[1]

TINY = [
    "closure=none",
    "training.samples=50",
    "training.spinup=0.5",
    "reference.duration=5",
    "reference.spinup=0.5",
    "coarse.steps=100",
    "coarse.members=2",
    "forecast.starts=4",
    "forecast.members=3",
    "forecast.lead=0.5",
    "diagnostics.max_lag=0.2",
]


def call(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_console_script_from_the_clone(tmp_path: Path) -> None:
    script = Path(sysconfig.get_path("scripts")) / "l96closure"
    settings = call(script, "--cfg", "job", cwd=tmp_path)
    assert "experiment_name: l96\n" in settings
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the source distribution: both have to be complete."""
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, CLONE, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_console_script_from_a_wheel(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    # The dependencies are lent by a .pth file; the clone is not, since nested .pth files are not followed.
    site = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    call(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
        wheel,
        cwd=tmp_path,
    )

    where = call(python, "-c", "import l96closure; print(l96closure.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(site)
    assert (Path(where).parent / "py.typed").is_file()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    script = environment / "bin" / "l96closure"
    assert "experiment_name: l96_paper\n" in call(script, "--cfg", "job", "experiment=l96_paper", cwd=elsewhere)
    folder = Path(call(script, *TINY, cwd=elsewhere).splitlines()[-1])
    assert folder.parent == elsewhere / "runs" / "l96"
    assert (folder / "report.html").is_file()
    page = call(environment / "bin" / "l96closure-compare", folder, cwd=elsewhere).splitlines()[-1]
    assert Path(page) == elsewhere / "comparison.html"
    assert Path(page).is_file()
