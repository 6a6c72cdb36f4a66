"""The shape of the code: few parameters, short functions, and an import that waits for nothing it may not need."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import pkgutil
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import l96closure

MAX_PARAMETERS, MAX_LINES = 10, 45

PACKAGE = Path(l96closure.__file__).parent
ADAPTERS = "l96closure.adapters."  # other people's models may be missing


def public_callables() -> Iterator[tuple[str, Any]]:
    """Functions of modules that do not begin with an underscore, and methods of such classes.

    Compiled functions take plain arrays and numbers, and are not of these; nor are tuples with names.
    """
    for info in pkgutil.walk_packages(l96closure.__path__, "l96closure."):
        if info.name.startswith(ADAPTERS):
            continue
        module = importlib.import_module(info.name)
        for name, found in vars(module).items():
            if name.startswith("_") or getattr(found, "__module__", None) != info.name:
                continue
            if inspect.isfunction(found):
                yield f"{found.__module__}.{name}", found
            elif inspect.isclass(found):
                for method in vars(found):
                    if not method.startswith("_") and callable(getattr(found, method)):
                        yield f"{found.__module__}.{name}.{method}", getattr(found, method)


def too_many(call: Any) -> bool:
    return len([name for name in inspect.signature(call).parameters if name != "self"]) > MAX_PARAMETERS


def test_nothing_public_takes_more_than_ten_parameters() -> None:
    found = dict(public_callables())
    assert {"l96closure.bridge.conditional.fit", "l96closure.coarse.integrate"} <= set(found)
    assert not [name for name, call in found.items() if too_many(call)]


def is_compiled(function: ast.FunctionDef) -> bool:
    how = " ".join(map(ast.unparse, function.decorator_list))
    return any(word in how for word in ("njit", "cached(", "threaded", "intrinsic")) or how == "cached"


def code_lines(source: str) -> set[int]:
    """Numbers of the lines that are neither blank nor comment nor docstring."""
    nothing = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in nothing:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def long_functions(path: Path) -> Iterator[str]:
    source = path.read_text(encoding="utf-8")
    lines = code_lines(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and not is_compiled(node):
            body = lines & set(range(node.body[0].lineno, (node.end_lineno or 0) + 1))
            if len(body) > MAX_LINES:
                yield f"{path.relative_to(PACKAGE).as_posix()}: {node.name}"


def test_no_function_is_longer_than_a_screen() -> None:
    assert not [name for path in PACKAGE.rglob("*.py") for name in long_functions(path)]


@pytest.mark.parametrize(
    ("program", "unused"),
    [
        ("import l96closure", ("numba", "numpy", "scipy", "xarray")),
        ("import l96closure; l96closure.closures, l96closure.integrate, l96closure.bridge",
         ("dask", "distributed", "hydra", "matplotlib", "scipy.optimize", "scipy.special", "scipy.stats")),
    ],
)  # fmt: skip
def test_what_is_not_needed_is_not_imported(program: str, unused: tuple[str, ...]) -> None:
    told = subprocess.run(
        [sys.executable, "-c", f"{program}; import sys; print(*sys.modules)"],
        capture_output=True, text=True, check=True, cwd=PACKAGE.parent,
    )  # fmt: skip
    assert not set(unused) & set(told.stdout.split())
