"""Compiled code in processes of other kinds: forked, with threads, without a cache, without a compiler."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest

import l96closure
from l96closure import TwoScaleLorenz96, bridge, compiled, noise

pytestmark = pytest.mark.slow  # whole runs, or many of them

ROOT = Path(l96closure.__file__).parents[1]
GENEROUS = 600  # seconds: to tell a hang from a busy machine


def python(script, root=ROOT, **environment):
    """Run a script in a process of its own; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        cwd=root,  # which comes first on the path
        capture_output=True,
        text=True,
        timeout=GENEROUS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def copy(tmp_path):
    """A copy of the package, without caches, whose file system we may spoil."""
    shutil.copytree(ROOT / "l96closure", tmp_path / "l96closure", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_process_forked_after_a_fit_computes_what_its_parent_does():
    """Fits and moments, in children of a parent whose threads have run."""
    script = """
import multiprocessing, warnings
import numba
import numpy as np
from l96closure import bridge
warnings.simplefilter("ignore", DeprecationWarning)  # Python's own about forks beside threads
x = np.random.default_rng(0).standard_normal((1500, 4))
def work(_):
    fitted = bridge.fit(x, bridge.Kernel(epsilon=0.1, sums="brute"), bridge.periodic(4, 1), tolerance=1e-3)
    assert fitted.kernel_sums.in_parallel(400)
    return np.stack(fitted.weights), fitted.conditional_mean(x[:400])
here = work(0)
with multiprocessing.get_context("fork").Pool(2) as pool:
    for there in pool.map(work, range(2)):
        for mine, its in zip(here, there):
            np.testing.assert_array_equal(mine, its)
print("done")
"""
    assert python(script) == "done\n"


def test_threads_of_python_may_ask_one_bridge_at_a_time():
    script = """
from concurrent.futures import ThreadPoolExecutor
import numba
import numpy as np
from l96closure import bridge
x = np.random.default_rng(0).standard_normal((1500, 4))
fitted = bridge.fit(x, bridge.Kernel(epsilon=0.1, sums="brute"), bridge.periodic(4, 1), tolerance=1e-3)
expected = bridge.sample(fitted, x[:400], 3, 0)
with ThreadPoolExecutor(4) as pool:
    for found in pool.map(lambda _: bridge.sample(fitted, x[:400], 3, 0), range(12)):
        np.testing.assert_array_equal(found, expected)
print("done")
"""
    assert python(script, NUMBA_NUM_THREADS="2") == "done\n"


def test_tasks_are_each_done_once_and_an_error_of_any_is_told(monkeypatch):
    monkeypatch.setattr(compiled, "threads", lambda: 3)
    done = []

    def work(number, start, stop):
        if number in range(start, stop):
            raise ValueError(str(number))
        done.extend(range(start, stop))
        return start

    for tasks in (0, 1, 5, 100, 1001):
        done.clear()
        starts = compiled.shared(work, tasks, -1)
        assert starts == sorted(starts)
        assert sorted(done) == [*range(tasks)]
    for number in (0, 17, 999):
        with pytest.raises(ValueError, match=str(number)):
            compiled.shared(work, 1001, number)


CACHED = """
import numba
import numpy as np
from l96closure.systems.lorenz96_core import resolved_from_python as compiled
out = np.empty((1, 4))
compiled(np.arange(4.0)[None], 8.0, out)
print(out.tolist(), sum(compiled.stats.cache_hits.values()))
"""


def test_a_change_in_any_source_of_compiled_code_drops_all_of_its_cache(copy):
    first, again = python(CACHED, copy), python(CACHED, copy)
    assert first.endswith(" 0\n")
    assert again.endswith(" 1\n")
    with open(copy / "l96closure" / "vector.py", "a", encoding="utf-8") as source:
        source.write("\nCHANGED = True\n")
    assert python(CACHED, copy) == first
    assert python(CACHED, copy) == again


def test_what_two_processes_want_at_the_same_time_is_compiled_by_one_of_them(copy):
    with ThreadPoolExecutor(2) as pool:
        found = sorted(pool.map(lambda _: python(CACHED, copy), range(2)))
    assert [line.rsplit(maxsplit=1)[1] for line in found] == ["0", "1"]


def test_a_damaged_cache_is_compiled_anew(copy):
    first = python(CACHED, copy)
    for ending, left in (("nbc", 1000), ("nbi", 20)):
        files = list(copy.rglob(f"*.{ending}"))
        assert files
        for file in files:
            file.write_bytes(file.read_bytes()[:left])
        assert python(CACHED, copy) == first


def test_without_a_place_to_write_everything_is_compiled_anew(copy):
    for folder in [copy / "l96closure", *(copy / "l96closure").rglob("*/")]:
        if folder.is_dir():
            (folder / "__pycache__").touch()  # a file in the way, which stops an administrator too
    nowhere = {"HOME": os.devnull, "XDG_CACHE_HOME": os.devnull, "NUMBA_CACHE_DIR": ""}
    settings = {"MPLCONFIGDIR": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    assert python(CACHED, copy, **nowhere, **settings).endswith(" 0\n")


def moments_and_normals():
    x = np.random.default_rng(0).standard_normal((300, 4))
    fitted = bridge.fit(x, bridge.Kernel("kde", epsilon=0.1), bridge.periodic(4, 1))
    return fitted.moments(x[:9])[0].tolist(), noise.normals(3, 0, 0, site=np.arange(5)).tolist()


def test_without_the_private_parts_of_numba_the_results_are_the_same():
    script = f"""
import numba.core.caching
del numba.core.caching.CompileResultCacheImpl
import numba
import numpy as np
from l96closure import bridge, compiled, noise
from l96closure.kernel import _unmanaged
_unmanaged._OWNER = "neither", "nor"
assert compiled.numba_private is None
{inspect.getsource(moments_and_normals)}
print(moments_and_normals())
"""
    assert python(script) == f"{moments_and_normals()}\n"


def test_without_a_compiler_what_can_runs_and_what_cannot_says_so():
    script = """
import numba
import numpy as np
from l96closure import TwoScaleLorenz96, bridge
print(TwoScaleLorenz96(K=4, J=2).simulate(samples=20, dt=1e-3, spinup=0.01, rng=3)["psi"].values.tolist())
try:
    bridge.fit(np.random.default_rng(0).standard_normal((50, 2)), 0.1)
except ValueError as error:
    print(error)
"""
    psi, told, nothing = python(script, NUMBA_DISABLE_JIT="1").split("\n")
    truth = TwoScaleLorenz96(K=4, J=2).simulate(samples=20, dt=1e-3, spinup=0.01, rng=3)
    np.testing.assert_allclose(json.loads(psi), truth["psi"], rtol=0, atol=1e-9)
    assert told.startswith("NUMBA_DISABLE_JIT = 1 must be 0: ")
    assert not nothing


def test_what_a_process_of_its_own_compiles_ahead_is_found_on_disk(tmp_path, monkeypatch):
    (tmp_path / "ahead_of_time.py").write_text(
        "from l96closure.compiled import cached\n@cached\ndef half(x):\n    return 0.5 * x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(compiled, "threads", lambda: 2)
    half = importlib.import_module("ahead_of_time").half
    compiled.await_ahead(half)  # nobody is at work
    compiled.compile_ahead(half, "import ahead_of_time; ahead_of_time.half(3.0)")
    compiled.await_ahead(half)
    assert half(3.0) == 1.5
    assert sum(half.stats.cache_hits.values()) == 1
    assert not half.stats.cache_misses
    started = dict(compiled._AHEAD)
    compiled.compile_ahead(half, "raise")
    assert started == compiled._AHEAD  # nothing more is left to do


@pytest.mark.skipif(compiled.numba_private is None, reason="numba has another inside")
def test_a_part_has_no_machine_code_of_its_own():
    @compiled.part
    def twice(x):
        return 2.0 * x

    @numba.njit
    def user(x):
        return twice(x) + 1.0

    assert user(1.5) == 4.0
    (made,) = twice.overloads.values()
    assert made.library.get_pointer_to_function(made.fndesc.llvm_func_name) == 0
