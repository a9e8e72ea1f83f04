# Two commands: `make run` opens the demo, `make test` checks everything. Both install what they need.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test lint types contracts suite docs record bench clean

run: $(VENV)/.run
	@$(BIN)/agent-queue demo

test: $(VENV)/.test lint types contracts suite

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

contracts: $(VENV)/.test
	$(BIN)/lint-imports

suite: $(VENV)/.test
	$(BIN)/pytest -n auto --dist loadfile -q

docs: $(VENV)/.test
	$(BIN)/python -m agent_queue.pages

record: $(VENV)/.test
	$(BIN)/python -m tests.acceptance.first_minute
	$(BIN)/python -m tests.acceptance.picture

bench: $(VENV)/.test
	@for script in bench/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "agent-queue needs Python 3.11 or newer; none was found on PATH" >&2; exit 1; }
	@bash config/needs.sh venv "$(PYTHON)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python pyproject.toml constraints.txt
	@bash config/needs.sh git
	$(PIP) --editable '.[terminal]'
	@touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml constraints.txt
	@bash config/needs.sh git tmux
	$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/.run
