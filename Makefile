# `make help` lists the targets.
# An existing .venv is kept; a new one takes the newest Python. PYTHON=python3.12 chooses another.
RUNS = $(shell $(1) -c 'import sys; print("$(1)" if sys.version_info >= (3, 11) else "")' 2>/dev/null)
PYTHON ?= $(or $(firstword $(foreach python,.venv/bin/python python3.13 python3.12 python3.11,$(call RUNS,$(python)))),python3)
BIN := .venv/bin
COMPILE = $(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --quiet \
	--custom-compile-command "make lock, on $$(date -u +%F)"
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal
QUICK := $(PYTEST) -m "not slow and not slurm"
CHECKED := tests/diffusion/test_model.py tests/diffusion/losses tests/diffusion/test_process.py \
	tests/diffusion/test_variances.py tests/diffusion/test_gaussian.py tests/diffusion/test_schedules.py tests/networks \
	tests/data tests/image_files tests/test_architecture.py tests/configuration/test_arguments.py tests/training/test_ema.py \
	tests/configuration/test_help.py tests/security/test_targets.py

.DEFAULT_GOAL := help
.PHONY: help setup train table2 check test test-slow test-slurm bench bench-check docs lint format lock clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: ## make .venv from requirements.lock (6 GB with PyTorch's CUDA libraries)
	@$(PYTHON) install.py

train: setup ## train on real digits: about 5 minutes on 2 cores; no network, no account
	@echo "Training the paper's model on 1500 digits of 8x8 pixels: 1600 steps and 64 samples, about 5 minutes on 2 cores."
	@echo "Everything goes to a new folder in outputs/. Ctrl-C stops it; it then says how to resume."
	@$(BIN)/python train.py

table2: setup ## the paper's Table 2 on digits, three seeds: a few hours on 2 cores; resumes if it was interrupted
	$(BIN)/python train.py experiment=table2_digits

check: setup lint ## run the linter, the type checker and the quick tests: under 90 seconds
	$(QUICK) $(CHECKED)

test: setup ## run the offline test suite: under 8 minutes on 2 cores
	$(QUICK)

test-slow: setup ## run the slow tests, and check that the tests of diffusion/ execute its every line
	$(PYTEST) -m slow
	$(QUICK) tests/diffusion --cov=ddpm_lightning.diffusion --cov-fail-under=100

test-slurm: setup ## run the Slurm tests on a temporary cluster on this machine; needs root, apt-get install slurm-wlm
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/slurm

bench: setup ## compare with other projects, about an hour; CHECKPOINT=PATH of a trained model adds two rows
	$(BIN)/python -m benchmarks $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT))

bench-check: setup ## check in a short run that no ratio is worse than the recorded one
	$(BIN)/python -m benchmarks --check

docs: setup ## build the documentation: site/index.html; needs no network; NOTEBOOKS=true runs the notebooks, too
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

lint: setup ## run the linter, the formatter and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## format the code, and correct the line numbers in the pages
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m tests.readme_lines README.md CONTRIBUTING.md $$(find docs -name "*.md")

lock: setup ## update the two lock files to today's releases
	$(COMPILE) --all-extras --upgrade --output-file requirements.lock pyproject.toml
	echo setuptools | $(COMPILE) --constraint requirements.lock --output-file requirements-build.lock -

clean: ## remove .venv and caches; runs stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .coverage
