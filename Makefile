# distillery: every command a developer needs. `make` prints this help.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
export PIP_DISABLE_PIP_VERSION_CHECK := 1
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help install quickstart test soak e2e-s3 lint verify fmt generate requirements bench clean

help: ## Print this help
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

install: $(READY) ## Create .venv with everything (fetches uv through pip; needs only Python 3.11 or newer)

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11: run make PYTHON=python3.12 or newer"; exit 1; }
	@started=$$SECONDS; \
	echo "==> creating $(VENV) and installing the dependencies of worker, operator, tests and quickstart"; \
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
	  || { echo "python's venv module is missing: install it (Debian: apt install python3-venv)"; exit 1; }; \
	$(BIN)/python -m uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet 'uv>=0.9'; \
	$(BIN)/python -m uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements/dev.txt; \
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --no-deps --editable .; \
	echo "==> installed in $$((SECONDS - started)) s"
	@touch $@

quickstart: $(READY) ## Distil a ticket router end to end on this machine (no key, no GPU, about 3 minutes)
	@echo "==> running examples/quickstart: a teacher in its own process, a student trained from its answers"
	@$(BIN)/python examples/quickstart/quickstart.py

test: $(READY) lint ## Lint, types, contracts, unit tests, a tiny job end to end (about 8 minutes on 2 cores)
	@echo "==> tests"
	@$(BIN)/python -m pytest -m "not soak and not s3" --durations=10

soak: $(READY) ## The long repetitions: 20 kills, 5 quickstart seeds, coverage simulations
	@$(BIN)/python -m pytest -m soak --timeout 3600 -s

e2e-s3: $(READY) ## Store conformance and a job against a real S3 server (needs Go to build it)
	@PATH="$(CURDIR)/$(BIN):$$PATH" e2e/s3/run

lint: $(READY)
	@echo "==> lint, types, import contracts"
	@$(BIN)/ruff check --quiet operator tests examples bench e2e
	@$(BIN)/ruff format --quiet --check operator tests examples bench e2e
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports --no-cache

generate: $(READY) ## Rewrite generated files (docs/fields.md, docs/commands.md)
	@$(BIN)/python -m distillery.api.reference > docs/fields.md
	@$(BIN)/python docs/commands.py > docs/commands.md

verify: $(READY) lint ## Check the house: lint, generated files are current, no stray package marker
	@test ! -e operator/__init__.py || { echo "operator/__init__.py would shadow the standard library's operator"; exit 1; }
	@for file in fields:'-m distillery.api.reference' commands:docs/commands.py; do \
	  $(BIN)/python $${file#*:} | diff -u docs/$${file%%:*}.md - \
	    || { echo "docs/$${file%%:*}.md is stale: run make generate"; exit 1; }; done
	@echo "verified"

fmt: $(READY) ## Format the code
	@$(BIN)/ruff check --fix --quiet operator tests examples bench e2e
	@$(BIN)/ruff format --quiet operator tests examples bench e2e

requirements: ## Compile requirements/*.txt from pyproject.toml (no index addresses)
	@for set in "dev:--extra worker --extra operator --group dev --group quickstart" "worker:--extra worker" "operator:--extra operator"; do \
	  $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
	    --no-emit-index-url --no-emit-find-links $${set#*:} pyproject.toml -o requirements/$${set%%:*}.txt; done

bench: $(READY) ## Print measurements: teacher engine, near-duplicates, intervals
	@for script in $$(find bench -name '*.py' | sort); do echo "==> $$script"; $(BIN)/python $$script; done

clean: ## Remove everything that was built here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .distillery
