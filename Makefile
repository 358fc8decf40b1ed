# distillery: every command a developer needs. `make` prints this help.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
export PIP_DISABLE_PIP_VERSION_CHECK := 1
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# A test that its own timeout cannot end, since it hangs while it cleans up, ends its process: nothing waits for ever.
PYTEST = $(BIN)/python -m pytest -n 2 --dist loadfile -o faulthandler_timeout=1200 -o faulthandler_exit_on_timeout=true
# What runs on any machine, without servers, in minutes.
ANYWHERE := not soak and not s3 and not kube and not e2e

.PHONY: help install quickstart test test-long test-tools soak e2e-s3 e2e-api e2e-up e2e-down e2e e2e-full lint \
  verify fmt generate requirements bench bench-operator clean

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
	@$(PYTEST) -m "not long and $(ANYWHERE)" --durations=10

test-long: $(READY) ## What of the tests does not fit into ten minutes: more cases of what `make test` tries
	@$(PYTEST) -m "long and $(ANYWHERE)" --durations=10

test-tools: $(READY) ## What needs helm and KubeRay's CRD; builds them if they are missing (needs Go)
	@cd e2e/cluster && "$(CURDIR)/$(BIN)/python" -c 'import tools; tools.binary(tools.HELM, "helm"); tools.kuberay_config()'
	@$(PYTEST) -m needs_tools --require-tools

soak: $(READY) ## The long repetitions: 20 kills, 5 quickstart seeds, coverage simulations
	@$(BIN)/python -m pytest -m soak --timeout 3600 -s

e2e-s3: $(READY) ## Store conformance and a job against a real S3 server (needs Go to build it)
	@PATH="$(CURDIR)/$(BIN):$$PATH" e2e/s3/run

e2e-api: $(READY) ## What needs a real kube-apiserver only (Linux; needs Go to build it)
	@$(BIN)/python -m pytest e2e/apiserver -m "kube and not full" --timeout 600 --durations=5

e2e-up: ## Bring up a real one-node Kubernetes with KubeRay, S3 and our images (Linux, root, Go); leaves it running
	@e2e/cluster/up

e2e-down: ## Remove that cluster, leaving nothing behind but the cache
	@e2e/cluster/down

e2e: $(READY) ## Everything end to end: S3 server, API server, then the stories on the whole cluster
	@$(MAKE) --no-print-directory e2e-s3
	@$(MAKE) --no-print-directory e2e-api
	@e2e/cluster/up
	@$(BIN)/python e2e/stories/argocd_processes.py
	@e2e/cluster/enter $(BIN)/python -m pytest e2e/stories -m "e2e and not full" -x --timeout 1800 --durations=0

e2e-full: $(READY) ## The long part: the whole fault matrix, Argo CD from scratch, parity with the quickstart (hours)
	@$(BIN)/python -m pytest e2e/apiserver -m "kube and full" --timeout 3600
	@e2e/cluster/up
	@$(BIN)/python e2e/stories/argocd_processes.py
	@e2e/cluster/enter $(BIN)/python -m pytest e2e/stories -m "e2e and full" --timeout 7200 --durations=0

lint: $(READY)
	@echo "==> lint, types, import contracts"
	@$(BIN)/ruff check --quiet operator tests examples bench e2e charts
	@$(BIN)/ruff format --quiet --check operator tests examples bench e2e charts
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports --no-cache

generate: $(READY) ## Rewrite generated files (crds, the chart's copies, docs/fields.md, docs/commands.md)
	@$(BIN)/python -m distillery.api.crd crds
	@cp crds/*.yaml charts/distillery/crds/
	@$(BIN)/python charts/distillery/argocd/render.py > charts/distillery/argocd/argocd-cm.yaml
	@$(BIN)/python -m distillery.api.reference > docs/fields.md
	@$(BIN)/python docs/commands.py > docs/commands.md

verify: $(READY) lint ## Check the house: lint, generated files are current, no stray package marker
	@test ! -e operator/__init__.py || { echo "operator/__init__.py would shadow the standard library's operator"; exit 1; }
	@new=$$(mktemp -d); $(BIN)/python -m distillery.api.crd $$new; \
	  for old in crds charts/distillery/crds; do \
	    diff -ru $$old $$new || { echo "$$old is stale: run make generate"; exit 1; }; done; rm -r $$new
	@$(BIN)/python charts/distillery/argocd/render.py | diff -u charts/distillery/argocd/argocd-cm.yaml - \
	    || { echo "charts/distillery/argocd/argocd-cm.yaml is stale: run make generate"; exit 1; }
	@for file in fields:'-m distillery.api.reference' commands:docs/commands.py; do \
	  $(BIN)/python $${file#*:} | diff -u docs/$${file%%:*}.md - \
	    || { echo "docs/$${file%%:*}.md is stale: run make generate"; exit 1; }; done
	@echo "verified"

fmt: $(READY) ## Format the code
	@$(BIN)/ruff check --fix --quiet operator tests examples bench e2e charts
	@$(BIN)/ruff format --quiet operator tests examples bench e2e charts

requirements: ## Compile requirements/*.txt from pyproject.toml (no index addresses)
	@for set in "dev:--extra worker --extra operator --group dev --group quickstart" "worker:--extra worker" "operator:--extra operator"; do \
	  $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    --no-emit-index-url --no-emit-find-links $${set#*:} pyproject.toml -o requirements/$${set%%:*}.txt; done

bench-operator: $(READY) ## Print what a thousand jobs cost the operator, on a real kube-apiserver
	@$(BIN)/python bench/operator.py

bench: $(READY) ## Print measurements: teacher engine, near-duplicates, intervals
	@for script in $$(find bench -name '*.py' ! -name operator.py | sort); do echo "==> $$script"; $(BIN)/python $$script; done

clean: ## Remove everything that was built here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .distillery
