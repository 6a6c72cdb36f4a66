"""README and the pages of the documentation: snippets run as printed, commands compose, links lead."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from command_line import composed
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from l96closure import cli

CLONE = Path(__file__).resolve().parents[1]
DOCS = sorted((CLONE / "docs").glob("*.md"))
PAGES = [CLONE / "README.md", *DOCS]
MORE = [CLONE / name for name in ("CONTRIBUTING.md", "SECURITY.md", "runs/README.md", "examples/cluster/README.md")]
FLAGS = ("-m", "--help", "--cfg", "job")


def name(page: Path) -> str:
    return str(page.relative_to(CLONE))


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Return the fenced blocks in a language, each with the number of the line before it."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: block.start()].count("\n") + 1, block[1]) for block in found]


def commands(page: Path) -> list[str]:
    lines = [line for _, block in blocks(page, "sh") for line in block.replace("\\\n", "").splitlines()]
    return [line for line in lines if line.split()[:1] == ["l96closure"]]


def overrides(command: str) -> list[str]:
    """Return the overrides of a command, but Hydra's own, whose plugins may be missing; of a sweep those of a run."""
    given = cli._spelt_out([word for word in shlex.split(command, comments=True)[1:] if word not in FLAGS])
    parsed = OverridesParser.create().parse_overrides(given)
    return [of_a_run(one) for one in parsed if not one.key_or_group.startswith("hydra")]


def of_a_run(override: Override) -> str | None:
    if not override.is_sweep_override():
        return override.input_line
    value = override.value()
    first = value.start if isinstance(value, IntervalSweep) else next(override.sweep_string_iterator())
    return f"{override.get_key_element()}={first}"


def headings(page: Path) -> list[str]:
    """Return the anchors of the headings of a page, as forges make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_python_of_a_page_runs_as_printed(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known: dict[str, object] = {"__name__": page.stem}
    for line, block in blocks(page, "python"):
        exec(compile("\n" * line + block, str(page), "exec"), known)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name)
def test_commands_of_a_page_compose(page: Path) -> None:
    for command in commands(page):
        assert composed(*overrides(command))["experiment_name"], command


@pytest.mark.parametrize("page", [*PAGES, *MORE], ids=name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text(encoding="utf-8")):
        if ":" in target:
            continue
        place = (page.parent / target).resolve() if target else page
        assert place.exists(), target
        assert not anchor or anchor in headings(place), f"{target}#{anchor}"


def test_readme_and_index_lead_to_every_page() -> None:
    for page in DOCS:
        if page.stem != "index":
            assert f"(docs/{page.name}" in (CLONE / "README.md").read_text(encoding="utf-8")
            assert f"({page.name}" in (CLONE / "docs" / "index.md").read_text(encoding="utf-8")


def test_readme_is_short() -> None:
    assert len((CLONE / "README.md").read_text(encoding="utf-8").splitlines()) <= 200
