# `make repro` works in a fresh clone: it installs what it needs into .venv.
SHELL := /bin/bash
PYTHON ?= python3
# The container has its environment elsewhere, by the variable ROADSEG_VENV (Dockerfile).
VENV := $(or $(ROADSEG_VENV),.venv)
# Programs of the environment come first, so that DVC stages run its Python.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install models remotes repro final export verify experiments board demo deps schema clean clean-downloads

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 17

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.txt constraints.txt pyproject.toml | $(VENV)/bin/python
	python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/installed-demo: requirements-demo.txt $(VENV)/installed
	python -m pip install --quiet --disable-pip-version-check -r requirements-demo.txt -c constraints.txt
	touch $@

$(VENV)/installed-export: requirements-export.txt $(VENV)/installed
	python -m pip install --quiet --disable-pip-version-check -r requirements-export.txt -c constraints.txt
	touch $@

$(VENV)/installed-models: requirements-models.txt $(VENV)/installed
	python -m pip install --quiet --disable-pip-version-check -r requirements-models.txt -c constraints.txt
	touch $@

$(VENV)/installed-remotes: requirements-remotes.txt $(VENV)/installed
	python -m pip install --quiet --disable-pip-version-check -r requirements-remotes.txt -c constraints.txt
	touch $@

install: $(VENV)/installed ## Create .venv with the pinned packages and the command roadseg

models: $(VENV)/installed-models ## Install the networks of segmentation_models_pytorch (docs/networks.md)

remotes: $(VENV)/installed-remotes ## Install what dvc push and pull need for S3 and SSH (docs/remotes.md)

repro: $(VENV)/installed ## Run the stages of the pipeline that are not up to date
	dvc repro

MODELS ?= models/best.safetensors
final: $(VENV)/installed ## Evaluate the best model on the test set, once it is final (docs/metrics.md)
	dvc repro
	python -m stages.test --params params.yaml --raw data/raw --classes classes --prepared data/prepared_test \
	  --models $(MODELS) --metrics metrics/test.json --tables plots/test --runs metrics/test_runs.csv
	dvc repro

export: $(VENV)/installed-export ## Write ONNX in fp32, fp16 and int8, and measure them (docs/devices.md)
	dvc repro
	roadseg export --all
	dvc repro

verify: $(VENV)/installed ## Rerun the committed pipeline in a copy and compare its outputs
	roadseg verify

experiments: $(VENV)/installed ## Compare experiments: a table, table.csv and parallel.png in experiments/
	roadseg experiments

board: $(VENV)/installed ## Serve TensorBoard for past and running trainings
	tensorboard --logdir runs

demo: $(VENV)/installed-demo ## Serve a local page to try the model on your own images
	roadseg demo

deps: $(VENV)/installed ## Write the code dependencies of each stage into dvc.yaml
	python -m roadseg.provenance.dependencies

schema: $(VENV)/installed ## Write params.schema.json, which editors use for params.yaml
	python -m roadseg.config.json_schema > params.schema.json

clean: ## Remove the environment; data, models and results stay
	rm -rf $(VENV)

clean-downloads: ## Remove the files that fetch and weights keep in .downloads/
	rm -rf .downloads

-include development.mk # tests and benchmarks of roadseg itself
