# nslab's developer commands. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
VENV := .venv
STAMP := $(VENV)/.installed
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## install what nslab needs (Debian packages and .venv) so that .venv/bin/nslab runs
$(STAMP): pyproject.toml vagrant/provision.sh
	vagrant/provision.sh
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(STAMP)

demo: setup ## bring up the quickstart lab, prove it with packets, take it away
	vagrant/demo.sh

# Each worker lives in a private namespace of its own, with its own /run, /etc and processes, so that labs of one name
# do not meet. All tests of a file go to one worker.
test: setup ## run every test on all processors (JOBS=n), in private namespaces: no root needed; ARGS=tests/cli for some
	@tests/private true
	$(VENV)/bin/pytest --dist loadfile --tx '$(JOBS)*popen//python=tests/private $(VENV)/bin/python' $(ARGS)

lint: setup ## only the linters: ruff, mypy, import-linter
	$(VENV)/bin/pytest tests/lint $(ARGS)

bench: setup ## measure speed and memory against the kernel's own floor
	tests/private $(VENV)/bin/python -m tests.bench $(ARGS)

install: setup ## put nslab on root's PATH (PREFIX/bin, by default /usr/local/bin)
	$(AS_ROOT) install -d $(PREFIX)/bin
	$(AS_ROOT) ln -sf $(CURDIR)/$(VENV)/bin/nslab $(PREFIX)/bin/nslab

clean: ## remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.PHONY: help setup demo test lint bench install clean
