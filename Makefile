# Two commands do everything on a fresh Debian machine: `make demo` and `make test`.
# Each installs what it needs itself: system packages by apt-get, Python packages into a virtual environment.

SHELL := /bin/bash
# Debian's own Python, where it is new enough: it is built with more optimisation than those that people build, and calls
# functions up to twice as quickly. For another one: make PYTHON=python3.13
PYTHON ?= $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo /usr/bin/python3 || echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
# Twisted's plugin folder cannot be found in the other editable modes; setuptools warns of this one at each use.
INSTALL := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --config-settings editable_mode=compat --editable
# What is installed where is remembered here; `make clean` forgets it.
DONE := $(VENV)/.made

.PHONY: help demo test check docs run bench clean

help:
	@echo "make demo    a sample job from packet to PDF, on this machine"
	@echo "make test    all tests"
	@echo "make check   types, lint, layers, changelog, documentation"
	@echo "make run     the server, with the sample projects, until Ctrl-C"
	@echo "make bench   the measurements of bench/, which take a while"
	@echo "make clean   remove what the others made"

$(DONE)/venv: tools/system-packages
	PYTHON=$(PYTHON) tools/system-packages venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@mkdir -p $(DONE) && touch $@

$(DONE)/run: $(DONE)/venv setup.py
	$(INSTALL) .
	@touch $@

$(DONE)/test: $(DONE)/run tools/system-packages
	tools/system-packages test
	$(INSTALL) '.[office,postgres,dask,test]'
	@touch $@

$(DONE)/check: $(DONE)/run
	$(INSTALL) '.[office,postgres,dask,test,check,docs]'
	@touch $@

$(DONE)/bench: $(DONE)/test
	tools/system-packages bench
	$(INSTALL) '.[bench]'
	@touch $@

demo: $(DONE)/run
	$(BIN)/python tools/demo.py

# Trial ends a test that waits too long, but not one that is busy for ever: that is stopped here and says where it was.
test: $(DONE)/test
	PYTHONFAULTHANDLER=1 timeout --signal=ABRT 55m $(BIN)/python -m twisted.trial --reporter=text tests

check: $(DONE)/check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/towncrier build --draft --version next >/dev/null
	$(MAKE) docs

docs: $(DONE)/check
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

run: $(DONE)/run
	$(BIN)/twistd --nodaemon --pidfile= pfserver --projects examples/projects

bench: $(DONE)/bench
	$(BIN)/python bench/all.py

clean:
	rm -rf $(VENV) build dist docs/_build _trial_temp* *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find pfserver twisted tests examples -name __pycache__ -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache
