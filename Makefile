# Each target does its own set-up: Python 3.11 (or newer) with pip and venv is all that must be there.
#   make demo [INPUT=file-or-folder]   the main job, on generated mammograms or on your own
#   make serve [SERVE_ARGS="--port 5000"]   the web application
#   make test                          style, types, import order and the quick tests
#   make test-all                      the slow tests as well, with system packages where they can be had
#   make chaos                         the web application's workers killed 500 times in 2,000 jobs
#   make cbis-rehearsal                the whole way from data set to report, on a generated CBIS-DDSM
#   make catalogue                     the web application's words, and what lacks its translation
#   make bench                         speed against the floor and against textbook code
# PYTHON=/path/to/python3.11 chooses the interpreter that the environments are made with.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?=
INPUT ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
SERVE_ARGS ?=
CHAOS_ARGS ?=
REHEARSAL_ARGS ?=
MAMMOLENS_SHARED ?= ../shared

base := .venv/bin
web := .venv-web/bin
dev := .venv-dev/bin/python

.PHONY: help demo serve chaos cbis-rehearsal web-environment test test-all lint bench catalogue format base-environment dev-environment system-packages clean

help:
	@sed -n 's/^#   //p' Makefile

base-environment:
	@python=$$(scripts/find-python $(PYTHON)) && "$$python" scripts/environment base

dev-environment:
	@python=$$(scripts/find-python $(PYTHON)) && "$$python" scripts/environment dev

web-environment:
	@python=$$(scripts/find-python $(PYTHON)) && "$$python" scripts/environment web

demo: base-environment
	@$(base)/mammolens demo $(if $(INPUT),"$(INPUT)")

serve: web-environment
	@$(web)/mammolens serve $(SERVE_ARGS)

lint: dev-environment
	@echo "ruff check";          $(dev) -m ruff check .
	@echo "ruff format --check"; $(dev) -m ruff format --check .
	@echo "mypy --strict src";   $(dev) -m mypy --strict
	@echo "lint-imports";        $(dev) -c "from importlinter.cli import lint_imports_command as main; main()" --no-logo

catalogue: dev-environment
	@$(dev) scripts/catalogue

format: dev-environment
	@$(dev) -m ruff check --fix --quiet . || true
	@$(dev) -m ruff format .

test: lint
	@$(dev) -m pytest -n auto --dist loadfile --max-worker-restart 0 -m "not slow" $(PYTEST_ARGS)

system-packages:
	@scripts/system-packages

test-all: lint system-packages
	@$(dev) -m pytest -n auto --dist loadfile --max-worker-restart 0 $(PYTEST_ARGS)

bench: dev-environment
	@$(dev) -m benchmarks $(BENCH_ARGS)

chaos: dev-environment
	@$(dev) scripts/chaos.py $(CHAOS_ARGS)

cbis-rehearsal: dev-environment
	@out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && \
	  $(dev) scripts/cbis_rehearsal.py "$$out" --tables "$(MAMMOLENS_SHARED)/data/cbis-ddsm/csv" $(REHEARSAL_ARGS)

clean:
	rm -rf .venv .venv-web .venv-dev .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist demo-output benchmark-output
