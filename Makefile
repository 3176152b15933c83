# nslab's developer commands. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed

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

test: setup ## run every test, inside a private namespace (no root needed)
	tests/private $(VENV)/bin/pytest $(ARGS)

lint: setup ## only the linters: ruff, mypy, import-linter
	$(VENV)/bin/pytest tests/lint $(ARGS)

bench: setup ## measure speed and memory against the kernel's own floor
	tests/private $(VENV)/bin/python -m tests.bench $(ARGS)

install: setup ## put nslab on root's PATH (/usr/local/bin)
	install -d /usr/local/bin
	ln -sf $(CURDIR)/$(VENV)/bin/nslab /usr/local/bin/nslab

clean: ## remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.PHONY: help setup demo test lint bench install clean
