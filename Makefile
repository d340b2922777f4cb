# The few verbs of this project. `make help` explains them.
# Everything is set up inside this folder (.make/, .venv/); nothing is installed elsewhere.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:

PY := .venv/bin/python
OWN_UV := .make/uv/bin/uv
FOUND_UV := $(shell command -v uv 2>/dev/null)
UV := $(or $(FOUND_UV),$(OWN_UV))

# Whoever has uv has a cache; for whoever has not, the cache stays in here as well.
ifeq ($(FOUND_UV),)
export UV_CACHE_DIR := $(CURDIR)/.make/cache
endif

# Hundreds of processes are started in here, by the tests and by the demo. Where the machine says that Python shall keep no
# bytecode (images for containers do), each would compile every library anew: 1.4 s of CPU instead of 0.4 for one.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check check-types check-style docs bench bench-api soak clean

help:  ## this list
	@echo "make VERB, where VERB is one of"
	@sed -n 's/^\([a-z-]*\):[^#]*##  *\(.*\)/  \1\t\2/p' Makefile | expand -t 14

demo: .venv/.ready  ## five minutes: a legacy CRM, a model, five blows, and what the glue of today does beside it
	@$(PY) -m mainstay demo $(ARGS)

test: .venv/.ready  ## every test but the long ones, two at a time; a real PostgreSQL comes with it
	@$(PY) -m pytest -m "not soak" -n 2 --dist=loadfile --no-loadscope-reorder $(ARGS)

check: .venv/.ready  ## formatting, lint, types, import floors, the documentation's site
	@$(MAKE) --no-print-directory -j2 check-types check-style docs

check-types: .venv/.ready
	@.venv/bin/mypy

check-style: .venv/.ready
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/lint-imports

docs: .venv/.ready  ## the documentation as a site, in build/site; without the network, and no warning is let pass
	@mkdir -p .make build
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build $(ARGS) 2>.make/docs.log || { cat .make/docs.log >&2; exit 1; }
	@echo "build/site/index.html"

bench: .venv/.ready  ## the figures, as ratios measured side by side in one run
	@PYTHONPATH=. $(PY) bench/run.py $(ARGS)

bench-api: .venv/.ready  ## the prediction API beside its peers, each with one core; needs wrk
	@PYTHONPATH=. $(PY) bench/bench_api.py $(ARGS)

soak: .venv/.ready  ## the long tests: processes killed at every point, 200 rounds, parsers fuzzed
	@$(UV) sync --frozen --quiet --group fuzz || echo "atheris is not to be had here: fuzzing is left out"
	@$(PY) -m pytest -m soak --timeout=7200 --durations=0 --durations-min=1 $(ARGS)

clean:  ## remove everything that was built or set up in here
	rm -rf .venv .make .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

.venv/.ready: pyproject.toml uv.lock .make/.uv
	@$(UV) sync --frozen --quiet --compile-bytecode
	@touch $@

# uv from the package registry, by whichever of pip and venv this machine has.
.make/.uv:
	@mkdir -p .make
	@if [ -z "$(FOUND_UV)" ] && [ ! -x $(OWN_UV) ]; then \
	  python=$$(for name in python3 python3.13 python3.12 python3.11 python; do \
	    if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo "$$name"; break; fi; done); \
	  if [ -z "$$python" ]; then echo "Python 3.11 or newer is needed (Debian: apt-get install python3 python3-venv)" >&2; exit 1; fi; \
	  echo "getting uv into .make/"; \
	  "$$python" -m pip install --quiet --no-cache-dir --target .make/uv uv 2>.make/pip.log \
	  || { "$$python" -m venv .make/uv 2>>.make/pip.log && .make/uv/bin/pip install --quiet --no-cache-dir uv 2>>.make/pip.log; } \
	  || { cat .make/pip.log >&2; echo "uv could not be installed (Debian: apt-get install python3-venv)" >&2; exit 1; }; \
	fi
	@touch $@
