# `make help` lists what there is to make. All of it runs in .venv, which is set up on first use.

# A Python of at least 3.11; `make PYTHON=python3.12` names one.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done || echo python3)
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

# What `make run` runs, in .venv and from here.
RUN_COMMAND := orchestrate run examples.index_sources:actions sources:index

# examples/web_app.py serves until it is told to stop; its test runs it.
EXAMPLES := $(filter-out examples/__init__.py examples/web_app.py,$(wildcard examples/*.py))

DIST := dist

# How many processes share the tests; `make test TEST_PROCESSES=0` runs them in one.
TEST_PROCESSES ?= auto

PEER_NAMES := matplotlib trio anyio xoscar dask distributed ray
VENV := .venv
READY := $(VENV)/.ready
PEERS := $(VENV)/.peers
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 5 \
	--constraint constraints.txt
retried = $(1) || { echo "that failed; once more in 5 seconds" >&2; sleep 5; $(1); }

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run print-run-command test check lint types snippets format examples bench \
	bench-page counts record-counts mutants stress wheel clean distclean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
		awk -F'|' '{ printf "%-21s %s\n", $$1, $$2 }'

run: $(READY) ## run the example application
	$(BIN)/$(RUN_COMMAND)

print-run-command:
	@echo '$(RUN_COMMAND)'

test: $(READY) ## run the tests
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal

check: lint types snippets ## check format, lint, types and the programs in the documentation

lint: $(READY) ## check format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY) ## check types
	$(BIN)/mypy

snippets: $(READY) ## run the programs in the documentation
	$(BIN)/python -m pytest --quiet tests/test_docs.py

format: $(READY) ## format the sources and the programs in the documentation
	$(BIN)/ruff format .

examples: $(READY) ## run every example that ends by itself
	@set -e; for example in $(EXAMPLES:.py=); do \
		module=$$(echo $$example | tr / .); \
		echo "== python -m $$module"; \
		$(BIN)/python -m $$module </dev/null; \
	done

bench: $(PEERS) ## measure all benchmarks beside their peers, in a few minutes
	$(BIN)/python -m benchmarks

bench-page: $(PEERS) ## the same, and put the figures into the documentation
	$(BIN)/python -m benchmarks --page

counts: $(READY) ## compare the counts per child with their baseline
	$(BIN)/python -m benchmarks.counts

record-counts: $(READY) ## make the counts per child of this version the baseline
	$(BIN)/python -m benchmarks.counts --record

mutants: $(READY) ## see whether the tests find every seeded fault (about an hour; it can be resumed)
	$(BIN)/python -m tests.mutants

stress: $(READY) ## run the tests with real threads while these take turns every microsecond
	SWITCH_INTERVAL=1e-6 $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) \
		--dist worksteal tests/conformance tests/runtime/test_closing_under_work.py \
		tests/runtime/test_scale.py tests/runtime/test_subscriptions.py tests/system \
		-k "not simulated"

wheel: $(READY) ## build the source archive and, from it, the wheel, into dist/
	rm -rf $(DIST)
	$(BIN)/python -m build --no-isolation --outdir $(DIST) .

clean: ## remove what was built, and caches
	rm -rf build dist .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	rm -rf $(VENV)

# Kept when it works, so that a change of requirements costs seconds; made anew when it doesn't.
$(READY): pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		python='$(PYTHON)'; \
		$$python -c '$(NEW_ENOUGH)' 2>/dev/null || { \
			echo "Python 3.11 or newer is needed, but $$python is" \
				"$$($$python --version 2>/dev/null || echo 'not installed')." \
				"Name another one: make PYTHON=python3.12" >&2; exit 1; }; \
		$$python -c 'import ensurepip, venv' 2>/dev/null || { \
			echo "$$python has no venv module. Install it (on Debian and Ubuntu the package" \
				"python3-venv), or name another Python: make PYTHON=python3.12" >&2; exit 1; }; \
		echo "setting up $(VENV) with $$($$python --version)"; \
		$$python -m venv --clear $(VENV); }
	@echo "installing the requirements into $(VENV)"
	@$(call retried,$(PIP_INSTALL) 'hatchling>=1.27')
	@$(call retried,$(PIP_INSTALL) --no-build-isolation --editable '.[dev]')
	@touch $@

# A peer that can't be installed is named in the table as not measured; the others still are.
$(PEERS): $(READY)
	@echo "installing the peers of the benchmarks into $(VENV)"
	@$(PIP_INSTALL) --no-build-isolation --editable '.[bench]' || { \
		echo "not all at once, so one by one" >&2; \
		for peer in $(PEER_NAMES); do \
			$(PIP_INSTALL) $$peer || echo "goes on without $$peer" >&2; done; }
	@touch $@
