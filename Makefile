# `make demo` and `make test` need CPython 3.11, make and a C compiler; everything else goes into .venv, once.
#
#   make test ARGS="-k policies"       more options for pytest
#   make demo ARGS="--help"            more options for the demo
#   make test PYTHON=/path/python3.11  another interpreter

VENV ?= .venv
PYTHON ?= $(shell for p in python3.11 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && command -v "$$p" && break; done)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := $(wildcard escnn_soft tests benchmarks)

# One thread per process: the tests run in two. They start many more, which are not to compile the package each.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=

.DEFAULT_GOAL := help
.PHONY: help install demo test nightly lint benchmarks clean

help:
	@echo "make demo | test | nightly | lint | benchmarks | install | clean    (ARGS=... is passed on)"

install: $(STAMP)

$(STAMP): requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Found no CPython 3.11. Install it, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv "$(VENV)"
	"$(BIN)/python" -m pip install --disable-pip-version-check -c requirements/dev.txt "$$(grep '^torch==' requirements/dev.txt)"
	"$(BIN)/python" -m pip install --disable-pip-version-check --no-deps -r requirements/dev.txt
	"$(BIN)/python" -m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch "$@"

demo: $(STAMP)
	"$(BIN)/python" -m escnn_soft demo $(ARGS)

lint: $(STAMP)
	"$(BIN)/ruff" check $(SOURCES)
	"$(BIN)/ruff" format --check $(SOURCES)
	"$(BIN)/mypy" escnn_soft
	"$(BIN)/lint-imports"

# The doctests of the package run in the same call as the tests.
test: lint
	$(ONE_THREAD) "$(BIN)/python" -m pytest escnn_soft tests -n 2 --dist worksteal $(ARGS)

# The searches for violations alone, long ones, and on other examples each time.
nightly: $(STAMP)
	$(ONE_THREAD) HYPOTHESIS_PROFILE=nightly "$(BIN)/python" -m pytest tests/testing/test_search.py \
		tests/testing/test_random_networks.py tests/bounds/test_execution.py -n 2 --dist worksteal $(ARGS)

benchmarks: $(STAMP)
	@for file in $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py)); do \
		echo "== $$file"; "$(BIN)/python" "$$file" $(ARGS) || exit 1; done

clean:
	rm -rf "$(VENV)" build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find escnn_soft tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
