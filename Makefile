# `make demo` for a first look, `make test` for everything that can run here.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROOT ?= studies
# Processes that run tests; each may start several of its own.
WORKERS ?= auto
# The tests of what all else stands on: they alone are traced, which costs a quarter more.
GROUND := tests/jobs/contract/test_trial.py tests/jobs/contract/test_events.py tests/jobs/contract/test_layout.py \
          tests/orchestrator/study/test_trials.py

# Tests start hundreds of interpreters: what is imported is to be compiled once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint bench gpu error-rates chaos docs schema clean

demo: $(VENV)/.tracking
	$(BIN)/thermolion run sweeps/quickstart.yaml --root $(ROOT)

test: lint
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --no-loadscope-reorder --durations=40
	$(BIN)/python -m pytest --quiet --cov --cov-report= $(GROUND)
	$(BIN)/python -m coverage report --fail-under=95

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/house/rules.py

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.plan_time
	$(BIN)/python -m benchmarks.trial_throughput
	$(BIN)/python -m benchmarks.pack_overhead
	$(BIN)/python -m benchmarks.ddp_step
	$(BIN)/python -m benchmarks.optimizer_step
	$(BIN)/python -m benchmarks.slurm_overhead
	PYTHONPATH=tests/support $(BIN)/python -m benchmarks.slurm_limits --warm
	$(BIN)/python -m benchmarks.ray_overhead
	$(BIN)/python -m benchmarks.collect_scale
	$(BIN)/python -m benchmarks.outage_cost

# On a machine with a GPU, at most eight minutes: with the Python at hand (PYTHON=...), in which torch
# and Triton are installed; installs nothing.
gpu:
	@$(PYTHON) -m benchmarks.gpu

# Writes the tables of docs/error-rates.md: an hour and a half on two cores.
error-rates: $(VENV)/.dev
	$(BIN)/python -m benchmarks.error_rates

# Needs root and SLURM. CHAOS_TOTAL faults, CHAOS_FAULTS a seed, from CHAOS_SEED on. A study of
# nine trials for each of CHAOS_BLOCKS; that of the tests has three. CHAOS_CAP=0.09: under a cap of
# so many CPU hours, which is raised a little whenever the study is held at it.
chaos: export CHAOS_BLOCKS ?= 5
chaos: $(VENV)/.dev
	SURVIVAL_LONG=2 $(BIN)/python -m pytest tests/orchestrator/backends/test_survival.py \
	  tests/slurm/test_own_ranks.py
	PYTHONPATH=tests/chaos:tests/support $(BIN)/python -u -m campaign

# The site lies in site/; `python -m mkdocs serve` shows it while you write.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

schema: $(VENV)/.dev
	$(BIN)/python -m orchestrator.sweep.schema > sweeps/schema.json

clean:
	rm -rf $(VENV) site build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage

# One stamp an extra: made again when the packages or their pins change. Python compiles what is
# imported as it is: to compile all of torch and MLflow takes longer than to install them.
$(VENV)/.%: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'Thermolion needs Python 3.11 or later: make PYTHON=python3.12 $(MAKECMDGOALS)' >&2; \
	  exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[$*]'
	touch $@
