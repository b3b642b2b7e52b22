# Everything from Python 3.11+, pip and make. `make help` lists the targets.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
PIP     = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help install demo test mutate lint lab docs gallery pictures bench clean

help:            ## this list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'geonb needs Python 3.11 or newer, this is ' + sys.version)"
	$(PYTHON) -m venv $(VENV)
	@echo "installing geonb and what it needs into $(VENV) (a few minutes, several GB: torch)"
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e .[test,dev,docs]
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) -e .[docs]
	@touch $@

install: $(VENV)/.installed  ## create the environment in .venv

demo: install    ## segment a real Landsat scene, source to report (about 5 minutes)
	$(BIN)/geonb run segmentation

test: $(VENV)/.installed-dev  ## every test a laptop can run
	$(BIN)/python -m pytest -n 2 --dist loadfile

mutate: $(VENV)/.installed-dev  ## plant faults in the maths, one after the other: does a test notice each? (some minutes)
	$(BIN)/python -m tests.mutations

lint: $(VENV)/.installed-dev  ## style, types, which layer imports which, notebooks without outputs (a minute)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/nbstripout --verify notebooks/*.ipynb tests/toy/*.ipynb
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

lab: install     ## JupyterLab on loopback, prints the ssh -L line
	$(BIN)/geonb lab

docs: $(VENV)/.installed-docs  ## the site in build/docs: guides, API, notebooks of the newest finished runs (2 minutes on an idle machine)
	$(BIN)/python -m docs.gallery
	$(BIN)/sphinx-build -W --keep-going -q -b html -d build/doctrees -c docs . build/docs
	@echo "open build/docs/index.html"

gallery: install ## run each workload that has no finished run, with its defaults (5 minutes each); then make docs
	$(BIN)/python -m docs.gallery --run
	$(MAKE) docs

pictures: install  ## draw README's pictures anew, of the newest finished runs
	$(BIN)/python -m docs.pictures

bench: $(VENV)/.installed-dev  ## remake benchmarks/README.md's table
	$(BIN)/python -m benchmarks

clean:           ## remove caches and build products; keeps data/, runs/ and .venv
	rm -rf build docs/api docs/gallery *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
