# `make demo` restores three photographs, `make test` checks everything. Both set themselves up on a fresh machine
# with Python 3.11 or newer. VENV=/some/folder puts the virtual environment elsewhere.

PYTHON ?= python3
VENV ?= .venv
DEMO ?= build/demo
BIN := $(VENV)/bin
SOURCES := $(shell find restore models service -type f -not -name '*.pyc' 2>/dev/null)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint format clean

help:
	@echo 'make demo     restore a noisy, a small and a dark photograph into $(DEMO)'
	@echo 'make test     formatting, lint, types, layering, tests'
	@echo 'make format   format the sources'
	@echo 'make clean    remove what was built; the virtual environment stays'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'pellucid: needs Python 3.11 or newer; name one with PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo 'pellucid: $(PYTHON) cannot make virtual environments; install its venv package' \
	           '(Debian, Ubuntu: apt install python3-venv) or name another Python with PYTHON=' >&2; exit 1; }
	$(PYTHON) -m venv '$(VENV)'

# Once the development set-up is there, the installed package is the checkout itself and nothing needs installing.
$(VENV)/.pellucid: pyproject.toml $(SOURCES) | $(BIN)/python
	@test -e '$(VENV)/.pellucid-dev' || '$(BIN)/python' -m pip install --quiet .
	@touch $@

$(VENV)/.pellucid-dev: pyproject.toml | $(BIN)/python
	'$(BIN)/python' -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(VENV)/.pellucid
	@mkdir -p '$(DEMO)'
	'$(BIN)/pellucid' denoise examples/noisy.png '$(DEMO)/denoised.png' --overwrite
	'$(BIN)/pellucid' super-resolve examples/small.png '$(DEMO)/enlarged.png' --scale 4 --overwrite
	'$(BIN)/pellucid' low-light-enhance examples/dark.png '$(DEMO)/brightened.png' --overwrite
	@echo
	@echo 'Restored pictures:'
	@ls -1 '$(CURDIR)/$(DEMO)'/denoised.png '$(CURDIR)/$(DEMO)'/enlarged.png '$(CURDIR)/$(DEMO)'/brightened.png

lint: $(VENV)/.pellucid-dev
	'$(BIN)/ruff' format --check .
	'$(BIN)/ruff' check .
	'$(BIN)/mypy'
	'$(BIN)/lint-imports'

# Two processes with one thread each: on two cores that takes two thirds of the time of one process.
test: lint
	OMP_NUM_THREADS=1 '$(BIN)/python' -m pytest --numprocesses 2 --dist loadfile

format: $(VENV)/.pellucid-dev
	'$(BIN)/ruff' format .
	'$(BIN)/ruff' check --fix .

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
