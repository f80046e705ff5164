# Everything here sets up what it needs: a fresh clone, make and Python 3.11 or newer will do.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin

.PHONY: help test lint unit test-newest

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml
	@python=$$(sh ./find-python.sh) && echo "Setting up $(VENV) with $$python" && \
	  rm -rf $(VENV) && "$$python" -m venv $(VENV) && \
	  $(BIN)/python -m pip install --quiet --upgrade pip && \
	  $(BIN)/python -m pip install --quiet --editable '.[test]' && touch $@

test: lint unit  ## Run everything: floors, style, types and tests

lint: $(VENV)/.installed  ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.installed  ## Run the tests alone
	$(BIN)/python -m pytest

NEWEST := .venv-newest

$(NEWEST)/.installed: pyproject.toml
	@python=$$(sh ./find-python.sh) && echo "Setting up $(NEWEST) with $$python" && \
	  rm -rf $(NEWEST) && "$$python" -m venv $(NEWEST) && \
	  $(NEWEST)/bin/python -m pip install --quiet --upgrade pip && \
	  $(NEWEST)/bin/python -m pip install --quiet --editable '.[test]' \
	    'Django~=6.1.0' 'wagtail~=8.0.0' && touch $@

test-newest: $(NEWEST)/.installed  ## Run the tests but the browser's on Django 6.1 and Wagtail 8.0 (Python 3.12 or newer)
	$(NEWEST)/bin/python -m pytest -m 'not browser'
