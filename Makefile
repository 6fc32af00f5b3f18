# `make help` lists the targets.
# A .venv that is there is kept; for a new one the newest Python is taken. PYTHON=python3.12 chooses another.
RUNS = $(shell $(1) -c 'import sys; print("$(1)" if sys.version_info >= (3, 11) else "")' 2>/dev/null)
PYTHON ?= $(or $(firstword $(foreach python,.venv/bin/python python3.13 python3.12 python3.11,$(call RUNS,$(python)))),python3)
BIN := .venv/bin
COMPILE = uv pip compile --universal --generate-hashes --python-version 3.11 --quiet \
	--custom-compile-command "make lock, on $$(date -u +%F)"
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal
QUICK := $(PYTEST) -m "not slow and not slurm"
CHECKED := tests/diffusion/test_model.py tests/diffusion/test_losses.py tests/diffusion/test_process.py \
	tests/diffusion/test_variances.py tests/diffusion/test_gaussian.py tests/diffusion/test_schedules.py tests/networks \
	tests/data tests/image_files tests/test_architecture.py tests/configuration/test_arguments.py tests/training/test_ema.py \
	tests/configuration/test_help.py tests/security/test_targets.py

.DEFAULT_GOAL := help
.PHONY: help setup train table2 check test test-slow test-slurm bench bench-check docs lint format lock clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: ## make .venv from requirements.lock (6 GB with PyTorch's CUDA libraries)
	@$(PYTHON) install.py

train: setup ## train on real digits, about 5 minutes of 2 cores; no network, no account
	@echo "Training the paper's model on 1500 digits of 8x8 pixels: 1600 steps and 64 samples, about 5 minutes on 2 cores."
	@echo "Everything goes to a new folder in outputs/. Ctrl-C stops it; it then says how to resume."
	@$(BIN)/python train.py

table2: setup ## the paper's Table 2 on digits, three seeds: some hours of 2 cores; goes on where it was stopped
	$(BIN)/python train.py experiment=table2_digits

check: setup lint ## linter, types and the tests that a change most likely breaks: under 90 seconds
	$(QUICK) $(CHECKED)

test: setup ## the offline test suite; coverage, which costs time, of the mathematics alone
	$(QUICK) --cov=ddpm_lightning.diffusion --cov-fail-under=100

test-slow: setup ## the longer checks
	$(BIN)/python -m pytest -m slow

test-slurm: setup ## on a Slurm of two nodes that it sets up here, as root, and takes down: apt-get install slurm-wlm
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/slurm

bench: setup ## side by side with every peer, about an hour; CHECKPOINT=PATH of a trained model for two of the rows
	$(BIN)/python -m benchmarks $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT))

bench-check: setup ## a short run of some of it: no ratio is worse than the recorded one
	$(BIN)/python -m benchmarks --check

docs: setup ## build the documentation into site/ without a network: open site/index.html; NOTEBOOKS=true runs those, too
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

lint: setup ## linter, formatter and type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## let the formatter write, and the line numbers in the pages
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m tests.readme_lines README.md CONTRIBUTING.md $$(find docs -name "*.md")

lock: ## resolve pyproject.toml again, to today's releases, into the two lock files; needs uv
	$(COMPILE) --all-extras --upgrade --output-file requirements.lock pyproject.toml
	echo setuptools | $(COMPILE) --constraint requirements.lock --output-file requirements-build.lock -

clean: ## remove .venv and caches; runs stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .coverage
