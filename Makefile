# The two commands of the README are `make demo` and `make test`; the rest serves them.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PACKAGES := compiler passes targets runtimes
DEMO := build/demo/shvit_s4

.PHONY: setup kernels lint format typecheck test test-slow demo bench-kernels table clean

setup: $(VENV)/.ready

# torch first and by its exact version: newer ones bring gigabytes of GPU libraries along.
# timm and torchvision (for tests, as an independent source of graphs) without what they ask for,
# which would replace that torch.
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0 'setuptools>=77' wheel ziglang==0.17.1
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[dev,report,tensorrt,coreml,browser,trust]'
	$(BIN)/python -m pip install --quiet --no-deps torchvision==0.28.0 timm==1.0.31
	touch $@

kernels: setup
	$(BIN)/python -m attnc.runtimes.cpu.build --target all
	$(BIN)/python -m attnc.runtimes.web.build

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

typecheck: setup
	$(BIN)/python -m attnc.tools.typecheck $(PACKAGES)

# Two processes, whole files each: fixtures that build and emulate are shared by a file. One thread
# each, so that they do not wait for each other.
test: setup kernels lint typecheck
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: setup kernels
	$(BIN)/python -m pytest -m slow

demo: setup kernels
	$(BIN)/attnc export shvit_s4 --target cpu -o $(DEMO) --force
	$(BIN)/attnc verify $(DEMO)
	$(BIN)/attnc bench $(DEMO) --against ort,torch --threads 1,2 --batch 1,8

bench-kernels: setup kernels
	$(BIN)/python -m attnc.tools.bench_kernels

table: setup kernels
	$(BIN)/python -m attnc.tools.peer_table --into README.md

clean:
	rm -rf build dist *.egg-info
