# Targets for those who change roadseg; projects that `roadseg new` creates do not have them.
.PHONY: quick test test-fast notebook bench gpu fuzz lint

$(VENV)/installed-dev: $(wildcard requirements-*.txt) $(VENV)/installed
	python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	touch $@

quick: $(VENV)/installed-dev ## Run lint and the fast tests (a minute), while you work
	@$(MAKE) --no-print-directory --jobs --output-sync lint test-fast

test: $(VENV)/installed-dev ## Run all tests (with Debian's browser and SSH server, where it can)
	@.ci/packages
	python -m pytest

test-fast: $(VENV)/installed-dev
	python -m pytest -m "not slow" --quiet --numprocesses=2

notebook: $(VENV)/installed-dev ## Run notebooks/road_scenes.ipynb on small data, in an empty directory
	python -m tests.notebook

GPU ?=
gpu: ## Test and measure a CUDA GPU, write benchmarks/GPU.md (ten minutes; installs nothing)
	python3 -m benchmarks.gpu $(GPU)

bench: $(VENV)/installed ## Run the benchmarks, write benchmarks/RESULTS.md (an hour, on an idle machine)
	python -m benchmarks

fuzz: $(VENV)/installed-dev ## Feed the stages 10,000 hostile inputs (at most half an hour)
	python -m tests.fuzz

lint: $(VENV)/installed-dev ## Check style, types, imports and spelling
	ruff check .
	ruff format --check .
	lint-imports --no-logo
	mypy
	git ls-files | xargs codespell
