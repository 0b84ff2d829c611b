# Two commands do everything from a clean clone: `make forecast` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
FOLDER ?= forecast

.PHONY: help forecast test lint bench prove clean
help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

forecast: .venv/ready  ## set up, then the main job: sweep, fit, register, train the target, score, report (FOLDER=forecast)
	$(BIN)/scaling demo --folder $(FOLDER)

test: .venv/ready  ## set up, then lint, types, import layers and all tests
	$(MAKE) --no-print-directory lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/ready  ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/ready  ## tables of docs/priors.md and a short kill storm (the others say in their first lines how to run)
	$(BIN)/python benchmarks/priors.py 60
	$(BIN)/python benchmarks/kill_storm.py --kills 6

# One environment with every extra; made again when what it is made from changes.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,clocks,dev]'
	@touch $@

prove: .venv/ready  ## a thousand kills of concurrent writers, and a ledger of 100,000 entries
	$(BIN)/python benchmarks/ledger_storm.py --kills 1000
	$(BIN)/python benchmarks/ledger.py --signed

clean:  ## remove the environment and caches (never a forecast folder)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build *.egg-info
