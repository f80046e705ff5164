# Everything here sets up what it needs: a fresh clone, make and Python 3.11 or newer will do.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo demo-reset demo-venv test lint unit coverage test-postgresql test-mariadb soak fuzz screenshots \
  matrix messages test-newest test-codes configurations bench

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

demo: demo-venv  ## Try it: a Wagtail site with real SMTP servers; PORT=8000 moves all ports
	@exec .demo/venv/bin/python -m example_site

demo-reset:  ## Remove the demo's data; the next `make demo` starts over
	@rm -rf .demo && echo "The demo's data is gone; make demo starts over."

# Renewed when pyproject.toml, the interpreter or the folder changes; the data stays.
demo-venv:
	@python=$$(sh ./find-python.sh) && \
	  state="$$("$$python" -VV) $$python $(CURDIR) $$(cksum < pyproject.toml)" && \
	  if [ "$$state" != "$$(cat .demo/venv/.installed 2>/dev/null)" ]; then \
	    echo "Setting up .demo/venv with $$python; this takes a minute" && \
	    rm -rf .demo/venv && "$$python" -m venv .demo/venv && \
	    .demo/venv/bin/python -m pip install --quiet --disable-pip-version-check \
	      --editable '.[demo]' && \
	    echo "$$state" > .demo/venv/.installed; \
	  fi

# EXTRA=test-mariadb brings MariaDB's driver, which has to be compiled.
EXTRA ?= test

$(VENV)/.installed: pyproject.toml
	@python=$$(sh ./find-python.sh) && echo "Setting up $(VENV) with $$python" && \
	  rm -rf $(VENV) && "$$python" -m venv $(VENV) && \
	  $(BIN)/python -m pip install --quiet --upgrade pip && \
	  $(BIN)/python -m pip install --quiet --editable '.[$(EXTRA)]' && touch $@

test: lint unit  ## Run everything: floors, style, types and tests

lint: $(VENV)/.installed  ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell wagtail_smtp tests docs example_site benchmarks *.md
	$(BIN)/djlint --lint --quiet wagtail_smtp/templates example_site
	$(BIN)/mypy
	$(BIN)/lint-imports

# Tests in several processes; the browser's one after the other.
JOBS := auto
# Per cent of lines and branches that tests reach in their own process.
COVERED := 90
PARALLEL := -m 'not browser' -n $(JOBS) --maxprocesses 4 --dist worksteal

unit: $(VENV)/.installed  ## Run the tests alone; JOBS=1 for one process
	$(BIN)/python -m pytest $(PARALLEL)
	$(BIN)/python -m pytest -m browser

coverage: $(VENV)/.installed  ## Run the tests but the browser's, and measure which branches they reach
	$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report=term:skip-covered --cov-fail-under=$(COVERED)

# Those that start databases of their own run with the others.
ON_SERVER := pytest $(PARALLEL) --ignore tests/processes

test-postgresql: $(VENV)/.installed  ## Run the tests but the browser's on a PostgreSQL server of their own
	$(BIN)/python -m tests.support.with_server postgresql $(ON_SERVER)

$(VENV)/.mariadb: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --editable '.[test-mariadb]' || { \
	  echo "MariaDB's driver is compiled. On Debian and Ubuntu:" \
	    "apt-get install gcc libmariadb-dev pkg-config python3-dev" >&2; exit 1; }
	@touch $@

test-mariadb: $(VENV)/.mariadb  ## The same on a MariaDB server
	$(BIN)/python -m tests.support.with_server mariadb $(ON_SERVER)

test-codes: $(VENV)/.installed  ## Test with the packages that send codes and login links, and with django-health-check
	$(BIN)/python -m pip install --quiet --editable '.[test-codes]'
	$(BIN)/python -m pytest tests/configurations/test_codes.py tests/diagnostics/test_health.py

configurations: $(VENV)/.installed  ## Test in differently configured projects and with other servers; slow
	$(BIN)/python -m pip install --quiet gevent uvicorn
	WAGTAIL_SMTP_ALL_CONFIGURATIONS=1 $(BIN)/python -m pytest tests/configurations

soak: $(VENV)/.installed  ## Send 10,000 messages through 4 workers and a server that fails, on each database
	WAGTAIL_SMTP_SOAK_MESSAGES=10000 $(BIN)/python -m pytest --timeout 0 tests/processes/test_outbox_soak.py

fuzz: $(VENV)/.installed  ## Send 10,000 odd messages each way, and look for the entry of each
	WAGTAIL_SMTP_FUZZ=10000 $(BIN)/python -m pytest --timeout 0 tests/delivery/log/test_odd_messages.py

screenshots: $(VENV)/.installed  ## Make the pictures of README and docs anew
	WAGTAIL_SMTP_SCREENSHOTS=docs/images $(BIN)/python -m pytest tests/browser/test_screenshots.py

# Interpreters that pyenv keeps out of PATH are found as well.
matrix: $(VENV)/.installed  ## Run the tests but the browser's on all that is supported: tox.ini; an hour and more
	$(BIN)/python -m pip install --quiet 'tox>=4.21'
	$(BIN)/tox run --discover $$(ls -d $$HOME/.pyenv/versions/*/bin/python 2>/dev/null)

LANGUAGE := de
messages: $(VENV)/.installed  ## Collect the texts for a language and compile them: make messages LANGUAGE=fr (needs gettext)
	mkdir -p wagtail_smtp/locale
	cd wagtail_smtp && ../$(BIN)/python -m django makemessages --locale $(LANGUAGE) --add-location file
	cd wagtail_smtp && ../$(BIN)/python -m django compilemessages --locale $(LANGUAGE)

NEWEST := .venv-newest

$(NEWEST)/.installed: pyproject.toml
	@python=$$(sh ./find-python.sh) && echo "Setting up $(NEWEST) with $$python" && \
	  rm -rf $(NEWEST) && "$$python" -m venv $(NEWEST) && \
	  $(NEWEST)/bin/python -m pip install --quiet --upgrade pip && \
	  $(NEWEST)/bin/python -m pip install --quiet --editable '.[$(EXTRA)]' \
	    'Django~=6.1.0' 'wagtail~=8.0.0' && touch $@

test-newest: $(NEWEST)/.installed  ## Run the tests but the browser's on Django 6.1 and Wagtail 8.0 (Python 3.12 or newer)
	$(NEWEST)/bin/python -m pytest $(PARALLEL)

BENCH := .venv-bench

$(BENCH)/.installed: pyproject.toml
	@python=$$(sh ./find-python.sh) && echo "Setting up $(BENCH) with $$python" && \
	  rm -rf $(BENCH) && "$$python" -m venv $(BENCH) && \
	  $(BENCH)/bin/python -m pip install --quiet --upgrade pip && \
	  $(BENCH)/bin/python -m pip install --quiet --editable '.[bench]' && touch $@

bench: $(BENCH)/.installed  ## Measure speed beside other ways to send, in fifteen minutes; QUESTION=threads asks one
	@$(BENCH)/bin/python -m benchmarks $(QUESTION)
