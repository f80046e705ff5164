# Each target installs what it needs. You need a fresh clone, make and Python 3.11 or newer.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# The tests start hundreds of processes: three times as fast with compiled modules.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo demo-reset demo-venv test lint unit coverage test-postgresql test-mariadb defences soak fuzz screenshots schema \
  docs docs-links matrix package release-notes messages test-newest test-codes configurations configurations-newest bench

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 24

demo: demo-venv  ## Try it: a Wagtail site with real SMTP servers; PORT=9000 changes all ports
	@exec .demo/venv/bin/python -m example_site

demo-reset:  ## Remove the demo's data; the next `make demo` starts over
	@rm -rf .demo && echo "The demo's data is gone; make demo starts over."

# Rebuilt when pyproject.toml, the interpreter or the folder changes; the data stays.
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

# EXTRA=test-mariadb adds MariaDB's driver, which has to be compiled.
EXTRA ?= test

$(VENV)/.installed: pyproject.toml
	@python=$$(sh ./find-python.sh) && echo "Setting up $(VENV) with $$python" && \
	  rm -rf $(VENV) && "$$python" -m venv $(VENV) && \
	  $(BIN)/python -m pip install --quiet --upgrade pip && \
	  $(BIN)/python -m pip install --quiet --editable '.[$(EXTRA)]' && touch $@

test: lint unit  ## Run everything: linting, types, import layers and tests

lint: $(VENV)/.installed  ## Check style, spelling, templates, types and import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell wagtail_smtp tests docs example_site benchmarks *.md
	$(BIN)/djlint --lint --quiet wagtail_smtp/templates example_site
	$(BIN)/mypy
	$(BIN)/mypy --config-file mypy-django.ini
	$(BIN)/lint-imports

# Tests run in several processes, browser tests one after the other.
JOBS ?= auto
PROCESSES := -n $(JOBS) --maxprocesses 4 --dist worksteal
PARALLEL := -m 'not browser' $(PROCESSES)

# Minimum coverage in per cent, of lines and branches that run in the tests' own process.
COVERED := 95
MEASURE := $(if $(COVERAGE),--cov --cov-report=term:skip-covered --cov-fail-under=$(COVERED))

unit: $(VENV)/.installed  ## Run only the tests; JOBS=1 uses one process
	$(BIN)/python -m pytest $(PARALLEL) $(MEASURE)
	$(BIN)/python -m pytest -m browser

coverage:  ## The same, with branch coverage: fails if less than the minimum is covered
	@$(MAKE) unit COVERAGE=1

# Tests that start their own databases run with `make unit`, as do those that don't use any
# (tests/conftest.py), that look at bytes on the wire, or that ask the same of every database.
ON_SERVER := pytest $(PARALLEL) $(addprefix --ignore tests/,processes configurations transports/smtp \
  admin/test_roles.py fuzz threats)

test-postgresql: $(VENV)/.installed  ## Run all but the browser tests on their own PostgreSQL server
	$(BIN)/python -m tests.support.with_server postgresql $(ON_SERVER)

$(VENV)/.mariadb: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --editable '.[test-mariadb]' || { \
	  echo "MariaDB's driver is compiled. On Debian and Ubuntu:" \
	    "apt-get install gcc libmariadb-dev pkg-config python3-dev" >&2; exit 1; }
	@touch $@

test-mariadb: $(VENV)/.mariadb  ## Run all but the browser tests on their own MariaDB server
	$(BIN)/python -m tests.support.with_server mariadb $(ON_SERVER)

test-codes: $(VENV)/.installed  ## Test with packages that send codes and login links
	$(BIN)/python -m pip install --quiet --editable '.[test-codes]'
	$(BIN)/python -m pytest tests/configurations/test_codes.py

# Application servers; the tests use those that are installed.
SERVERS := gevent pyuwsgi uvicorn
ALL_CONFIGURATIONS := pytest $(PROCESSES) tests/configurations

configurations: $(VENV)/.installed  ## Test in projects with other configurations and servers; slow
	$(BIN)/python -m pip install --quiet $(SERVERS)
	WAGTAIL_SMTP_ALL_CONFIGURATIONS=1 $(BIN)/python -m $(ALL_CONFIGURATIONS)

defences: $(VENV)/.installed  ## Remove each defence of docs/explanation/incidents.md; its test must fail. ROWS="9 25"
	$(BIN)/python -m tests.threats.without_defences $(ROWS)

# A column for each database; DATABASE="sqlite postgresql" leaves out the others.
soak: $(VENV)/.installed  ## Send for 30 minutes on each database, disturbed; MINUTES=1 DATABASE=sqlite
	$(BIN)/python -m tests.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(DATABASE),--database $(DATABASE))

# CASES=100000 makes fewer; SEED=1 repeats a run.
fuzz: $(VENV)/.installed  ## Try a million random cases, and 10,000 unusual messages each way; CASES=100000
	WAGTAIL_SMTP_FUZZ_CASES=$(or $(CASES),1000000) WAGTAIL_SMTP_FUZZ=10000 $(BIN)/python -m pytest --timeout 0 \
	  -p no:randomly $(if $(SEED),--hypothesis-seed $(SEED)) tests/fuzz tests/delivery/log/test_odd_messages.py

