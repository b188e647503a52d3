# `make up` serves, `make test` runs all checks, `make help` lists the other targets.
PY := .venv/bin/python
PYTEST := $(PY) -m pytest
# The lock files list all packages, so pip must not resolve dependencies again.
INSTALL := install --quiet --disable-pip-version-check --require-hashes --no-deps
COMPILE := .venv/bin/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
	--no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host

.PHONY: help up setup setup-dev engine-root engine engine-check format lint lint-static coverage test test-sdk test-distros test-all bench pictures backup restore lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

up: setup ## set up if needed, and serve until interrupted
	@exec $(PY) manage.py up

setup: | .venv/bin/python
	@deploy/machine.sh engine
	@$(MAKE) --no-print-directory --jobs 2 .venv/base.stamp engine-root

setup-dev: .venv/dev.stamp
	@deploy/machine.sh engine test
	@deploy/engine-root.sh

engine-root:
	@deploy/engine-root.sh

engine: ## renew the engine root, with the release's current packages
	@deploy/machine.sh engine
	@deploy/engine-root.sh --renew

engine-check: ## list packages of the engine root that have newer versions
	@deploy/engine-root.sh --check

.venv/bin/python:
	@python3 -c 'import ensurepip, venv' 2>/dev/null || deploy/machine.sh python engine
	python3 -m venv .venv

.venv/base.stamp: requirements/base.txt | .venv/bin/python
	$(PY) -m pip $(INSTALL) -r requirements/base.txt
	@touch $@

.venv/dev.stamp: requirements/dev.txt | .venv/bin/python
	$(PY) -m pip $(INSTALL) -r requirements/dev.txt
	@touch $@ .venv/base.stamp

.venv-sdk/installed.stamp: requirements/sdk.txt | .venv/bin/python
	@deploy/machine.sh compiler
	python3 -m venv --clear .venv-sdk
	.venv-sdk/bin/pip $(INSTALL) -r requirements/sdk.txt
	@touch $@

.venv-clients/installed.stamp: requirements/clients.txt | .venv/bin/python
	python3 -m venv --clear .venv-clients
	.venv-clients/bin/pip $(INSTALL) -r requirements/clients.txt
	@touch $@

.venv-bench/installed.stamp: requirements/bench.txt | .venv/bin/python
	python3 -m venv --clear .venv-bench
	.venv-bench/bin/pip $(INSTALL) -r requirements/bench.txt
	@touch $@

tests/static/node_modules/.package-lock.json: tests/static/package-lock.json
	@command -v npm >/dev/null || deploy/machine.sh node
	npm ci --prefix tests/static --no-audit --no-fund

tests/node/node_modules/.package-lock.json: tests/node/package-lock.json
	@command -v npm >/dev/null || deploy/machine.sh node
	npm ci --prefix tests/node --no-audit --no-fund

format: setup-dev ## format the code
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

lint: setup-dev lint-static
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/codespell
	$(PY) -m pip check
	$(PY) manage.py makemigrations --check --dry-run
	SLIPWAY_PUBLIC_URL=https://slipway.example SLIPWAY_TRUSTED_PROXY=yes \
	SLIPWAY_REGISTRY=registry.example $(PY) manage.py check --deploy --fail-level WARNING

lint-static: tests/static/node_modules/.package-lock.json ## ESLint, types and unit tests of static/
	tests/static/node_modules/.bin/eslint --config tests/static/eslint.config.js static tests/static
	tests/static/node_modules/.bin/tsc --project tests/static/tsconfig.json
	node --test tests/static/*.test.js

coverage: setup-dev ## measure the coverage of the fast tests, with a minimum
	$(PYTEST) -m "not engine and not long and not servers" -n 3 --dist loadfile --cov --cov-report term --cov-fail-under 80

test: lint ## run all checks except the long ones, within fifteen minutes
	$(PYTEST) -m "not engine and not long and not servers" -n 3 --dist loadfile
	$(PY) -m tests.with_servers $(PYTEST) -m "not engine and not long and not servers" -n 3 --dist loadfile tests/accounts tests/api tests/builds tests/database tests/images tests/operators tests/registry_gateway
	$(PY) -m tests.with_servers $(PYTEST) -m "servers and not long" -n 2 --dist loadfile
	$(PYTEST) -m "engine and not long" -n 2 --dist loadfile --ignore tests/faults
	$(PYTEST) -m "engine and not long" tests/faults

test-sdk: setup-dev .venv-sdk/installed.stamp ## test the command line from PyPI against a running Slipway
	$(PYTEST) -m sdk

test-distros: ## test the first start on minimal Debian 12 and 13
	@deploy/machine.sh engine
	tests/distros/run.sh

test-all: test coverage test-sdk test-distros .venv-clients/installed.stamp tests/node/node_modules/.package-lock.json ## run all checks, including the long ones
	@deploy/machine.sh monitor deploy
	$(PYTEST) -m "long and not sdk and not servers" --timeout 3600
	$(PY) -m tests.with_servers $(PYTEST) -m "servers and long"

bench: setup-dev .venv-bench/installed.stamp ## run the benchmarks, one JSON object per line; `make bench PART=latency` for one part
	$(PY) -m bench $(PART)

pictures: setup-dev ## retake the pictures in docs/
	$(PY) -m tests.pages.pictures

backup: ## write a backup while Slipway runs: make backup TO=slipway.tar
	@test -n "$(TO)" || { echo "make backup TO=slipway.tar"; exit 2; }
	@umask 077 && $(PY) manage.py backup >"$(TO).part" && mv "$(TO).part" "$(TO)"

restore: setup ## restore a backup into an empty data directory, database and storage: make restore FROM=slipway.tar
	@test -n "$(FROM)" || { echo "make restore FROM=slipway.tar"; exit 2; }
	@$(PY) manage.py restore <"$(FROM)"

lock: setup-dev ## recompile the requirements
	$(COMPILE) -o requirements/dev.txt requirements/dev.in
	$(COMPILE) -o requirements/base.txt -c requirements/dev.txt requirements/base.in
	$(COMPILE) -o requirements/sdk.txt requirements/sdk.in
	$(COMPILE) -o requirements/bench.txt requirements/bench.in
	$(COMPILE) -o requirements/clients.txt requirements/clients.in
	npm install --prefix tests/static --package-lock-only --omit-lockfile-registry-resolved
	npm install --prefix tests/node --package-lock-only --omit-lockfile-registry-resolved

clean:
	rm -rf .venv .venv-bench .venv-clients .venv-sdk tests/node/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
