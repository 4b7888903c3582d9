# Everything a newcomer needs: `make up` runs PingPulse, `make test` proves it.
# Set-up happens by itself, into .venv, from hash-pinned requirements, and only when those change.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AIRFLOW_PYTHON ?= python3.11
AIRFLOW_VENV := .venv-airflow
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCK := $(BIN)/python -m piptools compile --quiet --generate-hashes --strip-extras --allow-unsafe \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header

.PHONY: up test test-airflow check install install-dev browser bench histories screenshots lock clean

up: install
	@exec $(BIN)/pingpulse up $(ARGS)

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

# A test is whatever process it starts, too: compiled anew each time, the code would cost more than many a test does.
test: install-dev browser check
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest --numprocesses 3 --dist loadgroup --no-loadscope-reorder $(ARGS)

# A real Airflow, in an environment of its own, with the published provider as it is.
test-airflow: install-dev $(AIRFLOW_VENV)/.installed
	$(BIN)/python -m pytest tests/airflow/real_airflow.py $(ARGS)

check: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The tests of pages drive a real Chromium.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
		|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
			&& apt-get update -q && apt-get install -q -y --no-install-recommends chromium; } \
		|| echo "The tests of pages need Chromium: install it, so that chromium or google-chrome is on the PATH." >&2

bench: install-dev
	$(BIN)/python -m benchmarks $(ARGS)

# Records the workflow histories that the replay test reads. Only for a deliberate change of behaviour.
histories: install-dev
	$(BIN)/python -m tests.workflows.record_histories

# The pictures in README and docs.
screenshots: install-dev browser
	$(BIN)/python -m pytest tests/browser/screenshots.py

lock: install-dev
	$(PIP) install --quiet pip-tools
	$(LOCK) --output-file requirements.txt pyproject.toml
	$(LOCK) --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml
	$(LOCK) --output-file tests/airflow/requirements.txt tests/airflow/requirements.in

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "PingPulse needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The project itself is put on the path by a .pth file and its command by a two-line script: a build
# backend would be one more thing to download and to trust.
define link_project
	@$(BIN)/python -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "pingpulse.pth").write_text("$(CURDIR)\n")'
	@printf '#!/bin/sh\nexec "$(CURDIR)/$(BIN)/python" -P -m cli "$$@"\n' > $(BIN)/pingpulse && chmod +x $(BIN)/pingpulse
endef

$(VENV)/.installed: requirements.txt Makefile | $(BIN)/python
	$(PIP) install --quiet --require-hashes --requirement requirements.txt
	$(link_project)
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(PIP) install --quiet --require-hashes --requirement requirements-dev.txt
	@touch $@

$(AIRFLOW_VENV)/.installed: tests/airflow/requirements.txt
	@command -v $(AIRFLOW_PYTHON) >/dev/null \
		|| { echo "Airflow 2 needs Python 3.11 here; try: make AIRFLOW_PYTHON=/path/to/python3.11 test-airflow"; exit 1; }
	$(AIRFLOW_PYTHON) -m venv --clear $(AIRFLOW_VENV)
	$(AIRFLOW_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes \
		--only-binary :all: --no-binary python-nvd3 --requirement tests/airflow/requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) $(AIRFLOW_VENV)
