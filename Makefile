# One command per chore. Everything is installed into .venv, and only again when pyproject.toml changes.
#
#   make run ARGS="coarse.members=2"      overrides for the experiment
#   make test ARGS="-m 'not slow'"        arguments for pytest
#   make run PYTHON=/opt/python/bin/python3

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
EXE := .exe
else
BIN := $(VENV)/bin
endif
PYTHON ?=
ARGS ?=

# What old versions of the dependencies say of each other is not about this package.
OLD_WARNINGS := -W ignore::DeprecationWarning -W ignore::PendingDeprecationWarning -W ignore::FutureWarning \
  -W 'ignore:Converting non-nanosecond precision:UserWarning'

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/.installed ## Run the default experiment with the recommended closure (about a minute)
	$(BIN)/l96closure $(ARGS)

.PHONY: paper
paper: $(VENV)/.installed ## Run the published settings literally (a few minutes)
	$(BIN)/l96closure experiment=l96_paper $(ARGS)

.PHONY: test
test: $(VENV)/.installed-test ## Run the tests
	$(BIN)/python -m pytest --numprocesses=auto --dist=worksteal $(ARGS)

.PHONY: coverage
coverage: $(VENV)/.installed-test ## Run the tests with the coverage of the package, for half as long again
	$(BIN)/python -m pytest --numprocesses=auto --dist=worksteal --cov --cov-report=term:skip-covered --cov-fail-under=94

.PHONY: test-quick
test-quick: $(VENV)/.installed-test ## Run the tests that are not slow: for every commit
	$(BIN)/python -m pytest --numprocesses=auto --dist=worksteal -m 'not slow' $(ARGS)

.PHONY: test-oldest
test-oldest: .venv-oldest/.installed ## Run the tests with the oldest versions of the dependencies that pyproject.toml allows
	.venv-oldest/bin/python -m pytest --numprocesses=auto --dist=worksteal $(OLD_WARNINGS) $(ARGS)

.PHONY: lint
lint: $(VENV)/.installed-lint ## Check style, types, the direction of the imports and docstrings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy benchmarks/*.py
	cd tests && $(abspath $(BIN))/mypy --config-file= --strict typed_use.py
	$(BIN)/lint-imports
	$(BIN)/python docs/check_docstrings.py

.PHONY: format
format: $(VENV)/.installed-lint ## Rewrite the sources in the house style
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

# What a benchmark prints is kept, and its record, the last line, is added to those before.
measured = $(BIN)/python benchmarks/$(1).py $(2) | tee runs/bench/$(1).txt && tail -n 1 runs/bench/$(1).txt >> runs/bench/results.jsonl

.PHONY: bench
bench: $(VENV)/.installed-bench ## Measure speed beside others and the machine's limits; runs/bench keeps the records
	mkdir -p runs/bench
	$(call measured,simulator,$(ARGS))
	$(call measured,closure,$(ARGS))
	$(call measured,kernel_sums,$(ARGS))
	$(call measured,closed_loop,$(ARGS))
	$(call measured,coarse_step,$(ARGS))
	$(call measured,fit,--samples 10000 100000)

.PHONY: bench-page
bench-page: $(VENV)/.installed ## Write a page of all that make bench has measured, over commits
	$(BIN)/python benchmarks/page.py

.PHONY: bench-smoke
bench-smoke: $(VENV)/.installed-bench ## Run every benchmark in small: none is broken (minutes; its figures mean nothing)
	$(BIN)/python benchmarks/simulator.py --repeats 1
	mkdir -p runs/bench-smoke
	$(BIN)/python benchmarks/closure.py --repeats 1 | tail -n 1 > runs/bench-smoke/results.jsonl
	$(BIN)/python benchmarks/page.py runs/bench-smoke/results.jsonl
	$(BIN)/python benchmarks/kernel_sums.py --repeats 1 --queries 200
	$(BIN)/python benchmarks/closed_loop.py --repeats 1
	$(BIN)/python benchmarks/feedback.py --steps 500
	$(BIN)/python benchmarks/coarse_step.py --repeats 1
	$(BIN)/python benchmarks/fit.py --samples 10000
	$(BIN)/python benchmarks/grid_scale.py --size 32 --times 200 --steps 2
	$(BIN)/python benchmarks/linear_gaussian.py --starts 10 --members 4
	$(BIN)/python benchmarks/regimes.py --training 40 --starts 20 --climate 200
	$(BIN)/python benchmarks/hard_regime.py runs/hard_regime.png --starts 20 --climate 200
	$(BIN)/python benchmarks/checkpoints.py --steps 2000 --repeats 2
	$(BIN)/python benchmarks/soak.py --models paper --steps 200 --members 2
	$(BIN)/python benchmarks/survival.py --kills 1 closure=polynomial_ar1 training.samples=3000 reference.duration=100 \
	  coarse.steps=2000 forecast.starts=20 diagnostics.max_lag=2

.PHONY: check-all
check-all: lint coverage notebooks examples examples-qg bench-smoke test-oldest ## Check all that can be checked: before a release

.PHONY: bench-fit
bench-fit: $(VENV)/.installed ## Measure fits of up to a million samples (minutes)
	$(BIN)/python benchmarks/fit.py $(ARGS)

.PHONY: examples
examples: $(VENV)/.installed-examples ## Run the examples, closures in sympl, climlab and DAPPER (minutes)
	@for example in examples/*.py; do echo "$$example"; $(BIN)/python "$$example" </dev/null; done
	cd runs && $(abspath $(BIN))/python ../examples/column/column.py --columns 6 --days 8

.PHONY: examples-qg
examples-qg: $(VENV)/.installed-qg ## Run the quasi-geostrophic example in small (a minute, with JAX)
	cd examples/qg && $(abspath $(BIN))/python smoke.py

.PHONY: notebooks
notebooks: $(VENV)/.installed-test ## Execute the notebooks; with their figures they go to runs/notebooks/
	mkdir -p runs/notebooks
	@for notebook in notebooks/*.ipynb; do \
	  $(BIN)/jupyter-execute --output=../runs/notebooks/{notebook_name} "$$notebook"; \
	done

.PHONY: clean
clean: ## Remove the environment and the caches; runs/ stays
	rm -rf $(VENV) .venv-oldest build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage
	find l96closure tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Each candidate is tried, not looked up: a version manager puts launchers of versions it does not have on the path.
$(BIN)/python$(EXE):
	@for candidate in $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3); do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    echo "making $(VENV) with $$("$$candidate" --version)"; \
	    "$$candidate" -m venv $(VENV) && exit 0; \
	    rm -rf $(VENV); \
	    echo "$$candidate cannot make a virtual environment; install its venv module (Debian: python3-venv)" >&2; \
	    exit 1; \
	  fi; \
	done; \
	echo "l96closure needs Python 3.11 or newer; none was found. Install one, or give it: make run PYTHON=/path/to/python3" >&2; \
	exit 1

$(VENV)/.installed: pyproject.toml | $(BIN)/python$(EXE)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-%: pyproject.toml | $(BIN)/python$(EXE)
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

# pip always takes the newest; uv can resolve to the oldest.
.venv-oldest/.installed: pyproject.toml | $(BIN)/python$(EXE)
	$(BIN)/python -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet uv
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct --editable '.[test]'
	@touch $@
