# Every target makes its own environment in .venv first, from requirements.lock, and again only when the lock or the packaging changes.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo demo-pretrain test lint types unit bench bundles check lock clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Yours to set: the interpreter to use, more options for pip (an index with CPU-only builds of torch, say), more options for pytest.
PYTHON ?=
PIP_ARGS ?=
PYTEST_ARGS ?=
# For `make lock` alone.
TORCH ?= $(shell sed -n "s/^torch==//p" requirements.lock)

help:  ## this list
	@echo "siamed: from a lumbar MR to graded discs. Targets:"
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '%-14s %s\n' "$$name" "$$text"; done
	@echo "Variables: PYTHON=python3.12  PIP_ARGS='--extra-index-url URL'  PYTEST_ARGS='-k corners'"

$(STAMP): requirements.lock setup.cfg pyproject.toml
	@python=""; \
	for name in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.10); do \
	  "$$name" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1 \
	    && { python=$$name; break; }; \
	done; \
	if [ -z "$$python" ]; then echo "No Python 3.10 to 3.13 found. Install one, or name it: make PYTHON=/path/to/python3 ..." >&2; exit 1; fi; \
	if ! $(BIN)/python -c 'import pip' >/dev/null 2>&1; then \
	  echo "Making $(VENV) with $$("$$python" --version)"; "$$python" -m venv --clear $(VENV) || exit 1; \
	fi
	@echo "Installing torch (the largest download)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off $(PIP_ARGS) "$$(grep -m 1 '^torch==' requirements.lock)"
	@echo "Installing the other pinned packages (about 150): some minutes on the first run"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off $(PIP_ARGS) -r requirements.lock
	@echo "Installing siamed from this folder"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)  ## a phantom study as DICOM, graded with the shipped bundles, and where its report is
	@rm -rf demo && mkdir -p demo
	@echo "Making a phantom lumbar study in demo/study"
	@$(BIN)/siamed phantom --out demo/study
	@echo "Grading it into demo/report"
	@$(BIN)/siamed grade demo/study --out demo/report --hotspots 10
	@report=$$(find demo/report -name report.html | sort | head -n 1); \
	[ -n "$$report" ] || { echo "No report was written" >&2; exit 1; }; \
	echo "The report: $$report (open it in a browser)"

demo-pretrain: $(STAMP)  ## phantom persons with follow-up scans: pretrain, transfer, what it saves; some minutes
	@rm -rf demo/cohort demo/pretrain
	@echo "Making a phantom cohort in demo/cohort"
	@$(BIN)/siamed phantom-cohort --subjects 20 --out demo/cohort
	@echo "Pretraining on it without labels, then grading discs with some and all of the labels"
	@$(BIN)/siamed label-efficiency bundles/spine_mr_disc_grading/configs/label_efficiency_phantom.yaml \
	  cohort=demo/cohort "seeds=[0]" "budgets=[1, 4, 100%]" --out demo/pretrain --jobs 2 --keep-weights
	@echo "The plot: demo/pretrain/label_efficiency.png; the bundles: demo/pretrain/trainings/*/*/bundle"

lint: $(STAMP)  ## ruff over everything
	@echo "ruff"
	@$(BIN)/ruff check --quiet .

types: $(STAMP)  ## mypy over the package
	@echo "mypy"
	@mkdir -p .types && ln -sfn .. .types/siamed
	@$(BIN)/mypy --no-error-summary -p siamed

unit: $(STAMP)
	@$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

test: lint types unit  ## ruff, mypy and the default tests: some minutes

bundles: $(STAMP)  ## the bundles' contracts alone: metadata, names, two training steps and one inference each
	@$(BIN)/python -m pytest tests/bundles $(PYTEST_ARGS)

check: lint types  ## everything: lint, types, all tests with the slow ones, the bundles' contracts
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

bench: $(STAMP)  ## each script in benchmarks/: JSON with commit, machine and versions
	@for script in benchmarks/*.py; do echo "$$script"; $(BIN)/python "$$script" || exit 1; done

lock: $(STAMP)  ## resolve requirements.lock anew from setup.cfg (needs a package index)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@head -n 2 requirements.lock > requirements.lock.new
	@grep '^[a-z]' requirements.lock > $(VENV)/resolved.txt
	@echo 'torch==$(TORCH)' > $(VENV)/torch.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-header --no-annotate \
	  --extra dev --constraint $(VENV)/torch.txt -o $(VENV)/resolved.txt setup.cfg > /dev/null
	@grep -vE "^(nvidia|cuda|triton)|sys_platform == '(win32|emscripten)'|python_full_version >= '3.14'" \
	  $(VENV)/resolved.txt >> requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean:  ## remove the environment, the demo and the caches
	@rm -rf $(VENV) .types demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