screenshots: $(VENV)/.installed  ## Update the pictures of README and docs
	WAGTAIL_SMTP_SCREENSHOTS=docs/images $(BIN)/python -m pytest tests/browser/test_screenshots.py \
	  tests/browser/test_tutorials.py

schema: $(VENV)/.installed  ## Update the JSON Schema of settings files
	WAGTAIL_SMTP_WRITE_SCHEMA=1 $(BIN)/python -m pytest -q tests/config_files/test_schema.py

DOCS := .venv-docs

$(DOCS)/.installed: pyproject.toml
	@python=$$(sh ./find-python.sh) && echo "Setting up $(DOCS) with $$python" && \
	  rm -rf $(DOCS) && "$$python" -m venv $(DOCS) && \
	  $(DOCS)/bin/python -m pip install --quiet --upgrade pip && \
	  $(DOCS)/bin/python -m pip install --quiet --editable '.[docs]' && touch $@

SPHINX = $(DOCS)/bin/python -m sphinx --fail-on-warning --keep-going --quiet -d docs/_build/doctrees

docs: $(DOCS)/.installed  ## Build the documentation site in docs/_build/html and check its internal links
	$(SPHINX) --fresh-env -b html docs docs/_build/html
	$(DOCS)/bin/python docs/check_links.py docs/_build/html
	@echo "Open docs/_build/html/index.html"

docs-links: $(DOCS)/.installed  ## Check the documentation's links to other sites; needs the internet
	$(SPHINX) -b linkcheck docs docs/_build/links

# PART=pairs is the part in which each two versions meet once. pyenv's interpreters come before its
# shims, which fail for versions that are not selected.
matrix: $(VENV)/.installed  ## Run all but the browser tests on all supported versions and databases (tox.ini), for hours; PART=pairs
	$(BIN)/python -m pip install --quiet 'tox>=4.28' 'tox-uv>=1.26'
	PATH="$$(printf '%s:' $$HOME/.pyenv/versions/3.*/bin)$$PATH" UV_PYTHON_DOWNLOADS=never \
	  $(BIN)/tox run $(if $(PART),-m $(PART))

package: $(VENV)/.installed  ## Build the package, and install and remove it in projects of wagtail start
	WAGTAIL_SMTP_ALL_CONFIGURATIONS=1 $(BIN)/python -m pytest $(PROCESSES) tests/test_package.py tests/configurations/test_from_wheel.py

release-notes:  ## Check that TAG=v0.1.0 can be released, and print its part of the changelog
	@"$$(sh ./find-python.sh)" -m tests.support.release "$(TAG)"

LANGUAGE := de
messages: $(VENV)/.installed  ## Collect and compile the texts of a language: make messages LANGUAGE=fr (needs gettext)
	mkdir -p wagtail_smtp/locale
	cd wagtail_smtp && ../$(BIN)/python -m django makemessages --locale $(LANGUAGE) --add-location file
	cd wagtail_smtp && ../$(BIN)/python -m django compilemessages --locale $(LANGUAGE)

NEWEST := .venv-newest

$(NEWEST)/.installed: pyproject.toml
	@python=$$(sh ./find-python.sh 12) && echo "Setting up $(NEWEST) with $$python" && \
	  rm -rf $(NEWEST) && "$$python" -m venv $(NEWEST) && \
	  $(NEWEST)/bin/python -m pip install --quiet --upgrade pip && \
	  $(NEWEST)/bin/python -m pip install --quiet --editable '.[$(EXTRA)]' \
	    'Django~=6.1.0' 'wagtail~=8.0.0' && touch $@

# Pure functions of bytes and text, and conversations with servers.
SAME := $(addprefix --ignore tests/,config config_files deliverability fuzz transports/smtp)

test-newest: $(NEWEST)/.installed  ## Run what a version can change on Django 6.1 and Wagtail 8.0 (Python 3.12 or newer)
	$(NEWEST)/bin/python -m pytest -m 'not browser and not same_on_all_versions' $(PROCESSES) $(SAME)

configurations-newest: $(NEWEST)/.installed  ## Run make configurations on Django 6.1 and Wagtail 8.0
	$(NEWEST)/bin/python -m pip install --quiet $(SERVERS)
	WAGTAIL_SMTP_ALL_CONFIGURATIONS=1 $(NEWEST)/bin/python -m $(ALL_CONFIGURATIONS)

BENCH := .venv-bench

$(BENCH)/.installed: pyproject.toml
	@python=$$(sh ./find-python.sh) && echo "Setting up $(BENCH) with $$python" && \
	  rm -rf $(BENCH) && "$$python" -m venv $(BENCH) && \
	  $(BENCH)/bin/python -m pip install --quiet --upgrade pip && \
	  $(BENCH)/bin/python -m pip install --quiet --editable '.[bench]' && touch $@

bench: $(BENCH)/.installed  ## Compare the speed with other packages (75 minutes); QUESTION=threads runs one benchmark
	@$(BENCH)/bin/python -m benchmarks $(QUESTION)
