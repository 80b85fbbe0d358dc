# The two commands of the README are `make demo` and `make test`; the rest serves them.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PACKAGES := compiler passes targets runtimes

.PHONY: setup kernels lint format typecheck test test-slow demo bench-kernels clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[dev,report]'
	touch $@

kernels: setup
	$(BIN)/python -m attnc.runtimes.cpu.build

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

typecheck: setup
	$(BIN)/python -m attnc.tools.typecheck $(PACKAGES)

test: setup kernels lint typecheck
	$(BIN)/python -m pytest

test-slow: setup kernels
	$(BIN)/python -m pytest -m slow

bench-kernels: setup kernels
	$(BIN)/python -m attnc.tools.bench_kernels

clean:
	rm -rf build dist *.egg-info
