# Every target sets up what it needs. `make` lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SERVERS := $(VENV)/.servers-fetched
BENCH_VENV := .burnstream/bench-venv
BENCH_STAMP := $(BENCH_VENV)/.installed
UV_VERSION := 0.13.9
PYTEST := $(BIN)/python -m pytest

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z][a-z0-9-]*:.*## ' $(MAKEFILE_LIST) \
	  | awk -F ':.*## ' '{ printf "  make %-18s %s\n", $$1, $$2 }'

.PHONY: setup
setup: $(STAMP) $(SERVERS) ## Python packages in .venv and the embedded servers' files
	@:

$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null \
	  || { echo "no $(PYTHON) here: install Python 3.11 or newer, or set PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1): 3.11 or newer is needed, set PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) has no venv module: install your system's python3-venv package" >&2; exit 2; }
	@echo "setup: Python packages into $(VENV)"
	@# --clear: a .venv broken off half-way, or of a Python that is gone, is made anew.
	@test -x $(BIN)/python -a -x $(BIN)/uv || $(PYTHON) -m venv --clear $(VENV)
	@test -x $(BIN)/uv \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip sync --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation -e .
	@$(BIN)/python -m streams.quick.warm_up >/dev/null
	@touch $@

$(SERVERS): $(STAMP) deploy/local/kafka-jars.lock
	@$(BIN)/python -m deploy.local fetch
	@touch $@

.PHONY: run
run: setup ## everything in the foreground, until Ctrl-C
	@$(BIN)/burnstream run

.PHONY: up
up: setup ## the embedded Kafka, Postgres and Redis alone, in the background
	@$(BIN)/burnstream up

.PHONY: down
down: $(STAMP) ## stop them; their data stay
	@$(BIN)/burnstream down

.PHONY: psql
psql: $(STAMP) ## a psql on the database (ARGS="-c 'SELECT 1'")
	@$(BIN)/burnstream psql $(ARGS)

# Two at a time, each with servers of its own. The others want both cores: faults are timed by
# sessions and deadlines, and a browser waits for what is drawn.
SIDE_BY_SIDE := tests/unit tests/property $(wildcard tests/contract) tests/integration tests/e2e

.PHONY: test
test: setup ## every test ring; what cannot start fails, nothing is skipped for it
	CI=true $(PYTEST) -n 2 --dist loadfile $(SIDE_BY_SIDE) $(ARGS)
	CI=true $(PYTEST) tests/browser tests/crash $(ARGS)

.PHONY: check
check: $(STAMP) ## format, lint, types, import contracts, unit and property tests: a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -q -n 2 --dist worksteal tests/unit tests/property

.PHONY: audit
audit: $(STAMP) ## known vulnerabilities in the locked packages; needs the index's JSON API
	$(BIN)/uv tool run pip-audit==2.10.1 --strict --disable-pip -r requirements.lock

.PHONY: test-unit
test-unit: $(STAMP) ## unit and property tests: no servers
	$(PYTEST) tests/unit tests/property $(ARGS)

.PHONY: test-integration
test-integration: setup ## one process at a time against real servers
	$(PYTEST) $(wildcard tests/contract) tests/integration $(ARGS)

.PHONY: test-crash
test-crash: setup ## every fault at every step, and 100,000 histories: most of an hour
	EXPLORER_HISTORIES=100000 $(PYTEST) -o faulthandler_timeout=0 tests/property/chain
	$(PYTEST) -o faulthandler_timeout=0 -m "crash or whole" $(ARGS)

.PHONY: test-e2e
test-e2e: setup ## the whole system, the guide step by step
	$(PYTEST) tests/e2e $(ARGS)

.PHONY: test-browser
test-browser: setup ## the console in a real Chromium; screenshots in test-artefacts/console
	$(PYTEST) tests/browser $(ARGS)

.PHONY: bench
bench: setup $(BENCH_STAMP) ## ours beside its baselines, most of an hour (ARGS="--quick": minutes)
	@$(BIN)/python -m tests.benchmarks $(ARGS)

.PHONY: scaling
scaling: setup $(BENCH_STAMP) ## streams workers join under load, one to four, as a table and a plot
	@$(BIN)/python -m tests.benchmarks.scaling $(ARGS)

$(BENCH_STAMP): tests/benchmarks/requirements.lock $(STAMP)
	@echo "bench: Python packages of the baselines into $(BENCH_VENV)"
	@test -x $(BENCH_VENV)/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python $(BENCH_VENV)
	$(BIN)/uv pip sync --quiet --python $(BENCH_VENV)/bin/python --require-hashes $<
	@touch $@

.PHONY: format
format: $(STAMP) ## format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lock
lock: $(STAMP) ## pin the newest packages that pyproject.toml allows
	$(BIN)/uv pip compile pyproject.toml --all-extras --generate-hashes --no-emit-index-url \
	  --no-header --universal --python-version 3.11 --upgrade -o requirements.lock
	$(BIN)/uv pip compile tests/benchmarks/requirements.in --generate-hashes --no-emit-index-url \
	  --no-header --universal --python-version 3.11 --upgrade -o tests/benchmarks/requirements.lock

.PHONY: clean
clean: ## remove .venv, caches and the data of the embedded servers
	@if test -x $(BIN)/burnstream; then $(BIN)/burnstream down; fi
	rm -rf $(VENV) .burnstream .mypy_cache .ruff_cache .pytest_cache .import_linter_cache \
	  .hypothesis test-artefacts build burnstream.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
