"""The kubectls of this machine: what a stock kubectl shall do is tried with each of them.

NSLAB_KUBECTL names more than the PATH has, separated as the PATH is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


def _found() -> Iterator[str]:
    seen: set[str] = set()
    named = os.environ.get("NSLAB_KUBECTL", "").split(os.pathsep)
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    for path in (*named, *(f"{folder}/kubectl" for folder in folders)):
        real = os.path.realpath(path)
        if path and real not in seen and os.access(real, os.X_OK):
            seen.add(real)
            yield path


KUBECTLS = tuple(_found())
"""Their paths."""

needs_kubectl = pytest.mark.skipif(not KUBECTLS, reason="there is no kubectl")
