"""Fixtures that every test shares."""

from __future__ import annotations

import os

import pytest


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse to touch a machine's own network: all but the linters run inside `tests/private`, or in workers that
    do."""
    only_lint = all("lint" in argument for argument in session.config.args)
    to_workers = session.config.getoption("tx", None)
    if not only_lint and not to_workers and os.environ.get("NSLAB_PRIVATE") != "1":
        pytest.exit("run the tests with `make test`, or as `tests/private .venv/bin/pytest ...`", returncode=2)
