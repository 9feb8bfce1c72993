# Everything runs in .venv, which `make` sets up by itself; only git, make and Python 3.11 (with venv) must be there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PATIENT := -o timeout=0 # one test may take an hour
CLIENT := tests/node/node_modules/.package-lock.json

.PHONY: help install setup run test soak mutations check bench docs screenshots clean

help:
	@echo "make run     start a server on port 4000 with a demo stream"
	@echo "make install  make .venv with the program and nothing else; then: . .venv/bin/activate"
	@echo "make test    run all tests (sets up what they need)"
	@echo "make soak    break it for hours: the fault tests with many trials"
	@echo "make mutations  break the code in one place at a time and see that a test notices each"
	@echo "make check   format, lint, types"
	@echo "make bench   measure; prints a report and writes docs/benchmarks.md"
	@echo "make setup   make .venv with everything that development needs"
	@echo "make docs    write the generated pages of docs/ again"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; say which with make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv is needed: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "installing Streamgauge into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.development: pyproject.toml $(VENV)/.installed
	@echo "installing what development needs ..."
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --group dev
	@touch $@

setup: $(VENV)/.development
	@sh tools/system_packages.sh
	@$(MAKE) --no-print-directory $(CLIENT)

$(CLIENT): tests/node/package.json tests/node/package-lock.json
	@echo "installing the Phoenix client that tests run ..."
	@npm ci --prefix tests/node --silent
	@touch $@

install: $(VENV)/.installed
	@echo "now: . $(BIN)/activate"

run: $(VENV)/.installed
	@exec $(BIN)/streamgauge demo

test: setup
	$(BIN)/python -m pytest -n 3 --dist loadfile

soak: setup
	STREAMGAUGE_SOAK=1 $(BIN)/python -m pytest $(PATIENT) -s tests/faults
	STREAMGAUGE_SOAK=1 $(BIN)/python -m pytest $(PATIENT) tests/inputs tests/test_decoder_oracle.py tests/test_events_limits.py tests/test_journal_damage.py tests/test_partials.py tests/test_aggregates.py tests/test_verify.py tests/test_verify_damage.py
	STREAMGAUGE_SOAK=1 $(BIN)/python -m pytest $(PATIENT) -s tests/sources/test_mqtt_soak.py tests/e2e/test_overview.py -k "soak or hours_of_updates"
	$(BIN)/python tools/mutations.py

mutations: setup
	$(BIN)/python tools/mutations.py "$(WORD)"

check: $(VENV)/.development
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.development
	@sh tools/system_packages.sh
	$(BIN)/python -m benchmarks --markdown docs/benchmarks.md $(BENCH)

docs: $(VENV)/.installed
	$(BIN)/python tools/write_docs.py

screenshots: setup
	$(BIN)/python tools/screenshots.py

clean:
	git clean -xfd
