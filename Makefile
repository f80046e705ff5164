# Everything here sets up what it needs: a fresh clone, make and Python 3.11 or newer will do.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin

.PHONY: help test lint unit

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
