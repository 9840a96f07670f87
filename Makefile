# Mes Pièces, on a fresh Debian or Ubuntu with Python ≥ 3.11, git and make: `make demo`, `make test`.
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

DATA ?= ./demo-data
PORT ?= 8080
WORKERS ?= 3
FUZZ ?= 20
RUNS ?= 200
SEED ?=
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$python && break; done)

BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/.runtime ## Try the product on http://127.0.0.1:8080 (PORT=8080 DATA=./demo-data)
	@exec $(BIN)/mespieces demo --data "$(DATA)" --port "$(PORT)"

.PHONY: test
test: .venv/.dev ## Run every test, on SQLite, on PostgreSQL and in a browser (WORKERS=3)
	@.ci/programs.sh tests
	@$(BIN)/python -m pytest -n $(WORKERS)

.PHONY: lint
lint: .venv/.dev ## Check style, types, layers of imports and templates
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/djlint --allow-empty-input mespieces/templates

.PHONY: bench
bench: .venv/.dev ## Measure the product
	@PYTHONPATH=tests $(BIN)/python tests/bench/run.py

.PHONY: screenshots
screenshots: .venv/.dev ## Take the documentation's pictures again, from the browser tests
	@.ci/programs.sh tests
	@rm -rf build/screenshots && mkdir -p build/screenshots
	@MESPIECES_SCREENSHOTS="$(CURDIR)/build/screenshots" $(BIN)/python -m pytest -q tests/browser/test_pages.py
	@for picture in docs/screenshots/*.png; do cp "build/screenshots/$${picture##*/}" "$$picture"; done

.PHONY: fuzz
fuzz: .venv/.dev ## Try anything in every form, address, header and file, and count the answers (FUZZ=20)
	@MESPIECES_FUZZ=$(FUZZ) $(BIN)/python -m pytest -q -p no:randomly -k "makes_the_site_fall or makes_the_command_fall" \
		tests/web/test_errors.py tests/db/test_cli_text.py

.PHONY: crashes
crashes: .venv/.dev ## Kill the product at random points, on both databases (RUNS=200 SEED=…)
	@.ci/programs.sh tests
	@PYTHONPATH=tests:. $(BIN)/python tests/bench/kill.py $(RUNS) $(SEED)

.PHONY: lock
lock: .venv/.dev ## Pin what pyproject.toml asks for (LOCK=--upgrade takes the newest)
	@test -x $(BIN)/uv || $(PIP) install uv
	@$(UV_COMPILE) --group dev --output-file requirements-dev.txt
	@$(UV_COMPILE) --group build --constraints requirements-dev.txt --output-file requirements.txt

.PHONY: clean
clean: ## Remove the virtual environment and caches; the demonstration's data stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

UV_COMPILE = $(BIN)/uv pip compile --quiet $(LOCK) --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header pyproject.toml

# A stamp tells what is installed; everything comes from a lock with hashes, the builder of the package included.
.venv/.runtime: requirements.txt pyproject.toml | .venv/pyvenv.cfg
	@echo "Installing what the product needs into .venv (a minute, once)"
	@$(PIP) install --require-hashes --requirement requirements.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: requirements-dev.txt pyproject.toml | .venv/pyvenv.cfg
	@echo "Installing what the product and its tests need into .venv (a minute, once)"
	@$(PIP) install --require-hashes --requirement requirements-dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch .venv/.runtime $@

.venv/pyvenv.cfg:
	@.ci/programs.sh venv "$(PYTHON)"
	@"$(PYTHON)" -m venv --clear .venv
