# `make repro` and `make test` do everything, from a fresh clone on.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
# The environment's programs come first, so that `python` in a DVC stage is the environment's too.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install remotes repro quick test test-fast experiments board demo bench fuzz deps schema lint clean clean-downloads

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 17

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.txt constraints.txt pyproject.toml | $(VENV)/bin/python
	python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/installed-dev: $(wildcard requirements-*.txt) $(VENV)/installed
	python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	touch $@

$(VENV)/installed-demo: requirements-demo.txt $(VENV)/installed
	python -m pip install --quiet --disable-pip-version-check -r requirements-demo.txt -c constraints.txt
	touch $@

$(VENV)/installed-remotes: requirements-remotes.txt $(VENV)/installed
	python -m pip install --quiet --disable-pip-version-check -r requirements-remotes.txt -c constraints.txt
	touch $@

install: $(VENV)/installed ## Create .venv with the pinned packages and the command roadseg

remotes: $(VENV)/installed-remotes ## Add what dvc push and pull need for S3 and SSH (docs/remotes.md)

repro: $(VENV)/installed ## Run the pipeline (what changed since the last time)
	dvc repro

quick: $(VENV)/installed-dev ## Run lint and the fast tests (a minute), while you work
	@$(MAKE) --no-print-directory --jobs --output-sync lint test-fast

test: $(VENV)/installed-dev ## Run all tests (with Debian's browser and SSH server, where it can)
	@.ci/packages
	python -m pytest

test-fast: $(VENV)/installed-dev
	python -m pytest -m "not slow" --quiet --numprocesses=2

experiments: $(VENV)/installed ## Compare experiments: a table, table.csv and parallel.png in experiments/
	roadseg experiments

board: $(VENV)/installed ## Show in TensorBoard what was trained, or trains just now
	tensorboard --logdir runs

demo: $(VENV)/installed-demo ## Serve a local page to try the model on your own images
	roadseg demo

bench: $(VENV)/installed ## Measure, and write benchmarks/RESULTS.md (an hour; let nothing else run)
	python -m benchmarks

fuzz: $(VENV)/installed-dev ## Feed the stages 10,000 hostile inputs (at most half an hour)
	python -m tests.fuzz

deps: $(VENV)/installed ## Write the code dependencies of each stage into dvc.yaml
	python -m roadseg.provenance.dependencies

schema: $(VENV)/installed ## Write params.schema.json, with which editors complete and explain params.yaml
	python -m roadseg.config.json_schema > params.schema.json

lint: $(VENV)/installed-dev ## Check style, types, imports and spelling
	ruff check .
	ruff format --check .
	lint-imports --no-logo
	mypy
	git ls-files | xargs codespell

clean: ## Remove the environment; data, models and results stay
	rm -rf $(VENV)

clean-downloads: ## Remove the archives that fetch keeps in .downloads/
	rm -rf .downloads
